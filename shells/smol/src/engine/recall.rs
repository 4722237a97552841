//! What an engine keeps on disk of the beginnings that it read, and takes from there.
//!
//! Pages go to disk when they make room for others and when the model is let go. A prompt that begins with pages on disk
//! takes them from there if that is quicker than to compute them again.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tutu_llm::{backend::PAGE, batch::Mix};

use super::{
    Engine,
    disk::{Disk, Key},
};

/// Mixes of adapters whose pages are kept at once.
const MIXES_MAX: usize = 1024;
/// Tokens of a prompt in a step from which on the step tells how fast prompts are read.
const TELLING: usize = 16;

/// See the module.
pub(super) struct Recall {
    disk: Arc<Disk>,
    /// What this model's keys begin with.
    how: Vec<u8>,
    roots: BTreeMap<u64, Key>,
    /// Tokens of prompts that are computed in a second, once that is known.
    rate: Option<f64>,
}

impl Engine {
    /// Lets it keep pages on disk. Models that cannot save their pages keep none.
    pub fn keep_on(&mut self, disk: Arc<Disk>) {
        if self.backend.page_bytes() == 0 {
            return;
        }
        let mut how = self.how.clone();
        for file in &self.files {
            how.extend(identity(file.path()));
        }
        let roots = BTreeMap::from([(0, Key::root(&how))]);
        self.recall = Some(Recall { disk, how, roots, rate: None });
    }

    /// Takes from disk what a prompt begins with.
    pub(super) fn recall(&mut self, mix: &Mix, prompt: &[u32]) {
        let Some(recall) = &mut self.recall else { return };
        if recall.roots.len() >= MIXES_MAX {
            recall.roots.retain(|mix, _| *mix == 0);
        }
        let adapters = &self.adapters;
        let root = *recall.roots.entry(mix.id).or_insert_with(|| {
            let mut all: Vec<(Vec<u8>, u32)> =
                adapters.of(mix).map(|(path, share)| (identity(path), share.to_bits())).collect();
            all.sort_unstable();
            let mut how = recall.how.clone();
            all.iter().for_each(|(path, share)| how.extend(path.iter().copied().chain(share.to_le_bytes())));
            Key::root(&how)
        });
        // One token is left to compute: what is kept are keys and values, and no logits.
        let prompt = &prompt[..prompt.len() - 1];
        let first = self.batcher.recalled(mix.id, prompt) / PAGE;
        let keys: Vec<Key> = keys(root, prompt).collect();
        let more = keys[first..].iter().take_while(|key| recall.disk.has(**key)).count();
        let size = self.backend.page_bytes();
        let computing = recall.rate.map_or(Duration::MAX, |rate| {
            Duration::try_from_secs_f64((more * PAGE) as f64 / rate).unwrap_or(Duration::MAX)
        });
        if more == 0 || recall.disk.time_to_read(more * size) >= computing {
            return;
        }
        self.make_room(more);
        let Some(recall) = &mut self.recall else { return };
        let (disk, backend) = (&recall.disk, &mut self.backend);
        let mut bring = |at: usize, page: u32| {
            let found = keys.get(at).and_then(|key| disk.read(*key, size));
            found.is_some_and(|bytes| backend.load(page, &bytes))
        };
        let brought = self.batcher.plant(mix.id, &prompt[..(first + more) * PAGE], &mut bring);
        // What everything stands on goes last.
        disk.touch(keys[..first + brought].iter().rev().copied());
    }

    /// Sees to it that so many pages are free; what must go for that goes to disk.
    pub(super) fn make_room(&mut self, count: usize) {
        let Some(recall) = &self.recall else { return };
        let backend = &self.backend;
        self.batcher.make_room(count, &mut |gone| {
            let Some(key) = recall.key(gone.mix, &gone.tokens).filter(|key| !recall.disk.has(*key)) else { return };
            let mut bytes = Vec::with_capacity(backend.page_bytes());
            backend.save(gone.page, &mut bytes);
            recall.disk.write(key, bytes, false);
        });
    }

    /// Makes room for all that the next step can need.
    pub(super) fn make_room_for_step(&mut self) {
        if self.recall.is_some() {
            // Each text may begin a page, whatever else it computes.
            self.make_room(self.backend.tokens_max().div_ceil(PAGE) + self.batcher.len());
        }
    }

    /// Learns how fast prompts are read.
    pub(super) fn learn_rate(&mut self, tokens: usize, took: Duration) {
        if let Some(recall) = self.recall.as_mut().filter(|_| tokens >= TELLING) {
            let rate = tokens as f64 / took.as_secs_f64().max(1e-9);
            recall.rate = Some(recall.rate.map_or(rate, |old| old * 0.8 + rate * 0.2));
        }
    }

    /// Puts all that it remembers on disk, as far as there is room: its end has come.
    pub fn put_away(&mut self) {
        let Some(recall) = &self.recall else { return };
        let size = self.backend.page_bytes();
        let most = usize::try_from(recall.disk.limit()).unwrap_or(usize::MAX) / size;
        let all: Vec<_> = self.batcher.remembered().take(most).collect();
        // What was used last, and what others stand on, is written last and stays longest.
        for it in all.into_iter().rev() {
            let Some(key) = recall.key(it.mix, &it.tokens) else { continue };
            if recall.disk.has(key) {
                recall.disk.touch([key]);
                continue;
            }
            let mut bytes = Vec::with_capacity(size);
            self.backend.save(it.page, &mut bytes);
            recall.disk.write(key, bytes, true);
        }
        recall.disk.flush();
    }
}

impl Recall {
    /// What a page is known by: the last one of these tokens.
    fn key(&self, mix: u64, tokens: &[u32]) -> Option<Key> {
        keys(*self.roots.get(&mix)?, tokens).last()
    }
}

/// The keys of all whole pages of a text.
fn keys(root: Key, tokens: &[u32]) -> impl Iterator<Item = Key> {
    tokens.as_chunks::<PAGE>().0.iter().scan(root, |key, block| {
        *key = key.after(block);
        Some(*key)
    })
}

/// What tells a file from others: the digest in a blob's name; of any other its path, length and date.
fn identity(path: &Path) -> Vec<u8> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digest = name.strip_prefix("sha256-").unwrap_or(name);
    if tutu_node::kit::Digest::parse(digest).is_some() {
        return digest.to_ascii_lowercase().into_bytes();
    }
    let meta = fs::metadata(path).ok();
    let modified = meta.as_ref().and_then(|meta| meta.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    format!("{}\0{:?}\0{modified:?}\0", path.display(), meta.map(|meta| meta.len())).into_bytes()
}
