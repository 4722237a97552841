//! How often one may try again: so much for each first try, and no more.

use crate::kit::fault::{Fault, on};

/// A bucket that first tries fill and further tries empty.
///
/// While all is well there are few further tries and the bucket is full; when much fails, further tries are never more than
/// a tenth of first ones, so that they cannot keep an overload alive that has passed.
///
/// Source: the retry budget of Finagle and gRPC (A6, "Client Retries"); N. Bronson et al., "Metastable Failures in
/// Distributed Systems" (HotOS 2021) for why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In parts of a thousand of one try.
    level: u32,
    config: Config,
}

/// How generous the bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a first try brings, in parts of a thousand of a further one.
    pub share: u32,
    /// Further tries that can be saved up.
    pub saved: u32,
}

impl Default for Config {
    /// A tenth; ten, so that a client with few tasks can try again at all.
    fn default() -> Self {
        Self { share: 100, saved: 10 }
    }
}

impl Budget {
    /// A full one.
    pub const fn new(config: Config) -> Self {
        Self { level: config.saved.saturating_mul(1000), config }
    }

    /// Something is tried for the first time.
    pub fn first(&mut self) {
        self.level = self.level.saturating_add(self.config.share).min(self.config.saved.saturating_mul(1000));
    }

    /// Whether something may be tried again; if so, it counts.
    pub fn again(&mut self) -> bool {
        let left = self.level.checked_sub(1000);
        self.level = left.unwrap_or(self.level);
        left.is_some() || on(Fault::TriesWithoutBudget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_tries_are_a_tenth_of_first_ones() {
        let mut budget = Budget::new(Config::default());
        let saved = (0..100).filter(|_| budget.again()).count();
        assert_eq!(saved, 10, "what was saved");
        let again = (0..10_000)
            .filter(|_| {
                budget.first();
                budget.again()
            })
            .count();
        assert_eq!(again, 1_000);
    }
}
