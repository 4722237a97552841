//! Whoever is found guilty by the word of others appeals.

use super::*;
use crate::trust::{reputation::local::Session, verify::dispute::Verdict};

/// All but 0 serve the model; 8 is new, and 0 gives work to nobody else: the others have failed it.
fn town() -> Town {
    let models = |n: usize| if n == 0 { vec![] } else { vec![(MODEL, Size::Medium)] };
    let mut town = Town::with(|n| {
        let seeds = (0..8).map(|n| (keys(n).key(), 1)).collect();
        Config { seeds, models: models(n), ..config() }
    });
    let bad = Session { done: false, accuracy: None, speed: None };
    for n in (1..8).cycle().take(7 * 12) {
        let _ = town.trades[0].reputation.session(UnixTime(1_700_000_000), keys(n).key(), bad, Credits(0));
    }
    town.run(12);
    town
}

/// What a block costs of 256 tokens.
const TICK: i64 = 33_250;

/// How it ended, what 8 was paid in blocks of eight, whether it is barred, and how many were asked.
fn end(town: &mut Town) -> (Option<Verdict>, i64, bool, usize) {
    town.ask(0, Ask::Work(wish(256)));
    town.run(60);
    let judged = town.events.iter().find_map(|event| match event.1 {
        Event::Judged { verdict, .. } => Some(verdict),
        _ => None,
    });
    let barred = town.events.iter().any(|event| event == &(0, Event::Barred(keys(8).key())));
    assert_eq!(town.trades[0].account().held(), Credits(0));
    (judged, town.trades[8].account().balance() / TICK, barred, town.audits)
}

/// How many auditors 0 saw to be wrong.
fn wrong(town: &Town) -> u32 {
    let failed = |sight: &(NodeId, u64, Sign)| sight.2 == Sign::Failed && sight.0 != keys(8).key();
    town.trades[0].sightings.iter().filter(|(sight, _)| failed(sight)).map(|(_, seen)| seen.1).sum()
}

#[test]
fn whom_liars_condemn_a_jury_frees_and_they_are_remembered() {
    let mut town = town();
    town.lies = 2;
    // Seven may audit: two did, and five are left.
    assert_eq!(end(&mut town), (Some(Verdict::Overturned), 8, false, 7));
    assert_eq!(wrong(&town), 2);
    assert!(town.trades[0].unheard.is_empty() && town.trades[0].audits.is_empty());
}

#[test]
fn whoever_appeals_in_vain_pays_for_the_jury_and_is_not_heard_again() {
    let mut town = town();
    town.lies = usize::MAX;
    assert_eq!(end(&mut town), (Some(Verdict::Upheld), 2, true, 7));
    assert_eq!(wrong(&town), 0);
    assert!(town.trades[0].unheard.contains_key(&keys(8).key()));
}

#[test]
fn a_jury_without_a_majority_punishes_nobody() {
    let mut town = town();
    (town.lies, town.silent) = (4, true);
    assert_eq!(end(&mut town), (Some(Verdict::Open), 8, false, 7), "two of five accuse, the others are silent");
    assert_eq!(wrong(&town), 0);
}

#[test]
fn who_is_not_heard_has_its_stake_back() {
    let cases: [fn(&mut Trade<Identity>); 3] = [
        |trade| trade.config.dispute.open_max = 0,
        |trade| {
            let _ = trade.unheard.insert(keys(8).key(), Instant::from_millis(1 << 40));
        },
        |trade| trade.config.dispute.jurors_max = 0,
    ];
    for (at, case) in cases.into_iter().enumerate() {
        let mut town = town();
        case(&mut town.trades[0]);
        town.lies = usize::MAX;
        assert_eq!(end(&mut town), (Some(Verdict::Accepted), 4, true, 2), "{at}");
    }
}

#[test]
fn an_appeal_is_heard_once_and_only_from_the_accused() {
    let mut town = town();
    (town.lies, town.silent) = (2, true);
    town.ask(0, Ask::Work(wish(256)));
    town.run(4);
    let task = town.trades[0].audits.keys().next().unwrap().0;
    assert_eq!(town.audits, 7, "a jury of five sits");
    assert!(town.trades[0].contested().contains(&keys(8).key()), "it gets no work until that is decided");
    for from in [8, 8, 3] {
        town.queue.push_back((0, Input::Heard { from: keys(from).key(), message: Message::Appeal(task) }));
    }
    town.run(2);
    assert_eq!(town.audits, 7);
    // Of a task that it did not do a worker does not say anything, nor to whom says to have looked itself.
    let mut out = vec![];
    let (client, other) = (keys(0).key(), keys(1).key());
    let trade = &town.trades[8];
    trade.accused((client, task + 1), &[other], &mut out);
    trade.accused((other, task), &[other], &mut out);
    trade.accused((client, task), &[other, client], &mut out);
    assert_eq!(out, []);
    trade.accused((client, task), &[other], &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn what_a_client_computed_itself_is_not_open_to_appeal() {
    let mut town = town();
    town.trades[0].config.models = vec![(MODEL, Size::Medium)];
    town.lies = usize::MAX;
    assert_eq!(end(&mut town), (None, 4, true, 2));
}
