//! What happens, in any order, and what must hold after it.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use tutu_node::{
    economy::{
        ledger::{
            Act, Book, Closing, Fold, Fraud, Proven, Signed, Terms, book,
            entry::Slot,
            limit,
            session::{Chain, Meter},
        },
        witness::{
            Certificate, Renewal, Set, Terms as Sets,
            vote::{Refusal, Saved, Word},
        },
    },
    kit::{Credits, Digest, Domain, NodeId, Rng, Signature, Signer, UnixTime},
};

use super::{
    FAULTS, NODES,
    common::Name,
    node::{Kept, Node, Patience, Reign, Tally, since},
    paper::{Certified, Message, Paper, Seat, What, With},
    record::Standing,
};

/// Events without a posting after which a network that is cut in two has come to rest: 200 for each node; 20 where witnesses change,
/// since now and then somebody is watched by others who have a quorum.
const QUIET: u64 = 200 * NODES as u64;
const QUIET_OF_CHANGES: u64 = QUIET / 10;
const DAY: u64 = 86_400;
/// How long a world lasts.
const DAYS: u64 = 10;
/// Payments that wait to be entered, with which a node takes no more.
const INBOX_MAX: usize = 64;
/// Messages under way, above which nobody does anything new.
const UNDER_WAY: usize = 4 * NODES;
/// Whoever is shown what anybody may check.
const ANYBODY: Name = Name(NodeId([7; 32]));

/// Of a core, as Linux counts them; nothing elsewhere.
pub fn seconds() -> u64 {
    // A hundred to the second, on every Linux: the twelfth and thirteenth field after the name, which ends with a bracket.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() / 100
}

/// In use now, as Linux counts them; nothing elsewhere.
pub fn megabytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0_u64) / 1024
}

pub struct World {
    rng: Rng,
    nodes: Vec<Node>,
    index: HashMap<NodeId, usize>,
    pending: Vec<Message>,
    /// What is sent again when the cut is over.
    held_up: Vec<Message>,
    book: Book,
    accounts: Vec<book::Index>,
    /// Who was shown to have forked. Everybody knows within seconds, as the other test here shows.
    condemned: Vec<bool>,
    cut: bool,
    date: u64,
    byzantine: usize,
    /// Of each, and what everybody thinks of everybody.
    trust: Vec<(NodeId, u64)>,
    /// Others watch each account every day; what whoever follows all changes knows of that.
    changes: Option<Sets>,
    /// How many are to be made.
    wanted: u64,
    pub postings: u64,
    sums: i128,
    pub found: Found,
}

#[derive(Debug, Default)]
pub struct Found {
    pub events: u64,
    pub crashes: u64,
    /// Accounts that forked, and witnesses that found out.
    pub forks: u64,
    pub owners: usize,
    pub double: usize,
    pub overdraws: u64,
    pub changes: u64,
    pub refused: u64,
    pub lost: u64,
    pub checkpoints: u64,
}

impl World {
    /// The first so many are Byzantine. Witnesses change, or do not.
    pub fn new(seed: u64, byzantine: usize, wanted: u64, changes: bool) -> Self {
        // A Byzantine member has a quarter of the trust of an honest one; a fifth of all hold 5.9 % together.
        let trust: Vec<(NodeId, u64)> =
            (0..NODES).map(|n| (NodeId::number(n as u64), if n < byzantine { 250 } else { 1000 })).collect();
        let index: HashMap<NodeId, usize> = trust.iter().enumerate().map(|(n, one)| (one.0, n)).collect();
        let total = trust.iter().map(|one| one.1).sum();
        let lent = limit::Config { pool: Credits(NODES as u64 * 100_000_000), one_max: Credits(1_000_000_000) };
        let mut book = Book::default();
        let node = |(id, mass): &(NodeId, u64)| {
            let set = Set::draw(id, 0, FAULTS, &trust).unwrap();
            let first = Reign::new(set.into(), 0, &index);
            let well = first.is_well(byzantine);
            Node::new(Name(*id), first, well, limit::limit(&lent, *mass, total))
        };
        let nodes: Vec<Node> = trust.iter().map(node).collect();
        let changes = changes.then(|| {
            let mut sets = Sets::default();
            nodes.iter().for_each(|node| assert!(sets.judged(node.keys.0, &node.reign().set)));
            sets
        });
        let mut world = Self {
            rng: Rng::new(seed),
            nodes,
            index,
            pending: vec![],
            held_up: vec![],
            accounts: trust.iter().map(|one| book.account(one.0).unwrap()).collect(),
            book,
            condemned: vec![false; NODES],
            cut: false,
            date: 0,
            byzantine,
            trust,
            changes,
            wanted,
            postings: 0,
            sums: 0,
            found: Found::default(),
        };
        for n in 0..NODES {
            let act = Act::Open { witnesses: world.nodes[n].reign().by, faults: FAULTS };
            let set = world.nodes[n].reign().set.clone();
            world.write(n, 0, act, None, With::Set(set));
            world.publish(n);
        }
        world
    }

