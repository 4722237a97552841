//! Settings: what can be set, to what, and which of several sources wins.
//!
//! ```text
//! flag  >  TUTU_SECTION_KEY  >  [section] key in config.toml  >  OLLAMA_...  >  default
//! ```
//!
//! Ollama's variables count only where nothing of ours speaks: they were set for another program. For the same
//! reason one of them that makes no sense here is no error: it is passed over, and reported.

use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use crate::kit::{Bytes, Keep, near};

/// Something that can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Section and key: `models.dir`.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is while nobody says anything, written as in a flag; empty where it follows from the machine.
    pub default: &'static str,
    /// The variable of Ollama that means the same.
    pub ollama: Option<&'static str>,
    /// What it does.
    pub about: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A folder; `~/` is the home of whoever asks.
    Folder,
    /// Folders, written as the variable `PATH` has them on the machine.
    Folders,
    /// An amount, `50GB` or `1.5GiB`; a number alone counts bytes.
    Bytes,
    /// A whole number, both ends included.
    Count(u64, u64),
    /// `auto`, or a whole number, both ends included.
    AutoOr(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A time, `5m` or `1.5h`; a number alone counts seconds, a negative one means for ever.
    Time,
}

/// A value that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A folder or folders, as they were written, or a word.
    Text(String),
    /// An amount.
    Bytes(Bytes),
    /// A number.
    Count(u64),
    /// Yes or no.
    Flag(bool),
    /// A time, and how it was written.
    Time(Keep, String),
}

/// A value as a file has it, which knows types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Something that no key is: what the file format calls it.
    Other(&'static str),
}

/// Who said so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody.
    Default,
    /// A variable, of this name.
    Variable(String),
    /// The file.
    File,
    /// The command line.
    Flag,
}

/// Why something cannot be set. Nothing is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// Nothing is called that.
    Unknown { name: String, near: Option<&'static str> },
    /// The value is not of the type, or out of range.
    Value { name: &'static str, origin: Origin, value: String, wanted: String },
}

/// All that can be set: no more than what is read somewhere.
pub const KEYS: &[Key] = &[
    Key {
        name: "models.dir",
        kind: Kind::Folder,
        default: "",
        ollama: None,
        about: "where models are kept; models/ in TUTU_HOME",
    },
    Key {
        name: "models.max_storage",
        kind: Kind::Bytes,
        default: "50GB",
        ollama: None,
        about: "what models may take together; those not used for the longest time make room; 0: no limit",
    },
    Key {
        name: "models.auto_pull",
        kind: Kind::Flag,
        default: "true",
        ollama: None,
        about: "fetch a model that is not here when it is to be run",
    },
    Key {
        name: "models.ollama_dir",
        kind: Kind::Folder,
        default: "",
        ollama: Some("OLLAMA_MODELS"),
        about: "a store of Ollama whose models are used where they lie; ~/.ollama/models",
    },
    Key {
        name: "models.folders",
        kind: Kind::Folders,
        default: "",
        ollama: None,
        about: "folders of GGUF files and of safetensors that are used where they lie",
    },
    Key {
        name: "models.huggingface_dir",
        kind: Kind::Folder,
        default: "",
        ollama: None,
        about: "a cache of Hugging Face that is used where it lies; HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub",
    },
    Key {
        name: "inference.context_length",
        kind: Kind::Count(0, 1 << 24),
        default: "4096",
        ollama: Some("OLLAMA_CONTEXT_LENGTH"),
        about: "tokens of context, unless the model says otherwise; 0: all that the model was trained for",
    },
    Key {
        name: "inference.batch_size",
        kind: Kind::Count(1, 1 << 16),
        default: "128",
        ollama: None,
        about: "tokens of a prompt that are read at a time",
    },
    Key {
        name: "inference.threads",
        kind: Kind::Count(0, 4096),
        default: "0",
        ollama: None,
        about: "threads; 0: as many cores as this process may use",
    },
    Key {
        name: "inference.kv_cache_type",
        kind: Kind::Choice(&["f16", "q8_0"]),
        default: "f16",
        ollama: Some("OLLAMA_KV_CACHE_TYPE"),
        about: "how keys and values are kept: f16, or q8_0 in half of the memory",
    },
    Key {
        name: "inference.kv_disk",
        kind: Kind::Bytes,
        default: "0",
        ollama: None,
        about: "what keys and values of prompts may take on disk, to outlive their model in memory; 0: none are kept",
    },
    Key {
        name: "inference.gpu_layers",
        kind: Kind::AutoOr(0, 4096),
        default: "auto",
        ollama: None,
        about: "layers of a model that a GPU computes; auto: as many as fit there; 0: none",
    },
    Key {
        name: "inference.gpu_memory",
        kind: Kind::Bytes,
        default: "",
        ollama: None,
        about: "what models may take of a GPU's memory together; nine tenths of what is free there",
    },
    Key {
        name: "inference.keep_alive",
        kind: Kind::Time,
        default: "5m",
        ollama: Some("OLLAMA_KEEP_ALIVE"),
        about: "how long the server keeps a model in memory that nobody uses; -1: until room is needed",
    },
    Key {
        name: "inference.max_memory",
        kind: Kind::Bytes,
        default: "",
        ollama: None,
        about: "what models in memory may take together; four fifths of what this process may use",
    },
    Key {
        name: "inference.max_models",
        kind: Kind::Count(0, 1 << 16),
        default: "0",
        ollama: Some("OLLAMA_MAX_LOADED_MODELS"),
        about: "models in memory at once; 0: as many as fit",
    },
    Key {
        name: "inference.parallel",
        kind: Kind::Count(1, 1 << 12),
        default: "64",
        ollama: Some("OLLAMA_NUM_PARALLEL"),
        about: "answers that one model writes at once",
    },
    Key {
        name: "inference.max_queue",
        kind: Kind::Count(1, 1 << 20),
        default: "512",
        ollama: Some("OLLAMA_MAX_QUEUE"),
        about: "requests that wait for their turn before others are refused",
    },
    Key {
        name: "log.level",
        kind: Kind::Choice(&["error", "warn", "info", "debug"]),
        default: "info",
        ollama: None,
        about: "what the server writes into logs/ in TUTU_HOME; OLLAMA_DEBUG sets debug",
    },
    Key {
        name: "log.max_size",
        kind: Kind::Bytes,
        default: "50MB",
        ollama: None,
        about: "how long a file of the log grows",
    },
    Key {
        name: "log.max_files",
        kind: Kind::Count(1, 1000),
        default: "5",
        ollama: None,
        about: "files of the log that are kept",
    },
];

/// The key of that name.
///
/// # Errors
/// [`Error::Unknown`].
pub fn find(name: &str) -> Result<&'static Key, Error> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| {
        let names = || KEYS.iter().map(|key| key.name);
        // Who leaves the section out means the key that ends so.
        let ends = |known: &&str| known.split_once('.').is_some_and(|(_, last)| last == name);
        let near = names().find(ends).or_else(|| near::nearest(name, names()));
        Error::Unknown { name: name.chars().take(80).collect(), near }
    })
}

