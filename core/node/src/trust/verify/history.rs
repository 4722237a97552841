//! What audits told of one worker with one model so far.
//!
//! Short answers are too little to find anybody guilty ([`sequential`](super::sequential)), so what auditors see adds up. But one who lies
//! could bring the sum to just below guilty, and the next honest block that is a little off would do the rest. So
//!
//! - of what one auditor found a third of what condemns is kept at most, until the sum is nothing again;
//! - whoever looks next begins from what others than it found, and from two thirds at most: the last third must be seen in the work
//!   at hand;
//! - all who are asked about the same work, a jury, too, begin where the first of them began: an accuser's word is no evidence for
//!   those who are asked whether it is true.
//!
//! What this node computed itself it believes, and keeps all of it: where it audits alone the sum is that of
//! [`sequential`](super::sequential).
//!
//! How often an honest auditor finds 64 honest blocks guilty, with back ends that differ as the unit tests there model them, and with
//! near ones: if nobody lied before 10⁻⁹ times, if one did 6·10⁻⁸ and 8·10⁻⁷ times, if two did 10⁻⁴ and 1.5·10⁻³ times; and then others must
//! find the same. The price: a worker that serves another model and writes short answers, of four blocks, is
//! found by the second or third auditor that looks at it, and hardly by one alone that looks again.

use alloc::vec::Vec;

use super::sequential::{Calibration, GUILTY, Suspicion};
use crate::kit::NodeId;

/// What is kept of one auditor's findings at most, in thousandths of a nat: a third, as for [`anomaly`](crate::trust::anomaly).
const PART: i32 = GUILTY / 3;
/// Auditors that are told apart; what further ones hold against the worker is not kept until the sum is nothing again.
const AUDITORS_MAX: usize = 16;

/// What is remembered of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The sum if everybody were believed: enough to look again.
    told: Suspicion,
    /// The sum of what is kept, in thousandths of a nat; less than [`GUILTY`].
    sum: i32,
    /// What each auditor has added since the sum was last nothing; nobody is this node itself.
    added: Vec<(Option<NodeId>, i32)>,
}

impl History {
    /// Where `auditor` begins; nobody is this node itself. All who are asked after it about the same work begin there, too.
    pub fn begin(&self, auditor: Option<&NodeId>) -> Suspicion {
        let own = self.part(None);
        let part = auditor.map_or(0, |auditor| self.part(Some(auditor)));
        let others = (self.sum - own - part).clamp(0, 2 * PART);
        Suspicion::of((own + others).min(self.sum))
    }

    /// Takes in what `auditor` saw of the work, if it did not find the worker guilty.
    pub fn keep(&mut self, calibration: &Calibration, auditor: Option<NodeId>, distances: &[u8]) {
        for distance in distances {
            self.told.record(calibration, *distance);
            self.add(auditor, calibration.step(*distance));
        }
    }

    /// How much of the way to guilty it is if everybody is believed, in parts of a million: whoever is half-way is watched.
    pub const fn share(&self) -> u32 {
        self.told.share()
    }

    fn part(&self, auditor: Option<&NodeId>) -> i32 {
        self.added.iter().find(|(known, _)| known.as_ref() == auditor).map_or(0, |(_, added)| *added)
    }

