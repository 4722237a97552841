//! Proofs that anybody checks without asking anybody.
//!
//! In bytes: 0, and two signed entries after their lengths; or 1, two certificates, the members of their sets (f and 3f+1
//! ids), the count of entries between them, and each after its length.

use alloc::vec::Vec;
use core::fmt;

use super::entry::{Entry, Signed, Slot};
use crate::{
    economy::witness::{Certificate, Set},
    kit::{
        Domain, NodeId, Verifier,
        codec::{Error as CodecError, Reader, put_bytes, put_number},
        fault::{Fault, on},
    },
};

/// Somebody signed what excludes each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fraud {
    /// An owner signed two entries with one number.
    Fork {
        /// The one.
        one: Signed,
        /// The other.
        other: Signed,
    },
    /// Witnesses certified two statements for one place, or in the name of one set two entries of which neither comes before the
    /// other.
    ///
    /// What one votes for in the name of one set is a chain. In the name of the next it begins with the change, which those before
    /// certified, also if it had voted for another branch before, which they did not: so a branch of before and one of after prove
    /// nothing.
    Double {
        /// The certificate with the lower number.
        lower: Certificate,
        /// Its set.
        lower_set: Set,
        /// The certificate with the higher number, or the same.
        upper: Certificate,
        /// Its set.
        upper_set: Set,
        /// The entries from the lower number to the upper one by which the upper got there; none where both are closings.
        path: Vec<Entry>,
    },
}

/// Entries between two certificates in a proof.
pub const PATH_MAX: usize = super::fold::EVERY as usize;
/// Bytes of a proof.
pub const BYTES_MAX: usize = 1 << 20;

/// Whom a proof names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guilty {
    /// Whose account.
    pub account: NodeId,
    /// Whether its owner signed both.
    pub owner: bool,
    /// The witnesses that signed both, by id.
    pub witnesses: Vec<NodeId>,
}

/// Why a proof proves nothing. Whoever sent it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The two are about different accounts.
    Accounts,
    /// The two can both be true.
    Compatible,
    /// The entries do not lead from the one to the other.
    Path,
    /// Nobody signed both.
    Nobody,
    /// A signature is wrong.
    Forged,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accounts => "the two are about different accounts",
            Self::Compatible => "the two can both be true",
            Self::Path => "the entries do not lead from the one to the other",
            Self::Nobody => "nobody signed both",
            Self::Forged => "a signature is wrong",
        })
    }
}

impl core::error::Error for Error {}

impl Fraud {
    /// Checks it, and says whom it names.
    ///
    /// # Errors
    /// [`Error::Accounts`], [`Error::Compatible`], [`Error::Path`], [`Error::Nobody`], [`Error::Forged`], in this order of
    /// checks: the dear one last.
    pub fn check(&self, verifier: &impl Verifier) -> Result<Guilty, Error> {
        match self {
            Self::Fork { one, other } => fork(one, other, verifier),
            Self::Double { lower, lower_set, upper, upper_set, path } => {
                double((lower, lower_set), (upper, upper_set), path, verifier)
            }
        }
    }

    /// Whose log was forked, if it is about that.
    pub const fn owner(&self) -> Option<NodeId> {
        match self {
            Self::Fork { one, .. } => Some(one.entry.account),
            Self::Double { .. } => None,
        }
    }

    /// Whose account it is about.
    pub const fn account(&self) -> NodeId {
        match self {
            Self::Fork { one, .. } => one.entry.account,
            Self::Double { lower, .. } => lower.statement.account,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Fork { one, other } => {
                out.push(0);
                put_bytes(&mut out, &one.encode());
                put_bytes(&mut out, &other.encode());
            }
            Self::Double { lower, lower_set, upper, upper_set, path } => {
                out.push(1);
                for (certificate, set) in [(lower, lower_set), (upper, upper_set)] {
                    out.extend_from_slice(&certificate.encode());
                    set.encode(&mut out);
                }
                put_number(&mut out, path.len() as u64);
                path.iter().for_each(|entry| put_bytes(&mut out, &entry.encode()));
            }
        }
        out
    }

