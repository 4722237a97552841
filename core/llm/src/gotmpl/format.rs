//! Values as text: what `{{ }}` prints, and `printf`.
//!
//! Source: the documentation of Go's `fmt` and `strconv`.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::{
    error::Fault,
    eval::Budget,
    value::{Origin, Pieces, Text, Value, json},
};

/// Columns that a value can be padded to, and digits after the point.
const WIDTH_MAX: usize = 1000;

/// As `{{ value }}` prints it: maps, records and lists that hold some as JSON, other lists as Go does, nothing for
/// what is missing.
pub(super) fn display(value: &Value, out: &mut Pieces, budget: &mut Budget) -> Result<(), Fault> {
    match value {
        Value::Nil => Ok(()),
        Value::Text(text) => {
            budget.bytes(text.len())?;
            text.pieces().iter().for_each(|piece| out.push(piece.origin, &piece.text));
            Ok(())
        }
        // A template may build the name of a control token with a number.
        Value::Int(number) => put(out, Origin::Template, &number.to_string(), budget),
        Value::Bool(flag) => put(out, Origin::Template, if *flag { "true" } else { "false" }, budget),
        Value::Float(number) => put(out, Origin::Data, &general(*number, None), budget),
        Value::List(list) if !list.items().iter().any(|item| matches!(item, Value::Map(_) | Value::Record(_))) => {
            put(out, Origin::Data, "[", budget)?;
            for (i, item) in list.items().iter().enumerate() {
                budget.step()?;
                put(out, Origin::Data, if i > 0 { " " } else { "" }, budget)?;
                inner(item, out, budget)?;
            }
            put(out, Origin::Data, "]", budget)
        }
        Value::List(_) | Value::Map(_) | Value::Record(_) => {
            let mut text = String::new();
            json(value, &mut text, budget)?;
            out.push(Origin::Data, &text);
            Ok(())
        }
    }
}

/// The same where something must stand.
fn inner(value: &Value, out: &mut Pieces, budget: &mut Budget) -> Result<(), Fault> {
    match value {
        Value::Nil => put(out, Origin::Data, "<nil>", budget),
        value => display(value, out, budget),
    }
}

fn put(out: &mut Pieces, origin: Origin, text: &str, budget: &mut Budget) -> Result<(), Fault> {
    budget.bytes(text.len())?;
    out.push(origin, text);
    Ok(())
}

/// Go's `Sprint`, and with `line` `Sprintln`: spaces between all values, or between two of which neither is a text.
pub(super) fn print(values: &[Value], line: bool, budget: &mut Budget) -> Result<Value, Fault> {
    let mut out = Pieces::default();
    for (i, value) in values.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if i > 0 && (line || !is_text(value) && !is_text(&values[i - 1])) {
            out.push(Origin::Template, " ");
        }
        inner(value, &mut out, budget)?;
    }
    if line {
        out.push(Origin::Template, "\n");
    }
    Ok(out.text())
}

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `Sprintf`.
pub(super) fn printf(template: &Text, values: &[Value], budget: &mut Budget) -> Result<Value, Fault> {
    let (origin, text) = template.joined();
    let mut out = Pieces::default();
    let mut values_left = values.iter();
    let mut rest = text.as_str();
    while let Some(percent) = rest.find('%') {
        put(&mut out, origin, &rest[..percent], budget)?;
        let (spec, after) = spec(&rest[percent + 1..])?;
        let mut chars = after.chars();
        let verb = chars.next();
        rest = chars.as_str();
        match verb {
            None => put(&mut out, origin, "%!(NOVERB)", budget)?,
            Some('%') => put(&mut out, origin, "%", budget)?,
            Some(verb) => match values_left.next() {
                Some(value) => one(verb, spec, value, &mut out, budget)?,
                None => put(&mut out, origin, &format!("%!{verb}(MISSING)"), budget)?,
            },
        }
    }
    put(&mut out, origin, rest, budget)?;
    let extra: Vec<&Value> = values_left.collect();
    for (i, value) in extra.iter().enumerate() {
        put(&mut out, origin, if i == 0 { "%!(EXTRA " } else { ", " }, budget)?;
        typed(value, &mut out, budget)?;
    }
    if !extra.is_empty() {
        put(&mut out, origin, ")", budget)?;
    }
    Ok(out.text())
}

