//! The registry protocol that Ollama speaks; Hugging Face speaks it too.
//!
//! `GET /v2/NAMESPACE/MODEL/manifests/TAG` lists the blobs, `GET /v2/NAMESPACE/MODEL/blobs/DIGEST` gives one, by itself or by
//! a redirect to where it is kept.

use tutu_node::work::{
    models::{
        Name,
        manifest::{self, Manifest},
    },
    pull::{
        Failure, Reason, Source, What,
        registry::{blob_url, manifest_url, tags, tags_url},
        source::advice,
    },
};

use super::{
    http::Http,
    pull::{self, Error, Limit, Progress},
};
use crate::store::{Details, Kind, Layer, Store};

/// Fetches all blobs of a model.
///
/// # Errors
/// [`Error::Registry`], and what fetching a blob gives.
pub(super) fn fetch(
    store: &Store,
    limit: &Limit,
    http: &Http,
    name: &Name,
    on: &mut dyn FnMut(Progress),
) -> Result<(Vec<Layer>, Details), Error> {
    let url = manifest_url(name);
    let bytes = http.manifest(&url, manifest::BYTES_MAX as u64).map_err(|failure| {
        // Where the model is there under other tags, these are the answer.
        let absent = matches!(failure, Failure::Refused { status: 404 });
        let list = absent.then(|| http.manifest(&tags_url(name), manifest::BYTES_MAX as u64).ok()).flatten();
        match list.map(|bytes| tags(name, &bytes)).filter(|tags| !tags.is_empty()) {
            Some(tags) => Error::Tag { name: name.to_string(), tags },
            None => refused(name, url, failure),
        }
    })?;
    let manifest = Manifest::parse(&bytes)
        .map_err(|error| Error::Registry(format!("{} did not answer with a manifest: {error}", name.host)))?;
    let blobs: Vec<_> = manifest.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
    limit.make_room(store, name, &blobs)?;
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        let Some(kind) = Kind::of(&layer.kind) else {
            return Err(Error::Registry(format!("{name} has a layer that is not supported: {:?}", layer.kind)));
        };
        let sources = vec![Source::Web { url: blob_url(name, &layer.digest) }];
        pull::fetch(store, http, What::Blob(layer.digest), Some(layer.size), sources, on)?;
        layers.push(Layer { kind, digest: layer.digest, size: layer.size.0 });
    }
    let model = layers.iter().find(|layer| layer.kind == Kind::Model);
    let model = model.ok_or_else(|| Error::Registry(format!("{name} has no weights")))?;
    let details = pull::details(&store.blob(&model.digest))?;
    Ok((layers, details))
}

fn refused(name: &Name, url: String, failure: Failure) -> Error {
    let token = pull::token(&url).is_some();
    let (source, reason) = (Source::Web { url }, Reason::Failed(failure));
    let next = advice(&source, &reason, token).unwrap_or_else(|| "`tutu help pull` lists what names can be".into());
    Error::Registry(format!("{name} could not be found at {source}: {reason}; {next}"))
}
