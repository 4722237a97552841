//! Credits are set aside before anybody works: terms, consent, a certified hold.
//!
//! A worker that was told the terms agrees; the client writes the hold and shows it to its witnesses; with their certificate
//! the lease begins. Offers to one worker are made one after the other, as each takes the next turn with it.

use alloc::{boxed::Box, vec::Vec};

use super::{
    Effect, Trade, Why,
    message::{Evidence, Message, Paid},
    run::{Shift, Stage as GuestStage},
    withhold::DOUBT_S,
    witness::Draft,
};
use crate::{
    economy::{
        ledger::{Act, Signed, Terms, fold, session},
        tiers::Order,
        witness::Certificate,
    },
    kit::{
        Credits, Digest, Domain, Instant, NodeId, Ppm, Signature, Signer, UnixTime, Verifier,
        fault::{Fault, on},
        hash::{Tag, hash},
    },
    node::govern,
    trust::verify::commit,
    work::schedule::worker,
};

/// Seconds beyond the longest task in which a worker can have its hold closed before its client may.
const GRACE_S: u64 = 300;
/// How often an offer, or a hold, is said before the worker is given up.
const TRIES: u8 = 4;

/// How many blocks so many tokens are; nothing, if none or more than a session has.
pub(super) fn ticks_of(tokens: u32) -> Option<u32> {
    let ticks = tokens.div_ceil(commit::BLOCK);
    (ticks > 0 && u64::from(ticks) <= fold::TICKS_MAX).then_some(ticks)
}

/// A task that a worker was given, as its client keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lease {
    pub worker: NodeId,
    pub epoch: u32,
    /// Tokens that were there before.
    pub from: u32,
    pub stage: Stage,
    /// When something must have happened.
    pub due: Instant,
    tries: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Another offer to the worker is not written yet.
    Waiting,
    /// The worker was told the terms.
    Offered(Box<Deal>),
    /// It agreed; the hold is being written and certified.
    Writing(Box<Deal>),
    /// It is certified: the worker works.
    Held(Box<Deal>),
}

/// What a session is about, from the client's side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deal {
    pub terms: Terms,
    pub chain: session::Chain,
    /// What decides about the audit, and its hash, which the worker was told.
    pub secret: Digest,
    pub promise: Digest,
    /// This side's part of the seed.
    number: Digest,
    pub commit: commit::Chain,
    pub blocks: Vec<commit::Block>,
    /// Tokens that there are in all.
    pub tokens: u32,
    /// The share of the pay that waits for the audit.
    pub withheld: Ppm,
    /// What the worker was told of the last block.
    pub last: Option<Message>,
    /// The certified hold, to be shown again until the worker begins.
    evidence: Option<Box<Evidence>>,
}

/// Terms, as a worker hears them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    pub epoch: u32,
    pub from: u32,
    pub terms: Terms,
    pub promise: Digest,
    pub number: Digest,
    pub withheld: Ppm,
}

impl Lease {
    /// The deal with `worker` under `epoch`, once the hold is certified.
    pub fn held(&mut self, worker: &NodeId, epoch: u32) -> Option<&mut Deal> {
        match &mut self.stage {
            Stage::Held(deal) if self.worker == *worker && self.epoch == epoch => Some(deal),
            _ => None,
        }
    }
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// The client side gives a task to a worker.
    pub(super) fn bound(
        &mut self,
        now: Instant,
        worker: NodeId,
        task: u64,
        epoch: u32,
        from: u32,
        out: &mut Vec<Effect>,
    ) {
        let Some(wanted) = self.tasks.get_mut(&task) else { return };
        if wanted.lease.as_ref().is_some_and(|lease| lease.worker == worker && lease.epoch == epoch) {
            return;
        }
        wanted.lease = Some(Lease { worker, epoch, from, stage: Stage::Waiting, due: now, tries: 0 });
        self.offer(now, task, out);
    }

