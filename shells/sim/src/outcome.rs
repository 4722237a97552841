//! What came of a world, in numbers.

use serde_json::{Value, json};

use crate::{check::Crash, plan::Plan, world::World};

/// One world that is over.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of the plan.
    pub seed: u64,
    /// Two worlds with the same hash went the same way.
    pub trace: u64,
    /// What must not be, if it was.
    pub violations: Vec<String>,
    /// Simulated seconds.
    pub seconds: f64,
    /// Hosts.
    pub nodes: u32,
    /// Packets and timers.
    pub events: u64,
    /// Packets a node and second.
    pub packets: f64,
    /// Bytes that a node sends in a second, with the headers of UDP and IPv4.
    pub bytes: f64,
    /// Signatures made and checked, a node and second.
    pub signatures: (f64, f64),
    /// Seconds from crashes to the first suspicion.
    pub suspected: Vec<f64>,
    /// From there to the first declaration.
    pub declared: Vec<f64>,
    /// From there until everybody who lived had declared it.
    pub known: Vec<f64>,
    /// Crashes that somebody who lived had not declared at the end, one minute and more after.
    pub unknown: usize,
    /// Lives that were declared over by mistake, of hosts that ran, did not stall and could be reached.
    pub false_deaths: u32,
    /// Of hosts that stalled or had just stalled.
    pub stalled_deaths: u32,
    /// Stalls.
    pub stalls: u32,
    /// The longest, in seconds, from the start of a life until somebody declared an earlier one over.
    pub belated: f64,
    /// Suspicions opened by anybody.
    pub suspicions: u64,
    /// Of them, of hosts that ran, did not stall and could be reached.
    pub wronged: u64,
    /// Delegates that cells lack at the end, in a hundred.
    pub lacking: u32,
    /// Accusations that were answered.
    pub refutations: u64,
    /// Seconds from the last repair until all tables were right.
    pub healed: Option<u64>,
    /// Deaths declared of hosts that had said farewell.
    pub farewells_missed: u32,
    /// Seconds from a farewell until somebody heard of it, on average.
    pub farewell: f64,
    /// Share of attackers in samples, and in the population of hosts; in parts per million.
    pub attackers: Option<(u32, u32)>,
}

/// Runs what is planned.
pub fn run(plan: Plan) -> Outcome {
    let mut world = World::new(plan);
    world.run();
    of(&world)
}

/// What came of `world`.
pub fn of(world: &World) -> Outcome {
    let (seen, count) = (&world.check.seen, world.count());
    let seconds = (world.now() as f64 / 1e6).max(1e-6);
    let node_seconds = seconds * f64::from(world.plan.nodes);
    let times = |of: fn(&Crash) -> Option<u64>| {
        let mut all: Vec<f64> = seen.crashes.iter().filter_map(of).map(|micros| micros as f64 / 1e6).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (mut signed, mut verified) = (0, 0);
    for node in world.hosts().iter().filter_map(|host| host.node.as_ref()) {
        let (made, checked) = node.swim().keys().counts();
        (signed, verified) = (signed + made, verified + checked);
    }
    let late = |crash: &&Crash| crash.known.is_none() && !crash.over && crash.at + 60_000_000 < world.now();
    Outcome {
        seed: world.plan.seed,
        trace: world.trace(),
        violations: world.check.violations.clone(),
        seconds,
        nodes: world.plan.nodes,
        events: count.events,
        packets: count.packets as f64 / node_seconds,
        bytes: count.bytes as f64 / node_seconds,
        signatures: (signed as f64 / node_seconds, verified as f64 / node_seconds),
        suspected: times(|crash| Some(crash.suspected? - crash.at)),
        declared: times(|crash| Some(crash.declared?.saturating_sub(crash.suspected?))),
        known: times(|crash| Some(crash.known?.saturating_sub(crash.declared?))),
        unknown: seen.crashes.iter().filter(late).count(),
        false_deaths: seen.false_deaths,
        stalled_deaths: seen.stalled_deaths,
        stalls: seen.stalls,
        belated: seen.belated as f64 / 1e6,
        suspicions: seen.suspicions,
        wronged: seen.wronged,
        lacking: seen.lacking,
        refutations: seen.refutations,
        healed: seen.healed,
        farewells_missed: seen.farewells_missed,
        farewell: seen.farewells.1 as f64 / 1e6 / seen.farewells.0.max(1) as f64,
        attackers: seen.liars,
    }
}

impl Outcome {
    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "trace_hash": format!("{:016x}", self.trace),
            "violations": self.violations,
            "seconds": self.seconds,
            "nodes": self.nodes,
            "events": self.events,
            "packets_per_node_second": self.packets,
            "bytes_per_node_second": self.bytes,
            "signatures_made_per_node_second": self.signatures.0,
            "signatures_checked_per_node_second": self.signatures.1,
            "crashes": {
                "to_suspicion_s": spread(&self.suspected),
                "suspicion_to_declaration_s": spread(&self.declared),
                "declaration_to_all_s": spread(&self.known),
                "never_known": self.unknown,
            },
            "false_deaths": self.false_deaths,
            "stalls": self.stalls,
            "deaths_of_stalled": self.stalled_deaths,
            "start_to_last_death_of_an_earlier_life_s": self.belated,
            "suspicions": self.suspicions,
            "suspicions_of_hosts_that_ran": self.wronged,
            "delegates_lacking_percent": self.lacking,
            "refutations": self.refutations,
            "healed_after_s": self.healed,
            "farewell_to_heard_s": self.farewell,
            "attackers_of_samples_ppm": self.attackers.map(|pair| pair.0),
            "attackers_of_hosts_ppm": self.attackers.map(|pair| pair.1),
        })
    }
}

