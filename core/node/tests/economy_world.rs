//! A thousand ledgers, a fifth of them Byzantine, among messages that are lost, doubled, overtaken and cut off, and crashes:
//! S1 to S4 are checked after each event.
//!
//! There is no clock here and no order of messages: whatever is under way may happen next, which is worse than any network.
//! `TUTU_WORLD_POSTINGS` says how many postings are certified (100,000 if it is not set; `just ledger-world` makes more);
//! `TUTU_WORLD_SEED` which world it is.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::Name;
use tutu_node::{
    economy::{
        ledger::{
            Act, Book, Closing, Entry, Fold, Fraud, Log, Proven, Signed, Terms,
            alarm::{self, Alarm},
            book,
            entry::{Slot, Statement},
            limit,
            session::{Chain, Meter},
        },
        witness::{
            Certificate, Set, Witness, certificate,
            vote::{Refusal, Saved, Word},
        },
    },
    kit::{Credits, Digest, Domain, Instant, Machine, NodeId, Rng, Signature, Signer, UnixTime, wheel::Wheel},
};

const NODES: usize = 1000;
const BYZANTINE: usize = 200;
/// f; seven witnesses an account.
const FAULTS: u8 = 2;
/// Entries after which a log is pruned.
const EVERY: u64 = 32;
/// Events without a posting after which a network that is cut in two has come to rest: 200 for each node.
const QUIET: u64 = 200 * NODES as u64;
const DAY: u64 = 86_400;
/// Payments that wait to be entered, with which an honest node takes no more.
const INBOX_MAX: usize = 64;
/// Messages under way, above which nobody does anything new.
const UNDER_WAY: usize = 4 * NODES;

type Evidence = (Certificate, Paid);
/// A certificate and what it is about.
type Proof = Box<(Certificate, Option<Entry>)>;

/// What a payee is paid with.
#[derive(Clone)]
enum Paid {
    Entry(Signed),
    Closing(Closing),
}

#[derive(Clone)]
enum Message {
    /// A witness is shown everything of a branch that it has not seen.
    Ask {
        owner: usize,
        branch: usize,
        witness: usize,
    },
    /// A witness is shown an entry that the account cannot afford, in the place of the one that it writes next.
    Overdraw {
        owner: usize,
        witness: usize,
        signed: Box<Signed>,
    },
    Vote {
        owner: usize,
        witness: usize,
        statement: Statement,
        signature: Signature,
        by: Digest,
    },
    AskClosing {
        closing: Closing,
        consent: Option<Signature>,
        witness: usize,
    },
    Certified {
        to: usize,
        evidence: Box<Evidence>,
    },
}

struct Node {
    keys: Name,
    set: Arc<Set>,
    /// One log, or two of a fork.
    logs: Vec<Log>,
    limit: Credits,
    witness: Witness<Name>,
    /// Evidence for entries that refer to something, by number, and what lies on the disk.
    evidence: BTreeMap<u64, Evidence>,
    disk: (Fold, Vec<(Signed, Option<Proven>)>),
    witness_disk: BTreeMap<NodeId, Vec<Saved>>,
    /// Votes by what they are for.
    votes: BTreeMap<Digest, (Statement, Vec<(u8, Signature)>)>,
    /// Certified up to here.
    certified: u64,
    /// The next entry that each witness has not voted for, as far as its votes arrived.
    seen: Vec<u64>,
    inbox: Vec<Evidence>,
    sessions: Vec<(Chain, Terms)>,
    closings: Vec<Closing>,
}

struct World {
    rng: Rng,
    nodes: Vec<Node>,
    index: BTreeMap<NodeId, usize>,
    pending: Vec<Message>,
    book: Book,
    accounts: Vec<book::Index>,
    /// What is certified, for S1; with its proof while it may still be doubted.
    certified: BTreeMap<(usize, Slot), (Digest, Option<Proof>)>,
    /// Of each account, what is certified before its last checkpoint, in four bytes an entry.
    past: Vec<Vec<u32>>,
    /// Who was shown to have forked. Everybody knows within seconds, as the other test here shows.
    condemned: BTreeSet<usize>,
    cut: bool,
    date: u64,
    postings: u64,
    sums: i128,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    events: u64,
    crashes: u64,
    owners: usize,
    double: usize,
    refused: u64,
    lost: u64,
}

