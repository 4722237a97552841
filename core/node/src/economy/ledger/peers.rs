//! With whom an account dealt: which turn the next promise to each has, and which of its promises were received.
//!
//! Everybody who keeps a log keeps this table: its owner, each of its witnesses, and each of them once more on the disk. So most
//! of it is one row in the order of ids that copies share and nobody changes; what changed since the last checkpoint lies
//! beside it until the next ([`Peers::settle`]). A copy costs what changed, not what there is.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    vec::Vec,
};
use core::{iter, mem};

use crate::kit::{
    NodeId,
    codec::{Error as CodecError, Reader, put_number},
};

/// Others that an account ever paid or was paid by. 65,536 are some 4 MB with a witness, who keeps many accounts.
pub const PEERS_MAX: usize = 65_536;
/// Promises of one payer that may be left out while later ones are received: those that came to nothing, and those that are not
/// settled yet. Of more than that the first are given up; they are never received.
pub const MISSING_MAX: usize = 1024;

/// All others.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    /// As they were at the last checkpoint, by id.
    row: Arc<Vec<(NodeId, Peer)>>,
    /// Those that changed since.
    changed: BTreeMap<NodeId, Peer>,
    /// How many of these are not in the row.
    new: usize,
}

/// What was promised between the account and one other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// Turn of the next promise to it.
    pub next: u64,
    /// Above all its promises that were received.
    received: u64,
    /// Those below that were not, in their order.
    missing: Option<Arc<[u64]>>,
}

impl Peer {
    /// Whether its promise of this turn may be received: it was not yet, and is not given up. The last number of all has none
    /// after it, and is nobody's turn.
    pub fn owes(&self, turn: u64) -> bool {
        let later = turn >= self.received && turn < u64::MAX;
        later || self.missing().binary_search(&turn).is_ok()
    }

    /// Its promise of this turn, which it [owes](Self::owes), is received.
    pub fn receive(&mut self, turn: u64) {
        let old = self.missing().iter().copied().filter(|missing| *missing != turn);
        let skipped = turn.saturating_sub(self.received).min(MISSING_MAX as u64);
        if skipped > 0 || turn < self.received {
            let all: Vec<u64> = old.chain(turn - skipped..turn).collect();
            let kept = &all[all.len().saturating_sub(MISSING_MAX)..];
            self.missing = (!kept.is_empty()).then(|| kept.into());
        }
        self.received = self.received.max(turn.saturating_add(1));
    }

    fn missing(&self) -> &[u64] {
        self.missing.as_deref().unwrap_or_default()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        [self.next, self.received, self.missing().len() as u64].into_iter().for_each(|number| put_number(out, number));
        self.missing().iter().for_each(|turn| put_number(out, self.received - turn));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (next, received) = (reader.number()?, reader.number()?);
        let count = reader.count(MISSING_MAX)?;
        let missing: Result<Vec<u64>, CodecError> =
            (0..count).map(|_| received.checked_sub(reader.number()?).ok_or(CodecError::Odd)).collect();
        let missing = missing?;
        if !missing.is_sorted_by(|a, b| a < b) || missing.last().is_some_and(|last| *last >= received) {
            return Err(CodecError::Odd);
        }
        Ok(Self { next, received, missing: (!missing.is_empty()).then(|| missing.into()) })
    }
}

