//! Attacks of `Reputation` as a whole: the bound of attack edges, and the six threat models of EigenTrust §6.

use alloc::{format, string::String};

use super::*;
use crate::kit::Rng;

const START: UnixTime = UnixTime(1_700_000_000);

fn id(n: u64) -> NodeId {
    NodeId::number(n)
}

fn session(done: bool, accuracy: Option<u32>) -> Session {
    Session { done, accuracy: accuracy.map(Ppm), speed: Some(Ppm::ALL) }
}

#[test]
fn refusals_come_in_the_order_of_the_checks() {
    let config = Config { peers_max: 4, row_max: 2, edges_max: 3, ..Config::default() };
    let mut view = Reputation::new(config, id(0));
    view.convict(id(9));
    let mut table = String::new();
    for (from, to) in [(1, 1), (9, 9), (9, 1), (1, 9), (1, 2), (1, 3), (1, 4), (1, 0), (4, 1), (2, 1), (3, 1)] {
        let outcome = match view.heard(id(from), Statement { to: id(to), weight: 5 }) {
            Ok(()) => "taken".into(),
            Err(error) => format!("{error}"),
        };
        table.push_str(&format!("{from} of {to}: {outcome}\n"));
    }
    assert_eq!(
        table,
        "1 of 1: nobody vouches for itself\n\
         9 of 9: nobody vouches for itself\n\
         9 of 1: fraud of one of the two is proven\n\
         1 of 9: fraud of one of the two is proven\n\
         1 of 2: taken\n\
         1 of 3: taken\n\
         1 of 4: 4 peers are known and no more fit\n\
         1 of 0: this peer vouches for 2 others and for no more\n\
         4 of 1: 4 peers are known and no more fit\n\
         2 of 1: taken\n\
         3 of 1: 3 statements are known and no more fit\n"
    );
}

#[test]
fn gains_are_capped_for_each_epoch_and_losses_are_not() {
    let config = Config { gain_max: 100, ..Config::default() };
    let mut view = Reputation::new(config, id(0));
    let state = |view: &mut Reputation, weight| {
        view.heard(id(0), Statement { to: id(1), weight }).unwrap();
        view.flow.graph().weight(0, view.numbers[&id(1)])
    };
    assert_eq!(state(&mut view, 1_000), 100);
    assert_eq!(state(&mut view, 1_000), 100, "no more in this epoch");
    assert_eq!(state(&mut view, 10), 10);
    assert_eq!(state(&mut view, 1_000), 10, "to lose and win again is no way around the cap");
    view.epoch(Ppm(500_000));
    assert_eq!(state(&mut view, 1_000), 105);
    view.epoch(Ppm(1_000));
    assert_eq!(view.flow.graph().row(0).len(), 0, "what is too little vanishes");
}

#[test]
fn whoever_is_convicted_has_nothing_and_gives_nothing() {
    let mut view = Reputation::new(Config::default(), id(0));
    for (from, to) in [(0, 1), (1, 2), (0, 3)] {
        view.heard(id(from), Statement { to: id(to), weight: 1_000 }).unwrap();
    }
    view.recompute();
    assert_eq!(view.standing(&id(2)), Standing::Known);
    view.convict(id(1));
    view.recompute();
    assert_eq!((view.trust(&id(1)), view.trust(&id(2))), (0, 0));
    assert_eq!((view.standing(&id(1)), view.standing(&id(2))), (Standing::Convicted, Standing::Newcomer));
    view.convict(id(0));
    assert_eq!(view.standing(&id(0)), Standing::Known, "nobody convicts itself");
    let weights = view.weights(&[(id(1), Credits(9)), (id(2), Credits(3)), (id(3), Credits(0)), (id(8), Credits(0))]);
    assert_eq!(weights, [0, 40_000, 950_000, 10_000]);
}

#[test]
fn failures_without_proof_cost_a_bounded_part() {
    let mut view = Reputation::new(Config::default(), id(0));
    let mut weights = Vec::new();
    for done in [true, true, false, false, false, false] {
        weights.push(view.session(START, id(1), session(done, None), Credits::ONE).unwrap().weight);
    }
    assert!(weights[1] > weights[0] && weights.windows(2).skip(1).all(|pair| pair[1] < pair[0]), "{weights:?}");
    (0..1000).for_each(|_| {
        view.session(START, id(1), session(false, None), Credits::ONE).unwrap();
    });
    let least = view.session(START, id(1), session(false, None), Credits::ONE).unwrap().weight;
    // A quarter of what was paid, for a peer whose reliability and availability are spent.
    assert!(least >= 2_000 / 4 / 4, "{least}");
}

