//! The suite can fail: each case catches a platform that breaks its demand.

mod mutant;
mod mutation;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{AsyncPlatform, Error, ErrorKind, RuntimeName, async_trait};
use falco_testkit::conformance::{CASES, Fault, Harness, Skip};
use futures_util::FutureExt;
use tokio::time::Instant;

use self::mutant::Mutant;
use self::mutation::Mutation;
use crate::conformance::Memory;

/// Each case, and what it has to catch.
const CAUGHT: &[(&str, Mutation)] = &[
    ("a_deployed_function_answers", Mutation::ReturnsBeforeTheCodeAnswers),
    ("deploying_a_name_again_updates_it_in_place", Mutation::KeepsOldCode),
    ("deploying_a_name_again_updates_it_in_place", Mutation::ListsTwice),
    ("deploying_a_name_again_updates_it_in_place", Mutation::RedeploysLate),
    ("deploying_the_same_twice_leaves_one", Mutation::ListsTwice),
    ("deploying_the_same_twice_leaves_one", Mutation::ListsTheRemoved),
    ("the_same_deployed_again_keeps_its_instances", Mutation::UploadsTheSameAgain),
    ("a_deployment_is_found_by_its_name", Mutation::FetchesAnotherId),
    ("a_deployment_is_found_by_its_name", Mutation::ServesOnlyWhatWasFetched),
    ("an_unknown_name_is_not_found", Mutation::CallsAbsenceAFailure),
    ("a_name_leads_nowhere_else", Mutation::FollowsAName),
    ("sizes_are_fetched_with_the_function", Mutation::FetchesNoSizes),
    ("sizes_are_fetched_with_the_function", Mutation::ListsNoSizes),
    ("a_list_is_read_to_its_end", Mutation::ListsTheFirstPage),
    ("a_list_is_read_to_its_end", Mutation::ListsNothing),
    ("a_removed_function_is_gone", Mutation::CallsAbsenceAFailure),
    ("a_removed_function_is_gone", Mutation::ListsTheRemoved),
    ("removing_twice_is_not_found", Mutation::RemovesTwice),
    ("removing_twice_is_not_found", Mutation::CallsAbsenceAFailure),
    ("deployments_are_listed_with_their_owner", Mutation::ForgetsOwners),
    ("deployments_are_listed_with_their_owner", Mutation::ForgetsExpiries),
    ("a_dropped_deploy_leaves_nothing_once_it_is_removed", Mutation::AppliesADroppedDeployLate),
    ("a_dropped_deploy_leaves_nothing_once_it_is_removed", Mutation::ForgetsADroppedDeploy),
    ("a_dropped_deploy_leaves_nothing_once_it_is_removed", Mutation::RemovesNothing),
    ("a_redeploy_is_in_force_when_deploy_returns", Mutation::KeepsOldVariables),
    ("a_redeploy_is_in_force_when_deploy_returns", Mutation::KeepsOldSizes),
    ("a_redeploy_is_in_force_when_deploy_returns", Mutation::KeepsOldMemory),
    ("a_redeploy_is_in_force_when_deploy_returns", Mutation::RedeploysLate),
    ("functions_of_strangers_are_left_out", Mutation::ListsStrangers),
    ("functions_of_strangers_are_left_out", Mutation::ListsNothing),
    ("a_deploy_that_is_cut_off_after_any_request_can_be_removed", Mutation::TagsInASecondRequest),
    ("a_deploy_that_is_cut_off_after_any_request_can_be_removed", Mutation::MarksInASecondRequest),
    ("a_deploy_that_is_cut_off_after_any_request_can_be_removed", Mutation::RemovesNothing),
    ("nothing_is_left_after_remove", Mutation::LeavesALog),
    ("nothing_is_left_after_remove", Mutation::LogsAfterRemove),
    ("what_is_no_function_is_refused", Mutation::DeploysAnything),
    ("what_is_no_function_is_refused", Mutation::DeploysBlankCode),
    ("what_is_no_function_is_refused", Mutation::DeploysAnyName),
    ("what_is_no_function_is_refused", Mutation::NamesNothingBeforeSending),
    ("an_unknown_runtime_is_unsupported", Mutation::ListsNoRuntimes),
    ("an_unknown_runtime_is_unsupported", Mutation::CallsAnUnknownRuntimeInvalid),
    ("an_unknown_runtime_is_unsupported", Mutation::NamesNothingBeforeSending),
    ("an_image_is_refused_where_none_is_run", Mutation::IgnoresImages),
    ("an_image_is_refused_where_none_is_run", Mutation::NamesNoImage),
    ("an_image_is_refused_where_none_is_run", Mutation::NamesNothingBeforeSending),
    ("environment_variables_reach_the_function", Mutation::DropsEnvironment),
    ("environment_variables_reach_the_function", Mutation::SwallowsUnicode),
    ("environment_variables_reach_the_function", Mutation::TrimsVariables),
    ("environment_variables_reach_the_function", Mutation::SetsMoreVariables),
    ("stored_arguments_lie_beneath_each_payload", Mutation::DropsArguments),
    ("stored_arguments_lie_beneath_each_payload", Mutation::LetsStoredArgumentsWin),
    ("the_drivers_environment_stays_outside", Mutation::LeaksTheDriversEnvironment),
    ("another_entry_point_is_called", Mutation::CallsMain),
    ("another_entry_point_is_called", Mutation::KeepsOldEntryPoint),
    ("an_archive_of_several_modules_runs", Mutation::TakesTheFirstModule),
    ("code_that_cannot_be_loaded_is_said_to_be_so", Mutation::CallsBrokenCodeAFault),
    ("code_that_cannot_be_loaded_is_said_to_be_so", Mutation::CallsEverythingRaised),
    ("code_over_the_limit_is_refused", Mutation::TakesAnyLength),
    ("code_over_the_limit_is_refused", Mutation::TakesAnyLengthInNode),
    ("code_over_the_limit_is_refused", Mutation::CallsTooLongInvalid),
    ("code_over_the_limit_is_refused", Mutation::NamesNothingBeforeSending),
    ("scaling_changes_what_it_names_and_keeps_the_rest", Mutation::ScalesWhatIsNotNamed),
    ("scaling_changes_what_it_names_and_keeps_the_rest", Mutation::ScalesNothing),
    ("a_scaled_timeout_is_in_force", Mutation::KeepsTheTimeout),
    ("sizes_out_of_bounds_are_refused", Mutation::ScalesToAnything),
    ("sizes_out_of_bounds_are_refused", Mutation::DeploysAnything),
    ("sizes_out_of_bounds_are_refused", Mutation::NamesNothingBeforeSending),
    ("nested_and_non_ascii_json_passes_unchanged", Mutation::SwallowsUnicode),
    ("nested_and_non_ascii_json_passes_unchanged", Mutation::RoundsNumbers),
    ("nested_and_non_ascii_json_passes_unchanged", Mutation::RoundsLargeIntegers),
    ("nested_and_non_ascii_json_passes_unchanged", Mutation::CutsOffLineBreaks),
    ("what_a_function_prints_is_no_part_of_its_answer", Mutation::AnswersWithWhatIsPrinted),
    (
        "what_a_function_prints_is_no_part_of_its_answer",
        Mutation::AnswersWithWhatIsPrintedAsAnError,
    ),
    (
        "what_a_function_prints_is_no_part_of_its_answer",
        Mutation::AnswersWithWhatIsPrintedWhileLoading,
    ),
    ("an_empty_result_is_an_empty_object", Mutation::CallsEmptyNull),
    ("a_payload_at_the_limit_is_taken", Mutation::TakesAnyPayload),
    ("a_payload_at_the_limit_is_taken", Mutation::TakesLessThanItSays),
    ("a_payload_at_the_limit_is_taken", Mutation::HidesLimitsOfRuntimes),
    ("a_payload_over_the_limit_is_refused", Mutation::TakesAnyPayload),
    ("a_payload_over_the_limit_is_refused", Mutation::CallsTooLongInvalid),
    ("a_payload_over_the_limit_is_refused", Mutation::NamesNothingBeforeSending),
    ("an_argument_that_is_no_object_is_refused", Mutation::TakesAnyArgument),
    ("an_argument_that_is_no_object_is_refused", Mutation::NamesNothingBeforeSending),
    ("an_argument_that_is_no_object_is_refused", Mutation::SubmitsAnyArgument),
    ("a_batch_is_answered_input_by_input", Mutation::TakesABatchForOneInput),
    ("a_batch_is_answered_input_by_input", Mutation::FailsABatchWithOneOfItsInputs),
    ("each_invocation_gets_its_own_answer", Mutation::GivesOneIdToAll),
    ("each_invocation_gets_its_own_answer", Mutation::MixesUpAnswers),
    ("invocations_run_at_the_same_time", Mutation::AnswersOneAtATime),
    ("the_first_activation_is_cold_and_a_later_one_warm", Mutation::CallsEverythingCold),
    ("the_first_activation_is_cold_and_a_later_one_warm", Mutation::CallsEverythingWarm),
    ("an_activation_reports_plausible_times", Mutation::ReportsTooShortATime),
    ("an_activation_reports_plausible_times", Mutation::EndsBeforeItBegins),
    ("a_dropped_invoke_leaves_the_platform_usable", Mutation::LocksUpWhenDropped),
    ("raising_is_a_function_error", Mutation::CallsRaisingAFault),
    ("raising_is_a_function_error", Mutation::LosesTheWords),
    ("a_result_that_is_no_object_is_a_bad_result", Mutation::CallsEverythingRaised),
    ("a_result_that_is_no_object_is_a_bad_result", Mutation::TakesAnyResult),
    ("a_result_that_json_cannot_hold_is_a_bad_result", Mutation::WritesNullForNaN),
    ("a_result_that_json_cannot_hold_is_a_bad_result", Mutation::CallsEverythingRaised),
    ("a_result_that_json_cannot_hold_is_a_bad_result", Mutation::WritesNullForInfinity),
    ("a_result_that_json_cannot_hold_is_a_bad_result", Mutation::ReplacesHalfOfAPair),
    ("a_result_over_the_limit_is_a_bad_result", Mutation::TruncatesResults),
    ("a_result_over_the_limit_is_a_bad_result", Mutation::RefusesHalfOfTheLimit),
    ("running_too_long_is_a_timeout", Mutation::CallsTimeoutsCrashes),
    ("running_too_long_is_a_timeout", Mutation::CallsSubmittedTimeoutsCrashes),
    ("running_too_long_is_a_timeout", Mutation::StaysDeadAfterATimeout),
    ("a_function_that_was_timed_out_does_not_run_on", Mutation::RunsOnAfterATimeout),
    ("a_function_that_was_timed_out_does_not_run_on", Mutation::RunsOnInNode),
    ("a_crash_is_reported_and_the_next_call_works", Mutation::StaysDeadAfterACrash),
    ("a_crash_is_reported_and_the_next_call_works", Mutation::CallsCrashesFaults),
    ("what_a_function_prints_is_its_log", Mutation::ReversesLogs),
    ("what_a_function_prints_is_its_log", Mutation::LogsWhatOthersPrinted),
    ("a_submitted_invocation_is_collected", Mutation::ForgetsResults),
    ("a_submitted_invocation_is_collected", Mutation::CollectsUnderAnotherId),
    ("a_thousand_submissions_are_each_collected_exactly_once", Mutation::LosesOneInAThousand),
    ("a_thousand_submissions_are_each_collected_exactly_once", Mutation::MixesUpAnswers),
    ("collecting_unknown_ids_is_no_news", Mutation::CallsUnknownIdsGone),
    ("collecting_unknown_ids_is_no_news", Mutation::FailsOnUnknownIds),
    ("collect_does_not_wait_for_what_runs", Mutation::WaitsInCollect),
    ("collect_does_not_wait_for_what_runs", Mutation::AsksToCollectAtOnce),
    ("collect_reports_only_what_was_asked_for", Mutation::ReportsWhatNobodyAskedFor),
    ("collect_reports_only_what_was_asked_for", Mutation::LosesWhatWasNotAskedFor),
    ("a_released_activation_is_not_reported_again", Mutation::ReportsTheReleased),
    ("abandoning_one_leaves_the_others_alone", Mutation::AbandonsAll),
    ("a_dropped_collect_loses_nothing", Mutation::LosesWhatADroppedCollectHeld),
    ("a_dropped_submit_leaves_the_platform_usable", Mutation::LocksUpWhenDropped),
    ("function_errors_are_collected_too", Mutation::CallsFailuresSuccesses),
    ("function_errors_are_collected_too", Mutation::LosesTheWords),
    ("submitted_payloads_have_their_limit", Mutation::TakesAnySubmission),
    ("submitted_payloads_have_their_limit", Mutation::TakesLessThanItSays),
    ("submitted_payloads_have_their_limit", Mutation::NamesNothingBeforeSending),
    ("a_lost_activation_is_reported_as_gone", Mutation::KeepsQuietAboutTheGone),
    ("a_lost_activation_is_reported_as_gone", Mutation::NamesNoOperationOfTheGone),
    ("results_delivered_twice_are_harmless", Mutation::FailsOnDuplicates),
    ("results_delivered_twice_are_harmless", Mutation::ReportsTheReleased),
    ("results_delivered_twice_are_harmless", Mutation::ChangesDuplicates),
    ("another_process_collects_what_was_submitted", Mutation::CollectsOnlyItsOwn),
    ("a_unique_attempt_that_is_submitted_again_runs_once", Mutation::RunsAnAttemptTwice),
    ("a_unique_attempt_that_is_submitted_again_runs_once", Mutation::TakesEachAttemptForTheFirst),
    ("a_submission_whose_answer_was_lost_is_found", Mutation::FindsWhatWasNeverSent),
    ("a_submission_whose_answer_was_lost_is_found", Mutation::SaysThatALostCallDidNotRun),
    ("a_submission_whose_answer_was_lost_is_found", Mutation::RepeatsLostSubmissions),
    ("a_platform_that_cannot_submit_says_so", Mutation::SubmitsInSecret),
    ("a_platform_that_cannot_submit_says_so", Mutation::CollectsInSecret),
    ("throttling_keeps_its_kind", Mutation::TakesThrottlingForAFault),
    ("throttling_keeps_its_kind", Mutation::SaysThatARefusedCallMayHaveRun),
    ("a_throttled_call_is_sent_once", Mutation::RepeatsThrottledCalls),
    ("a_throttled_submission_is_sent_once", Mutation::RepeatsThrottledSubmissions),
    ("a_call_whose_answer_was_lost_may_have_run", Mutation::SaysThatALostCallDidNotRun),
    ("a_call_whose_answer_was_lost_may_have_run", Mutation::RepeatsLostCalls),
    ("wrong_credentials_are_unauthorized", Mutation::TakesARefusalForAFault),
    ("wrong_credentials_are_unauthorized", Mutation::NamesNoOperation),
    ("an_error_says_where_it_comes_from", Mutation::NamesNoOperation),
    ("an_error_says_where_it_comes_from", Mutation::NamesNoOperationOfInvoke),
    ("an_error_says_where_it_comes_from", Mutation::NamesNoPlatform),
    ("an_error_says_where_it_comes_from", Mutation::NamesNoFunction),
    ("an_error_says_where_it_comes_from", Mutation::NamesNothingBeforeSending),
    ("every_operation_names_itself_in_its_errors", Mutation::NamesNoOperation),
    ("every_operation_names_itself_in_its_errors", Mutation::NamesNoOperationOfListing),
    ("every_operation_names_itself_in_its_errors", Mutation::NamesNoOperationOfRecentLogs),
    ("every_operation_names_itself_in_its_errors", Mutation::NamesNoOperationOfTheAccount),
    ("every_operation_names_itself_in_its_errors", Mutation::NamesNoPlatform),
    ("every_operation_names_itself_in_its_errors", Mutation::NamesNoFunction),
    ("secrets_appear_nowhere", Mutation::ShowsASecret),
    ("secrets_appear_nowhere", Mutation::QuotesASecret),
    ("a_provider_that_cannot_be_reached_is_unreachable", Mutation::TakesAnOutageForAFault),
    ("a_provider_that_cannot_be_reached_is_unreachable", Mutation::SaysThatARefusedCallMayHaveRun),
    ("a_call_to_a_silent_peer_can_be_dropped", Mutation::SaysThatNothingRan),
    ("a_call_to_a_silent_peer_can_be_dropped", Mutation::SaysThatNoSubmissionRan),
];

