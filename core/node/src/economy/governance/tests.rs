use alloc::{format, string::String, vec, vec::Vec};

use super::{
    vote::{Ballot, Right},
    *,
};
use crate::{
    kit::{Ppm, Rng, laws},
    trust::identity::Identity,
};

const START: u64 = 1_700_000_000;
const TRUST: u64 = 1 << 62;

fn id(n: u8) -> Identity {
    Identity::new([n; 32])
}

/// Ten members with a tenth of the trust each.
fn snapshot() -> Snapshot {
    let rights = (1..11).map(|n| Right { voter: id(n).key(), locked: Credits(1 << 40), trust: TRUST / 10 }).collect();
    Snapshot::new(rights, TRUST, Credits(1 << 45)).unwrap()
}

fn proposal(key: Key, value: Value) -> Proposal {
    let author = id(1);
    Proposal {
        author: author.key(),
        title: "a change".into(),
        key,
        value,
        bands: vec![Band { metric: Metric::HourlyEarnings, least: 1_000_000, most: 9_000_000 }],
        made: UnixTime(START),
        snapshot: snapshot().digest(),
        signature: Signature([0; 64]),
    }
    .sign(&author)
}

fn propose(proposal: &Proposal) -> Input {
    Input::Propose { proposal: Box::new(proposal.clone()), snapshot: snapshot(), deposited: DEPOSIT }
}

fn date(days: u64) -> Input {
    Input::Date(UnixTime(START + days * DAY_S))
}

fn begun() -> Governance<Identity> {
    let mut governance = Governance::new(id(99));
    tell(&mut governance, date(0));
    governance
}

/// What came of it, without what is only to be kept.
fn tell(governance: &mut Governance<Identity>, input: Input) -> Vec<Effect> {
    let mut out = vec![];
    governance.handle(Instant::default(), input, &mut out);
    out.retain(|effect| !matches!(effect, Effect::Save(_)));
    out
}

fn short(effects: &[Effect]) -> String {
    let words: Vec<String> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Refused(error) => format!("refused: {error}"),
            Effect::Counted { verdict, .. } => format!("{verdict:?}"),
            Effect::Apply(parameters) => format!("free tier {}", parameters.value(Key::FreeTierDailyLimit)),
            Effect::Deposit { back, .. } => format!("deposit {}", if *back { "back" } else { "lost" }),
            Effect::Ended { end, .. } => format!("{end:?}"),
            Effect::Simulate { .. } => "simulate".into(),
            Effect::Save(_) => "save".into(),
        })
        .collect();
    words.join(", ")
}

/// `yes` and `no` of the ten vote, each with all it has.
fn votes(id_of: &Proposal, yes: u8, no: u8) -> (Vec<Input>, Vec<Input>) {
    let proposal = id_of.id();
    (1..=yes + no)
        .map(|n| {
            let (keys, choice) = (id(n), if n <= yes { Choice::For } else { Choice::Against });
            let ballot = Ballot { choice, share: Ppm::ALL };
            let sealed = ballot.seal(&proposal, &keys.key(), &[n; 32]);
            let opening = Opening { proposal, voter: keys.key(), ballot, salt: [n; 32] };
            (Input::Promise(Promise::new(proposal, 1, sealed, &keys)), Input::Open(opening))
        })
        .unzip()
}

/// Proposes, votes, and goes on to the tally on day seven.
fn voted(proposal: &Proposal, yes: u8, no: u8) -> (Governance<Identity>, String) {
    let mut governance = begun();
    assert_eq!(short(&tell(&mut governance, propose(proposal))), "simulate");
    let (promises, openings) = votes(proposal, yes, no);
    for input in promises {
        assert_eq!(tell(&mut governance, input), []);
    }
    assert_eq!(tell(&mut governance, date(5)), []);
    for input in openings {
        assert_eq!(tell(&mut governance, input), []);
    }
    let counted = short(&tell(&mut governance, date(7)));
    (governance, counted)
}

fn free(count: u64) -> Proposal {
    proposal(Key::FreeTierDailyLimit, Value::Count(count))
}

fn good(governance: &mut Governance<Identity>, proposal: &Proposal, harmless: bool) -> String {
    short(&tell(governance, Input::Simulated { id: proposal.id(), harmless }))
}

