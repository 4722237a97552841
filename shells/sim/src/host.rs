//! One machine of a world.

use std::{collections::VecDeque, net::SocketAddr};

use tutu_node::{
    kit::{Instant, NodeId},
    node::Node,
};

use crate::{disk::Disk, keys::Keys};

/// One machine, with or without a node on it.
pub struct Host {
    /// The node, while it runs.
    pub node: Option<Box<Node<Keys>>>,
    /// Its id through all its lives.
    pub id: NodeId,
    /// What it keeps.
    pub disk: Disk,
    /// Microsecond until which it does nothing.
    pub stalled: u64,
    /// Microsecond at which this life began.
    pub born: u64,
    /// How many lives it had, this one included.
    pub lives: u32,
    /// What its clock makes of a million microseconds.
    pub pace: u64,
    /// Earliest of its timers in the wheel.
    pub timer: u64,
    /// What waits while it stalls.
    pub inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Seconds by which its date is behind when it next starts.
    pub behind: u64,
}

impl Host {
    /// A host called `id` that was never on, and whose clock makes `pace` of a million microseconds.
    pub fn new(id: NodeId, pace: u64) -> Self {
        Self {
            node: None,
            id,
            disk: Disk::default(),
            stalled: 0,
            born: 0,
            lives: 0,
            pace,
            timer: u64::MAX,
            inbox: VecDeque::new(),
            behind: 0,
        }
    }

    /// What the host's clock says at microsecond `now`.
    pub fn local(&self, now: u64) -> Instant {
        // A world lasts 100 days at most: 2^63 of these products.
        Instant::from_micros((now - self.born) * self.pace / 1_000_000)
    }

    /// The first microsecond at which the host's clock says `local` or more.
    pub fn world(&self, local: Instant) -> u64 {
        self.born + local.as_micros().saturating_mul(1_000_000).div_ceil(self.pace)
    }
}