/// How long after the removal of its function a late log comes.
const LATE: Duration = Duration::from_millis(200);

/// The harness of the platform in memory, with a mutant in front.
struct Mutated {
    inner: Memory,
    mutation: Mutation,
    /// When something was removed last.
    removed_at: Arc<Mutex<Option<Instant>>>,
}

impl Mutated {
    fn around(&self, inner: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        Arc::new(Mutant::new(self.mutation, inner, self.removed_at.clone()))
    }
}

#[async_trait]
impl Harness for Mutated {
    async fn start() -> Self {
        let inner = Memory::start().await;
        Self { inner, mutation: Mutation::None, removed_at: Arc::default() }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.around(self.inner.platform())
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        self.inner.runtimes()
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        let refuses = [Mutation::SaysThatNothingRan, Mutation::SaysThatNoSubmissionRan];
        if fault == Fault::Silent && refuses.contains(&self.mutation) {
            let may_have_run = self.mutation != Mutation::SaysThatNothingRan;
            let error = Error::new(ErrorKind::Unavailable, "no answer");
            self.inner.refuse_everything(error.with_may_have_run(may_have_run));
            return Ok(self.around(self.inner.platform()));
        }
        Ok(self.around(self.inner.provoke(fault).await?))
    }

    fn secrets(&self) -> Vec<String> {
        vec!["marked-key".into()]
    }

