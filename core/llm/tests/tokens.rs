//! Token ids are those of independent implementations (llama.cpp; for MiniLM the model's own tokenizer) on
//! strings of every kind. Needs real models: `TUTU_TEST_MODELS` names their folder (`ci/models`).

use serde_json::Value;
use tutu_llm::{
    gguf::{Gguf, Meta, Writer},
    token::{Special, Tokenizer},
};

fn folder() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("TUTU_TEST_MODELS").map(Into::into);
    if folder.is_none() {
        println!("skipped: TUTU_TEST_MODELS is not set");
    }
    folder
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn agrees(file: &str, golden: &str) {
    let Some(folder) = folder() else { return };
    let data = std::fs::read(folder.join(file)).expect("the model is there");
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&data).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for line in golden.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = String::from_utf8(bytes(line["hex"].as_str().unwrap())).unwrap();
        let encode = |special| {
            let mut out = Vec::new();
            tokenizer.encode(&text, special, &mut out);
            out
        };
        let (plain, parsed) = (encode(Special::Text), encode(Special::Parse));
        let mut marked = parsed.clone();
        tokenizer.add_special(&mut marked);
        let decoded = tokenizer.decode(&plain, false);
        if plain != ids(&line["plain"])
            || parsed != ids(&line["parse_special"])
            || marked != ids(&line["add_and_parse_special"])
            || decoded != bytes(line["detok_plain_hex"].as_str().unwrap())
        {
            wrong.push(format!("{text:?}: {plain:?} is not {}", line["plain"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), golden.lines().count(), wrong.join("\n"));
}

#[test]
fn smollm2_has_the_ids_of_llama_cpp() {
    agrees("SmolLM2-135M-Instruct.Q4_1.gguf", include_str!("data/tokens-smollm2.jsonl"));
}

#[test]
fn qwen_has_the_ids_of_llama_cpp() {
    agrees("qwen2.5-coder-0.5b.gguf", include_str!("data/tokens-qwen2.5-coder.jsonl"));
}

#[test]
fn minilm_has_the_ids_of_its_own_tokenizer() {
    let Some(folder) = folder() else { return };
    let vocabulary = std::fs::read_to_string(folder.join("all-MiniLM-L6-v2/vocab.txt")).unwrap();
    let phantom = |word: &str| match word.strip_prefix("##") {
        Some(rest) => rest.to_string(),
        None if word.starts_with('[') && word.ends_with(']') => word.to_string(),
        None => format!("\u{2581}{word}"),
    };
    let mut writer = Writer::new();
    writer
        .set("tokenizer.ggml.model", Meta::Str("bert".into()))
        .set("tokenizer.ggml.tokens", Meta::Strings(vocabulary.lines().map(phantom).collect()));
    let head = writer.head();
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&head).unwrap()).unwrap();
    let golden = include_str!("data/tokens-minilm.jsonl");
    let mut wrong = Vec::new();
    for line in golden.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = String::from_utf8(bytes(line["hex"].as_str().unwrap())).unwrap();
        let mut out = Vec::new();
        tokenizer.encode(&text, Special::Text, &mut out);
        tokenizer.add_special(&mut out);
        if out != ids(&line["ids"]) {
            wrong.push(format!("{text:?}: {out:?} is not {}", line["ids"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), golden.lines().count(), wrong.join("\n"));
}
