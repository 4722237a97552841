//! What templates compute with.

use alloc::{
    collections::BTreeMap,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};

use super::{error::Fault, eval::Budget};

/// Lists and maps within each other.
const DEPTH_MAX: usize = 128;

/// Who wrote a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The template: names of control tokens in it are control tokens.
    Template,
    /// A message, a tool or a document: all of it is text.
    Data,
}

/// Text with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Who wrote it.
    pub origin: Origin,
    /// What was written.
    pub text: String,
}

/// Pieces one after the other; neighbours of one origin become one.
#[derive(Debug, Default)]
pub(super) struct Pieces(pub Vec<Piece>);

impl Pieces {
    pub(super) fn push(&mut self, origin: Origin, text: &str) {
        match self.0.last_mut() {
            Some(last) if last.origin == origin => last.text.push_str(text),
            _ if text.is_empty() => {}
            _ => self.0.push(Piece { origin, text: text.into() }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.text.len()).sum()
    }

    pub(super) fn text(self) -> Value {
        Value::Text(Text(self.0.into()))
    }
}

/// A text. It may have parts of either origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(Rc<[Piece]>);

impl Text {
    pub(super) fn new(origin: Origin, text: &str) -> Self {
        let mut pieces = Pieces::default();
        pieces.push(origin, text);
        Self(pieces.0.into())
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.text.len()).sum()
    }

    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().flat_map(|piece| piece.text.bytes())
    }

    /// All of it as one, the template's only where every part is.
    pub(super) fn joined(&self) -> (Origin, String) {
        let data = self.0.iter().any(|piece| piece.origin == Origin::Data);
        let origin = if data { Origin::Data } else { Origin::Template };
        (origin, self.0.iter().map(|piece| piece.text.as_str()).collect())
    }

    /// From one byte to another; within a character, from or to its beginning.
    pub(super) fn slice(&self, from: usize, to: usize) -> Self {
        let mut out = Pieces::default();
        let mut start = 0;
        for piece in self.0.iter() {
            let cut = |at: usize| {
                let mut at = at.saturating_sub(start).min(piece.text.len());
                while !piece.text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            out.push(piece.origin, &piece.text[cut(from)..cut(to)]);
            start += piece.text.len();
        }
        Self(out.0.into())
    }
}

/// A part of a list; parts share their items.
#[derive(Clone, Debug)]
pub(super) struct List {
    items: Rc<[Value]>,
    from: usize,
    to: usize,
}

impl List {
    pub(super) fn new(items: Vec<Value>) -> Self {
        Self { from: 0, to: items.len(), items: items.into() }
    }

    pub(super) fn items(&self) -> &[Value] {
        &self.items[self.from..self.to]
    }

    /// `from <= to <= len`.
    pub(super) fn slice(&self, from: usize, to: usize) -> Self {
        Self { items: Rc::clone(&self.items), from: self.from + from, to: self.from + to }
    }
}

/// A value with known fields.
#[derive(Debug)]
pub(super) struct Record {
    pub kind: &'static str,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    /// In templates.
    pub name: &'static str,
    /// In JSON.
    pub json: &'static str,
    /// Whether JSON leaves it out where it is empty.
    pub optional: bool,
    pub value: Value,
}

pub(super) type Map = BTreeMap<String, Value>;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    List(List),
    Map(Rc<Map>),
    Record(Rc<Record>),
}

impl Value {
    pub(super) fn data(text: &str) -> Self {
        Self::Text(Text::new(Origin::Data, text))
    }

    pub(super) fn list(items: Vec<Value>) -> Self {
        Self::List(List::new(items))
    }

