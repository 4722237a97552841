//! Whom a node knows beyond its cell.
//!
//! A network above [`Config::flat_max`](super::Config) falls into cells, each with a flat table. Which cell a member is in
//! follows from its address: the first bits of the address's hash. Names are free and addresses are not, so nobody chooses
//! its neighbours. A cell that grows too large splits by one more bit, one that shrinks to a quarter joins its sibling;
//! each member sees that for itself, because all of a cell see about the same.
//!
//! Beyond, a cell knows *delegates*: at each level l, of all who share its first l bits and differ in the next, about
//! [`CONTACTS`]. Who is a delegate to which cell is not elected and cannot be bought: it is whoever's address hashes, with
//! the number of that cell, below a threshold. Each member can tell that of itself and of everybody else. A liar who
//! floods a cell with names is in it as often as its addresses are, so that samples are as honest as the population; one
//! who knows a delegate knows that chance chose it.
//!
//! Delegates find their way to the cells that they are for by asking ever nearer members ([`Head::Find`]); there they are
//! told on as news. A member of any of C cells is found in about log C / log [`CONTACTS`] questions.
//!
//! Sources: R. Morales, I. Gupta, "AVMON" (2007) for relations that follow from a hash and can be checked by anybody;
//! P. Maymounkov, D. Mazières, "Kademlia" (2002) for levels; A. Auvolat et al., "BASALT" (2023) for samples that a flood
//! does not sway.

use alloc::{sync::Arc, vec::Vec};
use core::net::SocketAddr;

use super::{
    Effect, Event, Sender, Swim,
    message::{Head, Item},
    record::Record,
    rumour::News,
    table::{State, place_at, place_of},
};
use crate::kit::{Fault, Instant, Rng, Signer, Verifier, codec::Reader, fault, ring::weight};

/// Delegates that a cell has at each level, on average.
pub const CONTACTS: u64 = 8;
/// Cells are told apart by at most so many bits: a million, of thousands each.
const BITS_MAX: u8 = 20;
/// Periods between two looks at one contact, and between two questions for more.
const ASK_EVERY: u32 = 4;
const EXPLORE_EVERY: u32 = 16;
/// Periods in which a member thinks through all cells that it may be a delegate to.
const DUTY_BITS: u8 = 8;
/// Questions without an answer after which a contact is dropped.
const MISSES: u8 = 3;
/// Members that a search asks one after the other.
const HOPS: u8 = 10;
/// Records in an answer: what fits one packet.
const NEAR: usize = 4;
/// Periods that a cell keeps its size at least.
const KEEP: u32 = 60;
/// Members that somebody knows at most who only joins.
const NEWCOMER: usize = 8;
/// Periods in which somebody who knew some before a restart joins.
const JOINING: u32 = 8;
/// Members in a row, chosen by this node, who must say that they are in a smaller cell, so that it follows them. Of a fifth
/// of liars four in a row are 1 in 625; who follows them finds its cell too small, and comes back.
const SPLIT_BY: u8 = 4;

/// The score of the member at `place` for `cell`, a number of `bits` bits: chance that nobody can choose.
pub fn score(cell: u64, bits: u8, place: u64) -> u64 {
    weight(cell | 1 << bits, place)
}

/// Below which score a member is a delegate to a cell of `bits` bits, if it shares so many first bits with the cell as
/// `level` says, and cells have `size` members.
pub fn threshold(bits: u8, size: usize, level: u32) -> u64 {
    // Members beyond at that level: so many sibling cells, of `size` each.
    let beyond = (size.max(1) as u64) << (u32::from(bits) - 1 - level);
    (u128::from(u64::MAX) * u128::from(CONTACTS) / u128::from(beyond)).min(u128::from(u64::MAX)) as u64
}

/// First bits that the member at `place` has in common with `cell`, a number of `bits` bits.
fn level(cell: u64, bits: u8, place: u64) -> u32 {
    (cell << (64 - u32::from(bits)) ^ place).leading_zeros().min(u32::from(bits) - 1)
}