    pub fn run(&mut self) {
        let mut last = 0;
        let mut idle = 0_u64;
        let quiet = if self.changes.is_some() { QUIET_OF_CHANGES } else { QUIET };
        while self.postings < self.wanted {
            self.found.events += 1;
            // Between two halves hardly anybody has a quorum: when all that can be certified is, the rest of the day passes.
            if self.cut && idle > quiet {
                self.date = 5 * DAY;
            }
            self.date = self.date.max(self.postings * DAYS * DAY / self.wanted);
            self.cut = self.postings * DAYS / self.wanted == 4 && self.date < 5 * DAY;
            if !self.cut {
                self.pending.append(&mut self.held_up);
            }
            if self.pending.is_empty() || (self.pending.len() < UNDER_WAY && self.rng.below(6) == 0) {
                self.act();
            } else {
                let at = self.rng.below(self.pending.len() as u32) as usize;
                let message = self.pending.swap_remove(at);
                self.deliver(message);
            }
            if self.rng.below(3500) == 0 {
                self.crash();
            }
            if self.postings == last {
                idle += 1;
                assert!(idle < 5_000_000, "nothing is certified any more: {:?}", self.found);
            } else {
                (last, idle) = (self.postings, 0);
            }
            if self.found.events.is_multiple_of(100_000) {
                self.check_all();
            }
            if self.found.events.is_multiple_of(10_000_000) {
                println!("{} postings, {} s, {} MB, {:?}", self.postings, seconds(), megabytes(), self.found);
            }
        }
        self.check_all();
    }

    const fn is_byzantine(&self, n: usize) -> bool {
        n < self.byzantine
    }

    /// Somebody does something of its own accord: whatever waits, and some things of its own. All that it writes is shown at once.
    fn act(&mut self) {
        let n = self.rng.below(NODES as u32) as usize;
        self.ask_again(n);
        self.ask_for_closings(n);
        self.renew(n);
        // One that cheats has better things to do, now and then.
        while !(self.is_byzantine(n) && self.rng.below(3) == 0) && self.nodes[n].may_write() {
            let Some(certified) = self.nodes[n].inbox.pop_back() else { break };
            if !self.receive(n, &certified) {
                self.nodes[n].inbox.push_back(certified);
                break;
            }
        }
        for _ in 0..=self.rng.below(6) {
            if self.nodes[n].may_write() {
                self.spend(n);
            }
        }
        self.publish(n);
    }

    fn spend(&mut self, n: usize) {
        if self.is_byzantine(n) {
            return self.cheat(n);
        }
        let other = self.rng.below(NODES as u32) as usize;
        // What a frozen account is paid never comes back, and whoever is honest knows.
        if self.condemned[other] {
            return;
        }
        if self.rng.below(3) == 0 { self.hold(n, other) } else { self.pay(n, 0, other) }
    }

    /// Those for which it is time to ask, or to ask again.
    fn ask_for_closings(&mut self, n: usize) {
        for _ in 0..self.nodes[n].closings.len() {
            let Some((owner, paper, mut patience)) = self.nodes[n].closings.pop_front() else { return };
            if patience.ends(self.found.events) {
                if self.nodes[owner].record.has(&paper.statement) {
                    continue;
                }
                self.spread_closing(owner, &paper);
            }
            self.nodes[n].closings.push_back((owner, paper, patience));
        }
    }

    /// Asks for others who watch it, if the day's are not asked for yet. The day is over for nobody whose log stands still.
    fn renew(&mut self, n: usize) {
        let (node, term) = (&self.nodes[n], self.date / DAY);
        let due = self.changes.is_some() && node.reign().set.term() < term && node.branches.len() == 1;
        if !due || !node.is_up_to_date() || node.is_long() {
            return;
        }
        let drawn = Set::draw(&node.keys.0, term, FAULTS, &self.trust).unwrap();
        // One who cheats shows two changes, one to accomplices where there is a seat for them.
        if self.is_byzantine(n) && self.is_bold(n) && self.rng.below(4) == 0 {
            let accomplice = NodeId::number(u64::from(self.rng.below(self.byzantine as u32)));
            let mut members = drawn.members().to_vec();
            members[self.rng.below(drawn.members().len() as u32) as usize] = accomplice;
            if let Some(chosen) = Set::new(FAULTS, members).map(|set| set.of_term(term)) {
                self.found.forks += 1;
                let twin = self.nodes[n].branches[0].clone();
                self.nodes[n].branches.push(twin);
                self.change(n, 1, chosen);
            }
        }
        self.change(n, 0, drawn);
    }

