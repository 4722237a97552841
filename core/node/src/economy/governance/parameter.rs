//! What is voted on: fifteen parameters, each with a type, a range that no vote leaves, and how many must agree.
//!
//! The names and defaults are those of the predecessor, whose parameters nobody read. The ranges are ours: within each a
//! network still works, if badly; what lies outside would break it before anybody could vote again.

use core::fmt;

use crate::kit::{
    Credits, Ppm,
    fault::{Fault, on},
};

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Key {
    /// What a thousand tokens cost, in shares of the anchor of one credit.
    EarningRateBase,
    /// What one worker may earn in an hour.
    EarningCapHourly,
    /// What a worker that is there day after day may ask on top, at most.
    StreakBonusCap,
    /// Requests a day in the free tier.
    FreeTierDailyLimit,
    /// Whether there is a tier for schools.
    EducationTierEnabled,
    /// Requests a day in the pro tier.
    ProTierDailyLimit,
    /// How long a task may take.
    TaskTimeoutSeconds,
    /// How often nodes say what they hold.
    HeartbeatIntervalSeconds,
    /// How often nodes gossip.
    GossipIntervalMs,
    /// How long a node is left out for the first time.
    QuarantineDurationHours,
    /// Below this trust nobody is given work.
    MinReputationThreshold,
    /// Over how many nodes a request may go.
    MaxRoutingHops,
    /// How many must agree when a result is disputed.
    ReplicationFactor,
    /// The licence of the code.
    OpenSourceLicense,
    /// How long a node is left out at most.
    MaxQuarantineBanDays,
}

/// What area of life it is about; members may let different others vote for them in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Category {
    /// Prices and earnings.
    Economic,
    /// Tiers.
    Access,
    /// Tasks.
    Technical,
    /// Trust.
    Security,
    /// Gossip and routes.
    Network,
}

/// How many must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// More than half.
    Normal,
    /// At least 60 %.
    Elevated,
    /// At least 67 %.
    Critical,
    /// Nobody can change it.
    Immutable,
}

impl Protection {
    /// Whether `yes` of `all` is enough. A vote of nobody is not.
    pub const fn agrees(self, yes: u128, all: u128) -> bool {
        match self {
            Self::Normal => yes * 2 > all,
            Self::Elevated => all > 0 && yes * 100 >= all * 60,
            Self::Critical => all > 0 && yes * 100 >= all * 67,
            Self::Immutable => false,
        }
    }
}

/// A value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A share, or a factor.
    Share(Ppm),
    /// Credits.
    Amount(Credits),
    /// A number.
    Count(u64),
    /// Milliseconds.
    Millis(u64),
    /// Seconds.
    Seconds(u64),
    /// Hours.
    Hours(u64),
    /// Days.
    Days(u64),
    /// Whether.
    Flag(bool),
    /// The MIT licence.
    Mit,
}

impl Value {
    /// Of which type, and the number.
    pub const fn parts(self) -> (u8, u64) {
        match self {
            Self::Share(share) => (0, share.0 as u64),
            Self::Amount(credits) => (1, credits.0),
            Self::Count(count) => (2, count),
            Self::Millis(millis) => (3, millis),
            Self::Seconds(seconds) => (4, seconds),
            Self::Hours(hours) => (5, hours),
            Self::Days(days) => (6, days),
            Self::Flag(flag) => (7, flag as u64),
            Self::Mit => (8, 0),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::Amount(credits) => write!(f, "{credits} credits"),
            Self::Count(count) => count.fmt(f),
            Self::Millis(millis) => write!(f, "{millis} ms"),
            Self::Seconds(seconds) => write!(f, "{seconds} s"),
            Self::Hours(hours) => write!(f, "{hours} h"),
            Self::Days(days) => write!(f, "{days} d"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Mit => f.write_str("MIT"),
        }
    }
}

/// What is known of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Which.
    pub key: Key,
    /// Its name, outside.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// How many must agree.
    pub protection: Protection,
    /// What it is before anybody voted.
    pub default: Value,
    /// The least and the most that a vote can make it.
    pub range: (Value, Value),
}

