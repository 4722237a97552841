//! Answers in channels, as gpt-oss writes them: a series of messages, each with a head that says what it is.
//!
//! ```text
//! <|channel|>analysis<|message|>THOUGHTS<|end|>
//! <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>ARGUMENTS<|call|>
//! <|start|>assistant<|channel|>final<|message|>TEXT<|return|>
//! ```
//!
//! Source: OpenAI, "Harmony response format" (2025).

use alloc::{string::String, sync::Arc, vec::Vec};

use super::{Part, Start, Tool, parse::push, scan::Scan};

/// Marks that a head or a body may end with.
const MARKS: [&str; 7] =
    ["<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>", "<|call|>", "<|return|>"];

/// Bytes of a head at most; longer ones are text that lost its way.
const HEAD_MAX: usize = 1 << 10;

/// Reads messages in channels.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    tools: Arc<[Tool]>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Before a message's text: its head so far, marks by name.
    Head(String),
    /// In the text of thoughts.
    Thinking,
    /// In the text of the answer.
    Text,
    /// In the arguments of a call; `true` once they are complete.
    Calling(Scan, bool),
}

impl Channels {
    pub(super) fn new(tools: Arc<[Tool]>, start: Start) -> Self {
        let state = match start {
            Start::Answer => State::Head(String::new()),
            Start::Thinking => State::Thinking,
            Start::Text => State::Text,
        };
        Self { tools, state }
    }

    pub(super) fn is_thinking(&self) -> bool {
        matches!(self.state, State::Thinking)
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.state, State::Text)
    }

    pub(super) fn text(&mut self, text: &str, out: &mut Vec<Part>) {
        match &mut self.state {
            State::Head(head) => {
                head.push_str(text);
                if head.len() > HEAD_MAX {
                    let head = core::mem::take(head);
                    push(Part::Content, &head, out);
                    self.state = State::Text;
                }
            }
            State::Thinking => push(Part::Thinking, text, out),
            State::Text => push(Part::Content, text, out),
            State::Calling(_, true) => {}
            State::Calling(scan, done) => {
                let text = if scan.has_begun() { text } else { text.trim_start() };
                let end = scan.feed(text);
                push(Part::Arguments, &text[..end.unwrap_or(text.len())], out);
                if end.is_some() {
                    *done = true;
                    out.push(Part::CallEnd);
                }
            }
        }
    }

    pub(super) fn control(&mut self, name: &str, out: &mut Vec<Part>) {
        if !MARKS.contains(&name) {
            return;
        }
        match (&mut self.state, name) {
            (State::Head(head), "<|message|>") => {
                let head = core::mem::take(head);
                self.state = self.opened(&head, out);
            }
            // The words between these two are a role.
            (State::Head(head), "<|start|>") => head.clear(),
            (State::Head(head), _) => head.push_str(name),
            // A model that forgets to end a message before the next begins.
            (_, "<|channel|>") => self.state = State::Head("<|channel|>".into()),
            (_, "<|start|>" | "<|end|>" | "<|call|>" | "<|return|>") => self.state = State::Head(String::new()),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Part>) {
        // A head without a message says nothing; words without any mark are an answer.
        if let State::Head(head) = &self.state
            && !head.contains("<|")
            && head.trim() != "assistant"
        {
            push(Part::Content, head, out);
        }
    }

    fn opened(&self, head: &str, out: &mut Vec<Part>) -> State {
        let word = |after: &str| {
            let (_, rest) = head.split_once(after)?;
            let end = rest.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(rest.len());
            Some(&rest[..end])
        };
        let name = word("to=functions.").filter(|name| self.tools.iter().any(|tool| tool.name == *name));
        if let Some(name) = name {
            out.push(Part::Call(name.into()));
            return State::Calling(Scan::default(), false);
        }
        match word("<|channel|>") {
            Some("analysis") => State::Thinking,
            _ => State::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts a recorded text into text and marks.
    fn read(tools: &[&str], text: &str) -> Vec<Part> {
        let tools = tools.iter().map(|name| Tool { name: (*name).into(), ..Tool::default() }).collect();
        let mut channels = Channels::new(tools, Start::Answer);
        let (mut out, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                channels.control(mark, &mut out);
                rest = &rest[mark.len()..];
                continue;
            }
            let end = rest.char_indices().skip(1).find(|(at, _)| rest[*at..].starts_with("<|") || *at > 4);
            let end = end.map_or(rest.len(), |(at, _)| at);
            channels.text(&rest[..end], &mut out);
            rest = &rest[end..];
        }
        channels.finish(&mut out);
        out.dedup_by(|next, last| match (last, next) {
            (Part::Thinking(a), Part::Thinking(b))
            | (Part::Content(a), Part::Content(b))
            | (Part::Arguments(a), Part::Arguments(b)) => {
                a.push_str(b);
                true
            }
            _ => false,
        });
        out
    }

    #[test]
    fn each_channel_is_what_it_says() {
        let text =
            "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>";
        assert_eq!(read(&[], text), [Part::Thinking("Think.".into()), Part::Content("Yes.".into())]);
    }

    #[test]
    fn a_call_is_addressed_before_or_in_its_channel() {
        for head in [
            "<|channel|>commentary to=functions.f <|constrain|>json",
            " to=functions.f<|channel|>commentary <|constrain|>json",
            "<|channel|>commentary to=functions.f",
        ] {
            let text = alloc::format!(
                "<|channel|>analysis<|message|>x<|end|><|start|>assistant{head}<|message|>{{\"a\":1}}<|call|>"
            );
            let want = [
                Part::Thinking("x".into()),
                Part::Call("f".into()),
                Part::Arguments("{\"a\":1}".into()),
                Part::CallEnd,
            ];
            assert_eq!(read(&["f"], &text), want, "{head}");
        }
    }

    #[test]
    fn what_calls_no_tool_of_ours_is_text() {
        let text = "<|channel|>commentary to=functions.g<|message|>{}<|call|>";
        assert_eq!(read(&["f"], text), [Part::Content("{}".into())]);
        let text = "<|channel|>commentary<|message|>First I look.<|end|>";
        assert_eq!(read(&["f"], text), [Part::Content("First I look.".into())]);
        assert_eq!(read(&["f"], "No marks at all"), [Part::Content("No marks at all".into())]);
    }
}
