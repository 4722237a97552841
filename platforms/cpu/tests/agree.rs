//! The engine computes what the interpreter computes, on every instruction set that this processor has, and gives the
//! same bits however the work is cut.

#[path = "../../../core/llm/tests/tiny/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod tiny;

use std::sync::Arc;

use tutu_cpu::{Engine, Isa, KvKind, Options};
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, PAGE, Token},
    lora,
    plan::{Op, Plan, Slot, Write},
    quant::{Kind, quantise},
    reference::{self, Reference},
    weights::Weights,
};

/// The cache holds halves here and floats in the interpreter: 2^-11 each, over some layers.
const TOLERANCE: f32 = 1e-2;

fn isas() -> Vec<Isa> {
    let has = |isa: &Isa| {
        let plan =
            Plan { buffers: vec![], ops: vec![], caches: vec![], output: Slot { buffer: 0, column: 0, width: 0 } };
        let options = Options { isa: Some(*isa), ..Options::default() };
        Engine::new(Arc::new(Weights::new()), Arc::new(plan), options).is_ok()
    };
    Isa::ALL.into_iter().filter(has).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_architecture_is_computed_as_the_interpreter_computes_it() {
    let ids = tiny::tokens();
    for name in tiny::NAMES {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        let pages = ids.len().div_ceil(PAGE);
        let options = reference::Options { tokens_max: 64, pages };
        let truth = tiny::run(&mut Reference::new(model.weights.clone(), model.plan.clone(), options), &ids, 64);
        let size = truth.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        for isa in isas() {
            let options = Options { tokens_max: 64, pages, isa: Some(isa), threads: 2, ..Options::default() };
            let mut engine = Engine::new(model.weights.clone(), model.plan.clone(), options).unwrap();
            let off = worst(&tiny::run(&mut engine, &ids, 64), &truth);
            assert!(off < TOLERANCE * size, "{name} on {}: off by {off} of {size}", isa.name());
        }
    }
}

#[test]
fn hidden_states_are_those_of_the_interpreter() {
    let ids = tiny::tokens();
    let token = |(i, &id)| Token { id, position: i as u32, sequence: 0, output: i % 3 != 1 };
    let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
    let table: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).collect();
    let tables: [&[u32]; 1] = [&table];
    let batch = Batch::new(&tokens, &tables);
    for name in tiny::NAMES {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        let options = reference::Options { tokens_max: 64, pages: table.len() };
        let mut reference = Reference::new(model.weights.clone(), model.plan.clone(), options);
        let (mut truth, mut logits) = (Vec::new(), Vec::new());
        reference.states(&batch, &mut truth).unwrap();
        let wanted = tokens.iter().filter(|token| token.output).count();
        assert_eq!(truth.len(), wanted * model.facts.embedding, "{name}");
        if model.plan.states().1 == model.plan.output {
            reference.step(&batch, &mut logits).unwrap();
            assert_eq!(truth, logits, "{name} has no head");
        }
        let size = truth.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        for isa in isas() {
            let options =
                Options { tokens_max: 64, pages: table.len(), isa: Some(isa), threads: 2, ..Options::default() };
            let mut engine = Engine::new(model.weights.clone(), model.plan.clone(), options).unwrap();
            let mut states = Vec::new();
            engine.states(&batch, &mut states).unwrap();
            let off = worst(&states, &truth);
            assert!(off < TOLERANCE * size, "{name} on {}: off by {off} of {size}", isa.name());
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_how_the_work_is_cut() {
    let ids = tiny::tokens();
    for name in ["llama", "gemma3", "gpt-oss", "qwen3moe", "phi3"] {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        for isa in isas() {
            let result = |threads, at_a_time| {
                let options = Options { tokens_max: 64, pages: 2, isa: Some(isa), threads, ..Options::default() };
                let mut engine = Engine::new(model.weights.clone(), model.plan.clone(), options).unwrap();
                tiny::run(&mut engine, &ids, at_a_time).iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let whole = result(1, 64);
            for (threads, at_a_time) in [(1, 1), (2, 64), (3, 5), (2, 9)] {
                assert_eq!(
                    result(threads, at_a_time),
                    whole,
                    "{name} on {}: {threads} threads, {at_a_time} at a time",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn a_cache_in_eight_bits_is_nearly_as_good() {
    let ids = tiny::tokens();
    for name in ["llama", "gemma2", "gpt-oss"] {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        for isa in isas() {
            let result = |kv| {
                let options = Options { tokens_max: 64, pages: 2, isa: Some(isa), kv, ..Options::default() };
                tiny::run(&mut Engine::new(model.weights.clone(), model.plan.clone(), options).unwrap(), &ids, 64)
            };
            let (halves, bytes) = (result(KvKind::F16), result(KvKind::Q8_0));
            let size = halves.iter().fold(0.0f32, |a, x| a.max(x.abs()));
            let off = worst(&halves, &bytes);
            assert!(off > 0.0 && off < 0.05 * size, "{name} on {}: off by {off} of {size}", isa.name());
        }
    }
}

#[test]
fn a_token_is_not_changed_by_its_neighbours() {
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let options = Options { tokens_max: 64, pages: 8, threads: 2, ..Options::default() };
    let mut engine = Engine::new(model.weights.clone(), model.plan.clone(), options).unwrap();
    let ids = tiny::tokens();
    let token = |sequence: u32, i: usize, id: u32| Token { id, position: i as u32, sequence, output: true };
    let alone: Vec<Token> = ids.iter().enumerate().map(|(i, &id)| token(0, i, id)).collect();
    let (mut first, mut both) = (Vec::new(), Vec::new());
    engine.step(&Batch::new(&alone, &[&[0, 1]]), &mut first).unwrap();
    let mixed: Vec<Token> =
        alone.iter().copied().chain(ids.iter().take(9).enumerate().map(|(i, &id)| token(1, i, id ^ 1))).collect();
    engine.step(&Batch::new(&mixed, &[&[2, 3], &[5]]), &mut both).unwrap();
    assert_eq!(first[..], both[..first.len()]);
}

/// One product of a matrix in `kind` with some rows.
fn product(kind: Kind, width: usize, rows: usize) -> (Arc<Weights>, Arc<Plan>) {
    let mut state = 3u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let mut packed = |kind: Kind, width: usize, rows: usize| {
        let mut bytes = Vec::new();
        for _ in 0..rows {
            let row: Vec<f32> = (0..width).map(|_| noise()).collect();
            let mut out = vec![0; kind.row_bytes(width).unwrap()];
            quantise(kind, &row, &mut out).unwrap();
            bytes.extend(out);
        }
        bytes
    };
    let mut weights = Weights::new();
    let table = weights.add_owned("x", Kind::F32, [width, 20, 1], packed(Kind::F32, width, 20)).unwrap();
    let weight = weights.add_owned("w", kind, [width, rows, 1], packed(kind, width, rows)).unwrap();
    let x = Slot { buffer: 0, column: 0, width };
    let out = Slot { buffer: 1, column: 0, width: rows };
    let ops = vec![
        Op::Embed { table, scale: 1.0, out: x },
        Op::Linear { weight, bias: None, x, out, write: Write::Set },
        Op::Scale { scale: 1.0, x: out, out },
    ];
    (Arc::new(weights), Arc::new(Plan { buffers: vec![width, rows], ops, caches: vec![], output: out }))
}

#[test]
fn every_format_is_multiplied_as_the_interpreter_multiplies_it() {
    // More than any kernel computes before it turns to the next part of a panel.
    let ids: Vec<u32> = (0..150).map(|i| i % 20).collect();
    for kind in Kind::ALL {
        // Rows that fill no panel, and a width of an odd number of blocks.
        let (weights, plan) = product(kind, if kind.block_len() == 256 { 768 } else { 96 }, 45);
        let options = reference::Options { tokens_max: 150, pages: 5 };
        let truth = tiny::run(&mut Reference::new(weights.clone(), plan.clone(), options), &ids, 150);
        let size = (truth.iter().map(|x| x * x).sum::<f32>() / truth.len() as f32).sqrt();
        for isa in isas() {
            let options = Options { tokens_max: 150, pages: 5, isa: Some(isa), threads: 2, ..Options::default() };
            let mut engine = Engine::new(weights.clone(), plan.clone(), options).unwrap();
            let found = tiny::run(&mut engine, &ids, 150);
            // Eight bits for activations: each off by at most 1/254 of the largest of its sixteen; what
            // remains of 96 or more such errors of both signs stays below 2 % of a typical output.
            let off = worst(&found, &truth) / size;
            assert!(off < 0.02, "{kind} on {}: off by {off}", isa.name());
            assert_eq!(found, tiny::run(&mut engine, &ids, 1), "{kind} on {}", isa.name());
        }
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let mut engine =
        Engine::new(model.weights, model.plan, Options { tokens_max: 4, pages: 2, ..Options::default() }).unwrap();
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
fn the_best_tokens_are_those_with_the_highest_logits() {
    let ids = tiny::tokens();
    // Gemma 2 caps its logits after the head, the others end with it.
    for name in ["llama", "gemma2", "gpt-oss"] {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        for isa in isas() {
            let options = Options { tokens_max: 64, pages: 2, isa: Some(isa), threads: 2, ..Options::default() };
            let mut engine = Engine::new(model.weights.clone(), model.plan.clone(), options).unwrap();
            let output = |i: usize| i % 3 == 1;
            let token = |(i, &id): (usize, &u32)| Token { id, position: i as u32, sequence: 0, output: output(i) };
            let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
            let batch = Batch::new(&tokens, &[&[0, 1]]);
            let (mut logits, mut best) = (Vec::new(), Vec::new());
            engine.step(&batch, &mut logits).unwrap();
            engine.step_best(&batch, 7, &mut best).unwrap();
            let width = logits.len() / best.len();
            let mut truth = Vec::new();
            for (row, best) in logits.chunks_exact(width).zip(&best) {
                tutu_llm::sample::take(row, 7, &mut truth);
                assert_eq!(*best, truth, "{name} on {}", isa.name());
            }
            assert_eq!(best.len(), (0..ids.len()).filter(|i| output(*i)).count());
        }
    }
}

#[test]
fn sequences_of_one_step_take_adapters_of_their_own() {
    let ids = tiny::tokens();
    let base = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let (one, two) = (tiny::adapter(5), tiny::adapter(77));
    let pages = ids.len().div_ceil(PAGE);
    for isa in isas() {
        let options = Options { tokens_max: 256, pages: 3 * pages, isa: Some(isa), threads: 2, ..Options::default() };
        let alone = |model: &Model| {
            let mut engine = Engine::new(model.weights.clone(), model.plan.clone(), options.clone()).unwrap();
            tiny::run(&mut engine, &ids, 64)
        };
        let plain = alone(&base);
        let with = [&one, &two].map(|file| alone(&lora::apply(&base, file, 1.0).unwrap()));
        assert_ne!(plain, with[0]);
        let mut engine = Engine::new(base.weights.clone(), base.plan.clone(), options.clone()).unwrap();
        assert_eq!(tiny::run(&mut engine, &ids, 64), plain);
        let attached = lora::attach(&base, &[Some(one.clone()), None, Some(two.clone())]).unwrap();
        engine.replan(attached.weights, attached.plan).unwrap();
        assert_eq!(tiny::run(&mut engine, &ids, 64), plain, "{isa:?}");
        let tables: Vec<Vec<u32>> = (0..3).map(|n| (n * pages as u32..(n + 1) * pages as u32).collect()).collect();
        let tables: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
        let tokens: Vec<Token> = (0..3)
            .flat_map(|sequence| {
                let token = move |(i, &id)| Token { id, position: i as u32, sequence, output: true };
                ids.iter().enumerate().map(token)
            })
            .collect();
        let mut out = Vec::new();
        let shares: [&[f32]; 3] = [&[1.0], &[], &[0.0, 0.0, 1.0]];
        engine.step(&Batch { tokens: &tokens, tables: &tables, shares: &shares }, &mut out).unwrap();
        let each = out.len() / 3;
        assert!(out[..each] == with[0] && out[each..2 * each] == plain && out[2 * each..] == with[1], "{isa:?}");
        // The first goes: what is left stays as it was.
        let attached = lora::attach(&base, &[None, Some(two.clone())]).unwrap();
        engine.replan(attached.weights, attached.plan).unwrap();
        let shares: [&[f32]; 3] = [&[0.0, 1.0], &[], &[]];
        engine.step(&Batch { tokens: &tokens, tables: &tables, shares: &shares }, &mut out).unwrap();
        assert!(out[..each] == with[1] && out[each..2 * each] == plain, "{isa:?}");
        let other = Model::load(&[Arc::new(tiny::model("qwen2"))], 512).unwrap();
        assert!(engine.replan(other.weights, other.plan).is_err() || other_fits(&base));
    }
}

/// Whether another family happens to have the same caches and output.
fn other_fits(base: &Model) -> bool {
    let other = Model::load(&[Arc::new(tiny::model("qwen2"))], 512).unwrap();
    other.plan.caches == base.plan.caches && other.plan.output == base.plan.output
}

#[test]
fn a_page_that_was_saved_is_as_good_as_one_that_was_computed() {
    let ids = tiny::tokens();
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let pages = ids.len().div_ceil(PAGE);
    assert!(ids.len() > PAGE);
    for kv in [KvKind::F16, KvKind::Q8_0] {
        let options = Options { tokens_max: 64, pages: 2 * pages, kv, threads: 2, ..Options::default() };
        let make = || Engine::new(model.weights.clone(), model.plan.clone(), options.clone()).unwrap();
        let mut engine = make();
        let table: Vec<u32> = (0..pages as u32).collect();
        let token = |(i, &id): (usize, &u32)| Token { id, position: i as u32, sequence: 0, output: i + 1 == ids.len() };
        let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
        let (mut truth, mut found, mut saved) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in tokens.chunks(64) {
            engine.step(&Batch::new(chunk, &[&table]), &mut truth).unwrap();
        }
        engine.save(0, &mut saved);
        assert_eq!(saved.len(), engine.page_bytes());
        let mut other = make();
        let table: Vec<u32> = (pages as u32..2 * pages as u32).collect();
        assert!(!other.load(pages as u32, &saved[1..]));
        assert!(other.load(pages as u32, &saved));
        for chunk in tokens[PAGE..].chunks(64) {
            other.step(&Batch::new(chunk, &[&table]), &mut found).unwrap();
        }
        assert_eq!(truth, found);
        let mut again = Vec::new();
        other.save(pages as u32, &mut again);
        assert_eq!(saved, again);
    }
}
