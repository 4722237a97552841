//! A part of a newcomer's pay is withheld until its work was looked at.
//!
//! ```text
//! client                                      worker
//!   |<-- Quote (how much may be withheld) -----|
//!   |--- Offer (how much is) ----------------->|
//!   |<-- Block --------------------------------|
//!   |--- Tick, or Withhold ------------------->|  which of them, the share says to both
//!   |<-- Report -------------------------------|
//!   |     ... the audit, if one is drawn ...   |
//!   |--- Rest (the last tick) ---------------->|  or: that it stays with the client
//!   |                                          |--- Close ---> witnesses of the client
//! ```
//!
//! It lies where all pay lies: in the hold that the client's witnesses guard, which outlives the audit by minutes. A tick is the
//! hash of the one after it, so one word releases all; and until it is said the client alone has it. What is withheld is kept
//! before the worker hears of it, so a client that lost its power releases it: nobody can look at that work any more.
//!
//! How much is withheld makes cheating not pay at the rate of audits ([`rate::share`]), in a part of a long answer, too, as each
//! part may be the one that is looked at ([`commit::window`](crate::trust::verify::commit::window)); and it pays for a jury if the worker appeals in
//! vain; of a worker that accepts less all work is audited. What the worker risks is bounded: so much by one client at once, no more than it would let it owe as a witness
//! (nothing, if it does not trust it), and nothing by one that did not release what it should have. A worker that loses its
//! power is paid when the client itself closes the hold.
//!
//! One short answer is too little to find anybody guilty. Where its audit leaves the worker half-way to that
//! ([`sequential`](crate::trust::verify::sequential)), the pay waits for the next audit of that worker, as long as the hold allows;
//! if there is none because others found it out, the pay stays with the client.

use super::{
    Effect, Event, OPEN_MAX, Trade,
    message::{Evidence, Message},
    run::{Shift, Stage},
    settle::Debt,
};
use crate::{
    economy::{
        ledger::{Terms, session::Meter},
        tiers::Order,
    },
    kit::{
        Credits, Digest, Instant, NodeId, Ppm, Signer, UnixTime, Verifier,
        fault::{Fault, on},
        hash::link,
    },
    trust::{
        reputation::Standing,
        verify::{
            dispute,
            rate::{self, Whom},
        },
    },
    work::schedule::worker,
};
use alloc::{boxed::Box, vec::Vec};

/// How much pay may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a worker saves by cheating, as a part of its pay; if 0, nothing is withheld.
    pub gain: Ppm,
    /// What a worker lets one client withhold at once, however it trusts it.
    pub owed_max: Credits,
}

impl Default for Config {
    /// Half: a model of half the size takes half the time. A thousand tokens.
    fn default() -> Self {
        Self { gain: Ppm(500_000), owed_max: Credits::ONE }
    }
}

/// What a client withholds of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Back {
    task: u64,
    ticks: u32,
    /// The tick after all of them.
    last: Digest,
    /// With which model the work was, of which an audit told neither that it was right nor that it was wrong.
    doubted: Option<u64>,
}

/// What stays with the client of the pay of a guilty worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Penalty {
    /// All that is withheld: it appealed in vain.
    All,
    /// All but what was for a jury.
    ButStake,
}

