//! A plan, made ready once and run step by step.

use std::{collections::BTreeMap, sync::Arc};

use tutu_llm::{
    backend::{Backend, Batch, Fault, PAGE},
    plan::{Attention, Experts, Op, Plan, Row, Slot, Write},
    reference,
    sample::{self, Candidate},
    weights::{TensorId, Weights},
};

use crate::{
    attention::{self, Attend, AttendAll, Found, Query},
    cache::Cache,
    lanes::Lanes,
    linear::Multiply,
    memory::{Arena, List, alone},
    options::{Options, Release},
    panel::{Packed, Takes},
    place::{Pick, Place, To},
    pool::Pool,
    quantise::Quantised,
    rows::{Angles, Gate, Norm},
    shared::Shared,
};

/// Panels that a thread claims at a time when one token is computed: small enough that nobody waits long for
/// the last, large enough that claiming is nothing beside it.
const PANELS_EACH: usize = 4;

/// Positions whose angles have room from the beginning.
const POSITIONS: usize = 1 << 16;

/// Runs one plan with the instructions of `L`.
pub(crate) struct Engine<L> {
    lanes: L,
    weights: Arc<Weights>,
    plan: Arc<Plan>,
    pool: Pool,
    options: Options,
    /// By tensor: the matrices that are multiplied with.
    packed: Vec<Option<Packed>>,
    /// By tensor: small lists, decoded.
    lists: Vec<Option<Arc<[f32]>>>,
    /// Rows begin at cache lines where their widths allow it, so that sixteen outputs are one line.
    buffers: Vec<List<f32>>,
    caches: Vec<Cache>,
    angles: Vec<Angles>,
    quantised: Quantised,
    tiles: Vec<Tile>,
    found: Vec<f32>,
    jobs: Vec<Job>,
    picks: Vec<Pick>,
    /// One row of a table.
    values: Vec<f32>,
}

/// One product of a group that the threads share.
struct Job {
    weight: TensorId,
    bias: Option<TensorId>,
    /// `None` where only the best are picked.
    out: Option<Shared>,
    write: Write,
    /// Its first chunk.
    first: usize,
}

impl<L: Lanes> Engine<L> {
    pub(crate) fn new(lanes: L, weights: Arc<Weights>, plan: Arc<Plan>, options: Options) -> Self {
        let count = weights.iter().count();
        let mut engine = Self {
            lanes,
            pool: Pool::new(options.threads),
            packed: (0..count).map(|_| None).collect(),
            lists: vec![None; count],
            buffers: plan.buffers.iter().map(|_| alone(0)).collect(),
            caches: plan.caches.iter().map(|cache| Cache::new(cache, options.kv, options.pages)).collect(),
            angles: Vec::new(),
            quantised: Quantised::default(),
            tiles: Vec::new(),
            found: Vec::new(),
            jobs: Vec::new(),
            picks: Vec::new(),
            values: Vec::new(),
            weights,
            plan,
            options,
        };
        engine.prepare_all();
        engine
    }

    /// Makes ready what the plan needs and is not there yet.
    fn prepare_all(&mut self) {
        let plan = Arc::clone(&self.plan);
        let missing = matrices(&plan).filter(|id| self.packed[id.0 as usize].is_none());
        let bytes = missing.map(|id| Packed::bytes(self.weights.tensor(id), self.weights.data(id))).sum();
        let mut arena = Arena::new(bytes);
        plan.ops.iter().for_each(|op| self.prepare(op, &mut arena));
    }

