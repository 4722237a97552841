//! A learner that may rank those who were drawn, where it is better at it than the draw.
//!
//! It keeps, for each context (class and length of a task) and each kind of worker (line, price, model in memory), the mean of
//! the logarithm of how long tasks took, and prefers kinds that took least, those seldom seen a little more than they deserve
//! (upper confidence bounds).
//!
//! One task in ten it ranks for trial, one in ten it leaves alone for comparison, always. The others it ranks only while the
//! trial says that this is better by more than twice the standard error. So where it does not win it is off, and where it
//! has ceased to win it goes off.
//!
//! Source: P. Auer, N. Cesa-Bianchi, P. Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem" (2002), UCB1. The
//! predecessor's learner was never compared with anything.

use alloc::collections::BTreeMap;

use super::choice::Candidate;
use crate::kit::{Class, Rng, log};

/// What is known of the task when its worker is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Context(u8);

impl Context {
    /// Class and length: below 64 tokens, below 512, below 4096, more.
    pub const fn new(class: Class, cost: u32) -> Self {
        Self(
            class as u8 * 4
                + match cost {
                    0..64 => 0,
                    64..512 => 1,
                    512..4096 => 2,
                    _ => 3,
                },
        )
    }
}

/// Which kind of worker: line up to 20, 80, 200 ms or more; price up to the usual, a half more, twice, or more; model in
/// memory or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(u8);

impl Kind {
    /// Of one candidate.
    pub const fn of(candidate: &Candidate) -> Self {
        let line = match candidate.link {
            0..=20_000 => 0,
            20_001..=80_000 => 1,
            80_001..=200_000 => 2,
            _ => 3,
        };
        let price = match candidate.price {
            0..=1_000_000 => 0,
            1_000_001..=1_500_000 => 1,
            1_500_001..=2_000_000 => 2,
            _ => 3,
        };
        Self(line * 8 + price * 2 + candidate.hot as u8)
    }
}

/// What a task is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Ranked, to see what comes of it.
    Trial,
    /// Left alone, to see what comes of that.
    Control,
    /// Ranked if that is known to be better.
    Rest,
}

/// What has been learned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learner {
    arms: BTreeMap<(Context, Kind), Moments>,
    trial: Moments,
    control: Moments,
}

/// Count, sum and sum of squares, halved together when they grow, so that what is long past fades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moments {
    count: u64,
    sum: i64,
    squares: i64,
}

/// Outcomes of each group before anything is concluded.
const OUTCOMES_MIN: u64 = 300;
/// Outcomes after which all are halved.
const OUTCOMES_MAX: u64 = 20_000;

impl Learner {
    /// Draws what a task is used for, and whether its candidates are to be ranked.
    pub fn group(&self, rng: &mut Rng) -> (Group, bool) {
        match rng.below(10) {
            0 => (Group::Trial, true),
            1 => (Group::Control, false),
            _ => (Group::Rest, self.wins()),
        }
    }

    /// How good a kind is for a context: less is better, in thousandths of a nat.
    pub fn score(&self, context: Context, kind: Kind) -> i64 {
        let Some(arm) = self.arms.get(&(context, kind)).filter(|arm| arm.count >= 3) else {
            // Unknown: to be tried.
            return i64::MIN;
        };
        let tries = self.trial.count + self.control.count + 2;
        // √(ln N / n), in thousandths: how far the mean may be off, at a spread of one nat.
        let ln = (log::ln(tries) >> 16) as u64;
        let off = ((ln * 1_000_000 / arm.count) >> 16).isqrt();
        arm.mean() - off as i64
    }

    /// Takes in that a task of this context took `micros`, done by a worker of this kind.
    pub fn outcome(&mut self, context: Context, kind: Kind, group: Group, micros: u64) {
        let nats = log::ln(micros.max(1)) * 1000 / log::ONE;
        self.arms.entry((context, kind)).or_default().add(nats);
        match group {
            Group::Trial => self.trial.add(nats),
            Group::Control => self.control.add(nats),
            Group::Rest => {}
        }
    }

    /// Whether ranking is better than not: by more than twice the standard error of the difference.
    pub fn wins(&self) -> bool {
        if self.trial.count.min(self.control.count) < OUTCOMES_MIN {
            return false;
        }
        let better = self.control.mean() - self.trial.mean();
        let error = (self.control.error_squared() + self.trial.error_squared()) as u64;
        better > 0 && (better as u64).pow(2) > 4 * error
    }
}

