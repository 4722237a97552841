//! Strangers' machines made useful to each other: one exchange a file.
//!
//! ```text
//! asker          client                        worker                witnesses of the client
//!   |--- Work ---->|--- Reserve ----------------->|
//!   |              |<-- Quote, Ready -------------|                                    quote
//!   |              |--- Offer (terms, promise) -->|
//!   |              |<-- Consent ------------------|
//!   |              |--- Show (hold) -------------------------------->|
//!   |              |<-- Vote ----------------------------------------|                 hold, witness
//!   |              |--- Held (certificate) ------>|
//!   |              |<-- Block (commitment) -------|  ... and so on
//!   |              |--- Tick ---------------------|                                    run
//!   |<-- Done -----|<-- Report -------------------|
//!   |              |                              |--- Close ------->|
//!   |              |<-- Paid (certificate) -------|<-- Vote ---------|                 settle
//!   |              |--- Audit --> auditor                                              audit
//!   |              |--- Vouch --> everybody                                            vouch
//! ```
//!
//! | file | what goes on there |
//! |---|---|
//! | [`message`] | the bytes |
//! | `quote` | places are asked for, quoted, called |
//! | `hold` | credits are set aside before anybody works |
//! | `run` | blocks for ticks: neither side is ever more than one block ahead |
//! | `guard` | who fails again and again is not asked for a while |
//! | `steal` | an idle worker takes over places that are bound to nobody |
//! | `quota` | how much each key of this machine may ask for |
//! | `withhold` | a part of a newcomer's pay waits until its work was looked at |
//! | `settle` | a hold comes to what was worked for, and both logs say so |
//! | `witness` | this node's log and those that it watches |
//! | `renew` | others watch an account from now on |
//! | `audit` | whether the work was the work |
//! | `dispute` | whoever is found guilty appeals, and a jury decides |
//! | `vouch` | what is remembered of others, and told |
//! | `alarm` | proofs of fraud |
//! | [`vote`] | what members decide, and that it holds |
//! | `deposit` | what a proposal costs until it ends |
//! | `restore` | what is kept: a journal of the words that changed something |
//!
//! Tokens do not go through here. A shell lets those of a block go when it is told to ([`Job::Hand`]).

mod alarm;
mod audit;
mod deposit;
mod dispute;
mod guard;
mod hold;
pub mod message;
mod quota;
mod quote;
mod renew;
mod restore;
mod run;
mod settle;
mod steal;
mod streak;
#[cfg(test)]
mod tests;
pub mod vote;
mod vouch;
mod withhold;
mod witness;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::time::Duration;

pub use self::renew::Config as RenewConfig;
pub use self::restore::Line;
pub use self::withhold::Config as WithholdConfig;
use self::{
    audit::Audit, guard::Guard, hold::Lease, message::Message, run::Guest, settle::Debt, vote::Ballot,
    withhold::Arrear, witness::Pen,
};
use super::govern;
use crate::{
    economy::{
        governance::{End as VoteEnd, Governance, Metric, Parameters},
        ledger::{Closing, alarm::Alarm, limit},
        tiers::{self, Desk, Earnings, Order, Size},
        witness::{Collect, Set, Terms, Witness, collect},
    },
    kit::{Credits, Digest, Instant, Machine, NodeId, Ppm, Rng, Signer, UnixTime, Verifier, bloom::Bloom},
    trust::{
        anomaly::{self, Anomaly, Cohort},
        breaker,
        quarantine::{self, Quarantine},
        reputation::{self, Reputation},
        verify::{
            self,
            commit::{Block, Fingerprint},
            history::History,
            rate,
            sequential::Calibration,
        },
    },
    work::{
        schedule::{
            client::{self, Client},
            worker::{self, Key, Worker},
        },
        task::Charge,
    },
};

