//! Fetching one blob from whoever has it.
//!
//! Sources are tried in turn. A source is asked for the size first; if it serves ranges, parts are fetched side by
//! side, and what was fetched before a crash is not fetched again. The whole is verified against its digest before
//! anybody sees it; a source that delivered something else is not asked again.
//!
//! ```text
//! Probing --sized--> Fetching --all parts--> Verifying --right--> done
//!    |                  |                        '--wrong--> next source, from nothing
//!    '--refused, or silent for too long--> next source; none left: failed
//! ```

use alloc::{collections::BTreeMap, vec::Vec};
use core::{fmt, ops::Range, time::Duration};

use crate::kit::{Bytes, Instant, Machine};

/// How patient a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a part.
    pub part: u64,
    /// Parts in flight at one time.
    pub flights_max: usize,
    /// Tries of a part at one source before it is given up.
    pub tries_max: u32,
    /// How long a source may take to answer the first question.
    pub connect: Duration,
    /// How long a part may bring nothing.
    pub stall: Duration,
    /// Wait before the second try; doubles with each further one.
    pub pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            part: 16 << 20,
            flights_max: 8,
            tries_max: 6,
            // A source that is not reachable at all must not keep the next one waiting; sources with a package
            // manager in front of them answer later, and are asked with a patience of their own.
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody wants the blob.
    Started {
        /// How many sources there are; they are numbered from 0.
        sources: usize,
        /// What is on disk from an earlier try: disjoint ranges in ascending order.
        have: Vec<Range<u64>>,
        /// Bytes that may still be written.
        free: Bytes,
    },
    /// A source told the size, and whether it serves ranges.
    Sized {
        /// Which source.
        source: usize,
        /// Of the blob.
        size: Bytes,
        /// Whether parts can be asked for.
        ranged: bool,
    },
    /// A part brought some bytes.
    Progressed {
        /// Where the part begins.
        start: u64,
        /// How many bytes of it are there now.
        bytes: Bytes,
    },
    /// A part is on disk.
    Fetched {
        /// Where it begins.
        start: u64,
    },
    /// A question or a part failed.
    Failed {
        /// Which source.
        source: usize,
        /// Where the part begins; `None` for the question of the size.
        start: Option<u64>,
        /// Whether asking again is of no use (not found, not allowed, not reachable).
        finally: bool,
    },
    /// The digest was computed.
    Verified {
        /// Whether it is the right one.
        right: bool,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask a source for the size.
    Probe {
        /// Which.
        source: usize,
    },
    /// Fetch a part and put it on disk.
    Fetch {
        /// From whom.
        source: usize,
        /// Which bytes.
        range: Range<u64>,
    },
    /// Stop asking a source: whatever is in flight from it counts for nothing.
    Abandon {
        /// Which.
        source: usize,
    },
    /// Throw away what is on disk.
    Discard,
    /// Compute the digest of what is on disk.
    Verify,
    /// Let others see the blob.
    Publish,
    /// Give up.
    Fail(Failure),
}

/// Why a pull ended without a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Every source refused, fell silent, or delivered something else.
    NoSource,
    /// Not enough room: so many bytes are missing.
    Full {
        /// More than are free.
        missing: Bytes,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource => f.write_str("no source delivered it"),
            Self::Full { missing } => write!(f, "the disk is too full: {missing} more are needed"),
        }
    }
}

/// The fetching of one blob.
#[derive(Clone, Debug, PartialEq)]
pub struct Pull {
    config: Config,
    sources: usize,
    have: Vec<Range<u64>>,
    free: Bytes,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Idle,
    Probing { source: usize, until: Instant },
    Fetching { source: usize, size: u64, waiting: Vec<Part>, flights: BTreeMap<u64, Flight> },
    Verifying { source: usize },
    Over,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    range: Range<u64>,
    tries: u32,
    not_before: Instant,
}

#[derive(Clone, Debug, PartialEq)]
struct Flight {
    part: Part,
    seen: u64,
    until: Instant,
}

impl Pull {
    /// A pull that has not begun.
    pub const fn new(config: Config) -> Self {
        Self { config, sources: 0, have: Vec::new(), free: Bytes(0), state: State::Idle }
    }

