//! Whether the work was the work.
//!
//! What decides whether a task is audited was promised before the work and could not be known by whoever did it. One who has
//! the model and is trusted computes the blocks again. One auditor alone condemns nobody: as many are asked as members
//! decided (`replication_factor`), and more than half must say the same.

use alloc::vec::Vec;

use super::{Answer, Effect, Event, Job, OPEN_MAX, Peer, Trade, message::Message};
use crate::{
    kit::{Credits, Instant, NodeId, Ppm, Signer, Verifier},
    node::govern,
    trust::{
        anomaly::Sign,
        breaker, quarantine,
        reputation::{Standing, local::Session},
        verify::{
            commit::{self, Block, Fingerprint},
            rate::{self, Whom},
            sequential::Suspicion,
        },
    },
};

/// Work whose blocks are computed again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Audit {
    worker: NodeId,
    model: u64,
    blocks: Vec<Block>,
    session: Session,
    paid: Credits,
    /// Whom was asked, the last one now.
    asked: Vec<NodeId>,
    /// What those before said: whether the worker is guilty.
    said: Vec<(NodeId, bool)>,
    /// Blocks that looked wrong to the one who saw fewest.
    wrong: u32,
    pub due: Instant,
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// All tokens of a task are there.
    pub(super) fn done(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let lease = self.drop_lease(task);
        let Some(wanted) = self.tasks.remove(&task) else { return };
        self.refund(now, &wanted, out);
        let (tokens, paid) = (wanted.tokens, wanted.paid);
        out.push(Effect::Reply { to: wanted.asker, answer: Answer::Worked { task, tokens, paid } });
        let Some((worker, deal)) = lease.and_then(Self::deal_of) else { return };
        self.worked_out(now, worker, breaker::Input::Succeeded, out);
        let millis = (now.since(wanted.begun).as_millis() as u64).max(1);
        self.timed(now, worker, wanted.wish.model, u64::from(tokens) * 1_000_000 / millis, out);
        let session = Session { done: true, accuracy: None, speed: None };
        let drawn = commit::draw(&deal.promise.0, &deal.secret.0, deal.commit.head());
        let due = drawn.is_some_and(|drawn| drawn < self.audit_rate(&worker, wanted.wish.model).0);
        let mut blocks = deal.blocks;
        blocks.truncate(super::message::BLOCKS_MAX);
        if !due || blocks.is_empty() || self.config.calibration.is_none() || self.audits.len() >= OPEN_MAX {
            return self.remember(now, worker, session, paid);
        }
        let (asked, said, wrong) = (Vec::new(), Vec::new(), blocks.len() as u32);
        let model = wanted.wish.model;
        self.audits.insert(task, Audit { worker, model, blocks, session, paid, asked, said, wrong, due: now });
        self.ask_auditor(now, task, out);
    }

    fn audit_rate(&self, worker: &NodeId, model: u64) -> Ppm {
        let suspect = self.suspicions.get(&(*worker, model)).is_some_and(|sum| sum.share() >= 500_000);
        let whom = match self.reputation.standing(worker) {
            _ if suspect || self.quarantine.watches(worker) => Whom::Watched,
            Standing::Known => Whom::Known,
            Standing::Newcomer | Standing::Convicted => Whom::Newcomer,
        };
        // Nobody puts up escrow: what deters is to be barred.
        rate::rate(&self.config.rate, whom, self.config.audit_cost, Credits(0), Credits(0))
    }

    /// Asks the next auditor; if there is none, decides by what was said.
    fn ask_auditor(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let due = now + (self.config.patience * 8).max(super::MOMENT);
        let Some(mut audit) = self.audits.remove(&task) else { return };
        let (worker, model, blocks) = (audit.worker, audit.model, audit.blocks.clone());
        let auditor = self.draw_auditor(&audit);
        audit.asked.extend(auditor);
        audit.due = due;
        self.audits.insert(task, audit);
        let Some(auditor) = auditor else { return self.conclude(now, task, out) };
        if auditor == self.me {
            let blocks = blocks.len() as u32;
            out.push(Effect::Run(Job::Audit { client: auditor, task, worker, model, blocks }));
        } else {
            out.push(Effect::Send { to: auditor, message: Message::Audit { task, model, worker, blocks } });
        }
    }

    /// One of those who have the model, are known, and were not asked, by their trust; this node itself before all, if it
    /// serves the model.
    fn draw_auditor(&mut self, audit: &Audit) -> Option<NodeId> {
        let own = self.config.models.iter().any(|served| served.0 == audit.model);
        if own && !audit.asked.contains(&self.me) {
            return Some(self.me);
        }
        let fits = |peer: &&Peer| {
            let party = peer.id == audit.worker || peer.id == self.me || audit.asked.contains(&peer.id);
            !party && peer.models.may_hold(audit.model) && self.quarantine.allows(&peer.id)
        };
        let known = |peer: &Peer| (peer.id, u128::from(self.reputation.trust(&peer.id)));
        let list: Vec<(NodeId, u128)> = self.peers.iter().filter(fits).map(known).collect();
        let sum: u128 = list.iter().map(|one| one.1).sum();
        let mut left = (u128::from(self.rng.next()) * sum) >> 64;
        list.iter()
            .find(|(_, trust)| {
                left < *trust || {
                    left -= trust;
                    false
                }
            })
            .map(|one| one.0)
    }

    /// Somebody wants blocks computed again.
    pub(super) fn asked_to_audit(
        &mut self,
        client: NodeId,
        task: u64,
        worker: NodeId,
        model: u64,
        blocks: u32,
        out: &mut Vec<Effect>,
    ) {
        // Whoever is known may ask; strangers would have this node work for nothing.
        let serves = self.config.models.iter().any(|served| served.0 == model);
        if serves && self.quarantine.allows(&client) && self.peers.iter().any(|peer| peer.id == client) {
            out.push(Effect::Run(Job::Audit { client, task, worker, model, blocks }));
        }
    }

    /// An auditor is through.
    pub(super) fn audited(
        &mut self,
        now: Instant,
        from: NodeId,
        task: u64,
        fingerprints: &[Fingerprint],
        out: &mut Vec<Effect>,
    ) {
        let Some(calibration) = &self.config.calibration else { return };
        let Some(audit) = self.audits.get_mut(&task) else { return };
        if audit.asked.last() != Some(&from) || fingerprints.len() != audit.blocks.len() {
            return;
        }
        let mut sum = self.suspicions.get(&(audit.worker, audit.model)).copied().unwrap_or_default();
        let (mut guilty, mut wrong) = (false, 0);
        for (block, fingerprint) in audit.blocks.iter().zip(fingerprints) {
            let distance = commit::distance(&block.fingerprint, fingerprint);
            guilty |= sum.record(calibration, distance);
            wrong += u32::from(calibration.step(distance) > 0);
        }
        audit.wrong = audit.wrong.min(wrong);
        audit.said.push((from, guilty));
        if !guilty && audit.said.len() == 1 {
            self.suspicions.insert((audit.worker, audit.model), sum);
        }
        self.decide(now, task, out);
    }

    /// Enough have spoken, or another is asked.
    fn decide(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let Some(audit) = self.audits.get(&task) else { return };
        let most = govern::referees(&self.parameters);
        let guilty = audit.said.iter().filter(|said| said.1).count();
        let cleared = audit.said.len() - guilty;
        let open = guilty > 0 && guilty * 2 <= most && cleared * 2 < most && audit.said.len() < most;
        if open { self.ask_auditor(now, task, out) } else { self.conclude(now, task, out) }
    }

    /// More than half say so, or nobody accuses.
    fn conclude(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let Some(audit) = self.audits.remove(&task) else { return };
        let Audit { worker, model, blocks, mut session, paid, said, wrong, .. } = audit;
        if said.is_empty() {
            return self.remember(now, worker, session, paid);
        }
        // One alone condemns nobody, unless members want it so, or it is this node itself.
        let accusers = said.iter().filter(|said| said.1).count();
        let believed = accusers > 1 || govern::referees(&self.parameters) < 2 || said[0].0 == self.me;
        let guilty = believed && accusers * 2 > said.len();
        let looked = blocks.len() as u32;
        if guilty {
            session.accuracy = Some(Ppm(0));
            self.suspicions.insert((worker, model), Suspicion::default());
        } else {
            session.accuracy = Some(Ppm(((looked - wrong) as u64 * 1_000_000 / u64::from(looked.max(1))) as u32));
        }
        out.push(Effect::Tell(Event::Audited { worker, task, right: !guilty }));
        self.sight(now, (worker, model, Sign::Wrong), (looked, if guilty { looked } else { wrong }), out);
        let verdict = if guilty { quarantine::Input::Failed(worker) } else { quarantine::Input::Passed(worker) };
        self.quarantine_hears(now, verdict, out);
        // Whoever said what most did not is seen to have failed.
        for (auditor, accused) in said {
            self.sight(now, (auditor, model, Sign::Failed), (1, u32::from(accused != guilty)), out);
        }
        self.remember(now, worker, session, if guilty { Credits(0) } else { paid });
    }

    pub(super) fn tick_audits(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let late: Vec<u64> = self.audits.iter().filter(|(_, audit)| audit.due <= now).map(|(task, _)| *task).collect();
        for task in late {
            self.ask_auditor(now, task, out);
        }
    }
}
