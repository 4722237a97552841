//! The registry protocol that Ollama speaks; Hugging Face speaks it too.
//!
//! `GET /v2/NAMESPACE/MODEL/manifests/TAG` lists the blobs, `GET /v2/NAMESPACE/MODEL/blobs/DIGEST` gives one, by itself or by
//! a redirect to where it is kept.

use serde::Deserialize;
use tutu_node::{kit::Digest, work::models::Name};

use super::{
    http::{Http, Refusal},
    pull::{self, Error, Progress, Source, Task},
};
use crate::store::{Details, Kind, Layer, Store};

/// A manifest is some kilobytes; more is none.
const MANIFEST_MAX: u64 = 4 << 20;

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Blob>,
}

#[derive(Deserialize)]
struct Blob {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: Digest,
    size: u64,
}

/// Fetches all blobs of a model.
///
/// # Errors
/// [`Error::Registry`], and what fetching a blob gives.
pub(super) fn fetch(
    store: &Store,
    http: &Http,
    name: &Name,
    on: &mut dyn FnMut(Progress),
) -> Result<(Vec<Layer>, Details), Error> {
    let scheme = if name.insecure { "http" } else { "https" };
    let base = format!("{scheme}://{}/v2/{}/{}", name.host, name.namespace, name.model);
    let url = format!("{base}/manifests/{}", name.tag);
    let token = pull::token(&url);
    let bytes = http.manifest(&url, token.as_deref(), MANIFEST_MAX).map_err(|refusal| refused(name, refusal))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|e| Error::Registry(format!("{} did not answer with a manifest: {e}", name.host)))?;
    let mut layers = Vec::new();
    for blob in &manifest.layers {
        let Some(kind) = kind(&blob.media_type) else {
            return Err(Error::Registry(format!(
                "{name} has a layer of the kind {:?}, which is not supported",
                blob.media_type
            )));
        };
        let url = format!("{base}/blobs/{}", blob.digest);
        let task = Task { digest: blob.digest, size: blob.size, sources: vec![Source::Url(url, token.clone())] };
        pull::fetch(store, http, &task, on)?;
        layers.push(Layer { kind, digest: blob.digest, size: blob.size });
    }
    let model = layers.iter().find(|layer| layer.kind == Kind::Model);
    let model = model.ok_or_else(|| Error::Registry(format!("{name} has no weights")))?;
    let details = pull::details(&store.blob(&model.digest))?;
    Ok((layers, details))
}

fn kind(media_type: &str) -> Option<Kind> {
    Some(match media_type.strip_prefix("application/vnd.ollama.image.")? {
        "model" => Kind::Model,
        "adapter" => Kind::Adapter,
        "template" => Kind::Template,
        "system" => Kind::System,
        "params" => Kind::Parameters,
        "messages" => Kind::Messages,
        "license" => Kind::License,
        _ => return None,
    })
}

fn refused(name: &Name, refusal: Refusal) -> Error {
    Error::Registry(format!("{name} could not be found: {}; `tutu help pull` lists what names can be", refusal.text))
}
