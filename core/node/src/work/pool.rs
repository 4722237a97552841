//! Which models are in memory, and whose turn it is to use them.
//!
//! ```text
//! absent --Wanted--> waiting for room --Open--> opening --Opened--> open --idle for `keep`, or room is needed--> closing
//!    ^                                             |                                                              |
//!    '----------------- Failed --------------------'---------------------------- Closed --------------------------'
//! ```
//!
//! A model is opened once, however many want it, and nobody waits for somebody else's model to be opened. When memory is
//! short, models that nobody uses go, those first that were not used for the longest time; when all are in use
//! and somebody has waited for `patience`, the one that was used least recently takes no more askers until it is closed.
//! Among those who wait for one model the next is the oldest ask of the client that has the fewest running.
//!
//! A model that is open for a longer context serves shorter ones too; for a longer one it is closed and opened again.
//!
//! Memory is what the shell measured once a model is open, and what it expects before: the processor's, and that of GPUs,
//! whose size is told when they are found. A model that is to lie on a GPU makes room there as it does in main memory.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{fmt, time::Duration};

pub use super::room::Room;
pub use crate::kit::Keep;
use crate::kit::{Bytes, Instant, Machine};

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What all models may take together. Of GPUs it is nothing until [`Input::Found`].
    pub memory: Room,
    /// Models at once; at least 1.
    pub models_max: usize,
    /// Asks that one model serves at once; at least 1.
    pub running_max: usize,
    /// Asks that wait, for all models together.
    pub waiting_max: usize,
    /// How long a model stays when nobody uses it, unless an ask says otherwise.
    pub keep: Keep,
    /// How long an ask waits for room before a model that is in use is asked to make it.
    pub patience: Duration,
}

/// A model, as the shell numbers them: the same files and adapters are the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Model(pub u64);

/// One ask, as the shell numbers them; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask(pub u64);

/// Who asks: asks of one client wait for each other before they wait for those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u64);

/// What is wanted of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Who wants it.
    pub client: Client,
    /// Which.
    pub model: Model,
    /// Tokens of context that it must be open for.
    pub context: u32,
    /// What it is expected to take if it must be opened.
    pub needs: Room,
    /// How long it shall stay afterwards; `None` leaves that as it is.
    pub keep: Option<Keep>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody wants a model. Answered with a grant or a refusal, unless the ask leaves first.
    Wanted(Ask, Want),
    /// An ask is done, or was given up while it waited.
    Left(Ask),
    /// A model is open, and takes so much.
    Opened(Model, Room),
    /// A model that is open takes so much now.
    Measured(Model, Room),
    /// GPUs were found, with so much memory of their own for models.
    Found(Bytes),
    /// A model could not be opened.
    Failed(Model),
    /// A model is closed and its memory free.
    Closed(Model),
    /// A model shall go as soon as nobody uses it.
    Unload(Model),
    /// All shall go, and whoever waits is refused: the end.
    Shut,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open it for this context; [`Input::Opened`] or [`Input::Failed`] must follow.
    Open(Model, u32),
    /// Close it; [`Input::Closed`] must follow.
    Close(Model),
    /// It is the ask's turn.
    Grant(Ask),
    /// The ask gets nothing.
    Refuse(Ask, Why),
}

/// Why an ask gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// So many wait already. Later it may be otherwise.
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The model alone is larger than the memory for all.
    Large {
        /// What it needs.
        needs: Bytes,
        /// What there is.
        memory: Bytes,
    },
    /// It could not be opened.
    Failed,
    /// The end has come.
    Shut,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { waiting } => {
                write!(f, "server busy, please try again. maximum pending requests exceeded ({waiting} wait)")
            }
            Self::Large { needs, memory } => {
                write!(f, "the model needs {needs} of memory and all models together may take {memory}")
            }
            Self::Failed => f.write_str("the model could not be opened"),
            Self::Shut => f.write_str("the server is shutting down"),
        }
    }
}

