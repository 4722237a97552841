//! Faults that can be switched on, one at a time, to see whether a test notices.
//!
//! They measure the tests, not the rooms: a fault that no test and no simulated world shows is a rule that nothing guards. Only
//! the feature `mutants` has them; without it [`on`] is `false` at compile time and nothing of this is in the program.
//!
//! | faults | hunted by | with |
//! |---|---|---|
//! | [`Fault::MESH`] | `tutu-sim --mutants` | worlds of many nodes |
//! | [`Fault::ECONOMY`] | `ci/mutants-economy` | the unit tests of this crate, which read `TUTU_FAULT` |
//!
//! Any of them is switched on in any world by `tutu-sim --fault NAME`.

macro_rules! faults {
    ($($(#[$about:meta])* $room:ident { $($name:ident)* })*) => {
        /// Everything that can be made wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Fault {
            $($($name,)*)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];
            $($(#[$about])* pub const $room: &[Self] = &[$(Self::$name,)*];)*
        }
    };
}

faults! {
    /// Of who is there, and of the packets in which it is said.
    MESH {
        PacketSignatureUnchecked
        RecordSignatureUnchecked
        AccusationSignatureUnchecked
        ReplayTakenForFresh
        SequenceStandsStill
        PacketsOverfilled
        IncarnationNotSaved
        IncarnationRepeatedAfterRestart
        FactsWithoutNewIncarnation
        AccusationsNotAnswered
        RefutedWithOldIncarnation
        RefutationOnlyTheAccuserHears
        FarewellWithoutFlag
        FarewellNotTold
        LeftTakenForAlive
        DeadRiseWithOldWords
        DeadForgottenAtOnce
        DeadNeverAsked
        DeadNotWarned
        DoubtsBelieved
        DoubtedNotAsked
        WolvesHeard
        NeverDeclared
        DeclaredAtOnce
        ConfirmersIgnored
        EveryWordCounts
        SuspicionsNotTold
        NobodyProbed
        SameOneProbed
        OneSilenceIsEnough
        LossNotMeasured
        HelpersNotAsked
        HelpersKeepProofs
        SleepNotForgiven
        HealthNeverMends
        GossipNeverSent
        ToldOnce
        TablesNeverCompared
        DigestsWithoutIncarnations
        WantsUnanswered
        SeedsNotAsked
        NewcomersNotIntroduced
        CrowdsCountInFull
        UnprovedSampled
        TimerNotMoved
        CellsNeverSplit
        DelegatesNotMet
        DelegatesNeverServe
        DeadDelegatesKept
        EverybodyIsDelegate
    }
    /// Of what work is worth, and of who does it.
    ECONOMY {
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
        DepositInParts
        DepositSignedFor
        DepositOfAnother
        DepositTooShort
        DepositUncertified
        FateIgnored
        DepositNeverLost
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
        LaggardsLeftBehind
        ClosedTwice
        ClosedBeforeItsTime
        PayeeOfClosingUnchecked
        QuorumTooSmall
        VotersCountedTwice
        WitnessesChangedByAnybody
        TermGoesBack
        LaterSetJudgedAlone
        BothSetsCount
        InheritedClosedAgain
        ChosenSetFollows
        ChainAcrossSets
        TakesOverTwice
        CertifiedRefused
        MissedHoldsNotClosed
        HiddenHoldsUnpaid
        FewerFollow
        FewerTaken
        TermToComeTaken
        OldOpeningRefused
        BorderForgotten
        TableWithoutEnd
        SetTakenUnproven
        DrawnWithoutTrust
        CapOfKeyIgnored
        FailureCosts
        QuotaUnasked
        RaisedOverCap
        UseForgotten
        BoundTaskHandedOn
        MovedPlaceBlamed
        MovedToAnybody
        LetGoIsBlamed
        HandedUnasked
        HandedToBarred
        BreakerIgnored
        TrialsWithoutEnd
        HangsAndOffers
        IdleNeverAsks
        HopsUncounted
        WithheldWithoutConsent
        WithheldBeyondShare
        ReleasedBeforeVerdict
        UnreleasedForgotten
        DoubtfulPaidAtOnce
        AppealRepeated
        JuryOfFirstAuditors
        SilenceCountsForNothing
        NoMajorityPunishes
        VainAppealIsFree
        RefusesNobody
        NobodyAges
        StaleLeaseCounts
        TriesWithoutBudget
        InterruptedIsLost
        CancelledGoesOn
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
        BallotMultiplied
        EarlyBallotLost
        DoublePromiseCounts
        DelegateVotesForVoters
        HarmNotBlocked
        BandsIgnored
        OneMeasurementUndoes
        NotUndone
    }
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

    use super::Fault;

    /// The number of the fault, from 0, or one of the two below.
    static ACTIVE: AtomicU32 = AtomicU32::new(UNASKED);
    const NONE: u32 = u32::MAX;
    /// Nobody has said which, if any.
    const UNASKED: u32 = NONE - 1;

    /// Whether the code is to do `fault` now.
    pub fn on(fault: Fault) -> bool {
        #[cfg(test)]
        if ACTIVE.load(Ordering::Relaxed) == UNASKED {
            switch(super::tests::named());
        }
        ACTIVE.load(Ordering::Relaxed) == fault as u32
    }

    /// Switches on this fault, and all others off.
    pub fn switch(fault: Option<Fault>) {
        ACTIVE.store(fault.map_or(NONE, |fault| fault as u32), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which one `TUTU_FAULT` names: the tests of this crate are told so.
    #[cfg(feature = "mutants")]
    pub(super) fn named() -> Option<Fault> {
        extern crate std;
        let name = std::env::var("TUTU_FAULT").ok()?;
        let fault = Fault::ALL.iter().find(|fault| std::format!("{fault:?}") == name);
        Some(*fault.expect("TUTU_FAULT names one of them"))
    }

    #[test]
    fn no_fault_is_on_unless_it_is_asked_for() {
        let on: alloc::vec::Vec<&Fault> = Fault::ALL.iter().filter(|fault| on(**fault)).collect();
        assert!(on.len() <= usize::from(cfg!(feature = "mutants")), "{on:?}");
    }
}
