//! A town of clients and workers, the machines that ship, with a network that loses, doubles and delays, and workers that die.

// The tests and the example each use a part of it.
#![allow(dead_code)]

use std::{collections::BTreeMap, time::Duration};

use tutu_node::{
    kit::{Class, Instant, Machine, NodeId, Rng, heap::Heap},
    work::schedule::{
        choice::Candidate,
        client::{self, Client, Request, Why},
        queue,
        worker::{self, End, Worker},
    },
};

/// How a town is.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub workers: u32,
    pub clients: u32,
    /// Tokens a second of each worker.
    pub rate: u32,
    /// Tokens of an answer, on average; lengths are exponential.
    pub tokens: u32,
    /// Messages take up to so many microseconds, evenly.
    pub delay: u32,
    /// In a million.
    pub loss: u32,
    pub doubled: u32,
    /// Chance of a worker to die in an hour, in a million.
    pub churn: u32,
    /// Load figures that workers quote are up to so old, in microseconds.
    pub stale: u64,
    /// The lines to half of the workers look much longer than they are.
    pub misled: bool,
    /// Workers say how far they are so often, in microseconds; never, if 0.
    pub progress: u64,
    pub client: client::Config,
    pub worker: worker::Config,
}

impl Plan {
    /// Answers of 30 s on average, figures up to a second old, and nothing goes wrong. All wait for `patience`, in lines of
    /// up to `line` tasks a class.
    pub fn steady(seed: u64, workers: u32, patience: Duration, line: u32) -> Self {
        Self {
            seed,
            workers,
            clients: 10,
            rate: 100,
            tokens: 3_000,
            delay: 40_000,
            loss: 0,
            doubled: 0,
            churn: 0,
            stale: 1_000_000,
            misled: false,
            progress: 0,
            client: client::Config { work_patience: patience, task_max: patience, ..client::Config::default() },
            worker: worker::Config {
                queue: queue::Config { limits: [line; 4], ..queue::Config::default() },
                rate: 100,
                waits: [patience; 4],
                idle: None,
                ..worker::Config::default()
            },
        }
    }
}

/// What became of a task.
#[derive(Clone, Debug)]
pub struct Fate {
    pub class: Class,
    pub asked: u64,
    pub tokens: u32,
    pub done: Option<u64>,
    pub gave_up: Option<Why>,
    /// Pieces that were charged.
    pub charged: Vec<(u32, u32)>,
}

enum Event {
    Arrive,
    ToWorker(u32, u32, worker::Input),
    ToClient(u32, client::Input),
    /// The engine of a worker ends a run, if it is still the same one.
    Ends {
        at: u32,
        key: worker::Key,
        run: u64,
    },
    Progress {
        at: u32,
        key: worker::Key,
        run: u64,
    },
    Dies(u32),
    Returns(u32),
    Look,
}

struct Shed {
    worker: Worker,
    /// Counts lives; messages to an earlier one are lost.
    life: u32,
    alive: bool,
    /// Runs of the engine: number, when it began, from which token, to which, under which epoch.
    engine: BTreeMap<worker::Key, (u64, u64, u32, u32, u32)>,
    quoted: Option<(u64, u64)>,
    /// For when its next timer is put in.
    wake: u64,
}

pub struct Town {
    plan: Plan,
    pub rng: Rng,
    now: u64,
    events: Heap<u64, Event>,
    machines: Vec<Shed>,
    clients: Vec<Client>,
    /// Clients count from a million.
    names: BTreeMap<NodeId, u32>,
    /// For when each client's next look is put in.
    looks: Vec<u64>,
    pub fates: Vec<Fate>,
    /// Tasks that are not over.
    open: u64,
    /// Arrivals a second, in thousandths, by the second from which on it holds.
    loads: Vec<(u64, u64)>,
    until: u64,
    runs: u64,
    pub kinds: Vec<Class>,
    pub blames: u64,
    /// Places that went from one worker to another.
    pub handed: u64,
    pub steps: u64,
}

/// What clients are told of worker `n`.
fn candidate(n: u32, misled: bool) -> Candidate {
    let link = if misled && n.is_multiple_of(2) { 2_000_000 } else { 20_000 };
    Candidate { worker: id(n), trust: 1_000, price: 1_000_000, link, hot: true }
}

pub fn id(n: u32) -> NodeId {
    NodeId::number(u64::from(n))
}

