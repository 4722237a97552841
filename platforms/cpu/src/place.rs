//! Where the products of a matrix go: into a buffer, or, of the output head, only the best of each token.
//!
//! The logits of a whole vocabulary are several hundred kilobytes a token, and a sampler looks at some forty of them. So
//! whoever computes sixteen logits compares them with a bar, the worst of the best so far, and forgets them where
//! none reaches it. The bar only rises, and what lies below it is not among the best, so the result does not
//! depend on who computed what first.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use tutu_llm::{
    plan::Write,
    sample::{Candidate, order},
};

use crate::{lanes::Lanes, panel::ROWS, shared::Shared};

/// Where the products of one matrix go.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    /// Outputs of the matrix.
    pub rows: usize,
    /// The number of its first panel.
    pub panel: usize,
    /// Added to the outputs.
    pub bias: Option<&'p [f32]>,
    /// Where they go.
    pub to: To<'p>,
}

/// See [`Place`].
#[derive(Clone, Copy)]
pub(crate) enum To<'p> {
    /// Into a buffer with a row for each token.
    Buffer(Shared, Write),
    /// Nowhere, but for the best of each token.
    Best(&'p [Pick]),
}

impl Place<'_> {
    /// Asks for the memory that [`Place::put`] will write to soon: every sixteen outputs of a token are a cache line of
    /// their own.
    #[inline(always)]
    pub(crate) fn ready<L: Lanes>(&self, l: L, row: usize, panel: usize) {
        if let To::Buffer(buffer, _) = &self.to {
            l.prefetch(buffer.part(row, (panel - self.panel) * ROWS, 1).as_ptr().cast());
        }
    }

    /// Takes sixteen outputs of a token.
    #[inline(always)]
    pub(crate) fn put<L: Lanes>(&self, l: L, row: usize, panel: usize, mut sums: L::F) {
        let at = (panel - self.panel) * ROWS;
        let len = ROWS.min(self.rows - at);
        if let Some(bias) = self.bias {
            let bias = match bias[at..].first_chunk::<ROWS>() {
                Some(bias) => *bias,
                None => core::array::from_fn(|i| bias.get(at + i).copied().unwrap_or(0.0)),
            };
            sums = l.add(sums, l.get(&bias));
        }
        match &self.to {
            To::Buffer(buffer, write) => {
                let out = buffer.part(row, at, len);
                if let Ok(out) = <&mut [f32; ROWS]>::try_from(&mut *out) {
                    write_to(l, *write, sums, out);
                } else {
                    let mut whole = [0.0; ROWS];
                    whole[..len].copy_from_slice(out);
                    write_to(l, *write, sums, &mut whole);
                    out.copy_from_slice(&whole[..len]);
                }
            }
            To::Best(picks) => {
                let mut logits = [0.0; ROWS];
                l.put(sums, &mut logits);
                picks[row].offer(at as u32, &logits, len);
            }
        }
    }
}

#[inline(always)]
fn write_to<L: Lanes>(l: L, write: Write, sums: L::F, out: &mut [f32; ROWS]) {
    match write {
        Write::Set => l.put(sums, out),
        Write::Add(factor) => l.put(l.add(l.get(out), l.mul(l.splat(factor), sums)), out),
    }
}

/// The best tokens of one row, while it is computed.
#[derive(Debug)]
pub(crate) struct Pick {
    /// Bits of the logit that one must reach.
    bar: AtomicU32,
    most: usize,
    list: Mutex<Vec<Candidate>>,
}

impl Default for Pick {
    fn default() -> Self {
        Self { bar: AtomicU32::new(f32::NEG_INFINITY.to_bits()), most: 1, list: Mutex::default() }
    }
}

impl Pick {
    /// Begins anew, for the best `most`.
    pub(crate) fn begin(&mut self, most: usize) {
        self.most = most.max(1);
        *self.bar.get_mut() = f32::NEG_INFINITY.to_bits();
        let list = self.list.get_mut().expect("nobody panics while holding it");
        list.clear();
        list.reserve(2 * self.most + ROWS);
    }

    /// Takes the first `len` of sixteen logits, of tokens from `first` on.
    #[inline(always)]
    fn offer(&self, first: u32, logits: &[f32; ROWS], len: usize) {
        let bar = f32::from_bits(self.bar.load(Ordering::Relaxed));
        if logits.iter().fold(false, |any, logit| any | (*logit >= bar)) {
            self.keep(first, &logits[..len]);
        }
    }

    #[cold]
    fn keep(&self, first: u32, logits: &[f32]) {
        let mut list = self.list.lock().expect("nobody panics while holding it");
        let bar = f32::from_bits(self.bar.load(Ordering::Relaxed));
        let good = logits.iter().enumerate().filter(|(_, logit)| **logit >= bar);
        list.extend(good.map(|(i, &logit)| Candidate { id: first + i as u32, logit, share: 0.0 }));
        if list.len() >= 2 * self.most {
            list.select_nth_unstable_by(self.most - 1, order);
            list.truncate(self.most);
            self.bar.store(list[self.most - 1].logit.to_bits(), Ordering::Relaxed);
        }
    }

    /// The best, best first.
    pub(crate) fn end(&mut self, out: &mut Vec<Candidate>) {
        let list = self.list.get_mut().expect("nobody panics while holding it");
        list.sort_unstable_by(order);
        list.truncate(self.most);
        out.clear();
        out.extend_from_slice(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_whatever_order_they_come() {
        // Many are equal, so that ties count; the last panel is not full.
        let logits: Vec<f32> = (0..1000).map(|i| (i * 7919 % 97) as f32 / 8.0 - 6.0).collect();
        for most in [1, 2, 40, 2000] {
            let mut truth = Vec::new();
            tutu_llm::sample::take(&logits, most, &mut truth);
            for turn in [0, 17, 40] {
                let mut pick = Pick::default();
                pick.begin(most);
                let count = logits.len().div_ceil(ROWS);
                for panel in (0..count).map(|i| (i * 5 + turn) % count) {
                    let part = &logits[panel * ROWS..(panel * ROWS + ROWS).min(logits.len())];
                    // What fills a panel up must not win.
                    let mut sixteen = [f32::INFINITY; ROWS];
                    sixteen[..part.len()].copy_from_slice(part);
                    pick.offer((panel * ROWS) as u32, &sixteen, part.len());
                }
                let mut found = Vec::new();
                pick.end(&mut found);
                assert_eq!(found, truth, "the best {most}");
            }
        }
    }
}
