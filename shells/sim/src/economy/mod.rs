//! A network that trades: hosts ask for work and do it, and some of them cheat.
//!
//! | file | what it knows |
//! |---|---|
//! | [`world`] | hosts, lines, time |
//! | [`engine`] | what machines compute: words are made up, fingerprints are near or far |
//! | [`cheat`] | what those do who do not play by the rules |
//! | [`check`] | what must hold after each event: zero sum, S1 to S4, each task charged once, quotas |
//! | [`outcome`] | what came of it, in numbers |
//! | [`search`] | attacks that might pay, by chance and by selection |
//!
//! The nodes are the ones that ship, membership and all: a task goes through packets, and what an engine or a disk does is
//! done by the same effects that a shell performs.

pub mod cheat;
pub mod check;
pub mod engine;
pub mod outcome;
pub mod search;
pub mod world;

use tutu_node::kit::{Credits, rng::mix};

use self::cheat::{Cheat, Habit};

/// A market to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All chance comes from it.
    pub seed: u64,
    /// Hosts.
    pub nodes: u32,
    /// How long.
    pub seconds: u64,
    /// Packets of a million that are lost.
    pub loss_ppm: u32,
    /// Who cheats, and how.
    pub cheats: Vec<Habit>,
    /// Hosts that everybody trusts at first: numbers below.
    pub founders: u32,
    /// Seconds between two wishes of one host, on average.
    pub wish_every: u32,
    /// Hosts that lose power once, one a minute.
    pub crashes: bool,
    /// Whether idle hosts take over what waits for others.
    pub steals: bool,
    /// Tasks that one host does at once; if not, as nodes have it.
    pub slots: Option<u32>,
    /// How many beginnings all texts have; each its own, if not. Workers are chosen that know a beginning.
    pub beginnings: Option<u32>,
    /// What all accounts may owe together.
    pub pool: Credits,
    /// Hosts that come later, and the second in which they do.
    pub comes: Vec<(u32, u64)>,
    /// Hosts that leave for good, and the second in which they do.
    pub leaves: Vec<(u32, u64)>,
    /// Hosts whose engine hangs, from which second to which: the node goes on, and answers all but what takes work.
    pub hangs: Vec<(u32, u64, u64)>,
    /// Whether nodes ask their engine every 15 s whether it answers.
    pub checks: bool,
    /// Seconds for which witnesses are drawn, and after half of which one that is away is lost; if not, as nodes have it.
    pub term_s: Option<u64>,
    /// Whether a part of a newcomer's pay waits for the audit.
    pub withholds: bool,
    /// Whether whoever is found guilty may appeal.
    pub appeals: bool,
    /// Whether the first host proposes something.
    pub proposal: Option<Proposed>,
}

/// What comes of a proposal for which nobody votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// Its author takes it back a minute later.
    TakenBack,
    /// All power goes a minute later and comes back after [`NIGHT_S`]: too few have voted by then.
    Forgotten,
}

/// Seconds without power: a day more than a vote takes.
pub const NIGHT_S: u64 = 8 * 86_400;

impl Plan {
    /// `nodes` hosts, of which one in five cheats, in all ways by turns. One in ten of those whom everybody trusts at first
    /// does so too.
    pub fn new(seed: u64, nodes: u32, seconds: u64, loss_ppm: u32) -> Self {
        let founders = (nodes / 2).max(8).min(nodes);
        let liars = nodes / 5;
        let inside = (founders / 10).min(liars);
        let hosts = (0..inside).map(|n| n * 10 + 9).chain(nodes - (liars - inside)..nodes);
        let start = mix(seed) as usize;
        let habit = |(at, host)| Habit::always(host, cheat::ALL[(start + at) % cheat::ALL.len()]);
        let cheats = hosts.enumerate().map(habit).collect();
        let pool = Credits(u64::from(nodes) * 100 * Credits::ONE.0);
        Self {
            seed,
            nodes,
            seconds,
            loss_ppm,
            cheats,
            founders,
            wish_every: 20,
            crashes: true,
            steals: true,
            slots: None,
            beginnings: None,
            pool,
            comes: Vec::new(),
            leaves: Vec::new(),
            hangs: Vec::new(),
            checks: false,
            term_s: None,
            withholds: true,
            appeals: true,
            proposal: None,
        }
    }

    /// Whether `host` plays by the rules, always.
    pub fn is_honest(&self, host: u32) -> bool {
        self.cheats.iter().all(|habit| habit.host != host)
    }

    /// When the engine of `host` goes on, if it hangs at microsecond `now`.
    pub fn hangs_until(&self, host: u32, now: u64) -> Option<u64> {
        let hang = self.hangs.iter().find(|hang| hang.0 == host && (hang.1..hang.2).contains(&(now / 1_000_000)));
        hang.map(|hang| hang.2 * 1_000_000)
    }

    /// Whether `host` ever does this.
    pub fn ever(&self, host: u32, cheat: Cheat) -> bool {
        self.cheats.iter().any(|habit| habit.host == host && habit.cheat == cheat)
    }

    /// Whether it does so at microsecond `now`, to whatever `salt` names.
    pub fn does(&self, host: u32, cheat: Cheat, now: u64, salt: u64) -> bool {
        let dice = (mix(salt ^ u64::from(host)) % 1_000_000) as u32;
        let fits = |habit: &&Habit| habit.host == host && habit.cheat == cheat;
        self.cheats.iter().filter(fits).any(|habit| now >= habit.from_s * 1_000_000 && dice < habit.share_ppm)
    }
}
