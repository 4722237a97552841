//! Attacks that might pay, by chance and by selection.
//!
//! An attack is what some hosts do against the rules, from when on, and how often. The first ones are drawn by chance; then the
//! better half of those that there are has children, each with one thing changed. None may gain more than the bound.
//!
//! Source: T. Bäck, D. Fogel, Z. Michalewicz, *Handbook of Evolutionary Computation* (1997), B1.3: (μ + λ) selection.

use tutu_node::kit::{Rng, rng::mix};

use super::{
    Plan,
    cheat::{self, Habit},
    outcome::{self, Outcome},
};

/// How far to search.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// All chance comes from it.
    pub seed: u64,
    /// Hosts of each market.
    pub nodes: u32,
    /// Seconds of each market.
    pub seconds: u64,
    /// Attacks that are kept.
    pub kept: usize,
    /// Generations, the first by chance.
    pub generations: u32,
}

/// An attack and what came of it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What the hosts did.
    pub habits: Vec<Habit>,
    /// What came of it.
    pub outcome: Outcome,
}

/// Searches; the best attacks first. `tell` hears of each generation.
pub fn search(config: Config, mut tell: impl FnMut(u32, &Tried)) -> Vec<Tried> {
    let mut rng = Rng::new(mix(config.seed ^ 0x7365_6172));
    let mut all: Vec<Tried> = Vec::new();
    for generation in 0..config.generations {
        let attacks: Vec<Vec<Habit>> = (0..config.kept)
            .map(|at| match all.get(at) {
                Some(parent) if generation > 0 => changed(&config, &mut rng, &parent.habits),
                _ => (0..1 + rng.below(config.nodes / 4)).map(|_| habit(&config, &mut rng)).collect(),
            })
            .collect();
        all.extend(attacks.into_iter().map(|habits| run(&config, habits)));
        all.sort_by_key(|tried| core::cmp::Reverse(tried.outcome.gain.sum()));
        all.truncate(config.kept);
        if let Some(best) = all.first() {
            tell(generation, best);
        }
    }
    all
}

fn run(config: &Config, habits: Vec<Habit>) -> Tried {
    let mut plan = Plan::new(config.seed, config.nodes, config.seconds, 0);
    plan.crashes = false;
    plan.cheats.clone_from(&habits);
    Tried { outcome: outcome::run(plan), habits }
}

/// One in four hosts at most, and some of them are founders.
fn habit(config: &Config, rng: &mut Rng) -> Habit {
    let attackers = (config.nodes / 4).max(1);
    Habit {
        host: config.nodes - 1 - (rng.below(attackers) * 7 % config.nodes),
        cheat: cheat::ALL[rng.below(cheat::ALL.len() as u32) as usize],
        from_s: u64::from(rng.below(3)) * config.seconds / 4,
        share_ppm: [1_000_000, 500_000, 100_000][rng.below(3) as usize],
    }
}

fn changed(config: &Config, rng: &mut Rng, habits: &[Habit]) -> Vec<Habit> {
    let mut habits = habits.to_vec();
    let at = rng.below(habits.len().max(1) as u32) as usize;
    match rng.below(3) {
        0 if habits.len() > 1 => drop(habits.swap_remove(at)),
        1 if !habits.is_empty() => habits[at] = habit(config, rng),
        _ => habits.push(habit(config, rng)),
    }
    habits
}
