//! What a person wants to know of a model, read from its file.

use alloc::{format, string::String};

use super::Error;
use crate::{gguf::Gguf, quant::Kind, weights::Weights};

/// What is known of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`; empty where the file has none.
    pub name: String,
    /// Positions that it was trained with.
    pub context: usize,
    /// Width of the hidden state.
    pub embedding: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Elements of all its tensors.
    pub parameters: u64,
    /// How its weights are stored, as people call it: `Q4_K_M`.
    pub quantisation: String,
    /// How token vectors become one vector, where the file says that it makes embeddings.
    pub pooling: Option<Pooling>,
}

/// From the hidden states of a text's tokens to one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first token's (`[CLS]`).
    First,
    /// The last token's.
    Last,
}

impl Facts {
    /// Reads them from a file's head and its tensors.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Value`], [`Error::NoTensor`].
    pub fn read(head: &Gguf<'_>, weights: &Weights) -> Result<Self, Error> {
        let text = |key: &str| head.str(key).ok_or_else(|| Error::Missing(key.into()));
        let architecture = String::from(text("general.architecture")?);
        let number = |name: &str| {
            let key = format!("{architecture}.{name}");
            let value = head.u32(&key).ok_or_else(|| Error::Missing(key.clone()))? as usize;
            // Far beyond any model; keeps products of two of them inside a usize.
            let sound = (1..=1 << 24).contains(&value);
            if sound { Ok(value) } else { Err(Error::Value { key, why: "is out of range" }) }
        };
        let pooling = match head.u32(&format!("{architecture}.pooling_type")) {
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::First),
            Some(3) => Some(Pooling::Last),
            _ => None,
        };
        let table = weights.find("token_embd.weight").map(|id| weights.tensor(id).dims[1]);
        Ok(Self {
            name: head.str("general.name").unwrap_or_default().into(),
            context: number("context_length")?,
            embedding: number("embedding_length")?,
            layers: number("block_count")?,
            heads: number("attention.head_count").unwrap_or(1),
            vocabulary: table.ok_or_else(|| Error::NoTensor("token_embd.weight".into()))?,
            parameters: weights.iter().map(|(_, tensor)| tensor.len() as u64).sum(),
            quantisation: quantisation(head, weights),
            pooling,
            architecture,
        })
    }

    /// The count of parameters as people write it: `134.52M`, `8.0B`.
    pub fn size_label(&self) -> String {
        let n = self.parameters as f64;
        match self.parameters {
            0..1_000 => format!("{}", self.parameters),
            1_000..1_000_000 => format!("{:.2}K", n / 1e3),
            1_000_000..1_000_000_000 => format!("{:.2}M", n / 1e6),
            1_000_000_000..1_000_000_000_000 => format!("{:.1}B", n / 1e9),
            _ => format!("{:.1}T", n / 1e12),
        }
    }
}

/// The file type by its number (llama.cpp `llama_ftype`); else the element type that most weights have.
fn quantisation(head: &Gguf<'_>, weights: &Weights) -> String {
    let named = match head.u32("general.file_type") {
        Some(0) => "F32",
        Some(1) => "F16",
        Some(2) => "Q4_0",
        Some(3) => "Q4_1",
        Some(7) => "Q8_0",
        Some(8) => "Q5_0",
        Some(9) => "Q5_1",
        Some(10) => "Q2_K",
        Some(11) => "Q3_K_S",
        Some(12) => "Q3_K_M",
        Some(13) => "Q3_K_L",
        Some(14) => "Q4_K_S",
        Some(15) => "Q4_K_M",
        Some(16) => "Q5_K_S",
        Some(17) => "Q5_K_M",
        Some(18) => "Q6_K",
        Some(21) => "Q2_K_S",
        Some(25) => "IQ4_NL",
        Some(30) => "IQ4_XS",
        Some(32) => "BF16",
        Some(38) => "MXFP4",
        _ => "",
    };
    if !named.is_empty() {
        return named.into();
    }
    let elements = |kind: Kind| -> usize { weights.iter().filter(|(_, t)| t.kind == kind).map(|(_, t)| t.len()).sum() };
    Kind::ALL.into_iter().max_by_key(|&kind| elements(kind)).map_or("unknown", Kind::name).into()
}
