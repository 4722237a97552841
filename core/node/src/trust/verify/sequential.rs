//! Guilty or not, block after block: a sequential test for one worker, one model, one pair of back ends.
//!
//! Each distance between fingerprints adds the logarithm of how much likelier it is for cheats than for honest workers, as
//! calibrated for the pair. The sum never falls below nothing, so that a worker that turns bad after long is caught as fast as
//! a new one; above [`GUILTY`] it is guilty.
//!
//! The chance that honest work drives the sum from nothing above A within n blocks is at most n·e⁻ᴬ, because the likelihood
//! ratio is 1 on average under honesty (Ville's inequality, a union over where the run begins). With A = 18.5 and 64 blocks (2,048
//! tokens) of an audit that is 6·10⁻⁷: less than one in a million audits.
//!
//! A single block is wrong ([`Calibration::is_wrong`]) where it is further off than one honest block in a thousand, whatever its step:
//! of bells of width 2 around 14 and 2.5 around 20 one honest block in ten is likelier of a cheat, and one in two thousand is
//! wrong; of the cheat's blocks four in ten are.
//!
//! Sources: A. Wald (1945); E. Page (1954), the cumulative sum.

use super::commit::BUCKETS;
use crate::kit::log;

/// The sum at which a worker is guilty, in thousandths of a nat.
pub const GUILTY: i32 = 18_500;
/// What one block may add or take at most: at least five must be bad.
const STEP_MAX: i32 = 4_000;

/// What each distance says, for one pair of back ends, in thousandths of a nat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    steps: [i32; BUCKETS],
    /// The least distance that is rare among honest blocks.
    rare: u8,
}

/// Why a calibration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Fewer honest or cheating distances than are needed.
    TooFew {
        /// How many there were.
        count: u64,
    },
    /// Honest and cheating distances look alike: no test can tell them apart.
    Alike,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooFew { count } => write!(f, "{count} distances are too few; measure at least {COUNT_MIN} of each"),
            Self::Alike => f.write_str("honest and cheating distances look alike; audit this pair by referees"),
        }
    }
}

impl core::error::Error for Error {}

/// Distances of each kind that a calibration needs.
pub const COUNT_MIN: u64 = 1_000;

impl Calibration {
    /// Takes in how often each distance was measured between honest workers with these back ends, and how often between an
    /// honest one and the cheats that are to be caught (the nearest of them: one step more quantised).
    ///
    /// # Errors
    /// [`Error::TooFew`], [`Error::Alike`], in this order of checks.
    pub fn new(honest: &[u64; BUCKETS], cheating: &[u64; BUCKETS]) -> Result<Self, Error> {
        let count = |counts: &[u64; BUCKETS]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let (all_honest, all_cheating) = (count(honest), count(cheating));
        let least = all_honest.min(all_cheating);
        if least < COUNT_MIN {
            return Err(Error::TooFew { count: least });
        }
        // One of each more than was seen: what was never seen is rare, not impossible.
        let nats = |part: u64, all: u64| log::ln_ratio(part.saturating_add(1), all.saturating_add(BUCKETS as u64));
        let mut steps = [0; BUCKETS];
        for (at, step) in steps.iter_mut().enumerate() {
            let ratio = nats(cheating[at], all_cheating) - nats(honest[at], all_honest);
            *step = (ratio * 1000 / log::ONE).clamp(-i64::from(STEP_MAX), i64::from(STEP_MAX)) as i32;
        }
        // Cheats are measured with the nearest of models. What is further off than any of them speaks against a worker as much.
        for at in middle(honest, all_honest) + 1..BUCKETS {
            steps[at] = steps[at].max(steps[at - 1]);
        }
        let mut calibration = Self { steps, rare: rare(honest, all_honest) };
        calibration.balance(honest, all_honest);
        if calibration.drift(cheating) < 100 {
            return Err(Error::Alike);
        }
        Ok(calibration)
    }

    /// What a distance says.
    pub fn step(&self, distance: u8) -> i32 {
        self.steps[usize::from(distance).min(BUCKETS - 1)]
    }

    /// Whether a block so far off is wrong: likelier of a cheat, and further off than all but one honest block in a thousand.
    pub fn is_wrong(&self, distance: u8) -> bool {
        distance >= self.rare && self.step(distance) > 0
    }

