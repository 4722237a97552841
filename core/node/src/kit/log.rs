//! Logarithms without floats: the same bits on every machine.

/// How many parts a whole has in a fixed-point logarithm: the point stands before 32 bits.
pub const ONE: i64 = 1 << 32;

/// ln 2, in parts of [`ONE`].
const LN2: i64 = 2_977_044_472;

/// The binary logarithm of `x`, in parts of [`ONE`]; that of 0 counts as that of 1.
///
/// Its whole part is where the highest bit stands; each bit after the point says whether the square of what is left
/// reaches two. Off by less than 2⁻³⁰.
///
/// Source: J. Majithia, D. Levan, "A Note on Base-2 Logarithm Computations" (1973).
pub const fn log2(x: u64) -> i64 {
    if x == 0 {
        return 0;
    }
    let whole = 63 - x.leading_zeros();
    // From 1 up to, not including, 2, with 63 bits after the point.
    let mut left = x << x.leading_zeros();
    let (mut part, mut bit) = (0, ONE / 2);
    while bit > 0 {
        let square = (left as u128 * left as u128) >> 63;
        if square >> 64 != 0 {
            part += bit;
            left = (square >> 1) as u64;
        } else {
            left = square as u64;
        }
        bit /= 2;
    }
    whole as i64 * ONE + part
}

/// The natural logarithm of `x`, in parts of [`ONE`]; that of 0 counts as that of 1.
pub const fn ln(x: u64) -> i64 {
    ((log2(x) as i128 * LN2 as i128) >> 32) as i64
}

/// The natural logarithm of `a / b`, in parts of [`ONE`]; a nothing on either side counts as a one.
pub const fn ln_ratio(a: u64, b: u64) -> i64 {
    ln(a) - ln(b)
}

/// Two to the power of minus `x` parts of [`ONE`], in parts of 2⁶²; 0 when that is less than one part.
///
/// A table of 2^(-2^-k), one factor for each bit of `x`. Off by less than 2⁻⁵⁵ of a whole.
pub const fn exp2_minus(x: u64) -> u64 {
    let whole = x >> 32;
    if whole > 62 {
        return 0;
    }
    let mut left = 1_u128 << 62;
    let mut at = 0;
    while at < 32 {
        if x & (1 << (31 - at)) != 0 {
            left = (left * ROOTS[at] as u128) >> 62;
        }
        at += 1;
    }
    (left >> whole) as u64
}

/// 2^(-1/2), 2^(-1/4), 2^(-1/8) and so on, in parts of 2⁶²: each is the square root of the one before.
const ROOTS: [u64; 32] = {
    let mut roots = [0; 32];
    // Half, whose root is the first; √(y·2⁶²) is the root of y in the same parts.
    let mut y = 1_u64 << 61;
    let mut at = 0;
    while at < 32 {
        y = ((y as u128) << 62).isqrt() as u64;
        roots[at] = y;
        at += 1;
    }
    roots
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Rng;

    fn real(parts: i64) -> f64 {
        parts as f64 / ONE as f64
    }

    #[test]
    fn agrees_with_floats() {
        let mut rng = Rng::new(7);
        for n in 1..20_000_u64 {
            let x = if n < 10_000 { n } else { (rng.next() >> rng.below(64)) | 1 };
            assert!((real(log2(x)) - (x as f64).log2()).abs() < 2e-9, "{x}");
            assert!((real(ln(x)) - (x as f64).ln()).abs() < 1e-8, "{x}");
        }
        assert_eq!((log2(0), log2(1), log2(8), log2(1 << 63)), (0, 0, 3 * ONE, 63 * ONE));
        assert!((real(ln_ratio(3, 7)) - (3.0_f64 / 7.0).ln()).abs() < 1e-8);
    }

    #[test]
    fn powers_agree_with_floats() {
        let mut rng = Rng::new(8);
        for _ in 0..20_000 {
            let x = rng.next() >> (24 + rng.below(30));
            let (ours, theirs) = (exp2_minus(x) as f64 / 2f64.powi(62), 2f64.powf(-(x as f64) / 2f64.powi(32)));
            assert!((ours - theirs).abs() < 1e-14, "{x}: {ours} {theirs}");
        }
        assert_eq!((exp2_minus(0), exp2_minus(1 << 32), exp2_minus(70 << 32)), (1 << 62, 1 << 61, 0));
    }
}