impl Peers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.row.len() + self.new
    }

    /// What is known of one.
    pub fn get(&self, id: &NodeId) -> Option<&Peer> {
        self.changed.get(id).or_else(|| self.settled(id))
    }

    /// The same, to be changed; one of whom nothing was known is known from now on.
    pub fn entry(&mut self, id: NodeId) -> &mut Peer {
        match self.changed.entry(id) {
            Entry::Occupied(changed) => changed.into_mut(),
            Entry::Vacant(place) => {
                let before = find(&self.row, &id).ok().map(|at| self.row[at].1.clone());
                self.new += usize::from(before.is_none());
                place.insert(before.unwrap_or_default())
            }
        }
    }

    /// Puts what changed into the row. To be called at each checkpoint, so that little lies beside it.
    pub fn settle(&mut self) {
        if self.new > 0 {
            let mut row = Vec::with_capacity(self.len());
            row.extend(self.iter().map(|(id, peer)| (*id, peer.clone())));
            (self.row, self.new) = (Arc::new(row), 0);
            self.changed.clear();
        } else if !self.changed.is_empty() {
            let row = Arc::make_mut(&mut self.row);
            for (id, peer) in mem::take(&mut self.changed) {
                let at = find(row, &id).expect("none is new");
                row[at].1 = peer;
            }
        }
    }

    fn settled(&self, id: &NodeId) -> Option<&Peer> {
        find(&self.row, id).ok().map(|at| &self.row[at].1)
    }

    /// All, by id.
    fn iter(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        let mut row = self.row.iter().map(|(id, peer)| (id, peer)).peekable();
        let mut changed = self.changed.iter().peekable();
        iter::from_fn(move || {
            let Some((id, _)) = changed.peek() else { return row.next() };
            if let Some(before) = row.next_if(|old| old.0 < *id) {
                return Some(before);
            }
            row.next_if(|old| old.0 == *id);
            changed.next()
        })
    }

    /// As bytes: how many; of each its id 32, the turn of the next promise to it, the number above those received, how many
    /// below are missing, and for each how far below.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.len() as u64);
        for (id, peer) in self.iter() {
            out.extend_from_slice(&id.0);
            peer.encode(out);
        }
    }

    /// From the front of `reader`. One table has one form of bytes.
    ///
    /// # Errors
    /// The codec's.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let count = reader.count(PEERS_MAX)?;
        let row: Result<Vec<_>, CodecError> = (0..count).map(|_| Ok((reader.id()?, Peer::decode(reader)?))).collect();
        let row = row?;
        if !row.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(CodecError::Odd);
        }
        Ok(Self { row: Arc::new(row), ..Self::default() })
    }
}

/// Where `id` stands in the row, or should stand.
///
/// Ids are keys, which are spread evenly: so where one should stand is known to a few places, and the steps from there double. A
/// binary search reads ten places of a thousand all over the row, each of which is waited for. Where somebody makes keys until they
/// crowd, this takes twice the steps of one and no more.
fn find(row: &[(NodeId, Peer)], id: &NodeId) -> Result<usize, usize> {
    let Some(last) = row.len().checked_sub(1) else { return Err(0) };
    let places = |distance: u64| ((u128::from(distance) * row.len() as u128) >> 64) as usize;
    let guess = places(id.short());
    let (there, wanted) = (row[guess].0.short(), id.short());
    let at = if there < wanted {
        (guess + places(wanted - there)).min(last)
    } else {
        guess.saturating_sub(places(there - wanted))
    };
    let (mut low, mut high, mut step) = (at, at + 1, 1);
    if row[at].0 < *id {
        while high < row.len() && row[high].0 < *id {
            (low, high) = (high, high + step);
            step *= 2;
        }
        high = (high + 1).min(row.len());
    } else {
        while low > 0 && row[low].0 > *id {
            (low, high) = (low.saturating_sub(step), low + 1);
            step *= 2;
        }
    }
    row[low..high].binary_search_by_key(id, |peer| peer.0).map(|at| low + at).map_err(|at| low + at)
}