/// What is known of a model that is here or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub model: Model,
    /// Whether it is open.
    pub open: bool,
    /// What it takes, or is expected to.
    pub holds: Room,
    /// Tokens of context that it is open for.
    pub context: u32,
    /// Asks that use it.
    pub running: usize,
    /// Asks that wait for it.
    pub waiting: usize,
    /// When it goes if nobody uses it; `None` for never, and while somebody does.
    pub until: Option<Instant>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    config: Config,
    models: BTreeMap<Model, Resident>,
    asks: BTreeMap<Ask, Model>,
    shut: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Resident {
    state: State,
    context: u32,
    holds: Room,
    /// When it was last used.
    used: Instant,
    keep: Keep,
    /// Goes as soon as nobody uses it.
    unload: bool,
    running: BTreeMap<Ask, Client>,
    /// In the order in which they came.
    waiting: Vec<(Ask, Want)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Some want it, and there was no room yet.
    Absent {
        /// Since when.
        since: Instant,
        /// Whether a model that is in use was asked to make room.
        pressing: bool,
    },
    Opening,
    Open,
    Closing,
}

impl Pool {
    /// With nothing in it.
    pub const fn new(config: Config) -> Self {
        Self { config, models: BTreeMap::new(), asks: BTreeMap::new(), shut: false }
    }

    /// All models that are here or on their way.
    pub fn status(&self) -> impl Iterator<Item = Status> {
        self.models.iter().filter(|(_, resident)| !matches!(resident.state, State::Absent { .. })).map(
            |(&model, it)| Status {
                model,
                open: it.state == State::Open,
                holds: it.holds,
                context: it.context,
                running: it.running.len(),
                waiting: it.waiting.len(),
                until: it.expires(),
            },
        )
    }

    /// Asks that wait.
    pub fn waiting(&self) -> usize {
        self.models.values().map(|resident| resident.waiting.len()).sum()
    }

    fn want(&mut self, now: Instant, ask: Ask, want: Want, out: &mut Vec<Effect>) {
        let waiting = self.waiting();
        let refusal = if self.shut {
            Some(Why::Shut)
        } else if waiting >= self.config.waiting_max {
            Some(Why::Busy { waiting })
        } else if want.needs.main > self.config.memory.main {
            Some(Why::Large { needs: want.needs.main, memory: self.config.memory.main })
        } else {
            None
        };
        if let Some(why) = refusal {
            out.push(Effect::Refuse(ask, why));
            return;
        }
        if self.asks.insert(ask, want.model).is_some() {
            return;
        }
        let keep = self.config.keep;
        let resident = self.models.entry(want.model).or_insert_with(|| Resident {
            state: State::Absent { since: now, pressing: false },
            context: 0,
            holds: Room::default(),
            used: now,
            keep,
            unload: false,
            running: BTreeMap::new(),
            waiting: Vec::new(),
        });
        resident.keep = want.keep.unwrap_or(resident.keep);
        resident.unload = false;
        resident.waiting.push((ask, want));
    }

    fn leave(&mut self, now: Instant, ask: Ask) {
        let Some(model) = self.asks.remove(&ask) else { return };
        let Some(resident) = self.models.get_mut(&model) else { return };
        if resident.running.remove(&ask).is_some() {
            resident.used = now;
        }
        resident.waiting.retain(|(other, _)| *other != ask);
    }

    fn opened(&mut self, now: Instant, model: Model, holds: Room) {
        if let Some(resident) = self.models.get_mut(&model).filter(|resident| resident.state == State::Opening) {
            (resident.state, resident.holds, resident.used) = (State::Open, holds, now);
        }
    }

