//! 2f+1 of 3f+1 witnesses, for one statement.

use alloc::vec::Vec;
use core::fmt;

use super::set::Set;
use crate::{
    economy::ledger::{
        entry::{Act, Closing, Signed, Slot, Statement, Terms},
        fold::Proven,
    },
    kit::{
        Credits, Digest, Domain, NodeId, Signature, UnixTime, Verifier,
        codec::{Error as CodecError, Reader, put_number},
        fault::{Fault, on},
    },
};

/// Proof that a quorum of a set saw this statement and no other in its place.
///
/// In bytes: account 32, 0 and number, or 1, payee 32 and turn; digest 32; set 32; count of votes; for each the index of
/// the member, 1, and its signature, 64. With f = 10 that is 1.5 KB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What is certified.
    pub statement: Statement,
    /// Digest of the set.
    pub set: Digest,
    /// Places in the set, ascending, and signatures over [`Statement::vote_digest`].
    pub votes: Vec<(u8, Signature)>,
}

/// What is wrong with a certificate. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// It is by another set.
    Set,
    /// Too few signed.
    Few {
        /// How many must.
        quorum: usize,
    },
    /// A vote is out of order, twice there, or of nobody.
    Order,
    /// A signature is wrong.
    Forged,
    /// It certifies something else than what came with it.
    Other,
    /// It certifies nothing that can be received, or no such deposit.
    Useless,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set => f.write_str("the certificate is by another set of witnesses"),
            Self::Few { quorum } => write!(f, "{quorum} witnesses must sign"),
            Self::Order => f.write_str("the votes are not those of different members in order"),
            Self::Forged => f.write_str("a vote is not signed by its witness"),
            Self::Other => f.write_str("the certificate is about something else"),
            Self::Useless => f.write_str("this entry does not pay for that"),
        }
    }
}

impl core::error::Error for Error {}

impl Certificate {
    /// Whether it holds for this set.
    ///
    /// # Errors
    /// [`Error::Set`], [`Error::Few`], [`Error::Order`], [`Error::Forged`], in this order of checks: the dear one last.
    pub fn verify(&self, set: &Set, verifier: &impl Verifier) -> Result<(), Error> {
        if self.set != set.digest() {
            return Err(Error::Set);
        }
        if self.votes.len() < set.quorum() - usize::from(on(Fault::QuorumTooSmall)) {
            return Err(Error::Few { quorum: set.quorum() });
        }
        let ascending = self.votes.is_sorted_by(|a, b| a.0 < b.0 || on(Fault::VotersCountedTwice));
        if !ascending || self.votes.last().is_none_or(|last| usize::from(last.0) >= set.members().len()) {
            return Err(Error::Order);
        }
        let digest = self.statement.vote_digest(&self.set);
        let items: Vec<(NodeId, &[u8], Signature)> = self
            .votes
            .iter()
            .map(|(at, signature)| (set.members()[usize::from(*at)], &digest.0[..], *signature))
            .collect();
        if verifier.verify_all(Domain::Vote, &items) { Ok(()) } else { Err(Error::Forged) }
    }

    /// Who signed it.
    pub fn signers(&self, set: &Set) -> Vec<NodeId> {
        self.votes.iter().filter_map(|vote| set.members().get(usize::from(vote.0)).copied()).collect()
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + 65 * self.votes.len());
        out.extend_from_slice(&self.statement.account.0);
        match self.statement.slot {
            Slot::Entry(number) => {
                out.push(0);
                put_number(&mut out, number);
            }
            Slot::Closing { payee, turn } => {
                out.push(1);
                out.extend_from_slice(&payee.0);
                put_number(&mut out, turn);
            }
        }
        out.extend_from_slice(&self.statement.digest.0);
        out.extend_from_slice(&self.set.0);
        out.push(self.votes.len() as u8);
        for (at, signature) in &self.votes {
            out.push(*at);
            out.extend_from_slice(&signature.0);
        }
        out
    }

    /// From the front of `reader`.
    ///
    /// # Errors
    /// The codec's.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let account = reader.id()?;
        let slot = match reader.byte()? {
            0 => Slot::Entry(reader.number()?),
            1 => Slot::Closing { payee: reader.id()?, turn: reader.number()? },
            _ => return Err(CodecError::Odd),
        };
        let statement = Statement { account, slot, digest: Digest(*reader.array()?) };
        let set = Digest(*reader.array()?);
        let count = reader.byte()?;
        let votes: Result<Vec<_>, CodecError> = (0..count).map(|_| Ok((reader.byte()?, reader.signature()?))).collect();
        Ok(Self { statement, set, votes: votes? })
    }
}

/// What a certified payment proves.
///
/// # Errors
/// [`Error::Other`], [`Error::Useless`], and those of [`Certificate::verify`], in this order of checks.
pub fn payment(
    certificate: &Certificate,
    signed: &Signed,
    set: &Set,
    verifier: &impl Verifier,
) -> Result<Proven, Error> {
    let statement = signed.entry.statement();
    if certificate.statement != statement {
        return Err(Error::Other);
    }
    let Act::Pay { payee, turn, amount } = signed.entry.act else { return Err(Error::Useless) };
    certificate.verify(set, verifier)?;
    Ok(Proven { payer: signed.entry.account, payee, turn, amount, statement: statement.digest })
}

/// How much `owner` has set aside for what has the digest `what`, until `until` at least.
///
/// # Errors
/// [`Error::Other`], [`Error::Useless`], and those of [`Certificate::verify`], in this order of checks.
pub fn deposit(
    certificate: &Certificate,
    signed: &Signed,
    set: &Set,
    (owner, what, until): (&NodeId, &Digest, UnixTime),
    verifier: &impl Verifier,
) -> Result<Credits, Error> {
    if certificate.statement != signed.entry.statement() {
        return Err(Error::Other);
    }
    let Act::Hold(terms) = signed.entry.act else { return Err(Error::Useless) };
    let Terms { root, until: held_until, cap, .. } = terms;
    let his = (signed.entry.account == *owner && root == *what) || on(Fault::DepositOfAnother);
    let long = held_until >= until || on(Fault::DepositTooShort);
    if !terms.is_deposit() || !his || !long {
        return Err(Error::Useless);
    }
    if !on(Fault::DepositUncertified) {
        certificate.verify(set, verifier)?;
    }
    Ok(cap)
}

/// What the certified closing of a hold proves. A hold that came to nothing proves nothing for its payee, and lets its
/// payer release it.
///
/// # Errors
/// [`Error::Other`], and those of [`Certificate::verify`], in this order of checks.
pub fn closing(
    certificate: &Certificate,
    closing: &Closing,
    set: &Set,
    verifier: &impl Verifier,
) -> Result<Proven, Error> {
    let statement = closing.statement();
    if certificate.statement != statement {
        return Err(Error::Other);
    }
    certificate.verify(set, verifier)?;
    let Closing { payer, payee, turn, amount, .. } = *closing;
    Ok(Proven { payer, payee, turn, amount, statement: statement.digest })
}
