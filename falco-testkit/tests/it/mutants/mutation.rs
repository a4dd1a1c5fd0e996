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
    ForgetsExpiries,
    ListsTheRemoved,
    ListsNothing,
    AppliesADroppedDeployLate,
    KeepsOldVariables,
    KeepsOldSizes,
    ListsStrangers,
    TagsInASecondRequest,
    LeavesALog,
    DeploysAnything,
    ListsNoRuntimes,
    CallsAnUnknownRuntimeInvalid,

    // Configuring.
    DropsEnvironment,
    SetsMoreVariables,
    LeaksTheDriversEnvironment,
    CallsMain,
    TakesTheFirstModule,
    CallsBrokenCodeAFault,
    TakesAnyLength,
    CallsTooLongInvalid,
    ScalesWhatIsNotNamed,
    ScalesNothing,
    KeepsTheTimeout,
    ScalesToAnything,

    // Invoking.
    SwallowsUnicode,
    AnswersWithWhatIsPrinted,
    CallsEmptyNull,
    TakesAnyPayload,
    TakesLessThanItSays,
    HidesLimitsOfRuntimes,
    TakesAnyArgument,
    GivesOneIdToAll,
    MixesUpAnswers,
    AnswersOneAtATime,
    CallsEverythingCold,
    CallsEverythingWarm,
    ReportsTooShortATime,
    EndsBeforeItBegins,
    LocksUpWhenDropped,

    // Failing functions.
    CallsRaisingAFault,
    LosesTheWords,
    CallsEverythingRaised,
    TakesAnyResult,
    TruncatesResults,
    RefusesHalfOfTheLimit,
    CallsTimeoutsCrashes,
    StaysDeadAfterATimeout,
    RunsOnAfterATimeout,
    StaysDeadAfterACrash,
    CallsCrashesFaults,

    // Logs.
    ReversesLogs,
    LogsWhatOthersPrinted,

    // Submitting.
    ForgetsResults,
    LosesOneInAThousand,
    CallsUnknownIdsGone,
    FailsOnUnknownIds,
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
    NamesNoOperation,
    NamesNoOperationOfInvoke,
    ShowsASecret,
    QuotesASecret,
    TakesAnOutageForAFault,
    SaysThatNothingRan,
    SaysThatARefusedCallMayHaveRun,
}