    /// What one has grown by others make room for, as far as nobody uses them.
    fn measured(&mut self, model: Model, holds: Room, out: &mut Vec<Effect>) {
        let Some(resident) = self.models.get_mut(&model).filter(|resident| resident.state == State::Open) else {
            return;
        };
        resident.holds = holds;
        let held = |it: &&Resident| !matches!(it.state, State::Absent { .. } | State::Closing);
        let fits = |pool: &Self| {
            pool.models
                .values()
                .filter(held)
                .map(|it| it.holds)
                .fold(Room::default(), Room::plus)
                .fits(pool.config.memory)
        };
        self.let_go(fits, Some(model), out);
    }

    fn failed(&mut self, model: Model, out: &mut Vec<Effect>) {
        if self.models.get(&model).is_some_and(|resident| resident.state == State::Opening) {
            self.drop_waiting(model, Why::Failed, out);
            self.models.remove(&model);
        }
    }

    fn closed(&mut self, now: Instant, model: Model) {
        if let Some(resident) = self.models.get_mut(&model).filter(|resident| resident.state == State::Closing) {
            resident.state = State::Absent { since: now, pressing: false };
            (resident.holds, resident.context) = (Room::default(), 0);
        }
    }

    fn shut(&mut self, out: &mut Vec<Effect>) {
        self.shut = true;
        let all: Vec<Model> = self.models.keys().copied().collect();
        for model in all {
            self.drop_waiting(model, Why::Shut, out);
        }
        self.models.values_mut().for_each(|resident| resident.unload = true);
    }

    fn drop_waiting(&mut self, model: Model, why: Why, out: &mut Vec<Effect>) {
        let Some(resident) = self.models.get_mut(&model) else { return };
        for (ask, _) in resident.waiting.drain(..) {
            self.asks.remove(&ask);
            out.push(Effect::Refuse(ask, why));
        }
    }

    /// Does whatever can be done now.
    fn settle(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let pressed = self.pressed();
        for (model, resident) in &mut self.models {
            if resident.state == State::Open {
                if Some(*model) != pressed {
                    resident.grant(now, self.config.running_max.max(1), out);
                }
                if resident.is_idle() && (resident.is_due(now) || Some(*model) == pressed) {
                    resident.state = State::Closing;
                    out.push(Effect::Close(*model));
                }
            }
        }
        self.models.retain(|_, it| !matches!(it.state, State::Absent { .. }) || !it.waiting.is_empty());
        for model in self.absent() {
            self.open(model, out);
        }
    }

    /// Absent models that are wanted, those first for which somebody has waited longest.
    fn absent(&self) -> Vec<Model> {
        let since = |(model, resident): (&Model, &Resident)| match resident.state {
            State::Absent { .. } => resident.waiting.first().map(|(ask, _)| (*ask, *model)),
            _ => None,
        };
        let mut all: Vec<_> = self.models.iter().filter_map(since).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, model)| model).collect()
    }

    /// Opens a model if there is room, else lets idle ones go.
    fn open(&mut self, model: Model, out: &mut Vec<Effect>) {
        let resident = &self.models[&model];
        let context = resident.waiting.iter().map(|(_, want)| want.context).max().unwrap_or(0);
        let needs = resident.waiting.iter().map(|(_, want)| want.needs).fold(Room::default(), Room::at_least);
        if self.has_room(needs, |_| true) {
            let resident = self.models.get_mut(&model).expect("it was just looked at");
            (resident.state, resident.context, resident.holds) = (State::Opening, context, needs);
            out.push(Effect::Open(model, context));
            return;
        }
        let fits = |pool: &Self| pool.has_room(needs, |resident| resident.state != State::Closing);
        self.let_go(fits, None, out);
    }

    /// Lets models go that nobody uses, those first that were not used for the longest time, until it `fits`. What is
    /// closing already makes room too.
    fn let_go(&mut self, fits: impl Fn(&Self) -> bool, but: Option<Model>, out: &mut Vec<Effect>) {
        while !fits(self) {
            let idle =
                |(model, it): &(&Model, &mut Resident)| it.state == State::Open && it.is_idle() && Some(**model) != but;
            let Some((model, oldest)) = self.models.iter_mut().filter(idle).min_by_key(|(_, it)| it.used) else {
                return;
            };
            oldest.state = State::Closing;
            out.push(Effect::Close(*model));
        }
    }

    /// Whether so much fits beside the models that `counts`.
    fn has_room(&self, needs: Room, counts: impl Fn(&Resident) -> bool) -> bool {
        let held = |it: &&Resident| !matches!(it.state, State::Absent { .. }) && counts(it);
        let (mut count, mut sum) = (0, needs);
        for resident in self.models.values().filter(held) {
            count += 1;
            sum = sum.plus(resident.holds);
        }
        count < self.config.models_max.max(1) && (sum.fits(self.config.memory) || count == 0)
    }

    /// The model in use that must make room: the one that was used least recently, while somebody presses.
    fn pressed(&self) -> Option<Model> {
        let presses = |it: &Resident| matches!(it.state, State::Absent { pressing: true, .. });
        let closing = self.models.values().any(|it| it.state == State::Closing);
        if closing || !self.models.values().any(presses) {
            return None;
        }
        let open = self.models.iter().filter(|(_, it)| it.state == State::Open);
        open.min_by_key(|(model, it)| (it.used, **model)).map(|(model, _)| *model)
    }
}

