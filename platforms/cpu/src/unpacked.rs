//! Many tokens times a panel that is unpacked once for all of them.
//!
//! Where one instruction multiplies, adds and accumulates bytes, unpacking a panel again for each tile of tokens costs
//! little. Where three do, it is a third of the work, and weights of eight bits are best multiplied as words, which twice
//! as many bytes a weight would not allow for a single token. So here a part of a panel, small enough for the first
//! cache, is unpacked and then multiplied with up to [`TOKENS`] tokens. Whole numbers are added exactly and floats in
//! the order of a single token's kernel, so the bits are those that it gives.

use crate::{
    acts::{Wholes, Words},
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

/// A block of a panel whose weights are bytes without a sign.
///
/// With quanta `q`, activations `unit * scale * x`, scale `d` and zero `z` (or minimum `m`), a group gives
/// `d * sum(q * scale * x) + m * sum(scale * x)` units, where `m = -z * d` if there are no minima.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct WholePart<L: Lanes> {
    /// Eight steps.
    pub steps: [[L::I; 4]; 2],
    /// Of each half, or of all of it.
    pub scales: [L::F; 2],
    /// The same.
    pub minima: [L::F; 2],
}

/// A block of a panel whose weights are bytes with a sign, made words.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct WordPart<L: Lanes> {
    /// See [`WordPart::fill`].
    pub pairs: [L::I; 16],
    /// Of all of it.
    pub scales: L::F,
}

impl<L: Lanes> WholePart<L> {
    #[inline(always)]
    pub fn new(l: L) -> Self {
        let none = [l.splat(0.0); 2];
        Self { steps: [[l.whole(0); 4]; 2], scales: none, minima: none }
    }

    /// Unpacks a block; for `FORM` and the rest see `linear::kernel`.
    #[inline(always)]
    pub fn fill<const FORM: usize, const GROUPS: usize, const MINIMUM: bool>(
        &mut self,
        l: L,
        layout: &Layout,
        lines: &[Line],
        scales: &[[u16; ROWS]],
    ) {
        self.steps = unpack_all::<L, FORM>(l, lines, &layout.table.unwrap_or([0; 16]));
        for group in 0..GROUPS {
            let d = l.halves(&scales[group]);
            self.scales[group] = d;
            self.minima[group] =
                if MINIMUM { l.halves(&scales[GROUPS + group]) } else { l.mul(d, l.splat(-(layout.zero as f32))) };
        }
    }

    /// Adds what the block gives to the sums of `T` tokens.
    #[inline(always)]
    pub fn add<const T: usize, const BITS: u32, const GROUPS: usize>(&self, l: L, x: &Wholes<T>, sums: &mut [L::F; T]) {
        let mut dots = [l.whole(0); T];
        for half in 0..2 {
            let steps = x.quanta[4 * half..].first_chunk().expect("eight steps are two halves");
            dots = l.products::<BITS, T>(dots, &self.steps[half], steps, &x.scales[half]);
            if GROUPS == 2 || half == 1 {
                let (group, sum) = if GROUPS == 2 { (half, half) } else { (0, 2) };
                for t in 0..T {
                    sums[t] = l.fma(l.float(dots[t]), self.scales[group], sums[t]);
                    sums[t] = l.fma(l.splat(x.sums[sum][t]), self.minima[group], sums[t]);
                    dots[t] = l.whole(0);
                }
            }
        }
    }
}

/// What [`Lanes::wide`] makes of a byte is so much times too large.
const WIDE: f32 = 1.0 / 256.0;

impl<L: Lanes> WordPart<L> {
    #[inline(always)]
    pub fn new(l: L) -> Self {
        Self { pairs: [l.whole(0); 16], scales: l.splat(0.0) }
    }

    /// Unpacks a block into sixteen pairs of columns, 256 times as large. With activations of twelve bits 32 products are
    /// at most 128 * 256 * 2047 * 32, below 2^31.
    #[inline(always)]
    pub fn fill<const FORM: usize>(&mut self, l: L, layout: &Layout, lines: &[Line], scales: &[u16; ROWS]) {
        // The zero is 128: the same bits with the first turned over are the number with its sign.
        let turn = l.bytes(0x80);
        let steps = unpack_all::<L, FORM>(l, lines, &layout.table.unwrap_or([0; 16]));
        for i in 0..8 {
            let wide = l.wide(l.xor(steps[i / 4][i % 4], turn));
            self.pairs[2 * i] = wide[0];
            self.pairs[2 * i + 1] = wide[1];
        }
        self.scales = l.mul(l.halves(scales), l.splat(WIDE));
    }

    /// Adds what the block gives to the sums of `T` tokens.
    #[inline(always)]
    pub fn add<const T: usize>(&self, l: L, x: &Words<T>, sums: &mut [L::F; T]) {
        let mut dots = [l.whole(0); T];
        for (w, x) in self.pairs.iter().zip(&x.quanta) {
            for t in 0..T {
                dots[t] = l.dot2(dots[t], *w, x[t]);
            }
        }
        for t in 0..T {
            sums[t] = l.fma(l.mul(self.scales, l.splat(x.scales[t])), l.float(dots[t]), sums[t]);
        }
    }
}
