//! Whom to believe.

pub mod anomaly;
pub mod breaker;
pub mod identity;
pub mod quarantine;
pub mod reputation;
pub mod verify;