    fn prepare(&mut self, op: &Op, arena: &mut Arena) {
        match op {
            Op::Linear { weight, bias, .. } => {
                self.pack(*weight, arena);
                self.list(*bias);
            }
            Op::Adapt { a, b, .. } => [*a, *b].into_iter().for_each(|id| self.pack(id, arena)),
            Op::Norm { weight, bias, .. } => {
                self.list(*weight);
                self.list(*bias);
            }
            Op::Attention { attention, .. } => self.list(attention.sinks),
            Op::Rope { rope, .. } if !self.angles.iter().any(|angles| angles.is_of(rope)) => {
                let factors = rope.factors.map(|id| decode(&self.weights, id));
                self.angles.push(Angles::new(rope, factors, (self.options.pages * PAGE).min(POSITIONS)));
            }
            Op::Experts { experts, .. } => {
                [experts.router, experts.gate, experts.up, experts.down]
                    .into_iter()
                    .for_each(|id| self.pack(id, arena));
                let lists = [experts.router_bias, experts.gate_bias, experts.up_bias, experts.down_bias];
                lists.into_iter().for_each(|id| self.list(id));
            }
            _ => {}
        }
    }

    fn list(&mut self, id: Option<TensorId>) {
        if let Some(id) = id {
            let slot = &mut self.lists[id.0 as usize];
            if slot.is_none() {
                *slot = Some(decode(&self.weights, id).into());
            }
        }
    }

    /// Puts a matrix into panels, on all threads, and gives the file's pages back as it goes.
    fn pack(&mut self, id: TensorId, arena: &mut Arena) {
        let slot = id.0 as usize;
        if self.packed[slot].is_some() {
            return;
        }
        let tensor = self.weights.tensor(id);
        let data = self.weights.data(id);
        let mut packed = Packed::empty(tensor, data, arena);
        let lanes = self.lanes;
        let release: Option<&Release> = self.options.release.as_ref();
        let parts: Vec<_> = packed.parts(16).into_iter().map(std::sync::Mutex::new).collect();
        self.pool.run(parts.len(), &|i| {
            let mut part = parts[i].lock().expect("each part is taken once");
            let read = part.fill(lanes, tensor.kind, data);
            if let Some(release) = release {
                release(read);
            }
        });
        drop(parts);
        self.packed[slot] = Some(packed);
    }

    /// A small list, to be kept while the engine is changed.
    fn held(&self, id: Option<TensorId>) -> Option<Arc<[f32]>> {
        id.map(|id| Arc::clone(ready(&self.lists, id)))
    }

    fn reserve(&mut self, slot: Slot, rows: usize) {
        let width = self.plan.buffers[slot.buffer];
        let buffer = &mut self.buffers[slot.buffer];
        if buffer.len() < rows * width {
            let mut larger = alone::<f32>(rows * width);
            larger[..buffer.len()].copy_from_slice(buffer);
            *buffer = larger;
        }
    }

    /// The rows of a slot, to be written by several threads.
    fn share(&mut self, slot: Slot, rows: usize) -> Shared {
        self.reserve(slot, rows);
        Shared::new(&mut self.buffers[slot.buffer], self.plan.buffers[slot.buffer], slot.column, slot.width)
    }

    /// Calls `work` for every row, on all threads where there are many.
    fn each_row(pool: &mut Pool, rows: usize, work: impl Fn(usize) + Sync) {
        if rows < 8 {
            (0..rows).for_each(work);
        } else {
            let each = rows.div_ceil(4 * pool.threads()).max(1);
            pool.run(rows.div_ceil(each), &|i| (i * each..((i + 1) * each).min(rows)).for_each(&work));
        }
    }

