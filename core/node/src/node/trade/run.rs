//! Blocks for ticks: the worker sends the next block when the last one is paid, so neither side is ever more than one block
//! ahead.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use super::{
    Effect, Event, Job, Trade,
    hold::{Lease, Offer, Stage as LeaseStage},
    message::{Evidence, Message},
};
use crate::{
    economy::{ledger::session::Meter, tiers::Order},
    kit::{
        Credits, Digest, Instant, NodeId, Ppm, Signer, UnixTime, Verifier,
        fault::{Fault, on},
    },
    trust::verify::{
        commit::{self, BLOCK, Block},
        rate,
    },
    work::schedule::{
        client,
        worker::{self, End, Key},
    },
};

/// A task of another, as its worker keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Guest {
    pub model: u64,
    pub order: Order,
    /// What it was quoted, in parts of a million of the usual price, and what its client would pay.
    pub price: u32,
    pub most: u32,
    /// How much of its pay it said may be withheld.
    pub accepts: Ppm,
    pub stage: Stage,
    /// When something must have happened.
    pub due: Instant,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// It has a place, or was called.
    Asked,
    /// It told its terms, and this node agreed.
    Consented(Offer),
    /// It is being done.
    Working(Box<Shift>),
}

/// Work under one hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shift {
    epoch: u32,
    seed: u64,
    /// The certified hold.
    pub hold: Box<Evidence>,
    pub meter: Meter,
    /// The share of its pay that may be withheld, and how many ticks are.
    pub share: Ppm,
    pub withheld: u32,
    commit: commit::Chain,
    /// Blocks that were written and not sent.
    waiting: VecDeque<(u32, Block)>,
    /// Tokens that were sent, and of them paid.
    sent: u32,
    paid: u32,
    /// The block that is not paid yet, and until when it may be.
    unpaid: Option<(Message, Instant)>,
    ended: Option<End>,
    /// When it was taken on.
    pub since: UnixTime,
    /// When the work must be through: a task takes no longer, and well before the hold's time is past what was paid is closed.
    end: Instant,
    /// Whether the engine was told to stop.
    stopping: bool,
}

impl Shift {
    pub fn new(offer: &Offer, seed: u64, hold: Box<Evidence>, since: UnixTime, end: Instant) -> Self {
        Self {
            since,
            end,
            stopping: false,
            epoch: offer.epoch,
            seed,
            hold,
            meter: Meter::new(offer.terms),
            share: offer.withheld,
            withheld: 0,
            commit: commit::Chain::new(&offer.terms.root.0),
            waiting: VecDeque::new(),
            sent: offer.from,
            paid: offer.from,
            unpaid: None,
            ended: None,
        }
    }

    /// Takes in that the tick for the block that was sent last is withheld, if that was agreed.
    pub fn lets_withhold(&mut self, epoch: u32, tokens: u32) -> bool {
        let blocks = self.meter.ticks() + self.withheld + 1;
        let agreed = rate::withheld(self.share, blocks) > self.withheld || on(Fault::WithheldBeyondShare);
        if self.epoch != epoch || self.unpaid.is_none() || tokens != self.sent || !agreed {
            return false;
        }
        self.withheld += 1;
        (self.unpaid, self.paid) = (None, self.sent);
        true
    }

    /// When something must have happened, if nothing else is waited for.
    pub const fn end(&self) -> Instant {
        self.end
    }

    /// What the hold may bring no more, when the work is over.
    pub fn rest(&self) -> Credits {
        let terms = self.meter.terms();
        let owed = u64::from(self.meter.ticks() + self.withheld).saturating_mul(terms.tick.0);
        Credits(terms.cap.0.saturating_sub(owed))
    }
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    fn shift(&mut self, key: &Key) -> Option<&mut Shift> {
        match &mut self.guests.get_mut(key)?.stage {
            Stage::Working(shift) => Some(shift),
            Stage::Asked | Stage::Consented(_) => None,
        }
    }

    /// The worker side begins, or goes on after something more urgent.
    pub(super) fn begin(&mut self, key: Key, epoch: u32, from: u32, out: &mut Vec<Effect>) {
        let Some(guest) = self.guests.get_mut(&key) else { return };
        let Stage::Working(shift) = &mut guest.stage else { return };
        shift.ended = None;
        shift.epoch = epoch;
        let limit = u32::try_from(guest.order.tokens_out).unwrap_or(u32::MAX);
        out.push(Effect::Run(Job::Write { key, model: guest.model, from, limit, seed: shift.seed }));
    }