/// What was settled when does not matter.
impl PartialEq for Peers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Peers {}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::kit::Rng;

    /// The table that is right by inspection: the next turn, and all that was received.
    type Plain = BTreeMap<NodeId, (u64, BTreeSet<u64>)>;

    #[test]
    fn says_what_a_plain_table_says_whenever_it_is_settled_copied_or_read_from_bytes() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let (mut peers, mut plain) = (Peers::default(), Plain::new());
            for _ in 0..600 {
                let id = NodeId::number(rng.below(40).into());
                let known = plain.entry(id).or_default();
                let (turn, peer) = (u64::from(rng.below(30)), peers.entry(id));
                assert_eq!(peer.owes(turn), !known.1.contains(&turn), "turn {turn}");
                match rng.below(3) {
                    0 => (peer.next, known.0) = (peer.next + 1, known.0 + 1),
                    _ if known.1.insert(turn) => peer.receive(turn),
                    _ => {}
                }
                match rng.below(20) {
                    0 => peers.settle(),
                    1 => {
                        let mut settled = peers.clone();
                        settled.settle();
                        assert_eq!(settled, peers);
                    }
                    2 => {
                        let mut bytes = Vec::new();
                        peers.encode(&mut bytes);
                        let mut reader = Reader(&bytes);
                        assert_eq!((Peers::decode(&mut reader), reader.0.len()), (Ok(peers.clone()), 0));
                        peers = Peers::decode(&mut Reader(&bytes)).unwrap();
                    }
                    _ => {}
                }
            }
            assert_eq!(peers.len(), plain.len());
            assert!(peers.iter().map(|(id, peer)| (*id, peer.next)).eq(plain.iter().map(|(id, known)| (*id, known.0))));
        }
    }

    #[test]
    fn finds_what_a_binary_search_finds_also_where_keys_crowd() {
        let mut rng = Rng::new(8);
        for round in 0..600 {
            // Spread evenly; or all of one beginning but for some.
            let crowd = (round % 3 == 0).then(|| NodeId::number(rng.next()));
            let same = [3, 8, 20][rng.below(3) as usize];
            let mut id = || {
                let mut id = NodeId::number(rng.next());
                if let Some(crowd) = crowd.filter(|_| rng.below(5) > 0) {
                    id.0[..same].copy_from_slice(&crowd.0[..same]);
                }
                id
            };
            let count = round as usize / 3;
            let mut row: Vec<(NodeId, Peer)> = (0..count).map(|_| (id(), Peer::default())).collect();
            row.sort_unstable_by_key(|peer| peer.0);
            let ends = [NodeId([0; 32]), NodeId([255; 32])];
            let others: Vec<NodeId> = (0..50).map(|_| id()).chain(ends).collect();
            for id in row.iter().map(|peer| peer.0).chain(others) {
                assert_eq!(find(&row, &id), row.binary_search_by_key(&id, |peer| peer.0), "{id} of {count}");
            }
        }
    }

    #[test]
    fn what_never_comes_holds_up_nothing_and_the_first_of_too_many_are_given_up() {
        let mut peer = Peer::default();
        // Every other promise comes to nothing.
        (0..4 * MISSING_MAX as u64).for_each(|n| {
            assert!(peer.owes(2 * n + 1));
            peer.receive(2 * n + 1);
        });
        let first = 8 * MISSING_MAX as u64 - 2 * MISSING_MAX as u64;
        assert!(!peer.owes(first - 2) && peer.owes(first) && !peer.owes(first + 1));
        peer.receive(first);
        assert!(!peer.owes(first));
        assert_eq!(peer.missing().len(), MISSING_MAX - 1);
        peer.receive(1 << 60);
        assert!(peer.owes((1 << 60) - 1) && !peer.owes(first + 2) && !peer.owes(u64::MAX));
    }

    #[test]
    fn a_table_has_one_form_of_bytes() {
        let mut peers = Peers::default();
        for n in 0..3 {
            [1, 4].into_iter().for_each(|turn| peers.entry(NodeId::number(n)).receive(turn));
        }
        let mut bytes = Vec::new();
        peers.encode(&mut bytes);
        assert_eq!(bytes.len(), 1 + 3 * (32 + 1 + 1 + 1 + 3));
        assert!((0..bytes.len()).all(|end| Peers::decode(&mut Reader(&bytes[..end])).is_err()));
        let decode = |change: fn(&mut [u8])| {
            let mut odd = bytes.clone();
            change(&mut odd);
            Peers::decode(&mut Reader(&odd))
        };
        assert!(decode(|bytes| bytes[1..77].rotate_left(38)).is_err(), "ids out of order");
        assert!(decode(|bytes| bytes[36..38].swap(0, 1)).is_err(), "turns out of order");
        assert!(decode(|bytes| bytes[38] = 0).is_err(), "received, and missing too");
        assert!(decode(|bytes| bytes[38] = 6).is_err(), "below the first");
    }
}