    fn run(&mut self, ops: &[Op], batch: &Batch<'_>, rows: &mut usize) -> usize {
        let n = *rows;
        let l = self.lanes;
        match &ops[0] {
            Op::Embed { table, scale, out } => {
                let out = self.share(*out, n);
                for (i, token) in batch.tokens.iter().enumerate() {
                    let row = out.row(i);
                    self.embed(*table, token.id as usize, row);
                    if *scale != 1.0 {
                        row.iter_mut().for_each(|x| *x *= scale);
                    }
                }
            }
            Op::AddRow { table, row, out } => {
                let out = self.share(*out, n);
                let mut values = std::mem::take(&mut self.values);
                values.resize(out.width(), 0.0);
                for (i, token) in batch.tokens.iter().enumerate() {
                    let number = match row {
                        Row::Position => token.position as usize,
                        Row::Fixed(number) => *number as usize,
                    };
                    self.embed(*table, number, &mut values);
                    out.row(i).iter_mut().zip(&values).for_each(|(x, v)| *x += v);
                }
                self.values = values;
            }
            Op::Norm { kind, group, epsilon, weight, bias, x, out } => {
                let (x, out) = (self.share(*x, n), self.share(*out, n));
                let (weight, bias) = (self.held(*weight), self.held(*bias));
                Self::each_row(&mut self.pool, n, |i| {
                    let row = out.row(i);
                    if x.differs(&out) {
                        row.copy_from_slice(x.row(i));
                    }
                    let (weight, bias) = (weight.as_deref(), bias.as_deref());
                    l.run(Norm { kind: *kind, group: *group, epsilon: *epsilon, weight, bias, x: row });
                });
            }
            Op::Linear { x, .. } => return self.linears(ops, *x, n, None),
            Op::Adapt { adapter, a, b, x, inner, out, scale } => {
                let mut shares = std::mem::take(&mut self.values);
                batch.shares_of(*adapter, n, &mut shares);
                if !shares.is_empty() {
                    let (weight, bias, write) = (*a, None, Write::Set);
                    self.linears(&[Op::Linear { weight, bias, x: *x, out: *inner, write }], *x, n, None);
                    let rows = self.share(*inner, n);
                    for (i, share) in shares.iter().enumerate().filter(|(_, share)| **share != 1.0) {
                        // What is no number times nothing would be no number.
                        rows.row(i).iter_mut().for_each(|x| *x = if *share == 0.0 { 0.0 } else { *x * share });
                    }
                    let (weight, write) = (*b, Write::Add(*scale));
                    self.linears(&[Op::Linear { weight, bias, x: *inner, out: *out, write }], *inner, n, None);
                }
                self.values = shares;
            }
            Op::Rope { rope, x } => {
                let last = batch.tokens.iter().map(|token| token.position as usize + 1).max().unwrap_or(0);
                let at = self.angles.iter().position(|angles| angles.is_of(rope)).expect("prepared");
                self.angles[at].reserve(last);
                let x = self.share(*x, n);
                let angles = &self.angles[at];
                Self::each_row(&mut self.pool, n, |i| angles.turn(batch.tokens[i].position as usize, x.row(i)));
            }
            Op::Attention { attention, q, k, v, out } => self.attend(attention, [*q, *k, *v, *out], batch, n),
            Op::Activate { function, x } => {
                let x = self.share(*x, n);
                Self::each_row(&mut self.pool, n, |i| l.run(Gate { function: *function, gate: x.row(i), up: None }));
            }
            Op::Gated { function, gate, up, out } => {
                let (gate, up, out) = (self.share(*gate, n), self.share(*up, n), self.share(*out, n));
                Self::each_row(&mut self.pool, n, |i| {
                    let row = out.row(i);
                    if gate.differs(&out) {
                        row.copy_from_slice(gate.row(i));
                    }
                    l.run(Gate { function: *function, gate: row, up: Some(up.row(i)) });
                });
            }
            Op::Experts { experts, x, out } => self.experts(experts, *x, *out, n),
            Op::Add { scale, x, out } => {
                let (x, out) = (self.share(*x, n), self.share(*out, n));
                Self::each_row(&mut self.pool, n, |i| {
                    out.row(i).iter_mut().zip(&*x.row(i)).for_each(|(out, x)| *out += scale * x);
                });
            }
            Op::Scale { scale, x, out } => {
                let (x, out) = (self.share(*x, n), self.share(*out, n));
                Self::each_row(&mut self.pool, n, |i| {
                    let row = out.row(i);
                    if x.differs(&out) {
                        row.copy_from_slice(x.row(i));
                    }
                    row.iter_mut().for_each(|x| *x *= scale);
                });
            }
            Op::Softcap { cap, x } => {
                let x = self.share(*x, n);
                Self::each_row(&mut self.pool, n, |i| {
                    x.row(i).iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
                });
            }
            Op::Select { x, out } => {
                *rows = batch.tokens.iter().filter(|token| token.output).count();
                let (x, out) = (self.share(*x, n), self.share(*out, *rows));
                let wanted = batch.tokens.iter().enumerate().filter(|(_, token)| token.output);
                wanted.enumerate().for_each(|(to, (from, _))| out.row(to).copy_from_slice(x.row(from)));
            }
        }
        1
    }

