//! Models in files that belong to somebody else: used where they lie, never written to.
//!
//! Two places are looked at: folders that the user names ([`folder`]), and the cache of Hugging Face ([`hub`]). What is
//! found becomes records like those of our own store. A file is shown when its head says that we can run it; heads are read once, until the file changes.
//!
//! The files are strangers': what is looked at is bounded, and a link counts only where it stays inside the folder that
//! was named (in the cache: inside the repository's own folder, which is how that cache links its snapshots to its blobs).

mod file;
mod folder;
mod hub;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tutu_node::work::models::{Name, name};

pub use file::details;
pub(super) use file::digest_in_name;
use file::{Seen, Stamp};

use super::record::Record;

/// Entries of folders that are looked at in one search.
const ENTRIES_MAX: usize = 20_000;
/// Models of one search.
const MODELS_MAX: usize = 2_000;
/// How long what was found counts as what is there.
const FRESH: Duration = Duration::from_secs(1);

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Folders of GGUF files, and of folders with safetensors.
    pub folders: Vec<PathBuf>,
    /// The cache of Hugging Face, the folder that has `models--ORG--NAME` in it.
    pub hub: Option<PathBuf>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outside {
    places: Places,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    at: Option<Instant>,
    found: Vec<Record>,
    /// What the heads of files said, by what they looked like then.
    heads: BTreeMap<Vec<Stamp>, Option<Seen>>,
}

/// Files that may be a model.
struct Candidate {
    name: Name,
    what: What,
}

/// What a candidate consists of; all paths are free of links.
enum What {
    /// A GGUF file, or all parts of a split one.
    Gguf(Vec<PathBuf>),
    /// A folder of safetensors with what belongs to them, and these files.
    Safetensors(PathBuf, Vec<PathBuf>),
}

impl Outside {
    pub(super) fn new(places: Places) -> Self {
        Self { places, state: Mutex::default() }
    }

    /// All models that are there, those of a folder before those of the cache.
    pub(super) fn list(&self) -> Vec<Record> {
        if self.places == Places::default() {
            return Vec::new();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.at.is_none_or(|at| at.elapsed() >= FRESH) {
            state.look(&self.places);
        }
        state.found.clone()
    }

    /// The model of that name. A repository of the cache that is asked for without a tag gives what it would give if it
    /// were fetched: the medium one of four bits, or else its first.
    pub(super) fn read(&self, name: &Name) -> Option<Record> {
        let mut found = self.list();
        let is = |record: &Record, wanted: &Name| Name::parse(&record.name).is_ok_and(|it| it.key() == wanted.key());
        let exact = found.iter().position(|record| is(record, name));
        let any = || {
            let tagged = |record: &Record| {
                let it = Name::parse(&record.name).ok()?;
                let same = Name { tag: name.tag.clone(), ..it.clone() }.key() == name.key();
                same.then_some(it.tag)
            };
            let open = name.is_hugging_face() && name.tag == name::TAG;
            let all: Vec<_> =
                found.iter().enumerate().filter(|_| open).filter_map(|(at, it)| Some((at, tagged(it)?))).collect();
            let medium = all.iter().find(|(_, tag)| tag.eq_ignore_ascii_case("q4_k_m"));
            medium.or(all.first()).map(|(at, _)| *at)
        };
        exact.or_else(any).map(|at| found.swap_remove(at))
    }
}

impl State {
    fn look(&mut self, places: &Places) {
        let mut walk = Walk { left: ENTRIES_MAX };
        let mut candidates = Vec::new();
        for folder in &places.folders {
            folder::look(folder, &mut walk, &mut candidates);
        }
        if let Some(hub) = &places.hub {
            hub::look(hub, &mut walk, &mut candidates);
        }
        let (mut names, mut heads) = (BTreeSet::new(), BTreeMap::new());
        self.found.clear();
        for candidate in candidates.into_iter().take(MODELS_MAX) {
            let Some(stamps) = file::stamps(candidate.files()) else { continue };
            let known = self.heads.remove(&stamps).or_else(|| heads.get(&stamps).cloned());
            let seen = known.unwrap_or_else(|| file::look(&candidate.what));
            heads.insert(stamps.clone(), seen.clone());
            let Some(seen) = seen else { continue };
            let name = free(candidate.name, &mut names);
            self.found.push(file::record(&name, &candidate.what, &stamps, seen));
        }
        // What is gone is forgotten.
        self.heads = heads;
        self.at = Some(Instant::now());
    }
}

impl Candidate {
    fn files(&self) -> &[PathBuf] {
        match &self.what {
            What::Gguf(files) | What::Safetensors(_, files) => files,
        }
    }
}

/// The name with a number as its tag where another has it already.
fn free(name: Name, taken: &mut BTreeSet<String>) -> Name {
    let numbered = (2..).map(|number| Name { tag: format!("{}-{number}", name.tag), ..name.clone() });
    let free = std::iter::once(name.clone()).chain(numbered).find(|name| taken.insert(name.key()));
    free.expect("there are more numbers than models")
}

/// What may still be looked at.
struct Walk {
    left: usize,
}

impl Walk {
    /// The entries of a folder in the order of their names, as many as may be looked at, without hidden ones.
    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let entries = entries.flatten().take(self.left).map(|entry| entry.path());
        let mut all: Vec<PathBuf> = entries.collect();
        self.left -= all.len();
        all.retain(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
        all.sort();
        all
    }
}

/// A regular file without links in its path, if it lies inside `root`, which has none either.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    (real.starts_with(root) && real.is_file()).then_some(real)
}

/// Part of a name, made of any text: letters that a name cannot have become dashes. `None` where nothing is left.
fn part(text: &str, dots: bool) -> Option<String> {
    /// As `Name` has it.
    const MOST: usize = 80;
    let letter = |c: char| match c {
        '.' if dots => '.',
        c if c.is_ascii_alphanumeric() || c == '_' => c,
        _ => '-',
    };
    let text: String =
        text.chars().map(letter).skip_while(|c| !c.is_ascii_alphanumeric() && *c != '_').take(MOST).collect();
    (!text.is_empty()).then_some(text)
}

/// All parts of the GGUF file, inside `root`; `None` for a later part of a split one, which comes with its first, and
/// where a part is missing.
fn parts(root: &Path, path: &Path) -> Option<Vec<PathBuf>> {
    let stem = path.file_stem()?.to_str()?;
    if file::split(stem).is_some_and(|(_, number)| number != 1) {
        return None;
    }
    crate::model::parts(path).iter().map(|path| inside(root, path)).collect()
}

fn has_end(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(end))
}

/// A folder that has a model in safetensors: what belongs to it, as far as it lies inside `root`.
fn safetensors(root: &Path, folder: &Path, walk: &mut Walk) -> Option<What> {
    let beside = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "1_Pooling/config.json"];
    let entries = walk.entries(folder);
    let weights: Vec<&PathBuf> = entries.iter().filter(|path| has_end(path, "safetensors")).collect();
    if weights.is_empty() {
        return None;
    }
    let beside = beside.iter().map(|name| folder.join(name)).filter(|path| path.exists());
    // A link that leads out spoils the whole.
    let files =
        beside.chain(weights.into_iter().cloned()).map(|path| inside(root, &path)).collect::<Option<Vec<_>>>()?;
    Some(What::Safetensors(folder.into(), files))
}

#[cfg(all(test, unix))]
mod tests;
