//! What it costs, and how much of it anybody may have.
//!
//! One price for everybody, anchored at **1 credit for 1,000 tokens**: tokens that a model of 3 to 9 billion parameters
//! writes, in the standard class, while the network is not busy. Everything else is a factor to that ([`price`]). The worker
//! earns what the asker pays; nothing is minted.
//!
//! One table of tiers ([`Tier`]) says how much each key may ask for a day and a minute, and a [`Quota`] keeps to it, and to
//! a hard cap in credits: what is under way counts as spent, so fifty requests at once pass a cap as little as one. A
//! [`Desk`] has the quotas of all keys of a node.

mod desk;

use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

pub use self::desk::{Desk, Key, Used};
use crate::kit::{
    Class, Credits, Ppm, UnixTime,
    fault::{Fault, on},
};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A text is written.
    Inference,
    /// A text becomes a vector.
    Embedding,
    /// A text is written in many steps, with tools.
    Agent,
    /// A model learns.
    FineTune,
}

/// How large the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// Below 3 billion parameters.
    Small,
    /// Below 9: the anchor.
    Medium,
    /// Below 36.
    Large,
    /// Below 110.
    Huge,
    /// Above.
    Giant,
}

impl Size {
    /// Of a model with so many parameters.
    pub const fn of(parameters: u64) -> Self {
        match parameters / 1_000_000_000 {
            0..=2 => Self::Small,
            3..=8 => Self::Medium,
            9..=35 => Self::Large,
            36..=109 => Self::Huge,
            _ => Self::Giant,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is done.
    pub work: Work,
    /// With how large a model.
    pub size: Size,
    /// How urgent.
    pub class: Class,
    /// Tokens that are read.
    pub tokens_in: u64,
    /// Tokens that are written, at most; a hold is for them, and what was not written comes back.
    pub tokens_out: u64,
}

/// What the price depends on beside the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// Factor to everything, as members voted (`earning_rate_base`).
    pub rate: Ppm,
    /// Share of the network's slots for this model that are in use.
    pub load: Ppm,
    /// Days in a row on which the worker was there.
    pub streak_days: u32,
    /// What that may add at most, as members voted (`streak_bonus_cap`).
    pub streak_cap: Ppm,
}

impl Default for Market {
    /// The anchor.
    fn default() -> Self {
        Self { rate: Ppm::ALL, load: Ppm(0), streak_days: 0, streak_cap: Ppm(500_000) }
    }
}

/// Micro-credits for one token at the anchor.
pub const TOKEN: u64 = 1000;
/// The longest order: more tokens than any model holds.
pub const TOKENS_MAX: u64 = 1 << 32;

/// What an order costs; rounded up, so that nothing is free. `None` for more than [`TOKENS_MAX`] tokens.
///
/// | factor | |
/// |---|---|
/// | token read | 1/4 of one written: a prompt is read in one pass of all tokens, at a tenth to a third of the time |
/// | work | inference 1, embedding 0.3, agent 5, fine-tuning 10 (the predecessor's) |
/// | size | 0.5, 1, 2.5, 6, 15: as the weights that are read for each token |
/// | class | realtime 2, standard 1, batch 0.5, spot 0.25 |
/// | load | 1 up to 70 %, from there to 3 at 100 %: it dampens demand before queues grow |
/// | streak | 5 % a day up to the cap (the predecessor's); the worker's whole premium for being there |
pub fn price(order: &Order, market: &Market) -> Option<Credits> {
    if order.tokens_in > TOKENS_MAX || order.tokens_out > TOKENS_MAX {
        return None;
    }
    let work = match order.work {
        Work::Inference => 1_000_000,
        Work::Embedding => 300_000,
        Work::Agent => 5_000_000,
        Work::FineTune => 10_000_000,
    };
    let size = match order.size {
        Size::Small => 500_000,
        Size::Medium => 1_000_000,
        Size::Large => 2_500_000,
        Size::Huge => 6_000_000,
        Size::Giant => 15_000_000,
    };
    let class = match order.class {
        Class::Realtime => 2_000_000,
        Class::Standard => 1_000_000,
        Class::Batch => 500_000,
        Class::Spot => 250_000,
    };
    // In quarters of micro-credits: 2^33 · 4 · 1000, below 2^46; each factor is below 2^24 and is divided out at once.
    let quarters = u128::from((order.tokens_in + 4 * order.tokens_out) * TOKEN);
    let factors = [work, size, class, demand(market.load), streak(market), market.rate.0.into()];
    let micros = factors.into_iter().fold(quarters << 20, |sum, factor| sum * u128::from(factor) / 1_000_000);
    u64::try_from(micros.div_ceil(4 << 20)).ok().map(Credits)
}

/// The factor of a streak, in ppm: 5 % a day, up to the cap.
pub fn streak(market: &Market) -> u64 {
    1_000_000 + (u64::from(market.streak_days) * 50_000).min(market.streak_cap.0.into())
}

/// The factor of the load, in ppm.
fn demand(load: Ppm) -> u64 {
    const CALM: u64 = 700_000;
    let above = u64::from(load.min(Ppm::ALL).0).saturating_sub(CALM);
    1_000_000 + above * 2_000_000 / (1_000_000 - CALM)
}

/// How much a key may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Everybody.
    Free,
    /// Schools.
    Education,
    /// Who pays for more.
    Pro,
    /// Who pays for all.
    Enterprise,
}

