//! Reading calls of tools, from the mark that begins them on.

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use serde_json::Value;

use super::{
    Part,
    family::{Calls, Several, Style},
    scan::{Look, Scan, look},
};

/// Text that may yet turn out to be a call, at most: names and other keys come early.
const UNDECIDED_MAX: usize = 64 << 10;

/// A tool, as far as reading a call of it goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments; null for no arguments.
    pub parameters: Value,
    /// Whether a schema that cannot be kept to is an error.
    pub strict: bool,
}

/// What to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another step.
    Again,
    /// Wait for more text.
    Wait,
    /// The calls are over; what is held is not part of them.
    Done,
    /// It was no call.
    Text,
}

/// Reads what follows one mark.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    calls: Calls,
    tools: Arc<[Tool]>,
    phase: Phase,
    /// Everything since the mark, itself included, as long as it may yet be text.
    raw: String,
    /// Whether a call was given out.
    called: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Before, between and after calls.
    Between,
    /// In a JSON object, before its arguments.
    Object,
    /// Before the arguments, where the name stands.
    Name,
    /// In the arguments.
    Arguments(Scan),
    /// In a JSON object, after its arguments.
    Rest(Scan),
    /// After the arguments.
    After,
    /// Before the name in a tag.
    Function,
    /// Between tags of arguments: which tool, and whether there was one.
    Parameters(usize, bool),
}

impl Caller {
    /// After `mark`.
    pub(super) fn new(calls: Calls, tools: Arc<[Tool]>, mark: &str) -> Self {
        Self { calls, tools, phase: Phase::Between, raw: mark.into(), called: false }
    }

    /// What came since the mark, if it may yet be text.
    pub(super) fn undecided(&mut self) -> String {
        core::mem::take(&mut self.raw)
    }

    /// One step.
    pub(super) fn advance(&mut self, held: &mut String, out: &mut Vec<Part>) -> Next {
        if !self.called && held.len() > UNDECIDED_MAX {
            return Next::Text;
        }
        match &mut self.phase {
            Phase::Between => self.between(held),
            Phase::Object => self.object(held, out),
            Phase::Name => self.name(held, out),
            Phase::Arguments(_) => self.arguments(held, out),
            Phase::Rest(scan) => {
                let end = scan.feed(held);
                let all = held.len();
                self.eat(held, end.unwrap_or(all));
                self.go(end.map(|_| Phase::Between))
            }
            Phase::After => self.after(held),
            Phase::Function => self.function(held, out),
            Phase::Parameters(..) => self.parameter(held, out),
        }
    }

    fn go(&mut self, phase: Option<Phase>) -> Next {
        match phase {
            None => Next::Wait,
            Some(phase) => {
                self.phase = phase;
                Next::Again
            }
        }
    }

    fn eat(&mut self, held: &mut String, bytes: usize) {
        if !self.called {
            self.raw.push_str(&held[..bytes]);
        }
        held.drain(..bytes);
    }

    /// Where what came is no call.
    fn other(&self) -> Next {
        if self.called { Next::Done } else { Next::Text }
    }

    /// Eats `mark`; `None` while it may yet come.
    fn mark(&mut self, held: &mut String, mark: &str) -> Option<bool> {
        if held.starts_with(mark) {
            self.eat(held, mark.len());
            return Some(true);
        }
        (!mark.starts_with(held.as_str())).then_some(false)
    }

    fn spaces(&mut self, held: &mut String) {
        self.eat(held, held.len() - held.trim_start().len());
    }

    fn between(&mut self, held: &mut String) -> Next {
        let alone = matches!(self.calls.style, Style::Named(_)) && !matches!(self.calls.several, Several::Within(_));
        if self.called && alone {
            return Next::Done;
        }
        self.spaces(held);
        let close = self.calls.close;
        if !close.is_empty() {
            match self.mark(held, close) {
                Some(true) => return Next::Done,
                None => return Next::Wait,
                Some(false) => {}
            }
        }
        match self.calls.style {
            Style::Object(_) => match held.chars().next() {
                None => Next::Wait,
                Some('{') => self.go(Some(Phase::Object)),
                Some('[' | ']' | ',' | ';') => {
                    self.eat(held, 1);
                    Next::Again
                }
                Some(_) => self.other(),
            },
            Style::Named(_) => match self.mark(held, self.calls.before.trim_start()) {
                None => Next::Wait,
                Some(true) => self.go(Some(Phase::Name)),
                Some(false) => self.other(),
            },
            Style::Tags => match self.mark(held, "<function=") {
                None => Next::Wait,
                Some(true) => self.go(Some(Phase::Function)),
                Some(false) => self.other(),
            },
        }
    }

    fn tool(&self, name: &str) -> Option<usize> {
        self.tools.iter().position(|tool| tool.name == name)
    }

    fn call(&mut self, name: &str, out: &mut Vec<Part>) {
        self.called = true;
        self.raw.clear();
        out.push(Part::Call(name.into()));
    }

