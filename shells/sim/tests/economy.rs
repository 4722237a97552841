//! Small markets in which nothing may go wrong. The large ones are `just economy`'s.

use tutu_node::kit::Credits;
use tutu_sim::economy::{
    NIGHT_S, Plan, Proposed,
    cheat::{Cheat, Habit},
    outcome::{self, Outcome},
    search,
};

fn run(plan: Plan) -> Outcome {
    let outcome = outcome::run(plan);
    assert_eq!(outcome.violations, [""; 0], "seed {}\n{}", outcome.seed, outcome.table());
    println!("{}", outcome.table());
    outcome
}

#[test]
fn the_honest_are_served_and_paid_and_condemn_nobody() {
    let mut plan = Plan::new(1, 14, 300, 0);
    plan.cheats.clear();
    let outcome = run(plan);
    let (count, seen) = (&outcome.count, &outcome.seen);
    assert!(count.done > 40 && count.gave_up * 20 <= count.done, "{}", outcome.table());
    assert!(seen.closings > 40 && seen.moved > 1_000_000 && count.crashes > 0, "{}", outcome.table());
    assert_eq!((seen.wronged, seen.accused, outcome.gain.sum()), (0, 0, 0));
}

#[test]
fn keys_keep_to_their_quotas_and_the_urgent_go_first() {
    let mut plan = Plan::new(6, 12, 300, 10_000);
    plan.cheats.clear();
    plan.wish_every = 5;
    let outcome = run(plan);
    let count = &outcome.count;
    assert!(count.over_quota > 5 && count.cancelled > 2 && count.resumed > 2, "{}", outcome.table());
    assert!(count.crashes > 0 && count.done > 100, "{}", outcome.table());
}

/// Many texts begin alike, and those who know a beginning are asked first: load is uneven, and one task at a time is done.
#[test]
fn idle_hosts_take_over_what_waits_for_others() {
    let market = |steals| {
        let mut plan = Plan::new(7, 12, 300, 0);
        plan.cheats.clear();
        (plan.wish_every, plan.crashes, plan.steals) = (4, false, steals);
        (plan.slots, plan.beginnings) = (Some(1), Some(3));
        plan.pool.0 *= 4;
        let outcome = run(plan);
        let waits = &outcome.count.waits;
        (waits.iter().sum::<f64>() / waits.len() as f64, outcome.seen.handed, outcome.count.done)
    };
    let (with, without) = (market(true), market(false));
    println!("mean wait, places handed on, done: {with:?} with, {without:?} without");
    assert!(with.1 > 10 && without.1 == 0, "{with:?} {without:?}");
    assert!(with.0 < without.0, "{with:?} {without:?}");
}

#[test]
fn cheats_of_all_kinds_break_no_promise() {
    let outcome = run(Plan::new(2, 21, 300, 10_000));
    let (count, seen) = (&outcome.count, &outcome.seen);
    assert!(count.done > 40, "{}", outcome.table());
    assert_eq!((seen.wronged, seen.accused), (0, 0), "{}", outcome.table());
    assert!(outcome.gain.sum() <= outcome.gain.bound(), "{}", outcome.table());
}

/// Those who make others look bad, or have them work for nothing, or take what is not theirs: three of fourteen, whom everybody trusts
/// at first.
#[test]
fn nobody_is_blamed_for_what_others_do_and_all_are_served_and_paid() {
    for cheat in [Cheat::Dawdle, Cheat::Crowd, Cheat::Usher, Cheat::Hider, Cheat::Thief] {
        let mut plan = Plan::new(11, 14, 600, 0);
        plan.cheats = [2, 5, 8].map(|host| Habit::always(host, cheat)).into();
        (plan.wish_every, plan.slots, plan.beginnings) = (7, Some(1), Some(3));
        plan.pool.0 *= 8;
        let outcome = run(plan);
        let (count, seen) = (&outcome.count, &outcome.seen);
        println!(
            "{cheat:?}: {} done, {} given up, {} rested, {:?}",
            count.done, count.gave_up, seen.rested, outcome.gain
        );
        assert_eq!((seen.wronged, seen.accused), (0, 0), "{cheat:?}: {}", outcome.table());
        assert!(count.done > 100 && count.gave_up * 50 <= count.done, "{cheat:?}: {}", outcome.table());
        // A tick that is on its way at the end is not paid yet.
        assert!(outcome.gain.unpaid * 10 <= outcome.gain.earned, "{cheat:?}: {}", outcome.table());
    }
}

