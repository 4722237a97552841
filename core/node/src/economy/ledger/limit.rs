//! How much credit trust is worth.
//!
//! A limit is how far below nothing a balance may fall. It is a share of a pool, by the account's share of trust: who
//! splits into many accounts splits its trust, and the limits of the parts sum to no more than the pool times its trust. So
//! what all defaulters together can take is at most the pool times their share of trust, and that share is bounded by the trust
//! that flows over the edges which they could buy (`trust::reputation`).

use alloc::collections::BTreeMap;
use core::fmt;

use crate::kit::{
    Credits, NodeId,
    fault::{Fault, on},
};

/// How much is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Lent to all together.
    pub pool: Credits,
    /// Lent to one, at most: so that who is trusted most is not worth robbing.
    pub one_max: Credits,
}

impl Default for Config {
    /// 1,000 credits for each of 1,000 members of an average cell; nobody more than 10,000, ten million tokens.
    fn default() -> Self {
        Self { pool: Credits(1_000_000 * Credits::ONE.0), one_max: Credits(10_000 * Credits::ONE.0) }
    }
}

/// What an account may owe that holds `mass` of `total` trust; nothing for who has none. Rounded down.
pub fn limit(config: &Config, mass: u64, total: u64) -> Credits {
    if on(Fault::LimitWithoutTrust) {
        return config.one_max;
    }
    if total == 0 {
        return Credits(0);
    }
    let share = u128::from(config.pool.0) * u128::from(mass.min(total)) / u128::from(total);
    Credits(u64::try_from(share).unwrap_or(u64::MAX).min(config.one_max.0))
}

/// What this node risks without certificates, by payer.
///
/// A payer that forks reaches many payees before the proof does; each loses at most its own exposure. While proofs of forks
/// arrive, nothing is risked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    config: Risk,
    open: BTreeMap<NodeId, Credits>,
    wary_until: u64,
}

/// How much may be risked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Risk {
    /// With one payer.
    pub one_max: Credits,
    /// Payers with something open.
    pub payers_max: usize,
    /// Seconds without risk after a proof of a fork.
    pub wary_s: u64,
}

impl Default for Risk {
    /// One block of 32 tokens at the anchor price with each of 1,024; an hour after a fork everybody knows it.
    fn default() -> Self {
        Self { one_max: Credits(32_000), payers_max: 1024, wary_s: 3600 }
    }
}

/// Why a session without a certificate is refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Forks were proven lately.
    Wary {
        /// Unix time from which risks are taken again.
        until: u64,
    },
    /// It would be more than is risked with one payer.
    Beyond {
        /// What is left.
        left: Credits,
    },
    /// Too many payers have something open.
    Full {
        /// How many may.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wary { .. } => f.write_str("forks were proven lately: only certified holds are taken"),
            Self::Beyond { left } => write!(f, "without a certificate only {left} more are taken from this payer"),
            Self::Full { limit } => write!(f, "{limit} payers without certificates are enough"),
        }
    }
}

impl core::error::Error for Error {}

impl Exposure {
    /// Nothing is open.
    pub const fn new(config: Risk) -> Self {
        Self { config, open: BTreeMap::new(), wary_until: 0 }
    }

    /// Takes a session of `payer` without a certificate on, for at most `cap`.
    ///
    /// # Errors
    /// [`Error::Wary`], [`Error::Full`], [`Error::Beyond`], in this order of checks.
    pub fn take(&mut self, payer: NodeId, cap: Credits, now: u64) -> Result<(), Error> {
        if now < self.wary_until {
            return Err(Error::Wary { until: self.wary_until });
        }
        let open = self.open.get(&payer).copied();
        if open.is_none() && self.open.len() >= self.config.payers_max {
            return Err(Error::Full { limit: self.config.payers_max });
        }
        let left = Credits(self.config.one_max.0.saturating_sub(open.unwrap_or_default().0));
        if cap > left {
            return Err(Error::Beyond { left });
        }
        self.open.insert(payer, Credits(open.unwrap_or_default().0 + cap.0));
        Ok(())
    }

