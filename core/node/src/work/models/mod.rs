//! Models: what they are called, where they come from.

pub mod catalogue;
pub mod name;
pub mod option;
pub mod tutufile;

pub use name::{Name, Reference};
pub use tutufile::TuTufile;
