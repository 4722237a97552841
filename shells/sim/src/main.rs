//! `tutu-sim`: worlds from seeds, and what came of them.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tutu_sim::{
    economy,
    outcome::{self, Outcome, Sum, quantile},
    plan::Plan,
    plot,
    scenarios::{self, Args},
    shrink,
    world::World,
};

const USAGE: &str = "\
usage: tutu-sim [--scenario NAME] [--nodes N] [--seed S] [--seeds COUNT] [--seconds T] [--loss PERCENT]
                [--no-lifeguard] [--liars] [--real-keys] [--jobs N] [--json] [--plot FILE.svg]
       tutu-sim --convergence [--nodes N] [--seeds COUNT] [--plot FILE.svg]
       tutu-sim --lifeguard-on-and-off [--scenario stall] [--nodes N] [--seeds COUNT] [--seconds T]
       tutu-sim --mutants | --mutants-every N        (built with --features mutants)
       tutu-sim --fault NAME ...                     (the same; any of the above with one fault)

scenarios:
";
#[cfg(not(feature = "mutants"))]
const WITHOUT: &str =
    "this program was built without mutants; try: cargo run --release -p tutu-sim --features mutants -- --mutants";
/// Worlds in which a failing plan is made smaller.
const SHRINK_RUNS: usize = 300;
/// And how long that may take.
const SHRINK_TIME: Duration = Duration::from_secs(120);

struct Cli {
    args: Args,
    scenario: String,
    seeds: u64,
    jobs: usize,
    real_keys: bool,
    json: bool,
    convergence: bool,
    on_and_off: bool,
    mutants: Option<u32>,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(Some(cli)) => cli,
        Ok(None) => {
            print!("{USAGE}{}", stories());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}{}", stories());
            return ExitCode::from(2);
        }
    };
    if cli.convergence {
        return convergence(&cli);
    }
    if let Some(every) = cli.mutants {
        return mutants(every);
    }
    match cli.scenario.as_str() {
        "economy" => return economy(&cli),
        "attacks" => return attacks(&cli),
        _ => {}
    }
    let Some((name, about, _)) = scenarios::find(&cli.scenario) else {
        eprintln!("there is no scenario {:?}; scenarios are:\n{}", cli.scenario, stories());
        return ExitCode::from(2);
    };
    if cli.on_and_off {
        return on_and_off(&cli);
    }
    let begun = Instant::now();
    let setup = Mutex::new(0.0);
    let sum = worlds_timed(&cli, &cli.args, |seconds| *setup.lock().expect("adding does not panic") += seconds);
    let setup = setup.into_inner().expect("all workers are done");
    let wall = (begun.elapsed().as_secs_f64() - setup / cli.jobs as f64).max(1e-3);
    let simulated = sum.total(|outcome| outcome.seconds);
    let events = sum.total(|outcome| outcome.events as f64);
    if cli.json {
        let all: Vec<_> = sum.all.iter().map(Outcome::json).collect();
        println!(
            "{}",
            serde_json::json!({ "scenario": name, "commit": commit(), "setup_s": setup, "wall_s": wall, "worlds": all })
        );
    } else {
        println!("{name}: {about}");
        println!(
            "{} nodes, {} s, {} worlds from seed {}, loss {} %: set up in {setup:.1} s; {:.1} s by the wall ({:.1} times faster), {:.2} M events/s",
            cli.args.nodes,
            cli.args.seconds,
            cli.seeds,
            cli.args.seed,
            f64::from(cli.args.loss_ppm) / 1e4,
            wall,
            simulated / wall,
            events / wall / 1e6
        );
        print!("{}", sum.table());
        if let [only] = &sum.all[..] {
            println!("trace {:016x}", only.trace);
        }
    }
    if let Some(path) = &cli.plot {
        let shares = |name: &str, sorted: Vec<f64>| (name.to_string(), plot::shares(&sorted));
        let lines = [
            shares("to suspicion", sum.sorted(|outcome| &outcome.suspected)),
            shares("to declaration", sum.sorted(|outcome| &outcome.declared)),
            shares("to everybody", sum.sorted(|outcome| &outcome.known)),
        ];
        let title = format!("{name}, {} nodes, loss {} %", cli.args.nodes, f64::from(cli.args.loss_ppm) / 1e4);
        save(path, &plot::svg(&title, "seconds", "share of crashes", false, &lines));
    }
    match sum.all.iter().find(|outcome| !outcome.violations.is_empty()) {
        None => ExitCode::SUCCESS,
        Some(failed) => {
            explain(&cli, failed);
            ExitCode::FAILURE
        }
    }
}

