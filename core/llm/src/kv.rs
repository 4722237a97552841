//! Who has which pages of a cache.
//!
//! Pages are counted, not kept: a backend holds the memory, this room holds the numbers. A page that several sequences
//! share is written by none of them.

use alloc::vec::Vec;

/// The pages of a backend.
#[derive(Clone, Debug)]
pub struct Pages {
    /// How many hold each page.
    uses: Vec<u32>,
    free: Vec<u32>,
}

impl Pages {
    /// All pages of a backend that has `count`, free.
    pub fn new(count: usize) -> Self {
        // The first ones are given first: memory that was never touched stays untouched.
        Self { uses: alloc::vec![0; count], free: (0..count as u32).rev().collect() }
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// A free page, now held once; `None` where none is free.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.uses[page as usize] = 1;
        Some(page)
    }

    /// Holds a page once more.
    ///
    /// # Panics
    /// If nobody holds it.
    pub fn share(&mut self, page: u32) {
        let uses = &mut self.uses[page as usize];
        assert!(*uses > 0, "a page is shared by whoever holds it");
        *uses += 1;
    }

    /// Holds a page once less; with the last it becomes free.
    ///
    /// # Panics
    /// If nobody holds it.
    pub fn give_back(&mut self, page: u32) {
        let uses = &mut self.uses[page as usize];
        assert!(*uses > 0, "a page is given back by whoever holds it");
        *uses -= 1;
        if *uses == 0 {
            self.free.push(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_free_when_the_last_gives_it_back() {
        let mut pages = Pages::new(2);
        let (a, b) = (pages.take().unwrap(), pages.take().unwrap());
        assert_eq!((a, b, pages.take()), (0, 1, None));
        pages.share(a);
        pages.give_back(a);
        assert_eq!(pages.free(), 0);
        pages.give_back(a);
        assert_eq!((pages.free(), pages.take()), (1, Some(a)));
    }
}
