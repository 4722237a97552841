//! The side that wants tasks done: asks a few, keeps their places, binds to the first that is ready.
//!
//! ```text
//! Ask -> asking --all answered--> holding --Ready--> bound --finished--> over
//!          |  ^                      |                 |
//!          |  '---- resting <--------'- - silence - - -'   (lost leases do not rest)
//!          '- GaveUp: nobody, no more tries, too late
//! ```
//!
//! Binding late makes old load information harmless: whichever of the asked has a slot first says so itself. Places that
//! are not needed any more are released; a worker to which a place was handed by another may call too, if it is trusted.
//!
//! Each wait has an end, so that nobody who falls silent holds a task up. Trying again after a refusal or a silence is paid
//! from a budget; a lease that was lost in the middle of an answer is not, because somebody reads it.
//!
//! Source: K. Ousterhout et al., "Sparrow: Distributed, Low Latency Scheduling" (SOSP 2013).

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{
    budget::{self, Budget},
    choice::{Candidate, Roster},
    learn::{Context, Group, Kind, Learner},
};
use crate::{
    kit::{Instant, Machine, NodeId, Rng, heap::Heap},
    work::task::{Charge, Class, Error, Life, Task},
};

/// How a client places tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Workers that are asked for each task: 1 to 4.
    pub choices: u8,
    /// Places that are kept of those: 1 joins the shortest queue as quoted, 2 or more bind late.
    pub kept: u8,
    /// How long a worker that was asked may be silent.
    pub quote_patience: Duration,
    /// How long a worker that works may be silent.
    pub work_patience: Duration,
    /// How often a task is tried at most, before and after a lease.
    pub tries: u8,
    /// The first rest before trying again; it doubles.
    pub rest: Duration,
    /// Further tries.
    pub budget: budget::Config,
    /// Tasks at a time.
    pub tasks_max: usize,
    /// Whether a learner may rank those who are drawn, where it wins.
    pub learns: bool,
}

impl Default for Config {
    /// Two choices are nearly as good as many (2.6 service times at load 0.9, where one choice gives 10). Five tries and a
    /// second that doubles are the predecessor's.
    fn default() -> Self {
        Self {
            choices: 2,
            kept: 2,
            quote_patience: Duration::from_secs(1),
            work_patience: Duration::from_secs(10),
            tries: 5,
            rest: Duration::from_secs(1),
            budget: budget::Config::default(),
            tasks_max: 65_536,
            learns: true,
        }
    }
}

