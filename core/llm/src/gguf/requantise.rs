//! A model in other block formats: the same metadata, each tensor as a [`Recipe`] wants it.

use alloc::{string::String, vec, vec::Vec};
use core::fmt;

use super::{Gguf, Meta, Writer};
use crate::{
    quant::{self, Kind, Recipe, Shape},
    weights::{TensorId, Weights},
};

/// A file that is being made of another model. Holds one tensor in memory at a time.
pub struct Requantised<'a> {
    weights: &'a Weights,
    writer: Writer,
    kinds: Vec<Kind>,
}

/// Why a model was not requantised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequantiseError {
    /// The tensor is quantised already; to do so again would lose twice.
    Quantised {
        /// Its name.
        tensor: String,
        /// What it is.
        kind: Kind,
    },
    /// The tensor holds numbers that the format cannot.
    Tensor {
        /// Its name.
        tensor: String,
        /// Why not.
        error: quant::Error,
    },
}

impl fmt::Display for RequantiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantised { tensor, kind } => {
                write!(f, "tensor {tensor:?} is {kind} already; start from a file in F32, F16 or BF16")
            }
            Self::Tensor { tensor, error } => write!(f, "tensor {tensor:?}: {error}"),
        }
    }
}

impl core::error::Error for RequantiseError {}

impl<'a> Requantised<'a> {
    /// Plans the file: `head` is the model's (first) file, `weights` all its tensors.
    ///
    /// # Errors
    /// [`RequantiseError::Quantised`] where a tensor would be quantised for the second time.
    pub fn new(head: &Gguf<'_>, weights: &'a Weights, recipe: Recipe) -> Result<Self, RequantiseError> {
        let mut writer = Writer::new();
        for (key, value) in head.pairs() {
            // The new file is in one part, with the usual alignment.
            if key != "general.alignment" && !key.starts_with("split.") {
                writer.set(key, Meta::copied(value));
            }
        }
        writer.set("general.file_type", Meta::U32(recipe.file_type()));
        writer.set("general.quantization_version", Meta::U32(2));
        let layers = head.str("general.architecture").and_then(|name| {
            let key = alloc::format!("{name}.block_count");
            head.u32(&key)
        });
        let shape = Shape { layers: layers.unwrap_or(0) as usize, has_output: weights.find("output.weight").is_some() };
        let mut kinds = Vec::new();
        for (_, tensor) in weights.iter() {
            let used = tensor.dims.iter().rposition(|&dim| dim != 1).map_or(1, |last| last + 1);
            let dims = &tensor.dims[..used];
            let kind = recipe.kind(&tensor.name, dims, shape);
            // To F32 everything expands without loss.
            let whole = kind == Kind::F32 || matches!(tensor.kind, Kind::F32 | Kind::F16 | Kind::Bf16);
            if kind != tensor.kind && !whole {
                return Err(RequantiseError::Quantised { tensor: tensor.name.clone(), kind: tensor.kind });
            }
            writer.tensor(&tensor.name, kind, dims);
            kinds.push(kind);
        }
        Ok(Self { weights, writer, kinds })
    }

    /// The bytes before the tensors.
    pub fn head(&self) -> Vec<u8> {
        self.writer.head()
    }

    /// How many tensors follow, [`Self::tensor`] 0 first.
    pub fn count(&self) -> usize {
        self.kinds.len()
    }

