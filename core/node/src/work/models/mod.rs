//! Models: what they are called, where they come from.

pub mod catalogue;
pub mod name;

pub use name::{Name, Reference};
