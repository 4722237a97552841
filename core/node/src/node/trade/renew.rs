//! Others watch an account from now on.
//!
//! ```text
//! owner                        those before             those after               whoever is behind
//!   |--- Show (Renew, next set) ---->|
//!   |<-- Vote: 2f+1 are a certificate|
//!   |--- Renewed (change) ---------->|                       |
//!   |--- Adopt (state, change) ----------------------------->|
//!   |<-- Vote: 2f+1 have taken over -------------------------|
//!   |<-- Lack ----------------------------------------------------------------------|
//!   |--- Renewed (change) --------------------------------------------------------->|
//! ```
//!
//! Terms are as long for everybody, so for each there is one draw, whatever an owner does; who watched votes for the next set only
//! if it is of no term to come and looks drawn, not chosen. An owner asks for others when too many of those who watch have long
//! been away, are trusted no more, have cheated or are too far behind, or after many terms; and while a quorum is there, since a
//! change that is written and not certified has its place in the log for good.
//!
//! Nobody uses two sets: those before vote for the change, and for no entry after it; those after begin only with the change,
//! certified by a quorum of those before, and close no hold of before ([`crate::economy::witness::vote`]). Whoever knows one set
//! follows the changes and refuses entries that a set certified outside of its term ([`Terms::may_certify`]). Of closings that is
//! not checked: one does not say under which entry its hold was written, so any set that the account ever had is believed, as
//! far as it is remembered.
//!
//! An account stays with its set while what it comes to does not fit a message ([`FOLD_MAX`]); and where more than f are lost
//! before others watch, nothing helps.
//!
//! [`Terms::may_certify`]: crate::economy::witness::Terms::may_certify

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use super::{
    Effect, Event, Trade,
    message::{FOLD_MAX, Message, RENEWALS_MAX},
    witness::Draft,
};
use crate::{
    economy::{
        ledger::{Fold, Signed, entry::Statement},
        witness::{Certificate, Renewal, Set, collect, terms::Standing, vote::Voted},
    },
    kit::{
        Instant, NodeId, Signer, Verifier,
        fault::{Fault, on},
    },
    trust::reputation,
};

/// When others watch an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a term is, in whole seconds; the same for everybody.
    pub term: Duration,
    /// Terms after which others watch, even if all is well.
    pub terms: u64,
    /// How long a member must be away to count as lost.
    pub away: Duration,
}

impl Default for Config {
    /// A day is long beside what a machine needs to start again, and gives whoever holds a twentieth of the trust 365 draws a
    /// year, each of which it wins once in six million (see [`crate::economy::witness::set`]). A month is the predecessor's.
    fn default() -> Self {
        Self { term: Duration::from_secs(86_400), terms: 30, away: Duration::from_secs(3600) }
    }
}