/// Whether the member at `place` is a delegate to `cell`, a number of `bits` bits, if cells have `size` members.
pub fn is_delegate(cell: u64, bits: u8, size: usize, place: u64) -> bool {
    score(cell, bits, place) < threshold(bits, size, level(cell, bits, place))
}

/// The hash of where `record` says to be; its first bits are its cell.
pub fn place(record: &Record) -> u64 {
    place_of(record)
}

/// Somebody in another cell.
#[derive(Clone, Debug, PartialEq)]
struct Contact {
    record: Arc<Record>,
    place: u64,
    /// The period in which it was asked last.
    asked: u32,
    level: u8,
    misses: u8,
    proved: bool,
}

/// Looking for members near a place.
#[derive(Clone, Debug, PartialEq)]
struct Search {
    target: u64,
    nonce: u32,
    hops: u8,
    begun: u32,
    /// Common leading bits of the target and whoever was asked last.
    common: u32,
    announce: bool,
}

/// All that is known of other cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cells {
    /// Leading bits of places that a cell has in common; 0 for one flat network.
    pub bits: u8,
    /// Period in which that changed last.
    changed: u32,
    contacts: Vec<Contact>,
    asked: Option<(u32, u64)>,
    search: Option<Search>,
    /// The cell that is thought through next.
    cursor: u64,
    /// With whom tables were compared last, by short id, until it says in how small a cell it is.
    offered: Option<u64>,
    /// Of those who were asked last, so many in a row were in a smaller cell.
    smaller: u8,
}

impl Cells {
    /// The contact with this short id.
    fn find(&self, short: u64) -> Option<usize> {
        self.contacts.iter().position(|contact| contact.record.id.short() == short)
    }

    /// Tables are compared with the member `short`. If the last one said nothing of a smaller cell, it is in none.
    pub fn offer(&mut self, short: u64) {
        if self.offered.replace(short).is_some() {
            self.smaller = 0;
        }
    }

    /// The life in which the contact `short` is known.
    pub fn incarnation(&self, short: u64) -> Option<u64> {
        self.find(short).map(|at| self.contacts[at].record.incarnation)
    }
}

impl<K: Signer + Verifier> Swim<K> {
    /// Bits that tell this node's cell from others; 0 in a flat network.
    pub fn cell_bits(&self) -> u8 {
        self.cells.bits
    }

    /// Members of other cells that this node knows.
    pub fn contacts(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.cells.contacts.iter().map(|contact| &contact.record)
    }

    /// Is in a cell of so many bits from the start, and knows these delegates to it. For many nodes in one process.
    pub fn settle(&mut self, bits: u8, contacts: &[Arc<Record>]) {
        self.cells.bits = bits;
        self.cells.contacts.reserve_exact(contacts.len());
        for record in contacts {
            let place = place_of(record);
            let level = self.level(place);
            self.cells.contacts.push(Contact {
                record: record.clone(),
                place,
                asked: 0,
                level,
                misses: 0,
                proved: true,
            });
        }
    }

    pub(super) fn is_near(&self, place: u64) -> bool {
        let bits = u32::from(self.cells.bits);
        bits == 0 || (place ^ self.place()) >> (64 - bits) == 0
    }

    /// Whether somebody who is reached at `addr` may be in this cell, as far as an address tells.
    pub(super) fn may_be_near(&self, addr: &SocketAddr) -> bool {
        self.is_near(place_at(&addr.ip()))
    }

    fn place(&self) -> u64 {
        place_of(&self.me)
    }

    fn level(&self, place: u64) -> u8 {
        (place ^ self.place()).leading_zeros() as u8
    }

    fn cell(&self) -> u64 {
        self.place() >> (64 - u32::from(self.cells.bits))
    }

