//! Faults that can be switched on, one at a time, to see whether a test notices.
//!
//! They measure the tests, not the rooms: a fault that no test shows is a rule that nothing guards. `ci/mutants-economy` builds the
//! tests with the feature `mutants` and runs them once for each; in the program [`on`] is `false` at compile time and
//! nothing of this is there.

macro_rules! faults {
    ($($name:ident)*) => {
        /// Everything that can be made wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Fault {
            $($name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    LimitIgnored
    HoldsSpentTwice
    HoldSettledTwice
    HoldKeptWhenClosed
    MoreSettledThanHeld
    ConflictTakenForRepetition
    EntryNumberUnchecked
    EntryLinkUnchecked
    EntryLimitUnchecked
    TurnUnchecked
    ReceivedTwice
    ReceivedUnproven
    ReceivedOtherAmount
    ReleasedUnproven
    CapNotSetAside
    StateUnchecked
    RootUnchecked
    CheckpointNeverDue
    DustTaken
    ConsentUnchecked
    OwnerUnchecked
    TickUnchecked
    TicksWithoutEnd
    ClosingLinkUnchecked
    ForkWithoutSignatures
    PathUnchecked
    ProofUnchecked
    ProofToldOnce
    LimitWithoutTrust
    VotedTwice
    ForkNotFrozen
    ClosedTwice
    ClosedBeforeItsTime
    PayeeOfClosingUnchecked
    QuorumTooSmall
    VotersCountedTwice
    WitnessesChangedByAnybody
    DrawnWithoutTrust
    CapOfKeyIgnored
    FailureCosts
    ImmutableChanged
    RangeIgnored
    DepositIgnored
    AuthorUnchecked
    QuorumIgnored
    MajorityIgnored
    VotesCostLinearly
    BudgetWithoutTrust
    OldPromiseCounts
    OpeningUnchecked
    LatePromiseTaken
    DoublePromiseCounts
    DelegateVotesForVoters
    HarmNotBlocked
    BandsIgnored
    OneMeasurementUndoes
    NotUndone
}

/// Whether the code is to do `fault` now.
#[cfg(not(all(test, feature = "mutants")))]
#[inline(always)]
pub const fn on(_fault: Fault) -> bool {
    false
}

#[cfg(all(test, feature = "mutants"))]
pub use switch::on;

#[cfg(test)]
#[cfg(feature = "mutants")]
mod switch {
    extern crate std;

    use std::{format, sync::OnceLock};

    use super::Fault;

    static ACTIVE: OnceLock<Option<Fault>> = OnceLock::new();

    /// Whether `TUTU_FAULT` names this fault.
    pub fn on(fault: Fault) -> bool {
        let named = || {
            let name = std::env::var("TUTU_FAULT").ok()?;
            let fault = Fault::ALL.iter().find(|fault| format!("{fault:?}") == name);
            Some(*fault.expect("TUTU_FAULT names one of them"))
        };
        *ACTIVE.get_or_init(named) == Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fault_is_on_unless_it_is_asked_for() {
        let on: alloc::vec::Vec<&Fault> = Fault::ALL.iter().filter(|fault| on(**fault)).collect();
        assert!(on.len() <= usize::from(cfg!(feature = "mutants")), "{on:?}");
    }
}
