//! What members decide, and that it holds.
//!
//! A ballot, in bytes: kind, 1; fields, numbers as postcard writes them.
//!
//! | kind | fields |
//! |---|---|
//! | 0 Propose | author 32, title, key 1, value: kind 1 and number, bands: metric 1, least, most; date, signature 64; snapshot: total, pool, rights: id 32, locked, trust; 0, or 1 and evidence of the deposit |
//! | 1 Cancel | proposal 32, signature 64 |
//! | 2 Promise | proposal 32, voter 32, serial, sealed 32, signature 64 |
//! | 3 Open | proposal 32, voter 32, choice 1, share, salt 32 |
//! | 4 Delegate | voter 32, category 1, 0, or 1 and an id 32, day, signature 64 |
//! | 5 Date | date |
//! | 6 Simulated | proposal 32, harmless 1 |
//! | 7 Measured | metrics: metric 1, value |
//!
//! The last three are a node's own and are only kept, never heard. The others are told on by whoever hears them first and
//! finds that they count, to some peers at once and to others a little later, as proofs of fraud are.
//!
//! A proposal comes with the certificate of its author's deposit: see `deposit`. A snapshot of more than some 600 members does
//! not fit a message, and one that is not near this node's own view of trust is refused before anything else is looked at
//! ([`Snapshot::is_near`]): a node that woke lately trusts its seeds only, and takes part in what they may vote on. What is refused
//! is not remembered.
//!
//! A delegation is heard from whoever this node trusts, or who may vote on something under way; accounts cost nothing, so to
//! have one is not enough. Each says one thing a day in an area, and nothing that is older than a week.

use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use super::{
    Effect, Event, Job, Trade,
    message::{Evidence, Message, Writer, digest, evidence, flag, list, option, small},
};
use crate::{
    economy::governance::{
        self, BANDS, Delegation, Metric, Proposal, Value,
        parameter::{self, Category},
        proposal::{BANDS_MAX, Band, TITLE_MAX},
        vote::{Choice, Opening, Promise, Right, Snapshot},
    },
    kit::{
        Credits, Digest, Instant, Machine, NodeId, Ppm, Rng, Signature, Signer, UnixTime, Verifier,
        codec::{Error, Reader, put_bytes, put_number},
        fault::{Fault, on},
        hash::{Tag, hash},
    },
};

/// What somebody says about what holds for all.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the table above says it")]
pub enum Ballot {
    Propose { proposal: Proposal, snapshot: Snapshot, deposit: Option<Box<Evidence>> },
    Cancel { id: Digest, signature: Signature },
    Promise(Promise),
    Open(Opening),
    Delegate(Delegation),
    Date(UnixTime),
    Simulated { id: Digest, harmless: bool },
    Measured(Vec<(Metric, u64)>),
}

/// Members of a snapshot that a message carries.
pub const RIGHTS_MAX: usize = 640;

impl Ballot {
    /// Whether others may say it.
    pub const fn is_public(&self) -> bool {
        !matches!(self, Self::Date(_) | Self::Simulated { .. } | Self::Measured(_))
    }

    /// The proposal that must be there before it.
    const fn about(&self) -> Option<Digest> {
        match self {
            Self::Cancel { id, .. } => Some(*id),
            Self::Promise(promise) => Some(promise.proposal),
            Self::Open(opening) => Some(opening.proposal),
            _ => None,
        }
    }

