//! The four laws of machines, as one function.

use alloc::vec::Vec;
use core::fmt::Debug;

use super::{Instant, Machine};

/// Runs `script` through clones of `machine` and panics where a law is broken.
///
/// - replay: two clones give the same effects and end in the same state
/// - progress: after `tick(now)` the deadline is later than `now`
/// - patience: a tick before the deadline changes nothing and asks for nothing
/// - totality: nothing panics
///
/// Instants of the script must not go back.
pub fn hold<M>(machine: &M, script: impl IntoIterator<Item = (Instant, M::Input)>)
where
    M: Machine + Clone + PartialEq + Debug,
    M::Input: Clone,
    M::Effect: PartialEq + Debug,
{
    let (mut first, mut second) = (machine.clone(), machine.clone());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (now, input) in script {
        catch_up(&mut first, now, &mut a);
        catch_up(&mut second, now, &mut b);
        first.handle(now, input.clone(), &mut a);
        second.handle(now, input, &mut b);
        assert_eq!(a, b, "replay: the same calls gave other effects");
        assert_eq!(first, second, "replay: the same calls left another state");
        check_patience(&first, now);
    }
}

/// Fires everything due up to `now`, at the moment it is due.
fn catch_up<M>(machine: &mut M, now: Instant, out: &mut Vec<M::Effect>)
where
    M: Machine + Clone + PartialEq + Debug,
    M::Effect: PartialEq + Debug,
{
    while let Some(due) = machine.deadline().filter(|due| *due <= now) {
        check_patience(machine, due);
        machine.tick(due, out);
        assert!(machine.deadline().is_none_or(|next| next > due), "progress: after a tick its deadline is past");
    }
}

fn check_patience<M>(machine: &M, now: Instant)
where
    M: Machine + Clone + PartialEq + Debug,
    M::Effect: PartialEq + Debug,
{
    let Some(due) = machine.deadline() else { return };
    let early = Instant::from_micros(due.as_micros().saturating_sub(1).min(now.as_micros()));
    if early < due {
        let (mut copy, mut out) = (machine.clone(), Vec::new());
        copy.tick(early, &mut out);
        assert!(out.is_empty() && copy == *machine, "patience: a tick before {due} did something: {out:?}");
    }
}
