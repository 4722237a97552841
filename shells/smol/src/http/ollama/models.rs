//! `/api/tags`, `/api/ps`, `/api/show`, `/api/copy`, `/api/delete`: what is here, and what is in memory.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tutu_llm::gguf::{self, Gguf};
use tutu_node::work::models::Name;
use tutu_os::Mapped;

use super::{Refused, find, required};
use crate::{
    cli::modelfile,
    daemon::{Daemon, Named, Resident},
    engine::{clock::rfc3339, template::Capability},
    http::{Answer, Request, StatusCode},
    store::{self, Record},
};

/// `GET /api/tags`.
pub(super) async fn tags(daemon: Arc<Daemon>, _: Request) -> Result<Answer, Refused> {
    let store = Arc::clone(&daemon.store);
    let records = smol::unblock(move || store.list()).await.map_err(failed)?;
    let mut models = Vec::new();
    for record in records.iter().filter(|record| !record.is_adapter()) {
        // One whose file is gone or is none that we run is listed all the same: it can be removed. What must be
        // converted is not, only to be listed.
        let named = if record.must_be_converted() { None } else { daemon.find(&record.name).await.ok() };
        models.push(listed(record, named.as_deref()));
    }
    Ok(Answer::json(StatusCode::OK, &json!({"models": models})))
}

fn listed(record: &Record, named: Option<&Named>) -> Value {
    json!({
        "name": record.name,
        "model": record.name,
        "modified_at": date(record.modified),
        "size": record.size(),
        "digest": record.digest.hex(),
        "details": details(record, named),
        "capabilities": capabilities(named),
    })
}

fn capabilities(named: Option<&Named>) -> Vec<&'static str> {
    named.map(|named| named.capabilities.iter().map(|one| Capability::name(*one)).collect()).unwrap_or_default()
}