impl Moments {
    fn add(&mut self, nats: i64) {
        if self.count >= OUTCOMES_MAX {
            (self.count, self.sum, self.squares) = (self.count / 2, self.sum / 2, self.squares / 2);
        }
        self.count += 1;
        self.sum += nats;
        self.squares += nats * nats;
    }

    const fn mean(&self) -> i64 {
        if self.count == 0 { 0 } else { self.sum / self.count as i64 }
    }

    /// The variance of the mean, in millionths of a square nat; rounded up.
    const fn error_squared(&self) -> i64 {
        let count = if self.count == 0 { 1 } else { self.count as i64 };
        let variance = self.squares / count - (self.sum / count) * (self.sum / count);
        (if variance > 0 { variance } else { 0 }) / count + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::NodeId;

    fn candidate(link: u32) -> Candidate {
        Candidate { worker: NodeId::default(), trust: 1, price: 1_000_000, link, hot: true }
    }

    /// Lets the learner choose between two kinds for so many tasks; near ones take `near` ms on average, far ones `far`. How
    /// often ranked tasks went to the near kind.
    fn learn(learner: &mut Learner, rng: &mut Rng, tasks: u32, near: u64, far: u64) -> u32 {
        let context = Context::new(Class::Standard, 100);
        let kinds = [candidate(10_000), candidate(300_000)].map(|candidate| Kind::of(&candidate));
        let mut chosen = [0; 2];
        for _ in 0..tasks {
            let (group, ranks) = learner.group(rng);
            let best = if learner.score(context, kinds[0]) <= learner.score(context, kinds[1]) { 0 } else { 1 };
            let at = if ranks { best } else { rng.below(2) as usize };
            chosen[at] += u32::from(ranks);
            let time = [near, far][at] * 1000;
            learner.outcome(context, kinds[at], group, time / 2 + rng.next() % time);
        }
        chosen[0]
    }

    #[test]
    fn ranks_where_that_is_better_and_is_off_where_not() {
        let (mut learner, mut rng) = (Learner::default(), Rng::new(1));
        learn(&mut learner, &mut rng, 10_000, 100, 200);
        assert!(learner.wins());
        let near = learn(&mut learner, &mut rng, 1_000, 100, 200);
        assert!(near > 850, "{near} of some 900 went to the better kind");
        let mut same = Learner::default();
        let mut on = 0;
        for _ in 0..50 {
            learn(&mut same, &mut rng, 400, 100, 100);
            on += u32::from(same.wins());
        }
        assert!(on <= 10, "on at {on} of 50 looks where there is nothing to win");
    }

    #[test]
    fn what_was_better_once_is_forgotten() {
        let (mut learner, mut rng) = (Learner::default(), Rng::new(2));
        learn(&mut learner, &mut rng, 20_000, 100, 200);
        learn(&mut learner, &mut rng, 300_000, 200, 100);
        let near = learn(&mut learner, &mut rng, 1_000, 200, 100);
        assert!(near < 100, "{near} went to the kind that was better once");
    }

    #[test]
    fn contexts_and_kinds_are_told_apart() {
        let contexts: alloc::collections::BTreeSet<_> = Class::ALL
            .iter()
            .flat_map(|class| [1, 100, 1_000, 10_000].map(|cost| Context::new(*class, cost)))
            .collect();
        assert_eq!(contexts.len(), 16);
        let kinds: alloc::collections::BTreeSet<_> = [0, 50_000, 100_000, 300_000]
            .iter()
            .flat_map(|link| [1, 1_200_000, 1_800_000, 9_000_000].map(|price| Candidate { price, ..candidate(*link) }))
            .flat_map(|c| [c, Candidate { hot: false, ..c }].map(|c| Kind::of(&c)))
            .collect();
        assert_eq!(kinds.len(), 32);
    }

    #[test]
    fn moments_agree_with_floats() {
        let (mut moments, mut rng, mut samples) = (Moments::default(), Rng::new(3), alloc::vec::Vec::new());
        for _ in 0..1_000 {
            let sample = i64::from(rng.below(20_000));
            moments.add(sample);
            samples.push(sample as f64);
        }
        let mean = samples.iter().sum::<f64>() / 1e3;
        let variance = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 1e3;
        assert!((moments.mean() as f64 - mean).abs() < 1.0);
        assert!((moments.error_squared() as f64 / (variance / 1e3) - 1.0).abs() < 0.01);
    }
}
