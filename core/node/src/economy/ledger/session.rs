//! One signature, then a hash for every block of tokens.
//!
//! The payer makes a chain: a secret, its hash, the hash of that, and so on; the last is the root and stands in the hold.
//! For each block it hands over the link before the last one it gave. Whoever has link n shows with n hashes that it is
//! owed n ticks, and nobody but the payer can go one further. So either side loses at most one block.
//!
//! Source: R. Rivest, A. Shamir, "PayWord and MicroMint" (1996), §2, PayWord.

use alloc::vec::Vec;
use core::fmt;

use super::{
    entry::{Closing, Terms},
    fold::TICKS_MAX,
};
use crate::kit::{
    Credits, Digest,
    fault::{Fault, on},
    hash::link,
};

/// Every so many links one is kept; the others are computed again. 65,536 ticks keep 1,024 links, 32 KB.
const STRIDE: u32 = 64;

/// The payer's side. Whoever holds it can pay.
#[derive(Clone, PartialEq, Eq)]
pub struct Chain {
    /// Every [`STRIDE`]th link, from the secret on.
    kept: Vec<Digest>,
    ticks: u32,
    given: u32,
    root: Digest,
}

impl fmt::Debug for Chain {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} of {} ticks given)", self.given, self.ticks)
    }
}

impl Chain {
    /// A chain of so many ticks from a secret that is used once; [`TICKS_MAX`] at most.
    pub fn new(secret: Digest, ticks: u32) -> Self {
        let ticks = ticks.min(TICKS_MAX as u32);
        let mut kept = Vec::with_capacity(ticks.div_ceil(STRIDE) as usize + 1);
        let mut digest = secret;
        for n in 0..ticks {
            if n.is_multiple_of(STRIDE) {
                kept.push(digest);
            }
            digest = link(&digest);
        }
        Self { kept, ticks, given: 0, root: digest }
    }

    /// What stands in the hold.
    pub const fn root(&self) -> Digest {
        self.root
    }

    /// How many were given.
    pub const fn given(&self) -> u32 {
        self.given
    }

    /// Gives the next tick; `None` when all are given.
    pub fn tick(&mut self) -> Option<Digest> {
        let link = self.ahead(1)?;
        self.given += 1;
        Some(link)
    }

    /// The link with which so many more ticks will be given, without giving them; `None` when there are fewer.
    pub fn ahead(&self, ticks: u32) -> Option<Digest> {
        let left = self.ticks.checked_sub(self.given.checked_add(ticks)?)?;
        if ticks == 0 {
            return None;
        }
        // The secret is link 0; the first tick is link `ticks - 1`.
        let mut digest = self.kept[(left / STRIDE) as usize];
        (0..left % STRIDE).for_each(|_| digest = link(&digest));
        Some(digest)
    }
}

/// The payee's side: how many ticks came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    terms: Terms,
    last: Digest,
    ticks: u32,
}

/// What is wrong with a tick. The payer's fault; the meter is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The hold has no tick left.
    Spent,
    /// It is not the link before the last.
    Wrong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spent => "the hold has no tick left",
            Self::Wrong => "this is not the next tick of the chain",
        })
    }
}

impl core::error::Error for Error {}

impl Meter {
    /// Nothing came yet.
    pub const fn new(terms: Terms) -> Self {
        Self { terms, last: terms.root, ticks: 0 }
    }

    /// Takes the next tick in.
    ///
    /// # Errors
    /// [`Error::Spent`] and [`Error::Wrong`], in this order of checks.
    pub fn tick(&mut self, next: Digest) -> Result<(), Error> {
        if self.ticks >= self.terms.ticks() && !on(Fault::TicksWithoutEnd) {
            return Err(Error::Spent);
        }
        if link(&next) != self.last && !on(Fault::TickUnchecked) {
            return Err(Error::Wrong);
        }
        (self.last, self.ticks) = (next, self.ticks + 1);
        Ok(())
    }

    /// Takes in a later link, with which there are `ticks` ticks in all. Hashes once a tick.
    ///
    /// # Errors
    /// [`Error::Spent`] and [`Error::Wrong`], in this order of checks; fewer ticks than came before are wrong.
    pub fn reach(&mut self, ticks: u32, link: Digest) -> Result<(), Error> {
        if ticks > self.terms.ticks() {
            return Err(Error::Spent);
        }
        let more = ticks.checked_sub(self.ticks).ok_or(Error::Wrong)?;
        if (0..more).fold(link, |digest, _| crate::kit::hash::link(&digest)) != self.last && !on(Fault::TickUnchecked) {
            return Err(Error::Wrong);
        }
        (self.last, self.ticks) = (link, ticks);
        Ok(())
    }