    /// Tells the worker the terms, if no other offer to it is under way.
    fn offer(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let Some((wanted, lease)) = self.tasks.get(&task).and_then(|wanted| Some((wanted, wanted.lease.as_ref()?)))
        else {
            return;
        };
        let (worker, epoch, from) = (lease.worker, lease.epoch, lease.from);
        let busy = self.tasks.iter().any(|(other, wanted)| {
            let unwritten = |lease: &Lease| matches!(lease.stage, Stage::Offered(_) | Stage::Writing(_));
            *other != task && wanted.lease.as_ref().is_some_and(|lease| lease.worker == worker && unwritten(lease))
        }) || self.pen.promises(&worker);
        if busy {
            let due = now + self.config.patience / 8;
            if let Some(lease) = self.lease(task) {
                lease.due = due.max(now + super::MOMENT);
            }
            return;
        }
        let (factor, accepted) = wanted.quotes.get(&worker).copied().unwrap_or((1_000_000, Ppm(0)));
        let withheld = self.withholds(&worker, wanted.wish.model, accepted);
        let Some((tick, blocks)) = self.tick_price(&wanted.wish.order, factor, from) else { return };
        let cap = Credits(tick.0 * u64::from(blocks));
        if !self.may_cost(now, task, cap, out) {
            return;
        }
        let turn = self.pen.fold().turn(&worker);
        let secrets = [b"chain", b"audit", b"sampl"].map(|label| self.secret(label, &worker, turn, task, epoch));
        let [chain, secret, number] = secrets;
        let chain = session::Chain::new(chain, blocks);
        let until = self.date(now).0 + self.config.client.task_max.as_secs() + GRACE_S;
        let terms = Terms { payee: worker, turn, cap, tick, until: UnixTime(until), root: chain.root() };
        let promise = Digest(commit::promise(&secret.0));
        let commit = commit::Chain::new(&terms.root.0);
        out.push(Effect::Send {
            to: worker,
            message: Message::Offer { task, epoch, from, terms, promise, number, withheld },
        });
        let deal = Box::new(Deal {
            terms,
            chain,
            secret,
            promise,
            number,
            commit,
            blocks: Vec::new(),
            tokens: from,
            withheld,
            last: None,
            evidence: None,
        });
        let due = now + self.config.patience.max(super::MOMENT);
        if let Some(lease) = self.lease(task) {
            (lease.stage, lease.due) = (Stage::Offered(deal), due);
        }
    }

    /// What a block costs of an order of which `from` tokens are there, and how many blocks there may be.
    fn tick_price(&self, order: &Order, factor: u32, from: u32) -> Option<(Credits, u32)> {
        let left = u32::try_from(order.tokens_out).ok()?.checked_sub(from)?;
        let blocks = ticks_of(left)?;
        // What another worker wrote is read like a prompt.
        let rest = Order { tokens_in: order.tokens_in.checked_add(from.into())?, tokens_out: left.into(), ..*order };
        let price = self.price(&rest, factor)?;
        Some((Credits(price.0.div_ceil(blocks.into())), blocks))
    }

    /// Whether a worker that has the task waits for what this node writes.
    pub(super) fn keeps_waiting(&self, worker: &NodeId, task: u64) -> bool {
        let lease = self.tasks.get(&task).and_then(|wanted| wanted.lease.as_ref());
        lease.is_some_and(|lease| lease.worker == *worker && matches!(lease.stage, Stage::Waiting | Stage::Writing(_)))
    }

    fn lease(&mut self, task: u64) -> Option<&mut Lease> {
        self.tasks.get_mut(&task)?.lease.as_mut()
    }

    /// 32 bytes that nobody else can know, the same whenever they are asked for.
    ///
    /// A signature is what only this node can compute; its hash tells nothing of it.
    fn secret(&self, label: &[u8; 5], worker: &NodeId, turn: u64, task: u64, epoch: u32) -> Digest {
        let numbers = [self.born.0, turn, task, epoch.into()].map(u64::to_be_bytes).concat();
        let signature = self.keys.sign(Domain::Secret, &[label, &worker.0, &numbers]);
        hash(Tag::Secret, &[&signature.0])
    }

