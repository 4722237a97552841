//! Fetching files: from several sources in turn, in parallel ranges, through kills and bad networks.
//!
//! ```text
//!                 +---- another try ----+        +--- another try ---+
//!                 v                     |        v                   |
//! Ask --Probe--> probing --(fails)--> resting   part --(breaks)--> waiting
//!                 | Sized                        | Finished (each)
//!                 +----------> loading ----------+---> verifying --(right)--> publishing --> Done
//! a source refuses, fails too often, or delivers something else: the next source, at once
//! no source is left, or the disk would not: Refuse, with the reason of every source
//! ```
//!
//! Whoever asks for what is being fetched already waits with the others; when the last one leaves, the
//! transfer stops and what is there is kept for the next time.
//!
//! Does not know what a model is: which files a name stands for is decided in [`registry`] and
//! `work::models`. Does not touch bytes: the shell writes them to a partial file, hashes it, and puts it
//! in place, each when it is told to.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::{fmt, ops::Range, time::Duration};

use serde::{Deserialize, Serialize};

mod blob;
pub mod ranges;
pub mod registry;
pub mod source;

use blob::{Blob, Fate, Step};
pub use ranges::Ranges;
pub use source::{Failure, Reason, Source};

use crate::kit::{Bytes, Digest, Instant, Machine};

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Files fetched at a time; more are refused. At least 1.
    pub pulls_max: usize,
    /// Who may wait for one file; more are refused. At least 1.
    pub waiters_max: usize,
    /// Ranges in flight at a time, of all files together; at least 1.
    pub flights_max: usize,
    /// Smallest range that is worth its request; at least 1.
    pub part_min: Bytes,
    /// Largest range, unless the file would have more than 4096 of them; at least `part_min`.
    pub part_max: Bytes,
    /// How long a connection may take to come about; above 0.
    pub connect: Duration,
    /// How long a server may take to say how large the file is; above 0.
    pub answer: Duration,
    /// How long a range may stay silent; above 0.
    pub stall: Duration,
    /// The same for `pip`, which shows nothing of its progress; above 0.
    pub wheel_stall: Duration,
    /// Times that one range is asked for without getting on; at least 1.
    pub tries_max: u32,
    /// What must stay free on the disk.
    pub spare: Bytes,
    /// How long progress may go unsaved; above 0.
    pub save: Duration,
}

impl Default for Config {
    /// Retries as Ollama has them (6 times after 1, 2, 4 … seconds, 30 s of silence). Its ranges (100 MB to
    /// 1000 MB, 16 at a time) are smaller here, so that a small model comes in parallel too.
    fn default() -> Self {
        Self {
            pulls_max: 256,
            waiters_max: 1024,
            flights_max: 8,
            part_min: Bytes(16 << 20),
            part_max: Bytes(64 << 20),
            connect: Duration::from_secs(4),
            answer: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            wheel_stall: Duration::from_secs(600),
            tries_max: 6,
            spare: Bytes(64 << 20),
            save: Duration::from_millis(250),
        }
    }
}

/// What is fetched; two that ask for the same wait for one transfer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The bytes with this digest, whoever has them.
    Blob(Digest),
    /// Whatever stands there; its digest is known only afterwards.
    Url(String),
}

/// One file that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which.
    pub what: What,
    /// How large it is, where that is known beforehand.
    pub size: Option<Bytes>,
    /// Tried in turn.
    pub sources: Vec<Source>,
    /// What an earlier run left of it.
    pub left: Partial,
    /// What is free on the disk now, not counting `left`.
    pub free: Bytes,
}

/// What is there of a file that is not whole yet. Kept on disk beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// Of the whole file.
    pub size: Option<u64>,
    /// What the server calls this state of the file (`ETag`, else `Last-Modified`).
    pub version: Option<String>,
    /// Which bytes are there.
    pub have: Ranges,
}

/// Somebody who waits; the shell's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiter(pub u64);

