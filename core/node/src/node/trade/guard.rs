//! Who fails again and again is not asked for a while, and then only to see whether it works again.
//!
//! What a failure costs in trust fades in weeks; a machine that hangs is well again in minutes. Three failures in a row open
//! the breaker of a worker before what this node saw of it bars it for good (five do), and a trial is one task of one asker,
//! however many wait.

use alloc::vec::Vec;

use super::{Effect, Event, OPEN_MAX, Trade};
use crate::{
    kit::{
        Instant, Machine, NodeId, Signer, Verifier,
        fault::{Fault, on},
    },
    trust::breaker::{self, Breaker},
    work::schedule::client,
};

/// The breaker of a worker that failed lately.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Guard {
    pub breaker: Breaker,
    trial: Trial,
    /// Whether all it did wrong so far was not to answer: then an answer mends it. Who failed at a task must do one.
    silent: bool,
}

/// Where the one call of a probing breaker is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trial {
    /// There is none.
    No,
    /// The next task that is drawn to the worker is it.
    Next,
    /// It is this task.
    Task(u64),
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Whether a worker may be asked for a place.
    pub(super) fn may_ask(&self, worker: &NodeId) -> bool {
        let may = |guard: &Guard| guard.breaker.allows() || guard.trial == Trial::Next;
        self.guards.get(worker).is_none_or(may) || on(Fault::BreakerIgnored)
    }

    /// A worker did not do what it was asked for, as this node itself saw.
    pub(super) fn failed(&mut self, now: Instant, worker: NodeId, task: u64, out: &mut Vec<Effect>) {
        let lease = self.tasks.get(&task).and_then(|wanted| wanted.lease.as_ref());
        let held = lease.is_some_and(|lease| lease.worker == worker);
        self.worked_out(now, worker, breaker::Input::Failed, out);
        if let Some(guard) = self.guards.get_mut(&worker) {
            guard.silent &= !held;
        }
    }

    /// A worker answered when it was asked for a place.
    pub(super) fn answered(&mut self, now: Instant, worker: NodeId, out: &mut Vec<Effect>) {
        if self.guards.get(&worker).is_some_and(|guard| guard.silent) {
            self.worked_out(now, worker, breaker::Input::Succeeded, out);
        }
    }

    pub(super) fn worked_out(&mut self, now: Instant, worker: NodeId, input: breaker::Input, out: &mut Vec<Effect>) {
        let known = self.guards.contains_key(&worker);
        if !known && (input == breaker::Input::Succeeded || self.guards.len() >= OPEN_MAX) {
            return;
        }
        let well = Breaker::new(self.config.breaker);
        let new = || Guard { breaker: well.clone(), trial: Trial::No, silent: true };
        let guard = self.guards.entry(worker).or_insert_with(new);
        let mut effects = Vec::new();
        guard.breaker.handle(now, input, &mut effects);
        if guard.breaker == well {
            self.guards.remove(&worker);
        }
        self.guard_wants(now, worker, &effects, out);
    }

    fn guard_wants(&mut self, now: Instant, worker: NodeId, effects: &[breaker::Effect], out: &mut Vec<Effect>) {
        if let Some(guard) = self.guards.get_mut(&worker) {
            guard.trial = if effects.contains(&breaker::Effect::Probe) { Trial::Next } else { Trial::No };
        }
        if effects.contains(&breaker::Effect::Refuse) {
            out.push(Effect::Tell(Event::Rested(worker)));
            self.tell_candidates(now, out);
        }
    }

    /// A worker is asked for a place: if it is on trial, no other task is given to it.
    pub(super) fn tried(&mut self, now: Instant, worker: &NodeId, task: u64, out: &mut Vec<Effect>) {
        let Some(guard) = self.guards.get_mut(worker) else { return };
        if guard.trial == Trial::Next && !on(Fault::TrialsWithoutEnd) {
            guard.trial = Trial::Task(task);
            self.tell_candidates(now, out);
        }
    }

    /// A worker was not needed, or had no room: that says nothing of how it works.
    pub(super) fn not_tried(&mut self, worker: &NodeId, task: u64) {
        if let Some(guard) = self.guards.get_mut(worker).filter(|guard| guard.trial == Trial::Task(task)) {
            guard.trial = Trial::Next;
        }
    }

    /// Tells the client side anew whom it may ask, for all models that are asked for.
    fn tell_candidates(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let models: alloc::collections::BTreeSet<u64> = self.tasks.values().map(|wanted| wanted.wish.model).collect();
        for model in models {
            let list = self.candidates(self.date(now), model);
            self.client_hears(now, client::Input::Candidates { model, list }, out);
        }
    }

    pub(super) fn tick_guards(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due = |guard: &Guard| guard.breaker.deadline().is_some_and(|due| due <= now);
        let workers: Vec<NodeId> = self.guards.iter().filter(|(_, guard)| due(guard)).map(|(id, _)| *id).collect();
        for worker in workers {
            let mut effects = Vec::new();
            if let Some(guard) = self.guards.get_mut(&worker) {
                guard.breaker.tick(now, &mut effects);
            }
            self.guard_wants(now, worker, &effects, out);
        }
    }
}