    fn change(&mut self, n: usize, branch: usize, next: Set) {
        let before = self.nodes[n].branches[branch].log.fold().clone();
        // All see the same of trust, so each member's answer to this is the same.
        assert!(next.acceptable(&self.nodes[n].keys.0, &self.trust), "it looks drawn");
        let act = Act::Renew { witnesses: next.digest(), faults: FAULTS, state: before.digest() };
        assert!(self.write(n, branch, act, None, With::Set(next.into())), "it may be written");
        let head = self.nodes[n].branches[branch].log.fold().head();
        self.nodes[n].prepared.push((head, before));
    }

    /// Those who watched certified that others do.
    fn follow(&mut self, n: usize, signed: &Signed, certified: &Rc<Certified>) {
        let (node, number) = (&mut self.nodes[n], signed.entry.number);
        let set = certified.paper.names().expect("a change names a set").clone();
        let certificate = certified.certificate.clone();
        let renewal = Renewal { signed: signed.clone(), certificate, set: (*set).clone() };
        let news = self.changes.as_mut().expect("they change").renew(&renewal, &ANYBODY);
        assert!(news == Ok(true) || !node.is_watched_well, "S1: a change leads on from what is known: {news:?}");
        let Some(at) = node.prepared.iter().position(|one| one.0 == certified.paper.statement.digest) else {
            return assert!(!node.is_watched_well, "S1: two changes are certified");
        };
        let (_, before) = node.prepared.swap_remove(at);
        node.prepared.clear();
        let reign = Reign::new(set, number, &self.index);
        node.is_watched_well &= reign.is_well(self.byzantine);
        node.seen = vec![number + 1; reign.members.len()];
        node.reigns.push(reign);
        node.handover = Some(Rc::new((before, renewal)));
        self.found.changes += 1;
    }

    /// Two entries with one number end an account. Each is so bold in its turn, so that there are some to the end, and cheats in
    /// other ways until then.
    const fn is_bold(&self, n: usize) -> bool {
        self.postings * self.byzantine as u64 >= n as u64 * self.wanted
    }

    fn cheat(&mut self, n: usize) {
        let other = self.rng.below(NODES as u32) as usize;
        let bold = self.is_bold(n);
        match self.rng.below(6) {
            // Two branches.
            0 if bold && self.nodes[n].branches.len() == 1 && self.nodes[n].certified > 2 => {
                self.found.forks += 1;
                let twin = self.nodes[n].branches[0].clone();
                self.nodes[n].branches.push(twin);
                self.pay(n, 0, other);
                self.pay(n, 1, (other + 1) % NODES);
            }
            1 => self.pay(n, self.nodes[n].branches.len() - 1, other),
            // More than it has; but not where so many lie that they certify it, and whoever is paid it has it indeed.
            2 if bold && 2 * self.byzantine < NODES => self.overdraw(n, other),
            // A closing that nobody agreed to.
            3 => {
                if let Some((chain, terms)) = self.nodes[n].sessions.pop() {
                    let Terms { payee, turn, .. } = terms;
                    let (payer, link) = (self.nodes[n].keys.0, chain.root());
                    let closing = Closing { payer, payee, turn, ticks: 0, amount: Credits(0), link };
                    let reign = self.nodes[n].reigns.len() - 1;
                    let paper = Paper::closing(closing, None, (reign, &self.nodes[n].reign().by));
                    self.spread_closing(n, &paper);
                }
            }
            4 => self.hold(n, other),
            _ => self.pay(n, 0, other),
        }
    }

    /// Beside its log, which goes on: a log with such an entry in it would stand still, and do no more harm.
    fn overdraw(&mut self, n: usize, other: usize) {
        let Some(reign) = self.nodes[n].asked(0) else { return };
        self.found.overdraws += 1;
        let (fold, payee) = (self.nodes[n].fold(), NodeId::number(other as u64));
        let act = Act::Pay { payee, turn: fold.turn(&payee), amount: Credits(1 << 50) };
        let entry = fold.draft(act);
        let (consent, digest) = (act.consent(&entry.account, &self.nodes[other].keys), entry.digest());
        let signed = Arc::new(entry.sign(Some(consent), &self.nodes[n].keys));
        let paper = Paper::entry(signed, digest, With::Nothing, (reign, &self.nodes[n].reigns[reign].by));
        for seat in self.seats(n, reign) {
            self.send(Message::Overdraw { seat, paper: paper.clone() });
        }
    }

