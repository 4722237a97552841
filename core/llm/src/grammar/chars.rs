//! Sets of characters, and the bytes that they are written with.

use alloc::{vec, vec::Vec};

/// The last scalar value.
const LAST: u32 = 0x10_ffff;

/// Surrogates are numbers and no characters.
const SURROGATES: (u32, u32) = (0xd800, 0xdfff);

/// A set of Unicode scalar values: ranges with both ends, in order, with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chars(Vec<(u32, u32)>);

impl Chars {
    /// Every character.
    pub fn any() -> Self {
        Self::ranges([(0, LAST)])
    }

    /// The union of ranges, both ends in it; what is no character is left out.
    pub fn ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut all: Vec<(u32, u32)> = Vec::new();
        for (from, to) in ranges {
            let to = to.min(LAST);
            for (from, to) in [(from, to.min(SURROGATES.0 - 1)), (from.max(SURROGATES.1 + 1), to)] {
                if from <= to {
                    all.push((from, to));
                }
            }
        }
        all.sort_unstable();
        let mut out: Vec<(u32, u32)> = Vec::new();
        for (from, to) in all {
            match out.last_mut() {
                Some(last) if from <= last.1 + 1 => last.1 = last.1.max(to),
                _ => out.push((from, to)),
            }
        }
        Self(out)
    }

    /// The set of the characters of `text`.
    pub fn of(text: &str) -> Self {
        Self::ranges(text.chars().map(|c| (c as u32, c as u32)))
    }

    /// The ranges, in order.
    pub fn as_ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `c` is in it.
    pub fn contains(&self, c: char) -> bool {
        let c = c as u32;
        let at = self.0.partition_point(|&(_, to)| to < c);
        self.0.get(at).is_some_and(|&(from, _)| from <= c)
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        Self::ranges(self.0.iter().chain(&other.0).copied())
    }

    /// Every other character.
    pub fn negated(&self) -> Self {
        let mut out = Vec::new();
        let mut from = 0;
        for &(first, last) in &self.0 {
            if from < first {
                out.push((from, first - 1));
            }
            from = last + 1;
        }
        out.push((from, LAST));
        Self::ranges(out.into_iter().filter(|(from, to)| from <= to))
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.negated().union(&other.negated()).negated()
    }

    /// What is in this one and not in the other.
    pub fn without(&self, other: &Self) -> Self {
        self.intersection(&other.negated())
    }

    /// Its characters as sequences of byte ranges in UTF-8: of each sequence one byte from each range.
    pub(super) fn sequences(&self) -> Vec<Vec<(u8, u8)>> {
        let mut out = Vec::new();
        for &(from, to) in &self.0 {
            for (first, last) in [(0, 0x7f), (0x80, 0x7ff), (0x800, 0xffff), (0x1_0000, LAST)] {
                let (from, to) = (from.max(first), to.min(last));
                if from <= to {
                    split(from, to, &mut out);
                }
            }
        }
        out
    }
}

/// Cuts a range of characters of one length where a byte would run through only a part of its values while one
/// before it changes.
fn split(from: u32, to: u32, out: &mut Vec<Vec<(u8, u8)>>) {
    for bits in [6, 12, 18] {
        let low = (1u32 << bits) - 1;
        if from <= 0x7f || (from | low) >= (to | low) {
            continue;
        }
        if from & low != 0 {
            split(from, from | low, out);
            split((from | low) + 1, to, out);
            return;
        }
        if to & low != low {
            split(from, (to & !low) - 1, out);
            split(to & !low, to, out);
            return;
        }
    }
    let (first, last) = (bytes(from), bytes(to));
    out.push(first.into_iter().zip(last).collect());
}

fn bytes(c: u32) -> Vec<u8> {
    let c = char::from_u32(c).expect("ranges hold no surrogates");
    let mut buffer = [0; 4];
    vec::Vec::from(c.encode_utf8(&mut buffer).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(sequences: &[Vec<(u8, u8)>], bytes: &[u8]) -> usize {
        let fits = |s: &&Vec<(u8, u8)>| {
            s.len() == bytes.len() && s.iter().zip(bytes).all(|(&(a, b), byte)| (a..=b).contains(byte))
        };
        sequences.iter().filter(fits).count()
    }

    #[test]
    fn each_character_of_a_set_has_one_sequence_and_no_other_has_one() {
        let sets = [
            Chars::any(),
            Chars::ranges([(0x20, 0x21), (0x7f, 0x80), (0x3ff, 0x2345), (0xfffe, 0x1_0001), (0x3_1234, 0x10_fff0)]),
            Chars::of("a\u{e9}\u{7ff}\u{800}\u{1f600}"),
            Chars::of("\"\\").negated(),
        ];
        for set in sets {
            let sequences = set.sequences();
            for c in (0..=LAST).filter_map(char::from_u32) {
                let mut buffer = [0; 4];
                let found = matches(&sequences, c.encode_utf8(&mut buffer).as_bytes());
                assert_eq!(found, usize::from(set.contains(c)), "{c:?}");
            }
        }
    }

    #[test]
    fn sets_are_calculated_with() {
        let letters = Chars::ranges([(97, 122), (65, 90)]);
        assert_eq!(letters.as_ranges(), [(65, 90), (97, 122)]);
        assert_eq!(letters.negated().negated(), letters);
        assert_eq!(letters.intersection(&Chars::of("a1Z")), Chars::of("aZ"));
        assert_eq!(Chars::of("abc").without(&Chars::of("b")), Chars::of("ac"));
        assert!(Chars::any().negated().is_empty());
        assert_eq!(Chars::ranges([(0xd000, 0xe000)]).as_ranges(), [(0xd000, 0xd7ff), (0xe000, 0xe000)]);
    }
}
