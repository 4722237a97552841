//! Time and hosts.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use tutu_node::{
    kit::{Instant, Machine, NodeId, Rng, Signer, UnixTime, rng::mix, wheel::Wheel},
    mesh::swim::{Event, Facts, Record, cells},
    node::{Ask, Birth, Config, Effect, Input, Node, Reading},
};

use crate::{
    actors::{Liar, Sent, Tap},
    check::Check,
    disk::Disk,
    keys::Keys,
    net::{self, Net},
    plan::{Op, Plan},
};

/// Where nodes listen.
pub const PORT: u16 = 7000;
/// Packets that wait at a host that stalls: what an operating system keeps for a socket (212,992 bytes) in packets of 400.
const INBOX: usize = 512;
/// Events whose memory is asked for at a time: as many as a core can wait for at once, and what they need fits next to it.
const AHEAD: usize = 32;
/// Date at which worlds begin, in seconds of Unix time.
const DATE: u64 = 1_700_000_000;

/// A world that runs.
pub struct World {
    /// What was planned.
    pub plan: Plan,
    /// Hosts, by number.
    pub hosts: Vec<Host>,
    /// Links.
    pub net: Net,
    /// What must hold, and what was seen.
    pub check: Check,
    /// Sums.
    pub count: Count,
    now: u64,
    wheel: Wheel<What>,
    next_op: usize,
    calmed: bool,
    trace: u64,
    /// Events until the memory of the next ones is asked for.
    foreseen: usize,
    out: Vec<Effect>,
    liars: BTreeMap<u32, Liar>,
    /// What liars took from the lines.
    tap: Tap,
    /// What hosts will hear when the step at hand is done.
    later: Vec<(u32, Input)>,
    rng: Rng,
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

/// One machine, with or without a node on it.
pub struct Host {
    /// The node, while it runs.
    pub node: Option<Box<Node<Keys>>>,
    /// Its id through all its lives.
    pub id: NodeId,
    /// What it keeps.
    pub disk: Disk,
    /// Whether it left and will not come back.
    pub left: bool,
    /// Microsecond until which it does nothing.
    pub stalled: u64,
    /// Microsecond at which this life began.
    born: u64,
    lives: u32,
    /// What its clock makes of a million microseconds.
    pace: u64,
    /// Earliest of its timers in the wheel.
    timer: u64,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Seconds by which its date is behind when it next starts.
    behind: u64,
}

enum What {
    Packet {
        from: Port,
        to: Port,
        bytes: Vec<u8>,
    },
    /// A liar does what it does once a period.
    Plot(u32),
    Timer {
        host: u32,
        life: u32,
    },
    Stop {
        host: u32,
        life: u32,
    },
}

/// A host and a port of it.
type Port = (u32, u16);

impl World {
    /// A world as it begins.
    pub fn new(plan: Plan) -> Self {
        let mut world = Self {
            hosts: Vec::with_capacity(plan.nodes as usize),
            net: Net::new(plan.net.clone(), plan.seed),
            check: Check::new(&plan),
            count: Count::default(),
            now: 0,
            wheel: Wheel::default(),
            next_op: 0,
            calmed: false,
            trace: mix(plan.seed),
            foreseen: 0,
            out: Vec::new(),
            liars: BTreeMap::new(),
            tap: Tap::default(),
            later: Vec::new(),
            rng: Rng::new(mix(plan.seed ^ 0x776f_726c)),
            plan,
        };
        for n in 0..world.plan.nodes {
            world.add_host(n);
        }
        if world.plan.warm && world.plan.cell_bits > 0 {
            world.acquaint_cells(world.plan.cell_bits);
        } else if world.plan.warm {
            world.acquaint();
        }
        for n in world.plan.honest()..world.plan.nodes {
            world.liars.insert(n, Liar::new(n, world.plan.honest(), &world.plan.attacks, world.plan.seed));
            let phase = u64::from(world.rng.below(1_000_000));
            world.wheel.push(Instant::from_micros(5_000_000 + phase), What::Plot(n));
        }
        for n in 0..world.plan.nodes {
            if !world.plan.warm && n > 0 {
                world.hear(n, Input::Ask { from: 0, ask: Ask::Join(vec![net::addr(0, PORT)]) });
            }
            world.arm(n);
        }
        world
    }

