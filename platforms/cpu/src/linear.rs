//! Panels times activations.
//!
//! For each output the products of a group of columns are added as whole numbers, exactly; the groups are added as
//! floats from the first column to the last. That order depends on nothing else: not on how many tokens
//! are computed together, nor on how the work is shared out. So the same token gives the same bits always.

use crate::{
    lanes::{Lanes, Task},
    panel::{Brains, COLUMNS, Data, Layout, Line, Packed, ROWS},
};

/// Activations of some tokens, quantised: for each 16 columns a scale, and whole numbers from -127 to 127.
///
/// Sixteen and not 32 as in llama.cpp's Q8_0: one outlier spoils the precision of fewer neighbours.
#[derive(Clone, Debug, Default)]
pub struct Quantised {
    width: usize,
    bytes: Vec<[[i8; 4]; 8]>,
    scales: Vec<[f32; 2]>,
    /// Sums of the first and of the last 16 numbers of each block.
    sums: Vec<[i32; 2]>,
}

impl Quantised {
    /// Room for `rows` rows of `width` elements, a multiple of 32.
    pub fn reserve(&mut self, rows: usize, width: usize) {
        let blocks = rows * (width / COLUMNS);
        self.width = width;
        if self.bytes.len() < blocks {
            self.bytes.resize(blocks, [[0; 4]; 8]);
            self.scales.resize(blocks, [0.0; 2]);
            self.sums.resize(blocks, [0; 2]);
        }
    }

    /// Rows to be filled one by one.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = QuantisedRow<'_>> {
        let blocks = self.width / COLUMNS;
        let bytes = self.bytes.chunks_exact_mut(blocks);
        let rest = self.scales.chunks_exact_mut(blocks).zip(self.sums.chunks_exact_mut(blocks));
        bytes.zip(rest).map(|(bytes, (scales, sums))| QuantisedRow { bytes, scales, sums })
    }
}

/// One row of a [`Quantised`].
pub struct QuantisedRow<'q> {
    bytes: &'q mut [[[i8; 4]; 8]],
    scales: &'q mut [[f32; 2]],
    sums: &'q mut [[i32; 2]],
}

impl QuantisedRow<'_> {
    /// Quantises `x`: each sixteen by their own largest number.
    #[inline(always)]
    pub fn fill<L: Lanes>(&mut self, l: L, x: &[f32]) {
        for (b, block) in x.as_chunks::<COLUMNS>().0.iter().enumerate() {
            let halves = block.as_chunks::<16>().0;
            for (h, half) in halves.iter().enumerate() {
                let x = l.get(half);
                let largest = l.largest(l.max(x, l.sub(l.splat(0.0), x)));
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                let bytes = l.to_bytes(l.round(l.mul(x, l.splat(inverse))));
                self.scales[b][h] = largest / 127.0;
                self.sums[b][h] = bytes.iter().map(|&byte| i32::from(byte)).sum();
                self.bytes[b][4 * h..4 * h + 4].copy_from_slice(bytes.as_chunks::<4>().0);
            }
        }
    }
}

/// What a matrix is multiplied with.
#[derive(Clone, Copy)]
pub enum Input<'x> {
    /// For quanta.
    Bytes(&'x Quantised),
    /// For floats: rows of `width` elements, `stride` apart.
    Floats { x: &'x [f32], stride: usize },
}

/// Computes panel after panel for all tokens, and hands sixteen outputs of a token at a time to `put`.
pub struct Multiply<'a, P> {
    /// The matrix.
    pub packed: &'a Packed,
    /// Which panels, counted over all matrices.
    pub panels: core::ops::Range<usize>,
    /// The activations.
    pub input: Input<'a>,
    /// Which of their rows, in this order.
    pub rows: Rows<'a>,
    /// Takes `(index of the row in rows, panel, outputs)`.
    pub put: P,
}

/// Which rows of the activations are multiplied.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// The first so many.
    First(usize),
    /// These.
    Listed(&'a [u32]),
}

impl Rows<'_> {
    fn len(self) -> usize {
        match self {
            Self::First(count) => count,
            Self::Listed(list) => list.len(),
        }
    }

    #[inline(always)]
    fn at(self, i: usize) -> usize {
        match self {
            Self::First(_) => i,
            Self::Listed(list) => list[i] as usize,
        }
    }
}

impl<P: FnMut(usize, usize, &[f32; ROWS])> Task for Multiply<'_, P> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(mut self, l: L) {
        for panel in self.panels.clone() {
            let count = self.rows.len();
            let mut at = 0;
            while at < count {
                let left = count - at;
                at += if L::TILE >= 8 && left >= 8 {
                    self.tile::<L, 8>(l, panel, at)
                } else if L::TILE >= 4 && left >= 4 {
                    self.tile::<L, 4>(l, panel, at)
                } else if left >= 2 {
                    self.tile::<L, 2>(l, panel, at)
                } else {
                    self.tile::<L, 1>(l, panel, at)
                };
            }
        }
    }
}

