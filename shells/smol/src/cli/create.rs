//! `tutu create`: a model of one's own, from a TuTufile.

use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value};
use tutu_llm::quant::Recipe;
use tutu_node::work::models::{
    Name, Reference, option,
    tutufile::{self, TuTufile},
};

use super::{Error, args, models};
use crate::{
    make::{self, Making},
    store::{Layer, Store},
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
    let mut making = making(file, folder);
    for from in file.from() {
        making.base.extend(base(&store, from, folder)?);
    }
    making.quantise = recipe;
    make::make(&store, name, making, &mut |_| {}).map_err(Error::failed)?;
    Ok(())
}

/// What a TuTufile sets, but for what it begins with.
fn making(file: &TuTufile, folder: &Path) -> Making {
    Making {
        adapters: file.adapters().map(|adapter| folder.join(adapter)).collect(),
        template: file.template().map(String::from),
        system: file.system().map(String::from),
        licences: file.licences().map(String::from).collect(),
        messages: file
            .messages()
            .map(|(role, text)| serde_json::json!({ "role": role.name(), "content": text }))
            .collect(),
        parameters: parameters(file),
        ..Making::default()
    }
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

/// What a FROM stands for: the layers of a model, or a file or folder that is imported.
fn base(store: &Store, from: &str, folder: &Path) -> Result<Vec<Layer>, Error> {
    let path = folder.join(from);
    if path.exists() {
        return make::of_path(store, &path).map_err(Error::failed);
    }
    match Reference::parse(from).map_err(Error::usage)? {
        Reference::Name(name) => {
            let record = match store.find(&name) {
                Err(crate::store::Error::NotFound { .. }) => models::bring(store, &name)?,
                found => found?,
            };
            make::of_record(store, &record).map_err(Error::failed)
        }
        other => Err(Error::failed(format!("{other} is neither a file nor a folder here"))),
    }
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
