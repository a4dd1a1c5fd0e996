//! Tests of admission: when an invocation enters, and in which order it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use falco_core::{ErrorKind, ExecutionStrategy};
use falco_executors::{
    AsyncExecutor, ExecutionOptions, OnFailure, ParallelExecutor, SequentialExecutor,
};
use falco_testkit::{Fate, Fates, Latency, Settings};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::fixture::{
    Journal, count, executors, ids, invocation, invocations, ms, platform, target,
};

#[tokio::test(start_paused = true)]
async fn the_sequential_executor_keeps_the_order() {
    // The later, the faster: whatever ran beside another would overtake it.
    let latency = Latency::by(|i| ms(100 - i.id().as_str().parse::<u64>().unwrap() * 10));
    let platform = platform(Settings { latency, ..Settings::default() });
    let executor = SequentialExecutor::new();
    let completions = executor.execute(target(&platform).await, invocations(0..10));
    assert_eq!(ids(&completions.collect::<Vec<_>>().await), Vec::from_iter(0..10));
    assert_eq!(platform.counters().peak_running, 1);
}

#[tokio::test(start_paused = true)]
async fn the_parallel_executor_fills_its_window_and_returns_the_first_to_finish_first() {
    let latency = Latency::by(|i| ms(1000 - i.id().as_str().parse::<u64>().unwrap() * 100));
    let platform = platform(Settings { latency, ..Settings::default() });
    let executor = ParallelExecutor::with_concurrency(5).unwrap();
    let begun = Instant::now();
    let completions = executor.execute(target(&platform).await, invocations(0..5));
    assert_eq!(ids(&completions.collect::<Vec<_>>().await), [4, 3, 2, 1, 0]);
    assert_eq!(begun.elapsed().as_millis(), 1000);
    assert_eq!(platform.counters().peak_running, 5);
}

#[tokio::test(start_paused = true)]
async fn the_default_concurrency_is_the_platforms_and_64_at_most() {
    for (limit, expected) in [(Some(7), 7), (Some(1000), 64), (None, 64), (Some(0), 1)] {
        let platform = platform(Settings {
            capabilities: Settings::default().capabilities.with_concurrency(limit),
            latency: Latency::fixed(ms(10)),
            ..Settings::default()
        });
        let executor = ParallelExecutor::new();
        let completions = executor.execute(target(&platform).await, invocations(0..200));
        assert_eq!(completions.count().await, 200);
        assert_eq!(platform.counters().peak_running, expected, "{limit:?}");
    }
}

