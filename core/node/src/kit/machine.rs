//! The one shape of what acts later.

use alloc::vec::Vec;

use super::Instant;

/// A state machine: it is told what happened and when, and says what to do. It waits for nobody.
///
/// Four laws hold for every machine ([`super::laws::hold`]): the same calls give the same effects; after
/// `tick(now)` the deadline is later than `now`; an early tick does nothing; no input panics.
///
/// Whoever drives it owes it four things: `now` never goes back; an overdue tick goes before the next
/// input; effects are done in their order; a step is a transaction.
pub trait Machine {
    /// What can happen to it.
    type Input;
    /// What it can ask for.
    type Effect;

    /// Takes in one thing that happened at `now`; appends what to do, in order, to `out`.
    fn handle(&mut self, now: Instant, input: Self::Input, out: &mut Vec<Self::Effect>);

    /// Fires every timer due at or before `now`.
    fn tick(&mut self, now: Instant, out: &mut Vec<Self::Effect>);

    /// When `tick` next has work; `None` while nothing is pending.
    fn deadline(&self) -> Option<Instant>;
}
