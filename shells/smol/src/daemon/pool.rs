//! Drives the core's `pool` machine: opens and closes models on threads of their own, and tells whoever waits.

mod driver;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use smol::channel;
use tutu_node::{
    kit::Bytes,
    work::pool::{self, Ask, Config, Input, Keep, Model, Room, Why},
};

use crate::{
    engine::{self, Card, Handle, Options, Sources, disk::Disk},
    measure::Measures,
};
use driver::{Driver, Message};

/// What somebody wants of the pool.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The model's files. Its template and its adapters are the asker's matter: models that differ only in those are one.
    pub sources: Sources,
    /// What it will take beside its own, in bytes: adapters, a small model that guesses.
    pub extra: u64,
    /// The name under which `ps` lists it.
    pub name: String,
    /// Tokens of context; 0 for all that the model was trained for.
    pub context: usize,
    /// How long it stays afterwards; `None` leaves that as it is.
    pub keep: Option<Keep>,
    /// Who asks, in whatever words; those who say the same take turns with each other.
    pub client: String,
}

/// Why nobody's turn came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The pool said no.
    Pool(Why),
    /// The model could not be opened.
    Open(Arc<engine::Error>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(why) => why.fmt(f),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// A model that is open, as long as this is held.
pub struct Lease {
    ask: Ask,
    model: Model,
    handle: Handle,
    inbox: channel::Sender<Message>,
    /// Whether it had to be opened for this ask.
    fresh: bool,
}

impl Lease {
    /// To ask it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What is known of the model apart from its weights.
    pub fn card(&self) -> &Card {
        &self.handle.shared().card
    }

    /// Tells the pool what the model takes now.
    pub(super) fn tell_size(&self) {
        let now = self.handle.shared().room();
        let _ = self.inbox.try_send(Message::Happened(Input::Measured(self.model, now)));
    }

    /// How long it took to open, where it was opened for this ask.
    pub fn load(&self) -> Duration {
        if self.fresh { self.handle.shared().load } else { Duration::ZERO }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Where a GPU was lost, main memory has it all now.
        if self.handle.shared().has_left_gpu() {
            self.tell_size();
        }
        let _ = self.inbox.try_send(Message::Happened(Input::Left(self.ask)));
    }
}

/// A model that is in memory or on its way.
#[derive(Clone)]
pub struct Resident {
    /// Under which name it was asked for last.
    pub name: String,
    /// Its files.
    pub sources: Sources,
    /// What the machine knows.
    pub status: pool::Status,
    /// In how long it goes, if nobody uses it.
    pub expires_in: Option<Duration>,
    /// To ask it, once it is open.
    pub handle: Option<Handle>,
}

/// The models of this process.
pub struct Pool {
    inbox: channel::Sender<Message>,
    asks: AtomicU64,
    options: Options,
    measures: Arc<Measures>,
    known: Mutex<Known>,
}

/// A model's files, and tokens of context.
type Opened = (Vec<PathBuf>, usize);

/// Numbers of models, and what they were seen to need.
#[derive(Default)]
struct Known {
    numbers: BTreeMap<Vec<PathBuf>, Model>,
    needs: BTreeMap<(Model, usize), engine::Estimate>,
    /// What small models that guess take.
    drafts: BTreeMap<Opened, u64>,
}

/// An ask that waits; dropped, it waits no more.
struct Waiting<'p> {
    inbox: &'p channel::Sender<Message>,
    ask: Option<Ask>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ask) = self.ask {
            let _ = self.inbox.try_send(Message::Happened(Input::Left(ask)));
        }
    }
}

impl Pool {
    /// Starts with nothing in memory. `options` say how models are opened, but for their context; keys and values that
    /// would be forgotten go to `disk`.
    ///
    /// # Panics
    /// If the system has no thread left.
    pub fn start(config: Config, options: Options, disk: Option<Arc<Disk>>) -> Self {
        let (sender, inbox) = channel::unbounded();
        let measures = Arc::<Measures>::default();
        let driver = Driver::new(config, options, Arc::clone(&measures), disk, sender.clone());
        // Woken, not watching sockets: that is for the thread that serves them.
        let work = move || smol::future::block_on(driver.run(&inbox));
        thread::Builder::new().name("tutu-pool".into()).spawn(work).expect("the system has threads");
        Self { inbox: sender, asks: AtomicU64::new(0), options, measures, known: Mutex::default() }
    }