/// What somebody wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which model.
    pub model: u64,
    /// How urgent.
    pub class: Class,
    /// Tokens that it probably takes.
    pub cost: u32,
    /// Tokens that it may take at most.
    pub limit: u32,
    /// The most it pays, in parts of a million of the usual price.
    pub price_max: u32,
    /// A hash of how its text begins.
    pub prefix: u64,
    /// How long it may wait for a worker.
    pub wait: Duration,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Those who could do tasks of a model, as they are known now.
    Candidates {
        /// Which model.
        model: u64,
        /// All of them.
        list: Vec<Candidate>,
    },
    /// A task is wanted under a new number.
    Ask {
        /// Its number.
        task: u64,
        /// What.
        request: Request,
    },
    /// A worker keeps a place.
    Quoted {
        /// For which task.
        task: u64,
        /// Who.
        worker: NodeId,
        /// How long it would wait.
        wait: Duration,
    },
    /// A worker does not.
    Refused {
        /// For which task.
        task: u64,
        /// Who.
        worker: NodeId,
        /// What it would cost there.
        price: u32,
        /// When asking again makes sense.
        after: Duration,
    },
    /// A worker has a slot for it.
    Ready {
        /// For which task.
        task: u64,
        /// Who.
        worker: NodeId,
    },
    /// Tokens came.
    Progress {
        /// Of which task.
        task: u64,
        /// From whom.
        worker: NodeId,
        /// Under which lease.
        epoch: u32,
        /// How many there are now.
        tokens: u32,
    },
    /// A worker is through.
    Reported {
        /// With which task.
        task: u64,
        /// Who.
        worker: NodeId,
        /// Under which lease.
        epoch: u32,
        /// How many tokens there are.
        tokens: u32,
        /// Whether all is done.
        done: bool,
    },
    /// Nobody wants it any more.
    Cancel {
        /// Which task.
        task: u64,
    },
    /// A worker is not there any more.
    Gone(NodeId),
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Ask for a place.
    Reserve {
        /// Whom.
        worker: NodeId,
        /// For which task.
        task: u64,
        /// How urgent.
        class: Class,
        /// Tokens that it probably takes.
        cost: u32,
        /// The most it pays.
        price_max: u32,
    },
    /// Give a place back.
    Release {
        /// To whom.
        worker: NodeId,
        /// Of which task.
        task: u64,
    },
    /// Give the task.
    Bind {
        /// To whom.
        worker: NodeId,
        /// Which.
        task: u64,
        /// Under which lease.
        epoch: u32,
        /// Tokens that are there already.
        from: u32,
    },
    /// Have a worker stop.
    Stop {
        /// Whom.
        worker: NodeId,
        /// Which task.
        task: u64,
    },
    /// A worker has earned this: once for each token.
    Charge(Charge),
    /// A worker broke its word; for `trust`.
    Blame {
        /// Who.
        worker: NodeId,
        /// In which task.
        task: u64,
        /// How.
        fault: Fault,
    },
    /// All tokens are there.
    Done {
        /// Of which task.
        task: u64,
    },
    /// It will not be done.
    GaveUp {
        /// Which task.
        task: u64,
        /// Why.
        why: Why,
        /// The lowest price of those who refused; 0 if nobody did.
        price: u32,
        /// When asking again makes sense.
        after: Duration,
    },
}

/// What a worker did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not answer, or stopped in the middle.
    Silent,
    /// It gave up.
    Failed,
    /// It counts tokens that cannot be.
    Miscounted,
}

/// Why a task is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too many tasks at a time, or the number is taken.
    Full,
    /// Nobody trusted can do it.
    Nobody,
    /// Everybody refused or was silent, and there are no more tries.
    Refused,
    /// It waited as long as it might.
    Late,
}

/// All tasks of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    config: Config,
    rosters: BTreeMap<u64, Roster>,
    jobs: BTreeMap<u64, Job>,
    /// When to look at which task; those that were postponed meanwhile are put in again.
    timers: Heap<Instant, u64>,
    budget: Budget,
    rng: Rng,
    learner: Learner,
    scratch: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq)]
struct Job {
    request: Request,
    task: Task,
    asked: Instant,
    /// What the learner uses it for.
    group: Option<Group>,
    /// Places at workers. Empty while bound or resting.
    places: [Option<Place>; PLACES],
    /// Workers that failed this task.
    without: Vec<NodeId>,
    /// When something must have happened.
    due: Instant,
    /// The timer that counts; others of this task are leftovers.
    timer: Instant,
    /// Until when it may be unbound.
    until: Instant,
    tries: u8,
    /// The lowest price of a refusal.
    price: u32,
    after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    worker: NodeId,
    /// As quoted; unanswered, if `None`.
    wait: Option<Duration>,
}

const PLACES: usize = 4;

