//! An owner, or a payee with a closing, that gathers votes.
//!
//! It asks all witnesses at once and is done with the first 2f+1 votes: one round trip to those that live. Who does not
//! answer is asked again, ever more rarely, until the certificate is there or nobody wants it any more.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{certificate::Certificate, set::Set};
use crate::{
    economy::ledger::entry::Statement,
    kit::{Digest, Domain, Instant, Machine, NodeId, Signature, Verifier},
};

/// How patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Until a witness is asked for the second time; above most round trips. Each next wait is twice as long.
    pub patience: Duration,
    /// The longest wait.
    pub patience_max: Duration,
    /// Statements that are gathered for at once.
    pub pending_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        let (patience, patience_max) = (Duration::from_millis(500), Duration::from_secs(30));
        Self { patience, patience_max, pending_max: 1024 }
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A certificate is wanted for this, by this set.
    Want(Statement, Set),
    /// A witness voted.
    Vote {
        /// Who.
        from: NodeId,
        /// Over what.
        statement: Statement,
        /// Its signature.
        signature: Signature,
    },
    /// A witness will not vote for this; it is not asked again.
    Refused {
        /// Who.
        from: NodeId,
        /// What.
        statement: Statement,
    },
    /// It is wanted no more.
    Drop(Statement),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Show a witness what the statement is about, and ask for its vote.
    Ask {
        /// Whom.
        to: NodeId,
        /// About what.
        statement: Statement,
    },
    /// Here it is.
    Certified(Certificate),
    /// So many refused that there will be none.
    Hopeless(Statement),
    /// Too many are gathered for; try later.
    Busy(Statement),
}

/// Votes on their way.
#[derive(Clone, Debug, PartialEq)]
pub struct Collect<V> {
    config: Config,
    verifier: V,
    /// By what the witnesses sign.
    pending: BTreeMap<[u8; 32], Pending>,
}

#[derive(Clone, Debug, PartialEq)]
struct Pending {
    statement: Statement,
    set: Set,
    digest: Digest,
    /// Who voted, by place; and who refused.
    votes: BTreeMap<u8, Signature>,
    refused: Vec<u8>,
    due: Instant,
    wait: Duration,
}

impl<V: Verifier> Collect<V> {
    /// One that gathers nothing.
    pub const fn new(config: Config, verifier: V) -> Self {
        Self { config, verifier, pending: BTreeMap::new() }
    }

    /// What is gathered for.
    pub fn pending(&self) -> impl Iterator<Item = &Statement> {
        self.pending.values().map(|pending| &pending.statement)
    }

    fn want(&mut self, now: Instant, statement: Statement, set: Set, out: &mut Vec<Effect>) {
        let digest = set.digest();
        let key = statement.vote_digest(&digest).0;
        if self.pending.contains_key(&key) {
            return;
        }
        if self.pending.len() >= self.config.pending_max {
            out.push(Effect::Busy(statement));
            return;
        }
        out.extend(set.members().iter().map(|to| Effect::Ask { to: *to, statement }));
        let wait = self.config.patience.max(Duration::from_millis(1));
        let (votes, refused) = (BTreeMap::new(), Vec::new());
        self.pending.insert(key, Pending { statement, set, digest, votes, refused, due: now + wait, wait });
    }

    /// The keys of what is gathered for `statement`; one, or none.
    fn find(&self, statement: &Statement) -> Option<[u8; 32]> {
        self.pending.iter().find(|(_, pending)| pending.statement == *statement).map(|(key, _)| *key)
    }

    fn vote(&mut self, from: NodeId, statement: &Statement, signature: Signature, out: &mut Vec<Effect>) {
        let Some(key) = self.find(statement) else { return };
        let Some(pending) = self.pending.get_mut(&key) else { return };
        let Some(at) = pending.set.index(&from) else { return };
        pending.votes.insert(at, signature);
        if pending.votes.len() < pending.set.quorum() {
            return;
        }
        let votes = pending.votes.iter().map(|(at, signature)| (*at, *signature)).collect();
        let certificate = Certificate { statement: *statement, set: pending.digest, votes };
        if certificate.verify(&pending.set, &self.verifier).is_ok() {
            self.pending.remove(&key);
            out.push(Effect::Certified(certificate));
            return;
        }
        // Somebody's vote is wrong: that one is left out, and asked again in its time.
        let (members, verifier) = (pending.set.members(), &self.verifier);
        pending
            .votes
            .retain(|at, signature| verifier.verify(&members[usize::from(*at)], Domain::Vote, &[&key], signature));
    }

    fn refused(&mut self, from: NodeId, statement: &Statement, out: &mut Vec<Effect>) {
        let Some(key) = self.find(statement) else { return };
        let Some(pending) = self.pending.get_mut(&key) else { return };
        let Some(at) = pending.set.index(&from) else { return };
        if pending.votes.contains_key(&at) || pending.refused.contains(&at) {
            return;
        }
        pending.refused.push(at);
        if pending.set.members().len() - pending.refused.len() < pending.set.quorum() {
            self.pending.remove(&key);
            out.push(Effect::Hopeless(*statement));
        }
    }
}

