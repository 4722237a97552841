//! Templates in the subset of Go's language that models of the Ollama registry are written in.
//!
//! A template is a stranger's program and its data are other strangers' texts. So a run has a bounded number of steps
//! and bytes, and every piece of text carries its origin from the data to the prompt: only what the template itself
//! wrote is searched for control tokens. Text of a message stays text whatever stands beside it, and whatever functions
//! it went through.
//!
//! Known differences from Go: a missing key prints nothing (Go: `<no value>`), values of different kinds are not equal
//! (Go: an error), `slice` never cuts a character, whole numbers of JSON print with all their digits (Go: with an
//! exponent from 1e21 on, as they are floats there).
//!
//! Source: Go's `text/template` documentation; Ollama `template/template.go` for what a template is given.

mod data;
mod error;
mod eval;
mod format;
mod function;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec,
    vec::Vec,
};

pub use error::{Error, Fault};
pub use eval::Limits;
pub use value::{Origin, Piece};

use crate::chat::{Guard, Message, Segment};
use eval::Budget;
use function::Dates;
use tree::{Command, Kind, Node, Operand, Pipe, Term};
use value::Value;

/// Bytes that a template may have. The largest of Ollama's have some 20 KiB.
pub const SOURCE_MAX: usize = 256 << 10;

/// A template, ready to render.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    main: Vec<Node>,
    /// The same up to where the answer is printed, for the last turn of a template that knows only one.
    opening: Vec<Node>,
    templates: BTreeMap<String, Vec<Node>>,
    names: BTreeSet<String>,
}

/// Whether the model shall think before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Think<'t> {
    /// Nobody said.
    #[default]
    Unset,
    /// It shall not.
    Off,
    /// It shall.
    On,
    /// It shall, so much: `low`, `medium`, `high`.
    Level(&'t str),
}

/// What a prompt is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'i> {
    /// The conversation.
    pub messages: &'i [Message],
    /// Tools as the API has them: `{"type": "function", "function": {...}}`.
    pub tools: &'i [serde_json::Value],
    /// Whether to think.
    pub think: Think<'i>,
    /// Today's date, `2026-01-31`; the core has no clock.
    pub today: &'i str,
    /// Yesterday's.
    pub yesterday: &'i str,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Error`], with the place.
    pub fn parse(source: &str) -> Result<Self, Error> {
        if source.len() > SOURCE_MAX {
            return Err(Error { line: 1, column: 1, fault: Fault::Long(SOURCE_MAX) });
        }
        let parse::Parsed { mut main, templates } = parse::parse(source).map_err(|raised| raised.in_source(source))?;
        let mut names = BTreeSet::new();
        tree::names(&main, &mut names);
        templates.values().for_each(|nodes| tree::names(nodes, &mut names));
        if !names.contains("messages") && !names.contains("response") {
            main.push(response(source.len()));
            names.insert("response".into());
        }
        let mut opening = if names.contains("messages") { Vec::new() } else { main.clone() };
        tree::cut_after(&mut opening, "Response");
        Ok(Self { source: source.into(), main, opening, templates, names })
    }

    /// What was read.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of all fields that it mentions, in lower case: `messages`, `tools`, `content`, ...
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// The prompt of a conversation, up to where the model answers, cut at the control tokens that the template wrote.
    ///
    /// # Errors
    /// [`Error`], where the template does not fit the data or runs for too long.
    pub fn render(&self, input: &Input<'_>, guard: &Guard, limits: Limits) -> Result<Vec<Segment>, Error> {
        self.pieces(input, limits).map(|pieces| segments(&pieces, guard))
    }

    /// The prompt for what belongs between two texts.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_gap(
        &self,
        prompt: &str,
        suffix: &str,
        input: &Input<'_>,
        guard: &Guard,
        limits: Limits,
    ) -> Result<Vec<Segment>, Error> {
        let data = data::gap(prompt, suffix, input.think);
        self.run(&self.main, data, input, &mut Budget(limits)).map(|pieces| segments(&pieces, guard))
    }

    /// As [`Self::render`], before it is cut.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn pieces(&self, input: &Input<'_>, limits: Limits) -> Result<Vec<Piece>, Error> {
        if self.names.contains("messages") {
            return self.run(&self.main, data::conversation(input), input, &mut Budget(limits));
        }
        self.turns(input, &mut Budget(limits))
    }

    /// A template of one turn runs once for each: a turn is complete when something follows that belongs to the next.
    fn turns(&self, input: &Input<'_>, budget: &mut Budget) -> Result<Vec<Piece>, Error> {
        let mut out = Vec::new();
        let (mut system, mut prompt, mut response) = (String::new(), String::new(), String::new());
        for message in data::joined(input.messages) {
            let complete = match message.role.as_str() {
                "system" => !prompt.is_empty() || !response.is_empty(),
                "user" => !response.is_empty(),
                _ => false,
            };
            if complete {
                let data = data::turn(&system, &prompt, &response, input.think);
                out.extend(self.run(&self.main, data, input, budget)?);
                (system, prompt, response) = Default::default();
            }
            match message.role.as_str() {
                "system" => system.clone_from(&message.content),
                "user" => prompt.clone_from(&message.content),
                "assistant" => response.clone_from(&message.content),
                _ => {}
            }
        }
        let data = data::turn(&system, &prompt, &response, input.think);
        out.extend(self.run(&self.opening, data, input, budget)?);
        Ok(out)
    }

    fn run(&self, main: &[Node], data: Value, input: &Input<'_>, budget: &mut Budget) -> Result<Vec<Piece>, Error> {
        let dates = Dates { today: input.today, yesterday: input.yesterday };
        let program = eval::Program { source: &self.source, main, templates: &self.templates, dates };
        eval::run(&program, data, budget).map_err(|raised| raised.in_source(&self.source))
    }
}

/// `{{ .Response }}`, for templates that leave it out.
fn response(at: usize) -> Node {
    let at = at as u32;
    let head = Term { at, kind: Operand::Dot, fields: vec!["Response".into()] };
    let pipe = Pipe { assign: None, commands: vec![Command { head, arguments: Vec::new() }] };
    Node { at, kind: Kind::Print(pipe) }
}

/// Control tokens where the template wrote their names, and text.
pub fn segments(pieces: &[Piece], guard: &Guard) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    let mut push = |segment: Segment| match (out.last_mut(), segment) {
        // A tokenizer must see text as one, whoever wrote its parts.
        (Some(Segment::Text(last)), Segment::Text(text)) => last.push_str(&text),
        (_, segment) => out.push(segment),
    };
    let mut rest = pieces;
    while let [first, ..] = rest {
        // Turns end and begin with pieces of one origin.
        let count = rest.iter().take_while(|piece| piece.origin == first.origin).count();
        let text: String = rest[..count].iter().map(|piece| piece.text.as_str()).collect();
        match first.origin {
            Origin::Template => guard.segments(&text).into_iter().for_each(&mut push),
            Origin::Data if text.is_empty() => {}
            Origin::Data => push(Segment::Text(text)),
        }
        rest = &rest[count..];
    }
    out
}
