//! Votes: how members change the parameters that govern them.
//!
//! | part | what it knows |
//! |---|---|
//! | [`parameter`] | the fifteen, their types, their ranges, how many must agree |
//! | [`proposal`] | a change that somebody wants, and its life |
//! | [`vote`] | who may cast what, promises, openings, the tally |
//!
//! [`Governance`] is one machine of them all. It is about days, so time comes in with [`Input::Date`] and it has no
//! deadline of its own. Everybody who is told the same things in whatever order within a phase comes to the same values:
//! ballots are a set, and a tally is a function of it. Votes that are over are counted in the order in which they were due,
//! as each is remembered in the next; and a delegation says of which day it is, so that it counts for a proposal or does not
//! whichever is heard first.
//!
//! Who proposes deposits 100 credits, which are lost if too few care to vote. What passed waits two days, in which each node
//! runs its own simulator over the change; a change that does harm there never becomes true. What became true is watched
//! for a week, and undone when three measurements in a row leave the bands that its author declared, and the network's own
//! ([`BANDS`]), which no author can leave out.
//!
//! Whose rights stand in a snapshot, and whose delegations are heard and when, is for whoever feeds this machine to judge: trust
//! is seen differently by each viewer, and a node takes part only in votes whose snapshot lies near its own view
//! ([`vote::Snapshot::is_near`]).

pub mod parameter;
pub mod proposal;
pub mod vote;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::fmt;

use self::{
    parameter::Category,
    proposal::{BANDS_MAX, Band, Stage, TITLE_MAX},
    vote::{Choice, Opening, Past, Promise, Snapshot, Tally, Urn, Verdict},
};
pub use self::{
    parameter::{Key, Parameters, Protection, Value},
    proposal::{End, Metric, Proposal},
};
use crate::kit::{
    Credits, Digest, Domain, Instant, Machine, NodeId, Signature, Signer, UnixTime, Verifier,
    fault::{Fault, on},
};

/// What a proposal costs until it ends: the predecessor's.
pub const DEPOSIT: Credits = Credits(100 * Credits::ONE.0);
/// Proposals under way: the predecessor's.
pub const OPEN_MAX: usize = 50;
/// Endings that are remembered.
pub const ENDED_MAX: usize = 1024;
/// Members that let others vote for them, counted once for each area. With all their days that is some 30 MB.
pub const DELEGATIONS_MAX: usize = 65_536;
/// A delegation is heard for so many days: longer than promises are taken for any proposal that comes after it.
pub const HEARD_DAYS: u32 = 7;
/// A proposal's own date may be off by so many seconds: clocks of home machines are.
pub const SKEW_S: u64 = 3600;
/// Promises are taken for five days and votes opened for two: together the predecessor's seven.
pub const PROMISING_S: u64 = 5 * DAY_S;
/// See there.
pub const OPENING_S: u64 = 2 * DAY_S;
/// Two days for whoever cannot live with a change to leave, and for simulators.
pub const LOCK_S: u64 = 2 * DAY_S;
/// A week in which each day of a week happens once.
pub const WATCH_S: u64 = 7 * DAY_S;
/// How long after its date a proposal may still be under way; the lock twice, as simulators have as long again.
pub const LIFE_S: u64 = PROMISING_S + OPENING_S + 2 * LOCK_S + WATCH_S;
/// Measurements in a row outside their bands that undo a change: one alone may be chance.
pub const OUTSIDE_MAX: u32 = 3;
const DAY_S: u64 = 86_400;
/// What was said so many days before the last is needed by no vote if something was said after it, yet so early: promises are
/// taken for five days, and clocks may be a day ahead.
const KEPT_DAYS: u32 = 8;

/// Where the network's metrics stay, whatever an author promised.
pub const BANDS: [Band; 8] = [
    band(Metric::TasksDone, 900_000, 1_000_000),
    band(Metric::Refusals, 0, 200_000),
    band(Metric::BadResults, 0, 10_000),
    // Half a credit an hour is less than the power that a machine draws; see `tiers`.
    band(Metric::HourlyEarnings, 500_000, u64::MAX),
    band(Metric::FalseDeaths, 0, 10_000),
    band(Metric::DetectionMs, 0, 60_000),
    band(Metric::Eligible, 500_000, 1_000_000),
    band(Metric::Overhead, 0, 100_000),
];

