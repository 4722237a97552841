//! Answers: each joins the batch, gets token after token, and leaves when something ends it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tutu_llm::{
    batch::{Choice, Choose, Id, Scores, Stepped},
    grammar::{Course, Guide},
    sample::{self, Sampler},
    token::{
        Tokenizer,
        stream::{Step, Stream},
    },
};

use super::{Adapter, Engine, Error, draft::Draft};

/// What is asked of the model.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids of the prompt, ready to be read.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: sample::Config,
    /// Most tokens of the answer; `None` until the model ends it.
    pub predict: Option<usize>,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// What the answer is held to; it then ends within the context.
    pub course: Option<Arc<Course>>,
    /// Whether the oldest tokens give way when the context is full.
    pub shift: bool,
    /// Tokens at the start that stay when the context shifts.
    pub keep: usize,
    /// Positions that it may use, if that is less than all that the model is open for.
    pub context: Option<usize>,
    /// LoRA adapters that it is written with.
    pub adapters: Vec<Adapter>,
    /// The files of the small model that may guess what comes, if it is there ([`Engine::guess_with`]).
    pub draft: Vec<PathBuf>,
    /// Whether logarithms of probabilities are wanted, and for how many of the best tokens besides.
    pub logprobs: Option<usize>,
}

/// What an answer consists of.
#[derive(Debug)]
pub enum Event {
    /// One more token.
    Piece(Piece),
    /// The end.
    Done(Finished),
    /// The end, too early.
    Failed(Error),
}

/// One more token of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Its id; `None` for what was held back until the end.
    pub id: Option<u32>,
    /// The text that became certain by it; empty while it may yet turn out otherwise.
    pub text: String,
    /// Its name, where it is a control token: it stands after the text, and is no part of it.
    pub control: Option<String>,
    /// Its own bytes and probabilities, where they were asked for.
    pub scored: Option<Scored>,
}

/// A token with its probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability, before temperature.
    pub logprob: f32,
    /// The best tokens, best first: bytes and logarithm.
    pub top: Vec<(Vec<u8>, f32)>,
}

/// Takes what an answer consists of; says whether to go on.
pub type Sink = Box<dyn FnMut(Event) -> Flow + Send>;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// The reader has had enough.
    Stop,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The model ended it, or a stop text came.
    Stop,
    /// As many tokens as were asked for, or the context is full.
    Length,
    /// The reader stopped it.
    Cancelled,
}

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// How many of them were in the cache already.
    pub cached: usize,
    /// Tokens that were generated.
    pub generated: usize,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// From the request to its end.
    pub total: Duration,
    /// Opening the model; nothing when it was open.
    pub load: Duration,
    /// Reading the prompt.
    pub prompt: Duration,
    /// Generating.
    pub generate: Duration,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The prompt and the answer, as token ids.
    pub tokens: Vec<u32>,
    /// Why.
    pub reason: Reason,
    /// How many tokens.
    pub counts: Counts,
    /// How long it took.
    pub durations: Durations,
}

/// An answer that is being written.
pub(super) struct Live {
    request: Request,
    sampler: Sampler,
    guide: Option<Guide>,
    stream: Stream,
    sink: Sink,
    counts: Counts,
    start: Instant,
    /// When the first token came.
    begun: Option<Instant>,
    load: Duration,
    /// The whole text, also what a shift took out of the context.
    tokens: Vec<u32>,
    context: usize,
}

impl Engine {
    /// Lets an answer join those that are being written. Its sink hears of it in [`Self::step`].
    ///
    /// # Errors
    /// [`Error::TooLong`] where the prompt alone fills the context; sampling options out of range.
    pub fn submit(&mut self, mut request: Request, sink: Sink) -> Result<Id, Error> {
        let start = Instant::now();
        if self.facts().pooling.is_some() {
            return Err(Error::Use("it makes vectors and writes no text"));
        }
        let mut sampler = Sampler::new(request.sampling.clone()).map_err(Error::Sampling)?;
        let prompt = std::mem::take(&mut request.prompt);
        let context = request.context.unwrap_or(usize::MAX).min(self.context());
        if prompt.len() >= context {
            return Err(Error::TooLong { tokens: prompt.len(), context });
        }
        if prompt.is_empty() {
            return Err(Error::Use("there is nothing to go on from; give it a prompt"));
        }
        let mix = self.attach(&request.adapters)?;
        prompt.iter().for_each(|&id| sampler.accept(id));
        let guide = match request.course.clone() {
            Some(course) => {
                let left = context - prompt.len();
                request.predict = Some(request.predict.map_or(left, |most| most.min(left)));
                Some(Guide::follow(course, self.card.vocabulary()))
            }
            None => None,
        };
        self.recall(&mix, &prompt);
        let id = self.batcher.join(prompt.clone(), mix);
        let counts = Counts { prompt: prompt.len(), cached: self.batcher.known(id), generated: 0 };
        let live = Live {
            stream: Stream::new(&request.stop),
            request,
            sampler,
            guide,
            sink,
            counts,
            start,
            begun: None,
            // Opening counts for the first answer only.
            load: std::mem::take(&mut self.unreported_load),
            tokens: prompt,
            context,
        };
        self.live.insert(id, live);
        Ok(id)
    }

