//! A loaded model that answers: tokens in, text out, many answers at once.
//!
//! The engine owns the backend, the tokenizer, the template and the batcher, which remembers what was computed, so that
//! the next turn of a conversation computes only what is new.

mod clock;
mod draft;
mod generate;
mod jinja;
mod open;
pub mod template;

pub use generate::{Counts, Durations, Event, Finished, Flow, Piece, Reason, Request, Scored, Sink};
pub use open::{Device, Options, Sources, tokenizer};

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use tutu_llm::{
    arch, backend,
    backend::{Backend, PAGE},
    batch::{Batcher, Id},
    chat::{Message, Segment},
    grammar::Vocabulary,
    sample,
    token::{self, Special, Tokenizer},
};
use tutu_os::Mapped;

use template::{Ask, Template};

/// A model in memory, ready to compute.
pub struct Engine {
    facts: arch::Facts,
    tokenizer: Tokenizer,
    template: Template,
    backend: Box<dyn Backend + Send>,
    files: Vec<Arc<Mapped>>,
    /// Positions that one conversation may use.
    context: usize,
    batcher: Batcher,
    /// Answers that are being written.
    live: BTreeMap<Id, generate::Live>,
    draft: Option<draft::Draft>,
    vocabulary: Option<Arc<Vocabulary>>,
    load: Duration,
    /// The same, until an answer has told it.
    unreported_load: Duration,
}

impl Engine {
    /// What is known of the model.
    pub fn facts(&self) -> &arch::Facts {
        &self.facts
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Positions that one conversation may use.
    pub fn context(&self) -> usize {
        self.context
    }

    /// How long it took to open.
    pub fn load(&self) -> Duration {
        self.load
    }

    /// The backend, for measuring.
    pub fn backend(&mut self) -> &mut (dyn Backend + Send) {
        self.batcher.forget();
        &mut *self.backend
    }

    /// Its template, to set another.
    pub fn template_mut(&mut self) -> &mut Template {
        &mut self.template
    }

    /// The token ids of a prompt for `messages`, up to where the model answers.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let ask = Ask { messages, answer: true, ..Ask::default() };
        let segments = self.template.render(&ask).map_err(Error::Template)?;
        Ok(self.ids(&segments))
    }

    /// The token ids of a rendered prompt.
    pub fn ids(&self, segments: &[Segment]) -> Vec<u32> {
        let mut ids = Vec::new();
        for segment in segments {
            match segment {
                Segment::Control(name) => ids.extend(self.tokenizer.id_of(name)),
                Segment::Text(text) => self.tokenizer.encode(text, Special::Text, &mut ids),
            }
        }
        // Templates of some families write the mark of the beginning, others leave it to the tokenizer.
        if let Some(mark) = self.tokenizer.leading().filter(|mark| ids.first() != Some(mark)) {
            ids.insert(0, mark);
        }
        ids
    }

    /// The vector of a text, of unit length: the mean of its hidden states, or what the file asks for.
    ///
    /// # Errors
    /// [`Error::Use`] for a model that does not make embeddings; [`Error::TooLong`].
    pub fn embed(&mut self, text: &str) -> Result<Vec<f32>, Error> {
        let Some(pooling) = self.facts.pooling else {
            return Err(Error::Use("it does not make embeddings; use it with a prompt"));
        };
        let mut ids = Vec::new();
        self.tokenizer.encode(text, Special::Text, &mut ids);
        self.tokenizer.add_special(&mut ids);
        if ids.len() > self.backend.tokens_max() {
            return Err(Error::TooLong { tokens: ids.len(), context: self.backend.tokens_max() });
        }
        let tokens: Vec<backend::Token> = ids
            .iter()
            .enumerate()
            .map(|(i, &id)| backend::Token { id, position: i as u32, sequence: 0, output: true })
            .collect();
        let pages = ids.len().div_ceil(PAGE);
        let mut states = Vec::new();
        let table: Vec<u32> = (0..pages as u32).collect();
        let batch = backend::Batch { tokens: &tokens, tables: &[&table] };
        self.backend.step(&batch, &mut states).map_err(Error::Fault)?;
        Ok(tutu_llm::embed::pool(pooling, &states, self.facts.embedding))
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