const fn band(metric: Metric, least: u64, most: u64) -> Band {
    Band { metric, least, most }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// It is now. Told every minute or so.
    Date(UnixTime),
    /// Somebody proposes, with who may vote. `deposited` is what the ledger holds of the author for it.
    Propose {
        /// What.
        proposal: Box<Proposal>,
        /// Who may vote with what.
        snapshot: Snapshot,
        /// How much lies in deposit.
        deposited: Credits,
    },
    /// The author takes it back.
    Cancel {
        /// What.
        id: Digest,
        /// See [`Proposal::cancel`].
        signature: Signature,
    },
    /// Somebody promises a vote.
    Promise(Promise),
    /// Somebody opens a vote.
    Open(Opening),
    /// Somebody lets another vote for it, or no longer. Counts for proposals of later days, if it is heard while promises are
    /// taken for them.
    Delegate(Delegation),
    /// What the simulator showed.
    Simulated {
        /// Of what.
        id: Digest,
        /// Whether nothing was harmed.
        harmless: bool,
    },
    /// What was measured in the network, all at one time.
    Measured(Vec<(Metric, u64)>),
}

/// Somebody lets another vote for it in one area, once a day: of two in one day neither counts, and nobody votes for it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Who.
    pub voter: NodeId,
    /// In what.
    pub category: Category,
    /// Whom; nobody from now on, if `None`.
    pub delegate: Option<NodeId>,
    /// The day on which it is said, from the beginning of 1970. The last before that of a proposal counts.
    pub day: u32,
    /// By the voter.
    pub signature: Signature,
}

impl Delegation {
    /// Lets `delegate` vote.
    pub fn new(category: Category, delegate: Option<NodeId>, day: u32, keys: &impl Signer) -> Self {
        let voter = keys.key();
        let unsigned = Self { voter, category, delegate, day, signature: Signature([0; 64]) };
        Self { signature: keys.sign(Domain::Delegation, &[&unsigned.message()]), ..unsigned }
    }

    /// Whether it can be of now: so nobody says more than one thing a day in an area for long.
    pub fn is_of(&self, now: UnixTime) -> bool {
        self.day <= day(UnixTime(now.0.saturating_add(SKEW_S))) && self.day.saturating_add(HEARD_DAYS) >= day(now)
    }

    fn message(&self) -> Vec<u8> {
        let mut out = alloc::vec![self.category as u8, u8::from(self.delegate.is_some())];
        out.extend_from_slice(&self.day.to_be_bytes());
        self.delegate.iter().for_each(|delegate| out.extend_from_slice(&delegate.0));
        out
    }
}

/// What a member said on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Once(Option<NodeId>),
    /// Two things: nobody votes for it, whatever a third one says.
    Twice,
}

fn day(date: UnixTime) -> u32 {
    u32::try_from(date.0 / DAY_S).unwrap_or(u32::MAX)
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// What was just heard does not count.
    Refused(Error),
    /// It counts: keep it, so that all of them in their order bring a restarted node back ([`Governance::restore`]).
    Save(Box<Input>),
    /// Run the simulator with this changed, and say what came of it.
    Simulate {
        /// For which proposal.
        id: Digest,
        /// With these.
        parameters: Parameters,
    },
    /// The votes were counted.
    Counted {
        /// Of which proposal.
        id: Digest,
        /// What they came to.
        tally: Tally,
        /// What that means.
        verdict: Verdict,
    },
    /// From now on these hold.
    Apply(Parameters),
    /// Give the deposit back, or keep it for all.
    Deposit {
        /// Of which proposal.
        id: Digest,
        /// Whose.
        author: NodeId,
        /// Whether it goes back.
        back: bool,
    },
    /// It is over.
    Ended {
        /// Which proposal.
        id: Digest,
        /// How.
        end: End,
    },
}

