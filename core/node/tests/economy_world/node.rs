//! One of a thousand: its log, the accounts that it watches, and what lies on its disk.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use tutu_node::{
    economy::{
        ledger::{Fold, Log, Terms, session::Chain},
        witness::{Renewal, Set, Witness, vote::Saved},
    },
    kit::{Credits, Digest, NodeId, Signature},
};

use super::{
    EVERY,
    common::Name,
    paper::{Certified, Paper},
    record::Record,
};

/// Events until silent witnesses are asked again: above most round trips; and the longest wait. Each wait is twice as long as the one
/// before, as with `witness::Collect`.
const PATIENCE: u64 = 24_000;
const PATIENCE_MAX: u64 = 192_000;
/// Entries that are not certified, with which nothing more is written: as many as are shown at once
/// (`trade::message::ENTRIES_MAX`).
const AHEAD_MAX: u64 = 8;

pub struct Node {
    pub keys: Name,
    /// All who ever watched it, one set after the other.
    pub reigns: Vec<Reign>,
    /// Changes of witnesses that are written, one a branch: what the log came to before.
    pub prepared: Vec<(Digest, Fold)>,
    /// How the last of its sets came to watch it; the first set opened the log.
    pub handover: Option<Rc<(Fold, Renewal)>>,
    /// No more than f of any of its sets are Byzantine; S1 and S4 are promised up to that.
    pub is_watched_well: bool,
    /// One log, or two of a fork.
    pub branches: Vec<Branch>,
    pub limit: Credits,
    pub witness: Witness<Name>,
    /// What lies on the disk: what the log came to at a checkpoint, and its entries that are kept.
    pub disk: (Fold, VecDeque<Rc<Paper>>),
    pub witness_disk: BTreeMap<usize, Vec<Kept>>,
    pub votes: Vec<Tally>,
    pub record: Record,
    /// Certified up to here.
    pub certified: u64,
    /// The next entry that each witness has not voted for, as far as its votes arrived.
    pub seen: Vec<u64>,
    pub patience: Patience,
    pub inbox: VecDeque<Rc<Certified>>,
    pub sessions: Vec<(Chain, Terms)>,
    /// Closings that are to be certified, and of whose holds.
    pub closings: VecDeque<(usize, Rc<Paper>, Patience)>,
}

/// Those who watch an account for a while.
#[derive(Clone)]
pub struct Reign {
    pub set: Arc<Set>,
    /// Its digest, and who its members are.
    pub by: Digest,
    pub members: Vec<usize>,
    /// Number of the entry that put them there.
    pub begun: u64,
}

/// A log, and its entries that are kept as they are shown.
#[derive(Clone)]
pub struct Branch {
    pub log: Log,
    pub papers: VecDeque<Rc<Paper>>,
    /// There is one that nobody was shown.
    pub has_news: bool,
}

/// What a witness keeps.
pub enum Kept {
    Saved(Box<Saved>),
    /// That it voted for this entry.
    Vote(Rc<Paper>),
}

/// Votes for one statement, by place in the set.
pub struct Tally {
    /// What is signed.
    pub vote: Digest,
    pub paper: Rc<Paper>,
    pub votes: Vec<(u8, Signature)>,
}

/// When it is time to ask again.
#[derive(Clone, Copy, Default)]
pub struct Patience {
    due: u64,
    wait: u64,
}

impl Node {
    pub fn new(keys: Name, first: Reign, is_watched_well: bool, limit: Credits) -> Self {
        let (log, fold) = (Log::new(keys.0), Fold::new(keys.0));
        Self {
            keys,
            seen: vec![0; first.members.len()],
            reigns: vec![first],
            prepared: vec![],
            handover: None,
            is_watched_well,
            branches: vec![Branch { log, papers: VecDeque::new(), has_news: false }],
            limit,
            witness: Witness::new(keys),
            disk: (fold, VecDeque::new()),
            witness_disk: BTreeMap::new(),
            votes: vec![],
            record: Record::default(),
            certified: 0,
            patience: Patience::default(),
            inbox: VecDeque::new(),
            sessions: vec![],
            closings: VecDeque::new(),
        }
    }

    pub fn fold(&self) -> &Fold {
        self.branches[0].log.fold()
    }

    /// Those who watch it now.
    pub fn reign(&self) -> &Reign {
        self.reigns.last().expect("there is a first one")
    }