/// How a node trades.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How it has its own tasks done.
    pub client: client::Config,
    /// How it does those of others.
    pub worker: worker::Config,
    /// How it judges.
    pub reputation: reputation::Config,
    /// See there.
    pub anomaly: anomaly::Config,
    /// See there.
    pub quarantine: quarantine::Config,
    /// When it gives up on a worker for a while.
    pub breaker: breaker::Config,
    /// How it gathers votes.
    pub collect: collect::Config,
    /// How it tells of fraud.
    pub alarm: crate::economy::ledger::alarm::Config,
    /// What it lets accounts owe that it watches.
    pub lent: limit::Config,
    /// How often it audits.
    pub rate: rate::Config,
    /// What an audit costs, as a part of the work.
    pub audit_cost: Ppm,
    /// How much of a newcomer's pay waits for the audit.
    pub withhold: withhold::Config,
    /// How many decide when somebody appeals.
    pub dispute: verify::dispute::Config,
    /// What distances between fingerprints say; nothing is audited without it.
    pub calibration: Option<Calibration>,
    /// f: 3f+1 watch an account, this node's and any other's. No set of fewer begins to watch, or comes next.
    pub faults: u8,
    /// While f grows, what it was before: sets of so many are still taken of accounts that have not changed to more yet, by those
    /// who hear of them for the first time. Whoever knows an account knows its sets, whatever f has become.
    pub faults_before: Option<u8>,
    /// When others watch an account.
    pub renew: renew::Config,
    /// Whom it believes without reason, and how much each: those who invited it.
    pub seeds: Vec<(NodeId, u16)>,
    /// Keys that were given out to those who ask at this machine. Any other is in the free tier.
    pub keys: Vec<tiers::Key>,
    /// Models that it serves, and how large each is.
    pub models: Vec<(u64, Size)>,
    /// Which back end its engine has: what was seen of a peer is told apart by it.
    pub back_end: u16,
    /// How long a word may stay unanswered before it is said again.
    pub patience: Duration,
    /// How long a worker waits to be paid for a block.
    pub credit: Duration,
    /// Between two times at which it tells others what it thinks.
    pub vouch_every: Duration,
    /// To how many it does then.
    pub vouch_to: usize,
}

impl Default for Config {
    /// A second is above most round trips. A worker waits five for a tick that was lost to come again, and then works no
    /// more for whoever owes it: one block, 0.03 credits at the anchor.
    fn default() -> Self {
        Self {
            client: client::Config::default(),
            // Until a hold is certified three round trips pass.
            worker: worker::Config { patience: Duration::from_secs(6), ..worker::Config::default() },
            reputation: reputation::Config::default(),
            // What one says that it saw is no proof.
            anomaly: anomaly::Config { observers_min: 3, ..anomaly::Config::default() },
            quarantine: quarantine::Config::default(),
            // Two failures before what was seen bars a newcomer for good; and a trial waits for a task that is drawn to it.
            breaker: breaker::Config {
                failures_max: 3,
                patience: Duration::from_secs(600),
                ..breaker::Config::default()
            },
            collect: collect::Config::default(),
            alarm: crate::economy::ledger::alarm::Config::default(),
            lent: limit::Config::default(),
            rate: rate::Config::default(),
            audit_cost: Ppm(10_000),
            withhold: withhold::Config::default(),
            dispute: verify::dispute::Config::default(),
            calibration: None,
            faults: 10,
            faults_before: None,
            renew: renew::Config::default(),
            seeds: Vec::new(),
            keys: Vec::new(),
            models: Vec::new(),
            back_end: 0,
            patience: Duration::from_secs(1),
            credit: Duration::from_secs(5),
            vouch_every: Duration::from_secs(5),
            vouch_to: 8,
        }
    }
}

/// Tasks of others that one node has to do with at once, and debts, audits and reminders that it keeps.
const OPEN_MAX: usize = 4096;

/// When it will be `date` for a node that began at `born`.
const fn instant_of(born: UnixTime, date: UnixTime) -> Instant {
    Instant::from_millis(date.0.saturating_sub(born.0).saturating_mul(1000))
}

/// Somebody who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub id: NodeId,
    /// Models that it says to have.
    pub models: Bloom,
}

/// Work that somebody at this machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which model, by the hash under which members say that they have it.
    pub model: u64,
    /// What, and how much of it at most.
    pub order: Order,
    /// The most it may cost, in parts of a million of the usual price.
    pub price_max: u32,
    /// A hash of how its text begins.
    pub prefix: u64,
    /// How long it may wait for a worker.
    pub wait: Duration,
    /// The key with which it is asked for: its quota counts.
    pub key: u64,
}

