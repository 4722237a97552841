//! What nodes say to each other when they trade.
//!
//! In bytes: version, 1; kind, 1; fields in the order below, numbers as postcard writes them, lists after their length. What
//! is of another version, of no kind, or followed by something is passed over.
//!
//! | kind | exchange | fields |
//! |---|---|---|
//! | 0 Reserve | quote | task, model, work 1, size 1, class 1, tokens in, tokens out, price in ppm |
//! | 1 Quote | | task, wait in ms, price in ppm; of who has the task: it was interrupted, and waits again |
//! | 2 Refuse | | task, price in ppm, rest in ms |
//! | 3 Ready, 4 Release, 5 Stop | | task |
//! | 6 Offer | hold | task, epoch, from, terms, promise 32, number 32 |
//! | 7 Consent | | task, epoch, signature 64 |
//! | 8 Held | | task, epoch, evidence |
//! | 9 Block | run | task, epoch, tokens, block 48, head 32 |
//! | 10 Tick | | task, epoch, link 32 |
//! | 11 Report | | task, epoch, tokens, done 1 |
//! | 12 Paid | settle | evidence |
//! | 13 Audit | audit | task, model, worker 32, blocks |
//! | 14 Audited | | task, fingerprints |
//! | 15 Show | witness | set, entries: each with 0, or 1 and its evidence |
//! | 16 Close | | closing, 0, or 1 and a signature 64 |
//! | 17 Vote | | statement, signature 64, limit |
//! | 18 Deny | | statement, 0, or 1 and the number of the next entry |
//! | 19 Vouch | vouch | edges: id 32, weight; sightings: id 32, model, sign 1, looked, seen |
//! | 20 Proof | alarm | proof after its length |
//! | 21 Ballot | vote | see [`super::vote`] |
//! | 22 Used | kept, never said | key, begun 1, date, requests of the day, spent |
//! | 23 Steal | steal | room, models |
//! | 24 Hand | | places: client 32, task, model, work 1, size 1, class 1, tokens in, tokens out, hops 1 |
//! | 25 Moved | | task, worker 32 |
//! | 26 Barred | kept, never said | peer 32, times, date of the end |
//! | 27 Show | renew | the set that comes next; then as 15 |
//! | 28 Adopt | | what the log came to before, after its length; the set before, the change |
//! | 29 Lack | | account 32, the last term that is known |
//! | 30 Renewed | | changes, one after the other |
//! | 31 Quote | withhold | as 1; the share in ppm of its pay that may be withheld, at least 1 and at most a million |
//! | 32 Offer | | as 6; the share that is withheld, as in 31 |
//! | 33 Withhold | | task, epoch, tokens |
//! | 34 Rest | | turn, ticks in all, ticks that are not given, link 32 |
//! | 35 Owing | kept, never said | worker 32, turn, task, ticks that are given, ticks that are withheld, link 32 after all |
//! | 36 Verdict | dispute | task, blocks that looked wrong: bit n of a number for block n; those who accuse, 32 each |
//! | 37 Appeal | | task |
//! | 38 Audit | audit | as 13; the number of the first of these blocks, at least 1 |
//! | 39 Verdict | dispute | as 36; the number of the block that is bit 0, at least 1 |
//! | 40 Close | witness | as 16; the evidence of the hold |
//! | 41 Worked | kept, never said | a day on which this node was paid, from 1970; days in a row before it |
//!
//! Evidence is a certificate, its set, and 0 and a signed entry, or 1 and a closing. A set and a change of sets are as
//! [`Set`] and [`Renewal`] say.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::vote::Ballot;
use crate::{
    economy::{
        ledger::{
            Closing, Fraud, Signed, Terms,
            entry::{Slot, Statement},
            fraud,
        },
        tiers::{self, Order, Used},
        witness::{Certificate, Renewal, Set},
    },
    kit::{
        Class, Credits, Digest, NodeId, Ppm, Signature, UnixTime,
        codec::{Error, Reader, put_bytes, put_number},
    },
    trust::{
        anomaly::Sign,
        verify::commit::{self, Block, Fingerprint},
    },
};

