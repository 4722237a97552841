//! Calls without their family's mark: small models often write the JSON alone, or in a block of Markdown.
//!
//! It is a call only where it has the form of one and names one of the tools, so that JSON that was asked for stays
//! text, and is known for text at the first key or name that no call has.

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use serde_json::Value;

use super::{Tool, form, scan::Scan};
use crate::grammar::{Machine, Rules};

/// What ends a block of Markdown.
pub(super) const FENCE: &str = "```";

/// What such a block may say that it holds.
const LANGUAGES: [&str; 3] = ["json\n", "\n", "tool_call\n"];

/// Text that may yet turn out to be calls, at most.
const UNDECIDED_MAX: usize = 64 << 10;

/// What is known of a text from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It may be calls.
    More,
    /// It is none.
    Text,
    /// Calls, names and arguments, up to this byte.
    Calls(Vec<(String, String)>, usize),
}

/// Whether the text before a value opens a block, and how long it is; `None` while that is open.
///
/// # Errors
/// It is neither a value nor a block.
fn opening(text: &str) -> Result<Option<usize>, ()> {
    if text.starts_with(['{', '[']) {
        return Ok(Some(0));
    }
    let Some(rest) = text.strip_prefix(FENCE) else {
        return if FENCE.starts_with(text) { Ok(None) } else { Err(()) };
    };
    match LANGUAGES.iter().find(|language| rest.starts_with(**language)) {
        Some(language) => Ok(Some(FENCE.len() + language.len())),
        None if LANGUAGES.iter().any(|language| language.starts_with(rest)) => Ok(None),
        None => Err(()),
    }
}

/// Looks at a text that begins with something other than white space. Of a block, the value alone is looked at: what
/// closes the block is left.
pub(super) fn look(text: &str, tools: &[Tool]) -> Look {
    match opening(text) {
        Err(()) => Look::Text,
        Ok(None) => Look::More,
        Ok(Some(at)) => match (Looker { text, tools }).value(at) {
            None if text.len() > UNDECIDED_MAX => Look::Text,
            None => Look::More,
            Some(Err(())) => Look::Text,
            Some(Ok((calls, end))) => Look::Calls(calls, end),
        },
    }
}

/// `None` while more must come, an error where it is no call.
type Found<T> = Option<Result<T, ()>>;

struct Looker<'t> {
    text: &'t str,
    tools: &'t [Tool],
}

/// `?` through both.
macro_rules! known {
    ($found:expr) => {
        match $found? {
            Ok(found) => found,
            Err(()) => return Some(Err(())),
        }
    };
}

impl Looker<'_> {
    /// One call, or a list of them.
    fn value(&self, at: usize) -> Found<(Vec<(String, String)>, usize)> {
        let mut at = self.skip(at);
        let mut calls = Vec::new();
        if self.byte(at)? == b'{' {
            let (call, end) = known!(self.object(at));
            return Some(Ok((Vec::from([call]), end)));
        }
        if self.byte(at)? != b'[' {
            return Some(Err(()));
        }
        loop {
            at = self.skip(at + 1);
            let (call, end) = known!(self.object(at));
            calls.push(call);
            at = self.skip(end);
            match self.byte(at)? {
                b',' => {}
                b']' => return Some(Ok((calls, at + 1))),
                _ => return Some(Err(())),
            }
        }
    }

    /// A call, and where it ends.
    fn object(&self, mut at: usize) -> Found<((String, String), usize)> {
        if self.byte(at)? != b'{' {
            return Some(Err(()));
        }
        let (mut name, mut arguments) = (None, None);
        loop {
            at = self.skip(at + 1);
            let key = known!(self.word(at, &["name", "arguments", "parameters", "type", "id"]));
            at = self.skip(at + key.len() + 2);
            if self.byte(at)? != b':' {
                return Some(Err(()));
            }
            at = self.skip(at + 1);
            let first = self.byte(at)?;
            let end = match key {
                "name" => {
                    let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
                    let word = known!(self.word(at, &names));
                    name = Some(word);
                    at + word.len() + 2
                }
                "arguments" | "parameters" if first != b'{' => return Some(Err(())),
                _ if !matches!(first, b'{' | b'"') => return Some(Err(())),
                _ => at + Scan::default().feed(&self.text[at..])?,
            };
            if matches!(key, "arguments" | "parameters") {
                arguments = Some(&self.text[at..end]);
            }
            at = self.skip(end);
            match self.byte(at)? {
                b',' => {}
                b'}' => break,
                _ => return Some(Err(())),
            }
        }
        let (Some(name), Some(arguments)) = (name, arguments) else { return Some(Err(())) };
        let fits = self.tools.iter().any(|tool| tool.name == name && takes(tool, arguments));
        Some(if fits { Ok(((name.to_string(), arguments.into()), at + 1)) } else { Err(()) })
    }

    /// A quoted word that is one of these, without escapes: whoever writes a name has no need for them.
    fn word<'w>(&self, at: usize, words: &[&'w str]) -> Found<&'w str> {
        if self.byte(at)? != b'"' {
            return Some(Err(()));
        }
        let rest = &self.text[at + 1..];
        match rest.find('"') {
            Some(end) => Some(words.iter().find(|word| **word == &rest[..end]).copied().ok_or(())),
            None if words.iter().any(|word| word.starts_with(rest)) => None,
            None => Some(Err(())),
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn skip(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.len() - rest.trim_start().len()
    }
}

