//! Messages as OpenAI's clients send them.

use serde::Deserialize;
use serde_json::{Map, Value};
use tutu_llm::chat::{Call, Message, ToolCall};

use super::Refused;
use crate::daemon::Named;

/// One message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spoken {
    pub role: Option<String>,
    /// A text, a list of parts, or nothing.
    pub content: Option<Value>,
    pub reasoning: Option<String>,
    pub reasoning_content: Option<String>,
    /// What a model refused to say is what it said instead.
    pub refusal: Option<String>,
    pub tool_calls: Option<Vec<Called>>,
    pub tool_call_id: Option<String>,
    /// The tool's name, where one answers; who speaks, elsewhere, which no template knows.
    pub name: Option<String>,
}

/// A call as clients send it back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Called {
    pub id: Option<String>,
    /// `function`; there is nothing else.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its place among the calls; they stand in their order anyway.
    #[allow(dead_code, reason = "read, so that it is not reported as unused")]
    pub index: Option<i64>,
    pub function: Function,
}

/// Its function.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    pub name: Option<String>,
    /// A JSON object, as text.
    pub arguments: Option<Value>,
}

/// A conversation, after what was stored with the model; a system text of its own takes the place of the stored one.
///
/// # Errors
/// What is wrong with a message, by its place.
pub(super) fn conversation(named: &Named, spoken: &[Spoken]) -> Result<Vec<Message>, Refused> {
    let spoken: Vec<Message> =
        spoken.iter().enumerate().map(|(at, spoken)| message(at, spoken)).collect::<Result<_, _>>()?;
    Ok(after_stored(named, spoken))
}

/// What was said, after what was stored with the model.
pub(in crate::http) fn after_stored(named: &Named, spoken: Vec<Message>) -> Vec<Message> {
    let mut messages = Vec::new();
    if spoken.first().is_none_or(|first| first.role != "system") {
        messages.extend(named.model.system.iter().map(|text| Message::new("system", text)));
    }
    messages.extend(named.model.messages.iter().cloned());
    messages.extend(spoken);
    messages
}

fn message(at: usize, spoken: &Spoken) -> Result<Message, Refused> {
    let place = |field: &str| format!("messages[{at}].{field}");
    let role = match spoken.role.as_deref() {
        Some("system" | "developer") => "system",
        Some("tool" | "function") => "tool",
        Some("user") => "user",
        Some("assistant") => "assistant",
        Some(other) => {
            let text = format!("{other:?} is no role: those are system, developer, user, assistant and tool");
            return Err(Refused::bad(&place("role"), text));
        }
        None => return Err(Refused::missing(&place("role"))),
    };
    let calls = spoken.tool_calls.iter().flatten().enumerate();
    let tool_calls = calls
        .map(|(call, called)| tool_call(&place(&format!("tool_calls[{call}]")), called))
        .collect::<Result<_, _>>()?;
    let content = match &spoken.content {
        Some(content) => text(content, &place("content"))?,
        None if matches!(role, "assistant" | "tool") => spoken.refusal.clone().unwrap_or_default(),
        None => return Err(Refused::missing(&place("content"))),
    };
    let thinking = spoken.reasoning.clone().or_else(|| spoken.reasoning_content.clone());
    Ok(Message {
        role: role.into(),
        content,
        thinking: thinking.unwrap_or_default(),
        tool_calls,
        tool_name: spoken.name.clone().filter(|_| role == "tool").unwrap_or_default(),
        tool_call_id: spoken.tool_call_id.clone().unwrap_or_default(),
    })
}

fn tool_call(place: &str, called: &Called) -> Result<ToolCall, Refused> {
    if called.kind.as_deref().is_some_and(|kind| kind != "function") {
        return Err(Refused::bad(&format!("{place}.type"), "only functions are called here"));
    }
    let name = called.function.name.clone().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refused::missing(&format!("{place}.function.name")))?;
    let place = format!("{place}.function.arguments");
    let arguments = arguments(called.function.arguments.as_ref(), &place)?;
    Ok(ToolCall { id: called.id.clone().unwrap_or_default(), function: Call { name, arguments } })
}

