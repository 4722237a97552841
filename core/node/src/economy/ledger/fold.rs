//! What a log comes to, entry by entry, and every reason to refuse one.
//!
//! The owner, its witnesses and whoever audits it run the same function over the same entries. It is total and it changes
//! nothing when it refuses.
//!
//! It is careful where it knows little: a hold counts as spent in full until the log itself says what it came to, and
//! what others paid counts only when the log says so and shows the certificate. So what may be spent by the log is never
//! more than what may be spent by all facts together.

use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

pub use super::peers::{MISSING_MAX, PEERS_MAX};
use super::{
    entry::{Act, Entry, Terms},
    merkle,
    peers::Peers,
};
use crate::kit::{
    Credits, Digest, NodeId, UnixTime,
    codec::{Error as CodecError, Reader, put_number},
    fault::{Fault, on},
    hash::{Tag, hash},
};

/// Open holds of one account. More sessions than one node keeps up.
pub const HOLDS_MAX: usize = 4096;
/// Ticks of one session: hashing the whole chain takes some milliseconds, and 65,536 blocks of 32 tokens are two million.
pub const TICKS_MAX: u64 = 65_536;
/// The least that is worth an entry, in micro-credits: what one token costs. An entry is some 300 bytes for everybody who
/// keeps it; who would write millions must pay with them.
pub const DUST: Credits = Credits(1000);
/// Entries between two checkpoints, at most: 128 KB of digests, and a proof of twelve.
pub const EVERY: u64 = 4096;

/// What a log comes to.
///
/// In bytes, by which it is known ([`Fold::digest`]) and handed to others: account 32; number of the next entry; digest of the
/// last 32; of the set 32; f, 1; balance, signed as postcard does it; held; count of open holds, and of each payee 32, turn, cap,
/// tick, until, root 32; the others with whom it dealt; count of entries since the last checkpoint, and their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    account: NodeId,
    /// Number of the next entry.
    next: u64,
    head: Digest,
    witnesses: Digest,
    faults: u8,
    /// Received less paid, in micro-credits.
    balance: i64,
    /// Sum of the caps of `open`.
    held: u64,
    open: BTreeMap<(NodeId, u64), Held>,
    peers: Peers,
    /// Digests of the entries since the last checkpoint, that one included.
    leaves: Vec<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    cap: Credits,
    tick: Credits,
    until: UnixTime,
    root: Digest,
}

/// Somebody's promise that its witnesses certified, as [`super::super::witness`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Who pays.
    pub payer: NodeId,
    /// Who is paid.
    pub payee: NodeId,
    /// Which promise.
    pub turn: u64,
    /// How much came of it.
    pub amount: Credits,
    /// Digest of what was certified.
    pub statement: Digest,
}

/// Why an entry was refused. The fold is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// It belongs to another log.
    Stranger,
    /// It has another number than the next.
    Number {
        /// The next.
        next: u64,
    },
    /// It does not follow the last entry.
    Link,
    /// A log begins with its opening, and has one.
    Opening,
    /// So many entries without a checkpoint are enough.
    Due,
    /// A set of 3f+1 has an f from 1 to 33.
    Faults,
    /// It pays itself.
    Itself,
    /// The amount is not worth an entry.
    Dust {
        /// What is.
        least: Credits,
    },
    /// A tick is worth nothing, the cap is no whole number of ticks, or there would be more ticks than are allowed; of a deposit,
    /// more than one.
    Ticks,
    /// It has another turn than the next with this payee.
    Turn {
        /// The next.
        next: u64,
    },
    /// There are as many others, or as many open holds, as are kept.
    Full {
        /// How many.
        limit: usize,
    },
    /// It may spend too little.
    Short {
        /// How much is missing.
        missing: Credits,
    },
    /// No certificate shows what it refers to.
    Unproven,
    /// The certificate is about another payment, or of another amount.
    Mismatch,
    /// This promise was received before, or is given up, as [`MISSING_MAX`] later ones are missing too.
    Repeated,
    /// A balance would leave what 64 bits hold.
    Overflow,
    /// There is no such open hold.
    Unheld,
    /// The root is not that of the entries.
    Root,
    /// The state is not that of the log.
    State,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => f.write_str("it belongs to another log"),
            Self::Number { next } => write!(f, "the next entry is number {next}"),
            Self::Link => f.write_str("it does not follow the last entry"),
            Self::Opening => f.write_str("a log begins with its opening, and has one"),
            Self::Due => write!(f, "after {EVERY} entries a checkpoint is due"),
            Self::Faults => f.write_str("f must be from 1 to 33"),
            Self::Itself => f.write_str("an account cannot pay itself"),
            Self::Dust { least } => write!(f, "less than {least} is not worth an entry"),
            Self::Ticks => write!(f, "the cap must be 1 to {TICKS_MAX} whole ticks, of a deposit one"),
            Self::Turn { next } => write!(f, "the next turn with this payee is {next}"),
            Self::Full { limit } => write!(f, "no more than {limit} are kept"),
            Self::Short { missing } => write!(f, "the account is {missing} short"),
            Self::Unproven => f.write_str("no certificate shows it"),
            Self::Mismatch => f.write_str("the certificate is about something else"),
            Self::Repeated => f.write_str("this promise was received before"),
            Self::Overflow => f.write_str("the balance would not fit"),
            Self::Unheld => f.write_str("there is no such open hold"),
            Self::Root => f.write_str("the root is not that of the entries"),
            Self::State => f.write_str("the state is not that of the log"),
        }
    }
}

