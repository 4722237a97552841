//! `/api/ps`: what is in memory.

use std::{sync::Arc, time::SystemTime};

use serde_json::{Value, json};

use super::Refused;
use crate::{
    daemon::{Daemon, Named, Resident},
    engine::clock::rfc3339,
    http::{Answer, Request, StatusCode},
};

/// `GET /api/ps`.
pub(super) async fn ps(daemon: Arc<Daemon>, _: Request) -> Result<Answer, Refused> {
    let mut residents = daemon.pool.status().await;
    residents.retain(|resident| resident.status.open);
    // Those that stay longest come first, those for ever before all.
    residents.sort_by_key(|resident| std::cmp::Reverse(resident.expires_in.unwrap_or(std::time::Duration::MAX)));
    let mut models = Vec::new();
    for resident in residents {
        // Removed while it is in memory: then there is nothing left to tell of it.
        if let Ok(named) = daemon.find(&resident.name).await {
            models.push(record(&named, &resident));
        }
    }
    Ok(Answer::json(StatusCode::OK, &json!({"models": models})))
}

fn record(named: &Named, resident: &Resident) -> Value {
    let expires = match (resident.expires_in, resident.status.running) {
        (Some(left), _) => SystemTime::now() + left,
        // Used right now, or for ever: far away, as Ollama has it.
        (None, _) => SystemTime::now() + std::time::Duration::from_secs(100 * 365 * 86_400),
    };
    json!({
        "name": named.record.name,
        "model": named.record.name,
        "size": resident.status.holds.0,
        "digest": named.record.digest.hex(),
        "details": details(named),
        "expires_at": rfc3339(expires),
        "size_vram": 0,
        "context_length": resident.status.context,
    })
}

/// What every list says of a model.
pub(super) fn details(named: &Named) -> Value {
    let details = &named.record.details;
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": details.family,
        "families": [details.family],
        "parameter_size": details.parameters,
        "quantization_level": details.quantisation,
        "context_length": named.facts.context,
        "embedding_length": named.facts.embedding,
    })
}
