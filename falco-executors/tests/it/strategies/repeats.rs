//! Tests of repeats: the invocations that are sent again, and those that must not be.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    BoxStream, Completion, Error, ErrorKind, ExecutionStrategy, Invocation, Outcome, UsDollars,
};
use falco_executors::{AsyncExecutor, ExecutionOptions, OnFailure, ParallelExecutor, RepeatPolicy};
use falco_testkit::{Fate, Fates, InMemory, Settings};
use futures_util::{StreamExt, stream};

use super::fixture::{Journal, error, executors, invocation, ms, platform, target};

fn twice() -> RepeatPolicy {
    RepeatPolicy::constant(2, ms(100))
}

fn one(idempotent: bool, journal: &Arc<Journal>) -> BoxStream<'static, Invocation> {
    let invocation = invocation(1).with_idempotent(idempotent).with_monitor(journal.clone());
    stream::iter([invocation]).boxed()
}

async fn run(
    executor: &dyn ExecutionStrategy,
    fates: Fates,
    idempotent: bool,
) -> (Completion, Arc<Journal>, Arc<InMemory>) {
    let cost = Some(UsDollars(1.0));
    let platform = platform(Settings { fates, cost, ..Settings::default() });
    let journal = Arc::new(Journal::default());
    let target = target(&platform).await;
    let completion = executor.execute(target, one(idempotent, &journal)).next().await.unwrap();
    (completion, journal, platform)
}

