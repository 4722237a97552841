//! What Anthropic's clients ask, read into what every API asks.

use serde::Deserialize;
use serde_json::{Map, Value};
use tutu_llm::chat::{Call, Message, ToolCall};

use super::openai::{
    Refused,
    message::{after_stored, part, text},
    sampling::Sampling,
    tool, typed,
};
use crate::{
    daemon::{Client, Hearing, Named},
    engine::template::Capability,
    http::Read,
    talk::{Ask, Choice, Form, Input, Think, Tool},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: String,
    messages: Option<Vec<Spoken>>,
    system: Option<Value>,
    stream: bool,
    tools: Vec<Value>,
    tool_choice: Option<Chosen>,
    thinking: Option<Thinking>,
    output_config: Output,
}

#[derive(Debug, Deserialize)]
struct Spoken {
    role: String,
    content: Value,
}

#[derive(Debug, Deserialize)]
struct Chosen {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    #[serde(default)]
    disable_parallel_tool_use: bool,
}

#[derive(Debug, Deserialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: String,
    budget_tokens: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Output {
    effort: Option<String>,
    format: Option<Value>,
}

/// What was asked.
pub(super) struct Question {
    pub model: String,
    pub ask: Ask,
    pub hearing: Hearing,
    pub stream: bool,
    /// The texts that the asker said end the answer.
    pub stops: Vec<String>,
    /// Whether the asker marked what shall be cached.
    pub cached: bool,
    pub unused: Vec<String>,
}

impl Question {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(mut fields: Map<String, Value>, named: &Named, client: Client) -> Result<Self, Refused> {
        if !fields.contains_key("max_tokens") {
            return Err(Refused::missing("max_tokens"));
        }
        if fields["max_tokens"].as_u64() == Some(0) {
            return Err(Refused::bad("max_tokens", "max_tokens is at least 1"));
        }
        let cached = marks_cache(&Value::Object(fields.clone()), 0);
        let stops = match fields.remove("stop_sequences") {
            None => Vec::new(),
            Some(list) => {
                let wrong = |_| Refused::bad("stop_sequences", "stop_sequences is a list of texts");
                let stops: Vec<String> = serde_json::from_value(list.clone()).map_err(wrong)?;
                fields.insert("stop".into(), list);
                stops
            }
        };
        let sampling = Sampling::take(&mut fields)?;
        let Read { value: body, unused } = typed::<Body>(fields)?;
        if !named.can(Capability::Completion) {
            return Err(Refused::bad(
                "model",
                format!("\"{}\" does not support chat: it makes embeddings", body.model),
            ));
        }
        let mut ask = body.ask(named)?;
        let hearing = sampling.apply(&mut ask, named, client)?;
        Ok(Self { model: body.model, ask, hearing, stream: body.stream, stops, cached, unused })
    }
}

/// Whether something in it is marked to be cached: at the top, in a system text, a tool, a message or a block.
fn marks_cache(value: &Value, depth: usize) -> bool {
    match value {
        Value::Object(fields) => {
            fields.contains_key("cache_control")
                || depth < 6 && fields.values().any(|value| marks_cache(value, depth + 1))
        }
        Value::Array(list) => depth < 6 && list.iter().any(|value| marks_cache(value, depth + 1)),
        _ => false,
    }
}

impl Body {
    fn ask(&self, named: &Named) -> Result<Ask, Refused> {
        let spoken = self.messages.as_deref().ok_or_else(|| Refused::missing("messages"))?;
        if spoken.is_empty() {
            return Err(Refused::bad("messages", "messages is empty; there must be at least one"));
        }
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(Message::new("system", &text(system, "system")?));
        }
        for (at, spoken) in spoken.iter().enumerate() {
            hear(spoken, &format!("messages[{at}]"), &mut messages)?;
        }
        let (choice, parallel) = self.choice()?;
        let (think, thinking_max) = self.think()?;
        Ok(Ask {
            input: Input::Chat(after_stored(named, messages)),
            tools: self.tools.iter().enumerate().map(|(at, tool)| read_tool(at, tool)).collect::<Result<_, _>>()?,
            choice,
            parallel,
            think,
            thinking_max,
            form: match &self.output_config.format {
                Some(format) => tool::form(Some(format), "output_config.format")?,
                None => Form::Free,
            },
            ..Ask::default()
        })
    }

    fn choice(&self) -> Result<(Choice, bool), Refused> {
        let Some(chosen) = &self.tool_choice else { return Ok((Choice::Auto, true)) };
        let choice = match (chosen.kind.as_str(), &chosen.name) {
            ("auto", _) => Choice::Auto,
            ("any", _) => Choice::Required,
            ("none", _) => Choice::None,
            ("tool", Some(name)) => Choice::Named(name.clone()),
            ("tool", None) => return Err(Refused::missing("tool_choice.name")),
            _ => return Err(Refused::bad("tool_choice.type", "the type is auto, any, tool or none")),
        };
        Ok((choice, !chosen.disable_parallel_tool_use))
    }

    /// Nobody who has not asked for thoughts knows what to do with them.
    fn think(&self) -> Result<(Think, Option<usize>), Refused> {
        let Some(thinking) = &self.thinking else { return Ok((Think::Off, None)) };
        let effort = self.output_config.effort.as_deref();
        match thinking.kind.as_str() {
            "disabled" => Ok((Think::Off, None)),
            "enabled" | "adaptive" => {
                let think = effort.map_or(Ok(Think::On), |word| tool::effort(word, "output_config.effort"))?;
                Ok((think, thinking.budget_tokens))
            }
            _ => Err(Refused::bad("thinking.type", "the type is enabled, adaptive or disabled")),
        }
    }
}

