//! One process at a time.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

/// Held as long as it lives; the system lets go when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock that `path` stands for, at once or not at all.
    ///
    /// # Errors
    /// The system's, where the file cannot be made.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once_and_comes_free() {
        let path = std::env::temp_dir().join(format!("tutu-os-lock-{}", std::process::id()));
        let first = Lock::try_take(&path).unwrap();
        assert!(first.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::try_take(&path).unwrap().is_some());
        std::fs::remove_file(path).unwrap();
    }
}
