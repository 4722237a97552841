//! Who holds how much: double entry in memory.
//!
//! A posting takes from one account what it gives to another, so the balances always sum to nothing. Accounts are
//! interned: a name is looked up once, a posting is two array accesses.
//!
//! A hold is a posting in two phases: *reserve* sets an amount aside, *settle* posts a part of it and lets the rest go,
//! *void* lets all of it go. Each is idempotent by the hold's id: what is said twice happens once.
//!
//! Source: the two-phase transfers of TigerBeetle's documentation ("Two-Phase Transfers"), and double entry after Pacioli
//! (1494). We leave the idea of account codes and ledgers: there is one unit here.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::fmt;

use crate::kit::{
    Credits, NodeId,
    fault::{Fault, on},
};

/// An account of one [`Book`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Index(u32);

/// The name of a hold, chosen by whoever reserves: the same name means the same hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldId(pub u128);

/// How much a book holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Accounts.
    pub accounts_max: u32,
    /// Holds that are neither settled nor void.
    pub open_max: usize,
    /// Closed holds that are remembered, so that a repeated word about one is known as a repetition; beyond them the
    /// oldest is forgotten.
    pub closed_max: usize,
}

impl Default for Config {
    /// A million accounts are 24 MB; 65,536 sessions are more than a node serves in an hour.
    fn default() -> Self {
        Self { accounts_max: 1 << 20, open_max: 1 << 16, closed_max: 1 << 16 }
    }
}

/// Balances, limits and holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    config: Config,
    names: BTreeMap<NodeId, Index>,
    accounts: Vec<Account>,
    holds: BTreeMap<HoldId, Hold>,
    open: usize,
    /// Closed holds, the oldest first.
    closed: VecDeque<HoldId>,
}

/// Invariant: `held` is the sum of this account's open holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Account {
    /// In micro-credits; may be below nothing, down to the limit.
    balance: i64,
    held: u64,
    limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Hold {
    payer: Index,
    payee: Index,
    amount: Credits,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open,
    Settled(Credits),
    Void,
}

/// Whether something happened, or had happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Now.
    Now,
    /// Earlier, by the same words.
    Before,
}

/// Why the book refused. Every refusal leaves it as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Payer and payee are one.
    Same,
    /// Nothing is to be moved.
    Nothing,
    /// The payer may spend too little; earning `missing` more would mend it.
    Short {
        /// How much is missing.
        missing: Credits,
    },
    /// A balance would leave what 64 bits hold.
    Overflow,
    /// There are as many accounts or holds as the book takes.
    Full {
        /// How many that is.
        limit: usize,
    },
    /// The id names a hold with other terms, or one that ended otherwise.
    Conflict,
    /// No hold has this id, or it was closed so long ago that it is forgotten.
    Unknown,
    /// More is to be posted than was reserved.
    Beyond {
        /// What was reserved.
        reserved: Credits,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("payer and payee are the same"),
            Self::Nothing => f.write_str("the amount is nothing"),
            Self::Short { missing } => write!(f, "the payer is {missing} short"),
            Self::Overflow => f.write_str("a balance would not fit"),
            Self::Full { limit } => write!(f, "the book is full at {limit}"),
            Self::Conflict => f.write_str("this id names another hold, or one that ended otherwise"),
            Self::Unknown => f.write_str("no hold has this id"),
            Self::Beyond { reserved } => write!(f, "only {reserved} were reserved"),
        }
    }
}

impl core::error::Error for Error {}

