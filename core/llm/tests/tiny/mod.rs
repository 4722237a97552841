//! Tiny models with weights from a seeded generator, one for each architecture and each of its turns.
//! `cargo run -p tutu-llm --example tiny -- DIR` writes them to files, for llama.cpp to read (`ci/golden`).

use std::sync::Arc;

use tutu_llm::{
    backend::{Backend, Batch, PAGE, Token},
    gguf::{Meta, Writer},
    quant::{Kind, quantise},
    weights::Bytes,
};

/// All of them.
pub const NAMES: [&str; 16] = [
    "llama",
    "llama3",
    "llama-yarn",
    "llama-linear",
    "mixtral",
    "mistral3",
    "smollm3",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "gemma2",
    "gemma3",
    "phi3",
    "gpt-oss",
    "bert",
    "nomic-bert",
];

/// Tokens that every model reads: more than any window below.
pub fn tokens() -> Vec<u32> {
    (0..40u32).map(|i| (i * i * 7 + i * 13 + 5) % VOCABULARY as u32).collect()
}

/// What a backend answers to a text that it is given `at_a_time` tokens a step, after every one of them.
pub fn run(backend: &mut dyn Backend, ids: &[u32], at_a_time: usize) -> Vec<f32> {
    let table: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).rev().collect();
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for (part, chunk) in ids.chunks(at_a_time).enumerate() {
        let token = |(i, &id)| Token { id, position: (part * at_a_time + i) as u32, sequence: 0, output: true };
        let tokens: Vec<Token> = chunk.iter().enumerate().map(token).collect();
        backend.step(&Batch::new(&tokens, &[&table]), &mut out).unwrap();
        all.extend_from_slice(&out);
    }
    all
}

/// A small adapter for three weights of the tiny llama.
pub fn adapter(seed: u32) -> Bytes {
    const RANK: usize = 4;
    let targets = [("blk.0.attn_q.weight", 64, 64), ("blk.0.attn_v.weight", 64, 32), ("blk.1.ffn_down.weight", 96, 64)];
    let mut writer = Writer::new();
    writer
        .set("general.type", Meta::Str("adapter".into()))
        .set("adapter.type", Meta::Str("lora".into()))
        .set("general.architecture", Meta::Str("llama".into()));
    let mut sizes = Vec::new();
    for (name, width, rows) in targets {
        writer.tensor(&format!("{name}.lora_a"), Kind::F32, &[width, RANK]);
        writer.tensor(&format!("{name}.lora_b"), Kind::F32, &[RANK, rows]);
        sizes.extend([width * RANK, RANK * rows]);
    }
    let (mut state, mut sizes) = (seed, sizes.into_iter());
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 0.3
    };
    Arc::new(writer.file(|_| {
        let count = sizes.next().expect("as many as were named");
        (0..count).flat_map(|_| number().to_le_bytes()).collect()
    }))
}

pub const VOCABULARY: usize = 96;
const WIDTH: usize = 64;
const HIDDEN: usize = 96;
const EXPERTS: usize = 4;
const EXPERT_HIDDEN: usize = 32;

struct Tiny {
    arch: &'static str,
    writer: Writer,
    data: Vec<(String, Vec<u8>)>,
}

impl Tiny {
    fn new(arch: &'static str, layers: u32, heads: u32, kv_heads: u32) -> Self {
        let mut tiny = Self { arch, writer: Writer::new(), data: Vec::new() };
        tiny.writer
            .set("general.architecture", Meta::Str(arch.into()))
            .set("tokenizer.ggml.model", Meta::Str("none".into()))
            .set("general.name", Meta::Str("tiny".into()));
        tiny.number("context_length", 512)
            .number("embedding_length", WIDTH as u32)
            .number("block_count", layers)
            .number("feed_forward_length", HIDDEN as u32)
            .number("attention.head_count", heads)
            .number("attention.head_count_kv", kv_heads)
            .number("vocab_size", VOCABULARY as u32);
        tiny
    }

    fn number(&mut self, key: &str, value: u32) -> &mut Self {
        self.writer.set(&format!("{}.{key}", self.arch), Meta::U32(value));
        self
    }

