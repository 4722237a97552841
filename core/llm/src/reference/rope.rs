//! Rotary position embedding.

use libm::{cosf, powf, sinf};

use crate::plan::{Pairs, Rope};

/// Cosine and sine of each pair at `position`, both times the magnitude.
pub fn angles(rope: &Rope, factors: Option<&[f32]>, position: u32) -> impl Iterator<Item = (f32, f32)> {
    let step = powf(rope.base, -2.0 / rope.dims as f32);
    let mut extrapolated = position as f32;
    (0..rope.dims / 2).map(move |i| {
        let plain = extrapolated / factors.map_or(1.0, |f| f[i]);
        extrapolated *= step;
        let interpolated = rope.scale * plain;
        let angle = match rope.yarn {
            None => interpolated,
            Some(yarn) => {
                let ramp = ((i as f32 - yarn.low) / (yarn.high - yarn.low).max(0.001)).clamp(0.0, 1.0);
                let share = (1.0 - ramp) * yarn.factor;
                interpolated * (1.0 - share) + plain * share
            }
        };
        (cosf(angle) * rope.magnitude, sinf(angle) * rope.magnitude)
    })
}

/// Turns the pairs of one head.
pub(super) fn turn(rope: &Rope, angles: &[(f32, f32)], head: &mut [f32]) {
    for (i, &(cos, sin)) in angles.iter().enumerate() {
        let (a, b) = match rope.pairs {
            Pairs::Adjacent => (2 * i, 2 * i + 1),
            Pairs::Halves => (i, i + rope.dims / 2),
        };
        let (x, y) = (head[a], head[b]);
        head[a] = x * cos - y * sin;
        head[b] = x * sin + y * cos;
    }
}
