//! Fifty changes that everybody votes for and that would do harm: each is refused, blocked by the simulator, or undone.
//!
//! What a change does is shown by running the machines that it governs where they stand in this crate (prices, quotas, hourly
//! caps), and for the others by the model of a day that is written down in [`Day`].

mod common;

use common::Name;
use tutu_node::{
    economy::{
        governance::{
            BANDS, DEPOSIT, Effect, End, Error, Governance, Input, Key, LOCK_S, Metric, OPENING_S, PROMISING_S,
            Parameters, Proposal, Value,
            parameter::ALL,
            vote::{Ballot, Choice, Opening, Promise, Right, Snapshot},
        },
        tiers::{Earnings, Market, Order, Policy, Quota, Size, Tier, Work, price},
    },
    kit::{Class, Credits, Instant, Machine, NodeId, Ppm, Rng, Signature, Signer, UnixTime},
};

const START: u64 = 1_700_000_000;

/// What members of a network do in a day, and what is known of it.
///
/// A free user asks 60 times a day, a pro user 5,000 times; a school 300 times. A worker is asked for 12 million tokens an hour
/// at most, and spends half a credit of power in it. One task in ten takes longer than a minute, one in a hundred longer
/// than five. A fifth of the members has a trust below 0.25, among them all who cheat; half below 0.55. A dead member is
/// known after some thirty periods of gossip and three heartbeats. An audit repeats one task in a hundred once for each
/// that must agree beyond the first; one disputed result in 50 is wrong if one alone decides.
struct Day(Parameters);

impl Day {
    fn metrics(&self) -> Vec<(Metric, u64)> {
        vec![
            (Metric::TasksDone, self.tasks_done()),
            (Metric::Refusals, self.refusals()),
            (Metric::BadResults, self.bad_results()),
            (Metric::HourlyEarnings, self.hourly_earnings()),
            (
                Metric::DetectionMs,
                30 * self.0.number(Key::GossipIntervalMs) + 3000 * self.0.number(Key::HeartbeatIntervalSeconds) / 10,
            ),
            (Metric::FalseDeaths, self.false_deaths()),
            (Metric::Eligible, self.eligible()),
            (Metric::Overhead, self.overhead()),
        ]
    }

    fn is_harmful(&self) -> bool {
        let metrics = self.metrics();
        BANDS.iter().any(|band| {
            metrics.iter().any(|(name, value)| *name == band.metric && !(band.least..=band.most).contains(value))
        })
    }

    fn policy(&self) -> Policy {
        Policy {
            free_daily: self.0.number(Key::FreeTierDailyLimit) as u32,
            pro_daily: self.0.number(Key::ProTierDailyLimit) as u32,
            education: self.0.value(Key::EducationTierEnabled) == Value::Flag(true),
            earning_hourly: Credits(self.0.number(Key::EarningCapHourly)),
        }
    }

    fn market(&self) -> Market {
        let share = |key| Ppm(self.0.number(key) as u32);
        Market { rate: share(Key::EarningRateBase), streak_cap: share(Key::StreakBonusCap), ..Market::default() }
    }

    /// The worst of the tiers, and what cannot be reached over so few nodes.
    fn refusals(&self) -> u64 {
        let policy = self.policy();
        let of = |tier, count: u64| {
            let mut quota = Quota::new(tier, None);
            let refused = (0..count).filter(|n| {
                let date = UnixTime(n * 86_400 / count);
                let ticket = quota.admit(&policy, 1, 100, Credits(1), date);
                ticket.map(|ticket| quota.settle(ticket, Credits(1))).is_err()
            });
            refused.count() as u64 * 1_000_000 / count
        };
        let unreached = match self.0.number(Key::MaxRoutingHops) {
            1 => 400_000,
            2 => 50_000,
            _ => 0,
        };
        [of(Tier::Free, 60), of(Tier::Education, 300), of(Tier::Pro, 5000), unreached].into_iter().max().unwrap_or(0)
    }

    fn hourly_earnings(&self) -> u64 {
        let order =
            Order { work: Work::Inference, size: Size::Medium, class: Class::Spot, tokens_in: 0, tokens_out: 4000 };
        let each = price(&order, &Market { streak_days: 10, ..self.market() }).unwrap();
        let (mut earnings, mut earned) = (Earnings::default(), 0);
        for _ in 0..3000 {
            earned += earnings.take(&self.policy(), each, UnixTime(START)).map_or(0, |()| each.0);
        }
        // Power costs as much again as thirty credits at the anchor; what is left is what the hour brings.
        earned.saturating_sub(30 * Credits::ONE.0)
    }