fn is_byzantine(n: usize) -> bool {
    n < BYZANTINE
}

impl World {
    fn new(seed: u64) -> Self {
        // A Byzantine member has a quarter of the trust of an honest one; together they hold 5.9 %.
        let trust: Vec<(NodeId, u64)> =
            (0..NODES).map(|n| (NodeId::number(n as u64), if is_byzantine(n) { 250 } else { 1000 })).collect();
        let total = trust.iter().map(|one| one.1).sum();
        let lent = limit::Config { pool: Credits(NODES as u64 * 100_000_000), one_max: Credits(1_000_000_000) };
        let mut book = Book::default();
        let nodes: Vec<Node> = trust
            .iter()
            .map(|(id, mass)| {
                let set = Arc::new(Set::draw(id, 0, FAULTS, &trust).unwrap());
                let keys = Name(*id);
                let seen = vec![0; set.members().len()];
                Node {
                    keys,
                    seen,
                    set,
                    logs: vec![Log::new(*id)],
                    limit: limit::limit(&lent, *mass, total),
                    witness: Witness::new(keys),
                    evidence: BTreeMap::new(),
                    disk: (Fold::new(*id), vec![]),
                    witness_disk: BTreeMap::new(),
                    votes: BTreeMap::new(),
                    certified: 0,
                    inbox: vec![],
                    sessions: vec![],
                    closings: vec![],
                }
            })
            .collect();
        let accounts = trust.iter().map(|one| book.account(one.0).unwrap()).collect();
        let index = trust.iter().enumerate().map(|(n, one)| (one.0, n)).collect();
        let mut world = Self {
            rng: Rng::new(seed),
            nodes,
            index,
            pending: vec![],
            book,
            accounts,
            certified: BTreeMap::new(),
            past: vec![vec![]; NODES],
            condemned: BTreeSet::new(),
            cut: false,
            date: 0,
            postings: 0,
            sums: 0,
            found: Found::default(),
        };
        (0..NODES).for_each(|n| world.open(n));
        world
    }

    fn open(&mut self, n: usize) {
        let act = Act::Open { witnesses: self.nodes[n].set.digest(), faults: FAULTS };
        self.write(n, 0, act, None, None);
    }

    /// How many of the account's witnesses are Byzantine; S1 and S4 are promised up to f.
    fn is_watched_well(&self, n: usize) -> bool {
        let bad = self.nodes[n].set.members().iter().filter(|id| is_byzantine(self.index[*id])).count();
        bad <= usize::from(FAULTS)
    }

    fn run(&mut self, postings: u64) {
        let mut last = 0;
        let mut idle = 0_u64;
        while self.postings < postings {
            self.found.events += 1;
            let part = self.postings * 10 / postings;
            // Between two halves hardly anybody has a quorum: when all that can be certified is, the rest of the day passes.
            if self.cut && idle > QUIET {
                self.date = 5 * DAY;
            }
            self.date = self.date.max(self.postings * 10 * DAY / postings);
            self.cut = part == 4 && self.date < 5 * DAY;
            if self.pending.is_empty() || (self.pending.len() < UNDER_WAY && self.rng.below(6) == 0) {
                self.act();
            } else {
                let at = self.rng.below(self.pending.len() as u32) as usize;
                let message = self.pending.swap_remove(at);
                self.deliver(message);
            }
            if self.rng.below(20_000) == 0 {
                self.crash();
            }
            if self.postings == last {
                idle += 1;
                assert!(idle < 5_000_000, "nothing is certified any more: {:?}", self.found);
            } else {
                (last, idle) = (self.postings, 0);
            }
            if self.found.events.is_multiple_of(100_000) {
                assert_eq!(self.book.sum(), 0, "S2");
            }
            if self.found.events.is_multiple_of(10_000_000) {
                println!("{} postings, {:?}", self.postings, self.found);
            }
        }
        assert_eq!((self.book.sum(), self.sums), (0, 0), "S2");
    }

