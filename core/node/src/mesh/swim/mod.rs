//! Membership: who is there, and who is not any more.
//!
//! Each member asks one other per period whether it is there, going through all in an order by chance. If no answer
//! comes, it asks again and has others ask; if none of them gets one, the member is *suspected*, everybody hears of it, and
//! the accused itself first. It refutes by a new record with a higher incarnation, signed by itself. If it does not, each
//! node declares it dead on its own, when its own time-out is over.
//!
//! ```text
//!            accusation                    time-out
//! Alive ----------------------> Suspect -------------> Dead (of this incarnation, for ever)
//!   ^ <--- higher incarnation ----'                       |
//!   '------------------- higher incarnation --------------'          Left: said so itself
//! ```
//!
//! Sources: A. Das, I. Gupta, A. Motivala, "SWIM" (DSN 2002); A. Dadgar, J. Phillips, J. Currey, "Lifeguard" (2017,
//! arXiv 1707.00788); A. Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (1987) for gossip that
//! is echoed and for comparing tables. We leave them in six points, because members may lie:
//!
//! 1. Whoever is alive says so with its own signature, and so does whoever accuses. Nobody can be brought back by others.
//! 2. A death is never believed. News of one is one more accuser; the time-out is always our own and has a floor.
//! 3. Whoever accuses and is refuted too often is not heard for a while.
//! 4. A helper's answer carries the signature of the one that was asked.
//! 5. Whoever did not answer us from where it says to be (`company`) is a member like others, but no sample, no helper and no company
//!    for gossip as long as there are better; such members are bounded, and of those at one address few are admitted.
//! 6. How many unanswered questions make a suspicion depends on how many are lost anyway (`probe`): the chance of
//!    suspecting somebody for bad luck stays below 1 in 100,000 on any line.

pub mod cells;
mod company;
mod config;
mod gossip;
mod heard;
pub mod message;
mod probe;
pub mod record;
mod rumour;
mod suspicion;
mod sync;
mod table;

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use self::{
    cells::Cells,
    company::Company,
    message::Head,
    probe::{Probe, Relay, Walk},
    rumour::{News, Rumours},
    suspicion::{Suspicion, Wolves},
    sync::Compare,
    table::Table,
};
pub use self::{
    config::Config,
    heard::NUMBER_MAX,
    message::Pulse,
    record::{Facts, Record},
    table::State,
};
use crate::kit::{
    Certificate, Fault, Instant, Machine, NodeId, Rng, Signer, Verifier, codec::Reader, fault, heap::Heap,
};

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A body came whose sender is known for certain.
    Packet {
        /// Who signed the packet.
        from: NodeId,
        /// Where it seems to have come from.
        at: SocketAddr,
        /// The sequence number of its envelope.
        sequence: u64,
        /// What it says.
        body: Vec<u8>,
    },
    /// Find others, beginning with these addresses.
    Join(Vec<SocketAddr>),
    /// Members that were known before a restart.
    Recall(Vec<Arc<Record>>),
    /// What this node says of itself is different now.
    Facts(Facts),
    /// How this node does right now.
    Pulse(Pulse),
    /// Say farewell.
    Leave,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Seal and send `body`.
    Send {
        /// Who may open it; whoever is there, if unknown.
        to: Option<NodeId>,
        /// Where to.
        addr: SocketAddr,
        /// What it says.
        body: Vec<u8>,
    },
    /// Keep this before anything else leaves.
    Save(Saved),
    /// For whoever wants to know.
    Tell(Event),
}

/// What must survive a restart.
#[derive(Clone, Debug, PartialEq)]
pub enum Saved {
    /// The next life begins with one more than this.
    Incarnation(u64),
    /// Some members to begin with ([`Input::Recall`]).
    Peers(Vec<Arc<Record>>),
}

