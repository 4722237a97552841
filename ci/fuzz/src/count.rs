//! An allocator that counts what is asked of it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which adds up each thread's requests. Nothing is taken off when memory is freed:
/// what counts is the work that a file can cause, not only the peak.
pub struct Counting;

/// Bytes that this thread has asked for since it began; 0 for ever where [`Counting`] is not the allocator.
pub fn bytes() -> u64 {
    BYTES.with(Cell::get)
}

fn add(bytes: usize) {
    // A thread that is ending has no counter any more, and is not one that counts.
    let _ = BYTES.try_with(|count| count.set(count.get() + bytes as u64));
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; the counter
// is a thread-local number without a destructor, so counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size.saturating_sub(layout.size()));
        // SAFETY: `old` came from this allocator, which is the system's, with this layout.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: `old` came from this allocator, which is the system's, with this layout.
        unsafe { System.dealloc(old, layout) }
    }
}
