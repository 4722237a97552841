//! Who said it: what signs and what checks, without saying with which mathematics.
//!
//! `trust::identity` signs with Ed25519. A simulator of many thousand nodes puts counted stand-ins of the same size here.

use core::fmt;

use super::NodeId;

/// What a signature is for. Bytes signed for one purpose are worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Domain {
    /// A member says where and what it is.
    Record = 1,
    /// A packet between two nodes.
    Packet = 2,
    /// A member says that another does not answer.
    Accusation = 3,
    /// A member proves to a prober, by way of a helper, that it is alive.
    Proof = 4,
    /// An identity lets another key sign for it.
    Certificate = 5,
    /// An owner writes an entry into its log.
    Entry = 16,
    /// The other side of an entry agrees to it.
    Consent = 17,
    /// A witness saw one statement and no other.
    Vote = 18,
    /// A payee says what a hold came to.
    Closing = 19,
    /// A member promises a vote.
    Ballot = 20,
    /// A member proposes a change.
    Proposal = 21,
    /// A member lets another vote for it.
    Delegation = 22,
    /// What a node derives its secrets from; such a signature is never sent.
    Secret = 23,
}

/// 64 bytes as Ed25519 makes them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}..", self.0[0], self.0[1])
    }
}

/// Whoever holds a secret key.
pub trait Signer {
    /// The public key that belongs to it.
    fn key(&self) -> NodeId;

    /// Signs the concatenation of `parts` for `domain`.
    fn sign(&self, domain: Domain, parts: &[&[u8]]) -> Signature;
}

/// Whoever can check signatures.
pub trait Verifier {
    /// Whether `key` signed the concatenation of `parts` for `domain`.
    fn verify(&self, key: &NodeId, domain: Domain, parts: &[&[u8]], signature: &Signature) -> bool;

    /// Whether all of these keys signed these messages for `domain`. May be cheaper than one by one, and is decided by
    /// nothing but the list.
    fn verify_all(&self, domain: Domain, items: &[(NodeId, &[u8], Signature)]) -> bool {
        items.iter().all(|(key, message, signature)| self.verify(key, domain, &[message], signature))
    }
}

/// The consent of an identity that another key sign for it.
///
/// The first key of a node is its name and can stay in a drawer; what it signs with from day to day is replaced by a
/// certificate with a higher serial number, and the one before is worth nothing from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Counts upwards; the highest holds.
    pub serial: u64,
    /// The key that may sign.
    pub key: NodeId,
    /// By the first key, over serial number and key.
    pub signature: Signature,
}

impl Certificate {
    /// Lets `key` sign for whoever holds `root`.
    pub fn issue(root: &impl Signer, serial: u64, key: NodeId) -> Self {
        let signature = root.sign(Domain::Certificate, &[&serial.to_be_bytes(), &key.0]);
        Self { serial, key, signature }
    }

    /// Whether `subject` did consent.
    pub fn holds(&self, subject: &NodeId, verifier: &impl Verifier) -> bool {
        verifier.verify(subject, Domain::Certificate, &[&self.serial.to_be_bytes(), &self.key.0], &self.signature)
    }
}
