//! Hosts that lie. Each has an honest node too, so that it is a member; what it says beside is here.
//!
//! A liar invents as many names as it likes and answers for them, since an address is all that it must have. It knows
//! everybody, is never late, and taps the lines. What it cannot do is sign for others.

use std::net::SocketAddr;

use tutu_node::{
    kit::{Domain, NodeId, Rng, Signer, codec::Reader, rng::mix},
    mesh::swim::{
        Facts, Record, State,
        message::{Accusation, Head, Item, Pulse},
    },
    node::Node,
    wire::packet,
};

use crate::{keys::Keys, net, world::PORT};

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Floods others with names: its own, which answer, and names at places where nobody answers, or somebody else does.
    Flood,
    /// Signs that members do not answer who do.
    Accuse,
    /// Says that it holds members for dead who are not.
    Bury,
    /// Sends again what others sent, as it was and from where it came.
    Replay,
    /// Tells of the dead as if they lived, with the last words that they signed.
    Ghosts,
    /// All of them surround one victim with their names, and speak ill of it to others and of others to it.
    Eclipse,
    /// Says to whoever asks for help that nobody answers.
    Hush,
    /// Sends packets, records and accusations in the names of others, signed with its own key.
    Forge,
}

/// All of them.
pub const ALL: [Attack; 8] = [
    Attack::Flood,
    Attack::Accuse,
    Attack::Bury,
    Attack::Replay,
    Attack::Ghosts,
    Attack::Eclipse,
    Attack::Hush,
    Attack::Forge,
];

/// Names that one liar answers for.
const NAMES: usize = 32;
/// Packets that are tapped and kept.
const TAP: usize = 4096;

/// A packet as it goes into the world.
#[derive(Clone, Debug)]
pub struct Sent {
    /// From where it claims to come.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Packets of others that liars took from the lines.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    kept: Vec<Sent>,
    count: u64,
}

impl Tap {
    /// One packet in sixteen is kept, the oldest makes room.
    pub fn take(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.count += 1;
        if self.count.is_multiple_of(16) {
            let sent = Sent { from, to, bytes: bytes.to_vec() };
            let at = (self.count / 16) as usize % TAP;
            match self.kept.get_mut(at) {
                Some(slot) => *slot = sent,
                None => self.kept.push(sent),
            }
        }
    }
}

/// One liar.
pub struct Liar {
    n: u32,
    attacks: Vec<Attack>,
    names: Vec<(Keys, std::sync::Arc<Record>)>,
    /// Whom all of them are after.
    victim: u32,
    /// Honest hosts are those below.
    honest: u32,
    world: u64,
    invented: u64,
    sequence: u64,
    rng: Rng,
}

impl Liar {
    /// Liar `n` in the world of `seed`, in which the hosts below `honest` are honest.
    pub fn new(n: u32, honest: u32, attacks: &[Attack], seed: u64) -> Self {
        let names = (0..NAMES).map(|k| {
            let keys = Keys::new(false, seed, 1 << 40 | u64::from(n) << 8 | k as u64);
            let facts = Facts { region: "region-0".into(), ..Facts::at(net::addr(n, PORT + 1 + k as u16)) };
            let record = Record::sign(keys.key(), 1, false, facts, None, &keys);
            (keys, record)
        });
        Self {
            n,
            attacks: attacks.to_vec(),
            names: names.collect(),
            victim: (mix(seed ^ 0x7669) % u64::from(honest.max(1))) as u32,
            honest,
            world: seed,
            invented: 0,
            sequence: 1 << 50,
            rng: Rng::new(mix(seed ^ u64::from(n) << 24)),
        }
    }

