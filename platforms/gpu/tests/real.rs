//! Real models, where `TUTU_TEST_MODELS` names their folder (`ci/models`): logits, and what is written by them, are those
//! of the interpreter.

mod gpu;

use std::{path::PathBuf, sync::Arc};

use tutu_gpu::{Caps, Engine, Options};
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, Token},
    gguf::Gguf,
    reference::{self, Reference},
    sample,
    token::{Special, Tokenizer},
};

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// How far a logit may be off, of a typical one: keys and values are halves, over thirty layers.
const OFF: f32 = 1e-2;
/// Pages of a text; not in order, as those of a server are not.
const TABLE: [u32; 3] = [4, 1, 2];
const PAGES: usize = 5;

/// The model's file; `None`, and a line that says so, where there is none.
fn file() -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("TUTU_TEST_MODELS").map(PathBuf::from) else {
        println!("skipped: TUTU_TEST_MODELS is not set");
        return None;
    };
    Some(std::fs::read(folder.join(MODEL)).expect("ci/models brought it"))
}

fn token((position, &id): (usize, &u32)) -> Token {
    Token { id, position: position as u32, sequence: 0, output: true }
}

/// The logits after each token.
fn logits(backend: &mut dyn Backend, ids: &[u32], at_a_time: usize) -> Vec<f32> {
    let (mut all, mut out) = (Vec::new(), Vec::new());
    let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
    for part in tokens.chunks(at_a_time) {
        backend.step(&Batch::new(part, &[&TABLE]), &mut out).unwrap();
        all.extend_from_slice(&out);
    }
    all
}

/// The typical element.
fn size(row: &[f32]) -> f32 {
    (row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32).sqrt()
}

#[test]
#[ignore = "minutes on a GPU in software; `ci/gpu --all` runs it"]
fn logits_are_those_of_the_interpreter() {
    let (Some(bytes), Some(device)) = (file(), gpu::device()) else { return };
    // "<|im_start|>user\nWhat is the", as SmolLM2 has it.
    let ids = [1, 4093, 198, 1780, 314, 260];
    let model = Model::load(&[Arc::new(bytes)], 64).unwrap();
    let options = reference::Options { tokens_max: 16, pages: PAGES };
    let truth = logits(&mut Reference::new(model.weights.clone(), model.plan.clone(), options), &ids, 16);
    let width = model.plan.output.width;
    for (software, at_a_time) in [(true, 16), (true, 1), (false, 16), (false, 1)] {
        let caps = Caps { software, ..device.caps() };
        let options = Options { tokens_max: 16, pages: PAGES, release: None, caps: Some(caps), lose_after: None };
        let mut engine = Engine::new(device.clone(), model.weights.clone(), model.plan.clone(), options).unwrap();
        let found = logits(&mut engine, &ids, at_a_time);
        for (at, (found, truth)) in found.chunks(width).zip(truth.chunks(width)).enumerate() {
            let size = size(truth);
            let worst = found.iter().zip(truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("software {software}, {at_a_time} at a time, token {at}: off by {worst} of {size}");
            assert!(worst < OFF * size, "token {at}, {at_a_time} at a time, {caps:?}: off by {worst} of {size}");
        }
    }
}

/// Of each row of logits but the last how unlikely the token after it was, together: the perplexity of the text.
fn perplexity(rows: &[f32], width: usize, ids: &[u32]) -> f64 {
    let each = rows.chunks(width).zip(&ids[1..]).map(|(row, &next)| {
        let top = row.iter().fold(f32::MIN, |top, x| top.max(*x));
        let sum: f64 = row.iter().map(|x| f64::from(x - top).exp()).sum();
        sum.ln() - f64::from(row[next as usize] - top)
    });
    (each.sum::<f64>() / (ids.len() - 1) as f64).exp()
}

/// Tokens of a text, and of a step: more than matvec.wgsl takes.
const TEXT: usize = 192;
const STEP: usize = 96;

#[test]
#[ignore = "minutes on a GPU in software; `ci/gpu --all` runs it"]
fn narrow_numbers_keep_the_perplexity() {
    let (Some(bytes), Some(device)) = (file(), gpu::device()) else { return };
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&bytes).unwrap()).unwrap();
    let model = Model::load(&[Arc::new(bytes)], TEXT).unwrap();
    let mut ids = Vec::new();
    tokenizer.encode(include_str!("../../../shells/smol/tests/data/prose.txt"), Special::Text, &mut ids);
    ids.truncate(TEXT);
    let own = device.caps();
    let plain = Caps { software: false, ..own.plain() };
    let of = |caps: Caps| {
        let options = Options { tokens_max: STEP, pages: 8, release: None, caps: Some(caps), lose_after: None };
        let mut engine = Engine::new(device.clone(), model.weights.clone(), model.plan.clone(), options).unwrap();
        let (mut all, mut out) = (Vec::new(), Vec::new());
        let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
        for part in tokens.chunks(STEP) {
            engine.step(&Batch::new(part, &[&[4, 1, 2, 0, 7, 5]]), &mut out).unwrap();
            all.extend_from_slice(&out);
        }
        perplexity(&all, model.plan.output.width, &ids)
    };
    let truth = of(plain);
    let mut narrow = vec![("bytes", Caps { packed: true, ..plain })];
    if own.halves {
        narrow.push(("halves", Caps { halves: true, ..plain }));
    }
    if own.matrices.is_some() {
        narrow.push(("matrices", Caps { matrices: own.matrices, ..plain }));
    }
    for (name, caps) in narrow {
        let found = of(caps);
        assert!(!device.is_plain(), "the driver refused {name}");
        println!("perplexity with {name}: {found}, and {truth} without: {:+.3} %", 100.0 * (found / truth - 1.0));
        assert!((found / truth - 1.0).abs() < 0.005, "{name}: {found} is not {truth}");
    }
}

