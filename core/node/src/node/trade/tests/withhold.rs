//! Pay of newcomers that waits for the audit.

use super::*;

/// Only 0 and 8 serve the model, and nobody trusts 8 yet: it works for 0, who audits.
fn newcomer(n: usize) -> Config {
    let seeds = (0..8).map(|n| (keys(n).key(), 1)).collect();
    let models = if n == 0 || n == 8 { vec![(MODEL, Size::Medium)] } else { vec![] };
    Config { seeds, models, ..config() }
}

fn town() -> Town {
    let mut town = Town::with(newcomer);
    town.run(12);
    town
}

fn balance(town: &Town, n: usize) -> i64 {
    town.trades[n].account().balance()
}

/// What a block of so many tokens costs: 40 tokens read are a tenth of that written.
fn tick(tokens: u64) -> i64 {
    i64::try_from(((tokens + 10) * 1000).div_ceil(tokens.div_ceil(32))).unwrap()
}

/// Ticks before the audit was through, and after it.
fn ticks(town: &Town) -> (usize, usize) {
    let is_audit = |event: &(usize, Event)| matches!(event.1, Event::Audited { .. });
    let is_tick = |event: &&(usize, Event)| matches!(event.1, Event::Ticked { .. });
    let at = town.events.iter().position(is_audit).unwrap_or(town.events.len());
    let (before, after) = town.events.split_at(at);
    (before.iter().filter(is_tick).count(), after.iter().filter(is_tick).count())
}

#[test]
fn a_newcomer_is_paid_in_part_and_the_rest_when_its_work_was_right() {
    let mut town = town();
    town.ask(0, Ask::Work(wish(256)));
    town.run(30);
    assert!(matches!(town.replies[..], [(0, Answer::Worked { tokens: 256, .. })]), "{:?}", town.replies);
    assert_eq!(ticks(&town), (2, 6), "65 of 100, rounded up");
    assert_eq!((balance(&town, 0), balance(&town, 8)), (-8 * tick(256), 8 * tick(256)));
    assert_eq!(town.trades[0].account().held(), Credits(0));
    // Whom it knows it pays at once.
    town.trades[0].reputation.choose_seeds(&[(keys(8).key(), 50)]).unwrap();
    town.trades[0].reputation.recompute();
    town.events.clear();
    town.ask(0, Ask::Work(wish(256)));
    town.run(30);
    assert_eq!(ticks(&town), (8, 0));
}

#[test]
fn what_is_withheld_of_the_guilty_stays_with_the_client() {
    let mut town = town();
    town.lies = usize::MAX;
    town.ask(0, Ask::Work(wish(256)));
    town.run(60);
    assert!(town.events.iter().any(|event| matches!(event.1, Event::Audited { right: false, .. })));
    // Half of the pay stays there; what was for a jury goes back, as nobody asked for one.
    assert_eq!(ticks(&town), (2, 2));
    assert_eq!((balance(&town, 0), balance(&town, 8)), (-4 * tick(256), 4 * tick(256)));
    assert_eq!((town.trades[0].account().held(), town.trades[8].arrears.len()), (Credits(0), 0));
    // To that client nothing more is lent.
    let accepts = |client: usize| town.trades[8].accepts(&keys(client).key(), &wish(256).order, 1_000_000);
    assert_eq!((accepts(0), accepts(1)), (Ppm(0), Ppm::ALL));
}

#[test]
fn what_a_worker_lets_be_withheld_is_bounded_by_trust_and_by_what_is_owed() {
    let mut town = town();
    town.silent = true;
    let order = wish(256).order;
    let accepts = |town: &Town| town.trades[8].accepts(&keys(0).key(), &order, 1_000_000);
    assert_eq!(accepts(&town), Ppm::ALL);
    // 0.266 credits each, of which six blocks of eight are owed: after four of them a credit is not enough for all of one more.
    (0..4).for_each(|_| {
        town.ask(0, Ask::Work(wish(256)));
        town.run(1);
    });
    let left = 1_000_000 - 4 * 6 * u64::try_from(tick(256)).unwrap();
    assert_eq!(town.trades[8].arrears.len(), 4);
    assert_eq!(u64::from(accepts(&town).0), left * 1_000 / 266);
    // A client that it does not trust owes it nothing.
    let stranger = town.trades[8].accepts(&NodeId::number(9), &order, 1_000_000);
    assert_eq!(stranger, Ppm(0));
}

/// Four blocks that are wrong are too few for a verdict, and eight more are enough.
#[test]
fn pay_that_an_audit_leaves_in_doubt_waits_for_the_next_one() {
    for (lies, paid) in [(2, 6), (1, 12)] {
        let mut town = town();
        town.lies = lies;
        town.ask(0, Ask::Work(wish(128)));
        town.run(10);
        assert_eq!((ticks(&town), town.trades[8].arrears.len()), ((1, 0), 1));
        assert!(town.trades[0].is_suspect(&keys(8).key(), MODEL));
        town.ask(0, Ask::Work(wish(256)));
        town.run(60);
        let ticked = town.events.iter().filter(|event| matches!(event.1, Event::Ticked { .. })).count();
        assert_eq!((ticked, town.trades[8].arrears.len()), (paid, 0), "{lies}");
    }
    // If there is no next one, it is paid before the worker would close the hold without; unless others found it out.
    for (observers, paid) in [(0, 4), (3, 2)] {
        let mut town = town();
        town.lies = 1;
        town.ask(0, Ask::Work(wish(128)));
        town.run(10);
        let alarm = quarantine::Input::Alarm { peer: keys(8).key(), observers };
        town.trades[0].quarantine.handle(town.now, alarm, &mut vec![]);
        town.run(700);
        assert_eq!((balance(&town, 8), town.trades[8].unreleased.len()), (paid * tick(128), usize::from(paid < 4)));
    }
}

