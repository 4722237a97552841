//! Attention in one pass over the pages of a cache: no matrix of scores, a running maximum and sum instead.
//!
//! A page of a layer holds, for each head, the keys turned (for each element of the key 32 positions side by side,
//! so that sixteen scores are computed at once without a sum across lanes) and the values as they are.
//! Both are halves, or eight bits with a scale for each 32.
//!
//! Source: Milakov & Gimelshein 2018 (online softmax); Dao et al. 2022 (FlashAttention), algorithm 1.

use core::ops::Range;

use tutu_llm::{
    backend::PAGE,
    plan,
    quant::{f16_to_f32, f32_to_f16},
};

use crate::{
    lanes::{Lanes, Task},
    options::KvKind,
};

/// Elements that share a scale where keys and values are kept in eight bits (ggml's Q8_0).
const BLOCK: usize = 32;

/// Keys and values of one layer.
#[derive(Clone, Debug)]
pub struct Cache {
    heads: usize,
    key: usize,
    value: usize,
    kept: Kept,
}

/// For each page and head: keys `[key][PAGE]`, values `[PAGE][value]`; in eight bits also scales, as halves,
/// `[key / 32][PAGE]` and `[PAGE][value / 32]`. Whole vectors are read at the end of a row of values, so those lists are
/// 16 longer.
#[derive(Clone, Debug)]
enum Kept {
    Halves { keys: Vec<u16>, values: Vec<u16> },
    Bytes { keys: Vec<i8>, values: Vec<i8>, key_scales: Vec<u16>, value_scales: Vec<u16> },
}

impl Cache {
    /// Room for `pages` pages; the system gives the memory when it is written to.
    pub fn new(shape: &plan::Cache, kind: KvKind, pages: usize) -> Self {
        let rows = pages * PAGE * shape.heads;
        let kept = match kind {
            KvKind::F16 => Kept::Halves { keys: vec![0; rows * shape.key], values: vec![0; rows * shape.value + 16] },
            KvKind::Q8_0 => Kept::Bytes {
                keys: vec![0; rows * shape.key],
                values: vec![0; rows * shape.value + 16],
                key_scales: vec![0; rows * shape.key.div_ceil(BLOCK)],
                value_scales: vec![0; rows * shape.value.div_ceil(BLOCK)],
            },
        };
        Self { heads: shape.heads, key: shape.key, value: shape.value, kept }
    }

    /// Puts the key and the value of one position down, all heads.
    pub fn write<L: Lanes>(&mut self, l: L, page: usize, position: usize, key: &[f32], value: &[f32]) {
        l.run(Write { cache: self, page, at: position % PAGE, key, value });
    }
}

/// See [`Cache::write`].
struct Write<'a> {
    cache: &'a mut Cache,
    page: usize,
    at: usize,
    key: &'a [f32],
    value: &'a [f32],
}

impl Task for Write<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        let Self { cache, page, at, key, value } = self;
        let Cache { heads, key: key_len, value: value_len, kept } = cache;
        let (key_len, value_len) = (*key_len, *value_len);
        for head in 0..*heads {
            let slot = page * *heads + head;
            let (key, value) = (&key[head * key_len..][..key_len], &value[head * value_len..][..value_len]);
            match kept {
                Kept::Halves { keys, values } => {
                    let keys = &mut keys[slot * key_len * PAGE..][..key_len * PAGE];
                    for (i, part) in key.chunks(16).enumerate() {
                        let halves = l.to_halves(l.get(&padded(part)));
                        for (j, half) in halves[..part.len()].iter().enumerate() {
                            keys[(i * 16 + j) * PAGE + at] = *half;
                        }
                    }
                    let values = &mut values[(slot * PAGE + at) * value_len..][..value_len];
                    for (out, part) in values.chunks_mut(16).zip(value.chunks(16)) {
                        out.copy_from_slice(&l.to_halves(l.get(&padded(part)))[..part.len()]);
                    }
                }
                Kept::Bytes { keys, values, key_scales, value_scales } => {
                    let (key_blocks, value_blocks) = (key_len.div_ceil(BLOCK), value_len.div_ceil(BLOCK));
                    for (b, part) in key.chunks(BLOCK).enumerate() {
                        let (scale, bytes) = quantise(part);
                        key_scales[(slot * key_blocks + b) * PAGE + at] = scale;
                        for (j, byte) in bytes[..part.len()].iter().enumerate() {
                            keys[(slot * key_len + b * BLOCK + j) * PAGE + at] = *byte;
                        }
                    }
                    for (b, part) in value.chunks(BLOCK).enumerate() {
                        let (scale, bytes) = quantise(part);
                        value_scales[(slot * PAGE + at) * value_blocks + b] = scale;
                        values[(slot * PAGE + at) * value_len + b * BLOCK..][..part.len()]
                            .copy_from_slice(&bytes[..part.len()]);
                    }
                }
            }
        }
    }
}

