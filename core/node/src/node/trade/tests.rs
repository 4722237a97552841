//! A few nodes that trade with each other, without lines or membership: what one says the other hears.

mod alarm;
mod audit;
mod crowd;
mod dispute;
mod over;
mod sets;
mod votes;
mod vouch;
mod withhold;

use alloc::{collections::VecDeque, format, string::String, vec};

use super::{
    message::{Evidence, HANDED_MAX, Handed, MODELS_MAX, Paid, Sighting},
    *,
};
use crate::{
    economy::{
        governance::{
            DEPOSIT, Delegation, Key as Parameter, Proposal, Value,
            parameter::Category,
            proposal::Band,
            vote::{self as urn, Choice, Opening, Promise, Right, Snapshot},
        },
        ledger::{
            Act, Entry, Fraud, Signed, Terms,
            entry::{COMMONS, Statement},
        },
        tiers::{Tier, Used, Work},
        witness::{Certificate, Renewal},
    },
    kit::{Class, Signature, laws},
    trust::{
        anomaly::Sign,
        breaker,
        identity::Identity,
        verify::{commit::BUCKETS, sequential::Calibration},
    },
    work::schedule::worker::{End, Key},
};

const COUNT: usize = 9;
const MODEL: u64 = 77;

fn keys(n: usize) -> Identity {
    Identity::new([n as u8 + 1; 32])
}

fn calibration() -> Calibration {
    let spread = |from: usize| core::array::from_fn(|at| if (from..from + 8).contains(&at) { 500 } else { 0 });
    Calibration::new(&spread(0), &spread(BUCKETS - 8)).unwrap()
}

fn config() -> Config {
    let seeds = (0..COUNT).map(|n| (keys(n).key(), 1)).collect();
    let mut config = Config {
        faults: 1,
        seeds,
        models: vec![(MODEL, Size::Medium)],
        keys: vec![tiers::Key { number: 1, tier: Tier::Enterprise, cap: None }],
        calibration: Some(calibration()),
        ..Config::default()
    };
    config.lent.pool = Credits(1000 * Credits::ONE.0);
    config
}

fn birth(n: usize) -> Birth<Identity> {
    Birth { keys: keys(n), seed: n as u64, at: UnixTime(1_700_000_000) }
}

struct Town {
    trades: Vec<Trade<Identity>>,
    lines: Vec<Vec<Line>>,
    heard: Vec<(usize, Instant, Input)>,
    replies: Vec<(usize, Answer)>,
    events: Vec<(usize, Event)>,
    queue: VecDeque<(usize, Input)>,
    now: Instant,
    /// Whose power is gone, and when those began that came back.
    away: Option<usize>,
    born: [Instant; COUNT],
    /// Who left for good.
    gone: Vec<usize>,
    /// So many auditors that are asked next find everything wrong; and how many were asked.
    lies: usize,
    audits: usize,
    /// Whether all others say nothing.
    silent: bool,
    /// Whose power goes as soon as it has kept so many lines, before anything else of that step leaves.
    crash: Option<(usize, usize)>,
    /// What auditors say of an answer of so many blocks.
    says: Vec<Fingerprint>,
    /// Who writes something else from so many tokens on.
    spoils: Option<(usize, u32)>,
    /// Blocks that somebody was told of that they are paid, or that this is withheld.
    answered: usize,
    /// Hosts whose engine writes nothing, and whose words get lost.
    stuck: Vec<usize>,
    mute: Vec<usize>,
    /// What such an engine is at, and whether it does not even hear that it is to stop.
    hanging: Vec<Key>,
    deaf: bool,
}

impl Town {
    fn new(config: &Config) -> Self {
        Self::with(|_| config.clone())
    }