fn date(seconds: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn details(record: &Record, named: Option<&Named>) -> Value {
    let details = &record.details;
    let mut value = json!({
        "parent_model": "",
        "format": "gguf",
        "family": details.family,
        "families": [details.family],
        "parameter_size": details.parameters,
        "quantization_level": details.quantisation,
    });
    if let Some(named) = named {
        value["context_length"] = named.facts.context.into();
        value["embedding_length"] = named.facts.embedding.into();
    }
    value
}

/// `GET /api/ps`.
pub(super) async fn ps(daemon: Arc<Daemon>, _: Request) -> Result<Answer, Refused> {
    let mut residents = daemon.pool.status().await;
    residents.retain(|resident| resident.status.open);
    // Those that stay longest come first, those for ever before all.
    residents.sort_by_key(|resident| std::cmp::Reverse(resident.expires_in.unwrap_or(Duration::MAX)));
    let mut models = Vec::new();
    for resident in residents {
        // Removed while it is in memory: then there is nothing left to tell of it.
        if let Ok(named) = daemon.find(&resident.name).await {
            models.push(running(&named, &resident));
        }
    }
    Ok(Answer::json(StatusCode::OK, &json!({"models": models})))
}

fn running(named: &Named, resident: &Resident) -> Value {
    // In use, or for ever: far away, as Ollama has it.
    const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);
    let shared = resident.handle.as_ref().map(|handle| handle.shared());
    let gpu = shared.and_then(|shared| shared.gpu());
    let size = shared.map_or(resident.status.holds.main.0, |shared| shared.measured());
    // Of what lies on a GPU the processor holds nothing; Ollama's sizes are of both together.
    let on_gpu = gpu.map_or(0, |gpu| gpu.bytes());
    json!({
        "name": named.record.name,
        "model": named.record.name,
        "size": size.max(on_gpu),
        "digest": named.record.digest.hex(),
        "details": details(&named.record, Some(named)),
        "expires_in_seconds": resident.expires_in.map(|left| left.as_secs()),
        "running": resident.status.running,
        "expires_at": rfc3339(SystemTime::now() + resident.expires_in.unwrap_or(FAR)),
        "size_vram": on_gpu,
        "gpu": gpu.map(|gpu| gpu.adapter()),
        "gpu_layers": gpu.map(|gpu| gpu.layers().0),
        "layers": gpu.map(|gpu| gpu.layers().1),
        "context_length": resident.status.context,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Show {
    model: Option<String>,
    name: Option<String>,
    verbose: Option<bool>,
    system: Option<String>,
}

/// `POST /api/show`.
pub(super) async fn show(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let body = request.json_any_case::<Show>().await?.value;
    let name = required(body.model, body.name)?;
    let named = find(&daemon, &name).await?;
    let verbose = body.verbose.unwrap_or(false);
    let mut value = smol::unblock(move || describe(&named, verbose)).await?;
    if let Some(system) = body.system.filter(|text| !text.is_empty()) {
        value["system"] = system.into();
    }
    Ok(Answer::json(StatusCode::OK, &value))
}

fn describe(named: &Named, verbose: bool) -> Result<Value, Refused> {
    let model = &named.model;
    let path = model.sources.files.first().ok_or_else(|| failed("it has no weights"))?;
    let file = Mapped::open(path).map_err(failed)?;
    let head = Gguf::parse(file.as_ref()).map_err(failed)?;
    let own = head.str("tokenizer.chat_template");
    let licence = if model.licences.is_empty() {
        head.str("general.license").unwrap_or_default().to_owned()
    } else {
        model.licences.join("\n")
    };
    Ok(json!({
        "license": licence,
        "modelfile": modelfile::text(model).map_err(failed)?,
        "parameters": parameters(model.parameters.as_ref()),
        "template": model.sources.template.as_deref().or(own).unwrap_or_default(),
        "system": model.system.as_deref().unwrap_or_default(),
        "details": details(&named.record, Some(named)),
        "messages": model.messages,
        "model_info": info(&head, verbose),
        "tensors": tensors(&head),
        "capabilities": capabilities(Some(named)),
        "modified_at": date(named.record.modified),
    }))
}

/// Parameters as lines: the name in thirty columns, then the value.
fn parameters(map: Option<&Map<String, Value>>) -> String {
    let lines = map.into_iter().flatten().flat_map(|(key, value)| {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        values.into_iter().map(move |value| format!("{key:<30} {value}"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What the file says of itself. Long lists are left empty unless all is wanted.
fn info(head: &Gguf<'_>, verbose: bool) -> Value {
    /// Elements of a list that are told to everybody.
    const SHORT: usize = 5;
    let mut map = Map::new();
    for (key, value) in head.pairs() {
        if key == "general.name" || key == "tokenizer.chat_template" {
            continue;
        }
        let value = match value {
            gguf::Value::Array(list) if !verbose && key.starts_with("tokenizer.") && list.len() > SHORT => Value::Null,
            gguf::Value::Array(list) if !verbose && list.len() > SHORT => json!([]),
            value => plain(value),
        };
        map.insert(key.into(), value);
    }
    map.into()
}

fn plain(value: gguf::Value<'_>) -> Value {
    match value {
        gguf::Value::Unsigned(number) => number.into(),
        gguf::Value::Signed(number) => number.into(),
        gguf::Value::Float(number) => number.into(),
        gguf::Value::Bool(flag) => flag.into(),
        gguf::Value::Str(text) => text.into(),
        gguf::Value::Array(list) => {
            let texts: Vec<Value> = list.strings().map(Value::from).collect();
            if texts.is_empty() { list.scalars().map(plain).collect() } else { texts.into() }
        }
    }
}

fn tensors(head: &Gguf<'_>) -> Value {
    head.tensors()
        .iter()
        .map(|tensor| json!({"name": tensor.name, "type": tensor.kind.name(), "shape": tensor.dims}))
        .collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Copy {
    source: Option<String>,
    destination: Option<String>,
}

/// `POST /api/copy`.
pub(super) async fn copy(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let body = request.json_any_case::<Copy>().await?.value;
    let name = |what: &str, text: Option<String>| {
        let text = text.unwrap_or_default();
        Name::parse(&text).map_err(|error| Refused::bad(format!("{what} {text:?} is invalid: {error}")))
    };
    let (from, to) = (name("source", body.source)?, name("destination", body.destination)?);
    let store = Arc::clone(&daemon.store);
    let _held = daemon.changing.lock().await;
    let copied = smol::unblock(move || store.copy(&from, &to)).await;
    copied.map(|()| Answer::new(StatusCode::OK)).map_err(refused)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delete {
    model: Option<String>,
    name: Option<String>,
}

/// `DELETE /api/delete`. A model that is in memory goes from there too, once nobody uses it.
pub(super) async fn delete(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let body = request.json_any_case::<Delete>().await?.value;
    let text = required(body.model, body.name)?;
    let name = Name::parse(&text).map_err(|error| Refused::bad(error.to_string()))?;
    if let Ok(named) = daemon.find(&text).await {
        daemon.pool.unload(&named.model.sources).await;
    }
    let store = Arc::clone(&daemon.store);
    let _held = daemon.changing.lock().await;
    let removed = smol::unblock(move || store.remove(&name)).await;
    removed.map(|()| Answer::new(StatusCode::OK)).map_err(refused)
}

fn refused(error: store::Error) -> Refused {
    crate::daemon::named::Error::Store(error).into()
}

fn failed(error: impl std::fmt::Display) -> Refused {
    Refused { status: StatusCode::INTERNAL_SERVER_ERROR, text: error.to_string() }
}
