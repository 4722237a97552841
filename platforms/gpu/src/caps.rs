//! What a device can do.

use crate::kernel::Matrices;

/// What the device can do, as far as a program depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes that one binding may have.
    pub binding: usize,
    /// Whether a subgroup can be summed up.
    pub subgroups: bool,
    /// Invocations of a subgroup, where that is always the same.
    pub subgroup: Option<u32>,
    /// Whether it is a processor that plays a GPU: barriers are dear there.
    pub software: bool,
    /// Whether it multiplies four bytes and adds their products at once.
    pub packed: bool,
    /// Whether it computes with halves.
    pub halves: bool,
    /// Which matrices it multiplies, if it does.
    pub matrices: Option<Matrices>,
}

impl Caps {
    /// The same without what drivers may lack, or get wrong: narrow numbers and matrices.
    pub fn plain(self) -> Self {
        Self { packed: false, halves: false, matrices: None, ..self }
    }
}
