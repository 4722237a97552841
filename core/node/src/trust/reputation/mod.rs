//! Reputation: how far this node believes others, from what it saw and from what those whom it believes saw.
//!
//! - An edge stands for sessions that were settled, paid and audited, so each has a price; who gives it says so in a
//!   signed statement of its own, and nobody can make one for another.
//! - Seeds are chosen by each viewer: itself, its own channels, those who invited it. There is no universal root and no
//!   universal number: two nodes may think differently of a third.
//! - Gains are slow and capped for each epoch; a failure that is not proven costs a bounded part; proven fraud costs all, for
//!   ever.
//! - Whoever is new gets a small share of the work, those first who let more of their pay wait for the audit. The share shrinks as newcomers
//!   disappoint, so that an army of them buys nothing but its own losses.
//!
//! [`local`] is what this node saw itself, [`graph`] what everybody states, [`flow`] how trust follows from it.
//!
//! Sources: S. Kamvar et al., "EigenTrust" (WWW 2003); B. Nasrulin, G. Ishmaev, J. Pouwelse, "MeritRank" (2022) for decay;
//! A. Jøsang, R. Ismail, "The Beta Reputation System" (2002) for failures.

pub mod flow;
pub mod graph;
pub mod local;
#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::fmt;

use self::{
    flow::Flow,
    graph::Edge,
    local::{Local, Session},
};
use crate::kit::{Credits, NodeId, Ppm, UnixTime};

/// How one viewer judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The share of trust that begins again at the seeds at each step.
    pub again: Ppm,
    /// Peers that are known at most.
    pub peers_max: usize,
    /// Peers that one peer may believe at most.
    pub row_max: usize,
    /// Edges that are known at most.
    pub edges_max: usize,
    /// What one edge may gain in an epoch, in thousandths of a credit.
    pub gain_max: u32,
    /// The share of work for newcomers while they do well.
    pub explore: Ppm,
    /// The share of work for newcomers when all of them disappoint.
    pub explore_min: Ppm,
    /// How much of a peer's trust a failure that is not proven leaves at least.
    pub penalty_max: Ppm,
    /// Whoever this node itself has found worse than this is given no work, whatever others say.
    pub local_min: Ppm,
}

impl Default for Config {
    /// 15 %: with less, attack edges buy more; with more, seeds are a centre. A cell has some thousand members. 100 credits
    /// an hour is the predecessor's cap on earning; an epoch is a day.
    fn default() -> Self {
        Self {
            again: Ppm(150_000),
            peers_max: 65_536,
            row_max: 1024,
            edges_max: 1 << 20,
            gain_max: 2_400_000,
            explore: Ppm(50_000),
            explore_min: Ppm(2_000),
            penalty_max: Ppm(250_000),
            local_min: Ppm(300_000),
        }
    }
}

/// What one viewer thinks of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Reputation {
    config: Config,
    me: NodeId,
    /// Whoever is named by an edge, and where it stands in the flow.
    numbers: BTreeMap<NodeId, u32>,
    /// Numbers that nobody has any more.
    free: Vec<u32>,
    flow: Flow,
    /// So many were known when trust was folded in last.
    known: u64,
    convicted: BTreeSet<NodeId>,
    /// What each edge gained in this epoch; an edge that is gone has no entry, so there are at most as many as edges.
    gains: BTreeMap<(u32, u32), u32>,
    own: BTreeMap<NodeId, Own>,
    /// Sessions with newcomers that went well, and all of them; halved together when they grow.
    newcomers: (u32, u32),
}

/// What this node itself has with a peer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Own {
    local: Local,
    /// Paid to it for sessions that were settled, in thousandths of a credit.
    paid: u32,
    good: u32,
    bad: u32,
}

/// How a peer stands with this viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Fraud was proven.
    Convicted,
    /// Too little is known; a part of its pay waits until its work was looked at.
    Newcomer,
    /// Trust has reached it.
    Known,
}

