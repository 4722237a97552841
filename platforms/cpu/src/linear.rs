//! Panels times activations.
//!
//! For each output the products of a group of columns are added as whole numbers, exactly; the groups are added as
//! floats from the first column to the last. That order depends on nothing else: not on how many tokens
//! are computed together, nor on how the work is shared out. So the same token gives the same bits always.

use crate::{
    lanes::{Lanes, Task},
    panel::{COLUMNS, Data, Layout, Line, Packed, ROWS},
};

/// Activations of some tokens, quantised: for each block of 32 columns a scale, and whole numbers from -127 to 127.
#[derive(Clone, Debug, Default)]
pub struct Quantised {
    width: usize,
    bytes: Vec<[[i8; 4]; 8]>,
    scales: Vec<f32>,
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
            self.scales.resize(blocks, 0.0);
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
    scales: &'q mut [f32],
    sums: &'q mut [[i32; 2]],
}

impl QuantisedRow<'_> {
    /// Quantises `x`: each block by its own largest number.
    #[inline(always)]
    pub fn fill<L: Lanes>(&mut self, l: L, x: &[f32]) {
        for (b, block) in x.as_chunks::<COLUMNS>().0.iter().enumerate() {
            let halves = block.as_chunks::<16>().0;
            let (low, high) = (l.get(&halves[0]), l.get(&halves[1]));
            let negative = |x| l.sub(l.splat(0.0), x);
            let size = l.max(l.max(low, negative(low)), l.max(high, negative(high)));
            let largest = l.largest(size);
            let scale = largest / 127.0;
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            self.scales[b] = scale;
            for (h, x) in [low, high].into_iter().enumerate() {
                let bytes = l.to_bytes(l.round(l.mul(x, l.splat(inverse))));
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
                    Data::F16(list) => floats(l, &list[range], x, |w| l.halves(w)),
                    Data::Bf16(list) => floats(l, &list[range], x, |w| l.brains(w)),
                    Data::F32(list) => floats(l, &list[range], x, |w| l.get(w)),
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

#[inline(always)]
fn floats<L: Lanes, W, const T: usize>(l: L, columns: &[W], x: [&[f32]; T], get: impl Fn(&W) -> L::F) -> [L::F; T] {
    let mut sums = [l.splat(0.0); T];
    for (k, w) in columns.iter().enumerate() {
        let w = get(w);
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
        for group in 0..GROUPS {
            let d = l.halves(&scales[group]);
            let steps = group * 8 / GROUPS..(group + 1) * 8 / GROUPS;
            for t in 0..T {
                let sum_x = if GROUPS == 1 { x_sums[t][b][0] + x_sums[t][b][1] } else { x_sums[t][b][group] };
                let start = if MINIMUM { 0 } else { -layout.zero * sum_x };
                let mut dot = l.whole(start);
                for step in steps.clone() {
                    dot = l.dot(dot, w[step], x_bytes[t][b][step]);
                }
                let scale = x_scales[t][b];
                sums[t] = l.fma(l.float(dot), l.mul(d, l.splat(scale)), sums[t]);
                if MINIMUM {
                    let m = l.halves(&scales[GROUPS + group]);
                    sums[t] = l.fma(m, l.splat(scale * sum_x as f32), sums[t]);
                }
            }
        }
    }
    sums
}

/// The eight steps of a block, one byte an element.
#[inline(always)]
fn unpack<L: Lanes, const FORM: usize>(l: L, lines: &[Line], table: &[u8; 16]) -> [L::I; 8] {
    let line = |i: usize| l.load(&lines[i].0);
    let low = l.bytes(15);
    let nibbles = || -> [L::I; 8] {
        let raw = [line(0), line(1), line(2), line(3)];
        let high = |i: usize| l.and(l.right::<4>(raw[i]), low);
        [
            l.and(raw[0], low),
            l.and(raw[1], low),
            l.and(raw[2], low),
            l.and(raw[3], low),
            high(0),
            high(1),
            high(2),
            high(3),
        ]
    };
    let pairs = |first: usize| -> [L::I; 8] {
        let (a, b, two) = (line(first), line(first + 1), l.bytes(3));
        let four = |x: L::I| {
            [l.and(x, two), l.and(l.right::<2>(x), two), l.and(l.right::<4>(x), two), l.and(l.right::<6>(x), two)]
        };
        let (a, b) = (four(a), four(b));
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
    };
    match FORM {
        8 => [line(0), line(1), line(2), line(3), line(4), line(5), line(6), line(7)],
        4 => nibbles(),
        9 => nibbles().map(|q| l.lookup(table, q)),
        5 => {
            let (w, h, bit) = (nibbles(), line(4), l.bytes(16));
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
            core::array::from_fn(|s| l.or(w[s], l.and(high[s], bit)))
        }
        6 => {
            let (w, a, b, two) = (nibbles(), line(4), line(5), l.bytes(48));
            let four = |x: L::I| [l.left::<4>(x), l.left::<2>(x), x, l.right::<2>(x)];
            let (a, b) = (four(a), four(b));
            core::array::from_fn(|s| l.or(w[s], l.and(if s < 4 { a[s] } else { b[s - 4] }, two)))
        }
        3 => {
            let (w, h, bit) = (pairs(0), line(2), l.bytes(4));
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
            core::array::from_fn(|s| l.or(w[s], l.and(high[s], bit)))
        }
        _ => pairs(0),
    }
}