fn padded(part: &[f32]) -> [f32; 16] {
    let mut all = [0.0; 16];
    all[..part.len()].copy_from_slice(part);
    all
}

/// A scale, as a half, and whole numbers from -127 to 127.
fn quantise(part: &[f32]) -> (u16, [i8; BLOCK]) {
    let largest = part.iter().fold(0.0f32, |a, x| a.max(x.abs()));
    let scale = f32_to_f16(largest / 127.0);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut bytes = [0; BLOCK];
    bytes.iter_mut().zip(part).for_each(|(byte, x)| *byte = (x * inverse).round_ties_even() as i8);
    (scale, bytes)
}

/// One query head of one token.
pub struct Attend<'a> {
    /// What to compute.
    pub attention: &'a plan::Attention,
    /// The layer's keys and values.
    pub cache: &'a Cache,
    /// Which head of them.
    pub kv_head: usize,
    /// The pages of the sequence.
    pub table: &'a [u32],
    /// The token's position.
    pub position: usize,
    /// The query.
    pub q: &'a [f32],
    /// The logit that takes part and has no value.
    pub sink: Option<f32>,
    /// Where the mixed value goes.
    pub out: &'a mut [f32],
    /// At least as many numbers as a value has, rounded up to 16.
    pub scratch: &'a mut Vec<f32>,
}

impl Task for Attend<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        let Self { attention, cache, table, position, q, out, scratch, .. } = self;
        let first = attention.window.map_or(0, |window| (position + 1).saturating_sub(window as usize));
        let vectors = attention.value.div_ceil(16);
        scratch.clear();
        scratch.resize(vectors * 16, 0.0);
        // A sink begins the softmax with a weight and no value.
        let (mut top, mut total) =
            (self.sink.unwrap_or(f32::NEG_INFINITY), if self.sink.is_some() { 1.0 } else { 0.0 });
        for page in first / PAGE..=position / PAGE {
            let number = table[page] as usize;
            let slot = number * cache.heads + self.kv_head;
            let scores = scores(l, attention, cache, slot, q, page * PAGE, first, position);
            let high = l.max(scores[0], scores[1]);
            let new = l.largest(high).max(top);
            let shrink = if top == f32::NEG_INFINITY { 0.0 } else { exp(l, top - new) };
            let mut shares = [0.0; PAGE];
            let (head, tail) = shares.split_at_mut(16);
            let low = l.exp(l.sub(scores[0], l.splat(new)));
            let high = l.exp(l.sub(scores[1], l.splat(new)));
            l.put(low, head.try_into().expect("half a page"));
            l.put(high, tail.try_into().expect("half a page"));
            let (from, to) = (first.max(page * PAGE) - page * PAGE, position.min(page * PAGE + PAGE - 1) - page * PAGE);
            // Masked positions got the least exponential there is, not zero.
            shares[..from].fill(0.0);
            shares[to + 1..].fill(0.0);
            total = total * shrink + l.sum(l.add(l.get(head_of(&shares)), l.get(tail_of(&shares))));
            top = new;
            mix(l, cache, slot, &shares, from..to + 1, shrink, scratch.as_chunks_mut::<16>().0);
        }
        out.iter_mut().zip(scratch.iter()).for_each(|(out, sum)| *out = sum / total);
    }
}

fn head_of(x: &[f32; PAGE]) -> &[f32; 16] {
    x.first_chunk().expect("half a page")
}

fn tail_of(x: &[f32; PAGE]) -> &[f32; 16] {
    x.last_chunk().expect("half a page")
}

#[inline(always)]
fn exp<L: Lanes>(l: L, x: f32) -> f32 {
    let mut out = [0.0; 16];
    l.put(l.exp(l.splat(x)), &mut out);
    out[0]
}

