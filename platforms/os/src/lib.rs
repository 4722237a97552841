//! What differs by operating system: mapped files, what this process may use, locks.
//!
//! Invariants: every `unsafe` block stands on a fact that its comment names; nothing here decides anything.

mod limits;
mod mapped;

pub use limits::{cores, disk_free, memory_peak, memory_total};
pub use mapped::Mapped;
