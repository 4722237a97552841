//! Models of one's own: from what they begin with, and what is set on top of it.
//!
//! A TuTufile and a request of the API both become a [`Making`]; [`make`] turns that into a record of the store.

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};
use tutu_llm::{
    gguf::{self, Gguf, Requantised},
    quant::Recipe,
    weights,
};
use tutu_node::{kit::Digest, work::models::Name};
use tutu_os::Mapped;

use crate::{
    engine::template,
    perform,
    store::{self, Details, Elsewhere, Kind, Layer, Record, Store},
};

/// What a model is made of.
#[derive(Clone, Debug, Default)]
pub struct Making {
    /// What it begins with.
    pub base: Vec<Layer>,
    /// The block formats that its weights shall have.
    pub quantise: Option<Recipe>,
    /// LoRA adapters: GGUF files, or what PEFT publishes.
    pub adapters: Vec<PathBuf>,
    /// A template, in Go's language or in Jinja.
    pub template: Option<String>,
    /// A text for the system role.
    pub system: Option<String>,
    /// Licences, beside those that are there.
    pub licences: Vec<String>,
    /// Messages that were said already: objects with `role` and `content`.
    pub messages: Vec<Value>,
    /// Parameters, over those that are there.
    pub parameters: Map<String, Value>,
}

/// Why there is no such model. The store is as it was, but for blobs that nobody refers to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for cannot be made; the text says why.
    Asked(String),
    /// The store failed.
    Store(store::Error),
    /// A file failed.
    File(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(why) => f.write_str(why),
            Self::Store(error) => error.fmt(f),
            Self::File(error) => write!(f, "a file could not be written: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

fn asked(why: impl fmt::Display) -> Error {
    Error::Asked(why.to_string())
}

/// Makes a model. `on` hears what is being done, in the words that Ollama has for it.
///
/// # Errors
/// [`Error`].
pub fn make(store: &Store, name: &Name, making: Making, on: &mut dyn FnMut(&str)) -> Result<Record, Error> {
    let layers = layers(store, making, on)?;
    let weights = layers.iter().find(|layer| layer.kind == Kind::Model);
    let details = match weights {
        Some(layer) => perform::details(&store.blob(&layer.digest)).map_err(asked)?,
        None => Details::default(),
    };
    on("writing manifest");
    let record = Record::new(&name.to_string(), layers, details);
    store.put(name, &record)?;
    Ok(record)
}

/// The layers of a model that is here, as ours: what lies elsewhere is copied.
///
/// # Errors
/// [`Error::Store`].
pub fn of_record(store: &Store, record: &Record) -> Result<Vec<Layer>, Error> {
    if let Some(Elsewhere::Folder(path)) = &record.elsewhere {
        return of_path(store, path);
    }
    Ok(store.import_layers(record)?)
}

/// The layer of a GGUF file, or of a folder of safetensors, which is converted.
///
/// # Errors
/// [`Error::Asked`], if it is no model.
pub fn of_path(store: &Store, path: &Path) -> Result<Vec<Layer>, Error> {
    let model = |(digest, size)| vec![Layer { kind: Kind::Model, digest, size }];
    if path.is_dir() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return perform::convert(store, path, &name).map(model).map_err(asked);
    }
    // It must be one before it becomes a blob.
    perform::details(path).map_err(asked)?;
    Ok(model(store.import(path)?))
}

fn layers(store: &Store, making: Making, on: &mut dyn FnMut(&str)) -> Result<Vec<Layer>, Error> {
    let mut layers = making.base;
    if let Some(recipe) = making.quantise {
        on("quantizing model");
        quantise_layer(store, &mut layers, recipe)?;
    }
    for path in &making.adapters {
        let layer = adapter(store, path, &layers)?;
        layers.push(layer);
    }
    let mut texts = Texts { store, layers, on };
    if let Some(template) = making.template {
        template::check(&template).map_err(|e| asked(format!("template error: {e}")))?;
        texts.put(Kind::Template, &template, true)?;
    }
    if let Some(system) = making.system {
        texts.put(Kind::System, &system, true)?;
    }
    for licence in &making.licences {
        texts.put(Kind::License, licence, false)?;
    }
    if !making.messages.is_empty() {
        texts.put(Kind::Messages, &Value::Array(making.messages).to_string(), true)?;
    }
    if !making.parameters.is_empty() {
        // What the base sets holds where nothing else is said.
        let old = texts.layers.iter().find(|layer| layer.kind == Kind::Parameters);
        let old = old.and_then(|layer| std::fs::read_to_string(store.blob(&layer.digest)).ok());
        let mut all: Map<String, Value> = old.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        all.extend(making.parameters);
        texts.put(Kind::Parameters, &Value::Object(all).to_string(), true)?;
    }
    Ok(texts.layers)
}

/// Layers that are small texts.
struct Texts<'a> {
    store: &'a Store,
    layers: Vec<Layer>,
    on: &'a mut dyn FnMut(&str),
}

