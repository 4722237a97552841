//! `tutu run`: one answer, or a conversation.

use std::{
    io::{IsTerminal, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value};
use tutu_llm::{
    chat::Message,
    grammar::{Course, Grammar},
    sample,
};

use super::{Error, args, chat, format, human};
use crate::engine::{Engine, Finished, Flow, Request};

/// What `run` takes.
pub const FLAGS: &[(&str, &str)] = &[
    ("--system TEXT", "text for the system role"),
    (
        "--format FORMAT",
        "answer with JSON (json), within a JSON schema (as text or FILE.json), or a grammar (FILE.gbnf)",
    ),
    ("--verbose", "print counts, durations and speeds"),
    ("--seed N", "where chance begins; the same seed gives the same answer"),
    ("--temperature X", "0 for always the most likely token (0.8)"),
    ("--top-k N", "choose among the N best (40)"),
    ("--top-p X", "choose among the best that together have this share (0.9)"),
    ("--min-p X", "leave out tokens below this part of the best one's share (0)"),
    ("--typical-p X", "locally typical sampling (1: off)"),
    ("--repeat-penalty X", "make what was said less likely (1: off)"),
    ("--repeat-last-n N", "how far back penalties look (64; -1: all)"),
    ("--presence-penalty X", "taken from every token that was said (0)"),
    ("--frequency-penalty X", "taken as often as a token was said (0)"),
    ("--mirostat N", "0, 1 or 2"),
    ("--mirostat-tau X", "the surprise that mirostat aims at (5)"),
    ("--mirostat-eta X", "how fast mirostat corrects itself (0.1)"),
    ("--num-ctx N", "tokens of the context (4096)"),
    ("--num-predict N", "tokens of the answer at most"),
    ("--num-keep N", "tokens that stay when the context shifts (4)"),
    ("--stop TEXT", "end the answer there; may be given several times"),
    ("--threads N", "threads (as many as this process may use)"),
    ("--draft MODEL", "a small model of the same family that guesses ahead; the answer stays the same"),
    ("--nowordwrap", "do not break lines at words"),
    ("--keepalive DURATION", "accepted for scripts; a model stays as long as this program runs"),
];

/// How the model is used: everything that flags, a stored model and `/set` can change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How tokens are chosen.
    pub sampling: sample::Config,
    /// Whether a seed was given.
    pub seeded: bool,
    /// Most tokens of an answer.
    pub predict: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Tokens that stay when the context shifts.
    pub keep: usize,
    /// What an answer must look like.
    pub grammar: Option<Arc<Grammar>>,
    /// Counts and speeds.
    pub verbose: bool,
    /// Lines are broken at words.
    pub wrap: bool,
    /// Text for the system role.
    pub system: Option<String>,
    /// Tokens of the context.
    pub context: usize,
    /// What was set by name, as it was given.
    pub given: Map<String, Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sampling: sample::Config::default(),
            seeded: false,
            predict: None,
            stop: Vec::new(),
            keep: 4,
            grammar: None,
            verbose: false,
            wrap: true,
            system: None,
            context: 4096,
            given: Map::new(),
        }
    }
}

