//! A witness: one statement for each place, ever.
//!
//! It keeps, for each account it watches, what the log comes to, and votes for the next entry if it follows, if everybody
//! signed who must, and if the account can afford it. What it voted for it keeps before it says so ([`Saved`]); who asks
//! again gets the same vote again, and who asks for something else gets a refusal, and a proof if the owner signed it.
//!
//! A change of witnesses parts the slots: those before vote for the change and for nothing after it, but close the holds of
//! their term; those after begin with what the log came to, vote for the entries from there on, and close no hold that was
//! there before them.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::fmt;

use super::{certificate::Certificate, set::Set, terms::Renewal};
use crate::{
    economy::ledger::{
        entry::{Act, Closing, Error as EntryError, Signed, Statement, Terms},
        fold::{Error as FoldError, Fold, Proven},
        fraud::Fraud,
        session,
    },
    kit::{
        Credits, Digest, Domain, NodeId, Signature, Signer, UnixTime, Verifier,
        fault::{Fault, on},
    },
};

/// Accounts that one witness watches: at 31 seats an account, as many as a cell has members, with room for uneven trust.
pub const WARDS_MAX: usize = 65_536;

/// Whoever watches others' accounts.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness<K> {
    keys: K,
    wards: BTreeMap<NodeId, Ward>,
}

/// A watched account, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Ward {
    fold: Fold,
    /// Those who watch now, this node among them; or the first of which it is no longer one.
    set: Set,
    /// Digest of the entry that put them there.
    begun: Digest,
    /// Entries since the last checkpoint, in their order, each with the set that votes for it.
    tail: Vec<(Arc<Signed>, Digest)>,
    /// Closings of open holds that were voted for.
    closings: BTreeMap<(NodeId, u64), Closing>,
    /// Open holds of earlier terms, and by whom they are closed; nothing, where this node was not there.
    inherited: BTreeMap<(NodeId, u64), Option<Digest>>,
    frozen: Option<Box<Fraud>>,
}

/// A vote, and what must be kept before it leaves; nothing, if it was given before.
#[derive(Clone, Debug, PartialEq)]
pub struct Voted {
    /// Over what.
    pub statement: Statement,
    /// Digest of the set in whose name.
    pub set: Digest,
    /// By this witness.
    pub signature: Signature,
    /// Keep it first.
    pub saved: Option<Saved>,
}

/// What a witness keeps, in the order in which it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Saved {
    /// It watches this account, of which all this is known. In the place of whatever was kept of it before.
    Ward(Box<Ward>),
    /// It voted for an entry.
    Entry {
        /// Which.
        signed: Arc<Signed>,
        /// What was shown with it.
        proven: Option<Proven>,
        /// The set after a change of witnesses.
        set: Option<Set>,
    },
    /// It voted for a closing.
    Closing(Closing),
    /// It saw a fork.
    Frozen(Box<Fraud>),
}

/// On whose word a hold is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// Nobody's: its time must be past.
    Nobody,
    /// The payee's signature.
    Payee(&'a Signature),
    /// This witness's own: it knows what became of what a deposit was for, and that all of it is lost, or goes back.
    Own {
        /// Which.
        lost: bool,
    },
}

/// Why a witness does not vote. Nothing changed, but that [`Refusal::Fork`] freezes the account.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// This node does not watch the account, or not in this set.
    Stranger,
    /// It watches as many as it can.
    Full,
    /// The owner forked, as was proven before.
    Frozen,
    /// It was so long ago that the entry is not kept any more.
    Old,
    /// The owner signed two entries with one number: here is the proof. To be kept, and told.
    Fork(Box<Fraud>),
    /// Somebody did not sign who must.
    Unsigned(EntryError),
    /// The set that came with a change of witnesses is not the one that the entry names.
    Set,
    /// The log does not take the entry.
    Ledger(FoldError),
    /// Another closing of this hold was voted for.
    Taken,
    /// There is no such open hold.
    Unheld,
    /// Only the payee can close it now.
    Early {
        /// Until then.
        until: UnixTime,
    },
    /// The payee did not sign this closing.
    Forged,
    /// Not what became of what the deposit was for.
    Fate,
    /// The link does not show so many ticks, or they are not worth so much.
    Ticks,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => f.write_str("this node is no witness of the account"),
            Self::Full => write!(f, "this node watches {WARDS_MAX} accounts and no more"),
            Self::Frozen => f.write_str("the owner forked its log"),
            Self::Old => f.write_str("the entry is older than what is kept"),
            Self::Fork(_) => f.write_str("the owner signed another entry with this number"),
            Self::Unsigned(error) => error.fmt(f),
            Self::Set => f.write_str("the set is not the one that the entry names"),
            Self::Ledger(error) => error.fmt(f),
            Self::Taken => f.write_str("another closing of this hold was voted for"),
            Self::Unheld => f.write_str("there is no such open hold"),
            Self::Early { until } => write!(f, "until {} only the payee can close it", until.0),
            Self::Forged => f.write_str("the payee did not sign this closing"),
            Self::Fate => f.write_str("what the deposit is for came to something else, or to nothing yet"),
            Self::Ticks => f.write_str("the link does not show these ticks at this price"),
        }
    }
}

