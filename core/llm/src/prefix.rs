//! Keys and values that were computed before, found again by the tokens that they belong to.
//!
//! A tree of blocks of [`PAGE`] tokens: a node is a page together with everything before it. Since a token's keys and
//! values have the same bits whoever computes them, a page that is found is as good as one computed now.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use crate::{backend::PAGE, kv::Pages};

type Block = [u32; PAGE];

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
    from: Option<(usize, Box<Block>)>,
    page: u32,
    children: BTreeMap<Box<Block>, usize>,
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
    pub fn find(&mut self, tokens: &[u32], pages: &mut Pages) -> (Vec<u32>, Place) {
        self.clock += 1;
        let (mut at, mut found) = (0, Vec::new());
        for block in tokens.as_chunks::<PAGE>().0 {
            let Some(&next) = self.nodes[at].children.get(block) else { break };
            at = next;
            self.nodes[at].used = self.clock;
            pages.share(self.nodes[at].page);
            found.push(self.nodes[at].page);
        }
        (found, Place(at))
    }

    /// Remembers `page` for `block` after `place`; answers where that is. Where the block is known already, its page
    /// takes the place of this one in `page`, so that equal beginnings are held once.
    pub fn put(&mut self, place: Place, block: &Block, page: &mut u32, pages: &mut Pages) -> Place {
        self.clock += 1;
        let clock = self.clock;
        if let Some(&known) = self.nodes[place.0].children.get(block) {
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
        let from = Some((place.0, Box::new(*block)));
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
        self.nodes[place.0].children.insert(Box::new(*block), at);
        self.count += 1;
        Place(at)
    }

    /// Forgets the block that was not used for the longest time, of those that nothing follows and nobody stands on;
    /// answers whether there was one.
    pub fn forget(&mut self, standing: impl Fn(Place) -> bool, pages: &mut Pages) -> bool {
        let leaf =
            |(at, node): &(usize, &Node)| node.from.is_some() && node.children.is_empty() && !standing(Place(*at));
        let oldest = self.nodes.iter().enumerate().filter(leaf).min_by_key(|(at, node)| (node.used, *at));
        let Some(at) = oldest.map(|(at, _)| at) else { return false };
        let Some((parent, block)) = self.nodes[at].from.take() else { return false };
        self.nodes[parent].children.remove(&block);
        pages.give_back(self.nodes[at].page);
        self.spare.push(at);
        self.count -= 1;
        true
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
            place = tree.put(place, block, page, &mut pages);
        }
        let mut other = text[..2 * PAGE].to_vec();
        other.extend(tokens(PAGE, 900));
        let (found, at) = tree.find(&other, &mut pages);
        assert_eq!(found, own[..2]);
        assert_ne!(at, place);
        assert_eq!(tree.find(&text, &mut pages), (own, place));
    }

    #[test]
    fn equal_blocks_are_held_once() {
        let (mut pages, mut tree) = (Pages::new(2), Prefixes::new());
        let block: Block = core::array::from_fn(|i| i as u32);
        let (mut a, mut b) = (pages.take().unwrap(), pages.take().unwrap());
        let place = tree.put(Place::ROOT, &block, &mut a, &mut pages);
        assert_eq!(tree.put(Place::ROOT, &block, &mut b, &mut pages), place);
        assert_eq!((a, b, pages.free(), tree.len()), (0, 0, 1, 1));
    }

    #[test]
    fn the_oldest_end_is_forgotten_first_and_not_under_anybody() {
        let (mut pages, mut tree) = (Pages::new(3), Prefixes::new());
        let blocks: [Block; 3] = core::array::from_fn(|n| [n as u32; PAGE]);
        let mut places = Vec::new();
        for block in &blocks {
            let mut page = pages.take().unwrap();
            places.push(tree.put(Place::ROOT, block, &mut page, &mut pages));
            pages.give_back(page);
        }
        tree.find(&blocks[0], &mut pages);
        pages.give_back(0);
        let stands = |place| place == places[1];
        assert!(tree.forget(stands, &mut pages));
        assert!(tree.find(&blocks[2], &mut pages).0.is_empty());
        assert!(tree.forget(stands, &mut pages) && !tree.forget(stands, &mut pages));
        assert_eq!((tree.len(), pages.free()), (1, 2));
    }
}