    fn float(&mut self, key: &str, value: f32) -> &mut Self {
        self.writer.set(&format!("{}.{key}", self.arch), Meta::F32(value));
        self
    }

    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.writer.set(&format!("{}.{key}", self.arch), Meta::Str(value.into()));
        self
    }

    /// Numbers around `middle`, `spread` to each side; what they are follows from the name.
    fn values(&mut self, name: &str, kind: Kind, dims: &[usize], middle: f32, spread: f32) -> &mut Self {
        let mut state =
            name.bytes().fold(0x9e37_79b9u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let count: usize = dims.iter().product();
        let values: Vec<f32> = core::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            middle + spread * ((state >> 8) as f32 / 8_388_608.0 - 1.0)
        })
        .take(count)
        .collect();
        let mut bytes = Vec::new();
        for row in values.chunks_exact(dims[0]) {
            let mut out = vec![0; kind.row_bytes(dims[0]).unwrap()];
            quantise(kind, row, &mut out).unwrap();
            bytes.extend(out);
        }
        self.writer.tensor(name, kind, dims);
        self.data.push((name.into(), bytes));
        self
    }

    fn matrix(&mut self, name: &str, dims: &[usize]) -> &mut Self {
        self.values(&format!("{name}.weight"), Kind::F32, dims, 0.0, 1.7 / (dims[0] as f32).sqrt())
    }

    fn norm(&mut self, name: &str, len: usize) -> &mut Self {
        self.values(&format!("{name}.weight"), Kind::F32, &[len], 1.0, 0.3)
    }

    fn bias(&mut self, name: &str, dims: &[usize]) -> &mut Self {
        self.values(&format!("{name}.bias"), Kind::F32, dims, 0.0, 0.3)
    }

    fn embeddings(&mut self, scale: f32) -> &mut Self {
        self.values("token_embd.weight", Kind::F32, &[WIDTH, VOCABULARY], 0.0, scale)
    }

    fn attention(&mut self, layer: u32, q: usize, kv: usize) -> &mut Self {
        let name = |part: &str| format!("blk.{layer}.{part}");
        self.norm(&name("attn_norm"), WIDTH)
            .matrix(&name("attn_q"), &[WIDTH, q])
            .matrix(&name("attn_k"), &[WIDTH, kv])
            .matrix(&name("attn_v"), &[WIDTH, kv])
            .matrix(&name("attn_output"), &[q, WIDTH])
    }

    fn feed_forward(&mut self, layer: u32) -> &mut Self {
        let name = |part: &str| format!("blk.{layer}.{part}");
        self.norm(&name("ffn_norm"), WIDTH)
            .matrix(&name("ffn_gate"), &[WIDTH, HIDDEN])
            .matrix(&name("ffn_up"), &[WIDTH, HIDDEN])
            .matrix(&name("ffn_down"), &[HIDDEN, WIDTH])
    }

    fn experts(&mut self, layer: u32, kind: Kind) -> &mut Self {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let spread = 1.7 / (WIDTH as f32).sqrt();
        self.matrix(&format!("blk.{layer}.ffn_gate_inp"), &[WIDTH, EXPERTS])
            .values(&name("ffn_gate_exps"), kind, &[WIDTH, EXPERT_HIDDEN, EXPERTS], 0.0, spread)
            .values(&name("ffn_up_exps"), kind, &[WIDTH, EXPERT_HIDDEN, EXPERTS], 0.0, spread)
            .values(&name("ffn_down_exps"), kind, &[EXPERT_HIDDEN, WIDTH, EXPERTS], 0.0, 1.5 * spread)
    }

    fn end(&mut self, head: bool) -> Vec<u8> {
        self.norm("output_norm", WIDTH);
        if head {
            self.matrix("output", &[WIDTH, VOCABULARY]);
        }
        let data = std::mem::take(&mut self.data);
        self.writer.file(|name| data.iter().find(|(other, _)| other == name).unwrap().1.clone())
    }
}

/// The bytes of a model's file.
pub fn model(name: &str) -> Vec<u8> {
    match name {
        "llama" | "llama3" | "llama-yarn" | "llama-linear" => llama(name),
        "mixtral" => {
            let mut tiny = Tiny::new("llama", 2, 4, 2);
            tiny.float("attention.layer_norm_rms_epsilon", 1e-5)
                .number("expert_count", 4)
                .number("expert_used_count", 2);
            tiny.embeddings(1.0);
            for layer in 0..2 {
                tiny.attention(layer, 64, 32).norm(&format!("blk.{layer}.ffn_norm"), WIDTH);
                // Files of this family say the width of an expert as that of a feed-forward.
                tiny.number("feed_forward_length", EXPERT_HIDDEN as u32).experts(layer, Kind::F32);
            }
            tiny.end(true)
        }
        "mistral3" | "smollm3" | "qwen2" | "qwen3" => plain(name),
        "qwen3moe" => {
            let mut tiny = Tiny::new("qwen3moe", 2, 4, 2);
            tiny.float("attention.layer_norm_rms_epsilon", 1e-6)
                .number("attention.key_length", 32)
                .number("attention.value_length", 32)
                .number("expert_count", 4)
                .number("expert_used_count", 2)
                .number("expert_feed_forward_length", EXPERT_HIDDEN as u32)
                .float("rope.freq_base", 1_000_000.0);
            tiny.embeddings(1.0);
            for layer in 0..2 {
                tiny.attention(layer, 128, 64)
                    .norm(&format!("blk.{layer}.attn_q_norm"), 32)
                    .norm(&format!("blk.{layer}.attn_k_norm"), 32)
                    .norm(&format!("blk.{layer}.ffn_norm"), WIDTH)
                    .experts(layer, Kind::F32);
            }
            tiny.end(true)
        }
        "gemma2" | "gemma3" => gemma(name),
        "phi3" => phi3(),
        "gpt-oss" => gpt_oss(),
        _ => bert(name),
    }
}

