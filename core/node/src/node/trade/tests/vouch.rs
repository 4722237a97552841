//! What is told of others, and what is believed of it.

use super::*;

/// Number `n`, with `count` others that nobody knows.
fn trade(n: usize, count: u64) -> Trade<Identity> {
    let mut trade = Trade::new(config(), birth(n));
    let ids = (0..count).map(NodeId::number);
    let peers = ids.map(|id| Peer { id, models: Bloom::default() }).collect();
    trade.handle(Instant::default(), Input::Peers(peers), &mut vec![]);
    trade
}

#[test]
fn every_listener_comes_to_hear_all_that_was_seen_in_as_many_turns_as_it_takes_messages() {
    const OTHERS: u64 = 39;
    let mut trade = trade(0, OTHERS);
    for n in 0..OTHERS {
        trade.edges.insert(NodeId::number(n), 5);
        for model in 0..6 {
            trade.sightings.insert((NodeId::number(n), model, Sign::Slow), (1, 0));
        }
    }
    // 234 sightings are four messages, and 39 listeners five rounds of eight.
    let mut heard = BTreeSet::new();
    for round in 0..4 * 5 {
        let mut out = vec![];
        trade.tick(trade.vouch_due, &mut out);
        let mut told = 0;
        for effect in out {
            let Effect::Send { to, message: Message::Vouch { edges, sightings } } = effect else { continue };
            told += 1;
            heard.extend(edges.into_iter().map(|edge| (to, edge.0, None)));
            heard.extend(sightings.into_iter().map(|seen| (to, seen.peer, Some(seen.model))));
        }
        assert_eq!(told, if round % 5 == 4 { 7 } else { 8 });
    }
    assert_eq!(heard.len() as u64, OTHERS * OTHERS * (1 + 6));
}

#[test]
fn two_nodes_begin_to_tell_at_two_places() {
    let told = |n: usize| {
        let mut trade = trade(n, 200);
        trade.edges = (0..200).map(|n| (NodeId::number(n), 5)).collect();
        let mut out = vec![];
        trade.tick(trade.vouch_due, &mut out);
        out.into_iter().find_map(|effect| match effect {
            Effect::Send { message: Message::Vouch { edges, .. }, .. } => Some(edges),
            _ => None,
        })
    };
    assert_ne!(told(0), told(1));
}

#[test]
fn strangers_and_those_who_name_strangers_take_no_room() {
    let mut trade = trade(0, 10);
    let before = trade.reputation().clone();
    let invented = |round: u64| (0..64).map(|n| (NodeId::number(1_000 + 64 * round + n), u32::MAX)).collect();
    for round in 0..20 {
        for from in [NodeId::number(500 + round), NodeId::number(1), keys(1).key()] {
            let message = Message::Vouch { edges: invented(round), sightings: vec![] };
            trade.handle(Instant::default(), Input::Heard { from, message }, &mut vec![]);
        }
    }
    assert_eq!(*trade.reputation(), before);
    // One that is believed names one that is there; whoever is named so has a place, and is heard once trust is folded in.
    let (old, new, next) = (keys(1).key(), NodeId::number(1), NodeId::number(2));
    let mut heard = |from: NodeId, to: NodeId| {
        let message = Message::Vouch { edges: vec![(to, 1_000)], sightings: vec![] };
        trade.handle(Instant::default(), Input::Heard { from, message }, &mut vec![]);
        trade.reputation.refresh(usize::MAX);
        trade.reputation.trust(&to) > 0
    };
    assert_eq!([heard(new, next), heard(old, new), heard(new, next)], [false, true, true]);
}