impl core::error::Error for Refusal {}

impl<K: Signer + Verifier> Witness<K> {
    /// One that watches nobody.
    pub const fn new(keys: K) -> Self {
        Self { keys, wards: BTreeMap::new() }
    }

    /// One that goes on where it was.
    pub fn restore(keys: K, saved: impl IntoIterator<Item = Saved>) -> Self {
        let mut witness = Self::new(keys);
        saved.into_iter().for_each(|saved| witness.replay(saved));
        witness
    }

    /// What the log of `account` comes to, as far as this witness saw it.
    pub fn fold(&self, account: &NodeId) -> Option<&Fold> {
        self.wards.get(account).map(|ward| &ward.fold)
    }

    /// Who watches `account` now, as far as this witness saw its log.
    pub fn set(&self, account: &NodeId) -> Option<&Set> {
        self.wards.get(account).map(|ward| &ward.set)
    }

    /// All that is known of `account`, to be kept in the place of everything before: after a checkpoint that is little.
    pub fn snapshot(&self, account: &NodeId) -> Option<Saved> {
        self.wards.get(account).map(|ward| Saved::Ward(Box::new(ward.clone())))
    }

    /// The proof that `account` forked.
    pub fn fraud(&self, account: &NodeId) -> Option<&Fraud> {
        self.wards.get(account)?.frozen.as_deref()
    }

    /// Votes for `signed`, of an account that may owe up to `limit`. `proven` is what this node found to be certified, where
    /// the entry refers to something; `set` comes with an opening and with a change of witnesses.
    ///
    /// # Errors
    /// [`Refusal::Stranger`], [`Refusal::Full`], [`Refusal::Frozen`], [`Refusal::Old`], [`Refusal::Fork`],
    /// [`Refusal::Unsigned`], [`Refusal::Set`], [`Refusal::Ledger`], in this order of checks.
    pub fn vote(
        &mut self,
        signed: &Arc<Signed>,
        proven: Option<&Proven>,
        set: Option<&Set>,
        limit: Credits,
    ) -> Result<Voted, Refusal> {
        let me = self.keys.key();
        let account = signed.entry.account;
        let Some(ward) = self.wards.get_mut(&account) else { return self.begin(signed, set, limit) };
        if signed.entry.number < ward.fold.next() {
            return self.again(signed);
        }
        if ward.set.index(&me).is_none() {
            return Err(Refusal::Stranger);
        }
        if ward.frozen.is_some() {
            return Err(Refusal::Frozen);
        }
        // Once for all that follows: it is most of what a vote costs beside its signatures.
        let digest = signed.entry.digest();
        signed.check_as(&digest, &self.keys).map_err(Refusal::Unsigned)?;
        let next_set = match signed.entry.act {
            Act::Renew { witnesses, faults, .. } => {
                let right = set.filter(|set| set.digest() == witnesses && set.faults() == faults);
                let next = right.filter(|set| set.may_follow(&ward.set));
                Some(next.ok_or(Refusal::Set)?.clone())
            }
            _ => None,
        };
        ward.fold.apply_as(&signed.entry, &digest, proven, limit).map_err(Refusal::Ledger)?;
        let by = ward.remember(&me, signed, next_set.clone());
        let saved = Saved::Entry { signed: signed.clone(), proven: proven.copied(), set: next_set };
        Ok(self.sign(signed.entry.statement_as(digest), by, Some(saved)))
    }

    /// Votes for what a hold came to, on the payee's word, or after its time on nobody's. A deposit has no payee who could speak:
    /// it is closed as this witness itself knows that what it was for has ended; after its time, of what this witness never
    /// heard, it goes back.
    ///
    /// A fork of the payer changes nothing here: whoever worked for a certified hold is paid.
    ///
    /// # Errors
    /// [`Refusal::Stranger`], [`Refusal::Taken`], [`Refusal::Unheld`], [`Refusal::Early`], [`Refusal::Forged`],
    /// [`Refusal::Fate`], [`Refusal::Ticks`], in this order of checks: the dear one last.
    pub fn close(&mut self, closing: &Closing, word: Word<'_>, date: UnixTime) -> Result<Voted, Refusal> {
        self.close_by(closing, word, date, None)
    }

