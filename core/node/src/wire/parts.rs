//! Messages that are longer than a packet.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | number of the message, the lowest byte first; its sender never uses it twice |
//! | 1 | which part this is, from 0 |
//! | 1 | how many there are, at least 1 |
//! | the rest | the part |
//!
//! A part that is lost loses its message; whoever waits for an answer asks again. Parts of at most [`PENDING_MAX`] messages
//! wait, and of at most [`SENDER_MAX`] of one sender: so nobody can keep the others out.

use alloc::{collections::BTreeMap, vec::Vec};

use super::packet::BODY_MAX;
use crate::kit::NodeId;

/// Bytes before each part.
const HEAD: usize = 10;
/// Bytes of a part.
const PART_MAX: usize = BODY_MAX - HEAD;
/// Parts of a message.
pub const PARTS_MAX: usize = 32;
/// Bytes of a message: a proof with two certificates of 67 votes and their sets has 16,000.
pub const MESSAGE_MAX: usize = PARTS_MAX * PART_MAX;
/// Messages of which a part is missing.
pub const PENDING_MAX: usize = 256;
/// Of one sender.
pub const SENDER_MAX: usize = 8;

/// The bodies of the packets that carry `message`; nothing, if it is longer than [`MESSAGE_MAX`].
pub fn split(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    if message.len() > MESSAGE_MAX {
        return Vec::new();
    }
    let count = message.len().div_ceil(PART_MAX).max(1);
    let body = |at: usize| {
        let part = &message[at * PART_MAX..message.len().min((at + 1) * PART_MAX)];
        let mut body = Vec::with_capacity(BODY_MAX);
        body.extend_from_slice(&number.to_le_bytes());
        body.extend_from_slice(&[at as u8, count as u8]);
        body.extend_from_slice(part);
        body
    };
    (0..count).map(body).collect()
}

/// Messages that are not whole yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    pending: BTreeMap<(NodeId, u64), Pending>,
    /// Counts messages as they begin; the lowest is the oldest.
    begun: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Pending {
    begun: u64,
    parts: Vec<Option<Vec<u8>>>,
}

impl Parts {
    /// Takes the body of a packet of `from` in; the message, when it is whole.
    pub fn take(&mut self, from: NodeId, body: &[u8]) -> Option<Vec<u8>> {
        let (head, part) = body.split_first_chunk::<HEAD>()?;
        let [a, b, c, d, e, f, g, h, at, count] = *head;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let (at, count) = (usize::from(at), usize::from(count));
        if at >= count || count > PARTS_MAX {
            return None;
        }
        if count == 1 {
            return Some(part.to_vec());
        }
        let key = (from, number);
        if !self.pending.contains_key(&key) {
            self.make_room(&from);
            self.begun += 1;
            self.pending.insert(key, Pending { begun: self.begun, parts: alloc::vec![None; count] });
        }
        let pending = self.pending.get_mut(&key)?;
        // Who says another count than before is passed over.
        if pending.parts.len() != count {
            return None;
        }
        pending.parts[at] = Some(part.to_vec());
        if pending.parts.iter().any(Option::is_none) {
            return None;
        }
        let whole = self.pending.remove(&key)?;
        Some(whole.parts.into_iter().flatten().flatten().collect())
    }

    /// The oldest of the same sender goes first, then the oldest of all.
    fn make_room(&mut self, from: &NodeId) {
        let own = self.pending.range((*from, 0)..=(*from, u64::MAX));
        let victim = if own.clone().count() >= SENDER_MAX {
            own.min_by_key(|entry| entry.1.begun).map(|entry| *entry.0)
        } else if self.pending.len() >= PENDING_MAX {
            self.pending.iter().min_by_key(|entry| entry.1.begun).map(|entry| *entry.0)
        } else {
            None
        };
        victim.map(|key| self.pending.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::kit::Rng;

    #[test]
    fn a_message_of_any_length_comes_whole_in_any_order() {
        let mut rng = Rng::new(4);
        for length in [0, 1, PART_MAX, PART_MAX + 1, 5 * PART_MAX, MESSAGE_MAX] {
            let message: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
            let mut bodies = split(&message, 9);
            assert!(bodies.iter().all(|body| body.len() <= BODY_MAX));
            (1..bodies.len()).for_each(|at| bodies.swap(at, rng.below(at as u32 + 1) as usize));
            let mut parts = Parts::default();
            let (last, others) = bodies.split_last().unwrap();
            assert!(others.iter().all(|body| parts.take(NodeId::number(1), body).is_none()), "{length}");
            assert!(others.iter().all(|body| parts.take(NodeId::number(1), body).is_none()), "twice: {length}");
            assert_eq!(parts.take(NodeId::number(1), last), Some(message));
            assert_eq!(parts, Parts { begun: parts.begun, ..Parts::default() });
        }
        assert!(split(&vec![0; MESSAGE_MAX + 1], 9).is_empty());
    }

    #[test]
    fn who_never_ends_keeps_nobody_out() {
        let (mut parts, message) = (Parts::default(), vec![7; 3 * PART_MAX]);
        for number in 0..10_000 {
            let from = NodeId::number(number % 100);
            assert_eq!(parts.take(from, &split(&message, number)[0]), None);
            assert!(parts.pending.len() <= PENDING_MAX);
            assert!(parts.pending.keys().filter(|key| key.0 == from).count() <= SENDER_MAX);
        }
        let bodies = split(&message, 1);
        let mut whole = None;
        bodies.iter().for_each(|body| whole = parts.take(NodeId::number(500), body));
        assert_eq!(whole, Some(message));
    }

    #[test]
    fn what_is_no_part_is_passed_over() {
        let mut parts = Parts::default();
        let from = NodeId::number(1);
        let with = |at: u8, count: u8| [&[0; 8][..], &[at, count, 1]].concat();
        for body in [vec![], vec![0; 9], with(0, 0), with(1, 1), with(3, 2), with(0, 33)] {
            assert_eq!(parts.take(from, &body), None, "{body:?}");
        }
        assert_eq!(parts.take(from, &with(0, 1)), Some(vec![1]));
        assert_eq!((parts.take(from, &with(0, 3)), parts.take(from, &with(1, 2))), (None, None), "another count");
    }
}
