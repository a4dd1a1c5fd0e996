//! Tests of submitting and collecting.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{
    AsyncPlatform, Batch, Completion, Error, ErrorKind, ExecutionStrategy, Payload, Pending,
    StagePolicy,
};
use falco_executors::{AsyncExecutor, ExecutionOptions, OnFailure, ParallelExecutor, Patience};
use falco_testkit::{Fate, Fates, InMemory, Latency, Operation, Settings};
use futures_util::{FutureExt as _, StreamExt, stream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fixture::{
    Journal, count, deployed, error, executors, idempotent, invocation, invocations, ms, platform,
    target, target_of, until,
};
use super::spy::Spy;

#[tokio::test(start_paused = true)]
async fn one_collect_answers_for_many_while_submitting_goes_on() {
    let platform = platform(Settings {
        latency: Latency::fixed(ms(1_000)),
        poll_after: Some(ms(500)),
        ..Settings::default()
    });
    let executor = AsyncExecutor::with_window(100).unwrap();
    let begun = Instant::now();
    let completions = executor.execute(target(&platform).await, invocations(0..1_000));
    assert_eq!(completions.count().await, 1_000);
    // Ten windows of a second each; each is asked about at 0, 0.5 and 1 s.
    assert!((10..=16).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let counters = platform.counters();
    assert_eq!((counters.submits, counters.invokes, counters.peak_running), (1_000, 0, 100));
    assert!(counters.collects <= 32, "{} collects", counters.collects);
    assert_eq!((counters.taken, counters.abandoned, counters.unreleased), (1_000, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_asynchronous_executor_invokes_where_the_platform_cannot_submit() {
    let platform = platform(Settings {
        capabilities: Settings::default().capabilities.with_submit(false),
        ..Settings::default()
    });
    let completions: Vec<_> =
        AsyncExecutor::new().execute(target(&platform).await, invocations(0..20)).collect().await;
    assert_eq!(count(&completions, "succeeded"), 20);
    assert_eq!((platform.counters().invokes, platform.counters().submits), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_ignored_and_reported() {
    let platform = platform(Settings { duplicates: 1.0, ..Settings::default() });
    let journal = Arc::new(Journal::default());
    let monitor = journal.clone();
    let inputs = stream::iter(0..30).map(move |id| invocation(id).with_monitor(monitor.clone()));
    let completions = AsyncExecutor::new().execute(target(&platform).await, inputs.boxed());
    assert_eq!(completions.count().await, 30);
    assert_eq!((journal.count("completed"), journal.count("duplicate")), (30, 30));
}

#[tokio::test(start_paused = true)]
async fn an_activation_is_released_after_its_completion_was_reported() {
    let platform = Arc::new(Spy::new(InMemory::new(Settings::default())));
    let inputs = stream::iter([invocation(1).with_monitor(platform.journal.clone())]).boxed();
    let completions = AsyncExecutor::new().execute(target_of(platform.clone()).await, inputs);
    assert_eq!(completions.count().await, 1);
    assert_eq!(
        platform.journal.entries(),
        [
            "admitted 0001",
            "attempt 0001 1 First",
            "submitted 0001",
            "completed 0001 succeeded",
            "released Taken"
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_an_earlier_process_is_taken_unless_a_stop_has_kept_back_inputs() {
    for (is_stopped, taken) in [(false, 1), (true, 0)] {
        let platform = platform(Settings::default());
        let target = target(&platform).await;
        let members = vec![invocation(0), invocation(1)];
        let limits = r#"{"ms": 15000, "bytes": 100000, "mark": "0a1b2c3d"}"#;
        let batch = format!(r#"{{"falco:batch": [{{}}, {{}}], "falco:limits": {limits}}}"#);
        let batch = members[0].clone().with_payload(Payload::from_bytes(batch).unwrap());
        let batch = batch.with_members(members);
        let batch = platform.submit(&target.deployment, &batch).await.unwrap();
        // Nobody asks for the second input.
        let first = Pending::new(batch.id.of_member(0), batch.submitted_at);
        let (end, ends) = oneshot::channel::<()>();
        let token = CancellationToken::new();
        let stop = token.clone();
        let inputs = stream::iter([invocation(0).with_submitted(first)]);
        // A run that is stopped takes in no more inputs, as if there were none.
        let end_of_inputs = stream::once(ends.map(move |_| is_stopped.then(|| stop.cancel())));
        let inputs = inputs.chain(end_of_inputs.filter_map(|_| async { None }));
        let policy = StagePolicy::default().with_batch(Batch::of(2));
        let target = until(target.with_policy(policy), &token);
        let mut completions = AsyncExecutor::new().execute(target, inputs.boxed());
        assert!(completions.next().await.unwrap().is_success());
        end.send(()).unwrap();
        assert!(completions.next().await.is_none());
        let counters = platform.counters();
        assert_eq!((counters.taken, counters.unreleased), (taken, 1 - taken), "{is_stopped}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_collect_that_fails_or_panics_fails_no_invocation() {
    // Only both together say that the layers have waited for an answer as long as they may.
    let unanswered = Error::new(ErrorKind::Unavailable, "no route").with_unreachable(true);
    let exhausted = Error::new(ErrorKind::Unavailable, "ill").into_exhausted();
    let refusals = [unanswered, exhausted].map(Fate::Refuse);
    for fate in refusals.into_iter().chain([Fate::unavailable(), Fate::Panic]) {
        let platform = platform(Settings {
            fates: Fates::by(move |call| match call.operation {
                Operation::Collect if call.number <= 5 => fate.clone(),
                _ => Fate::Serve,
            }),
            ..Settings::default()
        });
        let completions: Vec<_> = AsyncExecutor::new()
            .execute(target(&platform).await, invocations(0..10))
            .collect()
            .await;
        assert_eq!(count(&completions, "succeeded"), 10);
        // The pauses grow: 0.1, 0.2, 0.4, .. seconds.
        assert!(completions.iter().all(|c| c.latency >= ms(3_000)), "{completions:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_layers_have_given_up_on_the_platform_all_activations_are_given_up() {
    let away = Error::new(ErrorKind::Unavailable, "no route").with_unreachable(true);
    let away = Fate::Refuse(away.into_exhausted());
    let platform = platform(Settings {
        fates: Fates::by(move |call| match call.operation {
            Operation::Collect => away.clone(),
            _ => Fate::Serve,
        }),
        ..Settings::default()
    });
    let begun = Instant::now();
    let completions: Vec<_> =
        AsyncExecutor::new().execute(target(&platform).await, invocations(0..10)).collect().await;
    assert_eq!((completions.len(), count(&completions, "succeeded")), (10, 0));
    // They are not waited for as long as patience lasts.
    assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_collect_that_was_throttled_is_repeated_when_the_platform_says() {
    let wait = Duration::from_secs(30);
    let platform = platform(Settings {
        fates: Fates::by(move |call| match call.operation {
            Operation::Collect if call.number == 1 => Fate::throttle(Some(wait)),
            _ => Fate::Serve,
        }),
        ..Settings::default()
    });
    let completions = AsyncExecutor::new().execute(target(&platform).await, invocations(0..1));
    let completions: Vec<_> = completions.collect().await;
    assert_eq!(seconds(&completions[0]), 30);
    assert_eq!(platform.counters().collects, 2);
}

#[tokio::test(start_paused = true)]
async fn the_pause_after_a_collect_that_failed_is_short_again_after_one_that_did_not() {
    let platform = platform(Settings {
        latency: Latency::fixed(Duration::from_secs(20)),
        poll_after: Some(ms(10)),
        fates: Fates::by(|call| match call.operation {
            Operation::Collect if call.number % 2 == 1 => Fate::unavailable(),
            _ => Fate::Serve,
        }),
        ..Settings::default()
    });
    let completions = AsyncExecutor::new().execute(target(&platform).await, invocations(0..1));
    let completions: Vec<_> = completions.collect().await;
    assert!(completions[0].latency < ms(20_500), "{:?}", completions[0].latency);
}

/// The latency to the second. The time of acceptance is wall time, which runs on while time is paused.
fn seconds(completion: &Completion) -> u64 {
    completion.latency.as_secs_f64().round() as u64
}

#[tokio::test(start_paused = true)]
async fn patience_is_the_functions_timeout_and_a_margin() {
    // The fixture's function may run for a minute.
    let patience = Patience::default().with_margin(Duration::from_secs(30));
    let shorter = patience.with_function_timeout(Duration::from_secs(10));
    for (patience, expected) in [(Patience::default(), 360), (patience, 90), (shorter, 40)] {
        let fates = Fates::of_invocation("0002", Fate::Lose);
        let platform = platform(Settings { fates, ..Settings::default() });
        let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
        let executor = AsyncExecutor::new().with_patience(patience).with_options(options);
        let completions: Vec<_> =
            executor.execute(target(&platform).await, invocations(0..4)).collect().await;
        assert_eq!(count(&completions, "succeeded"), 3);
        let lost = completions.iter().find(|c| c.invocation == "0002").unwrap();
        assert_eq!(lost.outcome.as_str(), "unknown");
        assert_eq!(seconds(lost), expected);
        assert_eq!(error(lost).kind(), ErrorKind::Lost);
        assert!(error(lost).hint().unwrap().contains("patience"), "{}", error(lost));
        assert_eq!(platform.counters().unreleased, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn patience_ends_although_a_collect_never_returns() {
    let fates = Fates::by(|call| match call.operation {
        Operation::Collect => Fate::Hang,
        _ => Fate::Serve,
    });
    let platform = platform(Settings { fates, ..Settings::default() });
    let executor = AsyncExecutor::new();
    let completion =
        executor.execute(target(&platform).await, invocations(0..1)).next().await.unwrap();
    assert_eq!((completion.outcome.as_str(), seconds(&completion)), ("unknown", 660));
}

#[tokio::test(start_paused = true)]
async fn what_the_platform_knows_to_be_gone_is_lost_at_once() {
    let fates = Fates::sequence([Fate::Vanish]);
    let platform = platform(Settings { fates, ..Settings::default() });
    let executor = AsyncExecutor::new();
    let mut completions = executor.execute(target(&platform).await, idempotent(0..1));
    let completion = completions.next().await.unwrap();
    assert_eq!((completion.outcome.as_str(), completion.attempts), ("succeeded", 2));
    assert!(completion.latency < Duration::from_secs(5), "{:?}", completion.latency);
}

#[tokio::test(start_paused = true)]
async fn what_the_platform_fails_to_run_after_accepting_it_is_sent_again_where_that_is_safe() {
    let refused = Error::new(ErrorKind::Throttled, "too many").with_retry_after(ms(9_000));
    let started =
        Error::new(ErrorKind::Unavailable, "whisk internal error").with_may_have_run(true);
    let wrong = Error::new(ErrorKind::InvalidInput, "no such runtime");
    for (error, is_idempotent, outcome, attempts) in [
        (&refused, false, "succeeded", 2),
        (&refused, true, "succeeded", 2),
        (&started, false, "unknown", 1),
        (&started, true, "succeeded", 2),
        (&wrong, true, "platform failed", 1),
    ] {
        let fates = Fates::sequence([Fate::FailLate(error.clone())]);
        let platform = platform(Settings { fates, ..Settings::default() });
        let journal = Arc::new(Journal::default());
        let first = invocation(1).with_idempotent(is_idempotent).with_monitor(journal.clone());
        let target = target(&platform).await;
        let executor = AsyncExecutor::new();
        let mut completions = executor.execute(target, stream::iter([first]).boxed());
        let completion = completions.next().await.unwrap();
        let found = (completion.outcome.as_str(), completion.attempts);
        assert_eq!(found, (outcome, attempts), "{error} {is_idempotent}");
        let heard = journal.count(&format!("call failed 0001 {}", error.kind()));
        assert_eq!(heard, 1, "{:?}", journal.entries());
        if let (Some(wait), 2) = (error.retry_after(), attempts) {
            assert!(completion.latency >= wait, "{:?}", completion.latency);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_submitted_is_collected_and_not_sent() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform =
            platform(Settings { latency: Latency::fixed(ms(500)), ..Settings::default() });
        let deployment = deployed(&platform).await;
        let pending = platform.submit(&deployment, &invocation(1)).await.unwrap();
        let journal = Arc::new(Journal::default());
        let resumed = invocation(1).with_submitted(pending).with_monitor(journal.clone());
        let target = falco_core::Target::new(platform.clone(), deployment);
        let completions = executor.execute(target, stream::iter([resumed]).boxed());
        let completions: Vec<_> = completions.collect().await;
        assert_eq!(count(&completions, "succeeded"), 1, "{executor:?}");
        assert_eq!(completions[0].attempts, 1);
        assert_eq!(platform.counters().started, 1, "{executor:?}");
        assert_eq!(platform.counters().unreleased, 0, "{executor:?}");
        assert_eq!(journal.entries(), ["admitted 0001", "completed 0001 succeeded"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_long_ago_gets_the_margin() {
    let platform = platform(Settings::default());
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    let resumed = invocation(1).with_submitted(Pending::new("from-yesterday", yesterday));
    let patience = Patience::default().with_margin(Duration::from_secs(20));
    let executor = AsyncExecutor::new().with_patience(patience);
    let inputs = stream::iter([resumed]).boxed();
    let completion = executor.execute(target(&platform).await, inputs).next().await.unwrap();
    assert_eq!((completion.outcome.as_str(), seconds(&completion)), ("unknown", 20));
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_and_cannot_be_collected_is_lost_at_once() {
    let platform = platform(Settings {
        capabilities: Settings::default().capabilities.with_submit(false),
        ..Settings::default()
    });
    let pending = Pending::new("elsewhere", SystemTime::now());
    let inputs = [
        invocation(1).with_submitted(pending.clone()),
        invocation(2)
            .with_submitted(Pending::new("other", pending.submitted_at))
            .with_idempotent(true),
    ];
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let executor = ParallelExecutor::new().with_options(options);
    let completions = executor.execute(target(&platform).await, stream::iter(inputs).boxed());
    let completions: Vec<_> = completions.collect().await;
    assert_eq!(completions[0].outcome.as_str(), "unknown");
    assert!(error(&completions[0]).to_string().contains("cannot be collected"));
    assert_eq!((completions[1].outcome.as_str(), completions[1].attempts), ("succeeded", 2));
}

#[tokio::test(start_paused = true)]
async fn two_activations_of_one_id_are_not_mixed_up() {
    let platform = platform(Settings::default());
    let deployment = deployed(&platform).await;
    let pending = platform.submit(&deployment, &invocation(1)).await.unwrap();
    let inputs = [1, 2].map(|id| invocation(id).with_submitted(pending.clone()));
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let executor = AsyncExecutor::new().with_options(options);
    let target = falco_core::Target::new(platform.clone(), deployment);
    let completions: Vec<_> =
        executor.execute(target, stream::iter(inputs).boxed()).collect().await;
    assert_eq!(count(&completions, "succeeded"), 1);
    assert_eq!(count(&completions, "unknown"), 1);
    let unknown = completions.iter().find(|c| !c.is_success()).unwrap();
    assert_eq!(error(unknown).kind(), ErrorKind::Protocol);
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_asks_for_no_pause_is_not_asked_in_a_busy_loop() {
    let platform = platform(Settings {
        latency: Latency::fixed(Duration::from_secs(10)),
        poll_after: Some(Duration::ZERO),
        ..Settings::default()
    });
    let begun = Instant::now();
    let executor = AsyncExecutor::new();
    let completions = executor.execute(target(&platform).await, invocations(0..1));
    assert_eq!(completions.count().await, 1);
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert!(platform.counters().collects < 3_000, "{}", platform.counters().collects);
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_asks_for_a_short_pause_is_asked_after_it_although_there_was_no_news() {
    let platform = platform(Settings {
        latency: Latency::fixed(ms(100)),
        poll_after: Some(ms(1)),
        ..Settings::default()
    });
    let completions = AsyncExecutor::new().execute(target(&platform).await, invocations(0..1));
    assert_eq!(completions.count().await, 1);
    assert!(platform.counters().collects > 40, "{}", platform.counters().collects);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_collected_while_nothing_is_pending() {
    let platform = platform(Settings::default());
    let inputs = stream::iter(0..2).then(|id| async move {
        sleep(Duration::from_secs(3600)).await;
        invocation(id)
    });
    let completions = AsyncExecutor::new().execute(target(&platform).await, inputs.boxed());
    assert_eq!(completions.count().await, 2);
    assert!(platform.counters().collects <= 4, "{}", platform.counters().collects);
}