impl Book {
    /// An empty book.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// The account of `holder`; a new one has nothing and a limit of nothing.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn account(&mut self, holder: NodeId) -> Result<Index, Error> {
        if let Some(index) = self.names.get(&holder) {
            return Ok(*index);
        }
        let index = Index(self.accounts.len() as u32);
        if index.0 >= self.config.accounts_max {
            return Err(Error::Full { limit: self.config.accounts_max as usize });
        }
        self.names.insert(holder, index);
        self.accounts.push(Account::default());
        Ok(index)
    }

    /// Lets the balance of `account` fall to `limit` below nothing. A lower limit than what is owed already undoes nothing:
    /// the account only cannot spend.
    pub fn grant(&mut self, account: Index, limit: Credits) {
        self.accounts[account.0 as usize].limit = limit.0;
    }

    /// Moves `amount` from `payer` to `payee`: both sides, or neither.
    ///
    /// # Errors
    /// [`Error::Same`], [`Error::Nothing`], [`Error::Short`], [`Error::Overflow`], in this order of checks.
    pub fn post(&mut self, payer: Index, payee: Index, amount: Credits) -> Result<(), Error> {
        if payer == payee {
            return Err(Error::Same);
        }
        if amount.0 == 0 {
            return Err(Error::Nothing);
        }
        self.accounts[payer.0 as usize].affords(amount)?;
        self.book(payer, payee, amount)
    }

    /// Posts what others have certified, whatever the limit: a fact is a fact.
    ///
    /// # Errors
    /// [`Error::Same`], [`Error::Nothing`], [`Error::Overflow`], in this order of checks.
    pub fn record(&mut self, payer: Index, payee: Index, amount: Credits) -> Result<(), Error> {
        if payer == payee {
            return Err(Error::Same);
        }
        if amount.0 == 0 {
            return Err(Error::Nothing);
        }
        self.book(payer, payee, amount)
    }

    /// Sets `amount` of `payer` aside for `payee`.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Same`], [`Error::Nothing`], [`Error::Full`], [`Error::Short`], in this order of checks.
    pub fn reserve(&mut self, id: HoldId, payer: Index, payee: Index, amount: Credits) -> Result<Done, Error> {
        if let Some(held) = self.holds.get(&id) {
            let same = (held.payer, held.payee, held.amount) == (payer, payee, amount);
            return if same || on(Fault::ConflictTakenForRepetition) { Ok(Done::Before) } else { Err(Error::Conflict) };
        }
        if payer == payee {
            return Err(Error::Same);
        }
        if amount.0 == 0 {
            return Err(Error::Nothing);
        }
        if self.open >= self.config.open_max {
            return Err(Error::Full { limit: self.config.open_max });
        }
        let account = &mut self.accounts[payer.0 as usize];
        account.affords(amount)?;
        account.held += amount.0;
        self.holds.insert(id, Hold { payer, payee, amount, state: State::Open });
        self.open += 1;
        Ok(Done::Now)
    }

    /// Posts `amount` of what was reserved, maybe nothing, and lets the rest go.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Conflict`] (it was void, or settled otherwise), [`Error::Beyond`],
    /// [`Error::Overflow`], in this order of checks.
    pub fn settle(&mut self, id: HoldId, amount: Credits) -> Result<Done, Error> {
        let hold = *self.holds.get(&id).ok_or(Error::Unknown)?;
        match hold.state {
            State::Open => {}
            State::Settled(posted) if posted == amount && !on(Fault::HoldSettledTwice) => return Ok(Done::Before),
            State::Settled(_) if on(Fault::HoldSettledTwice) => {}
            State::Settled(_) | State::Void => return Err(Error::Conflict),
        }
        if amount > hold.amount && !on(Fault::MoreSettledThanHeld) {
            return Err(Error::Beyond { reserved: hold.amount });
        }
        self.book(hold.payer, hold.payee, amount)?;
        self.close(id, hold, State::Settled(amount));
        Ok(Done::Now)
    }

    /// Lets go of what was reserved.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Conflict`] (it was settled), in this order of checks.
    pub fn void(&mut self, id: HoldId) -> Result<Done, Error> {
        let hold = *self.holds.get(&id).ok_or(Error::Unknown)?;
        match hold.state {
            State::Open => {}
            State::Void => return Ok(Done::Before),
            State::Settled(_) => return Err(Error::Conflict),
        }
        self.close(id, hold, State::Void);
        Ok(Done::Now)
    }

    /// What `account` holds, in micro-credits; below nothing where it owes.
    pub fn balance(&self, account: Index) -> i64 {
        self.accounts[account.0 as usize].balance
    }

    /// What of it is set aside.
    pub fn held(&self, account: Index) -> Credits {
        Credits(self.accounts[account.0 as usize].held)
    }

    /// The sum of all balances: nothing, always. Looks at every account.
    pub fn sum(&self) -> i128 {
        self.accounts.iter().map(|account| i128::from(account.balance)).sum()
    }

    /// Both sides, or neither.
    fn book(&mut self, payer: Index, payee: Index, amount: Credits) -> Result<(), Error> {
        let amount = i64::try_from(amount.0).map_err(|_| Error::Overflow)?;
        let less = self.accounts[payer.0 as usize].balance.checked_sub(amount).ok_or(Error::Overflow)?;
        let more = self.accounts[payee.0 as usize].balance.checked_add(amount).ok_or(Error::Overflow)?;
        self.accounts[payer.0 as usize].balance = less;
        self.accounts[payee.0 as usize].balance = more;
        Ok(())
    }

    fn close(&mut self, id: HoldId, hold: Hold, state: State) {
        if !on(Fault::HoldKeptWhenClosed) {
            self.accounts[hold.payer.0 as usize].held -= hold.amount.0;
        }
        self.open -= 1;
        self.holds.insert(id, Hold { state, ..hold });
        self.closed.push_back(id);
        if self.closed.len() > self.config.closed_max
            && let Some(oldest) = self.closed.pop_front()
        {
            self.holds.remove(&oldest);
        }
    }
}