    /// The bytes of tensor number `index`, with the zeros that follow them.
    ///
    /// # Errors
    /// [`RequantiseError::Tensor`].
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn tensor(&self, index: usize) -> Result<Vec<u8>, RequantiseError> {
        let id = TensorId(index as u32);
        let (tensor, kind, data) = (self.weights.tensor(id), self.kinds[index], self.weights.data(id));
        let (size, padding) = self.writer.size(index);
        let mut out = vec![0; size + padding];
        if kind == tensor.kind {
            out[..size].copy_from_slice(data);
            return Ok(out);
        }
        let mut row = vec![0.0; tensor.dims[0]];
        let rows = out[..size].chunks_exact_mut(size / tensor.rows());
        for (blocks, out) in data.chunks_exact(tensor.row_bytes()).zip(rows) {
            quant::dequantise(tensor.kind, blocks, &mut row);
            quant::quantise(kind, &row, out)
                .map_err(|error| RequantiseError::Tensor { tensor: tensor.name.clone(), error })?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, sync::Arc};

    use super::*;

    fn model() -> Weights {
        let mut writer = Writer::new();
        writer.set("general.architecture", Meta::Str("llama".into())).set("llama.block_count", Meta::U32(1));
        writer.tensor("token_embd.weight", Kind::F32, &[256, 3]).tensor("output_norm.weight", Kind::F32, &[256]);
        let number = |i: usize| (((i * 7919) % 512) as f32 - 256.0) / 256.0;
        let bytes = writer.file(|name| {
            let rows = if name == "token_embd.weight" { 3 } else { 1 };
            (0..256 * rows).flat_map(|i| number(i).to_le_bytes()).collect()
        });
        super::super::weights(&[Arc::new(bytes)]).unwrap()
    }

    fn head() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.set("general.architecture", Meta::Str("llama".into())).set("split.count", Meta::U32(1));
        writer.head()
    }

    #[test]
    fn the_new_file_has_the_old_metadata_and_the_numbers_nearly() {
        let (head, weights) = (head(), model());
        let head = Gguf::parse(&head).unwrap();
        let new = Requantised::new(&head, &weights, Recipe::find("Q8_0").unwrap()).unwrap();
        let mut bytes = new.head();
        (0..new.count()).for_each(|index| bytes.extend(new.tensor(index).unwrap()));
        let file = Gguf::parse(&bytes).unwrap();
        assert_eq!(file.str("general.architecture"), Some("llama"));
        assert_eq!(file.u32("general.file_type"), Some(7));
        assert_eq!(file.u32("split.count"), None);
        let kinds: Vec<Kind> = file.tensors().iter().map(|tensor| tensor.kind).collect();
        assert_eq!(kinds, [Kind::Q8_0, Kind::F32]);
        let (mut old, mut now) = ([0.0; 768], [0.0; 768]);
        quant::dequantise(Kind::F32, weights.data(TensorId(0)), &mut old);
        let info = file.tensors()[0];
        quant::dequantise(Kind::Q8_0, &bytes[info.offset..info.offset + info.size], &mut now);
        assert!(old.iter().zip(&now).all(|(old, now)| (old - now).abs() < 0.005));
    }

    #[test]
    fn what_is_quantised_expands_to_f32_as_it_is() {
        let head = head();
        let head = Gguf::parse(&head).unwrap();
        let mut weights = Weights::new();
        let block: Vec<u8> = [0x00, 0x3c].into_iter().chain(1..=32).collect();
        weights.add_owned("blk.0.attn_q.weight", Kind::Q8_0, [32, 2, 1], block.repeat(2)).unwrap();
        let new = Requantised::new(&head, &weights, Recipe::find("F32").unwrap()).unwrap();
        let bytes = new.tensor(0).unwrap();
        let numbers = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
        assert!(numbers.eq((1..=32).chain(1..=32).map(|i| i as f32)));
    }

    #[test]
    fn what_is_quantised_already_is_refused_by_name() {
        let head = head();
        let head = Gguf::parse(&head).unwrap();
        let mut weights = Weights::new();
        weights.add_owned("blk.0.attn_q.weight", Kind::Q8_0, [32, 2, 1], vec![0; 68]).unwrap();
        let error = Requantised::new(&head, &weights, Recipe::find("Q4_0").unwrap()).err().unwrap();
        let text = "tensor \"blk.0.attn_q.weight\" is Q8_0 already; start from a file in F32, F16 or BF16";
        assert_eq!(error.to_string(), text);
    }
}