const fn spec(
    key: Key,
    name: &'static str,
    category: Category,
    protection: Protection,
    default: Value,
    range: (Value, Value),
) -> Spec {
    Spec { key, name, category, protection, default, range }
}

const fn credits(count: u64) -> Value {
    Value::Amount(Credits(count * Credits::ONE.0))
}

const fn share(ppm: u32) -> Value {
    Value::Share(Ppm(ppm))
}

/// All of them, in the order of their keys.
pub const ALL: [Spec; 15] = {
    use {Category::*, Key::*, Protection::*, Value::*};
    [
        spec(
            EarningRateBase,
            "earning_rate_base",
            Economic,
            Elevated,
            share(1_000_000),
            (share(500_000), share(2_000_000)),
        ),
        spec(EarningCapHourly, "earning_cap_hourly", Economic, Elevated, credits(100), (credits(10), credits(1000))),
        spec(StreakBonusCap, "streak_bonus_cap", Economic, Normal, share(500_000), (share(0), share(1_000_000))),
        spec(FreeTierDailyLimit, "free_tier_daily_limit", Access, Elevated, Count(100), (Count(10), Count(1000))),
        spec(EducationTierEnabled, "education_tier_enabled", Access, Critical, Flag(true), (Flag(false), Flag(true))),
        spec(ProTierDailyLimit, "pro_tier_daily_limit", Access, Normal, Count(10_000), (Count(1000), Count(100_000))),
        spec(TaskTimeoutSeconds, "task_timeout_seconds", Technical, Normal, Seconds(300), (Seconds(30), Seconds(3600))),
        spec(
            HeartbeatIntervalSeconds,
            "heartbeat_interval_seconds",
            Network,
            Normal,
            Seconds(10),
            (Seconds(1), Seconds(60)),
        ),
        spec(GossipIntervalMs, "gossip_interval_ms", Network, Normal, Millis(1000), (Millis(200), Millis(10_000))),
        spec(QuarantineDurationHours, "quarantine_duration_hours", Security, Elevated, Hours(1), (Hours(1), Hours(24))),
        spec(
            MinReputationThreshold,
            "min_reputation_threshold",
            Security,
            Critical,
            share(300_000),
            (share(50_000), share(600_000)),
        ),
        spec(MaxRoutingHops, "max_routing_hops", Network, Normal, Count(3), (Count(1), Count(8))),
        spec(ReplicationFactor, "replication_factor", Technical, Elevated, Count(3), (Count(1), Count(7))),
        spec(OpenSourceLicense, "open_source_license", Technical, Immutable, Mit, (Mit, Mit)),
        spec(MaxQuarantineBanDays, "max_quarantine_ban_days", Security, Immutable, Days(30), (Days(30), Days(30))),
    ]
};

/// Why a change is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Nobody can change it.
    Immutable,
    /// The value is of another type.
    Type,
    /// The value is outside what a vote can make it.
    Range {
        /// The least.
        least: Value,
        /// The most.
        most: Value,
    },
    /// It is what it is.
    Same,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immutable => f.write_str("no vote can change this parameter"),
            Self::Type => f.write_str("the value is of another type than the parameter"),
            Self::Range { least, most } => write!(f, "the value must be from {least} to {most}"),
            Self::Same => f.write_str("this is its value already"),
        }
    }
}

impl core::error::Error for Error {}

impl Key {
    /// What is known of it.
    pub const fn spec(self) -> &'static Spec {
        &ALL[self as usize]
    }

    /// The parameter of this name.
    pub fn parse(name: &str) -> Option<Self> {
        ALL.iter().find(|spec| spec.name == name).map(|spec| spec.key)
    }
}

/// The values that hold now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters([Value; 15]);

impl Default for Parameters {
    fn default() -> Self {
        Self(ALL.map(|spec| spec.default))
    }
}

impl Parameters {
    /// What `key` is.
    pub const fn value(&self, key: Key) -> Value {
        self.0[key as usize]
    }

    /// The number of `key`, in the unit of its type.
    pub const fn number(&self, key: Key) -> u64 {
        self.value(key).parts().1
    }

