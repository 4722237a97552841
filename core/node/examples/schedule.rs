//! Figures of `work::schedule`: placements a second, and waits against the formula of two choices.
//!
//! `cargo run --release -p tutu-node --example schedule [SECONDS]`

#[path = "../tests/town/mod.rs"]
mod town;

use std::time::Duration;

use town::{Plan, Town};
use tutu_node::{
    kit::{Class, Instant, Machine, NodeId, Rng},
    work::schedule::{
        choice::Candidate,
        client::{self, Client, Effect, Input, Request},
    },
};

fn main() {
    placements(4096, 1_000_000);
    let seconds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    waits(seconds);
    learner();
}

/// What the learner gains where lines look longer than they are, and where all is as it looks.
fn learner() {
    for misled in [true, false] {
        let mean = |learns| {
            let mut plan = plan(2, 2);
            (plan.workers, plan.clients, plan.tokens) = (100, 2, 200);
            (plan.misled, plan.client.learns) = (misled, learns);
            let mut town = Town::new(plan, &[(0, 25_000)], 1_200);
            town.live();
            town::mean(&town.fates, 600, 1_200)
        };
        let (with, without) = (mean(true), mean(false));
        let place = if misled { "half of the lines look long and are not" } else { "all is as it looks" };
        println!("  load 0.5, {place}: {with:.3} s with the learner, {without:.3} s without");
    }
}

/// One placement: a task is asked for, two workers are asked, both quote, one is ready, the task is bound; and before the
/// next, an older one is finished.
fn placements(workers: u32, count: u64) {
    let mut client = Client::new(client::Config::default(), 1);
    let mut rng = Rng::new(2);
    let list = (0..workers)
        .map(|n| Candidate {
            worker: NodeId::number(u64::from(n)),
            trust: 1 + rng.below(1000),
            price: 900_000 + rng.below(300_000),
            link: rng.below(200_000),
            hot: rng.below(4) > 0,
        })
        .collect();
    let mut out = Vec::with_capacity(16);
    client.handle(Instant::default(), Input::Candidates { model: 1, list }, &mut out);
    let mut bound: std::collections::VecDeque<(u64, NodeId)> = std::collections::VecDeque::new();
    let (begun, core) = (std::time::Instant::now(), on_core());
    let (mut placed, mut charged) = (0_u64, 0_u64);
    for task in 0..count {
        let now = Instant::from_micros(task * 2);
        let request = Request {
            model: 1,
            class: Class::Standard,
            cost: 200,
            limit: 400,
            price_max: 2_000_000,
            prefix: rng.next(),
            wait: Duration::from_secs(60),
        };
        out.clear();
        client.handle(now, Input::Ask { task, request }, &mut out);
        let asked = [&out[0], &out[1]].map(|effect| match effect {
            Effect::Reserve { worker, .. } => *worker,
            other => panic!("{other:?}"),
        });
        for worker in asked {
            client.handle(now, Input::Quoted { task, worker, wait: Duration::from_secs(1) }, &mut out);
        }
        client.handle(now, Input::Ready { task, worker: asked[0] }, &mut out);
        placed += out.iter().filter(|effect| matches!(effect, Effect::Bind { .. })).count() as u64;
        bound.push_back((task, asked[0]));
        if bound.len() > 10_000 {
            let Some((task, worker)) = bound.pop_front() else { break };
            out.clear();
            client.handle(now, Input::Reported { task, worker, epoch: 1, tokens: 300, done: true }, &mut out);
            charged += out.iter().filter(|effect| matches!(effect, Effect::Charge(_))).count() as u64;
        }
    }
    let (wall, core) = (begun.elapsed().as_secs_f64(), on_core() - core);
    assert_eq!((placed, charged), (count, count - 10_000));
    println!(
        "{workers} candidates, 10,000 tasks at a time: {:.0} placements/s of the core ({:.0}/s by the wall)",
        count as f64 / core,
        count as f64 / wall
    );
}

/// Seconds that this process was on a core, by the kernel's account; 0 where there is none.
fn on_core() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn waits(seconds: u64) {
    let formula = town::two_choices(0.9);
    println!(
        "load 0.9, answers of 30 s on average, figures up to 1 s old; the formula says {formula:.3} service times"
    );
    for (choices, kept, name) in
        [(1, 1, "one choice (10 by the formula)"), (2, 1, "two choices, as quoted"), (2, 2, "two choices, bound late")]
    {
        let plan = plan(choices, kept);
        let mut town = Town::new(plan, &[(0, 15_000)], seconds);
        town.live();
        let (from, to) = (seconds / 5, seconds * 19 / 20);
        let mean = town::mean(&town.fates, from, to) / 30.0;
        // By chance the load is not quite what was planned, and the formula is steep.
        let load = town::load(&town.fates, from, to) / (500.0 * 100.0);
        let formula = town::two_choices(load);
        println!(
            "  {name}: {mean:.3} at a load of {load:.4}; {:+.1} % to the formula there, {} tasks",
            (mean / formula - 1.0) * 100.0,
            town.fates.len()
        );
    }
}

fn plan(choices: u8, kept: u8) -> Plan {
    let mut plan = Plan::steady(1, 500, Duration::from_secs(1_000_000), 10_000);
    plan.client = client::Config { choices, kept, learns: false, ..plan.client };
    plan
}
