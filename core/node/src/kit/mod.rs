//! What every machine shares.

pub mod bloom;
pub mod class;
pub mod codec;
pub mod digest;
pub mod fault;
pub mod hash;
pub mod heap;
pub mod id;
pub mod laws;
pub mod log;
pub mod machine;
pub mod near;
pub mod ring;
pub mod rng;
pub mod sign;
pub mod time;
pub mod trace;
pub mod units;
pub mod wheel;

pub use class::Class;
pub use digest::Digest;
pub use fault::Fault;
pub use id::NodeId;
pub use machine::Machine;
pub use rng::Rng;
pub use sign::{Certificate, Domain, Signature, Signer, Verifier};
pub use time::{Instant, UnixTime};
pub use units::{Bytes, Credits, Keep, Ppm};
