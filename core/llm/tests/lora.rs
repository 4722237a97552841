//! A model with an adapter computes what the model computes whose weights have it added in.

#[allow(dead_code, reason = "shared with other tests")]
mod tiny;

use std::sync::Arc;

use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, PAGE, Token},
    convert,
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
    run_shared(model, &[])
}

/// What attached adapters give with these shares.
fn run_mixed(model: &Model, shares: &[f32]) -> Vec<f32> {
    run_shared(model, &[shares])
}

fn run_shared(model: &Model, shares: &[&[f32]]) -> Vec<f32> {
    let ids = tiny::tokens();
    let table: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).collect();
    let options = Options { tokens_max: ids.len(), pages: table.len() };
    let mut reference = Reference::new(model.weights.clone(), model.plan.clone(), options);
    let token = |(i, &id)| Token { id, position: i as u32, sequence: 0, output: true };
    let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
    let mut out = Vec::new();
    reference.step(&Batch { tokens: &tokens, tables: &[&table], shares }, &mut out).unwrap();
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
fn an_attached_adapter_is_what_an_applied_one_is_and_nothing_where_no_share_of_it_is_taken() {
    let base = Model::load(&[Arc::new(tiny::model("llama"))], 0).unwrap();
    let file = adapter("llama", TARGETS[0].0);
    let with = run(&lora::apply(&base, &file, 1.0).unwrap());
    let attached = lora::attach(&base, &[None, Some(file)]).unwrap();
    assert_eq!(run_mixed(&attached, &[0.0, 1.0]), with);
    for none in [&[][..], &[1.0], &[1.0, 0.0]] {
        assert_eq!(run_mixed(&attached, none), run(&base));
    }
    let half = run(&lora::apply(&base, &adapter("llama", TARGETS[0].0), 0.5).unwrap());
    let worst = run_mixed(&attached, &[0.0, 0.5]).iter().zip(&half).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn an_adapter_for_something_else_is_refused() {
    let base = Model::load(&[Arc::new(tiny::model("llama"))], 0).unwrap();
    let refused = |file: Bytes| lora::apply(&base, &file, 1.0).err().unwrap();
    assert!(matches!(refused(adapter("qwen2", TARGETS[0].0)), lora::Error::Architecture { .. }));
    assert!(matches!(refused(adapter("llama", "blk.0.nothing.weight")), lora::Error::Target(_)));
    assert!(matches!(refused(adapter("llama", "blk.0.attn_k.weight")), lora::Error::Pair(_)));
    assert_eq!(refused(Arc::new(tiny::model("llama"))), lora::Error::Type);
    let attached = lora::attach(&base, &[Some(adapter("llama", "blk.0.nothing.weight"))]).err().unwrap();
    assert!(matches!(attached, lora::Error::Target(_)));
}

/// The same adapter as PEFT publishes it: halves of rope pairs apart, names of the training library.
fn published() -> (Vec<u8>, &'static str) {
    let parts = ["layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"];
    let (mut json, mut data) = (Vec::new(), Vec::new());
    for (i, (_, width, rows)) in TARGETS.into_iter().enumerate() {
        let (a, mut b) = matrices(i);
        if i == 0 {
            // From pairs to halves, head by head.
            let (heads, head) = (4, rows / 4);
            b = (0..heads)
                .flat_map(|h| (0..2).flat_map(move |half| (0..head / 2).map(move |j| h * head + 2 * j + half)))
                .flat_map(|row| b[row * RANK..][..RANK].to_vec())
                .collect();
        }
        for (half, values, shape) in [("A", a, [RANK, width]), ("B", b, [rows, RANK])] {
            let start = data.len();
            data.extend(bytes(&values));
            json.push(format!(
                r#""base_model.model.model.{}.lora_{half}.weight":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{}]}}"#,
                parts[i],
                data.len()
            ));
        }
    }
    let json = format!("{{{}}}", json.join(","));
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file.extend(data);
    (file, r#"{"peft_type":"LORA","r":4,"lora_alpha":8.0,"use_dora":false}"#)
}

#[test]
fn a_published_adapter_becomes_the_same_file() {
    let (file, config) = published();
    let heads = {
        let model = tiny::model("llama");
        let head = Gguf::parse(&model).unwrap();
        let count = |key: &str| head.u64(&format!("llama.attention.{key}")).unwrap() as usize;
        (count("head_count"), count("head_count_kv"))
    };
    assert_eq!(heads.0, 4);
    let base = convert::Base { architecture: "llama".into(), heads: heads.0, kv_heads: heads.1 };
    let header = convert::Header::read(0, &file).unwrap();
    let converted = convert::adapter(config, &[header], &base).unwrap();
    let mut out = converted.writer.head();
    (0..converted.count()).for_each(|i| out.extend(converted.data(i, &file).unwrap()));
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 0).unwrap();
    let expected = run(&lora::apply(&model, &adapter("llama", TARGETS[0].0), 1.0).unwrap());
    assert_eq!(run(&lora::apply(&model, &(Arc::new(out) as Bytes), 1.0).unwrap()), expected);
}
