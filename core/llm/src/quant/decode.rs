//! From blocks to numbers: one function a format, right by inspection.
//!
//! Layouts are those of ggml (`ggml-common.h`, `ggml-quants.c`); `d` is a block's scale, `m` its
//! minimum, `q` a quantum. All multi-byte fields are little endian. In the 32-element formats
//! element `i < 16` lies in the low half of byte `i`, element `16 + i` in the high half.

use super::{Kind, bf16_to_f32, f16_to_f32};

/// Quanta of IQ4_NL and IQ4_XS: a fixed, not evenly spaced set (ggml `kvalues_iq4nl`).
pub const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Quanta of MXFP4, doubled: E2M1 (OCP Microscaling Formats v1.0, §5.3.3).
pub const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Turns whole blocks into numbers. `blocks` holds exactly the blocks of `out.len()` elements.
///
/// # Panics
/// If the two lengths do not belong together.
pub fn dequantise(kind: Kind, blocks: &[u8], out: &mut [f32]) {
    assert_eq!(kind.row_bytes(out.len()), Some(blocks.len()), "blocks and elements belong together");
    let decode: fn(&[u8], &mut [f32]) = match kind {
        Kind::F32 => f32s,
        Kind::F16 => |b, o| o[0] = f16_to_f32(u16_at(b, 0)),
        Kind::Bf16 => |b, o| o[0] = bf16_to_f32(u16_at(b, 0)),
        Kind::Q4_0 => q4_0,
        Kind::Q4_1 => q4_1,
        Kind::Q5_0 => q5_0,
        Kind::Q5_1 => q5_1,
        Kind::Q8_0 => q8_0,
        Kind::Q2K => q2_k,
        Kind::Q3K => q3_k,
        Kind::Q4K => q4_k,
        Kind::Q5K => q5_k,
        Kind::Q6K => q6_k,
        Kind::Iq4Nl => iq4_nl,
        Kind::Iq4Xs => iq4_xs,
        Kind::Mxfp4 => mxfp4,
    };
    for (block, out) in blocks.chunks_exact(kind.block_bytes()).zip(out.chunks_exact_mut(kind.block_len())) {
        decode(block, out);
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16_at(bytes, at))
}

fn f32s(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_le_bytes(block.try_into().expect("a block of four"));
}

/// `f16 d | 16 bytes q`: `d (q - 8)`.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (i, &byte) in block[2..].iter().enumerate() {
        out[i] = d * ((byte & 15) as f32 - 8.0);
        out[i + 16] = d * ((byte >> 4) as f32 - 8.0);
    }
}

/// `f16 d | f16 m | 16 bytes q`: `d q + m`.
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, &byte) in block[4..].iter().enumerate() {
        out[i] = d * (byte & 15) as f32 + m;
        out[i + 16] = d * (byte >> 4) as f32 + m;
    }
}

/// The fifth bits of a block, and after them the low four: quantum `i`.
fn five(high: &[u8], low: &[u8], i: usize) -> u8 {
    let bit = (high[i / 8] >> (i % 8)) & 1;
    let four = if i < 16 { low[i] & 15 } else { low[i - 16] >> 4 };
    four | bit << 4
}

/// `f16 d | 4 bytes fifth bits | 16 bytes q`: `d (q - 16)`.
fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * (five(&block[2..6], &block[6..], i) as f32 - 16.0);
    }
}

/// `f16 d | f16 m | 4 bytes fifth bits | 16 bytes q`: `d q + m`.
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * five(&block[4..8], &block[8..], i) as f32 + m;
    }
}

/// `f16 d | 32 bytes signed q`: `d q`.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (out, &byte) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(byte as i8);
    }
}