    /// A client tells its terms; this node agrees, or does not.
    pub(super) fn offered(&mut self, now: Instant, key: worker::Key, offer: Offer, out: &mut Vec<Effect>) {
        let date = self.date(now);
        let Some(guest) = self.guests.get(&key) else {
            let message = Message::Report { task: key.1, epoch: offer.epoch, tokens: offer.from, done: false };
            return out.push(Effect::Send { to: key.0, message });
        };
        let again = match &guest.stage {
            GuestStage::Working(_) => return,
            GuestStage::Consented(known) => *known == offer,
            GuestStage::Asked => false,
        };
        let Offer { terms, from, withheld, .. } = offer;
        let accepted = withheld <= guest.accepts || on(Fault::WithheldWithoutConsent);
        let fair = self.tick_price(&guest.order, guest.price, from).is_some_and(|(tick, blocks)| {
            terms.tick >= tick && Some(terms.cap.0) == terms.tick.0.checked_mul(u64::from(blocks))
        });
        // It outlasts the work by what a doubt may take, and waits for no closing for ever.
        let task_max = self.config.client.task_max.as_secs();
        let least = date.0.saturating_add(task_max + DOUBT_S);
        let in_time = (least..=least + 2 * GRACE_S).contains(&terms.until.0);
        let right = terms.payee == self.me && fair && in_time && accepted;
        if !right || (!again && terms.cap > self.may_earn(date)) {
            return self.decline(now, key, (offer.epoch, from), out);
        }
        let signature = Act::Hold(terms).consent(&key.0, &self.keys);
        let due = now + self.config.worker.patience.max(super::MOMENT);
        if let Some(guest) = self.guests.get_mut(&key) {
            (guest.stage, guest.due) = (GuestStage::Consented(offer), due);
        }
        let message = Message::Consent { task: key.1, epoch: offer.epoch, signature };
        out.push(Effect::Send { to: key.0, message });
    }

    /// What it may still earn in this hour.
    pub(super) fn may_earn(&self, date: UnixTime) -> Credits {
        self.earnings.left(&govern::policy(&self.parameters), date)
    }

    /// It does not work for these terms.
    fn decline(&mut self, now: Instant, key: worker::Key, (epoch, tokens): (u32, u32), out: &mut Vec<Effect>) {
        self.guests.remove(&key);
        let message = Message::Report { task: key.1, epoch, tokens, done: false };
        out.push(Effect::Send { to: key.0, message });
        self.worker_hears(now, worker::Input::Release(key), out);
    }

    /// The worker agreed: the hold is written.
    pub(super) fn consented(
        &mut self,
        now: Instant,
        worker: NodeId,
        task: u64,
        epoch: u32,
        signature: Signature,
        out: &mut Vec<Effect>,
    ) {
        let me = self.me;
        let Some(lease) = self.tasks.get_mut(&task).and_then(|wanted| wanted.lease.as_mut()) else { return };
        if lease.worker != worker || lease.epoch != epoch {
            return;
        }
        let Stage::Offered(deal) = &lease.stage else { return };
        let (terms, deal) = (deal.terms, deal.clone());
        let digest = Act::Hold(terms).consent_digest(&me);
        if !self.keys.verify(&worker, Domain::Consent, &[&digest.0], &signature) {
            return;
        }
        let due = now + self.config.client.work_patience.max(super::MOMENT);
        (lease.stage, lease.due) = (Stage::Writing(deal), due);
        self.pen.queue(Draft::Hold { task, terms, consent: signature });
        self.write(now, out);
    }

    /// The hold cannot be written: there is less to spend than there was.
    pub(super) fn unaffordable(&mut self, now: Instant, task: u64, missing: Credits, out: &mut Vec<Effect>) {
        self.give_up(now, task, Why::Short { missing }, out);
    }

    /// A hold is certified: the worker is shown it, and what comes of it will be owed.
    pub(super) fn hold_certified(
        &mut self,
        now: Instant,
        terms: Terms,
        signed: Signed,
        certificate: Certificate,
        out: &mut Vec<Effect>,
    ) {
        // After a restart the last entry is certified again: what was given for it by then is not forgotten.
        if !self.debts.contains_key(&(terms.payee, terms.turn)) {
            self.owe(terms);
        }
        let Some(set) = self.pen.set().cloned() else { return };
        let wanted = |lease: &Lease| matches!(&lease.stage, Stage::Writing(deal) if deal.terms == terms);
        let found = self.tasks.iter_mut().find(|(_, wants)| wants.lease.as_ref().is_some_and(wanted));
        let Some((task, wants)) = found else { return };
        wants.begun = now;
        let (task, Some(lease)) = (*task, wants.lease.as_mut()) else { return };
        let Stage::Writing(deal) = &mut lease.stage else { return };
        let evidence = Box::new(Evidence { certificate, set, paid: Paid::Entry(signed) });
        deal.evidence = Some(evidence.clone());
        let deal = deal.clone();
        (lease.stage, lease.tries, lease.due) = (Stage::Held(deal), 0, now + self.config.patience.max(super::MOMENT));
        let message = Message::Held { task, epoch: lease.epoch, evidence };
        out.push(Effect::Send { to: lease.worker, message });
    }