#[test]
fn a_proposal_is_voted_on_waits_becomes_true_and_settles() {
    let change = free(200);
    let (mut governance, counted) = voted(&change, 6, 3);
    assert_eq!(counted, "Passed", "67 % for an elevated parameter");
    assert_eq!(good(&mut governance, &change, true), "");
    assert_eq!(short(&tell(&mut governance, date(8))), "");
    assert_eq!(short(&tell(&mut governance, date(9))), "free tier 200");
    assert_eq!(governance.parameters().number(Key::FreeTierDailyLimit), 200);
    assert_eq!(short(&tell(&mut governance, date(15))), "");
    assert_eq!(short(&tell(&mut governance, date(16))), "deposit back, Settled");
    assert_eq!(governance.ended(&change.id()), Some(End::Settled));
}

/// Whoever may open a vote with any salt, or promise it again, writes others' disks full.
#[test]
fn a_ballot_that_changes_nothing_is_not_kept() {
    let change = free(200);
    let mut governance = begun();
    tell(&mut governance, propose(&change));
    let (promises, openings) = votes(&change, 1, 0);
    let Input::Open(opening) = openings[0] else { panic!("{openings:?}") };
    let mut kept = |input: &Input| {
        let mut out = vec![];
        governance.handle(Instant::default(), input.clone(), &mut out);
        out.iter().filter(|effect| matches!(effect, Effect::Save(_))).count()
    };
    assert_eq!([kept(&promises[0]), kept(&promises[0])], [1, 0]);
    kept(&date(5));
    assert_eq!([kept(&openings[0]), kept(&openings[0])], [1, 0]);
    let salted = |n| Input::Open(Opening { salt: [n; 32], ..opening });
    assert_eq!((2..20).map(|n| kept(&salted(n))).sum::<usize>(), 0);
}

#[test]
fn too_few_yes_or_too_few_at_all() {
    assert_eq!(voted(&free(200), 5, 4).1, "Rejected, deposit back, Rejected", "56 %");
    assert_eq!(voted(&free(200), 2, 0).1, "Expired, deposit lost, Expired");
    assert_eq!(voted(&free(200), 3, 0).1, "Passed");
    let critical = proposal(Key::EducationTierEnabled, Value::Flag(false));
    assert_eq!(voted(&critical, 6, 4).1, "Rejected, deposit back, Rejected");
    assert_eq!(voted(&critical, 7, 3).1, "Passed");
    let normal = proposal(Key::ProTierDailyLimit, Value::Count(20_000));
    assert_eq!(voted(&normal, 5, 5).1, "Rejected, deposit back, Rejected");
}

#[test]
fn what_does_harm_in_the_simulator_or_is_not_simulated_never_becomes_true() {
    let change = free(200);
    let (mut governance, _) = voted(&change, 10, 0);
    assert_eq!(good(&mut governance, &change, false), "deposit back, Blocked");
    let (mut governance, _) = voted(&change, 10, 0);
    assert_eq!(short(&tell(&mut governance, date(10))), "");
    assert_eq!(short(&tell(&mut governance, date(11))), "deposit back, Blocked");
    let (mut governance, _) = voted(&change, 10, 0);
    tell(&mut governance, date(10));
    good(&mut governance, &change, true);
    assert_eq!(short(&tell(&mut governance, date(10))), "free tier 200", "late, but in time");
}

#[test]
fn what_does_harm_once_it_is_true_is_undone_after_three_measurements_in_a_row() {
    let change = free(200);
    let (mut governance, _) = voted(&change, 10, 0);
    good(&mut governance, &change, true);
    tell(&mut governance, date(9));
    let mut measure = |metric, value| short(&tell(&mut governance, Input::Measured(vec![(metric, value)])));
    let (declared, own) = (Metric::HourlyEarnings, Metric::TasksDone);
    assert_eq!(measure(declared, 999_999), "");
    assert_eq!(measure(own, 899_999), "");
    assert_eq!(measure(declared, 1_000_000), "", "one inside begins anew");
    assert_eq!(measure(declared, 9_000_001), "");
    assert_eq!(measure(own, 0), "");
    assert_eq!(measure(own, 899_999), "free tier 100, deposit lost, RolledBack");
    assert_eq!(governance.parameters(), &Parameters::default());
}