    fn embed(&self, table: TensorId, row: usize, out: &mut [f32]) {
        match &self.packed[table.0 as usize] {
            Some(packed) => packed.row(row, out),
            None => {
                let tensor = self.weights.tensor(table);
                let bytes = tensor.row_bytes();
                tutu_llm::quant::dequantise(tensor.kind, &self.weights.data(table)[row * bytes..][..bytes], out);
            }
        }
    }

    /// Runs as many products as follow each other and read the same rows; answers how many. Together they are
    /// one piece of work for the threads. Of an output head the best of each row are picked, where that is all
    /// that is wanted.
    fn linears(&mut self, ops: &[Op], x: Slot, n: usize, best: Option<usize>) -> usize {
        self.reserve(x, n);
        self.jobs.clear();
        for op in ops {
            let Op::Linear { weight, bias, x: from, out, write } = op else { break };
            if *from != x {
                break;
            }
            let to = if best.is_some() { None } else { Some(self.share(*out, n)) };
            self.jobs.push(Job { weight: *weight, bias: *bias, out: to, write: *write, first: 0 });
            // An output that is read by the next ends the group.
            if out.buffer == x.buffer {
                break;
            }
        }
        let source = self.share(x, n);
        for takes in [Takes::Bytes, Takes::Wholes, Takes::Words] {
            if self.jobs.iter().any(|job| ready(&self.packed, job.weight).takes::<L>() == takes) {
                self.quantised.fill(takes, &mut self.pool, self.lanes, n, x.width, &|i| source.row(i));
            }
        }
        let (each, chunks) = self.share_out(n);
        if let Some(most) = best {
            self.picks.resize_with(n.max(self.picks.len()), Pick::default);
            self.picks[..n].iter_mut().for_each(|pick| pick.begin(most));
        }
        let Self { lanes, pool, quantised, packed, lists, jobs, picks, buffers, plan, .. } = self;
        let picks = &picks[..];
        let (source, stride) = (&buffers[x.buffer][x.column..], plan.buffers[x.buffer]);
        // Large outputs (a vocabulary) have more chunks than needed; they are claimed several at a time.
        let bunch = (chunks / (pool.threads() * 64)).max(1);
        pool.run(chunks.div_ceil(bunch), &|i| {
            for chunk in i * bunch..((i + 1) * bunch).min(chunks) {
                let job = jobs.iter().rev().find(|job| job.first <= chunk).expect("the first begins at 0");
                let packed = ready(packed, job.weight);
                let bias = job.bias.map(|id| &**ready(lists, id));
                let start = (chunk - job.first) * each;
                let to = job.out.map_or(To::Best(picks), |out| To::Buffer(out, job.write));
                lanes.run(Multiply {
                    packed,
                    panels: start..(start + each).min(packed.panels()),
                    input: quantised.input(packed.takes::<L>(), source, stride),
                    count: n,
                    place: Place { rows: packed.rows, panel: 0, bias, to },
                });
            }
        });
        self.jobs.len()
    }

