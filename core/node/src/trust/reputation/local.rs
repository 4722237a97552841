//! What this node itself has seen of a peer: five components and what was held against it.

use crate::kit::{Ppm, UnixTime};

const DAY: u64 = 86_400;

/// Moving averages of what one peer did for us, in parts per million.
///
/// The components, their weights, the rates of learning and the tiers are the predecessor's. We leave it where it was at
/// odds with itself: a new peer is neutral (longevity begins in the middle, not at nothing), what is held against a peer fades,
/// and who is not heard of drifts to the middle from both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    reliability: u32,
    accuracy: u32,
    availability: u32,
    speed: u32,
    /// Sessions seen.
    tasks: u32,
    /// Penalties, each a million when it is new.
    penalties: u32,
    since: UnixTime,
    last: UnixTime,
}

/// One session with a peer, as this node saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whether it was done at all.
    pub done: bool,
    /// What an audit found, if there was one: how much of it was right.
    pub accuracy: Option<Ppm>,
    /// How fast it was for what was promised; more than all counts as all.
    pub speed: Option<Ppm>,
}

/// What a score is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Below 0.3.
    Poor,
    /// Below 0.5.
    Low,
    /// Below 0.7.
    Neutral,
    /// Below 0.9.
    Good,
    /// From 0.9.
    Excellent,
}

impl Local {
    /// Somebody who was just met.
    pub const fn new(now: UnixTime) -> Self {
        let half = 500_000;
        Self {
            reliability: half,
            accuracy: half,
            availability: half,
            speed: half,
            tasks: 0,
            penalties: 0,
            since: now,
            last: now,
        }
    }

    /// Takes in a session.
    pub fn record(&mut self, now: UnixTime, session: Session) {
        self.fade(now);
        self.tasks = self.tasks.saturating_add(1);
        // A newcomer is learned quickly, later one session is one of many.
        let rate = if self.tasks <= 10 { 300_000 } else { 100_000 };
        let learn = |value: &mut u32, sample: u32| {
            *value =
                ((u64::from(*value) * (1_000_000 - rate) + u64::from(sample.min(1_000_000)) * rate) / 1_000_000) as u32;
        };
        learn(&mut self.reliability, if session.done { 1_000_000 } else { 0 });
        learn(&mut self.availability, if session.done { 1_000_000 } else { 0 });
        if let Some(accuracy) = session.accuracy {
            learn(&mut self.accuracy, accuracy.0);
        }
        if let Some(speed) = session.speed.filter(|_| session.done) {
            learn(&mut self.speed, speed.0);
        }
    }

    /// Takes in that the peer did or did not answer when it was asked whether it is there.
    pub fn answered(&mut self, now: UnixTime, there: bool) {
        self.fade(now);
        let sample = if there { 1_000_000 } else { 0 };
        // A question is cheaper than a session and says less.
        self.availability = (self.availability * 99 + sample) / 100;
    }

    /// Holds something against the peer, such as a session left in the middle.
    pub fn penalise(&mut self, now: UnixTime) {
        self.fade(now);
        self.penalties = self.penalties.saturating_add(1_000_000).min(20_000_000);
    }

    /// Reliability, accuracy, availability, speed and longevity, in this order.
    pub fn components(&self, now: UnixTime) -> [Ppm; 5] {
        let days = now.0.saturating_sub(self.since.0) / DAY;
        // Half when new, all after 180 days.
        let longevity = 500_000 + (days.min(180) * 500_000 / 180) as u32;
        [self.reliability, self.accuracy, self.availability, self.speed, longevity].map(Ppm)
    }

    /// All of it in one number, between a tenth and one: 0.30, 0.25, 0.20, 0.15 and 0.10 of the components, less 0.05 for
    /// each penalty.
    pub fn overall(&self, now: UnixTime) -> Ppm {
        let mut faded = *self;
        faded.fade(now);
        let shares = [30, 25, 20, 15, 10];
        let sum: u32 = faded.components(now).iter().zip(shares).map(|(part, share)| part.0 / 100 * share).sum();
        Ppm(sum.saturating_sub(faded.penalties / 20).clamp(100_000, 1_000_000))
    }

