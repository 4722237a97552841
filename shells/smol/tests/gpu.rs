//! Models on a GPU: the same text as the processor writes, whole, in halves, and when the GPU is lost on the way.
//!
//! They run on Mesa's lavapipe, or on what `TUTU_GPU` names. Needs real models (`TUTU_TEST_MODELS`, `ci/models`).

#![cfg(feature = "gpu")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use tutu::{
    daemon::{Pool, Wanted},
    engine::{self, Engine, Flow, Options, Request, Sources, gpu},
};
use tutu_llm::{
    chat::Message,
    perplexity::{WINDOW, perplexity},
    sample,
    token::Special,
};
use tutu_node::work::pool::{Config, Keep, Room};

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const QWEN: &str = "qwen2.5-coder-0.5b.gguf";

fn name() -> String {
    std::env::var("TUTU_GPU").unwrap_or_else(|_| "lavapipe".into())
}

/// The model's file; `None`, and a line that says so, where there is none, or no GPU to try it on.
fn model(file: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("TUTU_TEST_MODELS").map(PathBuf::from) else {
        println!("skipped: TUTU_TEST_MODELS is not set");
        return None;
    };
    gpu::want(&name()).expect("built with GPUs");
    if let Err(error) = gpu::list() {
        println!("skipped: {error} (Debian: mesa-vulkan-drivers)");
        return None;
    }
    Some(folder.join(file))
}

fn open(file: &Path, layers: usize) -> Engine {
    let sources = Sources { files: vec![file.into()], ..Sources::default() };
    let options = Options { context: 512, threads: 2, gpu_layers: Some(layers), ..Options::default() };
    let engine = Engine::open(&sources, options).expect("the model is sound");
    assert_eq!(engine.gpu().is_some(), layers > 0, "{layers} layers were wanted there");
    engine
}

/// What is written greedily after `prompt`, all of it as token ids, and where it begins.
fn write(engine: &mut Engine, prompt: &str, count: usize) -> (Vec<u32>, usize) {
    let prompt = engine.prompt(&[Message::new("user", prompt)]).unwrap();
    let start = prompt.len();
    let request = Request {
        prompt,
        sampling: sample::Config { temperature: 0.0, ..sample::Config::default() },
        predict: Some(count),
        stop: vec![],
        course: None,
        shift: false,
        keep: 0,
        context: None,
        adapters: vec![],
        draft: vec![],
        logprobs: None,
    };
    let finished = engine.generate(&request, &mut |_| Flow::Continue).unwrap();
    (finished.tokens, start)
}

/// How far the logarithms of two tokens may be from each other and still change places: the processor keeps activations
/// in eight bits, the GPU keys and values in halves.
const TIE: f32 = 0.15;

/// Every token is the best that the processor finds, or as good as that one.
fn is_greedy(processor: &mut Engine, (tokens, start): &(Vec<u32>, usize)) {
    let scored = processor.score(tokens, 1, &[]).unwrap();
    let mut worst: f32 = 0.0;
    for (at, token) in scored.iter().enumerate().skip(*start) {
        let best = token.top[0].1;
        worst = worst.max(best - token.logprob);
        assert!(best - token.logprob < TIE, "token {at} of {tokens:?}: {} where {best} is there", token.logprob);
    }
    println!("  at most {worst} behind the processor's best");
}

/// Whether the processor finds what a GPU with so many layers writes after each of these prompts.
fn agrees(file: &str, layers: usize, prompts: &[&str], count: usize) {
    let Some(path) = model(file) else { return };
    let (mut processor, mut engine) = (open(&path, 0), open(&path, layers));
    let (on, all) = engine.gpu().unwrap().layers();
    assert_eq!(on, layers.min(all));
    for prompt in prompts {
        let text = write(&mut engine, prompt, count);
        let said = engine.tokenizer().decode(&text.0[text.1..], true);
        println!("{file}, {on} of {all} layers: {:?}", String::from_utf8_lossy(&said));
        assert!(text.0.len() > text.1, "it says something");
        is_greedy(&mut processor, &text);
    }
}

#[test]
fn the_text_is_that_of_the_processor() {
    agrees(SMOLLM2, usize::MAX, &[SKY], 16);
}

/// What a GPU's memory is set to makes it count as memory of its own, on a GPU in software too.
#[test]
fn a_gpus_own_memory_holds_as_many_layers_as_are_set() {
    let Some(path) = model(SMOLLM2) else { return };
    let sources = Sources { files: vec![path], ..Sources::default() };
    let set = |bytes| Options { context: 512, threads: 2, gpu_memory: Some(bytes), ..Options::default() };
    let whole = engine::estimate(&sources, set(1 << 40)).unwrap();
    let all = whole.gpu.expect("there is room for all of it");
    assert_eq!(all.layers, all.all);
    assert!(all.bytes > whole.weights / 2 && whole.room(Some(all)).main.0 < whole.weights, "{whole:?}");

    let limit = all.bytes / 2;
    let half = engine::estimate(&sources, set(limit)).unwrap();
    let some = half.gpu.expect("there is room for some");
    assert!(some.bytes <= limit && 0 < some.layers && some.layers < all.layers, "{some:?}");
    assert!(half.room(Some(some)).main > whole.room(Some(all)).main);

    let engine = Engine::open(&sources, set(limit)).unwrap();
    let gpu = engine.gpu().expect("some of it lies there");
    assert_eq!((gpu.bytes(), gpu.layers()), (some.bytes, (some.layers, some.all)), "what was expected");
}