impl Texts<'_> {
    /// Adds one; with `replace`, in place of those of its kind.
    fn put(&mut self, kind: Kind, text: &str, replace: bool) -> Result<(), Error> {
        if replace {
            self.layers.retain(|layer| layer.kind != kind);
        }
        let (digest, size) = self.store.import_bytes(text.as_bytes())?;
        (self.on)(&format!("creating new layer {digest}"));
        self.layers.push(Layer { kind, digest, size });
        Ok(())
    }
}

fn adapter(store: &Store, path: &Path, layers: &[Layer]) -> Result<Layer, Error> {
    let published = path.is_dir() || path.extension().is_some_and(|extension| extension == "safetensors");
    let model = layers.iter().find(|layer| layer.kind == Kind::Model).map(|layer| store.blob(&layer.digest));
    let (digest, size) = match model.filter(|_| published) {
        Some(model) => perform::adapter(store, path, &model).map_err(asked)?,
        None => store.import(path)?,
    };
    Ok(Layer { kind: Kind::Adapter, digest, size })
}

fn quantise_layer(store: &Store, layers: &mut [Layer], recipe: Recipe) -> Result<(), Error> {
    let model = layers.iter_mut().find(|layer| layer.kind == Kind::Model);
    let model = model.ok_or_else(|| asked("there are no weights to quantise"))?;
    let wide = model.digest;
    (model.digest, model.size) = quantise(store, &store.blob(&wide), recipe)?;
    // What was only imported to be quantised.
    Ok(store.sweep([wide])?)
}

fn quantise(store: &Store, path: &Path, recipe: Recipe) -> Result<(Digest, u64), Error> {
    let bad = |e: &dyn fmt::Display| asked(format!("the weights cannot be quantised: {e}"));
    let file: weights::Bytes = Arc::new(Mapped::open(path)?);
    let head = Gguf::parse((*file).as_ref()).map_err(|e| bad(&e))?;
    let tensors = gguf::weights(std::slice::from_ref(&file)).map_err(|e| bad(&e))?;
    let plan = Requantised::new(&head, &tensors, recipe).map_err(|e| bad(&e))?;
    let mut out = tempfile::NamedTempFile::with_prefix_in("quantise-", store.blobs())?;
    let mut writer = io::BufWriter::new(out.as_file_mut());
    writer.write_all(&plan.head())?;
    let (count, threads) = (plan.count(), tutu_os::cores());
    // Tensors are independent: some at a time, written in their order.
    for first in (0..count).step_by(threads) {
        let batch: Vec<usize> = (first..(first + threads).min(count)).collect();
        let done: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = batch
                .iter()
                .map(|&i| {
                    scope.spawn({
                        let plan = &plan;
                        move || plan.tensor(i)
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("a tensor that cannot be quantised is an error"))
                .collect()
        });
        for bytes in done {
            writer.write_all(&bytes.map_err(|e| bad(&e))?)?;
        }
    }
    writer.flush()?;
    drop(writer);
    Ok(store.import(out.path())?)
}
