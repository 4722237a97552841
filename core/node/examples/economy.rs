//! How fast the economy is on one core of this machine: `just bench-economy`.
//!
//! Time is what the processor gave this thread, where the system says so: a machine that does other things too shows the
//! same figures.

use std::{hint::black_box, time::Instant};

use tutu_node::{
    economy::{
        governance::vote::{Ballot, Choice, Opening, Past, Promise, Right, Snapshot, Urn},
        ledger::{
            Book, Terms,
            book::{Config, HoldId, Index},
            entry::{Slot, Statement},
            session::{Chain, Meter},
        },
        witness::{Certificate, Set},
    },
    kit::{Credits, Digest, Domain, NodeId, Ppm, Rng, Signature, Signer, UnixTime, Verifier},
    trust::identity::Identity,
};

/// Accounts of the book that is posted in.
const ACCOUNTS: u32 = 100_000;
const POSTINGS: u64 = 20_000_000;
const TICKS: u32 = 65_536;
const CERTIFICATES: u64 = 1500;
const VOTERS: u64 = 1_000_000;
/// Signatures of ballots that are made and checked; the rate is what matters, and making a million takes a minute.
const SIGNED: usize = 50_000;

fn main() {
    postings();
    holds();
    ticks();
    certificates();
    ballots();
}

/// Nanoseconds of processor time of this thread; by the clock, if the system does not say.
fn spent() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn timed<T>(what: &str, count: u64, unit: &str, run: impl FnOnce() -> T) -> T {
    let (begun, wall) = (spent(), Instant::now());
    let out = black_box(run());
    let wall = wall.elapsed().as_secs_f64();
    let cpu = (spent() - begun) as f64 / 1e9;
    let seconds = if cpu > 0.0 { cpu } else { wall };
    println!(
        "{what:<44} {:>14.0} {unit}/s  ({seconds:.3} s of one core, {wall:.3} s by the clock)",
        count as f64 / seconds
    );
    out
}

fn book() -> (Book, Vec<Index>) {
    let mut book = Book::new(Config::default());
    let accounts: Vec<Index> =
        (0..ACCOUNTS).map(|n| book.account(NodeId::number(n.into())).expect("it takes a million")).collect();
    accounts.iter().for_each(|account| book.grant(*account, Credits(1 << 40)));
    (book, accounts)
}

fn pairs(accounts: &[Index], count: usize) -> Vec<(Index, Index)> {
    let mut rng = Rng::new(1);
    (0..count)
        .map(|_| {
            let (a, b) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS - 1));
            (accounts[a as usize], accounts[(a as usize + 1 + b as usize) % ACCOUNTS as usize])
        })
        .collect()
}

fn postings() {
    let (mut book, accounts) = book();
    let pairs = pairs(&accounts, 1 << 20);
    timed("postings, 100,000 accounts", POSTINGS, "postings", || {
        for n in 0..POSTINGS as usize {
            let (payer, payee) = pairs[n & (pairs.len() - 1)];
            book.post(payer, payee, Credits(1 + n as u64 % 1000)).expect("limits are wide");
        }
    });
    assert_eq!(book.sum(), 0);
}

fn holds() {
    let (mut book, accounts) = book();
    let pairs = pairs(&accounts, 1 << 20);
    timed("holds, reserved and settled", 1 << 20, "holds", || {
        for (n, (payer, payee)) in pairs.iter().enumerate() {
            let id = HoldId(n as u128 * 0x9e37_79b9_7f4a_7c15);
            book.reserve(id, *payer, *payee, Credits(1000)).expect("limits are wide");
            book.settle(id, Credits(500)).expect("it was reserved");
        }
    });
    assert_eq!(book.sum(), 0);
}

fn ticks() {
    let mut chain = Chain::new(Digest([7; 32]), TICKS);
    let (cap, tick) = (Credits(u64::from(TICKS) * 1000), Credits(1000));
    let terms = Terms { payee: NodeId::number(1), turn: 0, cap, tick, until: UnixTime(0), root: chain.root() };
    let links: Vec<Digest> = (0..TICKS).map(|_| chain.tick().expect("there are as many")).collect();
    timed("ticks, taken in by the payee", u64::from(TICKS) * 40, "ticks", || {
        for _ in 0..40 {
            let mut meter = Meter::new(terms);
            links.iter().for_each(|link| meter.tick(*link).expect("it is the next"));
            black_box(meter.owed());
        }
    });
}

