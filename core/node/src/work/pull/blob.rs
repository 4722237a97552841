//! One file under way.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use core::time::Duration;

use super::{Config, Effect, Error, Failure, Job, Partial, Reason, Source, Waiter, Want, What};
use crate::kit::{Bytes, Digest, Instant};

/// Ranges of one file at most: what is remembered of it is bounded, whatever size a server claims.
const PARTS_MAX: u64 = 4096;
/// A range that got on by this much may fail as often again.
const PROGRESS: u64 = 1 << 20;
/// The longest rest between two tries, whatever a server asks for.
const REST_MAX: Duration = Duration::from_secs(60);

/// A file, who waits for it, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blob {
    pub(super) waiters: BTreeSet<Waiter>,
    /// As it was wanted.
    size: Option<u64>,
    sources: Vec<Source>,
    free: u64,
    /// Index of the source in use. Invariant: below the number of sources, once started.
    at: usize,
    reasons: Vec<(Source, Reason)>,
    /// What lies in the partial file.
    partial: Partial,
    /// Whether some of it came from an earlier run or another source.
    mixed: bool,
    /// When the partial file's list must be written, because more is there than it says.
    unsaved: Option<Instant>,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Not started.
    New,
    /// The source was asked for the size.
    Probing { job: Job, until: Instant, tries: u32 },
    /// It will be asked again.
    Resting { until: Instant, tries: u32 },
    /// Bytes are coming.
    Loading(Load),
    /// The shell hashes. It has no deadline: the shell is no stranger, and how long a hash takes is the file's affair.
    Verifying { told: Option<Digest> },
    /// The shell renames; no deadline for the same reason.
    Publishing { digest: Digest },
}

#[derive(Clone, Debug, PartialEq)]
struct Load {
    /// Of the whole file.
    size: Option<u64>,
    /// Whether in ranges; else there is one part, which begins at 0 whenever it is tried.
    ranged: bool,
    /// What the server says the digest is.
    told: Option<Digest>,
    /// Those not finished.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    start: u64,
    /// `None`: up to an end that nobody knows.
    end: Option<u64>,
    /// Bytes that are there, from `start`.
    done: u64,
    /// Bytes that were there when the present try began.
    before: u64,
    /// Failed tries since it last got on.
    tries: u32,
    state: Flight,
}

#[derive(Clone, Debug, PartialEq)]
enum Flight {
    /// May start from then on.
    Waiting { from: Instant },
    /// In flight, and must show something until then.
    Flying { job: Job, until: Instant },
}

/// What becomes of a transfer after a step.
pub(super) enum Fate {
    /// It goes on.
    Stays,
    /// It is over.
    Ends(Result<Digest, Error>),
}

/// What a step may use.
pub(super) struct Step<'a> {
    pub(super) config: &'a Config,
    pub(super) next_job: &'a mut u64,
    pub(super) now: Instant,
    pub(super) what: &'a What,
    pub(super) out: &'a mut Vec<Effect>,
}

impl Step<'_> {
    fn job(&mut self) -> Job {
        *self.next_job += 1;
        Job(*self.next_job)
    }
}

impl Blob {
    pub(super) fn new(want: Want, waiter: Waiter) -> Self {
        Self {
            waiters: BTreeSet::from([waiter]),
            size: want.size.map(|size| size.0),
            sources: want.sources,
            free: want.free.0,
            at: 0,
            reasons: Vec::new(),
            mixed: !want.left.have.is_empty(),
            partial: want.left,
            unsaved: None,
            state: State::New,
        }
    }

    pub(super) fn start(&mut self, step: &mut Step) -> Fate {
        match self.size {
            Some(size) if let Err(error) = self.room(size, step.config) => Fate::Ends(Err(error)),
            _ => self.begin(0, step),
        }
    }

    /// Whether what is missing fits on the disk.
    fn room(&self, size: u64, config: &Config) -> Result<(), Error> {
        let missing = size.saturating_sub(self.partial.have.total());
        match missing.saturating_add(config.spare.0).checked_sub(self.free) {
            None | Some(0) => Ok(()),
            Some(short) => Err(Error::Space { missing: Bytes(short) }),
        }
    }

