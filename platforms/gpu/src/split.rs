//! A plan in two halves: the first layers elsewhere, the rest on the GPU.

use std::sync::Arc;

use tutu_llm::{
    backend::{Backend, Batch, Fault, Token},
    plan::{Op, Plan, Slot},
    sample::Candidate,
    weights::Weights,
};

use crate::{
    engine::{Engine, Wanted},
    touch::{covers, reads, written},
};

/// Where a plan is cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The first half: its result is what goes over, for every token.
    pub head: Plan,
    /// The first operation of the second half.
    pub first: usize,
    /// What goes over.
    pub over: Slot,
}

/// Cuts a plan so that its last `layers` layers are in the second half; `None` where that is none of them, or all, or
/// more than one buffer would have to go over.
pub fn cut(plan: &Plan, layers: usize) -> Option<Cut> {
    let attentions: Vec<usize> = (0..plan.ops.len())
        .filter(|&i| matches!(&plan.ops[i], Op::Attention { attention, .. } if attention.cache.is_some()))
        .collect();
    let before = attentions.len().checked_sub(layers).filter(|&n| n > 0 && layers > 0)?;
    let (from, to) = (attentions[before - 1] + 1, attentions[before]);
    let found = (from..=to).rev().find_map(|at| match carried(plan, at).as_slice() {
        [buffer] => Some((at, *buffer)),
        _ => None,
    });
    let (first, buffer) = found?;
    let over = Slot { buffer, column: 0, width: plan.buffers[buffer] };
    let head = Plan {
        buffers: plan.buffers.clone(),
        ops: plan.ops[..first].to_vec(),
        caches: plan.caches[..before].to_vec(),
        output: over,
    };
    let sound = head.ops.iter().all(|op| match op {
        Op::Attention { attention, .. } => attention.cache.is_none_or(|cache| cache < before),
        Op::Select { .. } => false,
        _ => true,
    });
    sound.then_some(Cut { head, first, over })
}

/// Buffers that operations from `at` on read before they write them.
fn carried(plan: &Plan, at: usize) -> Vec<usize> {
    let (mut ready, mut carried): (Vec<Slot>, Vec<usize>) = (Vec::new(), Vec::new());
    for op in &plan.ops[at..] {
        for slot in reads(op) {
            let known = ready.iter().any(|own| own.buffer == slot.buffer && covers(*own, slot));
            if !known && !carried.contains(&slot.buffer) {
                carried.push(slot.buffer);
            }
        }
        ready.extend(written(op));
    }
    carried
}

/// A plan whose first layers another backend computes.
pub struct Split {
    head: Box<dyn Backend + Send>,
    tail: Engine,
    over: Vec<f32>,
    tokens: Vec<Token>,
}

impl Split {
    /// `head` runs the first half of the plan that `tail` runs the second half of.
    pub fn new(head: Box<dyn Backend + Send>, tail: Engine) -> Self {
        Self { head, tail, over: Vec::new(), tokens: Vec::new() }
    }

    fn both(&mut self, batch: &Batch<'_>, wanted: Wanted<'_>) -> Result<(), Fault> {
        self.tail.check(batch)?;
        self.tokens.clear();
        self.tokens.extend(batch.tokens.iter().map(|token| Token { output: true, ..*token }));
        self.head.step(&Batch { tokens: &self.tokens, ..*batch }, &mut self.over)?;
        self.tail.run(batch, Some(&self.over), wanted)
    }
}

impl Backend for Split {
    /// Where one half refuses, neither may be used any more.
    fn replan(&mut self, weights: Arc<Weights>, plan: Arc<Plan>) -> Result<(), Fault> {
        let cut = cut(&plan, self.tail.layers()).ok_or(Fault::Batch)?;
        self.tail.go_on(Arc::clone(&weights), plan, Some(&cut))?;
        self.head.replan(weights, Arc::new(cut.head))
    }

    fn tokens_max(&self) -> usize {
        self.tail.tokens_max()
    }

    fn pages(&self) -> usize {
        self.tail.pages()
    }

    fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        out.clear();
        self.both(batch, Wanted::All(out))
    }

    fn step_best(&mut self, batch: &Batch<'_>, most: usize, out: &mut Vec<Vec<Candidate>>) -> Result<(), Fault> {
        out.clear();
        self.both(batch, Wanted::Best(most, out))
    }

    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        out.clear();
        self.both(batch, Wanted::States(out))
    }
}