impl Key {
    /// The variable that sets it: `TUTU_MODELS_DIR`.
    pub fn variable(&self) -> String {
        format!("TUTU_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// Reads a value out of text: of a flag or a variable.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn read(&self, text: &str, origin: Origin) -> Result<Value, Error> {
        let value = match self.kind {
            Kind::Folder | Kind::Folders => {
                Some(Value::Text(text.into())).filter(|_| !text.is_empty() && !text.contains('\0'))
            }
            Kind::Bytes => Bytes::parse(text).map(Value::Bytes),
            Kind::Count(least, most) => {
                text.parse().ok().filter(|count| (least..=most).contains(count)).map(Value::Count)
            }
            Kind::AutoOr(..) if text.eq_ignore_ascii_case("auto") => Some(Value::Text("auto".into())),
            Kind::AutoOr(least, most) => {
                text.parse().ok().filter(|count| (least..=most).contains(count)).map(Value::Count)
            }
            Kind::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(Value::Flag(true)),
                "false" | "0" | "no" | "off" => Some(Value::Flag(false)),
                _ => None,
            },
            Kind::Time => Keep::parse(text).map(|keep| Value::Time(keep, text.into())),
            Kind::Choice(words) => {
                let text = text.to_ascii_lowercase();
                words.iter().find(|word| **word == text).map(|word| Value::Text((*word).into()))
            }
        };
        value.ok_or_else(|| self.refuse(format!("{text:?}"), origin))
    }

    /// Reads a value out of a file: there, a number is a number and no text.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn take(&self, given: &Given) -> Result<Value, Error> {
        match (self.kind, given) {
            (
                Kind::Folder | Kind::Folders | Kind::Bytes | Kind::Choice(_) | Kind::Time | Kind::AutoOr(..),
                Given::Text(text),
            ) => self.read(text, Origin::File),
            (Kind::Bytes | Kind::Count(..) | Kind::Time | Kind::AutoOr(..), Given::Number(number)) => {
                self.read(&number.to_string(), Origin::File)
            }
            (Kind::Flag, Given::Flag(flag)) => Ok(Value::Flag(*flag)),
            (_, Given::Text(text)) => Err(self.refuse(format!("the text {text:?}"), Origin::File)),
            (_, Given::Number(number)) => Err(self.refuse(format!("the number {number}"), Origin::File)),
            (_, Given::Flag(flag)) => Err(self.refuse(flag.to_string(), Origin::File)),
            (_, Given::Other(what)) => Err(self.refuse((*what).to_owned(), Origin::File)),
        }
    }

    fn refuse(&self, value: String, origin: Origin) -> Error {
        Error::Value { name: self.name, origin, value, wanted: self.kind.to_string() }
    }

    fn standard(&self) -> Option<Value> {
        let value = || self.read(self.default, Origin::Default).expect("a test reads every default");
        (!self.default.is_empty()).then(value)
    }
}

