//! What a node makes of what it is told.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{
    Effect, Event, Sender, Swim,
    message::{Accusation, Head, Item},
    record::Record,
    rumour::News,
    suspicion::{Accuser, Suspicion},
    table::{State, place_of},
};
use crate::kit::{Domain, Fault, Instant, Signer, Verifier, codec::Reader, fault};

impl<K: Signer + Verifier> Swim<K> {
    /// Takes in all items of a packet. Whether the sender's own record was among them.
    pub(super) fn items(
        &mut self,
        now: Instant,
        sender: &Sender,
        rest: &mut Reader,
        tell_on: bool,
        out: &mut Vec<Effect>,
    ) -> bool {
        let mut introduced = false;
        while let Some(item) = Item::next(rest) {
            match item {
                Item::Record(bytes) => introduced |= self.on_record(now, sender, bytes, tell_on, out),
                Item::Accusation(accusation, age) => self.on_accusation(now, sender, accusation, age, out),
                Item::Doubt { subject, incarnation, dead, .. } if sender.fresh => {
                    self.on_doubt(now, sender, subject, incarnation, dead, out);
                }
                Item::Doubt { .. } => {}
            }
        }
        introduced
    }

    /// Whether it was the sender's own.
    fn on_record(&mut self, now: Instant, sender: &Sender, bytes: &[u8], tell_on: bool, out: &mut Vec<Effect>) -> bool {
        // Most records were here before: that is seen from their first bytes.
        let Ok(peek) = Record::peek(bytes) else { return false };
        let own = peek.id == sender.id;
        if peek.id == self.me.id {
            // Of an earlier life that this node forgot, since nobody else can sign for it.
            let newer = peek.incarnation > self.me.incarnation
                || (peek.incarnation == self.me.incarnation && bytes != self.me.bytes());
            if newer && self.leaving.is_none() && Record::open(bytes, &self.keys).is_ok() {
                self.announce(peek.incarnation + 1, self.me.facts.clone(), false, true, out);
            } else if peek.incarnation < self.me.incarnation && sender.fresh {
                // The sender holds it for its last word.
                self.introduce_to(now, Some(sender.id), sender.addr, out);
            }
            return own;
        }
        if let Some(at) = self.table.find(peek.id.short()) {
            let slot = self.table.get(at);
            if slot.record().id == peek.id
                && peek.incarnation <= slot.record().incarnation
                && (slot.lives() || !fault::on(Fault::DeadRiseWithOldWords))
            {
                let incarnation = peek.incarnation;
                let same = |news: &News| matches!(news, News::Record(told) if told.incarnation == incarnation);
                self.rumours.heard(peek.id.short(), same);
                if own && sender.fresh && incarnation < self.table.get(at).record().incarnation {
                    // It forgot what it said, and is told.
                    let mut body = self.begin(now, None, &Head::Records);
                    Item::Record(self.table.get(at).record().bytes()).put(&mut body);
                    out.push(Effect::Send { to: Some(sender.id), addr: sender.addr, body });
                }
                return own;
            }
        } else if self.cells.incarnation(peek.id.short()).is_some_and(|known| peek.incarnation <= known) {
            let incarnation = peek.incarnation;
            let same = |news: &News| matches!(news, News::Record(told) if told.incarnation == incarnation);
            self.rumours.heard(peek.id.short(), same);
            return own;
        } else if peek.left && self.cells.bits == 0 {
            return own;
        }
        if let Ok(record) = Record::open(bytes, &self.keys) {
            self.admit(now, record, tell_on.then_some(sender), out);
        }
        own
    }

