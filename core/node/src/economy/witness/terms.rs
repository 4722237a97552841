//! Who watched an account when.
//!
//! ```text
//! entries   0 Open ... n Renew | n+1 ... m Renew | m+1 ...
//! by        the first set      | the second      | the third
//! ```
//!
//! A change of witnesses is an entry of the account's own log, and certified by those before it; so whoever knows one set of an
//! account follows it to the next. Of an account of which it knows none it judges the set that it is shown. Each slot is one
//! set's: an entry's is that of the set in whose term its number lies, a closing's that of the set under which its hold was
//! written. Honest members keep to that ([`super::vote`]); whoever follows the changes refuses other entries, and of closings
//! cannot tell.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use super::{
    certificate::{Certificate, Error},
    set::Set,
};
use crate::{
    economy::ledger::entry::{Act, Signed, Slot},
    kit::{
        NodeId, Verifier,
        codec::{Error as CodecError, Reader, put_bytes},
        fault::{Fault, on},
    },
};

/// A change of witnesses, for whoever was not there.
///
/// In bytes: the entry after its length, the certificate of those before, the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The entry that names the new set.
    pub signed: Signed,
    /// That those before saw it.
    pub certificate: Certificate,
    /// The new set.
    pub set: Set,
}

impl Renewal {
    /// Whether it leads on from `before`.
    ///
    /// # Errors
    /// [`Error::Other`], [`Error::Useless`], [`Error::Set`], and those of [`Certificate::verify`], in this order of checks.
    pub fn verify(&self, before: &Set, verifier: &impl Verifier) -> Result<(), Error> {
        if self.certificate.statement != self.signed.entry.statement() {
            return Err(Error::Other);
        }
        let Act::Renew { witnesses, faults, .. } = self.signed.entry.act else { return Err(Error::Useless) };
        let named = witnesses == self.set.digest() && faults == self.set.faults();
        if !named || !self.set.may_follow(before) {
            return Err(Error::Set);
        }
        if on(Fault::WitnessesChangedByAnybody) { Ok(()) } else { self.certificate.verify(before, verifier) }
    }

    /// As bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.signed.encode());
        out.extend_from_slice(&self.certificate.encode());
        self.set.encode(out);
    }

    /// From the front of `reader`.
    ///
    /// # Errors
    /// The codec's.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let signed = Signed::decode(reader.bytes(Signed::BYTES_MAX)?)?;
        Ok(Self { signed, certificate: Certificate::decode(reader)?, set: Set::decode(reader)? })
    }
}

/// The sets of the accounts that a node deals with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    known: BTreeMap<NodeId, Vec<Term>>,
    count: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    set: Set,
    /// What put it there; nothing, if this node judged it by itself.
    renewal: Option<Box<Renewal>>,
}

/// What is known of a set that claims to watch an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does, or did.
    Known,
    /// Nothing contradicts it: whoever asks must judge.
    Open,
    /// It claims to come after those that are known: the change must be shown.
    Later,
    /// Another set had its term.
    Other,
}

/// Sets that are remembered, of all accounts: 65 MB of thirty-one ids each, and 180 MB more where all came by changes.
///
/// When there are so many, an account of which nothing is remembered stays so: its sets are judged each time anew, by what
/// whoever asks sees of trust, and not by what came before them. Of an account that is remembered the oldest set goes when another
/// comes. Nobody is turned away for want of room.
pub const KNOWN_MAX: usize = 65_536;
/// Of one account: more than half a year of changes a month. Whoever missed more of them cannot follow, and finds every later set
/// wanting a change that nobody shows; a hold that stays open over more of them can be closed by nobody.
pub const TERMS_MAX: usize = 8;

impl Term {
    /// The number of the entry that put it there.
    fn begun(&self) -> Option<u64> {
        self.renewal.as_ref().map(|renewal| renewal.signed.entry.number)
    }
}

impl Terms {
    /// What is known of `set` as one of `account`.
    pub fn standing(&self, account: &NodeId, set: &Set) -> Standing {
        let Some(terms) = self.known.get(account) else { return Standing::Open };
        if terms.iter().any(|term| term.set == *set) {
            return Standing::Known;
        }
        match (terms.first(), terms.last()) {
            _ if terms.iter().any(|term| term.set.term() == set.term()) => Standing::Other,
            (_, Some(last)) if set.term() > last.set.term() && !on(Fault::LaterSetJudgedAlone) => Standing::Later,
            (Some(first), _) if set.term() > first.set.term() && !on(Fault::LaterSetJudgedAlone) => Standing::Other,
            _ => Standing::Open,
        }
    }

