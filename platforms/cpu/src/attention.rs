//! Attention in one pass over the pages of a cache: no matrix of scores, a running maximum and sum instead.
//!
//! A page of a layer holds, for each head, the keys turned (for each element of the key 32 positions side by side,
//! so that sixteen scores are computed at once without a sum across lanes) and the values as they are.
//! Both are halves.
//!
//! Source: Milakov & Gimelshein 2018 (online softmax); Dao et al. 2022 (FlashAttention), algorithm 1.

use tutu_llm::{backend::PAGE, plan};

use crate::lanes::{Lanes, Task};

/// Keys and values of one layer.
#[derive(Clone, Debug)]
pub struct Cache {
    heads: usize,
    key: usize,
    value: usize,
    keys: Vec<u16>,
    values: Vec<u16>,
}

impl Cache {
    /// Room for `pages` pages; the system gives the memory when it is written to.
    pub fn new(shape: &plan::Cache, pages: usize) -> Self {
        Self {
            heads: shape.heads,
            key: shape.key,
            value: shape.value,
            keys: vec![0; pages * PAGE * shape.heads * shape.key],
            // Whole vectors are read at the end of a row.
            values: vec![0; pages * PAGE * shape.heads * shape.value + 16],
        }
    }

    /// Puts the key and the value of one position down, all heads.
    pub fn write(&mut self, page: usize, position: usize, key: &[u16], value: &[u16]) {
        let at = position % PAGE;
        for head in 0..self.heads {
            let start = (page * self.heads + head) * self.key * PAGE;
            for (i, &k) in key[head * self.key..][..self.key].iter().enumerate() {
                self.keys[start + i * PAGE + at] = k;
            }
            let start = ((page * self.heads + head) * PAGE + at) * self.value;
            self.values[start..start + self.value].copy_from_slice(&value[head * self.value..][..self.value]);
        }
    }

    fn keys(&self, page: usize, head: usize) -> &[[u16; PAGE]] {
        let len = self.key * PAGE;
        self.keys[(page * self.heads + head) * len..][..len].as_chunks::<PAGE>().0
    }

    fn values(&self, page: usize, head: usize) -> &[u16] {
        let len = PAGE * self.value;
        &self.values[(page * self.heads + head) * len..][..len + 16]
    }
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
            let scores = scores(l, attention, cache.keys(number, self.kv_head), q, page * PAGE, first, position);
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
            let values = cache.values(number, self.kv_head);
            for (v, sums) in scratch.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let mut sum = l.mul(l.get(sums), l.splat(shrink));
                for (i, share) in shares.iter().enumerate().take(to + 1).skip(from) {
                    let value: &[u16; 16] = values[i * attention.value + v * 16..].first_chunk().expect("padded");
                    sum = l.fma(l.halves(value), l.splat(*share), sum);
                }
                l.put(sum, sums);
            }
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

/// The scores of a page; -inf where the token may not look.
#[inline(always)]
fn scores<L: Lanes>(
    l: L,
    attention: &plan::Attention,
    keys: &[[u16; PAGE]],
    q: &[f32],
    start: usize,
    first: usize,
    last: usize,
) -> [L::F; 2] {
    let mut sums = [l.splat(0.0); 2];
    for (k, &q) in keys.iter().zip(q) {
        let halves = k.as_chunks::<16>().0;
        sums[0] = l.fma(l.halves(&halves[0]), l.splat(q), sums[0]);
        sums[1] = l.fma(l.halves(&halves[1]), l.splat(q), sums[1]);
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