/// One request to one source; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody wants a file.
    #[allow(missing_docs, reason = "explained by their types")]
    Ask { waiter: Waiter, want: Want },
    /// Somebody does not wait any longer, for anything.
    #[allow(missing_docs, reason = "explained by their types")]
    Leave { waiter: Waiter },
    /// The answer to [`Effect::Probe`].
    Sized {
        /// Of the probe.
        job: Job,
        /// `None` if the server does not tell.
        size: Option<u64>,
        /// Whether it sends ranges.
        ranges: bool,
        /// See [`Partial::version`].
        version: Option<String>,
        /// If the server tells it.
        digest: Option<Digest>,
    },
    /// So many bytes of what was asked for, from its beginning, are in the partial file.
    Arrived {
        /// Of the fetch.
        job: Job,
        /// Since its beginning, not since the last report.
        bytes: u64,
    },
    /// The answer is over.
    Finished {
        /// Of the fetch.
        job: Job,
        /// All that came.
        bytes: u64,
    },
    /// A probe or a fetch came to nothing; of what had arrived, nothing is lost.
    #[allow(missing_docs, reason = "explained by their types")]
    Failed { job: Job, why: Failure },
    /// The answer to [`Effect::Verify`].
    #[allow(missing_docs, reason = "explained by their types")]
    Verified { what: What, digest: Digest },
    /// [`Effect::Publish`] is done.
    #[allow(missing_docs, reason = "explained by their types")]
    Published { what: What },
    /// The disk would not: any effect on the file of `what` failed.
    #[allow(missing_docs, reason = "explained by their types")]
    Stuck { what: What, why: String },
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask how large the file is and whether it comes in ranges; then say [`Input::Sized`].
    Probe {
        /// To answer to.
        job: Job,
        /// Where.
        source: Source,
        /// How long the connection may take.
        connect: Duration,
    },
    /// Get the bytes and write them into the partial file of `what`, each where it belongs.
    Fetch {
        /// To answer to.
        job: Job,
        /// Which file.
        what: What,
        /// Where from.
        source: Source,
        /// Which bytes; `None` for all of them, into an empty file.
        range: Option<Range<u64>>,
        /// Send it as `If-Range`; an answer that is not 206 is [`Failure::NoRanges`].
        version: Option<String>,
        /// How long the connection may take.
        connect: Duration,
    },
    /// Stop a probe or a fetch. Whatever it reports from now on is ignored.
    #[allow(missing_docs, reason = "explained by their types")]
    Abort { job: Job },
    /// Throw the partial file away.
    #[allow(missing_docs, reason = "explained by their types")]
    Clear { what: What },
    /// Write down what is there, after the bytes themselves.
    #[allow(missing_docs, reason = "explained by their types")]
    Save { what: What, partial: Partial },
    /// Hash the partial file; then say [`Input::Verified`].
    #[allow(missing_docs, reason = "explained by their types")]
    Verify { what: What },
    /// Make the partial file the blob `digest`, in one step, and forget its [`Partial`]; then say [`Input::Published`].
    #[allow(missing_docs, reason = "explained by their types")]
    Publish { what: What, digest: Digest },
    /// Show people how far it is.
    Tell {
        /// Which file.
        what: What,
        /// Bytes that are there.
        have: Bytes,
        /// Bytes in all, if known.
        size: Option<Bytes>,
    },
    /// It is there.
    #[allow(missing_docs, reason = "explained by their types")]
    Done { waiter: Waiter, what: What, digest: Digest },
    /// It will not come.
    #[allow(missing_docs, reason = "explained by their types")]
    Refuse { waiter: Waiter, what: What, error: Error },
}

/// Why a file will not come. What is there of it is kept for the next time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Too little room on the disk. Nothing was fetched.
    #[allow(missing_docs, reason = "explained by the variant")]
    Space { missing: Bytes },
    /// Every source failed, each for its reason.
    Sources(Vec<(Source, Reason)>),
    /// The disk would not. The world's fault.
    Disk(String),
    /// So many files are being fetched, or so many wait for this one, already.
    #[allow(missing_docs, reason = "explained by the variant")]
    Full { most: usize },
}

/// All transfers under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulls {
    config: Config,
    blobs: BTreeMap<What, Blob>,
    next_job: u64,
}

impl Pulls {
    /// Nothing under way.
    pub const fn new(config: Config) -> Self {
        Self { config, blobs: BTreeMap::new(), next_job: 0 }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.blobs.is_empty()
    }

    fn ask(&mut self, now: Instant, waiter: Waiter, want: Want, out: &mut Vec<Effect>) {
        let what = want.what.clone();
        let full = match self.blobs.get(&what) {
            Some(blob) => (blob.waiters.len() >= self.config.waiters_max).then_some(self.config.waiters_max),
            None => (self.blobs.len() >= self.config.pulls_max).then_some(self.config.pulls_max),
        };
        if let Some(most) = full {
            out.push(Effect::Refuse { waiter, what, error: Error::Full { most } });
        } else if let Some(blob) = self.blobs.get_mut(&what) {
            blob.waiters.insert(waiter);
            out.push(blob.news(&what));
        } else {
            self.blobs.insert(what.clone(), Blob::new(want, waiter));
            self.step(now, &what, out, Blob::start);
        }
    }

