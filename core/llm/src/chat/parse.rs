//! Telling thoughts, text and calls apart in what a model writes, as it comes.
//!
//! ```text
//! Start --open--> Thinking --close--> Blank --call--> Calling --over--> Blank
//!   '-------------- anything else ----> Text --call----^  '--no call--> Text
//! ```
//!
//! A call without the family's mark counts where an answer begins, and after a call.

use alloc::{string::String, sync::Arc, vec::Vec};

use super::{
    Calls, Family, Thoughts,
    bare::{self, FENCE, Look},
    call::{Caller, Next, Tool},
    channel::Channels,
};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// More of its thoughts.
    Thinking(String),
    /// More of its text.
    Content(String),
    /// A tool of this name is called.
    Call(String),
    /// More of the arguments of that call: a piece of a JSON text.
    Arguments(String),
    /// The call is complete. One without an end was cut off.
    CallEnd,
}

/// Where a prompt leaves off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Where an answer begins.
    #[default]
    Answer,
    /// Within thoughts.
    Thinking,
    /// Within the text.
    Text,
}

/// Reads one answer. What it gives out is certain; what may yet turn out to be a mark is held.
#[derive(Clone, Debug)]
pub struct Parser {
    thoughts: Option<Thoughts>,
    /// `None` where there are no tools.
    calls: Option<Calls>,
    tools: Arc<[Tool]>,
    state: State,
    /// Text that is not given out yet.
    held: String,
    channels: Option<Channels>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing but white space came.
    Start,
    /// Within thoughts; `true` once there was one.
    Thinking(bool),
    /// After thoughts or calls, and nothing but white space came.
    Blank,
    /// Within the text.
    Text,
    /// Within calls.
    Calling(Caller),
    /// After a call without marks in a block of Markdown that is still open.
    Fenced,
}

impl Parser {
    /// Before an answer that may call these tools.
    pub fn new(family: &Family, tools: Arc<[Tool]>, start: Start) -> Self {
        let state = match (start, family.thoughts) {
            (Start::Thinking, Some(_)) => State::Thinking(false),
            (Start::Text, _) => State::Text,
            _ => State::Start,
        };
        let channels = family.channels.then(|| Channels::new(tools.clone(), start));
        let calls = family.calls.filter(|_| !tools.is_empty());
        Self { thoughts: family.thoughts, calls, tools, state, held: String::new(), channels }
    }

    /// Whether thoughts are under way.
    pub fn is_thinking(&self) -> bool {
        match &self.channels {
            Some(channels) => channels.is_thinking(),
            None => matches!(self.state, State::Thinking(_)),
        }
    }

    /// Whether plain text is under way, or may be.
    pub fn is_text(&self) -> bool {
        match &self.channels {
            Some(channels) => channels.is_text(),
            None => !matches!(self.state, State::Thinking(_) | State::Calling(_)),
        }
    }

    /// Bytes that came and are not given out yet.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes text in.
    pub fn text(&mut self, text: &str, out: &mut Vec<Part>) {
        if let Some(channels) = &mut self.channels {
            return channels.text(text, out);
        }
        self.held.push_str(text);
        while self.advance(out) {}
    }

    /// Takes a control token in, by its name. One that marks nothing is left out.
    pub fn control(&mut self, name: &str, out: &mut Vec<Part>) {
        if let Some(channels) = &mut self.channels {
            return channels.control(name, out);
        }
        let thought = self.thoughts.is_some_and(|marks| name == marks.open || name == marks.close);
        let called = self.calls.is_some_and(|calls| name == calls.open || name == calls.also);
        if thought || called || matches!(self.state, State::Calling(_)) {
            self.text(name, out);
        }
    }

    /// The end: what was held is what it looks like.
    pub fn finish(&mut self, out: &mut Vec<Part>) {
        if let Some(channels) = &mut self.channels {
            return channels.finish(out);
        }
        if self.last_call(out) {
            return;
        }
        let rest = core::mem::take(&mut self.held);
        match &mut self.state {
            State::Thinking(_) => push(Part::Thinking, rest.trim_end(), out),
            State::Start | State::Text => push(Part::Content, &rest, out),
            State::Blank | State::Fenced => push(Part::Content, rest.trim_start(), out),
            State::Calling(caller) => {
                let text = caller.undecided();
                if !text.is_empty() {
                    push(Part::Content, &(text + &rest), out);
                }
            }
        }
    }

    /// At the end, a call without marks that lacks no more than its last brace is one.
    fn last_call(&mut self, out: &mut Vec<Part>) -> bool {
        let begins = matches!(self.state, State::Start | State::Blank | State::Fenced);
        if !begins || self.calls.is_none() {
            return false;
        }
        let whole = String::from(self.held.trim()) + "}";
        let Look::Calls(calls, end) = bare::look(&whole, &self.tools) else { return false };
        if end < whole.len() {
            return false;
        }
        self.held.clear();
        give_calls(calls, out);
        true
    }

    /// One step; whether there may be another.
    fn advance(&mut self, out: &mut Vec<Part>) -> bool {
        match &mut self.state {
            State::Start | State::Blank => self.begin(out),
            State::Fenced => self.fenced(out),
            &mut State::Thinking(begun) => self.think(begun, out),
            State::Text => self.write(out),
            State::Calling(caller) => match caller.advance(&mut self.held, out) {
                Next::Again => true,
                Next::Wait => false,
                Next::Done => {
                    self.state = State::Blank;
                    true
                }
                Next::Text => {
                    let text = caller.undecided();
                    push(Part::Content, &text, out);
                    self.state = State::Text;
                    true
                }
            },
        }
    }

