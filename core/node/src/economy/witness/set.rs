//! The witnesses of an account.
//!
//! Drawn by lot, each with the chance of its trust: who holds a twentieth of the trust is a twentieth of the witnesses,
//! whatever the number of its identities.
//!
//! # What a draw gives, and what it does not
//!
//! Where a share q of all trust is faulty, P(n, k) = Σ C(n, i) qⁱ (1-q)ⁿ⁻ⁱ over i from k to n is the chance that k or more of n
//! that are drawn are. With f = 10 and q = a twentieth:
//!
//! | an owner | has, a draw | with the chance |
//! |---|---|---|
//! | draws as it should | more than f faulty members | P(3f+1, f+1) = 1.6e-7, once in 6.2 million |
//! | chooses as others just let it ([`Set::acceptable`]) | the same | P(2(3f+1), 1) = 0.96 |
//! | chooses so | a quorum of faulty ones | P(2(3f+1), f+1) = 2.3e-4, once in 4,300 |
//!
//! For who chooses needs 2f+1 among the first 2(3f+1), and may have anybody on the other f seats. A draw is one of a key and a
//! term, and an owner has as many as it makes keys; and until it has begun, as there were terms. So a set keeps an honest owner safe
//! from all others, but whoever is paid is safe only from owners without accomplices in whom many trust. Less freedom than f seats is no
//! way out as long as everybody judges by its own view of trust: where views differ by a third, and one in twenty is known to one of two
//! only, a drawn set of 31 has as few as 25 members among the first 62 of another.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::kit::{
    Digest, NodeId,
    codec::{Error as CodecError, Reader, put_number},
    fault::{Fault, on},
    hash::{Tag, hash},
    log,
};

/// 3f+1 witnesses, in the order of their ids, and the term for which they were drawn.
///
/// Terms count from the beginning of 1970, all as long: so there is one draw a term, whatever an account does, and nobody draws
/// again until it likes what comes. In bytes: f, 1; for all terms but the first, f with its highest bit set and the term; 3f+1 ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    faults: u8,
    term: u64,
    members: Vec<NodeId>,
}

/// What stands beside f where a term follows.
const TERM_BIT: u8 = 0x80;

/// The greatest f: a certificate of 67 signatures is 4.4 KB.
pub const FAULTS_MAX: u8 = 33;

impl Set {
    /// The set of these members, of term 0; `None` if f is not 1 to [`FAULTS_MAX`], or they are not 3f+1 different ones.
    pub fn new(faults: u8, mut members: Vec<NodeId>) -> Option<Self> {
        members.sort_unstable();
        members.dedup();
        let right = (1..=FAULTS_MAX).contains(&faults) && members.len() == 3 * usize::from(faults) + 1;
        right.then_some(Self { faults, term: 0, members })
    }

    /// The same members for another term.
    pub fn of_term(self, term: u64) -> Self {
        Self { term, ..self }
    }

    /// For which term it was drawn.
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// f of 3f+1.
    pub const fn faults(&self) -> u8 {
        self.faults
    }

    /// How many must sign: 2f+1.
    pub const fn quorum(&self) -> usize {
        2 * self.faults as usize + 1
    }

    /// Who is in it, by id.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The place of a member.
    pub fn index(&self, member: &NodeId) -> Option<u8> {
        self.members.binary_search(member).ok().map(|at| at as u8)
    }

    /// What stands in the account's log.
    pub fn digest(&self) -> Digest {
        let term = self.term.to_be_bytes();
        let dated = (self.term > 0).then_some(&term[..]);
        let ids: Vec<&[u8]> = self.members.iter().map(|member| &member.0[..]).chain(dated).collect();
        hash(Tag::Witnesses, &ids)
    }

    /// Draws the witnesses of `account` for a term from candidates with their trust; `None` if too few have any.
    pub fn draw(account: &NodeId, term: u64, faults: u8, candidates: &[(NodeId, u64)]) -> Option<Self> {
        let set = Self::new(faults, ranked(account, term, candidates, 3 * usize::from(faults) + 1))?;
        Some(set.of_term(term))
    }

    /// Whether it may come next after `before`: each later term once, and nobody is content with fewer who sign.
    pub fn may_follow(&self, before: &Self) -> bool {
        (self.term > before.term || on(Fault::TermGoesBack)) && (self.faults >= before.faults || on(Fault::FewerFollow))
    }

