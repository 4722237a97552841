//! What a client does, line by line.

use alloc::{format, string::String};

use super::{
    super::{budget, choice::Candidate},
    *,
};
use crate::kit::{Class, laws, trace};

const CONFIG: Config = Config {
    task_max: Duration::from_secs(60),
    choices: 2,
    kept: 2,
    quote_patience: Duration::from_millis(100),
    work_patience: Duration::from_millis(1_000),
    tries: 3,
    rest: Duration::from_millis(200),
    budget: budget::Config { share: 100, saved: 10 },
    tasks_max: 4,
    learns: false,
};

const REQUEST: Request = Request {
    model: 1,
    class: Class::Standard,
    cost: 100,
    limit: 120,
    price_max: 2_000_000,
    prefix: 0,
    wait: Duration::from_secs(60),
};

fn id(n: u64) -> NodeId {
    NodeId::number(n)
}

fn candidates(count: u64) -> Input {
    let one = |n| Candidate { worker: id(n), trust: 1_000, price: 1_000_000, link: 0, hot: true };
    Input::Candidates { model: 1, list: (0..count).map(one).collect() }
}

fn ask(task: u64) -> Input {
    Input::Ask { task, request: REQUEST }
}

fn quoted(worker: u64, seconds: u64) -> Input {
    Input::Quoted { task: 1, worker: id(worker), wait: Duration::from_secs(seconds) }
}

fn refused(worker: u64, price: u32) -> Input {
    Input::Refused { task: 1, worker: id(worker), price, after: Duration::from_millis(50) }
}

fn ready(worker: u64) -> Input {
    Input::Ready { task: 1, worker: id(worker) }
}

fn moved(worker: u64, to: u64) -> Input {
    Input::Moved { task: 1, worker: id(worker), to: id(to) }
}

fn reported(worker: u64, epoch: u32, tokens: u32, done: bool) -> Input {
    Input::Reported { task: 1, worker: id(worker), epoch, tokens, done }
}

/// One line a step that did something: what happened, and what to do, in short.
fn of(config: Config, workers: u64, script: impl IntoIterator<Item = (u64, Input)>, until: u64) -> String {
    let script = core::iter::once((0, candidates(workers))).chain(script);
    let mut text = trace::of(&mut Client::new(config, 1), script, until);
    for n in 0..workers {
        text = text.replace(&format!("{:?}", id(n)), &format!("w{n}"));
    }
    text.replace("worker: ", "").replace("task: 1", "1").replace(", class: Standard, cost: 100, price_max: 2000000", "")
}

/// What was done at each step.
fn done(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split(" -> ").last().unwrap_or_default()).collect()
}

#[test]
fn asks_two_binds_to_the_first_that_is_ready_and_charges_once() {
    let script = [
        (0, ask(1)),
        (10, quoted(0, 5)),
        (20, quoted(1, 1)),
        (500, ready(0)),
        (510, ready(1)),
        (600, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 40 }),
        (700, reported(0, 1, 90, true)),
        (710, reported(0, 1, 90, true)),
    ];
    assert_eq!(
        done(&of(CONFIG, 2, script, 5_000)),
        [
            "[Reserve { w1, 1 }, Reserve { w0, 1 }]",
            "[Release { w1, 1 }, Bind { w0, 1, epoch: 1, from: 0 }]",
            "[Release { w1, 1 }]",
            "[Charge(Charge { w0, lease: Lease { 1, epoch: 1 }, from: 0, to: 90 }), Done { 1 }]",
        ]
    );
}

#[test]
fn with_one_place_kept_the_shorter_queue_is_joined() {
    let script = [(0, ask(1)), (10, quoted(0, 5)), (20, quoted(1, 1)), (500, ready(1))];
    assert_eq!(
        done(&of(Config { kept: 1, ..CONFIG }, 2, script, 510)),
        ["[Reserve { w1, 1 }, Reserve { w0, 1 }]", "[Release { w0, 1 }]", "[Bind { w1, 1, epoch: 1, from: 0 }]",]
    );
}

