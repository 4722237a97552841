//! The interpreter agrees with an independent implementation that computes in f32 throughout
//! (llama.cpp, weights expanded to f32): the same next token wherever its two best differ by more than 0.02.
//!
//! Needs real models: `TUTU_TEST_MODELS` names their folder (`ci/models`).

use std::sync::Arc;

use serde_json::Value;
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, PAGE, Token},
    reference::{Options, Reference},
    weights::Bytes,
};

/// Logits of llama.cpp's f32 run are given to three places; sums in another order differ in the third.
const LOGIT_TOLERANCE: f32 = 0.03;

fn model(file: &str) -> Option<Model> {
    let Some(folder) = std::env::var_os("TUTU_TEST_MODELS") else {
        println!("skipped: TUTU_TEST_MODELS is not set");
        return None;
    };
    let bytes: Bytes = Arc::new(std::fs::read(std::path::Path::new(&folder).join(file)).expect("the model is there"));
    Some(Model::load(&[bytes], 0).expect("the model is sound"))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Runs every line's prompt and the true continuation through the interpreter in one step.
fn agrees(file: &str, golden: &str, lines: usize) {
    let Some(model) = model(file) else { return };
    let vocabulary = model.facts.vocabulary;
    let mut logits = Vec::new();
    let mut compared = 0;
    for line in golden.lines().take(lines) {
        let line: Value = serde_json::from_str(line).unwrap();
        let (prompt, greedy) = (ids(&line["prompt"]), ids(&line["greedy"]));
        let all: Vec<u32> = prompt.iter().chain(&greedy[..greedy.len() - 1]).copied().collect();
        let pages = all.len().div_ceil(PAGE);
        let table: Vec<u32> = (0..pages as u32).collect();
        let tokens: Vec<Token> = all
            .iter()
            .enumerate()
            .map(|(i, &id)| Token { id, position: i as u32, sequence: 0, output: i + 1 >= prompt.len() })
            .collect();
        let options = Options { tokens_max: all.len(), pages };
        let mut reference = Reference::new(model.weights.clone(), model.plan.clone(), options);
        reference.step(&Batch::new(&tokens, &[&table]), &mut logits).unwrap();
        for (step, row) in logits.chunks_exact(vocabulary).enumerate() {
            let top = &line["top"][step];
            let (first, second) = (top[0][1].as_f64().unwrap() as f32, top[1][1].as_f64().unwrap() as f32);
            let best = (0..vocabulary).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            assert!((row[best] - first).abs() < LOGIT_TOLERANCE, "step {step}: {} is not {first}", row[best]);
            if first - second > 0.02 {
                assert_eq!(best as u64, top[0][0].as_u64().unwrap(), "step {step}");
                compared += 1;
            }
        }
    }
    assert!(compared > 50 * lines / 2, "{compared} steps were compared");
}

#[test]
fn smollm2_says_what_the_truth_says() {
    agrees("SmolLM2-135M-Instruct.Q4_1.gguf", include_str!("data/greedy-smollm2.jsonl"), 10);
}

#[test]
fn qwen_says_what_the_truth_says() {
    agrees("qwen2.5-coder-0.5b.gguf", include_str!("data/greedy-qwen2.5-coder.jsonl"), 3);
}
