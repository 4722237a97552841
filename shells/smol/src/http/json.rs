//! A body read as JSON, the way Go reads it, because clients were written against that: whatever Content-Type says,
//! only the first value, bad UTF-8 replaced, and field names in any case where a route asks for it.

use std::fmt;

use http::StatusCode;
use serde::{
    Deserialize,
    de::{
        DeserializeOwned, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Value, map};

use super::{
    body::Fault,
    exchange::{Answer, Request},
};

/// Why a request cannot be read. All are the asker's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// There is no body.
    Missing,
    /// The body did not come whole.
    Body(Fault),
    /// It is no JSON, or something in it cannot be what it is.
    Json {
        /// Where: `messages[0].content`; empty for the whole.
        field: String,
        /// Why.
        why: String,
    },
}

impl Malformed {
    /// What to answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Body(fault) => fault.status(),
            Self::Missing | Self::Json { .. } => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing request body"),
            Self::Body(fault) => fault.fmt(f),
            Self::Json { field, why } if field.is_empty() => f.write_str(why),
            Self::Json { field, why } => write!(f, "{field}: {why}"),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<Fault> for Malformed {
    fn from(fault: Fault) -> Self {
        Self::Body(fault)
    }
}

/// In Ollama's shape: other routes make their own of [`Malformed::status`] and the text.
impl From<Malformed> for Answer {
    fn from(error: Malformed) -> Self {
        Answer::json(error.status(), &serde_json::json!({"error": error.to_string()}))
    }
}

/// What was read, and what was not understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Read<T> {
    /// The value.
    pub value: T,
    /// Fields that nobody looked at: `options.foo`.
    pub unused: Vec<String>,
}

/// Names of unused fields that are kept: they go into a header.
const UNUSED_MAX: usize = 32;

impl Request {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`Malformed`].
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<Read<T>, Malformed> {
        of_value(self.value().await?)
    }

    /// The body as JSON in which the fields of structures (not the keys of maps) may be written in any case.
    ///
    /// # Errors
    /// [`Malformed`].
    pub async fn json_any_case<T: DeserializeOwned>(&mut self) -> Result<Read<T>, Malformed> {
        of_value_any_case(self.value().await?)
    }

    /// The first JSON value of the body; of equal keys the last counts.
    ///
    /// # Errors
    /// [`Malformed`].
    pub async fn value(&mut self) -> Result<Value, Malformed> {
        parse(&self.body.whole().await?)
    }
}

/// The first JSON value of a text.
///
/// # Errors
/// [`Malformed`].
pub fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    let text = String::from_utf8_lossy(bytes);
    if text.trim_ascii().is_empty() {
        return Err(Malformed::Missing);
    }
    let why =
        |error: serde_json::Error| Malformed::Json { field: String::new(), why: format!("invalid JSON: {error}") };
    Value::deserialize(&mut serde_json::Deserializer::from_str(&text)).map_err(why)
}

/// A value as a type.
///
/// # Errors
/// [`Malformed::Json`].
pub fn of_value<T: DeserializeOwned>(value: Value) -> Result<Read<T>, Malformed> {
    read(Shaped { value, any_case: false })
}

/// A value as a type, fields of structures in any case.
///
/// # Errors
/// [`Malformed::Json`].
pub fn of_value_any_case<T: DeserializeOwned>(value: Value) -> Result<Read<T>, Malformed> {
    read(Shaped { value, any_case: true })
}

fn read<'de, T: Deserialize<'de>>(
    source: impl Deserializer<'de, Error = serde_json::Error>,
) -> Result<Read<T>, Malformed> {
    let mut unused = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut note = |path: serde_ignored::Path<'_>| {
        if unused.len() < UNUSED_MAX {
            unused.push(path.to_string().replace(".?", ""));
        }
    };
    let source = serde_path_to_error::Deserializer::new(source, &mut track);
    let value = T::deserialize(serde_ignored::Deserializer::new(source, &mut note));
    let value = value.map_err(|error| {
        let field = track.path().to_string();
        Malformed::Json { field: if field == "." { String::new() } else { field }, why: error.to_string() }
    })?;
    Ok(Read { value, unused })
}

/// A value that gives structures to whoever asks for them out of objects alone (a list would stand for one too), their
/// fields in any case where that is wanted.
struct Shaped {
    value: Value,
    any_case: bool,
}