/// What members voted on of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Requests a day (`free_tier_daily_limit`).
    pub free_daily: u32,
    /// Requests a day (`pro_tier_daily_limit`).
    pub pro_daily: u32,
    /// Whether schools have a tier of their own (`education_tier_enabled`); if not, theirs is the free one.
    pub education: bool,
    /// What a worker may earn in an hour (`earning_cap_hourly`).
    pub earning_hourly: Credits,
}

impl Default for Policy {
    /// The predecessor's.
    fn default() -> Self {
        Self { free_daily: 100, pro_daily: 10_000, education: true, earning_hourly: Credits(100 * Credits::ONE.0) }
    }
}

/// What a tier allows. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a day, by the calendar (UTC).
    pub daily: Option<u32>,
    /// Tokens that are read and written for one request.
    pub tokens: u64,
    /// Different models at one time.
    pub models: Option<u32>,
    /// Requests in any 60 seconds.
    pub per_minute: u32,
}

impl Tier {
    /// What it allows: the predecessor's table.
    pub const fn allowance(self, policy: &Policy) -> Allowance {
        match self {
            Self::Education if policy.education => {
                Allowance { daily: None, tokens: 8192, models: Some(3), per_minute: 30 }
            }
            Self::Free | Self::Education => {
                Allowance { daily: Some(policy.free_daily), tokens: 2048, models: Some(1), per_minute: 5 }
            }
            Self::Pro => Allowance { daily: Some(policy.pro_daily), tokens: 16_384, models: Some(5), per_minute: 60 },
            Self::Enterprise => Allowance { daily: None, tokens: 32_768, models: None, per_minute: 300 },
        }
    }
}

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// What one key used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    tier: Tier,
    /// The hard cap in credits, and what was spent of it.
    cap: Option<Credits>,
    spent: Credits,
    day: u64,
    today: u32,
    /// When the last requests came, as many as a minute allows.
    recent: VecDeque<u64>,
    /// Under way: which model, and what is set aside.
    open: BTreeMap<u64, (u64, Credits)>,
    tickets: u64,
}

/// A request that was let in; [`Quota::settle`] or [`Quota::fail`] ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Why a request is not let in. Nothing changed. The asker can mend it, by waiting or asking for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// It is longer than the tier allows.
    Tokens {
        /// What it allows.
        most: u64,
    },
    /// All of today's requests are used.
    Day {
        /// When the next day begins.
        until: UnixTime,
    },
    /// All of this minute's requests are used.
    Minute {
        /// When the next may come.
        until: UnixTime,
    },
    /// Other models are in use, as many as the tier allows.
    Models {
        /// How many it allows.
        most: u32,
    },
    /// It could cost more than is left of the cap.
    Cap {
        /// What is left.
        left: Credits,
    },
    /// So many keys are used that no other is remembered.
    Full {
        /// How many are.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens { most } => write!(f, "this tier allows {most} tokens a request; ask for fewer"),
            Self::Day { until } => write!(f, "today's requests are used up; the next day begins at {}", until.0),
            Self::Minute { until } => write!(f, "too many requests in a minute; ask again at {}", until.0),
            Self::Models { most } => write!(f, "this tier allows {most} models at a time; wait for one to end"),
            Self::Cap { left } => write!(f, "only {left} credits are left of this key's cap"),
            Self::Full { limit } => write!(f, "{limit} keys are used, and no other is remembered; ask tomorrow"),
        }
    }
}

impl core::error::Error for Error {}

