//! Whoever is found guilty by the word of others may ask for more of them, once.
//!
//! ```text
//! Told --appeal--> Sitting --more than half of all say the same--> upheld, or overturned
//!   |                 |
//!   '--silence:       '--no majority in time: nobody is punished
//!      accepted
//! ```
//!
//! Machines differ a little in what they compute, so no two of them can be led to the one operation in which they part; and
//! auditors compute all of an answer anyway. So a dispute asks more of them: a jury of those who were not asked before, drawn by
//! trust, each of whom computes all blocks and judges for itself. Only the jury counts: those who spoke first are known for having
//! accused, and would outweigh nobody.
//!
//! # How many
//!
//! If a share q of the trust by which jurors are drawn is of liars who always say the same, n jurors are wrong with the chance
//! that more than half of them lie, Σ C(n, k) qᵏ (1 − q)ⁿ⁻ᵏ for k > n/2. [`jurors`] is the least odd n with which that is
//! below what is asked for. Among a third of liars 15 are wrong 9 times in 100, where the majority of three auditors is wrong 26
//! times: 23 honest workers of a thousand stay condemned where 259 were.
//!
//! # Who pays
//!
//! A jury costs n audits. A newcomer's stake for it is a part of its pay that is withheld (see `node::trade`): whoever
//! accepts a verdict has it back, whoever appeals in vain has not. Nobody pays jurors or auditors for single answers; who audits is
//! audited by others in turn. Of whom nothing is withheld loses its say: whoever appealed in vain is not heard again by that
//! client for [`Config::deaf`].

use alloc::vec::Vec;
use core::time::Duration;

use crate::kit::{
    Instant, Machine, NodeId, Ppm,
    fault::{Fault, on},
};

/// Who is heard, and by how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The share of liars, by trust, among whom a jury is right.
    pub liars: Ppm,
    /// How often it may be wrong among them.
    pub error: Ppm,
    /// Jurors at most; nobody is heard if 0.
    pub jurors_max: usize,
    /// How long an accused may think, and a jury then.
    pub patience: Duration,
    /// For how long whoever appealed in vain is not heard again.
    pub deaf: Duration,
    /// Juries of one client at once.
    pub open_max: usize,
}

impl Default for Config {
    /// A third is more than other machines here withstand; one in ten of the few who are accused among so many is few. Eight round
    /// trips of a second, as auditors have; a day, as for whoever is barred the second time.
    fn default() -> Self {
        Self {
            liars: Ppm(333_333),
            error: Ppm(100_000),
            jurors_max: 31,
            patience: Duration::from_secs(8),
            deaf: Duration::from_secs(86_400),
            open_max: 16,
        }
    }
}

/// One in parts of which chances are counted.
const ONE: u64 = 1 << 62;

/// The least odd number of jurors of whom more than half lie with a chance below the error; as many as there may be, if that
/// is not enough. Chances are counted in parts of 2⁶² and rounded up, so that a jury is never too small for that.
pub fn jurors(config: &Config) -> usize {
    let lies = (u128::from(ONE) * u128::from(config.liars.0.min(1_000_000))).div_ceil(1_000_000);
    let most =
        if config.jurors_max.is_multiple_of(2) { config.jurors_max.saturating_sub(1) } else { config.jurors_max };
    // The chance that so many of those drawn so far lie.
    let mut chances = alloc::vec![ONE];
    for drawn in 1..=most {
        let part = |count: u64, share: u128| (u128::from(count) * share).div_ceil(u128::from(ONE)) as u64;
        let at = |k: usize| chances.get(k).copied().unwrap_or(0);
        let next = |k: usize| part(at(k), u128::from(ONE) - lies) + k.checked_sub(1).map_or(0, |k| part(at(k), lies));
        chances = (0..=drawn).map(next).collect();
        let wrong: u64 = chances[drawn / 2 + 1..].iter().sum();
        if drawn % 2 == 1 && u128::from(wrong) * 1_000_000 < u128::from(config.error.0) * u128::from(ONE) {
            return drawn;
        }
    }
    most
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The accused appeals, and these are drawn; the last of an even number is not asked.
    Appealed(Vec<NodeId>),
    /// A juror says whether it is guilty.
    Said {
        /// Who.
        juror: NodeId,
        /// Whether it is.
        guilty: bool,
    },
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask this juror.
    Ask(NodeId),
    /// It is over.
    Over(Verdict),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The accused did not appeal, or there was nobody to ask: it is guilty.
    Accepted,
    /// The jury says so too.
    Upheld,
    /// The jury says that it is not.
    Overturned,
    /// More than half of the jury never said the same; nobody is punished.
    Open,
}

/// One dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    patience: Duration,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The accused knows.
    Told { until: Instant },
    /// The jury computes. An odd number; what each said first counts.
    Sitting { jury: Vec<(NodeId, Option<bool>)>, until: Instant },
    /// There is a verdict.
    Over,
}