/// `16 bytes: low half scale, high half minimum, one for each 16 | 64 bytes q | f16 d | f16 m`.
/// Element `128 a + 32 b + c` has bits `2b..` of byte `32 a + c`.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, q) = (&block[..16], &block[16..80]);
    let (d, m) = (half(block, 80), half(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let quantum = (q[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
        let scale = scales[i / 16];
        *out = d * (scale & 15) as f32 * quantum as f32 - m * (scale >> 4) as f32;
    }
}

/// `32 bytes third bits | 64 bytes low two bits | 12 bytes scales of six bits | f16 d`.
/// The third bit, where it is not set, takes away 4.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, q, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    for (i, out) in out.iter_mut().enumerate() {
        let low = (q[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
        let bit = (high[i % 32] >> (i / 32)) & 1;
        let quantum = low as i32 - if bit == 0 { 4 } else { 0 };
        let s = i / 16;
        let four = if s < 8 { scales[s] & 15 } else { scales[s - 8] >> 4 };
        let two = (scales[8 + s % 4] >> (2 * (s / 4))) & 3;
        let scale = i32::from(four | two << 4) - 32;
        *out = d * scale as f32 * quantum as f32;
    }
}

/// Scale and minimum `s` (0 to 7) of the twelve bytes of Q4_K and Q5_K, six bits each.
pub fn k_scale(scales: &[u8], s: usize) -> (u8, u8) {
    if s < 4 {
        (scales[s] & 63, scales[s + 4] & 63)
    } else {
        let scale = (scales[s + 4] & 15) | (scales[s - 4] >> 6) << 4;
        let minimum = (scales[s + 4] >> 4) | (scales[s] >> 6) << 4;
        (scale, minimum)
    }
}

/// `f16 d | f16 m | 12 bytes scales | 128 bytes q`. Element `64 a + b`: low halves of bytes `32 a ..` for
/// `b < 32`, high halves after.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    let (scales, q) = (&block[4..16], &block[16..]);
    for (i, out) in out.iter_mut().enumerate() {
        let byte = q[32 * (i / 64) + i % 32];
        let quantum = if i % 64 < 32 { byte & 15 } else { byte >> 4 };
        let (scale, minimum) = k_scale(scales, i / 32);
        *out = d * scale as f32 * quantum as f32 - m * minimum as f32;
    }
}

/// As Q4_K, with 32 bytes of fifth bits between scales and quanta: element `32 a + b` has bit `a` of byte `b`.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    let (scales, high, q) = (&block[4..16], &block[16..48], &block[48..]);
    for (i, out) in out.iter_mut().enumerate() {
        let byte = q[32 * (i / 64) + i % 32];
        let four = if i % 64 < 32 { byte & 15 } else { byte >> 4 };
        let bit = (high[i % 32] >> (i / 32)) & 1;
        let (scale, minimum) = k_scale(scales, i / 32);
        *out = d * scale as f32 * (four | bit << 4) as f32 - m * minimum as f32;
    }
}

/// `128 bytes low four bits | 64 bytes high two bits | 16 signed scales | f16 d`: `d scale (q - 32)`.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        let (a, b, c) = (i / 128, i / 32 % 4, i % 32);
        let byte = low[64 * a + 32 * (b % 2) + c];
        let four = if b < 2 { byte & 15 } else { byte >> 4 };
        let two = (high[32 * a + c] >> (2 * b)) & 3;
        let quantum = i32::from(four | two << 4) - 32;
        *out = d * f32::from(scales[i / 16] as i8) * quantum as f32;
    }
}

/// `f16 d | 16 bytes indices` into [`IQ4_VALUES`].
fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (i, &byte) in block[2..].iter().enumerate() {
        out[i] = d * f32::from(IQ4_VALUES[usize::from(byte & 15)]);
        out[i + 16] = d * f32::from(IQ4_VALUES[usize::from(byte >> 4)]);
    }
}

/// `f16 d | u16 high scale bits | 4 bytes low scale bits | 8 x 16 bytes indices`: `d (scale - 32) value`.
fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    let high = u16_at(block, 2);
    for (s, out) in out.chunks_exact_mut(32).enumerate() {
        let low = (block[4 + s / 2] >> (4 * (s % 2))) & 15;
        let scale = i32::from(u16::from(low) | ((high >> (2 * s)) & 3) << 4) - 32;
        for (i, &byte) in block[8 + 16 * s..8 + 16 * (s + 1)].iter().enumerate() {
            out[i] = d * scale as f32 * f32::from(IQ4_VALUES[usize::from(byte & 15)]);
            out[i + 16] = d * scale as f32 * f32::from(IQ4_VALUES[usize::from(byte >> 4)]);
        }
    }
}

/// Half of the value of an E8M0 scale, so that the doubled quanta come out right.
pub fn e8m0_half(exponent: u8) -> f32 {
    match exponent {
        // 2^-128 and 2^-127 are subnormal.
        0 => f32::from_bits(0x0020_0000),
        1 => f32::from_bits(0x0040_0000),
        e => f32::from_bits(u32::from(e - 1) << 23),
    }
}

/// `E8M0 scale | 16 bytes E2M1`.
fn mxfp4(block: &[u8], out: &mut [f32]) {
    let d = e8m0_half(block[0]);
    for (i, &byte) in block[1..].iter().enumerate() {
        out[i] = d * f32::from(MXFP4_VALUES[usize::from(byte & 15)]);
        out[i + 16] = d * f32::from(MXFP4_VALUES[usize::from(byte >> 4)]);
    }
}
