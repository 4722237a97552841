//! A file in memory, read as it is touched. One that is cut while it is mapped gives zeros and an error, not a crash.
//!
//! A read beyond the end of a file that was cut raises SIGBUS. Our handler looks the address up in the
//! list of mappings, puts a page of zeros in its place, marks the mapping as lost, and lets the read go on.
//! Whoever computes asks [`Mapped::is_intact`] after each step and throws the result away if it is not.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use memmap2::Mmap;

/// A read-only mapping of a whole file.
#[derive(Debug)]
pub struct Mapped {
    map: Mmap,
    file: File,
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    entry: usize,
}

impl Mapped {
    /// Maps `path`.
    ///
    /// # Errors
    /// The system's; an empty file is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        if meta.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
        }
        // SAFETY: the mapping is read only and private to this value. Other processes may change the file;
        // then the bytes change or become zeros, which every reader of model files expects, and `is_intact` tells.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self {
            #[cfg(unix)]
            entry: guard::enter(map.as_ptr() as usize, map.len()),
            len: meta.len(),
            modified: meta.modified().ok(),
            path: path.into(),
            map,
            file,
        })
    }

    /// Whether the file is still what it was when it was mapped: as long, not written to, and every
    /// read so far was of real bytes.
    pub fn is_intact(&self) -> bool {
        #[cfg(unix)]
        if guard::is_lost(self.entry) {
            return false;
        }
        self.file.metadata().is_ok_and(|meta| meta.len() == self.len && meta.modified().ok() == self.modified)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells the system that `part` (of this mapping) is not needed in memory any more. It can be read again.
    pub fn release(&self, part: &[u8]) {
        #[cfg(unix)]
        {
            const PAGE: usize = 4096;
            let all = self.map.as_ptr_range();
            let range = part.as_ptr_range();
            if range.start < all.start || range.end > all.end {
                return;
            }
            let start = (range.start as usize).next_multiple_of(PAGE);
            let end = range.end as usize / PAGE * PAGE;
            if start < end {
                // SAFETY: the whole pages from `start` to `end` lie inside our mapping of a file, which is never
                // written to: dropping them from memory loses nothing.
                unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
            }
        }
        #[cfg(not(unix))]
        let _ = part;
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(unix)]
impl Drop for Mapped {
    fn drop(&mut self) {
        guard::leave(self.entry);
    }
}

/// The list of mappings, and the handler that reads it. Only atomics: a signal may come at any moment.
#[cfg(unix)]
mod guard {
    use std::sync::{
        Once,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    };

    /// Mappings that are watched at one time. One more is mapped and not watched: a cut file then ends
    /// the process, as it does in other programs.
    const ENTRIES: usize = 1024;

    struct Entry {
        start: AtomicUsize,
        len: AtomicUsize,
        lost: AtomicBool,
    }

    static LIST: [Entry; ENTRIES] =
        [const { Entry { start: AtomicUsize::new(0), len: AtomicUsize::new(0), lost: AtomicBool::new(false) } };
            ENTRIES];
    static HANDLER: Once = Once::new();
    static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);

    pub(super) fn enter(start: usize, len: usize) -> usize {
        HANDLER.call_once(install);
        let free = LIST.iter().position(|entry| entry.start.compare_exchange(0, start, SeqCst, SeqCst).is_ok());
        if let Some(entry) = free.map(|at| &LIST[at]) {
            entry.lost.store(false, SeqCst);
            entry.len.store(len, SeqCst);
        }
        free.unwrap_or(ENTRIES)
    }

    pub(super) fn leave(at: usize) {
        if let Some(entry) = LIST.get(at) {
            entry.len.store(0, SeqCst);
            entry.start.store(0, SeqCst);
        }
    }

    pub(super) fn is_lost(at: usize) -> bool {
        LIST.get(at).is_some_and(|entry| entry.lost.load(SeqCst))
    }

    fn install() {
        // SAFETY: `sigaction` is a plain structure, for which all zeros is a value.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = on_bus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: as above.
        let mut previous: libc::sigaction = unsafe { core::mem::zeroed() };
        // SAFETY: both are valid places for one `sigaction`, and the handler does only what a handler may.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous) } == 0 {
            PREVIOUS.store(previous.sa_sigaction, SeqCst);
        }
    }

    extern "C" fn on_bus(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        // SAFETY: the system gives a valid `info` to a handler that was installed with SA_SIGINFO, and for
        // SIGBUS it holds an address.
        let address = unsafe { (*info).si_addr() } as usize;
        for entry in &LIST {
            let (start, len) = (entry.start.load(SeqCst), entry.len.load(SeqCst));
            if start == 0 || address < start || address >= start + len {
                continue;
            }
            entry.lost.store(true, SeqCst);
            let end = (start + len).next_multiple_of(4096);
            let page = address / 4096 * 4096;
            // SAFETY: the range lies in a mapping of ours, from the page that cannot be read to its end; all of
            // that is behind the new end of the file. Fixed and anonymous, it replaces just that with zeros.
            let zeros = unsafe {
                libc::mmap(
                    page as *mut libc::c_void,
                    end - page,
                    libc::PROT_READ,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                    -1,
                    0,
                )
            };
            if zeros != libc::MAP_FAILED {
                return;
            }
        }
        // Not ours: as if there were no handler; the read is done again and raises the signal again.
        // SAFETY: `signal` may be called in a handler, and the value is one that was there before.
        unsafe { libc::signal(signal, PREVIOUS.load(SeqCst)) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tutu-os-{}-{name}", std::process::id()));
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }

    #[test]
    fn a_file_is_read_where_it_lies() {
        let path = file("plain", b"abc");
        let mapped = Mapped::open(&path).unwrap();
        assert_eq!(mapped.as_ref(), b"abc");
        assert!(mapped.is_intact());
        std::fs::remove_file(path).unwrap();
        assert!(mapped.is_intact(), "a file without a name is still there");
    }

    #[test]
    fn an_empty_file_and_a_folder_are_refused() {
        let path = file("empty", b"");
        assert!(Mapped::open(&path).is_err());
        assert!(Mapped::open(&std::env::temp_dir()).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_cut_gives_zeros_and_an_error() {
        let path = file("cut", &[7; 100_000]);
        let mapped = Mapped::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(!mapped.is_intact(), "its length tells");
        assert_eq!(mapped.as_ref()[90_000], 0);
        assert!(guard::is_lost(mapped.entry));
        std::fs::remove_file(path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn released_pages_can_be_read_again() {
        let path = file("released", &[9; 50_000]);
        let mapped = Mapped::open(&path).unwrap();
        let all = mapped.as_ref();
        mapped.release(all);
        assert!(all.iter().all(|&byte| byte == 9));
        std::fs::remove_file(path).unwrap();
    }
}