    /// What a block adds on average when distances are spread like `counts`, in thousandths of a nat.
    pub fn drift(&self, counts: &[u64; BUCKETS]) -> i64 {
        let all: i128 = counts.iter().map(|count| i128::from(*count)).sum::<i128>().max(1);
        let sum: i128 = counts.iter().zip(self.steps).map(|(count, step)| i128::from(*count) * i128::from(step)).sum();
        (sum / all) as i64
    }

    /// Capping steps from below makes honest ones add too much on average. Takes thousandths off all until the likelihood
    /// ratio is at most 1 on average again, with what was never seen counted once.
    fn balance(&mut self, honest: &[u64; BUCKETS], all: u64) {
        let all = u128::from(all) + BUCKETS as u128;
        loop {
            let ratio = |step: i32| power(step) as u128;
            let sum: u128 = honest.iter().zip(self.steps).map(|(n, step)| (u128::from(*n) + 1) * ratio(step)).sum();
            if sum <= all << 40 {
                return;
            }
            self.steps.iter_mut().for_each(|step| *step -= 1);
        }
    }
}

/// The least distance that no more than half of all go beyond.
fn middle(counts: &[u64; BUCKETS], all: u64) -> usize {
    let mut sum = 0_u64;
    let half = |count: &u64| {
        sum = sum.saturating_add(*count);
        sum >= all / 2
    };
    counts.iter().position(half).unwrap_or(0)
}

/// One honest block in so many is as far off as what is rare, or further.
const RARE: u64 = 1_000;

/// The least distance that at most one in [`RARE`] reaches, if one more reached it than was seen: beyond the furthest of n is one
/// in n + 1.
fn rare(honest: &[u64; BUCKETS], all: u64) -> u8 {
    let mut reached = 1_u64;
    let common = |count: &u64| {
        reached = reached.saturating_add(*count);
        reached.saturating_mul(RARE) > all
    };
    honest.iter().rposition(common).map_or(0, |at| at as u8 + 1)
}

/// e to the power of so many thousandths, in parts of 2⁴⁰.
fn power(thousandths: i32) -> u64 {
    // log2(e) in parts of 2³².
    const LOG2_E: i64 = 6_196_328_019;
    let halvings = -i64::from(thousandths) * LOG2_E / 1000;
    // Up to e⁴ = 2^5.8: begin six doublings higher.
    (log::exp2_minus((halvings + (6 << 32)).max(0) as u64) >> 16).max(1)
}

/// A sum that grows block by block; what is kept of it from audit to audit says [`history`](super::history).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspicion {
    /// In thousandths of a nat; from 0 up to, not including, [`GUILTY`] while it is not guilty.
    sum: i32,
}

impl Suspicion {
    /// Takes in the distance of one block; whether the worker is guilty now.
    pub fn record(&mut self, calibration: &Calibration, distance: u8) -> bool {
        self.sum = (self.sum + calibration.step(distance)).clamp(0, GUILTY);
        self.sum >= GUILTY
    }

    /// So much so far, in thousandths of a nat.
    pub(super) const fn of(sum: i32) -> Self {
        Self { sum }
    }