    /// Waits until it is this ask's turn with a model, which is opened where it is not.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn lease(&self, wanted: Wanted) -> Result<Lease, Refusal> {
        let start = Instant::now();
        let lease = self.turn(wanted).await;
        match &lease {
            Ok(lease) => {
                let wait = start.elapsed().saturating_sub(lease.load());
                self.measures.queue_wait.record(wait.as_secs_f64());
            }
            Err(_) => drop(self.measures.refused.fetch_add(1, Ordering::Relaxed)),
        }
        lease
    }

    /// What its models did.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    async fn turn(&self, mut wanted: Wanted) -> Result<Lease, Refusal> {
        let (model, estimate) = self.look(&wanted.sources, wanted.context).await?;
        wanted.context = estimate.context;
        let ask = Ask(self.asks.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = channel::bounded(1);
        let mut waiting = Waiting { inbox: &self.inbox, ask: Some(ask) };
        let shut = |_| Refusal::Pool(Why::Shut);
        if estimate.gpu.is_some() {
            let _ = self.inbox.try_send(Message::Happened(Input::Found(Bytes(estimate.gpu_all))));
        }
        let needs = estimate.room(estimate.gpu).plus(Room::main(wanted.extra));
        let want = Message::Want { ask, wanted, model, needs, reply };
        self.inbox.try_send(want).map_err(|_| Refusal::Pool(Why::Shut))?;
        let lease = answer.recv().await.map_err(shut)?;
        // From here on the lease tells that the ask is done.
        waiting.ask = None;
        lease
    }

    /// Lets a model go as soon as nobody uses it; answers whether it was there.
    pub async fn unload(&self, sources: &Sources) -> bool {
        let (reply, answer) = channel::bounded(1);
        let _ = self.inbox.try_send(Message::Unload(sources.clone(), reply));
        answer.recv().await.unwrap_or(false)
    }

    /// All models that are in memory or on their way.
    pub async fn status(&self) -> Vec<Resident> {
        let (reply, answer) = channel::bounded(1);
        let _ = self.inbox.try_send(Message::Status(reply));
        answer.recv().await.unwrap_or_default()
    }

    /// Refuses whoever waits from now on; what runs may end.
    pub fn shut(&self) {
        let _ = self.inbox.try_send(Message::Happened(Input::Shut));
    }

    /// What a small model takes that guesses for conversations of so many tokens, in bytes.
    ///
    /// # Errors
    /// [`Refusal::Open`].
    pub(super) async fn draft_bytes(&self, files: &[PathBuf], context: usize) -> Result<u64, Refusal> {
        let key = (files.to_vec(), context);
        let known = |pool: &Self| pool.known.lock().unwrap_or_else(PoisonError::into_inner).drafts.get(&key).copied();
        if let Some(bytes) = known(self) {
            return Ok(bytes);
        }
        let sources = Sources { files: files.to_vec(), ..Sources::default() };
        let options = Options { context, texts: 1, kv_memory: None, gpu_layers: Some(0), ..self.options };
        let estimate = smol::unblock(move || engine::estimate(&sources, options)).await;
        let bytes = estimate.map_err(|error| Refusal::Open(error.into()))?.bytes();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).drafts.insert(key, bytes);
        Ok(bytes)
    }

    /// Opens a small model that guesses for another.
    ///
    /// # Errors
    /// As [`engine::draft`].
    pub(super) async fn draft(&self, files: &[PathBuf], card: &Card) -> Result<engine::Draft, engine::Error> {
        let (files, vocabulary) = (files.to_vec(), card.facts().vocabulary);
        let options = Options { context: card.context(), ..self.options };
        smol::unblock(move || engine::draft(&files, options, vocabulary)).await
    }

    /// Lets all models go, and waits until they are gone, but not for ever.
    pub async fn close(&self, patience: Duration) {
        self.shut();
        let start = Instant::now();
        while start.elapsed() < patience && !self.status().await.is_empty() {
            smol::Timer::after(Duration::from_millis(20)).await;
        }
    }

    /// The number of a model, and what it needs in memory. Looked up in its files the first time.
    async fn look(&self, sources: &Sources, context: usize) -> Result<(Model, engine::Estimate), Refusal> {
        let (model, known) = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let next = Model(all.numbers.len() as u64);
            let model = *all.numbers.entry(sources.files.clone()).or_insert(next);
            (model, all.needs.get(&(model, context)).copied())
        };
        if let Some(needs) = known {
            return Ok((model, needs));
        }
        let (sources, options) = (sources.clone(), Options { context, ..self.options });
        let estimate = smol::unblock(move || engine::estimate(&sources, options)).await;
        let estimate = estimate.map_err(|error| Refusal::Open(error.into()))?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).needs.insert((model, context), estimate);
        Ok((model, estimate))
    }
}
