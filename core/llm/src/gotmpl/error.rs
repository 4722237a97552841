//! What is wrong with a template, and where.

use alloc::string::String;
use core::fmt;

/// Why a template was refused, or gave up on its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Counts from 1.
    pub line: u32,
    /// Counts characters from 1.
    pub column: u32,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong. The first half is found when a template is read, the other when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Fault {
    /// The template has more bytes than one may have.
    Long(usize),
    /// Something begins here and does not end.
    Open(&'static str),
    /// Something else was due here.
    Expected { expected: &'static str, found: String },
    /// A number, text or character that cannot be read.
    Literal(String),
    /// There is no such function.
    Function(String),
    /// No such variable is in sight.
    Variable(String),
    /// Too many variables in sight at once.
    Crowded,
    /// Blocks, parentheses, templates or data lie too deep in each other.
    Deep,
    /// No template has this name.
    Template(String),
    /// A value without fields, or without this one.
    Field { name: String, of: &'static str },
    /// A function that takes other, or fewer, or more values.
    Arguments { function: &'static str, takes: &'static str },
    /// Values after something that is no function.
    NotFunction,
    /// What `range` cannot go through.
    NotRange(&'static str),
    /// Beyond the end of a list or text.
    Index { index: i64, len: usize },
    /// Ran for more steps than it may.
    Steps,
    /// Made more text than it may.
    Bytes,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long(most) => write!(f, "the template has more than {most} bytes"),
            Self::Open(what) => write!(f, "{what} is not closed"),
            Self::Expected { expected, found } => write!(f, "{expected} was expected, not {found}"),
            Self::Literal(text) => write!(f, "{text} cannot be read"),
            Self::Function(name) => write!(f, "there is no function {name:?}"),
            Self::Variable(name) => write!(f, "there is no variable ${name} here"),
            Self::Crowded => f.write_str("too many variables at once"),
            Self::Deep => f.write_str("nested too deep"),
            Self::Template(name) => write!(f, "there is no template {name:?}"),
            Self::Field { name, of } => write!(f, "{of} has no field {name:?}"),
            Self::Arguments { function, takes } => write!(f, "{function} takes {takes}"),
            Self::NotFunction => f.write_str("only a function can be given values"),
            Self::NotRange(kind) => write!(f, "range cannot go through {kind}"),
            Self::Index { index, len } => write!(f, "{index} lies beyond the {len} that there are"),
            Self::Steps => f.write_str("the template runs for too long"),
            Self::Bytes => f.write_str("the template makes too much text"),
        }
    }
}

impl core::error::Error for Error {}

/// A fault at a byte of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raised {
    pub at: u32,
    pub fault: Fault,
}

impl Raised {
    pub(super) fn new(at: usize, fault: Fault) -> Self {
        Self { at: at as u32, fault }
    }

    /// With the line and column of its byte.
    pub(super) fn in_source(self, source: &str) -> Error {
        let mut at = (self.at as usize).min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        let before = &source[..at];
        let line = before.matches('\n').count() as u32 + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Error { line, column: before[start..].chars().count() as u32 + 1, fault: self.fault }
    }
}
