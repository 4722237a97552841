//! Proofs of fraud: acted on, kept, and told.
//!
//! Any key may fork its own log, and be made up for that. What is kept, counted and told without a bound is only about those with
//! whom this node has to do; see [`Trade::proof_told`].

use alloc::{boxed::Box, vec, vec::Vec};

use super::{Effect, Event, Trade, message::Message};
use crate::{
    economy::ledger::{Fraud, alarm, fraud::Guilty},
    kit::{Instant, Machine, NodeId, Signer, Verifier},
    trust::reputation::Standing,
};

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Somebody tells of a fraud. One that names nobody who is not convicted already is no news, whoever says it again; nor is one
    /// by witnesses of whom this node knows nothing: it may be a megabyte, and a fork is not.
    pub(super) fn proof_told(&mut self, now: Instant, fraud: Box<Fraud>, out: &mut Vec<Effect>) {
        let freezes = |owner| self.witness.fold(&owner).is_some() && self.witness.fraud(&owner).is_none();
        let news = |id: &NodeId| *id != self.me && self.reputation.standing(id) != Standing::Convicted;
        let named: Vec<NodeId> = named(&fraud).into_iter().filter(news).collect();
        if fraud.owner().is_some_and(freezes) || named.iter().any(|id| self.has_met(id)) {
            self.alarm_hears(now, alarm::Input::Heard(fraud), out);
        } else if fraud.owner().is_some() && !named.is_empty() {
            self.alarm_hears(now, alarm::Input::Foreign(fraud), out);
        }
    }

    pub(super) fn alarm_hears(&mut self, now: Instant, input: alarm::Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.alarm.handle(now, input, &mut effects);
        self.alarm_wants(effects, out);
    }

    fn alarm_wants(&mut self, effects: Vec<alarm::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                alarm::Effect::Tell { to, fraud } => out.push(Effect::Send { to, message: Message::Proof(fraud) }),
                alarm::Effect::Condemn { guilty, fraud } => {
                    // The line with the proof freezes it again after a restart.
                    let frozen = self.witness.freeze(&fraud).is_some();
                    let convicted = self.condemn(&guilty);
                    // One that is not remembered comes again and again.
                    if frozen || !convicted.is_empty() || self.alarm.remembers(&fraud) {
                        self.keep(self.me, &Message::Proof(fraud), out);
                    }
                    out.extend(convicted.into_iter().map(|id| Effect::Tell(Event::Condemned(id))));
                }
                alarm::Effect::Shun(guilty) => {
                    out.extend(self.condemn(&guilty).into_iter().map(|id| Effect::Tell(Event::Condemned(id))));
                }
            }
        }
    }

    /// Nobody's trust reaches the guilty any more; those of them who were not convicted before.
    pub(super) fn condemn(&mut self, guilty: &Guilty) -> Vec<NodeId> {
        let owner = guilty.owner.then_some(guilty.account);
        let mut convicted = Vec::new();
        for id in owner.into_iter().chain(guilty.witnesses.iter().copied()) {
            if self.reputation.standing(&id) == Standing::Convicted {
                continue;
            }
            // A newcomer that disappoints is one that this node, or somebody whom it believes, gave work.
            if self.deals_with(&id) {
                self.reputation.convict(id);
            } else {
                self.reputation.outlaw(id);
            }
            self.edges.remove(&id);
            if self.reputation.standing(&id) == Standing::Convicted {
                convicted.push(id);
            }
        }
        convicted
    }

    /// Whether this node, or somebody whom it believes, gave it work.
    fn deals_with(&self, id: &NodeId) -> bool {
        self.reputation.names(id) || self.reputation.local(id).is_some()
    }

    /// Whether this node has anything to do with somebody: trust names it, it worked for this node, or it shows its account.
    fn has_met(&self, id: &NodeId) -> bool {
        self.deals_with(id) || self.witness.fold(id).is_some() || self.sets.current(id).is_some()
    }

    pub(super) fn tick_alarm(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.alarm.deadline().is_some_and(|due| due <= now) {
            let mut effects = Vec::new();
            self.alarm.tick(now, &mut effects);
            self.alarm_wants(effects, out);
        }
    }
}

/// Whom a proof names, if it is one.
fn named(fraud: &Fraud) -> Vec<NodeId> {
    match fraud {
        Fraud::Fork { one, .. } => vec![one.entry.account],
        Fraud::Double { lower, lower_set, upper, upper_set, .. } => {
            let both = upper.signers(upper_set);
            lower.signers(lower_set).into_iter().filter(|id| both.contains(id)).collect()
        }
    }
}
