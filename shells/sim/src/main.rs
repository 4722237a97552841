//! `tutu-sim`: a world from a seed, and what came of it.

use std::process::ExitCode;

use tutu_sim::{
    plan::Plan,
    scenarios::{self, Args},
    world::World,
};

const USAGE: &str = "\
usage: tutu-sim [--scenario NAME] [--nodes N] [--seed S] [--seeds COUNT] [--seconds T] [--loss PERCENT]
                [--no-lifeguard] [--real-keys] [--json]

scenarios:
";

struct Cli {
    args: Args,
    scenario: String,
    seeds: u64,
    real_keys: bool,
    json: bool,
}

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}{}", stories());
            return ExitCode::from(2);
        }
    };
    let Some((_, _, write)) = scenarios::find(&cli.scenario) else {
        eprintln!("there is no scenario {:?}; scenarios are:\n{}", cli.scenario, stories());
        return ExitCode::from(2);
    };
    let mut failed = false;
    for seed in cli.args.seed..cli.args.seed + cli.seeds {
        let mut plan = write(&Args { seed, ..cli.args.clone() });
        plan.real_keys = cli.real_keys;
        failed |= !tell(&cli, plan);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn tell(cli: &Cli, plan: Plan) -> bool {
    let seed = plan.seed;
    let begun = std::time::Instant::now();
    let mut world = World::new(plan);
    let built = begun.elapsed();
    world.run();
    let ran = begun.elapsed() - built;
    let (seen, count) = (&world.check.seen, world.count);
    let span = world.now() as f64 / 1e6;
    let per_node = count.bytes as f64 / span / f64::from(world.plan.nodes);
    println!(
        "seed {seed}: {:.0} s in {:.2} s (x{:.1}, built in {:.2} s), {:.2} M events/s, {:.0} B/s a node, trace {:016x}",
        span,
        ran.as_secs_f64(),
        span / ran.as_secs_f64(),
        built.as_secs_f64(),
        count.events as f64 / ran.as_secs_f64() / 1e6,
        per_node,
        world.trace()
    );
    let times = |of: fn(&tutu_sim::check::Crash) -> Option<u64>| {
        let mut all: Vec<f64> = seen.crashes.iter().filter_map(of).map(|micros| micros as f64 / 1e6).collect();
        all.sort_by(f64::total_cmp);
        match all.len() {
            0 => "-".into(),
            n => format!("{:.2}/{:.2} ({n})", all[n / 2], all[n - 1]),
        }
    };
    println!(
        "  crash to suspicion {}, suspicion to declaration {}, declaration to all {}",
        times(|crash| Some(crash.suspected? - crash.at)),
        times(|crash| Some(crash.declared? - crash.suspected?)),
        times(|crash| Some(crash.known? - crash.declared?)),
    );
    println!(
        "  {} crashes, {} false deaths, {} deaths in {} stalls, {} suspicions, {} refutations, {} mistaken",
        seen.crashes.len(),
        seen.false_deaths,
        seen.stalled_deaths,
        seen.stalls,
        seen.suspicions,
        seen.refutations,
        seen.mistaken
    );
    for violation in &world.check.violations {
        println!("  VIOLATION {violation}");
    }
    let _ = cli.json;
    world.check.violations.is_empty()
}

fn parse() -> Result<Cli, lexopt::Error> {
    use lexopt::prelude::*;
    let mut cli = Cli {
        args: Args { seed: 1, nodes: 1000, seconds: 600, loss_ppm: 0, lifeguard: true },
        scenario: "churn".into(),
        seeds: 1,
        real_keys: false,
        json: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("scenario") => cli.scenario = parser.value()?.parse()?,
            Long("nodes") => cli.args.nodes = parser.value()?.parse()?,
            Long("seed") => cli.args.seed = parser.value()?.parse()?,
            Long("seeds") => cli.seeds = parser.value()?.parse()?,
            Long("seconds") => cli.args.seconds = parser.value()?.parse()?,
            Long("loss") => {
                let percent: f64 = parser.value()?.parse()?;
                cli.args.loss_ppm = (percent * 10_000.0) as u32;
            }
            Long("no-lifeguard") => cli.args.lifeguard = false,
            Long("real-keys") => cli.real_keys = true,
            Long("json") => cli.json = true,
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(cli)
}

fn stories() -> String {
    scenarios::ALL.iter().map(|(name, about, _)| format!("  {name:<12} {about}\n")).collect()
}