/// The version that is written and read.
pub const VERSION: u8 = 1;
/// Blocks of one audit: 2,048 tokens, one after the other. Of a longer answer chance says which.
pub const BLOCKS_MAX: usize = 64;
/// Entries that are shown at once.
pub const ENTRIES_MAX: usize = 8;
/// Changes of witnesses that are told at once.
pub const RENEWALS_MAX: usize = 4;
/// Bytes of what a log comes to, where others begin to watch it: some five hundred others with whom it dealt. With the sets
/// before and after it, each of 100 members, that fits a message.
pub const FOLD_MAX: usize = 20_000;
/// Models for which work is looked for.
pub const MODELS_MAX: usize = 64;
/// Places that are handed on at once.
pub const HANDED_MAX: usize = 16;
/// Auditors who accuse: as many as members may decide that there are.
pub const AUDITORS_MAX: usize = 7;
/// Edges, and sightings, of one message.
pub const VOUCH_MAX: usize = 64;

/// An entry as its witnesses are shown it, and what it refers to. Many are shown the same one.
pub type Shown = (Arc<Signed>, Option<Evidence>);

/// That something was certified, for whoever was not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// By whom.
    pub certificate: Certificate,
    /// The set that it is by.
    pub set: Set,
    /// What.
    pub paid: Paid,
}

/// What is certified.
#[derive(Clone, Debug, PartialEq)]
pub enum Paid {
    /// An entry.
    Entry(Signed),
    /// What a hold came to.
    Closing(Closing),
}

/// What one has seen of a peer, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Of whom.
    pub peer: NodeId,
    /// With which model.
    pub model: u64,
    /// What was looked for.
    pub sign: Sign,
    /// How often.
    pub looked: u32,
    /// How often it was there.
    pub seen: u32,
}

/// A place that a worker hands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Whose task.
    pub client: NodeId,
    /// Which.
    pub task: u64,
    /// With which model.
    pub model: u64,
    /// What is to be done.
    pub order: Order,
    /// Workers that had it before.
    pub hops: u8,
}

/// One word of an exchange.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the table above says it")]
pub enum Message {
    Reserve { task: u64, model: u64, order: Order, price_max: u32 },
    Quote { task: u64, wait_ms: u64, price: u32, withheld: Ppm },
    Refuse { task: u64, price: u32, after_ms: u64 },
    Ready(u64),
    Release(u64),
    Stop(u64),
    Offer { task: u64, epoch: u32, from: u32, terms: Terms, promise: Digest, number: Digest, withheld: Ppm },
    Consent { task: u64, epoch: u32, signature: Signature },
    Held { task: u64, epoch: u32, evidence: Box<Evidence> },
    Block { task: u64, epoch: u32, tokens: u32, block: Block, head: Digest },
    Tick { task: u64, epoch: u32, link: Digest },
    Report { task: u64, epoch: u32, tokens: u32, done: bool },
    Paid(Box<Evidence>),
    Audit { task: u64, model: u64, worker: NodeId, first: u32, blocks: Vec<Block> },
    Audited { task: u64, fingerprints: Vec<Fingerprint> },
    Show { set: Box<Set>, next: Option<Box<Set>>, entries: Vec<Shown> },
    Close { closing: Closing, consent: Option<Signature>, hold: Option<Box<Evidence>> },
    Vote { statement: Statement, signature: Signature, limit: Credits },
    Deny { statement: Statement, next: Option<u64> },
    Vouch { edges: Vec<(NodeId, u32)>, sightings: Vec<Sighting> },
    Proof(Box<Fraud>),
    Ballot(Box<Ballot>),
    Used(Used),
    Steal { room: u32, models: Vec<u64> },
    Hand(Vec<Handed>),
    Moved { task: u64, to: NodeId },
    Barred { peer: NodeId, times: u32, until: UnixTime },
    Worked { day: u64, days: u32 },
    Adopt { fold: Vec<u8>, before: Box<Set>, renewal: Box<Renewal> },
    Lack { account: NodeId, term: u64 },
    Renewed(Vec<Renewal>),
    Withhold { task: u64, epoch: u32, tokens: u32 },
    Rest { turn: u64, ticks: u32, kept: u32, link: Digest },
    Verdict { task: u64, first: u32, blocks: u64, auditors: Vec<NodeId> },
    Appeal(u64),
    Owing { worker: NodeId, turn: u64, task: u64, given: u32, withheld: u32, link: Digest },
}

