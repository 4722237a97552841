//! Four bounded queues, one for each class, served so that each gets its share and nobody waits for ever.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::kit::{
    Class, Instant,
    fault::{Fault, on},
};

/// How places are shared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Entries of each class that wait at most, the most urgent class first.
    pub limits: [u32; 4],
    /// Tokens that each class may take in a round, at least 1.
    pub quanta: [u32; 4],
    /// After so long an entry moves up a class.
    pub age: Duration,
}

impl Default for Config {
    /// Where all classes wait, eight parts of fifteen go to the most urgent. Ageing by a class a minute is the predecessor's.
    fn default() -> Self {
        Self { limits: [64, 128, 256, 256], quanta: [4096, 2048, 1024, 512], age: Duration::from_secs(60) }
    }
}

/// Deficit round robin over classes; first come, first served in each.
///
/// Each round gives every class that waits its quantum; it may spend what it has saved, and loses what is left when it is
/// empty. So an entry with `ahead` tokens before it in its class is served after at most ⌈(ahead + cost)/quantum⌉ rounds, and
/// each of those takes at most the sum of all quanta and the dearest entry of each class.
///
/// Source: M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin" (SIGCOMM 1995).
#[derive(Clone, Debug, PartialEq)]
pub struct Queue<T> {
    config: Config,
    lanes: [Lane<T>; 4],
    /// Whose turn it is.
    turn: usize,
    /// Whether it has had its quantum in this turn.
    paid: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Lane<T> {
    waiting: VecDeque<Entry<T>>,
    deficit: u64,
    /// Tokens of all that waits.
    cost: u64,
}

/// What an entry costs at most: a million tokens, as the longest contexts have. Whoever claims more would make the rounds
/// long.
pub const COST_MAX: u32 = 1 << 20;

/// Something that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<T> {
    /// Tokens that it will take.
    pub cost: u32,
    /// Since when it waits in this class.
    pub since: Instant,
    /// The class in which it came.
    pub class: Class,
    /// What.
    pub item: T,
}

impl<T> Queue<T> {
    /// An empty one.
    pub fn new(config: Config) -> Self {
        let lane = || Lane { waiting: VecDeque::new(), deficit: 0, cost: 0 };
        Self { config, lanes: [lane(), lane(), lane(), lane()], turn: 0, paid: false }
    }

    /// Puts an entry in at the end of its class; gives it back when the class is full. Costs are held between 1 and
    /// [`COST_MAX`].
    pub fn push(&mut self, mut entry: Entry<T>) -> Result<(), Entry<T>> {
        entry.cost = entry.cost.clamp(1, COST_MAX);
        let at = entry.class.index();
        if self.lanes[at].waiting.len() >= self.config.limits[at] as usize {
            return Err(entry);
        }
        self.lanes[at].put(entry);
        Ok(())
    }

    /// Puts back what had left already, before all others of its class, even if that is full.
    pub fn push_front(&mut self, entry: Entry<T>) {
        let lane = &mut self.lanes[entry.class.index()];
        lane.cost += u64::from(entry.cost);
        lane.deficit += u64::from(entry.cost);
        lane.waiting.push_front(entry);
    }

    /// Takes out what is next.
    pub fn pop(&mut self, now: Instant) -> Option<Entry<T>> {
        self.age(now);
        if self.is_empty() {
            return None;
        }
        loop {
            let quantum = u64::from(self.config.quanta[self.turn].max(1));
            let lane = &mut self.lanes[self.turn];
            if let Some(first) = lane.waiting.front() {
                if !self.paid {
                    lane.deficit += quantum;
                    self.paid = true;
                }
                if u64::from(first.cost) <= lane.deficit {
                    return lane.take();
                }
            } else {
                lane.deficit = 0;
            }
            self.turn = (self.turn + 1) % 4;
            self.paid = false;
        }
    }

    /// Takes out the first of `class`, whoever's turn it is; it goes off what the class has saved.
    pub fn pop_from(&mut self, class: Class) -> Option<Entry<T>> {
        let lane = &mut self.lanes[class.index()];
        let entry = lane.take_free()?;
        lane.deficit = lane.deficit.saturating_sub(u64::from(entry.cost));
        Some(entry)
    }

