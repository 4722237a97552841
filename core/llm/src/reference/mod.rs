//! The interpreter of plans that is right by inspection: scalar, in f32, one operation after the other.
//! Everything that computes faster is held against it.

mod attention;
mod elementwise;
mod experts;
mod linear;
mod rope;

use alloc::{sync::Arc, vec, vec::Vec};

use crate::{
    backend::{Backend, Batch, Fault, PAGE},
    plan::{Op, Plan, Row, Slot, Write},
    quant::dequantise,
    weights::{TensorId, Weights},
};

pub use elementwise::apply;
pub use experts::choose;
pub use rope::angles;

/// How large the interpreter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens of one step at most.
    pub tokens_max: usize,
    /// Pages of the caches.
    pub pages: usize,
}

/// An interpreter of one plan.
pub struct Reference {
    weights: Arc<Weights>,
    plan: Arc<Plan>,
    options: Options,
    /// One matrix a buffer, a row for each token.
    buffers: Vec<Vec<f32>>,
    caches: Vec<Rows>,
}

/// Keys and values of one layer: `PAGE` rows a page.
struct Rows {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Reference {
    /// An interpreter with empty caches. Memory grows with what is really used.
    pub fn new(weights: Arc<Weights>, plan: Arc<Plan>, options: Options) -> Self {
        let buffers = vec![Vec::new(); plan.buffers.len()];
        let caches = plan.caches.iter().map(|_| Rows { keys: Vec::new(), values: Vec::new() }).collect();
        Self { weights, plan, options, buffers, caches }
    }

    fn rows(&self, slot: Slot, rows: usize) -> Vec<f32> {
        let width = self.plan.buffers[slot.buffer];
        let buffer = &self.buffers[slot.buffer];
        (0..rows).flat_map(|row| &buffer[row * width + slot.column..][..slot.width]).copied().collect()
    }

    /// Writes rows back, one value at a time.
    fn write(&mut self, slot: Slot, rows: &[f32], mut put: impl FnMut(&mut f32, f32)) {
        let width = self.plan.buffers[slot.buffer];
        let buffer = &mut self.buffers[slot.buffer];
        for (row, values) in rows.chunks_exact(slot.width).enumerate() {
            for (old, &new) in buffer[row * width + slot.column..][..slot.width].iter_mut().zip(values) {
                put(old, new);
            }
        }
    }

    fn set(&mut self, slot: Slot, rows: &[f32]) {
        self.write(slot, rows, |old, new| *old = new);
    }

    /// Row `row` of a matrix, decoded.
    fn table_row(&self, table: TensorId, row: usize) -> Vec<f32> {
        decode_row(&self.weights, table, row)
    }

    /// A small tensor in full: biases, norm weights.
    fn list(&self, id: TensorId) -> Vec<f32> {
        (0..self.weights.tensor(id).rows()).flat_map(|row| self.table_row(id, row)).collect()
    }