/// Four of fourteen, whom everybody trusts at first. After 1,000 s three clients have found each of them out, and from then on all know;
/// 2,000 s are a hundred tasks of each client, and after 3,600 the first of those who were barred are tried again.
#[test]
fn who_serves_another_model_is_found_out_and_does_no_harm_after_a_hundred_tasks() {
    let mut plan = Plan::new(3, 14, 4_000, 0);
    plan.cheats = [2, 5, 8, 11].map(|host| Habit::always(host, Cheat::OtherModel)).into();
    let outcome = run(plan);
    let (count, seen) = (&outcome.count, &outcome.seen);
    assert_eq!(seen.barred.len(), 4, "{}", outcome.table());
    assert!(count.false_answers <= 2 * outcome.gain.pairs, "{}", outcome.table());
    assert!(count.late_answers > 600 && count.late_false * 100 <= count.late_answers, "{}", outcome.table());
    assert!(count.crashes > 40, "nobody forgets whom it barred");
    assert_eq!((seen.wronged, seen.accused), (0, 0), "{}", outcome.table());
}

/// EigenTrust's six threat models, with four bad of fourteen; where names are changed, six newcomers at a time beside fourteen who
/// stay. What is bad is an answer by another model, and what counts are those after some hundred tasks of each client. The first
/// hour: then whoever was barred is tried again, which costs as much once more, and then rests for a day.
#[test]
fn at_most_one_answer_in_a_hundred_is_bad_under_each_of_the_six_threats() {
    let some = |share_ppm| move |host| Habit { share_ppm, ..Habit::always(host, Cheat::OtherModel) };
    let (bad, praise) = (some(1_000_000), |host| Habit::always(host, Cheat::Praise));
    let all = |hosts: &[u32], how: &dyn Fn(u32) -> Habit| hosts.iter().map(|host| how(*host)).collect::<Vec<_>>();
    let (four, names): ([u32; 4], Vec<u32>) = ([2, 5, 8, 11], (14..122).collect());
    for (threat, habits) in [
        ("lone", vec![all(&four, &bad)]),
        ("collective", vec![all(&four, &bad), all(&four, &praise)]),
        ("camouflage", vec![all(&four, &some(500_000)), all(&four, &praise)]),
        ("spies", vec![all(&four[2..], &bad), all(&four, &praise)]),
        ("sybil", vec![all(&names, &bad), all(&names, &praise)]),
        ("virus", vec![all(&four, &some(10_000))]),
    ] {
        let mut plan = Plan::new(3, 14, 3_600, 0);
        plan.cheats = habits.concat();
        (plan.wish_every, plan.pool) = (10, Credits(plan.pool.0 * 2));
        if threat == "sybil" {
            plan.nodes = 122;
            let turn = |host: &u32| (*host, 200 * u64::from((host - 14) / 6));
            plan.comes = names.iter().map(turn).collect();
            plan.leaves = plan.comes.iter().map(|(host, second)| (*host, second + 200)).collect();
        }
        let outcome = run(plan);
        let count = &outcome.count;
        let late = (count.late_false, count.late_answers);
        println!("{threat}: {} of {} answers, {} of the late {}", count.false_answers, count.answers, late.0, late.1);
        assert!(late.1 > 1_000 && late.0 * 100 <= late.1, "{threat}: {}", outcome.table());
        assert_eq!((outcome.seen.wronged, outcome.seen.accused), (0, 0), "{threat}: {}", outcome.table());
    }
}

/// The engine of one of twelve hangs for five minutes. Where its node asks it whether it answers, hardly a task is begun there, and it
/// has work again afterwards; where not, all others find out one by one.
#[test]
fn whose_engine_hangs_takes_no_work_until_it_answers() {
    let market = |checks| {
        let mut plan = Plan::new(9, 12, 900, 0);
        plan.cheats.clear();
        (plan.crashes, plan.checks, plan.wish_every) = (false, checks, 10);
        plan.hangs = vec![(5, 100, 400)];
        plan.pool.0 *= 4;
        let outcome = run(plan);
        (outcome.count.hung, outcome.count.mended, outcome.count.gave_up)
    };
    let (with, without) = (market(true), market(false));
    println!("begun while it hung, ended afterwards, given up: {with:?} with, {without:?} without");
    assert!(with.0 <= 3 && with.1 > 10 && with.2 == 0, "{with:?} {without:?}");
    assert!(without.0 > 6, "{with:?} {without:?}");
}

#[test]
fn who_forks_its_log_is_condemned_by_all() {
    let mut plan = Plan::new(4, 14, 400, 0);
    plan.cheats = [Habit::always(2, Cheat::Fork), Habit::always(13, Cheat::Blind)].into();
    let outcome = run(plan);
    assert!(outcome.seen.condemned.contains(&2), "{}", outcome.table());
}

