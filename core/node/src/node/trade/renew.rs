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
//! if it is of no term to come, has as many members as the network asks for and looks drawn, not chosen. An owner asks for others
//! when too many of those who watch have long been away, are trusted no more, have cheated or are too far behind, or are fewer than the
//! network asks for by now, or after many terms; and while a quorum is there, since a change that is written and not certified has
//! its place in the log for good.
//!
//! Where the network asks for more than before ([`super::Config::faults`]), nobody stands still: who knows an account knows its
//! sets, so those who watch it certify what it writes and whom it changes to; and whoever hears of it for the first time, be it to take
//! over, takes as many as before for a while ([`super::Config::faults_before`]). An account that sleeps longer than that while can
//! be taken over only by those who know it.
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
        witness::{Certificate, Renewal, Set, Terms, collect, terms::Standing, vote::Voted},
    },
    kit::{
        Instant, NodeId, Signer, Verifier,
        fault::{Fault, on},
    },
    trust::reputation,
};

/// The part of a term by which clocks may differ: an hour of a day, as for proposals.
const SKEW: u64 = 24;

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
    /// A day is long beside what a machine needs to start again, and there are 365 draws a year for an account that keeps on
    /// changing; what each is worth stands at [`crate::economy::witness::set`]. A month is the predecessor's.
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

    /// Whether the term of a set has begun, by a clock that may be behind by a part of a term: an hour of a day.
    fn has_begun(&self, now: Instant, set: &Set) -> bool {
        let term = self.config.renew.term.as_secs().max(1);
        set.term() <= (self.date(now).0 + term / SKEW) / term || on(Fault::TermToComeTaken)
    }

    /// Whether a set may be the first of an account, or come next: there are as many as the network asks for, and it is not one of a
    /// term to come. A term that is over is good: an opening, or a change, may have waited long for those who certify it.
    pub(super) fn may_begin(&self, now: Instant, set: &Set) -> bool {
        (set.faults() >= self.config.faults || on(Fault::FewerTaken)) && self.has_begun(now, set)
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
    /// after those that are known is asked for. What is found is not remembered: see [`Self::believe`].
    pub(super) fn judge(&mut self, now: Instant, account: &NodeId, set: &Set) -> bool {
        match self.terms_of(account).standing(account, set) {
            Standing::Known => true,
            // Its own sets a node drew itself.
            Standing::Other | Standing::Open | Standing::Later if *account == self.me => false,
            Standing::Other => false,
            Standing::Later => {
                let known = self.sets.current(account).map_or(0, Set::term);
                self.lacks.push((*account, known));
                false
            }
            // There may have been no room to remember whom this node watches.
            Standing::Open => self.witness.set(account) == Some(set) || self.is_drawn(now, account, set),
        }
    }

    /// Whether a set of which nothing is known is drawn and not chosen, and of as many as it takes.
    fn is_drawn(&self, now: Instant, account: &NodeId, set: &Set) -> bool {
        let least = self.config.faults_before.unwrap_or(self.config.faults);
        let many = set.faults() >= least.min(self.config.faults) || on(Fault::FewerTaken);
        // Members may have left since it was drawn.
        many && self.has_begun(now, set) && set.acceptable(account, &self.trusted(set.members()))
    }

    /// The same as [`Self::judge`], and whether it may certify that.
    pub(super) fn judge_slot(&mut self, now: Instant, statement: &Statement, set: &Set) -> bool {
        let account = statement.account;
        self.terms_of(&account).may_certify(&account, set, &statement.slot) && self.judge(now, &account, set)
    }

    /// What others fill has nothing to do with this node's own account.
    fn terms_of(&self, account: &NodeId) -> &Terms {
        if *account == self.me { &self.pen.terms } else { &self.sets }
    }

    /// A set that was judged has certified something: from now on what comes after it is to be shown. It is kept, so that all is
    /// judged after a restart as before.
    ///
    /// Not before: anybody draws a set for any account, and with made-up ones the table of all sets would be full at once.
    pub(super) fn believe(&mut self, account: NodeId, set: &Set, out: &mut Vec<Effect>) {
        let new = account != self.me && self.sets.standing(&account, set) == Standing::Open;
        if new && self.sets.judged(account, set) {
            let message = Message::Show { set: Box::new(set.clone()), next: None, entries: Vec::new() };
            self.keep(account, &message, out);
        }
    }

    /// As one who watches `account`: whether `next` may do so from now on.
    pub(super) fn may_follow(&self, now: Instant, account: &NodeId, next: &Set) -> bool {
        let drawn = next.acceptable(account, &self.trusted(next.members()));
        (drawn && self.may_begin(now, next)) || on(Fault::ChosenSetFollows)
    }

    /// Looks after those who watch this node's account.
    pub(super) fn look_after_witnesses(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(set) = self.pen.set.clone() else { return };
        self.note_absences(now, &set);
        let term = self.term(now);
        let aged = term.saturating_sub(set.term()) >= self.config.renew.terms.max(1);
        let lost = set.members().iter().filter(|member| self.is_lost(now, member)).count();
        let there = set.members().len() - self.pen.away.len();
        let few = set.faults() < self.config.faults;
        let wanted = aged || few || lost * 2 > usize::from(set.faults());
        if !wanted || there < set.quorum() || term <= set.term() || self.pen.renews() {
            return;
        }
        let faults = set.faults().max(self.config.faults);
        let Some(next) = Set::draw(&self.me, term, faults, &self.trusted(&[])) else { return };
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
        if self.pen.terms.renew(&renewal, &self.keys).is_err() {
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
        let begun = account == from && account != self.me && !convicted && self.has_begun(now, &renewal.set);
        let known = begun && self.judge(now, &account, before);
        // Of a stranger nothing is remembered before the change is checked.
        let stranger = self.sets.current(&account).is_none();
        if !known || !(stranger || self.learn(&renewal, out)) {
            // Else it is asked again and again.
            return self.deny(from, renewal.signed.entry.statement(), None, out);
        }
        let Some(log) = Fold::decode(&fold) else { return };
        let Voted { statement, signature, saved, .. } = match self.witness.adopt(log, &renewal, before) {
            Ok(voted) => voted,
            Err(refusal) => return self.refuse(now, from, renewal.signed.entry.statement(), refusal, out),
        };
        if stranger && self.sets.judged(account, before) {
            let _ = self.sets.renew(&renewal, &self.keys);
        }
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
        let renewals = self.terms_of(account).after(account, term, RENEWALS_MAX);
        if !renewals.is_empty() {
            out.push(Effect::Send { to: from, message: Message::Renewed(renewals) });
        }
    }

    /// Somebody tells how witnesses changed. What does not lead on from what is known is passed over.
    pub(super) fn renewed(&mut self, now: Instant, renewals: &[Renewal], out: &mut Vec<Effect>) {
        for renewal in renewals {
            if renewal.signed.entry.account != self.me && self.has_begun(now, &renewal.set) {
                self.learn(renewal, out);
            }
        }
    }

    /// Takes in a change of witnesses of another account, and keeps what is new; whether it leads on from what is known.
    fn learn(&mut self, renewal: &Renewal, out: &mut Vec<Effect>) -> bool {
        let learnt = self.sets.renew(renewal, &self.keys);
        if learnt == Ok(true) {
            self.keep(renewal.signed.entry.account, &Message::Renewed([renewal.clone()].into()), out);
        }
        learnt.is_ok()
    }
}
