//! What went wrong, for a person: the thing, the reason, the next step.

use std::fmt;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Error {
    text: String,
    code: u8,
}

impl Error {
    /// The command was used wrongly (exit code 2).
    pub fn usage(text: impl fmt::Display) -> Self {
        Self { text: format!("{text}; see `tutu help`"), code: 2 }
    }

    /// The command failed (exit code 1).
    pub fn failed(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    /// The process's exit code.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error)
    }
}

impl From<crate::engine::Error> for Error {
    fn from(error: crate::engine::Error) -> Self {
        Self::failed(error)
    }
}

impl From<crate::talk::Error> for Error {
    fn from(error: crate::talk::Error) -> Self {
        Self::failed(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

impl From<crate::store::Error> for Error {
    fn from(error: crate::store::Error) -> Self {
        Self::failed(error)
    }
}

impl From<crate::config::Error> for Error {
    fn from(error: crate::config::Error) -> Self {
        Self::failed(error)
    }
}

impl From<crate::http::keys::Error> for Error {
    fn from(error: crate::http::keys::Error) -> Self {
        Self::failed(error)
    }
}

impl From<crate::http::wire::TlsError> for Error {
    fn from(error: crate::http::wire::TlsError) -> Self {
        Self::failed(error)
    }
}
