//! A handful of members on perfect lines. Lines that lose, cut and lie are the simulator's.

use alloc::{format, string::String, vec, vec::Vec};

use super::*;
use crate::{
    kit::{Domain, laws},
    trust::identity::Identity,
};

type Node = Swim<Identity>;

/// Members and the bodies that are under way between them; 10 ms each way.
struct Net {
    nodes: Vec<Option<Node>>,
    flying: Vec<(Instant, usize, Input)>,
    now: Instant,
    sequence: u64,
    log: String,
    inputs: Vec<(usize, Instant, Input)>,
    /// Nodes that say more than the others understand ([`later`]).
    newer: Vec<usize>,
}

fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8], 1000))
}

fn node(n: usize, incarnation: u64) -> Node {
    let keys = Identity::new([n as u8 + 1; 32]);
    let id = keys.key();
    Swim::new(Config::default(), keys, id, None, incarnation, Facts::at(addr(n)), n as u64)
}

impl Net {
    fn new(count: usize) -> Self {
        let nodes = (0..count).map(|n| Some(node(n, 1))).collect();
        let mut net = Self {
            nodes,
            flying: vec![],
            now: Instant::default(),
            sequence: 0,
            log: String::new(),
            inputs: vec![],
            newer: vec![],
        };
        (1..count).for_each(|n| net.give(n, Input::Join(vec![addr(0)])));
        net
    }

    fn give(&mut self, n: usize, input: Input) {
        let Some(node) = &mut self.nodes[n] else { return };
        let mut out = vec![];
        while node.deadline().is_some_and(|due| due <= self.now) {
            node.tick(self.now, &mut out);
        }
        node.handle(self.now, input.clone(), &mut out);
        self.inputs.push((n, self.now, input));
        self.perform(n, out);
    }

    fn perform(&mut self, n: usize, mut out: Vec<Effect>) {
        let from = self.nodes[n].as_ref().unwrap().me.id;
        if self.newer.contains(&n) {
            let more = |effect| match effect {
                Effect::Send { addr, body, .. } => later(body, addr),
                effect => vec![effect],
            };
            out = out.into_iter().flat_map(more).collect();
        }
        for effect in out {
            match effect {
                Effect::Send { addr: to, body, .. } => {
                    assert!(body.len() <= Config::default().body_max, "{} bytes", body.len());
                    self.sequence += 1;
                    let sequence = self.sequence;
                    let due = self.now + Duration::from_millis(10);
                    let core::net::IpAddr::V4(ip) = to.ip() else { panic!("all have IPv4 here") };
                    let to = ip.octets()[3] as usize;
                    self.flying.push((due, to, Input::Packet { from, at: addr(n), sequence, body }));
                }
                Effect::Tell(event) => {
                    let who =
                        |id: &NodeId| self.nodes.iter().flatten().position(|node| node.me.id == *id).unwrap_or(99);
                    let text = match event {
                        Event::Suspected { id, .. } => format!("{n} suspects {}", who(&id)),
                        Event::Died { id, .. } => format!("{n} buries {}", who(&id)),
                        Event::Left(id) => format!("{n} sees {} off", who(&id)),
                        Event::Refuted(incarnation) => format!("{n} refutes with {incarnation}"),
                        _ => continue,
                    };
                    self.log.push_str(&format!("{} {text}\n", self.now.as_micros() / 1_000_000));
                }
                Effect::Save(_) => {}
            }
        }
    }

    fn run(&mut self, until: Duration) {
        let until = Instant::default() + until;
        loop {
            let timer = |(n, node): (usize, &Option<Node>)| Some((node.as_ref()?.deadline()?, n));
            let timer = self.nodes.iter().enumerate().filter_map(timer).min();
            let packet = self.flying.iter().map(|flight| flight.0).min();
            let next = timer.map(|timer| timer.0).into_iter().chain(packet).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            match timer {
                Some((due, n)) if due <= self.now => {
                    let mut out = vec![];
                    self.nodes[n].as_mut().unwrap().tick(self.now, &mut out);
                    self.perform(n, out);
                }
                _ => {
                    let at = self.flying.iter().position(|flight| flight.0 <= next).unwrap();
                    let (_, to, input) = self.flying.remove(at);
                    self.give(to, input);
                }
            }
        }
        self.now = until;
    }

    fn living(&self) -> Vec<usize> {
        self.nodes.iter().flatten().map(Node::living).collect()
    }
}

#[test]
fn members_who_know_one_address_come_to_know_all() {
    let mut net = Net::new(20);
    net.run(Duration::from_secs(10));
    assert_eq!(net.living(), [19; 20]);
    assert_eq!(net.log, "");
}

#[test]
fn a_silent_member_is_suspected_and_buried_by_everybody() {
    let mut net = Net::new(8);
    net.run(Duration::from_secs(10));
    net.nodes[3] = None;
    net.run(Duration::from_secs(60));
    assert_eq!(net.living(), [6; 7]);
    assert_eq!(net.log.matches("suspects").count(), 7, "{}", net.log);
    assert_eq!(net.log.matches("buries").count(), 7, "{}", net.log);
    assert!(!net.log.contains("refutes"), "{}", net.log);
}