/// What somebody at this machine wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Work.
    Work(Wish),
    /// What this asker wanted done is wanted no more; what came of it is paid.
    Cancel,
    /// A say in what holds for all.
    Vote(Box<Ballot>),
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// The work is done.
    Worked {
        /// The number of the task.
        task: u64,
        /// How many tokens came.
        tokens: u32,
        /// What was paid for them.
        paid: Credits,
    },
    /// It is not, and will not be.
    Unable {
        /// The number of the task.
        task: u64,
        /// Why.
        why: Why,
        /// What came and was paid before.
        paid: Credits,
    },
    /// It counts, or not.
    Voted(Result<(), crate::economy::governance::Error>),
}

/// Why work is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The order is longer than any.
    Long,
    /// The account has no witnesses yet, or may spend too little.
    Short {
        /// How much is missing.
        missing: Credits,
    },
    /// The key with which it is asked may not, now or at all.
    Quota(tiers::Error),
    /// Whoever asked for it wants it no more.
    Cancelled,
    /// No worker took it.
    Work {
        /// Why not.
        why: client::Why,
        /// The lowest price of those who refused, in parts of a million of the usual one; 0 if nobody did.
        price: u32,
        /// When asking again makes sense.
        after: Duration,
    },
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// These are there.
    Peers(Vec<Peer>),
    /// Somebody said something.
    Heard {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// Somebody at this machine wants something.
    Ask {
        /// Who.
        from: u64,
        /// What.
        ask: Ask,
    },
    /// The engine did something.
    Worked(Worked),
    /// What was measured in the network.
    Measured(Vec<(Metric, u64)>),
    /// The engine answers, or does not: then no work is taken, and what is under way is given back.
    Engine(bool),
}

/// What the engine did.
#[derive(Clone, Debug, PartialEq)]
pub enum Worked {
    /// It wrote a block.
    Wrote {
        /// For whom, and which task.
        key: Key,
        /// Tokens that there are in all.
        tokens: u32,
        /// What it computed.
        block: Block,
    },
    /// It is through with a task.
    Ended {
        /// For whom, and which task.
        key: Key,
        /// Tokens that there are in all.
        tokens: u32,
        /// How it ended.
        end: worker::End,
    },
    /// It computed somebody's blocks again.
    Audited {
        /// For whom.
        client: NodeId,
        /// Which task.
        task: u64,
        /// What it computed; one for each block.
        fingerprints: Vec<Fingerprint>,
    },
    /// It ran the simulator with other parameters.
    Simulated {
        /// For which proposal.
        id: Digest,
        /// Whether nothing was harmed.
        harmless: bool,
    },
}

/// What the engine is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    /// Write; a [`Worked::Wrote`] for each block and a [`Worked::Ended`] must follow.
    Write {
        /// For whom, and which task.
        key: Key,
        /// With which model.
        model: u64,
        /// Tokens that there are already.
        from: u32,
        /// Tokens that there may be in all.
        limit: u32,
        /// Chance of the sampling, which neither side could choose.
        seed: u64,
    },
    /// Let the client have its tokens up to here.
    Hand {
        /// For whom, and which task.
        key: Key,
        /// How many in all.
        tokens: u32,
    },
    /// Stop at the next token; a [`Worked::Ended`] must follow.
    Stop(Key),
    /// Compute somebody's blocks in one pass; a [`Worked::Audited`] must follow. The text comes beside.
    Audit {
        /// For whom.
        client: NodeId,
        /// Which task.
        task: u64,
        /// Whose work it is.
        worker: NodeId,
        /// With which model.
        model: u64,
        /// The first of them, from 0: those before it are read like a prompt.
        first: u32,
        /// How many.
        blocks: u32,
    },
    /// Run the simulator with these; a [`Worked::Simulated`] must follow.
    Simulate {
        /// For which proposal.
        id: Digest,
        /// With these.
        parameters: Parameters,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Say something.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Answer somebody at this machine.
    Reply {
        /// Who asked.
        to: u64,
        /// What to say.
        answer: Answer,
    },
    /// Keep this before anything else of this step.
    Save(Line),
    /// Have the engine do something.
    Run(Job),
    /// For logs, metrics and whoever listens.
    Tell(Event),
}

