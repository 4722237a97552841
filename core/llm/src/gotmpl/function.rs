//! The functions that templates may call: Go's own that need no escaping, and Ollama's.
//!
//! Source: Go's `text/template` documentation, "Functions".

use core::cmp::Ordering;

use alloc::{string::String, vec::Vec};

use super::{
    error::Fault,
    eval::Budget,
    format,
    value::{Origin, Pieces, Value, json},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Len,
    Index,
    Slice,
    Print,
    Printf,
    Println,
    Json,
    CurrentDate,
    YesterdayDate,
    ToTypeScriptType,
}

use Function::*;

/// Names, and what each takes.
const ALL: [(&str, Function, &str); 20] = [
    ("and", And, "one value or more"),
    ("or", Or, "one value or more"),
    ("not", Not, "one value"),
    ("eq", Eq, "two values or more, of which none is a list or a map"),
    ("ne", Ne, "two values of which none is a list or a map"),
    ("lt", Lt, "two numbers or two texts"),
    ("le", Le, "two numbers or two texts"),
    ("gt", Gt, "two numbers or two texts"),
    ("ge", Ge, "two numbers or two texts"),
    ("len", Len, "a text, a list or a map"),
    ("index", Index, "a list, a text or a map, and what to look for in it"),
    ("slice", Slice, "a text or a list, and where to begin and to end"),
    ("print", Print, "any values"),
    ("printf", Printf, "a format and values"),
    ("println", Println, "any values"),
    ("json", Json, "one value"),
    ("toJson", Json, "one value"),
    ("currentDate", CurrentDate, "any values"),
    ("yesterdayDate", YesterdayDate, "any values"),
    ("toTypeScriptType", ToTypeScriptType, "one value"),
];

/// Dates as the caller's clock has them, `2026-01-31`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dates<'d> {
    pub today: &'d str,
    pub yesterday: &'d str,
}

impl Function {
    pub(super) fn find(name: &str) -> Option<Self> {
        ALL.iter().find(|(known, ..)| *known == name).map(|(_, function, _)| *function)
    }

    pub(super) fn wrong(self) -> Fault {
        let (name, _, takes) = ALL.iter().find(|(_, function, _)| *function == self).expect("all are in the table");
        Fault::Arguments { function: name, takes }
    }

