//! What members voted, as the machines read it.
//!
//! | parameter | who reads it |
//! |---|---|
//! | `earning_rate_base`, `streak_bonus_cap` | [`market`]: every price |
//! | `earning_cap_hourly`, `free_tier_daily_limit`, `pro_tier_daily_limit`, `education_tier_enabled` | [`policy`]: quotas and hourly caps |
//! | `gossip_interval_ms`, `heartbeat_interval_seconds` | `swim`: how often members gossip and compare what they hold |

use core::time::Duration;

use crate::{
    economy::{
        governance::{Key, Parameters, Value},
        tiers::{Market, Policy},
    },
    kit::{Credits, Ppm},
    mesh::swim,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_anybody_voted_all_are_what_they_are_by_themselves() {
        let parameters = Parameters::default();
        assert_eq!(swim(&parameters, swim::Config::default()), swim::Config::default());
        assert_eq!(policy(&parameters), Policy::default());
        assert_eq!(market(&parameters, Market::default()), Market::default());
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
        let mesh = |key, value| swim(&with(key, value), swim::Config::default());
        let slow = mesh(Key::GossipIntervalMs, Value::Millis(2000));
        assert_eq!((slow.period, slow.compare_every), (Duration::from_secs(2), 15));
        assert_eq!(mesh(Key::HeartbeatIntervalSeconds, Value::Seconds(20)).compare_every, 60);
    }
}
