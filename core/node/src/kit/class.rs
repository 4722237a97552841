//! How urgent.

/// How urgent a task is. One scale, the most urgent first; every queue, price and preemption goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Somebody watches each word.
    Realtime,
    /// Somebody waits for the answer.
    Standard,
    /// By tomorrow.
    Batch,
    /// Whenever nobody else needs the machine.
    Spot,
}

impl Class {
    /// All, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Realtime, Self::Standard, Self::Batch, Self::Spot];

    /// The place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a task of this class may interrupt one of `other`: two steps apart, so that neighbours do not fight.
    pub const fn interrupts(self, other: Self) -> bool {
        self.index() + 2 <= other.index()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn only_classes_far_apart_interrupt_each_other() {
        let pairs = Class::ALL.into_iter().flat_map(|a| Class::ALL.map(|b| (a, b)));
        let may: Vec<_> = pairs.filter(|(a, b)| a.interrupts(*b)).collect();
        use Class::*;
        assert_eq!(may, [(Realtime, Batch), (Realtime, Spot), (Standard, Spot)]);
    }
}
