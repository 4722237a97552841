//! Hosts, lines, time.

use std::collections::BTreeMap;

use tutu_node::{
    economy::{
        governance::{
            Key as Parameter, Proposal, Value,
            vote::{Right, Snapshot},
        },
        ledger::Fold,
        tiers::{self, Market, Order, Size, Tier, Work},
    },
    kit::{Class, Credits, Instant, Machine, NodeId, Ppm, Rng, Signature, Signer, UnixTime, rng::mix, wheel::Wheel},
    mesh::swim::{self, Facts},
    node::{
        self, Answer, Ask, Birth, Config, Effect, Input, Kept, Node,
        route::TRADE,
        trade::{self, Job, Line, Trade, Wish, Worked, message::Message, vote::Ballot},
    },
    trust::{reputation::Standing, verify::sequential::Calibration},
    wire::{
        packet::{self, ENVELOPE},
        parts::{self, Parts},
    },
    work::schedule::worker::{End, Key},
};

use super::{
    NIGHT_S, Plan, Proposed,
    cheat::{Cheat, Said},
    check::Check,
    engine::{self, Place, SPEED},
};
use crate::{
    keys::Keys,
    net::{self, Net},
};

const PORT: u16 = 7000;
const DATE: u64 = 1_700_000_000;
/// Models that there are; each host has two of them.
const MODELS: u64 = 3;
/// Tokens that an answer may have.
const TOKENS: u64 = 256;
/// What everybody wishes.
const ORDER: Order =
    Order { work: Work::Inference, size: Size::Medium, class: Class::Standard, tokens_in: 100, tokens_out: TOKENS };
/// How urgent: mostly so, some less; the least urgent is interrupted.
const CLASSES: [Class; 8] = [
    Class::Standard,
    Class::Standard,
    Class::Standard,
    Class::Standard,
    Class::Standard,
    Class::Standard,
    Class::Batch,
    Class::Spot,
];
/// The most that it may cost, in parts of a million of the usual price.
const PRICE_MAX: u32 = 3_000_000;
/// The key with which most ask, and one with a quota and a hard cap.
const OPEN_KEY: u64 = 1;
const CAPPED_KEY: u64 = 2;
/// What the second may spend: some answers.
const CAP: Credits = Credits(3 * Credits::ONE.0 / 2);
/// Those that change what a host says.
const BENT: [Cheat; 10] = [
    Cheat::NoPay,
    Cheat::Garbler,
    Cheat::Fork,
    Cheat::Keeper,
    Cheat::Praise,
    Cheat::Dawdle,
    Cheat::Crowd,
    Cheat::Usher,
    Cheat::Hider,
    Cheat::Thief,
];
/// Seconds at the end in which nothing new is wished.
const CALM: u64 = 60;

/// A market that runs.
pub struct World {
    /// What was planned.
    pub plan: Plan,
    /// What must hold, and was seen.
    pub check: Check,
    /// Sums.
    pub count: Count,
    hosts: Vec<Host>,
    index: BTreeMap<NodeId, u32>,
    net: Net,
    wheel: Wheel<What>,
    now: u64,
    rng: Rng,
    trace: u64,
    calibration: Calibration,
    /// Whole messages of cheating hosts, before they are bent; and of those that they hear.
    bent: Parts,
    overheard: Parts,
    sequence: u64,
}

/// Sums over a market.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Packets, timers, blocks, wishes.
    pub events: u64,
    /// Packets sent.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Wishes of honest hosts, and those that were done.
    pub wished: u64,
    /// See there.
    pub done: u64,
    /// Wishes of honest hosts that could not be paid for.
    pub short: u64,
    /// Wishes of honest hosts that the quota of a key did not let in.
    pub over_quota: u64,
    /// Wishes of honest hosts that were wanted no more.
    pub cancelled: u64,
    /// Runs that went on after something more urgent.
    pub resumed: u64,
    /// Wishes of honest hosts that were given up for other reasons.
    pub gave_up: u64,
    /// Answers that honest hosts had, and those of them with blocks of another model.
    pub answers: u64,
    /// See there.
    pub false_answers: u64,
    /// The same in the second half.
    pub late_answers: u64,
    /// See there.
    pub late_false: u64,
    /// Second in which an honest host first knew an honest newcomer, of each pair that came to that.
    pub known: BTreeMap<(u32, u32), u64>,
    /// Seconds from an honest wish to its answer.
    pub waits: Vec<f64>,
    /// Lines that hosts keep.
    pub lines: u64,
    /// Powers lost.
    pub crashes: u64,
    /// Runs that began on an engine that hung, and runs that one which had hung before ended.
    pub hung: u64,
    /// See there.
    pub mended: u64,
}