/// What this node came to think.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody is there who was not.
    Joined(Arc<Record>),
    /// Somebody says something new of itself.
    Changed(Arc<Record>),
    /// Somebody does not answer.
    Suspected {
        /// Who.
        id: NodeId,
        /// In which life.
        incarnation: u64,
    },
    /// A suspect is there after all.
    Cleared(NodeId),
    /// Somebody did not answer for too long.
    Died {
        /// Who.
        id: NodeId,
        /// In which life.
        incarnation: u64,
    },
    /// Somebody said farewell.
    Left(NodeId),
    /// Somebody who never answered us made room for others who did not either.
    Forgotten(NodeId),
    /// Somebody answered, and does like this.
    Pulse(NodeId, Pulse),
    /// This node was accused, and answered with this incarnation.
    Refuted(u64),
}

/// Membership as one node sees it. `K` signs and verifies.
#[derive(Clone, Debug, PartialEq)]
pub struct Swim<K> {
    config: Config,
    keys: K,
    certificate: Option<Certificate>,
    rng: Rng,
    me: Arc<Record>,
    pulse: Pulse,
    table: Table,
    /// Whom to ask next.
    walk: Walk,
    probe: Option<Probe>,
    /// Somebody of whom a neighbour says that it is dead; asked before others.
    doubted: Option<u64>,
    /// A dead member that was asked whether it is.
    reached: Option<(u32, u64)>,
    company: Company,
    relays: Vec<Relay>,
    suspicions: BTreeMap<u64, Suspicion>,
    /// When to look at which suspicion; some are looked at too early.
    suspicions_due: Heap<Instant, u64>,
    wolves: Wolves,
    rumours: Rumours,
    compare: Compare,
    cells: Cells,
    seeds: Vec<SocketAddr>,
    /// Lifeguard's local health multiplier, less one: 0 is healthy.
    health: u32,
    /// Questions out of a million that stay unanswered though the one asked is there.
    unanswered: u32,
    /// When an accusation by somebody unknown was last answered.
    answered_stranger: Instant,
    nonce: u32,
    period_due: Instant,
    /// Periods so far.
    periods: u32,
    gossip_due: Option<Instant>,
    /// Periods for which farewells are still told.
    leaving: Option<u8>,
    deadline: Instant,
}

/// Lifeguard §IV.A: S, the greatest value of the local health multiplier.
const HEALTH_MAX: u32 = 8;
/// Addresses that are asked when a node knows nobody.
const SEEDS_MAX: usize = 64;

impl<K: Signer + Verifier> Swim<K> {
    /// A node that knows nobody. `incarnation` must be higher than any that it used; `id` is its first key and, if that is
    /// not the one that `keys` signs with, `certificate` says that it may.
    pub fn new(
        config: Config,
        keys: K,
        id: NodeId,
        certificate: Option<Certificate>,
        incarnation: u64,
        facts: Facts,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::new(seed);
        let me = Record::sign(id, incarnation, false, facts, certificate.as_ref(), &keys);
        // Nodes that start together must not ask together for ever.
        let phase = config.period * rng.below(1000) / 1000;
        let period_due = Instant::default() + phase;
        let compare = Compare::new(period_due, &config, &mut rng);
        Self {
            rumours: Rumours::new(config.rumours_max),
            table: Table::new(0),
            walk: Walk::default(),
            probe: None,
            doubted: None,
            reached: None,
            company: Company::default(),
            relays: Vec::new(),
            suspicions: BTreeMap::new(),
            suspicions_due: Heap::new(),
            wolves: Wolves::default(),
            compare,
            cells: Cells::default(),
            seeds: Vec::new(),
            health: 0,
            unanswered: probe::UNANSWERED_START,
            answered_stranger: Instant::default(),
            nonce: rng.next() as u32,
            period_due,
            periods: 0,
            gossip_due: None,
            leaving: None,
            deadline: period_due,
            pulse: Pulse::default(),
            config,
            keys,
            certificate,
            rng,
            me,
        }
    }

    /// This node's own record.
    pub fn me(&self) -> &Arc<Record> {
        &self.me
    }

    /// How often it gossips and compares what it holds, from the next period on.
    pub const fn pace(&mut self, period: Duration, compare_every: u32) {
        (self.config.period, self.config.compare_every) = (period, compare_every);
    }

