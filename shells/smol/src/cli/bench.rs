//! `tutu bench`: how fast a model is on this machine.

use std::time::Instant;

use lexopt::{Arg, Parser, ValueExt};
use tutu_llm::{
    backend::{Backend, Batch, PAGE, Timing, Token},
    batch::{self, Batcher, Choice, Choose, Id, Scores},
    sample,
};

use super::{Error, args};
use crate::engine::{Engine, Options, gpu::Gpu};

struct Wanted {
    prompt: usize,
    generate: usize,
    streams: usize,
    json: bool,
}

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let mut wanted = Wanted { prompt: 512, generate: 128, streams: 0, json: false };
    let (mut model, mut options) = (None, Options::default());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("threads") | Arg::Short('t') => options.threads = args::value(&mut parser)?,
            Arg::Long("prompt") | Arg::Short('p') => wanted.prompt = args::value(&mut parser)?,
            Arg::Long("gen") | Arg::Short('n') => wanted.generate = args::value(&mut parser)?,
            Arg::Long("streams") => wanted.streams = args::value(&mut parser)?,
            Arg::Long("json") => wanted.json = true,
            Arg::Long("gpu") => args::gpu(&mut parser)?,
            Arg::Long("gpu-layers") => options.gpu_layers = args::gpu_layers(&mut parser)?,
            Arg::Value(name) if model.is_none() => model = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let model = model.ok_or_else(|| Error::usage("bench needs a model"))?;
    options.context = wanted.prompt.max(wanted.generate).max(1) + 1;
    options.texts = wanted.streams.max(1);
    let mut engine = Engine::open(&args::model(&model, true)?.sources, options)?;
    let load_ms = engine.load().as_secs_f64() * 1000.0;
    let vocabulary = engine.facts().vocabulary;
    let gpu = engine.gpu().cloned();
    let backend = engine.backend();
    // Once without the watch: memory is touched for the first time, threads wake up.
    speed(backend, vocabulary, wanted.prompt.min(16), 2)?;
    let prompt = speed(backend, vocabulary, wanted.prompt, 0)?;
    let generate = speed(backend, vocabulary, 0, wanted.generate)?;
    let streams = if wanted.streams > 0 { Some(streams(backend, vocabulary, &wanted)?) } else { None };
    let kernels = if gpu.is_some() { kernels(backend, &wanted)? } else { Vec::new() };
    let peak = tutu_os::memory_peak().unwrap_or(0);
    if wanted.json {
        let mut report = serde_json::json!({
            "load_ms": load_ms,
            "prompt": { "tokens": wanted.prompt, "tokens_per_s": prompt },
            "gen": { "tokens": wanted.generate, "tokens_per_s": generate },
            "peak_rss_bytes": peak,
        });
        if let Some(gpu) = &gpu {
            report["gpu"] = of_gpu(gpu, &kernels);
        }
        if let Some(speed) = streams {
            report["streams"] = wanted.streams.into();
            report["total_tokens_per_s"] = speed.into();
        }
        println!("{report}");
    } else {
        println!("load        {load_ms:>10.1} ms");
        println!("prompt      {prompt:>10.1} tokens/s  ({} tokens)", wanted.prompt);
        println!("generation  {generate:>10.1} tokens/s  ({} tokens)", wanted.generate);
        if let Some(speed) = streams {
            println!("{:<4} streams{speed:>10.1} tokens/s in all", wanted.streams);
        }
        println!("peak memory {:>10.1} MiB", peak as f64 / f64::from(1 << 20));
        if let Some(gpu) = &gpu {
            let (layers, all) = gpu.layers();
            println!("{layers} of {all} layers on {}", gpu.adapter());
        }
        for kernel in &kernels {
            let speed = gigabytes_per_s(kernel);
            let us = kernel.nanoseconds / 1000.0;
            println!("  {:<32}{:>5} x{us:>12.1} us{speed:>9.2} GB/s", kernel.name, kernel.count);
        }
    }
    Ok(())
}

/// How long each kernel takes for a token after the prompt; nothing where the device has no clock.
fn kernels(backend: &mut dyn Backend, wanted: &Wanted) -> Result<Vec<Timing>, Error> {
    let position = wanted.prompt.max(wanted.generate).saturating_sub(1);
    let table: Vec<u32> = (0..position as u32 / PAGE as u32 + 1).collect();
    let token = Token { id: 0, position: position as u32, sequence: 0, output: true };
    let (tokens, tables) = ([token], [table.as_slice()]);
    let batch = Batch::new(&tokens, &tables);
    Ok(backend.profile(&batch).map_err(Error::failed)?.unwrap_or_default())
}

