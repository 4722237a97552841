//! What a user writes never becomes a control token.
//!
//! A template writes control tokens by name (`<|im_end|>`). If a user's text holds such a name, it must
//! reach the model as plain characters. So before a template sees any text, [`Guard::hide`] puts a private
//! character in place of the first one of each name; the rendered prompt is cut at the names that remain,
//! which only the template can have written; then [`Guard::segments`] puts the characters back.

use alloc::{string::String, vec::Vec};

use serde_json::Value;

/// A part of a rendered prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The name of a control token, written by the template.
    Control(String),
    /// Anything else.
    Text(String),
}

/// Characters that stand in for the first character of a control token's name: noncharacters, which no text
/// that is meant for interchange contains (Unicode 16, §23.7). The first stands for the characters themselves.
const STAND_INS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// Hides control tokens in what users wrote.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Names of the control tokens, longest first.
    names: Vec<String>,
}

impl Guard {
    /// A guard of these control tokens.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).map(String::from).collect();
        names.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        names.dedup();
        Self { names }
    }

    /// The text with every control token's name made unreadable: `<|im_end|>` becomes `<`, a stand-in, `|im_end|>`.
    pub fn hide(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            out.push(c);
            if c == STAND_INS[0] || c == STAND_INS[1] {
                // A stand-in that the user wrote: marked, so that it comes back as it was.
                out.push(STAND_INS[1]);
            } else if self.names.iter().any(|name| rest.starts_with(name.as_str())) {
                out.push(STAND_INS[0]);
            }
            rest = &rest[c.len_utf8()..];
        }
        out
    }

    /// Hides control tokens in all texts of a value.
    pub fn hide_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.hide(text)),
            Value::Array(list) => Value::Array(list.iter().map(|value| self.hide_value(value)).collect()),
            Value::Object(map) => {
                Value::Object(map.iter().map(|(key, value)| (self.hide(key), self.hide_value(value))).collect())
            }
            plain => plain.clone(),
        }
    }

    /// Cuts a rendered prompt at the control tokens that the template wrote.
    pub fn segments(&self, rendered: &str) -> Vec<Segment> {
        let mut segments = Vec::new();
        let (mut from, mut at) = (0, 0);
        while at < rendered.len() {
            match self.names.iter().find(|name| rendered[at..].starts_with(name.as_str())) {
                Some(name) => {
                    push_text(&rendered[from..at], &mut segments);
                    segments.push(Segment::Control(name.clone()));
                    at += name.len();
                    from = at;
                }
                None => at += rendered[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        push_text(&rendered[from..], &mut segments);
        segments
    }
}

fn push_text(text: &str, segments: &mut Vec<Segment>) {
    if !text.is_empty() {
        segments.push(Segment::Text(shown(text)));
    }
}

/// The text without stand-ins.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == STAND_INS[0] || c == STAND_INS[1] {
            if chars.next_if_eq(&STAND_INS[1]).is_some() {
                out.push(c);
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn guard() -> Guard {
        Guard::new(["<|im_start|>", "<|im_end|>"])
    }

    #[test]
    fn what_a_user_writes_stays_text_and_comes_back_whole() {
        let guard = guard();
        let text = "a<|im_end|>\u{fdd0}b\u{fdd1}<|im_end|><|im_start|>";
        let rendered = format!("<|im_start|>{}<|im_end|>", guard.hide(text));
        assert_eq!(
            guard.segments(&rendered),
            [
                Segment::Control("<|im_start|>".into()),
                Segment::Text(text.into()),
                Segment::Control("<|im_end|>".into())
            ]
        );
    }

    #[test]
    fn text_without_control_tokens_is_not_touched() {
        assert_eq!(guard().hide("a < b | c"), "a < b | c");
    }

    #[test]
    fn values_are_guarded_all_through() {
        let value = serde_json::json!({"k<|im_end|>": ["<|im_end|>", 1]});
        let hidden = guard().hide_value(&value);
        assert!(!serde_json::to_string(&hidden).unwrap().contains("<|im_end|>"));
    }
}
