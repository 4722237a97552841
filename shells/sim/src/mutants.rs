//! Whether worlds notice when the protocol is wrong: a measure of the tests, not of the protocol.
//!
//! Each fault of [`Fault`] is switched on in turn, and stories are told until one of them shows it: by a violation, or by
//! a number that is half as bad again as without the fault. The same seeds tell the same stories, so that nothing but the
//! fault makes the difference.

use tutu_node::kit::{Fault, fault};

use crate::{
    outcome::{self, Outcome, quantile},
    plan::Plan,
    scenarios::{self, Args},
};

/// A story, its hosts, seconds, loss in per cent, seed.
type Case = (&'static str, u32, u64, u32, u64);

/// Short stories first.
const CASES: [Case; 20] = [
    ("crash", 24, 180, 0, 1),
    ("join", 40, 40, 0, 1),
    ("leave", 24, 120, 0, 1),
    ("partition", 24, 110, 0, 1),
    ("lines", 40, 90, 0, 1),
    ("crash", 24, 240, 20, 2),
    ("stall", 60, 240, 0, 1),
    ("byzantine", 60, 100, 0, 3),
    ("byzantine", 60, 100, 0, 4),
    ("restart", 30, 300, 0, 1),
    ("split", 120, 300, 0, 1),
    ("cells", 400, 150, 0, 1),
    ("churn", 60, 500, 2, 1),
    ("byzantine", 80, 120, 0, 5),
    ("byzantine", 80, 120, 0, 6),
    ("swarm", 30, 300, 0, 1),
    ("swarm", 30, 300, 0, 2),
    ("swarm", 30, 300, 0, 3),
    ("swarm", 30, 300, 0, 4),
    ("join", 60, 60, 20, 2),
];

/// Hunts every `every`th fault, and tells how it went, line by line. Whether more than one in twenty survived, or
/// something is wrong without any.
pub fn hunt(every: u32, mut tell: impl FnMut(String)) -> bool {
    fault::switch(0);
    let healthy: Vec<Outcome> = CASES.iter().map(|case| outcome::run(plan(case))).collect();
    for (case, outcome) in CASES.iter().zip(&healthy) {
        if let Some(violation) = outcome.violations.first() {
            tell(format!("without any fault, {} seed {} fails: {violation}", case.0, case.4));
            return true;
        }
    }
    let (mut hunted, mut survivors) = (0, 0);
    for number in (1..=Fault::COUNT).step_by(every as usize) {
        hunted += 1;
        fault::switch(number);
        let killer = CASES.iter().zip(&healthy).find_map(|(case, healthy)| {
            let why = worse(&outcome::run(plan(case)), healthy)?;
            Some(format!("{} seed {}: {why}", case.0, case.4))
        });
        survivors += u32::from(killer.is_none());
        tell(format!("{number:>3} {:<34} {}", name(number), killer.unwrap_or("SURVIVED".into())));
    }
    fault::switch(0);
    tell(format!("{} of {hunted} killed", hunted - survivors));
    survivors * 20 > hunted
}

fn plan(case: &Case) -> Plan {
    let (name, nodes, seconds, loss, seed) = *case;
    let story = scenarios::find(name).expect("all cases are told by somebody");
    story.2(&Args { seed, nodes, seconds, loss_ppm: loss * 10_000, lifeguard: true, liars: false })
}

/// What is worse than in a healthy world, if something is by more than half.
fn worse(outcome: &Outcome, healthy: &Outcome) -> Option<String> {
    if let Some(violation) = outcome.violations.first() {
        return Some(violation.clone());
    }
    let median = |sorted: &[f64]| quantile(sorted, 50).unwrap_or(0.0);
    let last = |sorted: &[f64]| sorted.last().copied().unwrap_or(0.0);
    // What it is, how it is now, how it was, and what more would mean nothing.
    let numbers = [
        ("crashes nobody suspected", missing(healthy.suspected.len(), outcome.suspected.len()), 0.0, 0.5),
        ("crashes nobody declared", missing(healthy.declared.len(), outcome.declared.len()), 0.0, 0.5),
        ("crashes not everybody knew", missing(healthy.known.len(), outcome.known.len()), 0.0, 0.5),
        ("s to suspicion", median(&outcome.suspected), median(&healthy.suspected), 0.5),
        ("s to declaration", median(&outcome.declared), median(&healthy.declared), 2.0),
        ("s until all know", last(&outcome.known), last(&healthy.known), 2.0),
        ("bytes a second", outcome.bytes, healthy.bytes, 100.0),
        ("suspicions", outcome.suspicions as f64, healthy.suspicions as f64, 50.0),
        ("refutations", outcome.refutations as f64, healthy.refutations as f64, 20.0),
        ("deaths of stalled", outcome.stalled_deaths.into(), healthy.stalled_deaths.into(), 2.0),
        ("false deaths", outcome.false_deaths.into(), healthy.false_deaths.into(), 0.5),
        ("farewells missed", outcome.farewells_missed.into(), healthy.farewells_missed.into(), 3.0),
        ("s to heal", seconds(outcome.healed), seconds(healthy.healed), 4.0),
    ];
    let worse = numbers.into_iter().find(|(_, now, was, slack)| *now > was * 1.5 + slack)?;
    Some(format!("{:.1} {} instead of {:.1}", worse.1, worse.0, worse.2))
}

fn missing(healthy: usize, now: usize) -> f64 {
    healthy.saturating_sub(now) as f64
}

fn seconds(healed: Option<u64>) -> f64 {
    healed.map_or(0.0, |seconds| seconds as f64)
}

fn name(number: u32) -> String {
    Fault::ALL.get(number as usize - 1).map_or(String::new(), |fault| format!("{fault:?}"))
}
