//! Matrix times vectors.

use alloc::{vec, vec::Vec};

use crate::{
    quant::dequantise,
    weights::{TensorId, Weights},
};

/// `W x + bias` for each row of `x`; W is matrix number `matrix` of the tensor.
/// Each weight row is decoded once and used for all.
pub(super) fn multiply(weights: &Weights, id: TensorId, matrix: usize, bias: Option<&[f32]>, x: &[f32]) -> Vec<f32> {
    let tensor = weights.tensor(id);
    let [width, rows, _] = tensor.dims;
    let bytes = tensor.row_bytes();
    let data = &weights.data(id)[matrix * rows * bytes..][..rows * bytes];
    let count = x.len() / width;
    let mut out = vec![0.0; count * rows];
    let mut row = vec![0.0; width];
    for (r, blocks) in data.chunks_exact(bytes).enumerate() {
        dequantise(tensor.kind, blocks, &mut row);
        let bias = bias.map_or(0.0, |bias| bias[r]);
        for (i, x) in x.chunks_exact(width).enumerate() {
            out[i * rows + r] = dot(&row, x) + bias;
        }
    }
    out
}

/// Sum of products, in 16 partial sums so that the compiler may use wide registers; they are added in a
/// fixed order.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a_head, a_tail) = a.as_chunks::<16>();
    let (b_head, b_tail) = b.as_chunks::<16>();
    for (a, b) in a_head.iter().zip(b_head) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + tail
}
