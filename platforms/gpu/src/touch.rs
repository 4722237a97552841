//! What operations of a plan read and write, and how the places of both lie to each other.

use tutu_llm::plan::{Op, Slot, Write};

/// What an operation reads, also where it changes it.
pub(crate) fn reads(op: &Op) -> impl Iterator<Item = Slot> {
    let list: [Option<Slot>; 3] = match *op {
        Op::Embed { .. } => [None; 3],
        Op::AddRow { out, .. } => [Some(out), None, None],
        Op::Norm { x, .. } | Op::Scale { x, .. } | Op::Select { x, .. } => [Some(x), None, None],
        Op::Linear { x, out, write, .. } => [Some(x), (write != Write::Set).then_some(out), None],
        Op::Adapt { x, out, .. } => [Some(x), Some(out), None],
        Op::Rope { x, .. } | Op::Activate { x, .. } | Op::Softcap { x, .. } => [Some(x), None, None],
        Op::Attention { q, k, v, .. } => [Some(q), Some(k), Some(v)],
        Op::Gated { gate, up, .. } => [Some(gate), Some(up), None],
        Op::Experts { x, out, .. } | Op::Add { x, out, .. } => [Some(x), Some(out), None],
    };
    list.into_iter().flatten()
}

/// What an operation writes.
pub(crate) fn written(op: &Op) -> Option<Slot> {
    Some(match *op {
        Op::Embed { out, .. }
        | Op::AddRow { out, .. }
        | Op::Norm { out, .. }
        | Op::Linear { out, .. }
        | Op::Adapt { out, .. }
        | Op::Attention { out, .. }
        | Op::Gated { out, .. }
        | Op::Experts { out, .. }
        | Op::Add { out, .. }
        | Op::Scale { out, .. }
        | Op::Select { out, .. } => out,
        Op::Rope { x, .. } | Op::Activate { x, .. } | Op::Softcap { x, .. } => x,
    })
}

/// Both.
pub(crate) fn touches(op: &Op) -> impl Iterator<Item = Slot> {
    reads(op).chain(written(op))
}

/// Whether two places share an element.
pub(crate) fn overlap(a: Slot, b: Slot) -> bool {
    a.buffer == b.buffer && a.column < b.column + b.width && b.column < a.column + a.width
}

/// Whether one place holds all columns of another, in the same buffer.
pub(crate) fn covers(outer: Slot, inner: Slot) -> bool {
    outer.column <= inner.column && inner.column + inner.width <= outer.column + outer.width
}