/// Tokens that are written after a prompt.
const WRITTEN: usize = 48;

/// Writes greedily: the prompt in parts, then a token a step, with nothing but the best brought back.
fn write(engine: &mut Engine, prompt: &[u32]) -> Vec<u32> {
    let mut tokens: Vec<Token> = prompt.iter().enumerate().map(token).collect();
    tokens.iter_mut().for_each(|token| token.output = token.position as usize + 1 == prompt.len());
    let (mut ids, mut best) = (prompt.to_vec(), Vec::new());
    for part in tokens.chunks(16) {
        engine.step_best(&Batch::new(part, &[&TABLE]), 1, &mut best).unwrap();
    }
    for _ in 0..WRITTEN {
        ids.push(best[0][0].id);
        let last = token((ids.len() - 1, &ids[ids.len() - 1]));
        engine.step_best(&Batch::new(&[last], &[&TABLE]), 1, &mut best).unwrap();
    }
    ids
}

#[test]
#[ignore = "minutes on a GPU in software; `ci/gpu --all` runs it"]
fn greedy_text_is_that_of_the_interpreter() {
    let (Some(bytes), Some(device)) = (file(), gpu::device()) else { return };
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&bytes).unwrap()).unwrap();
    let model = Model::load(&[Arc::new(bytes)], 96).unwrap();
    let options = Options { tokens_max: 16, pages: PAGES, release: None, caps: None, lose_after: None };
    let mut engine = Engine::new(device, model.weights.clone(), model.plan.clone(), options).unwrap();
    let options = reference::Options { tokens_max: 96, pages: PAGES };
    let mut interpreter = Reference::new(model.weights.clone(), model.plan.clone(), options);
    let width = model.plan.output.width;
    for question in ["What is the capital of France?", "Write a short poem about the sea.", "Name three colours."] {
        let mut prompt = Vec::new();
        let text = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
        tokenizer.encode(&text, Special::Parse, &mut prompt);
        let ids = write(&mut engine, &prompt);
        println!("{question} {:?}", String::from_utf8_lossy(&tokenizer.decode(&ids[prompt.len()..], true)));
        let truth = logits(&mut interpreter, &ids, 96);
        for at in prompt.len()..ids.len() {
            let row = &truth[(at - 1) * width..at * width];
            let (best, written) = (sample::best(row), ids[at]);
            // Two that are nearer than both may be off may change places.
            let behind = row[best as usize] - row[written as usize];
            assert!(behind <= 2.0 * OFF * size(row), "{question} token {at}: {written}, {behind} behind {best}");
            if best != written {
                println!("  token {at}: {written} and not {best}, which is ahead by {behind}");
            }
        }
    }
}