    /// The second that it is.
    pub fn second(&self) -> u64 {
        self.now / 1_000_000
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Two worlds with the same hash went the same way.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Runs to the end of the plan, or to the first violation.
    pub fn run(&mut self) {
        let mended = self.plan.ops.iter().filter(|op| op.1 == Op::Mend).map(|op| op.0 / 1_000_000).next_back();
        if let (Some(within), Some(mended)) = (self.plan.promise.heals_within, mended) {
            for second in mended + 1..=mended + within {
                self.run_until(second);
                if self.check.wrong(&self.hosts).is_none() {
                    self.check.seen.healed = Some(second - mended);
                    break;
                }
            }
            if self.check.seen.healed.is_none()
                && let Some(wrong) = self.check.wrong(&self.hosts)
            {
                self.check.broken(self.now, format!("{within} s after the repair {wrong}"));
            }
        }
        self.run_until(self.plan.seconds);
        if self.check.violations.is_empty() {
            let promise = self.plan.promise;
            self.check.at_the_end(self.now, &self.hosts, promise);
        }
    }

    /// Runs until `second`, or to the first violation.
    pub fn run_until(&mut self, second: u64) {
        let end = second * 1_000_000;
        while self.check.violations.is_empty() {
            let op = self.plan.ops.get(self.next_op).map_or(u64::MAX, |op| op.0);
            let calm = if self.calmed { u64::MAX } else { self.plan.calm * 1_000_000 };
            let until = op.min(calm).min(end);
            match self.wheel.pop(Instant::from_micros(until)) {
                Some((at, what)) => {
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
                }
                None => {
                    self.now = until;
                    if until == end {
                        return;
                    } else if until == op {
                        let op = self.plan.ops[self.next_op].1;
                        self.next_op += 1;
                        self.operate(op);
                    } else {
                        self.calm();
                    }
                }
            }
        }
    }

    /// From now on links are perfect, but for walls.
    fn calm(&mut self) {
        self.calmed = true;
        let walled_ppm = self.plan.net.walled_ppm;
        self.net.config = net::Config { walled_ppm, ..Default::default() };
        if !self.net.is_whole() {
            self.check.mends(self.now);
            self.net.mend();
        }
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
        let host = |n: u32| self.hosts.get(n as usize);
        for (to, from) in next {
            sum ^= host(*to).map_or(0, |host| host.timer) ^ host(*from).map_or(0, |host| host.id.short());
        }
        let node = |n: u32| host(n)?.node.as_ref();
        for node in next.iter().filter_map(|(to, _)| node(*to)) {
            sum ^= node.swim().glance();
        }
        for (to, from) in next {
            if let (Some(node), Some(from)) = (node(*to), host(*from).filter(|_| to != from)) {
                sum ^= node.swim().glance_at(from.id.short());
            }
        }
        std::hint::black_box(sum);
    }

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
                let it = &mut self.hosts[host as usize];
                if it.lives != life || it.timer > now {
                    return;
                }
                it.timer = u64::MAX;
                self.note(u64::from(host));
                self.wake(host);
                self.arm(host);
            }
            What::Stop { host, life } => {
                if self.hosts[host as usize].lives == life {
                    self.stop(host);
                }
            }
        }
    }

    /// Folds something into the hash of the trace.
    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ self.now ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }

    fn arrive(&mut self, from: Port, to: Port, bytes: Vec<u8>) {
        let now = self.now;
        let sender = net::addr(from.0, from.1);
        if to.1 != PORT {
            if let Some(liar) = self.liars.get_mut(&to.0) {
                let answers = liar.hear(to.1, sender, &bytes);
                answers.into_iter().for_each(|sent| self.carry(sent));
            }
            return;
        }
        let Some(host) = self.hosts.get_mut(to.0 as usize) else { return };
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
        self.wheel.push(Instant::from_micros(self.now + period), What::Plot(n));
        let (Some(liar), Some(node)) = (self.liars.get_mut(&n), &self.hosts[n as usize].node) else { return };
        let sent = liar.plot(node, &self.tap);
        sent.into_iter().for_each(|sent| self.carry(sent));
    }

    /// Timers that are due, and what waited while the host stalled.
    fn wake(&mut self, n: u32) {
        let now = self.now;
        let host = &mut self.hosts[n as usize];
        if host.stalled > now {
            return;
        }
        self.tick(n);
        while let Some((from, bytes)) = self.hosts[n as usize].inbox.pop_front() {
            self.hear(n, Input::Packet { from, bytes });
        }
    }

    fn tick(&mut self, n: u32) {
        let local = self.hosts[n as usize].local(self.now);
        let mut out = std::mem::take(&mut self.out);
        if let Some(node) = &mut self.hosts[n as usize].node
            && node.deadline().is_some_and(|due| due <= local)
        {
            node.tick(local, &mut out);
            if node.deadline().is_some_and(|due| due <= local) {
                self.check.broken(self.now, format!("after a tick at {local} the deadline of {n} is past"));
            }
        }
        self.out = self.perform(n, out);
    }

    fn hear(&mut self, n: u32, input: Input) {
        let local = self.hosts[n as usize].local(self.now);
        let mut out = std::mem::take(&mut self.out);
        if let Some(node) = &mut self.hosts[n as usize].node {
            if node.deadline().is_some_and(|due| due <= local) {
                node.tick(local, &mut out);
            }
            node.handle(local, input, &mut out);
        }
        self.out = self.perform(n, out);
    }

    /// Puts the node's next timer into the wheel, if it is earlier than what is there.
    fn arm(&mut self, n: u32) {
        let host = &mut self.hosts[n as usize];
        let Some(due) = host.node.as_ref().and_then(|node| node.deadline()) else { return };
        let due = host.world(due).max(host.stalled);
        if due < host.timer {
            host.timer = due;
            let life = host.lives;
            self.wheel.push(Instant::from_micros(due), What::Timer { host: n, life });
        }
    }

    /// Does what a node asks for, and hands the empty list back.
    fn perform(&mut self, n: u32, mut out: Vec<Effect>) -> Vec<Effect> {
        // A step is a transaction: what is saved is saved before anything leaves.
        for effect in &out {
            if let Effect::Save(record) = effect {
                self.hosts[n as usize].disk.save(record);
                if let tutu_node::node::Kept::Incarnation(incarnation) = record {
                    self.check.lives(self.now, n, *incarnation, self.hosts[n as usize].disk.is_honest());
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
            self.check.broken(self.now, format!("{from} sent a packet of {} bytes", packet.len()));
        }
        let sent = Sent { from: net::addr(from, PORT), to, bytes: packet };
        if !self.liars.is_empty() && !self.liars.contains_key(&from) {
            self.tap.take(sent.from, sent.to, &sent.bytes);
        }
        self.carry(sent);
    }

    /// Puts a packet on the line. Where it comes from is what it says.
    fn carry(&mut self, sent: Sent) {
        let (Some(from), Some(to)) = (net::host(&sent.from), net::host(&sent.to)) else { return };
        let [first, second] = self.net.carry(self.now, from, to);
        let (from, to) = ((from, sent.from.port()), (to, sent.to.port()));
        if let Some(after) = second {
            let bytes = sent.bytes.clone();
            self.wheel.push(Instant::from_micros(self.now + after), What::Packet { from, to, bytes });
        }
        if let Some(after) = first {
            self.wheel.push(Instant::from_micros(self.now + after), What::Packet { from, to, bytes: sent.bytes });
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
        self.check.event(self.now, n, &event, &self.hosts, &self.net);
    }

    /// All who hold an equal record hold the same one. The first to make or read it keeps it for the others.
    fn share(&mut self, n: u32, record: &Arc<Record>) {
        let Some(subject) = self.check.host_of(&record.id) else { return };
        let own = self.hosts[subject as usize].node.as_ref().map(|node| node.swim().me().clone());
        if let (Some(own), Some(node)) = (own, &mut self.hosts[n as usize].node) {
            node.swim_mut().share(&own);
        }
    }

    /// A host behind a wall lost a relay and takes another.
    fn find_relay(&mut self, n: u32, lost: u64) {
        let Some(node) = &self.hosts[n as usize].node else { return };
        let mut facts = node.swim().me().facts.clone();
        let Some(relay) = facts.relays.iter_mut().find(|relay| **relay == lost) else { return };
        let sample = (0..8).filter_map(|_| node.swim().sample(&mut self.rng)).find(|record| !record.facts.is_hidden());
        *relay = sample.map_or(0, |record| record.id.short());
        self.later.push((n, Input::Ask { from: 0, ask: Ask::Facts(facts) }));
    }

    fn operate(&mut self, op: Op) {
        self.note(0x6f70);
        match op {
            Op::Crash(n) => self.stop(n),
            Op::Start(n) => self.start(n),
            Op::Leave(n) => {
                if self.hosts[n as usize].node.is_some() {
                    self.check.leaves(self.now, n);
                    self.hosts[n as usize].left = true;
                    self.hear(n, Input::Ask { from: 0, ask: Ask::Leave });
                    let life = self.hosts[n as usize].lives;
                    self.wheel.push(Instant::from_micros(self.now + 10_000_000), What::Stop { host: n, life });
                    self.arm(n);
                }
            }
            Op::Stall(n, ms) => {
                let until = self.now + u64::from(ms) * 1000;
                let host = &mut self.hosts[n as usize];
                if host.node.is_some() && host.stalled <= self.now {
                    host.stalled = until;
                    host.timer = until;
                    let life = host.lives;
                    self.check.stalls(n, until);
                    self.wheel.push(Instant::from_micros(until), What::Timer { host: n, life });
                }
            }
            Op::Facts(n) => {
                let facts = Facts { region: format!("r{}", self.rng.below(1 << 30)), ..self.facts(n) };
                self.hear(n, Input::Ask { from: 0, ask: Ask::Facts(facts) });
                self.arm(n);
            }
            Op::Cut(from, to) => {
                self.check.disturbs();
                self.net.cut(from, to);
            }
            Op::Part(seed) => {
                self.check.disturbs();
                self.net.part(seed);
            }
            Op::Mend => {
                self.check.mends(self.now);
                self.net.mend();
            }
            Op::Forget(n, count) => self.hosts[n as usize].disk.forget_after(count),
            Op::Tear(n) => self.hosts[n as usize].disk.tear(),
            Op::Clock(n, seconds) => self.hosts[n as usize].behind = seconds.into(),
        }
    }

    fn stop(&mut self, n: u32) {
        let host = &mut self.hosts[n as usize];
        if host.node.take().is_some() {
            host.inbox.clear();
            host.stalled = 0;
            let left = host.left;
            self.check.stops(self.now, n, left);
        }
    }

    fn start(&mut self, n: u32) {
        if n as usize >= self.hosts.len() || self.hosts[n as usize].node.is_some() {
            return;
        }
        self.hosts[n as usize].left = false;
        self.bear(n);
        let open: Vec<u32> = (0..self.plan.nodes).filter(|other| !self.net.is_walled(*other)).collect();
        let mut seed = || open[self.rng.below(open.len() as u32) as usize];
        let seeds = (0..5).map(|_| net::addr(seed(), PORT)).collect();
        self.hear(n, Input::Ask { from: 0, ask: Ask::Join(seeds) });
        self.arm(n);
        self.check.starts(self.now, n);
    }

    fn add_host(&mut self, n: u32) {
        let id = Keys::new(self.plan.real_keys, self.plan.seed, n.into()).key();
        let drift = 1 + 2 * self.plan.drift_ppm;
        let pace = 1_000_000 + u64::from(self.rng.below(drift)) - u64::from(self.plan.drift_ppm);
        self.hosts.push(Host {
            node: None,
            id,
            disk: Disk::default(),
            left: false,
            stalled: 0,
            born: 0,
            lives: 0,
            pace,
            timer: u64::MAX,
            inbox: VecDeque::new(),
            behind: 0,
        });
        self.check.knows(n, id);
        self.bear(n);
    }

    /// A life begins.
    fn bear(&mut self, n: u32) {
        let keys = Keys::new(self.plan.real_keys, self.plan.seed, n.into());
        let (facts, now) = (self.facts(n), self.now);
        let host = &mut self.hosts[n as usize];
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

    fn facts(&self, n: u32) -> Facts {
        let mut facts = Facts::at(net::addr(n, PORT));
        facts.region = format!("region-{}", n % 8);
        facts.memory.0 = 8_000_000_000;
        facts.models.insert(u64::from(n % 50));
        if self.net.is_walled(n) {
            let mut open = (0..self.plan.nodes)
                .map(|step| (n + 1 + step * 7) % self.plan.nodes)
                .filter(|other| !self.net.is_walled(*other));
            let mut relay = || {
                let relay = open.next().unwrap_or(0);
                Keys::new(self.plan.real_keys, self.plan.seed, relay.into()).key().short()
            };
            facts.relays = [relay(), relay()];
        }
        facts
    }

    /// Everybody knows its cell and the delegates to it, as after a long time.
    fn acquaint_cells(&mut self, bits: u8) {
        let record = |host: &Host| Some(host.node.as_ref()?.swim().me().clone());
        let mut all: Vec<(u64, usize, Arc<Record>)> = (0..self.hosts.len())
            .filter_map(|n| record(&self.hosts[n]).map(|record| (cells::place(&record), n, record)))
            .collect();
        all.sort_unstable_by_key(|entry| (entry.0, entry.1));
        for cell in 0..1_u64 << bits {
            let here = |entry: &(u64, usize, Arc<Record>)| entry.0 >> (64 - u32::from(bits));
            let first = all.partition_point(|entry| here(entry) < cell);
            let last = all.partition_point(|entry| here(entry) <= cell);
            let (own, size) = (&all[first..last], last - first);
            let mut delegates = Vec::new();
            for level in 0..u32::from(bits) {
                // Those who share so many first bits with the cell, and not the next, lie side by side.
                let sibling = (cell >> (u32::from(bits) - 1 - level) ^ 1) << (u32::from(bits) - 1 - level);
                let until = sibling + (1 << (u32::from(bits) - 1 - level));
                let from = all.partition_point(|entry| here(entry) < sibling);
                let beyond = &all[from..from + all[from..].partition_point(|entry| here(entry) < until)];
                let threshold = cells::threshold(bits, size, level);
                let chosen = beyond.iter().filter(|entry| cells::score(cell, bits, entry.0) < threshold);
                delegates.extend(chosen.take(self.plan.contacts).map(|entry| entry.2.clone()));
            }
            let records: Vec<_> = own.iter().map(|entry| entry.2.clone()).collect();
            let mut whole: Option<usize> = None;
            for (_, n, _) in own {
                let Some(mut node) = self.hosts[*n].node.take() else { continue };
                match &whole {
                    None => node.swim_mut().know(&records),
                    Some(first) => {
                        node.swim_mut().know_like(self.hosts[*first].node.as_ref().expect("just put back").swim())
                    }
                }
                node.swim_mut().settle(bits, &delegates);
                self.hosts[*n].node = Some(node);
                whole.get_or_insert(*n);
            }
        }
    }

    /// Everybody knows everybody, as after a long time.
    fn acquaint(&mut self) {
        let records: Vec<_> =
            self.hosts.iter().filter_map(|host| Some(host.node.as_ref()?.swim().me().clone())).collect();
        let Some((first, others)) = self.hosts.split_first_mut() else { return };
        let Some(first) = &mut first.node else { return };
        first.swim_mut().know(&records);
        for host in others {
            if let Some(node) = &mut host.node {
                node.swim_mut().know_like(first.swim());
            }
        }
    }
}

impl Host {
    /// What the host's clock says at microsecond `now`.
    fn local(&self, now: u64) -> Instant {
        // A world lasts 100 days at most: 2^63 of these products.
        Instant::from_micros((now - self.born) * self.pace / 1_000_000)
    }

    /// The first microsecond at which the host's clock says `local` or more.
    fn world(&self, local: Instant) -> u64 {
        self.born + local.as_micros().saturating_mul(1_000_000).div_ceil(self.pace)
    }
}
