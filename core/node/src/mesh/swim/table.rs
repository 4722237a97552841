//! Everybody that this node knows.
//!
//! Open addressing, and home slots ascend with ids: a table is a hash table and a list in order at once, so that the
//! members between two ids lie side by side for comparing tables with somebody else. 24 bytes a slot; the records
//! themselves are shared.

use alloc::{sync::Arc, vec::Vec};
use core::net::IpAddr;

use super::{heard::Heard, record::Record};
use crate::kit::{Fault, NodeId, Rng, fault, rng::mix};

/// What this node thinks of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It answers, as far as is known.
    Alive = 0,
    /// It did not answer somebody.
    Suspect = 1,
    /// It did not answer for long. It is remembered, so that old news cannot bring it back.
    Dead = 2,
    /// It said farewell.
    Left = 3,
}

/// One member.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    record: Option<Arc<Record>>,
    /// The packets of it that were here.
    pub heard: Heard,
    /// The higher half of its short id: most strangers are seen without looking at the record.
    tag: u32,
    /// State in the upper two bits; then, whether it is proved; below, second in which it came into this state.
    mark: u32,
}

impl Slot {
    pub fn record(&self) -> &Arc<Record> {
        self.record.as_ref().expect("only slots with a record are handed out")
    }

    pub fn state(&self) -> State {
        match self.mark >> 30 {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Dead,
            _ => State::Left,
        }
    }

    /// Alive, or only suspected.
    pub fn lives(&self) -> bool {
        self.mark >> 31 == 0
    }

    /// Whether this node itself asked it, where it says to be, and it answered. That somebody says so proves nothing.
    pub fn is_proved(&self) -> bool {
        self.mark & PROVED != 0
    }

    /// In which second of this node it came into its state.
    pub fn since(&self) -> u32 {
        self.mark & SECONDS
    }
}

