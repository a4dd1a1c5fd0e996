//! The promises that a platform can break.

/// How a platform breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    /// It keeps the contract.
    None,

    // Deploying.
    ReturnsBeforeTheCodeAnswers,
    KeepsOldCode,
    ListsTwice,
    FetchesAnotherId,
    CallsAbsenceAFailure,
    RemovesTwice,
    ForgetsOwners,
    AppliesADroppedDeployLate,
    DeploysAnything,
    ListsNoRuntimes,

    // Configuring.
    DropsEnvironment,
    LeaksTheDriversEnvironment,
    CallsMain,
    TakesTheFirstModule,
    CallsBrokenCodeAFault,
    TakesAnyLength,
    ScalesWhatIsNotNamed,
    KeepsTheTimeout,
    ScalesToAnything,

    // Invoking.
    SwallowsUnicode,
    CallsEmptyNull,
    TakesAnyPayload,
    TakesAnyArgument,
    GivesOneIdToAll,
    AnswersOneAtATime,
    CallsEverythingCold,
    TellsTooShortATime,
    LocksUpWhenDropped,

    // Failing functions.
    CallsRaisingAFault,
    CallsEverythingRaised,
    TruncatesResults,
    CallsTimeoutsCrashes,
    StaysDeadAfterACrash,

    // Logs.
    ReversesLogs,

    // Submitting.
    ForgetsResults,
    LosesOneInAThousand,
    CallsUnknownIdsGone,
    WaitsInCollect,
    ReportsWhatNobodyAskedFor,
    ReportsTheReleased,
    AbandonsAll,
    LosesWhatADroppedCollectHeld,
    CallsFailuresSuccesses,
    TakesAnySubmission,
    KeepsQuietAboutTheGone,
    FailsOnDuplicates,
    SubmitsInSecret,

    // Failing platforms.
    TakesThrottlingForAFault,
    TakesARefusalForAFault,
    TellsNoOperation,
    TellsASecret,
    TakesAnOutageForAFault,
    SaysThatNothingRan,
}
