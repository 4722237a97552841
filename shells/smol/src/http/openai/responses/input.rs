//! What is asked of `/v1/responses`, read into what every API asks.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tutu_llm::chat::{Call, Message, ToolCall};

use crate::{
    daemon::{Client, Hearing, Named},
    engine::template::Capability,
    http::{
        Read,
        openai::{
            Refused,
            message::{after_stored, arguments, text},
            sampling::Sampling,
            tool, typed,
        },
    },
    talk::{Ask, Input, Overflow, Think},
};

/// What only a server that keeps state can do.
const KEPT: &[&str] = &["previous_response_id", "conversation", "prompt"];
/// Wanted probabilities, as `include` names them.
const LOGPROBS: &str = "message.output_text.logprobs";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: String,
    input: Option<Value>,
    instructions: Option<String>,
    stream: bool,
    tools: Vec<Value>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    text: Option<Format>,
    reasoning: Option<Reasoning>,
    think: Option<Value>,
    include: Vec<String>,
    top_logprobs: Option<i64>,
    background: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Format {
    format: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reasoning {
    effort: Option<String>,
    /// Thoughts are shown as they are.
    #[allow(dead_code, reason = "read, so that it is not reported as unused")]
    summary: Option<String>,
}

/// What was asked.
pub(super) struct Question {
    /// The fields that an answer shows again.
    pub shown: Value,
    pub ask: Ask,
    pub hearing: Hearing,
    pub stream: bool,
    pub unused: Vec<String>,
}

impl Question {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(mut fields: Map<String, Value>, named: &Named, client: Client) -> Result<Self, Refused> {
        if let Some(name) = KEPT.iter().find(|name| fields.contains_key(**name)) {
            let text =
                format!("{name} needs answers that are kept, and none are kept here: send the whole input again");
            return Err(Refused { code: Some("unsupported_parameter"), ..Refused::bad(name, text) });
        }
        let shown = shown(&fields);
        let mut sampling = Sampling::take(&mut fields)?;
        // Unlike the older route, this one says what it does with an input that does not fit: nothing.
        sampling.overflow = sampling.overflow.or(Some(Overflow::Refuse));
        let Read { value: body, unused } = typed::<Body>(fields)?;
        if !named.can(Capability::Completion) {
            return Err(Refused::bad(
                "model",
                format!("\"{}\" does not support chat: it makes embeddings", body.model),
            ));
        }
        if body.background {
            return Err(Refused::bad("background", "answers are not kept here: ask without background"));
        }
        let mut ask = body.ask(named)?;
        let hearing = sampling.apply(&mut ask, named, client)?;
        Ok(Self { shown, ask, hearing, stream: body.stream, unused })
    }
}

/// The fields of a request that its answer has too, with what they are where nobody says.
fn shown(fields: &Map<String, Value>) -> Value {
    let of = |name: &str, default: Value| fields.get(name).cloned().unwrap_or(default);
    json!({
        "model": of("model", Value::Null),
        "instructions": of("instructions", Value::Null),
        "max_output_tokens": of("max_output_tokens", Value::Null),
        "metadata": of("metadata", json!({})),
        "parallel_tool_calls": of("parallel_tool_calls", json!(true)),
        "previous_response_id": null,
        "reasoning": of("reasoning", json!({"effort": null, "summary": null})),
        "store": false,
        "temperature": of("temperature", json!(1.0)),
        "text": of("text", json!({"format": {"type": "text"}})),
        "tool_choice": of("tool_choice", json!("auto")),
        "tools": of("tools", json!([])),
        "top_p": of("top_p", json!(1.0)),
        "truncation": of("truncation", json!("disabled")),
        "user": of("user", Value::Null),
    })
}

impl Body {
    fn ask(&self, named: &Named) -> Result<Ask, Refused> {
        let mut messages = Vec::new();
        messages.extend(self.instructions.iter().map(|text| Message::new("system", text)));
        match &self.input {
            Some(Value::String(text)) => messages.push(Message::new("user", text)),
            Some(Value::Array(items)) if !items.is_empty() => hear_all(items, &mut messages)?,
            Some(Value::Array(_)) => {
                return Err(Refused::bad("input", "input is empty; there must be something in it"));
            }
            Some(_) => return Err(Refused::bad("input", "input is a text or a list of items")),
            None => return Err(Refused::missing("input")),
        }
        let effort = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref());
        Ok(Ask {
            input: Input::Chat(after_stored(named, messages)),
            tools: tool::tools(&self.tools)?,
            choice: tool::choice(self.tool_choice.as_ref())?,
            parallel: self.parallel_tool_calls.unwrap_or(true),
            form: tool::form(self.text.as_ref().and_then(|text| text.format.as_ref()), "text.format")?,
            think: match (effort, &self.think) {
                (Some(word), _) => tool::effort(word, "reasoning.effort")?,
                (None, Some(value)) => tool::think(value)?,
                (None, None) => Think::Unset,
            },
            logprobs: self.scored()?,
            ..Ask::default()
        })
    }

    fn scored(&self) -> Result<Option<usize>, Refused> {
        let wanted = self.include.iter().any(|name| name == LOGPROBS);
        match self.top_logprobs {
            Some(count) if !(0..=20).contains(&count) => {
                Err(Refused::bad("top_logprobs", format!("top_logprobs is a number from 0 to 20, not {count}")))
            }
            Some(count) if wanted || count > 0 => Ok(Some(count as usize)),
            _ => Ok(wanted.then_some(0)),
        }
    }
}

