//! How a proof gets around.
//!
//! Who hears a proof for the first time checks it, acts on it, and tells some peers at once, and others a little later.
//! With six told by each, a first wave reaches all but 1 in 400 (1 - e^-6); the later ones reach those that were away.
//!
//! Anybody makes up keys and proves a fork of each. Whoever calls says whether this node has anything to do with those whom a
//! proof names; of the others' so many are passed on in a day and no more.
//!
//! Source: A. Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (1987), §1.4, rumour mongering with
//! a counter.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::fraud::{Fraud, Guilty};
use crate::kit::{
    Instant, Machine, NodeId, Rng, Verifier,
    fault::{Fault, on},
};

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Peers told in each round.
    pub fanout: usize,
    /// Rounds.
    pub rounds: u8,
    /// Between two rounds.
    pub pause: Duration,
    /// Accounts with proofs that are remembered. When it is full, the one that was told out longest ago makes room; if none was
    /// yet, a proof about others is acted on and not passed on.
    pub known_max: usize,
    /// As many proofs more are remembered about those with whom this node has nothing to do. When there are so many, the oldest
    /// one makes room once it is as old as `foreign_age`; until then no other is heard.
    pub foreign_max: usize,
    /// See there.
    pub foreign_age: Duration,
}

impl Default for Config {
    /// 256 a day is more than frauds that are nobody's business, and told four times to six they are 4 MB.
    fn default() -> Self {
        Self {
            fanout: 6,
            rounds: 4,
            pause: Duration::from_secs(2),
            known_max: 4096,
            foreign_max: 256,
            foreign_age: Duration::from_secs(86_400),
        }
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A proof was found here, or told by somebody.
    Heard(Box<Fraud>),
    /// One was told about somebody with whom this node has nothing to do.
    Foreign(Box<Fraud>),
    /// These peers are there now.
    Peers(Vec<NodeId>),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell `to`.
    Tell {
        /// Whom.
        to: NodeId,
        /// What.
        fraud: Box<Fraud>,
    },
    /// Deal with no one of these any more, and keep the proof.
    Condemn {
        /// Whom.
        guilty: Guilty,
        /// Why.
        fraud: Box<Fraud>,
    },
    /// Deal with no one of these, if they ever come; nothing is kept.
    Shun(Guilty),
}

/// Proofs on their way.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm<V> {
    config: Config,
    verifier: V,
    rng: Rng,
    peers: Vec<NodeId>,
    /// By account, and whether it is about the owner: what was heard, rounds left and when the next is due.
    known: BTreeMap<Key, Rumour>,
}

type Key = (NodeId, bool);

#[derive(Clone, Debug, PartialEq)]
struct Rumour {
    fraud: Box<Fraud>,
    rounds: u8,
    due: Instant,
    since: Instant,
    foreign: bool,
}

impl<V: Verifier> Alarm<V> {
    /// One that knows of nothing.
    pub const fn new(config: Config, verifier: V, seed: u64) -> Self {
        Self { config, verifier, rng: Rng::new(seed), peers: Vec::new(), known: BTreeMap::new() }
    }

    /// Whether `account` was shown to have forked.
    pub fn knows(&self, account: &NodeId) -> bool {
        self.known.contains_key(&(*account, true))
    }

    /// Whether it was heard and is not forgotten.
    pub fn remembers(&self, fraud: &Fraud) -> bool {
        self.known.contains_key(&key(fraud))
    }

