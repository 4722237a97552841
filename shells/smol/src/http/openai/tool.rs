//! Tools, which of them shall be called, and what an answer must look like, as OpenAI's clients say it.

use serde_json::Value;

use super::Refused;
use crate::talk::{Choice, Form, Think, Tool};

/// The tools of a request; those of `/v1/responses` stand flat, without a `function` of their own.
///
/// # Errors
/// A tool that is no function, or has no name.
pub(in crate::http) fn tools(list: &[Value]) -> Result<Vec<Tool>, Refused> {
    list.iter().enumerate().map(|(at, value)| tool(at, value)).collect()
}

fn tool(at: usize, value: &Value) -> Result<Tool, Refused> {
    let place = format!("tools[{at}]");
    match value.get("type").and_then(Value::as_str) {
        Some("function") | None => {}
        Some(other) => {
            let text = format!("tools of the type {other:?} cannot be called here; functions can");
            return Err(Refused::bad(&format!("{place}.type"), text));
        }
    }
    let function = value.get("function").unwrap_or(value);
    let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let parameters = function.get("parameters").cloned().unwrap_or(Value::Null);
    if !(parameters.is_null() || parameters.is_object()) {
        return Err(Refused::bad(&format!("{place}.function.parameters"), "parameters are a JSON schema, an object"));
    }
    Ok(Tool {
        name: name.ok_or_else(|| Refused::missing(&format!("{place}.function.name")))?.to_owned(),
        description: function.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        parameters,
        strict: function.get("strict").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// Which tools shall be called.
///
/// # Errors
/// A form that is not known.
pub(in crate::http) fn choice(value: Option<&Value>) -> Result<Choice, Refused> {
    let wrong = || {
        let text = "tool_choice is \"none\", \"auto\", \"required\", one function or a list of allowed tools";
        Refused::bad("tool_choice", text)
    };
    let name = |value: &Value| {
        let function = value.get("function").unwrap_or(value);
        function.get("name").and_then(Value::as_str).map(String::from).ok_or_else(wrong)
    };
    match value {
        None => Ok(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Ok(Choice::None),
            "auto" => Ok(Choice::Auto),
            "required" | "any" => Ok(Choice::Required),
            _ => Err(wrong()),
        },
        Some(object) => match object.get("type").and_then(Value::as_str) {
            Some("function") => Ok(Choice::Named(name(object)?)),
            Some("allowed_tools") => {
                let allowed = object.get("allowed_tools").unwrap_or(object);
                let list = allowed.get("tools").and_then(Value::as_array).ok_or_else(wrong)?;
                let names = list.iter().map(name).collect::<Result<_, _>>()?;
                match allowed.get("mode").and_then(Value::as_str) {
                    None | Some("auto") => Ok(Choice::Allowed { names, required: false }),
                    Some("required") => Ok(Choice::Allowed { names, required: true }),
                    Some(_) => Err(wrong()),
                }
            }
            _ => Err(wrong()),
        },
    }
}

/// What an answer must look like; `param` is the field that says so. The schema of `/v1/responses` stands flat.
///
/// # Errors
/// A form that is not known, or without a schema.
pub(in crate::http) fn form(value: Option<&Value>, param: &str) -> Result<Form, Refused> {
    let Some(value) = value else { return Ok(Form::Free) };
    let schema = |value: &Value| value.get("schema").filter(|schema| !schema.is_null()).cloned();
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Form::Free),
        Some("json_object") => Ok(schema(value).map_or(Form::Json, Form::Schema)),
        Some("json_schema") => {
            let inner = value.get("json_schema").unwrap_or(value);
            let missing = || Refused::missing(&format!("{param}.json_schema.schema"));
            schema(inner).map(Form::Schema).ok_or_else(missing)
        }
        Some("grammar") => match value.get("grammar").and_then(Value::as_str) {
            Some(text) => Ok(Form::Gbnf(text.to_owned())),
            None => Err(Refused::missing(&format!("{param}.grammar"))),
        },
        _ => Err(Refused::bad(&format!("{param}.type"), "the type is text, json_object or json_schema")),
    }
}

/// How much a model shall think.
///
/// # Errors
/// An effort that is not known.
pub(in crate::http) fn effort(word: &str, param: &str) -> Result<Think, Refused> {
    match word {
        "none" => Ok(Think::Off),
        // Templates know three levels.
        "minimal" | "low" => Ok(Think::Level("low".into())),
        "medium" => Ok(Think::Level("medium".into())),
        "high" | "xhigh" | "max" => Ok(Think::Level("high".into())),
        _ => {
            let text = format!("{word:?} is no effort: those are none, minimal, low, medium, high, xhigh and max");
            Err(Refused::bad(param, text))
        }
    }
}

/// Ollama's `think`: true, false, or a level.
///
/// # Errors
/// What is neither.
pub(in crate::http) fn think(value: &Value) -> Result<Think, Refused> {
    match value {
        Value::Bool(true) => Ok(Think::On),
        Value::Bool(false) => Ok(Think::Off),
        Value::String(word) => effort(word, "think"),
        _ => Err(Refused::bad("think", "think is true, false, \"low\", \"medium\" or \"high\"")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_stand_in_a_function_or_flat() {
        let nested = json!({"type": "function", "function": {"name": "f", "parameters": {}, "strict": true}});
        let flat = json!({"type": "function", "name": "f", "parameters": {}, "strict": true});
        assert_eq!(tools(&[nested]), tools(&[flat]));
        let param = |value| tools(&[value]).unwrap_err().param.unwrap();
        assert_eq!(param(json!({"type": "custom"})), "tools[0].type");
        assert_eq!(param(json!({"type": "function", "function": {}})), "tools[0].function.name");
        assert_eq!(param(json!({"function": {"name": "f", "parameters": 1}})), "tools[0].function.parameters");
    }

    #[test]
    fn each_form_of_a_choice_is_read() {
        let read = |value: Value| choice(Some(&value));
        assert_eq!(choice(None), Ok(Choice::Auto));
        assert_eq!(read(json!("none")), Ok(Choice::None));
        assert_eq!(read(json!("required")), Ok(Choice::Required));
        assert_eq!(read(json!({"type": "function", "function": {"name": "f"}})), Ok(Choice::Named("f".into())));
        assert_eq!(read(json!({"type": "function", "name": "f"})), Ok(Choice::Named("f".into())));
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}});
        assert_eq!(read(allowed), Ok(Choice::Allowed { names: vec!["f".into()], required: true }));
        for wrong in [json!("maybe"), json!(1), json!({"type": "function"}), json!({"type": "allowed_tools"})] {
            assert_eq!(read(wrong).unwrap_err().param.as_deref(), Some("tool_choice"));
        }
    }

    #[test]
    fn each_form_of_an_answer_is_read() {
        let read = |value: Value| form(Some(&value), "response_format");
        assert_eq!(read(json!({"type": "text"})), Ok(Form::Free));
        assert_eq!(read(json!({"type": "json_object"})), Ok(Form::Json));
        let schema = json!({"type": "object"});
        let nested = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        assert_eq!(read(nested), Ok(Form::Schema(schema.clone())));
        assert_eq!(read(json!({"type": "json_schema", "name": "x", "schema": schema})), Ok(Form::Schema(schema)));
        assert!(read(json!({"type": "json_schema"})).is_err() && read(json!({"type": "yaml"})).is_err());
    }
}