/// Why something does not count. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// As many proposals are under way as there may be.
    Full {
        /// How many.
        limit: usize,
    },
    /// The title is empty or too long, or there are too many bands.
    Form,
    /// It was proposed before.
    Known,
    /// Its date is not now.
    Date,
    /// The parameter cannot become this.
    Change(parameter::Error),
    /// Another change of this parameter is under way.
    Busy,
    /// Too little was deposited.
    Deposit {
        /// What must be.
        needed: Credits,
    },
    /// The snapshot is not the one that the proposal names.
    Snapshot,
    /// The snapshot gives votes to others than those whom this node trusts.
    View,
    /// Whoever is named did not sign it.
    Forged,
    /// No such proposal is under way.
    Unknown,
    /// It is too late to take it back.
    Late,
    /// This delegation was heard before, or it is of a day of which two were, or later ones are all that matters.
    Old {
        /// Its day.
        day: u32,
    },
    /// A delegation of somebody in whom this node has no trust, and who votes on nothing.
    Stranger,
    /// Nobody votes for oneself by delegation.
    Itself,
    /// A ballot does not count.
    Vote(vote::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(f, "no more than {limit} at once"),
            Self::Form => write!(f, "a proposal has a title of 1 to {TITLE_MAX} bytes and at most {BANDS_MAX} bands"),
            Self::Known => f.write_str("it was proposed before"),
            Self::Date => f.write_str("its date is not now"),
            Self::Change(error) => error.fmt(f),
            Self::Busy => f.write_str("another change of this parameter is under way"),
            Self::Deposit { needed } => write!(f, "a proposal takes a deposit of {needed} credits"),
            Self::Snapshot => f.write_str("the snapshot is not the one that the proposal names"),
            Self::View => f.write_str("the snapshot gives votes to others than those who are trusted here"),
            Self::Forged => f.write_str("whoever is named did not sign it"),
            Self::Unknown => f.write_str("no such proposal is under way"),
            Self::Late => f.write_str("it is too late to take it back"),
            Self::Old { day } => write!(f, "a delegation of day {day} changes nothing"),
            Self::Stranger => f.write_str("nobody here trusts the voter"),
            Self::Itself => f.write_str("one votes for oneself by voting"),
            Self::Vote(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

/// What is voted on and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Governance<V> {
    verifier: V,
    date: UnixTime,
    parameters: Parameters,
    open: BTreeMap<Digest, Item>,
    /// The oldest first.
    ended: VecDeque<(Digest, End)>,
    /// What each said, by day.
    delegations: BTreeMap<(Category, NodeId), BTreeMap<u32, Said>>,
    past: Past,
}

#[derive(Clone, Debug, PartialEq)]
struct Item {
    proposal: Proposal,
    stage: Stage,
    /// What the simulator said.
    harmless: Option<bool>,
}

impl<V: Verifier> Governance<V> {
    /// Before anybody voted.
    pub fn new(verifier: V) -> Self {
        Self {
            verifier,
            date: UnixTime(0),
            parameters: Parameters::default(),
            open: BTreeMap::new(),
            ended: VecDeque::new(),
            delegations: BTreeMap::new(),
            past: Past::default(),
        }
    }

    /// One that goes on where it was: `saved` is what was kept, in its order.
    pub fn restore(verifier: V, saved: impl IntoIterator<Item = Input>) -> Self {
        let (mut governance, mut out) = (Self::new(verifier), Vec::new());
        for input in saved {
            governance.handle(Instant::default(), input, &mut out);
            out.clear();
        }
        governance
    }

    /// The values that hold now.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Proposals under way, by id.
    pub fn open(&self) -> impl Iterator<Item = (&Digest, &Proposal)> {
        self.open.iter().map(|(id, item)| (id, &item.proposal))
    }

    /// Whether a proposal is under way.
    pub fn is_open(&self, id: &Digest) -> bool {
        self.open.contains_key(id)
    }

    /// How a proposal ended, if it did and is remembered.
    pub fn ended(&self, id: &Digest) -> Option<End> {
        self.ended.iter().find(|ended| ended.0 == *id).map(|ended| ended.1)
    }

    /// Whether somebody may vote on anything that is voted on now.
    pub fn is_voter(&self, id: &NodeId) -> bool {
        self.open.values().filter_map(Item::voters).any(|snapshot| snapshot.has(id))
    }

    /// What the simulator was asked and did not answer: to be asked again after a restart, or nobody ever does.
    pub fn unanswered(&self) -> impl Iterator<Item = (Digest, Parameters)> + '_ {
        let waiting = self.open.iter().filter(|(_, item)| item.harmless.is_none());
        waiting.map(|(id, Item { proposal, .. })| {
            let mut parameters = self.parameters;
            parameters.set(proposal.key, proposal.value);
            (*id, parameters)
        })
    }

    fn hear(&mut self, input: &Input, out: &mut Vec<Effect>) -> Result<(), Error> {
        match input {
            Input::Date(date) => self.pass(*date, out),
            Input::Propose { proposal, snapshot, deposited } => self.propose(proposal, snapshot, *deposited, out)?,
            Input::Cancel { id, signature } => {
                let item = self.open.get(id).ok_or(Error::Unknown)?;
                if !matches!(&item.stage, Stage::Voting { urn, .. } if !urn.is_open()) {
                    return Err(Error::Late);
                }
                if !item.proposal.is_cancelled(signature, &self.verifier) {
                    return Err(Error::Forged);
                }
                self.end(*id, End::Cancelled, out);
            }
            Input::Promise(promise) => {
                let verifier = &self.verifier;
                let urn = self.open.get_mut(&promise.proposal).and_then(Item::urn).ok_or(Error::Unknown)?;
                urn.promise(promise, verifier).map_err(Error::Vote)?;
            }
            Input::Open(opening) => {
                let urn = self.open.get_mut(&opening.proposal).and_then(Item::urn).ok_or(Error::Unknown)?;
                urn.reveal(opening).map_err(Error::Vote)?;
            }
            Input::Delegate(delegation) => self.delegate(delegation)?,
            Input::Simulated { id, harmless } => {
                let item = self.open.get_mut(id).ok_or(Error::Unknown)?;
                item.harmless = Some(*harmless);
                if !harmless && !on(Fault::HarmNotBlocked) && !matches!(item.stage, Stage::Watched { .. }) {
                    self.end(*id, End::Blocked, out);
                }
            }
            Input::Measured(metrics) => self.measure(metrics, out),
        }
        Ok(())
    }

    /// Whether a proposal would be taken now for which so much lies in deposit; the parameters as they would be.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Form`], [`Error::Known`], [`Error::Date`], [`Error::Change`], [`Error::Busy`],
    /// [`Error::Deposit`], [`Error::Snapshot`], [`Error::Forged`], in this order of checks.
    pub fn consider(&self, proposal: &Proposal, snapshot: &Snapshot, deposited: Credits) -> Result<Parameters, Error> {
        if self.open.len() >= OPEN_MAX {
            return Err(Error::Full { limit: OPEN_MAX });
        }
        if proposal.title.is_empty() || proposal.title.len() > TITLE_MAX || proposal.bands.len() > BANDS_MAX {
            return Err(Error::Form);
        }
        let id = proposal.id();
        if self.open.contains_key(&id) || self.ended(&id).is_some() {
            return Err(Error::Known);
        }
        if proposal.made.0.abs_diff(self.date.0) > SKEW_S {
            return Err(Error::Date);
        }
        let parameters = self.parameters.with(proposal.key, proposal.value).map_err(Error::Change)?;
        if self.open.values().any(|item| item.proposal.key == proposal.key) {
            return Err(Error::Busy);
        }
        if deposited < DEPOSIT && !on(Fault::DepositIgnored) {
            return Err(Error::Deposit { needed: DEPOSIT });
        }
        if snapshot.digest() != proposal.snapshot {
            return Err(Error::Snapshot);
        }
        if !on(Fault::AuthorUnchecked) && !proposal.holds(&self.verifier) {
            return Err(Error::Forged);
        }
        Ok(parameters)
    }

    fn propose(
        &mut self,
        proposal: &Proposal,
        snapshot: &Snapshot,
        deposited: Credits,
        out: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let parameters = self.consider(proposal, snapshot, deposited)?;
        let id = proposal.id();
        let until = UnixTime(proposal.made.0 + PROMISING_S);
        let stage = Stage::Voting { until, urn: Urn::new(id, snapshot.clone(), &BTreeMap::new()) };
        self.open.insert(id, Item { proposal: proposal.clone(), stage, harmless: None });
        out.push(Effect::Simulate { id, parameters });
        Ok(())
    }

    /// In this order of checks: [`Error::Itself`], [`Error::Old`], [`Error::Full`], [`Error::Forged`].
    fn delegate(&mut self, delegation: &Delegation) -> Result<(), Error> {
        let Delegation { voter, category, delegate, day, signature } = *delegation;
        if delegate == Some(voter) {
            return Err(Error::Itself);
        }
        let said = match self.delegations.get(&(category, voter)) {
            None if self.delegations.len() >= DELEGATIONS_MAX => return Err(Error::Full { limit: DELEGATIONS_MAX }),
            Some(days) if needed_from(days).is_some_and(|first| day < first) => return Err(Error::Old { day }),
            Some(days) => match days.get(&day) {
                Some(Said::Twice) => return Err(Error::Old { day }),
                Some(Said::Once(before)) if *before == delegate => return Err(Error::Old { day }),
                Some(Said::Once(_)) => Said::Twice,
                None => Said::Once(delegate),
            },
            None => Said::Once(delegate),
        };
        if !self.verifier.verify(&voter, Domain::Delegation, &[&delegation.message()], &signature) {
            return Err(Error::Forged);
        }
        let days = self.delegations.entry((category, voter)).or_default();
        days.insert(day, said);
        if let Some(first) = needed_from(days) {
            days.retain(|day, _| *day >= first);
        }
        Ok(())
    }

    /// Who votes for whom on a proposal: what was said last before its day.
    fn delegates(&self, proposal: &Proposal) -> BTreeMap<NodeId, NodeId> {
        let (category, made) = (proposal.key.spec().category, day(proposal.made));
        let in_category = self.delegations.iter().filter(|((area, _), _)| *area == category);
        let last = in_category.filter_map(|((_, voter), days)| Some((*voter, days.range(..made).next_back()?.1)));
        last.filter_map(|(voter, said)| match said {
            Said::Once(delegate) => Some((voter, (*delegate)?)),
            Said::Twice => None,
        })
        .collect()
    }

    /// Time goes on; it never goes back. Each proposal goes on as far as the date lets it, at the dates that were due.
    fn pass(&mut self, date: UnixTime, out: &mut Vec<Effect>) {
        self.date = self.date.max(date);
        while let Some(id) = self.due() {
            self.advance(id, out);
        }
    }

    /// What is due first. Each tally is remembered in the next, so whoever slept over two counts them as they ended.
    fn due(&self) -> Option<Digest> {
        let first = self.open.iter().map(|(id, item)| (item.due(), *id)).min()?;
        (first.0 <= self.date).then_some(first.1)
    }

    /// One stage on, as it is time.
    fn advance(&mut self, id: Digest, out: &mut Vec<Effect>) {
        let date = self.date;
        let delegates = self.open.get(&id).map(|item| self.delegates(&item.proposal)).unwrap_or_default();
        let Some(item) = self.open.get_mut(&id) else { return };
        let Item { proposal, stage, harmless } = item;
        match stage {
            Stage::Voting { until, urn } if !urn.is_open() => {
                urn.delegate(&delegates);
                urn.open();
                *until = UnixTime(until.0 + OPENING_S);
            }
            Stage::Voting { until, urn } => {
                let tally = urn.tally(&self.past);
                let verdict = tally.verdict(proposal.key.spec().protection);
                self.past.record(urn.choices().collect::<Vec<(NodeId, Choice)>>());
                out.push(Effect::Counted { id, tally, verdict });
                *stage = Stage::Locked { until: UnixTime(until.0 + LOCK_S) };
                match verdict {
                    Verdict::Passed => {}
                    Verdict::Rejected => self.end(id, End::Rejected, out),
                    Verdict::Expired => self.end(id, End::Expired, out),
                }
            }
            Stage::Locked { .. } => match harmless {
                None | Some(false) => self.end(id, End::Blocked, out),
                Some(true) => {
                    let (key, value, until) = (proposal.key, proposal.value, UnixTime(date.0 + WATCH_S));
                    *stage = Stage::Watched { until, before: self.parameters.value(key), outside: 0 };
                    self.parameters.set(key, value);
                    out.push(Effect::Apply(self.parameters));
                }
            },
            Stage::Watched { .. } => self.end(id, End::Settled, out),
        }
    }

    fn measure(&mut self, metrics: &[(Metric, u64)], out: &mut Vec<Effect>) {
        let mut harmful = Vec::new();
        for (id, item) in &mut self.open {
            let Stage::Watched { before, outside, .. } = &mut item.stage else { continue };
            let declared = item.proposal.bands.iter();
            let leaves = |band: &Band| {
                metrics
                    .iter()
                    .any(|(metric, value)| *metric == band.metric && !(band.least..=band.most).contains(value))
            };
            *outside = if !on(Fault::BandsIgnored) && declared.chain(&BANDS).any(leaves) { *outside + 1 } else { 0 };
            let most = if on(Fault::OneMeasurementUndoes) { 1 } else { OUTSIDE_MAX };
            if *outside >= most {
                harmful.push((*id, item.proposal.key, *before));
            }
        }
        for (id, key, before) in harmful {
            if !on(Fault::NotUndone) {
                self.parameters.set(key, before);
            }
            out.push(Effect::Apply(self.parameters));
            self.end(id, End::RolledBack, out);
        }
    }

    fn end(&mut self, id: Digest, end: End, out: &mut Vec<Effect>) {
        let Some(item) = self.open.remove(&id) else { return };
        let back = !end.takes_deposit();
        out.push(Effect::Deposit { id, author: item.proposal.author, back });
        out.push(Effect::Ended { id, end });
        self.ended.push_back((id, end));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }
}