impl<P: FnMut(usize, usize, &[f32; ROWS])> Multiply<'_, P> {
    /// One panel for `T` tokens from the `at`-th; answers `T`.
    #[inline(always)]
    fn tile<L: Lanes, const T: usize>(&mut self, l: L, panel: usize, at: usize) -> usize {
        let rows: [usize; T] = core::array::from_fn(|t| self.rows.at(at + t));
        let sums = match (&self.packed.data, self.input) {
            (Data::Quanta { layout, lines, scales }, Input::Bytes(x)) => {
                let blocks = self.packed.width / COLUMNS;
                let lines = &lines[panel * blocks * layout.bits..][..blocks * layout.bits];
                let scales = &scales[panel * blocks * layout.scales()..][..blocks * layout.scales()];
                quanta::<L, T>(l, layout, lines, scales, x, rows)
            }
            (data, Input::Floats { x, stride }) => {
                let width = self.packed.width;
                let x = rows.map(|row| &x[row * stride..][..width]);
                let range = panel * width..(panel + 1) * width;
                match data {
                    Data::F16(list) => floats::<L, _, T>(l, &list[range], x),
                    Data::Bf16(list) => floats::<L, _, T>(l, &list[range], x),
                    Data::F32(list) => floats::<L, _, T>(l, &list[range], x),
                    Data::Quanta { .. } => unreachable!("quanta take bytes"),
                }
            }
            _ => unreachable!("floats take floats"),
        };
        let mut out = [0.0; ROWS];
        for (t, sum) in sums.into_iter().enumerate() {
            l.put(sum, &mut out);
            (self.put)(at + t, panel, &out);
        }
        T
    }
}

/// Sixteen weights of one column.
trait Column {
    fn get<L: Lanes>(&self, l: L) -> L::F;
}

impl Column for [u16; ROWS] {
    #[inline(always)]
    fn get<L: Lanes>(&self, l: L) -> L::F {
        l.halves(self)
    }
}

impl Column for [f32; ROWS] {
    #[inline(always)]
    fn get<L: Lanes>(&self, l: L) -> L::F {
        l.get(self)
    }
}

impl Column for Brains {
    #[inline(always)]
    fn get<L: Lanes>(&self, l: L) -> L::F {
        l.brains(&self.0)
    }
}

#[inline(always)]
fn floats<L: Lanes, W: Column, const T: usize>(l: L, columns: &[W], x: [&[f32]; T]) -> [L::F; T] {
    let mut sums = [l.splat(0.0); T];
    for (k, column) in columns.iter().enumerate() {
        let w = column.get(l);
        for t in 0..T {
            sums[t] = l.fma(w, l.splat(x[t][k]), sums[t]);
        }
    }
    sums
}

/// Chooses the kernel for a layout, so that every question about it is answered before the loop.
#[inline(always)]
fn quanta<L: Lanes, const T: usize>(
    l: L,
    layout: &Layout,
    lines: &[Line],
    scales: &[[u16; ROWS]],
    x: &Quantised,
    rows: [usize; T],
) -> [L::F; T] {
    match (layout.bits, layout.minimum, layout.table) {
        (4, true, _) => kernel::<L, T, 4, 1, true>(l, layout, lines, scales, x, rows),
        (4, false, None) => kernel::<L, T, 4, 1, false>(l, layout, lines, scales, x, rows),
        // A table is asked for by one bit more than there is.
        (4, false, Some(_)) => kernel::<L, T, 9, 1, false>(l, layout, lines, scales, x, rows),
        (5, true, _) => kernel::<L, T, 5, 1, true>(l, layout, lines, scales, x, rows),
        (5, false, _) => kernel::<L, T, 5, 1, false>(l, layout, lines, scales, x, rows),
        (8, ..) => kernel::<L, T, 8, 1, false>(l, layout, lines, scales, x, rows),
        (6, ..) => kernel::<L, T, 6, 2, false>(l, layout, lines, scales, x, rows),
        (3, ..) => kernel::<L, T, 3, 2, false>(l, layout, lines, scales, x, rows),
        _ => kernel::<L, T, 2, 2, true>(l, layout, lines, scales, x, rows),
    }
}

