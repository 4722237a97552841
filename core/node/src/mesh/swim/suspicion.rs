//! How long a member stays suspected before it is declared dead, and whose word counts.
//!
//! The time-out starts long and shrinks with each *different* member who says the same (Lifeguard §IV.B): an accuser that
//! is slow itself stands alone. Nobody's word is enough to declare a death, and no number of words makes the time-out
//! shorter than [`Config::floor`](super::Config): the accused always has time to hear of it and to answer.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use super::message::Accusation;
use crate::kit::{Fault, Instant, fault};

/// Different accusers, beyond the first, after which the time-out is at its shortest. Source: Lifeguard §V: K = 3.
pub(super) const CONFIRMERS: usize = 3;

/// An open suspicion of one member.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Suspicion {
    pub incarnation: u64,
    /// When it began, here or with whoever told us.
    pub since: Instant,
    /// When we heard of it.
    pub heard: Instant,
    /// The first first.
    pub accusers: Vec<Accuser>,
    /// A signed word that can be shown to the accused; none if all we have is what our neighbours think.
    pub proof: Option<Box<Accusation>>,
    /// Of the question to the suspect itself, if there is no such word.
    pub nonce: Option<u32>,
    /// Whether others were asked for a newer record.
    pub asked: bool,
    pub due: Instant,
}

/// Somebody who says that the suspect does not answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Accuser {
    /// Where it is ([`super::table::place_of`]): names at one place have one voice.
    pub place: u64,
    /// Whether it signed that, and can be blamed for it before others.
    pub signed: bool,
}

/// The time-outs that hold at the present number of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub shortest: Duration,
    pub longest: Duration,
    pub floor: Duration,
    /// How long before the end others are asked for a newer record, in case it passed us by; not at all, if zero.
    pub last_call: Duration,
}

impl Suspicion {
    pub fn new(incarnation: u64, accuser: Accuser, since: Instant, now: Instant, bounds: &Bounds) -> Self {
        let mut new = Self {
            incarnation,
            since,
            heard: now,
            accusers: alloc::vec![accuser],
            proof: None,
            nonce: None,
            asked: bounds.last_call.is_zero(),
            due: now,
        };
        new.set_due(bounds);
        new
    }

    /// Counts one more word. Whether it was one that counts.
    pub fn confirm(&mut self, accuser: Accuser, bounds: &Bounds) -> bool {
        let counts =
            self.accusers.len() <= CONFIRMERS && (!self.names(accuser.place) || fault::on(Fault::EveryWordCounts));
        if counts {
            self.accusers.push(accuser);
            self.set_due(bounds);
        }
        counts
    }

    /// When something is to be done: others are to be asked, or it is the end.
    pub fn next(&self, bounds: &Bounds) -> Instant {
        if self.asked {
            return self.due;
        }
        let last_call = self.due.as_micros().saturating_sub(bounds.last_call.as_micros() as u64);
        Instant::from_micros(last_call).max(self.heard)
    }

    /// Whether somebody at `place` is among the accusers.
    pub fn names(&self, place: u64) -> bool {
        self.accusers.iter().any(|accuser| accuser.place == place)
    }

    /// The suspecting node slept for so long: nothing that it should have heard meanwhile is held against anybody.
    pub fn forgive(&mut self, slept: Duration, bounds: &Bounds) {
        self.since = self.since + slept;
        self.heard = self.heard + slept;
        self.asked = bounds.last_call.is_zero();
        self.set_due(bounds);
    }

    fn set_due(&mut self, bounds: &Bounds) {
        // 1 - log(c+1)/log(K+1) for K = 3, in thousandths (Lifeguard §IV.B, with the logarithm written out).
        const SHRINK: [u32; CONFIRMERS + 1] = [1000, 500, 208, 0];
        let confirmed = if fault::on(Fault::ConfirmersIgnored) { 0 } else { self.accusers.len() - 1 };
        let spread = bounds.longest.saturating_sub(bounds.shortest);
        let timeout = bounds.shortest + spread * SHRINK[confirmed.min(CONFIRMERS)] / 1000;
        self.due = (self.since + timeout).max(self.heard + bounds.floor);
        if fault::on(Fault::DeclaredAtOnce) {
            (self.due, self.asked) = (self.heard + Duration::from_micros(1), true);
        }
    }
}

