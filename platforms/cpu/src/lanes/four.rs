//! Sixteen rows times four tokens with AVX2, block after block, in assembly.
//!
//! A tile has eight sums of eight lanes, and everything else must do with the other eight registers. The compiler keeps
//! more alive than there are and moves it to memory and back, between instructions that wait for it: the same
//! instructions as written here ran at two thirds of the speed. What must be in memory is the sums in floats, which are
//! read and written once a block, and the whole sums of a block's first half.
//!
//! Registers: `ymm0` and `ymm1` weights of a step, `ymm2` a token's, `ymm4` to `ymm7` products or scales and minima, `ymm8` to
//! `ymm15` sums of the four tokens, two each.

use core::{
    arch::{
        asm,
        x86_64::{__m256, __m256i, _mm256_setzero_si256},
    },
    mem::offset_of,
};

use super::Avx2;
use crate::{
    acts::{Wholes, Words},
    unpacked::{WholePart, WordPart},
};

/// Does something for each of the four tokens and its two sums.
#[rustfmt::skip]
macro_rules! each {
    ($do:ident $(, $with:expr)*) => { concat!(
        $do!(0, 8, 9 $(, $with)*), $do!(1, 10, 11 $(, $with)*), $do!(2, 12, 13 $(, $with)*), $do!(3, 14, 15 $(, $with)*)
    ) };
}

/// The first step of a sum.
#[rustfmt::skip]
macro_rules! set {
    ($t:expr, $a:expr, $b:expr, $step:expr, $multiply:expr) => { concat!(
        "vpbroadcastd ymm2, [{x} + 16*", $step, " + 4*", $t, "]\n",
        $multiply, " ymm", $a, ", ymm0, ymm2\n",
        $multiply, " ymm", $b, ", ymm1, ymm2\n",
    ) };
}

/// A step that is added.
#[rustfmt::skip]
macro_rules! more {
    ($t:expr, $a:expr, $b:expr, $step:expr, $multiply:expr, $add:expr) => { concat!(
        set!($t, 4, 5, $step, $multiply),
        $add, " ymm", $a, ", ymm", $a, ", ymm4\n",
        $add, " ymm", $b, ", ymm", $b, ", ymm5\n",
    ) };
}

/// The weights of a step.
#[rustfmt::skip]
macro_rules! weights {
    ($step:expr) => { concat!(
        "vmovdqa ymm0, [{w} + 64*", $step, "]\n",
        "vmovdqa ymm1, [{w} + 64*", $step, " + 32]\n",
    ) };
}

/// Some steps, the first of which begins the sums.
macro_rules! steps {
    ($multiply:expr, $add:expr; $first:expr $(, $step:expr)*) => {
        concat!(
            weights!($first), each!(set, $first, $multiply)
            $(, weights!($step), each!(more, $step, $multiply, $add))*
        )
    };
}

/// Of columns in bytes, four a step.
macro_rules! bytes {
    ($($step:expr),+) => { steps!("vpmaddubsw", "vpaddw"; $($step),+) };
}

/// Of columns in words, two a step.
macro_rules! pairs {
    ($($step:expr),+) => { steps!("vpmaddwd", "vpaddd"; $($step),+) };
}

/// Sums of 16 bits times the scale of a half, in 32 bits.
#[rustfmt::skip]
macro_rules! widen {
    ($t:expr, $a:expr, $b:expr, $half:expr) => { concat!(
        "vpbroadcastd ymm2, [{x} + 128 + 16*", $half, " + 4*", $t, "]\n",
        "vpmaddwd ymm", $a, ", ymm", $a, ", ymm2\n",
        "vpmaddwd ymm", $b, ", ymm", $b, ", ymm2\n",
    ) };
}

/// Puts sums down.
#[rustfmt::skip]
macro_rules! put {
    ($t:expr, $a:expr, $b:expr, $place:expr) => { concat!(
        "vmovaps [{", $place, "} + 64*", $t, "], ymm", $a, "\n",
        "vmovaps [{", $place, "} + 64*", $t, " + 32], ymm", $b, "\n",
    ) };
}

/// Adds those that were put down.
#[rustfmt::skip]
macro_rules! join {
    ($t:expr, $a:expr, $b:expr) => { concat!(
        "vpaddd ymm", $a, ", ymm", $a, ", [{kept} + 64*", $t, "]\n",
        "vpaddd ymm", $b, ", ymm", $b, ", [{kept} + 64*", $t, " + 32]\n",
    ) };
}

/// Whole sums as floats.
#[rustfmt::skip]
macro_rules! convert {
    ($a:expr, $b:expr) => { concat!(
        "vcvtdq2ps ymm", $a, ", ymm", $a, "\n",
        "vcvtdq2ps ymm", $b, ", ymm", $b, "\n",
    ) };
}

/// Times the scales, and what has been summed up before.
#[rustfmt::skip]
macro_rules! scale {
    ($t:expr, $a:expr, $b:expr) => { concat!(
        "vfmadd213ps ymm", $a, ", ymm4, [{sums} + 64*", $t, "]\n",
        "vfmadd213ps ymm", $b, ", ymm5, [{sums} + 64*", $t, " + 32]\n",
    ) };
}

