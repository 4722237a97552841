//! What an API asks of a model and what comes back, whichever the API.
//!
//! An [`Ask`] says what is wanted. [`prepare()`] makes a [`Prepared`] of it, in any thread: a request for the engine, and a
//! [`Reader`] that tells thoughts, text and calls of tools apart in what the engine writes. [`Prepared::sink`] joins the
//! two; it runs where the engine runs, so that a stop text ends the answer within one token.
//!
//! ```text
//! Ask --prepare--> Prepared { Request, Reader } --sink--> Heard::Delta ... Heard::End
//! ```

mod ask;
mod course;
mod fit;
mod history;
pub mod options;
mod prepare;
mod reader;

pub use ask::{Ask, Choice, Form, Input, Overflow, Think, Tool};
pub use fit::Dropped;
pub use options::Options;
pub use prepare::{Error, Prepared, Rendered, answer, prepare, render};
pub use reader::{Delta, End, Heard, Reader, Reason, Text};
