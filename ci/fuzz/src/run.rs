//! Running targets over harmed seeds.

use crate::{
    count, mutate, seeds,
    targets::{self, Food},
};

/// Bytes that a target may ask for in all: so many times its input, and so many more.
const TIMES: u64 = 8;
const MORE: u64 = 1 << 20;

/// What became of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Harmed inputs that every target was given, of the kind that it takes.
    pub files: u64,
    /// How many of them each target took as sound all the same, in the order of [`targets::ALL`].
    pub taken: [u64; targets::ALL.len()],
    /// The largest part of what it may ask for that a target used, in per cent.
    pub memory_percent: u64,
}

/// Runs `iterations` harmed files through every target.
///
/// # Panics
/// If a target panics or allocates more than it may; the message has the number that repeats it.
pub fn run(seed: u64, iterations: u64) -> Outcome {
    let seeds = [
        (Food::File, seeds::files()),
        (Food::Text, seeds::texts()),
        (Food::Template, seeds::templates()),
        (Food::Grammar, seeds::grammars()),
        (Food::Packet, seeds::packets()),
    ];
    let mut outcome = Outcome { files: iterations, ..Outcome::default() };
    for number in 0..iterations {
        let harmed = seeds.each_ref().map(|(food, seeds)| {
            let mut chance = mutate::Chance::new(seed.wrapping_add(number));
            let mut bytes = seeds[chance.below(seeds.len())].clone();
            mutate::mutate(&mut bytes, &mut chance);
            (*food, bytes)
        });
        for (which, (name, food, target)) in targets::ALL.into_iter().enumerate() {
            let (_, bytes) = harmed.iter().find(|(of, _)| *of == food).expect("there are seeds of each kind");
            let before = count::bytes();
            match std::panic::catch_unwind(|| target(bytes)) {
                Ok(taken) => outcome.taken[which] += u64::from(taken),
                Err(panic) => {
                    eprintln!("target {name}, --seed {}: {} bytes", seed.wrapping_add(number), bytes.len());
                    std::panic::resume_unwind(panic);
                }
            }
            let asked = count::bytes() - before;
            let allowed = TIMES * bytes.len() as u64 + MORE;
            assert!(
                asked <= allowed,
                "target {name}, --seed {}: asked for {asked} bytes, {allowed} are allowed",
                seed.wrapping_add(number)
            );
            outcome.memory_percent = outcome.memory_percent.max(100 * asked / allowed);
        }
    }
    outcome
}