/// What a client owes this node for a session that is over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrear {
    model: u64,
    meter: Meter,
    hold: Box<Evidence>,
    /// Ticks that were withheld.
    ticks: u32,
    pub due: Instant,
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Whether what auditors saw of a worker is half-way to a verdict.
    pub(super) fn is_suspect(&self, worker: &NodeId, model: u64) -> bool {
        self.suspicions.get(&(*worker, model)).is_some_and(|sum| sum.share() >= 500_000)
    }

    pub(super) fn whom(&self, worker: &NodeId, model: u64) -> Whom {
        match self.reputation.standing(worker) {
            _ if self.is_suspect(worker, model) || self.quarantine.watches(worker) => Whom::Watched,
            Standing::Known => Whom::Known,
            Standing::Newcomer | Standing::Convicted => Whom::Newcomer,
        }
    }

    /// How often work of a worker is audited when so much of its pay is withheld.
    pub(super) fn audit_rate(&self, whom: Whom, withheld: Ppm) -> Ppm {
        let gain = if whom == Whom::Known { Ppm(0) } else { self.config.withhold.gain };
        let stake = rate::stake(withheld, gain);
        rate::rate(&self.config.rate, whom, self.config.audit_cost, Credits(gain.0.into()), stake)
    }

    /// The share of a worker's pay that must be withheld so that cheating does not pay.
    fn deterrent(&self, whom: Whom) -> Ppm {
        let gain = self.config.withhold.gain;
        if whom == Whom::Known || gain == Ppm(0) {
            return Ppm(0);
        }
        let usual = rate::rate(&self.config.rate, whom, self.config.audit_cost, Credits(0), Credits(0));
        rate::share(usual, gain)
    }

    /// The share of a worker's pay that this node wants to withhold: with what a jury would cost, which is back with whoever does not
    /// appeal in vain.
    pub(super) fn wants_withheld(&self, whom: Whom) -> Ppm {
        let deterrent = self.deterrent(whom);
        if deterrent == Ppm(0) {
            return Ppm(0);
        }
        let jury = dispute::jurors(&self.config.dispute) as u64 * u64::from(self.config.audit_cost.0);
        Ppm(u64::from(deterrent.0).saturating_add(jury).min(1_000_000) as u32)
    }

    /// The share that it withholds, of a worker that accepts so much.
    pub(super) fn withholds(&self, worker: &NodeId, model: u64, accepted: Ppm) -> Ppm {
        self.wants_withheld(self.whom(worker, model)).min(accepted)
    }

    /// What a newcomer puts up, for [`crate::trust::reputation::Reputation::weights`]: whoever was not asked yet is taken to accept
    /// what is `wanted` of newcomers.
    pub(super) fn puts_up(&self, worker: &NodeId, wanted: Ppm) -> Credits {
        Credits(self.accepted.get(worker).map_or(wanted, |accepted| wanted.min(*accepted)).0.into())
    }

    /// What this node accepts to be withheld by a client of an order at this price.
    pub(super) fn accepts(&self, client: &NodeId, order: &Order, price: u32) -> Ppm {
        if self.unreleased.contains(client) && !on(Fault::UnreleasedForgotten) {
            return Ppm(0);
        }
        let most = self.config.withhold.owed_max.min(self.limit_of(client));
        let left = u128::from(most.0.saturating_sub(self.withheld_by(client)));
        let all = self.price(order, price).map_or(u64::MAX, |all| all.0.max(1));
        Ppm((left * 1_000_000 / u128::from(all)).min(1_000_000) as u32)
    }

    /// What a client withholds of this node, or may when the tasks that are under way are done.
    fn withheld_by(&self, client: &NodeId) -> u64 {
        let most = |terms: &Terms, share| u64::from(rate::withheld(share, terms.ticks())) * terms.tick.0;
        let all = (*client, 0)..=(*client, u64::MAX);
        let guests = self.guests.range(all.clone()).map(|(_, guest)| match &guest.stage {
            Stage::Asked => 0,
            Stage::Consented(offer) => most(&offer.terms, offer.withheld),
            Stage::Working(shift) => most(shift.meter.terms(), shift.share),
        });
        let over = self.arrears.range(all).map(|(_, arrear)| u64::from(arrear.ticks) * arrear.meter.terms().tick.0);
        guests.chain(over).fold(0, u64::saturating_add)
    }

    /// The client's side of a block: what is owed for it so far is kept before the worker hears of it.
    pub(super) fn owe_back(
        &mut self,
        key: (NodeId, u64),
        task: u64,
        ticks: u32,
        last: Option<Digest>,
        out: &mut Vec<Effect>,
    ) {
        let Some(debt) = self.debts.get_mut(&key) else { return };
        debt.back = last.map(|last| Back { task, ticks, last, doubted: None });
        let (given, link) = (debt.ticks, last.unwrap_or(debt.link));
        let owing = Message::Owing { worker: key.0, turn: key.1, task, given, withheld: ticks, link };
        self.keep(self.me, &owing, out);
    }

    /// A line says what was owed to a worker: it is released as soon as time goes on.
    pub(super) fn recall_owing(&mut self, key: (NodeId, u64), task: u64, (given, ticks): (u32, u32), last: Digest) {
        let Some(debt) = self.debts.get_mut(&key) else { return };
        debt.ticks = given;
        debt.back = (ticks > 0).then_some(Back { task, ticks, last, doubted: None });
        match debt.back {
            Some(_) => debt.due = Instant::default() + super::MOMENT,
            None => debt.link = last,
        }
    }

    /// What was withheld of a session goes to its worker, but for `kept` ticks.
    pub(super) fn release(&mut self, now: Instant, key: (NodeId, u64), kept: u32, out: &mut Vec<Effect>) {
        let Some(debt) = self.debts.get_mut(&key) else { return };
        let Some(Back { task, ticks, last, .. }) = debt.back.take().filter(|_| !debt.settled) else { return };
        let kept = kept.min(ticks);
        // The tick before one is its hash.
        let link = (0..kept).fold(last, |digest, _| link(&digest));
        (debt.ticks, debt.link) = (debt.ticks + ticks - kept, link);
        let (worker, turn, given, tick) = (key.0, key.1, debt.ticks, debt.terms.tick);
        let first = given - (ticks - kept) + 1;
        if kept > 0 {
            self.keep(self.me, &Message::Owing { worker, turn, task, given, withheld: 0, link }, out);
        }
        out.extend((first..=given).map(|count| Effect::Tell(Event::Ticked { worker, task, turn, count, tick })));
        self.remind(now, worker, Message::Rest { turn, ticks: given, kept, link }, out);
    }

    /// Work was not found wrong, but its worker is half-way to that: its pay waits for the next audit of it, as long as the hold allows.
    pub(super) fn doubt(&mut self, now: Instant, key: (NodeId, u64), model: u64) {
        let born = self.born;
        let Some(debt) = self.debts.get_mut(&key) else { return };
        let until = UnixTime(debt.terms.until.0.saturating_sub(DOUBT_S));
        debt.due = super::instant_of(born, until).max(now + super::MOMENT);
        debt.back.iter_mut().for_each(|back| back.doubted = Some(model));
    }

    /// What was doubted of a worker is clear now: it is paid, or it is guilty and each time so much stays here.
    pub(super) fn end_doubt(
        &mut self,
        now: Instant,
        (worker, model): (NodeId, u64),
        guilty: Option<Penalty>,
        out: &mut Vec<Effect>,
    ) {
        let doubted = |debt: &Debt| debt.back.is_some_and(|back| back.doubted == Some(model));
        let all = self.debts.range((worker, 0)..=(worker, u64::MAX));
        let keys: Vec<(NodeId, u64)> = all.filter(|(_, debt)| doubted(debt)).map(|(key, _)| *key).collect();
        for key in keys {
            match guilty {
                Some(penalty) => self.forfeit(now, key, penalty, out),
                None => self.release(now, key, 0, out),
            }
        }
    }

    /// Nothing more will come to light of what is withheld: after a restart, or as the hold ends. Doubt counts against whom others have
    /// found out meanwhile.
    pub(super) fn end_waiting(&mut self, now: Instant, key: (NodeId, u64), out: &mut Vec<Effect>) {
        let doubted = self.debts.get(&key).and_then(|debt| debt.back).is_some_and(|back| back.doubted.is_some());
        if doubted && !self.quarantine.allows(&key.0) {
            self.forfeit(now, key, Penalty::ButStake, out);
        } else {
            self.release(now, key, 0, out);
        }
    }

    /// What is withheld of a guilty worker stays here.
    pub(super) fn forfeit(&mut self, now: Instant, key: (NodeId, u64), penalty: Penalty, out: &mut Vec<Effect>) {
        let blocks = self.debts.get(&key).map_or(0, |debt| debt.ticks + self.held_back(&key));
        let kept = match penalty {
            Penalty::All => u32::MAX,
            Penalty::ButStake => rate::withheld(self.deterrent(Whom::Newcomer), blocks),
        };
        self.release(now, key, kept, out);
    }

    /// Ticks that are withheld of a session.
    pub(super) fn held_back(&self, key: &(NodeId, u64)) -> u32 {
        self.debts.get(key).and_then(|debt| debt.back).map_or(0, |back| back.ticks)
    }

    /// A client has a block and withholds the tick for it.
    pub(super) fn withheld(&mut self, now: Instant, key: worker::Key, epoch: u32, tokens: u32, out: &mut Vec<Effect>) {
        let Some(guest) = self.guests.get_mut(&key) else { return };
        let Stage::Working(shift) = &mut guest.stage else { return };
        if !shift.lets_withhold(epoch, tokens) {
            return;
        }
        guest.due = shift.end().max(now + super::MOMENT);
        self.flow(now, key, out);
    }

    /// A task is over that is not all paid.
    pub(super) fn await_rest(&mut self, now: Instant, client: NodeId, model: u64, shift: Shift, out: &mut Vec<Effect>) {
        let Shift { meter, hold, withheld: ticks, .. } = shift;
        let turn = meter.terms().turn;
        // While the client itself may not close it yet.
        let last = self.instant(UnixTime(meter.terms().until.0.saturating_sub(LEAST_S)));
        let due = last.max(now + super::MOMENT);
        let arrear = Arrear { model, meter, hold, ticks, due };
        if ticks == 0 || self.arrears.len() >= OPEN_MAX {
            return self.settle(now, client, arrear, out);
        }
        self.arrears.insert((client, turn), arrear);
    }

    fn settle(&mut self, now: Instant, client: NodeId, arrear: Arrear, out: &mut Vec<Effect>) {
        let closing = arrear.meter.closing(client);
        let consent = closing.sign(&self.keys);
        let set = arrear.hold.set.clone();
        self.want_closing(now, closing, Some((consent, arrear.hold)), set, out);
    }

    /// A client releases what it withheld, but for `kept` ticks.
    pub(super) fn rested(
        &mut self,
        now: Instant,
        client: NodeId,
        turn: u64,
        (ticks, kept, link): (u32, u32, Digest),
        out: &mut Vec<Effect>,
    ) {
        if let Some(arrear) = self.arrears.get_mut(&(client, turn)) {
            take(&mut arrear.meter, &mut arrear.ticks, ticks, link);
            if arrear.ticks > kept {
                return;
            }
            let left = arrear.ticks;
            let Some(arrear) = self.arrears.remove(&(client, turn)) else { return };
            if left > 0 {
                self.resent(client);
            }
            return self.settle(now, client, arrear, out);
        }
        // It may be said before this node is through with the task.
        let all = (client, 0)..=(client, u64::MAX);
        for (_, guest) in self.guests.range_mut(all) {
            if let Stage::Working(shift) = &mut guest.stage
                && shift.meter.terms().turn == turn
            {
                take(&mut shift.meter, &mut shift.withheld, ticks, link);
            }
        }
    }

    /// Nothing more is lent to a client that kept what it had withheld.
    fn resent(&mut self, client: NodeId) {
        if self.unreleased.len() < OPEN_MAX {
            self.unreleased.insert(client);
        }
    }

    pub(super) fn tick_arrears(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due = |(key, arrear): (&(NodeId, u64), &Arrear)| (arrear.due <= now).then_some(*key);
        let late: Vec<(NodeId, u64)> = self.arrears.iter().filter_map(due).collect();
        for key in late {
            let Some(arrear) = self.arrears.remove(&key) else { continue };
            self.resent(key.0);
            self.not_paid(now, key.0, arrear.model, out);
            self.settle(now, key.0, arrear, out);
        }
    }
}

/// Takes in a later tick. It may be for one block more than this node heard to be withheld.
fn take(meter: &mut Meter, withheld: &mut u32, ticks: u32, link: Digest) {
    let before = meter.ticks();
    if ticks <= before.saturating_add(*withheld).saturating_add(1) && meter.reach(ticks, link).is_ok() {
        *withheld = withheld.saturating_sub(ticks - before);
    }
}

/// Seconds before a client may close a hold in which its worker closes it, and, before that, in which the client releases what it
/// still doubts. A hold outlives the longest task by five minutes.
const LEAST_S: u64 = 60;
pub(super) const DOUBT_S: u64 = 2 * LEAST_S;