    fn pay(&mut self, n: usize, branch: usize, other: usize) {
        if n == other {
            return;
        }
        let payee = NodeId::number(other as u64);
        let amount = Credits(1000 + u64::from(self.rng.below(2_000_000)));
        let act = Act::Pay { payee, turn: self.nodes[n].branches[branch].log.fold().turn(&payee), amount };
        self.write(n, branch, act, Some(other), With::Nothing);
    }

    fn hold(&mut self, n: usize, other: usize) {
        if n == other {
            return;
        }
        let payee = NodeId::number(other as u64);
        let chain = Chain::new(Digest(NodeId::number(self.rng.next()).0), 8);
        let (cap, tick) = (Credits(80_000), Credits(10_000));
        let turn = self.nodes[n].fold().turn(&payee);
        let terms = Terms { payee, turn, cap, tick, until: UnixTime(self.date + 3 * DAY), root: chain.root() };
        if self.write(n, 0, Act::Hold(terms), Some(other), With::Nothing) {
            self.nodes[n].sessions.push((chain, terms));
        }
    }

    /// Whether `other` agrees to be paid: nobody is asked through a cut, a Byzantine payee may keep silent, and one whose
    /// own log stands still agrees to no more than it can enter later.
    fn consent(&mut self, n: usize, other: usize, act: &Act) -> Option<Signature> {
        let away = self.cut && n % 2 != other % 2;
        let silent = self.is_byzantine(other) && self.rng.below(3) == 0;
        let full = self.nodes[other].inbox.len() >= INBOX_MAX;
        (!away && !silent && !full).then(|| act.consent(&self.nodes[n].keys.0, &self.nodes[other].keys))
    }

    /// Writes and keeps; or writes nothing.
    fn write(&mut self, n: usize, branch: usize, act: Act, other: Option<usize>, with: With) -> bool {
        let Some(reign) = self.nodes[n].asked(branch) else { return false };
        if branch == 0 && self.nodes[n].is_long() {
            // Only what is certified is pruned; until then the log stands still.
            if !self.nodes[n].is_up_to_date() {
                return false;
            }
            self.checkpoint(n, reign);
        }
        let mut consent = None;
        if let Some(other) = other {
            consent = self.consent(n, other, &act);
            if consent.is_none() {
                return false;
            }
        }
        let node = &mut self.nodes[n];
        let proven = if let With::Certified(certified) = &with { certified.proven } else { None };
        let Ok(signed) = node.branches[branch].log.write(act, consent, proven.as_ref(), node.limit, &node.keys) else {
            self.found.refused += 1;
            return false;
        };
        self.written(n, branch, reign, signed, with);
        true
    }

    fn checkpoint(&mut self, n: usize, reign: usize) {
        let node = &mut self.nodes[n];
        let signed = node.branches[0].log.checkpoint(&node.keys).unwrap();
        node.disk.0 = node.fold().clone();
        self.written(n, 0, reign, signed, With::Nothing);
    }

    fn written(&mut self, n: usize, branch: usize, reign: usize, signed: Arc<Signed>, with: With) {
        let node = &mut self.nodes[n];
        let head = node.branches[branch].log.fold().head();
        let paper = Paper::entry(signed, head, with, (reign, &node.reigns[reign].by));
        node.branches[branch].papers.push_back(paper.clone());
        node.branches[branch].has_news = true;
        if branch == 0 {
            node.disk.1.push_back(paper);
        }
    }

    /// All witnesses are asked for what is new.
    fn publish(&mut self, n: usize) {
        for branch in 0..self.nodes[n].branches.len() {
            if std::mem::take(&mut self.nodes[n].branches[branch].has_news) {
                self.nodes[n].patience = Patience::begun(self.found.events);
                self.last_asked(n, branch).for_each(|seat| self.ask(seat, branch));
            }
        }
    }

    /// Places of witnesses in one of its sets.
    fn seats(&self, owner: usize, reign: usize) -> impl Iterator<Item = Seat> + use<> {
        (0..self.nodes[owner].reigns[reign].members.len() as u8).map(move |at| Seat { owner, reign, at })
    }