    /// What the machine of votes hears, when so much lies in deposit.
    fn input(&self, deposited: Credits) -> governance::Input {
        match self.clone() {
            Self::Propose { proposal, snapshot, .. } => {
                governance::Input::Propose { proposal: Box::new(proposal), snapshot, deposited }
            }
            Self::Cancel { id, signature } => governance::Input::Cancel { id, signature },
            Self::Promise(promise) => governance::Input::Promise(promise),
            Self::Open(opening) => governance::Input::Open(opening),
            Self::Delegate(delegation) => governance::Input::Delegate(delegation),
            Self::Date(date) => governance::Input::Date(date),
            Self::Simulated { id, harmless } => governance::Input::Simulated { id, harmless },
            Self::Measured(metrics) => governance::Input::Measured(metrics),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Propose { proposal, snapshot, deposit } => {
                out.push(0);
                put_proposal(out, proposal);
                put_snapshot(out, snapshot);
                let mut to = Writer(core::mem::take(out));
                to.option(deposit.as_deref(), Writer::evidence);
                *out = to.0;
            }
            Self::Cancel { id, signature } => {
                out.push(1);
                [&id.0[..], &signature.0].iter().for_each(|part| out.extend_from_slice(part));
            }
            Self::Promise(Promise { proposal, voter, serial, sealed, signature }) => {
                out.push(2);
                [&proposal.0, &voter.0].iter().for_each(|part| out.extend_from_slice(*part));
                put_number(out, u64::from(*serial));
                out.extend_from_slice(&sealed.0);
                out.extend_from_slice(&signature.0);
            }
            Self::Open(Opening { proposal, voter, ballot, salt }) => {
                out.push(3);
                [&proposal.0, &voter.0].iter().for_each(|part| out.extend_from_slice(*part));
                out.push(ballot.choice as u8);
                put_number(out, ballot.share.0.into());
                out.extend_from_slice(salt);
            }
            Self::Delegate(Delegation { voter, category, delegate, day, signature }) => {
                out.push(4);
                out.extend_from_slice(&voter.0);
                out.extend_from_slice(&[*category as u8, u8::from(delegate.is_some())]);
                delegate.iter().for_each(|delegate| out.extend_from_slice(&delegate.0));
                put_number(out, u64::from(*day));
                out.extend_from_slice(&signature.0);
            }
            Self::Date(date) => {
                out.push(5);
                put_number(out, date.0);
            }
            Self::Simulated { id, harmless } => {
                out.push(6);
                out.extend_from_slice(&id.0);
                out.push(u8::from(*harmless));
            }
            Self::Measured(metrics) => {
                out.push(7);
                put_number(out, metrics.len() as u64);
                for (metric, value) in metrics {
                    out.push(*metric as u8);
                    put_number(out, *value);
                }
            }
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match from.byte()? {
            0 => Self::Propose {
                proposal: proposal(from)?,
                snapshot: snapshot(from)?,
                deposit: option(from, evidence)?.map(Box::new),
            },
            1 => Self::Cancel { id: digest(from)?, signature: from.signature()? },
            2 => Self::Promise(Promise {
                proposal: digest(from)?,
                voter: from.id()?,
                serial: small(from)?,
                sealed: digest(from)?,
                signature: from.signature()?,
            }),
            3 => Self::Open(Opening {
                proposal: digest(from)?,
                voter: from.id()?,
                ballot: governance::vote::Ballot { choice: choice(from)?, share: Ppm(small(from)?) },
                salt: *from.array()?,
            }),
            4 => Self::Delegate(Delegation {
                voter: from.id()?,
                category: category(from)?,
                delegate: option(from, |from| from.id())?,
                day: small(from)?,
                signature: from.signature()?,
            }),
            5 => Self::Date(UnixTime(from.number()?)),
            6 => Self::Simulated { id: digest(from)?, harmless: flag(from)? },
            7 => Self::Measured(list(from, BANDS.len(), |from| Ok((metric(from)?, from.number()?)))?),
            _ => return Err(Error::Odd),
        })
    }
}

fn put_proposal(out: &mut Vec<u8>, proposal: &Proposal) {
    let (kind, number) = proposal.value.parts();
    out.extend_from_slice(&proposal.author.0);
    put_bytes(out, proposal.title.as_bytes());
    out.extend_from_slice(&[proposal.key as u8, kind]);
    put_number(out, number);
    put_number(out, proposal.bands.len() as u64);
    for band in &proposal.bands {
        out.push(band.metric as u8);
        [band.least, band.most].iter().for_each(|number| put_number(out, *number));
    }
    put_number(out, proposal.made.0);
    out.extend_from_slice(&proposal.signature.0);
}

/// The digest of the snapshot is not sent: the snapshot follows.
fn put_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot) {
    [snapshot.total(), snapshot.pool().0, snapshot.rights().len() as u64].iter().for_each(|n| put_number(out, *n));
    for right in snapshot.rights() {
        out.extend_from_slice(&right.voter.0);
        [right.locked.0, right.trust].iter().for_each(|number| put_number(out, *number));
    }
}

fn proposal(from: &mut Reader<'_>) -> Result<Proposal, Error> {
    let author = from.id()?;
    let title = String::from_utf8(from.bytes(TITLE_MAX)?.to_vec()).map_err(|_| Error::Odd)?;
    let key = parameter::ALL.get(usize::from(from.byte()?)).ok_or(Error::Odd)?.key;
    let value = value(from)?;
    let bands =
        list(from, BANDS_MAX, |from| Ok(Band { metric: metric(from)?, least: from.number()?, most: from.number()? }))?;
    let (made, signature) = (UnixTime(from.number()?), from.signature()?);
    // What the snapshot is known by follows from it: see `snapshot`, whose caller compares.
    let mut ahead = *from;
    let snapshot = snapshot(&mut ahead)?.digest();
    Ok(Proposal { author, title, key, value, bands, made, snapshot, signature })
}

