//! From messages to a prompt, by the Jinja template that came with the model.
//!
//! The dialect is what Hugging Face's `apply_chat_template` runs: blocks trimmed, Python's string methods,
//! `raise_exception`, `strftime_now`, `tojson` without escapes. A template is a stranger's program: it runs with
//! a bounded number of steps.

use minijinja::{Environment, Error as JinjaError, ErrorKind, Value, context};
use serde_json::json;
use tutu_llm::{
    arch::Facts,
    chat::{Guard, Message, Segment, default_template},
    token::Tokenizer,
};

/// Instructions that a template may run: some ten thousand messages' worth.
const FUEL: u64 = 5_000_000;

/// A template, ready to render.
pub struct Template {
    environment: Environment<'static>,
    source: String,
    guard: Guard,
    bos: String,
    eos: String,
}

/// Why a prompt could not be made.
#[derive(Debug)]
pub enum Error {
    /// The template is broken.
    Broken(String),
    /// The template refused the messages.
    Refused(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "the model's template cannot be used: {why}"),
            Self::Refused(why) => write!(f, "the model's template refused the messages: {why}"),
        }
    }
}

impl Template {
    /// Compiles the model's template, or that of its family where it has none.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn new(source: Option<&str>, facts: &Facts, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let source = match source {
            Some(source) => source.to_string(),
            None => default_template(&facts.architecture, |name| tokenizer.id_of(name).is_some()).1,
        };
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
        let name = |id: Option<u32>| id.map(|id| tokenizer.text(id).to_string()).unwrap_or_default();
        Ok(Self {
            environment,
            source,
            guard: Guard::new(tokenizer.controls()),
            bos: name(tokenizer.bos()),
            eos: name(tokenizer.eos()),
        })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The prompt for `messages`, cut where control tokens stand; with `answer`, up to where the model answers.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn render(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        answer: bool,
    ) -> Result<Vec<Segment>, Error> {
        let hidden: Vec<serde_json::Value> = messages.iter().map(|message| self.message(message)).collect();
        let tools: Vec<_> = tools.iter().map(|tool| self.guard.hide_value(tool)).collect();
        let template = self.environment.get_template("chat").map_err(|e| Error::Broken(e.to_string()))?;
        let rendered = template
            .render(context! {
                messages => Value::from_serialize(&hidden),
                tools => if tools.is_empty() { Value::UNDEFINED } else { Value::from_serialize(&tools) },
                add_generation_prompt => answer,
                bos_token => self.bos,
                eos_token => self.eos,
            })
            .map_err(|e| Error::Refused(e.detail().map_or_else(|| e.to_string(), str::to_string)))?;
        Ok(self.guard.segments(&rendered))
    }

    fn message(&self, message: &Message) -> serde_json::Value {
        let mut value = json!({ "role": message.role, "content": self.guard.hide(&message.content) });
        if !message.thinking.is_empty() {
            value["reasoning_content"] = self.guard.hide(&message.thinking).into();
        }
        if !message.tool_calls.is_empty() {
            let call = |call: &tutu_llm::chat::ToolCall| {
                json!({ "type": "function", "function": {
                    "name": self.guard.hide(&call.function.name),
                    "arguments": self.guard.hide_value(&call.function.arguments),
                }})
            };
            value["tool_calls"] = message.tool_calls.iter().map(call).collect();
        }
        if !message.tool_name.is_empty() {
            value["name"] = self.guard.hide(&message.tool_name).into();
        }
        value
    }
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

/// Today's date in the few formats that templates ask for (`%Y-%m-%d`, `%d %B %Y`, `%d %b %Y`).
fn today(format: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let name = MONTHS[month as usize - 1];
    let time = seconds % 86_400;
    format
        .replace("%Y", &format!("{year:04}"))
        .replace("%m", &format!("{month:02}"))
        .replace("%d", &format!("{day:02}"))
        .replace("%B", name)
        .replace("%b", &name[..3])
        .replace("%H", &format!("{:02}", time / 3600))
        .replace("%M", &format!("{:02}", time / 60 % 60))
        .replace("%S", &format!("{:02}", time % 60))
}

/// Days since 1970 to year, month, day.
///
/// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013), `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_781), (2026, 11, 24));
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = Value::from_serialize(json!({"a": [1, "é"], "b": {}}));
        let text = to_json(&value, minijinja::value::Kwargs::from_iter(Vec::<(&str, Value)>::new())).unwrap();
        assert_eq!(text.to_string(), "{\"a\": [1, \"é\"], \"b\": {}}");
    }
}
