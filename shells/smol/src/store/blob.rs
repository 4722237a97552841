//! Bytes that are known by their digest, and the place where they are put together.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tutu_node::kit::Digest;

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

/// A name is on disk only when its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A blob that is being put together: the bytes, and beside them a list of the ranges that are there.
///
/// A range is added to the list after its bytes were flushed, so that what the list says is true after any crash.
#[derive(Clone, Debug)]
pub struct Partial {
    data: PathBuf,
    list: PathBuf,
    whole: PathBuf,
    folder: PathBuf,
}

impl Partial {
    pub(super) fn new(folder: &Path, digest: &Digest) -> Self {
        let hex = digest.hex();
        Self {
            data: folder.join(format!("partial-{hex}")),
            list: folder.join(format!("partial-{hex}.parts")),
            whole: folder.join(digest.file_name()),
            folder: folder.into(),
        }
    }

    /// Where the bytes lie meanwhile.
    pub fn path(&self) -> &Path {
        &self.data
    }

    /// The ranges that are there: disjoint and ascending.
    pub fn have(&self) -> Vec<Range<u64>> {
        let text = fs::read_to_string(&self.list).unwrap_or_default();
        let len = fs::metadata(&self.data).map_or(0, |meta| meta.len());
        let range = |line: &str| {
            let (start, end) = line.split_once(' ')?;
            Some(start.parse().ok()?..end.parse().ok()?)
        };
        let mut ranges: Vec<Range<u64>> =
            text.lines().filter_map(range).filter(|range| range.start < range.end && range.end <= len).collect();
        ranges.sort_by_key(|range| (range.start, range.end));
        let mut last = 0;
        // A torn line may overlap; the first of two counts.
        ranges.retain(|range| {
            let sound = range.start >= last;
            if sound {
                last = range.end;
            }
            sound
        });
        ranges
    }

    /// Opens the bytes for writing at `start`.
    ///
    /// # Errors
    /// The system's.
    pub fn writer(&self, start: u64) -> io::Result<File> {
        let mut file = File::options().create(true).truncate(false).write(true).open(&self.data)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }

    /// Notes that a range was written by `file`.
    ///
    /// # Errors
    /// The system's.
    pub fn note(&self, file: &File, range: &Range<u64>) -> io::Result<()> {
        file.sync_data()?;
        let mut list = File::options().create(true).append(true).open(&self.list)?;
        list.write_all(format!("{} {}\n", range.start, range.end).as_bytes())?;
        list.sync_data()
    }

    /// Throws everything away.
    ///
    /// # Errors
    /// The system's.
    pub fn discard(&self) -> io::Result<()> {
        for path in [&self.list, &self.data] {
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
    pub fn publish(&self) -> io::Result<()> {
        File::open(&self.data)?.sync_all()?;
        fs::rename(&self.data, &self.whole)?;
        sync_folder(&self.folder)?;
        self.discard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_knows_what_it_has_and_forgets_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest([1; 32]);
        let partial = Partial::new(folder.path(), &digest);
        let mut file = partial.writer(10).unwrap();
        file.write_all(&[1; 10]).unwrap();
        partial.note(&file, &(10..20)).unwrap();
        File::options().append(true).open(&partial.list).unwrap().write_all(b"0 9999\n5 1\n0 1").unwrap();
        assert_eq!(partial.have(), [0..1, 10..20]);
        partial.discard().unwrap();
        assert!(partial.have().is_empty());
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
