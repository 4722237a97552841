//! A loaded model that answers: tokens in, text out, many answers at once.
//!
//! The engine owns the backend, the tokenizer, the template and the batcher, which remembers what was computed, so that
//! the next turn of a conversation computes only what is new.

mod adapters;
mod card;
pub mod clock;
pub mod disk;
mod draft;
mod embed;
mod generate;
#[cfg_attr(not(feature = "gpu"), path = "no_gpu.rs")]
pub mod gpu;
mod jinja;
mod open;
mod recall;
pub mod runner;
mod score;
pub mod template;

pub use adapters::Adapter;
pub use card::Card;
pub use draft::Draft;
pub use generate::{Counts, Durations, Event, Finished, Flow, Piece, Reason, Request, Scored, Sink};
pub use open::{Device, Estimate, Options, Sources, card, draft, estimate, tokenizer};
pub use runner::{Answer, Handle, Runner};

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use tutu_llm::{
    arch, backend,
    backend::Backend,
    batch::{Batcher, Id, Mix},
    chat::{Message, Segment},
    sample,
    token::{self, Tokenizer},
};
use tutu_os::Mapped;

use template::Template;

/// A model in memory, ready to compute.
pub struct Engine {
    card: Card,
    backend: Box<dyn Backend + Send>,
    /// Whether it keeps keys and values, so that a text can be computed piece by piece.
    cached: bool,
    /// Where some of its layers are computed.
    gpu: Option<gpu::Gpu>,
    files: Vec<Arc<Mapped>>,
    batcher: Batcher,
    /// Answers that are being written.
    live: BTreeMap<Id, generate::Live>,
    draft: Option<Draft>,
    adapters: adapters::Adapters,
    /// All that keys and values depend on beside the files: plan, kernels, how they are kept.
    how: Vec<u8>,
    recall: Option<recall::Recall>,
    load: Duration,
    /// What it may take in memory.
    estimate: Estimate,
    /// The same as `load`, until an answer has told it.
    unreported_load: Duration,
}

impl Engine {
    /// What is known of the model apart from its weights, to make prompts in any thread.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// What the file says of the model.
    pub fn facts(&self) -> &arch::Facts {
        self.card.facts()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.card.tokenizer()
    }

    /// Its template.
    pub fn template(&self) -> &Template {
        self.card.template()
    }

    /// Positions that one conversation may use.
    pub fn context(&self) -> usize {
        self.card.context()
    }

    /// How long it took to open.
    pub fn load(&self) -> Duration {
        self.load
    }

    /// What it may take in memory.
    pub fn estimate(&self) -> Estimate {
        self.estimate
    }

    /// Has these adapters ready, so that a text can take them at once.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Adapter`].
    pub fn attach(&mut self, adapters: &[Adapter]) -> Result<Mix, Error> {
        self.adapters.mix(&mut *self.backend, adapters, self.batcher.mixes())
    }

    /// Has a small model guess for the texts that name it. Another one stays as long as somebody is served by it.
    pub fn guess_with(&mut self, draft: Draft) {
        let is_used = |old: &Draft| old.files == draft.files || self.live.values().any(|live| live.guesses_with(old));
        if !self.draft.as_ref().is_some_and(is_used) {
            self.draft = Some(draft);
        }
    }

    /// Whether this small model is there.
    pub fn has_draft(&self, files: &[PathBuf]) -> bool {
        self.draft.as_ref().is_some_and(|draft| draft.files == files)
    }

    /// What adapters and a small model take in memory beside the estimate, in bytes.
    pub fn extra(&self) -> u64 {
        self.adapters.bytes() + self.draft.as_ref().map_or(0, |draft| draft.bytes)
    }

    /// The GPU that computes some of its layers, or all; `None` where the processor does.
    pub fn gpu(&self) -> Option<&gpu::Gpu> {
        self.gpu.as_ref()
    }

    /// Pages of keys and values: in use or remembered, and all.
    pub fn pages(&self) -> (usize, usize) {
        self.batcher.pages()
    }

    /// The backend, for measuring.
    pub fn backend(&mut self) -> &mut (dyn Backend + Send) {
        self.batcher.forget();
        &mut *self.backend
    }

    /// What `work` computes; once more where a device was lost meanwhile and another took over, whose cache is empty.
    fn again_where_moved<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        match work(self) {
            Err(Error::Fault(backend::Fault::Moved)) => {
                self.batcher.forget();
                work(self)
            }
            other => other,
        }
    }

    /// Sets another template, in Go's language or in Jinja.
    ///
    /// # Errors
    /// [`template::Error::Broken`], and the old one stays.
    pub fn set_template(&mut self, source: &str) -> Result<(), template::Error> {
        self.card = self.card.with_template(source)?;
        Ok(())
    }

    /// The token ids of a prompt for `messages`, up to where the model answers.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        self.card.prompt(messages)
    }

    /// The token ids of a rendered prompt.
    pub fn ids(&self, segments: &[Segment]) -> Vec<u32> {
        self.card.ids(segments)
    }
}

/// Why a model could not be opened, or an answer not be given.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// A file of the model could not be read.
    File { path: PathBuf, source: std::io::Error },
    /// The file is not a model that we run.
    Model { path: PathBuf, source: arch::Error },
    /// Its tokenizer is not one that we know.
    Tokenizer(token::Error),
    /// Its template is broken, or refused the messages.
    Template(template::Error),
    /// An adapter does not fit.
    Adapter { path: PathBuf, reason: String },
    /// A small model cannot guess for this one.
    Draft(String),
    /// The processor back end refused the model.
    Backend(String),
    /// A sampling option is out of range.
    Sampling(sample::Error),
    /// The prompt alone has more tokens than the context.
    TooLong { tokens: usize, context: usize },
    /// An embedding model was asked for text, or the other way round.
    Use(&'static str),
    /// The model's file was cut or replaced while it was in use.
    Changed,
    /// The computing device failed.
    Fault(backend::Fault),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "{} cannot be read: {source}", path.display()),
            Self::Model { path, source } => write!(f, "{} is no model that can be run: {source}", path.display()),
            Self::Tokenizer(error) => write!(f, "the model's tokenizer cannot be used: {error}"),
            Self::Template(error) => error.fmt(f),
            Self::Adapter { path, reason } => {
                write!(f, "the adapter {} does not fit the model: {reason}", path.display())
            }
            Self::Draft(reason) => f.write_str(reason),
            Self::Backend(reason) => write!(f, "the model cannot be computed here: {reason}"),
            Self::Sampling(error) => write!(f, "a sampling option cannot be used: {error}"),
            Self::TooLong { tokens, context } => write!(
                f,
                "the prompt has {tokens} tokens and the context holds {context}; shorten it or raise num_ctx (--num-ctx)"
            ),
            Self::Use(how) => write!(f, "the model cannot be used so: {how}"),
            Self::Changed => f.write_str("the model's file was changed while it was in use; run the command again"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl Error {
    /// The same once more, for whoever else must hear of it.
    fn repeat(&self) -> Self {
        match self {
            Self::Changed => Self::Changed,
            Self::Fault(fault) => Self::Fault(*fault),
            other => Self::Backend(other.to_string()),
        }
    }
}

impl std::error::Error for Error {}
