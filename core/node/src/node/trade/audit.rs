//! Whether the work was the work.
//!
//! What decides whether a task is audited was promised before the work and could not be known by whoever did it. One who has
//! the model and is trusted computes the blocks again: all of an answer, or 64 that follow each other of a longer one
//! ([`commit::window`]), the same for each who is asked about it. One auditor alone condemns nobody: as many are asked as members
//! decided (`replication_factor`), and more than half must say the same; each counts from where the first began, which
//! no single auditor could bring near a verdict ([`history`](crate::trust::verify::history)). Whoever is condemned by others may appeal (`dispute`).

use alloc::{boxed::Box, vec::Vec};

use super::{Answer, Effect, Event, Job, OPEN_MAX, Peer, Trade, hold::Deal, message::Message, withhold::Penalty};
use crate::{
    kit::{
        Credits, Instant, Machine, NodeId, Ppm, Signer, Verifier,
        fault::{Fault, on},
    },
    node::govern,
    trust::{
        anomaly::Sign,
        breaker, quarantine,
        reputation::local::Session,
        verify::{
            commit::{self, Block, Fingerprint},
            dispute::{self, Dispute},
            history::History,
            sequential::Suspicion,
        },
    },
};

/// Which task, and whose work.
pub(super) type Case = (u64, NodeId);

/// Work whose blocks are computed again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Audit {
    model: u64,
    /// Under which promise to the worker it was done.
    turn: u64,
    /// The number of the first of them, from 0.
    pub first: u32,
    pub blocks: Vec<Block>,
    /// What it was, if it was done; whoever left it in the middle is judged already.
    session: Option<Session>,
    paid: Credits,
    /// Whom was asked, the last one now.
    pub asked: Vec<NodeId>,
    /// Where the first of them began to count, and all others do.
    begun: Option<Suspicion>,
    /// What those before said: whether the worker is guilty.
    pub said: Vec<(NodeId, bool)>,
    /// Blocks that were wrong to the one who saw fewest; and, bit by bit, those that spoke against the worker to all who accuse.
    wrong: u32,
    pub marks: u64,
    due: Instant,
    /// Where that is, if the worker is found guilty and may appeal.
    pub dispute: Option<Box<Dispute>>,
}

impl Audit {
    /// When something must have happened.
    pub fn due(&self) -> Instant {
        self.dispute.as_ref().and_then(|dispute| dispute.deadline()).unwrap_or(self.due)
    }

    /// Whether the word of `auditor` is waited for.
    fn awaits(&self, auditor: &NodeId) -> bool {
        match &self.dispute {
            Some(dispute) => dispute.awaits(auditor),
            None => self.asked.last() == Some(auditor),
        }
    }
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// All tokens of a task are there.
    pub(super) fn done(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let lease = self.drop_lease(task);
        let before = lease.as_ref().map_or(0, |lease| lease.from);
        let Some(wanted) = self.tasks.remove(&task) else { return };
        self.refund(now, &wanted, out);
        let (tokens, paid) = (wanted.tokens, wanted.paid);
        out.push(Effect::Reply { to: wanted.asker, answer: Answer::Worked { task, tokens, paid } });
        let Some((worker, deal)) = lease.and_then(Self::deal_of) else { return };
        self.worked_out(now, worker, breaker::Input::Succeeded, out);
        let millis = (now.since(wanted.begun).as_millis() as u64).max(1);
        // The time is that of this hold, and so is what was written: what was there before counts for whoever wrote it.
        let own = u64::from(tokens.saturating_sub(before));
        self.timed(now, worker, wanted.wish.model, own * 1_000_000 / millis, out);
        let session = Some(Session { done: true, accuracy: None, speed: None });
        self.draw_audit(now, (task, worker), wanted.wish.model, *deal, (session, paid), out);
    }

    /// A lease is over before the task is done. Of a worker whose pay is withheld it may be audited how far it came: leaving early is
    /// no way not to be.
    pub(super) fn end_lease(&mut self, now: Instant, task: u64, out: &mut Vec<Effect>) {
        let model = self.tasks.get(&task).map(|wanted| wanted.wish.model);
        let deal = self.drop_lease(task).and_then(Self::deal_of);
        if let (Some(model), Some((worker, deal))) = (model, deal)
            && self.held_back(&(worker, deal.terms.turn)) > 0
        {
            self.draw_audit(now, (task, worker), model, *deal, (None, Credits(0)), out);
        }
    }