/// Markets in which one host in five cheats.
fn economy(cli: &Cli) -> ExitCode {
    let begun = Instant::now();
    let seeds = cli.args.seed..cli.args.seed + cli.seeds;
    let plan = |seed| economy::Plan::new(seed, cli.args.nodes, cli.args.seconds, cli.args.loss_ppm);
    let all: Vec<_> = seeds.map(|seed| economy::outcome::run(plan(seed))).collect();
    let wall = begun.elapsed().as_secs_f64();
    if cli.json {
        let all: Vec<_> = all.iter().map(economy::outcome::Outcome::json).collect();
        println!("{}", serde_json::json!({ "scenario": "economy", "commit": commit(), "wall_s": wall, "worlds": all }));
    } else {
        for outcome in &all {
            println!("economy, seed {}, trace {:016x}\n{}", outcome.seed, outcome.trace, outcome.table());
        }
        println!("{wall:.1} s by the wall");
    }
    let broken = all.iter().flat_map(|outcome| outcome.violations.iter().map(move |what| (outcome.seed, what)));
    broken.clone().for_each(|(seed, what)| eprintln!("VIOLATION in world {seed}: {what}"));
    if broken.count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Attacks that might pay; fails if one gains more than it can.
fn attacks(cli: &Cli) -> ExitCode {
    let Args { seed, nodes, seconds, .. } = cli.args;
    let generations = u32::try_from(cli.seeds).unwrap_or(u32::MAX);
    let config = economy::search::Config { seed, nodes, seconds, kept: 8, generations };
    let all = economy::search::search(config, |generation, best| {
        let gain = &best.outcome.gain;
        println!(
            "generation {generation}: {:.2} of at most {:.2} credits by {:?}",
            gain.sum() as f64 / 1e6,
            gain.bound() as f64 / 1e6,
            best.habits
        );
    });
    if let Some(best) = all.first() {
        println!("{}", best.outcome.table());
    }
    let broken = |tried: &economy::search::Tried| {
        tried.outcome.gain.sum() > tried.outcome.gain.bound() || !tried.outcome.violations.is_empty()
    };
    let bad: Vec<_> = all.iter().filter(|tried| broken(tried)).collect();
    bad.iter().for_each(|tried| eprintln!("BEYOND THE BOUND: {:?}: {:?}", tried.habits, tried.outcome.violations));
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "mutants")]
fn mutants(every: u32) -> ExitCode {
    let begun = Instant::now();
    let survivors = tutu_sim::mutants::hunt(every, |line| println!("{line}"));
    println!("{:.0} s", begun.elapsed().as_secs_f64());
    if survivors { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(feature = "mutants")]
fn fault(name: &str) -> Result<(), String> {
    tutu_sim::mutants::switch(name)
}

#[cfg(not(feature = "mutants"))]
fn mutants(_every: u32) -> ExitCode {
    eprintln!("{WITHOUT}");
    ExitCode::from(2)
}

#[cfg(not(feature = "mutants"))]
fn fault(_name: &str) -> Result<(), String> {
    Err(WITHOUT.into())
}

/// Runs all seeds, as many at a time as there are jobs.
fn worlds(cli: &Cli, args: &Args) -> Sum {
    worlds_timed(cli, args, |_| {})
}

/// As [`worlds`]; `set_up` is told how many seconds it took until each world was there.
fn worlds_timed(cli: &Cli, args: &Args, set_up: impl Fn(f64) + Sync) -> Sum {
    let next = AtomicU64::new(args.seed);
    let end = args.seed + cli.seeds;
    let all = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let begun = Instant::now();
            let mut world = World::new(plan(cli, args, seed));
            set_up(begun.elapsed().as_secs_f64());
            world.run();
            let outcome = outcome::of(&world);
            all.lock().expect("no worker panics while it holds the list").push(outcome);
        }
    };
    std::thread::scope(|scope| (0..cli.jobs).for_each(|_| drop(scope.spawn(work))));
    let mut all = all.into_inner().expect("all workers are done");
    all.sort_by_key(|outcome| outcome.seed);
    Sum { all }
}