impl Message {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer(Vec::with_capacity(128));
        to.0.extend_from_slice(&[VERSION, self.kind()]);
        match self {
            Self::Reserve { task, model, order, price_max } => {
                to.numbers(&[*task, *model]);
                to.order(order);
                to.numbers(&[u64::from(*price_max)]);
            }
            Self::Quote { task, wait_ms, price, withheld } => {
                to.numbers(&[*task, *wait_ms, u64::from(*price)]);
                to.share(*withheld);
            }
            Self::Refuse { task, price, after_ms } => to.numbers(&[*task, u64::from(*price), *after_ms]),
            Self::Ready(task) | Self::Release(task) | Self::Stop(task) => to.numbers(&[*task]),
            Self::Offer { task, epoch, from, terms, promise, number, withheld } => {
                to.numbers(&[*task, u64::from(*epoch), u64::from(*from)]);
                to.terms(terms);
                to.digests(&[*promise, *number]);
                to.share(*withheld);
            }
            Self::Consent { task, epoch, signature } => {
                to.numbers(&[*task, u64::from(*epoch)]);
                to.signature(signature);
            }
            Self::Held { task, epoch, evidence } => {
                to.numbers(&[*task, u64::from(*epoch)]);
                to.evidence(evidence);
            }
            Self::Block { task, epoch, tokens, block, head } => {
                to.numbers(&[*task, u64::from(*epoch), u64::from(*tokens)]);
                to.block(block);
                to.digests(&[*head]);
            }
            Self::Tick { task, epoch, link } => {
                to.numbers(&[*task, u64::from(*epoch)]);
                to.digests(&[*link]);
            }
            Self::Report { task, epoch, tokens, done } => {
                to.numbers(&[*task, u64::from(*epoch), u64::from(*tokens)]);
                to.0.push(u8::from(*done));
            }
            Self::Paid(evidence) => to.evidence(evidence),
            Self::Audit { task, model, worker, first, blocks } => {
                to.numbers(&[*task, *model]);
                to.0.extend_from_slice(&worker.0);
                to.list(blocks, Writer::block);
                to.first(*first);
            }
            Self::Audited { task, fingerprints } => {
                to.numbers(&[*task]);
                to.list(fingerprints, Writer::fingerprint);
            }
            Self::Show { set, next, entries } => {
                next.iter().for_each(|next| next.encode(&mut to.0));
                set.encode(&mut to.0);
                to.list(entries, |to, (signed, evidence)| {
                    put_bytes(&mut to.0, &signed.encode());
                    to.option(evidence.as_ref(), Writer::evidence);
                });
            }
            Self::Close { closing, consent, hold } => {
                to.closing(closing);
                to.option(consent.as_ref(), Writer::signature);
                hold.iter().for_each(|hold| to.evidence(hold));
            }
            Self::Vote { statement, signature, limit } => {
                to.statement(statement);
                to.signature(signature);
                to.numbers(&[limit.0]);
            }
            Self::Deny { statement, next } => {
                to.statement(statement);
                to.option(next.as_ref(), |to, next| to.numbers(&[*next]));
            }
            Self::Vouch { edges, sightings } => {
                to.list(edges, |to, (id, weight)| {
                    to.0.extend_from_slice(&id.0);
                    to.numbers(&[u64::from(*weight)]);
                });
                to.list(sightings, |to, sighting| {
                    to.0.extend_from_slice(&sighting.peer.0);
                    to.numbers(&[sighting.model]);
                    to.0.push(sighting.sign as u8);
                    to.numbers(&[sighting.looked.into(), sighting.seen.into()]);
                });
            }
            Self::Proof(fraud) => put_bytes(&mut to.0, &fraud.encode()),
            Self::Ballot(ballot) => ballot.encode(&mut to.0),
            Self::Steal { room, models } => {
                to.numbers(&[u64::from(*room)]);
                to.list(models, |to, model| to.numbers(&[*model]));
            }
            Self::Hand(places) => to.list(places, |to, Handed { client, task, model, order, hops }| {
                to.0.extend_from_slice(&client.0);
                to.numbers(&[*task, *model]);
                to.order(order);
                to.0.push(*hops);
            }),
            Self::Moved { task, to: worker } => {
                to.numbers(&[*task]);
                to.0.extend_from_slice(&worker.0);
            }
            Self::Worked { day, days } => to.numbers(&[*day, (*days).into()]),
            Self::Barred { peer, times, until } => {
                to.0.extend_from_slice(&peer.0);
                to.numbers(&[u64::from(*times), until.0]);
            }
            Self::Adopt { fold, before, renewal } => {
                put_bytes(&mut to.0, fold);
                before.encode(&mut to.0);
                renewal.encode(&mut to.0);
            }
            Self::Lack { account, term } => {
                to.0.extend_from_slice(&account.0);
                to.numbers(&[*term]);
            }
            Self::Renewed(renewals) => to.list(renewals, |to, renewal| renewal.encode(&mut to.0)),
            Self::Withhold { task, epoch, tokens } => to.numbers(&[*task, u64::from(*epoch), u64::from(*tokens)]),
            Self::Rest { turn, ticks, kept, link } => {
                to.numbers(&[*turn, u64::from(*ticks), u64::from(*kept)]);
                to.digests(&[*link]);
            }
            Self::Verdict { task, first, blocks, auditors } => {
                to.numbers(&[*task, *blocks]);
                to.list(auditors, |to, auditor| to.0.extend_from_slice(&auditor.0));
                to.first(*first);
            }
            Self::Appeal(task) => to.numbers(&[*task]),
            Self::Owing { worker, turn, task, given, withheld, link } => {
                to.0.extend_from_slice(&worker.0);
                to.numbers(&[*turn, *task, u64::from(*given), u64::from(*withheld)]);
                to.digests(&[*link]);
            }
            Self::Used(Used { number, begun, at, today, spent }) => {
                to.numbers(&[*number]);
                to.0.push(u8::from(*begun));
                to.numbers(&[at.0, u64::from(*today), spent.0]);
            }
        }
        to.0
    }

    /// From bytes, all of them.
    ///
    /// # Errors
    /// The codec's; [`Error::Odd`] also for another version, no kind, and what follows.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut from = Reader(bytes);
        if from.byte()? != VERSION {
            return Err(Error::Odd);
        }
        let kind = from.byte()?;
        let message = Self::read(kind, &mut from)?;
        if from.0.is_empty() { Ok(message) } else { Err(Error::Odd) }
    }

    fn read(kind: u8, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match kind {
            0 => Self::Reserve {
                task: from.number()?,
                model: from.number()?,
                order: order(from)?,
                price_max: small(from)?,
            },
            1 | 31 => Self::Quote {
                task: from.number()?,
                wait_ms: from.number()?,
                price: small(from)?,
                withheld: share(kind == 31, from)?,
            },
            2 => Self::Refuse { task: from.number()?, price: small(from)?, after_ms: from.number()? },
            3 => Self::Ready(from.number()?),
            4 => Self::Release(from.number()?),
            5 => Self::Stop(from.number()?),
            6 | 32 => Self::Offer {
                task: from.number()?,
                epoch: small(from)?,
                from: small(from)?,
                terms: terms(from)?,
                promise: digest(from)?,
                number: digest(from)?,
                withheld: share(kind == 32, from)?,
            },
            7 => Self::Consent { task: from.number()?, epoch: small(from)?, signature: from.signature()? },
            8 => Self::Held { task: from.number()?, epoch: small(from)?, evidence: Box::new(evidence(from)?) },
            9 => Self::Block {
                task: from.number()?,
                epoch: small(from)?,
                tokens: small(from)?,
                block: block(from)?,
                head: digest(from)?,
            },
            10 => Self::Tick { task: from.number()?, epoch: small(from)?, link: digest(from)? },
            11 => Self::Report { task: from.number()?, epoch: small(from)?, tokens: small(from)?, done: flag(from)? },
            12 => Self::Paid(Box::new(evidence(from)?)),
            13 | 38 => {
                let (task, model, worker) = (from.number()?, from.number()?, from.id()?);
                let blocks = list(from, BLOCKS_MAX, block)?;
                Self::Audit { task, model, worker, first: first(kind == 38, from)?, blocks }
            }
            14 => Self::Audited { task: from.number()?, fingerprints: list(from, BLOCKS_MAX, fingerprint)? },
            15 => Self::Show { next: None, set: Box::new(Set::decode(from)?), entries: entries(from)? },
            27 => Self::Show {
                next: Some(Box::new(Set::decode(from)?)),
                set: Box::new(Set::decode(from)?),
                entries: entries(from)?,
            },
            28 => Self::Adopt {
                fold: from.bytes(FOLD_MAX)?.to_vec(),
                before: Box::new(Set::decode(from)?),
                renewal: Box::new(Renewal::decode(from)?),
            },
            29 => Self::Lack { account: from.id()?, term: from.number()? },
            30 => Self::Renewed(list(from, RENEWALS_MAX, Renewal::decode)?),
            33 => Self::Withhold { task: from.number()?, epoch: small(from)?, tokens: small(from)? },
            34 => Self::Rest { turn: from.number()?, ticks: small(from)?, kept: small(from)?, link: digest(from)? },
            35 => Self::Owing {
                worker: from.id()?,
                turn: from.number()?,
                task: from.number()?,
                given: small(from)?,
                withheld: small(from)?,
                link: digest(from)?,
            },
            16 | 40 => {
                let (closing, consent) = (closing(from)?, option(from, |from| from.signature())?);
                let hold = if kind == 40 { Some(Box::new(evidence(from)?)) } else { None };
                Self::Close { closing, consent, hold }
            }
            17 => {
                Self::Vote { statement: statement(from)?, signature: from.signature()?, limit: Credits(from.number()?) }
            }
            18 => Self::Deny { statement: statement(from)?, next: option(from, |from| from.number())? },
            19 => Self::Vouch {
                edges: list(from, VOUCH_MAX, |from| Ok((from.id()?, small(from)?)))?,
                sightings: list(from, VOUCH_MAX, sighting)?,
            },
            20 => {
                let bytes = from.bytes(fraud::BYTES_MAX)?;
                Self::Proof(Box::new(Fraud::decode(bytes)?))
            }
            21 => Self::Ballot(Box::new(Ballot::decode(from)?)),
            22 => Self::Used(Used {
                number: from.number()?,
                begun: flag(from)?,
                at: UnixTime(from.number()?),
                today: small(from)?,
                spent: Credits(from.number()?),
            }),
            23 => Self::Steal { room: small(from)?, models: list(from, MODELS_MAX, |from| from.number())? },
            24 => Self::Hand(list(from, HANDED_MAX, handed)?),
            25 => Self::Moved { task: from.number()?, to: from.id()? },
            41 => Self::Worked { day: from.number()?, days: small(from)? },
            26 => Self::Barred { peer: from.id()?, times: small(from)?, until: UnixTime(from.number()?) },
            36 | 39 => {
                let (task, blocks) = (from.number()?, from.number()?);
                let auditors = list(from, AUDITORS_MAX, |from| from.id())?;
                Self::Verdict { task, first: first(kind == 39, from)?, blocks, auditors }
            }
            37 => Self::Appeal(from.number()?),
            _ => return Err(Error::Odd),
        })
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Reserve { .. } => 0,
            Self::Quote { withheld: Ppm(0), .. } => 1,
            Self::Refuse { .. } => 2,
            Self::Ready(_) => 3,
            Self::Release(_) => 4,
            Self::Stop(_) => 5,
            Self::Offer { withheld: Ppm(0), .. } => 6,
            Self::Consent { .. } => 7,
            Self::Held { .. } => 8,
            Self::Block { .. } => 9,
            Self::Tick { .. } => 10,
            Self::Report { .. } => 11,
            Self::Paid(_) => 12,
            Self::Audit { first: 0, .. } => 13,
            Self::Audited { .. } => 14,
            Self::Show { next: None, .. } => 15,
            Self::Close { hold: None, .. } => 16,
            Self::Close { .. } => 40,
            Self::Vote { .. } => 17,
            Self::Deny { .. } => 18,
            Self::Vouch { .. } => 19,
            Self::Proof(_) => 20,
            Self::Ballot(_) => 21,
            Self::Used(_) => 22,
            Self::Steal { .. } => 23,
            Self::Hand(_) => 24,
            Self::Moved { .. } => 25,
            Self::Barred { .. } => 26,
            Self::Worked { .. } => 41,
            Self::Show { next: Some(_), .. } => 27,
            Self::Adopt { .. } => 28,
            Self::Lack { .. } => 29,
            Self::Renewed(_) => 30,
            Self::Quote { .. } => 31,
            Self::Offer { .. } => 32,
            Self::Withhold { .. } => 33,
            Self::Rest { .. } => 34,
            Self::Owing { .. } => 35,
            Self::Verdict { first: 0, .. } => 36,
            Self::Appeal(_) => 37,
            Self::Audit { .. } => 38,
            Self::Verdict { .. } => 39,
        }
    }
}

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    fn numbers(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| put_number(&mut self.0, *number));
    }

    /// Nothing, if nothing is withheld: the kind says so.
    fn share(&mut self, share: Ppm) {
        if share > Ppm(0) {
            self.numbers(&[share.0.into()]);
        }
    }

    /// Nothing, if it is the first of all: the kind says so.
    fn first(&mut self, first: u32) {
        if first > 0 {
            self.numbers(&[first.into()]);
        }
    }

    fn digests(&mut self, digests: &[Digest]) {
        digests.iter().for_each(|digest| self.0.extend_from_slice(&digest.0));
    }

    fn signature(&mut self, signature: &Signature) {
        self.0.extend_from_slice(&signature.0);
    }

    fn list<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.numbers(&[items.len() as u64]);
        items.iter().for_each(|item| put(self, item));
    }

    pub(super) fn option<T>(&mut self, item: Option<&T>, put: impl FnOnce(&mut Self, &T)) {
        self.0.push(u8::from(item.is_some()));
        if let Some(item) = item {
            put(self, item);
        }
    }

    fn order(&mut self, order: &Order) {
        self.0.extend_from_slice(&[order.work as u8, order.size as u8, order.class as u8]);
        self.numbers(&[order.tokens_in, order.tokens_out]);
    }

    fn terms(&mut self, terms: &Terms) {
        self.0.extend_from_slice(&terms.payee.0);
        self.numbers(&[terms.turn, terms.cap.0, terms.tick.0, terms.until.0]);
        self.digests(&[terms.root]);
    }

    fn fingerprint(&mut self, fingerprint: &Fingerprint) {
        fingerprint.0.iter().for_each(|part| self.0.extend_from_slice(&part.to_be_bytes()));
    }

    fn block(&mut self, block: &Block) {
        self.fingerprint(&block.fingerprint);
        self.0.extend_from_slice(&block.tokens);
    }

    fn closing(&mut self, closing: &Closing) {
        self.0.extend_from_slice(&closing.payer.0);
        self.0.extend_from_slice(&closing.payee.0);
        self.numbers(&[closing.turn, closing.ticks.into(), closing.amount.0]);
        self.digests(&[closing.link]);
    }

    fn statement(&mut self, statement: &Statement) {
        self.0.extend_from_slice(&statement.account.0);
        match statement.slot {
            Slot::Entry(number) => {
                self.0.push(0);
                self.numbers(&[number]);
            }
            Slot::Closing { payee, turn } => {
                self.0.push(1);
                self.0.extend_from_slice(&payee.0);
                self.numbers(&[turn]);
            }
        }
        self.digests(&[statement.digest]);
    }

    pub(super) fn evidence(&mut self, evidence: &Evidence) {
        self.0.extend_from_slice(&evidence.certificate.encode());
        evidence.set.encode(&mut self.0);
        match &evidence.paid {
            Paid::Entry(signed) => {
                self.0.push(0);
                put_bytes(&mut self.0, &signed.encode());
            }
            Paid::Closing(closing) => {
                self.0.push(1);
                self.closing(closing);
            }
        }
    }
}