#[test]
fn who_comes_back_with_an_old_incarnation_outbids_its_own_death() {
    let mut net = Net::new(6);
    net.run(Duration::from_secs(10));
    net.nodes[3] = None;
    net.run(Duration::from_secs(60));
    assert_eq!(net.living(), [4; 5]);
    // It forgot how often it lived.
    net.nodes[3] = Some(node(3, 1));
    let now = net.now;
    let mut out = vec![];
    net.nodes[3].as_mut().unwrap().tick(now, &mut out);
    net.give(3, Input::Join(vec![addr(1)]));
    net.run(Duration::from_secs(75));
    assert_eq!(net.living(), [5; 6], "{}", net.log);
    let member = net.nodes[0].as_ref().unwrap().member(&net.nodes[3].as_ref().unwrap().me.id).unwrap();
    assert!(member.0.incarnation > 1 && member.1 == State::Alive);
}

#[test]
fn a_farewell_is_known_at_once_and_is_no_death() {
    let mut net = Net::new(8);
    net.run(Duration::from_secs(10));
    net.give(5, Input::Leave);
    net.run(Duration::from_secs(14));
    assert_eq!(net.log.matches("sees 5 off").count(), 7, "{}", net.log);
    net.nodes[5] = None;
    net.run(Duration::from_secs(60));
    assert!(!net.log.contains("buries"), "{}", net.log);
}

#[test]
fn new_facts_reach_everybody() {
    let mut net = Net::new(12);
    net.run(Duration::from_secs(10));
    let facts = Facts { region: "moon".into(), ..Facts::at(addr(4)) };
    net.give(4, Input::Facts(facts));
    net.run(Duration::from_secs(25));
    let id = net.nodes[4].as_ref().unwrap().me.id;
    for node in net.nodes.iter().flatten().filter(|node| node.me.id != id) {
        assert_eq!(node.member(&id).unwrap().0.facts.region, "moon");
    }
}

#[test]
fn a_forged_accusation_is_refuted_and_a_forged_death_buries_nobody() {
    let mut net = Net::new(8);
    net.run(Duration::from_secs(10));
    let [victim, liar] = [2, 7].map(|n: usize| net.nodes[n].as_ref().unwrap().me.clone());
    let mut body = vec![];
    Head::Gossip { introduce: false }.put(&mut body);
    let (subject, incarnation) = (victim.id.short(), victim.incarnation);
    message::Item::Doubt { subject, incarnation, age: 255, dead: true }.put(&mut body);
    for n in 0..7 {
        net.sequence += 1;
        let sequence = net.sequence;
        net.give(n, Input::Packet { from: liar.id, at: addr(7), sequence, body: body.clone() });
    }
    net.run(Duration::from_secs(60));
    assert!(net.log.contains("2 refutes with 2"), "{}", net.log);
    assert!(!net.log.contains("buries"), "{}", net.log);
    assert_eq!(net.living(), [7; 8]);
}

#[test]
fn who_answers_the_last_call_is_not_buried_though_it_refutes_nothing() {
    let mut net = Net::new(8);
    net.run(Duration::from_secs(10));
    let [victim, liar] = [2, 7].map(|n: usize| net.nodes[n].clone().unwrap());
    // It heard so much nonsense that it hears nobody any more.
    let places: Vec<_> = net.nodes.iter().flatten().map(|node| table::place_of(&node.me)).collect();
    let deaf = &mut net.nodes[2].as_mut().unwrap().wolves;
    places.iter().for_each(|place| (0..9).for_each(|_| deaf.strike(*place, net.now, Duration::from_secs(60))));
    let (subject, incarnation, accuser) = (victim.short(), victim.me.incarnation, liar.short());
    let signature = liar.keys.sign(Domain::Accusation, &[&victim.me.id.0, &incarnation.to_be_bytes()]);
    let mut body = vec![];
    Head::Gossip { introduce: false }.put(&mut body);
    message::Item::Accusation(message::Accusation { subject, incarnation, accuser, signature }, 255).put(&mut body);
    net.sequence += 1;
    let sequence = net.sequence;
    net.give(0, Input::Packet { from: liar.me.id, at: addr(7), sequence, body });
    net.run(Duration::from_secs(60));
    assert!(net.log.contains("0 suspects 2"), "{}", net.log);
    assert!(!net.log.contains("refutes"), "{}", net.log);
    assert!(!net.log.contains("buries"), "{}", net.log);
    assert_eq!(net.living(), [7; 8]);
}

