//! A thread of its own for each open model: it takes in asks between two steps and tells each asker its tokens.
//!
//! Whoever waits for an answer holds an [`Answer`]. Dropped, it ends the answer before the next token. When it is not
//! read, the answer pauses after [`UNREAD_MAX`] tokens until it is: a slow reader costs neither memory nor
//! the others' time.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use smol::channel;
use tutu_llm::batch::Id;
use tutu_node::work::room::Room;
use tutu_os::Mapped;

use super::{Card, Engine, Error, Estimate, Event, Flow, gpu::Gpu, open::OnGpu};
use crate::{
    measure::{Measures, OfModel, Watch},
    talk::{Heard, Prepared},
};

/// Tokens that an answer is ahead of its reader before it pauses.
pub const UNREAD_MAX: usize = 512;

/// What is asked of the thread.
enum Command {
    Answer(u64, Box<Prepared>, Outlet),
    /// The answer of that number is not wanted any more.
    Drop(u64),
    /// Its reader has caught up.
    Read,
    /// Something between two steps.
    Call(Box<dyn FnOnce(&mut Engine) + Send>),
}

/// What askers may look at without asking.
pub struct Shared {
    /// What is known of the model apart from its weights.
    pub card: Card,
    /// How long opening took.
    pub load: Duration,
    /// What it may take in memory.
    estimate: Estimate,
    /// The GPU that computes some of its layers, or all; `None` where the processor does.
    gpu: Option<Gpu>,
    /// What it is doing.
    pub gauges: Gauges,
    /// What it was read from.
    files: Vec<Arc<Mapped>>,
}

impl Shared {
    /// Whether its files are still what they were when it was opened.
    pub fn is_intact(&self) -> bool {
        self.files.iter().all(|file| file.is_intact())
    }

    /// What adapters and a small model that guesses take, in bytes.
    pub fn extra(&self) -> u64 {
        self.gauges.extra.load(Ordering::Relaxed)
    }

    /// The GPU that computes some of its layers, or all; `None` where the processor does, also since that was lost.
    pub fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref().filter(|gpu| !gpu.is_left())
    }

    /// Whether a GPU had a part in it and has none any more.
    pub fn has_left_gpu(&self) -> bool {
        self.gpu.as_ref().is_some_and(Gpu::is_left)
    }

    /// What the pool counts of each memory.
    pub fn room(&self) -> Room {
        let own = self.gpu().filter(|gpu| gpu.is_own());
        let on_gpu = own.map(|gpu| OnGpu { bytes: gpu.bytes(), layers: gpu.layers().0, all: gpu.layers().1 });
        self.estimate.room(on_gpu).plus(Room::main(self.extra()))
    }

    /// What it takes in memory, in bytes: weights, and keys and values as far as they are there.
    pub fn measured(&self) -> u64 {
        self.estimate.bytes_of(self.gauges.pages.0.load(Ordering::Relaxed)) + self.extra()
    }
}

/// Counts of one model, since it was opened.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Answers that are being written.
    pub busy: AtomicUsize,
    /// Pages of keys and values in use, and all.
    pub pages: (AtomicUsize, AtomicUsize),
    /// Steps.
    pub steps: AtomicU64,
    /// Answers that took part in all steps together.
    pub texts: AtomicU64,
    /// Tokens of prompts that were computed, and tokens that were chosen.
    pub tokens: (AtomicU64, AtomicU64),
    /// Of those chosen, how many had been guessed.
    pub guessed: AtomicU64,
    /// Bytes of adapters and of a small model that guesses.
    pub extra: AtomicU64,
}

/// Asks an open model.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    numbers: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

/// The thread of an open model.
pub struct Runner {
    handle: Handle,
    thread: thread::JoinHandle<()>,
}

impl Runner {
    /// Gives an engine a thread; what it does is counted under `name`.
    ///
    /// # Panics
    /// If the system has no thread left.
    pub fn start(engine: Engine, measures: Arc<Measures>, name: &str) -> Self {
        let (commands, inbox) = mpsc::channel();
        let shared = Arc::new(Shared {
            card: engine.card().clone(),
            load: engine.load(),
            estimate: engine.estimate(),
            gpu: engine.gpu().cloned(),
            gauges: Gauges::default(),
            files: engine.files.clone(),
        });
        let handle = Handle { commands, numbers: Arc::default(), shared: Arc::clone(&shared) };
        let model = measures.of(name);
        let work = move || Loop { engine, shared, answers: BTreeMap::new(), measures, model }.run(&inbox);
        let thread = thread::Builder::new().name("tutu-model".into()).spawn(work).expect("the system has threads");
        Self { handle, thread }
    }

    /// To ask it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends when the last handle is gone and all answers are written. Blocks until then.
    pub fn join(self) {
        drop(self.handle);
        // A thread that panicked has told its askers by dropping their ends.
        drop(self.thread.join());
    }
}

impl Handle {
    /// What can be seen without asking.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Begins an answer.
    pub fn answer(&self, prepared: Prepared) -> Answer {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = channel::unbounded();
        let outlet = Outlet { events: sender, paused: Arc::default(), written: Arc::default(), asked: Instant::now() };
        let (paused, written) = (Arc::clone(&outlet.paused), Arc::clone(&outlet.written));
        // If the thread is gone its end of the channel goes with the command, and the answer says so.
        let _ = self.commands.send(Command::Answer(number, Box::new(prepared), outlet));
        Answer { number, events, paused, written, commands: self.commands.clone() }
    }

