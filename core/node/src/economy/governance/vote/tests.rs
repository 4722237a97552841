use alloc::{format, string::String, vec, vec::Vec};

use super::*;
use crate::{kit::Rng, trust::identity::Identity};

const TRUST: u64 = 1 << 62;
const POOL: Credits = Credits(1_000_000 * Credits::ONE.0);
const PROPOSAL: Digest = Digest([7; 32]);

fn right(n: u64, credits: u64, trust: u64) -> Right {
    Right { voter: NodeId::number(n), locked: Credits(credits), trust }
}

/// Votes that were cast, without promises: what the tally looks at.
fn urn(rights: &[(Right, Option<Ballot>)]) -> Urn {
    let snapshot = Snapshot::new(rights.iter().map(|right| right.0).collect(), TRUST, POOL).unwrap();
    let mut urn = Urn::new(PROPOSAL, snapshot, &BTreeMap::new());
    for (right, ballot) in rights {
        let Some(ballot) = *ballot else { continue };
        let at = urn.snapshot.index(&right.voter).unwrap();
        urn.ballots[at] = State::Opened { sealed: Digest([0; 32]), ballot };
    }
    urn.open();
    urn
}

fn cast(choice: Choice, percent: u32) -> Option<Ballot> {
    Some(Ballot { choice, share: Ppm(percent * 10_000) })
}

#[test]
fn votes_cost_their_square() {
    let tally =
        |percent| urn(&[(right(1, 1 << 40, TRUST / 10), cast(Choice::For, percent))]).tally(&Past::default()).yes;
    let (quarter, all) = (tally(25), tally(100));
    assert!(all.abs_diff(2 * quarter) <= all >> 20, "four times the cost: {quarter} and {all}");
}

#[test]
fn splitting_a_budget_over_a_million_identities_changes_nothing() {
    // Others with a million credits; one with 100 credits and a thousandth of all trust, alone or as many.
    let others = (0..50).map(|n| (right(n, 20_000 * Credits::ONE.0, TRUST / 100), cast(Choice::Against, 100)));
    let mut past = Past::default();
    past.record((0..50).map(|n| (NodeId::number(n), if n % 3 == 0 { Choice::For } else { Choice::Against })));
    let influence = |parts: u64| {
        let part = |n| (right(1000 + n, 100 * Credits::ONE.0 / parts, TRUST / 1000 / parts), cast(Choice::For, 100));
        urn(&others.clone().chain((0..parts).map(part)).collect::<Vec<_>>()).tally(&past)
    };
    let whole = influence(1);
    for parts in [2, 10, 1000, 1_000_000] {
        let split = influence(parts);
        assert_eq!(split.no, whole.no);
        let change = split.yes.abs_diff(whole.yes) * 1_000_000 / whole.yes;
        assert!(change < 50_000, "{parts} identities: {change} ppm");
        // Plain quadratic voting would multiply it by the root of their number.
        assert!(split.yes <= whole.yes + whole.yes / 1_000_000, "{parts} identities gain");
    }
}

#[test]
fn no_uneven_split_gains_and_who_has_no_trust_has_no_vote() {
    let mut rng = Rng::new(4);
    for _ in 0..100 {
        let (credits, trust) = (1 + (rng.next() >> 30), 1 + (rng.next() >> 6));
        let influence = |parts: &[(u64, u64)]| {
            let voters =
                parts.iter().zip(0..).map(|((credits, trust), n)| (right(n, *credits, *trust), cast(Choice::For, 100)));
            urn(&voters.collect::<Vec<_>>()).tally(&Past::default()).yes
        };
        let whole = influence(&[(credits, trust)]);
        let (c, t) = (rng.next() % credits, rng.next() % trust);
        let split = influence(&[(c, t), (credits - c, trust - t)]);
        // One vote more or less by rounding; the unit of influence is a thousandth of √½ of a vote.
        assert!(split <= whole + 1500, "{split} of {whole}");
        assert_eq!(influence(&[(credits, 0)]), 0);
    }
}

#[test]
fn who_locks_more_than_its_trust_is_worth_gains_nothing() {
    let tally = |credits| urn(&[(right(1, credits, TRUST / 1000), cast(Choice::For, 100))]).tally(&Past::default()).yes;
    // A thousandth of the pool is a thousand credits.
    assert_eq!(tally(1000 * Credits::ONE.0), tally(1_000_000 * Credits::ONE.0));
    assert!(tally(999 * Credits::ONE.0) < tally(1000 * Credits::ONE.0));
}

