//! Whom to believe.

pub mod breaker;
pub mod identity;
pub mod reputation;
pub mod verify;
