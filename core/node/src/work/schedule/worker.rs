//! The side that does tasks: admits, queues, calls, runs, interrupts, hands on.
//!
//! ```text
//! Reserve -> queued -> called (Ready) -> running -> over
//!    |         |          |  ^ Bind         |
//!    '-Refuse  '-Release--'  silence        '- interrupted -> queued, first of its class
//! ```
//!
//! Who has had nothing to do for a while asks a neighbour for reservations that are bound to nobody, and rests twice as long
//! each time that it gets none. The client is told where its place is now, so that nobody is blamed for what another lost.
//!
//! A reservation costs nothing but a place; a slot is held from the call to the answer. Whoever is called and silent for
//! `patience` loses the place, and all others that it has here, so a client that vanishes holds a slot for that long at most.
//! One client has a part of the places only, and all of whom little is known have a part together: names cost nothing, so
//! whoever would fill the lines makes up many. A place of theirs is reckoned as long as its call may be silent, or waits that
//! are quoted would be wrong by all that such a crowd claims not to need.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::queue::{self, Entry, Queue};
use crate::kit::{
    Class, Instant, Machine, NodeId,
    fault::{Fault, on},
};

/// How much a worker takes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Places and shares.
    pub queue: queue::Config,
    /// Tasks that run at a time.
    pub slots: u32,
    /// Tokens a second of one slot, until it was measured.
    pub rate: u32,
    /// How long one that is called may be silent.
    pub patience: Duration,
    /// The longest wait for which a task of each class is admitted, the most urgent first.
    pub waits: [Duration; 4],
    /// Workers over which a reservation may go, the first one counted.
    pub hops_max: u8,
    /// How many places one client may have.
    pub shares: Shares,
    /// How long this one has nothing to do before it asks another for reservations; it never does, if `None`.
    pub idle: Option<Duration>,
}

impl Default for Config {
    /// Who watches words waits ten seconds, who waits for an answer two minutes; by tomorrow is eight hours off.
    fn default() -> Self {
        Self {
            queue: queue::Config::default(),
            slots: 1,
            rate: 30,
            patience: Duration::from_secs(2),
            waits: [10, 120, 28_800, 86_400].map(Duration::from_secs),
            hops_max: 3,
            shares: Shares::default(),
            idle: Some(Duration::from_secs(1)),
        }
    }
}

/// Who may have how many of the places of each class, in parts of a million; one place at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// One client that is known.
    pub known: u32,
    /// One of whom little is known.
    pub stranger: u32,
    /// All of whom little is known.
    pub strangers: u32,
}

impl Default for Shares {
    /// Half are left to others than the busiest client, and half to those who are known: the price is at most 1.75 times the
    /// usual one by either.
    fn default() -> Self {
        Self { known: 500_000, stranger: 125_000, strangers: 500_000 }
    }
}

/// Places that one thief is given in a minute: an idle worker with as many slots as a word of places holds takes four of them.
const HANDED_MAX: u32 = 64;
/// In which a thief is given no more than that.
const MINUTE: Duration = Duration::from_secs(60);

/// The longest rest of an idle worker between two questions.
const REST_MAX: Duration = Duration::from_secs(64);

/// A task, by whom it is for and that one's number.
pub type Key = (NodeId, u64);

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A client wants a place.
    Reserve {
        /// Whose task, and which.
        key: Key,
        /// With which model.
        model: u64,
        /// How urgent.
        class: Class,
        /// Tokens that it may take.
        cost: u32,
        /// The most it pays, in parts of a million of the usual price.
        price_max: u32,
        /// Whether more is known of the client than its name.
        known: bool,
    },
    /// A client that was called gives the task.
    Bind {
        /// Whose task, and which.
        key: Key,
        /// Of the lease.
        epoch: u32,
        /// Tokens that it has already.
        from: u32,
    },
    /// A client does not need its place any more.
    Release(Key),
    /// A client wants its task stopped.
    Stop(Key),
    /// The engine is through with a task.
    Ran {
        /// Which.
        key: Key,
        /// Tokens that there are now in all.
        tokens: u32,
        /// How it ended.
        end: End,
    },
    /// So many tasks may run at a time from now on.
    Slots(u32),
    /// Another worker has nothing to do.
    Steal {
        /// Who.
        thief: NodeId,
        /// Reservations that it would take.
        room: u32,
        /// With which models.
        models: Vec<u64>,
    },
    /// Another worker hands on reservations.
    Handed(Vec<Place>),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Done,
    /// The engine could not.
    Failed,
    /// It was told to stop, at a token.
    Interrupted,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the client: a place is held.
    Quote {
        /// Whose task, and which.
        key: Key,
        /// How long it will wait, as far as this worker knows.
        wait: Duration,
        /// What it costs, in parts of a million of the usual price.
        price: u32,
    },
    /// Tell the client: no.
    Refuse {
        /// Whose task, and which.
        key: Key,
        /// What it would cost now.
        price: u32,
        /// When it may ask again.
        after: Duration,
    },
    /// Tell the client: a slot is free for it.
    Ready(Key),
    /// Have the engine begin or go on.
    Run {
        /// Whose task, and which.
        key: Key,
        /// Of the lease.
        epoch: u32,
        /// Tokens that there are already.
        from: u32,
    },
    /// Tell the client: its task was interrupted, and waits again.
    Waits {
        /// Whose task, and which.
        key: Key,
        /// How long, as far as this worker knows.
        wait: Duration,
    },
    /// Have the engine stop at the next token; [`Input::Ran`] must follow.
    Interrupt(Key),
    /// Tell the client how its task ended.
    Report {
        /// Whose task, and which.
        key: Key,
        /// Of the lease.
        epoch: u32,
        /// Tokens that there are in all.
        tokens: u32,
        /// Whether it is done.
        done: bool,
    },
    /// Ask another for reservations: there is nothing to do here.
    Steal {
        /// How many would be done at once.
        room: u32,
    },
    /// Hand reservations on, and tell their clients.
    Hand {
        /// To whom.
        thief: NodeId,
        /// What.
        places: Vec<Place>,
    },
}

