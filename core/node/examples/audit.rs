//! Figures of `trust::verify` and `trust::anomaly`: who is caught how soon, and who is accused wrongly.
//!
//! `cargo run --release -p tutu-node --example audit [PEERS]`
//!
//! Distances are modelled as bells over the buckets (quarters of a doubling); the chances of the sequential test are then
//! computed over all ways that the sum can take, not sampled.

use tutu_node::{
    kit::{Credits, NodeId, Ppm, Rng},
    trust::{
        anomaly::{Anomaly, Config, Observation, Sign, Subject},
        verify::{
            commit::BUCKETS,
            rate,
            sequential::{Calibration, GUILTY},
        },
    },
};

fn main() {
    verify();
    let peers = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    anomaly(peers, true);
    anomaly(peers, false);
}

/// Distances spread like a bell around `middle`, out of a million.
fn bell(middle: f64, width: f64) -> [u64; BUCKETS] {
    core::array::from_fn(|at| (1e6 * (-((at as f64 - middle) / width).powi(2) / 2.0).exp()) as u64)
}

/// The chance to be guilty within `blocks`, the sum in hundredths of a nat, rounded against the worker or for it.
fn guilty(calibration: &Calibration, distances: &[u64; BUCKETS], blocks: usize, against: bool) -> f64 {
    let all: u64 = distances.iter().sum();
    let round = |step: i32| if against { (step + 9).div_euclid(10) } else { step.div_euclid(10) };
    let steps: Vec<(i32, f64)> = (0..BUCKETS)
        .filter(|at| distances[*at] > 0)
        .map(|at| (round(calibration.step(at as u8)), distances[at] as f64 / all as f64))
        .collect();
    let cells = GUILTY as usize / 10;
    let (mut sums, mut caught) = (vec![0.0; cells], 0.0);
    sums[0] = 1.0;
    for _ in 0..blocks {
        let mut next = vec![0.0; cells];
        for (sum, chance) in sums.iter().enumerate().filter(|(_, chance)| **chance > 1e-30) {
            for (step, part) in &steps {
                let to = (sum as i32 + step).max(0) as usize;
                if to >= cells { caught += chance * part } else { next[to] += chance * part }
            }
        }
        sums = next;
    }
    caught
}

fn verify() {
    let config = rate::Config::default();
    println!(
        "audits that cost a hundredth of the work, 64 blocks (2,048 tokens) at most, guilty at {GUILTY} millinats"
    );
    let honest = bell(14.0, 2.0);
    for (name, middle, width) in [("one step fewer bits", 20.0, 2.5), ("hard to tell", 17.0, 2.0)] {
        let cheating = bell(middle, width);
        let calibration = match Calibration::new(&honest, &cheating) {
            Ok(calibration) => calibration,
            Err(error) => {
                println!("  {name}: {error}");
                continue;
            }
        };
        let wrongly = guilty(&calibration, &honest, 64, true);
        let per = guilty(&calibration, &honest, 64 * 100, true) / 100.0;
        println!(
            "  {name}: {:.2} nats a block; an honest worker is accused {wrongly:.1e} times an audit ({per:.1e} over a hundred)",
            calibration.drift(&cheating) as f64 / 1e3
        );
        for blocks in [4, 8, 16] {
            let known = 1.0 - guilty(&calibration, &cheating, 20 * blocks, false);
            println!("    tasks of {:4} tokens, all audited: missed after 20 with {known:.1e}", blocks * 32);
        }
    }
    let spent = |cost| rate::spent(&config, Ppm(cost), Ppm(50_000));
    println!("  spent, with 5 % newcomers: {} where an audit costs 1 %, {} where 10 %", spent(10_000), spent(100_000));
    let escrow = |rate| rate::escrow(Ppm(rate), Credits(1_000_000)).map_or(0, |credits| credits.0);
    println!(
        "  escrow that deters from a gain of 1 credit: {} at 5 %, {} at 60 %, {} at 100 % (millionths)",
        escrow(50_000),
        escrow(600_000),
        escrow(1_000_000)
    );
}

/// One peer in a hundred spoils 5 % of its work: of its blocks, or whole tasks.
fn anomaly(peers: u64, by_block: bool) {
    let (mut rng, mut anomaly) = (Rng::new(1), Anomaly::new(Config { watches_max: 1 << 20, ..Config::default() }));
    let (mut caught, mut cheats, mut accused, mut spoiled, mut caught_of_spoiled) = (0, 0, 0, 0, 0);
    for peer in 0..peers {
        let cheat = peer % 100 == 0;
        let subject = Subject { peer: NodeId::number(peer), model: 1, backend: 1 };
        let (mut alarm, mut did) = (false, false);
        for task in 0..50_u64 {
            let observer = NodeId::number((1 << 40) + task % 9);
            let mut see = |sign, looked, seen| {
                let seen = Observation { observer, belief: Ppm::ALL, sign, looked, seen };
                anomaly.observe(subject, seen).is_some()
            };
            let drift = u32::from(rng.chance(16_000));
            let wrong = match (cheat, by_block) {
                (false, _) => drift,
                (true, true) => (0..16).filter(|_| rng.chance(50_000)).count() as u32,
                (true, false) => {
                    if rng.chance(50_000) {
                        16
                    } else {
                        drift
                    }
                }
            };
            did |= wrong > 1;
            alarm |= see(Sign::Wrong, 16, wrong);
            alarm |= see(Sign::Failed, 1, u32::from(rng.chance(20_000)));
            alarm |= see(Sign::Slow, 1, u32::from(rng.chance(50_000)));
            alarm |= see(Sign::Greedy, 1, u32::from(rng.chance(1_000)));
        }
        if cheat {
            cheats += 1;
            caught += u32::from(alarm);
            spoiled += u32::from(did);
            caught_of_spoiled += u32::from(alarm && did);
        } else {
            accused += u32::from(alarm);
        }
    }
    let part = |a: u32, b: u32| f64::from(a) / f64::from(b.max(1)) * 100.0;
    println!(
        "{peers} peers, 1 % spoil 5 % of their {}, 50 tasks each of 16 audited blocks:",
        if by_block { "blocks" } else { "tasks" }
    );
    println!(
        "  found {:.2} % of {cheats} cheats, {:.2} % of those that spoiled anything by then; good ones accused: {accused} ({:.1e})",
        part(caught, cheats),
        part(caught_of_spoiled, spoiled),
        f64::from(accused) / (peers - u64::from(cheats)) as f64
    );
}