/// What this node says to others of one of its edges; to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// About whom.
    pub to: NodeId,
    /// How much it is believed.
    pub weight: u32,
}

/// Why a statement was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A peer spoke of itself.
    Same,
    /// Fraud of one of the two is proven.
    Convicted,
    /// No more peers are known.
    Full {
        /// So many are.
        limit: usize,
    },
    /// No more edges are known.
    EdgesFull {
        /// So many are.
        limit: usize,
    },
    /// The peer believes no more others.
    RowFull {
        /// So many it does.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("nobody vouches for itself"),
            Self::Convicted => f.write_str("fraud of one of the two is proven"),
            Self::Full { limit } => write!(f, "{limit} peers are known and no more fit"),
            Self::EdgesFull { limit } => write!(f, "{limit} statements are known and no more fit"),
            Self::RowFull { limit } => write!(f, "this peer vouches for {limit} others and for no more"),
        }
    }
}

impl core::error::Error for Error {}

impl Reputation {
    /// The view of `me`, who for now believes itself alone.
    pub fn new(config: Config, me: NodeId) -> Self {
        let mut flow = Flow::new(config.again);
        let first = flow.peer();
        flow.seed([Edge { to: first, weight: 1 }].into());
        Self {
            config,
            me,
            numbers: [(me, first)].into(),
            free: Vec::new(),
            flow,
            known: 1,
            convicted: BTreeSet::new(),
            gains: BTreeMap::new(),
            own: BTreeMap::new(),
            newcomers: (0, 0),
        }
    }

    /// How it judges from now on. What is known stays; capacities that are smaller than that only let nobody in.
    pub const fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// Chooses whom to believe without reason beside itself, and how much each; this node weighs as much as all of them.
    ///
    /// # Errors
    /// [`Error::Full`] when somebody is not known and no more fit.
    pub fn choose_seeds(&mut self, seeds: &[(NodeId, u16)]) -> Result<(), Error> {
        let mut edges = Vec::with_capacity(seeds.len() + 1);
        let sum: u32 = seeds.iter().map(|seed| u32::from(seed.1)).fold(0, u32::saturating_add);
        edges.push(Edge { to: self.number(self.me)?, weight: sum.max(1) });
        for (id, weight) in seeds {
            if *id != self.me && !self.convicted.contains(id) {
                edges.push(Edge { to: self.number(*id)?, weight: u32::from(*weight) });
            }
        }
        self.flow.seed(edges);
        Ok(())
    }

    /// Takes in what `from` states of one of its edges. A rise counts up to what is left of the epoch's gain, a fall at once.
    ///
    /// Whoever calls decides whom to hear at all: edges of one whom nobody believes weigh nothing, but take the place of others'.
    ///
    /// # Errors
    /// [`Error::Same`], [`Error::Convicted`], [`Error::Full`], [`Error::EdgesFull`], [`Error::RowFull`], in this order of checks.
    pub fn heard(&mut self, from: NodeId, statement: Statement) -> Result<(), Error> {
        if from == statement.to {
            return Err(Error::Same);
        }
        if self.convicted.contains(&from) || self.convicted.contains(&statement.to) {
            return Err(Error::Convicted);
        }
        let pair = self.numbers.get(&from).copied().zip(self.numbers.get(&statement.to).copied());
        let before = pair.map_or(0, |(from, to)| self.flow.graph().weight(from, to));
        let gained = pair.and_then(|pair| self.gains.get(&pair).copied()).unwrap_or(0);
        let weight = statement.weight.min(before.saturating_add(self.config.gain_max.saturating_sub(gained)));
        if weight == before {
            return Ok(());
        }
        if before == 0 {
            self.has_room(&from, &statement.to)?;
        }
        let (from, to) = (self.number(from)?, self.number(statement.to)?);
        if weight == 0 {
            // Whatever it gains anew begins at nothing, so this is no way around the cap.
            self.gains.remove(&(from, to));
        } else if weight > before {
            self.gains.insert((from, to), gained + (weight - before));
        }
        self.flow.set(from, [Edge { to, weight }]);
        Ok(())
    }

