//! Regular expressions of ECMA-262 as expressions over the characters of a JSON string.
//!
//! The parser is that of another dialect. What the two read differently is refused.

use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassPerlKind, ClassSet, ClassSetItem, HexLiteralKind, LiteralKind, RepetitionKind,
    RepetitionRange, SpecialLiteralKind,
};

use crate::grammar::{Chars, Expr, Rules, json::plain, words};

/// Bytes of a pattern at most.
const PATTERN_MAX: usize = 4096;

/// Groups inside each other at most.
const NEST_MAX: u32 = 50;

/// Why a pattern is refused.
pub(super) type Refusal = &'static str;

/// How many characters a string may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) min: u32,
    pub(super) max: Option<u32>,
}

/// The rules for sets of characters that came up, which patterns share.
#[derive(Debug, Default)]
pub(super) struct Sets(BTreeMap<Chars, usize>);

/// A piece of a pattern, and how many characters it may have.
struct Part {
    expr: Expr,
    min: u64,
    max: Option<u64>,
    /// The single character that it repeats, if it is such a repeat.
    unit: Option<Expr>,
}

/// What may stand between the quotes of a string that has a match of `pattern`; `letter` is the rule of a free
/// character.
pub(super) fn pattern(
    pattern: &str,
    lengths: Lengths,
    letter: usize,
    rules: &mut Rules,
    sets: &mut Sets,
) -> Result<Expr, Refusal> {
    if pattern.len() > PATTERN_MAX {
        return Err("is too long");
    }
    let mut parser = ast::parse::ParserBuilder::new().nest_limit(NEST_MAX).build();
    let tree = parser.parse(pattern).map_err(|_| "is not understood")?;
    let branches = match &tree {
        Ast::Alternation(list) => &list.asts[..],
        one => core::slice::from_ref(one),
    };
    let mut reader = Reader { pattern, rules, sets };
    let mut choice = Vec::new();
    for branch in branches {
        let mut list = match branch {
            Ast::Concat(list) => &list.asts[..],
            one => core::slice::from_ref(one),
        };
        let (mut begins, mut ends) = (false, false);
        while let [first, rest @ ..] = list
            && is_anchor(first, AssertionKind::StartLine)
        {
            (begins, list) = (true, rest);
        }
        while let [rest @ .., last] = list
            && is_anchor(last, AssertionKind::EndLine)
        {
            (ends, list) = (true, rest);
        }
        let mut parts = Vec::new();
        for ast in list {
            parts.push(reader.part(ast)?);
        }
        choice.push(within(parts, begins, ends, lengths, letter)?);
    }
    Ok(if choice.len() == 1 { choice.remove(0) } else { Expr::Alt(choice) })
}

fn is_anchor(ast: &Ast, kind: AssertionKind) -> bool {
    matches!(ast, Ast::Assertion(assertion) if assertion.kind == kind)
}

/// `parts` one after the other, of so many characters together. Where that cannot be said of each part alone, one of
/// them gives way.
fn within(mut parts: Vec<Part>, begins: bool, ends: bool, lengths: Lengths, letter: usize) -> Result<Expr, Refusal> {
    let free =
        || Part { expr: Expr::Rule(letter).repeated(0, None), min: 0, max: None, unit: Some(Expr::Rule(letter)) };
    let bounded = lengths.min > 0 || lengths.max.is_some();
    // One free side is enough to fill a string up.
    if !begins && (ends || !bounded) {
        parts.insert(0, free());
    }
    if !ends {
        parts.push(free());
    }
    let (min, max) = (u64::from(lengths.min), lengths.max.map(u64::from));
    let least = |parts: &[Part]| parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.min));
    let most = |parts: &[Part]| parts.iter().try_fold(0u64, |sum, part| Some(sum.saturating_add(part.max?)));
    let fits =
        |parts: &[Part]| least(parts) >= min && max.is_none_or(|max| most(parts).is_some_and(|most| most <= max));
    if !fits(&parts) {
        const BESIDE: Refusal = "cannot be followed together with minLength and maxLength";
        let at = parts.iter().rposition(|part| part.unit.is_some()).ok_or(BESIDE)?;
        let chosen = parts.remove(at);
        let from = min.saturating_sub(least(&parts)).max(chosen.min);
        let to = match max {
            Some(max) => {
                let room = max.checked_sub(most(&parts).ok_or(BESIDE)?).ok_or(BESIDE)?;
                Some(chosen.max.map_or(room, |most| most.min(room)))
            }
            None => chosen.max,
        };
        if to.is_some_and(|to| to < from) {
            return Err(BESIDE);
        }
        let unit = chosen.unit.ok_or(BESIDE)?;
        let count = |count: u64| u32::try_from(count).map_err(|_| BESIDE);
        let expr = unit.clone().repeated(count(from)?, to.map(count).transpose()?);
        parts.insert(at, Part { expr, min: from, max: to, unit: Some(unit) });
    }
    Ok(Expr::Seq(parts.into_iter().map(|part| part.expr).collect()))
}

