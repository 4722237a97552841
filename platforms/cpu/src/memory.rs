//! Memory for weights: one region for a whole model, in huge pages where the system gives them.
//!
//! A token reads all weights once, so with small pages every 4 KiB cost a look-up of an address: on a processor
//! that reads 40 GB/s from huge pages, small ones gave 32.

use core::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
};
use std::sync::Arc;

/// What may be made of zeros.
///
/// # Safety
/// All bits zero must be a value of the type, and its alignment at most [`ALIGN`].
pub unsafe trait Zeroed: Copy {}

// SAFETY: a number.
unsafe impl Zeroed for f32 {}
// SAFETY: arrays of numbers.
unsafe impl<const N: usize> Zeroed for [u16; N] {}
// SAFETY: arrays of numbers.
unsafe impl<const N: usize> Zeroed for [f32; N] {}

/// What every list in a region is aligned to.
pub const ALIGN: usize = 64;

#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Addresses that were taken from the system; memory comes with the first write to it.
struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory of its own; who may touch which part of it is a matter of the lists.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    #[cfg(unix)]
    fn new(len: usize) -> Self {
        // SAFETY: an anonymous mapping touches nothing that is there.
        let base = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let base = NonNull::new(base.cast::<u8>()).filter(|_| base != libc::MAP_FAILED);
        let base = base.unwrap_or_else(|| std::alloc::handle_alloc_error(layout(len)));
        #[cfg(target_os = "linux")]
        // SAFETY: the range is the mapping that was just made. It is advice: it may be refused.
        unsafe {
            libc::madvise(base.as_ptr().cast(), len, libc::MADV_HUGEPAGE);
        }
        Self { base, len }
    }

    #[cfg(not(unix))]
    fn new(len: usize) -> Self {
        // SAFETY: the layout is not empty.
        let base = unsafe { std::alloc::alloc_zeroed(layout(len)) };
        Self { base: NonNull::new(base).unwrap_or_else(|| std::alloc::handle_alloc_error(layout(len))), len }
    }
}

fn layout(len: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(len, ALIGN).expect("a model is smaller than the address space")
}

impl Drop for Region {
    fn drop(&mut self) {
        #[cfg(unix)]
        // SAFETY: the mapping is ours, and no list of it is left.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.len);
        }
        #[cfg(not(unix))]
        // SAFETY: it was given for this layout, and no list of it is left.
        unsafe {
            std::alloc::dealloc(self.base.as_ptr(), layout(self.len));
        }
    }
}

/// Gives lists out of one region, one after the other.
pub struct Arena {
    region: Arc<Region>,
    used: usize,
}

impl Arena {
    /// A region for `bytes` bytes of lists, each rounded up to [`ALIGN`].
    pub fn new(bytes: usize) -> Self {
        let len = bytes.max(1);
        // Whole huge pages, wherever the mapping begins; what is not written to costs nothing.
        #[cfg(target_os = "linux")]
        let len = if len >= HUGE { len + HUGE } else { len };
        let region = Region::new(len);
        #[cfg(target_os = "linux")]
        let used = if len >= HUGE { region.base.as_ptr().align_offset(HUGE) } else { 0 };
        #[cfg(not(target_os = "linux"))]
        let used = 0;
        Self { region: Arc::new(region), used }
    }

    /// Bytes of a list in an arena.
    pub fn bytes<T: Zeroed>(len: usize) -> usize {
        (len * size_of::<T>()).next_multiple_of(ALIGN)
    }

    /// A list of zeros.
    ///
    /// # Panics
    /// If the arena was made for less.
    pub fn list<T: Zeroed>(&mut self, len: usize) -> List<T> {
        let start = self.used;
        self.used += Self::bytes::<T>(len);
        assert!(self.used <= self.region.len, "the arena was made for all lists");
        // SAFETY: the range lies in the region (asserted).
        let at = unsafe { self.region.base.add(start) };
        List { at: at.cast(), len, _region: Arc::clone(&self.region) }
    }
}

/// A list of zeros in a region of its own.
pub fn alone<T: Zeroed>(len: usize) -> List<T> {
    Arena::new(Arena::bytes::<T>(len)).list(len)
}

/// A list that lies in a region, which lives as long as its last list.
pub struct List<T> {
    at: NonNull<T>,
    len: usize,
    _region: Arc<Region>,
}

// SAFETY: it owns its range of the region, like a box.
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for List<T> {}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values, zero or written since, in a range that no other list has; the region lives.
        unsafe { core::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and it is borrowed as mutable.
        unsafe { core::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_apart_aligned_zero_and_outlive_the_arena() {
        let mut arena = Arena::new(Arena::bytes::<[u16; 3]>(5) + Arena::bytes::<[f32; 16]>(3 << 16));
        let (mut a, mut b) = (arena.list::<[u16; 3]>(5), arena.list::<[f32; 16]>(3 << 16));
        drop(arena);
        assert!(a.iter().flatten().all(|x| *x == 0) && b.iter().flatten().all(|x| *x == 0.0));
        assert_eq!(b.as_ptr() as usize % ALIGN, 0);
        a.fill([7; 3]);
        b.fill([1.0; 16]);
        assert!(a.iter().flatten().all(|x| *x == 7) && b.iter().flatten().all(|x| *x == 1.0));
    }
}