/// A number of 32 bits.
pub(super) fn small(from: &mut Reader<'_>) -> Result<u32, Error> {
    u32::try_from(from.number()?).map_err(|_| Error::Number)
}

pub(super) fn digest(from: &mut Reader<'_>) -> Result<Digest, Error> {
    from.array().map(|bytes| Digest(*bytes))
}

pub(super) fn flag(from: &mut Reader<'_>) -> Result<bool, Error> {
    match from.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::Odd),
    }
}

/// The share that is withheld, where the kind says that there is one.
fn share(there: bool, from: &mut Reader<'_>) -> Result<Ppm, Error> {
    match there.then(|| small(from)).transpose()? {
        None => Ok(Ppm(0)),
        Some(share @ 1..=1_000_000) => Ok(Ppm(share)),
        Some(_) => Err(Error::Number),
    }
}

/// The number of the first block, where the kind says that it is not the first of all; there is none beyond a session.
fn first(there: bool, from: &mut Reader<'_>) -> Result<u32, Error> {
    match there.then(|| small(from)).transpose()? {
        None => Ok(0),
        Some(first @ 1..commit::BLOCKS_MAX) => Ok(first),
        Some(_) => Err(Error::Number),
    }
}

/// A list of at most `limit`. Each item takes a byte at least, so nothing is allocated that was not sent.
pub(super) fn list<'a, T>(
    from: &mut Reader<'a>,
    limit: usize,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let length = from.number()?;
    if length > limit as u64 {
        return Err(Error::Long { length, limit });
    }
    (0..length).map(|_| item(from)).collect()
}

