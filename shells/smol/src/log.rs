//! What happened, for those who look after this machine: lines on standard error, and JSON in a file that is kept short.
//!
//! Never what was asked or answered. One log a process; without [`start`] only warnings and errors are said, on
//! standard error.

use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use serde_json::{Map, Value};

use crate::engine::clock::rfc3339;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something did not work.
    Error,
    /// Something may not work for long.
    Warn,
    /// Something of note was done.
    Info,
    /// Everything else.
    Debug,
}

impl Level {
    /// The level of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug].into_iter().find(|level| level.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// A name and a value beside the words of a line.
pub type Field<'a> = (&'a str, Value);

/// Where lines go.
#[derive(Debug)]
pub struct Log {
    level: Level,
    file: Option<Mutex<Rotating>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Begins to log in `folder`. A second start changes nothing.
///
/// # Errors
/// The file cannot be written; nothing is logged there then.
pub fn start(folder: &Path, level: Level, most: u64, files: u64) -> io::Result<()> {
    let opened = Rotating::open(folder, most, files);
    let (file, outcome) = match opened {
        Ok(file) => (Some(Mutex::new(file)), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let _ = LOG.set(Log { level, file });
    outcome
}

/// Whether lines of this level are written anywhere.
pub fn wants(level: Level) -> bool {
    level <= LOG.get().map_or(Level::Warn, |log| log.level)
}

/// Says it on standard error and in the file.
pub fn say(level: Level, what: &str, fields: &[Field<'_>]) {
    if wants(level) {
        eprintln!("{}", Line { level, what, fields });
        note(level, what, fields);
    }
}

/// Says it in the file alone.
pub fn note(level: Level, what: &str, fields: &[Field<'_>]) {
    let Some(Log { file: Some(file), .. }) = LOG.get() else { return };
    if wants(level) {
        let line = json(level, what, fields, SystemTime::now());
        // A log that cannot be written must not end what it tells of.
        let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write(&line);
    }
}

/// Lets a mistake of this program be told by its place alone: its words may hold what somebody asked.
pub fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        say(Level::Error, "a mistake of this program ended what it did", &[("place", place.into())]);
    }));
}

fn json(level: Level, what: &str, fields: &[Field<'_>], at: SystemTime) -> String {
    let mut record = Map::new();
    record.insert("time".into(), rfc3339(at).into());
    record.insert("level".into(), level.name().into());
    record.insert("what".into(), what.into());
    for (name, value) in fields {
        record.insert((*name).into(), value.clone());
    }
    let mut line = Value::Object(record).to_string();
    line.push('\n');
    line
}

/// For people: `info: a model was opened model=smollm2 ms=120`.
struct Line<'a> {
    level: Level,
    what: &'a str,
    fields: &'a [Field<'a>],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level.name(), self.what)?;
        for (name, value) in self.fields {
            f.write_char(' ')?;
            match value {
                // Plain words need no quotes, and control characters must not reach a terminal.
                Value::String(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"') => {
                    write!(f, "{name}={text}")?;
                }
                other => write!(f, "{name}={other}")?,
            }
        }
        Ok(())
    }
}

/// A file that gives way to a new one before it grows too long; the last ones stay as `tutu.1.log`, `tutu.2.log`, ...
#[derive(Debug)]
struct Rotating {
    folder: PathBuf,
    file: File,
    length: u64,
    /// Bytes of a file, and how many files.
    most: u64,
    files: u64,
}

impl Rotating {
    fn open(folder: &Path, most: u64, files: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = File::options().create(true).append(true).open(path(folder, 0))?;
        let length = file.metadata()?.len();
        Ok(Self { folder: folder.into(), file, length, most, files: files.max(1) })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.length > 0 && self.length + line.len() as u64 > self.most {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.files).rev() {
            // The first times there are not so many.
            let _ = fs::rename(path(&self.folder, number - 1), path(&self.folder, number));
        }
        self.file = File::create(path(&self.folder, 0))?;
        self.length = 0;
        Ok(())
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    if number == 0 { folder.join("tutu.log") } else { folder.join(format!("tutu.{number}.log")) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_line_is_json_in_the_file_and_words_for_people() {
        let fields = [("model", "a b\u{1b}[2J".into()), ("ms", 12.into()), ("key", "laptop".into())];
        let line = json(Level::Warn, "slow", &fields, UNIX_EPOCH + Duration::from_secs(1));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["level"], &value["what"], &value["ms"]), (&"warn".into(), &"slow".into(), &12.into()));
        assert!(value["time"].as_str().unwrap().starts_with("1970-01-01T00:00:01"));
        let text = Line { level: Level::Warn, what: "slow", fields: &fields }.to_string();
        assert_eq!(text, "warn: slow model=\"a b\\u001b[2J\" ms=12 key=laptop");
    }

    #[test]
    fn old_files_give_way_and_only_so_many_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Rotating::open(folder.path(), 10, 3).unwrap();
        for number in 0..9 {
            file.write(&format!("line{number}\n")).unwrap();
        }
        // One that is longer than a file stands alone in one.
        file.write("a line that is longer than a file\n").unwrap();
        let text = |number| fs::read_to_string(path(folder.path(), number)).unwrap();
        assert_eq!((text(0).as_str(), text(1).as_str()), ("a line that is longer than a file\n", "line8\n"));
        assert_eq!(text(2), "line7\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        drop(file);
        let mut again = Rotating::open(folder.path(), 50, 3).unwrap();
        again.write("more\n").unwrap();
        assert_eq!(text(0), "a line that is longer than a file\nmore\n");
    }

    #[test]
    fn levels_have_an_order_and_names() {
        assert!(Level::Error < Level::Warn && Level::Info < Level::Debug);
        assert_eq!(Level::parse("debug"), Some(Level::Debug));
        assert_eq!(Level::parse("loud"), None);
    }
}