    /// Takes in a set that whoever calls has judged, now or before a restart; whether it is known then. There may be no room.
    pub fn judged(&mut self, account: NodeId, set: &Set) -> bool {
        match self.standing(&account, set) {
            Standing::Known => true,
            Standing::Other => false,
            Standing::Open | Standing::Later => self.insert(account, set.clone(), None),
        }
    }

    /// Takes in a change; whether that is news. What was judged by itself, and is shown now to follow another, has its place from
    /// then on.
    ///
    /// # Errors
    /// [`Error::Set`], if the set before is not known, another is known to have come after it, or this one by another entry; and those of
    /// [`Renewal::verify`].
    pub fn renew(&mut self, renewal: &Renewal, verifier: &impl Verifier) -> Result<bool, Error> {
        let account = renewal.signed.entry.account;
        let terms = self.known.get_mut(&account).ok_or(Error::Set)?;
        let known = terms.iter().position(|term| term.set == renewal.set);
        if let Some(change) = known.and_then(|at| terms[at].renewal.as_ref()) {
            // A set begins once.
            return if change.signed.entry == renewal.signed.entry { Ok(false) } else { Err(Error::Set) };
        }
        if known.is_some() && on(Fault::BorderForgotten) {
            return Ok(false);
        }
        let last = terms.len() - 1;
        let before = match known {
            Some(at) => at.checked_sub(1).ok_or(Error::Set)?,
            None => last,
        };
        if terms[before].set.digest() != renewal.certificate.set && !on(Fault::WitnessesChangedByAnybody) {
            return Err(Error::Set);
        }
        renewal.verify(&terms[before].set, verifier)?;
        let change = Some(Box::new(renewal.clone()));
        match known {
            Some(at) => terms[at].renewal = change,
            None => drop(self.insert(account, renewal.set.clone(), change)),
        }
        Ok(true)
    }

    /// Whether the set is among those that are known then.
    fn insert(&mut self, account: NodeId, set: Set, renewal: Option<Box<Renewal>>) -> bool {
        let full = self.count >= KNOWN_MAX && !on(Fault::TableWithoutEnd);
        if full && !self.known.contains_key(&account) {
            return false;
        }
        let terms = self.known.entry(account).or_default();
        let at = terms.partition_point(|term| term.set.term() < set.term());
        terms.insert(at, Term { set, renewal });
        self.count += 1;
        let oldest_goes = full || terms.len() > TERMS_MAX;
        if oldest_goes {
            terms.remove(0);
            self.count -= 1;
        }
        at > 0 || !oldest_goes
    }

    /// Who watches `account` now, as far as this node knows.
    pub fn current(&self, account: &NodeId) -> Option<&Set> {
        self.known.get(account)?.last().map(|term| &term.set)
    }

    /// Who certifies the entry of `account` with this number.
    pub fn of_entry(&self, account: &NodeId, number: u64) -> Option<&Set> {
        let terms = self.known.get(account)?.iter().rev();
        terms
            .map(|term| (term.begun(), &term.set))
            .find(|term| term.0.is_none_or(|begun| number > begun))
            .map(|term| term.1)
    }

    /// Whether `set`, which is known or was judged, may certify this slot of `account`: by the changes that are known, the one that
    /// put it there and the first one after it.
    pub fn may_certify(&self, account: &NodeId, set: &Set, slot: &Slot) -> bool {
        let (Slot::Entry(number), Some(terms)) = (slot, self.known.get(account)) else { return true };
        let own = terms.iter().find(|term| term.set == *set).and_then(Term::begun);
        let next = terms.iter().filter(|term| term.set.term() > set.term()).find_map(Term::begun);
        let in_term = own.is_none_or(|begun| *number > begun) && next.is_none_or(|end| *number <= end);
        in_term || on(Fault::BothSetsCount)
    }

    /// The changes of `account` after a term, one after the other, at most `most`.
    pub fn after(&self, account: &NodeId, term: u64, most: usize) -> Vec<Renewal> {
        let later = self.known.get(account).into_iter().flatten().filter(|known| known.set.term() > term);
        later.map_while(|known| known.renewal.as_deref().cloned()).take(most).collect()
    }
}
