//! Time and hosts.

use std::sync::Arc;

use tutu_node::{
    kit::{Signer, rng::mix},
    mesh::swim::{Facts, Record, cells},
    node::{Ask, Input, Node},
};

use crate::{
    actors::Liar,
    check::Check,
    host::Host,
    keys::Keys,
    names::Names,
    net,
    part::{Count, Part, Told, What},
    plan::{Op, Plan},
    together,
};

/// Where nodes listen.
pub const PORT: u16 = 7000;
/// Microseconds after which parts that run side by side are judged.
const TURN: u64 = 1_000_000;

/// A world that runs.
pub struct World {
    /// What was planned.
    pub plan: Arc<Plan>,
    /// What must hold, and what was seen.
    pub check: Check,
    /// Hosts by number, part by part.
    parts: Vec<Part>,
    next_op: usize,
    calmed: bool,
}

impl World {
    /// A world as it begins.
    pub fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        let ids = (0..plan.nodes).map(|n| Keys::new(plan.real_keys, plan.seed, n.into()).key()).collect();
        let names = Arc::new(Names::new(ids));
        let part = |number| Part::new(plan.clone(), names.clone(), number);
        let parts = (0..plan.parts).map(part).collect();
        let mut world = Self { check: Check::new(&plan, names), parts, next_op: 0, calmed: false, plan: plan.clone() };
        for n in 0..plan.nodes {
            world.check.knows();
            world.part(n).add_host(n);
            world.listen();
        }
        if plan.warm && plan.cell_bits > 0 {
            world.acquaint_cells(plan.cell_bits);
        } else if plan.warm {
            world.acquaint();
        }
        for n in plan.honest()..plan.nodes {
            let part = world.part(n);
            part.liars.insert(n, Liar::new(n, plan.honest(), &plan.attacks, plan.seed));
            let phase = u64::from(part.rng.below(1_000_000));
            part.put(5_000_000 + phase, What::Plot(n));
        }
        for n in 0..plan.nodes {
            if !plan.warm && n > 0 {
                world.part(n).hear(n, Input::Ask { from: 0, ask: Ask::Join(vec![plan.addr(0)]) });
            }
            world.part(n).arm(n);
        }
        world.exchange();
        world
    }

    /// The second that it is.
    pub fn second(&self) -> u64 {
        self.now() / 1_000_000
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.now)
    }

    /// Two worlds with the same hash went the same way.
    pub fn trace(&self) -> u64 {
        let join = |sum, part: &Part| mix(sum ^ part.trace());
        self.parts.split_first().map_or(0, |(first, others)| others.iter().fold(first.trace(), join))
    }

    /// Sums over all parts.
    pub fn count(&self) -> Count {
        let mut sum = Count::default();
        for part in &self.parts {
            sum.events += part.count.events;
            sum.packets += part.count.packets;
            sum.bytes += part.count.bytes;
        }
        sum
    }

    /// All hosts, by number.
    pub fn hosts(&self) -> Vec<&Host> {
        hosts_of(&self.parts)
    }

    /// Runs to the end of the plan, or to the first violation.
    pub fn run(&mut self) {
        let mended = self.plan.ops.iter().filter(|op| op.1 == Op::Mend).map(|op| op.0 / 1_000_000).next_back();
        if let (Some(within), Some(mended)) = (self.plan.promise.heals_within, mended) {
            for second in mended + 1..=mended + within {
                self.run_until(second);
                if self.check.wrong(self.now(), &self.hosts()).is_none() {
                    self.check.seen.healed = Some(second - mended);
                    break;
                }
            }
            if self.check.seen.healed.is_none()
                && let Some(wrong) = self.check.wrong(self.now(), &self.hosts())
            {
                self.check.broken(self.now(), format!("{within} s after the repair {wrong}"));
            }
        }
        self.run_until(self.plan.seconds);
        if self.check.violations.is_empty() {
            let promise = self.plan.promise;
            let now = self.now();
            self.check.at_the_end(now, &hosts_of(&self.parts), promise);
        }
    }

    /// Runs until `second`, or to the first violation.
    pub fn run_until(&mut self, second: u64) {
        let end = second * 1_000_000;
        while self.check.violations.is_empty() {
            let op = self.plan.ops.get(self.next_op).map_or(u64::MAX, |op| op.0);
            let calm = if self.calmed { u64::MAX } else { self.plan.calm * 1_000_000 };
            let until = op.min(calm).min(end);
            if self.goes_on(until) {
                continue;
            }
            if until == end {
                return;
            } else if until == op {
                let op = self.plan.ops[self.next_op].1;
                self.next_op += 1;
                self.operate(op);
                self.exchange();
            } else {
                self.calm();
            }
        }
    }

    /// Something happens at or before `until` and is judged: one thing, or where there are several parts, all of a while.
    fn goes_on(&mut self, until: u64) -> bool {
        if let [only] = &mut self.parts[..] {
            let goes_on = only.step(until);
            self.listen();
            return goes_on;
        }
        let (now, turn) = (self.now(), (self.now() + TURN).min(until));
        together::run(&mut self.parts, turn);
        self.exchange();
        now < turn
    }

    /// What went from part to part arrives there, and what was told is judged.
    fn exchange(&mut self) {
        for from in 0..self.parts.len() {
            for to in 0..self.parts.len() {
                let away = std::mem::take(&mut self.parts[from].away[to]);
                away.into_iter().for_each(|(at, what)| self.parts[to].put(at, what));
            }
            // All who hold an equal record hold the same one.
            for (n, subject) in std::mem::take(&mut self.parts[from].foreign) {
                let own = self.part(subject).hosts[subject].node.as_ref().map(|node| node.swim().me().clone());
                if let (Some(own), Some(node)) = (own, &mut self.part(n).hosts[n].node) {
                    node.swim_mut().share(&own);
                }
            }
        }
        self.listen();
    }

    /// The judge hears what was told, in the order of time.
    fn listen(&mut self) {
        let [first, others @ ..] = &mut self.parts[..] else { return };
        if !others.is_empty() {
            others.iter_mut().for_each(|part| first.told.append(&mut part.told));
            first.told.sort_by_key(|word| word.at);
        }
        for word in first.told.drain(..) {
            match word.told {
                Told::Event(event) => self.check.event(word.at, word.host, &event, &first.net),
                Told::Lives { incarnation, honest_disk } => {
                    self.check.lives(word.at, word.host, incarnation, honest_disk);
                }
                Told::Stops => self.check.stops(word.at, word.host),
                Told::Broken(what) => self.check.broken(word.at, what),
            }
        }
    }

    fn part(&mut self, n: u32) -> &mut Part {
        let part = self.plan.part_of(n);
        &mut self.parts[part as usize]
    }

    /// From now on links are perfect, but for walls.
    fn calm(&mut self) {
        self.calmed = true;
        let walled_ppm = self.plan.net.walled_ppm;
        let whole = self.parts.iter().all(|part| part.net.is_whole());
        for part in &mut self.parts {
            part.net.config = net::Config { walled_ppm, ..Default::default() };
            part.net.mend();
        }
        if !whole {
            self.check.mends(self.now());
        }
    }

    fn operate(&mut self, op: Op) {
        let now = self.now();
        self.parts[0].note(0x6f70);
        match op {
            Op::Crash(n) => self.part(n).stop(n),
            Op::Start(n) => self.start(n),
            Op::Leave(n) => self.leave(n),
            Op::Stall(n, ms) => {
                let until = now + u64::from(ms) * 1000;
                let part = self.part(n);
                let host = &mut part.hosts[n];
                if host.node.is_some() && host.stalled <= now {
                    (host.stalled, host.timer) = (until, until);
                    let life = host.lives;
                    part.put(until, What::Timer { host: n, life });
                    self.check.stalls(n, until);
                }
            }
            Op::Facts(n) => {
                let part = self.part(n);
                let facts = Facts { region: format!("r{}", part.rng.below(1 << 30)), ..part.facts(n) };
                part.hear(n, Input::Ask { from: 0, ask: Ask::Facts(facts) });
                part.arm(n);
            }
            Op::Cut(from, to) => {
                self.check.disturbs();
                self.parts.iter_mut().for_each(|part| part.net.cut(from, to));
            }
            Op::Part(seed) => {
                self.check.disturbs();
                self.parts.iter_mut().for_each(|part| part.net.part(seed));
            }
            Op::Mend => {
                self.check.mends(now);
                self.parts.iter_mut().for_each(|part| part.net.mend());
            }
            Op::Forget(n, count) => self.part(n).hosts[n].disk.forget_after(count),
            Op::Tear(n) => self.part(n).hosts[n].disk.tear(),
            Op::Clock(n, seconds) => self.part(n).hosts[n].behind = seconds.into(),
        }
    }

    fn leave(&mut self, n: u32) {
        let now = self.now();
        if self.part(n).hosts[n].node.is_none() {
            return;
        }
        self.check.leaves(now, n);
        let part = self.part(n);
        part.hear(n, Input::Ask { from: 0, ask: Ask::Leave });
        let life = part.hosts[n].lives;
        part.put(now + 10_000_000, What::Stop { host: n, life });
        part.arm(n);
    }

    fn start(&mut self, n: u32) {
        if n >= self.plan.nodes || self.part(n).hosts[n].node.is_some() {
            return;
        }
        let (now, nodes) = (self.now(), self.plan.nodes);
        let plan = self.plan.clone();
        let part = self.part(n);
        part.bear(n);
        let open: Vec<u32> = (0..nodes).filter(|other| !part.net.is_walled(*other)).collect();
        let mut seed = || open[part.rng.below(open.len() as u32) as usize];
        let seeds = (0..5).map(|_| plan.addr(seed())).collect();
        part.hear(n, Input::Ask { from: 0, ask: Ask::Join(seeds) });
        part.arm(n);
        self.listen();
        self.check.starts(now, n);
    }

    fn take_node(&mut self, n: u32) -> Option<Box<Node<Keys>>> {
        self.part(n).hosts[n].node.take()
    }

    /// Everybody knows its cell and the delegates to it, as after a long time.
    fn acquaint_cells(&mut self, bits: u8) {
        let record = |host: &Host| Some(host.node.as_ref()?.swim().me().clone());
        let hosts = self.hosts();
        let mut all: Vec<(u64, u32, Arc<Record>)> = (0..)
            .zip(&hosts)
            .filter_map(|(n, host)| record(host).map(|record| (cells::place(&record), n, record)))
            .collect();
        all.sort_unstable_by_key(|entry| (entry.0, entry.1));
        for cell in 0..1_u64 << bits {
            let here = |entry: &(u64, u32, Arc<Record>)| entry.0 >> (64 - u32::from(bits));
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
            // The first of a cell comes to know it, and the others do as it did.
            let mut first: Option<(u32, Box<Node<Keys>>)> = None;
            for (_, n, _) in own {
                let Some(mut node) = self.take_node(*n) else { continue };
                match &first {
                    None => node.swim_mut().know(&records),
                    Some((_, first)) => node.swim_mut().know_like(first.swim()),
                }
                node.swim_mut().settle(bits, &delegates);
                match first {
                    None => first = Some((*n, node)),
                    Some(_) => self.part(*n).hosts[*n].node = Some(node),
                }
            }
            if let Some((n, node)) = first {
                self.part(n).hosts[n].node = Some(node);
            }
        }
    }

    /// Everybody knows everybody, as after a long time.
    fn acquaint(&mut self) {
        let record = |host: &&Host| Some(host.node.as_ref()?.swim().me().clone());
        let records: Vec<_> = self.hosts().iter().filter_map(record).collect();
        let Some(mut first) = self.take_node(0) else { return };
        first.swim_mut().know(&records);
        for n in 1..self.plan.nodes {
            if let Some(node) = &mut self.part(n).hosts[n].node {
                node.swim_mut().know_like(first.swim());
            }
        }
        self.part(0).hosts[0].node = Some(first);
    }
}

fn hosts_of(parts: &[Part]) -> Vec<&Host> {
    parts.iter().flat_map(|part| part.hosts.iter()).collect()
}