    /// Turns to the present source for the first time, or again after `tries` failures.
    fn begin(&mut self, tries: u32, step: &mut Step) -> Fate {
        let Some(source) = self.sources.get(self.at) else {
            return Fate::Ends(Err(Error::Sources(core::mem::take(&mut self.reasons))));
        };
        match source {
            Source::Web { .. } => {
                let job = step.job();
                step.out.push(Effect::Probe { job, source: source.clone(), connect: step.config.connect });
                self.state = State::Probing { job, until: step.now + step.config.answer, tries };
            }
            Source::Wheel { .. } => {
                self.clear(step);
                self.load_whole(self.size, None, step);
            }
        }
        Fate::Stays
    }

    pub(super) fn sized(
        &mut self,
        size: Option<u64>,
        ranges: bool,
        version: Option<String>,
        told: Option<Digest>,
        step: &mut Step,
    ) -> Fate {
        if !matches!(self.state, State::Probing { .. }) {
            return Fate::Stays;
        }
        self.state = State::New;
        if let (Some(there), Some(wanted)) = (size, self.size)
            && there != wanted
        {
            return self.give_up(Reason::Size { there: Bytes(there), wanted: Bytes(wanted) }, step);
        }
        let size = size.or(self.size);
        let ranged = ranges && size.is_some();
        if !ranged || !self.continues(size, version.as_deref(), step.what) {
            self.clear(step);
        }
        self.partial.size = size;
        self.partial.version = version;
        self.partial.have.clip(size.unwrap_or(u64::MAX));
        if let Some(size) = size
            && let Err(error) = self.room(size, step.config)
        {
            self.save(step);
            return Fate::Ends(Err(error));
        }
        match size {
            Some(size) if ranged => self.load_ranges(size, told, step),
            _ => self.load_whole(size, told, step),
        }
        Fate::Stays
    }

    /// Whether what is there belongs to the file that the source has. A digest says so for all sources; of a
    /// URL only the server can, by the version.
    fn continues(&self, size: Option<u64>, version: Option<&str>, what: &What) -> bool {
        let same_size = self.partial.size.is_none() || self.partial.size == size;
        match what {
            What::Blob(_) => same_size,
            What::Url(_) => same_size && version.is_some() && self.partial.version.as_deref() == version,
        }
    }

    fn load_ranges(&mut self, size: u64, told: Option<Digest>, step: &mut Step) {
        let even = size / step.config.flights_max.max(1) as u64;
        let most = step.config.part_max.0.max(step.config.part_min.0).max(1);
        let length = even.clamp(step.config.part_min.0.max(1), most).max(size.div_ceil(PARTS_MAX));
        let mut parts = Vec::new();
        for gap in self.partial.have.gaps(size) {
            let mut start = gap.start;
            while start < gap.end {
                let end = gap.end.min(start.saturating_add(length));
                parts.push(Part::new(start, Some(end), step.now));
                start = end;
            }
        }
        self.state = State::Loading(Load { size: Some(size), ranged: true, told, parts });
        step.out.push(self.news(step.what));
        self.finish(step);
    }

    fn load_whole(&mut self, size: Option<u64>, told: Option<Digest>, step: &mut Step) {
        let parts = alloc::vec![Part::new(0, size, step.now)];
        self.state = State::Loading(Load { size, ranged: false, told, parts });
        step.out.push(self.news(step.what));
    }

    /// Goes on to the hash when nothing is missing.
    fn finish(&mut self, step: &mut Step) {
        if let State::Loading(Load { parts, told, .. }) = &self.state
            && parts.is_empty()
        {
            let told = *told;
            self.save(step);
            self.state = State::Verifying { told };
            step.out.push(Effect::Verify { what: step.what.clone() });
        }
    }

