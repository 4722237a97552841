//! A step takes no memory from the system once it has been run at that size.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use tutu_cpu::{Engine, KvKind, Options};
use tutu_llm::{
    arch::Model,
    backend::{Backend, Batch, Token},
};

#[path = "../../../core/llm/tests/tiny/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiny;

/// Counts what the thread takes that runs the step.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work; counting takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Nobody counts while a thread ends.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn tokens(count: usize, from: usize) -> Vec<Token> {
    (from..from + count)
        .map(|i| Token { id: (i % 50) as u32, position: i as u32, sequence: 0, output: i + 1 == from + count })
        .collect()
}

#[test]
fn a_step_takes_no_memory() {
    for name in ["llama", "qwen2", "gemma2", "phi3"] {
        let model = Model::load(&[Arc::new(tiny::model(name))], 512).unwrap();
        for (threads, kv) in [(1, KvKind::F16), (2, KvKind::Q8_0)] {
            let options = Options { tokens_max: 32, pages: 4, threads, kv, ..Options::default() };
            let mut engine = Engine::new(model.weights.clone(), model.plan.clone(), options).unwrap();
            let (mut best, mut logits) = (Vec::new(), Vec::new());
            for count in [1, 5, 32] {
                for round in 0..3 {
                    let tokens = tokens(count, round * count);
                    let batch = Batch::new(&tokens, &[&[0, 1, 2, 3]]);
                    let before = COUNT.get();
                    engine.step_best(&batch, 40, &mut best).unwrap();
                    engine.step(&batch, &mut logits).unwrap();
                    let taken = COUNT.get() - before;
                    assert!(round == 0 || taken == 0, "{name}, {count} tokens: {taken} times");
                }
            }
        }
    }
}