fn llama(name: &str) -> Vec<u8> {
    let mut tiny = Tiny::new("llama", 2, 4, 2);
    tiny.float("attention.layer_norm_rms_epsilon", 1e-5).number("rope.dimension_count", 16);
    match name {
        "llama-yarn" => {
            tiny.text("rope.scaling.type", "yarn")
                .float("rope.scaling.factor", 4.0)
                .number("rope.scaling.original_context_length", 128);
        }
        "llama-linear" => {
            tiny.text("rope.scaling.type", "linear").float("rope.scaling.factor", 2.0);
        }
        "llama3" => {
            tiny.values("rope_freqs.weight", Kind::F32, &[8], 4.0, 3.0);
        }
        _ => {}
    }
    tiny.embeddings(1.0);
    for layer in 0..2 {
        tiny.attention(layer, 64, 32).feed_forward(layer);
    }
    // One of them with a head of its own, the others tied.
    tiny.end(name == "llama")
}

fn plain(name: &str) -> Vec<u8> {
    let arch = NAMES.into_iter().find(|known| *known == name).unwrap();
    let layers = if name == "smollm3" { 4 } else { 2 };
    let mut tiny = Tiny::new(arch, layers, 4, 2);
    tiny.float("attention.layer_norm_rms_epsilon", 1e-6).float("rope.freq_base", 500_000.0);
    let (q, kv) = if name == "qwen3" { (128, 64) } else { (64, 32) };
    if name == "qwen3" {
        tiny.number("attention.key_length", 32).number("attention.value_length", 32);
    }
    tiny.number("rope.dimension_count", q as u32 / 4).embeddings(1.0);
    for layer in 0..layers {
        let part = |part: &str| format!("blk.{layer}.{part}");
        tiny.attention(layer, q, kv).feed_forward(layer);
        match name {
            "qwen2" => {
                tiny.bias(&part("attn_q"), &[q]).bias(&part("attn_k"), &[kv]).bias(&part("attn_v"), &[kv]);
            }
            "qwen3" => {
                tiny.norm(&part("attn_q_norm"), 32).norm(&part("attn_k_norm"), 32);
            }
            _ => {}
        }
    }
    tiny.end(name == "qwen2")
}

fn gemma(name: &str) -> Vec<u8> {
    let arch = if name == "gemma2" { "gemma2" } else { "gemma3" };
    let layers = if name == "gemma2" { 4 } else { 7 };
    let mut tiny = Tiny::new(arch, layers, 4, 2);
    tiny.float("attention.layer_norm_rms_epsilon", 1e-6)
        .number("attention.key_length", 32)
        .number("attention.value_length", 32)
        .number("attention.sliding_window", 8);
    if name == "gemma2" {
        tiny.float("attn_logit_softcapping", 5.0).float("final_logit_softcapping", 6.0);
    } else {
        tiny.float("rope.freq_base", 1_000_000.0).text("rope.scaling.type", "linear").float("rope.scaling.factor", 8.0);
    }
    tiny.embeddings(0.2);
    for layer in 0..layers {
        let part = |part: &str| format!("blk.{layer}.{part}");
        tiny.attention(layer, 128, 64)
            .norm(&part("post_attention_norm"), WIDTH)
            .feed_forward(layer)
            .norm(&part("post_ffw_norm"), WIDTH);
        if name == "gemma3" {
            tiny.norm(&part("attn_q_norm"), 32).norm(&part("attn_k_norm"), 32);
        }
    }
    tiny.end(false)
}

