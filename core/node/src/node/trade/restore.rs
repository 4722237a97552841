//! What is kept: a journal of the words that changed something, and what comes of it when it is read again.
//!
//! Whatever a step changed that must outlive a loss of power was said by somebody in one word: an entry shown, a closing
//! asked for, a proof, a ballot. The words are kept in their order, before anything of the step leaves, and a node begins
//! again by hearing them again.
//!
//! Not kept: tasks under way (their clients ask again, holds are closed when their time is past, and quotas count them as spent), and what was seen of
//! others, which is learned anew; but whoever was barred stays so, and what is withheld of a worker's pay is released. The journal is not shortened yet: a checkpoint in a log drops no line.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Birth, Config, Trade, message::Message, streak::Streak};
use crate::{
    economy::{
        ledger::{Act, Signed, alarm, entry::COMMONS},
        witness::vote::Word,
    },
    kit::{Credits, Instant, Machine, NodeId, Signer, UnixTime, Verifier},
};

/// One word that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its place, from 0.
    pub number: u64,
    /// Who said it.
    pub from: NodeId,
    /// What: [`Message`], as bytes.
    pub message: Vec<u8>,
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// One that goes on where it was, with the lines that were kept; those that are torn are passed over.
    pub fn restore(config: Config, birth: Birth<K>, lines: impl IntoIterator<Item = Line>) -> Self {
        let mut lines: Vec<Line> = lines.into_iter().collect();
        lines.sort_unstable_by_key(|line| line.number);
        let mut trade = Self::new(config, birth);
        for line in lines {
            trade.lines = line.number + 1;
            if let Ok(message) = Message::decode(&line.message) {
                trade.recall(line.from, message);
            }
        }
        trade.recall_deposits();
        let parameters = *trade.governance.parameters();
        trade.govern(parameters);
        trade
    }

    /// Hears again what was checked when it was heard first. Sets were judged then, too.
    fn recall(&mut self, from: NodeId, message: Message) {
        let all = Credits(u64::MAX);
        match message {
            Message::Show { set, next, entries } if from == self.me => {
                self.pen.terms.judged(from, &set);
                self.pen.set.get_or_insert(*set);
                if let Some(next) = next {
                    self.prepare(&next);
                }
                for (signed, evidence) in entries {
                    let proven = evidence.as_ref().and_then(|evidence| self.proven(evidence));
                    if self.pen.log.catch_up(&signed, proven.as_ref()).is_ok() {
                        self.recall_entry(&signed);
                        self.pen.evidence.extend(evidence.map(|evidence| (signed.entry.number, evidence)));
                    }
                }
            }
            Message::Show { set, next, entries } => {
                self.sets.judged(from, &set);
                for (signed, evidence) in entries {
                    let proven = evidence.as_ref().and_then(|evidence| self.proven(evidence));
                    let named = next.as_deref().unwrap_or(&set);
                    let _ = self.witness.vote(&signed, proven.as_ref(), Some(named), all);
                }
            }
            Message::Adopt { fold, before, renewal } => {
                self.sets.judged(from, &before);
                let _ = self.sets.renew(&renewal, &self.keys);
                if let Some(fold) = crate::economy::ledger::Fold::decode(&fold) {
                    let _ = self.witness.adopt(fold, &renewal, &before);
                }
            }
            Message::Renewed(renewals) if from == self.me => {
                renewals.into_iter().for_each(|renewal| self.follow(renewal));
            }
            Message::Renewed(renewals) => {
                for renewal in &renewals {
                    let _ = self.sets.renew(renewal, &self.keys);
                }
            }
            Message::Close { closing, consent, hold } => {
                // Its time was come when it was voted for.
                let word = match &consent {
                    _ if closing.payee == COMMONS => Word::Own { lost: closing.ticks > 0 },
                    Some(consent) => Word::Payee(consent),
                    None => Word::Nobody,
                };
                let _ = self.close_shown(&closing, word, hold.as_deref(), UnixTime(u64::MAX));
            }
            Message::Proof(fraud) => {
                let mut effects = Vec::new();
                self.alarm.handle(Instant::default(), alarm::Input::Heard(fraud), &mut effects);
                for effect in effects {
                    if let alarm::Effect::Condemn { guilty, fraud } = effect {
                        let _ = self.witness.freeze(&fraud);
                        let _ = self.condemn(&guilty);
                    }
                }
            }
            Message::Ballot(ballot) => self.recall_ballot(&ballot),
            Message::Used(used) if from == self.me => self.desk.recall(&used),
            Message::Owing { worker, turn, task, given, withheld, link } if from == self.me => {
                self.recall_owing((worker, turn), task, (given, withheld), link);
            }
            Message::Worked { day, days } if from == self.me => self.streak = Streak { day, days },
            Message::Barred { peer, times, until } if from == self.me => self.recall_barred(peer, times, until),
            _ => {}
        }
    }

    /// Every entry before the last was certified; the last one is wanted again. A hold that is open is a debt.
    fn recall_entry(&mut self, signed: &Signed) {
        self.pen.certified = signed.entry.number;
        match signed.entry.act {
            Act::Hold(terms) => self.owe(terms),
            Act::Release { payee, turn, .. } => drop(self.debts.remove(&(payee, turn))),
            Act::Checkpoint { .. } => self.pen.prune(),
            _ => {}
        }
    }
}
