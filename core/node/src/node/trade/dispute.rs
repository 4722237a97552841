//! Whoever is found guilty by the word of others appeals, and a jury decides.
//!
//! ```text
//! client                                        worker
//!   |--- Verdict (which blocks, who accuses) ---->|
//!   |<-- Appeal ----------------------------------|
//!   |--- Audit --> each juror                     |  the blocks that the auditors had
//!   |<-- Audited --- each juror                   |
//!   |--- Rest ----------------------------------->|  all of it; or none, for whoever appealed in vain
//! ```
//!
//! What this node computed itself is not open to appeal: nobody can tell it better, and a client that lies needs no auditors for
//! that. Until it is decided the worker gets no work here. One appeal a task is heard, so many juries sit at once, and
//! whoever appealed in vain is not heard again for a day ([`Config`](crate::trust::verify::dispute::Config)): a worker makes
//! others compute one answer a day and client for nothing, and a newcomer pays for it.
//!
//! Whoever lost its power in between, be it the client or the worker, is out of the dispute: what is withheld is released, or the
//! verdict is accepted.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

use super::{
    Effect, Event, Trade,
    audit::{Audit, Case},
    message::{AUDITORS_MAX, Message},
    withhold::Penalty,
};
use crate::{
    kit::{
        Instant, Machine, NodeId, Signer, Verifier,
        fault::{Fault, on},
    },
    trust::verify::dispute::{self, Dispute, Verdict},
    work::schedule::worker::Key,
};

/// Tasks of which a worker remembers that it did them.
const SERVED_MAX: usize = 256;
/// Workers of which it is remembered that they appealed in vain.
const UNHEARD_MAX: usize = 4096;

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Others say that a worker is guilty: it is told, and may say no.
    pub(super) fn accuse(&mut self, now: Instant, case: Case, mut audit: Audit, out: &mut Vec<Effect>) {
        audit.dispute = Some(Box::new(Dispute::new(now, &self.config.dispute)));
        self.tell_verdict(now, case, &audit, out);
        self.audits.insert(case, audit);
    }

    /// Tells a worker that it is found guilty, and by whom.
    pub(super) fn tell_verdict(&mut self, now: Instant, (task, worker): Case, audit: &Audit, out: &mut Vec<Effect>) {
        let accusers = audit.said.iter().filter(|said| said.1).map(|said| said.0);
        let auditors = accusers.take(AUDITORS_MAX).collect();
        let (first, blocks) = (audit.first, audit.marks);
        self.remind(now, worker, Message::Verdict { task, first, blocks, auditors }, out);
    }

    /// Workers that are told to be guilty while that is not decided.
    pub(super) fn contested(&self) -> BTreeSet<NodeId> {
        self.audits.iter().filter(|(_, audit)| audit.dispute.is_some()).map(|(case, _)| case.1).collect()
    }

    /// A task is over that this node did.
    pub(super) fn has_served(&mut self, key: Key) {
        if self.served.len() >= SERVED_MAX {
            self.served.pop_front();
        }
        self.served.push_back(key);
    }

    /// A client says that this node is guilty. Who did its work appeals; unless the client says to have looked itself.
    pub(super) fn accused(&self, key: Key, auditors: &[NodeId], out: &mut Vec<Effect>) {
        if self.served.contains(&key) && !auditors.contains(&key.0) {
            out.push(Effect::Send { to: key.0, message: Message::Appeal(key.1) });
        }
    }

    /// A worker does not accept its verdict.
    pub(super) fn appealed(&mut self, now: Instant, case: Case, out: &mut Vec<Effect>) {
        let sits = |audit: &&Audit| audit.dispute.as_ref().is_some_and(|dispute| !dispute.hears());
        let full = self.audits.values().filter(sits).count() >= self.config.dispute.open_max;
        let deaf = self.unheard.get(&case.1).is_some_and(|until| *until > now);
        let hears =
            self.audits.get(&case).and_then(|audit| audit.dispute.as_ref()).is_some_and(|dispute| dispute.hears());
        if full || deaf || !(hears || on(Fault::AppealRepeated)) {
            return;
        }
        let mut jury = Vec::new();
        for _ in 0..dispute::jurors(&self.config.dispute) {
            let Some(juror) = self.draw_auditor(&case) else { break };
            jury.push(juror);
            // Nobody sits twice.
            self.audits.get_mut(&case).into_iter().for_each(|audit| audit.asked.push(juror));
        }
        self.dispute_hears(now, case, dispute::Input::Appealed(jury), out);
    }

    pub(super) fn dispute_hears(&mut self, now: Instant, case: Case, input: dispute::Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        let Some(dispute) = self.audits.get_mut(&case).and_then(|audit| audit.dispute.as_mut()) else { return };
        dispute.handle(now, input, &mut effects);
        self.dispute_wants(now, case, effects, out);
    }

    fn dispute_wants(&mut self, now: Instant, case: Case, effects: Vec<dispute::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                dispute::Effect::Ask(juror) => self.send_blocks(case, juror, out),
                dispute::Effect::Over(verdict) => self.decided(now, case, verdict, out),
            }
        }
    }

    fn decided(&mut self, now: Instant, case: Case, verdict: Verdict, out: &mut Vec<Effect>) {
        let Some(audit) = self.audits.remove(&case) else { return };
        let (task, worker) = case;
        out.push(Effect::Tell(Event::Judged { worker, task, verdict }));
        match verdict {
            Verdict::Accepted => self.found(now, case, audit, Some(Penalty::ButStake), out),
            Verdict::Upheld => {
                self.unheard.retain(|_, until| *until > now);
                if self.unheard.len() < UNHEARD_MAX {
                    self.unheard.insert(worker, now + self.config.dispute.deaf);
                }
                let free = on(Fault::VainAppealIsFree);
                self.found(now, case, audit, Some(if free { Penalty::ButStake } else { Penalty::All }), out);
            }
            Verdict::Overturned => self.found(now, case, audit, None, out),
            Verdict::Open => self.acquit(now, worker, &audit, out),
        }
    }

    pub(super) fn tick_dispute(&mut self, now: Instant, case: Case, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        let Some(dispute) = self.audits.get_mut(&case).and_then(|audit| audit.dispute.as_mut()) else { return };
        dispute.tick(now, &mut effects);
        self.dispute_wants(now, case, effects, out);
    }
}
