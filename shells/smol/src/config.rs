//! Settings of this machine: the file, the environment, the flags. What may be set, and who wins, the core knows.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, Value};
use tutu_node::edge::config::{self, Given, Settings};

/// Why settings cannot be used.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// The file cannot be read or written.
    File { path: PathBuf, source: std::io::Error },
    /// The file is no TOML.
    Syntax { path: PathBuf, why: String },
    /// Something in it, in the environment or on the command line cannot be set so.
    Setting(config::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "{} cannot be used: {source}", path.display()),
            Self::Syntax { path, why } => write!(f, "{} is no TOML: {why}", path.display()),
            Self::Setting(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self::Setting(error)
    }
}

/// The file of a home.
pub fn path(home: &Path) -> PathBuf {
    home.join("config.toml")
}

/// What holds: flags over environment over file over defaults.
///
/// # Errors
/// [`Error`].
pub fn read(home: &Path, flags: &[(&str, &str)]) -> Result<Settings, Error> {
    let document = document(&path(home))?;
    let mut given = Vec::new();
    for (section, item) in document.iter() {
        match item {
            Item::Table(table) => {
                table.iter().for_each(|(key, item)| given.push((format!("{section}.{key}"), of(item))))
            }
            other => given.push((section.to_string(), of(other))),
        }
    }
    let variable = |name: &str| std::env::var(name).ok();
    Ok(Settings::resolve(flags, variable, &given)?)
}

/// Sets a key in the file; comments and order of what is there stay.
///
/// # Errors
/// [`Error`]; the file is then as it was.
pub fn write(home: &Path, name: &str, text: &str) -> Result<(), Error> {
    let key = config::find(name)?;
    let value = match key.read(text, config::Origin::Flag)? {
        config::Value::Count(count) => Value::from(i64::try_from(count).unwrap_or(i64::MAX)),
        config::Value::Flag(flag) => Value::from(flag),
        config::Value::Text(text) => Value::from(text),
        config::Value::Bytes(_) | config::Value::Time(..) => Value::from(text),
    };
    let path = path(home);
    let mut document = document(&path)?;
    let (section, key) = name.split_once('.').expect("every key has a section");
    let table = document.entry(section).or_insert(Item::Table(Table::new()));
    let wrong = || Error::Syntax { path: path.clone(), why: format!("{section} is no section") };
    table.as_table_mut().ok_or_else(wrong)?.insert(key, Item::Value(value));
    let save = || {
        std::fs::create_dir_all(home)?;
        let mut file = tempfile::NamedTempFile::new_in(home)?;
        std::io::Write::write_all(&mut file, document.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    };
    save().map_err(|source| Error::File { path: path.clone(), source })
}

fn document(path: &Path) -> Result<DocumentMut, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(Error::File { path: path.into(), source }),
    };
    text.parse().map_err(|e: toml_edit::TomlError| Error::Syntax { path: path.into(), why: e.to_string() })
}

fn of(item: &Item) -> Given {
    match item.as_value() {
        Some(Value::String(text)) => Given::Text(text.value().clone()),
        Some(Value::Integer(number)) => Given::Number(*number.value()),
        Some(Value::Boolean(flag)) => Given::Flag(*flag.value()),
        Some(Value::Float(_)) => Given::Other("a number with a point"),
        Some(Value::Array(_)) => Given::Other("a list"),
        Some(_) => Given::Other("a date or a table"),
        None => Given::Other("a section"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_read_and_comments_stay() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(path(home.path()), "# mine\n[inference]\nthreads = 3 # three\n").unwrap();
        write(home.path(), "models.max_storage", "20GB").unwrap();
        let text = std::fs::read_to_string(path(home.path())).unwrap();
        assert!(text.starts_with("# mine\n[inference]\nthreads = 3 # three\n"), "{text}");
        let settings = read(home.path(), &[]).unwrap();
        assert_eq!(settings.count("inference.threads"), Some(3));
        assert_eq!(read(home.path(), &[("inference.threads", "5")]).unwrap().count("inference.threads"), Some(5));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_the_nearest() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(path(home.path()), "[inference]\nthread = 3\n").unwrap();
        let text = read(home.path(), &[]).unwrap_err().to_string();
        assert!(text.contains("inference.threads"), "{text}");
        std::fs::write(path(home.path()), "[inference\n").unwrap();
        assert!(matches!(read(home.path(), &[]), Err(Error::Syntax { .. })));
        assert!(write(home.path(), "models.max_storage", "much").is_err());
    }
}
