//! What an answer is held to while it is written: when thoughts end, which calls there can be, what the text looks like.

use std::sync::Arc;

use tutu_llm::{
    chat::{Calls, Family, Guard, HERMES, Segment, Start, Thoughts, Tool, form},
    grammar::{Course, Expr, Grammar, Rules, Stage, Trigger, control, gbnf, json, schema},
    token::Special,
};

use super::{Ask, Choice, Error, Form};
use crate::engine::Card;

/// What is needed to hold an answer to what was asked.
pub(super) struct Plan<'p> {
    pub(super) card: &'p Card,
    pub(super) family: &'p Family,
    pub(super) ask: &'p Ask,
    /// The tools that may be called.
    pub(super) tools: &'p [Tool],
    /// Where the prompt leaves off.
    pub(super) start: Start,
}

/// How an answer goes on once it is no longer thought about.
enum Answer {
    /// As the model likes, but for its calls.
    Free(Option<Arc<Grammar>>),
    /// Within a grammar.
    Within(Arc<Grammar>),
}

/// Whether what is asked holds the answer to anything from its first token on, so that the prompt must settle whether
/// the model thinks.
pub(super) fn is_bound(ask: &Ask, tools: &[Tool]) -> bool {
    ask.form != Form::Free || must_call(ask) && !tools.is_empty()
}

fn must_call(ask: &Ask) -> bool {
    matches!(ask.choice, Choice::Required | Choice::Named(_) | Choice::Allowed { required: true, .. })
}

impl Plan<'_> {
    /// The stages of the answer; `None` where it is free from beginning to end.
    ///
    /// # Errors
    /// A form, or a strict tool, that cannot be kept to.
    pub(super) fn course(&self) -> Result<Option<Course>, Error> {
        let answer = self.answer()?;
        let most = self.ask.thinking_max.filter(|_| self.family.thoughts.is_some());
        if matches!(answer, Answer::Free(None)) && most.is_none() {
            return Ok(None);
        }
        let thinks = self.start == Start::Thinking;
        let stages = match self.family.thoughts {
            Some(marks) if thinks || matches!(answer, Answer::Free(_)) => self.thoughtful(marks, thinks, most, &answer),
            _ => self.text(&answer, 0),
        };
        Ok(Some(Course::new(stages)))
    }

    /// Stages of an answer that begins with thoughts, or may:
    ///
    /// ```text
    /// [text, maybe] --open--> thoughts --close--------------> (after) text
    ///                            '--too long--> closing --> after --^
    /// ```
    fn thoughtful(&self, marks: Thoughts, thinks: bool, most: Option<usize>, answer: &Answer) -> Vec<Stage> {
        let bound = matches!(answer, Answer::Within(_));
        let thoughts = usize::from(!thinks);
        let [closing, after, text] = [1, 2, 3].map(|more| thoughts + more);
        let mut stages = Vec::new();
        if !thinks {
            let open = Trigger { bytes: self.bytes(marks.open), first: true, kept: false, then: thoughts };
            let triggers = self.triggers(answer, text + 1).into_iter().chain([open]).collect();
            stages.push(Stage::Free { triggers, most: None, ends: true });
        }
        let then = if bound { after } else { text };
        let closed = Trigger { bytes: self.bytes(marks.close), first: false, kept: false, then };
        let most = most.map(|most| (most, closing));
        stages.push(Stage::Free { triggers: vec![closed], most, ends: !bound });
        let spaced = if self.family.channels { marks.close.to_owned() } else { format!("\n{}", marks.close) };
        stages.push(Stage::Tokens { ids: self.ids(&spaced), then: after });
        stages.push(Stage::Tokens { ids: self.ids(marks.after), then: text });
        stages.extend(self.text(answer, text));
        stages
    }

    /// The stages of the text, the first of which has the number `at`, and of calls.
    fn text(&self, answer: &Answer, at: usize) -> Vec<Stage> {
        let within = |grammar: &Arc<Grammar>| Stage::Within { grammar: grammar.clone(), then: None };
        match answer {
            Answer::Within(grammar) => vec![within(grammar)],
            Answer::Free(calls) => {
                let free = Stage::Free { triggers: self.triggers(answer, at + 1), most: None, ends: true };
                [free].into_iter().chain(calls.iter().map(within)).collect()
            }
        }
    }

    /// What leads from free text to calls, which have the number `then`.
    fn triggers(&self, answer: &Answer, then: usize) -> Vec<Trigger> {
        let (Answer::Free(Some(_)), calls) = (answer, self.calls_of_family()) else { return Vec::new() };
        let first = calls.open.is_empty();
        let open = if first { "{" } else { calls.open };
        vec![Trigger { bytes: self.bytes(open), first, kept: true, then }]
    }

    /// How this family calls; one whose template has no word for it is told how.
    fn calls_of_family(&self) -> Calls {
        self.family.calls.unwrap_or(HERMES)
    }

    fn answer(&self) -> Result<Answer, Error> {
        let calls = self.calls()?;
        if calls.is_some() && must_call(self.ask) {
            return Ok(Answer::Within(compile(calls, None)?));
        }
        match (self.form()?, calls) {
            (None, None) => Ok(Answer::Free(None)),
            (None, calls) => Ok(Answer::Free(Some(compile(calls, None)?))),
            (form, calls) => Ok(Answer::Within(compile(calls, form)?)),
        }
    }

    fn calls(&self) -> Result<Option<(Rules, usize)>, Error> {
        if self.tools.is_empty() {
            return Ok(None);
        }
        let calls = self.calls_of_family();
        let mut rules = Rules::new();
        let root = form::calls(&calls, self.tools, self.ask.parallel, self.guard(), &mut rules)
            .map_err(|error| Error::Tool { name: error.tool, why: error.why })?;
        Ok(Some((rules, root)))
    }

    fn form(&self) -> Result<Option<(Rules, usize)>, Error> {
        let refused = |error: &dyn std::fmt::Display| Error::Form(error.to_string());
        let (mut rules, root) = match &self.ask.form {
            Form::Free => return Ok(None),
            Form::Json => json::object_rules(),
            Form::Schema(schema) => schema::rules(schema).map_err(|error| refused(&error))?,
            Form::Gbnf(text) => gbnf::rules(text).map_err(|error| refused(&error))?,
        };
        let mark = form::literal(self.family.text_mark(), self.guard());
        let root = rules.add("text", Expr::Seq(vec![mark, Expr::Rule(root)]));
        Ok(Some((rules, root)))
    }

    fn guard(&self) -> &Guard {
        self.card.template().guard()
    }

    /// What a mark is in a grammar.
    fn bytes(&self, mark: &str) -> Vec<u8> {
        let segments = self.guard().segments(mark).into_iter();
        let bytes = segments.map(|segment| match segment {
            Segment::Control(name) => control(&name),
            Segment::Text(text) => text.into_bytes(),
        });
        bytes.collect::<Vec<_>>().concat()
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.card.tokenizer().encode(text, Special::Parse, &mut ids);
        ids
    }
}

/// A grammar of calls, of a form, or of either.
fn compile(calls: Option<(Rules, usize)>, form: Option<(Rules, usize)>) -> Result<Arc<Grammar>, Error> {
    let (mut rules, mut roots) = (Rules::new(), Vec::new());
    for (other, root) in [calls, form].into_iter().flatten() {
        roots.push(rules.include(other, root));
    }
    form::either(rules, &roots).map(Arc::new).map_err(|error| Error::Form(error.to_string()))
}