    /// What signs and verifies.
    pub fn keys(&self) -> &K {
        &self.keys
    }

    /// The record and state of `id`.
    pub fn member(&self, id: &NodeId) -> Option<(&Arc<Record>, State)> {
        self.table.find_id(id).map(|at| (self.table.get(at).record(), self.table.get(at).state()))
    }

    /// The key that `id` signs with, as far as is known: its first, if it is a stranger.
    pub fn key(&self, id: &NodeId) -> NodeId {
        self.table.find_id(id).map_or(*id, |at| self.table.get(at).record().key)
    }

    /// Everybody who is remembered, in an order by id.
    pub fn members(&self) -> impl Iterator<Item = (&Arc<Record>, State)> {
        self.table.iter().map(|slot| (slot.record(), slot.state()))
    }

    /// Members that are alive or suspected, without this node.
    pub fn living(&self) -> usize {
        self.table.lives()
    }

    /// Members that are suspected.
    pub fn suspected(&self) -> usize {
        self.table.suspects()
    }

    /// Uses `record` in place of its own equal copy. For many nodes in one process.
    pub fn share(&mut self, record: &Arc<Record>) {
        self.table.share(record);
    }

    /// Knows `records` from the start. For many nodes in one process.
    pub fn know(&mut self, records: &[Arc<Record>]) {
        self.table = Table::new(records.len());
        for record in records.iter().filter(|record| record.id != self.me.id) {
            self.table.insert_proved(record.clone(), 0);
        }
    }

    /// Knows from the start everybody whom `other` knows, and `other`. For many nodes in one process.
    pub fn know_like(&mut self, other: &Self) {
        self.table = other.table.clone();
        if let Some(at) = self.table.find_id(&self.me.id) {
            self.table.remove(at);
        }
        if other.me.id != self.me.id && self.table.find_id(&other.me.id).is_none() {
            self.table.insert_proved(other.me.clone(), 0);
        }
    }

    /// Reads what every packet and every tick need, so that it lies near when they come; the sum means nothing. For many
    /// nodes in one process.
    pub fn glance(&self) -> u64 {
        let micros = |due: Option<Instant>| due.map_or(0, Instant::as_micros);
        let due = [self.gossip_due, self.suspicions_due.first().copied(), Some(self.compare.due), Some(self.deadline)];
        let counts = [
            self.relays.len(),
            self.suspicions.len(),
            self.rumours.len(),
            self.table.len(),
            self.seeds.len(),
            usize::from(self.company.is_idle()),
            usize::from(self.leaving.is_some()),
            usize::from(self.probe.is_some()),
            usize::from(self.cells.bits),
            self.config.body_max,
        ];
        let due = due.into_iter().fold(self.me.incarnation, |sum, due| sum ^ micros(due));
        counts.into_iter().fold(due, |sum, count| sum ^ count as u64)
    }

    /// The same, of what a packet of the member `short` needs beside.
    pub fn glance_at(&self, short: u64) -> u64 {
        self.table.occupant(self.table.home(short)).map_or(0, |slot| slot.record().incarnation)
    }

    fn short(&self) -> u64 {
        self.me.id.short()
    }

    /// Members, this node included.
    fn size(&self) -> usize {
        self.table.lives() + 1
    }

    /// How often news is told.
    fn times(&self, urgent: bool) -> u8 {
        if fault::on(Fault::ToldOnce) {
            return 1;
        }
        self.config.retellings(self.size(), urgent, self.unanswered)
    }

    /// Lifeguard's multiplier of waits and periods.
    fn scale(&self) -> u32 {
        if self.config.lifeguard { 1 + self.health } else { 1 }
    }

    fn worsen(&mut self, by: u32) {
        self.health = (self.health + by).min(HEALTH_MAX);
    }

    fn next_nonce(&mut self) -> u32 {
        self.nonce = self.nonce.wrapping_add(1);
        self.nonce
    }