#[test]
fn a_client_that_never_releases_is_remembered_as_one_who_does_not_pay() {
    let mut town = town();
    town.silent = true;
    town.ask(0, Ask::Work(wish(256)));
    town.run(5);
    town.away = Some(0);
    assert_eq!(town.trades[8].arrears.len(), 1);
    town.run(700);
    let seen = town.trades[8].sightings.get(&(keys(0).key(), MODEL, Sign::Failed));
    assert_eq!((seen, balance(&town, 8)), (Some(&(1, 1)), 2 * tick(256)));
    assert!(town.trades[8].unreleased.contains(&keys(0).key()));
}

/// Host 8 works for 0 and has said nothing of a block yet.
fn working() -> (Town, Key) {
    let mut town = town();
    town.stuck = vec![8];
    town.ask(0, Ask::Work(wish(256)));
    town.run(2);
    let key = *town.trades[8].guests.keys().next().unwrap();
    (town, key)
}

/// The engine of 8 writes a block, up to token `tokens`.
fn write(town: &mut Town, key: Key, tokens: u32) {
    town.queue.push_back((8, Input::Worked(Worked::Wrote { key, tokens, block: block() })));
    town.run(1);
}

#[test]
fn no_more_is_withheld_than_was_agreed() {
    let (mut town, key) = working();
    town.mute = vec![0];
    let withheld = |town: &Town| match &town.trades[8].guests[&key].stage {
        run::Stage::Working(shift) => shift.withheld,
        _ => panic!("it works"),
    };
    let say = |town: &mut Town, epoch, tokens| {
        let message = Message::Withhold { task: key.1, epoch, tokens };
        town.queue.push_back((8, Input::Heard { from: key.0, message }));
        town.run(0);
        withheld(town)
    };
    write(&mut town, key, 32);
    assert_eq!((say(&mut town, 9, 32), say(&mut town, 1, 33)), (0, 0), "another lease, another block");
    assert_eq!((say(&mut town, 1, 32), say(&mut town, 1, 32)), (1, 1), "the first of two, once");
    // Of three blocks two may be withheld, of four three; of five no fourth.
    for (tokens, most) in [(64, 2), (96, 2)] {
        write(&mut town, key, tokens);
        assert_eq!(say(&mut town, 1, tokens), most, "{tokens}");
    }
}

#[test]
fn nothing_is_withheld_of_whom_did_not_say_so() {
    let mut town = town();
    town.trades[8].unreleased.insert(keys(0).key());
    town.ask(0, Ask::Work(wish(256)));
    // The client takes a quote for another one.
    let is_quoted = |town: &Town| town.trades[0].tasks.values().any(|wanted| !wanted.quotes.is_empty());
    while !is_quoted(&town) {
        assert!(town.step(Instant::from_millis(60_000)), "it is asked");
    }
    for wanted in town.trades[0].tasks.values_mut() {
        wanted.quotes.values_mut().for_each(|quote| *quote = (quote.0, Ppm::ALL));
    }
    town.run(20);
    assert_eq!((town.answered, balance(&town, 8)), (0, 0));
}

#[test]
fn what_is_left_in_the_middle_is_audited_and_then_paid() {
    for (lies, paid) in [(0, 5), (usize::MAX, 2)] {
        let (mut town, key) = working();
        (1..=5).for_each(|n| write(&mut town, key, 32 * n));
        town.lies = lies;
        town.ask(0, Ask::Cancel);
        town.run(60);
        assert!(matches!(town.replies[..], [(0, Answer::Unable { why: Why::Cancelled, .. })]), "{:?}", town.replies);
        // Of five blocks four are withheld, of which three stay with the client if they were not right.
        assert_eq!((town.audits, balance(&town, 8)), (1, paid * tick(256)));
    }
}

/// The power of one side goes at each of its saves of a session: what was acknowledged is paid in the end, and nothing stays held.
#[test]
fn a_loss_of_power_of_either_side_loses_nothing_that_was_acknowledged() {
    for who in [0, 8] {
        let lines = {
            let mut town = town();
            let before = town.lines[who].len();
            town.ask(0, Ask::Work(wish(128)));
            town.run(30);
            before..town.lines[who].len()
        };
        assert!(!lines.is_empty(), "{lines:?}");
        for at in lines {
            let mut town = town();
            town.crash = Some((who, at + 1));
            town.ask(0, Ask::Work(wish(128)));
            town.run(1_000);
            let (paid, earned) = (balance(&town, 0), balance(&town, 8));
            let owed = i64::try_from(town.answered).unwrap() * tick(128);
            assert_eq!(town.crash, None);
            assert!(earned >= owed && earned == -paid, "{who} after line {at}: {earned} of {owed}, paid {paid}");
            assert_eq!(town.trades[0].account().held(), Credits(0), "{who} after line {at}");
        }
    }
}