/// Main memory has no room for the model, a GPU has, for one at a time.
#[test]
fn models_make_room_for_each_other_on_a_gpu() {
    let Some(path) = model(SMOLLM2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.gguf");
    std::fs::hard_link(&path, &other).or_else(|_| std::fs::copy(&path, &other).map(drop)).unwrap();
    let of = |path: &Path| Sources { files: vec![path.into()], ..Sources::default() };
    let options = Options { context: 512, threads: 2, gpu_memory: Some(1 << 40), ..Options::default() };
    let expected = engine::estimate(&of(&path), options).unwrap();
    let (on_gpu, main) = (expected.gpu.unwrap(), expected.room(expected.gpu).main.0);
    let config = Config {
        memory: Room::main(2 * main),
        models_max: 4,
        running_max: 1,
        waiting_max: 4,
        keep: Keep::Forever,
        patience: Duration::from_secs(1),
    };
    assert!(expected.bytes() > 2 * main, "in main memory it is too large");
    let pool = Pool::start(config, Options { gpu_memory: Some(on_gpu.bytes * 3 / 2), ..options }, None);
    let lease = |path: &Path| {
        let wanted = Wanted {
            sources: of(path),
            extra: 0,
            name: path.display().to_string(),
            context: 512,
            keep: None,
            client: String::new(),
        };
        smol::block_on(pool.lease(wanted))
    };
    drop(lease(&path).expect("there is room for it on the GPU"));
    drop(lease(&other).expect("the first one makes room"));
    let here: Vec<_> = smol::block_on(pool.status()).into_iter().map(|one| one.sources.files).collect();
    assert_eq!(here, [vec![other]]);
    smol::block_on(pool.close(Duration::from_secs(10)));
}

#[test]
#[ignore = "minutes on a GPU in software; `ci/gpu --all` runs it"]
fn the_text_in_halves_is_that_of_the_processor() {
    agrees(SMOLLM2, 15, &["Tell me a story about a fox and a crow."], 12);
}

#[test]
#[ignore = "minutes on a GPU in software; `ci/gpu --all` runs it"]
fn long_texts_and_another_family_too() {
    agrees(
        SMOLLM2,
        usize::MAX,
        &["Write a short poem about the sea.", "List the months of the year.", "Who was Ada Lovelace?"],
        48,
    );
    agrees(QWEN, usize::MAX, &["Write a function that adds two numbers."], 24);
    agrees(QWEN, 12, &["Write a function that adds two numbers."], 24);
}

#[test]
#[ignore = "minutes on a GPU in software; `ci/gpu --all` runs it"]
fn perplexity_is_that_of_the_processor() {
    for file in [SMOLLM2, QWEN] {
        let Some(path) = model(file) else { return };
        let of = |layers| {
            let mut engine = open(&path, layers);
            let mut ids = Vec::new();
            engine.tokenizer().encode(include_str!("data/prose.txt"), Special::Text, &mut ids);
            ids.truncate(WINDOW);
            let (first, vocabulary) = (engine.tokenizer().leading(), engine.facts().vocabulary);
            perplexity(engine.backend(), &ids, first, vocabulary).unwrap()
        };
        let (processor, gpu) = (of(0), of(usize::MAX));
        println!("perplexity of {file}: {processor} on the processor, {gpu} on the GPU");
        assert!((gpu / processor - 1.0).abs() < 0.005, "{file}: {gpu} is not {processor}");
    }
}

/// A prompt after which no two tokens are nearly as good as each other, so that the text is the same whoever computes it: where two
/// are, the processor, which keeps activations in eight bits, may choose the other one.
const SKY: &str = "Explain why the sky is blue.";

/// The program itself, with a home of its own.
fn tutu(home: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tutu"));
    command.args(args).env("TUTU_HOME", home).env("OLLAMA_MODELS", home.join("none")).env("TUTU_GPU", name());
    command.envs(variables.iter().copied()).output().expect("the program starts")
}

#[test]
fn a_gpu_that_is_lost_on_the_way_changes_no_text() {
    let Some(path) = model(SMOLLM2) else { return };
    let home = tempfile::tempdir().unwrap();
    let run = |variables: &[(&str, &str)], more: &[&str]| {
        let args = ["run", path.to_str().unwrap(), SKY, "--temperature", "0", "--num-predict", "8"];
        let out = tutu(home.path(), &[&args, more].concat(), variables);
        let (text, error) =
            (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned());
        assert!(out.status.success(), "{error}");
        (text, error)
    };
    let (whole, quiet) = run(&[], &[]);
    assert!(whole.len() > 5 && !quiet.contains("lost"), "{whole} {quiet}");
    // Lost while the prompt is read, and in the middle of the answer.
    for after in ["0", "4"] {
        let (text, error) = run(&[("TUTU_GPU_LOSE_AFTER", after)], &[]);
        assert_eq!(text, whole, "lost after {after} steps");
        assert!(error.contains("the GPU was lost; the processor goes on"), "{error}");
    }
    let (text, error) = run(&[("TUTU_GPU_LOSE_AFTER", "4")], &["--gpu", "--gpu-layers", "10"]);
    assert_eq!(text, whole);
    assert!(error.contains("the GPU was lost"), "{error}");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_names_those_that_are() {
    let Some(path) = model(SMOLLM2) else { return };
    let home = tempfile::tempdir().unwrap();
    let out = tutu(home.path(), &["run", path.to_str().unwrap(), "Hi", "--gpu=nobody's"], &[]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && error.contains("no GPU is called \"nobody's\"; here is"), "{error}");
    let doctor = tutu(home.path(), &["doctor"], &[]);
    let text = String::from_utf8_lossy(&doctor.stdout);
    let line = text.lines().find(|line| line.starts_with("gpu ")).unwrap_or_default();
    assert!(line.starts_with("gpu      ok"), "{text}");
}