fn spec(text: &str) -> Result<(Spec, &str), Fault> {
    let mut spec = Spec::default();
    let body = text.trim_start_matches(['-', '+', ' ', '0', '#']);
    for flag in text[..text.len() - body.len()].chars() {
        match flag {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '0' => spec.zero = true,
            _ => spec.sharp = true,
        }
    }
    let (width, body) = count(body)?;
    spec.width = width.unwrap_or(0);
    if let Some(after) = body.strip_prefix('.') {
        let (precision, body) = count(after)?;
        spec.precision = Some(precision.unwrap_or(0));
        return Ok((spec, body));
    }
    Ok((spec, body))
}

fn count(text: &str) -> Result<(Option<usize>, &str), Fault> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let wrong = Fault::Arguments { function: "printf", takes: "a width of 1000 at most" };
    match digits.parse() {
        Ok(count) if count <= WIDTH_MAX => Ok((Some(count), rest)),
        _ => Err(wrong),
    }
}

/// One value by its verb.
fn one(verb: char, spec: Spec, value: &Value, out: &mut Pieces, budget: &mut Budget) -> Result<(), Fault> {
    let (origin, text) = match (verb, value) {
        ('v', Value::Nil) => (Origin::Data, "<nil>".into()),
        ('v' | 's', Value::Text(_)) | ('v', Value::Bool(_)) | ('t', Value::Bool(_)) => {
            return padded(spec, value, out, budget);
        }
        ('v' | 's', Value::List(_) | Value::Map(_) | Value::Record(_)) => return padded(spec, value, out, budget),
        ('v' | 'd', Value::Int(number)) => (Origin::Template, integer(*number, 10, spec)),
        ('x' | 'X', Value::Int(number)) => (Origin::Template, cased(verb, integer(*number, 16, spec))),
        ('o', Value::Int(number)) => (Origin::Template, integer(*number, 8, spec)),
        ('b', Value::Int(number)) => (Origin::Template, integer(*number, 2, spec)),
        ('c' | 'q', Value::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            (Origin::Data, if verb == 'c' { c.to_string() } else { quoted(&c.to_string(), '\'') })
        }
        ('x' | 'X', Value::Text(text)) => {
            budget.bytes(text.len() * 2)?;
            (Origin::Data, cased(verb, text.bytes().map(|byte| format!("{byte:02x}")).collect()))
        }
        ('q', Value::Text(text)) => {
            // No character is written with more than ten.
            budget.bytes(text.len() * 10)?;
            let (_, text) = text.joined();
            let cut = spec.precision.map_or(text.clone(), |most| text.chars().take(most).collect());
            let raw = spec.sharp && !cut.contains(['`', '\u{7f}']) && !cut.chars().any(|c| c.is_control() && c != '\t');
            (Origin::Data, if raw { format!("`{cut}`") } else { quoted(&cut, '"') })
        }
        ('v' | 'g' | 'G', Value::Float(number)) => (Origin::Data, signed(general(*number, spec.precision), spec)),
        ('f' | 'F', Value::Float(number)) => {
            (Origin::Data, signed(format!("{number:.*}", spec.precision.unwrap_or(6)), spec))
        }
        ('e' | 'E', Value::Float(number)) => {
            let text = format!("{number:.*e}", spec.precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            (Origin::Data, signed(digits.to_string() + &power(exponent.parse().unwrap_or(0)), spec))
        }
        _ => {
            put(out, Origin::Data, &format!("%!{verb}("), budget)?;
            typed(value, out, budget)?;
            return put(out, Origin::Data, ")", budget);
        }
    };
    let numeric = matches!(value, Value::Int(_) | Value::Float(_)) && !matches!(verb, 'c' | 'q');
    let missing = spec.width.saturating_sub(text.chars().count());
    if spec.zero && numeric && !spec.left && !(spec.precision.is_some() && matches!(value, Value::Int(_))) {
        let digits = text.trim_start_matches(['-', '+', ' ']);
        let sign = &text[..text.len() - digits.len()];
        return put(out, origin, &format!("{sign}{}{digits}", "0".repeat(missing)), budget);
    }
    let spaces = " ".repeat(missing);
    let text = if spec.left { text + &spaces } else { spaces + &text };
    put(out, origin, &text, budget)
}

/// What prints as it is, in its columns. Only texts can be cut.
fn padded(spec: Spec, value: &Value, out: &mut Pieces, budget: &mut Budget) -> Result<(), Fault> {
    let mut pieces = Pieces::default();
    display(value, &mut pieces, budget)?;
    let mut left = if matches!(value, Value::Text(_)) { spec.precision.unwrap_or(usize::MAX) } else { usize::MAX };
    let mut count = 0;
    for piece in &mut pieces.0 {
        let end = piece.text.char_indices().nth(left).map_or(piece.text.len(), |(at, _)| at);
        piece.text.truncate(end);
        let chars = piece.text.chars().count();
        left -= chars;
        count += chars;
    }
    let spaces = " ".repeat(spec.width.saturating_sub(count));
    if !spec.left {
        put(out, Origin::Template, &spaces, budget)?;
    }
    budget.bytes(pieces.len())?;
    pieces.0.iter().for_each(|piece| out.push(piece.origin, &piece.text));
    if spec.left {
        put(out, Origin::Template, &spaces, budget)?;
    }
    Ok(())
}

/// `int=3`, for what a verb does not fit.
fn typed(value: &Value, out: &mut Pieces, budget: &mut Budget) -> Result<(), Fault> {
    let kind = match value {
        Value::Nil => return put(out, Origin::Data, "<nil>", budget),
        Value::Bool(_) => "bool=",
        Value::Int(_) => "int=",
        Value::Float(_) => "float64=",
        Value::Text(_) => "string=",
        Value::List(_) => "[]interface {}=",
        Value::Map(_) => "map[string]interface {}=",
        Value::Record(_) => "struct=",
    };
    put(out, Origin::Data, kind, budget)?;
    display(value, out, budget)
}

fn integer(number: i64, radix: u32, spec: Spec) -> String {
    let size = number.unsigned_abs();
    let mut digits = match radix {
        2 => format!("{size:b}"),
        8 => format!("{size:o}"),
        16 => format!("{size:x}"),
        _ => size.to_string(),
    };
    if let Some(least) = spec.precision.filter(|least| *least > digits.len()) {
        digits = "0".repeat(least - digits.len()) + &digits;
    }
    let prefix = match (spec.sharp, radix) {
        (true, 16) => "0x",
        (true, 8) => "0",
        (true, 2) => "0b",
        _ => "",
    };
    signed(format!("{}{prefix}{digits}", if number < 0 { "-" } else { "" }), spec)
}

fn signed(text: String, spec: Spec) -> String {
    match (text.starts_with('-'), spec.plus, spec.space) {
        (false, true, _) => "+".to_string() + &text,
        (false, false, true) => " ".to_string() + &text,
        _ => text,
    }
}

fn cased(verb: char, text: String) -> String {
    if verb == 'X' { text.to_uppercase() } else { text }
}

/// `%g`: the fewest digits that give the number back, or so many; an exponent where it is small or large.
fn general(number: f64, precision: Option<usize>) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "NaN" } else { if number > 0.0 { "+Inf" } else { "-Inf" } }.into();
    }
    let precision = precision.map(|precision| precision.max(1));
    let text = match precision {
        Some(precision) => format!("{number:.*e}", precision - 1),
        None => format!("{number:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let mut digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    digits.truncate(digits.trim_end_matches('0').len().max(1));
    let count = digits.len() as i32;
    let limit = match precision {
        // With the fewest digits the choice is made as for six.
        None => 6,
        Some(precision) if precision as i32 > count && count > exponent => count,
        Some(precision) => precision as i32,
    };
    if exponent < -4 || exponent >= limit {
        let point = if count > 1 { "." } else { "" };
        return format!("{sign}{}{point}{}{}", &digits[..1], &digits[1..], power(exponent));
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent + 1;
    if count <= whole {
        return format!("{sign}{digits}{}", "0".repeat((whole - count) as usize));
    }
    format!("{sign}{}.{}", &digits[..whole as usize], &digits[whole as usize..])
}

/// An exponent of two digits at least.
fn power(exponent: i32) -> String {
    format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

/// As `json.Marshal` writes a float: an exponent below 1e-6 and from 1e21 on, without a leading zero in it.
pub(super) fn json_float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        return match text.split_once("e-") {
            Some(_) => text,
            None => text.replacen('e', "e+", 1),
        };
    }
    number.to_string()
}

/// As `strconv.Quote`.
fn quoted(text: &str, mark: char) -> String {
    let mut out = String::from(mark);
    for c in text.chars() {
        match c {
            c if c == mark || c == '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' ' => out.push(c),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(mark);
    out
}

fn is_printable(c: char) -> bool {
    !matches!(c.general_category_group(), GeneralCategoryGroup::Other | GeneralCategoryGroup::Separator)
}