struct Host {
    node: Box<Node<Keys>>,
    id: NodeId,
    born: u64,
    lives: u32,
    /// Whether it left for good.
    gone: bool,
    timer: u64,
    lines: Vec<Line>,
    running: BTreeMap<Key, Run>,
    /// Tokens that there were when a task first came here.
    firsts: BTreeMap<Key, u32>,
    wishes: BTreeMap<u64, u64>,
}

struct Run {
    from: u32,
    tokens: u32,
    target: u32,
    turn: u64,
}

enum What {
    Packet { from: u32, to: u32, bytes: Vec<u8> },
    Timer { host: u32, life: u32 },
    Block { host: u32, life: u32, key: Key, turn: u64 },
    Audited { host: u32, life: u32, worked: Worked },
    Checked { host: u32, life: u32, job: node::Job },
    Say { host: u32, life: u32, to: u32, message: Message },
    Wish(u32),
    Cancel { host: u32, life: u32, from: u64 },
    Crash(u32),
    Leave(u32),
    Come(u32),
    Propose,
    TakeBack,
    Night,
}

impl World {
    /// A market as it begins: everybody knows who is there.
    pub fn new(plan: Plan) -> Self {
        let ids: Vec<NodeId> = (0..plan.nodes).map(|n| Keys::new(false, plan.seed, n.into()).key()).collect();
        let net = net::Config { loss_ppm: plan.loss_ppm, ..net::Config::default() };
        let mut world = Self {
            check: Check::new(&plan, &ids),
            count: Count::default(),
            hosts: Vec::new(),
            index: ids.iter().copied().zip(0..).collect(),
            net: Net::new(net, plan.seed, 0),
            wheel: Wheel::default(),
            now: 0,
            rng: Rng::new(mix(plan.seed ^ 0x6d61_726b)),
            trace: mix(plan.seed),
            calibration: engine::calibration(),
            bent: Parts::default(),
            overheard: Parts::default(),
            sequence: 1 << 62,
            plan,
        };
        for (n, id) in (0..).zip(ids) {
            world.bear(n, id);
        }
        world.acquaint();
        for n in 0..world.plan.nodes {
            world.arm(n);
            let at = 20_000_000 + u64::from(world.rng.below(world.plan.wish_every * 1000)) * 1000;
            world.wheel.push(Instant::from_micros(at), What::Wish(n));
        }
        if let Some(proposed) = world.plan.proposal {
            let then = if proposed == Proposed::TakenBack { What::TakeBack } else { What::Night };
            world.wheel.push(Instant::from_micros(120_000_000), What::Propose);
            world.wheel.push(Instant::from_micros(180_000_000), then);
        }
        for (n, second) in &world.plan.leaves {
            world.wheel.push(Instant::from_micros(second * 1_000_000), What::Leave(*n));
        }
        for (n, second) in world.plan.comes.clone() {
            world.leave(n);
            world.wheel.push(Instant::from_micros(second * 1_000_000), What::Come(n));
        }
        if world.plan.crashes {
            for (at, n) in
                (0..world.plan.seconds.saturating_sub(2 * CALM) / 60).zip((0..world.plan.nodes).cycle().skip(3))
            {
                world.wheel.push(Instant::from_micros((60 + at * 60) * 1_000_000), What::Crash(n));
            }
        }
        world
    }

    /// Two markets with the same hash went the same way.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// By the clocks of all hosts.
    pub fn date(&self) -> UnixTime {
        UnixTime(DATE + self.now / 1_000_000)
    }