    fn add(&mut self, auditor: Option<NodeId>, step: i32) {
        let cap = if auditor.is_some() { PART } else { GUILTY - 1 };
        let known = self.added.iter().position(|(known, _)| *known == auditor);
        let at = known.or_else(|| {
            let fits = step > 0 && self.added.len() < AUDITORS_MAX;
            fits.then(|| self.added.push((auditor, 0))).map(|()| self.added.len() - 1)
        });
        let step = match at.and_then(|at| self.added.get_mut(at)) {
            Some((_, added)) => {
                let step = step.min(cap - *added);
                *added = (*added + step).max(0);
                step
            }
            // Praise needs no name.
            None => step.min(0),
        };
        self.sum = (self.sum + step).clamp(0, GUILTY - 1);
        if self.sum == 0 {
            self.added.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::{
        super::sequential::tests::{bell, guilty_from, modelled, sample},
        *,
    };
    use crate::kit::Rng;

    fn id(n: u64) -> NodeId {
        NodeId::number(n)
    }

    /// The modelled pair, and one that is hard to tell apart.
    fn calibrations() -> [Calibration; 2] {
        let (honest, cheating) = modelled();
        [cheating, bell(15.0, 2.0)].map(|other| Calibration::new(&honest, &other).unwrap())
    }

    /// What liars said of work that was right: nothing that condemns, and as near to it as they can.
    fn slandered(calibration: &Calibration, liars: u64) -> History {
        let mut history = History::default();
        for liar in 0..liars {
            history.keep(calibration, Some(id(liar)), &[24; 64]);
        }
        history
    }

    #[test]
    fn one_liar_makes_no_honest_auditor_accuse_an_honest_worker() {
        let (honest, _) = modelled();
        for calibration in calibrations() {
            let history = slandered(&calibration, 1);
            assert_eq!(history.begin(Some(&id(0))), Suspicion::default(), "its own word is no evidence");
            let begun = history.begin(Some(&id(1)));
            assert_eq!(begun, Suspicion::of(PART));
            let accused = guilty_from(begun, &calibration, &honest, 64, true);
            assert!(accused < 1e-6, "{accused}");
            // From where a liar could bring it before, one block was enough.
            let poisoned = guilty_from(Suspicion::of(GUILTY - 100), &calibration, &honest, 4, true);
            assert!(poisoned > 0.1, "{poisoned}");
        }
    }

    #[test]
    fn however_many_lie_a_third_must_be_seen_in_the_work_at_hand() {
        let (honest, _) = modelled();
        for (calibration, most) in calibrations().into_iter().zip([1.1e-4, 2e-3]) {
            let begun = slandered(&calibration, 20).begin(Some(&id(30)));
            assert_eq!(begun, Suspicion::of(2 * PART));
            let accused = guilty_from(begun, &calibration, &honest, 64, true);
            assert!(accused < most, "{accused}");
        }
    }

    #[test]
    fn what_this_node_saw_itself_is_kept_as_a_whole() {
        let [calibration, _] = calibrations();
        let (honest, cheating) = modelled();
        let mut rng = Rng::new(4);
        for at in 0..200 {
            let (mut history, mut sum) = (History::default(), Suspicion::default());
            let spread = if at % 2 == 0 { &honest } else { &cheating };
            loop {
                let distances: Vec<u8> = (0..4).map(|_| sample(&mut rng, spread)).collect();
                let before = sum;
                assert_eq!(history.begin(None), before);
                let guilty = distances.iter().any(|at| sum.record(&calibration, *at));
                if guilty || rng.below(30) == 0 {
                    break;
                }
                history.keep(&calibration, None, &distances);
                assert_eq!(history.share(), sum.share());
            }
        }
    }

    /// Eight auditors of equal trust, answers of four blocks: less than one audit can condemn for.
    #[test]
    fn another_model_is_found_within_twenty_short_tasks_where_others_audit() {
        let [calibration, _] = calibrations();
        let (honest, cheating) = modelled();
        let (mut rng, mut sum, mut worst) = (Rng::new(5), 0, 0);
        for _ in 0..5_000 {
            let mut history = History::default();
            let mut is_found = || {
                let auditor = id(rng.below(8).into());
                let begun = history.begin(Some(&auditor));
                let mut says = || -> (bool, Vec<u8>) {
                    let distances: Vec<u8> = (0..4).map(|_| sample(&mut rng, &cheating)).collect();
                    let mut sum = begun;
                    let guilty = distances.iter().any(|at| sum.record(&calibration, *at));
                    (guilty, distances)
                };
                let (guilty, distances) = says();
                if !guilty {
                    history.keep(&calibration, Some(auditor), &distances);
                }
                guilty && (says().0 || says().0)
            };
            let tasks = (1..=20).find(|_| is_found()).expect("within twenty");
            (sum, worst) = (sum + tasks, worst.max(tasks));
        }
        assert!(sum < 5_000 * 5 && worst < 20, "{sum} {worst}");
        // Of an honest worker little is ever kept, however many look.
        let mut history = History::default();
        for n in 0..2_000 {
            let distances: Vec<u8> = (0..8).map(|_| sample(&mut rng, &honest)).collect();
            history.keep(&calibration, Some(id(n % 40)), &distances);
            assert!(history.share() < 500_000);
        }
    }

    #[test]
    fn hostile_findings_are_harmless() {
        let [calibration, _] = calibrations();
        let (mut rng, mut history) = (Rng::new(6), History::default());
        for _ in 0..5_000 {
            let auditor = Some(id(rng.below(40).into())).filter(|_| rng.below(9) > 0);
            let distances = vec![rng.below(300) as u8; rng.below(70) as usize];
            history.keep(&calibration, auditor, &distances);
            assert!((0..GUILTY).contains(&history.sum) && history.added.len() <= AUDITORS_MAX);
            assert!(history.begin(Some(&id(1))).share() < 1_000_000);
        }
    }
}
