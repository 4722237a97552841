//! Asking whether somebody is there.
//!
//! One probe a period P, all waits times the local health multiplier:
//!
//! | at | what |
//! |---|---|
//! | 0 | ping |
//! | P/4 | ping again; ask helpers to ping |
//! | 9P/20 | once more, twice or three times, if answers are often lost |
//! | 3P/4 | verdict; from 3P/5 on as soon as all helpers said that they got no answer either |
//!
//! Each silence is evidence: if a share q of questions stays unanswered though somebody is there, a silent question tells
//! log2(1/q) bits against it, and a silent helper log2(1/(1-(1-q)²)), because two such exchanges must both succeed.
//! A member is accused when the sum reaches 16.6 bits: 1 in 100,000. q is measured, at this node, on its own questions. On
//! a good line one round is more than enough; at 30 % loss it takes two or three.
//!
//! A helper pings at once, again after 3P/20, and after 3P/10 says that it got no answer either. A prober that does not
//! even hear that from anybody holds itself for ill (Lifeguard §IV.A).

use alloc::vec::Vec;
use core::time::Duration;

use super::{
    Effect, Event, Sender, Swim,
    message::Head,
    table::{State, place_at},
};
use crate::kit::{Domain, Fault, Instant, Rng, Signature, Signer, Verifier, fault};

/// Share of unanswered questions that a new node assumes, in parts per million: a bad line, until it knows better. That
/// takes some thirty periods, in which it asks twice before it accuses.
pub(super) const UNANSWERED_START: u32 = 300_000;
/// No line is held for better than this: what was measured may be over.
const UNANSWERED_MIN: u32 = 10_000;
/// Sixteenths of a bit that make a suspicion: log2(100,000) is 16.6.
const EVIDENCE: u32 = 266;
/// Periods after which a member behind a wall lets its relays hear of it, so that the way in stays open: walls forget
/// after 30 s and more (RFC 4787 REQ-5 and the field).
const RELAY_EVERY: u32 = 16;
/// Questions for others that are under way at a time.
const RELAYS_MAX: usize = 64;

/// A question that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probe {
    target: u64,
    nonce: u32,
    /// Rounds before this one stayed without answer.
    rounds: u32,
    step: Step,
    /// When this round began.
    begun: Instant,
    /// A twentieth of a period, as long as it was then.
    unit: Duration,
    pub due: Instant,
    /// Sixteenths of bits from the rounds before.
    evidence: u32,
    pings: u32,
    helpers: u32,
    /// Helpers that said anything.
    heard: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The first ping is out.
    First,
    /// So are the second and the requests for help.
    Helped,
    /// So is everything.
    Last,
    /// No verdict yet; the next period goes on with the same.
    Open,
}

/// A question that was asked for somebody else.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Relay {
    target: u64,
    nonce: u32,
    asker: u64,
    asker_nonce: u32,
    again: bool,
    begun: Instant,
    pub due: Instant,
}

/// An order by chance through all slots of the table: a step whose length shares no factor with the number of slots comes
/// to each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Walk {
    at: usize,
    stride: usize,
    left: usize,
    size: usize,
}