impl Settings {
    /// Sets an option by the name that Modelfiles and APIs use.
    ///
    /// # Errors
    /// Text for a person.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let wrong = || format!("{key} cannot be {value}");
        let float = || value.as_f64().map(|x| x as f32).ok_or_else(wrong);
        let whole = || value.as_f64().map(|x| x as i64).ok_or_else(wrong);
        let natural = || whole().and_then(|n| u32::try_from(n).map_err(|_| wrong()));
        let sampling = &mut self.sampling;
        match key {
            "temperature" => sampling.temperature = float()?,
            "top_k" => sampling.top_k = natural()?,
            "top_p" => sampling.top_p = float()?,
            "min_p" => sampling.min_p = float()?,
            "typical_p" => sampling.typical_p = float()?,
            "repeat_penalty" => sampling.repeat_penalty = float()?,
            "repeat_last_n" => sampling.repeat_last_n = u32::try_from(whole()?).ok(),
            "presence_penalty" => sampling.presence_penalty = float()?,
            "frequency_penalty" => sampling.frequency_penalty = float()?,
            "mirostat" => {
                sampling.mirostat = match whole()? {
                    0 => sample::Mirostat::Off,
                    1 => sample::Mirostat::V1,
                    2 => sample::Mirostat::V2,
                    _ => return Err(wrong()),
                }
            }
            "mirostat_tau" => sampling.mirostat_tau = float()?,
            "mirostat_eta" => sampling.mirostat_eta = float()?,
            "seed" => {
                let seed = whole()?;
                self.seeded = seed >= 0;
                sampling.seed = seed as u64;
            }
            "num_ctx" => self.context = natural()? as usize,
            "num_predict" => self.predict = usize::try_from(whole()?).ok(),
            "num_keep" => self.keep = usize::try_from(whole()?).unwrap_or(usize::MAX),
            "stop" => match value {
                Value::String(text) => self.stop.push(text.clone()),
                Value::Array(list) => self.stop.extend(list.iter().filter_map(|v| v.as_str().map(String::from))),
                _ => return Err(wrong()),
            },
            _ => return Err(format!("there is no parameter {key:?}")),
        }
        self.sampling.check().map_err(|e| e.to_string())?;
        match (key, self.given.get_mut(key)) {
            ("stop", Some(Value::Array(all))) => all.push(value.clone()),
            ("stop", None) if value.is_string() => {
                drop(self.given.insert(key.into(), Value::Array(vec![value.clone()])))
            }
            _ => drop(self.given.insert(key.into(), value.clone())),
        }
        Ok(())
    }

    /// Takes over what was stored with a model.
    pub fn take_model(&mut self, model: &args::Model) {
        self.system.clone_from(&model.system);
        // What another program stored and we do not know is not this run's fault.
        model.parameters.iter().flatten().for_each(|(key, value)| drop(self.set(key, value)));
    }
}

