//! Makes a failing plan smaller, until nothing can be left out.

use std::time::{Duration, Instant};

use crate::{
    net,
    outcome::{self, Outcome},
    plan::{Op, Plan},
};

/// The smallest plan that was found to fail as `plan` does, in at most `runs` worlds, of which none begins later than `within`, and
/// what came of it.
///
/// Source: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), ddmin: leave out ever
/// smaller parts.
pub fn shrink(plan: Plan, runs: usize, within: Duration) -> (Plan, Outcome) {
    let end = Instant::now() + within;
    let first = outcome::run(plan.clone());
    let mut search = Search { kind: kind(&first), best: (plan, first), left: runs, end };
    if search.kind.is_none() {
        return search.best;
    }
    search.calm_down();
    search.leave_out();
    search.calm_down();
    search.best
}

struct Search {
    kind: Option<String>,
    best: (Plan, Outcome),
    left: usize,
    end: Instant,
}

/// What is wrong, without the numbers: a smaller world with the same fault has others.
fn kind(outcome: &Outcome) -> Option<String> {
    let first = outcome.violations.first()?;
    let text = first.split_once(" s: ").map_or(&first[..], |pair| pair.1);
    Some(text.chars().filter(|c| !c.is_ascii_digit()).collect())
}

impl Search {
    /// Whether no more worlds may be tried.
    fn is_over(&self) -> bool {
        self.left == 0 || Instant::now() > self.end
    }

    fn takes(&mut self, plan: Plan) -> bool {
        if self.is_over() {
            return false;
        }
        self.left -= 1;
        let outcome = outcome::run(plan.clone());
        let same = kind(&outcome) == self.kind;
        if same {
            self.best = (plan, outcome);
        }
        same
    }

    /// Takes out of the links what they do not need to fail.
    fn calm_down(&mut self) {
        let perfect = net::Config::default();
        let changes: [fn(&mut net::Config, &net::Config); 4] = [
            |net, perfect| net.loss_ppm = perfect.loss_ppm,
            |net, perfect| net.double_ppm = perfect.double_ppm,
            |net, perfect| net.late_ppm = perfect.late_ppm,
            |net, perfect| net.walled_ppm = perfect.walled_ppm,
        ];
        for change in changes {
            let mut plan = self.best.0.clone();
            change(&mut plan.net, &perfect);
            if plan.net != self.best.0.net {
                self.takes(plan);
            }
        }
        let mut plan = self.best.0.clone();
        plan.drift_ppm = 0;
        self.takes(plan);
    }

    fn leave_out(&mut self) {
        let mut size = self.best.0.ops.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            let mut smaller = false;
            while at < self.best.0.ops.len() && self.left > 0 {
                let mut plan = self.best.0.clone();
                let end = (at + size).min(plan.ops.len());
                plan.ops.drain(at..end);
                if self.takes(plan) {
                    smaller = true;
                } else {
                    at += size;
                }
            }
            if self.is_over() {
                return;
            }
            size = if smaller && size == 1 { 1 } else { size / 2 };
        }
    }
}

/// A plan as text, so that it can be told to somebody.
pub fn tell(plan: &Plan) -> String {
    let mut text = format!(
        "{} nodes, {} s, calm from {} s, {:?}, drift {} ppm, warm {}\n",
        plan.nodes, plan.seconds, plan.calm, plan.net, plan.drift_ppm, plan.warm
    );
    for (at, op) in &plan.ops {
        text.push_str(&format!("  {:>10.3} s  {op:?}\n", *at as f64 / 1e6));
    }
    if plan.ops.iter().all(|op| matches!(op.1, Op::Mend)) {
        text.push_str("  nothing else happens\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Promise;

    #[test]
    fn what_has_nothing_to_do_with_it_is_left_out() {
        let mut plan = Plan::quiet(4, 12, 80);
        plan.net.loss_ppm = 10_000;
        for n in 0..8 {
            plan.at(5 + u64::from(n), Op::Facts(n));
        }
        // Nobody can know of it yet when the world ends: a promise that cannot be kept.
        plan.at(79, Op::Crash(3));
        plan.promise = Promise { whole: true, ..Promise::default() };
        let (small, outcome) = shrink(plan, 60, Duration::from_secs(3600));
        assert_eq!(small.ops, [(79_000_000, Op::Crash(3))]);
        assert_eq!((small.net.loss_ppm, outcome.violations.len()), (0, 1));
    }
}