    /// Numbers the chunks of the jobs; answers how many panels a chunk has, and how many chunks there are.
    ///
    /// With many tokens what a thread keeps unpacked has to be made ready for each chunk that it claims, and nobody should
    /// wait long for the last.
    fn share_out(&mut self, n: usize) -> (usize, usize) {
        let panels = |job: &Job| ready(&self.packed, job.weight).panels();
        let all: usize = self.jobs.iter().map(panels).sum();
        let each = if n < 8 { PANELS_EACH } else { (all / (8 * self.pool.threads())).clamp(1, 8) };
        let mut chunks = 0;
        for job in &mut self.jobs {
            job.first = chunks;
            chunks += panels(job).div_ceil(each);
        }
        (each, chunks)
    }

    fn attend(&mut self, attention: &Attention, slots: [Slot; 4], batch: &Batch<'_>, n: usize) {
        let [q, k, v, out] = slots.map(|slot| self.share(slot, n));
        let lanes = self.lanes;
        let sinks = self.held(attention.sinks);
        let group = attention.heads / attention.kv_heads;
        let Some(cache) = attention.cache else {
            self.attend_all(attention, [q, k, v, out], batch, n);
            return;
        };
        for (i, token) in batch.tokens.iter().enumerate() {
            let position = token.position as usize;
            let page = batch.tables[token.sequence as usize][position / PAGE] as usize;
            self.caches[cache].write(lanes, page, position, k.row(i), v.row(i));
        }
        let cache = &self.caches[cache];
        let most = attention::queries_max::<L>(cache);
        self.tiles.clear();
        for run in batch.tokens.chunk_by(|a, b| a.sequence == b.sequence && a.position + 1 == b.position) {
            let start = self.tiles.last().map_or(0, |tile| tile.end);
            let end = start + run.len();
            for kv_head in 0..attention.kv_heads {
                let all = run.len() * group;
                let tile = |from| Tile { start, end, kv_head, from, count: (all - from).min(most) };
                self.tiles.extend((0..all).step_by(most).map(tile));
            }
        }
        let (width, last) = (attention::padded(attention.value), |tile: &Tile| {
            let row = tile.start + (tile.from + tile.count - 1) / group;
            batch.tokens[row].position as usize / PAGE / attention::PAGES
        });
        // Few tiles over long texts are cut by segments too, so that every thread has work. The same segments are
        // computed and joined in the same order either way.
        let most_segments = self.tiles.iter().map(|tile| last(tile) + 1).max().unwrap_or(1);
        let cut = if self.tiles.len() < 4 * self.pool.threads() && self.pool.threads() > 1 { most_segments } else { 1 };
        let each = most * (width + 2);
        self.found.clear();
        self.found.resize(self.tiles.len() * cut * each, 0.0);
        let tiles = &self.tiles;
        let found = Shared::new(&mut self.found, each, 0, each);
        self.pool.run(tiles.len() * cut, &|i| {
            let (tile, place) = (&tiles[i / cut], found.row(i));
            let end = last(tile) + 1;
            let segments = if cut == 1 { 0..end } else { i % cut..(i % cut + 1).min(end) };
            if segments.is_empty() {
                place[..most].fill(f32::NEG_INFINITY);
                return;
            }
            let (top, rest) = place.split_at_mut(most);
            let (total, sums) = rest.split_at_mut(most);
            top.fill(f32::NEG_INFINITY);
            let mut queries = [Query { position: 0, q: &[] }; attention::QUERIES];
            for (j, query) in queries[..tile.count].iter_mut().enumerate() {
                let (row, head) = tile.query(j, group);
                query.position = batch.tokens[row].position as usize;
                query.q = q.part(row, head * attention.key, attention.key);
                // A sink begins the softmax with a weight and no value.
                if let Some(sinks) = sinks.as_ref().filter(|_| segments.start == 0) {
                    (top[j], total[j]) = (sinks[head], 1.0);
                }
            }
            lanes.run(Attend {
                attention,
                cache,
                kv_head: tile.kv_head,
                table: batch.tables[batch.tokens[tile.start].sequence as usize],
                queries: &queries[..tile.count],
                segments,
                found: Found { top, total, sums },
            });
            if cut == 1 {
                tile.hand_out(group, attention.value, total, sums, &out);
            }
        });
        if cut > 1 {
            for (i, tile) in tiles.iter().enumerate() {
                lanes.run(Join { found: &found, first: i * cut, count: cut, most, width, queries: tile.count });
                let (total, sums) = found.row(i * cut)[most..].split_at_mut(most);
                tile.hand_out(group, attention.value, total, sums, &out);
            }
        }
    }