    /// Has the engine do something between two steps. `None` if its thread is gone.
    pub async fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut Engine) -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = channel::bounded(1);
        let shared = Arc::clone(&self.shared);
        let call = Box::new(move |engine: &mut Engine| {
            let made = work(engine);
            // Whoever waits may look at once.
            shared.gauges.extra.store(engine.extra(), Ordering::Relaxed);
            let _ = sender.try_send(made);
        });
        self.commands.send(Command::Call(call)).ok()?;
        receiver.recv().await.ok()
    }
}

/// Where an answer's events come out.
pub struct Answer {
    number: u64,
    events: channel::Receiver<Heard>,
    paused: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    commands: Sender<Command>,
}

impl Answer {
    /// What comes next; the last is [`Heard::End`] or [`Heard::Failed`], and then nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        let event = self.events.recv().await.ok()?;
        self.tell_read();
        Some(event)
    }

    /// As [`Self::next`], if it is there already.
    pub fn try_next(&mut self) -> Option<Heard> {
        let event = self.events.try_recv().ok()?;
        self.tell_read();
        Some(event)
    }

    /// Tokens that were written so far, whether they were read or not.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn tell_read(&self) {
        if self.events.len() < UNREAD_MAX / 2 && self.paused.swap(false, Ordering::AcqRel) {
            let _ = self.commands.send(Command::Read);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Drop(self.number));
    }
}

/// Where the thread puts an answer's events.
struct Outlet {
    events: channel::Sender<Heard>,
    paused: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    asked: Instant,
}

struct Loop {
    engine: Engine,
    shared: Arc<Shared>,
    answers: BTreeMap<u64, Writing>,
    measures: Arc<Measures>,
    model: Arc<OfModel>,
}

/// An answer that is being written.
struct Writing {
    id: Id,
    events: channel::Sender<Heard>,
    paused: Arc<AtomicBool>,
}

impl Loop {
    fn run(mut self, inbox: &Receiver<Command>) {
        loop {
            let busy = self.may_step();
            let next = if busy { inbox.try_recv() } else { inbox.recv().map_err(|_| TryRecvError::Disconnected) };
            match next {
                Ok(command) => {
                    self.take(command);
                    continue;
                }
                Err(TryRecvError::Empty) => {}
                // Nobody can ask any more; those who read on get the rest.
                Err(TryRecvError::Disconnected) if !busy => return self.engine.put_away(),
                Err(TryRecvError::Disconnected) => {}
            }
            self.step();
        }
    }

    /// Whether a step would do something.
    fn may_step(&mut self) -> bool {
        let mut awake = false;
        for writing in self.answers.values() {
            let full = writing.events.len() >= UNREAD_MAX;
            if full {
                writing.paused.store(true, Ordering::Release);
            }
            // The reader may have read all of it before it could see that it is waited for.
            let paused = full && writing.events.len() >= UNREAD_MAX / 2;
            self.engine.pause(writing.id, paused);
            awake |= !paused;
        }
        awake
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Answer(number, prepared, outlet) => self.begin(number, *prepared, outlet),
            Command::Drop(number) => {
                if let Some(writing) = self.answers.remove(&number) {
                    self.engine.cancel(writing.id);
                }
            }
            Command::Read => {}
            Command::Call(call) => call(&mut self.engine),
        }
        self.shared.gauges.busy.store(self.answers.len(), Ordering::Relaxed);
    }

    fn begin(&mut self, number: u64, prepared: Prepared, outlet: Outlet) {
        let Outlet { events, paused, written, asked } = outlet;
        let sender = events.clone();
        let hear = move |heard| if sender.try_send(heard).is_ok() { Flow::Continue } else { Flow::Stop };
        let mut sink = prepared.sink(hear);
        let mut watch = Watch::new(Arc::clone(&self.measures), Arc::clone(&self.model), asked);
        let joined = watch.joined();
        let watched = move |event: Event| {
            if matches!(&event, Event::Piece(piece) if piece.id.is_some()) {
                written.fetch_add(1, Ordering::Relaxed);
            }
            watch.pass(event, Instant::now(), &mut sink)
        };
        match self.engine.submit(prepared.request, Box::new(watched)) {
            Ok(id) => {
                joined.store(true, Ordering::Relaxed);
                self.answers.insert(number, Writing { id, events, paused });
            }
            Err(error) => drop(events.try_send(Heard::Failed(error))),
        }
    }

    fn step(&mut self) {
        let gauges = &self.shared.gauges;
        let start = Instant::now();
        // A mistake of ours must not take the others' models with it: it ends this one's answers.
        let stepped = std::panic::catch_unwind(AssertUnwindSafe(|| self.engine.step()));
        match stepped {
            Ok(Ok(stepped)) => {
                let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
                add(&gauges.steps, 1);
                add(&gauges.texts, stepped.texts);
                add(&gauges.tokens.0, stepped.prompt);
                add(&gauges.tokens.1, stepped.chosen);
                add(&gauges.guessed, stepped.guessed);
                self.measures.stepped(&stepped, start.elapsed());
            }
            // The sinks were told.
            Ok(Err(_)) => {}
            Err(_) => {
                for writing in self.answers.values() {
                    self.engine.cancel(writing.id);
                    let reason = "a mistake of this program ended the answer; its log has more".into();
                    let _ = writing.events.try_send(Heard::Failed(Error::Backend(reason)));
                }
            }
        }
        let engine = &self.engine;
        self.answers.retain(|_, writing| engine.is_writing(writing.id));
        let (used, all) = self.engine.pages();
        gauges.pages.0.store(used, Ordering::Relaxed);
        gauges.pages.1.store(all, Ordering::Relaxed);
        gauges.busy.store(self.answers.len(), Ordering::Relaxed);
    }
}