    /// A member of the whole network by chance: half of it is at level 0, a quarter at level 1, and the rest is our cell.
    pub(super) fn sample_beyond(&self, rng: &mut Rng) -> Option<&Arc<Record>> {
        for level in 0..self.cells.bits {
            if rng.below(2) == 1 {
                continue;
            }
            let fits = |contact: &&Contact| contact.level == level && contact.proved;
            let count = self.cells.contacts.iter().filter(fits).count();
            if count > 0 {
                let at = rng.below(count as u32) as usize;
                return self.cells.contacts.iter().filter(fits).nth(at).map(|contact| &contact.record);
            }
        }
        None
    }

    /// Takes in somebody from another cell, if chance made it a delegate to this one. Tells it on, if it came as news.
    pub(super) fn meet(&mut self, record: Arc<Record>, news: bool) {
        let (short, place) = (record.id.short(), place_of(&record));
        if let Some(at) = self.cells.find(short) {
            let known = &self.cells.contacts[at];
            let newer = known.record.id == record.id
                && record.incarnation > known.record.incarnation
                && record.serial >= known.record.serial;
            if !newer {
                return;
            }
            if !record.left && place == known.place {
                self.cells.contacts[at].record = record;
                return;
            }
            self.cells.contacts.swap_remove(at);
        }
        let (cell, bits) = (self.cell(), self.cells.bits);
        let threshold = threshold(bits, self.size(), level(cell, bits, place));
        // Not all count the same number of members; whoever is just beside the threshold is let in too.
        let chosen =
            score(cell, bits, place) < threshold.saturating_add(threshold / 8) || fault::on(Fault::EverybodyIsDelegate);
        if record.left || record.facts.is_hidden() || !chosen || fault::on(Fault::DelegatesNotMet) {
            return;
        }
        // One name for each place.
        if self.cells.contacts.iter().any(|contact| contact.place == place) {
            return;
        }
        let level = self.level(place);
        let asked = self.periods;
        self.cells.contacts.push(Contact { record: record.clone(), place, asked, level, misses: 0, proved: false });
        self.crowd_out(level);
        if news {
            let times = self.times(false);
            self.rumours.push(short, News::Record(record), times, false);
        }
    }

    /// More than twice as many as there should be: whoever chance liked least goes.
    fn crowd_out(&mut self, level: u8) {
        if self.cells.contacts.iter().filter(|contact| contact.level == level).count() as u64 <= 2 * CONTACTS {
            return;
        }
        let key = self.cell() | 1 << self.cells.bits;
        let here = |contact: &(usize, &Contact)| contact.1.level == level;
        let worst = self.cells.contacts.iter().enumerate().filter(here);
        if let Some((at, _)) = worst.max_by_key(|(_, contact)| weight(key, contact.place)) {
            self.cells.contacts.swap_remove(at);
        }
    }

    /// Once a period.
    pub(super) fn look_beyond(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.cells.bits == 0 {
            return;
        }
        if self.cells.search.as_ref().is_some_and(|search| self.periods.wrapping_sub(search.begun) > 4) {
            self.cells.search = None;
        }
        // Not all in the same period.
        let phase = self.periods.wrapping_add(self.short() as u32);
        let new = |contact: &Contact| !contact.proved && contact.misses == 0;
        if phase.is_multiple_of(ASK_EVERY) || self.cells.contacts.iter().any(new) {
            self.ask_contact(now, out);
        }
        if phase % EXPLORE_EVERY == 1 {
            self.explore(out);
        }
        self.serve(phase, out);
    }

    /// Asks a contact whether it is there: one that was never asked, or whoever was not for the longest time. By chance, some
    /// would not be asked for many times as long, and be recommended to others though they are gone.
    fn ask_contact(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut again = None;
        if let Some((_, short)) = self.cells.asked.take()
            && let Some(at) = self.cells.find(short)
        {
            self.cells.contacts[at].misses += 1;
            again = Some(at);
            if self.cells.contacts[at].misses >= MISSES && !fault::on(Fault::DeadDelegatesKept) {
                self.cells.contacts.swap_remove(at);
                again = None;
            }
        }
        let contacts = self.cells.contacts.iter();
        let new = contacts.clone().position(|contact| !contact.proved && contact.misses == 0);
        let waits = |contact: &(usize, &Contact)| self.periods.wrapping_sub(contact.1.asked);
        let longest = contacts.enumerate().max_by_key(waits).map(|(at, _)| at);
        // One that did not answer is asked again before others.
        let Some(at) = again.or(new).or(longest) else { return };
        let nonce = self.next_nonce();
        let contact = &mut self.cells.contacts[at];
        contact.asked = self.periods;
        self.cells.asked = Some((nonce, contact.record.id.short()));
        let body = self.begin(now, None, &Head::Ping { nonce, introduce: false, behalf: None });
        let contact = &self.cells.contacts[at].record;
        out.push(Effect::Send { to: Some(contact.id), addr: contact.facts.addr, body });
    }

