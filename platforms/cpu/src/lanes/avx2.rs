//! AVX2 with FMA and F16C, with and without VNNI: sixteen lanes are two registers.

#[allow(clippy::wildcard_imports, reason = "some forty intrinsics")]
use core::arch::{asm, x86_64::*};

use super::{Lanes, Task, four, places};
use crate::{
    acts::{Wholes, Words},
    unpacked::{WholePart, WordPart},
};

/// The processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        let has =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        has.then_some(Self(()))
    }
}

/// The processor has AVX2, FMA, F16C and AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx2Vnni(());

impl Avx2Vnni {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (Avx2::detect().is_some() && is_x86_feature_detected!("avxvnni")).then_some(Self(()))
    }
}

/// Two numbers as the bits of one.
#[inline(always)]
fn pair([a, b]: [i16; 2]) -> i32 {
    i32::from(a as u16) | i32::from(b) << 16
}

type I2 = [__m256i; 2];
type F2 = [__m256; 2];

/// Applies a function to both halves.
macro_rules! both {
    ($f:ident, $a:expr) => {
        // SAFETY: the processor has AVX2, FMA and F16C (see the type).
        unsafe { [$f($a[0]), $f($a[1])] }
    };
    ($f:ident, $a:expr, $b:expr) => {
        // SAFETY: the processor has AVX2, FMA and F16C (see the type).
        unsafe { [$f($a[0], $b[0]), $f($a[1], $b[1])] }
    };
}

/// Four signed bytes, eight times.
#[inline(always)]
fn eight_times(x: [i8; 4]) -> __m256i {
    // SAFETY: the processor has AVX2 (see the types of this file).
    unsafe { _mm256_set1_epi32(i32::from_le_bytes(x.map(|b| b as u8))) }
}

