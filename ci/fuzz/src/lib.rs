//! What must survive any bytes: targets of the shape `fn(&[u8])`, seeds that are sound files, and a mutator.
//!
//! The bounded run is a test (`cargo test -p tutu-fuzz`), the long one a program
//! (`cargo run --release -p tutu-fuzz -- --iterations 1000000`). The targets are what cargo-fuzz takes too:
//! `fuzz_target!(|data: &[u8]| { tutu_fuzz::targets::gguf(data); })`.

pub mod count;
pub mod mutate;
pub mod run;
pub mod seeds;
pub mod targets;
