//! Stories. Each writes a [`Plan`]; the same arguments write the same plan.

use tutu_node::kit::{Rng, rng::mix};

use crate::{
    actors,
    plan::{Op, Plan, Promise},
};

/// What a story is told with.
#[derive(Clone, Debug)]
pub struct Args {
    /// All chance comes from it.
    pub seed: u64,
    /// Hosts.
    pub nodes: u32,
    /// How long.
    pub seconds: u64,
    /// Packets of a million that are lost.
    pub loss_ppm: u32,
    /// Whether Lifeguard is on.
    pub lifeguard: bool,
    /// Whether one host in five lies, in stories that can be told either way.
    pub liars: bool,
}

/// Name, what it is about, and who writes it.
type Story = (&'static str, &'static str, fn(&Args) -> Plan);

/// All stories.
pub const ALL: &[Story] = &[
    ("churn", "hosts crash, come back, leave, and change, on lines with a little of everything", churn),
    ("steady", "facts change once in six hours for each, and nothing else happens", steady),
    ("crash", "a host crashes every 20 seconds", crash),
    ("stall", "5 % of hosts stall for 2 to 20 seconds now and then", stall),
    ("doze", "all hosts sleep for some seconds, one after the other; when all are awake, some crash", doze),
    ("nap", "a host stalls almost long enough to be buried, and a third of the others when it is back", nap),
    ("partition", "the world falls in two halves, and heals", partition),
    ("join", "all begin at once and know one address", join),
    ("offices", "eight hosts share each address; all begin at once, then some crash and come back", offices),
    ("restart", "all stop at once and start again, some with old disks and old dates", restart),
    ("byzantine", "one host in five lies, in some of all the ways it can", byzantine),
    ("lines", "one in forty lines is cut one way, so that only helpers see that nobody is dead", lines),
    ("leave", "hosts say farewell, and new facts are told", leave),
    ("cells", "a network in cells, in which a few crash", cells),
    ("strange", "cells that know one delegate at each level find the others", strange),
    ("split", "all begin at once with small cells, which they find by themselves", split),
    ("swarm", "by chance some of all that can go wrong, then calm: all must come right", swarm),
];

/// The story called `name`.
pub fn find(name: &str) -> Option<&'static Story> {
    ALL.iter().find(|story| story.0 == name)
}

fn base(args: &Args) -> (Plan, Rng) {
    let mut plan = Plan::quiet(args.seed, args.nodes, args.seconds);
    plan.net.loss_ppm = args.loss_ppm;
    plan.swim.lifeguard = args.lifeguard;
    plan.drift_ppm = 50;
    (plan, Rng::new(mix(args.seed ^ 0x706c_616e)))
}

fn any(rng: &mut Rng, nodes: u32) -> u32 {
    rng.below(nodes)
}

fn steady(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    plan.scatter(&mut rng, 1, args.seconds, 6 * 3_600_000 / u64::from(nodes), |rng| Op::Facts(any(rng, nodes)));
    plan.promise.no_false_death = true;
    plan
}

fn crash(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    // After a minute everybody knows its line.
    let mut second = 60;
    while second + 60 < args.seconds {
        plan.at(second, Op::Crash(any(&mut rng, nodes)));
        second += 20;
    }
    plan.promise.no_false_death = true;
    plan
}

fn stall(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    // The same twentieth of the hosts, each about once in two minutes.
    let stallers = (args.nodes / 20).max(1);
    let every = 120_000 / u64::from(stallers);
    plan.scatter(&mut rng, 5, args.seconds.saturating_sub(40), every, |rng| {
        Op::Stall(any(rng, stallers), 2000 + rng.below(18_000))
    });
    // Some crash too, so that it can be seen whether patience with those who stall is paid for by those who do not.
    if args.nodes > 20 {
        plan.scatter(&mut rng, 60, args.seconds.saturating_sub(60), 60_000, |rng| {
            Op::Crash(stallers + any(rng, args.nodes - stallers))
        });
    }
    plan.promise.no_false_death = args.lifeguard;
    plan
}

fn doze(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let (half, nodes) = (args.seconds / 2, args.nodes);
    for n in 0..nodes {
        let at = 2_000_000 + u64::from(rng.below((half.saturating_sub(60) * 1000) as u32)) * 1000;
        plan.ops.push((at, Op::Stall(n, 3000 + rng.below(4000))));
    }
    plan.ops.sort_by_key(|op| op.0);
    plan.scatter(&mut rng, half, args.seconds.saturating_sub(60), 10_000, |rng| Op::Crash(any(rng, nodes)));
    plan
}

fn nap(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    // Time-outs are at least 10.4 s among two dozen. Whoever falls asleep shortly before the end of one misses the answer, and must
    // not take its own sleep for silence when it wakes.
    for second in (60..args.seconds.saturating_sub(40)).step_by(40) {
        let sleeper = any(&mut rng, nodes);
        plan.at(second, Op::Stall(sleeper, 11_200));
        for other in (0..nodes).filter(|other| *other != sleeper && other % 3 == sleeper % 3) {
            plan.ops.push((second * 1_000_000 + 10_800_000, Op::Stall(other, 4000)));
        }
    }
    plan.ops.sort_by_key(|op| op.0);
    plan
}