/// A reservation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Whose task, and which.
    pub key: Key,
    /// With which model.
    pub model: u64,
    /// How urgent.
    pub class: Class,
    /// Tokens that it may take.
    pub cost: u32,
    /// Workers that had it before.
    pub hops: u8,
    /// Whether more is known of the client than its name.
    pub known: bool,
}

/// One worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    config: Config,
    queue: Queue<Waiting>,
    called: BTreeMap<Key, Call>,
    running: BTreeMap<Key, Run>,
    /// Who was given places in the last minute: since when, and how many.
    thieves: BTreeMap<NodeId, (Instant, u32)>,
    /// When it asks others next, and how long it will have rested then; nothing, while it has something to do.
    idle: Option<(Instant, Duration)>,
    /// Thousandths of a token a second of one slot: a moving average.
    rate: u64,
}

/// What waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Waiting {
    key: Key,
    model: u64,
    /// Epoch and tokens of one that was interrupted and needs no call.
    bound: Option<(u32, u32)>,
    /// Workers that had it before.
    hops: u8,
    /// Tokens that it may take; what it is reckoned at may be more.
    cost: u32,
    known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    until: Instant,
    model: u64,
    class: Class,
    cost: u32,
    known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    epoch: u32,
    model: u64,
    class: Class,
    cost: u32,
    since: Instant,
    from: u32,
    stop: Stop,
}

/// Why a run was told to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    No,
    /// Something more urgent waits; it will go on.
    Yield,
    /// Nobody wants it.
    Drop,
}

impl Worker {
    /// One that does nothing yet.
    pub fn new(config: Config) -> Self {
        let rate = u64::from(config.rate.max(1)) * 1000;
        let queue = Queue::new(config.queue);
        let (called, running, thieves) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { config, queue, called, running, thieves, idle: None, rate }
    }

    /// How much it takes on from now on; what it has taken on stays.
    pub fn configure(&mut self, config: Config) {
        let slots = self.config.slots;
        self.config = Config { slots, ..config };
    }

    /// Tasks that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Reservations that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How long a new task of `class` would wait.
    pub fn wait(&self, now: Instant, class: Class) -> Duration {
        let busy = self.called.len() + self.running.len();
        let slots = u64::from(self.config.slots.max(1));
        if self.queue.is_empty() && (busy as u64) < slots {
            return Duration::ZERO;
        }
        self.time(self.queue.ahead(class).saturating_add(self.busy(now)))
    }

    /// Tokens of all that was called or runs.
    fn busy(&self, now: Instant) -> u64 {
        let called: u64 = self.called.values().map(|call| u64::from(self.reckoned(call.cost, call.known))).sum();
        let running: u64 = self.running.values().map(|run| self.left(now, run)).sum();
        called + running
    }

    /// How long all slots take for so many tokens.
    fn time(&self, tokens: u64) -> Duration {
        let slots = u64::from(self.config.slots.max(1));
        Duration::from_micros(tokens.saturating_mul(1_000_000_000) / (self.rate * slots))
    }

    /// What a place is reckoned at: one of a stranger at no less than a slot makes while its call is silent.
    fn reckoned(&self, cost: u32, known: bool) -> u32 {
        let silent = self.config.patience.as_millis().saturating_mul(self.rate.into()) / 1_000_000;
        if known { cost } else { cost.max(u32::try_from(silent).unwrap_or(u32::MAX)).min(queue::COST_MAX) }
    }

    /// What a task of `class` costs now, in parts of a million of the usual price: up to four times it, when the class is
    /// about to be full.
    pub fn price(&self, class: Class) -> u32 {
        let full = u64::from(self.queue.fullness(class));
        1_000_000 + (3 * full * full / 1_000_000) as u32
    }

