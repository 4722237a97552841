//! Llama, Mistral, Qwen 2 and Qwen 3.

use alloc::format;

use serde_json::Value;

use super::{Converted, Error, Folder, Header, bpe, float, number};
use crate::gguf::Meta;

pub(super) fn plan(
    family: &str,
    folder: &Folder,
    config: &Value,
    headers: &[Header],
    out: &mut Converted,
) -> Result<(), Error> {
    let arch = if family == "mistral" { "llama" } else { family };
    let (width, hidden) = (number(config, "hidden_size")?, number(config, "intermediate_size")?);
    let (layers, heads) = (number(config, "num_hidden_layers")?, number(config, "num_attention_heads")?);
    let kv_heads = config["num_key_value_heads"].as_u64().unwrap_or(heads as u64) as usize;
    let head = config["head_dim"].as_u64().map_or(width / heads, |n| n as usize);
    let words = number(config, "vocab_size")?;
    let set = |out: &mut Converted, key: &str, value: Meta| {
        out.writer.set(&format!("{arch}.{key}"), value);
    };
    out.writer.set("general.architecture", Meta::Str(arch.into()));
    for (key, value) in [
        ("context_length", number(config, "max_position_embeddings")?),
        ("embedding_length", width),
        ("feed_forward_length", hidden),
        ("block_count", layers),
        ("attention.head_count", heads),
        ("attention.head_count_kv", kv_heads),
        ("attention.key_length", head),
        ("attention.value_length", head),
        ("rope.dimension_count", head),
        ("vocab_size", words),
    ] {
        set(out, key, Meta::U32(value as u32));
    }
    set(out, "attention.layer_norm_rms_epsilon", Meta::F32(float(config, "rms_norm_eps", 1e-6)));
    set(out, "rope.freq_base", Meta::F32(float(config, "rope_theta", 10_000.0)));
    if !config["rope_scaling"].is_null() {
        return Err(Error::Json { file: "config.json", why: "rope_scaling cannot be converted".into() });
    }
    bpe::write(folder, words, out)?;

    let (q, kv) = (heads * head, kv_heads * head);
    // Llama's files have pairs side by side, the published weights have them in halves.
    let turned = |count: usize| (arch == "llama").then_some(count);
    out.take(headers, "model.embed_tokens.weight", "token_embd.weight", &[width, words], None)?;
    for layer in 0..layers {
        let (from, to) = (format!("model.layers.{layer}"), format!("blk.{layer}"));
        for (part, name, columns, rows, heads) in [
            ("self_attn.q_proj", "attn_q", width, q, turned(heads)),
            ("self_attn.k_proj", "attn_k", width, kv, turned(kv_heads)),
            ("self_attn.v_proj", "attn_v", width, kv, None),
            ("self_attn.o_proj", "attn_output", q, width, None),
            ("mlp.gate_proj", "ffn_gate", width, hidden, None),
            ("mlp.up_proj", "ffn_up", width, hidden, None),
            ("mlp.down_proj", "ffn_down", hidden, width, None),
        ] {
            out.take(
                headers,
                &format!("{from}.{part}.weight"),
                &format!("{to}.{name}.weight"),
                &[columns, rows],
                heads,
            )?;
            let bias = format!("{from}.{part}.bias");
            if Converted::has(headers, &bias) {
                out.take(headers, &bias, &format!("{to}.{name}.bias"), &[rows], heads)?;
            }
        }
        for (part, name, len) in [
            ("input_layernorm", "attn_norm", width),
            ("post_attention_layernorm", "ffn_norm", width),
            ("self_attn.q_norm", "attn_q_norm", head),
            ("self_attn.k_norm", "attn_k_norm", head),
        ] {
            let weight = format!("{from}.{part}.weight");
            if len == width || Converted::has(headers, &weight) {
                out.take(headers, &weight, &format!("{to}.{name}.weight"), &[len], None)?;
            }
        }
    }
    out.take(headers, "model.norm.weight", "output_norm.weight", &[width], None)?;
    if Converted::has(headers, "lm_head.weight") && config["tie_word_embeddings"].as_bool() != Some(true) {
        out.take(headers, "lm_head.weight", "output.weight", &[width, words], None)?;
    }
    Ok(())
}