    /// The engine wrote a block.
    pub(super) fn wrote(&mut self, now: Instant, key: Key, tokens: u32, block: Block, out: &mut Vec<Effect>) {
        let goes_on = |shift: &&mut Shift| shift.ended.is_none() && !shift.stopping;
        let Some(shift) = self.shift(&key).filter(goes_on) else { return };
        let last = shift.waiting.back().map_or(shift.sent, |last| last.0);
        // An engine that counts wrongly is this node's own fault, and nothing that a client must pay for.
        if tokens > last && tokens - last <= BLOCK {
            shift.waiting.push_back((tokens, block));
        }
        self.flow(now, key, out);
    }

    /// Sends the next block, if the last one is paid; and reports when all are.
    pub(super) fn flow(&mut self, now: Instant, key: Key, out: &mut Vec<Effect>) {
        let (patience, credit) = (self.config.patience.max(super::MOMENT), self.config.credit);
        let Some(guest) = self.guests.get_mut(&key) else { return };
        let Stage::Working(shift) = &mut guest.stage else { return };
        if shift.unpaid.is_some() {
            return;
        }
        if let Some((tokens, block)) = shift.waiting.pop_front()
            && let Ok(head) = shift.commit.push(&block)
        {
            shift.sent = tokens;
            let message = Message::Block { task: key.1, epoch: shift.epoch, tokens, block, head: Digest(head) };
            out.push(Effect::Run(Job::Hand { key, tokens }));
            out.push(Effect::Send { to: key.0, message: message.clone() });
            shift.unpaid = Some((message, now + credit));
            guest.due = (now + patience).min(shift.end).max(now + super::MOMENT);
        } else if let Some(end) = shift.ended {
            let tokens = shift.paid;
            self.worker_hears(now, worker::Input::Ran { key, tokens, end }, out);
        }
    }

    /// The engine is through. What it wrote and nobody paid yet is sent first, unless it was stopped.
    pub(super) fn ended(&mut self, now: Instant, key: Key, _tokens: u32, end: End, out: &mut Vec<Effect>) {
        let Some(shift) = self.shift(&key) else {
            let end = worker::Input::Ran { key, tokens: 0, end };
            return self.worker_hears(now, end, out);
        };
        shift.ended = Some(end);
        if end != End::Done {
            shift.waiting.clear();
        }
        self.flow(now, key, out);
    }

    /// A block came: if it is what the worker committed to, it is paid.
    pub(super) fn delivered(
        &mut self,
        now: Instant,
        from: NodeId,
        (task, epoch): (u64, u32),
        tokens: u32,
        (block, head): (&Block, &Digest),
        out: &mut Vec<Effect>,
    ) {
        let Some(lease) = self.tasks.get_mut(&task).and_then(|wanted| wanted.lease.as_mut()) else {
            return out.push(Effect::Send { to: from, message: Message::Stop(task) });
        };
        let begun = lease.from;
        let Some(deal) = lease.held(&from, epoch) else { return };
        if tokens <= deal.tokens {
            // What was said of it was lost.
            if let Some(message) = deal.last.clone().filter(|_| tokens == deal.tokens) {
                out.push(Effect::Send { to: from, message });
            }
            return;
        }
        let count = (tokens - begun).div_ceil(BLOCK) as usize;
        let next = tokens - deal.tokens <= BLOCK && count == deal.blocks.len() + 1;
        if !next || deal.commit.check(block, &head.0).is_err() {
            let (worker, tokens) = (from, deal.tokens);
            let lie = client::Input::Reported { task, worker, epoch, tokens, done: false };
            return self.client_hears(now, lie, out);
        }
        deal.blocks.push(*block);
        deal.tokens = tokens;
        self.client_hears(now, client::Input::Progress { task, worker: from, epoch, tokens }, out);
        self.pay(from, task, epoch, out);
    }

    /// Gives the next tick, or withholds it.
    fn pay(&mut self, worker: NodeId, task: u64, epoch: u32, out: &mut Vec<Effect>) {
        let Some(wanted) = self.tasks.get_mut(&task) else { return };
        let Some(deal) = wanted.lease.as_mut().and_then(|lease| lease.held(&worker, epoch)) else { return };
        let (turn, tick, share) = (deal.terms.turn, deal.terms.tick, deal.withheld);
        let owed = deal.blocks.len() as u32 - deal.chain.given();
        let withholds = rate::withheld(share, deal.blocks.len() as u32) >= owed;
        let given = if withholds { None } else { deal.chain.tick() };
        let message = match given {
            Some(link) => Message::Tick { task, epoch, link },
            None => Message::Withhold { task, epoch, tokens: deal.tokens },
        };
        let owed = owed - u32::from(given.is_some());
        let last = deal.chain.ahead(owed);
        deal.last = Some(message.clone());
        wanted.tokens = deal.tokens;
        wanted.paid.0 = wanted.paid.0.saturating_add(tick.0);
        if let (Some(debt), Some(link)) = (self.debts.get_mut(&(worker, turn)), given) {
            (debt.ticks, debt.link) = (debt.ticks + 1, link);
            out.push(Effect::Tell(Event::Ticked { worker, task, turn, count: debt.ticks, tick }));
        }
        // Kept before it is said: if both lose their power, this is all that says what was given.
        self.owe_back((worker, turn), task, owed, last, out);
        out.push(Effect::Send { to: worker, message });
    }

