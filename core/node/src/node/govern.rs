//! What members voted, as the machines read it.
//!
//! | parameter | who reads it |
//! |---|---|
//! | `earning_rate_base` | [`market`]: every price |
//! | `streak_bonus_cap` | [`market`]: how much more a worker may ask that worked on many days in a row (`node::trade::streak`) |
//! | `earning_cap_hourly`, `free_tier_daily_limit`, `pro_tier_daily_limit`, `education_tier_enabled` | [`policy`]: quotas and hourly caps |
//! | `gossip_interval_ms`, `heartbeat_interval_seconds` | `swim`: how often members gossip and compare what they hold |
//! | `task_timeout_seconds` | [`trade()`]: how long a client lets a worker work, and a worker itself |
//! | `quarantine_duration_hours`, `max_quarantine_ban_days` | [`trade()`]: the first and the longest term |
//! | `min_reputation_threshold` | [`trade()`]: whom this node gives work after what it saw itself |
//! | `max_routing_hops` | [`trade()`]: over how many workers a reservation may be handed |
//! | `replication_factor` | [`referees`]: how many auditors decide about an accusation |
//! | `open_source_license` | [`license`]: compared with that of this crate, when it is built |
//!
//! The usual price is what client and worker come to alike. The days on which a worker worked in a row are known to itself alone, and
//! how busy the network is to nobody, so that is the price of a calm market without a streak; a worker that is busy, or has a streak,
//! asks more by a factor, which it quotes: [`Worker::price`](crate::work::schedule::worker::Worker::price).

use core::time::Duration;

use crate::{
    economy::{
        governance::{Key, Parameters, Value},
        tiers::{Market, Policy},
    },
    kit::{Credits, Ppm},
    mesh::swim,
    node::trade,
};

/// Prices: the factor of everything and what a streak may add; the rest of `market` is what was seen.
pub fn market(parameters: &Parameters, market: Market) -> Market {
    let share = |key| Ppm(u32::try_from(parameters.number(key)).unwrap_or(u32::MAX));
    Market { rate: share(Key::EarningRateBase), streak_cap: share(Key::StreakBonusCap), ..market }
}

/// Quotas and caps.
pub fn policy(parameters: &Parameters) -> Policy {
    let count = |key| u32::try_from(parameters.number(key)).unwrap_or(u32::MAX);
    Policy {
        free_daily: count(Key::FreeTierDailyLimit),
        pro_daily: count(Key::ProTierDailyLimit),
        education: parameters.value(Key::EducationTierEnabled) == Value::Flag(true),
        earning_hourly: Credits(parameters.number(Key::EarningCapHourly)),
    }
}

/// Membership: a period is the interval of gossip, and tables are compared every three heartbeats, which is every thirty
/// periods where both are what they were at first.
pub fn swim(parameters: &Parameters, config: swim::Config) -> swim::Config {
    let gossip = parameters.number(Key::GossipIntervalMs).max(1);
    let heartbeats = 3000 * parameters.number(Key::HeartbeatIntervalSeconds);
    let compare_every = u32::try_from(heartbeats / gossip).unwrap_or(u32::MAX).max(1);
    swim::Config { period: Duration::from_millis(gossip), compare_every, ..config }
}

/// Work and trust: how long, how often, how far.
pub fn trade(parameters: &Parameters, config: &mut trade::Config) {
    let hour = 3600;
    config.client.task_max = Duration::from_secs(parameters.number(Key::TaskTimeoutSeconds));
    config.worker.hops_max = u8::try_from(parameters.number(Key::MaxRoutingHops)).unwrap_or(u8::MAX);
    config.reputation.local_min =
        Ppm(u32::try_from(parameters.number(Key::MinReputationThreshold)).unwrap_or(u32::MAX));
    let first = Duration::from_secs(parameters.number(Key::QuarantineDurationHours) * hour);
    let longest = Duration::from_secs(parameters.number(Key::MaxQuarantineBanDays) * 24 * hour);
    let [_, second, _] = config.quarantine.terms;
    config.quarantine.terms = [first, second, longest];
}