    /// As bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.term > 0 {
            out.push(self.faults | TERM_BIT);
            put_number(out, self.term);
        } else {
            out.push(self.faults);
        }
        self.members.iter().for_each(|member| out.extend_from_slice(&member.0));
    }

    /// From the front of `reader`. One set has one form of bytes.
    ///
    /// # Errors
    /// The codec's.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let first = reader.byte()?;
        let dated = first & TERM_BIT != 0;
        let (faults, term) = (first & !TERM_BIT, if dated { reader.number()? } else { 0 });
        let members: Result<Vec<NodeId>, CodecError> = (0..3 * u32::from(faults) + 1).map(|_| reader.id()).collect();
        let members = members?;
        let once = members.is_sorted() && dated == (term > 0);
        Self::new(faults, members).filter(|_| once).map(|set| set.of_term(term)).ok_or(CodecError::Odd)
    }

    /// Whether whoever sees `candidates` with this trust takes the set for drawn and not chosen: 2f+1 of it, a quorum, are
    /// among the first 2(3f+1) that it would have drawn.
    ///
    /// Views of trust differ, so the same draw is not asked for; what an owner can make of that stands above. A set of accomplices
    /// alone passes only if most of them hold their places by trust.
    pub fn acceptable(&self, account: &NodeId, candidates: &[(NodeId, u64)]) -> bool {
        let drawn = ranked(account, self.term, candidates, self.looked_at());
        drawn.iter().filter(|member| self.index(member).is_some()).count() >= self.quorum()
    }

    /// How many of those that it would have drawn itself a judge looks at.
    const fn looked_at(&self) -> usize {
        2 * self.members.len()
    }
}

/// The first `count` candidates by weighted lot.
///
/// Each draws a number u between 0 and 1, the same for everybody who looks; the least of -ln(u)/trust come first, so the
/// chance to be first is the share of trust.
///
/// Source: P. Efraimidis, P. Spirakis, "Weighted random sampling with a reservoir" (2006), in the form of weighted
/// rendezvous hashing.
pub fn ranked(account: &NodeId, term: u64, candidates: &[(NodeId, u64)], count: usize) -> Vec<NodeId> {
    let mut lots: Vec<(u64, u64, NodeId)> = candidates
        .iter()
        .filter(|candidate| candidate.1 > 0 && candidate.0 != *account)
        .map(|(member, trust)| {
            (wait(&lot(account, term, member)), if on(Fault::DrawnWithoutTrust) { 1 } else { *trust }, *member)
        })
        .collect();
    let by_lot = |a: &(u64, u64, NodeId), b: &(u64, u64, NodeId)| -> Ordering {
        let (left, right) = (u128::from(a.0) * u128::from(b.1), u128::from(b.0) * u128::from(a.1));
        left.cmp(&right).then(a.2.cmp(&b.2))
    };
    if lots.len() > count && count > 0 {
        lots.select_nth_unstable_by(count - 1, by_lot);
        lots.truncate(count);
    }
    lots.sort_unstable_by(by_lot);
    lots.into_iter().take(count).map(|lot| lot.2).collect()
}

fn lot(account: &NodeId, term: u64, member: &NodeId) -> u64 {
    let digest = hash(Tag::Lot, &[&account.0, &term.to_be_bytes(), &member.0]);
    NodeId(digest.0).short()
}

