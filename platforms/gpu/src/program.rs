//! What a plan becomes on a GPU, as a value: a list of dispatches over numbered memory, recorded once and replayed.
//!
//! Nothing here touches a device, so that what a step moves can be counted without one (`crate::count`).

use std::ops::Range;

use tutu_llm::{
    plan::Rope,
    quant::Kind,
    weights::{TensorId, Weights},
};

use crate::{
    kernel::{BLOCKS_LANES, BLOCKS_ROWS, Kernel, LANES, MATRICES_TILE, ROWS, SWEEP_LANES, SWEEP_ROWS, TILE},
    pack,
};

/// Says in the parameters of a kernel that a list is not there.
pub const NONE: u32 = u32::MAX;
/// Parameters of a kernel at most.
pub const PARAMS: usize = 24;

/// A recorded plan.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// What is done, in order.
    pub dispatches: Vec<Dispatch>,
    /// Matrices, or parts of them, that become a buffer each.
    pub parts: Vec<Part>,
    /// Small tensors, decoded, one after the other.
    pub lists: Vec<f32>,
    /// The ropes whose angles come with each step.
    pub ropes: Vec<(Rope, Option<Vec<f32>>)>,
    /// Words of a cache row, keys and values, for each cache.
    pub caches: Vec<[usize; 2]>,
    /// Elements of all activations.
    pub acts: usize,
    /// Where the result begins, the distance of its rows, and their width.
    pub output: Region,
    /// How many dispatches lead to the last hidden states, and where those of the wanted tokens lie.
    pub states: (usize, Region),
    /// Where the largest elements of each row of the result go, where that is wanted.
    pub best: Option<Region>,
    /// Adapters whose shares come with each step.
    pub adapters: usize,
    /// Where each buffer of the plan lies.
    pub buffers: Vec<Region>,
    /// Whether the result has a row for each output; else it has one for each token.
    pub selects: bool,
    /// Most outputs of a step.
    pub outputs_max: usize,
    /// Most of tokens times segments of attention.
    pub segments_max: usize,
    /// Workgroups along which attention is wide for one token, at the least.
    pub attention_groups: usize,
}

/// Columns of the activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// First element.
    pub at: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Columns.
    pub width: usize,
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The kernel for up to so many rows; the last is for all others.
    pub kernels: Vec<(u32, Kernel)>,
    /// What it is told.
    pub params: Params,
    /// Which part of the weights it reads.
    pub part: Option<usize>,
    /// Which cache it uses.
    pub cache: Option<usize>,
    /// How many workgroups.
    pub grid: Grid,
    /// Whether it is done once for each output; else for each token.
    pub selected: bool,
    /// The adapter that it is for: without anybody who takes a share of it, nothing is done.
    pub adapter: Option<usize>,
    /// Elements of activations, and of lists, that it reads and writes for one row; for counting.
    pub moves: Moves,
}

/// Parameters of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params(pub [u32; PARAMS]);

/// How many workgroups a dispatch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// So many for each row.
    Each(u32),
    /// So many for each of so many rows of scratch that a row has.
    Times(u32, u32),
    /// One row of workgroups, one for each row.
    Flat,
    /// For a product with so many rows of weights.
    Product(u32),
    /// For a product with so many rows of weights, so often for each row.
    Experts(u32, u32),
    /// So many for each row and each segment of attention.
    Segments(u32),
    /// So many for each row, where there are segments to be joined.
    Join(u32),
    /// So many for each row, where only the best of the result is wanted.
    Best(u32),
}

/// What one row of a dispatch moves, beside weights and cache, in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Read.
    pub read: usize,
    /// Written.
    pub written: usize,
}

/// A matrix as a kernel reads it, or some rows of one: pieces of tensors, one below the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its format.
    pub kind: Kind,
    /// Elements of a row.
    pub width: usize,
    /// Which rows of which tensors.
    pub pieces: Vec<(TensorId, Range<usize>)>,
}

