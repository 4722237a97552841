//! Keys and values that were computed before, found again by the tokens that they belong to.
//!
//! A tree of blocks of [`PAGE`] tokens: a node is a page together with everything before it. Since a token's keys and
//! values have the same bits whoever computes them, a page that is found is as good as one computed now. Texts that take
//! other adapters have other keys and values: blocks of different mixes never meet.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use crate::{backend::PAGE, kv::Pages};

type Block = [u32; PAGE];

/// A block, after the two halves of its mix.
type Key = [u32; PAGE + 2];

fn key(mix: u64, block: &Block) -> Key {
    let mut key = [0; PAGE + 2];
    (key[0], key[1]) = (mix as u32, (mix >> 32) as u32);
    key[2..].copy_from_slice(block);
    key
}

/// A page that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The mix of adapters that it was computed with.
    pub mix: u64,
    /// All tokens from the beginning to its end.
    pub tokens: Vec<u32>,
    /// Which page has the last of them.
    pub page: u32,
}

/// Where a sequence stands in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(usize);

impl Place {
    /// Before the first block.
    pub const ROOT: Self = Self(0);
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Prefixes {
    /// The first is the root; one that was removed waits in `spare`.
    nodes: Vec<Node>,
    spare: Vec<usize>,
    /// Blocks in the tree.
    count: usize,
    clock: u64,
}

#[derive(Clone, Debug)]
struct Node {
    /// The block that leads here, and from where; `None` for the root and for spare ones.
    from: Option<(usize, Box<Key>)>,
    page: u32,
    children: BTreeMap<Box<Key>, usize>,
    used: u64,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self::new()
    }
}

impl Prefixes {
    /// With nothing in it.
    pub fn new() -> Self {
        let root = Node { from: None, page: 0, children: BTreeMap::new(), used: 0 };
        Self { nodes: alloc::vec![root], spare: Vec::new(), count: 0, clock: 0 }
    }

    /// Blocks that are remembered.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The pages of the longest known beginning of `tokens`, each held once more, and where that ends.
    pub fn find(&mut self, mix: u64, tokens: &[u32], pages: &mut Pages) -> (Vec<u32>, Place) {
        self.clock += 1;
        let (mut at, mut found) = (0, Vec::new());
        for block in tokens.as_chunks::<PAGE>().0 {
            let Some(&next) = self.nodes[at].children.get(&key(mix, block)) else { break };
            at = next;
            self.nodes[at].used = self.clock;
            pages.share(self.nodes[at].page);
            found.push(self.nodes[at].page);
        }
        (found, Place(at))
    }

    /// Remembers `page` for `block` of a text with this mix after `place`; answers where that is. Where the block is known already, its page
    /// takes the place of this one in `page`, so that equal beginnings are held once.
    pub fn put(&mut self, place: Place, mix: u64, block: &Block, page: &mut u32, pages: &mut Pages) -> Place {
        let key = key(mix, block);
        self.clock += 1;
        let clock = self.clock;
        if let Some(&known) = self.nodes[place.0].children.get(&key) {
            self.nodes[known].used = clock;
            let other = self.nodes[known].page;
            if other != *page {
                pages.share(other);
                pages.give_back(*page);
                *page = other;
            }
            return Place(known);
        }
        pages.share(*page);
        let from = Some((place.0, Box::new(key)));
        let node = Node { from, page: *page, children: BTreeMap::new(), used: clock };
        let at = match self.spare.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[place.0].children.insert(Box::new(key), at);
        self.count += 1;
        Place(at)
    }

    /// Forgets the block that was not used for the longest time, of those that nothing follows and nobody stands on;
    /// answers whether there was one.
    pub fn forget(&mut self, standing: impl Fn(Place) -> bool, pages: &mut Pages) -> bool {
        let oldest = self.oldest(standing);
        if let Some(at) = oldest {
            self.remove(at, pages);
        }
        oldest.is_some()
    }

    /// As [`Self::forget`], telling `on` of the page before it goes.
    pub fn part(
        &mut self,
        standing: impl Fn(Place) -> bool,
        pages: &mut Pages,
        on: &mut dyn FnMut(Remembered),
    ) -> bool {
        let oldest = self.oldest(standing);
        if let Some(at) = oldest {
            on(self.remembered(at));
            self.remove(at, pages);
        }
        oldest.is_some()
    }

