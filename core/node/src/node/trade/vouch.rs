//! What is remembered of others, and told: edges of trust, and what was seen.
//!
//! Both are told as they are in all, not as what changed: what was lost is told again, and what comes twice is the same.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{
    Effect, Event, Trade,
    message::{Message, Sighting, VOUCH_MAX},
    vote::Ballot,
};
use crate::{
    kit::{Credits, Instant, Machine, NodeId, Ppm, Signer, UnixTime, Verifier},
    trust::{
        anomaly::{Observation, Sign, Subject},
        quarantine,
        reputation::{Standing, Statement, local::Session},
    },
};

/// Of whom, with which model, what.
pub(super) type Sight = (NodeId, u64, Sign);
/// What others said to have seen, and models whose speed is known.
const HEARD_MAX: usize = 65_536;
/// What an edge keeps from one day to the next: half in 69 days.
const KEPT: Ppm = Ppm(990_000);
/// Steps by which trust is folded in at once.
const PUSHES: usize = 100_000;

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// A session is over, and was settled and, if it was drawn, audited.
    pub(super) fn remember(&mut self, now: Instant, peer: NodeId, session: Session, paid: Credits) {
        if let Ok(statement) = self.reputation.session(self.date(now), peer, session, paid) {
            self.edges.insert(statement.to, statement.weight);
        }
    }

    /// A worker broke its word in a task.
    pub(super) fn let_down(&mut self, now: Instant, worker: NodeId, task: u64, out: &mut Vec<Effect>) {
        let Some(wanted) = self.tasks.get(&task) else { return };
        let model = wanted.wish.model;
        if wanted.lease.as_ref().is_some_and(|lease| lease.worker == worker) {
            self.end_lease(now, task, out);
        }
        self.sight(now, (worker, model, Sign::Failed), (1, 1), out);
        self.remember(now, worker, Session { done: false, accuracy: None, speed: None }, Credits(0));
    }

    /// A client took a block and did not pay.
    pub(super) fn not_paid(&mut self, now: Instant, client: NodeId, model: u64, out: &mut Vec<Effect>) {
        self.sight(now, (client, model, Sign::Failed), (1, 1), out);
    }

    /// How fast somebody was, in thousandths of a token a second.
    pub(super) fn timed(&mut self, now: Instant, worker: NodeId, model: u64, speed: u64, out: &mut Vec<Effect>) {
        self.sight(now, (worker, model, Sign::Failed), (1, 0), out);
        if !self.cohorts.contains_key(&model) && self.cohorts.len() >= HEARD_MAX {
            return;
        }
        let speed = u32::try_from(speed).unwrap_or(u32::MAX);
        let Some((slow, greedy)) = self.cohorts.entry(model).or_default().judge(speed) else { return };
        self.sight(now, (worker, model, Sign::Slow), (1, slow.into()), out);
        self.sight(now, (worker, model, Sign::Greedy), (1, greedy.into()), out);
    }

    /// This node saw something itself.
    pub(super) fn sight(
        &mut self,
        now: Instant,
        (peer, model, sign): Sight,
        (looked, seen): (u32, u32),
        out: &mut Vec<Effect>,
    ) {
        if peer == self.me {
            return;
        }
        if self.sightings.len() < HEARD_MAX || self.sightings.contains_key(&(peer, model, sign)) {
            let all = self.sightings.entry((peer, model, sign)).or_default();
            *all = (all.0.saturating_add(looked), all.1.saturating_add(seen));
        }
        let observation = Observation { observer: self.me, belief: Ppm::ALL, sign, looked, seen };
        self.observe(now, (peer, model), observation, out);
    }

    fn observe(&mut self, now: Instant, (peer, model): (NodeId, u64), observation: Observation, out: &mut Vec<Effect>) {
        let subject = Subject { peer, model, backend: self.config.back_end };
        if let Some(alarm) = self.anomaly.observe(subject, observation) {
            let observers = alarm.observers;
            self.quarantine_hears(now, quarantine::Input::Alarm { peer, observers }, out);
        }
    }

    /// Another says what it thinks, and what it saw.
    ///
    /// Any key may say something: of one whom no trust has reached nothing is heard, as it would weigh nothing and take the room of
    /// others. What an honest newcomer says is lost until then, and told again afterwards. Nor does anybody get a place by being
    /// named: it must be there, or have one.
    pub(super) fn vouched(
        &mut self,
        now: Instant,
        from: NodeId,
        edges: Vec<(NodeId, u32)>,
        sightings: Vec<Sighting>,
        out: &mut Vec<Effect>,
    ) {
        if from == self.me || self.reputation.trust(&from) == 0 {
            return;
        }
        for (to, weight) in edges {
            if !self.reputation.names(&to) && self.peers.binary_search_by_key(&to, |peer| peer.id).is_err() {
                continue;
            }
            // What does not fit is not heard; it is told again when there is room.
            let _ = self.reputation.heard(from, Statement { to, weight });
        }
        let known = self.reputation.standing(&from) == Standing::Known;
        for Sighting { peer, model, sign, looked, seen } in sightings {
            let key = (from, (peer, model, sign));
            if !known || (self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&key)) {
                continue;
            }
            let before = self.heard.insert(key, (looked, seen)).unwrap_or_default();
            let (looked, seen) = (looked.saturating_sub(before.0), seen.saturating_sub(before.1));
            let observation = Observation { observer: from, belief: Ppm::ALL, sign, looked, seen };
            self.observe(now, (peer, model), observation, out);
        }
    }

    pub(super) fn quarantine_hears(&mut self, now: Instant, input: quarantine::Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.quarantine.handle(now, input, &mut effects);
        self.quarantine_wants(now, effects, out);
    }

    fn quarantine_wants(&mut self, now: Instant, effects: Vec<quarantine::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                quarantine::Effect::Bar { peer, times, term } => {
                    let until = UnixTime(self.date(now).0.saturating_add(term.as_secs()));
                    self.reputation.disappointed(&peer);
                    self.keep(self.me, &Message::Barred { peer, times, until }, out);
                    out.push(Effect::Tell(Event::Barred(peer)));
                }
                quarantine::Effect::Try(peer) => out.push(Effect::Tell(Event::Tried(peer))),
                quarantine::Effect::Free(peer) => {
                    self.keep(self.me, &Message::Barred { peer, times: 0, until: UnixTime(0) }, out);
                }
            }
        }
    }

    /// A line says that `peer` was barred until then.
    pub(super) fn recall_barred(&mut self, peer: NodeId, times: u32, until: UnixTime) {
        if times > 0 {
            self.reputation.disappointed(&peer);
        }
        let left = Duration::from_secs(until.0.saturating_sub(self.born.0));
        let recall = quarantine::Input::Recall { peer, times, left };
        self.quarantine.handle(Instant::default(), recall, &mut Vec::new());
    }

    pub(super) fn tick_vouch(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.quarantine.deadline().is_some_and(|due| due <= now) {
            let mut effects = Vec::new();
            self.quarantine.tick(now, &mut effects);
            self.quarantine_wants(now, effects, out);
        }
        if self.vouch_due > now {
            return;
        }
        self.vouch_due = now + self.config.vouch_every.max(super::MOMENT);
        let day = self.date(now).0 / super::DAY_S;
        if core::mem::replace(&mut self.day, day) != day {
            self.reputation.epoch(KEPT);
        }
        let _ = self.reputation.refresh(PUSHES);
        self.open_account(now, out);
        self.look_after_witnesses(now, out);
        self.want_again(now, out);
        if self.governance.open().next().is_some() {
            let _ = self.cast(now, Ballot::Date(self.date(now)), out);
            self.hear_waiting(now, out);
        }
        self.vouch(out);
    }

    /// Tells some others, everybody in turn. When all had theirs they are told what comes next.
    ///
    /// So whoever stays hears all there is within as many turns of everybody as it takes messages: of 234 sightings to 39
    /// others that is 4 times 5 rounds.
    fn vouch(&mut self, out: &mut Vec<Effect>) {
        let (edges, next_edge) = window(&self.edges, self.turn.edge);
        let (sightings, next_sight) = window(&self.sightings, self.turn.sight);
        if edges.is_empty() && sightings.is_empty() {
            return;
        }
        let sighting = |((peer, model, sign), (looked, seen))| Sighting { peer, model, sign, looked, seen };
        let sightings = sightings.into_iter().map(sighting).collect();
        let message = Message::Vouch { edges, sightings };
        // `meet` keeps them in the order of their ids.
        let all = self.peers.iter().map(|peer| peer.id);
        let mut left = all.filter(|id| *id != self.me && *id >= self.turn.listener);
        for to in left.by_ref().take(self.config.vouch_to) {
            out.push(Effect::Send { to, message: message.clone() });
        }
        self.turn = match left.next() {
            Some(listener) => Turn { listener, ..self.turn },
            None => Turn { listener: NodeId::default(), edge: next_edge, sight: next_sight },
        };
    }
}

/// Who is told next, and from where on what is known.
///
/// By name and not by place: whoever comes or goes in the meantime shifts nobody out of its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    listener: NodeId,
    edge: NodeId,
    sight: Sight,
}

impl Turn {
    /// Everybody begins at its own name. If all began at the first one, of whoever comes last in that order all would hear last.
    pub(super) fn of(me: NodeId) -> Self {
        Self { listener: NodeId::default(), edge: me, sight: (me, 0, Sign::Wrong) }
    }
}

/// As many as a message takes, from `at` on and round again; and what comes after them.
fn window<K: Ord + Copy, V: Copy>(all: &BTreeMap<K, V>, at: K) -> (Vec<(K, V)>, K) {
    let mut items = all.range(at..).chain(all.range(..at)).map(|(key, value)| (*key, *value));
    let told = items.by_ref().take(VOUCH_MAX).collect();
    (told, items.next().map_or(at, |next| next.0))
}