impl Part {
    /// Rows of all pieces.
    pub fn rows(&self) -> usize {
        self.pieces.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// Where each plane begins, and where the last ends, in words.
    pub fn planes(&self) -> [usize; 5] {
        let rows = self.rows();
        let mut at = [0; 5];
        for (i, bytes) in pack::row_bytes(self.kind, self.width).into_iter().enumerate() {
            at[i + 1] = at[i] + (rows * bytes).div_ceil(4);
        }
        at
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.planes()[4] * 4
    }

    /// Hands out its planes in pieces: where each lies in bytes, and what lies there. `write` gets whole words.
    pub fn pack(&self, weights: &Weights, mut write: impl FnMut(usize, &[u8])) {
        let (rows, begins) = (pack::row_bytes(self.kind, self.width), self.planes());
        let mut done = [0; 4];
        let mut planes: [Vec<u8>; 4] = Default::default();
        let mut flush = |planes: &mut [Vec<u8>; 4], last: bool| {
            for (i, plane) in planes.iter_mut().enumerate() {
                if last {
                    plane.resize(plane.len().next_multiple_of(4), 0);
                }
                // What does not fill a word waits for more.
                let whole = plane.len() / 4 * 4;
                if whole > 0 {
                    write(begins[i] * 4 + done[i], &plane[..whole]);
                    plane.drain(..whole);
                    done[i] += whole;
                }
            }
        };
        let each = (PIECE / rows.iter().sum::<usize>().max(1)).max(1);
        let pieces: Vec<(TensorId, Range<usize>)> = (self.pieces.iter())
            .flat_map(|(id, range)| {
                range.clone().step_by(each).map(move |first| (*id, first..(first + each).min(range.end)))
            })
            .collect();
        let packed = |(id, range): &(TensorId, Range<usize>)| {
            let (data, row) = (weights.data(*id), weights.tensor(*id).row_bytes());
            let mut planes: [Vec<u8>; 4] = Default::default();
            pack::pack(self.kind, self.width, &data[range.start * row..range.end * row], &mut planes);
            planes
        };
        // As many at once as there are processors; they are handed out in their order.
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        for pieces in pieces.chunks(threads) {
            let done: Vec<[Vec<u8>; 4]> = std::thread::scope(|scope| {
                let others: Vec<_> = pieces[1..].iter().map(|piece| scope.spawn(|| packed(piece))).collect();
                let first = packed(&pieces[0]);
                let others = others.into_iter().map(|thread| thread.join().expect("nothing in there panics"));
                [first].into_iter().chain(others).collect()
            });
            for found in done {
                planes.iter_mut().zip(found).for_each(|(plane, found)| plane.extend(found));
                flush(&mut planes, false);
            }
        }
        flush(&mut planes, true);
    }
}

/// Bytes that are packed at a time: enough to be worth a copy, little enough to stay in a cache.
const PIECE: usize = 1 << 20;
/// Pieces that are packed at once, at most: more than that the bus to a device does not take.
const THREADS: usize = 16;

impl Params {
    /// All of `list`, then zeros.
    pub fn new(list: &[u32]) -> Self {
        let mut all = [0; PARAMS];
        all[..list.len()].copy_from_slice(list);
        Self(all)
    }
}

impl Region {
    /// Its parameters: where it begins, how far its rows are apart.
    pub fn params(self) -> [u32; 2] {
        [self.at as u32, self.stride as u32]
    }

    /// Whether it can be read four elements at a time, in octets.
    pub fn aligned(self) -> bool {
        self.at.is_multiple_of(4) && self.stride.is_multiple_of(4) && self.width.is_multiple_of(pack::OCTET)
    }
}

impl Dispatch {
    /// The kernel for `rows` rows.
    pub fn kernel(&self, rows: u32) -> Kernel {
        let found = self.kernels.iter().find(|(most, _)| rows <= *most).or(self.kernels.last());
        found.expect("every dispatch has a kernel").1
    }

    /// Workgroups for `rows` rows and `segments` segments of attention.
    pub fn groups(&self, rows: u32, segments: u32) -> [u32; 3] {
        match self.grid {
            Grid::Each(each) | Grid::Best(each) => [each, rows, 1],
            Grid::Times(each, times) => [each, rows * times, 1],
            Grid::Flat => [rows, 1, 1],
            Grid::Product(height) => {
                let [high, wide] = match self.kernel(rows) {
                    Kernel::Matvec { tokens, .. } => [ROWS, tokens],
                    Kernel::Sweep { tokens, subgroup, .. } => [SWEEP_ROWS * (SWEEP_LANES / subgroup), tokens],
                    Kernel::Rows { tokens, .. } => [LANES, tokens],
                    Kernel::Blocks { tokens, .. } => [BLOCKS_LANES * BLOCKS_ROWS, tokens],
                    Kernel::MatmulMatrices { .. } => MATRICES_TILE,
                    _ => TILE,
                };
                let [x, y] = fold(height.div_ceil(high));
                [x, y, rows.div_ceil(wide)]
            }
            Grid::Experts(height, each) => {
                let [x, y] = fold(height.div_ceil(ROWS));
                [x, y, rows * each]
            }
            Grid::Segments(each) => [each, rows, segments],
            Grid::Join(each) => [if segments > 1 { each } else { 0 }, rows, 1],
        }
    }
}

/// Every device takes 65535 workgroups along a dimension; more are laid in rows.
fn fold(groups: u32) -> [u32; 2] {
    let y = groups.div_ceil(65_535).max(1);
    [groups.div_ceil(y), y]
}