/// Adds whole sums to those in floats, with scales and minima.
#[rustfmt::skip]
macro_rules! count {
    ($t:expr, $a:expr, $b:expr, $sum:expr) => { concat!(
        convert!($a, $b),
        "vbroadcastss ymm2, [{x} + 160 + 16*", $sum, " + 4*", $t, "]\n",
        scale!($t, $a, $b),
        "vfmadd231ps ymm", $a, ", ymm2, ymm6\n",
        "vfmadd231ps ymm", $b, ", ymm2, ymm7\n",
        put!($t, $a, $b, "sums"),
    ) };
}

/// The end of a group: its number, and that of the tokens' sums that its minima are multiplied with.
#[rustfmt::skip]
macro_rules! group {
    ($group:expr, $sum:expr) => { concat!(
        "vmovaps ymm4, [{w} + 512 + 64*", $group, "]\n",
        "vmovaps ymm5, [{w} + 544 + 64*", $group, "]\n",
        "vmovaps ymm6, [{w} + 640 + 64*", $group, "]\n",
        "vmovaps ymm7, [{w} + 672 + 64*", $group, "]\n",
        each!(count, $sum),
    ) };
}

/// Whole sums of words, with the scales of both sides.
#[rustfmt::skip]
macro_rules! count_words {
    ($t:expr, $a:expr, $b:expr) => { concat!(
        convert!($a, $b),
        "vbroadcastss ymm2, [{x} + 256 + 4*", $t, "]\n",
        "vmulps ymm4, ymm2, [{w} + 1024]\n",
        "vmulps ymm5, ymm2, [{w} + 1056]\n",
        scale!($t, $a, $b),
        put!($t, $a, $b, "sums"),
    ) };
}

/// Block after block, at least one.
macro_rules! blocks {
    ($part:ident: $w:ty, $x:ident: $of:ty, $sums:ident $(, kept $kept:ident)?; $($do:expr),+) => {
        asm!(
            concat!("2:\n", $($do,)+ "add {w}, {w_size}\n", "add {x}, {x_size}\n", "dec {n}\n", "jnz 2b\n"),
            w = inout(reg) $part.as_ptr() => _, w_size = const size_of::<$w>(),
            x = inout(reg) $x.as_ptr() => _, x_size = const size_of::<$of>(),
            n = inout(reg) $part.len().min($x.len()) => _,
            sums = in(reg) $sums.as_mut_ptr() $(, kept = in(reg) $kept.as_mut_ptr())?,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack)
        )
    };
}

type I2 = [__m256i; 2];
type F2 = [__m256; 2];

/// [`super::Lanes::wholes`] where the processor has AVX2 and FMA: weights below `2^BITS`, `GROUPS` of a block have scales of
/// their own.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn wholes<const BITS: u32, const GROUPS: usize>(part: &[WholePart<Avx2>], x: &[Wholes<4>], sums: &mut [F2; 4]) {
    const {
        assert!(size_of::<WholePart<Avx2>>() == 768 && offset_of!(WholePart<Avx2>, scales) == 512);
        assert!(offset_of!(WholePart<Avx2>, minima) == 640);
        assert!(offset_of!(Wholes<4>, scales) == 128 && offset_of!(Wholes<4>, sums) == 160);
    }
    if part.is_empty() || x.is_empty() {
        return;
    }
    let mut kept: [I2; 4] = [[_mm256_setzero_si256(); 2]; 4];
    // SAFETY: as many blocks are read as both lists have; what a block reads of each lies inside it, and what it writes is
    // `sums` and `kept`; vectors are aligned to their size; the processor has AVX2 and FMA (the features of this function).
    unsafe {
        match (BITS, GROUPS) {
            (..6, 1) => blocks!(
                part: WholePart<Avx2>, x: Wholes<4>, sums, kept kept;
                bytes!(0, 1, 2, 3), each!(widen, 0), each!(put, "kept"),
                bytes!(4, 5, 6, 7), each!(widen, 1), each!(join), group!(0, 2)
            ),
            (..6, _) => blocks!(
                part: WholePart<Avx2>, x: Wholes<4>, sums;
                bytes!(0, 1, 2, 3), each!(widen, 0), group!(0, 0),
                bytes!(4, 5, 6, 7), each!(widen, 1), group!(1, 1)
            ),
            _ => blocks!(
                part: WholePart<Avx2>, x: Wholes<4>, sums, kept kept;
                bytes!(0, 1), each!(widen, 0), each!(put, "kept"), bytes!(2, 3), each!(widen, 0), each!(join), group!(0, 0),
                bytes!(4, 5), each!(widen, 1), each!(put, "kept"), bytes!(6, 7), each!(widen, 1), each!(join), group!(1, 1)
            ),
        }
    }
}

/// [`super::Lanes::words`] where the processor has AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn words(part: &[WordPart<Avx2>], x: &[Words<4>], sums: &mut [F2; 4]) {
    const {
        assert!(size_of::<WordPart<Avx2>>() == 1088 && offset_of!(WordPart<Avx2>, scales) == 1024);
        assert!(offset_of!(Words<4>, scales) == 256);
    }
    if part.is_empty() || x.is_empty() {
        return;
    }
    // SAFETY: as above.
    unsafe {
        blocks!(
            part: WordPart<Avx2>, x: Words<4>, sums;
            pairs!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), each!(count_words)
        );
    }
}