    /// Whether it has ended, well or not.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn probe(&mut self, now: Instant, source: usize, out: &mut Vec<Effect>) {
        if source >= self.sources {
            out.push(Effect::Fail(Failure::NoSource));
            self.state = State::Over;
            return;
        }
        out.push(Effect::Probe { source });
        self.state = State::Probing { source, until: now + self.config.connect };
    }

    fn next_source(&mut self, now: Instant, source: usize, out: &mut Vec<Effect>) {
        out.push(Effect::Abandon { source });
        self.probe(now, source + 1, out);
    }

    fn fetch(&mut self, now: Instant, source: usize, size: u64, ranged: bool, out: &mut Vec<Effect>) {
        if !ranged && !self.have.is_empty() {
            self.have.clear();
            out.push(Effect::Discard);
        }
        self.have.retain(|range| range.end <= size);
        let held: u64 = self.have.iter().map(|range| range.end - range.start).sum();
        let missing = (size - held.min(size)).saturating_sub(self.free.0);
        if missing > 0 {
            out.push(Effect::Abandon { source });
            out.push(Effect::Fail(Failure::Full { missing: Bytes(missing) }));
            self.state = State::Over;
            return;
        }
        let step = if ranged { self.config.part } else { size.max(1) };
        let waiting = gaps(&self.have, size)
            .flat_map(|gap| cut(gap, step))
            .map(|range| Part { range, tries: 0, not_before: now })
            .collect();
        self.state = State::Fetching { source, size, waiting, flights: BTreeMap::new() };
        self.send(now, out);
    }

    /// Sends what may be sent now.
    fn send(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let State::Fetching { source, waiting, flights, .. } = &mut self.state else { return };
        let mut at = 0;
        while flights.len() < self.config.flights_max && at < waiting.len() {
            if waiting[at].not_before > now {
                at += 1;
                continue;
            }
            let part = waiting.remove(at);
            out.push(Effect::Fetch { source: *source, range: part.range.clone() });
            flights.insert(part.range.start, Flight { part, seen: 0, until: now + self.config.stall });
        }
        if waiting.is_empty() && flights.is_empty() {
            out.push(Effect::Verify);
            self.state = State::Verifying { source: *source };
        }
    }

    /// A part came to nothing: again later, or the next source.
    fn retry(&mut self, now: Instant, start: u64, out: &mut Vec<Effect>) {
        let State::Fetching { source, waiting, flights, .. } = &mut self.state else { return };
        let Some(Flight { mut part, .. }) = flights.remove(&start) else { return };
        part.tries += 1;
        if part.tries >= self.config.tries_max {
            let source = *source;
            self.next_source(now, source, out);
            return;
        }
        part.not_before = now + self.config.pause * (1 << (part.tries - 1).min(16));
        waiting.push(part);
        self.send(now, out);
    }
}

/// What of `0 .. size` is not in `have`.
fn gaps(have: &[Range<u64>], size: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = core::iter::once(0).chain(have.iter().map(|range| range.end));
    let ends = have.iter().map(|range| range.start).chain(core::iter::once(size));
    starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end)
}

fn cut(range: Range<u64>, step: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range
        .step_by(usize::try_from(step).unwrap_or(usize::MAX))
        .map(move |start| start..(start.saturating_add(step)).min(end))
}

