//! Proofs of fraud: acted on, kept, and told.

use alloc::vec::Vec;

use super::{Effect, Event, Trade, message::Message};
use crate::{
    economy::ledger::{Fraud, alarm},
    kit::{Instant, Machine, NodeId, Signer, Verifier},
};

impl<K: Signer + Verifier + Clone> Trade<K> {
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
                    self.keep(self.me, &Message::Proof(fraud.clone()), out);
                    let owner = guilty.owner.then_some(guilty.account);
                    self.condemn(&fraud, owner.into_iter().chain(guilty.witnesses), out);
                }
            }
        }
    }

    fn condemn(&mut self, fraud: &Fraud, guilty: impl Iterator<Item = NodeId>, out: &mut Vec<Effect>) {
        // The line with the proof freezes it again after a restart.
        let _ = self.witness.freeze(fraud);
        for id in guilty {
            self.reputation.convict(id);
            self.edges.remove(&id);
            out.push(Effect::Tell(Event::Condemned(id)));
        }
    }

    pub(super) fn tick_alarm(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.alarm.deadline().is_some_and(|due| due <= now) {
            let mut effects = Vec::new();
            self.alarm.tick(now, &mut effects);
            self.alarm_wants(effects, out);
        }
    }
}
