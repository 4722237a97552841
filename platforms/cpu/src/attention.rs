//! Attention without a matrix of scores.
//!
//! Positions are taken in segments of 256. In a segment the scores of some queries are computed, then their softmax,
//! then the mix of the values; segments are joined by their maxima and sums, from the first to the last.
//! Where segments begin and in which order they are joined depends on the position alone, so a token's result has
//! the same bits whoever computes which segment, and whatever else is computed with it.
//!
//! Queries that look at the same keys (heads of one group, neighbouring tokens) are computed together: a key or value is
//! read and widened once for all of them.
//!
//! Source: Milakov & Gimelshein 2018 (online softmax); Dao et al. 2022 (FlashAttention), algorithm 1.

use core::cell::Cell;

use tutu_llm::{backend::PAGE, plan, quant::f16_to_f32};

use crate::{
    cache::{BLOCK, Cache, Kept},
    lanes::{Lanes, Task},
};

/// Pages of a segment.
pub const PAGES: usize = 8;

/// Positions of a segment.
const SPAN: usize = PAGES * PAGE;

/// Queries that are computed together at most.
pub const QUERIES: usize = 8;

/// As many as the registers hold.
pub const fn queries_max<L: Lanes>(cache: &Cache) -> usize {
    match (&cache.kept, L::TILE) {
        (Kept::Halves { .. }, 8..) => QUERIES,
        (Kept::Bytes { .. }, 8..) => 4,
        (Kept::Halves { .. }, _) if L::UNPACKS => 6,
        _ => 2,
    }
}

/// One query: a head of a token.
#[derive(Clone, Copy)]
pub struct Query<'q> {
    /// The token's position.
    pub position: usize,
    /// Its elements.
    pub q: &'q [f32],
}

/// What some queries, at most [`QUERIES`], found so far.
pub struct Found<'f> {
    /// The largest score of each.
    pub top: &'f mut [f32],
    /// The sum of the exponentials of each.
    pub total: &'f mut [f32],
    /// Values times exponentials: [`padded`] numbers for each.
    pub sums: &'f mut [f32],
}

/// Elements of a value, rounded up to whole vectors.
pub const fn padded(value: usize) -> usize {
    value.next_multiple_of(16)
}

/// The first position that a token sees.
pub fn first(attention: &plan::Attention, position: usize) -> usize {
    attention.window.map_or(0, |window| (position + 1).saturating_sub(window as usize))
}

/// Computes one segment, or several one after the other, for some queries that look at the same head's keys.
pub struct Attend<'a> {
    /// What to compute.
    pub attention: &'a plan::Attention,
    /// The layer's keys and values.
    pub cache: &'a Cache,
    /// Which head of them.
    pub kv_head: usize,
    /// The pages of the sequence.
    pub table: &'a [u32],
    /// The queries, in ascending order of position.
    pub queries: &'a [Query<'a>],
    /// Which segments.
    pub segments: core::ops::Range<usize>,
    /// What was found before, and afterwards.
    pub found: Found<'a>,
}

/// Memory of a thread that is used again and again.
#[derive(Default)]
struct Scratch {
    /// Queries, element by element.
    turned: Vec<f32>,
    /// See [`Scores`].
    scores: Vec<[f32; SPAN]>,
    /// What one segment gave.
    sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = const {
        Cell::new(Scratch { turned: Vec::new(), scores: Vec::new(), sums: Vec::new() })
    };
}

impl Task for Attend<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(mut self, l: L) {
        // Taken out and put back: a closure would not be compiled with the instructions of `L`.
        let mut scratch = SCRATCH.take();
        match (self.queries.len(), queries_max::<L>(self.cache)) {
            (5.., 8..) => self.all::<L, 8, 2>(l, &mut scratch),
            (3.., 4 | 8..) => self.all::<L, 4, 2>(l, &mut scratch),
            // Where registers are few, sixteen positions or elements at a time leave room for more queries.
            (4.., 6) => self.all::<L, 6, 1>(l, &mut scratch),
            (3.., 6) => self.all::<L, 3, 1>(l, &mut scratch),
            (2.., _) => self.all::<L, 2, 2>(l, &mut scratch),
            _ => self.all::<L, 1, 2>(l, &mut scratch),
        }
        SCRATCH.set(scratch);
    }
}