/// The part of a living member in a digest.
pub(super) fn hash(record: &Record) -> u32 {
    let incarnation = if fault::on(Fault::DigestsWithoutIncarnations) { 0 } else { record.incarnation };
    mix(record.id.short() ^ incarnation.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as u32
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    slots: Vec<Slot>,
    len: usize,
    lives: usize,
    suspects: usize,
    dead: usize,
    /// Of those that live, the unproved.
    unproved: usize,
    /// Proved members that live, by two hashes of their host, each of them in a half of its own; counts stop at 255. A host
    /// that shares one counter with another hardly ever shares both. Source: G. Cormode, S. Muthukrishnan, "An Improved Data
    /// Stream Summary: The Count-Min Sketch and its Applications" (2005).
    hosts: Vec<u8>,
    /// Of members that live, bucket by bucket of short ids.
    digest: Vec<u32>,
}

const EMPTY: Slot = Slot { record: None, heard: Heard::NOTHING, tag: 0, mark: 0 };
const SLOTS_MIN: usize = 16;

impl Table {
    /// With room for `count` members.
    pub fn new(count: usize) -> Self {
        let mut table = Self {
            slots: Vec::new(),
            len: 0,
            lives: 0,
            suspects: 0,
            dead: 0,
            unproved: 0,
            hosts: Vec::new(),
            digest: Vec::new(),
        };
        table.resize((count * 5 / 4 + 1).max(SLOTS_MIN));
        table
    }

    /// Members, the living and the dead.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Members that are alive or suspected.
    pub fn lives(&self) -> usize {
        self.lives
    }

    /// Members that are suspected.
    pub fn suspects(&self) -> usize {
        self.suspects
    }

    /// Members that are dead; not those who left.
    pub fn dead(&self) -> usize {
        self.dead
    }

    /// Members that live and that this node never had an answer from.
    pub fn unproved(&self) -> usize {
        self.unproved
    }

    /// Where `short` is.
    pub fn find(&self, short: u64) -> Option<usize> {
        let (mut at, tag) = (self.home(short), (short >> 32) as u32);
        loop {
            let slot = &self.slots[at];
            let record = slot.record.as_ref()?;
            if slot.tag == tag && record.id.short() == short {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    /// Where `id` is, if it is `id` and not another with the same short id.
    pub fn find_id(&self, id: &NodeId) -> Option<usize> {
        self.find(id.short()).filter(|at| self.slots[*at].record().id == *id)
    }

    pub fn get(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    /// The member at a slot that may be empty.
    pub fn occupant(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at).filter(|slot| slot.record.is_some())
    }

    /// What was heard of the member at `at`, to be noted in.
    pub fn heard(&mut self, at: usize) -> &mut Heard {
        &mut self.slots[at].heard
    }

    /// Takes in somebody new, alive or left, of whom nothing is proved.
    pub fn insert(&mut self, record: Arc<Record>, second: u32) {
        self.put(record, second, 0);
    }

    /// Takes in somebody who is known for long.
    pub fn insert_proved(&mut self, record: Arc<Record>, second: u32) {
        self.put(record, second, PROVED);
    }

    fn put(&mut self, record: Arc<Record>, second: u32, proved: u32) {
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            self.resize(self.slots.len() * 3 / 2);
        }
        let state = if record.left { State::Left } else { State::Alive };
        let tag = (record.id.short() >> 32) as u32;
        let slot = Slot { record: Some(record), heard: Heard::NOTHING, tag, mark: mark(state, second) | proved };
        self.place(slot);
    }

    /// Puts a newer record in the place of the old one: it lives again, or left. Somewhere else, it is to be proved again.
    pub fn replace(&mut self, at: usize, record: Arc<Record>, second: u32) {
        self.count(at, false);
        let left = record.left && !fault::on(Fault::LeftTakenForAlive);
        let state = if left { State::Left } else { State::Alive };
        let slot = &mut self.slots[at];
        let moved = place_of(&record) != place_of(slot.record());
        slot.mark = mark(state, second) | if moved { 0 } else { slot.mark & PROVED };
        slot.record = Some(record);
        self.count(at, true);
    }

    /// The member at `at` answered from where it says to be.
    pub fn prove(&mut self, at: usize) {
        self.count(at, false);
        self.slots[at].mark |= PROVED;
        self.count(at, true);
    }

    /// Puts an equal record in the place of the old one, so that many tables can share it.
    pub fn share(&mut self, record: &Arc<Record>) {
        if let Some(at) = self.find(record.id.short())
            && self.slots[at].record() == record
        {
            self.slots[at].record = Some(record.clone());
        }
    }

    pub fn set(&mut self, at: usize, state: State, second: u32) {
        self.count(at, false);
        self.slots[at].mark = mark(state, second) | self.slots[at].mark & PROVED;
        self.count(at, true);
    }

    /// Forgets the member at `at`. Whoever stood behind it because its place was taken moves up.
    pub fn remove(&mut self, at: usize) {
        self.count(at, false);
        self.len -= 1;
        let (mut hole, mut next) = (at, self.after(at));
        while self.slots[next].record.is_some() {
            let home = self.home(self.slots[next].record().id.short());
            // Whether its home lies cyclically at or before the hole.
            let size = self.slots.len();
            if (next + size - home) % size >= (next + size - hole) % size {
                self.slots.swap(hole, next);
                hole = next;
            }
            next = self.after(next);
        }
        self.slots[hole] = EMPTY;
    }

    /// Slots, empty ones too.
    pub fn size(&self) -> usize {
        self.slots.len()
    }

    /// The slot behind `at`, in the circle.
    pub fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// Where members with this short id or a higher one begin.
    pub fn home(&self, short: u64) -> usize {
        (((short >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    /// Somebody by chance for whom `fits`; of hosts with many members each is taken as rarely as if the host had one.
    /// `None` if nobody is found in a reasonable time.
    pub fn sample(&self, rng: &mut Rng, fits: impl Fn(&Slot) -> bool) -> Option<usize> {
        let fit = |at: &usize| self.slots[*at].record.is_some() && fits(&self.slots[*at]);
        let drawn = |at: &usize, rng: &mut Rng| {
            let crowd = u32::from(self.crowd(self.slots[*at].record()));
            crowd <= 1 || rng.below(crowd) == 0 || fault::on(Fault::CrowdsCountInFull)
        };
        for _ in 0..64 {
            let at = rng.below(self.slots.len() as u32) as usize;
            if fit(&at) && drawn(&at, rng) {
                return Some(at);
            }
        }
        // Few fit: look at all, from a point by chance; among crowds alone, take any.
        let start = rng.below(self.slots.len() as u32) as usize;
        let all = || (start..self.slots.len()).chain(0..start).filter(fit);
        all().find(|at| drawn(at, rng)).or_else(|| all().next())
    }

    /// Proved living members where `record` says to be; or, once in a great while, a few more.
    pub fn crowd(&self, record: &Record) -> u8 {
        let [one, other] = self.host(record);
        self.hosts[one].min(self.hosts[other])
    }

    /// Everybody, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.record.is_some())
    }

    /// The digest, folded to 2^bits buckets, or as fine as it is.
    pub fn digest(&self, bits: u8) -> Vec<u32> {
        let fold = self.digest.len() >> bits;
        if fold <= 1 {
            return self.digest.clone();
        }
        self.digest.chunks(fold).map(|bucket| bucket.iter().fold(0, |sum, hash| sum ^ hash)).collect()
    }

    fn bucket(&self, short: u64) -> usize {
        ((u128::from(short) * self.digest.len() as u128) >> 64) as usize
    }

    /// The two counters of where `record` says to be.
    fn host(&self, record: &Record) -> [usize; 2] {
        let (place, half) = (place_of(record), self.hosts.len() as u64 / 2);
        [((place >> 32) * half) >> 32, half + (((place & 0xffff_ffff) * half) >> 32)].map(|at| at as usize)
    }

    /// Adds the member at `at` to all sums, or takes it out of them.
    fn count(&mut self, at: usize, there: bool) {
        let step = |sum: &mut usize| if there { *sum += 1 } else { *sum -= 1 };
        match self.slots[at].state() {
            State::Alive => step(&mut self.lives),
            State::Suspect => {
                step(&mut self.lives);
                step(&mut self.suspects);
            }
            State::Dead => step(&mut self.dead),
            State::Left => {}
        }
        if self.slots[at].lives() {
            let slot = &self.slots[at];
            let (bucket, hash) = (self.bucket(slot.record().id.short()), hash(slot.record()));
            self.digest[bucket] ^= hash;
            if slot.is_proved() {
                for at in self.host(slot.record()) {
                    let count = &mut self.hosts[at];
                    *count = if there { count.saturating_add(1) } else { count.saturating_sub(1) };
                }
            } else {
                step(&mut self.unproved);
            }
        }
    }

    fn place(&mut self, slot: Slot) {
        let mut at = self.home(slot.record().id.short());
        while self.slots[at].record.is_some() {
            at = self.after(at);
        }
        self.slots[at] = slot;
        self.len += 1;
        self.count(at, true);
    }

    fn resize(&mut self, size: usize) {
        let old = core::mem::replace(&mut self.slots, alloc::vec![EMPTY; size]);
        (self.len, self.lives, self.suspects, self.dead, self.unproved) = (0, 0, 0, 0, 0);
        self.hosts = alloc::vec![0; size * 2];
        // About 40 members a bucket: a list of them fits one packet.
        let buckets = (size / 50).next_power_of_two().min(1 << super::message::BITS_MAX);
        self.digest = alloc::vec![0; buckets];
        old.into_iter().filter(|slot| slot.record.is_some()).for_each(|slot| self.place(slot));
    }
}

const PROVED: u32 = 1 << 29;
const SECONDS: u32 = PROVED - 1;

fn mark(state: State, second: u32) -> u32 {
    (state as u32) << 30 | second.min(SECONDS)
}

/// Where a member is, as a number: a home has one IPv4 address, or one IPv6 prefix of 64 bits. Whoever is reached through
/// others only is where its first relay is: an address that nobody can ask proves nothing.
pub(super) fn place_of(record: &Record) -> u64 {
    let facts = &record.facts;
    if facts.is_hidden() {
        return mix(facts.relays.into_iter().find(|relay| *relay != 0).unwrap_or(0));
    }
    place_at(&facts.addr.ip())
}

/// As [`place_of`], of somebody who is reached at `ip`.
pub(super) fn place_at(ip: &IpAddr) -> u64 {
    mix(match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    })
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::{kit::Signer, mesh::swim::record::Facts};

    struct Nobody;

    impl Signer for Nobody {
        fn key(&self) -> NodeId {
            NodeId::default()
        }

        fn sign(&self, _: crate::kit::Domain, _: &[&[u8]]) -> crate::kit::Signature {
            crate::kit::Signature([0; 64])
        }
    }

    fn record(n: u64, incarnation: u64) -> Arc<Record> {
        let addr = core::net::SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 1));
        Record::sign(NodeId::number(n), incarnation, false, Facts::at(addr), None, &Nobody)
    }

    #[test]
    fn does_what_a_map_does() {
        let mut rng = Rng::new(5);
        let (mut table, mut map) = (Table::new(0), BTreeMap::new());
        for step in 0..20_000 {
            let n = u64::from(rng.below(300));
            let id = NodeId::number(n);
            match (table.find_id(&id), rng.below(4)) {
                (None, 0 | 1) => {
                    table.insert(record(n, 1), step);
                    if n.is_multiple_of(3) {
                        table.prove(table.find_id(&id).unwrap());
                    }
                    map.insert(id, (State::Alive, 1));
                }
                (Some(at), 0) => {
                    table.remove(at);
                    map.remove(&id);
                }
                (Some(at), 1) => {
                    let state = [State::Alive, State::Suspect, State::Dead][rng.below(3) as usize];
                    table.set(at, state, step);
                    map.get_mut(&id).unwrap().0 = state;
                }
                (Some(at), _) => {
                    let incarnation = u64::from(step);
                    table.replace(at, record(n, incarnation), step);
                    map.insert(id, (State::Alive, incarnation));
                }
                _ => {}
            }
            assert_eq!(table.len(), map.len());
        }
        for n in 0..300 {
            let id = NodeId::number(n);
            let found = table.find_id(&id).map(|at| (table.get(at).state(), table.get(at).record().incarnation));
            assert_eq!(found, map.get(&id).copied());
        }
        let count = |state| map.values().filter(|entry| entry.0 == state).count();
        assert_eq!(table.dead(), count(State::Dead));
        assert_eq!(table.suspects(), count(State::Suspect));
        assert_eq!(table.lives(), count(State::Alive) + count(State::Suspect));
        let unproved = map
            .iter()
            .filter(|(id, entry)| entry.0 != State::Dead && !(0..300).step_by(3).any(|n| NodeId::number(n) == **id));
        assert_eq!(table.unproved(), unproved.count());
    }

    #[test]
    fn equal_members_give_equal_digests_however_they_came() {
        let (mut one, mut two) = (Table::new(1000), Table::new(10));
        for n in 0..500 {
            one.insert(record(n, 1), 0);
            two.insert(record(499 - n, 1), 9);
        }
        let bits = two.digest.len().min(one.digest.len()).trailing_zeros() as u8;
        assert_eq!(one.digest(bits), two.digest(bits));
        let at = two.find_id(&NodeId::number(7)).unwrap();
        two.set(at, State::Dead, 1);
        let different = one.digest(bits).iter().zip(two.digest(bits)).filter(|(a, b)| **a != *b).count();
        assert_eq!(different, 1);
    }

    #[test]
    fn a_crowded_host_is_sampled_like_one_member() {
        let mut table = Table::new(0);
        for n in 0..40 {
            table.insert_proved(record(n, 1), 0);
        }
        for n in 100..160 {
            let facts = Facts::at(([192, 0, 2, 1], 1).into());
            table.insert_proved(Record::sign(NodeId::number(n), 1, false, facts, None, &Nobody), 0);
        }
        let mut rng = Rng::new(1);
        let crowd = |slot: &Slot| slot.record().facts.addr.ip() == IpAddr::from([192, 0, 2, 1]);
        let mut hits = |table: &Table| {
            let sample = |rng: &mut Rng| crowd(table.get(table.sample(rng, Slot::is_proved).unwrap()));
            (0..4100).filter(|_| sample(&mut rng)).count()
        };
        let alone = hits(&table);
        // Among thousands of names that never answered.
        (1000..4000).for_each(|n| table.insert(record(n, 1), 0));
        let drowned = hits(&table);
        // One of 41 hosts, if it shares its counter with nobody: 100 of 4100.
        assert!((40..250).contains(&alone) && (40..250).contains(&drowned), "{alone} {drowned}");
    }
}
