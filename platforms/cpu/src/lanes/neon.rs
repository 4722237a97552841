//! NEON: sixteen lanes are four registers. Plain, with the dot product (`dotprod`), and with the one that takes an
//! unsigned and a signed side (`i8mm`).
//!
//! The two dot products are written as assembly: their intrinsics are not stable yet.

#[allow(clippy::wildcard_imports, reason = "some fifty intrinsics")]
use core::arch::{aarch64::*, asm};
use std::arch::is_aarch64_feature_detected;

use super::{Lanes, Task, places};

/// The processor has NEON, as every 64-bit ARM has.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

/// The processor has NEON and `dotprod`.
#[derive(Clone, Copy, Debug)]
pub struct NeonDot(());

/// The processor has NEON, `dotprod` and `i8mm`.
#[derive(Clone, Copy, Debug)]
pub struct NeonI8mm(());

impl Neon {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl NeonDot {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")).then_some(Self(()))
    }
}

impl NeonI8mm {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (NeonDot::detect().is_some() && is_aarch64_feature_detected!("i8mm")).then_some(Self(()))
    }
}

type I4 = [uint8x16_t; 4];
type F4 = [float32x4_t; 4];

/// Applies a function to every quarter.
macro_rules! all {
    ($f:ident, $a:expr) => {{
        let a = $a;
        // SAFETY: the processor has NEON (see the type).
        unsafe { [$f(a[0]), $f(a[1]), $f(a[2]), $f(a[3])] }
    }};
    ($f:ident, $a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        // SAFETY: the processor has NEON (see the type).
        unsafe { [$f(a[0], b[0]), $f(a[1], b[1]), $f(a[2], b[2]), $f(a[3], b[3])] }
    }};
}

#[inline(always)]
fn words(a: I4) -> [uint16x8_t; 4] {
    all!(vreinterpretq_u16_u8, a)
}

#[inline(always)]
fn whole(a: I4) -> [int32x4_t; 4] {
    all!(vreinterpretq_s32_u8, a)
}

/// Four signed bytes, four times.
#[inline(always)]
fn four_times(x: [i8; 4]) -> int8x16_t {
    // SAFETY: the processor has NEON (see the types of this file).
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(x.map(|b| b as u8)))) }
}

