//! Telling members from names, and whom to keep company with.
//!
//! Names are free: a liar floods others with them, and at most addresses that they claim is nobody, or somebody else. So a
//! node asks each member that it hears of, once. Whoever answers from where it says to be is *proved*: it is drawn for
//! samples, gossip and help, and its word counts.
//!
//! A newcomer is to be told from a drowned one by whom it asks first: members that it knew before a restart, its seeds, and
//! whom these name when they are asked whom they know. One that hears many names of nobody does not wait until half of them
//! are proved before it prefers those who are.
//!
//! A crowd that joins is to be told from a flood by how many of those answer who are asked by chance: of members as many as
//! on this line answer anyway. Only in a flood those are forgotten who stay silent.
//!
//! Sources: E. Bortnikov et al., "Brahms" (2009) for samples of those only who were asked; A. Auvolat et al., "BASALT"
//! (2023) for places instead of names.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{
    Effect, Event, Sender, Swim,
    rumour::News,
    table::{Slot, State, place_of},
};
use crate::kit::{Fault, Instant, Rng, Signer, Verifier, fault};

/// Members that a node asked itself, from which on it prefers them for gossip and help.
pub(super) const SETTLED: usize = 32;
/// Those from which on it draws samples from them only.
const FEW: usize = 8;
/// Names that a newcomer asks in a period, and that one asks who hears too many.
const ASKED_MAX: usize = 4;
/// Members that others named and that are to be asked first.
const VOUCHED_MAX: usize = 32;
/// Members at one place that are likely: a home or an office behind one address. More than that are invented sooner than
/// bought.
pub(super) const HOUSEHOLD: u8 = 8;

/// What was asked to tell members from names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Company {
    asked: Vec<Question>,
    /// Seeds that were asked: nonce, address.
    knocked: Vec<(u32, SocketAddr)>,
    /// Nonce of the question to a proved member, whom it knows.
    inquiry: Option<u32>,
    /// To be asked before others: place, short id. One for each place.
    vouched: Vec<(u64, u64)>,
    /// Of a million names by chance, those behind which nobody is: a mean over about 32.
    nobody: u32,
}

/// Somebody who is asked for the first time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Question {
    nonce: u32,
    short: u64,
    by_chance: bool,
}

impl Company {
    /// Whether nobody is asked.
    pub const fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether the answer `nonce` of `short` is waited for.
    pub fn awaits(&self, nonce: u32, short: u64) -> bool {
        self.asked.iter().any(|asked| (asked.nonce, asked.short) == (nonce, short))
    }

    /// Whether `nonce` asked a proved member whom it knows. Only one answer counts.
    pub fn inquired(&mut self, nonce: u32) -> bool {
        self.inquiry.take_if(|inquiry| *inquiry == nonce).is_some()
    }

    /// Who was asked with `nonce`, by short id.
    pub fn asked(&self, nonce: u32) -> Option<u64> {
        self.asked.iter().find(|asked| asked.nonce == nonce).map(|asked| asked.short)
    }

    /// Whoever was asked with `nonce` answered; whether it is `one` more who is there, or one of the many names at its place.
    fn answered(&mut self, nonce: u32, one: bool) {
        let Some(at) = self.asked.iter().position(|asked| asked.nonce == nonce) else { return };
        let question = self.asked.swap_remove(at);
        if !one {
            self.silent(question);
        } else if question.by_chance {
            self.nobody -= self.nobody / 32;
        }
    }

    /// Whether more than half of those who would answer on a line where `unanswered` of a million questions are in vain
    /// do not.
    fn is_mostly_nobody(&self, unanswered: u32) -> bool {
        self.nobody > (1_000_000 + unanswered) / 2
    }

    fn silent(&mut self, question: Question) {
        if question.by_chance {
            self.nobody += (1_000_000 - self.nobody) / 32;
        }
    }
}

impl<K: Signer + Verifier> Swim<K> {
    /// Members that answered this node.
    fn proved(&self) -> usize {
        self.table.lives() - self.table.unproved()
    }

    /// Whether this node asked enough others to tell members from names.
    pub(super) fn is_settled(&self) -> bool {
        let proved = self.proved();
        // Those who wait to be proved are at most half as many and a few (`has_room`), once this holds.
        proved >= SETTLED && (proved * 2 >= self.table.unproved() || self.company.is_mostly_nobody(self.unanswered))
    }

