//! The life of a task, from the wish to the last charge.
//!
//! ```text
//! Waiting --bind--> Bound --finish--> Over
//!    ^                |                 ^
//!    '-----lose-------'--cancel---------'
//! ```
//!
//! A task is bound to one worker at a time, by a *lease*: the task's number and an epoch that only grows. What comes with
//! another epoch than the last is stale and changes nothing, so that a worker that was thought dead does no harm when it comes
//! back. What was delivered under a lease is charged when the lease ends: the charges of a task are pieces of its tokens that
//! do not overlap and leave nothing out, whatever happens in which order.
//!
//! Source: C. Gray, D. Cheriton, "Leases" (SOSP 1989); M. Burrows, "The Chubby Lock Service" (OSDI 2006) for sequencers that
//! fence off late holders.

use core::fmt;

use crate::kit::{
    NodeId,
    fault::{Fault, on},
};

/// The right to work on a task: no other holds it while this epoch is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// The task, by the number that its client gave it.
    pub task: u64,
    /// Counts the leases of this task from 1.
    pub epoch: u32,
}

/// What one worker is owed for one lease: tokens `from` up to, not including, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whom.
    pub worker: NodeId,
    /// For which lease.
    pub lease: Lease,
    /// The first token that it delivered.
    pub from: u32,
    /// The one after its last.
    pub to: u32,
}

/// A task, as its client keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    number: u64,
    /// Tokens that may come at most.
    limit: u32,
    epoch: u32,
    /// Tokens that have come.
    delivered: u32,
    life: Life,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// No worker holds it.
    Waiting,
    /// One does, and what it delivers from `from` on will be charged.
    Bound {
        /// Who.
        worker: NodeId,
        /// What had come before.
        from: u32,
    },
    /// It is over: done, cancelled, or given up.
    Over,
}

/// Why an event was refused. The task is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The task is over.
    Over,
    /// The lease is not the last one, or was never given. The peer's mistake, or a late message.
    Stale {
        /// The epoch that holds.
        epoch: u32,
    },
    /// A worker holds it already.
    Bound,
    /// Fewer tokens than had come.
    Backwards {
        /// What had come.
        delivered: u32,
    },
    /// More tokens than were asked for.
    TooMany {
        /// What was asked for.
        limit: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over => f.write_str("the task is over"),
            Self::Stale { epoch } => write!(f, "the lease is stale; epoch {epoch} holds"),
            Self::Bound => f.write_str("a worker holds the task"),
            Self::Backwards { delivered } => write!(f, "{delivered} tokens had come already"),
            Self::TooMany { limit } => write!(f, "more than the {limit} tokens that were asked for"),
        }
    }
}

impl core::error::Error for Error {}

impl Task {
    /// A task for at most `limit` tokens, which nobody holds.
    pub const fn new(number: u64, limit: u32) -> Self {
        Self { number, limit, epoch: 0, delivered: 0, life: Life::Waiting }
    }

    /// Where it stands.
    pub const fn life(&self) -> Life {
        self.life
    }

    /// Tokens that have come.
    pub const fn delivered(&self) -> u32 {
        self.delivered
    }

    /// The last lease that was given.
    pub const fn lease(&self) -> Lease {
        Lease { task: self.number, epoch: self.epoch }
    }

    /// Gives the task to `worker`, from the first token that has not come.
    ///
    /// # Errors
    /// [`Error::Over`], [`Error::Bound`].
    pub const fn bind(&mut self, worker: NodeId) -> Result<Lease, Error> {
        match self.life {
            Life::Over => Err(Error::Over),
            Life::Bound { .. } => Err(Error::Bound),
            Life::Waiting => {
                self.epoch += 1;
                self.life = Life::Bound { worker, from: self.delivered };
                Ok(self.lease())
            }
        }
    }

    /// So many tokens have come in all.
    ///
    /// # Errors
    /// [`Error::Over`], [`Error::Stale`], [`Error::Backwards`], [`Error::TooMany`], in this order of checks.
    pub fn progress(&mut self, worker: &NodeId, epoch: u32, delivered: u32) -> Result<(), Error> {
        self.held(worker, epoch)?;
        if delivered < self.delivered {
            return Err(Error::Backwards { delivered: self.delivered });
        }
        if delivered > self.limit {
            return Err(Error::TooMany { limit: self.limit });
        }
        self.delivered = delivered;
        Ok(())
    }

    /// The worker says that it is done, with so many tokens in all; what it is owed.
    ///
    /// # Errors
    /// As [`Self::progress`].
    pub fn finish(&mut self, worker: &NodeId, epoch: u32, delivered: u32) -> Result<Option<Charge>, Error> {
        self.progress(worker, epoch, delivered)?;
        Ok(self.end(Life::Over))
    }

    /// The worker failed, gave it back, or is gone; what it is owed for what came before.
    ///
    /// # Errors
    /// [`Error::Over`], [`Error::Stale`].
    pub fn lose(&mut self, worker: &NodeId, epoch: u32) -> Result<Option<Charge>, Error> {
        self.held(worker, epoch)?;
        Ok(self.end(Life::Waiting))
    }

