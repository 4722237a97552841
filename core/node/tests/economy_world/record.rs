//! What was certified of one account: what S1 is checked against.
//!
//! A digest is kept of each place for which a certificate may still be made: of the entries that the owner may still show to
//! anybody and of some checkpoints before, and of the closings of holds that are open or were until lately. One that is made
//! for any other place is itself against S1, whatever it says: so what is forgotten is not trusted but forbidden.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use tutu_node::{
    economy::ledger::{
        Act, Entry, Fold,
        entry::{Slot, Statement},
        merkle,
    },
    kit::{Digest, NodeId},
};

use super::{
    EVERY,
    paper::{Certified, Paper},
};

/// Entries that are kept after nobody can be shown them any more: those of two checkpoints, so that votes for them that are still
/// under way are found out. None is for as long as one.
const KEPT: u64 = 2 * EVERY;

#[derive(Default)]
pub struct Record {
    /// Number of the first entry that is kept.
    first: u64,
    entries: VecDeque<Option<Known>>,
    closings: BTreeMap<(NodeId, u64), Settled>,
    /// Number of the last checkpoint.
    checkpoint: u64,
}

/// What stands in a place; with its proof while it may still be doubted.
struct Known {
    digest: Digest,
    proof: Option<Rc<Certified>>,
}

struct Settled {
    known: Known,
    /// The hold is released: the number of the entry until which this is kept.
    until: Option<u64>,
}

/// How a new certificate stands to what was certified before.
pub enum Standing {
    /// Nothing was.
    New,
    /// The same.
    Same,
    /// It should not be; and the other one, if its proof is kept.
    Against(Option<Rc<Certified>>),
}

impl Record {
    /// `fold` is what the owner's log comes to.
    pub fn standing(&self, statement: &Statement, fold: &Fold) -> Standing {
        let known = match statement.slot {
            Slot::Entry(number) if number < self.first => return Standing::Against(None),
            Slot::Entry(number) => self.entry(number),
            Slot::Closing { payee, turn } => match self.closings.get(&(payee, turn)) {
                None if fold.terms(&payee, turn).is_none() => return Standing::Against(None),
                known => known.map(|settled| &settled.known),
            },
        };
        match known {
            None => Standing::New,
            Some(known) if known.digest == statement.digest => Standing::Same,
            Some(known) => Standing::Against(known.proof.clone()),
        }
    }

    /// Whether just this is certified.
    pub fn has(&self, statement: &Statement) -> bool {
        let known = match statement.slot {
            Slot::Entry(number) => self.entry(number),
            Slot::Closing { payee, turn } => self.closings.get(&(payee, turn)).map(|settled| &settled.known),
        };
        known.is_some_and(|known| known.digest == statement.digest)
    }

    /// Whether an entry with this number is.
    pub fn has_entry(&self, number: u64) -> bool {
        number < self.first || self.entry(number).is_some()
    }

    /// What is new.
    pub fn insert(&mut self, certified: Rc<Certified>) {
        let Paper { statement, .. } = *certified.paper;
        let known = Known { digest: statement.digest, proof: Some(certified) };
        match statement.slot {
            Slot::Entry(number) => {
                let at = (number - self.first) as usize;
                if self.entries.len() <= at {
                    self.entries.resize_with(at + 1, || None);
                }
                self.entries[at] = Some(known);
            }
            Slot::Closing { payee, turn } => {
                self.closings.insert((payee, turn), Settled { known, until: None });
            }
        }
    }

    /// The entries since the last checkpoint, all over again: each is what it says, follows the one before, and their root is
    /// what the checkpoint at `number` says.
    pub fn check_chain(&self, number: u64) {
        let proof = |number: u64| self.entry(number).and_then(|known| known.proof.as_ref());
        let certified: Vec<_> = (self.checkpoint..=number).map(|number| proof(number).expect("all are kept")).collect();
        let entries: Vec<&Entry> =
            certified.iter().map(|certified| &certified.paper.signed().expect("an entry").0.entry).collect();
        let digests: Vec<Digest> = entries.iter().map(|entry| entry.digest()).collect();
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(certified[at].certificate.statement.digest, digests[at], "S1: another entry");
            assert!(at == 0 || entry.before == digests[at - 1], "S1: certified entries are one chain");
        }
        let (Some(Entry { act: Act::Checkpoint { root, .. }, .. }), Some((_, before))) =
            (entries.last(), digests.split_last())
        else {
            unreachable!()
        };
        assert_eq!(merkle::root(before.iter().copied()), *root, "S1: the checkpoint is of other entries");
    }

    /// A checkpoint is certified: what lies before is settled. `shown` is the first entry that may still be shown, `fold` what the
    /// log comes to. Returns the first entry of which anything is kept.
    pub fn settle(&mut self, checkpoint: u64, shown: u64, fold: &Fold) -> u64 {
        let first = self.first;
        let settled = self.checkpoint.saturating_sub(first)..checkpoint.saturating_sub(first);
        for at in settled {
            self.entries[at as usize].as_mut().expect("what follows was only written when this was certified").proof =
                None;
        }
        self.checkpoint = checkpoint;
        while self.first < shown.min(checkpoint.saturating_sub(KEPT)) {
            self.entries.pop_front();
            self.first += 1;
        }
        self.closings.retain(|(payee, turn), settled| {
            if settled.until.is_none() && fold.terms(payee, *turn).is_none() {
                (settled.until, settled.known.proof) = (Some(checkpoint + KEPT), None);
            }
            settled.until.is_none_or(|until| checkpoint < until)
        });
        self.first
    }

    fn entry(&self, number: u64) -> Option<&Known> {
        let at = number.checked_sub(self.first)?;
        self.entries.get(at as usize)?.as_ref()
    }
}
