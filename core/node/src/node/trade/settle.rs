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
    withhold::Back,
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
    /// What is withheld of it.
    pub back: Option<Back>,
}

/// A closing for which votes are gathered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanting {
    pub closing: Closing,
    /// The payee's word, and the hold for a witness that has not seen it: its payer may have shown it to no more than a quorum.
    pub claim: Option<(Signature, Box<Evidence>)>,
    /// Those who are asked: who watched the payer when its hold was written.
    set: Set,
}

/// A word about a session that is over, which is said some times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reminder {
    to: NodeId,
    message: Message,
    pub due: Instant,
    wait: Duration,
}

/// Closings for which votes are gathered at once: for so many that own entries, one at a time, have room beside them
/// ([`collect::Config::pending_max`]); and of one payer, which may be watched by too many who are silent.
const CLOSINGS_MAX: usize = 960;
const CLOSINGS_OF_ONE_MAX: usize = 64;
/// The longest wait between two tellings; after it there is none.
const TELL_MAX: Duration = Duration::from_secs(64);

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// A task is over for its worker: what was paid is closed, as soon as nothing of it is withheld.
    pub(super) fn close(&mut self, now: Instant, key: Key, out: &mut Vec<Effect>) {
        let Some(guest) = self.guests.remove(&key) else { return };
        let Stage::Working(shift) = guest.stage else { return };
        self.earnings.give_back(shift.rest(), shift.since);
        if shift.meter.ticks() > 0 {
            self.works_today(now, out);
        }
        self.has_served(key);
        self.await_rest(now, key.0, guest.model, *shift, out);
    }

    /// Gathers votes for a closing.
    pub(super) fn want_closing(
        &mut self,
        now: Instant,
        closing: Closing,
        claim: Option<(Signature, Box<Evidence>)>,
        set: Set,
        out: &mut Vec<Effect>,
    ) {
        let of_payer = self.closings.values().filter(|wanting| wanting.closing.payer == closing.payer).count();
        let room = self.closings.len() < CLOSINGS_MAX && (of_payer < CLOSINGS_OF_ONE_MAX || closing.payer == self.me);
        if !room {
            return;
        }
        let statement = closing.statement();
        self.closings.insert(statement.digest, Wanting { closing, claim, set: set.clone() });
        self.collect_hears(now, collect::Input::Want(statement, set), out);
    }

    /// A closing is certified.
    pub(super) fn closing_certified(&mut self, now: Instant, certificate: Certificate, out: &mut Vec<Effect>) {
        let Some(Wanting { closing, set, .. }) = self.closings.remove(&certificate.statement.digest) else { return };
        let evidence = Evidence { certificate, set, paid: Paid::Closing(closing) };
        if closing.payer == self.me {
            if closing.payee == COMMONS {
                out.push(Effect::Tell(Event::Settled(closing)));
            } else {
                // It did not close it itself: it lost its power, or waits for more.
                self.remind(now, closing.payee, Message::Paid(Box::new(evidence.clone())), out);
            }
            return self.paid(now, evidence, out);
        }
        out.push(Effect::Tell(Event::Settled(closing)));
        if closing.amount > Credits(0) {
            self.pen.queue(Draft::Receive(Box::new(evidence.clone())));
            self.write(now, out);
        }
        self.remind(now, closing.payer, Message::Paid(Box::new(evidence)), out);
    }

    /// Says something now, and a few times more.
    pub(super) fn remind(&mut self, now: Instant, to: NodeId, message: Message, out: &mut Vec<Effect>) {
        if self.reminders.len() < OPEN_MAX {
            let wait = self.config.patience.max(super::MOMENT);
            self.reminders.push(Reminder { to, message: message.clone(), due: now + wait, wait });
        }
        out.push(Effect::Send { to, message });
    }

    /// What a hold for this node came to, which its client closed itself.
    fn paid_me(&mut self, now: Instant, closing: Closing, evidence: Evidence, out: &mut Vec<Effect>) {
        let known = self.pen.fold().received(&closing.payer, closing.turn) || closing.amount == Credits(0);
        if known || self.prove(now, &evidence, out).is_none() {
            return;
        }
        self.arrears.remove(&(closing.payer, closing.turn));
        if self.pen.receives(&closing) {
            return;
        }
        out.push(Effect::Tell(Event::Settled(closing)));
        self.pen.queue(Draft::Receive(Box::new(evidence)));
        self.write(now, out);
    }

    /// What a hold of this node came to: the rest is free again.
    pub(super) fn paid(&mut self, now: Instant, evidence: Evidence, out: &mut Vec<Effect>) {
        let Paid::Closing(closing) = evidence.paid else { return };
        if closing.payee == self.me {
            return self.paid_me(now, closing, evidence, out);
        }
        let open = self.debts.get(&(closing.payee, closing.turn)).is_some_and(|debt| !debt.settled);
        if closing.payer != self.me || !open || self.prove(now, &evidence, out).is_none() {
            return;
        }
        if let Some(debt) = self.debts.get_mut(&(closing.payee, closing.turn)) {
            debt.settled = true;
        }
        let told = |reminder: &Reminder| {
            let turn = if let Message::Rest { turn, .. } = reminder.message { Some(turn) } else { None };
            reminder.to == closing.payee && turn == Some(closing.turn)
        };
        self.reminders.retain(|reminder| !told(reminder));
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
        let born = self.born;
        let late: Vec<(NodeId, u64)> =
            self.debts.iter().filter(|(_, debt)| debt.due <= now).map(|(key, _)| *key).collect();
        for key in late {
            let me = self.me;
            let Some(debt) = self.debts.get_mut(&key) else { continue };
            debt.due = now + hour;
            if debt.settled {
                continue;
            }
            if debt.back.is_some() {
                debt.due = super::instant_of(born, UnixTime(debt.terms.until.0 + 1)).max(now + super::MOMENT);
                self.end_waiting(now, key, out);
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
        for reminder in self.reminders.iter_mut().filter(|reminder| reminder.due <= now) {
            out.push(Effect::Send { to: reminder.to, message: reminder.message.clone() });
            reminder.wait *= 4;
            reminder.due = now + reminder.wait;
        }
        self.reminders.retain(|reminder| reminder.wait <= TELL_MAX);
    }

    /// What comes of a hold of this node will be owed; when its time is past, this node may close it itself.
    pub(super) fn owe(&mut self, terms: Terms) {
        let due = self.instant(UnixTime(terms.until.0 + 1));
        let Some(set) = self.pen.set.clone() else { return };
        let debt = Debt { terms, ticks: 0, link: terms.root, set, due, settled: false, back: None };
        self.debts.insert((terms.payee, terms.turn), debt);
    }
}