    /// Starts up to `room` parts that may start; how many it started.
    pub(super) fn launch(&mut self, room: usize, step: &mut Step) -> usize {
        let State::Loading(load) = &mut self.state else { return 0 };
        let source = &self.sources[self.at];
        let stall = load.stall(source, step.config);
        let ready = |part: &&mut Part| matches!(part.state, Flight::Waiting { from } if from <= step.now);
        let mut started = 0;
        for part in load.parts.iter_mut().filter(ready).take(room) {
            *step.next_job += 1;
            let job = Job(*step.next_job);
            part.before = part.done;
            part.state = Flight::Flying { job, until: step.now + stall };
            step.out.push(Effect::Fetch {
                job,
                what: step.what.clone(),
                source: source.clone(),
                range: part.end.filter(|_| load.ranged).map(|end| part.start + part.done..end),
                version: self.partial.version.clone(),
                connect: step.config.connect,
            });
            started += 1;
        }
        started
    }

    pub(super) fn arrived(&mut self, job: Job, bytes: u64, step: &mut Step) -> Fate {
        let State::Loading(load) = &mut self.state else { return Fate::Stays };
        let stall = load.stall(&self.sources[self.at], step.config);
        let Some(part) = load.parts.iter_mut().find(|part| part.job() == Some(job)) else { return Fate::Stays };
        let done = part.before.saturating_add(bytes).min(part.length());
        if done <= part.done {
            return Fate::Stays;
        }
        part.done = done;
        part.state = Flight::Flying { job, until: step.now + stall };
        if load.ranged {
            self.partial.have.insert(part.start..part.start + part.done);
            self.unsaved.get_or_insert(step.now + step.config.save);
        }
        step.out.push(self.news(step.what));
        Fate::Stays
    }

    pub(super) fn finished(&mut self, job: Job, bytes: u64, step: &mut Step) -> Fate {
        self.arrived(job, bytes, step);
        let State::Loading(load) = &mut self.state else { return Fate::Stays };
        let Some(index) = load.parts.iter().position(|part| part.job() == Some(job)) else { return Fate::Stays };
        let part = &mut load.parts[index];
        // Of a range, what comes too much is not taken; a whole file that is too long is another file.
        if !load.ranged
            && let Some(size) = load.size
            && bytes > size
        {
            part.state = Flight::Waiting { from: step.now };
            return self.give_up(Reason::Size { there: Bytes(bytes), wanted: Bytes(size) }, step);
        }
        if let Some(end) = part.end
            && part.start + part.done < end
        {
            let text = format!("it ended after {} of {} bytes", part.done, part.length());
            return self.failed(job, Reason::Failed(Failure::Broken(text)), step);
        }
        load.parts.remove(index);
        self.finish(step);
        Fate::Stays
    }

    /// A probe or a part came to nothing.
    pub(super) fn failed(&mut self, job: Job, reason: Reason, step: &mut Step) -> Fate {
        let again = match &reason {
            Reason::Failed(failure) => failure.passes(),
            _ => true,
        };
        match &mut self.state {
            State::Probing { tries, .. } => {
                let tries = *tries + 1;
                // While there is another source, it is quicker to ask that one than to wait.
                let last = self.at + 1 == self.sources.len();
                if !again || !last || tries >= step.config.tries_max {
                    self.state = State::New;
                    return self.give_up(reason, step);
                }
                self.state = State::Resting { until: step.now + rest(tries, &reason), tries };
            }
            State::Loading(load) if reason == Reason::Failed(Failure::NoRanges) && load.ranged => {
                let (size, told) = (load.size, load.told);
                load.parts.retain(|part| part.job() != Some(job));
                self.land(step);
                self.clear(step);
                self.partial.size = size;
                self.load_whole(size, told, step);
            }
            State::Loading(load) => {
                let Some(part) = load.parts.iter_mut().find(|part| part.job() == Some(job)) else { return Fate::Stays };
                // A whole file that breaks has not got on, however much came: it begins again.
                let got_on = load.ranged && part.done - part.before >= PROGRESS;
                part.tries = if got_on { 1 } else { part.tries + 1 };
                let lost = matches!(reason, Reason::Failed(Failure::Unreachable(_)));
                let wheel = matches!(self.sources[self.at], Source::Wheel { .. });
                if !(again || lost) || wheel || part.tries >= step.config.tries_max {
                    part.state = Flight::Waiting { from: step.now };
                    return self.give_up(reason, step);
                }
                part.state = Flight::Waiting { from: step.now + rest(part.tries, &reason) };
                if !load.ranged {
                    part.done = 0;
                }
            }
            State::New | State::Resting { .. } | State::Verifying { .. } | State::Publishing { .. } => {}
        }
        Fate::Stays
    }

