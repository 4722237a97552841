//! Decoders: the llama family and its relatives. One block is norm, attention, norm, feed-forward, each
//! added to the residual stream; the families differ in what stands around that.
//!
//! | family | differs by |
//! |---|---|
//! | llama, mistral3 | adjacent rope pairs; may have experts (Mixtral), a window (Mistral), rope factors (3.x) |
//! | smollm3 | every fourth layer has no rope |
//! | qwen2 | biases on q, k and v |
//! | qwen3, qwen3moe | a norm for each head of q and k |
//! | gemma2, gemma3 | scaled embeddings, norms after each half, windows on most layers, soft caps |
//! | phi3 | fused q, k, v; fused gate and up; long and short rope factors |
//! | gpt-oss | sinks, biases everywhere, experts in MXFP4, a window on every other layer |

use alloc::{format, vec::Vec};

use libm::sqrtf;

use super::{Error, builder::Builder, rope};
use crate::plan::{Attention, Cache, Experts, Function, Gating, NormKind, Op, Pairs, Rope, Slot, Write};

/// What does not change from layer to layer.
struct Shape {
    layers: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    key: usize,
    value: usize,
    epsilon: f32,
    vocabulary: usize,
    scale: f32,
    function: Function,
    softcap: Option<f32>,
}

/// Buffers that every layer uses again.
struct Buffers {
    x: Slot,
    h: Slot,
    q: Slot,
    k: Slot,
    v: Slot,
    mixed: Slot,
    /// Gate and up of the widest layer.
    hidden: Slot,
}

pub(super) fn build(b: &mut Builder<'_>) -> Result<(), Error> {
    let shape = Shape::read(b)?;
    let ropes = Ropes::read(b, &shape)?;
    let (q, k, v) = (shape.heads * shape.key, shape.kv_heads * shape.key, shape.kv_heads * shape.value);
    let x = b.buffer(shape.width);
    let h = b.buffer(shape.width);
    let qkv = b.buffer(q + k + v);
    let mixed = b.buffer(shape.heads * shape.value);
    let widths: Result<Vec<usize>, Error> =
        (0..shape.layers).map(|layer| b.number_at("feed_forward_length", layer, 0)).collect();
    let hidden = b.buffer(2 * widths?.into_iter().max().unwrap_or(0));
    let buffers = Buffers { hidden, x, h, q: qkv.band(0, q), k: qkv.band(q, k), v: qkv.band(q + k, v), mixed };

    let table = b.tensor("token_embd.weight", &[shape.width, shape.vocabulary])?;
    let scale = if is_gemma(b) { sqrtf(shape.width as f32) } else { 1.0 };
    b.push(Op::Embed { table, scale, out: x });
    for layer in 0..shape.layers {
        attend(b, &shape, &ropes, &buffers, layer)?;
        // The last layer's feed-forward is done for wanted tokens only.
        let stream = if layer + 1 == shape.layers {
            let out = b.buffer(shape.width);
            b.push(Op::Select { x, out });
            out
        } else {
            x
        };
        feed_forward(b, &shape, stream, &buffers, layer)?;
        if layer + 1 == shape.layers {
            finish(b, &shape, stream, h)?;
        }
    }
    Ok(())
}

/// The last norm and the output head.
fn finish(b: &mut Builder<'_>, shape: &Shape, x: Slot, h: Slot) -> Result<(), Error> {
    b.norm("output_norm", NormKind::Rms, shape.width, shape.epsilon, x, h)?;
    let logits = b.buffer(shape.vocabulary);
    // Tied embeddings: the table is the head.
    let head = if b.has("output.weight") { "output" } else { "token_embd" };
    b.linear(head, h, logits, Write::Set)?;
    let cap = b.float_or("final_logit_softcapping", 0.0)?;
    let cap = if cap == 0.0 && b.arch() == "gemma2" { 30.0 } else { cap };
    if cap > 0.0 {
        b.push(Op::Softcap { cap, x: logits });
    }
    b.output(logits);
    Ok(())
}