    /// Takes in a record that was checked; tells it on, if `told_by` somebody as news.
    pub(super) fn admit(&mut self, now: Instant, record: Arc<Record>, told_by: Option<&Sender>, out: &mut Vec<Effect>) {
        let (short, left) = (record.id.short(), record.left);
        let mut urgent = left;
        match self.table.find(short) {
            Some(at) => {
                let old = self.table.get(at);
                let (known, state) = (old.record().clone(), old.state());
                // A taken-over key must not come back with an old certificate; another id with the same hint stays out.
                let same = fault::on(Fault::DeadRiseWithOldWords) && record.incarnation == known.incarnation;
                let newer = (record.incarnation > known.incarnation || same) && record.serial >= known.serial;
                if known.id != record.id || !newer {
                    return;
                }
                self.table.replace(at, record.clone(), Self::second(now));
                urgent |= state != State::Alive;
                if state == State::Dead {
                    let size = self.size();
                    self.compare.risen(now, size, &self.config);
                }
                if let Some(suspicion) = self.suspicions.remove(&short) {
                    self.rumours.drop_charges(short);
                    if !left {
                        let minute = self.config.period * 60;
                        let signed = suspicion.accusers.iter().filter(|accuser| accuser.signed);
                        signed.for_each(|accuser| self.wolves.strike(accuser.place, now, minute));
                    }
                    out.push(Effect::Tell(Event::Cleared(record.id)));
                }
                out.push(Effect::Tell(match state {
                    _ if left && state != State::Left => Event::Left(record.id),
                    State::Dead | State::Left if !left => Event::Joined(record.clone()),
                    _ => Event::Changed(record.clone()),
                }));
            }
            None if !self.is_near(place_of(&record)) => return self.meet(record, told_by.is_some()),
            None => {
                let crowded = self.table.crowd(&record) >= self.config.per_host_max;
                if left || crowded || record.id == self.me.id || !self.has_room(out) {
                    return;
                }
                if self.table.lives() == 0 {
                    self.compare.hurry(now + self.config.period / 8);
                }
                let crowded = self.is_crowded();
                self.table.insert(record.clone(), Self::second(now));
                out.push(Effect::Tell(Event::Joined(record.clone())));
                if crowded {
                    // Of names that are cheap only those are told on that are proved; whoever comes itself is asked first.
                    if told_by.is_some_and(|sender| sender.id == record.id) {
                        self.vouch(short);
                    }
                    return;
                }
            }
        }
        if told_by.is_some() {
            let times = self.times(urgent);
            self.rumours.push(short, News::Record(record), times, urgent);
        }
    }

    fn on_accusation(&mut self, now: Instant, sender: &Sender, accusation: Accusation, age: u8, out: &mut Vec<Effect>) {
        let Accusation { subject, incarnation, accuser, .. } = accusation;
        if subject == self.short() {
            if incarnation == self.me.incarnation && accuser != subject {
                self.refute(now, sender, accuser, Some(&accusation), out);
            } else if incarnation < self.me.incarnation && sender.fresh {
                self.introduce_to(now, Some(sender.id), sender.addr, out);
            }
            return;
        }
        let Some(at) = self.table.find(subject) else { return };
        let known = self.table.get(at);
        if !known.lives() && incarnation <= known.record().incarnation {
            // Only somebody who missed the end of it still accuses, and nobody else would agree: all others know.
            if sender.short == accuser && sender.fresh {
                self.tell_end(now, sender, at, out);
            }
            return;
        }
        // What is not about the present life of somebody who lives is over.
        if !known.lives() || incarnation != known.record().incarnation {
            return;
        }
        let Some(place) = self.voice(accuser) else { return };
        if let Some(open) = self.suspicions.get(&subject)
            && ((open.names(place) && !fault::on(Fault::EveryWordCounts))
                || open.accusers.len() > super::suspicion::CONFIRMERS)
        {
            let same = |news: &News| matches!(news, News::Accusation(told, _) if told.accuser == accuser);
            self.rumours.heard(subject, same);
            return;
        }
        if accuser == subject || self.wolves.silences(place, now) || !self.is_signed(at, &accusation) {
            return;
        }
        let since = super::before(now, age, self.config.period);
        self.suspect(now, at, Accuser { place, signed: true }, since, Some(accusation), out);
    }

    /// Tells somebody that the member at `at` is not there any more. To the receiver it is one more accuser, and no more.
    fn tell_end(&mut self, now: Instant, sender: &Sender, at: usize, out: &mut Vec<Effect>) {
        if !self.compare.spend() {
            return;
        }
        let body = self.begin(now, Some(at), &Head::Records);
        out.push(Effect::Send { to: Some(sender.id), addr: sender.addr, body });
    }

