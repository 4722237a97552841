//! The GPU computes what the interpreter computes: every architecture, every block format, every operation, odd shapes.

mod gpu;
#[path = "../../../core/llm/tests/tiny/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod tiny;

use std::sync::Arc;

use tutu_gpu::{Caps, Device, Engine, Options, kernel::is_float};
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, PAGE, Token},
    lora,
    plan::{Attention, Cache, Experts, Function, Gating, NormKind, Op, Pairs, Plan, Rope, Row, Slot, Write, Yarn},
    quant::{Kind, dequantise, quantise},
    reference::{self, Reference},
    weights::{TensorId, Weights},
};

/// The cache holds halves here and floats in the interpreter: 2^-11 each, over some layers.
const MODEL: f32 = 1e-2;
/// Sums in another order, and functions that a driver may round by some units in the last place.
const EXACT: f32 = 2e-5;

fn engine(device: &Arc<Device>, weights: &Arc<Weights>, plan: &Arc<Plan>, pages: usize) -> Engine {
    with(device, weights, plan, pages, None)
}

fn with(device: &Arc<Device>, weights: &Arc<Weights>, plan: &Arc<Plan>, pages: usize, caps: Option<Caps>) -> Engine {
    let options = Options { tokens_max: 64, pages, release: None, caps, lose_after: None };
    Engine::new(Arc::clone(device), Arc::clone(weights), Arc::clone(plan), options).unwrap()
}

/// The device as it is, and as one that can do less: every kernel runs.
fn families(device: &Device) -> Vec<Caps> {
    let own = device.caps().plain();
    let mut all =
        vec![Caps { software: true, subgroup: None, ..own }, Caps { software: false, subgroups: false, ..own }];
    if own.subgroup.is_some() {
        all.push(Caps { software: true, ..own });
    }
    if own.subgroups {
        all.push(Caps { software: false, ..own });
    }
    all
}

/// The device as one that multiplies narrow numbers, or matrices, as far as it can.
fn narrow_families(device: &Device) -> Vec<Caps> {
    let own = device.caps();
    let plain = Caps { software: false, ..own.plain() };
    let mut all = Vec::new();
    if own.subgroups {
        // Without the instruction drivers do it in several.
        all.push(Caps { packed: true, ..plain });
    }
    if own.halves {
        all.push(Caps { halves: true, ..plain });
    }
    if own.matrices.is_some() {
        all.push(Caps { matrices: own.matrices, ..plain });
    }
    all
}

/// The typical element.
fn size(truth: &[f32]) -> f32 {
    (truth.iter().map(|x| x * x).sum::<f32>() / truth.len() as f32).sqrt()
}

/// The largest difference, as a part of a typical size of the truth.
fn off(found: &[f32], truth: &[f32]) -> f32 {
    assert_eq!(found.len(), truth.len());
    let worst = found.iter().zip(truth).map(|(a, b)| (a - b).abs());
    // Not `max`, which passes over what is no number.
    worst.fold(0.0, |worst, x| if x <= worst { worst } else { x }) / size(truth)
}

#[test]
fn every_architecture_is_computed_as_the_interpreter_computes_it() {
    let Some(device) = gpu::device() else { return };
    let ids = tiny::tokens();
    for name in tiny::NAMES {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        let pages = ids.len().div_ceil(PAGE);
        let options = reference::Options { tokens_max: 64, pages };
        let truth = tiny::run(&mut Reference::new(model.weights.clone(), model.plan.clone(), options), &ids, 64);
        let mut engine = engine(&device, &model.weights, &model.plan, pages);
        let steps: &[usize] = if model.plan.caches.is_empty() { &[64] } else { &[64, 7, 1] };
        for &at_a_time in steps {
            let off = off(&tiny::run(&mut engine, &ids, at_a_time), &truth);
            assert!(off < MODEL, "{name}, {at_a_time} at a time: off by {off}");
        }
    }
}

#[test]
fn texts_do_not_see_each_other() {
    let Some(device) = gpu::device() else { return };
    let ids = tiny::tokens();
    for name in ["llama", "gemma2", "nomic-bert"] {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        let token = |sequence: u32, i: usize, id: u32| Token { id, position: i as u32, sequence, output: true };
        let mixed: Vec<Token> =
            (0..30).map(|i| token(0, i, ids[i])).chain((0..9).map(|i| token(1, i, ids[i] ^ 1))).collect();
        let batch = Batch::new(&mixed, &[&[2, 3], &[5]]);
        let (mut truth, mut found) = (Vec::new(), Vec::new());
        let options = reference::Options { tokens_max: 64, pages: 8 };
        Reference::new(model.weights.clone(), model.plan.clone(), options).step(&batch, &mut truth).unwrap();
        engine(&device, &model.weights, &model.plan, 8).step(&batch, &mut found).unwrap();
        let off = off(&found, &truth);
        assert!(off < MODEL, "{name}: off by {off}");
    }
}