    /// Ticks that came.
    pub const fn ticks(&self) -> u32 {
        self.ticks
    }

    /// What it counts for.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What is owed by now.
    pub const fn owed(&self) -> Credits {
        Credits(self.ticks as u64 * self.terms.tick.0)
    }

    /// What the payer's witnesses are shown.
    pub const fn closing(&self, payer: crate::kit::NodeId) -> Closing {
        Closing {
            payer,
            payee: self.terms.payee,
            turn: self.terms.turn,
            ticks: self.ticks,
            amount: self.owed(),
            link: self.last,
        }
    }
}

/// Whether a closing is right under the terms of its hold: the link shows so many ticks, and they are worth so much.
/// Hashes once a tick. Of a deposit nothing is to be shown: it names what it was for, and who certifies it knows the rest.
pub fn holds(terms: &Terms, closing: &Closing) -> bool {
    let ticks = u64::from(closing.ticks);
    if ticks > TICKS_MAX || ticks.checked_mul(terms.tick.0) != Some(closing.amount.0) || closing.amount > terms.cap {
        return false;
    }
    if terms.is_deposit() {
        return closing.link == terms.root;
    }
    (0..closing.ticks).fold(closing.link, |digest, _| link(&digest)) == terms.root || on(Fault::ClosingLinkUnchecked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::{NodeId, UnixTime};

    fn terms(root: Digest) -> Terms {
        let (cap, tick) = (Credits(200_000), Credits(1000));
        Terms { payee: NodeId::number(1), turn: 0, cap, tick, until: UnixTime(0), root }
    }

    #[test]
    fn ticks_are_taken_in_their_order_until_the_hold_is_spent() {
        let mut chain = Chain::new(Digest([5; 32]), 201);
        let mut meter = Meter::new(terms(chain.root()));
        assert_eq!(meter.tick(chain.root()), Err(Error::Wrong), "the root is no tick");
        let mut last = chain.root();
        for n in 1..=200 {
            let tick = chain.tick().unwrap();
            assert_eq!(meter.tick(last), Err(Error::Wrong), "one that was given");
            assert_eq!(meter.tick(tick), Ok(()));
            assert_eq!((meter.owed(), chain.given()), (Credits(n * 1000), n as u32));
            let closing = meter.closing(NodeId::number(2));
            assert!(holds(&terms(chain.root()), &closing));
            let more = Closing { ticks: closing.ticks + 1, amount: Credits(closing.amount.0 + 1000), ..closing };
            assert!(!holds(&terms(chain.root()), &more), "one more than was given");
            let dear = Closing { amount: Credits(closing.amount.0 + 1), ..closing };
            assert!(!holds(&terms(chain.root()), &dear), "dearer than agreed");
            last = tick;
        }
        let beyond = chain.tick().unwrap();
        assert_eq!(beyond, Digest([5; 32]));
        assert_eq!(meter.tick(beyond), Err(Error::Spent));
        assert_eq!(chain.tick(), None);
        let greedy = Closing { ticks: 201, amount: Credits(201_000), link: beyond, ..meter.closing(NodeId::number(2)) };
        assert!(!holds(&terms(chain.root()), &greedy), "above the cap");
    }

    #[test]
    fn a_later_link_gives_all_before_it() {
        let mut chain = Chain::new(Digest([5; 32]), 200);
        let mut meter = Meter::new(terms(chain.root()));
        assert_eq!(chain.ahead(1), Chain::new(Digest([5; 32]), 200).tick());
        assert_eq!(meter.tick(chain.tick().unwrap()), Ok(()));
        let later = chain.ahead(149).unwrap();
        for (ticks, link) in [(149, later), (151, later), (150, chain.root()), (0, chain.root())] {
            assert_eq!(meter.reach(ticks, link), Err(Error::Wrong), "{ticks}");
        }
        assert_eq!(meter.reach(201, later), Err(Error::Spent));
        assert_eq!((meter.reach(150, later), meter.ticks(), chain.given()), (Ok(()), 150, 1));
        assert_eq!(meter.reach(150, later), Ok(()), "said again");
        assert_eq!((chain.ahead(0), chain.ahead(200), chain.ahead(u32::MAX)), (None, None, None));
    }

    #[test]
    fn an_empty_chain_gives_nothing_and_nothing_is_worth_nothing() {
        let mut chain = Chain::new(Digest([5; 32]), 0);
        assert_eq!((chain.tick(), chain.root()), (None, Digest([5; 32])));
        let none = Meter::new(terms(chain.root())).closing(NodeId::number(2));
        assert!(holds(&terms(chain.root()), &none) && none.amount == Credits(0));
    }
}