    /// The result for `values`. `and` and `or`, which do not look at all of them, are the evaluator's.
    pub(super) fn call(self, values: &[Value], dates: Dates<'_>, budget: &mut Budget) -> Result<Value, Fault> {
        let wrong = || self.wrong();
        match (self, values) {
            (Not, [value]) => Ok(Value::Bool(!value.is_true())),
            (Eq, [first, others @ ..]) if !others.is_empty() => {
                for other in others {
                    if equal(first, other, budget)?.ok_or_else(wrong)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            (Ne, [a, b]) => Ok(Value::Bool(!equal(a, b, budget)?.ok_or_else(wrong)?)),
            (Lt, [a, b]) => Ok(Value::Bool(order(a, b, budget)?.ok_or_else(wrong)? == Ordering::Less)),
            (Le, [a, b]) => Ok(Value::Bool(order(a, b, budget)?.ok_or_else(wrong)? != Ordering::Greater)),
            (Gt, [a, b]) => Ok(Value::Bool(order(a, b, budget)?.ok_or_else(wrong)? == Ordering::Greater)),
            (Ge, [a, b]) => Ok(Value::Bool(order(a, b, budget)?.ok_or_else(wrong)? != Ordering::Less)),
            (Len, [value]) => Ok(Value::Int(len(value).ok_or_else(wrong)? as i64)),
            (Index, [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
            (Slice, [value, bounds @ ..]) if bounds.len() <= 2 => slice(value, bounds, budget),
            (Print, values) => format::print(values, false, budget),
            (Println, values) => format::print(values, true, budget),
            (Printf, [Value::Text(template), values @ ..]) => format::printf(template, values, budget),
            (Json, [value]) => {
                let mut out = String::new();
                json(value, &mut out, budget)?;
                Ok(Value::data(&out))
            }
            (CurrentDate, _) => Ok(date(dates.today)),
            (YesterdayDate, _) => Ok(date(dates.yesterday)),
            (ToTypeScriptType, [value]) => {
                let mut out = Pieces::default();
                type_script(value, &mut out, budget)?;
                Ok(out.text())
            }
            _ => Err(wrong()),
        }
    }
}

fn date(text: &str) -> Value {
    let mut out = Pieces::default();
    out.push(Origin::Template, text);
    out.text()
}

/// Whether two values are one; `None` for what cannot be compared. What differs in kind is not equal; Go refuses it.
fn equal(a: &Value, b: &Value, budget: &mut Budget) -> Result<Option<bool>, Fault> {
    Ok(match (a, b) {
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => None,
        (Value::Nil, Value::Nil) => Some(true),
        (Value::Bool(a), Value::Bool(b)) => Some(a == b),
        _ => Some(order(a, b, budget)? == Some(Ordering::Equal)),
    })
}

fn order(a: &Value, b: &Value, budget: &mut Budget) -> Result<Option<Ordering>, Fault> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Float(b)) => (*a as f64).partial_cmp(b),
        (Value::Float(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Text(a), Value::Text(b)) => {
            budget.read(a.len().min(b.len()))?;
            Some(a.bytes().cmp(b.bytes()))
        }
        _ => None,
    })
}

fn len(value: &Value) -> Option<usize> {
    match value {
        Value::Text(text) => Some(text.len()),
        Value::List(list) => Some(list.items().len()),
        Value::Map(map) => Some(map.len()),
        _ => None,
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, Fault> {
    let at = |len: usize| match key {
        Value::Int(index) => match usize::try_from(*index) {
            Ok(at) if at < len => Ok(at),
            _ => Err(Fault::Index { index: *index, len }),
        },
        _ => Err(Index.wrong()),
    };
    match (value, key) {
        (Value::List(list), _) => Ok(list.items()[at(list.items().len())?].clone()),
        (Value::Text(text), _) => {
            let at = at(text.len())?;
            Ok(text.bytes().nth(at).map_or(Value::Nil, |byte| Value::Int(byte.into())))
        }
        (Value::Map(map), Value::Text(key)) => Ok(map.get(&key.joined().1).cloned().unwrap_or(Value::Nil)),
        _ => Err(Index.wrong()),
    }
}

fn slice(value: &Value, bounds: &[Value], budget: &mut Budget) -> Result<Value, Fault> {
    let len = match value {
        Value::Text(_) | Value::List(_) => len(value).unwrap_or(0),
        _ => return Err(Slice.wrong()),
    };
    let bounds: Vec<usize> = bounds
        .iter()
        .map(|bound| match bound {
            Value::Int(index) => {
                usize::try_from(*index).ok().filter(|at| *at <= len).ok_or(Fault::Index { index: *index, len })
            }
            _ => Err(Slice.wrong()),
        })
        .collect::<Result<_, _>>()?;
    let (from, to) = (bounds.first().copied().unwrap_or(0), bounds.get(1).copied().unwrap_or(len));
    if from > to {
        return Err(Fault::Index { index: from as i64, len: to });
    }
    match value {
        Value::Text(text) => {
            budget.bytes(to - from)?;
            Ok(Value::Text(text.slice(from, to)))
        }
        Value::List(list) => Ok(Value::List(list.slice(from, to))),
        _ => Err(Slice.wrong()),
    }
}

/// The type of a tool's parameter as TypeScript names it.
fn type_script(value: &Value, out: &mut Pieces, budget: &mut Budget) -> Result<(), Fault> {
    budget.step()?;
    let field = |name: &str| value.field(name).unwrap_or(Value::Nil);
    let kinds = match (field("AnyOf"), field("Type")) {
        (Value::List(choices), _) if !choices.items().is_empty() => {
            for (i, choice) in choices.items().iter().enumerate() {
                out.push(Origin::Data, if i > 0 { " | " } else { "" });
                type_script(choice, out, budget)?;
            }
            return Ok(());
        }
        (_, Value::List(kinds)) => kinds.items().to_vec(),
        (_, kind @ Value::Text(_)) => alloc::vec![kind],
        _ => Vec::new(),
    };
    for (i, kind) in kinds.iter().enumerate() {
        let name = if let Value::Text(text) = kind { text.joined().1 } else { String::new() };
        out.push(Origin::Data, if i > 0 { " | " } else { "" });
        let name = match name.as_str() {
            "integer" | "number" => "number",
            "array" => "any[]",
            "object" => "Record<string, any>",
            "string" => "string",
            "boolean" => "boolean",
            "null" => "null",
            _ => "any",
        };
        out.push(Origin::Data, name);
    }
    if kinds.is_empty() {
        out.push(Origin::Data, "any");
    }
    budget.bytes(out.len())
}
