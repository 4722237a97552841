//! From the engine's pieces to thoughts, text and calls, each with the probabilities of its tokens.

use std::{collections::VecDeque, sync::Arc};

use tutu_llm::{
    chat::{Family, Parser, Part, Start, Tool},
    token::stream::Stream,
};

use crate::engine::{self, Counts, Durations, Finished, Piece, Scored};

/// More of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// More of its thoughts.
    Thinking(Text),
    /// More of its text.
    Content(Text),
    /// A tool is called.
    Call {
        /// Which call of this answer, from 0.
        index: usize,
        /// What an answer to it refers to.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// More of the arguments of the call under way: a piece of a JSON text.
    Arguments {
        /// Which call.
        index: usize,
        /// The piece.
        text: Text,
    },
    /// The call is complete. One that never is was cut off, and so were its arguments.
    CallEnd {
        /// Which call.
        index: usize,
    },
}

/// A text, and its tokens where their probabilities were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The text; whole characters.
    pub text: String,
    /// The tokens that it ends, in order.
    pub scored: Vec<Scored>,
}

/// What is heard of an answer.
#[derive(Debug)]
pub enum Heard {
    /// More of it.
    Delta(Delta),
    /// Its end.
    End(End),
    /// Its end, too early.
    Failed(engine::Error),
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The model ended it.
    Stop,
    /// This stop text came.
    StopText(String),
    /// As many tokens as were asked for, or the context is full.
    Length,
    /// Tools were called.
    Calls,
    /// The reader stopped it.
    Cancelled,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// The prompt and the answer, as token ids.
    pub tokens: Vec<u32>,
    /// How many tokens.
    pub counts: Counts,
    /// How many of the generated ones were thoughts and their marks.
    pub thinking: usize,
    /// How long it took.
    pub durations: Durations,
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub struct Reader {
    parser: Parser,
    /// Looks for stop texts in what is text.
    stops: Stream,
    stopped: Option<String>,
    /// Calls that began, and those that are complete.
    calls: usize,
    ended: usize,
    thinking: usize,
    /// Bytes of text that came.
    came: usize,
    /// Tokens whose text was not given out yet: with the bytes that had come when they were complete.
    waiting: VecDeque<(usize, Scored)>,
    /// Bytes of the tokens that came.
    scored: usize,
}

impl Reader {
    /// Before an answer that may call these tools and ends at one of these texts.
    pub fn new(family: &Family, tools: Arc<[Tool]>, start: Start, stop: &[String]) -> Self {
        Self {
            parser: Parser::new(family, tools, start),
            stops: Stream::new(stop),
            stopped: None,
            calls: 0,
            ended: 0,
            thinking: 0,
            came: 0,
            waiting: VecDeque::new(),
            scored: 0,
        }
    }

    /// The stop text that came, if one did: nothing follows.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Takes a piece in; answers what became certain by it.
    pub fn push(&mut self, piece: Piece) -> Vec<Delta> {
        if self.stopped.is_some() {
            return Vec::new();
        }
        let thought = self.parser.is_thinking();
        let mut parts = Vec::new();
        self.came += piece.text.len();
        self.parser.text(&piece.text, &mut parts);
        match piece.control {
            Some(name) => {
                self.parser.control(&name, &mut parts);
                if self.parser.is_text() {
                    self.stopped = self.stops.stop_in(&name).map(String::from);
                }
            }
            None => {
                if let Some(scored) = piece.scored {
                    self.scored += scored.bytes.len();
                    self.waiting.push_back((self.scored, scored));
                }
            }
        }
        if piece.id.is_some() && (thought || self.parser.is_thinking()) {
            self.thinking += 1;
        }
        let mut deltas = self.deltas(parts);
        if self.stopped.is_some() {
            self.flush(&mut deltas);
        }
        let held = self.parser.held() + self.stops.held();
        self.score(self.came.saturating_sub(held), &mut deltas);
        deltas
    }

    /// The end: what was held, and how it ended.
    pub fn finish(&mut self, finished: Finished) -> (Vec<Delta>, End) {
        let mut deltas = Vec::new();
        if self.stopped.is_none() {
            let mut parts = Vec::new();
            self.parser.finish(&mut parts);
            deltas = self.deltas(parts);
            self.flush(&mut deltas);
            self.score(usize::MAX, &mut deltas);
        }
        let reason = match (self.stopped.take(), finished.reason) {
            (Some(text), _) => Reason::StopText(text),
            (None, engine::Reason::Stop) if self.ended > 0 => Reason::Calls,
            (None, engine::Reason::Stop) => Reason::Stop,
            (None, engine::Reason::Length) => Reason::Length,
            (None, engine::Reason::Cancelled) => Reason::Cancelled,
        };
        let Finished { tokens, counts, durations, .. } = finished;
        (deltas, End { reason, tokens, counts, thinking: self.thinking, durations })
    }

