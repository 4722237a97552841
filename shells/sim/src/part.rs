//! Some of the hosts of a world, and all that happens to them. A small world is one part; of a large one each thread runs a
//! part, and they meet at each millisecond, which no packet is faster than.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::{Index, IndexMut},
    sync::Arc,
};

use tutu_node::{
    kit::{Instant, Machine, Rng, UnixTime, rng::mix, wheel::Wheel},
    mesh::swim::{Event, Facts, Record},
    node::{Ask, Birth, Config, Effect, Input, Node, Reading},
};

use crate::{
    actors::{Liar, Sent, Tap},
    host::Host,
    keys::Keys,
    names::Names,
    net::{self, Net},
    plan::Plan,
    world::PORT,
};

/// Packets that wait at a host that stalls: what an operating system keeps for a socket (212,992 bytes) in packets of 400.
const INBOX: usize = 512;
/// Events whose memory is asked for at a time: as many as a core can wait for at once, and what they need fits next to it.
const AHEAD: usize = 32;
/// Date at which worlds begin, in seconds of Unix time.
const DATE: u64 = 1_700_000_000;

/// Hosts side by side, by number.
pub struct Span {
    /// The number of the first.
    first: u32,
    all: Vec<Host>,
}

/// A part of a world.
pub struct Part {
    plan: Arc<Plan>,
    names: Arc<Names>,
    number: u32,
    /// Its hosts.
    pub hosts: Span,
    /// Links from them.
    pub net: Net,
    /// Sums.
    pub count: Count,
    /// Microsecond that it is.
    pub now: u64,
    /// Chance that is no node's.
    pub rng: Rng,
    /// What liars do here; they are all in one part.
    pub liars: BTreeMap<u32, Liar>,
    /// What was told since the judge last listened, in order.
    pub told: Vec<Word>,
    /// What goes to hosts of each part, this one excepted: when, and what.
    pub away: Vec<Vec<(u64, What)>>,
    /// Who made or read a record that a host of another part holds already.
    pub foreign: Vec<(u32, u32)>,
    wheel: Wheel<What>,
    trace: u64,
    /// Events until the memory of the next ones is asked for.
    foreseen: usize,
    out: Vec<Effect>,
    /// What liars took from the lines.
    tap: Tap,
    /// What hosts will hear when the step at hand is done.
    later: Vec<(u32, Input)>,
}

/// Sums over a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Things that happened: packets, timers.
    pub events: u64,
    /// Packets sent.
    pub packets: u64,
    /// Bytes of them, with 28 of UDP and IPv4 each.
    pub bytes: u64,
}

/// What the judge hears.
pub struct Word {
    /// Microsecond at which it was said.
    pub at: u64,
    /// By which host.
    pub host: u32,
    /// What.
    pub told: Told,
}

/// What happened to a host.
pub enum Told {
    /// It came to think something.
    Event(Event),
    /// It signs for `incarnation` from now on.
    Lives {
        /// Which.
        incarnation: u64,
        /// Whether its disk kept all that it was given.
        honest_disk: bool,
    },
    /// It stopped.
    Stops,
    /// What must not be.
    Broken(String),
}

/// What waits for its time.
pub enum What {
    /// A packet is under way.
    Packet {
        /// Where it came from.
        from: Port,
        /// Where it goes.
        to: Port,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// A liar does what it does once a period.
    Plot(u32),
    /// A timer of a host, in the life in which it was set.
    Timer {
        /// Whose.
        host: u32,
        /// In which life.
        life: u32,
    },
    /// A host that said farewell stops.
    Stop {
        /// Which.
        host: u32,
        /// In which life.
        life: u32,
    },
}

/// A host and a port of it.
type Port = (u32, u16);

impl Part {
    /// Part `number` of a world, without hosts yet.
    pub fn new(plan: Arc<Plan>, names: Arc<Names>, number: u32) -> Self {
        let seed = plan.seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            hosts: Span { first: plan.first_of(number), all: Vec::new() },
            net: Net::new(plan.net.clone(), plan.seed, number),
            count: Count::default(),
            now: 0,
            rng: Rng::new(mix(seed ^ 0x776f_726c)),
            liars: BTreeMap::new(),
            told: Vec::new(),
            away: (0..plan.parts).map(|_| Vec::new()).collect(),
            foreign: Vec::new(),
            wheel: Wheel::default(),
            trace: mix(seed),
            foreseen: 0,
            out: Vec::new(),
            tap: Tap::default(),
            later: Vec::new(),
            number,
            plan,
            names,
        }
    }