    fn heard(&mut self, now: Instant, fraud: Box<Fraud>, foreign: bool, out: &mut Vec<Effect>) {
        let key = key(&fraud);
        // What was foreign may have become this node's business since.
        if self.known.get(&key).is_some_and(|known| foreign || !known.foreign) {
            return;
        }
        let (full, old) = self.room(now, foreign);
        if foreign && full && old.is_none() {
            return;
        }
        let (account, owner) = key;
        let guilty = match fraud.check(&self.verifier) {
            Ok(guilty) => guilty,
            Err(_) if on(Fault::ProofUnchecked) => Guilty { account, owner, witnesses: Vec::new() },
            Err(_) => return,
        };
        out.push(if foreign { Effect::Shun(guilty) } else { Effect::Condemn { guilty, fraud: fraud.clone() } });
        match old {
            _ if !full => {}
            Some(old) => drop(self.known.remove(&old)),
            None => return,
        }
        self.tell(&fraud, out);
        let rounds = if on(Fault::ProofToldOnce) { 0 } else { self.config.rounds.saturating_sub(1) };
        let due = now + self.config.pause;
        self.known.insert(key, Rumour { fraud, rounds, due, since: now, foreign });
    }

    /// Whether as many of this kind are remembered as may be, and which of them makes room.
    fn room(&self, now: Instant, foreign: bool) -> (bool, Option<Key>) {
        let Config { known_max, foreign_max, foreign_age, .. } = self.config;
        let (most, age) = if foreign { (foreign_max, foreign_age) } else { (known_max, Duration::ZERO) };
        let alike = || self.known.iter().filter(|(_, rumour)| rumour.foreign == foreign);
        let is_old = |rumour: &Rumour| rumour.rounds == 0 && rumour.since + age <= now;
        let old = alike().filter(|(_, rumour)| is_old(rumour)).min_by_key(|(_, rumour)| rumour.since);
        (alike().count() >= most, old.map(|(key, _)| *key))
    }

    fn tell(&mut self, fraud: &Fraud, out: &mut Vec<Effect>) {
        let count = self.peers.len();
        // The first ones of a shuffle; the order of the others does not matter.
        for at in 0..self.config.fanout.min(count) {
            let other = at + self.rng.below((count - at) as u32) as usize;
            self.peers.swap(at, other);
            out.push(Effect::Tell { to: self.peers[at], fraud: Box::new(fraud.clone()) });
        }
    }
}