/// What is worth telling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A task of this node is let in: the quota of its key has room.
    Admitted {
        /// Which task.
        task: u64,
        /// With which key it was asked for.
        key: u64,
    },
    /// Tokens of a task of this node are charged: once each.
    Charged(Charge),
    /// This node gave a tick for a block. What was withheld may be told again when the node begins again.
    Ticked {
        /// To whom.
        worker: NodeId,
        /// For which of its tasks.
        task: u64,
        /// Under which promise to it.
        turn: u64,
        /// Which one of that promise, from 1.
        count: u32,
        /// What a tick is worth.
        tick: Credits,
    },
    /// A hold that was made for this node, or a deposit that it made, came to this, and is certified.
    Settled(Closing),
    /// An entry of this node's log is certified.
    Certified {
        /// Its number.
        number: u64,
        /// What it is known by.
        digest: Digest,
    },
    /// Others watch this node's account from now on, drawn for this term.
    Renewed {
        /// See [`Set::term`].
        term: u64,
    },
    /// As a witness, this node lets an account owe so much.
    Granted {
        /// Which.
        account: NodeId,
        /// How much.
        limit: Credits,
    },
    /// Work of a task was audited, and more than half of those who were asked say this.
    Audited {
        /// Whose.
        worker: NodeId,
        /// Of which task.
        task: u64,
        /// Whether it was right.
        right: bool,
    },
    /// Whoever was found guilty by the word of others accepted that, or did not and a jury decided.
    Judged {
        /// Whose work it is.
        worker: NodeId,
        /// Of which task.
        task: u64,
        /// How it ended.
        verdict: verify::dispute::Verdict,
    },
    /// Places that others had here were handed on.
    Handed {
        /// To whom.
        thief: NodeId,
        /// How many.
        places: u32,
    },
    /// A worker failed this node again and again, and is not asked for a while.
    Rested(NodeId),
    /// Somebody gets no work for a while.
    Barred(NodeId),
    /// Somebody gets work again, and all of it is audited.
    Tried(NodeId),
    /// Fraud of somebody is proven.
    Condemned(NodeId),
    /// A vote ended.
    Decided {
        /// Which.
        id: Digest,
        /// How.
        end: VoteEnd,
    },
    /// Other parameters hold now.
    Governed,
}

/// All that a node trades with.
#[derive(Clone, Debug, PartialEq)]
pub struct Trade<K> {
    config: Config,
    keys: K,
    me: NodeId,
    born: UnixTime,
    rng: Rng,
    peers: Vec<Peer>,
    parameters: Parameters,
    // What others do for this node.
    client: Client,
    tasks: BTreeMap<u64, Wanted>,
    next_task: u64,
    // What it does for others.
    worker: Worker,
    guests: BTreeMap<Key, Guest>,
    /// Whom it asked for reservations.
    begged: Option<NodeId>,
    earnings: Earnings,
    streak: streak::Streak,
    /// Who at this machine may ask for how much.
    desk: Desk,
    // Its account, and those that it watches.
    pen: Pen,
    collect: Collect<K>,
    closings: BTreeMap<Digest, settle::Wanting>,
    debts: BTreeMap<(NodeId, u64), Debt>,
    reminders: Vec<settle::Reminder>,
    /// What clients withhold of this node, and those who kept it.
    arrears: BTreeMap<(NodeId, u64), Arrear>,
    unreleased: BTreeSet<NodeId>,
    /// How much workers said may be withheld of their pay.
    accepted: BTreeMap<NodeId, Ppm>,
    /// Tasks that it did, the last ones; and until when those are not heard who appealed in vain.
    served: VecDeque<Key>,
    unheard: BTreeMap<NodeId, Instant>,
    witness: Witness<K>,
    /// Who watches the accounts of others.
    sets: Terms,
    /// Accounts of which this node was shown a set that comes after those it knows.
    lacks: Vec<(NodeId, u64)>,
    told: BTreeMap<NodeId, Credits>,
    // What it thinks of others.
    reputation: Reputation,
    anomaly: Anomaly,
    quarantine: Quarantine,
    guards: BTreeMap<NodeId, Guard>,
    /// The engine of this node does not answer.
    hangs: bool,
    cohorts: BTreeMap<u64, Cohort>,
    suspicions: BTreeMap<(NodeId, u64), History>,
    audits: BTreeMap<audit::Case, Audit>,
    edges: BTreeMap<NodeId, u32>,
    sightings: BTreeMap<vouch::Sight, (u32, u32)>,
    heard: BTreeMap<(NodeId, vouch::Sight), (u32, u32)>,
    vouch_due: Instant,
    /// The day in which edges gain.
    day: u64,
    turn: vouch::Turn,
    alarm: Alarm<K>,
    // What holds for all.
    governance: Governance<K>,
    rumours: vote::Rumours,
    /// Proposals of this node whose deposit is being certified, and who asked for them.
    lodged: BTreeMap<Digest, (u64, Ballot)>,
    lines: u64,
}