/// Places of accusers whose accusations were refuted. One that cries wolf is not heard for a while, and longer each time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wolves {
    /// Place, strikes, when the last one fades or the silence ends.
    list: Vec<Wolf>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Wolf {
    who: u64,
    strikes: u32,
    until: Instant,
}

impl Wolves {
    /// Refuted accusations that are forgiven: an honest member on a bad line makes some too.
    const STRIKES: u32 = 4;
    /// Accusers that are remembered; beyond, whoever would be forgiven first goes.
    const MAX: usize = 512;

    /// Whether nobody listens to `who` at `now`.
    pub fn silences(&self, who: u64, now: Instant) -> bool {
        !fault::on(Fault::WolvesHeard)
            && self.list.iter().any(|wolf| wolf.who == who && wolf.strikes >= Self::STRIKES && wolf.until > now)
    }

    /// An accusation by `who` was refuted. Strikes fade one by one, `minute` apart; those beyond the fourth double the
    /// silence.
    pub fn strike(&mut self, who: u64, now: Instant, minute: Duration) {
        self.list.retain_mut(|wolf| {
            if wolf.until <= now && wolf.strikes > 0 {
                let faded = now.since(wolf.until).as_micros() / minute.as_micros().max(1) + 1;
                wolf.strikes = wolf.strikes.saturating_sub(u32::try_from(faded).unwrap_or(u32::MAX));
                wolf.until = now + minute;
            }
            wolf.strikes > 0
        });
        let at = self.list.iter().position(|wolf| wolf.who == who).unwrap_or_else(|| {
            if self.list.len() >= Self::MAX {
                let mild = self.list.iter().enumerate().min_by_key(|(_, wolf)| (wolf.strikes, wolf.until));
                let at = mild.map_or(0, |(at, _)| at);
                self.list.swap_remove(at);
            }
            self.list.push(Wolf { who, strikes: 0, until: now });
            self.list.len() - 1
        });
        let wolf = &mut self.list[at];
        wolf.strikes = (wolf.strikes + 1).min(Self::STRIKES + 10);
        wolf.until = now + minute * (1 << wolf.strikes.saturating_sub(Self::STRIKES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        shortest: Duration::from_secs(10),
        longest: Duration::from_secs(60),
        floor: Duration::from_secs(4),
        last_call: Duration::from_secs(2),
    };

    fn by(place: u64) -> Accuser {
        Accuser { place, signed: true }
    }

    #[test]
    fn different_accusers_shrink_the_time_and_repeats_do_not() {
        let zero = Instant::default();
        let mut suspicion = Suspicion::new(1, by(7), zero, zero, &BOUNDS);
        let mut due = alloc::vec![suspicion.due.as_micros() / 1_000_000];
        for accuser in [7, 8, 8, 9, 10, 11] {
            suspicion.confirm(by(accuser), &BOUNDS);
            due.push(suspicion.due.as_micros() / 1_000_000);
        }
        assert_eq!(due, [60, 60, 35, 35, 20, 10, 10]);
    }

    #[test]
    fn no_age_and_no_number_of_accusers_beats_the_floor() {
        let now = Instant::from_millis(100_000);
        let mut suspicion = Suspicion::new(1, by(7), Instant::default(), now, &BOUNDS);
        let counted = (8..20).filter(|accuser| suspicion.confirm(by(*accuser), &BOUNDS)).count();
        assert_eq!(counted, CONFIRMERS);
        assert_eq!(suspicion.due, Instant::from_millis(104_000));
    }

    #[test]
    fn who_cries_wolf_is_not_heard_and_after_a_while_is_again() {
        let minute = Duration::from_secs(60);
        let mut wolves = Wolves::default();
        let at = |second: u64| Instant::from_millis(second * 1000);
        (0..3).for_each(|n| wolves.strike(5, at(n), minute));
        assert!(!wolves.silences(5, at(3)));
        wolves.strike(5, at(3), minute);
        assert!(wolves.silences(5, at(4)) && !wolves.silences(6, at(4)));
        assert!(!wolves.silences(5, at(64)));
        wolves.strike(5, at(64), minute);
        wolves.strike(5, at(64), minute);
        assert!(wolves.silences(5, at(64 + 100)), "the silence doubles");
        (0..2000).for_each(|who| wolves.strike(who, at(100), minute));
        assert!(wolves.list.len() <= Wolves::MAX);
    }
}