fn snapshot(from: &mut Reader<'_>) -> Result<Snapshot, Error> {
    let (total, pool) = (from.number()?, Credits(from.number()?));
    let rights = list(from, RIGHTS_MAX, |from| {
        Ok(Right { voter: from.id()?, locked: Credits(from.number()?), trust: from.number()? })
    })?;
    Snapshot::new(rights, total, pool).ok_or(Error::Odd)
}

fn value(from: &mut Reader<'_>) -> Result<Value, Error> {
    let (kind, number) = (from.byte()?, from.number()?);
    Ok(match (kind, number) {
        (0, share) => Value::Share(Ppm(u32::try_from(share).map_err(|_| Error::Number)?)),
        (1, credits) => Value::Amount(Credits(credits)),
        (2, count) => Value::Count(count),
        (3, millis) => Value::Millis(millis),
        (4, seconds) => Value::Seconds(seconds),
        (5, hours) => Value::Hours(hours),
        (6, days) => Value::Days(days),
        (7, flag @ (0 | 1)) => Value::Flag(flag == 1),
        (8, 0) => Value::Mit,
        _ => return Err(Error::Odd),
    })
}

fn metric(from: &mut Reader<'_>) -> Result<Metric, Error> {
    BANDS.get(usize::from(from.byte()?)).map(|band| band.metric).ok_or(Error::Odd)
}

fn choice(from: &mut Reader<'_>) -> Result<Choice, Error> {
    match from.byte()? {
        1 => Ok(Choice::For),
        2 => Ok(Choice::Against),
        3 => Ok(Choice::Abstain),
        _ => Err(Error::Odd),
    }
}

fn category(from: &mut Reader<'_>) -> Result<Category, Error> {
    use Category::{Access, Economic, Network, Security, Technical};
    [Economic, Access, Technical, Security, Network].get(usize::from(from.byte()?)).copied().ok_or(Error::Odd)
}

/// Ballots on their way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rumours {
    /// Those that came before what they are about, in the order in which they came.
    waiting: VecDeque<Box<Ballot>>,
    /// Told on so many times more, the next at that moment.
    telling: VecDeque<(Instant, u8, Box<Ballot>)>,
    /// Those that were here, the oldest first.
    seen: BTreeSet<Digest>,
    order: VecDeque<Digest>,
    /// Whether the simulator is to be asked again, after a restart.
    asks: bool,
}

/// Ballots that are known when they come again: a vote of ten thousand members has twenty thousand.
const SEEN_MAX: usize = 65_536;
/// Ballots that wait: a few hundred bytes each. Who floods it loses others their wait and no vote, as they are told again.
const WAITING_MAX: usize = 1024;
/// Peers that are told each time, how often, and what lies between: as for proofs of fraud.
const FANOUT: usize = 6;
const ROUNDS: u8 = 4;
const PAUSE: Duration = Duration::from_secs(2);

impl Rumours {
    fn digest(ballot: &Ballot) -> Digest {
        let mut bytes = Vec::new();
        ballot.encode(&mut bytes);
        hash(Tag::Ballot, &[&bytes])
    }