    /// Tokens that a run still takes. Lengths of answers are hard to foresee: one that has taken long may take long yet,
    /// so never less than half is reckoned.
    fn left(&self, now: Instant, run: &Run) -> u64 {
        let half = u64::from(run.cost) / 2;
        let done = now.since(run.since).as_millis() as u64 * self.rate / 2_000_000;
        half + half.saturating_sub(done)
    }

    fn reserve(&mut self, now: Instant, place: Place, price_max: u32, out: &mut Vec<Effect>) {
        let Place { key, class, .. } = place;
        let (wait, price) = (self.wait(now, class), self.price(class));
        if self.has(&key) {
            // The first answer was lost, or the question came twice.
            out.push(Effect::Quote { key, wait: Duration::ZERO, price });
            return;
        }
        let much = price > price_max || wait > self.config.waits[class.index()];
        if self.config.slots == 0 || ((much || self.is_crowded(&place)) && !on(Fault::RefusesNobody)) {
            out.push(Effect::Refuse { key, price, after: self.after(wait) });
            return;
        }
        let known = self.queue.remove(|waiting| waiting.key == key && waiting.bound.is_none());
        let since = known.map_or(now, |entry| entry.since);
        let entry = self.entry(since, place);
        match self.queue.push(entry) {
            Ok(()) => out.push(Effect::Quote { key, wait, price }),
            Err(_) => out.push(Effect::Refuse { key, price, after: self.after(wait) }),
        }
    }

    /// What waits, of a place.
    fn entry(&self, since: Instant, place: Place) -> Entry<Waiting> {
        let Place { key, model, class, cost, hops, known } = place;
        let item = Waiting { key, model, bound: None, hops, cost, known };
        Entry { cost: self.reckoned(cost, known), since, class, item }
    }

    /// Whether a client has as many places of a class as it may; or all of whom little is known do, and it is one of them.
    fn is_crowded(&self, place: &Place) -> bool {
        let Place { key, class, known, .. } = *place;
        let places = u64::from(self.config.queue.limits[class.index()]);
        let most = |share: u32| (places * u64::from(share) / 1_000_000).max(1) as usize;
        let (mut own, mut strangers) = (0, 0);
        self.queue.each(class, |waiting| {
            let counts = waiting.bound.is_none() && waiting.key != key;
            own += usize::from(counts && waiting.key.0 == key.0);
            strangers += usize::from(counts && !waiting.known);
        });
        let Shares { known: all, stranger, strangers: together } = self.config.shares;
        if known { own >= most(all) } else { own >= most(stranger) || strangers >= most(together) }
    }

    /// A client was called and silent: its other places are given up, and it is told.
    fn turn_away(&mut self, now: Instant, client: &NodeId, out: &mut Vec<Effect>) {
        while let Some(entry) = self.queue.remove(|waiting| waiting.key.0 == *client && waiting.bound.is_none()) {
            let (price, wait) = (self.price(entry.class), self.wait(now, entry.class));
            out.push(Effect::Refuse { key: entry.item.key, price, after: self.after(wait) });
        }
    }

    /// Whether a task was called, runs, or was interrupted and goes on here.
    pub fn has(&self, key: &Key) -> bool {
        let interrupted = |waiting: &Waiting| waiting.key == *key && waiting.bound.is_some();
        self.called.contains_key(key) || self.running.contains_key(key) || self.queue.any(interrupted)
    }

