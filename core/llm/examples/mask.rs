//! What masks cost: `cargo run --release -p tutu-llm --example mask -- MODEL.gguf`.
//!
//! Walks through documents that a grammar allows, token by token, each chosen by chance among those that the mask
//! lets through, and prints how long masks took.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tutu_llm::{
    gguf::Gguf,
    grammar::{Machine, Mask, Vocabulary, json},
    token::Tokenizer,
};

fn main() {
    let path = std::env::args().nth(1).expect("the path of a GGUF file");
    let bytes = std::fs::read(path).expect("the file can be read");
    let file = Gguf::parse(&bytes).expect("a GGUF file");
    let tokenizer = Tokenizer::from_gguf(&file).expect("a tokenizer");
    let start = Instant::now();
    let vocabulary = Vocabulary::of(&tokenizer);
    println!("vocabulary of {} tokens: {:?}", vocabulary.len(), start.elapsed());
    let start = Instant::now();
    let grammar = Arc::new(json::object());
    println!("grammar: {:?}", start.elapsed());

    let mut times = Vec::new();
    let mut state = 1u64;
    for _ in 0..20 {
        let mut machine = Machine::new(grammar.clone());
        machine.limit(2000);
        let mut mask = Mask::new();
        while !machine.is_done() {
            let start = Instant::now();
            machine.mask(&vocabulary, &mut mask);
            times.push(start.elapsed());
            let allowed: Vec<u32> = (0..vocabulary.len() as u32).filter(|&id| mask.contains(id)).collect();
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let id = allowed[(state >> 33) as usize % allowed.len()];
            if tokenizer.is_end(id) {
                break;
            }
            assert!(machine.accept(&tokenizer.piece(id)));
        }
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{} masks: mean {:?}, median {:?}, p90 {:?}, p99 {:?}, worst {:?}",
        times.len(),
        times.iter().sum::<Duration>() / times.len() as u32,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
    );
}