/// Items as messages: thoughts and calls belong to the answer that they stand beside.
fn hear_all(items: &[Value], messages: &mut Vec<Message>) -> Result<(), Refused> {
    let mut thinking = String::new();
    for (at, item) in items.iter().enumerate() {
        let place = |field: &str| format!("input[{at}].{field}");
        let string = |field: &str| item.get(field).and_then(Value::as_str).map(String::from);
        let kind = item.get("type").and_then(Value::as_str).unwrap_or("message");
        match kind {
            "message" => {
                let role = string("role").ok_or_else(|| Refused::missing(&place("role")))?;
                let role = match role.as_str() {
                    "system" | "developer" => "system",
                    "user" | "assistant" => role.as_str(),
                    _ => return Err(Refused::bad(&place("role"), format!("{role:?} is no role of a message"))),
                };
                let content = item.get("content").ok_or_else(|| Refused::missing(&place("content")))?;
                let mut message = Message::new(role, &text(content, &place("content"))?);
                if role == "assistant" {
                    message.thinking = std::mem::take(&mut thinking);
                }
                messages.push(message);
            }
            "function_call" => {
                let name = string("name").ok_or_else(|| Refused::missing(&place("name")))?;
                let arguments = arguments(item.get("arguments"), &place("arguments"))?;
                let id = string("call_id").unwrap_or_default();
                let call = ToolCall { id, function: Call { name, arguments } };
                match messages.last_mut().filter(|last| last.role == "assistant") {
                    Some(last) => last.tool_calls.push(call),
                    None => messages.push(Message {
                        tool_calls: vec![call],
                        thinking: std::mem::take(&mut thinking),
                        ..Message::new("assistant", "")
                    }),
                }
            }
            "function_call_output" => {
                let output = item.get("output").ok_or_else(|| Refused::missing(&place("output")))?;
                let said = text(output, &place("output"))?;
                let id = string("call_id").ok_or_else(|| Refused::missing(&place("call_id")))?;
                messages.push(Message { tool_call_id: id, ..Message::new("tool", &said) });
            }
            "reasoning" => {
                for field in ["content", "summary"] {
                    let parts = item.get(field).and_then(Value::as_array).into_iter().flatten();
                    parts.filter_map(|part| part.get("text")?.as_str()).for_each(|text| thinking.push_str(text));
                }
            }
            _ => {
                let text = format!("items of the type {kind:?} are not known here");
                return Err(Refused::bad(&place("type"), text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_and_calls_join_the_answer_beside_them() {
        let items = json!([
            {"role": "user", "content": "a"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{\"x\":1}"},
            {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "c"}]},
        ]);
        let mut messages = Vec::new();
        hear_all(items.as_array().unwrap(), &mut messages).unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool"]);
        assert_eq!((messages[1].thinking.as_str(), messages[1].tool_calls.len()), ("hm", 2));
        assert_eq!((messages[2].tool_call_id.as_str(), messages[2].content.as_str()), ("2", "c"));
    }

    #[test]
    fn what_is_wrong_with_an_item_is_said_by_its_place() {
        for (item, place) in [
            (json!({"role": "king", "content": "x"}), "input[0].role"),
            (json!({"role": "user"}), "input[0].content"),
            (json!({"type": "item_reference", "id": "x"}), "input[0].type"),
            (json!({"type": "function_call", "name": "f", "arguments": "["}), "input[0].arguments"),
            (json!({"type": "function_call_output", "call_id": "x"}), "input[0].output"),
            (json!({"role": "user", "content": [{"type": "input_image"}]}), "input[0].content[0]"),
        ] {
            let refused = hear_all(&[item], &mut Vec::new()).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some(place));
        }
    }
}
