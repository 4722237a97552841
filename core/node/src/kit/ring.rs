//! Who is answerable for what, so that all who know the same members say the same.

use alloc::vec::Vec;

use super::rng::mix;

/// How `member` scores for `key`: whoever scores highest is answerable.
///
/// Source: D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998): highest random weight.
pub const fn weight(key: u64, member: u64) -> u64 {
    mix(mix(key) ^ member.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The `count` of `members` that are answerable for `key`, the first first. When one leaves, the others keep their order.
pub fn chosen(key: u64, members: impl IntoIterator<Item = u64>, count: usize) -> Vec<u64> {
    let mut best: Vec<(u64, u64)> = Vec::with_capacity(count + 1);
    for member in members {
        let scored = (weight(key, member), member);
        let at = best.partition_point(|other| *other > scored);
        if at < count {
            best.insert(at, scored);
            best.truncate(count);
        }
    }
    best.into_iter().map(|(_, member)| member).collect()
}

/// A circle on which each member stands at several points and answers for what lies before them.
///
/// For many keys and few changes: a look-up is a binary search, where [`chosen`] looks at every member.
///
/// Source: D. Karger et al., "Consistent Hashing and Random Trees" (1997).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Where on the circle, and whose; sorted.
    points: Vec<(u64, u64)>,
}

impl Ring {
    /// Points of one member: shares differ by about a tenth (1/√128).
    pub const POINTS: u64 = 128;

    /// Takes `member` in. Nothing changes if it is there.
    pub fn insert(&mut self, member: u64) {
        for n in 0..Self::POINTS {
            let point = (weight(n, member), member);
            if let Err(at) = self.points.binary_search(&point) {
                self.points.insert(at, point);
            }
        }
    }

    /// Takes `member` out.
    pub fn remove(&mut self, member: u64) {
        self.points.retain(|point| point.1 != member);
    }

    /// Who answers for `key`; nobody, if nobody is there.
    pub fn owner(&self, key: u64) -> Option<u64> {
        let at = self.points.partition_point(|point| point.0 < mix(key));
        self.points.get(at).or(self.points.first()).map(|point| point.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaving_member_moves_only_its_own_keys() {
        let mut ring = Ring::default();
        (0..20).for_each(|member| ring.insert(member));
        let before: Vec<_> = (0..2000).map(|key| ring.owner(key)).collect();
        ring.remove(7);
        let moved = (0..2000).zip(&before).filter(|(key, owner)| ring.owner(*key) != **owner);
        assert!(moved.into_iter().all(|(_, owner)| *owner == Some(7)));
        let share = before.iter().filter(|owner| **owner == Some(7)).count();
        assert!((60..150).contains(&share), "{share} of 2000 is far from a twentieth");
    }

    #[test]
    fn the_chosen_keep_their_order_when_one_leaves() {
        for key in 0..100 {
            let all = chosen(key, 0..50, 4);
            let without = chosen(key, (0..50).filter(|member| *member != all[1]), 4);
            assert_eq!((without[0], without[1], without[2]), (all[0], all[2], all[3]));
        }
        assert_eq!(chosen(1, [9], 3), [9]);
    }
}
