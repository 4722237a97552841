//! Models by the names that clients give them, with what their files say.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tutu_llm::{arch::Facts, gguf::Gguf, weights};
use tutu_node::work::models::{Name, name};
use tutu_os::Mapped;

use crate::{
    engine::{
        Card,
        template::{self, Capability, Template, capabilities},
    },
    model::Model,
    perform::{self, Limit},
    store::{self, Elsewhere, Record, Store},
    talk::Options,
};

/// A model that a client named.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its files and what was stored with it.
    pub model: Model,
    /// Its record.
    pub record: Record,
    /// What its file says.
    pub facts: Facts,
    /// What it can be asked for.
    pub capabilities: Vec<Capability>,
    /// The parameters that were stored with it, as options.
    pub options: Options,
    /// The template that was stored with it, once somebody needed it.
    template: OnceLock<Arc<Template>>,
}

impl Named {
    /// What is known of the model whose weights are `base`'s, with the template that was stored with it. It is parsed
    /// once.
    ///
    /// # Errors
    /// [`template::Error::Broken`].
    pub fn card(&self, base: &Card) -> Result<Card, template::Error> {
        let Some(source) = &self.model.sources.template else { return Ok(base.clone()) };
        if let Some(template) = self.template.get() {
            return Ok(base.with_parsed(Arc::clone(template)));
        }
        let card = base.with_template(source)?;
        // Another may have been quicker: both are the same.
        let _ = self.template.set(card.parsed());
        Ok(card)
    }

    /// Whether it can be asked for this.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// Why a name leads to no model.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// It is no name.
    Name(name::Error),
    /// The store has it not, or failed.
    Store(store::Error),
    /// Its file is no model that can be run.
    File(PathBuf, String),
    /// It is an adapter alone.
    Adapter(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Adapter(name) => {
                write!(f, "{name} is an adapter and no model: ask a model, and name it there (adapters)")
            }
            Self::File(path, why) => write!(f, "{} is no model that can be run: {why}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// How often it is noted that a model is used: each note is a write that the disk must confirm.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Models that were looked up, until their records change.
#[derive(Default)]
pub struct Lookup {
    known: Mutex<BTreeMap<String, Entry>>,
    converting: Mutex<()>,
}

struct Entry {
    named: Arc<Named>,
    noted: Option<Instant>,
}

impl Lookup {
    /// The model of that name. Reads files the first time, so it may wait for a disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn find(&self, store: &Store, limit: &Limit, text: &str) -> Result<Arc<Named>, Error> {
        let name = Name::parse(text).map_err(Error::Name)?;
        let record = self.record(store, limit, &name)?;
        let key = name.key();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).map(|it| Arc::clone(&it.named));
        // Its use is noted in the record too, and changes nothing else.
        let same = |named: &Arc<Named>| Record { used: record.used, ..named.record.clone() } == record;
        if let Some(named) = known.filter(same) {
            return Ok(named);
        }
        let named = Arc::new(read(store, record)?);
        let entry = Entry { named: Arc::clone(&named), noted: None };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
        Ok(named)
    }

    /// The record of a model, which is converted first where it must be.
    fn record(&self, store: &Store, limit: &Limit, name: &Name) -> Result<Record, Error> {
        let record = store.find(name).map_err(Error::Store)?;
        let Some(Elsewhere::Folder(path)) = record.elsewhere.clone() else { return Ok(record) };
        // Whoever asks meanwhile finds it done.
        let _held = self.converting.lock().unwrap_or_else(PoisonError::into_inner);
        let record = store.find(name).map_err(Error::Store)?;
        perform::adopt(store, limit, record).map_err(|error| Error::File(path, error.to_string()))
    }

    /// Notes that a model is used, if that was not noted just now.
    pub fn note_use(&self, store: &Store, named: &Named) {
        let Ok(name) = Name::parse(&named.record.name) else { return };
        let is_due = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = known.get_mut(&name.key()) else { return };
            let is_due = entry.noted.is_none_or(|at| at.elapsed() > NOTE_EVERY);
            if is_due {
                entry.noted = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            // Being used last matters to what is removed first, not to this answer.
            let _ = store.touch(&name);
        }
    }
}

fn read(store: &Store, record: Record) -> Result<Named, Error> {
    if record.is_adapter() {
        return Err(Error::Adapter(record.name));
    }
    let model = Model::of_record(store, &record);
    let files = &model.sources.files;
    let Some(path) = files.first() else {
        return Err(Error::File(PathBuf::from(&record.name), "it has no weights".into()));
    };
    let (facts, own) = head(files).map_err(|why| Error::File(path.clone(), why))?;
    let capabilities = capabilities(facts.pooling.is_some(), model.sources.template.as_deref(), own.as_deref());
    let mut options = Options::default();
    options.take_stored(model.parameters.iter().flatten());
    Ok(Named { model, record, facts, capabilities, options, template: OnceLock::new() })
}

/// What the head of a file says, or of the first of a split one, and the template in it.
fn head(files: &[PathBuf]) -> Result<(Facts, Option<String>), String> {
    let map = |path: &PathBuf| Mapped::open(path).map(|file| Arc::new(file) as weights::Bytes);
    let files = files.iter().map(map).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let head = Gguf::parse((*files[0]).as_ref()).map_err(|error| error.to_string())?;
    let tensors = tutu_llm::gguf::weights(&files).map_err(|error| error.to_string())?;
    let facts = Facts::read(&head, &tensors).map_err(|error| error.to_string())?;
    Ok((facts, head.str("tokenizer.chat_template").map(String::from)))
}
