//! A recorded plan on a device: buffers that stay, one submission a step.

use core::fmt;
use std::{collections::BTreeMap, ops::Range, sync::Arc};

use tutu_llm::{
    backend::{Backend, Batch, Fault, PAGE, Timing},
    plan::{Op, Plan},
    sample::{self, Candidate},
    weights::{TensorId, Weights},
};

use crate::{
    caps::Caps,
    device::{Device, ready},
    kernel::{BEST_GROUPS, BEST_KEPT},
    program::{Grid, Part, Program, Region},
    record::{self, Size, record, record_from},
    split::Cut,
    step::{self, Step},
};

/// Is told which bytes of the model's file are not needed any more.
pub type Release = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// How an engine is made.
#[derive(Clone)]
pub struct Options {
    /// Tokens of one step at most.
    pub tokens_max: usize,
    /// Pages of the caches.
    pub pages: usize,
    /// Is told of each part of the file whose weights now lie on the device.
    pub release: Option<Release>,
    /// What of the device is used, where that is not all.
    pub caps: Option<Caps>,
    /// The device is taken away after so many steps: for trying out what then happens.
    pub lose_after: Option<u64>,
}

/// Why there is no engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The device does not take the plan.
    Plan(record::Error),
    /// The driver refused: its words.
    Device(String),
    /// The device has not enough memory: bytes that were wanted.
    Memory(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Device(reason) => f.write_str(reason),
            Self::Memory(bytes) => write!(f, "it has no {} MiB free", bytes >> 20),
        }
    }
}

impl core::error::Error for Error {}

impl From<record::Error> for Error {
    fn from(error: record::Error) -> Self {
        Self::Plan(error)
    }
}

/// A plan that runs on a GPU.
pub struct Engine {
    device: Arc<Device>,
    weights: Arc<Weights>,
    plan: Arc<Plan>,
    options: Options,
    program: Program,
    /// One for each dispatch: its kernels for how many rows, and what they see.
    ready: Vec<(Vec<(u32, wgpu::ComputePipeline)>, wgpu::BindGroup)>,
    batch: wgpu::Buffer,
    acts: wgpu::Buffer,
    staging: wgpu::Buffer,
    kept: Kept,
    /// The first operation of the plan that runs here.
    first: usize,
    /// Words of pages that `batch` has room for.
    tables_max: usize,
    /// Where the first half of the plan goes over, where that runs elsewhere.
    over: Option<Region>,
    steps: u64,
    /// What the next step is expected to be handed over as.
    ahead: Option<(Shape, wgpu::CommandBuffer)>,
}

/// All that the commands of a step depend on: the rest of it is in the memory that they read.
#[derive(Clone, PartialEq)]
struct Shape {
    tokens: u32,
    outputs: u32,
    segments: u32,
    adapters: Vec<bool>,
    /// The dispatches that are done, and whether the best of the result are among them.
    count: usize,
    best: bool,
    /// What is brought back, and rows of it.
    read: Region,
    rows: usize,
}

impl Shape {
    fn new(step: &Step, count: usize, best: bool, read: Region, rows: usize) -> Self {
        let Step { tokens, outputs, segments, .. } = *step;
        Self { tokens, outputs, segments, adapters: step.adapters.clone(), count, best, read, rows }
    }
}

/// What a plan that differs only in its adapters goes on with.
#[derive(Clone, Default)]
struct Kept {
    /// Keys and values, for each cache.
    caches: Vec<[wgpu::Buffer; 2]>,
    /// Weights, by where they lie in memory: what lies at the same place is the same, under whatever number.
    parts: BTreeMap<Place, wgpu::Buffer>,
}

/// First byte and length of each piece of a part.
type Place = Vec<(usize, usize)>;

fn place(weights: &Weights, part: &Part) -> Place {
    let piece = |(id, rows): &(TensorId, Range<usize>)| {
        let row = weights.tensor(*id).row_bytes();
        (weights.data(*id).as_ptr() as usize + rows.start * row, rows.len() * row)
    };
    part.pieces.iter().map(piece).collect()
}

/// With all that the device says it can do; where its driver then refuses, with what each must take.
fn attempt(device: &Device, options: &Options, make: impl Fn(Caps) -> Result<Engine, Error>) -> Result<Engine, Error> {
    let caps = options.caps.unwrap_or(device.caps());
    match make(caps) {
        Err(Error::Device(_)) if caps != caps.plain() => {
            device.keep_plain();
            make(caps.plain())
        }
        made => made,
    }
}