/// What holds, for every key that has a value, and who said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// Variables of Ollama that were passed over, and why.
    pub passed_over: Vec<Error>,
}

impl Settings {
    /// Puts together what everybody says.
    ///
    /// `flags` and `file` are names with values; `variable` looks one up in the environment. A variable that is
    /// empty counts as not set; blanks and quotes around it do not count.
    ///
    /// # Errors
    /// The first value that does not fit, and any name in `flags` or `file` that nothing has.
    pub fn resolve(
        flags: &[(&str, &str)],
        variable: impl Fn(&str) -> Option<String>,
        file: &[(String, Given)],
    ) -> Result<Self, Error> {
        let mut settings = Self::default();
        for key in KEYS {
            if let Some(value) = key.standard() {
                settings.values.insert(key.name, (value, Origin::Default));
            }
            if let Some((name, text)) = key.ollama.and_then(|name| said(&variable, name)) {
                match key.read(&text, Origin::Variable(name)) {
                    Ok(value) => settings.set(key, value, key.ollama),
                    Err(error) => settings.passed_over.push(error),
                }
            }
        }
        for (name, given) in file {
            let key = find(name)?;
            let value = key.take(given)?;
            settings.values.insert(key.name, (value, Origin::File));
        }
        for key in KEYS {
            if let Some((name, text)) = said(&variable, &key.variable()) {
                let value = key.read(&text, Origin::Variable(name.clone()))?;
                settings.set(key, value, Some(&name));
            }
        }
        for (name, text) in flags {
            let key = find(name)?;
            let value = key.read(text, Origin::Flag)?;
            settings.values.insert(key.name, (value, Origin::Flag));
        }
        Ok(settings)
    }

    fn set(&mut self, key: &Key, value: Value, variable: Option<&str>) {
        self.values.insert(key.name, (value, Origin::Variable(variable.unwrap_or_default().into())));
    }

    /// What a key is set to, and by whom; `None` for one that follows from the machine.
    ///
    /// # Panics
    /// For a name that is not in [`KEYS`]: a slip of the program, not of whoever sets things.
    pub fn get(&self, name: &str) -> Option<(&Value, &Origin)> {
        assert!(KEYS.iter().any(|key| key.name == name), "{name} is not in the schema");
        self.values.get(name).map(|(value, origin)| (value, origin))
    }

    /// A folder, folders or a word.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some((Value::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    /// A number.
    pub fn count(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some((Value::Count(count), _)) => Some(*count),
            _ => None,
        }
    }

    /// An amount.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        match self.get(name) {
            Some((Value::Bytes(bytes), _)) => Some(*bytes),
            _ => None,
        }
    }

    /// A time.
    pub fn keep(&self, name: &str) -> Option<Keep> {
        match self.get(name) {
            Some((Value::Time(keep, _), _)) => Some(*keep),
            _ => None,
        }
    }

    /// Yes or no.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Some((Value::Flag(flag), _)) => Some(*flag),
            _ => None,
        }
    }
}

/// What a variable says, with its name.
fn said(variable: impl Fn(&str) -> Option<String>, name: &str) -> Option<(String, String)> {
    let text = variable(name)?;
    let text = text.trim().trim_matches(['"', '\'']).trim();
    (!text.is_empty()).then(|| (name.into(), text.into()))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("a folder"),
            Self::Folders => f.write_str("folders, written as in PATH"),
            Self::Bytes => f.write_str("an amount such as 50GB or 1.5GiB"),
            Self::Count(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::AutoOr(least, most) => write!(f, "auto, or a whole number from {least} to {most}"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Flag => f.write_str("true or false"),
            Self::Time => f.write_str("a time such as 5m or 1.5h, or a number of seconds; -1 for ever"),
        }
    }
}

