//! The corridor: the one place where all streets meet.
//!
//! A node asks for six things and hears six ([`Effect`], [`Input`]). Here a machine's effect becomes another's input, and
//! nowhere else; here packets are opened and sealed, so that behind the door everybody knows who spoke.
//!
//! Whoever drives a node owes it what every [`Machine`] is owed, and two things more: each [`Effect::Save`] of a step is
//! kept before any [`Effect::Send`] or [`Effect::Reply`] of it leaves, and if keeping fails the node stops and begins again
//! from what is kept ([`Node::restore`]).

pub mod govern;
mod restore;
pub mod route;
pub mod trade;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

pub use self::restore::Kept;
use self::trade::Trade;
use crate::{
    economy::governance::Metric,
    kit::{Certificate, Instant, Machine, NodeId, Signer, UnixTime, Verifier},
    mesh::swim::{self, Facts, Pulse, State, Swim},
    wire::parts::Parts,
};

/// How often trade is told who is there. Who comes or goes is known to all within some seconds anyway.
const PEERS_EVERY: Duration = Duration::from_secs(5);

/// How a node behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Membership.
    pub swim: swim::Config,
    /// How often the engine is asked whether it answers; never, if `None`.
    pub check_engine: Option<Duration>,
    /// Where a list of addresses to begin with can be had, for a node that knows nobody.
    pub directory: Option<String>,
    /// How it trades; it does not, if `None`. Accounts are kept with first keys: a node that signs with another does not
    /// trade yet.
    pub trade: Option<Box<trade::Config>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            swim: swim::Config::default(),
            check_engine: Some(Duration::from_secs(15)),
            directory: None,
            trade: None,
        }
    }
}

/// What a node hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Bytes came from an address.
    Packet {
        /// Where they seem to come from.
        from: SocketAddr,
        /// All of a datagram.
        bytes: Vec<u8>,
    },
    /// Somebody at this machine asks.
    Ask {
        /// Who must get the answer; chosen by the shell.
        from: u64,
        /// What.
        ask: Ask,
    },
    /// What [`Effect::Fetch`] came to.
    Fetched {
        /// As it was asked.
        what: Fetch,
        /// Bytes, or nothing if it could not be had.
        outcome: Option<Vec<u8>>,
    },
    /// What [`Effect::Run`] came to.
    Ran {
        /// As it was asked.
        job: Job,
        /// Whether it was done.
        done: bool,
    },
    /// What the engine did for others, or for votes.
    Worked(trade::Worked),
    /// What the machine feels like.
    Sensed(Reading),
}

/// What a node asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a datagram.
    Send {
        /// Where to.
        to: SocketAddr,
        /// All of it.
        packet: Vec<u8>,
    },
    /// Answer somebody at this machine.
    Reply {
        /// Who asked.
        to: u64,
        /// What to say.
        answer: Answer,
    },
    /// Keep this; it replaces what was kept of the same kind.
    Save(Kept),
    /// Get bytes from outside; an [`Input::Fetched`] must follow.
    Fetch(Fetch),
    /// Have the engine do something; an [`Input::Ran`] must follow.
    Run(Job),
    /// Have the engine do something for others, or for votes.
    Work(trade::Job),
    /// For logs, metrics and whoever listens.
    Tell(swim::Event),
    /// The same, of trade.
    Traded(trade::Event),
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Who is there.
    Members,
    /// Join the network by these addresses.
    Join(Vec<SocketAddr>),
    /// What this node says of itself from now on.
    Facts(Facts),
    /// Leave the network.
    Leave,
    /// Work, or a say in what holds for all.
    Trade(trade::Ask),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Everybody who is remembered, this node first.
    Members(Vec<(Arc<swim::Record>, State)>),
    /// It is under way.
    Done,
    /// What came of work, or of a say.
    Traded(trade::Answer),
    /// This node does not trade.
    Idle,
}