#[tokio::test(start_paused = true)]
async fn the_cost_of_attempts_is_reported_even_if_none_succeeded() {
    let options = ExecutionOptions::default().with_repeat_failed(twice()).with_deadline(ms(150));
    for executor in executors(&options) {
        let fates = Fates::by(|_| Fate::raise());
        let (completion, ..) = run(&*executor, fates, false).await;
        assert!(matches!(completion.outcome, Outcome::DeadlineExceeded), "{completion:?}");
        assert_eq!((completion.attempts, completion.cost), (2, Some(UsDollars(2.0))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_failed_is_sent_again_after_a_pause() {
    let options = ExecutionOptions::default().with_repeat_failed(twice());
    for executor in executors(&options) {
        let fates = Fates::sequence([Fate::raise(), Fate::raise()]);
        let (completion, journal, platform) = run(&*executor, fates, false).await;
        assert!(completion.is_success(), "{executor:?}");
        assert_eq!((completion.attempts, completion.cost), (3, Some(UsDollars(3.0))));
        assert!(completion.latency >= ms(200), "{executor:?}");
        assert_eq!(platform.counters().unreleased, 0);
        let attempts: Vec<_> = journal
            .entries()
            .into_iter()
            .filter(|entry| entry.starts_with("attempt") || entry.starts_with("waiting"))
            .collect();
        assert_eq!(
            attempts,
            [
                "attempt 0001 1 First",
                "waiting 0001 BackOff 100ms",
                "attempt 0001 2 FunctionFailed",
                "waiting 0001 BackOff 100ms",
                "attempt 0001 3 FunctionFailed",
            ],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_goes_on_failing_ends_as_failed() {
    let options = ExecutionOptions::default().with_repeat_failed(twice());
    for executor in executors(&options) {
        let fates = Fates::of_invocation("0001", Fate::raise());
        let (completion, ..) = run(&*executor, fates, true).await;
        assert_eq!(completion.outcome.as_str(), "function failed");
        assert_eq!(completion.attempts, 3, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn function_errors_are_not_repeated_unless_asked_for() {
    for executor in executors(&ExecutionOptions::default()) {
        let fates = Fates::sequence([Fate::raise()]);
        let (completion, ..) = run(&*executor, fates, true).await;
        assert_eq!((completion.outcome.as_str(), completion.attempts), ("function failed", 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_on_the_way_leaves_an_invocation_unknown_and_it_is_never_sent_again() {
    let options = ExecutionOptions::default().with_repeat_failed(twice()).with_repeat_lost(twice());
    for executor in executors(&options) {
        let fates = Fates::of_invocation("0001", Fate::reset());
        let (completion, journal, platform) = run(&*executor, fates, false).await;
        assert_eq!(
            (completion.outcome.as_str(), completion.attempts),
            ("unknown", 1),
            "{executor:?}"
        );
        assert_eq!(error(&completion).message(), "connection reset");
        assert_eq!(journal.count("call failed 0001 unavailable"), 1);
        assert_eq!(platform.counters().started, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_invocation_is_sent_again_and_is_unknown_only_when_nothing_is_left_to_try() {
    let options = ExecutionOptions::default().with_repeat_lost(twice());
    for executor in executors(&options) {
        let fates = Fates::sequence([Fate::reset()]);
        let (completion, journal, _) = run(&*executor, fates, true).await;
        assert!(completion.is_success(), "{executor:?}");
        assert_eq!(completion.attempts, 2);
        assert_eq!(journal.count("attempt 0001 2 CallFailed"), 1, "{:?}", journal.entries());

        let (completion, ..) =
            run(&*executor, Fates::of_invocation("0001", Fate::reset()), true).await;
        assert_eq!((completion.outcome.as_str(), completion.attempts), ("unknown", 3));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_did_not_run_are_left_to_the_retry_layer() {
    let options = ExecutionOptions::default().with_repeat_failed(twice()).with_repeat_lost(twice());
    for executor in executors(&options) {
        let (completion, _, platform) =
            run(&*executor, Fates::sequence([Fate::throttle(None)]), true).await;
        assert_eq!((completion.outcome.as_str(), completion.attempts), ("platform failed", 1));
        assert_eq!(error(&completion).kind(), ErrorKind::Throttled, "{executor:?}");
        assert_eq!(platform.counters().started, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_has_given_up_on_is_not_tried_again() {
    let reset = Error::new(ErrorKind::Timeout, "no answer").into_exhausted();
    let executor = ParallelExecutor::new();
    let fates = Fates::sequence([Fate::LoseAnswer(reset)]);
    let (completion, ..) = run(&executor, fates, true).await;
    assert_eq!((completion.outcome.as_str(), completion.attempts), ("unknown", 1));
}

#[tokio::test(start_paused = true)]
async fn the_platforms_suggested_wait_is_kept() {
    let options = ExecutionOptions::default().with_repeat_lost(twice());
    let reset =
        Error::new(ErrorKind::Timeout, "no answer").with_retry_after(Duration::from_secs(9));
    let executor = ParallelExecutor::new().with_options(options);
    let (completion, ..) = run(&executor, Fates::sequence([Fate::LoseAnswer(reset)]), true).await;
    assert!(completion.is_success());
    assert_eq!(completion.latency.as_secs(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_platform_fails_the_invocation_that_it_belongs_to() {
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    for executor in executors(&options) {
        let platform = platform(Settings {
            fates: Fates::of_invocation("0003", Fate::Panic),
            ..Settings::default()
        });
        let inputs = stream::iter((0..10).map(|id| invocation(id).with_idempotent(true))).boxed();
        let completions: Vec<_> = executor.execute(target(&platform).await, inputs).collect().await;
        assert_eq!(completions.len(), 10, "{executor:?}");
        let failed: Vec<_> = completions.iter().filter(|c| !c.is_success()).collect();
        assert_eq!(failed.len(), 1, "{executor:?}");
        assert_eq!(failed[0].invocation, "0003");
        assert_eq!(failed[0].outcome.as_str(), "platform failed");
        assert_eq!(error(failed[0]).kind(), ErrorKind::Panicked);
        assert!(error(failed[0]).message().contains("panics on purpose"), "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_activations_are_sent_again_only_when_that_does_no_harm() {
    let options = ExecutionOptions::default().with_repeat_lost(twice());
    for fate in [Fate::Lose, Fate::Vanish] {
        let executor = AsyncExecutor::new().with_options(options.clone());
        let (completion, ..) = run(&executor, Fates::sequence([fate.clone()]), false).await;
        assert_eq!((completion.outcome.as_str(), completion.attempts), ("unknown", 1), "{fate:?}");
        assert_eq!(error(&completion).kind(), ErrorKind::Lost);

        let (completion, journal, _) = run(&executor, Fates::sequence([fate.clone()]), true).await;
        assert!(completion.is_success(), "{fate:?}");
        assert_eq!(journal.count("attempt 0001 2 Lost"), 1, "{:?}", journal.entries());
    }
}

#[tokio::test(start_paused = true)]
async fn monitors_see_the_answer_of_every_attempt() {
    let options = ExecutionOptions::default().with_repeat_failed(twice());
    for executor in executors(&options) {
        let fates = Fates::sequence([Fate::raise(), Fate::raise()]);
        let (completion, journal, _) = run(&*executor, fates, false).await;
        assert!(completion.is_success(), "{executor:?}");
        assert_eq!(journal.answers(), ["1 failure", "2 failure", "3 result"], "{executor:?}");
    }
}