impl core::error::Error for Error {}

impl Fold {
    /// Of a log without entries.
    pub fn new(account: NodeId) -> Self {
        Self {
            account,
            next: 0,
            head: Digest([0; 32]),
            witnesses: Digest([0; 32]),
            faults: 0,
            balance: 0,
            held: 0,
            open: BTreeMap::new(),
            peers: Peers::default(),
            leaves: Vec::new(),
        }
    }

    /// Whose log.
    pub const fn account(&self) -> NodeId {
        self.account
    }

    /// Number of the next entry.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Number of the last checkpoint; 0 before the first.
    pub fn since(&self) -> u64 {
        self.next - self.leaves.len() as u64
    }

    /// Digest of the last entry.
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Digest of the set of witnesses.
    pub const fn witnesses(&self) -> Digest {
        self.witnesses
    }

    /// Received less paid, in micro-credits.
    pub const fn balance(&self) -> i64 {
        self.balance
    }

    /// Set aside in open holds.
    pub const fn held(&self) -> Credits {
        Credits(self.held)
    }

    /// What may be spent with this limit.
    pub fn spendable(&self, limit: Credits) -> Credits {
        Credits(u64::try_from(self.free(limit)).unwrap_or(0))
    }

    /// The turn of the next promise to `payee`.
    pub fn turn(&self, payee: &NodeId) -> u64 {
        self.peers.get(payee).map_or(0, |peer| peer.next)
    }

    /// The terms of an open hold.
    pub fn terms(&self, payee: &NodeId, turn: u64) -> Option<Terms> {
        let held = self.open.get(&(*payee, turn))?;
        Some(Terms { payee: *payee, turn, cap: held.cap, tick: held.tick, until: held.until, root: held.root })
    }

    /// The open holds: for whom, and which promise.
    pub fn open(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.open.keys().copied()
    }

    /// Whether `payee` was ever promised this; [`Self::terms`] says whether it is still open.
    pub fn promised(&self, payee: &NodeId, turn: u64) -> bool {
        turn < self.turn(payee)
    }

    /// Whether what came of this promise of `payer` was received.
    pub fn received(&self, payer: &NodeId, turn: u64) -> bool {
        self.peers.get(payer).is_some_and(|peer| !peer.owes(turn))
    }

    /// Whether a checkpoint must come next.
    pub fn is_due(&self) -> bool {
        self.leaves.len() as u64 >= EVERY && !on(Fault::CheckpointNeverDue)
    }

    /// What the log comes to, in one digest.
    pub fn digest(&self) -> Digest {
        hash(Tag::Fold, &[&self.encode()])
    }

