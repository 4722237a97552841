//! What auditors look at, and what follows from what they say.

use super::*;
use crate::trust::{reputation::local::Session, verify::commit};

/// Only 0 and 8 serve the model, and 8 is new: it works for 0, who audits.
fn town() -> Town {
    let seeds = || (0..8).map(|n| (keys(n).key(), 1)).collect();
    let models = |n: usize| if n == 0 || n == 8 { vec![(MODEL, Size::Medium)] } else { vec![] };
    let mut town = Town::with(|n| Config { seeds: seeds(), models: models(n), ..config() });
    town.run(12);
    town
}

/// Whether each audit found the work to be right.
fn verdicts(town: &Town) -> Vec<bool> {
    let right = |event: &(usize, Event)| match event.1 {
        Event::Audited { right, .. } => Some(right),
        _ => None,
    };
    town.events.iter().filter_map(right).collect()
}

#[test]
fn who_cheats_only_after_the_blocks_of_one_audit_is_caught() {
    let mut town = town();
    // A hundred and sixty blocks, and the first 64 are right.
    town.spoils = Some((8, 64 * 32));
    for _ in 0..4 {
        town.ask(0, Ask::Work(wish(160 * 32)));
        town.run(120);
        if verdicts(&town).contains(&false) {
            break;
        }
    }
    assert!(verdicts(&town).contains(&false), "{:?} {:?}", verdicts(&town), town.replies);
    assert!(town.events.contains(&(0, Event::Barred(keys(8).key()))));
}

#[test]
fn all_who_are_asked_about_a_long_answer_are_asked_about_the_same_blocks() {
    let models = |n: usize| if n == 0 { vec![] } else { vec![(MODEL, Size::Medium)] };
    let mut town = Town::with(|n| Config { models: models(n), ..config() });
    town.run(12);
    town.lies = usize::MAX;
    let mut windows = alloc::collections::BTreeSet::new();
    for _ in 0..6 {
        town.heard.clear();
        town.ask(0, Ask::Work(wish(100 * 32)));
        town.run(60);
        let asked: Vec<(u32, usize)> = town
            .heard
            .iter()
            .filter_map(|heard| match &heard.2 {
                Input::Heard { message: Message::Audit { first, blocks, .. }, .. } => Some((*first, blocks.len())),
                _ => None,
            })
            .collect();
        assert!(asked.windows(2).all(|pair| pair[0] == pair[1]), "{asked:?}");
        let told = |heard: &(usize, Instant, Input)| match &heard.2 {
            Input::Heard { message: Message::Verdict { first, .. }, .. } => Some(*first),
            _ => None,
        };
        let verdict = town.heard.iter().find_map(told);
        assert!(asked.len() > 1 && verdict == Some(asked[0].0) && asked[0].1 == 64, "{asked:?} {verdict:?}");
        windows.insert(asked[0].0);
    }
    assert!(windows.len() > 2 && windows.iter().all(|first| *first <= 36), "{windows:?}");
}

/// Honest back ends of different makers, and the same model with one step fewer bits, as `trust::verify::sequential` models them:
/// one honest block in ten is likelier of a cheat.
fn overlapping() -> Calibration {
    let bell = |middle: f64, width: f64| {
        core::array::from_fn(|at| (1e6 * (-((at as f64 - middle) / width).powi(2) / 2.0).exp()) as u64)
    };
    Calibration::new(&bell(14.0, 2.0), &bell(20.0, 2.5)).unwrap()
}

/// What a machine computes that is so far off.
fn off(distance: u8) -> Fingerprint {
    let apart = |sum: i16| Fingerprint(core::array::from_fn(|at| 700 + sum / 16 + i16::from((at as i16) < sum % 16)));
    (0..9_000).map(apart).find(|it| commit::distance(it, &block().fingerprint) == distance).unwrap()
}

