//! This node's log, entry after entry, each certified before the next; and the logs that it watches.
//!
//! A witness tells with each vote how much it lets the account owe, and keeps to what it told for the next entry. So an
//! account that spends by what 2f+1 of its witnesses told is never refused by them, unless they lost their power meanwhile. Those who
//! would have let it owe less see with the entry that a quorum certified it, and take it as it is.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};

use super::{
    Effect, Event, Line, Trade,
    message::{ENTRIES_MAX, Evidence, Message, Paid, Shown},
    renew::Handover,
    settle::Wanting,
};
use crate::{
    economy::{
        ledger::{
            Act, Closing, Fold, Log, Signed, Terms,
            alarm::Input as AlarmInput,
            entry::{COMMONS, Slot, Statement},
            fold,
            limit::limit,
        },
        witness::{
            Certificate, Set, Terms as WitnessTerms, collect,
            vote::{Refusal, Voted, Word},
        },
    },
    kit::{
        Credits, Digest, Instant, Machine, NodeId, Signature, Signer, UnixTime, Verifier,
        fault::{Fault, on},
    },
    trust::reputation::flow,
};

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Draft {
    /// A hold for a task.
    Hold { task: u64, terms: Terms, consent: Signature },
    /// So much for a proposal, until then.
    Deposit { proposal: Digest, amount: Credits, until: UnixTime },
    /// What a hold for this node came to.
    Receive(Box<Evidence>),
    /// What one of this node came to.
    Release(Box<Evidence>),
    /// Others watch from now on.
    Renew(Set),
}

/// This node's log, and who watches it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pen {
    pub(super) log: Log,
    pub(super) set: Option<Set>,
    /// All who watched it, as long as they are remembered.
    pub(super) terms: WitnessTerms,
    queue: VecDeque<Draft>,
    /// Who watches next, once that is certified; and how those who watch now came to it.
    pub(super) next_set: Option<Set>,
    pub(super) handover: Option<Handover>,
    /// What is to be handed over by a change that is not certified yet, and who watched before it.
    pub(super) prepared: Option<(Vec<u8>, Set)>,
    /// Members that are not there, and since when.
    pub(super) away: BTreeMap<NodeId, Instant>,
    /// What the entries that are kept refer to.
    pub(super) evidence: BTreeMap<u64, Evidence>,
    /// Entries below are certified.
    pub(super) certified: u64,
    /// The next entry that each witness has not seen, and what it lets this account owe.
    pub(super) next: BTreeMap<NodeId, u64>,
    pub(super) limits: BTreeMap<NodeId, Credits>,
}

