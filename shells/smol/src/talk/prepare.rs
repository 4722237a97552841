//! From what is asked to a prompt, a request for the engine, and somebody who reads the answer.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use tutu_llm::{
    chat::{Family, HERMES, Message, Segment, Start, Thoughts, Tool},
    gotmpl, sample,
    token::Special,
};

use super::{
    Ask, Choice, Dropped, End, Heard, Input, Overflow, Reader, Think,
    course::{Plan, is_bound},
    fit, history,
};
use crate::engine::{
    self, Card, Engine, Event, Flow, Request, Sink,
    template::{self, Capability},
};

/// What is ready for the engine.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// For the engine. Whoever wants several answers submits it several times, with other seeds.
    pub request: Request,
    /// For what comes back. Each answer needs one of its own.
    pub reader: Reader,
    /// What of the prompt was left out.
    pub dropped: Dropped,
    /// What was asked and the model has no use for, by the names that APIs share.
    pub unused: Vec<&'static str>,
}

/// A prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// As text, with the names of control tokens; what was cut out of its tokens is still in it.
    pub text: String,
    /// As the model reads it.
    pub tokens: Vec<u32>,
    /// Where it leaves off.
    pub start: Start,
    /// What was left out.
    pub dropped: Dropped,
}

/// In the place of a name, where any tool would do.
const REQUIRED: &str = "required";

