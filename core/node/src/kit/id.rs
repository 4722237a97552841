//! Who a node is.

use core::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

use super::rng::mix;

/// The name of a node: its first Ed25519 public key, for as long as it lives.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

impl Ord for NodeId {
    /// That of the bytes. The first eight mostly decide, without a call: tables by id are looked at all the time.
    fn cmp(&self, other: &Self) -> Ordering {
        self.short().cmp(&other.short()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl NodeId {
    /// The first eight bytes, as a number: a hint for looking up, never a proof. Signatures cover all 32 bytes.
    pub const fn short(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// A number for tests and simulations as an id: spread evenly, and never the same for two numbers.
    pub fn number(n: u64) -> Self {
        let mut bytes = [0; 32];
        for (word, chunk) in bytes.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&mix(n.wrapping_add(word as u64 * 0x1_0000_0001)).to_be_bytes());
        }
        Self(bytes)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.short())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.short() >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_different_ids() {
        let ids: alloc::collections::BTreeSet<u64> = (0..10_000).map(|n| NodeId::number(n).short()).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn ids_are_in_the_order_of_their_bytes() {
        let mut rng = crate::kit::Rng::new(4);
        for _ in 0..2000 {
            // The same up to some byte.
            let (a, mut b) = (NodeId::number(rng.next()), NodeId::number(rng.next()));
            let same = rng.below(33) as usize;
            b.0[..same].copy_from_slice(&a.0[..same]);
            assert_eq!(a.cmp(&b), a.0.cmp(&b.0), "{same}");
        }
    }
}
