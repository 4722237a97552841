//! Who may not work for now, and how one comes back.
//!
//! ```text
//! free --alarm--> quarantined --time--> on trial --passes_needed audits passed--> free
//!                     ^                    |
//!                     '--audit failed------'   (longer, each time)
//! ```
//!
//! Quarantine is reversible: whoever is in it gets no work that pays, on trial all of its work is audited, and it is free again
//! by passing. Hours, a day, a month: the third time within a week is the longest. What brings one in is what others saw
//! (`trust::anomaly`, `trust::verify`), at least three of them or one proof; a node's own word does nothing here.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use crate::kit::{Instant, Machine, NodeId, heap::Heap};

/// How long for what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// How long the first, second, and each further time takes.
    pub terms: [Duration; 3],
    /// After so long without another time, the next counts as the first.
    pub memory: Duration,
    /// Audits in a row that must be passed on trial.
    pub passes_needed: u32,
    /// Observers without whom an alarm is nothing.
    pub observers_min: u32,
    /// Peers that are remembered at most.
    pub peers_max: usize,
}

impl Default for Config {
    /// An hour, a day, thirty days, and a week of memory are the predecessor's, the first and the last governed by votes. Ten
    /// passes in a row are BOINC's, after which a host is checked less often.
    fn default() -> Self {
        let hour = 3_600;
        Self {
            terms: [hour, 24 * hour, 30 * 24 * hour].map(Duration::from_secs),
            memory: Duration::from_secs(7 * 24 * hour),
            passes_needed: 10,
            observers_min: 3,
            peers_max: 65_536,
        }
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// Others saw something wrong.
    Alarm {
        /// With whom.
        peer: NodeId,
        /// How many saw it.
        observers: u32,
    },
    /// An audit of a peer that anybody can do again failed.
    Failed(NodeId),
    /// An audit of a peer was passed.
    Passed(NodeId),
    /// Known from before a restart.
    Recall {
        /// Who.
        peer: NodeId,
        /// How often it was in; 0, if it is free again.
        times: u32,
        /// How long it still is; on trial, if not at all.
        left: Duration,
    },
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Give the peer no work that pays; keep this for so long.
    Bar {
        /// Whom.
        peer: NodeId,
        /// How often it was in now.
        times: u32,
        /// For how long.
        term: Duration,
    },
    /// Give it work again, and audit all of it.
    Try(NodeId),
    /// It is as good as any other again.
    Free(NodeId),
}

/// All peers that are not free, or were not for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Quarantine {
    config: Config,
    peers: BTreeMap<NodeId, Held>,
    timers: Heap<Instant, NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    times: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// No work.
    Barred { until: Instant },
    /// Work that is audited.
    Trial { passed: u32 },
    /// Free, but remembered.
    Remembered { until: Instant },
}

impl Quarantine {
    /// All are free.
    pub const fn new(config: Config) -> Self {
        Self { config, peers: BTreeMap::new(), timers: Heap::new() }
    }

    /// How long terms are from now on; those under way stay as they are.
    pub const fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// Whether `peer` may get work.
    pub fn allows(&self, peer: &NodeId) -> bool {
        !matches!(self.peers.get(peer), Some(Held { state: State::Barred { .. }, .. }))
    }

    /// Whether all work of `peer` is to be audited.
    pub fn watches(&self, peer: &NodeId) -> bool {
        matches!(self.peers.get(peer), Some(Held { state: State::Barred { .. } | State::Trial { .. }, .. }))
    }

    fn bar(&mut self, now: Instant, peer: NodeId, out: &mut Vec<Effect>) {
        let times = match self.peers.get(&peer) {
            // It is in already; what comes now is about the same.
            Some(Held { state: State::Barred { .. }, .. }) => return,
            Some(held) => held.times.saturating_add(1),
            None => 1,
        };
        let at = (times as usize - 1).min(self.config.terms.len() - 1);
        self.hold(now, peer, times, self.config.terms[at], out);
    }

    fn hold(&mut self, now: Instant, peer: NodeId, times: u32, term: Duration, out: &mut Vec<Effect>) {
        if self.peers.len() >= self.config.peers_max && !self.peers.contains_key(&peer) && !self.forget_one() {
            // Full of peers that are in: this one is barred as well, but nobody will remember when it may return.
            out.push(Effect::Bar { peer, times, term });
            return;
        }
        let until = now + term.max(Duration::from_micros(1));
        self.peers.insert(peer, Held { times, state: State::Barred { until } });
        self.timers.push(until, peer);
        out.push(Effect::Bar { peer, times, term });
    }