/// Why something cannot be asked of a model. It is the asker's fault.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// The template is broken, refused the messages, or cannot fill a gap.
    Template(template::Error),
    /// The prompt does not fit the context, and must not be cut.
    TooLong { tokens: usize, context: usize },
    /// There is nothing to go on from.
    Empty,
    /// The form of the answer cannot be kept to.
    Form(String),
    /// The parameters of a strict tool cannot be kept to.
    Tool { name: String, why: String },
    /// A tool is chosen that is not among the tools.
    Choice(String),
    /// A sampling option is out of range.
    Sampling(sample::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(error) => error.fmt(f),
            Self::TooLong { tokens, context } => {
                write!(f, "the prompt has {tokens} tokens and the context holds {context}; shorten it or raise num_ctx")
            }
            Self::Empty => f.write_str("there is nothing to go on from; give it a prompt"),
            Self::Form(why) => f.write_str(why),
            Self::Tool { name, why } => write!(f, "the parameters of the tool {name:?} cannot be kept to: {why}"),
            Self::Choice(name) if name == REQUIRED => f.write_str("a tool must be called, and there is none"),
            Self::Choice(name) => write!(f, "the tool {name:?} is chosen and is not among the tools"),
            Self::Sampling(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl Prepared {
    /// Hears the answer to the request where the engine writes it: tell this to [`crate::engine::Engine::submit`].
    /// Nothing follows [`Heard::End`] or [`Heard::Failed`].
    pub fn sink(&self, mut hear: impl FnMut(Heard) -> Flow + Send + 'static) -> Sink {
        let mut reader = self.reader.clone();
        Box::new(move |event| match event {
            Event::Piece(piece) => {
                for delta in reader.push(piece) {
                    if hear(Heard::Delta(delta)) == Flow::Stop {
                        return Flow::Stop;
                    }
                }
                if reader.stopped().is_some() { Flow::Stop } else { Flow::Continue }
            }
            Event::Done(finished) => {
                let (deltas, end) = reader.finish(finished);
                for delta in deltas {
                    hear(Heard::Delta(delta));
                }
                hear(Heard::End(end))
            }
            Event::Failed(error) => hear(Heard::Failed(error)),
        })
    }
}

/// Answers in this thread, alone: for whoever owns the engine.
///
/// # Errors
/// What the engine says.
pub fn answer(
    engine: &mut Engine,
    prepared: &Prepared,
    hear: &mut dyn FnMut(Heard) -> Flow,
) -> Result<End, engine::Error> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let sink = {
        let (heard, stop) = (Arc::clone(&heard), Arc::clone(&stop));
        prepared.sink(move |one| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            if stop.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Continue }
        })
    };
    engine.submit(prepared.request.clone(), sink)?;
    loop {
        let stepped = engine.step();
        let all = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
        for one in all {
            match one {
                Heard::End(end) => return Ok(end),
                Heard::Failed(error) => return Err(error),
                delta => {
                    if hear(delta) == Flow::Stop {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
        stepped?;
    }
}

/// Makes what is asked ready for the engine. It may run in any thread.
///
/// # Errors
/// [`Error`]: what is asked cannot be had of this model.
pub fn prepare(card: &Card, ask: &Ask) -> Result<Prepared, Error> {
    let card = &card_of(card, ask)?;
    let family = family(card);
    ask.sampling.check().map_err(Error::Sampling)?;
    check_choice(ask)?;
    let rendered = rendered(card, ask, &family)?;
    let tools = callable(ask);
    let course = Plan { card, family: &family, ask, tools: &tools, start: rendered.start }.course()?;
    // Whoever was told in words how to call is read as it was told.
    let told = Family { calls: Some(family.calls.unwrap_or(HERMES)), ..family };
    let reader = Reader::new(&told, tools, rendered.start, &ask.stop);
    let request = Request {
        prompt: rendered.tokens,
        sampling: ask.sampling.clone(),
        predict: ask.predict,
        stop: Vec::new(),
        course: course.map(Arc::new),
        shift: ask.shift,
        keep: ask.keep,
        context: Some(card.context()),
        logprobs: ask.logprobs,
        adapters: Vec::new(),
        draft: Vec::new(),
    };
    Ok(Prepared { request, reader, dropped: rendered.dropped, unused: unused(card, ask, &family) })
}

/// The prompt alone.
///
/// # Errors
/// As [`prepare`].
pub fn render(card: &Card, ask: &Ask) -> Result<Rendered, Error> {
    let card = &card_of(card, ask)?;
    rendered(card, ask, &family(card))
}

fn card_of(card: &Card, ask: &Ask) -> Result<Card, Error> {
    match &ask.template {
        Some(source) => card.with_template(source).map_err(Error::Template),
        None => Ok(card.clone()),
    }
}

fn family(card: &Card) -> Family {
    Family::of(card.template().source(), |name| card.tokenizer().id_of(name).is_some())
}

/// The tools that an answer may call.
fn callable(ask: &Ask) -> Arc<[Tool]> {
    let is_callable = |name: &String| match &ask.choice {
        Choice::None => false,
        Choice::Auto | Choice::Required => true,
        Choice::Named(one) => one == name,
        Choice::Allowed { names, .. } => names.contains(name),
    };
    let tools = ask.tools.iter().filter(|tool| is_callable(&tool.name));
    tools
        .map(|tool| Tool { name: tool.name.clone(), parameters: tool.parameters.clone(), strict: tool.strict })
        .collect()
}

fn check_choice(ask: &Ask) -> Result<(), Error> {
    let named: &[String] = match &ask.choice {
        Choice::Named(name) => std::slice::from_ref(name),
        Choice::Allowed { names, .. } => names,
        Choice::Required if ask.tools.is_empty() => return Err(Error::Choice(REQUIRED.into())),
        _ => &[],
    };
    let absent = named.iter().find(|name| ask.tools.iter().all(|tool| tool.name != **name));
    absent.map_or(Ok(()), |name| Err(Error::Choice(name.clone())))
}

/// The prompt, and what was done so that it fits.
fn rendered(card: &Card, ask: &Ask, family: &Family) -> Result<Rendered, Error> {
    let prompt = Prompt { card, ask, family, bound: is_bound(ask, &callable(ask)) };
    let mut rendered = match &ask.input {
        Input::Chat(messages) if ask.overflow == Overflow::Fit => {
            fit::messages(card, messages, &|messages| prompt.chat(messages))?
        }
        Input::Chat(messages) => prompt.chat(messages)?,
        Input::Prompt { system, prompt: text, context } => prompt.question(system.as_deref(), text, context)?,
        Input::Gap { prompt: text, suffix } => {
            let segments = card.template().render_gap(text, suffix, prompt.think()).map_err(Error::Template)?;
            prompt.of(segments)
        }
        Input::Raw(text) => prompt.raw(text),
        Input::Tokens(tokens) => Rendered { tokens: tokens.clone(), ..Rendered::default() },
    };
    if rendered.tokens.is_empty() {
        return Err(Error::Empty);
    }
    let (tokens, context) = (rendered.tokens.len(), card.context());
    if tokens >= context {
        if ask.overflow == Overflow::Refuse || !ask.shift {
            return Err(Error::TooLong { tokens, context });
        }
        let marks = usize::from(card.tokenizer().leading().is_some());
        fit::cut(&mut rendered, ask.keep.saturating_add(marks), context);
    }
    Ok(rendered)
}

struct Prompt<'p> {
    card: &'p Card,
    ask: &'p Ask,
    family: &'p Family,
    /// Whether the answer is held to something from its first token on.
    bound: bool,
}

impl Prompt<'_> {
    fn think(&self) -> gotmpl::Think<'_> {
        match &self.ask.think {
            _ if self.ask.thinking_max == Some(0) => gotmpl::Think::Off,
            Think::Unset => gotmpl::Think::Unset,
            Think::Off => gotmpl::Think::Off,
            Think::On => gotmpl::Think::On,
            // gpt-oss knows no more than high.
            Think::Level(level) if self.family.channels && level == "max" => gotmpl::Think::Level("high"),
            Think::Level(level) => gotmpl::Think::Level(level),
        }
    }

    fn chat(&self, messages: &[Message]) -> Result<Rendered, Error> {
        let none = self.ask.choice == Choice::None;
        let tools: Vec<Value> = self.ask.tools.iter().filter(|_| !none).map(super::Tool::to_value).collect();
        let template = self.card.template();
        // An answer that was begun is gone on with.
        let begun = messages.last().filter(|last| last.role == "assistant" && last.tool_calls.is_empty());
        let begun = begun.filter(|_| !template.ends_answers());
        let messages = &messages[..messages.len() - usize::from(begun.is_some())];
        let nine = self.family.calls.is_some_and(|calls| calls.open == "[TOOL_CALLS]");
        let mut messages = history::complete(messages, nine);
        let mut tools = &tools[..];
        if self.family.calls.is_none() {
            messages = history::in_words(&messages, tools);
            tools = &[];
        }
        if self.family.channels {
            messages = history::in_channels(&messages);
        }
        let mut segments = self.render(&messages, tools)?;
        self.settle(&mut segments, begun.is_some());
        segments.extend(begun.map(|message| Segment::Text(message.content.clone())));
        Ok(self.of(segments))
    }

    /// What the template makes of the messages, said in another way where it refuses them.
    fn render(&self, messages: &[Message], tools: &[Value]) -> Result<Vec<Segment>, Error> {
        let (template, think) = (self.card.template(), told(self.think(), self.family));
        match template.render(&template::Ask { messages, tools, think, answer: true }) {
            Ok(segments) => Ok(segments),
            Err(refusal) => {
                let other = history::other_ways(messages).into_iter().find_map(|messages| {
                    template.render(&template::Ask { messages: &messages, tools, think, answer: true }).ok()
                });
                other.ok_or(Error::Template(refusal))
            }
        }
    }

    /// Where nothing may be thought and the template does not see to that, thoughts are closed before they begin. Where
    /// the answer is bound from its first token on, it is settled here that they come first.
    fn settle(&self, segments: &mut Vec<Segment>, begun: bool) {
        let Some(Thoughts { open, close, after }) = self.family.thoughts else { return };
        let text = text(segments);
        let (is_open, is_closed) = (text.trim_end().ends_with(open), text.trim_end().ends_with(close));
        let template = self.card.template();
        if self.think() == gotmpl::Think::Off || begun {
            let mut shut = |texts: &[&str]| segments.extend(texts.iter().map(|text| self.mark(text)));
            match () {
                () if is_open => shut(&["\n\n", close, after]),
                () if begun || is_closed || template.steers_thoughts() => {}
                () if self.family.channels => {}
                () => shut(&[open, "\n\n", close, after]),
            }
            return;
        }
        let wants = self.think() != gotmpl::Think::Unset || template.can(Capability::Thinking);
        if self.bound && wants && !is_open && !is_closed {
            segments.extend(self.card.template().guard().segments(open));
            if !self.family.channels {
                segments.push(Segment::Text("\n".into()));
            }
        }
    }

    /// A mark, as a token where the vocabulary has one.
    fn mark(&self, name: &str) -> Segment {
        match self.card.tokenizer().id_of(name) {
            Some(_) => Segment::Control(name.into()),
            None => Segment::Text(name.into()),
        }
    }

    fn question(&self, system: Option<&str>, prompt: &str, context: &[u32]) -> Result<Rendered, Error> {
        let mut messages: Vec<Message> = system.iter().map(|text| Message::new("system", text)).collect();
        messages.push(Message::new("user", prompt));
        let mut rendered = self.chat(&messages)?;
        if !context.is_empty() {
            let again = self.card.tokenizer().leading().filter(|mark| rendered.tokens.first() == Some(mark));
            rendered.tokens.splice(..usize::from(again.is_some()), context.iter().copied());
        }
        Ok(rendered)
    }

    fn raw(&self, text: &str) -> Rendered {
        let mut tokens = Vec::new();
        let tokenizer = self.card.tokenizer();
        tokenizer.encode(text, Special::Parse, &mut tokens);
        if let Some(mark) = tokenizer.leading().filter(|mark| tokens.first() != Some(mark)) {
            tokens.insert(0, mark);
        }
        Rendered { text: text.into(), tokens, ..Rendered::default() }
    }

    fn of(&self, segments: Vec<Segment>) -> Rendered {
        let text = text(&segments);
        let thinking = self.family.thoughts.is_some_and(|marks| text.trim_end().ends_with(marks.open));
        let start = if thinking { Start::Thinking } else { Start::Answer };
        Rendered { tokens: self.card.ids(&segments), text, start, dropped: Dropped::default() }
    }
}

