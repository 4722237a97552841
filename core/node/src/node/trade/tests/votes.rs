//! What a node lets others vote on, and whose delegations it hears.

use super::*;
use crate::{economy::governance, trust::reputation::Reputation};

/// Of whom nobody in the town knows anything.
const ACCOMPLICE: usize = 40;
const DAY_S: u64 = 86_400;

/// What 2 proposes over a snapshot in which these have so much trust.
fn proposed(trusts: &[(usize, u64)], at: u64) -> (Proposal, Snapshot) {
    let pool = Credits(1 << 40);
    let right = |(n, trust): &(usize, u64)| Right { voter: keys(*n).key(), locked: pool, trust: *trust };
    let total = trusts.iter().map(|trust| trust.1).sum();
    let snapshot = Snapshot::new(trusts.iter().map(right).collect(), total, pool).unwrap();
    let proposal = Proposal { snapshot: snapshot.digest(), ..longer_tasks(at).0 };
    (proposal.sign(&keys(2)), snapshot)
}

fn propose(town: &mut Town, (proposal, snapshot): &(Proposal, Snapshot)) {
    let ballot = Ballot::Propose { proposal: proposal.clone(), snapshot: snapshot.clone(), deposit: None };
    town.ask(2, Ask::Vote(Box::new(ballot)));
    town.run(60);
}

fn open(town: &Town) -> Vec<usize> {
    (0..COUNT).filter(|n| town.trades[*n].governance().open().count() == 1).collect()
}

#[test]
fn a_made_up_snapshot_is_voted_on_by_nobody_else_and_changes_nothing() {
    let mut town = Town::new(&slow());
    town.run(3660);
    let made_up = proposed(&[(2, 5000), (ACCOMPLICE, 5000)], 3660);
    propose(&mut town, &made_up);
    assert_eq!(
        town.replies,
        [(2, Answer::Voted(Err(governance::Error::View)))],
        "not by itself, and before its deposit"
    );
    // A node that was made to believe it.
    let mut believes = Reputation::new(town.trades[2].config.reputation, keys(2).key());
    believes.choose_seeds(&[(keys(ACCOMPLICE).key(), 1)]).unwrap();
    believes.recompute();
    let honest = core::mem::replace(&mut town.trades[2].reputation, believes);
    propose(&mut town, &made_up);
    assert_eq!((open(&town), town.trades[2].account().held()), (vec![2], DEPOSIT));
    town.trades[2].reputation = honest;
    let id = made_up.0.id();
    let ballot = urn::Ballot { choice: Choice::For, share: Ppm::ALL };
    for n in [2, ACCOMPLICE] {
        let sealed = ballot.seal(&id, &keys(n).key(), &[n as u8; 32]);
        town.ask(2, Ask::Vote(Box::new(Ballot::Promise(Promise::new(id, 1, sealed, &keys(n))))));
    }
    town.run(5 * DAY_S + 3600);
    for n in [2, ACCOMPLICE] {
        let opening = Opening { proposal: id, voter: keys(n).key(), ballot, salt: [n as u8; 32] };
        town.ask(2, Ask::Vote(Box::new(Ballot::Open(opening))));
    }
    town.run(4 * DAY_S + 2 * 3600);
    let seconds = |n: usize| town.trades[n].governance().parameters().number(Parameter::TaskTimeoutSeconds);
    assert_eq!((0..COUNT).filter(|n| seconds(*n) != 300).collect::<Vec<_>>(), [2], "it passed where it was believed");
}

#[test]
fn a_snapshot_that_is_refused_leaves_nothing_however_often_it_comes() {
    let mut town = Town::new(&slow());
    town.run(3660);
    let (proposal, snapshot) = proposed(&[(2, 5000), (ACCOMPLICE, 5000)], 3660);
    let message = Message::Ballot(Box::new(Ballot::Propose { proposal, snapshot, deposit: None }));
    let (now, from, mut out) = (town.local(4), keys(2).key(), vec![]);
    let before = town.trades[4].clone();
    (0..50).for_each(|_| town.trades[4].handle(now, Input::Heard { from, message: message.clone() }, &mut out));
    assert!(out.is_empty() && town.trades[4] == before);
}