#[test]
fn a_lost_lease_is_charged_for_what_came_and_another_goes_on_from_there() {
    let script = [
        (0, ask(1)),
        (10, quoted(0, 1)),
        (20, ready(0)),
        (30, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 40 }),
        // Then it is silent for a second.
        (1_040, quoted(1, 0)),
        (1_050, ready(1)),
        (1_060, reported(0, 1, 120, true)),
        (1_070, reported(1, 2, 100, true)),
    ];
    assert_eq!(
        done(&of(CONFIG, 2, script, 5_000)),
        [
            "[Reserve { w1, 1 }, Reserve { w0, 1 }]",
            "[Release { w1, 1 }, Bind { w0, 1, epoch: 1, from: 0 }]",
            "[Stop { w0, 1 }, Charge(Charge { w0, lease: Lease { 1, epoch: 1 }, from: 0, to: 40 }), \
             Blame { w0, 1, fault: Silent }, Reserve { w1, 1, class: Standard, cost: 60, price_max: 2000000 }]",
            "[Bind { w1, 1, epoch: 2, from: 40 }]",
            "[Charge(Charge { w1, lease: Lease { 1, epoch: 2 }, from: 40, to: 100 }), Done { 1 }]",
        ]
    );
}

#[test]
fn refusals_rest_and_then_say_what_it_would_cost() {
    let mut script = alloc::vec![(0, ask(1))];
    for at in [10, 500, 1_500] {
        script.push((at, refused(0, 3_000_000)));
        script.push((at, refused(1, 2_500_000)));
    }
    // Patient, as rests are partly by chance.
    let config = Config { quote_patience: Duration::from_secs(1), ..CONFIG };
    let text = of(config, 2, script, 3_000);
    let last = done(&text);
    assert_eq!(last.len(), 4, "{text}");
    assert_eq!(last[3], "[GaveUp { 1, why: Refused, price: 2500000, after: 50ms }]");
}

#[test]
fn whoever_is_silent_is_not_asked_again() {
    let text = of(CONFIG, 2, [(0, ask(1)), (10, quoted(1, 1))], 120);
    assert_eq!(done(&text)[1], "[Release { w0, 1 }, Blame { w0, 1, fault: Silent }]", "{text}");
    let text = of(CONFIG, 2, [(0, ask(1))], 2_000);
    assert!(done(&text)[2].contains("why: Nobody"), "{text}");
}

#[test]
fn a_worker_that_counts_wrong_is_blamed_and_replaced() {
    for tokens in [121, 10] {
        let script = [
            (0, ask(1)),
            (10, ready(0)),
            (20, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 40 }),
            (30, reported(0, 1, tokens, true)),
        ];
        let text = of(CONFIG, 2, script, 40);
        assert!(done(&text)[2].contains("to: 40 }), Blame { w0, 1, fault: Miscounted }, Reserve"), "{text}");
    }
}

#[test]
fn a_call_that_overtakes_its_quote_or_comes_twice_gives_nothing_back() {
    let text = of(CONFIG, 2, [(0, ask(1)), (1, ready(0)), (2, quoted(0, 0)), (3, ready(0))], 10);
    let steps = done(&text);
    assert_eq!(steps.len(), 3, "{text}");
    assert_eq!(steps[2], "[Bind { w0, 1, epoch: 1, from: 0 }]");
}

