//! From a folder of safetensors, as models are published, to a GGUF file.
//!
//! Metadata and tensor names are those that llama.cpp's converter writes, so that either program reads the
//! other's files. Weights keep their element type; lists (norms, biases) become F32.
//!
//! Families: BERT with a WordPiece vocabulary; Llama, Mistral, Qwen 2 and Qwen 3 with a byte-level BPE tokenizer. Others are
//! refused by name.

mod adapter;
mod bert;
mod bpe;
mod decoder;
mod tensors;

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use serde_json::Value;

use crate::{
    arch::Pooling,
    gguf::{Meta, Writer},
    quant::{Kind, bf16_to_f32, f16_to_f32},
};
pub use adapter::{Base, adapter};
pub use tensors::{Header, Tensor};

/// What a folder holds, but for the weights' bytes.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// `config.json`.
    pub config: String,
    /// `tokenizer.json`, where there is one.
    pub tokenizer: Option<String>,
    /// `tokenizer_config.json`, where there is one.
    pub tokenizer_config: Option<String>,
    /// `vocab.txt`, where there is one.
    pub vocabulary: Option<String>,
    /// `1_Pooling/config.json`, where there is one.
    pub pooling: Option<String>,
    /// What to call the model.
    pub name: String,
}

/// A file that can be written: the head, and for each tensor where its elements come from.
#[derive(Clone, Debug)]
pub struct Converted {
    /// Metadata and tensors.
    pub writer: Writer,
    sources: Vec<Source>,
}

/// Where a tensor comes from.
#[derive(Clone, Debug)]
struct Source {
    tensor: Tensor,
    kind: Kind,
    /// Heads whose rows are reordered for adjacent rope pairs.
    heads: Option<usize>,
}

/// The families that can be converted, as `config.json` calls them.
pub const FAMILIES: [&str; 5] = ["bert", "llama", "mistral", "qwen2", "qwen3"];

/// Why a folder cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// A file of the folder is no JSON or lacks something.
    Json { file: &'static str, why: String },
    /// A file that is needed is not there.
    Missing(&'static str),
    /// A family that we do not convert.
    Family(String),
    /// The safetensors file is broken.
    Tensors(String),
    /// A tensor is missing, or of another type or shape than it must be.
    Tensor { name: String, why: &'static str },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { file, why } => write!(f, "{file} cannot be used: {why}"),
            Self::Missing(file) => write!(f, "{file} is missing in the folder"),
            Self::Family(name) => {
                write!(f, "the family {name:?} cannot be converted; these can: {}", FAMILIES.join(" "))
            }
            Self::Tensors(why) => write!(f, "the safetensors file cannot be used: {why}"),
            Self::Tensor { name, why } => write!(f, "the tensor {name:?} {why}"),
        }
    }
}

impl core::error::Error for Error {}

/// Plans the conversion of a folder whose weights have these headers, one for each file.
///
/// # Errors
/// [`Error`].
pub fn plan(folder: &Folder, headers: &[Header]) -> Result<Converted, Error> {
    let config: Value = parse("config.json", &folder.config)?;
    let family =
        config["model_type"].as_str().ok_or(Error::Json { file: "config.json", why: "no model_type".into() })?;
    let mut out = Converted { writer: Writer::new(), sources: Vec::new() };
    out.writer.set("general.name", Meta::Str(folder.name.clone()));
    match family {
        "bert" => bert::plan(folder, &config, headers, &mut out)?,
        "llama" | "mistral" | "qwen2" | "qwen3" => decoder::plan(family, folder, &config, headers, &mut out)?,
        other => return Err(Error::Family(other.into())),
    }
    Ok(out)
}

impl Converted {
    /// How many tensors there are.
    pub fn count(&self) -> usize {
        self.sources.len()
    }

    /// Which file tensor number `index` is read from: an index into the headers.
    pub fn file(&self, index: usize) -> usize {
        self.sources[index].tensor.file
    }

