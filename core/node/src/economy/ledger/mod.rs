//! Credits between strangers: mutual credit that sums to zero, without a chain.
//!
//! | part | what it knows |
//! |---|---|
//! | [`book`] | who holds how much: double entry in memory, holds in two phases |
//! | [`entry`] | what an owner writes into its log, and what others sign of it |
//! | [`fold`] | what a log comes to, entry by entry, and every reason to refuse one |
//! | `peers` | with whom an account dealt |
//! | [`log`] | the log of this node, as it writes it |
//! | [`session`] | one signature, then a hash for every block of tokens |
//! | [`merkle`] | that an entry is among many, shown with few hashes |
//! | [`fraud`] | proofs that anybody checks without asking anybody |
//! | [`alarm`] | how a proof gets around |
//! | [`limit`] | how much credit trust is worth |
//!
//! An account is one append-only log with one writer. An entry is signed by its owner, agreed to by the other side where
//! there is one, and linked to the one before. What is above [`limit::Exposure`] is certified: 2f+1 of the account's
//! 3f+1 witnesses saw this entry and no other in its place ([`super::witness`]).
//!
//! ```text
//! payer                       payee                      payer's witnesses
//!   |--- terms ---------------->|
//!   |<-- consent ---------------|
//!   |--- Hold entry, signed ------------------------------->|  2f+1 votes: a certificate
//!   |--- certificate ---------->|
//!   |<-- 32 tokens -------------|
//!   |--- tick (a hash) -------->|   ... and so on
//!   |                           |--- Closing, last tick --->|  2f+1 votes
//!   |<------------------------- certificate ----------------|
//!   Release entry               Receive entry
//! ```
//!
//! Not before its time: a payer has no say in what a hold comes to until `until` is past; then anybody may have it closed
//! with the ticks that it can show, or with none.
//!
//! A **deposit** is a hold for the commons ([`entry::COMMONS`]), an account without a key. Nobody has to consent to it; it is
//! closed by the payer's witnesses alone, each of which knows by itself what became of what it was for, and it comes to
//! nothing or to all of it. What is lost is the commons', so the sum stays nothing, and nobody can spend it.
//!
//! # What holds
//!
//! - **S1, no double spend.** If at most f of an account's 3f+1 witnesses are faulty, at most one statement is certified for
//!   each of its slots (an entry's number, a hold's closing), in any asynchrony and any partition: two quorums share f+1
//!   members, one of which is honest and votes once. Its votes in the name of one set form one chain of entries.
//!   Where others watch from some entry on, each slot is one set's: entries up to the change and closings of holds that were
//!   open then are those' before ([`super::witness::terms`]). Those after begin a chain of their own with the change, which those
//!   before certified, whatever one of them had voted for before that.
//!   *Held by* `witness::tests::one_slot_gets_one_certificate_in_any_order_of_votes`, `nobody_uses_two_sets` and
//!   `a_hold_of_before_is_closed_by_those_before_and_by_nobody_else` beside it, and `tests/economy_world`.
//! - **S2, conservation.** Every certified fact debits one account and credits another by the same amount, and facts merge
//!   by union: in whatever order and however often they arrive, the sum of all balances is 0, and the balances are the same.
//!   *Held by* `book::tests::facts_in_any_order_give_the_same_balances_and_sum_to_nothing` and `tests/economy_world`.
//! - **S3, accountability.** Two certificates of one set for one slot, or for two branches of a log, name at least f+1 witnesses
//!   that signed both, and two entries with one number name their owner. Anybody checks it alone. What a set certifies
//!   of another's term need name nobody; it counts for nobody who knows of the change.
//!   *Held by* `fraud::tests` and `tests/economy_world`.
//! - **S4, bounded loss.** What defaulting identities owe with certified entries is at most the sum of their limits; limits
//!   are a share of a pool by trust, so the loss is at most the pool times the attackers' share of trust, whatever the
//!   number of identities. Without a certificate each payee risks at most its own exposure.
//!   *Held by* `limit::tests::splitting_an_identity_gains_no_credit`, `fold::tests` and `tests/economy_world`.
//! - **Liveness.** An honest owner has its certificate after one round trip to 2f+1 witnesses that live. Who forks freezes
//!   itself and nobody else. A witness that was away over checkpoints is shown what it missed and votes again.
//!   *Held by* `witness::collect::tests::certified_after_one_round_trip`,
//!   `witness::tests::a_fork_freezes_its_owner_and_closings_are_paid_nevertheless`,
//!   `node::trade::tests::a_witness_that_slept_over_a_checkpoint_is_shown_what_it_missed_and_votes_again`, and
//!   `tests/economy_world`, which ends only if honest accounts go on.
//!
//! What does not hold: an owner that opens two logs with two sets of witnesses gets one certificate from each. A payee
//! therefore accepts only a set of as many as the network asks for, of which a quorum is among those that it would have drawn itself
//! ([`super::witness::Set::acceptable`]); between views of trust that differ, a second log is detected (two opening entries
//! are a fork) and not prevented. That at most f of a set are faulty is true, but for chance, of owners that draw as they should; one
//! that chooses, and has accomplices whom others trust, finds a set with more ([`super::witness::set`] says how easily).
//!
//! If more than f witnesses of an account vanish for good before others watch it, the account stands still. Until others
//! watch, that is also who lacks more than [`log::BEHIND_MAX`] entries before the last checkpoint, as its owner does not keep
//! them; a change shows it what the log came to, and it goes on. If more than f of those before vanish after others watch,
//! holds that were open then are never closed.
//!
//! A payee that signs two closings of one hold and shows each to a part of the witnesses has neither certified, and what the hold
//! set aside stays so: the payee gives up its pay to lock up to the price of one task for good.

pub mod alarm;
pub mod book;
pub mod entry;
pub mod fold;
pub mod fraud;
pub mod limit;
pub mod log;
pub mod merkle;
mod peers;
pub mod session;

pub use book::Book;
pub use entry::{Act, Closing, Entry, Signed, Terms};
pub use fold::{Fold, Proven};
pub use fraud::Fraud;
pub use log::Log;
