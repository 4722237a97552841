//! A plan in two halves, and a device that is lost, give what one device gives.

mod gpu;
#[path = "../../../core/llm/tests/tiny/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod tiny;

use std::{collections::BTreeMap, sync::Arc};

use tutu_gpu::{Device, Engine, Options, Spared, Wanted, adapters, choose, split};
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, Fault, PAGE, Token},
    batch::{self, Batcher, Choice, Choose, Id, Scores},
    lora,
    reference::{self, Reference},
    sample,
};

const OPTIONS: Options = Options { tokens_max: 64, pages: 8, release: None, caps: None, lose_after: None };

fn reference(model: &Model) -> Reference {
    let options = reference::Options { tokens_max: 64, pages: 8 };
    Reference::new(model.weights.clone(), model.plan.clone(), options)
}

#[test]
fn halves_compute_what_the_whole_computes() {
    let Some(device) = gpu::device() else { return };
    let ids = tiny::tokens();
    for name in tiny::NAMES {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        let layers = model.plan.caches.len();
        assert_eq!(split::cut(&model.plan, 0), None);
        assert_eq!(split::cut(&model.plan, layers), None, "{name}");
        for count in 1..layers {
            let cut = split::cut(&model.plan, count).unwrap_or_else(|| panic!("{name} in {count} and the rest"));
            let head = Arc::new(cut.head.clone());
            let options = reference::Options { tokens_max: 64, pages: 8 };
            let head = Box::new(Reference::new(model.weights.clone(), head, options));
            let tail = Engine::tail(device.clone(), model.weights.clone(), model.plan.clone(), OPTIONS, &cut).unwrap();
            let mut split = split::Split::new(head, tail);
            let (mut truth, mut found) = (Vec::new(), Vec::new());
            let mut whole = reference(&model);
            for chunk in [0..20, 20..21, 21..40] {
                let token = |i: usize| Token {
                    id: ids[i],
                    position: i as u32,
                    sequence: 0,
                    output: i.is_multiple_of(3) || i == 20,
                };
                let tokens: Vec<Token> = chunk.map(token).collect();
                let batch = Batch::new(&tokens, &[&[5, 1]]);
                whole.step(&batch, &mut truth).unwrap();
                split.step(&batch, &mut found).unwrap();
                let size = truth.iter().fold(0.0f32, |a, x| a.max(x.abs()));
                let off = truth.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(
                    truth.len() == found.len() && off < 1e-2 * size,
                    "{name}, {count} layers: off by {off} of {size}"
                );
            }
        }
    }
}

/// Writes greedily until a text has its length.
struct Greedy(BTreeMap<Id, Vec<u32>>);

impl Choose for Greedy {
    fn choose(&mut self, id: Id, tokens: &[u32], scores: Scores<'_>) -> Choice {
        let next = match scores {
            Scores::All(logits) => sample::best(logits),
            Scores::Best(best) => best[0].id,
        };
        self.0.insert(id, tokens.iter().copied().chain([next]).collect());
        if tokens.len() == 60 { Choice::End } else { Choice::Next(next) }
    }

    fn needs(&self, _id: Id) -> Option<usize> {
        Some(1)
    }
}

fn write(backend: &mut dyn Backend) -> Vec<Vec<u32>> {
    let mut batcher = Batcher::new(backend.pages(), tiny::VOCABULARY, batch::Options::default());
    let mut greedy = Greedy(BTreeMap::new());
    for start in 0..2 {
        batcher.join(tiny::tokens()[start..start + 20].to_vec(), batch::Mix::default());
    }
    while !batcher.is_empty() {
        batcher.step(backend, &mut greedy).unwrap();
    }
    greedy.0.into_values().collect()
}

#[test]
fn a_device_that_is_lost_in_the_middle_changes_no_text() {
    if gpu::device().is_none() {
        return;
    }
    let model = Model::load(&[Arc::new(tiny::model("qwen3"))], 512).unwrap();
    let truth = write(&mut reference(&model));
    for after in [0, 1, 17] {
        // One that nobody else uses: it will be gone.
        let Some(device) = own_device() else { return };
        let options = Options { lose_after: Some(after), ..OPTIONS };
        let engine = Engine::new(device.clone(), model.weights.clone(), model.plan.clone(), options).unwrap();
        let spare = model.clone();
        let mut spared = Spared::new(Box::new(engine), Box::new(move |_| Some(Box::new(reference(&spare)))));
        assert_eq!(write(&mut spared), truth, "after {after} steps");
        assert!(device.is_lost());
    }
}