#[test]
fn every_refusal_of_a_proposal_in_the_order_of_checks() {
    let mut governance = begun();
    let mut lines = String::new();
    let good = free(200);
    let unsigned = |change: &dyn Fn(&mut Proposal)| {
        let mut proposal = good.clone();
        change(&mut proposal);
        proposal
    };
    let mut say = |name: &str, governance: &mut Governance<Identity>, input: Input| {
        lines += &format!("{name}: {}\n", short(&tell(governance, input)));
    };
    let poor = |proposal: &Proposal| Input::Propose {
        proposal: Box::new(proposal.clone()),
        snapshot: snapshot(),
        deposited: Credits(DEPOSIT.0 - 1),
    };
    say(
        "without a title, long ago",
        &mut governance,
        propose(&unsigned(&|p| {
            p.title.clear();
            p.made.0 = 0;
        })),
    );
    say("with a long one", &mut governance, propose(&unsigned(&|p| p.title = "x".repeat(121))));
    say("with nine bands", &mut governance, propose(&unsigned(&|p| p.bands = vec![p.bands[0]; 9])));
    say(
        "long ago, out of range",
        &mut governance,
        propose(&unsigned(&|p| {
            p.made.0 -= 3601;
            p.value = Value::Count(5);
        })),
    );
    say("tomorrow", &mut governance, propose(&unsigned(&|p| p.made.0 += 3601)));
    say("out of range, for nothing", &mut governance, poor(&unsigned(&|p| p.value = Value::Count(5))));
    say("for too little", &mut governance, poor(&good));
    say("over another snapshot", &mut governance, propose(&unsigned(&|p| p.snapshot = Digest([0; 32]))));
    say("unsigned", &mut governance, propose(&unsigned(&|p| p.value = Value::Count(300))));
    say("a proposal", &mut governance, propose(&good));
    say("again", &mut governance, propose(&good));
    say("another of the same parameter, for nothing", &mut governance, poor(&free(300)));
    say("taken back by another", &mut governance, Input::Cancel { id: good.id(), signature: good.cancel(&id(2)) });
    say("taken back", &mut governance, Input::Cancel { id: good.id(), signature: good.cancel(&id(1)) });
    say("taken back again", &mut governance, Input::Cancel { id: good.id(), signature: good.cancel(&id(1)) });
    say("the same once more", &mut governance, propose(&good));
    say("a promise on it", &mut governance, votes(&good, 1, 0).0.remove(0));
    say("a vote on it", &mut governance, votes(&good, 1, 0).1.remove(0));
    say("what a simulator says of it", &mut governance, Input::Simulated { id: good.id(), harmless: false });
    let other = free(300);
    say("another", &mut governance, propose(&other));
    tell(&mut governance, date(5));
    say("taken back too late", &mut governance, Input::Cancel { id: other.id(), signature: other.cancel(&id(1)) });
    say("a promise too late", &mut governance, votes(&other, 1, 0).0.remove(0));
    assert_eq!(
        lines,
        "without a title, long ago: refused: a proposal has a title of 1 to 120 bytes and at most 8 bands\n\
         with a long one: refused: a proposal has a title of 1 to 120 bytes and at most 8 bands\n\
         with nine bands: refused: a proposal has a title of 1 to 120 bytes and at most 8 bands\n\
         long ago, out of range: refused: its date is not now\n\
         tomorrow: refused: its date is not now\n\
         out of range, for nothing: refused: the value must be from 10 to 1000\n\
         for too little: refused: a proposal takes a deposit of 100 credits\n\
         over another snapshot: refused: the snapshot is not the one that the proposal names\n\
         unsigned: refused: whoever is named did not sign it\n\
         a proposal: simulate\n\
         again: refused: it was proposed before\n\
         another of the same parameter, for nothing: refused: another change of this parameter is under way\n\
         taken back by another: refused: whoever is named did not sign it\n\
         taken back: deposit back, Cancelled\n\
         taken back again: refused: no such proposal is under way\n\
         the same once more: refused: it was proposed before\n\
         a promise on it: refused: no such proposal is under way\n\
         a vote on it: refused: no such proposal is under way\n\
         what a simulator says of it: refused: no such proposal is under way\n\
         another: simulate\n\
         taken back too late: refused: it is too late to take it back\n\
         a promise too late: refused: it is not the time for it\n"
    );
}

/// The day on which all proposals here are made.
const DAY: u32 = (START / DAY_S) as u32;

