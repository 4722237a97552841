//! What several commands read from the command line.

use std::{path::PathBuf, str::FromStr};

use lexopt::{Parser, ValueExt};

use super::Error;
use crate::engine::Sources;

/// The value of a flag, as a number or whatever it must be.
pub fn value<T: FromStr>(parser: &mut Parser) -> Result<T, Error>
where
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(parser.value()?.parse()?)
}

/// The files of the model that somebody named.
pub fn sources(model: &str) -> Result<Sources, Error> {
    Ok(Sources { files: vec![PathBuf::from(model)], template: None })
}