    /// Somebody does something of its own accord.
    fn act(&mut self) {
        let n = self.rng.below(NODES as u32) as usize;
        self.ask_again(n);
        if let Some(evidence) = self.nodes[n].inbox.pop() {
            self.receive(n, evidence);
        } else if let Some(closing) = self.closing_of(n) {
            self.ask_closing(n, closing);
        } else if is_byzantine(n) {
            self.cheat(n);
        } else if self.may_write(n) {
            let other = self.rng.below(NODES as u32) as usize;
            // What a frozen account is paid never comes back, and whoever is honest knows.
            if self.condemned.contains(&other) {
                return;
            }
            if self.rng.below(3) == 0 { self.hold(n, other) } else { self.pay(n, 0, other) }
        }
    }

    /// Every other time: one that is never certified must not keep its payee from everything else.
    fn closing_of(&mut self, n: usize) -> Option<Closing> {
        if self.rng.below(2) == 0 { self.nodes[n].closings.pop() } else { None }
    }

    fn may_write(&self, n: usize) -> bool {
        self.nodes[n].logs[0].fold().next() < self.nodes[n].certified + 4
    }

    fn cheat(&mut self, n: usize) {
        if !self.may_write(n) {
            return;
        }
        let other = self.rng.below(NODES as u32) as usize;
        match self.rng.below(6) {
            // Two branches, if there is one yet.
            0 if self.nodes[n].logs.len() == 1 && self.nodes[n].certified > 2 => {
                let twin = self.nodes[n].logs[0].clone();
                self.nodes[n].logs.push(twin);
                self.pay(n, 0, other);
                self.pay(n, 1, (other + 1) % NODES);
            }
            1 => self.pay(n, self.nodes[n].logs.len() - 1, other),
            // More than it has.
            2 => self.overdraw(n, other),
            // A closing that nobody agreed to.
            3 => {
                if let Some((chain, terms)) = self.nodes[n].sessions.pop() {
                    let closing = Closing {
                        payer: self.nodes[n].keys.0,
                        payee: terms.payee,
                        turn: terms.turn,
                        ticks: 0,
                        amount: Credits(0),
                        link: chain.root(),
                    };
                    self.spread_closing(closing, None);
                }
            }
            4 => self.hold(n, other),
            _ => self.pay(n, 0, other),
        }
    }

    /// Beside its log, which goes on: a log with such an entry in it would stand still, and do no more harm.
    fn overdraw(&mut self, n: usize, other: usize) {
        let (fold, payee) = (self.nodes[n].logs[0].fold(), NodeId::number(other as u64));
        let act = Act::Pay { payee, turn: fold.turn(&payee), amount: Credits(1 << 50) };
        let entry = fold.draft(act);
        let consent = act.consent(&entry.account, &self.nodes[other].keys);
        let signed = Box::new(entry.sign(Some(consent), &self.nodes[n].keys));
        let members = self.nodes[n].set.clone();
        for id in members.members() {
            self.send(Message::Overdraw { owner: n, witness: self.index[id], signed: signed.clone() });
        }
    }

    fn pay(&mut self, n: usize, branch: usize, other: usize) {
        if n == other {
            return;
        }
        let payee = NodeId::number(other as u64);
        let amount = Credits(1000 + u64::from(self.rng.below(2_000_000)));
        let act = Act::Pay { payee, turn: self.nodes[n].logs[branch].fold().turn(&payee), amount };
        self.write(n, branch, act, Some(other), None);
    }

    fn hold(&mut self, n: usize, other: usize) {
        if n == other {
            return;
        }
        let payee = NodeId::number(other as u64);
        let chain = Chain::new(Digest(NodeId::number(self.rng.next()).0), 8);
        let (cap, tick) = (Credits(80_000), Credits(10_000));
        let turn = self.nodes[n].logs[0].fold().turn(&payee);
        let terms = Terms { payee, turn, cap, tick, until: UnixTime(self.date + 3 * DAY), root: chain.root() };
        if self.write(n, 0, Act::Hold(terms), Some(other), None) {
            self.nodes[n].sessions.push((chain, terms));
        }
    }

