//! Trust as a flow: from the seeds along the edges, a share staying wherever it comes.
//!
//! The trust t of all peers is the one solution of `t = a·p + (1 − a)·Cᵀt`: p is spread over the seeds, C holds each row of
//! the graph divided by its sum, a is the share that begins again at the seeds. Of what reaches somebody who believes
//! nobody, all begins again.
//!
//! We do not iterate over the trust but move *rests*: what has come to a peer and was not passed on yet. Whoever is
//! pushed keeps a of its rest and passes on the others. `Σ trust + Σ rests` is [`ONE`] at any time, to the last bit, and the
//! distance of t to the solution is at most the sum of the rests. A changed row takes back what had flowed through it and
//! lets it flow anew, which leaves rests where something is different, and only there.
//!
//! Because of the identity `mass = (1 − a)/a · inflow`, a group that believes only itself has as much trust as flows into it
//! from outside, times a constant: how many identities it has does not enter.
//!
//! Sources: S. Kamvar, M. Schlosser, H. Garcia-Molina, "EigenTrust" (WWW 2003); R. Andersen, F. Chung, K. Lang, "Local
//! Graph Partitioning using PageRank Vectors" (FOCS 2006) for the push.

use alloc::{vec, vec::Vec};

use super::graph::{Edge, Graph};
use crate::kit::Ppm;

/// All trust there is. A millionth of a millionth of it is 288,230.
pub const ONE: i64 = 1 << 58;

/// A graph, the seeds of one viewer, and how much trust reaches whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    graph: Graph,
    /// Who is believed without reason, and how much; in the order of their numbers.
    seeds: Vec<Edge>,
    /// The share that begins again, in parts of 2³².
    again: i64,
    trust: Vec<i64>,
    rest: Vec<i64>,
    /// Rest that is on its way to the seeds.
    home: i64,
    /// Whose rest was touched since the last push, each at most once.
    touched: Vec<u32>,
    is_touched: Vec<u64>,
}

impl Flow {
    /// Nobody there yet. `again` is held between 5 and 50 %: below, what flowed through a row overflows; above, nobody but
    /// the seeds' friends counts.
    pub fn new(again: Ppm) -> Self {
        Self::over(Graph::default(), again)
    }

    /// A graph that is there already; the first push is [`Flow::solve`].
    pub fn over(graph: Graph, again: Ppm) -> Self {
        let count = graph.len();
        Self {
            graph,
            seeds: Vec::new(),
            again: (i64::from(again.0.clamp(50_000, 500_000)) << 32) / 1_000_000,
            trust: vec![0; count],
            rest: vec![0; count],
            home: ONE,
            touched: Vec::new(),
            is_touched: vec![0; count.div_ceil(64)],
        }
    }

    /// The edges.
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Part of [`ONE`] that has settled on `peer`.
    pub fn trust(&self, peer: u32) -> u64 {
        self.trust.get(peer as usize).map_or(0, |trust| (*trust).max(0) as u64)
    }

    /// How far, summed over all peers, trust may be from the solution; in parts of [`ONE`].
    pub fn error(&self) -> u64 {
        self.rest.iter().map(|rest| rest.unsigned_abs()).sum::<u64>() + self.home.unsigned_abs()
    }

    /// One peer more; its number.
    pub fn peer(&mut self) -> u32 {
        self.trust.push(0);
        self.rest.push(0);
        self.is_touched.resize(self.trust.len().div_ceil(64), 0);
        self.graph.peer()
    }

    /// Who is named by an edge or names somebody, or is a seed; by number.
    pub fn named(&self) -> Vec<bool> {
        let mut named = vec![false; self.graph.len()];
        for from in 0..self.graph.len() as u32 {
            let row = self.graph.row(from);
            row.iter().for_each(|edge| named[edge.to as usize] = true);
            named[from as usize] |= !row.is_empty();
        }
        self.seeds.iter().for_each(|seed| named[seed.to as usize] = true);
        named
    }