    /// Draws whether work is audited; what is withheld of its pay waits for that, or is released at once.
    fn draw_audit(
        &mut self,
        now: Instant,
        (task, worker): Case,
        model: u64,
        deal: Deal,
        (session, paid): (Option<Session>, Credits),
        out: &mut Vec<Effect>,
    ) {
        let rate = self.audit_rate(self.whom(&worker, model), deal.withheld);
        let drawn = commit::draw(&deal.promise.0, &deal.secret.0, deal.commit.head());
        let due = drawn.is_some_and(|drawn| drawn < rate.0);
        let (turn, mut blocks) = (deal.terms.turn, deal.blocks);
        let most = super::message::BLOCKS_MAX;
        let first = commit::window(&deal.secret.0, deal.commit.head(), blocks.len() as u32, most as u32);
        blocks.drain(..first as usize);
        blocks.truncate(most);
        let (asked, said, wrong) = (Vec::new(), Vec::new(), blocks.len() as u32);
        let can = self.config.calibration.is_some() && self.audits.len() < OPEN_MAX;
        let (marks, dispute) = (u64::MAX, None);
        let begun = None;
        let audit =
            Audit { model, turn, first, blocks, session, paid, asked, begun, said, wrong, marks, due: now, dispute };
        if !due || audit.blocks.is_empty() || !can {
            return self.acquit(now, worker, &audit, out);
        }
        self.audits.insert((task, worker), audit);
        if on(Fault::ReleasedBeforeVerdict) {
            self.release(now, (worker, turn), 0, out);
        }
        self.ask_auditor(now, (task, worker), out);
    }

    /// Nothing was found, or looked for: the worker is paid all of it.
    pub(super) fn acquit(&mut self, now: Instant, worker: NodeId, audit: &Audit, out: &mut Vec<Effect>) {
        self.release(now, (worker, audit.turn), 0, out);
        if let Some(session) = audit.session {
            self.remember(now, worker, session, audit.paid);
        }
    }

    /// Asks the next auditor; if there is none, decides by what was said.
    fn ask_auditor(&mut self, now: Instant, key: Case, out: &mut Vec<Effect>) {
        let due = now + (self.config.patience * 8).max(super::MOMENT);
        let auditor = self.draw_auditor(&key);
        let Some(audit) = self.audits.get_mut(&key) else { return };
        audit.asked.extend(auditor);
        audit.due = due;
        match auditor {
            Some(auditor) => self.send_blocks(key, auditor, out),
            None => self.conclude(now, key, out),
        }
    }

    /// Has somebody compute the blocks again.
    pub(super) fn send_blocks(&mut self, case: Case, auditor: NodeId, out: &mut Vec<Effect>) {
        let Some(audit) = self.audits.get(&case) else { return };
        let ((task, worker), model, first, blocks) = (case, audit.model, audit.first, audit.blocks.clone());
        if auditor == self.me {
            let blocks = blocks.len() as u32;
            out.push(Effect::Run(Job::Audit { client: auditor, task, worker, model, first, blocks }));
        } else {
            out.push(Effect::Send { to: auditor, message: Message::Audit { task, model, worker, first, blocks } });
        }
    }

    /// All audits of a task: several workers may have had it.
    fn audits_of(&self, task: u64) -> impl Iterator<Item = (&Case, &Audit)> {
        self.audits.range((task, NodeId([0; 32]))..=(task, NodeId([0xff; 32])))
    }