struct Reader<'a> {
    pattern: &'a str,
    rules: &'a mut Rules,
    sets: &'a mut Sets,
}

impl Reader<'_> {
    fn part(&mut self, ast: &Ast) -> Result<Part, Refusal> {
        Ok(match ast {
            Ast::Empty(_) => Part { expr: Expr::empty(), min: 0, max: Some(0), unit: None },
            Ast::Literal(literal) => self.one(Chars::ranges([range(literal, literal)?])),
            Ast::Dot(_) => self.one(Chars::of("\n\r\u{2028}\u{2029}").negated()),
            Ast::ClassPerl(class) => {
                let set = perl(&class.kind);
                self.one(if class.negated { set.negated() } else { set })
            }
            Ast::ClassBracketed(class) => {
                let inside = self.pattern[class.span.start.offset + 1..].trim_start_matches('^');
                // Empty classes there, a bracket in the class here.
                if inside.starts_with(']') {
                    return Err("has an empty class of characters");
                }
                let set = set(&class.kind)?;
                let set = if class.negated { set.negated() } else { set };
                if set.is_empty() {
                    return Err("has an empty class of characters");
                }
                self.one(set)
            }
            Ast::Repetition(repetition) => self.repetition(repetition)?,
            Ast::Group(group) => {
                if group.flags().is_some_and(|flags| !flags.items.is_empty()) {
                    return Err("has flags");
                }
                self.part(&group.ast)?
            }
            Ast::Concat(list) => {
                let mut whole = Part { expr: Expr::empty(), min: 0, max: Some(0), unit: None };
                let mut seq = Vec::new();
                for ast in &list.asts {
                    let part = self.part(ast)?;
                    whole.min = whole.min.saturating_add(part.min);
                    whole.max = whole.max.zip(part.max).map(|(a, b)| a.saturating_add(b));
                    seq.push(part.expr);
                }
                whole.expr = Expr::Seq(seq);
                whole
            }
            Ast::Alternation(list) => {
                let (mut min, mut max, mut choice) = (u64::MAX, Some(0), Vec::new());
                for ast in &list.asts {
                    let part = self.part(ast)?;
                    min = min.min(part.min);
                    max = max.zip(part.max).map(|(a, b): (u64, u64)| a.max(b));
                    choice.push(part.expr);
                }
                Part { expr: Expr::Alt(choice), min, max, unit: None }
            }
            Ast::Assertion(assertion) => {
                return Err(match assertion.kind {
                    AssertionKind::StartLine | AssertionKind::EndLine => "has an anchor that is not at its ends",
                    _ => "looks around",
                });
            }
            Ast::Flags(_) => return Err("has flags"),
            Ast::ClassUnicode(_) => return Err("has a class of Unicode"),
        })
    }

    fn repetition(&mut self, repetition: &ast::Repetition) -> Result<Part, Refusal> {
        let (min, max) = match &repetition.op.kind {
            RepetitionKind::ZeroOrOne => (0, Some(1)),
            RepetitionKind::ZeroOrMore => (0, None),
            RepetitionKind::OneOrMore => (1, None),
            RepetitionKind::Range(RepetitionRange::Exactly(count)) => (*count, Some(*count)),
            RepetitionKind::Range(RepetitionRange::AtLeast(min)) => (*min, None),
            RepetitionKind::Range(RepetitionRange::Bounded(min, max)) => (*min, Some(*max)),
        };
        // Without a first number it is no repeat there.
        if self.pattern[repetition.op.span.start.offset..].starts_with("{,") {
            return Err("has a repeat without its least count");
        }
        let inner = self.part(&repetition.ast)?;
        let single = inner.min == 1 && inner.max == Some(1);
        Ok(Part {
            min: inner.min.saturating_mul(min.into()),
            max: if inner.max == Some(0) {
                Some(0)
            } else {
                inner.max.zip(max).map(|(inner, max)| inner.saturating_mul(max.into()))
            },
            unit: single.then(|| inner.expr.clone()),
            expr: inner.expr.repeated(min, max),
        })
    }

    /// One character of a set, with a backslash where JSON wants one.
    fn one(&mut self, set: Chars) -> Part {
        let rule = self.sets.0.get(&set).copied();
        let rule = rule.unwrap_or_else(|| {
            let rule = self.rules.add("characters", escaped(&set));
            self.sets.0.insert(set, rule);
            rule
        });
        Part { expr: Expr::Rule(rule), min: 1, max: Some(1), unit: None }
    }
}

