//! A heap in one array: free blocks of powers of two, one list a size.
//!
//! What is given back is used again for the same size, so that a node that runs for ever does not run out. One core, no
//! interrupts that allocate: nothing is locked.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr,
};

/// Bytes of all memory: more than two small nodes use.
const SIZE: usize = 2 << 20;
/// The smallest block, as a power of two; it must hold the link of a free one.
const SMALLEST: u32 = 4;
/// Sizes of blocks.
const SIZES: usize = 18;

#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; SIZE]>);

struct Lists {
    /// Where what was never used begins.
    fresh: usize,
    free: [*mut u8; SIZES],
}

struct Heap {
    arena: Arena,
    lists: UnsafeCell<Lists>,
}

// SAFETY: one core runs one thread, and nothing that interrupts it allocates.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    arena: Arena(UnsafeCell::new([0; SIZE])),
    lists: UnsafeCell::new(Lists { fresh: 0, free: [ptr::null_mut(); SIZES] }),
};

/// Which list blocks for `layout` are in. A block is aligned to its size, up to the arena's own 4,096.
fn class(layout: &Layout) -> usize {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST).next_power_of_two();
    (size.trailing_zeros() - SMALLEST) as usize
}

// SAFETY: a block is handed out once, is as large and as aligned as asked, and lies in the arena.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class(&layout);
        if class >= SIZES || layout.align() > 4096 {
            return ptr::null_mut();
        }
        // SAFETY: nobody else is here, see `Sync`.
        let lists = unsafe { &mut *self.lists.get() };
        let block = lists.free[class];
        if !block.is_null() {
            // SAFETY: a free block begins with the address of the next.
            lists.free[class] = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        let size = 1_usize << (class as u32 + SMALLEST);
        let at = lists.fresh.next_multiple_of(size.min(4096));
        if at + size > SIZE {
            return ptr::null_mut();
        }
        lists.fresh = at + size;
        // SAFETY: `at + size` is within the arena.
        unsafe { self.arena.0.get().cast::<u8>().add(at) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let class = class(&layout);
        // SAFETY: nobody else is here, see `Sync`.
        let lists = unsafe { &mut *self.lists.get() };
        // SAFETY: the block is ours again, and large enough for an address.
        unsafe { block.cast::<*mut u8>().write(lists.free[class]) };
        lists.free[class] = block;
    }
}
