//! What must hold after each event.
//!
//! - **S1**: of an account that at most f of its witnesses cheat, one statement a slot gathers a quorum of votes, of
//!   whichever of the sets that it had. All votes on
//!   all lines are counted, whoever they were meant for.
//! - **S2**: each certified closing is counted once; every receipt and every release in a log is one of these, of the same
//!   amount, once; so all logs sum to what is on its way, and all closings to nothing.
//! - **S3**: whoever is condemned did cheat as an owner or as a witness, and no honest host is ever condemned.
//! - **S4**: no account owes more than an honest witness granted it.
//! - **Deposits**: all honest hosts count each vote alike, and a deposit is lost, or goes back, as its proposal ended.
//! - **Charged once**: what is charged of a task are pieces of its tokens that neither overlap nor leave anything out; what a
//!   closing says is what was ticked, or one tick less.
//! - **Paid**: what an honest client gave an honest worker is closed when the time of its hold is past, if both are there.
//! - **Quotas**: with no key more is begun in a minute, or spent in all, than it allows, whatever is lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use tutu_node::{
    economy::{
        governance::End,
        ledger::{
            Act, Book, Closing, Entry,
            entry::{COMMONS, Slot, Statement},
        },
    },
    kit::{Credits, Digest, NodeId},
    node::trade::Event,
    work::task::Charge,
};

use super::{Plan, cheat::Cheat, world::World};

/// Seconds after which whatever was begun is closed: a hold lasts ten minutes, and is closed by its client in the next.
const PAST_S: u64 = 700;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Check {
    /// What must not be.
    pub violations: Vec<String>,
    hosts: BTreeMap<NodeId, u32>,
    cheats: BTreeMap<NodeId, Vec<Cheat>>,
    /// Members of each account's sets, one after the other, and their quorums.
    sets: BTreeMap<NodeId, Vec<(Vec<NodeId>, usize)>>,
    /// Who voted for what, by account and slot.
    votes: BTreeMap<(NodeId, Slot), BTreeMap<Digest, BTreeSet<NodeId>>>,
    book: Book,
    settled: BTreeMap<(NodeId, NodeId, u64), Closing>,
    received: BTreeSet<(NodeId, NodeId, u64)>,
    released: BTreeSet<(NodeId, NodeId, u64)>,
    granted: BTreeMap<NodeId, Credits>,
    ticked: BTreeMap<(NodeId, NodeId, u64), (u32, Credits)>,
    /// When the first tick of each was given.
    begun_work: BTreeMap<(NodeId, NodeId, u64), u64>,
    charged: BTreeMap<(NodeId, u64), u32>,
    /// With which key a task was asked for; what was begun and spent with each.
    keys: BTreeMap<(NodeId, u64), u64>,
    begun: BTreeMap<(NodeId, u64), Vec<u64>>,
    spent: BTreeMap<(NodeId, u64), u64>,
    /// Whose task was done with another model, by whom.
    spoilt: BTreeSet<(NodeId, u64, NodeId)>,
    /// How votes ended, as honest hosts counted.
    decided: BTreeMap<Digest, End>,
    /// Sums.
    pub seen: Seen,
}

/// Sums of what was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Slots of accounts with too many cheating witnesses in which two statements were certified.
    pub doubled: u64,
    /// Places that went from one worker to another that had nothing to do.
    pub handed: u64,
    /// How often others began to watch an account.
    pub renewed: u64,
    /// How often somebody let a worker rest that failed again and again.
    pub rested: u64,
    /// Credits that closings moved.
    pub moved: u64,
    /// Closings.
    pub closings: u64,
    /// Entries that were certified.
    pub entries: u64,
    /// Who was shown to have forked or to have signed twice.
    pub condemned: BTreeSet<u32>,
    /// Cheating hosts that somebody barred, and the second of the first time.
    pub barred: BTreeMap<u32, u64>,
    /// How often somebody honest barred somebody honest.
    pub wronged: u64,
    /// Audits, and those that found something.
    pub audits: (u64, u64),
    /// Honest work that an honest client found guilty.
    pub accused: u64,
    /// Audits by honest hosts of work that was of another model: found guilty, and not.
    pub caught: (u64, u64),
    /// How often an honest host's verdict by the word of others ended so: accepted, upheld, overturned, open; of work that was
    /// right, and of work of another model.
    pub judged: [[u64; 4]; 2],
    /// Micro-credits that honest clients paid for work of another model.
    pub spoilt: u64,
    /// Deposits that went back, and those that were lost.
    pub deposits: (u64, u64),
}

