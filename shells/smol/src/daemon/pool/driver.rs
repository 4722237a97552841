//! The thread that owns the machine and does what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
    time::Instant as Clock,
};

use smol::{Timer, channel, future};
use tutu_node::{
    kit::{Instant, Machine},
    work::pool::{self, Ask, Client, Config, Effect, Input, Model, Room, Want, Why},
};

use super::{Lease, Refusal, Resident, Wanted};
use crate::{
    engine::{self, Engine, Options, Runner, Sources, disk::Disk},
    log::{self, Field, Level},
    measure::Measures,
};

type Reply = channel::Sender<Result<Lease, Refusal>>;

/// What the thread is told.
pub(super) enum Message {
    Want { ask: Ask, wanted: Wanted, model: Model, needs: Room, reply: Reply },
    Happened(Input),
    Opened(Model, Result<Box<Runner>, engine::Error>),
    Unload(Sources, channel::Sender<bool>),
    Status(channel::Sender<Vec<Resident>>),
}

/// See the module.
pub(super) struct Driver {
    machine: pool::Pool,
    start: Clock,
    inbox: channel::Sender<Message>,
    options: Options,
    measures: Arc<Measures>,
    disk: Option<Arc<Disk>>,
    replies: BTreeMap<Ask, (Model, Reply)>,
    wanted: BTreeMap<Model, Wanted>,
    open: BTreeMap<Model, Box<Runner>>,
    /// Models that were opened and not used yet.
    fresh: BTreeSet<Model>,
    failures: BTreeMap<Model, Arc<engine::Error>>,
}

