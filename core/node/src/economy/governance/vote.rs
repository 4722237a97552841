//! One vote: who may cast what, promises, openings, and what all of them come to.
//!
//! **Votes cost their square.** A member casts √(cost × trust) votes, for a cost out of its budget: twice the votes for four
//! times the cost. Its budget is what it has locked, and no more than a cap for its trust. Doubling both trust and cost
//! doubles the votes, so it makes no difference into how many identities somebody splits (√ of a product is homogeneous, and
//! by the inequality of Cauchy and Schwarz no uneven split gains either); plain quadratic voting would give the square root
//! of the number of identities.
//!
//! **Who never disagreed counts as one opinion less.** Two members on one side weigh together with k = M / (M + s), where
//! s of their last eight common votes showed no disagreement. A member without a past has shown none with anybody.
//!
//! **Promise, then open.** First the digest of a vote is cast, and may be replaced until promises close: what somebody sold
//! can be replaced by the next. Then votes are opened.
//!
//! **A snapshot is its author's word.** Nothing in anybody's log shows what is locked, and trust is seen differently by each
//! viewer. So each judges by its own view of trust alone, and looks at what a snapshot comes to: the full votes of each, in
//! which trust, what is locked, the pool and the total all have their part. See [`Snapshot::is_near`]:
//!
//! | an author | gets away with at most | so |
//! |---|---|---|
//! | gives votes to those whom a viewer does not trust | a quarter of all votes | alone they are less than a quorum, 30 % |
//! | gives more to some than their share of trust | twice that share, each | a tenth of the trust gets a fifth of the votes |
//! | leaves out whom a viewer trusts | a quarter of its trust | the others can say no |
//! | does all of that | a quarter, and twice the share of its friends | friends with an eighth of the trust make it half |
//!
//! Where views differ by a third, and one in twenty is known to one of two only, a snapshot that is drawn up by its author's view
//! loses a twentieth of its votes to a viewer. The other four are for those who joined lately.
//!
//! Source: S. Lalley, G. Weyl, "Quadratic Voting" (2018); V. Buterin, "Pairwise coordination subsidies" (2019), for k. We
//! leave two things there: trust under the root, which takes the place of one person, one voice; and s counts votes, not
//! credits, so that blocs of equal history are weighed at once and a million ballots take no trillion of pairs.

use alloc::{collections::BTreeMap, vec::Vec};

use super::parameter::Protection;
use crate::kit::{
    Credits, Digest, Domain, NodeId, Ppm, Signature, Signer, Verifier,
    fault::{Fault, on},
    hash::{Tag, hash},
};

/// What one member may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Who.
    pub voter: NodeId,
    /// What it has locked for voting.
    pub locked: Credits,
    /// Its trust, in the unit of `Snapshot::total`.
    pub trust: u64,
}

/// Who could vote when the proposal was made. Nothing that moves later counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    rights: Vec<Right>,
    total: u64,
    pool: Credits,
}

/// Members of one vote.
pub const VOTERS_MAX: usize = 1 << 21;
/// Votes of the past that are looked at.
pub const PAST: u32 = 8;
/// M of k = M / (M + s): who never disagreed in eight votes weighs half of a pair that always did.
const PAIR: u128 = 8;
/// How far a delegation is followed.
const CHAIN_MAX: usize = 8;
/// How many times the share of one member may be greater in one view than in another.
const APART: u128 = 2;
/// Three quarters of all votes must be borne out by a viewer's trust, and of that by the votes: what is made up is then less than
/// [`QUORUM`].
const BORNE: (u128, u128) = (3, 4);

impl Snapshot {
    /// Of these rights, where `total` is the trust of all, and all together may spend `pool` on one vote: each the share of
    /// its trust, if it has locked so much. `None` if somebody stands there twice, has more trust than all, or there are too
    /// many.
    pub fn new(mut rights: Vec<Right>, total: u64, pool: Credits) -> Option<Self> {
        rights.sort_unstable_by_key(|right| right.voter);
        let distinct = rights.is_sorted_by(|a, b| a.voter < b.voter);
        let right = distinct && rights.len() <= VOTERS_MAX && rights.iter().all(|right| right.trust <= total);
        right.then_some(Self { rights, total, pool })
    }

