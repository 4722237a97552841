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
//! are not needed any more are released; a worker to which one that had a place handed it may call too, if it is trusted.
//!
//! Each wait has an end, so that nobody who falls silent holds a task up. Trying again after a refusal or a silence is paid
//! from a budget; a lease that was lost in the middle of an answer is not, because somebody reads it.
//!
//! Source: K. Ousterhout et al., "Sparrow: Distributed, Low Latency Scheduling" (SOSP 2013).

mod message;
#[cfg(test)]
mod tests;

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::time::Duration;

pub use self::message::{Config, Effect, Fault, Input, Request, Why};
use super::{
    budget::Budget,
    choice::Roster,
    learn::{Context, Group, Kind, Learner},
};
use crate::{
    kit::{
        Instant, Machine, NodeId, Rng,
        fault::{Fault as Seeded, on},
        heap::Heap,
    },
    work::task::{Error, Life, Task},
};

/// All tasks of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    config: Config,
    rosters: BTreeMap<u64, Roster>,
    /// Boxed: each input takes one out and puts it back, and it is large.
    jobs: BTreeMap<u64, Box<Job>>,
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
    /// Workers that were told last that they are not needed.
    let_go: [Option<LetGo>; PLACES],
    /// What trusted workers said that have no place: the word that it was handed to them may be under way.
    early: Vec<Early>,
    /// When something must have happened.
    due: Instant,
    /// The timer that counts; others of this task are leftovers.
    timer: Instant,
    /// Until when it may be unbound; while it is bound, until when its worker may work.
    until: Instant,
    /// How much longer its worker may be interrupted.
    spare: Duration,
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
    /// Whether another kept the place, which says that this one has it now. Nobody is blamed if that is not true: only the
    /// other's word stands for it.
    moved: bool,
}

/// A worker that was told that it is not needed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct LetGo {
    worker: NodeId,
    /// Whether one that had a place said that this one has it. One that called before it heard that it is not needed may be
    /// bound, and has nothing of it any more. Or it was handed a place since, and has: only it knows.
    named: bool,
}