    /// How much of the way to guilty it is, in parts of a million: whoever is half-way is watched.
    pub const fn share(&self) -> u32 {
        (self.sum as i64 * 1_000_000 / GUILTY as i64) as u32
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::kit::Rng;

    /// Distances spread like a bell around `middle`, out of a million.
    pub fn bell(middle: f64, width: f64) -> [u64; BUCKETS] {
        core::array::from_fn(|at| (1e6 * (-((at as f64 - middle) / width).powi(2) / 2.0).exp()) as u64)
    }

    fn parts(counts: &[u64; BUCKETS]) -> Vec<f64> {
        let all: u64 = counts.iter().sum();
        counts.iter().map(|count| *count as f64 / all as f64).collect()
    }

    /// The chance to be guilty within `blocks`, by all ways that the sum can take (in steps of a hundredth of a nat,
    /// rounded up when that is `against` the worker and down otherwise).
    fn guilty(calibration: &Calibration, distances: &[u64; BUCKETS], blocks: usize, against: bool) -> f64 {
        guilty_from(Suspicion::default(), calibration, distances, blocks, against)
    }

    /// The same from a sum.
    pub fn guilty_from(
        from: Suspicion,
        calibration: &Calibration,
        distances: &[u64; BUCKETS],
        blocks: usize,
        against: bool,
    ) -> f64 {
        let (parts, cells) = (parts(distances), GUILTY as usize / 10);
        let steps: Vec<i32> = (0..BUCKETS as u8)
            .map(|at| calibration.step(at))
            .map(|step| if against { (step + 9).div_euclid(10) } else { step.div_euclid(10) })
            .collect();
        let (mut sums, mut caught) = (vec![0.0; cells], 0.0);
        sums[from.sum as usize / 10] = 1.0;
        for _ in 0..blocks {
            let mut next = vec![0.0; cells];
            for (sum, chance) in sums.iter().enumerate().filter(|(_, chance)| **chance > 1e-30) {
                for (step, part) in steps.iter().zip(&parts).filter(|(_, part)| **part > 0.0) {
                    let to = (sum as i32 + step).max(0) as usize;
                    if to >= cells { caught += chance * part } else { next[to] += chance * part }
                }
            }
            sums = next;
        }
        caught
    }

    /// A distance, drawn.
    pub fn sample(rng: &mut Rng, counts: &[u64; BUCKETS]) -> u8 {
        let all = counts.iter().sum::<u64>();
        let mut at = ((u128::from(rng.next()) * u128::from(all)) >> 64) as u64;
        counts.iter().position(|count| at.checked_sub(*count).map(|left| at = left).is_none()).unwrap() as u8
    }

    /// Honest back ends of different makers, and the same model with one step fewer bits.
    pub fn modelled() -> ([u64; BUCKETS], [u64; BUCKETS]) {
        (bell(14.0, 2.0), bell(20.0, 2.5))
    }

    #[test]
    fn honest_workers_are_accused_less_than_once_in_a_million_audits() {
        let (honest, cheating) = modelled();
        let calibration = Calibration::new(&honest, &cheating).unwrap();
        // Every audit of 64 blocks, from a sum of nothing; then ten in a row.
        let one = guilty(&calibration, &honest, 64, true);
        assert!(one < 1e-6, "{one}");
        let many = guilty(&calibration, &honest, 640, true);
        assert!(many / 10.0 < 1e-6, "{many}");
        // Where the two are hard to tell apart, the bound is the same.
        let near = bell(15.0, 2.0);
        let hard = Calibration::new(&honest, &near).unwrap();
        let one = guilty(&hard, &honest, 64, true);
        assert!(one < 1e-6, "{one}");
    }

    #[test]
    fn another_model_is_caught_within_twenty_tasks_but_for_one_in_a_million() {
        let (honest, cheating) = modelled();
        let calibration = Calibration::new(&honest, &cheating).unwrap();
        // Tasks of 128 tokens: four blocks each. All are audited, as it costs 1 %.
        let missed = 1.0 - guilty(&calibration, &cheating, 20 * 4, false);
        assert!(missed < 1e-6, "{missed}");
        // Where audits are dearer and six newcomers in ten are audited: by how many audits come, eight blocks each.
        let mut missed = 0.0;
        let mut chance = 0.4_f64.powi(20);
        for audits in 0..=20_u32 {
            missed += chance * (1.0 - guilty(&calibration, &cheating, audits as usize * 8, false));
            chance *= f64::from(20 - audits) / f64::from(audits + 1) * (0.6 / 0.4);
        }
        assert!(missed < 1e-6, "{missed}");
    }

    #[test]
    fn what_is_further_off_than_all_that_was_measured_speaks_against_a_worker() {
        let (honest, cheating) = modelled();
        for other in [cheating, bell(17.0, 2.0), bell(15.0, 2.0)] {
            let calibration = Calibration::new(&honest, &other).unwrap();
            assert!((15..48).all(|at| calibration.step(at) >= calibration.step(at - 1)));
            // Noise, which is as large as what was asked for.
            let mut suspicion = Suspicion::default();
            assert!((0..10).any(|_| suspicion.record(&calibration, 44)));
            assert!(calibration.is_wrong(44));
        }
    }

    #[test]
    fn whoever_turns_bad_is_caught_as_fast_as_a_newcomer() {
        let (honest, cheating) = modelled();
        let calibration = Calibration::new(&honest, &cheating).unwrap();
        let (mut rng, mut worst) = (Rng::new(1), 0);
        for _ in 0..300 {
            let mut suspicion = Suspicion::default();
            assert!((0..500).all(|_| !suspicion.record(&calibration, sample(&mut rng, &honest))));
            let blocks = (1..).find(|_| suspicion.record(&calibration, sample(&mut rng, &cheating))).unwrap();
            worst = worst.max(blocks);
        }
        assert!((5..40).contains(&worst), "{worst} blocks");
    }

    #[test]
    fn what_cannot_be_told_apart_is_said_to_be_so() {
        let (honest, cheating) = modelled();
        assert_eq!(Calibration::new(&honest, &honest), Err(Error::Alike));
        assert_eq!(Calibration::new(&[1; BUCKETS], &cheating), Err(Error::TooFew { count: 48 }));
        assert_eq!(Calibration::new(&honest, &[0; BUCKETS]), Err(Error::TooFew { count: 0 }));
    }

    /// What part of blocks is wrong.
    fn wrong(calibration: &Calibration, distances: &[u64; BUCKETS]) -> f64 {
        let parts = parts(distances);
        (0..BUCKETS).filter(|at| calibration.is_wrong(*at as u8)).map(|at| parts[at]).sum()
    }

    #[test]
    fn one_honest_block_in_a_thousand_is_wrong_at_most() {
        let (honest, cheating) = modelled();
        for other in [cheating, bell(17.0, 2.0), bell(15.0, 2.0)] {
            let calibration = Calibration::new(&honest, &other).unwrap();
            let part = wrong(&calibration, &honest);
            assert!(part > 0.0 && part <= 1e-3, "{part}");
            let likelier = (0..BUCKETS).filter(|at| calibration.step(*at as u8) > 0).map(|at| parts(&honest)[at]);
            assert!(likelier.sum::<f64>() > 0.1, "one in ten and more is likelier of a cheat");
        }
        // As few as may be measured: beyond the furthest of a thousand is what is rare.
        let few: [u64; BUCKETS] = core::array::from_fn(|at| if (10..20).contains(&at) { 100 } else { 0 });
        assert_eq!((rare(&few, 1_000), rare(&[1_000; BUCKETS], 48_000)), (20, 48));
    }

    /// Those who spoil one block in twenty, with the nearest of cheats or another model altogether, and who is honest: how many of a
    /// thousand raise an alarm within so many tasks of 16 blocks.
    #[test]
    fn who_spoils_blocks_is_found_by_those_that_are_wrong() {
        use crate::{
            kit::{NodeId, Ppm},
            trust::anomaly::{Anomaly, Config, Observation, Sign, Subject},
        };
        let (honest, cheating) = modelled();
        let calibration = Calibration::new(&honest, &cheating).unwrap();
        let near = wrong(&calibration, &cheating);
        assert!((0.41..0.43).contains(&near), "{near}");
        let mut rng = Rng::new(3);
        let mut found = |part: f64, tasks: u64| {
            let ppm = (part * 1e6) as u32;
            let alarms = (0..1_000).filter(|_| {
                let mut anomaly = Anomaly::new(Config::default());
                let subject = Subject { peer: NodeId::number(1), model: 1, backend: 1 };
                (0..tasks).any(|task| {
                    let seen = (0..16).filter(|_| rng.chance(ppm)).count() as u32;
                    let observer = NodeId::number(2 + task % 7);
                    let observation = Observation { observer, belief: Ppm::ALL, sign: Sign::Wrong, looked: 16, seen };
                    anomaly.observe(subject, observation).is_some()
                })
            });
            alarms.count()
        };
        let of_honest = wrong(&calibration, &honest);
        let spoils = |seen: f64| seen / 20.0 + of_honest * 19.0 / 20.0;
        assert!(found(spoils(1.0), 50) >= 990);
        assert!(found(spoils(near), 50) >= 880 && found(spoils(near), 100) >= 990);
        assert_eq!(found(of_honest, 200), 0);
    }

    #[test]
    fn steps_are_logarithms_of_the_ratio() {
        let (honest, cheating) = modelled();
        let calibration = Calibration::new(&honest, &cheating).unwrap();
        let (h, c) = (parts(&honest), parts(&cheating));
        for at in 12..20 {
            let exact = (c[at] / h[at]).ln().clamp(-4.0, 4.0) * 1000.0;
            let step = f64::from(calibration.step(at as u8));
            // Balancing takes a little off.
            assert!((step - exact).abs() < 40.0, "{at}: {step} {exact}");
        }
        assert_eq!(calibration.step(200), calibration.step(47));
        for thousandths in [-4000, -1000, -1, 0, 1, 500, 4000] {
            let (ours, exact) = (power(thousandths) as f64 / 2f64.powi(40), (f64::from(thousandths) / 1000.0).exp());
            assert!((ours / exact - 1.0).abs() < 1e-6, "{thousandths}: {ours} {exact}");
        }
    }
}
