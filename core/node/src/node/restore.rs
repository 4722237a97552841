//! What a node keeps, and how it begins again.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Birth, Config, Effect, Fetch, Node,
    trade::{self, Line, Trade},
};
use crate::{
    economy::governance::Parameters,
    kit::{Fault, Instant, Machine, Signer, Verifier, fault, rng::mix},
    mesh::swim::{self, Pulse, Record, Saved, Swim},
    wire::parts::Parts,
};

/// What is kept, one of each kind but for lines. In bytes: postcard, and kinds are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kept {
    /// The incarnation of this life.
    Incarnation(u64),
    /// Records of some members to begin with.
    Peers(Vec<Vec<u8>>),
    /// A line of what was traded. One is kept beside the others, each under its number.
    Line(Line),
}

impl Kept {
    /// Under which key it is kept.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Incarnation(_) => "incarnation",
            Self::Peers(_) => "peers",
            Self::Line(_) => "line",
        }
    }

    /// Its place among those that are kept under one key, where there are many.
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Line(line) => Some(line.number),
            Self::Incarnation(_) | Self::Peers(_) => None,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain values always encode")
    }

    /// From bytes; `None` if they are torn, or a later version's.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl From<Saved> for Kept {
    fn from(saved: Saved) -> Self {
        match saved {
            Saved::Incarnation(incarnation) => Self::Incarnation(incarnation),
            Saved::Peers(peers) => Self::Peers(peers.iter().map(|peer| peer.bytes().to_vec()).collect()),
        }
    }
}

impl<K: Signer + Verifier + Clone> Node<K> {
    /// A node as it wakes, with what was kept of its earlier lives; at its instant 0. `out` takes what it asks for first.
    ///
    /// What was lost is not missed for long: the others remember its last incarnation and tell it.
    pub fn restore(
        config: Config,
        birth: Birth<K>,
        kept: impl IntoIterator<Item = Kept>,
        out: &mut Vec<Effect>,
    ) -> Self {
        let (mut incarnation, mut peers, mut lines) = (0, Vec::new(), Vec::new());
        for kept in kept {
            match kept {
                Kept::Incarnation(last) => incarnation = last,
                Kept::Peers(list) => peers = list,
                Kept::Line(line) => lines.push(line),
            }
        }
        let Birth { keys, id, certificate, facts, seed, at } = birth;
        let opened: Vec<Arc<Record>> = peers.iter().filter_map(|bytes| Record::open(bytes, &keys).ok()).collect();
        let incarnation = incarnation.saturating_add(u64::from(!fault::on(Fault::IncarnationRepeatedAfterRestart)));
        let trade = config.trade.clone().filter(|_| certificate.is_none()).map(|config| {
            let birth = trade::Birth { keys: keys.clone(), seed: mix(seed), at };
            Box::new(Trade::restore(*config, birth, lines))
        });
        let swim = Swim::new(config.swim.clone(), keys, id, certificate, incarnation, facts, seed);
        let check_due = config.check_engine.map(|_| Instant::default() + Duration::from_micros(1));
        // A thousand packets a second is more than a node sends on average, so each life's numbers are above the last one's.
        let sequence = at.0.saturating_mul(1000).min(swim::NUMBER_MAX / 2);
        let peers_due = trade.as_ref().map(|_| Instant::default() + Duration::from_micros(1));
        let mut node = Self {
            config,
            swim,
            pulse: Pulse::default(),
            sequence,
            check_due,
            scratch: Vec::new(),
            trade,
            parts: Parts::default(),
            peers_due,
        };
        if node.trade().is_some_and(|trade| *trade.governance().parameters() != Parameters::default()) {
            node.govern();
        }
        out.push(Effect::Save(Kept::Incarnation(incarnation)));
        if let (true, Some(url)) = (opened.is_empty(), &node.config.directory) {
            out.push(Effect::Fetch(Fetch::Directory(url.clone())));
        }
        if !opened.is_empty() {
            node.swim_hears(Instant::default(), swim::Input::Recall(opened), out);
        }
        debug_assert!(node.deadline().is_some());
        node
    }
}
