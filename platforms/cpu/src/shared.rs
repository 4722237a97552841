//! Rows of a buffer that several threads write at one time, each its own part.

/// A band of columns of a buffer, without a lifetime: whoever makes one keeps the buffer where it is, and
/// lets no two threads write the same part, until all are done.
///
/// The engine keeps both: buffers grow only between two pieces of work, and every chunk of a piece of work has
/// rows or panels of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    start: *mut f32,
    len: usize,
    stride: usize,
    column: usize,
    width: usize,
}

// SAFETY: it is a place in memory; what may be done there at one time is the promise of the type's maker.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Columns `column .. column + width` of rows of `stride` elements.
    pub(crate) fn new(buffer: &mut [f32], stride: usize, column: usize, width: usize) -> Self {
        assert!(column + width <= stride, "a band lies inside its buffer");
        Self { start: buffer.as_mut_ptr(), len: buffer.len(), stride, column, width }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Whether the two are not the same columns of the same buffer.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        self.start != other.start || self.column != other.column
    }

    /// One row.
    #[allow(clippy::mut_from_ref, reason = "parts are disjoint, see the type")]
    pub(crate) fn row<'r>(&self, row: usize) -> &'r mut [f32] {
        self.part(row, 0, self.width)
    }

    /// `len` elements of one row.
    pub(crate) fn part<'r>(&self, row: usize, at: usize, len: usize) -> &'r mut [f32] {
        let start = row * self.stride + self.column + at;
        assert!(at + len <= self.width && start + len <= self.len, "a part lies inside its row");
        // SAFETY: the range lies in the buffer (asserted), which stays where it is, and nobody else writes to it
        // while this reference is used (the promise of the type's maker).
        unsafe { core::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
