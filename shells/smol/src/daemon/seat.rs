//! The one server of a home: a lock that says that it is there, and a socket through which it is asked.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tutu_os::Lock;

/// Held by the server of a home as long as it runs. The system lets go of it however it ends.
#[derive(Debug)]
pub struct Seat {
    _lock: Lock,
}

/// Where the socket of a home's server lies.
pub fn socket(home: &Path) -> PathBuf {
    home.join("tutu.sock")
}

fn lock(home: &Path) -> PathBuf {
    home.join("tutu.lock")
}

/// Whether a server of this home runs.
pub fn is_taken(home: &Path) -> bool {
    lock(home).exists() && matches!(Lock::try_take(&lock(home)), Ok(None))
}

impl Seat {
    /// Takes the seat, or nothing if another has it.
    ///
    /// # Errors
    /// The home cannot be written.
    pub fn take(home: &Path) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(home)?;
        Ok(Lock::try_take(&lock(home))?.map(|lock| Self { _lock: lock }))
    }

    /// The same, waiting so long for another who is about to leave.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_within(home: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let start = Instant::now();
        loop {
            let seat = Self::take(home)?;
            if seat.is_some() || start.elapsed() >= patience {
                return Ok(seat);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_taken_once_and_comes_free() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_taken(home.path()));
        let seat = Seat::take(home.path()).unwrap();
        assert!(seat.is_some() && is_taken(home.path()));
        assert!(Seat::take_within(home.path(), Duration::ZERO).unwrap().is_none());
        drop(seat);
        assert!(!is_taken(home.path()) && Seat::take(home.path()).unwrap().is_some());
    }
}