    fn with(config: impl Fn(usize) -> Config) -> Self {
        let trades = (0..COUNT).map(|n| Trade::new(config(n), birth(n))).collect();
        let peer = |n: usize| {
            let mut models = Bloom::default();
            config(n).models.iter().for_each(|served| models.insert(served.0));
            Peer { id: keys(n).key(), models }
        };
        let peers: Vec<Peer> = (0..COUNT).map(peer).collect();
        let others = |n: usize| peers.iter().filter(|peer| peer.id != keys(n).key()).copied().collect();
        let queue = (0..COUNT).map(|n| (n, Input::Peers(others(n)))).collect();
        Self {
            trades,
            lines: vec![vec![]; COUNT],
            heard: vec![],
            replies: vec![],
            events: vec![],
            queue,
            now: Instant::default(),
            away: None,
            born: [Instant::default(); COUNT],
            gone: vec![],
            lies: 0,
            audits: 0,
            silent: false,
            crash: None,
            says: vec![],
            spoils: None,
            answered: 0,
            stuck: vec![],
            mute: vec![],
            hanging: vec![],
            deaf: false,
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.step(end) {}
    }

    /// One thing that somebody hears, or one tick; whether there is more until `end`.
    fn step(&mut self, end: Instant) -> bool {
        let mut out = vec![];
        let n = if let Some((n, input)) = self.queue.pop_front() {
            if self.away == Some(n) || self.gone.contains(&n) {
                return true;
            }
            let now = self.local(n);
            while self.trades[n].deadline().is_some_and(|due| due <= now) {
                self.trades[n].tick(now, &mut out);
            }
            self.heard.push((n, now, input.clone()));
            self.trades[n].handle(now, input, &mut out);
            n
        } else {
            let due = |n: usize| self.born[n] + self.trades[n].deadline().unwrap().since(Instant::default());
            let there = |n: &usize| self.away != Some(*n) && !self.gone.contains(n);
            let n = (0..COUNT).filter(there).min_by_key(|n| due(*n)).unwrap();
            if due(n) > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(due(n));
            let now = self.local(n);
            self.trades[n].tick(now, &mut out);
            assert!(self.trades[n].deadline().unwrap() > now, "progress");
            n
        };
        let saves = |effect: &Effect| matches!(effect, Effect::Save(_));
        let kept = self.lines[n].len() + out.iter().filter(|effect| saves(effect)).count();
        let crashes = self.crash.is_some_and(|(who, lines)| who == n && kept >= lines);
        out.into_iter().filter(|effect| !crashes || saves(effect)).for_each(|effect| self.perform(n, effect));
        if crashes {
            self.crash = None;
            let config = self.trades[n].config.clone();
            let at = UnixTime(1_700_000_000 + self.now.since(Instant::default()).as_secs());
            self.wake(n, Trade::restore(config, Birth { at, ..birth(n) }, self.lines[n].clone()));
        }
        true
    }

    /// What time it is for `n`.
    fn local(&self, n: usize) -> Instant {
        Instant::from_micros(self.now.since(self.born[n]).as_micros() as u64)
    }

    /// `n` begins again, and sees who is there.
    fn wake(&mut self, n: usize, trade: Trade<Identity>) {
        (self.trades[n], self.born[n]) = (trade, self.now);
        let models = self.trades[n].config.models.iter().fold(Bloom::default(), |mut models, model| {
            models.insert(model.0);
            models
        });
        let others = (0..COUNT).filter(|other| *other != n).map(|other| Peer { id: keys(other).key(), models });
        self.queue.push_back((n, Input::Peers(others.collect())));
    }

    /// `n` leaves for good, and the others hear of it.
    fn leave(&mut self, n: usize) {
        self.gone.push(n);
        let there: Vec<usize> = (0..COUNT).filter(|other| !self.gone.contains(other)).collect();
        for to in &there {
            let known = self.trades[*to].peers.iter();
            let peers = known.filter(|peer| there.iter().any(|n| keys(*n).key() == peer.id)).copied().collect();
            self.queue.push_back((*to, Input::Peers(peers)));
        }
    }

    fn perform(&mut self, n: usize, effect: Effect) {
        let me = keys(n).key();
        match effect {
            Effect::Send { .. } if self.mute.contains(&n) => {}
            Effect::Run(Job::Write { key, .. }) if self.stuck.contains(&n) => self.hanging.push(key),
            Effect::Send { to, message } => {
                let to = (0..COUNT).find(|other| keys(*other).key() == to).unwrap();
                self.answered += usize::from(matches!(message, Message::Tick { .. } | Message::Withhold { .. }));
                // Whatever is said goes over a line as bytes.
                let message = Message::decode(&message.encode()).unwrap();
                self.queue.push_back((to, Input::Heard { from: me, message }));
            }
            Effect::Reply { answer, .. } => self.replies.push((n, answer)),
            Effect::Save(line) => self.lines[n].push(line),
            Effect::Tell(event) => self.events.push((n, event)),
            Effect::Run(Job::Write { key, from, limit, .. }) => {
                let blocks = (from..limit).step_by(32).map(|at| (at + 32).min(limit));
                blocks.for_each(|tokens| {
                    let spoilt = self.spoils.is_some_and(|(who, from)| who == n && tokens > from);
                    let block = if spoilt { bad_block() } else { block() };
                    self.queue.push_back((n, Input::Worked(Worked::Wrote { key, tokens, block })));
                });
                let ended = Worked::Ended { key, tokens: limit, end: End::Done };
                self.queue.push_back((n, Input::Worked(ended)));
            }
            Effect::Run(Job::Stop(key)) => {
                // An engine that is through with a task says nothing more of it.
                let of_it = |what: &(usize, Input)| matches!(what.1, Input::Worked(Worked::Wrote { key: of, .. } | Worked::Ended { key: of, .. }) if of == key);
                let before = self.queue.len() + self.hanging.len();
                self.queue.retain(|what| !of_it(what));
                self.hanging.retain(|hanging| *hanging != key || self.deaf);
                if self.queue.len() + self.hanging.len() < before {
                    let ended = Worked::Ended { key, tokens: 0, end: End::Interrupted };
                    self.queue.push_back((n, Input::Worked(ended)));
                }
            }
            Effect::Run(Job::Audit { client, task, blocks, .. }) => {
                self.audits += 1;
                if self.silent && self.lies == 0 {
                    return;
                }
                let seen = if self.lies > 0 { bad_block() } else { block() }.fingerprint;
                self.lies = self.lies.saturating_sub(1);
                let said = self.says.len() == blocks as usize;
                let fingerprints = if said { self.says.clone() } else { vec![seen; blocks as usize] };
                self.queue.push_back((n, Input::Worked(Worked::Audited { client, task, fingerprints })));
            }
            Effect::Run(Job::Simulate { id, .. }) => {
                self.queue.push_back((n, Input::Worked(Worked::Simulated { id, harmless: true })));
            }
            Effect::Run(Job::Hand { .. }) => {}
        }
    }

    fn ask(&mut self, n: usize, ask: Ask) {
        self.queue.push_back((n, Input::Ask { from: 5, ask }));
    }
}

fn block() -> Block {
    Block { fingerprint: Fingerprint([700; 16]), tokens: [3; 16] }
}

fn bad_block() -> Block {
    Block { fingerprint: Fingerprint([-700; 16]), ..block() }
}

fn wish(tokens_out: u64) -> Wish {
    let order = Order { work: Work::Inference, size: Size::Medium, class: Class::Standard, tokens_in: 40, tokens_out };
    Wish { model: MODEL, order, price_max: 2_000_000, prefix: 9, wait: Duration::from_secs(20), key: 1 }
}

#[test]
fn a_task_is_quoted_held_done_audited_paid_and_remembered() {
    let mut town = Town::new(&config());
    town.run(12);
    assert!(town.trades.iter().all(|trade| trade.account().next() == 1 && trade.limit() > Credits(0)));
    town.ask(0, Ask::Work(wish(100)));
    town.run(30);
    let [(0, Answer::Worked { tokens: 100, paid, .. })] = town.replies[..] else { panic!("{:?}", town.replies) };
    // 40 tokens read and 100 written are 110 written, in four ticks; each is rounded up.
    assert_eq!(paid, Credits(4 * 27_500));
    let balances: Vec<i64> = town.trades.iter().map(|trade| trade.account().balance()).collect();
    assert_eq!((balances[0], balances.iter().sum::<i64>()), (-110_000, 0), "{balances:?}");
    assert_eq!(town.trades[0].account().held(), Credits(0));
    let worker = balances.iter().position(|balance| *balance == 110_000).unwrap();
    let told = |what: &dyn Fn(&Event) -> bool| town.events.iter().filter(|event| what(&event.1)).count();
    assert_eq!(told(&|event: &Event| matches!(event, Event::Ticked { .. })), 4);
    assert_eq!(
        told(&|event: &Event| matches!(event, Event::Charged(charge) if (charge.from, charge.to) == (0, 100))),
        1
    );
    assert_eq!(told(&|event: &Event| matches!(event, Event::Audited { right: true, .. })), 1);
    assert_eq!(told(&|event: &Event| matches!(event, Event::Settled(closing) if closing.amount == paid)), 1);
    let local = town.trades[0].reputation().local(&keys(worker).key()).unwrap();
    assert_eq!(local.tasks(), 1);
}

#[test]
fn what_is_kept_brings_all_back_that_must_outlive_a_loss_of_power() {
    let mut town = Town::new(&config());
    town.run(12);
    (0..6).for_each(|n| town.ask(n % 3, Ask::Work(wish(64))));
    town.run(60);
    for n in 0..COUNT {
        let trade = &town.trades[n];
        let bytes: Vec<Vec<u8>> = town.lines[n].iter().map(|line| postcard::to_allocvec(line).unwrap()).collect();
        let lines = bytes.iter().map(|bytes| postcard::from_bytes(bytes).unwrap());
        let again = Trade::restore(config(), birth(n), lines);
        assert_eq!(again.account(), trade.account());
        assert_eq!(again.set(), trade.set());
        assert_eq!((&again.witness, &again.sets), (&trade.witness, &trade.sets));
        assert_eq!(again.lines, trade.lines);
        // Any first part of it is a state that there was: what is torn is passed over.
        let torn = town.lines[n].iter().cloned().enumerate().map(|(at, mut line)| {
            if at % 5 == 4 {
                line.message.truncate(20);
            }
            line
        });
        let _ = Trade::restore(config(), birth(n), torn);
    }
}

#[test]
fn a_witness_that_slept_over_a_checkpoint_is_shown_what_it_missed_and_votes_again() {
    let mut town = Town::new(&config());
    town.run(12);
    let owner = keys(0).key();
    let watchers: Vec<usize> = {
        let set = town.trades[0].set().unwrap().clone();
        (0..COUNT).filter(|n| set.index(&keys(*n).key()).is_some()).collect()
    };
    let seen = |town: &Town, n: usize| town.trades[n].witness.fold(&owner).unwrap().next();
    town.away = Some(watchers[0]);
    let before = seen(&town, watchers[0]);
    town.ask(0, Ask::Work(wish(64)));
    town.run(60);
    // It is not due yet, but it may be written at any time.
    let now = town.local(0);
    let (trade, mut out) = (&mut town.trades[0], vec![]);
    assert_eq!(trade.pen.certified, trade.account().next());
    trade.checkpoint(now, &mut out);
    out.into_iter().for_each(|effect| town.perform(0, effect));
    town.run(30);
    let log = &town.trades[0].pen.log;
    assert!(log.fold().since() > before, "certified by the others");
    assert_eq!(log.first(), before, "what one lacks is kept, and no more");
    // The one is back, another goes: without what was missed no quorum would be left.
    town.away = Some(watchers[1]);
    for _ in 0..2 {
        town.ask(0, Ask::Work(wish(64)));
        town.run(60);
    }
    let (pen, next) = (&town.trades[0].pen, town.trades[0].account().next());
    assert_eq!((pen.certified, seen(&town, watchers[0])), (next, next));
    assert!(next > pen.fold().since() + 2, "the account goes on");
}

/// An owner that begins again does not know who has seen what, and finds out without showing all of it.
#[test]
fn an_owner_that_forgot_what_its_witnesses_saw_is_told() {
    let mut town = Town::new(&config());
    town.run(12);
    for _ in 0..2 {
        town.ask(0, Ask::Work(wish(64)));
        town.run(60);
    }
    let again = Trade::restore(config(), birth(0), town.lines[0].clone());
    town.wake(0, again);
    town.heard.clear();
    let before = town.trades[0].account().next();
    town.run(12);
    town.ask(0, Ask::Work(wish(64)));
    town.run(60);
    assert!(town.trades[0].account().next() > before);
    let old = |heard: &&(usize, Instant, Input)| matches!(&heard.2, Input::Heard { from, message: Message::Show { entries, .. } } if *from == keys(0).key() && entries[0].0.entry.number + 1 < before);
    assert_eq!(town.heard.iter().filter(old).count(), 0);
}

#[test]
fn who_cannot_pay_is_told_so_and_nothing_happens() {
    let mut town = Town::new(&config());
    town.ask(0, Ask::Work(wish(64)));
    town.run(12);
    let [(0, Answer::Unable { why: Why::Short { .. }, .. })] = town.replies[..] else { panic!("{:?}", town.replies) };
    town.ask(0, Ask::Work(wish(1 << 33)));
    town.run(1);
    assert!(matches!(town.replies[1], (0, Answer::Unable { why: Why::Long, .. })));
    town.ask(0, Ask::Work(Wish { model: 5, ..wish(64) }));
    town.run(30);
    let nobody = |reply: &(usize, Answer)| {
        matches!(reply.1, Answer::Unable { why: Why::Work { why: client::Why::Nobody, price: 0, .. }, .. })
    };
    assert!(nobody(&town.replies[2]));
    assert_eq!(town.trades[0].account().balance(), 0);
}

#[test]
fn who_is_barred_stays_so_over_a_loss_of_power_until_it_is_free() {
    let config =
        Config { quarantine: quarantine::Config { passes_needed: 1, ..quarantine::Config::default() }, ..config() };
    let mut town = Town::new(&config);
    town.run(12);
    let peer = keys(3).key();
    let hears = |town: &mut Town, input| {
        let (now, mut out) = (town.local(0), vec![]);
        town.trades[0].quarantine_hears(now, input, &mut out);
        out.into_iter().for_each(|effect| town.perform(0, effect));
    };
    let again = |town: &Town, seconds: u64| {
        let born = Birth { at: UnixTime(birth(0).at.0 + seconds), ..birth(0) };
        let trade = Trade::restore(config.clone(), born, town.lines[0].clone());
        (trade.quarantine().allows(&peer), trade.quarantine().watches(&peer))
    };
    let weight = |town: &Town| {
        let list = town.trades[0].candidates(town.trades[0].date(town.local(0)), MODEL);
        list.iter().find(|candidate| candidate.worker == peer).map(|candidate| candidate.trust)
    };
    let whole = weight(&town).unwrap();
    hears(&mut town, quarantine::Input::Failed(peer));
    assert_eq!(weight(&town), None);
    assert_eq!((again(&town, 3_611), again(&town, 3_613)), ((false, true), (true, true)), "an hour, then a trial");
    town.run(3_700);
    assert_eq!(weight(&town), Some(whole / 4), "a trial");
    hears(&mut town, quarantine::Input::Passed(peer));
    assert_eq!(weight(&town), Some(whole));
    assert_eq!(again(&town, 4_000), (true, false));
}

/// How often host `n` heard such a word.
fn heard(town: &Town, n: usize, which: fn(&Message) -> bool) -> usize {
    let such = |input: &Input| matches!(input, Input::Heard { message, .. } if which(message));
    town.heard.iter().filter(|heard| heard.0 == n && such(&heard.2)).count()
}

/// How often host `n` was asked for a place.
fn asked(town: &Town, n: usize) -> usize {
    heard(town, n, |message| matches!(message, Message::Reserve { .. }))
}

/// Tasks that host `n` was to begin with.
fn given(town: &Town, n: usize) -> usize {
    heard(town, n, |message| matches!(message, Message::Held { .. }))
}

#[test]
fn who_asks_for_more_than_a_key_allows_is_refused_before_anybody_is_asked() {
    let key = |number, tier, cap| tiers::Key { number, tier, cap };
    let cap = Some(Credits(300_000));
    let config = Config { keys: vec![key(1, Tier::Enterprise, None), key(2, Tier::Pro, cap)], ..config() };
    let mut town = Town::new(&config);
    town.run(12);
    let mut table = String::new();
    // Seconds since the last attempt, key, tokens.
    let mut attempt = |town: &mut Town, line: &str| {
        let n: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        town.run(n[0]);
        let before: usize = (0..COUNT).map(|n| asked(town, n)).sum();
        town.ask(0, Ask::Work(Wish { key: n[1], ..wish(n[2]) }));
        town.run(5);
        let workers = (0..COUNT).map(|n| asked(town, n)).sum::<usize>() - before;
        let outcome = match town.replies.pop().unwrap().1 {
            Answer::Worked { paid, .. } => format!("done for {paid}"),
            Answer::Unable { why: Why::Quota(error), .. } => format!("{error}"),
            other => format!("{other:?}"),
        };
        table += &format!("{line}: {outcome}; {workers} asked\n");
    };
    for line in ["0 1 100", "0 2 16384", "0 2 100", "0 2 100", "0 2 64", "0 2 64"] {
        attempt(&mut town, line);
    }
    // What was spent is spent after a loss of power, too.
    town.trades[0] = Trade::restore(config.clone(), birth(0), town.lines[0].iter().cloned());
    let peers = town.heard.iter().find(|heard| heard.0 == 0).unwrap().2.clone();
    town.queue.push_back((0, peers));
    for line in ["9 2 64", "0 1 64", "0 9 2048", "0 9 32", "0 9 32", "0 9 32", "0 9 32", "0 9 32", "0 9 32", "30 9 32"]
    {
        attempt(&mut town, line);
    }
    assert_eq!(
        table,
        "0 1 100: done for 0.11; 2 asked\n\
         0 2 16384: this tier allows 16384 tokens a request; ask for fewer; 0 asked\n\
         0 2 100: done for 0.11; 2 asked\n\
         0 2 100: only 0.19 credits are left of this key's cap; 0 asked\n\
         0 2 64: done for 0.074; 2 asked\n\
         0 2 64: only 0.116 credits are left of this key's cap; 0 asked\n\
         9 2 64: only 0.116 credits are left of this key's cap; 0 asked\n\
         0 1 64: done for 0.074; 2 asked\n\
         0 9 2048: this tier allows 2048 tokens a request; ask for fewer; 0 asked\n\
         0 9 32: done for 0.042; 2 asked\n\
         0 9 32: done for 0.042; 2 asked\n\
         0 9 32: done for 0.042; 2 asked\n\
         0 9 32: done for 0.042; 2 asked\n\
         0 9 32: done for 0.042; 2 asked\n\
         0 9 32: too many requests in a minute; ask again at 1700000126; 0 asked\n\
         30 9 32: done for 0.042; 2 asked\n"
    );
}

#[test]
fn an_idle_worker_takes_over_what_waits_for_another_and_each_task_is_charged_once() {
    let serves = |n| if n == 1 || n == 2 { vec![(MODEL, Size::Medium)] } else { vec![] };
    let mut of = config();
    (of.client.choices, of.client.kept, of.worker.slots) = (1, 1, 4);
    let mut town = Town::with(|n| Config { models: serves(n), ..of.clone() });
    town.run(12);
    // One of the two accepts work and does none; four tasks at a time are lost with it, until their clients lose patience.
    town.stuck = vec![1];
    (0..60).for_each(|at| town.ask(3 + at % 6, Ask::Work(Wish { prefix: at as u64, ..wish(64) })));
    town.run(9);
    let done = town.replies.iter().filter(|reply| matches!(reply.1, Answer::Worked { tokens: 64, .. })).count();
    let handed = town.events.iter().filter_map(|event| match event.1 {
        Event::Handed { thief, places } if (event.0, thief) == (1, keys(2).key()) => Some(places as usize),
        _ => None,
    });
    let (handed, waited) = (handed.sum::<usize>(), asked(&town, 1).saturating_sub(4));
    assert!(waited > 2, "{waited} had to wait");
    assert_eq!((done, handed), (56, waited), "all but the four that it began");
    let charged = town.events.iter().filter_map(|event| match event.1 {
        Event::Charged(charge) => Some((event.0, charge.lease.task, charge.from, charge.to)),
        _ => None,
    });
    let charged: Vec<_> = charged.collect();
    let tasks: alloc::collections::BTreeSet<_> = charged.iter().map(|charge| (charge.0, charge.1)).collect();
    assert_eq!((charged.len(), tasks.len()), (56, 56));
    assert!(charged.iter().all(|charge| (charge.2, charge.3) == (0, 64)));
}

/// Only host 1 works, and its engine writes only what it is told to.
fn by_hand() -> Town {
    let mut town =
        Town::with(|n| Config { models: if n == 1 { vec![(MODEL, Size::Medium)] } else { vec![] }, ..config() });
    town.run(12);
    town.stuck = vec![1];
    town
}

/// The engine of host 1 writes a block for the task of `client`, up to token `tokens`.
fn write(town: &mut Town, client: usize, tokens: u32) {
    let client = keys(client).key();
    let key = *town.trades[1].guests.keys().find(|key| key.0 == client).unwrap();
    town.queue.push_back((1, Input::Worked(Worked::Wrote { key, tokens, block: block() })));
    town.run(1);
}

#[test]
fn the_urgent_interrupt_at_a_token_and_what_was_begun_goes_on_and_is_paid_once() {
    let mut town = by_hand();
    let of = |class| Wish { order: Order { class, ..wish(64).order }, ..wish(64) };
    town.ask(3, Ask::Work(of(Class::Batch)));
    town.run(2);
    write(&mut town, 3, 32);
    town.stuck = vec![];
    town.ask(4, Ask::Work(of(Class::Realtime)));
    town.run(5);
    let done: Vec<usize> = town.replies.iter().map(|reply| reply.0).collect();
    assert_eq!(done, [4, 3], "{:?}", town.replies);
    let charges = town.events.iter().filter_map(|event| match event.1 {
        Event::Charged(charge) => Some((event.0, charge.lease.epoch, charge.from, charge.to)),
        _ => None,
    });
    assert_eq!(charges.collect::<Vec<_>>(), [(4, 1, 0, 64), (3, 1, 0, 64)]);
    let ticks = |n| town.events.iter().filter(|event| event.0 == n && matches!(event.1, Event::Ticked { .. })).count();
    assert_eq!((ticks(3), ticks(4)), (2, 2));
}

#[test]
fn what_nobody_wants_any_more_is_stopped_and_paid_as_far_as_it_came() {
    let mut town = by_hand();
    town.ask(3, Ask::Work(wish(96)));
    town.run(2);
    write(&mut town, 3, 32);
    town.ask(3, Ask::Cancel);
    town.run(5);
    let [(3, Answer::Unable { why: Why::Cancelled, paid, .. })] = town.replies[..] else {
        panic!("{:?}", town.replies)
    };
    assert!(paid > Credits(0) && town.trades[1].guests.is_empty() && town.trades[3].tasks.is_empty());
    assert_eq!(
        (town.trades[1].account().balance(), town.trades[3].account().balance()),
        (paid.0 as i64, -(paid.0 as i64))
    );
    assert_eq!(town.trades[3].account().held(), Credits(0));
    town.ask(3, Ask::Cancel);
    town.run(1);
    assert_eq!(town.replies.len(), 1, "there is nothing to stop");
}

#[test]
fn what_is_too_much_is_refused_with_a_price_and_whoever_asked_is_told() {
    let mut of = config();
    (of.worker.queue.limits, of.client.tries) = ([1; 4], 1);
    let serves = |n| if n == 1 { vec![(MODEL, Size::Medium)] } else { vec![] };
    let mut town = Town::with(|n| Config { models: serves(n), ..of.clone() });
    town.run(12);
    town.stuck = vec![1];
    for n in 3..6 {
        town.ask(n, Ask::Work(Wish { price_max: 1_500_000, ..wish(64) }));
        town.run(1);
    }
    let [(5, Answer::Unable { why: Why::Work { why: client::Why::Refused, price, after }, .. })] = town.replies[..]
    else {
        panic!("{:?}", town.replies)
    };
    assert_eq!(price, 4_000_000, "one works, one waits, and that is all that may");
    assert!(after >= Duration::from_millis(100));
}

#[test]
fn places_are_handed_to_whom_they_may_be_and_taken_from_whom_was_asked() {
    let mut town = Town::new(&config());
    town.run(3);
    let (thief, client, victim) = (keys(4).key(), keys(5).key(), &mut town.trades[1]);
    let mut out = vec![];
    let hear = |victim: &mut Trade<Identity>, from, message, out: &mut Vec<Effect>| {
        out.clear();
        victim.handle(Instant::from_millis(3_000), Input::Heard { from, message }, out);
        out.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count()
    };
    let reserve = |task| Message::Reserve { task, model: MODEL, order: wish(64).order, price_max: 4_000_000 };
    assert_eq!((0..4).map(|task| hear(victim, client, reserve(task), &mut out)).sum::<usize>(), 5, "quotes and a call");
    let steal = |models: &[u64]| Message::Steal { room: 9, models: models.to_vec() };
    victim.reputation.convict(thief);
    assert_eq!(hear(victim, thief, steal(&[MODEL]), &mut out), 0, "whoever is convicted gets nothing");
    let other = keys(6).key();
    assert_eq!(hear(victim, other, steal(&[MODEL + 1]), &mut out), 0, "there is nothing of that model");
    assert_eq!(hear(victim, other, steal(&[MODEL]), &mut out), 3, "two clients hear of it");
    let Some(Effect::Send { to, message: Message::Hand(places) }) = out.pop() else { panic!("{out:?}") };
    assert_eq!((to, places.len(), places[0].hops), (other, 2, 1));
    // Nobody asked for these.
    let before = town.trades[6].clone();
    let taker = &mut town.trades[6];
    taker.begged = Some(keys(2).key());
    assert_eq!(hear(taker, keys(1).key(), Message::Hand(places.clone()), &mut out), 0);
    assert_eq!(taker.guests, before.guests);
    taker.begged = Some(keys(1).key());
    assert_eq!(hear(taker, keys(1).key(), Message::Hand(places), &mut out), 3, "two quotes, and the first is called");
    assert_eq!(taker.guests.len(), 2);
}

/// Only hosts 1 and 2 serve the model, and one of them is asked at a time.
fn two_workers() -> Town {
    let serves = |n| if n == 1 || n == 2 { vec![(MODEL, Size::Medium)] } else { vec![] };
    let mut of = config();
    (of.client.choices, of.client.kept, of.worker.idle) = (1, 1, None);
    let mut town = Town::with(|n| Config { models: serves(n), ..of.clone() });
    town.run(12);
    town
}

/// Host 0 wishes for so many tasks, one every `seconds`: what host 1 counts more than before, and how many were served.
fn wish_in_turn(town: &mut Town, tasks: usize, seconds: u64, count: fn(&Town, usize) -> usize) -> (usize, usize) {
    let before = (count(town, 1), town.replies.len());
    for at in 0..tasks {
        let prefix = (town.heard.len() * 64 + at) as u64;
        town.ask(0, Ask::Work(Wish { prefix, ..wish(64) }));
        town.run(seconds);
    }
    town.run(4);
    (count(town, 1) - before.0, town.replies.len() - before.1)
}

#[test]
fn who_hangs_for_a_minute_is_asked_seldom_and_gets_work_again() {
    let mut town = two_workers();
    town.mute = vec![1];
    let each = |town: &mut Town, tasks, seconds| wish_in_turn(town, tasks, seconds, asked);
    while !town.events.iter().any(|event| event.1 == Event::Rested(keys(1).key())) {
        assert!(asked(&town, 1) < 3, "three failures are enough");
        each(&mut town, 1, 1);
    }
    assert_eq!(each(&mut town, 6, 4), (0, 6), "it rests for half a minute");
    town.run(5);
    assert_eq!(each(&mut town, 60, 0), (1, 60), "one of many is a trial");
    assert_eq!(each(&mut town, 12, 4), (0, 12), "it rests for a minute");
    town.mute = vec![];
    town.run(10);
    let (tried, done) = each(&mut town, 120, 1);
    assert!(tried > 3 && done == 120, "{tried} {done}");
    let barred = |event: &(usize, Event)| event.1 == Event::Barred(keys(1).key());
    assert!(!town.events.iter().any(barred) && town.trades[0].guards.is_empty());
}

/// What is under way there goes on elsewhere, nobody is let down again, and it has work as soon as it answers.
#[test]
fn whose_engine_does_not_answer_takes_no_work() {
    let mut town = two_workers();
    town.stuck = vec![1];
    let each = |town: &mut Town, tasks| wish_in_turn(town, tasks, 2, given);
    while given(&town, 1) == 0 {
        each(&mut town, 1);
    }
    town.queue.push_back((1, Input::Engine(false)));
    assert_eq!(each(&mut town, 20), (0, 21), "and the one that was under way");
    town.stuck = vec![];
    town.queue.push_back((1, Input::Engine(true)));
    let (given, done) = each(&mut town, 20);
    assert!(given > 0 && done == 20, "{given} {done}");
    assert!(!town.events.iter().any(|event| matches!(event.1, Event::Rested(_) | Event::Barred(_))));
}

#[test]
fn who_failed_three_times_is_asked_by_one_task_only_and_only_after_a_rest() {
    let mut trade = Town::new(&config()).trades.swap_remove(0);
    let (worker, mut out) = (keys(1).key(), vec![]);
    for at in 0..3 {
        assert!(trade.may_ask(&worker));
        trade.worked_out(Instant::from_millis(at), worker, breaker::Input::Failed, &mut out);
    }
    assert!(!trade.may_ask(&worker), "it rests");
    trade.tick_guards(Instant::from_millis(31_000), &mut out);
    assert!(trade.may_ask(&worker), "for a trial");
    trade.tried(Instant::from_millis(31_001), &worker, 7, &mut out);
    assert!(!trade.may_ask(&worker), "one is enough");
    trade.not_tried(&worker, 7);
    assert!(trade.may_ask(&worker), "that one was not needed");
}

#[test]
fn a_vote_travels_and_holds_in_every_node() {
    let config = slow();
    let mut town = Town::new(&config);
    let day = 86_400;
    // An account is opened when it is time to tell what one thinks.
    town.run(3660);
    let (proposal, snapshot) = longer_tasks(3660);
    let id = proposal.id();
    let propose = |deposit| Ask::Vote(Box::new(Ballot::Propose { proposal, snapshot, deposit }));
    town.ask(2, propose(None));
    town.run(60);
    assert_eq!(town.trades[2].account().held(), DEPOSIT);
    assert!(town.trades.iter().all(|trade| trade.governance().open().count() == 1), "everybody knows");
    let ballot = urn::Ballot { choice: Choice::For, share: Ppm::ALL };
    for n in 0..COUNT - 2 {
        let sealed = ballot.seal(&id, &keys(n).key(), &[n as u8; 32]);
        town.ask(n, Ask::Vote(Box::new(Ballot::Promise(Promise::new(id, 1, sealed, &keys(n))))));
    }
    town.run(5 * day + 3600);
    for n in 0..COUNT - 2 {
        let opening = Opening { proposal: id, voter: keys(n).key(), ballot, salt: [n as u8; 32] };
        town.ask(n, Ask::Vote(Box::new(Ballot::Open(opening))));
    }
    town.run(4 * day + 2 * 3600);
    assert!(town.replies.iter().all(|reply| reply.1 == Answer::Voted(Ok(()))), "{:?}", town.replies);
    for trade in &town.trades {
        assert_eq!(trade.governance().parameters().number(Parameter::TaskTimeoutSeconds), 600);
        assert_eq!(trade.config.client.task_max, Duration::from_secs(600));
    }
    town.run(7 * day + 2 * 3600);
    let author = town.trades[2].account();
    assert_eq!((author.held(), author.balance()), (Credits(0), 0), "it holds, and the deposit went back");
    let governed = town.events.iter().filter(|event| event.1 == Event::Governed).count();
    assert_eq!(governed, COUNT);
    let again = Trade::restore(config, birth(4), town.lines[4].iter().cloned());
    assert_eq!(again.governance(), town.trades[4].governance());
    assert_eq!(again.config.client.task_max, Duration::from_secs(600));
}

/// Hardly anything is told, so that days go by fast; and whoever is there may owe a deposit.
fn slow() -> Config {
    let mut config = Config { vouch_every: Duration::from_secs(3600), ..config() };
    config.lent.pool = Credits(20_000 * Credits::ONE.0);
    // Days are many questions of idle workers.
    config.worker.idle = None;
    config
}

/// What 2 proposes so many seconds after the beginning, and who may vote.
fn longer_tasks(at: u64) -> (Proposal, Snapshot) {
    let locked = Credits(100 * Credits::ONE.0);
    let rights: Vec<Right> = (0..COUNT).map(|n| Right { voter: keys(n).key(), locked, trust: 1000 }).collect();
    let snapshot = Snapshot::new(rights, 9000, Credits(1 << 40)).unwrap();
    let proposal = Proposal {
        author: keys(2).key(),
        title: "longer tasks".into(),
        key: Parameter::TaskTimeoutSeconds,
        value: Value::Seconds(600),
        bands: vec![],
        made: UnixTime(1_700_000_000 + at),
        snapshot: snapshot.digest(),
        signature: Signature([0; 64]),
    };
    (proposal.sign(&keys(2)), snapshot)
}

#[test]
fn the_deposit_of_a_proposal_that_nobody_cares_for_is_lost_to_all_even_after_a_loss_of_power() {
    let mut town = Town::new(&slow());
    town.run(3660);
    let (proposal, snapshot) = longer_tasks(3660);
    town.ask(2, Ask::Vote(Box::new(Ballot::Propose { proposal: proposal.clone(), snapshot, deposit: None })));
    // Nobody votes; the author is away when the vote ends, and comes back with what it kept.
    town.run(6 * 86_400);
    assert_eq!(town.trades[2].account().held(), DEPOSIT);
    town.away = Some(2);
    town.run(2 * 86_400);
    let ended = |town: &Town, n: usize| town.trades[n].governance().ended(&proposal.id());
    assert_eq!((ended(&town, 2), ended(&town, 3)), (None, Some(VoteEnd::Expired)));
    town.away = None;
    let at = UnixTime(1_700_000_000 + town.now.as_micros() / 1_000_000);
    let lines = town.lines[2].iter().cloned();
    town.wake(2, Trade::restore(slow(), Birth { at, ..birth(2) }, lines));
    town.run(86_400);
    let author = town.trades[2].account();
    assert_eq!((author.held(), author.balance()), (Credits(0), -(DEPOSIT.0 as i64)));
    let settled = town.events.iter().filter_map(|(n, event)| match event {
        Event::Settled(closing) => Some((*n, closing.payee, closing.amount)),
        _ => None,
    });
    assert_eq!(settled.collect::<Vec<_>>(), [(2, COMMONS, DEPOSIT)]);
}

#[test]
fn a_ballot_that_comes_before_its_proposal_counts_when_that_comes() {
    let mut town = Town::new(&slow());
    town.run(3660);
    let (proposal, snapshot) = longer_tasks(3660);
    let id = proposal.id();
    let ballot = urn::Ballot { choice: Choice::For, share: Ppm::ALL };
    let sealed = ballot.seal(&id, &keys(4).key(), &[4; 32]);
    let promise = Ballot::Promise(Promise::new(id, 1, sealed, &keys(4)));
    let (now, from, mut out) = (town.local(7), keys(4).key(), vec![]);
    let told = |ballot: &Ballot| Input::Heard { from, message: Message::Ballot(Box::new(ballot.clone())) };
    let other = |n: u8| Ballot::Promise(Promise::new(Digest([n; 32]), 1, sealed, &keys(4)));
    let mut late = town.trades[7].clone();
    late.handle(now, told(&promise), &mut out);
    (0..3).for_each(|n| late.handle(now, told(&other(n)), &mut out));
    late.handle(now, told(&promise), &mut out);
    assert!(out.is_empty(), "it is kept by nobody, and told to nobody");
    let propose = Ballot::Propose { proposal: proposal.clone(), snapshot: snapshot.clone(), deposit: None };
    town.ask(2, Ask::Vote(Box::new(propose)));
    town.run(60);
    town.ask(4, Ask::Vote(Box::new(promise)));
    town.run(7200);
    let shown = town.lines[7].iter().find_map(|line| match Message::decode(&line.message) {
        Ok(Message::Ballot(ballot)) if matches!(*ballot, Ballot::Propose { .. }) => Some(*ballot),
        _ => None,
    });
    late.handle(now, told(&shown.unwrap()), &mut out);
    late.tick(now + Duration::from_secs(3600), &mut out);
    late.tick(now + Duration::from_secs(7200), &mut out);
    let counted = out.iter().any(|effect| matches!(effect, Effect::Save(line) if matches!(Message::decode(&line.message), Ok(Message::Ballot(ballot)) if matches!(*ballot, Ballot::Promise(_)))));
    assert!(counted, "once its proposal is there");
}

#[test]
fn every_proposal_without_its_deposit() {
    let mut town = Town::new(&slow());
    let mut lines = String::new();
    let propose = |at: u64, deposit| {
        let (proposal, snapshot) = longer_tasks(at);
        Ballot::Propose { proposal, snapshot, deposit }
    };
    let mut say = |name: &str, town: &mut Town, n: usize, ballot: Ballot| {
        town.replies.clear();
        town.ask(n, Ask::Vote(Box::new(ballot)));
        town.run(20);
        let [(_, Answer::Voted(answer))] = town.replies[..] else { panic!("{name}: {:?}", town.replies) };
        let held = town.trades[2].account().held();
        lines +=
            &format!("{name}: {}; {held} held\n", answer.map_or_else(|error| format!("{error}"), |()| "yes".into()));
    };
    town.run(1);
    say("before it has an account", &mut town, 2, propose(1, None));
    town.run(3640);
    say("a day late", &mut town, 2, propose(3660 + 86_400, None));
    say("by somebody else, of whom nothing is shown", &mut town, 4, propose(3661, None));
    say("for nothing", &mut town, 2, propose(3662, None));
    let Some(shown) = town.lines[4].iter().find_map(|line| match Message::decode(&line.message) {
        Ok(Message::Ballot(ballot)) => match *ballot {
            Ballot::Propose { deposit, .. } => deposit,
            _ => None,
        },
        _ => None,
    }) else {
        panic!("4 heard of it")
    };
    let mut few = shown.clone();
    few.certificate.votes.truncate(2);
    let other = Parameter::ProTierDailyLimit;
    let another = |deposit| {
        let (proposal, snapshot) = longer_tasks(3663);
        let proposal = Proposal { key: other, value: Value::Count(20_000), ..proposal }.sign(&keys(2));
        Ballot::Propose { proposal, snapshot, deposit }
    };
    say("another of the same parameter", &mut town, 2, propose(3664, None));
    say("with the deposit of the first", &mut town, 4, another(Some(shown.clone())));
    say("another", &mut town, 2, another(None));
    assert_eq!(
        lines,
        "before it has an account: a proposal takes a deposit of 100 credits; 0 held\n\
         a day late: its date is not now; 0 held\n\
         by somebody else, of whom nothing is shown: a proposal takes a deposit of 100 credits; 0 held\n\
         for nothing: yes; 100 held\n\
         another of the same parameter: another change of this parameter is under way; 100 held\n\
         with the deposit of the first: a proposal takes a deposit of 100 credits; 100 held\n\
         another: yes; 200 held\n"
    );
    let (proposal, snapshot) = longer_tasks(3662);
    let ballot = |deposit| Ballot::Propose { proposal: proposal.clone(), snapshot: snapshot.clone(), deposit };
    let (now, trade) = (town.local(4), &mut town.trades[4]);
    assert_eq!(trade.deposited(now, &ballot(Some(shown)), &mut vec![]), DEPOSIT);
    assert_eq!(trade.deposited(now, &ballot(Some(few)), &mut vec![]), Credits(0));
}

#[test]
fn as_many_auditors_are_asked_about_an_accusation_as_members_decided() {
    for (referees, asked) in [(1, 1), (3, 2), (5, 3), (7, 4)] {
        let mut town = Town::new(&config());
        // The client has not the model itself.
        town.trades[0] = Trade::new(Config { models: vec![], ..config() }, birth(0));
        // Nobody is heard who appeals.
        town.trades[0].config.dispute.jurors_max = 0;
        if referees != 3 {
            let value = Value::Count(referees);
            let parameters = Parameters::default().with(Parameter::ReplicationFactor, value).unwrap();
            town.trades[0].govern(parameters);
        }
        town.lies = usize::MAX;
        town.run(12);
        town.ask(0, Ask::Work(wish(256)));
        town.run(30);
        let barred = town.events.iter().filter(|event| matches!(event, (0, Event::Barred(_)))).count();
        assert_eq!((town.audits, barred), (asked, 1), "{referees} referees");
    }
}

#[test]
fn keeps_the_laws() {
    let mut town = Town::new(&config());
    town.run(8);
    (0..4).for_each(|n| town.ask(n, Ask::Work(wish(64))));
    town.queue.extend([false, true].map(|answers| (5, Input::Engine(answers))));
    town.run(25);
    for n in [0, 5] {
        let script = town.heard.iter().filter(|heard| heard.0 == n).map(|(_, at, input)| (*at, input.clone()));
        laws::hold(&Trade::new(config(), birth(n)), script);
    }
}

/// A minute is a term, and who is away for twenty seconds is lost.
fn hasty(terms: u64) -> Config {
    let renew = renew::Config { term: Duration::from_secs(60), terms, away: Duration::from_secs(20) };
    Config { renew, ..config() }
}

/// Those who watch the account of `n`, but for itself.
fn watchers(town: &Town, n: usize) -> Vec<usize> {
    let set = town.trades[n].set().unwrap();
    (0..COUNT).filter(|other| set.index(&keys(*other).key()).is_some()).collect()
}

#[test]
fn accounts_live_on_when_those_who_watch_them_leave() {
    // Who may not change them stands still: two of four are more than f.
    for (config, lives) in [(hasty(1_000), true), (config(), false)] {
        let mut town = Town::with(|n| Config {
            models: if n == 1 { vec![(MODEL, Size::Medium)] } else { vec![] },
            ..config.clone()
        });
        town.run(12);
        for round in 0..3 {
            let before = town.trades[0].set().unwrap().clone();
            let leaves = watchers(&town, 0).into_iter().find(|n| *n > 1 && !town.gone.contains(n)).unwrap();
            town.leave(leaves);
            town.run(100);
            let set = town.trades[0].set().unwrap();
            assert_eq!(set.index(&keys(leaves).key()).is_none() && *set != before, lives, "round {round}");
            town.replies.clear();
            town.ask(0, Ask::Work(wish(64)));
            town.run(60);
            let done = matches!(town.replies[..], [(0, Answer::Worked { tokens: 64, .. })]);
            assert_eq!(done, lives || round == 0, "round {round}: {:?}", town.replies);
        }
        if !lives {
            continue;
        }
        let balances = (0..2).map(|n| town.trades[n].account().balance());
        assert_eq!(balances.collect::<Vec<_>>(), [-222_000, 222_000]);
        assert_eq!(town.trades[0].account().held(), Credits(0));
        // What is kept brings all of it back.
        for n in (0..COUNT).filter(|n| !town.gone.contains(n)) {
            let again = Trade::restore(
                Config { models: town.trades[n].config.models.clone(), ..config.clone() },
                birth(n),
                town.lines[n].iter().cloned(),
            );
            let trade = &town.trades[n];
            assert_eq!((again.account(), again.set()), (trade.account(), trade.set()));
            assert_eq!(
                (&again.witness, &again.sets, &again.pen.terms),
                (&trade.witness, &trade.sets, &trade.pen.terms)
            );
        }
    }
}

#[test]
fn who_is_shown_a_set_that_comes_after_those_it_knows_asks_how_it_came() {
    let mut town = Town::new(&hasty(1));
    town.run(12);
    let owner = keys(0).key();
    let first = town.trades[0].set().unwrap().clone();
    let (mut other, now) = (town.trades[1].clone(), town.now);
    assert!(other.judge(now, &owner, &first));
    other.believe(owner, &first, &mut vec![]);
    town.run(40);
    let second = town.trades[0].set().unwrap().clone();
    let (mut out, now) = (vec![], town.now);
    assert!(second.term() > first.term() && !other.judge(now, &owner, &second), "it is to be shown how");
    let entry = town.trades[0].pen.log.since(0).next().unwrap().clone();
    let message = Message::Show { set: Box::new(second.clone()), next: None, entries: vec![(entry, None)] };
    other.handle(now, Input::Heard { from: owner, message }, &mut out);
    let lack = Message::Lack { account: owner, term: first.term() };
    let Some(Effect::Send { to, message }) = out.pop() else { panic!("{out:?}") };
    assert_eq!((to, message), (owner, lack.clone()));
    town.trades[0].handle(now, Input::Heard { from: keys(1).key(), message: lack }, &mut out);
    let Some(Effect::Send { message, .. }) = out.pop() else { panic!("{out:?}") };
    other.handle(now, Input::Heard { from: owner, message }, &mut out);
    assert!(other.judge(now, &owner, &second) && other.judge(now, &owner, &first));
}

/// Trade 1 is through with 64 tokens for trade 3: within so many seconds they are paid, and both logs say so.
fn ends_paid(town: &mut Town, seconds: u64) {
    let key = *town.trades[1].guests.keys().next().unwrap();
    town.queue.push_back((1, Input::Worked(Worked::Ended { key, tokens: 64, end: End::Done })));
    town.run(seconds);
    let [(3, Answer::Worked { tokens: 64, paid, .. })] = town.replies[..] else { panic!("{:?}", town.replies) };
    let trades = [&town.trades[3], &town.trades[1]];
    assert_eq!(trades.map(|trade| trade.account().balance()), [-(paid.0 as i64), paid.0 as i64]);
    assert_eq!(trades[0].account().held(), Credits(0));
}

#[test]
fn what_is_held_when_others_begin_to_watch_is_paid_and_closed_by_those_before() {
    // All change when a minute is over, for the first time after forty seconds.
    let mut town =
        Town::with(|n| Config { models: if n == 1 { vec![(MODEL, Size::Medium)] } else { vec![] }, ..hasty(1) });
    town.run(12);
    town.stuck = vec![1];
    town.run(24);
    town.ask(3, Ask::Work(wish(64)));
    town.run(2);
    write(&mut town, 3, 32);
    let before = town.trades[3].set().unwrap().clone();
    town.run(8);
    assert_ne!(*town.trades[3].set().unwrap(), before);
    write(&mut town, 3, 64);
    ends_paid(&mut town, 10);
    let changes = town.events.iter().filter(|event| matches!(event.1, Event::Renewed { .. })).count();
    assert_eq!(changes, COUNT, "each once");
}

#[test]
fn every_change_of_witnesses_that_is_asked_for() {
    let mut town = Town::new(&Config { faults: 2, ..hasty(1_000) });
    town.run(12);
    let owner = keys(0);
    let first = town.trades[0].set().unwrap().clone();
    let log = town.trades[0].pen.log.clone();
    let term = first.term();
    let member = watchers(&town, 0)[0];
    let all = town.trades[member].trusted(&[]);
    let of = |faults, term| Set::draw(&owner.key(), term, faults, &all).unwrap();
    let drawn = |term| of(2, term);
    // Three whom nobody knows.
    let chosen = |term| {
        let friends = [60, 61, 62].map(|n| keys(n).key());
        let members = all[..4].iter().map(|one| one.0).chain(friends).collect();
        Set::new(2, members).unwrap().of_term(term)
    };
    let mut lines = String::new();
    for (name, next, at) in [
        ("of the same term", drawn(term), 13),
        ("of a term to come", drawn(term + 1), 37),
        ("of one that begins, by a clock that is ahead", drawn(term + 1), 38),
        ("of one that is over", drawn(term + 1), 200),
        ("that is chosen", chosen(term + 1), 41),
        ("of fewer", of(1, term + 1), 41),
        ("that is drawn", drawn(term + 1), 41),
    ] {
        let mut witness = town.trades[member].clone();
        let state = log.fold().digest();
        let act = Act::Renew { witnesses: next.digest(), faults: next.faults(), state };
        let signed = log.clone().write(act, None, None, Credits(0), &owner).unwrap();
        let next = Some(Box::new(next));
        let message = Message::Show { set: Box::new(first.clone()), next, entries: vec![(signed, None)] };
        let mut out = vec![];
        witness.handle(Instant::from_millis(at * 1000), Input::Heard { from: owner.key(), message }, &mut out);
        let said = out.iter().find_map(|effect| match effect {
            Effect::Send { message: Message::Vote { .. }, .. } => Some("voted for"),
            Effect::Send { message: Message::Deny { .. }, .. } => Some("denied"),
            _ => None,
        });
        lines += &format!("a set {name}: {}\n", said.unwrap_or("nothing"));
    }
    assert_eq!(
        lines,
        "a set of the same term: denied\n\
         a set of a term to come: denied\n\
         a set of one that begins, by a clock that is ahead: voted for\n\
         a set of one that is over: voted for\n\
         a set that is chosen: denied\n\
         a set of fewer: denied\n\
         a set that is drawn: voted for\n"
    );
}

/// One message of each kind, and more where there are two forms.
fn samples() -> Vec<Message> {
    let [alice, bob] = [0, 1].map(keys);
    let (id, digest, signature) = (bob.key(), Digest([9; 32]), Signature([8; 64]));
    let set = Set::new(1, (0..4).map(|n| keys(n).key()).collect()).unwrap();
    let terms =
        Terms { payee: id, turn: 3, cap: Credits(8000), tick: Credits(1000), until: UnixTime(99), root: digest };
    let act = Act::Hold(terms);
    let entry = Entry { account: alice.key(), number: 7, before: digest, act };
    let sign = |entry: Entry| -> Signed { entry.sign(Some(act.consent(&alice.key(), &bob)), &alice) };
    let signed = sign(entry.clone());
    let other = sign(Entry { before: Digest([1; 32]), ..entry });
    let closing = Closing { payer: alice.key(), payee: id, turn: 3, ticks: 2, amount: Credits(2000), link: digest };
    let statement: Statement = closing.statement();
    let certificate = Certificate { statement, set: set.digest(), votes: vec![(0, signature), (2, signature)] };
    let closed = Evidence { certificate: certificate.clone(), set: set.clone(), paid: Paid::Closing(closing) };
    let lodged = Box::new(Evidence { paid: Paid::Entry(signed.clone()), ..closed.clone() });
    let entered = Evidence { paid: Paid::Entry(signed.clone()), ..closed.clone() };
    let dated = set.clone().of_term(19_675);
    let renewal = Renewal { signed: signed.clone(), certificate: certificate.clone(), set: dated.clone() };
    let right = Right { voter: id, locked: Credits(5), trust: 6 };
    let snapshot = Snapshot::new(vec![right], 10, Credits(1 << 20)).unwrap();
    let proposal = Proposal {
        author: id,
        title: "a".into(),
        key: Parameter::GossipIntervalMs,
        value: Value::Millis(700),
        bands: vec![Band { metric: Metric::Overhead, least: 1, most: 300 }],
        made: UnixTime(1_700_000_000),
        snapshot: snapshot.digest(),
        signature,
    };
    let ballot = urn::Ballot { choice: Choice::Against, share: Ppm(300_000) };
    let delegation = Delegation::new(Category::Access, Some(alice.key()), 4, &bob);
    let opening = Opening { proposal: digest, voter: id, ballot, salt: [4; 32] };
    let seen = Sighting { peer: id, model: 12, sign: Sign::Slow, looked: 5, seen: 1 };
    let mut all = vec![
        Message::Reserve { task: 1, model: 2, order: wish(64).order, price_max: 1_500_000 },
        Message::Quote { task: 1, wait_ms: 300, price: 1_000_000, withheld: Ppm(0) },
        Message::Refuse { task: 1, price: 2_000_000, after_ms: 500 },
        Message::Ready(1),
        Message::Release(1 << 40),
        Message::Stop(1),
        Message::Offer { task: 1, epoch: 2, from: 32, terms, promise: digest, number: digest, withheld: Ppm(0) },
        Message::Consent { task: 1, epoch: 2, signature },
        Message::Held { task: 1, epoch: 2, evidence: Box::new(entered) },
        Message::Block { task: 1, epoch: 2, tokens: 64, block: block(), head: digest },
        Message::Tick { task: 1, epoch: 2, link: digest },
        Message::Report { task: 1, epoch: 2, tokens: 64, done: true },
        Message::Paid(Box::new(closed.clone())),
        Message::Close { closing, consent: Some(signature), hold: Some(Box::new(closed.clone())) },
        Message::Audit { task: 1, model: 2, worker: id, first: 0, blocks: vec![block(); 3] },
        Message::Audited { task: 1, fingerprints: vec![block().fingerprint; 3] },
        Message::Show {
            set: Box::new(set.clone()),
            next: None,
            entries: vec![(signed.clone().into(), None), (other.clone().into(), Some(closed))],
        },
        Message::Close { closing, consent: Some(signature), hold: None },
        Message::Vote { statement, signature, limit: Credits(77) },
        Message::Deny { statement, next: Some(3) },
        Message::Vouch { edges: vec![(id, 5)], sightings: vec![seen] },
        Message::Proof(Box::new(Fraud::Fork { one: signed.clone(), other })),
        Message::Steal { room: 3, models: vec![77, 1 << 60] },
        Message::Hand(vec![
            Handed { client: id, task: 9, model: 77, order: wish(64).order, hops: 1 },
            Handed { client: alice.key(), task: 10, model: 78, order: wish(32).order, hops: 2 },
        ]),
        Message::Moved { task: 9, to: id },
        Message::Show {
            set: Box::new(set.clone()),
            next: Some(Box::new(dated)),
            entries: vec![(signed.clone().into(), None)],
        },
        Message::Adopt { fold: vec![1, 2, 3], before: Box::new(set), renewal: Box::new(renewal.clone()) },
        Message::Lack { account: id, term: 19_675 },
        Message::Renewed(vec![renewal]),
        Message::Used(Used { number: 1, begun: true, at: UnixTime(1_700_000_000), today: 3, spent: Credits(281_000) }),
        Message::Close { closing, consent: None, hold: None },
        Message::Deny { statement, next: None },
        Message::Barred { peer: id, times: 2, until: UnixTime(1_700_000_000) },
        Message::Worked { day: 19_675, days: 3 },
    ];
    let ballots = [
        Ballot::Propose { proposal: proposal.clone(), snapshot: snapshot.clone(), deposit: Some(lodged) },
        Ballot::Propose { proposal, snapshot, deposit: None },
        Ballot::Cancel { id: digest, signature },
        Ballot::Promise(Promise::new(digest, 3, digest, &bob)),
        Ballot::Open(opening),
        Ballot::Delegate(delegation),
        Ballot::Date(UnixTime(5)),
        Ballot::Simulated { id: digest, harmless: true },
        Ballot::Measured(vec![(Metric::TasksDone, 999_000)]),
    ];
    all.extend(ballots.map(|ballot| Message::Ballot(Box::new(ballot))));
    let withheld = Ppm(500_000);
    all.extend([
        Message::Quote { task: 1, wait_ms: 300, price: 1_000_000, withheld: Ppm::ALL },
        Message::Offer { task: 1, epoch: 2, from: 32, terms, promise: digest, number: digest, withheld },
        Message::Withhold { task: 1, epoch: 2, tokens: 64 },
        Message::Rest { turn: 3, ticks: 8, kept: 1, link: digest },
        Message::Owing { worker: id, turn: 3, task: 1, given: 4, withheld: 4, link: digest },
        Message::Verdict { task: 1, first: 0, blocks: 0xff, auditors: vec![id; 2] },
        Message::Appeal(1),
        Message::Audit { task: 1, model: 2, worker: id, first: 218, blocks: vec![block(); 3] },
        Message::Verdict { task: 1, first: 218, blocks: 0xff, auditors: vec![id; 2] },
    ]);
    all
}

#[test]
fn every_message_comes_back_as_it_went_and_no_part_of_one_is_another() {
    let mut kinds = alloc::collections::BTreeSet::new();
    for message in samples() {
        let bytes = message.encode();
        kinds.insert(bytes[1]);
        assert_eq!(Message::decode(&bytes), Ok(message));
        assert!(bytes.len() <= crate::wire::parts::MESSAGE_MAX);
        for length in 0..bytes.len() {
            assert!(Message::decode(&bytes[..length]).is_err(), "{length} of {bytes:?}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Message::decode(&longer).is_err());
        let later = [&[2], &bytes[1..]].concat();
        assert!(Message::decode(&later).is_err(), "another version");
        for bit in 0..bytes.len() * 8 {
            let mut harmed = bytes.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            // Whatever is read is written as it was read: one message has one form of bytes.
            if let Ok(other) = Message::decode(&harmed) {
                assert_eq!(other.encode(), harmed, "bit {bit}");
            }
        }
    }
    assert_eq!(kinds.len(), 42);
}

#[test]
fn lengths_that_are_claimed_and_not_sent_are_refused() {
    for kind in [13, 14, 15, 19, 23, 24, 27, 28, 30, 36, 38, 39] {
        let mut bytes = vec![1, kind, 1, 1];
        bytes.extend_from_slice(&[0xff; 9]);
        assert!(Message::decode(&bytes).is_err());
    }
    // More than a message may have.
    let order = wish(64).order;
    let place = Handed { client: keys(1).key(), task: 9, model: 77, order, hops: 1 };
    for (count, fits) in [(HANDED_MAX, true), (HANDED_MAX + 1, false)] {
        assert_eq!(Message::decode(&Message::Hand(vec![place; count]).encode()).is_ok(), fits);
    }
    for (count, fits) in [(MODELS_MAX, true), (MODELS_MAX + 1, false)] {
        let steal = Message::Steal { room: 1, models: vec![7; count] };
        assert_eq!(Message::decode(&steal.encode()).is_ok(), fits);
    }
}

#[test]
fn the_golden_messages_stay_as_they_are() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let all: String = samples().iter().map(|message| hex(message.encode())).collect();
    let golden = include_str!("../../../tests/data/trade.hex");
    if golden.trim().is_empty() {
        panic!("GOLDEN\n{all}");
    }
    assert_eq!(all, golden);
}