macro_rules! lanes_neon {
    ($name:ident, $features:literal, $($own:item),+) => {
        impl Lanes for $name {
            type I = I4;
            type F = F4;
            const TILE: usize = 4;

            #[inline]
            fn run<T: Task>(self, task: T) -> T::Out {
                #[target_feature(enable = $features)]
                fn inner<T: Task>(lanes: $name, task: T) -> T::Out {
                    task.go(lanes)
                }
                // SAFETY: a value of this type exists only where the processor has these features.
                unsafe { inner(self, task) }
            }

            $($own)+

            #[inline(always)]
            fn load(self, bytes: &[u8; 64]) -> I4 {
                let at = bytes.as_ptr();
                // SAFETY: 64 readable bytes; the loads need no alignment; the processor has NEON (see the type).
                unsafe { [vld1q_u8(at), vld1q_u8(at.add(16)), vld1q_u8(at.add(32)), vld1q_u8(at.add(48))] }
            }
            #[inline(always)]
            fn and(self, a: I4, b: I4) -> I4 {
                all!(vandq_u8, a, b)
            }
            #[inline(always)]
            fn or(self, a: I4, b: I4) -> I4 {
                all!(vorrq_u8, a, b)
            }
            #[inline(always)]
            fn xor(self, a: I4, b: I4) -> I4 {
                all!(veorq_u8, a, b)
            }
            #[inline(always)]
            fn right<const N: u32>(self, a: I4) -> I4 {
                // SAFETY: the processor has NEON (see the type).
                let count = unsafe { vdupq_n_s16(-(N as i16)) };
                all!(vreinterpretq_u8_u16, all!(vshlq_u16, words(a), [count; 4]))
            }
            #[inline(always)]
            fn left<const N: u32>(self, a: I4) -> I4 {
                // SAFETY: the processor has NEON (see the type).
                let count = unsafe { vdupq_n_s16(N as i16) };
                all!(vreinterpretq_u8_u16, all!(vshlq_u16, words(a), [count; 4]))
            }
            #[inline(always)]
            fn bytes(self, byte: u8) -> I4 {
                // SAFETY: the processor has NEON (see the type).
                unsafe { [vdupq_n_u8(byte); 4] }
            }
            #[inline(always)]
            fn lookup(self, table: &[u8; 16], a: I4) -> I4 {
                // SAFETY: 16 readable bytes; the load needs no alignment; the processor has NEON (see the type).
                let table = unsafe { vld1q_u8(table.as_ptr()) };
                all!(vqtbl1q_u8, [table; 4], a)
            }
            #[inline(always)]
            fn wide(self, a: I4) -> [I4; 2] {
                const PLACES: [[u8; 16]; 2] = [places(0), places(2)];
                // SAFETY: 16 readable bytes each; the processor has NEON (see the type).
                let [first, last] = unsafe { [vld1q_u8(PLACES[0].as_ptr()), vld1q_u8(PLACES[1].as_ptr())] };
                [all!(vqtbl1q_u8, a, [first; 4]), all!(vqtbl1q_u8, a, [last; 4])]
            }
            #[inline(always)]
            fn whole(self, number: i32) -> I4 {
                // SAFETY: the processor has NEON (see the type).
                unsafe { [vreinterpretq_u8_s32(vdupq_n_s32(number)); 4] }
            }
            #[inline(always)]
            fn dot2(self, sum: I4, w: I4, [a, b]: [i16; 2]) -> I4 {
                let pair = i32::from(a as u16) | i32::from(b) << 16;
                // SAFETY: the processor has NEON (see the type).
                core::array::from_fn(|i| unsafe {
                    let x = vreinterpretq_s16_s32(vdupq_n_s32(pair));
                    let w = vreinterpretq_s16_u8(w[i]);
                    let low = vmull_s16(vget_low_s16(w), vget_low_s16(x));
                    let high = vmull_high_s16(w, x);
                    vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(sum[i]), vpaddq_s32(low, high)))
                })
            }
            #[inline(always)]
            fn float(self, a: I4) -> F4 {
                all!(vcvtq_f32_s32, whole(a))
            }
            #[inline(always)]
            fn splat(self, x: f32) -> F4 {
                // SAFETY: the processor has NEON (see the type).
                unsafe { [vdupq_n_f32(x); 4] }
            }
            #[inline(always)]
            fn get(self, x: &[f32; 16]) -> F4 {
                let at = x.as_ptr();
                // SAFETY: 64 readable bytes; the loads need no alignment; the processor has NEON (see the type).
                unsafe { [vld1q_f32(at), vld1q_f32(at.add(4)), vld1q_f32(at.add(8)), vld1q_f32(at.add(12))] }
            }
            #[inline(always)]
            fn halves(self, x: &[u16; 16]) -> F4 {
                // SAFETY: 32 readable bytes; the loads need no alignment; the processor has NEON (see the type).
                let quarters = unsafe {
                    let at = x.as_ptr();
                    [vld1_u16(at), vld1_u16(at.add(4)), vld1_u16(at.add(8)), vld1_u16(at.add(12))]
                };
                all!(vcvt_f32_f16, all!(vreinterpret_f16_u16, quarters))
            }
            #[inline(always)]
            fn brains(self, x: &[u16; 16]) -> F4 {
                // SAFETY: 32 readable bytes; the loads need no alignment; the processor has NEON (see the type).
                let quarters = unsafe {
                    let at = x.as_ptr();
                    [vld1_u16(at), vld1_u16(at.add(4)), vld1_u16(at.add(8)), vld1_u16(at.add(12))]
                };
                // SAFETY: the processor has NEON (see the type).
                quarters.map(|quarter| unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(quarter)) })
            }
            #[inline(always)]
            fn signed(self, x: &[i8; 16]) -> F4 {
                // SAFETY: 16 readable bytes; the load needs no alignment; the processor has NEON (see the type).
                let quarters = unsafe {
                    let bytes = vld1q_s8(x.as_ptr());
                    let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes)));
                    [vget_low_s16(low), vget_high_s16(low), vget_low_s16(high), vget_high_s16(high)]
                };
                all!(vcvtq_f32_s32, all!(vmovl_s16, quarters))
            }
            #[inline(always)]
            fn to_halves(self, x: F4) -> [u16; 16] {
                let halves = all!(vreinterpret_u16_f16, all!(vcvt_f16_f32, x));
                let mut out = [0; 16];
                for (out, quarter) in out.as_chunks_mut::<4>().0.iter_mut().zip(halves) {
                    // SAFETY: 8 writable bytes; the store needs no alignment; the processor has NEON (see the type).
                    unsafe { vst1_u16(out.as_mut_ptr(), quarter) };
                }
                out
            }
            #[inline(always)]
            fn put(self, x: F4, out: &mut [f32; 16]) {
                for (out, quarter) in out.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                    // SAFETY: 16 writable bytes; the store needs no alignment; the processor has NEON (see the type).
                    unsafe { vst1q_f32(out.as_mut_ptr(), quarter) };
                }
            }
            #[inline(always)]
            fn add(self, a: F4, b: F4) -> F4 {
                all!(vaddq_f32, a, b)
            }
            #[inline(always)]
            fn sub(self, a: F4, b: F4) -> F4 {
                all!(vsubq_f32, a, b)
            }
            #[inline(always)]
            fn mul(self, a: F4, b: F4) -> F4 {
                all!(vmulq_f32, a, b)
            }
            #[inline(always)]
            fn div(self, a: F4, b: F4) -> F4 {
                all!(vdivq_f32, a, b)
            }
            #[inline(always)]
            fn fma(self, a: F4, b: F4, c: F4) -> F4 {
                // SAFETY: the processor has NEON (see the type).
                core::array::from_fn(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
            }
            #[inline(always)]
            fn max(self, a: F4, b: F4) -> F4 {
                all!(vmaxq_f32, a, b)
            }
            #[inline(always)]
            fn min(self, a: F4, b: F4) -> F4 {
                all!(vminq_f32, a, b)
            }
            #[inline(always)]
            fn round(self, a: F4) -> F4 {
                all!(vrndnq_f32, a)
            }
            #[inline(always)]
            fn scale2(self, a: F4, n: F4) -> F4 {
                // SAFETY: the processor has NEON (see the type).
                let power = n.map(|n| unsafe {
                    let biased = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
                    vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
                });
                self.mul(a, power)
            }
            #[inline(always)]
            fn to_bytes(self, a: F4) -> [i8; 16] {
                let mut out = [0; 16];
                let words = all!(vqmovn_s32, all!(vcvtnq_s32_f32, a));
                // SAFETY: 16 writable bytes; the store needs no alignment; the processor has NEON (see the type).
                unsafe {
                    let low = vqmovn_s16(vcombine_s16(words[0], words[1]));
                    let high = vqmovn_s16(vcombine_s16(words[2], words[3]));
                    vst1q_s8(out.as_mut_ptr(), vcombine_s8(low, high));
                }
                out
            }
        }
    };
}

