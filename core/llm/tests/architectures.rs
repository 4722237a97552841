//! Each architecture computes what llama.cpp computes, on tiny models with made-up weights. The golden
//! numbers were made once with `ci/golden/make`.

#[allow(dead_code, reason = "shared with an example")]
mod tiny;

use std::sync::Arc;

use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, PAGE, Token},
    reference::{Options, Reference},
};

/// Sums in another order differ in the last places of f32, and some twenty layers' worth of them add up; a wrong
/// operation differs by more than 0.1.
const TOLERANCE: f32 = 2e-3;

fn outputs(name: &str, at_a_time: usize) -> Vec<f32> {
    let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap_or_else(|e| panic!("{name}: {e}"));
    let ids = tiny::tokens();
    let pages = ids.len().div_ceil(PAGE);
    let table: Vec<u32> = (0..pages as u32).rev().collect();
    let mut reference = Reference::new(model.weights, model.plan, Options { tokens_max: ids.len(), pages });
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for (part, ids) in ids.chunks(at_a_time).enumerate() {
        let token = |(i, &id)| Token { id, position: (part * at_a_time + i) as u32, sequence: 0, output: true };
        let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
        reference.step(&Batch::new(&tokens, &[&table]), &mut out).unwrap();
        all.extend_from_slice(&out);
    }
    all
}

fn golden(name: &str) -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/tiny/{name}.f32"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[test]
fn every_architecture_says_what_llama_cpp_says() {
    let mut wrong = Vec::new();
    for name in tiny::NAMES {
        let (found, truth) = (outputs(name, 64), golden(name));
        // Golden are the last rows, which have all others before them.
        let found = &found[found.len() - truth.len()..];
        let worst = found.iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let size = truth.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        if worst.is_nan() || worst > TOLERANCE * size.max(1.0) {
            wrong.push(format!("{name}: off by {worst} of {size}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn it_does_not_matter_in_how_many_steps_a_prompt_is_read() {
    for name in tiny::NAMES.into_iter().filter(|name| !name.contains("bert")) {
        assert_eq!(outputs(name, 64), outputs(name, 7), "{name}");
    }
}