fn partition(args: &Args) -> Plan {
    let (mut plan, _) = base(args);
    plan.at(10, Op::Part(args.seed));
    plan.at(args.seconds.saturating_sub(60).max(11), Op::Mend);
    plan.promise = Promise { whole: true, heals_within: Some(30), ..Promise::default() };
    plan
}

fn join(args: &Args) -> Plan {
    let (mut plan, _) = base(args);
    plan.warm = false;
    plan.promise.whole = true;
    plan
}

fn offices(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    (plan.warm, plan.office) = (false, 8);
    let nodes = args.nodes;
    for _ in 0..nodes / 10 {
        let host = 1 + rng.below(nodes - 1);
        let at = (20 + u64::from(rng.below(10))) * 1_000_000 + u64::from(rng.below(1_000_000));
        plan.ops.push((at, Op::Crash(host)));
        plan.ops.push((at + 10_000_000, Op::Start(host)));
    }
    plan.ops.sort_by_key(|op| op.0);
    plan.promise = Promise { no_false_death: true, whole: true, ..Promise::default() };
    plan
}

fn restart(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    for n in 0..nodes {
        let at = |second: u64, rng: &mut Rng| (second * 1000 + u64::from(rng.below(5000))) * 1000;
        if rng.below(3) == 0 {
            plan.ops.push((1_000_000, Op::Forget(n, 0)));
            // What it says after this is said with a number that its disk does not know.
            let moment = at(5, &mut rng);
            plan.ops.push((moment, Op::Facts(n)));
        }
        if rng.below(3) == 0 {
            plan.ops.push((1_000_000, Op::Clock(n, 1 + rng.below(86_400))));
        }
        let moment = at(30, &mut rng);
        plan.ops.push((moment, Op::Crash(n)));
        let moment = at(40, &mut rng);
        plan.ops.push((moment, Op::Start(n)));
    }
    plan.ops.sort_by_key(|op| op.0);
    plan.calm = 50;
    plan.promise.whole = true;
    plan
}

fn byzantine(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    plan.liars = args.nodes / 5;
    let honest = plan.honest();
    while plan.attacks.is_empty() {
        plan.attacks.extend(actors::ALL.iter().filter(|_| rng.below(3) > 0));
    }
    // Some honest hosts come and go, so that there are dead to be told of and newcomers to be drowned.
    plan.scatter(&mut rng, 2, args.seconds.saturating_sub(60), 8000, |rng| Op::Crash(1 + rng.below(honest - 1)));
    for n in 0..plan.ops.len() {
        let (at, op) = plan.ops[n];
        let Op::Crash(host) = op else { continue };
        plan.ops.push((at + u64::from(5 + rng.below(40)) * 1_000_000, Op::Start(host)));
    }
    plan.ops.sort_by_key(|op| op.0);
    plan.promise = Promise { no_false_death: true, together: true, fair_samples: true, ..Promise::default() };
    plan
}

fn lines(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    for _ in 0..u64::from(nodes) * u64::from(nodes) / 40 {
        let (from, to) = (any(&mut rng, nodes), any(&mut rng, nodes));
        plan.ops.push((2_000_000, Op::Cut(from, to)));
    }
    plan.promise = Promise { no_false_death: true, helpers_help: true, ..Promise::default() };
    plan
}

fn leave(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    plan.scatter(&mut rng, 5, args.seconds / 2, args.seconds * 100, |rng| Op::Leave(any(rng, nodes)));
    plan.scatter(&mut rng, 5, args.seconds / 2, args.seconds * 100, |rng| Op::Facts(any(rng, nodes)));
    plan.promise = Promise { no_false_death: true, whole: true, ..Promise::default() };
    plan
}

/// Bits that make cells of 64 to 128 of a million, and of as many hundreds as there are of fewer.
fn cell_bits(nodes: u32) -> u8 {
    let size = if nodes > 200_000 { 100 } else { 400 };
    (nodes / size).max(2).ilog2() as u8
}

fn cells(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    plan.cell_bits = cell_bits(nodes);
    // Neither split nor join while we look.
    plan.swim.flat_max = (nodes >> plan.cell_bits) as usize * 2;
    plan.swim.members_max = plan.swim.flat_max * 2;
    // Large worlds take two cores.
    plan.parts = if nodes >= 20_000 && !args.liars { 2 } else { 1 };
    if args.liars {
        plan.liars = nodes / 5;
        plan.attacks = vec![actors::Attack::Flood, actors::Attack::Bury, actors::Attack::Eclipse];
    }
    let honest = plan.honest();
    plan.scatter(&mut rng, 2, args.seconds.saturating_sub(90), 20_000, |rng| Op::Crash(any(rng, honest)));
    plan.promise = Promise { no_false_death: true, cells: args.seconds >= 100, ..Promise::default() };
    plan.promise.fair_samples = args.liars;
    plan
}

