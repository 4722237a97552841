//! What came of a market, in numbers.

use serde_json::{Value, json};
use tutu_node::{kit::Credits, node::trade::WithholdConfig, trust::reputation::flow};

use super::{
    Plan,
    check::Seen,
    world::{Count, World},
};
use crate::outcome::quantile;

/// A market that is over.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of the plan.
    pub seed: u64,
    /// Two markets with the same hash went the same way.
    pub trace: u64,
    /// What must not be, if it was.
    pub violations: Vec<String>,
    /// Hosts, and those of them that cheat.
    pub hosts: (u32, u32),
    /// Simulated seconds.
    pub seconds: u64,
    /// Sums of what happened.
    pub count: Count,
    /// Sums of what was seen.
    pub seen: Seen,
    /// What cheating hosts gained.
    pub gain: Gain,
    /// Accounts that nobody can certify any more.
    pub stranded: u32,
}

/// What cheating hosts have that is not theirs, in micro-credits, and what they may have at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gain {
    /// What they owe by certified closings.
    pub owed: u64,
    /// Blocks that honest workers gave them and that they did not pay.
    pub unpaid: u64,
    /// What honest clients paid them for work of another model.
    pub spoilt: u64,
    /// What they may owe: the sum of their limits, as honest witnesses granted them.
    pub limits: u64,
    /// What one host may be cheated of by one other before it knows.
    pub each: u64,
    /// Pairs of a cheating and an honest host.
    pub pairs: u64,
    /// Their share of the trust in the eyes of honest hosts, in ppm: the mean of all.
    pub trust_ppm: u64,
    /// What they were paid, for work of whatever kind.
    pub earned: u64,
}

impl Gain {
    /// All of it.
    pub const fn sum(&self) -> u64 {
        self.owed + self.unpaid + self.spoilt
    }

    /// What all of it can be at most: limits, and for each honest host what each cheating one can do to it alone.
    pub const fn bound(&self) -> u64 {
        self.limits + self.each * self.pairs
    }

    /// Credits of work that were paid for one hundredth of all trust; nothing if they have none.
    pub fn price(&self) -> Option<Credits> {
        (self.trust_ppm > 0).then(|| Credits(self.earned.saturating_mul(10_000) / self.trust_ppm))
    }
}

/// Runs what is planned.
pub fn run(plan: Plan) -> Outcome {
    let mut world = World::new(plan);
    world.run();
    world.ends();
    of(&mut world)
}

fn of(world: &mut World) -> Outcome {
    let nodes = world.plan.nodes;
    let (cheats, honest): (Vec<u32>, Vec<u32>) = (0..nodes).partition(|n| !world.plan.is_honest(*n));
    let (owed, limits) = world.check.loss();
    let (task, tick) = world.prices();
    let trust = |viewer: u32| -> u64 {
        let Some(trade) = world.trade(viewer) else { return 0 };
        let mass = cheats.iter().filter_map(|n| Some(trade.reputation().trust(&world.id(*n)?))).sum::<u64>();
        (u128::from(mass) * 1_000_000 / flow::ONE as u128) as u64
    };
    let trust_ppm = honest.iter().map(|n| trust(*n)).sum::<u64>() / (honest.len() as u64).max(1);
    let gain = Gain {
        owed,
        unpaid: world.check.unpaid(),
        spoilt: world.check.seen.spoilt,
        limits,
        // One task before the audit of it is through, one that is under way meanwhile, and an unpaid block for each of three
        // failures that one observer's word is worth, and for one session that is under way; and what a worker lets be withheld.
        each: 2 * task + 4 * tick + WithholdConfig::default().owed_max.0,
        pairs: cheats.len() as u64 * honest.len() as u64,
        trust_ppm,
        earned: world.check.earned(),
    };
    Outcome {
        seed: world.plan.seed,
        trace: world.trace(),
        violations: world.check.violations.clone(),
        hosts: (nodes, cheats.len() as u32),
        seconds: world.plan.seconds,
        count: world.count.clone(),
        seen: world.check.seen.clone(),
        gain,
        stranded: world.stranded(),
    }
}