    /// The keys of a host.
    pub fn keys(&self, host: u32) -> Keys {
        Keys::new(false, self.plan.seed, host.into())
    }

    /// What the log of a host comes to.
    pub fn fold(&self, host: u32) -> Option<&Fold> {
        self.trade(host).map(Trade::account)
    }

    /// What a host trades.
    pub fn trade(&self, host: u32) -> Option<&Trade<Keys>> {
        self.hosts.get(host as usize)?.node.trade()
    }

    /// Whether a host left for good.
    pub fn is_gone(&self, host: u32) -> bool {
        self.hosts[host as usize].gone
    }

    /// What must be done at the end is.
    pub fn ends(&mut self) {
        let there: std::collections::BTreeSet<NodeId> =
            self.hosts.iter().filter(|host| !host.gone).map(|host| host.id).collect();
        self.check.ends(self.now, |id| there.contains(id));
    }

    /// Honest hosts that are there and whose account nobody can certify any more: more than f of those who watch it left.
    pub fn stranded(&self) -> u32 {
        let here = |n: &u32| self.plan.is_honest(*n) && !self.is_gone(*n);
        let sets = (0..self.plan.nodes).filter(here).filter_map(|n| self.trade(n)?.set());
        let left = |id: &NodeId| self.host_of(id).is_some_and(|n| self.is_gone(n));
        sets.filter(|set| set.members().iter().filter(|id| left(id)).count() > usize::from(set.faults())).count() as u32
    }

    /// Who has this id.
    pub fn host_of(&self, id: &NodeId) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// The id of a host.
    pub fn id(&self, host: u32) -> Option<NodeId> {
        self.hosts.get(host as usize).map(|host| host.id)
    }

    /// What may be asked for with `key`: requests a minute, and credits in all.
    pub const fn quota(key: u64) -> Option<(usize, Credits)> {
        if key == CAPPED_KEY { Some((5, CAP)) } else { None }
    }

    /// What the longest task costs, and one block of it, in micro-credits, at the most that somebody pays.
    pub fn prices(&self) -> (u64, u64) {
        let usual = tiers::price(&ORDER, &Market::default()).map_or(0, |price| price.0);
        let task = usual * u64::from(PRICE_MAX) / 1_000_000;
        (task, task.div_ceil(TOKENS / 32))
    }

