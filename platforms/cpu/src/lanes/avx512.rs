//! AVX-512 (F, BW, VL, DQ), with and without VNNI: sixteen lanes are one register.

#[allow(clippy::wildcard_imports, reason = "some fifty intrinsics")]
use core::arch::x86_64::*;

use super::{Lanes, Task, places};

/// The processor has AVX-512 and VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni(());

/// The processor has AVX-512.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

fn has_512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
}

impl Avx512 {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        has_512().then_some(Self(()))
    }
}

impl Avx512Vnni {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (has_512() && is_x86_feature_detected!("avx512vnni")).then_some(Self(()))
    }
}

/// Two numbers as the bits of one.
#[inline(always)]
fn pair([a, b]: [i16; 2]) -> i32 {
    i32::from(a as u16) | i32::from(b) << 16
}

/// Four signed bytes, sixteen times.
#[inline(always)]
fn four(x: [i8; 4]) -> __m512i {
    // SAFETY: the processor has AVX-512 (see the types of this file).
    unsafe { _mm512_set1_epi32(i32::from_le_bytes(x.map(|b| b as u8))) }
}

macro_rules! lanes_512 {
    ($name:ident, $features:literal, $($own:item),+) => {
        impl Lanes for $name {
            type I = __m512i;
            type F = __m512;
            const TILE: usize = 8;

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
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing that a program can see, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
            fn load(self, bytes: &[u8; 64]) -> __m512i {
                // SAFETY: 64 readable bytes; the load needs no alignment; the processor has AVX-512 (see the type).
                unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
            }
            #[inline(always)]
            fn and(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_and_si512(a, b) }
            }
            #[inline(always)]
            fn or(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_or_si512(a, b) }
            }
            #[inline(always)]
            fn xor(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_xor_si512(a, b) }
            }
            #[inline(always)]
            fn right<const N: u32>(self, a: __m512i) -> __m512i {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_srli_epi16::<N>(a) }
            }
            #[inline(always)]
            fn left<const N: u32>(self, a: __m512i) -> __m512i {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_slli_epi16::<N>(a) }
            }
            #[inline(always)]
            fn bytes(self, byte: u8) -> __m512i {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_set1_epi8(byte as i8) }
            }
            #[inline(always)]
            fn lookup(self, table: &[u8; 16], a: __m512i) -> __m512i {
                // SAFETY: 16 readable bytes; the load needs no alignment; the processor has AVX-512 (see the type).
                unsafe {
                    let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
                    _mm512_shuffle_epi8(table, a)
                }
            }
            #[inline(always)]
            fn wide(self, a: __m512i) -> [__m512i; 2] {
                const PLACES: [[u8; 64]; 2] = [places(0), places(2)];
                // SAFETY: 64 readable bytes each; the loads need no alignment; the processor has AVX-512 (see the type).
                unsafe {
                    let first = _mm512_loadu_si512(PLACES[0].as_ptr().cast());
                    let last = _mm512_loadu_si512(PLACES[1].as_ptr().cast());
                    [_mm512_shuffle_epi8(a, first), _mm512_shuffle_epi8(a, last)]
                }
            }
            #[inline(always)]
            fn whole(self, number: i32) -> __m512i {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_set1_epi32(number) }
            }
            #[inline(always)]
            fn float(self, a: __m512i) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_cvtepi32_ps(a) }
            }
            #[inline(always)]
            fn splat(self, x: f32) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_set1_ps(x) }
            }
            #[inline(always)]
            fn get(self, x: &[f32; 16]) -> __m512 {
                // SAFETY: 64 readable bytes; the load needs no alignment; the processor has AVX-512 (see the type).
                unsafe { _mm512_loadu_ps(x.as_ptr()) }
            }
            #[inline(always)]
            fn halves(self, x: &[u16; 16]) -> __m512 {
                // SAFETY: 32 readable bytes; the load needs no alignment; the processor has AVX-512 (see the type).
                unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())) }
            }
            #[inline(always)]
            fn brains(self, x: &[u16; 16]) -> __m512 {
                // SAFETY: 32 readable bytes; the load needs no alignment; the processor has AVX-512 (see the type).
                unsafe {
                    let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
                }
            }
            #[inline(always)]
            fn signed(self, x: &[i8; 16]) -> __m512 {
                // SAFETY: 16 readable bytes; the load needs no alignment; the processor has AVX-512 (see the type).
                unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))) }
            }
            #[inline(always)]
            fn to_halves(self, x: __m512) -> [u16; 16] {
                let mut out = [0; 16];
                // SAFETY: 32 writable bytes; the store needs no alignment; the processor has AVX-512 (see the type).
                unsafe {
                    let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
                    _mm256_storeu_si256(out.as_mut_ptr().cast(), halves);
                }
                out
            }
            #[inline(always)]
            fn put(self, x: __m512, out: &mut [f32; 16]) {
                // SAFETY: 64 writable bytes; the store needs no alignment; the processor has AVX-512 (see the type).
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
            }
            #[inline(always)]
            fn add(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_add_ps(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_sub_ps(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_mul_ps(a, b) }
            }
            #[inline(always)]
            fn div(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_div_ps(a, b) }
            }
            #[inline(always)]
            fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_fmadd_ps(a, b, c) }
            }
            #[inline(always)]
            fn max(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_max_ps(a, b) }
            }
            #[inline(always)]
            fn min(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_min_ps(a, b) }
            }
            #[inline(always)]
            fn round(self, a: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
            }
            #[inline(always)]
            fn scale2(self, a: __m512, n: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512 (see the type).
                unsafe { _mm512_scalef_ps(a, n) }
            }
            #[inline(always)]
            fn to_bytes(self, a: __m512) -> [i8; 16] {
                let mut out = [0; 16];
                // SAFETY: 16 writable bytes; the store needs no alignment; the processor has AVX-512 (see the type).
                unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a))) }
                out
            }
        }
    };
}