    /// Takes back what settled on `peer`, so that its number can be another's. It must not be [named](Self::named): then no more
    /// comes, what it had is wrong as a whole, and what it passed on has come home already.
    pub fn forget(&mut self, peer: u32) {
        let (trust, rest) = (&mut self.trust[peer as usize], &mut self.rest[peer as usize]);
        self.home += core::mem::take(trust) + core::mem::take(rest);
    }

    /// Replaces the seeds: pairs of a peer and a weight, each peer once, none heavier than another by more than 2³².
    pub fn seed(&mut self, mut seeds: Vec<Edge>) {
        seeds.retain(|seed| seed.weight > 0);
        seeds.sort_unstable_by_key(|seed| seed.to);
        seeds.dedup_by_key(|seed| seed.to);
        let old = core::mem::replace(&mut self.seeds, seeds);
        if !old.is_empty() {
            // What the old ones were given: all there is and what came home, but for what is still on its way.
            let given = ONE + self.returned() - self.home;
            self.come(&old, -given);
            self.home += given;
        }
    }

    /// Sets edges of one row.
    pub fn set(&mut self, from: u32, changes: impl IntoIterator<Item = Edge>) {
        self.reflow(from, |graph| {
            for edge in changes {
                graph.set(from, edge.to, edge.weight);
            }
        });
    }

    /// Replaces a row.
    pub fn replace(&mut self, from: u32, edges: &[Edge]) {
        self.reflow(from, |graph| graph.replace(from, edges));
    }

    /// Begins anew and pushes until the sum of all rests is at most `error` parts of [`ONE`], or what rounding leaves; how many
    /// times it went through all peers.
    ///
    /// All trust is given to the seeds at first, and what is wrong with that is corrected. That leaves rests of which as much is
    /// above nothing as below: they even out as fast as the town mixes, some five times with each round where people know
    /// each other at random. Rests that began as all there is would lose only the share that begins again.
    pub fn solve(&mut self, error: u64) -> u32 {
        self.trust.fill(0);
        self.rest.fill(0);
        self.untouch();
        self.home = ONE;
        if self.seeds.is_empty() {
            return 0;
        }
        self.come_home();
        for seed in core::mem::take(&mut self.touched) {
            let given = core::mem::take(&mut self.rest[seed as usize]);
            self.trust[seed as usize] = given;
        }
        // Apart from the giving: a seed may be believed by one before it.
        for at in 0..self.seeds.len() {
            let seed = self.seeds[at].to;
            let flowed = self.flowed(seed);
            self.rest[seed as usize] -= flowed;
            self.home += self.graph.spread(seed, flowed, |to, part| self.rest[to as usize] += part);
        }
        self.settle(error)
    }

    /// Pushes all peers at once, again and again, until the sum of all rests is at most `error` parts of [`ONE`], or what
    /// rounding leaves; how many times it went through all peers.
    ///
    /// All at once and not one after the other: what is above nothing and what is below stay in balance.
    pub fn settle(&mut self, error: u64) -> u32 {
        self.untouch();
        let count = self.trust.len() as u64;
        let mut old = vec![0; self.rest.len()];
        let mut rounds = 0;
        loop {
            self.come_home();
            if self.error() <= error.max(count * 64).max(1024) || self.seeds.is_empty() {
                self.untouch();
                return rounds;
            }
            core::mem::swap(&mut old, &mut self.rest);
            self.rest.fill(0);
            let Self { graph, rest, trust, home, again, .. } = self;
            for ((peer, moved), trust) in (0..).zip(&old).zip(trust) {
                if *moved != 0 {
                    let kept = kept(*moved, *again);
                    *trust += kept;
                    *home += graph.spread(peer, moved - kept, |to, part| rest[to as usize] += part);
                }
            }
            rounds += 1;
        }
    }