/// The arguments of a call: an object, or its JSON text.
pub(in crate::http) fn arguments(value: Option<&Value>, place: &str) -> Result<Value, Refused> {
    let wrong = || Refused::bad(place, "the arguments of a call are the text of a JSON object");
    let value = match value {
        None => Value::Object(Map::new()),
        Some(Value::String(text)) if text.trim().is_empty() => Value::Object(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| wrong())?,
        Some(other) => other.clone(),
    };
    if value.is_object() { Ok(value) } else { Err(wrong()) }
}

/// The text of a message, whose parts stand below each other.
pub(in crate::http) fn text(content: &Value, place: &str) -> Result<String, Refused> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let parts = parts.iter().enumerate().map(|(at, value)| part(value, &format!("{place}[{at}]")));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        _ => Err(Refused::bad(place, "content is a text or a list of parts")),
    }
}

/// The text of one part; `place` is where it stands.
///
/// # Errors
/// A part that is none.
pub(in crate::http) fn part<'v>(value: &'v Value, place: &str) -> Result<&'v str, Refused> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    let field = match kind {
        "text" | "input_text" | "output_text" => "text",
        "refusal" => "refusal",
        "image_url" | "input_image" | "image" => return Err(unseen(place, "images", "sees")),
        "input_audio" | "audio" => return Err(unseen(place, "sounds", "hears")),
        "file" | "input_file" | "document" => return Err(unseen(place, "files", "reads them")),
        _ => {
            let text = format!("{kind:?} is no type of a part that is known here; text is");
            return Err(Refused::bad(&format!("{place}.type"), text));
        }
    };
    let missing = || Refused::bad(&format!("{place}.{field}"), format!("a part of the type {kind} has a text"));
    value.get(field).and_then(Value::as_str).ok_or_else(missing)
}

fn unseen(place: &str, what: &str, verb: &str) -> Refused {
    let text = format!("{what} cannot be read yet: no model that {verb} is supported; send text only");
    Refused { code: Some("unsupported_content"), ..Refused::bad(place, text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Message, Refused> {
        message(3, &serde_json::from_value(value).unwrap())
    }

    #[test]
    fn roles_parts_and_calls_are_read() {
        let developer = read(json!({"role": "developer", "content": [{"type": "text", "text": "a"},
            {"type": "text", "text": "b"}]}));
        assert_eq!(developer, Ok(Message::new("system", "a\nb")));
        let called = read(json!({"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}));
        let called = called.unwrap();
        assert_eq!((called.thinking.as_str(), called.content.as_str()), ("hm", ""));
        assert_eq!(called.tool_calls[0].function.arguments, json!({"a": 1}));
        let answer = read(json!({"role": "function", "name": "f", "content": "42"})).unwrap();
        assert_eq!((answer.role.as_str(), answer.tool_name.as_str()), ("tool", "f"));
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said_by_its_place() {
        for (value, place) in [
            (json!({"content": "x"}), "messages[3].role"),
            (json!({"role": "king", "content": "x"}), "messages[3].role"),
            (json!({"role": "user"}), "messages[3].content"),
            (json!({"role": "user", "content": 1}), "messages[3].content"),
            (json!({"role": "user", "content": [{"type": "image_url"}]}), "messages[3].content[0]"),
            (json!({"role": "user", "content": [{"type": "text"}]}), "messages[3].content[0].text"),
            (json!({"role": "user", "content": [{"type": "smell"}]}), "messages[3].content[0].type"),
            (
                json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}),
                "messages[3].tool_calls[0].function.arguments",
            ),
            (
                json!({"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}),
                "messages[3].tool_calls[0].function.name",
            ),
        ] {
            assert_eq!(read(value).unwrap_err().param.as_deref(), Some(place));
        }
    }
}