fn credits(micro: u64) -> f64 {
    micro as f64 / 1e6
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl Outcome {
    fn waits(&self) -> [Option<f64>; 2] {
        let mut waits = self.count.waits.clone();
        waits.sort_by(f64::total_cmp);
        [50, 99].map(|percent| quantile(&waits, percent))
    }

    /// Seconds until an honest host knew an honest newcomer: the median of the pairs that came to that.
    pub fn known(&self) -> Option<f64> {
        let mut known: Vec<f64> = self.count.known.values().map(|second| *second as f64).collect();
        known.sort_by(f64::total_cmp);
        quantile(&known, 50)
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let (count, seen, gain) = (&self.count, &self.seen, &self.gain);
        let [median, p99] = self.waits();
        json!({
            "seed": self.seed,
            "trace_hash": format!("{:016x}", self.trace),
            "violations": self.violations,
            "nodes": self.hosts.0,
            "cheating": self.hosts.1,
            "seconds": self.seconds,
            "events": count.events,
            "bytes_per_node_second": count.bytes as f64 / (f64::from(self.hosts.0) * self.seconds as f64),
            "wishes": {
                "honest": count.wished, "done": count.done, "short": count.short, "given_up": count.gave_up,
                "over_quota": count.over_quota, "cancelled": count.cancelled,
            },
            "places_handed_on": seen.handed, "resumed": count.resumed, "workers_rested": seen.rested,
            "wait_s": { "median": median, "p99": p99 },
            "answers": {
                "honest_clients": count.answers, "of_another_model": count.false_answers,
                "second_half": count.late_answers, "of_another_model_in_second_half": count.late_false,
            },
            "ledger": {
                "entries": seen.entries, "closings": seen.closings, "credits_moved": credits(seen.moved),
                "slots_doubled_by_bad_sets": seen.doubled, "lines_kept": count.lines, "crashes": count.crashes,
            },
            "witnesses_changed": seen.renewed, "accounts_stranded": self.stranded,
            "deposits": { "back": seen.deposits.0, "lost": seen.deposits.1 },
            "audits": { "all": seen.audits.0, "guilty": seen.audits.1, "honest_found_guilty": seen.accused },
            "barred_at_s": seen.barred.iter().map(|(n, s)| (n.to_string(), *s)).collect::<std::collections::BTreeMap<_, _>>(),
            "of_another_model_found_guilty_and_not": [seen.caught.0, seen.caught.1],
            "verdicts_accepted_upheld_overturned_open": { "right": seen.judged[0], "of_another_model": seen.judged[1] },
            "newcomers_known": { "pairs": count.known.len(), "median_s": self.known() },
            "honest_barred": seen.wronged,
            "condemned": seen.condemned,
            "gain_credits": {
                "owed": credits(gain.owed), "unpaid": credits(gain.unpaid), "spoilt": credits(gain.spoilt),
                "sum": credits(gain.sum()), "bound": credits(gain.bound()),
            },
            "cheating_trust_ppm": gain.trust_ppm,
            "credits_for_one_percent_of_trust": gain.price().map(|price| credits(price.0)),
        })
    }

    /// For people.
    pub fn table(&self) -> String {
        let (count, seen, gain) = (&self.count, &self.seen, &self.gain);
        let [median, p99] = self.waits().map(|wait| wait.unwrap_or(0.0));
        let price = gain.price().map_or("-".into(), |price| format!("{:.2}", credits(price.0)));
        let rows = [
            ("hosts, of which cheat", format!("{} {}", self.hosts.0, self.hosts.1)),
            (
                "honest wishes, done, not affordable, given up",
                format!("{} {} {} {}", count.wished, count.done, count.short, count.gave_up),
            ),
            ("over the quota of a key, wanted no more", format!("{} {}", count.over_quota, count.cancelled)),
            (
                "places handed on, runs resumed, workers rested",
                format!("{} {} {}", seen.handed, count.resumed, seen.rested),
            ),
            ("seconds to the answer, median and 99 %", format!("{median:.1} {p99:.1}")),
            (
                "answers of another model, all and second half",
                format!(
                    "{:.2} % {:.2} %",
                    share(count.false_answers, count.answers),
                    share(count.late_false, count.late_answers)
                ),
            ),
            (
                "entries certified, closings, credits moved",
                format!("{} {} {:.2}", seen.entries, seen.closings, credits(seen.moved)),
            ),
            ("changes of witnesses, accounts stranded", format!("{} {}", seen.renewed, self.stranded)),
            ("deposits that went back, and were lost", format!("{} {}", seen.deposits.0, seen.deposits.1)),
            ("audits, guilty, of these honest", format!("{} {} {}", seen.audits.0, seen.audits.1, seen.accused)),
            ("audits of another model, guilty and not", format!("{} {}", seen.caught.0, seen.caught.1)),
            (
                "verdicts accepted, upheld, overturned, open",
                format!("{:?} of right work, {:?} of another model", seen.judged[0], seen.judged[1]),
            ),
            (
                "honest newcomers known to honest hosts",
                format!("{} pairs, after {} s (median)", count.known.len(), self.known().unwrap_or(0.0)),
            ),
            ("cheats barred by somebody, condemned", format!("{} {}", seen.barred.len(), seen.condemned.len())),
            ("times that the honest barred the honest", seen.wronged.to_string()),
            ("powers lost, lines kept", format!("{} {}", count.crashes, count.lines)),
            (
                "bytes a node and second",
                format!("{:.0}", count.bytes as f64 / (f64::from(self.hosts.0) * self.seconds as f64)),
            ),
            (
                "cheats gained: owed, unpaid, other model",
                format!("{:.2} {:.2} {:.2} credits", credits(gain.owed), credits(gain.unpaid), credits(gain.spoilt)),
            ),
            ("all of it, and the bound", format!("{:.2} {:.2} credits", credits(gain.sum()), credits(gain.bound()))),
            ("trust of cheats", format!("{:.2} %", gain.trust_ppm as f64 / 1e4)),
            ("price of 1 % of trust", format!("{price} credits of paid work")),
        ];
        rows.iter().map(|(name, value)| format!("{name:<50}{value}\n")).collect()
    }
}