    /// An answer of somebody who is no member of this cell. Whether it was one that we waited for.
    pub(super) fn contact_answered(&mut self, sender: &Sender, nonce: u32) -> bool {
        if self.cells.asked.take_if(|asked| *asked == (nonce, sender.short)).is_none() {
            return false;
        }
        if let Some(at) = self.cells.find(sender.short) {
            let contact = &mut self.cells.contacts[at];
            if contact.record.facts.addr.ip() == sender.addr.ip() {
                (contact.misses, contact.proved) = (0, true);
            }
        }
        true
    }

    /// Asks for delegates at a level by chance.
    fn explore(&mut self, out: &mut Vec<Effect>) {
        let level = self.rng.below(self.cells.bits.into());
        let below = self.rng.next() >> level >> 1;
        let target = self.place() ^ 1 << (63 - level) ^ below;
        self.search(target, false, out);
    }

    /// Thinks of the next cells that this node may be a delegate to; if it is, goes there.
    fn serve(&mut self, phase: u32, out: &mut Vec<Effect>) {
        let bits = self.cells.bits;
        if bits < DUTY_BITS && !phase.is_multiple_of(1 << (DUTY_BITS - bits)) {
            return;
        }
        if self.me.facts.is_hidden() || self.cells.search.is_some() || fault::on(Fault::DelegatesNeverServe) {
            return;
        }
        let (cells, own, place, size) = (1_u64 << bits, self.cell(), self.place(), self.size());
        for _ in 0..1_u64 << bits.saturating_sub(DUTY_BITS) {
            self.cells.cursor = (self.cells.cursor + 1) % cells;
            let cell = self.cells.cursor;
            if cell != own && is_delegate(cell, bits, size, place) {
                let target = cell << (64 - u32::from(bits)) ^ self.rng.next() >> bits;
                self.search(target, true, out);
                return;
            }
        }
    }

    /// Begins to look for members near `target`, with whoever is nearest to it of those that are known.
    fn search(&mut self, target: u64, announce: bool, out: &mut Vec<Effect>) {
        if self.cells.search.is_some() {
            return;
        }
        // Half of the time by way of a neighbour, whose contacts may be better.
        let beside = self.rng.below(2) == 0;
        let common = |contact: &&Contact| (contact.proved, (contact.place ^ target).leading_zeros());
        let nearest = self.cells.contacts.iter().max_by_key(common);
        let helpful = nearest.filter(|contact| contact.level >= self.level(target) && !beside);
        let ask = match helpful.map(|contact| contact.record.clone()) {
            Some(record) => Some(record),
            None => self
                .pick_own(|slot| slot.state() == State::Alive && !slot.record().facts.is_hidden())
                .map(|at| self.table.get(at).record().clone()),
        };
        let Some(record) = ask else { return };
        let (nonce, begun) = (self.next_nonce(), self.periods);
        self.cells.search = Some(Search { target, nonce, hops: 0, begun, common: 0, announce });
        self.find(&record, nonce, target, out);
    }

    pub(super) fn find(&self, ask: &Record, nonce: u32, target: u64, out: &mut Vec<Effect>) {
        let mut body = Vec::with_capacity(128);
        Head::Find { nonce, target }.put(&mut body);
        out.push(Effect::Send { to: Some(ask.id), addr: ask.facts.addr, body });
    }

