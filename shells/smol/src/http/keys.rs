//! API keys: who may ask for what, and how often. The home keeps what they hash to, never the keys.
//!
//! ```text
//! $TUTU_HOME/keys.json, mode 0600
//! {"keys": [{"name", "scope", "sha256", "created", "requests_per_minute"?, "tokens_per_minute"?}]}
//! ```
//!
//! A key has 256 random bits: a plain hash of it cannot be turned round, and needs no salt.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Scope;
use crate::daemon::Quota;

/// Keys of a home at most.
pub const KEYS_MAX: usize = 1000;

/// Bytes of the file at most.
const FILE_MAX: u64 = 1 << 20;

/// How long a change in the file may go unnoticed.
const LAG: Duration = Duration::from_secs(1);

/// What every key begins with: secret scanners know keys by such marks.
const MARK: &str = "sk-tutu-";

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is called in lists and logs.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// SHA-256 of it, in hexadecimal digits.
    pub sha256: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Requests a minute at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    keys: Vec<Record>,
}

/// Why keys cannot be read or changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written.
    File(PathBuf, io::Error),
    /// What stands in it is not what we write.
    Content(PathBuf, String),
    /// There is a key of that name.
    Taken(String),
    /// There is none.
    Unknown(String),
    /// A name is a word of at most 64 letters, digits, dots, dashes and underscores.
    Name(String),
    /// There are [`KEYS_MAX`] keys.
    Full,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{} cannot be used: {error}", path.display()),
            Self::Content(path, why) => write!(f, "{} is damaged: {why}; mend or remove it", path.display()),
            Self::Taken(name) => {
                write!(f, "there is a key {name:?} already; remove it with `tutu key rm {name}` first")
            }
            Self::Unknown(name) => write!(f, "there is no key {name:?}; `tutu key list` shows those that are there"),
            Self::Name(name) => {
                write!(
                    f,
                    "{name:?} cannot be the name of a key: use 1 to 64 letters, digits, dots, dashes and underscores"
                )
            }
            Self::Full => write!(f, "there are {KEYS_MAX} keys already; remove some with `tutu key rm`"),
        }
    }
}

impl std::error::Error for Error {}

/// The file of a home.
pub fn path(home: &Path) -> PathBuf {
    home.join("keys.json")
}

/// All keys of a home, in the order in which they were made.
///
/// # Errors
/// [`Error::File`], [`Error::Content`]; a file that is not there has no keys.
pub fn list(home: &Path) -> Result<Vec<Record>, Error> {
    let path = path(home);
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::File(path, error)),
    };
    match serde_json::from_str::<File>(&text) {
        Ok(file) => Ok(file.keys),
        Err(error) => Err(Error::Content(path, error.to_string())),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(fs::File::open(path)?, FILE_MAX), &mut text)?;
    Ok(text)
}

/// Makes a key, and says it this once.
///
/// # Errors
/// [`Error`]; the file is then as it was.
pub fn add(home: &Path, name: &str, scope: Scope, limits: (Option<u32>, Option<u32>)) -> Result<String, Error> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=64).contains(&name.len()) || !name.chars().all(is_word) {
        return Err(Error::Name(name.into()));
    }
    let secret = secret().map_err(|error| Error::File(home.into(), error))?;
    change(home, |keys| {
        if keys.iter().any(|key| key.name == name) {
            return Err(Error::Taken(name.into()));
        }
        if keys.len() == KEYS_MAX {
            return Err(Error::Full);
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let (requests_per_minute, tokens_per_minute) = limits;
        let sha256 = hex(&Sha256::digest(&secret));
        keys.push(Record { name: name.into(), scope, sha256, created, requests_per_minute, tokens_per_minute });
        Ok(())
    })?;
    Ok(secret)
}

/// Takes a key away. A server notices within a second.
///
/// # Errors
/// [`Error`]; the file is then as it was.
pub fn remove(home: &Path, name: &str) -> Result<(), Error> {
    change(home, |keys| {
        let count = keys.len();
        keys.retain(|key| key.name != name);
        if keys.len() == count { Err(Error::Unknown(name.into())) } else { Ok(()) }
    })
}

fn change(home: &Path, change: impl FnOnce(&mut Vec<Record>) -> Result<(), Error>) -> Result<(), Error> {
    let refused = |error| Error::File(path(home), error);
    fs::create_dir_all(home).map_err(refused)?;
    // Two commands at once: the later one waits, and sees what the first one did.
    let lock = fs::File::options().create(true).truncate(false).write(true).open(home.join("keys.lock"));
    let lock = lock.map_err(refused)?;
    lock.lock().map_err(refused)?;
    let mut keys = list(home)?;
    change(&mut keys)?;
    let write = || {
        // Made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(home)?;
        serde_json::to_writer_pretty(&mut file, &File { keys })?;
        file.as_file().sync_all()?;
        file.persist(path(home))?;
        Ok(())
    };
    write().map_err(refused)
}

