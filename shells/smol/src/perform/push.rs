//! Sends a model to a registry.
//!
//! For each blob that is not there: `POST .../blobs/uploads/` opens a place, `PATCH` brings the bytes, `PUT ?digest=...`
//! closes it. The manifest comes last, so that nobody sees a model that is not whole.
//!
//! Source: OCI distribution specification 1.1, §"Push".

use std::{fs::File, io::Read};

use tutu_node::{
    kit::{Bytes, Digest},
    work::{
        models::{
            Name,
            manifest::{self, Manifest, Summary},
        },
        pull::{
            Config, Failure, What,
            registry::{blob_url, manifest_url},
        },
    },
};

use super::{
    errand::Errand,
    http::Http,
    pull::{Error, Progress, Stage},
};
use crate::store::{Elsewhere, Record, Store};

/// Sends a model of the store to the registry that its name says.
///
/// # Errors
/// [`Error`]; what was sent stays there and is not sent again.
pub fn push(store: &Store, name: &Name, errand: &Errand, on: &mut dyn FnMut(Progress)) -> Result<(), Error> {
    let record = store.find(name)?;
    if let Some(Elsewhere::Files(_) | Elsewhere::Folder(_)) = &record.elsewhere {
        // Nobody knows the digests of such files yet.
        let text = format!("{name} is no model of the store: make it one with `tutu cp {name} NAME`, and push that");
        return Err(Error::Model(text));
    }
    let http = Http::new(Config::default().connect, errand);
    let manifest = manifest(store, &record)?;
    for layer in manifest.blobs() {
        let path = match layer.kind {
            manifest::Kind::Config => store.blob(&layer.digest),
            _ => {
                let stored = record.layers.iter().find(|stored| stored.digest == layer.digest);
                store.layer(&record, stored.expect("the manifest was made of the record"))
            }
        };
        send(&http, name, &layer.digest, layer.size, &path, on).map_err(|failure| refused(name, &failure))?;
    }
    let text = manifest.print();
    http.put(&manifest_url(name), manifest::MEDIA_TYPE, text.as_bytes()).map_err(|failure| refused(name, &failure))
}

fn refused(name: &Name, failure: &Failure) -> Error {
    let next = match failure {
        Failure::Refused { status: 401 | 403 } => "; it takes models only from those it knows",
        Failure::Unreachable(_) => "; name it as HOST/NAMESPACE/MODEL, with `insecure` for plain HTTP",
        _ => "",
    };
    Error::Registry(format!("{} did not take {name}: {failure}{next}", name.host))
}

/// The manifest of a model, whose configuration becomes a blob of the store.
fn manifest(store: &Store, record: &Record) -> Result<Manifest, Error> {
    let summary = Summary {
        model_format: "gguf".into(),
        model_family: record.details.family.clone(),
        model_families: vec![record.details.family.clone()],
        model_type: record.details.parameters.clone(),
        file_type: record.details.quantisation.clone(),
        ..Summary::default()
    };
    let text = serde_json::to_vec(&summary).map_err(|error| Error::Registry(error.to_string()))?;
    let (digest, size) = store.import_bytes(&text)?;
    let layers = record.layers.iter().map(|layer| manifest::Layer {
        kind: layer.kind.of_manifest(),
        digest: layer.digest,
        size: Bytes(layer.size),
    });
    let config = manifest::Layer { kind: manifest::Kind::Config, digest, size: Bytes(size) };
    Ok(Manifest { config, layers: layers.collect() })
}

fn send(
    http: &Http,
    name: &Name,
    digest: &Digest,
    size: Bytes,
    path: &std::path::Path,
    on: &mut dyn FnMut(Progress),
) -> Result<(), Failure> {
    let mut tell = |done| on(Progress { what: What::Blob(*digest), done, total: size.0, stage: Stage::Fetching });
    tell(0);
    if http.has(&blob_url(name, digest))? {
        tell(size.0);
        return Ok(());
    }
    let base = blob_url(name, digest);
    let base = base.rsplit_once('/').map_or(base.as_str(), |(base, _)| base);
    let place = http.open_upload(&format!("{base}/uploads/"))?;
    let file = File::open(path).map_err(|error| Failure::Broken(error.to_string()))?;
    let mut reader = Told { file, done: 0, tell: &mut tell };
    let place = http.upload(&place, &mut reader, size.0)?;
    let mark = if place.contains('?') { '&' } else { '?' };
    http.put(&format!("{place}{mark}digest={digest}"), "application/octet-stream", &[])
}

/// A file that tells how much of it was read.
struct Told<'t> {
    file: File,
    done: u64,
    tell: &'t mut dyn FnMut(u64),
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        (self.tell)(self.done);
        Ok(count)
    }
}
