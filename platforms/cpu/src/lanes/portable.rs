//! Plain Rust: for processors without anything else, and the measure of the other two.

use tutu_llm::quant::{bf16_to_f32, f16_to_f32, f32_to_f16};

use super::{Lanes, Task};

/// No special instructions.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; 16] {
    core::array::from_fn(f)
}

#[inline(always)]
fn words(a: [u8; 64], f: impl Fn(u16) -> u16) -> [u8; 64] {
    let mut out = [0; 64];
    for (out, a) in out.chunks_exact_mut(2).zip(a.chunks_exact(2)) {
        out.copy_from_slice(&f(u16::from_le_bytes([a[0], a[1]])).to_le_bytes());
    }
    out
}

#[inline(always)]
fn number(a: &[u8; 64], lane: usize) -> i32 {
    i32::from_le_bytes([a[4 * lane], a[4 * lane + 1], a[4 * lane + 2], a[4 * lane + 3]])
}

impl Lanes for Portable {
    type I = [u8; 64];
    type F = [f32; 16];
    const TILE: usize = 2;

    fn run<T: Task>(self, task: T) -> T::Out {
        task.go(self)
    }

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> [u8; 64] {
        *bytes
    }
    #[inline(always)]
    fn and(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        core::array::from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn or(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        core::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn xor(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        core::array::from_fn(|i| a[i] ^ b[i])
    }
    #[inline(always)]
    fn right<const N: u32>(self, a: [u8; 64]) -> [u8; 64] {
        words(a, |w| w >> N)
    }
    #[inline(always)]
    fn left<const N: u32>(self, a: [u8; 64]) -> [u8; 64] {
        words(a, |w| w << N)
    }
    #[inline(always)]
    fn bytes(self, byte: u8) -> [u8; 64] {
        [byte; 64]
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], a: [u8; 64]) -> [u8; 64] {
        a.map(|i| table[usize::from(i & 15)])
    }
    #[inline(always)]
    fn wide(self, a: [u8; 64]) -> [[u8; 64]; 2] {
        let pair = |from: usize| core::array::from_fn(|i| if i % 2 == 1 { a[i / 4 * 4 + from + i % 4 / 2] } else { 0 });
        [pair(0), pair(2)]
    }
    #[inline(always)]
    fn whole(self, number: i32) -> [u8; 64] {
        let bytes = number.to_le_bytes();
        core::array::from_fn(|i| bytes[i % 4])
    }
    #[inline(always)]
    fn dot(self, sum: [u8; 64], w: [u8; 64], x: [i8; 4]) -> [u8; 64] {
        let mut out = [0; 64];
        for (lane, out) in out.chunks_exact_mut(4).enumerate() {
            let mut total = number(&sum, lane);
            for (i, x) in x.iter().enumerate() {
                total += i32::from(w[4 * lane + i]) * i32::from(*x);
            }
            out.copy_from_slice(&total.to_le_bytes());
        }
        out
    }
    fn products<const BITS: u32, const T: usize>(
        self,
        mut sums: [[u8; 64]; T],
        w: &[[u8; 64]; 4],
        x: &[[[i8; 4]; T]; 4],
        scales: &[[i16; 2]; T],
    ) -> [[u8; 64]; T] {
        for t in 0..T {
            let dots = (0..4).fold([0; 64], |dots, step| self.dot(dots, w[step], x[step][t]));
            for lane in 0..16 {
                let sum = number(&sums[t], lane) + number(&dots, lane) * i32::from(scales[t][0]);
                sums[t][4 * lane..][..4].copy_from_slice(&sum.to_le_bytes());
            }
        }
        sums
    }
    #[inline(always)]
    fn dot2(self, sum: [u8; 64], w: [u8; 64], x: [i16; 2]) -> [u8; 64] {
        let mut out = [0; 64];
        for (lane, out) in out.chunks_exact_mut(4).enumerate() {
            let two = w[4 * lane..][..4].as_chunks::<2>().0;
            let product = |i: usize| i32::from(i16::from_le_bytes(two[i])) * i32::from(x[i]);
            out.copy_from_slice(&(number(&sum, lane) + product(0) + product(1)).to_le_bytes());
        }
        out
    }
    #[inline(always)]
    fn float(self, a: [u8; 64]) -> [f32; 16] {
        each(|i| number(&a, i) as f32)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }
    #[inline(always)]
    fn get(self, x: &[f32; 16]) -> [f32; 16] {
        *x
    }
    #[inline(always)]
    fn halves(self, x: &[u16; 16]) -> [f32; 16] {
        each(|i| f16_to_f32(x[i]))
    }
    #[inline(always)]
    fn brains(self, x: &[u16; 16]) -> [f32; 16] {
        each(|i| bf16_to_f32(x[i]))
    }
    #[inline(always)]
    fn signed(self, x: &[i8; 16]) -> [f32; 16] {
        x.map(f32::from)
    }
    #[inline(always)]
    fn to_halves(self, x: [f32; 16]) -> [u16; 16] {
        x.map(f32_to_f16)
    }
    #[inline(always)]
    fn put(self, x: [f32; 16], out: &mut [f32; 16]) {
        *out = x;
    }
    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        // Rounded twice: a fused one is a call into a library where the processor has none.
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn round(self, a: [f32; 16]) -> [f32; 16] {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn scale2(self, a: [f32; 16], n: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn to_bytes(self, a: [f32; 16]) -> [i8; 16] {
        a.map(|x| x as i8)
    }
}
