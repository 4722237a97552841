//! Comparing tables, so that whoever missed the gossip learns all the same.
//!
//! A sends hashes of its living members, bucket by bucket. B answers with a list of those in each bucket that differs. A
//! asks for what it lacks and sends what B lacks. Equal tables cost one packet; what differs is sent once. When much
//! differed, the next comparison follows at once: so a new member fills its table, and so do halves that find each other.
//!
//! Source: A. Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (1987) §1.3, anti-entropy.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use super::{
    Config, Effect, Saved, Sender, Swim,
    company::HOUSEHOLD,
    message::{Head, Item},
    record::Record,
    table::State,
};
use crate::kit::{
    Fault, Instant, Rng, Signer, Verifier,
    codec::{Reader, put_number},
    fault,
};

/// Packets that a node sends per period to those who compare. 64 packets are 77 KB.
const BUDGET: u32 = 64;
/// Lists that answer one digest, and one where names crowd, since then tables differ in names that are cheap.
const LISTS: usize = 8;
const LISTS_IN_A_CROWD: usize = 1;
/// Differences that call for the next comparison at once.
const MANY: usize = 8;
/// Differences among so many members, or less often, that are only what is under way.
const FEW: usize = 1000;
/// Comparisons in a row, half a period apart, of a node that lacks much.
const EAGER: u32 = 4;
/// Members that are saved for a restart.
const PEERS: usize = 16;

/// When to compare with whom.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compare {
    pub due: Instant,
    /// Differences that the last comparison found.
    found: usize,
    /// Of them, members that one of the two lacked. Newer facts of a known one are under way by gossip; somebody who makes
    /// others accuse and refute must not make them compare as well.
    lacking: usize,
    /// Comparisons that follow at once.
    eager: u32,
    /// How long to wait for the one after: longer each time that hardly anything differed, until all is quiet.
    wait: Duration,
    /// Members that rose from the dead since the last comparison.
    risen: usize,
    /// Packets that may still be sent in this period.
    budget: u32,
    /// Comparisons until peers are saved.
    save_in: u32,
}

impl Compare {
    pub fn new(start: Instant, config: &Config, rng: &mut Rng) -> Self {
        let wait = config.period * rng.below(config.compare_every.max(1));
        Self {
            due: start + wait,
            found: 0,
            lacking: 0,
            wait: config.period * config.compare_every,
            eager: 0,
            risen: 0,
            budget: BUDGET,
            save_in: 2,
        }
    }

    /// Much is missing here, surely.
    pub fn hurry(&mut self, due: Instant) {
        self.eager = EAGER;
        self.due = self.due.min(due);
    }

    pub fn refill(&mut self) {
        self.budget = BUDGET;
    }

    /// Somebody rose from the dead. When many do, a partition is over: whoever else came back is asked for at once.
    pub fn risen(&mut self, now: Instant, size: usize, config: &Config) {
        self.risen += 1;
        if self.risen > MANY + size / 32 {
            self.risen = 0;
            self.hurry(now + config.period / 4);
        }
    }

    pub fn spend(&mut self) -> bool {
        let has = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        has
    }
}

impl<K: Signer + Verifier> Swim<K> {
    /// Compares with somebody by chance.
    pub(super) fn compare(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.fit_cell(now, out);
        let period = self.config.period;
        // In a flood there are always names that others do not have.
        let alike = self.compare.found * FEW <= self.table.lives() || self.is_flooded();
        let compare = &mut self.compare;
        if compare.eager > 0 {
            compare.eager -= 1;
            compare.wait = period / 2;
        } else if alike {
            // Where packets get lost, so do comparisons, and one of which nothing came back looks like one of equals.
            let growth = 2_000_000 - self.unanswered;
            compare.wait = (compare.wait * growth / 1_000_000).min(period * self.config.compare_every);
        } else {
            compare.wait = compare.wait.max(period);
        }
        // A sixteenth of jitter, so that nobody walks in step.
        compare.due = now + compare.wait + compare.wait * self.rng.below(1000) / 16_000;
        (self.compare.found, self.compare.lacking, self.compare.risen) = (0, 0, 0);
        let fits = |slot: &super::table::Slot| slot.state() == State::Alive && !slot.record().facts.is_hidden();
        if fault::on(Fault::TablesNeverCompared) {
            return;
        }
        let Some(slot) = self.pick_own(fits) else { return };
        self.cells.offer(self.table.get(slot).record().id.short());
        self.offer(slot, out);
        self.compare.save_in -= 1;
        if self.compare.save_in == 0 {
            self.compare.save_in = 10;
            let peers: Vec<_> = (0..PEERS)
                .filter_map(|_| {
                    let slot = self.pick_own(|slot| slot.state() == State::Alive)?;
                    Some(self.table.get(slot).record().clone())
                })
                .collect();
            out.push(Effect::Save(Saved::Peers(peers)));
        }
    }