impl Walk {
    /// The next slot of `size`.
    fn next(&mut self, size: usize, rng: &mut Rng) -> usize {
        if self.left == 0 || self.size != size {
            self.at = rng.below(size as u32) as usize;
            self.stride = 1 + rng.below(size as u32 - 1) as usize;
            while gcd(self.stride, size) != 1 {
                self.stride = 1 + self.stride % (size - 1);
            }
            (self.left, self.size) = (size, size);
        }
        self.left -= 1;
        self.at = (self.at + self.stride) % size;
        self.at
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl<K: Signer + Verifier> Swim<K> {
    pub(super) fn tick_probe(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.probe.as_ref().is_some_and(|probe| probe.due <= now) {
            self.step(now, out);
        }
        if self.period_due <= now {
            // Not from `now`: a tick that is a little late must not shift all that follow. One that is very late must.
            let period = self.config.period * self.scale();
            self.period_due = self.period_due + period;
            if self.period_due <= now {
                self.period_due = now + period;
            }
            self.begin_period(now, out);
        }
    }

    fn begin_period(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if let Some(left) = &mut self.leaving {
            *left = left.saturating_sub(1);
            return;
        }
        if self.table.lives() == 0 {
            self.ask_seeds(now, out);
        }
        self.compare.refill();
        self.periods = self.periods.wrapping_add(1);
        if self.me.facts.is_hidden() && self.periods.is_multiple_of(RELAY_EVERY) {
            let relays = self.me.facts.relays;
            relays.into_iter().for_each(|relay| self.ping(now, relay, 0, None, out));
        }
        self.ask_dead(now, out);
        self.ask_new(now, out);
        self.look_beyond(now, out);
        let rounds = match self.probe.take() {
            Some(open) if open.step == Step::Open && self.find_living(open.target).is_some() => Some(open),
            _ => None,
        };
        let Some(target) = rounds.as_ref().map(|open| open.target).or_else(|| self.next_target(now)) else { return };
        let unit = self.config.period * self.scale() / 20;
        let nonce = rounds.as_ref().map_or_else(|| self.next_nonce(), |open| open.nonce);
        self.probe = Some(Probe {
            target,
            nonce,
            rounds: rounds.as_ref().map_or(0, |open| open.rounds + 1),
            step: Step::First,
            begun: now,
            unit,
            due: now + unit * 5,
            evidence: rounds.as_ref().map_or(0, |open| open.evidence),
            pings: 1,
            helpers: 0,
            heard: 0,
        });
        self.ping(now, target, nonce, None, out);
        // Somebody behind a wall is asked through its relays from the start.
        if let Some(slot) = self.find_living(target)
            && self.table.get(slot).record().facts.is_hidden()
        {
            let asked = self.ask_helpers(now, target, nonce, 0, out);
            self.probe.as_mut().expect("just put there").helpers = asked;
        }
    }

    /// Whom to ask in this period. Members that died long ago are forgotten on the way.
    fn next_target(&mut self, now: Instant) -> Option<u64> {
        if let Some(doubted) = self.doubted.take().filter(|short| self.find_living(*short).is_some()) {
            return Some(doubted);
        }
        if fault::on(Fault::NobodyProbed) {
            return None;
        }
        let remember = self.config.remember.as_secs() as u32;
        for _ in 0..self.table.size() {
            let mut at = self.walk.next(self.table.size(), &mut self.rng);
            if fault::on(Fault::SameOneProbed) {
                at = (0..self.table.size()).find(|at| self.table.occupant(*at).is_some()).unwrap_or(at);
            }
            let Some(slot) = self.table.occupant(at) else { continue };
            if slot.lives() {
                return Some(slot.record().id.short());
            }
            if Self::second(now).saturating_sub(slot.since()) > remember || fault::on(Fault::DeadForgottenAtOnce) {
                self.table.remove(at);
            }
        }
        None
    }

    /// The probe's own timer: more questions, then the verdict.
    fn step(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(mut probe) = self.probe.take() else { return };
        let (target, nonce, unit) = (probe.target, probe.nonce, probe.unit);
        let Some(slot) = self.find_living(target) else { return };
        // More questions where more are lost; see the sums above.
        let lost = if fault::on(Fault::LossNotMeasured) { UNANSWERED_MIN } else { self.unanswered };
        let (more, helpers) = match lost {
            0..60_000 => (0, 3),
            60_000..140_000 => (1, 4),
            _ => (3, 7),
        };
        match probe.step {
            Step::First => {
                self.ping(now, target, nonce, None, out);
                probe.pings += 1;
                let asked = self.ask_helpers(now, target, nonce, helpers - probe.helpers.min(helpers), out);
                probe.helpers += asked;
                probe.step = Step::Helped;
                probe.due = probe.begun + unit * 9;
            }
            Step::Helped => {
                (0..more).for_each(|_| self.ping(now, target, nonce, None, out));
                probe.pings += more;
                probe.step = Step::Last;
                probe.due = probe.begun + unit * 15;
            }
            Step::Last => {
                let helper_lost = 1_000_000 - square(1_000_000 - lost);
                probe.evidence += probe.pings * bits(lost) + probe.helpers * bits(helper_lost);
                if probe.helpers > 0 && probe.heard == 0 {
                    self.worsen(1);
                }
                if probe.evidence >= EVIDENCE || fault::on(Fault::OneSilenceIsEnough) || probe.rounds >= 7 {
                    self.accuse(now, slot, out);
                    return;
                }
                probe.step = Step::Open;
                probe.due = self.period_due + Duration::from_micros(1);
            }
            Step::Open => {}
        }
        // A tick that came late finds the next step due too; time goes on.
        probe.due = probe.due.max(now + Duration::from_micros(1));
        self.probe = Some(probe);
    }

    pub(super) fn ping(
        &mut self,
        now: Instant,
        target: u64,
        nonce: u32,
        behalf: Option<(u64, u32)>,
        out: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.table.find(target) else { return };
        self.send_to(now, slot, &Head::Ping { nonce, introduce: false, behalf }, out);
    }

    /// Asks the target's relays and `count` members by chance to ping it. How many were asked.
    pub(super) fn ask_helpers(
        &mut self,
        now: Instant,
        target: u64,
        nonce: u32,
        count: u32,
        out: &mut Vec<Effect>,
    ) -> u32 {
        if fault::on(Fault::HelpersNotAsked) {
            return 0;
        }
        let relays = self.table.find(target).map_or([0; 2], |slot| self.table.get(slot).record().facts.relays);
        let mut asked: Vec<usize> = Vec::new();
        for relay in relays {
            asked.extend(self.find_living(relay).filter(|_| relay != target));
        }
        for _ in 0..count {
            let fits = |slot: &super::table::Slot| {
                slot.state() == State::Alive && slot.record().id.short() != target && !slot.record().facts.is_hidden()
            };
            if let Some(slot) = self.pick_own(fits)
                && !asked.contains(&slot)
            {
                asked.push(slot);
            }
        }
        for slot in &asked {
            self.send_to(now, *slot, &Head::Help { nonce, target }, out);
        }
        asked.len() as u32
    }

    /// Now and then asks somebody who is dead: after a partition, that is how the halves find each other. The more are
    /// dead, the likelier it is the network and not they.
    fn ask_dead(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let dead = self.table.dead();
        if dead == 0 || fault::on(Fault::DeadNeverAsked) {
            return;
        }
        let share = (dead as u64 * 1_000_000 / (dead + self.size()) as u64) as u32;
        if !self.rng.chance(share.max(62_500)) {
            return;
        }
        let Some(slot) = self.table.sample(&mut self.rng, |slot| slot.state() == State::Dead) else { return };
        let nonce = self.next_nonce();
        self.reached = Some((nonce, self.table.get(slot).record().id.short()));
        let mut body = self.begin(now, Some(slot), &Head::Ping { nonce, introduce: false, behalf: None });
        super::message::Item::Record(self.me.bytes()).put(&mut body);
        let record = self.table.get(slot).record();
        out.push(Effect::Send { to: Some(record.id), addr: record.facts.addr, body });
    }

    pub(super) fn ask_seeds(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let count = if fault::on(Fault::SeedsNotAsked) { 0 } else { self.seeds.len().min(3) };
        for _ in 0..count {
            let addr = self.seeds[self.rng.below(self.seeds.len() as u32) as usize];
            let nonce = self.next_nonce();
            self.knock(nonce, addr);
            let mut body = self.begin(now, None, &Head::Ping { nonce, introduce: true, behalf: None });
            super::message::Item::Record(self.me.bytes()).put(&mut body);
            out.push(Effect::Send { to: None, addr, body });
        }
    }

    #[allow(clippy::too_many_arguments, reason = "all of a ping")]
    pub(super) fn on_ping(
        &mut self,
        now: Instant,
        sender: &Sender,
        nonce: u32,
        introduce: bool,
        behalf: Option<(u64, u32)>,
        introduced: bool,
        out: &mut Vec<Effect>,
    ) {
        if self.leaving.is_some() {
            return self.introduce_to(now, Some(sender.id), sender.addr, out);
        }
        let slot = self.table.find_id(&sender.id);
        // In cells, most who are no members here are members elsewhere.
        let ask = slot.is_none() && !introduced && self.may_be_near(&sender.addr);
        if introduce {
            // A newcomer, or one that comes back: told how small cells are, and who is nearer; in a flat network, of some.
            self.on_find(sender, nonce, place_at(&sender.addr.ip()), out);
        }
        let head = Head::Ack { nonce, introduce: ask, proof: behalf.is_some(), pulse: self.pulse };
        let mut body = Vec::with_capacity(256);
        head.put(&mut body);
        if let Some((asker, asker_nonce)) = behalf {
            let proof = self.keys.sign(Domain::Proof, &[&asker.to_be_bytes(), &asker_nonce.to_be_bytes()]);
            body.extend_from_slice(&proof.0);
        }
        if let Some(slot) = slot {
            self.warn(now, slot, &mut body);
        }
        if introduce {
            super::message::Item::Record(self.me.bytes()).put(&mut body);
        }
        // To where it came from: that way is open, whatever stands between.
        self.send(now, Some(sender.id), sender.addr, body, out);
    }

    /// Whether `head` answers a question of ours to `who`.
    pub(super) fn awaits(&self, who: u64, head: &Head) -> bool {
        let Head::Ack { nonce, .. } = *head else { return false };
        self.probe.as_ref().is_some_and(|probe| (probe.nonce, probe.target) == (nonce, who))
            || self.relays.iter().any(|relay| (relay.nonce, relay.target) == (nonce, who))
            || self.reached == Some((nonce, who))
            || self.company.awaits(nonce, who)
            || self.suspicions.get(&who).is_some_and(|open| open.nonce == Some(nonce))
    }

    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sender: &Sender,
        nonce: u32,
        proof: Option<Signature>,
        pulse: super::Pulse,
        out: &mut Vec<Effect>,
    ) {
        if self.contact_answered(sender, nonce) {
            return;
        }
        let asked = self.awaits(sender.short, &Head::Ack { nonce, introduce: false, proof: false, pulse });
        self.prove_from(sender, asked, out);
        self.suspect_answered(now, sender.short, nonce, out);
        if let Some(probe) = self.probe.take_if(|probe| (probe.nonce, probe.target) == (nonce, sender.short)) {
            self.answered(probe.step == Step::First && probe.rounds == 0);
            out.push(Effect::Tell(Event::Pulse(sender.id, pulse)));
        }
        let relay = self.relays.iter().position(|relay| (relay.nonce, relay.target) == (nonce, sender.short));
        if let (Some(at), Some(proof)) = (relay, proof) {
            let relay = self.relays.swap_remove(at);
            if let Some(slot) = self.table.find(relay.asker).filter(|_| !fault::on(Fault::HelpersKeepProofs)) {
                let mut body = Vec::with_capacity(256);
                Head::Proof { nonce: relay.asker_nonce }.put(&mut body);
                body.extend_from_slice(&proof.0);
                self.warn(now, slot, &mut body);
                let record = self.table.get(slot).record();
                let (id, addr) = (record.id, record.facts.addr);
                self.send(now, Some(id), addr, body, out);
            }
        }
        self.reached.take_if(|asked| *asked == (nonce, sender.short));
        if asked {
            self.new_answered(sender.short, nonce);
        }
    }

    /// The target of the running probe is there: after its first ping, or only later.
    fn answered(&mut self, at_once: bool) {
        self.health = self.health.saturating_sub(u32::from(!fault::on(Fault::HealthNeverMends)));
        // A mean over about 16 questions.
        let sample = if at_once { 0 } else { 1_000_000 };
        self.unanswered = ((self.unanswered * 15 + sample) / 16).max(UNANSWERED_MIN);
    }

    pub(super) fn on_help(
        &mut self,
        now: Instant,
        sender: &Sender,
        asker_nonce: u32,
        target: u64,
        out: &mut Vec<Effect>,
    ) {
        let known = self.table.find_id(&sender.id).is_some() && self.table.find(target).is_some();
        if !known || self.relays.len() >= RELAYS_MAX || self.leaving.is_some() {
            return;
        }
        let nonce = self.next_nonce();
        let asker = sender.short;
        let due = now + self.config.period * 3 / 20;
        self.relays.push(Relay { target, nonce, asker, asker_nonce, again: false, begun: now, due });
        self.ping(now, target, nonce, Some((asker, asker_nonce)), out);
    }

    pub(super) fn tick_relays(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.relays.iter().all(|relay| relay.due > now) {
            return;
        }
        let mut relays = core::mem::take(&mut self.relays);
        relays.retain_mut(|relay| {
            if relay.due > now {
                return true;
            }
            if !relay.again {
                relay.again = true;
                relay.due = (relay.begun + self.config.period * 3 / 10).max(now + Duration::from_micros(1));
                self.ping(now, relay.target, relay.nonce, Some((relay.asker, relay.asker_nonce)), out);
                return true;
            }
            if let Some(slot) = self.table.find(relay.asker) {
                self.send_to(now, slot, &Head::Nack { nonce: relay.asker_nonce }, out);
            }
            false
        });
        self.relays = relays;
    }

    pub(super) fn on_proof(&mut self, nonce: u32, proof: &Signature, out: &mut Vec<Effect>) {
        let probed = self.probe.as_ref().filter(|probe| probe.nonce == nonce).map(|probe| probe.target);
        let new = self.company.asked(nonce);
        let Some(slot) = probed.or(new).and_then(|target| self.table.find(target)) else { return };
        let parts = [&self.short().to_be_bytes()[..], &nonce.to_be_bytes()];
        if !self.keys.verify(&self.table.get(slot).record().key, Domain::Proof, &parts, proof) {
            return;
        }
        if probed.is_some() {
            self.probe = None;
            self.answered(false);
        }
        let record = self.table.get(slot).record();
        let (short, hidden) = (record.id.short(), record.facts.is_hidden());
        // By way of others only those can be reached who say so.
        if hidden {
            self.prove(slot, out);
        }
        self.new_answered(short, nonce);
    }

    pub(super) fn on_nack(&mut self, now: Instant, sender: &Sender, nonce: u32) {
        let known = self.table.find_id(&sender.id).is_some();
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.nonce == nonce && known) {
            probe.heard += 1;
            // There is nothing more to come; but helpers that lie are fast, so an answer still gets the time it needs.
            if probe.step == Step::Last && probe.heard >= probe.helpers {
                probe.due = probe.due.min((probe.begun + probe.unit * 12).max(now + Duration::from_micros(1)));
            }
        }
    }