impl Quota {
    /// Nothing was used.
    pub const fn new(tier: Tier, cap: Option<Credits>) -> Self {
        Self {
            tier,
            cap,
            spent: Credits(0),
            day: 0,
            today: 0,
            recent: VecDeque::new(),
            open: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// What was spent.
    pub const fn spent(&self) -> Credits {
        self.spent
    }

    /// Lets a request in for `model` that reads and writes up to `tokens` and costs up to `price`.
    ///
    /// # Errors
    /// [`Error::Tokens`], [`Error::Day`], [`Error::Minute`], [`Error::Models`], [`Error::Cap`], in this order of checks.
    pub fn admit(
        &mut self,
        policy: &Policy,
        model: u64,
        tokens: u64,
        price: Credits,
        date: UnixTime,
    ) -> Result<Ticket, Error> {
        let allowance = self.tier.allowance(policy);
        if tokens > allowance.tokens {
            return Err(Error::Tokens { most: allowance.tokens });
        }
        let day = date.0 / DAY_S;
        let today = if day == self.day { self.today } else { 0 };
        if allowance.daily.is_some_and(|most| today >= most) {
            return Err(Error::Day { until: UnixTime((day + 1) * DAY_S) });
        }
        let recent = self.recent.iter().filter(|at| **at + 60 > date.0);
        if recent.clone().count() as u64 >= u64::from(allowance.per_minute) {
            let first = recent.min().copied().unwrap_or(date.0);
            return Err(Error::Minute { until: UnixTime(first + 60) });
        }
        let in_use = self.open.values().any(|open| open.0 == model);
        if let Some(most) = allowance.models.filter(|most| !in_use && self.models() >= *most as usize) {
            return Err(Error::Models { most });
        }
        let left = self.left();
        if price > left {
            return Err(Error::Cap { left });
        }
        (self.day, self.today) = (day, today + 1);
        self.recent.retain(|at| *at + 60 > date.0);
        self.recent.push_back(date.0);
        self.tickets += 1;
        self.open.insert(self.tickets, (model, price));
        Ok(Ticket(self.tickets))
    }

    /// A request ended and cost `price`, at most what was set aside for it. Ending twice is ending once.
    pub fn settle(&mut self, ticket: Ticket, price: Credits) {
        if let Some((_, held)) = self.open.remove(&ticket.0) {
            self.spent = Credits(self.spent.0.saturating_add(price.min(held).0));
        }
    }

    /// A request failed: it costs nothing, and does not count for its day.
    pub fn fail(&mut self, ticket: Ticket) {
        if on(Fault::FailureCosts) {
            return self.settle(ticket, Credits(u64::MAX));
        }
        if self.open.remove(&ticket.0).is_some() {
            self.today = self.today.saturating_sub(1);
        }
    }

    /// A request that is under way could cost up to `price` in all.
    ///
    /// # Errors
    /// [`Error::Cap`]; it stays what it was.
    pub fn raise(&mut self, ticket: Ticket, price: Credits) -> Result<(), Error> {
        let Some((_, held)) = self.open.get(&ticket.0).copied() else { return Ok(()) };
        let more = Credits(price.0.saturating_sub(held.0));
        let left = self.left();
        if more > left && !on(Fault::RaisedOverCap) {
            return Err(Error::Cap { left });
        }
        self.open.entry(ticket.0).and_modify(|open| open.1 = open.1.max(price));
        Ok(())
    }

    /// What is left of the cap beside what is under way.
    fn left(&self) -> Credits {
        let held = if on(Fault::CapOfKeyIgnored) { 0 } else { self.held().0 };
        let left = |cap: Credits| Credits(cap.0.saturating_sub(self.spent.0).saturating_sub(held));
        self.cap.map_or(Credits(u64::MAX), left)
    }

    fn held(&self) -> Credits {
        Credits(self.open.values().fold(0, |sum, open| sum.saturating_add(open.1.0)))
    }

    fn models(&self) -> usize {
        let models: alloc::collections::BTreeSet<u64> = self.open.values().map(|open| open.0).collect();
        models.len()
    }
}

/// What a worker earned in this hour, and may with the work that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earnings {
    hour: u64,
    earned: Credits,
}

impl Earnings {
    /// What may still be earned in the hour of `date`.
    pub const fn left(&self, policy: &Policy, date: UnixTime) -> Credits {
        let earned = if date.0 / 3600 == self.hour { self.earned.0 } else { 0 };
        Credits(policy.earning_hourly.0.saturating_sub(earned))
    }

    /// Takes work on that may bring up to `price`, if the hour has room for it; says how much is left if not.
    ///
    /// # Errors
    /// What is left of this hour.
    pub fn take(&mut self, policy: &Policy, price: Credits, date: UnixTime) -> Result<(), Credits> {
        let (hour, left) = (date.0 / 3600, self.left(policy, date));
        if price > left {
            return Err(left);
        }
        let earned = if hour == self.hour { self.earned } else { Credits(0) };
        *self = Self { hour, earned: Credits(earned.0 + price.0) };
        Ok(())
    }