pub(super) fn option<'a, T>(
    from: &mut Reader<'a>,
    item: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    if flag(from)? { item(from).map(Some) } else { Ok(None) }
}

fn order(from: &mut Reader<'_>) -> Result<Order, Error> {
    use tiers::{Size, Work};
    let pick = |at: u8, count: usize| Some(usize::from(at)).filter(|at| *at < count).ok_or(Error::Odd);
    let works = [Work::Inference, Work::Embedding, Work::Agent, Work::FineTune];
    let sizes = [Size::Small, Size::Medium, Size::Large, Size::Huge, Size::Giant];
    Ok(Order {
        work: works[pick(from.byte()?, works.len())?],
        size: sizes[pick(from.byte()?, sizes.len())?],
        class: Class::ALL[pick(from.byte()?, Class::ALL.len())?],
        tokens_in: from.number()?,
        tokens_out: from.number()?,
    })
}

fn handed(from: &mut Reader<'_>) -> Result<Handed, Error> {
    Ok(Handed {
        client: from.id()?,
        task: from.number()?,
        model: from.number()?,
        order: order(from)?,
        hops: from.byte()?,
    })
}

fn terms(from: &mut Reader<'_>) -> Result<Terms, Error> {
    Ok(Terms {
        payee: from.id()?,
        turn: from.number()?,
        cap: Credits(from.number()?),
        tick: Credits(from.number()?),
        until: UnixTime(from.number()?),
        root: digest(from)?,
    })
}