/// Set by Ctrl-C; the answer in progress ends.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let (mut words, mut options, mut flags) = (Vec::new(), args::options()?, Vec::new());
    let (mut grammar, mut verbose, mut wrap, mut system, mut draft) = (None, false, true, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("verbose") => verbose = true,
            Arg::Long("nowordwrap") => wrap = false,
            Arg::Long("system") => system = Some(parser.value()?.string()?),
            Arg::Long("threads") => options.threads = args::value(&mut parser)?,
            Arg::Long("draft") => draft = Some(parser.value()?.string()?),
            Arg::Long("keepalive") => drop(parser.value()?),
            Arg::Long("format") => grammar = Some(format::grammar(&parser.value()?.string()?)?),
            Arg::Long(flag) => {
                let known = FLAGS.iter().any(|(text, _)| text[2..].split(' ').next() == Some(flag));
                if !known {
                    let flag = flag.to_string();
                    return Err(unknown(&flag));
                }
                let key = flag.replace('-', "_");
                flags.push((key, parser.value()?.string()?));
            }
            Arg::Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if words.is_empty() {
        return Err(Error::usage("run needs a model"));
    }
    let mut model = args::model(&words.remove(0), args::settings()?.flag("models.auto_pull").unwrap_or(true))?;
    if let Some(draft) = draft {
        model.sources.draft = args::model(&draft, true)?.sources.files;
    }
    let mut settings = Settings { grammar, verbose, wrap, context: options.context, ..Settings::default() };
    settings.take_model(&model);
    settings.system = system.or(settings.system);
    for (key, text) in flags {
        let value = if key == "stop" {
            Value::String(text)
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        settings.set(&key, &value).map_err(Error::usage)?;
    }
    options.context = settings.context;
    let prompt = prompt(&words)?;
    let mut engine = Engine::open(&model.sources, options)?;
    if engine.facts().pooling.is_some() {
        let vector = engine.embed(prompt.as_deref().unwrap_or_default())?;
        println!("{}", serde_json::to_string(&vector).map_err(Error::failed)?);
        return Ok(());
    }
    match prompt {
        Some(prompt) => {
            watch_interrupts();
            let mut messages: Vec<Message> = settings.system.iter().map(|text| Message::new("system", text)).collect();
            messages.extend(model.messages.iter().cloned());
            messages.push(Message::new("user", &prompt));
            answer(&mut engine, &settings, &mut messages)?;
            Ok(())
        }
        None => chat::talk(engine, settings, model),
    }
}

fn unknown(flag: &str) -> Error {
    let known = FLAGS.iter().filter_map(|(text, _)| text[2..].split(' ').next());
    match tutu_node::kit::near::nearest(flag, known) {
        Some(near) => Error::usage(format!("run has no flag --{flag}; did you mean --{near}?")),
        None => Error::usage(format!("run has no flag --{flag}")),
    }
}

/// What was piped in, and the words; nothing where a person sits in front.
fn prompt(words: &[String]) -> Result<Option<String>, Error> {
    let mut parts = Vec::new();
    if !std::io::stdin().is_terminal() {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        parts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    parts.push(words.join(" "));
    parts.retain(|part| !part.trim().is_empty());
    let talks = parts.is_empty() && std::io::stdin().is_terminal();
    Ok(if talks { None } else { Some(parts.join("\n\n")) })
}

/// Answers the last message, prints the answer as it comes, and adds it to the messages.
pub fn answer(engine: &mut Engine, settings: &Settings, messages: &mut Vec<Message>) -> Result<Finished, Error> {
    let prompt = fit(engine, messages)?;
    let mut sampling = settings.sampling.clone();
    if !settings.seeded {
        sampling.seed = fresh_seed();
    }
    let request = Request {
        prompt,
        sampling,
        predict: settings.predict,
        stop: settings.stop.clone(),
        course: settings.grammar.clone().map(|grammar| Arc::new(Course::within(grammar))),
        shift: true,
        keep: settings.keep,
        context: None,
        logprobs: None,
    };
    let mut text = String::new();
    let mut out = std::io::stdout().lock();
    let mut wrap = chat::Wrap::new(settings.wrap);
    INTERRUPTED.store(false, Ordering::Relaxed);
    let finished = engine.generate(&request, &mut |piece| {
        text.push_str(piece);
        // A reader who closed the pipe has had enough.
        let written = out.write_all(wrap.feed(piece).as_bytes()).and_then(|()| out.flush());
        if written.is_err() || INTERRUPTED.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Continue }
    })?;
    let _ = writeln!(out, "{}", wrap.finish());
    messages.push(Message::new("assistant", &text));
    if settings.verbose {
        print_verbose(&finished);
    }
    Ok(finished)
}

/// The prompt of the messages. Where it does not fit, the oldest go until it does, and that is said.
fn fit(engine: &Engine, messages: &mut Vec<Message>) -> Result<Vec<u32>, Error> {
    let mut dropped = 0;
    loop {
        let prompt = engine.prompt(messages)?;
        let oldest = messages.iter().position(|message| message.role != "system");
        let last = messages.len().saturating_sub(1);
        match oldest {
            Some(at) if prompt.len() >= engine.context() && at < last => {
                messages.remove(at);
                dropped += 1;
            }
            _ => {
                if dropped > 0 {
                    eprintln!("note: the {dropped} oldest messages no longer fit the context and were left out");
                }
                return Ok(prompt);
            }
        }
    }
}

fn print_verbose(finished: &Finished) {
    let rate = |count: usize, time: std::time::Duration| count as f64 / time.as_secs_f64().max(1e-9);
    let (counts, times) = (finished.counts, finished.durations);
    let row = |name: &str, value: String| eprintln!("{name:<22}{value}");
    eprintln!();
    row("total duration:", human::duration(times.total + times.load));
    row("load duration:", human::duration(times.load));
    row("prompt eval count:", format!("{} token(s)", counts.prompt));
    row("prompt eval duration:", human::duration(times.prompt));
    row("prompt eval rate:", format!("{:.2} tokens/s", rate(counts.prompt - counts.cached, times.prompt)));
    row("eval count:", format!("{} token(s)", counts.generated));
    row("eval duration:", human::duration(times.generate));
    row("eval rate:", format!("{:.2} tokens/s", rate(counts.generated, times.generate)));
}

/// A seed that nobody chose.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher keys are random for each process and differ for each call.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Makes Ctrl-C end the answer in progress.
pub fn watch_interrupts() {
    // Without a handler Ctrl-C ends the program, which is what it then should do.
    let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
}