impl Town {
    /// `loads`: from second on, tasks a second (in thousandths).
    pub fn new(plan: Plan, loads: &[(u64, u64)], seconds: u64) -> Self {
        let mut rng = Rng::new(plan.seed);
        let worker = || Shed {
            worker: Worker::new(plan.worker),
            life: 0,
            alive: true,
            engine: BTreeMap::new(),
            quoted: None,
            wake: 0,
        };
        let list: Vec<Candidate> = (0..plan.workers).map(|n| candidate(n, plan.misled)).collect();
        let mut clients = Vec::new();
        for _ in 0..plan.clients {
            let mut client = Client::new(plan.client, rng.next());
            client.handle(
                Instant::default(),
                client::Input::Candidates { model: 1, list: list.clone() },
                &mut Vec::new(),
            );
            clients.push(client);
        }
        let mut town = Self {
            machines: (0..plan.workers).map(|_| worker()).collect(),
            clients,
            names: (0..plan.workers)
                .map(|n| (id(n), n))
                .chain((0..plan.clients).map(|n| (id(1_000_000 + n), n)))
                .collect(),
            looks: vec![0; plan.clients as usize],
            rng,
            now: 0,
            events: Heap::new(),
            fates: Vec::new(),
            open: 0,
            loads: loads.to_vec(),
            until: seconds * 1_000_000,
            runs: 0,
            kinds: vec![Class::Standard],
            blames: 0,
            handed: 0,
            steps: 0,
            plan,
        };
        town.events.push(0, Event::Arrive);
        for at in 0..town.plan.workers {
            town.next_death(at);
        }
        town
    }

    /// Lives until nothing is left to do; new tasks come until the end of the plan.
    pub fn live(&mut self) {
        while let Some((at, event)) = self.events.pop() {
            self.timers(at);
            self.now = at;
            self.steps += 1;
            match event {
                Event::Arrive => self.arrive(),
                Event::ToWorker(at, life, input) => {
                    if self.machines[at as usize].alive && self.machines[at as usize].life == life {
                        self.worker(at, input);
                    }
                }
                Event::ToClient(at, input) => self.client(at, input),
                Event::Ends { at, key, run } => self.ends(at, key, run, End::Done),
                Event::Progress { at, key, run } => self.says(at, key, run),
                Event::Dies(at) => self.dies(at),
                Event::Returns(at) => self.returns(at),
                Event::Look => {}
            }
        }
    }

    /// Fires timers that are due. Each machine's deadline was put in as a `Look`.
    fn timers(&mut self, at: u64) {
        let now = Instant::from_micros(at);
        self.now = at;
        for n in 0..self.clients.len() {
            if self.clients[n].deadline().is_some_and(|due| due <= now) {
                let mut out = Vec::new();
                self.clients[n].tick(now, &mut out);
                self.perform_client(n as u32, out);
            }
        }
    }

    fn worker_timers(&mut self, at: u32) {
        let now = Instant::from_micros(self.now);
        let machine = &mut self.machines[at as usize];
        if machine.worker.deadline().is_some_and(|due| due <= now) {
            let mut out = Vec::new();
            machine.worker.tick(now, &mut out);
            self.perform_worker(at, out);
        }
    }

