//! `/api/create`: models of one's own.

use std::{
    io,
    path::{Component, Path},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tutu_llm::quant::Recipe;
use tutu_node::{kit::Digest, work::models::Name};

use super::{Refused, required, transfer::report};
use crate::{
    daemon::Daemon,
    http::{Answer, Read, Request},
    make::{self, Making},
    perform::{self, Errand},
    store::{self, Layer, Store},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Create {
    model: Option<String>,
    name: Option<String>,
    from: Option<String>,
    files: Option<Map<String, Value>>,
    adapters: Option<Map<String, Value>>,
    template: Option<String>,
    system: Option<String>,
    license: Option<Value>,
    parameters: Option<Map<String, Value>>,
    messages: Option<Vec<Value>>,
    quantize: Option<String>,
    quantization: Option<String>,
    stream: Option<bool>,
}

/// `POST /api/create`.
pub(super) async fn create(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let Read { value: body, unused } = request.json_any_case::<Create>().await?;
    let text = required(body.model.clone(), body.name.clone())?;
    let name = Name::parse(&text).map_err(|error| Refused::bad(error.to_string()))?;
    let files = named_blobs(&daemon.store, body.files.as_ref())?;
    let adapters = named_blobs(&daemon.store, body.adapters.as_ref())?;
    check_files(&files)?;
    let from = body.from.clone().filter(|from| !from.is_empty());
    if from.is_none() && files.is_empty() {
        return Err(Refused::bad("neither 'from' or 'files' was specified"));
    }
    let from = from.map(|from| Name::parse(&from).map_err(|error| Refused::bad(error.to_string()))).transpose()?;
    if let Some(template) = &body.template {
        let wrong = |error| Refused::bad(format!("template error: {error}"));
        crate::engine::template::check(template).map_err(wrong)?;
    }
    let making = making(&body)?;
    let errand = Errand::of(request.trace.clone());
    let doing = errand.clone();
    let work = move |tell: &super::transfer::Tell| {
        let _held = daemon.changing.lock_blocking();
        let mut making = making;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        making.base = base(&daemon, from.as_ref(), &files, folder.path(), &doing)?;
        making.adapters = linked(&adapters, &folder.path().join("adapters"))?;
        for layer in &making.base {
            tell.say(json!({"status": format!("using existing layer {}", layer.digest)}));
        }
        let mut on = |status: &str| tell.say(json!({"status": status}));
        make::make(&daemon.store, &name, making, &mut on).map_err(|error| error.to_string())?;
        Ok(())
    };
    let answer = report(body.stream, &errand, work).await?;
    Ok(super::answer::tell(answer, crate::talk::Dropped::default(), &unused))
}

/// What is set, but for what comes out of files.
fn making(body: &Create) -> Result<Making, Refused> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let licences = match &body.license {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(|text| text.as_str().map(String::from)).collect(),
        Some(_) => return Err(Refused::bad("license is a text or a list of texts")),
    };
    let recipe = given(&body.quantize).or_else(|| given(&body.quantization));
    let recipe = recipe.map(|text| {
        let names = || Recipe::names().collect::<Vec<_>>().join(" ");
        Recipe::find(&text)
            .ok_or_else(|| Refused::bad(format!("unsupported quantization {text:?}; there are {}", names())))
    });
    let mut options = crate::talk::Options::default();
    for (key, value) in body.parameters.iter().flatten() {
        options.set(key, value).map_err(Refused::bad)?;
    }
    Ok(Making {
        quantise: recipe.transpose()?,
        template: given(&body.template),
        system: given(&body.system),
        licences,
        messages: body.messages.clone().unwrap_or_default(),
        parameters: body.parameters.clone().unwrap_or_default(),
        ..Making::default()
    })
}

/// Files by name, as blobs that were uploaded before.
fn named_blobs(store: &Store, map: Option<&Map<String, Value>>) -> Result<Vec<(String, std::path::PathBuf)>, Refused> {
    let mut files = Vec::new();
    for (name, value) in map.into_iter().flatten() {
        let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || name.is_empty() || name.contains('\\') {
            return Err(Refused::bad(format!("file path must be relative: {name:?}")));
        }
        let text = value.as_str().unwrap_or_default();
        let hex = text.strip_prefix("sha256:").or(text.strip_prefix("sha256-")).unwrap_or(text);
        let wrong = || Refused::bad(format!("invalid digest {text:?} of {name:?}"));
        let path = store.blob(&Digest::parse(hex).ok_or_else(wrong)?);
        if !path.is_file() {
            return Err(Refused::bad(format!(
                "the blob of {name:?} is not here: upload it to /api/blobs/{text} first"
            )));
        }
        files.push((name.clone(), path));
    }
    Ok(files)
}

/// GGUF files are looked at before anything is begun.
fn check_files(files: &[(String, std::path::PathBuf)]) -> Result<(), Refused> {
    for (name, path) in files {
        let alone = files.len() == 1 && !name.ends_with(".safetensors");
        if name.ends_with(".gguf") || alone {
            perform::details(path).map_err(|error| {
                let text = error.to_string();
                let why = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
                Refused::bad(format!("{name}: {why}"))
            })?;
        }
    }
    Ok(())
}

/// What a model begins with: another one, which is fetched where it is not here, or uploaded files.
fn base(
    daemon: &Daemon,
    from: Option<&Name>,
    files: &[(String, std::path::PathBuf)],
    folder: &Path,
    errand: &Errand,
) -> Result<Vec<Layer>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let Some(from) = from else {
        let paths = linked(files, &folder.join("model"))?;
        return match paths.as_slice() {
            [one] if one.extension().is_some_and(|end| end == "gguf") || files.len() == 1 => {
                make::of_path(&daemon.store, one).map_err(|error| text(&error))
            }
            _ => make::of_path(&daemon.store, &folder.join("model")).map_err(|error| text(&error)),
        };
    };
    let record = match daemon.store.find(from) {
        Err(store::Error::NotFound { .. }) => {
            let record = perform::model(&daemon.store, &daemon.limit(), from, errand, &mut |_| {});
            record.map_err(|error| text(&error))?
        }
        found => found.map_err(|error| text(&error))?,
    };
    make::of_record(&daemon.store, &record).map_err(|error| text(&error))
}

/// The files under their names in a folder: links, no copies.
fn linked(files: &[(String, std::path::PathBuf)], folder: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    let link = |(name, blob): &(String, std::path::PathBuf)| -> io::Result<std::path::PathBuf> {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        #[cfg(unix)]
        std::os::unix::fs::symlink(blob, &path)?;
        #[cfg(not(unix))]
        std::fs::copy(blob, &path)?;
        Ok(path)
    };
    files.iter().map(|file| link(file).map_err(|error| error.to_string())).collect()
}
