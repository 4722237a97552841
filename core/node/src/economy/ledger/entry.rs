//! What an owner writes into its log, and what others sign of it.
//!
//! An entry, in bytes (numbers in groups of 7 bits, as postcard has them):
//!
//! ```text
//! account 32 | number | digest of the entry before 32 | kind 1 | fields of the kind
//! 0 Open        witnesses 32, faults
//! 1 Pay         payee 32, turn, amount
//! 2 Hold        payee 32, turn, cap, tick, until, root 32
//! 3 Receive     payer 32, turn, amount, statement 32
//! 4 Release     payee 32, turn, amount, statement 32
//! 5 Renew       witnesses 32, faults, state 32
//! 6 Checkpoint  root 32, state 32
//! ```
//!
//! A *turn* counts what one payer promised one payee, from 0: so each promise has a name of its own, for all time, and
//! both sides remember which were used with one number.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::kit::{
    Credits, Digest, Domain, NodeId, Signature, Signer, UnixTime, Verifier,
    codec::{Error as CodecError, Reader, put_number},
    fault::{Fault, on},
    hash::{Tag, hash},
};

/// The account of all: what is forfeited goes there, so that every sum stays nothing. It is text and no key: nobody signs for
/// it, so nothing ever leaves it, and it agrees to every deposit in silence.
pub const COMMONS: NodeId = NodeId(*b"tutu commons, of all and no one.");

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose log.
    pub account: NodeId,
    /// Its place, from 0.
    pub number: u64,
    /// The digest of the one before; zeros at first.
    pub before: Digest,
    /// What is written.
    pub act: Act,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The log begins. Its witnesses are these.
    Open {
        /// Digest of the set.
        witnesses: Digest,
        /// f of 3f+1.
        faults: u8,
    },
    /// Credits go to somebody, at once.
    Pay {
        /// To whom.
        payee: NodeId,
        /// Which promise to this payee.
        turn: u64,
        /// How much.
        amount: Credits,
    },
    /// Credits are set aside for a session; or, for [`COMMONS`], as a deposit.
    Hold(Terms),
    /// What another paid is counted here.
    Receive {
        /// Who.
        payer: NodeId,
        /// Which promise.
        turn: u64,
        /// How much came of it.
        amount: Credits,
        /// Digest of the certified statement.
        statement: Digest,
    },
    /// A hold is closed: `amount` is gone, the rest is free.
    Release {
        /// Whose hold.
        payee: NodeId,
        /// Which promise.
        turn: u64,
        /// How much came of it.
        amount: Credits,
        /// Digest of the certified statement.
        statement: Digest,
    },
    /// From here on these are the witnesses; the ones before must certify it.
    Renew {
        /// Digest of the new set.
        witnesses: Digest,
        /// f of 3f+1.
        faults: u8,
        /// Digest of what the log comes to before this entry, so that a new witness can begin here.
        state: Digest,
    },
    /// What came since the last checkpoint, in one digest; entries before it need not be kept.
    Checkpoint {
        /// Root of the Merkle tree of the entries since the last.
        root: Digest,
        /// Digest of what the log comes to before this entry.
        state: Digest,
    },
}

/// The terms of a session; or of a deposit, which is one tick for [`COMMONS`] whose root is the digest of what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// For whom.
    pub payee: NodeId,
    /// Which promise to this payee.
    pub turn: u64,
    /// At most so much.
    pub cap: Credits,
    /// What one tick is worth.
    pub tick: Credits,
    /// Until then only the payee can close it; a deposit only what it is for.
    pub until: UnixTime,
    /// The end of the hash chain.
    pub root: Digest,
}

/// An entry as it goes around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What.
    pub entry: Entry,
    /// The other side's, over [`Act::consent_digest`], where there is one.
    pub consent: Option<Signature>,
    /// The owner's, over [`Entry::digest`].
    pub signature: Signature,
}

/// What a hold came to, as the payer's witnesses certify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Whose hold.
    pub payer: NodeId,
    /// For whom.
    pub payee: NodeId,
    /// Which promise.
    pub turn: u64,
    /// How many ticks were given.
    pub ticks: u32,
    /// What they are worth under the terms; whoever certifies it has compared.
    pub amount: Credits,
    /// The link that shows it: so many hashes of it are the root. Of a deposit, the root itself.
    pub link: Digest,
}

/// A place for which witnesses certify one statement and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// An entry's number.
    Entry(u64),
    /// The closing of a hold.
    Closing {
        /// For whom it was.
        payee: NodeId,
        /// Which promise.
        turn: u64,
    },
}