    /// Two parts with the same hash went the same way.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// What is due first, if it is at or before `until`, happens; otherwise it is `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let Some((at, what)) = self.wheel.pop(Instant::from_micros(until)) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at.as_micros());
        if self.foreseen == 0 {
            self.foresee();
        }
        self.foreseen = self.foreseen.saturating_sub(1);
        self.happen(what);
        while let Some((n, input)) = self.later.pop() {
            self.hear(n, input);
            self.arm(n);
        }
        true
    }

    /// Something will happen at `at`: here, unless it is a packet for another part.
    pub fn put(&mut self, at: u64, what: What) {
        let part = match &what {
            What::Packet { to, .. } => self.plan.part_of(to.0),
            What::Plot(_) | What::Timer { .. } | What::Stop { .. } => self.number,
        };
        if part == self.number {
            self.wheel.push(Instant::from_micros(at), what);
        } else {
            self.away[part as usize].push((at, what));
        }
    }

    /// One host more.
    pub fn add_host(&mut self, n: u32) {
        let drift = 1 + 2 * self.plan.drift_ppm;
        let pace = 1_000_000 + u64::from(self.rng.below(drift)) - u64::from(self.plan.drift_ppm);
        self.hosts.all.push(Host::new(self.names.id(n), pace));
        self.bear(n);
    }

    fn tell(&mut self, host: u32, told: Told) {
        self.told.push(Word { at: self.now, host, told });
    }

    /// One thing happens.
    fn happen(&mut self, what: What) {
        self.count.events += 1;
        match what {
            What::Packet { from, to, bytes } => {
                self.note(mix(u64::from(from.0) << 32 | u64::from(to.0)) ^ bytes.len() as u64);
                self.arrive(from, to, bytes);
            }
            What::Plot(n) => {
                self.note(u64::from(n) << 16);
                self.plot(n);
            }
            What::Timer { host, life } => {
                let now = self.now;
                let it = &mut self.hosts[host];
                if it.lives != life || it.timer > now {
                    return;
                }
                it.timer = u64::MAX;
                self.note(u64::from(host));
                self.wake(host);
                self.arm(host);
            }
            What::Stop { host, life } => {
                if self.hosts[host].lives == life {
                    self.stop(host);
                }
            }
        }
    }

    fn arrive(&mut self, from: Port, to: Port, bytes: Vec<u8>) {
        let now = self.now;
        let sender = if from.1 == PORT { self.plan.addr(from.0) } else { net::addr(from.0, from.1) };
        if to.1 != PORT {
            if let Some(liar) = self.liars.get_mut(&to.0) {
                let answers = liar.hear(to.1, sender, &bytes);
                answers.into_iter().for_each(|sent| self.carry(sent));
            }
            return;
        }
        let Some(host) = self.hosts.get_mut(to.0) else { return };
        if host.node.is_none() {
            return;
        }
        if host.stalled > now {
            if host.inbox.len() < INBOX {
                host.inbox.push_back((sender, bytes));
            }
            return;
        }
        self.hear(to.0, Input::Packet { from: sender, bytes });
        self.arm(to.0);
    }

    /// A liar has its turn.
    fn plot(&mut self, n: u32) {
        let period = self.plan.swim.period.as_micros() as u64;
        self.put(self.now + period, What::Plot(n));
        let (Some(liar), Some(node)) = (self.liars.get_mut(&n), &self.hosts[n].node) else { return };
        let sent = liar.plot(node, &self.tap);
        sent.into_iter().for_each(|sent| self.carry(sent));
    }

    /// Timers that are due, and what waited while the host stalled.
    fn wake(&mut self, n: u32) {
        let now = self.now;
        let host = &mut self.hosts[n];
        if host.stalled > now {
            return;
        }
        self.tick(n);
        while let Some((from, bytes)) = self.hosts[n].inbox.pop_front() {
            self.hear(n, Input::Packet { from, bytes });
        }
    }

    fn tick(&mut self, n: u32) {
        let local = self.hosts[n].local(self.now);
        let mut out = std::mem::take(&mut self.out);
        if let Some(node) = &mut self.hosts[n].node
            && node.deadline().is_some_and(|due| due <= local)
        {
            node.tick(local, &mut out);
            if node.deadline().is_some_and(|due| due <= local) {
                self.tell(n, Told::Broken(format!("after a tick at {local} the deadline of {n} is past")));
            }
        }
        self.out = self.perform(n, out);
    }

    /// A node takes something in, and what it asks for is done.
    pub fn hear(&mut self, n: u32, input: Input) {
        let local = self.hosts[n].local(self.now);
        let mut out = std::mem::take(&mut self.out);
        if let Some(node) = &mut self.hosts[n].node {
            if node.deadline().is_some_and(|due| due <= local) {
                node.tick(local, &mut out);
            }
            node.handle(local, input, &mut out);
        }
        self.out = self.perform(n, out);
    }

    /// Puts the node's next timer into the wheel, if it is earlier than what is there.
    pub fn arm(&mut self, n: u32) {
        let host = &mut self.hosts[n];
        let Some(due) = host.node.as_ref().and_then(|node| node.deadline()) else { return };
        let due = host.world(due).max(host.stalled);
        if due < host.timer {
            host.timer = due;
            let life = host.lives;
            self.put(due, What::Timer { host: n, life });
        }
    }

    /// Does what a node asks for, and hands the empty list back.
    fn perform(&mut self, n: u32, mut out: Vec<Effect>) -> Vec<Effect> {
        // A step is a transaction: what is saved is saved before anything leaves.
        for effect in &out {
            if let Effect::Save(record) = effect {
                self.hosts[n].disk.save(record);
                if let tutu_node::node::Kept::Incarnation(incarnation) = record {
                    let honest_disk = self.hosts[n].disk.is_honest();
                    self.tell(n, Told::Lives { incarnation: *incarnation, honest_disk });
                }
            }
        }
        let mut ran = None;
        for effect in out.drain(..) {
            match effect {
                Effect::Send { to, packet } => self.send(n, to, packet),
                Effect::Tell(event) => self.told(n, event),
                Effect::Run(job) => ran = Some(Input::Ran { job, done: true }),
                // Trade has worlds of its own.
                Effect::Work(_) | Effect::Traded(_) | Effect::Save(_) | Effect::Reply { .. } | Effect::Fetch(_) => {}
            }
        }
        if let Some(ran) = ran {
            self.out = out;
            self.hear(n, ran);
            out = std::mem::take(&mut self.out);
        }
        out
    }

    fn send(&mut self, from: u32, to: SocketAddr, packet: Vec<u8>) {
        self.count.packets += 1;
        self.count.bytes += packet.len() as u64 + 28;
        if packet.len() > tutu_node::wire::packet::PACKET_MAX {
            self.tell(from, Told::Broken(format!("{from} sent a packet of {} bytes", packet.len())));
        }
        let sent = Sent { from: self.plan.addr(from), to, bytes: packet };
        if !self.liars.is_empty() && !self.liars.contains_key(&from) {
            self.tap.take(sent.from, sent.to, &sent.bytes);
        }
        self.carry(sent);
    }

    /// Puts a packet on the line. Where it comes from is what it says.
    fn carry(&mut self, sent: Sent) {
        let (Some(from), Some(to)) = (self.plan.host(&sent.from), self.plan.host(&sent.to)) else { return };
        let [first, second] = self.net.carry(self.now, from.0, to.0);
        if let Some(after) = second {
            let bytes = sent.bytes.clone();
            self.put(self.now + after, What::Packet { from, to, bytes });
        }
        if let Some(after) = first {
            self.put(self.now + after, What::Packet { from, to, bytes: sent.bytes });
        }
    }

    fn told(&mut self, n: u32, event: Event) {
        if matches!(event, Event::Pulse(..)) {
            return;
        }
        if let Event::Joined(record) | Event::Changed(record) = &event {
            self.share(n, record);
        }
        if let Event::Died { id, .. } | Event::Left(id) = &event
            && self.net.is_walled(n)
        {
            self.find_relay(n, id.short());
        }
        self.note(u64::from(n) << 8 | 7);
        self.tell(n, Told::Event(event));
    }

    /// All who hold an equal record hold the same one. The first to make or read it keeps it for the others.
    fn share(&mut self, n: u32, record: &Arc<Record>) {
        let Some(subject) = self.names.host_of(&record.id) else { return };
        match self.hosts.get(subject) {
            Some(host) => {
                let own = host.node.as_ref().map(|node| node.swim().me().clone());
                if let (Some(own), Some(node)) = (own, &mut self.hosts[n].node) {
                    node.swim_mut().share(&own);
                }
            }
            None => self.foreign.push((n, subject)),
        }
    }

    /// A host behind a wall lost a relay and takes another.
    fn find_relay(&mut self, n: u32, lost: u64) {
        let Some(node) = &self.hosts[n].node else { return };
        let mut facts = node.swim().me().facts.clone();
        let Some(relay) = facts.relays.iter_mut().find(|relay| **relay == lost) else { return };
        let sample = (0..8).filter_map(|_| node.swim().sample(&mut self.rng)).find(|record| !record.facts.is_hidden());
        *relay = sample.map_or(0, |record| record.id.short());
        self.later.push((n, Input::Ask { from: 0, ask: Ask::Facts(facts) }));
    }

    /// A host stops without a word.
    pub fn stop(&mut self, n: u32) {
        let host = &mut self.hosts[n];
        if host.node.take().is_some() {
            host.inbox.clear();
            host.stalled = 0;
            self.tell(n, Told::Stops);
        }
    }

    /// A life begins.
    pub fn bear(&mut self, n: u32) {
        let keys = Keys::new(self.plan.real_keys, self.plan.seed, n.into());
        let (facts, now) = (self.facts(n), self.now);
        let host = &mut self.hosts[n];
        host.lives += 1;
        (host.born, host.timer) = (now, u64::MAX);
        let birth = Birth {
            keys,
            id: host.id,
            certificate: None,
            facts,
            seed: mix(self.plan.seed ^ mix(u64::from(n) << 32 | u64::from(host.lives))),
            at: UnixTime((DATE + now / 1_000_000).saturating_sub(host.behind)),
        };
        // The engine is asked seldom: it is not what these worlds are about.
        let config = Config { swim: self.plan.swim.clone(), check_engine: None, directory: None, trade: None };
        let mut out = std::mem::take(&mut self.out);
        let mut node = Node::restore(config, birth, host.disk.records(), &mut out);
        let load = Reading::Load { percent: (n % 100) as u8, price: 1000 };
        node.handle(Instant::default(), Input::Sensed(load), &mut out);
        host.node = Some(Box::new(node));
        self.out = self.perform(n, out);
    }

    /// What a host says of itself.
    pub fn facts(&self, n: u32) -> Facts {
        let mut facts = Facts::at(self.plan.addr(n));
        facts.region = format!("region-{}", n % 8);
        facts.memory.0 = 8_000_000_000;
        facts.models.insert(u64::from(n % 50));
        if self.net.is_walled(n) {
            let mut open = (0..self.plan.nodes)
                .map(|step| (n + 1 + step * 7) % self.plan.nodes)
                .filter(|other| !self.net.is_walled(*other));
            let mut relay = || {
                let relay = open.next().unwrap_or(0);
                self.names.short(relay)
            };
            facts.relays = [relay(), relay()];
        }
        facts
    }

    /// Reads what the next events are going to need, of all of them at once. The tables of a large world fit no cache, so
    /// that nine tenths of its time went into waiting for memory, which answers many questions in the time of one.
    fn foresee(&mut self) {
        let mut sum = 0;
        let mut next = [(0, 0); AHEAD];
        let whose = self.wheel.ahead().take(AHEAD).filter_map(|what| match what {
            What::Packet { from, to, bytes } => {
                sum ^= u64::from(bytes.first().copied().unwrap_or(0));
                Some((to.0, from.0))
            }
            What::Timer { host, .. } => Some((*host, *host)),
            What::Plot(_) | What::Stop { .. } => None,
        });
        self.foreseen = next.iter_mut().zip(whose).map(|(slot, whose)| *slot = whose).count();
        let next = &next[..self.foreseen];
        let host = |n: u32| self.hosts.get(n);
        for (to, from) in next {
            sum ^= host(*to).map_or(0, |host| host.timer) ^ self.names.short(*from);
        }
        let node = |n: u32| host(n)?.node.as_ref();
        for node in next.iter().filter_map(|(to, _)| node(*to)) {
            sum ^= node.swim().glance();
        }
        for (to, from) in next {
            if let (Some(node), true) = (node(*to), to != from) {
                sum ^= node.swim().glance_at(self.names.short(*from));
            }
        }
        std::hint::black_box(sum);
    }

    /// Folds something into the hash of the trace.
    pub fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ self.now ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }
}

impl Span {
    /// Host `n`, if it is one of them.
    pub fn get(&self, n: u32) -> Option<&Host> {
        self.all.get(n.checked_sub(self.first)? as usize)
    }

    /// Host `n`, if it is one of them.
    pub fn get_mut(&mut self, n: u32) -> Option<&mut Host> {
        self.all.get_mut(n.checked_sub(self.first)? as usize)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.all.iter()
    }
}

impl Index<u32> for Span {
    type Output = Host;

    fn index(&self, n: u32) -> &Host {
        &self.all[(n - self.first) as usize]
    }
}

impl IndexMut<u32> for Span {
    fn index_mut(&mut self, n: u32) -> &mut Host {
        &mut self.all[(n - self.first) as usize]
    }
}
