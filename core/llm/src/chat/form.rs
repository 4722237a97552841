//! Calls of tools as a grammar, in the way that a family writes them: what is called then is one of the tools, with
//! arguments that its schema takes.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use serde_json::{Map, Value};

use super::{Calls, Guard, Segment, Several, Style, Tool, tags::tags};
use crate::grammar::{self, Expr, Rules, control, json, schema};

/// Calls of one answer at most.
const CALLS_MAX: u32 = 64;

/// A tool whose schema cannot be kept to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The tool.
    pub tool: String,
    /// What is in the way.
    pub why: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the parameters of the tool {:?} cannot be kept to: {}", self.tool, self.why)
    }
}

impl core::error::Error for Error {}

/// Adds the rules of calls to `rules`: at least one call of `tools`, and several where there may be.
///
/// `guard` knows which marks are control tokens. A schema that cannot be followed is an error where the tool is
/// strict, and otherwise lets any object through.
///
/// # Errors
/// A strict tool whose schema cannot be followed.
pub fn calls(calls: &Calls, tools: &[Tool], several: bool, guard: &Guard, rules: &mut Rules) -> Result<usize, Error> {
    let mut choice = Vec::new();
    for tool in tools {
        choice.push(call(calls, tool, guard, rules)?);
    }
    let one = rules.add("call", Expr::Alt(choice));
    let again = |separator: Expr| Expr::Seq(vec![separator, Expr::Rule(one)]).repeated(0, Some(CALLS_MAX - 1));
    let literal = |text: &str| literal(text, guard);
    let inner = match calls.several {
        _ if !several && calls.several == Several::List => vec![literal("["), Expr::Rule(one), literal("]")],
        Several::List => vec![literal("["), Expr::Rule(one), again(literal(", ")), literal("]")],
        Several::Within(separator) if several => vec![Expr::Rule(one), again(literal(separator))],
        _ => vec![Expr::Rule(one)],
    };
    let mut body = vec![literal(calls.open)];
    body.extend(inner);
    body.push(literal(calls.close));
    let body = rules.add("calls", Expr::Seq(body));
    Ok(match calls.several {
        Several::Each(separator) if several => {
            let more = Expr::Seq(vec![literal(separator), Expr::Rule(body)]);
            let all = vec![Expr::Rule(body), more.repeated(0, Some(CALLS_MAX - 1))];
            rules.add("all calls", Expr::Seq(all))
        }
        _ => body,
    })
}

/// What a template would write: control tokens as such, and the rest as text.
pub fn literal(text: &str, guard: &Guard) -> Expr {
    let bytes = guard.segments(text).into_iter().map(|segment| match segment {
        Segment::Control(name) => control(&name),
        Segment::Text(text) => text.into_bytes(),
    });
    Expr::Bytes(bytes.collect::<Vec<_>>().concat())
}

fn call(calls: &Calls, tool: &Tool, guard: &Guard, rules: &mut Rules) -> Result<Expr, Error> {
    let refused = |why: String| Error { tool: tool.name.clone(), why };
    let mut body = vec![literal(calls.before, guard)];
    match calls.style {
        Style::Object(key) => {
            let gap = || Expr::one_of(" \n").repeated(0, Some(2));
            let name = Value::from(tool.name.as_str()).to_string();
            for word in ["{", "\"name\"", ":", &name, ",", &Value::from(key).to_string(), ":"] {
                body.extend([Expr::text(word), gap()]);
            }
            body.extend([arguments(tool, rules).map_err(refused)?, gap(), Expr::text("}")]);
        }
        Style::Named(between) => {
            body.push(Expr::text(&tool.name));
            body.push(literal(between, guard));
            body.push(arguments(tool, rules).map_err(refused)?);
        }
        Style::Tags => body.push(tags(tool, rules).map_err(refused)?),
    }
    body.push(literal(calls.after, guard));
    Ok(Expr::Seq(body))
}

/// The arguments of a tool as JSON.
pub(super) fn arguments(tool: &Tool, rules: &mut Rules) -> Result<Expr, String> {
    let schema = match &tool.parameters {
        Value::Null => Value::Object(Map::from_iter([
            ("type".to_owned(), Value::from("object")),
            ("properties".to_owned(), Value::Object(Map::new())),
        ])),
        // What is said of arguments is said of an object, whether the schema says so or not.
        Value::Object(map) if !map.contains_key("type") => {
            let mut map = map.clone();
            map.insert("type".into(), Value::from("object"));
            Value::Object(map)
        }
        given => given.clone(),
    };
    value(&schema, tool.strict, rules, json::object_rules)
}