lanes_512!(
    Avx512Vnni,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,f16c,fma,bmi2",
    #[inline(always)]
    fn dot(self, sum: __m512i, w: __m512i, x: [i8; 4]) -> __m512i {
        let x = self.whole(i32::from_le_bytes(x.map(|b| b as u8)));
        // SAFETY: the processor has AVX-512 VNNI (see the type).
        unsafe { _mm512_dpbusd_epi32(sum, w, x) }
    },
    #[inline(always)]
    fn dot2(self, sum: __m512i, w: __m512i, x: [i16; 2]) -> __m512i {
        let x = self.whole(pair(x));
        // SAFETY: the processor has AVX-512 VNNI (see the type).
        unsafe { _mm512_dpwssd_epi32(sum, w, x) }
    }
);

lanes_512!(
    Avx512,
    "avx512f,avx512bw,avx512vl,avx512dq,avx2,f16c,fma,bmi2",
    #[inline(always)]
    fn dot(self, sum: __m512i, w: __m512i, x: [i8; 4]) -> __m512i {
        let x = self.whole(i32::from_le_bytes(x.map(|b| b as u8)));
        // Even and odd bytes apart, in 16 bits: products of a whole byte with a signed one would overflow
        // the pairwise sums of `maddubs`.
        // SAFETY: the processor has AVX-512 BW (see the type).
        unsafe {
            let low = _mm512_set1_epi16(0xff);
            let even = _mm512_madd_epi16(_mm512_and_si512(w, low), _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x)));
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(w), _mm512_srai_epi16::<8>(x));
            _mm512_add_epi32(sum, _mm512_add_epi32(even, odd))
        }
    },
    #[inline(always)]
    fn dot2(self, sum: __m512i, w: __m512i, x: [i16; 2]) -> __m512i {
        let x = self.whole(pair(x));
        // SAFETY: the processor has AVX-512 BW (see the type).
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(w, x)) }
    },
    #[inline(always)]
    fn dots<const BITS: u32, const T: usize>(
        self,
        mut part: [__m512; T],
        w: [__m512i; 4],
        x: &[[[i8; 4]; T]; 4],
        scales: &[f32; T],
    ) -> [__m512; T] {
        for t in 0..T {
            let dots = if BITS <= 6 {
                let x = [four(x[0][t]), four(x[1][t]), four(x[2][t]), four(x[3][t])];
                // `maddubs` adds pairs of products in 16 bits, with room for four steps of five bits
                // (31 * 127 * 2 * 4 = 31,496) and for two of six (63 * 127 * 2 * 2 = 32,004).
                // SAFETY: the processor has AVX-512 BW (see the type).
                unsafe {
                    let ones = _mm512_set1_epi16(1);
                    let first = _mm512_add_epi16(_mm512_maddubs_epi16(w[0], x[0]), _mm512_maddubs_epi16(w[1], x[1]));
                    let last = _mm512_add_epi16(_mm512_maddubs_epi16(w[2], x[2]), _mm512_maddubs_epi16(w[3], x[3]));
                    if BITS <= 5 {
                        _mm512_madd_epi16(_mm512_add_epi16(first, last), ones)
                    } else {
                        _mm512_add_epi32(_mm512_madd_epi16(first, ones), _mm512_madd_epi16(last, ones))
                    }
                }
            } else {
                let mut sum = self.whole(0);
                for step in 0..4 {
                    sum = self.dot(sum, w[step], x[step][t]);
                }
                sum
            };
            part[t] = self.fma(self.float(dots), self.splat(scales[t]), part[t]);
        }
        part
    }
);