    /// The same for a hold that this witness has not seen: its payer shows what it writes to a quorum, and may leave f others out.
    /// `hold` is the entry and the certificate of those who watch now. What was promised before, and is over, is not closed again.
    ///
    /// # Errors
    /// Those of [`Self::close`]; [`Refusal::Unheld`] also if the certificate does not show the hold.
    pub fn close_unseen(
        &mut self,
        closing: &Closing,
        word: Word<'_>,
        date: UnixTime,
        (signed, certificate): (&Signed, &Certificate),
    ) -> Result<Voted, Refusal> {
        let ward = self.wards.get(&closing.payer).ok_or(Refusal::Stranger)?;
        let Act::Hold(terms) = signed.entry.act else { return Err(Refusal::Unheld) };
        let is_it = signed.entry.account == closing.payer && (terms.payee, terms.turn) == (closing.payee, closing.turn);
        let unseen = !ward.fold.promised(&closing.payee, closing.turn);
        let certified =
            || certificate.statement == signed.entry.statement() && certificate.verify(&ward.set, &self.keys).is_ok();
        let shown = (is_it && unseen && certified()).then_some(terms);
        self.close_by(closing, word, date, shown)
    }

    fn close_by(
        &mut self,
        closing: &Closing,
        word: Word<'_>,
        date: UnixTime,
        shown: Option<Terms>,
    ) -> Result<Voted, Refusal> {
        let me = self.keys.key();
        let ward = self.wards.get_mut(&closing.payer).ok_or(Refusal::Stranger)?;
        let place = (closing.payee, closing.turn);
        let by = ward.closed_by(&place, &me).ok_or(Refusal::Stranger)?;
        match ward.closings.get(&place) {
            Some(voted) if voted == closing => return Ok(self.sign(closing.statement(), by, None)),
            Some(_) if on(Fault::ClosedTwice) => {}
            Some(_) => return Err(Refusal::Taken),
            None => {}
        }
        let terms = ward.fold.terms(&closing.payee, closing.turn).or(shown).ok_or(Refusal::Unheld)?;
        let statement = closing.statement();
        Self::may_close(&self.keys, &terms, (closing, &statement.digest), word, date)?;
        if !session::holds(&terms, closing) {
            return Err(Refusal::Ticks);
        }
        ward.closings.insert(place, *closing);
        Ok(self.sign(statement, by, Some(Saved::Closing(*closing))))
    }

    /// Whether `word` is enough for a closing with this digest.
    fn may_close(
        keys: &K,
        terms: &Terms,
        (closing, digest): (&Closing, &Digest),
        word: Word<'_>,
        date: UnixTime,
    ) -> Result<(), Refusal> {
        match word {
            Word::Nobody if date < terms.until && !on(Fault::ClosedBeforeItsTime) => {
                Err(Refusal::Early { until: terms.until })
            }
            Word::Nobody if terms.is_deposit() && closing.ticks > 0 => Err(Refusal::Fate),
            Word::Nobody => Ok(()),
            // Nobody has the key of the commons, whatever a signature seems to say.
            Word::Payee(_) if terms.is_deposit() && !on(Fault::DepositSignedFor) => Err(Refusal::Forged),
            Word::Payee(consent) => {
                let signed = keys.verify(&closing.payee, Domain::Closing, &[&digest.0], consent);
                if signed || on(Fault::PayeeOfClosingUnchecked) { Ok(()) } else { Err(Refusal::Forged) }
            }
            Word::Own { .. } if !terms.is_deposit() => Err(Refusal::Forged),
            Word::Own { lost } if lost != (closing.ticks > 0) && !on(Fault::FateIgnored) => Err(Refusal::Fate),
            Word::Own { .. } => Ok(()),
        }
    }