impl Check {
    /// Of a market in which these are the hosts.
    pub fn new(plan: &Plan, ids: &[NodeId]) -> Self {
        let mut check = Self::default();
        for (n, id) in (0..).zip(ids) {
            check.hosts.insert(*id, n);
            let habits: Vec<Cheat> =
                plan.cheats.iter().filter(|habit| habit.host == n).map(|habit| habit.cheat).collect();
            if !habits.is_empty() {
                check.cheats.insert(*id, habits);
            }
        }
        check
    }

    fn broken(&mut self, now: u64, what: String) {
        if self.violations.len() < 16 {
            self.violations.push(format!("at {:.3} s {what}", now as f64 / 1e6));
        }
    }

    fn name(&self, id: &NodeId) -> u32 {
        self.hosts.get(id).copied().unwrap_or(u32::MAX)
    }

    /// The set of an account, when it is known, and each that comes after it.
    pub fn watched_by(&mut self, account: NodeId, members: &[NodeId], quorum: usize) {
        let sets = self.sets.entry(account).or_default();
        if sets.last().is_none_or(|last| last.0 != members) {
            self.seen.renewed += u64::from(!sets.is_empty());
            sets.push((members.to_vec(), quorum));
        }
    }

    /// Whether none of its sets has more who cheat than it may.
    fn is_watched_well(&self, account: &NodeId) -> bool {
        self.sets.get(account).is_some_and(|sets| {
            sets.iter().all(|(members, quorum)| {
                let bad = members.iter().filter(|member| self.cheats.contains_key(*member)).count();
                bad <= (quorum - 1) / 2
            })
        })
    }

    /// A vote is on a line.
    pub fn voted(&mut self, now: u64, voter: NodeId, statement: &Statement) {
        let account = statement.account;
        let Some(sets) = self.sets.get(&account) else { return };
        if !sets.iter().any(|(members, _)| members.contains(&voter)) {
            return;
        }
        // By whichever of its sets.
        let has_quorum = |voters: &BTreeSet<NodeId>| {
            let signs = |(members, quorum): &(Vec<NodeId>, usize)| {
                members.iter().filter(|member| voters.contains(*member)).count() >= *quorum
            };
            sets.iter().any(signs)
        };
        let slot = self.votes.entry((account, statement.slot)).or_default();
        let before = slot.get(&statement.digest).is_some_and(&has_quorum);
        slot.entry(statement.digest).or_default().insert(voter);
        let certified = slot.values().filter(|voters| has_quorum(voters)).count();
        if certified > 1 && !before && has_quorum(&slot[&statement.digest]) {
            if self.is_watched_well(&account) {
                let name = self.name(&account);
                self.broken(now, format!("S1: two statements of {name} in {:?} have a quorum", statement.slot));
            } else {
                self.seen.doubled += 1;
            }
        }
    }

    /// A host keeps an entry of its own log.
    pub fn wrote(&mut self, now: u64, entry: &Entry) {
        let owner = entry.account;
        let (place, amount, payee) = match entry.act {
            Act::Receive { payer, turn, amount, .. } => ((payer, owner, turn), amount, true),
            Act::Release { payee, turn, amount, .. } => ((owner, payee, turn), amount, false),
            _ => return,
        };
        let fact = self.settled.get(&place).map(|closing| closing.amount);
        let honest = !self.cheats.contains_key(&owner);
        let once = if payee { self.received.insert(place) } else { self.released.insert(place) };
        // A hold that its client closed itself is first heard of here.
        let own = fact.is_none() && !payee;
        if honest && !own && fact != Some(amount) {
            self.broken(now, format!("S2: {} counts {amount} where {fact:?} was certified", self.name(&owner)));
        }
        if !once {
            self.broken(now, format!("S2: {} counts promise {} twice", self.name(&owner), place.2));
        }
        if self.received.len() > self.settled.len() {
            self.broken(now, "S2: more is received than was certified".into());
        }
    }