    /// Writes, keeps, asks. A Byzantine payee may keep silent; then nothing is written. An honest one whose own log stands still
    /// agrees to no more than it can enter later.
    fn write(&mut self, n: usize, branch: usize, act: Act, other: Option<usize>, evidence: Option<Evidence>) -> bool {
        if self.nodes[n].logs[branch].fold().next().is_multiple_of(EVERY)
            && self.nodes[n].logs[branch].fold().next() > 0
        {
            self.checkpoint(n, branch);
        }
        let consent = other.and_then(|other| {
            let silent = is_byzantine(other) && self.rng.below(3) == 0;
            let full = !is_byzantine(other) && self.nodes[other].inbox.len() >= INBOX_MAX;
            (!silent && !full).then(|| act.consent(&self.nodes[n].keys.0, &self.nodes[other].keys))
        });
        if other.is_some() && consent.is_none() {
            return false;
        }
        let proven = evidence.as_ref().and_then(|evidence| self.prove(evidence));
        let node = &mut self.nodes[n];
        let Ok(signed) = node.logs[branch].write(act, consent, proven.as_ref(), node.limit, &node.keys) else {
            self.found.refused += 1;
            return false;
        };
        if branch == 0 {
            node.evidence.extend(evidence.map(|evidence| (signed.entry.number, evidence)));
            node.disk.1.push((signed, proven));
        }
        self.ask(n, branch);
        true
    }

    fn checkpoint(&mut self, n: usize, branch: usize) {
        let node = &mut self.nodes[n];
        // Only what is certified is pruned; until then the log goes on.
        if branch > 0 || node.certified != node.logs[0].fold().next() {
            return;
        }
        let before = node.logs[0].fold().clone();
        let signed = node.logs[0].checkpoint(&node.keys).unwrap();
        node.disk.0 = before;
        node.disk.1.push((signed, None));
        self.ask(n, 0);
    }

    fn ask(&mut self, n: usize, branch: usize) {
        let members = self.nodes[n].set.clone();
        for id in members.members() {
            let witness = self.index[id];
            // Of a fork each branch is shown to a half, and to all who lie.
            let shown = self.nodes[n].logs.len() == 1 || is_byzantine(witness) || witness % 2 == branch;
            if shown || self.rng.below(10) == 0 {
                self.send(Message::Ask { owner: n, branch, witness });
            }
        }
    }

    /// What was lost is asked again.
    fn ask_again(&mut self, n: usize) {
        let stuck = is_byzantine(n) && self.rng.below(10) > 0;
        if !stuck && self.nodes[n].certified < self.nodes[n].logs[0].fold().next() {
            (0..self.nodes[n].logs.len()).for_each(|branch| self.ask(n, branch));
        }
    }