    fn packet(
        &mut self,
        now: Instant,
        from: NodeId,
        at: SocketAddr,
        sequence: u64,
        body: &[u8],
        out: &mut Vec<Effect>,
    ) {
        let mut rest = Reader(body);
        let Ok(head) = Head::take(&mut rest) else { return };
        if from == self.me.id {
            return;
        }
        let mut sender = Sender { id: from, short: from.short(), addr: at, fresh: true };
        if let Some(slot) = self.table.find_id(&from) {
            // Only an answer that we wait for proves that its sender is there now, whatever its number; the sender may have
            // lost its count, so that is taken over.
            sender.fresh = self.table.get(slot).heard.is_new(sequence) || fault::on(Fault::ReplayTakenForFresh);
            if !sender.fresh && !self.awaits(from.short(), &head) {
                // Overtaken by far, or recorded and played again. Signed news in it are what they are; the rest is over.
                self.old_news(now, &sender, &head, &mut rest, out);
                return;
            }
            let heard = self.table.heard(slot);
            if sender.fresh {
                heard.note(sequence);
            } else {
                heard.begin_anew(sequence);
            }
        }
        match head {
            Head::Gossip { introduce } => {
                let known = self.items(now, &sender, &mut rest, true, out);
                if introduce {
                    self.introduce_to(now, Some(from), at, out);
                }
                self.answer_unknown(now, &sender, known, out);
            }
            Head::Ping { nonce, introduce, behalf } => {
                let known = self.items(now, &sender, &mut rest, true, out);
                self.on_ping(now, &sender, nonce, introduce, behalf, known, out);
            }
            Head::Ack { nonce, introduce, proof, pulse } => {
                let proof = if proof { rest.signature().ok() } else { None };
                self.on_ack(now, &sender, nonce, proof, pulse, out);
                self.items(now, &sender, &mut rest, true, out);
                self.seed_answered(&sender, nonce, out);
                if introduce {
                    self.introduce_to(now, Some(from), at, out);
                }
            }
            Head::Help { nonce, target } => {
                self.items(now, &sender, &mut rest, true, out);
                self.on_help(now, &sender, nonce, target, out);
            }
            Head::Proof { nonce } => {
                let Ok(proof) = rest.signature() else { return };
                self.on_proof(nonce, &proof, out);
                self.items(now, &sender, &mut rest, true, out);
            }
            Head::Nack { nonce } => {
                self.on_nack(now, &sender, nonce);
                self.items(now, &sender, &mut rest, true, out);
            }
            Head::Digest { bits, cell } => self.on_digest(now, &sender, bits, cell, &mut rest, out),
            Head::List { first, last, count } => self.on_list(now, &sender, first, last, count, &mut rest, out),
            Head::Want { count } => self.on_want(now, &sender, count, &mut rest, out),
            Head::Records => {
                self.items(now, &sender, &mut rest, false, out);
            }
            Head::Find { nonce, target } => self.on_find(&sender, nonce, target, out),
            Head::Near { nonce, bits } => self.on_near(now, &sender, nonce, bits, &mut rest, out),
        }
    }

    /// Takes from a packet that is not fresh what proves itself.
    fn old_news(&mut self, now: Instant, sender: &Sender, head: &Head, rest: &mut Reader, out: &mut Vec<Effect>) {
        let skipped = match head {
            Head::Gossip { .. } | Head::Ping { .. } | Head::Help { .. } | Head::Nack { .. } | Head::Records => Ok(()),
            Head::Ack { proof, .. } if *proof => rest.signature().map(drop),
            Head::Ack { .. } => Ok(()),
            Head::Proof { .. } => rest.signature().map(drop),
            Head::Digest { .. } | Head::List { .. } | Head::Want { .. } | Head::Find { .. } | Head::Near { .. } => {
                return;
            }
        };
        if skipped.is_ok() {
            self.items(now, sender, rest, *head != Head::Records, out);
        }
    }