    fn attend_all(&mut self, attention: &Attention, rows: [Shared; 4], batch: &Batch<'_>, n: usize) {
        let [q, k, v, out] = rows;
        let (lanes, group) = (self.lanes, attention.heads / attention.kv_heads);
        self.pool.run(n * attention.heads, &|i| {
            let (row, head) = (i / attention.heads, i % attention.heads);
            let same = |other: &usize| batch.tokens[*other].sequence == batch.tokens[row].sequence;
            let part = |from: &Shared, width: usize| -> Vec<&[f32]> {
                (0..n).filter(same).map(|other| &*from.part(other, head / group * width, width)).collect()
            };
            lanes.run(AttendAll {
                attention,
                q: q.part(row, head * attention.key, attention.key),
                keys: &part(&k, attention.key),
                values: &part(&v, attention.value),
                out: out.part(row, head * attention.value, attention.value),
            });
        });
    }

    /// Each expert computes the tokens that chose it, together.
    fn experts(&mut self, experts: &Experts, x: Slot, out: Slot, n: usize) {
        let count = self.weights.tensor(experts.router).dims[1];
        let hidden = self.weights.tensor(experts.gate).dims[1];
        let all: Vec<u32> = (0..n as u32).collect();
        let input = self.copy(x, n);
        let scores = self.product(experts.router, 0, experts.router_bias, &input, x.width, &all);
        let chosen: Vec<Vec<(usize, f32)>> =
            scores.chunks_exact(count).map(|s| reference::choose(experts, s)).collect();
        // Answers are added in the order of the choice of each token, whatever else is in the step.
        let mut answers: Vec<Vec<Vec<f32>>> = chosen.iter().map(|list| vec![Vec::new(); list.len()]).collect();
        for expert in 0..count {
            let users: Vec<(usize, usize)> = chosen
                .iter()
                .enumerate()
                .filter_map(|(row, list)| Some((row, list.iter().position(|(e, _)| *e == expert)?)))
                .collect();
            if users.is_empty() {
                continue;
            }
            let rows: Vec<u32> = users.iter().map(|(row, _)| *row as u32).collect();
            let mut gate = self.product(experts.gate, expert, experts.gate_bias, &input, x.width, &rows);
            let up = self.product(experts.up, expert, experts.up_bias, &input, x.width, &rows);
            self.lanes.run(Gate { function: experts.function, gate: &mut gate, up: Some(&up) });
            let every: Vec<u32> = (0..rows.len() as u32).collect();
            let down = self.product(experts.down, expert, experts.down_bias, &gate, hidden, &every);
            for (answer, (row, place)) in down.chunks_exact(out.width).zip(users) {
                answers[row][place] = answer.to_vec();
            }
        }
        let out = self.share(out, n);
        for (row, (list, answers)) in chosen.iter().zip(answers).enumerate() {
            for ((_, share), answer) in list.iter().zip(answers) {
                out.row(row).iter_mut().zip(answer).for_each(|(out, y)| *out += share * y);
            }
        }
    }

    fn copy(&mut self, slot: Slot, n: usize) -> Vec<f32> {
        let rows = self.share(slot, n);
        (0..n).flat_map(|i| rows.row(i).to_vec()).collect()
    }