    /// What the names answer to a packet that came to `port`.
    pub fn hear(&mut self, port: u16, from: SocketAddr, packet: &[u8]) -> Vec<Sent> {
        let k = usize::from(port.wrapping_sub(PORT + 1));
        let Ok(envelope) = packet::open(packet) else { return Vec::new() };
        let mut body = Reader(&packet[..packet.len().saturating_sub(packet::ENVELOPE)]);
        let (Ok(head), Some((keys, record))) = (Head::take(&mut body), self.names.get(k)) else { return Vec::new() };
        let mut answer = Vec::new();
        match head {
            Head::Ping { nonce, introduce, behalf } => {
                let pulse = Pulse::default();
                Head::Ack { nonce, introduce: false, proof: behalf.is_some(), pulse }.put(&mut answer);
                if let Some((asker, nonce)) = behalf {
                    let proof = keys.sign(Domain::Proof, &[&asker.to_be_bytes(), &nonce.to_be_bytes()]);
                    answer.extend_from_slice(&proof.0);
                }
                if introduce {
                    Item::Record(record.bytes()).put(&mut answer);
                }
            }
            Head::Help { nonce, .. } if self.attacks.contains(&Attack::Hush) => Head::Nack { nonce }.put(&mut answer),
            Head::Want { .. } | Head::Digest { .. } | Head::Find { .. } => {
                match head {
                    Head::Find { nonce, .. } => Head::Near { nonce, bits: 0 }.put(&mut answer),
                    _ => Head::Records.put(&mut answer),
                }
                self.names.iter().take(5).for_each(|name| Item::Record(name.1.bytes()).put(&mut answer));
            }
            _ => return Vec::new(),
        }
        vec![self.letter(k, from, Some(&envelope.from), answer)]
    }

    /// What it does in one period. `node` is its honest half, which knows the others.
    pub fn plot(&mut self, node: &Node<Keys>, tap: &Tap) -> Vec<Sent> {
        let mut sent = Vec::new();
        for attack in self.attacks.clone() {
            match attack {
                Attack::Flood => (0..3).for_each(|_| sent.extend(self.flood(node))),
                Attack::Accuse => sent.extend(self.accuse(node, None)),
                Attack::Bury => sent.extend(self.bury(node, None, None)),
                Attack::Ghosts => sent.extend(self.ghosts(node)),
                Attack::Eclipse => {
                    sent.extend(self.surround());
                    sent.extend(self.bury(node, None, Some(self.victim)));
                    sent.extend(self.bury(node, Some(self.victim), None));
                    sent.extend(self.accuse(node, Some(self.victim)));
                }
                Attack::Replay => {
                    for _ in 0..4 {
                        let at = self.rng.below(tap.kept.len() as u32) as usize;
                        sent.extend(tap.kept.get(at).cloned());
                    }
                }
                Attack::Forge => sent.extend(self.forge(node)),
                Attack::Hush => {}
            }
        }
        sent
    }

    fn any(&mut self) -> SocketAddr {
        net::addr(self.rng.below(self.honest), PORT)
    }

    fn flood(&mut self, node: &Node<Keys>) -> Vec<Sent> {
        let mut body = Vec::new();
        Head::Gossip { introduce: false }.put(&mut body);
        Item::Record(self.name().bytes()).put(&mut body);
        Item::Record(node.swim().me().bytes()).put(&mut body);
        for _ in 0..2 {
            self.invented += 1;
            let number = 1 << 41 | u64::from(self.n) << 16 | self.invented;
            let keys = Keys::new(false, self.world, number);
            // At a place where somebody honest is, or at one where nobody is.
            let place = if self.rng.below(2) == 0 { self.rng.below(self.honest) } else { self.rng.next() as u32 >> 8 };
            let facts = Facts::at(net::addr(place, PORT + self.rng.below(2) as u16));
            let record = Record::sign(keys.key(), 1, false, facts, None, &keys);
            Item::Record(record.bytes()).put(&mut body);
        }
        let to = self.any();
        vec![self.open_letter(to, body)]
    }

    fn accuse(&mut self, node: &Node<Keys>, subject: Option<u32>) -> Vec<Sent> {
        let Some((id, incarnation)) = self.subject(node, subject) else { return Vec::new() };
        let k = self.rng.below(NAMES as u32) as usize;
        let (keys, _) = &self.names[k];
        let signature = keys.sign(Domain::Accusation, &[&id.0, &incarnation.to_be_bytes()]);
        let accusation = Accusation { subject: id.short(), incarnation, accuser: keys.key().short(), signature };
        let mut body = Vec::new();
        Head::Gossip { introduce: false }.put(&mut body);
        Item::Accusation(accusation, 255).put(&mut body);
        let to = [self.any(), self.any()];
        to.map(|to| self.letter(k, to, None, body.clone())).into()
    }

