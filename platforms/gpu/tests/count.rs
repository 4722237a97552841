//! What one token costs, counted from the recorded plan, against the floor.

#[path = "../../../core/llm/tests/tiny/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod tiny;

use std::sync::Arc;

use tutu_gpu::{
    Caps,
    count::{Counted, one_token},
    record::{Size, record},
};
use tutu_llm::{arch::Model, plan::Op};

/// A GPU as most are.
const CAPS: Caps = Caps {
    binding: 1 << 30,
    subgroups: true,
    subgroup: None,
    software: false,
    packed: true,
    halves: true,
    matrices: None,
};

fn counted(model: &Model, position: usize) -> (Counted, usize) {
    let size = Size { tokens: 128, pages: 128 };
    let program = record(&model.weights, &model.plan, size, CAPS).unwrap();
    let layers = model.plan.ops.iter().filter(|op| matches!(op, Op::Attention { .. })).count();
    (one_token(&program, position), layers)
}

/// Before and after the layers: embedding (three of BERT), selection, norm, head, cap, best.
const AROUND: usize = 6;

#[test]
fn a_layer_is_at_most_twelve_dispatches() {
    for name in tiny::NAMES {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        let (counted, layers) = counted(&model, 400);
        assert!(
            counted.dispatches <= 12 * layers + AROUND,
            "{name}: {} dispatches for {layers} layers",
            counted.dispatches
        );
        assert_eq!((counted.submissions, counted.barriers + 1), (1, counted.dispatches), "{name}");
    }
}

#[test]
fn a_token_moves_at_most_a_tenth_more_than_it_must() {
    let Ok(dir) = std::env::var("TUTU_TEST_MODELS") else {
        eprintln!("skipped: TUTU_TEST_MODELS names no folder (ci/models brings the models)");
        return;
    };
    for file in ["SmolLM2-135M-Instruct.Q4_1.gguf", "qwen2.5-coder-0.5b.gguf"] {
        let bytes = std::fs::read(format!("{dir}/{file}")).unwrap();
        let model = Model::load(&[Arc::new(bytes)], 4096).unwrap();
        for position in [0, 500, 3000] {
            let (counted, layers) = counted(&model, position);
            let ratio = counted.bytes() as f64 / counted.floor as f64;
            println!("{file} at {position}: {counted:?}, {ratio:.3} of the floor, {layers} layers");
            assert!(ratio <= 1.1, "{file} at {position}: {ratio}");
            assert!(counted.back <= 4096 && counted.dispatches <= 12 * layers + AROUND);
        }
    }
}