impl Client {
    /// One that knows nobody.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            rosters: BTreeMap::new(),
            jobs: BTreeMap::new(),
            timers: Heap::new(),
            budget: Budget::new(config.budget),
            rng: Rng::new(seed),
            learner: Learner::default(),
            scratch: Vec::new(),
        }
    }

    /// Tasks that are not over.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// What the learner has learned.
    pub const fn learner(&self) -> &Learner {
        &self.learner
    }

    fn ask(&mut self, now: Instant, number: u64, request: Request, out: &mut Vec<Effect>) {
        if self.jobs.len() >= self.config.tasks_max || self.jobs.contains_key(&number) {
            let after = self.config.rest;
            out.push(Effect::GaveUp { task: number, why: Why::Full, price: 0, after });
            return;
        }
        self.budget.first();
        let mut job = Job {
            request,
            task: Task::new(number, request.limit),
            asked: now,
            group: None,
            places: [None; PLACES],
            without: Vec::new(),
            due: now,
            timer: NEVER,
            until: now + request.wait,
            tries: 0,
            price: 0,
            after: Duration::ZERO,
        };
        let goes_on = self.place(now, &mut job, out);
        self.put_back(number, job, goes_on);
    }

    /// Asks some workers; whether there were any, else the task is given up.
    fn place(&mut self, now: Instant, job: &mut Job, out: &mut Vec<Effect>) -> bool {
        let count = usize::from(self.config.choices).clamp(1, PLACES);
        let Request { model, class, cost, price_max, prefix, .. } = job.request;
        let number = job.task.lease().task;
        let cost = cost.saturating_sub(job.task.delivered()).max(1);
        let (group, ranks) = if self.config.learns { self.learner.group(&mut self.rng) } else { (Group::Rest, false) };
        job.group = (job.tries == 0).then_some(group);
        self.scratch.clear();
        if let Some(roster) = self.rosters.get(&model) {
            let drawn = if ranks { count * 2 } else { count };
            roster.choose(&mut self.rng, drawn, prefix, &job.without, &mut self.scratch);
            if ranks {
                let context = Context::new(class, cost);
                let score = |at: &u32| roster.candidate(*at).map(|one| self.learner.score(context, Kind::of(one)));
                self.scratch.sort_by_key(score);
                self.scratch.truncate(count);
            }
            for (at, place) in self.scratch.iter().zip(&mut job.places) {
                let Some(candidate) = roster.candidate(*at) else { continue };
                let worker = candidate.worker;
                *place = Some(Place { worker, wait: None });
                out.push(Effect::Reserve { worker, task: number, class, cost, price_max });
            }
        }
        if self.scratch.is_empty() {
            out.push(job.gave_up(Why::Nobody));
            return false;
        }
        job.tries += 1;
        job.due = (now + self.config.quote_patience).min(job.until).max(now + MOMENT);
        true
    }

    /// Tries again after a rest, or gives up; whether it goes on.
    fn again(&mut self, now: Instant, job: &mut Job, out: &mut Vec<Effect>) -> bool {
        let why = if now >= job.until {
            Why::Late
        } else if job.tries < self.config.tries && self.budget.again() {
            // Half as much again by chance, so that those who were refused together do not come back together.
            let rest = self.config.rest.saturating_mul(1 << (job.tries - 1).min(6)).max(job.after).max(MOMENT);
            let jitter = rest.as_micros() as u64 * u64::from(self.rng.below(500)) / 1000;
            job.due = (now + rest + Duration::from_micros(jitter)).min(job.until).max(now + MOMENT);
            return true;
        } else {
            Why::Refused
        };
        out.push(job.gave_up(why));
        false
    }

    /// A worker answered or fell silent: if all have, keeps the best places, or tries again if there is none.
    fn decide(&mut self, now: Instant, job: &mut Job, out: &mut Vec<Effect>) -> bool {
        if job.places.iter().flatten().any(|place| place.wait.is_none()) {
            return true;
        }
        let Some(longest) = job.keep(usize::from(self.config.kept.max(1)), out) else {
            return self.again(now, job, out);
        };
        // Twice what was quoted: answers before it may be longer than foreseen.
        let patience = longest.saturating_mul(2).saturating_add(self.config.work_patience);
        job.due = (now + patience).min(job.until).max(now + MOMENT);
        true
    }

    fn ready(&mut self, now: Instant, number: u64, worker: NodeId, out: &mut Vec<Effect>) {
        let wanted = self.jobs.get_mut(&number).filter(|job| {
            // Places are handed on, but only among those whom this client trusts.
            let trusted = || self.rosters.get(&job.request.model).is_some_and(|roster| roster.find(&worker).is_some());
            job.places.iter().flatten().any(|place| place.worker == worker)
                || (!job.without.contains(&worker) && trusted())
        });
        let Some((job, lease)) = wanted.and_then(|job| job.task.bind(worker).ok().map(|lease| (job, lease))) else {
            out.push(Effect::Release { worker, task: number });
            return;
        };
        for place in job.places.iter_mut().filter_map(Option::take).filter(|place| place.worker != worker) {
            out.push(Effect::Release { worker: place.worker, task: number });
        }
        out.push(Effect::Bind { worker, task: number, epoch: lease.epoch, from: job.task.delivered() });
        job.due = now + self.config.work_patience.max(MOMENT);
        job.arm(number, &mut self.timers);
    }

    /// The lease is lost; another worker goes on from where it was. No rest: somebody reads the answer.
    fn lost(&mut self, now: Instant, job: &mut Job, worker: NodeId, fault: Fault, out: &mut Vec<Effect>) -> bool {
        let number = job.task.lease().task;
        out.extend(job.task.lose(&worker, job.task.lease().epoch).ok().flatten().map(Effect::Charge));
        out.push(Effect::Blame { worker, task: number, fault });
        if job.without.len() < usize::from(u8::MAX) {
            job.without.push(worker);
        }
        job.until = now + job.request.wait;
        if job.tries >= self.config.tries {
            out.push(job.gave_up(Why::Refused));
            return false;
        }
        self.place(now, job, out)
    }

    fn reported(
        &mut self,
        now: Instant,
        number: u64,
        from: (NodeId, u32),
        tokens: u32,
        done: bool,
        out: &mut Vec<Effect>,
    ) {
        let (worker, epoch) = from;
        let Some(mut job) = self.jobs.remove(&number) else { return };
        let goes_on = if done {
            match job.task.finish(&worker, epoch, tokens) {
                Ok(charge) => {
                    out.extend(charge.map(Effect::Charge));
                    out.push(Effect::Done { task: number });
                    self.learn(now, &job, &worker);
                    false
                }
                Err(Error::Backwards { .. } | Error::TooMany { .. }) => {
                    self.lost(now, &mut job, worker, Fault::Miscounted, out)
                }
                // Of a lease that is not the last: nothing is owed for it.
                Err(_) => true,
            }
        } else {
            match job.task.progress(&worker, epoch, tokens) {
                Ok(()) => self.lost(now, &mut job, worker, Fault::Failed, out),
                Err(Error::Backwards { .. } | Error::TooMany { .. }) => {
                    self.lost(now, &mut job, worker, Fault::Miscounted, out)
                }
                Err(_) => true,
            }
        };
        self.put_back(number, job, goes_on);
    }

    /// Remembers who has the text in memory now, and how long it took.
    fn learn(&mut self, now: Instant, job: &Job, worker: &NodeId) {
        let Request { model, class, cost, prefix, .. } = job.request;
        let Some(roster) = self.rosters.get_mut(&model) else { return };
        let Some(at) = roster.find(worker) else { return };
        roster.remember(prefix, at);
        // A task that was tried again says less of its first choice than of what went wrong.
        if let (true, Some(group), Some(candidate)) = (self.config.learns, job.group, roster.candidate(at)) {
            let micros = now.since(job.asked).as_micros() as u64;
            self.learner.outcome(Context::new(class, cost), Kind::of(candidate), group, micros);
        }
    }

    fn progress(&mut self, now: Instant, number: u64, from: (NodeId, u32), tokens: u32, out: &mut Vec<Effect>) {
        let (worker, epoch) = from;
        let Some(job) = self.jobs.get_mut(&number) else {
            out.push(Effect::Stop { worker, task: number });
            return;
        };
        match job.task.progress(&worker, epoch, tokens) {
            Ok(()) => job.due = now + self.config.work_patience.max(MOMENT),
            Err(Error::TooMany { .. }) => {
                out.push(Effect::Stop { worker, task: number });
                self.with(number, |client, job| client.lost(now, job, worker, Fault::Miscounted, out));
            }
            // Late or twice: what is there is there.
            Err(_) => {}
        }
    }

    fn cancel(&mut self, number: u64, out: &mut Vec<Effect>) {
        let Some(mut job) = self.jobs.remove(&number) else { return };
        if let Life::Bound { worker, .. } = job.task.life() {
            out.push(Effect::Stop { worker, task: number });
        }
        for place in job.places.iter().flatten() {
            out.push(Effect::Release { worker: place.worker, task: number });
        }
        out.extend(job.task.cancel().map(Effect::Charge));
    }

    fn gone(&mut self, now: Instant, worker: NodeId, out: &mut Vec<Effect>) {
        self.rosters.values_mut().for_each(|roster| roster.drop_worker(&worker));
        let touched = |job: &Job| match job.task.life() {
            Life::Bound { worker: holder, .. } => holder == worker,
            _ => job.places.iter().flatten().any(|place| place.worker == worker),
        };
        let numbers: Vec<u64> = self.jobs.iter().filter(|(_, job)| touched(job)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.with(number, |client, job| {
                if matches!(job.task.life(), Life::Bound { .. }) {
                    return client.lost(now, job, worker, Fault::Silent, out);
                }
                job.give_back(&worker);
                client.decide(now, job, out)
            });
        }
    }

    fn due(&mut self, now: Instant, number: u64, out: &mut Vec<Effect>) {
        self.with(number, |client, job| {
            if let Life::Bound { worker, .. } = job.task.life() {
                out.push(Effect::Stop { worker, task: number });
                return client.lost(now, job, worker, Fault::Silent, out);
            }
            let asking = job.places.iter().flatten().any(|place| place.wait.is_none());
            let holding = !asking && job.places.iter().flatten().next().is_some();
            for place in job.places.iter_mut().filter(|place| place.is_some_and(|p| holding || p.wait.is_none())) {
                let Some(Place { worker, .. }) = place.take() else { continue };
                out.push(Effect::Release { worker, task: number });
                out.push(Effect::Blame { worker, task: number, fault: Fault::Silent });
                job.without.push(worker);
            }
            if asking || holding {
                client.decide(now, job, out)
            } else if now >= job.until {
                out.push(job.gave_up(Why::Late));
                false
            } else {
                client.place(now, job, out)
            }
        });
    }

    /// Takes a task out, does something to it, and puts it back if it goes on.
    fn with(&mut self, number: u64, change: impl FnOnce(&mut Self, &mut Job) -> bool) {
        let Some(mut job) = self.jobs.remove(&number) else { return };
        let goes_on = change(self, &mut job);
        self.put_back(number, job, goes_on);
    }

    fn put_back(&mut self, number: u64, mut job: Job, goes_on: bool) {
        if goes_on {
            job.arm(number, &mut self.timers);
            self.jobs.insert(number, job);
        }
    }

    /// Throws away timers that do not count, and puts off the first until something is due.
    fn clean(&mut self) {
        while let Some((at, number)) = self.timers.peek().map(|(at, number)| (*at, *number)) {
            let counts = self.jobs.get_mut(&number).filter(|job| job.timer == at);
            if counts.as_ref().is_some_and(|job| job.due <= at) {
                return;
            }
            self.timers.pop();
            if let Some(job) = counts {
                job.timer = NEVER;
                job.arm(number, &mut self.timers);
            }
        }
    }
}