#[test]
fn a_device_that_is_lost_says_so() {
    if gpu::device().is_none() {
        return;
    }
    let Some(device) = own_device() else { return };
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let mut engine = Engine::new(device.clone(), model.weights.clone(), model.plan.clone(), OPTIONS).unwrap();
    let token = [Token { id: 1, position: 0, sequence: 0, output: true }];
    let batch = Batch::new(&token, &[&[0]]);
    assert_eq!(engine.step(&batch, &mut Vec::new()), Ok(()));
    device.lose();
    assert_eq!(engine.step(&batch, &mut Vec::new()), Err(Fault::Lost));
}

#[test]
fn the_best_are_those_of_the_whole_row() {
    let Some(device) = gpu::device() else { return };
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let mut engine = Engine::new(device, model.weights.clone(), model.plan.clone(), OPTIONS).unwrap();
    let ids = tiny::tokens();
    let tokens: Vec<Token> =
        (0..PAGE).map(|i| Token { id: ids[i], position: i as u32, sequence: 0, output: i % 5 == 4 }).collect();
    let batch = Batch::new(&tokens, &[&[3]]);
    let (mut whole, mut best) = (Vec::new(), Vec::new());
    engine.step(&batch, &mut whole).unwrap();
    for most in [1, 8, 16, 90, 1000] {
        engine.step_best(&batch, most, &mut best).unwrap();
        let rows = whole.chunks(tiny::VOCABULARY);
        assert_eq!(best.len(), rows.len());
        for (row, best) in rows.zip(&best) {
            let mut truth = Vec::new();
            sample::take(row, most, &mut truth);
            assert_eq!(*best, truth, "of {most}");
        }
    }
}

#[test]
fn states_are_those_of_the_interpreter() {
    let Some(device) = gpu::device() else { return };
    let ids = tiny::tokens();
    for name in ["llama", "gemma2", "bert"] {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        let tokens: Vec<Token> = (0..20)
            .map(|i| Token { id: ids[i], position: i as u32, sequence: 0, output: name == "bert" || i % 3 == 1 })
            .collect();
        let batch = Batch::new(&tokens, &[&[2]]);
        let (mut truth, mut found) = (Vec::new(), Vec::new());
        reference(&model).states(&batch, &mut truth).unwrap();
        let mut engine = Engine::new(device.clone(), model.weights.clone(), model.plan.clone(), OPTIONS).unwrap();
        engine.states(&batch, &mut found).unwrap();
        let size = truth.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        let off = truth.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(truth.len() == found.len() && off < 1e-2 * size, "{name}: off by {off} of {size}");
    }
}

fn own_device() -> Option<Arc<Device>> {
    let wanted = Wanted::parse(&std::env::var("TUTU_GPU").unwrap_or_else(|_| "lavapipe".into()));
    let adapter = choose(adapters(), &wanted).ok().flatten()?;
    Some(Device::open(&adapter, None).unwrap())
}

#[test]
fn halves_go_on_with_adapters() {
    let Some(device) = gpu::device() else { return };
    let ids = tiny::tokens();
    let model = Model::load(&[Arc::new(tiny::model("llama"))], 512).unwrap();
    let attached = lora::attach(&model, &[Some(tiny::adapter(5))]).unwrap();
    let cut = split::cut(&model.plan, 1).unwrap();
    let options = reference::Options { tokens_max: 64, pages: 8 };
    let head = Box::new(Reference::new(model.weights.clone(), Arc::new(cut.head.clone()), options));
    let tail = Engine::tail(device, model.weights.clone(), model.plan.clone(), OPTIONS, &cut).unwrap();
    let (mut split, mut whole) = (split::Split::new(head, tail), reference(&model));
    let (mut truth, mut found) = (Vec::new(), Vec::new());
    for (range, adapted) in [(0..20, false), (20..40, true)] {
        if adapted {
            whole.replan(attached.weights.clone(), attached.plan.clone()).unwrap();
            split.replan(attached.weights.clone(), attached.plan.clone()).unwrap();
        }
        let token = |i: usize| Token { id: ids[i], position: i as u32, sequence: 0, output: true };
        let tokens: Vec<Token> = range.map(token).collect();
        let batch = Batch { shares: &[&[0.75]], ..Batch::new(&tokens, &[&[5, 1]]) };
        whole.step(&batch, &mut truth).unwrap();
        split.step(&batch, &mut found).unwrap();
        let size = truth.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        let off = truth.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(truth.len() == found.len() && off < 1e-2 * size, "adapted {adapted}: off by {off} of {size}");
    }
}