    /// Root of the entries since the last checkpoint.
    pub fn root(&self) -> Digest {
        merkle::root(self.leaves.iter().copied())
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + 120 * self.open.len() + 40 * self.peers.len() + 32 * self.leaves.len());
        out.extend_from_slice(&self.account.0);
        put_number(&mut out, self.next);
        [self.head, self.witnesses].iter().for_each(|digest| out.extend_from_slice(&digest.0));
        out.push(self.faults);
        put_number(&mut out, (self.balance << 1 ^ self.balance >> 63) as u64);
        put_number(&mut out, self.held);
        put_number(&mut out, self.open.len() as u64);
        for ((payee, turn), held) in &self.open {
            out.extend_from_slice(&payee.0);
            [*turn, held.cap.0, held.tick.0, held.until.0].into_iter().for_each(|number| put_number(&mut out, number));
            out.extend_from_slice(&held.root.0);
        }
        self.peers.encode(&mut out);
        put_number(&mut out, self.leaves.len() as u64);
        self.leaves.iter().for_each(|leaf| out.extend_from_slice(&leaf.0));
        out
    }

    /// From bytes that somebody kept for us; whoever got them from elsewhere compares [`Self::digest`] with a certified one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let fold = Self::read(&mut reader).ok()?;
        (reader.0.is_empty() && fold.leaves.len() as u64 <= fold.next).then_some(fold)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let digest = |reader: &mut Reader<'_>| reader.array().map(|bytes| Digest(*bytes));
        let (account, next) = (reader.id()?, reader.number()?);
        let (head, witnesses, faults) = (digest(reader)?, digest(reader)?, reader.byte()?);
        let (zigzag, held) = (reader.number()?, reader.number()?);
        let mut open = BTreeMap::new();
        for _ in 0..reader.count(HOLDS_MAX)? {
            let place = (reader.id()?, reader.number()?);
            let (cap, tick) = (Credits(reader.number()?), Credits(reader.number()?));
            let (until, root) = (UnixTime(reader.number()?), digest(reader)?);
            open.insert(place, Held { cap, tick, until, root });
        }
        let peers = Peers::decode(reader)?;
        let leaves: Result<Vec<Digest>, CodecError> =
            (0..reader.count(EVERY as usize)?).map(|_| digest(reader)).collect();
        let balance = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        Ok(Self { account, next, head, witnesses, faults, balance, held, open, peers, leaves: leaves? })
    }

    /// The entry that writes `act` next.
    pub const fn draft(&self, act: Act) -> Entry {
        Entry { account: self.account, number: self.next, before: self.head(), act }
    }

    /// Takes in the next entry, of an account that may owe up to `limit`. `proven` is what a certificate showed, where the
    /// entry refers to one. Signatures are not looked at here.
    ///
    /// # Errors
    /// First [`Error::Stranger`], [`Error::Number`], [`Error::Link`], [`Error::Opening`], [`Error::Due`]; then, by act and in
    /// this order:
    /// - opening: [`Error::Faults`]
    /// - payment: [`Error::Itself`], [`Error::Dust`], [`Error::Turn`], [`Error::Full`], [`Error::Short`],
    ///   [`Error::Overflow`]
    /// - hold: [`Error::Itself`], [`Error::Dust`], [`Error::Ticks`], [`Error::Turn`], [`Error::Full`], [`Error::Short`]
    /// - receipt: [`Error::Unproven`], [`Error::Mismatch`], [`Error::Repeated`], [`Error::Full`], [`Error::Overflow`]
    /// - release: [`Error::Unheld`], [`Error::Unproven`], [`Error::Mismatch`]
    /// - other witnesses: [`Error::Faults`], [`Error::State`]
    /// - checkpoint: [`Error::Root`], [`Error::State`]
    pub fn apply(&mut self, entry: &Entry, proven: Option<&Proven>, limit: Credits) -> Result<(), Error> {
        self.apply_as(entry, &entry.digest(), proven, limit)
    }

    /// [`Self::apply`] for whoever has computed the entry's digest already.
    pub(crate) fn apply_as(
        &mut self,
        entry: &Entry,
        digest: &Digest,
        proven: Option<&Proven>,
        limit: Credits,
    ) -> Result<(), Error> {
        if entry.account != self.account {
            return Err(Error::Stranger);
        }
        if entry.number != self.next && !on(Fault::EntryNumberUnchecked) {
            return Err(Error::Number { next: self.next });
        }
        if entry.before != self.head && !on(Fault::EntryLinkUnchecked) {
            return Err(Error::Link);
        }
        if matches!(entry.act, Act::Open { .. }) != (self.next == 0) {
            return Err(Error::Opening);
        }
        if self.is_due() && !matches!(entry.act, Act::Checkpoint { .. }) {
            return Err(Error::Due);
        }
        match &entry.act {
            Act::Open { witnesses, faults } => {
                faults_are_sane(*faults)?;
                (self.witnesses, self.faults) = (*witnesses, *faults);
            }
            Act::Pay { payee, turn, amount } => {
                self.may_promise(payee, *turn, *amount, limit)?;
                // It fits: what is free is at most balance + limit, and the amount is not above it; but for a balance near
                // the lower end with a limit beyond it.
                self.balance = less(self.balance, *amount)?;
                self.promise(*payee);
            }
            Act::Hold(terms) => {
                self.check_ticks(terms)?;
                self.may_promise(&terms.payee, terms.turn, terms.cap, limit)?;
                if self.open.len() >= HOLDS_MAX {
                    return Err(Error::Full { limit: HOLDS_MAX });
                }
                let Terms { payee, turn, cap, tick, until, root } = *terms;
                self.held += if on(Fault::CapNotSetAside) { 0 } else { cap.0 };
                self.open.insert((payee, turn), Held { cap, tick, until, root });
                self.promise(payee);
            }
            Act::Receive { payer, turn, amount, statement } => {
                let claim =
                    Proven { payer: *payer, payee: self.account, turn: *turn, amount: *amount, statement: *statement };
                self.receive(&claim, proven)?;
            }
            Act::Release { payee, turn, amount, statement } => {
                let held = *self.open.get(&(*payee, *turn)).ok_or(Error::Unheld)?;
                let claim =
                    Proven { payer: self.account, payee: *payee, turn: *turn, amount: *amount, statement: *statement };
                let claim = if on(Fault::ReleasedUnproven) { proven.copied().unwrap_or(claim) } else { claim };
                let proven = if on(Fault::ReleasedUnproven) { &claim } else { proven.ok_or(Error::Unproven)? };
                if *proven != claim || *amount > held.cap {
                    return Err(Error::Mismatch);
                }
                self.balance = less(self.balance, *amount)?;
                self.held = self.held.saturating_sub(held.cap.0);
                self.open.remove(&(*payee, *turn));
            }
            Act::Renew { witnesses, faults, state } => {
                faults_are_sane(*faults)?;
                if *state != self.digest() && !on(Fault::StateUnchecked) {
                    return Err(Error::State);
                }
                (self.witnesses, self.faults) = (*witnesses, *faults);
            }
            Act::Checkpoint { root, state } => {
                // What the state says is not changed by this, and its bytes are written faster.
                self.peers.settle();
                if *root != self.root() && !on(Fault::RootUnchecked) {
                    return Err(Error::Root);
                }
                if *state != self.digest() && !on(Fault::StateUnchecked) {
                    return Err(Error::State);
                }
                self.leaves.clear();
            }
        }
        self.follow(digest);
        Ok(())
    }

    /// Takes in the checkpoint that comes next, and returns it with its digest: as [`Self::apply`] does, but what an own one says is
    /// computed once, and not again to be compared.
    pub(super) fn checkpoint(&mut self) -> Result<(Entry, Digest), Error> {
        if self.next == 0 {
            return Err(Error::Opening);
        }
        self.peers.settle();
        let entry = self.draft(Act::Checkpoint { root: self.root(), state: self.digest() });
        let digest = entry.digest();
        self.leaves.clear();
        self.follow(&digest);
        Ok((entry, digest))
    }

    /// Lets go of what only whoever takes in the next entry needs: with whom the account dealt, and which entries there were. A
    /// fold that let go comes to nothing that could be compared, and takes in nothing.
    pub(in crate::economy) fn let_go(&mut self) {
        (self.peers, self.leaves) = (Peers::default(), Vec::new());
    }

    /// The last entry is now the one with this digest.
    fn follow(&mut self, digest: &Digest) {
        self.head = *digest;
        self.leaves.push(self.head);
        self.next += 1;
    }

    fn free(&self, limit: Credits) -> i128 {
        i128::from(self.balance) + i128::from(limit.0) - i128::from(self.held)
    }

    fn check_ticks(&self, terms: &Terms) -> Result<(), Error> {
        if terms.payee == self.account {
            return Err(Error::Itself);
        }
        if terms.cap < DUST {
            return Err(Error::Dust { least: DUST });
        }
        let whole = terms.tick.0 > 0 && terms.cap.0.is_multiple_of(terms.tick.0);
        let most = if terms.is_deposit() && !on(Fault::DepositInParts) { 1 } else { TICKS_MAX };
        if !whole || terms.cap.0 / terms.tick.0 > most { Err(Error::Ticks) } else { Ok(()) }
    }

    fn may_promise(&self, payee: &NodeId, turn: u64, amount: Credits, limit: Credits) -> Result<(), Error> {
        if *payee == self.account {
            return Err(Error::Itself);
        }
        if amount < DUST && !on(Fault::DustTaken) {
            return Err(Error::Dust { least: DUST });
        }
        let next = self.turn(payee);
        if turn != next && !on(Fault::TurnUnchecked) {
            return Err(Error::Turn { next });
        }
        self.has_room(payee)?;
        let left = self.free(limit) - i128::from(amount.0);
        if left < 0 && !on(Fault::EntryLimitUnchecked) {
            return Err(Error::Short { missing: Credits(u64::try_from(-left).unwrap_or(u64::MAX)) });
        }
        Ok(())
    }

    fn promise(&mut self, payee: NodeId) {
        self.peers.entry(payee).next += 1;
    }

    fn has_room(&self, other: &NodeId) -> Result<(), Error> {
        if self.peers.len() >= PEERS_MAX && self.peers.get(other).is_none() {
            return Err(Error::Full { limit: PEERS_MAX });
        }
        Ok(())
    }

    fn receive(&mut self, claim: &Proven, proven: Option<&Proven>) -> Result<(), Error> {
        let proven =
            if on(Fault::ReceivedUnproven) { proven.unwrap_or(claim) } else { proven.ok_or(Error::Unproven)? };
        if proven != claim && !on(Fault::ReceivedOtherAmount) {
            return Err(Error::Mismatch);
        }
        if self.received(&claim.payer, claim.turn) && !on(Fault::ReceivedTwice) {
            return Err(Error::Repeated);
        }
        self.has_room(&claim.payer)?;
        let amount = i64::try_from(claim.amount.0).map_err(|_| Error::Overflow)?;
        self.balance = self.balance.checked_add(amount).ok_or(Error::Overflow)?;
        self.peers.entry(claim.payer).receive(claim.turn);
        Ok(())
    }
}

