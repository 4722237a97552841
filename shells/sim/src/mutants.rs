//! Whether worlds notice when the protocol is wrong: a measure of the tests, not of the protocol.
//!
//! Each fault of [`Fault::MESH`] is switched on in turn, and stories are told until one of them shows it: by a violation, or by
//! a number that is half as bad again as in the worst of five worlds or more of that story without a fault: chance explains less.

use tutu_node::kit::{Fault, fault};

use crate::{
    outcome::{self, Outcome, quantile},
    plan::{Op, Plan},
    scenarios::{self, Args},
};

/// A story, its hosts, seconds, loss in per cent, seed.
type Case = (&'static str, u32, u64, u32, u64);

/// Short stories first.
const CASES: [Case; 31] = [
    ("crash", 24, 180, 0, 1),
    ("join", 40, 40, 0, 1),
    ("leave", 24, 120, 0, 1),
    ("leave", 60, 100, 0, 2),
    ("partition", 24, 110, 0, 1),
    ("lines", 40, 90, 0, 1),
    ("crash", 24, 240, 20, 2),
    ("stall", 3, 900, 0, 1),
    ("stall", 60, 240, 0, 1),
    ("doze", 24, 500, 0, 1),
    ("nap", 24, 1200, 0, 1),
    ("stall", 60, 240, 30, 1),
    ("byzantine", 60, 100, 0, 3),
    ("byzantine", 60, 100, 0, 4),
    ("restart", 30, 300, 0, 1),
    ("split", 120, 300, 0, 1),
    ("cells", 400, 150, 0, 1),
    ("churn", 60, 500, 2, 1),
    ("byzantine", 60, 100, 0, 5),
    ("byzantine", 60, 100, 0, 6),
    ("byzantine", 60, 100, 0, 7),
    ("byzantine", 60, 100, 0, 8),
    ("byzantine", 60, 100, 0, 1),
    ("swarm", 30, 300, 0, 1),
    ("swarm", 30, 300, 0, 2),
    ("swarm", 30, 300, 0, 3),
    ("swarm", 30, 300, 0, 4),
    ("join", 60, 60, 20, 2),
    ("stall", 60, 2000, 0, 1),
    ("split", 400, 110, 0, 1),
    ("strange", 2048, 300, 0, 1),
];

/// Other worlds of the same story without any fault that say how far numbers go by chance.
const HEALTHY: u64 = 4;

/// Hunts every `every`th fault, and tells how it went, line by line. Whether more than one in twenty survived, or
/// something is wrong without any.
pub fn hunt(every: u32, mut tell: impl FnMut(String)) -> bool {
    let mut usual = [const { None }; CASES.len()];
    let (mut hunted, mut survivors) = (0, 0);
    for (number, fault) in (1..).zip(Fault::MESH).step_by(every as usize) {
        hunted += 1;
        let mut killer = "SURVIVED".to_string();
        for (n, case) in CASES.iter().enumerate() {
            // Only when it is needed: most faults do not outlive the first stories.
            if let Err(violation) = learn(&mut usual, n) {
                tell(format!("without any fault, {violation}"));
                return true;
            }
            let Some(usual) = &usual[n] else { continue };
            fault::switch(Some(*fault));
            let why = usual.exceeded_by(&outcome::run(plan(case, case.4)));
            fault::switch(None);
            if let Some(why) = why {
                killer = format!("{} seed {}: {why}", case.0, case.4);
                break;
            }
        }
        survivors += u32::from(killer == "SURVIVED");
        tell(format!("{number:>3} {:<34} {killer}", format!("{fault:?}")));
    }
    tell(format!("{} of {hunted} killed", hunted - survivors));
    survivors * 20 > hunted
}

/// Switches on the fault called `name`, and leaves it on.
///
/// # Errors
/// When there is none of that name.
pub fn switch(name: &str) -> Result<(), String> {
    let fault = Fault::ALL.iter().find(|fault| format!("{fault:?}") == name);
    fault::switch(Some(*fault.ok_or(format!("there is no fault {name:?}"))?));
    Ok(())
}

/// Sees to it that `usual` has case `n`. Cases that differ in nothing but the seed share what chance does.
fn learn(usual: &mut [Option<Usual>; CASES.len()], n: usize) -> Result<(), String> {
    let story = |case: &Case| (case.0, case.1, case.2, case.3);
    let twin = (0..n).find(|other| story(&CASES[*other]) == story(&CASES[n]));
    let worst = twin.and_then(|twin| usual[twin].as_ref()).map(|twin| twin.worst);
    if usual[n].is_none() {
        usual[n] = Some(Usual::of(&CASES[n], worst)?);
    }
    Ok(())
}

fn plan(case: &Case, seed: u64) -> Plan {
    let (name, nodes, seconds, loss, _) = *case;
    let story = scenarios::find(name).expect("all cases are told by somebody");
    story.2(&Args { seed, nodes, seconds, loss_ppm: loss * 10_000, lifeguard: true, liars: false })
}

/// What a story looks like without any fault.
struct Usual {
    /// Of the same seed; only if all crashes are planned, and final.
    same: Option<Outcome>,
    /// The worst of all its worlds.
    worst: [f64; NUMBERS.len()],
}

impl Usual {
    /// Tells the story as it is, with its own seed and others. The violation, if there is one.
    fn of(case: &Case, known: Option<[f64; NUMBERS.len()]>) -> Result<Self, String> {
        let first = plan(case, case.4);
        let counts = first.liars == 0 && !first.ops.iter().any(|op| matches!(op.1, Op::Start(_)));
        let others = if known.is_some() { 0 } else { HEALTHY };
        let (mut same, mut worst) = (None, known.unwrap_or([0.0_f64; NUMBERS.len()]));
        for seed in core::iter::once(case.4).chain(1000..1000 + others) {
            let outcome = outcome::run(plan(case, seed));
            // Other seeds only say how far numbers go; what they promise is tested elsewhere.
            if let (true, Some(violation)) = (seed == case.4, outcome.violations.first()) {
                return Err(format!("{} seed {seed} fails: {violation}", case.0));
            }
            for (worst, number) in worst.iter_mut().zip(&NUMBERS) {
                *worst = worst.max((number.2)(&outcome));
            }
            if seed == case.4 && counts {
                same = Some(outcome);
            }
        }
        Ok(Self { same, worst })
    }

    /// What is worse in `outcome` than chance explains: a violation, a crash that is missed, or a number half as bad again
    /// as the worst of all worlds without a fault.
    fn exceeded_by(&self, outcome: &Outcome) -> Option<String> {
        if let Some(violation) = outcome.violations.first() {
            return Some(violation.clone());
        }
        if let Some(same) = &self.same {
            let crashes = |outcome: &Outcome| [outcome.suspected.len(), outcome.declared.len(), outcome.known.len()];
            let missed = crashes(same).into_iter().zip(crashes(outcome)).position(|(was, now)| now < was);
            if let Some(at) = missed {
                return Some(format!("a crash that nobody {}", ["suspected", "declared", "knew of to the last"][at]));
            }
        }
        NUMBERS.iter().zip(self.worst).find_map(|((what, slack, of), worst)| {
            let now = of(outcome);
            (now > worst * 1.5 + slack).then(|| format!("{now:.1} {what}, never above {worst:.1} without the fault"))
        })
    }
}

/// A number of a world, higher if worse.
type Number = (&'static str, f64, fn(&Outcome) -> f64);

/// What it is, what more would mean nothing, and where it stands.
const NUMBERS: [Number; 15] = [
    ("s to suspicion (median)", 0.5, |outcome| quantile(&outcome.suspected, 50).unwrap_or(0.0)),
    ("s to declaration (median)", 2.0, |outcome| quantile(&outcome.declared, 50).unwrap_or(0.0)),
    ("s until all know", 2.0, |outcome| outcome.known.last().copied().unwrap_or(0.0)),
    ("crashes unknown to somebody", 0.5, |outcome| outcome.unknown as f64),
    ("bytes a second", 100.0, |outcome| outcome.bytes),
    ("suspicions", 50.0, |outcome| outcome.suspicions as f64),
    ("suspicions of hosts that ran", 5.0, |outcome| outcome.wronged as f64),
    ("% of delegates lacking", 10.0, |outcome| outcome.lacking.into()),
    ("refutations", 20.0, |outcome| outcome.refutations as f64),
    ("deaths of stalled", 2.0, |outcome| outcome.stalled_deaths.into()),
    ("false deaths", 0.5, |outcome| outcome.false_deaths.into()),
    ("farewells missed", 3.0, |outcome| outcome.farewells_missed.into()),
    ("s until a farewell is heard (mean)", 0.2, |outcome| outcome.farewell),
    ("s to heal", 4.0, |outcome| outcome.healed.map_or(0.0, |seconds| seconds as f64)),
    ("ppm of samples are liars", 20_000.0, |outcome| outcome.attackers.map_or(0.0, |pair| pair.0.into())),
];