fn fingerprint(from: &mut Reader<'_>) -> Result<Fingerprint, Error> {
    let bytes = from.array::<32>()?;
    Ok(Fingerprint(core::array::from_fn(|at| i16::from_be_bytes([bytes[2 * at], bytes[2 * at + 1]]))))
}

fn block(from: &mut Reader<'_>) -> Result<Block, Error> {
    Ok(Block { fingerprint: fingerprint(from)?, tokens: *from.array()? })
}

fn entries(from: &mut Reader<'_>) -> Result<Vec<Shown>, Error> {
    list(from, ENTRIES_MAX, |from| Ok((Arc::new(signed(from)?), option(from, evidence)?)))
}

fn signed(from: &mut Reader<'_>) -> Result<Signed, Error> {
    Signed::decode(from.bytes(Signed::BYTES_MAX)?)
}

fn closing(from: &mut Reader<'_>) -> Result<Closing, Error> {
    Ok(Closing {
        payer: from.id()?,
        payee: from.id()?,
        turn: from.number()?,
        ticks: small(from)?,
        amount: Credits(from.number()?),
        link: digest(from)?,
    })
}

fn statement(from: &mut Reader<'_>) -> Result<Statement, Error> {
    let account = from.id()?;
    let slot = match from.byte()? {
        0 => Slot::Entry(from.number()?),
        1 => Slot::Closing { payee: from.id()?, turn: from.number()? },
        _ => return Err(Error::Odd),
    };
    Ok(Statement { account, slot, digest: digest(from)? })
}

pub(super) fn evidence(from: &mut Reader<'_>) -> Result<Evidence, Error> {
    let certificate = Certificate::decode(from)?;
    let set = Set::decode(from)?;
    let paid = match from.byte()? {
        0 => Paid::Entry(signed(from)?),
        1 => Paid::Closing(closing(from)?),
        _ => return Err(Error::Odd),
    };
    Ok(Evidence { certificate, set, paid })
}

fn sighting(from: &mut Reader<'_>) -> Result<Sighting, Error> {
    let (peer, model) = (from.id()?, from.number()?);
    let signs = [Sign::Wrong, Sign::Failed, Sign::Slow, Sign::Greedy];
    let sign = *signs.get(usize::from(from.byte()?)).ok_or(Error::Odd)?;
    Ok(Sighting { peer, model, sign, looked: small(from)?, seen: small(from)? })
}
