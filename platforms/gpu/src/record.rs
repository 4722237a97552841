//! From a plan to a program: where everything lies, which kernels run, and what is fused.
//!
//! | in the plan | one dispatch |
//! |---|---|
//! | products of the same x, side by side, in one format | a taller product |
//! | ropes of q and k, then attention | turning, and writing to the cache |
//! | a norm, then its result added, then a norm of that | one norm |
//! | norms of the heads of q and of k | one norm |
//! | gate and up of experts, then their function | one product |

use core::fmt;
use std::{collections::BTreeMap, ops::Range};

use tutu_llm::{
    plan::{Attention, Experts, Function, Gating, NormKind, Op, Pairs, Plan, Rope, Row, Slot, Write},
    quant::{Kind, dequantise},
    weights::{TensorId, Weights},
};

use crate::{
    caps::Caps,
    kernel::{BEST_GROUPS, BEST_KEPT, BLOCK, Kernel, LANES, SWEEP_LANES, is_float},
    pack::OCTET,
    program::{Dispatch, Grid, Moves, NONE, PARAMS, Params, Part, Program, Region},
    touch::{covers, overlap, reads, touches, written},
};

/// How large a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Tokens of a step at most.
    pub tokens: usize,
    /// Pages of the caches.
    pub pages: usize,
}