    /// Those who vote for the last entry of a branch.
    fn last_asked(&self, n: usize, branch: usize) -> impl Iterator<Item = Seat> + use<> {
        let reign = self.nodes[n].branches[branch].papers.back().map(|paper| paper.reign);
        self.seats(n, reign.unwrap_or(0))
    }

    fn member(&self, seat: Seat) -> usize {
        self.nodes[seat.owner].reigns[seat.reign].members[usize::from(seat.at)]
    }

    fn ask(&mut self, seat: Seat, branch: usize) {
        let witness = self.member(seat);
        // Of a fork each branch is shown to a half, and to all who lie.
        let shown = self.nodes[seat.owner].branches.len() == 1 || self.is_byzantine(witness) || witness % 2 == branch;
        if shown || self.rng.below(10) == 0 {
            self.send(Message::Ask { seat, branch });
        }
    }

    /// Witnesses that kept silent for long are asked again.
    fn ask_again(&mut self, n: usize) {
        let stuck = self.is_byzantine(n) && self.rng.below(10) > 0;
        let node = &mut self.nodes[n];
        if stuck || node.is_up_to_date() || !node.patience.ends(self.found.events) {
            return;
        }
        for branch in 0..self.nodes[n].branches.len() {
            for seat in self.last_asked(n, branch) {
                if self.nodes[n].is_silent(branch, seat.reign, seat.at) {
                    self.ask(seat, branch);
                }
            }
        }
    }

