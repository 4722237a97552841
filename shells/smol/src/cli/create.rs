//! `tutu create`: a model of one's own, from a TuTufile.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value};
use tutu_llm::{
    gguf::{self, Gguf, Requantised},
    quant::Recipe,
    weights,
};
use tutu_node::{
    kit::Digest,
    work::models::{
        Name, Reference, option,
        tutufile::{self, TuTufile},
    },
};
use tutu_os::Mapped;

use super::{Error, args, models};
use crate::{
    engine::template,
    perform,
    store::{Details, Kind, Layer, Record, Store},
};

/// What `create` takes.
pub const FLAGS: &[(&str, &str)] = &[
    ("-f, --file FILE", "the TuTufile (TuTufile, or Modelfile)"),
    ("-q, --quantize TYPE", "store the weights in other block formats: Q8_0, Q6_K, Q4_K_M, Q4_0 and others"),
];

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let (mut file, mut recipe, mut name) = (None, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("file") | Arg::Short('f') => file = Some(PathBuf::from(parser.value()?)),
            Arg::Long("quantize") | Arg::Short('q') => recipe = Some(parser.value()?.string()?),
            Arg::Value(word) if name.is_none() => name = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.ok_or_else(|| Error::usage("create needs a name for the model"))?;
    let name = Name::parse(&name).map_err(Error::usage)?;
    let recipe = recipe.map(|text| find_recipe(&text)).transpose()?;
    let (text, folder) = read(file)?;
    let parsed = TuTufile::parse(&text).map_err(|e| Error::failed(format!("the TuTufile cannot be used: {e}")))?;
    make(&name, &parsed, &folder, recipe)?;
    eprintln!("created {name}");
    Ok(())
}

/// Makes a model of a TuTufile whose paths start from `folder`.
///
/// # Errors
/// What it begins with is not there or is no model; the store cannot be written.
pub fn make(name: &Name, file: &TuTufile, folder: &Path, recipe: Option<Recipe>) -> Result<(), Error> {
    let store = args::store()?;
    let layers = layers(&store, file, folder, recipe)?;
    let weights = layers.iter().find(|layer| layer.kind == Kind::Model);
    let details = match weights {
        Some(layer) => perform::details(&store.blob(&layer.digest)).map_err(Error::failed)?,
        None => Details::default(),
    };
    Ok(store.put(name, &Record::new(&name.to_string(), layers, details))?)
}

fn find_recipe(text: &str) -> Result<Recipe, Error> {
    let names: Vec<&str> = Recipe::names().collect();
    Recipe::find(text)
        .ok_or_else(|| Error::usage(format!("{text:?} is no quantisation; these are: {}", names.join(" "))))
}

/// The text, and the folder that its paths start from.
fn read(file: Option<PathBuf>) -> Result<(String, PathBuf), Error> {
    let default = || ["TuTufile", "Tutufile", "Modelfile"].iter().map(PathBuf::from).find(|path| path.is_file());
    let path = file.or_else(default).ok_or_else(|| Error::usage("there is no TuTufile here; name one with --file"))?;
    let bytes = std::fs::read(&path).map_err(|e| Error::failed(format!("{} cannot be read: {e}", path.display())))?;
    let text = tutufile::decode(&bytes).map_err(|e| Error::failed(format!("{}: {e}", path.display())))?.into_owned();
    Ok((text, path.parent().map(Path::to_path_buf).unwrap_or_default()))
}

