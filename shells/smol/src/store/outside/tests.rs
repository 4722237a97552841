use std::os::unix::fs::symlink;

use tutu_llm::{
    gguf::{Meta, Writer},
    quant::Kind as Format,
};

use super::*;
use crate::store::{Elsewhere, Error, Kind, Store};

/// A folder for everything, and a store with this place.
struct Ground {
    folder: tempfile::TempDir,
    store: Store,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let places = Places { folders: vec![at("models")], hub: Some(at("hub")) };
        let store = Store::open(&at("home"), &at("home/models"), None, places).unwrap();
        Self { folder, store }
    }

    fn put(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    /// What is listed now.
    fn names(&self) -> Vec<String> {
        self.store.outside.state.lock().unwrap().at = None;
        self.store.list().unwrap().into_iter().map(|record| record.name).collect()
    }
}

/// The head of a small llama without weights to run, or one part of such.
fn model(split: Option<(u32, u32)>) -> Vec<u8> {
    let mut writer = Writer::new();
    if split.is_none_or(|(number, _)| number == 0) {
        writer
            .set("general.architecture", Meta::Str("llama".into()))
            .set("llama.context_length", Meta::U32(64))
            .set("llama.embedding_length", Meta::U32(32))
            .set("llama.block_count", Meta::U32(1))
            .set("llama.attention.head_count", Meta::U32(1));
    }
    if let Some((number, count)) = split {
        writer.set("split.no", Meta::U32(number)).set("split.count", Meta::U32(count));
        writer.set("split.tensors.count", Meta::U32(count));
    }
    let name = split.map_or("token_embd.weight".into(), |(number, _)| format!("blk.{number}.x.weight"));
    writer.tensor(
        if split.is_some_and(|(number, _)| number == 0) { "token_embd.weight" } else { &name },
        Format::F32,
        &[32, 8],
    );
    writer.file(|_| vec![0; 32 * 8 * 4])
}

#[test]
fn files_of_a_folder_are_models_by_their_names_and_split_ones_count_once() {
    let ground = Ground::new();
    ground.put("models/tiny.Q8_0.gguf", &model(None));
    ground.put("models/My Folder/strange (1).gguf", &model(None));
    ground.put("models/big-00001-of-00002.gguf", &model(Some((0, 2))));
    ground.put("models/big-00002-of-00002.gguf", &model(Some((1, 2))));
    ground.put("models/half-00001-of-00002.gguf", &model(Some((0, 2))));
    ground.put("models/notes.gguf", b"no model at all");
    ground.put("models/.hidden.gguf", &model(None));
    assert_eq!(ground.names(), ["big:latest", "tiny.Q8_0:latest", "My-Folder/strange--1-:latest"]);
    let big = ground.store.find(&Name::parse("BIG").unwrap()).unwrap();
    assert_eq!((big.layers.len(), big.details.family.as_str()), (2, "llama"));
    let paths: Vec<_> = big.layers.iter().map(|layer| ground.store.layer(&big, layer)).collect();
    assert!(paths[0].ends_with("big-00001-of-00002.gguf") && paths[1].ends_with("big-00002-of-00002.gguf"));
    let sizes = paths.iter().map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(big.size(), sizes.sum::<u64>());
}

#[test]
fn equal_names_get_numbers_and_a_file_that_changes_is_read_again() {
    let ground = Ground::new();
    ground.put("models/a/x.gguf", &model(None));
    let path = ground.put("models/b/a/x.gguf", &model(None));
    assert_eq!(ground.names(), ["a/x:latest", "a/x:latest-2"]);
    fs::write(path, b"broken").unwrap();
    assert_eq!(ground.names(), ["a/x:latest"]);
}

