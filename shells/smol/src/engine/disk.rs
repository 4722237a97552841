//! Keys and values of beginnings on disk, so that they outlive the model in memory and the server.
//!
//! ```text
//! FOLDER/HEX.kv    one page: 32 tokens of one text, after all that stands before them
//!
//!    0  8  "tutukv01"
//!    8  8  bytes of the page, the low one first
//!   16 32  SHA-256 of the page
//!   48     the page, as the backend saves it
//! ```
//!
//! A page is known by a chain of digests, [`Key::after`]: of the model, of how it is computed, and of every token up to
//! its end. A file becomes what it is called only once it is whole; one whose bytes are not what they were is
//! removed when it is read. What is over the limit goes, what was not used for the longest time first.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use sha2::{Digest as _, Sha256};
use tutu_node::kit::Digest;

use crate::log::{self, Level};

const MAGIC: &[u8; 8] = b"tutukv01";
const HEAD: usize = 48;
/// Pages that wait to be written. When a disk is slower than that, what would be forgotten is.
const WAITING_MAX: usize = 16;
/// Bytes a second that a disk is taken to give before it was measured.
const SPEED: f64 = 200e6;

/// What a page is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// Of nothing yet, computed as `how` says: whatever makes keys and values differ must be in it.
    pub fn root(how: &[u8]) -> Self {
        Self(Sha256::new().chain_update(MAGIC).chain_update(how).finalize().into())
    }

    /// Of what stands before, and these tokens.
    #[must_use]
    pub fn after(self, tokens: &[u32]) -> Self {
        let mut hash = Sha256::new().chain_update(self.0);
        tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
        Self(hash.finalize().into())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    limit: u64,
    shelf: Arc<Mutex<Shelf>>,
    writer: SyncSender<Job>,
}

/// What is there.
#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<Key, Entry>,
    /// By when they were used last.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: u64,
    /// Bytes a second, as measured last.
    speed: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    size: u64,
    used: u64,
}

enum Job {
    Write(Key, Vec<u8>),
    Flush(SyncSender<()>),
}

impl Disk {
    /// Opens a folder that may hold `limit` bytes; what is there from before counts. With no limit to speak of, 0, it is
    /// emptied, and there is nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path, limit: u64) -> io::Result<Option<Self>> {
        if limit == 0 && !folder.exists() {
            return Ok(None);
        }
        fs::create_dir_all(folder)?;
        let mut shelf = Shelf::default();
        for (key, size) in found(folder)? {
            shelf.insert(key, size);
        }
        shelf.shrink(folder, limit);
        if limit == 0 {
            return Ok(None);
        }
        let (writer, jobs) = mpsc::sync_channel(WAITING_MAX);
        let disk = Self { folder: folder.into(), limit, shelf: Arc::new(Mutex::new(shelf)), writer };
        let (folder, shelf) = (disk.folder.clone(), Arc::clone(&disk.shelf));
        thread::Builder::new().name("tutu-kv".into()).spawn(move || work(&folder, limit, &shelf, &jobs))?;
        Ok(Some(disk))
    }

    /// What it may hold, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Files and bytes that are there.
    pub fn size(&self) -> (usize, u64) {
        let shelf = self.shelf();
        (shelf.files.len(), shelf.bytes)
    }

    /// Whether a page is there.
    pub fn has(&self, key: Key) -> bool {
        self.shelf().files.contains_key(&key)
    }

    /// How long it takes to read so many bytes, by the last time.
    pub fn time_to_read(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.shelf().speed.unwrap_or(SPEED))
    }

    /// Reads a page of so many bytes. `None` where it is not there or not whole; then it is gone.
    pub fn read(&self, key: Key, size: usize) -> Option<Vec<u8>> {
        let known = self.shelf().files.get(&key).copied()?;
        let start = Instant::now();
        let path = path(&self.folder, key);
        match read(&path, known.size, size) {
            Ok(page) => {
                let speed = size as f64 / start.elapsed().as_secs_f64().max(1e-9);
                let old = &mut self.shelf().speed;
                *old = Some(old.map_or(speed, |old| old * 0.8 + speed * 0.2));
                Some(page)
            }
            Err(error) => {
                self.shelf().remove(key);
                let _ = fs::remove_file(&path);
                let fields = [("file", path.display().to_string().into()), ("error", error.to_string().into())];
                log::say(Level::Warn, "keys and values on disk were not whole, and are computed again", &fields);
                None
            }
        }
    }

    /// Notes that pages were used; of equal ones the last stays longest.
    pub fn touch(&self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            if self.shelf().touch(key) {
                // Kept for the next start; without it only the order suffers.
                let file = File::options().write(true).open(path(&self.folder, key));
                let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
            }
        }
    }

    /// Writes a page, soon. With `patient` it waits for its turn; else what is too much is left out.
    pub fn write(&self, key: Key, page: Vec<u8>, patient: bool) {
        let job = Job::Write(key, page);
        // The writer ends with this; a page that is not written is computed again.
        let _ = if patient { self.writer.send(job).map_err(drop) } else { self.writer.try_send(job).map_err(drop) };
    }

    /// Waits until all is written that was to be.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.writer.send(Job::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn insert(&mut self, key: Key, size: u64) {
        self.remove(key);
        self.clock += 1;
        self.files.insert(key, Entry { size, used: self.clock });
        self.order.insert(self.clock, key);
        self.bytes += size;
    }

    fn touch(&mut self, key: Key) -> bool {
        let size = self.files.get(&key).map(|entry| entry.size);
        size.inspect(|size| self.insert(key, *size)).is_some()
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.files.remove(&key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.size;
        }
    }

    /// Removes the oldest until no more is there than may be.
    fn shrink(&mut self, folder: &Path, limit: u64) {
        while self.bytes > limit {
            let Some((_, key)) = self.order.first_key_value() else { return };
            let key = *key;
            let _ = fs::remove_file(path(folder, key));
            self.remove(key);
        }
    }
}