/// Six of sixteen leave, one a minute, and each account is watched by seven: more than f of most. With changes of witnesses all go
/// on, though one of those who watch signs whatever it is shown.
#[test]
fn accounts_live_on_when_many_who_watch_them_leave() {
    let market = |term_s| {
        let mut plan = Plan::new(8, 16, 700, 10_000);
        (plan.founders, plan.crashes, plan.term_s) = (16, true, term_s);
        plan.cheats = [Habit::always(15, Cheat::Blind)].into();
        plan.leaves = (0..6).map(|n| (2 * n + 1, 60 + 80 * u64::from(n))).collect();
        let outcome = run(plan);
        (outcome.stranded, outcome.seen.renewed, outcome.count.late_answers)
    };
    let (with, without) = (market(Some(40)), market(None));
    assert!(with.0 == 0 && with.1 > 10, "{with:?}");
    assert!(without.0 > 3 && without.1 == 0 && with.2 > 2 * without.2, "{with:?} {without:?}");
}

/// Nothing is lost or made where deposits are held, go back, and are lost to all, also over a night of eight days.
#[test]
fn a_deposit_goes_back_or_is_lost_as_its_proposal_ends() {
    for (proposal, deposits) in [(Proposed::TakenBack, (1, 0)), (Proposed::Forgotten, (0, 1))] {
        let mut plan = Plan::new(6, 14, 400, 0);
        if proposal == Proposed::Forgotten {
            plan.seconds += NIGHT_S;
        }
        plan.crashes = false;
        plan.pool.0 *= 10;
        plan.cheats = [Habit::always(13, Cheat::Blind)].into();
        plan.proposal = Some(proposal);
        let outcome = run(plan);
        assert_eq!(outcome.seen.deposits, deposits, "{proposal:?}");
        assert!(outcome.count.done > 40, "{proposal:?}");
    }
}

#[test]
fn no_attack_gains_more_than_the_bound() {
    let config = search::Config { seed: 5, nodes: 12, seconds: 200, kept: 4, generations: 2 };
    for tried in search::search(config, |_, _| {}) {
        let (gain, violations) = (&tried.outcome.gain, &tried.outcome.violations);
        assert!(gain.sum() <= gain.bound() && violations.is_empty(), "{:?}: {gain:?} {violations:?}", tried.habits);
    }
}

#[test]
fn the_same_seed_is_the_same_market_and_another_is_another() {
    let trace = |seed| outcome::run(Plan::new(seed, 10, 120, 0)).trace;
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

/// Six of fourteen are new, and three of them serve another model: with pay that waits for the audit they earn less, and as many of the
/// honest are known, as soon, within a tenth.
#[test]
fn newcomers_who_cheat_earn_less_where_pay_waits_for_the_audit() {
    let market = |withholds| {
        let worlds = (1..=9).map(|seed| {
            let mut plan = Plan::new(seed, 14, 600, 0);
            (plan.founders, plan.withholds) = (8, withholds);
            plan.cheats = [8, 10, 12].map(|host| Habit::always(host, Cheat::OtherModel)).into();
            run(plan)
        });
        worlds.fold((0, 0, 0.0), |(earned, pairs, seconds), one| {
            (earned + one.gain.spoilt, pairs + one.count.known.len(), seconds + one.known().unwrap_or(600.0) / 9.0)
        })
    };
    let (with, without) = (market(true), market(false));
    println!("cheats earned, pairs that know each other, seconds until then: {with:?} with, {without:?} without");
    assert!(with.0 < without.0, "{with:?} {without:?}");
    assert!(with.1 * 10 >= without.1 * 9 && with.2 <= without.2 * 1.1, "{with:?} {without:?}");
}

/// Seven of 21 say as auditors that everybody is guilty, and two workers are: by the word of others fewer of the honest are
/// condemned where a jury is heard, and it lets no cheat go.
#[test]
fn a_jury_frees_most_of_those_whom_a_third_of_all_auditors_condemn() {
    let market = |appeals| {
        let worlds = (1..=4).map(|seed| {
            let mut plan = Plan::new(seed, 21, 400, 0);
            (plan.founders, plan.appeals) = (21, appeals);
            let liars = (0..7).map(|host| Habit::always(host, Cheat::Slander));
            plan.cheats = liars.chain([10, 17].map(|host| Habit::always(host, Cheat::OtherModel))).collect();
            run(plan).seen
        });
        worlds.fold(([0; 4], [0; 4], (0, 0)), |(right, wrong, caught), one| {
            let add = |a: [u64; 4], b: [u64; 4]| core::array::from_fn(|at| a[at] + b[at]);
            let caught = (caught.0 + one.caught.0, caught.1 + one.caught.1);
            (add(right, one.judged[0]), add(wrong, one.judged[1]), caught)
        })
    };
    let (with, without) = (market(true), market(false));
    println!(
        "verdicts of right work and of another model, the latter found guilty and not: {with:?} with, {without:?} without"
    );
    let condemned = |verdicts: [u64; 4]| verdicts[0] + verdicts[1];
    assert!(condemned(without.0) > 10 && condemned(with.0) * 3 <= condemned(without.0), "{with:?} {without:?}");
    assert_eq!(with.1[2] + with.1[3], 0, "a jury lets no cheat go: {with:?}");
}