/// What a worker said before the word came that it has a place.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Early {
    worker: NodeId,
    at: Instant,
    /// To whom it handed the place on; it called, if to nobody.
    to: Option<NodeId>,
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

    /// How it places tasks from now on; leases under way keep their time.
    pub const fn configure(&mut self, config: Config) {
        self.config = config;
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
        let mut job = Box::new(Job {
            request,
            task: Task::new(number, request.limit),
            asked: now,
            group: None,
            places: [None; PLACES],
            without: Vec::new(),
            let_go: [None; PLACES],
            early: Vec::new(),
            due: now,
            timer: NEVER,
            until: now + request.wait,
            spare: Duration::ZERO,
            tries: 0,
            price: 0,
            after: Duration::ZERO,
        });
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
                *place = Some(Place { worker, wait: None, moved: false });
                let gone = |gone: &&mut Option<LetGo>| gone.is_some_and(|gone| gone.worker == worker);
                job.let_go.iter_mut().filter(gone).for_each(|gone| *gone = None);
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

    /// A place is somewhere else now, if this client trusts who has it; otherwise it is given up. Only who has a place may say so,
    /// or had one and was let go; and what it says takes nothing from whom has a place of its own.
    fn moved(&mut self, now: Instant, number: u64, worker: NodeId, to: NodeId, out: &mut Vec<Effect>) {
        let (trusted, early) = (self.trusts(number, &to), self.may_be_named(number, &worker));
        let Some(job) = self.jobs.get_mut(&number).filter(|job| !job.is_bound_to(&to)) else { return };
        let own = job.place(&to).is_some();
        let fits = (trusted || on(Seeded::MovedToAnybody)) && !job.without.contains(&to) && !own;
        match job.place(&worker) {
            // It is called as soon as it is there: whoever took it had nothing to do.
            Some(place) if fits => {
                *place = Place { worker: to, wait: Some(place.wait.unwrap_or_default()), moved: true };
                job.forget(&to);
                if let Some(early) = job.said_early(&to).filter(|e| now.since(e.at) <= self.config.quote_patience) {
                    return match early.to {
                        Some(next) => self.moved(now, number, to, next, out),
                        None => self.ready(now, number, to, out),
                    };
                }
            }
            Some(_) => {
                job.give_back(&worker);
                if !own {
                    job.let_go(to, true, out);
                }
            }
            // It handed on what it had before it heard that it is not needed.
            None => {
                if !own && job.forget(&worker) {
                    job.let_go(to, true, out);
                } else if early {
                    job.says_early(Early { worker, at: now, to: Some(to) });
                }
                return;
            }
        }
        self.with(number, |client, job| client.decide(now, job, out));
    }

    /// Whether `worker` may do the task with this number, as its trust goes.
    fn trusts(&self, number: u64, worker: &NodeId) -> bool {
        let roster = self.jobs.get(&number).and_then(|job| self.rosters.get(&job.request.model));
        roster.is_some_and(|roster| roster.find(worker).is_some())
    }

    /// Whether `worker`, which has no place, may have been handed one, and the word of it comes yet. It may have been let go before:
    /// if it called before it heard that, it hears it all the same.
    fn may_be_named(&self, number: u64, worker: &NodeId) -> bool {
        let Some(job) = self.jobs.get(&number) else { return false };
        let open = job.places.iter().flatten().next().is_some();
        open && !job.without.contains(worker) && self.trusts(number, worker)
    }

    /// A worker keeps a place.
    fn quoted(&mut self, now: Instant, number: u64, worker: NodeId, wait: Duration, out: &mut Vec<Effect>) {
        let job = self.jobs.get_mut(&number);
        let bound = job.as_ref().is_some_and(|job| job.is_bound_to(&worker));
        if let Some(place) = job.and_then(|job| job.place(&worker)) {
            place.wait = Some(wait);
            self.with(number, |client, job| client.decide(now, job, out));
        } else if bound {
            // It was interrupted. Or its call overtook its quote, which then changes little.
            self.interrupted(now, number, wait);
        } else if !self.may_be_named(number, &worker) {
            out.push(Effect::Release { worker, task: number });
        }
    }

    /// The worker was interrupted for something more urgent, and may be silent for as long as it says, twice; but with all its
    /// interruptions no longer than the task might wait for a worker, and not beyond what it may take: more would be a way to
    /// keep a client and do nothing.
    fn interrupted(&mut self, now: Instant, number: u64, wait: Duration) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let patience = wait.saturating_mul(2).saturating_add(self.config.work_patience.max(MOMENT));
        let more = (now + patience).min(job.until).since(job.due).min(job.spare);
        job.spare -= more;
        job.due = job.due + more;
    }

    fn ready(&mut self, now: Instant, number: u64, worker: NodeId, out: &mut Vec<Effect>) {
        if let Some(job) = self.jobs.get(&number).filter(|job| job.is_bound_to(&worker)) {
            // The call came twice, or the answer was lost.
            let (epoch, from) = (job.task.lease().epoch, job.task.delivered());
            out.push(Effect::Bind { worker, task: number, epoch, from });
            return;
        }
        // Mostly it was asked itself, and nobody has to be looked for among thousands.
        let places = self.jobs.get(&number).map(|job| job.places);
        let asked = places.into_iter().flatten().flatten().any(|place| place.worker == worker);
        let trusted = !asked && self.trusts(number, &worker);
        let early = trusted && self.may_be_named(number, &worker);
        let wanted = self.jobs.get_mut(&number).filter(|job| {
            // Places are handed on, but only by those who had them, and among those whom this client trusts.
            let named = job.let_go.iter().flatten().any(|gone| gone.worker == worker && gone.named);
            asked || (named && !job.without.contains(&worker) && trusted)
        });
        let Some((job, lease)) = wanted.and_then(|job| job.task.bind(worker).ok().map(|lease| (job, lease))) else {
            match self.jobs.get_mut(&number).filter(|_| early) {
                Some(job) => job.says_early(Early { worker, at: now, to: None }),
                None => out.push(Effect::Release { worker, task: number }),
            }
            return;
        };
        job.early.clear();
        for place in job.places.map(|place| place.filter(|place| place.worker != worker)).into_iter().flatten() {
            job.let_go(place.worker, false, out);
        }
        job.places = [None; PLACES];
        out.push(Effect::Bind { worker, task: number, epoch: lease.epoch, from: job.task.delivered() });
        job.until = now + self.config.task_max.max(MOMENT);
        job.due = (now + self.config.work_patience.max(MOMENT)).min(job.until);
        job.spare = job.request.wait;
        job.arm(number, &mut self.timers);
    }

    /// The lease is lost; another worker goes on from where it was. No rest: somebody reads the answer. Whoever was let go, and was
    /// bound all the same, may say that it has nothing, and is not blamed.
    fn lost(&mut self, now: Instant, job: &mut Job, worker: NodeId, fault: Fault, out: &mut Vec<Effect>) -> bool {
        let number = job.task.lease().task;
        out.extend(job.task.lose(&worker, job.task.lease().epoch).ok().flatten().map(Effect::Charge));
        let gone = job.let_go.iter().flatten().any(|gone| gone.worker == worker);
        let excused = fault == Fault::Failed && gone && !on(Seeded::LetGoIsBlamed);
        if !excused {
            out.push(Effect::Blame { worker, task: number, fault });
        }
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
            Ok(()) => {
                job.due = (now + self.config.work_patience.max(MOMENT)).min(job.until).max(now + MOMENT);
                // It may have been allowed more than that.
                job.arm(number, &mut self.timers);
            }
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
        if let (Life::Bound { worker, .. }, false) = (job.task.life(), on(Seeded::CancelledGoesOn)) {
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
                let Some(Place { worker, moved, .. }) = place.take() else { continue };
                out.push(Effect::Release { worker, task: number });
                if !moved || on(Seeded::MovedPlaceBlamed) {
                    out.push(Effect::Blame { worker, task: number, fault: Fault::Silent });
                }
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

    fn put_back(&mut self, number: u64, mut job: Box<Job>, goes_on: bool) {
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

    fn is_bound_to(&self, worker: &NodeId) -> bool {
        matches!(&self.task.life(), Life::Bound { worker: holder, .. } if holder == worker)
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

    /// Tells a worker that it is not needed; `named`, if another said that it has a place.
    fn let_go(&mut self, worker: NodeId, named: bool, out: &mut Vec<Effect>) {
        self.forget(&worker);
        self.let_go.rotate_right(1);
        self.let_go[0] = Some(LetGo { worker, named });
        out.push(Effect::Release { worker, task: self.task.lease().task });
    }

    /// Forgets that a worker was let go; whether it was.
    fn forget(&mut self, worker: &NodeId) -> bool {
        let gone = self.let_go.iter_mut().find(|gone| gone.is_some_and(|gone| gone.worker == *worker));
        gone.and_then(Option::take).is_some()
    }

    /// Remembers what one said that has no place; the last few count.
    fn says_early(&mut self, early: Early) {
        self.said_early(&early.worker);
        if self.early.len() >= PLACES {
            self.early.remove(0);
        }
        self.early.push(early);
    }

    /// Takes out what a worker said before it had a place.
    fn said_early(&mut self, worker: &NodeId) -> Option<Early> {
        let at = self.early.iter().position(|early| early.worker == *worker)?;
        Some(self.early.remove(at))
    }

    /// Keeps the `count` places with the shortest waits and releases the others; the longest wait of those kept.
    fn keep(&mut self, count: usize, out: &mut Vec<Effect>) -> Option<Duration> {
        let wait = |place: &Option<Place>| place.map_or(Duration::MAX, |place| place.wait.unwrap_or(Duration::MAX));
        // Sorting is stable: of equals, whoever was drawn first stays.
        self.places.sort_by_key(wait);
        for at in count.min(PLACES)..PLACES {
            if let Some(place) = self.places[at].take() {
                self.let_go(place.worker, false, out);
            }
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
            Input::Quoted { task, worker, wait } => self.quoted(now, task, worker, wait, out),
            Input::Refused { task, worker, price, after } => self.with(task, |client, job| {
                if job.place(&worker).is_none() {
                    return true;
                }
                job.give_back(&worker);
                job.price = if job.price == 0 { price } else { job.price.min(price) };
                job.after = after.min(job.request.wait);
                client.decide(now, job, out)
            }),
            Input::Moved { task, worker, to } => self.moved(now, task, worker, to, out),
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
