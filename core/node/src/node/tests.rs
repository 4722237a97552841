use alloc::{vec, vec::Vec};

use super::*;
use crate::{kit::laws, trust::identity::Identity};

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + u16::from(n)))
}

fn birth(n: u8) -> Birth<Identity> {
    let keys = Identity::new([n; 32]);
    let id = keys.key();
    Birth { keys, id, certificate: None, facts: Facts::at(addr(n)), seed: n.into(), at: UnixTime(1_700_000_000) }
}

type Heard = Vec<(usize, Instant, Input)>;

/// Two nodes and what flies between them, for `seconds`; what each heard, and what the first kept.
fn meet(seconds: u64) -> ([Node<Identity>; 2], Heard, Vec<Kept>) {
    let mut first_out = vec![];
    let mut nodes = [1, 2].map(|n| Node::restore(Config::default(), birth(n), [], &mut first_out));
    let mut heard = vec![];
    let mut kept = vec![];
    take(0, first_out, &mut vec![], &mut kept);
    let mut inbox: Vec<(usize, Input)> = vec![(1, Input::Ask { from: 7, ask: Ask::Join(vec![addr(1)]) })];
    let mut now = Instant::default();
    while now < Instant::from_millis(seconds * 1000) {
        let mut out = vec![];
        if inbox.is_empty() {
            let who = usize::from(nodes[1].deadline() < nodes[0].deadline());
            now = now.max(nodes[who].deadline().unwrap());
            nodes[who].tick(now, &mut out);
            take(who, out, &mut inbox, &mut kept);
        } else {
            let (who, input) = inbox.remove(0);
            while nodes[who].deadline().is_some_and(|due| due <= now) {
                nodes[who].tick(now, &mut out);
            }
            heard.push((who, now, input.clone()));
            nodes[who].handle(now, input, &mut out);
            take(who, out, &mut inbox, &mut kept);
        }
    }
    (nodes, heard, kept)
}

fn take(who: usize, out: Vec<Effect>, inbox: &mut Vec<(usize, Input)>, kept: &mut Vec<Kept>) {
    for effect in out {
        match effect {
            Effect::Send { to, packet } => {
                let receiver = usize::from(to.port() - 1001);
                inbox.push((receiver, Input::Packet { from: addr(who as u8 + 1), bytes: packet }));
            }
            Effect::Run(job) => inbox.push((who, Input::Ran { job, done: who == 0 })),
            Effect::Save(record) if who == 0 => kept.push(record),
            _ => {}
        }
    }
}

#[test]
fn two_nodes_meet_and_see_that_process_and_engine_are_two_things() {
    let (nodes, heard, _) = meet(60);
    assert_eq!([nodes[0].swim().living(), nodes[1].swim().living()], [1, 1]);
    assert!(heard.len() > 100);
    let mut out = vec![];
    let [mut first, mut second] = nodes;
    let now = heard.last().unwrap().1;
    // Its next timers: an unanswered probe of before, a comparison, and at last a probe.
    while !out.iter().any(|effect| matches!(effect, Effect::Send { .. })) {
        second.tick(second.deadline().unwrap(), &mut out);
    }
    out.retain(|effect| matches!(effect, Effect::Send { .. }));
    let Some(Effect::Send { packet, .. }) = out.pop() else { panic!("a probe is sent every second") };
    first.handle(now, Input::Packet { from: addr(2), bytes: packet }, &mut out);
    let Some(Effect::Send { packet, .. }) = out.pop() else { panic!("a probe is answered") };
    second.handle(second.deadline().unwrap(), Input::Packet { from: addr(1), bytes: packet }, &mut out);
    let pulse = Pulse { engine: true, load: 0, price: 0 };
    assert!(out.contains(&Effect::Tell(swim::Event::Pulse(first.id(), pulse))), "{out:?}");
}

#[test]
fn a_node_begins_again_from_what_was_kept() {
    let (nodes, _, kept) = meet(700);
    let bytes: Vec<_> = kept.iter().map(Kept::encode).collect();
    let kept: Vec<_> = bytes.iter().map(|bytes| Kept::decode(bytes).unwrap()).collect();
    assert!(matches!(kept.last(), Some(Kept::Peers(peers)) if !peers.is_empty()), "{kept:?}");
    let mut out = vec![];
    let again = Node::restore(Config::default(), birth(1), kept, &mut out);
    assert_eq!(out[0], Effect::Save(Kept::Incarnation(2)));
    assert_eq!(again.swim().living(), 1);
    assert!(again.swim().member(&nodes[1].id()).is_some());
    for length in 0..bytes[0].len() {
        assert_eq!(Kept::decode(&bytes[0][..length]), None);
    }
}

#[test]
fn a_directory_is_read_line_by_line() {
    let text = b"192.0.2.1:7000\n\n# none\n [2001:db8::1]:7000 \n\xff";
    assert_eq!(route::addresses(&text[..text.len() - 1]).len(), 2);
    assert_eq!(route::addresses(text), []);
}

#[test]
fn keeps_the_laws() {
    let (_, heard, _) = meet(40);
    let mut out = vec![];
    let node = Node::restore(Config::default(), birth(1), [], &mut out);
    laws::hold(&node, heard.into_iter().filter(|(who, ..)| *who == 0).map(|(_, at, input)| (at, input)));
}
