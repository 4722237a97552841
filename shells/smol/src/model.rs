//! A model that was named: its files, and what was stored with it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tutu_llm::chat::Message;

use crate::{
    engine::Sources,
    store::{Kind, Record, Store},
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Its files.
    pub sources: Sources,
    /// A text for the system role.
    pub system: Option<String>,
    /// Parameters, a JSON object.
    pub parameters: Option<Map<String, Value>>,
    /// What was said already.
    pub messages: Vec<Message>,
    /// What may be done with it.
    pub licences: Vec<String>,
    /// Under which name it is shown.
    pub name: String,
}

impl Model {
    /// A model of the store.
    pub fn of_record(store: &Store, record: &Record) -> Self {
        let files = |kind: Kind| -> Vec<PathBuf> {
            record.layers.iter().filter(|layer| layer.kind == kind).map(|layer| store.layer(record, layer)).collect()
        };
        let json = |kind: Kind| -> Option<Value> {
            store.text(record, kind).and_then(|text| serde_json::from_str(&text).ok())
        };
        Self {
            sources: Sources {
                files: files(Kind::Model),
                adapters: files(Kind::Adapter),
                template: store.text(record, Kind::Template),
                draft: Vec::new(),
            },
            system: store.text(record, Kind::System),
            parameters: json(Kind::Parameters).and_then(|value| value.as_object().cloned()),
            licences: files(Kind::License).iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect(),
            messages: json(Kind::Messages).and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default(),
            name: record.name.clone(),
        }
    }

    /// A file, or the first of a split one, with nothing stored beside it.
    pub fn of_file(path: &Path, name: &str) -> Self {
        Self { sources: Sources { files: parts(path), ..Sources::default() }, name: name.into(), ..Self::default() }
    }
}

/// All parts of a split model whose first part is named `x-00001-of-00003.gguf`.
pub fn parts(path: &Path) -> Vec<PathBuf> {
    let split = || {
        let name = path.file_name()?.to_str()?;
        let (head, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let base = head.strip_suffix("-00001")?;
        let number: u32 = count.parse().ok().filter(|n| count.len() == 5 && (2..1000).contains(n))?;
        Some((1..=number).map(|i| path.with_file_name(format!("{base}-{i:05}-of-{count}.gguf"))).collect())
    };
    split().unwrap_or_else(|| vec![path.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_part_stands_for_all() {
        let names = |path: &str| -> Vec<String> {
            parts(Path::new(path)).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(names("a/b-00001-of-00002.gguf"), ["a/b-00001-of-00002.gguf", "a/b-00002-of-00002.gguf"]);
        assert_eq!(names("a/b-00002-of-00002.gguf"), ["a/b-00002-of-00002.gguf"]);
        assert_eq!(names("b.gguf"), ["b.gguf"]);
    }
}