/// What a witness signs: in this place stands this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whose log.
    pub account: NodeId,
    /// Where.
    pub slot: Slot,
    /// Digest of the entry or the closing.
    pub digest: Digest,
}

/// What is wrong with what was signed. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The owner did not sign it.
    Forged,
    /// The other side's consent is missing.
    Alone,
    /// The other side did not consent to this.
    Unwilling,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Forged => "the owner did not sign this entry",
            Self::Alone => "the other side's consent is missing",
            Self::Unwilling => "the other side did not consent to this",
        })
    }
}

impl core::error::Error for Error {}

impl Terms {
    /// A deposit of `amount` for what has the digest `what`, which may be taken back by nobody's leave from `until` on.
    pub const fn deposit(what: Digest, turn: u64, amount: Credits, until: UnixTime) -> Self {
        Self { payee: COMMONS, turn, cap: amount, tick: amount, until, root: what }
    }

    /// How many ticks it has.
    pub const fn ticks(&self) -> u32 {
        let ticks = self.cap.0 / if self.tick.0 > 0 { self.tick.0 } else { 1 };
        if ticks < u32::MAX as u64 { ticks as u32 } else { u32::MAX }
    }

    /// Whether it is a deposit.
    pub fn is_deposit(&self) -> bool {
        self.payee == COMMONS
    }

    /// What it came to: all of it is lost, or nothing. Of a session use [`super::session::Meter::closing`].
    pub const fn concluded(&self, payer: NodeId, lost: bool) -> Closing {
        let amount = if lost { self.cap } else { Credits(0) };
        Closing { payer, payee: self.payee, turn: self.turn, ticks: lost as u32, amount, link: self.root }
    }
}

impl Act {
    /// Whose consent it takes.
    pub fn counterparty(&self) -> Option<NodeId> {
        match self {
            Self::Hold(terms) if terms.is_deposit() => None,
            Self::Pay { payee, .. } | Self::Hold(Terms { payee, .. }) => Some(*payee),
            _ => None,
        }
    }

    /// What the other side signs before the owner does, so that one who keeps silent holds up nothing: who pays, and the
    /// act. The place in the log is not in it.
    pub fn consent_digest(&self, payer: &NodeId) -> Digest {
        let mut bytes = Vec::with_capacity(128);
        self.encode(&mut bytes);
        hash(Tag::Statement, &[&payer.0, &bytes])
    }

    /// The other side agrees.
    pub fn consent(&self, payer: &NodeId, keys: &impl Signer) -> Signature {
        keys.sign(Domain::Consent, &[&self.consent_digest(payer).0])
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open { witnesses, faults } => {
                out.push(0);
                out.extend_from_slice(&witnesses.0);
                out.push(*faults);
            }
            Self::Pay { payee, turn, amount } => {
                out.push(1);
                out.extend_from_slice(&payee.0);
                [*turn, amount.0].into_iter().for_each(|number| put_number(out, number));
            }
            Self::Hold(Terms { payee, turn, cap, tick, until, root }) => {
                out.push(2);
                out.extend_from_slice(&payee.0);
                [*turn, cap.0, tick.0, until.0].into_iter().for_each(|number| put_number(out, number));
                out.extend_from_slice(&root.0);
            }
            Self::Receive { payer: other, turn, amount, statement }
            | Self::Release { payee: other, turn, amount, statement } => {
                out.push(if matches!(self, Self::Receive { .. }) { 3 } else { 4 });
                out.extend_from_slice(&other.0);
                [*turn, amount.0].into_iter().for_each(|number| put_number(out, number));
                out.extend_from_slice(&statement.0);
            }
            Self::Renew { witnesses, faults, state } => {
                out.push(5);
                out.extend_from_slice(&witnesses.0);
                out.push(*faults);
                out.extend_from_slice(&state.0);
            }
            Self::Checkpoint { root, state } => {
                out.push(6);
                out.extend_from_slice(&root.0);
                out.extend_from_slice(&state.0);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let digest = |reader: &mut Reader<'_>| reader.array().map(|bytes| Digest(*bytes));
        let credits = |reader: &mut Reader<'_>| reader.number().map(Credits);
        Ok(match reader.byte()? {
            0 => Self::Open { witnesses: digest(reader)?, faults: reader.byte()? },
            1 => Self::Pay { payee: reader.id()?, turn: reader.number()?, amount: credits(reader)? },
            2 => Self::Hold(Terms {
                payee: reader.id()?,
                turn: reader.number()?,
                cap: credits(reader)?,
                tick: credits(reader)?,
                until: UnixTime(reader.number()?),
                root: digest(reader)?,
            }),
            kind @ (3 | 4) => {
                let (other, turn) = (reader.id()?, reader.number()?);
                let (amount, statement) = (credits(reader)?, digest(reader)?);
                if kind == 3 {
                    Self::Receive { payer: other, turn, amount, statement }
                } else {
                    Self::Release { payee: other, turn, amount, statement }
                }
            }
            5 => Self::Renew { witnesses: digest(reader)?, faults: reader.byte()?, state: digest(reader)? },
            6 => Self::Checkpoint { root: digest(reader)?, state: digest(reader)? },
            _ => return Err(CodecError::Odd),
        })
    }
}

impl Entry {
    /// What it is known by.
    pub fn digest(&self) -> Digest {
        hash(Tag::Entry, &[&self.encode()])
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        out.extend_from_slice(&self.account.0);
        put_number(&mut out, self.number);
        out.extend_from_slice(&self.before.0);
        self.act.encode(&mut out);
        out
    }