/// What can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Addresses to begin with, one a line, from this URL.
    Directory(String),
}

/// What the engine can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Whether it answers.
    Check,
}

/// What the machine feels like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Share of the engine in use, in percent, and what a thousand tokens cost now, in micro-credits.
    Load {
        /// Percent.
        percent: u8,
        /// Micro-credits for a thousand tokens.
        price: u32,
    },
    /// What was measured in the network, for changes of parameters that are new.
    Measured(Vec<(Metric, u64)>),
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<K> {
    config: Config,
    swim: Swim<K>,
    pulse: Pulse,
    /// Of the last packet that was sealed.
    sequence: u64,
    check_due: Option<Instant>,
    /// Where effects of machines lie for a moment; empty between calls.
    scratch: Vec<swim::Effect>,
    trade: Option<Box<Trade<K>>>,
    parts: Parts,
    /// When trade is told again who is there.
    peers_due: Option<Instant>,
}

/// Who a node is, and when it woke.
#[derive(Clone, Debug)]
pub struct Birth<K> {
    /// What signs and verifies.
    pub keys: K,
    /// Its id: its first key.
    pub id: NodeId,
    /// Its consent to `keys`, if they are not the first.
    pub certificate: Option<Certificate>,
    /// What it says of itself.
    pub facts: Facts,
    /// Chance.
    pub seed: u64,
    /// The date. Packets of this life are numbered from it, above those of all earlier ones, even if nothing was kept.
    pub at: UnixTime,
}

impl<K: Signer + Verifier + Clone> Node<K> {
    /// What it trades, if it does.
    pub fn trade(&self) -> Option<&Trade<K>> {
        self.trade.as_deref()
    }

    /// Who is there.
    pub fn swim(&self) -> &Swim<K> {
        &self.swim
    }

    /// For many nodes in one process: to share what is equal.
    pub fn swim_mut(&mut self) -> &mut Swim<K> {
        &mut self.swim
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.swim.me().id
    }
}

impl<K: Signer + Verifier + Clone> Machine for Node<K> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Packet { from, bytes } => self.open(now, from, bytes, out),
            Input::Ask { from, ask } => self.ask(now, from, ask, out),
            Input::Fetched { what: Fetch::Directory(_), outcome } => {
                let seeds = outcome.map(|bytes| route::addresses(&bytes)).unwrap_or_default();
                if !seeds.is_empty() {
                    self.swim_hears(now, swim::Input::Join(seeds), out);
                }
            }
            Input::Ran { job: Job::Check, done } => {
                self.pulse.engine = done;
                self.swim_hears(now, swim::Input::Pulse(self.pulse), out);
                self.trade_hears(now, trade::Input::Engine(done), out);
            }
            Input::Worked(worked) => self.trade_hears(now, trade::Input::Worked(worked), out),
            Input::Sensed(Reading::Measured(metrics)) => {
                self.trade_hears(now, trade::Input::Measured(metrics), out);
            }
            Input::Sensed(Reading::Load { percent, price }) => {
                (self.pulse.load, self.pulse.price) = (percent.min(100), price);
                self.swim_hears(now, swim::Input::Pulse(self.pulse), out);
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.swim.deadline().is_some_and(|due| due <= now) {
            let mut effects = core::mem::take(&mut self.scratch);
            self.swim.tick(now, &mut effects);
            self.route(effects, out);
        }
        if self.check_due.is_some_and(|due| due <= now) {
            out.push(Effect::Run(Job::Check));
            self.check_due = self.config.check_engine.map(|every| now + every.max(Duration::from_millis(1)));
        }
        if self.peers_due.is_some_and(|due| due <= now) {
            self.peers_due = Some(now + PEERS_EVERY);
            self.introduce(now, out);
        }
        self.tick_trade(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let trade = self.trade.as_ref().and_then(|trade| trade.deadline());
        [self.swim.deadline(), self.check_due, self.peers_due, trade].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