fn escaped(set: &Chars) -> Expr {
    let bare = set.intersection(&plain());
    let mut escapes = Vec::new();
    for code in (0..0x20u8).chain(*b"\"\\").filter(|&code| set.contains(char::from(code))) {
        let escape = match code {
            b'\n' => String::from("\\n"),
            b'\r' => String::from("\\r"),
            b'\t' => String::from("\\t"),
            8 => String::from("\\b"),
            12 => String::from("\\f"),
            b'"' => String::from("\\\""),
            b'\\' => String::from("\\\\"),
            other => format!("\\u{other:04x}"),
        };
        escapes.push(escape.into_bytes());
    }
    match (bare.is_empty(), escapes.is_empty()) {
        (_, true) => Expr::Chars(bare),
        (true, false) => words(escapes),
        (false, false) => Expr::Alt(vec![Expr::Chars(bare), words(escapes)]),
    }
}

fn range(from: &ast::Literal, to: &ast::Literal) -> Result<(u32, u32), Refusal> {
    for literal in [from, to] {
        let known = match literal.kind {
            LiteralKind::Verbatim | LiteralKind::Meta | LiteralKind::Superfluous => true,
            LiteralKind::HexFixed(HexLiteralKind::X | HexLiteralKind::UnicodeShort) => true,
            LiteralKind::Special(SpecialLiteralKind::Bell) => false,
            LiteralKind::Special(_) => true,
            _ => false,
        };
        if !known {
            return Err("has an escape that is not known");
        }
    }
    Ok((from.c as u32, to.c as u32))
}

fn set(set: &ClassSet) -> Result<Chars, Refusal> {
    match set {
        ClassSet::Item(item) => self::item(item),
        ClassSet::BinaryOp(_) => Err("has a class within a class"),
    }
}

fn item(item: &ClassSetItem) -> Result<Chars, Refusal> {
    Ok(match item {
        ClassSetItem::Empty(_) => Chars::default(),
        ClassSetItem::Literal(literal) => Chars::ranges([range(literal, literal)?]),
        ClassSetItem::Range(ends) => Chars::ranges([range(&ends.start, &ends.end)?]),
        ClassSetItem::Perl(class) => {
            let set = perl(&class.kind);
            if class.negated { set.negated() } else { set }
        }
        ClassSetItem::Union(list) => {
            let mut ranges = Vec::new();
            for one in &list.items {
                ranges.extend_from_slice(self::item(one)?.as_ranges());
            }
            Chars::ranges(ranges)
        }
        ClassSetItem::Unicode(_) => return Err("has a class of Unicode"),
        ClassSetItem::Ascii(_) | ClassSetItem::Bracketed(_) => return Err("has a class within a class"),
    })
}

fn perl(kind: &ClassPerlKind) -> Chars {
    let ranges = |list: &[(char, char)]| Chars::ranges(list.iter().map(|&(from, to)| (from as u32, to as u32)));
    match kind {
        ClassPerlKind::Digit => ranges(&[('0', '9')]),
        ClassPerlKind::Word => ranges(&[('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')]),
        ClassPerlKind::Space => {
            Chars::of("\t\n\u{b}\u{c}\r \u{a0}\u{1680}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}")
                .union(&ranges(&[('\u{2000}', '\u{200a}')]))
        }
    }
}

