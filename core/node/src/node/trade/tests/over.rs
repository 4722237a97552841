//! Work that is over is closed, whoever ends it and how.

use super::*;

/// Only 8 serves the model, with one slot, and everybody trusts it.
fn only_one(n: usize) -> Config {
    let models = if n == 8 { vec![(MODEL, Size::Medium)] } else { vec![] };
    let mut config = Config { models, ..config() };
    config.worker.slots = 1;
    config
}

fn town(config: impl Fn(usize) -> Config) -> Town {
    let mut town = Town::with(config);
    town.run(12);
    town
}

fn balance(town: &Town, n: usize) -> i64 {
    town.trades[n].account().balance()
}

fn ticks(town: &Town) -> i64 {
    town.events.iter().filter(|event| matches!(event.1, Event::Ticked { .. })).count() as i64
}

/// Runs until something, or for a minute.
fn run_until(town: &mut Town, done: impl Fn(&Town) -> bool) {
    let end = town.now + Duration::from_secs(60);
    while !done(town) && town.step(end) {}
    assert!(done(town));
}

/// The client gives each tick just before its credit is over.
fn pays_slowly(town: &mut Town, seconds: u64) {
    let end = town.now + Duration::from_secs(seconds);
    while town.now < end {
        town.mute = vec![0];
        town.run(3);
        town.mute.clear();
        let before = town.answered;
        let give = town.now + Duration::from_secs(2);
        while town.answered == before && town.step(give) {}
    }
}

#[test]
fn nobody_is_worked_for_so_long_that_the_hold_could_run_out() {
    let mut town = town(|n| {
        let mut config = only_one(n);
        if n == 8 {
            config.client.task_max = Duration::from_secs(20);
        }
        config
    });
    town.ask(0, Ask::Work(wish(1024)));
    run_until(&mut town, |town| ticks(town) == 1);
    pays_slowly(&mut town, 40);
    assert!(town.trades[8].guests.is_empty(), "it stopped after twenty seconds");
    town.run(10);
    let (given, tick) = (ticks(&town), 1034 * 1000 / 32 + 1);
    assert!((3..10).contains(&given), "{given}");
    // The last one may have been under way; the rest was paid minutes before the client may close.
    assert!([given * tick, (given - 1) * tick].contains(&balance(&town, 8)), "{}", balance(&town, 8));
}

#[test]
fn a_hold_for_too_short_or_too_long_is_none_to_work_for() {
    for (longer, agrees) in [(0, true), (-181, false), (421, false), (u64::MAX as i128, false)] {
        let mut town = town(only_one);
        town.ask(0, Ask::Work(wish(64)));
        // What the client offers, and the worker is shown instead.
        run_until(&mut town, |town| {
            town.queue.iter().any(|what| matches!(what.1, Input::Heard { message: Message::Offer { .. }, .. }))
        });
        for what in &mut town.queue {
            if let Input::Heard { message: Message::Offer { terms, .. }, .. } = &mut what.1 {
                terms.until = UnixTime((i128::from(terms.until.0) + longer).min(u64::MAX.into()) as u64);
            }
        }
        let consents = |town: &Town| {
            town.queue.iter().any(|what| matches!(what.1, Input::Heard { message: Message::Consent { .. }, .. }))
        };
        let end = town.now + Duration::from_secs(1);
        while !consents(&town) && town.step(end) {}
        assert_eq!(consents(&town), agrees, "{longer} s");
    }
}

#[test]
fn a_stop_after_the_last_block_was_written_leaves_no_slot_behind() {
    let mut town = town(only_one);
    town.ask(0, Ask::Work(wish(256)));
    run_until(&mut town, |town| ticks(town) == 3);
    // All eight are written; the fourth is on its way.
    let (client, worker) = (keys(0).key(), &town.trades[8]);
    let (_, task) = *worker.guests.keys().next().unwrap();
    town.queue.push_back((8, Input::Heard { from: client, message: Message::Stop(task) }));
    town.mute = vec![0];
    town.run(30);
    assert!(town.trades[8].guests.is_empty() && !town.trades[8].worker.has(&(client, task)));
    town.mute.clear();
    town.run(30);
    assert!(balance(&town, 8) >= 3 * 33_250, "what was paid is not lost: {}", balance(&town, 8));
    town.replies.clear();
    town.ask(1, Ask::Work(wish(64)));
    town.run(30);
    assert!(matches!(town.replies[..], [(1, Answer::Worked { tokens: 64, .. })]), "{:?}", town.replies);
}

