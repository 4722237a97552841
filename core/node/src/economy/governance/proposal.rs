//! What is proposed, and the life of it.
//!
//! ```text
//! Promising --5 d--> Opening --2 d--> tally --passed--> Locked --2 d--> Watched --7 d--> Settled
//!     |                                 |                 |                |
//!     '--author--> Cancelled            '--> Rejected     '--> Blocked     '--> RolledBack
//!                                            Expired
//! ```

use alloc::{string::String, vec::Vec};

use super::{
    parameter::{Key, Value},
    vote::Urn,
};
use crate::kit::{
    Digest, Domain, NodeId, Signature, Signer, UnixTime, Verifier,
    fault::{Fault, on},
    hash::{Tag, hash},
};

/// What is measured while a change is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Metric {
    /// Tasks that came back, in ppm of those that were begun.
    TasksDone = 0,
    /// Requests that were turned away, in ppm.
    Refusals = 1,
    /// Bad results, in ppm of those that were audited.
    BadResults = 2,
    /// What an hour of work brings, in micro-credits.
    HourlyEarnings = 3,
    /// Members that were declared dead and were not, in ppm of all in a day.
    FalseDeaths = 4,
    /// Seconds until a dead member is known to be, times a thousand.
    DetectionMs = 5,
    /// Members that can be given work, in ppm of all.
    Eligible = 6,
    /// Extra work by audits and repetitions, in ppm.
    Overhead = 7,
}

/// Where a metric is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Which.
    pub metric: Metric,
    /// The least.
    pub least: u64,
    /// The most.
    pub most: u64,
}

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Who.
    pub author: NodeId,
    /// In one line.
    pub title: String,
    /// Which parameter.
    pub key: Key,
    /// To what.
    pub value: Value,
    /// What the author promises will hold. Where it does not, the change is undone.
    pub bands: Vec<Band>,
    /// When it was made.
    pub made: UnixTime,
    /// Digest of who may vote with what.
    pub snapshot: Digest,
    /// By the author.
    pub signature: Signature,
}

/// Bytes of a title.
pub const TITLE_MAX: usize = 120;
/// Bands of a proposal.
pub const BANDS_MAX: usize = 8;

impl Proposal {
    /// What it is known by, and what its author signs.
    pub fn id(&self) -> Digest {
        let (kind, number) = self.value.parts();
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&self.author.0);
        bytes.extend_from_slice(&self.made.0.to_be_bytes());
        bytes.extend_from_slice(&self.snapshot.0);
        bytes.extend_from_slice(&[self.key as u8, kind]);
        bytes.extend_from_slice(&number.to_be_bytes());
        for band in &self.bands {
            bytes.push(band.metric as u8);
            bytes.extend_from_slice(&band.least.to_be_bytes());
            bytes.extend_from_slice(&band.most.to_be_bytes());
        }
        hash(Tag::Proposal, &[&(self.bands.len() as u64).to_be_bytes(), &bytes, self.title.as_bytes()])
    }

    /// The author signs.
    pub fn sign(mut self, keys: &impl Signer) -> Self {
        self.signature = keys.sign(Domain::Proposal, &[&self.id().0]);
        self
    }

    /// Whether the author did.
    pub fn holds(&self, verifier: &impl Verifier) -> bool {
        verifier.verify(&self.author, Domain::Proposal, &[&self.id().0], &self.signature)
    }

    /// What its author signs to take it back.
    pub fn cancel(&self, keys: &impl Signer) -> Signature {
        keys.sign(Domain::Proposal, &[b"cancel", &self.id().0])
    }

    /// Whether the author takes it back.
    pub fn is_cancelled(&self, signature: &Signature, verifier: &impl Verifier) -> bool {
        verifier.verify(&self.author, Domain::Proposal, &[b"cancel", &self.id().0], signature)
    }
}

/// Where a proposal stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Promises are taken until then; or, once the urn is open, votes are opened until then.
    Voting { until: UnixTime, urn: Urn },
    /// It passed, and becomes true then, if the simulator lets it.
    Locked { until: UnixTime },
    /// It is true, and watched until then. `outside` measurements in a row left their bands.
    Watched { until: UnixTime, before: Value, outside: u32 },
}

/// How a proposal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The author took it back.
    Cancelled,
    /// Too few agreed.
    Rejected,
    /// Too few were present.
    Expired,
    /// The simulator shows harm, or did not answer.
    Blocked,
    /// It was true, did harm, and is undone.
    RolledBack,
    /// It holds.
    Settled,
}

impl End {
    /// Whether the author's deposit is lost: where too few cared to vote, or the change did harm.
    pub fn takes_deposit(self) -> bool {
        matches!(self, Self::Expired | Self::RolledBack) && !on(Fault::DepositNeverLost)
    }
}
