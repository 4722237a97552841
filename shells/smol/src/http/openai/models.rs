//! `/v1/models`: what there is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Refused;
use crate::{
    daemon::Daemon,
    http::{Answer, Request, StatusCode},
    store::Record,
};

/// `GET /v1/models`.
pub(super) async fn list(daemon: Arc<Daemon>, _: Request) -> Result<Answer, Refused> {
    let store = Arc::clone(&daemon.store);
    let records = smol::unblock(move || store.list()).await;
    let mut records = records.map_err(|error| failed(&error))?;
    records.retain(|record| !record.is_adapter());
    records.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.name.cmp(&b.name)));
    let data: Vec<Value> = records.iter().map(object).collect();
    Ok(Answer::json(StatusCode::OK, &json!({"object": "list", "data": data})))
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    let named = daemon.find(request.parameter("id")).await?;
    Ok(Answer::json(StatusCode::OK, &object(&named.record)))
}

fn failed(error: &crate::store::Error) -> Refused {
    Refused { status: StatusCode::INTERNAL_SERVER_ERROR, text: error.to_string(), param: None, code: None }
}

fn object(record: &Record) -> Value {
    // The part before the last slash: whose model it is.
    let owner = record.name.rsplit_once('/').map_or("library", |(owner, _)| owner);
    json!({"id": record.name, "object": "model", "created": record.modified, "owned_by": owner})
}
