//! What differs by operating system: mapped files, what this process may use, locks, who keeps programs running.
//!
//! Invariants: every `unsafe` block stands on a fact that its comment names; nothing here decides anything.

mod database;
mod limits;
mod lock;
mod mapped;
pub mod service;

pub use database::open_database;
pub use limits::{cores, disk_free, memory_peak, memory_total, memory_used, terminal_width};
pub use lock::Lock;
pub use mapped::Mapped;