lanes_neon!(
    Neon,
    "neon",
    #[inline(always)]
    fn dot(self, sum: I4, w: I4, x: [i8; 4]) -> I4 {
        // SAFETY: the processor has NEON (see the type).
        core::array::from_fn(|i| unsafe {
            let x = vmovl_s8(vget_low_s8(four_times(x)));
            let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(w[i])));
            let high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(w[i])));
            let pair = |w: int16x8_t| {
                let first = vmull_s16(vget_low_s16(w), vget_low_s16(x));
                let second = vmull_s16(vget_high_s16(w), vget_high_s16(x));
                vpaddq_s32(first, second)
            };
            let four = vpaddq_s32(pair(low), pair(high));
            vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(sum[i]), four))
        })
    },
    const SIGNED: bool = true;,
    #[inline(always)]
    fn dots<const BITS: u32, const T: usize>(
        self,
        mut part: [F4; T],
        w: [I4; 4],
        x: &[[[i8; 4]; T]; 4],
        scales: &[f32; T],
    ) -> [F4; T] {
        for t in 0..T {
            let x = [four_times(x[0][t]), four_times(x[1][t]), four_times(x[2][t]), four_times(x[3][t])];
            for i in 0..4 {
                // Two products fit into 16 bits: 128 * 127 * 2 = 32,512.
                // SAFETY: the processor has NEON (see the type).
                unsafe {
                    let mut sum = vdupq_n_s32(0);
                    for step in 0..4 {
                        let w = vreinterpretq_s8_u8(w[step][i]);
                        let low = vmull_s8(vget_low_s8(w), vget_low_s8(x[step]));
                        sum = vpadalq_s16(sum, vpaddq_s16(low, vmull_high_s8(w, x[step])));
                    }
                    part[t][i] = vfmaq_n_f32(part[t][i], vcvtq_f32_s32(sum), scales[t]);
                }
            }
        }
        part
    }
);