    /// Begins a body for the member at `slot`: the head, and what is held against the receiver, so that it can answer.
    fn begin(&self, now: Instant, slot: Option<usize>, head: &Head) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        head.put(&mut body);
        if let Some(slot) = slot {
            self.warn(now, slot, &mut body);
        }
        body
    }

    /// Fills `body` with gossip and hands it out.
    fn send(&mut self, now: Instant, to: Option<NodeId>, addr: SocketAddr, mut body: Vec<u8>, out: &mut Vec<Effect>) {
        // Without a word of warning the accused reads what is said of it where others do, as SWIM has it.
        let receiver = to.filter(|_| self.config.lifeguard).map_or(0, |to| to.short());
        let period = self.config.period;
        self.rumours.fill(&mut body, self.config.body_max, receiver, |since| age(now, since, period));
        out.push(Effect::Send { to, addr, body });
    }

    /// Sends `head` to the member at `slot`, with gossip.
    fn send_to(&mut self, now: Instant, slot: usize, head: &Head, out: &mut Vec<Effect>) {
        let body = self.begin(now, Some(slot), head);
        let record = self.table.get(slot).record();
        let (id, addr) = (record.id, record.facts.addr);
        self.send(now, Some(id), addr, body, out);
    }

    /// Tells somebody who this node is.
    fn introduce_to(&mut self, now: Instant, to: Option<NodeId>, addr: SocketAddr, out: &mut Vec<Effect>) {
        let mut body = self.begin(now, None, &Head::Gossip { introduce: false });
        message::Item::Record(self.me.bytes()).put(&mut body);
        self.send(now, to, addr, body, out);
    }

    /// A stranger that did not say who it is gets a question; one that we hold for dead gets to know it.
    fn answer_unknown(&mut self, now: Instant, sender: &Sender, introduced: bool, out: &mut Vec<Effect>) {
        match self.table.find_id(&sender.id) {
            None if !introduced && self.may_be_near(&sender.addr) && !fault::on(Fault::NewcomersNotIntroduced) => {
                let body = self.begin(now, None, &Head::Gossip { introduce: true });
                out.push(Effect::Send { to: Some(sender.id), addr: sender.addr, body });
            }
            Some(slot) if !self.table.get(slot).lives() => {
                let body = self.begin(now, Some(slot), &Head::Gossip { introduce: false });
                out.push(Effect::Send { to: Some(sender.id), addr: sender.addr, body });
            }
            _ => {}
        }
    }

    /// Signs a new record of this node and tells it.
    fn announce(&mut self, incarnation: u64, facts: Facts, left: bool, urgent: bool, out: &mut Vec<Effect>) {
        if !fault::on(Fault::IncarnationNotSaved) {
            out.push(Effect::Save(Saved::Incarnation(incarnation)));
        }
        self.me = Record::sign(self.me.id, incarnation, left, facts, self.certificate.as_ref(), &self.keys);
        self.rumours.drop_charges(self.short());
        let times = self.times(urgent);
        self.rumours.push(self.short(), News::Record(self.me.clone()), times, urgent);
    }

    /// Starts the ticks of gossip if there is something for them.
    fn wake_gossip(&mut self, now: Instant) {
        if self.rumours.is_urgent() && self.gossip_due.is_none() && !fault::on(Fault::GossipNeverSent) {
            let wait = self.config.period * self.rng.below(250) / 1000;
            self.gossip_due = Some(now + wait + Duration::from_micros(1));
        }
    }

    fn gossip(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if fault::on(Fault::GossipNeverSent) {
            self.gossip_due = None;
            return;
        }
        for _ in 0..self.config.fanout {
            if !self.rumours.is_urgent() {
                break;
            }
            let fits = |slot: &table::Slot| slot.lives() && !slot.record().facts.is_hidden();
            let Some(slot) = self.pick_own(fits) else { break };
            self.send_to(now, slot, &Head::Gossip { introduce: false }, out);
        }
        self.gossip_due = self.rumours.is_urgent().then(|| now + self.config.period / 2);
    }

    fn leave(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.leaving.is_some() {
            return;
        }
        let left = !fault::on(Fault::FarewellWithoutFlag);
        self.announce(self.me.incarnation + 1, self.me.facts.clone(), left, true, out);
        if fault::on(Fault::FarewellNotTold) {
            self.rumours = Rumours::new(self.config.rumours_max);
        }
        self.probe = None;
        self.leaving = Some(10);
        self.gossip(now, out);
    }

    /// This node did not run for `late`. What it missed meanwhile proves nothing against anybody.
    fn wake(&mut self, late: Duration) {
        if fault::on(Fault::SleepNotForgiven) {
            return;
        }
        self.probe = None;
        self.relays.clear();
        let bounds = self.config.bounds(self.size());
        for (who, suspicion) in &mut self.suspicions {
            suspicion.forgive(late, &bounds);
            self.suspicions_due.push(suspicion.next(&bounds), *who);
        }
        let periods = late.as_micros() / self.config.period.as_micros().max(1) + 1;
        self.worsen(periods.min(8) as u32);
    }

    fn refresh_deadline(&mut self) {
        if fault::on(Fault::TimerNotMoved) {
            return;
        }
        let mut first = self.period_due;
        let mut take = |due: Instant| first = first.min(due);
        if let Some(probe) = &self.probe {
            take(probe.due);
        }
        if let Some(due) = self.gossip_due {
            take(due);
        }
        if let Some(due) = self.suspicions_due.first() {
            take(*due);
        }
        if self.leaving.is_none() {
            take(self.compare.due);
        }
        self.relays.iter().for_each(|relay| take(relay.due));
        self.deadline = first;
    }

    /// Where in its 30-bit count of seconds `now` is.
    fn second(now: Instant) -> u32 {
        (now.as_micros() / 1_000_000) as u32
    }
}