    /// A tick came.
    pub(super) fn ticked(&mut self, now: Instant, key: Key, epoch: u32, link: Digest, out: &mut Vec<Effect>) {
        let Some(guest) = self.guests.get_mut(&key) else { return };
        let Stage::Working(shift) = &mut guest.stage else { return };
        if shift.epoch != epoch || shift.meter.tick(link).is_err() {
            return;
        }
        (shift.unpaid, shift.paid) = (None, shift.sent);
        if !shift.stopping {
            guest.due = shift.end.max(now + super::MOMENT);
        }
        self.flow(now, key, out);
    }

    /// A client wants no more, or the time is up. The block that is under way is this node's loss.
    ///
    /// What was paid is closed when the engine has stopped; at once, if it is through or never went on after an interruption; and
    /// after a while, if it hangs.
    pub(super) fn stopped(&mut self, now: Instant, key: Key, out: &mut Vec<Effect>) {
        let due = now + self.config.client.work_patience.max(super::MOMENT);
        let mut works = false;
        if let Some(guest) = self.guests.get_mut(&key)
            && let Stage::Working(shift) = &mut guest.stage
        {
            shift.unpaid = None;
            shift.waiting.clear();
            if shift.ended.is_some() {
                return self.flow(now, key, out);
            }
            (shift.stopping, guest.due, works) = (true, due, true);
        }
        self.worker_hears(now, worker::Input::Stop(key), out);
        if works && !self.worker.has(&key) {
            self.close(now, key, out);
        }
    }

    /// A worker says how far it came. What it did not show does not count.
    pub(super) fn reported(
        &mut self,
        now: Instant,
        from: NodeId,
        (task, epoch): (u64, u32),
        done: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(wanted) = self.tasks.get_mut(&task) else { return };
        let shown = wanted.lease.as_mut().and_then(|lease| lease.held(&from, epoch)).map(|deal| deal.tokens);
        let tokens = shown.unwrap_or(wanted.tokens);
        // Who never began has done nothing.
        let done = done && shown.is_some();
        self.client_hears(now, client::Input::Reported { task, worker: from, epoch, tokens, done }, out);
    }

    pub(super) fn tick_guests(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due: Vec<Key> = self.guests.iter().filter(|(_, guest)| guest.due <= now).map(|(key, _)| *key).collect();
        for key in due {
            self.guest_due(now, key, out);
        }
    }

    fn guest_due(&mut self, now: Instant, key: Key, out: &mut Vec<Effect>) {
        let patience = self.config.patience.max(super::MOMENT);
        let Some(guest) = self.guests.get_mut(&key) else { return };
        let Stage::Working(shift) = &mut guest.stage else {
            self.guests.remove(&key);
            return self.worker_hears(now, worker::Input::Release(key), out);
        };
        if shift.stopping {
            // The engine hangs: its slot is lost, what was paid is not.
            return self.close(now, key, out);
        }
        match &shift.unpaid {
            Some((message, until)) if *until > now && shift.end > now => {
                out.push(Effect::Send { to: key.0, message: message.clone() });
                guest.due = (now + patience).min(*until).min(shift.end).max(now + super::MOMENT);
            }
            Some((_, until)) if *until <= now => {
                // The client takes and does not pay.
                let model = guest.model;
                self.not_paid(now, key.0, model, out);
                self.stopped(now, key, out);
            }
            // It takes longer than a task may.
            _ => self.stopped(now, key, out),
        }
    }

    /// The deal of a task whose lease is over.
    pub(super) fn deal_of(lease: Lease) -> Option<(NodeId, Box<super::hold::Deal>)> {
        match lease.stage {
            LeaseStage::Held(deal) => Some((lease.worker, deal)),
            LeaseStage::Waiting | LeaseStage::Offered(_) | LeaseStage::Writing(_) => None,
        }
    }
}