    /// From bytes, all of them.
    ///
    /// # Errors
    /// The codec's; and [`CodecError::Odd`] where something follows.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader(bytes);
        let (account, number) = (reader.id()?, reader.number()?);
        let before = Digest(*reader.array()?);
        let act = Act::decode(&mut reader)?;
        if reader.0.is_empty() { Ok(Self { account, number, before, act }) } else { Err(CodecError::Odd) }
    }

    /// The statement that this entry stands in its place.
    pub fn statement(&self) -> Statement {
        self.statement_as(self.digest())
    }

    /// [`Self::statement`] for whoever has computed the digest already.
    pub(crate) const fn statement_as(&self, digest: Digest) -> Statement {
        Statement { account: self.account, slot: Slot::Entry(self.number), digest }
    }

    /// The owner signs.
    pub fn sign(self, consent: Option<Signature>, keys: &impl Signer) -> Signed {
        let digest = self.digest();
        self.sign_as(&digest, consent, keys)
    }

    /// [`Self::sign`] for whoever has computed the digest already.
    pub(super) fn sign_as(self, digest: &Digest, consent: Option<Signature>, keys: &impl Signer) -> Signed {
        let signature = keys.sign(Domain::Entry, &[&digest.0]);
        Signed { entry: self, consent, signature }
    }
}

impl Signed {
    /// Whether everybody signed who must, each with its first key.
    ///
    /// # Errors
    /// [`Error::Alone`], [`Error::Unwilling`], [`Error::Forged`], in this order of checks.
    pub fn check(&self, verifier: &impl Verifier) -> Result<(), Error> {
        self.check_as(&self.entry.digest(), verifier)
    }

    /// [`Self::check`] for whoever has computed the entry's digest already.
    pub(crate) fn check_as(&self, digest: &Digest, verifier: &impl Verifier) -> Result<(), Error> {
        let Entry { account, act, .. } = &self.entry;
        if let Some(other) = act.counterparty() {
            let consent = self.consent.as_ref().ok_or(Error::Alone)?;
            let agreed = act.consent_digest(account);
            if !on(Fault::ConsentUnchecked) && !verifier.verify(&other, Domain::Consent, &[&agreed.0], consent) {
                return Err(Error::Unwilling);
            }
        }
        let signed = || verifier.verify(account, Domain::Entry, &[&digest.0], &self.signature);
        if on(Fault::OwnerUnchecked) || signed() { Ok(()) } else { Err(Error::Forged) }
    }

    /// As bytes: length and bytes of the entry, whether there is a consent, it, the signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        crate::kit::codec::put_bytes(&mut out, &self.entry.encode());
        out.push(u8::from(self.consent.is_some()));
        self.consent.iter().for_each(|consent| out.extend_from_slice(&consent.0));
        out.extend_from_slice(&self.signature.0);
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// The codec's; and [`CodecError::Odd`] where something follows.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader(bytes);
        let entry = Entry::decode(reader.bytes(Self::ENTRY_MAX)?)?;
        let consent = match reader.byte()? {
            0 => None,
            1 => Some(reader.signature()?),
            _ => return Err(CodecError::Odd),
        };
        let signature = reader.signature()?;
        if reader.0.is_empty() { Ok(Self { entry, consent, signature }) } else { Err(CodecError::Odd) }
    }

    /// The longest entry: a hold with every number at its greatest.
    pub const ENTRY_MAX: usize = 32 + 10 + 32 + 1 + 32 + 4 * 10 + 32;
    /// The longest as it goes around: with its length, a consent and a signature.
    pub const BYTES_MAX: usize = 2 + Self::ENTRY_MAX + 1 + 64 + 64;
}