    /// Takes in a session of this node with `peer` for which `paid` was settled; what to state to others.
    ///
    /// # Errors
    /// As [`Self::heard`].
    pub fn session(
        &mut self,
        now: UnixTime,
        peer: NodeId,
        session: Session,
        paid: Credits,
    ) -> Result<Statement, Error> {
        if self.standing(&peer) == Standing::Newcomer {
            self.newcomer(session.done && session.accuracy.is_none_or(|accuracy| accuracy.0 >= 500_000));
        }
        let new = Own { local: Local::new(now), paid: 0, good: 0, bad: 0 };
        if !self.own.contains_key(&peer) && self.own.len() >= self.config.peers_max {
            return Err(Error::Full { limit: self.config.peers_max });
        }
        let own = self.own.entry(peer).or_insert(new);
        own.local.record(now, session);
        if session.done {
            own.good = own.good.saturating_add(1);
            own.paid = own.paid.saturating_add(u32::try_from(paid.0 / 1000).unwrap_or(u32::MAX));
        } else {
            own.bad = own.bad.saturating_add(1);
        }
        let statement = Statement { to: peer, weight: own.weight(now, self.config.penalty_max) };
        if self.numbers.len() >= self.config.peers_max && !self.numbers.contains_key(&peer) {
            // With whom this node deals itself matters more than whom somebody named in the course of the day.
            self.make_room();
        }
        self.heard(self.me, statement)?;
        Ok(statement)
    }

    /// Fraud of `peer` is proven: nobody's trust reaches it any more, and its own reaches nobody.
    pub fn convict(&mut self, peer: NodeId) {
        if peer == self.me || self.convicted.len() >= self.config.peers_max || self.convicted.contains(&peer) {
            return;
        }
        self.disappointed(&peer);
        self.exclude(peer);
    }

    /// Somebody is barred from work, by what this viewer and others found: if it was new, the next one gets less.
    pub fn disappointed(&mut self, peer: &NodeId) {
        if self.standing(peer) == Standing::Newcomer {
            self.newcomer(false);
        }
    }

    /// Fraud is proven of somebody with whom this viewer has nothing to do: it gets no work if it ever comes, but is no newcomer that
    /// disappointed. Anybody makes up keys and proves their fraud, so half of the room stays for [those that matter](Self::convict).
    pub fn outlaw(&mut self, peer: NodeId) {
        if peer != self.me && self.convicted.len() < self.config.peers_max / 2 {
            self.exclude(peer);
        }
    }

    fn exclude(&mut self, peer: NodeId) {
        self.convicted.insert(peer);
        if let Some(number) = self.numbers.get(&peer).copied() {
            let me = self.numbers[&self.me];
            self.flow.replace(number, &[]);
            // Most know it from an edge of their own: this one goes at once, those of others when they state so.
            self.flow.set(me, [Edge { to: number, weight: 0 }]);
            self.gains.retain(|(from, to), _| *from != number && (*from, *to) != (me, number));
        }
    }

    /// A new epoch: gains count from nothing, and every edge keeps `keep` of its weight, the smallest vanish.
    ///
    /// Shares of a row stay as they are, so this costs nobody trust who goes on working; it makes room for what is new, also for
    /// others than those whom no edge names any more.
    pub fn epoch(&mut self, keep: Ppm) {
        self.gains.clear();
        for from in 0..self.flow.graph().len() as u32 {
            let lighter = |edge: &Edge| Edge { weight: keep.of(u64::from(edge.weight)) as u32, ..*edge };
            let row: Vec<Edge> = self.flow.graph().row(from).iter().map(lighter).filter(|e| e.weight > 0).collect();
            self.flow.replace(from, &row);
        }
        for own in self.own.values_mut() {
            own.paid = keep.of(u64::from(own.paid)) as u32;
        }
        self.make_room();
    }

