//! A thousand ledgers, a fifth of them Byzantine, among messages that are lost, doubled, overtaken and cut off, and crashes:
//! S1 to S4 are checked after each event.
//!
//! There is no clock here and no order of messages: whatever is under way may happen next, which is worse than any network.
//! A posting is a certified fact that moves credits from one account to another: a payment, or a closing with a tick or more. A hold,
//! a receipt, a release, a checkpoint and each tick beside are none, though each entry is asked for, voted for and certified like
//! any other.
//!
//! What an event touches is checked after it: a new certificate against all that may stand in its place (S1, and with it S3), the two
//! accounts of a fact (S2, S4). What it does not touch is as it was. Each checkpoint has the entries before it checked from their
//! bytes on, and every 100,000 events have all balances summed and compared.
//!
//! `TUTU_WORLD_POSTINGS` says how many postings are certified (100,000 if it is not set; `ci/test` has a million certified and
//! `just ledger-world` as many as it is asked for); `TUTU_WORLD_SEED` which world it is. In the second world each account's
//! witnesses change every day (`just ledger-changes`), and some who cheat show two changes at once.

#[path = "../common/mod.rs"]
mod common;
mod node;
mod paper;
mod record;
mod world;

use common::Name;
use tutu_node::{
    economy::ledger::{
        Act, Entry, Fraud,
        alarm::{self, Alarm},
    },
    kit::{Credits, Digest, Instant, Machine, NodeId, Rng, wheel::Wheel},
};
use world::{Found, World};

/// A world is many small things that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 1000;
const BYZANTINE: usize = 200;
/// f; seven witnesses an account.
const FAULTS: u8 = 2;
/// Entries after which a log is pruned.
const EVERY: u64 = 256;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs the world that the environment asks for, and says what came of it.
fn run(changes: bool) -> Found {
    let (seed, postings) = (number("TUTU_WORLD_SEED", 1), number("TUTU_WORLD_POSTINGS", 100_000));
    let mut world = World::new(seed, BYZANTINE, postings, changes);
    world.run();
    println!(
        "seed {seed}: {} postings, {} s, {} MB, {:?}",
        world.postings,
        world::seconds(),
        world::megabytes(),
        world.found
    );
    world.found
}

#[test]
fn safe_in_any_order_with_a_fifth_byzantine_a_cut_and_crashes() {
    let found = run(false);
    let Found { crashes, owners, overdraws, checkpoints, .. } = found;
    assert!(crashes > 0 && owners > 0 && overdraws > 0 && checkpoints > 0, "{found:?}");
}

/// The same, while each account is watched by others every day: those before and those after never certify two statements for one
/// place, and what one set certified no other one does.
#[test]
fn safe_while_witnesses_change() {
    let found = run(true);
    let Found { crashes, owners, changes, .. } = found;
    assert!(crashes > 0 && owners > 0 && changes > 5 * NODES as u64, "{found:?}");
}

/// Where there are more Byzantine witnesses than an account can bear, two statements are certified for one place; and that names more
/// than f of them, and nobody honest. Accounts that have f or fewer fare as ever.
#[test]
fn where_more_than_f_lie_two_certificates_name_them() {
    let mut world = World::new(1, 7 * NODES / 10, 5000, false);
    world.run();
    assert!(world.found.double > 0, "{:?}", world.found);
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
            if n < BYZANTINE {
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