    /// Tells who is known near `target`.
    pub(super) fn on_find(&mut self, sender: &Sender, nonce: u32, target: u64, out: &mut Vec<Effect>) {
        if !self.compare.spend() {
            return;
        }
        let mut found: Vec<Arc<Record>> = Vec::with_capacity(NEAR);
        if self.is_near(target) {
            found.push(self.me.clone());
            for _ in 1..NEAR {
                let reachable =
                    |slot: &super::table::Slot| slot.state() == State::Alive && !slot.record().facts.is_hidden();
                found.extend(self.pick_own(reachable).map(|at| self.table.get(at).record().clone()));
            }
        } else {
            let mut near: Vec<&Contact> = self.cells.contacts.iter().filter(|contact| contact.proved).collect();
            near.sort_by_key(|contact| contact.place ^ target);
            found.extend(near.iter().take(NEAR).map(|contact| contact.record.clone()));
        }
        let mut body = Vec::with_capacity(512);
        Head::Near { nonce, bits: self.cells.bits }.put(&mut body);
        for record in &found {
            let item = Item::Record(record.bytes());
            if body.len() + item.size() <= self.config.body_max {
                item.put(&mut body);
            }
        }
        out.push(Effect::Send { to: Some(sender.id), addr: sender.addr, body });
    }

    /// Hears who is near a place; goes on to whoever is nearest, or is there.
    pub(super) fn on_near(
        &mut self,
        now: Instant,
        sender: &Sender,
        nonce: u32,
        bits: u8,
        rest: &mut Reader,
        out: &mut Vec<Effect>,
    ) {
        // A newcomer learns from those it was sent to how large the network is, and where its own cell begins.
        let new = self.table.lives() <= NEWCOMER || self.periods <= JOINING;
        let joins = new && self.seeds.contains(&sender.addr);
        if joins && bits > self.cells.bits && bits <= BITS_MAX {
            self.set_bits(bits, out);
            let times = self.times(true);
            self.rumours.push(self.short(), News::Record(self.me.clone()), times, true);
        } else if bits > self.cells.bits && self.splits_with(now, sender, bits) {
            self.set_bits(self.cells.bits + 1, out);
        }
        let search = self.cells.search.take_if(|search| search.nonce == nonce);
        let vouches = self.company.inquired(nonce) || joins;
        if search.is_none() && !vouches {
            return;
        }
        let mut records = Vec::with_capacity(NEAR);
        while let Some(Item::Record(bytes)) = Item::next(rest) {
            records.extend(Record::open(bytes, &self.keys).ok().filter(|record| record.id != self.me.id));
        }
        for record in &records {
            self.admit(now, record.clone(), None, out);
            if vouches {
                self.vouch(record.id.short());
            }
        }
        let (target, begun) = (self.place(), self.periods);
        let new = Search { target, nonce: 0, hops: 0, begun, common: 0, announce: false };
        let Some(search) = search.or(joins.then_some(new)) else { return };
        self.go_on(search, &records, out);
    }

    fn go_on(&mut self, mut search: Search, records: &[Arc<Record>], out: &mut Vec<Effect>) {
        let bits = u32::from(self.cells.bits);
        let common = |record: &Arc<Record>| (place_of(record) ^ search.target).leading_zeros();
        let Some(best) = records.iter().max_by_key(|record| common(record)) else { return };
        if common(best) >= bits {
            if search.announce {
                for record in records.iter().filter(|record| common(record) >= bits).take(2) {
                    let mut body = Vec::with_capacity(512);
                    Head::Gossip { introduce: false }.put(&mut body);
                    Item::Record(self.me.bytes()).put(&mut body);
                    out.push(Effect::Send { to: Some(record.id), addr: record.facts.addr, body });
                }
            }
            return;
        }
        if search.hops >= HOPS || (search.hops > 0 && common(best) <= search.common) {
            return;
        }
        search.hops += 1;
        search.common = common(best);
        search.nonce = self.next_nonce();
        self.find(best, search.nonce, search.target, out);
        self.cells.search = Some(search);
    }

