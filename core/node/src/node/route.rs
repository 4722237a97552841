//! From door to machine and from machine to door.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Answer, Ask, Effect, Node};
use crate::{
    kit::{Fault, Instant, Machine, Signer, Verifier, fault},
    mesh::swim,
    wire::packet,
};

/// The street of membership.
const SWIM: u8 = 1;
/// Addresses of a directory that are read.
const ADDRESSES_MAX: usize = 64;

impl<K: Signer + Verifier> Node<K> {
    /// A packet is dropped without a word if it is none, or if its sender did not sign it.
    pub(super) fn open(&mut self, now: Instant, from: SocketAddr, mut bytes: Vec<u8>, out: &mut Vec<Effect>) {
        let Ok(envelope) = packet::open(&bytes) else { return };
        let (key, me) = (self.swim.key(&envelope.from), self.id());
        if envelope.street != SWIM || envelope.check(&mut bytes, &key, &me, self.swim.keys()).is_err() {
            return;
        }
        let (sequence, sender) = (envelope.sequence, envelope.from);
        self.swim_hears(now, swim::Input::Packet { from: sender, at: from, sequence, body: bytes }, out);
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

/// Reads a directory: one address a line; what is none is passed over.
pub(super) fn addresses(text: &[u8]) -> Vec<SocketAddr> {
    let lines = core::str::from_utf8(text).unwrap_or("").lines();
    lines.filter_map(|line| line.trim().parse().ok()).take(ADDRESSES_MAX).collect()
}