/// The values of a schema; where it cannot be followed and need not be, those of `else_rules`.
pub(super) fn value(
    schema: &Value,
    strict: bool,
    rules: &mut Rules,
    else_rules: fn() -> (Rules, usize),
) -> Result<Expr, String> {
    // Whether rules can be followed is known when they are compiled.
    let made = schema::rules(schema).and_then(|(made, root)| {
        made.clone().compile(root)?;
        Ok((made, root))
    });
    let (made, root) = match made {
        Ok(made) => made,
        Err(error) if strict => return Err(error.to_string()),
        Err(_) => else_rules(),
    };
    Ok(Expr::Rule(rules.include(made, root)))
}

/// A grammar that begins with one of several rules.
///
/// # Errors
/// Rules that are no grammar.
pub fn either(mut rules: Rules, roots: &[usize]) -> Result<grammar::Grammar, grammar::Error> {
    let root = match roots {
        [one] => *one,
        many => {
            rules.add(&format!("one of {}", many.len()), Expr::Alt(many.iter().map(|&rule| Expr::Rule(rule)).collect()))
        }
    };
    rules.compile(root)
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        chat::{Family, Parser, Part, Start},
        grammar::Machine,
    };

    fn tools(strict: bool) -> Vec<Tool> {
        let weather = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"]});
        [("get_weather", weather), ("now", Value::Null)]
            .map(|(name, parameters)| Tool { name: name.into(), parameters, strict })
            .into()
    }

    fn family(template: &str) -> Family {
        Family::of(&format!("tools {template}"), |_| false)
    }

    /// Whether a text is all calls, and nothing is missing.
    fn takes(family: &Family, several: bool, text: &str) -> bool {
        let mut rules = Rules::new();
        let root = calls(&family.calls.unwrap(), &tools(true), several, &Guard::new([]), &mut rules).unwrap();
        let mut machine = Machine::new(Arc::new(either(rules, &[root]).unwrap()));
        machine.accept(text.as_bytes()) && machine.may_end()
    }

    #[test]
    fn each_familys_calls_are_taken_and_read_back() {
        let deepseek = "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>";
        for (template, text) in [
            (
                "<tool_call>",
                "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}\n</tool_call>",
            ),
            ("<|python_tag|>", "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}"),
            ("[TOOL_CALLS]", "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}]"),
            ("[TOOL_CALLS][ARGS]", "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rome\"}"),
            ("<|tool_call|>", "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}]"),
            (
                &format!("{deepseek}```json"),
                "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}><\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>function\
                 <\u{ff5c}tool\u{2581}sep\u{ff5c}>get_weather\n```json\n{\"city\": \"Rome\"}\n```\
                 <\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}><\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>",
            ),
            (
                "<tool_call><function=",
                "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
            ),
        ] {
            let family = family(template);
            assert!(takes(&family, false, text), "{text}");
            assert!(takes(&family, true, text), "{text}");
            for wrong in [text.replace("get_weather", "get_whether"), text.replace("city", "town")] {
                assert!(!takes(&family, true, &wrong), "{wrong}");
            }
            let mut parser = Parser::new(&family, tools(true).into(), Start::Answer);
            let mut parts = Vec::new();
            parser.text(text, &mut parts);
            parser.finish(&mut parts);
            assert_eq!(parts[0], Part::Call("get_weather".into()));
            assert_eq!(parts.last(), Some(&Part::CallEnd), "{text}: {parts:?}");
        }
    }

    #[test]
    fn there_is_one_call_unless_there_may_be_several() {
        let one = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
        let two = format!("{one}\n{one}");
        let hermes = family("<tool_call>");
        assert!(takes(&hermes, true, &two) && !takes(&hermes, false, &two));
        let two = "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": {}}]";
        let mistral = family("[TOOL_CALLS]");
        assert!(takes(&mistral, true, two) && !takes(&mistral, false, two));
    }

    #[test]
    fn control_tokens_are_asked_for_as_such() {
        let guard = Guard::new(["<tool_call>"]);
        let mut rules = Rules::new();
        let root = calls(&super::super::HERMES, &tools(true), false, &guard, &mut rules).unwrap();
        let mut machine = Machine::new(Arc::new(either(rules, &[root]).unwrap()));
        assert!(!machine.accept(b"<tool_call>"));
        assert!(machine.accept(&control("<tool_call>")) && machine.accept(b"\n{\"name\""));
    }

    #[test]
    fn a_schema_that_cannot_be_kept_to_matters_where_the_tool_is_strict() {
        let tool = |strict| Tool { name: "f".into(), parameters: json!({"not": {}}), strict };
        let made = |strict| calls(&super::super::HERMES, &[tool(strict)], false, &Guard::new([]), &mut Rules::new());
        assert!(made(false).is_ok());
        assert!(made(true).unwrap_err().to_string().contains("\"not\""));
    }
}