    /// Whose votes the next entry of a branch needs; nobody's, while it waits for a change of witnesses.
    pub fn asked(&self, branch: usize) -> Option<usize> {
        let fold = self.branches[branch].log.fold();
        if fold.next() == 0 { Some(0) } else { self.reigns.iter().rposition(|reign| reign.by == fold.witnesses()) }
    }

    pub fn may_write(&self) -> bool {
        self.fold().next() < self.certified + AHEAD_MAX
    }

    /// Whether the next entry is to be a checkpoint.
    pub fn is_long(&self) -> bool {
        self.fold().next() - self.fold().since() >= EVERY
    }

    /// Whether all that it wrote is certified.
    pub fn is_up_to_date(&self) -> bool {
        self.certified == self.fold().next()
    }

    /// The votes for what this paper says, if there are any.
    pub fn tally(&self, paper: &Paper) -> Option<usize> {
        self.votes.iter().rposition(|tally| tally.vote == paper.vote)
    }

    /// Whether the witness at this place of a set is not known to have voted for all that is not certified.
    pub fn is_silent(&self, branch: usize, reign: usize, at: u8) -> bool {
        self.branches[branch].since(self.certified).filter(|paper| paper.reign == reign).any(|paper| {
            let voted = |tally: usize| self.votes[tally].votes.iter().any(|vote| vote.0 == at);
            !self.record.has(&paper.statement) && !self.tally(paper).is_some_and(voted)
        })
    }

    /// Its log and what it knows of others are what it kept, after the power went.
    pub fn crash(&mut self) {
        let entries = self.disk.1.iter().map(|paper| {
            let (signed, proven) = paper.signed().expect("a log has entries");
            (signed.clone(), proven)
        });
        let log = Log::restore(self.disk.0.clone(), entries);
        assert!(log == self.branches[0].log, "the log is what was kept");
        let witness = Witness::restore(self.keys, self.witness_disk.values().flatten().map(Kept::saved));
        assert!(witness == self.witness, "the witness is what was kept");
        (self.branches[0].log, self.witness) = (log, witness);
        self.votes.clear();
    }
}

impl Kept {
    /// What the witness wants kept; an entry that everybody holds is not copied once more.
    pub fn new(saved: Saved, paper: &Rc<Paper>) -> Self {
        match (&saved, paper.signed()) {
            (Saved::Entry { signed, proven, set: None }, Some(shown))
                if Arc::ptr_eq(signed, shown.0) && *proven == shown.1 =>
            {
                Self::Vote(paper.clone())
            }
            _ => Self::Saved(Box::new(saved)),
        }
    }

    fn saved(&self) -> Saved {
        match self {
            Self::Saved(saved) => (**saved).clone(),
            Self::Vote(paper) => {
                let (signed, proven) = paper.signed().expect("an entry");
                Saved::Entry { signed: signed.clone(), proven, set: None }
            }
        }
    }
}

impl Reign {
    /// Those of a set, from an entry on.
    pub fn new(set: Arc<Set>, begun: u64, index: &HashMap<NodeId, usize>) -> Self {
        let members = set.members().iter().map(|member| index[member]).collect();
        Self { by: set.digest(), set, members, begun }
    }

    /// No more than f of them are Byzantine; the first so many of all are.
    pub fn is_well(&self, byzantine: usize) -> bool {
        let bad = self.members.iter().filter(|member| **member < byzantine).count();
        bad <= usize::from(self.set.faults())
    }
}

impl Branch {
    /// Entries from `number` on.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Rc<Paper>> {
        since(&self.papers, number)
    }
}

/// Entries from `number` on, of those of one log.
pub fn since(papers: &VecDeque<Rc<Paper>>, number: u64) -> impl Iterator<Item = &Rc<Paper>> {
    let first = papers.front().and_then(|paper| paper.number()).unwrap_or(0);
    papers.range((number.saturating_sub(first) as usize).min(papers.len())..)
}

impl Patience {
    /// All are asked now.
    pub const fn begun(now: u64) -> Self {
        Self { due: now + PATIENCE, wait: PATIENCE }
    }

    /// Whether it is at an end; a longer one begins then.
    pub fn ends(&mut self, now: u64) -> bool {
        let over = self.due <= now;
        if over {
            self.wait = (2 * self.wait).clamp(PATIENCE, PATIENCE_MAX);
            self.due = now + self.wait;
        }
        over
    }
}
