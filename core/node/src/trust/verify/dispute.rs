//! Two say different things: who is wrong?
//!
//! ```text
//! Narrowing --both told, one step left--> Refereeing --two of three agree--> verdict
//!     |                                       |
//!     '--one is silent: it is wrong           '--no majority in time: nobody is punished
//! ```
//!
//! Both agree on what went in and differ on what came out. Each tells the hash of all values half-way; where they agree, the
//! difference lies behind it, else before. After log₂(operations) questions one operation is left, which three referees, drawn by
//! trust, compute with exact integer kernels from what both agreed on.
//!
//! Source: R. Canetti, B. Riva, G. Rothblum, "Practical Delegation of Computation using Multiple Servers" (CCS 2011).

use alloc::vec::Vec;
use core::time::Duration;

use crate::kit::{Credits, Instant, Machine, NodeId};

/// How long whom to wait for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// For one answer of a side.
    pub patience: Duration,
    /// For the referees.
    pub referees_patience: Duration,
}

impl Default for Config {
    /// To compute half an answer again takes no longer than the answer did; ten minutes is a long one.
    fn default() -> Self {
        Self { patience: Duration::from_secs(600), referees_patience: Duration::from_secs(600) }
    }
}

/// A side of the dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whoever did the work.
    Worker,
    /// Whoever says that it is wrong.
    Auditor,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// A side says what all values hashed to after an operation.
    Told {
        /// Which side.
        side: Side,
        /// After which operation.
        at: u64,
        /// The hash.
        hash: [u8; 32],
    },
    /// A referee computed the one operation.
    Judged {
        /// Who.
        referee: NodeId,
        /// What its result hashes to.
        hash: [u8; 32],
    },
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Ask a side for its hash after operation `at`.
    Ask {
        /// Which side.
        side: Side,
        /// After which operation.
        at: u64,
    },
    /// Have a referee compute operation `at` from what went into it.
    Refer {
        /// Whom.
        referee: NodeId,
        /// Which operation.
        at: u64,
    },
    /// It is over.
    Verdict(Verdict),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This side was wrong, or was silent.
    Wrong(Side),
    /// Both were.
    BothWrong,
    /// No two referees agreed in time; nobody is punished.
    Open,
}

/// One dispute.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispute {
    config: Config,
    referees: [NodeId; 3],
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Both agree after operation `low` and differ after `high`. Invariant: `low + 1 < high`.
    Narrowing { low: u64, high: Differ, told: [Option<[u8; 32]>; 2], until: Instant },
    /// One operation is left.
    Refereeing { high: Differ, judged: [Option<[u8; 32]>; 3], until: Instant },
    /// There is a verdict.
    Over,
}

/// After an operation, the two say this.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Differ {
    at: u64,
    worker: [u8; 32],
    auditor: [u8; 32],
}

impl Dispute {
    /// Begins a dispute about `operations` operations, after the last of which the two sides differ: first the worker's hash,
    /// then the auditor's. With nothing to differ about, the auditor is wrong.
    pub fn open(
        config: Config,
        now: Instant,
        operations: u64,
        hashes: ([u8; 32], [u8; 32]),
        referees: [NodeId; 3],
        out: &mut Vec<Effect>,
    ) -> Self {
        let mut dispute = Self { config, referees, state: State::Over };
        let high = Differ { at: operations, worker: hashes.0, auditor: hashes.1 };
        if operations == 0 || high.worker == high.auditor {
            out.push(Effect::Verdict(Verdict::Wrong(Side::Auditor)));
        } else {
            dispute.narrow(now, 0, high, out);
        }
        dispute
    }