#[test]
fn handed_places_count_among_the_trusted_only() {
    let (_, [asked, late], other) = two_of_three();
    let bound = format!("Bind {{ w{other}, 1, epoch: 1, from: 0 }}]");
    let text = of(CONFIG, 3, [(0, ask(1)), (10, ready(9)), (20, moved(asked, other)), (30, ready(other))], 40);
    let steps = done(&text);
    assert!(steps[1].starts_with("[Release {") && steps[2].ends_with(&bound), "{text}");
    let text = of(CONFIG, 3, [(0, ask(1)), (10, ready(other)), (20, moved(asked, other))], 40);
    assert!(text.lines().last().is_some_and(|line| line.ends_with(&bound)), "its call came first: {text}");
    // Of two that were asked one was let go, is handed the place of the other, and calls before that is known.
    let begin = [(0, ask(1)), (1, quoted(asked, 1)), (2, quoted(late, 2))];
    let script = begin.into_iter().chain([(10, ready(late)), (20, moved(asked, late))]);
    let text = of(Config { kept: 1, ..CONFIG }, 3, script, 40);
    assert!(text.lines().last().is_some_and(|line| line.contains(&format!("Bind {{ w{late},"))), "{text}");
    // It went over one more worker, and all that they said came the wrong way round.
    let script = [(10, ready(3)), (11, moved(other, 3)), (20, moved(asked, other))];
    let (mut client, mut out) = (Client::new(CONFIG, 1), Vec::new());
    client.handle(Instant::default(), candidates(3), &mut out);
    client.handle(Instant::default(), ask(1), &mut out);
    client.handle(Instant::default(), candidates(4), &mut out);
    out.clear();
    script.into_iter().for_each(|(at, input)| client.handle(Instant::from_millis(at), input, &mut out));
    assert_eq!(out.last(), Some(&Effect::Bind { worker: id(3), task: 1, epoch: 1, from: 0 }), "{out:?}");
}

/// Three are trusted and two of them asked: what the client was told, who was asked, and who was not.
fn two_of_three() -> (Client, [u64; 2], u64) {
    let (mut client, mut out) = (Client::new(CONFIG, 1), Vec::new());
    let script = [candidates(3), ask(1), quoted(0, 1), quoted(1, 1), quoted(2, 1)];
    script.into_iter().for_each(|input| client.handle(Instant::default(), input, &mut out));
    let is_asked = |n: &u64| out.iter().any(|e| matches!(e, Effect::Reserve { worker, .. } if *worker == id(*n)));
    let (asked, other): (Vec<u64>, Vec<u64>) = (0..3).partition(is_asked);
    (client, [asked[0], asked[1]], other[0])
}

#[test]
fn nobody_is_bound_that_was_neither_asked_nor_named_by_one_that_was() {
    let (mut client, asked, other) = two_of_three();
    let mut out = Vec::new();
    client.handle(Instant::default(), ready(other), &mut out);
    client.handle(Instant::default(), moved(9, other), &mut out);
    assert_eq!(out, [], "a stranger says that it was handed a place");
    client.handle(Instant::from_millis(500), moved(asked[0], other), &mut out);
    assert_eq!(out, [], "its call is long ago, and it will call again");
    client.handle(Instant::from_millis(500), ready(other), &mut out);
    assert!(matches!(out[..], [Effect::Release { .. }, Effect::Bind { worker, .. }] if worker == id(other)), "{out:?}");
}

#[test]
fn nobody_loses_a_place_or_is_blamed_by_what_others_say() {
    let (_, [honest, other], _) = two_of_three();
    for sender in [other, 9] {
        let ((mut client, ..), mut out) = (two_of_three(), Vec::new());
        client.handle(Instant::default(), moved(sender, honest), &mut out);
        let touches = |e: &Effect| matches!(e, Effect::Release { worker, .. } if *worker == id(honest));
        assert!(!out.iter().any(touches), "{sender} said so: {out:?}");
        client.handle(Instant::from_millis(10), ready(honest), &mut out);
        assert!(out.iter().any(|e| matches!(e, Effect::Bind { worker, .. } if *worker == id(honest))), "{out:?}");
    }
}

