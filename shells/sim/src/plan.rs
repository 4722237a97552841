//! Everything that will happen to a world, written down before it begins, so that it can be told again and made smaller.

use std::net::SocketAddr;

use tutu_node::{kit::Rng, mesh::swim};

use crate::{actors::Attack, net, world::PORT};

/// A world to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All chance of the world comes from it.
    pub seed: u64,
    /// Hosts at the start.
    pub nodes: u32,
    /// How long it lasts.
    pub seconds: u64,
    /// How membership behaves.
    pub swim: swim::Config,
    /// How links are until the calm.
    pub net: net::Config,
    /// Whether everybody knows everybody at the start; if not, all ask host 0.
    pub warm: bool,
    /// If everybody is known at the start, the bits that tell cells apart; 0 for one flat network.
    pub cell_bits: u8,
    /// Delegates to each cell at each level that are known at the start, at most.
    pub contacts: usize,
    /// Hosts behind one address, each at a port of its own; 1 if each has an address.
    pub office: u32,
    /// Parts of the world that run side by side, each in a thread. Liars and walls need one.
    pub parts: u32,
    /// Whether signatures are Ed25519.
    pub real_keys: bool,
    /// The last so many hosts are liars.
    pub liars: u32,
    /// What they do.
    pub attacks: Vec<Attack>,
    /// Clocks are wrong by up to so many parts per million.
    pub drift_ppm: u32,
    /// Second from which links are perfect and nothing happens, so that all must come right; the end, if there is no calm.
    pub calm: u64,
    /// What happens, in order: microsecond, and what.
    pub ops: Vec<(u64, Op)>,
    /// What this story promises beyond what always holds.
    pub promise: Promise,
}

/// What a story promises beyond what always holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Nobody who runs, does not stall and can be reached is ever declared dead.
    pub no_false_death: bool,
    /// After the calm all tables are right.
    pub whole: bool,
    /// So many seconds after the last repair of the net all tables are right.
    pub heals_within: Option<u64>,
    /// At the end each honest host that runs knows most honest hosts that run, and is known by most, whatever liars do.
    pub together: bool,
    /// At the end everybody knows its cell, and delegates of the others that are there.
    pub cells: bool,
    /// That hosts are cut off from each other excuses nobody who buries one that helpers can reach.
    pub helpers_help: bool,
    /// Liars are at most 1.3 times as frequent in samples that honest hosts take as among hosts.
    pub fair_samples: bool,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A host stops without a word.
    Crash(u32),
    /// It starts again with what its disk kept.
    Start(u32),
    /// It leaves with a word, and stops ten seconds later.
    Leave(u32),
    /// It does nothing for so many milliseconds; what comes meanwhile waits.
    Stall(u32, u32),
    /// It has new facts.
    Facts(u32),
    /// Nothing goes from the one to the other any more.
    Cut(u32, u32),
    /// The world falls in two.
    Part(u64),
    /// Everything is mended.
    Mend,
    /// The disk keeps only so many more saves.
    Forget(u32, u32),
    /// The last save of the disk is torn.
    Tear(u32),
    /// From its next start on its date is behind by so many seconds.
    Clock(u32, u32),
}

impl Plan {
    /// `nodes` hosts for `seconds` on perfect links, where nothing happens.
    pub fn quiet(seed: u64, nodes: u32, seconds: u64) -> Self {
        let mut swim = swim::Config::default();
        swim.members_max = swim.members_max.max(nodes as usize * 2);
        // One flat network, as large as it may be, unless the story says otherwise.
        swim.flat_max = usize::MAX;
        Self {
            seed,
            nodes,
            seconds,
            swim,
            net: net::Config::default(),
            warm: true,
            cell_bits: 0,
            contacts: usize::MAX,
            office: 1,
            parts: 1,
            real_keys: false,
            liars: 0,
            attacks: Vec::new(),
            drift_ppm: 0,
            calm: seconds,
            ops: Vec::new(),
            promise: Promise::default(),
        }
    }

    /// Hosts that do not lie.
    pub fn honest(&self) -> u32 {
        self.nodes - self.liars
    }

    /// Where host `n` listens.
    pub fn addr(&self, n: u32) -> SocketAddr {
        if self.office > 1 { net::office_addr(n, PORT, self.office) } else { net::addr(n, PORT) }
    }

    /// Which host is behind `addr`, and at which of its ports.
    pub fn host(&self, addr: &SocketAddr) -> Option<(u32, u16)> {
        let alone = || Some((net::host(addr)?, addr.port()));
        alone().or_else(|| Some((net::host_of_office(addr, PORT, self.office)?, PORT)))
    }

    /// The part of the world that host `n` is in.
    pub fn part_of(&self, n: u32) -> u32 {
        (n / self.nodes.div_ceil(self.parts).max(1)).min(self.parts - 1)
    }

    /// The first host of a part.
    pub fn first_of(&self, part: u32) -> u32 {
        part * self.nodes.div_ceil(self.parts)
    }

    /// Adds what `op` makes, at moments by chance between two seconds, on average one in `every_ms`.
    pub fn scatter(&mut self, rng: &mut Rng, from: u64, until: u64, every_ms: u64, mut op: impl FnMut(&mut Rng) -> Op) {
        let mut at = from * 1_000_000;
        loop {
            at += u64::from(rng.below((every_ms.min(2_000_000) * 2000) as u32)).max(1);
            if at >= until * 1_000_000 {
                return self.sort();
            }
            let op = op(rng);
            self.ops.push((at, op));
        }
    }

    /// Adds one thing at `second`.
    pub fn at(&mut self, second: u64, op: Op) {
        self.ops.push((second * 1_000_000, op));
        self.sort();
    }

    fn sort(&mut self) {
        self.ops.sort_by_key(|op| op.0);
    }
}