    /// What it is known by.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(48 * self.rights.len() + 16);
        bytes.extend_from_slice(&self.total.to_be_bytes());
        bytes.extend_from_slice(&self.pool.0.to_be_bytes());
        for right in &self.rights {
            bytes.extend_from_slice(&right.voter.0);
            bytes.extend_from_slice(&right.locked.0.to_be_bytes());
            bytes.extend_from_slice(&right.trust.to_be_bytes());
        }
        hash(Tag::Snapshot, &[&bytes])
    }

    /// Everybody, by id.
    pub fn rights(&self) -> &[Right] {
        &self.rights
    }

    /// The trust of all.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// What all together may spend on one vote.
    pub const fn pool(&self) -> Credits {
        self.pool
    }

    /// Whether `me`, which trusts each in `view` so much, takes it for drawn up and not made up: all but a quarter of the votes are
    /// those of members who have at least half of that share of its trust, and all but a quarter of its trust is that of members
    /// who have at least half of that share of the votes. What is above counts as far as it is borne out.
    ///
    /// `me` is left out on both sides, as everybody believes itself most. Who trusts nobody else can judge nothing.
    pub fn is_near(&self, view: &[(NodeId, u64)], me: &NodeId) -> bool {
        // Shares are parts of 2^32: what is rounded down is nothing beside a quarter.
        let share = |part: u128, all: u128| (part << 32).checked_div(all).unwrap_or(0);
        let full = |right: &Right| self.votes(right, Ppm::ALL);
        let votes: u128 = self.rights.iter().filter(|right| right.voter != *me).map(full).sum();
        let others = || view.iter().filter(|member| member.0 != *me);
        let trust: u128 = others().map(|member| u128::from(member.1)).sum();
        let (mut backed, mut kept) = (0, 0);
        for (member, trusted) in others() {
            let given = self.index(member).map_or(0, |at| share(full(&self.rights[at]), votes));
            let trusted = share(u128::from(*trusted), trust);
            backed += given.min(APART * trusted);
            kept += trusted.min(APART * given);
        }
        backed.min(kept) * BORNE.1 >= BORNE.0 << 32
    }

    /// Whether somebody may vote.
    pub fn has(&self, voter: &NodeId) -> bool {
        self.index(voter).is_some()
    }

    fn index(&self, voter: &NodeId) -> Option<usize> {
        self.rights.binary_search_by(|right| right.voter.cmp(voter)).ok()
    }

    /// What a member may spend: what it locked, capped by its trust.
    pub fn budget(&self, right: &Right) -> Credits {
        let cap = u128::from(self.pool.0) * u128::from(right.trust) / u128::from(self.total.max(1));
        if on(Fault::BudgetWithoutTrust) {
            return right.locked;
        }
        right.locked.min(Credits(u64::try_from(cap).unwrap_or(u64::MAX)))
    }

    /// The votes of a member that spends `share` of its budget; in a unit of its own.
    fn votes(&self, right: &Right, share: Ppm) -> u128 {
        let cost = share.of(self.budget(right).0);
        if on(Fault::VotesCostLinearly) {
            return cost.into();
        }
        (u128::from(cost) * u128::from(right.trust)).isqrt()
    }
}

/// For or against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Choice {
    /// Yes.
    For = 1,
    /// No.
    Against = 2,
    /// Neither, but present.
    Abstain = 3,
}

/// What a member wants, and how much of its budget it spends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// What.
    pub choice: Choice,
    /// How much; what is above all counts as all.
    pub share: Ppm,
}

impl Ballot {
    /// The digest to promise, with 32 bytes that nobody can guess.
    pub fn seal(&self, proposal: &Digest, voter: &NodeId, salt: &[u8; 32]) -> Digest {
        hash(Tag::Ballot, &[&proposal.0, &voter.0, &[self.choice as u8], &self.share.0.to_be_bytes(), salt])
    }
}

/// A promise to vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// On what.
    pub proposal: Digest,
    /// Who.
    pub voter: NodeId,
    /// The highest counts.
    pub serial: u32,
    /// [`Ballot::seal`].
    pub sealed: Digest,
    /// By the voter.
    pub signature: Signature,
}

impl Promise {
    /// Promises.
    pub fn new(proposal: Digest, serial: u32, sealed: Digest, keys: &impl Signer) -> Self {
        let voter = keys.key();
        let signature = keys.sign(Domain::Ballot, &[&proposal.0, &serial.to_be_bytes(), &sealed.0]);
        Self { proposal, voter, serial, sealed, signature }
    }