    fn arrive(&mut self) {
        if self.now >= self.until {
            return;
        }
        let second = self.now / 1_000_000;
        let load = self.loads.iter().rev().find(|(from, _)| *from <= second).map_or(0, |pair| pair.1);
        let gap = self.exponential(1e9 / load.max(1) as f64);
        self.events.push(self.now + gap, Event::Arrive);
        let number = self.fates.len() as u64;
        let tokens = (self.exponential(f64::from(self.plan.tokens)) as u32).max(1);
        let class = self.kinds[self.rng.below(self.kinds.len() as u32) as usize];
        self.open += 1;
        self.fates.push(Fate { class, asked: self.now, tokens, done: None, gave_up: None, charged: Vec::new() });
        let request = Request {
            model: 1,
            class,
            cost: self.plan.tokens,
            limit: tokens,
            price_max: 10_000_000,
            prefix: number,
            wait: std::time::Duration::from_secs(36_000),
        };
        let at = self.rng.below(self.clients.len() as u32);
        self.client(at, client::Input::Ask { task: number, request });
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        let even = (self.rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - even).ln() * mean) as u64
    }

    fn client(&mut self, at: u32, input: client::Input) {
        let mut out = Vec::new();
        self.clients[at as usize].handle(Instant::from_micros(self.now), input, &mut out);
        self.perform_client(at, out);
    }

    fn worker(&mut self, at: u32, input: worker::Input) {
        self.worker_timers(at);
        let mut out = Vec::new();
        self.machines[at as usize].worker.handle(Instant::from_micros(self.now), input, &mut out);
        self.perform_worker(at, out);
    }

    fn perform_client(&mut self, at: u32, out: Vec<client::Effect>) {
        use client::Effect::*;
        let key = |task| (id(1_000_000 + at), task);
        for effect in out {
            match effect {
                Reserve { worker, task, class, cost, price_max } => {
                    self.send_worker(
                        worker,
                        worker::Input::Reserve { key: key(task), model: 1, class, cost, price_max, known: true },
                    );
                }
                Release { worker, task } => self.send_worker(worker, worker::Input::Release(key(task))),
                Bind { worker, task, epoch, from } => {
                    self.send_worker(worker, worker::Input::Bind { key: key(task), epoch, from });
                }
                Stop { worker, task } => self.send_worker(worker, worker::Input::Stop(key(task))),
                Charge(charge) => self.fates[charge.lease.task as usize].charged.push((charge.from, charge.to)),
                Blame { .. } => self.blames += 1,
                Done { task } => {
                    let fate = &mut self.fates[task as usize];
                    assert!(fate.done.replace(self.now).is_none(), "task {task} was done twice");
                    self.open -= 1;
                }
                GaveUp { task, why, .. } => {
                    self.fates[task as usize].gave_up = Some(why);
                    self.open -= 1;
                }
            }
        }
        let look = &mut self.looks[at as usize];
        let due = self.clients[at as usize].deadline().map(Instant::as_micros);
        if let Some(due) = due.filter(|due| *look <= self.now || due < look) {
            *look = due;
            self.events.push(due, Event::Look);
        }
    }

    fn perform_worker(&mut self, at: u32, out: Vec<worker::Effect>) {
        use worker::Effect::*;
        let me = id(at);
        for effect in out {
            match effect {
                Quote { key, wait, .. } => {
                    let wait = std::time::Duration::from_micros(self.stale(at, wait.as_micros() as u64));
                    self.send_client(key, client::Input::Quoted { task: key.1, worker: me, wait });
                }
                Refuse { key, price, after } => {
                    self.send_client(key, client::Input::Refused { task: key.1, worker: me, price, after });
                }
                Ready(key) => self.send_client(key, client::Input::Ready { task: key.1, worker: me }),
                Waits { key, wait } => {
                    self.send_client(key, client::Input::Quoted { task: key.1, worker: me, wait });
                }
                Run { key, epoch, from } => self.run(at, key, epoch, from),
                Interrupt(key) => {
                    if let Some(run) = self.machines[at as usize].engine.get(&key).map(|run| run.0) {
                        self.ends(at, key, run, End::Interrupted);
                    }
                }
                Report { key, epoch, tokens, done } => {
                    let worker = me;
                    self.send_client(key, client::Input::Reported { task: key.1, worker, epoch, tokens, done });
                }
                Steal { room } => {
                    let from = id(self.rng.below(self.plan.workers));
                    if from != me {
                        self.send_worker(from, worker::Input::Steal { thief: me, room, models: vec![1] });
                    }
                }
                Hand { thief, places } => {
                    self.handed += places.len() as u64;
                    for place in &places {
                        let moved = client::Input::Moved { task: place.key.1, worker: me, to: thief };
                        self.send_client(place.key, moved);
                    }
                    self.send_worker(thief, worker::Input::Handed(places));
                }
            }
        }
        // Idle workers look for work for ever; when there is none any more, the town is over.
        let over = self.open == 0 && self.now >= self.until;
        let machine = &mut self.machines[at as usize];
        let due = machine.worker.deadline().map(Instant::as_micros).filter(|_| !over);
        if let Some(due) = due.filter(|due| machine.wake <= self.now || *due < machine.wake) {
            machine.wake = due;
            // A slot that nobody wants: releasing nothing fires what is due.
            let nothing = worker::Input::Release((id(0), u64::MAX));
            self.events.push(due, Event::ToWorker(at, machine.life, nothing));
        }
    }

    fn run(&mut self, at: u32, key: worker::Key, epoch: u32, from: u32) {
        self.runs += 1;
        let run = self.runs;
        let to = self.fates[key.1 as usize].tokens;
        let took = u64::from(to.saturating_sub(from)) * 1_000_000 / u64::from(self.plan.rate);
        self.machines[at as usize].engine.insert(key, (run, self.now, from, to, epoch));
        self.events.push(self.now + took, Event::Ends { at, key, run });
        if self.plan.progress > 0 {
            self.events.push(self.now + self.plan.progress, Event::Progress { at, key, run });
        }
    }

    fn made(&self, at: u32, key: worker::Key) -> Option<(u64, u32, u32)> {
        let (run, since, from, to, epoch) = *self.machines[at as usize].engine.get(&key)?;
        let made = (self.now - since) * u64::from(self.plan.rate) / 1_000_000;
        Some((run, (from + made as u32).min(to), epoch))
    }

    fn says(&mut self, at: u32, key: worker::Key, run: u64) {
        let Some((current, tokens, epoch)) = self.made(at, key) else { return };
        if current == run && self.machines[at as usize].alive {
            self.send_client(key, client::Input::Progress { task: key.1, worker: id(at), epoch, tokens });
            self.events.push(self.now + self.plan.progress, Event::Progress { at, key, run });
        }
    }

    fn ends(&mut self, at: u32, key: worker::Key, run: u64, end: End) {
        let Some((current, tokens, _)) = self.made(at, key) else { return };
        if current == run {
            self.machines[at as usize].engine.remove(&key);
            let tokens = if end == End::Done { self.fates[key.1 as usize].tokens } else { tokens };
            self.worker(at, worker::Input::Ran { key, tokens, end });
        }
    }

    /// The figure that was true up to `stale` ago.
    fn stale(&mut self, at: u32, wait: u64) -> u64 {
        let (now, stale) = (self.now, self.plan.stale);
        let quoted = &mut self.machines[at as usize].quoted;
        match quoted {
            Some((when, wait)) if now - *when < stale => *wait,
            _ => {
                *quoted = Some((now, wait));
                wait
            }
        }
    }

    fn send_worker(&mut self, worker: NodeId, input: worker::Input) {
        let at = self.names[&worker];
        let life = self.machines[at as usize].life;
        for _ in 0..self.copies() {
            let due = self.now + 1 + u64::from(self.rng.below(self.plan.delay));
            self.events.push(due, Event::ToWorker(at, life, input.clone()));
        }
    }

    fn send_client(&mut self, key: worker::Key, input: client::Input) {
        let Some(at) = self.names.get(&key.0).copied() else { return };
        for _ in 0..self.copies() {
            let due = self.now + 1 + u64::from(self.rng.below(self.plan.delay));
            self.events.push(due, Event::ToClient(at, input.clone()));
        }
    }

    fn copies(&mut self) -> u32 {
        if self.rng.chance(self.plan.loss) { 0 } else { 1 + u32::from(self.rng.chance(self.plan.doubled)) }
    }

    fn next_death(&mut self, at: u32) {
        if self.plan.churn > 0 {
            let after = self.exponential(3.6e15 / f64::from(self.plan.churn));
            if self.now + after < self.until {
                self.events.push(self.now + after, Event::Dies(at));
            }
        }
    }

    fn dies(&mut self, at: u32) {
        let machine = &mut self.machines[at as usize];
        machine.alive = false;
        machine.life += 1;
        machine.worker = Worker::new(self.plan.worker);
        machine.engine.clear();
        machine.quoted = None;
        machine.wake = 0;
        self.events.push(self.now + 60_000_000, Event::Returns(at));
        // Half of the clients hear of it within seconds, the others only by its silence.
        for client in 0..self.plan.clients {
            if self.rng.below(2) == 0 {
                let due = self.now + u64::from(self.rng.below(5_000_000));
                self.events.push(due, Event::ToClient(client, client::Input::Gone(id(at))));
            }
        }
    }

    fn returns(&mut self, at: u32) {
        self.machines[at as usize].alive = true;
        self.next_death(at);
        let there = |n: &u32| self.machines[*n as usize].alive;
        let list: Vec<Candidate> =
            (0..self.plan.workers).filter(there).map(|n| candidate(n, self.plan.misled)).collect();
        for client in 0..self.plan.clients {
            self.client(client, client::Input::Candidates { model: 1, list: list.clone() });
        }
    }
}