impl<V: Verifier> Machine for Alarm<V> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Peers(peers) => self.peers = peers,
            Input::Heard(fraud) => self.heard(now, fraud, false, out),
            Input::Foreign(fraud) => self.heard(now, fraud, true, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let pause = self.config.pause.max(Duration::from_millis(1));
        let due: Vec<Key> = self
            .known
            .iter()
            .filter(|(_, rumour)| rumour.rounds > 0 && rumour.due <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let Some(rumour) = self.known.get_mut(&key) else { continue };
            (rumour.rounds, rumour.due) = (rumour.rounds - 1, now + pause);
            let fraud = rumour.fraud.clone();
            self.tell(&fraud, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.known.values().filter(|rumour| rumour.rounds > 0).map(|rumour| rumour.due).min()
    }
}

fn key(fraud: &Fraud) -> Key {
    (fraud.account(), fraud.owner().is_some())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        economy::ledger::entry::{Act, Entry},
        kit::{Credits, Digest, Signer, laws},
        trust::identity::Identity,
    };

    fn fork(n: u8, right: bool) -> Box<Fraud> {
        let (keys, stranger) = (Identity::new([n; 32]), Identity::new([99; 32]));
        let sign = |amount| {
            let act = Act::Pay { payee: NodeId::number(1), turn: 0, amount: Credits(amount) };
            let entry = Entry { account: keys.key(), number: 1, before: Digest([0; 32]), act };
            entry.sign(None, if right { &keys } else { &stranger })
        };
        Box::new(Fraud::Fork { one: sign(1), other: sign(2) })
    }

    fn alarm(known_max: usize) -> Alarm<Identity> {
        let (pause, foreign_age) = (Duration::from_secs(1), Duration::from_secs(100));
        let config = Config { fanout: 2, rounds: 3, pause, known_max, foreign_max: 2, foreign_age };
        Alarm::new(config, Identity::new([7; 32]), 1)
    }

    fn told(out: &[Effect]) -> usize {
        out.iter().filter(|effect| matches!(effect, Effect::Tell { .. })).count()
    }

    #[test]
    fn a_proof_is_acted_on_once_and_told_in_rounds_and_a_forged_one_is_not() {
        let (mut alarm, mut out) = (alarm(1), vec![]);
        let at = Instant::from_millis;
        alarm.handle(at(0), Input::Peers((0..5).map(NodeId::number).collect()), &mut out);
        alarm.handle(at(0), Input::Heard(fork(1, false)), &mut out);
        assert_eq!((out.len(), alarm.deadline()), (0, None));
        alarm.handle(at(0), Input::Heard(fork(1, true)), &mut out);
        assert!(matches!(&out[0], Effect::Condemn { guilty, .. } if guilty.owner));
        assert_eq!((told(&out), alarm.deadline()), (2, Some(at(1000))));
        assert!(alarm.knows(&fork(1, true).account()));
        alarm.handle(at(5), Input::Heard(fork(1, true)), &mut out);
        assert_eq!(out.len(), 3, "known");
        let mut full = vec![];
        alarm.handle(at(5), Input::Heard(fork(2, true)), &mut full);
        assert_eq!((full.len(), told(&full)), (1, 0), "full: acted on, not passed on");
        for second in [1, 2] {
            alarm.tick(at(second * 1000), &mut out);
        }
        assert_eq!((told(&out), alarm.deadline()), (6, None));
        out.clear();
        alarm.handle(at(2000), Input::Heard(fork(2, true)), &mut out);
        assert_eq!((out.len(), told(&out)), (3, 2), "what was told out makes room");
    }

    #[test]
    fn proofs_about_strangers_are_passed_on_up_to_so_many_and_take_nobodys_room() {
        let (mut alarm, mut out) = (alarm(1), vec![]);
        let at = |second| Instant::from_millis(second * 1000);
        alarm.handle(at(0), Input::Peers((0..5).map(NodeId::number).collect()), &mut out);
        let mut hear = |second: u64, input: Input| {
            let mut out = vec![];
            while alarm.deadline().is_some_and(|due| due <= at(second)) {
                alarm.tick(alarm.deadline().unwrap(), &mut vec![]);
            }
            alarm.handle(at(second), input, &mut out);
            let kept = out.iter().any(|effect| matches!(effect, Effect::Condemn { .. }));
            let shunned = out.iter().any(|effect| matches!(effect, Effect::Shun(guilty) if guilty.owner));
            (kept, shunned, told(&out))
        };
        let foreign = |n| Input::Foreign(fork(n, true));
        assert_eq!(hear(0, Input::Foreign(fork(1, false))), (false, false, 0), "forged");
        assert_eq!(hear(0, foreign(1)), (false, true, 2));
        assert_eq!(hear(1, foreign(1)), (false, false, 0), "known");
        assert_eq!(hear(1, foreign(2)), (false, true, 2));
        assert_eq!(hear(50, foreign(3)), (false, false, 0), "so many a day, and no more");
        assert_eq!(hear(50, Input::Heard(fork(4, true))), (true, false, 2), "there is room for it");
        assert_eq!(hear(60, Input::Heard(fork(2, true))), (true, false, 2), "it is this node's business now");
        assert_eq!(hear(60, foreign(3)), (false, true, 2), "which made room");
        assert_eq!(hear(99, foreign(5)), (false, false, 0));
        assert_eq!(hear(100, foreign(5)), (false, true, 2), "a day later");
    }

    #[test]
    fn keeps_the_laws() {
        let proofs = [fork(1, true), fork(2, true), fork(3, false)];
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let mut at = 0;
            let script = core::iter::repeat_with(|| {
                at += u64::from(rng.below(900));
                let input = match rng.below(5) {
                    0 => Input::Peers((0..rng.below(9).into()).map(NodeId::number).collect()),
                    4 => Input::Foreign(proofs[0].clone()),
                    n => Input::Heard(proofs[n as usize - 1].clone()),
                };
                (Instant::from_millis(at), input)
            });
            laws::hold(&alarm(2), script.take(30));
        }
    }
}