    /// Folds in what has changed, with at most `pushes` steps; whether all is in.
    pub fn refresh(&mut self, pushes: usize) -> bool {
        // A hundredth of the mean is below what any choice depends on.
        let all = self.flow.fold(flow::ONE as u64 / (self.numbers.len() as u64 * 100), pushes);
        self.known = self.count_known();
        all
    }

    /// Computes everything anew, to a billionth.
    pub fn recompute(&mut self) {
        let _ = self.flow.solve(flow::ONE as u64 / 1_000_000_000);
        self.known = self.count_known();
    }

    /// Whether `peer` has a place here: an edge names it, or did so today.
    pub fn names(&self, peer: &NodeId) -> bool {
        self.numbers.contains_key(peer)
    }

    /// The part of [`flow::ONE`] that has reached `peer`.
    pub fn trust(&self, peer: &NodeId) -> u64 {
        match self.numbers.get(peer) {
            Some(number) if !self.convicted.contains(peer) => self.flow.trust(*number),
            _ => 0,
        }
    }

    /// How `peer` stands. Known is whoever has a twentieth of the mean of all who are known, or more.
    ///
    /// Whoever is only named does not count: else a few who name many would lower the bar for themselves.
    pub fn standing(&self, peer: &NodeId) -> Standing {
        if self.convicted.contains(peer) {
            return Standing::Convicted;
        }
        let many = u128::from(self.trust(peer)) * u128::from(self.known) * 20;
        if many >= flow::ONE as u128 { Standing::Known } else { Standing::Newcomer }
    }

    /// Whether `peer` may be given work: what this node itself has seen of it is not below the least, or it has seen nothing.
    pub fn allows(&self, now: UnixTime, peer: &NodeId) -> bool {
        self.local(peer).is_none_or(|local| local.overall(now) >= self.config.local_min)
    }

    /// What this node itself has seen of `peer`.
    pub fn local(&self, peer: &NodeId) -> Option<&Local> {
        self.own.get(peer).map(|own| &own.local)
    }

    /// The share of work that newcomers get now: less, the more of them disappointed.
    pub fn exploration(&self) -> Ppm {
        let (good, all) = (u64::from(self.newcomers.0), u64::from(self.newcomers.1));
        // The mean of the Beta posterior from even odds, squared: who disappoints every other time gets a quarter.
        let mean = (good + 2) * 1_000_000 / (all + 2);
        let share = u64::from(self.config.explore.0) * mean / 1_000_000 * mean / 1_000_000;
        Ppm((share as u32).clamp(self.config.explore_min.0.min(self.config.explore.0), self.config.explore.0))
    }

    /// How often each of `candidates` should be chosen, in parts of a million that add up to at most that: those who are
    /// known by their trust and by what this node saw of them, newcomers by how much of their pay they let be withheld.
    ///
    /// Where nobody is known, newcomers get all; where nobody is new, the known do.
    pub fn weights(&self, candidates: &[(NodeId, Credits)]) -> Vec<u32> {
        let stands: Vec<(Standing, u128)> = candidates.iter().map(|candidate| self.worth(candidate)).collect();
        let sum = |which: Standing| stands.iter().filter(|s| s.0 == which).map(|s| s.1).sum::<u128>();
        let (known, new) = (sum(Standing::Known), sum(Standing::Newcomer));
        let explore = match (known, new) {
            (0, _) => 1_000_000,
            (_, 0) => 0,
            _ => self.exploration().0,
        };
        let part = |(standing, worth): &(Standing, u128)| match standing {
            Standing::Known => (worth * u128::from(1_000_000 - explore) / known) as u32,
            Standing::Newcomer => (worth * u128::from(explore) / new) as u32,
            Standing::Convicted => 0,
        };
        stands.iter().map(part).collect()
    }

