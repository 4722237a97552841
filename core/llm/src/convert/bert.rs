//! BERT: an encoder with a WordPiece vocabulary.

use alloc::{format, string::String, vec::Vec};

use serde_json::Value;

use super::{Converted, Error, Folder, Header, float, number, pooling};
use crate::{arch::Pooling, gguf::Meta};

/// Where the parts of a layer are called what.
const PARTS: [(&str, &str); 6] = [
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
];

pub(super) fn plan(folder: &Folder, config: &Value, headers: &[Header], out: &mut Converted) -> Result<(), Error> {
    let (width, hidden) = (number(config, "hidden_size")?, number(config, "intermediate_size")?);
    let (layers, heads) = (number(config, "num_hidden_layers")?, number(config, "num_attention_heads")?);
    let context = number(config, "max_position_embeddings")?;
    let words = vocabulary(folder)?;
    let set = |out: &mut Converted, key: &str, value: usize| {
        out.writer.set(&format!("bert.{key}"), Meta::U32(value as u32));
    };
    out.writer.set("general.architecture", Meta::Str("bert".into()));
    set(out, "context_length", context);
    set(out, "embedding_length", width);
    set(out, "feed_forward_length", hidden);
    set(out, "block_count", layers);
    set(out, "attention.head_count", heads);
    set(
        out,
        "pooling_type",
        match pooling(folder)? {
            Pooling::Mean => 1,
            Pooling::First => 2,
            Pooling::Last => 3,
        },
    );
    out.writer
        .set("bert.attention.layer_norm_epsilon", Meta::F32(float(config, "layer_norm_eps", 1e-12)))
        .set("bert.attention.causal", Meta::Bool(false));
    tokenizer(&words, out);
    tensors(
        headers,
        out,
        Shape {
            width,
            hidden,
            layers,
            context,
            words: words.len(),
            types: config["type_vocab_size"].as_u64().unwrap_or(2) as usize,
        },
    )
}

struct Shape {
    width: usize,
    hidden: usize,
    layers: usize,
    context: usize,
    words: usize,
    types: usize,
}

/// The words in the order of their ids.
fn vocabulary(folder: &Folder) -> Result<Vec<String>, Error> {
    let text = folder.vocabulary.as_ref().ok_or(Error::Missing("vocab.txt"))?;
    Ok(text.lines().map(String::from).collect())
}

fn tokenizer(words: &[String], out: &mut Converted) {
    let special = |word: &str| word.starts_with('[') && word.ends_with(']');
    // A word's beginning is marked, a continuation is bare: the other way round than in vocab.txt.
    let phantom = |word: &String| match word.strip_prefix("##") {
        Some(rest) => rest.into(),
        None if special(word) => word.clone(),
        None => format!("\u{2581}{word}"),
    };
    let id = |name: &str| words.iter().position(|word| word == name);
    out.writer
        .set("tokenizer.ggml.model", Meta::Str("bert".into()))
        .set("tokenizer.ggml.pre", Meta::Str("default".into()))
        .set("tokenizer.ggml.token_type_count", Meta::U32(2))
        .set("tokenizer.ggml.token_type", Meta::i32s(words.iter().map(|word| if special(word) { 3 } else { 1 })))
        .set("tokenizer.ggml.tokens", Meta::Strings(words.iter().map(phantom).collect()));
    let roles =
        [("unknown", "[UNK]"), ("seperator", "[SEP]"), ("padding", "[PAD]"), ("cls", "[CLS]"), ("mask", "[MASK]")];
    for (role, name) in roles {
        if let Some(id) = id(name) {
            out.writer.set(&format!("tokenizer.ggml.{role}_token_id"), Meta::U32(id as u32));
        }
    }
}

fn tensors(headers: &[Header], out: &mut Converted, shape: Shape) -> Result<(), Error> {
    let Shape { width, hidden, layers, context, words, types } = shape;
    // Some publish the encoder alone, some inside a model with a head.
    let prefix = if Converted::has(headers, "embeddings.word_embeddings.weight") { "" } else { "bert." };
    let mut take =
        |from: &str, to: &str, shape: &[usize]| out.take(headers, &format!("{prefix}{from}"), to, shape, None);
    take("embeddings.word_embeddings.weight", "token_embd.weight", &[width, words])?;
    take("embeddings.position_embeddings.weight", "position_embd.weight", &[width, context])?;
    take("embeddings.token_type_embeddings.weight", "token_types.weight", &[width, types])?;
    take("embeddings.LayerNorm.weight", "token_embd_norm.weight", &[width])?;
    take("embeddings.LayerNorm.bias", "token_embd_norm.bias", &[width])?;
    for layer in 0..layers {
        for (from, to) in PARTS {
            let (rows, columns) = match to {
                "ffn_up" => (hidden, width),
                "ffn_down" => (width, hidden),
                _ => (width, width),
            };
            let (from, to) = (format!("encoder.layer.{layer}.{from}"), format!("blk.{layer}.{to}"));
            take(&format!("{from}.weight"), &format!("{to}.weight"), &[columns, rows])?;
            take(&format!("{from}.bias"), &format!("{to}.bias"), &[rows])?;
        }
        for (from, to) in
            [("attention.output.LayerNorm", "attn_output_norm"), ("output.LayerNorm", "layer_output_norm")]
        {
            for part in ["weight", "bias"] {
                take(&format!("encoder.layer.{layer}.{from}.{part}"), &format!("blk.{layer}.{to}.{part}"), &[width])?;
            }
        }
    }
    Ok(())
}