#[test]
fn who_never_disagreed_weighs_less_than_who_did() {
    let mut past = Past::default();
    for n in 0..8_u64 {
        // 0 to 9 vote alike; 10 to 19 each as the bits of a number of its own.
        let alike = (0..10).map(|v| (NodeId::number(v), Choice::For));
        let apart = (10..20).map(|v: u64| {
            let bit = NodeId::number(v).short() >> n & 1;
            (NodeId::number(v), if bit == 0 { Choice::For } else { Choice::Against })
        });
        past.record(alike.chain(apart));
    }
    let tally = |from: u64| {
        let voters = (from..from + 10).map(|n| (right(n, 1 << 40, TRUST / 100), cast(Choice::For, 100)));
        urn(&voters.collect::<Vec<_>>()).tally(&past).yes
    };
    let (ring, apart, fresh) = (tally(0), tally(10), tally(1000));
    assert!(apart * 100 > ring * 110, "ten who differ weigh {apart}, ten who never did {ring}");
    assert_eq!(ring, fresh, "a new name shows no independence");
    let single = |n: u64| urn(&[(right(n, 1 << 40, TRUST / 100), cast(Choice::For, 100))]).tally(&past).yes;
    assert!(ring.abs_diff(10 * single(0)) <= 10, "ten parts of one weigh what one weighs");
    assert_eq!(disagreements(0b01_10_01_00, 0b10_10_01_01), 1);
    assert_eq!(disagreements(0b0101, 0b1010), 2);
}

#[test]
fn the_same_ballots_in_any_order_give_the_same_hash() {
    let voters: Vec<Identity> = (1..30).map(|n| Identity::new([n; 32])).collect();
    let rights: Vec<Right> =
        voters.iter().map(|keys| Right { voter: keys.key(), locked: Credits(1 << 40), trust: TRUST / 100 }).collect();
    let snapshot = Snapshot::new(rights, TRUST, POOL).unwrap();
    let mut rng = Rng::new(3);
    let mut promises = vec![];
    let mut openings = vec![];
    for (n, keys) in voters.iter().enumerate() {
        let ballot =
            Ballot { choice: [Choice::For, Choice::Against, Choice::Abstain][n % 3], share: Ppm(rng.below(2_000_000)) };
        let old = Ballot { choice: Choice::For, share: Ppm::ALL };
        promises.push(Promise::new(PROPOSAL, 1, old.seal(&PROPOSAL, &keys.key(), &[1; 32]), keys));
        promises.push(Promise::new(PROPOSAL, 2, ballot.seal(&PROPOSAL, &keys.key(), &[2; 32]), keys));
        if n % 7 == 0 {
            promises.push(Promise::new(PROPOSAL, 2, old.seal(&PROPOSAL, &keys.key(), &[3; 32]), keys));
        }
        openings.push(Opening { proposal: PROPOSAL, voter: keys.key(), ballot, salt: [2; 32] });
    }
    let mut tallies = vec![];
    for _ in 0..10 {
        let mut urn = Urn::new(PROPOSAL, snapshot.clone(), &BTreeMap::new());
        let mut shuffle = |count: usize| {
            let mut order: Vec<usize> = (0..count).collect();
            (1..count).rev().for_each(|i| order.swap(i, rng.below(i as u32 + 1) as usize));
            order
        };
        for at in shuffle(promises.len()) {
            let _ = urn.promise_checked(&promises[at]);
        }
        urn.open();
        for at in shuffle(openings.len()) {
            let promised_twice = at % 7 == 0;
            assert_eq!(urn.reveal(&openings[at]).is_ok(), !promised_twice);
        }
        tallies.push(urn.tally(&Past::default()));
    }
    assert!(tallies.iter().all(|tally| *tally == tallies[0]));
    assert!(tallies[0].yes > 0 && tallies[0].no > 0);
}

