//! A few nodes that trade with each other, without lines or membership: what one says the other hears.

use alloc::{collections::VecDeque, format, string::String, vec};

use super::{
    message::{Evidence, Paid, Sighting},
    *,
};
use crate::{
    economy::{
        governance::{
            Delegation, Key as Parameter, Proposal, Value,
            parameter::Category,
            proposal::Band,
            vote::{self as urn, Choice, Opening, Promise, Right, Snapshot},
        },
        ledger::{Act, Entry, Fraud, Signed, Terms, entry::Statement},
        tiers::Work,
        witness::Certificate,
    },
    kit::{Class, laws},
    trust::{
        anomaly::Sign,
        identity::Identity,
        verify::{commit::BUCKETS, sequential::Calibration},
    },
    work::schedule::worker::End,
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
    /// Whether auditors find everything wrong, and how often one was asked.
    slander: bool,
    audits: usize,
}

impl Town {
    fn new(config: &Config) -> Self {
        let trades = (0..COUNT).map(|n| Trade::new(config.clone(), birth(n))).collect();
        let mut models = Bloom::default();
        models.insert(MODEL);
        let peers: Vec<Peer> = (0..COUNT).map(|n| Peer { id: keys(n).key(), models }).collect();
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
            slander: false,
            audits: 0,
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            let mut out = vec![];
            let n = if let Some((n, input)) = self.queue.pop_front() {
                while self.trades[n].deadline().is_some_and(|due| due <= self.now) {
                    self.trades[n].tick(self.now, &mut out);
                }
                self.heard.push((n, self.now, input.clone()));
                self.trades[n].handle(self.now, input, &mut out);
                n
            } else {
                let n = (0..COUNT).min_by_key(|n| self.trades[*n].deadline()).unwrap();
                let due = self.trades[n].deadline().unwrap();
                if due > end {
                    self.now = end;
                    return;
                }
                self.now = self.now.max(due);
                self.trades[n].tick(self.now, &mut out);
                assert!(self.trades[n].deadline().unwrap() > self.now, "progress");
                n
            };
            out.into_iter().for_each(|effect| self.perform(n, effect));
        }
    }

    fn perform(&mut self, n: usize, effect: Effect) {
        let me = keys(n).key();
        match effect {
            Effect::Send { to, message } => {
                let to = (0..COUNT).find(|other| keys(*other).key() == to).unwrap();
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
                    self.queue.push_back((n, Input::Worked(Worked::Wrote { key, tokens, block: block() })));
                });
                let ended = Worked::Ended { key, tokens: limit, end: End::Done };
                self.queue.push_back((n, Input::Worked(ended)));
            }
            Effect::Run(Job::Stop(key)) => {
                let ended = Worked::Ended { key, tokens: 0, end: End::Interrupted };
                self.queue.push_back((n, Input::Worked(ended)));
            }
            Effect::Run(Job::Audit { client, task, blocks, .. }) => {
                self.audits += 1;
                let seen = if self.slander { Fingerprint([-700; 16]) } else { block().fingerprint };
                let fingerprints = vec![seen; blocks as usize];
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

fn wish(tokens_out: u64) -> Wish {
    let order = Order { work: Work::Inference, size: Size::Medium, class: Class::Standard, tokens_in: 40, tokens_out };
    Wish { model: MODEL, order, price_max: 2_000_000, prefix: 9, wait: Duration::from_secs(20) }
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
        assert_eq!(again.witness, trade.witness);
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
    let nobody = Answer::Unable { task: 0, why: Why::Work(client::Why::Nobody), paid: Credits(0) };
    assert!(
        matches!((town.replies[2].1, nobody), (Answer::Unable { why: a, .. }, Answer::Unable { why: b, .. }) if a == b)
    );
    assert_eq!(town.trades[0].account().balance(), 0);
}

#[test]
fn a_vote_travels_and_holds_in_every_node() {
    let config = Config { vouch_every: Duration::from_secs(3600), ..config() };
    let mut town = Town::new(&config);
    let day = 86_400;
    let rights: Vec<Right> = (0..COUNT)
        .map(|n| Right { voter: keys(n).key(), locked: Credits(100 * Credits::ONE.0), trust: 1000 })
        .collect();
    let snapshot = Snapshot::new(rights, 9000, Credits(1 << 40)).unwrap();
    town.run(60);
    let proposal = Proposal {
        author: keys(2).key(),
        title: "longer tasks".into(),
        key: Parameter::TaskTimeoutSeconds,
        value: Value::Seconds(600),
        bands: vec![],
        made: UnixTime(1_700_000_060),
        snapshot: snapshot.digest(),
        signature: Signature([0; 64]),
    }
    .sign(&keys(2));
    let id = proposal.id();
    town.ask(2, Ask::Vote(Box::new(Ballot::Propose { proposal, snapshot })));
    town.run(60);
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
    let governed = town.events.iter().filter(|event| event.1 == Event::Governed).count();
    assert_eq!(governed, COUNT);
    let again = Trade::restore(config, birth(4), town.lines[4].iter().cloned());
    assert_eq!(again.governance(), town.trades[4].governance());
    assert_eq!(again.config.client.task_max, Duration::from_secs(600));
}

#[test]
fn as_many_auditors_are_asked_about_an_accusation_as_members_decided() {
    for (referees, asked) in [(1, 1), (3, 2), (5, 3), (7, 4)] {
        let mut town = Town::new(&config());
        // The client has not the model itself.
        town.trades[0] = Trade::new(Config { models: vec![], ..config() }, birth(0));
        if referees != 3 {
            let value = Value::Count(referees);
            let parameters = Parameters::default().with(Parameter::ReplicationFactor, value).unwrap();
            town.trades[0].govern(parameters);
        }
        town.slander = true;
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
    town.run(25);
    for n in [0, 5] {
        let script = town.heard.iter().filter(|heard| heard.0 == n).map(|(_, at, input)| (*at, input.clone()));
        laws::hold(&Trade::new(config(), birth(n)), script);
    }
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
    let entered = Evidence { paid: Paid::Entry(signed.clone()), ..closed.clone() };
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
        Message::Quote { task: 1, wait_ms: 300, price: 1_000_000 },
        Message::Refuse { task: 1, price: 2_000_000, after_ms: 500 },
        Message::Ready(1),
        Message::Release(1 << 40),
        Message::Stop(1),
        Message::Offer { task: 1, epoch: 2, from: 32, terms, promise: digest, number: digest },
        Message::Consent { task: 1, epoch: 2, signature },
        Message::Held { task: 1, epoch: 2, evidence: Box::new(entered) },
        Message::Block { task: 1, epoch: 2, tokens: 64, block: block(), head: digest },
        Message::Tick { task: 1, epoch: 2, link: digest },
        Message::Report { task: 1, epoch: 2, tokens: 64, done: true },
        Message::Paid(Box::new(closed.clone())),
        Message::Audit { task: 1, model: 2, worker: id, blocks: vec![block(); 3] },
        Message::Audited { task: 1, fingerprints: vec![block().fingerprint; 3] },
        Message::Show { set: Box::new(set), entries: vec![(signed.clone(), None), (other.clone(), Some(closed))] },
        Message::Close { closing, consent: Some(signature) },
        Message::Vote { statement, signature, limit: Credits(77) },
        Message::Deny { statement, next: Some(3) },
        Message::Vouch { edges: vec![(id, 5)], sightings: vec![seen] },
        Message::Proof(Box::new(Fraud::Fork { one: signed, other })),
        Message::Close { closing, consent: None },
        Message::Deny { statement, next: None },
    ];
    let ballots = [
        Ballot::Propose { proposal, snapshot },
        Ballot::Cancel { id: digest, signature },
        Ballot::Promise(Promise::new(digest, 3, digest, &bob)),
        Ballot::Open(opening),
        Ballot::Delegate(delegation),
        Ballot::Date(UnixTime(5)),
        Ballot::Simulated { id: digest, harmless: true },
        Ballot::Measured(vec![(Metric::TasksDone, 999_000)]),
    ];
    all.extend(ballots.map(|ballot| Message::Ballot(Box::new(ballot))));
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
    assert_eq!(kinds.len(), 22);
}

#[test]
fn lengths_that_are_claimed_and_not_sent_are_refused() {
    for kind in [13, 14, 15, 19] {
        let mut bytes = vec![1, kind, 1, 1];
        bytes.extend_from_slice(&[0xff; 9]);
        assert!(Message::decode(&bytes).is_err());
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