/// How far each element of a product with `weight` may be off in narrow numbers, for each row of x.
///
/// `n` neighbours of x are a part of the largest, `top`. Bytes: each is off by half a step of `top / 127`, and their sums are
/// exact. Halves: by half a unit of `top`, 2^-12; and each of the eight sums of a group rounds, by 2^-11 of what is added up so
/// far; a quantum times its scale is at most twice the largest weight of its block, which has a minimum perhaps.
/// Matrices: weights and x are halves, sums are not.
fn moved_by_narrow(caps: Caps, weights: &Weights, weight: TensorId, x: &[f32]) -> Vec<f64> {
    let tensor = weights.tensor(weight);
    let [width, rows, _] = tensor.dims;
    let mut moved = Vec::new();
    let decoded: Vec<Vec<f32>> = weights
        .data(weight)
        .chunks_exact(tensor.row_bytes())
        .map(|row| {
            let mut out = vec![0.0; width];
            dequantise(tensor.kind, row, &mut out);
            out
        })
        .collect();
    for x in x.chunks_exact(width) {
        for row in &decoded[..rows] {
            let largest = |of: &[f32]| of.iter().fold(0.0f32, |top, x| top.max(x.abs()));
            let each = (0..width).map(|i| {
                let (w, x_i) = (f64::from(row[i].abs()), f64::from(x[i].abs()));
                let (of_x, of_w) = (i / 16 * 16, i / 32 * 32);
                let top = f64::from(largest(&x[of_x..(of_x + 16).min(width)]));
                if caps.matrices.is_some() {
                    let (dw, dx) = (rounded(w), rounded(x_i));
                    dw * x_i + dx * w + dw * dx
                } else {
                    let quantum = 2.0 * f64::from(largest(&row[of_w..(of_w + 32).min(width)]));
                    let of_sums = 8.0 * 2f64.powi(-11) * quantum * x_i;
                    if caps.packed { w * top / 254.0 } else { w * top * 2f64.powi(-12) + of_sums }
                }
            });
            moved.push(1.01 * each.sum::<f64>());
        }
    }
    moved
}

/// Numbers between -1 and 1.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 8_388_608.0 - 1.0
    }

    fn tensor(&mut self, weights: &mut Weights, name: &str, kind: Kind, dims: [usize; 3]) -> TensorId {
        let mut bytes = Vec::new();
        for _ in 0..dims[1] * dims[2] {
            let row: Vec<f32> = (0..dims[0]).map(|_| self.next()).collect();
            let mut out = vec![0; kind.row_bytes(dims[0]).unwrap()];
            quantise(kind, &row, &mut out).unwrap();
            bytes.extend(out);
        }
        weights.add_owned(name, kind, dims, bytes).unwrap()
    }
}

/// Tokens of the tables below.
const IDS: usize = 50;

/// All of them, in some order.
fn ids() -> Vec<u32> {
    (0..IDS as u32).map(|i| (i * 17 + 3) % IDS as u32).collect()
}

/// A plan of some operations after an embedding of `width` elements into the first buffer; they are given the weights,
/// and answer the buffers, what they do, the caches and where the result lies.
struct Case {
    weights: Weights,
    noise: Noise,
    buffers: Vec<usize>,
    ops: Vec<Op>,
    caches: Vec<Cache>,
}

impl Case {
    fn new(width: usize) -> (Self, Slot) {
        let mut case = Self { weights: Weights::new(), noise: Noise(3), buffers: vec![], ops: vec![], caches: vec![] };
        let table = case.tensor(Kind::F32, [width, IDS, 1]);
        let x = case.buffer(width);
        case.ops.push(Op::Embed { table, scale: 1.5, out: x });
        (case, x)
    }

    /// The same, with elements that are halves already: a cache does not round them.
    fn of_halves(width: usize) -> (Self, Slot) {
        let mut case = Self { weights: Weights::new(), noise: Noise(3), buffers: vec![], ops: vec![], caches: vec![] };
        let table = case.tensor(Kind::F16, [width, IDS, 1]);
        let x = case.buffer(width);
        case.ops.push(Op::Embed { table, scale: 1.0, out: x });
        (case, x)
    }

    fn tensor(&mut self, kind: Kind, dims: [usize; 3]) -> TensorId {
        let name = format!("t{}", self.weights.iter().count());
        self.noise.tensor(&mut self.weights, &name, kind, dims)
    }

    fn buffer(&mut self, width: usize) -> Slot {
        self.buffers.push(width);
        Slot { buffer: self.buffers.len() - 1, column: 0, width }
    }