    fn bury(&mut self, node: &Node<Keys>, subject: Option<u32>, listener: Option<u32>) -> Vec<Sent> {
        let mut body = Vec::new();
        Head::Gossip { introduce: false }.put(&mut body);
        for _ in 0..4 {
            if let Some((id, incarnation)) = self.subject(node, subject) {
                Item::Doubt { subject: id.short(), incarnation, age: 255, dead: true }.put(&mut body);
            }
        }
        let to = [0; 2].map(|_| listener.map_or_else(|| self.any(), |n| net::addr(n, PORT)));
        to.map(|to| self.open_letter(to, body.clone())).into()
    }

    fn ghosts(&mut self, node: &Node<Keys>) -> Vec<Sent> {
        let dead: Vec<_> = node.swim().members().filter(|member| member.1 != State::Alive).collect();
        if dead.is_empty() {
            return Vec::new();
        }
        let record = dead[self.rng.below(dead.len() as u32) as usize].0;
        let mut body = Vec::new();
        Head::Gossip { introduce: false }.put(&mut body);
        Item::Record(record.bytes()).put(&mut body);
        let to = self.any();
        vec![self.open_letter(to, body)]
    }

    /// In the name of others: news of them, a farewell, and a packet after which all of theirs would seem old.
    fn forge(&mut self, node: &Node<Keys>) -> Vec<Sent> {
        let mut sent = Vec::new();
        for _ in 0..3 {
            let (Some((id, incarnation)), Some((other, _))) = (self.subject(node, None), self.subject(node, None))
            else {
                continue;
            };
            let keys = &self.names[0].0;
            let mut body = Vec::new();
            Head::Gossip { introduce: false }.put(&mut body);
            let left = self.rng.below(2) == 0;
            let facts = Facts::at(net::addr(self.n, PORT));
            let record = Record::sign(id, incarnation + 1, left, facts, None, keys);
            Item::Record(record.bytes()).put(&mut body);
            let signature = keys.sign(Domain::Accusation, &[&id.0, &incarnation.to_be_bytes()]);
            let accusation = Accusation { subject: id.short(), incarnation, accuser: other.short(), signature };
            Item::Accusation(accusation, 255).put(&mut body);
            // Once in a packet of its own name, whose signature is in order, and once in a packet that is forged too.
            let to = self.any();
            sent.push(self.open_letter(to, body.clone()));
            let keys = &self.names[0].0;
            packet::seal(&mut body, 1, u64::MAX - 1, other, None, keys);
            let from = net::addr(self.n, PORT);
            sent.push(Sent { from, to: self.any(), bytes: body });
        }
        sent
    }

    /// Many names for the victim.
    fn surround(&mut self) -> Vec<Sent> {
        let mut body = Vec::new();
        Head::Records.put(&mut body);
        for _ in 0..5 {
            Item::Record(self.name().bytes()).put(&mut body);
        }
        let to = net::addr(self.victim, PORT);
        vec![self.open_letter(to, body.clone()), self.open_letter(to, body)]
    }

    fn name(&mut self) -> std::sync::Arc<Record> {
        self.names[self.rng.below(NAMES as u32) as usize].1.clone()
    }

    /// Somebody honest, and the life that it is in.
    fn subject(&mut self, node: &Node<Keys>, wanted: Option<u32>) -> Option<(NodeId, u64)> {
        let n = wanted.unwrap_or_else(|| self.rng.below(self.honest));
        let id = Keys::new(false, self.world, n.into()).key();
        node.swim().member(&id).map(|(record, _)| (id, record.incarnation))
    }

    /// From a name by chance, to whoever opens it.
    fn open_letter(&mut self, to: SocketAddr, body: Vec<u8>) -> Sent {
        let k = self.rng.below(NAMES as u32) as usize;
        self.letter(k, to, None, body)
    }

    fn letter(&mut self, k: usize, to: SocketAddr, receiver: Option<&NodeId>, mut body: Vec<u8>) -> Sent {
        self.sequence += 1;
        let keys = &self.names[k].0;
        packet::seal(&mut body, 1, self.sequence, keys.key(), receiver, keys);
        Sent { from: net::addr(self.n, PORT + 1 + k as u16), to, bytes: body }
    }
}