    /// One newcomer more did its work well, or not; by proofs and bars one learns from what others met, too.
    fn newcomer(&mut self, good: bool) {
        self.newcomers.0 += u32::from(good);
        self.newcomers.1 += 1;
        if self.newcomers.1 >= 200 {
            self.newcomers = (self.newcomers.0 / 2, self.newcomers.1 / 2);
        }
    }

    fn worth(&self, (id, escrow): &(NodeId, Credits)) -> (Standing, u128) {
        let standing = self.standing(id);
        let worth = match standing {
            Standing::Convicted => 0,
            Standing::Newcomer => u128::from(escrow.0) + 1,
            Standing::Known => {
                let factor = self.own.get(id).map_or(1_000_000, |own| own.belief(self.config.penalty_max));
                u128::from(self.trust(id)) * u128::from(factor) / 1_000_000
            }
        };
        (standing, worth)
    }

    /// The most that are known together: each of them has at least a twentieth of the mean of so many.
    ///
    /// An army with less than a twentieth of all trust adds a bounded part to their number, however many it is.
    fn count_known(&self) -> u64 {
        let mut trusts: Vec<u64> = self.numbers.keys().map(|id| self.trust(id)).filter(|trust| *trust > 0).collect();
        trusts.sort_unstable();
        let fits = |(trust, count): &(u64, u64)| u128::from(*trust) * u128::from(*count) * 20 >= flow::ONE as u128;
        trusts.into_iter().rev().zip(1..).filter(fits).last().map_or(1, |last| last.1)
    }

    /// Whether an edge fits that is not there yet, and those of the two who have no number.
    fn has_room(&self, from: &NodeId, to: &NodeId) -> Result<(), Error> {
        let Config { peers_max, edges_max, row_max, .. } = self.config;
        let new = [from, to].into_iter().filter(|id| !self.names(id)).count();
        if new > 0 && self.numbers.len() + new > peers_max {
            return Err(Error::Full { limit: peers_max });
        }
        if self.flow.graph().edges() >= edges_max {
            return Err(Error::EdgesFull { limit: edges_max });
        }
        if self.numbers.get(from).is_some_and(|from| self.flow.graph().row(*from).len() >= row_max) {
            return Err(Error::RowFull { limit: row_max });
        }
        Ok(())
    }

    /// Takes the numbers of those whom no edge names and who name nobody; but for seeds, and this node itself.
    fn make_room(&mut self) {
        let Self { numbers, free, flow, me, .. } = self;
        let mut used = flow.named();
        used[numbers[&*me] as usize] = true;
        numbers.retain(|_, number| {
            let stays = used[*number as usize];
            if !stays {
                flow.forget(*number);
                free.push(*number);
            }
            stays
        });
    }

    fn number(&mut self, id: NodeId) -> Result<u32, Error> {
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        if self.numbers.len() >= self.config.peers_max {
            return Err(Error::Full { limit: self.config.peers_max });
        }
        let number = self.free.pop().unwrap_or_else(|| self.flow.peer());
        self.numbers.insert(id, number);
        Ok(number)
    }
}

impl Own {
    /// What to state to others: what was paid, as far as the peer is good.
    fn weight(&self, now: UnixTime, penalty_max: Ppm) -> u32 {
        let paid = u64::from(self.paid) * u64::from(self.local.overall(now).0) / 1_000_000;
        (paid * u64::from(self.belief(penalty_max)) / 1_000_000) as u32
    }

    /// The mean of the Beta posterior for what went wrong without proof, from a good beginning; never below the bound.
    fn belief(&self, penalty_max: Ppm) -> u32 {
        let (good, bad) = (u64::from(self.good) + 1, u64::from(self.bad));
        ((good * 1_000_000 / (good + bad)) as u32).max(penalty_max.0)
    }
}
