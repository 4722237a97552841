//! Days in a row on which this node worked and was paid.
//!
//! Only it knows them, so they are part of what it asks and not of the usual price, which client and worker must come to alike: its quote is
//! higher by as much as members decided ([`tiers::streak`]), and never higher for that than its client would pay.

use super::{Effect, Trade, message::Message};
use crate::{
    economy::tiers::{self, Market},
    kit::{Instant, Signer, Verifier},
    node::govern,
};

/// The last day on which it worked, counted from the beginning of 1970, and the days in a row before that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    pub day: u64,
    pub days: u32,
}

impl Streak {
    /// It worked on `day`; whether that is the first time.
    fn works(&mut self, day: u64) -> bool {
        let new = day > self.day;
        if new {
            *self = Self { day, days: self.days(day) };
        }
        new
    }

    /// Days in a row before `day`; none, if it missed the last one.
    fn days(&self, day: u64) -> u32 {
        match day.checked_sub(self.day) {
            Some(0) => self.days,
            Some(1) => self.days.saturating_add(1),
            _ => 0,
        }
    }
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    fn day_of(&self, now: Instant) -> u64 {
        self.date(now).0 / super::DAY_S
    }

    /// It was paid for something today.
    pub(super) fn works_today(&mut self, now: Instant, out: &mut alloc::vec::Vec<Effect>) {
        let day = self.day_of(now);
        if self.streak.works(day) {
            let Streak { day, days } = self.streak;
            self.keep(self.me, &Message::Worked { day, days }, out);
        }
    }

    /// What it asks where its queue makes it `price`, in parts of a million of the usual price, of a client that would pay up to `most`.
    pub(super) fn asks(&self, now: Instant, price: u32, most: u32) -> u32 {
        let streak_days = self.streak.days(self.day_of(now));
        let market = govern::market(&self.parameters, Market { streak_days, ..Market::default() });
        let asked = u64::from(price) * tiers::streak(&market) / 1_000_000;
        asked.min(most.max(price).into()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streak_is_as_long_as_the_days_before_it_and_ends_with_one_that_is_missed() {
        let mut streak = Streak::default();
        let worked: [(u64, bool, u32); 7] = [
            (100, true, 0),
            (100, false, 0),
            (101, true, 1),
            (102, true, 2),
            (101, false, 2),
            (104, true, 0),
            (105, true, 1),
        ];
        for (day, new, days) in worked {
            assert_eq!((streak.works(day), streak.days), (new, days), "day {day}");
        }
        assert_eq!([104, 105, 106, 107].map(|day| streak.days(day)), [0, 1, 2, 0]);
    }
}
