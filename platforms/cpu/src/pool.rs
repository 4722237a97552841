//! Threads that share the work of one step.
//!
//! Work is cut into more chunks than there are threads, and each thread claims the next chunk when it is done
//! with one: whoever runs finishes the work, and a thread that the system has put aside costs only the
//! chunk that it holds. Between two pieces of work threads spin for a moment (a barrier costs well below a
//! microsecond, a wake-up some fifty) and then sleep.
//!
//! A thread that was put aside in the middle of a chunk holds everybody up until it runs again, which on a processor
//! that is busy with something else is some milliseconds. Whoever cost more than it gave is left out for a while, longer
//! each time it happens again: then what remains is as fast as without that thread, and a core that has become free is
//! soon used again. Who is put aside for a moment now and then, by whoever sends the answers or reads them, has given
//! far more, and stays.
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

/// A thread is late when everybody has waited so long for it, and three times what a chunk took besides.
const LATE: Duration = Duration::from_micros(200);

/// What a thread gave counts for so much at most: else one that was good for an hour could be late for an hour.
const CREDIT: Duration = Duration::from_millis(20);

/// How long a thread that was late is left out: the first time, and at most. Trying it again costs some 4 ms where
/// its processor is still busy.
const PENALTY: (Duration, Duration) = (Duration::from_millis(40), Duration::from_secs(1));

/// Most chunks of one piece of work.
pub const CHUNKS_MAX: usize = FIELD as usize;

type Work<'w> = dyn Fn(usize) + Sync + 'w;

struct Shared {
    ticket: AtomicU64,
    done: AtomicUsize,
    work: Mutex<Option<&'static Work<'static>>>,
    sleeping: AtomicUsize,
    stop: AtomicBool,
    seats: Vec<Seat>,
}

/// What the caller and one other thread tell each other.
#[derive(Default)]
struct Seat {
    /// The thread has claimed a chunk, or is about to.
    holds: AtomicBool,
    /// The thread is not to claim anything.
    out: AtomicBool,
    /// Chunks that it did, all in all.
    chunks: AtomicUsize,
}

/// What the caller remembers of one other thread.
#[derive(Clone, Copy)]
struct Conduct {
    /// It is left out until then.
    out: Option<Instant>,
    /// How long it was left out the last time.
    penalty: Duration,
    /// When it came back.
    back: Option<Instant>,
    /// Chunks that it had done when they were counted last.
    chunks: usize,
    /// Half of the time that it saved, without what was waited for it.
    credit: Duration,
    /// Whether this piece of work waits for it.
    late: bool,
}

/// A number of threads, the caller's among them.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<(Thread, Option<JoinHandle<()>>)>,
    conduct: Vec<Conduct>,
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
            seats: (1..threads.max(1)).map(|_| Seat::default()).collect(),
        });
        let start = |i| {
            let shared = Arc::clone(&shared);
            let handle =
                thread::Builder::new().name(format!("tutu-cpu-{i}")).spawn(move || serve(&shared, i - 1)).ok()?;
            Some((handle.thread().clone(), Some(handle)))
        };
        // One that cannot be started leaves the rest to the others.
        let threads: Vec<_> = (1..threads.max(1)).map_while(start).collect();
        let conduct = vec![Conduct::NEW; threads.len()];
        Self { shared, threads, conduct, piece: 0 }
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
        if self.threads.is_empty() || chunks <= 1 || !self.anybody() {
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
        let begin = Instant::now();
        shared.ticket.store(self.piece << 40 | (chunks as u64) << 20, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            let seats = self.threads.iter().zip(&shared.seats);
            seats.filter(|(_, seat)| !seat.out.load(Ordering::Relaxed)).for_each(|((thread, _), _)| thread.unpark());
        }
        let own = help(shared, work);
        self.wait(chunks, begin, own);
        assert!(!self.shared.stop.load(Ordering::Relaxed), "a thread of the pool panicked");
    }

    /// Waits until all chunks are done, and notes who was late.
    fn wait(&mut self, chunks: usize, begin: Instant, own: usize) {
        let shared = &*self.shared;
        let start = Instant::now();
        let chunk = (start - begin) / own.max(1) as u32;
        let (mut spins, mut waited) = (0u32, Duration::ZERO);
        while shared.done.load(Ordering::Acquire) < chunks {
            spins += 1;
            if !spins.is_multiple_of(1024) {
                core::hint::spin_loop();
                continue;
            }
            // A thread that was put aside with a chunk in its hands gets the processor sooner if we give it up.
            thread::yield_now();
            let now = Instant::now();
            waited = (now - start).saturating_sub(LATE + chunk * 3);
            for (conduct, seat) in self.conduct.iter_mut().zip(&shared.seats) {
                let late = waited > Duration::ZERO && seat.holds.load(Ordering::Relaxed);
                conduct.late |= late;
                if conduct.out.is_none() && late && waited > conduct.credit {
                    conduct.leave_out(now);
                    seat.out.store(true, Ordering::Relaxed);
                }
            }
        }
        let saved = chunk / self.threads.len() as u32 / 2;
        for (conduct, seat) in self.conduct.iter_mut().zip(&shared.seats) {
            conduct.count(seat.chunks.load(Ordering::Relaxed), saved, waited);
        }
    }

    /// Whether anybody is there to help; who was left out long enough comes back.
    fn anybody(&mut self) -> bool {
        if self.conduct.iter().all(|conduct| conduct.out.is_none()) {
            return true;
        }
        let now = Instant::now();
        let mut anybody = false;
        for ((conduct, seat), (thread, _)) in self.conduct.iter_mut().zip(&self.shared.seats).zip(&self.threads) {
            if conduct.out.is_some_and(|until| until <= now) {
                (conduct.out, conduct.back) = (None, Some(now));
                seat.out.store(false, Ordering::Relaxed);
                thread.unpark();
            }
            anybody |= conduct.out.is_none();
        }
        anybody
    }
}

