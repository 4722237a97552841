//! Which sets of witnesses a node believes, and what it remembers of them.

use super::*;
use crate::{
    economy::{
        ledger::entry::Slot,
        witness::terms::{KNOWN_MAX, Standing},
    },
    kit::Domain,
};

/// Somebody of whom nobody in the town knows anything yet.
const STRANGER: usize = 30;

/// What a stranger paid to `payee`, certified by so many of `set`.
fn payment(payee: usize, set: &Set, votes: usize) -> Evidence {
    let act = Act::Pay { payee: keys(payee).key(), turn: 0, amount: Credits(5000) };
    let entry = Entry { account: keys(STRANGER).key(), number: 1, before: Digest([0; 32]), act };
    let statement = entry.statement();
    let digest = statement.vote_digest(&set.digest());
    let members = (0..COUNT).map(keys).filter_map(|keys| Some((set.index(&keys.key())?, keys)));
    let mut votes: Vec<(u8, Signature)> =
        members.map(|(at, keys)| (at, keys.sign(Domain::Vote, &[&digest.0]))).take(votes).collect();
    votes.sort_unstable_by_key(|vote| vote.0);
    let certificate = Certificate { statement, set: set.digest(), votes };
    Evidence { certificate, set: set.clone(), paid: Paid::Entry(entry.sign(None, &keys(STRANGER))) }
}

/// Terms are minutes here, and the second one begins after forty seconds.
#[test]
fn every_set_that_is_shown_for_the_first_time() {
    let mut lines = String::new();
    for (config, before) in [(2, None), (2, Some(1))] {
        let mut town = Town::new(&Config { faults: config, faults_before: before, ..hasty(1_000) });
        town.run(12);
        let term = town.trades[1].term(town.now);
        let all = town.trades[1].trusted(&[]);
        let drawn = |faults, term| Set::draw(&keys(STRANGER).key(), term, faults, &all).unwrap();
        lines += &format!("{config} asked for, {before:?} before\n");
        for (name, set, at) in [
            ("of fewer", drawn(1, term), 13),
            ("of as many", drawn(2, term), 13),
            ("of a term to come", drawn(2, term + 1), 37),
            ("of one that begins, by a clock that is ahead", drawn(2, term + 1), 38),
            ("of one that is long over", drawn(2, term - 50_000), 13),
        ] {
            let now = Instant::from_millis(at * 1000);
            let act = Act::Open { witnesses: set.digest(), faults: set.faults() };
            let entry = Entry { account: keys(STRANGER).key(), number: 0, before: Digest([0; 32]), act };
            let entries = vec![(entry.sign(None, &keys(STRANGER)).into(), None)];
            let member = (0..COUNT).find(|n| set.index(&keys(*n).key()).is_some()).unwrap();
            let message = Message::Show { set: Box::new(set.clone()), next: None, entries };
            let (mut witness, mut out) = (town.trades[member].clone(), vec![]);
            witness.handle(now, Input::Heard { from: keys(STRANGER).key(), message }, &mut out);
            let voted = out.iter().any(|effect| matches!(effect, Effect::Send { message: Message::Vote { .. }, .. }));
            let mut payee = town.trades[1].clone();
            let paid = payee.prove(now, &payment(1, &set, set.quorum()), &mut out).is_some();
            let say = |yes| if yes { "yes" } else { "no" };
            lines += &format!("a set {name}: to begin with {}, in a proof {}\n", say(voted), say(paid));
        }
    }
    assert_eq!(
        lines,
        "2 asked for, None before\n\
         a set of fewer: to begin with no, in a proof no\n\
         a set of as many: to begin with yes, in a proof yes\n\
         a set of a term to come: to begin with no, in a proof no\n\
         a set of one that begins, by a clock that is ahead: to begin with yes, in a proof yes\n\
         a set of one that is long over: to begin with yes, in a proof yes\n\
         2 asked for, Some(1) before\n\
         a set of fewer: to begin with no, in a proof yes\n\
         a set of as many: to begin with yes, in a proof yes\n\
         a set of a term to come: to begin with no, in a proof no\n\
         a set of one that begins, by a clock that is ahead: to begin with yes, in a proof yes\n\
         a set of one that is long over: to begin with yes, in a proof yes\n"
    );
}

