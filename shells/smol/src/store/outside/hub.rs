//! The cache of Hugging Face: `models--ORG--NAME/snapshots/REVISION/...`, whose files are links to `../../blobs/...`.
//!
//! A file is known by the name under which it would be fetched, `hf.co/ORG/NAME:Q4_K_M`, so that what is in the cache is
//! not fetched again. Of several revisions that one counts which `refs/main` names, or else the newest.
//!
//! Source: huggingface_hub, "Understand caching" (guides/manage-cache).

use std::{
    fs,
    path::{Path, PathBuf},
};

use tutu_node::work::models::Name;

use super::{Candidate, Walk, What, file, has_end, part, parts, safetensors};

/// How deep files of a snapshot may lie: split ones have a folder of their own.
const DEPTH_MAX: usize = 2;

pub(super) fn look(root: &Path, walk: &mut Walk, out: &mut Vec<Candidate>) {
    let Ok(root) = fs::canonicalize(root) else { return };
    for folder in walk.entries(&root) {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((owner, model)) = name.strip_prefix("models--").and_then(|rest| rest.split_once("--")) else {
            continue;
        };
        // The repository itself must be no way out.
        if folder.symlink_metadata().is_ok_and(|meta| meta.is_dir())
            && let Some(snapshot) = snapshot(&folder, walk)
        {
            repository(&folder, &snapshot, (owner, model), walk, out);
        }
    }
}

/// The revision that counts.
fn snapshot(repository: &Path, walk: &mut Walk) -> Option<PathBuf> {
    let is_folder = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let all: Vec<PathBuf> = walk.entries(&repository.join("snapshots")).into_iter().filter(is_folder).collect();
    let main = fs::read(repository.join("refs/main")).ok().filter(|text| text.len() <= 64);
    let main = main.and_then(|text| String::from_utf8(text).ok());
    let named = all.iter().find(|path| main.as_deref().is_some_and(|main| path.ends_with(main.trim())));
    let newest = || all.iter().max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    named.or_else(newest).cloned()
}

fn repository(root: &Path, snapshot: &Path, who: (&str, &str), walk: &mut Walk, out: &mut Vec<Candidate>) {
    let named = |tag: &str| {
        let (owner, model, tag) = (part(who.0, false)?, part(who.1, true)?, part(tag, true)?);
        Name::parse(&format!("hf.co/{owner}/{model}:{tag}")).ok()
    };
    let mut folders = vec![(snapshot.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for path in walk.entries(&folder) {
            if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                if depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                }
            } else if has_end(&path, "gguf") {
                let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                let tag = file::format(file::split(stem).map_or(stem, |(base, _)| base));
                let files = parts(root, &path);
                let name = files.is_some().then(|| named(tag)).flatten();
                out.extend(name.zip(files).map(|(name, files)| Candidate { name, what: What::Gguf(files) }));
            }
        }
    }
    if let Some((name, what)) = named("safetensors").zip(safetensors(root, snapshot, walk)) {
        out.push(Candidate { name, what });
    }
}