    fn object(&mut self, held: &mut String, out: &mut Vec<Part>) -> Next {
        match look(held) {
            Look::More => Next::Wait,
            Look::Arguments { name, at } if self.tool(&name).is_some() => {
                self.call(&name, out);
                self.eat(held, at);
                self.go(Some(Phase::Arguments(Scan::default())))
            }
            Look::Whole { name, arguments, end } if self.tool(&name).is_some() => {
                self.call(&name, out);
                out.push(Part::Arguments(as_object(&arguments)));
                out.push(Part::CallEnd);
                self.eat(held, end);
                self.go(Some(Phase::Between))
            }
            Look::Bad | Look::Arguments { .. } | Look::Whole { .. } => self.other(),
        }
    }

    fn name(&mut self, held: &mut String, out: &mut Vec<Part>) -> Next {
        let Some(at) = held.find('{') else {
            return if held.len() > UNDECIDED_MAX { self.other() } else { Next::Wait };
        };
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
        let name: String = held[..at].trim_start().chars().take_while(|&c| is_part(c)).collect();
        if self.tool(&name).is_none() {
            return self.other();
        }
        self.call(&name, out);
        self.eat(held, at);
        self.go(Some(Phase::Arguments(Scan::default())))
    }

    fn arguments(&mut self, held: &mut String, out: &mut Vec<Part>) -> Next {
        let Phase::Arguments(scan) = &mut self.phase else { return Next::Wait };
        // An object is given out as it comes; anything else stands for one, and is looked at as a whole.
        let streams = scan.has_begun() || held.starts_with('{');
        let mut ahead = *scan;
        let end = ahead.feed(held);
        let bytes = end.unwrap_or(held.len());
        if streams {
            *scan = ahead;
            if bytes > 0 {
                out.push(Part::Arguments(held[..bytes].into()));
            }
        } else if end.is_some() {
            out.push(Part::Arguments(as_object(&held[..bytes])));
        } else {
            return Next::Wait;
        }
        self.eat(held, bytes);
        if end.is_none() {
            return Next::Wait;
        }
        out.push(Part::CallEnd);
        let in_object = matches!(self.calls.style, Style::Object(_));
        self.go(Some(if in_object { Phase::Rest(Scan::within()) } else { Phase::After }))
    }

    fn after(&mut self, held: &mut String) -> Next {
        let after = self.calls.after.trim_start();
        if !after.is_empty() {
            self.spaces(held);
            if self.mark(held, after).is_none() {
                return Next::Wait;
            }
        }
        self.go(Some(Phase::Between))
    }

    fn function(&mut self, held: &mut String, out: &mut Vec<Part>) -> Next {
        let Some(at) = held.find('>') else { return Next::Wait };
        let name = held[..at].trim().to_string();
        let Some(tool) = self.tool(&name) else { return self.other() };
        self.call(&name, out);
        self.eat(held, at + 1);
        self.go(Some(Phase::Parameters(tool, false)))
    }

    fn parameter(&mut self, held: &mut String, out: &mut Vec<Part>) -> Next {
        let Phase::Parameters(tool, begun) = self.phase else { return Next::Wait };
        self.spaces(held);
        let (open, close, end) = ("<parameter=", "</parameter>", "</function>");
        if held.starts_with(open) {
            let Some((key, rest)) = held[open.len()..].split_once('>') else { return Next::Wait };
            let Some(len) = rest.find(close) else { return Next::Wait };
            let value = &rest[..len];
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            let value = typed(value, &self.tools[tool].parameters["properties"][key]);
            let first = if begun { ',' } else { '{' };
            out.push(Part::Arguments(format!("{first}{}:{value}", Value::from(key))));
            let eaten = held.len() - rest.len() + len + close.len();
            self.eat(held, eaten);
            return self.go(Some(Phase::Parameters(tool, true)));
        }
        if !held.starts_with(end) && (open.starts_with(held.as_str()) || end.starts_with(held.as_str())) {
            return Next::Wait;
        }
        if held.starts_with(end) {
            self.eat(held, end.len());
        }
        out.push(Part::Arguments(if begun { "}" } else { "{}" }.into()));
        out.push(Part::CallEnd);
        self.go(Some(Phase::Between))
    }
}

/// Arguments that are no object as they stand: none, or one within a string.
fn as_object(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(Value::String(inner)) if serde_json::from_str::<Value>(&inner).is_ok_and(|value| value.is_object()) => inner,
        Ok(Value::Null) => "{}".into(),
        _ if text.is_empty() => "{}".into(),
        _ => text.into(),
    }
}

/// The text of an argument as JSON of the type that its schema wants.
fn typed(text: &str, schema: &Value) -> String {
    let wants = |name: &str| match &schema["type"] {
        Value::String(one) => one == name,
        Value::Array(list) => list.iter().any(|one| one == name),
        _ => false,
    };
    let quoted = || Value::from(text).to_string();
    let Ok(value) = serde_json::from_str::<Value>(text) else { return quoted() };
    let fits = match &value {
        Value::Null => wants("null"),
        Value::Bool(_) => wants("boolean"),
        Value::Number(_) => wants("number") || wants("integer"),
        Value::String(_) => false,
        Value::Array(_) => wants("array"),
        Value::Object(_) => wants("object"),
    };
    // Without a type a schema may still be one of something other than strings.
    let open = schema.get("type").is_none() && schema.is_object() && !value.is_string();
    if fits || open { value.to_string() } else { quoted() }
}