impl Resident {
    /// Nobody uses it. Whoever could was let in before this is asked, but for those who must wait until it is closed.
    fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Somebody waits for a longer context than it is open for.
    fn must_grow(&self) -> bool {
        self.waiting.iter().any(|(_, want)| want.context > self.context)
    }

    fn expires(&self) -> Option<Instant> {
        match self.keep {
            _ if self.state != State::Open || !self.running.is_empty() || !self.waiting.is_empty() => None,
            Keep::For(time) => Some(self.used + time),
            Keep::Forever => None,
        }
    }

    /// Whether it goes now that nobody uses it.
    fn is_due(&self, now: Instant) -> bool {
        self.unload || self.must_grow() || self.expires().is_some_and(|until| until <= now)
    }

    /// Lets those in whose turn it is.
    fn grant(&mut self, now: Instant, most: usize, out: &mut Vec<Effect>) {
        while self.running.len() < most && !self.must_grow() {
            let running = |client: Client| self.running.values().filter(|other| **other == client).count();
            let next = self.waiting.iter().enumerate().min_by_key(|(at, (_, want))| (running(want.client), *at));
            let Some((at, _)) = next else { return };
            let (ask, want) = self.waiting.remove(at);
            self.running.insert(ask, want.client);
            self.used = now;
            out.push(Effect::Grant(ask));
        }
    }
}