fn phi3() -> Vec<u8> {
    let mut tiny = Tiny::new("phi3", 2, 4, 4);
    tiny.float("attention.layer_norm_rms_epsilon", 1e-5)
        .number("rope.dimension_count", 16)
        .number("rope.scaling.original_context_length", 16)
        .float("rope.scaling.attn_factor", 1.19);
    tiny.values("rope_factors_long.weight", Kind::F32, &[8], 4.0, 3.0)
        .values("rope_factors_short.weight", Kind::F32, &[8], 1.1, 0.1)
        .embeddings(1.0);
    for layer in 0..2 {
        let part = |part: &str| format!("blk.{layer}.{part}");
        tiny.norm(&part("attn_norm"), WIDTH)
            .matrix(&part("attn_qkv"), &[WIDTH, 3 * WIDTH])
            .matrix(&part("attn_output"), &[WIDTH, WIDTH])
            .norm(&part("ffn_norm"), WIDTH)
            .matrix(&part("ffn_up"), &[WIDTH, 2 * HIDDEN])
            .matrix(&part("ffn_down"), &[HIDDEN, WIDTH]);
    }
    tiny.end(true)
}

fn gpt_oss() -> Vec<u8> {
    let mut tiny = Tiny::new("gpt-oss", 2, 4, 2);
    tiny.float("attention.layer_norm_rms_epsilon", 1e-5)
        .number("attention.key_length", 16)
        .number("attention.value_length", 16)
        .number("attention.sliding_window", 8)
        .number("rope.dimension_count", 16)
        .float("rope.freq_base", 150_000.0)
        .text("rope.scaling.type", "yarn")
        .float("rope.scaling.factor", 4.0)
        .number("rope.scaling.original_context_length", 128)
        .number("expert_count", 4)
        .number("expert_used_count", 2)
        .number("expert_feed_forward_length", EXPERT_HIDDEN as u32)
        .embeddings(1.0);
    for layer in 0..2 {
        let part = |part: &str| format!("blk.{layer}.{part}");
        tiny.attention(layer, 64, 32)
            .bias(&part("attn_q"), &[64])
            .bias(&part("attn_k"), &[32])
            .bias(&part("attn_v"), &[32])
            .bias(&part("attn_output"), &[WIDTH])
            .norm(&part("post_attention_norm"), WIDTH)
            .values(&part("attn_sinks.weight"), Kind::F32, &[4], 0.0, 2.0)
            // Not in MXFP4, as its files have them: llama.cpp then rounds activations to 8 bits, and would
            // differ by that. The format has its own golden rows.
            .experts(layer, Kind::F32)
            .bias(&part("ffn_gate_inp"), &[EXPERTS])
            .bias(&part("ffn_gate_exps"), &[EXPERT_HIDDEN, EXPERTS])
            .bias(&part("ffn_up_exps"), &[EXPERT_HIDDEN, EXPERTS])
            .bias(&part("ffn_down_exps"), &[WIDTH, EXPERTS]);
    }
    tiny.end(true)
}

fn bert(name: &str) -> Vec<u8> {
    let nomic = name == "nomic-bert";
    let mut tiny = Tiny::new(if nomic { "nomic-bert" } else { "bert" }, 2, 4, 4);
    tiny.float("attention.layer_norm_epsilon", 1e-12).number("pooling_type", 0);
    tiny.writer.set("tokenizer.ggml.token_type_count", Meta::U32(2));
    let arch = tiny.arch;
    tiny.writer.set(&format!("{arch}.attention.causal"), Meta::Bool(false));
    tiny.embeddings(1.0).values("token_types.weight", Kind::F32, &[WIDTH, 2], 0.0, 0.5);
    if !nomic {
        tiny.values("position_embd.weight", Kind::F32, &[WIDTH, 512], 0.0, 0.5);
    }
    tiny.norm("token_embd_norm", WIDTH).bias("token_embd_norm", &[WIDTH]);
    for layer in 0..2 {
        let part = |part: &str| format!("blk.{layer}.{part}");
        if nomic {
            tiny.matrix(&part("attn_qkv"), &[WIDTH, 3 * WIDTH]).matrix(&part("ffn_gate"), &[WIDTH, HIDDEN]);
        } else {
            for name in ["attn_q", "attn_k", "attn_v"] {
                tiny.matrix(&part(name), &[WIDTH, WIDTH]).bias(&part(name), &[WIDTH]);
            }
            tiny.bias(&part("attn_output"), &[WIDTH])
                .bias(&part("ffn_up"), &[HIDDEN])
                .bias(&part("ffn_down"), &[WIDTH]);
        }
        tiny.matrix(&part("attn_output"), &[WIDTH, WIDTH])
            .norm(&part("attn_output_norm"), WIDTH)
            .bias(&part("attn_output_norm"), &[WIDTH])
            .matrix(&part("ffn_up"), &[WIDTH, HIDDEN])
            .matrix(&part("ffn_down"), &[HIDDEN, WIDTH])
            .norm(&part("layer_output_norm"), WIDTH)
            .bias(&part("layer_output_norm"), &[WIDTH]);
    }
    let data = std::mem::take(&mut tiny.data);
    tiny.writer.file(|name| data.iter().find(|(other, _)| other == name).unwrap().1.clone())
}