    /// Tells somebody who is in a larger cell in how small a one this node is.
    pub(super) fn tell_bits(&self, sender: &Sender, out: &mut Vec<Effect>) {
        let mut body = Vec::with_capacity(512);
        Head::Near { nonce: 0, bits: self.cells.bits }.put(&mut body);
        Item::Record(self.me.bytes()).put(&mut body);
        out.push(Effect::Send { to: Some(sender.id), addr: sender.addr, body });
    }

    /// Whether to believe a member that the cell did split: if it is in the same half, and the cell is large enough for that;
    /// or if whomever this node asks says the same.
    fn splits_with(&mut self, now: Instant, sender: &Sender, bits: u8) -> bool {
        if bits > BITS_MAX || self.table.find_id(&sender.id).is_none() {
            return false;
        }
        let common = (place_at(&sender.addr.ip()) ^ self.place()).leading_zeros();
        if common >= u32::from(bits) && bits == self.cells.bits + 1 && self.size() * 2 > self.config.flat_max {
            return true;
        }
        if self.cells.offered.take_if(|short| *short == sender.short).is_some() {
            self.cells.smaller += 1;
            self.compare.hurry(now + self.config.period / 4);
        }
        self.cells.smaller >= SPLIT_BY
    }

    /// A cell that is too large splits, one that is too small joins its sibling.
    pub(super) fn fit_cell(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let (size, bits) = (self.size(), self.cells.bits);
        if size > self.config.flat_max && bits < BITS_MAX && !fault::on(Fault::CellsNeverSplit) {
            self.set_bits(bits + 1, out);
        } else if bits > 0 && size < self.config.flat_max / 4 && self.periods.wrapping_sub(self.cells.changed) > KEEP {
            self.set_bits(bits - 1, out);
            let (siblings, others) =
                core::mem::take(&mut self.cells.contacts).into_iter().partition(|contact| self.is_near(contact.place));
            self.cells.contacts = others;
            let siblings: Vec<Contact> = siblings;
            for contact in siblings {
                self.admit(now, contact.record, None, out);
            }
            self.compare.hurry(now + self.config.period);
        }
    }

    /// Is in a cell of so many bits from now on; whoever is not in it is forgotten, or a contact.
    fn set_bits(&mut self, bits: u8, out: &mut Vec<Effect>) {
        (self.cells.bits, self.cells.changed, self.cells.smaller) = (bits, self.periods, 0);
        let far: Vec<Arc<Record>> = self
            .table
            .iter()
            .map(|slot| slot.record())
            .filter(|record| !self.is_near(place_of(record)))
            .cloned()
            .collect();
        for record in &far {
            if let Some(at) = self.table.find(record.id.short()) {
                self.suspicions.remove(&record.id.short());
                let (lived, proved) = (self.table.get(at).lives(), self.table.get(at).is_proved());
                self.table.remove(at);
                out.push(Effect::Tell(Event::Forgotten(record.id)));
                if lived && bits > 0 {
                    self.meet(record.clone(), false);
                    if let Some(at) = self.cells.find(record.id.short()) {
                        self.cells.contacts[at].proved |= proved;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::rng::mix;

    #[test]
    fn each_cell_has_about_as_many_delegates_at_each_level_as_it_should() {
        let (bits, size) = (4_u8, 250);
        let places: Vec<u64> = (0..16 * size as u64).map(|n| mix(mix(n))).collect();
        for level in 0..u32::from(bits) {
            let mut sum = 0;
            for cell in 0..16_u64 {
                let at_level = |place: &&u64| (cell << 60 ^ **place).leading_zeros() == level;
                sum += places.iter().filter(at_level).filter(|place| is_delegate(cell, bits, size, **place)).count();
            }
            let mean = sum as u64 / 16;
            assert!((CONTACTS * 3 / 4..=CONTACTS * 5 / 4).contains(&mean), "level {level}: {mean}");
        }
    }
}