    /// One of those who have the model, are known, and were not asked, by their trust; this node itself before all, if it
    /// serves the model. Nobody is asked about two workers of one task: an answer names the task only.
    pub(super) fn draw_auditor(&mut self, key: &Case) -> Option<NodeId> {
        let audit = self.audits.get(key)?;
        let own = self.config.models.iter().any(|served| served.0 == audit.model);
        let first = |audit: &Audit, id: &NodeId| audit.said.iter().any(|said| said.0 == *id);
        let again = on(Fault::JuryOfFirstAuditors) && audit.dispute.is_some();
        let had = |audit: &Audit, id: &NodeId| audit.asked.contains(id) && !(again && first(audit, id));
        let asked = |id: &NodeId| self.audits_of(key.0).any(|(_, audit)| had(audit, id));
        if own && !asked(&self.me) {
            return Some(self.me);
        }
        let fits = |peer: &&Peer| {
            let party = peer.id == key.1 || peer.id == self.me || asked(&peer.id);
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
        (task, worker): Case,
        model: u64,
        (first, blocks): (u32, u32),
        out: &mut Vec<Effect>,
    ) {
        // Whoever is known may ask; strangers would have this node work for nothing.
        let serves = self.config.models.iter().any(|served| served.0 == model);
        if serves && self.quarantine.allows(&client) && self.peers.iter().any(|peer| peer.id == client) {
            out.push(Effect::Run(Job::Audit { client, task, worker, model, first, blocks }));
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
        let waits = |(key, audit): (&Case, &Audit)| audit.awaits(&from).then_some(*key);
        let Some(key) = self.audits_of(task).find_map(waits) else { return };
        let Some(calibration) = &self.config.calibration else { return };
        let Some(audit) = self.audits.get_mut(&key).filter(|audit| audit.blocks.len() == fingerprints.len()) else {
            return;
        };
        let by = (from != self.me).then_some(from);
        let known = self.suspicions.get(&(key.1, audit.model));
        let begins = || known.map_or_else(Suspicion::default, |history| history.begin(by.as_ref()));
        let mut sum = *audit.begun.get_or_insert_with(begins);
        let pairs = audit.blocks.iter().zip(fingerprints);
        let distances: Vec<u8> =
            pairs.map(|(block, fingerprint)| commit::distance(&block.fingerprint, fingerprint)).collect();
        let (mut guilty, mut marks, mut wrong) = (false, 0_u64, 0);
        for (at, distance) in distances.iter().copied().enumerate() {
            guilty |= sum.record(calibration, distance);
            // There are 64 at most.
            marks |= u64::from(calibration.step(distance) > 0) << at;
            // Many a block of honest work is likelier of a cheat; hardly any is wrong.
            wrong += u32::from(calibration.is_wrong(distance));
        }
        audit.wrong = audit.wrong.min(wrong);
        audit.marks &= if guilty { marks } else { u64::MAX };
        audit.said.push((from, guilty));
        if audit.dispute.is_some() {
            return self.dispute_hears(now, key, dispute::Input::Said { juror: from, guilty }, out);
        }
        if !guilty && audit.said.len() == 1 {
            self.suspicions.entry((key.1, audit.model)).or_default().keep(calibration, by, &distances);
        }
        self.decide(now, key, out);
    }

    /// Enough have spoken, or another is asked.
    fn decide(&mut self, now: Instant, key: Case, out: &mut Vec<Effect>) {
        let Some(audit) = self.audits.get(&key) else { return };
        let most = govern::referees(&self.parameters);
        let guilty = audit.said.iter().filter(|said| said.1).count();
        let cleared = audit.said.len() - guilty;
        let open = guilty > 0 && guilty * 2 <= most && cleared * 2 < most && audit.said.len() < most;
        if open { self.ask_auditor(now, key, out) } else { self.conclude(now, key, out) }
    }

    /// More than half say so, or nobody accuses.
    fn conclude(&mut self, now: Instant, key: Case, out: &mut Vec<Effect>) {
        let Some(audit) = self.audits.remove(&key) else { return };
        if audit.said.is_empty() {
            return self.acquit(now, key.1, &audit, out);
        }
        // One alone condemns nobody, unless members want it so, or it is this node itself.
        let accusers = audit.said.iter().filter(|said| said.1).count();
        let believed = accusers > 1 || govern::referees(&self.parameters) < 2 || audit.said[0].0 == self.me;
        if !believed || accusers * 2 <= audit.said.len() {
            return self.found(now, key, audit, None, out);
        }
        if audit.said[0].0 != self.me {
            return self.accuse(now, key, audit, out);
        }
        self.tell_verdict(now, key, &audit, out);
        self.found(now, key, audit, Some(Penalty::ButStake), out);
    }

    /// There is a verdict, and what follows from it: if the worker is guilty, this stays here of its pay.
    pub(super) fn found(
        &mut self,
        now: Instant,
        (task, worker): Case,
        audit: Audit,
        penalty: Option<Penalty>,
        out: &mut Vec<Effect>,
    ) {
        let guilty = penalty.is_some();
        let (model, turn, wrong, looked) = (audit.model, audit.turn, audit.wrong, audit.blocks.len() as u32);
        out.push(Effect::Tell(Event::Audited { worker, task, right: !guilty }));
        self.sight(now, (worker, model, Sign::Wrong), (looked, if guilty { looked } else { wrong }), out);
        let verdict = if guilty { quarantine::Input::Failed(worker) } else { quarantine::Input::Passed(worker) };
        self.quarantine_hears(now, verdict, out);
        // Whoever said what most did not is seen to have failed.
        for (auditor, accused) in &audit.said {
            self.sight(now, (*auditor, model, Sign::Failed), (1, u32::from(*accused != guilty)), out);
        }
        let right = (u64::from(looked - wrong) * 1_000_000 / u64::from(looked.max(1))) as u32;
        let accuracy = Some(Ppm(if guilty { 0 } else { right }));
        let session = audit.session.map(|session| Session { accuracy, ..session });
        if let Some(penalty) = penalty {
            self.suspicions.insert((worker, model), History::default());
            self.forfeit(now, (worker, turn), penalty, out);
            self.end_doubt(now, (worker, model), Some(penalty), out);
            session.into_iter().for_each(|session| self.remember(now, worker, session, Credits(0)));
        } else if self.is_suspect(&worker, model) && !on(Fault::DoubtfulPaidAtOnce) {
            self.doubt(now, (worker, turn), model);
            session.into_iter().for_each(|session| self.remember(now, worker, session, audit.paid));
        } else {
            self.end_doubt(now, (worker, model), None, out);
            self.acquit(now, worker, &Audit { session, ..audit }, out);
        }
    }

    pub(super) fn tick_audits(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let late = self.audits.iter().filter(|(_, audit)| audit.due() <= now);
        let late: Vec<(Case, bool)> = late.map(|(case, audit)| (*case, audit.dispute.is_some())).collect();
        for (case, disputed) in late {
            if disputed { self.tick_dispute(now, case, out) } else { self.ask_auditor(now, case, out) }
        }
    }
}
