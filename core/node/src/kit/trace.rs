//! What a machine did, as text.

use alloc::{format, string::String, vec::Vec};
use core::fmt::Debug;

use super::{Instant, Machine};

/// Runs `script` (milliseconds and inputs), fires timers when they are due up to `until_ms`, and writes one
/// line for each step that had an input or an effect: `5ms Failed -> [Refuse]`.
pub fn of<M>(machine: &mut M, script: impl IntoIterator<Item = (u64, M::Input)>, until_ms: u64) -> String
where
    M: Machine,
    M::Input: Debug,
    M::Effect: Debug,
{
    let mut lines = String::new();
    for (at, input) in script {
        let now = Instant::from_millis(at);
        ticks(machine, now, &mut lines);
        let (name, mut out) = (format!("{input:?}"), Vec::new());
        machine.handle(now, input, &mut out);
        if !out.is_empty() {
            lines.push_str(&format!("{now} {name} -> {out:?}\n"));
        }
    }
    ticks(machine, Instant::from_millis(until_ms), &mut lines);
    lines
}

fn ticks<M: Machine>(machine: &mut M, now: Instant, lines: &mut String)
where
    M::Effect: Debug,
{
    while let Some(due) = machine.deadline().filter(|due| *due <= now) {
        let mut out = Vec::new();
        machine.tick(due, &mut out);
        if !out.is_empty() {
            lines.push_str(&format!("{due} tick -> {out:?}\n"));
        }
    }
}