    /// Sends the hashes of this node's table to the member at `slot`.
    fn offer(&self, slot: usize, out: &mut Vec<Effect>) {
        let hashes = self.whole_digest(super::message::BITS_MAX);
        let mut body = Vec::with_capacity(8 + hashes.len() * 4 + 110);
        Head::Digest { bits: hashes.len().trailing_zeros() as u8, cell: self.cells.bits }.put(&mut body);
        hashes.iter().for_each(|hash| body.extend_from_slice(&hash.to_be_bytes()));
        let record = self.table.get(slot).record();
        out.push(Effect::Send { to: Some(record.id), addr: record.facts.addr, body });
    }

    /// The digest of the table and this node itself, which is in everybody's table but its own.
    fn whole_digest(&self, bits: u8) -> Vec<u32> {
        let mut hashes = self.table.digest(bits);
        let bucket = ((u128::from(self.short()) * hashes.len() as u128) >> 64) as usize;
        hashes[bucket] ^= super::table::hash(&self.me);
        hashes
    }

    #[allow(clippy::too_many_arguments, reason = "all of a digest")]
    pub(super) fn on_digest(
        &mut self,
        now: Instant,
        sender: &Sender,
        bits: u8,
        cell: u8,
        rest: &mut Reader,
        out: &mut Vec<Effect>,
    ) {
        let mut theirs = Vec::with_capacity(1 << bits);
        for _ in 0..1_usize << bits {
            let Ok(hash) = rest.array() else { return };
            theirs.push(u32::from_be_bytes(*hash));
        }
        if cell < self.cells.bits {
            self.tell_bits(sender, out);
        }
        let Some(slot) = self.table.find_id(&sender.id).filter(|slot| self.table.get(*slot).lives()) else {
            return self.answer_unknown(now, sender, false, out);
        };
        let mine = self.whole_digest(bits);
        if mine.len() < theirs.len() {
            let fold = theirs.len() / mine.len();
            theirs = theirs.chunks(fold).map(|bucket| bucket.iter().fold(0, |sum, hash| sum ^ hash)).collect();
        }
        let buckets = mine.len();
        let start = self.rng.below(buckets as u32) as usize;
        let most = if self.is_crowded() { LISTS_IN_A_CROWD } else { LISTS };
        let mut lists = 0;
        for bucket in (start..buckets).chain(0..start) {
            if mine[bucket] == theirs[bucket] {
                continue;
            }
            let width = u64::MAX / buckets as u64;
            let first = width * bucket as u64 + bucket as u64;
            let last = if bucket + 1 == buckets { u64::MAX } else { first + width };
            // A coarse digest has wide buckets: begin anywhere in it, so that each time another part is listed.
            let first = if self.table.lives() / buckets > 100 { first + self.rng.next() % width } else { first };
            lists += self.list(slot, first, last, most - lists, out);
            if lists >= most {
                break;
            }
        }
    }

    /// Sends lists of all living members from `first` to `last`, in at most `most` packets; in a flood, of those who are
    /// proved. How many it were.
    fn list(&mut self, slot: usize, first: u64, last: u64, most: usize, out: &mut Vec<Effect>) -> usize {
        let mut members = self.between(first, last, self.is_flooded());
        if (first..=last).contains(&self.short()) {
            members.push((self.short(), self.me.incarnation));
        }
        members.sort_unstable();
        let record = self.table.get(slot).record();
        let (id, addr) = (record.id, record.facts.addr);
        // 8 bytes and mostly 1 for each; at most 10.
        let (mut from, mut sent) = (first, 0);
        let mut rest = &members[..];
        while sent < most && self.compare.spend() {
            let (part, behind) = rest.split_at(rest.len().min(55));
            let until = behind.first().map_or(last, |next| next.0 - 1);
            let mut body = Vec::with_capacity(30 + part.len() * 12 + 110);
            Head::List { first: from, last: until, count: part.len() as u16 }.put(&mut body);
            for (short, incarnation) in part {
                body.extend_from_slice(&short.to_be_bytes());
                put_number(&mut body, *incarnation);
            }
            out.push(Effect::Send { to: Some(id), addr, body });
            sent += 1;
            if behind.is_empty() {
                break;
            }
            (rest, from) = (behind, until + 1);
        }
        sent
    }

    /// Short ids and incarnations of living members from `first` to `last`, or only of those who are `proved`.
    fn between(&self, first: u64, last: u64, proved: bool) -> Vec<(u64, u64)> {
        let (mut at, end) = (self.table.home(first), self.table.home(last));
        let mut found = Vec::new();
        let mut passed = false;
        // Members stand at their home or shortly behind it, never beyond an empty slot.
        for _ in 0..self.table.size() {
            passed |= at == end;
            match self.table.occupant(at) {
                Some(slot) if slot.lives() && (slot.is_proved() || !proved) => {
                    let short = slot.record().id.short();
                    if (first..=last).contains(&short) {
                        found.push((short, slot.record().incarnation));
                    }
                }
                Some(_) => {}
                None if passed => break,
                None => {}
            }
            at = self.table.after(at);
        }
        found
    }

