//! The bytes between nodes, and their limits.

pub mod packet;
pub mod parts;
