//! Small worlds in which nothing may go wrong. The large ones are `just sim`'s.

use tutu_sim::{
    outcome::{self, Outcome},
    plan::{Op, Plan},
    scenarios::{self, Args},
};

fn run(name: &str, nodes: u32, seconds: u64, loss: u32, seed: u64) -> Outcome {
    let args = Args { seed, nodes, seconds, loss_ppm: loss * 10_000, lifeguard: true, liars: false };
    let outcome = outcome::run(scenarios::find(name).unwrap().2(&args));
    assert_eq!(outcome.violations, [""; 0], "{name} --nodes {nodes} --seconds {seconds} --loss {loss} --seed {seed}");
    outcome
}

#[test]
fn crashes_are_known_to_all_and_nobody_else_is_buried() {
    for (loss, seed) in [(0, 1), (10, 2), (30, 3)] {
        let outcome = run("crash", 40, 240, loss, seed);
        assert_eq!((outcome.unknown, outcome.false_deaths), (0, 0), "loss {loss} %");
        assert!(outcome.known.len() >= 4, "{:?}", outcome.known);
    }
}

#[test]
fn tables_come_right_after_whatever_happened() {
    run("partition", 40, 120, 0, 1);
    run("join", 60, 60, 0, 1);
    run("leave", 40, 120, 0, 1);
    run("restart", 30, 300, 0, 1);
    (0..6).for_each(|seed| drop(run("swarm", 24, 300, 0, seed)));
}

#[test]
fn many_who_come_at_once_over_bad_lines_are_no_flood() {
    (1..4).for_each(|seed| drop(run("join", 120, 60, 20, seed)));
}

#[test]
fn whoever_shares_an_address_with_others_is_known_to_all() {
    run("offices", 64, 120, 0, 1);
    run("offices", 160, 120, 5, 2);
}

#[test]
fn delegates_find_the_cells_that_they_are_for() {
    let outcome = run("strange", 1024, 300, 0, 1);
    assert!(outcome.lacking < 20, "{} % of delegates are lacking", outcome.lacking);
}

#[test]
fn helpers_see_what_a_cut_line_hides() {
    run("lines", 40, 120, 0, 1);
}

#[test]
fn liars_isolate_nobody_and_bury_nobody() {
    let outcome = run("byzantine", 60, 120, 0, 0);
    assert!(outcome.attackers.is_some());
}

#[test]
fn liars_break_no_promise_in_other_seeds_either() {
    (1..6).for_each(|seed| drop(run("byzantine", 60, 120, 0, seed)));
}

#[test]
fn cells_form_by_themselves_and_hold_together() {
    (1..4).for_each(|seed| drop(run("split", 120, 300, 0, seed)));
    run("cells", 800, 120, 0, 1);
}

#[test]
fn whoever_comes_back_does_not_keep_those_who_died_meanwhile() {
    // Hosts restart with neighbours from before, of whom some are dead; contacts beyond the cell recommend others.
    [1, 4, 18, 21, 25, 30].into_iter().for_each(|seed| drop(run("split", 100, 200, 0, seed)));
}

#[test]
fn the_same_seed_is_the_same_world_and_another_is_another() {
    let trace = |seed| run("churn", 30, 300, 2, seed).trace;
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

#[test]
fn parts_side_by_side_go_the_same_way_each_time_and_keep_all_promises() {
    let story = |parts| {
        let mut plan = Plan { parts, ..Plan::quiet(5, 60, 45) };
        plan.at(3, Op::Crash(2));
        plan.at(4, Op::Crash(58));
        plan.promise.no_false_death = true;
        let outcome = outcome::run(plan);
        assert_eq!(outcome.violations, [""; 0]);
        assert_eq!(outcome.declared.len(), 2, "whoever crashed is missed, in whichever part it was");
        (outcome.trace, outcome.events)
    };
    let (two, three) = (story(2), story(3));
    assert_eq!((two, three), (story(2), story(3)), "threads come in any order");
    assert!(two.0 != three.0 && two.0 != story(1).0, "chance is each part's own");
}