    fn calls(&self) -> Option<u64> {
        self.inner.calls()
    }

    fn shares_files(&self) -> bool {
        true
    }

    async fn place_stranger(&self) -> Result<String, Skip> {
        self.inner.place_stranger().await
    }

    async fn place_strangers(&self, count: usize) -> Result<(), Skip> {
        self.inner.place_strangers(count).await
    }

    async fn stop_after(&self, requests: u64) -> Result<(), Skip> {
        self.inner.stop_after(requests).await
    }

    async fn stopped(&self) {
        self.inner.stopped().await;
    }

    fn go_on(&self) {
        self.inner.go_on();
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Ok(self.platform())
    }

    fn patience(&self) -> Duration {
        // On paused time: a mutant for which a case waits in vain shall not be asked for a minute.
        Duration::from_secs(20)
    }

    fn leftovers(&self) -> Option<Vec<String>> {
        match self.mutation {
            Mutation::LeavesALog => Some(vec!["log group".into()]),
            Mutation::LogsAfterRemove => {
                let removed_at = *self.removed_at.lock().unwrap();
                let is_late = removed_at.is_some_and(|at| at.elapsed() >= LATE);
                Some(is_late.then(|| "log group".into()).into_iter().collect())
            }
            _ => self.inner.leftovers(),
        }
    }
}