    fn deltas(&mut self, parts: Vec<Part>) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for part in parts {
            match part {
                Part::Thinking(text) => deltas.push(Delta::Thinking(Text { text, scored: Vec::new() })),
                Part::Content(text) => {
                    if self.stopped.is_some() {
                        break;
                    }
                    let step = self.stops.push(text.as_bytes());
                    self.stopped = step.stopped;
                    content(step.text, &mut deltas);
                }
                Part::Call(name) => {
                    // What was held for the sake of a stop text comes before.
                    self.flush(&mut deltas);
                    deltas.push(Delta::Call { index: self.calls, id: call_id(), name });
                    self.calls += 1;
                }
                Part::Arguments(text) => {
                    let text = Text { text, scored: Vec::new() };
                    deltas.push(Delta::Arguments { index: self.calls.saturating_sub(1), text });
                }
                Part::CallEnd => {
                    deltas.push(Delta::CallEnd { index: self.calls.saturating_sub(1) });
                    self.ended += 1;
                }
            }
        }
        deltas
    }

    /// What was held because a stop text could have begun there.
    fn flush(&mut self, deltas: &mut Vec<Delta>) {
        content(self.stops.finish(), deltas);
    }

    /// Gives the tokens whose text is certain to the last text; those of marks alone are left out.
    fn score(&mut self, certain: usize, deltas: &mut [Delta]) {
        let mut scored = Vec::new();
        while self.waiting.front().is_some_and(|&(end, _)| end <= certain) {
            scored.extend(self.waiting.pop_front().map(|(_, scored)| scored));
        }
        let last = deltas.iter_mut().rev().find_map(|delta| match delta {
            Delta::Thinking(text) | Delta::Content(text) | Delta::Arguments { text, .. } => Some(text),
            Delta::Call { .. } | Delta::CallEnd { .. } => None,
        });
        if let Some(text) = last {
            text.scored = scored;
        }
    }
}

/// A name for a call, as Ollama and OpenAI form theirs.
fn call_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    // The standard library's hasher keys are random for each process and differ for each call.
    let mut chance = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let mut id = String::from("call_");
    for _ in 0..8 {
        id.push(char::from(LETTERS[(chance % 36) as usize]));
        chance /= 36;
    }
    id
}

fn content(text: String, deltas: &mut Vec<Delta>) {
    if !text.is_empty() {
        deltas.push(Delta::Content(Text { text, scored: Vec::new() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Piece {
        let scored = Scored { bytes: text.into(), logprob: -1.0, top: Vec::new() };
        Piece { id: Some(1), text: text.into(), control: None, scored: Some(scored) }
    }

    fn finished(reason: engine::Reason) -> Finished {
        Finished { tokens: vec![1], reason, counts: Counts::default(), durations: Durations::default() }
    }

    /// Each delta as text, with the texts of its tokens.
    fn lines(deltas: &[Delta]) -> Vec<String> {
        let tokens = |text: &Text| {
            text.scored
                .iter()
                .map(|scored| String::from_utf8_lossy(&scored.bytes).into_owned())
                .collect::<Vec<_>>()
                .join("|")
        };
        deltas
            .iter()
            .map(|delta| match delta {
                Delta::Thinking(text) => format!("thinking {:?} of {}", text.text, tokens(text)),
                Delta::Content(text) => format!("content {:?} of {}", text.text, tokens(text)),
                Delta::Call { name, .. } => format!("call {name}"),
                Delta::Arguments { text, .. } => format!("arguments {:?} of {}", text.text, tokens(text)),
                Delta::CallEnd { .. } => "end".into(),
            })
            .collect()
    }

    #[test]
    fn tokens_go_with_the_text_that_they_end() {
        let family = Family::of("<think></think>", |_| false);
        let mut reader = Reader::new(&family, Vec::new().into(), Start::Answer, &["END".into()]);
        let mut heard = Vec::new();
        for text in ["<th", "ink>", "a", " b", "</think>", "\n\n", "one", " E", "ND of it"] {
            heard.extend(reader.push(piece(text)));
        }
        let (rest, end) = reader.finish(finished(engine::Reason::Cancelled));
        heard.extend(rest);
        assert_eq!(
            lines(&heard),
            ["thinking \"a\" of a", "thinking \" b\" of  b", "content \"one\" of one", "content \" \" of "]
        );
        assert_eq!((end.reason, end.thinking), (Reason::StopText("END".into()), 4));
    }

    #[test]
    fn a_stop_text_ends_no_thought() {
        let family = Family::of("<think></think>", |_| false);
        let mut reader = Reader::new(&family, Vec::new().into(), Start::Thinking, &["\n".into()]);
        let mut heard = Vec::new();
        for text in ["a\nb", "</think>", "c\nd", "e"] {
            heard.extend(reader.push(piece(text)));
        }
        assert_eq!(lines(&heard), ["thinking \"a\\nb\" of a\nb", "content \"c\" of c\nd"]);
        assert_eq!(reader.stopped(), Some("\n"));
    }

    #[test]
    fn what_is_held_at_the_end_is_text() {
        let mut reader = Reader::new(&Family::default(), Vec::new().into(), Start::Answer, &["END".into()]);
        assert_eq!(lines(&reader.push(piece("an EN"))), ["content \"an \" of "]);
        let (rest, end) = reader.finish(finished(engine::Reason::Length));
        assert_eq!(lines(&rest), ["content \"EN\" of an EN"]);
        assert_eq!(end.reason, Reason::Length);
    }
}