    /// Where the member `who` is, if its word counts: it lives, and answered this node, once enough others did.
    fn voice(&self, who: u64) -> Option<u64> {
        if who == self.short() {
            return Some(place_of(&self.me));
        }
        let slot = self.table.get(self.find_living(who)?);
        (slot.is_proved() || !self.is_settled()).then(|| place_of(slot.record()))
    }

    /// What a neighbour thinks of somebody. It is one more accuser, and no more.
    fn on_doubt(
        &mut self,
        now: Instant,
        sender: &Sender,
        subject: u64,
        incarnation: u64,
        dead: bool,
        out: &mut Vec<Effect>,
    ) {
        if subject == self.short() {
            if incarnation == self.me.incarnation {
                self.refute(now, sender, sender.short, None, out);
            } else if incarnation < self.me.incarnation {
                // It missed the answer.
                self.introduce_to(now, Some(sender.id), sender.addr, out);
            }
            return;
        }
        let Some(place) = self.voice(sender.short).filter(|_| dead) else { return };
        let Some(at) = self.table.find(subject) else { return };
        let slot = self.table.get(at);
        // The death of a later life is the death of this one too.
        if slot.record().incarnation > incarnation {
            return;
        }
        if !slot.lives() {
            self.rumours.heard(subject, |news| matches!(news, News::Death { .. }));
        } else if !self.config.lifeguard || fault::on(Fault::DoubtsBelieved) {
            self.declare(now, subject, out);
        } else if !self.wolves.silences(place, now) && self.may_doubt(subject, place) {
            self.doubted = self.doubted.or(Some(subject));
            // Whoever holds somebody for dead suspected it for long: with enough such voices only the floor is left to wait.
            let shortest = self.config.bounds(self.size()).shortest;
            let since = Instant::from_micros(now.as_micros().saturating_sub(shortest.as_micros() as u64));
            self.suspect(now, at, Accuser { place, signed: false }, since, None, out);
            self.ask_suspect(now, subject, out);
        }
    }

    /// Asks a suspect itself, and shows it what there is against it.
    pub(super) fn ask_suspect(&mut self, now: Instant, subject: u64, out: &mut Vec<Effect>) {
        if fault::on(Fault::DoubtedNotAsked) {
            return;
        }
        let nonce = self.next_nonce();
        if let Some(open) = self.suspicions.get_mut(&subject) {
            open.nonce = Some(nonce);
        }
        self.ping(now, subject, nonce, None, out);
    }

    /// The suspect answered `nonce`. What others say without a signature is less than what this node sees; and what they signed
    /// is, too, once the suspect had all its time to say the contrary and is there to answer the last call: it may have
    /// answered so many liars that it hears nobody who repeats them.
    pub(super) fn suspect_answered(&mut self, now: Instant, subject: u64, nonce: u32, out: &mut Vec<Effect>) {
        let last = |open: &Suspicion| self.config.lifeguard && open.asked;
        let seen = |open: &&Suspicion| open.nonce == Some(nonce) && (open.proof.is_none() || last(open));
        if self.suspicions.get(&subject).filter(seen).is_none() {
            return;
        }
        self.rumours.drop_charges(subject);
        let (Some(open), Some(at)) = (self.suspicions.remove(&subject), self.table.find(subject)) else { return };
        self.table.set(at, State::Alive, Self::second(now));
        let minute = self.config.period * 60;
        open.accusers.iter().for_each(|accuser| self.wolves.strike(accuser.place, now, minute));
        out.push(Effect::Tell(Event::Cleared(self.table.get(at).record().id)));
    }

    /// Whether the unsigned word from `place` against `subject` counts: always as one more, but it opens two suspicions at a
    /// time and no more. Whoever comes out of a partition holds half of the world for dead.
    fn may_doubt(&self, subject: u64, place: u64) -> bool {
        let unproved = |open: &&Suspicion| open.proof.is_none() && open.names(place);
        self.suspicions.contains_key(&subject) || self.suspicions.values().filter(unproved).count() < 2
    }

