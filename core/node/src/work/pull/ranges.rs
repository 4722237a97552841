//! Which bytes of a file are there already.

use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

/// Disjoint stretches of a file, in order, none of them empty, none touching the next.
///
/// Kept on disk while a download is under way, so it is read back from the outside: whatever it was built
/// from, it is sound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a stretch; an empty or reversed one adds nothing.
    pub fn insert(&mut self, range: Range<u64>) {
        let (mut start, mut end) = (range.start, range.end);
        if start >= end {
            return;
        }
        // Those that touch the new one lie side by side: it swallows them.
        let first = self.0.partition_point(|&(_, e)| e < start);
        let last = self.0.partition_point(|&(s, _)| s <= end);
        if first < last {
            start = start.min(self.0[first].0);
            end = end.max(self.0[last - 1].1);
        }
        self.0.splice(first..last, [(start, end)]);
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What is missing of a file of `size` bytes.
    pub fn gaps(&self, size: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for &(start, end) in &self.0 {
            if at < start.min(size) {
                gaps.push(at..start.min(size));
            }
            at = end;
        }
        if at < size {
            gaps.push(at..size);
        }
        gaps
    }

    /// Forgets what lies beyond `size`.
    pub fn clip(&mut self, size: u64) {
        self.0.retain_mut(|(start, end)| {
            *end = size.min(*end);
            start < end
        });
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stretches, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|&(start, end)| start..end)
    }
}

impl From<Vec<(u64, u64)>> for Ranges {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        pairs.into_iter().map(|(start, end)| start..end).collect()
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.0
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut all = Self::new();
        ranges.into_iter().for_each(|range| all.insert(range));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_touch_become_one() {
        let mut ranges: Ranges = [4..6, 0..2, 8..9].into_iter().collect();
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [0..2, 4..6, 8..9]);
        ranges.insert(2..4);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [0..6, 8..9]);
        assert_eq!(ranges.gaps(12), [6..8, 9..12]);
        ranges.clip(5);
        assert_eq!((ranges.total(), ranges.gaps(5).len()), (5, 0));
    }

    #[test]
    fn they_agree_with_a_row_of_bits_for_all_small_cases() {
        // Each case: three ranges within 0..6, empty and reversed ones included.
        for case in 0..6u64.pow(6) {
            let digit = |n: u32| case / 6u64.pow(n) % 6;
            let pairs = [(digit(0), digit(1)), (digit(2), digit(3)), (digit(4), digit(5))];
            let ranges = Ranges::from(pairs.to_vec());
            let bits: Vec<bool> = (0..6).map(|at| pairs.iter().any(|&(s, e)| s <= at && at < e)).collect();
            assert_eq!(ranges.total(), bits.iter().filter(|bit| **bit).count() as u64, "{pairs:?}");
            let missing: Vec<u64> = ranges.gaps(6).into_iter().flatten().collect();
            assert_eq!(missing, (0..6).filter(|at| !bits[*at as usize]).collect::<Vec<_>>(), "{pairs:?}");
            assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
        }
    }
}
