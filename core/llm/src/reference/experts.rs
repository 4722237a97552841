//! A mixture of experts.

use alloc::{vec, vec::Vec};

use libm::expf;

use super::{decode_row, elementwise::gated, linear::multiply};
use crate::{
    plan::{Experts, Gating},
    weights::{TensorId, Weights},
};

/// What the chosen experts say of each row of `x`, weighted and added up.
pub(super) fn mix(weights: &Weights, experts: &Experts, width: usize, x: &[f32]) -> Vec<f32> {
    let bias = experts.router_bias.map(|id| decode_row(weights, id, 0));
    let scores = multiply(weights, experts.router, 0, bias.as_deref(), x);
    let count = weights.tensor(experts.router).dims[1];
    let wide = weights.tensor(experts.down).dims[1];
    let mut out = vec![0.0; x.len() / width * wide];
    for (i, x) in x.chunks_exact(width).enumerate() {
        for (expert, share) in choose(experts, &scores[i * count..][..count]) {
            let answer = ask(weights, experts, expert, x);
            out[i * wide..][..wide].iter_mut().zip(answer).for_each(|(sum, y)| *sum += share * y);
        }
    }
    out
}

/// The experts for one token with their weights, best first; of equals the first.
pub fn choose(experts: &Experts, scores: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(experts.used);
    let top = scores[order[0]];
    let all: f32 = scores.iter().map(|score| expf(score - top)).sum();
    let taken: f32 = order.iter().map(|&i| expf(scores[i] - top)).sum();
    let sum = match experts.gating {
        Gating::SoftmaxThenTop { renormalise: false } => all,
        Gating::SoftmaxThenTop { renormalise: true } | Gating::TopThenSoftmax => taken,
    };
    order.into_iter().map(|i| (i, expf(scores[i] - top) / sum * experts.scale)).collect()
}

fn ask(weights: &Weights, experts: &Experts, expert: usize, x: &[f32]) -> Vec<f32> {
    let bias = |id: Option<TensorId>| id.map(|id| decode_row(weights, id, expert));
    let gate = multiply(weights, experts.gate, expert, bias(experts.gate_bias).as_deref(), x);
    let up = multiply(weights, experts.up, expert, bias(experts.up_bias).as_deref(), x);
    let hidden: Vec<f32> = gate.iter().zip(up).map(|(&gate, up)| gated(experts.function, gate, up)).collect();
    multiply(weights, experts.down, expert, bias(experts.down_bias).as_deref(), &hidden)
}
