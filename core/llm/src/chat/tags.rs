//! A call with a tag for each argument, as a grammar: `<function=f>`, then `<parameter=a>`, the value, `</parameter>`.
//!
//! Text stands there as it is, everything else as JSON. Of a text whose schema says more than a list of values, nobody
//! could tell where its JSON would end and the text begin: such a schema is not kept to.

use alloc::{borrow::ToOwned, format, string::String, vec, vec::Vec};

use serde_json::Value;

use super::{Tool, form::value};
use crate::grammar::{Chars, Expr, Rules, json, schema::is_annotation, words};

/// What ends a value.
const CLOSE: &str = "\n</parameter>\n";

/// From `<function=` to `</function>`.
pub(super) fn tags(tool: &Tool, rules: &mut Rules) -> Result<Expr, String> {
    let empty = Value::Object(serde_json::Map::new());
    let properties = match &tool.parameters["properties"] {
        Value::Null => &empty,
        given => given,
    };
    let properties = properties.as_object().ok_or("\"properties\" is no object")?;
    let required: Vec<&str> =
        tool.parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if tool.strict
        && let Some(keyword) =
            ["allOf", "anyOf", "oneOf", "$ref"].iter().find(|key| tool.parameters.get(**key).is_some())
    {
        return Err(format!("{keyword:?} of all parameters is not supported in this model's calls"));
    }
    let mut body = vec![Expr::text(&format!("<function={}>\n", tool.name))];
    for (name, schema) in properties {
        let pair = vec![Expr::text(&format!("<parameter={name}>\n")), argument(tool, schema, rules)?];
        let pair = Expr::Seq(pair);
        body.push(if required.contains(&name.as_str()) { pair } else { pair.optional() });
    }
    if let Some(name) = required.iter().find(|name| !properties.contains_key(**name)) {
        if tool.strict {
            return Err(format!("{name:?} is required and not among the properties"));
        }
        body.push(Expr::text(&format!("<parameter={name}>\n")));
        body.push(Expr::Rule(text(rules)));
    }
    body.push(Expr::text("</function>"));
    Ok(Expr::Seq(body))
}

/// A value and what ends it.
fn argument(tool: &Tool, schema: &Value, rules: &mut Rules) -> Result<Expr, String> {
    let close = || Expr::text(CLOSE);
    let listed = match (&schema["enum"], schema.get("const")) {
        (Value::Array(list), _) => Some(list.as_slice()),
        (_, Some(one)) => Some(core::slice::from_ref(one)),
        _ => None,
    };
    if let Some(list) = listed.filter(|list| list.iter().all(|value| value.is_string() || value.is_number())) {
        let raw = |value: &Value| value.as_str().map_or_else(|| format!("{value}"), ToOwned::to_owned).into_bytes();
        return Ok(Expr::Seq(vec![words(list.iter().map(raw).collect()), close()]));
    }
    let is_text = match &schema["type"] {
        Value::String(name) => name == "string",
        Value::Array(list) => list.iter().any(|name| name == "string"),
        _ => false,
    };
    let unknown = schema.get("type").is_none();
    if is_text || unknown && !tool.strict {
        let mut keywords = schema.as_object().into_iter().flat_map(|map| map.keys());
        let bound = keywords.find(|key| *key != "type" && !is_annotation(key));
        return match bound {
            Some(keyword) if tool.strict => {
                Err(format!("{keyword:?} of a string is not supported in this model's calls"))
            }
            _ => Ok(Expr::Rule(text(rules))),
        };
    }
    if unknown {
        return Err("a parameter without \"type\" is not supported in this model's calls".into());
    }
    // References lead to where they did.
    let mut schema = schema.clone();
    if let Some(map) = schema.as_object_mut() {
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = tool.parameters.get(key) {
                map.insert(key.into(), definitions.clone());
            }
        }
    }
    Ok(Expr::Seq(vec![value(&schema, tool.strict, rules, any)?, close()]))
}