fn attend(b: &mut Builder<'_>, shape: &Shape, ropes: &Ropes, buffers: &Buffers, layer: usize) -> Result<(), Error> {
    let Buffers { x, h, q, k, v, mixed, .. } = *buffers;
    let name = |part: &str| format!("blk.{layer}.{part}");
    b.norm(&name("attn_norm"), NormKind::Rms, shape.width, shape.epsilon, x, h)?;
    if b.has(&name("attn_qkv.weight")) {
        let fused = Slot { buffer: q.buffer, column: 0, width: q.width + k.width + v.width };
        b.linear(&name("attn_qkv"), h, fused, Write::Set)?;
    } else {
        b.linear(&name("attn_q"), h, q, Write::Set)?;
        b.linear(&name("attn_k"), h, k, Write::Set)?;
        b.linear(&name("attn_v"), h, v, Write::Set)?;
    }
    let normed = matches!(b.arch(), "qwen3" | "qwen3moe" | "gemma3");
    if normed {
        b.norm(&name("attn_q_norm"), NormKind::Rms, shape.key, shape.epsilon, q, q)?;
        b.norm(&name("attn_k_norm"), NormKind::Rms, shape.key, shape.epsilon, k, k)?;
    }
    let window = window(b, layer)?;
    if let Some(rope) = ropes.of(layer, window.is_some()) {
        b.push(Op::Rope { rope: rope.clone(), x: q });
        b.push(Op::Rope { rope: rope.clone(), x: k });
    }
    let cache = b.cache(Cache { heads: shape.kv_heads, key: shape.key, value: shape.value, window });
    let attention = Attention {
        cache: Some(cache),
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        key: shape.key,
        value: shape.value,
        scale: shape.scale,
        window,
        softcap: shape.softcap,
        sinks: b.list(&name("attn_sinks.weight"), shape.heads)?,
    };
    b.push(Op::Attention { attention, q, k, v, out: mixed });
    if is_gemma(b) {
        b.linear(&name("attn_output"), mixed, h, Write::Set)?;
        b.norm(&name("post_attention_norm"), NormKind::Rms, shape.width, shape.epsilon, h, h)?;
        b.push(Op::Add { scale: 1.0, x: h, out: x });
        Ok(())
    } else {
        b.linear(&name("attn_output"), mixed, x, Write::Add(1.0))
    }
}

fn feed_forward(b: &mut Builder<'_>, shape: &Shape, x: Slot, buffers: &Buffers, layer: usize) -> Result<(), Error> {
    let h = buffers.h;
    let name = |part: &str| format!("blk.{layer}.{part}");
    let norm = if b.arch() == "gpt-oss" && b.has(&name("post_attention_norm.weight")) {
        "post_attention_norm"
    } else {
        "ffn_norm"
    };
    b.norm(&name(norm), NormKind::Rms, shape.width, shape.epsilon, x, h)?;
    if b.has(&name("ffn_gate_inp.weight")) {
        let experts = experts(b, shape, layer)?;
        b.push(Op::Experts { experts, x: h, out: x });
        return Ok(());
    }
    let hidden = b.number_at("feed_forward_length", layer, 0)?;
    if hidden == 0 {
        return Err(b.refuse("feed_forward_length", "is missing or 0"));
    }
    let both = buffers.hidden.band(0, 2 * hidden);
    let (gate, up) = (both.band(0, hidden), both.band(hidden, hidden));
    if b.has(&name("ffn_gate.weight")) {
        b.linear(&name("ffn_gate"), h, gate, Write::Set)?;
        b.linear(&name("ffn_up"), h, up, Write::Set)?;
    } else {
        b.linear(&name("ffn_up"), h, both, Write::Set)?;
    }
    b.push(Op::Gated { function: shape.function, gate, up, out: gate });
    if is_gemma(b) {
        b.linear(&name("ffn_down"), gate, h, Write::Set)?;
        b.norm(&name("post_ffw_norm"), NormKind::Rms, shape.width, shape.epsilon, h, h)?;
        b.push(Op::Add { scale: 1.0, x: h, out: x });
        Ok(())
    } else {
        b.linear(&name("ffn_down"), gate, x, Write::Add(1.0))
    }
}

fn experts(b: &Builder<'_>, shape: &Shape, layer: usize) -> Result<Experts, Error> {
    let name = |part: &str| format!("blk.{layer}.{part}");
    let (count, used) = (b.number("expert_count")?, b.number("expert_used_count")?);
    if used > count {
        return Err(b.refuse("expert_used_count", "is more than there are experts"));
    }
    let hidden = b.rows(&name("ffn_gate_exps.weight"))?;
    let wide = shape.width;
    let oss = b.arch() == "gpt-oss";
    Ok(Experts {
        router: b.tensor(&name("ffn_gate_inp.weight"), &[wide, count])?,
        router_bias: b.list(&name("ffn_gate_inp.bias"), count)?,
        used,
        gating: if oss {
            Gating::TopThenSoftmax
        } else {
            Gating::SoftmaxThenTop { renormalise: b.flag("expert_weights_norm", true) }
        },
        scale: match b.float_or("expert_weights_scale", 1.0)? {
            0.0 => 1.0,
            scale => scale,
        },
        // Constants of the published gpt-oss configuration.
        function: if oss { Function::SwigluClamped { alpha: 1.702, limit: 7.0 } } else { shape.function },
        gate: b.tensor(&name("ffn_gate_exps.weight"), &[wide, hidden, count])?,
        up: b.tensor(&name("ffn_up_exps.weight"), &[wide, hidden, count])?,
        down: b.tensor(&name("ffn_down_exps.weight"), &[hidden, wide, count])?,
        gate_bias: b.optional(&name("ffn_gate_exps.bias"), &[hidden, count])?,
        up_bias: b.optional(&name("ffn_up_exps.bias"), &[hidden, count])?,
        down_bias: b.optional(&name("ffn_down_exps.bias"), &[wide, count])?,
    })
}

