//! Models: what they are called, where they come from, how they are made, which of them stay.

pub mod catalogue;
pub mod manifest;
pub mod name;
pub mod option;
pub mod shelf;
pub mod tutufile;

pub use name::{Name, Reference};
pub use tutufile::TuTufile;
