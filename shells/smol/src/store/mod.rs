//! Models on disk.
//!
//! ```text
//! HOME/db/                       LMDB: one record a model, and the number of the schema
//! HOME/models/blobs/sha256-HEX   the bytes, named by what they are
//! HOME/models/blobs/partial-HEX  a blob that is being fetched, HEX.json what of it is there
//! ```
//!
//! A blob has its name only once its digest was checked and its bytes were flushed; a record is written after
//! all its blobs. So whatever a crash leaves is whole: at worst a blob that nobody refers to.

mod blob;
mod ollama;
mod outside;
mod record;

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use heed::{
    CommitOrAbort, Database, Env,
    types::{Bytes as RawBytes, Str},
};
use tutu_node::{
    kit::{Bytes, Digest, UnixTime},
    work::models::{
        Name, name,
        shelf::{Full, Shelf, Weight},
    },
};

pub use blob::{Incoming, Partial, hash_file};
pub use outside::{Places, details};
pub use record::{Details, Elsewhere, Kind, Layer, Record};

/// The schema that this program writes.
const SCHEMA: u32 = 1;

/// Why the store could not do what was asked. What was there before is still there.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// A file could not be read or written.
    File { path: PathBuf, source: io::Error },
    /// The database failed.
    Database(heed::Error),
    /// The database was written by a newer program.
    Newer(u32),
    /// A record cannot be read.
    Record(String),
    /// There is no such model.
    NotFound { name: String, near: Option<String> },
    /// What was asked for is no name.
    Name(name::Error),
    /// There is no room.
    Full(Full),
    /// A blob's bytes are not what its name says.
    Damaged { path: PathBuf, digest: Digest },
    /// It belongs to somebody else.
    Foreign { name: String, path: PathBuf },
    /// Nobody noted what the bytes of its files must be.
    Unnoted { name: String, path: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "{} cannot be used: {source}", path.display()),
            Self::Database(error) => write!(f, "the store's database failed: {error}"),
            Self::Newer(schema) => {
                write!(
                    f,
                    "the store was written by a newer tutu (schema {schema}, this one knows {SCHEMA}); please update"
                )
            }
            Self::Record(name) => write!(f, "the record of {name} cannot be read; pull the model again"),
            Self::NotFound { name, near } => {
                write!(f, "there is no model {name:?} here")?;
                match near {
                    Some(near) => write!(f, "; did you mean {near:?}? `tutu list` shows all"),
                    None => write!(f, "; get it with `tutu pull {name}`"),
                }
            }
            Self::Name(error) => error.fmt(f),
            Self::Full(full) => {
                write!(f, "{full}; `tutu rm` or `tutu unpin` a model, or `tutu config set models.max_storage 100GB`")
            }
            Self::Damaged { path, digest } => {
                write!(
                    f,
                    "{} is damaged: its digest is not {digest}; remove the model and pull it again",
                    path.display()
                )
            }
            Self::Foreign { name, path } => write!(
                f,
                "{name} lies in {}, which is not tutu's: it is used there and never changed; remove it there",
                path.display()
            ),
            Self::Unnoted { name, path } => write!(
                f,
                "{name} lies in {}, and nobody noted a digest to compare with; `tutu cp` makes a model of the store of it",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<heed::Error> for Error {
    fn from(error: heed::Error) -> Self {
        Self::Database(error)
    }
}

impl From<name::Error> for Error {
    fn from(error: name::Error) -> Self {
        Self::Name(error)
    }
}

/// The models of one home.
pub struct Store {
    env: Env,
    models: Database<'static, Str, RawBytes>,
    blobs: PathBuf,
    /// Another program's models, used where they lie.
    ollama: Option<ollama::Ollama>,
    /// Files of the user and of other programs.
    outside: outside::Outside,
}

impl Store {
    /// Opens the store of `home`, whose blobs lie under `models`; makes what is not there.
    /// `others` is the folder of an existing Ollama store, `places` are where other files are.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Database`], [`Error::Newer`].
    pub fn open(home: &Path, models: &Path, others: Option<&Path>, places: Places) -> Result<Self, Error> {
        let (folder, blobs) = (home.join("db"), models.join("blobs"));
        for path in [&folder, &blobs] {
            fs::create_dir_all(path).map_err(at(path))?;
        }
        let env = tutu_os::open_database(&folder, 4)?;
        let txn = env.write_txn()?;
        let open = env.create_databases_and_commit(txn, |opener, txn| {
            let models = opener.create_database::<Str, RawBytes>(txn, Some("models"))?;
            let meta = opener.create_database::<Str, RawBytes>(txn, Some("meta"))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((models, meta)))
        })?;
        let (models, meta) = open.unwrap_commit();
        check_schema(&env, meta)?;
        let ollama = others.and_then(ollama::Ollama::find);
        Ok(Self { env, models, blobs, ollama, outside: outside::Outside::new(places) })
    }

    /// Writes something to the disk and takes it away again, as far as models have to be written too.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Database`].
    pub fn probe(&self) -> Result<(), Error> {
        let mut file = tempfile::tempfile_in(&self.blobs).map_err(at(&self.blobs))?;
        io::Write::write_all(&mut file, b"probe").map_err(at(&self.blobs))?;
        let mut txn = self.env.write_txn()?;
        // No name of a model is like this: they hold no blanks.
        self.models.put(&mut txn, " probe", b"")?;
        self.models.delete(&mut txn, " probe")?;
        txn.commit()?;
        Ok(())
    }

    /// Where blobs lie.
    pub fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// Where a blob lies, or would lie.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.file_name())
    }

    /// All models, the newest first; those that are not ours come last.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Record`].
    pub fn list(&self) -> Result<Vec<Record>, Error> {
        let txn = self.env.read_txn()?;
        let mut records = Vec::new();
        for entry in self.models.iter(&txn)? {
            let (key, bytes) = entry?;
            records.push(Record::read(bytes).ok_or_else(|| Error::Record(key.into()))?);
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.modified));
        let mut known: BTreeSet<String> = records.iter().map(|record| record.name.to_lowercase()).collect();
        let others = self.ollama.iter().flat_map(ollama::Ollama::list).chain(self.outside.list());
        records.extend(others.filter(|record| known.insert(record.name.to_lowercase())));
        Ok(records)
    }

    /// The record of a model.
    ///
    /// # Errors
    /// [`Error::NotFound`], with a near name where there is one.
    pub fn find(&self, name: &Name) -> Result<Record, Error> {
        let txn = self.env.read_txn()?;
        if let Some(bytes) = self.models.get(&txn, &name.key())? {
            return Record::read(bytes).ok_or_else(|| Error::Record(name.to_string()));
        }
        drop(txn);
        let other = self.ollama.as_ref().and_then(|ollama| ollama.read(name)).or_else(|| self.outside.read(name));
        if let Some(record) = other {
            return Ok(record);
        }
        let names: Vec<String> = self.list()?.into_iter().map(|record| record.name).collect();
        let near = tutu_node::kit::near::nearest(&name.to_string(), names.iter().map(String::as_str));
        Err(Error::NotFound { name: name.to_string(), near: near.map(String::from) })
    }

    /// Writes a record; all its blobs must be there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn put(&self, name: &Name, record: &Record) -> Result<(), Error> {
        let mut txn = self.env.write_txn()?;
        self.models.put(&mut txn, &name.key(), &record.write())?;
        txn.commit()?;
        Ok(())
    }

    /// Notes that a model was used.
    ///
    /// # Errors
    /// As [`Self::find`] and [`Self::put`].
    pub fn touch(&self, name: &Name) -> Result<(), Error> {
        let mut record = self.find(name)?;
        if record.elsewhere.is_none() {
            record.used = now();
            self.put(name, &record)?;
        }
        Ok(())
    }

    /// Says that a model stays when room is needed, or that it may go.
    ///
    /// # Errors
    /// As [`Self::find`] and [`Self::put`].
    pub fn pin(&self, name: &Name, pinned: bool) -> Result<(), Error> {
        let mut record = self.own(name)?;
        record.pinned = pinned;
        self.put(name, &record)
    }

    /// Removes models so that `blobs` of the model `name` fit in with `most`; which had to go.
    ///
    /// # Errors
    /// [`Error::Full`], and nothing is removed; what [`Self::remove`] gives.
    pub fn make_room(&self, name: &Name, blobs: &[(Digest, Bytes)], most: Bytes) -> Result<Vec<String>, Error> {
        let shelf = self.shelf()?;
        let key = name.key();
        let more = shelf.added(blobs.iter().copied());
        let gone = shelf.evictions(most, more, &BTreeSet::from([key.as_str()])).map_err(Error::Full)?;
        gone.into_iter()
            .map(|key| {
                let name = Name::parse(&key)?;
                self.remove(&name)?;
                Ok(name.to_string())
            })
            .collect()
    }

    /// All models of ours by key, as far as room is concerned.
    fn shelf(&self) -> Result<Shelf, Error> {
        let txn = self.env.read_txn()?;
        let mut shelf = Shelf::new();
        for entry in self.models.iter(&txn)? {
            let (key, bytes) = entry?;
            let record = Record::read(bytes).ok_or_else(|| Error::Record(key.into()))?;
            let weight = |layer: &Layer| (layer.digest, Weight { blob: Bytes(layer.size), caches: Bytes(0) });
            shelf.insert(key, record.layers.iter().map(weight), UnixTime(record.used), record.pinned);
        }
        Ok(shelf)
    }

    /// Removes a model, and the blobs that no other model refers to.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Foreign`] for a model that is not ours to remove.
    pub fn remove(&self, name: &Name) -> Result<(), Error> {
        let record = self.own(name)?;
        let mut txn = self.env.write_txn()?;
        self.models.delete(&mut txn, &name.key())?;
        // The record goes first: a crash between leaves blobs without a record, never a record without blobs.
        txn.commit()?;
        self.sweep(record.layers.iter().map(|layer| layer.digest))
    }

    /// The record of a model that is ours.
    fn own(&self, name: &Name) -> Result<Record, Error> {
        let record = self.find(name)?;
        match &record.elsewhere {
            Some(elsewhere) => Err(Error::Foreign { name: record.name.clone(), path: elsewhere.path().into() }),
            None => Ok(record),
        }
    }

    /// Removes those of the blobs that no model refers to.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Record`], [`Error::File`].
    pub fn sweep(&self, blobs: impl IntoIterator<Item = Digest>) -> Result<(), Error> {
        let txn = self.env.read_txn()?;
        let mut kept = BTreeSet::new();
        for entry in self.models.iter(&txn)? {
            let (key, bytes) = entry?;
            let record = Record::read(bytes).ok_or_else(|| Error::Record(key.into()))?;
            kept.extend(record.layers.iter().map(|layer| layer.digest));
        }
        drop(txn);
        for digest in blobs.into_iter().filter(|digest| !kept.contains(digest)) {
            let path = self.blob(&digest);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives a model a second name.
    ///
    /// # Errors
    /// As [`Self::find`] and [`Self::put`].
    pub fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let mut record = self.find(from)?;
        if record.elsewhere.is_some() {
            record = Record::new("", self.import_layers(&record)?, record.details);
        }
        record.name = to.to_string();
        record.modified = now();
        self.put(to, &record)
    }

    /// The layers of a model as ours: the bytes of one that is not are copied.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Damaged`] where bytes are not what their name says; [`Error::Foreign`] for a folder
    /// that must be converted first.
    pub fn import_layers(&self, record: &Record) -> Result<Vec<Layer>, Error> {
        let import = |layer: &Layer| {
            let path = self.layer(record, layer);
            let (digest, size) = self.import(&path)?;
            let known = match &record.elsewhere {
                Some(Elsewhere::Files(_)) => outside::digest_in_name(&path),
                _ => Some(layer.digest),
            };
            match known.filter(|known| *known != digest) {
                Some(digest) => Err(Error::Damaged { path, digest }),
                None => Ok(Layer { kind: layer.kind, digest, size }),
            }
        };
        match &record.elsewhere {
            None => Ok(record.layers.clone()),
            Some(Elsewhere::Folder(path)) => Err(Error::Foreign { name: record.name.clone(), path: path.clone() }),
            Some(_) => record.layers.iter().map(import).collect(),
        }
    }

    /// Where a layer's bytes lie.
    pub fn layer(&self, record: &Record, layer: &Layer) -> PathBuf {
        match &record.elsewhere {
            Some(Elsewhere::Blobs(folder)) => folder.join(layer.digest.file_name()),
            Some(Elsewhere::Files(files)) => {
                let at = record.layers.iter().position(|other| other == layer);
                at.and_then(|at| files.get(at)).cloned().unwrap_or_default()
            }
            Some(Elsewhere::Folder(path)) => path.clone(),
            None => self.blob(&layer.digest),
        }
    }

    /// The text of the first layer of a kind.
    pub fn text(&self, record: &Record, kind: Kind) -> Option<String> {
        let layer = record.layers.iter().find(|layer| layer.kind == kind)?;
        fs::read_to_string(self.layer(record, layer)).ok()
    }

    /// Computes the digests of all blobs of a model again.
    ///
    /// # Errors
    /// [`Error::Damaged`], for the first that is not what it should be; [`Error::Unnoted`], where nobody knows.
    pub fn verify(&self, record: &Record) -> Result<(), Error> {
        for layer in &record.layers {
            let path = self.layer(record, layer);
            let is_loose = matches!(record.elsewhere, Some(Elsewhere::Files(_) | Elsewhere::Folder(_)));
            if is_loose && outside::digest_in_name(&path).is_none() {
                return Err(Error::Unnoted { name: record.name.clone(), path });
            }
            let (found, _) = hash_file(&path).map_err(at(&path))?;
            if found != layer.digest {
                return Err(Error::Damaged { path, digest: layer.digest });
            }
        }
        Ok(())
    }

    /// Copies a file into the store; answers what it is known by and its size.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn import(&self, path: &Path) -> Result<(Digest, u64), Error> {
        let mut file = File::open(path).map_err(at(path))?;
        blob::store(&self.blobs, &mut file).map_err(at(path))
    }

    /// Puts bytes into the store.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn import_bytes(&self, bytes: &[u8]) -> Result<(Digest, u64), Error> {
        blob::store(&self.blobs, &mut &*bytes).map_err(at(&self.blobs))
    }

    /// A place for bytes that come in pieces.
    ///
    /// # Errors
    /// The system's.
    pub fn incoming(&self) -> io::Result<Incoming> {
        Incoming::new(&self.blobs)
    }

    /// Removes what interrupted work left behind: blobs that no model refers to and files that were being put together, if
    /// nobody touched them for `age`. What a pull can go on from stays.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Record`], [`Error::File`].
    pub fn tidy(&self, age: Duration) -> Result<usize, Error> {
        let now = SystemTime::now();
        let old = |meta: &fs::Metadata| {
            meta.modified().ok().and_then(|at| now.duration_since(at).ok()).is_some_and(|since| since >= age)
        };
        let (mut blobs, mut count) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.blobs).map_err(at(&self.blobs))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(meta) = entry.metadata().ok().filter(|meta| old(meta)) else { continue };
            if let Some(digest) = name.strip_prefix("sha256-").and_then(Digest::parse) {
                blobs.push(digest);
            } else if ["import-", "note-", "quantise-", "folder-"].iter().any(|prefix| name.starts_with(prefix)) {
                let path = entry.path();
                let removed = if meta.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(at(&path))?;
                count += 1;
            }
        }
        let before = blobs.iter().filter(|digest| self.blob(digest).exists()).count();
        self.sweep(blobs.iter().copied())?;
        let after = blobs.iter().filter(|digest| self.blob(digest).exists()).count();
        Ok(count + before - after)
    }

    /// The place where the blob is put together that `key` stands for.
    pub fn partial(&self, key: &str) -> Partial {
        Partial::new(&self.blobs, key)
    }
}

/// Notes the schema in a new store, and refuses one that is newer than we are. There is one schema so far; a change
/// of it migrates here.
fn check_schema(env: &Env, meta: Database<'static, Str, RawBytes>) -> Result<(), Error> {
    let mut txn = env.write_txn()?;
    match meta.get(&txn, "schema")?.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes) {
        None => meta.put(&mut txn, "schema", &SCHEMA.to_le_bytes())?,
        Some(schema) if schema > SCHEMA => return Err(Error::Newer(schema)),
        Some(_) => {}
    }
    txn.commit()?;
    Ok(())
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { path: path.clone(), source }
}
