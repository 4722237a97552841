//! How much each key of this machine may ask for.
//!
//! A request that its quota does not let in is refused before anybody is asked for a place. What is used is kept with the
//! step that uses it, so that no loss of power gives a quota back.

use alloc::vec::Vec;

use super::{Answer, Effect, Event, Trade, Wanted, Why, Wish, message::Message};
use crate::{
    economy::tiers::{Ticket, Used},
    kit::{
        Credits, Instant, Signer, Verifier,
        fault::{Fault, on},
    },
    node::govern,
    work::schedule::client,
};

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// Lets a task in that costs up to `price`, if the quota of its key has room.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        task: u64,
        wish: &Wish,
        price: Credits,
        out: &mut Vec<Effect>,
    ) -> Result<Ticket, Why> {
        let tokens = wish.order.tokens_in.saturating_add(wish.order.tokens_out);
        let (policy, date) = (govern::policy(&self.parameters), self.date(now));
        let (ticket, used) = match self.desk.admit(&policy, wish.key, (wish.model, tokens), price, date) {
            Err(_) if on(Fault::QuotaUnasked) => return Ok(Ticket(u64::MAX)),
            admitted => admitted.map_err(Why::Quota)?,
        };
        self.uses(used, out);
        out.push(Effect::Tell(Event::Admitted { task, key: wish.key }));
        Ok(ticket)
    }

    /// Whether a task may go on to cost up to `more` beside what was paid for it; if not, it is over.
    pub(super) fn may_cost(&mut self, now: Instant, task: u64, more: Credits, out: &mut Vec<Effect>) -> bool {
        let date = self.date(now);
        let Some(wanted) = self.tasks.get(&task) else { return false };
        let price = Credits(wanted.paid.0.saturating_add(more.0));
        match self.desk.raise(wanted.wish.key, wanted.ticket, price, date) {
            Ok(used) => {
                used.into_iter().for_each(|used| self.uses(used, out));
                true
            }
            Err(error) => {
                self.give_up(now, task, Why::Quota(error), out);
                false
            }
        }
    }

    /// Whoever asked wants no more of it.
    pub(super) fn cancelled(&mut self, now: Instant, asker: u64, out: &mut Vec<Effect>) {
        let mine = |(task, wanted): (&u64, &Wanted)| (wanted.asker == asker).then_some(*task);
        let tasks: Vec<u64> = self.tasks.iter().filter_map(mine).collect();
        tasks.into_iter().for_each(|task| self.give_up(now, task, Why::Cancelled, out));
    }

    /// A task cannot go on, whatever its workers would do.
    pub(super) fn give_up(&mut self, now: Instant, task: u64, why: Why, out: &mut Vec<Effect>) {
        self.end_lease(now, task, out);
        let Some(wanted) = self.tasks.remove(&task) else { return };
        self.client_hears(now, client::Input::Cancel { task }, out);
        self.unable(now, task, &wanted, why, out);
    }

    /// Whoever asked for a task, which is over, is told why it is not done.
    pub(super) fn unable(&mut self, now: Instant, task: u64, wanted: &Wanted, why: Why, out: &mut Vec<Effect>) {
        self.refund(now, wanted, out);
        out.push(Effect::Reply { to: wanted.asker, answer: Answer::Unable { task, why, paid: wanted.paid } });
    }

    /// A task is over: of what was set aside for it stays spent what was paid.
    pub(super) fn refund(&mut self, now: Instant, wanted: &Wanted, out: &mut Vec<Effect>) {
        let date = self.date(now);
        let used = self.desk.end(wanted.wish.key, wanted.ticket, wanted.paid, date);
        self.uses(used, out);
    }

    fn uses(&mut self, used: Used, out: &mut Vec<Effect>) {
        self.keep(self.me, &Message::Used(used), out);
    }
}