impl Pen {
    pub fn new(me: NodeId) -> Self {
        Self {
            log: Log::new(me),
            set: None,
            terms: WitnessTerms::default(),
            queue: VecDeque::new(),
            next_set: None,
            handover: None,
            prepared: None,
            away: BTreeMap::new(),
            evidence: BTreeMap::new(),
            certified: 0,
            next: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }

    pub const fn fold(&self) -> &Fold {
        self.log.fold()
    }

    pub const fn set(&self) -> Option<&Set> {
        self.set.as_ref()
    }

    pub fn queue(&mut self, draft: Draft) {
        self.queue.push_back(draft);
    }

    /// Before all else that waits.
    pub fn queue_first(&mut self, draft: Draft) {
        self.queue.push_front(draft);
    }

    /// Whether a change of witnesses is under way.
    pub fn renews(&self) -> bool {
        self.next_set.is_some() || self.queue.iter().any(|draft| matches!(draft, Draft::Renew(_)))
    }

    pub fn forget(&mut self, task: u64) {
        self.queue.retain(|draft| !matches!(draft, Draft::Hold { task: other, .. } if *other == task));
    }

    /// Whether a promise to `worker` waits to be written.
    pub fn promises(&self, worker: &NodeId) -> bool {
        self.queue.iter().any(|draft| matches!(draft, Draft::Hold { terms, .. } if terms.payee == *worker))
    }

    /// Whether a receipt for that waits to be written.
    pub fn receives(&self, closing: &Closing) -> bool {
        self.queue.iter().any(|draft| {
            let Draft::Receive(evidence) = draft else { return false };
            matches!(evidence.paid, Paid::Closing(known) if known == *closing)
        })
    }

    /// What a quorum of the witnesses lets this account owe.
    pub fn limit(&self) -> Credits {
        let Some(set) = &self.set else { return Credits(0) };
        let mut told: Vec<Credits> =
            set.members().iter().filter_map(|member| self.limits.get(member)).copied().collect();
        told.sort_unstable_by(|a, b| b.cmp(a));
        told.get(set.quorum() - 1).copied().unwrap_or_default()
    }

    /// A checkpoint is certified: what all witnesses have seen is let go.
    pub(super) fn prune(&mut self) {
        let seen = |member: &NodeId| self.next.get(member).copied().unwrap_or(0);
        let all = self.set.iter().flat_map(Set::members).map(seen).min().unwrap_or(0);
        let first = self.log.prune(all);
        self.evidence.retain(|at, _| *at >= first);
    }

    /// A quorum saw a hold. Whoever lacks it is shown that, too: what it costs is more, perhaps, than that witness would let this
    /// account owe, and it would never come to see what follows.
    fn is_seen(&mut self, signed: &Signed, certificate: &Certificate) {
        if let Some(set) = self.set.clone() {
            let evidence = Evidence { certificate: certificate.clone(), set, paid: Paid::Entry(signed.clone()) };
            self.evidence.insert(signed.entry.number, evidence);
        }
    }

    /// What may be spent beside what waits to be written.
    pub fn spendable(&self) -> Credits {
        let waiting = self.queue.iter().map(|draft| match draft {
            Draft::Hold { terms, .. } => terms.cap.0,
            Draft::Deposit { amount, .. } => amount.0,
            Draft::Receive(_) | Draft::Release(_) | Draft::Renew(_) => 0,
        });
        let free = self.fold().spendable(self.limit());
        Credits(free.0.saturating_sub(waiting.fold(0, u64::saturating_add)))
    }
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Begins an account, as soon as enough are trusted to watch it.
    pub(super) fn open_account(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.pen.set.is_some() {
            return;
        }
        let Some(set) = Set::draw(&self.me, self.term(now), self.config.faults, &self.trusted(&[])) else { return };
        let act = Act::Open { witnesses: set.digest(), faults: set.faults() };
        self.pen.terms.judged(self.me, &set);
        self.pen.set = Some(set);
        if let Ok(signed) = self.pen.log.write(act, None, None, Credits(0), &self.keys) {
            self.written(now, signed, None, out);
        }
    }

    /// What this node lets an account owe.
    pub(super) fn limit_of(&self, account: &NodeId) -> Credits {
        if !self.quarantine.allows(account) {
            return Credits(0);
        }
        limit(&self.config.lent, self.reputation.trust(account), flow::ONE as u64)
    }

    /// Writes what is next, if all before is certified.
    pub(super) fn write(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.pen.set.is_none() || self.pen.fold().next() != self.pen.certified {
            return;
        }
        if self.pen.fold().is_due() {
            return self.checkpoint(now, out);
        }
        while let Some(draft) = self.pen.queue.pop_front() {
            let limit = self.pen.limit();
            let (act, consent, evidence) = match &draft {
                Draft::Renew(set) => {
                    let state = self.pen.fold().digest();
                    (Act::Renew { witnesses: set.digest(), faults: set.faults(), state }, None, None)
                }
                Draft::Hold { terms, consent, .. } => (Act::Hold(*terms), Some(*consent), None),
                Draft::Deposit { proposal, amount, until } => {
                    let turn = self.pen.fold().turn(&COMMONS);
                    (Act::Hold(Terms::deposit(*proposal, turn, *amount, *until)), None, None)
                }
                Draft::Receive(evidence) | Draft::Release(evidence) => {
                    let Some(proven) = self.prove(now, evidence, out) else { continue };
                    let fold::Proven { payer, payee, turn, amount, statement } = proven;
                    let act = if payer == self.me {
                        Act::Release { payee, turn, amount, statement }
                    } else {
                        Act::Receive { payer, turn, amount, statement }
                    };
                    (act, None, Some((proven, (**evidence).clone())))
                }
            };
            let proven = evidence.as_ref().map(|evidence| &evidence.0);
            if let Draft::Renew(set) = &draft
                && !self.prepare(set)
            {
                continue;
            }
            match (self.pen.log.write(act, consent, proven, limit, &self.keys), draft) {
                (Ok(signed), _) => return self.written(now, signed, evidence.map(|evidence| evidence.1), out),
                (Err(fold::Error::Short { missing }), Draft::Hold { task, .. }) => {
                    self.unaffordable(now, task, missing, out);
                }
                (Err(_), Draft::Hold { task, .. }) => self.unaffordable(now, task, Credits(0), out),
                (Err(_), Draft::Deposit { proposal, .. }) => self.not_lodged(&proposal, out),
                // It was written before.
                (Err(_), _) => {}
            }
        }
    }

    /// Puts all that came since the last one in one digest.
    pub(super) fn checkpoint(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if let Ok(signed) = self.pen.log.checkpoint(&self.keys) {
            self.written(now, signed, None, out);
        }
    }

    /// An entry is written: it is kept, and then shown.
    fn written(&mut self, now: Instant, signed: Arc<Signed>, evidence: Option<Evidence>, out: &mut Vec<Effect>) {
        let Some(set) = self.pen.set.clone() else { return };
        let (number, statement) = (signed.entry.number, signed.entry.statement());
        self.pen.evidence.extend(evidence.clone().map(|evidence| (number, evidence)));
        let next = self.pen.next_set.clone().map(Box::new);
        let message = Message::Show { set: Box::new(set.clone()), next, entries: [(signed, evidence)].into() };
        self.keep(self.me, &message, out);
        self.collect_hears(now, collect::Input::Want(statement, set), out);
    }

    pub(super) fn keep(&mut self, from: NodeId, message: &Message, out: &mut Vec<Effect>) {
        out.push(Effect::Save(Line { number: self.lines, from, message: message.encode() }));
        self.lines += 1;
    }

    pub(super) fn collect_hears(&mut self, now: Instant, input: collect::Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.collect.handle(now, input, &mut effects);
        self.collect_wants(now, effects, out);
    }

    fn collect_wants(&mut self, now: Instant, effects: Vec<collect::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                collect::Effect::Ask { to, statement } => self.ask_witness(now, to, &statement, out),
                collect::Effect::Certified(certificate) => match certificate.statement.slot {
                    Slot::Entry(number) => self.entry_certified(now, number, certificate, out),
                    Slot::Closing { .. } => self.closing_certified(now, certificate, out),
                },
                // An own entry is wanted again in a while; of a closing there will be none.
                collect::Effect::Hopeless(statement) | collect::Effect::Busy(statement) => {
                    self.closings.remove(&statement.digest);
                }
            }
        }
    }

    fn ask_witness(&mut self, now: Instant, to: NodeId, statement: &Statement, out: &mut Vec<Effect>) {
        let message = match statement.slot {
            Slot::Entry(number) if self.must_adopt(&to, number) => self.adoption().or_else(|| self.show(&to, number)),
            Slot::Entry(number) => self.show(&to, number),
            Slot::Closing { .. } => {
                let known = self.closings.get(&statement.digest);
                let consent = |wanting: &Wanting| wanting.claim.as_ref().map(|claim| claim.0);
                known.map(|wanting| Message::Close { closing: wanting.closing, consent: consent(wanting), hold: None })
            }
        };
        match message {
            // This node may watch the account whose hold it wants closed.
            Some(Message::Close { closing, consent, .. }) if to == self.me => {
                self.asked_to_close(now, to, closing, (consent, None), out);
            }
            Some(message) => out.push(Effect::Send { to, message }),
            None => {}
        }
    }

    /// What a witness has not seen of this node's log, up to entry `number`, or that entry again.
    fn show(&self, to: &NodeId, number: u64) -> Option<Message> {
        // Whoever is not known to lack anything says what it lacks.
        let from = self.pen.next.get(to).copied().unwrap_or(number).min(number);
        let entry = |signed: &Arc<Signed>| (signed.clone(), self.pen.evidence.get(&signed.entry.number).cloned());
        let entries = self.pen.log.since(from).take(ENTRIES_MAX).map(entry).collect();
        let next = self.pen.next_set.clone().map(Box::new);
        Some(Message::Show { set: Box::new(self.pen.set.clone()?), next, entries })
    }

    fn entry_certified(&mut self, now: Instant, number: u64, certificate: Certificate, out: &mut Vec<Effect>) {
        if number != self.pen.certified {
            return;
        }
        self.pen.certified += 1;
        out.push(Effect::Tell(Event::Certified { number, digest: certificate.statement.digest }));
        let signed = self.pen.log.since(number).next().map(|signed| (**signed).clone());
        if let Some(signed) = signed {
            match signed.entry.act {
                Act::Hold(terms) => {
                    self.pen.is_seen(&signed, &certificate);
                    if terms.is_deposit() {
                        self.lodged(now, terms, signed, certificate, out);
                    } else {
                        self.hold_certified(now, terms, signed, certificate, out);
                    }
                }
                Act::Release { payee, turn, .. } => drop(self.debts.remove(&(payee, turn))),
                Act::Renew { .. } => self.hand_over(now, signed, certificate, out),
                Act::Checkpoint { .. } => self.pen.prune(),
                _ => {}
            }
        }
        self.write(now, out);
    }

    /// An owner shows its log to this node, a witness of it.
    pub(super) fn shown(
        &mut self,
        now: Instant,
        from: NodeId,
        (set, next): (&Set, Option<&Set>),
        entries: Vec<Shown>,
        out: &mut Vec<Effect>,
    ) {
        for (signed, evidence) in entries {
            let statement = signed.entry.statement();
            let account = signed.entry.account;
            let seen = self.witness.fold(&account).is_some_and(|fold| signed.entry.number < fold.next());
            let named = match signed.entry.act {
                Act::Renew { .. } => next.filter(|next| seen || self.may_follow(now, &account, next)),
                Act::Open { .. } => {
                    let old = on(Fault::OldOpeningRefused) && set.term() + 1 < self.term(now);
                    Some(set).filter(|set| seen || (self.may_begin(now, set) && !old))
                }
                _ => Some(set),
            };
            let judged = account == from && account != self.me && self.judge(now, &account, set);
            let Some(named) = named.filter(|_| judged) else {
                return self.deny(from, statement, None, out);
            };
            let proven = evidence.as_ref().and_then(|evidence| self.prove(now, evidence, out));
            let limit = self.limit_of(&account);
            let told = self.told.get(&account).copied().unwrap_or_default();
            let seen = evidence.as_ref().is_some_and(|evidence| self.is_certified(&statement, evidence));
            let most = if seen { Credits(u64::MAX) } else { limit.max(told) };
            match self.witness.vote(&signed, proven.as_ref(), Some(named), most) {
                Ok(Voted { statement, signature, saved, .. }) => {
                    if saved.is_some() {
                        self.sets.judged(account, set);
                        let next = next.filter(|_| matches!(signed.entry.act, Act::Renew { .. }));
                        let (set, next) = (Box::new(set.clone()), next.cloned().map(Box::new));
                        self.keep(from, &Message::Show { set, next, entries: [(signed, evidence)].into() }, out);
                    }
                    self.grant(account, limit, out);
                    out.push(Effect::Send { to: from, message: Message::Vote { statement, signature, limit } });
                }
                Err(refusal) => return self.refuse(now, from, statement, refusal, out),
            }
        }
    }

    /// Whether those who watch an account have certified this entry of it, which this witness lacks: then it is a fact, whatever this
    /// witness would have let the account owe.
    fn is_certified(&self, statement: &Statement, evidence: &Evidence) -> bool {
        evidence.certificate.statement == *statement
            && self.witness.set(&statement.account) == Some(&evidence.set)
            && evidence.certificate.verify(&evidence.set, &self.keys).is_ok()
            && !on(Fault::CertifiedRefused)
    }

    pub(super) fn refuse(
        &mut self,
        now: Instant,
        to: NodeId,
        statement: Statement,
        refusal: Refusal,
        out: &mut Vec<Effect>,
    ) {
        let next = match refusal {
            Refusal::Fork(fraud) => {
                self.alarm_hears(now, AlarmInput::Heard(fraud), out);
                None
            }
            Refusal::Ledger(fold::Error::Number { next }) => Some(next),
            // It was shown what it saw long ago; it may lack what came after.
            Refusal::Old => self.witness.fold(&statement.account).map(Fold::next),
            // It has seen nothing of this account, and was shown the middle.
            Refusal::Stranger if self.witness.fold(&statement.account).is_none() => Some(0),
            _ => None,
        };
        self.deny(to, statement, next, out);
    }

    /// Says no; but what is refused for a change of witnesses that is not shown yet is asked again.
    pub(super) fn deny(&self, to: NodeId, statement: Statement, next: Option<u64>, out: &mut Vec<Effect>) {
        if self.lacks.is_empty() {
            out.push(Effect::Send { to, message: Message::Deny { statement, next } });
        }
    }

    /// From now on an account may owe so much, as far as this node has a say.
    pub(super) fn grant(&mut self, account: NodeId, limit: Credits, out: &mut Vec<Effect>) {
        if self.told.insert(account, limit) != Some(limit) {
            out.push(Effect::Tell(Event::Granted { account, limit }));
        }
    }

    /// Somebody wants a hold closed that this node watches.
    pub(super) fn asked_to_close(
        &mut self,
        now: Instant,
        from: NodeId,
        closing: Closing,
        (consent, hold): (Option<Signature>, Option<Box<Evidence>>),
        out: &mut Vec<Effect>,
    ) {
        let (date, statement) = (self.date(now), closing.statement());
        let Some(word) = self.word(&closing, consent.as_ref()) else { return };
        let limit = self.told.get(&closing.payer).copied().unwrap_or_default();
        let answer = match self.close_shown(&closing, word, hold.as_deref(), date) {
            Ok(voted) => {
                if voted.saved.is_some() {
                    self.keep(from, &Message::Close { closing, consent, hold }, out);
                }
                Message::Vote { statement, signature: voted.signature, limit }
            }
            // It may not have seen the hold yet. After others watch, nobody shows it that any more, if whoever pays is not told; and if
            // who pays shows it to nobody else, whoever is paid does.
            Err(Refusal::Unheld) if !on(Fault::MissedHoldsNotClosed) => {
                let next = self.witness.fold(&closing.payer).map(Fold::next);
                let mut tell = |to: NodeId| out.push(Effect::Send { to, message: Message::Deny { statement, next } });
                tell(closing.payer);
                if hold.is_none() && from != closing.payer && from != self.me {
                    tell(from);
                } else if hold.is_none() && from == self.me && consent.is_some() {
                    // Its own: it has the hold at hand.
                    let claim = self.closings.get(&statement.digest).and_then(|wanting| wanting.claim.clone());
                    if let Some((consent, hold)) = claim {
                        self.asked_to_close(now, from, closing, (Some(consent), Some(hold)), out);
                    }
                }
                return;
            }
            Err(Refusal::Unheld | Refusal::Early { .. }) => return,
            Err(_) => Message::Deny { statement, next: None },
        };
        match answer {
            Message::Vote { statement, signature, .. } if from == self.me => {
                self.collect_hears(now, collect::Input::Vote { from, statement, signature }, out);
            }
            _ if from == self.me => self.collect_hears(now, collect::Input::Refused { from, statement }, out),
            message => out.push(Effect::Send { to: from, message }),
        }
    }

    /// As [`crate::economy::witness::Witness::close`]; a hold that is shown with it need not have been seen before.
    pub(super) fn close_shown(
        &mut self,
        closing: &Closing,
        word: Word<'_>,
        hold: Option<&Evidence>,
        date: UnixTime,
    ) -> Result<Voted, Refusal> {
        match hold {
            Some(Evidence { certificate, paid: Paid::Entry(signed), .. }) => {
                self.witness.close_unseen(closing, word, date, (signed, certificate))
            }
            _ => self.witness.close(closing, word, date),
        }
    }

    pub(super) fn voted(
        &mut self,
        now: Instant,
        from: NodeId,
        statement: Statement,
        signature: Signature,
        limit: Credits,
        out: &mut Vec<Effect>,
    ) {
        let mine = statement.account == self.me && self.pen.set.as_ref().is_some_and(|set| set.index(&from).is_some());
        if let (Slot::Entry(number), true) = (statement.slot, mine) {
            let next = self.pen.next.entry(from).or_default();
            *next = (*next).max(number.saturating_add(1));
            self.pen.limits.insert(from, limit);
        }
        self.collect_hears(now, collect::Input::Vote { from, statement, signature }, out);
    }

    pub(super) fn denied(
        &mut self,
        now: Instant,
        from: NodeId,
        statement: Statement,
        next: Option<u64>,
        out: &mut Vec<Effect>,
    ) {
        match (statement.slot, next) {
            (Slot::Entry(_), Some(next)) if statement.account == self.me => {
                // It is shown what it lacks when it is asked again.
                if self.pen.set.as_ref().is_some_and(|set| set.index(&from).is_some()) {
                    self.pen.next.insert(from, next);
                }
            }
            (Slot::Closing { .. }, Some(next)) if statement.account == self.me => {
                out.extend(self.show_missed(from, next));
            }
            (Slot::Closing { .. }, Some(_)) if !on(Fault::HiddenHoldsUnpaid) => {
                out.extend(self.show_hold(from, &statement));
            }
            _ => self.collect_hears(now, collect::Input::Refused { from, statement }, out),
        }
    }

    /// A witness, be it one of before, is to close a hold that it has not seen: what it lacks of its term, as far as that is kept.
    fn show_missed(&self, to: NodeId, next: u64) -> Option<Effect> {
        let set = self.pen.terms.of_entry(&self.me, next).filter(|set| set.index(&to).is_some())?;
        let of_term = |signed: &&Arc<Signed>| !matches!(signed.entry.act, Act::Renew { .. });
        let certified = self.pen.log.since(next).take_while(|signed| signed.entry.number < self.pen.certified);
        let entry = |signed: &Arc<Signed>| (signed.clone(), self.pen.evidence.get(&signed.entry.number).cloned());
        let entries: Vec<_> = certified.take_while(of_term).take(ENTRIES_MAX).map(entry).collect();
        let set = Box::new(set.clone());
        (!entries.is_empty()).then_some(Effect::Send { to, message: Message::Show { set, next: None, entries } })
    }

    /// A witness has not seen the hold that it is to close for this node.
    fn show_hold(&self, to: NodeId, statement: &Statement) -> Option<Effect> {
        let wanting = self.closings.get(&statement.digest)?;
        let (consent, hold) = wanting.claim.clone().filter(|claim| claim.1.set.index(&to).is_some())?;
        let message = Message::Close { closing: wanting.closing, consent: Some(consent), hold: Some(hold) };
        Some(Effect::Send { to, message })
    }

    /// An entry of which nobody gathers votes any more is gathered for again.
    pub(super) fn want_again(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(set) = self.pen.set.clone() else { return };
        let Some(signed) = self.pen.log.since(self.pen.certified).next() else { return };
        let statement = signed.entry.statement();
        self.collect_hears(now, collect::Input::Want(statement, set), out);
    }

    pub(super) fn tick_witnesses(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.collect.deadline().is_some_and(|due| due <= now) {
            let mut effects = Vec::new();
            self.collect.tick(now, &mut effects);
            self.collect_wants(now, effects, out);
        }
    }
}
