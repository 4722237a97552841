//! Faults that can be switched on, one at a time, to see whether the simulator notices.
//!
//! They measure the tests, not the protocol: a fault that no simulated world shows is a rule that nothing guards. Only the
//! feature `mutants` has them; without it [`on`] is `false` at compile time and nothing of this is in the program.

/// Everything that can be made wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Fault {
    PacketSignatureUnchecked = 1,
    RecordSignatureUnchecked,
    AccusationSignatureUnchecked,
    ReplayTakenForFresh,
    SequenceStandsStill,
    PacketsOverfilled,
    IncarnationNotSaved,
    IncarnationRepeatedAfterRestart,
    FactsWithoutNewIncarnation,
    AccusationsNotAnswered,
    RefutedWithOldIncarnation,
    RefutationOnlyTheAccuserHears,
    FarewellWithoutFlag,
    FarewellNotTold,
    LeftTakenForAlive,
    DeadRiseWithOldWords,
    DeadForgottenAtOnce,
    DeadNeverAsked,
    DeadNotWarned,
    DoubtsBelieved,
    DoubtedNotAsked,
    WolvesHeard,
    NeverDeclared,
    DeclaredAtOnce,
    ConfirmersIgnored,
    EveryWordCounts,
    SuspicionsNotTold,
    NobodyProbed,
    SameOneProbed,
    OneSilenceIsEnough,
    LossNotMeasured,
    HelpersNotAsked,
    HelpersKeepProofs,
    SleepNotForgiven,
    HealthNeverMends,
    GossipNeverSent,
    ToldOnce,
    TablesNeverCompared,
    DigestsWithoutIncarnations,
    WantsUnanswered,
    SeedsNotAsked,
    NewcomersNotIntroduced,
    CrowdsCountInFull,
    UnprovedSampled,
    TimerNotMoved,
    CellsNeverSplit,
    DelegatesNotMet,
    DelegatesNeverServe,
    DeadDelegatesKept,
    EverybodyIsDelegate,
}

impl Fault {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 50] = [
        Self::PacketSignatureUnchecked,
        Self::RecordSignatureUnchecked,
        Self::AccusationSignatureUnchecked,
        Self::ReplayTakenForFresh,
        Self::SequenceStandsStill,
        Self::PacketsOverfilled,
        Self::IncarnationNotSaved,
        Self::IncarnationRepeatedAfterRestart,
        Self::FactsWithoutNewIncarnation,
        Self::AccusationsNotAnswered,
        Self::RefutedWithOldIncarnation,
        Self::RefutationOnlyTheAccuserHears,
        Self::FarewellWithoutFlag,
        Self::FarewellNotTold,
        Self::LeftTakenForAlive,
        Self::DeadRiseWithOldWords,
        Self::DeadForgottenAtOnce,
        Self::DeadNeverAsked,
        Self::DeadNotWarned,
        Self::DoubtsBelieved,
        Self::DoubtedNotAsked,
        Self::WolvesHeard,
        Self::NeverDeclared,
        Self::DeclaredAtOnce,
        Self::ConfirmersIgnored,
        Self::EveryWordCounts,
        Self::SuspicionsNotTold,
        Self::NobodyProbed,
        Self::SameOneProbed,
        Self::OneSilenceIsEnough,
        Self::LossNotMeasured,
        Self::HelpersNotAsked,
        Self::HelpersKeepProofs,
        Self::SleepNotForgiven,
        Self::HealthNeverMends,
        Self::GossipNeverSent,
        Self::ToldOnce,
        Self::TablesNeverCompared,
        Self::DigestsWithoutIncarnations,
        Self::WantsUnanswered,
        Self::SeedsNotAsked,
        Self::NewcomersNotIntroduced,
        Self::CrowdsCountInFull,
        Self::UnprovedSampled,
        Self::TimerNotMoved,
        Self::CellsNeverSplit,
        Self::DelegatesNotMet,
        Self::DelegatesNeverServe,
        Self::DeadDelegatesKept,
        Self::EverybodyIsDelegate,
    ];
    /// How many there are; the number of the last.
    pub const COUNT: u32 = Self::ALL.len() as u32;
}

/// Whether the code is to do `fault` now.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_fault: Fault) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switch::{on, switch};

#[cfg(feature = "mutants")]
mod switch {
    use core::sync::atomic::{AtomicU32, Ordering};

    static ACTIVE: AtomicU32 = AtomicU32::new(0);

    /// Whether the code is to do `fault` now.
    pub fn on(fault: super::Fault) -> bool {
        ACTIVE.load(Ordering::Relaxed) == fault as u32
    }

    /// Switches on the fault with this number, and all others off; 0 is none.
    pub fn switch(number: u32) {
        ACTIVE.store(number, Ordering::Relaxed);
    }
}