    /// Holds the GPU against the interpreter, with all tokens at once and with one, three and seven at a time.
    fn check(self, what: &str, output: Slot, tolerance: f32) {
        self.hold(what, output, &|truth| vec![tolerance * size(truth); truth.len()]);
    }

    /// The same; `limits` says of each element of the truth how far it may be off.
    fn hold(self, what: &str, output: Slot, limits: &dyn Fn(&[f32]) -> Vec<f32>) {
        let Some(device) = gpu::device() else { return };
        let cached = !self.caches.is_empty();
        let apart = cached || !self.ops.iter().any(|op| matches!(op, Op::Attention { .. }));
        let plan = Arc::new(Plan { buffers: self.buffers, ops: self.ops, caches: self.caches, output });
        let weights = Arc::new(self.weights);
        let options = reference::Options { tokens_max: 64, pages: 2 };
        let truth = tiny::run(&mut Reference::new(weights.clone(), plan.clone(), options), &ids(), 64);
        let limits = limits(&truth);
        let mut worst: f32 = 0.0;
        let products = plan.ops.iter().any(|op| matches!(op, Op::Linear { .. }));
        let experts = plan.ops.iter().any(|op| matches!(op, Op::Experts { .. }));
        let attention = plan.ops.iter().any(|op| matches!(op, Op::Attention { .. }));
        let own = device.caps();
        let mut families = if products || experts { families(&device) } else { vec![own] };
        // These have no kernel of their own for devices in software.
        families.retain(|caps| !experts || !caps.software);
        // And this one for each of the two kinds.
        if attention && !products {
            families.push(Caps { software: !own.software, ..own });
        }
        for caps in families {
            let mut engine = with(&device, &weights, &plan, 2, Some(caps));
            let steps: &[usize] = match (apart, experts) {
                (false, _) => &[64],
                // Nor one for each number of tokens.
                (_, true) => &[64, 3],
                _ if attention && caps.software != own.software => &[64, 3],
                _ => &[64, 7, 3, 1],
            };
            for &at_a_time in steps {
                let found = tiny::run(&mut engine, &ids(), at_a_time);
                let what = format!("{what}, {at_a_time} at a time, {caps:?}");
                worst = worst.max(parts(&what, &found, &truth, &limits).0);
            }
        }
        println!("{what}: off by {worst:.3} of what it may be");
    }

    /// Holds a product, the only one, in narrow numbers to what these may change.
    fn hold_narrow(self, what: &str) {
        let Some(device) = gpu::device() else { return };
        let Some(Op::Linear { weight, x, out, .. }) = self.ops.last().cloned() else { unreachable!("made so") };
        let weights = Arc::new(self.weights);
        let options = reference::Options { tokens_max: 64, pages: 2 };
        let run = |ops: &[Op], output: Slot| {
            let plan = Plan { buffers: self.buffers.clone(), ops: ops.to_vec(), caches: vec![], output };
            (tiny::run(&mut Reference::new(weights.clone(), Arc::new(plan.clone()), options), &ids(), 64), plan)
        };
        let (rows, _) = run(&self.ops[..self.ops.len() - 1], x);
        let (truth, plan) = run(&self.ops, out);
        let plan = Arc::new(plan);
        let kind = weights.tensor(weight).kind;
        for caps in narrow_families(&device) {
            let steps: &[usize] = match (caps.matrices, is_float(kind)) {
                (Some(_), _) if kind != Kind::F32 => &[64],
                (None, false) if caps.packed => &[64, 3],
                (None, false) => &[64],
                // Nothing is narrow here.
                _ => continue,
            };
            let moved = moved_by_narrow(caps, &weights, weight, &rows);
            let limits: Vec<f32> = moved.iter().map(|moved| *moved as f32 + EXACT * size(&truth)).collect();
            let mut engine = with(&device, &weights, &plan, 2, Some(caps));
            for &at_a_time in steps {
                let found = tiny::run(&mut engine, &ids(), at_a_time);
                let what = format!("{what}, {at_a_time} at a time, {caps:?}");
                let (worst, typical) = parts(&what, &found, &truth, &limits);
                println!("{what}: off by {worst:.3} of what it may be, {typical:.4} typically");
                assert!(!device.is_plain(), "{what}: the driver refused a kernel, and another one was held");
                // Roundings go both ways; what is wrong does not.
                assert!(typical <= 0.1, "{what}: off by {typical} of what it may be, typically");
            }
        }
    }
}

/// How far elements are off, as parts of what they may be: the worst and the typical one. None may be off by more.
fn parts(what: &str, found: &[f32], truth: &[f32], limits: &[f32]) -> (f32, f32) {
    assert_eq!(found.len(), truth.len());
    let mut parts = Vec::new();
    for ((found, truth), limit) in found.iter().zip(truth).zip(limits) {
        let part = (found - truth).abs() / limit;
        // Not `>`, which lets pass what is no number.
        assert!(part <= 1.0, "{what}: {found} and not {truth} +- {limit}");
        parts.push(part);
    }
    (parts.iter().fold(0.0, |worst, part| part.max(worst)), size(&parts))
}

