//! The targets. None may panic, hang, or ask for much more memory than its input has bytes.

use std::{hint::black_box, sync::Arc};

use tutu_llm::{
    arch::Model,
    gguf::{self, Array, Gguf, Value, ValueType},
    quant::dequantise,
    token::{Special, Tokenizer},
    weights::{Bytes, Weights},
};

/// A target.
/// It answers whether the input was taken as sound, so that a run can tell whether harm goes deep or is
/// refused at the door.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by name.
pub const ALL: [(&str, Target); 5] =
    [("gguf", gguf), ("split", split), ("quant", quant), ("token", token), ("model", model)];

/// Reads every value and every tensor's head.
pub fn gguf(bytes: &[u8]) -> bool {
    let file = match Gguf::parse(bytes) {
        Ok(file) => file,
        Err(error) => return refused(error),
    };
    for (key, value) in file.pairs() {
        black_box((key, file.get(key), value.as_u64(), value.as_f32()));
        if let Value::Array(list) = value {
            read(list);
        }
    }
    for info in file.tensors() {
        black_box(&bytes[info.offset..info.offset + info.size]);
    }
    true
}

/// An error is said in words, whatever it holds.
fn refused(error: impl core::fmt::Display) -> bool {
    black_box(error.to_string());
    false
}

fn read(list: Array<'_>) {
    if list.kind() == ValueType::Str {
        assert_eq!(list.strings().count(), list.len(), "as many texts as were counted");
    }
    black_box((list.f32s().sum::<f32>(), list.i64s().fold(0i64, i64::wrapping_add)));
}

/// Two files as parts of one model. The first four bytes say how long the first one is.
pub fn split(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk() else { return false };
    let (first, second) = rest.split_at((u32::from_le_bytes(*len) as usize).min(rest.len()));
    let files: [Bytes; 2] = [Arc::new(first.to_vec()), Arc::new(second.to_vec())];
    match gguf::weights(&files) {
        Ok(weights) => decode(&weights),
        Err(error) => refused(error),
    }
}

/// Decodes every tensor.
pub fn quant(bytes: &[u8]) -> bool {
    let files: [Bytes; 1] = [Arc::new(bytes.to_vec())];
    match gguf::weights(&files) {
        Ok(weights) => decode(&weights),
        Err(error) => refused(error),
    }
}

fn decode(weights: &Weights) -> bool {
    let mut out = [0.0; 256];
    for (id, tensor) in weights.iter() {
        let (bytes, elements) = (tensor.kind.block_bytes(), tensor.kind.block_len());
        for block in weights.data(id).chunks_exact(bytes) {
            dequantise(tensor.kind, block, &mut out[..elements]);
        }
    }
    black_box(out);
    true
}

/// Reads the vocabulary, tokenizes with it, and turns the ids into text again.
pub fn token(bytes: &[u8]) -> bool {
    let Ok(file) = Gguf::parse(bytes) else { return false };
    let tokenizer = match Tokenizer::from_gguf(&file) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return refused(error),
    };
    let mut ids = Vec::new();
    tokenizer.encode("The sky, 12 \u{e9}\u{1f60a}\n<s>\tabc", Special::Parse, &mut ids);
    tokenizer.add_special(&mut ids);
    ids.push(u32::MAX);
    black_box((tokenizer.decode(&ids, true), ids.iter().any(|&id| tokenizer.is_end(id))));
    true
}

/// Makes a plan of it.
pub fn model(bytes: &[u8]) -> bool {
    let files: [Bytes; 1] = [Arc::new(bytes.to_vec())];
    match Model::load(&files, 0) {
        Ok(model) => !black_box(model).plan.ops.is_empty(),
        Err(error) => refused(error),
    }
}