fn of_gpu(gpu: &Gpu, kernels: &[Timing]) -> serde_json::Value {
    let (layers, all) = gpu.layers();
    let kernel = |kernel: &Timing| {
        serde_json::json!({
            "name": kernel.name,
            "count": kernel.count,
            "us": kernel.nanoseconds / 1000.0,
            "bytes": kernel.bytes,
            "gb_per_s": gigabytes_per_s(kernel),
        })
    };
    let (time, bytes) = kernels.iter().fold((0.0, 0), |(ns, bytes), k| (ns + k.nanoseconds, bytes + k.bytes));
    serde_json::json!({
        "adapter": gpu.adapter(),
        "layers": layers,
        "layers_all": all,
        "memory_bytes": gpu.bytes(),
        "step_us": time / 1000.0,
        "step_bytes": bytes,
        "gb_per_s": if time > 0.0 { bytes as f64 / time } else { 0.0 },
        "kernels": kernels.iter().map(kernel).collect::<Vec<_>>(),
    })
}

/// Bytes a nanosecond are gigabytes a second.
fn gigabytes_per_s(kernel: &Timing) -> f64 {
    if kernel.nanoseconds > 0.0 { kernel.bytes as f64 / kernel.nanoseconds } else { 0.0 }
}

/// Tokens a second: `prompt` tokens in steps as large as the backend takes, then `generate` tokens one by one, from
/// an empty cache. Which tokens they are does not matter to the speed.
fn speed(backend: &mut dyn Backend, vocabulary: usize, prompt: usize, generate: usize) -> Result<f64, Error> {
    let all = prompt + generate;
    if all == 0 {
        return Ok(0.0);
    }
    let table: Vec<u32> = (0..all.div_ceil(PAGE) as u32).collect();
    let token = |position: usize, output| Token {
        id: (position * 7919 % vocabulary) as u32,
        position: position as u32,
        sequence: 0,
        output,
    };
    let (mut best, most) = (Vec::new(), backend.tokens_max());
    let mut step =
        |tokens: &[Token]| backend.step_best(&Batch::new(tokens, &[&table]), BEST, &mut best).map_err(Error::failed);
    let start = Instant::now();
    for from in (0..prompt).step_by(most) {
        let to = (from + most).min(prompt);
        let tokens: Vec<Token> = (from..to).map(|i| token(i, i + 1 == prompt)).collect();
        step(&tokens)?;
    }
    for position in prompt..all {
        step(&[token(position, true)])?;
    }
    Ok(all as f64 / start.elapsed().as_secs_f64())
}

/// Tokens a second of all texts together, written at once through the batcher: from the first token of the first one to
/// the last of the last one, prompts of 16 tokens among them, no two alike.
fn streams(backend: &mut dyn Backend, vocabulary: usize, wanted: &Wanted) -> Result<f64, Error> {
    struct Count {
        generate: usize,
        vocabulary: usize,
    }
    impl Choose for Count {
        fn needs(&self, _id: Id) -> Option<usize> {
            Some(BEST)
        }
        fn choose(&mut self, id: Id, tokens: &[u32], scores: Scores<'_>) -> Choice {
            // Texts that are all alike would share their beginnings.
            let best = match scores {
                Scores::Best(best) => best.first().map_or(0, |candidate| candidate.id),
                Scores::All(logits) => sample::best(logits),
            };
            let best = best as usize + id.0 as usize;
            let done = tokens.len() + 1 >= STREAM_PROMPT + self.generate;
            if done { Choice::End } else { Choice::Next((best % self.vocabulary) as u32) }
        }
    }
    let generate = wanted.generate.max(1).min(wanted.prompt.max(wanted.generate).saturating_sub(STREAM_PROMPT).max(1));
    let mut batcher = Batcher::new(backend.pages(), vocabulary, batch::Options::default());
    for stream in 0..wanted.streams {
        let prompt = (0..STREAM_PROMPT).map(|i| ((stream * 977 + i * 7919) % vocabulary) as u32);
        batcher.join(prompt.collect(), batch::Mix::default());
    }
    let mut count = Count { generate, vocabulary };
    let (start, mut tokens) = (Instant::now(), 0);
    while !batcher.is_empty() {
        tokens += batcher.step(backend, &mut count).map_err(Error::failed)?.chosen;
    }
    Ok((tokens + wanted.streams) as f64 / start.elapsed().as_secs_f64())
}

const STREAM_PROMPT: usize = 16;

/// Of a token that is generated, the best candidates are wanted, as many as the default sampler looks at.
const BEST: usize = 40;
