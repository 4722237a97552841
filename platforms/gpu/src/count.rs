//! What one step moves, counted from the recorded program: no device, no clock.
//!
//! Weights and cache are counted as often as a dispatch reads them; activations once for each dispatch that reads or writes
//! them, since what neighbours in a dispatch read again comes from its caches. The floor is what nobody can do without:
//! each weight that the step needs once, the keys and values of all positions once, the new ones written once, the result.

use tutu_llm::backend::{Batch, Token};

use crate::{
    kernel::{BEST_GROUPS, BEST_KEPT, Kernel},
    program::{Dispatch, Grid, Part, Program},
};

/// What a step of one token moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Bytes of weights.
    pub weights: usize,
    /// Bytes of keys and values.
    pub cache: usize,
    /// Bytes of activations and small tensors.
    pub activations: usize,
    /// Bytes that cannot be done without.
    pub floor: usize,
    /// Dispatches.
    pub dispatches: usize,
    /// Places where a dispatch waits for those before it.
    pub barriers: usize,
    /// Times that work is handed to the device.
    pub submissions: usize,
    /// Bytes that come back, where the best of the result are enough.
    pub back: usize,
}

impl Counted {
    /// All bytes.
    pub fn bytes(&self) -> usize {
        self.weights + self.cache + self.activations
    }
}

/// Counts a step of one token at `position`, whose result is wanted.
pub fn one_token(program: &Program, position: usize) -> Counted {
    let mut all = Counted { submissions: 1, ..Counted::default() };
    let table = vec![0; position / 32 + 1];
    let step = crate::step::Step::new(program, &Batch::new(&[token(position)], &[&table]), !program.caches.is_empty());
    let mut seen = vec![false; program.parts.len()];
    for dispatch in &program.dispatches {
        if !step.wants(dispatch) || dispatch.groups(1, step.segments).contains(&0) {
            continue;
        }
        all.dispatches += 1;
        let read = weight_bytes(program, dispatch);
        all.weights += read;
        if let Some(part) = dispatch.part
            && !std::mem::replace(&mut seen[part], !matches!(dispatch.kernel(1), Kernel::Embed { .. }))
        {
            all.floor += read;
        }
        let cached = cache_bytes(program, dispatch, position);
        all.cache += cached;
        all.floor += cached;
        all.activations += 4 * (dispatch.moves.read + dispatch.moves.written);
        if step.segments > 1 && matches!(dispatch.grid, Grid::Segments(_)) {
            all.activations += 4 * (step.segments as usize - 1) * dispatch.moves.written;
        }
    }
    // Every kernel reads what another wrote: each waits for the one before.
    all.barriers = all.dispatches.saturating_sub(1);
    all.back = if program.best.is_some() { BEST_GROUPS * BEST_KEPT * 2 * 4 } else { 4 * program.output.width };
    all.floor += 4 * program.output.width;
    all
}

/// Bytes that one dispatch moves for a token at `position`.
pub fn dispatch_bytes(program: &Program, dispatch: &Dispatch, position: usize) -> usize {
    let moved = 4 * (dispatch.moves.read + dispatch.moves.written);
    weight_bytes(program, dispatch) + cache_bytes(program, dispatch, position) + moved
}

fn token(position: usize) -> Token {
    Token { id: 0, position: position as u32, sequence: 0, output: true }
}

/// Bytes of its part that a dispatch reads for one token.
fn weight_bytes(program: &Program, dispatch: &Dispatch) -> usize {
    let Some(part) = dispatch.part.map(|part| &program.parts[part]) else { return 0 };
    let row = |part: &Part| part.bytes() / part.rows().max(1);
    match dispatch.kernel(1) {
        Kernel::Embed { .. } => row(part),
        Kernel::Experts { function, .. } => {
            // Parameters 14 and 17: rows of an expert, experts of a token.
            let [each, used] = [14, 17].map(|i| dispatch.params.0[i] as usize);
            let span = if function.is_some() { 2 } else { 1 };
            row(part) * (span * each * used).min(part.rows())
        }
        _ => part.bytes(),
    }
}

fn cache_bytes(program: &Program, dispatch: &Dispatch, position: usize) -> usize {
    let Some([keys, values]) = dispatch.cache.map(|cache| program.caches[cache]) else { return 0 };
    match dispatch.kernel(1) {
        Kernel::Attend { .. } | Kernel::AttendSubgroup { .. } | Kernel::AttendStreams { .. } => {
            // Parameters 9 and 8: the window, and how many tiles of heads read the same keys.
            let [window, tiles] = [9, 8].map(|i| dispatch.params.0[i] as usize);
            let seen = if window == 0 { position + 1 } else { window.min(position + 1) };
            4 * (keys + values) * seen * tiles
        }
        _ => 4 * (keys + values),
    }
}