    /// Lost once in fifty, doubled once in a hundred, and nothing crosses a cut.
    fn send(&mut self, message: Message) {
        let (from, to) = match &message {
            Message::Ask { owner, witness, .. } | Message::Overdraw { owner, witness, .. } => (*owner, *witness),
            Message::Vote { owner, witness, .. } => (*witness, *owner),
            Message::AskClosing { closing, witness, .. } => (self.index[&closing.payee], *witness),
            Message::Certified { to, evidence } => (self.index[&evidence.0.statement.account], *to),
        };
        if self.rng.below(50) == 0 || (self.cut && from % 2 != to % 2) {
            self.found.lost += 1;
            // What is paid is asked for until it is there.
            if let Message::Certified { to, evidence } = message {
                self.nodes[to].inbox.insert(0, *evidence);
            }
            return;
        }
        if self.rng.below(100) == 0 {
            self.pending.push(message.clone());
        }
        self.pending.push(message);
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Ask { owner, branch, witness } => self.show(owner, branch, witness),
            Message::Overdraw { owner, witness, signed } if is_byzantine(witness) => {
                self.blind(owner, witness, signed.entry.statement());
            }
            Message::Overdraw { owner, witness, signed } => {
                assert!(
                    !self.vote(owner, witness, &signed),
                    "S4: nobody honest lets an account owe more than its limit"
                );
            }
            Message::Vote { owner, witness, statement, signature, by } => {
                let at = self.nodes[owner].set.index(&self.nodes[witness].keys.0).unwrap();
                if let Slot::Entry(number) = statement.slot {
                    let seen = &mut self.nodes[owner].seen[usize::from(at)];
                    *seen = (*seen).max(number + 1);
                }
                if self.is_known(owner, &statement) == Some(true) {
                    return;
                }
                let set = self.nodes[owner].set.clone();
                let (_, votes) =
                    self.nodes[owner].votes.entry(statement.vote_digest(&by)).or_insert_with(|| (statement, vec![]));
                if votes.iter().all(|vote| vote.0 != at) {
                    votes.push((at, signature));
                }
                if votes.len() == set.quorum() {
                    let mut votes = std::mem::take(votes);
                    votes.sort_unstable_by_key(|vote| vote.0);
                    let certificate = Certificate { statement, set: by, votes };
                    self.nodes[owner].votes.remove(&statement.vote_digest(&by));
                    assert_eq!(certificate.verify(&set, &self.nodes[owner].keys), Ok(()));
                    self.certified(owner, certificate);
                }
            }
            Message::AskClosing { closing, consent, witness } => {
                let owner = self.index[&closing.payer];
                let date = UnixTime(self.date);
                if is_byzantine(witness) {
                    self.blind(owner, witness, closing.statement());
                    return;
                }
                let node = &mut self.nodes[witness];
                if let Ok(voted) =
                    node.witness.close(&closing, consent.as_ref().map_or(Word::Nobody, Word::Payee), date)
                {
                    if let Some(saved) = voted.saved {
                        node.witness_disk.entry(closing.payer).or_default().push(saved);
                    }
                    let (statement, signature, by) = (voted.statement, voted.signature, voted.set);
                    self.send(Message::Vote { owner, witness, statement, signature, by });
                }
            }
            Message::Certified { to, evidence } => self.nodes[to].inbox.push(*evidence),
        }
    }

    /// A Byzantine witness signs whatever it is shown.
    fn blind(&mut self, owner: usize, witness: usize, statement: Statement) {
        let by = self.nodes[owner].set.digest();
        let signature = self.nodes[witness].keys.sign(Domain::Vote, &[&statement.vote_digest(&by).0]);
        self.send(Message::Vote { owner, witness, statement, signature, by });
    }

    fn show(&mut self, owner: usize, branch: usize, witness: usize) {
        let account = self.nodes[owner].keys.0;
        if is_byzantine(witness) {
            let last = self.nodes[owner].logs[branch].since(0).last().map(|signed| signed.entry.statement());
            last.into_iter().for_each(|statement| self.blind(owner, witness, statement));
            return;
        }
        // What it saw before, too, if that is not certified yet: its vote may have been lost, or it may stand on another branch.
        let next = self.nodes[witness].witness.fold(&account).map_or(0, Fold::next);
        let from = next.min(self.nodes[owner].certified);
        let entries: Vec<Signed> = self.nodes[owner].logs[branch].since(from).cloned().collect();
        for signed in entries {
            if !self.vote(owner, witness, &signed) {
                return;
            }
        }
    }

    /// An honest witness is shown an entry; whether it votes for it.
    fn vote(&mut self, owner: usize, witness: usize, signed: &Signed) -> bool {
        let account = self.nodes[owner].keys.0;
        let (set, limit) = (self.nodes[owner].set.clone(), self.nodes[owner].limit);
        let proven = self.nodes[owner].evidence.get(&signed.entry.number).and_then(|evidence| self.prove(evidence));
        let node = &mut self.nodes[witness];
        match node.witness.vote(signed, proven.as_ref(), Some(&set), limit) {
            Ok(voted) => {
                let disk = node.witness_disk.entry(account).or_default();
                if matches!(signed.entry.act, Act::Checkpoint { .. }) && voted.saved.is_some() {
                    *disk = node.witness.snapshot(&account).into_iter().collect();
                } else {
                    disk.extend(voted.saved);
                }
                let (statement, signature, by) = (voted.statement, voted.signature, voted.set);
                self.send(Message::Vote { owner, witness, statement, signature, by });
                return true;
            }
            Err(Refusal::Fork(fraud)) => {
                let guilty = fraud.check(&Name(NodeId::number(7))).expect("an honest witness shows what is true");
                assert!(guilty.owner && is_byzantine(self.index[&guilty.account]), "S3: the honest are never named");
                node.witness_disk.entry(account).or_default().push(Saved::Frozen(fraud));
                self.condemned.insert(owner);
                self.found.owners += 1;
            }
            Err(_) => self.found.refused += 1,
        }
        false
    }

    fn prove(&self, (certificate, paid): &Evidence) -> Option<Proven> {
        let set = &self.nodes[self.index[&certificate.statement.account]].set;
        let anybody = Name(NodeId::number(7));
        match paid {
            Paid::Entry(signed) => certificate::payment(certificate, signed, set, &anybody).ok(),
            Paid::Closing(closing) => certificate::closing(certificate, closing, set, &anybody).ok(),
        }
    }

    /// A certificate is there: S1 and S3 are checked, and what it says becomes a fact.
    fn certified(&mut self, n: usize, certificate: Certificate) {
        let statement = certificate.statement;
        let key = (n, statement.slot);
        let entry = self.entry(n, &statement);
        match self.is_known(n, &statement) {
            Some(true) => return,
            Some(false) => {
                let proof = self.certified.get(&key).and_then(|known| known.1.clone());
                return self.expose(n, proof, certificate, entry);
            }
            None => {}
        }
        let proof = Box::new((certificate.clone(), entry.as_ref().map(|signed| signed.entry.clone())));
        self.certified.insert(key, (statement.digest, Some(proof)));
        match (statement.slot, entry) {
            (Slot::Entry(number), Some(signed)) => {
                if self.nodes[n].logs[0].since(number).next().is_some_and(|own| own.entry == signed.entry) {
                    let certified = &self.certified;
                    let node = &mut self.nodes[n];
                    while certified.contains_key(&(n, Slot::Entry(node.certified))) {
                        node.certified += 1;
                    }
                }
                self.entered(n, signed, certificate);
            }
            (Slot::Closing { payee, .. }, _) => {
                let Some(closing) = self.closing(&statement) else { return };
                self.fact(n, self.index[&payee], closing.amount);
                let evidence = (certificate, Paid::Closing(closing));
                self.nodes[n].inbox.push(evidence.clone());
                if closing.amount > Credits(0) {
                    let to = self.index[&payee];
                    self.send(Message::Certified { to, evidence: Box::new(evidence) });
                }
            }
            (Slot::Entry(_), None) => {}
        }
    }

    /// A payment pays; a hold lets the payee work, who is given some ticks and then wants them certified.
    fn entered(&mut self, n: usize, signed: Signed, certificate: Certificate) {
        match signed.entry.act {
            Act::Pay { payee, amount, .. } => {
                let to = self.index[&payee];
                self.fact(n, to, amount);
                self.send(Message::Certified { to, evidence: Box::new((certificate, Paid::Entry(signed))) });
            }
            Act::Hold(terms) => {
                let Some(at) = self.nodes[n].sessions.iter().position(|session| session.1 == terms) else { return };
                let (mut chain, _) = self.nodes[n].sessions.swap_remove(at);
                let mut meter = Meter::new(terms);
                for _ in 0..self.rng.below(9) {
                    meter.tick(chain.tick().unwrap()).unwrap();
                }
                let to = self.index[&terms.payee];
                self.nodes[to].closings.push(meter.closing(signed.entry.account));
            }
            // What lies before is settled; that it was is all that must be remembered, but for witnesses that lack it.
            Act::Checkpoint { .. } => {
                let node = &mut self.nodes[n];
                let first = node.logs[0].prune(node.seen.iter().copied().min().unwrap_or(0));
                node.evidence = node.evidence.split_off(&first);
                node.disk.1.retain(|(signed, _)| signed.entry.number >= first);
                let past = &mut self.past[n];
                for number in past.len() as u64..signed.entry.number {
                    let known = self.certified.remove(&(n, Slot::Entry(number)));
                    past.push(brief(&known.expect("what follows was only written when this was certified").0));
                }
                self.nodes[n]
                    .votes
                    .retain(|_, votes| !matches!(votes.0.slot, Slot::Entry(old) if old < signed.entry.number));
            }
            Act::Release { payee, turn, .. } => {
                if let Some(known) = self.certified.get_mut(&(n, Slot::Closing { payee, turn })) {
                    known.1 = None;
                }
            }
            _ => {}
        }
    }

    /// Whether it is this statement that was certified in its place; nothing, if none was yet.
    fn is_known(&self, n: usize, statement: &Statement) -> Option<bool> {
        let past = match statement.slot {
            Slot::Entry(number) => self.past[n].get(number as usize),
            Slot::Closing { .. } => None,
        };
        let known = self.certified.get(&(n, statement.slot));
        past.map(|known| *known == brief(&statement.digest)).or_else(|| known.map(|known| known.0 == statement.digest))
    }

    /// The entry of a statement, on whichever branch it lies.
    fn entry(&self, n: usize, statement: &Statement) -> Option<Signed> {
        let logs = self.nodes[n].logs.iter();
        logs.flat_map(|log| log.since(0)).find(|signed| signed.entry.statement() == *statement).cloned()
    }

    fn closing(&self, statement: &Statement) -> Option<Closing> {
        let asked = self.pending.iter().filter_map(|message| match message {
            Message::AskClosing { closing, .. } => Some(*closing),
            _ => None,
        });
        let Slot::Closing { payee, .. } = statement.slot else { return None };
        let waiting = self.nodes[self.index[&payee]].closings.iter().copied();
        asked.chain(waiting).find(|closing| closing.statement() == *statement)
    }

    /// S2 and S4, for the two accounts that a fact touches.
    fn fact(&mut self, n: usize, other: usize, amount: Credits) {
        if amount == Credits(0) {
            return;
        }
        let (payer, payee) = (self.accounts[n], self.accounts[other]);
        let sum = |book: &Book| i128::from(book.balance(payer)) + i128::from(book.balance(payee));
        let before = sum(&self.book);
        self.book.record(payer, payee, amount).unwrap();
        self.sums += sum(&self.book) - before;
        assert_eq!(self.sums, 0, "S2");
        if self.is_watched_well(n) {
            let owed = i128::from(self.book.balance(payer));
            assert!(-owed <= i128::from(self.nodes[n].limit.0), "S4: {n} owes {owed}");
        }
        self.postings += 1;
    }

    fn ask_closing(&mut self, n: usize, closing: Closing) {
        let consent = closing.sign(&self.nodes[n].keys);
        self.spread_closing(closing, Some(consent));
        // Until it is certified; what was lost is asked again.
        let key = (self.index[&closing.payer], Slot::Closing { payee: closing.payee, turn: closing.turn });
        if !self.certified.contains_key(&key) {
            self.nodes[n].closings.insert(0, closing);
        }
    }

    fn spread_closing(&mut self, closing: Closing, consent: Option<Signature>) {
        let set = self.nodes[self.index[&closing.payer]].set.clone();
        for id in set.members() {
            let witness = self.index[id];
            self.send(Message::AskClosing { closing, consent, witness });
        }
    }

    /// The payee counts what it was paid; the payer lets go of what was held.
    fn receive(&mut self, n: usize, evidence: Evidence) {
        if !self.may_write(n) {
            self.nodes[n].inbox.push(evidence);
            return;
        }
        let Some(Proven { payer, payee, turn, amount, statement }) = self.prove(&evidence) else { return };
        let act = if payer == self.nodes[n].keys.0 {
            Act::Release { payee, turn, amount, statement }
        } else {
            Act::Receive { payer, turn, amount, statement }
        };
        self.write(n, 0, act, None, Some(evidence));
    }

    /// S3: what should not be names more than f, all of them Byzantine; S1: and only where more than f are.
    fn expose(&mut self, n: usize, other: Option<Proof>, certificate: Certificate, entry: Option<Signed>) {
        assert!(!self.is_watched_well(n), "S1");
        let Some(other) = other else { return };
        let set = &*self.nodes[n].set;
        let path = entry.map(|signed| signed.entry).into_iter().collect();
        let fraud =
            Fraud::Double { lower: other.0, lower_set: set.clone(), upper: certificate, upper_set: set.clone(), path };
        let decoded = Fraud::decode(&fraud.encode()).unwrap();
        let guilty = decoded.check(&Name(NodeId::number(7))).expect("two certificates are a proof");
        assert!(guilty.witnesses.len() > usize::from(FAULTS), "S3");
        assert!(guilty.witnesses.iter().all(|id| is_byzantine(self.index[id])), "S3: the honest are never named");
        self.found.double += 1;
    }

    /// The power goes at somebody's, and comes back: it knows what it kept.
    fn crash(&mut self) {
        let n = self.rng.below(NODES as u32) as usize;
        if is_byzantine(n) {
            return;
        }
        self.found.crashes += 1;
        let node = &mut self.nodes[n];
        let log = Log::restore(node.disk.0.clone(), node.disk.1.iter().cloned());
        assert_eq!(log.fold(), node.logs[0].fold(), "the log is what was kept");
        let witness = Witness::restore(node.keys, node.witness_disk.values().flatten().cloned());
        assert_eq!(witness, node.witness, "the witness is what was kept");
        (node.logs[0], node.witness) = (log, witness);
        node.votes.clear();
    }
}