#[test]
fn where_more_are_asked_for_than_before_accounts_change_to_more_and_go_on() {
    let mut town = Town::new(&hasty(1_000));
    town.run(12);
    for trade in &mut town.trades {
        (trade.config.faults, trade.config.faults_before) = (2, Some(1));
    }
    town.ask(0, Ask::Work(wish(64)));
    town.run(15);
    assert!(matches!(town.replies[..], [(0, Answer::Worked { tokens: 64, .. })]), "{:?}", town.replies);
    assert!(town.trades.iter().all(|trade| trade.set().unwrap().faults() == 1), "no term has begun since");
    town.run(40);
    assert!(town.trades.iter().all(|trade| trade.set().unwrap().faults() == 2));
    // Everybody had time to change: those of before are taken no more, and known nevertheless.
    town.trades.iter_mut().for_each(|trade| trade.config.faults_before = None);
    for n in [0, 4] {
        town.replies.clear();
        town.ask(n, Ask::Work(wish(64)));
        town.run(40);
        assert!(matches!(town.replies[..], [(_, Answer::Worked { tokens: 64, .. })]), "{:?}", town.replies);
        let account = town.trades[n].account();
        assert_eq!((account.next(), account.held()), (town.trades[n].pen.certified, Credits(0)));
    }
}

#[test]
fn an_opening_that_waits_for_its_quorum_over_many_terms_is_certified_then() {
    let config = hasty(1_000);
    let mut town = Town::new(&config);
    town.run(1);
    let set = Set::draw(&keys(0).key(), town.trades[0].term(town.now), 1, &town.trades[0].trusted(&[])).unwrap();
    let late: Vec<usize> = (1..COUNT).filter(|n| set.index(&keys(*n).key()).is_some()).take(2).collect();
    town.gone = late.clone();
    town.run(300);
    assert_eq!((town.trades[0].account().next(), town.trades[0].pen.certified), (1, 0));
    town.gone.clear();
    let at = UnixTime(birth(0).at.0 + town.now.as_micros() / 1_000_000);
    for n in late {
        town.wake(n, Trade::new(config.clone(), Birth { at, ..birth(n) }));
    }
    town.run(60);
    assert_eq!((town.trades[0].set(), town.trades[0].pen.certified), (Some(&set), 1));
}

#[test]
fn what_is_not_certified_is_not_remembered() {
    let mut town = Town::new(&config());
    town.run(12);
    let (now, mut payee, mut out) = (town.now, town.trades[1].clone(), vec![]);
    let all = payee.trusted(&[]);
    let set = Set::draw(&keys(STRANGER).key(), payee.term(now), 1, &all).unwrap();
    let before = payee.clone();
    for votes in 0..3 {
        assert_eq!(payee.prove(now, &payment(1, &set, votes), &mut out), None);
    }
    // Whoever asks to be watched and did not sign, and whoever changes to others by a word of nobody.
    let evidence = payment(1, &set, 2);
    let Paid::Entry(signed) = evidence.paid else { panic!() };
    let from = signed.entry.account;
    let open = Act::Open { witnesses: set.digest(), faults: 1 };
    let open = Signed { entry: Entry { number: 0, act: open, ..signed.entry.clone() }, ..signed.clone() };
    let show = Message::Show { set: Box::new(set.clone()), next: None, entries: vec![(open.into(), None)] };
    let renewal = Renewal { signed, certificate: evidence.certificate, set: set.clone().of_term(set.term() + 1) };
    let (before_it, renewal) = (Box::new(set.clone()), Box::new(renewal));
    for message in [show, Message::Adopt { fold: vec![], before: before_it, renewal }] {
        payee.handle(now, Input::Heard { from, message }, &mut out);
    }
    assert_eq!((&payee.sets, payee.lines), (&before.sets, before.lines));
    assert!(payee.prove(now, &payment(1, &set, 3), &mut out).is_some());
    assert_eq!((payee.sets.current(&from), payee.lines), (Some(&set), before.lines + 1), "and kept");
}

/// Strangers fill the table: whoever comes then is judged each time anew, works, pays and is paid, and changes who watches it.
#[test]
fn where_the_table_of_sets_is_full_nobody_is_turned_away() {
    let mut town =
        Town::with(|n| Config { models: if n == 1 { vec![(MODEL, Size::Medium)] } else { vec![] }, ..hasty(1) });
    let any = Set::new(1, (0..4).map(NodeId::number).collect()).unwrap();
    for trade in &mut town.trades[1..3] {
        (0..KNOWN_MAX as u64).for_each(|n| assert!(trade.sets.judged(NodeId::number(n), &any)));
    }
    let full = town.trades[1].sets.clone();
    for _ in 0..3 {
        town.run(40);
        town.replies.clear();
        town.ask(3, Ask::Work(wish(64)));
        town.run(20);
        assert!(matches!(town.replies[..], [(3, Answer::Worked { tokens: 64, .. })]), "{:?}", town.replies);
    }
    for trade in &town.trades {
        assert_eq!(trade.account().held(), Credits(0));
        let changes = trade.pen.terms.after(&trade.me, trade.term(Instant::default()), 8);
        assert!(changes.len() >= 2, "{}", changes.len());
    }
    assert!(town.trades[1].sets == full, "it is as it was");
    assert_eq!(town.trades[1].account().balance(), 222_000);
}