    /// A host tells something.
    pub fn told(&mut self, now: u64, me: NodeId, event: &Event) {
        match *event {
            Event::Settled(closing) => self.settled(now, closing),
            Event::Charged(charge) => self.charged(now, me, charge),
            Event::Admitted { task, key } => self.admitted(now, me, task, key),
            Event::Handed { places, .. } => self.seen.handed += u64::from(places),
            Event::Rested(_) => self.seen.rested += 1,
            Event::Ticked { worker, task, turn, count, tick } => {
                let ticked = self.ticked.entry((me, worker, turn)).or_insert((0, tick));
                if count <= ticked.0 {
                    return;
                }
                ticked.0 = count;
                self.begun_work.entry((me, worker, turn)).or_insert(now);
                self.spends(now, me, task, tick);
                if self.spoilt.contains(&(me, task, worker)) {
                    self.seen.spoilt += tick.0;
                }
            }
            Event::Certified { .. } => self.seen.entries += 1,
            Event::Granted { account, limit } if !self.cheats.contains_key(&me) => {
                let most = self.granted.entry(account).or_default();
                *most = (*most).max(limit);
            }
            Event::Decided { id, end } if !self.cheats.contains_key(&me) => self.decided(now, me, id, end),
            Event::Condemned(id) => {
                let could = |cheat: &Cheat| matches!(cheat, Cheat::Fork | Cheat::Blind);
                let fine = self.cheats.get(&id).is_some_and(|cheats| cheats.iter().any(could));
                if !fine {
                    self.broken(now, format!("S3: {} is condemned and did nothing", self.name(&id)));
                }
                self.seen.condemned.insert(self.name(&id));
            }
            Event::Barred(id) if !self.cheats.contains_key(&me) => match self.cheats.get(&id) {
                Some(_) => drop(self.seen.barred.entry(self.hosts[&id]).or_insert(now / 1_000_000)),
                None => self.seen.wronged += 1,
            },
            Event::Audited { worker, task, right } if !self.cheats.contains_key(&me) => {
                if self.spoilt.contains(&(me, task, worker)) {
                    self.seen.caught.0 += u64::from(!right);
                    self.seen.caught.1 += u64::from(right);
                }
                self.seen.audits = (self.seen.audits.0 + 1, self.seen.audits.1 + u64::from(!right));
                self.seen.accused += u64::from(!right && !self.cheats.contains_key(&worker));
            }
            Event::Judged { worker, task, verdict } if !self.cheats.contains_key(&me) => {
                let spoilt = self.spoilt.contains(&(me, task, worker));
                self.seen.judged[usize::from(spoilt)][verdict as usize] += 1;
            }
            _ => {}
        }
    }

    fn decided(&mut self, now: u64, me: NodeId, id: Digest, end: End) {
        if self.decided.insert(id, end).is_some_and(|before| before != end) {
            self.broken(now, format!("a vote ended in two ways, for {} as {end:?}", self.name(&me)));
        }
    }

    fn settled(&mut self, now: u64, closing: Closing) {
        let place = (closing.payer, closing.payee, closing.turn);
        let (payer, payee) = (self.name(&closing.payer), self.name(&closing.payee));
        match self.settled.insert(place, closing) {
            Some(before) if before != closing => {
                return self.broken(now, format!("S2: promise {} of {payer} to {payee} came to two things", place.2));
            }
            Some(_) => return,
            None => {}
        }
        if closing.payee == COMMONS {
            self.deposited(now, &closing);
        } else {
            self.worked(now, &closing);
        }
        self.seen.closings += 1;
        self.seen.moved += closing.amount.0;
        if closing.amount.0 > 0 {
            self.post(now, &closing);
        }
        if self.book.sum() != 0 {
            self.broken(now, format!("S2: all balances sum to {}", self.book.sum()));
        }
    }

    /// A deposit is what its proposal came to.
    fn deposited(&mut self, now: u64, closing: &Closing) {
        let lost = closing.amount.0 > 0;
        let end = self.decided.get(&closing.link).copied();
        if end.map(End::takes_deposit) != Some(lost) {
            let name = self.name(&closing.payer);
            self.broken(now, format!("the deposit of {name} is lost: {lost}, and its proposal came to {end:?}"));
        }
        self.seen.deposits.0 += u64::from(!lost);
        self.seen.deposits.1 += u64::from(lost);
    }

    /// What is closed is what was ticked.
    fn worked(&mut self, now: u64, closing: &Closing) {
        let place = (closing.payer, closing.payee, closing.turn);
        let (payer, payee) = (self.name(&closing.payer), self.name(&closing.payee));
        let (ticks, tick) = self.ticked.get(&place).copied().unwrap_or_default();
        let fair = closing.ticks <= ticks && closing.amount.0 == u64::from(closing.ticks) * tick.0;
        let whole = closing.ticks + 1 >= ticks || self.cheats.contains_key(&closing.payer);
        if ticks > 0 && !(fair && whole) || (ticks == 0 && closing.ticks > 0) {
            self.broken(now, format!("{payer} gave {payee} {ticks} ticks, and {} are closed", closing.ticks));
        }
    }

    fn post(&mut self, now: u64, closing: &Closing) {
        let book = &mut self.book;
        let accounts = book.account(closing.payer).and_then(|payer| Ok((payer, book.account(closing.payee)?)));
        let (payer, payee) = accounts.expect("there are fewer hosts than accounts");
        self.book.record(payer, payee, closing.amount).expect("no host is paid by itself, and amounts are small");
        let owed = i128::from(self.book.balance(payer));
        let limit = self.granted.get(&closing.payer).copied().unwrap_or_default();
        if -owed > i128::from(limit.0) && self.is_watched_well(&closing.payer) {
            let name = self.name(&closing.payer);
            self.broken(now, format!("S4: {name} owes {owed}, and {limit} were granted"));
        }
    }

