//! all-MiniLM-L6-v2, converted from its safetensors folder, gives the vectors of ONNX Runtime.
//!
//! Needs real models: `TUTU_TEST_MODELS` names their folder (`ci/models`).

use std::sync::Arc;

use serde_json::Value;
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, Token},
    convert::{self, Folder, Header},
    embed::pool,
    gguf::Gguf,
    reference::{Options, Reference},
    token::{Special, Tokenizer},
};

#[test]
fn a_converted_folder_gives_the_true_vectors() {
    let Some(models) = std::env::var_os("TUTU_TEST_MODELS") else {
        println!("skipped: TUTU_TEST_MODELS is not set");
        return;
    };
    let path = std::path::Path::new(&models).join("all-MiniLM-L6-v2");
    let text = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    let folder = Folder {
        config: text("config.json"),
        vocabulary: Some(text("vocab.txt")),
        pooling: Some(text("1_Pooling/config.json")),
        name: "all-MiniLM-L6-v2".into(),
        ..Folder::default()
    };
    let weights = std::fs::read(path.join("model.safetensors")).unwrap();
    let converted = convert::plan(&folder, &[Header::read(0, &weights).unwrap()]).unwrap();
    let mut file = converted.writer.head();
    (0..converted.count()).for_each(|i| file.extend(converted.data(i, &weights).unwrap()));

    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&file).unwrap()).unwrap();
    let model = Model::load(&[Arc::new(file)], 0).unwrap();
    let golden: Vec<Value> = serde_json::from_str(include_str!("data/embeddings-minilm.json")).unwrap();
    for line in golden {
        let mut ids = Vec::new();
        tokenizer.encode(line["text"].as_str().unwrap(), Special::Text, &mut ids);
        tokenizer.add_special(&mut ids);
        let wanted: Vec<u32> = line["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(ids, wanted);
        let token = |(i, &id)| Token { id, position: i as u32, sequence: 0, output: true };
        let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
        let options = Options { tokens_max: tokens.len(), pages: 1 };
        let mut reference = Reference::new(model.weights.clone(), model.plan.clone(), options);
        let mut states = Vec::new();
        reference.step(&Batch::new(&tokens, &[&[]]), &mut states).unwrap();
        let vector = pool(model.facts.pooling.unwrap(), &states, model.facts.embedding);
        let truth = line["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32);
        let cosine: f32 = vector.iter().zip(truth).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{}: {cosine}", line["text"]);
    }
}