#[test]
fn every_refusal_of_a_delegation_and_it_counts_for_its_area_from_then_on() {
    let mut governance = begun();
    let mut say = |input| short(&tell(&mut governance, input));
    let to =
        |delegate: Option<u8>, ago| Delegation::new(Category::Access, delegate.map(|n| id(n).key()), DAY - ago, &id(2));
    let old = |ago| format!("refused: a delegation of day {} changes nothing", DAY - ago);
    assert_eq!(say(Input::Delegate(to(Some(2), 2))), "refused: one votes for oneself by voting");
    assert_eq!(say(Input::Delegate(to(Some(3), 2))), "");
    assert_eq!(say(Input::Delegate(to(Some(3), 2))), old(2), "heard before");
    assert_eq!(
        say(Input::Delegate(Delegation { day: DAY - 1, ..to(Some(1), 2) })),
        "refused: whoever is named did not sign it"
    );
    assert_eq!(say(Input::Delegate(to(Some(4), 2))), "", "two things in a day: neither counts");
    assert_eq!(say(Input::Delegate(to(Some(5), 2))), old(2), "whatever a third one says");
    assert_eq!(say(Input::Delegate(to(Some(5), 20))), "", "a vote might need it");
    assert_eq!(say(Input::Delegate(to(Some(6), 10))), "");
    assert_eq!(say(Input::Delegate(to(Some(6), 20))), old(20), "what came after it is old enough for all votes");
    assert_eq!(say(Input::Delegate(to(Some(7), 0))), "", "too late for what is proposed today");
    assert_eq!(say(Input::Delegate(to(Some(1), 1))), "");
    // 1 votes for itself and for 2: with 3 to 5 silent that is not a quorum of ten but two.
    let change = free(200);
    say(propose(&change));
    let (promises, openings) = votes(&change, 1, 0);
    promises.into_iter().for_each(|input| {
        say(input);
    });
    say(date(5));
    openings.into_iter().for_each(|input| {
        say(input);
    });
    let out = tell(&mut governance, date(7));
    let Effect::Counted { tally, .. } = &out[0] else { panic!("{out:?}") };
    assert_eq!(tally.present * 10, tally.all * 2);
}

/// What was heard after a proposal must not count there, and count where it was heard before.
#[test]
fn delegations_count_alike_in_whatever_order_they_and_the_proposal_are_heard() {
    let change = free(200);
    let to = |voter: u8, delegate: u8, ago| {
        Input::Delegate(Delegation::new(Category::Access, Some(id(delegate).key()), DAY - ago, &id(voter)))
    };
    // 2 and 4 let 1 vote, 2 somebody else before and after that; 3 says two things in a day.
    let mut heard =
        vec![propose(&change), to(2, 5, 2), to(2, 1, 1), to(2, 6, 0), to(3, 1, 1), to(3, 7, 1), to(4, 1, 12)];
    let (promises, openings) = votes(&change, 1, 0);
    let mut rng = Rng::new(3);
    for _ in 0..40 {
        for at in (1..heard.len()).rev() {
            heard.swap(at, rng.below(at as u32 + 1) as usize);
        }
        let mut governance = begun();
        let told = heard.iter().cloned().chain(promises.clone());
        let (mut early, late): (Vec<Input>, Vec<Input>) = told.partition(|input| !matches!(input, Input::Promise(_)));
        early.extend(late);
        let mut kept = vec![date(0)];
        for input in early.into_iter().chain([date(5)]).chain(openings.clone()) {
            kept.push(input.clone());
            tell(&mut governance, input);
        }
        assert_eq!(Governance::restore(id(99), kept), governance);
        let out = tell(&mut governance, date(7));
        let [Effect::Counted { tally, .. }, ..] = out[..] else { panic!("{out:?}") };
        assert_eq!(tally.present * 10, tally.all * 3, "{heard:?}");
    }
}