#[test]
fn views_that_differ_somewhat_vote_together() {
    let mut town = Town::new(&slow());
    town.run(3660);
    // A third more or less for each, one left out, and one who joined lately.
    let others = (0..COUNT - 1).map(|n| (n, 667 + n as u64 % 2 * 666)).chain([(ACCOMPLICE, 800)]);
    propose(&mut town, &proposed(&others.collect::<Vec<_>>(), 3660));
    assert_eq!(open(&town), (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_delegation_is_heard_of_whoever_is_trusted_or_may_vote_once_a_day_and_lately() {
    let mut town = Town::new(&slow());
    town.run(3660);
    let today = ((1_700_000_000 + 3660) / DAY_S) as u32;
    let to = |voter: usize, delegate: usize, day| {
        Ballot::Delegate(Delegation::new(Category::Access, Some(keys(delegate).key()), day, &keys(voter)))
    };
    let mut lines = String::new();
    let mut say = |name: &str, town: &mut Town, ballot: Ballot| {
        let (kept, mut out) = (town.lines[4].len(), vec![]);
        let (now, message) = (town.local(4), Message::Ballot(Box::new(ballot)));
        town.trades[4].handle(now, Input::Heard { from: keys(1).key(), message }, &mut out);
        out.into_iter().for_each(|effect| town.perform(4, effect));
        lines += &format!("{name}: {}\n", town.lines[4].len() - kept);
    };
    say("of one who is trusted", &mut town, to(1, 3, today));
    say("the same", &mut town, to(1, 3, today));
    say("another that day", &mut town, to(1, 5, today));
    say("a third", &mut town, to(1, 6, today));
    say("of last week", &mut town, to(1, 6, today - 7));
    say("of the day before", &mut town, to(1, 6, today - 8));
    say("of tomorrow, which is less than an hour away", &mut town, to(1, 6, today + 1));
    say("of the day after", &mut town, to(1, 6, today + 2));
    say("of a stranger", &mut town, to(ACCOMPLICE, 3, today));
    let others = (0..COUNT).map(|n| (n, 1000)).chain([(ACCOMPLICE, 800)]);
    propose(&mut town, &proposed(&others.collect::<Vec<_>>(), 3660));
    say("of the same stranger, who may vote by now", &mut town, to(ACCOMPLICE, 3, today));
    assert_eq!(
        lines,
        "of one who is trusted: 1\n\
         the same: 0\n\
         another that day: 1\n\
         a third: 0\n\
         of last week: 1\n\
         of the day before: 0\n\
         of tomorrow, which is less than an hour away: 1\n\
         of the day after: 0\n\
         of a stranger: 0\n\
         of the same stranger, who may vote by now: 1\n"
    );
}

#[test]
fn a_node_whose_power_went_before_the_simulator_answered_asks_it_again() {
    let mut town = Town::new(&slow());
    town.run(3660);
    propose(&mut town, &longer_tasks(3660));
    let simulated = |line: &&Line| matches!(Message::decode(&line.message), Ok(Message::Ballot(ballot)) if matches!(*ballot, Ballot::Simulated { .. }));
    let answer = town.lines[4].iter().position(|line| simulated(&line)).expect("it answered");
    let asked = |lines: &[Line]| {
        let (mut trade, mut out) = (Trade::restore(slow(), birth(4), lines.iter().cloned()), vec![]);
        let due = trade.deadline().unwrap();
        trade.tick(due, &mut out);
        assert!(trade.deadline().unwrap() > due, "progress");
        out.iter().filter(|effect| matches!(effect, Effect::Run(Job::Simulate { .. }))).count()
    };
    assert_eq!(asked(&town.lines[4][..answer]), 1);
    assert_eq!(asked(&town.lines[4]), 0);
}