    /// What the voter signed.
    pub fn message(&self) -> [u8; 68] {
        let mut out = [0; 68];
        out[..32].copy_from_slice(&self.proposal.0);
        out[32..36].copy_from_slice(&self.serial.to_be_bytes());
        out[36..].copy_from_slice(&self.sealed.0);
        out
    }

    /// Whether the voter did.
    pub fn holds(&self, verifier: &impl Verifier) -> bool {
        verifier.verify(&self.voter, Domain::Ballot, &[&self.message()], &self.signature)
    }
}

/// A vote is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// On what.
    pub proposal: Digest,
    /// Who.
    pub voter: NodeId,
    /// What.
    pub ballot: Ballot,
    /// As it was sealed.
    pub salt: [u8; 32],
}

/// Why a promise or an opening does not count. The urn is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Promises are not taken any more, or votes not opened yet.
    Phase,
    /// It is about another proposal.
    Other,
    /// The voter is not in the snapshot.
    Stranger,
    /// There is a later promise.
    Old {
        /// Its number.
        serial: u32,
    },
    /// It was heard before, or changes nothing: of two promises with one number neither counts, whatever a third one says.
    Known,
    /// The voter did not sign it.
    Forged,
    /// The voter promised nothing, or two things at once.
    Unpromised,
    /// It is not what was promised.
    Broken,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Phase => f.write_str("it is not the time for it"),
            Self::Other => f.write_str("it is about another proposal"),
            Self::Stranger => f.write_str("the voter could not vote when the proposal was made"),
            Self::Old { serial } => write!(f, "promise {serial} came later and holds"),
            Self::Known => f.write_str("it changes nothing"),
            Self::Forged => f.write_str("the voter did not sign it"),
            Self::Unpromised => f.write_str("the voter promised nothing, or two things at once"),
            Self::Broken => f.write_str("it is not what the voter promised"),
        }
    }
}

impl core::error::Error for Error {}

/// All ballots on one proposal.
#[derive(Clone, Debug, PartialEq)]
pub struct Urn {
    proposal: Digest,
    snapshot: Snapshot,
    /// By place in the snapshot.
    ballots: Vec<State>,
    /// Who votes for whom where they stay silent, by place.
    delegates: Vec<Option<u32>>,
    opened: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Silent,
    Promised {
        serial: u32,
        sealed: Digest,
    },
    /// Two promises with one number: neither counts.
    Double {
        serial: u32,
    },
    /// What was promised stays, so that whoever opens it again, with whatever salt, is told apart from who says something else.
    Opened {
        sealed: Digest,
        ballot: Ballot,
    },
}

/// What a vote came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Influence for it, in a unit of its own.
    pub yes: u128,
    /// Influence against it.
    pub no: u128,
    /// Full votes of all who were present, themselves or by a delegate; and of all who could have been.
    pub present: u128,
    /// See there.
    pub all: u128,
    /// Over the proposal, all ballots and all of the above: the same for everybody who has the same ballots.
    pub digest: Digest,
}

/// Share of all votes that must be present: the predecessor's.
const QUORUM: u128 = 30;

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough agreed.
    Passed,
    /// Not enough agreed.
    Rejected,
    /// Not enough were present.
    Expired,
}

impl Tally {
    /// What it means under this protection.
    pub fn verdict(&self, protection: Protection) -> Verdict {
        if (self.all == 0 || self.present * 100 < self.all * QUORUM) && !on(Fault::QuorumIgnored) {
            return Verdict::Expired;
        }
        if on(Fault::MajorityIgnored) || protection.agrees(self.yes, self.yes + self.no) {
            Verdict::Passed
        } else {
            Verdict::Rejected
        }
    }
}

/// How members voted lately: two bits a vote, the last one lowest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past(BTreeMap<NodeId, u16>);

impl Past {
    fn of(&self, voter: &NodeId) -> u16 {
        self.0.get(voter).copied().unwrap_or(0)
    }

    /// Takes in a vote that is over. Who was silent for eight is forgotten.
    pub fn record(&mut self, choices: impl IntoIterator<Item = (NodeId, Choice)>) {
        self.0.values_mut().for_each(|past| *past <<= 2);
        for (voter, choice) in choices {
            let side = if choice == Choice::Abstain { 0 } else { choice as u16 };
            *self.0.entry(voter).or_default() |= side;
        }
        self.0.retain(|_, past| *past != 0);
    }
}