/// The shortest wait: time must go on between two ticks.
const MOMENT: Duration = Duration::from_micros(1);

impl Dispute {
    /// Somebody is told that it is guilty.
    pub fn new(now: Instant, config: &Config) -> Self {
        let patience = config.patience.max(MOMENT);
        Self { patience, state: State::Told { until: now + patience } }
    }

    /// Whether the accused may appeal now.
    pub const fn hears(&self) -> bool {
        matches!(self.state, State::Told { .. })
    }

    /// Whether the word of `juror` is waited for.
    pub fn awaits(&self, juror: &NodeId) -> bool {
        matches!(&self.state, State::Sitting { jury, .. } if jury.contains(&(*juror, None)))
    }

    fn sit(&mut self, now: Instant, mut jury: Vec<NodeId>, out: &mut Vec<Effect>) {
        if jury.len().is_multiple_of(2) {
            jury.pop();
        }
        if jury.is_empty() {
            return self.close(Verdict::Accepted, out);
        }
        out.extend(jury.iter().map(|juror| Effect::Ask(*juror)));
        let jury = jury.into_iter().map(|juror| (juror, None)).collect();
        self.state = State::Sitting { jury, until: now + self.patience };
    }

    fn said(&mut self, juror: NodeId, guilty: bool, out: &mut Vec<Effect>) {
        let State::Sitting { jury, .. } = &mut self.state else { return };
        let Some((_, said)) = jury.iter_mut().find(|(id, said)| *id == juror && said.is_none()) else { return };
        *said = Some(guilty);
        let all = if on(Fault::SilenceCountsForNothing) {
            jury.iter().filter(|juror| juror.1.is_some()).count()
        } else {
            jury.len()
        };
        let count = |word: bool| jury.iter().filter(|juror| juror.1 == Some(word)).count();
        let (guilty, cleared) = (count(true), count(false));
        if guilty * 2 > all {
            self.close(Verdict::Upheld, out);
        } else if cleared * 2 > all {
            self.close(Verdict::Overturned, out);
        }
    }

    fn close(&mut self, verdict: Verdict, out: &mut Vec<Effect>) {
        self.state = State::Over;
        out.push(Effect::Over(verdict));
    }
}

impl Machine for Dispute {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match (&self.state, input) {
            (State::Told { .. }, Input::Appealed(jury)) => self.sit(now, jury, out),
            (State::Sitting { .. }, Input::Appealed(jury)) if on(Fault::AppealRepeated) => self.sit(now, jury, out),
            (State::Sitting { .. }, Input::Said { juror, guilty }) => self.said(juror, guilty, out),
            (State::Told { .. } | State::Sitting { .. } | State::Over, _) => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        match &self.state {
            State::Told { until } if *until <= now => self.close(Verdict::Accepted, out),
            State::Sitting { until, .. } if *until <= now => {
                let verdict = if on(Fault::NoMajorityPunishes) { Verdict::Upheld } else { Verdict::Open };
                self.close(verdict, out);
            }
            State::Told { .. } | State::Sitting { .. } | State::Over => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Told { until } | State::Sitting { until, .. } => Some(until),
            State::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec};

    use super::{Input::*, *};
    use crate::kit::{Rng, laws, trace};

    fn id(n: u64) -> NodeId {
        NodeId::number(n)
    }

    fn told() -> Dispute {
        Dispute::new(Instant::default(), &Config { patience: Duration::from_millis(100), ..Config::default() })
    }

    /// What a script comes to; jurors are numbers.
    fn run(script: &[(u64, Input)]) -> String {
        let name = |n: u64| alloc::format!("{:?}", id(n));
        let text = trace::of(&mut told(), script.iter().cloned(), 1_000);
        (1..9).fold(text, |text, n| text.replace(&name(n), &alloc::format!("{n}")))
    }

    fn jury(count: u64) -> Input {
        Appealed((1..=count).map(id).collect())
    }

    fn says(n: u64, guilty: bool) -> Input {
        Said { juror: id(n), guilty }
    }

    fn last(script: &[(u64, Input)]) -> String {
        run(script).lines().last().unwrap_or_default().rsplit(" -> ").next().unwrap_or_default().into()
    }