impl<'de> Deserializer<'de> for Shaped {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let any_case = self.any_case;
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), any_case }),
            Value::Object(object) => visitor.visit_map(Fields::of(object, &[], any_case)),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.value {
            Value::Object(object) if self.any_case => visitor.visit_map(Fields::of(object, fields, true)),
            Value::Array(_) => Err(serde::de::Error::invalid_type(Unexpected::Seq, &"an object")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.value.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    any_case: bool,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = serde_json::Error;

    fn next_element_seed<S: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        let any_case = self.any_case;
        self.items.next().map(|value| seed.deserialize(Shaped { value, any_case })).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Fields {
    entries: map::IntoIter,
    value: Option<Value>,
    any_case: bool,
}

impl Fields {
    /// The entries of `object` under the names of `fields`. Of several spellings of one field the last counts.
    fn of(object: map::Map<String, Value>, fields: &'static [&'static str], any_case: bool) -> Self {
        let is_plain =
            |key: &String| fields.contains(&key.as_str()) || !fields.iter().any(|f| f.eq_ignore_ascii_case(key));
        if object.keys().all(is_plain) {
            return Self { entries: object.into_iter(), value: None, any_case };
        }
        let mut named = map::Map::new();
        for (key, value) in object {
            let name = fields.iter().find(|field| field.eq_ignore_ascii_case(&key));
            named.insert(name.map_or(key, |name| (*name).to_owned()), value);
        }
        Self { entries: named.into_iter(), value: None, any_case }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = serde_json::Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StrDeserializer<'_, Self::Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: serde::de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Self::Error> {
        let value = self.value.take().expect("a key was asked for before its value");
        seed.deserialize(Shaped { value, any_case: self.any_case })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::http::exchange::Method;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Ask {
        model: String,
        #[serde(default)]
        stream: Option<bool>,
        #[serde(default)]
        messages: Vec<Message>,
        #[serde(default)]
        options: BTreeMap<String, Value>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Message {
        role: String,
        content: Option<String>,
    }

    fn ask(text: &str) -> Result<Read<Ask>, Malformed> {
        let mut request = Request::new(Method::POST, "/api/chat");
        request.body = text.to_owned().into();
        smol::block_on(request.json_any_case())
    }

    #[test]
    fn fields_are_found_in_any_case_and_keys_of_maps_are_kept() {
        let text =
            r#"{"Model":"a","STREAM":false,"messages":[{"Role":"user","content":"x"}],"options":{"Top_K":1}} {"b":2}"#;
        let read = ask(text).unwrap();
        assert_eq!(read.value.model, "a");
        assert_eq!(read.value.stream, Some(false));
        assert_eq!(read.value.messages, [Message { role: "user".into(), content: Some("x".into()) }]);
        assert_eq!(read.value.options.keys().collect::<Vec<_>>(), ["Top_K"]);
        assert_eq!(read.unused, [""; 0]);
    }

    #[test]
    fn where_case_counts_a_field_in_another_case_is_another() {
        let error = of_value::<Message>(serde_json::json!({"Role": "user"})).unwrap_err();
        assert_eq!(error.to_string(), "missing field `role`");
        assert!(of_value::<Message>(serde_json::json!(["user", "x"])).is_err());
    }

    #[test]
    fn the_last_of_equal_fields_counts() {
        assert_eq!(ask(r#"{"model":"a","model":"b"}"#).unwrap().value.model, "b");
        assert_eq!(ask(r#"{"model":"a","MODEL":"b"}"#).unwrap().value.model, "b");
    }

    #[test]
    fn what_nobody_looked_at_is_named() {
        let read = ask(r#"{"model":"a","typical":1,"messages":[{"role":"user","name":"bob"}]}"#).unwrap();
        assert_eq!(read.unused, ["typical", "messages.0.name"]);
    }

    #[test]
    fn an_error_names_the_field() {
        for (text, error) in [
            ("", "missing request body"),
            (" \n", "missing request body"),
            ("{", "invalid JSON: EOF while parsing an object at line 1 column 1"),
            ("hello", "invalid JSON: expected value at line 1 column 1"),
            ("{}", "missing field `model`"),
            (r#"{"model":3}"#, "model: invalid type: integer `3`, expected a string"),
            (
                r#"{"model":"a","messages":[{"role":"x"},{"role":[]}]}"#,
                "messages[1].role: invalid type: sequence, expected a string",
            ),
            ("[1]", "invalid type: sequence, expected an object"),
            ("[]", "invalid type: sequence, expected an object"),
            (r#"{"model":"a","messages":[["user","x"]]}"#, "messages[0]: invalid type: sequence, expected an object"),
        ] {
            let found = ask(text).unwrap_err();
            assert_eq!(found.status(), StatusCode::BAD_REQUEST);
            assert!(found.to_string().ends_with(error), "{text}: {found}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_bad_utf8_replaced() {
        assert!(matches!(parse("[".repeat(100_000).as_bytes()), Err(Malformed::Json { .. })));
        assert_eq!(parse(b"\"a\xffb\"").unwrap(), "a\u{fffd}b");
    }
}
