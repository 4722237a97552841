//! Templates in Jinja, as models bring them in their files.
//!
//! The dialect is what Hugging Face's `apply_chat_template` runs: blocks trimmed, Python's string methods,
//! `raise_exception`, `strftime_now`, `tojson` without escapes. A template is a stranger's program: it runs with
//! a bounded number of steps.

use std::collections::HashSet;

use minijinja::{Environment, Error as JinjaError, ErrorKind, Value, context};
use serde_json::json;
use tutu_llm::{
    chat::{Guard, Message, Segment},
    gotmpl::Think,
};

use super::{
    clock::today,
    template::{Ask, Error},
};

/// Instructions that a template may run: some ten thousand messages' worth.
const FUEL: u64 = 5_000_000;

/// A Jinja template, ready to render.
pub struct Jinja {
    environment: Environment<'static>,
    source: String,
    variables: HashSet<String>,
}

impl Jinja {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn parse(source: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, why))
        });
        environment.add_function("strftime_now", |format: String| today(&format));
        environment.add_filter("tojson", to_json);
        // Marks of training code, without a meaning here.
        let plain = source.replace("{% generation %}", "").replace("{% endgeneration %}", "");
        environment.add_template_owned("chat", plain).map_err(|e| Error::Broken(e.to_string()))?;
        let variables = environment
            .get_template("chat")
            .map(|template| template.undeclared_variables(false))
            .map_err(|e| Error::Broken(e.to_string()))?;
        Ok(Self { environment, source: source.into(), variables })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that it is given from outside.
    pub fn variables(&self) -> &HashSet<String> {
        &self.variables
    }

    /// The prompt, cut where control tokens stand. `bos` and `eos` are names of such.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn render(&self, ask: &Ask<'_>, guard: &Guard, bos: &str, eos: &str) -> Result<Vec<Segment>, Error> {
        let hidden: Vec<serde_json::Value> = ask.messages.iter().map(|message| self::message(message, guard)).collect();
        let tools: Vec<_> = ask.tools.iter().map(|tool| guard.hide_value(tool)).collect();
        let template = self.environment.get_template("chat").map_err(|e| Error::Broken(e.to_string()))?;
        // What nobody said is left to the template.
        let think = match ask.think {
            Think::Unset => Value::UNDEFINED,
            think => Value::from(think != Think::Off),
        };
        let rendered = template
            .render(context! {
                messages => Value::from_serialize(&hidden),
                tools => if tools.is_empty() { Value::UNDEFINED } else { Value::from_serialize(&tools) },
                add_generation_prompt => ask.answer,
                enable_thinking => think,
                thinking => think,
                reasoning_effort => if let Think::Level(level) = ask.think { level.into() } else { Value::UNDEFINED },
                bos_token => bos,
                eos_token => eos,
            })
            .map_err(|e| Error::Refused(e.detail().map_or_else(|| e.to_string(), str::to_string)))?;
        Ok(guard.segments(&rendered))
    }
}

fn message(message: &Message, guard: &Guard) -> serde_json::Value {
    let mut value = json!({ "role": message.role, "content": guard.hide(&message.content) });
    if !message.thinking.is_empty() {
        // Most templates know the first name, gpt-oss's the second.
        value["reasoning_content"] = guard.hide(&message.thinking).into();
        value["thinking"] = guard.hide(&message.thinking).into();
    }
    if !message.tool_calls.is_empty() {
        let call = |call: &tutu_llm::chat::ToolCall| {
            let mut value = json!({ "type": "function", "function": {
                "name": guard.hide(&call.function.name),
                "arguments": guard.hide_value(&call.function.arguments),
            }});
            if !call.id.is_empty() {
                value["id"] = guard.hide(&call.id).into();
            }
            value
        };
        value["tool_calls"] = message.tool_calls.iter().map(call).collect();
    }
    if !message.tool_name.is_empty() {
        value["name"] = guard.hide(&message.tool_name).into();
    }
    if !message.tool_call_id.is_empty() {
        value["tool_call_id"] = guard.hide(&message.tool_call_id).into();
    }
    value
}

/// As Python's `json.dumps(value, ensure_ascii=False)` writes: a space after each comma and colon.
fn to_json(value: &Value, options: minijinja::value::Kwargs) -> Result<Value, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let broken = |e: serde_json::Error| JinjaError::new(ErrorKind::BadSerialization, e.to_string());
    let mut out = Vec::new();
    let value = serde_json::to_value(value).map_err(broken)?;
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
            serde::Serialize::serialize(&value, &mut writer).map_err(broken)?;
        }
        None => {
            let mut writer = serde_json::Serializer::with_formatter(&mut out, Spaced);
            serde::Serialize::serialize(&value, &mut writer).map_err(broken)?;
        }
    }
    String::from_utf8(out)
        .map(Value::from_safe_string)
        .map_err(|e| JinjaError::new(ErrorKind::BadSerialization, e.to_string()))
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = Value::from_serialize(json!({"a": [1, "é"], "b": {}}));
        let text = to_json(&value, minijinja::value::Kwargs::from_iter(Vec::<(&str, Value)>::new())).unwrap();
        assert_eq!(text.to_string(), "{\"a\": [1, \"é\"], \"b\": {}}");
    }
}