/// A task of this node.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    asker: u64,
    wish: Wish,
    ticket: tiers::Ticket,
    /// What those who keep a place ask, in parts of a million of the usual price, and how much of it they let be withheld.
    quotes: BTreeMap<NodeId, (u32, Ppm)>,
    lease: Option<Lease>,
    paid: Credits,
    tokens: u32,
    begun: Instant,
}

/// Who trades, and since when.
#[derive(Clone, Debug)]
pub struct Birth<K> {
    /// What signs and verifies: the first key, with which accounts are kept.
    pub keys: K,
    /// Chance.
    pub seed: u64,
    /// The date at instant 0.
    pub at: UnixTime,
}

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// One that has not begun.
    pub fn new(config: Config, birth: Birth<K>) -> Self {
        let Birth { keys, seed, at } = birth;
        let (me, mut rng) = (keys.key(), Rng::new(seed));
        let mut reputation = Reputation::new(config.reputation, me);
        // More seeds than peers that fit are a mistake of whoever wrote them down; the first ones count then.
        let seeds = &config.seeds[..config.seeds.len().min(config.reputation.peers_max.saturating_sub(1))];
        let _ = reputation.choose_seeds(seeds);
        reputation.recompute();
        Self {
            me,
            born: at,
            peers: Vec::new(),
            parameters: Parameters::default(),
            client: Client::new(config.client, rng.next()),
            tasks: BTreeMap::new(),
            // A task has one name through all lives of its client.
            next_task: at.0 << 20,
            worker: Worker::new(config.worker),
            guests: BTreeMap::new(),
            begged: None,
            earnings: Earnings::default(),
            streak: streak::Streak::default(),
            desk: Desk::new(&config.keys),
            pen: Pen::new(me),
            collect: Collect::new(config.collect, keys.clone()),
            closings: BTreeMap::new(),
            debts: BTreeMap::new(),
            reminders: Vec::new(),
            arrears: BTreeMap::new(),
            unreleased: BTreeSet::new(),
            accepted: BTreeMap::new(),
            served: VecDeque::new(),
            unheard: BTreeMap::new(),
            witness: Witness::new(keys.clone()),
            sets: Terms::default(),
            lacks: Vec::new(),
            told: BTreeMap::new(),
            reputation,
            anomaly: Anomaly::new(config.anomaly),
            quarantine: Quarantine::new(config.quarantine),
            guards: BTreeMap::new(),
            hangs: false,
            cohorts: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            audits: BTreeMap::new(),
            edges: BTreeMap::new(),
            sightings: BTreeMap::new(),
            heard: BTreeMap::new(),
            vouch_due: Instant::default() + config.vouch_every.max(MOMENT),
            day: at.0 / DAY_S,
            turn: vouch::Turn::of(me),
            alarm: Alarm::new(config.alarm, keys.clone(), rng.next()),
            governance: Governance::new(keys.clone()),
            rumours: vote::Rumours::default(),
            lodged: BTreeMap::new(),
            lines: 0,
            rng,
            keys,
            config,
        }
    }

    /// What this node's log comes to.
    pub const fn account(&self) -> &crate::economy::ledger::Fold {
        self.pen.fold()
    }

    /// Who watches this node's account, once it has drawn them.
    pub const fn set(&self) -> Option<&Set> {
        self.pen.set()
    }

    /// What it may owe, as its witnesses told.
    pub fn limit(&self) -> Credits {
        self.pen.limit()
    }

    /// What it thinks of others.
    pub const fn reputation(&self) -> &Reputation {
        &self.reputation
    }

    /// Who may not work.
    pub const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// What members decided.
    pub const fn governance(&self) -> &Governance<K> {
        &self.governance
    }

    /// Tasks of this node that are under way.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn date(&self, now: Instant) -> UnixTime {
        UnixTime(self.born.0.saturating_add(now.as_micros() / 1_000_000))
    }

    /// When it will be this date.
    fn instant(&self, date: UnixTime) -> Instant {
        instant_of(self.born, date)
    }

    /// From now on the machines of this node do as members decided.
    fn govern(&mut self, parameters: Parameters) {
        self.parameters = parameters;
        govern::trade(&parameters, &mut self.config);
        self.client.configure(self.config.client);
        self.worker.configure(self.config.worker);
        self.quarantine.configure(self.config.quarantine);
        self.reputation.configure(self.config.reputation);
    }

    fn heard(&mut self, now: Instant, from: NodeId, message: Message, out: &mut Vec<Effect>) {
        match message {
            Message::Reserve { task, model, order, price_max } => {
                self.reserved(now, (from, task), model, order, price_max, out);
            }
            Message::Quote { task, wait_ms, price, withheld } => {
                self.quoted(now, from, task, wait_ms, (price, withheld), out);
            }
            Message::Refuse { task, price, after_ms } => {
                let after = Duration::from_millis(after_ms);
                self.not_tried(&from, task);
                self.client_hears(now, client::Input::Refused { task, worker: from, price, after }, out);
            }
            Message::Steal { room, models } => self.asked_for_work(now, from, room, models, out),
            Message::Hand(handed) => self.taken_over(now, from, handed, out),
            Message::Moved { task, to } => {
                self.client_hears(now, client::Input::Moved { task, worker: from, to }, out);
            }
            Message::Ready(task) => self.client_hears(now, client::Input::Ready { task, worker: from }, out),
            Message::Release(task) => self.released(now, (from, task), out),
            Message::Stop(task) => self.stopped(now, (from, task), out),
            Message::Offer { task, epoch, from: tokens, terms, promise, number, withheld } => {
                let offer = hold::Offer { epoch, from: tokens, terms, promise, number, withheld };
                self.offered(now, (from, task), offer, out);
            }
            Message::Consent { task, epoch, signature } => self.consented(now, from, task, epoch, signature, out),
            Message::Held { task, epoch, evidence } => self.held(now, (from, task), epoch, *evidence, out),
            Message::Block { task, epoch, tokens, block, head } => {
                self.delivered(now, from, (task, epoch), tokens, (&block, &head), out);
            }
            Message::Tick { task, epoch, link } => self.ticked(now, (from, task), epoch, link, out),
            // How far it says to have come does not count: its blocks do.
            Message::Report { task, epoch, tokens: _, done } => self.reported(now, from, (task, epoch), done, out),
            Message::Withhold { task, epoch, tokens } => self.withheld(now, (from, task), epoch, tokens, out),
            Message::Rest { turn, ticks, kept, link } => self.rested(now, from, turn, (ticks, kept, link), out),
            Message::Paid(evidence) => self.paid(now, *evidence, out),
            Message::Audit { task, model, worker, first, blocks } => {
                self.asked_to_audit(from, (task, worker), model, (first, blocks.len() as u32), out);
            }
            Message::Audited { task, fingerprints } => self.audited(now, from, task, &fingerprints, out),
            Message::Verdict { task, auditors, first: _, blocks: _ } => self.accused((from, task), &auditors, out),
            Message::Appeal(task) => self.appealed(now, (task, from), out),
            Message::Show { set, next, entries } => self.shown(now, from, (&set, next.as_deref()), entries, out),
            Message::Adopt { fold, before, renewal } => self.adopt(now, from, fold, &before, *renewal, out),
            Message::Lack { account, term } => self.lacks(from, &account, term, out),
            Message::Renewed(renewals) => self.renewed(now, &renewals, out),
            Message::Close { closing, consent, hold } => {
                self.asked_to_close(now, from, closing, (consent, hold), out);
            }
            Message::Vote { statement, signature, limit } => self.voted(now, from, statement, signature, limit, out),
            Message::Deny { statement, next } => self.denied(now, from, statement, next, out),
            Message::Vouch { edges, sightings } => self.vouched(now, from, edges, sightings, out),
            Message::Proof(fraud) => self.proof_told(now, fraud, out),
            // What a node tells only itself is nothing that others may say.
            Message::Ballot(ballot) if ballot.is_public() => self.told_ballot(now, *ballot, out),
            Message::Ballot(_)
            | Message::Used(_)
            | Message::Barred { .. }
            | Message::Owing { .. }
            | Message::Worked { .. } => {}
        }
    }
}