impl Urn {
    /// An empty urn. `delegates` says who votes for whom; those who could not vote are passed over.
    pub fn new(proposal: Digest, snapshot: Snapshot, delegates: &BTreeMap<NodeId, NodeId>) -> Self {
        let ballots = alloc::vec![State::Silent; snapshot.rights.len()];
        let mut urn = Self { proposal, snapshot, ballots, delegates: Vec::new(), opened: false };
        urn.delegate(delegates);
        urn
    }

    /// From now on these vote for those who stay silent, and nobody else does.
    pub fn delegate(&mut self, delegates: &BTreeMap<NodeId, NodeId>) {
        let place = |voter: &NodeId| self.snapshot.index(voter).map(|at| at as u32);
        let of = |right: &Right| delegates.get(&right.voter).and_then(place);
        self.delegates = self.snapshot.rights.iter().map(of).collect();
    }

    /// Who may vote.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Promises are over; votes are opened from now on.
    pub const fn open(&mut self) {
        self.opened = true;
    }

    /// Whether promises are over.
    pub const fn is_open(&self) -> bool {
        self.opened
    }

    /// Takes a promise in.
    ///
    /// # Errors
    /// [`Error::Phase`], [`Error::Other`], [`Error::Stranger`], [`Error::Old`], [`Error::Known`], [`Error::Forged`], in this order of
    /// checks: the dear one last.
    pub fn promise(&mut self, promise: &Promise, verifier: &impl Verifier) -> Result<(), Error> {
        let at = self.expected(promise)?;
        if !promise.holds(verifier) {
            return Err(Error::Forged);
        }
        self.take(at, promise);
        Ok(())
    }

    /// Takes a promise in whose signature was checked, with many others at once.
    ///
    /// # Errors
    /// As [`Self::promise`], but the last.
    pub fn promise_checked(&mut self, promise: &Promise) -> Result<(), Error> {
        let at = self.expected(promise)?;
        self.take(at, promise);
        Ok(())
    }

    /// Opens a vote.
    ///
    /// # Errors
    /// [`Error::Phase`], [`Error::Other`], [`Error::Stranger`], [`Error::Unpromised`], [`Error::Broken`], [`Error::Known`], in this
    /// order of checks.
    pub fn reveal(&mut self, opening: &Opening) -> Result<(), Error> {
        if !self.opened {
            return Err(Error::Phase);
        }
        if opening.proposal != self.proposal {
            return Err(Error::Other);
        }
        let at = self.snapshot.index(&opening.voter).ok_or(Error::Stranger)?;
        let (sealed, opened) = match self.ballots[at] {
            State::Silent | State::Double { .. } => return Err(Error::Unpromised),
            State::Promised { sealed, .. } => (sealed, false),
            State::Opened { sealed, .. } => (sealed, true),
        };
        if opening.ballot.seal(&self.proposal, &opening.voter, &opening.salt) != sealed && !on(Fault::OpeningUnchecked)
        {
            return Err(Error::Broken);
        }
        if opened && !on(Fault::BallotMultiplied) {
            return Err(Error::Known);
        }
        self.ballots[at] = State::Opened { sealed, ballot: opening.ballot };
        Ok(())
    }

    /// Who voted how, themselves.
    pub fn choices(&self) -> impl Iterator<Item = (NodeId, Choice)> {
        self.snapshot.rights.iter().zip(&self.ballots).filter_map(|(right, state)| match state {
            State::Opened { ballot, .. } => Some((right.voter, ballot.choice)),
            _ => None,
        })
    }