/// Each tally is remembered in the next, so what a node slept over must not come in another order than it would have.
#[test]
fn votes_are_counted_in_the_order_in_which_they_end_however_often_one_looks() {
    let first = free(200);
    let later = |title: &str| {
        let proposal = proposal(Key::ProTierDailyLimit, Value::Count(20_000));
        Proposal { made: UnixTime(START + 3), title: title.into(), ..proposal }.sign(&id(1))
    };
    let titles = (0..20).map(|n| later(&format!("number {n}")));
    let second = titles.into_iter().find(|second| second.id() < first.id()).expect("one in two");
    let (mut promises, mut openings) = votes(&first, 5, 5);
    // Whoever was for the first is against the second, but for two: pasts differ on both sides.
    for n in 1..=10_u8 {
        let choice = if n > 5 || n == 1 { Choice::For } else { Choice::Against };
        let (keys, proposal, ballot) = (id(n), second.id(), Ballot { choice, share: Ppm::ALL });
        let sealed = ballot.seal(&proposal, &keys.key(), &[n; 32]);
        promises.push(Input::Promise(Promise::new(proposal, 1, sealed, &keys)));
        openings.push(Input::Open(Opening { proposal, voter: keys.key(), ballot, salt: [n; 32] }));
    }
    let counted = |looks: &[u64]| -> Vec<Effect> {
        let mut governance = begun();
        let told = [propose(&first), propose(&second)].into_iter().chain(promises.clone()).chain([date(6)]);
        told.chain(openings.clone()).for_each(|input| drop(tell(&mut governance, input)));
        let out = looks.iter().flat_map(|at| tell(&mut governance, Input::Date(UnixTime(START + 7 * DAY_S + at))));
        out.filter(|effect| matches!(effect, Effect::Counted { .. })).collect()
    };
    let awake = counted(&[0, 1, 3]);
    assert_eq!(awake.len(), 2);
    assert_eq!(counted(&[3]), awake);
    assert_eq!(counted(&[86_400]), awake);
}

#[test]
fn after_a_restart_it_is_known_what_the_simulator_did_not_answer() {
    let change = free(200);
    let mut governance = begun();
    let asked = tell(&mut governance, propose(&change));
    let [Effect::Simulate { id: what, parameters }] = asked[..] else { panic!("{asked:?}") };
    let mut again = Governance::restore(id(99), [date(0), propose(&change)]);
    assert_eq!(again.unanswered().collect::<Vec<_>>(), [(what, parameters)]);
    good(&mut again, &change, true);
    assert_eq!(again.unanswered().count(), 0);
}

#[test]
fn no_more_than_fifty_at_once_but_there_are_only_thirteen_parameters_to_change() {
    let mut governance = begun();
    let mut taken = 0;
    for spec in parameter::ALL {
        let (least, most) = spec.range;
        let value = if spec.default == most { least } else { most };
        let out = short(&tell(&mut governance, propose(&proposal(spec.key, value))));
        taken += usize::from(out == "simulate");
    }
    assert_eq!((taken, governance.open().count()), (13, 13));
}

#[test]
fn a_restarted_node_knows_what_it_knew() {
    let change = free(200);
    let mut governance = Governance::new(id(99));
    let (promises, openings) = votes(&change, 7, 3);
    let mut script = vec![date(0), propose(&change), propose(&change)];
    script.extend(promises.clone());
    script.push(Input::Delegate(Delegation::new(Category::Access, Some(id(3).key()), 1, &id(2))));
    script.push(date(5));
    script.extend(promises);
    script.extend(openings);
    script.extend([date(7), Input::Simulated { id: change.id(), harmless: true }, date(9)]);
    let mut kept = vec![];
    for input in script {
        let mut out = vec![];
        governance.handle(Instant::default(), input, &mut out);
        kept.extend(out.into_iter().filter_map(|effect| match effect {
            Effect::Save(input) => Some(*input),
            _ => None,
        }));
        assert_eq!(Governance::restore(id(99), kept.clone()), governance);
    }
    assert_eq!(governance.parameters().number(Key::FreeTierDailyLimit), 200);
}

#[test]
fn keeps_the_laws() {
    let changes = [free(200), free(300), proposal(Key::ProTierDailyLimit, Value::Count(20_000))];
    let all: Vec<(Vec<Input>, Vec<Input>)> = changes.iter().map(|change| votes(change, 6, 4)).collect();
    for seed in 0..15 {
        let mut rng = Rng::new(seed);
        let mut day = 0;
        let script = core::iter::repeat_with(|| {
            let n = rng.below(3) as usize;
            let input = match rng.below(9) {
                0 => {
                    day += u64::from(rng.below(3));
                    date(day)
                }
                1 => propose(&changes[n]),
                2 => Input::Simulated { id: changes[n].id(), harmless: rng.below(3) > 0 },
                3 => Input::Measured(vec![(Metric::TasksDone, u64::from(rng.below(1_000_000)))]),
                4 => Input::Cancel { id: changes[n].id(), signature: changes[n].cancel(&id(1)) },
                5 | 6 => all[n].0[rng.below(10) as usize].clone(),
                7 => Input::Delegate(Delegation::new(Category::Access, Some(id(3).key()), rng.below(5), &id(2))),
                _ => all[n].1[rng.below(10) as usize].clone(),
            };
            (Instant::default(), input)
        });
        laws::hold(&begun(), script.take(60));
    }
}
