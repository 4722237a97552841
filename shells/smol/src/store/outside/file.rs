//! What a file or folder of somebody else's says, and the record that becomes of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use sha2::{Digest as _, Sha256};
use tutu_llm::{arch::Facts, convert, gguf::Gguf, weights};
use tutu_node::{kit::Digest, work::models::Name};
use tutu_os::Mapped;

use super::What;
use crate::store::{Details, Elsewhere, Kind, Layer, Record};

/// Bytes of a `config.json` that is read.
const CONFIG_MAX: u64 = 1 << 20;

/// What a file looks like from outside: as long as this stays, it counts as the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    path: PathBuf,
    size: u64,
    /// Nanoseconds since 1970.
    modified: u128,
}

/// What a head said.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    kind: Kind,
    details: Details,
}

/// What the files look like; `None` where one cannot be looked at.
pub(super) fn stamps(files: &[PathBuf]) -> Option<Vec<Stamp>> {
    let stamp = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Some(Stamp { path: path.clone(), size: meta.len(), modified })
    };
    files.iter().map(stamp).collect()
}

/// What the files are; `None` for what we cannot use.
pub(super) fn look(what: &What) -> Option<Seen> {
    match what {
        What::Gguf(files) => {
            if is_adapter(files.first()?) {
                return Some(Seen { kind: Kind::Adapter, details: Details::default() });
            }
            Some(Seen { kind: Kind::Model, details: details(files).ok()? })
        }
        What::Safetensors(folder, _) => {
            let path = folder.join("config.json");
            fs::metadata(&path).ok().filter(|meta| meta.len() <= CONFIG_MAX)?;
            let config: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            let family = config["model_type"].as_str().filter(|family| convert::FAMILIES.contains(family))?.to_owned();
            let details = Details { family, quantisation: "safetensors".into(), ..Details::default() };
            Some(Seen { kind: Kind::Model, details })
        }
    }
}

/// What is printed of a model in GGUF, one file or all parts of a split one.
///
/// # Errors
/// Why it is no model that we run.
pub fn details(files: &[PathBuf]) -> Result<Details, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let map = |path: &PathBuf| Mapped::open(path).map(|file| Arc::new(file) as weights::Bytes);
    let files = files.iter().map(map).collect::<Result<Vec<_>, _>>().map_err(|error| text(&error))?;
    let first = files.first().ok_or("it has no files")?;
    let head = Gguf::parse((**first).as_ref()).map_err(|error| text(&error))?;
    let tensors = tutu_llm::gguf::weights(&files).map_err(|error| text(&error))?;
    let facts = Facts::read(&head, &tensors).map_err(|error| text(&error))?;
    Ok(Details { parameters: facts.size_label(), family: facts.architecture, quantisation: facts.quantisation })
}

fn is_adapter(path: &Path) -> bool {
    let Ok(file) = Mapped::open(path) else { return false };
    Gguf::parse(file.as_ref()).is_ok_and(|head| head.str("general.type") == Some("adapter"))
}

/// The record of what lies there.
pub(super) fn record(name: &Name, what: &What, stamps: &[Stamp], seen: Seen) -> Record {
    let layer = |stamp: &Stamp| Layer { kind: seen.kind, digest: known_by(stamp), size: stamp.size };
    let (layers, elsewhere): (Vec<Layer>, _) = match what {
        What::Gguf(files) => (stamps.iter().map(layer).collect(), Elsewhere::Files(files.clone())),
        What::Safetensors(folder, files) => {
            let weights = files.iter().zip(stamps).filter(|(path, _)| super::has_end(path, "safetensors"));
            (weights.map(|(_, stamp)| layer(stamp)).collect(), Elsewhere::Folder(folder.clone()))
        }
    };
    let mut record = Record::new(&name.to_string(), layers, seen.details);
    let newest = stamps.iter().map(|stamp| stamp.modified).max().unwrap_or(0);
    record.modified = u64::try_from(newest / 1_000_000_000).unwrap_or(0);
    record.used = record.modified;
    record.elsewhere = Some(elsewhere);
    record
}

/// The digest that the cache of Hugging Face names a file by; of any other file, a digest of where it lies and what it
/// looks like: to compute that of its bytes would mean to read gigabytes only to list them.
fn known_by(stamp: &Stamp) -> Digest {
    let Stamp { path, size, modified } = stamp;
    digest_in_name(path)
        .unwrap_or_else(|| Digest(Sha256::digest(format!("{}\0{size}\0{modified}", path.display())).into()))
}

/// The digest that is the whole name of a file.
pub fn digest_in_name(path: &Path) -> Option<Digest> {
    Digest::parse(path.file_name()?.to_str()?)
}

/// What stands before `-00001-of-00003`, and the number of the part.
pub(super) fn split(stem: &str) -> Option<(&str, u32)> {
    let (head, count) = stem.rsplit_once("-of-")?;
    let (base, number) = head.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(count) && digits(number)).then(|| Some((base, number.parse().ok()?)))?
}

/// The block format at the end of a file's name, or else all of it.
pub(super) fn format(stem: &str) -> &str {
    let last = stem.rsplit(['-', '.']).next().unwrap_or(stem);
    let upper = last.to_ascii_uppercase();
    let quantised = upper.strip_prefix('I').unwrap_or(&upper).strip_prefix('Q');
    let is_format = quantised.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if is_format || ["F16", "BF16", "F32", "MXFP4"].contains(&upper.as_str()) { last } else { stem }
}