fn path(folder: &Path, key: Key) -> PathBuf {
    folder.join(format!("{}.kv", Digest(key.0).hex()))
}

/// Pages in a folder with their sizes, the oldest first. What an end in the middle left behind is removed.
fn found(folder: &Path) -> io::Result<Vec<(Key, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
        let key = name.strip_suffix(".kv").and_then(Digest::parse).map(|digest| Key(digest.0));
        if let Some(key) = key.filter(|key| path(folder, *key) == entry.path()) {
            found.push((meta.modified().ok(), key, meta.len()));
        } else if name.starts_with("part-") {
            let _ = fs::remove_file(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, key, size)| (key, size)).collect())
}

/// A page of `size` bytes in a file that has `whole`.
fn read(path: &Path, whole: u64, size: usize) -> io::Result<Vec<u8>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    if whole != (HEAD + size) as u64 || fs::symlink_metadata(path)?.len() != whole {
        return Err(bad("it has another length"));
    }
    let mut file = File::open(path)?;
    let (mut head, mut page) = ([0; HEAD], vec![0; size]);
    file.read_exact(&mut head)?;
    file.read_exact(&mut page)?;
    if head != head_of(&page) { Err(bad("it is damaged")) } else { Ok(page) }
}

fn head_of(page: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&(page.len() as u64).to_le_bytes());
    head[16..].copy_from_slice(&Sha256::digest(page));
    head
}

/// Writes until nobody can ask for it any more.
fn work(folder: &Path, limit: u64, shelf: &Mutex<Shelf>, jobs: &Receiver<Job>) {
    let mut failed = false;
    for job in jobs {
        match job {
            Job::Flush(done) => drop(done.try_send(())),
            Job::Write(key, page) => {
                let size = (HEAD + page.len()) as u64;
                if size > limit {
                    continue;
                }
                let written = write(folder, key, &page);
                if let Err(error) = &written
                    && !failed
                {
                    let fields = [("error", error.to_string().into())];
                    log::say(Level::Warn, "keys and values cannot be written to disk", &fields);
                }
                failed = written.is_err();
                if !failed {
                    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                    shelf.insert(key, size);
                    shelf.shrink(folder, limit);
                }
            }
        }
    }
}

fn write(folder: &Path, key: Key, page: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("part-").tempfile_in(folder)?;
    file.write_all(&head_of(page))?;
    file.write_all(page)?;
    file.persist(path(folder, key))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::root(b"test").after(&[number])
    }

    fn open(folder: &Path, limit: u64) -> Disk {
        Disk::open(folder, limit).unwrap().unwrap()
    }

    fn put(disk: &Disk, number: u32, page: &[u8]) {
        disk.write(key(number), page.to_vec(), true);
        disk.flush();
    }

    #[test]
    fn a_page_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        put(&open(folder.path(), 1000), 1, b"keys and values");
        fs::write(folder.path().join("part-x"), b"half").unwrap();
        fs::write(folder.path().join("other"), b"not ours").unwrap();
        let disk = open(folder.path(), 1000);
        assert!(disk.has(key(1)) && !disk.has(key(2)));
        assert_eq!(disk.read(key(1), 15).as_deref(), Some(&b"keys and values"[..]));
        assert_eq!(disk.size(), (1, 63));
        assert!(!folder.path().join("part-x").exists() && folder.path().join("other").exists());
    }

    #[test]
    fn keys_differ_by_the_model_and_by_every_token_before() {
        let root = Key::root(b"one");
        assert_ne!(root.after(&[1, 2]), Key::root(b"two").after(&[1, 2]));
        assert_ne!(root.after(&[1]).after(&[2]), root.after(&[3]).after(&[2]));
        assert_eq!(root.after(&[1, 2]), root.after(&[1, 2]));
    }

    #[test]
    fn a_page_with_one_wrong_bit_or_byte_too_few_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 1 << 20);
        for at in 0..HEAD + 5 {
            put(&disk, 1, b"value");
            let path = path(folder.path(), key(1));
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!((disk.read(key(1), 5), disk.has(key(1)), path.exists()), (None, false, false), "{at}");
        }
        for bytes in [&b""[..], b"tutukv01", &[0; HEAD + 4]] {
            put(&disk, 1, b"value");
            fs::write(path(folder.path(), key(1)), bytes).unwrap();
            assert_eq!(disk.read(key(1), 5), None);
        }
        put(&disk, 1, b"value");
        assert_eq!(disk.read(key(1), 6), None, "a page of another length is another's");
        fs::write(path(folder.path(), key(2)), b"").unwrap();
        assert_eq!(open(folder.path(), 100).read(key(2), 5), None);
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 3 * (HEAD as u64 + 10));
        (0..3).for_each(|number| put(&disk, number, &[7; 10]));
        disk.touch([key(0)]);
        put(&disk, 3, &[7; 10]);
        assert_eq!([0, 1, 2, 3].map(|number| disk.has(key(number))), [true, false, true, true]);
        put(&disk, 4, &[7; 1000]);
        assert!(!disk.has(key(4)) && disk.size().0 == 3, "what is larger than all is not kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        drop(disk);
        assert_eq!(open(folder.path(), HEAD as u64 + 10).size().0, 1);
        assert!(Disk::open(folder.path(), 0).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Disk::open(&folder.path().join("none"), 0).unwrap().is_none());
    }
}
