//! What the outside asks and sets.

pub mod config;