/// `sums` + the products of pairs of 16-bit numbers, for both halves of a vector.
///
/// The compiler knows that whole numbers may be added in any order, and makes a tree of a chain of sums: it needs more
/// registers than there are, and spills them. What it does not look into stays as it is.
#[inline]
#[target_feature(enable = "avx2")]
fn add_words(sums: I2, w: I2, x: __m256i) -> I2 {
    let [mut low, mut high] = sums;
    // SAFETY: only the named registers change; the processor has AVX2 (the feature of this function).
    unsafe {
        asm!(
            "vpmaddwd {a}, {v}, {x}", "vpmaddwd {b}, {w}, {x}",
            "vpaddd {low}, {low}, {a}", "vpaddd {high}, {high}, {b}",
            a = out(ymm_reg) _, b = out(ymm_reg) _, low = inout(ymm_reg) low, high = inout(ymm_reg) high,
            v = in(ymm_reg) w[0], w = in(ymm_reg) w[1], x = in(ymm_reg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [low, high]
}

/// The same for bytes, `w` without a sign and `x` with one, in sums of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_bytes(sums: I2, w: I2, x: __m256i) -> I2 {
    let [mut low, mut high] = sums;
    // SAFETY: only the named registers change; the processor has AVX2 (the feature of this function).
    unsafe {
        asm!(
            "vpmaddubsw {a}, {v}, {x}", "vpmaddubsw {b}, {w}, {x}",
            "vpaddw {low}, {low}, {a}", "vpaddw {high}, {high}, {b}",
            a = out(ymm_reg) _, b = out(ymm_reg) _, low = inout(ymm_reg) low, high = inout(ymm_reg) high,
            v = in(ymm_reg) w[0], w = in(ymm_reg) w[1], x = in(ymm_reg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [low, high]
}

/// `sums` + the products of `N` steps of sixteen rows, from step `AT`, with `T` tokens, each times the token's scale: weights
/// below `2^BITS` without a sign.
///
/// `maddubs` adds pairs of products in 16 bits. There is room in them for four steps of weights of five bits
/// (31 * 127 * 2 * 4 = 31,496), for two of six (63 * 127 * 2 * 2 = 32,004). Steps are the outer loop: a step's weights are
/// read once, and what stays in registers is the sums.
#[inline(always)]
fn unsigned_steps<const AT: usize, const N: usize, const T: usize>(
    mut sums: [I2; T],
    w: &[I2; 4],
    x: &[[[i8; 4]; T]; 4],
    scales: &[[i16; 2]; T],
) -> [I2; T] {
    // SAFETY: the processor has AVX2 (see the types of this file).
    unsafe {
        let mut words = [[_mm256_setzero_si256(); 2]; T];
        for step in AT..AT + N {
            for t in 0..T {
                let x = eight_times(x[step][t]);
                words[t] = if step == AT {
                    [_mm256_maddubs_epi16(w[step][0], x), _mm256_maddubs_epi16(w[step][1], x)]
                } else {
                    add_bytes(words[t], w[step], x)
                };
            }
        }
        for t in 0..T {
            let scale = _mm256_set1_epi32(pair(scales[t]));
            for half in 0..2 {
                sums[t][half] = _mm256_add_epi32(sums[t][half], _mm256_madd_epi16(words[t][half], scale));
            }
        }
        sums
    }
}

macro_rules! lanes_256 {
    ($name:ident, $features:literal, $($own:item),+) => {
impl Lanes for $name {
    type I = I2;
    type F = F2;
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

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing that a program can see, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> I2 {
        let at = bytes.as_ptr().cast::<__m256i>();
        // SAFETY: 64 readable bytes; the loads need no alignment; the processor has AVX2 (see the type).
        unsafe { [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))] }
    }
    #[inline(always)]
    fn and(self, a: I2, b: I2) -> I2 {
        both!(_mm256_and_si256, a, b)
    }
    #[inline(always)]
    fn or(self, a: I2, b: I2) -> I2 {
        both!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    fn xor(self, a: I2, b: I2) -> I2 {
        both!(_mm256_xor_si256, a, b)
    }
    #[inline(always)]
    fn right<const N: u32>(self, a: I2) -> I2 {
        // SAFETY: the processor has AVX2 (see the type).
        let count = unsafe { _mm_cvtsi32_si128(N as i32) };
        both!(_mm256_srl_epi16, a, [count; 2])
    }
    #[inline(always)]
    fn left<const N: u32>(self, a: I2) -> I2 {
        // SAFETY: the processor has AVX2 (see the type).
        let count = unsafe { _mm_cvtsi32_si128(N as i32) };
        both!(_mm256_sll_epi16, a, [count; 2])
    }
    #[inline(always)]
    fn bytes(self, byte: u8) -> I2 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe { [_mm256_set1_epi8(byte as i8); 2] }
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], a: I2) -> I2 {
        // SAFETY: 16 readable bytes; the load needs no alignment; the processor has AVX2 (see the type).
        let table = unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) };
        both!(_mm256_shuffle_epi8, [table; 2], a)
    }
    #[inline(always)]
    fn wide(self, a: I2) -> [I2; 2] {
        const PLACES: [[u8; 32]; 2] = [places(0), places(2)];
        // SAFETY: 32 readable bytes each; the loads need no alignment; the processor has AVX2 (see the type).
        let [first, last] = unsafe {
            [_mm256_loadu_si256(PLACES[0].as_ptr().cast()), _mm256_loadu_si256(PLACES[1].as_ptr().cast())]
        };
        [both!(_mm256_shuffle_epi8, a, [first; 2]), both!(_mm256_shuffle_epi8, a, [last; 2])]
    }
    #[inline(always)]
    fn whole(self, number: i32) -> I2 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe { [_mm256_set1_epi32(number); 2] }
    }
    $($own)+

    #[inline(always)]
    fn float(self, a: I2) -> F2 {
        both!(_mm256_cvtepi32_ps, a)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> F2 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    fn get(self, x: &[f32; 16]) -> F2 {
        // SAFETY: 64 readable bytes; the loads need no alignment; the processor has AVX2 (see the type).
        unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
    }
    #[inline(always)]
    fn halves(self, x: &[u16; 16]) -> F2 {
        let at = x.as_ptr().cast::<__m128i>();
        // SAFETY: 32 readable bytes; the loads need no alignment; the processor has F16C (see the type).
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1)))] }
    }
    #[inline(always)]
    fn brains(self, x: &[u16; 16]) -> F2 {
        let at = x.as_ptr().cast::<__m128i>();
        // SAFETY: 32 readable bytes; the loads need no alignment; the processor has AVX2 (see the type).
        unsafe {
            let wide = |half| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)));
            [wide(_mm_loadu_si128(at)), wide(_mm_loadu_si128(at.add(1)))]
        }
    }
    #[inline(always)]
    fn signed(self, x: &[i8; 16]) -> F2 {
        // SAFETY: 16 readable bytes; the load needs no alignment; the processor has AVX2 (see the type).
        unsafe {
            let bytes = _mm_loadu_si128(x.as_ptr().cast());
            let wide = |eight| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
            [wide(bytes), wide(_mm_srli_si128::<8>(bytes))]
        }
    }
    #[inline(always)]
    fn to_halves(self, x: F2) -> [u16; 16] {
        let mut out = [0; 16];
        let at = out.as_mut_ptr().cast::<__m128i>();
        // SAFETY: 32 writable bytes; the stores need no alignment; the processor has F16C (see the type).
        unsafe {
            _mm_storeu_si128(at, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]));
            _mm_storeu_si128(at.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]));
        }
        out
    }
    #[inline(always)]
    fn put(self, x: F2, out: &mut [f32; 16]) {
        // SAFETY: 64 writable bytes; the stores need no alignment; the processor has AVX2 (see the type).
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), x[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: F2, b: F2) -> F2 {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: F2, b: F2) -> F2 {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: F2, b: F2) -> F2 {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: F2, b: F2) -> F2 {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: F2, b: F2, c: F2) -> F2 {
        // SAFETY: the processor has FMA (see the type).
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn max(self, a: F2, b: F2) -> F2 {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: F2, b: F2) -> F2 {
        both!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn round(self, a: F2) -> F2 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            [_mm256_round_ps::<NEAREST>(a[0]), _mm256_round_ps::<NEAREST>(a[1])]
        }
    }
    #[inline(always)]
    fn scale2(self, a: F2, n: F2) -> F2 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe {
            let power = |n| {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            };
            self.mul(a, [power(n[0]), power(n[1])])
        }
    }
    #[inline(always)]
    fn sum(self, a: F2) -> f32 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe {
            let eight = _mm256_add_ps(a[0], a[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn largest(self, a: F2) -> f32 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe {
            let eight = _mm256_max_ps(a[0], a[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn to_bytes(self, a: F2) -> [i8; 16] {
        let mut out = [0; 16];
        // SAFETY: 16 writable bytes; the store needs no alignment; the processor has AVX2 (see the type).
        unsafe {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(a[0]), _mm256_cvtps_epi32(a[1]));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        }
        out
    }
}
    };
}

lanes_256!(
    Avx2,
    "avx2,fma,f16c,bmi2",
    #[inline(always)]
    fn dot(self, sum: I2, w: I2, x: [i8; 4]) -> I2 {
        let x = self.whole(i32::from_le_bytes(x.map(|b| b as u8)))[0];
        // Even and odd bytes apart, in 16 bits: products of a whole byte with a signed one would overflow
        // the pairwise sums of `maddubs`.
        // SAFETY: the processor has AVX2 (see the type).
        unsafe {
            let low = _mm256_set1_epi16(0xff);
            let x_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
            let x_odd = _mm256_srai_epi16::<8>(x);
            let one = |sum, w| {
                let even = _mm256_madd_epi16(_mm256_and_si256(w, low), x_even);
                let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(w), x_odd);
                _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
            };
            [one(sum[0], w[0]), one(sum[1], w[1])]
        }
    },
    #[inline(always)]
    fn dot2(self, sum: I2, w: I2, x: [i16; 2]) -> I2 {
        // SAFETY: the processor has AVX2 (see the type).
        unsafe { add_words(sum, w, self.whole(pair(x))[0]) }
    },
    const UNPACKS: bool = true;,
    #[inline(always)]
    fn products<const BITS: u32, const T: usize>(
        self,
        sums: [I2; T],
        w: &[I2; 4],
        x: &[[[i8; 4]; T]; 4],
        scales: &[[i16; 2]; T],
    ) -> [I2; T] {
        if BITS < 6 {
            return unsigned_steps::<0, 4, T>(sums, w, x, scales);
        }
        let sums = unsigned_steps::<0, 2, T>(sums, w, x, scales);
        unsigned_steps::<2, 2, T>(sums, w, x, scales)
    },
    #[inline(always)]
    fn wholes<const BITS: u32, const GROUPS: usize>(
        self,
        part: &[WholePart<Self>],
        x: &[Wholes<4>],
        sums: &mut [F2; 4],
    ) {
        // SAFETY: the processor has AVX2 and FMA (see the type).
        unsafe { four::wholes::<BITS, GROUPS>(part, x, sums) }
    },
    #[inline(always)]
    fn words(self, part: &[WordPart<Self>], x: &[Words<4>], sums: &mut [F2; 4]) {
        // SAFETY: the processor has AVX2 and FMA (see the type).
        unsafe { four::words(part, x, sums) }
    }
);

lanes_256!(
    Avx2Vnni,
    "avx2,fma,f16c,bmi2,avxvnni",
    #[inline(always)]
    fn dot(self, sum: I2, w: I2, x: [i8; 4]) -> I2 {
        let x = self.whole(i32::from_le_bytes(x.map(|b| b as u8)))[0];
        // SAFETY: the processor has AVX-VNNI (see the type).
        unsafe { [_mm256_dpbusd_avx_epi32(sum[0], w[0], x), _mm256_dpbusd_avx_epi32(sum[1], w[1], x)] }
    },
    #[inline(always)]
    fn dot2(self, sum: I2, w: I2, x: [i16; 2]) -> I2 {
        let x = self.whole(pair(x))[0];
        // SAFETY: the processor has AVX-VNNI (see the type).
        unsafe { [_mm256_dpwssd_avx_epi32(sum[0], w[0], x), _mm256_dpwssd_avx_epi32(sum[1], w[1], x)] }
    }
);