    /// Whether it is new.
    fn note(&mut self, ballot: &Ballot) -> bool {
        let digest = Self::digest(ballot);
        if !self.seen.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// What did not count may count when it comes again.
    fn forget(&mut self, ballot: &Ballot) {
        let digest = Self::digest(ballot);
        self.seen.remove(&digest);
        // What is forgotten came lately; left in its place it would push out another each time it comes.
        if let Some(at) = self.order.iter().rposition(|other| *other == digest) {
            self.order.remove(at);
        }
    }

    /// It is heard again when its time may have come; until then it is known.
    fn wait(&mut self, ballot: Ballot) {
        self.note(&ballot);
        self.waiting.push_back(Box::new(ballot));
        if self.waiting.len() > WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.forget(&oldest);
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let asks = self.asks.then(Instant::default);
        self.telling.iter().map(|rumour| rumour.0).chain(asks).min()
    }
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Takes a ballot in: if it counts it is kept, told on, and done what follows from it.
    pub(super) fn cast(
        &mut self,
        now: Instant,
        ballot: Ballot,
        out: &mut Vec<Effect>,
    ) -> Result<(), governance::Error> {
        if ballot.is_public() && !self.rumours.note(&ballot) {
            return Ok(());
        }
        if let Err(error) = self.heed(now, &ballot, out).and_then(|()| self.governed(now, ballot.clone(), out)) {
            self.rumours.forget(&ballot);
            return Err(error);
        }
        if ballot.is_public() {
            self.rumours.telling.push_back((now, ROUNDS, Box::new(ballot)));
            self.tick_votes(now, out);
        }
        Ok(())
    }

    /// Whether a ballot is to be looked at: what only this node's own view of trust says. A date is kept, so a proposal is judged
    /// first.
    fn heed(&mut self, now: Instant, ballot: &Ballot, out: &mut Vec<Effect>) -> Result<(), governance::Error> {
        match ballot {
            Ballot::Propose { snapshot, .. } => {
                self.sees(snapshot)?;
                self.governed(now, Ballot::Date(self.date(now)), out)
            }
            Ballot::Delegate(delegation) if !delegation.is_of(self.date(now)) => Err(governance::Error::Date),
            Ballot::Delegate(Delegation { voter, .. })
                if self.reputation.trust(voter) == 0 && !self.governance.is_voter(voter) =>
            {
                Err(governance::Error::Stranger)
            }
            _ => Ok(()),
        }
    }

    /// Whether a snapshot is near what this node sees itself.
    pub(super) fn sees(&self, snapshot: &Snapshot) -> Result<(), governance::Error> {
        let voters: Vec<NodeId> = snapshot.rights().iter().map(|right| right.voter).collect();
        let near = snapshot.is_near(&self.trusted(&voters), &self.me);
        if near { Ok(()) } else { Err(governance::Error::View) }
    }

    /// Another tells a ballot: one that comes before its proposal, its promise or its time waits for it.
    pub(super) fn told_ballot(&mut self, now: Instant, ballot: Ballot, out: &mut Vec<Effect>) {
        use governance::{Error::*, vote::Error as Urn};
        let early = matches!(
            self.cast(now, ballot.clone(), out),
            Err(Unknown | Vote(Urn::Phase | Urn::Unpromised)) if ballot.about().is_some_and(|id| self.governance.ended(&id).is_none())
        );
        if early && !on(Fault::EarlyBallotLost) {
            self.rumours.wait(ballot);
        }
    }

    /// Hears those again that came too early.
    pub(super) fn hear_waiting(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for ballot in core::mem::take(&mut self.rumours.waiting) {
            self.rumours.forget(&ballot);
            self.told_ballot(now, *ballot, out);
        }
    }

    fn governed(&mut self, now: Instant, ballot: Ballot, out: &mut Vec<Effect>) -> Result<(), governance::Error> {
        let mut effects = Vec::new();
        let input = ballot.input(self.deposited(now, &ballot, out));
        self.governance.handle(now, input, &mut effects);
        for effect in effects {
            match effect {
                governance::Effect::Refused(error) => return Err(error),
                governance::Effect::Save(_) => self.keep(self.me, &Message::Ballot(Box::new(ballot.clone())), out),
                governance::Effect::Simulate { id, parameters } => {
                    out.push(Effect::Run(Job::Simulate { id, parameters }));
                }
                governance::Effect::Apply(parameters) => {
                    self.govern(parameters);
                    out.push(Effect::Tell(Event::Governed));
                }
                governance::Effect::Ended { id, end } => out.push(Effect::Tell(Event::Decided { id, end })),
                governance::Effect::Deposit { id, author, .. } if author == self.me => self.ended_vote(now, &id),
                governance::Effect::Counted { .. } | governance::Effect::Deposit { .. } => {}
            }
        }
        Ok(())
    }

    /// Hears a ballot again that counted when it was heard first.
    pub(super) fn recall_ballot(&mut self, ballot: &Ballot) {
        if ballot.is_public() {
            self.rumours.note(ballot);
        }
        // What was kept was deposited.
        self.governance.handle(Instant::default(), ballot.input(governance::DEPOSIT), &mut Vec::new());
        self.rumours.asks = self.governance.unanswered().next().is_some();
    }

    pub(super) fn tick_votes(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if core::mem::take(&mut self.rumours.asks) {
            let asked = self.governance.unanswered();
            out.extend(asked.map(|(id, parameters)| Effect::Run(Job::Simulate { id, parameters })));
        }
        let others: Vec<NodeId> = self.peers.iter().map(|peer| peer.id).filter(|id| *id != self.me).collect();
        for (due, rounds, ballot) in self.rumours.telling.iter_mut().filter(|rumour| rumour.0 <= now) {
            (*due, *rounds) = (now + PAUSE, *rounds - 1);
            for to in some(&others, &mut self.rng) {
                out.push(Effect::Send { to, message: Message::Ballot(ballot.clone()) });
            }
        }
        self.rumours.telling.retain(|rumour| rumour.1 > 0);
    }
}

/// Some of `others` by chance, each once.
fn some(others: &[NodeId], rng: &mut Rng) -> Vec<NodeId> {
    let mut others = others.to_vec();
    let count = others.len();
    for at in 0..FANOUT.min(count) {
        let other = at + rng.below((count - at) as u32) as usize;
        others.swap(at, other);
    }
    others.truncate(FANOUT);
    others
}