fn secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{MARK}{}", hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key that somebody showed.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name.
    pub name: Arc<str>,
    /// What it allows.
    pub scope: Scope,
    /// How often.
    pub quota: Arc<Quota>,
}

/// The keys of a home as a server sees them: it notices what changes.
#[derive(Debug)]
pub struct Keyring {
    home: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    looked: Option<Instant>,
    stamp: Option<(SystemTime, u64)>,
    keys: Vec<(Record, Known)>,
}

impl Keyring {
    /// The keys of a home.
    pub fn new(home: &Path) -> Self {
        Self { home: home.into(), held: Mutex::new(Held { looked: None, stamp: None, keys: Vec::new() }) }
    }

    /// The key that `secret` is. It takes equally long whichever of them it is, and if it is none.
    pub fn find(&self, secret: &str) -> Option<Known> {
        let hash = hex(&Sha256::digest(secret));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.refresh(&self.home);
        let mut found = None;
        for (record, known) in &held.keys {
            if bool::from(record.sha256.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(known);
            }
        }
        found.cloned()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.refresh(&self.home);
        held.keys.is_empty()
    }
}

impl Held {
    /// Reads the file again where it is another than it was. One that cannot be read any more opens no doors.
    fn refresh(&mut self, home: &Path) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LAG) {
            return;
        }
        self.looked = Some(Instant::now());
        let stamp = fs::metadata(path(home)).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        if stamp.is_some() && stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        let old = std::mem::take(&mut self.keys);
        let keys = list(home).unwrap_or_else(|error| {
            eprintln!("warning: {error}");
            Vec::new()
        });
        self.keys = keys.into_iter().take(KEYS_MAX).map(|record| with_quota(record, &old)).collect();
    }
}

/// What was spent of a key's quota stays spent when another key changes.
fn with_quota(record: Record, old: &[(Record, Known)]) -> (Record, Known) {
    if let Some((_, known)) = old.iter().find(|(one, _)| *one == record) {
        return (record, known.clone());
    }
    let quota = Arc::new(Quota::new(record.requests_per_minute, record.tokens_per_minute));
    let known = Known { name: record.name.as_str().into(), scope: record.scope, quota };
    (record, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_itself_and_kept_as_its_hash() {
        let home = tempfile::tempdir().unwrap();
        let secret = add(home.path(), "laptop", Scope::Run, (Some(5), None)).unwrap();
        let other = add(home.path(), "phone", Scope::Read, (None, None)).unwrap();
        assert!(secret.starts_with(MARK) && secret.len() == MARK.len() + 64 && secret != other);
        assert!(!fs::read_to_string(path(home.path())).unwrap().contains(&secret[MARK.len()..]));
        let ring = Keyring::new(home.path());
        let known = ring.find(&secret).unwrap();
        assert_eq!((&*known.name, known.scope), ("laptop", Scope::Run));
        assert_eq!(ring.find(&other).unwrap().scope, Scope::Read);
        assert!(ring.find("").is_none());
        assert!(ring.find(&secret[1..]).is_none());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(path(home.path())).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_that_was_taken_away_opens_nothing() {
        let home = tempfile::tempdir().unwrap();
        let secret = add(home.path(), "a", Scope::Manage, (None, None)).unwrap();
        let ring = Keyring::new(home.path());
        assert!(ring.find(&secret).is_some());
        remove(home.path(), "a").unwrap();
        ring.held.lock().unwrap().looked = None;
        assert!(ring.find(&secret).is_none() && ring.is_empty());
        assert!(matches!(remove(home.path(), "a"), Err(Error::Unknown(_))));
    }

    #[test]
    fn names_are_plain_and_taken_once() {
        let home = tempfile::tempdir().unwrap();
        add(home.path(), "a", Scope::Read, (None, None)).unwrap();
        assert!(matches!(add(home.path(), "a", Scope::Read, (None, None)), Err(Error::Taken(_))));
        for name in ["", "a b", "a\n", &"x".repeat(65)] {
            assert!(matches!(add(home.path(), name, Scope::Read, (None, None)), Err(Error::Name(_))));
        }
        assert_eq!(list(home.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_file_opens_nothing_and_is_not_written_over() {
        let home = tempfile::tempdir().unwrap();
        fs::write(path(home.path()), "{").unwrap();
        assert!(matches!(list(home.path()), Err(Error::Content(..))));
        assert!(add(home.path(), "a", Scope::Read, (None, None)).is_err());
        assert!(Keyring::new(home.path()).find("x").is_none());
        assert_eq!(fs::read_to_string(path(home.path())).unwrap(), "{");
    }
}