impl Closing {
    /// What it is known by.
    pub fn digest(&self) -> Digest {
        let [turn, ticks, amount] = [self.turn, self.ticks.into(), self.amount.0].map(u64::to_be_bytes);
        hash(Tag::Closing, &[&self.payer.0, &self.payee.0, &turn, &ticks, &amount, &self.link.0])
    }

    /// The statement that the hold came to this.
    pub fn statement(&self) -> Statement {
        let slot = Slot::Closing { payee: self.payee, turn: self.turn };
        Statement { account: self.payer, slot, digest: self.digest() }
    }

    /// The payee says so.
    pub fn sign(&self, keys: &impl Signer) -> Signature {
        keys.sign(Domain::Closing, &[&self.digest().0])
    }
}

impl Statement {
    /// What is signed by a witness of the set with this digest. 32 bytes, so that many lie side by side.
    pub fn vote_digest(&self, set: &Digest) -> Digest {
        let (kind, payee, number) = match self.slot {
            Slot::Entry(number) => (0, NodeId::default(), number),
            Slot::Closing { payee, turn } => (1, payee, turn),
        };
        hash(Tag::Statement, &[&self.account.0, &[kind], &payee.0, &number.to_be_bytes(), &self.digest.0, &set.0])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{kit::Rng, trust::identity::Identity};

    pub(crate) fn act(rng: &mut Rng) -> Act {
        let digest = |n: u64| Digest(NodeId::number(n).0);
        let (a, b) = (rng.next() >> rng.below(64), rng.next() >> rng.below(64));
        let other = NodeId::number(b);
        match rng.below(7) {
            0 => Act::Open { witnesses: digest(a), faults: b as u8 },
            1 => Act::Pay { payee: other, turn: a, amount: Credits(b) },
            2 => Act::Hold(Terms {
                payee: other,
                turn: a,
                cap: Credits(b),
                tick: Credits(a >> 3),
                until: UnixTime(b),
                root: digest(b),
            }),
            3 => Act::Receive { payer: other, turn: a, amount: Credits(b), statement: digest(a) },
            4 => Act::Release { payee: other, turn: a, amount: Credits(b), statement: digest(a) },
            5 => Act::Renew { witnesses: digest(a), faults: b as u8, state: digest(b) },
            _ => Act::Checkpoint { root: digest(a), state: digest(b) },
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let mut rng = Rng::new(9);
        for n in 0..2000 {
            let entry = Entry {
                account: NodeId::number(n),
                number: rng.next() >> rng.below(64),
                before: Digest(NodeId::number(n + 1).0),
                act: act(&mut rng),
            };
            let consent = entry.act.counterparty().map(|_| Signature([1; 64]));
            let signed = Signed { entry, consent, signature: Signature([2; 64]) };
            let bytes = signed.encode();
            assert_eq!(Signed::decode(&bytes), Ok(signed.clone()));
            for end in 0..bytes.len() {
                assert!(Signed::decode(&bytes[..end]).is_err());
            }
            let mut harmed = bytes.clone();
            harmed[rng.below(bytes.len() as u32) as usize] ^= 1 << rng.below(8);
            assert_ne!(Signed::decode(&harmed), Ok(signed));
            harmed.push(0);
            assert!(Signed::decode(&harmed).is_err(), "something follows");
        }
    }

    #[test]
    fn an_entry_needs_its_owner_and_the_other_side() {
        let [owner, other, third] = [1, 2, 3].map(|n| Identity::new([n; 32]));
        let act = Act::Pay { payee: other.key(), turn: 0, amount: Credits(5) };
        let consent = act.consent(&owner.key(), &other);
        let entry = Entry { account: owner.key(), number: 1, before: Digest([0; 32]), act };
        let signed = entry.clone().sign(Some(consent), &owner);
        assert_eq!(signed.check(&third), Ok(()));
        assert_eq!(entry.clone().sign(None, &owner).check(&third), Err(Error::Alone));
        let act = Act::Pay { payee: other.key(), turn: 0, amount: Credits(6) };
        assert_eq!(Entry { act, ..entry.clone() }.sign(Some(consent), &owner).check(&third), Err(Error::Unwilling));
        assert_eq!(entry.sign(Some(consent), &third).check(&owner), Err(Error::Forged));
    }
}
