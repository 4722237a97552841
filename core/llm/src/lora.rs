//! Low-rank adapters: small matrices that are added to the products of a model's weights.
//!
//! An adapter in GGUF has `general.type = "adapter"`, `adapter.type = "lora"`, `adapter.lora.alpha`, and for each weight
//! that it changes `NAME.lora_a` (`[x, rank]`) and `NAME.lora_b` (`[rank, out]`). It becomes two more products in the plan:
//! `out += scale * alpha / rank * B (A x)`; the model's own weights stay as they are, quantised. Applied, an adapter is part
//! of the model; attached, each sequence says how much of it it takes.
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

/// An adapter's matrices.
struct Adapter {
    pairs: Vec<Pair>,
    alpha: f32,
}

impl Adapter {
    /// Reads it, and adds its tensors to the weights.
    fn read(model: &Model, file: &Bytes, weights: &mut Weights) -> Result<Self, Error> {
        let head = Gguf::parse((**file).as_ref()).map_err(Error::File)?;
        if head.str("general.type") != Some("adapter") || head.str("adapter.type") != Some("lora") {
            return Err(Error::Type);
        }
        let architecture = head.str("general.architecture").unwrap_or_default();
        if architecture != model.facts.architecture {
            return Err(Error::Architecture { adapter: architecture.into(), model: model.facts.architecture.clone() });
        }
        let pairs = pairs(&head, file, weights)?;
        let is_used = |pair: &&Pair| {
            let of = |op: &Op| matches!(op, Op::Linear { weight, .. } if *weight == pair.target);
            model.plan.ops.iter().any(of)
        };
        match pairs.iter().find(|pair| !is_used(pair)) {
            Some(lost) => Err(Error::Target(weights.tensor(lost.target).name.clone())),
            None => Ok(Self { pairs, alpha: head.f32("adapter.lora.alpha").unwrap_or(0.0) }),
        }
    }

    /// The pair for a weight, and what its product is taken times by itself.
    fn pair(&self, weight: TensorId) -> Option<(&Pair, f32)> {
        let pair = self.pairs.iter().find(|pair| pair.target == weight)?;
        // Without an alpha the matrices are meant as they are.
        Some((pair, if self.alpha == 0.0 { 1.0 } else { self.alpha / pair.rank as f32 }))
    }

    fn rank(&self) -> usize {
        self.pairs.iter().map(|pair| pair.rank).max().unwrap_or(0)
    }
}

/// What an operation's product is taken times before it is added.
fn factor(write: Write) -> f32 {
    match write {
        Write::Set => 1.0,
        Write::Add(factor) => factor,
    }
}

/// The model with adapters that each sequence takes as much of as it says ([`Op::Adapt`]); an adapter's number is its
/// place in `files`, where `None` keeps a place free. Without any it is the model itself.
///
/// # Errors
/// [`Error`].
pub fn attach(model: &Model, files: &[Option<Bytes>]) -> Result<Model, Error> {
    let mut weights = (*model.weights).clone();
    let read = |file: &Option<Bytes>| file.as_ref().map(|file| Adapter::read(model, file, &mut weights)).transpose();
    let adapters = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut plan = (*model.plan).clone();
    let rank = adapters.iter().flatten().map(Adapter::rank).max().unwrap_or(0);
    plan.buffers.push(rank);
    let scratch = Slot { buffer: plan.buffers.len() - 1, column: 0, width: rank };
    let (mut ops, mut waiting) = (Vec::with_capacity(plan.ops.len()), Vec::new());
    let mut group = None;
    for op in plan.ops {
        // Products that read the same rows are computed together: what is added to them comes after all of them.
        let reads = match &op {
            Op::Linear { x, .. } => Some(*x),
            _ => None,
        };
        if reads != group {
            ops.append(&mut waiting);
        }
        group = reads;
        if let Op::Linear { weight, x, out, write, .. } = &op {
            for (adapter, it) in adapters.iter().enumerate() {
                let Some((pair, own)) = it.as_ref().and_then(|it| it.pair(*weight)) else { continue };
                let (inner, scale) = (scratch.band(0, pair.rank), factor(*write) * own);
                waiting.push(Op::Adapt { adapter, a: pair.a, b: pair.b, x: *x, inner, out: *out, scale });
            }
            // What writes beside its input ends a group.
            if out.buffer == x.buffer {
                group = None;
            }
        }
        ops.push(op);
        if group.is_none() {
            ops.append(&mut waiting);
        }
    }
    ops.append(&mut waiting);
    plan.ops = ops;
    Ok(Model { facts: model.facts.clone(), weights: Arc::new(weights), plan: Arc::new(plan) })
}

/// The model with the adapter in `file`, taken `scale` times.
///
/// # Errors
/// [`Error`].
pub fn apply(model: &Model, file: &Bytes, scale: f32) -> Result<Model, Error> {
    let mut weights = (*model.weights).clone();
    let adapter = Adapter::read(model, file, &mut weights)?;
    let mut plan = (*model.plan).clone();
    let rank = adapter.rank();
    plan.buffers.push(rank);
    let scratch = Slot { buffer: plan.buffers.len() - 1, column: 0, width: rank };
    let mut ops = Vec::with_capacity(plan.ops.len() + 2 * adapter.pairs.len());
    for op in plan.ops {
        let added = match &op {
            Op::Linear { weight, x, out, write, .. } => adapter.pair(*weight).map(|(pair, own)| {
                let inner = scratch.band(0, pair.rank);
                let down = Op::Linear { weight: pair.a, bias: None, x: *x, out: inner, write: Write::Set };
                let write = Write::Add(factor(*write) * own * scale);
                [down, Op::Linear { weight: pair.b, bias: None, x: inner, out: *out, write }]
            }),
            _ => None,
        };
        ops.push(op);
        ops.extend(added.into_iter().flatten());
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
