//! From numbers to blocks: for each block the scale (and minimum) with the least squared error that a short
//! search finds. Larger weights count more: an error on them moves more of the result.
//!
//! Layouts are described beside their decoders. The idea of the search (try a few divisions of the range, fit
//! the scale to each by least squares, keep the best) is that of ggml's `k-quants`; it is written anew here.

use core::fmt;

use super::{IQ4_VALUES, Kind, MXFP4_VALUES, e8m0_half, f16_to_f32, f32_to_bf16, f32_to_f16};

/// Why a row was not quantised; what was written of it means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The row is no whole number of blocks, or the place for them has another size.
    Length,
    /// The element at this index is not finite, or beyond what a half can hold where scales are halves.
    Range(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the row is no whole number of blocks"),
            Self::Range(at) => write!(f, "element {at} of the row is beyond what the format can hold"),
        }
    }
}

impl core::error::Error for Error {}

/// The largest finite half.
const HALF_MAX: f32 = 65_504.0;

/// Turns a row of numbers into blocks. `out` has exactly the size of the row's blocks.
///
/// # Errors
/// [`Error::Length`], then [`Error::Range`]; F32 and BF16 hold every number.
pub fn quantise(kind: Kind, row: &[f32], out: &mut [u8]) -> Result<(), Error> {
    if kind.row_bytes(row.len()) != Some(out.len()) {
        return Err(Error::Length);
    }
    if !matches!(kind, Kind::F32 | Kind::Bf16)
        && let Some(at) = row.iter().position(|x| x.is_nan() || x.abs() > HALF_MAX)
    {
        return Err(Error::Range(at));
    }
    let encode: fn(&[f32], &mut [u8]) = match kind {
        Kind::F32 => |x, o| o.copy_from_slice(&x[0].to_le_bytes()),
        Kind::F16 => |x, o| o.copy_from_slice(&f32_to_f16(x[0]).to_le_bytes()),
        Kind::Bf16 => |x, o| o.copy_from_slice(&f32_to_bf16(x[0]).to_le_bytes()),
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
    for (row, out) in row.chunks_exact(kind.block_len()).zip(out.chunks_exact_mut(kind.block_bytes())) {
        out.fill(0);
        encode(row, out);
    }
    Ok(())
}

/// The nearest whole number in `low..=high`; 0 for what is no number.
fn nearest(x: f32, low: i32, high: i32) -> i32 {
    // 1.5 * 2^23: adding it pushes the fraction out of the mantissa, rounded.
    const SHIFT: f32 = 12_582_912.0;
    if x.is_nan() {
        return 0i32.clamp(low, high);
    }
    let shifted = x.clamp(low as f32, high as f32) + SHIFT;
    shifted.to_bits() as i32 - SHIFT.to_bits() as i32
}

/// `1 / x`, or 0: what is divided by nothing becomes nothing.
fn inverse(x: f32) -> f32 {
    let inverse = 1.0 / x;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Writes `x` as a half at byte `at` and answers what it became.
fn put_half(out: &mut [u8], at: usize, x: f32) -> f32 {
    let half = f32_to_f16(x);
    out[at..at + 2].copy_from_slice(&half.to_le_bytes());
    f16_to_f32(half)
}

/// How much the error of each element counts: its size, and the block's root mean square for all.
struct Weight(f32);

impl Weight {
    fn of(row: &[f32]) -> Self {
        Self(libm::sqrtf(row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32))
    }

    fn at(&self, x: f32) -> f32 {
        self.0 + x.abs()
    }
}

/// The element with the largest magnitude, with its sign.
fn peak(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |peak: f32, &x| if x.abs() > peak.abs() { x } else { peak })
}

/// The scale `d` for `x = d q` with `q` in `low..=-low-1`. The peak gets the side that has one value more.
fn symmetric(row: &[f32], low: i32) -> f32 {
    let (peak, weight) = (peak(row), Weight::of(row));
    let (mut best, mut best_score) = (0.0, 0.0);
    for step in -9..=9 {
        let by = (low as f32 + 0.1 * step as f32) * inverse(peak);
        let (mut xq, mut qq) = (0.0, 0.0);
        for &x in row {
            let q = nearest(x * by, low, -low - 1) as f32;
            xq += weight.at(x) * x * q;
            qq += weight.at(x) * q * q;
        }
        // The squared error with the best scale is `sum w x^2 - xq^2 / qq`.
        let score = xq * xq * inverse(qq);
        if score > best_score {
            (best, best_score) = (xq * inverse(qq), score);
        }
    }
    best
}

/// Scale and offset for `x = d q + m` with `q` in `0..=top`. Where `below`, `m` is not above zero, as the
/// formats need that store it negated.
fn affine(row: &[f32], top: i32, below: bool) -> (f32, f32) {
    let weight = Weight::of(row);
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let lowest = row.iter().copied().fold(f32::INFINITY, f32::min);
    let lowest = if below { lowest.min(0.0) } else { lowest };
    let range = highest - lowest;
    if range <= 0.0 {
        return (0.0, lowest);
    }
    let mut best = (range / top as f32, lowest);
    let mut best_error = f32::INFINITY;
    for step in -1..=20 {
        let by = if step < 0 { top as f32 } else { top as f32 - 1.0 + 0.1 * step as f32 } / range;
        let (mut w, mut wx, mut wq, mut wqq, mut wxq) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &x in row {
            let q = nearest((x - lowest) * by, 0, top) as f32;
            let one = weight.at(x);
            w += one;
            wx += one * x;
            wq += one * q;
            wqq += one * q * q;
            wxq += one * x * q;
        }
        let divisor = w * wqq - wq * wq;
        if divisor <= 0.0 {
            continue;
        }
        let mut d = (w * wxq - wx * wq) / divisor;
        let mut m = (wqq * wx - wq * wxq) / divisor;
        if below && m > 0.0 {
            (d, m) = (wxq * inverse(wqq), 0.0);
        }
        if !(d > 0.0 && d.is_finite() && m.abs() <= HALF_MAX) {
            continue;
        }
        let error: f32 = row
            .iter()
            .map(|&x| {
                let off = d * nearest((x - m) * inverse(d), 0, top) as f32 + m - x;
                weight.at(x) * off * off
            })
            .sum();
        if error < best_error {
            (best, best_error) = ((d, m), error);
        }
    }
    best
}

fn q8_0(row: &[f32], out: &mut [u8]) {
    // From the peak as it is: with 255 steps no search gains anything.
    let d = put_half(out, 0, peak(row).abs() / 127.0);
    let by = inverse(d);
    for (out, &x) in out[2..].iter_mut().zip(row) {
        *out = nearest(x * by, -127, 127) as i8 as u8;
    }
}

fn q4_0(row: &[f32], out: &mut [u8]) {
    let by = inverse(put_half(out, 0, symmetric(row, -8)));
    for (i, x) in row.iter().enumerate() {
        put_four(&mut out[2..], i, (nearest(x * by, -8, 7) + 8) as u8);
    }
}

fn q4_1(row: &[f32], out: &mut [u8]) {
    let (d, m) = affine(row, 15, false);
    let (by, m) = (inverse(put_half(out, 0, d)), put_half(out, 2, m));
    for (i, x) in row.iter().enumerate() {
        put_four(&mut out[4..], i, nearest((x - m) * by, 0, 15) as u8);
    }
}

fn q5_0(row: &[f32], out: &mut [u8]) {
    let by = inverse(put_half(out, 0, symmetric(row, -16)));
    for i in 0..32 {
        let q = (nearest(row[i] * by, -16, 15) + 16) as u8;
        out[2 + i / 8] |= (q >> 4) << (i % 8);
        put_four(&mut out[6..], i, q & 15);
    }
}

fn q5_1(row: &[f32], out: &mut [u8]) {
    let (d, m) = affine(row, 31, false);
    let (by, m) = (inverse(put_half(out, 0, d)), put_half(out, 2, m));
    for i in 0..32 {
        let q = nearest((row[i] - m) * by, 0, 31) as u8;
        out[4 + i / 8] |= (q >> 4) << (i % 8);
        put_four(&mut out[8..], i, q & 15);
    }
}

/// Quantum `i` of a block of 32.
fn put_four(bytes: &mut [u8], i: usize, four: u8) {
    bytes[i % 16] |= if i < 16 { four } else { four << 4 };
}

/// What the blocks of 256 with minimums have in common: `N` runs, each with a scale and a minimum of
/// `0..=steps` times the block's, whose halves are written at `at` and `at + 2`. Answers the runs' steps.
fn runs<const N: usize>(row: &[f32], top: i32, steps: i32, out: &mut [u8], at: usize) -> ([u8; N], [u8; N]) {
    let len = row.len() / N;
    let fits: [(f32, f32); N] = core::array::from_fn(|run| affine(&row[run * len..][..len], top, true));
    let widest = fits.iter().fold(0.0, |most: f32, fit| most.max(fit.0));
    let deepest = fits.iter().fold(0.0, |most: f32, fit| most.max(-fit.1));
    let by_d = inverse(put_half(out, at, widest / steps as f32));
    let by_m = inverse(put_half(out, at + 2, deepest / steps as f32));
    (fits.map(|fit| nearest(fit.0 * by_d, 0, steps) as u8), fits.map(|fit| nearest(-fit.1 * by_m, 0, steps) as u8))
}

/// The halves that [`runs`] wrote.
fn halves(out: &[u8], at: usize) -> (f32, f32) {
    let one = |at: usize| f16_to_f32(u16::from_le_bytes([out[at], out[at + 1]]));
    (one(at), one(at + 2))
}

fn q2_k(row: &[f32], out: &mut [u8]) {
    let (scales, minimums) = runs::<16>(row, 3, 15, out, 80);
    let (d, m) = halves(out, 80);
    for i in 0..256 {
        let (scale, minimum) = (scales[i / 16], minimums[i / 16]);
        out[i / 16] = scale | minimum << 4;
        let q = nearest((row[i] + m * f32::from(minimum)) * inverse(d * f32::from(scale)), 0, 3) as u8;
        out[16 + 32 * (i / 128) + i % 32] |= q << (2 * (i / 32 % 4));
    }
}

/// Scales and minimums of six bits in twelve bytes; the decoder is [`super::k_scale`].
fn put_k_scales(out: &mut [u8], scales: [u8; 8], minimums: [u8; 8]) {
    for s in 0..4 {
        out[s] = scales[s] | (scales[s + 4] >> 4) << 6;
        out[s + 4] = minimums[s] | (minimums[s + 4] >> 4) << 6;
        out[s + 8] = scales[s + 4] & 15 | (minimums[s + 4] & 15) << 4;
    }
}

/// Quanta of Q4_K and Q5_K, each given to `put` with its index; scales and minimums are written.
fn k_quanta(row: &[f32], top: i32, out: &mut [u8], put: fn(&mut [u8], usize, u8)) {
    let (scales, minimums) = runs::<8>(row, top, 63, out, 0);
    let (d, m) = halves(out, 0);
    put_k_scales(&mut out[4..16], scales, minimums);
    for (i, &x) in row.iter().enumerate() {
        let (d, m) = (d * f32::from(scales[i / 32]), m * f32::from(minimums[i / 32]));
        put(out, i, nearest((x + m) * inverse(d), 0, top) as u8);
    }
}

fn q4_k(row: &[f32], out: &mut [u8]) {
    k_quanta(row, 15, out, |out, i, q| {
        out[16 + 32 * (i / 64) + i % 32] |= if i % 64 < 32 { q } else { q << 4 };
    });
}

fn q5_k(row: &[f32], out: &mut [u8]) {
    k_quanta(row, 31, out, |out, i, q| {
        out[48 + 32 * (i / 64) + i % 32] |= if i % 64 < 32 { q & 15 } else { (q & 15) << 4 };
        out[16 + i % 32] |= (q >> 4) << (i / 32);
    });
}

/// The scales of `N` runs as whole steps `low..=-low-1` of one for the block, which comes first.
fn signed_runs<const N: usize>(row: &[f32], fit: impl Fn(&[f32]) -> f32, low: i32) -> (f32, [f32; N]) {
    let len = row.len() / N;
    let scales: [f32; N] = core::array::from_fn(|run| fit(&row[run * len..][..len]));
    (peak(&scales) / low as f32, scales)
}

fn q3_k(row: &[f32], out: &mut [u8]) {
    let (d, scales) = signed_runs::<16>(row, |run| symmetric(run, -4), -32);
    let d = put_half(out, 108, d);
    let steps = scales.map(|scale| nearest(scale * inverse(d), -32, 31));
    for (s, step) in steps.iter().enumerate() {
        let six = (step + 32) as u8;
        out[96 + s % 8] |= if s < 8 { six & 15 } else { (six & 15) << 4 };
        out[104 + s % 4] |= (six >> 4) << (2 * (s / 4));
    }
    for i in 0..256 {
        let q = (nearest(row[i] * inverse(d * steps[i / 16] as f32), -4, 3) + 4) as u8;
        out[32 + 32 * (i / 128) + i % 32] |= (q & 3) << (2 * (i / 32 % 4));
        out[i % 32] |= (q >> 2) << (i / 32);
    }
}

fn q6_k(row: &[f32], out: &mut [u8]) {
    let (d, scales) = signed_runs::<16>(row, |run| symmetric(run, -32), -128);
    let d = put_half(out, 208, d);
    let steps = scales.map(|scale| nearest(scale * inverse(d), -128, 127));
    for (s, &step) in steps.iter().enumerate() {
        out[192 + s] = step as i8 as u8;
    }
    for i in 0..256 {
        let q = (nearest(row[i] * inverse(d * steps[i / 16] as f32), -32, 31) + 32) as u8;
        let (a, b, c) = (i / 128, i / 32 % 4, i % 32);
        out[64 * a + 32 * (b % 2) + c] |= if b < 2 { q & 15 } else { (q & 15) << 4 };
        out[128 + 32 * a + c] |= (q >> 4) << (2 * b);
    }
}

/// The index of the value of [`IQ4_VALUES`] that is nearest to `x`.
fn nearest_iq4(x: f32) -> usize {
    let above = IQ4_VALUES.partition_point(|&value| f32::from(value) < x);
    match above {
        0 => 0,
        16 => 15,
        i if x - f32::from(IQ4_VALUES[i - 1]) <= f32::from(IQ4_VALUES[i]) - x => i - 1,
        i => i,
    }
}

/// The scale for `x = d IQ4_VALUES[q]`.
fn iq4_scale(row: &[f32]) -> f32 {
    let (peak, weight) = (peak(row), Weight::of(row));
    let (mut best, mut best_score) = (0.0, 0.0);
    for step in -7..=7 {
        for side in [f32::from(IQ4_VALUES[0]), f32::from(IQ4_VALUES[15])] {
            let by = (side + 2.0 * step as f32) * inverse(peak);
            let (mut xq, mut qq) = (0.0, 0.0);
            for &x in row {
                let q = f32::from(IQ4_VALUES[nearest_iq4(x * by)]);
                xq += weight.at(x) * x * q;
                qq += weight.at(x) * q * q;
            }
            let score = xq * xq * inverse(qq);
            if score > best_score {
                (best, best_score) = (xq * inverse(qq), score);
            }
        }
    }
    best
}

fn iq4_nl(row: &[f32], out: &mut [u8]) {
    let by = inverse(put_half(out, 0, iq4_scale(row)));
    for (i, x) in row.iter().enumerate() {
        put_four(&mut out[2..], i, nearest_iq4(x * by) as u8);
    }
}

fn iq4_xs(row: &[f32], out: &mut [u8]) {
    let (d, scales) = signed_runs::<8>(row, iq4_scale, -32);
    let d = put_half(out, 0, d);
    for (s, scale) in scales.into_iter().enumerate() {
        let step = nearest(scale * inverse(d), -32, 31);
        let six = (step + 32) as u8;
        out[4 + s / 2] |= (six & 15) << (4 * (s % 2));
        out[2 + s / 4] |= (six >> 4) << (2 * (s % 4));
        let by = inverse(d * step as f32);
        for i in 0..32 {
            put_four(&mut out[8 + 16 * s..], i, nearest_iq4(row[32 * s + i] * by) as u8);
        }
    }
}

fn mxfp4(row: &[f32], out: &mut [u8]) {
    // The largest value is 6 times the scale: the exponent that just holds the peak, or the one below it.
    let exponent = (peak(row).abs().to_bits() >> 23) as i32 - 2;
    let error = |exponent: u8| -> f32 {
        let d = e8m0_half(exponent);
        row.iter().map(|&x| (d * f32::from(MXFP4_VALUES[nearest_mxfp4(x / d)]) - x).abs()).map(|e| e * e).sum()
    };
    let candidates = [exponent, exponent + 1].map(|e| e.clamp(0, 254) as u8);
    let best = if error(candidates[0]) <= error(candidates[1]) { candidates[0] } else { candidates[1] };
    out[0] = best;
    for (i, x) in row.iter().enumerate() {
        put_four(&mut out[1..], i, nearest_mxfp4(x / e8m0_half(best)) as u8);
    }
}

/// The index of the value of [`MXFP4_VALUES`] that is nearest to `x`.
fn nearest_mxfp4(x: f32) -> usize {
    let size = x.abs();
    let mut index = 0;
    for (i, &value) in MXFP4_VALUES[..8].iter().enumerate() {
        if (f32::from(value) - size).abs() < (f32::from(MXFP4_VALUES[index]) - size).abs() {
            index = i;
        }
    }
    if x < 0.0 { index + 8 } else { index }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::{super::dequantise, *};

    /// Sums of uniform numbers, near enough to the bell curve of real weights.
    fn bell(len: usize) -> Vec<f32> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..len).map(|_| 0.02 * (0..6).map(|_| next()).sum::<f32>()).collect()
    }

    /// Root mean square of the error, relative to that of the row.
    fn loss(kind: Kind, row: &[f32]) -> f32 {
        let mut blocks = vec![0; kind.row_bytes(row.len()).unwrap()];
        quantise(kind, row, &mut blocks).unwrap();
        let mut back = vec![0.0; row.len()];
        dequantise(kind, &blocks, &mut back);
        let error: f32 = row.iter().zip(&back).map(|(a, b)| (a - b) * (a - b)).sum();
        libm::sqrtf(error / row.iter().map(|x| x * x).sum::<f32>())
    }

    #[test]
    fn each_format_loses_no_more_than_its_bits_must() {
        let row = bell(256 * 64);
        for (kind, most) in [
            (Kind::F32, 0.0),
            (Kind::F16, 0.0003),
            (Kind::Bf16, 0.002),
            (Kind::Q8_0, 0.006),
            (Kind::Q6K, 0.019),
            (Kind::Q5K, 0.037),
            (Kind::Q5_1, 0.037),
            (Kind::Q5_0, 0.044),
            (Kind::Q4K, 0.075),
            (Kind::Q4_1, 0.075),
            (Kind::Iq4Nl, 0.078),
            (Kind::Iq4Xs, 0.080),
            (Kind::Q4_0, 0.086),
            (Kind::Mxfp4, 0.125),
            (Kind::Q3K, 0.160),
            (Kind::Q2K, 0.300),
        ] {
            let loss = loss(kind, &row);
            assert!(loss <= most, "{kind}: {loss} of {most}");
        }
    }

    #[test]
    fn what_is_all_zero_or_all_equal_or_tiny_or_huge_stays_near_it() {
        for value in [0.0, 1.0, -1.0, 1e-30, 6.0e4, -6.0e4] {
            for kind in Kind::ALL {
                let row = [value; 256];
                let mut blocks = vec![0; kind.row_bytes(256).unwrap()];
                quantise(kind, &row, &mut blocks).unwrap();
                let mut back = [9.0; 256];
                dequantise(kind, &blocks, &mut back);
                for x in back {
                    assert!((x - value).abs() <= 0.17 * value.abs() + 1e-20, "{kind}: {value} became {x}");
                }
            }
        }
    }

    #[test]
    fn a_row_that_cannot_be_held_is_refused() {
        let mut out = [0; 34];
        assert_eq!(quantise(Kind::Q8_0, &[0.0; 31], &mut out), Err(Error::Length));
        let mut row = [0.0; 32];
        row[7] = f32::NAN;
        assert_eq!(quantise(Kind::Q8_0, &row, &mut out), Err(Error::Range(7)));
        row[7] = 1e6;
        assert_eq!(quantise(Kind::Q8_0, &row, &mut out), Err(Error::Range(7)));
    }
}