    /// What the overall number is called.
    pub fn tier(&self, now: UnixTime) -> Tier {
        match self.overall(now).0 {
            900_000.. => Tier::Excellent,
            700_000.. => Tier::Good,
            500_000.. => Tier::Neutral,
            300_000.. => Tier::Low,
            _ => Tier::Poor,
        }
    }

    /// How many sessions were seen.
    pub const fn tasks(&self) -> u32 {
        self.tasks
    }

    /// For each whole week without news 1 % of the way to the middle, and each penalty loses a sixth (so half in a month).
    fn fade(&mut self, now: UnixTime) {
        let weeks = now.0.saturating_sub(self.last.0) / (7 * DAY);
        self.last.0 += weeks * 7 * DAY;
        // After ten years all has faded; more steps change nothing.
        for _ in 0..weeks.min(520) {
            for part in [&mut self.reliability, &mut self.accuracy, &mut self.availability, &mut self.speed] {
                *part = (*part * 99 + 500_000) / 100;
            }
            self.penalties -= self.penalties / 6;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime(1_700_000_000);
    const GOOD: Session = Session { done: true, accuracy: Some(Ppm::ALL), speed: Some(Ppm::ALL) };
    const BAD: Session = Session { done: false, accuracy: None, speed: None };

    fn later(days: u64) -> UnixTime {
        UnixTime(START.0 + days * DAY)
    }

    #[test]
    fn a_newcomer_is_neutral() {
        let local = Local::new(START);
        assert_eq!((local.overall(START), local.tier(START)), (Ppm(500_000), Tier::Neutral));
    }

    #[test]
    fn good_sessions_raise_it_and_bad_ones_lower_it() {
        let mut local = Local::new(START);
        let mut before = local.overall(START);
        for _ in 0..10 {
            local.record(START, GOOD);
            assert!(local.overall(START) > before);
            before = local.overall(START);
        }
        assert_eq!(local.tier(START), Tier::Excellent);
        for _ in 0..10 {
            local.record(START, BAD);
            assert!(local.overall(START) < before);
            before = local.overall(START);
        }
        assert_eq!(local.tier(START), Tier::Neutral);
        assert_eq!(local.tasks(), 20);
    }

    #[test]
    fn an_audit_that_failed_counts_and_one_that_was_not_made_does_not() {
        let (mut wrong, mut unseen) = (Local::new(START), Local::new(START));
        wrong.record(START, Session { accuracy: Some(Ppm(0)), ..GOOD });
        unseen.record(START, Session { accuracy: None, ..GOOD });
        assert_eq!(wrong.components(START)[1], Ppm(350_000));
        assert_eq!(unseen.components(START)[1], Ppm(500_000));
    }

    #[test]
    fn silence_leads_to_the_middle_from_both_sides_and_penalties_fade() {
        let (mut best, mut worst) = (Local::new(START), Local::new(START));
        (0..50).for_each(|_| best.record(START, GOOD));
        (0..50).for_each(|_| worst.record(START, BAD));
        (0..4).for_each(|_| worst.penalise(START));
        assert_eq!(worst.overall(START), Ppm(100_000));
        let (mut high, mut low) = (best.overall(START), worst.overall(START));
        for year in 1..9 {
            let (best, worst) = (best.overall(later(year * 365)), worst.overall(later(year * 365)));
            // Longevity goes up meanwhile, for both.
            assert!(year == 1 || best <= high && worst >= low, "year {year}: {best} {worst}");
            (high, low) = (best, worst);
        }
        assert!(high.0.abs_diff(550_000) < 30_000 && low.0.abs_diff(550_000) < 30_000, "{high} {low}");
    }

    #[test]
    fn longevity_takes_half_a_year() {
        let local = Local::new(START);
        assert_eq!(local.components(later(90))[4], Ppm(750_000));
        assert_eq!(local.components(later(900))[4], Ppm::ALL);
        assert_eq!(local.components(UnixTime(0))[4], Ppm(500_000), "a clock that went back");
    }

    #[test]
    fn whoever_does_not_answer_loses_availability_slowly() {
        let mut local = Local::new(START);
        (0..100).for_each(|_| local.answered(START, false));
        assert!((150_000..200_000).contains(&local.components(START)[2].0), "{:?}", local.components(START));
    }
}
