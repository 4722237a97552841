//! Figures of `trust`: how long a million peers take, and what attackers get.
//!
//! `cargo run --release -p tutu-node --example trust [PEERS]`

use tutu_node::{
    kit::{Ppm, Rng},
    trust::reputation::{
        flow::{Flow, ONE},
        graph::{Edge, Graph},
    },
};

const AGAIN: Ppm = Ppm(150_000);
const DEGREE: u32 = 20;

fn main() {
    let peers = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    speed(peers);
    attack(20_000);
}

/// Somebody; some are much better known than others.
fn popular(rng: &mut Rng, peers: u32) -> u32 {
    rng.below(peers).min(rng.below(peers))
}

fn town(rng: &mut Rng, peers: u32, more: u32, degree: u32) -> Graph {
    let mut graph = Graph::default();
    (0..peers + more).for_each(|_| {
        graph.peer();
    });
    let mut row = Vec::new();
    for from in 0..peers {
        row.clear();
        row.extend((0..degree).map(|_| Edge { to: popular(rng, peers), weight: 1 + (rng.next() as u32 >> 12) }));
        row.sort_unstable_by_key(|edge| edge.to);
        row.dedup_by_key(|edge| edge.to);
        graph.replace(from, &row);
    }
    graph
}

fn speed(peers: u32) {
    let mut rng = Rng::new(1);
    let graph = town(&mut rng, peers, 0, DEGREE);
    let edges: usize = (0..peers).map(|peer| graph.row(peer).len()).sum();
    let mut flow = Flow::over(graph, AGAIN);
    flow.seed((0..20).map(|_| Edge { to: rng.below(peers), weight: 1 }).collect());
    println!("{peers} peers, {:.1} M edges, 20 seeds, {AGAIN} begins again", edges as f64 / 1e6);
    for digits in [6, 9] {
        let begun = Clock::start();
        let rounds = flow.solve(ONE as u64 / 10_u64.pow(digits));
        println!("  all anew, to 1e-{digits}: {} in {rounds} rounds, off by at most {:.1e}", begun, part(flow.error()));
    }
    let mut times = Vec::new();
    for _ in 0..10 {
        let changes: Vec<(u32, Edge)> = (0..1000)
            .map(|_| (rng.below(peers), Edge { to: popular(&mut rng, peers), weight: rng.next() as u32 >> 12 }))
            .collect();
        let begun = Clock::start();
        for (from, edge) in &changes {
            flow.set(*from, [*edge]);
        }
        // A twentieth of what a peer has on average.
        flow.fold(ONE as u64 / (u64::from(peers) * 20), usize::MAX);
        times.push((begun.cpu() * 1e3, begun.wall() * 1e3));
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (median, longest) = (times[5], times[9]);
    println!(
        "  1,000 changed edges: {:.2} ms of the core ({:.2} by the wall), at most {:.2} ({:.2}) of 10",
        median.0, median.1, longest.0, longest.1
    );
    let said = part(flow.error());
    let before: Vec<u64> = (0..peers).map(|peer| flow.trust(peer)).collect();
    flow.solve(ONE as u64 / 1_000_000_000);
    let off: Vec<f64> = (0..peers).map(|peer| part(before[peer as usize].abs_diff(flow.trust(peer)))).collect();
    let (sum, most) = (off.iter().sum::<f64>(), off.iter().fold(0.0, |a: f64, b| a.max(*b)));
    println!(
        "  after 10,000 of them: off by {sum:.1e} in all ({said:.1e} was known), by {most:.1e} at most for one peer"
    );
    println!("  the same bits on every machine: {:016x}", fingerprint(&flow, peers));
}

/// Time by the wall, and of the core: on a machine that others use, the second is what the work costs.
struct Clock(std::time::Instant, f64);

impl Clock {
    fn start() -> Self {
        Self(std::time::Instant::now(), on_core())
    }

    fn wall(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    fn cpu(&self) -> f64 {
        on_core() - self.1
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} s of the core ({:.2} by the wall)", self.cpu(), self.wall())
    }
}

/// Seconds that this process was on a core, by the kernel's account; 0 where there is none.
fn on_core() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// One number of all trust.
fn fingerprint(flow: &Flow, peers: u32) -> u64 {
    (0..peers).fold(0, |hash, peer| tutu_node::kit::rng::mix(hash ^ flow.trust(peer)))
}

fn part(amount: u64) -> f64 {
    amount as f64 / ONE as f64
}

fn attack(honest: u32) {
    println!("{honest} honest peers, attackers with bought edges: their part of all trust (by heads)");
    for bought in [20, 200, 2000] {
        for sybils in [100, 1000, 10_000, 100_000] {
            let mut rng = Rng::new(7);
            let mut graph = town(&mut rng, honest, sybils, DEGREE);
            for _ in 0..bought {
                graph.set(rng.below(honest), honest + rng.below(sybils), 1 << 19);
            }
            for from in honest..honest + sybils {
                (0..5).for_each(|_| graph.set(from, honest + rng.below(sybils), u32::MAX));
            }
            let mut flow = Flow::over(graph, AGAIN);
            flow.seed((0..20).map(|_| Edge { to: rng.below(honest), weight: 1 }).collect());
            flow.solve(ONE as u64 / 1_000_000_000);
            let mass: f64 = (honest..honest + sybils).map(|peer| part(flow.trust(peer))).sum();
            let crossing: f64 = (0..honest).map(|from| over(&flow, from, honest)).sum();
            let bound = crossing * 0.85 / 0.15;
            let heads = f64::from(sybils) / f64::from(sybils + honest);
            println!(
                "  {bought} edges, {sybils} sybils: {:.4} % ({:.1} %); bound {:.4} %, off by {:.1e}",
                mass * 100.0,
                heads * 100.0,
                bound * 100.0,
                (mass / bound - 1.0).abs()
            );
        }
    }
}

/// What of a peer's trust goes to attackers.
fn over(flow: &Flow, from: u32, honest: u32) -> f64 {
    let sum = flow.graph().sum(from) as f64;
    let bought = flow.graph().row(from).iter().filter(|edge| edge.to >= honest);
    bought.map(|edge| part(flow.trust(from)) * f64::from(edge.weight) / sum).sum()
}
