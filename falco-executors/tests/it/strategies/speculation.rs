//! Copies of stragglers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{BoxStream, Completion, ErrorKind, ExecutionStrategy, Invocation, UsDollars};
use falco_executors::{ExecutionOptions, ParallelExecutor, Speculation};
use falco_testkit::{Fate, Fates, InMemory, Latency, Settings};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::fixture::{Journal, executors, invocation, ms, platform, target};

/// Ordinary invocations take 100 ms; the first attempt of number 7 takes 50 s.
fn with_one_straggler() -> Arc<InMemory> {
    let latency = Latency::by(|i| match (i.id().as_str(), i.attempt()) {
        ("0007", 1) => Duration::from_secs(50),
        _ => ms(100),
    });
    platform(Settings { latency, poll_after: Some(ms(10)), ..Settings::default() })
}

fn inputs(idempotent: bool, journal: &Arc<Journal>) -> BoxStream<'static, Invocation> {
    let journal = journal.clone();
    stream::iter(0..20)
        .map(move |id| invocation(id).with_idempotent(idempotent).with_monitor(journal.clone()))
        .boxed()
}

fn options() -> ExecutionOptions {
    ExecutionOptions::default().with_speculation(Speculation::slower_than(3.0).unwrap())
}

fn slowest(completions: &[Completion]) -> &Completion {
    completions.iter().max_by_key(|completion| completion.latency).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_straggler_gets_a_copy_and_the_first_answer_wins() {
    for executor in executors(&options()) {
        let platform = with_one_straggler();
        let journal = Arc::new(Journal::default());
        let completions = executor.execute(target(&platform).await, inputs(true, &journal));
        let completions: Vec<_> = completions.collect().await;
        assert_eq!(completions.iter().filter(|c| c.is_success()).count(), 20, "{executor:?}");
        let slowest = slowest(&completions);
        assert_eq!((slowest.invocation.as_str(), slowest.attempts), ("0007", 2), "{executor:?}");
        assert!(slowest.latency >= ms(300), "{executor:?} {:?}", slowest.latency);
        assert!(slowest.latency < ms(2_000), "{executor:?} {:?}", slowest.latency);
        assert_eq!(journal.count("attempt 0007 2 Straggler"), 1, "{executor:?}");
        assert_eq!(platform.counters().started, 21, "{executor:?}");
        // The loser was let go.
        assert_eq!(platform.counters().running, 0, "{executor:?}");
        assert_eq!(platform.counters().unreleased, 0, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_idempotent_is_never_copied() {
    for executor in executors(&options()) {
        let platform = with_one_straggler();
        let journal = Arc::new(Journal::default());
        let completions = executor.execute(target(&platform).await, inputs(false, &journal));
        assert_eq!(completions.count().await, 20);
        assert_eq!(platform.counters().started, 20, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_copied_unless_asked_for() {
    for executor in executors(&ExecutionOptions::default()) {
        let platform = with_one_straggler();
        let journal = Arc::new(Journal::default());
        let completions = executor.execute(target(&platform).await, inputs(true, &journal));
        assert_eq!(completions.count().await, 20);
        assert_eq!(platform.counters().started, 20, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_does_not_take_the_originals_chance() {
    for executor in executors(&options()) {
        let latency = Latency::by(|i| match (i.id().as_str(), i.attempt()) {
            ("0007", 1) => ms(1_000),
            _ => ms(100),
        });
        let fates = Fates::by(|call| match call.invocation {
            Some(i) if i.id().as_str() == "0007" && i.attempt() == 2 => Fate::raise(),
            _ => Fate::Serve,
        });
        let platform =
            platform(Settings { latency, fates, poll_after: Some(ms(10)), ..Settings::default() });
        let journal = Arc::new(Journal::default());
        let completions = executor.execute(target(&platform).await, inputs(true, &journal));
        let completions: Vec<_> = completions.collect().await;
        let slowest = slowest(&completions);
        assert!(slowest.is_success(), "{executor:?}");
        assert_eq!((slowest.invocation.as_str(), slowest.attempts), ("0007", 2), "{executor:?}");
        assert_eq!(platform.counters().unreleased, 0, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn copies_stay_within_the_window() {
    let latency = Latency::by(|i| match (i.id().as_str() < "0010", i.attempt()) {
        (false, 1) => ms(2_000),
        _ => ms(100),
    });
    for executor in executors(&options()) {
        let platform = platform(Settings {
            latency: latency.clone(),
            poll_after: Some(ms(10)),
            ..Settings::default()
        });
        let journal = Arc::new(Journal::default());
        let completions = executor.execute(target(&platform).await, inputs(true, &journal));
        assert_eq!(completions.count().await, 20);
        assert!(
            journal.count("attempt") > 20,
            "{executor:?} {:?} {:?}",
            journal.entries(),
            platform.counters()
        );
        // The sequential executor's window of one has room for a copy anyway.
        assert!(platform.counters().peak_running <= 4, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_answers_at_the_same_time_are_one_completion_and_a_duplicate() {
    let end = Mutex::new(None);
    let latency = Latency::by(move |i| match i.id().as_str() {
        "0007" => {
            let now = Instant::now();
            *end.lock().unwrap().get_or_insert(now + Duration::from_secs(1)) - now
        }
        _ => ms(100),
    });
    let (poll_after, cost) = (Some(ms(10)), Some(UsDollars(1.0)));
    let platform = platform(Settings { latency, poll_after, cost, ..Settings::default() });
    let journal = Arc::new(Journal::default());
    let [sequential, ..] = executors(&options());
    let completions = sequential.execute(target(&platform).await, inputs(true, &journal));
    let costs: Vec<_> = completions.map(|completion| completion.cost.unwrap().0).collect().await;
    assert_eq!(costs.len(), 20);
    assert!((costs.iter().sum::<f64>() - 21.0).abs() < 1e-9, "the copy is paid for: {costs:?}");
    assert_eq!(journal.count("completed"), 20);
    assert_eq!(journal.count("attempt 0007"), 2);
    assert_eq!(journal.count("duplicate"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_comes_late_finds_the_answer_of_the_copy() {
    for executor in executors(&options()) {
        let latency = Latency::by(|i| match (i.id().as_str(), i.attempt()) {
            ("0019", 1) => Duration::from_secs(50),
            _ => ms(100),
        });
        let platform =
            platform(Settings { latency, poll_after: Some(ms(10)), ..Settings::default() });
        let journal = Arc::new(Journal::default());
        let mut completions = executor.execute(target(&platform).await, inputs(true, &journal));
        // The last ones fill the window while nobody takes them, and then only the straggler is in flight.
        for _ in 0..16 {
            completions.next().await.unwrap();
        }
        sleep(Duration::from_secs(5)).await;
        let rest: Vec<_> = completions.collect().await;
        assert_eq!(rest.len(), 4, "{executor:?}");
        assert!(slowest(&rest).latency < Duration::from_secs(6), "{executor:?}");
    }
}

#[test]
fn a_factor_that_would_copy_everything_is_refused() {
    for factor in [1.0, 0.0, -3.0, f64::NAN, f64::INFINITY] {
        let error = Speculation::slower_than(factor).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test(start_paused = true)]
async fn copies_take_their_turn_while_other_invocations_wait_for_room() {
    let [_, others @ ..] = executors(&options());
    for executor in others {
        let platform = with_one_straggler();
        let journal = Arc::new(Journal::default());
        let monitor = journal.clone();
        let inputs = stream::iter(0..100)
            .map(move |id| invocation(id).with_idempotent(true).with_monitor(monitor.clone()));
        let completions = executor.execute(target(&platform).await, inputs.boxed());
        assert_eq!(completions.count().await, 100);
        let entries = journal.entries();
        let copied = entries.iter().position(|entry| entry.ends_with("Straggler")).unwrap();
        let last = entries.iter().position(|entry| entry == "admitted 0099").unwrap();
        assert!(copied < last, "{executor:?}");
        assert_eq!(platform.counters().peak_running, 4, "{executor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_straggler_that_answers_before_there_is_room_for_its_copy_leaves_the_room_to_others() {
    let executor = ParallelExecutor::with_concurrency(4).unwrap().with_options(options());
    // The window is full of stragglers, and more would like to come in.
    let latency = Latency::by(|i| match i.id().as_str() {
        "0012" | "0013" | "0014" | "0015" => ms(400),
        _ => ms(100),
    });
    let platform = platform(Settings { latency, ..Settings::default() });
    let inputs = stream::iter((0..116).map(|id| invocation(id).with_idempotent(true)));
    let begun = Instant::now();
    let completions = executor.execute(target(&platform).await, inputs.boxed());
    assert_eq!(completions.count().await, 116);
    assert_eq!(platform.counters().started, 116);
    assert_eq!(begun.elapsed(), ms(3 * 100 + 400 + 25 * 100));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_answers_within_milliseconds_is_not_a_straggler() {
    // What is collected takes longer.
    let [sequential, parallel, _] = executors(&options());
    for executor in [sequential, parallel] {
        let latency = Latency::by(|i| if i.id().as_str() == "0019" { ms(9) } else { ms(1) });
        let platform = platform(Settings { latency, ..Settings::default() });
        let inputs = inputs(true, &Arc::default());
        assert_eq!(executor.execute(target(&platform).await, inputs).count().await, 20);
        assert_eq!(platform.counters().started, 20, "{executor:?}");
    }
}