impl Engine {
    /// Prepares a plan: weights go to the device, kernels are compiled.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(device: Arc<Device>, weights: Arc<Weights>, plan: Arc<Plan>, options: Options) -> Result<Self, Error> {
        Self::whole(device, weights, plan, options, Kept::default())
    }

    fn whole(
        device: Arc<Device>,
        weights: Arc<Weights>,
        plan: Arc<Plan>,
        options: Options,
        kept: Kept,
    ) -> Result<Self, Error> {
        let size = Size { tokens: options.tokens_max, pages: options.pages };
        let (device, options) = (&device, &options);
        attempt(device, options, |caps| {
            let program = record(&weights, &plan, size, caps)?;
            Self::with(device, Arc::clone(&weights), Arc::clone(&plan), options.clone(), program, kept.clone())
        })
    }

    /// Prepares the second half of a plan.
    ///
    /// # Errors
    /// [`Error`].
    pub fn tail(
        device: Arc<Device>,
        weights: Arc<Weights>,
        plan: Arc<Plan>,
        options: Options,
        cut: &Cut,
    ) -> Result<Self, Error> {
        Self::second_half(device, weights, plan, options, cut, Kept::default())
    }

    fn second_half(
        device: Arc<Device>,
        weights: Arc<Weights>,
        plan: Arc<Plan>,
        options: Options,
        cut: &Cut,
        kept: Kept,
    ) -> Result<Self, Error> {
        let size = Size { tokens: options.tokens_max, pages: options.pages };
        let (device, options) = (&device, &options);
        let engine = attempt(device, options, |caps| {
            let program = record_from(&weights, &plan, cut.first, size, caps)?;
            Self::with(device, Arc::clone(&weights), Arc::clone(&plan), options.clone(), program, kept.clone())
        })?;
        let over = Region { width: cut.over.width, ..engine.program.buffers[cut.over.buffer] };
        Ok(Self { over: Some(over), first: cut.first, ..engine })
    }

    /// Goes on with another plan of the same model, which differs only in its adapters; with its second half, where `cut`
    /// says where that begins.
    ///
    /// # Errors
    /// [`Fault::Batch`], where it is another model's, or does not fit the device. What ran before still does.
    pub(crate) fn go_on(&mut self, weights: Arc<Weights>, plan: Arc<Plan>, cut: Option<&Cut>) -> Result<(), Fault> {
        if plan.caches != self.plan.caches || plan.output != self.plan.output {
            return Err(Fault::Batch);
        }
        let (device, options, kept) = (Arc::clone(&self.device), self.options.clone(), self.kept.clone());
        let made = match cut {
            Some(cut) => Self::second_half(device, weights, plan, options, cut, kept),
            None => Self::whole(device, weights, plan, options, kept),
        };
        *self = Self { steps: self.steps, ..made.map_err(|_| Fault::Batch)? };
        Ok(())
    }

    /// Layers that it computes.
    pub(crate) fn layers(&self) -> usize {
        let here = |op: &&Op| matches!(op, Op::Attention { attention, .. } if attention.cache.is_some());
        self.plan.ops[self.first..].iter().filter(here).count()
    }

    fn with(
        device: &Arc<Device>,
        weights: Arc<Weights>,
        plan: Arc<Plan>,
        options: Options,
        program: Program,
        kept: Kept,
    ) -> Result<Self, Error> {
        let bytes = bytes(&program, &options);
        let memory = device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let refused = device.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let faults = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = Self::make(device, weights, plan, options, program, kept);
        let fault = ready(faults.pop());
        let fault = ready(refused.pop()).or(fault);
        if ready(memory.pop()).is_some() {
            return Err(Error::Memory(bytes));
        }
        match fault {
            Some(fault) => Err(Error::Device(fault.to_string())),
            None => {
                made.device.keep_pipelines();
                Ok(made)
            }
        }
    }

    fn make(
        device: &Arc<Device>,
        weights: Arc<Weights>,
        plan: Arc<Plan>,
        options: Options,
        program: Program,
        mut kept: Kept,
    ) -> Self {
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = |bytes: usize, usage| {
            let size = (bytes.max(16) as u64).next_multiple_of(16);
            device.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        // Tables of all pages twice: texts that share pages list them both.
        let tables_max = 2 * options.pages + 256;
        let batch = buffer(4 * (Step::words(&program, options.tokens_max) + tables_max), storage);
        let acts = buffer(4 * program.acts, storage | wgpu::BufferUsages::COPY_SRC);
        let rows = if program.selects { program.outputs_max } else { options.tokens_max };
        let read = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let best = program.best.map_or(0, |best| best.stride);
        let stride = program.output.stride.max(program.states.1.stride).max(best);
        let staging = buffer(4 * rows * stride, read);
        let lists = buffer(4 * program.lists.len(), storage);
        device.queue.write_buffer(&lists, 0, &bytes_of(program.lists.iter().map(|x| x.to_bits())));
        let nothing = buffer(16, storage);
        let unused = buffer(16, storage);
        let cache = |words: usize| buffer(4 * words * options.pages * PAGE, storage);
        if kept.caches.is_empty() {
            kept.caches = program.caches.iter().map(|words| words.map(cache)).collect();
        }
        let caches = &kept.caches;
        let mut before = std::mem::take(&mut kept.parts);
        let parts: Vec<wgpu::Buffer> = program
            .parts
            .iter()
            .map(|part| {
                let place = place(&weights, part);
                let buffer = before.remove(&place).or_else(|| kept.parts.get(&place).cloned());
                let buffer = buffer.unwrap_or_else(|| upload(device, &weights, part, &options));
                kept.parts.insert(place, buffer.clone());
                buffer
            })
            .collect();

        let stride = device.params_stride;
        let params = buffer(
            stride as usize * program.dispatches.len().max(1),
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        );
        let mut all = Vec::new();
        for dispatch in &program.dispatches {
            all.extend(bytes_of(dispatch.params.0));
            all.resize(all.len().next_multiple_of(stride as usize), 0);
        }
        device.queue.write_buffer(&params, 0, &all);
        let prepared = program.dispatches.iter().enumerate().map(|(i, dispatch)| {
            let part = dispatch.part.map_or(&nothing, |part| &parts[part]);
            let [keys, values] = dispatch.cache.map_or([&unused, &unused], |cache| caches[cache].each_ref());
            let seen = [&batch, &acts, &acts, &lists, part, keys, values, part];
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &params,
                    offset: i as u64 * stride,
                    size: core::num::NonZeroU64::new(128),
                }),
            }];
            entries.extend(seen.iter().enumerate().map(|(i, buffer)| wgpu::BindGroupEntry {
                binding: i as u32 + 1,
                resource: buffer.as_entire_binding(),
            }));
            let layout = &device.layout;
            let group =
                device.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
            let kernels = dispatch.kernels.iter().map(|(rows, kernel)| (*rows, device.pipeline(*kernel))).collect();
            (kernels, group)
        });
        let ready = prepared.collect();
        Self {
            device: Arc::clone(device),
            weights,
            plan,
            options,
            program,
            ready,
            batch,
            acts,
            staging,
            kept,
            first: 0,
            tables_max,
            over: None,
            steps: 0,
            ahead: None,
        }
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Bytes that it takes on the device.
    pub fn bytes(&self) -> u64 {
        bytes(&self.program, &self.options)
    }

    /// What it does in a step.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Whether a batch can be run.
    pub(crate) fn check(&self, batch: &Batch<'_>) -> Result<(), Fault> {
        batch.check(&self.plan, &self.weights, self.options.tokens_max, self.options.pages)
    }

    /// Runs a checked batch. `over` is what the first half of the plan left, where that runs elsewhere.
    pub(crate) fn run(&mut self, batch: &Batch<'_>, over: Option<&[f32]>, mut wanted: Wanted<'_>) -> Result<(), Fault> {
        if self.options.lose_after == Some(self.steps) {
            self.device.lose();
        }
        self.steps += 1;
        if self.device.is_lost() {
            return Err(Fault::Lost);
        }
        let cached = !self.plan.caches.is_empty();
        for part in step::parts(batch, cached, self.program.outputs_max, self.tables_max)? {
            if let (Some(over), Some(slot)) = (over, self.over) {
                self.carry(&over[part.start * slot.width..part.end * slot.width], slot);
            }
            let part = Batch { tokens: &batch.tokens[part], ..*batch };
            self.submit(&Step::new(&self.program, &part, cached), &mut wanted)?;
        }
        Ok(())
    }

    /// Writes rows that come from elsewhere into a buffer of the plan.
    fn carry(&self, rows: &[f32], slot: Region) {
        let mut words = Vec::with_capacity(rows.len() / slot.width * slot.stride);
        for row in rows.chunks_exact(slot.width) {
            words.extend(row.iter().map(|x| x.to_bits()));
            words.resize(words.len() + slot.stride - slot.width, 0);
        }
        self.device.queue.write_buffer(&self.acts, 4 * slot.at as u64, &bytes_of(words));
    }

    /// One submission; `out` gets what is wanted of it.
    fn submit(&mut self, step: &Step, wanted: &mut Wanted<'_>) -> Result<(), Fault> {
        let rows = if self.program.selects { step.outputs } else { step.tokens } as usize;
        self.tell(step);
        let (all, output) = (self.program.dispatches.len(), self.program.output);
        match wanted {
            Wanted::All(out) => {
                self.compute(step, Shape::new(step, all, false, output, rows), &mut |row| out.extend(row))
            }
            Wanted::States(out) => {
                let (count, states) = self.program.states;
                self.compute(step, Shape::new(step, count, false, states, rows), &mut |row| out.extend(row))
            }
            Wanted::Best(most, out) => {
                let start = out.len();
                let best = self.program.best.filter(|_| *most <= BEST_GROUPS * BEST_KEPT);
                if let Some(best) = best {
                    let mut missed = false;
                    self.compute(step, Shape::new(step, all, true, best, rows), &mut |pairs| {
                        let (candidates, sure) = candidates(pairs, *most);
                        out.push(candidates);
                        missed |= !sure;
                    })?;
                    if !missed {
                        return Ok(());
                    }
                    // The best lay so unevenly that some may be missing: the whole rows are still there.
                    out.truncate(start);
                }
                let count = if best.is_some() { 0 } else { all };
                self.compute(step, Shape::new(step, count, false, output, rows), &mut |row| {
                    let (row, mut candidates): (Vec<f32>, _) = (row.collect(), Vec::new());
                    sample::take(&row, *most, &mut candidates);
                    out.push(candidates);
                })
            }
        }
    }

    /// What the device needs to know of a step; it goes with the next submission.
    pub(crate) fn tell(&self, step: &Step) {
        self.device.queue.write_buffer(&self.batch, 0, &bytes_of(step.words.iter().copied()));
    }

    /// The first `count` dispatches of a step; `stamps` gets the time before each and after the last.
    pub(crate) fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        step: &Step,
        count: usize,
        best: bool,
        stamps: Option<&wgpu::QuerySet>,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let stamp = |pass: &mut wgpu::ComputePass<'_>, i: usize| {
            if let Some(set) = stamps {
                pass.write_timestamp(set, i as u32);
            }
        };
        stamp(&mut pass, 0);
        for (i, (dispatch, (kernels, group))) in self.program.dispatches.iter().zip(&self.ready).take(count).enumerate()
        {
            let rows = if dispatch.selected { step.outputs } else { step.tokens };
            let [x, y, z] = dispatch.groups(rows, step.segments);
            let is_wanted = step.wants(dispatch) && ![x, y, z].contains(&0);
            if is_wanted && (best || !matches!(dispatch.grid, Grid::Best(_))) {
                let kernel = kernels.iter().find(|(most, _)| rows <= *most).or(kernels.last());
                pass.set_pipeline(&kernel.expect("every dispatch has a kernel").1);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(x, y, z);
            }
            stamp(&mut pass, i + 1);
        }
    }

    /// The commands of a step, the copy of what is wanted of it among them.
    fn commands(&self, step: &Step, shape: &Shape) -> wgpu::CommandBuffer {
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if shape.count > 0 {
            self.encode(&mut encoder, step, shape.count, shape.best, None);
        }
        let size = bytes_read(shape);
        if size > 0 {
            encoder.copy_buffer_to_buffer(&self.acts, 4 * shape.read.at as u64, &self.staging, 0, size);
        }
        encoder.finish()
    }

    /// Submits, waits, and hands out rows of the activations.
    fn compute(
        &mut self,
        step: &Step,
        shape: Shape,
        each: &mut dyn FnMut(&mut dyn Iterator<Item = f32>),
    ) -> Result<(), Fault> {
        let commands = match self.ahead.take() {
            Some((expected, commands)) if expected == shape => commands,
            _ => self.commands(step, &shape),
        };
        let device = Arc::clone(&self.device);
        let index = device.queue.submit([commands]);
        let size = bytes_read(&shape);
        let slice = self.staging.slice(..size.max(4));
        if size > 0 {
            slice.map_async(wgpu::MapMode::Read, |_| {});
        }
        // While the device computes: most steps are like the one before, and commands take a tenth as long to write as to do.
        if shape.best {
            self.ahead = Some((shape.clone(), self.commands(step, &shape)));
        }
        // The thread sleeps until the device is done; nobody looks again and again.
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
        if device.device.poll(wait).is_err() || device.is_lost() {
            return Err(Fault::Lost);
        }
        if size > 0 {
            let view = slice.get_mapped_range().map_err(|_| Fault::Lost)?;
            let Region { stride, width, .. } = shape.read;
            for row in 0..shape.rows {
                let bytes = &view[4 * row * stride..][..4 * width];
                each(&mut bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
            drop(view);
            self.staging.unmap();
        }
        Ok(())
    }
}

/// Whole rows with what lies beside them; the last ends where the result does.
fn bytes_read(shape: &Shape) -> u64 {
    let Region { stride, width, .. } = shape.read;
    shape.rows.checked_sub(1).map_or(0, |before| 4 * (before * stride + width) as u64)
}

/// What of a step is wanted, and where it goes.
pub(crate) enum Wanted<'o> {
    /// The rows of the result.
    All(&'o mut Vec<f32>),
    /// The rows of the last hidden states.
    States(&'o mut Vec<f32>),
    /// So many of the best of each row of the result, best first.
    Best(usize, &'o mut Vec<Vec<Candidate>>),
}

/// The `most` best of the pairs that a device found, and whether these are sure to be the best of the whole row.
fn candidates(pairs: &mut dyn Iterator<Item = f32>, most: usize) -> (Vec<Candidate>, bool) {
    let pairs: Vec<f32> = pairs.collect();
    let (mut found, mut hidden) = (Vec::with_capacity(pairs.len() / 2), f32::NEG_INFINITY);
    for group in pairs.chunks_exact(2 * BEST_KEPT) {
        let kept = group.chunks_exact(2).filter(|pair| pair[0] >= 0.0);
        found.extend(kept.map(|pair| Candidate { id: pair[0] as u32, logit: pair[1], share: 0.0 }));
        // What a group did not keep is at most as large as the last that it kept.
        let last = &group[2 * BEST_KEPT - 2..];
        if last[0] >= 0.0 {
            hidden = hidden.max(last[1]);
        }
    }
    found.sort_unstable_by(sample::order);
    found.truncate(most.max(1));
    let sure = hidden == f32::NEG_INFINITY || found.get(most.max(1) - 1).is_some_and(|least| least.logit >= hidden);
    (found, sure)
}

impl Backend for Engine {
    fn tokens_max(&self) -> usize {
        self.options.tokens_max
    }

    fn pages(&self) -> usize {
        self.options.pages
    }

    fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        out.clear();
        self.check(batch)?;
        self.run(batch, None, Wanted::All(out))
    }

    fn step_best(&mut self, batch: &Batch<'_>, most: usize, out: &mut Vec<Vec<Candidate>>) -> Result<(), Fault> {
        out.clear();
        self.check(batch)?;
        self.run(batch, None, Wanted::Best(most, out))
    }

    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        out.clear();
        self.check(batch)?;
        self.run(batch, None, Wanted::States(out))
    }

    fn replan(&mut self, weights: Arc<Weights>, plan: Arc<Plan>) -> Result<(), Fault> {
        self.go_on(weights, plan, None)
    }

    fn profile(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<Timing>>, Fault> {
        self.check(batch)?;
        self.times(batch)
    }
}

/// Words as the device reads them.
fn bytes_of(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Bytes that are handed to the driver before it is waited for.
const IN_FLIGHT: usize = 64 << 20;

fn upload(device: &Device, weights: &Weights, part: &Part, options: &Options) -> wgpu::Buffer {
    let buffer = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: (part.bytes() as u64).next_multiple_of(16).max(16),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut flying = 0;
    part.pack(weights, |at, bytes| {
        device.queue.write_buffer(&buffer, at as u64, bytes);
        flying += bytes.len();
        if flying > IN_FLIGHT {
            flying = 0;
            settle(device);
        }
    });
    settle(device);
    if let Some(release) = &options.release {
        for (id, rows) in &part.pieces {
            let row = weights.tensor(*id).row_bytes();
            release(&weights.data(*id)[rows.start * row..rows.end * row]);
        }
    }
    buffer
}

/// Waits until what was handed over has arrived. A device that is gone is noticed in the first step.
fn settle(device: &Device) {
    let index = device.queue.submit([]);
    let _ = device.device.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: None });
}

/// Bytes that a program takes on the device.
pub fn bytes(program: &Program, options: &Options) -> u64 {
    let weights: usize = program.parts.iter().map(Part::bytes).sum();
    let cache: usize = program.caches.iter().flatten().map(|words| words * 4 * options.pages * PAGE).sum();
    (weights + cache + 4 * (program.acts + program.lists.len())) as u64
}
