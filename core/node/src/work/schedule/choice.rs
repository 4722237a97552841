//! Whom to ask: a few of many, the better ones more often.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::kit::{NodeId, Rng};

/// A worker that could do tasks of some model, as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub worker: NodeId,
    /// How often trust lets it be chosen (`trust::reputation` says so); nothing keeps it out.
    pub trust: u32,
    /// What it asks, in parts of a million of the usual price.
    pub price: u32,
    /// Round trip to it, in microseconds.
    pub link: u32,
    /// Whether it has the model in memory.
    pub hot: bool,
}

impl Candidate {
    /// How often it is asked, against others: by its trust; half as often at twice the price; half as often for each
    /// 100 ms of its line (the predecessor's measure); an eighth as often when it must load the model first, which takes
    /// longer than most answers.
    pub const fn weight(&self) -> u64 {
        let trust = self.trust as u64 * 1_000;
        let priced = trust * 1_000_000 / (if self.price > 100_000 { self.price as u64 } else { 100_000 });
        let near = priced * 100_000 / (100_000 + self.link as u64);
        let weight = if self.hot { near } else { near / 8 };
        // Whoever is trusted at all can be chosen.
        if weight == 0 && self.trust > 0 { 1 } else { weight }
    }
}

/// The candidates of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    candidates: Vec<Candidate>,
    /// Weights of all up to each; the last is the sum.
    sums: Vec<u64>,
    /// Short id and place of each candidate, in order: each answer must find out who it is from.
    places: Vec<(u64, u32)>,
    /// Who last served which beginning of a text; it may still remember it.
    served: BTreeMap<u64, u32>,
}

/// Beginnings of texts that a roster remembers.
const SERVED_MAX: usize = 1024;

impl Roster {
    /// Those who could serve.
    pub fn new(candidates: Vec<Candidate>) -> Self {
        let mut places: Vec<_> = candidates.iter().map(|candidate| candidate.worker.short()).zip(0..).collect();
        places.sort_unstable();
        let mut roster = Self { candidates, sums: Vec::new(), places, served: BTreeMap::new() };
        roster.weigh();
        roster
    }

    /// One of them.
    pub fn candidate(&self, at: u32) -> Option<&Candidate> {
        self.candidates.get(at as usize)
    }