    /// Matrix number `matrix` of a tensor times the listed rows of `x`.
    fn product(
        &mut self,
        id: TensorId,
        matrix: usize,
        bias: Option<TensorId>,
        x: &[f32],
        width: usize,
        rows: &[u32],
    ) -> Vec<f32> {
        let count = rows.len();
        let gathered: Vec<f32> = rows.iter().flat_map(|row| &x[*row as usize * width..][..width]).copied().collect();
        let Self { lanes, pool, quantised, packed, lists, .. } = self;
        let packed = ready(packed, id);
        let takes = packed.takes::<L>();
        quantised.fill(takes, pool, *lanes, count, width, &|i| &gathered[i * width..][..width]);
        let input = quantised.input(takes, &gathered, width);
        let (panels, high) = (packed.panels(), packed.rows);
        let bias = bias.map(|id| &ready(lists, id)[matrix * high..][..high]);
        let mut out = vec![0.0; count * high];
        let shared = Shared::new(&mut out, high, 0, high);
        let place = Place { rows: high, panel: matrix * panels, bias, to: To::Buffer(shared, Write::Set) };
        pool.run(panels.div_ceil(PANELS_EACH), &|i| {
            lanes.run(Multiply {
                packed,
                panels: matrix * panels + i * PANELS_EACH..matrix * panels + ((i + 1) * PANELS_EACH).min(panels),
                input,
                count,
                place,
            });
        });
        out
    }
}

impl<L: Lanes> Backend for Engine<L> {
    fn tokens_max(&self) -> usize {
        self.options.tokens_max
    }

    fn pages(&self) -> usize {
        self.options.pages
    }

    fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        self.give(self.plan.ops.len(), self.plan.output, batch, out)
    }

    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        let (count, states) = self.plan.states();
        self.give(count, states, batch, out)
    }

    fn step_best(&mut self, batch: &Batch<'_>, most: usize, out: &mut Vec<Vec<Candidate>>) -> Result<(), Fault> {
        // Where something follows the head (a cap on logits), all are computed first.
        let head = match self.plan.ops.last() {
            Some(Op::Linear { out, x, write: Write::Set, .. }) if *out == self.plan.output => Some(*x),
            _ => None,
        };
        let (plan, rows) = self.all_but(usize::from(head.is_some()), batch)?;
        out.resize_with(rows, Vec::new);
        if rows == 0 {
            return Ok(());
        }
        if let Some(x) = head {
            self.linears(&plan.ops[plan.ops.len() - 1..], x, rows, Some(most));
            self.picks.iter_mut().zip(out).for_each(|(pick, out)| pick.end(out));
        } else {
            let logits = self.share(plan.output, rows);
            out.iter_mut().enumerate().for_each(|(i, out)| sample::take(logits.row(i), most, out));
        }
        Ok(())
    }

    fn replan(&mut self, weights: Arc<Weights>, plan: Arc<Plan>) -> Result<(), Fault> {
        if plan.caches != self.plan.caches || plan.output != self.plan.output {
            return Err(Fault::Batch);
        }
        // What lies at the same place is the same, under whatever number: both hold their files.
        let place = |weights: &Weights, id: TensorId| (weights.data(id).as_ptr() as usize, weights.tensor(id).dims);
        let mut ready: BTreeMap<_, _> = BTreeMap::new();
        for (at, (packed, list)) in self.packed.drain(..).zip(self.lists.drain(..)).enumerate() {
            if packed.is_some() || list.is_some() {
                ready.insert(place(&self.weights, TensorId(at as u32)), (packed, list));
            }
        }
        for (id, _) in weights.iter() {
            let (packed, list) = ready.remove(&place(&weights, id)).unwrap_or_default();
            self.packed.push(packed);
            self.lists.push(list);
        }
        self.buffers = plan.buffers.iter().map(|_| alone(0)).collect();
        (self.weights, self.plan) = (weights, plan);
        self.prepare_all();
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        self.caches.iter().map(Cache::page_bytes).sum()
    }

    fn save(&self, page: u32, out: &mut Vec<u8>) {
        self.caches.iter().for_each(|cache| cache.save(page as usize, out));
    }

    fn load(&mut self, page: u32, bytes: &[u8]) -> bool {
        if bytes.len() != self.page_bytes() {
            return false;
        }
        let mut rest = bytes;
        for cache in &mut self.caches {
            let (own, after) = rest.split_at(cache.page_bytes());
            cache.load(page as usize, own);
            rest = after;
        }
        true
    }
}