    /// Whether the accuser is a member and signed it.
    fn is_signed(&self, at: usize, accusation: &Accusation) -> bool {
        let subject = self.table.get(at).record().id;
        let key = if accusation.accuser == self.short() {
            self.me.key
        } else {
            match self.find_living(accusation.accuser) {
                Some(accuser) => self.table.get(accuser).record().key,
                None => return false,
            }
        };
        let parts = [&subject.0[..], &accusation.incarnation.to_be_bytes()];
        fault::on(Fault::AccusationSignatureUnchecked)
            || self.keys.verify(&key, Domain::Accusation, &parts, &accusation.signature)
    }

    /// Opens a suspicion of the member at `at`, or counts one more accuser; tells it on, if it can be proved.
    fn suspect(
        &mut self,
        now: Instant,
        at: usize,
        accuser: Accuser,
        since: Instant,
        proof: Option<Accusation>,
        out: &mut Vec<Effect>,
    ) {
        let (id, incarnation) = (self.table.get(at).record().id, self.table.get(at).record().incarnation);
        let short = id.short();
        let bounds = self.config.bounds(self.size());
        let counts = match self.suspicions.get_mut(&short) {
            Some(open) => open.confirm(accuser, &bounds),
            None => {
                self.suspicions.insert(short, Suspicion::new(incarnation, accuser, since, now, &bounds));
                self.table.set(at, State::Suspect, Self::second(now));
                out.push(Effect::Tell(Event::Suspected { id, incarnation }));
                true
            }
        };
        if !counts {
            return;
        }
        let open = self.suspicions.get_mut(&short).expect("there since a moment ago");
        self.suspicions_due.push(open.next(&bounds), short);
        if let Some(proof) = proof {
            let proof = Box::new(proof);
            open.proof.get_or_insert_with(|| proof.clone());
            let times = if fault::on(Fault::SuspicionsNotTold) { 1 } else { self.times(true) };
            self.rumours.push(short, News::Accusation(proof, since), times, true);
        }
    }

    /// The member at `at` did not answer this node, nor anybody whom it asked.
    pub(super) fn accuse(&mut self, now: Instant, at: usize, out: &mut Vec<Effect>) {
        let record = self.table.get(at).record();
        let (id, incarnation) = (record.id, record.incarnation);
        let signature = self.keys.sign(Domain::Accusation, &[&id.0, &incarnation.to_be_bytes()]);
        let (accuser, place) = (self.short(), place_of(&self.me));
        let accusation = Accusation { subject: id.short(), incarnation, accuser, signature };
        self.suspect(now, at, Accuser { place, signed: true }, now, Some(accusation), out);
    }

    /// This node was accused by `accuser`: it says the contrary, louder.
    fn refute(
        &mut self,
        now: Instant,
        sender: &Sender,
        accuser: u64,
        proof: Option<&Accusation>,
        out: &mut Vec<Effect>,
    ) {
        // Somebody to whom nobody listens any more may say what he likes; if another repeats it, that one believed it.
        if fault::on(Fault::AccusationsNotAnswered) {
            return;
        }
        if self.leaving.is_some() || self.voice(sender.short).is_some_and(|place| self.wolves.silences(place, now)) {
            return;
        }
        if let Some(accusation) = proof {
            match self.find_living(accuser) {
                Some(slot) => {
                    let key = self.table.get(slot).record().key;
                    let parts = [&self.me.id.0[..], &self.me.incarnation.to_be_bytes()];
                    if !self.keys.verify(&key, Domain::Accusation, &parts, &accusation.signature) {
                        return;
                    }
                }
                // A stranger to us, but whoever repeats it may believe it: it is answered, if not too often.
                None if self.voice(sender.short).is_some() && self.answered_stranger + self.config.period <= now => {
                    self.answered_stranger = now;
                }
                None => return,
            }
        }
        if let Some(place) = self.voice(accuser) {
            self.wolves.strike(place, now, self.config.period * 60);
        }
        if self.config.lifeguard {
            self.worsen(1);
        }
        let incarnation = self.me.incarnation + u64::from(!fault::on(Fault::RefutedWithOldIncarnation));
        self.announce(incarnation, self.me.facts.clone(), false, true, out);
        if fault::on(Fault::RefutationOnlyTheAccuserHears) {
            self.rumours = super::Rumours::new(self.config.rumours_max);
        }
        out.push(Effect::Tell(Event::Refuted(incarnation)));
        self.introduce_to(now, Some(sender.id), sender.addr, out);
    }