#[test]
fn every_format_is_multiplied_as_the_interpreter_multiplies_it() {
    for kind in Kind::ALL {
        // Rows that fill no workgroup, a width of an odd number of blocks; columns that begin anywhere.
        let width = if kind.block_len() == 256 { 768 } else { 96 };
        for (rows, add) in [(45, false), (3, true), (131, false)] {
            let (mut case, x) = Case::new(width);
            let weight = case.tensor(kind, [width, rows, 1]);
            let bias = case.tensor(Kind::F32, [rows, 1, 1]);
            let wide = case.buffer(rows + 5);
            let out = wide.band(3, rows);
            if add {
                case.ops.push(Op::Linear { weight, bias: None, x, out, write: Write::Set });
            }
            let write = if add { Write::Add(0.5) } else { Write::Set };
            case.ops.push(Op::Linear { weight, bias: Some(bias), x, out, write });
            case.check(&format!("{kind}, {rows} rows"), out, EXACT);
        }
    }
}

#[test]
fn narrow_numbers_move_a_product_by_what_they_round() {
    for kind in Kind::ALL {
        let width = if kind.block_len() == 256 { 768 } else { 96 };
        let (mut case, x) = Case::new(width);
        let weight = case.tensor(kind, [width, 131, 1]);
        let out = case.buffer(136).band(3, 131);
        case.ops.push(Op::Linear { weight, bias: None, x, out, write: Write::Set });
        case.hold_narrow(&format!("{kind}"));
    }
}

#[test]
fn x_may_begin_anywhere() {
    for kind in [Kind::F32, Kind::Q4_1, Kind::Q8_0] {
        let (mut case, x) = Case::new(101);
        let x = x.band(5, 96);
        let weight = case.tensor(kind, [96, 33, 1]);
        let out = case.buffer(33);
        case.ops.push(Op::Linear { weight, bias: None, x, out, write: Write::Set });
        case.check(&format!("{kind}"), out, EXACT);
    }
}

#[test]
fn rows_of_any_length_are_multiplied() {
    for kind in [Kind::F32, Kind::F16, Kind::Bf16] {
        for width in [1, 7, 8, 13, 70] {
            let (mut case, x) = Case::new(width + 2);
            let x = x.band(1, width);
            let weight = case.tensor(kind, [width, 19, 1]);
            let out = case.buffer(19);
            case.ops.push(Op::Linear { weight, bias: None, x, out, write: Write::Set });
            case.check(&format!("{kind}, {width} wide"), out, EXACT);
        }
    }
}

#[test]
fn products_side_by_side_become_one() {
    let Some(device) = gpu::device() else { return };
    let (mut case, x) = Case::new(64);
    let all = case.buffer(100);
    let mut at = 0;
    for rows in [60, 20, 20] {
        let weight = case.tensor(Kind::Q8_0, [64, rows, 1]);
        let bias = Some(case.tensor(Kind::F32, [rows, 1, 1]));
        case.ops.push(Op::Linear { weight, bias, x, out: all.band(at, rows), write: Write::Set });
        at += rows;
    }
    let plan = Plan { buffers: case.buffers.clone(), ops: case.ops.clone(), caches: vec![], output: all };
    let size = tutu_gpu::record::Size { tokens: 64, pages: 2 };
    let program = tutu_gpu::record::record(&case.weights, &plan, size, device.caps()).unwrap();
    assert_eq!(program.dispatches.len(), 2);
    case.check("three products", all, EXACT);
}

#[test]
fn every_format_is_looked_up() {
    for kind in Kind::ALL {
        let width = if kind.block_len() == 256 { 512 } else { 96 };
        let (mut case, x) = Case::new(width);
        let table = case.tensor(kind, [width, IDS, 1]);
        case.ops.push(Op::AddRow { table, row: Row::Position, out: x });
        case.ops.push(Op::AddRow { table, row: Row::Fixed(7), out: x });
        case.check(&format!("{kind}"), x, EXACT);
    }
}