/// The pattern of a format; none for one that is not known.
pub(super) fn format(name: &str) -> Option<String> {
    const DATE: &str =
        r"\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))";
    const TIME: &str = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)";
    const HOST: &str = r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,3}\.[a-z]{2,10}";
    const BYTE: &str = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)";
    Some(match name {
        "date" => format!("^{DATE}$"),
        "time" => format!("^{TIME}$"),
        "date-time" => format!("^{DATE}T{TIME}$"),
        "uuid" => "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$".into(),
        "email" => format!(r"^[A-Za-z0-9]([A-Za-z0-9_+-]|\.[A-Za-z0-9]){{0,25}}@{HOST}$"),
        "ipv4" => format!(r"^({BYTE}\.){{3}}{BYTE}$"),
        "uri" => format!(
            r"^[a-z][a-z0-9+-]{{0,15}}://{HOST}(:[1-9]\d{{0,3}})?(/[A-Za-z0-9._~-]*)*(\?[A-Za-z0-9._~=&-]*)?(#[A-Za-z0-9._~-]*)?$"
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::grammar::Machine;

    const ANY: Lengths = Lengths { min: 0, max: None };

    fn machine(text: &str, lengths: Lengths) -> Result<Machine, Refusal> {
        let mut rules = Rules::new();
        let letter = rules.add("letter", Expr::Chars(plain()));
        let body = pattern(text, lengths, letter, &mut rules, &mut Sets::default())?;
        let root = rules.add("root", body);
        Ok(Machine::new(Arc::new(rules.compile(root).map_err(|_| "compiles")?)))
    }

    fn takes(text: &str, lengths: Lengths, string: &str) -> bool {
        let mut machine = machine(text, lengths).unwrap();
        (string.is_empty() || machine.accept(string.as_bytes())) && machine.may_end()
    }

    #[test]
    fn patterns_take_what_they_match() {
        for (pattern, good, bad) in [
            ("^a+b?$", "aab", "b"),
            ("b", "abc", "ac"),
            ("^(foo|ba[rz])-\\d{2,3}$", "baz-123", "bar-1"),
            ("^\\w+\\s\\S$", "a_1 -", "a_1--"),
            ("^[^a-c]$", "d", "b"),
            ("^a|b$", "xb", "xa"),
            ("^.$", "\\\"", "\\n"),
            ("^\\\\\\n\\x41\\u00e9\\/$", "\\\\\\nA\u{e9}/", "\\\\\\nA\u{e9}"),
            ("^[\\s]$", "\\t", "t"),
        ] {
            assert!(takes(pattern, ANY, good), "{pattern} {good}");
            assert!(!takes(pattern, ANY, bad), "{pattern} {bad}");
        }
    }

    #[test]
    fn lengths_bound_what_a_pattern_leaves_open() {
        let lengths = Lengths { min: 3, max: Some(5) };
        for (pattern, good, bad) in [
            ("^[a-z]+$", ["abc", "abcde"], ["ab", "abcdef"]),
            ("^x-\\d*$", ["x-1", "x-123"], ["x-", "x-1234"]),
            ("^ab", ["abc", "abcde"], ["ab", "abcdef"]),
            ("b", ["bcd", "bcdef"], ["b", "bcdefg"]),
        ] {
            assert!(good.iter().all(|good| takes(pattern, lengths, good)), "{pattern}");
            assert!(!bad.iter().any(|bad| takes(pattern, lengths, bad)), "{pattern}");
        }
        assert!(machine("^(ab|c)*$", lengths).is_err());
        assert!(machine("^abcdef$", lengths).is_err());
    }

    #[test]
    fn what_another_dialect_reads_differently_is_refused() {
        for pattern in
            ["(?i)a", "\\bword", "a(^b)", "\\p{L}", "[]", "[[a]]", "[a&&b]", "a{,3}", "\\a", "(?=a)", "(a)\\1", "("]
        {
            assert!(machine(pattern, ANY).is_err(), "{pattern}");
        }
    }

    #[test]
    fn hostile_patterns_end_quickly() {
        let nested = "(".repeat(2000) + "a" + &")".repeat(2000);
        assert!(machine(&nested, ANY).is_err());
        assert!(machine("((((a?){32}){32}){32}){32}", ANY).is_err());
        let huge = machine("^((a{1000}){1000}){1000}$", ANY).unwrap();
        assert_eq!(huge.bytes_min(), 1_000_000_000);
        assert!(machine(&"a".repeat(5000), ANY).is_err());
    }

    #[test]
    fn formats_take_their_examples() {
        for (name, good, bad) in [
            ("date", "2024-02-28", "2024-02-30"),
            ("time", "23:59:59.5Z", "24:00:00Z"),
            ("date-time", "2024-12-31T00:00:00+01:00", "2024-12-31 00:00:00Z"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("email", "a.b@example.org", "a@b"),
            ("ipv4", "192.168.0.255", "256.0.0.1"),
            ("uri", "https://example.org/a/b?c=d#e", "example"),
        ] {
            let pattern = format(name).unwrap();
            assert!(takes(&pattern, ANY, good), "{name} {good}");
            assert!(!takes(&pattern, ANY, bad), "{name} {bad}");
        }
        assert_eq!(format("hostname"), None);
    }
}
