//! Folders that the user names: GGUF files by their names, in folders by those of their folders too.
//!
//! ```text
//! FOLDER/tiny.Q8_0.gguf              tiny.Q8_0
//! FOLDER/mine/large-00001-of-00003.gguf   mine/large
//! FOLDER/some/minilm/{config.json, model.safetensors, ...}   some/minilm
//! ```

use std::path::{Path, PathBuf};

use tutu_node::work::models::Name;

use super::{Candidate, Walk, What, file, has_end, part, parts, safetensors};

/// How deep folders are looked into.
const DEPTH_MAX: usize = 4;

/// What lies in `root` and the folders in it. Folders that are links are passed by.
pub(super) fn look(root: &Path, walk: &mut Walk, out: &mut Vec<Candidate>) {
    let Ok(root) = std::fs::canonicalize(root) else { return };
    let mut folders = vec![(root.clone(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = walk.entries(&folder);
        for path in entries.iter().filter(|path| has_end(path, "gguf")) {
            let Some(files) = parts(&root, path) else { continue };
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let stem = file::split(stem).map_or(stem, |(base, _)| base);
            let owner = if depth == 0 { None } else { folder.file_name() };
            out.extend(named(owner, stem).map(|name| Candidate { name, what: What::Gguf(files) }));
        }
        if entries.iter().any(|path| has_end(path, "safetensors"))
            && let Some(what) = safetensors(&root, &folder, walk)
        {
            let model = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let owner = if depth < 2 { None } else { folder.parent().and_then(Path::file_name) };
            out.extend(named(owner, model).map(|name| Candidate { name, what }));
        }
        if depth < DEPTH_MAX {
            let is_folder = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            folders.extend(entries.into_iter().rev().filter(is_folder).map(|path| (path, depth + 1)));
        }
    }
}

fn named(owner: Option<&std::ffi::OsStr>, model: &str) -> Option<Name> {
    let model = part(model, true)?;
    let owner = owner.and_then(|owner| part(&owner.to_string_lossy(), false));
    let text = owner.map_or_else(|| model.clone(), |owner| format!("{owner}/{model}"));
    Name::parse(&text).ok()
}
