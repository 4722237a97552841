//! The log of this node, as it writes it.
//!
//! An entry is kept before it is shown to anybody ([`Log::write`] returns it; whoever calls saves it, then sends). A node
//! whose disk forgot an entry that others saw would fork itself: after a loss it asks its witnesses for its own entries
//! ([`Log::catch_up`]) before it writes.

use alloc::collections::VecDeque;

use super::{
    entry::{Act, Signed},
    fold::{Error, Fold, Proven},
};
use crate::kit::{Credits, NodeId, Signature, Signer};

/// What this node owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    fold: Fold,
    /// Entries since the last checkpoint, for witnesses that missed some.
    tail: VecDeque<Signed>,
}

impl Log {
    /// One without entries.
    pub fn new(account: NodeId) -> Self {
        Self { fold: Fold::new(account), tail: VecDeque::new() }
    }

    /// One that goes on where it was: from what it came to once, if that was kept, and the entries after.
    pub fn restore(fold: Fold, entries: impl IntoIterator<Item = (Signed, Option<Proven>)>) -> Self {
        let mut log = Self { fold, tail: VecDeque::new() };
        for (signed, proven) in entries {
            // What was kept was checked before it was; a torn end is passed over.
            let _ = log.catch_up(&signed, proven.as_ref());
        }
        log
    }

    /// What it comes to.
    pub const fn fold(&self) -> &Fold {
        &self.fold
    }

    /// Entries from `number` on; fewer, if they lie before the last checkpoint.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Signed> {
        self.tail.iter().filter(move |signed| signed.entry.number >= number)
    }

    /// Writes `act`, with the other side's consent where there is one and what was proven where it refers to something.
    ///
    /// # Errors
    /// Those of [`Fold::apply`]; nothing is written then.
    pub fn write(
        &mut self,
        act: Act,
        consent: Option<Signature>,
        proven: Option<&Proven>,
        limit: Credits,
        keys: &impl Signer,
    ) -> Result<Signed, Error> {
        let entry = self.fold.draft(act);
        self.fold.apply(&entry, proven, limit)?;
        let signed = entry.sign(consent, keys);
        self.remember(&signed);
        Ok(signed)
    }

    /// Writes a checkpoint. What lies before need not be kept, once it is certified.
    ///
    /// # Errors
    /// [`Error::Opening`], if there is nothing yet.
    pub fn checkpoint(&mut self, keys: &impl Signer) -> Result<Signed, Error> {
        let act = Act::Checkpoint { root: self.fold.root(), state: self.fold.digest() };
        self.write(act, None, None, Credits(0), keys)
    }

    /// Takes in an own entry that this node wrote and forgot.
    ///
    /// # Errors
    /// Those of [`Fold::apply`].
    pub fn catch_up(&mut self, signed: &Signed, proven: Option<&Proven>) -> Result<(), Error> {
        self.fold.apply(&signed.entry, proven, Credits(u64::MAX))?;
        self.remember(signed);
        Ok(())
    }

    fn remember(&mut self, signed: &Signed) {
        if matches!(signed.entry.act, Act::Checkpoint { .. }) {
            self.tail.clear();
        }
        self.tail.push_back(signed.clone());
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{kit::Digest, trust::identity::Identity};

    #[test]
    fn a_log_goes_on_from_any_of_its_entries() {
        let keys = Identity::new([1; 32]);
        let limit = Credits(1_000_000);
        let mut log = Log::new(keys.key());
        assert_eq!(log.checkpoint(&keys), Err(Error::Opening));
        let mut written = vec![];
        let open = Act::Open { witnesses: Digest([1; 32]), faults: 1 };
        written.push(log.write(open, None, None, limit, &keys).unwrap());
        let mut folds = vec![Fold::new(keys.key()), log.fold().clone()];
        for turn in 0..20 {
            let act = Act::Pay { payee: NodeId::number(5), turn, amount: Credits(1000) };
            written.push(log.write(act, Some(Signature([0; 64])), None, limit, &keys).unwrap());
            folds.push(log.fold().clone());
            if turn == 9 {
                written.push(log.checkpoint(&keys).unwrap());
                folds.push(log.fold().clone());
            }
        }
        for (at, fold) in folds.iter().enumerate() {
            let entries = written[at..].iter().map(|signed| (signed.clone(), None));
            let again = Log::restore(fold.clone(), entries);
            assert_eq!(again.fold(), log.fold());
            if at <= 11 {
                assert_eq!(again, log, "from {at}");
            }
        }
        assert_eq!(log.since(15).count(), 7);
        assert_eq!(log.since(0).count(), 11, "what lies before the checkpoint is gone");
    }
}
