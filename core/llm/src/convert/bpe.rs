//! A byte-level BPE tokenizer, from `tokenizer.json`.

use alloc::{format, string::String, vec::Vec};

use serde_json::Value;

use super::{Converted, Error, Folder, parse};
use crate::gguf::Meta;

const FILE: &str = "tokenizer.json";

/// Writes the tokenizer; `size` is the vocabulary of the embedding table, which may be larger than that of the tokenizer.
pub(super) fn write(folder: &Folder, size: usize, out: &mut Converted) -> Result<(), Error> {
    let json = parse(FILE, folder.tokenizer.as_ref().ok_or(Error::Missing(FILE))?)?;
    let wrong = |why: &str| Error::Json { file: FILE, why: why.into() };
    let model = &json["model"];
    if model["type"].as_str() != Some("BPE") || model["byte_fallback"].as_bool() == Some(true) {
        return Err(wrong("it is no byte-level BPE tokenizer, and others cannot be converted"));
    }
    let words = model["vocab"].as_object().ok_or_else(|| wrong("it has no vocabulary"))?;
    let mut names: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
    let mut types = alloc::vec![5; size];
    let mut place = |name: &str, id: Option<u64>, kind: i32| match id
        .and_then(|id| names.get_mut(id as usize).zip(types.get_mut(id as usize)))
    {
        Some((slot, slot_kind)) => {
            *slot = name.into();
            *slot_kind = kind;
            Ok(())
        }
        None => Err(wrong("a token lies beyond the vocabulary of the model")),
    };
    for (name, id) in words {
        place(name, id.as_u64(), 1)?;
    }
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if token["special"].as_bool() == Some(true) { 3 } else { 4 };
        place(token["content"].as_str().unwrap_or_default(), token["id"].as_u64(), kind)?;
    }
    let merges = model["merges"].as_array().ok_or_else(|| wrong("it has no merges"))?;
    let merge = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        // Newer files keep the two sides apart.
        Value::Array(two) => Some(format!("{} {}", two.first()?.as_str()?, two.get(1)?.as_str()?)),
        _ => None,
    };
    let merges: Option<Vec<String>> = merges.iter().map(merge).collect();
    let id = |name: &str| names.iter().position(|other| other == name).map(|id| id as u32);
    let config = folder
        .tokenizer_config
        .as_deref()
        .map(|text| parse("tokenizer_config.json", text))
        .transpose()?
        .unwrap_or_default();
    let roles: Vec<(&str, Option<u32>)> = ["bos", "eos", "pad", "unk"]
        .iter()
        .map(|role| {
            let value = &config[format!("{role}_token")];
            (*role, value.as_str().or(value["content"].as_str()).and_then(id))
        })
        .collect();
    out.writer
        .set("tokenizer.ggml.model", Meta::Str("gpt2".into()))
        .set("tokenizer.ggml.pre", Meta::Str(pre(&json["pre_tokenizer"])?.into()))
        .set("tokenizer.ggml.tokens", Meta::Strings(names))
        .set("tokenizer.ggml.token_type", Meta::i32s(types))
        .set("tokenizer.ggml.merges", Meta::Strings(merges.ok_or_else(|| wrong("a merge is no pair"))?));
    for (role, id) in roles {
        let key = match role {
            "pad" => "padding",
            "unk" => "unknown",
            role => role,
        };
        if let Some(id) = id {
            out.writer.set(&format!("tokenizer.ggml.{key}_token_id"), Meta::U32(id));
        }
    }
    if let Some(add) = config["add_bos_token"].as_bool() {
        out.writer.set("tokenizer.ggml.add_bos_token", Meta::Bool(add));
    }
    if let Some(template) = config["chat_template"].as_str() {
        out.writer.set("tokenizer.chat_template", Meta::Str(template.into()));
    }
    Ok(())
}

/// The name of the pre-tokenizer, by its regular expression.
fn pre(value: &Value) -> Result<&'static str, Error> {
    let text = serde_json::to_string(value).unwrap_or_default();
    Ok(if text.contains(r"\\p{N}{1,3}") && text.contains(r"\\p{Lu}") {
        "gpt-4o"
    } else if text.contains(r"\\p{Lu}") {
        "tekken"
    } else if text.contains(r"\\p{N}{1,3}") {
        "llama-bpe"
    } else if text.contains(r"\\p{N}|") {
        "qwen2"
    } else if text.contains("Digits") && text.contains("ByteLevel") {
        "smollm"
    } else if text.contains("ByteLevel") {
        "gpt-2"
    } else {
        return Err(Error::Json { file: FILE, why: "its pre-tokenizer is not known".into() });
    })
}