    /// Whether more names wait to be proved than those who are would explain: a crowd that joins, or a flood.
    pub(super) fn is_crowded(&self) -> bool {
        self.waits_more_than(2) || self.is_flooded()
    }

    /// Whether they are a flood: of members so many answer as on this line do, of inventions hardly any. Of those fewer are
    /// borne, since each would be told on, compared and asked.
    pub(super) fn is_flooded(&self) -> bool {
        self.waits_more_than(8) && self.company.is_mostly_nobody(self.unanswered)
    }

    /// Whether a few more names wait than one for each `part` that are proved.
    fn waits_more_than(&self, part: usize) -> bool {
        self.proved() >= SETTLED && self.table.unproved() > SETTLED + self.proved() / part
    }

    /// A living member of the whole network by chance; hosts with many names count as one, and names without a host not at
    /// all, once a few others are known.
    pub fn sample(&self, rng: &mut Rng) -> Option<&alloc::sync::Arc<super::Record>> {
        if let Some(beyond) = self.sample_beyond(rng) {
            return Some(beyond);
        }
        self.pick_from(FEW, rng, |slot| slot.state() == State::Alive).map(|at| self.table.get(at).record())
    }

    /// Somebody by chance for whom `fits`; one that is proved, if `enough` are.
    fn pick_from(&self, enough: usize, rng: &mut Rng, fits: impl Fn(&Slot) -> bool) -> Option<usize> {
        if self.proved() >= enough
            && !fault::on(Fault::UnprovedSampled)
            && let Some(at) = self.table.sample(rng, |slot| slot.is_proved() && fits(slot))
        {
            return Some(at);
        }
        self.table.sample(rng, fits)
    }

    /// Somebody for whom `fits`, by this node's own chance; one that is proved, if enough are.
    pub(super) fn pick_own(&mut self, fits: impl Fn(&Slot) -> bool) -> Option<usize> {
        let mut rng = self.rng.clone();
        let picked = self.pick_from(SETTLED, &mut rng, fits);
        self.rng = rng;
        picked
    }

    /// Asks those who never answered this node; beside the probe, so that a flood of names delays no verdict.
    pub(super) fn ask_new(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for question in core::mem::take(&mut self.company.asked) {
            self.company.silent(question);
            let Some(at) = self.table.find(question.short).filter(|at| !self.table.get(*at).is_proved()) else {
                continue;
            };
            if self.is_flooded() {
                self.forget(at, out);
            } else if self.table.get(at).state() == State::Alive {
                // Whoever restarts recalls some who died meanwhile, and those beyond name some; others here may know.
                self.ask_about(question.short, out);
            }
        }
        if self.table.unproved() == 0 {
            return;
        }
        let new = !self.is_settled() && self.proved() < 2 * SETTLED;
        for _ in 0..if new || self.is_crowded() { ASKED_MAX } else { 1 } {
            self.ask_one(now, out);
        }
        if new {
            self.inquire(out);
        }
    }

    fn ask_one(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let is_new = |slot: &Slot| slot.state() == State::Alive && !slot.is_proved();
        let mut vouched = None;
        while let (None, Some((_, short))) = (vouched, self.company.vouched.pop()) {
            vouched = self.table.find(short).filter(|at| is_new(self.table.get(*at)));
        }
        let Some(slot) = vouched.or_else(|| self.table.sample(&mut self.rng, is_new)) else { return };
        let facts = &self.table.get(slot).record().facts;
        let (short, hidden) = (self.table.get(slot).record().id.short(), facts.is_hidden());
        let nonce = self.next_nonce();
        self.company.asked.push(Question { nonce, short, by_chance: vouched.is_none() });
        if hidden {
            self.ask_helpers(now, short, nonce, 0, out);
        } else {
            self.ping(now, short, nonce, None, out);
        }
    }

    /// Asks somebody who is proved, whom it knows near this node: in a flat network, anybody.
    fn inquire(&mut self, out: &mut Vec<Effect>) {
        let fits = |slot: &Slot| slot.is_proved() && slot.state() == State::Alive && !slot.record().facts.is_hidden();
        let Some(at) = self.table.sample(&mut self.rng, fits).filter(|at| fits(self.table.get(*at))) else { return };
        let nonce = self.next_nonce();
        self.company.inquiry = Some(nonce);
        let record = self.table.get(at).record().clone();
        self.find(&record, nonce, place_of(&self.me), out);
    }