fn certificates() {
    let keys: Vec<Identity> = (0..31).map(|n| Identity::new([n; 32])).collect();
    let set = Set::new(10, keys.iter().map(Signer::key).collect()).expect("31 different keys");
    let digest = set.digest();
    let certificates: Vec<Certificate> = (0..CERTIFICATES / 10)
        .map(|n| {
            let slot = Slot::Entry(n);
            let statement = Statement { account: NodeId::number(n), slot, digest: Digest([n as u8; 32]) };
            let message = statement.vote_digest(&digest);
            let vote =
                |keys: &Identity| (set.index(&keys.key()).expect("a member"), keys.sign(Domain::Vote, &[&message.0]));
            let mut votes: Vec<(u8, Signature)> = keys.iter().take(21).map(vote).collect();
            votes.sort_unstable_by_key(|vote| vote.0);
            Certificate { statement, set: digest, votes }
        })
        .collect();
    println!("{:<44} {:>14} bytes", "a certificate, f = 10", certificates[0].encode().len());
    timed("certificates checked, f = 10, 21 signatures", CERTIFICATES, "certificates", || {
        for certificate in certificates.iter().cycle().take(CERTIFICATES as usize) {
            assert_eq!(certificate.verify(&set, &keys[0]), Ok(()));
        }
    });
}

fn ballots() {
    let proposal = Digest([5; 32]);
    let mut rng = Rng::new(9);
    let rights = (0..VOTERS)
        .map(|n| Right {
            voter: NodeId::number(n),
            locked: Credits(1 + (rng.next() >> 34)),
            trust: 1 + (rng.next() >> 24),
        })
        .collect();
    let snapshot = Snapshot::new(rights, 1 << 62, Credits(1 << 50)).expect("everybody is there once");
    let mut past = Past::default();
    for _ in 0..8 {
        let choices =
            (0..VOTERS).map(|n| (NodeId::number(n), if rng.below(2) == 0 { Choice::For } else { Choice::Against }));
        past.record(choices.collect::<Vec<_>>());
    }
    let ballots: Vec<Ballot> = (0..VOTERS)
        .map(|_| {
            let choice = if rng.below(2) == 0 { Choice::For } else { Choice::Against };
            Ballot { choice, share: Ppm(rng.below(1_000_000)) }
        })
        .collect();
    let mut urn = Urn::new(proposal, snapshot, &std::collections::BTreeMap::new());
    timed("ballots promised and opened", VOTERS, "ballots", || {
        for (n, ballot) in (0..).zip(&ballots) {
            let voter = NodeId::number(n);
            let sealed = ballot.seal(&proposal, &voter, &[3; 32]);
            let promise = Promise { proposal, voter, serial: 1, sealed, signature: Signature([0; 64]) };
            urn.promise_checked(&promise).expect("everybody may");
        }
        urn.open();
        for (n, ballot) in (0..).zip(&ballots) {
            urn.reveal(&Opening { proposal, voter: NodeId::number(n), ballot: *ballot, salt: [3; 32] })
                .expect("as promised");
        }
    });
    timed("the tally alone, a million ballots", VOTERS, "ballots", || urn.tally(&past));

    let keys: Vec<Identity> = (0..64).map(|n| Identity::new([n; 32])).collect();
    let promises: Vec<Promise> =
        (0..SIGNED).map(|n| Promise::new(proposal, n as u32, Digest([n as u8; 32]), &keys[n % 64])).collect();
    let messages: Vec<[u8; 68]> = promises.iter().map(Promise::message).collect();
    let items: Vec<(NodeId, &[u8], Signature)> = promises
        .iter()
        .zip(&messages)
        .map(|(promise, message)| (promise.voter, &message[..], promise.signature))
        .collect();
    timed("signatures of ballots checked, 256 at once", SIGNED as u64, "signatures", || {
        assert!(items.chunks(256).all(|chunk| keys[0].verify_all(Domain::Ballot, chunk)));
    });
}