#[test]
fn norms_are_as_the_interpreter_computes_them() {
    for kind in [NormKind::Rms, NormKind::Layer] {
        for (width, group, weighted) in
            [(70, 70, true), (96, 32, true), (1030, 1030, false), (6, 3, true), (640, 640, true)]
        {
            let (mut case, x) = Case::new(width);
            let weight = weighted.then(|| case.tensor(Kind::F32, [group, 1, 1]));
            let bias = weighted.then(|| case.tensor(Kind::F16, [group, 1, 1]));
            let out = case.buffer(width);
            case.ops.push(Op::Norm { kind, group, epsilon: 1e-5, weight, bias, x, out });
            case.ops.push(Op::Norm { kind, group, epsilon: 1e-5, weight, bias: None, x: out, out });
            case.ops.push(Op::Add { scale: 0.75, x: out, out: x });
            case.check(&format!("{kind:?} of {group}"), x, EXACT);
        }
    }
}

#[test]
fn functions_are_as_the_interpreter_computes_them() {
    let clamped = Function::SwigluClamped { alpha: 1.702, limit: 0.9 };
    for function in [Function::Silu, Function::Gelu, Function::GeluTanh, Function::Relu, clamped] {
        // Large numbers too: exponentials overflow in drivers.
        for scale in [1.0, 200.0] {
            let (mut case, x) = Case::new(77);
            let (a, b) = (x.band(0, 38), x.band(38, 38));
            case.ops.push(Op::Scale { scale, x: a, out: a });
            if function != clamped {
                case.ops.push(Op::Activate { function, x: b });
            }
            case.ops.push(Op::Gated { function, gate: a, up: b, out: a });
            case.check(&format!("{function:?} of {scale}"), x, EXACT);
        }
    }
}

#[test]
fn sums_and_caps_are_as_the_interpreter_computes_them() {
    let (mut case, x) = Case::new(77);
    let y = case.buffer(77);
    case.ops.push(Op::Scale { scale: 40.0, x, out: y });
    case.ops.push(Op::Add { scale: -0.3, x, out: y });
    case.ops.push(Op::Softcap { cap: 5.0, x: y });
    case.check("softcap", y, EXACT);
}

#[test]
fn wanted_rows_are_kept() {
    let Some(device) = gpu::device() else { return };
    let (mut case, x) = Case::new(70);
    let out = case.buffer(70);
    case.ops.push(Op::Select { x, out });
    case.ops.push(Op::Scale { scale: 2.0, x: out, out });
    let plan = Arc::new(Plan { buffers: case.buffers, ops: case.ops, caches: vec![], output: out });
    let weights = Arc::new(case.weights);
    let tokens: Vec<Token> = (0..20).map(|i| Token { id: i, position: i, sequence: 0, output: i % 3 == 1 }).collect();
    let batch = Batch::new(&tokens, &[&[0]]);
    let (mut truth, mut found) = (Vec::new(), Vec::new());
    let options = reference::Options { tokens_max: 64, pages: 2 };
    Reference::new(weights.clone(), plan.clone(), options).step(&batch, &mut truth).unwrap();
    let mut engine = engine(&device, &weights, &plan, 2);
    engine.step(&batch, &mut found).unwrap();
    assert!(off(&found, &truth) < EXACT);
    let quiet: Vec<Token> = tokens.iter().map(|token| Token { output: false, ..*token }).collect();
    engine.step(&Batch::new(&quiet, &[&[0]]), &mut found).unwrap();
    assert!(found.is_empty());
}

fn rope(head: usize, dims: usize, pairs: Pairs) -> Rope {
    Rope { head, dims, pairs, base: 10_000.0, scale: 1.0, factors: None, yarn: None, magnitude: 1.0 }
}

#[test]
fn every_rope_turns_as_the_interpreter_turns_it() {
    for pairs in [Pairs::Adjacent, Pairs::Halves] {
        for (head, dims) in [(8, 8), (10, 6), (64, 32), (80, 80)] {
            for variant in 0..4 {
                let (mut case, x) = Case::new(3 * head + 1);
                let mut rope = rope(head, dims, pairs);
                match variant {
                    1 => rope.scale = 0.25,
                    2 => rope.factors = Some(case.tensor(Kind::F32, [dims / 2, 1, 1])),
                    3 => {
                        rope.yarn = Some(Yarn { factor: 1.0, low: 1.0, high: 3.0 });
                        (rope.scale, rope.magnitude) = (0.25, 1.2);
                    }
                    _ => {}
                }
                case.ops.push(Op::Rope { rope, x: x.band(1, 3 * head) });
                case.check(&format!("{pairs:?} {dims} of {head}, variant {variant}"), x, EXACT);
            }
        }
    }
}

/// Query heads, key heads, elements of a key and of a value.
type Shape = (usize, usize, usize, usize);

fn attention((heads, kv_heads, key, value): Shape, cached: bool) -> Attention {
    let scale = 1.0 / (key as f32).sqrt();
    let cache = cached.then_some(0);
    Attention { cache, heads, kv_heads, key, value, scale, window: None, softcap: None, sinks: None }
}

