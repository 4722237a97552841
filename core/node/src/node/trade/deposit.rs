//! What a proposal costs until it ends.
//!
//! ```text
//! author                                       its witnesses             everybody
//!   |--- Show (hold for the commons) ------------->|
//!   |<-- Vote: 2f+1 are a certificate -------------|
//!   |--- Ballot (proposal, certificate) ------------------------------------->|
//!   |        ... it is voted on, and ends: each node counts for itself ...    |
//!   |--- Close (nothing, or all) ----------------->|  as this witness counted
//!   |<-- Vote -------------------------------------|
//!   |  Release entry
//! ```
//!
//! A deposit is a hold of its author's for the commons ([`COMMONS`]), which has no key
//! and so is not asked. From then on nobody has a say in what comes of it but the witnesses, and each of them knows by its own
//! tally: a quorum of them says that it goes back, or that all of it is the commons'. An author that does not ask them has lost
//! it as well: what is held is spent. Where witnesses heard of different ballots and no quorum agrees, it stays held.
//!
//! A proposal that nobody takes (another of its parameter came first, power was lost before it was told) leaves its deposit
//! held until its time is past, eighteen days and one; then witnesses who never heard of it let it go.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{
    Answer, Effect, OPEN_MAX, Trade,
    message::{Evidence, Paid},
    vote::Ballot,
    witness::Draft,
};
use crate::{
    economy::{
        governance::{DEPOSIT, Error, LIFE_S},
        ledger::{Closing, Signed, Terms, entry::COMMONS},
        witness::{Certificate, certificate, vote::Word},
    },
    kit::{Credits, Digest, Instant, NodeId, Signature, Signer, UnixTime, Verifier},
};

/// What a deposit stays beyond the longest life of its proposal: nodes whose dates lag a little count later.
const SLACK_S: u64 = super::DAY_S;

impl Ballot {
    /// Whether it is a proposal of this author for which nothing is deposited yet.
    pub(super) fn wants_deposit(&self, author: &NodeId) -> bool {
        matches!(self, Self::Propose { proposal, deposit: None, .. } if proposal.author == *author)
    }
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Somebody at this machine proposes: if the proposal would be taken its deposit is written, and then it is told.
    pub(super) fn lodge(&mut self, now: Instant, asker: u64, ballot: Ballot, out: &mut Vec<Effect>) {
        let Ballot::Propose { proposal, snapshot, .. } = &ballot else { return };
        let id = proposal.id();
        let until = UnixTime(proposal.made.0.saturating_add(LIFE_S + SLACK_S));
        let dated = self.sees(snapshot).and_then(|()| self.cast(now, Ballot::Date(self.date(now)), out));
        let taken = dated.and_then(|()| self.governance.consider(proposal, snapshot, DEPOSIT).map(drop));
        let taken = match taken {
            Ok(()) if self.lodged.contains_key(&id) => Err(Error::Known),
            Ok(()) if self.lodged.len() >= OPEN_MAX => Err(Error::Full { limit: OPEN_MAX }),
            Ok(()) if self.pen.spendable() < DEPOSIT => Err(Error::Deposit { needed: DEPOSIT }),
            taken => taken,
        };
        if taken.is_err() {
            return out.push(Effect::Reply { to: asker, answer: Answer::Voted(taken) });
        }
        self.lodged.insert(id, (asker, ballot));
        self.pen.queue(Draft::Deposit { proposal: id, amount: DEPOSIT, until });
        self.write(now, out);
    }

    /// The log took no deposit: there is less to spend than there was.
    pub(super) fn not_lodged(&mut self, proposal: &Digest, out: &mut Vec<Effect>) {
        let Some((to, _)) = self.lodged.remove(proposal) else { return };
        out.push(Effect::Reply { to, answer: Answer::Voted(Err(Error::Deposit { needed: DEPOSIT })) });
    }

    /// A deposit of this node is certified: now the proposal is told.
    pub(super) fn lodged(
        &mut self,
        now: Instant,
        terms: Terms,
        signed: Signed,
        certificate: Certificate,
        out: &mut Vec<Effect>,
    ) {
        // After a restart it is certified again, and may be over by now.
        if !self.debts.contains_key(&(terms.payee, terms.turn)) {
            self.owe(terms);
        }
        let Some((to, ballot)) = self.lodged.remove(&terms.root) else { return };
        let (Ballot::Propose { proposal, snapshot, .. }, Some(set)) = (ballot, self.pen.set().cloned()) else { return };
        let deposit = Some(Box::new(Evidence { certificate, set, paid: Paid::Entry(signed) }));
        let answer = Answer::Voted(self.cast(now, Ballot::Propose { proposal, snapshot, deposit }, out));
        out.push(Effect::Reply { to, answer });
    }

    /// What lies in deposit for a ballot, by a set that this node finds acceptable.
    pub(super) fn deposited(&mut self, now: Instant, ballot: &Ballot, out: &mut Vec<Effect>) -> Credits {
        let Ballot::Propose { proposal, deposit: Some(evidence), .. } = ballot else { return Credits(0) };
        let Evidence { certificate, set, paid: Paid::Entry(signed) } = &**evidence else { return Credits(0) };
        if certificate.statement.account != proposal.author || !self.judge_slot(now, &certificate.statement, set) {
            return Credits(0);
        }
        let (id, until) = (proposal.id(), UnixTime(proposal.made.0.saturating_add(LIFE_S)));
        let what = (&proposal.author, &id, until);
        let Ok(amount) = certificate::deposit(certificate, signed, set, what, &self.keys) else { return Credits(0) };
        self.believe(proposal.author, set, out);
        amount
    }

    /// A proposal of this node ended: its deposit is to be closed.
    pub(super) fn ended_vote(&mut self, now: Instant, proposal: &Digest) {
        let debts = self.debts.values_mut();
        for debt in debts.filter(|debt| debt.terms.is_deposit() && debt.terms.root == *proposal) {
            debt.due = now + super::MOMENT;
        }
    }

    /// After a restart: what ended before is closed soon.
    pub(super) fn recall_deposits(&mut self) {
        let governance = &self.governance;
        let ended = |terms: &Terms| terms.is_deposit() && governance.ended(&terms.root).is_some();
        for debt in self.debts.values_mut().filter(|debt| ended(&debt.terms)) {
            debt.due = Instant::default() + super::MOMENT;
        }
    }

    /// Whether the deposit for a proposal is lost; nothing, while it is under way. What was never heard of goes back.
    pub(super) fn fate(&self, proposal: &Digest) -> Option<bool> {
        if self.governance.is_open(proposal) {
            return None;
        }
        Some(self.governance.ended(proposal).is_some_and(|end| end.takes_deposit()))
    }

    /// On whose word this node, a witness, closes a hold; nothing, if it has to wait for one.
    pub(super) fn word<'a>(&self, closing: &Closing, consent: Option<&'a Signature>) -> Option<Word<'a>> {
        if closing.payee != COMMONS {
            return Some(consent.map_or(Word::Nobody, Word::Payee));
        }
        let lost = self.fate(&closing.link)?;
        // Before its time, what this node has not heard of may still be told.
        Some(if self.governance.ended(&closing.link).is_some() { Word::Own { lost } } else { Word::Nobody })
    }
}