impl Machine for Pull {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match (&mut self.state, input) {
            (State::Idle, Input::Started { sources, have, free }) => {
                (self.sources, self.free) = (sources, free);
                self.have = have;
                self.probe(now, 0, out);
            }
            (State::Probing { source, .. }, Input::Sized { source: of, size, ranged }) if *source == of => {
                self.fetch(now, of, size.0, ranged, out);
            }
            (State::Probing { source, .. }, Input::Failed { source: of, .. }) if *source == of => {
                self.next_source(now, of, out);
            }
            (State::Fetching { flights, .. }, Input::Progressed { start, bytes }) => {
                if let Some(flight) = flights.get_mut(&start).filter(|flight| flight.seen < bytes.0) {
                    flight.seen = bytes.0;
                    flight.until = now + self.config.stall;
                }
            }
            (State::Fetching { flights, .. }, Input::Fetched { start }) => {
                if let Some(flight) = flights.remove(&start) {
                    self.have.push(flight.part.range);
                    self.have.sort_by_key(|range| range.start);
                    self.send(now, out);
                }
            }
            (State::Fetching { source, .. }, Input::Failed { source: of, start, finally }) if *source == of => {
                match start {
                    Some(start) if !finally => self.retry(now, start, out),
                    _ => self.next_source(now, of, out),
                }
            }
            (State::Verifying { .. }, Input::Verified { right: true }) => {
                out.push(Effect::Publish);
                self.state = State::Over;
            }
            (State::Verifying { source }, Input::Verified { right: false }) => {
                let source = *source;
                self.have.clear();
                out.push(Effect::Discard);
                self.next_source(now, source, out);
            }
            // What comes from a source that was abandoned, or after the end.
            (
                State::Idle | State::Probing { .. } | State::Fetching { .. } | State::Verifying { .. } | State::Over,
                _,
            ) => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        match &self.state {
            State::Probing { source, until } if *until <= now => {
                let source = *source;
                self.next_source(now, source, out);
            }
            State::Fetching { flights, .. } => {
                let late: Vec<u64> = flights.iter().filter(|(_, f)| f.until <= now).map(|(&start, _)| start).collect();
                late.into_iter().for_each(|start| self.retry(now, start, out));
                self.send(now, out);
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Probing { until, .. } => Some(*until),
            State::Fetching { waiting, flights, .. } => {
                let stalls = flights.values().map(|flight| flight.until);
                // A part that waits for room is sent when room comes, not by the clock.
                let room = flights.len() < self.config.flights_max;
                let pauses = waiting.iter().filter(|_| room).map(|part| part.not_before);
                stalls.chain(pauses).min()
            }
            State::Idle | State::Verifying { .. } | State::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

    use super::{Input::*, *};
    use crate::kit::{laws, trace};

    const CONFIG: Config = Config {
        part: 10,
        flights_max: 2,
        tries_max: 2,
        connect: Duration::from_millis(100),
        stall: Duration::from_millis(50),
        pause: Duration::from_millis(5),
    };

    fn started(sources: usize, have: &[Range<u64>]) -> Input {
        Started { sources, have: have.into(), free: Bytes(1000) }
    }

    fn sized(source: usize) -> Input {
        Sized { source, size: Bytes(25), ranged: true }
    }

    #[test]
    fn parts_are_fetched_side_by_side_verified_and_published() {
        let script = [
            (0, started(1, &[])),
            (1, sized(0)),
            (2, Fetched { start: 10 }),
            (3, Fetched { start: 0 }),
            (4, Fetched { start: 20 }),
            (5, Verified { right: true }),
        ];
        assert_eq!(
            trace::of(&mut Pull::new(CONFIG), script, 500),
            "0ms Started { sources: 1, have: [], free: Bytes(1000) } -> [Probe { source: 0 }]\n\
             1ms Sized { source: 0, size: Bytes(25), ranged: true } -> [Fetch { source: 0, range: 0..10 }, Fetch { source: 0, range: 10..20 }]\n\
             2ms Fetched { start: 10 } -> [Fetch { source: 0, range: 20..25 }]\n\
             4ms Fetched { start: 20 } -> [Verify]\n\
             5ms Verified { right: true } -> [Publish]\n"
        );
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let script = [(0, started(1, &[0..10, 20..25])), (1, sized(0)), (2, Fetched { start: 10 })];
        let trace = trace::of(&mut Pull::new(CONFIG), script, 40);
        assert!(
            trace.contains("-> [Fetch { source: 0, range: 10..20 }]\n2ms Fetched { start: 10 } -> [Verify]"),
            "{trace}"
        );
    }

    #[test]
    fn a_silent_source_gives_way_and_the_last_one_fails() {
        assert_eq!(
            trace::of(&mut Pull::new(CONFIG), [(0, started(2, &[]))], 500),
            "0ms Started { sources: 2, have: [], free: Bytes(1000) } -> [Probe { source: 0 }]\n\
             100ms tick -> [Abandon { source: 0 }, Probe { source: 1 }]\n\
             200ms tick -> [Abandon { source: 1 }, Fail(NoSource)]\n"
        );
    }

    #[test]
    fn a_part_that_stalls_is_asked_for_again_and_then_given_up() {
        let script = [(0, started(1, &[0..20])), (1, sized(0)), (30, Progressed { start: 20, bytes: Bytes(2) })];
        let trace = trace::of(&mut Pull::new(CONFIG), script, 500);
        assert!(trace.contains("85ms tick -> [Fetch { source: 0, range: 20..25 }]\n135ms tick -> [Abandon { source: 0 }, Fail(NoSource)]"), "{trace}");
    }

    #[test]
    fn a_wrong_digest_begins_again_elsewhere() {
        let script = [(0, started(2, &[0..25])), (1, sized(0)), (2, Verified { right: false }), (3, sized(1))];
        let trace = trace::of(&mut Pull::new(CONFIG), script, 10);
        assert!(trace.contains("[Discard, Abandon { source: 0 }, Probe { source: 1 }]"), "{trace}");
        assert!(trace.contains("Fetch { source: 1, range: 0..10 }"), "{trace}");
    }

    #[test]
    fn a_disk_that_is_too_full_is_told_before_anything_is_fetched() {
        let script = [(0, Started { sources: 1, have: [0..5].into(), free: Bytes(12) }), (1, sized(0))];
        let trace = trace::of(&mut Pull::new(CONFIG), script, 10);
        assert!(trace.ends_with("[Abandon { source: 0 }, Fail(Full { missing: Bytes(8) })]\n"), "{trace}");
    }

    #[test]
    fn a_source_without_ranges_begins_from_nothing() {
        let script = [(0, started(1, &[0..5])), (1, Sized { source: 0, size: Bytes(25), ranged: false })];
        let trace = trace::of(&mut Pull::new(CONFIG), script, 10);
        assert!(trace.ends_with("[Discard, Fetch { source: 0, range: 0..25 }]\n"), "{trace}");
    }

    #[test]
    fn it_keeps_the_laws_whatever_happens() {
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..300 {
            let mut at = 0;
            let script: Vec<(Instant, Input)> = (0..60)
                .map(|i| {
                    at += below(40);
                    let source = below(3) as usize;
                    let start = [0, 10, 20][below(3) as usize];
                    let input = match below(if i == 0 { 1 } else { 7 }) {
                        0 => started(3, &[]),
                        1 => sized(source),
                        2 => Progressed { start, bytes: Bytes(below(10)) },
                        3 => Fetched { start },
                        4 => Failed { source, start: Some(start), finally: below(4) == 0 },
                        5 => Failed { source, start: None, finally: true },
                        _ => Verified { right: below(2) == 0 },
                    };
                    (Instant::from_millis(at), input)
                })
                .collect();
            laws::hold(&Pull::new(CONFIG), script);
        }
    }
}