#[test]
fn the_share_of_newcomers_shrinks_as_they_disappoint_and_grows_again() {
    let mut view = Reputation::new(Config::default(), id(0));
    assert_eq!(view.exploration(), Ppm(50_000));
    for n in 100..200 {
        view.session(START, id(n), session(true, Some(0)), Credits(0)).unwrap();
    }
    assert_eq!(view.exploration(), Ppm(2_000));
    for n in 200..600 {
        view.session(START, id(n), session(true, Some(1_000_000)), Credits(0)).unwrap();
    }
    assert!(view.exploration().0 > 30_000, "{}", view.exploration());
}

#[test]
fn who_is_only_named_lowers_the_bar_for_nobody() {
    let mut view = Reputation::new(Config::default(), id(0));
    for (from, to, weight) in [(0, 1, 1_000), (0, 2, 10), (2, 3, 1)] {
        view.heard(id(from), Statement { to: id(to), weight }).unwrap();
    }
    view.recompute();
    let stand = |view: &Reputation| [1, 2, 3].map(|n| view.standing(&id(n)) == Standing::Known);
    assert_eq!(stand(&view), [true, false, false]);
    // One whom nobody believes names a thousand, and so does one who has less than a two hundredth of all trust.
    for (from, first) in [(9, 1_000), (3, 3_000)] {
        for n in first..first + 1_000 {
            view.heard(id(from), Statement { to: id(n), weight: 1 }).unwrap();
        }
    }
    view.recompute();
    assert_eq!(stand(&view), [true, false, false], "{} are named", view.numbers.len());
}

#[test]
fn a_number_goes_to_another_when_no_edge_names_its_owner_any_more_and_nothing_with_it() {
    let config = Config { peers_max: 4, ..Config::default() };
    let mut view = Reputation::new(config, id(0));
    let heard = |view: &mut Reputation, from, to, weight| view.heard(id(from), Statement { to: id(to), weight });
    for (from, to) in [(0, 1), (1, 2), (2, 3)] {
        heard(&mut view, from, to, 1_000).unwrap();
    }
    view.recompute();
    assert!(view.trust(&id(3)) > 0);
    assert_eq!(heard(&mut view, 0, 4, 5), Err(Error::Full { limit: 4 }));
    heard(&mut view, 2, 3, 0).unwrap();
    view.epoch(Ppm::ALL);
    assert_eq!([1, 2, 3].map(|n| view.names(&id(n))), [true, true, false]);
    heard(&mut view, 0, 4, 5).unwrap();
    assert_eq!((view.numbers[&id(4)], view.flow.graph().len()), (3, 4), "the same one");
    while !view.refresh(1_000) {}
    let mut fresh = Reputation::new(config, id(0));
    for (from, to, weight) in [(0, 1, 1_000), (1, 2, 1_000), (0, 4, 5)] {
        heard(&mut fresh, from, to, weight).unwrap();
    }
    fresh.recompute();
    for n in 0..5 {
        let off = view.trust(&id(n)).abs_diff(fresh.trust(&id(n)));
        assert!(off < flow::ONE as u64 / 50, "{n}: {off}");
    }
    view.recompute();
    assert_eq!([0, 1, 2, 3, 4].map(|n| view.trust(&id(n))), [0, 1, 2, 3, 4].map(|n| fresh.trust(&id(n))));
    // With whom this node deals itself needs not wait for the next epoch.
    heard(&mut view, 0, 4, 0).unwrap();
    view.session(START, id(5), session(true, None), Credits::ONE).unwrap();
    assert!(view.names(&id(5)) && !view.names(&id(4)));
}

#[test]
fn what_is_refused_or_taken_back_leaves_nothing() {
    let config = Config { row_max: 1, ..Config::default() };
    let mut view = Reputation::new(config, id(0));
    for n in 10..100 {
        view.heard(id(1), Statement { to: id(n), weight: 1 }).unwrap();
        let more = view.heard(id(1), Statement { to: id(n + 1_000), weight: 1 });
        assert_eq!((more, view.names(&id(n + 1_000))), (Err(Error::RowFull { limit: 1 }), false));
        view.heard(id(1), Statement { to: id(n), weight: 0 }).unwrap();
        assert!(view.gains.is_empty());
    }
    view.heard(id(1), Statement { to: id(7), weight: 0 }).unwrap();
    assert!(!view.names(&id(7)), "nothing is no edge");
    view.heard(id(0), Statement { to: id(1), weight: 1 }).unwrap();
    view.heard(id(1), Statement { to: id(2), weight: 1 }).unwrap();
    view.convict(id(1));
    assert!(view.gains.is_empty());
}