#[test]
fn what_was_heard_before_is_not_heard_again() {
    let mut net = Net::new(4);
    net.run(Duration::from_secs(15));
    let old: Vec<_> = net.inputs.iter().filter(|(n, ..)| *n == 1).cloned().collect();
    let mut node = net.nodes[1].clone().unwrap();
    let packets = old.iter().filter(|(_, _, input)| matches!(input, Input::Packet { .. }));
    let mut count = 0;
    for (_, _, input) in packets {
        let mut out = vec![];
        node.handle(net.now, input.clone(), &mut out);
        assert_eq!(out, [], "{input:?}");
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn an_old_node_passes_over_what_only_a_newer_says_and_takes_what_it_knows() {
    let mut net = Net::new(3);
    net.run(Duration::from_secs(5));
    let newer = net.nodes[2].as_ref().unwrap().me.id;
    let packet = |sequence, body| Input::Packet { from: newer, at: addr(2), sequence, body };
    let flying = net.flying.len();
    net.give(0, packet(1 << 40, vec![99, 1, 2, 3]));
    assert_eq!(net.flying.len(), flying, "to a head of a later version there is no answer");
    let stranger = node(9, 1).me;
    let mut body = vec![];
    Head::Gossip { introduce: false }.put(&mut body);
    body.extend_from_slice(&[200, 3, 7, 7, 7]);
    message::Item::Record(stranger.bytes()).put(&mut body);
    net.give(0, packet((1 << 40) + 1, body));
    assert_eq!(net.nodes[0].as_ref().unwrap().member(&stranger.id).unwrap().1, State::Alive);
}

/// What a node of a later version would send: a head that nobody knows yet before each body, gossip of an unknown kind in
/// each, and behind its facts some more.
fn later(body: Vec<u8>, addr: SocketAddr) -> Vec<Effect> {
    let mut longer = body;
    let mut rest = Reader(&longer);
    if matches!(Head::take(&mut rest), Ok(Head::Gossip { .. } | Head::Ping { .. } | Head::Nack { .. } | Head::Records))
    {
        let head = longer.len() - rest.0.len();
        longer.splice(head..head, [77, 4, 1, 2, 3, 4]);
    }
    longer.truncate(Config::default().body_max);
    [vec![60, 1, 2, 3], longer].map(|body| Effect::Send { to: None, addr, body }).into()
}

#[test]
fn old_and_new_nodes_live_in_one_network() {
    let mut net = Net::new(10);
    net.newer = vec![1, 4, 7, 8];
    net.run(Duration::from_secs(20));
    assert_eq!(net.living(), [9; 10]);
    net.nodes[4] = None;
    net.give(7, Input::Facts(Facts { region: "moon".into(), ..Facts::at(addr(7)) }));
    net.give(2, Input::Facts(Facts { region: "mars".into(), ..Facts::at(addr(2)) }));
    net.run(Duration::from_secs(80));
    assert_eq!(net.living(), [8; 9]);
    // One by each: of the crashed one, whom the log cannot name any more.
    assert_eq!(net.log.matches("buries 99").count(), 9, "{}", net.log);
    assert_eq!(net.log.matches("buries").count(), 9, "{}", net.log);
    for (n, region) in [(7, "moon"), (2, "mars")] {
        let me = net.nodes[n].as_ref().unwrap().me.clone();
        let others = net.nodes.iter().flatten().filter(|node| node.me.id != me.id);
        assert!(others.clone().all(|node| node.member(&me.id).unwrap().0.facts.region == region));
    }
}

#[test]
fn who_never_answered_is_no_company_and_too_many_of_one_place_are_not_proved() {
    let mut net = Net::new(2);
    net.run(Duration::from_secs(5));
    let known = net.nodes[0].as_ref().unwrap();
    assert!(known.table.iter().all(table::Slot::is_proved), "they asked each other");
    let names: Vec<_> = (10..60).map(|n| node(n, 1).me).collect();
    let liar = net.nodes[1].as_ref().unwrap().me.id;
    for (n, name) in names.iter().enumerate() {
        let mut body = vec![];
        Head::Gossip { introduce: false }.put(&mut body);
        message::Item::Record(name.bytes()).put(&mut body);
        net.give(0, Input::Packet { from: liar, at: addr(1), sequence: (1 << 40) + n as u64, body });
    }
    let flooded = net.nodes[0].as_ref().unwrap();
    assert_eq!(flooded.table.iter().filter(|slot| slot.is_proved()).count(), 1);
    assert_eq!(flooded.living(), 51);
}

#[test]
fn keeps_the_laws() {
    let mut net = Net::new(7);
    net.run(Duration::from_secs(6));
    net.nodes[3] = None;
    net.run(Duration::from_secs(40));
    net.give(5, Input::Leave);
    net.run(Duration::from_secs(50));
    for n in [0, 1, 5] {
        let mut rng = Rng::new(n as u64);
        let own = net.inputs.iter().filter(|(who, ..)| *who == n);
        let script: Vec<_> = own
            .flat_map(|(_, at, input)| {
                let mut harmed = input.clone();
                if let Input::Packet { body, .. } = &mut harmed {
                    for _ in 0..=rng.below(3) {
                        let at = rng.below(body.len() as u32) as usize;
                        body[at] = rng.next() as u8;
                    }
                }
                [(*at, input.clone()), (*at, harmed)]
            })
            .collect();
        laws::hold(&node(n, 1), script);
    }
}