/// 8 works for 0, and others audit.
fn strangers() -> Town {
    let seeds = || (0..8).map(|n| (keys(n).key(), 1)).collect();
    let models = |n: usize| if n == 0 { vec![] } else { vec![(MODEL, Size::Medium)] };
    let calibration = Some(overlapping());
    let config = |n| Config { seeds: seeds(), models: models(n), calibration: calibration.clone(), ..config() };
    let mut town = Town::with(config);
    let bad = Session { done: false, accuracy: None, speed: None };
    for n in (1..8).cycle().take(7 * 12) {
        let _ = town.trades[0].reputation.session(UnixTime(1_700_000_000), keys(n).key(), bad, Credits(0));
    }
    town.run(12);
    town
}

#[test]
fn honest_blocks_that_are_likelier_of_a_cheat_are_not_wrong() {
    let mut town = strangers();
    town.says = [14, 18, 14, 15, 17, 16, 20, 14].map(off).to_vec();
    town.ask(0, Ask::Work(wish(256)));
    town.run(30);
    assert_eq!(verdicts(&town), [true]);
    let sight = (keys(8).key(), MODEL, Sign::Wrong);
    assert_eq!(town.trades[0].sightings.get(&sight), Some(&(8, 0)));
    let local = town.trades[0].reputation().local(&keys(8).key()).unwrap();
    assert_eq!(local.tasks(), 1);
    town.says[1] = off(22);
    town.ask(0, Ask::Work(wish(256)));
    town.run(30);
    assert_eq!(town.trades[0].sightings.get(&sight), Some(&(16, 1)));
}

#[test]
fn who_finishes_what_others_began_is_timed_by_its_own_part() {
    let mut town = Town::new(&config());
    town.run(12);
    for _ in 0..9 {
        town.ask(0, Ask::Work(wish(64)));
        town.run(30);
    }
    town.ask(0, Ask::Work(wish(320)));
    let end = town.now + Duration::from_secs(10);
    while town.trades[0].tasks.values().all(|wanted| wanted.tokens < 288) {
        assert!(town.step(end));
    }
    let lease = town.trades[0].tasks.values().find_map(|wanted| wanted.lease.as_ref()).unwrap();
    town.away = (0..COUNT).find(|n| keys(*n).key() == lease.worker);
    town.run(300);
    let last = town.replies.last();
    assert!(matches!(last, Some((0, Answer::Worked { tokens: 320, .. }))) && town.replies.len() == 10, "{last:?}");
    let greedy = town.trades[0].sightings.iter().filter(|(sight, _)| sight.2 == Sign::Greedy);
    let (looked, seen) = greedy.fold((0, 0), |sum, (_, seen)| (sum.0 + seen.0, sum.1 + seen.1));
    // Nobody writes 320 tokens in the time of 64; whoever wrote the last 32 did not.
    assert_eq!((looked, seen), (2, 0));
}

/// One auditor says that the work is nearly guilty, and the next block of an honest answer is a little off.
#[test]
fn one_liar_among_auditors_condemns_nobody_whoever_looks_next() {
    let mut town = strangers();
    town.says = [24, 24, 24, 24, 18, 17, 17, 17].map(off).to_vec();
    town.ask(0, Ask::Work(wish(256)));
    town.run(30);
    assert_eq!((verdicts(&town), town.audits), (vec![true], 1));
    assert!(town.trades[0].is_suspect(&keys(8).key(), MODEL), "all of its work is audited");
    town.says = [18, 14, 14, 15, 13, 14, 14, 14].map(off).to_vec();
    town.ask(0, Ask::Work(wish(256)));
    town.run(30);
    assert_eq!((verdicts(&town), town.audits), (vec![true, true], 2), "nobody accuses");
    assert!(town.events.iter().all(|event| !matches!(event.1, Event::Judged { .. } | Event::Barred(_))));
}

/// Four blocks are too few to condemn for, whoever looks; what others saw before adds up.
#[test]
fn short_answers_of_another_model_are_found_where_others_audit() {
    let mut town = strangers();
    town.says = [20, 19, 21, 20].map(off).to_vec();
    for _ in 0..20 {
        town.ask(0, Ask::Work(wish(128)));
        town.run(30);
        if verdicts(&town).contains(&false) {
            break;
        }
    }
    assert_eq!(verdicts(&town), [true, false], "the first auditor alone cannot tell");
    assert!(town.events.contains(&(0, Event::Barred(keys(8).key()))), "and the jury says so, too");
}