#[test]
fn every_refusal_of_a_ballot_in_the_order_of_checks() {
    let [one, two, stranger] = [1, 2, 3].map(|n| Identity::new([n; 32]));
    let rights = [&one, &two].map(|keys| Right { voter: keys.key(), locked: Credits(5), trust: 5 });
    let mut urn = Urn::new(PROPOSAL, Snapshot::new(rights.to_vec(), 10, POOL).unwrap(), &BTreeMap::new());
    let ballot = Ballot { choice: Choice::For, share: Ppm::ALL };
    let seal = |keys: &Identity, salt: u8| ballot.seal(&PROPOSAL, &keys.key(), &[salt; 32]);
    let promise = |keys: &Identity, serial, salt| Promise::new(PROPOSAL, serial, seal(keys, salt), keys);
    let open =
        |keys: &Identity, ballot, salt: u8| Opening { proposal: PROPOSAL, voter: keys.key(), ballot, salt: [salt; 32] };
    let against = Ballot { choice: Choice::Against, ..ballot };
    let mut lines = String::new();
    let mut say = |name: &str, outcome: Result<(), Error>| {
        lines += &format!("{name}: {}\n", outcome.map_or_else(|error| format!("{error}"), |()| "counts".into()));
    };
    say("opened before its time", urn.reveal(&open(&one, ballot, 1)));
    let foreign = Promise::new(Digest([8; 32]), 1, seal(&one, 1), &one);
    say("a promise on something else", urn.promise(&foreign, &two));
    say("a stranger's", urn.promise(&promise(&stranger, 1, 1), &two));
    say("a promise", urn.promise(&promise(&one, 5, 1), &two));
    say("an earlier one, and forged", urn.promise(&Promise { serial: 4, ..promise(&one, 5, 2) }, &two));
    say("a forged one", urn.promise(&Promise { serial: 6, ..promise(&one, 5, 2) }, &two));
    say("a later one", urn.promise(&promise(&one, 6, 2), &two));
    say(
        "that one again, signed in another way",
        urn.promise(&Promise { signature: Signature([1; 64]), ..promise(&one, 6, 2) }, &two),
    );
    say("two with one number", urn.promise(&promise(&two, 1, 1), &one));
    say("two with one number", urn.promise(&promise(&two, 1, 2), &one));
    say("a third with it", urn.promise(&promise(&two, 1, 3), &one));
    urn.open();
    say("a promise too late", urn.promise(&promise(&one, 7, 1), &two));
    say("another proposal's", urn.reveal(&Opening { proposal: Digest([8; 32]), ..open(&stranger, ballot, 2) }));
    say("a stranger's", urn.reveal(&open(&stranger, ballot, 2)));
    say("of two promises", urn.reveal(&open(&two, ballot, 2)));
    say("what was promised first", urn.reveal(&open(&one, ballot, 1)));
    say("the contrary", urn.reveal(&open(&one, against, 2)));
    say("what was promised last", urn.reveal(&open(&one, ballot, 2)));
    say("and again", urn.reveal(&open(&one, ballot, 2)));
    say("and again, in other words", urn.reveal(&open(&one, ballot, 3)));
    say("and the contrary", urn.reveal(&open(&one, against, 2)));
    assert_eq!(
        lines,
        "opened before its time: it is not the time for it\n\
         a promise on something else: it is about another proposal\n\
         a stranger's: the voter could not vote when the proposal was made\n\
         a promise: counts\n\
         an earlier one, and forged: promise 5 came later and holds\n\
         a forged one: the voter did not sign it\n\
         a later one: counts\n\
         that one again, signed in another way: it changes nothing\n\
         two with one number: counts\n\
         two with one number: counts\n\
         a third with it: it changes nothing\n\
         a promise too late: it is not the time for it\n\
         another proposal's: it is about another proposal\n\
         a stranger's: the voter could not vote when the proposal was made\n\
         of two promises: the voter promised nothing, or two things at once\n\
         what was promised first: it is not what the voter promised\n\
         the contrary: it is not what the voter promised\n\
         what was promised last: counts\n\
         and again: it changes nothing\n\
         and again, in other words: it is not what the voter promised\n\
         and the contrary: it is not what the voter promised\n"
    );
}

#[test]
fn delegates_vote_for_the_silent_with_the_budget_of_the_silent() {
    let ids = |n: u64| NodeId::number(n);
    let rights: Vec<Right> = (0..6).map(|n| right(n, 1 << 40, TRUST / 100)).collect();
    // 1 -> 0, 2 -> 1 -> 0; 3 and 4 in a circle; 5 votes itself though it has a delegate.
    let delegates: BTreeMap<NodeId, NodeId> =
        [(1, 0), (2, 1), (3, 4), (4, 3), (5, 0)].map(|(a, b)| (ids(a), ids(b))).into();
    let snapshot = Snapshot::new(rights, TRUST, POOL).unwrap();
    let mut urn = Urn::new(PROPOSAL, snapshot, &delegates);
    for (voter, choice) in [(0, Choice::For), (5, Choice::Against)] {
        let at = urn.snapshot.index(&ids(voter)).unwrap();
        urn.ballots[at] = State::Opened { sealed: Digest([0; 32]), ballot: Ballot { choice, share: Ppm::ALL } };
    }
    urn.open();
    let tally = urn.tally(&Past::default());
    assert!(tally.yes.abs_diff(3 * tally.no) <= 3, "{tally:?}");
    assert_eq!((tally.present * 6, urn.choices().count()), (tally.all * 4, 2));
}

#[test]
fn quorum_and_majorities_are_those_of_the_predecessor() {
    let tally = |yes, no, present| Tally { yes, no, present, all: 100, digest: PROPOSAL };
    assert_eq!(tally(9, 0, 29).verdict(Protection::Normal), Verdict::Expired);
    assert_eq!(tally(9, 0, 30).verdict(Protection::Normal), Verdict::Passed);
    assert_eq!(tally(5, 5, 30).verdict(Protection::Normal), Verdict::Rejected);
    assert_eq!(tally(0, 0, 30).verdict(Protection::Normal), Verdict::Rejected);
    assert_eq!(tally(60, 40, 99).verdict(Protection::Elevated), Verdict::Passed);
    assert_eq!(tally(66, 34, 99).verdict(Protection::Critical), Verdict::Rejected);
    let nobody = Tally { all: 0, ..tally(0, 0, 0) };
    assert_eq!(nobody.verdict(Protection::Normal), Verdict::Expired);
}