    /// From bytes, all of them.
    ///
    /// # Errors
    /// The codec's.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() > BYTES_MAX {
            return Err(CodecError::Long { length: bytes.len() as u64, limit: BYTES_MAX });
        }
        let mut reader = Reader(bytes);
        let fraud = match reader.byte()? {
            0 => {
                let mut signed = || reader.bytes(Signed::BYTES_MAX).and_then(Signed::decode);
                Self::Fork { one: signed()?, other: signed()? }
            }
            1 => {
                let (lower, lower_set) = certified(&mut reader)?;
                let (upper, upper_set) = certified(&mut reader)?;
                let count = reader.number()?;
                if count > PATH_MAX as u64 {
                    return Err(CodecError::Long { length: count, limit: PATH_MAX });
                }
                let path: Result<Vec<Entry>, CodecError> =
                    (0..count).map(|_| reader.bytes(Signed::ENTRY_MAX).and_then(Entry::decode)).collect();
                Self::Double { lower, lower_set, upper, upper_set, path: path? }
            }
            _ => return Err(CodecError::Odd),
        };
        if reader.0.is_empty() { Ok(fraud) } else { Err(CodecError::Odd) }
    }
}

fn certified(reader: &mut Reader<'_>) -> Result<(Certificate, Set), CodecError> {
    Ok((Certificate::decode(reader)?, Set::decode(reader)?))
}

fn fork(one: &Signed, other: &Signed, verifier: &impl Verifier) -> Result<Guilty, Error> {
    let account = one.entry.account;
    if account != other.entry.account {
        return Err(Error::Accounts);
    }
    if one.entry.number != other.entry.number || one.entry == other.entry {
        return Err(Error::Compatible);
    }
    let signed =
        |signed: &Signed| verifier.verify(&account, Domain::Entry, &[&signed.entry.digest().0], &signed.signature);
    if !on(Fault::ForkWithoutSignatures) && (!signed(one) || !signed(other)) {
        return Err(Error::Forged);
    }
    Ok(Guilty { account, owner: true, witnesses: Vec::new() })
}

fn double(
    (lower, lower_set): (&Certificate, &Set),
    (upper, upper_set): (&Certificate, &Set),
    path: &[Entry],
    verifier: &impl Verifier,
) -> Result<Guilty, Error> {
    let account = lower.statement.account;
    if account != upper.statement.account {
        return Err(Error::Accounts);
    }
    match (lower.statement.slot, upper.statement.slot) {
        (Slot::Entry(from), Slot::Entry(to)) if from < to && lower.set != upper.set && !on(Fault::ChainAcrossSets) => {
            return Err(Error::Compatible);
        }
        (Slot::Entry(from), Slot::Entry(to)) if from <= to => {
            leads(path, from, to, upper)?;
            // The path starts at the lower number: what stands there for the upper is not what the lower certified.
            if path[0].digest() == lower.statement.digest {
                return Err(Error::Compatible);
            }
        }
        (one @ Slot::Closing { .. }, other) if one == other => {
            if lower.statement.digest == upper.statement.digest {
                return Err(Error::Compatible);
            }
        }
        _ => return Err(Error::Compatible),
    }
    let first = lower.signers(lower_set);
    let witnesses: Vec<NodeId> = upper.signers(upper_set).into_iter().filter(|signer| first.contains(signer)).collect();
    if witnesses.is_empty() {
        return Err(Error::Nobody);
    }
    let right = lower.verify(lower_set, verifier).is_ok() && upper.verify(upper_set, verifier).is_ok();
    if right { Ok(Guilty { account, owner: false, witnesses }) } else { Err(Error::Forged) }
}

