//! Messages of a conversation, and the one rule about them: what a user writes never becomes a control token.
//!
//! A template writes control tokens by name (`<|im_end|>`). If a user's text holds such a name, it must
//! reach the model as plain characters. So before a template sees any text, [`Guard::hide`] puts a private
//! character in place of the first one of each name; the rendered prompt is cut at the names that remain,
//! which only the template can have written; then [`Guard::segments`] puts the characters back.

use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Its text; `null` counts as empty.
    #[serde(default, deserialize_with = "text_or_null")]
    pub content: String,
    /// What the model thought before it answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub thinking: String,
    /// Tools that the model calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For role `tool`: which tool answers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool_name: String,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What is called.
    pub function: Call,
}

/// Name and arguments of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The function's name.
    pub name: String,
    /// An object.
    pub arguments: Value,
}

fn text_or_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

impl Message {
    /// A message with a text and nothing else.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }
}

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

/// A template for models that come without one, in Jinja, by name: what their families are known to use.
pub fn default_template(architecture: &str, has: impl Fn(&str) -> bool) -> (&'static str, String) {
    if has("<|im_start|>") {
        return ("chatml", turns("<|im_start|>", "\n", "<|im_end|>\n", "<|im_start|>assistant\n"));
    }
    if has("<|start_header_id|>") {
        let head = "<|start_header_id|>";
        let after = "<|end_header_id|>\n\n";
        return ("llama3", turns(head, after, "<|eot_id|>", &format!("{head}assistant{after}")));
    }
    if has("<start_of_turn>") || architecture.starts_with("gemma") {
        return ("gemma", GEMMA.into());
    }
    if has("<|end|>") && has("<|user|>") {
        return ("phi3", turns("<|", "|>\n", "<|end|>\n", "<|assistant|>\n"));
    }
    if has("[INST]") || architecture == "llama" && has("</s>") {
        return ("llama2", LLAMA2.into());
    }
    ("plain", turns("", ": ", "\n", "assistant: "))
}

/// The common shape: each turn is a head with the role, the text, an end.
fn turns(head: &str, after: &str, end: &str, generation: &str) -> String {
    let quote = |text: &str| serde_json::to_string(text).unwrap_or_default();
    format!(
        "{{% for message in messages %}}{{{{ {} + message['role'] + {} + message['content'] + {} }}}}{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {} }}}}{{% endif %}}",
        quote(head),
        quote(after),
        quote(end),
        quote(generation),
    )
}

/// Gemma has no system role: its text goes before the first message of the user.
const GEMMA: &str = "{% set ns = namespace(system='') %}{% for message in messages %}{% if message['role'] == 'system' %}\
{% set ns.system = message['content'] + '\n\n' %}{% else %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' \
else 'user') + '\n' + ns.system + message['content'] + '<end_of_turn>\n' }}{% set ns.system = '' %}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

const LLAMA2: &str = "{% set ns = namespace(system='') %}{% for message in messages %}{% if message['role'] == 'system' %}\
{% set ns.system = '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' %}{% elif message['role'] == 'assistant' %}\
{{ ' ' + message['content'] + ' ' + eos_token }}{% else %}{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}\
{% set ns.system = '' %}{% endif %}{% endfor %}";

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_model_without_a_template_gets_that_of_its_family() {
        let name = |arch: &str, tokens: &[&str]| default_template(arch, |name| tokens.contains(&name)).0;
        assert_eq!(name("qwen2", &["<|im_start|>"]), "chatml");
        assert_eq!(name("llama", &["<|start_header_id|>"]), "llama3");
        assert_eq!(name("gemma2", &[]), "gemma");
        assert_eq!(name("llama", &["</s>"]), "llama2");
    }
}