    /// Makes room by forgetting one that is free.
    fn forget_one(&mut self) -> bool {
        let free = |held: &Held| matches!(held.state, State::Remembered { .. });
        let found = self.peers.iter().find(|(_, held)| free(held)).map(|(peer, _)| *peer);
        found.is_some_and(|peer| self.peers.remove(&peer).is_some())
    }

    fn passed(&mut self, now: Instant, peer: NodeId, out: &mut Vec<Effect>) {
        let Some(held) = self.peers.get_mut(&peer) else { return };
        let State::Trial { passed } = &mut held.state else { return };
        *passed += 1;
        if *passed >= self.config.passes_needed {
            let until = now + self.config.memory.max(Duration::from_micros(1));
            held.state = State::Remembered { until };
            self.timers.push(until, peer);
            out.push(Effect::Free(peer));
        }
    }

    /// Throws away timers whose peer is in another state by now.
    fn clean(&mut self) {
        while let Some((at, peer)) = self.timers.peek() {
            let counts = self.peers.get(peer).is_some_and(|held| match held.state {
                State::Barred { until } | State::Remembered { until } => until == *at,
                State::Trial { .. } => false,
            });
            if counts {
                return;
            }
            self.timers.pop();
        }
    }
}

impl Machine for Quarantine {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Alarm { peer, observers } if observers >= self.config.observers_min => self.bar(now, peer, out),
            Input::Alarm { .. } => {}
            Input::Failed(peer) => self.bar(now, peer, out),
            Input::Passed(peer) => self.passed(now, peer, out),
            Input::Recall { peer, times: 0, .. } => drop(self.peers.remove(&peer)),
            Input::Recall { peer, times, left } if left > Duration::ZERO => self.hold(now, peer, times, left, out),
            Input::Recall { peer, times, .. } => {
                if self.peers.len() < self.config.peers_max {
                    self.peers.insert(peer, Held { times, state: State::Trial { passed: 0 } });
                    out.push(Effect::Try(peer));
                }
            }
        }
        self.clean();
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while self.timers.first().is_some_and(|due| *due <= now) {
            let Some((_, peer)) = self.timers.pop() else { break };
            match self.peers.get_mut(&peer) {
                Some(held) if matches!(held.state, State::Barred { .. }) => {
                    held.state = State::Trial { passed: 0 };
                    out.push(Effect::Try(peer));
                }
                _ => drop(self.peers.remove(&peer)),
            }
            self.clean();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{Input::*, *};
    use crate::kit::{Rng, laws, trace};

    const CONFIG: Config = Config {
        terms: [Duration::from_millis(10), Duration::from_millis(100), Duration::from_millis(1_000)],
        memory: Duration::from_millis(500),
        passes_needed: 2,
        observers_min: 3,
        peers_max: 4,
    };

    fn id(n: u64) -> NodeId {
        NodeId::number(n)
    }

    #[test]
    fn in_on_trial_and_free_again_and_longer_each_time() {
        let p = id(1);
        let script = [
            (0, Alarm { peer: p, observers: 2 }),
            (1, Alarm { peer: p, observers: 3 }),
            (2, Failed(p)),
            (3, Passed(p)),
            (20, Passed(p)),
            (21, Failed(p)),
            (150, Passed(p)),
            (151, Passed(p)),
            (152, Alarm { peer: p, observers: 9 }),
            (1_200, Passed(p)),
            (1_201, Passed(p)),
            (1_800, Failed(p)),
        ];
        let text = trace::of(&mut Quarantine::new(CONFIG), script, 1_900);
        let short: Vec<_> = text.lines().map(|line| line.replace(&alloc::format!("{p:?}"), "p")).collect();
        assert_eq!(
            short,
            [
                "1ms Alarm { peer: p, observers: 3 } -> [Bar { peer: p, times: 1, term: 10ms }]",
                "11ms tick -> [Try(p)]",
                "21ms Failed(p) -> [Bar { peer: p, times: 2, term: 100ms }]",
                "121ms tick -> [Try(p)]",
                "151ms Passed(p) -> [Free(p)]",
                "152ms Alarm { peer: p, observers: 9 } -> [Bar { peer: p, times: 3, term: 1s }]",
                "1152ms tick -> [Try(p)]",
                "1201ms Passed(p) -> [Free(p)]",
                // More than half a second later all is forgotten.
                "1800ms Failed(p) -> [Bar { peer: p, times: 1, term: 10ms }]",
                "1810ms tick -> [Try(p)]",
            ]
        );
    }

    #[test]
    fn terms_are_those_that_hold_when_they_begin() {
        let (mut quarantine, mut out) = (Quarantine::new(CONFIG), Vec::new());
        let mut term = |quarantine: &mut Quarantine, at| {
            out.clear();
            while let Some(due) = quarantine.deadline().filter(|due| *due <= Instant::from_millis(at)) {
                quarantine.tick(due, &mut out);
            }
            quarantine.handle(Instant::from_millis(at), Failed(id(1)), &mut out);
            out.iter().find_map(|effect| if let Effect::Bar { term, .. } = effect { Some(*term) } else { None })
        };
        let [first, second, longest] = [33, 100, 4_000].map(Duration::from_millis);
        quarantine.configure(Config { terms: [first, second, longest], ..CONFIG });
        assert_eq!(term(&mut quarantine, 0), Some(first));
        assert_eq!(term(&mut quarantine, 40), Some(second));
        assert_eq!(term(&mut quarantine, 200), Some(longest));
    }

    #[test]
    fn work_and_audits_follow_the_state() {
        let (mut quarantine, mut out) = (Quarantine::new(CONFIG), Vec::new());
        assert!(quarantine.allows(&id(1)) && !quarantine.watches(&id(1)));
        quarantine.handle(Instant::default(), Failed(id(1)), &mut out);
        assert!(!quarantine.allows(&id(1)) && quarantine.watches(&id(1)));
        quarantine.tick(Instant::from_millis(10), &mut out);
        assert!(quarantine.allows(&id(1)) && quarantine.watches(&id(1)));
        (0..2).for_each(|_| quarantine.handle(Instant::from_millis(11), Passed(id(1)), &mut out));
        assert!(quarantine.allows(&id(1)) && !quarantine.watches(&id(1)));
    }

    #[test]
    fn a_restart_forgets_nobody() {
        let (mut quarantine, mut out) = (Quarantine::new(CONFIG), Vec::new());
        let left = Duration::from_millis(7);
        quarantine.handle(Instant::default(), Recall { peer: id(1), times: 2, left }, &mut out);
        quarantine.handle(Instant::default(), Recall { peer: id(2), times: 1, left: Duration::ZERO }, &mut out);
        assert_eq!(out, [Effect::Bar { peer: id(1), times: 2, term: left }, Effect::Try(id(2))]);
        assert!(!quarantine.allows(&id(1)) && quarantine.watches(&id(2)));
        quarantine.handle(Instant::default(), Recall { peer: id(1), times: 0, left }, &mut out);
        assert!(quarantine.allows(&id(1)) && !quarantine.watches(&id(1)), "it was free again");
        out.clear();
        quarantine.handle(Instant::default(), Failed(id(2)), &mut out);
        assert_eq!(out, [Effect::Bar { peer: id(2), times: 2, term: CONFIG.terms[1] }]);
    }

    #[test]
    fn those_that_are_free_make_room() {
        let (mut quarantine, mut out) = (Quarantine::new(CONFIG), Vec::new());
        for n in 0..4 {
            quarantine.handle(Instant::default(), Failed(id(n)), &mut out);
        }
        quarantine.handle(Instant::default(), Failed(id(9)), &mut out);
        assert!(quarantine.allows(&id(9)), "nobody will remember it");
        assert_eq!(out.len(), 5, "but whoever listens was told");
        quarantine.tick(Instant::from_millis(10), &mut out);
        (0..2).for_each(|_| quarantine.handle(Instant::from_millis(11), Passed(id(2)), &mut out));
        quarantine.handle(Instant::from_millis(12), Failed(id(9)), &mut out);
        assert!(!quarantine.allows(&id(9)));
        assert_eq!(quarantine.peers.len(), 4);
    }

    #[test]
    fn keeps_the_laws() {
        for seed in 0..200 {
            let (mut rng, mut at) = (Rng::new(seed), 0);
            let script: Vec<(Instant, Input)> = (0..150)
                .map(|_| {
                    at += u64::from(rng.below(40));
                    let peer = id(u64::from(rng.below(7)));
                    let input = match rng.below(8) {
                        0..2 => Alarm { peer, observers: rng.below(6) },
                        2 => Failed(peer),
                        3 => Recall { peer, times: rng.below(4), left: Duration::from_millis(rng.below(3).into()) },
                        _ => Passed(peer),
                    };
                    (Instant::from_millis(at), input)
                })
                .collect();
            laws::hold(&Quarantine::new(CONFIG), script);
        }
    }
}
