//! What is shown, signed and certified, and what is under way.

use std::{rc::Rc, sync::Arc};

use tutu_node::{
    economy::{
        ledger::{
            Act, Closing, Proven, Signed,
            entry::{Slot, Statement},
        },
        witness::{Certificate, Set, certificate},
    },
    kit::{Digest, Signature},
};

use super::common::Name;

/// One statement, and what is shown with it. Whoever holds it knows its digests; witnesses compute them for themselves.
#[derive(Debug)]
pub struct Paper {
    pub statement: Statement,
    /// Which of the owner's sets is asked, counted from its first.
    pub reign: usize,
    /// What its witnesses sign.
    pub vote: Digest,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    /// An entry, and what is shown with it.
    Entry(Arc<Signed>, With),
    /// A closing, and the payee's consent.
    Closing(Closing, Option<Signature>),
}

/// What an entry refers to.
#[derive(Clone, Debug)]
pub enum With {
    Nothing,
    /// What is received or released.
    Certified(Rc<Certified>),
    /// Who watches from then on: of an opening and a change.
    Set(Arc<Set>),
}

/// A certificate, what it is about, and what it proves to whoever is paid.
#[derive(Debug)]
pub struct Certified {
    pub certificate: Certificate,
    pub paper: Rc<Paper>,
    pub proven: Option<Proven>,
}

/// The place of a witness in one of the sets of an owner.
#[derive(Clone, Copy)]
pub struct Seat {
    pub owner: usize,
    pub reign: usize,
    pub at: u8,
}

#[derive(Clone)]
pub enum Message {
    /// A witness is shown everything of a branch that it has not seen.
    Ask {
        seat: Seat,
        branch: usize,
    },
    /// A witness is shown an entry that the account cannot afford, in the place of the one that it writes next.
    Overdraw {
        seat: Seat,
        paper: Rc<Paper>,
    },
    Votes {
        seat: Seat,
        votes: Vec<(Rc<Paper>, Signature)>,
    },
    AskClosing {
        seat: Seat,
        paper: Rc<Paper>,
    },
    Certified {
        from: usize,
        to: usize,
        certified: Rc<Certified>,
    },
}

impl Paper {
    /// Of an entry, whose digest its owner knows.
    pub fn entry(signed: Arc<Signed>, digest: Digest, with: With, (reign, set): (usize, &Digest)) -> Rc<Self> {
        let (account, slot) = (signed.entry.account, Slot::Entry(signed.entry.number));
        let statement = Statement { account, slot, digest };
        let vote = statement.vote_digest(set);
        Rc::new(Self { statement, reign, vote, what: What::Entry(signed, with) })
    }

    pub fn closing(closing: Closing, consent: Option<Signature>, (reign, set): (usize, &Digest)) -> Rc<Self> {
        let statement = closing.statement();
        let vote = statement.vote_digest(set);
        Rc::new(Self { statement, reign, vote, what: What::Closing(closing, consent) })
    }

    pub const fn number(&self) -> Option<u64> {
        match self.statement.slot {
            Slot::Entry(number) => Some(number),
            Slot::Closing { .. } => None,
        }
    }

    /// The entry, and what was proven to whoever is shown it.
    pub fn signed(&self) -> Option<(&Arc<Signed>, Option<Proven>)> {
        match &self.what {
            What::Entry(signed, With::Certified(certified)) => Some((signed, certified.proven)),
            What::Entry(signed, _) => Some((signed, None)),
            What::Closing(..) => None,
        }
    }

    /// The set that it names.
    pub const fn names(&self) -> Option<&Arc<Set>> {
        if let What::Entry(_, With::Set(set)) = &self.what { Some(set) } else { None }
    }
}

impl Certified {
    /// Checks the certificate as anybody would to whom it is shown. That it holds follows from its bytes alone, so it is not checked
    /// again by each who sees the same ones.
    pub fn new(certificate: Certificate, paper: Rc<Paper>, set: &Set, anybody: &Name) -> Rc<Self> {
        let proven = match &paper.what {
            What::Closing(closing, _) => Some(certificate::closing(&certificate, closing, set, anybody).unwrap()),
            What::Entry(signed, _) if matches!(signed.entry.act, Act::Pay { .. }) => {
                Some(certificate::payment(&certificate, signed, set, anybody).unwrap())
            }
            What::Entry(..) => {
                assert_eq!(certificate.verify(set, anybody), Ok(()));
                None
            }
        };
        Rc::new(Self { certificate, paper, proven })
    }
}
