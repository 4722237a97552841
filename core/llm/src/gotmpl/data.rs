//! Messages and tools as templates see them: Go's names for fields, values that are marked as data.
//!
//! Source: Ollama `api/types.go` and `template/template.go` for names, order and what JSON leaves out.

use alloc::{borrow::Cow, format, rc::Rc, string::String, vec, vec::Vec};

use serde_json::Value as Json;

use super::{
    Input, Think,
    value::{Field, Origin, Record, Text, Value},
};
use crate::chat::{Message, ToolCall};

/// Roles that may be a part of a control token's name (`<|user|>`). Any other is what somebody wrote.
const ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "developer"];

fn record(kind: &'static str, fields: Vec<Field>) -> Value {
    Value::Record(Rc::new(Record { kind, fields }))
}

fn field(name: &'static str, json: &'static str, value: Value) -> Field {
    Field { name, json, optional: false, value }
}

fn optional(name: &'static str, json: &'static str, value: Value) -> Field {
    Field { name, json, optional: true, value }
}

/// Messages without neighbours of one role, but for those of tools. What is not text of the second is kept too.
pub(super) fn joined<'m>(messages: &'m [Message]) -> Vec<Cow<'m, Message>> {
    let mut out: Vec<Cow<'m, Message>> = Vec::new();
    for message in messages {
        match out.last_mut().filter(|last| last.role == message.role && message.role != "tool") {
            Some(last) => {
                let last = last.to_mut();
                last.content = format!("{}\n\n{}", last.content, message.content);
                last.thinking.push_str(&message.thinking);
                last.tool_calls.extend(message.tool_calls.iter().cloned());
            }
            None => out.push(Cow::Borrowed(message)),
        }
    }
    out
}

/// All texts of the system role, a blank line between them.
fn system(messages: &[Message]) -> String {
    let texts: Vec<&str> =
        messages.iter().filter(|message| message.role == "system").map(|message| message.content.as_str()).collect();
    texts.join("\n\n")
}

/// For a template that goes through `.Messages` itself.
pub(super) fn conversation(input: &Input<'_>) -> Value {
    let messages = joined(input.messages).iter().map(|message| self::message(message)).collect();
    let mut fields = vec![
        ("System", Value::data(&system(input.messages))),
        ("Messages", Value::list(messages)),
        ("Tools", Value::list(input.tools.iter().map(tool).collect())),
        ("Response", Value::data("")),
    ];
    fields.extend(think(input.think));
    Value::map(fields)
}

/// For a template that knows one turn.
pub(super) fn turn(system: &str, prompt: &str, response: &str, thinking: Think<'_>) -> Value {
    let mut fields =
        vec![("System", Value::data(system)), ("Prompt", Value::data(prompt)), ("Response", Value::data(response))];
    fields.extend(think(thinking));
    Value::map(fields)
}

/// For a template that fills a gap.
pub(super) fn gap(prompt: &str, suffix: &str, thinking: Think<'_>) -> Value {
    let mut fields =
        vec![("Prompt", Value::data(prompt)), ("Suffix", Value::data(suffix)), ("Response", Value::data(""))];
    fields.extend(think(thinking));
    Value::map(fields)
}

fn think(think: Think<'_>) -> [(&'static str, Value); 3] {
    let level = if let Think::Level(level) = think { level } else { "" };
    [
        ("Think", Value::Bool(!matches!(think, Think::Unset | Think::Off))),
        ("ThinkLevel", Value::data(level)),
        ("IsThinkSet", Value::Bool(think != Think::Unset)),
    ]
}

fn message(message: &Message) -> Value {
    let known = ROLES.contains(&message.role.as_str());
    let role = Text::new(if known { Origin::Template } else { Origin::Data }, &message.role);
    record(
        "a message",
        vec![
            field("Role", "role", Value::Text(role)),
            field("Content", "content", Value::data(&message.content)),
            optional("Thinking", "thinking", Value::data(&message.thinking)),
            optional("Images", "images", Value::list(Vec::new())),
            optional("ToolCalls", "tool_calls", Value::list(message.tool_calls.iter().enumerate().map(call).collect())),
            optional("ToolName", "tool_name", Value::data(&message.tool_name)),
            optional("ToolCallID", "tool_call_id", Value::data(&message.tool_call_id)),
        ],
    )
}

fn call((index, call): (usize, &ToolCall)) -> Value {
    let function = record(
        "a called function",
        vec![
            field("Index", "index", Value::Int(index as i64)),
            field("Name", "name", Value::data(&call.function.name)),
            field("Arguments", "arguments", Value::of_json(&call.function.arguments)),
        ],
    );
    record("a tool call", vec![optional("ID", "id", Value::data(&call.id)), field("Function", "function", function)])
}

fn text(json: &Json, key: &str) -> Value {
    Value::data(json[key].as_str().unwrap_or_default())
}

/// An empty list where there is none.
fn list(json: &Json) -> Value {
    if json.is_array() { Value::of_json(json) } else { Value::list(Vec::new()) }
}

/// Keys that Ollama does not know are left out, as it does.
fn tool(tool: &Json) -> Value {
    let given = &tool["function"];
    let function = record(
        "a function",
        vec![
            field("Name", "name", text(given, "name")),
            field("Description", "description", text(given, "description")),
            field("Parameters", "parameters", parameters(&given["parameters"])),
        ],
    );
    record(
        "a tool",
        vec![
            field("Type", "type", text(tool, "type")),
            optional("Items", "items", Value::of_json(&tool["items"])),
            field("Function", "function", function),
        ],
    )
}

fn parameters(given: &Json) -> Value {
    record(
        "parameters",
        vec![
            field("Type", "type", text(given, "type")),
            optional("Defs", "$defs", Value::of_json(&given["$defs"])),
            optional("Items", "items", Value::of_json(&given["items"])),
            optional("Required", "required", list(&given["required"])),
            field("Properties", "properties", properties(&given["properties"], 0)),
        ],
    )
}

/// How deep one property may lie in others.
const PROPERTIES_MAX: usize = 32;

fn properties(given: &Json, depth: usize) -> Value {
    match given.as_object() {
        Some(map) if depth < PROPERTIES_MAX => {
            Value::map(map.iter().map(|(name, value)| (name.as_str(), property(value, depth + 1))))
        }
        _ => Value::Nil,
    }
}

fn property(given: &Json, depth: usize) -> Value {
    let choices = given["anyOf"].as_array().filter(|_| depth < PROPERTIES_MAX);
    let choices = choices.into_iter().flatten().map(|choice| property(choice, depth + 1)).collect();
    // One type in a list is that type.
    let kind = match given["type"].as_array().map(Vec::as_slice) {
        Some([one]) => one,
        _ => &given["type"],
    };
    record(
        "a property",
        vec![
            optional("AnyOf", "anyOf", Value::list(choices)),
            optional("Type", "type", Value::of_json(kind)),
            optional("Items", "items", Value::of_json(&given["items"])),
            optional("Description", "description", text(given, "description")),
            optional("Enum", "enum", list(&given["enum"])),
            optional("Properties", "properties", properties(&given["properties"], depth)),
            optional("Required", "required", list(&given["required"])),
        ],
    )
}
