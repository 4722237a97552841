//! What every machine shares.

pub mod digest;
pub mod laws;
pub mod machine;
pub mod near;
pub mod rng;
pub mod time;
pub mod trace;
pub mod units;

pub use digest::Digest;
pub use machine::Machine;
pub use rng::Rng;
pub use time::{Instant, UnixTime};
pub use units::Bytes;
