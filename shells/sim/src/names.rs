//! Who is called what.

use std::collections::BTreeMap;

use tutu_node::kit::NodeId;

/// The ids of all hosts, through all their lives.
pub struct Names {
    ids: Vec<NodeId>,
    numbers: BTreeMap<u64, u32>,
}

impl Names {
    /// Of hosts 0, 1 and so on.
    pub fn new(ids: Vec<NodeId>) -> Self {
        let numbers = ids.iter().zip(0..).map(|(id, n)| (id.short(), n)).collect();
        Self { ids, numbers }
    }

    /// What host `n` is called.
    pub fn id(&self, n: u32) -> NodeId {
        self.ids[n as usize]
    }

    /// The short id of host `n`; 0 if there is no such host.
    pub fn short(&self, n: u32) -> u64 {
        self.ids.get(n as usize).map_or(0, NodeId::short)
    }

    /// Which host is called `id`.
    pub fn host_of(&self, id: &NodeId) -> Option<u32> {
        self.numbers.get(&id.short()).copied()
    }
}
