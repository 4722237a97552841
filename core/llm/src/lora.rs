//! Low-rank adapters: small matrices that are added to the products of a model's weights.
//!
//! An adapter in GGUF has `general.type = "adapter"`, `adapter.type = "lora"`, `adapter.lora.alpha`, and for each weight
//! that it changes `NAME.lora_a` (`[x, rank]`) and `NAME.lora_b` (`[rank, out]`). It becomes two more products in the plan:
//! `out += scale * alpha / rank * B (A x)`; the model's own weights stay as they are, quantised.
//!
//! Source: Hu et al. 2021 (LoRA), §4.1; llama.cpp `convert_lora_to_gguf.py` for the file.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    arch::Model,
    gguf::{self, Gguf},
    plan::{Op, Slot, Write},
    weights::{self, Bytes, TensorId, Weights},
};

/// Why an adapter was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// It is no sound GGUF file.
    File(gguf::Error),
    /// It is no LoRA adapter.
    Type,
    /// It was made for another architecture.
    Architecture { adapter: String, model: String },
    /// A half of a pair is missing, or does not fit the weight.
    Pair(String),
    /// It changes a weight that is no plain product of this model.
    Target(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Type => f.write_str("it is no LoRA adapter (general.type, adapter.type)"),
            Self::Architecture { adapter, model } => {
                write!(f, "it was made for {adapter:?}, and the model is {model:?}")
            }
            Self::Pair(name) => write!(f, "its matrices for {name:?} do not fit the weight"),
            Self::Target(name) => write!(f, "it changes {name:?}, which the model does not have or uses otherwise"),
        }
    }
}

impl core::error::Error for Error {}

/// One weight's adapter.
struct Pair {
    target: TensorId,
    a: TensorId,
    b: TensorId,
    rank: usize,
}

/// The model with the adapter in `file`, taken `scale` times.
///
/// # Errors
/// [`Error`].
pub fn apply(model: &Model, file: &Bytes, scale: f32) -> Result<Model, Error> {
    let head = Gguf::parse((**file).as_ref()).map_err(Error::File)?;
    if head.str("general.type") != Some("adapter") || head.str("adapter.type") != Some("lora") {
        return Err(Error::Type);
    }
    let architecture = head.str("general.architecture").unwrap_or_default();
    if architecture != model.facts.architecture {
        return Err(Error::Architecture { adapter: architecture.into(), model: model.facts.architecture.clone() });
    }
    let alpha = head.f32("adapter.lora.alpha").unwrap_or(0.0);
    let mut weights = (*model.weights).clone();
    let pairs = pairs(&head, file, &mut weights)?;
    let mut plan = (*model.plan).clone();
    let rank = pairs.iter().map(|pair| pair.rank).max().unwrap_or(0);
    plan.buffers.push(rank);
    let scratch = Slot { buffer: plan.buffers.len() - 1, column: 0, width: rank };
    let mut used = 0;
    let mut ops = Vec::with_capacity(plan.ops.len() + 2 * pairs.len());
    for op in plan.ops {
        let found = match &op {
            Op::Linear { weight, .. } => pairs.iter().find(|pair| pair.target == *weight),
            _ => None,
        };
        let added = match (&op, found) {
            (Op::Linear { x, out, write, .. }, Some(pair)) => {
                let factor = match write {
                    Write::Set => 1.0,
                    Write::Add(factor) => *factor,
                };
                // Without an alpha the matrices are meant as they are.
                let own = if alpha == 0.0 { 1.0 } else { alpha / pair.rank as f32 };
                let inner = scratch.band(0, pair.rank);
                let down = Op::Linear { weight: pair.a, bias: None, x: *x, out: inner, write: Write::Set };
                let write = Write::Add(factor * own * scale);
                let up = Op::Linear { weight: pair.b, bias: None, x: inner, out: *out, write };
                used += 1;
                Some([down, up])
            }
            _ => None,
        };
        ops.push(op);
        ops.extend(added.into_iter().flatten());
    }
    if used < pairs.len() {
        let lost = pairs
            .iter()
            .find(|pair| !ops.iter().any(|op| matches!(op, Op::Linear { weight, .. } if *weight == pair.a)));
        return Err(Error::Target(lost.map_or_else(String::new, |pair| weights.tensor(pair.target).name.clone())));
    }
    plan.ops = ops;
    Ok(Model { facts: model.facts.clone(), weights: Arc::new(weights), plan: Arc::new(plan) })
}

/// Adds the adapter's tensors to the weights, two by two.
fn pairs(head: &Gguf<'_>, file: &Bytes, weights: &mut Weights) -> Result<Vec<Pair>, Error> {
    let source = weights.add_source(file.clone());
    let mut pairs = Vec::new();
    for info in head.tensors() {
        let Some(name) = info.name.strip_suffix(".lora_a") else {
            if !info.name.ends_with(".lora_b") {
                return Err(Error::Target(info.name.into()));
            }
            continue;
        };
        let wrong = || Error::Pair(name.into());
        let other = format!("{name}.lora_b");
        let b = head.tensors().iter().find(|b| b.name == other).ok_or_else(wrong)?;
        let target = weights.find(name).ok_or_else(|| Error::Target(name.into()))?;
        let [width, rows, matrices] = weights.tensor(target).dims;
        let rank = info.dims[1];
        if info.dims != [width, rank, 1, 1] || b.dims != [rank, rows, 1, 1] || matrices != 1 {
            return Err(wrong());
        }
        let mut add = |info: &gguf::TensorInfo<'_>| {
            let dims = [info.dims[0], info.dims[1], 1];
            weights.add(info.name, info.kind, dims, source, info.offset).map_err(|_: weights::Error| wrong())
        };
        pairs.push(Pair { target, a: add(info)?, b: add(b)?, rank });
    }
    Ok(pairs)
}
