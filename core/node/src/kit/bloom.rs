//! A set in few bits that sometimes says yes by mistake and never no.

use serde::{Deserialize, Serialize};

use super::rng::mix;

/// Which of many things somebody has, in 256 bits.
///
/// Four probes a thing: with 10 things in 256 bits a stranger is taken for a member about once in 2,000.
///
/// The four come from one 64-bit hash, 16 bits each: in so small a filter, probes that step by a common distance meet
/// too often.
///
/// Source: B. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors" (1970).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bloom(pub [u8; 32]);

impl Bloom {
    /// Takes in the thing whose hash is `hash`.
    pub fn insert(&mut self, hash: u64) {
        for bit in Self::bits(hash) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Whether the thing whose hash is `hash` may be in it.
    pub fn may_hold(&self, hash: u64) -> bool {
        Self::bits(hash).into_iter().all(|bit| self.0[bit / 8] & 1 << (bit % 8) != 0)
    }

    fn bits(hash: u64) -> [usize; 4] {
        let mixed = mix(hash);
        [0, 16, 32, 48].map(|at| (mixed >> at) as u16 as usize >> 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_always_found_and_strangers_rarely() {
        let mut wrong = 0;
        for seed in 0..100 {
            let mut set = Bloom::default();
            let member = |i: u64| seed * 1000 + i;
            (0..10).for_each(|i| set.insert(member(i)));
            assert!((0..10).all(|i| set.may_hold(member(i))));
            wrong += (10..1000).filter(|i| set.may_hold(member(*i))).count();
        }
        // 99,000 questions; (1 - e^(-40/256))^4 is 4.4 in 10,000.
        assert!((10..=110).contains(&wrong), "{wrong}");
    }
}
