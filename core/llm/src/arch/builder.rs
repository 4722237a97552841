//! Reading keys, checking tensors, writing down operations.

use alloc::{format, string::String, vec::Vec};

use super::Error;
use crate::{
    gguf::{Gguf, Value},
    plan::{Cache, NormKind, Op, Plan, Slot, Write},
    quant::Kind,
    weights::{TensorId, Weights},
};

/// A plan that is being made.
pub(super) struct Builder<'a> {
    head: &'a Gguf<'a>,
    weights: &'a Weights,
    arch: &'a str,
    context: usize,
    plan: Plan,
}

impl<'a> Builder<'a> {
    pub(super) fn new(head: &'a Gguf<'a>, weights: &'a Weights, arch: &'a str, context: usize) -> Self {
        let output = Slot { buffer: 0, column: 0, width: 0 };
        let plan = Plan { buffers: Vec::new(), ops: Vec::new(), caches: Vec::new(), output };
        Self { head, weights, arch, context, plan }
    }

    pub(super) fn finish(self) -> Plan {
        self.plan
    }

    pub(super) fn arch(&self) -> &'a str {
        self.arch
    }

    /// Tokens of a conversation at most.
    pub(super) fn context(&self) -> usize {
        self.context
    }

    /// Positions that the model was trained with.
    pub(super) fn trained(&self) -> usize {
        self.number("context_length").unwrap_or(self.context)
    }

    // Keys. All begin with the architecture's name.

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    pub(super) fn refuse(&self, name: &str, why: &'static str) -> Error {
        Error::Value { key: self.key(name), why }
    }

    /// A number from 1 to 2^24.
    pub(super) fn number(&self, name: &str) -> Result<usize, Error> {
        match self.number_or(name, 0)? {
            0 => Err(Error::Missing(self.key(name))),
            n => Ok(n),
        }
    }

    /// Layers; each has a tensor, so there are never more than those.
    pub(super) fn layers(&self) -> Result<usize, Error> {
        let layers = self.number("block_count")?;
        if layers > self.weights.iter().count() {
            return Err(self.refuse("block_count", "is larger than the number of tensors"));
        }
        Ok(layers)
    }

    pub(super) fn number_or(&self, name: &str, default: usize) -> Result<usize, Error> {
        self.number_at(name, 0, default)
    }

    /// A number that may differ by layer: one value for all, or a list.
    pub(super) fn number_at(&self, name: &str, layer: usize, default: usize) -> Result<usize, Error> {
        let value = match self.head.get(&self.key(name)) {
            None => return Ok(default),
            Some(Value::Array(list)) => list.scalars().nth(layer).and_then(Value::as_u64),
            Some(value) => value.as_u64(),
        };
        let value = value.ok_or_else(|| Error::Missing(self.key(name)))?;
        if value > 1 << 24 { Err(self.refuse(name, "is out of range")) } else { Ok(value as usize) }
    }

    pub(super) fn float(&self, name: &str) -> Result<f32, Error> {
        let value = self.head.f32(&self.key(name)).ok_or_else(|| Error::Missing(self.key(name)))?;
        if value.is_finite() { Ok(value) } else { Err(self.refuse(name, "is no finite number")) }
    }

    pub(super) fn float_or(&self, name: &str, default: f32) -> Result<f32, Error> {
        if self.head.get(&self.key(name)).is_none() { Ok(default) } else { self.float(name) }
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.head.str(&self.key(name))
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.head.bool(&self.key(name)).unwrap_or(default)
    }

    /// Whether a layer uses a sliding window where the pattern is a list of flags.
    pub(super) fn flag_at(&self, name: &str, layer: usize) -> Option<bool> {
        let list = self.head.array(&self.key(name))?;
        list.i64s().nth(layer).map(|flag| flag != 0)
    }

    // Tensors.

    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.find(name).is_some()
    }

    /// The tensor `name` of just this shape; missing dimensions are 1.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<TensorId, Error> {
        self.optional(name, shape)?.ok_or_else(|| Error::NoTensor(name.into()))
    }

    pub(super) fn optional(&self, name: &str, shape: &[usize]) -> Result<Option<TensorId>, Error> {
        let Some(id) = self.weights.find(name) else {
            return Ok(None);
        };
        let mut wanted = [1; 3];
        wanted[..shape.len()].copy_from_slice(shape);
        let found = self.weights.tensor(id).dims;
        if found == wanted { Ok(Some(id)) } else { Err(Error::Shape { tensor: name.into(), wanted, found }) }
    }

    /// A list of `len` numbers that backends read as they are: f32.
    pub(super) fn list(&self, name: &str, len: usize) -> Result<Option<TensorId>, Error> {
        let found = self.optional(name, &[len])?;
        match found {
            Some(id) if self.weights.tensor(id).kind != Kind::F32 => {
                Err(Error::Value { key: name.into(), why: "is not stored as F32" })
            }
            found => Ok(found),
        }
    }

    pub(super) fn factors(&self, name: &str, len: usize) -> Result<Option<TensorId>, Error> {
        self.list(name, len)
    }

    /// Rows of a matrix whose row length is known and whose count is not.
    pub(super) fn rows(&self, name: &str) -> Result<usize, Error> {
        let id = self.weights.find(name).ok_or_else(|| Error::NoTensor(name.into()))?;
        Ok(self.weights.tensor(id).dims[1])
    }

    // Operations.

    pub(super) fn buffer(&mut self, width: usize) -> Slot {
        self.plan.buffers.push(width);
        Slot { buffer: self.plan.buffers.len() - 1, column: 0, width }
    }

    pub(super) fn cache(&mut self, cache: Cache) -> usize {
        self.plan.caches.push(cache);
        self.plan.caches.len() - 1
    }

    pub(super) fn push(&mut self, op: Op) {
        self.plan.ops.push(op);
    }

    pub(super) fn output(&mut self, output: Slot) {
        self.plan.output = output;
    }

    /// `out = W x + b` with `NAME.weight` and, where it is there, `NAME.bias`.
    pub(super) fn linear(&mut self, name: &str, x: Slot, out: Slot, write: Write) -> Result<(), Error> {
        let weight = self.tensor(&format!("{name}.weight"), &[x.width, out.width])?;
        let bias = self.list(&format!("{name}.bias"), out.width)?;
        self.push(Op::Linear { weight, bias, x, out, write });
        Ok(())
    }

    /// A norm over groups of `group` elements with `NAME.weight` and, where it is there, `NAME.bias`.
    pub(super) fn norm(
        &mut self,
        name: &str,
        kind: NormKind,
        group: usize,
        epsilon: f32,
        x: Slot,
        out: Slot,
    ) -> Result<(), Error> {
        let weight = self.list(&format!("{name}.weight"), group)?;
        let weight = Some(weight.ok_or_else(|| Error::NoTensor(format!("{name}.weight")))?);
        let bias = self.list(&format!("{name}.bias"), group)?;
        self.push(Op::Norm { kind, group, epsilon, weight, bias, x, out });
        Ok(())
    }
}