    /// Pushes what was touched, and what that touches, as long as a rest is at least `least` and fewer than `pushes` were
    /// made. Whether everything of that size was moved.
    pub fn fold(&mut self, least: u64, pushes: usize) -> bool {
        let least = least.max(1);
        let mut left = pushes;
        let mut at = 0;
        loop {
            if at == self.touched.len() {
                if self.home.unsigned_abs() < least || self.seeds.is_empty() {
                    break;
                }
                self.come_home();
                continue;
            }
            if left == 0 {
                self.touched.drain(..at);
                return false;
            }
            let peer = self.touched[at];
            at += 1;
            self.is_touched[peer as usize / 64] &= !(1 << (peer % 64));
            if self.rest[peer as usize].unsigned_abs() >= least {
                left -= 1;
                let (touched, is_touched) = (&mut self.touched, &mut self.is_touched);
                let place = Place { graph: &self.graph, trust: &mut self.trust, rest: &mut self.rest };
                self.home += place.push(peer, self.again, |rest, to| {
                    if rest.unsigned_abs() >= least {
                        touch(touched, is_touched, to);
                    }
                });
            }
        }
        self.touched.clear();
        true
    }

    /// Takes back what has flowed through a row, changes it, and lets the same flow again.
    fn reflow(&mut self, from: u32, change: impl FnOnce(&mut Graph)) {
        let flowed = self.flowed(from);
        let Self { graph, rest, touched, is_touched, home, .. } = self;
        let mut give = |to: u32, part: i64| {
            rest[to as usize] += part;
            touch(touched, is_touched, to);
        };
        *home -= graph.spread(from, flowed, |to, part| give(to, -part));
        change(graph);
        *home += graph.spread(from, flowed, give);
    }

    /// What a peer has passed on in all: (1 − a)/a for each part that it kept.
    fn flowed(&self, from: u32) -> i64 {
        let trust = i128::from(self.trust[from as usize]);
        (trust * i128::from((1 << 32) - self.again) / i128::from(self.again)) as i64
    }

    /// What has come home from those who believe nobody.
    fn returned(&self) -> i64 {
        (0..self.trust.len() as u32).filter(|peer| self.graph.sum(*peer) == 0).map(|peer| self.flowed(peer)).sum()
    }

    /// Spreads what is on its way to the seeds over them.
    fn come_home(&mut self) {
        if !self.seeds.is_empty() {
            let amount = core::mem::take(&mut self.home);
            let seeds = core::mem::take(&mut self.seeds);
            self.come(&seeds, amount);
            self.seeds = seeds;
        }
    }

    fn come(&mut self, seeds: &[Edge], amount: i64) {
        let sum: i128 = seeds.iter().map(|seed| i128::from(seed.weight)).sum();
        let mut left = amount;
        for (at, seed) in seeds.iter().enumerate() {
            let part = (i128::from(amount) * i128::from(seed.weight) / sum) as i64;
            // The last takes what rounding leaves.
            let part = if at + 1 == seeds.len() { left } else { part };
            left -= part;
            self.rest[seed.to as usize] += part;
            touch(&mut self.touched, &mut self.is_touched, seed.to);
        }
    }

    fn untouch(&mut self) {
        self.touched.clear();
        self.is_touched.fill(0);
    }
}

/// Notes that a rest has changed.
fn touch(touched: &mut Vec<u32>, is_touched: &mut [u64], peer: u32) {
    let (word, bit) = (&mut is_touched[peer as usize / 64], 1 << (peer % 64));
    if *word & bit == 0 {
        *word |= bit;
        touched.push(peer);
    }
}

/// What of a rest stays where it came.
#[inline]
fn kept(rest: i64, again: i64) -> i64 {
    ((i128::from(rest) * i128::from(again)) >> 32) as i64
}

/// What a push needs, borrowed apart from what notes whom it touched.
struct Place<'a> {
    graph: &'a Graph,
    trust: &'a mut [i64],
    rest: &'a mut [i64],
}

