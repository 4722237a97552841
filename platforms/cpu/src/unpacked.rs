//! Many tokens times a panel that is unpacked once for all of them.
//!
//! Where one instruction multiplies, adds and accumulates bytes, unpacking a panel again for each tile of tokens costs
//! little. Where three do, it is a third of the work, and weights of eight bits are best multiplied as words, which twice
//! as many bytes a weight would not allow for a single token. So here a part of a panel, small enough for the first
//! cache, is unpacked and then multiplied with up to [`TOKENS`] tokens. Whole numbers are added exactly and floats in
//! the order of [`crate::linear`], so the bits are those that it gives.

use crate::{
    acts::{Bytes, Words},
    lanes::Lanes,
    linear::unpack_all,
    panel::{Layout, Line, ROWS},
};

/// As many tokens at least: fewer do not pay for the unpacking.
pub const MANY: usize = 8;
/// Tokens that are computed with a part before the next one is unpacked.
pub const TOKENS: usize = 128;
/// Blocks of a part: 8 KiB of bytes or 16 KiB of words.
pub const PART: usize = 16;

/// A part of a panel whose weights are bytes without a sign.
pub struct ByteParts<L: Lanes> {
    /// Eight steps a block.
    steps: [[[L::I; 4]; 2]; PART],
    /// For each half of a block, or all of it.
    scales: [[L::F; 2]; PART],
    minima: [[L::F; 2]; PART],
}

/// A part of a panel whose weights are bytes with a sign, made words.
pub struct WordParts<L: Lanes> {
    /// See [`pairs`].
    pairs: [[L::I; 16]; PART],
    scales: [L::F; PART],
}

impl<L: Lanes> ByteParts<L> {
    #[inline(always)]
    pub fn new(l: L) -> Self {
        let none = [[l.splat(0.0); 2]; PART];
        Self { steps: [[[l.whole(0); 4]; 2]; PART], scales: none, minima: none }
    }

    /// Unpacks blocks of a panel; for `FORM` and the rest see `linear::kernel`.
    #[inline(always)]
    pub fn fill<const FORM: usize, const LINES: usize, const GROUPS: usize, const MINIMUM: bool>(
        &mut self,
        l: L,
        layout: &Layout,
        lines: &[Line],
        scales: &[[u16; ROWS]],
    ) {
        let per_block = if MINIMUM { 2 * GROUPS } else { GROUPS };
        let table = layout.table.unwrap_or([0; 16]);
        let zero = l.splat(-(layout.zero as f32));
        let blocks = lines.as_chunks::<LINES>().0.iter().zip(scales.chunks_exact(per_block));
        for (i, (lines, scales)) in blocks.enumerate() {
            self.steps[i] = unpack_all::<L, FORM>(l, lines, &table);
            for group in 0..GROUPS {
                let d = l.halves(&scales[group]);
                self.scales[i][group] = d;
                self.minima[i][group] = if MINIMUM { l.halves(&scales[GROUPS + group]) } else { l.mul(d, zero) };
            }
        }
    }

    /// Adds what these blocks give to the sums of `T` tokens.
    #[inline(always)]
    pub fn add<const T: usize, const BITS: u32, const GROUPS: usize>(
        &self,
        l: L,
        x: &[Bytes<T>],
        sums: &mut [L::F; T],
    ) {
        for (i, x) in x.iter().enumerate() {
            let mut part = [l.splat(0.0); T];
            for half in 0..2 {
                let steps = x.quanta[4 * half..].first_chunk().expect("eight steps are two halves");
                part = l.dots::<BITS, T>(part, self.steps[i][half], steps, &x.scales[half]);
                if GROUPS == 2 || half == 1 {
                    let (group, sum) = if GROUPS == 2 { (half, half) } else { (0, 2) };
                    let (d, m) = (self.scales[i][group], self.minima[i][group]);
                    for t in 0..T {
                        sums[t] = l.fma(m, l.splat(x.sums[sum][t]), l.fma(d, part[t], sums[t]));
                        part[t] = l.splat(0.0);
                    }
                }
            }
        }
    }
}

impl<L: Lanes> WordParts<L> {
    #[inline(always)]
    pub fn new(l: L) -> Self {
        Self { pairs: [[l.whole(0); 16]; PART], scales: [l.splat(0.0); PART] }
    }

    /// Unpacks blocks of a panel.
    #[inline(always)]
    pub fn fill<const FORM: usize, const LINES: usize>(
        &mut self,
        l: L,
        layout: &Layout,
        lines: &[Line],
        scales: &[[u16; ROWS]],
    ) {
        for (i, (lines, scales)) in lines.as_chunks::<LINES>().0.iter().zip(scales).enumerate() {
            self.pairs[i] = pairs::<L, FORM>(l, layout, lines);
            self.scales[i] = l.mul(l.halves(scales), l.splat(WIDE));
        }
    }

    /// Adds what these blocks give to the sums of `T` tokens.
    #[inline(always)]
    pub fn add<const T: usize>(&self, l: L, x: &[Words<T>], sums: &mut [L::F; T]) {
        for (i, x) in x.iter().enumerate() {
            *sums = block(l, &self.pairs[i], self.scales[i], x, *sums);
        }
    }
}

/// What [`Lanes::wide`] makes of a byte is so much times too large.
pub const WIDE: f32 = 1.0 / 256.0;

/// The sixteen pairs of columns of a block whose weights are bytes with a sign, 256 times as large. With
/// activations of twelve bits 32 products are at most 128 * 256 * 2047 * 32, below 2^31.
#[inline(always)]
pub fn pairs<L: Lanes, const FORM: usize>(l: L, layout: &Layout, lines: &[Line]) -> [L::I; 16] {
    // The zero is 128: the same bits with the first turned over are the number with its sign.
    let table = layout.table.unwrap_or([0; 16]);
    let (turn, mut pairs) = (l.bytes(0x80), [l.whole(0); 16]);
    let steps = unpack_all::<L, FORM>(l, lines, &table);
    for i in 0..8 {
        let wide = l.wide(l.xor(steps[i / 4][i % 4], turn));
        pairs[2 * i] = wide[0];
        pairs[2 * i + 1] = wide[1];
    }
    pairs
}

/// Adds what one block gives to the sums of `T` tokens.
#[inline(always)]
pub fn block<L: Lanes, const T: usize>(
    l: L,
    pairs: &[L::I; 16],
    scales: L::F,
    x: &Words<T>,
    mut sums: [L::F; T],
) -> [L::F; T] {
    let mut dots = [l.whole(0); T];
    for (w, x) in pairs.iter().zip(&x.quanta) {
        for t in 0..T {
            dots[t] = l.dot2(dots[t], *w, x[t]);
        }
    }
    for t in 0..T {
        sums[t] = l.fma(l.mul(scales, l.splat(x.scales[t])), l.float(dots[t]), sums[t]);
    }
    sums
}