    fn tasks_done(&self) -> u64 {
        let timely = match self.0.number(Key::TaskTimeoutSeconds) {
            0..60 => 700_000,
            60..300 => 900_000,
            _ => 990_000,
        };
        // A slot that hangs for longer than half an hour is missing to others; a chain of nodes fails as its links do.
        let hung = self.0.number(Key::TaskTimeoutSeconds).saturating_sub(1800) * 100;
        let links = self.0.number(Key::MaxRoutingHops).saturating_sub(4) * 40_000;
        timely - hung.min(timely) - links.min(500_000)
    }

    fn bad_results(&self) -> u64 {
        let cheats = if self.0.number(Key::MinReputationThreshold) < 250_000 { 30_000 } else { 1000 };
        cheats + if self.0.number(Key::ReplicationFactor) == 1 { 20_000 } else { 0 }
    }

    fn false_deaths(&self) -> u64 {
        // A period below half a second is shorter than what a home machine stalls for; a heartbeat of a second too.
        let short = 500_u64.saturating_sub(self.0.number(Key::GossipIntervalMs)) * 100;
        short + if self.0.number(Key::HeartbeatIntervalSeconds) < 3 { 15_000 } else { 0 }
    }

    fn eligible(&self) -> u64 {
        let trusted = if self.0.number(Key::MinReputationThreshold) > 550_000 { 450_000 } else { 800_000 };
        // A member in twenty fails once a day and is left out for so long.
        trusted - 20_000 * self.0.number(Key::QuarantineDurationHours)
    }

    fn overhead(&self) -> u64 {
        30_000 * self.0.number(Key::ReplicationFactor).saturating_sub(1)
    }
}

/// Fifty changes that do harm, found by trying values all over the ranges and beyond them.
fn harmful() -> Vec<(Key, Value)> {
    let now = Parameters::default();
    let mut rng = Rng::new(6);
    let (mut inside, mut outside) = (vec![], vec![]);
    let mut push = |key: Key, value: Value| match now.with(key, value) {
        Ok(changed) if Day(changed).is_harmful() && !inside.contains(&(key, value)) && inside.len() < 38 => {
            inside.push((key, value))
        }
        Err(_) if value != now.value(key) && outside.len() < 12 => outside.push((key, value)),
        _ => {}
    };
    for spec in ALL {
        push(spec.key, spec.range.0);
        push(spec.key, spec.range.1);
    }
    for (key, value) in [
        (Key::OpenSourceLicense, Value::Flag(false)),
        (Key::MaxQuarantineBanDays, Value::Days(3650)),
        (Key::MaxQuarantineBanDays, Value::Days(0)),
        (Key::EarningRateBase, Value::Share(Ppm(0))),
        (Key::EarningRateBase, Value::Share(Ppm(u32::MAX))),
        (Key::EarningCapHourly, Value::Amount(Credits(0))),
        (Key::FreeTierDailyLimit, Value::Count(0)),
        (Key::TaskTimeoutSeconds, Value::Seconds(0)),
        (Key::GossipIntervalMs, Value::Millis(0)),
        (Key::MinReputationThreshold, Value::Share(Ppm(1_000_000))),
        (Key::MaxRoutingHops, Value::Count(0)),
        (Key::ReplicationFactor, Value::Share(Ppm(1))),
    ] {
        push(key, value);
    }
    for _ in 0..4000 {
        let spec = ALL[rng.below(15) as usize];
        let (least, most) = (spec.range.0.parts().1, spec.range.1.parts().1);
        let number = least + rng.next() % (most - least + 1);
        let value = match spec.default {
            Value::Share(_) => Value::Share(Ppm(number as u32)),
            Value::Amount(_) => Value::Amount(Credits(number)),
            Value::Count(_) => Value::Count(number),
            Value::Millis(_) => Value::Millis(number),
            Value::Seconds(_) => Value::Seconds(number),
            Value::Hours(_) => Value::Hours(number),
            other => other,
        };
        push(spec.key, value);
    }
    inside.extend(outside);
    inside
}