/// Why a plan was not recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Something that must lie in one piece is larger than the device takes.
    Binding {
        /// What.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// What the device takes.
        most: usize,
    },
    /// The plan uses more of something than kernels know.
    Shape(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binding { what, bytes, most } => {
                write!(f, "{what} would take {bytes} bytes in one piece, and the device takes {most}")
            }
            Self::Shape(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for Error {}

/// Ropes whose angles a step can carry.
const ROPES_MAX: usize = 10;
/// Most outputs of a step: a row of logits may take half a megabyte, and few steps want more than one for each text.
const OUTPUTS_MAX: usize = 128;
/// Tokens times segments of attention that there is scratch for.
const SEGMENTS_MAX: usize = 128;

/// Records a plan.
///
/// # Errors
/// [`Error`].
pub fn record(weights: &Weights, plan: &Plan, size: Size, caps: Caps) -> Result<Program, Error> {
    record_from(weights, plan, 0, size, caps)
}

/// Records the operations of a plan from number `first` on.
///
/// # Errors
/// [`Error`].
pub fn record_from(weights: &Weights, plan: &Plan, first: usize, size: Size, caps: Caps) -> Result<Program, Error> {
    let mut recorder = Recorder::new(weights, plan, first, size, caps)?;
    let (until, states) = plan.states();
    let mut at = first;
    while at < plan.ops.len() {
        // What is fused never goes over the head of a model: a product begins there.
        if at <= until {
            recorder.program.states = (recorder.program.dispatches.len(), recorder.region(states));
        }
        at += recorder.op(at)?;
    }
    if until == plan.ops.len() {
        recorder.program.states = (recorder.program.dispatches.len(), recorder.region(states));
    }
    recorder.finish()
}

struct Recorder<'a> {
    weights: &'a Weights,
    plan: &'a Plan,
    size: Size,
    caps: Caps,
    buffers: Vec<Region>,
    program: Program,
    lists: BTreeMap<Vec<TensorId>, usize>,
    /// By its pieces and whether it must be cut between experts.
    matrices: BTreeMap<Vec<(TensorId, usize, usize)>, Vec<Cut>>,
    selected: bool,
    /// The adapter whose operations are recorded.
    adapter: Option<usize>,
    segments: Option<usize>,
}

/// A part of a matrix: which one, and its first row.
#[derive(Clone, Copy)]
struct Cut {
    part: usize,
    first: usize,
}

impl<'a> Recorder<'a> {
    fn new(weights: &'a Weights, plan: &'a Plan, first: usize, size: Size, caps: Caps) -> Result<Self, Error> {
        let mut program = Program { outputs_max: size.tokens, ..Program::default() };
        // Buffers of outputs alone may need fewer rows: the logits of all tokens of a step can be too many for one binding.
        let select = plan.ops.iter().position(|op| matches!(op, Op::Select { .. }));
        let late = |buffer: usize| {
            select.is_some_and(|at| {
                !plan.ops[first.min(at)..at].iter().any(|op| touches(op).any(|slot| slot.buffer == buffer))
            })
        };
        let row = |late_ones: bool| -> usize {
            let widths = plan.buffers.iter().enumerate().filter(|(i, _)| late(*i) == late_ones);
            widths.map(|(_, width)| width.next_multiple_of(4)).sum()
        };
        // A quarter of the binding is left for scratch.
        let room = (caps.binding / 4 * 3 / 4).saturating_sub(row(false) * size.tokens);
        if row(true) > 0 {
            program.outputs_max = (room / row(true)).min(size.tokens).min(OUTPUTS_MAX);
        }
        if program.outputs_max == 0 || row(false) * size.tokens * 4 > caps.binding {
            let bytes = (row(false) * size.tokens + row(true)) * 4;
            return Err(Error::Binding { what: "the activations of a step", bytes, most: caps.binding });
        }
        let mut buffers = Vec::with_capacity(plan.buffers.len());
        for (i, width) in plan.buffers.iter().enumerate() {
            let rows = if late(i) { program.outputs_max } else { size.tokens };
            let stride = width.next_multiple_of(4);
            buffers.push(Region { at: program.acts, stride, width: *width });
            program.acts += stride * rows;
        }
        // Caches of a half that runs elsewhere take no memory here.
        let used = |i: usize| {
            let here = |op: &Op| matches!(op, Op::Attention { attention, .. } if attention.cache == Some(i));
            plan.ops[first..].iter().any(here)
        };
        let words = plan.caches.iter().enumerate().map(|(i, cache)| {
            if used(i) { [cache.key, cache.value].map(|n| cache.heads * n.div_ceil(2)) } else { [0; 2] }
        });
        program.caches = words.collect();
        for words in program.caches.iter().flatten() {
            let bytes = words * 4 * size.pages * tutu_llm::backend::PAGE;
            if bytes > caps.binding {
                return Err(Error::Binding { what: "the keys of a layer", bytes, most: caps.binding });
            }
        }
        Ok(Self {
            weights,
            plan,
            size,
            caps,
            buffers,
            program,
            lists: BTreeMap::new(),
            matrices: BTreeMap::new(),
            selected: false,
            adapter: None,
            segments: None,
        })
    }

    fn finish(mut self) -> Result<Program, Error> {
        self.program.output = self.region(self.plan.output);
        self.program.buffers = self.buffers.clone();
        self.program.selects = self.selected;
        if self.selected {
            self.best();
        }
        self.program.segments_max = SEGMENTS_MAX.max(self.size.tokens);
        self.program.attention_groups = self.program.attention_groups.max(1);
        for (what, bytes) in
            [("the activations of a step", self.program.acts * 4), ("the small tensors", self.program.lists.len() * 4)]
        {
            if bytes > self.caps.binding {
                return Err(Error::Binding { what, bytes, most: self.caps.binding });
            }
        }
        if self.program.ropes.len() > ROPES_MAX {
            return Err(Error::Shape("the model has more kinds of rotary embedding than a step carries"));
        }
        Ok(self.program)
    }

    /// The largest elements of the result, for whoever needs no more.
    fn best(&mut self) {
        let x = self.program.output;
        let out = self.scratch(self.program.outputs_max, BEST_GROUPS * BEST_KEPT * 2);
        let params = [x.params(), out.params(), [x.width as u32, 0]].concat();
        let moves = Moves { read: x.width, written: out.width };
        self.push(Kernel::Best { subgroups: self.caps.subgroups }, &params, Grid::Best(BEST_GROUPS as u32), moves);
        self.program.best = Some(out);
    }

    fn region(&self, slot: Slot) -> Region {
        let buffer = self.buffers[slot.buffer];
        Region { at: buffer.at + slot.column, stride: buffer.stride, width: slot.width }
    }

    /// Memory beside the plan's buffers: `rows` rows of `width`.
    fn scratch(&mut self, rows: usize, width: usize) -> Region {
        let stride = width.next_multiple_of(4);
        let region = Region { at: self.program.acts, stride, width };
        self.program.acts += rows * stride;
        region
    }

    fn push(&mut self, kernel: Kernel, params: &[u32], grid: Grid, moves: Moves) -> &mut Dispatch {
        self.program.dispatches.push(Dispatch {
            kernels: vec![(u32::MAX, kernel)],
            params: Params::new(params),
            part: None,
            cache: None,
            grid,
            selected: self.selected,
            adapter: self.adapter,
            moves,
        });
        self.program.dispatches.last_mut().expect("just pushed")
    }

    /// Where a small tensor begins among the lists; several are laid one after the other, row by row of the last dimension.
    fn list(&mut self, ids: &[Option<TensorId>]) -> u32 {
        let Some(ids) = ids.iter().copied().collect::<Option<Vec<TensorId>>>() else { return NONE };
        if let Some(&at) = self.lists.get(&ids) {
            return at as u32;
        }
        let at = self.program.lists.len();
        let decoded: Vec<(usize, Vec<f32>)> =
            ids.iter().map(|&id| (self.weights.tensor(id).dims[0], decode(self.weights, id))).collect();
        // One list as it is; several (of experts) as one would have them: a row of the first, a row of the second, ...
        let rows = decoded.iter().map(|(width, list)| list.len() / (*width).max(1)).min().unwrap_or(0);
        for row in 0..rows {
            for (width, list) in &decoded {
                self.program.lists.extend_from_slice(&list[row * width..][..*width]);
            }
        }
        self.lists.insert(ids, at);
        at as u32
    }

    /// Parts of the matrix that the pieces make, each with a binding of its own; cut between multiples of `each` rows.
    fn matrix(&mut self, pieces: Vec<(TensorId, Range<usize>)>, each: usize) -> Result<Vec<Cut>, Error> {
        let key: Vec<_> = pieces.iter().map(|(id, rows)| (*id, rows.start, rows.end)).collect();
        if let Some(cuts) = self.matrices.get(&key) {
            return Ok(cuts.clone());
        }
        let tensor = self.weights.tensor(pieces[0].0);
        let (kind, width) = (tensor.kind, tensor.dims[0]);
        let row: usize = crate::pack::row_bytes(kind, width).iter().sum();
        // Each plane may end in a word that is not full.
        let most = (self.caps.binding - 16) / row.max(1) / each * each;
        if most == 0 {
            return Err(Error::Binding { what: "a matrix of the model", bytes: row * each, most: self.caps.binding });
        }
        let mut cuts = Vec::new();
        let mut part = Part { kind, width, pieces: Vec::new() };
        let mut done = 0;
        for (id, rows) in pieces {
            let mut first = rows.start;
            while first < rows.end {
                let room = most - part.rows();
                let end = (first + room).min(rows.end);
                part.pieces.push((id, first..end));
                first = end;
                if part.rows() == most {
                    let full = core::mem::replace(&mut part, Part { kind, width, pieces: Vec::new() });
                    cuts.push(Cut { part: self.program.parts.len(), first: done });
                    done += full.rows();
                    self.program.parts.push(full);
                }
            }
        }
        if !part.pieces.is_empty() {
            cuts.push(Cut { part: self.program.parts.len(), first: done });
            self.program.parts.push(part);
        }
        self.matrices.insert(key, cuts.clone());
        Ok(cuts)
    }

    /// All rows of a tensor.
    fn all(&self, id: TensorId) -> (TensorId, Range<usize>) {
        (id, 0..self.weights.tensor(id).rows())
    }

    /// The parameters that kernels with weights begin with: shape and planes, x, out, and how it is written.
    fn product(&self, cut: Cut, x: Region, out: Region, bias: u32, add: Option<f32>) -> [u32; PARAMS] {
        let part = &self.program.parts[cut.part];
        let planes = part.planes();
        let mut all = [0; PARAMS];
        let list = [
            part.width as u32,
            part.width.div_ceil(OCTET) as u32,
            part.rows() as u32,
            planes[1] as u32,
            planes[2] as u32,
            planes[3] as u32,
            x.at as u32,
            x.stride as u32,
            out.at as u32,
            out.stride as u32,
            u32::from(self.selected),
            bias,
            u32::from(add.is_some()),
            add.unwrap_or(1.0).to_bits(),
        ];
        all[..list.len()].copy_from_slice(&list);
        all
    }

    /// Records the operation `at`, and those after it that go with it; answers how many.
    fn op(&mut self, at: usize) -> Result<usize, Error> {
        match &self.plan.ops[at] {
            Op::Embed { table, scale, out } => self.embed(*table, [0, 0], None, *scale, *out)?,
            Op::AddRow { table, row, out } => {
                let by = match row {
                    Row::Position => [1, 0],
                    Row::Fixed(row) => [2, *row],
                };
                self.embed(*table, by, Some(1.0), 1.0, *out)?;
            }
            Op::Norm { .. } => return Ok(self.norm(at)),
            Op::Linear { .. } => return self.linear(at),
            Op::Adapt { adapter, a, b, x, inner, out, scale } => {
                self.adapter = Some(*adapter);
                self.program.adapters = self.program.adapters.max(adapter + 1);
                let (x, inner, out) = (self.region(*x), self.region(*inner), self.region(*out));
                self.multiply(vec![self.all(*a)], NONE, x, inner, None)?;
                let tail = [inner.width as u32, *adapter as u32, u32::from(self.selected)];
                let params = [&inner.params()[..], &tail[..]].concat();
                let grid = Grid::Each(inner.width.div_ceil(LANES as usize) as u32);
                self.push(Kernel::Share, &params, grid, Moves { read: inner.width, written: inner.width });
                self.multiply(vec![self.all(*b)], NONE, inner, out, Some(*scale))?;
                self.adapter = None;
            }
            Op::Rope { rope, x } => return self.rope(at, rope, *x),
            Op::Attention { attention, q, k, v, out } => self.attention(attention, None, [*q, *k, *v, *out])?,
            Op::Activate { function, x } => self.map(code(*function), operands(*function), None, *x, *x),
            Op::Gated { function, gate, up, out } => {
                self.map(code(*function), operands(*function), Some(*up), *gate, *out);
            }
            Op::Experts { experts, x, out } => self.experts(experts, *x, *out)?,
            Op::Add { scale, x, out } => self.map(ADD, [*scale, 0.0], None, *x, *out),
            Op::Scale { scale, x, out } => self.map(SCALE, [*scale, 0.0], None, *x, *out),
            Op::Softcap { cap, x } => self.map(SOFTCAP, [*cap, 0.0], None, *x, *x),
            Op::Select { x, out } => {
                self.selected = true;
                let (x, out) = (self.region(*x), self.region(*out));
                let params = [x.params(), out.params(), [x.width as u32, 0]].concat();
                let grid = Grid::Each(x.width.div_ceil(LANES as usize) as u32);
                self.push(Kernel::Select, &params, grid, Moves { read: x.width, written: x.width });
            }
        }
        Ok(1)
    }

    fn embed(&mut self, table: TensorId, by: [u32; 2], add: Option<f32>, scale: f32, out: Slot) -> Result<(), Error> {
        let out = self.region(out);
        for cut in self.matrix(vec![self.all(table)], 1)? {
            let part = &self.program.parts[cut.part];
            let (kind, octets) = (part.kind, part.width.div_ceil(OCTET));
            let mut params = self.product(cut, out, out, NONE, add);
            params[13] = scale.to_bits();
            params[20..23].copy_from_slice(&[by[0], by[1], cut.first as u32]);
            let grid = Grid::Each(octets.div_ceil(LANES as usize) as u32);
            let read = if add.is_some() { out.width } else { 0 };
            self.push(Kernel::Embed { kind }, &params, grid, Moves { read, written: out.width }).part = Some(cut.part);
        }
        Ok(())
    }

    /// A norm, with what goes with it: the same norm of the heads beside it; or the residual connection after it, and the
    /// norm of that.
    fn norm(&mut self, at: usize) -> usize {
        let Op::Norm { kind, group, epsilon, weight, bias, x, out } = &self.plan.ops[at] else {
            unreachable!("called for norms")
        };
        let (mut width, mut second, mut to, mut add, mut used) = (x.width, None, *out, None, 1);
        let mut next: Option<(f32, Option<TensorId>, Slot)> = None;
        match &self.plan.ops[at + 1..] {
            [Op::Norm { kind: k, group: g, epsilon: e, weight: w, bias: None, x: from, out: into }, ..]
                if (k, g, e) == (kind, group, epsilon)
                    && bias.is_none()
                    && w.is_some() == weight.is_some()
                    && x == out
                    && from == into
                    && from.buffer == x.buffer
                    && from.column == x.column + x.width =>
            {
                second = Some((width / group, *w));
                width += from.width;
                used = 2;
            }
            // The sum, where nobody else reads what is added.
            [Op::Add { scale, x: added, out: stream }, rest @ ..]
                if added == out && stream.buffer != x.buffer && self.dead_after(at + 1, *out) =>
            {
                (to, add, used) = (*stream, Some(*scale), 2);
                if let [
                    Op::Norm { kind: NormKind::Rms, group: g, epsilon: e, weight: w, bias: None, x: from, out: into },
                    ..,
                ] = rest
                    && from == stream
                    && (g, *group) == (&from.width, from.width)
                    && into.buffer != from.buffer
                {
                    (next, used) = (Some((*e, *w, *into)), 3);
                }
            }
            _ => {}
        }
        let (weight, bias) = (self.list(&[*weight]), self.list(&[*bias]));
        let (split, other) = second.map_or((NONE, NONE), |(split, weight)| (split as u32, self.list(&[weight])));
        let (x, out) = (self.region(*x), self.region(to));
        let lanes = match self.software_subgroup() {
            // A workgroup that is one subgroup waits for nobody.
            Some(true) => 8,
            Some(false) => 4,
            None if *group >= 512 => 256,
            None => 64,
        };
        let mut tail = vec![
            *group as u32,
            weight,
            bias,
            u32::from(add.is_some()),
            epsilon.to_bits(),
            add.unwrap_or(1.0).to_bits(),
            split,
            other,
        ];
        if let Some((epsilon, weight, into)) = next {
            let into = self.region(into);
            tail.extend([1, into.at as u32, into.stride as u32, self.list(&[weight]), epsilon.to_bits()]);
        }
        let params = [&x.params()[..], &out.params()[..], &tail[..]].concat();
        let subgroups = self.caps.subgroups;
        let kernel = Kernel::Norm { layer: *kind == NormKind::Layer, lanes, subgroups };
        let more = if next.is_some() { width } else { 0 };
        let read = width + 2 * group + if add.is_some() { width } else { 0 } + more;
        self.push(kernel, &params, Grid::Each((width / group) as u32), Moves { read, written: width + more });
        used
    }

    /// Whether what lies in `slot` after operation `at` is written anew before anybody reads it.
    fn dead_after(&self, at: usize, slot: Slot) -> bool {
        for op in &self.plan.ops[at + 1..] {
            if reads(op).any(|read| overlap(read, slot)) {
                return false;
            }
            if written(op).is_some_and(|out| out.buffer == slot.buffer && covers(out, slot)) {
                return true;
            }
        }
        !overlap(self.plan.output, slot)
    }

    fn linear(&mut self, at: usize) -> Result<usize, Error> {
        let Op::Linear { weight, bias, x, out, write } = &self.plan.ops[at] else {
            unreachable!("called for products")
        };
        let (mut pieces, mut biases, mut wide) = (vec![self.all(*weight)], vec![*bias], *out);
        let (kind, dims) = (self.weights.tensor(*weight).kind, self.weights.tensor(*weight).dims);
        for op in &self.plan.ops[at + 1..] {
            match op {
                Op::Linear { weight: next, bias: b, x: from, out: to, write: how }
                    if from == x
                        && how == write
                        && to.buffer == wide.buffer
                        && to.column == wide.column + wide.width
                        && to.buffer != x.buffer
                        && b.is_some() == bias.is_some()
                        && self.weights.tensor(*next).kind == kind
                        && self.weights.tensor(*next).dims[0] == dims[0] =>
                {
                    pieces.push(self.all(*next));
                    biases.push(*b);
                    wide.width += to.width;
                }
                _ => break,
            }
        }
        let used = pieces.len();
        let bias = self.list(&biases);
        let (from, out) = (self.region(*x), self.region(wide));
        let add = match *write {
            Write::Set => None,
            Write::Add(factor) => Some(factor),
        };
        self.multiply(pieces, bias, from, out, add)?;
        Ok(used)
    }

    /// A product with the matrix that the pieces make: `out = W x + bias`, or `out += add (W x + bias)`.
    fn multiply(
        &mut self,
        pieces: Vec<(TensorId, Range<usize>)>,
        bias: u32,
        from: Region,
        out: Region,
        add: Option<f32>,
    ) -> Result<(), Error> {
        let kind = self.weights.tensor(pieces[0].0).kind;
        for cut in self.matrix(pieces, 1)? {
            let rows = self.program.parts[cut.part].rows();
            let to = Region { at: out.at + cut.first, ..out };
            let bias = if bias == NONE { NONE } else { bias + cut.first as u32 };
            let params = self.product(cut, from, to, bias, add);
            let read = from.width + if add.is_some() { rows } else { 0 } + if bias == NONE { 0 } else { rows };
            let kernels = self.product_kernels(kind, from);
            let grid = Grid::Product(rows as u32);
            let dispatch = self.push(Kernel::Select, &params, grid, Moves { read, written: rows });
            dispatch.part = Some(cut.part);
            dispatch.kernels = kernels;
        }
        Ok(())
    }

    /// Of a processor that plays a GPU, whether its subgroups have eight invocations and not four; `None` where neither.
    fn software_subgroup(&self) -> Option<bool> {
        let known = self.caps.subgroup.filter(|_| self.caps.software && self.caps.subgroups)?;
        [4, 8].contains(&known).then_some(known == 8)
    }

    /// Invocations of each subgroup of a GPU that is none in software, where that is always the same.
    fn subgroup(&self) -> Option<u32> {
        let known = self.caps.subgroup.filter(|_| self.caps.subgroups && !self.caps.software);
        known.filter(|n| SWEEP_LANES.is_multiple_of(*n))
    }

    /// Which kernel multiplies how many tokens.
    fn product_kernels(&self, kind: Kind, x: Region) -> Vec<(u32, Kernel)> {
        let (aligned, subgroups) = (x.aligned(), self.caps.subgroups);
        if self.caps.software {
            let wide = self.software_subgroup().filter(|_| aligned && x.width.is_multiple_of(BLOCK));
            return [1, 2, 4, 8]
                .map(|tokens| match wide {
                    Some(wide) => (tokens, Kernel::Blocks { kind, tokens, wide }),
                    None => (tokens, Kernel::Rows { kind, tokens, aligned }),
                })
                .to_vec();
        }
        // Numbers can be narrow where there are quanta; variants of them are for the usual case.
        let narrow = aligned && !is_float(kind);
        let packed = self.caps.packed && narrow && subgroups;
        let sweep = self.subgroup().filter(|_| packed && x.width.is_multiple_of(BLOCK));
        let few = [1, 2, 4, 8].map(|tokens| match sweep {
            Some(subgroup) => (tokens, Kernel::Sweep { kind, tokens, subgroup }),
            None => (tokens, Kernel::Matvec { kind, tokens, aligned, subgroups, packed }),
        });
        // What a file has in f32 (the routers of experts) is not rounded.
        let whole = aligned && x.width.is_multiple_of(BLOCK);
        let matrices = self.caps.matrices.filter(|matrices| whole && !(matrices.halves && kind == Kind::F32));
        let many = match matrices {
            Some(matrices) => Kernel::MatmulMatrices { kind, matrices },
            None if narrow && self.caps.packed => Kernel::MatmulNarrow { kind, packed: true },
            None if narrow && self.caps.halves => Kernel::MatmulNarrow { kind, packed: false },
            None => Kernel::Matmul { kind, aligned },
        };
        few.into_iter().chain([(u32::MAX, many)]).collect()
    }

    /// Ropes of q and k right before an attention with a cache go with it.
    fn rope(&mut self, at: usize, rope: &Rope, x: Slot) -> Result<usize, Error> {
        if let [Op::Rope { rope: other, x: second }, Op::Attention { attention, q, k, v, out }, ..] =
            &self.plan.ops[at + 1..]
            && (other, second, q) == (rope, k, &x)
            && attention.cache.is_some()
            && rope.head == attention.key
            && self.dead_after(at + 2, *k)
        {
            self.attention(attention, Some(rope), [*q, *k, *v, *out])?;
            return Ok(3);
        }
        let index = self.angles(rope);
        let region = self.region(x);
        let pairs = x.width / rope.head * rope.dims / 2;
        let tail = [(x.width / rope.head) as u32, rope.head as u32, rope.dims as u32, index, halves(rope)];
        let params = [&region.params()[..], &tail[..]].concat();
        let grid = Grid::Each(pairs.div_ceil(LANES as usize) as u32);
        self.push(Kernel::Rope, &params, grid, Moves { read: x.width, written: x.width });
        Ok(1)
    }

    /// Which list of angles a rope uses.
    fn angles(&mut self, rope: &Rope) -> u32 {
        let known = self.program.ropes.iter().position(|(other, _)| other == rope);
        known.unwrap_or_else(|| {
            let factors = rope.factors.map(|id| decode(self.weights, id));
            self.program.ropes.push((rope.clone(), factors));
            self.program.ropes.len() - 1
        }) as u32
    }

    fn attention(&mut self, attention: &Attention, rope: Option<&Rope>, slots: [Slot; 4]) -> Result<(), Error> {
        let [q, k, v, out] = slots.map(|slot| self.region(slot));
        let sinks = self.list(&[attention.sinks]);
        let shared_by = attention.heads / attention.kv_heads;
        let (key, value) = (attention.key as u32, attention.value as u32);
        let (scale, softcap) = (attention.scale.to_bits(), attention.softcap.unwrap_or(0.0).to_bits());
        if attention.key > 1024 || attention.value > 1024 {
            return Err(Error::Shape("heads of more than 1024 elements have no kernel"));
        }
        let Some(cache) = attention.cache else {
            let tail = [shared_by as u32, sinks, scale, softcap];
            let params = [&q.params()[..], &k.params()[..], &v.params()[..], &out.params()[..], &tail[..]].concat();
            let moves = Moves { read: q.width + k.width + v.width, written: out.width };
            self.push(Kernel::AttendAll { key, value }, &params, Grid::Each(attention.heads as u32), moves);
            return Ok(());
        };
        let index = rope.map_or(NONE, |rope| self.angles(rope));
        let (dims, halves) = rope.map_or((0, 0), |rope| (rope.dims, halves(rope)));
        let [key_words, value_words] = [attention.key, attention.value].map(|n| n.div_ceil(2));
        let work = attention.heads * dims / 2 + attention.kv_heads * (key_words + value_words);
        let tail = [
            attention.heads as u32,
            attention.kv_heads as u32,
            key,
            value,
            key_words as u32,
            value_words as u32,
            dims as u32,
            index,
            halves,
        ];
        let params = [&q.params()[..], &k.params()[..], &v.params()[..], &tail[..]].concat();
        let turned = if rope.is_some() { q.width } else { 0 };
        let moves = Moves { read: turned + k.width + v.width, written: turned };
        let grid = Grid::Each(work.div_ceil(LANES as usize) as u32);
        self.push(Kernel::Store, &params, grid, moves).cache = Some(cache);

        let heads = shared_by.min(8).min((1024 / attention.key).max(1));
        let tiles = shared_by.div_ceil(heads);
        let rows = SEGMENTS_MAX.max(self.size.tokens);
        let scratch = self.segment_scratch(rows * attention.heads * (attention.value + 2));
        let tail = [
            scratch,
            attention.heads as u32,
            attention.kv_heads as u32,
            shared_by as u32,
            tiles as u32,
            attention.window.unwrap_or(0),
            sinks,
            scale,
            softcap,
        ];
        let params = [&q.params()[..], &out.params()[..], &tail[..]].concat();
        let groups = attention.kv_heads * tiles;
        let runs = q.aligned() && attention.key.is_multiple_of(OCTET) && attention.value.is_multiple_of(OCTET);
        let heads = heads as u32;
        let kernel = match (self.software_subgroup(), self.subgroup()) {
            (Some(wide), _) if runs => Kernel::AttendSubgroup { key, value, heads, wide },
            (None, Some(subgroup)) if runs => Kernel::AttendStreams { key, value, heads, subgroup },
            _ => Kernel::Attend { key, value, heads },
        };
        let moves = Moves { read: q.width, written: out.width };
        self.push(kernel, &params, Grid::Segments(groups as u32), moves).cache = Some(cache);
        let least = self.program.attention_groups;
        self.program.attention_groups = if least == 0 { groups } else { least.min(groups) };
        let tail = [scratch, attention.heads as u32, value];
        let params = [&out.params()[..], &tail[..]].concat();
        self.push(Kernel::Combine, &params, Grid::Join(attention.heads as u32), moves);
        Ok(())
    }

    /// One scratch for all attentions: they come one after the other.
    fn segment_scratch(&mut self, elements: usize) -> u32 {
        let largest = self.plan.ops.iter().filter_map(|op| match op {
            Op::Attention { attention, .. } if attention.cache.is_some() => {
                Some(attention.heads * (attention.value + 2))
            }
            _ => None,
        });
        let rows = SEGMENTS_MAX.max(self.size.tokens);
        let most = largest.max().unwrap_or(0) * rows;
        debug_assert!(elements <= most, "the largest attention is among all");
        let at = match self.segments {
            Some(at) => at,
            None => self.scratch(1, most).at,
        };
        self.segments = Some(at);
        at as u32
    }

    fn map(&mut self, function: u32, [a, b]: [f32; 2], y: Option<Slot>, x: Slot, out: Slot) {
        let (x, out) = (self.region(x), self.region(out));
        let paired = y.is_some();
        let y = y.map_or(x, |y| self.region(y));
        let tail = [out.width as u32, a.to_bits(), b.to_bits()];
        let params = [&x.params()[..], &y.params()[..], &out.params()[..], &tail[..]].concat();
        let operands = if paired || function == ADD { 2 } else { 1 };
        let moves = Moves { read: operands * out.width, written: out.width };
        let grid = Grid::Each(out.width.div_ceil(LANES as usize) as u32);
        self.push(Kernel::Map { function, paired }, &params, grid, moves);
    }

    fn experts(&mut self, experts: &Experts, x: Slot, out: Slot) -> Result<(), Error> {
        let (x, out) = (self.region(x), self.region(out));
        let [_, count, _] = self.weights.tensor(experts.router).dims;
        let [_, hidden, _] = self.weights.tensor(experts.gate).dims;
        let used = experts.used;
        let tokens = if self.selected { self.program.outputs_max } else { self.size.tokens };
        let scores = self.scratch(tokens, count);
        let choice = self.scratch(tokens, 2 * used);
        let together = self.weights.tensor(experts.gate).kind == self.weights.tensor(experts.up).kind;
        let both = self.scratch(tokens * used, if together { hidden } else { 2 * hidden });
        let gate = Region { width: hidden, ..both };

        let bias = self.list(&[experts.router_bias]);
        let kind = self.weights.tensor(experts.router).kind;
        for cut in self.matrix(vec![self.all(experts.router)], 1)? {
            let rows = self.program.parts[cut.part].rows();
            let to = Region { at: scores.at + cut.first, ..scores };
            let bias = if bias == NONE { NONE } else { bias + cut.first as u32 };
            let params = self.product(cut, x, to, bias, None);
            let kernels = self.product_kernels(kind, x);
            let moves = Moves { read: x.width, written: rows };
            let dispatch = self.push(Kernel::Select, &params, Grid::Product(rows as u32), moves);
            (dispatch.part, dispatch.kernels) = (Some(cut.part), kernels);
        }

        let all = u32::from(experts.gating == Gating::SoftmaxThenTop { renormalise: false });
        let tail = [count as u32, used as u32, all, experts.scale.to_bits()];
        let params = [&scores.params()[..], &choice.params()[..], &tail[..]].concat();
        self.push(Kernel::Choose, &params, Grid::Flat, Moves { read: count, written: 2 * used });

        if together {
            let pieces =
                (0..count).flat_map(|e| [experts.gate, experts.up].map(|id| (id, e * hidden..(e + 1) * hidden)));
            let bias = self.list(&[experts.gate_bias, experts.up_bias]);
            let stage = Stage::Gated(experts.function);
            self.expert_product(pieces.collect(), hidden, bias, [x, gate, choice], used, stage)?;
        } else {
            let up = Region { at: both.at + hidden, width: hidden, ..both };
            for (id, bias, to) in [(experts.gate, experts.gate_bias, gate), (experts.up, experts.up_bias, up)] {
                let bias = self.list(&[bias]);
                self.expert_product(vec![self.all(id)], hidden, bias, [x, to, choice], used, Stage::Up)?;
            }
            self.gate_experts(experts.function, gate, up, used);
        }

        let bias = self.list(&[experts.down_bias]);
        self.expert_product(vec![self.all(experts.down)], out.width, bias, [gate, out, choice], used, Stage::Down)
    }

    fn gate_experts(&mut self, function: Function, gate: Region, up: Region, used: usize) {
        let [a, b] = operands(function);
        let tail = [gate.width as u32, a.to_bits(), b.to_bits()];
        let params = [&gate.params()[..], &up.params()[..], &gate.params()[..], &tail[..]].concat();
        let moves = Moves { read: 2 * used * gate.width, written: used * gate.width };
        let grid = Grid::Times(gate.width.div_ceil(LANES as usize) as u32, used as u32);
        self.push(Kernel::Map { function: code(function), paired: true }, &params, grid, moves);
    }

    fn expert_product(
        &mut self,
        pieces: Vec<(TensorId, Range<usize>)>,
        each: usize,
        bias: u32,
        [x, out, choice]: [Region; 3],
        used: usize,
        stage: Stage,
    ) -> Result<(), Error> {
        let kind = self.weights.tensor(pieces[0].0).kind;
        let rows_each = if matches!(stage, Stage::Gated(_)) { 2 * each } else { each };
        for cut in self.matrix(pieces, rows_each)? {
            let rows = self.program.parts[cut.part].rows();
            let mut params = self.product(cut, x, out, bias, None);
            let first = cut.first / rows_each;
            let tail = [each, first, first + rows / rows_each, used, choice.at, choice.stride].map(|n| n as u32);
            params[14..20].copy_from_slice(&tail);
            let (down, mut function) = (stage == Stage::Down, None);
            if let Stage::Gated(gate) = stage {
                let [a, b] = operands(gate);
                (params[13], params[21], function) = (a.to_bits(), b.to_bits(), Some(code(gate)));
            }
            let kernel = Kernel::Experts { kind, down, function, aligned: x.aligned(), subgroups: self.caps.subgroups };
            let (times, moves) = if down {
                (1, Moves { read: used * x.width + each, written: each })
            } else {
                (used as u32, Moves { read: x.width, written: used * each })
            };
            self.push(kernel, &params, Grid::Experts(each as u32, times), moves).part = Some(cut.part);
        }
        Ok(())
    }
}

/// Which of the products with experts.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Gate and what it lets through, in one.
    Gated(Function),
    /// One of the two.
    Up,
    /// Back to the width of the model.
    Down,
}

// The names of functions in `shaders/map.wgsl`.
const ADD: u32 = 5;
const SCALE: u32 = 6;
const SOFTCAP: u32 = 7;

fn code(function: Function) -> u32 {
    match function {
        Function::Silu => 0,
        Function::Gelu => 1,
        Function::GeluTanh => 2,
        Function::Relu => 3,
        Function::SwigluClamped { .. } => 4,
    }
}

fn operands(function: Function) -> [f32; 2] {
    match function {
        Function::SwigluClamped { alpha, limit } => [alpha, limit],
        _ => [0.0, 0.0],
    }
}

fn halves(rope: &Rope) -> u32 {
    u32::from(rope.pairs == Pairs::Halves)
}

/// A whole tensor as floats.
fn decode(weights: &Weights, id: TensorId) -> Vec<f32> {
    let tensor = weights.tensor(id);
    let mut out = vec![0.0; tensor.len()];
    dequantise(tensor.kind, weights.data(id), &mut out);
    out
}