    /// Whether there is a verdict.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn narrow(&mut self, now: Instant, low: u64, high: Differ, out: &mut Vec<Effect>) {
        if low + 1 == high.at {
            let until = now + self.config.referees_patience.max(MOMENT);
            self.state = State::Refereeing { high, judged: [None; 3], until };
            out.extend(self.referees.map(|referee| Effect::Refer { referee, at: high.at }));
            return;
        }
        let at = low + (high.at - low) / 2;
        self.state = State::Narrowing { low, high, told: [None; 2], until: now + self.config.patience.max(MOMENT) };
        out.extend([Side::Worker, Side::Auditor].map(|side| Effect::Ask { side, at }));
    }

    fn told(&mut self, now: Instant, side: Side, at: u64, hash: [u8; 32], out: &mut Vec<Effect>) {
        let State::Narrowing { low, high, told, .. } = &mut self.state else { return };
        let (low, high, middle) = (*low, *high, *low + (high.at - *low) / 2);
        let slot = &mut told[side as usize];
        // What was said first holds.
        if at != middle || slot.is_some() {
            return;
        }
        *slot = Some(hash);
        if let [Some(worker), Some(auditor)] = *told {
            if worker == auditor {
                self.narrow(now, middle, high, out);
            } else {
                self.narrow(now, low, Differ { at: middle, worker, auditor }, out);
            }
        }
    }

    fn judged(&mut self, referee: NodeId, hash: [u8; 32], out: &mut Vec<Effect>) {
        let State::Refereeing { high, judged, .. } = &mut self.state else { return };
        let Some(at) = self.referees.iter().position(|known| *known == referee) else { return };
        judged[at] = judged[at].or(Some(hash));
        let agreed = judged.iter().flatten().find(|a| judged.iter().flatten().filter(|b| a == b).count() >= 2);
        let verdict = match agreed {
            Some(hash) if *hash == high.worker => Verdict::Wrong(Side::Auditor),
            Some(hash) if *hash == high.auditor => Verdict::Wrong(Side::Worker),
            Some(_) => Verdict::BothWrong,
            None if judged.iter().all(Option::is_some) => Verdict::Open,
            None => return,
        };
        self.close(verdict, out);
    }

    fn close(&mut self, verdict: Verdict, out: &mut Vec<Effect>) {
        self.state = State::Over;
        out.push(Effect::Verdict(verdict));
    }
}

/// The shortest wait: time must go on between two ticks.
const MOMENT: Duration = Duration::from_micros(1);

impl Machine for Dispute {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Told { side, at, hash } => self.told(now, side, at, hash, out),
            Input::Judged { referee, hash } => self.judged(referee, hash, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let verdict = match &self.state {
            State::Narrowing { told, until, .. } if *until <= now => match told {
                [Some(_), None] => Verdict::Wrong(Side::Auditor),
                [None, Some(_)] => Verdict::Wrong(Side::Worker),
                // Whoever accuses must follow it up; but whoever works and is silent as well is not believed either.
                _ => Verdict::BothWrong,
            },
            State::Refereeing { until, .. } if *until <= now => Verdict::Open,
            _ => return,
        };
        self.close(verdict, out);
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Narrowing { until, .. } | State::Refereeing { until, .. } => Some(until),
            State::Over => None,
        }
    }
}

/// What a verdict moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// What the worker loses of its escrow.
    pub worker: Credits,
    /// What the auditor loses of its deposit.
    pub auditor: Credits,
    /// Back to whoever paid for the work.
    pub payer: Credits,
    /// To whoever was right.
    pub winner: Credits,
    /// To the three referees together.
    pub referees: Credits,
    /// To nobody: what is left of a loss.
    pub burned: Credits,
}