/// How many decide about an accusation.
pub fn referees(parameters: &Parameters) -> usize {
    usize::try_from(parameters.number(Key::ReplicationFactor)).unwrap_or(1).max(1)
}

/// The licence that members are promised, as package registries write it.
pub const fn license(parameters: &Parameters) -> Option<&'static str> {
    match parameters.value(Key::OpenSourceLicense) {
        Value::Mit => Some("MIT"),
        _ => None,
    }
}

/// No vote can change it, and neither can a change of the code that its members do not see.
const _: () = {
    let (own, promised) = (env!("CARGO_PKG_LICENSE").as_bytes(), b"MIT");
    assert!(own.len() == promised.len(), "the licence of this crate is the one that members are promised");
    let mut at = 0;
    while at < own.len() {
        assert!(own[at] == promised[at], "the licence of this crate is the one that members are promised");
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_anybody_voted_all_are_what_they_are_by_themselves() {
        let parameters = Parameters::default();
        assert_eq!(swim(&parameters, swim::Config::default()), swim::Config::default());
        assert_eq!(policy(&parameters), Policy::default());
        assert_eq!(market(&parameters, Market::default()), Market::default());
        let mut config = trade::Config::default();
        trade(&parameters, &mut config);
        assert_eq!(config, trade::Config::default());
        assert_eq!((referees(&parameters), license(&parameters)), (3, Some("MIT")));
    }

    #[test]
    fn each_parameter_has_its_effect() {
        let with = |key, value| Parameters::default().with(key, value).expect("it is in range");
        let price = |key, value| market(&with(key, value), Market::default());
        assert_eq!(price(Key::EarningRateBase, Value::Share(Ppm(1_500_000))).rate, Ppm(1_500_000));
        assert_eq!(price(Key::StreakBonusCap, Value::Share(Ppm(0))).streak_cap, Ppm(0));
        let quota = |key, value| policy(&with(key, value));
        assert_eq!(quota(Key::FreeTierDailyLimit, Value::Count(50)).free_daily, 50);
        assert_eq!(quota(Key::ProTierDailyLimit, Value::Count(5000)).pro_daily, 5000);
        assert!(!quota(Key::EducationTierEnabled, Value::Flag(false)).education);
        assert_eq!(
            quota(Key::EarningCapHourly, Value::Amount(Credits(50_000_000))).earning_hourly,
            Credits(50_000_000)
        );
        let traded = |key, value| {
            let mut config = trade::Config::default();
            trade(&with(key, value), &mut config);
            config
        };
        let slow = traded(Key::TaskTimeoutSeconds, Value::Seconds(900));
        assert_eq!(slow.client.task_max, Duration::from_secs(900));
        let strict = traded(Key::QuarantineDurationHours, Value::Hours(5));
        assert_eq!(strict.quarantine.terms[0], Duration::from_secs(5 * 3600));
        assert_eq!(strict.quarantine.terms[2], Duration::from_secs(30 * 86_400), "nobody can change it");
        assert_eq!(traded(Key::MinReputationThreshold, Value::Share(Ppm(90_000))).reputation.local_min, Ppm(90_000));
        assert_eq!(traded(Key::MaxRoutingHops, Value::Count(5)).worker.hops_max, 5);
        assert_eq!(referees(&with(Key::ReplicationFactor, Value::Count(7))), 7);
        let mesh = |key, value| swim(&with(key, value), swim::Config::default());
        let slow = mesh(Key::GossipIntervalMs, Value::Millis(2000));
        assert_eq!((slow.period, slow.compare_every), (Duration::from_secs(2), 15));
        assert_eq!(mesh(Key::HeartbeatIntervalSeconds, Value::Seconds(20)).compare_every, 60);
    }
}
