//! The log of this node, as it writes it.
//!
//! An entry is kept before it is shown to anybody ([`Log::write`] returns it; whoever calls saves it, then sends). A node
//! whose disk forgot an entry that others saw would fork itself: after a loss it asks its witnesses for its own entries
//! ([`Log::catch_up`]) before it writes.

use alloc::{collections::VecDeque, sync::Arc};

use super::{
    entry::{Act, Signed},
    fold::{EVERY, Error, Fold, Proven},
};
use crate::kit::{
    Credits, NodeId, Signature, Signer,
    fault::{Fault, on},
};

/// Entries before the last checkpoint that are kept for witnesses that lack them, at most: as many as two checkpoints end. With the
/// certificates that they refer to they are some 20 MB; a witness that lacks more than that is as good as lost to the account until
/// others watch it, be it this one among them.
pub const BEHIND_MAX: u64 = 2 * EVERY;

/// What this node owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    fold: Fold,
    /// Entries since the last checkpoint, and before it those that some witness lacks, by their numbers.
    tail: VecDeque<Arc<Signed>>,
}

impl Log {
    /// One without entries.
    pub fn new(account: NodeId) -> Self {
        Self { fold: Fold::new(account), tail: VecDeque::new() }
    }

    /// One that goes on where it was: from what it came to once, if that was kept, and the entries after. Entries before, in
    /// their order, are kept for the witnesses that lack them.
    pub fn restore(fold: Fold, entries: impl IntoIterator<Item = (Arc<Signed>, Option<Proven>)>) -> Self {
        let mut log = Self { fold, tail: VecDeque::new() };
        for (signed, proven) in entries {
            if signed.entry.number < log.fold.next() {
                log.tail.push_back(signed);
            } else {
                // What was kept was checked before it was; a torn end is passed over.
                let _ = log.catch_up(&signed, proven.as_ref());
            }
        }
        log
    }

    /// What it comes to.
    pub const fn fold(&self) -> &Fold {
        &self.fold
    }

    /// Number of the first entry that is kept; of the next one, where none is.
    pub fn first(&self) -> u64 {
        self.tail.front().map_or(self.fold.next(), |signed| signed.entry.number)
    }

    /// Entries from `number` on; fewer, if some were let go.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Arc<Signed>> {
        self.tail.range(self.tail.partition_point(|signed| signed.entry.number < number)..)
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
    ) -> Result<Arc<Signed>, Error> {
        let entry = self.fold.draft(act);
        let digest = entry.digest();
        self.fold.apply_as(&entry, &digest, proven, limit)?;
        Ok(self.remember(Arc::new(entry.sign_as(&digest, consent, keys))))
    }

    /// Lets go of what lies before the last checkpoint and before `seen`, which every witness has seen; and of what lies more than
    /// [`BEHIND_MAX`] before the checkpoint, seen or not. To be called when the checkpoint is certified. Returns the number
    /// of the first entry that is kept.
    ///
    /// A checkpoint needs a quorum, but whoever was not of it must still see each entry: its votes are one chain, and an
    /// account that left f+1 witnesses behind stands still for good.
    pub fn prune(&mut self, seen: u64) -> u64 {
        let checkpoint = self.fold.since();
        let seen = if on(Fault::LaggardsLeftBehind) { checkpoint } else { seen };
        let first = seen.max(checkpoint.saturating_sub(BEHIND_MAX)).min(checkpoint);
        while self.tail.front().is_some_and(|signed| signed.entry.number < first) {
            self.tail.pop_front();
        }
        first
    }

    /// Writes a checkpoint. What lies before is let go by [`Self::prune`], once it is certified.
    ///
    /// # Errors
    /// [`Error::Opening`], if there is nothing yet.
    pub fn checkpoint(&mut self, keys: &impl Signer) -> Result<Arc<Signed>, Error> {
        let (entry, digest) = self.fold.checkpoint()?;
        Ok(self.remember(Arc::new(entry.sign_as(&digest, None, keys))))
    }

    /// Takes in an own entry that this node wrote and forgot.
    ///
    /// # Errors
    /// Those of [`Fold::apply`].
    pub fn catch_up(&mut self, signed: &Arc<Signed>, proven: Option<&Proven>) -> Result<(), Error> {
        self.fold.apply(&signed.entry, proven, Credits(u64::MAX))?;
        self.remember(signed.clone());
        Ok(())
    }

    fn remember(&mut self, signed: Arc<Signed>) -> Arc<Signed> {
        self.tail.push_back(signed.clone());
        signed
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
        for fold in &folds {
            let entries = written.iter().map(|signed| (signed.clone(), None));
            assert_eq!(Log::restore(fold.clone(), entries), log, "from {}", fold.next());
        }
        assert_eq!((log.since(15).count(), log.since(0).count()), (7, 22));
    }

    #[test]
    fn what_a_witness_lacks_is_kept_over_checkpoints_but_not_without_end() {
        let keys = Identity::new([1; 32]);
        let mut log = Log::new(keys.key());
        let open = Act::Open { witnesses: Digest([1; 32]), faults: 1 };
        log.write(open, None, None, Credits(0), &keys).unwrap();
        log.checkpoint(&keys).unwrap();
        log.checkpoint(&keys).unwrap();
        assert_eq!((log.prune(0), log.first()), (0, 0), "somebody has seen nothing");
        assert_eq!((log.prune(1), log.first()), (1, 1), "all have seen the opening");
        assert_eq!((log.prune(9), log.first()), (2, 2), "the checkpoint is kept, whoever has seen it");
        for _ in 0..BEHIND_MAX {
            log.checkpoint(&keys).unwrap();
        }
        assert_eq!((log.prune(2), log.first()), (2, 2));
        log.checkpoint(&keys).unwrap();
        assert_eq!((log.prune(2), log.first()), (3, 3), "who lacks more is lost");
    }
}
