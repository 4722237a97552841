//! Sixteen numbers at a time, on every instruction set.
//!
//! A value of a type that implements [`Lanes`] is the proof that the processor has its instructions: it is made
//! only after asking the processor. So the methods are safe, and every kernel is written once, without `unsafe`,
//! over `L: Lanes`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod four;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::{Avx2, Avx2Vnni};
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
pub use neon::{Neon, NeonDot, NeonI8mm};
pub use portable::Portable;

use crate::{
    acts::{Wholes, Words},
    unpacked::{WholePart, WordPart},
};

/// Something to be computed with whatever instructions there are.
pub trait Task {
    /// What comes out.
    type Out;
    /// Computes it. Implementations are `#[inline(always)]`, so that the whole becomes one function that may
    /// use the instructions of `L`.
    fn go<L: Lanes>(self, lanes: L) -> Self::Out;
}

/// Sixteen lanes of 32 bits.
///
/// `I` holds 64 bytes: sixteen lanes of four bytes, or of one whole number. `F` holds sixteen floats.
pub trait Lanes: Copy + Send + Sync + 'static {
    /// 64 bytes.
    type I: Copy;
    /// 16 floats.
    type F: Copy;
    /// Tokens that a matrix kernel computes side by side: as many as the registers hold.
    const TILE: usize;
    /// Whether [`Lanes::dots`] takes weights of eight bits with a sign.
    const SIGNED: bool = false;

    /// Whether it takes several instructions to multiply and add bytes. Then a panel is unpacked once for many tokens and
    /// not for each tile (see `unpacked`), weights of eight bits are multiplied as words, those of fewer with
    /// [`Lanes::products`], and tiles are of at most four.
    const UNPACKS: bool = false;

    /// Runs a task in a function that may use these instructions.
    fn run<T: Task>(self, task: T) -> T::Out;

    /// Asks for the cache line at an address that will be read soon; any address will do.
    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}

    /// The bytes as they lie.
    fn load(self, bytes: &[u8; 64]) -> Self::I;
    /// Every byte and every byte's partner.
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    /// One or the other.
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    /// One or the other, not both.
    fn xor(self, a: Self::I, b: Self::I) -> Self::I;
    /// Every 16-bit lane moved right by N bits; bits cross from the high byte to the low one.
    fn right<const N: u32>(self, a: Self::I) -> Self::I;
    /// Every 16-bit lane moved left by N bits; bits cross from the low byte to the high one.
    fn left<const N: u32>(self, a: Self::I) -> Self::I;
    /// 64 times the same byte.
    fn bytes(self, byte: u8) -> Self::I;
    /// For every byte (0 to 15) the entry of the table.
    fn lookup(self, table: &[u8; 16], a: Self::I) -> Self::I;
    /// For every lane its first two bytes, and its last two, each as the high byte of a 16-bit number whose low one is 0.
    fn wide(self, a: Self::I) -> [Self::I; 2];
    /// 16 times the same whole number.
    fn whole(self, number: i32) -> Self::I;
    /// For every lane: `sum` + the products of its four unsigned bytes in `w` with the four signed bytes of `x`.
    /// Exact for all values.
    fn dot(self, sum: Self::I, w: Self::I, x: [i8; 4]) -> Self::I;
    /// For every token: `part` + its scale times the products of four steps of weights with its own, added first as
    /// whole numbers, exactly. Weights are below `2^BITS`; of eight bits they have a sign if [`Lanes::SIGNED`]. No number
    /// of `x` is -128.
    #[inline(always)]
    fn dots<const BITS: u32, const T: usize>(
        self,
        mut part: [Self::F; T],
        w: [Self::I; 4],
        x: &[[[i8; 4]; T]; 4],
        scales: &[f32; T],
    ) -> [Self::F; T] {
        let mut dots = [self.whole(0); T];
        for step in 0..4 {
            for t in 0..T {
                dots[t] = self.dot(dots[t], w[step], x[step][t]);
            }
        }
        for t in 0..T {
            part[t] = self.fma(self.float(dots[t]), self.splat(scales[t]), part[t]);
        }
        part
    }
    /// For every token: `sums` + its scale times the products of four steps of weights with its own, exactly. Weights are below
    /// `2^BITS`, of which there are at most six; no number of `x` is -128, both halves of a scale are the same.
    ///
    /// # Panics
    /// Where lanes neither [unpack](Lanes::UNPACKS) nor are the portable ones: nobody asks them.
    #[inline(always)]
    fn products<const BITS: u32, const T: usize>(
        self,
        _sums: [Self::I; T],
        _w: &[Self::I; 4],
        _x: &[[[i8; 4]; T]; 4],
        _scales: &[[i16; 2]; T],
    ) -> [Self::I; T] {
        unreachable!("these lanes multiply and add bytes in one instruction")
    }
    /// Adds what some blocks give to the sums of four tokens. Weights are below `2^BITS`, `GROUPS` of a block have scales.
    #[inline(always)]
    fn wholes<const BITS: u32, const GROUPS: usize>(
        self,
        part: &[WholePart<Self>],
        x: &[Wholes<4>],
        sums: &mut [Self::F; 4],
    ) {
        for (part, x) in part.iter().zip(x) {
            part.add::<4, BITS, GROUPS>(self, x, sums);
        }
    }
    /// Adds what some blocks of weights that are words give to the sums of four tokens.
    #[inline(always)]
    fn words(self, part: &[WordPart<Self>], x: &[Words<4>], sums: &mut [Self::F; 4]) {
        for (part, x) in part.iter().zip(x) {
            part.add(self, x, sums);
        }
    }
    /// For every lane: `sum` + the products of its two 16-bit numbers in `w` with those of `x`. Exact while no
    /// sum leaves 32 bits, and not both sides hold -32768.
    fn dot2(self, sum: Self::I, w: Self::I, x: [i16; 2]) -> Self::I;
    /// Whole numbers as floats.
    fn float(self, a: Self::I) -> Self::F;

    /// 16 times the same.
    fn splat(self, x: f32) -> Self::F;
    /// 16 floats as they lie.
    fn get(self, x: &[f32; 16]) -> Self::F;
    /// 16 halves, as floats.
    fn halves(self, x: &[u16; 16]) -> Self::F;
    /// 16 bfloat16, as floats.
    fn brains(self, x: &[u16; 16]) -> Self::F;
    /// 16 signed bytes, as floats.
    fn signed(self, x: &[i8; 16]) -> Self::F;
    /// 16 floats rounded to halves, ties to even.
    fn to_halves(self, x: Self::F) -> [u16; 16];
    /// Puts 16 floats down.
    fn put(self, x: Self::F, out: &mut [f32; 16]);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Nearest whole number, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `a * 2^n` for whole `n` from -126 to 127.
    fn scale2(self, a: Self::F, n: Self::F) -> Self::F;
    /// Whole numbers in -128 ..= 127, as bytes.
    fn to_bytes(self, a: Self::F) -> [i8; 16];

    /// All sixteen added, in an order that is the same everywhere.
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        let mut x = [0.0; 16];
        self.put(a, &mut x);
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                x[i] += x[i + width];
            }
        }
        x[0]
    }

    /// The largest of the sixteen.
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        let mut x = [0.0; 16];
        self.put(a, &mut x);
        x.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// `e^x`, within 2 units in the last place from -87 to 88; 0 below.
    ///
    /// Source: the usual reduction by ln 2 in two parts (Cody & Waite 1980) and a polynomial of degree 6.
    #[inline(always)]
    fn exp(self, x: Self::F) -> Self::F {
        let x = self.max(self.min(x, self.splat(88.0)), self.splat(-87.3));
        let n = self.round(self.mul(x, self.splat(core::f32::consts::LOG2_E)));
        let r = self.fma(n, self.splat(-0.693_359_4), x);
        let r = self.fma(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = self.fma(p, r, self.splat(c));
        }
        self.scale2(p, n)
    }
}

/// Where the bytes of [`Lanes::wide`] lie in their sixteen, from each lane's byte `from`. An index with its top bit set gives
/// 0 with every instruction that looks bytes up.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
const fn places<const N: usize>(from: u8) -> [u8; N] {
    let mut places = [0x80; N];
    let mut i = 1;
    while i < N {
        places[i] = (i % 16 / 4 * 4 + i % 4 / 2) as u8 + from;
        i += 2;
    }
    places
}

#[cfg(test)]
mod tests;
