//! Parts of a world side by side, each in a thread of its own.
//!
//! No packet is faster than [`net::NEAREST`], so what is sent within that time of now can change nothing within it elsewhere:
//! each part runs so far by itself, then all wait for each other and hand over what goes from part to part, in the order of
//! the parts. Threads may come in any order; the world goes the same way. Source: K. M. Chandy, J. Misra, "Distributed
//! Simulation: A Case Study in Design and Verification of Distributed Programs" (1979), with one common look-ahead.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    net,
    part::{Part, What},
};

/// Turns of a loop after which who waits lets others run, and after which it sleeps: cores may be fewer than threads, or busy.
const PATIENCE: u32 = 2000;
const LENIENCE: u32 = PATIENCE + 20;
const NAP: Duration = Duration::from_micros(20);

/// What goes from one part to another.
type Mail = Mutex<Vec<(u64, What)>>;

/// Runs all parts to microsecond `until`.
///
/// # Panics
/// If a part does.
pub fn run(parts: &mut [Part], until: u64) {
    let gate = Gate::new(parts.len());
    let count = parts.len();
    // Two sets, since one part may be a step ahead of another that still reads.
    let mail: Vec<Mail> = (0..2 * count * count).map(|_| Mail::default()).collect();
    thread::scope(|scope| {
        for (number, part) in parts.iter_mut().enumerate() {
            let (gate, mail) = (&gate, &mail);
            scope.spawn(move || {
                let _alarm = Alarm(gate);
                steps(part, number, count, until, gate, mail);
            });
        }
    });
}

fn steps(part: &mut Part, number: usize, count: usize, until: u64, gate: &Gate, mail: &[Mail]) {
    let (mut begin, mut set) = (part.now, 0);
    while begin <= until {
        let end = (begin + net::NEAREST - 1).min(until);
        while part.step(end) {}
        let sets = &mail[set * count * count..][..count * count];
        let open = |from: usize, to: usize| sets[from * count + to].lock().unwrap_or_else(PoisonError::into_inner);
        for to in (0..count).filter(|to| *to != number) {
            std::mem::swap(&mut *open(number, to), &mut part.away[to]);
        }
        gate.wait();
        for from in (0..count).filter(|from| *from != number) {
            open(from, number).drain(..).for_each(|(at, what)| part.put(at, what));
        }
        (begin, set) = (end + 1, 1 - set);
    }
}

/// Where all wait for all. Steps take less than it takes to put a thread to sleep and wake it, so they spin.
struct Gate {
    all: usize,
    waiting: AtomicUsize,
    turn: AtomicUsize,
    broken: AtomicBool,
}

impl Gate {
    const fn new(all: usize) -> Self {
        Self { all, waiting: AtomicUsize::new(0), turn: AtomicUsize::new(0), broken: AtomicBool::new(false) }
    }

    fn wait(&self) {
        let turn = self.turn.load(Ordering::Acquire);
        if self.waiting.fetch_add(1, Ordering::AcqRel) + 1 == self.all {
            self.waiting.store(0, Ordering::Release);
            self.turn.store(turn.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spun = 0_u32;
        while self.turn.load(Ordering::Acquire) == turn {
            assert!(!self.broken.load(Ordering::Relaxed), "another part of the world panicked");
            spun += 1;
            match spun {
                ..PATIENCE => std::hint::spin_loop(),
                PATIENCE..LENIENCE => thread::yield_now(),
                _ => thread::sleep(NAP),
            }
        }
    }
}

/// Lets nobody wait for one that panicked.
struct Alarm<'a>(&'a Gate);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}
