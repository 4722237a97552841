//! What `--format` and `/set format` take.

use std::sync::Arc;

use tutu_llm::grammar::{Grammar, json};

use super::Error;

/// The grammar of a format.
///
/// # Errors
/// A format that we do not know.
pub fn grammar(format: &str) -> Result<Arc<Grammar>, Error> {
    match format {
        "json" => Ok(Arc::new(json::object())),
        other => Err(Error::usage(format!("the format is {other:?}, and may be json"))),
    }
}