/// What the template is told. gpt-oss cannot but think: who wants no thoughts gets as few as it knows.
fn told<'t>(think: gotmpl::Think<'t>, family: &Family) -> gotmpl::Think<'t> {
    if think == gotmpl::Think::Off && family.channels { gotmpl::Think::Level("low") } else { think }
}

fn text(segments: &[Segment]) -> String {
    let texts = segments.iter().map(|segment| match segment {
        Segment::Control(text) | Segment::Text(text) => text.as_str(),
    });
    texts.collect()
}

/// What the model has no use for.
fn unused(card: &Card, ask: &Ask, family: &Family) -> Vec<&'static str> {
    let mut unused = Vec::new();
    let thinks = family.thoughts.is_some() || card.template().can(Capability::Thinking);
    let wants = matches!(ask.think, Think::On | Think::Level(_)) || ask.thinking_max.is_some();
    // Held to a form from its first token on, it answers at once.
    let cannot_stop = family.channels && ask.think == Think::Off && !is_bound(ask, &callable(ask));
    if wants && !thinks || cannot_stop {
        unused.push("think");
    }
    if !ask.tools.is_empty() && !matches!(ask.input, Input::Chat(_)) {
        unused.push("tools");
    }
    unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_stop_thinking_is_told_to_think_little() {
        let plain = Family::of("<think></think>", |_| false);
        let channels = Family::of("", |name| ["<|channel|>", "<|message|>", "<|start|>"].contains(&name));
        assert_eq!(told(gotmpl::Think::Off, &channels), gotmpl::Think::Level("low"));
        assert_eq!(told(gotmpl::Think::Off, &plain), gotmpl::Think::Off);
        assert_eq!(told(gotmpl::Think::Level("high"), &channels), gotmpl::Think::Level("high"));
    }
}
