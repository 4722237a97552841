//! What clients of Ollama ask, read into what every API asks.

use serde::Deserialize;
use serde_json::{Map, Value};
use tutu_llm::chat::{self, Message, ToolCall};

use super::Refused;
use crate::{
    daemon::Named,
    engine::template::Capability,
    talk::{Ask, Form, Input, Options, Overflow, Think, Tool, options::Taken},
};

/// The body of `/api/generate` and of `/api/chat`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    pub model: Option<String>,
    pub prompt: Option<String>,
    pub suffix: Option<String>,
    pub system: Option<String>,
    pub template: Option<String>,
    pub raw: Option<bool>,
    pub context: Option<Vec<u32>>,
    pub images: Option<Vec<String>>,
    pub messages: Option<Vec<Spoken>>,
    pub tools: Option<Vec<Value>>,
    pub format: Option<Value>,
    pub think: Option<Value>,
    pub options: Option<Map<String, Value>>,
    pub keep_alive: Option<Value>,
    pub stream: Option<bool>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<i64>,
    pub truncate: Option<bool>,
    pub shift: Option<bool>,
    pub adapters: Option<Value>,
    /// Of ours: whether what is stored with the model comes before the messages.
    pub stored: Option<bool>,
    #[serde(rename = "_debug_render_only")]
    pub debug_render_only: Option<bool>,
}

/// A message as clients send it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spoken {
    pub role: Option<String>,
    pub content: Option<String>,
    pub thinking: Option<String>,
    pub images: Option<Vec<String>>,
    pub tool_calls: Option<Vec<Called>>,
    pub tool_name: Option<String>,
    pub tool_call_id: Option<String>,
}

/// A call as clients send it back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Called {
    pub id: Option<String>,
    pub function: Function,
}

/// Its function.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    /// Its place among the calls; they stand in their order anyway.
    #[allow(dead_code, reason = "read, so that it is not reported as unused")]
    pub index: Option<i64>,
    pub name: Option<String>,
    pub arguments: Option<Value>,
}

/// What a body asks, and which of its options count for nothing here.
pub(super) struct Asked {
    pub ask: Ask,
    pub options: Options,
    pub unused: Vec<String>,
}

impl Body {
    /// The range of `top_logprobs`, which is looked at before anything else.
    pub(super) fn check_range(&self) -> Result<(), Refused> {
        match self.top_logprobs {
            Some(count) if !(0..=20).contains(&count) => Err(Refused::bad("top_logprobs must be between 0 and 20")),
            _ => Ok(()),
        }
    }

    /// What everything has in common, but for the input.
    pub(super) fn asked(&self, named: &Named, name: &str) -> Result<Asked, Refused> {
        let mut options = named.options.clone();
        let mut unused = Vec::new();
        for (key, value) in self.options.iter().flatten() {
            match options.set(key, value).map_err(Refused::bad)? {
                Taken::Used => {}
                Taken::Unused | Taken::Unknown => unused.push(format!("options.{key}")),
            }
        }
        let mut ask = Ask {
            form: form(self.format.as_ref())?,
            think: self.think(named, name)?,
            template: self.template.clone().filter(|text| !text.is_empty()),
            logprobs: self.logprobs.unwrap_or(false).then(|| self.top_logprobs.unwrap_or(0).max(0) as usize),
            overflow: if self.truncate == Some(false) { Overflow::Refuse } else { Overflow::Fit },
            shift: self.shift.unwrap_or(true),
            ..Ask::default()
        };
        options.apply(&mut ask);
        Ok(Asked { ask, options, unused })
    }

    fn think(&self, named: &Named, name: &str) -> Result<Think, Refused> {
        let think = match self.think.as_ref() {
            None | Some(Value::Null) => return Ok(Think::Unset),
            Some(Value::Bool(false)) => return Ok(Think::Off),
            Some(Value::Bool(true)) => Think::On,
            Some(Value::String(level)) if ["low", "medium", "high", "max"].contains(&level.as_str()) => {
                Think::Level(level.clone())
            }
            Some(other) => {
                return Err(Refused::bad(format!(
                    "think is true, false, \"low\", \"medium\", \"high\" or \"max\", and not {other}"
                )));
            }
        };
        if named.can(Capability::Thinking) {
            Ok(think)
        } else {
            Err(Refused::bad(format!("\"{name}\" does not support thinking")))
        }
    }