    /// Nobody wants it any more; what whoever holds it is owed. Of a task that is over, nothing.
    pub fn cancel(&mut self) -> Option<Charge> {
        self.end(Life::Over)
    }

    fn held(&self, worker: &NodeId, epoch: u32) -> Result<(), Error> {
        match &self.life {
            Life::Over => Err(Error::Over),
            Life::Bound { worker: holder, .. }
                if holder == worker && (epoch == self.epoch || on(Fault::StaleLeaseCounts)) =>
            {
                Ok(())
            }
            _ => Err(Error::Stale { epoch: self.epoch }),
        }
    }

    fn end(&mut self, life: Life) -> Option<Charge> {
        let charge = match self.life {
            Life::Bound { worker, from } if self.delivered > from => {
                Some(Charge { worker, lease: self.lease(), from, to: self.delivered })
            }
            _ => None,
        };
        self.life = life;
        charge
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use super::*;
    use crate::kit::Rng;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Bind(u64),
        Progress(u64, u32, u32),
        Finish(u64, u32, u32),
        Lose(u64, u32),
        Cancel,
    }

    fn take(task: &mut Task, step: Step) -> Result<Option<Charge>, Error> {
        match step {
            Step::Bind(who) => task.bind(NodeId::number(who)).map(|_| None),
            Step::Progress(who, epoch, tokens) => task.progress(&NodeId::number(who), epoch, tokens).map(|()| None),
            Step::Finish(who, epoch, tokens) => task.finish(&NodeId::number(who), epoch, tokens),
            Step::Lose(who, epoch) => task.lose(&NodeId::number(who), epoch),
            Step::Cancel => Ok(task.cancel()),
        }
    }

    #[test]
    fn one_life_line_by_line() {
        use Step::*;
        let mut task = Task::new(7, 100);
        let mut table = String::new();
        for step in [
            Progress(1, 0, 5),
            Bind(1),
            Bind(2),
            Progress(1, 1, 40),
            Progress(1, 1, 39),
            Progress(1, 1, 101),
            Progress(2, 1, 41),
            Lose(1, 2),
            Lose(1, 1),
            Progress(1, 1, 60),
            Bind(2),
            Finish(1, 1, 100),
            Finish(2, 2, 100),
            Finish(2, 2, 100),
            Bind(3),
            Cancel,
        ] {
            let outcome = match take(&mut task, step) {
                Ok(None) => "ok".into(),
                Ok(Some(charge)) => format!("tokens {} to {} are owed", charge.from, charge.to),
                Err(error) => format!("{error}"),
            };
            table.push_str(&format!("{step:?}: {outcome}\n"));
        }
        assert_eq!(
            table,
            "Progress(1, 0, 5): the lease is stale; epoch 0 holds\n\
             Bind(1): ok\n\
             Bind(2): a worker holds the task\n\
             Progress(1, 1, 40): ok\n\
             Progress(1, 1, 39): 40 tokens had come already\n\
             Progress(1, 1, 101): more than the 100 tokens that were asked for\n\
             Progress(2, 1, 41): the lease is stale; epoch 1 holds\n\
             Lose(1, 2): the lease is stale; epoch 1 holds\n\
             Lose(1, 1): tokens 0 to 40 are owed\n\
             Progress(1, 1, 60): the lease is stale; epoch 1 holds\n\
             Bind(2): ok\n\
             Finish(1, 1, 100): the lease is stale; epoch 2 holds\n\
             Finish(2, 2, 100): tokens 40 to 100 are owed\n\
             Finish(2, 2, 100): the task is over\n\
             Bind(3): the task is over\n\
             Cancel: ok\n"
        );
    }

    #[test]
    fn each_token_is_charged_once_whatever_happens() {
        for seed in 0..2_000 {
            let (mut rng, mut task, mut charged) = (Rng::new(seed), Task::new(1, 50), Vec::new());
            for _ in 0..60 {
                let (who, epoch, tokens) = (u64::from(rng.below(3)), rng.below(6), rng.below(55));
                let step = match rng.below(20) {
                    0..8 => Step::Bind(who),
                    8..13 => Step::Progress(who, epoch, tokens),
                    13..18 => Step::Lose(who, epoch),
                    18 => Step::Finish(who, epoch, tokens),
                    _ => Step::Cancel,
                };
                let before = task.clone();
                match take(&mut task, step) {
                    Ok(charge) => charged.extend(charge),
                    Err(_) => assert_eq!(task, before, "a refusal leaves everything as it was"),
                }
            }
            charged.extend(task.cancel());
            let mut at = 0;
            for charge in charged {
                assert_eq!(charge.from, at, "seed {seed}");
                assert!(charge.to > charge.from);
                at = charge.to;
            }
            assert_eq!(at, task.delivered(), "seed {seed}");
        }
    }
}
