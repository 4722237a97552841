//! How often work is audited, and how much must be at stake.

use crate::kit::{Credits, Ppm};

/// How often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What audits may cost, as a part of all computing.
    pub budget: Ppm,
    /// Nobody is audited less often than this, however long it was honest.
    pub floor: Ppm,
    /// Newcomers are audited at least so often.
    pub newcomer: Ppm,
}

impl Default for Config {
    /// 2 % of all computing. An audit is one pass over an answer and costs about a hundredth of writing it, so all work can
    /// be audited for half of that. Where it costs more, newcomers are audited 6 times in 10, so that 20 cheated tasks in a row
    /// slip through once in 10^8, and nobody less than once in 50: a rate that decays to nothing is an invitation.
    fn default() -> Self {
        Self { budget: Ppm(20_000), floor: Ppm(20_000), newcomer: Ppm(600_000) }
    }
}

/// Who is to be audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Somebody under suspicion: always.
    Watched,
    /// Somebody of whom little is known.
    Newcomer,
    /// Somebody known.
    Known,
}

/// How often work of `whom` is audited when an audit costs `cost` of the work, and cheating in a task would gain `gain` and
/// cost `escrow`: what the budget gives, what deters, and the floors, whichever is most.
pub fn rate(config: &Config, whom: Whom, cost: Ppm, gain: Credits, escrow: Credits) -> Ppm {
    let affordable = u64::from(config.budget.0) * 1_000_000 / u64::from(cost.0.max(1));
    // p·S > (1 − p)·g is p > g / (S + g); one part more makes it greater.
    let (gain, sum) = (u128::from(gain.0), u128::from(gain.0) + u128::from(escrow.0));
    let deters = if gain == 0 { 0 } else { (gain * 1_000_000 / sum) as u64 + 1 };
    let least = match whom {
        Whom::Watched => Ppm::ALL.0,
        Whom::Newcomer => config.newcomer.0.max(config.floor.0),
        Whom::Known => config.floor.0,
    };
    Ppm(affordable.max(deters).max(u64::from(least)).min(1_000_000) as u32)
}

/// The least escrow with which cheating does not pay at a rate of audits: p·S > (1 − p)·g. None is enough at a rate of 0.
pub fn escrow(rate: Ppm, gain: Credits) -> Option<Credits> {
    let rate = u128::from(rate.0.min(1_000_000));
    if rate == 0 {
        return None;
    }
    let least = (1_000_000 - rate) * u128::from(gain.0) / rate + u128::from(rate < 1_000_000);
    u64::try_from(least).ok().map(Credits)
}

/// The share of its pay that is withheld from a newcomer that is audited at `rate` and saves `gain` of the pay by cheating.
///
/// Who is found out loses what is withheld, W, but not what it saved and not what it was paid meanwhile. So its stake is S = W − g,
/// and p·S > (1 − p)·g where W > g / p: at a rate of 100 % more than what it saves, below that the more, the rarer audits are.
/// Where a whole answer is too little, it is the whole, and [`rate`] is asked how often to audit with what is left of a stake.
pub fn share(rate: Ppm, gain: Ppm) -> Ppm {
    let stake = escrow(rate, Credits(gain.0.into())).map_or(u64::MAX, |stake| stake.0);
    Ppm(stake.saturating_add(gain.0.into()).min(1_000_000) as u32)
}

/// What a worker of whose pay `share` is withheld has at stake when it saves `gain` by cheating: for [`rate`].
pub const fn stake(share: Ppm, gain: Ppm) -> Credits {
    Credits(share.0.saturating_sub(gain.0) as u64)
}

/// How many of so many blocks are paid later where `share` is withheld: rounded up, so that it is never less.
pub const fn withheld(share: Ppm, blocks: u32) -> u32 {
    let share = if share.0 < 1_000_000 { share.0 } else { 1_000_000 };
    (blocks as u64 * share as u64).div_ceil(1_000_000) as u32
}