    /// Runs to the end of the plan, or to the first violation.
    pub fn run(&mut self) {
        let end = Instant::from_micros(self.plan.seconds * 1_000_000);
        while self.check.violations.is_empty() {
            let Some((at, what)) = self.wheel.pop(end) else { break };
            self.now = self.now.max(at.as_micros());
            self.count.events += 1;
            self.happen(what);
        }
        self.count.lines = self.hosts.iter().map(|host| host.lines.len() as u64).sum();
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ self.now ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Packet { to, .. } if self.is_gone(to) => {}
            What::Packet { from, to, bytes } => {
                self.note(mix(u64::from(from) << 32 | u64::from(to)) ^ bytes.len() as u64);
                self.arrive(from, to, bytes);
            }
            What::Timer { host, life } => {
                let it = &mut self.hosts[host as usize];
                if it.lives != life || it.timer > self.now {
                    return;
                }
                it.timer = u64::MAX;
                self.note(u64::from(host));
                self.hear(host, None);
            }
            What::Block { host, life, key, turn } => {
                if self.hosts[host as usize].lives == life {
                    self.note(0x626c ^ u64::from(host));
                    self.write(host, key, turn);
                }
            }
            What::Audited { host, life, worked } => {
                if self.hosts[host as usize].lives == life {
                    self.hear(host, Some(Input::Worked(worked)));
                }
            }
            What::Say { host, life, to, message } => {
                if self.hosts[host as usize].lives == life {
                    self.say(host, to, &message);
                }
            }
            What::Checked { host, life, job } => {
                if self.hosts[host as usize].lives == life {
                    let done = self.plan.hangs_until(host, self.now).is_none();
                    self.hear(host, Some(Input::Ran { job, done }));
                }
            }
            What::Wish(host) | What::Crash(host) if self.is_gone(host) => {}
            What::Leave(host) => self.leave(host),
            What::Come(host) => {
                self.begin_again(host);
                self.wish(host);
            }
            What::Wish(host) => self.wish(host),
            What::Cancel { host, life, from } => {
                if self.hosts[host as usize].lives == life {
                    self.hear(host, Some(Input::Ask { from, ask: Ask::Trade(trade::Ask::Cancel) }));
                }
            }
            What::Crash(host) => self.crash(host),
            What::Propose => self.propose(),
            What::TakeBack => {
                let under_way = self.trade(0).and_then(|trade| {
                    let (id, proposal) = trade.governance().open().next()?;
                    Some(Ballot::Cancel { id: *id, signature: proposal.cancel(&self.keys(0)) })
                });
                under_way.into_iter().for_each(|ballot| self.vote(0, ballot));
            }
            What::Night => self.night(),
        }
    }

    fn wish(&mut self, n: u32) {
        let every = self.plan.wish_every;
        let next = self.now + u64::from(1 + self.rng.below(2 * every * 1000)) * 1000;
        self.wheel.push(Instant::from_micros(next), What::Wish(n));
        if self.now + CALM * 1_000_000 > self.plan.seconds * 1_000_000 {
            return;
        }
        self.look_around(n);
        let wish = Wish {
            model: 1 + u64::from(self.rng.below(MODELS as u32)),
            order: Order { class: CLASSES[self.rng.below(CLASSES.len() as u32) as usize], ..ORDER },
            price_max: PRICE_MAX,
            prefix: match self.plan.beginnings {
                Some(count) => u64::from(self.rng.below(count)),
                None => self.rng.next(),
            },
            wait: core::time::Duration::from_secs(30),
            key: if self.rng.below(6) == 0 { CAPPED_KEY } else { OPEN_KEY },
        };
        let from = self.rng.next();
        if self.rng.below(40) == 0 {
            let at = Instant::from_micros(self.now + 500_000 + u64::from(self.rng.below(3_000_000)));
            self.wheel.push(at, What::Cancel { host: n, life: self.hosts[n as usize].lives, from });
        }
        self.hosts[n as usize].wishes.insert(from, self.now);
        self.count.wished += u64::from(self.plan.is_honest(n));
        self.hear(n, Some(Input::Ask { from, ask: Ask::Trade(trade::Ask::Work(wish)) }));
    }

    /// Notes whom a host knows by now.
    fn look_around(&mut self, n: u32) {
        let honest = (self.plan.founders..self.plan.nodes).filter(|other| *other != n && self.plan.is_honest(*other));
        let Some(trade) = self.trade(n).filter(|_| self.plan.is_honest(n)) else { return };
        let knows = |other: &u32| self.id(*other).is_some_and(|id| trade.reputation().standing(&id) == Standing::Known);
        let known: Vec<u32> = honest.filter(knows).collect();
        for other in known {
            self.count.known.entry((n, other)).or_insert(self.now / 1_000_000);
        }
    }

    /// The first host wants tasks to be given up later; everybody may vote whom it trusts, and with as much as that. It is no judge
    /// of itself, and takes the mean.
    fn propose(&mut self) {
        let Some(trade) = self.trade(0) else { return };
        let pool = Credits(1 << 40);
        let right = |host: &Host| Right { voter: host.id, locked: pool, trust: trade.reputation().trust(&host.id) };
        let mut rights: Vec<Right> = self.hosts.iter().map(right).collect();
        let others: u64 = rights[1..].iter().map(|right| right.trust).sum();
        rights[0].trust = others / (rights.len() as u64 - 1).max(1);
        let total = others + rights[0].trust;
        let snapshot = Snapshot::new(rights, total, pool).expect("everybody is there once");
        let proposal = Proposal {
            author: self.hosts[0].id,
            title: "longer tasks".into(),
            key: Parameter::TaskTimeoutSeconds,
            value: Value::Seconds(600),
            bands: Vec::new(),
            made: self.date(),
            snapshot: snapshot.digest(),
            signature: Signature([0; 64]),
        };
        let proposal = proposal.sign(&self.keys(0));
        self.vote(0, Ballot::Propose { proposal, snapshot, deposit: None });
    }

    fn vote(&mut self, n: u32, ballot: Ballot) {
        let from = self.rng.next();
        self.hear(n, Some(Input::Ask { from, ask: Ask::Trade(trade::Ask::Vote(Box::new(ballot))) }));
    }

    /// All power goes, and comes back days later.
    fn night(&mut self) {
        self.now += NIGHT_S * 1_000_000;
        (0..self.plan.nodes).for_each(|n| self.bear(n, self.hosts[n as usize].id));
        self.acquaint();
        (0..self.plan.nodes).for_each(|n| self.arm(n));
    }

    /// The power goes, and comes back at once: what was not kept is gone.
    fn crash(&mut self, n: u32) {
        self.count.crashes += 1;
        self.begin_again(n);
    }

    fn leave(&mut self, n: u32) {
        let host = &mut self.hosts[n as usize];
        (host.gone, host.lives) = (true, host.lives + 1);
    }

    fn begin_again(&mut self, n: u32) {
        self.bear(n, self.hosts[n as usize].id);
        let records: Vec<_> = self.hosts.iter().map(|host| host.node.swim().me().clone()).collect();
        self.hosts[n as usize].node.swim_mut().know(&records);
        self.arm(n);
    }

    fn bear(&mut self, n: u32, id: NodeId) {
        let lives = self.hosts.get(n as usize).map_or(0, |host| host.lives) + 1;
        let birth = Birth {
            keys: self.keys(n),
            id,
            certificate: None,
            facts: facts(n),
            seed: mix(self.plan.seed ^ mix(u64::from(n) << 32 | u64::from(lives))),
            at: self.date(),
        };
        let swim = swim::Config { flat_max: usize::MAX, ..swim::Config::default() };
        let trade = Some(Box::new(self.config(n)));
        let check_engine = Config::default().check_engine.filter(|_| self.plan.checks);
        let config = Config { swim, check_engine, directory: None, trade };
        let lines = self.hosts.get_mut(n as usize).map(|host| std::mem::take(&mut host.lines)).unwrap_or_default();
        let mut out = Vec::new();
        let kept = lines.iter().cloned().map(Kept::Line).chain([Kept::Incarnation(u64::from(lives))]);
        let node = Box::new(Node::restore(config, birth, kept, &mut out));
        let host = Host {
            node,
            id,
            born: self.now,
            lives,
            gone: false,
            timer: u64::MAX,
            lines,
            running: BTreeMap::new(),
            firsts: BTreeMap::new(),
            wishes: BTreeMap::new(),
        };
        match self.hosts.get_mut(n as usize) {
            Some(old) => *old = host,
            None => self.hosts.push(host),
        }
        self.perform(n, out);
    }

    fn config(&self, n: u32) -> trade::Config {
        let seeds = (0..self.plan.founders).map(|n| (self.keys(n).key(), 1)).collect();
        let mut config = trade::Config {
            faults: 2,
            seeds,
            calibration: Some(self.calibration.clone()),
            keys: vec![
                tiers::Key { number: OPEN_KEY, tier: Tier::Enterprise, cap: None },
                tiers::Key { number: CAPPED_KEY, tier: Tier::Free, cap: Some(CAP) },
            ],
            models: models(n).map(|model| (model, Size::Medium)).to_vec(),
            ..trade::Config::default()
        };
        config.lent.pool = self.plan.pool;
        config.worker.rate = SPEED as u32;
        config.worker.slots = self.plan.slots.unwrap_or(config.worker.slots);
        if let Some(term) = self.plan.term_s {
            let [term, away] = [term, term / 2].map(core::time::Duration::from_secs);
            config.renew = trade::RenewConfig { term, away, ..config.renew };
        }
        if !self.plan.withholds {
            config.withhold.gain = Ppm(0);
        }
        if !self.plan.appeals {
            config.dispute.jurors_max = 0;
        }
        if !self.plan.steals {
            config.worker.idle = None;
        }
        config
    }

    fn acquaint(&mut self) {
        let records: Vec<_> = self.hosts.iter().map(|host| host.node.swim().me().clone()).collect();
        for host in &mut self.hosts {
            host.node.swim_mut().know(&records);
        }
    }

    fn arrive(&mut self, from: u32, to: u32, bytes: Vec<u8>) {
        if self.plan.ever(to, Cheat::Blind)
            && let Some((sender, message)) = self.overhear(to, &bytes)
            && let Some(vote) = self.blind(to, &message)
            && let Some(sender) = self.host_of(&sender)
        {
            return self.say(to, sender, &vote);
        }
        self.hear(to, Some(Input::Packet { from: net::addr(from, PORT), bytes }));
    }

    /// What a packet of trade says, if it is the last of its message.
    fn overhear(&mut self, to: u32, bytes: &[u8]) -> Option<(NodeId, Message)> {
        let envelope = packet::open(bytes).ok().filter(|envelope| envelope.street == TRADE)?;
        let body = &bytes[..bytes.len() - ENVELOPE];
        let pair = NodeId::number(mix(u64::from(to)) ^ envelope.from.short());
        let whole = self.overheard.take(pair, body)?;
        Some((envelope.from, Message::decode(&whole).ok()?))
    }

    fn hear(&mut self, n: u32, input: Option<Input>) {
        let host = &mut self.hosts[n as usize];
        let local = Instant::from_micros(self.now - host.born);
        let mut out = Vec::new();
        if host.node.deadline().is_some_and(|due| due <= local) {
            host.node.tick(local, &mut out);
        }
        if let Some(input) = input {
            host.node.handle(local, input, &mut out);
        }
        if host.node.deadline().is_some_and(|due| due <= local) && self.check.violations.is_empty() {
            // One more tick is owed to what the input made due at once.
            host.node.tick(local, &mut out);
        }
        self.perform(n, out);
        self.arm(n);
    }

    fn arm(&mut self, n: u32) {
        let host = &mut self.hosts[n as usize];
        let Some(due) = host.node.deadline() else { return };
        let due = (host.born + due.as_micros()).max(self.now + 1);
        if due < host.timer {
            host.timer = due;
            self.wheel.push(Instant::from_micros(due), What::Timer { host: n, life: host.lives });
        }
    }

    fn perform(&mut self, n: u32, out: Vec<Effect>) {
        let me = self.hosts[n as usize].id;
        if let Some(set) = self.hosts[n as usize].node.trade().and_then(Trade::set) {
            self.check.watched_by(me, set.members(), set.quorum());
        }
        // A step is a transaction: what is saved is saved before anything leaves.
        for effect in &out {
            match effect {
                Effect::Save(Kept::Line(line)) => self.keep(n, line),
                Effect::Traded(event) => {
                    self.note(0x7464 ^ u64::from(n) << 16);
                    self.check.told(self.now, me, event);
                }
                _ => {}
            }
        }
        for effect in out {
            match effect {
                Effect::Send { to, packet } => {
                    let Some(to) = net::host(&to) else { continue };
                    self.send(n, to, packet);
                }
                Effect::Work(job) => self.work(n, job),
                Effect::Run(job) => {
                    // One that hangs says nothing; a second later that is an answer, too.
                    let life = self.hosts[n as usize].lives;
                    self.wheel.push(Instant::from_micros(self.now + 1_000_000), What::Checked { host: n, life, job });
                }
                Effect::Reply { to, answer: Answer::Traded(answer) } => self.answered(n, to, answer),
                _ => {}
            }
        }
    }

    fn keep(&mut self, n: u32, line: &Line) {
        let host = &mut self.hosts[n as usize];
        host.lines.push(line.clone());
        if line.from != host.id {
            return;
        }
        if let Ok(Message::Show { entries, .. }) = Message::decode(&line.message) {
            entries.iter().for_each(|(signed, _)| self.check.wrote(self.now, &signed.entry));
        }
    }

    fn answered(&mut self, n: u32, to: u64, answer: trade::Answer) {
        let Some(since) = self.hosts[n as usize].wishes.remove(&to) else { return };
        let (me, honest) = (self.hosts[n as usize].id, self.plan.is_honest(n));
        match answer {
            trade::Answer::Worked { task, tokens, .. } => {
                self.check.answered(self.now, me, task, tokens);
                if honest {
                    self.count.done += 1;
                    self.count.waits.push((self.now - since) as f64 / 1e6);
                }
            }
            trade::Answer::Unable { why: trade::Why::Short { .. }, .. } => self.count.short += u64::from(honest),
            trade::Answer::Unable { why: trade::Why::Quota(_), .. } => self.count.over_quota += u64::from(honest),
            trade::Answer::Unable { why: trade::Why::Cancelled, .. } => self.count.cancelled += u64::from(honest),
            trade::Answer::Unable { .. } => self.count.gave_up += u64::from(honest),
            trade::Answer::Voted(_) => {}
        }
    }

    fn send(&mut self, from: u32, to: u32, bytes: Vec<u8>) {
        let street = packet::open(&bytes).map(|envelope| envelope.street);
        if street != Ok(TRADE) {
            return self.carry(from, to, bytes);
        }
        let body = &bytes[..bytes.len() - ENVELOPE];
        if BENT.iter().any(|cheat| self.plan.ever(from, *cheat)) {
            let pair = NodeId::number(u64::from(from) << 32 | u64::from(to));
            let Some(message) = self.bent.take(pair, body).and_then(|whole| Message::decode(&whole).ok()) else {
                return;
            };
            for Said { to, after, message } in self.bend(from, to, message) {
                if after == 0 {
                    self.say(from, to, &message);
                } else {
                    let what = What::Say { host: from, life: self.hosts[from as usize].lives, to, message };
                    self.wheel.push(Instant::from_micros(self.now + after), what);
                }
            }
            return;
        }
        self.listen(from, body);
        self.carry(from, to, bytes);
    }

    /// Votes are short enough for one packet.
    fn listen(&mut self, from: u32, body: &[u8]) {
        if body.get(11) == Some(&17)
            && let Ok(Message::Vote { statement, .. }) = Message::decode(&body[10..])
        {
            let voter = self.hosts[from as usize].id;
            self.check.voted(self.now, voter, &statement);
        }
    }

    /// A host that cheats says something with its own keys.
    fn say(&mut self, from: u32, to: u32, message: &Message) {
        let (me, receiver, keys) = (self.hosts[from as usize].id, self.hosts[to as usize].id, self.keys(from));
        self.sequence += 1;
        for mut packet in parts::split(&message.encode(), self.sequence) {
            self.sequence += 1;
            self.listen(from, &packet);
            packet::seal(&mut packet, TRADE, self.sequence, me, Some(&receiver), &keys);
            self.carry(from, to, packet);
        }
    }

    fn carry(&mut self, from: u32, to: u32, bytes: Vec<u8>) {
        self.count.packets += 1;
        self.count.bytes += bytes.len() as u64 + 28;
        let [first, second] = self.net.carry(self.now, from, to);
        for after in [second, first].into_iter().flatten() {
            let at = Instant::from_micros(self.now + after);
            self.wheel.push(at, What::Packet { from, to, bytes: bytes.clone() });
        }
    }

    fn work(&mut self, n: u32, job: Job) {
        let host = &mut self.hosts[n as usize];
        let life = host.lives;
        match job {
            Job::Write { key, from, limit, .. } => {
                self.count.resumed += u64::from(*host.firsts.entry(key).or_insert(from) < from);
                let target =
                    (from + 1 + (mix(key.1 ^ key.0.short()) % u64::from(limit - from).max(1)) as u32).min(limit);
                let turn = host.running.get(&key).map_or(0, |run| run.turn) + 1;
                self.count.hung += u64::from(self.plan.hangs_until(n, self.now).is_some());
                host.running.insert(key, Run { from, tokens: from, target, turn });
                self.next_block(n, key);
            }
            Job::Stop(key) => {
                if let Some(run) = host.running.remove(&key) {
                    let worked = Worked::Ended { key, tokens: run.tokens, end: End::Interrupted };
                    // Its process is ended, and what comes next hangs, too.
                    self.wheel.push(Instant::from_micros(self.now + 1000), What::Audited { host: n, life, worked });
                }
            }
            Job::Audit { client, task, worker, first, blocks, .. } => {
                let right = !self.plan.does(n, Cheat::Slander, self.now, task);
                let place = |index| Place { client, task, worker, index };
                let (own, right) =
                    match self.host_of(&worker).filter(|_| self.plan.does(n, Cheat::Cover, self.now, task)) {
                        // It says what the worker said.
                        Some(worker) => (worker.into(), !self.plan.does(worker, Cheat::OtherModel, self.now, task)),
                        None => (u64::from(n) << 8, right),
                    };
                let fingerprint = |index| engine::fingerprint(&place(index), own, right);
                let fingerprints = (first..first + blocks).map(fingerprint).collect();
                let worked = Worked::Audited { client, task, fingerprints };
                let took = 1000 + u64::from(first + blocks) * 32 * 1_000_000 / SPEED / 100;
                self.works(n, took, What::Audited { host: n, life, worked });
            }
            // What harm a change does is told by `tests/economy_votes.rs` of the core.
            Job::Simulate { id, .. } => {
                let worked = Worked::Simulated { id, harmless: true };
                self.works(n, 1_000_000, What::Audited { host: n, life, worked });
            }
            Job::Hand { .. } => {}
        }
    }

    fn next_block(&mut self, n: u32, key: Key) {
        let host = &self.hosts[n as usize];
        let Some(run) = host.running.get(&key) else { return };
        let tokens = u64::from((run.target - run.tokens).min(32));
        let what = What::Block { host: n, life: host.lives, key, turn: run.turn };
        self.works(n, tokens * 1_000_000 / SPEED, what);
    }

    /// The engine of a host takes so many microseconds for something, from when it hangs no more.
    fn works(&mut self, n: u32, took: u64, what: What) {
        let from = self.plan.hangs_until(n, self.now).unwrap_or(self.now);
        self.wheel.push(Instant::from_micros(from + took), what);
    }

    fn write(&mut self, n: u32, key: Key, turn: u64) {
        let does = |cheat| self.plan.does(n, cheat, self.now, key.1);
        let (quitter, right) = (does(Cheat::Quitter), !does(Cheat::OtherModel));
        let host = &mut self.hosts[n as usize];
        let (me, first) = (host.id, host.firsts.get(&key).copied().unwrap_or(0));
        let Some(run) = host.running.get_mut(&key).filter(|run| run.turn == turn) else { return };
        let place = Place { client: key.0, task: key.1, worker: me, index: (run.tokens - first) / 32 };
        run.tokens += (run.target - run.tokens).min(32);
        let (tokens, over) = (run.tokens, run.tokens >= run.target);
        let quits = quitter && tokens - run.from >= 64;
        if over || quits {
            host.running.remove(&key);
        }
        let hung = self.plan.hangs.iter().any(|hang| hang.0 == n && hang.2 * 1_000_000 <= self.now);
        self.count.mended += u64::from(over && hung);
        if !right {
            self.check.spoils(key.0, key.1, me);
        }
        if over && !quits && self.index.get(&key.0).is_some_and(|client| self.plan.is_honest(*client)) {
            let late = self.now * 2 > self.plan.seconds * 1_000_000;
            self.count.answers += 1;
            self.count.false_answers += u64::from(!right);
            self.count.late_answers += u64::from(late);
            self.count.late_false += u64::from(late && !right);
        }
        let block = engine::block(&place, u64::from(n), right);
        self.hear(n, Some(Input::Worked(Worked::Wrote { key, tokens, block })));
        if quits {
            self.hear(n, Some(Input::Worked(Worked::Ended { key, tokens, end: End::Failed })));
        } else if over {
            self.hear(n, Some(Input::Worked(Worked::Ended { key, tokens, end: End::Done })));
        } else {
            self.next_block(n, key);
        }
    }
}

fn models(n: u32) -> [u64; 2] {
    let first = u64::from(n) % MODELS;
    [1 + first, 1 + (first + 1) % MODELS]
}

fn facts(n: u32) -> Facts {
    let mut facts = Facts::at(net::addr(n, PORT));
    models(n).iter().for_each(|model| facts.models.insert(*model));
    facts
}