fn any() -> (Rules, usize) {
    json::object_rules()
}

/// Any text up to the first [`CLOSE`], which is part of it.
///
/// A rule for each beginning of the mark: where one more character does not go on with it, the longest other
/// beginning that the text ends with does (Knuth, Morris and Pratt 1977).
fn text(rules: &mut Rules) -> usize {
    let mark: Vec<char> = CLOSE.chars().collect();
    let states: Vec<usize> = mark.iter().map(|_| rules.declare("text")).collect();
    let after = |state: usize, c: char| {
        let seen: Vec<char> = mark[..state].iter().copied().chain([c]).collect();
        (0..=seen.len()).rev().find(|&len| mark.starts_with(&seen[seen.len() - len..])).unwrap_or(0)
    };
    let mut known: Vec<char> = mark.clone();
    known.sort_unstable();
    known.dedup();
    for (state, &rule) in states.iter().enumerate() {
        let other = Chars::of(&known.iter().collect::<String>()).negated();
        let mut choice = vec![Expr::Seq(vec![Expr::Chars(other), Expr::Rule(states[0])])];
        for &c in &known {
            let this = Expr::Chars(Chars::ranges([(c as u32, c as u32)]));
            choice.push(match states.get(after(state, c)) {
                Some(&next) => Expr::Seq(vec![this, Expr::Rule(next)]),
                None => this,
            });
        }
        rules.set(rule, Expr::Alt(choice));
    }
    states[0]
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::grammar::Machine;

    fn takes(parameters: Value, strict: bool, text: &str) -> bool {
        let tool = Tool { name: "f".into(), parameters, strict };
        let mut rules = Rules::new();
        let body = tags(&tool, &mut rules).unwrap();
        let root = rules.add("root", body);
        let mut machine = Machine::new(Arc::new(rules.compile(root).unwrap()));
        machine.accept(text.as_bytes()) && machine.is_done()
    }

    fn call(values: &[(&str, &str)]) -> String {
        let values: String = values.iter().map(|(key, value)| format!("<parameter={key}>\n{value}{CLOSE}")).collect();
        format!("<function=f>\n{values}</function>")
    }

    #[test]
    fn text_is_as_it_is_and_the_rest_is_json() {
        let schema = json!({"properties": {"a": {"type": "string"}, "b": {"type": "integer", "maximum": 9},
            "c": {"enum": ["x", "y"]}, "d": {"$ref": "#/$defs/list", "type": "array"}}, "required": ["a", "b"],
            "$defs": {"list": {"items": {"type": "null"}}}});
        let takes = |values: &[(&str, &str)]| takes(schema.clone(), true, &call(values));
        assert!(takes(&[("a", "any \"text\"\n</parameter> \n\n</par"), ("b", "7"), ("c", "y"), ("d", "[null]")]));
        assert!(takes(&[("a", ""), ("b", "7")]));
        assert!(!takes(&[("a", ""), ("b", "17")]));
        assert!(!takes(&[("b", "7")]), "a is required");
        assert!(!takes(&[("a", ""), ("b", "7"), ("c", "z")]));
    }

    #[test]
    fn what_cannot_be_kept_to_matters_where_the_tool_is_strict() {
        let schema = json!({"properties": {"a": {"type": "string", "pattern": "^x"}}, "required": ["a"]});
        assert!(takes(schema.clone(), false, &call(&[("a", "y")])));
        let tool = Tool { name: "f".into(), parameters: schema, strict: true };
        assert!(tags(&tool, &mut Rules::new()).unwrap_err().contains("\"pattern\""));
        for keyword in ["minLength", "maxLength", "format", "not", "anyOf"] {
            let parameters = json!({"properties": {"a": {"type": "string", "title": "A", keyword: 1}}});
            let tool = Tool { parameters, ..tool.clone() };
            assert!(tags(&tool, &mut Rules::new()).unwrap_err().contains(keyword), "{keyword}");
        }
        assert!(takes(json!(null), true, "<function=f>\n</function>"));
    }
}