    /// The bytes of tensor number `index`, with the padding that follows them. `file` is the safetensors file that
    /// [`Self::file`] names.
    ///
    /// # Errors
    /// [`Error::Tensor`], where the file is shorter than its header said.
    pub fn data(&self, index: usize, file: &[u8]) -> Result<Vec<u8>, Error> {
        let source = &self.sources[index];
        let tensor = &source.tensor;
        let short = || Error::Tensor { name: tensor.name.clone(), why: "lies beyond the end of its file" };
        let bytes = file.get(tensor.range.clone()).ok_or_else(short)?;
        let bytes = match source.heads {
            Some(heads) => interleave(bytes, heads, tensor.shape[0]),
            None => bytes.into(),
        };
        let mut out = if source.kind == tensor.kind { bytes } else { widen(tensor.kind, &bytes) };
        let (size, padding) = self.writer.size(index);
        out.resize(size + padding, 0);
        Ok(out)
    }

    /// Takes over the tensor `from` as `to`.
    fn take(
        &mut self,
        headers: &[Header],
        from: &str,
        to: &str,
        shape: &[usize],
        heads: Option<usize>,
    ) -> Result<(), Error> {
        let fail = |why| Error::Tensor { name: from.into(), why };
        let tensor = headers.iter().find_map(|header| header.find(from)).ok_or_else(|| fail("is missing"))?;
        // Files have the slowest dimension first.
        if !tensor.shape.iter().eq(shape.iter().rev()) {
            return Err(fail("has another shape than config.json promises"));
        }
        if heads.is_some_and(|heads| heads == 0 || !tensor.shape[0].is_multiple_of(2 * heads)) {
            return Err(fail("has rows that are no pairs of each head"));
        }
        let kind = if shape.len() == 1 { Kind::F32 } else { tensor.kind };
        self.writer.tensor(to, kind, shape);
        self.sources.push(Source { tensor: tensor.clone(), kind, heads });
        Ok(())
    }

    fn has(headers: &[Header], name: &str) -> bool {
        headers.iter().any(|header| header.find(name).is_some())
    }
}

/// Rows of each head from halves (first all first elements of a pair, then all second) to pairs.
fn interleave(bytes: &[u8], heads: usize, rows: usize) -> Vec<u8> {
    let row = bytes.len() / rows;
    let head = rows / heads;
    let mut out = Vec::with_capacity(bytes.len());
    for h in 0..heads {
        for i in 0..head / 2 {
            for half in 0..2 {
                let from = h * head + half * (head / 2) + i;
                out.extend_from_slice(&bytes[from * row..][..row]);
            }
        }
    }
    out
}

fn widen(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let decode = if kind == Kind::F16 { f16_to_f32 } else { bf16_to_f32 };
    bytes.as_chunks::<2>().0.iter().flat_map(|two| decode(u16::from_le_bytes(*two)).to_le_bytes()).collect()
}

fn parse(file: &'static str, text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|e| Error::Json { file, why: format!("{e}") })
}

/// A number of `config.json`.
fn number(config: &Value, key: &str) -> Result<usize, Error> {
    let value = config[key].as_u64().filter(|n| (1..=1 << 24).contains(n));
    value
        .map(|n| n as usize)
        .ok_or_else(|| Error::Json { file: "config.json", why: format!("{key} is missing or out of range") })
}

fn float(config: &Value, key: &str, default: f64) -> f32 {
    config[key].as_f64().unwrap_or(default) as f32
}

/// How the folder says that vectors are made.
fn pooling(folder: &Folder) -> Result<Pooling, Error> {
    let Some(text) = &folder.pooling else { return Ok(Pooling::Mean) };
    let config = parse("1_Pooling/config.json", text)?;
    let set = |key: &str| config[key].as_bool().unwrap_or(false);
    Ok(if set("pooling_mode_cls_token") {
        Pooling::First
    } else if set("pooling_mode_lasttoken") {
        Pooling::Last
    } else {
        Pooling::Mean
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_pairs() {
        // Two heads of four rows, one byte each.
        assert_eq!(interleave(&[0, 1, 2, 3, 4, 5, 6, 7], 2, 8), [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn an_unknown_family_is_refused_by_name() {
        let folder = Folder { config: r#"{"model_type":"mamba"}"#.into(), ..Folder::default() };
        assert_eq!(plan(&folder, &[]).unwrap_err(), Error::Family("mamba".into()));
        let folder = Folder { config: "{".into(), ..Folder::default() };
        assert!(matches!(plan(&folder, &[]), Err(Error::Json { file: "config.json", .. })));
    }
}