    /// Ends an answer; its sink hears no more.
    pub fn cancel(&mut self, id: Id) {
        self.batcher.leave(id);
        self.live.remove(&id);
    }

    /// Lets an answer rest, or go on.
    pub fn pause(&mut self, id: Id, paused: bool) {
        self.batcher.pause(id, paused);
    }

    /// Whether an answer is being written.
    pub fn is_writing(&self, id: Id) -> bool {
        self.live.contains_key(&id)
    }

    /// Answers that are being written.
    pub fn busy(&self) -> usize {
        self.live.len()
    }

    /// Computes one step for all answers and tells their sinks.
    ///
    /// # Errors
    /// A model file that changed, a device that failed: all answers have then ended, and their sinks were told.
    pub fn step(&mut self) -> Result<Stepped, Error> {
        self.make_room_for_step();
        let start = Instant::now();
        let mut chooser =
            Chooser { live: &mut self.live, tokenizer: self.card.tokenizer(), draft: self.draft.as_mut() };
        let stepped = self.batcher.step(&mut *self.backend, &mut chooser).map_err(Error::Fault);
        // A file that was cut while it was read gives zeros, not a crash: what was computed is worth nothing.
        let stepped = if self.files.iter().all(|file| file.is_intact()) { stepped } else { Err(Error::Changed) };
        if let Ok(stepped) = &stepped {
            self.learn_rate(stepped.prompt, start.elapsed());
        }
        if let Err(error) = &stepped {
            self.batcher.forget();
            for (id, mut live) in std::mem::take(&mut self.live) {
                self.batcher.leave(id);
                (live.sink)(Event::Failed(error.repeat()));
            }
        }
        stepped
    }

    /// Answers `request`; gives each piece of text to `on_text` as soon as it is certain.
    ///
    /// # Errors
    /// As [`Self::submit`] and [`Self::step`]. Text given before the error was right.
    pub fn generate(&mut self, request: &Request, on_text: &mut dyn FnMut(&str) -> Flow) -> Result<Finished, Error> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let heard = Arc::clone(&heard);
            Box::new(move |event| {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                Flow::Continue
            })
        };
        let id = self.submit(request.clone(), sink)?;
        loop {
            let stepped = self.step();
            let events = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
            for event in events {
                match event {
                    Event::Piece(piece) if piece.text.is_empty() => {}
                    Event::Piece(piece) => {
                        if on_text(&piece.text) == Flow::Stop
                            && let Some(live) = self.live.get_mut(&id)
                        {
                            let finished = live.finished(Reason::Cancelled);
                            self.cancel(id);
                            return Ok(finished);
                        }
                    }
                    Event::Done(finished) => return Ok(finished),
                    Event::Failed(error) => return Err(error),
                }
            }
            stepped?;
        }
    }
}

impl Live {
    /// Whether a small model guesses for it.
    pub(super) fn guesses_with(&self, draft: &Draft) -> bool {
        draft.always || (!draft.files.is_empty() && self.request.draft == draft.files)
    }

    fn finished(&mut self, reason: Reason) -> Finished {
        let now = Instant::now();
        let (total, prompt) = (now - self.start, self.begun.unwrap_or(now) - self.start);
        let durations = Durations { total, load: self.load, prompt, generate: total - prompt };
        Finished { tokens: std::mem::take(&mut self.tokens), reason, counts: self.counts, durations }
    }

    /// The end: what was held back is text after all.
    fn end(&mut self, reason: Reason) -> Choice {
        let text = self.stream.finish();
        if !text.is_empty() {
            (self.sink)(Event::Piece(Piece { text, ..Piece::default() }));
        }
        let finished = self.finished(reason);
        (self.sink)(Event::Done(finished));
        Choice::End
    }

    /// Takes a token into the text. A control token is none of it, and what stands before it is certain.
    fn read(&mut self, tokenizer: &Tokenizer, id: u32) -> Step {
        if !tokenizer.is_control(id) {
            return self.stream.push(&tokenizer.piece(id));
        }
        let stopped = self.stream.stop_in(tokenizer.text(id)).map(String::from);
        Step { text: self.stream.finish(), stopped }
    }

