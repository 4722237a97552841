//! Models of an existing Ollama store, used where they lie and never written to.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use sha2::{Digest as _, Sha256};
use tutu_node::{
    kit::Digest,
    work::models::{
        Name,
        manifest::{self, BYTES_MAX, Manifest, Summary},
        name::HOST,
    },
};

use super::record::{Details, Elsewhere, Kind, Layer, Record};

pub(super) struct Ollama {
    folder: PathBuf,
}

impl Ollama {
    /// The store in `folder`, if there is one.
    pub(super) fn find(folder: &Path) -> Option<Self> {
        folder.join("manifests").is_dir().then(|| Self { folder: folder.into() })
    }

    /// The record of a model that it has.
    pub(super) fn read(&self, name: &Name) -> Option<Record> {
        let path =
            self.folder.join("manifests").join(&name.host).join(&name.namespace).join(&name.model).join(&name.tag);
        self.read_file(&path, name)
    }

    /// All models that it has.
    pub(super) fn list(&self) -> Vec<Record> {
        let mut found = Vec::new();
        let root = self.folder.join("manifests");
        let children = |path: &Path| -> Vec<PathBuf> {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        for path in
            children(&root).iter().flat_map(|p| children(p)).flat_map(|p| children(&p)).flat_map(|p| children(&p))
        {
            let relative = path.strip_prefix(&root).unwrap_or(&path);
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            let [host, namespace, model, tag] = parts.as_slice() else { continue };
            let text = if host == HOST {
                format!("{namespace}/{model}:{tag}")
            } else {
                format!("{host}/{namespace}/{model}:{tag}")
            };
            found.extend(Name::parse(&text).ok().and_then(|name| self.read_file(&path, &name)));
        }
        found
    }

    fn read_file(&self, path: &Path, name: &Name) -> Option<Record> {
        let meta = fs::metadata(path).ok().filter(|meta| meta.is_file() && meta.len() <= BYTES_MAX as u64)?;
        let bytes = fs::read(path).ok()?;
        let manifest = Manifest::parse(&bytes).ok()?;
        let blobs = self.folder.join("blobs");
        let config = fs::read(blobs.join(manifest.config.digest.file_name()));
        let config: Summary = config.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let layer = |layer: &manifest::Layer| {
            Some(Layer { kind: Kind::of(&layer.kind)?, digest: layer.digest, size: layer.size.0 })
        };
        let layers: Vec<Layer> = manifest.layers.iter().filter_map(layer).collect();
        let details =
            Details { family: config.model_family, parameters: config.model_type, quantisation: config.file_type };
        let mut record = Record::new(&name.to_string(), layers, details);
        record.digest = Digest(Sha256::digest(&bytes).into());
        record.modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        record.elsewhere = Some(Elsewhere::Blobs(blobs));
        Some(record)
    }
}
