//! Proofs of fraud by those whom a node knows, and by those whom nobody does.

use super::*;
use crate::economy::ledger::alarm;

/// One that has ten others, and passes on three proofs about strangers.
fn trade(known_max: usize) -> Trade<Identity> {
    let alarm = alarm::Config { known_max, foreign_max: 3, ..alarm::Config::default() };
    let mut trade = Trade::new(Config { alarm, ..config() }, birth(0));
    let peers = (0..10).map(|n| Peer { id: NodeId::number(n), models: Bloom::default() }).collect();
    trade.handle(Instant::default(), Input::Peers(peers), &mut vec![]);
    trade
}

fn fork(n: usize) -> Message {
    let sign = |amount| {
        let act = Act::Pay { payee: NodeId::number(1), turn: 0, amount: Credits(amount) };
        Entry { account: keys(n).key(), number: 1, before: Digest([0; 32]), act }.sign(None, &keys(n))
    };
    Message::Proof(Box::new(Fraud::Fork { one: sign(1), other: sign(2) }))
}

/// How many lines are kept, are condemned, and are told.
fn hear(trade: &mut Trade<Identity>, message: Message) -> (usize, usize, usize) {
    let (now, mut out) = (Instant::default(), vec![]);
    trade.handle(now, Input::Heard { from: NodeId::number(7), message }, &mut out);
    let count = |which: fn(&&Effect) -> bool| out.iter().filter(which).count();
    (
        count(|effect| matches!(effect, Effect::Save(_))),
        count(|effect| matches!(effect, Effect::Tell(Event::Condemned(_)))),
        count(|effect| matches!(effect, Effect::Send { message: Message::Proof(_), .. })),
    )
}

#[test]
fn made_up_keys_that_prove_their_fraud_cost_newcomers_and_real_proofs_nothing() {
    let mut trade = trade(1);
    let told: Vec<_> = (100..120).map(|n| hear(&mut trade, fork(n))).collect();
    assert_eq!(told[..4], [(0, 1, 6), (0, 1, 6), (0, 1, 6), (0, 0, 0)], "some are shunned and passed on, none is kept");
    assert!(told[3..].iter().all(|told| *told == (0, 0, 0)));
    assert_eq!(trade.reputation().exploration(), Ppm(50_000));
    assert_eq!(trade.reputation().standing(&keys(100).key()), reputation::Standing::Convicted);
    assert_eq!(hear(&mut trade, fork(3)), (1, 1, 6), "one that this node believed");
    assert_eq!(trade.lines, 1);
}

#[test]
fn a_proof_that_is_not_remembered_is_acted_on_once() {
    let mut trade = trade(0);
    assert_eq!(hear(&mut trade, fork(3)), (1, 1, 0));
    assert!((0..5).all(|_| hear(&mut trade, fork(3)) == (0, 0, 0)));
}

#[test]
fn what_is_kept_of_frauds_does_not_count_as_newcomers_after_a_restart() {
    let mut trade = trade(9);
    let mut out = vec![];
    for n in 3..8 {
        let message = fork(n);
        trade.handle(Instant::default(), Input::Heard { from: NodeId::number(7), message }, &mut out);
    }
    let kept = out.into_iter().filter_map(|effect| if let Effect::Save(line) = effect { Some(line) } else { None });
    let again = Trade::restore(Config { seeds: vec![], ..config() }, birth(0), kept);
    let standing = |n| again.reputation().standing(&keys(n).key());
    assert!((3..8).all(|n| standing(n) == reputation::Standing::Convicted));
    assert_eq!(again.reputation().exploration(), Ppm(50_000));
}
