//! What stays while `tutu serve` runs: the store, the models in memory, the settings.
//!
//! Every API asks the same way: it finds a model by its name ([`Daemon::find`]), says what it wants ([`crate::talk::Ask`]),
//! and gets a [`Conversation`] of one or several answers ([`Daemon::converse`]).

mod card;
mod converse;
mod embed;
mod extras;
pub mod health;
pub mod named;
pub mod pool;
mod quota;
pub mod seat;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use smol::channel;
use tutu_node::{
    edge::config::Settings,
    work::pool::{Config, Keep, Room},
};

pub use converse::{Client, Conversation, Cut, Error, Hearing};
pub use embed::{Embedded, Text};
pub use extras::Wish;
pub use named::Named;
pub use pool::{Lease, Pool, Refusal, Resident, Wanted};
pub use quota::Quota;

use crate::{
    engine::{Options, disk::Disk},
    log::{self, Level},
    perform::Limit,
    store::Store,
};

/// See the module.
pub struct Daemon {
    /// Where everything lies.
    pub home: PathBuf,
    /// Models on disk.
    pub store: Arc<Store>,
    /// What holds here.
    pub settings: Settings,
    /// Models in memory.
    pub pool: Pool,
    /// Keys and values on disk, where they are kept.
    pub disk: Option<Arc<Disk>>,
    /// When it began.
    pub started: Instant,
    /// Whether everything is as it must be.
    pub health: health::Health,
    /// Told when somebody of this home wants it to end.
    pub end: channel::Sender<()>,
    /// Held by whoever makes or removes models: what one needs another must not take away meanwhile.
    pub changing: smol::lock::Mutex<()>,
    lookup: Arc<named::Lookup>,
    cards: card::Cards,
    /// Tokens of context where nobody says otherwise.
    context: usize,
}

/// Of the memory for models, what keys and values of one may take: the rest is for weights.
const KV_SHARE: u64 = 8;
/// How long an ask waits for room before a model in use must make it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tokens of a step: those that are written, and as many of prompts besides.
const STEP: usize = 256;

/// The folder of keys and values. Without it nothing is wrong, but some things take longer.
fn disk(home: &Path, limit: u64) -> Option<Arc<Disk>> {
    let folder = home.join("kv");
    Disk::open(&folder, limit).map(|disk| disk.map(Arc::new)).unwrap_or_else(|error| {
        let fields = [("folder", folder.display().to_string().into()), ("error", error.to_string().into())];
        log::say(Level::Warn, "keys and values cannot be kept on disk", &fields);
        None
    })
}

impl Daemon {
    /// With nothing in memory yet.
    pub fn new(home: &Path, store: Store, settings: Settings, options: Options, end: channel::Sender<()>) -> Self {
        let count = |name: &str| settings.count(name);
        let total = tutu_os::memory_total().unwrap_or(8 << 30);
        // Some is left for the system and for computing.
        let memory = settings.bytes("inference.max_memory").map_or(total / 5 * 4, |bytes| bytes.0);
        let parallel = count("inference.parallel").unwrap_or(1) as usize;
        let config = Config {
            memory: Room::main(memory),
            models_max: count("inference.max_models").filter(|n| *n > 0).unwrap_or(u64::from(u32::MAX)) as usize,
            running_max: parallel,
            waiting_max: count("inference.max_queue").unwrap_or(1) as usize,
            keep: settings.keep("inference.keep_alive").unwrap_or(Keep::Forever),
            patience: PATIENCE,
        };
        let context = options.context;
        let batch = options.batch.max(STEP);
        let options = Options { texts: parallel, kv_memory: Some(memory / KV_SHARE), batch, ..options };
        let disk = disk(home, settings.bytes("inference.kv_disk").map_or(0, |bytes| bytes.0));
        Self {
            home: home.into(),
            store: Arc::new(store),
            pool: Pool::start(config, options, disk.clone()),
            disk,
            settings,
            started: Instant::now(),
            health: health::Health::default(),
            end,
            changing: smol::lock::Mutex::new(()),
            lookup: Arc::default(),
            cards: card::Cards::default(),
            context,
        }
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`named::Error`].
    pub async fn find(&self, name: &str) -> Result<Arc<Named>, named::Error> {
        let (lookup, store, name) = (Arc::clone(&self.lookup), Arc::clone(&self.store), name.to_owned());
        let limit = self.limit();
        smol::unblock(move || lookup.find(&store, &limit, &name)).await
    }

    /// What models on disk may take together.
    pub fn limit(&self) -> Limit {
        let most = self.settings.bytes("models.max_storage").filter(|most| most.0 > 0);
        let evicted = |name: &str| {
            let what = "removed a model that was not used for the longest time, to make room";
            log::say(Level::Info, what, &[("model", name.into())]);
        };
        Limit { most, evicted }
    }

    /// Tokens of context for a model, if whoever asks wants `wanted`.
    pub fn context(&self, named: &Named, wanted: Option<usize>) -> usize {
        let wanted = wanted.or(named.options.context).unwrap_or(self.context);
        if wanted == 0 { named.facts.context } else { wanted.clamp(4, named.facts.context.max(4)) }
    }
}