fn strange(args: &Args) -> Plan {
    let (mut plan, _) = base(args);
    // Many cells, so that chance alone finds few of the delegates that are far away.
    plan.cell_bits = (args.nodes / 16).max(2).ilog2() as u8;
    plan.contacts = 1;
    // Neither split nor join while we look.
    plan.swim.flat_max = 30;
    plan.swim.members_max = 60;
    plan.promise.no_false_death = true;
    plan
}

fn split(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    plan.warm = false;
    plan.swim.flat_max = 40;
    let nodes = args.nodes;
    plan.scatter(&mut rng, args.seconds / 3, args.seconds / 2, args.seconds * 5, |rng| {
        Op::Crash(1 + any(rng, nodes - 1))
    });
    for n in 0..plan.ops.len() {
        if let (at, Op::Crash(host)) = plan.ops[n]
            && n.is_multiple_of(3)
        {
            plan.ops.push((at + 30_000_000, Op::Start(host)));
        }
    }
    plan.ops.sort_by_key(|op| op.0);
    plan.promise.cells = args.seconds >= 200;
    plan
}

fn churn(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    if args.loss_ppm == 0 {
        plan.net.loss_ppm = 10_000;
    }
    plan.net.double_ppm = 1000;
    plan.net.late_ppm = 5000;
    plan.calm = args.seconds.saturating_sub(calm(nodes)).max(1);
    let until = plan.calm.saturating_sub(30).max(1);
    // Sessions of two hours; one in five ends with a farewell. All come back after a while.
    let mut at = 1_000_000;
    loop {
        at += u64::from(rng.below((2 * 7200 * 1000 / nodes.max(1)).max(2))) * 1000 + 1;
        if at >= until * 1_000_000 {
            break;
        }
        let host = any(&mut rng, nodes);
        let end = if rng.below(5) == 0 { Op::Leave(host) } else { Op::Crash(host) };
        plan.ops.push((at, end));
        let back = at + u64::from(15 + rng.below(60)) * 1_000_000;
        if back < until * 1_000_000 {
            plan.ops.push((back, Op::Start(host)));
        }
    }
    plan.scatter(&mut rng, 1, until, 6 * 3_600_000 / u64::from(nodes), |rng| Op::Facts(any(rng, nodes)));
    plan.promise = Promise { no_false_death: true, whole: true, ..Promise::default() };
    plan
}

/// Seconds after which everything must have come right among `nodes`.
fn calm(nodes: u32) -> u64 {
    200 + 4 * u64::from(nodes.max(2).ilog2())
}

fn swarm(args: &Args) -> Plan {
    let (mut plan, mut rng) = base(args);
    let nodes = args.nodes;
    let mut picks = rng.next();
    let mut pick = || {
        picks >>= 1;
        picks & 1 == 1
    };
    plan.calm = args.seconds.saturating_sub(calm(nodes)).max(args.seconds / 4);
    let until = plan.calm;
    if pick() {
        plan.net.loss_ppm = [20_000, 100_000, 300_000][rng.below(3) as usize];
    }
    if pick() {
        plan.net.double_ppm = 50_000;
    }
    if pick() {
        plan.net.late_ppm = 50_000;
    }
    if pick() {
        plan.net.walled_ppm = 150_000;
    }
    if pick() {
        plan.drift_ppm = 500;
    }
    plan.warm = pick();
    let every = |times: u64| (until * 1000 / times).max(1);
    if pick() {
        plan.scatter(&mut rng, 2, until, every(8), |rng| Op::Facts(any(rng, nodes)));
    }
    if pick() {
        plan.scatter(&mut rng, 2, until, every(8), |rng| Op::Stall(any(rng, nodes), 2000 + rng.below(18_000)));
    }
    if pick() {
        plan.scatter(&mut rng, 2, until, every(8), |rng| Op::Cut(any(rng, nodes), any(rng, nodes)));
    }
    if pick() {
        let second = 5 + u64::from(rng.below((until / 2) as u32));
        plan.at(second, Op::Part(args.seed));
        plan.at((second + 20 + u64::from(rng.below(until as u32))).min(until), Op::Mend);
    }
    if pick() {
        plan.scatter(&mut rng, 2, until, every(6), |rng| Op::Crash(any(rng, nodes)));
    }
    if pick() {
        plan.scatter(&mut rng, 2, until, every(3), |rng| Op::Leave(any(rng, nodes)));
    }
    if pick() {
        plan.scatter(&mut rng, 2, until, every(6), |rng| Op::Start(any(rng, nodes)));
    }
    if pick() {
        plan.scatter(&mut rng, 2, until, every(3), |rng| Op::Forget(any(rng, nodes), rng.below(3)));
        plan.scatter(&mut rng, 2, until, every(3), |rng| Op::Tear(any(rng, nodes)));
    }
    // A host that said farewell would be missed by nobody, and a network of the dead proves nothing: half come back.
    for n in (0..nodes).step_by(2) {
        plan.ops.push((until * 1_000_000, Op::Start(n)));
    }
    plan.promise.whole = true;
    plan
}