    /// Leaves the present source for the next.
    fn give_up(&mut self, reason: Reason, step: &mut Step) -> Fate {
        self.land(step);
        self.reasons.push((self.sources[self.at].clone(), reason));
        self.at += 1;
        self.mixed = !self.partial.have.is_empty();
        self.state = State::New;
        if self.at == self.sources.len() {
            self.save(step);
        }
        self.begin(0, step)
    }

    pub(super) fn verified(&mut self, digest: Digest, step: &mut Step) -> Fate {
        let State::Verifying { told } = self.state else { return Fate::Stays };
        let wanted = match step.what {
            What::Blob(wanted) => Some(*wanted),
            What::Url(_) => told,
        };
        match wanted {
            Some(wanted) if wanted != digest => {
                // Nobody knows whose bytes are wrong: this source gets another chance, from nothing.
                let again = self.mixed;
                self.clear(step);
                if again { self.begin(0, step) } else { self.give_up(Reason::Digest { there: digest, wanted }, step) }
            }
            _ => {
                self.state = State::Publishing { digest };
                step.out.push(Effect::Publish { what: step.what.clone(), digest });
                Fate::Stays
            }
        }
    }

    pub(super) fn published(&mut self) -> Fate {
        match self.state {
            State::Publishing { digest } => Fate::Ends(Ok(digest)),
            _ => Fate::Stays,
        }
    }

    pub(super) fn stuck(&mut self, why: String, step: &mut Step) -> Fate {
        self.land(step);
        Fate::Ends(Err(Error::Disk(why)))
    }

    pub(super) fn leave(&mut self, waiter: Waiter, step: &mut Step) -> Fate {
        self.waiters.remove(&waiter);
        // What is whole already is brought to its end.
        if !self.waiters.is_empty() || matches!(self.state, State::Verifying { .. } | State::Publishing { .. }) {
            return Fate::Stays;
        }
        self.land(step);
        self.save(step);
        // Nobody is left to hear the reason.
        Fate::Ends(Err(Error::Sources(Vec::new())))
    }

    /// Stops all that is in flight, and throws away what could not be continued.
    fn land(&mut self, step: &mut Step) {
        match &mut self.state {
            State::Probing { job, .. } => step.out.push(Effect::Abort { job: *job }),
            State::Loading(load) => {
                for part in &mut load.parts {
                    if let Flight::Flying { job, .. } = part.state {
                        step.out.push(Effect::Abort { job });
                        part.state = Flight::Waiting { from: step.now };
                    }
                }
                if !load.ranged {
                    self.clear(step);
                }
            }
            State::New | State::Resting { .. } | State::Verifying { .. } | State::Publishing { .. } => {}
        }
    }

    /// Throws away what is there.
    fn clear(&mut self, step: &mut Step) {
        let whole = matches!(self.state, State::Loading(Load { ranged: false, .. }) | State::Verifying { .. });
        if whole || !self.partial.have.is_empty() {
            step.out.push(Effect::Clear { what: step.what.clone() });
        }
        self.partial = Partial::default();
        (self.mixed, self.unsaved) = (false, None);
    }

    /// Has it written down how far it is, where that is not known yet.
    fn save(&mut self, step: &mut Step) {
        if self.unsaved.take().is_some() {
            step.out.push(Effect::Save { what: step.what.clone(), partial: self.partial.clone() });
        }
    }