#[test]
fn cancelling_gives_everything_back() {
    let text = of(CONFIG, 2, [(0, ask(1)), (5, Input::Cancel { task: 1 })], 5_000);
    assert_eq!(done(&text)[1], "[Release { w1, 1 }, Release { w0, 1 }]");
    let script = [
        (0, ask(1)),
        (1, ready(0)),
        (2, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 7 }),
        (5, Input::Cancel { task: 1 }),
        (9, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: 9 }),
    ];
    let text = of(CONFIG, 2, script, 5_000);
    let steps = done(&text);
    assert_eq!(steps[2], "[Stop { w0, 1 }, Charge(Charge { w0, lease: Lease { 1, epoch: 1 }, from: 0, to: 7 })]");
    assert_eq!(steps[3], "[Stop { w0, 1 }]");
}

#[test]
fn limits_and_nobody_are_said_at_once() {
    let script = (1..=5).map(|task| (0, ask(task))).chain([(1, ask(2))]);
    let text = of(CONFIG, 2, script, 1);
    assert_eq!(text.matches("why: Full").count(), 2, "{text}");
    let text = of(CONFIG, 0, [(0, ask(1))], 1);
    assert_eq!(done(&text), ["[GaveUp { 1, why: Nobody, price: 0, after: 0ns }]"]);
}

#[test]
fn whoever_is_gone_is_replaced_at_once() {
    let (_, [asked, _], _) = two_of_three();
    let text = of(CONFIG, 3, [(0, ask(1)), (1, ready(asked)), (2, Input::Gone(id(asked)))], 3);
    assert!(done(&text)[2].starts_with(&format!("[Blame {{ w{asked}, 1, fault: Silent }}, Reserve")), "{text}");
}

#[test]
fn keeps_the_laws() {
    for seed in 0..200 {
        let (mut rng, mut at) = (Rng::new(seed), 0);
        let mut script = alloc::vec![(Instant::default(), candidates(4))];
        script.extend((0..150).map(|_| {
            at += u64::from(rng.below(200));
            let (task, worker) = (u64::from(rng.below(5)), id(u64::from(rng.below(5))));
            let (epoch, tokens) = (1 + rng.below(3), rng.below(130));
            let input = match rng.below(16) {
                0..4 => ask(task),
                4..6 => Input::Quoted { task, worker, wait: Duration::from_millis(rng.next() >> rng.below(64)) },
                6 => Input::Refused { task, worker, price: 7, after: Duration::from_millis(rng.next() >> 20) },
                7..10 => Input::Ready { task, worker },
                10..12 => Input::Progress { task, worker, epoch, tokens },
                12..14 => Input::Reported { task, worker, epoch, tokens, done: rng.below(2) == 0 },
                14 => Input::Cancel { task },
                _ => [Input::Gone(worker), candidates(4)][rng.below(2) as usize].clone(),
            };
            (Instant::from_millis(at), input)
        }));
        laws::hold(&Client::new(CONFIG, seed), script);
    }
}

#[test]
fn a_worker_has_as_long_as_a_task_may_take_however_busy_it_looks() {
    for (seconds, until) in [(2, 2_500), (4, 4_500)] {
        let config = Config { task_max: Duration::from_secs(seconds), ..CONFIG };
        let progress = |n: u64| (500 * n, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens: n as u32 });
        let begin = [(0, ask(1)), (10, quoted(0, 5)), (20, quoted(1, 1)), (500, ready(0))];
        let text = of(config, 2, begin.into_iter().chain((2..until / 500).map(progress)), until);
        let last = text.lines().last().unwrap();
        assert!(last.starts_with(&format!("{until}ms tick -> [Stop {{ w0, 1 }}, Charge(")), "{last}");
        assert!(last.contains("Blame { w0, 1, fault: Silent }"), "{last}");
    }
}

#[test]
fn a_place_moves_to_whom_this_client_trusts_and_nobody_is_blamed_for_what_another_said() {
    let after = |to: u64| {
        let ((mut client, asked, _), mut out) = (two_of_three(), Vec::new());
        client.handle(Instant::default(), moved(asked[0], to), &mut out);
        let given_up = out.iter().any(|e| matches!(e, Effect::Release { worker, .. } if *worker == id(to)));
        client.tick(Instant::from_millis(60_000), &mut out);
        let blamed = out.iter().any(|e| matches!(e, Effect::Blame { worker, .. } if *worker == id(to)));
        (given_up, blamed)
    };
    assert_eq!(after(9), (true, false), "nobody knows it");
    let (_, _, other) = two_of_three();
    assert_eq!(after(other), (false, false), "it was not asked, has it now, and is silent");
}