    /// Takes out the first entry for which `is` holds.
    pub fn remove(&mut self, mut is: impl FnMut(&T) -> bool) -> Option<Entry<T>> {
        self.lanes.iter_mut().find_map(|lane| {
            let at = lane.waiting.iter().position(|entry| is(&entry.item))?;
            let entry = lane.waiting.remove(at)?;
            lane.cost -= u64::from(entry.cost);
            Some(entry)
        })
    }

    /// Takes out the last entry for which `is` holds, of the least urgent class that has one.
    pub fn remove_last(&mut self, mut is: impl FnMut(&T) -> bool) -> Option<Entry<T>> {
        self.lanes.iter_mut().rev().find_map(|lane| {
            let at = lane.waiting.iter().rposition(|entry| is(&entry.item))?;
            let entry = lane.waiting.remove(at)?;
            lane.cost -= u64::from(entry.cost);
            Some(entry)
        })
    }

    /// Tokens that are served before a new entry of `class`, if nothing more urgent comes: all of its class, and of each
    /// other what its share allows meanwhile.
    pub fn ahead(&self, class: Class) -> u64 {
        let own = &self.lanes[class.index()];
        let quantum = |at: usize| u64::from(self.config.quanta[at].max(1));
        let rounds = own.cost / quantum(class.index()) + 1;
        let others = Class::ALL
            .iter()
            .filter(|other| **other != class)
            .map(|other| self.lanes[other.index()].cost.min(rounds.saturating_mul(quantum(other.index()))));
        own.cost + others.sum::<u64>()
    }

    /// Tokens that are served at most before the first of `class`, once that is called next in its class: a turn of each other.
    pub fn round(&self, class: Class) -> u64 {
        let others = Class::ALL.iter().filter(|other| **other != class).map(|other| other.index());
        others.map(|at| self.lanes[at].cost.min(self.config.quanta[at].max(1).into())).sum()
    }

    /// How full the class is, in parts of a million.
    pub fn fullness(&self, class: Class) -> u32 {
        let at = class.index();
        (self.lanes[at].waiting.len() as u64 * 1_000_000 / u64::from(self.config.limits[at].max(1))) as u32
    }

    /// Whether `is` holds for something that waits.
    pub fn any(&self, mut is: impl FnMut(&T) -> bool) -> bool {
        self.lanes.iter().any(|lane| lane.waiting.iter().any(|entry| is(&entry.item)))
    }

    /// Looks at all that waits in `class` now.
    pub fn each(&self, class: Class, look: impl FnMut(&T)) {
        self.lanes[class.index()].waiting.iter().map(|entry| &entry.item).for_each(look);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.waiting.is_empty())
    }

    /// Whether something waits that may interrupt a task of `class`.
    pub fn presses(&self, class: Class) -> Option<Class> {
        Class::ALL.into_iter().find(|c| c.interrupts(class) && !self.lanes[c.index()].waiting.is_empty())
    }

    /// Moves up who has waited too long. In each class the first has waited longest.
    fn age(&mut self, now: Instant) {
        for at in 1..4 {
            while self.lanes[at].waiting.front().is_some_and(|first| now.since(first.since) >= self.config.age)
                && !on(Fault::NobodyAges)
            {
                let Some(mut entry) = self.lanes[at].take_free() else { break };
                entry.since = now;
                self.lanes[at - 1].put(entry);
            }
        }
    }
}

impl<T> Lane<T> {
    fn put(&mut self, entry: Entry<T>) {
        self.cost += u64::from(entry.cost);
        self.waiting.push_back(entry);
    }

    fn take(&mut self) -> Option<Entry<T>> {
        let entry = self.take_free()?;
        self.deficit -= u64::from(entry.cost);
        Some(entry)
    }