    #[test]
    fn more_than_half_of_all_jurors_decide() {
        let three = |words: &[(u64, bool)]| {
            let said = words.iter().map(|(n, guilty)| (6, says(*n, *guilty)));
            last(&[(5, jury(3))].into_iter().chain(said).collect::<Vec<_>>())
        };
        assert_eq!(three(&[(1, true), (2, false), (3, true)]), "[Over(Upheld)]");
        assert_eq!(three(&[(1, true), (2, false), (3, false)]), "[Over(Overturned)]");
        assert_eq!(three(&[(1, true)]), "[Over(Open)]", "silence is no word");
        assert_eq!(three(&[(1, true), (1, true), (4, true)]), "[Over(Open)]", "second thoughts, and strangers");
        assert_eq!(last(&[(5, jury(0))]), "[Over(Accepted)]", "there is nobody to ask");
        assert_eq!(run(&[]), "100ms tick -> [Over(Accepted)]\n");
    }

    #[test]
    fn one_appeal_is_heard_and_an_odd_number_sits() {
        let mut dispute = told();
        let mut out = vec![];
        assert!(dispute.hears());
        dispute.handle(Instant::default(), jury(4), &mut out);
        assert_eq!(out, [1, 2, 3].map(|n| Effect::Ask(id(n))));
        assert!(!dispute.hears() && dispute.awaits(&id(3)) && !dispute.awaits(&id(4)));
        out.clear();
        dispute.handle(Instant::default(), jury(5), &mut out);
        assert_eq!(out, [], "it sits");
        dispute.handle(Instant::default(), says(1, false), &mut out);
        dispute.handle(Instant::default(), says(2, false), &mut out);
        assert_eq!(out, [Effect::Over(Verdict::Overturned)]);
        assert_eq!(dispute.deadline(), None);
        dispute.handle(Instant::default(), jury(5), &mut out);
        assert_eq!(out.len(), 1, "it is over");
    }

    /// The chance that more than half of n lie when `lies` of `all` do, in exact integers: parts of allⁿ.
    fn wrong(n: u32, lies: u128, all: u128) -> (u128, u128) {
        let choose = |k: u32| (1..=u128::from(k)).fold(1, |c, at| c * (u128::from(n) + 1 - at) / at);
        let part = |k| choose(k) * lies.pow(k) * (all - lies).pow(n - k);
        ((n / 2 + 1..=n).map(part).sum(), all.pow(n))
    }

    #[test]
    fn a_jury_is_as_large_as_it_must_be() {
        for (lies, all) in [(1, 3), (1, 4), (1, 5), (1, 10)] {
            for error in [200_000, 100_000, 50_000, 10_000] {
                let liars = Ppm((lies * 1_000_000 / all) as u32);
                let n = jurors(&Config { liars, error: Ppm(error), jurors_max: 31, ..Config::default() }) as u32;
                let is_right = |n: u32| {
                    let (part, whole) = wrong(n, lies, all);
                    part * 1_000_000 < whole * u128::from(error)
                };
                assert!(n % 2 == 1 && (is_right(n) || n == 31), "{lies}/{all} {error}: {n}");
                assert!((1..n).step_by(2).all(|fewer| !is_right(fewer)), "{lies}/{all} {error}: {n}");
            }
        }
        let sizes = |liars| {
            [100_000, 50_000, 10_000]
                .map(|error| jurors(&Config { liars: Ppm(liars), error: Ppm(error), ..Config::default() }))
        };
        assert_eq!((sizes(333_333), sizes(200_000)), ([15, 23, 31], [5, 7, 13]));
        assert_eq!(jurors(&Config::default()), 15);
        for (most, asked) in [(0, 0), (1, 1), (8, 7), (9, 9)] {
            assert_eq!(jurors(&Config { jurors_max: most, ..Config::default() }), asked);
        }
        assert_eq!(jurors(&Config { liars: Ppm(600_000), ..Config::default() }), 31, "no number is enough");
    }

    /// Among a third of liars: three auditors of whom more than half accuse, and a jury then.
    #[test]
    fn an_appeal_frees_nine_in_ten_of_those_whom_liars_condemn() {
        let ((first, whole), (jury, all)) = (wrong(3, 1, 3), wrong(15, 1, 3));
        let each = |part: u128, whole: u128| part * 1000 / whole;
        assert_eq!((each(first, whole), each(first * jury, whole * all)), (259, 22));
        // Cheats whom liars cover are condemned by two honest auditors of three, and go free if the jury is wrong.
        let (caught, kept) = ((whole - first) * 1000 / whole, (whole - first) * (all - jury) * 1000 / (whole * all));
        assert_eq!((caught, kept), (740, 675));
    }

    #[test]
    fn keeps_the_laws() {
        for seed in 0..200 {
            let (mut rng, mut at) = (Rng::new(seed), 0);
            let script: Vec<(Instant, Input)> = (0..40)
                .map(|_| {
                    at += u64::from(rng.below(20));
                    let input = match rng.below(4) {
                        0 => jury(rng.below(7).into()),
                        _ => says(rng.below(8).into(), rng.below(2) == 0),
                    };
                    (Instant::from_millis(at), input)
                })
                .collect();
            laws::hold(&told(), script);
        }
    }
}