/// Later than any timer.
const NEVER: Instant = Instant::from_micros(u64::MAX);
/// The shortest wait: time must go on between two ticks.
const MOMENT: Duration = Duration::from_micros(1);

impl Job {
    /// Sets a timer, unless one will go off in time.
    fn arm(&mut self, number: u64, timers: &mut Heap<Instant, u64>) {
        if self.due < self.timer {
            self.timer = self.due;
            timers.push(self.due, number);
        }
    }

    fn gave_up(&self, why: Why) -> Effect {
        Effect::GaveUp { task: self.task.lease().task, why, price: self.price, after: self.after }
    }

    fn place(&mut self, worker: &NodeId) -> Option<&mut Place> {
        self.places.iter_mut().flatten().find(|place| place.worker == *worker)
    }

    fn give_back(&mut self, worker: &NodeId) {
        self.places
            .iter_mut()
            .filter(|place| place.is_some_and(|p| p.worker == *worker))
            .for_each(|place| *place = None);
    }

    /// Keeps the `count` places with the shortest waits and releases the others; the longest wait of those kept.
    fn keep(&mut self, count: usize, out: &mut Vec<Effect>) -> Option<Duration> {
        let wait = |place: &Option<Place>| place.map_or(Duration::MAX, |place| place.wait.unwrap_or(Duration::MAX));
        // Sorting is stable: of equals, whoever was drawn first stays.
        self.places.sort_by_key(wait);
        for place in self.places.iter_mut().skip(count).filter_map(Option::take) {
            out.push(Effect::Release { worker: place.worker, task: self.task.lease().task });
        }
        self.places.iter().flatten().filter_map(|place| place.wait).max()
    }
}

