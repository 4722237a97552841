//! Is somebody not as it should be? By what others saw of it, never by what it says of itself.
//!
//! For each peer, model and back end four sums are kept, one for each [`Sign`]: each observation adds the logarithm of how much
//! likelier it is for a bad peer than for a good one, and no sum falls below nothing. A sum above [`Config::alarm`] is an alarm.
//! After `n` observations of a good peer the chance of a false alarm is at most n·e⁻ᴬ; with 20 nats that is 3·10⁻⁵ for 16,000
//! blocks, the work of a thousand tasks.
//!
//! So that nobody can have a rival condemned alone, what one observer adds to a sum is capped at a third of the alarm, and of
//! blocks that an audit found wrong at its share where [`Config::observers_min`] must see them: so an alarm always has as
//! many observers, and what one of them saw waits in the sum for the others.
//!
//! Source: E. Page, "Continuous Inspection Schemes" (1954). The predecessor's rule of three sigmas over figures that a node
//! reports of itself was left: a cheat fills in the form.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::kit::{NodeId, Ppm, log};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// A block of an audited answer was wrong: further off than one honest block in a thousand
    /// ([`is_wrong`](crate::trust::verify::sequential::Calibration::is_wrong)).
    Wrong,
    /// A session was left in the middle.
    Failed,
    /// It took more than twice as long as half of those with this model and back end.
    Slow,
    /// It was paid for more than its kind can do in the time.
    Greedy,
}

impl Sign {
    const COUNT: usize = 4;

    /// How often this is seen of good peers and of bad ones, in parts of a million.
    ///
    /// Wrong blocks of good peers are numeric drift beyond what calibration knew; of a bad one a block in thirty is wrong, or
    /// more. What is spoilt with the nearest of models is wrong four times in ten only: whoever spoils one block in twenty so is
    /// found nine times in ten within fifty tasks, and 99 in 100 within a hundred (unit tests of `verify::sequential`). One session in
    /// fifty of good peers is left (their owner returned), of bad ones one in five. A good peer is slow every twentieth time, and never
    /// earns more than its kind can.
    const fn rates(self) -> (u64, u64) {
        match self {
            Self::Wrong => (1_000, 33_000),
            Self::Failed => (20_000, 200_000),
            Self::Slow => (50_000, 300_000),
            Self::Greedy => (1_000, 50_000),
        }
    }

    /// What seeing it adds, and what not seeing it takes, in thousandths of a nat.
    const fn steps(self) -> (i32, i32) {
        let (good, bad) = self.rates();
        (nats(bad, good), nats(1_000_000 - bad, 1_000_000 - good))
    }
}

/// The logarithm of a ratio, in thousandths of a nat, rounded down: in favour of the peer.
const fn nats(a: u64, b: u64) -> i32 {
    (log::ln_ratio(a, b) * 1000).div_euclid(log::ONE) as i32
}

/// When to raise an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The sum of an alarm, in thousandths of a nat.
    pub alarm: i32,
    /// Sums that are kept at most: of peers times models times back ends.
    pub watches_max: usize,
    /// Observers without whom wrong blocks are no alarm; at least 1. One is enough for who sees all audits itself, and can have any
    /// of them done again; who hears of them from others needs more.
    pub observers_min: u32,
    /// Observers of one sign that are told apart; what further ones say in this run of a sum does not count.
    pub observers_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { alarm: 20_000, watches_max: 65_536, observers_min: 1, observers_max: 16 }
    }
}

/// What is watched: a peer with one model on one back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Who.
    pub peer: NodeId,
    /// Which model.
    pub model: u64,
    /// Which back end.
    pub backend: u16,
}

/// What one observer saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Who saw it.
    pub observer: NodeId,
    /// How far the observer is believed; nothing counts nothing.
    pub belief: Ppm,
    /// What might have been seen.
    pub sign: Sign,
    /// How often it was looked for.
    pub looked: u32,
    /// How often it was there.
    pub seen: u32,
}