    pub(super) fn tick(&mut self, step: &mut Step) -> Fate {
        if self.unsaved.is_some_and(|due| due <= step.now) {
            self.save(step);
        }
        match &self.state {
            State::Probing { job, until, .. } if *until <= step.now => {
                let job = *job;
                step.out.push(Effect::Abort { job });
                self.failed(job, Reason::Silent(step.config.answer), step)
            }
            State::Resting { until, tries } if *until <= step.now => self.begin(*tries, step),
            State::Loading(load) => {
                let stall = load.stall(&self.sources[self.at], step.config);
                let silent: Vec<Job> = load.parts.iter().filter_map(|part| part.silent(step.now)).collect();
                for job in silent.into_iter() {
                    // An earlier one of them may have ended the source, and these with it.
                    if !self.has(job) {
                        break;
                    }
                    step.out.push(Effect::Abort { job });
                    if let end @ Fate::Ends(_) = self.failed(job, Reason::Silent(stall), step) {
                        return end;
                    }
                }
                Fate::Stays
            }
            _ => Fate::Stays,
        }
    }

    /// Whether [`Self::tick`] has work; parts that may start are not its work.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline(false).is_some_and(|due| due <= now)
    }

    /// When something is due; parts that wait count only if there is room for them.
    pub(super) fn deadline(&self, room: bool) -> Option<Instant> {
        let state = match &self.state {
            State::Probing { until, .. } | State::Resting { until, .. } => Some(*until),
            State::Loading(load) => load.parts.iter().filter_map(|part| part.due(room)).min(),
            State::New | State::Verifying { .. } | State::Publishing { .. } => None,
        };
        [state, self.unsaved].into_iter().flatten().min()
    }

    pub(super) fn has(&self, job: Job) -> bool {
        match &self.state {
            State::Probing { job: mine, .. } => *mine == job,
            State::Loading(load) => load.parts.iter().any(|part| part.job() == Some(job)),
            _ => false,
        }
    }

    pub(super) fn flights(&self) -> usize {
        match &self.state {
            State::Loading(load) => load.parts.iter().filter(|part| part.job().is_some()).count(),
            _ => 0,
        }
    }

    /// How far it is.
    pub(super) fn news(&self, what: &What) -> Effect {
        let size = self.partial.size.or(self.size);
        let have = match &self.state {
            State::Verifying { .. } | State::Publishing { .. } => size.unwrap_or_default(),
            State::Loading(load) if !load.ranged => load.parts.iter().map(|part| part.done).sum(),
            _ => self.partial.have.total(),
        };
        Effect::Tell { what: what.clone(), have: Bytes(have), size: size.map(Bytes) }
    }
}

impl Load {
    fn stall(&self, source: &Source, config: &Config) -> Duration {
        match source {
            Source::Web { .. } => config.stall,
            Source::Wheel { .. } => config.wheel_stall,
        }
    }
}

impl Part {
    const fn new(start: u64, end: Option<u64>, now: Instant) -> Self {
        Self { start, end, done: 0, before: 0, tries: 0, state: Flight::Waiting { from: now } }
    }

    /// As far as it is known.
    fn length(&self) -> u64 {
        self.end.unwrap_or(u64::MAX) - self.start
    }

    const fn job(&self) -> Option<Job> {
        match self.state {
            Flight::Flying { job, .. } => Some(job),
            Flight::Waiting { .. } => None,
        }
    }

    const fn due(&self, room: bool) -> Option<Instant> {
        match self.state {
            Flight::Waiting { from } if room => Some(from),
            Flight::Waiting { .. } => None,
            Flight::Flying { until, .. } => Some(until),
        }
    }

    /// Its job, if that has been silent for too long.
    fn silent(&self, now: Instant) -> Option<Job> {
        match self.state {
            Flight::Flying { job, until } if until <= now => Some(job),
            _ => None,
        }
    }
}

/// How long to wait after so many failures: 1, 2, 4 … s, or as long as the server asks.
fn rest(tries: u32, reason: &Reason) -> Duration {
    let own = Duration::from_secs(1 << tries.saturating_sub(1).min(5));
    match reason {
        Reason::Failed(Failure::Busy { wait: Some(wait), .. }) => own.max(*wait).min(REST_MAX),
        _ => own,
    }
}