/// Who pays whom after `verdict`: the loser loses all; of it the payer gets back what it paid (if the work was wrong), the
/// referees a tenth of the rest, whoever was right half of what is left then. What is lost is what is given and burned, to the last.
pub fn split(verdict: Verdict, paid: Credits, escrow: Credits, deposit: Credits) -> Split {
    let share = |lost: u64, refund: u64| {
        let payer = refund.min(lost);
        let referees = (lost - payer) / 10;
        let winner = (lost - payer - referees) / 2;
        (Credits(payer), Credits(winner), Credits(referees), Credits(lost - payer - referees - winner))
    };
    match verdict {
        Verdict::Wrong(Side::Worker) => {
            let (payer, winner, referees, burned) = share(escrow.0, paid.0);
            Split { worker: escrow, payer, winner, referees, burned, ..Split::default() }
        }
        Verdict::Wrong(Side::Auditor) => {
            let (_, winner, referees, burned) = share(deposit.0, 0);
            Split { auditor: deposit, winner, referees, burned, ..Split::default() }
        }
        Verdict::BothWrong => {
            // A deposit beside the escrow must not overflow: each is split alone, and nobody was right.
            let (payer, w1, r1, b1) = share(escrow.0, paid.0);
            let (_, w2, r2, b2) = share(deposit.0, 0);
            let sum = |parts: &[Credits]| Credits(parts.iter().fold(0, |sum, part| sum.saturating_add(part.0)));
            let burned = sum(&[w1, b1, w2, b2]);
            Split { worker: escrow, auditor: deposit, payer, winner: Credits(0), referees: sum(&[r1, r2]), burned }
        }
        Verdict::Open => Split::default(),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::{Side::*, *};
    use crate::kit::{Rng, laws, trace};

    const CONFIG: Config =
        Config { patience: Duration::from_millis(100), referees_patience: Duration::from_millis(200) };

    fn referees() -> [NodeId; 3] {
        [1, 2, 3].map(NodeId::number)
    }

    fn open(operations: u64, out: &mut Vec<Effect>) -> Dispute {
        Dispute::open(CONFIG, Instant::default(), operations, ([1; 32], [2; 32]), referees(), out)
    }

    /// What an honest side says after operation `at`, and one that went wrong at operation `bad`.
    fn honest(at: u64) -> [u8; 32] {
        NodeId::number(at).0
    }

    fn wrong(at: u64, bad: u64) -> [u8; 32] {
        if at < bad { honest(at) } else { NodeId::number(at + (1 << 40)).0 }
    }

    /// Lets the two sides answer until there is a verdict; it, and how many questions it took.
    fn argue(operations: u64, bad: u64, liar: Side, votes: [bool; 3]) -> (Verdict, usize) {
        let say = |side: Side, at| if side == liar { wrong(at, bad) } else { honest(at) };
        let mut out = Vec::new();
        let hashes = (say(Worker, operations), say(Auditor, operations));
        let mut dispute = Dispute::open(CONFIG, Instant::default(), operations, hashes, referees(), &mut out);
        let mut asked = 0;
        while !dispute.is_over() {
            for effect in core::mem::take(&mut out) {
                let now = Instant::default();
                match effect {
                    Effect::Ask { side, at } => {
                        asked += 1;
                        dispute.handle(now, Input::Told { side, at, hash: say(side, at) }, &mut out);
                    }
                    Effect::Refer { referee, at } => {
                        assert_eq!(at, bad, "the operation that went wrong");
                        let n = referees().iter().position(|known| *known == referee).unwrap();
                        let hash = if votes[n] { honest(at) } else { wrong(at, bad) };
                        dispute.handle(now, Input::Judged { referee, hash }, &mut out);
                    }
                    Effect::Verdict(verdict) => panic!("{verdict:?} came before it is over"),
                }
            }
        }
        let verdict = out.into_iter().find_map(|effect| match effect {
            Effect::Verdict(verdict) => Some(verdict),
            _ => None,
        });
        (verdict.unwrap(), asked)
    }

    #[test]
    fn the_liar_is_found_at_whatever_operation_it_went_wrong() {
        for operations in [1, 2, 3, 7, 64, 1000] {
            for bad in 1..=operations.min(70) {
                for liar in [Worker, Auditor] {
                    let (verdict, asked) = argue(operations, bad, liar, [true, true, false]);
                    assert_eq!(verdict, Verdict::Wrong(liar), "{operations} {bad}");
                    let most = 2 * operations.next_power_of_two().ilog2() as usize;
                    assert!(asked <= most, "{asked} questions for {operations} operations");
                }
            }
        }
        assert_eq!(argue(10, 3, Worker, [false, true, false]).0, Verdict::Wrong(Auditor), "two bad referees of three");
    }

    #[test]
    fn whoever_is_silent_is_wrong() {
        let told = |side, at| Input::Told { side, at, hash: [7; 32] };
        let run = |script: &[(u64, Input)]| {
            let mut dispute = open(8, &mut Vec::new());
            trace::of(&mut dispute, script.iter().copied(), 1_000).lines().last().map(String::from)
        };
        assert_eq!(run(&[(5, told(Worker, 4))]).unwrap(), "100ms tick -> [Verdict(Wrong(Auditor))]");
        assert_eq!(run(&[(5, told(Auditor, 4))]).unwrap(), "100ms tick -> [Verdict(Wrong(Worker))]");
        assert_eq!(run(&[]).unwrap(), "100ms tick -> [Verdict(BothWrong)]");
        // Agreed after 4, 6 and 7: the last operation is left, and the referees are silent.
        let script: Vec<_> =
            [4, 6, 7].iter().flat_map(|at| [(5, told(Worker, *at)), (5, told(Auditor, *at))]).collect();
        assert_eq!(run(&script).unwrap(), "205ms tick -> [Verdict(Open)]");
    }

    #[test]
    fn strangers_and_second_thoughts_do_not_count() {
        let mut out = Vec::new();
        let mut dispute = open(2, &mut out);
        let told = |side, hash| Input::Told { side, at: 1, hash: [hash; 32] };
        for input in [told(Worker, 5), told(Worker, 6), told(Auditor, 5)] {
            dispute.handle(Instant::default(), input, &mut out);
        }
        out.clear();
        for (referee, hash) in [(9, [1; 32]), (9, [1; 32]), (1, [2; 32]), (1, [1; 32]), (2, [2; 32])] {
            assert!(out.is_empty());
            dispute.handle(Instant::default(), Input::Judged { referee: NodeId::number(referee), hash }, &mut out);
        }
        assert_eq!(out, [Effect::Verdict(Verdict::Wrong(Worker))]);
    }

    #[test]
    fn nothing_to_differ_about_is_the_auditors_fault() {
        let mut out = Vec::new();
        assert!(open(0, &mut out).is_over());
        let same = ([1; 32], [1; 32]);
        assert!(Dispute::open(CONFIG, Instant::default(), 5, same, referees(), &mut out).is_over());
        assert_eq!(out, [Effect::Verdict(Verdict::Wrong(Auditor)); 2]);
    }

    #[test]
    fn what_is_lost_is_what_is_given_and_burned() {
        let mut rng = Rng::new(1);
        for _ in 0..2_000 {
            let mut amount = || Credits(rng.next() >> (2 + rng.below(62)));
            let (paid, escrow, deposit) = (amount(), amount(), amount());
            for verdict in [Verdict::Wrong(Worker), Verdict::Wrong(Auditor), Verdict::BothWrong, Verdict::Open] {
                let split = split(verdict, paid, escrow, deposit);
                let lost = split.worker.0 + split.auditor.0;
                assert_eq!(lost, split.payer.0 + split.winner.0 + split.referees.0 + split.burned.0, "{verdict:?}");
            }
        }
        let one = split(Verdict::Wrong(Worker), Credits(100), Credits(1_100), Credits(50));
        assert_eq!((one.payer.0, one.referees.0, one.winner.0, one.burned.0), (100, 100, 450, 450));
    }

    #[test]
    fn keeps_the_laws() {
        for seed in 0..200 {
            let (mut rng, mut at) = (Rng::new(seed), 0);
            let script: Vec<(Instant, Input)> = (0..60)
                .map(|_| {
                    at += u64::from(rng.below(30));
                    let hash = [rng.below(2) as u8; 32];
                    let input = if rng.below(5) > 0 {
                        let side = if rng.below(2) == 0 { Worker } else { Auditor };
                        Input::Told { side, at: u64::from(rng.below(9)), hash }
                    } else {
                        Input::Judged { referee: NodeId::number(u64::from(rng.below(5))), hash }
                    };
                    (Instant::from_millis(at), input)
                })
                .collect();
            laws::hold(&open(1 + seed % 9, &mut Vec::new()), script);
        }
    }
}