    /// How many of the best tokens are enough to go on.
    fn needs(&self) -> Option<usize> {
        let all = self.guide.is_some() || self.request.logprobs.is_some();
        self.sampler.needs().filter(|_| !all)
    }

    /// What follows `now`, the tokens that are in the context.
    fn choose(&mut self, tokenizer: &Tokenizer, now: &[u32], scores: Scores<'_>) -> Choice {
        self.begun.get_or_insert_with(Instant::now);
        let most = self.request.predict.unwrap_or(usize::MAX);
        if self.counts.generated >= most {
            return self.end(Reason::Length);
        }
        let left = most - self.counts.generated;
        let (id, plain) = match scores {
            Scores::Best(best) => (self.sampler.sample_best(best), None),
            Scores::All(logits) => {
                let plain = self.request.logprobs.map(|_| logits.to_vec());
                (choose(&mut self.sampler, self.guide.as_mut(), left, logits), plain)
            }
        };
        self.counts.generated += 1;
        if tokenizer.is_end(id) {
            return self.end(Reason::Stop);
        }
        self.sampler.accept(id);
        self.tokens.push(id);
        let scored = plain.map(|logits| scored(tokenizer, &logits, id, self.request.logprobs.unwrap_or(0)));
        let step = self.read(tokenizer, id);
        let control = tokenizer.is_control(id).then(|| tokenizer.text(id).to_owned());
        let flow = (self.sink)(Event::Piece(Piece { id: Some(id), text: step.text, control, scored }));
        if step.stopped.is_some() || self.guide.as_ref().is_some_and(Guide::is_done) {
            self.end(Reason::Stop)
        } else if flow == Flow::Stop {
            self.end(Reason::Cancelled)
        } else if self.counts.generated == most {
            self.end(Reason::Length)
        } else if now.len() < self.context {
            Choice::Next(id)
        } else if self.request.shift {
            Choice::Replace(shifted(now, id, self.request.keep))
        } else {
            self.end(Reason::Length)
        }
    }
}

/// A full context with room made in it: the first `keep` tokens stay, half of the rest goes, and what remains is computed
/// again. Turning the cached keys back by their distance would be quicker, but leaves values that were computed
/// with the lost tokens in sight, and another text than the same tokens give when they are sent afresh.
fn shifted(tokens: &[u32], next: u32, keep: usize) -> Vec<u32> {
    let keep = keep.min(tokens.len() / 2);
    let drop = (tokens.len() - keep) / 2;
    tokens[..keep].iter().chain(&tokens[keep + drop..]).copied().chain([next]).collect()
}

fn scored(tokenizer: &Tokenizer, logits: &[f32], id: u32, top: usize) -> Scored {
    let (logprob, list) = sample::logprobs(logits, id, top);
    let bytes = |id: u32| tokenizer.piece(id).to_vec();
    Scored { bytes: bytes(id), logprob, top: list.into_iter().map(|(id, logprob)| (bytes(id), logprob)).collect() }
}

/// Chooses for all answers at once.
struct Chooser<'e> {
    live: &'e mut BTreeMap<Id, Live>,
    tokenizer: &'e Tokenizer,
    draft: Option<&'e mut Draft>,
}

impl Choose for Chooser<'_> {
    fn needs(&self, id: Id) -> Option<usize> {
        self.live.get(&id)?.needs()
    }

    fn choose(&mut self, id: Id, tokens: &[u32], scores: Scores<'_>) -> Choice {
        let Some(live) = self.live.get_mut(&id) else { return Choice::End };
        let choice = live.choose(self.tokenizer, tokens, scores);
        if choice == Choice::End {
            self.live.remove(&id);
        }
        choice
    }

    fn guess(&mut self, id: Id, tokens: &[u32], most: usize) -> Vec<u32> {
        let named = |draft: &&mut &mut Draft| self.live.get(&id).is_some_and(|live| live.guesses_with(draft));
        self.draft.as_mut().filter(named).map_or_else(Vec::new, |draft| draft.guess(id, tokens, most))
    }
}

/// The next token; with a guide, one that it allows, `left` tokens before the end.
fn choose(sampler: &mut Sampler, guide: Option<&mut Guide>, left: usize, logits: &mut [f32]) -> u32 {
    let Some(guide) = guide else { return sampler.sample(logits) };
    guide.limit(left);
    let id = sampler.sample_within(logits, guide);
    guide.accept(id);
    id
}