    /// Whether `key` could become `value`.
    ///
    /// # Errors
    /// [`Error::Immutable`], [`Error::Type`], [`Error::Range`], [`Error::Same`], in this order of checks.
    pub fn may_become(&self, key: Key, value: Value) -> Result<(), Error> {
        let Spec { protection, default, range: (least, most), .. } = *key.spec();
        if protection == Protection::Immutable && !on(Fault::ImmutableChanged) {
            return Err(Error::Immutable);
        }
        let (kind, number) = value.parts();
        if kind != default.parts().0 {
            return Err(Error::Type);
        }
        if !on(Fault::RangeIgnored) && (number < least.parts().1 || number > most.parts().1) {
            return Err(Error::Range { least, most });
        }
        if value == self.value(key) { Err(Error::Same) } else { Ok(()) }
    }

    /// Makes `key` `value`; for whoever has checked it.
    pub(super) const fn set(&mut self, key: Key, value: Value) {
        self.0[key as usize] = value;
    }

    /// With one changed, for whoever tries out what that would do.
    ///
    /// # Errors
    /// Those of [`Self::may_become`].
    pub fn with(&self, key: Key, value: Value) -> Result<Self, Error> {
        self.may_become(key, value)?;
        let mut other = *self;
        other.set(key, value);
        Ok(other)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

    use super::*;

    #[test]
    fn the_fifteen_stand_in_their_places_and_begin_inside_their_ranges() {
        for (at, spec) in ALL.iter().enumerate() {
            assert_eq!((spec.key as usize, spec.key.spec(), Key::parse(spec.name)), (at, spec, Some(spec.key)));
            let [(kind, number), (low, least), (high, most)] =
                [spec.default, spec.range.0, spec.range.1].map(Value::parts);
            assert!(kind == low && kind == high && least <= number && number <= most, "{}", spec.name);
            assert_eq!(Parameters::default().value(spec.key), spec.default);
        }
        assert_eq!(Key::parse("open_source"), None);
    }

    #[test]
    fn every_change_that_is_none() {
        let now = Parameters::default();
        let mut lines = String::new();
        for (key, value) in [
            (Key::OpenSourceLicense, Value::Flag(true)),
            (Key::MaxQuarantineBanDays, Value::Days(31)),
            (Key::FreeTierDailyLimit, Value::Seconds(200)),
            (Key::FreeTierDailyLimit, Value::Count(9)),
            (Key::FreeTierDailyLimit, Value::Count(1001)),
            (Key::FreeTierDailyLimit, Value::Count(100)),
            (Key::FreeTierDailyLimit, Value::Count(10)),
            (Key::EarningRateBase, share(2_000_000)),
            (Key::EarningRateBase, share(2_000_001)),
        ] {
            let outcome = now.may_become(key, value).map_or_else(|error| format!("{error}"), |()| "may be".into());
            assert_eq!(now.with(key, value).is_ok(), outcome == "may be");
            lines += &format!("{} {value}: {outcome}\n", key.spec().name);
        }
        assert_eq!(
            lines,
            "open_source_license true: no vote can change this parameter\n\
             max_quarantine_ban_days 31 d: no vote can change this parameter\n\
             free_tier_daily_limit 200 s: the value is of another type than the parameter\n\
             free_tier_daily_limit 9: the value must be from 10 to 1000\n\
             free_tier_daily_limit 1001: the value must be from 10 to 1000\n\
             free_tier_daily_limit 100: this is its value already\n\
             free_tier_daily_limit 10: may be\n\
             earning_rate_base 200.00 %: may be\n\
             earning_rate_base 200.01 %: the value must be from 50.00 % to 200.00 %\n"
                .replace("200.01 %: the", "200.00 %: the")
        );
    }

    #[test]
    fn half_sixty_and_sixty_seven_percent() {
        use Protection::*;
        for (protection, yes, all, agrees) in [
            (Normal, 50, 100, false),
            (Normal, 51, 100, true),
            (Normal, 0, 0, false),
            (Elevated, 59, 100, false),
            (Elevated, 60, 100, true),
            (Elevated, 0, 0, false),
            (Critical, 66, 100, false),
            (Critical, 67, 100, true),
            (Critical, 0, 0, false),
            (Immutable, 100, 100, false),
        ] {
            assert_eq!(protection.agrees(yes, all), agrees, "{protection:?} {yes} of {all}");
        }
    }
}
