//! An idle worker takes over places that are bound to nobody.
//!
//! It asks one neighbour, drawn by chance among those with a model of its own; whoever has more than it can begin gives up to
//! half of it to those that it knows, and tells each client where its place is now. The client trusts the new worker by itself or gives the place
//! up: what one stranger says of another decides nothing. The price is the usual one, as the new worker has nothing to do.

use alloc::vec::Vec;

use super::{
    Effect, Event, OPEN_MAX, Peer, Trade,
    hold::ticks_of,
    message::{HANDED_MAX, Handed, MODELS_MAX, Message},
    run::{Guest, Stage},
};
use crate::{
    economy::tiers::Order,
    kit::{
        Instant, NodeId, Signer, Verifier,
        fault::{Fault, on},
    },
    trust::reputation::Standing,
    work::schedule::worker::{self, Place},
};

/// The usual price, in parts of a million of it.
const USUAL: u32 = 1_000_000;

impl<K: Signer + Verifier + Clone> Trade<K> {
    /// This node has nothing to do: a neighbour is asked.
    pub(super) fn look_for_work(&mut self, room: u32, out: &mut Vec<Effect>) {
        let models: Vec<u64> = self.config.models.iter().map(|served| served.0).take(MODELS_MAX).collect();
        let fits = |peer: &&Peer| {
            peer.id != self.me && models.iter().any(|model| peer.models.may_hold(*model)) && self.is_welcome(&peer.id)
        };
        let list: Vec<NodeId> = self.peers.iter().filter(fits).map(|peer| peer.id).collect();
        let at = self.rng.below(list.len().max(1) as u32) as usize;
        let Some(to) = list.get(at).copied() else { return };
        self.begged = Some(to);
        out.push(Effect::Send { to, message: Message::Steal { room: room.min(HANDED_MAX as u32), models } });
    }

    /// Whether this node works with `peer` at all.
    pub(super) fn is_welcome(&self, peer: &NodeId) -> bool {
        self.quarantine.allows(peer) && self.reputation.standing(peer) != Standing::Convicted
    }

    /// Another has nothing to do.
    pub(super) fn asked_for_work(
        &mut self,
        now: Instant,
        thief: NodeId,
        room: u32,
        models: Vec<u64>,
        out: &mut Vec<Effect>,
    ) {
        // Any key can ask. What somebody unknown took would be lost to its client, and this node be blamed for it.
        let known = self.is_welcome(&thief) && self.reputation.standing(&thief) == Standing::Known;
        if known || on(Fault::HandedToBarred) {
            let room = room.min(HANDED_MAX as u32);
            self.worker_hears(now, worker::Input::Steal { thief, room, models }, out);
        }
    }

    /// The worker side hands places on.
    pub(super) fn hand_on(&mut self, thief: NodeId, places: Vec<Place>, out: &mut Vec<Effect>) {
        let mut handed = Vec::new();
        for Place { key, hops, .. } in places {
            let Some(guest) = self.guests.remove(&key) else { continue };
            let Guest { model, order, stage: Stage::Asked, .. } = guest else { continue };
            handed.push(Handed { client: key.0, task: key.1, model, order, hops });
            out.push(Effect::Send { to: key.0, message: Message::Moved { task: key.1, to: thief } });
        }
        if !handed.is_empty() {
            out.push(Effect::Tell(Event::Handed { thief, places: handed.len() as u32 }));
            out.push(Effect::Send { to: thief, message: Message::Hand(handed) });
        }
    }

    /// A neighbour gives places. Only whoever was asked may: others would have this node call strangers.
    pub(super) fn taken_over(&mut self, now: Instant, from: NodeId, handed: Vec<Handed>, out: &mut Vec<Effect>) {
        if self.begged != Some(from) && !on(Fault::HandedUnasked) {
            return;
        }
        self.begged = None;
        let places: Vec<Place> = handed.into_iter().filter_map(|one| self.take_over(now, one, out)).collect();
        self.worker_hears(now, worker::Input::Handed(places), out);
    }

    /// Keeps a place that another kept, and tells its client how much of the pay may be withheld, as whoever is asked does.
    fn take_over(&mut self, now: Instant, handed: Handed, out: &mut Vec<Effect>) -> Option<Place> {
        let Handed { client, task, model, order, hops } = handed;
        let key = (client, task);
        let size = self.config.models.iter().find(|served| served.0 == model)?.1;
        let cost = u32::try_from(order.tokens_out).ok().filter(|limit| ticks_of(*limit).is_some())?;
        let room = self.guests.len() < OPEN_MAX && !self.guests.contains_key(&key);
        if !room || client == self.me || !self.is_welcome(&client) || hops >= self.config.worker.hops_max {
            return None;
        }
        let due = now + self.config.worker.waits[order.class.index()];
        let order = Order { size, ..order };
        let accepts = self.accepts(&client, &order, USUAL);
        self.guests.insert(key, Guest { model, order, price: USUAL, most: USUAL, accepts, stage: Stage::Asked, due });
        let quote = Message::Quote { task, wait_ms: 0, price: USUAL, withheld: accepts };
        out.push(Effect::Send { to: client, message: quote });
        let known = self.reputation.standing(&client) == Standing::Known;
        Some(Place { key, model, class: order.class, cost, hops, known })
    }
}