impl Shape {
    fn read(b: &Builder<'_>) -> Result<Self, Error> {
        let (width, heads) = (b.number("embedding_length")?, b.number("attention.head_count")?);
        let kv_heads = b.number_or("attention.head_count_kv", heads)?;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(b.refuse("attention.head_count_kv", "does not divide the number of heads"));
        }
        let key = b.number_or("attention.key_length", width / heads)?;
        let value = b.number_or("attention.value_length", width / heads)?;
        if key == 0 || value == 0 || !key.is_multiple_of(2) {
            return Err(b.refuse("attention.key_length", "gives heads of no or an odd width"));
        }
        let gemma2 = b.arch() == "gemma2";
        let layers = b.layers()?;
        // Gemma's 27B models divide by the width a head would have, not by the one it has.
        let large = (gemma2 && layers == 46) || (b.arch() == "gemma3" && layers == 62);
        let divisor = if large { width / heads } else { key };
        let scale = match b.float_or("attention.scale", 0.0)? {
            0.0 => 1.0 / sqrtf(divisor as f32),
            scale => scale,
        };
        let softcap = b.float_or("attn_logit_softcapping", if gemma2 { 50.0 } else { 0.0 })?;
        Ok(Self {
            layers,
            width,
            heads,
            kv_heads,
            key,
            value,
            epsilon: b.float("attention.layer_norm_rms_epsilon")?,
            vocabulary: b.rows("token_embd.weight")?,
            scale,
            function: if is_gemma(b) { Function::GeluTanh } else { Function::Silu },
            softcap: (gemma2 && softcap > 0.0).then_some(softcap),
        })
    }
}

/// The rotary embeddings of layers with and without a window.
struct Ropes {
    global: Rope,
    local: Rope,
    /// Every so many layers one has none.
    skip: usize,
}

impl Ropes {
    fn read(b: &Builder<'_>, shape: &Shape) -> Result<Self, Error> {
        let pairs = match b.arch() {
            "llama" | "smollm3" | "mistral3" => Pairs::Adjacent,
            _ => Pairs::Halves,
        };
        let global = rope::read(b, shape.key, pairs, 10_000.0)?;
        let mut local = global.clone();
        if b.arch() == "gemma3" {
            // Window layers keep the short rope that they were trained with.
            local.base = b.float_or("rope.freq_base_swa", 10_000.0)?;
            local.scale = 1.0;
        }
        let skip = if b.arch() == "smollm3" { 4 } else { 0 };
        Ok(Self { global, local, skip })
    }

    fn of(&self, layer: usize, windowed: bool) -> Option<&Rope> {
        if self.skip > 0 && (layer + 1).is_multiple_of(self.skip) {
            return None;
        }
        Some(if windowed { &self.local } else { &self.global })
    }
}

/// How far back a layer looks. The pattern is a period (all but the last of each so many layers have a
/// window), a list of flags, or what the family is known for.
fn window(b: &Builder<'_>, layer: usize) -> Result<Option<u32>, Error> {
    let default = if b.arch() == "gemma2" { 4096 } else { 0 };
    let size = b.number_or("attention.sliding_window", default)?;
    // Phi 3 files name a window that their model was not trained to use on all layers; llama.cpp ignores it too.
    if size == 0 || b.arch() == "phi3" {
        return Ok(None);
    }
    if let Some(windowed) = b.flag_at("attention.sliding_window_pattern", layer) {
        return Ok(windowed.then_some(size as u32));
    }
    let period = match b.arch() {
        "gemma3" => 6,
        "gemma2" | "gpt-oss" => 2,
        _ => 0,
    };
    let period = b.number_or("attention.sliding_window_pattern", period)?;
    let windowed = period == 0 || layer % period < period - 1;
    Ok(windowed.then_some(size as u32))
}

fn is_gemma(b: &Builder<'_>) -> bool {
    matches!(b.arch(), "gemma2" | "gemma3")
}
