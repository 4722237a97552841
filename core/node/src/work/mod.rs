//! What is to be done: models, and how they get here.

pub mod models;
pub mod pull;