    /// What it comes to. Takes time for each member once, and for each pair of pasts.
    pub fn tally(&self, past: &Past) -> Tally {
        let (mut present, mut all) = (0, 0);
        let mut blocs: [BTreeMap<u16, u128>; 2] = [BTreeMap::new(), BTreeMap::new()];
        let mut bytes = Vec::new();
        for (at, right) in self.snapshot.rights.iter().enumerate() {
            let full = self.snapshot.votes(right, Ppm::ALL);
            all += full;
            let Some(ballot) = self.ballot(at) else { continue };
            present += full;
            let share = ballot.share.min(Ppm::ALL);
            bytes.extend_from_slice(&(at as u32).to_be_bytes());
            bytes.push(ballot.choice as u8);
            bytes.extend_from_slice(&share.0.to_be_bytes());
            let side = match ballot.choice {
                Choice::For => 0,
                Choice::Against => 1,
                Choice::Abstain => continue,
            };
            *blocs[side].entry(past.of(&right.voter)).or_default() += self.snapshot.votes(right, share);
        }
        let [yes, no] = influences(&blocs);
        let numbers: Vec<u8> = [yes, no, present, all].iter().flat_map(|number| number.to_be_bytes()).collect();
        let digest = hash(Tag::Tally, &[&self.proposal.0, &self.snapshot.digest().0, &numbers, &bytes]);
        Tally { yes, no, present, all, digest }
    }

    /// The ballot that counts for a member: its own, or its delegate's if it promised nothing.
    fn ballot(&self, at: usize) -> Option<Ballot> {
        let delegated = |at: usize| on(Fault::DelegateVotesForVoters) && self.delegates[at].is_some();
        let mut at = at;
        for hop in 0..=CHAIN_MAX {
            match self.ballots[at] {
                State::Opened { ballot, .. } if hop > 0 || !delegated(at) => return Some(ballot),
                State::Opened { .. } | State::Silent => at = self.delegates[at]? as usize,
                State::Promised { .. } | State::Double { .. } => return None,
            }
        }
        None
    }

    fn expected(&self, promise: &Promise) -> Result<usize, Error> {
        if self.opened && !on(Fault::LatePromiseTaken) {
            return Err(Error::Phase);
        }
        if promise.proposal != self.proposal {
            return Err(Error::Other);
        }
        let at = self.snapshot.index(&promise.voter).ok_or(Error::Stranger)?;
        match self.ballots[at] {
            State::Promised { serial, .. } | State::Double { serial }
                if serial > promise.serial && !on(Fault::OldPromiseCounts) =>
            {
                Err(Error::Old { serial })
            }
            _ if on(Fault::BallotMultiplied) => Ok(at),
            State::Promised { serial, sealed } if serial == promise.serial && sealed == promise.sealed => {
                Err(Error::Known)
            }
            State::Double { serial } if serial == promise.serial => Err(Error::Known),
            _ => Ok(at),
        }
    }

    fn take(&mut self, at: usize, promise: &Promise) {
        let Promise { serial, sealed, .. } = *promise;
        self.ballots[at] = match self.ballots[at] {
            State::Double { serial: held } if held == serial => State::Double { serial },
            State::Promised { serial: held, sealed: other }
                if held == serial && other != sealed && !on(Fault::DoublePromiseCounts) =>
            {
                State::Double { serial }
            }
            _ => State::Promised { serial, sealed },
        };
    }
}

/// The influence of both sides: √ of the sum over all pairs of votes × votes × k. One unit for both.
fn influences(blocs: &[BTreeMap<u16, u128>; 2]) -> [u128; 2] {
    let greatest: u128 = blocs.iter().flat_map(BTreeMap::values).sum();
    // So that the square of the sum, times a million, fits in 128 bits: 2 × 52 + 20. What is cut off is 2^-52 of the sum a bloc.
    let cut = (128 - greatest.leading_zeros()).saturating_sub(52);
    let weight = |one: u16, other: u16| PAIR * 1_000_000 / (PAIR + u128::from(PAST - disagreements(one, other)));
    blocs.each_ref().map(|side| {
        let list: Vec<(u16, u128)> = side.iter().map(|(past, votes)| (*past, votes >> cut)).collect();
        let mut sum = 0;
        for (at, (one, votes)) in list.iter().enumerate() {
            sum += votes * votes * weight(*one, *one);
            let others: u128 = list[at + 1..].iter().map(|(other, theirs)| theirs * weight(*one, *other)).sum();
            sum += 2 * votes * others;
        }
        sum.isqrt()
    })
}

/// In how many of the last eight votes the two stood on opposite sides.
const fn disagreements(one: u16, other: u16) -> u32 {
    // For is 01, against is 10: both bits differ only where both voted, and not alike.
    let differ = one ^ other;
    (differ & differ >> 1 & 0x5555).count_ones()
}

#[cfg(test)]
mod tests;
