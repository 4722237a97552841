//! Circuit breaker: stop calling a peer that keeps failing, and ask again later.
//!
//! ```text
//! Closed --failures_max in a row--> Open --rest--> Probing --trials answered in a row--> Closed
//!                                    ^---failure, or silence for patience---'
//! ```
//!
//! Each failed probe doubles the rest, up to `rest_max`: who is down for an hour is not asked a hundred times.
//!
//! Does not count successes; `trust::reputation` does.
//!
//! Source: M. Nygard, *Release It!*, 2nd ed. (2018), ch. 5, "Circuit Breaker". We let only probes through while it is half
//! open: if all traffic came back at once, it would knock the peer over again.

use alloc::vec::Vec;
use core::time::Duration;

use crate::kit::{Instant, Machine};

/// When to give up on a peer and when to try again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Failures in a row that open the breaker; 0 counts as 1.
    pub failures_max: u32,
    /// Probes in a row that must be answered before calls pass again; 0 counts as 1.
    pub trials: u32,
    /// How long an open breaker rests before it probes for the first time.
    pub rest: Duration,
    /// The longest rest, after many failed probes.
    pub rest_max: Duration,
    /// How long a probe may stay unanswered before it counts as failed; nothing counts as a microsecond.
    pub patience: Duration,
}

impl Default for Config {
    /// Five failures, three trials and 30 s are the predecessor's; ten minutes is how long a machine takes to start again
    /// and load a large model.
    fn default() -> Self {
        Self {
            failures_max: 5,
            trials: 3,
            rest: Duration::from_secs(30),
            rest_max: Duration::from_secs(600),
            patience: Duration::from_secs(10),
        }
    }
}

/// What became of a call to the peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// It answered.
    Succeeded,
    /// It did not, or answered nonsense.
    Failed,
}

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Let calls through again.
    Allow,
    /// Make one trial call and report how it went.
    Probe,
    /// Refuse calls to the peer from now on.
    Refuse,
}

/// Guards the calls to one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    config: Config,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Calls pass. Invariant: `failures < config.failures_max`.
    Closed { failures: u32 },
    /// Calls are refused. `rests` were in vain before this one.
    Open { until: Instant, rests: u32 },
    /// One trial call is out; `answered` were answered before it.
    Probing { until: Instant, rests: u32, answered: u32 },
}

impl Breaker {
    /// A closed breaker.
    pub const fn new(config: Config) -> Self {
        Self { config, state: State::Closed { failures: 0 } }
    }

    /// Whether calls pass now.
    pub const fn allows(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    fn open(&self, now: Instant, rests: u32) -> State {
        let rest = self.config.rest.saturating_mul(1 << rests.min(16)).min(self.config.rest_max);
        State::Open { until: now + rest.max(MOMENT), rests }
    }

    fn probe(&self, now: Instant, rests: u32, answered: u32, out: &mut Vec<Effect>) -> State {
        out.push(Effect::Probe);
        State::Probing { until: now + self.config.patience.max(MOMENT), rests, answered }
    }
}

/// The shortest wait: time must go on between two ticks.
const MOMENT: Duration = Duration::from_micros(1);

impl Machine for Breaker {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        use {Input::*, State::*};
        self.state = match (self.state, input) {
            (Closed { failures }, Failed) if failures + 1 < self.config.failures_max => {
                Closed { failures: failures + 1 }
            }
            (Closed { .. }, Failed) => {
                out.push(Effect::Refuse);
                self.open(now, 0)
            }
            (Closed { .. }, Succeeded) => Closed { failures: 0 },
            (Probing { rests, .. }, Failed) => self.open(now, rests + 1),
            (Probing { rests, answered, .. }, Succeeded) if answered + 1 < self.config.trials => {
                self.probe(now, rests, answered + 1, out)
            }
            (Probing { .. }, Succeeded) => {
                out.push(Effect::Allow);
                Closed { failures: 0 }
            }
            // A late answer to a call that left before the breaker opened.
            (open @ Open { .. }, _) => open,
        };
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.state = match self.state {
            State::Open { until, rests } if until <= now => self.probe(now, rests, 0, out),
            State::Probing { until, rests, .. } if until <= now => self.open(now, rests + 1),
            quiet => quiet,
        };
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until, .. } | State::Probing { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Input::*, *};
    use crate::kit::{Rng, laws, trace};

    const CONFIG: Config = Config {
        failures_max: 2,
        trials: 2,
        rest: Duration::from_millis(100),
        rest_max: Duration::from_millis(300),
        patience: Duration::from_millis(20),
    };

    #[test]
    fn opens_rests_probes_and_closes() {
        let script = [(0, Failed), (5, Failed), (7, Succeeded), (110, Succeeded), (115, Succeeded), (116, Failed)];
        assert_eq!(
            trace::of(&mut Breaker::new(CONFIG), script, 500),
            "5ms Failed -> [Refuse]\n\
             105ms tick -> [Probe]\n\
             110ms Succeeded -> [Probe]\n\
             115ms Succeeded -> [Allow]\n"
        );
    }

    #[test]
    fn a_success_forgets_the_failures_before_it() {
        let script = [(0, Failed), (1, Succeeded), (2, Failed), (3, Succeeded)];
        assert_eq!(trace::of(&mut Breaker::new(CONFIG), script, 500), "");
    }

    #[test]
    fn rests_twice_as_long_after_each_vain_probe_and_never_longer_than_the_longest() {
        let script = [(0, Failed), (0, Failed), (105, Failed)];
        assert_eq!(
            trace::of(&mut Breaker::new(CONFIG), script, 1_300),
            "0ms Failed -> [Refuse]\n\
             100ms tick -> [Probe]\n\
             305ms tick -> [Probe]\n\
             625ms tick -> [Probe]\n\
             945ms tick -> [Probe]\n\
             1265ms tick -> [Probe]\n"
        );
    }

    #[test]
    fn keeps_the_laws() {
        let lazy = Config { failures_max: 0, trials: 0, rest: Duration::ZERO, patience: Duration::ZERO, ..CONFIG };
        for (seed, config) in (0..200).zip([CONFIG, lazy].into_iter().cycle()) {
            let mut rng = Rng::new(seed);
            let mut at = 0;
            let script = core::iter::repeat_with(|| {
                at += u64::from(rng.below(60));
                let input = if rng.below(2) == 0 { Failed } else { Succeeded };
                (Instant::from_micros(at * 100), input)
            });
            laws::hold(&Breaker::new(config), script.take(100));
        }
    }
}
