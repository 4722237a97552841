//! What comes first, and among equals what came first.

use alloc::collections::BinaryHeap;
use core::cmp::{Ordering, Reverse};

/// A queue by priority, lowest key first; equal keys leave in the order in which they came.
#[derive(Clone, Debug)]
pub struct Heap<K: Ord, V> {
    items: BinaryHeap<Reverse<Item<K, V>>>,
    count: u64,
}

#[derive(Clone, Debug)]
struct Item<K, V> {
    key: K,
    number: u64,
    value: V,
}

impl<K: Ord, V> Heap<K, V> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { items: BinaryHeap::new(), count: 0 }
    }

    /// Puts `value` in behind everything whose key is not greater.
    pub fn push(&mut self, key: K, value: V) {
        self.items.push(Reverse(Item { key, number: self.count, value }));
        self.count += 1;
    }

    /// The lowest key.
    pub fn first(&self) -> Option<&K> {
        self.items.peek().map(|item| &item.0.key)
    }

    /// What comes first, with its key.
    pub fn peek(&self) -> Option<(&K, &V)> {
        self.items.peek().map(|item| (&item.0.key, &item.0.value))
    }

    /// Takes out what comes first.
    pub fn pop(&mut self) -> Option<(K, V)> {
        self.items.pop().map(|item| (item.0.key, item.0.value))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<K: Ord, V> Default for Heap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Heap<K, V> {
    /// The same calls give equal heaps; heaps with another history may differ though they hold the same.
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.items.iter().zip(&other.items);
        self.count == other.count
            && self.items.len() == other.items.len()
            && pairs.all(|(a, b)| a == b && a.0.value == b.0.value)
    }
}

impl<K: Ord, V> PartialEq for Item<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord, V> Eq for Item<K, V> {}

impl<K: Ord, V> PartialOrd for Item<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V> Ord for Item<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then(self.number.cmp(&other.number))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn equals_leave_in_the_order_in_which_they_came() {
        let mut heap = Heap::new();
        for (key, value) in [(2, 'a'), (1, 'b'), (2, 'c'), (1, 'd'), (2, 'e')] {
            heap.push(key, value);
        }
        assert_eq!((heap.first(), heap.len()), (Some(&1), 5));
        let out: Vec<char> = core::iter::from_fn(|| heap.pop()).map(|pair| pair.1).collect();
        assert_eq!(out, ['b', 'd', 'a', 'c', 'e']);
        assert!(heap.is_empty());
    }
}