const fn faults_are_sane(faults: u8) -> Result<(), Error> {
    if faults >= 1 && faults <= 33 { Ok(()) } else { Err(Error::Faults) }
}

fn less(balance: i64, amount: Credits) -> Result<i64, Error> {
    let amount = i64::try_from(amount.0).map_err(|_| Error::Overflow)?;
    balance.checked_sub(amount).ok_or(Error::Overflow)
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

    use super::*;
    use crate::{economy::ledger::entry::COMMONS, kit::UnixTime};

    const LIMIT: Credits = Credits(10_000);

    fn who(letter: &str) -> NodeId {
        if letter == "all" { COMMONS } else { NodeId::number(letter.as_bytes()[0].into()) }
    }

    fn open() -> Act {
        Act::Open { witnesses: Digest([1; 32]), faults: 1 }
    }

    /// One line an attempt on the log of `a`:
    /// `pay b TURN AMOUNT`, `hold b TURN CAP TICK`, `get b TURN AMOUNT [PROVEN]`, `end b TURN AMOUNT [PROVEN]`.
    fn run(script: &str) -> String {
        let mut fold = Fold::new(who("a"));
        let mut lines = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |n: usize| words.get(n).and_then(|word| word.parse::<u64>().ok());
            let (turn, amount) = (number(2).unwrap_or(0), Credits(number(3).unwrap_or(0)));
            let other = || who(words[1]);
            let statement = Digest([turn as u8; 32]);
            let mut proven = None;
            let act = match words[0] {
                "open" => Act::Open { witnesses: Digest([1; 32]), faults: number(1).unwrap_or(1) as u8 },
                "pay" => Act::Pay { payee: other(), turn, amount },
                "hold" => Act::Hold(Terms {
                    payee: other(),
                    turn,
                    cap: amount,
                    tick: Credits(number(4).unwrap()),
                    until: UnixTime(5),
                    root: Digest([3; 32]),
                }),
                "get" => {
                    let at = number(4).map(Credits);
                    proven = at.map(|amount| Proven { payer: other(), payee: who("a"), turn, amount, statement });
                    Act::Receive { payer: other(), turn, amount, statement }
                }
                "end" => {
                    let at = number(4).map(Credits);
                    proven = at.map(|amount| Proven { payer: who("a"), payee: other(), turn, amount, statement });
                    Act::Release { payee: other(), turn, amount, statement }
                }
                "renew" => {
                    let state = if words.len() > 2 { Digest([0; 32]) } else { fold.digest() };
                    Act::Renew { witnesses: Digest([2; 32]), faults: number(1).unwrap() as u8, state }
                }
                _ => Act::Checkpoint {
                    root: if words[1] == "root" { Digest([0; 32]) } else { fold.root() },
                    state: if words[1] == "state" { Digest([0; 32]) } else { fold.digest() },
                },
            };
            let before = fold.clone();
            let outcome = match fold.apply(&before.draft(act), proven.as_ref(), LIMIT) {
                Ok(()) => String::from("yes"),
                Err(error) => {
                    assert_eq!(fold, before, "a refusal changes nothing: {line}");
                    format!("{error}")
                }
            };
            lines += &format!("{line:<22} {outcome:<42} {} {}\n", fold.balance(), fold.held);
        }
        lines
    }

    #[test]
    fn every_attempt_and_every_refusal() {
        let script = "pay b 0 5000\n open 0\n open 34\n open 1\n open 1
            pay a 1 5\n pay b 1 999\n pay b 1 5000\n pay b 0 10001\n pay b 0 4000\n pay b 0 4000\n pay b 1 1000
            hold a 0 5 0\n hold b 2 999 0\n hold b 2 2000 0\n hold b 2 2000 3\n hold b 2 65537000 1\n hold b 3 2000 1000
            hold b 2 6000 1000\n hold b 2 3000 1000
            get c 0 700\n get c 0 700 800\n get c 0 700 700\n get c 0 700 700\n get c 2 50 50\n get c 2 50 50\n get c 1 1 1
            get d 0 9223372036854775807 9223372036854775807
            end b 0 1\n end b 2 2000\n end b 2 2000 1000\n end b 2 4000 4000\n end b 2 2000 2000\n end b 2 2000 2000
            renew 0 bad\n renew 2 bad\n renew 2\n point root\n point state\n point\n pay b 3 1000
            hold all 0 4000 1000\n hold all 0 4000 4000\n hold all 0 4000 4000\n end all 0 4000\n end all 0 4000 4000\n hold all 1 4000 4000
            end all 1 0 0";
        let script = script.replace("point\n", "point now\n");
        assert_eq!(
            run(&script),
            "pay b 0 5000           a log begins with its opening, and has one 0 0\n\
             open 0                 f must be from 1 to 33                     0 0\n\
             open 34                f must be from 1 to 33                     0 0\n\
             open 1                 yes                                        0 0\n\
             open 1                 a log begins with its opening, and has one 0 0\n\
             pay a 1 5              an account cannot pay itself               0 0\n\
             pay b 1 999            less than 0.001 is not worth an entry      0 0\n\
             pay b 1 5000           the next turn with this payee is 0         0 0\n\
             pay b 0 10001          the account is 0.000001 short              0 0\n\
             pay b 0 4000           yes                                        -4000 0\n\
             pay b 0 4000           the next turn with this payee is 1         -4000 0\n\
             pay b 1 1000           yes                                        -5000 0\n\
             hold a 0 5 0           an account cannot pay itself               -5000 0\n\
             hold b 2 999 0         less than 0.001 is not worth an entry      -5000 0\n\
             hold b 2 2000 0        the cap must be 1 to 65536 whole ticks, of a deposit one -5000 0\n\
             hold b 2 2000 3        the cap must be 1 to 65536 whole ticks, of a deposit one -5000 0\n\
             hold b 2 65537000 1    the cap must be 1 to 65536 whole ticks, of a deposit one -5000 0\n\
             hold b 3 2000 1000     the next turn with this payee is 2         -5000 0\n\
             hold b 2 6000 1000     the account is 0.001 short                 -5000 0\n\
             hold b 2 3000 1000     yes                                        -5000 3000\n\
             get c 0 700            no certificate shows it                    -5000 3000\n\
             get c 0 700 800        the certificate is about something else    -5000 3000\n\
             get c 0 700 700        yes                                        -4300 3000\n\
             get c 0 700 700        this promise was received before           -4300 3000\n\
             get c 2 50 50          yes                                        -4250 3000\n\
             get c 2 50 50          this promise was received before           -4250 3000\n\
             get c 1 1 1            yes                                        -4249 3000\n\
             get d 0 9223372036854775807 9223372036854775807 yes                                        9223372036854771558 3000\n\
             end b 0 1              there is no such open hold                 9223372036854771558 3000\n\
             end b 2 2000           no certificate shows it                    9223372036854771558 3000\n\
             end b 2 2000 1000      the certificate is about something else    9223372036854771558 3000\n\
             end b 2 4000 4000      the certificate is about something else    9223372036854771558 3000\n\
             end b 2 2000 2000      yes                                        9223372036854769558 0\n\
             end b 2 2000 2000      there is no such open hold                 9223372036854769558 0\n\
             renew 0 bad            f must be from 1 to 33                     9223372036854769558 0\n\
             renew 2 bad            the state is not that of the log           9223372036854769558 0\n\
             renew 2                yes                                        9223372036854769558 0\n\
             point root             the root is not that of the entries        9223372036854769558 0\n\
             point state            the state is not that of the log           9223372036854769558 0\n\
             point now              yes                                        9223372036854769558 0\n\
             pay b 3 1000           yes                                        9223372036854768558 0\n\
             hold all 0 4000 1000   the cap must be 1 to 65536 whole ticks, of a deposit one 9223372036854768558 0\n\
             hold all 0 4000 4000   yes                                        9223372036854768558 4000\n\
             hold all 0 4000 4000   the next turn with this payee is 1         9223372036854768558 4000\n\
             end all 0 4000         no certificate shows it                    9223372036854768558 4000\n\
             end all 0 4000 4000    yes                                        9223372036854764558 0\n\
             hold all 1 4000 4000   yes                                        9223372036854764558 4000\n\
             end all 1 0 0          yes                                        9223372036854764558 0\n"
        );
    }

    #[test]
    fn entries_come_in_their_order_and_none_is_taken_twice() {
        let mut fold = Fold::new(who("a"));
        let first = fold.draft(open());
        assert_eq!(fold.apply(&Entry { account: who("b"), ..first.clone() }, None, LIMIT), Err(Error::Stranger));
        assert_eq!(fold.apply(&first, None, LIMIT), Ok(()));
        assert_eq!(fold.apply(&first, None, LIMIT), Err(Error::Number { next: 1 }));
        let pay = Act::Pay { payee: who("b"), turn: 0, amount: Credits(1000) };
        let loose = Entry { before: Digest([9; 32]), ..fold.draft(pay) };
        assert_eq!(fold.apply(&loose, None, LIMIT), Err(Error::Link));
        assert_eq!(Fold::decode(&fold.encode()), Some(fold));
    }

    #[test]
    fn a_checkpoint_is_due_after_so_many_entries_and_the_tables_have_an_end() {
        let mut fold = Fold::new(who("a"));
        let all = Credits(u64::MAX >> 8);
        let write = |fold: &mut Fold, act| fold.apply(&fold.draft(act), None, all);
        write(&mut fold, open()).unwrap();
        let pay = |turn| Act::Pay { payee: who("b"), turn, amount: DUST };
        (0..EVERY - 1).for_each(|turn| write(&mut fold, pay(turn)).unwrap());
        assert_eq!(write(&mut fold, pay(EVERY - 1)), Err(Error::Due));
        let point = Act::Checkpoint { root: fold.root(), state: fold.digest() };
        write(&mut fold, point).unwrap();
        write(&mut fold, pay(EVERY - 1)).unwrap();
        let hold = |turn| {
            let (cap, tick) = (DUST, DUST);
            Act::Hold(Terms { payee: who("c"), turn, cap, tick, until: UnixTime(0), root: Digest([0; 32]) })
        };
        (0..EVERY - 2).for_each(|turn| write(&mut fold, hold(turn)).unwrap());
        let point = Act::Checkpoint { root: fold.root(), state: fold.digest() };
        write(&mut fold, point).unwrap();
        (EVERY - 2..EVERY).for_each(|turn| write(&mut fold, hold(turn)).unwrap());
        assert_eq!(write(&mut fold, hold(EVERY)), Err(Error::Full { limit: HOLDS_MAX }));
    }
}