    fn leave(&mut self, now: Instant, waiter: Waiter, out: &mut Vec<Effect>) {
        let waits = |blob: &Blob| blob.waiters.contains(&waiter);
        let left: Vec<What> = self.blobs.iter().filter(|(_, b)| waits(b)).map(|(what, _)| what.clone()).collect();
        for what in left {
            self.step(now, &what, out, |blob, step| blob.leave(waiter, step));
        }
    }

    /// Lets one transfer take a step and ends it if that was its last.
    fn step(
        &mut self,
        now: Instant,
        what: &What,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Blob, &mut Step) -> Fate,
    ) {
        let Some(blob) = self.blobs.get_mut(what) else { return };
        let mut step = Step { config: &self.config, next_job: &mut self.next_job, now, what, out };
        let end = match act(blob, &mut step) {
            Fate::Stays => return,
            Fate::Ends(end) => end,
        };
        let blob = self.blobs.remove(what).expect("it was there a moment ago");
        out.extend(blob.waiters.into_iter().map(|waiter| match end.clone() {
            Ok(digest) => Effect::Done { waiter, what: what.clone(), digest },
            Err(error) => Effect::Refuse { waiter, what: what.clone(), error },
        }));
    }

    /// The same for the transfer that `job` belongs to; none, if it was aborted.
    fn step_of(
        &mut self,
        now: Instant,
        job: Job,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Blob, &mut Step) -> Fate,
    ) {
        let owner = self.blobs.iter().find(|(_, blob)| blob.has(job)).map(|(what, _)| what.clone());
        if let Some(what) = owner {
            self.step(now, &what, out, act);
        }
    }

    fn flights(&self) -> usize {
        self.blobs.values().map(Blob::flights).sum()
    }

    /// Starts the ranges that may start.
    fn launch(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut room = self.config.flights_max.saturating_sub(self.flights());
        for (what, blob) in &mut self.blobs {
            let mut step = Step { config: &self.config, next_job: &mut self.next_job, now, what, out };
            room -= blob.launch(room, &mut step);
        }
    }
}

impl Machine for Pulls {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Ask { waiter, want } => self.ask(now, waiter, want, out),
            Input::Leave { waiter } => self.leave(now, waiter, out),
            Input::Sized { job, size, ranges, version, digest } => {
                self.step_of(now, job, out, |blob, step| blob.sized(size, ranges, version, digest, step));
            }
            Input::Arrived { job, bytes } => self.step_of(now, job, out, |blob, step| blob.arrived(job, bytes, step)),
            Input::Finished { job, bytes } => self.step_of(now, job, out, |blob, step| blob.finished(job, bytes, step)),
            Input::Failed { job, why } => {
                self.step_of(now, job, out, |blob, step| blob.failed(job, Reason::Failed(why), step));
            }
            Input::Verified { what, digest } => self.step(now, &what, out, |blob, step| blob.verified(digest, step)),
            Input::Published { what } => self.step(now, &what, out, |blob, _| blob.published()),
            Input::Stuck { what, why } => self.step(now, &what, out, |blob, step| blob.stuck(why, step)),
        }
        self.launch(now, out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due: Vec<What> = self.blobs.iter().filter(|(_, b)| b.is_due(now)).map(|(what, _)| what.clone()).collect();
        for what in due {
            self.step(now, &what, out, Blob::tick);
        }
        self.launch(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let room = self.flights() < self.config.flights_max;
        self.blobs.values().filter_map(|blob| blob.deadline(room)).min()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => digest.fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Space { missing } => write!(f, "the disk is {missing} short"),
            Self::Sources(reasons) if reasons.is_empty() => f.write_str("no source is known"),
            Self::Sources(reasons) => {
                f.write_str("no source delivered it")?;
                reasons.iter().try_for_each(|(source, reason)| write!(f, "\n  {source}: {reason}"))
            }
            Self::Disk(why) => write!(f, "the disk would not: {why}"),
            Self::Full { most } => write!(f, "{most} are waiting already"),
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "j{}", self.0)
    }
}

#[cfg(test)]
mod tests;