/// Something is wrong with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// With whom.
    pub subject: Subject,
    /// What.
    pub sign: Sign,
    /// How many saw it.
    pub observers: u32,
}

/// All that is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    config: Config,
    watches: BTreeMap<Subject, [Sum; Sign::COUNT]>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    sum: i32,
    /// What each observer has added since the sum was last nothing.
    added: Vec<(NodeId, i32)>,
}

impl Anomaly {
    /// Nobody is watched yet.
    pub const fn new(config: Config) -> Self {
        Self { config, watches: BTreeMap::new() }
    }

    /// Takes in what was seen; an alarm, if that is the last straw. The sum begins anew then.
    pub fn observe(&mut self, subject: Subject, observation: Observation) -> Option<Alarm> {
        let Observation { observer, sign, .. } = observation;
        if observer == subject.peer || observation.belief.0 == 0 || observation.looked == 0 {
            return None;
        }
        if !self.watches.contains_key(&subject) && self.watches.len() >= self.config.watches_max {
            self.make_room();
        }
        let sum = &mut self.watches.entry(subject).or_default()[sign as usize];
        let least = self.config.observers_min.max(if sign == Sign::Wrong { 1 } else { 3 });
        let cap = self.config.alarm.saturating_add(least as i32 - 1) / least as i32;
        sum.add(&observation, cap, self.config.observers_max);
        if sum.sum < self.config.alarm {
            return None;
        }
        let observers = sum.added.iter().filter(|(_, added)| *added > 0).count() as u32;
        *sum = Sum::default();
        Some(Alarm { subject, sign, observers })
    }

    /// How near to an alarm somebody is, in parts of a million of it, by its worst sign.
    pub fn suspicion(&self, subject: &Subject) -> Ppm {
        let sums = self.watches.get(subject).into_iter().flatten();
        let worst = sums.map(|sum| i64::from(sum.sum)).max().unwrap_or(0);
        Ppm((worst * 1_000_000 / i64::from(self.config.alarm.max(1))) as u32)
    }

    /// Forgets whoever is least suspicious; of equals, the first.
    fn make_room(&mut self) {
        let worst = |sums: &[Sum; Sign::COUNT]| sums.iter().map(|sum| sum.sum).max();
        if let Some(calmest) = self.watches.iter().min_by_key(|(_, sums)| worst(sums)).map(|pair| *pair.0) {
            self.watches.remove(&calmest);
        }
    }
}

impl Sum {
    fn add(&mut self, observation: &Observation, cap: i32, observers_max: usize) {
        let (up, down) = observation.sign.steps();
        // Looks are taken one by one, as a sum that stops at nothing is not the sum of its parts; more than a session has
        // are not believed.
        let looked = observation.looked.min(4096);
        let seen = observation.seen.min(looked);
        let mut at = 0;
        for look in 1..=u64::from(looked) {
            // Spread evenly over all looks.
            let so_far = look * u64::from(seen) / u64::from(looked);
            let step = if so_far > at { up } else { down };
            at = so_far;
            let step = (i64::from(step) * i64::from(observation.belief.0.min(1_000_000)) / 1_000_000) as i32;
            self.step(observation.observer, step, cap, observers_max);
        }
    }

    fn step(&mut self, observer: NodeId, step: i32, cap: i32, observers_max: usize) {
        let known = self.added.iter().position(|(known, _)| *known == observer);
        let at = match known {
            Some(at) => at,
            None if self.added.len() < observers_max => {
                self.added.push((observer, 0));
                self.added.len() - 1
            }
            // Praise needs no name.
            None if step < 0 => usize::MAX,
            None => return,
        };
        let step = match self.added.get_mut(at) {
            Some((_, added)) => {
                let step = step.min(cap - *added);
                *added = (*added + step).max(0);
                step
            }
            None => step,
        };
        self.sum += step;
        if self.sum <= 0 {
            self.sum = 0;
            self.added.clear();
        }
    }
}

/// How fast those with one model and one back end are: the last speeds that were measured, by others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cohort {
    /// Thousandths of a token a second, the oldest first.
    speeds: Vec<u32>,
}