fn read_tool(at: usize, value: &Value) -> Result<Tool, Refused> {
    let place = format!("tools[{at}]");
    if let Some(kind) = value.get("type").and_then(Value::as_str).filter(|kind| *kind != "custom") {
        let text =
            format!("the tool type {kind:?} runs at the vendor's and not here; describe the tool with input_schema");
        return Err(Refused::bad(&format!("{place}.type"), text));
    }
    let name = value.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let parameters = value.get("input_schema").cloned().unwrap_or(Value::Null);
    if !(parameters.is_null() || parameters.is_object()) {
        return Err(Refused::bad(&format!("{place}.input_schema"), "input_schema is a JSON schema, an object"));
    }
    Ok(Tool {
        name: name.ok_or_else(|| Refused::missing(&format!("{place}.name")))?.to_owned(),
        description: value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        parameters,
        strict: value.get("strict").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// A message as one or several: answers of tools are messages of their own here.
fn hear(spoken: &Spoken, place: &str, messages: &mut Vec<Message>) -> Result<(), Refused> {
    let is_user = match spoken.role.as_str() {
        "user" => true,
        "assistant" => false,
        "system" => {
            messages.push(Message::new("system", &text(&spoken.content, &format!("{place}.content"))?));
            return Ok(());
        }
        other => {
            let text = format!("{other:?} is no role: those are user and assistant");
            return Err(Refused::bad(&format!("{place}.role"), text));
        }
    };
    let mut message = Message::new(&spoken.role, "");
    let mut texts = Vec::new();
    match &spoken.content {
        Value::Array(blocks) => {
            for (at, block) in blocks.iter().enumerate() {
                let place = format!("{place}.content[{at}]");
                match block.get("type").and_then(Value::as_str).unwrap_or_default() {
                    "tool_result" if is_user => messages.push(result(block, &place)?),
                    "tool_use" if !is_user => message.tool_calls.push(call(block, &place)?),
                    "thinking" if !is_user => {
                        message.thinking.push_str(block.get("thinking").and_then(Value::as_str).unwrap_or_default());
                    }
                    // Nobody but who wrote it can read it.
                    "redacted_thinking" if !is_user => {}
                    _ => texts.push(part(block, &place)?.to_owned()),
                }
            }
        }
        Value::String(text) => texts.push(text.clone()),
        _ => return Err(Refused::bad(&format!("{place}.content"), "content is a text or a list of blocks")),
    }
    message.content = texts.join("\n");
    // Of a message that brought nothing but answers of tools nothing is left.
    if !texts.is_empty() || !is_user || messages.last().is_none_or(|last| last.role != "tool") {
        messages.push(message);
    }
    Ok(())
}

fn result(block: &Value, place: &str) -> Result<Message, Refused> {
    let id = block.get("tool_use_id").and_then(Value::as_str);
    let id = id.ok_or_else(|| Refused::missing(&format!("{place}.tool_use_id")))?;
    let said = block.get("content").map_or(Ok(String::new()), |content| text(content, &format!("{place}.content")))?;
    let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    let said = if failed { format!("error: {said}") } else { said };
    Ok(Message { tool_call_id: id.into(), ..Message::new("tool", &said) })
}

fn call(block: &Value, place: &str) -> Result<ToolCall, Refused> {
    let text = |key: &str| block.get(key).and_then(Value::as_str).map(String::from);
    let name = text("name").ok_or_else(|| Refused::missing(&format!("{place}.name")))?;
    let arguments = super::openai::message::arguments(block.get("input"), &format!("{place}.input"))?;
    Ok(ToolCall { id: text("id").unwrap_or_default(), function: Call { name, arguments } })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn heard(value: Value) -> Result<Vec<Message>, Refused> {
        let mut messages = Vec::new();
        hear(&serde_json::from_value(value).unwrap(), "messages[0]", &mut messages).map(|()| messages)
    }

    #[test]
    fn answers_of_tools_are_messages_of_their_own() {
        let messages = heard(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "1"},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "2"}], "is_error": true},
            {"type": "text", "text": "go on"}]}));
        let lines: Vec<String> =
            messages.unwrap().iter().map(|m| format!("{} {} {}", m.role, m.tool_call_id, m.content)).collect();
        assert_eq!(lines, ["tool a 1", "tool b error: 2", "user  go on"]);
    }

    #[test]
    fn thoughts_and_calls_belong_to_the_assistant() {
        let messages = heard(json!({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "x"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"k": 1}}]}));
        let message = messages.unwrap().remove(0);
        assert_eq!((message.thinking.as_str(), message.content.as_str()), ("hm", "x"));
        assert_eq!(message.tool_calls[0].function.arguments, json!({"k": 1}));
        let refused = heard(json!({"role": "user", "content": [{"type": "tool_use", "name": "f"}]})).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("messages[0].content[0].type"));
    }

    #[test]
    fn a_mark_to_cache_is_seen_wherever_it_may_stand() {
        let mark = json!({"type": "ephemeral"});
        assert!(marks_cache(&json!({"system": [{"type": "text", "text": "x", "cache_control": mark}]}), 0));
        assert!(!marks_cache(&json!({"system": "cache_control"}), 0));
    }
}