#[test]
fn after_a_restart_all_is_judged_as_before_over_three_sets_and_more() {
    let mut town = Town::new(&hasty(1));
    for _ in 0..3 {
        town.run(20);
        (0..3).for_each(|n| town.ask(n, Ask::Work(wish(64))));
        town.run(40);
    }
    let mut borders = 0;
    for n in 0..COUNT {
        let trade = &town.trades[n];
        let again = Trade::restore(hasty(1), birth(n), town.lines[n].iter().cloned());
        assert!(again.sets == trade.sets && again.pen.terms == trade.pen.terms, "host {n}");
        // Who saw three sets of another's account knows where each of them ends.
        for owner in (0..COUNT).filter(|owner| *owner != n).map(|owner| &town.trades[owner]) {
            let changes = owner.pen.terms.after(&owner.me, owner.term(Instant::default()), 8);
            assert!(changes.len() >= 2, "three sets and more");
            for pair in changes.windows(2) {
                let (set, end) = (&pair[0].set, pair[1].signed.entry.number);
                if again.sets.standing(&owner.me, set) == Standing::Known && again.sets.current(&owner.me) != Some(set)
                {
                    let may = [end, end + 1].map(|at| again.sets.may_certify(&owner.me, set, &Slot::Entry(at)));
                    assert_eq!(may, [true, false]);
                    borders += 1;
                }
            }
        }
    }
    assert!(borders > COUNT, "{borders}");
}

/// It is of the first set and of the third: when it wakes it must learn of the second before it may take over from it.
#[test]
fn a_member_of_the_first_set_that_slept_over_two_changes_takes_over_in_the_third() {
    let mut town = Town::new(&hasty(1));
    town.run(12);
    let term = town.trades[0].term(town.now);
    let all = town.trades[0].trusted(&[]);
    let member = |owner: usize, term, n: usize| {
        Set::draw(&keys(owner).key(), term, 1, &all).unwrap().index(&keys(n).key()).is_some()
    };
    let slept = |owner: usize, n: usize| [0, 1, 2].map(|at| member(owner, term + at, n)) == [true, false, true];
    let pairs = (0..COUNT).flat_map(|owner| (0..COUNT).map(move |n| (owner, n)));
    let (owner, sleeper) = pairs.into_iter().find(|(owner, n)| owner != n && slept(*owner, *n)).unwrap();
    assert!(town.trades[sleeper].witness.set(&keys(owner).key()).is_some());
    town.away = Some(sleeper);
    town.run(95);
    let second = town.trades[owner].set().unwrap().clone();
    assert_eq!(second.term(), term + 2, "the third is certified by the second: {second:?}");
    assert!(second.index(&keys(sleeper).key()).is_some());
    town.away = None;
    town.run(10);
    // Without it there is no quorum from here on.
    let other = watchers(&town, owner).into_iter().find(|n| *n != sleeper && *n != owner).unwrap();
    town.away = Some(other);
    let before = town.trades[owner].pen.certified;
    town.ask(owner, Ask::Work(wish(64)));
    town.run(20);
    assert!(town.trades[owner].pen.certified > before);
    let seen = town.trades[sleeper].witness.fold(&keys(owner).key()).unwrap().next();
    assert_eq!(seen, town.trades[owner].pen.certified);
}

/// When the change is over, and a quorum of the first set needs it, it closes a hold that it never saw.
#[test]
fn a_member_of_the_first_set_that_slept_is_shown_a_hold_that_it_is_to_close() {
    let serves = |n| if n == 1 { vec![(MODEL, Size::Medium)] } else { vec![] };
    let mut town = Town::with(|n| Config { models: serves(n), ..hasty(1) });
    town.run(12);
    town.stuck = vec![1];
    let first = town.trades[3].set().unwrap().clone();
    let next = Set::draw(&keys(3).key(), first.term() + 1, 1, &town.trades[3].trusted(&[])).unwrap();
    let members: Vec<usize> = watchers(&town, 3).into_iter().filter(|n| *n != 1).collect();
    let sleeper = *members.iter().find(|n| next.index(&keys(**n).key()).is_none()).unwrap();
    town.away = Some(sleeper);
    town.run(24);
    town.ask(3, Ask::Work(wish(64)));
    town.run(2);
    write(&mut town, 3, 32);
    town.run(8);
    assert_eq!(town.trades[3].set(), Some(&next));
    // Without another of the first set, too, no quorum of it has seen the hold.
    town.away = members.iter().copied().find(|n| *n != sleeper);
    write(&mut town, 3, 64);
    ends_paid(&mut town, 60);
}