fn plan(cli: &Cli, args: &Args, seed: u64) -> Plan {
    let story = scenarios::find(&cli.scenario).expect("looked up before");
    let mut plan = story.2(&Args { seed, ..args.clone() });
    plan.real_keys = cli.real_keys;
    plan
}

/// How fast news of a death spread, over size and loss.
fn convergence(cli: &Cli) -> ExitCode {
    let sizes: Vec<u32> = [100, 300, 1000, 3000, 10_000].into_iter().filter(|size| *size <= cli.args.nodes).collect();
    let mut lines = Vec::new();
    println!("seconds from the first declaration of a crash until everybody declared it: median / max");
    println!("{:>8}{:>16}{:>16}{:>16}", "nodes", "loss 0 %", "loss 10 %", "loss 30 %");
    let mut rows: Vec<String> = sizes.iter().map(|size| format!("{size:>8}")).collect();
    let mut failed = false;
    for loss in [0, 10, 30] {
        let mut points = Vec::new();
        for (row, nodes) in rows.iter_mut().zip(&sizes) {
            let args = Args { nodes: *nodes, loss_ppm: loss * 10_000, ..cli.args.clone() };
            let sum = worlds(cli, &args);
            let known = sum.sorted(|outcome| &outcome.known);
            let cell = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.1}"));
            let (median, most) = (quantile(&known, 50), known.last().copied());
            row.push_str(&format!("{:>16}", format!("{} / {}", cell(median), cell(most))));
            points.extend(median.map(|median| (f64::from(*nodes), median)));
            failed |= sum.all.iter().any(|outcome| !outcome.violations.is_empty());
        }
        lines.push((format!("loss {loss} %"), points));
    }
    rows.iter().for_each(|row| println!("{row}"));
    if let Some(path) = &cli.plot {
        let title = "Declaration of a death until everybody knows (median)";
        save(path, &plot::svg(title, "nodes", "seconds", true, &lines));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The same worlds with Lifeguard and without.
fn on_and_off(cli: &Cli) -> ExitCode {
    let [on, off] = [true, false].map(|lifeguard| worlds(cli, &Args { lifeguard, ..cli.args.clone() }));
    let deaths = |sum: &Sum| sum.total(|outcome| f64::from(outcome.stalled_deaths));
    let median = |sum: &Sum, of: fn(&Outcome) -> &[f64]| {
        quantile(&sum.sorted(of), 50).map_or("-".to_string(), |value| format!("{value:.2}"))
    };
    println!("{:<52}{:>14}{:>14}", cli.scenario, "Lifeguard on", "off");
    let row = |name: &str, of: &dyn Fn(&Sum) -> String| println!("{name:<52}{:>14}{:>14}", of(&on), of(&off));
    row("stalls", &|sum| sum.total(|outcome| f64::from(outcome.stalls)).to_string());
    row("deaths of hosts that stalled", &|sum| deaths(sum).to_string());
    row("deaths of hosts that did not", &|sum| sum.total(|outcome| f64::from(outcome.false_deaths)).to_string());
    row("suspicions", &|sum| sum.total(|outcome| outcome.suspicions as f64).to_string());
    row("crash to first suspicion, s (median)", &|sum| median(sum, |outcome| &outcome.suspected));
    row("suspicion to first declaration, s (median)", &|sum| median(sum, |outcome| &outcome.declared));
    println!("{:.0} times fewer deaths, or more", deaths(&off) / deaths(&on).max(1.0));
    let failed = on.all.iter().find(|outcome| !outcome.violations.is_empty());
    failed.map_or(ExitCode::SUCCESS, |failed| {
        explain(cli, failed);
        ExitCode::FAILURE
    })
}

/// Says what went wrong, how to see it again, and how little of the story it takes.
fn explain(cli: &Cli, failed: &Outcome) {
    for violation in &failed.violations {
        eprintln!("VIOLATION in world {}: {violation}", failed.seed);
    }
    eprintln!(
        "commit {}, again with: tutu-sim --scenario {} --nodes {} --seconds {} --loss {} --seed {}{}{}",
        commit(),
        cli.scenario,
        cli.args.nodes,
        cli.args.seconds,
        f64::from(cli.args.loss_ppm) / 1e4,
        failed.seed,
        if cli.args.lifeguard { "" } else { " --no-lifeguard" },
        if cli.real_keys { " --real-keys" } else { "" },
    );
    // Whoever reads JSON waits for the outcome.
    if cli.args.nodes <= 1000 && !cli.json {
        let (small, outcome) = shrink::shrink(plan(cli, &cli.args, failed.seed), SHRINK_RUNS, SHRINK_TIME);
        eprintln!("smallest story found: {}", shrink::tell(&small).trim_end());
        eprintln!("and what comes of it: {}", outcome.violations.join("; "));
    }
}

fn save(path: &PathBuf, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        eprintln!("cannot write {}: {error}", path.display());
    }
}

