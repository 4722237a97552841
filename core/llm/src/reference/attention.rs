//! Scaled dot-product attention, with a cache and without.

use alloc::{vec, vec::Vec};

use libm::{expf, tanhf};

use super::{Rows, linear::dot};
use crate::{
    backend::{Batch, PAGE, Token},
    plan::Attention,
};

pub(super) fn attend(
    attention: &Attention,
    sinks: Option<&[f32]>,
    caches: &mut [Rows],
    batch: &Batch<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
) -> Vec<f32> {
    let (key, value) = (attention.kv_heads * attention.key, attention.kv_heads * attention.value);
    if let Some(cache) = attention.cache {
        let rows = &mut caches[cache];
        for (i, token) in batch.tokens.iter().enumerate() {
            let at = cell(batch, token.sequence, token.position as usize);
            rows.keys[at * key..][..key].copy_from_slice(&k[i * key..][..key]);
            rows.values[at * value..][..value].copy_from_slice(&v[i * value..][..value]);
        }
    }
    let mut out = Vec::with_capacity(batch.tokens.len() * attention.heads * attention.value);
    for (i, token) in batch.tokens.iter().enumerate() {
        let (keys, values, seen): (&[f32], &[f32], Vec<usize>) = match attention.cache {
            Some(cache) => (&caches[cache].keys, &caches[cache].values, visible(attention, batch, token)),
            None => {
                let same = |(_, other): &(usize, &Token)| other.sequence == token.sequence;
                (k, v, batch.tokens.iter().enumerate().filter(same).map(|(j, _)| j).collect())
            }
        };
        for head in 0..attention.heads {
            let kv = head / (attention.heads / attention.kv_heads);
            let q = &q[(i * attention.heads + head) * attention.key..][..attention.key];
            let mut scores: Vec<f32> = seen
                .iter()
                .map(|&at| {
                    let score = dot(q, &keys[at * key + kv * attention.key..][..attention.key]) * attention.scale;
                    attention.softcap.map_or(score, |cap| cap * tanhf(score / cap))
                })
                .collect();
            softmax(&mut scores, sinks.map(|sinks| sinks[head]));
            let mut mixed = vec![0.0; attention.value];
            for (&at, share) in seen.iter().zip(scores) {
                let value = &values[at * value + kv * attention.value..][..attention.value];
                mixed.iter_mut().zip(value).for_each(|(sum, v)| *sum += share * v);
            }
            out.extend(mixed);
        }
    }
    out
}

/// The cells of the positions that a token sees.
fn visible(attention: &Attention, batch: &Batch<'_>, token: &Token) -> Vec<usize> {
    let last = token.position as usize;
    let first = attention.window.map_or(0, |window| (last + 1).saturating_sub(window as usize));
    (first..=last).map(|position| cell(batch, token.sequence, position)).collect()
}

fn cell(batch: &Batch<'_>, sequence: u32, position: usize) -> usize {
    batch.tables[sequence as usize][position / PAGE] as usize * PAGE + position % PAGE
}

/// In place; `sink` takes its share and keeps it to itself.
fn softmax(scores: &mut [f32], sink: Option<f32>) {
    let top = scores.iter().copied().chain(sink).fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = expf(*score - top));
    let sum = scores.iter().sum::<f32>() + sink.map_or(0.0, |sink| expf(sink - top));
    scores.iter_mut().for_each(|score| *score /= sum);
}