const SHAPES: [Shape; 7] =
    [(4, 2, 16, 16), (9, 3, 64, 64), (2, 2, 10, 7), (3, 1, 80, 80), (8, 1, 128, 130), (20, 2, 6, 4), (2, 1, 256, 256)];

impl Case {
    /// Holds a plan with one attention, whose output is `output` or added to it, to what a cache of halves may change.
    fn hold_attention(self, what: &str, output: Slot) {
        let at = self.ops.iter().position(|op| matches!(op, Op::Attention { .. })).expect("there is one");
        let Op::Attention { attention, q, .. } = self.ops[at].clone() else { unreachable!("just found") };
        let before = self.ops[..at].to_vec();
        // q, k and v lie side by side.
        let all = Slot { buffer: q.buffer, column: 0, width: self.buffers[q.buffer] };
        let plan = Plan { buffers: self.buffers.clone(), ops: before, caches: vec![], output: all };
        let weights = Arc::new(self.weights);
        let options = reference::Options { tokens_max: 64, pages: 2 };
        let rows = tiny::run(&mut Reference::new(weights.clone(), Arc::new(plan), options), &ids(), 64);
        let sinks = attention.sinks.map(|id| {
            weights.data(id).chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>()
        });
        let moved = moved_by_halves(&attention, sinks.as_deref(), &rows, all.width);
        let weights = Arc::into_inner(weights).expect("the interpreter is gone");
        Self { weights, ..self }
            .hold(what, output, &|truth| moved.iter().map(|moved| *moved as f32 + EXACT * size(truth)).collect());
    }
}

/// How far a half may be from what it stands for: half a unit of its eleventh bit; all of it below 2^-14, where drivers may
/// take it for 0.
fn rounded(x: f64) -> f64 {
    let x = x.abs();
    if x < 2f64.powi(-14) { x } else { x * 2f64.powi(-11) }
}

/// How far each element of an attention may move because keys and values are kept as halves; q, k and v are `rows`.
///
/// A score is `scale q k`, and moves by `e = scale sum |q_i| rounded(k_i)` at most (a cap makes that less). The shares are
/// their softmax, `p`; an element of the output is `o = sum p v`. To first order it moves by `sum p e |v - o|`, for what the
/// keys do to the shares, and `sum p rounded(v)`; a hundredth more is for the second order, `e` being below 2^-7. A sink is
/// one more `p`, whose `e` and `v` are 0.
fn moved_by_halves(attention: &Attention, sinks: Option<&[f32]>, rows: &[f32], width: usize) -> Vec<f64> {
    let Attention { heads, kv_heads, key, value, .. } = *attention;
    let row = |token: usize| &rows[token * width..][..width];
    let mut moved = Vec::new();
    for token in 0..rows.len() / width {
        let first = attention.window.map_or(0, |window| (token + 1).saturating_sub(window as usize));
        for head in 0..heads {
            let q = &row(token)[head * key..][..key];
            let kv = head / (heads / kv_heads);
            let k = |other: usize| &row(other)[heads * key + kv * key..][..key];
            let v = |other: usize| &row(other)[(heads + kv_heads) * key + kv * value..][..value];
            let scale = f64::from(attention.scale);
            let score = |other: usize| {
                let sum: f64 = q.iter().zip(k(other)).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                attention.softcap.map_or(scale * sum, |cap| f64::from(cap) * (scale * sum / f64::from(cap)).tanh())
            };
            let strays = |other: usize| -> f64 {
                scale * q.iter().zip(k(other)).map(|(q, k)| f64::from(q.abs()) * rounded(f64::from(*k))).sum::<f64>()
            };
            let weights: Vec<f64> = (first..=token).map(|other| score(other).exp()).collect();
            let sink = sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
            let total: f64 = weights.iter().sum::<f64>() + sink;
            let shares: Vec<(usize, f64, f64)> =
                (first..=token).zip(&weights).map(|(other, weight)| (other, weight / total, strays(other))).collect();
            for i in 0..value {
                let out: f64 = shares.iter().map(|(other, p, _)| p * f64::from(v(*other)[i])).sum();
                let moves = shares.iter().map(|(other, p, e)| {
                    let v = f64::from(v(*other)[i]);
                    p * (e * (v - out).abs() + rounded(v))
                });
                moved.push(1.01 * moves.sum::<f64>());
            }
        }
    }
    moved
}

/// What the halves of the cache round is all that sets attention apart from the interpreter.
#[test]
fn attention_to_halves_is_exact() {
    for shape in SHAPES {
        let (heads, kv_heads, key, value) = shape;
        let (q, k, v) = (heads * key, kv_heads * key, kv_heads * value);
        let (mut case, x) = Case::of_halves(q + k + v);
        let out = case.buffer(heads * value);
        case.caches.push(Cache { heads: kv_heads, key, value, window: None });
        let attention = attention(shape, true);
        case.ops.push(Op::Attention { attention, q: x.band(0, q), k: x.band(q, k), v: x.band(q + k, v), out });
        case.check(&format!("{shape:?}"), out, EXACT);
    }
}