    #[allow(clippy::too_many_arguments, reason = "all of a list")]
    pub(super) fn on_list(
        &mut self,
        now: Instant,
        sender: &Sender,
        first: u64,
        last: u64,
        count: u16,
        rest: &mut Reader,
        out: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.table.find_id(&sender.id).filter(|slot| self.table.get(*slot).lives()) else { return };
        let mut theirs = Vec::new();
        for _ in 0..count {
            let (Ok(short), Ok(incarnation)) = (rest.word(), rest.number()) else { break };
            theirs.push((short, incarnation));
        }
        theirs.sort_unstable();
        let (mut want, mut give, mut doubts) = (Vec::new(), Vec::new(), Vec::new());
        let mut lacking = 0;
        for (short, incarnation) in &theirs {
            if *short == self.short() {
                if *incarnation < self.me.incarnation {
                    give.push(self.me.clone());
                } else if *incarnation > self.me.incarnation {
                    want.push(*short);
                }
                continue;
            }
            let Some(at) = self.table.find(*short) else {
                want.push(*short);
                lacking += 1;
                continue;
            };
            let member = self.table.get(at);
            let known = member.record().incarnation;
            if known < *incarnation {
                want.push(*short);
            } else if member.state() == State::Dead {
                doubts.push((*short, known));
            } else if known > *incarnation || member.state() == State::Left {
                give.push(member.record().clone());
            }
        }
        let own = self.short();
        if (first..=last).contains(&own) && theirs.binary_search_by_key(&own, |entry| entry.0).is_err() {
            give.push(self.me.clone());
        }
        let (crowded, flooded) = (self.is_crowded(), self.is_flooded());
        for (short, _) in self.between(first, last, crowded) {
            if theirs.binary_search_by_key(&short, |entry| entry.0).is_err() && short != sender.short {
                let member = self.table.get(self.table.find(short).expect("it is between"));
                // Names too many at one place are for those who ask for them.
                if self.table.crowd(member.record()) <= HOUSEHOLD {
                    lacking += 1;
                    give.push(member.record().clone());
                }
            }
        }
        self.compare.found += want.len() + give.len();
        self.compare.lacking += lacking;
        if self.compare.lacking >= MANY && !flooded {
            self.compare.hurry(now + self.config.period / 2);
        }
        let record = self.table.get(slot).record();
        let (id, addr) = (record.id, record.facts.addr);
        for part in want.chunks(100) {
            let mut body = Vec::with_capacity(8 + part.len() * 8 + 110);
            Head::Want { count: part.len() as u16 }.put(&mut body);
            part.iter().for_each(|short| body.extend_from_slice(&short.to_be_bytes()));
            out.push(Effect::Send { to: Some(id), addr, body });
        }
        if doubts.len() > MANY {
            // That is no missed news; that was a partition. Each of them will say itself that it lives.
            doubts.clear();
        }
        let give = give.iter().map(|record| Item::Record(record.bytes()));
        self.bulk(id, addr, doubts.iter().map(doubt).chain(give), out);
    }

    pub(super) fn on_want(
        &mut self,
        now: Instant,
        sender: &Sender,
        count: u16,
        rest: &mut Reader,
        out: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.table.find_id(&sender.id) else {
            return self.answer_unknown(now, sender, false, out);
        };
        let (mut records, mut dead): (Vec<Arc<Record>>, _) = (Vec::new(), Vec::new());
        let count = if fault::on(Fault::WantsUnanswered) { 0 } else { count };
        for _ in 0..count {
            let Ok(short) = rest.word() else { break };
            if short == self.short() {
                records.push(self.me.clone());
            } else if let Some(at) = self.table.find(short) {
                let member = self.table.get(at);
                if member.state() == State::Dead {
                    dead.push((short, member.record().incarnation));
                } else {
                    records.push(member.record().clone());
                }
            }
        }
        let record = self.table.get(slot).record();
        let (id, addr) = (record.id, record.facts.addr);
        let records = records.iter().map(|record| Item::Record(record.bytes()));
        self.bulk(id, addr, records.chain(dead.iter().map(doubt)), out);
    }

    /// Sends `items` in as many packets as they need and the budget allows.
    fn bulk<'a>(
        &mut self,
        to: crate::kit::NodeId,
        addr: core::net::SocketAddr,
        items: impl Iterator<Item = Item<'a>>,
        out: &mut Vec<Effect>,
    ) {
        let mut body = Vec::new();
        for item in items {
            if body.len() + item.size() > self.config.body_max {
                out.push(Effect::Send { to: Some(to), addr, body: core::mem::take(&mut body) });
            }
            if body.is_empty() {
                if !self.compare.spend() {
                    return;
                }
                Head::Records.put(&mut body);
            }
            item.put(&mut body);
        }
        if !body.is_empty() {
            out.push(Effect::Send { to: Some(to), addr, body });
        }
    }
}

/// That somebody, by its short id, is dead in a life of its.
fn doubt<'a>((subject, incarnation): &(u64, u64)) -> Item<'a> {
    Item::Doubt { subject: *subject, incarnation: *incarnation, age: 0, dead: true }
}
