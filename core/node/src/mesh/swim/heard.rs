//! Which packets of somebody were here.

/// The highest sequence number of a sender, and which of the eight below it were here: packets of one burst overtake each
/// other on the way, and each of them is as good as the last. What is older, or comes twice, is over.
///
/// The higher 56 bits are the number, the lower 8 the window, as a table of thousands has one for each. A number is a date in
/// microseconds and goes up from there: 56 bits last until the year 4253.
///
/// Source: S. Kent, "IP Encapsulating Security Payload", RFC 4303 §3.4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard(u64);

const WINDOW: u64 = 8;
const ALL: u64 = (1 << WINDOW) - 1;
/// The highest number that counts.
pub const NUMBER_MAX: u64 = u64::MAX >> WINDOW;

impl Heard {
    /// Of somebody new.
    pub const NOTHING: Self = Self(0);

    /// Whether the packet of this `number` is new.
    pub const fn is_new(self, number: u64) -> bool {
        if number > NUMBER_MAX {
            return false;
        }
        let highest = self.0 >> WINDOW;
        match highest.checked_sub(number) {
            None => true,
            Some(below) => below > 0 && below <= WINDOW && self.0 & (1 << (below - 1)) == 0,
        }
    }

    /// Notes the packet of a `number` that [is new](Self::is_new).
    pub const fn note(&mut self, number: u64) {
        let (highest, window) = (self.0 >> WINDOW, self.0 & ALL);
        self.0 = match number.checked_sub(highest) {
            None if highest - number <= WINDOW => self.0 | 1 << (highest - number - 1),
            None | Some(0) => self.0,
            Some(above @ 1..=WINDOW) => number << WINDOW | (window << above | 1 << (above - 1)) & ALL,
            Some(_) => number << WINDOW,
        };
    }

    /// The sender lost its count and begins anew behind `number`: what it said before is over.
    pub const fn begin_anew(&mut self, number: u64) {
        let number = if number > NUMBER_MAX { NUMBER_MAX } else { number };
        self.0 = number << WINDOW | ALL;
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::kit::Rng;

    #[test]
    fn each_packet_counts_once_and_those_far_behind_never() {
        let mut rng = Rng::new(1);
        for _ in 0..100 {
            let (mut heard, mut seen) = (Heard::NOTHING, BTreeSet::from([0]));
            let mut next = 0;
            for _ in 0..200 {
                next += u64::from(rng.below(3));
                let number = (next + u64::from(rng.below(4))).saturating_sub(u64::from(rng.below(14)));
                let highest = *seen.last().expect("not empty");
                let new = !seen.contains(&number) && number + WINDOW >= highest;
                assert_eq!(heard.is_new(number), new, "{number} of {seen:?}");
                if new {
                    heard.note(number);
                    seen.insert(number);
                }
            }
        }
    }

    #[test]
    fn a_burst_that_arrives_backwards_is_heard_whole() {
        let mut heard = Heard::NOTHING;
        heard.note(1_700_000_000_000_000);
        for number in (1_700_000_000_000_050..1_700_000_000_000_058).rev() {
            assert!(heard.is_new(number));
            heard.note(number);
            assert!(!heard.is_new(number));
        }
        assert!(!heard.is_new(1_700_000_000_000_000));
    }

    #[test]
    fn after_a_new_beginning_nothing_from_before_counts() {
        let mut heard = Heard::NOTHING;
        heard.note(1000);
        heard.begin_anew(500);
        (400..=500).for_each(|number| assert!(!heard.is_new(number), "{number}"));
        assert!(heard.is_new(501));
        assert!(!heard.is_new(u64::MAX));
        heard.begin_anew(u64::MAX);
        assert!(!heard.is_new(NUMBER_MAX));
    }
}