/// `sum` + the products of sixteen signed bytes, four to a lane.
///
/// # Safety
/// The processor must have `dotprod`.
#[inline(always)]
unsafe fn sdot(mut sum: int32x4_t, w: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the processor has `dotprod` (the caller's promise); only the named register changes.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {w:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

lanes_neon!(
    NeonDot,
    "neon,dotprod",
    #[inline(always)]
    fn dot(self, sum: I4, w: I4, x: [i8; 4]) -> I4 {
        let x = four_times(x);
        // The instruction takes signed bytes: the top bit of an unsigned one counts as -128 there, so its
        // part is taken away and not added.
        // SAFETY: the processor has `dotprod` (see the type).
        core::array::from_fn(|i| unsafe {
            let (low, top) = (vandq_u8(w[i], vdupq_n_u8(127)), vandq_u8(w[i], vdupq_n_u8(128)));
            let sum = sdot(vreinterpretq_s32_u8(sum[i]), low, x);
            vreinterpretq_u8_s32(vsubq_s32(sum, sdot(vdupq_n_s32(0), top, x)))
        })
    },
    const SIGNED: bool = true;,
    #[inline(always)]
    fn dots<const BITS: u32, const T: usize>(
        self,
        mut part: [F4; T],
        w: [I4; 4],
        x: &[[[i8; 4]; T]; 4],
        scales: &[f32; T],
    ) -> [F4; T] {
        for t in 0..T {
            let x = [four_times(x[0][t]), four_times(x[1][t]), four_times(x[2][t]), four_times(x[3][t])];
            for i in 0..4 {
                // SAFETY: the processor has NEON and `dotprod` (see the type).
                unsafe {
                    let mut sum = vdupq_n_s32(0);
                    for step in 0..4 {
                        sum = sdot(sum, w[step][i], x[step]);
                    }
                    part[t][i] = vfmaq_n_f32(part[t][i], vcvtq_f32_s32(sum), scales[t]);
                }
            }
        }
        part
    }
);

lanes_neon!(
    NeonI8mm,
    "neon,dotprod,i8mm",
    #[inline(always)]
    fn dot(self, sum: I4, w: I4, x: [i8; 4]) -> I4 {
        let x = four_times(x);
        core::array::from_fn(|i| {
            let mut sum = sum[i];
            let w = w[i];
            // SAFETY: the processor has `i8mm` (see the type); only the named register changes.
            unsafe {
                asm!(
                    ".arch_extension i8mm",
                    "usdot {sum:v}.4s, {w:v}.16b, {x:v}.16b",
                    sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sum
        })
    }
);