/// -log2 of (lot + 1/2) / 2^64, in 2^-32; above nothing.
fn wait(lot: &u64) -> u64 {
    (64 * log::ONE - log::log2(lot | 1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_the_logarithm_of_its_lot() {
        for n in 0..2000_u64 {
            let lot = NodeId::number(n).short() >> (n % 60);
            let right = (64.0 - ((lot | 1) as f64).log2()) * 4_294_967_296.0;
            let error = (wait(&lot) as f64 - right).abs();
            assert!(error < right.max(1e6) * 1e-6 + 2.0, "{lot}: {} for {right}", wait(&lot));
        }
    }

    /// P(n, k) where one part in `parts` is faulty, in units of 1e-30: each one drawn adds a row to the triangle.
    fn at_least(k: usize, n: usize, parts: u128) -> u128 {
        let mut chances = alloc::vec![0; n + 1];
        chances[0] = 10_u128.pow(30);
        for drawn in 1..=n {
            for faulty in (0..=drawn).rev() {
                let one_less = if faulty > 0 { chances[faulty - 1] } else { 0 };
                chances[faulty] = (chances[faulty] * (parts - 1) + one_less) / parts;
            }
        }
        chances[k..].iter().sum()
    }

    #[test]
    fn what_a_draw_gives_is_what_the_text_says() {
        assert_eq!(at_least(2, 2, 2) * 4, 10_u128.pow(30), "two of two, each with one half");
        let set = Set::new(10, (0..31).map(NodeId::number).collect()).unwrap();
        let (f, members) = (usize::from(set.faults()), set.members().len());
        let chance = |k, n| at_least(k, n, 20) / 10_u128.pow(18);
        // Drawn: in units of 1e-12.
        assert_eq!(chance(f + 1, members), 162_285);
        // Chosen: so many seats are anybody's.
        let free = members - set.quorum();
        assert_eq!(free, f);
        assert_eq!(chance(f + 1 - free, set.looked_at()), 958_422_006_414);
        assert_eq!(chance(set.quorum() - free, set.looked_at()), 232_021_125);
    }

    #[test]
    fn witnesses_are_drawn_by_their_trust() {
        // 90 with one part each, and 10 with ten: half of all trust.
        let candidates: Vec<(NodeId, u64)> =
            (0..100).map(|n| (NodeId::number(n), if n < 10 { 10 } else { 1 })).collect();
        let first = (0..4000).filter(|account| {
            let first = ranked(&NodeId::number(1000 + account), 0, &candidates, 1)[0];
            candidates[..10].iter().any(|candidate| candidate.0 == first)
        });
        // 100 of 190 parts: 2105 of 4000, with a deviation of 32.
        let first = first.count();
        assert!((2000..2210).contains(&first), "{first}");
    }

    #[test]
    fn splitting_an_identity_gains_no_seat() {
        let honest = (0..50).map(|n| (NodeId::number(n), 1000));
        for parts in [1, 100] {
            let liars = (0..parts).map(|n| (NodeId::number(500 + n), 10_000 / parts));
            let candidates: Vec<(NodeId, u64)> = honest.clone().chain(liars).collect();
            let seats: usize = (0..600)
                .map(|account| {
                    let set = Set::draw(&NodeId::number(5000 + account), 0, 1, &candidates).unwrap();
                    set.members().iter().filter(|member| !candidates[..50].iter().any(|c| c.0 == **member)).count()
                })
                .sum();
            // One identity has at most one seat of four; a hundred have a sixth of all seats.
            let range = if parts == 1 { 200..400 } else { 330..470 };
            assert!(range.contains(&seats), "{parts}: {seats} of 2400");
        }
    }

    #[test]
    fn a_set_is_whole_and_its_order_does_not_matter() {
        let ids: Vec<NodeId> = (0..4).map(NodeId::number).collect();
        let set = Set::new(1, ids.clone()).unwrap();
        assert_eq!(Set::new(1, ids.iter().rev().copied().collect()), Some(set.clone()));
        assert_eq!((set.quorum(), set.index(&NodeId::number(9))), (3, None));
        assert_eq!(Set::new(1, ids[..3].to_vec()), None);
        assert_eq!(Set::new(0, ids[..1].to_vec()), None);
        assert_eq!(Set::new(1, alloc::vec![ids[0], ids[0], ids[1], ids[2]]), None, "one counted twice");
        assert_eq!(Set::new(FAULTS_MAX + 1, (0..103).map(NodeId::number).collect()), None);
    }

    #[test]
    fn a_set_has_one_form_of_bytes_and_a_name_for_each_term() {
        let first = Set::new(1, (0..4).map(NodeId::number).collect()).unwrap();
        let later = first.clone().of_term(19_675);
        assert_ne!(first.digest(), later.digest());
        for (set, length) in [(first, 129), (later, 132)] {
            let mut bytes = Vec::new();
            set.encode(&mut bytes);
            assert_eq!((bytes.len(), Set::decode(&mut Reader(&bytes))), (length, Ok(set)));
            assert!((0..length).all(|end| Set::decode(&mut Reader(&bytes[..end])).is_err()));
            // A term that says nothing, members out of order.
            let odd = [&[bytes[0] | TERM_BIT, 0], &bytes[1..]].concat();
            assert!(Set::decode(&mut Reader(&odd)).is_err());
            bytes[length - 64..].rotate_left(32);
            assert!(Set::decode(&mut Reader(&bytes)).is_err());
        }
    }

    #[test]
    fn a_set_follows_one_of_an_earlier_term_and_of_no_more_members() {
        let set = |faults: u8, term| {
            let members = (0..3 * u64::from(faults) + 1).map(NodeId::number).collect();
            Set::new(faults, members).unwrap().of_term(term)
        };
        let before = set(2, 5);
        let follows = [(2, 6), (3, 6), (1, 6), (2, 5), (3, 4)].map(|(f, term)| set(f, term).may_follow(&before));
        assert_eq!(follows, [true, true, false, false, false]);
    }

    #[test]
    fn a_chosen_set_is_not_acceptable_and_a_drawn_one_is_even_to_others() {
        let account = NodeId::number(77);
        let candidates: Vec<(NodeId, u64)> = (0..200).map(|n| (NodeId::number(n), 1000)).collect();
        let other: Vec<(NodeId, u64)> = (0..200).map(|n| (NodeId::number(n), 900 + n)).collect();
        let drawn = Set::draw(&account, 3, 3, &candidates).unwrap();
        assert!(drawn.acceptable(&account, &other));
        assert!(!drawn.of_term(4).acceptable(&account, &other), "another term");
        let chosen = Set::new(3, (0..10).map(NodeId::number).collect()).unwrap();
        assert!(!chosen.of_term(3).acceptable(&account, &other));
        assert_eq!(Set::draw(&account, 0, 67, &candidates), None);
        assert_eq!(Set::draw(&account, 0, 1, &[(account, 5), (NodeId::number(1), 0)]), None);
    }
}