/// Seconds of a day, in which an edge gains so much and no more.
const DAY_S: u64 = 86_400;
/// The shortest wait: time must go on between two ticks.
const MOMENT: Duration = Duration::from_micros(1);

impl<K: Signer + Verifier + Clone> Machine for Trade<K> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Peers(peers) => self.meet(now, peers, out),
            Input::Heard { from, message } => {
                self.lacks.clear();
                self.heard(now, from, message, out);
                self.ask_for_changes(from, out);
            }
            Input::Ask { from, ask: Ask::Work(wish) } => self.wanted(now, from, wish, out),
            Input::Ask { from, ask: Ask::Cancel } => self.cancelled(now, from, out),
            Input::Ask { from, ask: Ask::Vote(ballot) } if ballot.wants_deposit(&self.me) => {
                self.lodge(now, from, *ballot, out);
            }
            Input::Ask { from, ask: Ask::Vote(ballot) } => {
                let answer = Answer::Voted(self.cast(now, *ballot, out));
                out.push(Effect::Reply { to: from, answer });
            }
            Input::Worked(Worked::Wrote { key, tokens, block }) => self.wrote(now, key, tokens, block, out),
            Input::Worked(Worked::Ended { key, tokens, end }) => self.ended(now, key, tokens, end, out),
            Input::Worked(Worked::Audited { client, task, fingerprints }) if client == self.me => {
                self.audited(now, client, task, &fingerprints, out);
            }
            Input::Worked(Worked::Audited { client, task, fingerprints }) => {
                out.push(Effect::Send { to: client, message: Message::Audited { task, fingerprints } });
            }
            Input::Worked(Worked::Simulated { id, harmless }) => {
                let _ = self.cast(now, Ballot::Simulated { id, harmless }, out);
            }
            Input::Measured(metrics) => {
                let _ = self.cast(now, Ballot::Measured(metrics), out);
            }
            Input::Engine(answers) => self.engine_answers(now, answers, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.tick_quotes(now, out);
        self.tick_leases(now, out);
        self.tick_guests(now, out);
        self.tick_debts(now, out);
        self.tick_arrears(now, out);
        self.tick_witnesses(now, out);
        self.tick_audits(now, out);
        self.tick_alarm(now, out);
        self.tick_votes(now, out);
        self.tick_guards(now, out);
        self.tick_vouch(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let machines = [
            self.client.deadline(),
            self.worker.deadline(),
            self.collect.deadline(),
            self.quarantine.deadline(),
            self.alarm.deadline(),
            self.rumours.deadline(),
            Some(self.vouch_due),
        ];
        let leases = self.tasks.values().filter_map(|wanted| wanted.lease.as_ref()).map(|lease| lease.due);
        let guests = self.guests.values().map(|guest| guest.due);
        let debts = self.debts.values().map(|debt| debt.due);
        let reminders = self.reminders.iter().map(|reminder| reminder.due);
        let arrears = self.arrears.values().map(|arrear| arrear.due);
        let audits = self.audits.values().map(Audit::due);
        let guards = self.guards.values().filter_map(|guard| guard.breaker.deadline());
        let own = leases.chain(guards).chain(guests).chain(debts).chain(reminders).chain(arrears).chain(audits);
        machines.into_iter().flatten().chain(own).min()
    }
}
