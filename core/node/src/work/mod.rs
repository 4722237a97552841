//! What is to be done: models, how they get here, and which are in memory; tasks, and who does them.

pub mod models;
pub mod pool;
pub mod pull;
pub mod room;
pub mod schedule;
pub mod task;