/// How those who watch this node's account came to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handover {
    /// What the log came to before the change.
    fold: Vec<u8>,
    before: Set,
    /// The change, certified.
    renewal: Box<Renewal>,
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Which term it is.
    pub(super) fn term(&self, now: Instant) -> u64 {
        self.date(now).0 / self.config.renew.term.as_secs().max(1)
    }

    /// Everybody who is there, and some besides, with the trust that has reached them.
    pub(super) fn trusted(&self, besides: &[NodeId]) -> Vec<(NodeId, u64)> {
        let mut ids: Vec<NodeId> = self.peers.iter().map(|peer| peer.id).chain([self.me]).collect();
        ids.extend_from_slice(besides);
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| (id, self.reputation.trust(&id))).collect()
    }

    /// Whether `set` watches `account`, or did: one that is known, or that this node finds drawn and not chosen. One that comes
    /// after those that are known is asked for.
    pub(super) fn judge(&mut self, account: &NodeId, set: &Set) -> bool {
        let own = *account == self.me;
        match self.sets.standing(account, set) {
            Standing::Known => true,
            // Its own sets a node drew itself.
            Standing::Other | Standing::Open | Standing::Later if own => false,
            Standing::Other => false,
            Standing::Later => {
                let known = self.sets.current(account).map_or(0, Set::term);
                self.lacks.push((*account, known));
                false
            }
            // Members may have left since it was drawn.
            Standing::Open => set.acceptable(account, &self.trusted(set.members())) && self.sets.judged(*account, set),
        }
    }

    /// The same, and whether it may certify that.
    pub(super) fn judge_slot(&mut self, statement: &Statement, set: &Set) -> bool {
        let account = statement.account;
        self.judge(&account, set) && self.sets.may_certify(&account, set, &statement.slot)
    }

    /// Whether a set is one of now: dates differ by less than a term.
    pub(super) fn is_dated(&self, now: Instant, set: &Set) -> bool {
        set.term().abs_diff(self.term(now)) <= 1
    }

    /// As one who watches `account`: whether `next` may do so from now on.
    pub(super) fn may_follow(&self, now: Instant, account: &NodeId, next: &Set) -> bool {
        let drawn = next.acceptable(account, &self.trusted(next.members()));
        // One of a term that is over is good too: the change may have waited long for those who certify it.
        let come = next.term() <= self.term(now).saturating_add(1);
        (drawn && come) || on(Fault::ChosenSetFollows)
    }

    /// Looks after those who watch this node's account.
    pub(super) fn look_after_witnesses(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(set) = self.pen.set.clone() else { return };
        self.note_absences(now, &set);
        let term = self.term(now);
        let aged = term.saturating_sub(set.term()) >= self.config.renew.terms.max(1);
        let lost = set.members().iter().filter(|member| self.is_lost(now, member)).count();
        let there = set.members().len() - self.pen.away.len();
        let wanted = aged || lost * 2 > usize::from(set.faults());
        if !wanted || there < set.quorum() || term <= set.term() || self.pen.renews() {
            return;
        }
        let Some(next) = Set::draw(&self.me, term, set.faults(), &self.trusted(&[])) else { return };
        if next.members() == set.members() {
            return;
        }
        // What does not fit is shorter after a checkpoint: it has no digests of entries before.
        let fold = self.pen.fold();
        if fold.encode().len() > FOLD_MAX {
            if fold.next() - fold.since() > 1 && self.pen.certified == fold.next() {
                self.checkpoint(now, out);
            }
            return;
        }
        self.pen.queue_first(Draft::Renew(next));
        self.write(now, out);
    }

    fn note_absences(&mut self, now: Instant, set: &Set) {
        let there = |member: &NodeId| *member == self.me || self.peers.iter().any(|peer| peer.id == *member);
        let away: Vec<NodeId> = set.members().iter().filter(|member| !there(member)).copied().collect();
        self.pen.away.retain(|member, _| away.contains(member));
        for member in away {
            self.pen.away.entry(member).or_insert(now);
        }
    }

    fn is_lost(&self, now: Instant, member: &NodeId) -> bool {
        let away = self.pen.away.get(member).is_some_and(|since| now.since(*since) >= self.config.renew.away);
        // What it lacks is gone from the log.
        let behind = self.pen.next.get(member).is_some_and(|next| *next < self.pen.log.first());
        // Whoever is convicted has no trust either.
        away || behind || self.reputation.trust(member) == 0
    }

    /// Before a change is written: what it is about to hand over; whether that can be.
    pub(super) fn prepare(&mut self, next: &Set) -> bool {
        let Some(before) = self.pen.set.clone() else { return false };
        let fold = self.pen.fold().encode();
        if fold.len() > FOLD_MAX {
            return false;
        }
        self.pen.prepared = Some((fold, before));
        self.pen.next_set = Some(next.clone());
        true
    }

    /// Those who watched certified that others do.
    pub(super) fn hand_over(&mut self, now: Instant, signed: Signed, certificate: Certificate, out: &mut Vec<Effect>) {
        // After a restart those after say that they know.
        let (Some(set), Some(before)) = (self.pen.next_set.clone(), self.pen.set.clone()) else { return };
        let statement = signed.entry.statement();
        let renewal = Renewal { signed, certificate, set: set.clone() };
        let message = Message::Renewed([renewal.clone()].into());
        self.keep(self.me, &message, out);
        self.follow(renewal);
        out.push(Effect::Tell(Event::Renewed { term: set.term() }));
        let others = before.members().iter().chain(set.members().iter().filter(|to| before.index(to).is_none()));
        out.extend(others.map(|to| Effect::Send { to: *to, message: message.clone() }));
        self.collect_hears(now, collect::Input::Want(statement, set), out);
    }

    /// From now on those of the change watch this node's account.
    pub(super) fn follow(&mut self, renewal: Renewal) {
        if self.sets.renew(&renewal, &self.keys).is_err() {
            return;
        }
        self.pen.next_set = None;
        self.pen.set = Some(renewal.set.clone());
        // What those after let this node owe they say when they take over.
        self.pen.limits.retain(|member, _| renewal.set.index(member).is_some());
        self.pen.next.retain(|member, _| renewal.set.index(member).is_some());
        // Until then, whoever has not taken over yet since the last change was told of that one.
        if let Some((fold, before)) = self.pen.prepared.take() {
            self.pen.handover = Some(Handover { fold, before, renewal: Box::new(renewal) });
        }
    }

    /// Whether a witness that is to vote for an entry has not taken over yet, or is to say that it has.
    pub(super) fn must_adopt(&self, witness: &NodeId, number: u64) -> bool {
        let begun = self.pen.handover.as_ref().map(|handover| handover.renewal.signed.entry.number);
        begun.is_some_and(|begun| number <= begun || self.pen.next.get(witness).is_none_or(|next| *next <= begun))
    }

    /// What a witness that takes over must know.
    pub(super) fn adoption(&self) -> Option<Message> {
        let Handover { fold, before, renewal } = self.pen.handover.clone()?;
        Some(Message::Adopt { fold, before: Box::new(before), renewal })
    }

    /// An owner wants this node to watch its account from a change on.
    pub(super) fn adopt(
        &mut self,
        now: Instant,
        from: NodeId,
        fold: Vec<u8>,
        before: &Set,
        renewal: Renewal,
        out: &mut Vec<Effect>,
    ) {
        let account = renewal.signed.entry.account;
        let convicted = self.reputation.standing(&account) == reputation::Standing::Convicted;
        let known = account == from && account != self.me && !convicted && self.judge(&account, before);
        if !known || self.sets.renew(&renewal, &self.keys).is_err() {
            // Else it is asked again and again.
            return self.deny(from, renewal.signed.entry.statement(), None, out);
        }
        let Some(log) = Fold::decode(&fold) else { return };
        let Voted { statement, signature, saved, .. } = match self.witness.adopt(log, &renewal, before) {
            Ok(voted) => voted,
            Err(refusal) => return self.refuse(now, from, renewal.signed.entry.statement(), refusal, out),
        };
        if saved.is_some() {
            let (before, renewal) = (Box::new(before.clone()), Box::new(renewal));
            self.keep(from, &Message::Adopt { fold, before, renewal }, out);
        }
        let limit = self.limit_of(&account);
        self.grant(account, limit, out);
        out.push(Effect::Send { to: from, message: Message::Vote { statement, signature, limit } });
    }

    /// Asks whoever showed a set that comes after those that are known, and its account, for what lies between.
    pub(super) fn ask_for_changes(&mut self, from: NodeId, out: &mut Vec<Effect>) {
        let mut lacks = core::mem::take(&mut self.lacks);
        lacks.dedup();
        for (account, term) in lacks {
            let owner = Some(account).filter(|account| *account != from);
            for to in core::iter::once(from).chain(owner) {
                out.push(Effect::Send { to, message: Message::Lack { account, term } });
            }
        }
    }

    /// Somebody knows an account of old.
    pub(super) fn lacks(&self, from: NodeId, account: &NodeId, term: u64, out: &mut Vec<Effect>) {
        let renewals = self.sets.after(account, term, RENEWALS_MAX);
        if !renewals.is_empty() {
            out.push(Effect::Send { to: from, message: Message::Renewed(renewals) });
        }
    }

    /// Somebody tells how witnesses changed. What does not lead on from what is known is passed over.
    pub(super) fn renewed(&mut self, renewals: &[Renewal]) {
        for renewal in renewals.iter().filter(|renewal| renewal.signed.entry.account != self.me) {
            let _ = self.sets.renew(renewal, &self.keys);
        }
    }
}
