//! What several commands read from the command line and from the home.

use std::{path::PathBuf, str::FromStr};

use lexopt::{Arg, Parser, ValueExt};
use tutu_cpu::KvKind;
use tutu_node::{
    edge::config::{Origin, Settings, Value},
    work::models::{Name, Reference},
};

use super::{Error, models};
use crate::{
    config,
    engine::Options,
    perform,
    store::{Places, Store},
};

/// The value of a flag, as a number or whatever it must be.
pub fn value<T: FromStr>(parser: &mut Parser) -> Result<T, Error>
where
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(parser.value()?.parse()?)
}

/// All words of a command that takes no flags.
pub fn words(parser: &mut Parser) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(words)
}

/// The folder of everything: `$TUTU_HOME`, or `~/.tutu`.
pub fn home() -> Result<PathBuf, Error> {
    let set = std::env::var_os("TUTU_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let default = || std::env::home_dir().map(|home| home.join(".tutu"));
    set.or_else(default).ok_or_else(|| Error::failed("there is no home directory; set TUTU_HOME"))
}

/// The settings that hold here.
pub fn settings() -> Result<Settings, Error> {
    Ok(config::read(&home()?, &[])?)
}

/// The store of the home.
pub fn store() -> Result<Store, Error> {
    store_of(&settings()?)
}

/// The same, as settings have it.
pub fn store_of(settings: &Settings) -> Result<Store, Error> {
    let home = home()?;
    let models = settings.text("models.dir").map_or_else(|| home.join("models"), expand);
    let default = || std::env::home_dir().map(|home| home.join(".ollama/models"));
    let others = settings.text("models.ollama_dir").map(expand).or_else(default);
    let folders = settings.text("models.folders").map(|text| std::env::split_paths(text).collect::<Vec<_>>());
    let expanded = |path: &PathBuf| path.to_str().map_or_else(|| path.clone(), expand);
    let folders = folders.iter().flatten().filter(|path| !path.as_os_str().is_empty()).map(expanded).collect();
    let hub = settings.text("models.huggingface_dir").map(expand).or_else(hub);
    Ok(Store::open(&home, &models, others.as_deref(), Places { folders, hub })?)
}

/// Where the programs of Hugging Face keep what they fetched.
fn hub() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let home = || set("HF_HOME").or_else(|| cache().map(|cache| cache.join("huggingface")));
    set("HF_HUB_CACHE").or_else(|| home().map(|home| home.join("hub")))
}

/// The flags of commands that open models.
pub const GPU: (&str, &str) =
    ("--gpu[=NAME]", "which GPU: auto, off, on, or a part of its name; lavapipe is one in software (TUTU_GPU)");
/// See [`GPU`].
pub const GPU_LAYERS: (&str, &str) =
    ("--gpu-layers N", "layers that the GPU computes: auto for as many as fit there, 0 for none (auto)");

/// Takes [`GPU`].
pub fn gpu(parser: &mut Parser) -> Result<(), Error> {
    let name = parser.optional_value().map_or(Ok("on".into()), |value| value.string())?;
    Ok(crate::engine::gpu::want(&name)?)
}

/// Takes [`GPU_LAYERS`]: `None` for as many as fit.
pub fn gpu_layers(parser: &mut Parser) -> Result<Option<usize>, Error> {
    let key = tutu_node::edge::config::find("inference.gpu_layers").map_err(Error::usage)?;
    match key.read(&parser.value()?.string()?, Origin::Flag).map_err(Error::usage)? {
        Value::Count(count) => Ok(Some(count as usize)),
        _ => Ok(None),
    }
}

/// How models are opened, as the settings have it.
pub fn options() -> Result<Options, Error> {
    let settings = settings()?;
    let count = |name: &str| settings.count(name).unwrap_or(0) as usize;
    Ok(Options {
        context: count("inference.context_length"),
        batch: count("inference.batch_size").max(1),
        threads: count("inference.threads"),
        kv: match settings.text("inference.kv_cache_type") {
            Some("q8_0") => KvKind::Q8_0,
            _ => KvKind::F16,
        },
        gpu_layers: settings.count("inference.gpu_layers").map(|count| count as usize),
        gpu_memory: settings.bytes("inference.gpu_memory").map(|bytes| bytes.0),
        ..Options::default()
    })
}

/// A path in which `~/` is the home of whoever asks.
fn expand(text: &str) -> PathBuf {
    match text.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => text.into(),
    }
}

pub use crate::model::Model;

/// Finds the model that somebody named; with `pull`, fetches it where it is not here.
pub fn model(text: &str, pull: bool) -> Result<Model, Error> {
    match Reference::parse(text).map_err(Error::usage)? {
        Reference::Path(path) => of_file(&path),
        Reference::Url(url) => {
            let name = crate::perform::name_of(&url).map_err(Error::usage)?;
            if pull {
                models::bring_url(&store()?, &url)?;
            }
            of_name(&name, false)
        }
        Reference::Name(name) => of_name(&name, pull),
    }
}

fn of_file(text: &str) -> Result<Model, Error> {
    let path = expand(text);
    if !path.is_file() {
        return Err(Error::failed(format!("{text} is no file; `tutu list` shows the models that are here")));
    }
    Ok(Model::of_file(&path, text))
}

fn of_name(name: &Name, pull: bool) -> Result<Model, Error> {
    let store = store()?;
    let record = match store.find(name) {
        Err(crate::store::Error::NotFound { .. }) if pull => models::bring(&store, name)?,
        found => found?,
    };
    let record = perform::adopt(&store, &models::limit()?, record).map_err(Error::failed)?;
    // Being used last matters to what is removed first, not to this answer.
    let _ = store.touch(name);
    Ok(Model::of_record(&store, &record))
}