    fn take_free(&mut self) -> Option<Entry<T>> {
        let entry = self.waiting.pop_front()?;
        self.cost -= u64::from(entry.cost);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::kit::Rng;

    const CONFIG: Config = Config { limits: [3, 3, 3, 3], quanta: [40, 20, 10, 10], age: Duration::from_secs(60) };

    fn entry(class: Class, cost: u32, item: u32) -> Entry<u32> {
        Entry { cost, since: Instant::default(), class, item }
    }

    #[test]
    fn a_class_is_first_come_first_served_and_full_when_it_is_full() {
        let mut queue = Queue::new(CONFIG);
        for n in 0..3 {
            assert_eq!(queue.push(entry(Class::Batch, 5, n)), Ok(()));
        }
        assert!(queue.push(entry(Class::Batch, 5, 3)).is_err());
        assert_eq!(queue.push(entry(Class::Spot, 5, 4)), Ok(()), "another class has room");
        let order: Vec<u32> = core::iter::from_fn(|| queue.pop(Instant::default())).map(|e| e.item).collect();
        assert_eq!(order, [0, 1, 4, 2]);
    }

    #[test]
    fn each_class_gets_its_share_while_all_wait() {
        let mut queue = Queue::new(Config { limits: [u32::MAX; 4], ..CONFIG });
        for n in 0..8000 {
            queue.push(entry(Class::ALL[n % 4], 1 + n as u32 % 7, 0)).unwrap();
        }
        let mut tokens = [0_u64; 4];
        while tokens.iter().sum::<u64>() < 8_000 {
            let entry = queue.pop(Instant::default()).unwrap();
            tokens[entry.class.index()] += u64::from(entry.cost);
        }
        for (tokens, share) in tokens.into_iter().zip([4_000_u64, 2_000, 1_000, 1_000]) {
            assert!(tokens.abs_diff(share) < 60, "{tokens} of {share}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_bound() {
        for seed in 0..100 {
            let (mut rng, mut served) = (Rng::new(seed), 0_u64);
            let mut queue = Queue::new(Config { limits: [40; 4], ..CONFIG });
            let dearest = 30_u64;
            for n in 0..2_000 {
                // The urgent ones press without a pause.
                let class = if rng.below(3) > 0 { Class::Realtime } else { Class::ALL[rng.below(4) as usize] };
                let cost = 1 + rng.below(dearest as u32);
                let at = class.index();
                let (ahead, quantum) = (queue.lanes[at].cost, u64::from(CONFIG.quanta[at]));
                let rounds = (ahead + u64::from(cost)).div_ceil(quantum) + 1;
                let bound = served + rounds * (80 + 4 * dearest);
                let _ = queue.push(Entry { item: bound, ..Entry { cost, since: Instant::default(), class, item: n } });
                if rng.below(4) > 0 {
                    let Some(entry) = queue.pop(Instant::default()) else { continue };
                    served += u64::from(entry.cost);
                    assert!(served <= entry.item, "seed {seed}: served at {served}, bound {}", entry.item);
                }
            }
        }
    }

    #[test]
    fn whoever_waits_moves_up_a_class_a_minute() {
        let mut queue = Queue::new(CONFIG);
        queue.push(entry(Class::Spot, 5, 1)).unwrap();
        queue.age(Instant::from_millis(59_999));
        assert_eq!(queue.lanes[3].waiting.len(), 1);
        for (minute, lane) in [(1, 2), (2, 1), (3, 0), (4, 0)] {
            queue.age(Instant::from_millis(minute * 60_000));
            assert_eq!(queue.lanes[lane].waiting.len(), 1, "minute {minute}");
        }
        assert_eq!(queue.pop(Instant::from_millis(300_000)).unwrap().class, Class::Spot);
    }

    #[test]
    fn costs_add_up() {
        let (mut rng, mut queue) = (Rng::new(3), Queue::new(CONFIG));
        for n in 0..5_000 {
            let now = Instant::from_millis(n * 5_000);
            let class = Class::ALL[rng.below(4) as usize];
            let entry = Entry { cost: rng.below(50), since: now, class, item: n as u32 };
            match rng.below(6) {
                0..3 => drop(queue.push(entry)),
                3 => drop(queue.pop(now)),
                4 => drop(queue.remove(|item| item % 3 == 0)),
                _ => drop(queue.remove_last(|item| item % 2 == 0)),
            }
            for lane in &queue.lanes {
                assert_eq!(lane.cost, lane.waiting.iter().map(|entry| u64::from(entry.cost)).sum::<u64>());
            }
        }
    }
}