    /// The session came to a certified end: nothing is at risk any more.
    pub fn settle(&mut self, payer: &NodeId, cap: Credits) {
        if let Some(open) = self.open.get_mut(payer) {
            open.0 = open.0.saturating_sub(cap.0);
            if open.0 == 0 {
                self.open.remove(payer);
            }
        }
    }

    /// Somebody was proven to have forked.
    pub fn fork_proven(&mut self, now: u64) {
        self.wary_until = self.wary_until.max(now.saturating_add(self.config.wary_s));
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use super::*;
    use crate::kit::Rng;

    #[test]
    fn splitting_an_identity_gains_no_credit() {
        let mut rng = Rng::new(8);
        let config = Config { pool: Credits(1_000_000_000), one_max: Credits(50_000_000) };
        for _ in 0..200 {
            let total = 1 + rng.next() / 2;
            let mass = rng.next() % total / 2;
            let whole = limit(&config, mass, total);
            assert!(u128::from(whole.0) * u128::from(total) <= u128::from(config.pool.0) * u128::from(mass));
            for parts in [2, 10, 1000_u64] {
                let sum: u64 = (0..parts).map(|_| limit(&config, mass / parts, total).0).sum();
                let bound = u128::from(config.pool.0) * u128::from(mass) / u128::from(total);
                assert!(u128::from(sum) <= bound, "{parts} parts of {mass} in {total} may owe {sum}");
            }
        }
    }

    #[test]
    fn who_is_not_trusted_may_owe_nothing() {
        let config = Config::default();
        assert_eq!((limit(&config, 0, 10), limit(&config, 5, 0)), (Credits(0), Credits(0)));
        assert_eq!(limit(&config, 1, 1000), Credits(1000 * Credits::ONE.0));
        assert_eq!(limit(&config, 1000, 1000), config.one_max);
        assert_eq!(limit(&config, u64::MAX, 1), config.one_max);
        let all = Config { pool: Credits(u64::MAX), one_max: Credits(u64::MAX) };
        assert_eq!(limit(&all, u64::MAX, u64::MAX), Credits(u64::MAX));
    }

    #[test]
    fn every_attempt_without_a_certificate() {
        let mut exposure = Exposure::new(Risk { one_max: Credits(100), payers_max: 2, wary_s: 10 });
        let mut lines = String::new();
        for line in "take 1 60 0|take 1 41 0|take 1 40 0|take 2 100 0|take 3 1 0|done 1 40 0|done 1 60 0|take 3 101 0|take 3 1 0|fork 5|take 3 1 14|take 3 1 15"
            .split('|')
        {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |n: usize| words[n].parse::<u64>().unwrap();
            let outcome = match words[0] {
                "take" => exposure.take(NodeId::number(number(1)), Credits(number(2)), number(3)),
                "done" => {
                    exposure.settle(&NodeId::number(number(1)), Credits(number(2)));
                    Ok(())
                }
                _ => {
                    exposure.fork_proven(number(1));
                    Ok(())
                }
            };
            lines += &format!("{line}: {}\n", outcome.map_or_else(|error| format!("{error}"), |()| "yes".into()));
        }
        assert_eq!(
            lines,
            "take 1 60 0: yes\n\
             take 1 41 0: without a certificate only 0.00004 more are taken from this payer\n\
             take 1 40 0: yes\n\
             take 2 100 0: yes\n\
             take 3 1 0: 2 payers without certificates are enough\n\
             done 1 40 0: yes\n\
             done 1 60 0: yes\n\
             take 3 101 0: without a certificate only 0.0001 more are taken from this payer\n\
             take 3 1 0: yes\n\
             fork 5: yes\n\
             take 3 1 14: forks were proven lately: only certified holds are taken\n\
             take 3 1 15: yes\n"
        );
    }
}