/// Whether `path` is a chain of entries of the account from number `from` to the one that `upper` certifies.
fn leads(path: &[Entry], from: u64, to: u64, upper: &Certificate) -> Result<(), Error> {
    let long = to - from < PATH_MAX as u64 && path.len() as u64 == to - from + 1;
    let mut expected = None;
    for (number, entry) in (from..).zip(path) {
        let linked = expected.is_none_or(|digest| digest == entry.before);
        if on(Fault::PathUnchecked) {
            continue;
        }
        if !linked || entry.number != number || entry.account != upper.statement.account {
            return Err(Error::Path);
        }
        expected = Some(entry.digest());
    }
    if on(Fault::PathUnchecked) || (long && expected == Some(upper.statement.digest)) {
        Ok(())
    } else {
        Err(Error::Path)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        economy::ledger::entry::{Act, Closing},
        kit::{Credits, Digest},
        trust::identity::Identity,
    };

    fn witnesses() -> (Vec<Identity>, Set) {
        let mut keys: Vec<Identity> = (10..14).map(|n| Identity::new([n; 32])).collect();
        keys.sort_by_key(crate::kit::Signer::key);
        let set = Set::new(1, keys.iter().map(crate::kit::Signer::key).collect()).unwrap();
        (keys, set)
    }

    fn certify(statement: super::super::entry::Statement, who: &[usize]) -> (Certificate, Set) {
        let (keys, set) = witnesses();
        let digest = statement.vote_digest(&set.digest());
        let sign = |n: &usize| (*n as u8, crate::kit::Signer::sign(&keys[*n], Domain::Vote, &[&digest.0]));
        (Certificate { statement, set: set.digest(), votes: who.iter().map(sign).collect() }, set)
    }

    fn entry(number: u64, before: Digest, amount: u64) -> Entry {
        let act = Act::Pay { payee: NodeId::number(8), turn: 0, amount: Credits(amount) };
        Entry { account: crate::kit::Signer::key(&owner()), number, before, act }
    }

    fn owner() -> Identity {
        Identity::new([1; 32])
    }

    #[test]
    fn two_entries_with_one_number_name_their_owner() {
        let zero = Digest([0; 32]);
        let sign = |entry: Entry| entry.sign(None, &owner());
        let (one, other) = (sign(entry(3, zero, 1)), sign(entry(3, zero, 2)));
        let check =
            |one: &Signed, other: &Signed| Fraud::Fork { one: one.clone(), other: other.clone() }.check(&owner());
        let guilty = Guilty { account: one.entry.account, owner: true, witnesses: vec![] };
        assert_eq!(check(&one, &other), Ok(guilty));
        assert_eq!(check(&one, &one), Err(Error::Compatible));
        assert_eq!(check(&one, &sign(entry(4, zero, 2))), Err(Error::Compatible));
        let stranger = Entry { account: NodeId::number(1), ..other.entry.clone() };
        assert_eq!(check(&one, &sign(stranger)), Err(Error::Accounts));
        assert_eq!(check(&one, &Signed { signature: one.signature, ..other.clone() }), Err(Error::Forged));
        assert_eq!(check(&Signed { signature: other.signature, ..one.clone() }, &other), Err(Error::Forged));
    }

    #[test]
    fn two_certificates_for_one_place_name_more_than_f_witnesses() {
        let zero = Digest([0; 32]);
        let (one, other) = (entry(3, zero, 1), entry(3, zero, 2));
        let (lower, lower_set) = certify(one.statement(), &[0, 1, 2]);
        let (upper, upper_set) = certify(other.statement(), &[1, 2, 3]);
        let proof = Fraud::Double { lower, lower_set, upper, upper_set, path: vec![other.clone()] };
        let guilty = proof.check(&owner()).unwrap();
        assert_eq!((guilty.owner, guilty.witnesses.len()), (false, 2));
        assert_eq!(Fraud::decode(&proof.encode()), Ok(proof.clone()));

        let Fraud::Double { lower, lower_set, upper, upper_set, .. } = proof else { unreachable!() };
        let with = |lower: &Certificate, upper: &Certificate, path: Vec<Entry>| {
            let (lower, upper) = (lower.clone(), upper.clone());
            let sets = (lower_set.clone(), upper_set.clone());
            Fraud::Double { lower, lower_set: sets.0, upper, upper_set: sets.1, path }.check(&owner())
        };
        assert_eq!(with(&lower, &lower, vec![one.clone()]), Err(Error::Compatible));
        assert_eq!(with(&lower, &upper, vec![]), Err(Error::Path));
        assert_eq!(with(&lower, &upper, vec![one.clone()]), Err(Error::Path));
        let mut few = upper.clone();
        few.votes.truncate(2);
        assert_eq!(with(&lower, &few, vec![other.clone()]), Err(Error::Forged));
        let mut forged = upper.clone();
        forged.votes[0].1 = upper.votes[1].1;
        assert_eq!(with(&lower, &forged, vec![other.clone()]), Err(Error::Forged));
        assert_eq!(with(&forged, &lower, vec![one.clone()]), Err(Error::Forged));
        let apart = Certificate { votes: vec![upper.votes[2]], ..upper.clone() };
        let first = Certificate { votes: vec![lower.votes[0]], ..lower.clone() };
        assert_eq!(with(&first, &apart, vec![other.clone()]), Err(Error::Nobody));
        let stranger = Entry { account: NodeId::number(4), ..other.clone() };
        let foreign = certify(stranger.statement(), &[1, 2, 3]).0;
        assert_eq!(with(&lower, &foreign, vec![stranger]), Err(Error::Accounts));
    }

    #[test]
    fn two_branches_of_one_log_name_more_than_f_witnesses_even_at_different_numbers() {
        let base = entry(3, Digest([0; 32]), 1);
        let other = entry(3, Digest([0; 32]), 2);
        let next = entry(4, other.digest(), 3);
        let (lower, lower_set) = certify(base.statement(), &[0, 1, 2]);
        let (upper, upper_set) = certify(next.statement(), &[0, 2, 3]);
        let with = |path: Vec<Entry>| Fraud::Double {
            lower: lower.clone(),
            lower_set: lower_set.clone(),
            upper: upper.clone(),
            upper_set: upper_set.clone(),
            path,
        };
        assert_eq!(with(vec![other.clone(), next.clone()]).check(&owner()).unwrap().witnesses.len(), 2);
        assert_eq!(with(vec![base.clone(), next.clone()]).check(&owner()), Err(Error::Path), "not linked");
        assert_eq!(with(vec![next.clone()]).check(&owner()), Err(Error::Path));
        let after = entry(4, base.digest(), 3);
        let (good, good_set) = certify(after.statement(), &[0, 2, 3]);
        let proof = Fraud::Double { lower, lower_set, upper: good, upper_set: good_set, path: vec![base, after] };
        assert_eq!(proof.check(&owner()), Err(Error::Compatible), "one chain is no fraud");
    }

    /// Who voted for a branch that was not certified, and takes over from the change on another, is honest: each set has its chain.
    #[test]
    fn two_branches_of_two_sets_name_nobody() {
        let (base, other) = (entry(3, Digest([0; 32]), 1), entry(3, Digest([0; 32]), 2));
        let next = entry(4, other.digest(), 3);
        let later = |statement: super::super::entry::Statement| {
            let (keys, set) = witnesses();
            let set = set.of_term(5);
            let digest = statement.vote_digest(&set.digest());
            let votes =
                (0..3).map(|n| (n, crate::kit::Signer::sign(&keys[usize::from(n)], Domain::Vote, &[&digest.0])));
            (Certificate { statement, set: set.digest(), votes: votes.collect() }, set)
        };
        let check = |(upper, upper_set): (Certificate, Set), path: Vec<Entry>| {
            let (lower, lower_set) = certify(base.statement(), &[0, 1, 2]);
            Fraud::Double { lower, lower_set, upper, upper_set, path }.check(&owner())
        };
        assert_eq!(check(later(next.statement()), vec![other.clone(), next.clone()]), Err(Error::Compatible));
        assert!(check(certify(next.statement(), &[0, 1, 2]), vec![other.clone(), next]).is_ok(), "of one set");
        assert!(check(later(other.statement()), vec![other]).is_ok(), "one number has one vote, in whatever name");
    }

    #[test]
    fn two_closings_of_one_hold_name_more_than_f_witnesses() {
        let closing = |ticks| Closing {
            payer: NodeId::number(1),
            payee: NodeId::number(2),
            turn: 0,
            ticks,
            amount: Credits(0),
            link: Digest([0; 32]),
        };
        let with = |a: Closing, b: Closing| {
            let (lower, lower_set) = certify(a.statement(), &[0, 1, 2]);
            let (upper, upper_set) = certify(b.statement(), &[0, 1, 3]);
            Fraud::Double { lower, lower_set, upper, upper_set, path: vec![] }.check(&owner())
        };
        assert_eq!(with(closing(1), closing(2)).unwrap().witnesses.len(), 2);
        assert_eq!(with(closing(1), closing(1)), Err(Error::Compatible));
        assert_eq!(with(closing(1), Closing { turn: 1, ..closing(2) }), Err(Error::Compatible));
    }
}