/// The commit that this runs from, as far as git knows.
fn commit() -> String {
    let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let text = git.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.and_then(|bytes| String::from_utf8(bytes).ok()).map_or("unknown".into(), |text| text.trim().into())
}

fn parse() -> Result<Option<Cli>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut cli = Cli {
        args: Args { seed: 1, nodes: 1000, seconds: 600, loss_ppm: 0, lifeguard: true, liars: false },
        scenario: "churn".into(),
        seeds: 1,
        jobs: 1,
        real_keys: false,
        json: false,
        convergence: false,
        on_and_off: false,
        mutants: None,
        plot: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("scenario") => cli.scenario = parser.value()?.parse()?,
            Long("nodes") => cli.args.nodes = parser.value()?.parse()?,
            Long("seed") => cli.args.seed = parser.value()?.parse()?,
            Long("seeds") => cli.seeds = parser.value()?.parse()?,
            Long("seconds") => cli.args.seconds = parser.value()?.parse()?,
            Long("jobs") => cli.jobs = parser.value()?.parse::<usize>()?.clamp(1, 256),
            Long("loss") => cli.args.loss_ppm = (parser.value()?.parse::<f64>()?.clamp(0.0, 100.0) * 10_000.0) as u32,
            Long("no-lifeguard") => cli.args.lifeguard = false,
            Long("liars") => cli.args.liars = true,
            Long("mutants") => cli.mutants = Some(1),
            Long("mutants-every") => cli.mutants = Some(parser.value()?.parse::<u32>()?.max(1)),
            Long("fault") => fault(&parser.value()?.string()?)?,
            Long("real-keys") => cli.real_keys = true,
            Long("json") => cli.json = true,
            Long("convergence") => {
                cli.convergence = true;
                cli.scenario = "crash".into();
            }
            Long("plot") => cli.plot = Some(parser.value()?.into()),
            Long("lifeguard-on-and-off") => {
                cli.on_and_off = true;
                cli.scenario = "stall".into();
            }
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if !(2..1 << 24).contains(&cli.args.nodes) {
        return Err(format!("--nodes {} is not between 2 and 16,777,215", cli.args.nodes).into());
    }
    if !(10..=100 * 86_400).contains(&cli.args.seconds) {
        return Err(format!("--seconds {} is not between 10 and 8,640,000", cli.args.seconds).into());
    }
    Ok(Some(cli))
}

fn stories() -> String {
    let markets = [
        ("economy", "hosts work for each other and pay; one in five cheats (--nodes 40)"),
        ("attacks", "a search for attacks that pay, --seeds generations of them (--nodes 16)"),
    ];
    let stories = scenarios::ALL.iter().map(|(name, about, _)| (*name, *about));
    stories.chain(markets).map(|(name, about)| format!("  {name:<12} {about}\n")).collect()
}
