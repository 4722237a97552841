//! Millions of timers, in order, at a cost that does not grow with their number.

use alloc::{collections::VecDeque, vec::Vec};

use super::Instant;

/// A timing wheel of four levels of 256 buckets, and a list for what lies beyond.
///
/// What is due in the same microsecond leaves in the order in which it came, so that a replay is a replay.
///
/// Source: G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels" (1987), scheme 7.
#[derive(Clone, Debug)]
pub struct Wheel<T> {
    /// Level l holds what is due in the current turn of 256^(l+1) slots.
    levels: [Vec<Vec<Entry<T>>>; LEVELS],
    far: Vec<Entry<T>>,
    /// The slot that is being emptied, and what is left of it.
    slot: u64,
    ready: VecDeque<Entry<T>>,
    count: u64,
    len: usize,
}

/// Due, number of arrival, what.
type Entry<T> = (u64, u64, T);

const LEVELS: usize = 4;
const BITS: u32 = 8;
/// Microseconds of one slot, as a shift: 1.024 ms. Finer than any network; a slot is sorted when its time comes.
const SLOT: u32 = 10;

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        let level = || (0..1 << BITS).map(|_| Vec::new()).collect();
        Self {
            levels: core::array::from_fn(|_| level()),
            far: Vec::new(),
            slot: 0,
            ready: VecDeque::new(),
            count: 0,
            len: 0,
        }
    }
}

impl<T> Wheel<T> {
    /// Puts `what` in for `due`; at once, if that is past.
    pub fn push(&mut self, due: Instant, what: T) {
        let entry = (due.as_micros(), self.count, what);
        self.count += 1;
        self.len += 1;
        self.place(entry);
    }

    /// Takes out what is due next, if it is due at or before `until`.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, T)> {
        loop {
            if let Some(next) = self.ready.front() {
                if next.0 > until.as_micros() {
                    return None;
                }
                let (due, _, what) = self.ready.pop_front()?;
                self.len -= 1;
                return Some((Instant::from_micros(due), what));
            }
            if self.len == 0 || self.slot >= until.as_micros() >> SLOT {
                return None;
            }
            self.turn();
        }
    }

    /// What leaves next, in order, as far as it is due in the slot at hand.
    pub fn ahead(&self) -> impl Iterator<Item = &T> {
        self.ready.iter().map(|entry| &entry.2)
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&mut self, entry: Entry<T>) {
        let slot = (entry.0 >> SLOT).max(self.slot);
        if slot == self.slot {
            let at = self.ready.partition_point(|other| (other.0, other.1) <= (entry.0, entry.1));
            self.ready.insert(at, entry);
            return;
        }
        // The highest differing byte of the slot number says on which level the two part.
        let level = ((63 - (slot ^ self.slot).leading_zeros()) / BITS) as usize;
        match self.levels.get_mut(level) {
            Some(buckets) => buckets[(slot >> (BITS * level as u32)) as usize & ((1 << BITS) - 1)].push(entry),
            None => self.far.push(entry),
        }
    }

    /// Goes on to the next slot; whenever a level comes round, the bucket above is spread out.
    fn turn(&mut self) {
        self.slot += 1;
        for level in (1..=LEVELS as u32).rev() {
            if self.slot.trailing_zeros() < BITS * level {
                continue;
            }
            let entries = match self.levels.get_mut(level as usize) {
                Some(buckets) => {
                    core::mem::take(&mut buckets[(self.slot >> (BITS * level)) as usize & ((1 << BITS) - 1)])
                }
                None => core::mem::take(&mut self.far),
            };
            entries.into_iter().for_each(|entry| self.place(entry));
        }
        let bucket = &mut self.levels[0][self.slot as usize & ((1 << BITS) - 1)];
        if !bucket.is_empty() {
            // Room stays with the bucket; the next turn needs as much again.
            self.ready.extend(bucket.drain(..));
            self.ready.make_contiguous().sort_unstable_by_key(|entry| (entry.0, entry.1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Rng;

    #[test]
    fn gives_what_a_sorted_list_gives() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let (mut wheel, mut list, mut now) = (Wheel::default(), Vec::new(), 0_u64);
            for n in 0..3000_u64 {
                let reach = 1 << rng.below(45);
                let due = now + rng.next() % reach;
                wheel.push(Instant::from_micros(due), n);
                list.push((due, n));
                if rng.below(3) > 0 {
                    // Long waits are walked slot by slot, so they are kept short here.
                    now += rng.next() % 100_000;
                    list.sort_unstable();
                    while let Some((due, n)) = wheel.pop(Instant::from_micros(now)) {
                        assert_eq!((due.as_micros(), n), list.remove(0), "seed {seed}");
                    }
                    assert!(list.first().is_none_or(|first| first.0 > now), "seed {seed}: one was forgotten");
                    assert_eq!(wheel.len(), list.len());
                }
            }
        }
    }
}