#[test]
fn a_snapshot_has_everybody_once() {
    assert!(Snapshot::new(vec![right(1, 1, 1), right(1, 2, 1)], 10, POOL).is_none());
    assert!(Snapshot::new(vec![right(1, 1, 11)], 10, POOL).is_none());
    let (a, b) = (right(1, 1, 1), right(2, 1, 1));
    let [one, other] = [vec![a, b], vec![b, a]].map(|rights| Snapshot::new(rights, 10, POOL).unwrap().digest());
    assert_eq!(one, other);
    assert_ne!(one, Snapshot::new(vec![a, b], 11, POOL).unwrap().digest());
}

/// What a snapshot must be like to be voted on: see the page of this module.
#[test]
fn a_snapshot_is_near_a_view_or_made_up() {
    type Trusts = Vec<(u64, u64)>;
    const ME: u64 = 0;
    let locked = POOL.0;
    let snapshot = |trusts: &[(u64, u64)]| {
        let total = trusts.iter().map(|trust| trust.1).sum();
        Snapshot::new(trusts.iter().map(|(n, trust)| right(*n, locked, *trust)).collect(), total, POOL).unwrap()
    };
    let view = |trusts: &[(u64, u64)]| -> Vec<(NodeId, u64)> {
        trusts.iter().map(|(n, trust)| (NodeId::number(*n), *trust)).collect()
    };
    // A viewer believes itself most; of the others forty have as much each.
    let mine: Trusts = (1..=40).map(|n| (n, 1000)).collect();
    let seen = view(&[&[(ME, 40_000)][..], &mine[..]].concat());
    let with = |change: &dyn Fn(&mut Trusts)| {
        let mut trusts = mine.clone();
        change(&mut trusts);
        trusts
    };
    let near = |snapshot: &Snapshot| {
        let strangers = snapshot.rights().iter().filter(|right| !seen.iter().any(|known| known.0 == right.voter));
        let all: Vec<(NodeId, u64)> = seen.iter().copied().chain(strangers.map(|right| (right.voter, 0))).collect();
        snapshot.is_near(&all, &NodeId::number(ME))
    };
    let mut lines = String::new();
    let mut say = |name: &str, snapshot: &Snapshot| lines += &format!("{name}: {}\n", near(snapshot));
    say("the same", &snapshot(&mine));
    say("with the viewer", &snapshot(&with(&|all| all.push((ME, 1000)))));
    say("a third more or less", &snapshot(&with(&|all| all.iter_mut().for_each(|one| one.1 = 667 + one.0 % 2 * 666))));
    say("nine joined lately", &snapshot(&with(&|all| all.extend((50..59).map(|n| (n, 1000))))));
    say("fourteen joined lately", &snapshot(&with(&|all| all.extend((50..64).map(|n| (n, 1000))))));
    say("without eight", &snapshot(&mine[8..]));
    say("without eleven", &snapshot(&mine[11..]));
    say("one has more than all", &snapshot(&with(&|all| all[0].1 = 50_000)));
    say("one alone", &snapshot(&[(99, 1000)]));
    say("one who is trusted, alone", &snapshot(&[(1, 1000)]));
    say("nobody", &snapshot(&[]));
    // Trust as it is, but what is locked is made up: most have nothing, so all votes are those of a few.
    let rights = mine.iter().map(|(n, trust)| right(*n, if *n < 10 { locked } else { 1 }, *trust)).collect();
    say("only nine have locked something", &Snapshot::new(rights, 40_000, POOL).unwrap());
    say("who has locked all and is trusted by nobody", &{
        let mut rights: Vec<Right> = mine.iter().map(|(n, trust)| right(*n, 1, *trust)).collect();
        rights.push(right(99, u64::MAX, 40_000));
        Snapshot::new(rights, 40_000, Credits(u64::MAX)).unwrap()
    });
    assert_eq!(
        lines,
        "the same: true\n\
         with the viewer: true\n\
         a third more or less: true\n\
         nine joined lately: true\n\
         fourteen joined lately: false\n\
         without eight: true\n\
         without eleven: false\n\
         one has more than all: false\n\
         one alone: false\n\
         one who is trusted, alone: false\n\
         nobody: false\n\
         only nine have locked something: false\n\
         who has locked all and is trusted by nobody: false\n"
    );
    assert!(!snapshot(&mine).is_near(&view(&[(ME, 1000)]), &NodeId::number(ME)), "who trusts nobody judges nothing");
}
