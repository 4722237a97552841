//! A hold comes to what was worked for, and both logs say so.
//!
//! The worker shows the client's witnesses its last tick; with their certificate it writes a receipt into its own log, and
//! the client a release. When the time of a hold is past and nobody closed it, its client does, with the ticks that it gave.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use super::{
    Effect, Event, OPEN_MAX, Trade,
    message::{Evidence, Message, Paid},
    run::Stage,
    witness::Draft,
};
use crate::{
    economy::{
        ledger::{Closing, Proven, Terms, entry::COMMONS},
        witness::{Certificate, Set, certificate, collect},
    },
    kit::{
        Credits, Digest, Instant, NodeId, Signature, Signer, UnixTime, Verifier,
        fault::{Fault, on},
    },
    work::schedule::worker::Key,
};

/// A certified hold of this node, and what it has come to so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Debt {
    pub terms: Terms,
    pub ticks: u32,
    pub link: Digest,
    /// Those who certified it, and close it.
    pub set: Set,
    /// When this node may close it.
    pub due: Instant,
    /// Whether its release is written, or about to be.
    pub settled: bool,
}

/// A closing for which votes are gathered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanting {
    pub closing: Closing,
    pub consent: Option<Signature>,
    /// Those who are asked: who watched the payer when its hold was written.
    set: Set,
}

/// A certified closing of which the client is told, some times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Receipt {
    to: NodeId,
    evidence: Box<Evidence>,
    pub due: Instant,
    wait: Duration,
}

/// The longest wait between two tellings of a receipt; after it there is none.
const TELL_MAX: Duration = Duration::from_secs(64);

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// A task is over for its worker: what was paid is closed.
    pub(super) fn close(&mut self, now: Instant, key: Key, epoch: u32, out: &mut Vec<Effect>) {
        let _ = epoch;
        let Some(guest) = self.guests.remove(&key) else { return };
        let Stage::Working(shift) = guest.stage else { return };
        let closing = shift.meter.closing(key.0);
        let consent = closing.sign(&self.keys);
        self.want_closing(now, closing, Some(consent), shift.set, out);
    }

    /// Gathers votes for a closing.
    fn want_closing(
        &mut self,
        now: Instant,
        closing: Closing,
        consent: Option<Signature>,
        set: Set,
        out: &mut Vec<Effect>,
    ) {
        if self.closings.len() >= OPEN_MAX {
            return;
        }
        let statement = closing.statement();
        self.closings.insert(statement.digest, Wanting { closing, consent, set: set.clone() });
        self.collect_hears(now, collect::Input::Want(statement, set), out);
    }

    /// A closing is certified.
    pub(super) fn closing_certified(&mut self, now: Instant, certificate: Certificate, out: &mut Vec<Effect>) {
        let Some(Wanting { closing, set, .. }) = self.closings.remove(&certificate.statement.digest) else { return };
        let evidence = Evidence { certificate, set, paid: Paid::Closing(closing) };
        if closing.payer == self.me {
            if closing.payee == COMMONS {
                out.push(Effect::Tell(Event::Settled(closing)));
            }
            return self.paid(now, evidence, out);
        }
        out.push(Effect::Tell(Event::Settled(closing)));
        if closing.amount > Credits(0) {
            self.pen.queue(Draft::Receive(Box::new(evidence.clone())));
            self.write(now, out);
        }
        let evidence = Box::new(evidence);
        out.push(Effect::Send { to: closing.payer, message: Message::Paid(evidence.clone()) });
        if self.receipts.len() < OPEN_MAX {
            let wait = self.config.patience.max(super::MOMENT);
            self.receipts.push(Receipt { to: closing.payer, evidence, due: now + wait, wait });
        }
    }

    /// What a hold of this node came to: the rest is free again.
    pub(super) fn paid(&mut self, now: Instant, evidence: Evidence, out: &mut Vec<Effect>) {
        let Paid::Closing(closing) = evidence.paid else { return };
        let open = self.debts.get(&(closing.payee, closing.turn)).is_some_and(|debt| !debt.settled);
        if closing.payer != self.me || !open || self.prove(now, &evidence, out).is_none() {
            return;
        }
        if let Some(debt) = self.debts.get_mut(&(closing.payee, closing.turn)) {
            debt.settled = true;
        }
        self.pen.queue(Draft::Release(Box::new(evidence)));
        self.write(now, out);
    }

    /// What evidence proves, by a set that this node finds acceptable.
    pub(super) fn prove(&mut self, now: Instant, evidence: &Evidence, out: &mut Vec<Effect>) -> Option<Proven> {
        let statement = &evidence.certificate.statement;
        if !self.judge_slot(now, statement, &evidence.set) {
            return None;
        }
        if on(Fault::SetTakenUnproven) {
            self.believe(statement.account, &evidence.set, out);
        }
        let proven = self.proven(evidence)?;
        self.believe(statement.account, &evidence.set, out);
        Some(proven)
    }

    /// What evidence proves, if its set may certify that.
    pub(super) fn proven(&self, evidence: &Evidence) -> Option<Proven> {
        match &evidence.paid {
            Paid::Entry(signed) => certificate::payment(&evidence.certificate, signed, &evidence.set, &self.keys).ok(),
            Paid::Closing(closing) => {
                certificate::closing(&evidence.certificate, closing, &evidence.set, &self.keys).ok()
            }
        }
    }

    pub(super) fn tick_debts(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let hour = Duration::from_secs(3600);
        let late: Vec<(NodeId, u64)> =
            self.debts.iter().filter(|(_, debt)| debt.due <= now).map(|(key, _)| *key).collect();
        for key in late {
            let me = self.me;
            let Some(debt) = self.debts.get_mut(&key) else { continue };
            debt.due = now + hour;
            if debt.settled {
                continue;
            }
            let Terms { payee, turn, tick, root, .. } = debt.terms;
            let (ticks, link, set) = (debt.ticks, debt.link, debt.set.clone());
            if debt.terms.is_deposit() {
                let Some(lost) = self.fate(&root) else { continue };
                if let Some(terms) = self.pen.fold().terms(&payee, turn) {
                    self.want_closing(now, terms.concluded(me, lost), None, set, out);
                }
                continue;
            }
            let amount = Credits(u64::from(ticks) * tick.0);
            self.want_closing(now, Closing { payer: me, payee, turn, ticks, amount, link }, None, set, out);
        }
        for receipt in self.receipts.iter_mut().filter(|receipt| receipt.due <= now) {
            out.push(Effect::Send { to: receipt.to, message: Message::Paid(receipt.evidence.clone()) });
            receipt.wait *= 4;
            receipt.due = now + receipt.wait;
        }
        self.receipts.retain(|receipt| receipt.wait <= TELL_MAX);
    }

    /// What comes of a hold of this node will be owed; when its time is past, this node may close it itself.
    pub(super) fn owe(&mut self, terms: Terms) {
        let due = self.instant(UnixTime(terms.until.0 + 1));
        let Some(set) = self.pen.set.clone() else { return };
        let debt = Debt { terms, ticks: 0, link: terms.root, set, due, settled: false };
        self.debts.insert((terms.payee, terms.turn), debt);
    }
}