impl fmt::Display for Value {
    /// As [`Key::read`] reads it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => bytes.0.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Time(_, text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Variable(name) => f.write_str(name),
            Self::File => f.write_str("config.toml"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, near: Some(near) } => write!(f, "there is no setting {name:?}; {near} is near"),
            Self::Unknown { name, near: None } => write!(f, "there is no setting {name:?}"),
            Self::Value { name, origin, value, wanted } => {
                write!(f, "{name} is {wanted}, and not {value} ({origin})")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn one(name: &'static str, text: &'static str) -> impl Fn(&str) -> Option<String> {
        move |asked| (asked == name).then(|| text.into())
    }

    fn file(name: &str, given: Given) -> [(String, Given); 1] {
        [(name.into(), given)]
    }

    #[test]
    fn every_default_is_a_value_and_printed_as_it_is_read() {
        let settings = Settings::resolve(&[], nothing, &[]).unwrap();
        for key in KEYS {
            assert_eq!(settings.get(key.name).is_none(), key.default.is_empty(), "{}", key.name);
            if let Some((value, origin)) = settings.get(key.name) {
                assert_eq!(*origin, Origin::Default);
                assert_eq!(key.read(&value.to_string(), Origin::Flag).as_ref(), Ok(value));
            }
        }
        assert_eq!(settings.bytes("models.max_storage"), Some(Bytes(50_000_000_000)));
    }

    #[test]
    fn flags_go_over_variables_over_the_file_over_ollama_over_defaults() {
        let name = "inference.context_length";
        let all = |asked: &str| match asked {
            "TUTU_INFERENCE_CONTEXT_LENGTH" => Some(" \"2\" ".into()),
            "OLLAMA_CONTEXT_LENGTH" => Some("4".into()),
            _ => None,
        };
        let ollama = one("OLLAMA_CONTEXT_LENGTH", "4");
        let three = file(name, Given::Number(3));
        let count = |settings: Result<Settings, Error>| settings.unwrap().count(name);
        assert_eq!(count(Settings::resolve(&[(name, "1")], all, &three)), Some(1));
        assert_eq!(count(Settings::resolve(&[], all, &three)), Some(2));
        assert_eq!(count(Settings::resolve(&[], &ollama, &three)), Some(3));
        assert_eq!(count(Settings::resolve(&[], &ollama, &[])), Some(4));
        assert_eq!(count(Settings::resolve(&[], one("OLLAMA_CONTEXT_LENGTH", " "), &[])), Some(4096));
        let settings = Settings::resolve(&[], &ollama, &[]).unwrap();
        assert_eq!(settings.get(name).unwrap().1.to_string(), "OLLAMA_CONTEXT_LENGTH");
    }

    #[test]
    fn what_is_wrong_is_refused_with_who_said_it() {
        let of_file = |name, given| Settings::resolve(&[], nothing, &file(name, given)).unwrap_err().to_string();
        assert_eq!(
            of_file("models.max_storge", Given::Number(1)),
            "there is no setting \"models.max_storge\"; models.max_storage is near"
        );
        assert_eq!(of_file("threads", Given::Number(1)), "there is no setting \"threads\"; inference.threads is near");
        assert_eq!(of_file("x.y", Given::Flag(true)), "there is no setting \"x.y\"");
        assert_eq!(
            of_file("models.auto_pull", Given::Text("yes".into())),
            "models.auto_pull is true or false, and not the text \"yes\" (config.toml)"
        );
        assert_eq!(
            of_file("inference.threads", Given::Number(-1)),
            "inference.threads is a whole number from 0 to 4096, and not \"-1\" (config.toml)"
        );
        assert_eq!(
            of_file("models.dir", Given::Other("an array")),
            "models.dir is a folder, and not an array (config.toml)"
        );
        let variable = one("TUTU_MODELS_MAX_STORAGE", "much");
        assert_eq!(
            Settings::resolve(&[], variable, &[]).unwrap_err().to_string(),
            "models.max_storage is an amount such as 50GB or 1.5GiB, and not \"much\" (TUTU_MODELS_MAX_STORAGE)"
        );
        let flag = Settings::resolve(&[("inference.threads", "4097")], nothing, &[]);
        assert_eq!(
            flag.unwrap_err().to_string(),
            "inference.threads is a whole number from 0 to 4096, and not \"4097\" (flag)"
        );
    }

    #[test]
    fn what_was_meant_for_ollama_is_passed_over_where_it_makes_no_sense_here() {
        let settings = Settings::resolve(&[], one("OLLAMA_CONTEXT_LENGTH", "auto"), &[]).unwrap();
        assert_eq!(settings.count("inference.context_length"), Some(4096));
        assert_eq!(settings.passed_over.len(), 1);
    }

    #[test]
    fn no_key_and_no_variable_is_there_twice() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..index].iter().all(|other| other.name != key.name && other.variable() != key.variable()));
            assert_eq!(key.name.matches('.').count(), 1, "{}", key.name);
        }
    }
}