/// Mean time from asking to the end, in seconds, of tasks asked from second `from` up to second `to`.
pub fn mean(fates: &[Fate], from: u64, to: u64) -> f64 {
    let times = times(fates, from, to);
    times.iter().sum::<f64>() / times.len() as f64
}

/// Tokens a second that were asked for, of tasks asked from second `from` up to second `to`.
pub fn load(fates: &[Fate], from: u64, to: u64) -> f64 {
    let asked = from * 1_000_000..to * 1_000_000;
    let tokens = fates.iter().filter(|fate| asked.contains(&fate.asked)).map(|fate| f64::from(fate.tokens));
    tokens.sum::<f64>() / (to - from) as f64
}

/// Times from asking to the end, in seconds, sorted.
pub fn times(fates: &[Fate], from: u64, to: u64) -> Vec<f64> {
    let asked = from * 1_000_000..to * 1_000_000;
    let mut times: Vec<f64> = fates
        .iter()
        .filter(|fate| asked.contains(&fate.asked))
        .filter_map(|fate| Some((fate.done? - fate.asked) as f64 / 1e6))
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Mean time in system for the shorter of two queues drawn by chance, in service times: Σ λ^(2^k − 2).
pub fn two_choices(load: f64) -> f64 {
    (1..20).map(|k| load.powf(2f64.powi(k) - 2.0)).sum()
}