impl Machine for Client {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Candidates { model, list } => drop(self.rosters.insert(model, Roster::new(list))),
            Input::Ask { task, request } => self.ask(now, task, request, out),
            Input::Quoted { task, worker, wait } => {
                let Some(place) = self.jobs.get_mut(&task).and_then(|job| job.place(&worker)) else {
                    out.push(Effect::Release { worker, task });
                    return self.clean();
                };
                place.wait = Some(wait);
                self.with(task, |client, job| client.decide(now, job, out));
            }
            Input::Refused { task, worker, price, after } => self.with(task, |client, job| {
                if job.place(&worker).is_none() {
                    return true;
                }
                job.give_back(&worker);
                job.price = if job.price == 0 { price } else { job.price.min(price) };
                job.after = after.min(job.request.wait);
                client.decide(now, job, out)
            }),
            Input::Ready { task, worker } => self.ready(now, task, worker, out),
            Input::Progress { task, worker, epoch, tokens } => self.progress(now, task, (worker, epoch), tokens, out),
            Input::Reported { task, worker, epoch, tokens, done } => {
                self.reported(now, task, (worker, epoch), tokens, done, out);
            }
            Input::Cancel { task } => self.cancel(task, out),
            Input::Gone(worker) => self.gone(now, worker, out),
        }
        self.clean();
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while self.timers.first().is_some_and(|due| *due <= now) {
            let Some((_, number)) = self.timers.pop() else { break };
            if let Some(job) = self.jobs.get_mut(&number) {
                job.timer = NEVER;
            }
            self.due(now, number, out);
            self.clean();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

    use super::*;
    use crate::kit::{laws, trace};

    const CONFIG: Config = Config {
        choices: 2,
        kept: 2,
        quote_patience: Duration::from_millis(100),
        work_patience: Duration::from_millis(1_000),
        tries: 3,
        rest: Duration::from_millis(200),
        budget: budget::Config { share: 100, saved: 10 },
        tasks_max: 4,
        learns: false,
    };

    const REQUEST: Request = Request {
        model: 1,
        class: Class::Standard,
        cost: 100,
        limit: 120,
        price_max: 2_000_000,
        prefix: 0,
        wait: Duration::from_secs(60),
    };

    fn id(n: u64) -> NodeId {
        NodeId::number(n)
    }

    fn candidates(count: u64) -> Input {
        let one = |n| Candidate { worker: id(n), trust: 1_000, price: 1_000_000, link: 0, hot: true };
        Input::Candidates { model: 1, list: (0..count).map(one).collect() }
    }

    fn ask(task: u64) -> Input {
        Input::Ask { task, request: REQUEST }
    }

    fn quoted(worker: u64, seconds: u64) -> Input {
        Input::Quoted { task: 1, worker: id(worker), wait: Duration::from_secs(seconds) }
    }

    fn refused(worker: u64, price: u32) -> Input {
        Input::Refused { task: 1, worker: id(worker), price, after: Duration::from_millis(50) }
    }

    fn ready(worker: u64) -> Input {
        Input::Ready { task: 1, worker: id(worker) }
    }

    fn reported(worker: u64, epoch: u32, tokens: u32, done: bool) -> Input {
        Input::Reported { task: 1, worker: id(worker), epoch, tokens, done }
    }

    /// One line a step that did something: what happened, and what to do, in short.
    fn of(config: Config, workers: u64, script: impl IntoIterator<Item = (u64, Input)>, until: u64) -> String {
        let script = core::iter::once((0, candidates(workers))).chain(script);
        let mut text = trace::of(&mut Client::new(config, 1), script, until);
        for n in 0..workers {
            text = text.replace(&format!("{:?}", id(n)), &format!("w{n}"));
        }
        text.replace("worker: ", "")
            .replace("task: 1", "1")
            .replace(", class: Standard, cost: 100, price_max: 2000000", "")
    }

    /// What was done at each step.
    fn done(text: &str) -> Vec<&str> {
        text.lines().map(|line| line.split(" -> ").last().unwrap_or_default()).collect()
    }

    #[test]
    fn asks_two_binds_to_the_first_that_is_ready_and_charges_once() {
        let script = [
            (0, ask(1)),
            (10, quoted(0, 5)),
            (20, quoted(1, 1)),
            (500, ready(0)),
            (510, ready(1)),
            (600, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 40 }),
            (700, reported(0, 1, 90, true)),
            (710, reported(0, 1, 90, true)),
        ];
        assert_eq!(
            done(&of(CONFIG, 2, script, 5_000)),
            [
                "[Reserve { w1, 1 }, Reserve { w0, 1 }]",
                "[Release { w1, 1 }, Bind { w0, 1, epoch: 1, from: 0 }]",
                "[Release { w1, 1 }]",
                "[Charge(Charge { w0, lease: Lease { 1, epoch: 1 }, from: 0, to: 90 }), Done { 1 }]",
            ]
        );
    }

    #[test]
    fn with_one_place_kept_the_shorter_queue_is_joined() {
        let script = [(0, ask(1)), (10, quoted(0, 5)), (20, quoted(1, 1)), (500, ready(1))];
        assert_eq!(
            done(&of(Config { kept: 1, ..CONFIG }, 2, script, 510)),
            ["[Reserve { w1, 1 }, Reserve { w0, 1 }]", "[Release { w0, 1 }]", "[Bind { w1, 1, epoch: 1, from: 0 }]",]
        );
    }

    #[test]
    fn a_lost_lease_is_charged_for_what_came_and_another_goes_on_from_there() {
        let script = [
            (0, ask(1)),
            (10, quoted(0, 1)),
            (20, ready(0)),
            (30, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 40 }),
            // Then it is silent for a second.
            (1_040, quoted(1, 0)),
            (1_050, ready(1)),
            (1_060, reported(0, 1, 120, true)),
            (1_070, reported(1, 2, 100, true)),
        ];
        assert_eq!(
            done(&of(CONFIG, 2, script, 5_000)),
            [
                "[Reserve { w1, 1 }, Reserve { w0, 1 }]",
                "[Release { w1, 1 }, Bind { w0, 1, epoch: 1, from: 0 }]",
                "[Stop { w0, 1 }, Charge(Charge { w0, lease: Lease { 1, epoch: 1 }, from: 0, to: 40 }), \
                 Blame { w0, 1, fault: Silent }, Reserve { w1, 1, class: Standard, cost: 60, price_max: 2000000 }]",
                "[Bind { w1, 1, epoch: 2, from: 40 }]",
                "[Charge(Charge { w1, lease: Lease { 1, epoch: 2 }, from: 40, to: 100 }), Done { 1 }]",
            ]
        );
    }

    #[test]
    fn refusals_rest_and_then_say_what_it_would_cost() {
        let mut script = alloc::vec![(0, ask(1))];
        for at in [10, 500, 1_500] {
            script.push((at, refused(0, 3_000_000)));
            script.push((at, refused(1, 2_500_000)));
        }
        let text = of(CONFIG, 2, script, 3_000);
        let last = done(&text);
        assert_eq!(last.len(), 4, "{text}");
        assert_eq!(last[3], "[GaveUp { 1, why: Refused, price: 2500000, after: 50ms }]");
    }

    #[test]
    fn whoever_is_silent_is_not_asked_again() {
        let text = of(CONFIG, 2, [(0, ask(1)), (10, quoted(1, 1))], 120);
        assert_eq!(done(&text)[1], "[Release { w0, 1 }, Blame { w0, 1, fault: Silent }]", "{text}");
        let text = of(CONFIG, 2, [(0, ask(1))], 2_000);
        assert!(done(&text)[2].contains("why: Nobody"), "{text}");
    }

    #[test]
    fn a_worker_that_counts_wrong_is_blamed_and_replaced() {
        for tokens in [121, 10] {
            let script = [
                (0, ask(1)),
                (10, ready(0)),
                (20, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 40 }),
                (30, reported(0, 1, tokens, true)),
            ];
            let text = of(CONFIG, 2, script, 40);
            assert!(done(&text)[2].contains("to: 40 }), Blame { w0, 1, fault: Miscounted }, Reserve"), "{text}");
        }
    }

    #[test]
    fn handed_places_count_among_the_trusted_only() {
        let text = of(CONFIG, 3, [(0, ask(1)), (10, ready(9)), (20, ready(2))], 30);
        let steps = done(&text);
        assert!(steps[1].starts_with("[Release {") && steps[2].contains("Bind { w2"), "{text}");
    }

    #[test]
    fn cancelling_gives_everything_back() {
        let text = of(CONFIG, 2, [(0, ask(1)), (5, Input::Cancel { task: 1 })], 5_000);
        assert_eq!(done(&text)[1], "[Release { w1, 1 }, Release { w0, 1 }]");
        let script = [
            (0, ask(1)),
            (1, ready(0)),
            (2, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 7 }),
            (5, Input::Cancel { task: 1 }),
            (9, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 9 }),
        ];
        let text = of(CONFIG, 2, script, 5_000);
        let steps = done(&text);
        assert_eq!(steps[2], "[Stop { w0, 1 }, Charge(Charge { w0, lease: Lease { 1, epoch: 1 }, from: 0, to: 7 })]");
        assert_eq!(steps[3], "[Stop { w0, 1 }]");
    }

    #[test]
    fn limits_and_nobody_are_said_at_once() {
        let script = (1..=5).map(|task| (0, ask(task))).chain([(1, ask(2))]);
        let text = of(CONFIG, 2, script, 1);
        assert_eq!(text.matches("why: Full").count(), 2, "{text}");
        let text = of(CONFIG, 0, [(0, ask(1))], 1);
        assert_eq!(done(&text), ["[GaveUp { 1, why: Nobody, price: 0, after: 0ns }]"]);
    }

    #[test]
    fn whoever_is_gone_is_replaced_at_once() {
        let text = of(CONFIG, 3, [(0, ask(1)), (1, ready(0)), (2, Input::Gone(id(0)))], 3);
        assert!(done(&text)[2].starts_with("[Blame { w0, 1, fault: Silent }, Reserve"), "{text}");
    }

    #[test]
    fn keeps_the_laws() {
        for seed in 0..200 {
            let (mut rng, mut at) = (Rng::new(seed), 0);
            let mut script = alloc::vec![(Instant::default(), candidates(4))];
            script.extend((0..150).map(|_| {
                at += u64::from(rng.below(200));
                let (task, worker) = (u64::from(rng.below(5)), id(u64::from(rng.below(5))));
                let (epoch, tokens) = (1 + rng.below(3), rng.below(130));
                let input = match rng.below(16) {
                    0..4 => ask(task),
                    4..6 => Input::Quoted { task, worker, wait: Duration::from_millis(rng.next() >> rng.below(64)) },
                    6 => Input::Refused { task, worker, price: 7, after: Duration::from_millis(rng.next() >> 20) },
                    7..10 => Input::Ready { task, worker },
                    10..12 => Input::Progress { task, worker, epoch, tokens },
                    12..14 => Input::Reported { task, worker, epoch, tokens, done: rng.below(2) == 0 },
                    14 => Input::Cancel { task },
                    _ => [Input::Gone(worker), candidates(4)][rng.below(2) as usize].clone(),
                };
                (Instant::from_millis(at), input)
            }));
            laws::hold(&Client::new(CONFIG, seed), script);
        }
    }
}
