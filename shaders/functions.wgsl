// Functions of one number, by the names that F may be. Not a kernel.
// Oracle: reference::apply.

const SILU: u32 = 0u;
const GELU: u32 = 1u;
const GELU_TANH: u32 = 2u;
const RELU: u32 = 3u;
const SWIGLU_CLAMPED: u32 = 4u;
const ADD: u32 = 5u;
const SCALE: u32 = 6u;
const SOFTCAP: u32 = 7u;

// Drivers may overflow inside of exp and tanh.
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(clamp(-x, -80.0, 80.0))); }
fn tanh_of(x: f32) -> f32 { return tanh(clamp(x, -15.0, 15.0)); }

// The normal distribution: Abramowitz & Stegun 7.1.26, off by at most 1.5e-7.
fn phi(x: f32) -> f32 {
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let tail = 0.5 * series * exp(-min(z * z, 80.0));
    return select(tail, 1.0 - tail, x >= 0.0);
}

// F of x; `y` matters to SWIGLU_CLAMPED alone.
fn apply(x: f32, y: f32, a: f32, b: f32) -> f32 {
    switch F {
        case SILU: { return x * sigmoid(x); }
        case GELU: { return x * phi(x); }
        case GELU_TANH: { return 0.5 * x * (1.0 + tanh_of(0.7978846 * (x + 0.044715 * x * x * x))); }
        case RELU: { return max(x, 0.0); }
        case SWIGLU_CLAMPED: {
            let gate = min(x, b);
            return gate * sigmoid(a * gate) * (clamp(y, -b, b) + 1.0);
        }
        case SOFTCAP: { return a * tanh_of(x / a); }
        default: { return a * x; }
    }
}

// F of the gate, times what it lets through.
fn gated(gate: f32, up: f32, a: f32, b: f32) -> f32 {
    let value = apply(gate, up, a, b);
    if (F == SWIGLU_CLAMPED) { return value; }
    return value * up;
}
