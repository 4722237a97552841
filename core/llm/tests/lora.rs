//! A model with an adapter computes what the model computes whose weights have it added in.

#[allow(dead_code, reason = "shared with other tests")]
mod tiny;

use std::sync::Arc;

use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, PAGE, Token},
    gguf::{Gguf, Meta, Writer},
    lora,
    quant::Kind,
    reference::{Options, Reference},
    weights::Bytes,
};

const RANK: usize = 4;
const TARGETS: [(&str, usize, usize); 2] = [("blk.0.attn_q.weight", 64, 64), ("blk.1.ffn_down.weight", 96, 64)];

fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    core::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 0.3
    })
    .take(count)
    .collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A and B of target number `i`.
fn matrices(i: usize) -> (Vec<f32>, Vec<f32>) {
    let (_, width, rows) = TARGETS[i];
    (noise(1 + i as u32, width * RANK), noise(100 + i as u32, RANK * rows))
}

fn adapter(architecture: &str, target: &str) -> Bytes {
    let mut writer = Writer::new();
    writer
        .set("general.type", Meta::Str("adapter".into()))
        .set("adapter.type", Meta::Str("lora".into()))
        .set("general.architecture", Meta::Str(architecture.into()))
        .set("adapter.lora.alpha", Meta::F32(8.0));
    for (i, (name, width, rows)) in TARGETS.into_iter().enumerate() {
        let name = if i == 0 { target } else { name };
        writer.tensor(&format!("{name}.lora_a"), Kind::F32, &[width, RANK]);
        writer.tensor(&format!("{name}.lora_b"), Kind::F32, &[RANK, rows]);
        let _ = rows;
    }
    let mut at = 0;
    Arc::new(writer.file(|_| {
        let (a, b) = matrices(at / 2);
        at += 1;
        bytes(if at % 2 == 1 { &a } else { &b })
    }))
}

/// The tiny model's file with the adapter added to its weights.
fn merged() -> Vec<u8> {
    let mut file = tiny::model("llama");
    for (i, (name, width, rows)) in TARGETS.into_iter().enumerate() {
        let (a, b) = matrices(i);
        let offset = {
            let head = Gguf::parse(&file).unwrap();
            head.tensors().iter().find(|tensor| tensor.name == name).unwrap().offset
        };
        for row in 0..rows {
            for column in 0..width {
                let at = offset + 4 * (row * width + column);
                let old = f32::from_le_bytes(file[at..at + 4].try_into().unwrap());
                let change: f32 = (0..RANK).map(|r| b[row * RANK + r] * a[r * width + column]).sum();
                file[at..at + 4].copy_from_slice(&(old + 8.0 / RANK as f32 * 0.5 * change).to_le_bytes());
            }
        }
    }
    file
}

fn run(model: &Model) -> Vec<f32> {
    let ids = tiny::tokens();
    let table: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).collect();
    let options = Options { tokens_max: ids.len(), pages: table.len() };
    let mut reference = Reference::new(model.weights.clone(), model.plan.clone(), options);
    let token = |(i, &id)| Token { id, position: i as u32, sequence: 0, output: true };
    let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
    let mut out = Vec::new();
    reference.step(&Batch { tokens: &tokens, tables: &[&table] }, &mut out).unwrap();
    out
}

#[test]
fn an_adapter_is_as_good_as_merged_weights() {
    let base = Model::load(&[Arc::new(tiny::model("llama"))], 0).unwrap();
    let with = lora::apply(&base, &adapter("llama", TARGETS[0].0), 0.5).unwrap();
    let truth = run(&Model::load(&[Arc::new(merged())], 0).unwrap());
    let worst = |a: &[f32]| a.iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(worst(&run(&with)) < 1e-3, "{}", worst(&run(&with)));
    assert!(worst(&run(&base)) > 0.1, "the adapter changes something");
}

#[test]
fn an_adapter_for_something_else_is_refused() {
    let base = Model::load(&[Arc::new(tiny::model("llama"))], 0).unwrap();
    let refused = |file: Bytes| lora::apply(&base, &file, 1.0).err().unwrap();
    assert!(matches!(refused(adapter("qwen2", TARGETS[0].0)), lora::Error::Architecture { .. }));
    assert!(matches!(refused(adapter("llama", "blk.0.nothing.weight")), lora::Error::Target(_)));
    assert!(matches!(refused(adapter("llama", "blk.0.attn_k.weight")), lora::Error::Pair(_)));
    assert_eq!(refused(Arc::new(tiny::model("llama"))), lora::Error::Type);
}