impl Machine for Pool {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Wanted(ask, want) => self.want(now, ask, want, out),
            Input::Left(ask) => self.leave(now, ask),
            Input::Opened(model, holds) => self.opened(now, model, holds),
            Input::Measured(model, holds) => self.measured(model, holds, out),
            Input::Found(bytes) => self.config.memory.gpu = bytes,
            Input::Failed(model) => self.failed(model, out),
            Input::Closed(model) => self.closed(now, model),
            Input::Unload(model) => {
                if let Some(resident) = self.models.get_mut(&model) {
                    resident.unload = true;
                }
            }
            Input::Shut => self.shut(out),
        }
        self.settle(now, out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        for resident in self.models.values_mut() {
            if let State::Absent { since, pressing } = &mut resident.state {
                *pressing |= *since + self.config.patience <= now;
            }
        }
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let due = |resident: &Resident| match resident.state {
            State::Absent { since, pressing: false } => Some(since + self.config.patience),
            _ => resident.expires(),
        };
        self.models.values().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::{Rng, laws, trace};

    const CONFIG: Config = Config {
        memory: Room::main(10),
        models_max: 3,
        running_max: 2,
        waiting_max: 4,
        keep: Keep::For(Duration::from_millis(100)),
        patience: Duration::from_millis(50),
    };

    fn wanted(ask: u64, client: u64, model: u64, needs: u64) -> Input {
        let want =
            Want { client: Client(client), model: Model(model), context: 8, needs: Room::main(needs), keep: None };
        Input::Wanted(Ask(ask), want)
    }

    fn longer(ask: u64, model: u64, context: u32) -> Input {
        let want = Want { client: Client(0), model: Model(model), context, needs: Room::main(4), keep: None };
        Input::Wanted(Ask(ask), want)
    }

    fn left(ask: u64) -> Input {
        Input::Left(Ask(ask))
    }

    fn opened(model: u64, holds: u64) -> Input {
        Input::Opened(Model(model), Room::main(holds))
    }

    fn closed(model: u64) -> Input {
        Input::Closed(Model(model))
    }

    fn story<const N: usize>(script: [(u64, Input); N]) -> alloc::string::String {
        // One line a step, without the inputs: they stand in the script.
        let mut lines = alloc::string::String::new();
        for line in trace::of(&mut Pool::new(CONFIG), script, 1000).lines() {
            let (head, effects) = line.split_once(" -> ").unwrap();
            lines.push_str(head.split_once(' ').unwrap().0);
            lines.push(' ');
            lines.push_str(effects);
            lines.push('\n');
        }
        lines
    }

    #[test]
    fn a_model_is_opened_once_and_goes_when_nobody_used_it_for_a_while() {
        assert_eq!(
            story([(0, wanted(1, 0, 7, 4)), (1, wanted(2, 0, 7, 4)), (5, opened(7, 4)), (9, left(1)), (20, left(2))]),
            "0ms [Open(Model(7), 8)]\n5ms [Grant(Ask(1)), Grant(Ask(2))]\n120ms [Close(Model(7))]\n"
        );
    }

    #[test]
    fn the_client_with_the_fewest_running_is_next() {
        let script = [
            (0, wanted(1, 0, 7, 4)),
            (0, wanted(2, 0, 7, 4)),
            (0, wanted(3, 0, 7, 4)),
            (1, wanted(4, 1, 7, 4)),
            (2, opened(7, 4)),
            (3, left(1)),
        ];
        assert_eq!(story(script), "0ms [Open(Model(7), 8)]\n2ms [Grant(Ask(1)), Grant(Ask(4))]\n3ms [Grant(Ask(2))]\n");
    }

    #[test]
    fn the_idle_model_that_was_used_least_recently_makes_room() {
        let script = [
            (0, wanted(1, 0, 1, 4)),
            (0, opened(1, 4)),
            (1, wanted(2, 0, 2, 4)),
            (1, opened(2, 4)),
            (2, left(2)),
            (3, left(1)),
            (4, wanted(3, 0, 3, 5)),
            (5, closed(2)),
        ];
        assert_eq!(
            story(script),
            "0ms [Open(Model(1), 8)]\n0ms [Grant(Ask(1))]\n1ms [Open(Model(2), 8)]\n1ms [Grant(Ask(2))]\n\
             4ms [Close(Model(2))]\n5ms [Open(Model(3), 8)]\n103ms [Close(Model(1))]\n"
        );
    }

    #[test]
    fn what_grows_while_it_is_open_makes_idle_ones_go() {
        let script = [
            (0, wanted(1, 0, 1, 4)),
            (0, opened(1, 4)),
            (1, wanted(2, 0, 2, 4)),
            (1, opened(2, 4)),
            (2, left(2)),
            (3, Input::Measured(Model(1), Room::main(6))),
            (4, Input::Measured(Model(1), Room::main(7))),
            (5, Input::Measured(Model(3), Room::main(9))),
            (6, left(1)),
        ];
        assert_eq!(
            story(script),
            "0ms [Open(Model(1), 8)]\n0ms [Grant(Ask(1))]\n1ms [Open(Model(2), 8)]\n1ms [Grant(Ask(2))]\n\
             4ms [Close(Model(2))]\n106ms [Close(Model(1))]\n"
        );
    }

    fn on_gpu(ask: u64, model: u64, gpu: u64) -> Input {
        let needs = Room { main: Bytes(1), gpu: Bytes(gpu) };
        let want = Want { client: Client(0), model: Model(model), context: 8, needs, keep: None };
        Input::Wanted(Ask(ask), want)
    }

    fn opened_there(model: u64, gpu: u64) -> Input {
        Input::Opened(Model(model), Room { main: Bytes(1), gpu: Bytes(gpu) })
    }

    #[test]
    fn on_a_gpu_models_make_room_for_each_other_too() {
        let script = [
            (0, Input::Found(Bytes(20))),
            (0, on_gpu(1, 1, 12)),
            (1, opened_there(1, 12)),
            (2, on_gpu(2, 2, 8)),
            (3, opened_there(2, 8)),
            (4, left(1)),
            // Main memory has room, the GPU has none: who is idle goes.
            (5, on_gpu(3, 3, 9)),
            (6, closed(1)),
            (7, opened_there(3, 9)),
            // The GPU was lost: all of it is in main memory now, and fits.
            (8, Input::Measured(Model(2), Room::main(9))),
        ];
        assert_eq!(
            story(script),
            "0ms [Open(Model(1), 8)]\n1ms [Grant(Ask(1))]\n2ms [Open(Model(2), 8)]\n3ms [Grant(Ask(2))]\n\
             5ms [Close(Model(1))]\n6ms [Open(Model(3), 8)]\n7ms [Grant(Ask(3))]\n"
        );
    }

    #[test]
    fn a_model_larger_than_main_memory_opens_on_a_gpu() {
        let script = [(0, Input::Found(Bytes(20))), (0, on_gpu(1, 1, 20)), (1, wanted(2, 0, 2, 20))];
        assert_eq!(
            story(script),
            "0ms [Open(Model(1), 8)]\n1ms [Refuse(Ask(2), Large { needs: Bytes(20), memory: Bytes(10) })]\n"
        );
    }

    #[test]
    fn a_model_in_use_takes_no_more_when_somebody_has_waited_long_for_room() {
        let script = [
            (0, wanted(1, 0, 1, 8)),
            (0, opened(1, 8)),
            (1, wanted(2, 0, 2, 8)),
            (60, wanted(3, 0, 1, 8)),
            (70, left(1)),
            (71, closed(1)),
            (72, opened(2, 8)),
            (80, left(2)),
            (81, closed(2)),
        ];
        assert_eq!(
            story(script),
            "0ms [Open(Model(1), 8)]\n0ms [Grant(Ask(1))]\n70ms [Close(Model(1))]\n71ms [Open(Model(2), 8)]\n\
             72ms [Grant(Ask(2))]\n80ms [Close(Model(2))]\n81ms [Open(Model(1), 8)]\n"
        );
    }

    #[test]
    fn a_longer_context_closes_and_opens_again() {
        let script = [
            (0, longer(1, 1, 8)),
            (0, opened(1, 4)),
            (1, longer(2, 1, 16)),
            (2, longer(3, 1, 8)),
            (3, left(1)),
            (4, closed(1)),
            (5, opened(1, 6)),
        ];
        assert_eq!(
            story(script),
            "0ms [Open(Model(1), 8)]\n0ms [Grant(Ask(1))]\n3ms [Close(Model(1))]\n4ms [Open(Model(1), 16)]\n\
             5ms [Grant(Ask(2)), Grant(Ask(3))]\n"
        );
    }

    #[test]
    fn refusals_say_why() {
        let script = [
            (0, wanted(1, 0, 1, 11)),
            (1, wanted(2, 0, 2, 4)),
            (1, wanted(3, 0, 2, 4)),
            (1, wanted(4, 0, 2, 4)),
            (1, wanted(5, 0, 2, 4)),
            (2, wanted(6, 0, 2, 4)),
            (3, Input::Failed(Model(2))),
            (4, Input::Shut),
            (5, wanted(7, 0, 1, 1)),
        ];
        assert_eq!(
            story(script),
            "0ms [Refuse(Ask(1), Large { needs: Bytes(11), memory: Bytes(10) })]\n1ms [Open(Model(2), 8)]\n\
             2ms [Refuse(Ask(6), Busy { waiting: 4 })]\n\
             3ms [Refuse(Ask(2), Failed), Refuse(Ask(3), Failed), Refuse(Ask(4), Failed), Refuse(Ask(5), Failed)]\n\
             5ms [Refuse(Ask(7), Shut)]\n"
        );
    }

    #[test]
    fn an_unload_waits_for_who_uses_it() {
        let script =
            [(0, wanted(1, 0, 1, 4)), (0, opened(1, 4)), (1, Input::Unload(Model(1))), (2, left(1)), (3, closed(1))];
        assert_eq!(story(script), "0ms [Open(Model(1), 8)]\n0ms [Grant(Ask(1))]\n2ms [Close(Model(1))]\n");
    }

    /// Does what effects say, at random times; nobody may wait for ever, and memory is never exceeded.
    #[test]
    fn everybody_gets_an_answer_and_memory_is_kept() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut pool = Pool::new(CONFIG);
            let (mut out, mut todo, mut running) = (Vec::new(), Vec::new(), Vec::new());
            let (mut answered, mut asked) = (0, 0);
            for at in 0..4000u64 {
                let now = Instant::from_millis(at);
                if pool.deadline().is_some_and(|due| due <= now) {
                    pool.tick(now, &mut out);
                }
                if at < 3000 && rng.below(4) == 0 {
                    asked += 1;
                    let input = wanted(asked, u64::from(rng.below(3)), u64::from(rng.below(4)), 4);
                    pool.handle(now, input, &mut out);
                }
                if !running.is_empty() && rng.below(3) == 0 {
                    let at = rng.below(running.len() as u32) as usize;
                    pool.handle(now, Input::Left(running.swap_remove(at)), &mut out);
                }
                if !todo.is_empty() && rng.below(2) == 0 {
                    let input = todo.remove(0);
                    pool.handle(now, input, &mut out);
                }
                for effect in out.drain(..) {
                    match effect {
                        Effect::Open(model, _) if rng.below(10) == 0 => todo.push(Input::Failed(model)),
                        Effect::Open(model, _) => todo.push(Input::Opened(model, Room::main(4))),
                        Effect::Close(model) => todo.push(Input::Closed(model)),
                        Effect::Grant(ask) => {
                            answered += 1;
                            running.push(ask);
                        }
                        Effect::Refuse(..) => answered += 1,
                    }
                }
                assert!(pool.status().map(|status| status.holds.main.0).sum::<u64>() <= 10, "seed {seed}");
            }
            assert_eq!(answered, asked, "seed {seed}");
        }
    }

    #[test]
    fn keeps_the_laws() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let (mut at, mut ask) = (0, 0);
            let script = core::iter::repeat_with(|| {
                at += u64::from(rng.below(40));
                let model = u64::from(rng.below(4));
                let input = match rng.below(8) {
                    7 => Input::Measured(Model(model), Room::main(u64::from(rng.below(12)))),
                    0 | 1 => {
                        ask += 1;
                        wanted(ask, u64::from(rng.below(2)), model, 4)
                    }
                    2 => left(u64::from(rng.below(ask as u32 + 1))),
                    3 => opened(model, 4),
                    4 => Input::Failed(Model(model)),
                    5 => closed(model),
                    _ => Input::Unload(Model(model)),
                };
                (Instant::from_millis(at), input)
            });
            laws::hold(&Pool::new(CONFIG), script.take(150));
        }
    }
}