    /// Appends what is held against the member at `slot`, for itself to read.
    pub(super) fn warn(&self, now: Instant, slot: usize, body: &mut Vec<u8>) {
        let member = self.table.get(slot);
        if fault::on(Fault::DeadNotWarned) && !member.lives() {
            return;
        }
        let (subject, incarnation) = (member.record().id.short(), member.record().incarnation);
        let doubt = |dead| Item::Doubt { subject, incarnation, age: 0, dead };
        match member.state() {
            State::Alive => {}
            State::Suspect if !self.config.lifeguard => {}
            State::Suspect => match self.suspicions.get(&subject) {
                Some(Suspicion { proof: Some(proof), since, .. }) => {
                    Item::Accusation(**proof, super::age(now, *since, self.config.period)).put(body);
                }
                _ => doubt(false).put(body),
            },
            // It may have forgotten that it ever said so much.
            State::Left => Item::Record(member.record().bytes()).put(body),
            State::Dead => {
                Item::Record(member.record().bytes()).put(body);
                doubt(true).put(body);
            }
        }
    }

    pub(super) fn tick_suspicions(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while self.suspicions_due.first().is_some_and(|due| *due <= now) {
            let Some((_, short)) = self.suspicions_due.pop() else { return };
            let bounds = self.config.bounds(self.size());
            let Some(suspicion) = self.suspicions.get_mut(&short) else { continue };
            if suspicion.next(&bounds) > now {
                // It was lengthened; whoever lengthened it put it in again.
            } else if suspicion.asked {
                self.declare(now, short, out);
            } else {
                suspicion.asked = true;
                // In the next tick at the earliest, or the answer would come too late.
                suspicion.due = suspicion.due.max(now + self.config.period / 2);
                self.suspicions_due.push(suspicion.due, short);
                self.last_call(short, out);
                self.ask_suspect(now, short, out);
            }
        }
    }

    /// Asks a few whether they know better.
    fn last_call(&mut self, short: u64, out: &mut Vec<Effect>) {
        (0..3).for_each(|_| self.ask_about(short, out));
    }

    /// Asks somebody by chance for the newest record of `short`, or whether it is dead.
    pub(super) fn ask_about(&mut self, short: u64, out: &mut Vec<Effect>) {
        let fits = |slot: &super::table::Slot| {
            slot.state() == State::Alive && slot.record().id.short() != short && !slot.record().facts.is_hidden()
        };
        let Some(slot) = self.pick_own(fits) else { return };
        let mut body = Vec::with_capacity(128);
        Head::Want { count: 1 }.put(&mut body);
        body.extend_from_slice(&short.to_be_bytes());
        let record = self.table.get(slot).record();
        out.push(Effect::Send { to: Some(record.id), addr: record.facts.addr, body });
    }

    /// The time of a suspect is over.
    fn declare(&mut self, now: Instant, short: u64, out: &mut Vec<Effect>) {
        self.suspicions.remove(&short);
        if fault::on(Fault::NeverDeclared) {
            return;
        }
        let Some(at) = self.find_living(short) else { return };
        self.table.set(at, State::Dead, Self::second(now));
        let (id, incarnation) = (self.table.get(at).record().id, self.table.get(at).record().incarnation);
        let proved = self.table.get(at).is_proved();
        out.push(Effect::Tell(Event::Died { id, incarnation }));
        // Nobody needs to hear that a name was one.
        if proved || !self.is_settled() {
            let times = self.times(true);
            self.rumours.push(short, News::Death { incarnation, since: now }, times, true);
        }
    }
}