/// Adds the values of a page, each with its share, to what was mixed so far and is shrunk first.
#[inline(always)]
fn mix<L: Lanes>(
    l: L,
    cache: &Cache,
    slot: usize,
    shares: &[f32; PAGE],
    seen: Range<usize>,
    shrink: f32,
    sums: &mut [[f32; 16]],
) {
    let len = PAGE * cache.value;
    for (v, sums) in sums.iter_mut().enumerate() {
        let mut sum = l.mul(l.get(sums), l.splat(shrink));
        match &cache.kept {
            Kept::Halves { values, .. } => {
                let values = &values[slot * len..][..len + 16];
                for i in seen.clone() {
                    let value: &[u16; 16] = values[i * cache.value + v * 16..].first_chunk().expect("padded");
                    sum = l.fma(l.halves(value), l.splat(shares[i]), sum);
                }
            }
            Kept::Bytes { values, value_scales, .. } => {
                let (values, blocks) = (&values[slot * len..][..len + 16], cache.value.div_ceil(BLOCK));
                let scales = &value_scales[slot * PAGE * blocks..][..PAGE * blocks];
                for i in seen.clone() {
                    let value: &[i8; 16] = values[i * cache.value + v * 16..].first_chunk().expect("padded");
                    let share = shares[i] * f16_to_f32(scales[i * blocks + v * 16 / BLOCK]);
                    sum = l.fma(l.signed(value), l.splat(share), sum);
                }
            }
        }
        l.put(sum, sums);
    }
}

/// The scores of a page; -inf where the token may not look.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the inner loop of one caller")]
fn scores<L: Lanes>(
    l: L,
    attention: &plan::Attention,
    cache: &Cache,
    slot: usize,
    q: &[f32],
    start: usize,
    first: usize,
    last: usize,
) -> [L::F; 2] {
    let mut sums = [l.splat(0.0); 2];
    let len = cache.key * PAGE;
    match &cache.kept {
        Kept::Halves { keys, .. } => {
            for (k, &q) in keys[slot * len..][..len].as_chunks::<PAGE>().0.iter().zip(q) {
                let halves = k.as_chunks::<16>().0;
                sums[0] = l.fma(l.halves(&halves[0]), l.splat(q), sums[0]);
                sums[1] = l.fma(l.halves(&halves[1]), l.splat(q), sums[1]);
            }
        }
        Kept::Bytes { keys, key_scales, .. } => {
            let keys = keys[slot * len..][..len].as_chunks::<PAGE>().0;
            let blocks = cache.key.div_ceil(BLOCK);
            let scales = key_scales[slot * blocks * PAGE..][..blocks * PAGE].as_chunks::<PAGE>().0;
            for ((keys, q), scales) in keys.chunks(BLOCK).zip(q.chunks(BLOCK)).zip(scales) {
                let mut part = [l.splat(0.0); 2];
                for (k, &q) in keys.iter().zip(q) {
                    let bytes = k.as_chunks::<16>().0;
                    part[0] = l.fma(l.signed(&bytes[0]), l.splat(q), part[0]);
                    part[1] = l.fma(l.signed(&bytes[1]), l.splat(q), part[1]);
                }
                let scales = scales.as_chunks::<16>().0;
                sums[0] = l.fma(part[0], l.halves(&scales[0]), sums[0]);
                sums[1] = l.fma(part[1], l.halves(&scales[1]), sums[1]);
            }
        }
    }
    let mut all = [0.0; PAGE];
    for (sum, out) in sums.into_iter().zip(all.as_chunks_mut::<16>().0) {
        l.put(l.mul(sum, l.splat(attention.scale)), out);
    }
    for (i, score) in all.iter_mut().enumerate() {
        if let Some(cap) = attention.softcap {
            *score = cap * (*score / cap).tanh();
        }
        if !(first..=last).contains(&(start + i)) {
            *score = f32::NEG_INFINITY;
        }
    }
    [l.get(head_of(&all)), l.get(tail_of(&all))]
}

/// One query head of one token of an encoder: looks at rows of this step, before and after it.
pub struct AttendAll<'a> {
    /// What to compute.
    pub attention: &'a plan::Attention,
    /// The query.
    pub q: &'a [f32],
    /// The keys of the sequence, one after the other.
    pub keys: &'a [&'a [f32]],
    /// Its values.
    pub values: &'a [&'a [f32]],
    /// Where the mixed value goes.
    pub out: &'a mut [f32],
}

impl Task for AttendAll<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        let mut scores: Vec<f32> = self.keys.iter().map(|k| dot(l, self.q, k) * self.attention.scale).collect();
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for score in &mut scores {
            *score = exp(l, *score - top);
            total += *score;
        }
        self.out.fill(0.0);
        for (share, value) in scores.iter().zip(self.values) {
            let share = share / total;
            self.out.iter_mut().zip(*value).for_each(|(out, v)| *out += share * v);
        }
    }
}

#[inline(always)]
fn dot<L: Lanes>(l: L, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sum = l.splat(0.0);
    for (a, b) in a.iter().zip(b) {
        sum = l.fma(l.get(a), l.get(b), sum);
    }
    l.sum(sum) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}