    /// Watches an account from a change of witnesses on that put this node in, and says so by a vote for the change in the name
    /// of the new set. What the log came to before (`fold`) is shown by the entry, and the entry by the certificate of those
    /// who watched `before`, whom this node has judged.
    ///
    /// Who watched before and missed entries goes on from here too: it has voted for none from here on, and what it voted for
    /// it says no more.
    ///
    /// # Errors
    /// [`Refusal::Stranger`], [`Refusal::Full`], [`Refusal::Frozen`], [`Refusal::Unsigned`], [`Refusal::Set`],
    /// [`Refusal::Fork`], [`Refusal::Ledger`], in this order of checks.
    pub fn adopt(&mut self, fold: Fold, renewal: &Renewal, before: &Set) -> Result<Voted, Refusal> {
        let account = renewal.signed.entry.account;
        if renewal.set.index(&self.keys.key()).is_none() {
            return Err(Refusal::Stranger);
        }
        let ward = self.wards.get(&account);
        if ward.is_none() && self.wards.len() >= WARDS_MAX {
            return Err(Refusal::Full);
        }
        if ward.is_some_and(|ward| ward.frozen.is_some()) {
            return Err(Refusal::Frozen);
        }
        renewal.signed.check(&self.keys).map_err(Refusal::Unsigned)?;
        if renewal.verify(before, &self.keys).is_err() || fold.witnesses() != before.digest() {
            return Err(Refusal::Set);
        }
        let (statement, by) = (renewal.signed.entry.statement(), renewal.set.digest());
        if let Some(ward) = ward.filter(|ward| ward.fold.next() > renewal.signed.entry.number) {
            // One statement for each place, though the same set may be named by another entry there: whoever voted for another one
            // shows the fork, if it still can.
            let followed = ward.fold.witnesses() == by && (ward.begun == statement.digest || on(Fault::TakesOverTwice));
            return if followed { Ok(self.sign(statement, by, None)) } else { self.again(&renewal.signed) };
        }
        let ward = Ward::adopted(&self.keys.key(), fold, renewal, ward)?;
        self.wards.insert(account, ward.clone());
        Ok(self.sign(statement, by, Some(Saved::Ward(Box::new(ward)))))
    }

    /// Freezes whom somebody else has shown to have forked; `None` if this node does not watch it or knows already. The
    /// proof has been checked.
    pub fn freeze(&mut self, fraud: &Fraud) -> Option<Saved> {
        let ward = self.wards.get_mut(&fraud.owner()?)?;
        if ward.frozen.is_some() {
            return None;
        }
        ward.frozen = Some(Box::new(fraud.clone()));
        Some(Saved::Frozen(Box::new(fraud.clone())))
    }

    fn begin(&mut self, signed: &Arc<Signed>, set: Option<&Set>, limit: Credits) -> Result<Voted, Refusal> {
        let named = |set: &&Set| matches!(signed.entry.act, Act::Open { witnesses, faults } if witnesses == set.digest() && faults == set.faults());
        let set = set.filter(named).filter(|set| set.index(&self.keys.key()).is_some()).ok_or(Refusal::Stranger)?;
        if self.wards.len() >= WARDS_MAX {
            return Err(Refusal::Full);
        }
        signed.check(&self.keys).map_err(Refusal::Unsigned)?;
        let mut fold = Fold::new(signed.entry.account);
        fold.apply(&signed.entry, None, limit).map_err(Refusal::Ledger)?;
        let ward = Ward::begun(fold, signed, set);
        self.wards.insert(signed.entry.account, ward.clone());
        Ok(self.sign(signed.entry.statement(), set.digest(), Some(Saved::Ward(Box::new(ward)))))
    }

    /// An entry whose number was voted for: the same vote, or a proof.
    fn again(&mut self, signed: &Signed) -> Result<Voted, Refusal> {
        let ward = self.wards.get_mut(&signed.entry.account).ok_or(Refusal::Stranger)?;
        let (kept, by) = ward.kept(signed.entry.number).ok_or(Refusal::Old)?;
        if kept.entry == signed.entry || on(Fault::VotedTwice) {
            let by = *by;
            return Ok(self.sign(signed.entry.statement(), by, None));
        }
        if ward.frozen.is_some() {
            return Err(Refusal::Frozen);
        }
        let fraud = Box::new(Fraud::Fork { one: (**kept).clone(), other: signed.clone() });
        if fraud.check(&self.keys).is_err() {
            return Err(Refusal::Unsigned(EntryError::Forged));
        }
        if !on(Fault::ForkNotFrozen) {
            ward.frozen = Some(fraud.clone());
        }
        Err(Refusal::Fork(fraud))
    }

    fn sign(&self, statement: Statement, set: Digest, saved: Option<Saved>) -> Voted {
        let signature = self.keys.sign(Domain::Vote, &[&statement.vote_digest(&set).0]);
        Voted { statement, set, signature, saved }
    }