    /// Work that was taken on at `date` brought so much less than it might have.
    pub const fn give_back(&mut self, rest: Credits, date: UnixTime) {
        if date.0 / 3600 == self.hour {
            self.earned = Credits(self.earned.0.saturating_sub(rest.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use super::*;

    fn order(work: Work, size: Size, class: Class, tokens_in: u64, tokens_out: u64) -> Order {
        Order { work, size, class, tokens_in, tokens_out }
    }

    #[test]
    fn a_thousand_tokens_cost_a_credit_and_everything_else_is_a_factor() {
        use {Class::*, Size::*, Work::*};
        let calm = Market::default();
        let lines: Vec<String> = [
            (order(Inference, Medium, Standard, 0, 1000), calm),
            (order(Inference, Medium, Standard, 1000, 0), calm),
            (order(Inference, Medium, Standard, 3, 1), calm),
            (order(Embedding, Small, Batch, 1000, 0), calm),
            (order(Agent, Large, Realtime, 1000, 1000), calm),
            (order(FineTune, Huge, Spot, 0, 1000), calm),
            (order(Inference, Giant, Realtime, 0, 1), calm),
            (order(Inference, Medium, Standard, 0, 1000), Market { load: Ppm(700_000), ..calm }),
            (order(Inference, Medium, Standard, 0, 1000), Market { load: Ppm(850_000), ..calm }),
            (order(Inference, Medium, Standard, 0, 1000), Market { load: Ppm(2_000_000), ..calm }),
            (order(Inference, Medium, Standard, 0, 1000), Market { streak_days: 3, ..calm }),
            (order(Inference, Medium, Standard, 0, 1000), Market { streak_days: 365, ..calm }),
            (order(Inference, Medium, Standard, 0, 1000), Market { streak_days: 365, streak_cap: Ppm(0), ..calm }),
            (order(Inference, Medium, Standard, 0, 1000), Market { rate: Ppm(1_500_000), ..calm }),
            (order(Inference, Medium, Standard, 0, 0), calm),
            (order(Embedding, Small, Spot, 1, 0), Market { rate: Ppm(1), ..calm }),
        ]
        .iter()
        .map(|(order, market)| format!("{}", price(order, market).unwrap()))
        .collect();
        assert_eq!(lines.join(" "), "1 0.25 0.00175 0.01875 31.25 15 0.03 1 2 3 1.15 1.5 1 1.5 0 0.000001");
        let most = order(FineTune, Giant, Realtime, TOKENS_MAX, TOKENS_MAX);
        let dear = Market { rate: Ppm(2_000_000), load: Ppm::ALL, streak_days: u32::MAX, streak_cap: Ppm::ALL };
        assert!(price(&most, &dear).is_some(), "the dearest order fits");
        assert_eq!(price(&Order { tokens_in: TOKENS_MAX + 1, ..most }, &calm), None);
        let sizes = [0, 2, 3, 8, 9, 35, 36, 109, 110].map(|billions| Size::of(billions * 1_000_000_000));
        assert_eq!(sizes, [Small, Small, Medium, Medium, Large, Large, Huge, Huge, Giant]);
    }

    #[test]
    fn fifty_requests_at_once_stop_at_a_cap_of_ten_credits() {
        let policy = Policy::default();
        let mut quota = Quota::new(Tier::Enterprise, Some(Credits(10 * Credits::ONE.0)));
        let price = Credits(300_000);
        let admitted: Vec<Ticket> =
            (0..50).filter_map(|n| quota.admit(&policy, n, 100, price, UnixTime(0)).ok()).collect();
        assert_eq!(admitted.len(), 33, "33 × 0.3 are 9.9");
        assert_eq!(
            quota.admit(&policy, 0, 1, Credits(100_001), UnixTime(0)),
            Err(Error::Cap { left: Credits(100_000) })
        );
        quota.fail(admitted[0]);
        assert_eq!((quota.spent(), quota.held()), (Credits(0), Credits(32 * 300_000)));
        for ticket in &admitted {
            quota.settle(*ticket, Credits(999_999));
            quota.settle(*ticket, price);
        }
        assert_eq!((quota.spent(), quota.held()), (Credits(32 * 300_000), Credits(0)));
        let rest = quota.admit(&policy, 0, 1, Credits(400_000), UnixTime(0)).unwrap();
        quota.settle(rest, Credits(400_000));
        assert_eq!(quota.admit(&policy, 0, 1, Credits(1), UnixTime(0)), Err(Error::Cap { left: Credits(0) }));
    }

    /// One line an attempt: second, model, tokens, price.
    fn run(tier: Tier, policy: &Policy, script: &str) -> String {
        let mut quota = Quota::new(tier, Some(Credits(1000)));
        let mut lines = String::new();
        for line in script.lines().map(str::trim) {
            let n: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            let outcome = quota.admit(policy, n[1], n[2], Credits(n[3]), UnixTime(n[0]));
            let text = outcome.map_or_else(
                |error| format!("{error}"),
                |ticket| {
                    quota.settle(ticket, Credits(n[3]));
                    "in".into()
                },
            );
            lines += &format!("{line}: {text}\n");
        }
        lines
    }

    #[test]
    fn every_refusal_in_the_order_of_checks() {
        let policy = Policy { free_daily: 6, ..Policy::default() };
        let script = "0 1 2049 9999\n0 1 2048 1001\n0 1 9 1\n1 1 9 1\n2 1 9 1\n3 1 9 1\n4 1 9 1\n59 1 9 1\n60 1 9 1\n70 1 9 1\n70 1 2049 1\n86400 1 9 995\n86400 1 9 994";
        assert_eq!(
            run(Tier::Free, &policy, script),
            "0 1 2049 9999: this tier allows 2048 tokens a request; ask for fewer\n\
             0 1 2048 1001: only 0.001 credits are left of this key's cap\n\
             0 1 9 1: in\n\
             1 1 9 1: in\n\
             2 1 9 1: in\n\
             3 1 9 1: in\n\
             4 1 9 1: in\n\
             59 1 9 1: too many requests in a minute; ask again at 60\n\
             60 1 9 1: in\n\
             70 1 9 1: today's requests are used up; the next day begins at 86400\n\
             70 1 2049 1: this tier allows 2048 tokens a request; ask for fewer\n\
             86400 1 9 995: only 0.000994 credits are left of this key's cap\n\
             86400 1 9 994: in\n"
        );
        let mut quota = Quota::new(Tier::Education, None);
        let tickets: Vec<Ticket> =
            (0..3).map(|model| quota.admit(&policy, model, 1, Credits(1), UnixTime(0)).unwrap()).collect();
        assert_eq!(quota.admit(&policy, 3, 1, Credits(1), UnixTime(0)), Err(Error::Models { most: 3 }));
        assert!(quota.admit(&policy, 2, 1, Credits(1), UnixTime(0)).is_ok());
        quota.fail(tickets[0]);
        assert!(quota.admit(&policy, 3, 1, Credits(1), UnixTime(0)).is_ok());
    }

    #[test]
    fn what_failed_does_not_count_for_its_day() {
        let policy = Policy { free_daily: 1, ..Policy::default() };
        let mut quota = Quota::new(Tier::Free, None);
        let ticket = quota.admit(&policy, 1, 1, Credits(1), UnixTime(0)).unwrap();
        assert!(quota.admit(&policy, 1, 1, Credits(1), UnixTime(0)).is_err());
        quota.fail(ticket);
        quota.fail(ticket);
        assert!(quota.admit(&policy, 1, 1, Credits(1), UnixTime(0)).is_ok());
        assert!(quota.admit(&policy, 1, 1, Credits(1), UnixTime(0)).is_err());
    }

    #[test]
    fn each_voted_value_has_its_effect() {
        let policy = Policy::default();
        assert_eq!(Tier::Free.allowance(&Policy { free_daily: 7, ..policy }).daily, Some(7));
        assert_eq!(Tier::Pro.allowance(&Policy { pro_daily: 7, ..policy }).daily, Some(7));
        assert_eq!(Tier::Education.allowance(&policy).daily, None);
        assert_eq!(Tier::Education.allowance(&Policy { education: false, ..policy }), Tier::Free.allowance(&policy));
        let mut earnings = Earnings::default();
        let hourly = Policy { earning_hourly: Credits(100), ..policy };
        assert_eq!(earnings.take(&hourly, Credits(60), UnixTime(7200)), Ok(()));
        assert_eq!(earnings.take(&hourly, Credits(41), UnixTime(10_799)), Err(Credits(40)));
        earnings.give_back(Credits(10), UnixTime(10_799));
        assert_eq!(earnings.left(&hourly, UnixTime(10_799)), Credits(50));
        assert_eq!(earnings.take(&hourly, Credits(41), UnixTime(10_800)), Ok(()), "the next hour");
        earnings.give_back(Credits(50), UnixTime(10_799));
        assert_eq!(earnings.left(&hourly, UnixTime(10_800)), Credits(59), "of the hour before nothing comes back");
    }
}