/// How a case ends on a mutant.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Passed,
    Skipped(String),
    /// The words of its panic.
    Failed(String),
    TimedOut,
}

async fn run(name: &str, mutation: Mutation) -> Ended {
    let case = CASES.iter().find(|case| case.name == name).unwrap();
    let mut mutated = Mutated::start().await;
    mutated.mutation = mutation;
    match AssertUnwindSafe(case.run(Arc::new(mutated))).catch_unwind().await {
        Ok(Ok(())) => Ended::Passed,
        Ok(Err(skip)) => Ended::Skipped(skip.to_string()),
        Err(panic) => match *panic.downcast::<String>().unwrap() {
            words if words.starts_with("it did not end within") => Ended::TimedOut,
            words => Ended::Failed(words),
        },
    }
}

/// Results that never come: a case waits for them until its patience ends.
const WAITS_IN_VAIN: &[(&str, Mutation)] = &[
    ("a_thousand_submissions_are_each_collected_exactly_once", Mutation::LosesOneInAThousand),
    ("collect_reports_only_what_was_asked_for", Mutation::LosesWhatWasNotAskedFor),
    ("abandoning_one_leaves_the_others_alone", Mutation::AbandonsAll),
    ("a_dropped_collect_loses_nothing", Mutation::LosesWhatADroppedCollectHeld),
    ("a_lost_activation_is_reported_as_gone", Mutation::KeepsQuietAboutTheGone),
    ("another_process_collects_what_was_submitted", Mutation::CollectsOnlyItsOwn),
];

