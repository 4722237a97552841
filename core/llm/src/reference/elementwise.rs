//! Functions of one number, and norms.

use libm::{erff, expf, sqrtf, tanhf};

use crate::plan::{Function, NormKind};

/// `f(x)`; `up` matters to [`Function::SwigluClamped`] alone, which exists only as a gate.
pub fn apply(function: Function, x: f32, up: f32) -> f32 {
    match function {
        Function::Silu => x / (1.0 + expf(-x)),
        Function::Gelu => 0.5 * x * (1.0 + erff(x * core::f32::consts::FRAC_1_SQRT_2)),
        Function::GeluTanh => {
            // Hendrycks & Gimpel 2016: sqrt(2/pi) and 0.044715.
            let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + tanhf(inner))
        }
        Function::Relu => x.max(0.0),
        Function::SwigluClamped { alpha, limit } => {
            let x = x.min(limit);
            let up = up.clamp(-limit, limit);
            x / (1.0 + expf(-alpha * x)) * (up + 1.0)
        }
    }
}

/// `f(gate) * up`.
pub(super) fn gated(function: Function, gate: f32, up: f32) -> f32 {
    match function {
        Function::SwigluClamped { .. } => apply(function, gate, up),
        plain => apply(plain, gate, 0.0) * up,
    }
}

/// Norms one group in place.
pub(super) fn norm(kind: NormKind, epsilon: f32, weight: Option<&[f32]>, bias: Option<&[f32]>, x: &mut [f32]) {
    let count = x.len() as f32;
    if kind == NormKind::Layer {
        let mean = x.iter().sum::<f32>() / count;
        x.iter_mut().for_each(|x| *x -= mean);
    }
    let square = x.iter().map(|x| x * x).sum::<f32>() / count;
    let scale = 1.0 / sqrtf(square + epsilon);
    for (i, x) in x.iter_mut().enumerate() {
        *x = *x * scale * weight.map_or(1.0, |w| w[i]) + bias.map_or(0.0, |b| b[i]);
    }
}