impl Place<'_> {
    /// Lets `peer` keep its share of its rest and pass on the others; what goes home comes back.
    #[inline]
    fn push(self, peer: u32, again: i64, mut touched: impl FnMut(&mut i64, u32)) -> i64 {
        let rest = core::mem::take(&mut self.rest[peer as usize]);
        let kept = kept(rest, again);
        self.trust[peer as usize] += kept;
        self.graph.spread(peer, rest - kept, |to, part| {
            let rest = &mut self.rest[to as usize];
            *rest += part;
            touched(rest, to);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Rng;

    const AGAIN: Ppm = Ppm(150_000);

    /// `count` peers, the first 3 of them seeds, each with up to `degree` edges; one in ten believes nobody.
    fn random(count: u32, degree: u32, seed: u64) -> Flow {
        let mut rng = Rng::new(seed);
        let mut graph = Graph::default();
        (0..count).for_each(|_| {
            graph.peer();
        });
        for from in 0..count {
            let edges = if rng.below(10) == 0 { 0 } else { 1 + rng.below(degree) };
            for _ in 0..edges {
                let weight = 1 + (rng.next() as u32 >> rng.below(32));
                graph.set(from, rng.below(count), weight);
            }
        }
        let mut flow = Flow::over(graph, AGAIN);
        flow.seed((0..3).map(|to| Edge { to, weight: to + 1 }).collect());
        flow
    }

    fn whole(flow: &Flow) -> i64 {
        flow.trust.iter().sum::<i64>() + flow.rest.iter().sum::<i64>() + flow.home
    }

    /// The equation itself, in floats, iterated until it stands still.
    fn iterated(flow: &Flow) -> Vec<f64> {
        let (count, again) = (flow.trust.len(), flow.again as f64 / 2f64.powi(32));
        let sum: f64 = flow.seeds.iter().map(|seed| f64::from(seed.weight)).sum();
        let mut trust = vec![0.0; count];
        for _ in 0..300 {
            let mut next = vec![0.0; count];
            let mut home = again;
            for from in 0..count as u32 {
                let mine = trust[from as usize] * (1.0 - again);
                match flow.graph.sum(from) {
                    0 => home += mine,
                    all => flow.graph.row(from).iter().for_each(|edge| {
                        next[edge.to as usize] += mine * f64::from(edge.weight) / all as f64;
                    }),
                }
            }
            flow.seeds.iter().for_each(|seed| next[seed.to as usize] += home * f64::from(seed.weight) / sum);
            trust = next;
        }
        trust
    }

    fn distance(flow: &Flow, other: &[f64]) -> f64 {
        flow.trust.iter().zip(other).map(|(a, b)| (*a as f64 / ONE as f64 - b).abs()).sum()
    }

    #[test]
    fn is_the_solution_of_the_equation() {
        for seed in 0..10 {
            let mut flow = random(400, 8, seed);
            flow.solve(ONE as u64 / 1_000_000_000_000);
            assert_eq!(whole(&flow), ONE);
            assert!(flow.error() <= ONE as u64 / 1_000_000_000_000, "{}", flow.error());
            let off = distance(&flow, &iterated(&flow));
            assert!(off < 2e-12, "seed {seed}: {off}");
        }
    }

    #[test]
    fn changes_folded_in_lead_where_a_new_beginning_leads() {
        for seed in 0..3 {
            let mut flow = random(400, 8, seed);
            let mut rng = Rng::new(seed + 100);
            flow.solve(ONE as u64 / 1_000_000_000);
            for round in 0..15 {
                for _ in 0..5 {
                    let from = rng.below(400);
                    let edge = Edge { to: rng.below(400), weight: rng.next() as u32 >> rng.below(32) };
                    flow.set(from, [edge]);
                }
                if round % 10 == 5 {
                    flow.set(rng.below(400), (0..400).map(|to| Edge { to, weight: 0 }));
                    flow.seed((0..4).map(|_| Edge { to: rng.below(400), weight: 1 + rng.below(9) }).collect());
                }
                assert_eq!(whole(&flow), ONE, "nothing is made or lost");
                assert!(flow.fold(ONE as u64 / 1_000_000_000_000, usize::MAX));
                assert_eq!(whole(&flow), ONE, "nothing is made or lost");
            }
            let off = distance(&flow, &iterated(&flow));
            assert!(off < 1e-8, "seed {seed}: {off}, at most {}", flow.error() as f64 / ONE as f64);
        }
    }

    #[test]
    fn whoever_is_forgotten_leaves_nothing_behind() {
        let mut flow = random(400, 8, 4);
        flow.solve(ONE as u64 / 1_000_000_000);
        for gone in 100..150 {
            flow.replace(gone, &[]);
            (0..400).for_each(|from| flow.set(from, [Edge { to: gone, weight: 0 }]));
            assert!(!flow.named()[gone as usize]);
            flow.forget(gone);
            assert_eq!((flow.trust(gone), whole(&flow)), (0, ONE), "nothing is made or lost");
        }
        assert!(flow.fold(ONE as u64 / 1_000_000_000_000, usize::MAX));
        let off = distance(&flow, &iterated(&flow));
        assert!(off < 1e-8, "{off}");
    }

    #[test]
    fn a_town_is_solved_in_fewer_rounds_than_its_trust_would_take_to_wear_off() {
        let mut flow = random(400, 8, 1);
        // 0.85 to the power of 85 is a millionth.
        let rounds = flow.solve(ONE as u64 / 1_000_000);
        assert!((1..85).contains(&rounds), "{rounds}");
        assert_eq!(flow.settle(ONE as u64 / 1_000_000), 0, "nothing is left to do");
    }

    #[test]
    fn whoever_is_believed_by_nobody_has_no_trust_at_any_time() {
        let mut flow = random(400, 8, 2);
        let army: Vec<u32> = (0..50).map(|_| flow.peer()).collect();
        army.iter().for_each(|from| flow.set(*from, army.iter().map(|to| Edge { to: *to, weight: 1 })));
        flow.solve(ONE as u64 / 1_000);
        assert!(army.iter().all(|peer| flow.trust(*peer) == 0));
    }

    #[test]
    fn the_error_is_never_less_than_the_distance() {
        let mut flow = random(400, 8, 3);
        let solution = iterated(&flow);
        for digits in 1..10 {
            flow.solve(ONE as u64 / 10_u64.pow(digits));
            let (off, said) = (distance(&flow, &solution), flow.error() as f64 / ONE as f64);
            assert!(off <= said * 1.000_001 && said <= 0.1_f64.powi(digits as i32) * 1.001, "{off} {said}");
        }
    }

    #[test]
    fn a_millionth_of_a_millionth_does_not_round_away() {
        let mut flow = Flow::new(AGAIN);
        let chain: Vec<u32> = (0..60).map(|_| flow.peer()).collect();
        for pair in chain.windows(2) {
            // One part in ten goes on along the chain, the others back to its beginning.
            flow.set(pair[0], [Edge { to: pair[1], weight: 1 }, Edge { to: chain[0], weight: 9 }]);
        }
        flow.seed(vec![Edge { to: chain[0], weight: 1 }]);
        flow.solve(0);
        let (twelve, exact) = (flow.trust(12) as f64 / ONE as f64, iterated(&flow)[12]);
        assert!(exact < 1e-12 && (twelve / exact - 1.0).abs() < 1e-4, "{twelve} {exact}");
    }

    #[test]
    fn a_small_budget_stops_early_and_goes_on_later() {
        let mut flow = random(400, 8, 5);
        flow.solve(ONE as u64 / 1_000_000_000);
        (0..50).for_each(|from| flow.set(from, [Edge { to: 399 - from, weight: u32::MAX }]));
        let least = ONE as u64 / 1_000_000_000_000;
        assert!(!flow.fold(least, 10));
        while !flow.fold(least, 100) {}
        let off = distance(&flow, &iterated(&flow));
        assert!(off < 1e-8, "{off}");
    }
}
