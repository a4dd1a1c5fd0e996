//! How an execution ends before its invocations do.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{Event, ExecutionStrategy, Monitor, Verdict};
use falco_executors::{ExecutionOptions, RepeatPolicy, SequentialExecutor};
use falco_testkit::{Fate, Fates, InMemory, Latency, Settings};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fixture::{
    Journal, count, executors, invocation, invocations, ms, platform, target, target_of, tick,
    until,
};
use super::spy::Spy;

fn slow() -> Settings {
    Settings { latency: Latency::fixed(Duration::from_secs(10)), ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_token_makes_all_that_was_taken_in_cancelled_at_once() {
    let token = CancellationToken::new();
    let mut running = Vec::new();
    for executor in executors(&ExecutionOptions::default()) {
        let platform = platform(slow());
        let target = until(target(&platform).await, &token);
        running.push((executor.execute(target, invocations(0..100)), platform));
    }
    sleep(ms(1_000)).await;
    let cancelled_at = Instant::now();
    token.cancel();
    for (completions, platform) in running {
        let admitted = platform.counters().started as usize;
        let completions: Vec<_> = completions.collect().await;
        assert_eq!(count(&completions, "cancelled"), completions.len());
        assert_eq!(completions.len(), admitted);
        assert!(completions.iter().all(|c| c.latency.as_secs() == 1 && c.attempts == 1));
        assert_eq!(platform.counters().running, 0);
        assert_eq!(platform.counters().unreleased, 0);
    }
    assert_eq!(cancelled_at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_target_makes_all_that_was_taken_in_cancelled_at_once() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform = platform(slow());
        let target = target(&platform).await.with_stop(|| sleep(ms(500)));
        let completions: Vec<_> = executor.execute(target, invocations(0..100)).collect().await;
        assert!(!completions.is_empty());
        assert_eq!(count(&completions, "cancelled"), completions.len(), "{executor:?}");
        assert_eq!(platform.counters().running, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_is_stopped_before_it_begins_takes_nothing_in() {
    let token = CancellationToken::new();
    token.cancel();
    for executor in executors(&ExecutionOptions::default()) {
        let platform = platform(slow());
        let target = until(target(&platform).await, &token);
        let completions = executor.execute(target, invocations(0..10));
        assert_eq!(completions.count().await, 0, "{executor:?}");
        assert_eq!(platform.counters().started, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_another_attempt_is_cancelled_too() {
    let hourly = RepeatPolicy::constant(3, Duration::from_secs(3600));
    for nth in 0..3 {
        let token = CancellationToken::new();
        let options = ExecutionOptions::default().with_repeat_failed(hourly);
        let executor = &executors(&options)[nth];
        let fates = Fates::of_invocation("0000", Fate::raise());
        let platform = platform(Settings { fates, ..Settings::default() });
        let target = until(target(&platform).await, &token);
        let mut completions = executor.execute(target, invocations(0..1));
        assert!(tokio::time::timeout(ms(1000), completions.next()).await.is_err());
        token.cancel();
        let completion = completions.next().await.unwrap();
        assert_eq!((completion.outcome.as_str(), completion.attempts), ("cancelled", 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_the_first_invocation_and_ends_what_is_in_flight() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform = platform(slow());
        let target = target(&platform).await.with_deadline(Some(Duration::from_secs(15)));
        // The upstream takes its time; that is not this stage's.
        let inputs = stream::iter(0..100).then(|id| async move {
            if id == 0 {
                sleep(Duration::from_secs(60)).await;
            }
            invocation(id)
        });
        let begun = Instant::now();
        let completions: Vec<_> = executor.execute(target, inputs.boxed()).collect().await;
        assert_eq!(begun.elapsed().as_secs(), 75, "{executor:?}");
        let succeeded = count(&completions, "succeeded");
        assert!(succeeded > 0, "{executor:?}");
        assert_eq!(count(&completions, "deadline exceeded"), completions.len() - succeeded);
        assert!(completions.len() < 100);
        assert_eq!(platform.counters().running, 0);
        assert_eq!(platform.counters().unreleased, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_stage_comes_before_that_of_the_executor() {
    for (of_target, of_options, holds) in [(3, 30, 3), (30, 3, 30)] {
        let options = ExecutionOptions::default().with_deadline(Duration::from_secs(of_options));
        for executor in executors(&options) {
            let platform = platform(slow());
            let target =
                target(&platform).await.with_deadline(Some(Duration::from_secs(of_target)));
            let begun = Instant::now();
            executor.execute(target, invocations(0..100)).count().await;
            assert_eq!(begun.elapsed().as_secs(), holds, "{executor:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_completions_stop_everything_one_tick_later() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform = Arc::new(Spy::new(InMemory::new(slow())));
        let completions = executor.execute(target_of(platform.clone()).await, invocations(0..100));
        sleep(ms(1_000)).await;
        assert!(platform.in_use() > 0, "{executor:?}");
        drop(completions);
        tick().await;
        assert_eq!(platform.in_use(), 0, "{executor:?}");
        let counters = platform.inner.counters();
        assert_eq!((counters.running, counters.unreleased, counters.taken), (0, 0, 0));
        assert_eq!(platform.journal.count("released Taken"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_inputs_are_dropped_as_soon_as_nothing_more_is_admitted() {
    for nth in 0..3 {
        let token = CancellationToken::new();
        let executor = &executors(&ExecutionOptions::default())[nth];
        let platform = platform(slow());
        let (sender, receiver) = tokio::sync::mpsc::channel::<usize>(100);
        let inputs = stream::unfold(receiver, |mut receiver| async {
            Some((invocation(receiver.recv().await?), receiver))
        });
        sender.send(0).await.unwrap();
        let target = until(target(&platform).await, &token);
        let completions = executor.execute(target, inputs.boxed());
        sleep(ms(100)).await;
        assert!(!sender.is_closed());
        token.cancel();
        sender.closed().await;
        assert_eq!(completions.count().await, 1);
    }
}

/// Panics at a certain event.
#[derive(Debug)]
struct Fragile(&'static str);

impl Monitor for Fragile {
    fn event(&self, event: &Event<'_>) -> Verdict {
        assert!(!format!("{event:?}").starts_with(self.0), "the monitor panics");
        Verdict::Continue
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_monitor_reaches_the_consumer_and_leaves_nothing_behind() {
    for event in ["Admitted", "Attempt", "Completed"] {
        for executor in executors(&ExecutionOptions::default()) {
            let platform = Arc::new(Spy::new(InMemory::new(slow())));
            let target = target_of(platform.clone()).await;
            let monitor = Arc::new(Fragile(event));
            let inputs = stream::iter(0..10).map(move |id| match id {
                1 => invocation(id).with_monitor(monitor.clone()),
                _ => invocation(id),
            });
            let completions = executor.execute(target, inputs.boxed());
            let panic = AssertUnwindSafe(completions.count()).catch_unwind().await.unwrap_err();
            assert_eq!(*panic.downcast::<&str>().unwrap(), "the monitor panics", "{event}");
            assert_eq!(platform.in_use(), 0, "{executor:?}");
            assert_eq!(platform.inner.counters().running, 0, "{executor:?}");
            assert_eq!(platform.inner.counters().unreleased, 0, "{executor:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn completions_that_were_there_before_a_panic_are_not_lost() {
    let platform = platform(Settings::default());
    let inputs = stream::iter(0..4).map(|id| {
        assert!(id < 3, "no more inputs");
        invocation(id)
    });
    let executor = SequentialExecutor::new();
    let mut completions = executor.execute(target(&platform).await, inputs.boxed());
    let mut seen = 0;
    let end = AssertUnwindSafe(async {
        while completions.next().await.is_some() {
            seen += 1;
        }
    });
    assert!(end.catch_unwind().await.is_err());
    assert_eq!(seen, 3);
    assert!(completions.next().await.is_none(), "a stream that has panicked has ended");
}

// The laws all run on one thread and on paused time; these two don't.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_laws_hold_on_several_threads() {
    let journal = Arc::new(Journal::default());
    for executor in executors(&ExecutionOptions::default()) {
        let platform = platform(Settings { latency: Latency::fixed(ms(1)), ..Settings::default() });
        let monitor = journal.clone();
        let inputs =
            stream::iter(0..200).map(move |id| invocation(id).with_monitor(monitor.clone()));
        let completions = executor.execute(target(&platform).await, inputs.boxed());
        assert_eq!(completions.count().await, 200);
        assert_eq!(platform.counters().unreleased, 0);
    }
    assert_eq!((journal.count("admitted"), journal.count("completed")), (600, 600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_dropped_on_another_thread_stop_everything_too() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform = Arc::new(Spy::new(InMemory::new(slow())));
        let completions = executor.execute(target_of(platform.clone()).await, invocations(0..100));
        while platform.in_use() == 0 {
            sleep(ms(1)).await;
        }
        drop(completions);
        // What is in flight would take ten seconds.
        let stopped = async {
            while platform.in_use() > 0 || platform.inner.counters().running > 0 {
                sleep(ms(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(9), stopped).await.is_ok());
        assert_eq!(platform.inner.counters().taken, 0, "{executor:?}");
    }
}
