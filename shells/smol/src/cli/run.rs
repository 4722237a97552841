//! `tutu run`: one answer, or a conversation.

use std::io::{IsTerminal, Read};

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value};
use tutu_llm::{chat::Message, gguf::Gguf, sample};
use tutu_node::work::models::Reference;
use tutu_os::Mapped;

use super::{
    Error,
    answer::{answer, watch_interrupts},
    args, chat, format, ps, remote,
};
use crate::{
    client::Client,
    engine::Engine,
    talk::{Form, Think},
};

/// What `run` takes.
pub const FLAGS: &[(&str, &str)] = &[
    ("--system TEXT", "text for the system role"),
    (
        "--format FORMAT",
        "answer with JSON (json), within a JSON schema (as text or FILE.json), or a grammar (FILE.gbnf)",
    ),
    ("--think[=LEVEL]", "let the model think first, or not: true, false, low, medium, high, max"),
    ("--hidethinking", "do not print what it thinks"),
    ps::HOST,
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
    args::GPU,
    args::GPU_LAYERS,
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
    pub form: Form,
    /// Whether the model thinks first.
    pub think: Think,
    /// Whether its thoughts are kept from the page.
    pub hide_thinking: bool,
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
            form: Form::Free,
            think: Think::Unset,
            hide_thinking: false,
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

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let (mut words, mut options, mut flags) = (Vec::new(), args::options()?, Vec::new());
    let (mut settings, mut system, mut draft) = (Settings::default(), None, None);
    // Whether a server can do all that is asked.
    let (mut host, mut is_plain) = (None, true);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("verbose") => settings.verbose = true,
            Arg::Long("nowordwrap") => settings.wrap = false,
            Arg::Long("think") => settings.think = think(parser.optional_value())?,
            Arg::Long("hidethinking") => settings.hide_thinking = true,
            Arg::Long("system") => system = Some(parser.value()?.string()?),
            Arg::Long("host") => host = Some(parser.value()?.string()?),
            Arg::Long("threads") => (options.threads, is_plain) = (args::value(&mut parser)?, false),
            Arg::Long(flag @ ("gpu" | "gpu-layers")) => {
                let flag = flag.to_owned();
                args::gpu_flag(&flag, &mut parser, &mut options)?;
                is_plain = false;
            }
            Arg::Long("draft") => draft = Some(parser.value()?.string()?),
            Arg::Long("keepalive") => drop(parser.value()?),
            Arg::Long("format") => settings.form = format::form(&parser.value()?.string()?)?,
            Arg::Long(flag) => {
                let known = FLAGS.iter().any(|(text, _)| name(text) == flag);
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
    let name = words.remove(0);
    let mut model = args::model(&name, args::settings()?.flag("models.auto_pull").unwrap_or(true))?;
    if let Some(draft) = draft {
        is_plain = false;
        model.sources.draft = args::model(&draft, true)?.sources.files;
    }
    settings.context = options.context;
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
    if let (Some(prompt), Some(client)) =
        (&prompt, server(&name, host.as_deref(), is_plain && !embeds(&model), &settings)?)
    {
        watch_interrupts();
        let mut messages: Vec<Message> = settings.system.iter().map(|text| Message::new("system", text)).collect();
        messages.push(Message::new("user", prompt));
        return remote::answer(&client, &name, &settings, &messages);
    }
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

/// What `--think` and `/set think` say; without a value, yes.
fn think(value: Option<std::ffi::OsString>) -> Result<Think, Error> {
    value.map_or(Ok(Think::On), |value| level(&value.string()?))
}

/// Whether to think, by its word.
///
/// # Errors
/// A word that is none.
pub fn level(word: &str) -> Result<Think, Error> {
    match word {
        "true" => Ok(Think::On),
        "false" => Ok(Think::Off),
        "low" | "medium" | "high" | "max" => Ok(Think::Level(word.into())),
        _ => Err(Error::usage(format!("think is {word:?}, and may be true, false, low, medium, high, max"))),
    }
}

/// Whether a model makes vectors and no text.
fn embeds(model: &args::Model) -> bool {
    let Some(file) = model.sources.files.first().and_then(|path| Mapped::open(path).ok()) else { return false };
    let Ok(head) = Gguf::parse(file.as_ref()) else { return false };
    let architecture = head.str("general.architecture").unwrap_or_default();
    head.u32(&format!("{architecture}.pooling_type")).is_some_and(|pooling| pooling > 0)
}

/// The server that answers for this program: the one of this home, if one runs, or one that was named. It has its
/// models in memory. A file that was named, an embedding and what only this program can do are done here.
fn server(name: &str, host: Option<&str>, is_plain: bool, settings: &Settings) -> Result<Option<Client>, Error> {
    let is_name = matches!(Reference::parse(name), Ok(Reference::Name(_)));
    if !is_name || !is_plain || !remote::can_ask(settings) {
        return Ok(None);
    }
    Client::find(&args::home()?, host).map_err(Error::usage)
}

fn unknown(flag: &str) -> Error {
    let known = FLAGS.iter().map(|(text, _)| name(text));
    match tutu_node::kit::near::nearest(flag, known) {
        Some(near) => Error::usage(format!("run has no flag --{flag}; did you mean --{near}?")),
        None => Error::usage(format!("run has no flag --{flag}")),
    }
}

/// The name of a flag, of what it is called in [`FLAGS`].
fn name(text: &str) -> &str {
    text[2..].split([' ', '[']).next().unwrap_or_default()
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