/// `honest` peers that know each other, `sybils` that believe each other, and edges that the attackers bought.
fn attacked(honest: u32, bought: u32, sybils: u32) -> Flow {
    let (mut rng, mut graph) = (Rng::new(5), graph::Graph::default());
    (0..honest + sybils).for_each(|_| {
        graph.peer();
    });
    for from in 0..honest {
        for _ in 0..10 {
            // Some are much better known than others.
            let popular = rng.below(honest).min(rng.below(honest)).min(rng.below(honest));
            graph.set(from, popular, 1 + rng.below(1000));
        }
    }
    for _ in 0..bought {
        graph.set(rng.below(honest), honest + rng.below(sybils), 500);
    }
    for from in honest..honest + sybils {
        (0..5).for_each(|_| graph.set(from, honest + rng.below(sybils), u32::MAX));
    }
    let mut flow = Flow::over(graph, Ppm(150_000));
    flow.seed((0..5).map(|n| Edge { to: n * 37, weight: 1 }).collect());
    flow
}

#[test]
fn attackers_have_what_flows_over_bought_edges_whatever_their_number() {
    let mut masses = Vec::new();
    for sybils in [100, 1_000, 10_000] {
        let mut flow = attacked(2_000, 40, sybils);
        flow.solve(flow::ONE as u64 / 1_000_000_000);
        let mass: f64 = (2_000..2_000 + sybils).map(|peer| flow.trust(peer) as f64).sum();
        let mut crossing = 0.0;
        for from in 0..2_000 {
            for edge in flow.graph().row(from).iter().filter(|edge| edge.to >= 2_000) {
                crossing += flow.trust(from) as f64 * f64::from(edge.weight) / flow.graph().sum(from) as f64;
            }
        }
        let bound = crossing * 0.85 / 0.15;
        assert!((mass / bound - 1.0).abs() < 1e-4, "{sybils} sybils: {mass} of {bound}");
        masses.push(mass / flow::ONE as f64);
    }
    assert!(masses[2] / masses[0] < 1.1 && masses[2] / masses[0] > 0.9, "{masses:?}");
    assert!(masses[2] < 0.02, "{masses:?}");
}

/// What bad peers do; the letters are EigenTrust's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Threat {
    /// A: each for itself, always bad.
    Lone,
    /// B: always bad, and they praise each other.
    Collective,
    /// C: as B, but good every other time.
    Camouflage,
    /// D: half of them work well and praise the others, who are always bad.
    Spies,
    /// E: always bad, and after each task under a new name.
    Sybil,
    /// F: one task in a hundred is bad, with much harm.
    Virus,
}

const PEERS: u64 = 40;
const BAD: u64 = 12;
const HONEST: u64 = PEERS - BAD;
/// How many tasks in a million are audited.
const AUDITED: u32 = 500_000;

struct Town {
    threat: Threat,
    rng: Rng,
    views: Vec<Reputation>,
    /// Under which name each peer goes now.
    names: Vec<u64>,
    fresh: u64,
    /// Everybody is chosen as often as everybody else.
    blind: bool,
}

impl Town {
    /// Peers from `HONEST` on are bad. Each honest one was invited by three others, one of ten invitations comes from a bad one.
    fn new(threat: Threat, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut views: Vec<Reputation> = (0..HONEST).map(|n| Reputation::new(Config::default(), id(n))).collect();
        for view in &mut views {
            let friend = |rng: &mut Rng| {
                let end = if rng.below(10) == 0 { PEERS } else { HONEST };
                (id(u64::from(rng.below(end as u32))), 1)
            };
            let seeds: Vec<_> = (0..3).map(|_| friend(&mut rng)).collect();
            view.choose_seeds(&seeds).unwrap();
        }
        Self { threat, rng, views, names: (0..PEERS).collect(), fresh: 1_000, blind: false }
    }

    /// Whether peer `who` does its task well this time.
    fn good(&mut self, who: u64) -> bool {
        match self.threat {
            _ if who < HONEST => true,
            Threat::Lone | Threat::Collective | Threat::Sybil => false,
            Threat::Camouflage => self.rng.chance(500_000),
            Threat::Spies => who.is_multiple_of(2),
            Threat::Virus => !self.rng.chance(10_000),
        }
    }