    /// Lost once in fifty, doubled once in a hundred, and nothing crosses a cut.
    fn send(&mut self, message: Message) {
        let (from, to) = match &message {
            Message::Ask { seat, .. } | Message::Overdraw { seat, .. } => (seat.owner, self.member(*seat)),
            Message::Votes { seat, .. } => (self.member(*seat), seat.owner),
            Message::AskClosing { seat, paper } => {
                let Slot::Closing { payee, .. } = paper.statement.slot else { unreachable!() };
                (self.index[&payee], self.member(*seat))
            }
            Message::Certified { from, to, .. } => (*from, *to),
        };
        let stopped = self.cut && from % 2 != to % 2;
        if stopped || self.rng.below(50) == 0 {
            self.found.lost += 1;
            // What is paid is told until it is known.
            match message {
                Message::Certified { .. } if stopped => self.held_up.push(message),
                Message::Certified { .. } => self.pending.push(message),
                _ => {}
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
            Message::Ask { seat, branch } => self.show(seat, branch),
            Message::Overdraw { seat, paper } => {
                if self.is_byzantine(self.member(seat)) {
                    let vote = self.blind(seat, paper);
                    self.send(Message::Votes { seat, votes: vec![vote] });
                } else {
                    let vote = self.vote(seat, &paper);
                    assert!(vote.is_none(), "S4: nobody honest lets an account owe more than its limit");
                }
            }
            Message::Votes { seat, votes } => {
                votes.into_iter().for_each(|(paper, signature)| self.voted(seat, paper, signature));
            }
            Message::AskClosing { seat, paper } => self.close(seat, paper),
            Message::Certified { to, certified, .. } => self.nodes[to].inbox.push_back(certified),
        }
    }

    /// A Byzantine witness signs whatever it is shown.
    fn blind(&self, seat: Seat, paper: Rc<Paper>) -> (Rc<Paper>, Signature) {
        let witness = &self.nodes[self.member(seat)];
        let signature = witness.keys.sign(Domain::Vote, &[&paper.vote.0]);
        (paper, signature)
    }

    fn show(&mut self, seat: Seat, branch: usize) {
        let (owner, witness) = (seat.owner, self.member(seat));
        let byzantine = self.is_byzantine(witness);
        if !byzantine && !self.adopt(seat) {
            return;
        }
        let node = &self.nodes[owner];
        // What it saw before, too, if that is not certified yet: its vote may have been lost, or it may stand on another branch.
        let next = self.nodes[witness].witness.fold(&node.keys.0).map_or(0, Fold::next);
        let from = if byzantine { node.certified } else { next.min(node.certified) };
        // Nobody changes the log while it is read.
        let papers = std::mem::take(&mut self.nodes[owner].branches[branch].papers);
        let shown = since(&papers, from).filter(|paper| paper.reign == seat.reign);
        let mut votes: Vec<(Rc<Paper>, Signature)> = if byzantine {
            shown.map(|paper| self.blind(seat, paper.clone())).collect()
        } else {
            shown.map_while(|paper| self.vote(seat, paper).map(|vote| (paper.clone(), vote))).collect()
        };
        self.nodes[owner].branches[branch].papers = papers;
        // Votes that are given at once mostly travel together.
        if self.rng.below(8) == 0 {
            for vote in votes.drain(..) {
                self.send(Message::Votes { seat, votes: vec![vote] });
            }
        }
        if !votes.is_empty() {
            self.send(Message::Votes { seat, votes });
        }
    }

    /// An honest witness is shown an entry; its vote, if it gives one.
    fn vote(&mut self, seat: Seat, paper: &Rc<Paper>) -> Option<Signature> {
        let (owner, witness) = (seat.owner, self.member(seat));
        let node = &self.nodes[owner];
        let (account, by, limit) = (node.keys.0, node.reigns[paper.reign].by, node.limit);
        let (signed, proven) = paper.signed().expect("a log has entries");
        let node = &mut self.nodes[witness];
        match node.witness.vote(signed, proven.as_ref(), paper.names().map(|set| &**set), limit) {
            // It took over by this change, and says so in the name of those after.
            Ok(voted) if voted.set != by => {
                assert!(matches!(signed.entry.act, Act::Renew { .. }), "it votes in the name that it is asked in");
            }
            Ok(voted) => {
                assert_eq!(voted.statement, paper.statement, "it votes for what it is shown");
                let disk = node.witness_disk.entry(owner).or_default();
                let leaves = paper.names().is_some_and(|set| set.index(&node.keys.0).is_none());
                if (leaves || matches!(signed.entry.act, Act::Checkpoint { .. })) && voted.saved.is_some() {
                    *disk = node.witness.snapshot(&account).into_iter().map(|saved| Kept::new(saved, paper)).collect();
                } else {
                    disk.extend(voted.saved.map(|saved| Kept::new(saved, paper)));
                }
                return Some(voted.signature);
            }
            Err(refusal) => self.refused(owner, witness, refusal),
        }
        None
    }

    /// An honest witness says no.
    fn refused(&mut self, owner: usize, witness: usize, refusal: Refusal) {
        let Refusal::Fork(fraud) = refusal else {
            self.found.refused += 1;
            return;
        };
        let guilty = fraud.check(&ANYBODY).expect("an honest witness shows what is true");
        assert!(guilty.owner && self.is_byzantine(self.index[&guilty.account]), "S3: the honest are never named");
        let disk = self.nodes[witness].witness_disk.entry(owner).or_default();
        disk.push(Kept::Saved(Box::new(Saved::Frozen(fraud))));
        self.condemned[owner] = true;
        self.found.owners += 1;
    }

    /// Whoever is to watch from a change on takes over; whether it has seen that change then.
    fn adopt(&mut self, seat: Seat) -> bool {
        let (owner, witness) = (&self.nodes[seat.owner], self.member(seat));
        let (reign, node) = (&owner.reigns[seat.reign], &self.nodes[witness]);
        let fold = node.witness.fold(&owner.keys.0);
        // It may have voted for another entry in the place of the change, and nothing after.
        let seen = fold.is_some_and(|fold| fold.next() > reign.begun + 1 || fold.witnesses() == reign.by);
        if seat.reign == 0 || seen || seat.reign + 1 < owner.reigns.len() {
            return seat.reign == 0 || seen;
        }
        let (handover, by) = (owner.handover.clone().expect("a later set came by a change"), reign.by);
        let before = owner.reigns[seat.reign - 1].set.clone();
        match self.nodes[witness].witness.adopt(handover.0.clone(), &handover.1, &before) {
            Ok(voted) => {
                assert_eq!(voted.set, by, "it says in the name of those after that it took over");
                if let Some(saved) = voted.saved {
                    self.nodes[witness].witness_disk.insert(seat.owner, vec![Kept::Saved(Box::new(saved))]);
                }
                true
            }
            Err(refusal) => {
                self.refused(seat.owner, witness, refusal);
                false
            }
        }
    }

    /// The owner hears a vote.
    fn voted(&mut self, Seat { owner, reign, at }: Seat, paper: Rc<Paper>, signature: Signature) {
        let node = &mut self.nodes[owner];
        let is_last = reign + 1 == node.reigns.len();
        if let Some(number) = paper.number().filter(|_| is_last) {
            let seen = &mut node.seen[usize::from(at)];
            *seen = (*seen).max(number + 1);
        }
        if node.record.has(&paper.statement) {
            return;
        }
        let set = node.reigns[reign].set.clone();
        let tally = node.tally(&paper).unwrap_or_else(|| {
            node.votes.push(Tally { vote: paper.vote, paper, votes: Vec::with_capacity(set.quorum()) });
            node.votes.len() - 1
        });
        let votes = &mut node.votes[tally].votes;
        if votes.iter().all(|vote| vote.0 != at) {
            votes.push((at, signature));
        }
        if votes.len() == set.quorum() {
            let Tally { paper, mut votes, .. } = node.votes.swap_remove(tally);
            votes.sort_unstable_by_key(|vote| vote.0);
            let certificate = Certificate { statement: paper.statement, set: node.reigns[reign].by, votes };
            let certified = Certified::new(certificate, paper, &set, &ANYBODY);
            self.certified(owner, certified);
        }
    }

    fn close(&mut self, seat: Seat, paper: Rc<Paper>) {
        let What::Closing(closing, consent) = &paper.what else { unreachable!() };
        let (owner, witness) = (seat.owner, self.member(seat));
        if self.is_byzantine(witness) {
            let vote = self.blind(seat, paper);
            return self.send(Message::Votes { seat, votes: vec![vote] });
        }
        let by = self.nodes[owner].reigns[seat.reign].by;
        let word = consent.as_ref().map_or(Word::Nobody, Word::Payee);
        let node = &mut self.nodes[witness];
        if let Ok(voted) = node.witness.close(closing, word, UnixTime(self.date)) {
            assert_eq!((voted.statement, voted.set), (paper.statement, by), "it votes for what it is shown");
            node.witness_disk.entry(owner).or_default().extend(voted.saved.map(|saved| Kept::new(saved, &paper)));
            self.send(Message::Votes { seat, votes: vec![(paper, voted.signature)] });
        }
    }

    /// A certificate is there: S1 and S3 are checked, and what it says becomes a fact.
    fn certified(&mut self, n: usize, certified: Rc<Certified>) {
        let node = &mut self.nodes[n];
        match node.record.standing(&certified.paper.statement, node.fold()) {
            Standing::Same => return,
            Standing::Against(other) => return self.expose(n, other, &certified),
            Standing::New => node.record.insert(certified.clone()),
        }
        if let Some(sets) = &self.changes {
            let Paper { statement, reign, .. } = &*certified.paper;
            let in_term = sets.may_certify(&node.keys.0, &node.reigns[*reign].set, &statement.slot);
            assert!(in_term || !node.is_watched_well, "S1: {statement:?} is certified outside of a set's term");
        }
        match &certified.paper.what {
            What::Entry(signed, _) => {
                let number = signed.entry.number;
                let own = |paper: &Rc<Paper>| paper.statement == certified.paper.statement;
                if node.branches[0].since(number).next().is_some_and(own) {
                    let before = node.certified;
                    while node.record.has_entry(node.certified) {
                        node.certified += 1;
                    }
                    // There is more to ask for than what they were silent about.
                    if node.certified > before {
                        node.patience = Patience::begun(self.found.events);
                    }
                }
                self.entered(n, signed, &certified);
            }
            What::Closing(closing, _) => {
                let to = self.index[&closing.payee];
                self.fact(n, to, closing.amount);
                self.nodes[n].inbox.push_back(certified.clone());
                if closing.amount > Credits(0) {
                    self.send(Message::Certified { from: n, to, certified: certified.clone() });
                }
            }
        }
    }

    /// A payment pays; a hold lets the payee work, who is given some ticks and then wants them certified.
    fn entered(&mut self, n: usize, signed: &Signed, certified: &Rc<Certified>) {
        match signed.entry.act {
            Act::Pay { payee, amount, .. } => {
                let to = self.index[&payee];
                self.fact(n, to, amount);
                self.send(Message::Certified { from: n, to, certified: certified.clone() });
            }
            Act::Hold(terms) => {
                let Some(at) = self.nodes[n].sessions.iter().position(|session| session.1 == terms) else { return };
                let (mut chain, _) = self.nodes[n].sessions.swap_remove(at);
                let mut meter = Meter::new(terms);
                for _ in 0..self.rng.below(9) {
                    meter.tick(chain.tick().unwrap()).unwrap();
                }
                let (to, closing) = (self.index[&terms.payee], meter.closing(signed.entry.account));
                let consent = closing.sign(&self.nodes[to].keys);
                let reign = certified.paper.reign;
                let paper = Paper::closing(closing, Some(consent), (reign, &self.nodes[n].reigns[reign].by));
                self.nodes[to].closings.push_back((n, paper, Patience::default()));
            }
            Act::Checkpoint { .. } => self.settle(n, signed.entry.number),
            Act::Renew { .. } => self.follow(n, signed, certified),
            _ => {}
        }
    }

    /// A checkpoint is certified: what lies before is settled, and only kept for witnesses that lack it.
    fn settle(&mut self, n: usize, number: u64) {
        self.found.checkpoints += 1;
        let node = &mut self.nodes[n];
        if node.is_watched_well {
            node.record.check_chain(number);
        }
        let first = node.branches[0].log.prune(node.seen.iter().copied().min().unwrap_or(0));
        for papers in [&mut node.branches[0].papers, &mut node.disk.1] {
            while papers.front().and_then(|paper| paper.number()).is_some_and(|number| number < first) {
                papers.pop_front();
            }
        }
        let (record, fold) = (&mut node.record, node.branches[0].log.fold());
        let kept = record.settle(number, first, fold);
        // Votes by which there may still be a certificate: Byzantine ones alone come to none for what nobody can be shown.
        let (reigns, byzantine) = (&node.reigns, self.byzantine);
        node.votes.retain(|tally| {
            let may_be = match tally.paper.statement.slot {
                Slot::Entry(number) => number >= kept,
                Slot::Closing { payee, turn } => fold.terms(&payee, turn).is_some(),
            };
            let members = &reigns[tally.paper.reign].members;
            may_be || tally.votes.iter().any(|vote| members[usize::from(vote.0)] >= byzantine)
        });
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
        self.check_debt(n);
        self.postings += 1;
    }

    fn check_debt(&self, n: usize) {
        if self.nodes[n].is_watched_well {
            let owed = -i128::from(self.book.balance(self.accounts[n]));
            assert!(owed <= i128::from(self.nodes[n].limit.0), "S4: {n} owes {owed}");
        }
    }

    /// S2 and S4 for all of them, from the balances alone; and that no honest node may spend more by its log than by all facts.
    fn check_all(&self) {
        assert_eq!(self.book.sum(), 0, "S2");
        for (n, node) in self.nodes.iter().enumerate() {
            self.check_debt(n);
            let fold = node.fold();
            let by_log = i128::from(fold.balance()) - i128::from(fold.held().0);
            let by_facts = i128::from(self.book.balance(self.accounts[n]));
            assert!(
                self.is_byzantine(n) || by_log <= by_facts,
                "S4: by its log {n} has {by_log}, by all facts {by_facts}"
            );
        }
    }

    fn spread_closing(&mut self, owner: usize, paper: &Rc<Paper>) {
        for seat in self.seats(owner, paper.reign) {
            self.send(Message::AskClosing { seat, paper: paper.clone() });
        }
    }

    /// The payee counts what it was paid; the payer lets go of what was held. Not while the log waits for its checkpoint.
    fn receive(&mut self, n: usize, certified: &Rc<Certified>) -> bool {
        let Proven { payer, payee, turn, amount, statement } = certified.proven.expect("only what pays is told");
        let act = if payer == self.nodes[n].keys.0 {
            Act::Release { payee, turn, amount, statement }
        } else {
            Act::Receive { payer, turn, amount, statement }
        };
        let before = self.found.refused;
        self.write(n, 0, act, None, With::Certified(certified.clone())) || self.found.refused > before
    }

    /// S3: what should not be names more than f, all of them Byzantine; S1: and only where more than f are.
    fn expose(&mut self, n: usize, other: Option<Rc<Certified>>, certified: &Certified) {
        assert!(!self.nodes[n].is_watched_well, "S1: {:?}", certified.paper.statement);
        let Some(other) = other else { return };
        let set = |paper: &Paper| (*self.nodes[n].reigns[paper.reign].set).clone();
        let (lower_set, upper_set) = (set(&other.paper), set(&certified.paper));
        let path = certified.paper.signed().map(|(signed, _)| signed.entry.clone()).into_iter().collect();
        let (lower, upper) = (other.certificate.clone(), certified.certificate.clone());
        let fraud = Fraud::Double { lower, lower_set, upper, upper_set, path };
        let decoded = Fraud::decode(&fraud.encode()).unwrap();
        let guilty = decoded.check(&ANYBODY).expect("two certificates are a proof");
        assert!(guilty.witnesses.len() > usize::from(FAULTS), "S3");
        assert!(guilty.witnesses.iter().all(|id| self.is_byzantine(self.index[id])), "S3: the honest are never named");
        self.found.double += 1;
    }

    /// The power goes at somebody's, and comes back: it knows what it kept.
    fn crash(&mut self) {
        let n = self.rng.below(NODES as u32) as usize;
        if !self.is_byzantine(n) {
            self.found.crashes += 1;
            self.nodes[n].crash();
        }
    }
}
