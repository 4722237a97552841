//! What an answer may look like, enforced while it is made: whatever the model would rather say, the answer is well
//! formed.
//!
//! A [`Grammar`] is written as [`Rules`] of [`Expr`]essions, read from [`gbnf`], or made from a JSON [`schema`]. A
//! [`Machine`] follows it byte by byte and says which tokens of a [`Vocabulary`] may come next.

mod chars;
mod course;
pub mod gbnf;
mod guide;
pub mod json;
mod machine;
mod program;
mod rules;
pub mod schema;
mod vocabulary;

use alloc::string::String;
use core::fmt;

pub use chars::Chars;
pub use course::{Course, Stage, Trigger};
pub use guide::Guide;
pub use machine::{BYTES_MAX, Machine, Mark};
pub use program::Grammar;
pub use rules::{Expr, Rules, words};
pub use vocabulary::{Mask, Vocabulary, control};

/// Why rules are no grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A rule that is named and not there.
    Undefined(String),
    /// A rule that calls itself before it has taken a character.
    LeftRecursive(String),
    /// A rule that goes on for ever.
    Endless(String),
    /// In this rule something is repeated many times that may be empty.
    Idle(String),
    /// A choice among nothing, an empty set of characters, or a repeat with its limits exchanged.
    Empty,
    /// The least text has more levels inside each other than are allowed.
    Deep,
    /// Rules of more parts than are allowed.
    Large,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined(name) => write!(f, "the rule {name:?} is not defined"),
            Self::LeftRecursive(name) => write!(f, "the rule {name:?} calls itself before it has taken a character"),
            Self::Endless(name) => write!(f, "the rule {name:?} can never end"),
            Self::Idle(name) => {
                write!(f, "the rule {name:?} repeats up to a number of times what may be empty; repeat it without end")
            }
            Self::Empty => f.write_str("a set of characters or a choice is empty, or a repeat ends before it begins"),
            Self::Deep => f.write_str("the shortest text has more levels inside each other than 64"),
            Self::Large => f.write_str("the grammar has too many parts"),
        }
    }
}

impl core::error::Error for Error {}