/// Whether these are arguments for a tool: an object, and where the tool is strict, one that its schema takes. Nothing
/// held the model to it while it wrote.
fn takes(tool: &Tool, arguments: &str) -> bool {
    if !serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object()) {
        return false;
    }
    if !tool.strict {
        return true;
    }
    let mut rules = Rules::new();
    let Ok(body) = form::arguments(tool, &mut rules) else { return false };
    let root = rules.add("arguments", body);
    let Ok(grammar) = rules.compile(root) else { return false };
    let mut machine = Machine::new(Arc::new(grammar));
    machine.accept(arguments.as_bytes()) && machine.may_end()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools(strict: bool) -> Vec<Tool> {
        let schema = json!({"properties": {"city": {"type": "string"}}, "required": ["city"]});
        Vec::from([Tool { name: "get_weather".into(), parameters: schema, strict }])
    }

    #[test]
    fn it_is_known_for_text_as_soon_as_it_cannot_be_a_call() {
        let tools = tools(false);
        for (open, text) in [
            ("{\"na", "{\"nam\""),
            ("{\"name\": \"get_we", "{\"name\": \"get_wa"),
            ("{\"name\": ", "{\"name\": 1"),
            ("{", "{\"city"),
            ("[ {", "[1"),
            ("[", "[]"),
            ("{\"name\": \"get_weather\", \"arguments\": ", "{\"name\": \"get_weather\", \"arguments\": ["),
            ("```js", "```js\n"),
            ("```json\n{\"name", "```json\n{\"age"),
            ("``", "`a"),
            ("{\"name\": \"get_weather\"", "{\"name\": \"get_weather\"}"),
            ("{\"name\": \"get_weather\", \"arguments\": {a: 1}", "{\"name\": \"get_weather\", \"arguments\": {a: 1}}"),
        ] {
            assert_eq!(look(open, &tools), Look::More, "{open}");
            assert_eq!(look(text, &tools), Look::Text, "{text}");
        }
    }

    #[test]
    fn a_call_of_a_strict_tool_has_the_arguments_that_it_takes() {
        let call = |arguments: &str| alloc::format!("{{\"name\": \"get_weather\", \"arguments\": {arguments}}}");
        for (arguments, is_call) in [("{\"city\": \"Rome\"}", true), ("{}", false), ("{\"city\": 1}", false)] {
            let text = call(arguments);
            let found = Look::Calls(Vec::from([("get_weather".into(), arguments.into())]), text.len());
            assert_eq!(look(&text, &tools(true)) == found, is_call, "{text}");
            assert_eq!(look(&text, &tools(false)), found, "{text}");
        }
    }
}