/// Another digest has the same ones once in four thousand million.
fn brief(digest: &Digest) -> u32 {
    u32::from_le_bytes(digest.0[..4].try_into().unwrap())
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn safe_in_any_order_with_a_fifth_byzantine_a_cut_and_crashes() {
    let (seed, postings) = (number("TUTU_WORLD_SEED", 1), number("TUTU_WORLD_POSTINGS", 100_000));
    let mut world = World::new(seed);
    world.run(postings);
    println!("seed {seed}: {} postings, {:?}", world.postings, world.found);
    assert!(world.found.crashes > 0 && world.found.owners > 0, "{:?}", world.found);
}

#[test]
fn a_fork_is_known_to_99_percent_within_ten_seconds() {
    for seed in 0..5 {
        let mut rng = Rng::new(seed);
        let keys = Name(NodeId::number(1));
        let sign = |amount| {
            let act = Act::Pay { payee: NodeId::number(2), turn: 0, amount: Credits(amount) };
            Entry { account: keys.0, number: 1, before: Digest([0; 32]), act }.sign(None, &keys)
        };
        let fraud = Box::new(Fraud::Fork { one: sign(1), other: sign(2) });
        let mut nodes: Vec<Alarm<Name>> =
            (0..NODES).map(|n| Alarm::new(alarm::Config::default(), keys, seed * 10_000 + n as u64)).collect();
        let mut wheel: Wheel<(usize, Option<alarm::Input>)> = Wheel::default();
        let mut out = vec![];
        let ids: Vec<NodeId> = (0..NODES).map(|n| NodeId::number(n as u64)).collect();
        for node in &mut nodes {
            node.handle(Instant::default(), alarm::Input::Peers(ids.clone()), &mut out);
        }
        // Some honest witness found it.
        wheel.push(Instant::default(), (BYZANTINE, Some(alarm::Input::Heard(fraud.clone()))));
        let until = Instant::from_millis(10_000);
        while let Some((now, (n, input))) = wheel.pop(until) {
            // The Byzantine say nothing; 5 % of what is said is lost.
            if is_byzantine(n) {
                continue;
            }
            match input {
                Some(input) => nodes[n].handle(now, input, &mut out),
                None => nodes[n].tick(now, &mut out),
            }
            for effect in out.drain(..) {
                let alarm::Effect::Tell { to, fraud } = effect else { continue };
                let to = ids.iter().position(|id| *id == to).unwrap();
                let delay = 20_000 + u64::from(rng.below(280_000));
                if rng.below(20) > 0 {
                    let at = Instant::from_micros(now.as_micros() + delay);
                    wheel.push(at, (to, Some(alarm::Input::Heard(fraud))));
                }
            }
            if let Some(due) = nodes[n].deadline() {
                wheel.push(due, (n, None));
            }
        }
        let known = nodes[BYZANTINE..].iter().filter(|node| node.knows(&keys.0)).count();
        assert!(known * 100 >= (NODES - BYZANTINE) * 99, "seed {seed}: {known} know");
    }
}
