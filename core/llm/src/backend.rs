//! What a computing crate must do: run one step of a plan.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    plan::{Op, Plan, Row},
    sample::{self, Candidate},
    weights::Weights,
};

/// Tokens whose keys and values lie together in a cache: the unit in which [`crate::kv`] gives memory.
pub const PAGE: usize = 32;

/// One token of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id, below the size of the vocabulary.
    pub id: u32,
    /// Its position in its sequence, from 0.
    pub position: u32,
    /// Whose it is: an index into [`Batch::tables`].
    pub sequence: u32,
    /// Whether the plan's output is wanted for it.
    pub output: bool,
}

/// What one step computes: tokens of one or several sequences.
///
/// Tokens of one sequence come in ascending, gapless order of position. Everything before the first of
/// them is in the cache already.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// At most [`Backend::tokens_max`].
    pub tokens: &'a [Token],
    /// For each sequence its pages: the keys of position `p` lie in page `table[p / PAGE]`, row `p % PAGE`.
    /// A page may be shared by sequences; then nobody writes to it.
    pub tables: &'a [&'a [u32]],
    /// For each sequence, how much of each adapter of the plan it takes. What is not there is nothing.
    pub shares: &'a [&'a [f32]],
}

/// Runs plans. Made by each computing crate from `Arc<Weights>`, a `Plan`, and its own options.
pub trait Backend {
    /// Most tokens in one step.
    fn tokens_max(&self) -> usize;

    /// How many cache pages there are; page numbers are below it.
    fn pages(&self) -> usize;

    /// Runs one step. `out` is cleared, then gets one row of the plan's output width for each token
    /// whose output was asked for, in the order of the tokens.
    ///
    /// # Errors
    /// [`Fault`]; what the step wrote to the cache is then undefined, everything older is as it was.
    fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault>;

    /// As [`Self::step`], for whoever needs only the best tokens: `out` gets, for each token whose output was asked for,
    /// the best `most` of its row (fewer where the row is shorter), best first ([`sample::order`]).
    ///
    /// # Errors
    /// As [`Self::step`].
    fn step_best(&mut self, batch: &Batch<'_>, most: usize, out: &mut Vec<Vec<Candidate>>) -> Result<(), Fault> {
        let rows = batch.tokens.iter().filter(|token| token.output).count();
        let mut logits = Vec::new();
        self.step(batch, &mut logits)?;
        out.resize_with(rows, Vec::new);
        let width = logits.len() / rows.max(1);
        for (row, out) in logits.chunks_exact(width.max(1)).zip(out) {
            sample::take(row, most, out);
        }
        Ok(())
    }

    /// As [`Self::step`], with the hidden states of the wanted tokens ([`Plan::states`]) in place of the plan's
    /// output: a head over the vocabulary is not computed.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault>;

    /// Goes on with another plan of the same model, which differs only in its adapters ([`crate::lora::attach`]): what
    /// is in the cache stays, and so do weights that were made ready.
    ///
    /// # Errors
    /// [`Fault::Batch`] where the plan is another model's, or the backend takes none, as it does unless overridden.
    fn replan(&mut self, _weights: Arc<Weights>, _plan: Arc<Plan>) -> Result<(), Fault> {
        Err(Fault::Batch)
    }

    /// Bytes of a page over all layers, as [`Self::save`] gives them; 0 where pages cannot be saved, as they cannot
    /// unless overridden.
    fn page_bytes(&self) -> usize {
        0
    }

    /// Appends what a page holds to `out`, [`Self::page_bytes`] in all.
    ///
    /// # Panics
    /// If there is no such page.
    fn save(&self, _page: u32, _out: &mut Vec<u8>) {}

    /// Fills a page with what [`Self::save`] gave; answers whether it did: not if the bytes are too few or too many.
    ///
    /// # Panics
    /// If there is no such page.
    fn load(&mut self, _page: u32, _bytes: &[u8]) -> bool {
        false
    }

    /// Runs one step of one token and says how long each kernel took, the longest first; `None` where the backend has no
    /// clock of its own, unless overridden.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn profile(&mut self, _batch: &Batch<'_>) -> Result<Option<Vec<Timing>>, Fault> {
        Ok(None)
    }
}

/// What one kernel did in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Its name, with its variant.
    pub name: String,
    /// How often it ran.
    pub count: usize,
    /// Nanoseconds of all runs together.
    pub nanoseconds: f64,
    /// Bytes that these read and wrote.
    pub bytes: usize,
}

/// Why a step gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// More tokens than the backend takes, a position without a page, an id beyond the vocabulary: the
    /// caller's mistake, nothing was computed.
    Batch,
    /// The device is gone, or the model's memory can no longer be read.
    Lost,
    /// The device is gone and another has taken its place: nothing is in its cache yet. Whoever computes all of it again,
    /// from the first position on, gets what was asked for.
    Moved,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Batch => "the batch does not fit the model",
            Self::Lost => "the device or the model's file was lost while it ran",
            Self::Moved => "the device was lost while it ran, and another has taken over; ask again",
        })
    }
}

impl core::error::Error for Fault {}

impl<'a> Batch<'a> {
    /// A batch of sequences that take no adapter.
    pub const fn new(tokens: &'a [Token], tables: &'a [&'a [u32]]) -> Self {
        Self { tokens, tables, shares: &[] }
    }

    /// How much of an adapter each of `rows` rows takes: the tokens, or those whose output is wanted. Empty where none
    /// takes any.
    pub fn shares_of(&self, adapter: usize, rows: usize, out: &mut Vec<f32>) {
        out.clear();
        let share = |token: &Token| self.shares.get(token.sequence as usize)?.get(adapter).copied();
        let all = rows == self.tokens.len();
        out.extend(self.tokens.iter().filter(|token| all || token.output).map(|token| share(token).unwrap_or(0.0)));
        if out.iter().all(|share| *share == 0.0) {
            out.clear();
        }
    }
}

impl Batch<'_> {
    /// Whether a backend can run this batch: every rule of [`Token`] and [`Batch`] holds.
    ///
    /// # Errors
    /// [`Fault::Batch`].
    pub fn check(&self, plan: &Plan, weights: &Weights, tokens_max: usize, pages: usize) -> Result<(), Fault> {
        let (mut vocabulary, mut positions) = (usize::MAX, usize::MAX);
        for op in &plan.ops {
            match op {
                Op::Embed { table, .. } => vocabulary = weights.tensor(*table).dims[1],
                Op::AddRow { table, row: Row::Position, .. } => positions = weights.tensor(*table).dims[1],
                _ => {}
            }
        }
        let cached = !plan.caches.is_empty();
        let fits = |token: &Token| {
            let Some(table) = self.tables.get(token.sequence as usize) else {
                return false;
            };
            let position = token.position as usize;
            let room = !cached || (position < table.len() * PAGE && table.iter().all(|&page| (page as usize) < pages));
            (token.id as usize) < vocabulary && position < positions && room
        };
        let sound = !self.tokens.is_empty() && self.tokens.len() <= tokens_max && self.tokens.iter().all(fits);
        if sound { Ok(()) } else { Err(Fault::Batch) }
    }
}
