//! Memory of two kinds.

use crate::kit::Bytes;

/// Some of the memory that a processor computes in, and some of the memory that GPUs have of their own. What a GPU shares with
/// the processor is of the first kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The processor's.
    pub main: Bytes,
    /// The GPUs'.
    pub gpu: Bytes,
}

impl Room {
    /// Of the processor's memory only.
    pub const fn main(bytes: u64) -> Self {
        Self { main: Bytes(bytes), gpu: Bytes(0) }
    }

    /// Both together, each at most as much as can be counted.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            main: Bytes(self.main.0.saturating_add(other.main.0)),
            gpu: Bytes(self.gpu.0.saturating_add(other.gpu.0)),
        }
    }

    /// At least what either is, of each kind.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self { main: self.main.max(other.main), gpu: self.gpu.max(other.gpu) }
    }

    /// Whether there is so much of both kinds in `all`.
    pub const fn fits(self, all: Self) -> bool {
        self.main.0 <= all.main.0 && self.gpu.0 <= all.gpu.0
    }
}