    /// Where only white space came, what comes first decides.
    fn begin(&mut self, out: &mut Vec<Part>) -> bool {
        let rest = self.held.trim_start();
        let spaces = self.held.len() - rest.len();
        let open = self.thoughts.filter(|_| matches!(self.state, State::Start)).map(|marks| marks.open);
        if let Some(open) = open {
            if rest.starts_with(open) {
                self.held.drain(..spaces + open.len());
                self.state = State::Thinking(false);
                return true;
            }
            if open.starts_with(rest) {
                return false;
            }
        }
        if rest.is_empty() {
            if matches!(self.state, State::Blank) {
                self.held.clear();
            }
            return false;
        }
        let bare = self.calls.filter(|calls| calls.open.is_empty() && rest.starts_with(['{', '[']));
        if let Some(calls) = bare {
            let caller = Caller::new(calls, self.tools.clone(), &self.held[..spaces]);
            self.held.drain(..spaces);
            self.state = State::Calling(caller);
            return true;
        }
        match self.calls.map_or(Look::Text, |_| bare::look(rest, &self.tools)) {
            Look::More => return false,
            Look::Calls(calls, end) => {
                self.state = if rest.starts_with(FENCE) { State::Fenced } else { State::Blank };
                self.held.drain(..spaces + end);
                give_calls(calls, out);
                return true;
            }
            Look::Text => {}
        }
        if matches!(self.state, State::Blank) {
            self.held.drain(..spaces);
        }
        self.state = State::Text;
        true
    }

    /// In a block after a call, where another may follow.
    fn fenced(&mut self, out: &mut Vec<Part>) -> bool {
        self.held.drain(..self.held.len() - self.held.trim_start().len());
        if self.held.starts_with(FENCE) {
            self.held.drain(..FENCE.len());
            self.state = State::Blank;
            return true;
        }
        if FENCE.starts_with(self.held.as_str()) {
            return false;
        }
        match bare::look(&self.held, &self.tools) {
            Look::More => return false,
            Look::Calls(calls, end) => {
                self.held.drain(..end);
                give_calls(calls, out);
            }
            Look::Text => self.state = State::Text,
        }
        true
    }

    fn think(&mut self, begun: bool, out: &mut Vec<Part>) -> bool {
        let Some(marks) = self.thoughts else { return false };
        if !begun {
            self.held.drain(..self.held.len() - self.held.trim_start().len());
            // Some models write the mark although the prompt has it.
            if self.held.starts_with(marks.open) {
                self.held.drain(..marks.open.len());
                return true;
            }
            if marks.open.starts_with(self.held.as_str()) {
                return false;
            }
            self.state = State::Thinking(true);
            return true;
        }
        if let Some(at) = self.held.find(marks.close) {
            push(Part::Thinking, self.held[..at].trim_end(), out);
            self.held.drain(..at + marks.close.len());
            self.state = State::Blank;
            return true;
        }
        // White space before the mark is none of the thoughts.
        let certain = self.held[..self.held.len() - open_end(&self.held, marks.close)].trim_end().len();
        self.give(certain, Part::Thinking, out);
        false
    }

    fn write(&mut self, out: &mut Vec<Part>) -> bool {
        let Some(calls) = self.calls else {
            self.give(self.held.len(), Part::Content, out);
            return false;
        };
        let marks = [calls.open, calls.also];
        let marks = || marks.iter().filter(|mark| !mark.is_empty());
        let found = marks().filter_map(|mark| Some((self.held.find(mark)?, mark.len()))).min();
        if let Some((at, len)) = found {
            let spaces = self.held[..at].trim_end().len();
            push(Part::Content, &self.held[..spaces], out);
            let caller = Caller::new(calls, self.tools.clone(), &self.held[spaces..at + len]);
            self.held.drain(..at + len);
            self.state = State::Calling(caller);
            return true;
        }
        // White space before calls is none of the text.
        let open = marks().map(|mark| open_end(&self.held, mark)).max().unwrap_or(0);
        let certain = self.held[..self.held.len() - open].trim_end().len();
        self.give(certain, Part::Content, out);
        false
    }

    fn give(&mut self, bytes: usize, part: fn(String) -> Part, out: &mut Vec<Part>) {
        push(part, &self.held[..bytes], out);
        self.held.drain(..bytes);
    }
}

fn give_calls(calls: Vec<(String, String)>, out: &mut Vec<Part>) {
    for (name, arguments) in calls {
        out.extend([Part::Call(name), Part::Arguments(arguments), Part::CallEnd]);
    }
}

pub(super) fn push(part: fn(String) -> Part, text: &str, out: &mut Vec<Part>) {
    if !text.is_empty() {
        out.push(part(text.into()));
    }
}

/// Bytes at the end of `text` that may be the beginning of `mark`.
pub(super) fn open_end(text: &str, mark: &str) -> usize {
    let longest = text.len().min(mark.len().saturating_sub(1));
    (1..=longest).rev().find(|&len| text.as_bytes().ends_with(&mark.as_bytes()[..len])).unwrap_or(0)
}