    pub(super) fn map<'k>(pairs: impl IntoIterator<Item = (&'k str, Value)>) -> Self {
        Self::Map(Rc::new(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()))
    }

    /// What JSON says, all of it data. What lies too deep is left out.
    pub(super) fn of_json(value: &serde_json::Value) -> Self {
        Self::of_json_at(value, 0)
    }

    fn of_json_at(value: &serde_json::Value, depth: usize) -> Self {
        use serde_json::Value as Json;
        if depth > DEPTH_MAX {
            return Self::Nil;
        }
        match value {
            Json::Null => Self::Nil,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::data(text),
            Json::Array(items) => Self::list(items.iter().map(|item| Self::of_json_at(item, depth + 1)).collect()),
            Json::Object(map) => Self::map(map.iter().map(|(k, v)| (k.as_str(), Self::of_json_at(v, depth + 1)))),
        }
    }

    /// What it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Record(record) => record.kind,
        }
    }

    /// Whether `if` takes it as true: what is not empty, zero or missing.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => text.len() > 0,
            Self::List(list) => !list.items().is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Record(_) => true,
        }
    }

    /// The field of that name. What is missing in a map has no fields either, and none is there.
    pub(super) fn field(&self, name: &str) -> Result<Value, Fault> {
        let missing = || Fault::Field { name: name.into(), of: self.kind() };
        match self {
            Self::Nil => Ok(Self::Nil),
            Self::Map(map) => Ok(map.get(name).cloned().unwrap_or(Self::Nil)),
            Self::Record(record) => record
                .fields
                .iter()
                .find(|field| field.name == name)
                .map(|field| field.value.clone())
                .ok_or_else(missing),
            _ => Err(missing()),
        }
    }
}

/// Writes as Go's `json.Marshal` does: no spaces, keys of maps in order, `<`, `>` and `&` as escapes.
pub(super) fn json(value: &Value, out: &mut String, budget: &mut Budget) -> Result<(), Fault> {
    budget.step()?;
    let before = out.len();
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&super::format::json_float(*number)),
        Value::Text(text) => quote(text, out),
        Value::List(list) => {
            return sequence(list.items().iter().map(|item| (None, item)), ['[', ']'], out, budget);
        }
        Value::Map(map) => {
            return sequence(map.iter().map(|(key, item)| (Some(key.as_str()), item)), ['{', '}'], out, budget);
        }
        Value::Record(record) => {
            let kept = record.fields.iter().filter(|field| !field.optional || field.value.is_true());
            return sequence(kept.map(|field| (Some(field.json), &field.value)), ['{', '}'], out, budget);
        }
    }
    budget.bytes(out.len() - before)
}

fn sequence<'v>(
    items: impl Iterator<Item = (Option<&'v str>, &'v Value)>,
    brackets: [char; 2],
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), Fault> {
    out.push(brackets[0]);
    for (i, (key, item)) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        if let Some(key) = key {
            budget.bytes(key.len())?;
            quote(&Text::new(Origin::Data, key), out);
            out.push(':');
        }
        json(item, out, budget)?;
    }
    out.push(brackets[1]);
    budget.bytes(2)
}

fn quote(text: &Text, out: &mut String) {
    out.push('"');
    for c in text.pieces().iter().flat_map(|piece| piece.text.chars()) {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&alloc::format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::{super::Limits, *};

    fn written(json: &serde_json::Value) -> String {
        let mut out = String::new();
        super::json(&Value::of_json(json), &mut out, &mut Budget(Limits::default())).unwrap();
        out
    }

    #[test]
    fn json_is_written_as_go_writes_it() {
        let value = serde_json::json!({"b": [1, 2.5, true, null], "a": "<é&\"\n\u{1}\u{2028}>"});
        assert_eq!(written(&value), "{\"a\":\"\\u003cé\\u0026\\\"\\n\\u0001\\u2028\\u003e\",\"b\":[1,2.5,true,null]}");
    }

    #[test]
    fn a_slice_of_a_text_keeps_who_wrote_what() {
        let mut pieces = Pieces::default();
        pieces.push(Origin::Template, "ab");
        pieces.push(Origin::Data, "cé");
        let Value::Text(text) = pieces.text() else { unreachable!() };
        let piece = |origin, text: &str| Piece { origin, text: text.into() };
        assert_eq!(text.slice(1, 3).pieces(), [piece(Origin::Template, "b"), piece(Origin::Data, "c")]);
        assert_eq!(text.slice(3, 4).pieces(), [], "half of a character is none");
        assert_eq!(text.slice(3, 5).pieces(), [piece(Origin::Data, "é")]);
    }

    #[test]
    fn data_of_any_depth_can_be_written() {
        let deep = (0..10_000).fold(serde_json::json!(1), |inner, _| serde_json::Value::Array([inner].into()));
        assert_eq!(written(&deep).matches('[').count(), DEPTH_MAX + 1);
        // Its own drop is recursive.
        core::mem::forget(deep);
    }
}
