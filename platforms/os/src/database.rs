//! Opening an LMDB environment.

use std::path::Path;

use heed::{Env, EnvOpenOptions};

/// Bytes that the records of a home may take. Addresses, not memory or disk: the file is as large as what is in it.
#[cfg(target_pointer_width = "64")]
const MAP: usize = 64 << 30;
/// Addresses are scarce.
#[cfg(not(target_pointer_width = "64"))]
const MAP: usize = 256 << 20;

/// Opens the environment in `folder`, which must exist, with room for `databases` named databases.
///
/// # Errors
/// LMDB's own.
pub fn open_database(folder: &Path, databases: u32) -> heed::Result<Env> {
    let mut options = EnvOpenOptions::new();
    // On Windows the file would be made as large as the map.
    options.map_size(if cfg!(windows) { 1 << 30 } else { MAP }).max_dbs(databases);
    // SAFETY: nobody but LMDB writes the file: it lies in our home, and other processes of ours open it
    // through this function, which LMDB's own lock file arbitrates.
    unsafe { options.open(folder) }
}