impl Account {
    /// Whether `amount` can be spent beside what is set aside.
    fn affords(&self, amount: Credits) -> Result<(), Error> {
        // A balance above i64::MIN and two numbers below 2^64 fit in 128 bits.
        let held = if on(Fault::HoldsSpentTwice) { 0 } else { self.held };
        let left = i128::from(self.balance) + i128::from(self.limit) - i128::from(held) - i128::from(amount.0);
        if left >= 0 || on(Fault::LimitIgnored) {
            return Ok(());
        }
        Err(Error::Short { missing: Credits(u64::try_from(-left).unwrap_or(u64::MAX)) })
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec};

    use super::*;
    use crate::kit::Rng;

    fn book() -> (Book, [Index; 3]) {
        let mut book = Book::new(Config { accounts_max: 3, open_max: 2, closed_max: 2 });
        let accounts = [1, 2, 3].map(|n| book.account(NodeId::number(n)).unwrap());
        book.grant(accounts[0], Credits(100));
        (book, accounts)
    }

    /// One line an attempt: `from to amount` posts, `rID from to amount` reserves, `sID amount` settles, `vID` voids.
    fn run(script: &str) -> String {
        let (mut book, accounts) = book();
        let mut lines = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            let who = |word: &str| accounts[usize::from(word.as_bytes()[0] - b'a')];
            let number = |word: &str| Credits(word.parse().unwrap());
            let id = || HoldId(words[0][1..].parse().unwrap());
            let outcome = match words[0].as_bytes()[0] {
                b'r' => {
                    book.reserve(id(), who(words[1]), who(words[2]), number(words[3])).map(|done| format!("{done:?}"))
                }
                b's' => book.settle(id(), number(words[1])).map(|done| format!("{done:?}")),
                b'v' => book.void(id()).map(|done| format!("{done:?}")),
                _ => book.post(who(words[0]), who(words[1]), number(words[2])).map(|()| "Now".into()),
            };
            let outcome = outcome.unwrap_or_else(|error| format!("{error}"));
            let balances: Vec<i64> = accounts.iter().map(|account| book.balance(*account)).collect();
            let held = book.held(accounts[0]).0;
            lines += &format!("{line:<12} {outcome:<40} {balances:?} {held}\n");
            assert_eq!(book.sum(), 0, "{line}");
        }
        lines
    }

    #[test]
    fn every_attempt_and_every_refusal() {
        let script = "a a 0\n a b 0\n a b 101\n a b 60\n b c 61\n b c 60\n
            r1 a b 30\n r1 a b 30\n r1 a b 31\n r2 a a 0\n r2 a b 0\n r2 a b 11\n r2 a b 10\n r3 c a 1\n a b 1\n
            s9 1\n s1 31\n s1 20\n s1 20\n s1 19\n v1\n v9\n v2\n v2\n s2 1\n r3 c a 1\n s3 0\n s1 20";
        assert_eq!(
            run(script),
            "a a 0        payer and payee are the same             [0, 0, 0] 0\n\
             a b 0        the amount is nothing                    [0, 0, 0] 0\n\
             a b 101      the payer is 0.000001 short              [0, 0, 0] 0\n\
             a b 60       Now                                      [-60, 60, 0] 0\n\
             b c 61       the payer is 0.000001 short              [-60, 60, 0] 0\n\
             b c 60       Now                                      [-60, 0, 60] 0\n\
             r1 a b 30    Now                                      [-60, 0, 60] 30\n\
             r1 a b 30    Before                                   [-60, 0, 60] 30\n\
             r1 a b 31    this id names another hold, or one that ended otherwise [-60, 0, 60] 30\n\
             r2 a a 0     payer and payee are the same             [-60, 0, 60] 30\n\
             r2 a b 0     the amount is nothing                    [-60, 0, 60] 30\n\
             r2 a b 11    the payer is 0.000001 short              [-60, 0, 60] 30\n\
             r2 a b 10    Now                                      [-60, 0, 60] 40\n\
             r3 c a 1     the book is full at 2                    [-60, 0, 60] 40\n\
             a b 1        the payer is 0.000001 short              [-60, 0, 60] 40\n\
             s9 1         no hold has this id                      [-60, 0, 60] 40\n\
             s1 31        only 0.00003 were reserved               [-60, 0, 60] 40\n\
             s1 20        Now                                      [-80, 20, 60] 10\n\
             s1 20        Before                                   [-80, 20, 60] 10\n\
             s1 19        this id names another hold, or one that ended otherwise [-80, 20, 60] 10\n\
             v1           this id names another hold, or one that ended otherwise [-80, 20, 60] 10\n\
             v9           no hold has this id                      [-80, 20, 60] 10\n\
             v2           Now                                      [-80, 20, 60] 0\n\
             v2           Before                                   [-80, 20, 60] 0\n\
             s2 1         this id names another hold, or one that ended otherwise [-80, 20, 60] 0\n\
             r3 c a 1     Now                                      [-80, 20, 60] 0\n\
             s3 0         Now                                      [-80, 20, 60] 0\n\
             s1 20        no hold has this id                      [-80, 20, 60] 0\n"
        );
    }

    #[test]
    fn nothing_overflows_and_a_full_book_says_so() {
        let (mut book, [a, b, _]) = book();
        assert_eq!(book.account(NodeId::number(4)), Err(Error::Full { limit: 3 }));
        book.grant(a, Credits(u64::MAX));
        assert_eq!(book.post(a, b, Credits(u64::MAX)), Err(Error::Overflow));
        assert_eq!(book.post(a, b, Credits(i64::MAX as u64)), Ok(()));
        assert_eq!(book.post(a, b, Credits(2)), Err(Error::Overflow));
        assert_eq!((book.balance(b), book.sum()), (i64::MAX, 0));
    }

    #[test]
    fn facts_in_any_order_give_the_same_balances_and_sum_to_nothing() {
        let mut rng = Rng::new(5);
        for _ in 0..50 {
            let facts: Vec<(usize, usize, u64)> = (0..200)
                .map(|_| {
                    let payer = rng.below(20) as usize;
                    (payer, (payer + 1 + rng.below(19) as usize) % 20, 1 + u64::from(rng.below(1000)))
                })
                .collect();
            let mut seen = vec![];
            for _ in 0..3 {
                let mut book = Book::default();
                let accounts: Vec<Index> = (0..20).map(|n| book.account(NodeId::number(n)).unwrap()).collect();
                let mut order: Vec<usize> = (0..facts.len()).collect();
                (1..order.len()).rev().for_each(|i| order.swap(i, rng.below(i as u32 + 1) as usize));
                for fact in order {
                    let (payer, payee, amount) = facts[fact];
                    assert_eq!(book.record(accounts[payer], accounts[payee], Credits(amount)), Ok(()));
                    assert_eq!(book.sum(), 0);
                }
                seen.push(accounts.iter().map(|account| book.balance(*account)).collect::<Vec<_>>());
            }
            assert!(seen.iter().all(|balances| *balances == seen[0]));
        }
    }
}