#[test]
fn an_engine_that_never_stops_keeps_its_slot_and_not_the_pay() {
    let mut town = town(|n| {
        let mut config = only_one(n);
        config.client.task_max = Duration::from_secs(if n == 8 { 20 } else { 300 });
        config
    });
    (town.stuck, town.deaf) = (vec![8], true);
    town.ask(0, Ask::Work(wish(64)));
    run_until(&mut town, |town| !town.hanging.is_empty());
    town.run(40);
    assert!(town.trades[8].guests.is_empty(), "it waits for nothing any more");
    assert!(town.trades[8].worker.has(&town.hanging[0]), "the slot is not free");
}

#[test]
fn who_sets_nothing_aside_takes_nothing_from_the_hour() {
    let mut town = town(only_one);
    let (stranger, date) = (keys(3).key(), UnixTime(1_700_000_020));
    let before = town.trades[8].may_earn(date);
    for task in 0..20 {
        let order = wish(1).order;
        let terms = Terms {
            payee: keys(8).key(),
            turn: task,
            cap: before,
            tick: before,
            until: UnixTime(date.0 + 600),
            root: Digest([1; 32]),
        };
        let offer = Message::Offer {
            task,
            epoch: 0,
            from: 0,
            terms,
            promise: Digest([0; 32]),
            number: Digest([0; 32]),
            withheld: Ppm(0),
        };
        for message in [Message::Reserve { task, model: MODEL, order, price_max: u32::MAX }, offer] {
            let mut out = vec![];
            town.trades[8].handle(town.now, Input::Heard { from: stranger, message }, &mut out);
        }
    }
    assert_eq!(town.trades[8].may_earn(date), before);
    town.run(10);
    town.ask(0, Ask::Work(wish(64)));
    town.run(30);
    assert!(matches!(town.replies[..], [(0, Answer::Worked { tokens: 64, .. })]), "{:?}", town.replies);
    // What was set aside and not earned comes back.
    let earned = u64::try_from(balance(&town, 8)).unwrap();
    assert_eq!(town.trades[8].may_earn(date), Credits(before.0 - earned));
}

#[test]
fn who_may_earn_no_more_in_this_hour_says_so_and_is_not_blamed() {
    let mut town = town(only_one);
    let date = UnixTime(1_700_000_020);
    let left = town.trades[8].may_earn(date);
    let policy = crate::node::govern::policy(&town.trades[8].parameters);
    town.trades[8].earnings.take(&policy, left, date).unwrap();
    town.ask(0, Ask::Work(wish(64)));
    town.run(60);
    assert!(matches!(town.replies[..], [(0, Answer::Unable { .. })]), "{:?}", town.replies);
    assert_eq!(town.trades[0].reputation().local(&keys(8).key()).map_or(0, |local| local.tasks()), 0);
    assert!(town.trades[0].guards.is_empty());
}

#[test]
fn a_client_that_lost_its_power_remembers_what_it_gave() {
    let mut town = town(only_one);
    town.ask(0, Ask::Work(wish(256)));
    run_until(&mut town, |town| ticks(town) == 3);
    let debt = |town: &Town| town.trades[0].debts.values().map(|debt| debt.ticks).max();
    assert_eq!(debt(&town), Some(3));
    // The hold, its last entry, is certified once more.
    let (terms, signed, certificate) = {
        let trade = &town.trades[0];
        let signed = (**trade.pen.log.since(1).last().unwrap()).clone();
        let Act::Hold(terms) = signed.entry.act else { panic!("{signed:?}") };
        let statement = signed.entry.statement();
        let set = trade.pen.set().unwrap().digest();
        (terms, signed, Certificate { statement, set, votes: vec![] })
    };
    town.trades[0].hold_certified(town.now, terms, signed, certificate, &mut vec![]);
    assert_eq!(debt(&town), Some(3));
}

/// The client shows its hold to a quorum only, and one of that is its accomplice, who says nothing when it is to be closed.
#[test]
fn who_worked_for_a_hold_that_was_hidden_from_a_witness_is_paid() {
    let mut town = town(only_one);
    let set = town.trades[0].set().unwrap().clone();
    let members: Vec<usize> = (1..8).filter(|n| set.index(&keys(*n).key()).is_some()).collect();
    let (left_out, accomplice) = (members[0], members[1]);
    town.ask(0, Ask::Work(wish(64)));
    let client = keys(0).key();
    let stolen = |n: usize, input: &Input| match input {
        Input::Heard { from, message: Message::Show { .. } } => n == left_out && *from == client,
        Input::Heard { message: Message::Close { .. }, .. } => n == accomplice,
        _ => false,
    };
    let end = town.now + Duration::from_secs(60);
    loop {
        town.queue.retain(|what| !stolen(what.0, &what.1));
        if !town.step(end) {
            break;
        }
    }
    assert!(town.trades[left_out].witness.fold(&client).unwrap().next() == 1, "it never saw the hold");
    let paid: i64 = ticks(&town) * 37_000;
    assert_eq!(balance(&town, 8), paid);
}

