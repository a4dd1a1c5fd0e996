//! Tests of the promises of the platform in memory.

use std::time::Duration;

use falco_core::{
    AsyncPlatform, Deployable, Deployment, ErrorKind, FunctionErrorKind, Invocation, Payload,
    Pending, Platform, Release, Scaling,
};
use falco_testkit::{Fate, Fates, InMemory, Latency, Odds, Operation, Reply, Settings};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

async fn deployed(platform: &InMemory) -> Deployment {
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), "def main(args): ..");
    platform.deploy(&function).await.unwrap()
}

fn invocation(n: u32) -> Invocation {
    Invocation::new(
        "run",
        "stage",
        n.to_string(),
        Payload::json(&[("n", n)].into_iter().collect::<std::collections::BTreeMap<_, _>>())
            .unwrap(),
    )
}

fn slow() -> Settings {
    Settings { latency: Latency::fixed(SECOND), ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn an_invoke_takes_its_latency_on_tokios_clock() {
    let platform = InMemory::new(slow());
    let f = deployed(&platform).await;
    let begin = Instant::now();
    let activation = platform.invoke(&f, &invocation(1)).await.unwrap();
    assert_eq!(begin.elapsed(), SECOND);
    assert_eq!(activation.execution, Some(SECOND));
    let wall = activation.ended_at.unwrap().duration_since(activation.started_at.unwrap());
    assert_eq!(wall.unwrap(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_invoke_stops_at_once() {
    let platform = InMemory::new(slow());
    let f = deployed(&platform).await;
    let (first, second) = (invocation(1), invocation(2));
    timeout(SECOND / 2, async {
        tokio::join!(platform.invoke(&f, &first), platform.invoke(&f, &second))
    })
    .await
    .unwrap_err();
    let counters = platform.counters();
    assert_eq!((counters.running, counters.peak_running), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_submitted_activation_is_reported_until_it_is_released() {
    let platform = InMemory::new(slow());
    let f = deployed(&platform).await;
    let pending = [platform.submit(&f, &invocation(1)).await.unwrap()];
    let early = platform.collect(&f, &pending).await.unwrap();
    assert!(early.finished.is_empty() && early.gone.is_empty());
    assert_eq!((early.poll_after, platform.counters().running), (SECOND, 1));

    sleep(early.poll_after).await;
    for _ in 0..2 {
        let collected = platform.collect(&f, &pending).await.unwrap();
        assert_eq!(collected.finished[0].id, pending[0].id);
    }
    assert_eq!((platform.counters().running, platform.counters().unreleased), (0, 1));
    platform.release(&f, &[pending[0].id.clone()], Release::Taken);
    assert!(platform.collect(&f, &pending).await.unwrap().finished.is_empty());
    assert_eq!((platform.counters().taken, platform.counters().unreleased), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_activation_stops_running_and_frees_its_place() {
    let platform = InMemory::new(Settings { capacity: Some(1), ..slow() });
    let f = deployed(&platform).await;
    let pending = platform.submit(&f, &invocation(1)).await.unwrap();
    let full = platform.submit(&f, &invocation(2)).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Throttled);
    platform.release(&f, std::slice::from_ref(&pending.id), Release::Abandoned);
    assert_eq!((platform.counters().running, platform.counters().abandoned), (0, 1));
    platform.submit(&f, &invocation(3)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_have_no_outcome() {
    let platform = InMemory::default();
    let f = deployed(&platform).await;
    let unknown = [
        Pending::new("m-77", std::time::SystemTime::now()),
        Pending::new("?", std::time::SystemTime::now()),
    ];
    let collected = platform.collect(&f, &unknown).await.unwrap();
    assert!(collected.finished.is_empty() && collected.gone.is_empty());
    assert!(collected.poll_after > Duration::ZERO, "a busy loop would stop paused time");
    platform.release(&f, &["m-77".into(), "?".into()], Release::Taken);
    assert_eq!(platform.counters().taken, 0);
}

#[tokio::test(start_paused = true)]
async fn lost_records_never_appear_and_gone_ones_are_reported() {
    let fates = Fates::sequence([Fate::Lose, Fate::Vanish, Fate::Serve]);
    let platform = InMemory::new(Settings { fates, ..slow() });
    let f = deployed(&platform).await;
    let mut pending = Vec::new();
    for n in 0..3 {
        pending.push(platform.submit(&f, &invocation(n)).await.unwrap());
    }
    sleep(SECOND * 3600).await;
    let collected = platform.collect(&f, &pending).await.unwrap();
    assert_eq!(collected.gone.len(), 1);
    let (id, error) = &collected.gone[0];
    assert_eq!((id, error.kind()), (&pending[1].id, ErrorKind::Lost));
    assert_eq!(collected.finished.len(), 1);
    assert_eq!(collected.finished[0].id, pending[2].id);
}

#[tokio::test(start_paused = true)]
async fn a_late_record_shows_after_its_delay_although_the_function_has_ended() {
    let platform = InMemory::new(Settings { record_delay: Latency::fixed(SECOND), ..slow() });
    let f = deployed(&platform).await;
    let pending = [platform.submit(&f, &invocation(1)).await.unwrap()];
    sleep(SECOND).await;
    assert_eq!(platform.counters().running, 0);
    assert!(platform.collect(&f, &pending).await.unwrap().finished.is_empty());
    sleep(SECOND).await;
    assert_eq!(platform.collect(&f, &pending).await.unwrap().finished.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn duplicates_come_in_one_answer() {
    let platform = InMemory::new(Settings { duplicates: 1.0, ..Settings::default() });
    let f = deployed(&platform).await;
    let pending = [platform.submit(&f, &invocation(1)).await.unwrap()];
    assert_eq!(platform.collect(&f, &pending).await.unwrap().finished.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_submission_runs_and_is_never_collected() {
    let platform = InMemory::new(Settings { fates: Fates::sequence([Fate::reset()]), ..slow() });
    let f = deployed(&platform).await;
    let error = platform.submit(&f, &invocation(1)).await.unwrap_err();
    assert!(error.may_have_run());
    assert_eq!((platform.counters().running, platform.counters().unreleased), (1, 0));
    sleep(SECOND).await;
    assert_eq!((platform.counters().running, platform.counters().unreleased), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_activation_is_found_by_the_deployment_that_it_was_submitted_to_and_by_no_other() {
    let platform = InMemory::default()
        .with_function("python", |call| Reply::succeeded(call.payload().clone()).printing("hello"));
    let f = deployed(&platform).await;
    let other = Deployment::new("other", f.runtime.clone());
    let pending = [platform.submit(&f, &invocation(1)).await.unwrap()];
    let ids = [pending[0].id.clone()];
    assert!(platform.collect(&other, &pending).await.unwrap().finished.is_empty());
    assert!(platform.activation_log(&other, &ids).await.unwrap().is_empty());
    platform.release(&other, &ids, Release::Taken);
    assert_eq!((platform.counters().unreleased, platform.counters().taken), (1, 0));
    assert_eq!(platform.collect(&f, &pending).await.unwrap().finished.len(), 1);
    assert_eq!(platform.activation_log(&f, &ids).await.unwrap()[0].lines[0].text, "hello");
    platform.release(&f, &ids, Release::Taken);
    assert_eq!((platform.counters().unreleased, platform.counters().taken), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn throttling_carries_the_wait_that_the_test_has_set() {
    let fates = Fates::sequence([Fate::throttle(Some(SECOND))]);
    let platform = InMemory::new(Settings { fates, ..Settings::default() });
    let f = deployed(&platform).await;
    let error = platform.invoke(&f, &invocation(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Throttled, Some(SECOND)));
    assert_eq!(error.function(), Some("f"));
    assert_eq!(platform.counters().throttled, 1);
    platform.invoke(&f, &invocation(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_function_that_runs_too_long_is_stopped_at_its_timeout() {
    let platform = InMemory::default().with_function("python", |call| {
        Reply::succeeded(call.payload().clone()).after(SECOND * 10)
    });
    let f = deployed(&platform).await;
    let scaling = Scaling::default().with_timeout(SECOND);
    let f = platform.scale(&f, &scaling).await.unwrap();
    let begin = Instant::now();
    let activation = platform.invoke(&f, &invocation(1)).await.unwrap();
    assert_eq!(activation.outcome.unwrap_err().kind, FunctionErrorKind::Timeout);
    assert_eq!(begin.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_cold_once_and_warm_when_it_is_free_again() {
    let platform = InMemory::new(Settings { cold_start: Latency::fixed(SECOND), ..slow() });
    let f = deployed(&platform).await;
    let (one, two) = (invocation(1), invocation(2));
    let (first, second) = tokio::join!(platform.invoke(&f, &one), platform.invoke(&f, &two));
    assert_eq!(first.unwrap().init, Some(SECOND));
    assert_eq!(second.unwrap().cold_start, Some(true));
    let third = platform.invoke(&f, &invocation(3)).await.unwrap();
    assert_eq!((third.cold_start, third.init), (Some(false), None));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_function_gives_its_place_back() {
    let platform = std::sync::Arc::new(
        InMemory::default().with_function("python", |_| -> Reply { panic!("user code") }),
    );
    let f = deployed(&platform).await;
    let shared = std::sync::Arc::clone(&platform);
    let panicked =
        tokio::spawn(async move { shared.invoke(&f, &invocation(1)).await.is_ok() }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(platform.counters().running, 0);
}

#[tokio::test(start_paused = true)]
async fn any_method_can_be_made_to_fail() {
    let fates = Fates::by(|call| match (call.operation, call.number) {
        (Operation::Collect, 1) | (Operation::Remove, 1) => Fate::unavailable(),
        _ => Fate::Serve,
    });
    let platform = InMemory::new(Settings { fates, ..Settings::default() });
    let f = deployed(&platform).await;
    assert_eq!(platform.collect(&f, &[]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    platform.collect(&f, &[]).await.unwrap();
    platform.remove(&f).await.unwrap_err();
    platform.remove(&f).await.unwrap();
    assert_eq!(platform.remove(&f).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn chance_follows_its_odds_and_its_seed() {
    async fn outcomes(seed: u64) -> Vec<bool> {
        let odds = Odds { throttled: 0.2, unavailable: 0.1, ..Odds::default() };
        let fates = Fates::random(seed, odds);
        let platform = InMemory::new(Settings { fates, ..Settings::default() });
        let f = deployed(&platform).await;
        let mut all = Vec::new();
        for n in 0..1_000 {
            all.push(platform.invoke(&f, &invocation(n)).await.is_ok());
        }
        all
    }
    let first = outcomes(1).await;
    let failed = first.iter().filter(|ok| !**ok).count();
    assert!((250..350).contains(&failed), "{failed}");
    assert_eq!(first, outcomes(1).await);
    assert_ne!(first, outcomes(2).await);
}