#[tokio::test(start_paused = true)]
async fn each_mutation_is_caught_by_its_case() {
    let mut passing = BTreeSet::new();
    let mut wrong = Vec::new();
    for (case, mutation) in CAUGHT {
        if passing.insert(case) {
            let ended = run(case, Mutation::None).await;
            assert_eq!(ended, Ended::Passed, "{case} without a mutation");
        }
        // A skip would let the platform pass.
        match run(case, *mutation).await {
            Ended::Failed(_) => {}
            Ended::TimedOut if WAITS_IN_VAIN.contains(&(*case, *mutation)) => {}
            ended => wrong.push(format!("{case} has to catch {mutation:?}: {ended:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Cases whose promise has one side only: there is one way to break it.
const ONE_SIDED: &[&str] = &[
    "a_deployed_function_answers",
    "the_same_deployed_again_keeps_its_instances",
    "an_unknown_name_is_not_found",
    "a_name_leads_nowhere_else",
    "the_drivers_environment_stays_outside",
    "an_archive_of_several_modules_runs",
    "a_scaled_timeout_is_in_force",
    "an_empty_result_is_an_empty_object",
    "invocations_run_at_the_same_time",
    "a_dropped_invoke_leaves_the_platform_usable",
    "a_released_activation_is_not_reported_again",
    "abandoning_one_leaves_the_others_alone",
    "a_dropped_collect_loses_nothing",
    "a_dropped_submit_leaves_the_platform_usable",
    "another_process_collects_what_was_submitted",
    "a_throttled_call_is_sent_once",
    "a_throttled_submission_is_sent_once",
];

#[test]
fn a_promise_with_two_sides_catches_a_mutation_of_each() {
    for case in CASES {
        let caught = CAUGHT.iter().filter(|(name, _)| *name == case.name).count();
        let is_one_sided = ONE_SIDED.contains(&case.name);
        assert!(caught >= 2 || is_one_sided, "{} catches {caught}", case.name);
        assert!(!(caught >= 2 && is_one_sided), "{} catches {caught}", case.name);
    }
    let known = |name: &&str| CASES.iter().any(|case| case.name == *name);
    assert!(ONE_SIDED.iter().all(known), "a name in the list is not that of a case");
}

#[test]
fn every_case_catches_a_mutation() {
    for case in CASES {
        let catches = CAUGHT.iter().any(|(name, _)| *name == case.name);
        assert!(catches, "{} has no mutation to catch", case.name);
    }
}
