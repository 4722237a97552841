//! What machines compute. Words are made up; fingerprints of the same block by honest machines are near each other, those
//! of another model are not.

use tutu_node::{
    kit::{NodeId, Rng, rng::mix},
    trust::verify::{
        commit::{BUCKETS, Block, Fingerprint, distance},
        sequential::Calibration,
    },
};

/// Tokens a second that an engine writes.
pub const SPEED: u64 = 64;
/// How far honest machines are apart, in parts of a thousand of the size of a value; and one that runs another model.
const DRIFT: u32 = 20;
const OTHER: u32 = 400;

/// Which block of which work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// For whom.
    pub client: NodeId,
    /// Which task.
    pub task: u64,
    /// By whom.
    pub worker: NodeId,
    /// Which block of its lease.
    pub index: u32,
}

/// What a machine computes for a block: with the model that was asked for, or another.
pub fn fingerprint(place: &Place, own: u64, right: bool) -> Fingerprint {
    let seed = mix(place.client.short() ^ mix(place.task) ^ mix(place.worker.short() ^ u64::from(place.index)));
    let (mut truth, mut noise) = (Rng::new(seed), Rng::new(mix(seed ^ own)));
    let spread = if right { DRIFT } else { OTHER };
    Fingerprint(core::array::from_fn(|_| {
        let value = truth.below(8000) as i32 - 4000;
        let off = noise.below(2 * spread + 1) as i32 - spread as i32;
        (value + off * 2) as i16
    }))
}

/// The block as its worker sends it.
pub fn block(place: &Place, own: u64, right: bool) -> Block {
    let mut tokens = [0; 16];
    tokens[..8].copy_from_slice(&mix(place.task ^ u64::from(place.index)).to_be_bytes());
    Block { fingerprint: fingerprint(place, own, right), tokens }
}

/// How distances are spread between honest machines, and to one with another model.
pub fn calibration() -> Calibration {
    let (mut honest, mut cheating) = ([0; BUCKETS], [0; BUCKETS]);
    for index in 0..4000 {
        let place = Place { client: NodeId::number(1), task: 7, worker: NodeId::number(2), index };
        let mine = fingerprint(&place, 1, true);
        honest[usize::from(distance(&mine, &fingerprint(&place, 2, true)))] += 1;
        cheating[usize::from(distance(&mine, &fingerprint(&place, 2, false)))] += 1;
    }
    Calibration::new(&honest, &cheating).expect("the two are far apart")
}
