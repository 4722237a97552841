//! Places are asked for, quoted, called.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{
    Answer, Effect, Event, Job, OPEN_MAX, Peer, Trade, Wanted, Why, Wish,
    hold::ticks_of,
    message::Message,
    run::{Guest, Stage},
};
use crate::{
    economy::tiers::{self, Market, Order},
    kit::{
        Credits, Instant, Machine, NodeId, Ppm, Signer, UnixTime, Verifier,
        fault::{Fault, on},
    },
    node::govern,
    trust::{reputation::Standing, verify::rate::Whom},
    work::schedule::{
        choice::Candidate,
        client::{self, Request},
        worker::{self, Key},
    },
};

/// How much more rarely a worker on trial is asked. Three clients that use a bad answer of it are as many as its term was begun by;
/// ten audits in a row, which make it free again, take four times as long.
const RARER_ON_TRIAL: u32 = 4;
/// Workers of which it is remembered how much they let be withheld.
const PEERS_MAX: usize = 65_536;

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Somebody at this machine wants work done.
    pub(super) fn wanted(&mut self, now: Instant, asker: u64, wish: Wish, out: &mut Vec<Effect>) {
        let task = self.next_task;
        self.next_task += 1;
        let limit = u32::try_from(wish.order.tokens_out).ok().filter(|limit| ticks_of(*limit).is_some());
        let Some((limit, cost)) = limit.zip(self.price(&wish.order, wish.price_max)) else {
            let answer = Answer::Unable { task, why: Why::Long, paid: Credits(0) };
            return out.push(Effect::Reply { to: asker, answer });
        };
        let left = self.pen.spendable();
        if cost > left {
            let why = Why::Short { missing: Credits(cost.0 - left.0) };
            return out.push(Effect::Reply { to: asker, answer: Answer::Unable { task, why, paid: Credits(0) } });
        }
        let ticket = match self.admit(now, task, &wish, cost, out) {
            Ok(ticket) => ticket,
            Err(why) => {
                let answer = Answer::Unable { task, why, paid: Credits(0) };
                return out.push(Effect::Reply { to: asker, answer });
            }
        };
        let (quotes, paid) = (BTreeMap::new(), Credits(0));
        self.tasks.insert(task, Wanted { asker, wish, ticket, quotes, lease: None, paid, tokens: 0, begun: now });
        let list = self.candidates(self.date(now), wish.model);
        self.client_hears(now, client::Input::Candidates { model: wish.model, list }, out);
        let request = Request {
            model: wish.model,
            class: wish.order.class,
            cost: limit,
            limit,
            price_max: wish.price_max,
            prefix: wish.prefix,
            wait: wish.wait,
        };
        self.client_hears(now, client::Input::Ask { task, request }, out);
    }

    /// What an order costs at a factor to the usual price, as members decided. The factor is what a worker quotes, by its queue and its
    /// streak; that price itself is of a calm market and without a streak, as both sides must come to it alike.
    pub(super) fn price(&self, order: &Order, factor: u32) -> Option<Credits> {
        let usual = tiers::price(order, &govern::market(&self.parameters, Market::default()))?;
        let price = u128::from(usual.0) * u128::from(factor);
        u64::try_from(price.div_ceil(1_000_000)).ok().map(Credits)
    }

    /// Those who have a model, each as often as trust lets it be chosen.
    pub(super) fn candidates(&self, date: UnixTime, model: u64) -> Vec<Candidate> {
        let contested = self.contested();
        let fits = |peer: &&Peer| {
            let id = &peer.id;
            let free = self.quarantine.allows(id) && self.reputation.allows(date, id) && self.may_ask(id);
            *id != self.me && peer.models.may_hold(model) && free && !contested.contains(id)
        };
        let wanted = self.wants_withheld(Whom::Newcomer);
        let puts_up = |peer: &Peer| (peer.id, self.puts_up(&peer.id, wanted));
        let peers: Vec<(NodeId, Credits)> = self.peers.iter().filter(fits).map(puts_up).collect();
        let weights = self.reputation.weights(&peers);
        let candidate = |((worker, _), trust): (&(NodeId, Credits), u32)| Candidate {
            worker: *worker,
            // Whoever was barred is on trial: its work is audited, but only after it was used.
            trust: if self.quarantine.watches(worker) { trust / RARER_ON_TRIAL } else { trust },
            price: 1_000_000,
            link: 0,
            hot: true,
        };
        peers.iter().zip(weights).map(candidate).collect()
    }

    /// Others are there, or not.
    pub(super) fn meet(&mut self, now: Instant, peers: Vec<Peer>, out: &mut Vec<Effect>) {
        let mut peers = peers;
        peers.sort_unstable_by_key(|peer| peer.id);
        let lost: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|old| peers.binary_search_by_key(&old.id, |peer| peer.id).is_err())
            .map(|peer| peer.id)
            .collect();
        let ids = peers.iter().map(|peer| peer.id).filter(|id| *id != self.me).collect();
        self.peers = peers;
        self.alarm_hears(now, crate::economy::ledger::alarm::Input::Peers(ids), out);
        lost.into_iter().for_each(|id| self.client_hears(now, client::Input::Gone(id), out));
        // A worker whom nobody ever asks has nothing to do from the first moment on.
        self.offer_slots(now, out);
    }

    /// The engine answers, or does not. Whoever keeps offering what it cannot do is barred by all whom it fails.
    pub(super) fn engine_answers(&mut self, now: Instant, answers: bool, out: &mut Vec<Effect>) {
        self.hangs = !answers;
        self.offer_slots(now, out);
    }

    fn offer_slots(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let slots = if self.hangs && !on(Fault::HangsAndOffers) { 0 } else { self.config.worker.slots };
        self.worker_hears(now, worker::Input::Slots(slots), out);
    }

    /// A client wants a place.
    pub(super) fn reserved(
        &mut self,
        now: Instant,
        key: Key,
        model: u64,
        order: Order,
        price_max: u32,
        out: &mut Vec<Effect>,
    ) {
        let size = self.config.models.iter().find(|served| served.0 == model).map(|served| served.1);
        let limit = u32::try_from(order.tokens_out).ok().filter(|limit| ticks_of(*limit).is_some());
        let known = self.guests.contains_key(&key);
        let welcome = self.is_welcome(&key.0) && (known || self.guests.len() < OPEN_MAX);
        let refused = Effect::Send { to: key.0, message: Message::Refuse { task: key.1, price: 0, after_ms: 60_000 } };
        let (Some(size), Some(limit), true) = (size, limit, welcome) else { return out.push(refused) };
        let order = Order { size, ..order };
        let cost = self.price(&order, 1_000_000);
        if !known && cost.is_none_or(|cost| cost > self.may_earn(self.date(now))) {
            return out.push(refused);
        }
        if !known {
            let due = now + self.config.worker.waits[order.class.index()];
            let (price, most, accepts, stage) = (0, price_max, Ppm(0), Stage::Asked);
            self.guests.insert(key, Guest { model, order, price, most, accepts, stage, due });
        }
        let class = order.class;
        let known = self.reputation.standing(&key.0) == Standing::Known;
        let reserve = worker::Input::Reserve { key, model, class, cost: limit, price_max, known };
        self.worker_hears(now, reserve, out);
    }

    pub(super) fn quoted(
        &mut self,
        now: Instant,
        worker: NodeId,
        task: u64,
        wait_ms: u64,
        (price, withheld): (u32, Ppm),
        out: &mut Vec<Effect>,
    ) {
        if self.accepted.len() < PEERS_MAX || self.accepted.contains_key(&worker) {
            self.accepted.insert(worker, withheld);
        }
        let dear = self.tasks.get(&task).is_none_or(|wanted| price > wanted.wish.price_max);
        if dear {
            return out.push(Effect::Send { to: worker, message: Message::Release(task) });
        }
        if let Some(wanted) = self.tasks.get_mut(&task).filter(|wanted| wanted.quotes.len() < 64) {
            wanted.quotes.insert(worker, (price, withheld));
        }
        self.answered(now, worker, out);
        let wait = Duration::from_millis(wait_ms);
        self.client_hears(now, client::Input::Quoted { task, worker, wait }, out);
    }

    pub(super) fn released(&mut self, now: Instant, key: Key, out: &mut Vec<Effect>) {
        if self.guests.get(&key).is_some_and(|guest| !matches!(guest.stage, Stage::Working(_))) {
            self.guests.remove(&key);
        }
        self.worker_hears(now, worker::Input::Release(key), out);
    }

    /// Tells the client side something, and does what it wants.
    pub(super) fn client_hears(&mut self, now: Instant, input: client::Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.client.handle(now, input, &mut effects);
        self.client_wants(now, effects, out);
    }

    fn client_wants(&mut self, now: Instant, effects: Vec<client::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                client::Effect::Reserve { worker, task, price_max, .. } => {
                    let Some(wanted) = self.tasks.get(&task) else { continue };
                    let Wish { model, order, .. } = wanted.wish;
                    out.push(Effect::Send { to: worker, message: Message::Reserve { task, model, order, price_max } });
                    self.tried(now, &worker, task, out);
                }
                client::Effect::Release { worker, task } => {
                    self.not_tried(&worker, task);
                    out.push(Effect::Send { to: worker, message: Message::Release(task) });
                }
                client::Effect::Bind { worker, task, epoch, from } => self.bound(now, worker, task, epoch, from, out),
                client::Effect::Stop { worker, task } => {
                    out.push(Effect::Send { to: worker, message: Message::Stop(task) });
                }
                client::Effect::Charge(charge) => out.push(Effect::Tell(Event::Charged(charge))),
                // Whoever waits for this node's own hold to be certified has done nothing wrong.
                client::Effect::Blame { worker, task, .. } if self.keeps_waiting(&worker, task) => {}
                client::Effect::Blame { worker, task, fault: _ } => {
                    self.failed(now, worker, task, out);
                    self.let_down(now, worker, task, out);
                }
                client::Effect::Done { task } => self.done(now, task, out),
                client::Effect::GaveUp { task, why, price, after } => {
                    self.end_lease(now, task, out);
                    let Some(wanted) = self.tasks.remove(&task) else { continue };
                    self.unable(now, task, &wanted, Why::Work { why, price, after }, out);
                }
            }
        }
    }

    /// Tells the worker side something, and does what it wants.
    pub(super) fn worker_hears(&mut self, now: Instant, input: worker::Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.worker.handle(now, input, &mut effects);
        self.worker_wants(now, effects, out);
    }

    fn worker_wants(&mut self, now: Instant, effects: Vec<worker::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                worker::Effect::Quote { key, wait, price } => {
                    let guest = self.guests.get(&key);
                    let price = guest.map_or(price, |guest| self.asks(now, price, guest.most));
                    let order = guest.map(|guest| guest.order);
                    let withheld = order.map_or(Ppm(0), |order| self.accepts(&key.0, &order, price));
                    if let Some(guest) = self.guests.get_mut(&key).filter(|guest| matches!(guest.stage, Stage::Asked)) {
                        (guest.price, guest.accepts) = (price, withheld);
                    }
                    let wait_ms = wait.as_millis() as u64;
                    let message = Message::Quote { task: key.1, wait_ms, price, withheld };
                    out.push(Effect::Send { to: key.0, message });
                }
                worker::Effect::Refuse { key, price, after } => {
                    self.guests.remove(&key);
                    let after_ms = after.as_millis() as u64;
                    out.push(Effect::Send { to: key.0, message: Message::Refuse { task: key.1, price, after_ms } });
                }
                worker::Effect::Ready(key) => {
                    out.push(Effect::Send { to: key.0, message: Message::Ready(key.1) });
                }
                worker::Effect::Waits { key, wait } => {
                    // The price is what it was: a quote of who has the task says only how long.
                    let Some(Guest { price, accepts, .. }) = self.guests.get(&key) else { continue };
                    let wait_ms = wait.as_millis() as u64;
                    let message = Message::Quote { task: key.1, wait_ms, price: *price, withheld: *accepts };
                    out.push(Effect::Send { to: key.0, message });
                }
                worker::Effect::Run { key, epoch, from } => self.begin(key, epoch, from, out),
                worker::Effect::Interrupt(key) => out.push(Effect::Run(Job::Stop(key))),
                worker::Effect::Report { key, epoch, tokens, done } => {
                    let message = Message::Report { task: key.1, epoch, tokens, done };
                    out.push(Effect::Send { to: key.0, message });
                    self.close(now, key, out);
                }
                worker::Effect::Steal { room } => self.look_for_work(room, out),
                worker::Effect::Hand { thief, places } => self.hand_on(thief, places, out),
            }
        }
    }

    pub(super) fn tick_quotes(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.client.deadline().is_some_and(|due| due <= now) {
            let mut effects = Vec::new();
            self.client.tick(now, &mut effects);
            self.client_wants(now, effects, out);
        }
        if self.worker.deadline().is_some_and(|due| due <= now) {
            let mut effects = Vec::new();
            self.worker.tick(now, &mut effects);
            self.worker_wants(now, effects, out);
        }
    }
}
