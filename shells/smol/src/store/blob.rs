//! Bytes that are known by their digest, and the place where they are put together.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tutu_node::{kit::Digest, work::pull};

const BUFFER: usize = 1 << 20;

/// The digest and the size of a file.
///
/// # Errors
/// The system's.
pub fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    copy(&mut file, &mut io::sink())
}

/// Copies everything and computes its digest.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(Digest, u64)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok((Digest(hash.finalize().into()), size));
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

/// Puts what `from` gives into `folder` under its digest.
pub(super) fn store(folder: &Path, from: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let mut temporary = tempfile::NamedTempFile::with_prefix_in("import-", folder)?;
    let (digest, size) = copy(from, &mut temporary)?;
    temporary.as_file().sync_all()?;
    temporary.persist(folder.join(digest.file_name()))?;
    sync_folder(folder)?;
    Ok((digest, size))
}

/// Bytes that come in pieces, and become a blob if they are what they should be.
#[derive(Debug)]
pub struct Incoming {
    file: tempfile::NamedTempFile,
    hash: Sha256,
    folder: PathBuf,
}

impl Incoming {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let file = tempfile::NamedTempFile::with_prefix_in("import-", folder)?;
        Ok(Self { file, hash: Sha256::new(), folder: folder.into() })
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.hash.update(piece);
        self.file.write_all(piece)
    }

    /// The digest of all that came. It becomes a blob if that is `wanted`, and is thrown away if not.
    ///
    /// # Errors
    /// The system's.
    pub fn publish(self, wanted: &Digest) -> io::Result<Digest> {
        let digest = Digest(self.hash.finalize().into());
        if digest == *wanted {
            self.file.as_file().sync_all()?;
            self.file.persist(self.folder.join(digest.file_name()))?;
            sync_folder(&self.folder)?;
        }
        Ok(digest)
    }
}

/// A name is on disk only when its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A blob that is being put together: the bytes, and beside them what is known of them.
///
/// What is known is written after the bytes were flushed, and in one step, so that it is true after any crash.
#[derive(Clone, Debug)]
pub struct Partial {
    data: PathBuf,
    note: PathBuf,
    folder: PathBuf,
}

impl Partial {
    /// `key` tells it from others: the digest where that is known.
    pub(super) fn new(folder: &Path, key: &str) -> Self {
        Self {
            data: folder.join(format!("partial-{key}")),
            note: folder.join(format!("partial-{key}.json")),
            folder: folder.into(),
        }
    }

    /// Where the bytes lie meanwhile.
    pub fn path(&self) -> &Path {
        &self.data
    }

    /// Where the lock lies that whoever works on it holds.
    pub fn lock(&self) -> PathBuf {
        self.data.with_extension("lock")
    }

    /// What an earlier run left; nothing, if that cannot be read.
    pub fn left(&self) -> pull::Partial {
        let note = fs::read(&self.note).ok();
        let mut left: pull::Partial = note.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        left.have.clip(fs::metadata(&self.data).map_or(0, |meta| meta.len()));
        left
    }

    /// Opens the bytes for writing at `start`; with `fresh`, a new file that nobody else writes to.
    ///
    /// # Errors
    /// The system's.
    pub fn writer(&self, start: u64, fresh: bool) -> io::Result<File> {
        if fresh {
            self.discard()?;
        }
        let mut file = File::options().create(true).truncate(false).write(true).open(&self.data)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }

    /// Flushes the bytes, and then writes down what is known of them.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self, known: &pull::Partial) -> io::Result<()> {
        File::options().write(true).open(&self.data)?.sync_data()?;
        let mut temporary = tempfile::NamedTempFile::with_prefix_in("note-", &self.folder)?;
        serde_json::to_writer(&mut temporary, known)?;
        temporary.as_file().sync_data()?;
        temporary.persist(&self.note)?;
        Ok(())
    }

    /// Throws everything away.
    ///
    /// # Errors
    /// The system's.
    pub fn discard(&self) -> io::Result<()> {
        for path in [&self.note, &self.data] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The digest of what is there.
    ///
    /// # Errors
    /// The system's.
    pub fn digest(&self) -> io::Result<Digest> {
        hash_file(&self.data).map(|(digest, _)| digest)
    }

    /// Gives the blob its name: from now on others see it.
    ///
    /// # Errors
    /// The system's.
    pub fn publish(&self, digest: &Digest) -> io::Result<()> {
        File::options().write(true).open(&self.data)?.sync_all()?;
        fs::rename(&self.data, self.folder.join(digest.file_name()))?;
        sync_folder(&self.folder)?;
        self.discard()
    }
}

#[cfg(test)]
mod tests {
    use tutu_node::work::pull::Ranges;

    use super::*;

    #[test]
    fn a_partial_remembers_what_it_has_as_far_as_the_bytes_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let partial = Partial::new(folder.path(), "x");
        partial.writer(10, false).unwrap().write_all(&[1; 10]).unwrap();
        let have = Ranges::from(vec![(0, 5), (10, 30)]);
        partial.save(&pull::Partial { size: Some(40), version: Some("v".into()), have }).unwrap();
        let left = partial.left();
        assert_eq!((left.size, left.version.as_deref()), (Some(40), Some("v")));
        assert_eq!(left.have.iter().collect::<Vec<_>>(), [0..5, 10..20]);
        fs::write(&partial.note, "{\"size\":4").unwrap();
        assert_eq!(partial.left(), pull::Partial::default(), "a torn note");
        partial.writer(0, true).unwrap();
        assert_eq!(fs::metadata(partial.path()).unwrap().len(), 0);
        partial.discard().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_stored_is_found_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let (digest, size) = store(folder.path(), &mut &b"abc"[..]).unwrap();
        // FIPS 180-4, example of "abc".
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(size, 3);
        assert_eq!(fs::read(folder.path().join(digest.file_name())).unwrap(), b"abc");
    }
}