impl Driver {
    pub(super) fn new(
        config: Config,
        options: Options,
        measures: Arc<Measures>,
        disk: Option<Arc<Disk>>,
        inbox: channel::Sender<Message>,
    ) -> Self {
        Self {
            machine: pool::Pool::new(config),
            start: Clock::now(),
            inbox,
            options,
            measures,
            disk,
            replies: BTreeMap::new(),
            wanted: BTreeMap::new(),
            open: BTreeMap::new(),
            fresh: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Takes messages until the end of the process.
    pub(super) async fn run(mut self, inbox: &channel::Receiver<Message>) {
        let mut out = Vec::new();
        loop {
            let message = self.next(inbox).await;
            if self.machine.deadline().is_some_and(|due| due <= self.now()) {
                self.machine.tick(self.now(), &mut out);
            }
            if let Some(message) = message {
                self.take(message, &mut out);
            }
            self.perform(&mut out);
        }
    }

    /// The next message; nothing when the machine's time has come.
    async fn next(&self, inbox: &channel::Receiver<Message>) -> Option<Message> {
        // The driver holds a sender itself: the channel is never closed.
        let message = async { inbox.recv().await.ok() };
        match self.machine.deadline() {
            None => message.await,
            Some(due) => {
                let timer = async {
                    Timer::at(self.start + due.since(Instant::default())).await;
                    None
                };
                future::or(message, timer).await
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn take(&mut self, message: Message, out: &mut Vec<Effect>) {
        let input = match message {
            Message::Want { ask, wanted, model, needs, reply } => {
                let mut hasher = DefaultHasher::new();
                wanted.client.hash(&mut hasher);
                let client = Client(hasher.finish());
                let context = u32::try_from(wanted.context).unwrap_or(u32::MAX);
                let want = Want { client, model, context, needs, keep: wanted.keep };
                self.wanted.insert(model, wanted);
                self.replies.insert(ask, (model, reply));
                Input::Wanted(ask, want)
            }
            Message::Happened(input) => {
                match input {
                    Input::Left(ask) => drop(self.replies.remove(&ask)),
                    Input::Closed(model) => self.log(Level::Info, "a model was closed", model, &[]),
                    _ => {}
                }
                input
            }
            Message::Opened(model, Ok(runner)) => {
                let shared = runner.handle().shared();
                let room = shared.room();
                let mut fields =
                    vec![("memory_bytes", shared.measured().into()), ("ms", (shared.load.as_millis() as u64).into())];
                if let Some(gpu) = shared.gpu() {
                    let (layers, all) = gpu.layers();
                    fields.push(("gpu", gpu.adapter().into()));
                    fields.push(("gpu_layers", format!("{layers} of {all}").into()));
                }
                self.log(Level::Info, "a model was opened", model, &fields);
                self.open.insert(model, runner);
                self.fresh.insert(model);
                Input::Opened(model, room)
            }
            Message::Opened(model, Err(error)) => {
                self.log(Level::Error, "a model could not be opened", model, &[("error", error.to_string().into())]);
                self.failures.insert(model, error.into());
                Input::Failed(model)
            }
            Message::Unload(sources, reply) => {
                let here = self.find(&sources);
                let _ = reply.try_send(here.is_some());
                let Some(model) = here else { return };
                Input::Unload(model)
            }
            Message::Status(reply) => {
                let _ = reply.try_send(self.status());
                return;
            }
        };
        self.machine.handle(self.now(), input, out);
    }

    fn log(&self, level: Level, what: &str, model: Model, fields: &[Field<'_>]) {
        let name = [("model", self.wanted[&model].name.as_str().into())];
        log::say(level, what, &[&name, fields].concat());
    }

    /// The model of these files, if it is in memory or on its way.
    fn find(&self, sources: &Sources) -> Option<Model> {
        let mut here = self.machine.status().map(|status| status.model);
        here.find(|model| self.wanted[model].sources.files == sources.files)
    }

    fn status(&self) -> Vec<Resident> {
        let now = self.now();
        let resident = |status: pool::Status| {
            let wanted = &self.wanted[&status.model];
            Resident {
                name: wanted.name.clone(),
                sources: wanted.sources.clone(),
                status,
                expires_in: status.until.map(|until| until.since(now)),
                handle: self.open.get(&status.model).map(|runner| runner.handle().clone()),
            }
        };
        self.machine.status().map(resident).collect()
    }

    fn perform(&mut self, out: &mut Vec<Effect>) {
        for effect in out.drain(..) {
            match effect {
                Effect::Open(model, context) => self.open(model, context as usize),
                Effect::Close(model) => self.close(model),
                Effect::Grant(ask) => self.grant(ask),
                Effect::Refuse(ask, why) => self.refuse(ask, why),
            }
        }
    }

    fn grant(&mut self, ask: Ask) {
        let Some((model, reply)) = self.replies.remove(&ask) else { return };
        let runner = self.open.get(&model).expect("the machine grants what was opened and not closed");
        let fresh = self.fresh.remove(&model);
        let lease = Lease { ask, model, handle: runner.handle().clone(), inbox: self.inbox.clone(), fresh };
        // Whoever does not wait any more drops the lease, and that is all it needs.
        let _ = reply.try_send(Ok(lease));
    }

    fn refuse(&mut self, ask: Ask, why: Why) {
        let Some((model, reply)) = self.replies.remove(&ask) else { return };
        let failure = self.failures.get(&model).filter(|_| why == Why::Failed);
        let refusal = failure.map_or(Refusal::Pool(why), |error| Refusal::Open(Arc::clone(error)));
        let _ = reply.try_send(Err(refusal));
    }

    fn open(&mut self, model: Model, context: usize) {
        self.failures.remove(&model);
        let sources = Sources { template: None, ..self.wanted[&model].sources.clone() };
        // Of a GPU's own memory it takes no more than was kept for it.
        let kept = self.machine.status().find(|status| status.model == model).map(|status| status.holds.gpu.0);
        let gpu_memory = kept.filter(|bytes| *bytes > 0).or(self.options.gpu_memory);
        let (inbox, options) = (self.inbox.clone(), Options { context, gpu_memory, ..self.options });
        let (measures, name) = (Arc::clone(&self.measures), self.wanted[&model].name.clone());
        let disk = self.disk.clone();
        let work = move || {
            let mut engine = Engine::open(&sources, options)?;
            disk.into_iter().for_each(|disk| engine.keep_on(disk));
            Ok(engine)
        };
        thread::spawn(move || {
            let opened = panic::catch_unwind(AssertUnwindSafe(work));
            let mistake =
                |_| Err(engine::Error::Backend("a mistake of this program was met while it was opened".into()));
            let opened = opened.unwrap_or_else(mistake).map(|engine| Box::new(Runner::start(engine, measures, &name)));
            let _ = inbox.try_send(Message::Opened(model, opened));
        });
    }

    fn close(&mut self, model: Model) {
        let runner = self.open.remove(&model);
        self.fresh.remove(&model);
        let inbox = self.inbox.clone();
        thread::spawn(move || {
            if let Some(runner) = runner {
                runner.join();
            }
            let _ = inbox.try_send(Message::Happened(Input::Closed(model)));
        });
    }
}
