//! What is known of a stored model. Written with postcard after one byte that tells the version.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tutu_node::{kit::Digest, work::models::manifest};

const VERSION: u8 = 1;

/// What a blob is to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Weights, in GGUF.
    Model,
    /// A LoRA adapter, in GGUF.
    Adapter,
    /// A template.
    Template,
    /// A system text.
    System,
    /// Parameters, a JSON object.
    Parameters,
    /// Messages, a JSON list.
    Messages,
    /// A licence.
    License,
}

impl Kind {
    /// What a layer of a manifest is here; `None` for what is not supported.
    pub fn of(kind: &manifest::Kind) -> Option<Self> {
        Some(match kind {
            manifest::Kind::Model => Self::Model,
            manifest::Kind::Adapter => Self::Adapter,
            manifest::Kind::Template => Self::Template,
            manifest::Kind::System => Self::System,
            manifest::Kind::Params => Self::Parameters,
            manifest::Kind::Messages => Self::Messages,
            manifest::Kind::License => Self::License,
            manifest::Kind::Config | manifest::Kind::Projector | manifest::Kind::Draft | manifest::Kind::Other(_) => {
                return None;
            }
        })
    }
}

impl Kind {
    /// What it is called in a manifest.
    pub fn of_manifest(self) -> manifest::Kind {
        match self {
            Self::Model => manifest::Kind::Model,
            Self::Adapter => manifest::Kind::Adapter,
            Self::Template => manifest::Kind::Template,
            Self::System => manifest::Kind::System,
            Self::Parameters => manifest::Kind::Params,
            Self::Messages => manifest::Kind::Messages,
            Self::License => manifest::Kind::License,
        }
    }
}

/// One blob of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What it is.
    pub kind: Kind,
    /// What it is known by.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// What `list` and `show` print without opening the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// `llama`, `qwen2`, ...
    pub family: String,
    /// `134.52M`.
    pub parameters: String,
    /// `Q4_K_M`.
    pub quantisation: String,
}

/// A stored model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// As it is shown.
    pub name: String,
    /// Of the manifest: what the model as a whole is known by.
    pub digest: Digest,
    /// Its blobs.
    pub layers: Vec<Layer>,
    /// What is printed.
    pub details: Details,
    /// Seconds since 1970.
    pub modified: u64,
    /// Seconds since 1970.
    pub used: u64,
    /// Whether it stays when room is needed.
    pub pinned: bool,
    /// Where its bytes lie, if that is not our store.
    #[serde(skip)]
    pub elsewhere: Option<Elsewhere>,
}

/// Where the bytes of a model lie that is not ours: they are used there, and neither written nor removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// In a folder of another program, by their digests.
    Blobs(PathBuf),
    /// In these files, one for each layer.
    Files(Vec<PathBuf>),
    /// In a folder of safetensors, which must be converted before it can be run.
    Folder(PathBuf),
}

impl Elsewhere {
    /// The file or folder to name when somebody asks where that is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Blobs(path) | Self::Folder(path) => path,
            Self::Files(files) => files.first().map_or(Path::new(""), PathBuf::as_path),
        }
    }
}

impl Record {
    /// A record of these layers, known by what they are.
    pub fn new(name: &str, layers: Vec<Layer>, details: Details) -> Self {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        for layer in &layers {
            hash.update([layer.kind as u8]);
            hash.update(layer.digest.0);
        }
        let now = super::now();
        Self {
            name: name.into(),
            digest: Digest(hash.finalize().into()),
            layers,
            details,
            modified: now,
            used: now,
            pinned: false,
            elsewhere: None,
        }
    }

    /// Whether it is only an adapter for other models.
    pub fn is_adapter(&self) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.kind == Kind::Adapter)
    }

    /// Whether it lies elsewhere in a form that must be converted to be run.
    pub fn must_be_converted(&self) -> bool {
        matches!(self.elsewhere, Some(Elsewhere::Folder(_)))
    }

    /// Bytes of all its blobs.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_allocvec(self).expect("a record has nothing that postcard cannot write"));
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let layer = Layer { kind: Kind::Model, digest: Digest([7; 32]), size: 3 };
        let record = Record::new("a:b", vec![layer], Details { family: "llama".into(), ..Details::default() });
        assert_eq!(Record::read(&record.write()), Some(record.clone()));
        assert_eq!(Record::read(&[9, 1, 2]), None);
        assert_eq!(Record::read(&record.write()[..20]), None);
    }
}