    /// All that is remembered, what was used last first.
    pub fn all(&self) -> impl Iterator<Item = Remembered> {
        let mut all: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].from.is_some()).collect();
        all.sort_by_key(|at| core::cmp::Reverse(self.nodes[*at].used));
        all.into_iter().map(|at| self.remembered(at))
    }

    /// The block that was not used for the longest time, of those that nothing follows and nobody stands on.
    fn oldest(&self, standing: impl Fn(Place) -> bool) -> Option<usize> {
        let leaf =
            |(at, node): &(usize, &Node)| node.from.is_some() && node.children.is_empty() && !standing(Place(*at));
        let oldest = self.nodes.iter().enumerate().filter(leaf).min_by_key(|(at, node)| (node.used, *at));
        oldest.map(|(at, _)| at)
    }

    fn remove(&mut self, at: usize, pages: &mut Pages) {
        let Some((parent, key)) = self.nodes[at].from.take() else { return };
        self.nodes[parent].children.remove(&key);
        pages.give_back(self.nodes[at].page);
        self.spare.push(at);
        self.count -= 1;
    }

    fn remembered(&self, at: usize) -> Remembered {
        let (mut blocks, mut mix, mut here) = (Vec::new(), 0, at);
        while let Some((parent, key)) = &self.nodes[here].from {
            mix = u64::from(key[0]) | u64::from(key[1]) << 32;
            blocks.push(&key[2..]);
            here = *parent;
        }
        let tokens = blocks.into_iter().rev().flatten().copied().collect();
        Remembered { mix, tokens, page: self.nodes[at].page }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: usize, from: u32) -> Vec<u32> {
        (0..count as u32).map(|i| i + from).collect()
    }

    #[test]
    fn what_was_put_is_found_as_far_as_it_goes() {
        let (mut pages, mut tree) = (Pages::new(8), Prefixes::new());
        let text = tokens(3 * PAGE + 5, 0);
        let mut place = Place::ROOT;
        let mut own: Vec<u32> = (0..3).map(|_| pages.take().unwrap()).collect();
        for (block, page) in text.as_chunks::<PAGE>().0.iter().zip(&mut own) {
            place = tree.put(place, 0, block, page, &mut pages);
        }
        let mut other = text[..2 * PAGE].to_vec();
        other.extend(tokens(PAGE, 900));
        let (found, at) = tree.find(0, &other, &mut pages);
        assert_eq!(found, own[..2]);
        assert_ne!(at, place);
        assert_eq!(tree.find(0, &text, &mut pages), (own, place));
    }

    #[test]
    fn equal_blocks_are_held_once() {
        let (mut pages, mut tree) = (Pages::new(2), Prefixes::new());
        let block: Block = core::array::from_fn(|i| i as u32);
        let (mut a, mut b) = (pages.take().unwrap(), pages.take().unwrap());
        let place = tree.put(Place::ROOT, 0, &block, &mut a, &mut pages);
        assert_eq!(tree.put(Place::ROOT, 0, &block, &mut b, &mut pages), place);
        assert_eq!((a, b, pages.free(), tree.len()), (0, 0, 1, 1));
    }

    #[test]
    fn the_oldest_end_is_forgotten_first_and_not_under_anybody() {
        let (mut pages, mut tree) = (Pages::new(3), Prefixes::new());
        let blocks: [Block; 3] = core::array::from_fn(|n| [n as u32; PAGE]);
        let mut places = Vec::new();
        for block in &blocks {
            let mut page = pages.take().unwrap();
            places.push(tree.put(Place::ROOT, 0, block, &mut page, &mut pages));
            pages.give_back(page);
        }
        tree.find(0, &blocks[0], &mut pages);
        pages.give_back(0);
        let stands = |place| place == places[1];
        assert!(tree.forget(stands, &mut pages));
        assert!(tree.find(0, &blocks[2], &mut pages).0.is_empty());
        assert!(tree.forget(stands, &mut pages) && !tree.forget(stands, &mut pages));
        assert_eq!((tree.len(), pages.free()), (1, 2));
    }

    #[test]
    fn mixes_never_meet_and_what_goes_is_told_before() {
        let (mut pages, mut tree) = (Pages::new(4), Prefixes::new());
        let text = tokens(2 * PAGE, 0);
        let other = u64::MAX - 6;
        for mix in [0, other] {
            let mut place = Place::ROOT;
            for block in text.as_chunks::<PAGE>().0 {
                let mut page = pages.take().unwrap();
                place = tree.put(place, mix, block, &mut page, &mut pages);
                pages.give_back(page);
            }
        }
        assert_eq!((tree.len(), pages.free()), (4, 0));
        assert!(tree.find(1, &text, &mut pages).0.is_empty());
        let all: Vec<_> = tree.all().map(|it| (it.mix, it.tokens.len(), it.page)).collect();
        assert_eq!(all, [(other, 2 * PAGE, 3), (other, PAGE, 2), (0, 2 * PAGE, 1), (0, PAGE, 0)]);
        let mut told = Vec::new();
        while tree.part(|_| false, &mut pages, &mut |it| told.push(it)) {}
        assert_eq!(told[0], Remembered { mix: 0, tokens: text.clone(), page: 1 });
        assert_eq!((told.len(), pages.free()), (4, 4));
    }
}