fn member(n: u64) -> Name {
    Name(NodeId::number(n))
}

/// Everybody votes for it. What comes of it if the simulator says `harmless`, and the day is what it is.
fn put_to_vote(key: Key, value: Value, harmless: impl Fn(&Parameters) -> bool) -> Result<(Parameters, End), Error> {
    let rights = (0..10).map(|n| Right { voter: member(n).key(), locked: Credits(1 << 40), trust: 1 << 58 }).collect();
    let snapshot = Snapshot::new(rights, 10 << 58, Credits(1 << 45)).unwrap();
    let mut governance = Governance::new(member(99));
    let mut out = vec![];
    let mut tell = |governance: &mut Governance<Name>, input| {
        out.clear();
        governance.handle(Instant::default(), input, &mut out);
        out.clone()
    };
    let date = |after: u64| Input::Date(UnixTime(START + after));
    tell(&mut governance, date(0));
    let proposal = Proposal {
        author: member(0).key(),
        title: "harm".into(),
        key,
        value,
        bands: vec![],
        made: UnixTime(START),
        snapshot: snapshot.digest(),
        signature: Signature([0; 64]),
    }
    .sign(&member(0));
    let id = proposal.id();
    let propose = Input::Propose { proposal: Box::new(proposal), snapshot, deposited: DEPOSIT };
    let parameters = match &tell(&mut governance, propose)[..] {
        [Effect::Refused(error)] => return Err(*error),
        [Effect::Save(_), Effect::Simulate { parameters, .. }] => *parameters,
        other => panic!("{other:?}"),
    };
    let ballot = Ballot { choice: Choice::For, share: Ppm::ALL };
    for n in 0..10 {
        let sealed = ballot.seal(&id, &member(n).key(), &[1; 32]);
        tell(&mut governance, Input::Promise(Promise::new(id, 1, sealed, &member(n))));
    }
    tell(&mut governance, Input::Simulated { id, harmless: harmless(&parameters) });
    tell(&mut governance, date(PROMISING_S));
    for n in 0..10 {
        tell(&mut governance, Input::Open(Opening { proposal: id, voter: member(n).key(), ballot, salt: [1; 32] }));
    }
    tell(&mut governance, date(PROMISING_S + OPENING_S));
    let mut after = PROMISING_S + OPENING_S + LOCK_S;
    while governance.ended(&id).is_none() {
        tell(&mut governance, date(after));
        let metrics = Day(*governance.parameters()).metrics();
        tell(&mut governance, Input::Measured(metrics));
        after += 3600;
        assert!(after < 60 * 86_400, "it never ends");
    }
    Ok((*governance.parameters(), governance.ended(&id).unwrap()))
}

#[test]
fn fifty_harmful_changes_are_all_refused_blocked_or_undone() {
    assert!(!Day(Parameters::default()).is_harmful(), "{:?}", Day(Parameters::default()).metrics());
    let changes = harmful();
    assert_eq!(changes.len(), 50);
    let (mut refused, mut blocked, mut undone) = (0, 0, 0);
    for (key, value) in changes {
        match put_to_vote(key, value, |parameters| !Day(*parameters).is_harmful()) {
            Err(Error::Change(_)) => {
                refused += 1;
                continue;
            }
            Ok((now, End::Blocked)) => {
                assert_eq!(now, Parameters::default());
                blocked += 1;
            }
            other => panic!("{key:?} {value}: {other:?}"),
        }
        // And if the simulator had seen nothing.
        assert_eq!(put_to_vote(key, value, |_| true), Ok((Parameters::default(), End::RolledBack)), "{key:?} {value}");
        undone += 1;
    }
    assert_eq!((refused, blocked, undone), (12, 38, 38));
}

#[test]
fn changes_that_do_no_harm_hold() {
    for (key, value) in [
        (Key::EarningRateBase, Value::Share(Ppm(1_200_000))),
        (Key::FreeTierDailyLimit, Value::Count(200)),
        (Key::TaskTimeoutSeconds, Value::Seconds(600)),
        (Key::GossipIntervalMs, Value::Millis(800)),
        (Key::ReplicationFactor, Value::Count(2)),
    ] {
        let changed = Parameters::default().with(key, value).unwrap();
        assert_eq!(put_to_vote(key, value, |parameters| !Day(*parameters).is_harmful()), Ok((changed, End::Settled)));
    }
}