#[test]
fn attention_is_as_the_interpreter_computes_it() {
    for shape in SHAPES {
        for variant in 0..4 {
            let (heads, kv_heads, key, value) = shape;
            let (q, k, v) = (heads * key, kv_heads * key, kv_heads * value);
            let (mut case, x) = Case::new(q + k + v);
            let out = case.buffer(heads * value);
            let mut attention = attention(shape, true);
            match variant {
                1 => attention.window = Some(9),
                2 => (attention.softcap, attention.scale) = (Some(2.0), 2.0 * attention.scale),
                3 => attention.sinks = Some(case.tensor(Kind::F32, [heads, 1, 1])),
                _ => {}
            }
            case.caches.push(Cache { heads: kv_heads, key, value, window: attention.window });
            let (q, k, v) = (x.band(0, q), x.band(q, k), x.band(q + k, v));
            // With the ropes that are computed together with it, and without.
            if variant % 2 == 0 {
                let rope = rope(key, key, if variant == 0 { Pairs::Halves } else { Pairs::Adjacent });
                case.ops.extend([q, k].map(|x| Op::Rope { rope: rope.clone(), x }));
            }
            case.ops.push(Op::Attention { attention, q, k, v, out });
            case.hold_attention(&format!("{shape:?}, variant {variant}"), out);
        }
    }
}

#[test]
fn long_texts_are_cut_and_joined() {
    let Some(device) = gpu::device() else { return };
    let model = Model::load(&[Arc::new(tiny::model("gpt-oss"))], 2048).unwrap();
    let ids: Vec<u32> = (0..700u32).map(|i| (i * 31 + 7) % tiny::VOCABULARY as u32).collect();
    let table: Vec<u32> = (0..22).rev().collect();
    let options = reference::Options { tokens_max: 64, pages: 22 };
    let mut truth = Reference::new(model.weights.clone(), model.plan.clone(), options);
    let mut found = engine(&device, &model.weights, &model.plan, 22);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let token = |i: usize| Token { id: ids[i], position: i as u32, sequence: 0, output: true };
    let tables = [table.as_slice()];
    let mut at = 0;
    while at < ids.len() {
        let end = if at < 640 { at + 64 } else { at + 1 };
        let tokens: Vec<Token> = (at..end).map(token).collect();
        let batch = Batch::new(&tokens, &tables);
        truth.step(&batch, &mut a).unwrap();
        found.step(&batch, &mut b).unwrap();
        let off = off(&b, &a);
        assert!(off < MODEL, "position {at}: off by {off}");
        at = end;
    }
}

#[test]
fn keys_that_are_read_later_are_turned_in_place() {
    let (mut case, x) = Case::new(3 * 16);
    let out = case.buffer(16);
    let (q, k, v) = (x.band(0, 16), x.band(16, 16), x.band(32, 16));
    let rope = rope(16, 16, Pairs::Halves);
    case.caches.push(Cache { heads: 1, key: 16, value: 16, window: None });
    case.ops.extend([q, k].map(|x| Op::Rope { rope: rope.clone(), x }));
    case.ops.push(Op::Attention { attention: attention((1, 1, 16, 16), true), q, k, v, out });
    case.ops.push(Op::Add { scale: 1.0, x: out, out: k });
    case.hold_attention("k + out", k);
}

#[test]
fn attention_without_a_cache_is_as_the_interpreter_computes_it() {
    for shape in [(4, 4, 16, 16), (12, 12, 32, 32), (4, 2, 10, 70)] {
        for sinks in [false, true] {
            let (heads, kv_heads, key, value) = shape;
            let (q, k, v) = (heads * key, kv_heads * key, kv_heads * value);
            let (mut case, x) = Case::new(q + k + v);
            let out = case.buffer(heads * value);
            let mut attention = attention(shape, false);
            if sinks {
                (attention.sinks, attention.softcap) = (Some(case.tensor(Kind::F32, [heads, 1, 1])), Some(3.0));
            }
            case.ops.push(Op::Attention { attention, q: x.band(0, q), k: x.band(q, k), v: x.band(q + k, v), out });
            case.check(&format!("{shape:?}"), out, EXACT);
        }
    }
}

