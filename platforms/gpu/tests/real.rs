//! Real models, where `TUTU_TEST_MODELS` names their folder (`ci/models`): logits are those of the interpreter.

mod gpu;

use std::sync::Arc;

use tutu_gpu::{Engine, Options, record::Caps};
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, Token},
    reference::{self, Reference},
    sample,
};

/// Halves, over thirty layers.
const OFF: f32 = 2e-2;

fn logits(backend: &mut dyn Backend, ids: &[u32], at_a_time: usize) -> Vec<f32> {
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for (part, chunk) in ids.chunks(at_a_time).enumerate() {
        let token = |(i, &id)| Token { id, position: (part * at_a_time + i) as u32, sequence: 0, output: true };
        let tokens: Vec<Token> = chunk.iter().enumerate().map(token).collect();
        backend.step(&Batch::new(&tokens, &[&[1]]), &mut out).unwrap();
        all.extend_from_slice(&out);
    }
    all
}

#[test]
fn logits_are_those_of_the_interpreter() {
    let Ok(folder) = std::env::var("TUTU_TEST_MODELS") else {
        println!("skipped: TUTU_TEST_MODELS is not set");
        return;
    };
    let Some(device) = gpu::device() else { return };
    // "<|im_start|>user\nWhat is", as SmolLM2 has it.
    let ids = [1, 4093, 198, 1780, 314, 260];
    let bytes = std::fs::read(format!("{folder}/SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    let model = Model::load(&[Arc::new(bytes)], 64).unwrap();
    let options = reference::Options { tokens_max: 16, pages: 2 };
    let truth = logits(&mut Reference::new(model.weights.clone(), model.plan.clone(), options), &ids, 16);
    let width = model.plan.output.width;
    for (software, at_a_time) in [(true, 16), (true, 1), (false, 16)] {
        let caps = Caps { software, ..device.caps() };
        let options = Options { tokens_max: 16, pages: 2, release: None, caps: Some(caps), lose_after: None };
        let mut engine = Engine::new(device.clone(), model.weights.clone(), model.plan.clone(), options).unwrap();
        let found = logits(&mut engine, &ids, at_a_time);
        for (at, (found, truth)) in found.chunks(width).zip(truth.chunks(width)).enumerate() {
            let size = (truth.iter().map(|x| x * x).sum::<f32>() / width as f32).sqrt();
            let worst = found.iter().zip(truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let best = [found, truth].map(sample::best);
            println!(
                "software {software}, {at_a_time} at a time, token {at}: off by {} of {size}; best {best:?}",
                worst
            );
            assert!(worst < OFF * size, "token {at}, {at_a_time} at a time, {caps:?}: off by {worst} of {size}");
        }
    }
}