#[test]
fn a_cache_of_hugging_face_is_read_by_the_revision_that_counts() {
    let ground = Ground::new();
    let bytes = model(None);
    let (digest, _) = ground.store.import_bytes(&bytes).unwrap();
    let repository = "hub/models--Some-Org--Tiny.1-GGUF";
    ground.put(&format!("{repository}/blobs/{digest}"), &bytes);
    for file in ["Tiny.1-Q4_K_M.gguf", "Tiny.1-Q8_0.gguf"] {
        ground.link(&format!("{repository}/snapshots/new/{file}"), &format!("../../blobs/{digest}"));
    }
    ground.put(&format!("{repository}/snapshots/old/Tiny.1-F16.gguf"), &bytes);
    ground.put(&format!("{repository}/refs/main"), b"new\n");
    assert_eq!(ground.names(), ["hf.co/Some-Org/Tiny.1-GGUF:Q4_K_M", "hf.co/Some-Org/Tiny.1-GGUF:Q8_0"]);
    let found = |name: &str| ground.store.find(&Name::parse(name).unwrap());
    assert_eq!(found("hf.co/some-org/tiny.1-gguf").unwrap().name, "hf.co/Some-Org/Tiny.1-GGUF:Q4_K_M");
    assert_eq!(found("hf.co/Some-Org/Tiny.1-GGUF:q8_0").unwrap().layers[0].digest, digest);
    assert!(found("hf.co/Some-Org/Tiny.1-GGUF:Q2_K").is_err());
    ground.store.verify(&found("hf.co/Some-Org/Tiny.1-GGUF").unwrap()).unwrap();
}

#[test]
fn links_that_lead_out_are_passed_by() {
    let ground = Ground::new();
    let secret = ground.put("elsewhere/secret.gguf", &model(None));
    let secret = secret.to_str().unwrap();
    let folder = Path::new(secret).parent().unwrap().to_str().unwrap();
    ground.link("models/file.gguf", secret);
    ground.link("models/folder", folder);
    ground.link("models/loop", ".");
    ground.link("hub/models--a--b/snapshots/1/x.gguf", secret);
    ground.link("hub/models--a--c", folder);
    ground.link("hub/models--a--d/snapshots", folder);
    ground.put("hub/models--a--e/snapshots/1/config.json", br#"{"model_type": "llama"}"#);
    ground.link("hub/models--a--e/snapshots/1/model.safetensors", secret);
    ground.put("hub/models----/snapshots/1/x.gguf", &model(None));
    assert_eq!(ground.names(), [""; 0]);
    ground.put("models/here.gguf", &model(None));
    ground.link("models/there.gguf", "here.gguf");
    assert_eq!(ground.names(), ["here:latest", "there:latest"]);
}

#[test]
fn a_folder_of_safetensors_is_a_model_if_it_can_be_converted() {
    let ground = Ground::new();
    for (name, family) in [("one", "qwen2"), ("two", "unheard-of")] {
        ground.put(&format!("models/{name}/config.json"), format!(r#"{{"model_type": "{family}"}}"#).as_bytes());
        ground.put(&format!("models/{name}/model.safetensors"), b"weights");
    }
    assert_eq!(ground.names(), ["one:latest"]);
    let record = ground.store.find(&Name::parse("one").unwrap()).unwrap();
    assert!(record.must_be_converted() && record.size() == 7);
}

#[test]
fn what_is_not_ours_is_neither_removed_nor_pinned_and_copied_whole() {
    let ground = Ground::new();
    let path = ground.put("models/mine.gguf", &model(None));
    let (mine, copy) = (Name::parse("mine").unwrap(), Name::parse("copy").unwrap());
    let refused = ground.store.remove(&mine).unwrap_err();
    assert!(matches!(refused, Error::Foreign { .. }) && refused.to_string().contains("mine.gguf"), "{refused}");
    assert!(matches!(ground.store.pin(&mine, true), Err(Error::Foreign { .. })));
    ground.store.touch(&mine).unwrap();
    let record = ground.store.find(&mine).unwrap();
    assert!(matches!(ground.store.verify(&record), Err(Error::Unnoted { .. })));
    ground.store.copy(&mine, &copy).unwrap();
    let record = ground.store.find(&copy).unwrap();
    assert_eq!((record.elsewhere.clone(), record.layers[0].kind), (None::<Elsewhere>, Kind::Model));
    ground.store.verify(&record).unwrap();
    ground.store.remove(&copy).unwrap();
    assert!(path.exists());
}

#[test]
fn the_format_at_the_end_of_a_name_is_its_tag() {
    for (stem, format) in [
        ("a-Q4_K_M", "Q4_K_M"),
        ("SmolLM2.Q4_1", "Q4_1"),
        ("x-UD-IQ2_XXS", "IQ2_XXS"),
        ("y-bf16", "bf16"),
        ("quite-plain", "quite-plain"),
        ("Q8_0", "Q8_0"),
    ] {
        assert_eq!(file::format(stem), format);
    }
    assert_eq!(file::split("a-00002-of-00003"), Some(("a", 2)));
    assert_eq!(file::split("a-2-of-3"), None);
}