    pub(super) fn find_living(&self, short: u64) -> Option<usize> {
        self.table.find(short).filter(|slot| self.table.get(*slot).lives())
    }
}

/// Sixteenths of bits of evidence in one silence, if `lost` of a million are lost anyway.
fn bits(lost: u32) -> u32 {
    super::config::log2_16(1_000_000) - super::config::log2_16(lost.max(1))
}

/// The square of a share in parts per million.
fn square(share: u32) -> u32 {
    (u64::from(share) * u64::from(share) / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_comes_to_each_slot_once() {
        let mut rng = Rng::new(2);
        for size in [16, 17, 24, 36, 100, 12_501] {
            let mut walk = Walk::default();
            let mut seen = alloc::vec![0; size];
            (0..size * 3).for_each(|_| seen[walk.next(size, &mut rng)] += 1);
            assert!(seen.iter().all(|times| *times == 3), "{size}");
        }
    }

    #[test]
    fn evidence_is_what_probability_says() {
        assert_eq!((bits(500_000), bits(250_000), bits(1_000_000)), (16, 32, 0));
        // 2 pings and 3 helpers at 2 %: 5.6 bits each, and 4.7 for two exchanges at 3.96 %.
        let sum = 2 * bits(20_000) + 3 * bits(1_000_000 - square(980_000));
        assert!((400..425).contains(&sum), "{sum}");
        assert!(sum >= EVIDENCE);
    }
}