    /// What was kept was checked before it was kept; what does not fit is passed over.
    fn replay(&mut self, saved: Saved) {
        let all = Credits(u64::MAX);
        match saved {
            Saved::Ward(ward) => {
                self.wards.insert(ward.fold.account(), *ward);
            }
            Saved::Entry { signed, proven, set } => {
                if let Some(ward) = self.wards.get_mut(&signed.entry.account)
                    && ward.fold.apply(&signed.entry, proven.as_ref(), all).is_ok()
                {
                    ward.remember(&self.keys.key(), &signed, set);
                }
            }
            Saved::Closing(closing) => {
                if let Some(ward) = self.wards.get_mut(&closing.payer) {
                    ward.closings.insert((closing.payee, closing.turn), closing);
                }
            }
            Saved::Frozen(fraud) => {
                if let Some(ward) = fraud.owner().and_then(|owner| self.wards.get_mut(&owner)) {
                    ward.frozen = Some(fraud);
                }
            }
        }
    }
}

impl Ward {
    fn begun(fold: Fold, signed: &Arc<Signed>, set: &Set) -> Self {
        let (begun, tail) = (fold.head(), [(signed.clone(), set.digest())].into());
        let (closings, inherited) = (BTreeMap::new(), BTreeMap::new());
        Self { fold, set: set.clone(), begun, tail, closings, inherited, frozen: None }
    }

    /// Of one that `missed` entries, if it is not new, stays by whom it closes what. Holds that it missed, too, are those' who watched
    /// when it did last, if no others did since.
    fn adopted(me: &NodeId, mut fold: Fold, renewal: &Renewal, missed: Option<&Self>) -> Result<Self, Refusal> {
        let Renewal { signed, set, .. } = renewal;
        let before = fold.witnesses();
        fold.apply(&signed.entry, None, Credits(u64::MAX)).map_err(Refusal::Ledger)?;
        // Not in the name of those before: it may have voted for another branch in that, which they did not certify.
        let name = if on(Fault::ChainAcrossSets) { before } else { set.digest() };
        let tail = [(Arc::new(signed.clone()), name)].into();
        let by = |place: &(NodeId, u64)| {
            let (missed, last) = missed.map(|missed| (missed, missed.set.digest()))?;
            let seen = missed.fold.terms(&place.0, place.1).is_some();
            let there = last == before && missed.set.index(me).is_some() && !on(Fault::MissedHoldsNotClosed);
            (seen || there).then(|| missed.inherited.get(place).copied().unwrap_or(Some(last)))
        };
        let inherited = fold.open().map(|place| (place, by(&place).flatten())).collect();
        // Those of holds that are closed since are done with.
        let mut closings = missed.map(|missed| missed.closings.clone()).unwrap_or_default();
        closings.retain(|place, _| fold.terms(&place.0, place.1).is_some());
        Ok(Self { begun: fold.head(), fold, set: set.clone(), tail, closings, inherited, frozen: None })
    }

    /// The entry with this number, if it is kept.
    fn kept(&self, number: u64) -> Option<&(Arc<Signed>, Digest)> {
        let at = number.checked_sub(self.tail.first()?.0.entry.number)?;
        self.tail.get(usize::try_from(at).ok()?)
    }

    /// In whose name `me` votes for the closing of a hold; nothing, if it has no vote.
    fn closed_by(&self, place: &(NodeId, u64), me: &NodeId) -> Option<Digest> {
        match self.inherited.get(place).filter(|_| !on(Fault::InheritedClosedAgain)) {
            Some(by) => *by,
            None => self.set.index(me).map(|_| self.set.digest()),
        }
    }

    /// After the fold took `signed`: keeps it while it may be asked for again, and lets go of what nobody asks for. Returns the digest of
    /// the set in whose name it is voted for.
    ///
    /// Of an account that others watch from now on `me` keeps little: the change, since the vote for it may have been lost, and its
    /// holds. All before is certified, or the owner wrote the change too soon.
    fn remember(&mut self, me: &NodeId, signed: &Arc<Signed>, set: Option<Set>) -> Digest {
        match signed.entry.act {
            Act::Checkpoint { .. } => self.tail.clear(),
            Act::Release { payee, turn, .. } => {
                self.closings.remove(&(payee, turn));
                self.inherited.remove(&(payee, turn));
            }
            _ => {}
        }
        // A change of witnesses is voted for in the name of those before; the fold names those after.
        let by = if set.is_some() { self.set.digest() } else { self.fold.witnesses() };
        self.tail.push((signed.clone(), by));
        if let Some(set) = set {
            for place in self.fold.open() {
                self.inherited.entry(place).or_insert(Some(by));
            }
            if set.index(me).is_none() {
                self.tail.drain(..self.tail.len() - 1);
                self.tail.shrink_to_fit();
                self.fold.let_go();
            }
            (self.set, self.begun) = (set, self.fold.head());
        }
        by
    }
}