/// Who sent the packet at hand.
struct Sender {
    id: NodeId,
    short: u64,
    addr: SocketAddr,
    /// Whether the packet was not here before.
    fresh: bool,
}

/// Eighths of a period from `since` to `now`, at most 255.
fn age(now: Instant, since: Instant, period: Duration) -> u8 {
    let eighth = (period.as_micros() as u64 / 8).max(1);
    (now.since(since).as_micros() as u64 / eighth).min(255) as u8
}

/// The instant that was `age` eighths of a period before `now`.
fn before(now: Instant, age: u8, period: Duration) -> Instant {
    let micros = period.as_micros() as u64 / 8 * u64::from(age);
    Instant::from_micros(now.as_micros().saturating_sub(micros))
}

impl<K: Signer + Verifier> Machine for Swim<K> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Packet { from, at, sequence, body } => self.packet(now, from, at, sequence, &body, out),
            Input::Join(seeds) => {
                self.seeds = seeds;
                self.seeds.truncate(SEEDS_MAX);
                self.ask_seeds(now, out);
            }
            Input::Recall(records) => {
                for record in records {
                    let short = record.id.short();
                    self.admit(now, record, None, out);
                    self.vouch(short);
                }
                self.compare.hurry(now + self.config.period);
                let times = self.times(true);
                self.rumours.push(self.short(), News::Record(self.me.clone()), times, true);
            }
            Input::Facts(facts) if facts != self.me.facts && self.leaving.is_none() => {
                let step = u64::from(!fault::on(Fault::FactsWithoutNewIncarnation));
                self.announce(self.me.incarnation + step, facts, false, false, out);
            }
            Input::Facts(_) => {}
            Input::Pulse(pulse) => self.pulse = pulse,
            Input::Leave => self.leave(now, out),
        }
        self.wake_gossip(now);
        self.refresh_deadline();
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if now < self.deadline {
            return;
        }
        let late = now.since(self.deadline);
        if self.config.lifeguard && late > self.config.period / 2 {
            self.wake(late);
        }
        self.tick_probe(now, out);
        self.tick_relays(now, out);
        self.tick_suspicions(now, out);
        if self.gossip_due.is_some_and(|due| due <= now) {
            self.gossip(now, out);
        }
        if self.compare.due <= now && self.leaving.is_none() {
            self.compare(now, out);
        }
        self.wake_gossip(now);
        self.refresh_deadline();
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }
}

#[cfg(test)]
mod tests;