    /// Somebody whom this node chose named `short`: it is asked before others, if nobody is known at its place.
    pub(super) fn vouch(&mut self, short: u64) {
        let Some(at) = self.table.find(short) else { return };
        let place = place_of(self.table.get(at).record());
        let known = self.table.get(at).is_proved() || self.table.crowd(self.table.get(at).record()) > 0;
        let vouched = &mut self.company.vouched;
        if !known && vouched.len() < VOUCHED_MAX && vouched.iter().all(|other| other.0 != place) {
            vouched.push((place, short));
        }
    }

    /// A question to a seed left.
    pub(super) fn knock(&mut self, nonce: u32, addr: SocketAddr) {
        if self.company.knocked.len() >= 2 * ASKED_MAX {
            self.company.knocked.remove(0);
        }
        self.company.knocked.push((nonce, addr));
    }

    /// A seed answered, and said who it is.
    pub(super) fn seed_answered(&mut self, sender: &Sender, nonce: u32, out: &mut Vec<Effect>) {
        let Some(at) = self.company.knocked.iter().position(|asked| *asked == (nonce, sender.addr)) else { return };
        self.company.knocked.swap_remove(at);
        self.prove_from(sender, true, out);
    }

    /// `short`, which was asked with `nonce`, answered. An address answers to as many names as it likes.
    pub(super) fn new_answered(&mut self, short: u64, nonce: u32) {
        let place = self.table.find(short).map(|at| self.table.crowd(self.table.get(at).record()));
        self.company.answered(nonce, place.is_some_and(|names| names <= HOUSEHOLD));
    }

    /// An answer that was waited for, from where its sender says to be, proves that it is there.
    pub(super) fn prove_from(&mut self, sender: &Sender, asked: bool, out: &mut Vec<Effect>) {
        let Some(slot) = self.table.find_id(&sender.id).filter(|_| asked) else { return };
        if self.table.get(slot).record().facts.addr.ip() == sender.addr.ip() {
            self.prove(slot, out);
        }
    }

    /// The member at `at` answered us. If too many others did from there, it is one name too many.
    pub(super) fn prove(&mut self, at: usize, out: &mut Vec<Effect>) {
        let slot = self.table.get(at);
        if slot.is_proved() {
            return;
        }
        if slot.lives() && self.table.crowd(slot.record()) >= self.config.per_host_max {
            return self.forget(at, out);
        }
        let record = slot.record().clone();
        self.table.prove(at);
        if self.is_crowded() {
            let times = self.times(false);
            self.rumours.push(record.id.short(), News::Record(record), times, false);
        }
    }

    /// Whether one more can be taken in. Those who are proved are never pushed out; of the others, one by chance makes room,
    /// so that a flood of new names cannot keep out somebody who is there.
    pub(super) fn has_room(&mut self, out: &mut Vec<Effect>) -> bool {
        let full = self.table.len() >= self.config.members_max;
        if !full && !self.is_flooded() {
            return true;
        }
        let new = |slot: &Slot| !slot.is_proved() && (full || slot.lives());
        let Some(at) = self.table.sample(&mut self.rng, new) else { return false };
        self.forget(at, out);
        true
    }

    fn forget(&mut self, at: usize, out: &mut Vec<Effect>) {
        let id = self.table.get(at).record().id;
        self.suspicions.remove(&id.short());
        self.table.remove(at);
        out.push(Effect::Tell(Event::Forgotten(id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_from_a_bad_line() {
        let ask = |answers: u32, lost: u32| {
            let mut company = Company::default();
            let mut rng = Rng::new(3);
            let flooded = |nonce| {
                company.asked.push(Question { nonce, short: 1, by_chance: true });
                if rng.below(100) < answers {
                    company.answered(nonce, true);
                } else {
                    let silent = company.asked.pop().unwrap();
                    company.silent(silent);
                }
                company.is_mostly_nobody(lost)
            };
            (0..1000).map(flooded).skip(100).filter(|flooded| *flooded).count()
        };
        assert_eq!(ask(100, 0), 0);
        // At 20 % loss 64 of 100 questions are answered, at 30 % 49.
        assert_eq!(ask(64, 360_000), 0);
        assert_eq!(ask(49, 510_000), 0);
        assert_eq!(ask(2, 360_000), 900);
        // Four in ten of them members, on a good line.
        assert!(ask(40, 10_000) > 800);
    }
}