    /// Where `worker` stands; one that is not trusted stands nowhere.
    pub fn find(&self, worker: &NodeId) -> Option<u32> {
        let short = worker.short();
        let first = self.places.partition_point(|place| place.0 < short);
        let mut same = self.places[first..].iter().take_while(|place| place.0 == short).map(|place| place.1);
        let is = |candidate: &Candidate| candidate.worker == *worker && candidate.trust > 0;
        same.find(|at| is(&self.candidates[*at as usize]))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is nobody.
    pub const fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Nobody chooses `worker` any more until a new list comes.
    pub fn drop_worker(&mut self, worker: &NodeId) {
        if let Some(at) = self.find(worker) {
            self.candidates[at as usize].trust = 0;
            self.weigh();
        }
    }

    /// Remembers that candidate `at` served a text that begins with `prefix`.
    pub fn remember(&mut self, prefix: u64, at: u32) {
        if self.served.len() >= SERVED_MAX && !self.served.contains_key(&prefix) {
            // Keys are hashes, so the first is as good as any other.
            self.served.pop_first();
        }
        self.served.insert(prefix, at);
    }

    /// Up to `count` candidates, each once, none of `without`; whoever served `prefix` is the first of them.
    ///
    /// Weighted draws with replacement; one that comes twice is drawn again, a bounded number of times. Source:
    /// M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
    pub fn choose(&self, rng: &mut Rng, count: usize, prefix: u64, without: &[NodeId], out: &mut Vec<u32>) {
        out.clear();
        let fits = |at: u32, out: &[u32]| {
            let candidate = &self.candidates[at as usize];
            candidate.trust > 0 && !out.contains(&at) && !without.contains(&candidate.worker)
        };
        let served = self.served.get(&prefix).copied().filter(|at| (*at as usize) < self.candidates.len());
        out.extend(served.filter(|at| fits(*at, &[])));
        let sum = self.sums.last().copied().unwrap_or(0);
        for _ in 0..count * 8 {
            if out.len() >= count || sum == 0 {
                return;
            }
            let at = ((u128::from(rng.next()) * u128::from(sum)) >> 64) as u64;
            let at = self.sums.partition_point(|here| *here <= at) as u32;
            if fits(at, out) {
                out.push(at);
            }
        }
        // Few candidates with very different weights: whoever is left, in order.
        for at in 0..self.candidates.len() as u32 {
            if out.len() < count && fits(at, out) {
                out.push(at);
            }
        }
    }

    fn weigh(&mut self) {
        self.sums.clear();
        let mut sum = 0_u64;
        for candidate in &self.candidates {
            sum = sum.saturating_add(candidate.weight());
            self.sums.push(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: u64) -> Candidate {
        Candidate { worker: NodeId::number(n), trust: 1_000, price: 1_000_000, link: 0, hot: true }
    }

    #[test]
    fn weights_follow_trust_price_line_and_memory() {
        let base = candidate(0);
        let weight = base.weight();
        assert_eq!(Candidate { trust: 2_000, ..base }.weight(), weight * 2);
        assert_eq!(Candidate { price: 2_000_000, ..base }.weight(), weight / 2);
        assert_eq!(Candidate { link: 100_000, ..base }.weight(), weight / 2);
        assert_eq!(Candidate { hot: false, ..base }.weight(), weight / 8);
        assert_eq!(Candidate { trust: 0, ..base }.weight(), 0);
        let worst = Candidate { trust: 1, price: u32::MAX, link: u32::MAX, hot: false, ..base };
        assert_eq!(worst.weight(), 1);
    }

    #[test]
    fn choices_come_as_often_as_they_weigh() {
        let list = (0..10).map(|n| Candidate { trust: 1 + n as u32, ..candidate(n) }).collect();
        let (roster, mut rng, mut out) = (Roster::new(list), Rng::new(1), Vec::new());
        let mut first = [0_u32; 10];
        for _ in 0..55_000 {
            roster.choose(&mut rng, 2, 0, &[], &mut out);
            assert!(out.len() == 2 && out[0] != out[1]);
            first[out[0] as usize] += 1;
        }
        for (n, count) in first.into_iter().enumerate() {
            assert!(count.abs_diff(1_000 * (n as u32 + 1)) < 300, "{n}: {count}");
        }
    }

    #[test]
    fn whoever_has_the_beginning_is_asked_first_and_the_excluded_never() {
        let mut roster = Roster::new((0..5).map(candidate).collect());
        let (mut rng, mut out) = (Rng::new(1), Vec::new());
        roster.remember(77, 3);
        roster.choose(&mut rng, 2, 77, &[], &mut out);
        assert_eq!(out[0], 3);
        let without: Vec<NodeId> = [0, 1, 3].map(NodeId::number).into();
        roster.choose(&mut rng, 4, 77, &without, &mut out);
        out.sort_unstable();
        assert_eq!(out, [2, 4]);
        roster.drop_worker(&NodeId::number(2));
        roster.choose(&mut rng, 4, 77, &without, &mut out);
        assert_eq!(out, [4]);
        assert_eq!(roster.find(&NodeId::number(2)), None);
    }

    #[test]
    fn a_thousand_to_one_is_found_too() {
        let list =
            [u32::MAX, 1, 1].into_iter().zip(0..).map(|(trust, n)| Candidate { trust, ..candidate(n) }).collect();
        let (roster, mut rng, mut out) = (Roster::new(list), Rng::new(1), Vec::new());
        roster.choose(&mut rng, 3, 0, &[], &mut out);
        assert_eq!(out.len(), 3);
    }

    #[test]
    fn each_is_found_where_it_stands_and_nobody_else_is() {
        let roster = Roster::new([5, 3, 9, 3, 7].map(candidate).into());
        let find = |n| roster.find(&NodeId::number(n));
        assert_eq!([5, 3, 9, 7, 4].map(find), [Some(0), Some(1), Some(2), Some(4), None]);
    }

    #[test]
    fn old_beginnings_make_room() {
        let mut roster = Roster::new((0..2).map(candidate).collect());
        (0..5_000).for_each(|prefix| roster.remember(prefix, 1));
        assert_eq!(roster.served.len(), SERVED_MAX);
        assert!(roster.served.contains_key(&4_999));
    }
}