#[test]
fn who_was_let_go_and_called_before_it_heard_that_is_not_blamed() {
    // Two of three are asked. The place at one is given up, and it hands it on before it hears of that.
    let (mut client, mut out) = (Client::new(Config { kept: 1, ..CONFIG }, 1), Vec::new());
    client.handle(Instant::default(), candidates(3), &mut out);
    client.handle(Instant::default(), ask(1), &mut out);
    let is_asked = |n: &u64| out.iter().any(|e| matches!(e, Effect::Reserve { worker, .. } if *worker == id(*n)));
    let (asked, other): (Vec<u64>, Vec<u64>) = (0..3).partition(is_asked);
    for (wait, worker) in (1..).zip(&asked) {
        client.handle(Instant::default(), quoted(*worker, wait), &mut out);
    }
    assert_eq!(out.last(), Some(&Effect::Release { worker: id(asked[1]), task: 1 }), "one place is kept");
    client.handle(Instant::default(), moved(asked[1], other[0]), &mut out);
    assert_eq!(out.last(), Some(&Effect::Release { worker: id(other[0]), task: 1 }), "it was given up");
    // It called when it had the place; a place may have been handed to it since, so it is bound. It says that it has nothing.
    client.handle(Instant::default(), ready(other[0]), &mut out);
    assert_eq!(out.last(), Some(&Effect::Bind { worker: id(other[0]), task: 1, epoch: 1, from: 0 }));
    out.clear();
    client.handle(Instant::default(), reported(other[0], 1, 0, false), &mut out);
    let blamed = |out: &[Effect]| out.iter().any(|effect| matches!(effect, Effect::Blame { .. }));
    let asks_again = out.iter().any(|effect| matches!(effect, Effect::Reserve { .. }));
    assert!(!blamed(&out) && asks_again, "{out:?}");
    // One that was not let go is.
    for (wait, worker) in (1..).zip(&asked) {
        client.handle(Instant::default(), quoted(*worker, wait), &mut out);
    }
    out.clear();
    client.handle(Instant::default(), ready(asked[0]), &mut out);
    client.handle(Instant::default(), reported(asked[0], 2, 0, false), &mut out);
    assert!(blamed(&out), "{out:?}");
}

#[test]
fn an_interrupted_worker_may_be_silent_as_long_as_it_says_and_not_for_ever() {
    let silent = |wait: u64, says: u64, every: u64| {
        let begin = [(0, ask(1)), (10, ready(0))];
        let script = begin.into_iter().chain((0..says).map(|n| (500 + n * every, quoted(0, wait))));
        let config = Config { task_max: Duration::from_secs(300), ..CONFIG };
        let text = of(config, 2, script, 400_000);
        let line = text.lines().find(|line| line.contains("Blame { w0")).unwrap_or_default();
        String::from(line.split(' ').next().unwrap_or_default())
    };
    assert_eq!(silent(0, 0, 0), "1010ms");
    assert_eq!(silent(15, 1, 0), "31500ms", "twice fifteen seconds, and one");
    assert_eq!(silent(1_000, 1, 0), "61010ms", "as long as a task waits for a worker");
    assert_eq!(silent(10, 100, 900), "61010ms", "and that once");
    let progress = |at: u64, tokens| (at, Input::Progress { task: 1, worker: id(0), epoch: 1, tokens });
    let text = of(CONFIG, 2, [(0, ask(1)), (10, ready(0)), (500, quoted(0, 15)), progress(5_000, 9)], 20_000);
    assert!(text.contains("6000ms tick -> [Stop { w0, 1 }"), "it goes on, and is silent again: {text}");
}