    /// When asking again makes sense: when half of what waits is done.
    fn after(&self, wait: Duration) -> Duration {
        (wait / 2).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    fn bind(&mut self, now: Instant, key: Key, epoch: u32, from: u32, out: &mut Vec<Effect>) {
        if let Some(run) = self.running.get_mut(&key) {
            // The same task under a newer lease: what runs goes on under that one.
            run.epoch = run.epoch.max(epoch);
            return;
        }
        match self.called.remove(&key) {
            Some(call) => self.start(now, key, (epoch, from), (call.model, call.class, call.cost), out),
            // Too late: the slot is somebody else's.
            None => out.push(Effect::Report { key, epoch, tokens: from, done: false }),
        }
    }

    fn start(
        &mut self,
        now: Instant,
        key: Key,
        (epoch, from): (u32, u32),
        (model, class, cost): (u64, Class, u32),
        out: &mut Vec<Effect>,
    ) {
        self.running.insert(key, Run { epoch, model, class, cost, since: now, from, stop: Stop::No });
        out.push(Effect::Run { key, epoch, from });
    }

    fn ran(&mut self, now: Instant, key: Key, tokens: u32, end: End, out: &mut Vec<Effect>) {
        let Some(run) = self.running.remove(&key) else { return };
        self.measure(now, &run, tokens);
        let yields = end == End::Interrupted && run.stop == Stop::Yield && !on(Fault::InterruptedIsLost);
        if !yields {
            out.push(Effect::Report { key, epoch: run.epoch, tokens, done: end == End::Done });
            return;
        }
        // What is more urgent goes first, and the interrupted one is the next of its class.
        if let Some(entry) = self.queue.presses(run.class).and_then(|class| self.queue.pop_from(class)) {
            self.call(now, entry, out);
        }
        // Whoever has no slot at all cannot say how long.
        if self.config.slots > 0 {
            let wait = self.time(self.queue.round(run.class).saturating_add(self.busy(now)));
            out.push(Effect::Waits { key, wait });
        }
        let cost = run.cost.saturating_sub(tokens.saturating_sub(run.from));
        let item = Waiting { key, model: run.model, bound: Some((run.epoch, tokens)), hops: 0, cost, known: true };
        self.queue.push_front(Entry { cost, since: now, class: run.class, item });
    }

    /// Folds the speed of a run in, an eighth each. Short runs say nothing.
    fn measure(&mut self, now: Instant, run: &Run, tokens: u32) {
        let millis = now.since(run.since).as_millis() as u64;
        let made = u64::from(tokens.saturating_sub(run.from));
        if millis >= 100 && made >= 8 {
            let sample = (made * 1_000_000 / millis).clamp(1, 1_000_000_000);
            self.rate = (self.rate * 7 + sample).div_ceil(8);
        }
    }

    /// Calls whoever is next while slots are free, and interrupts for what is much more urgent.
    fn fill(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while self.called.len() + self.running.len() < self.config.slots as usize {
            let Some(entry) = self.queue.pop(now) else { return };
            self.call(now, entry, out);
        }
        let over = (self.called.len() + self.running.len()).saturating_sub(self.config.slots as usize);
        let stopping = self.running.values().filter(|run| run.stop != Stop::No).count();
        for _ in stopping..over {
            self.interrupt(|_| true, out);
        }
        if stopping == 0 && over == 0 {
            let queue = &self.queue;
            let pressed: [bool; 4] = Class::ALL.map(|class| queue.presses(class).is_some());
            self.interrupt(|class| pressed[class.index()], out);
        }
    }

    /// Interrupts the least urgent run that may be.
    fn interrupt(&mut self, may: impl Fn(Class) -> bool, out: &mut Vec<Effect>) {
        let candidates = self.running.iter_mut().filter(|(_, run)| run.stop == Stop::No && may(run.class));
        if let Some((key, run)) = candidates.max_by_key(|(_, run)| (run.class, run.since)) {
            run.stop = Stop::Yield;
            out.push(Effect::Interrupt(*key));
        }
    }

    fn call(&mut self, now: Instant, entry: Entry<Waiting>, out: &mut Vec<Effect>) {
        let Waiting { key, model, bound, cost, known, .. } = entry.item;
        if let Some(lease) = bound {
            self.start(now, key, lease, (model, entry.class, entry.cost), out);
            return;
        }
        let until = now + self.config.patience.max(Duration::from_micros(1));
        self.called.insert(key, Call { until, model, class: entry.class, cost, known });
        out.push(Effect::Ready(key));
    }

    /// Slots for which there is nothing to do.
    fn room(&self) -> u32 {
        let busy = self.called.len() + self.running.len();
        if self.queue.is_empty() { self.config.slots.saturating_sub(busy as u32) } else { 0 }
    }

    /// Whoever has nothing to do counts for how long.
    fn rest(&mut self, now: Instant) {
        let every =
            self.config.idle.filter(|_| self.room() > 0 && !on(Fault::IdleNeverAsks)).map(|idle| idle.max(MOMENT));
        self.idle = every.map(|every| self.idle.unwrap_or((now + every, every)));
    }

    fn stop(&mut self, key: Key, out: &mut Vec<Effect>) {
        if let Some(run) = self.running.get_mut(&key) {
            if run.stop == Stop::No {
                out.push(Effect::Interrupt(key));
            }
            run.stop = Stop::Drop;
            return;
        }
        self.called.remove(&key);
        self.queue.remove(|waiting| waiting.key == key);
    }

    /// Gives away what came last and is bound to nobody, at most half of it, and nothing that has gone as far as it may; and no
    /// more than [`HANDED_MAX`] a minute to one thief, which might take it and do nothing.
    fn steal(&mut self, now: Instant, thief: NodeId, room: u32, models: &[u64], out: &mut Vec<Effect>) {
        self.thieves.retain(|_, (since, _)| now.since(*since) < MINUTE);
        let given = self.thieves.get(&thief).map_or(0, |(_, given)| *given);
        let count = self.queue.len().div_ceil(2).min(room.min(HANDED_MAX.saturating_sub(given)) as usize);
        let mut places = Vec::new();
        while places.len() < count {
            let hops_max = self.config.hops_max;
            let free = |waiting: &Waiting| {
                let unbound = waiting.bound.is_none() || on(Fault::BoundTaskHandedOn);
                let own = waiting.key.0 == thief;
                unbound && !own && waiting.hops + 1 < hops_max && models.contains(&waiting.model)
            };
            let Some(entry) = self.queue.remove_last(free) else { break };
            let Waiting { key, model, hops, cost, known, .. } = entry.item;
            places.push(Place {
                key,
                model,
                class: entry.class,
                cost,
                known,
                hops: hops + u8::from(!on(Fault::HopsUncounted)),
            });
        }
        if !places.is_empty() {
            self.thieves.entry(thief).or_insert((now, 0)).1 += places.len() as u32;
            out.push(Effect::Hand { thief, places });
        }
    }

    fn handed(&mut self, now: Instant, places: Vec<Place>) {
        if let (Some(rest), false) = (self.config.idle, places.is_empty()) {
            // Where there was something there may be more.
            self.idle = Some((now + rest.max(MOMENT), rest.max(MOMENT)));
        }
        let hops_max = self.config.hops_max;
        for place in places.into_iter().filter(|place| place.hops < hops_max) {
            if !self.has(&place.key) && !self.is_crowded(&place) {
                self.queue.remove(|waiting| waiting.key == place.key);
                // Without room it is lost here; the client holds another place, or asks again.
                let _ = self.queue.push(self.entry(now, place));
            }
        }
    }
}

impl Machine for Worker {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Reserve { key, model, class, cost, price_max, known } => {
                self.reserve(now, Place { key, model, class, cost, hops: 0, known }, price_max, out);
            }
            Input::Bind { key, epoch, from } => self.bind(now, key, epoch, from, out),
            Input::Release(key) => {
                self.called.remove(&key);
                self.queue.remove(|waiting| waiting.key == key && waiting.bound.is_none());
            }
            Input::Stop(key) => self.stop(key, out),
            Input::Ran { key, tokens, end } => self.ran(now, key, tokens, end, out),
            Input::Slots(slots) => self.config.slots = slots,
            Input::Steal { thief, room, models } => self.steal(now, thief, room, &models, out),
            Input::Handed(places) => self.handed(now, places),
        }
        self.fill(now, out);
        self.rest(now);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let late = self.called.iter().filter(|(_, call)| call.until <= now);
        let silent: Vec<NodeId> = late.map(|(key, _)| key.0).collect();
        if !silent.is_empty() {
            self.called.retain(|_, call| call.until > now);
            silent.iter().for_each(|client| self.turn_away(now, client, out));
            self.fill(now, out);
            self.rest(now);
        }
        if let Some((_, rest)) = self.idle.filter(|idle| idle.0 <= now) {
            out.push(Effect::Steal { room: self.room() });
            let rest = (rest * 2).min(REST_MAX);
            self.idle = Some((now + rest, rest));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let calls = self.called.values().map(|call| call.until).min();
        [calls, self.idle.map(|idle| idle.0)].into_iter().flatten().min()
    }
}