#[test]
fn experts_are_asked_as_the_interpreter_asks_them() {
    let gatings = [
        Gating::SoftmaxThenTop { renormalise: true },
        Gating::SoftmaxThenTop { renormalise: false },
        Gating::TopThenSoftmax,
    ];
    for (i, gating) in gatings.into_iter().enumerate() {
        for (kind, count, used) in [(Kind::F32, 4, 2), (Kind::Mxfp4, 70, 8), (Kind::Q4_1, 5, 5)] {
            let (width, hidden) = (64, 96);
            let (mut case, x) = Case::new(width);
            let out = case.buffer(width);
            let biased = i == 2;
            let bias = |case: &mut Case, dims| biased.then(|| case.tensor(Kind::F32, dims));
            let router_bias = bias(&mut case, [count, 1, 1]);
            let gate_bias = bias(&mut case, [hidden, count, 1]);
            let up_bias = bias(&mut case, [hidden, count, 1]);
            let down_bias = bias(&mut case, [width, count, 1]);
            let experts = Experts {
                router: case.tensor(Kind::F32, [width, count, 1]),
                router_bias,
                used,
                gating,
                scale: 1.5,
                function: if biased { Function::SwigluClamped { alpha: 1.7, limit: 7.0 } } else { Function::Silu },
                gate: case.tensor(kind, [width, hidden, count]),
                // Of another format, once.
                up: case.tensor(if i == 1 { Kind::Q8_0 } else { kind }, [width, hidden, count]),
                down: case.tensor(kind, [hidden, width, count]),
                gate_bias,
                up_bias,
                down_bias,
            };
            case.ops.push(Op::Scale { scale: 1.0, x, out });
            case.ops.push(Op::Experts { experts, x, out });
            case.check(&format!("{kind}, {used} of {count}, {gating:?}"), out, 10.0 * EXACT);
        }
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let Some(device) = gpu::device() else { return };
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let options = Options { tokens_max: 4, pages: 2, release: None, caps: None, lose_after: None };
    let mut engine = Engine::new(device, model.weights, model.plan, options).unwrap();
    let token = |id, position| Token { id, position, sequence: 0, output: true };
    let mut refused =
        |tokens: &[Token], table: &[u32]| engine.step(&Batch::new(tokens, &[table]), &mut Vec::new()).is_err();
    assert!(refused(&[], &[0]));
    assert!(refused(&[token(1, 0); 5], &[0]));
    assert!(refused(&[token(96, 0)], &[0]));
    assert!(refused(&[token(1, 32)], &[0]));
    assert!(refused(&[token(1, 0)], &[2]));
    assert!(!refused(&[token(1, 0)], &[1]));
}

#[test]
fn sequences_of_one_step_take_adapters_of_their_own() {
    let Some(device) = gpu::device() else { return };
    let ids = tiny::tokens();
    let base = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let (one, two) = (tiny::adapter(5), tiny::adapter(77));
    let pages = ids.len().div_ceil(PAGE);
    let token = |sequence: u32, i: usize| Token { id: ids[i], position: i as u32, sequence, output: i % 3 == 1 };
    let tables: Vec<Vec<u32>> = (0..3).map(|n| (n * pages as u32..(n + 1) * pages as u32).collect()).collect();
    let tables: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
    let mut engine = engine(&device, &base.weights, &base.plan, 3 * pages);
    // The first half without adapters; the rest with them, in the same cache; then without one of them.
    let both = lora::attach(&base, &[Some(one), None, Some(two.clone())]).unwrap();
    let last = lora::attach(&base, &[None, Some(two)]).unwrap();
    let options = reference::Options { tokens_max: 64, pages: 3 * pages };
    let mut truth = Reference::new(base.weights.clone(), base.plan.clone(), options);
    let stages = [
        (None, 0..15, [&[][..], &[], &[]]),
        (Some(&both), 15..30, [&[1.0][..], &[], &[0.25, 0.0, 1.0]]),
        (Some(&last), 30..40, [&[0.0, 1.0], &[], &[]]),
    ];
    for (model, range, shares) in stages {
        if let Some(model) = model {
            truth.replan(model.weights.clone(), model.plan.clone()).unwrap();
            engine.replan(model.weights.clone(), model.plan.clone()).unwrap();
        }
        let tokens: Vec<Token> = (0..3).flat_map(|sequence| range.clone().map(move |i| token(sequence, i))).collect();
        let batch = Batch { tokens: &tokens, tables: &tables, shares: &shares };
        let (mut a, mut b) = (Vec::new(), Vec::new());
        truth.step(&batch, &mut a).unwrap();
        engine.step(&batch, &mut b).unwrap();
        let off = off(&b, &a);
        assert!(off < MODEL, "{range:?}: off by {off}");
        let plain = Batch { shares: &[], ..batch };
        let mut without = Vec::new();
        engine.step(&plain, &mut without).unwrap();
        assert_eq!(without == b, shares.iter().all(|shares| shares.is_empty()), "{range:?}: shares matter");
        // What was written without shares is written again.
        engine.step(&batch, &mut without).unwrap();
        assert_eq!(without, b);
    }
}