impl<L: Lanes> Engine<L> {
    /// Runs the first `count` operations and gives out what then lies in a slot.
    fn give(&mut self, count: usize, slot: Slot, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        out.clear();
        let (_, rows) = self.all_but(self.plan.ops.len() - count, batch)?;
        if rows > 0 {
            let result = self.share(slot, rows);
            (0..rows).for_each(|i| out.extend_from_slice(result.row(i)));
        }
        Ok(())
    }

    /// Runs the plan without its last `left` operations; answers how many rows there are then.
    fn all_but(&mut self, left: usize, batch: &Batch<'_>) -> Result<(Arc<Plan>, usize), Fault> {
        batch.check(&self.plan, &self.weights, self.options.tokens_max, self.options.pages)?;
        let plan = Arc::clone(&self.plan);
        let ops = &plan.ops[..plan.ops.len() - left];
        let (mut rows, mut at) = (batch.tokens.len(), 0);
        while at < ops.len() && rows > 0 {
            at += self.run(&ops[at..], batch, &mut rows);
        }
        Ok((plan, rows))
    }
}

/// Queries of one head of keys that are computed together: heads of the group of tokens `start .. end`, counted from
/// the first head of the first token.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    end: usize,
    kv_head: usize,
    from: usize,
    count: usize,
}

impl Tile {
    /// Row and head of query `j`.
    fn query(&self, j: usize, group: usize) -> (usize, usize) {
        let at = self.from + j;
        (self.start + at / group, self.kv_head * group + at % group)
    }

    /// Writes what was found.
    fn hand_out(&self, group: usize, value: usize, total: &[f32], sums: &[f32], out: &Shared) {
        for (j, sums) in sums.chunks_exact(attention::padded(value)).take(self.count).enumerate() {
            let (row, head) = self.query(j, group);
            let part = out.part(row, head * value, value);
            part.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum / total[j]);
        }
    }
}

/// Joins the segments of a tile, each found apart, in the place of the first.
struct Join<'f> {
    found: &'f Shared,
    first: usize,
    count: usize,
    most: usize,
    width: usize,
    queries: usize,
}

impl crate::lanes::Task for Join<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        let (most, width) = (self.most, self.width);
        let (top, rest) = self.found.row(self.first).split_at_mut(most);
        let (total, sums) = rest.split_at_mut(most);
        for segment in 1..self.count {
            let other = self.found.row(self.first + segment);
            for j in 0..self.queries {
                let place = &mut sums[j * width..][..width];
                let more = &other[2 * most + j * width..][..width];
                attention::join(l, &mut top[j], &mut total[j], place, other[j], other[most + j], more);
            }
        }
    }
}

/// What was made ready of a tensor.
fn ready<T>(list: &[Option<T>], id: TensorId) -> &T {
    list[id.0 as usize].as_ref().expect("made ready with the plan")
}

/// The matrices that a plan multiplies with, each once.
fn matrices(plan: &Plan) -> impl Iterator<Item = TensorId> {
    let mut all: Vec<TensorId> = Vec::new();
    for op in &plan.ops {
        match op {
            Op::Linear { weight, .. } => all.push(*weight),
            Op::Adapt { a, b, .. } => all.extend([*a, *b]),
            Op::Experts { experts, .. } => all.extend([experts.router, experts.gate, experts.up, experts.down]),
            _ => {}
        }
    }
    all.sort_by_key(|id| id.0);
    all.dedup();
    all.into_iter()
}

/// A whole tensor as floats.
fn decode(weights: &Weights, id: TensorId) -> Vec<f32> {
    let tensor = weights.tensor(id);
    let mut out = vec![0.0; tensor.len()];
    tutu_llm::quant::dequantise(tensor.kind, weights.data(id), &mut out);
    out
}