    /// What `/api/generate` goes on from.
    pub(super) fn input(&self, named: &Named, name: &str) -> Result<Input, Refused> {
        no_images(self.images.as_ref())?;
        let prompt = self.prompt.clone().unwrap_or_default();
        let context = self.context.clone().unwrap_or_default();
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if self.raw == Some(true) {
            if given(&self.system) || given(&self.template) || !context.is_empty() {
                return Err(Refused::bad("raw mode does not support template, system, or context"));
            }
            return Ok(Input::Raw(prompt));
        }
        if let Some(suffix) = self.suffix.clone().filter(|suffix| !suffix.is_empty()) {
            if !named.can(Capability::Insert) {
                return Err(Refused::bad(format!("{name} does not support insert")));
            }
            return Ok(Input::Gap { prompt, suffix });
        }
        let system = self.system.clone().or_else(|| named.model.system.clone()).filter(|text| !text.is_empty());
        if named.model.messages.is_empty() {
            return Ok(Input::Prompt { system, prompt, context });
        }
        let mut messages: Vec<Message> = system.iter().map(|text| Message::new("system", text)).collect();
        messages.extend(named.model.messages.iter().cloned());
        messages.push(Message::new("user", &prompt));
        Ok(Input::Chat(messages))
    }

    /// What `/api/chat` goes on from.
    pub(super) fn conversation(&self, named: &Named) -> Result<Input, Refused> {
        let spoken = self.messages.iter().flatten().map(message).collect::<Result<Vec<_>, _>>()?;
        if self.stored == Some(false) {
            return Ok(Input::Chat(spoken));
        }
        let mut messages = Vec::new();
        let speaks_itself = spoken.first().is_some_and(|message| message.role == "system");
        if !speaks_itself {
            messages.extend(named.model.system.iter().map(|text| Message::new("system", text)));
        }
        messages.extend(named.model.messages.iter().cloned());
        messages.extend(spoken);
        Ok(Input::Chat(messages))
    }

    /// The tools that may be called.
    pub(super) fn callable(&self, named: &Named, name: &str) -> Result<Vec<Tool>, Refused> {
        let tools = self.tools.iter().flatten().map(tool).collect::<Result<Vec<_>, _>>()?;
        if !tools.is_empty() && !named.can(Capability::Tools) {
            return Err(Refused::bad(format!("{name} does not support tools")));
        }
        Ok(tools)
    }
}

fn no_images(images: Option<&Vec<String>>) -> Result<(), Refused> {
    match images {
        Some(images) if !images.is_empty() => {
            Err(Refused::bad("images cannot be read yet: no model that sees is supported; send text only"))
        }
        _ => Ok(()),
    }
}

fn message(spoken: &Spoken) -> Result<Message, Refused> {
    no_images(spoken.images.as_ref())?;
    let role = spoken.role.clone().unwrap_or_default().to_lowercase();
    if !["system", "user", "assistant", "tool"].contains(&role.as_str()) {
        return Err(Refused::bad(format!("invalid role {role:?}: it is system, user, assistant or tool")));
    }
    let call = |called: &Called| ToolCall {
        id: called.id.clone().unwrap_or_default(),
        function: chat::Call {
            name: called.function.name.clone().unwrap_or_default(),
            arguments: called.function.arguments.clone().unwrap_or_else(|| Value::Object(Map::new())),
        },
    };
    Ok(Message {
        role,
        content: spoken.content.clone().unwrap_or_default(),
        thinking: spoken.thinking.clone().unwrap_or_default(),
        tool_calls: spoken.tool_calls.iter().flatten().map(call).collect(),
        tool_name: spoken.tool_name.clone().unwrap_or_default(),
        tool_call_id: spoken.tool_call_id.clone().unwrap_or_default(),
    })
}

fn tool(value: &Value) -> Result<Tool, Refused> {
    let function = value.get("function").unwrap_or(&Value::Null);
    let text = |key: &str| function.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let tool = Tool {
        name: text("name"),
        description: text("description"),
        parameters: function.get("parameters").cloned().unwrap_or(Value::Null),
        strict: false,
    };
    if tool.name.is_empty() { Err(Refused::bad("a tool needs function.name")) } else { Ok(tool) }
}

/// What an answer must look like.
fn form(format: Option<&Value>) -> Result<Form, Refused> {
    match format {
        None | Some(Value::Null) => Ok(Form::Free),
        Some(Value::String(text)) if text.is_empty() => Ok(Form::Free),
        Some(Value::String(text)) if text == "json" => Ok(Form::Json),
        Some(schema @ Value::Object(_)) => Ok(Form::Schema(schema.clone())),
        Some(other) => Err(Refused::bad(format!("invalid format: {other}; expected \"json\" or a JSON schema"))),
    }
}
