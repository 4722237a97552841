//! What a client is told and says.

use alloc::vec::Vec;
use core::time::Duration;

use super::super::{budget, choice::Candidate};
use crate::{
    kit::{Class, NodeId},
    work::task::Charge,
};

/// How a client places tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Workers that are asked for each task: 1 to 4.
    pub choices: u8,
    /// Places that are kept of those: 1 joins the shortest queue as quoted, 2 or more bind late.
    pub kept: u8,
    /// How long a worker that was asked may be silent.
    pub quote_patience: Duration,
    /// How long a worker that works may be silent.
    pub work_patience: Duration,
    /// How long a worker may work on a task.
    pub task_max: Duration,
    /// How often a task is tried at most, before and after a lease.
    pub tries: u8,
    /// The first rest before trying again; it doubles.
    pub rest: Duration,
    /// Further tries.
    pub budget: budget::Config,
    /// Tasks at a time.
    pub tasks_max: usize,
    /// Whether a learner may rank those who are drawn, where it wins.
    pub learns: bool,
}

impl Default for Config {
    /// Two choices are nearly as good as many (2.6 service times at load 0.9, where one choice gives 10). Five tries and a
    /// second that doubles are the predecessor's.
    fn default() -> Self {
        Self {
            choices: 2,
            kept: 2,
            quote_patience: Duration::from_secs(1),
            work_patience: Duration::from_secs(10),
            task_max: Duration::from_secs(300),
            tries: 5,
            rest: Duration::from_secs(1),
            budget: budget::Config::default(),
            tasks_max: 65_536,
            learns: true,
        }
    }
}

/// What somebody wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which model.
    pub model: u64,
    /// How urgent.
    pub class: Class,
    /// Tokens that it probably takes.
    pub cost: u32,
    /// Tokens that it may take at most.
    pub limit: u32,
    /// The most it pays, in parts of a million of the usual price.
    pub price_max: u32,
    /// A hash of how its text begins.
    pub prefix: u64,
    /// How long it may wait for a worker.
    pub wait: Duration,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Those who could do tasks of a model, as they are known now.
    Candidates {
        /// Which model.
        model: u64,
        /// All of them.
        list: Vec<Candidate>,
    },
    /// A task is wanted under a new number.
    Ask {
        /// Its number.
        task: u64,
        /// What.
        request: Request,
    },
    /// A worker keeps a place; or it has the task, was interrupted and waits again.
    Quoted {
        /// For which task.
        task: u64,
        /// Who.
        worker: NodeId,
        /// How long it would wait.
        wait: Duration,
    },
    /// A worker does not.
    Refused {
        /// For which task.
        task: u64,
        /// Who.
        worker: NodeId,
        /// What it would cost there.
        price: u32,
        /// When asking again makes sense.
        after: Duration,
    },
    /// A worker gave the place that it kept to another, which had nothing to do.
    Moved {
        /// Of which task.
        task: u64,
        /// Who says so.
        worker: NodeId,
        /// Who has the place now, if it is true.
        to: NodeId,
    },
    /// A worker has a slot for it.
    Ready {
        /// For which task.
        task: u64,
        /// Who.
        worker: NodeId,
    },
    /// Tokens came.
    Progress {
        /// Of which task.
        task: u64,
        /// From whom.
        worker: NodeId,
        /// Under which lease.
        epoch: u32,
        /// How many there are now.
        tokens: u32,
    },
    /// A worker is through.
    Reported {
        /// With which task.
        task: u64,
        /// Who.
        worker: NodeId,
        /// Under which lease.
        epoch: u32,
        /// How many tokens there are.
        tokens: u32,
        /// Whether all is done.
        done: bool,
    },
    /// Nobody wants it any more.
    Cancel {
        /// Which task.
        task: u64,
    },
    /// A worker is not there any more.
    Gone(NodeId),
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Ask for a place.
    Reserve {
        /// Whom.
        worker: NodeId,
        /// For which task.
        task: u64,
        /// How urgent.
        class: Class,
        /// Tokens that it probably takes.
        cost: u32,
        /// The most it pays.
        price_max: u32,
    },
    /// Give a place back.
    Release {
        /// To whom.
        worker: NodeId,
        /// Of which task.
        task: u64,
    },
    /// Give the task.
    Bind {
        /// To whom.
        worker: NodeId,
        /// Which.
        task: u64,
        /// Under which lease.
        epoch: u32,
        /// Tokens that are there already.
        from: u32,
    },
    /// Have a worker stop.
    Stop {
        /// Whom.
        worker: NodeId,
        /// Which task.
        task: u64,
    },
    /// A worker has earned this: once for each token.
    Charge(Charge),
    /// A worker broke its word; for `trust`.
    Blame {
        /// Who.
        worker: NodeId,
        /// In which task.
        task: u64,
        /// How.
        fault: Fault,
    },
    /// All tokens are there.
    Done {
        /// Of which task.
        task: u64,
    },
    /// It will not be done.
    GaveUp {
        /// Which task.
        task: u64,
        /// Why.
        why: Why,
        /// The lowest price of those who refused; 0 if nobody did.
        price: u32,
        /// When asking again makes sense.
        after: Duration,
    },
}

/// What a worker did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not answer, or stopped in the middle.
    Silent,
    /// It gave up.
    Failed,
    /// It counts tokens that cannot be.
    Miscounted,
}

/// Why a task is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too many tasks at a time, or the number is taken.
    Full,
    /// Nobody trusted can do it.
    Nobody,
    /// Everybody refused or was silent, and there are no more tries.
    Refused,
    /// It waited as long as it might.
    Late,
}
