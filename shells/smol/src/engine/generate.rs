//! One answer: prefill, then token by token until something ends it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tutu_llm::{
    backend::{Batch, PAGE, Token},
    grammar::{Grammar, Guide, Vocabulary},
    sample::{self, Sampler},
    token::stream::Stream,
};

use super::{Engine, Error};

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
    /// What the answer must look like; it then ends within the context.
    pub grammar: Option<Arc<Grammar>>,
    /// Whether the oldest tokens give way when the context is full.
    pub shift: bool,
    /// Tokens at the start that stay when the context shifts.
    pub keep: usize,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Why.
    pub reason: Reason,
    /// How many tokens.
    pub counts: Counts,
    /// How long it took.
    pub durations: Durations,
}

impl Engine {
    /// Answers `request`; gives each piece of text to `on_text` as soon as it is certain.
    ///
    /// # Errors
    /// [`Error::TooLong`] where the prompt alone fills the context; sampling options out of range;
    /// a model file that changed; a device that failed. Text given before the error was right.
    pub fn generate(&mut self, request: &Request, on_text: &mut dyn FnMut(&str) -> Flow) -> Result<Finished, Error> {
        let start = Instant::now();
        let mut counts = Counts { prompt: request.prompt.len(), ..Counts::default() };
        let mut sampler = Sampler::new(request.sampling.clone()).map_err(Error::Sampling)?;
        let mut guide = request.grammar.clone().map(|grammar| Guide::new(grammar, self.vocabulary()));
        let mut stream = Stream::new(&request.stop);
        if request.prompt.len() >= self.context {
            return Err(Error::TooLong { tokens: request.prompt.len(), context: self.context });
        }
        for &id in &request.prompt {
            sampler.accept(id);
        }
        let mut logits = Vec::new();
        counts.cached = self.read(&request.prompt, &mut logits)?;
        let prompt = start.elapsed();

        let mut most = request.predict.unwrap_or(usize::MAX);
        if guide.is_some() {
            most = most.min(self.context - request.prompt.len());
        }
        let mut reason = Reason::Length;
        while counts.generated < most {
            let id = choose(&mut sampler, guide.as_mut(), most - counts.generated, &mut logits);
            counts.generated += 1;
            if self.tokenizer.is_end(id) {
                reason = Reason::Stop;
                break;
            }
            sampler.accept(id);
            let (flow, stopped) = emit(&mut stream, &self.tokenizer.piece(id), on_text);
            if stopped || guide.as_ref().is_some_and(Guide::is_done) {
                reason = Reason::Stop;
                break;
            }
            if flow == Flow::Stop {
                reason = Reason::Cancelled;
                break;
            }
            if counts.generated == most {
                break;
            }
            if self.cached.len() == self.context {
                if !request.shift {
                    break;
                }
                self.shift(request.keep, &mut logits)?;
            }
            self.step(&[id], &mut logits)?;
        }
        let rest = stream.finish();
        if !rest.is_empty() {
            on_text(&rest);
        }
        let total = start.elapsed();
        // Opening counts for the first answer only.
        let load = std::mem::take(&mut self.unreported_load);
        let durations = Durations { total, load, prompt, generate: total - prompt };
        Ok(Finished { reason, counts, durations })
    }
}

impl Engine {
    /// Brings the cache to hold exactly `tokens` and leaves the logits after the last of them.
    /// What the cache shares with them is kept; answers how many that were.
    ///
    /// At least one token is always computed: the cache remembers keys and values, not logits.
    fn read(&mut self, tokens: &[u32], logits: &mut Vec<f32>) -> Result<usize, Error> {
        let shared = self.cached.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let kept = shared.min(tokens.len().saturating_sub(1));
        self.cached.truncate(kept);
        let rest = &tokens[kept..];
        let most = self.backend.tokens_max();
        let mut chunks = rest.chunks(most).peekable();
        while let Some(chunk) = chunks.next() {
            self.compute(chunk, chunks.peek().is_none(), logits)?;
        }
        Ok(kept)
    }

    /// Computes `tokens` after what the cache holds, and leaves the logits after the last.
    fn step(&mut self, tokens: &[u32], logits: &mut Vec<f32>) -> Result<(), Error> {
        self.compute(tokens, true, logits)
    }

    fn compute(&mut self, ids: &[u32], output: bool, logits: &mut Vec<f32>) -> Result<(), Error> {
        let first = self.cached.len();
        self.batch.clear();
        self.batch.extend(ids.iter().enumerate().map(|(i, &id)| Token {
            id,
            position: (first + i) as u32,
            sequence: 0,
            output: output && i + 1 == ids.len(),
        }));
        let pages = (first + ids.len()).div_ceil(PAGE);
        let batch = Batch { tokens: &self.batch, tables: &[&self.table[..pages]] };
        self.backend.step(&batch, logits).map_err(Error::Fault)?;
        // A file that was cut while it was read gives zeros, not a crash: what was computed is worth nothing.
        if !self.files.iter().all(|file| file.is_intact()) {
            self.cached.clear();
            return Err(Error::Changed);
        }
        self.cached.extend_from_slice(ids);
        Ok(())
    }

    /// Makes room in a full context: the first `keep` tokens stay, half of the rest goes, and what
    /// remains is computed again. Turning the cached keys back by their distance would be quicker, but
    /// leaves values that were computed with the lost tokens in sight, and another text than the same
    /// tokens give when they are sent afresh.
    fn shift(&mut self, keep: usize, logits: &mut Vec<f32>) -> Result<(), Error> {
        let keep = keep.min(self.context / 2);
        let drop = (self.context - keep) / 2;
        let mut tokens = self.cached.clone();
        tokens.drain(keep..keep + drop);
        self.read(&tokens, logits)?;
        Ok(())
    }

    /// The tokens as a grammar needs them, made when they are first needed.
    fn vocabulary(&mut self) -> Arc<Vocabulary> {
        self.vocabulary.get_or_insert_with(|| Arc::new(Vocabulary::of(&self.tokenizer))).clone()
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

/// Passes on what became certain; answers the reader's wish and whether a stop text came.
fn emit(stream: &mut Stream, piece: &[u8], on_text: &mut dyn FnMut(&str) -> Flow) -> (Flow, bool) {
    let step = stream.push(piece);
    let flow = if step.text.is_empty() { Flow::Continue } else { on_text(&step.text) };
    (flow, step.stopped)
}