/// `FORM` is the number of bits, or 9 for four bits through a table; `GROUPS` of each block have a scale of their own.
#[inline(always)]
fn kernel<L: Lanes, const T: usize, const FORM: usize, const GROUPS: usize, const MINIMUM: bool>(
    l: L,
    layout: &Layout,
    lines: &[Line],
    scales: &[[u16; ROWS]],
    x: &Quantised,
    rows: [usize; T],
) -> [L::F; T] {
    let bits = if FORM == 9 { 4 } else { FORM };
    let per_block = if MINIMUM { 2 * GROUPS } else { GROUPS };
    let blocks = lines.len() / bits;
    let mut sums = [l.splat(0.0); T];
    let table = layout.table.unwrap_or([0; 16]);
    let starts = rows.map(|row| row * blocks);
    let (lines, scales) = (&lines[..blocks * bits], &scales[..blocks * per_block]);
    let x_bytes = starts.map(|start| &x.bytes[start..start + blocks]);
    let x_scales = starts.map(|start| &x.scales[start..start + blocks]);
    let x_sums = starts.map(|start| &x.sums[start..start + blocks]);
    for b in 0..blocks {
        let w = unpack::<L, FORM>(l, &lines[b * bits..(b + 1) * bits], &table);
        let scales = &scales[b * per_block..(b + 1) * per_block];
        let d = [l.halves(&scales[0]), l.halves(&scales[GROUPS - 1])];
        for t in 0..T {
            let (sum_x, scale_x) = (x_sums[t][b], x_scales[t][b]);
            for half in 0..2 {
                let start = if MINIMUM { 0 } else { -layout.zero * sum_x[half] };
                let mut dot = l.whole(start);
                for step in 4 * half..4 * half + 4 {
                    dot = l.dot(dot, w[step], x_bytes[t][b][step]);
                }
                sums[t] = l.fma(l.float(dot), l.mul(d[half], l.splat(scale_x[half])), sums[t]);
            }
            if MINIMUM {
                let part = [scale_x[0] * sum_x[0] as f32, scale_x[1] * sum_x[1] as f32];
                if GROUPS == 1 {
                    sums[t] = l.fma(l.halves(&scales[1]), l.splat(part[0] + part[1]), sums[t]);
                } else {
                    sums[t] = l.fma(l.halves(&scales[2]), l.splat(part[0]), sums[t]);
                    sums[t] = l.fma(l.halves(&scales[3]), l.splat(part[1]), sums[t]);
                }
            }
        }
    }
    sums
}

/// The eight steps of a block, one byte an element.
///
/// Written without closures: the compiler does not always inline those, and an intrinsic that is not inlined
/// costs a call.
#[inline(always)]
fn unpack<L: Lanes, const FORM: usize>(l: L, lines: &[Line], table: &[u8; 16]) -> [L::I; 8] {
    match FORM {
        8 => [
            line(l, lines, 0),
            line(l, lines, 1),
            line(l, lines, 2),
            line(l, lines, 3),
            line(l, lines, 4),
            line(l, lines, 5),
            line(l, lines, 6),
            line(l, lines, 7),
        ],
        4 => nibbles(l, lines),
        9 => {
            let mut w = nibbles(l, lines);
            for w in &mut w {
                *w = l.lookup(table, *w);
            }
            w
        }
        5 => {
            let (h, bit) = (line(l, lines, 4), l.bytes(16));
            let high = [
                l.left::<4>(h),
                l.left::<3>(h),
                l.left::<2>(h),
                l.left::<1>(h),
                h,
                l.right::<1>(h),
                l.right::<2>(h),
                l.right::<3>(h),
            ];
            join(l, nibbles(l, lines), high, bit)
        }
        6 => {
            let (a, b) = (line(l, lines, 4), line(l, lines, 5));
            let high = [
                l.left::<4>(a),
                l.left::<2>(a),
                a,
                l.right::<2>(a),
                l.left::<4>(b),
                l.left::<2>(b),
                b,
                l.right::<2>(b),
            ];
            join(l, nibbles(l, lines), high, l.bytes(48))
        }
        3 => {
            let h = line(l, lines, 2);
            let high = [
                l.left::<2>(h),
                l.left::<1>(h),
                h,
                l.right::<1>(h),
                l.right::<2>(h),
                l.right::<3>(h),
                l.right::<4>(h),
                l.right::<5>(h),
            ];
            join(l, pairs(l, lines), high, l.bytes(4))
        }
        _ => pairs(l, lines),
    }
}

#[inline(always)]
fn line<L: Lanes>(l: L, lines: &[Line], i: usize) -> L::I {
    l.load(&lines[i].0)
}

#[inline(always)]
fn nibbles<L: Lanes>(l: L, lines: &[Line]) -> [L::I; 8] {
    let low = l.bytes(15);
    let (a, b, c, d) = (line(l, lines, 0), line(l, lines, 1), line(l, lines, 2), line(l, lines, 3));
    [
        l.and(a, low),
        l.and(b, low),
        l.and(c, low),
        l.and(d, low),
        l.and(l.right::<4>(a), low),
        l.and(l.right::<4>(b), low),
        l.and(l.right::<4>(c), low),
        l.and(l.right::<4>(d), low),
    ]
}

#[inline(always)]
fn pairs<L: Lanes>(l: L, lines: &[Line]) -> [L::I; 8] {
    let two = l.bytes(3);
    let (a, b) = (line(l, lines, 0), line(l, lines, 1));
    [
        l.and(a, two),
        l.and(l.right::<2>(a), two),
        l.and(l.right::<4>(a), two),
        l.and(l.right::<6>(a), two),
        l.and(b, two),
        l.and(l.right::<2>(b), two),
        l.and(l.right::<4>(b), two),
        l.and(l.right::<6>(b), two),
    ]
}

/// Low bits, and those of the high ones that the mask names.
#[inline(always)]
fn join<L: Lanes>(l: L, mut low: [L::I; 8], high: [L::I; 8], mask: L::I) -> [L::I; 8] {
    for (low, high) in low.iter_mut().zip(high) {
        *low = l.or(*low, l.and(high, mask));
    }
    low
}