    fn run(&mut self, op: &Op, batch: &Batch<'_>, rows: &mut usize) {
        let n = *rows;
        match op {
            Op::Embed { table, scale, out } => {
                let values: Vec<f32> = batch
                    .tokens
                    .iter()
                    .flat_map(|token| self.table_row(*table, token.id as usize))
                    .map(|value| value * scale)
                    .collect();
                self.set(*out, &values);
            }
            Op::AddRow { table, row, out } => {
                let values: Vec<f32> = batch
                    .tokens
                    .iter()
                    .flat_map(|token| match row {
                        Row::Position => self.table_row(*table, token.position as usize),
                        Row::Fixed(row) => self.table_row(*table, *row as usize),
                    })
                    .collect();
                self.write(*out, &values, |old, new| *old += new);
            }
            Op::Norm { kind, group, epsilon, weight, bias, x, out } => {
                let mut values = self.rows(*x, n);
                let weight = weight.map(|id| self.list(id));
                let bias = bias.map(|id| self.list(id));
                for group in values.chunks_exact_mut(*group) {
                    elementwise::norm(*kind, *epsilon, weight.as_deref(), bias.as_deref(), group);
                }
                self.set(*out, &values);
            }
            Op::Linear { weight, bias, x, out, write } => {
                let values = self.rows(*x, n);
                let bias = bias.map(|id| self.list(id));
                let result = linear::multiply(&self.weights, *weight, 0, bias.as_deref(), &values);
                match *write {
                    Write::Set => self.set(*out, &result),
                    Write::Add(factor) => self.write(*out, &result, |old, new| *old += factor * new),
                }
            }
            Op::Adapt { adapter, a, b, x, inner: _, out, scale } => {
                let mut shares = Vec::new();
                batch.shares_of(*adapter, n, &mut shares);
                if shares.is_empty() {
                    return;
                }
                let mut inner = linear::multiply(&self.weights, *a, 0, None, &self.rows(*x, n));
                let width = inner.len() / n;
                for (row, share) in inner.chunks_exact_mut(width).zip(shares) {
                    row.iter_mut().for_each(|value| *value = if share == 0.0 { 0.0 } else { *value * share });
                }
                let result = linear::multiply(&self.weights, *b, 0, None, &inner);
                self.write(*out, &result, |old, new| *old += scale * new);
            }
            Op::Rope { rope, x } => {
                let mut values = self.rows(*x, n);
                let factors = rope.factors.map(|id| self.list(id));
                for (row, token) in values.chunks_exact_mut(x.width).zip(batch.tokens) {
                    let angles: Vec<_> = rope::angles(rope, factors.as_deref(), token.position).collect();
                    row.chunks_exact_mut(rope.head).for_each(|head| rope::turn(rope, &angles, head));
                }
                self.set(*x, &values);
            }
            Op::Attention { attention, q, k, v, out } => {
                let (q, k, v) = (self.rows(*q, n), self.rows(*k, n), self.rows(*v, n));
                let sinks = attention.sinks.map(|id| self.list(id));
                let result = attention::attend(attention, sinks.as_deref(), &mut self.caches, batch, &q, &k, &v);
                self.set(*out, &result);
            }
            Op::Activate { function, x } => {
                let mut values = self.rows(*x, n);
                values.iter_mut().for_each(|value| *value = apply(*function, *value, 0.0));
                self.set(*x, &values);
            }
            Op::Gated { function, gate, up, out } => {
                let up = self.rows(*up, n);
                let mut values = self.rows(*gate, n);
                values.iter_mut().zip(up).for_each(|(gate, up)| *gate = elementwise::gated(*function, *gate, up));
                self.set(*out, &values);
            }
            Op::Experts { experts, x, out } => {
                let values = self.rows(*x, n);
                let result = experts::mix(&self.weights, experts, x.width, &values);
                self.write(*out, &result, |old, new| *old += new);
            }
            Op::Add { scale, x, out } => {
                let values = self.rows(*x, n);
                self.write(*out, &values, |old, new| *old += scale * new);
            }
            Op::Scale { scale, x, out } => {
                let values = self.rows(*x, n);
                self.write(*out, &values, |old, new| *old = scale * new);
            }
            Op::Softcap { cap, x } => {
                let values = self.rows(*x, n);
                self.write(*x, &values, |old, new| *old = cap * libm::tanhf(new / cap));
            }
            Op::Select { x, out } => {
                let values = self.rows(*x, n);
                let kept = values.chunks_exact(x.width).zip(batch.tokens).filter(|(_, token)| token.output);
                let kept: Vec<f32> = kept.flat_map(|(row, _)| row).copied().collect();
                *rows = kept.len() / x.width;
                self.set(*out, &kept);
            }
        }
    }

    /// Runs the first operations, so many, and gives out what then lies in a slot.
    fn run_until(&mut self, (count, slot): (usize, Slot), batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        out.clear();
        batch.check(&self.plan, &self.weights, self.options.tokens_max, self.options.pages)?;
        self.reserve(batch);
        let plan = Arc::clone(&self.plan);
        let mut rows = batch.tokens.len();
        for op in &plan.ops[..count] {
            self.run(op, batch, &mut rows);
            if rows == 0 {
                return Ok(());
            }
        }
        out.extend(self.rows(slot, rows));
        Ok(())
    }

    /// Makes room for `tokens` rows and for the pages that the batch names.
    fn reserve(&mut self, batch: &Batch<'_>) {
        for (buffer, width) in self.buffers.iter_mut().zip(&self.plan.buffers) {
            buffer.resize(batch.tokens.len() * width, 0.0);
        }
        let pages = batch.tables.iter().flat_map(|table| table.iter()).max().map_or(0, |&page| page as usize + 1);
        for (rows, cache) in self.caches.iter_mut().zip(&self.plan.caches) {
            let grow = |list: &mut Vec<f32>, width: usize| {
                if list.len() < pages * PAGE * width {
                    list.resize(pages * PAGE * width, 0.0);
                }
            };
            grow(&mut rows.keys, cache.heads * cache.key);
            grow(&mut rows.values, cache.heads * cache.value);
        }
    }
}

impl Backend for Reference {
    fn tokens_max(&self) -> usize {
        self.options.tokens_max
    }

    fn pages(&self) -> usize {
        self.options.pages
    }

    fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        let end = (self.plan.ops.len(), self.plan.output);
        self.run_until(end, batch, out)
    }

    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        self.run_until(self.plan.states(), batch, out)
    }

    fn replan(&mut self, weights: Arc<Weights>, plan: Arc<Plan>) -> Result<(), Fault> {
        if plan.caches != self.plan.caches || plan.output != self.plan.output {
            return Err(Fault::Batch);
        }
        self.buffers = vec![Vec::new(); plan.buffers.len()];
        (self.weights, self.plan) = (weights, plan);
        Ok(())
    }
}

/// Row `row` of a tensor, counted over all its matrices.
fn decode_row(weights: &Weights, id: TensorId, row: usize) -> Vec<f32> {
    let tensor = weights.tensor(id);
    let bytes = tensor.row_bytes();
    let mut out = vec![0.0; tensor.dims[0]];
    dequantise(tensor.kind, &weights.data(id)[row * bytes..][..bytes], &mut out);
    out
}
