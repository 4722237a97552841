//! Architectures: from a file's metadata and tensors to a [`Plan`].
//!
//! Each architecture reads its own keys, holds every tensor against the shape that they promise, and
//! writes down its operations. After that nobody looks at names any more.

mod bert;
mod builder;
mod decoder;
mod facts;
mod rope;

use alloc::{string::String, sync::Arc};
use core::fmt;

pub use facts::{Facts, Pooling};

use crate::{
    gguf::{self, Gguf},
    plan::Plan,
    weights::{Bytes, Weights},
};
use builder::Builder;

/// The names under which files call the architectures that we run.
pub const SUPPORTED: [&str; 12] = [
    "llama",
    "smollm3",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "gemma2",
    "gemma3",
    "phi3",
    "gpt-oss",
    "bert",
    "nomic-bert",
    "mistral3",
];

/// A model, ready for a backend.
#[derive(Clone)]
pub struct Model {
    /// What is known of it.
    pub facts: Facts,
    /// Its tensors.
    pub weights: Arc<Weights>,
    /// Its forward pass.
    pub plan: Arc<Plan>,
}

/// Why a file is no model that we run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// It is no sound GGUF file.
    File(gguf::Error),
    /// An architecture that we do not have.
    Unsupported(String),
    /// A key that the architecture needs is not there, or is of another type.
    Missing(String),
    /// A key whose value cannot be.
    Value { key: String, why: &'static str },
    /// A tensor that the architecture needs is not there.
    NoTensor(String),
    /// A tensor of another shape than the keys promise.
    Shape { tensor: String, wanted: [usize; 3], found: [usize; 3] },
}

impl Model {
    /// Reads a model from `files` (one, or all parts of a split one in order), to be used with conversations
    /// of up to `context` tokens (0: as many as it was trained with; matters where the rotary embedding
    /// depends on it).
    ///
    /// # Errors
    /// [`Error`], naming the key or the tensor.
    pub fn load(files: &[Bytes], context: usize) -> Result<Self, Error> {
        let weights = gguf::weights(files).map_err(Error::File)?;
        let head = Gguf::parse((*files[0]).as_ref()).map_err(Error::File)?;
        let facts = Facts::read(&head, &weights)?;
        let plan = {
            let context = if context == 0 { facts.context } else { context };
            let mut builder = Builder::new(&head, &weights, facts.architecture.as_str(), context);
            match facts.architecture.as_str() {
                "bert" | "nomic-bert" => bert::build(&mut builder)?,
                name if SUPPORTED.contains(&name) => decoder::build(&mut builder)?,
                _ => return Err(Error::Unsupported(facts.architecture)),
            }
            builder.finish()
        };
        Ok(Self { facts, weights: Arc::new(weights), plan: Arc::new(plan) })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Unsupported(name) => {
                write!(f, "the architecture {name:?} is not supported; these are:")?;
                SUPPORTED.iter().try_for_each(|known| write!(f, " {known}"))
            }
            Self::Missing(key) => write!(f, "the key {key:?} is missing or of another type"),
            Self::Value { key, why } => write!(f, "the key {key:?} {why}"),
            Self::NoTensor(name) => write!(f, "the tensor {name:?} is missing"),
            Self::Shape { tensor, wanted, found } => {
                write!(f, "the tensor {tensor:?} has the shape {found:?} where {wanted:?} was promised")
            }
        }
    }
}

impl core::error::Error for Error {}

impl From<gguf::Error> for Error {
    fn from(error: gguf::Error) -> Self {
        Self::File(error)
    }
}

#[cfg(test)]
mod tests;
