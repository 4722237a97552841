//! The long run: `tutu-fuzz [--iterations N] [--seed N]`.

use std::process::ExitCode;

#[global_allocator]
static COUNTING: tutu_fuzz::count::Counting = tutu_fuzz::count::Counting;

fn main() -> ExitCode {
    let (mut seed, mut iterations) = (0, 1_000_000);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|text| text.parse().ok());
        match (word.as_str(), number) {
            ("--iterations", Some(number)) => iterations = number,
            ("--seed", Some(number)) => seed = number,
            _ => {
                eprintln!("usage: tutu-fuzz [--iterations N] [--seed N]");
                return ExitCode::from(2);
            }
        }
    }
    let outcome = tutu_fuzz::run::run(seed, iterations);
    println!("{} harmed files: no panic", outcome.files);
    for ((name, ..), taken) in tutu_fuzz::targets::ALL.into_iter().zip(outcome.taken) {
        println!("  {name}: {taken} taken as sound");
    }
    println!("at most {} % of the memory that they may ask for", outcome.memory_percent);
    ExitCode::SUCCESS
}