/// Median, 95 %, most, and how many.
fn spread(sorted: &[f64]) -> Value {
    json!({
        "median": quantile(sorted, 50),
        "p95": quantile(sorted, 95),
        "max": sorted.last(),
        "count": sorted.len(),
    })
}

/// What so many percent do not exceed.
pub fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied()
}

/// Some times of a world.
type Times = fn(&Outcome) -> &[f64];

/// Many worlds as one.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// One for each world.
    pub all: Vec<Outcome>,
}

impl Sum {
    /// All values that `of` finds, sorted.
    pub fn sorted(&self, of: impl Fn(&Outcome) -> &[f64]) -> Vec<f64> {
        let mut all: Vec<f64> = self.all.iter().flat_map(|outcome| of(outcome).iter().copied()).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The sum of what `of` finds.
    pub fn total(&self, of: impl Fn(&Outcome) -> f64) -> f64 {
        self.all.iter().map(of).sum()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("{:<34}{:>9}{:>9}{:>9}{:>9}\n", "", "median", "95 %", "max", "count");
        let mut line = |name: &str, sorted: &[f64]| {
            let cell = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
            text.push_str(&format!(
                "{name:<34}{:>9}{:>9}{:>9}{:>9}\n",
                cell(quantile(sorted, 50)),
                cell(quantile(sorted, 95)),
                cell(sorted.last().copied()),
                sorted.len()
            ));
        };
        let times: [(&str, Times); 3] = [
            ("crash to first suspicion, s", |outcome| &outcome.suspected),
            ("suspicion to first declaration, s", |outcome| &outcome.declared),
            ("declaration to everybody, s", |outcome| &outcome.known),
        ];
        for (name, of) in times {
            let sorted = self.sorted(of);
            if !sorted.is_empty() {
                line(name, &sorted);
            }
        }
        let mut bytes: Vec<f64> = self.all.iter().map(|outcome| outcome.bytes).collect();
        bytes.sort_by(f64::total_cmp);
        line("bytes sent, a node and second", &bytes);
        let mut packets: Vec<f64> = self.all.iter().map(|outcome| outcome.packets).collect();
        packets.sort_by(f64::total_cmp);
        line("packets sent, a node and second", &packets);
        let mut healed: Vec<f64> = self.all.iter().filter_map(|outcome| outcome.healed.map(|s| s as f64)).collect();
        healed.sort_by(f64::total_cmp);
        if !healed.is_empty() {
            line("repair to right tables, s", &healed);
        }
        let node_hours = self.total(|outcome| outcome.seconds * f64::from(outcome.nodes)) / 3600.0;
        text.push_str(&format!(
            "{} suspicions, {} refutations in {:.0} node-hours; false deaths {}; {} deaths in {} stalls; {} crashes unknown to somebody; {} violations\n",
            self.total(|outcome| outcome.suspicions as f64),
            self.total(|outcome| outcome.refutations as f64),
            node_hours,
            self.total(|outcome| f64::from(outcome.false_deaths)),
            self.total(|outcome| f64::from(outcome.stalled_deaths)),
            self.total(|outcome| f64::from(outcome.stalls)),
            self.total(|outcome| outcome.unknown as f64),
            self.total(|outcome| outcome.violations.len() as f64),
        ));
        let attackers: Vec<(u32, u32)> = self.all.iter().filter_map(|outcome| outcome.attackers).collect();
        if let Some(most) = attackers.iter().max() {
            let mean = attackers.iter().map(|pair| f64::from(pair.0)).sum::<f64>() / attackers.len() as f64;
            text.push_str(&format!(
                "attackers: {:.1} % of hosts, {:.1} % of samples (worst world {:.1} %)\n",
                f64::from(most.1) / 1e4,
                mean / 1e4,
                f64::from(most.0) / 1e4
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!([quantile(&sorted, 50), quantile(&sorted, 95), quantile(&[], 50)], [Some(2.0), Some(4.0), None]);
    }
}