#[test]
fn what_a_payer_says_again_and_again_is_received_once() {
    let mut town = town(only_one);
    town.ask(0, Ask::Work(wish(64)));
    run_until(&mut town, |town| ticks(town) == 2);
    // The worker's log stands still meanwhile: nobody's vote for it arrives.
    let (client, worker) = (keys(0).key(), keys(8).key());
    let is_vote = |input: &Input| matches!(input, Input::Heard { message: Message::Vote { statement, .. }, .. } if statement.account == worker);
    let end = town.now + Duration::from_secs(5);
    let mut paid = None;
    loop {
        for (_, input) in &town.queue {
            if let Input::Heard { message: Message::Paid(evidence), .. } = input {
                paid = Some(evidence.clone());
            }
        }
        town.queue.retain(|what| !is_vote(&what.1));
        if !town.step(end) {
            break;
        }
    }
    let message = Message::Paid(paid.unwrap());
    let mut out = vec![];
    for _ in 0..20 {
        town.trades[8].handle(town.now, Input::Heard { from: client, message: message.clone() }, &mut out);
    }
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Tell(Event::Settled(_)))), "it waits to be written");
}

#[test]
fn nobody_is_blamed_for_a_hold_that_those_who_watch_its_client_do_not_certify() {
    let mut town = town(only_one);
    let client = keys(0).key();
    town.ask(0, Ask::Work(wish(64)));
    let end = town.now + Duration::from_secs(60);
    let is_vote = |input: &Input| matches!(input, Input::Heard { message: Message::Vote { statement, .. }, .. } if statement.account == client);
    loop {
        town.queue.retain(|what| !is_vote(&what.1));
        if !town.step(end) {
            break;
        }
    }
    assert!(matches!(town.replies[..], [(0, Answer::Unable { .. })]), "{:?}", town.replies);
    assert!(town.trades[0].guards.is_empty(), "{:?}", town.trades[0].guards);
    assert_eq!(town.trades[0].reputation().local(&keys(8).key()).map_or(0, |local| local.tasks()), 0);
}

/// f of those who watch an account trust it less than the others. They must see what it writes, or one more that is away stops it.
#[test]
fn who_would_let_an_account_owe_less_follows_what_the_others_certified() {
    let first = town(only_one);
    let set = first.trades[0].set().unwrap().clone();
    let members: Vec<usize> = (1..8).filter(|n| set.index(&keys(*n).key()).is_some()).collect();
    let (strict, other) = (members[0], members[1]);
    let mut town = town(|n| {
        let mut config = only_one(n);
        if n == strict {
            config.lent.pool = Credits(9);
        }
        config
    });
    let seen = |town: &Town| town.trades[strict].witness.fold(&keys(0).key()).unwrap().next();
    for _ in 0..2 {
        town.replies.clear();
        town.ask(0, Ask::Work(wish(64)));
        town.run(40);
        assert!(matches!(town.replies[..], [(0, Answer::Worked { tokens: 64, .. })]), "{:?}", town.replies);
    }
    assert!(town.trades[0].account().balance() < 0);
    assert!(seen(&town) + 1 >= town.trades[0].pen.certified, "{} of {}", seen(&town), town.trades[0].pen.certified);
    // Without the other it would have the last word: what is received, or comes back, it certifies.
    town.leave(other);
    let before = town.trades[0].pen.certified;
    town.trades[strict].config.lent.pool = town.trades[0].config.lent.pool;
    town.ask(0, Ask::Work(wish(64)));
    town.run(60);
    assert!(town.trades[0].pen.certified > before + 1, "the account goes on");
}

#[test]
fn who_worked_on_many_days_in_a_row_asks_more_as_members_decided_and_no_more_than_its_client_would_pay() {
    let day = 1_700_000_000 / 86_400;
    let usual = 74_000;
    for (cap, most, paid) in [
        (None, 2_000_000, 3 * usual / 2),
        (Some(100_000), 2_000_000, 11 * usual / 10),
        (Some(0), 2_000_000, usual),
        (None, 1_200_000, 6 * usual / 5),
        (None, 1_000_000, usual),
    ] {
        let mut town = town(only_one);
        town.trades[8].streak = streak::Streak { day: day - 1, days: 30 };
        if let Some(cap) = cap {
            let parameters = Parameters::default().with(Parameter::StreakBonusCap, Value::Share(Ppm(cap))).unwrap();
            town.trades[8].govern(parameters);
        }
        town.ask(0, Ask::Work(Wish { price_max: most, ..wish(64) }));
        town.run(30);
        assert_eq!(balance(&town, 8), paid, "{cap:?} {most}");
        // It has worked today, and knows after a loss of power.
        let again = Trade::restore(only_one(8), birth(8), town.lines[8].clone());
        assert_eq!(again.streak, streak::Streak { day, days: 31 });
    }
}