/// What all audits cost, as a part of all computing, when `newcomers` of the work is by newcomers.
pub fn spent(config: &Config, cost: Ppm, newcomers: Ppm) -> Ppm {
    let rate = |whom| u64::from(rate(config, whom, cost, Credits(0), Credits(0)).0);
    let new = u64::from(newcomers.0.min(1_000_000));
    let audited = (rate(Whom::Newcomer) * new + rate(Whom::Known) * (1_000_000 - new)) / 1_000_000;
    Ppm((audited * u64::from(cost.0) / 1_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(whom: Whom, cost: u32) -> u32 {
        rate(&Config::default(), whom, Ppm(cost), Credits(0), Credits(0)).0
    }

    #[test]
    fn cheap_audits_are_made_of_everything_and_dear_ones_never_stop() {
        use Whom::*;
        // A hundredth, a tenth, and the whole of what the work costs.
        assert_eq!([Known, Newcomer, Watched].map(|whom| plain(whom, 10_000)), [1_000_000; 3]);
        assert_eq!([Known, Newcomer, Watched].map(|whom| plain(whom, 100_000)), [200_000, 600_000, 1_000_000]);
        assert_eq!([Known, Newcomer, Watched].map(|whom| plain(whom, 1_000_000)), [20_000, 600_000, 1_000_000]);
        assert_eq!(plain(Known, 0), 1_000_000);
    }

    #[test]
    fn the_fleet_spends_what_it_may() {
        for newcomers in [0, 50_000, 1_000_000] {
            assert_eq!(spent(&Config::default(), Ppm(10_000), Ppm(newcomers)), Ppm(10_000), "1 % for everything");
        }
        assert_eq!(spent(&Config::default(), Ppm(100_000), Ppm(0)), Ppm(20_000));
    }

    #[test]
    fn the_rate_deters_and_so_does_the_escrow() {
        for (gain, escrow) in [(1_u64, 0_u64), (100, 1), (100, 1_900), (5, 1_000_000), (u64::MAX, u64::MAX)] {
            let p = rate(&Config::default(), Whom::Known, Ppm::ALL, Credits(gain), Credits(escrow)).0;
            let (p, gain, stake) = (u128::from(p), u128::from(gain), u128::from(escrow));
            assert!(p * stake > (1_000_000 - p) * gain || p == 1_000_000, "{p} {gain} {stake}");
        }
        // Network facts: at 5 % an escrow of 19 times the gain suffices, at 100 % none is needed.
        assert_eq!(escrow(Ppm(50_000), Credits(100)), Some(Credits(1_901)));
        assert_eq!(escrow(Ppm::ALL, Credits(100)), Some(Credits(0)));
        assert_eq!(escrow(Ppm(0), Credits(100)), None);
        assert_eq!(escrow(Ppm(1), Credits(u64::MAX)), None, "more than there is");
    }

    /// What a cheat comes to, in parts of a million of the pay beyond what honest work does: it saves `gain`, and loses what is
    /// withheld as often as it is audited.
    fn profit(rate: Ppm, gain: Ppm, share: Ppm) -> i64 {
        i64::from(gain.0) * 1_000_000 - i64::from(rate.0) * i64::from(share.0)
    }

    #[test]
    fn who_is_paid_the_rest_after_the_audit_gains_nothing_by_cheating() {
        for p in [20_000, 200_000, 500_001, 600_000, 999_999, 1_000_000].map(Ppm) {
            for gain in [0, 1, 100_000, 333_333, 500_000, 900_000].map(Ppm) {
                let share = share(p, gain);
                let raised =
                    rate(&Config::default(), Whom::Known, Ppm::ALL, Credits(gain.0.into()), stake(share, gain));
                let profit = profit(Ppm(p.0.max(raised.0)), gain, share);
                assert!(profit <= 0, "{p} {gain}: {share} {profit}");
                assert!(share == Ppm::ALL || profit > -2_000_000, "{p} {gain}: no more than is needed");
            }
        }
        assert_eq!(share(Ppm(600_000), Ppm(500_000)), Ppm(833_334));
        assert_eq!(share(Ppm::ALL, Ppm(500_000)), Ppm(500_000));
        assert_eq!(share(Ppm(0), Ppm(1)), Ppm::ALL);
    }

    #[test]
    fn withheld_blocks_are_rounded_up_and_never_more_than_all() {
        let row = |share: u32| [0, 1, 2, 3, 4, 8].map(|blocks| withheld(Ppm(share), blocks));
        assert_eq!(row(0), [0; 6]);
        assert_eq!(row(500_000), [0, 1, 1, 2, 2, 4]);
        assert_eq!(row(650_000), [0, 1, 2, 2, 3, 6]);
        assert_eq!(row(1_000_000), [0, 1, 2, 3, 4, 8]);
        assert_eq!(row(u32::MAX), row(1_000_000));
    }
}
