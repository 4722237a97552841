//! From door to machine and from machine to door.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{
    Answer, Ask, Effect, Kept, Node, govern,
    trade::{self, Peer, message::Message},
};
use crate::{
    kit::{Fault, Instant, Machine, NodeId, Signer, Verifier, fault},
    mesh::swim,
    wire::{packet, parts},
};

/// The street of membership.
const SWIM: u8 = 1;
/// The street of trade.
pub const TRADE: u8 = 2;
/// Addresses of a directory that are read.
const ADDRESSES_MAX: usize = 64;

impl<K: Signer + Verifier + Clone> Node<K> {
    /// A packet is dropped without a word if it is none, or if its sender did not sign it.
    pub(super) fn open(&mut self, now: Instant, from: SocketAddr, mut bytes: Vec<u8>, out: &mut Vec<Effect>) {
        let Ok(envelope) = packet::open(&bytes) else { return };
        let (key, me) = (self.swim.key(&envelope.from), self.id());
        let read = envelope.street == SWIM || (envelope.street == TRADE && self.trade.is_some());
        if !read || envelope.check(&mut bytes, &key, &me, self.swim.keys()).is_err() {
            return;
        }
        let (sequence, sender) = (envelope.sequence, envelope.from);
        if envelope.street == SWIM {
            self.swim_hears(now, swim::Input::Packet { from: sender, at: from, sequence, body: bytes }, out);
        } else if envelope.bound
            && let Some(message) = self.parts.take(sender, &bytes)
            && let Ok(message) = Message::decode(&message)
        {
            self.trade_hears(now, trade::Input::Heard { from: sender, message }, out);
        }
    }

    pub(super) fn ask(&mut self, now: Instant, from: u64, ask: Ask, out: &mut Vec<Effect>) {
        let input = match ask {
            Ask::Members => {
                let me = (self.swim.me().clone(), swim::State::Alive);
                let others = self.swim.members().map(|(record, state)| (record.clone(), state));
                let answer = Answer::Members(core::iter::once(me).chain(others).collect());
                out.push(Effect::Reply { to: from, answer });
                return;
            }
            Ask::Join(seeds) => swim::Input::Join(seeds),
            Ask::Facts(facts) => swim::Input::Facts(facts),
            Ask::Leave => swim::Input::Leave,
            Ask::Trade(_) if self.trade.is_none() => return out.push(Effect::Reply { to: from, answer: Answer::Idle }),
            Ask::Trade(ask) => return self.trade_hears(now, trade::Input::Ask { from, ask }, out),
        };
        self.swim_hears(now, input, out);
        out.push(Effect::Reply { to: from, answer: Answer::Done });
    }

    pub(super) fn swim_hears(&mut self, now: Instant, input: swim::Input, out: &mut Vec<Effect>) {
        let mut effects = core::mem::take(&mut self.scratch);
        self.swim.handle(now, input, &mut effects);
        self.route(effects, out);
    }

    /// Turns what membership wants into what the node wants, and keeps the empty list for the next time.
    pub(super) fn route(&mut self, mut effects: Vec<swim::Effect>, out: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            out.push(match effect {
                swim::Effect::Send { to, addr, body } => {
                    self.sequence += u64::from(!fault::on(Fault::SequenceStandsStill));
                    let (mut bytes, from) = (body, self.id());
                    packet::seal(&mut bytes, SWIM, self.sequence, from, to.as_ref(), self.swim.keys());
                    Effect::Send { to: addr, packet: bytes }
                }
                swim::Effect::Save(saved) => Effect::Save(saved.into()),
                swim::Effect::Tell(event) => Effect::Tell(event),
            });
        }
        self.scratch = effects;
    }
}

impl<K: Signer + Verifier + Clone> Node<K> {
    pub(super) fn trade_hears(&mut self, now: Instant, input: trade::Input, out: &mut Vec<Effect>) {
        let Some(trade) = &mut self.trade else { return };
        let mut effects = Vec::new();
        trade.handle(now, input, &mut effects);
        self.route_trade(effects, out);
    }

    pub(super) fn tick_trade(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(trade) = self.trade.as_mut().filter(|trade| trade.deadline().is_some_and(|due| due <= now)) else {
            return;
        };
        let mut effects = Vec::new();
        trade.tick(now, &mut effects);
        self.route_trade(effects, out);
    }

    /// Tells trade who is there.
    pub(super) fn introduce(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let peer = |record: &swim::Record| Peer { id: record.id, models: record.facts.models };
        let living = self.swim.members().filter(|(record, state)| *state == swim::State::Alive && !record.left);
        let peers = living.map(|(record, _)| peer(record)).collect();
        self.trade_hears(now, trade::Input::Peers(peers), out);
    }

    /// Turns what trade wants into what the node wants.
    fn route_trade(&mut self, effects: Vec<trade::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                trade::Effect::Send { to, message } => self.say(&to, &message, out),
                trade::Effect::Reply { to, answer } => {
                    out.push(Effect::Reply { to, answer: Answer::Traded(answer) });
                }
                trade::Effect::Save(line) => out.push(Effect::Save(Kept::Line(line))),
                trade::Effect::Run(job) => out.push(Effect::Work(job)),
                trade::Effect::Tell(event) => {
                    if event == trade::Event::Governed {
                        self.govern();
                    }
                    out.push(Effect::Traded(event));
                }
            }
        }
    }

    /// Membership, too, does as members decided.
    pub(super) fn govern(&mut self) {
        let Some(trade) = &self.trade else { return };
        let swim::Config { period, compare_every, .. } =
            govern::swim(trade.governance().parameters(), self.config.swim.clone());
        self.swim.pace(period, compare_every);
    }

    /// Who is not there any more is told nothing; whoever waits for an answer sees to that.
    fn say(&mut self, to: &NodeId, message: &Message, out: &mut Vec<Effect>) {
        let Some(addr) = self.swim.member(to).map(|(record, _)| record.facts.addr) else { return };
        let (from, number) = (self.id(), self.sequence + 1);
        for mut packet in parts::split(&message.encode(), number) {
            self.sequence += 1;
            packet::seal(&mut packet, TRADE, self.sequence, from, Some(to), self.swim.keys());
            out.push(Effect::Send { to: addr, packet });
        }
    }
}

/// Reads a directory: one address a line; what is none is passed over.
pub(super) fn addresses(text: &[u8]) -> Vec<SocketAddr> {
    let lines = core::str::from_utf8(text).unwrap_or("").lines();
    lines.filter_map(|line| line.trim().parse().ok()).take(ADDRESSES_MAX).collect()
}
