//! How a proof gets around.
//!
//! Who hears a proof for the first time checks it, acts on it, and tells some peers at once, and others a little later.
//! With six told by each, a first wave reaches all but 1 in 400 (1 - e^-6); the later ones reach those that were away.
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
    /// Accounts with proofs that are remembered. A proof about others, when it is full, is acted on and not passed on.
    pub known_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { fanout: 6, rounds: 4, pause: Duration::from_secs(2), known_max: 4096 }
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A proof was found here, or told by somebody.
    Heard(Box<Fraud>),
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
}

/// Proofs on their way.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm<V> {
    config: Config,
    verifier: V,
    rng: Rng,
    peers: Vec<NodeId>,
    /// By account, and whether it is about the owner: what was heard, rounds left and when the next is due.
    known: BTreeMap<(NodeId, bool), Rumour>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rumour {
    fraud: Box<Fraud>,
    rounds: u8,
    due: Instant,
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
            Input::Heard(fraud) => {
                let key = (fraud.account(), fraud.owner().is_some());
                if self.known.contains_key(&key) {
                    return;
                }
                let (account, owner) = key;
                let guilty = match fraud.check(&self.verifier) {
                    Ok(guilty) => guilty,
                    Err(_) if on(Fault::ProofUnchecked) => Guilty { account, owner, witnesses: Vec::new() },
                    Err(_) => return,
                };
                out.push(Effect::Condemn { guilty, fraud: fraud.clone() });
                if self.known.len() >= self.config.known_max {
                    return;
                }
                self.tell(&fraud, out);
                let rounds = if on(Fault::ProofToldOnce) { 0 } else { self.config.rounds.saturating_sub(1) };
                let due = now + self.config.pause;
                self.known.insert(key, Rumour { fraud, rounds, due });
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let pause = self.config.pause.max(Duration::from_millis(1));
        let due: Vec<(NodeId, bool)> = self
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
        let config = Config { fanout: 2, rounds: 3, pause: Duration::from_secs(1), known_max };
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
        for second in [1, 2] {
            alarm.tick(at(second * 1000), &mut out);
        }
        assert_eq!((told(&out), alarm.deadline()), (6, None));
        out.clear();
        alarm.handle(at(2000), Input::Heard(fork(2, true)), &mut out);
        assert_eq!((out.len(), told(&out)), (1, 0), "full: acted on, not passed on");
    }

    #[test]
    fn keeps_the_laws() {
        let proofs = [fork(1, true), fork(2, true), fork(3, false)];
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let mut at = 0;
            let script = core::iter::repeat_with(|| {
                at += u64::from(rng.below(900));
                let input = match rng.below(4) {
                    0 => Input::Peers((0..rng.below(9).into()).map(NodeId::number).collect()),
                    n => Input::Heard(proofs[n as usize - 1].clone()),
                };
                (Instant::from_millis(at), input)
            });
            laws::hold(&alarm(2), script.take(30));
        }
    }
}