impl<V: Verifier> Machine for Collect<V> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Want(statement, set) => self.want(now, statement, set, out),
            Input::Vote { from, statement, signature } => self.vote(from, &statement, signature, out),
            Input::Refused { from, statement } => self.refused(from, &statement, out),
            Input::Drop(statement) => {
                if let Some(key) = self.find(&statement) {
                    self.pending.remove(&key);
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for pending in self.pending.values_mut().filter(|pending| pending.due <= now) {
            for (at, to) in pending.set.members().iter().enumerate() {
                let silent = !pending.votes.contains_key(&(at as u8)) && !pending.refused.contains(&(at as u8));
                if silent {
                    out.push(Effect::Ask { to: *to, statement: pending.statement });
                }
            }
            pending.wait = (pending.wait * 2).min(self.config.patience_max.max(pending.wait));
            pending.due = now + pending.wait;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.due).min()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        economy::ledger::entry::Slot,
        kit::{Rng, Signer, laws},
        trust::identity::Identity,
    };

    fn setting() -> (Vec<Identity>, Set, Statement) {
        let keys: Vec<Identity> = (0..4).map(|n| Identity::new([n; 32])).collect();
        let set = Set::new(1, keys.iter().map(Identity::key).collect()).unwrap();
        (keys, set, statement(1))
    }

    fn statement(n: u64) -> Statement {
        Statement { account: NodeId::number(1), slot: Slot::Entry(n), digest: Digest([n as u8; 32]) }
    }

    fn vote(keys: &Identity, set: &Set, statement: Statement) -> Input {
        let signature = keys.sign(Domain::Vote, &[&statement.vote_digest(&set.digest()).0]);
        Input::Vote { from: keys.key(), statement, signature }
    }

    fn collect() -> Collect<Identity> {
        let config =
            Config { patience: Duration::from_millis(100), patience_max: Duration::from_millis(150), pending_max: 2 };
        Collect::new(config, Identity::new([9; 32]))
    }

    #[test]
    fn certified_after_one_round_trip() {
        let (keys, set, statement) = setting();
        let (mut collect, mut out) = (collect(), vec![]);
        let at = Instant::from_millis;
        collect.handle(at(0), Input::Want(statement, set.clone()), &mut out);
        assert_eq!(out.len(), 4, "all are asked at once");
        collect.handle(at(0), Input::Want(statement, set.clone()), &mut out);
        assert_eq!(out.len(), 4, "and not twice");
        out.clear();
        for key in &keys[..3] {
            assert_eq!(out, [], "two are too few");
            collect.handle(at(30), vote(key, &set, statement), &mut out);
        }
        let [Effect::Certified(certificate)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(certificate.verify(&set, &keys[0]), Ok(()));
        assert_eq!(collect.deadline(), None);
    }

    #[test]
    fn a_wrong_vote_is_left_out_and_the_silent_are_asked_again() {
        let (keys, set, statement) = setting();
        let (mut collect, mut out) = (collect(), vec![]);
        let at = Instant::from_millis;
        collect.handle(at(0), Input::Want(statement, set.clone()), &mut out);
        let wrong = Input::Vote { from: keys[0].key(), statement, signature: Signature([1; 64]) };
        let stranger = vote(&Identity::new([8; 32]), &set, statement);
        for input in [wrong, stranger, vote(&keys[1], &set, statement), vote(&keys[2], &set, statement)] {
            collect.handle(at(10), input, &mut out);
        }
        out.clear();
        collect.tick(at(100), &mut out);
        let asked: Vec<NodeId> = out
            .iter()
            .map(|effect| match effect {
                Effect::Ask { to, .. } => *to,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(asked.len() == 2 && asked.contains(&keys[0].key()) && asked.contains(&keys[3].key()));
        assert_eq!(collect.deadline(), Some(at(250)), "more rarely, up to the longest wait");
        collect.tick(at(250), &mut out);
        assert_eq!(collect.deadline(), Some(at(400)));
        out.clear();
        collect.handle(at(300), vote(&keys[0], &set, statement), &mut out);
        assert!(matches!(out[..], [Effect::Certified(_)]), "{out:?}");
    }

    #[test]
    fn refusals_end_it_where_no_quorum_is_left_and_room_is_limited() {
        let (keys, set, one) = setting();
        let (mut collect, mut out) = (collect(), vec![]);
        let at = Instant::from_millis;
        for n in 1..4 {
            collect.handle(at(0), Input::Want(statement(n), set.clone()), &mut out);
        }
        assert_eq!(out.last(), Some(&Effect::Busy(statement(3))));
        collect.handle(at(0), vote(&keys[3], &set, one), &mut out);
        out.clear();
        for from in [3, 0, 0].map(|n| keys[n].key()) {
            collect.handle(at(1), Input::Refused { from, statement: one }, &mut out);
            assert_eq!(out, [], "one refusal, and one of a voter, leave a quorum");
        }
        collect.handle(at(1), Input::Refused { from: keys[1].key(), statement: one }, &mut out);
        assert_eq!(out, [Effect::Hopeless(one)]);
        collect.handle(at(1), Input::Drop(statement(2)), &mut out);
        assert_eq!((collect.deadline(), collect.pending().count()), (None, 0));
    }

    #[test]
    fn keeps_the_laws() {
        let (keys, set, _) = setting();
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let mut at = 0;
            let script = core::iter::repeat_with(|| {
                at += u64::from(rng.below(80));
                let (statement, key) = (statement(u64::from(rng.below(3))), &keys[rng.below(4) as usize]);
                let input = match rng.below(8) {
                    0 | 1 => Input::Want(statement, set.clone()),
                    2 => Input::Refused { from: key.key(), statement },
                    3 => Input::Drop(statement),
                    4 => Input::Vote { from: key.key(), statement, signature: Signature([3; 64]) },
                    _ => vote(key, &set, statement),
                };
                (Instant::from_millis(at), input)
            });
            laws::hold(&collect(), script.take(60));
        }
    }
}