/// Scores of some queries, and then their exponentials.
type Scores<const T: usize> = [[f32; SPAN]; T];

impl Attend<'_> {
    /// In tiles of `T`, `W` vectors of positions or elements at a time; where queries are fewer, the last one is computed
    /// again and forgotten.
    #[inline(always)]
    fn all<L: Lanes, const T: usize, const W: usize>(&mut self, l: L, scratch: &mut Scratch) {
        let (key, width) = (self.attention.key, padded(self.attention.value));
        let last = self.queries.len() - 1;
        let Scratch { turned, scores, sums } = scratch;
        turned.resize(turned.len().max(T * key), 0.0);
        sums.resize(sums.len().max(T * width), 0.0);
        scores.resize(scores.len().max(T), [0.0; SPAN]);
        let scores: &mut Scores<T> = scores.first_chunk_mut().expect("as many as there are queries");
        let (sums, turned) = (&mut sums[..T * width], turned[..T * key].as_chunks_mut::<T>().0);
        let mut queries = [self.queries[last]; T];
        queries[..=last].copy_from_slice(self.queries);
        for (t, query) in queries.iter().enumerate() {
            for (place, q) in turned.iter_mut().zip(query.q) {
                place[t] = *q;
            }
        }
        for segment in self.segments.clone() {
            let (top, total) = self.segment::<L, T, W>(l, segment, &queries, turned, scores, sums);
            for t in 0..=last {
                let sums = &sums[t * width..][..width];
                let place = &mut self.found.sums[t * width..][..width];
                join(l, &mut self.found.top[t], &mut self.found.total[t], place, top[t], total[t], sums);
            }
        }
    }

    #[inline(always)]
    fn segment<L: Lanes, const T: usize, const W: usize>(
        &self,
        l: L,
        segment: usize,
        queries: &[Query<'_>; T],
        turned: &[[f32; T]],
        scores: &mut Scores<T>,
        sums: &mut [f32],
    ) -> ([f32; T], [f32; T]) {
        let start = segment * SPAN;
        // Positions of the segment that each query sees.
        let seen = queries.each_ref().map(|query| {
            let from = first(self.attention, query.position).max(start);
            let to = (query.position + 1).min(start + SPAN);
            if from < to { (from - start, to - start) } else { (0, 0) }
        });
        let (mut low, mut high) = (SPAN, 0);
        for (from, to) in seen.into_iter().filter(|(from, to)| from < to) {
            (low, high) = (low.min(from), high.max(to));
        }
        if low >= high {
            return ([f32::NEG_INFINITY; T], [0.0; T]);
        }
        let pages = low / PAGE..high.div_ceil(PAGE);
        for page in pages.clone() {
            let slot = self.table[segment * PAGES + page] as usize * self.cache.heads + self.kv_head;
            self.scores::<L, T, W>(l, slot, turned, page * PAGE, scores);
        }
        let (mut top, mut total) = ([f32::NEG_INFINITY; T], [0.0; T]);
        for t in 0..T {
            let scores = &mut scores[t][pages.start * PAGE..pages.end * PAGE];
            let shift = pages.start * PAGE;
            (top[t], total[t]) = softmax(l, scores, seen[t].0.max(shift) - shift, seen[t].1.max(shift) - shift);
        }
        let vectors = padded(self.attention.value) / 16;
        for v in (0..vectors).step_by(W) {
            if v + W <= vectors {
                self.mix::<L, T, W>(l, segment, v, low..high, scores, sums);
            } else {
                self.mix::<L, T, 1>(l, segment, v, low..high, scores, sums);
            }
        }
        (top, total)
    }

    /// The scores of a page.
    #[inline(always)]
    fn scores<L: Lanes, const T: usize, const W: usize>(
        &self,
        l: L,
        slot: usize,
        q: &[[f32; T]],
        at: usize,
        scores: &mut Scores<T>,
    ) {
        for from in (0..PAGE / 16).step_by(W) {
            let sums = self.products::<L, T, W>(l, slot, q, from);
            let scale = l.splat(self.attention.scale);
            for (sums, scores) in sums.into_iter().zip(&mut *scores) {
                let place = scores[at..at + PAGE].as_chunks_mut::<16>().0;
                for (sum, place) in sums.into_iter().zip(&mut place[from..]) {
                    let score = l.mul(sum, scale);
                    let score = match self.attention.softcap {
                        Some(cap) => capped(l, score, cap),
                        None => score,
                    };
                    l.put(score, place);
                }
            }
        }
    }

    /// The queries times the keys of `W` vectors of positions of a page, from the `from`-th on.
    #[inline(always)]
    fn products<L: Lanes, const T: usize, const W: usize>(
        &self,
        l: L,
        slot: usize,
        q: &[[f32; T]],
        from: usize,
    ) -> [[L::F; W]; T] {
        let len = self.cache.key * PAGE;
        let mut sums = [[l.splat(0.0); W]; T];
        match &self.cache.kept {
            Kept::Halves { keys, .. } => {
                for (k, q) in keys[slot * len..][..len].as_chunks::<PAGE>().0.iter().zip(q) {
                    let halves = &k.as_chunks::<16>().0[from..];
                    let mut key = [l.splat(0.0); W];
                    for w in 0..W {
                        key[w] = l.halves(&halves[w]);
                    }
                    for t in 0..T {
                        let q = l.splat(q[t]);
                        for w in 0..W {
                            sums[t][w] = l.fma(key[w], q, sums[t][w]);
                        }
                    }
                }
            }
            Kept::Bytes { keys, key_scales, .. } => {
                let keys = keys[slot * len..][..len].as_chunks::<PAGE>().0;
                let blocks = self.cache.key.div_ceil(BLOCK);
                let scales = key_scales[slot * blocks * PAGE..][..blocks * PAGE].as_chunks::<PAGE>().0;
                for ((keys, q), scales) in keys.chunks(BLOCK).zip(q.chunks(BLOCK)).zip(scales) {
                    let mut part = [[l.splat(0.0); W]; T];
                    for (k, q) in keys.iter().zip(q) {
                        let bytes = &k.as_chunks::<16>().0[from..];
                        let mut key = [l.splat(0.0); W];
                        for w in 0..W {
                            key[w] = l.signed(&bytes[w]);
                        }
                        for t in 0..T {
                            let q = l.splat(q[t]);
                            for w in 0..W {
                                part[t][w] = l.fma(key[w], q, part[t][w]);
                            }
                        }
                    }
                    let scales = &scales.as_chunks::<16>().0[from..];
                    for w in 0..W {
                        let scale = l.halves(&scales[w]);
                        for t in 0..T {
                            sums[t][w] = l.fma(part[t][w], scale, sums[t][w]);
                        }
                    }
                }
            }
        }
        sums
    }

    /// `V` vectors of the values, each with its share, for all queries.
    #[inline(always)]
    fn mix<L: Lanes, const T: usize, const V: usize>(
        &self,
        l: L,
        segment: usize,
        v: usize,
        seen: core::ops::Range<usize>,
        shares: &Scores<T>,
        out: &mut [f32],
    ) {
        let (cache, width) = (self.cache, padded(self.attention.value));
        let len = PAGE * cache.value;
        let mut sums = [[l.splat(0.0); V]; T];
        for page in seen.start / PAGE..seen.end.div_ceil(PAGE) {
            let slot = self.table[segment * PAGES + page] as usize * cache.heads + self.kv_head;
            let positions = seen.start.max(page * PAGE)..seen.end.min((page + 1) * PAGE);
            match &cache.kept {
                Kept::Halves { values, .. } => {
                    let values = &values[slot * len..][..len + 16];
                    for i in positions {
                        let row = &values[(i - page * PAGE) * cache.value + v * 16..][..V * 16];
                        let halves = row.as_chunks::<16>().0;
                        let mut value = [l.splat(0.0); V];
                        for n in 0..V {
                            value[n] = l.halves(&halves[n]);
                        }
                        for t in 0..T {
                            let share = l.splat(shares[t][i]);
                            for n in 0..V {
                                sums[t][n] = l.fma(value[n], share, sums[t][n]);
                            }
                        }
                    }
                }
                Kept::Bytes { values, value_scales, .. } => {
                    let (values, blocks) = (&values[slot * len..][..len + 16], cache.value.div_ceil(BLOCK));
                    let scales = &value_scales[slot * PAGE * blocks..][..PAGE * blocks];
                    for i in positions {
                        let at = i - page * PAGE;
                        let bytes = values[at * cache.value + v * 16..][..V * 16].as_chunks::<16>().0;
                        let mut value = [l.splat(0.0); V];
                        for n in 0..V {
                            let scale = f16_to_f32(scales[at * blocks + (v + n) * 16 / BLOCK]);
                            value[n] = l.mul(l.signed(&bytes[n]), l.splat(scale));
                        }
                        for t in 0..T {
                            let share = l.splat(shares[t][i]);
                            for n in 0..V {
                                sums[t][n] = l.fma(value[n], share, sums[t][n]);
                            }
                        }
                    }
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            let place = out[t * width + v * 16..][..V * 16].as_chunks_mut::<16>().0;
            for (sum, place) in sums.into_iter().zip(place) {
                l.put(sum, place);
            }
        }
    }
}

/// Scores become exponentials below their maximum; what lies outside of `from .. to` becomes 0. Answers the maximum and
/// the sum.
#[inline(always)]
fn softmax<L: Lanes>(l: L, scores: &mut [f32], from: usize, to: usize) -> (f32, f32) {
    if from >= to {
        scores.fill(0.0);
        return (f32::NEG_INFINITY, 0.0);
    }
    scores[..from].fill(f32::NEG_INFINITY);
    scores[to..].fill(f32::NEG_INFINITY);
    let mut most = l.splat(f32::NEG_INFINITY);
    for part in scores.as_chunks::<16>().0 {
        most = l.max(most, l.get(part));
    }
    let top = l.largest(most);
    for part in scores.as_chunks_mut::<16>().0 {
        let x = l.exp(l.sub(l.get(part), l.splat(top)));
        l.put(x, part);
    }
    // The exponential of minus infinity is the least there is, not zero.
    scores[..from].fill(0.0);
    scores[to..].fill(0.0);
    let mut total = l.splat(0.0);
    for part in scores.as_chunks::<16>().0 {
        total = l.add(total, l.get(part));
    }
    (top, l.sum(total))
}

/// Joins what one more segment gave to what was found before.
#[inline(always)]
pub fn join<L: Lanes>(
    l: L,
    top: &mut f32,
    total: &mut f32,
    sums: &mut [f32],
    other_top: f32,
    other_total: f32,
    other: &[f32],
) {
    if other_top == f32::NEG_INFINITY {
        return;
    }
    let new = top.max(other_top);
    let keep = if *top == f32::NEG_INFINITY { 0.0 } else { exp(l, *top - new) };
    let add = exp(l, other_top - new);
    *total = *total * keep + other_total * add;
    *top = new;
    for (sum, other) in sums.as_chunks_mut::<16>().0.iter_mut().zip(other.as_chunks::<16>().0) {
        let both = l.fma(l.get(other), l.splat(add), l.mul(l.get(sum), l.splat(keep)));
        l.put(both, sum);
    }
}

/// `cap * tanh(x / cap)`, by `tanh(y) = 1 - 2 / (e^2y + 1)`.
#[inline(always)]
fn capped<L: Lanes>(l: L, x: L::F, cap: f32) -> L::F {
    let e = l.exp(l.mul(x, l.splat(2.0 / cap)));
    let one = l.splat(1.0);
    l.mul(l.splat(cap), l.sub(one, l.div(l.splat(2.0), l.add(e, one))))
}

#[inline(always)]
fn exp<L: Lanes>(l: L, x: f32) -> f32 {
    let mut out = [0.0; 16];
    l.put(l.exp(l.splat(x)), &mut out);
    out[0]
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