impl Conduct {
    const NEW: Self =
        Self { out: None, penalty: Duration::ZERO, back: None, chunks: 0, credit: Duration::ZERO, late: false };

    /// After a piece of work: how many chunks it has done in all, what each is worth, and how long somebody was waited for.
    fn count(&mut self, chunks: usize, worth: Duration, waited: Duration) {
        let did = chunks.wrapping_sub(self.chunks);
        self.chunks = chunks;
        let gave = worth.saturating_mul(u32::try_from(did).unwrap_or(u32::MAX));
        let cost = if std::mem::take(&mut self.late) { waited } else { Duration::ZERO };
        self.credit = (self.credit + gave).min(CREDIT).saturating_sub(cost);
    }

    fn leave_out(&mut self, now: Instant) {
        let again = self.back.is_some_and(|back| now - back < self.penalty);
        self.penalty = if again { (self.penalty * 2).min(PENALTY.1) } else { PENALTY.0 };
        self.out = Some(now + self.penalty);
        self.credit = Duration::ZERO;
    }
}

/// Claims chunks until none is left; for the caller, who alone begins a new piece of work. Answers how many it did.
fn help(shared: &Shared, work: &Work<'_>) -> usize {
    let mut count = 0;
    while let Some((_, chunk)) = claim(shared) {
        work(chunk);
        shared.done.fetch_add(1, Ordering::Release);
        count += 1;
    }
    count
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

fn serve(shared: &Shared, seat: usize) {
    let _bell = Bell(shared);
    let seat = &shared.seats[seat];
    let mut known: Option<(u64, &'static Work<'static>)> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        seat.holds.store(true, Ordering::Relaxed);
        let claimed = if seat.out.load(Ordering::Relaxed) { None } else { claim(shared) };
        let Some((piece, chunk)) = claimed else {
            seat.holds.store(false, Ordering::Relaxed);
            // Numbers come again after 2^24 pieces of work.
            known = None;
            rest(shared, seat);
            continue;
        };
        let work = match known {
            Some((of, work)) if of == piece => work,
            // The piece of work whose chunk we hold cannot end before we are done, so this is its work.
            _ => shared.work.lock().expect("nobody panics while holding it").expect("set before the ticket"),
        };
        known = Some((piece, work));
        work(chunk);
        // Nobody else writes it.
        seat.chunks.store(seat.chunks.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        shared.done.fetch_add(1, Ordering::Release);
    }
}

/// Spins until there is work, then sleeps until somebody wakes us.
fn rest(shared: &Shared, seat: &Seat) {
    let has_work = || {
        let ticket = shared.ticket.load(Ordering::SeqCst);
        let work = (ticket & FIELD) < (ticket >> 20 & FIELD) && !seat.out.load(Ordering::Relaxed);
        work || shared.stop.load(Ordering::Relaxed)
    };
    let start = Instant::now();
    loop {
        for _ in 0..256 {
            if has_work() {
                return;
            }
            core::hint::spin_loop();
        }
        if start.elapsed() > SPIN || seat.out.load(Ordering::Relaxed) {
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
    fn who_is_left_out_claims_nothing_and_comes_back() {
        let mut pool = Pool::new(3);
        let me = thread::current().id();
        for conduct in &mut pool.conduct {
            conduct.leave_out(Instant::now() + Duration::from_secs(3600));
        }
        pool.shared.seats.iter().for_each(|seat| seat.out.store(true, Ordering::Relaxed));
        pool.run(64, &|_| assert_eq!(thread::current().id(), me));
        pool.conduct[1].out = Some(Instant::now());
        let count = AtomicUsize::new(0);
        pool.run(64, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 64);
        assert!(pool.conduct[0].out.is_some() && pool.conduct[1].out.is_none());
    }

    #[test]
    fn who_is_late_again_is_left_out_longer() {
        let mut conduct = Conduct::NEW;
        let mut now = Instant::now();
        let mut penalties = Vec::new();
        for _ in 0..7 {
            conduct.leave_out(now);
            penalties.push(conduct.penalty.as_millis());
            now += conduct.penalty;
            conduct.back = Some(now);
        }
        assert_eq!(penalties, [40, 80, 160, 320, 640, 1000, 1000]);
        conduct.leave_out(now + Duration::from_secs(5));
        assert_eq!(conduct.penalty, PENALTY.0);
    }

    #[test]
    fn who_gave_more_than_it_cost_has_credit() {
        let (mut conduct, ms) = (Conduct::NEW, Duration::from_millis);
        conduct.count(3, ms(2), ms(9));
        assert_eq!(conduct.credit, ms(6), "another one was late");
        conduct.late = true;
        conduct.count(4, ms(2), ms(5));
        assert_eq!((conduct.credit, conduct.late), (ms(3), false));
        conduct.late = true;
        conduct.count(4, ms(2), ms(5));
        assert_eq!(conduct.credit, ms(0));
        conduct.count(1000, ms(2), ms(0));
        assert_eq!(conduct.credit, CREDIT);
        conduct.leave_out(Instant::now());
        assert_eq!(conduct.credit, ms(0));
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
