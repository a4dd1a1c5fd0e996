//! The list of cases: names and demands, as data and as tests.

use futures_util::future::BoxFuture;

use super::harness::Verdict;
use super::subject::Subject;
use super::{configuration, errors, failures, invoke, lifecycle, logs, refusals, submit};

/// One thing that every platform has to do.
///
/// # Examples
///
/// ```
/// for case in falco_testkit::conformance::CASES {
///     println!("{}\n    {}", case.name, case.demand);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The name of the test.
    pub name: &'static str,
    /// The subject: a module of the suite.
    pub group: &'static str,
    /// The demand, and the reason for it.
    pub demand: &'static str,
    pub(super) body: Body,
}

pub(super) type Body = for<'a> fn(&'a Subject) -> BoxFuture<'a, Verdict>;

/// Makes a test of each conformance case for a [`Harness`](crate::conformance::Harness).
///
/// The second argument is the attribute of the tests, `tokio::test` when there is none: a platform in memory runs
/// them on paused time. The calling crate needs tokio with `macros`, `rt` and `time` among its dev-dependencies.
///
/// # Examples
///
/// ```
/// # mod platform {
/// use falco_core::{AsyncPlatform, async_trait};
/// use falco_testkit::conformance::{Fault, Harness, Skip};
/// use falco_testkit::{InMemory, conformance_tests, fixture::Fixture};
/// use std::sync::Arc;
///
/// struct Memory(Arc<InMemory>);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn start() -> Self {
///         Self(Arc::new(InMemory::default().with_function("python", |call| {
///             Fixture::of_code(call.code).expect("the suite deploys the fixture").reply(call)
///         })))
///     }
///     fn platform(&self) -> Arc<dyn AsyncPlatform> { self.0.clone() }
///     fn runtimes(&self) -> Vec<falco_core::RuntimeName> {
///         vec!["python:3".parse().expect("it is a runtime")]
///     }
///     async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
///         Err(Skip::new(format!("{fault} cannot be had here")))
///     }
/// }
///
/// conformance_tests!(Memory, tokio::test(start_paused = true));
/// # }
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($harness:ty) => {
        $crate::conformance_tests!($harness, tokio::test);
    };
    ($harness:ty, $($test:tt)+) => {
        $crate::__conformance_cases! { __conformance_tests [$harness] [$($test)+] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([$harness:ty] $test:tt $($group:ident { $($name:ident: $demand:literal)* })*) => {
        $($($crate::__conformance_test! { [$harness] $test $name })*)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    ([$harness:ty] [$($test:tt)+] $name:ident) => {
        #[$($test)+]
        async fn $name() {
            $crate::conformance::check::<$harness>(stringify!($name)).await;
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_table {
    ($($group:ident { $($name:ident: $demand:literal)* })*) => {
        /// Every case of the suite.
        pub const CASES: &[Case] = &[$($(Case {
            name: stringify!($name),
            group: stringify!($group),
            demand: $demand,
            body: |subject| Box::pin($group::$name(subject)),
        },)*)*];
    };
}

/// The one list; `$then` is the macro that makes something of it.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($then:ident $($context:tt)*) => { $crate::$then! { $($context)*
        lifecycle {
            a_deployed_function_answers:
                "When deploy returns, the function answers in every runtime: a pipeline invokes at once."
            deploying_a_name_again_updates_it_in_place:
                "The new code answers when deploy returns, also through the old deployment, and the name stands once: \
                 a second run must not meet the first one's code."
            deploying_the_same_twice_leaves_one:
                "Deploying is idempotent, since a deployment whose answer was lost is repeated."
            the_same_deployed_again_keeps_its_instances:
                "What is deployed already is not uploaded again: after a second deploy of the same content a warm instance \
                 answers, so that a loop may deploy in each round."
            a_deployment_is_found_by_its_name:
                "What one process deployed another can fetch by name, or read from a file, and invoke: clean-up \
                 and resumed runs are other processes."
            an_unknown_name_is_not_found:
                "Fetching what is not there is NotFound, so that callers can distinguish absence from failure."
            a_name_leads_nowhere_else:
                "A name with '/', '?', '#' or '%' is not the function that a path of it would lead to: it is NotFound or \
                 InvalidInput."
            sizes_are_fetched_with_the_function:
                "deploy, fetch_deployment and list_deployments report the timeout that was deployed: another process waits \
                 for a call as long as its function may run."
            a_list_is_read_to_its_end:
                "list_deployments reads every page: what stands behind the functions of strangers costs money, too, and \
                 cleanup removes what it lists."
            a_removed_function_is_gone:
                "After remove the function is neither found, nor listed, nor invoked: what is left costs money \
                 and holds code."
            removing_twice_is_not_found:
                "The second remove is NotFound, so that a clean-up can be repeated and report what it did."
            deployments_are_listed_with_their_owner:
                "list_deployments reports run, owner, expiry and epoch of what deploy was given: cleanup removes by them, and \
                 a run that another process has taken over stops by them."
            a_dropped_deploy_leaves_nothing_once_it_is_removed:
                "Dropping deploy is how it is cancelled, at any moment. What is then removed by its name stays away, \
                 also when the provider applies the deployment late: what nobody knows of costs money and holds secrets."
            a_redeploy_is_in_force_when_deploy_returns:
                "A function that is deployed again runs with its new environment and its new sizes when deploy returns, \
                 and with no variable of before: the same code with another password is another function."
            functions_of_strangers_are_left_out:
                "list_deployments reports what Falco has deployed and nothing else: cleanup removes what it lists."
            a_deploy_that_is_cut_off_after_any_request_can_be_removed:
                "Ownership goes with the first request that makes anything, so that list_deployments shows it, and remove \
                 finds all that deploy has made until then: a driver may die after every request."
            nothing_is_left_after_remove:
                "After remove the provider holds nothing of the function, also when a log comes late: roles, queues and \
                 logs cost money and hold data."
        }
        refusals {
            what_is_no_function_is_refused:
                "A bad name and empty code are InvalidInput before anything is sent, so that nothing is \
                 half-made."
            an_unknown_runtime_is_unsupported:
                "A runtime that is not there is Unsupported, and the error lists those that are, so that the \
                 user can choose."
            an_image_is_refused_where_none_is_run:
                "A platform without images refuses a function with one, or that is one, as Unsupported, and names the image: \
                 run elsewhere, it would miss the packages that it needs."
        }
        configuration {
            environment_variables_reach_the_function:
                "Variables arrive unchanged, whatever signs their values have, and others are not set: one sign \
                 more, and a password is wrong."
            stored_arguments_lie_beneath_each_payload:
                "Arguments that are stored with a function are there in each call, and the payload wins at the top level: \
                 ten thousand calls need not carry the same table."
            the_drivers_environment_stays_outside:
                "A function sees only what its settings name: the driver's environment holds its credentials."
            another_entry_point_is_called:
                "The function that the deployable names is called, not always main, also where main was deployed under the \
                 name before: one file often holds several."
            an_archive_of_several_modules_runs:
                "Modules of an archive find each other: real functions are more than one file."
            code_that_cannot_be_loaded_is_said_to_be_so:
                "Broken code is InvalidInput when deployed, or an initialisation error when invoked, and never a \
                 failure of the platform, which would be retried."
            code_over_the_limit_is_refused:
                "Code over the limit in capabilities() is PayloadTooLarge, and nothing is half-made: to wait for an \
                 upload of what cannot be taken costs minutes."
            scaling_changes_what_it_names_and_keeps_the_rest:
                "scale sets the sizes that are named; the other sizes, the code and the environment stay."
            a_scaled_timeout_is_in_force:
                "A timeout set by scale ends the next activation that runs longer: otherwise `scale` has no effect."
            sizes_out_of_bounds_are_refused:
                "Sizes that capabilities() rule out are InvalidInput, in deploy and in scale: providers answer \
                 late, and in words of their own."
        }
        invoke {
            nested_and_non_ascii_json_passes_unchanged:
                "Arguments and results are JSON of any depth in any script, and pass unchanged: Falco hands them \
                 on unread."
            what_a_function_prints_is_no_part_of_its_answer:
                "Lines on stdout and stderr never become part of an answer, whatever they look like, also those that are \
                 printed while the code is loaded, and where there are no logs: libraries print."
            an_empty_result_is_an_empty_object:
                "{} is a result like any other: functions that work by side effects return nothing else."
            a_payload_at_the_limit_is_taken:
                "The limit in capabilities() is inclusive and true: chunks are cut by it."
            a_payload_over_the_limit_is_refused:
                "One byte more is PayloadTooLarge, and the function did not run, so that smaller chunks can be \
                 sent instead."
            an_argument_that_is_no_object_is_refused:
                "A function's argument is an object; anything else is InvalidInput before it is sent, since some \
                 platform would refuse it."
            a_batch_is_answered_input_by_input:
                "Where functions run under Falco's shim, an argument that holds several has an answer for each, and the \
                 failure of one is not the failure of another."
            each_invocation_gets_its_own_answer:
                "Of many at once, each gets the answer to its own argument, under an id of its own: nobody would \
                 notice a mix-up."
            invocations_run_at_the_same_time:
                "Invocations overlap: nothing in the platform crate makes them wait for each other."
            the_first_activation_is_cold_and_a_later_one_warm:
                "Where a platform reports cold starts, it reports them right: reports count them."
            an_activation_reports_plausible_times:
                "Times that are reported have an order: begin, end, and no execution longer than both."
            a_dropped_invoke_leaves_the_platform_usable:
                "Dropping the future is how a call is cancelled, at any moment; the next call works."
        }
        failures {
            raising_is_a_function_error:
                "A function that raises is an activation with its words, not a failure of the platform."
            a_result_that_is_no_object_is_a_bad_result:
                "A result that is not a JSON object is the function's fault, and is named as such, so that its \
                 author looks there."
            a_result_that_json_cannot_hold_is_a_bad_result:
                "NaN, infinity and half of a surrogate pair are the function's fault, and never arrive as null or as \
                 something else: a total over such results would be wrong, and nobody would notice."
            a_result_over_the_limit_is_a_bad_result:
                "A result over the limit is the function's fault, and never arrives truncated."
            running_too_long_is_a_timeout:
                "A function that exceeds its timeout is ended and named as such, invoked or submitted: it is not retried \
                 blindly."
            a_function_that_was_timed_out_does_not_run_on:
                "A function that was ended for its time stops: what runs on costs money, and writes into what the next \
                 attempt has begun."
            a_crash_is_reported_and_the_next_call_works:
                "A process that ends is a crash of the function, and the next invocation gets a fresh one: one \
                 bad input spoils no run."
        }
        logs {
            what_a_function_prints_is_its_log:
                "What a function prints to stdout and stderr is found by its activation, which is how it is \
                 debugged; a platform without logs says Unsupported."
        }
        submit {
            a_submitted_invocation_is_collected:
                "The result comes through collect under the id that submit gave, which is all that a driver \
                 keeps."
            a_thousand_submissions_are_each_collected_exactly_once:
                "A thousand activations are collected in batches, none missing, none twice, each with its own \
                 result: totals stand on it."
            collecting_unknown_ids_is_no_news:
                "An id that the platform does not know is neither finished nor gone, and no error: records come late."
            collect_does_not_wait_for_what_runs:
                "collect returns at once and says when to ask again, so that one loop can serve thousands."
            collect_reports_only_what_was_asked_for:
                "Two callers share a platform: results of one never reach the other, and are kept for their owner."
            a_released_activation_is_not_reported_again:
                "After release no answer to others names it, also when it finishes later: who asked for it has \
                 forgotten it."
            abandoning_one_leaves_the_others_alone:
                "Release as abandoned stops at most what it names, since others wait for the rest."
            a_dropped_collect_loses_nothing:
                "collect may be dropped at any await: later calls report what it had found."
            a_dropped_submit_leaves_the_platform_usable:
                "Dropping submit, which is how it is cancelled, leaves at most an activation that nobody asks \
                 for."
            function_errors_are_collected_too:
                "A function that fails after submit fails as after invoke, with kind and words: executors repeat \
                 by them."
            submitted_payloads_have_their_limit:
                "The limit for submissions in capabilities() is inclusive and true, and one byte more is \
                 refused: it is often narrower than that of invoke."
            a_lost_activation_is_reported_as_gone:
                "An activation that the provider knows is lost is gone, so that executors need not wait for it."
            results_delivered_twice_are_harmless:
                "A provider that delivers twice makes no wrong result, no error and no answer for a released id."
            another_process_collects_what_was_submitted:
                "A second platform collects by the ids alone what the first one has submitted: a run that was killed goes \
                 on in another process."
            a_unique_attempt_that_is_submitted_again_runs_once:
                "Where capabilities().resubmit says so, an attempt that is unique has one activation, however often and \
                 by which process it is submitted: what was being sent when a driver died is sent again."
            a_submission_whose_answer_was_lost_is_found:
                "find_submitted returns the activation of a submission whose answer was lost, and none for what was never \
                 sent: a resumed run goes on with the one, and must not call the other one known. submit does not send it \
                 again by itself."
            a_platform_that_cannot_submit_says_so:
                "Without capabilities().submit, submit and collect are Unsupported, so that executors fall back."
        }
        errors {
            throttling_keeps_its_kind:
                "A refusal for rate or concurrency is Throttled, retryable, and nothing ran: congestion control lives \
                 on it."
            a_throttled_call_is_sent_once:
                "invoke does not repeat a throttled call by itself: hidden from congestion control, throttling grows."
            a_throttled_submission_is_sent_once:
                "submit does not repeat a throttled call by itself either: its refusals are what congestion control counts."
            a_call_whose_answer_was_lost_may_have_run:
                "A call whose connection breaks before the answer may have run, and says so; the platform does not send it \
                 again by itself, since it would run, and be paid for, twice."
            wrong_credentials_are_unauthorized:
                "Credentials that are not accepted are Unauthorized or Forbidden, not retryable, and say what to \
                 do, since only the user can."
            an_error_says_where_it_comes_from:
                "Errors name platform, operation and function, also those that are made before anything is sent, so that a \
                 line in a log is enough."
            every_operation_names_itself_in_its_errors:
                "Whichever operation the provider refuses, its error names the platform, the trait's method and the \
                 function: a log of a thousand calls is read by them."
            secrets_appear_nowhere:
                "No secret of configuration or environment is in Debug, errors or stored deployments: these \
                 travel further than secrets may."
            a_provider_that_cannot_be_reached_is_unreachable:
                "When connections are refused, every operation ends as Unavailable and unreachable, and an invocation \
                 certainly did not run: layers wait until the provider is back, and then send it."
            a_call_to_a_silent_peer_can_be_dropped:
                "A provider that hangs blocks nothing: the call can be dropped, and an error that the platform makes \
                 of it says that the function may have run."
        }
    } };
}

crate::__conformance_cases! { __conformance_table }