fn layers(store: &Store, file: &TuTufile, folder: &Path, recipe: Option<Recipe>) -> Result<Vec<Layer>, Error> {
    let mut layers = Vec::new();
    for from in file.from() {
        layers.extend(base(store, from, folder)?);
    }
    if let Some(recipe) = recipe {
        let model = layers.iter_mut().find(|layer| layer.kind == Kind::Model);
        let model = model.ok_or_else(|| Error::failed("there are no weights to quantise"))?;
        let wide = model.digest;
        (model.digest, model.size) = quantise(store, &store.blob(&wide), recipe)?;
        // What was only imported to be quantised.
        store.sweep([wide])?;
    }
    for adapter in file.adapters() {
        let path = folder.join(adapter);
        let published = path.is_dir() || path.extension().is_some_and(|extension| extension == "safetensors");
        let model = layers.iter().find(|layer| layer.kind == Kind::Model).map(|layer| store.blob(&layer.digest));
        let (digest, size) = match model.filter(|_| published) {
            Some(model) => perform::adapter(store, &path, &model).map_err(Error::failed)?,
            None => store.import(&path)?,
        };
        layers.push(Layer { kind: Kind::Adapter, digest, size });
    }
    let mut text = |kind: Kind, text: &str, replace: bool| -> Result<(), Error> {
        if replace {
            layers.retain(|layer| layer.kind != kind);
        }
        let (digest, size) = store.import_bytes(text.as_bytes())?;
        layers.push(Layer { kind, digest, size });
        Ok(())
    };
    if let Some(template) = file.template() {
        template::check(template).map_err(|e| Error::failed(format!("TEMPLATE: {e}")))?;
        text(Kind::Template, template, true)?;
    }
    if let Some(system) = file.system() {
        text(Kind::System, system, true)?;
    }
    for licence in file.licences() {
        text(Kind::License, licence, false)?;
    }
    let messages: Vec<Value> =
        file.messages().map(|(role, text)| serde_json::json!({ "role": role_name(role), "content": text })).collect();
    if !messages.is_empty() {
        text(Kind::Messages, &Value::Array(messages).to_string(), true)?;
    }
    let set = parameters(file);
    if !set.is_empty() {
        // What the base sets holds where this file says nothing.
        let old = layers.iter().find(|layer| layer.kind == Kind::Parameters);
        let old = old.and_then(|layer| std::fs::read_to_string(store.blob(&layer.digest)).ok());
        let mut all: Map<String, Value> = old.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        all.extend(set);
        layers.retain(|layer| layer.kind != Kind::Parameters);
        let (digest, size) = store.import_bytes(Value::Object(all).to_string().as_bytes())?;
        layers.push(Layer { kind: Kind::Parameters, digest, size });
    }
    Ok(layers)
}

fn role_name(role: tutufile::Role) -> &'static str {
    match role {
        tutufile::Role::System => "system",
        tutufile::Role::User => "user",
        tutufile::Role::Assistant => "assistant",
    }
}

/// What a FROM stands for: the layers of a model, or a file or folder that is imported.
fn base(store: &Store, from: &str, folder: &Path) -> Result<Vec<Layer>, Error> {
    let path = folder.join(from);
    let model = |(digest, size)| vec![Layer { kind: Kind::Model, digest, size }];
    if path.is_dir() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return perform::convert(store, &path, &name).map(model).map_err(Error::failed);
    }
    if path.is_file() {
        // It must be one before it becomes a blob.
        perform::details(&path).map_err(Error::failed)?;
        return Ok(model(store.import(&path)?));
    }
    match Reference::parse(from).map_err(Error::usage)? {
        Reference::Name(name) => {
            let record = match store.find(&name) {
                Err(crate::store::Error::NotFound { .. }) => models::bring(store, &name)?,
                found => found?,
            };
            if record.elsewhere.is_some() {
                for layer in &record.layers {
                    store.import(&store.layer(&record, layer))?;
                }
            }
            Ok(record.layers)
        }
        other => Err(Error::failed(format!("{other} is neither a file nor a folder here"))),
    }
}

fn quantise(store: &Store, path: &Path, recipe: Recipe) -> Result<(Digest, u64), Error> {
    let bad = |e: &dyn std::fmt::Display| Error::failed(format!("the weights cannot be quantised: {e}"));
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

fn parameters(file: &TuTufile) -> Map<String, Value> {
    let json = |value: &option::Value| match value {
        option::Value::Integer(number) => Value::from(*number),
        option::Value::Number(number) => serde_json::from_str(&number.to_string()).unwrap_or_default(),
        option::Value::Flag(flag) => Value::from(*flag),
        option::Value::Text(text) => Value::from(text.as_str()),
    };
    let known = |name: &str| option::find(name).is_ok_and(|known| known.kind == option::Kind::Texts);
    file.parameters()
        .into_iter()
        .filter_map(|(name, values)| {
            let value = if known(name) { values.iter().map(|v| json(v)).collect() } else { json(values.last()?) };
            Some((name.to_string(), value))
        })
        .collect()
}
