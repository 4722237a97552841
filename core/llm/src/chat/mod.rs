//! Conversations: messages, what a user's text may not become, and how families of models mark thoughts and calls.

mod bare;
mod call;
mod channel;
mod family;
pub mod form;
mod guard;
mod parse;
mod scan;
mod tags;
mod template;
#[cfg(test)]
mod tests;

pub use call::Tool;
pub use family::{Calls, Family, HERMES, Several, Style, Thoughts};
pub use guard::{Guard, Segment, shown};
pub use parse::{Parser, Part, Start};
pub use template::default_template;

use alloc::{string::String, vec::Vec};

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
    /// For role `tool`: which call it answers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool_call_id: String,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What an answer to it refers to; empty where nobody gave it one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
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
