//! What is to be done: models, how they get here, and which are in memory.

pub mod models;
pub mod pool;
pub mod pull;