/// The shortest wait: time must go on between two ticks.
const MOMENT: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::{Class::*, *};
    use crate::kit::{Rng, laws, trace};

    const CONFIG: Config = Config {
        hops_max: 3,
        idle: None,
        queue: queue::Config { limits: [2, 2, 2, 2], quanta: [400, 200, 100, 50], age: Duration::from_secs(60) },
        slots: 1,
        rate: 10,
        patience: Duration::from_millis(100),
        waits: [Duration::from_secs(100); 4],
        shares: Shares { known: 1_000_000, stranger: 1_000_000, strangers: 1_000_000 },
    };

    fn key(n: u64) -> Key {
        (NodeId::number(1), n)
    }

    fn reserve(n: u64, class: Class) -> Input {
        Input::Reserve { key: key(n), model: 7, class, cost: 100, price_max: 9_000_000, known: true }
    }

    fn of(script: impl IntoIterator<Item = (u64, Input)>, until: u64) -> String {
        // The name of the one client says nothing.
        let name = alloc::format!("{:?}, ", NodeId::number(1));
        trace::of(&mut Worker::new(CONFIG), script, until).replace(&name, "")
    }

    #[test]
    fn quotes_calls_runs_and_reports() {
        let script = [
            (0, reserve(1, Standard)),
            (5, Input::Bind { key: key(1), epoch: 1, from: 0 }),
            (10, reserve(2, Standard)),
            (20, Input::Ran { key: key(1), tokens: 90, end: End::Done }),
        ];
        assert_eq!(
            of(script, 1_000),
            "0ms Reserve { key: (1), model: 7, class: Standard, cost: 100, price_max: 9000000, known: true } -> [Quote { key: (1), wait: 0ns, price: 1000000 }, Ready((1))]\n\
             5ms Bind { key: (1), epoch: 1, from: 0 } -> [Run { key: (1), epoch: 1, from: 0 }]\n\
             10ms Reserve { key: (2), model: 7, class: Standard, cost: 100, price_max: 9000000, known: true } -> [Quote { key: (2), wait: 10s, price: 1000000 }]\n\
             20ms Ran { key: (1), tokens: 90, end: Done } -> [Report { key: (1), epoch: 1, tokens: 90, done: true }, Ready((2))]\n"
        );
    }

    #[test]
    fn the_urgent_interrupt_and_the_interrupted_goes_on_where_it_was() {
        let script = [
            (0, reserve(1, Spot)),
            (5, Input::Bind { key: key(1), epoch: 1, from: 0 }),
            (10, reserve(2, Realtime)),
            (11, Input::Ran { key: key(1), tokens: 3, end: End::Interrupted }),
            (12, Input::Bind { key: key(2), epoch: 1, from: 0 }),
            (900, Input::Ran { key: key(2), tokens: 50, end: End::Done }),
        ];
        let text = of(script, 1_000);
        let last: Vec<&str> = text.lines().skip(2).map(|line| line.split(" -> ").last().unwrap()).collect();
        assert_eq!(
            last,
            [
                "[Quote { key: (2), wait: 10s, price: 1000000 }, Interrupt((1))]",
                "[Ready((2)), Waits { key: (1), wait: 10s }]",
                "[Run { key: (2), epoch: 1, from: 0 }]",
                "[Report { key: (2), epoch: 1, tokens: 50, done: true }, Run { key: (1), epoch: 1, from: 3 }]",
            ]
        );
    }

    #[test]
    fn whoever_is_called_and_silent_loses_all_places_and_a_late_answer_is_told_so() {
        let script = [
            (0, reserve(1, Standard)),
            (1, reserve(2, Standard)),
            (150, Input::Bind { key: key(1), epoch: 1, from: 0 }),
        ];
        let text = of(script, 150);
        let last: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            last,
            [
                "100ms tick -> [Refuse { key: (2), price: 1000000, after: 100ms }]",
                "150ms Bind { key: (1), epoch: 1, from: 0 } -> [Report { key: (1), epoch: 1, tokens: 0, done: false }]",
            ]
        );
    }

    /// A place that client `who` asks for, as little as it can.
    fn small(who: u64, n: u64, known: bool) -> Input {
        let key = (NodeId::number(who), n);
        Input::Reserve { key, model: 7, class: Standard, cost: 1, price_max: u32::MAX, known }
    }

    fn places(worker: &mut Worker, at: u64, inputs: impl IntoIterator<Item = Input>) -> usize {
        let mut out = Vec::new();
        inputs.into_iter().for_each(|input| worker.handle(Instant::from_millis(at), input, &mut out));
        out.iter().filter(|effect| matches!(effect, Effect::Quote { .. })).count()
    }

    #[test]
    fn one_client_has_a_part_of_the_places_and_all_strangers_have_one_together() {
        let queue = queue::Config { limits: [64; 4], ..queue::Config::default() };
        let config = Config { queue, shares: Shares::default(), waits: [Duration::MAX; 4], ..CONFIG };
        let ask = |who: u64, known| (0..64).map(move |n| small(who, n, known));
        let mut worker = Worker::new(config);
        assert_eq!(places(&mut worker, 0, ask(1, false)), 9, "one is called, and an eighth waits");
        assert_eq!(places(&mut worker, 0, (2..64).flat_map(|who| ask(who, false))), 24, "with it, half");
        assert_eq!(places(&mut worker, 0, ask(64, false)), 0);
        assert_eq!(places(&mut worker, 0, ask(65, true)), 32, "the other half is for those who are known");
        assert!(worker.price(Standard) == 4_000_000 && Worker::new(config).price(Standard) == 1_000_000);
        // Thirty-two calls that are silent, one after the other, may be what the last of them waits for.
        let wait = worker.wait(Instant::default(), Standard);
        assert!(wait >= config.patience * 33, "{wait:?}");
    }

    #[test]
    fn who_is_silent_once_holds_up_those_behind_it_once() {
        let queue = queue::Config { limits: [64; 4], ..queue::Config::default() };
        let mut worker = Worker::new(Config { queue, shares: Shares::default(), ..CONFIG });
        places(&mut worker, 0, (0..9).map(|n| small(1, n, false)).chain([small(2, 1, true)]));
        let mut out = Vec::new();
        worker.tick(Instant::from_millis(100), &mut out);
        let told = out.iter().filter(|e| matches!(e, Effect::Refuse { key, .. } if key.0 == NodeId::number(1))).count();
        assert_eq!(told, 8, "{out:?}");
        assert_eq!(out.last(), Some(&Effect::Ready((NodeId::number(2), 1))));
    }

    #[test]
    fn a_thief_gets_so_many_a_minute() {
        let queue = queue::Config { limits: [1000; 4], ..queue::Config::default() };
        let config = Config { queue, waits: [Duration::MAX; 4], patience: Duration::from_secs(1000), ..CONFIG };
        let mut worker = Worker::new(config);
        places(&mut worker, 0, (0..1000).map(|n| small(1, n, true)));
        let mut stolen = |at: u64, thief| {
            let mut out = Vec::new();
            (0..10).for_each(|_| {
                let steal = Input::Steal { thief: NodeId::number(thief), room: 16, models: [7].into() };
                worker.handle(Instant::from_millis(at), steal, &mut out);
            });
            let handed =
                out.iter().filter_map(|e| if let Effect::Hand { places, .. } = e { Some(places.len()) } else { None });
            handed.sum::<usize>()
        };
        assert_eq!([stolen(0, 5), stolen(59_999, 5), stolen(59_999, 6), stolen(60_000, 5)], [64, 0, 64, 64]);
    }

    #[test]
    fn what_is_too_much_is_refused_early_with_a_price() {
        let mut worker = Worker::new(CONFIG);
        let mut out = Vec::new();
        let mut refused = Vec::new();
        for n in 0..6 {
            worker.handle(Instant::default(), reserve(n, Batch), &mut out);
            refused.extend(out.drain(..).filter_map(|effect| match effect {
                Effect::Refuse { price, after, .. } => Some((n, price, after)),
                _ => None,
            }));
        }
        // One was called, two wait, the class is full.
        assert_eq!(refused.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(), [3, 4, 5].map(|n| (n, 4_000_000)));
        assert!(refused[0].2 >= Duration::from_secs(5));
        let cheap = Input::Reserve { key: key(9), model: 7, class: Batch, cost: 1, price_max: 3_999_999, known: true };
        worker.handle(Instant::default(), cheap, &mut out);
        assert!(matches!(out[0], Effect::Refuse { .. }));
    }

    #[test]
    fn who_pays_or_waits_less_is_refused_though_there_is_room() {
        // One is called for ten seconds, one waits for as long: half of the class is full.
        let refused = |wait, price_max| {
            let mut worker = Worker::new(Config { waits: [Duration::from_secs(wait); 4], ..CONFIG });
            let mut out = Vec::new();
            (1..3).for_each(|n| worker.handle(Instant::default(), reserve(n, Standard), &mut out));
            out.clear();
            let third = Input::Reserve { key: key(3), model: 7, class: Standard, cost: 100, price_max, known: true };
            worker.handle(Instant::default(), third, &mut out);
            matches!(out[..], [Effect::Refuse { price: 1_750_000, .. }])
        };
        assert_eq!([1_749_999, 1_750_000].map(|price| refused(100, price)), [true, false]);
        assert_eq!([19, 20].map(|wait| refused(wait, 1_750_000)), [true, false]);
    }

    #[test]
    fn an_idle_neighbour_gets_half_of_what_is_bound_to_nobody() {
        let mut worker = Worker::new(Config { queue: queue::Config::default(), ..CONFIG });
        let mut out = Vec::new();
        for n in 0..9 {
            worker.handle(Instant::default(), reserve(n, Batch), &mut out);
        }
        out.clear();
        let thief = NodeId::number(5);
        worker.handle(Instant::default(), Input::Steal { thief, room: 3, models: [7].into() }, &mut out);
        let [Effect::Hand { places, .. }] = &out[..] else { panic!("{out:?}") };
        assert_eq!(places.iter().map(|place| place.key.1).collect::<Vec<_>>(), [8, 7, 6]);
        assert_eq!(worker.waiting(), 5);
        let mut other = Worker::new(CONFIG);
        let places = places.clone();
        out.clear();
        other.handle(Instant::default(), Input::Handed(places), &mut out);
        assert_eq!(out, [Effect::Ready(key(8))]);
    }

    #[test]
    fn whoever_has_nothing_to_do_asks_and_rests_longer_each_time_in_vain() {
        let config = Config { idle: Some(Duration::from_millis(100)), slots: 2, ..CONFIG };
        let place = Place { key: key(1), model: 7, class: Batch, cost: 9, hops: 1, known: true };
        let script = [
            (0, Input::Slots(2)),
            (800, Input::Handed([place].into())),
            (801, Input::Bind { key: key(1), epoch: 1, from: 0 }),
            (901, reserve(2, Batch)),
            (902, Input::Bind { key: key(2), epoch: 1, from: 0 }),
        ];
        let text = trace::of(&mut Worker::new(config), script, 2_000);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("Steal")).collect();
        assert_eq!(
            lines,
            [
                "100ms tick -> [Steal { room: 2 }]",
                "300ms tick -> [Steal { room: 2 }]",
                "700ms tick -> [Steal { room: 2 }]",
                "900ms tick -> [Steal { room: 1 }]",
            ],
            "from 901 ms on both slots are busy"
        );
    }

    #[test]
    fn nothing_is_handed_on_that_the_other_cannot_do_or_that_is_bound() {
        let mut worker = Worker::new(Config { queue: queue::Config::default(), ..CONFIG });
        let mut out = Vec::new();
        let of =
            |n, model| Input::Reserve { key: key(n), model, class: Spot, cost: 9, price_max: 9_000_000, known: true };
        for input in [of(1, 7), Input::Bind { key: key(1), epoch: 1, from: 0 }, of(2, 8), of(3, 7), of(4, 8)] {
            worker.handle(Instant::default(), input, &mut out);
        }
        // The first task is interrupted and waits, bound to this worker.
        worker.handle(Instant::default(), reserve(5, Realtime), &mut out);
        let ran = Input::Ran { key: key(1), tokens: 5, end: End::Interrupted };
        worker.handle(Instant::default(), ran, &mut out);
        out.clear();
        let thief = NodeId::number(5);
        worker.handle(Instant::default(), Input::Steal { thief, room: 9, models: [7].into() }, &mut out);
        let [Effect::Hand { places, .. }] = &out[..] else { panic!("{out:?}") };
        assert_eq!(places.iter().map(|place| place.key.1).collect::<Vec<_>>(), [3]);
        out.clear();
        worker.handle(Instant::default(), Input::Steal { thief, room: 9, models: [7].into() }, &mut out);
        assert_eq!(out, [], "what is left is of another model, or bound");
    }

    #[test]
    fn a_reservation_goes_over_as_many_workers_as_it_may() {
        for hops_max in 1..5 {
            let waits = [Duration::from_secs(100_000); 4];
            let config = Config { hops_max, queue: queue::Config::default(), waits, ..CONFIG };
            let (mut worker, mut out) = (Worker::new(config), Vec::new());
            (0..30).for_each(|n| worker.handle(Instant::default(), reserve(n, Batch), &mut out));
            let mut workers = 1;
            loop {
                out.clear();
                worker.handle(
                    Instant::default(),
                    Input::Steal { thief: NodeId::number(5), room: 30, models: [7].into() },
                    &mut out,
                );
                let Some(Effect::Hand { places, .. }) = out.pop() else { break };
                worker = Worker::new(config);
                worker.handle(Instant::default(), Input::Handed(places), &mut out);
                workers += 1;
            }
            assert_eq!(workers, hops_max, "the first one counted");
            let far = Place { key: key(99), model: 7, class: Batch, cost: 1, hops: hops_max, known: true };
            out.clear();
            Worker::new(config).handle(Instant::default(), Input::Handed([far].into()), &mut out);
            assert_eq!(out, [], "one that came too far is not taken");
        }
    }

    #[test]
    fn fewer_slots_interrupt_the_least_urgent() {
        let mut worker = Worker::new(Config { slots: 3, ..CONFIG });
        let mut out = Vec::new();
        for (n, class) in [(1, Standard), (2, Batch), (3, Standard)] {
            worker.handle(Instant::default(), reserve(n, class), &mut out);
            worker.handle(Instant::default(), Input::Bind { key: key(n), epoch: 1, from: 0 }, &mut out);
        }
        out.clear();
        worker.handle(Instant::from_millis(5), Input::Slots(1), &mut out);
        assert_eq!(out[0], Effect::Interrupt(key(2)));
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn keeps_the_laws_and_its_limits() {
        for seed in 0..200 {
            let (mut rng, mut at) = (Rng::new(seed), 0);
            let script: Vec<(Instant, Input)> = (0..150)
                .map(|_| {
                    at += u64::from(rng.below(60));
                    let key = (NodeId::number(u64::from(rng.below(2))), u64::from(rng.below(6)));
                    let input = match rng.below(20) {
                        0..6 => Input::Reserve {
                            key,
                            model: u64::from(rng.below(2)),
                            class: Class::ALL[rng.below(4) as usize],
                            cost: rng.next() as u32 >> rng.below(32),
                            price_max: 1_000_000 + rng.below(4_000_000),
                            known: rng.below(2) == 0,
                        },
                        6..11 => Input::Bind { key, epoch: rng.below(4), from: rng.below(9) },
                        11..13 => Input::Release(key),
                        13 => Input::Stop(key),
                        14..17 => Input::Ran {
                            key,
                            tokens: rng.next() as u32 >> rng.below(32),
                            end: [End::Done, End::Failed, End::Interrupted][rng.below(3) as usize],
                        },
                        17 => Input::Slots(rng.below(4)),
                        18 => Input::Steal { thief: key.0, room: rng.below(3), models: [0].into() },
                        _ => Input::Handed(
                            [Place { key, model: 1, class: Batch, cost: 7, hops: rng.below(4) as u8, known: false }]
                                .into(),
                        ),
                    };
                    (Instant::from_millis(at), input)
                })
                .collect();
            let idle = Some(Duration::from_millis(50));
            laws::hold(&Worker::new(Config { idle, ..CONFIG }), script.clone());
            let (mut worker, mut out) = (Worker::new(CONFIG), Vec::new());
            for (now, input) in script {
                while worker.deadline().is_some_and(|due| due <= now) {
                    worker.tick(now, &mut out);
                }
                worker.handle(now, input, &mut out);
                let twice = worker.called.keys().any(|key| worker.running.contains_key(key));
                assert!(!twice, "seed {seed}: called and running at once");
                assert!(worker.waiting() <= 8 + 4, "seed {seed}: {} wait", worker.waiting());
            }
        }
    }
}
