//! How surprised a model is by a text, as llama-perplexity measures it.
//!
//! The tokens are cut into windows of 512. Each window is computed from an empty cache; of its second half
//! every token's share is taken, given all before it. A model that wants a mark at the beginning gets it in
//! place of a window's first token. The last tokens that fill no window are left out.
//!
//! Source: llama.cpp `tools/perplexity` (method), Jelinek et al. 1977 (measure).

use alloc::vec::Vec;

use libm::exp;

use crate::{
    backend::{Backend, Batch, Fault, PAGE, Token},
    sample::logprobs,
};

/// Tokens of a window.
pub const WINDOW: usize = 512;

/// Why there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Fewer tokens than a window; so many there are.
    Short(usize),
    /// The backend failed.
    Fault(Fault),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short(count) => write!(f, "the text has {count} tokens, and at least {WINDOW} are needed"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

/// The perplexity of `tokens`. `first` is the mark at the beginning, `vocabulary` the length of the backend's rows.
///
/// # Errors
/// [`Error`].
pub fn perplexity(
    backend: &mut dyn Backend,
    tokens: &[u32],
    first: Option<u32>,
    vocabulary: usize,
) -> Result<f64, Error> {
    if tokens.len() < WINDOW {
        return Err(Error::Short(tokens.len()));
    }
    let (mut total, mut count) = (0.0, 0);
    for window in tokens.chunks_exact(WINDOW) {
        let mut ids: Vec<u32> = window.into();
        if let Some(first) = first {
            ids[0] = first;
        }
        // A window needs nothing from before it, so one that a device was lost in is computed again.
        let surprise = match surprise(backend, &ids, vocabulary) {
            Err(Fault::Moved) => self::surprise(backend, &ids, vocabulary),
            other => other,
        };
        total += surprise.map_err(Error::Fault)?;
        count += WINDOW / 2 - 1;
    }
    Ok(exp(total / count as f64))
}

/// How surprising the second half of a window is: the logarithms of its tokens' shares, summed and negated.
fn surprise(backend: &mut dyn Backend, ids: &[u32], vocabulary: usize) -> Result<f64, Fault> {
    let table: Vec<u32> = (0..WINDOW.div_ceil(PAGE) as u32).collect();
    let (most, mut total, mut logits) = (backend.tokens_max(), 0.0, Vec::new());
    for start in (0..WINDOW).step_by(most) {
        let part = &ids[start..(start + most).min(WINDOW)];
        // The share of token i comes from the logits after token i - 1.
        let wanted = |i: usize| (WINDOW / 2..WINDOW - 1).contains(&i);
        let batch: Vec<Token> = part
            .iter()
            .enumerate()
            .map(|(i, &id)| Token { id, position: (start + i) as u32, sequence: 0, output: wanted(start + i) })
            .collect();
        backend.step(&Batch::new(&batch, &[&table]), &mut logits)?;
        let answered = batch.iter().filter(|token| token.output);
        for (token, row) in answered.zip(logits.chunks_exact(vocabulary)) {
            let next = ids[token.position as usize + 1];
            total -= f64::from(logprobs(row, next, 0).0);
        }
    }
    Ok(total)
}
