//! Whom to believe.

pub mod identity;