    /// One task for each honest peer; how many were done badly.
    fn round(&mut self) -> u32 {
        let mut bad = 0;
        let (mut said, mut proven) = (Vec::new(), Vec::new());
        for client in 0..HONEST {
            // A quarter of all is there at the time.
            let there: Vec<u64> = (0..PEERS).filter(|who| *who != client && self.rng.below(4) == 0).collect();
            let candidates: Vec<_> = there.iter().map(|who| (id(self.names[*who as usize]), Credits(0))).collect();
            let view = &self.views[client as usize];
            let weights = if self.blind { candidates.iter().map(|_| 1).collect() } else { view.weights(&candidates) };
            let Some(at) = draw(&mut self.rng, &weights) else { continue };
            let (who, name) = (there[at], candidates[at].0);
            // A newcomer is audited before its answer is used, another one afterwards, if it is drawn.
            let new = view.standing(&name) == Standing::Newcomer;
            let good = self.good(who);
            bad += u32::from(!good);
            let seen = new || self.rng.chance(AUDITED);
            let view = &mut self.views[client as usize];
            let accuracy = seen.then_some(if good { 1_000_000 } else { 0 });
            let paid = if seen && !good { Credits(0) } else { Credits::ONE };
            said.push((client, view.session(START, name, session(true, accuracy), paid).unwrap()));
            if seen && !good {
                proven.push(name);
            }
            if self.threat == Threat::Sybil && who >= HONEST {
                self.names[who as usize] = self.fresh;
                self.fresh += 1;
            }
        }
        self.spread(&said, &proven);
        bad
    }

    /// All hear what honest peers say and what the bad ones say of each other, and see the proofs.
    fn spread(&mut self, said: &[(u64, Statement)], proven: &[NodeId]) {
        let mut praise = Vec::new();
        if self.threat != Threat::Lone && self.threat != Threat::Virus {
            for from in HONEST..PEERS {
                let to = HONEST + u64::from(self.rng.below(BAD as u32));
                let to = if self.threat == Threat::Spies { to | 1 } else { to };
                praise.push((self.names[from as usize], id(self.names[to.min(PEERS - 1) as usize])));
            }
        }
        for view in &mut self.views {
            proven.iter().for_each(|name| view.convict(*name));
            for (from, statement) in said {
                // Refused where one of the two is convicted already.
                let _ = view.heard(id(*from), *statement);
            }
            for (from, to) in &praise {
                let _ = view.heard(id(*from), Statement { to: *to, weight: u32::MAX });
            }
            view.refresh(usize::MAX);
        }
    }
}

fn draw(rng: &mut Rng, weights: &[u32]) -> Option<usize> {
    let mut at = rng.below(weights.iter().sum());
    weights.iter().position(|weight| {
        let here = at < *weight;
        at = at.saturating_sub(*weight);
        here
    })
}

/// The share of tasks that were done badly, in parts per million, in the 100 rounds after the first 100.
fn harm(threat: Threat, seed: u64) -> u32 {
    let mut town = Town::new(threat, seed);
    (0..100).for_each(|_| {
        town.round();
    });
    let bad: u32 = (0..100).map(|_| town.round()).sum();
    (u64::from(bad) * 1_000_000 / (HONEST * 100)) as u32
}

#[test]
fn at_most_one_task_in_a_hundred_is_bad_under_each_of_the_six_threats() {
    use Threat::*;
    for threat in [Lone, Collective, Camouflage, Spies, Sybil, Virus] {
        let harm = harm(threat, 0);
        assert!(harm <= 10_000, "{threat:?}: {harm} ppm");
    }
}

#[test]
fn without_trust_the_same_town_is_harmed() {
    // What the test above would see if nobody were believed more than another: about 30 % of all tasks.
    let mut town = Town { blind: true, ..Town::new(Threat::Sybil, 1) };
    let bad: u32 = (0..50).map(|_| town.round()).sum();
    assert!(bad > 50 * HONEST as u32 / 4, "{bad}");
}

#[test]
fn whom_this_node_itself_found_bad_it_gives_no_work_below_the_least() {
    let mut view = Reputation::new(Config::default(), id(0));
    assert!(view.allows(START, &id(1)), "nothing is known");
    let mut failures = 0;
    while view.allows(START, &id(1)) {
        view.session(START, id(1), session(false, Some(0)), Credits(0)).unwrap();
        failures += 1;
    }
    assert_eq!(failures, 3);
    view.configure(Config { local_min: Ppm(50_000), ..Config::default() });
    assert!(view.allows(START, &id(1)), "members decided to be more patient");
}
