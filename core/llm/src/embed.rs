//! From the hidden states of a text's tokens to one vector.

use alloc::{vec, vec::Vec};

use libm::sqrtf;

use crate::arch::Pooling;

/// Pools rows of `width` numbers, one for each token, and makes the result one long.
///
/// The vector of no token, and of states that are all zero, is all zero.
pub fn pool(pooling: Pooling, states: &[f32], width: usize) -> Vec<f32> {
    let mut rows = states.chunks_exact(width);
    let mut vector = match pooling {
        Pooling::First => rows.next().map(<[f32]>::to_vec),
        Pooling::Last => rows.next_back().map(<[f32]>::to_vec),
        // The length is made one below, so the sum serves for the mean.
        Pooling::Mean => rows.map(<[f32]>::to_vec).reduce(|mut sum, row| {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            sum
        }),
    }
    .unwrap_or_else(|| vec![0.0; width]);
    make_one_long(&mut vector);
    vector
}

/// The first `dimensions` numbers of a vector, made one long again: models that were trained for it (Kusupati et al.
/// 2022, Matryoshka representations) put what matters most there.
pub fn shortened(mut vector: Vec<f32>, dimensions: usize) -> Vec<f32> {
    vector.truncate(dimensions);
    make_one_long(&mut vector);
    vector
}

fn make_one_long(vector: &mut [f32]) {
    let length = sqrtf(vector.iter().map(|x| x * x).sum());
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_one_long() {
        let states = [3.0, 0.0, 0.0, 4.0];
        assert_eq!(pool(Pooling::First, &states, 2), [1.0, 0.0]);
        assert_eq!(pool(Pooling::Last, &states, 2), [0.0, 1.0]);
        assert_eq!(pool(Pooling::Mean, &states, 2), [0.6, 0.8]);
        assert_eq!(pool(Pooling::Mean, &[], 2), [0.0, 0.0]);
        assert_eq!(shortened(vec![0.0, 0.6, 0.8], 2), [0.0, 1.0]);
        assert_eq!(shortened(vec![0.6, 0.8], 5), [0.6, 0.8]);
    }
}