    /// The client shows its certified hold: work begins.
    pub(super) fn held(
        &mut self,
        now: Instant,
        key: worker::Key,
        epoch: u32,
        evidence: Evidence,
        out: &mut Vec<Effect>,
    ) {
        let Some(guest) = self.guests.get(&key) else { return };
        let GuestStage::Consented(offer) = guest.stage else { return };
        let Paid::Entry(signed) = &evidence.paid else { return };
        let same = offer.epoch == epoch && signed.entry.account == key.0 && signed.entry.act == Act::Hold(offer.terms);
        let certified = evidence.certificate.statement == signed.entry.statement();
        if !same || !certified || !self.judge_slot(now, &evidence.certificate.statement, &evidence.set) {
            return;
        }
        if evidence.certificate.verify(&evidence.set, &self.keys).is_err() {
            return;
        }
        self.believe(key.0, &evidence.set, out);
        // Only now: whoever has set nothing aside takes nothing from what others may have done in this hour.
        let date = self.date(now);
        if self.earnings.take(&govern::policy(&self.parameters), offer.terms.cap, date).is_err() {
            return self.decline(now, key, (epoch, offer.from), out);
        }
        let consent = Act::Hold(offer.terms).consent(&key.0, &self.keys);
        let seed = commit::seed(&offer.number.0, &hash(Tag::Secret, &[&consent.0]).0);
        let hold_ends = self.instant(UnixTime(offer.terms.until.0.saturating_sub(DOUBT_S)));
        let end = (now + self.config.client.task_max).min(hold_ends).max(now + super::MOMENT);
        if let Some(guest) = self.guests.get_mut(&key) {
            guest.stage = GuestStage::Working(Box::new(Shift::new(&offer, seed, Box::new(evidence), date, end)));
            guest.due = end;
        }
        self.worker_hears(now, worker::Input::Bind { key, epoch, from: offer.from }, out);
    }

    /// Nothing is wanted of the lease any more. A hold that is not written is not written.
    pub(super) fn drop_lease(&mut self, task: u64) -> Option<Lease> {
        let lease = self.tasks.get_mut(&task)?.lease.take()?;
        self.pen.forget(task);
        Some(lease)
    }

    pub(super) fn tick_leases(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due = |(task, wanted): (&u64, &super::Wanted)| {
            wanted.lease.as_ref().filter(|lease| lease.due <= now).map(|_| *task)
        };
        let tasks: Vec<u64> = self.tasks.iter().filter_map(due).collect();
        for task in tasks {
            self.lease_due(now, task, out);
        }
    }

    fn lease_due(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let (patience, work_patience) =
            (self.config.patience.max(super::MOMENT), self.config.client.work_patience.max(super::MOMENT));
        let Some(lease) = self.lease(task) else { return };
        let (worker, epoch, from) = (lease.worker, lease.epoch, lease.from);
        lease.tries = lease.tries.saturating_add(1);
        lease.due = now + patience;
        let again = match &lease.stage {
            Stage::Waiting => return self.offer(now, task, out),
            // The client side looks after silence.
            Stage::Writing(_) => None,
            Stage::Offered(deal) => Some(Message::Offer {
                task,
                epoch,
                from,
                terms: deal.terms,
                promise: deal.promise,
                number: deal.number,
                withheld: deal.withheld,
            }),
            Stage::Held(deal) if deal.blocks.is_empty() => {
                deal.evidence.clone().map(|evidence| Message::Held { task, epoch, evidence })
            }
            Stage::Held(_) => None,
        };
        match again.filter(|_| lease.tries < TRIES) {
            Some(message) => out.push(Effect::Send { to: worker, message }),
            None => lease.due = now + work_patience,
        }
    }
}