impl Cohort {
    /// Speeds that are remembered.
    pub const SIZE: usize = 64;
    /// Speeds without which nothing is judged.
    pub const LEAST: usize = 8;

    /// Takes in a speed; which of [`Sign::Slow`] and [`Sign::Greedy`] it is a case of, if there are enough to compare with.
    ///
    /// Slow is less than half of the median; greedy is more than four times, where no machine of a kind is. The median does
    /// not care what a minority says.
    pub fn judge(&mut self, speed: u32) -> Option<(bool, bool)> {
        let verdict = (self.speeds.len() >= Self::LEAST).then(|| {
            let median = self.median();
            (u64::from(speed) * 2 < median, u64::from(speed) > median * 4)
        });
        if self.speeds.len() >= Self::SIZE {
            self.speeds.remove(0);
        }
        self.speeds.push(speed);
        verdict
    }

    fn median(&self) -> u64 {
        let mut sorted = self.speeds.clone();
        sorted.sort_unstable();
        u64::from(sorted.get(sorted.len() / 2).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Rng;

    fn subject(n: u64) -> Subject {
        Subject { peer: NodeId::number(n), model: 1, backend: 1 }
    }

    fn seen(observer: u64, sign: Sign, looked: u32, seen: u32) -> Observation {
        Observation { observer: NodeId::number(observer), belief: Ppm::ALL, sign, looked, seen }
    }

    /// How many of `looked` things happen, each `ppm` times in a million.
    fn count(rng: &mut Rng, looked: u32, ppm: u32) -> u32 {
        (0..looked).filter(|_| rng.chance(ppm)).count() as u32
    }

    #[test]
    fn cheats_are_found_within_fifty_tasks() {
        // One block in twenty is wrong; answers have 16 blocks.
        let (mut rng, mut found, mut tasks) = (Rng::new(1), 0, 0);
        for peer in 0..1_000 {
            let mut anomaly = Anomaly::new(Config::default());
            for task in 1..=50 {
                let wrong = count(&mut rng, 16, 50_000);
                if anomaly.observe(subject(peer), seen(1_000_000 + task % 7, Sign::Wrong, 16, wrong)).is_some() {
                    (found, tasks) = (found + 1, tasks + task);
                    break;
                }
            }
        }
        assert!(found >= 990, "{found} of 1,000");
        assert!(tasks / found < 25, "{} tasks on average", tasks / found);
    }

    #[test]
    fn good_peers_are_left_alone() {
        // Ten thousand peers with 200 tasks each, at the rates of good peers exactly.
        let (mut rng, mut alarms) = (Rng::new(2), 0);
        let mut anomaly = Anomaly::new(Config::default());
        for peer in 0..10_000 {
            for task in 0..200 {
                for (sign, looked) in [(Sign::Wrong, 16), (Sign::Failed, 1), (Sign::Slow, 1), (Sign::Greedy, 1)] {
                    // One draw a sign is enough for one look; wrong blocks are rare, so most tasks have none.
                    let ppm = sign.rates().0 as u32 * looked;
                    let bad = u32::from(rng.chance(ppm));
                    alarms += u32::from(anomaly.observe(subject(peer), seen(task % 5, sign, looked, bad)).is_some());
                }
            }
        }
        assert!(alarms <= 1, "{alarms} of 10,000 peers");
    }

    #[test]
    fn one_observer_alone_cannot_raise_an_alarm_and_three_can() {
        let mut anomaly = Anomaly::new(Config::default());
        for _ in 0..1_000 {
            assert_eq!(anomaly.observe(subject(1), seen(7, Sign::Failed, 1, 1)), None);
        }
        let capped = anomaly.suspicion(&subject(1));
        assert!((300_000..350_000).contains(&capped.0), "{capped}");
        let mut alarm = None;
        for n in 0..100 {
            alarm = alarm.or(anomaly.observe(subject(1), seen(8 + n % 2, Sign::Failed, 1, 1)));
        }
        assert_eq!(alarm, Some(Alarm { subject: subject(1), sign: Sign::Failed, observers: 3 }));
    }

    #[test]
    fn what_one_observer_found_waits_for_the_others() {
        let mut anomaly = Anomaly::new(Config { observers_min: 3, ..Config::default() });
        for observer in [5, 5, 6] {
            assert_eq!(anomaly.observe(subject(1), seen(observer, Sign::Wrong, 8, 8)), None, "two are too few");
        }
        let alarm = Alarm { subject: subject(1), sign: Sign::Wrong, observers: 3 };
        assert_eq!(anomaly.observe(subject(1), seen(7, Sign::Wrong, 8, 8)), Some(alarm));
        // Two who lie, and one who saw one block that drifted.
        for observer in [5, 6] {
            anomaly.observe(subject(2), seen(observer, Sign::Wrong, 4096, 4096));
        }
        assert_eq!(anomaly.observe(subject(2), seen(7, Sign::Wrong, 64, 1)), None);
    }

    #[test]
    fn whoever_is_not_believed_and_the_peer_itself_do_not_count() {
        let mut anomaly = Anomaly::new(Config::default());
        let stranger = Observation { belief: Ppm(0), ..seen(5, Sign::Wrong, 100, 100) };
        assert_eq!(anomaly.observe(subject(1), stranger), None);
        assert_eq!(anomaly.observe(subject(1), seen(1, Sign::Wrong, 100, 100)), None, "of itself");
        assert_eq!(anomaly.suspicion(&subject(1)), Ppm(0));
        let doubtful = Observation { belief: Ppm(100_000), ..seen(5, Sign::Wrong, 4, 4) };
        anomaly.observe(subject(1), doubtful);
        let little = anomaly.suspicion(&subject(1)).0;
        anomaly.observe(subject(2), Observation { belief: Ppm::ALL, ..doubtful });
        assert!(anomaly.suspicion(&subject(2)).0.abs_diff(little * 10) < 2_000);
    }

    #[test]
    fn an_audited_answer_that_is_wrong_throughout_is_enough() {
        let mut anomaly = Anomaly::new(Config::default());
        assert!(anomaly.observe(subject(1), seen(5, Sign::Wrong, 8, 8)).is_some());
        assert_eq!(anomaly.suspicion(&subject(1)), Ppm(0), "it begins anew");
    }

    #[test]
    fn the_calmest_makes_room() {
        let mut anomaly = Anomaly::new(Config { watches_max: 10, ..Config::default() });
        for peer in 0..10 {
            anomaly.observe(subject(peer), seen(99, Sign::Wrong, 20, u32::from(peer != 4) * 2));
        }
        anomaly.observe(subject(50), seen(99, Sign::Wrong, 1, 1));
        assert_eq!(anomaly.watches.len(), 10);
        assert!(!anomaly.watches.contains_key(&subject(4)));
    }

    #[test]
    fn hostile_counts_are_harmless() {
        let mut anomaly = Anomaly::new(Config::default());
        anomaly.observe(subject(1), seen(5, Sign::Slow, u32::MAX, u32::MAX));
        anomaly.observe(subject(1), seen(6, Sign::Failed, 1, u32::MAX));
        assert!(anomaly.suspicion(&subject(1)).0 <= 400_000);
    }

    #[test]
    fn slow_and_greedy_are_judged_by_the_median() {
        let mut cohort = Cohort::default();
        assert!((0..8).all(|n| cohort.judge(10_000 + n * 100).is_none()));
        assert_eq!(cohort.judge(10_000), Some((false, false)));
        assert_eq!(cohort.judge(5_000), Some((true, false)));
        assert_eq!(cohort.judge(42_000), Some((false, true)));
        // A minority that lies moves nothing.
        let mut more = |count: u32, speed| (0..count).filter_map(|_| cohort.judge(speed)).count();
        more(20, 10_000);
        more(20, u32::MAX);
        assert_eq!(cohort.judge(10_000), Some((false, false)));
        (0..200).for_each(|_| assert!(cohort.judge(1).is_some()));
        assert_eq!(cohort.speeds.len(), Cohort::SIZE);
    }
}