/// The first day of a member whose word a vote may need.
fn needed_from(days: &BTreeMap<u32, Said>) -> Option<u32> {
    let last = days.keys().next_back()?;
    days.range(..=last.saturating_sub(KEPT_DAYS)).next_back().map(|first| *first.0)
}

impl Item {
    /// When it goes on.
    const fn due(&self) -> UnixTime {
        match self.stage {
            Stage::Voting { until, .. } | Stage::Watched { until, .. } => until,
            // The simulator has as long again as the lock is; who never hears from it never changes anything.
            Stage::Locked { until } if self.harmless.is_none() => UnixTime(until.0 + LOCK_S),
            Stage::Locked { until } => until,
        }
    }

    const fn voters(&self) -> Option<&Snapshot> {
        match &self.stage {
            Stage::Voting { urn, .. } => Some(urn.snapshot()),
            Stage::Locked { .. } | Stage::Watched { .. } => None,
        }
    }

    fn urn(&mut self) -> Option<&mut Urn> {
        match &mut self.stage {
            Stage::Voting { urn, .. } => Some(urn),
            Stage::Locked { .. } | Stage::Watched { .. } => None,
        }
    }
}

impl<V: Verifier> Machine for Governance<V> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, _: Instant, input: Input, out: &mut Vec<Effect>) {
        // What counts is kept before anything that follows from it is done.
        let place = out.len();
        match self.hear(&input, out) {
            Ok(()) => out.insert(place, Effect::Save(Box::new(input))),
            Err(error) => out.push(Effect::Refused(error)),
        }
    }

    fn tick(&mut self, _: Instant, _: &mut Vec<Effect>) {}

    /// It is about days: see [`Input::Date`].
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

#[cfg(test)]
mod tests;
