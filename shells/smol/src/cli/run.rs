//! `tutu run`: one answer, or a conversation.

use std::io::{IsTerminal, Read};

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value};
use tutu_llm::chat::Message;
use tutu_node::work::models::Reference;

use super::{
    Error,
    answer::watch_interrupts,
    args, chat, format,
    mind::Mind,
    ps,
    remote::{self, There},
};
use crate::{
    client::Client,
    engine::Engine,
    talk::{Form, Options, Think, options::Taken},
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
    ("--keepalive DURATION", "how long a server keeps the model afterwards; without one it goes with this program"),
];

/// How the model is used: everything that flags, a stored model and `/set` can change.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How it answers.
    pub options: Options,
    /// What an answer must look like.
    pub form: Form,
    /// Whether the model thinks first.
    pub think: Think,
    /// Whether its thoughts are kept from the page.
    pub hide_thinking: bool,
    /// Counts and speeds.
    pub verbose: bool,
    /// Lines are left as they are, however long.
    pub unwrapped: bool,
    /// Text for the system role.
    pub system: Option<String>,
    /// Tokens of the context, where nobody sets them by name.
    pub context: usize,
    /// How long a server keeps the model afterwards.
    pub keep_alive: Option<String>,
    /// What was set by name, as it was given.
    pub given: Map<String, Value>,
}

impl Settings {
    /// Sets an option by the name that Modelfiles and APIs use. Texts that end an answer are added to those there are.
    ///
    /// # Errors
    /// Text for a person.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let value = match (key, self.given.get(key), value) {
            ("stop", Some(Value::Array(all)), Value::String(_)) => {
                [&all[..], std::slice::from_ref(value)].concat().into()
            }
            ("stop", None, Value::String(_)) => vec![value.clone()].into(),
            _ => value.clone(),
        };
        match self.options.set(key, &value)? {
            Taken::Used => {}
            Taken::Unused => return Err(format!("the parameter {key:?} changes nothing here")),
            Taken::Unknown => return Err(format!("there is no parameter {key:?}")),
        }
        self.given.insert(key.into(), value);
        Ok(())
    }

    /// Takes over what was stored with a model.
    pub fn take<'v>(&mut self, system: Option<String>, parameters: impl Iterator<Item = (&'v String, &'v Value)>) {
        self.system = system;
        // What another program stored and we do not know is not this run's fault.
        parameters.for_each(|(key, value)| drop(self.set(key, value)));
    }

    /// Tokens of the context.
    pub fn context(&self) -> usize {
        self.options.context.unwrap_or(self.context)
    }

    /// The same page, for another model.
    pub fn fresh(&self) -> Self {
        Self {
            verbose: self.verbose,
            unwrapped: self.unwrapped,
            hide_thinking: self.hide_thinking,
            keep_alive: self.keep_alive.clone(),
            ..Self::default()
        }
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
            Arg::Long("nowordwrap") => settings.unwrapped = true,
            Arg::Long("think") => settings.think = think(parser.optional_value())?,
            Arg::Long("hidethinking") => settings.hide_thinking = true,
            Arg::Long("system") => system = Some(parser.value()?.string()?),
            Arg::Long("host") => host = Some(parser.value()?.string()?),
            Arg::Long("threads") => (options.threads, is_plain) = (args::value(&mut parser)?, false),
            Arg::Long("gpu") => {
                args::gpu(&mut parser)?;
                is_plain = false;
            }
            Arg::Long("gpu-layers") => (options.gpu_layers, is_plain) = (args::gpu_layers(&mut parser)?, false),
            Arg::Long("draft") => draft = Some(parser.value()?.string()?),
            Arg::Long("keepalive") => settings.keep_alive = Some(parser.value()?.string()?),
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
    let pull = args::settings()?.flag("models.auto_pull").unwrap_or(true);
    is_plain &= draft.is_none();
    settings.context = options.context;
    let there = match server(&name, host.as_deref(), is_plain, &settings)? {
        Some(client) => Some(There::open(client, &name, pull)?),
        None => None,
    };
    let mut model = args::Model::default();
    match &there {
        Some(there) => there.teach(&mut settings),
        None => {
            model = args::model(&name, pull)?;
            settings.take(model.system.clone(), model.parameters.iter().flatten());
        }
    }
    let stored = || model.parameters.as_ref()?.get("draft_model")?.as_str().map(String::from);
    if let Some(draft) = draft.or_else(stored) {
        model.sources.draft = args::model(&draft, true)?.sources.files;
    }
    settings.system = system.or(settings.system);
    for (key, text) in flags {
        let value = if key == "stop" {
            Value::String(text)
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        settings.set(&key, &value).map_err(Error::usage)?;
    }
    options.context = settings.context();
    let prompt = prompt(&words)?;
    let mut mind = match there {
        Some(there) if there.embeds() => return there.embed(prompt.as_deref().unwrap_or_default()),
        Some(there) => Mind::There(Box::new(there)),
        None => {
            let mut engine = Engine::open(&model.sources, options)?;
            if engine.facts().pooling.is_some() {
                let vector = engine.embed(prompt.as_deref().unwrap_or_default())?;
                println!("{}", serde_json::to_string(&vector).map_err(Error::failed)?);
                return Ok(());
            }
            Mind::here(engine, model)
        }
    };
    match prompt {
        Some(prompt) => {
            watch_interrupts();
            let mut messages: Vec<Message> = settings.system.iter().map(|text| Message::new("system", text)).collect();
            messages.extend(mind.stored().iter().cloned());
            messages.push(Message::new("user", &prompt));
            mind.answer(&settings, &mut messages)
        }
        None => chat::talk(mind, settings),
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

/// The server that answers for this program: the one of this home, if one runs, or one that was named. It has its
/// models in memory. A file that was named and what only this program can do are done here.
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