    fn admitted(&mut self, now: u64, me: NodeId, task: u64, key: u64) {
        self.keys.insert((me, task), key);
        let Some((each_minute, _)) = World::quota(key) else { return };
        let begun = self.begun.entry((me, key)).or_default();
        // A host counts whole seconds from when it woke, so it may be off by one at each end.
        begun.retain(|at| at + 58_000_000 > now);
        begun.push(now);
        if begun.len() > each_minute {
            let name = self.name(&me);
            self.broken(now, format!("{name} begins more than {each_minute} tasks in a minute with key {key}"));
        }
    }

    fn spends(&mut self, now: u64, me: NodeId, task: u64, tick: Credits) {
        let Some(key) = self.keys.get(&(me, task)).copied() else { return };
        let Some((_, cap)) = World::quota(key) else { return };
        let spent = self.spent.entry((me, key)).or_default();
        *spent += tick.0;
        let spent = Credits(*spent);
        if spent > cap {
            let name = self.name(&me);
            self.broken(now, format!("{name} spent {spent} with key {key}, which may spend {cap}"));
        }
    }

    fn charged(&mut self, now: u64, me: NodeId, charge: Charge) {
        let at = self.charged.entry((me, charge.lease.task)).or_insert(0);
        let (before, fits) = (*at, *at == charge.from && charge.to > charge.from);
        *at = charge.to;
        if !fits {
            let (name, task) = (self.name(&me), charge.lease.task);
            self.broken(
                now,
                format!("task {task} of {name}: tokens {} to {} are charged after {before}", charge.from, charge.to),
            );
        }
    }

    /// A task is answered with so many tokens.
    pub fn answered(&mut self, now: u64, me: NodeId, task: u64, tokens: u32) {
        let charged = self.charged.get(&(me, task)).copied().unwrap_or(0);
        if charged != tokens {
            let name = self.name(&me);
            self.broken(now, format!("task {task} of {name} has {tokens} tokens, and {charged} are charged"));
        }
    }

    /// It is over: of what was begun so long ago that its hold is past, all is closed. `there` says who did not leave.
    pub fn ends(&mut self, now: u64, there: impl Fn(&NodeId) -> bool) {
        let fair = |id: &NodeId| !self.cheats.contains_key(id) && there(id) && self.is_watched_well(id);
        let late = |(place, at): (&(NodeId, NodeId, u64), &u64)| {
            let past = at + PAST_S * 1_000_000 < now && !self.settled.contains_key(place);
            (past && fair(&place.0) && fair(&place.1)).then_some(*place)
        };
        let late: Vec<(NodeId, NodeId, u64)> = self.begun_work.iter().filter_map(late).collect();
        for (payer, payee, turn) in late {
            let (payer, payee) = (self.name(&payer), self.name(&payee));
            self.broken(now, format!("promise {turn} of {payer} to {payee} is past, and nobody closed it"));
        }
    }

    /// What cheating hosts owe now, all together, and what they were granted at most.
    pub fn loss(&mut self) -> (u64, u64) {
        let (mut owed, mut granted) = (0, 0);
        let cheats: Vec<NodeId> = self.cheats.keys().copied().collect();
        for id in cheats {
            if let Ok(account) = self.book.account(id) {
                owed += u64::try_from(-self.book.balance(account)).unwrap_or(0);
            }
            granted += self.granted.get(&id).map_or(0, |limit| limit.0);
        }
        (owed, granted)
    }

    /// An honest client is served another model than it pays for.
    pub fn spoils(&mut self, client: NodeId, task: u64, worker: NodeId) {
        if !self.cheats.contains_key(&client) {
            self.spoilt.insert((client, task, worker));
        }
    }

    /// Micro-credits of blocks that cheating clients had of honest workers and did not pay.
    pub fn unpaid(&self) -> u64 {
        let unpaid = |(place, (ticks, tick)): (&(NodeId, NodeId, u64), &(u32, Credits))| {
            let stolen = self.cheats.contains_key(&place.0) && !self.cheats.contains_key(&place.1);
            let paid = self.settled.get(place).map_or(0, |closing| closing.amount.0);
            if stolen { (u64::from(*ticks) * tick.0).saturating_sub(paid) } else { 0 }
        };
        self.ticked.iter().map(unpaid).sum()
    }

    /// What one host holds, by all certified closings.
    pub fn balance(&mut self, id: NodeId) -> i64 {
        self.book.account(id).map_or(0, |account| self.book.balance(account))
    }
}

impl Check {
    /// Micro-credits that cheating hosts were paid.
    pub fn earned(&self) -> u64 {
        let paid = self.settled.iter().filter(|(place, _)| self.cheats.contains_key(&place.1));
        paid.map(|(_, closing)| closing.amount.0).sum()
    }
}
