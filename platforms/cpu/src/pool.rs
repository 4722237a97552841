//! Threads that share the work of one step.
//!
//! Work is cut into more chunks than there are threads, and each thread claims the next chunk when it is done
//! with one: whoever runs finishes the work, and a thread that the system has put aside costs only the
//! chunk that it holds. Between two pieces of work threads spin for a moment (a barrier costs well below a
//! microsecond, a wake-up some fifty) and then sleep.
//!
//! The claim is one word: which piece of work it is (24 bits), how many chunks it has (20), and the next one (20).
//! A thread that read an old word cannot claim a chunk of a new piece of work, because its exchange fails.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

const FIELD: u64 = (1 << 20) - 1;

/// How long a thread spins before it sleeps: some forty times what waking it costs, so that it sleeps only
/// when nobody is generating.
const SPIN: Duration = Duration::from_millis(2);

/// Most chunks of one piece of work.
pub const CHUNKS_MAX: usize = FIELD as usize;

type Work<'w> = dyn Fn(usize) + Sync + 'w;

struct Shared {
    ticket: AtomicU64,
    done: AtomicUsize,
    work: Mutex<Option<&'static Work<'static>>>,
    sleeping: AtomicUsize,
    stop: AtomicBool,
}

/// A number of threads, the caller's among them.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<(Thread, Option<JoinHandle<()>>)>,
    piece: u64,
}

impl Pool {
    /// `threads` in all: one fewer is started.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            work: Mutex::new(None),
            sleeping: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let start = |i| {
            let shared = Arc::clone(&shared);
            let handle = thread::Builder::new().name(format!("tutu-cpu-{i}")).spawn(move || serve(&shared)).ok()?;
            Some((handle.thread().clone(), Some(handle)))
        };
        let threads = (1..threads.max(1)).filter_map(start).collect();
        Self { shared, threads, piece: 0 }
    }

    /// Threads in all.
    pub fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `work` once for every number below `chunks`, on all threads, and comes back when all are done.
    ///
    /// # Panics
    /// If `chunks` is above [`CHUNKS_MAX`], or a call of `work` panicked on another thread.
    pub fn run(&mut self, chunks: usize, work: &Work<'_>) {
        assert!(chunks <= CHUNKS_MAX, "a piece of work has at most {CHUNKS_MAX} chunks");
        if self.threads.is_empty() || chunks <= 1 {
            (0..chunks).for_each(work);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Nobody calls `work` after this function has come back: every call
        // holds a claim, and we wait until all claims are done.
        let lasting = unsafe { core::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        *shared.work.lock().expect("nobody panics while holding it") = Some(lasting);
        shared.done.store(0, Ordering::Relaxed);
        self.piece = (self.piece + 1) & 0xff_ffff;
        shared.ticket.store(self.piece << 40 | (chunks as u64) << 20, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            self.threads.iter().for_each(|(thread, _)| thread.unpark());
        }
        help(shared, work);
        let mut spins = 0u32;
        while shared.done.load(Ordering::Acquire) < chunks {
            // A thread that was put aside with a chunk in its hands gets the processor sooner if we give it up.
            spins += 1;
            if spins.is_multiple_of(4096) { thread::yield_now() } else { core::hint::spin_loop() }
        }
        assert!(!shared.stop.load(Ordering::Relaxed), "a thread of the pool panicked");
    }
}

/// Claims chunks until none is left; for the caller, who alone begins a new piece of work.
fn help(shared: &Shared, work: &Work<'_>) {
    while let Some((_, chunk)) = claim(shared) {
        work(chunk);
        shared.done.fetch_add(1, Ordering::Release);
    }
}

/// The next chunk, and the number of the piece of work that it is of.
fn claim(shared: &Shared) -> Option<(u64, usize)> {
    let mut ticket = shared.ticket.load(Ordering::Acquire);
    loop {
        let (chunks, next) = (ticket >> 20 & FIELD, ticket & FIELD);
        if next >= chunks {
            return None;
        }
        match shared.ticket.compare_exchange_weak(ticket, ticket + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some((ticket >> 40, next as usize)),
            Err(now) => ticket = now,
        }
    }
}

/// Says, if its thread unwinds, that the pool is broken: the caller must not wait for ever.
struct Bell<'s>(&'s Shared);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop.store(true, Ordering::Relaxed);
            self.0.done.fetch_add(CHUNKS_MAX, Ordering::Release);
        }
    }
}

fn serve(shared: &Shared) {
    let _bell = Bell(shared);
    let mut known: Option<(u64, &'static Work<'static>)> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let Some((piece, chunk)) = claim(shared) else {
            // Numbers come again after 2^24 pieces of work.
            known = None;
            rest(shared);
            continue;
        };
        let work = match known {
            Some((of, work)) if of == piece => work,
            // The piece of work whose chunk we hold cannot end before we are done, so this is its work.
            _ => shared.work.lock().expect("nobody panics while holding it").expect("set before the ticket"),
        };
        known = Some((piece, work));
        work(chunk);
        shared.done.fetch_add(1, Ordering::Release);
    }
}

/// Spins until there is work, then sleeps until somebody wakes us.
fn rest(shared: &Shared) {
    let has_work = || {
        let ticket = shared.ticket.load(Ordering::SeqCst);
        (ticket & FIELD) < (ticket >> 20 & FIELD) || shared.stop.load(Ordering::Relaxed)
    };
    let start = Instant::now();
    loop {
        for _ in 0..256 {
            if has_work() {
                return;
            }
            core::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            break;
        }
    }
    shared.sleeping.fetch_add(1, Ordering::SeqCst);
    while !has_work() {
        thread::park();
    }
    shared.sleeping.fetch_sub(1, Ordering::SeqCst);
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (thread, handle) in &mut self.threads {
            thread.unpark();
            if let Some(handle) = handle.take() {
                // Its panic, if any, was reported when it happened.
                let _ = handle.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_done_once_and_before_the_return() {
        let mut pool = Pool::new(3);
        for round in 0..2000 {
            let chunks = 1 + round % 37;
            let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(chunks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_pool_of_one_works_alone() {
        let sum = AtomicUsize::new(0);
        Pool::new(1).run(10, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }
}
