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
    KeepsOldVariables,
    KeepsOldSizes,
    ListsStrangers,
    TagsInASecondRequest,
    LeavesALog,
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
    AnswersWithWhatIsPrinted,
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
    RunsOnAfterATimeout,
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
    CollectsOnlyItsOwn,
    RunsAnAttemptTwice,
    FindsWhatWasNeverSent,
    SubmitsInSecret,

    // Failing platforms.
    TakesThrottlingForAFault,
    RepeatsThrottledCalls,
    SaysThatALostCallDidNotRun,
    TakesARefusalForAFault,
    TellsNoOperation,
    TellsNoOperationOfInvoke,
    TellsASecret,
    TakesAnOutageForAFault,
    SaysThatNothingRan,
}