#[test]
fn nothing_at_once_is_refused_with_a_hint() {
    let errors = [ParallelExecutor::with_concurrency(0).err(), AsyncExecutor::with_window(0).err()];
    for error in errors.map(Option::unwrap) {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("must not be zero"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_goes_on_while_nobody_polls_and_nothing_more_is_admitted() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform =
            platform(Settings { latency: Latency::fixed(ms(10)), ..Settings::default() });
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let inputs = stream::iter(0..100).map(move |id| {
            counter.fetch_add(1, Ordering::Relaxed);
            invocation(id)
        });
        let mut completions = executor.execute(target(&platform).await, inputs.boxed());
        sleep(ms(10_000)).await;
        let window = taken.load(Ordering::Relaxed);
        assert_eq!(platform.counters().started, window as u64, "{executor:?}");
        assert_eq!(platform.counters().running, 0, "{executor:?}");
        assert!(window == 1 || window == 4, "{executor:?}");
        // Each completion that is taken makes room for one invocation.
        let first = completions.next().await.unwrap();
        assert!(first.latency < ms(100), "{executor:?}");
        sleep(ms(10_000)).await;
        assert_eq!(taken.load(Ordering::Relaxed), window + 1, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_invocations_there_are_no_completions() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform = platform(Settings::default());
        let completions = executor.execute(target(&platform).await, invocations(0..0));
        assert_eq!(completions.count().await, 0, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_stops_the_rest() {
    let latency = Latency::by(|i| ms(10 + i.id().as_str().parse::<u64>().unwrap()));
    let fates = Fates::of_invocation("0002", Fate::raise());
    for executor in executors(&ExecutionOptions::default()) {
        let settings =
            Settings { latency: latency.clone(), fates: fates.clone(), ..Settings::default() };
        let platform = platform(settings);
        let completions: Vec<_> =
            executor.execute(target(&platform).await, invocations(0..100)).collect().await;
        assert_eq!(count(&completions, "function failed"), 1, "{executor:?}");
        assert_eq!(count(&completions, "succeeded"), 2, "{executor:?}");
        assert_eq!(count(&completions, "cancelled"), completions.len() - 3, "{executor:?}");
        assert!(completions.len() <= 6, "{executor:?} admitted {}", completions.len());
    }
}

#[tokio::test(start_paused = true)]
async fn failures_can_be_left_to_the_report() {
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    for executor in executors(&options) {
        let fates = Fates::by(|call| match call.invocation {
            Some(i) if i.id().as_str().ends_with('5') => Fate::raise(),
            Some(i) if i.id().as_str().ends_with('7') => Fate::unavailable(),
            _ => Fate::Serve,
        });
        let platform = platform(Settings { fates, ..Settings::default() });
        let completions: Vec<_> =
            executor.execute(target(&platform).await, invocations(0..50)).collect().await;
        assert_eq!(count(&completions, "succeeded"), 40, "{executor:?}");
        assert_eq!(count(&completions, "function failed"), 5, "{executor:?}");
        assert_eq!(count(&completions, "platform failed"), 5, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_reports_times_and_cost() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform =
            platform(Settings { latency: Latency::fixed(ms(250)), ..Settings::default() });
        let journal = Arc::new(Journal::default());
        let inputs = stream::iter([invocation(7).with_monitor(journal.clone())]).boxed();
        let begun = std::time::SystemTime::now();
        let completion = executor.execute(target(&platform).await, inputs).next().await.unwrap();
        assert_eq!((completion.run.as_str(), completion.stage.as_str()), ("run", "stage"));
        assert_eq!(completion.attempts, 1);
        assert_eq!(completion.result().unwrap().as_str(), "{}");
        assert!((250..300).contains(&completion.latency.as_millis()), "{executor:?}");
        assert!(completion.requested_at >= begun, "{executor:?}");
        let entries = journal.entries();
        assert_eq!(entries.first().unwrap(), "admitted 0007");
        assert_eq!(entries[1], "attempt 0007 1 First");
        assert_eq!(entries.last().unwrap(), "completed 0007 succeeded");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_takes_its_time_hardly_waits_for_long_invocations() {
    // The window is as large as it has to be for the consumer always to find one.
    for (window, total, pause) in [(64, 1_000, ms(1_000)), (1_000, 8_000, ms(60))] {
        let latency = Latency::fixed(Duration::from_secs(60));
        let platform = platform(Settings { latency, ..Settings::default() });
        let executor = ParallelExecutor::with_concurrency(window).unwrap();
        let inputs = invocations(0..total);
        let begun = Instant::now();
        let completions = executor.execute(target(&platform).await, inputs);
        completions.for_each(|_| sleep(pause)).await;
        let at_least = Duration::from_secs(60) + pause * total as u32;
        let took = begun.elapsed();
        assert!(took < at_least.mul_f64(1.2), "window {window}: {took:?} of {at_least:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_leaves_the_whole_window_to_the_platform() {
    let latency = Latency::by(|i| if i.id().as_str() < "0003" { ms(10) } else { ms(60_000) });
    let platform = platform(Settings { latency, ..Settings::default() });
    // So large that credits come back several at a time.
    let executor = ParallelExecutor::with_concurrency(40).unwrap();
    let completions = executor.execute(target(&platform).await, invocations(0..100));
    let taking = tokio::spawn(completions.count());
    sleep(ms(1_000)).await;
    assert_eq!((platform.counters().started, platform.counters().running), (43, 40));
    taking.abort();
}
