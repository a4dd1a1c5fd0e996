//! Submission out of calls that are held open.

use std::sync::Arc;
use std::time::Duration;

use falco_core::*;
use falco_layers::{Held, HeldPolicy, Part, Share, Spread, Stack};
use falco_testkit::{Fate, Fates, InMemory, Latency, Line, Outages, Settings};
use tokio::time::Instant;

use crate::support::*;

async fn held(platform: Arc<InMemory>, max_calls: u32) -> (Held<Arc<InMemory>>, Deployment) {
    let held = Held::new(platform, HeldPolicy::default().with_max_calls(max_calls));
    let deployment = deployed(&held).await;
    (held, deployment)
}

async fn collect(held: &impl AsyncPlatform, d: &Deployment, pending: &[Pending]) -> Collected {
    held.collect(d, pending).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn results_are_reported_until_they_are_released() {
    let (held, d) = held(slow(secs(5)), 10).await;
    assert!(held.capabilities().submit);
    let pending = [held.submit(&d, &invocation("a")).await.unwrap()];
    assert!(collect(&held, &d, &pending).await.finished.is_empty());
    tokio::time::sleep(secs(5)).await;
    for _ in 0..2 {
        let finished = collect(&held, &d, &pending).await.finished;
        assert_eq!(finished.len(), 1);
        assert_eq!(finished[0].id, pending[0].id);
    }
    held.release(&d, &[pending[0].id.clone()], Release::Taken);
    let collected = collect(&held, &d, &pending).await;
    assert!(collected.finished.is_empty() && collected.gone.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_seen_within_milliseconds() {
    let (held, d) = held(slow(millis(150)), 10).await;
    let began = Instant::now();
    let pending = [held.submit(&d, &invocation("a")).await.unwrap()];
    loop {
        let collected = collect(&held, &d, &pending).await;
        if !collected.finished.is_empty() {
            break;
        }
        tokio::time::sleep(collected.poll_after).await;
    }
    assert!(began.elapsed() <= millis(155), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_of_submit() {
    let (held, d) = held(fated(Fates::sequence([Fate::throttle(Some(secs(3)))])), 10).await;
    let error = held.submit(&d, &invocation("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Throttled, Some(secs(3))));
    assert!(!error.may_have_run());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_later_is_gone_and_collect_says_why() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(secs(2)),
        fates: Fates::sequence([Fate::reset()]),
        ..Settings::default()
    }));
    let (held, d) = held(platform, 10).await;
    let pending = [held.submit(&d, &invocation("a")).await.unwrap()];
    tokio::time::sleep(secs(3)).await;
    let collected = collect(&held, &d, &pending).await;
    let (id, error) = &collected.gone[0];
    assert_eq!((id, error.kind()), (&pending[0].id, ErrorKind::Unavailable));
    assert!(error.may_have_run() && error.operation() == Some("collect"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_platform_is_a_call_that_is_gone_or_refused() {
    let (held, d) = held(fated(Fates::sequence([Fate::Panic])), 10).await;
    let error = held.submit(&d, &invocation("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(held.submit(&d, &invocation("b")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_open_than_allowed() {
    let platform = slow(secs(1));
    let (held, d) = held(Arc::clone(&platform), 3).await;
    let invocations: Vec<_> = (0..12).map(|i| invocation(&i.to_string())).collect();
    let began = Instant::now();
    let submissions = invocations.iter().map(|i| held.submit(&d, i));
    let pending: Vec<_> = futures_util::future::try_join_all(submissions).await.unwrap();
    assert_eq!(began.elapsed(), millis(3100));
    assert_eq!(platform.counters().peak_running, 3);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(collect(&held, &d, &pending).await.finished.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_is_ended() {
    let platform = slow(secs(3600));
    let (held, d) = held(Arc::clone(&platform), 1).await;
    let pending = held.submit(&d, &invocation("a")).await.unwrap();
    assert_eq!(platform.counters().running, 1);
    held.release(&d, &[pending.id], Release::Abandoned);
    tokio::task::yield_now().await;
    assert_eq!(platform.counters().running, 0);
    // Its slot is free again.
    held.submit(&d, &invocation("b")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_submit_and_a_dropped_platform_leave_nothing_behind() {
    let platform = slow(secs(3600));
    let (held, d) = held(Arc::clone(&platform), 5).await;
    let dropped = invocation("a");
    let submit = held.submit(&d, &dropped);
    assert!(tokio::time::timeout(millis(10), submit).await.is_err());
    tokio::task::yield_now().await;
    assert_eq!(platform.counters().running, 0);
    held.submit(&d, &invocation("b")).await.unwrap();
    assert_eq!(platform.counters().running, 1);
    drop(held);
    tokio::task::yield_now().await;
    assert_eq!(platform.counters().running, 0);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_held_is_gone() {
    let (held, d) = held(slow(secs(1)), 5).await;
    let foreign = [Pending::new("held-0-1", std::time::SystemTime::UNIX_EPOCH)];
    assert_eq!(collect(&held, &d, &foreign).await.gone.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn logs_are_found_by_the_held_id() {
    let platform = Arc::new(InMemory::default().with_function("python:3", |call| {
        falco_testkit::Reply::succeeded(call.payload().clone()).printing("hello")
    }));
    let (held, d) = held(platform, 5).await;
    let pending = held.submit(&d, &invocation("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let logs = held.activation_log(&d, std::slice::from_ref(&pending.id)).await.unwrap();
    assert_eq!(logs[0].id, pending.id);
    assert_eq!(logs[0].lines[0].text, "hello");
}

#[tokio::test(start_paused = true)]
async fn the_logs_of_calls_that_failed_can_be_asked_for_after_their_release() {
    let platform = Arc::new(InMemory::default().with_function("python:3", |call| {
        let error = FunctionError::new(FunctionErrorKind::Raised, "bad luck");
        falco_testkit::Reply::failed(error).printing(call.payload().as_str())
    }));
    let (held, d) = held(platform, 5).await;
    let mut ids = Vec::new();
    // One more than are kept.
    for number in 0..1_025 {
        let payload = Payload::json(&serde_json::json!({ "n": number })).unwrap();
        let invocation = invocation("a").with_payload(payload);
        let pending = held.submit(&d, &invocation).await.unwrap();
        assert_eq!(collect(&held, &d, std::slice::from_ref(&pending)).await.finished.len(), 1);
        held.release(&d, std::slice::from_ref(&pending.id), Release::Taken);
        ids.push(pending.id);
    }
    let asked = [ids[0].clone(), ids[1].clone(), ids[1_024].clone()];
    let logs = held.activation_log(&d, &asked).await.unwrap();
    let logs: Vec<_> = logs.iter().map(|log| (&log.id, log.lines[0].text.as_str())).collect();
    assert_eq!(logs, [(&ids[1], r#"{"n":1}"#), (&ids[1_024], r#"{"n":1024}"#)]);
}

#[tokio::test(start_paused = true)]
async fn calls_to_functions_in_turns_each_reach_their_own() {
    let platform = Arc::new(InMemory::default().with_function("python:3", |call| {
        let is_g = serde_json::json!({"is_g": call.env.get("G").is_some()});
        falco_testkit::Reply::succeeded(Payload::json(&is_g).unwrap())
    }));
    let (held, f) = held(platform, 5).await;
    let g = held.deploy(&function().with_name("g").with_env("G", "1")).await.unwrap();
    for function in [&f, &g, &g, &f] {
        let pending = [held.submit(function, &invocation("a")).await.unwrap()];
        let finished = collect(&held, function, &pending).await.finished;
        let answer: serde_json::Value = finished[0].outcome.as_ref().unwrap().parse().unwrap();
        assert_eq!(answer["is_g"], function.name == "g");
    }
}

#[tokio::test(start_paused = true)]
async fn many_calls_are_asked_for_less_often_than_few() {
    let (held, d) = held(slow(secs(1)), 5).await;
    for (calls, pause) in [(0, 2), (500, 3), (4_000, 10)] {
        let pending = vec![Pending::new("held", std::time::SystemTime::UNIX_EPOCH); calls];
        assert_eq!(collect(&held, &d, &pending).await.poll_after, millis(pause));
    }
}

#[test]
fn a_runtime_that_is_shut_down_takes_the_calls_with_it() {
    for workers in [0, 2] {
        let mut builder = match workers {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.enable_time().build().unwrap();
        let platform = slow(secs(3600));
        let counted = Arc::clone(&platform);
        runtime.block_on(async move {
            let (held, d) = held(platform, 100).await;
            let invocations: Vec<_> = (0..50).map(|i| invocation(&i.to_string())).collect();
            let submissions = invocations.iter().map(|i| held.submit(&d, i));
            futures_util::future::try_join_all(submissions).await.unwrap();
            // The last clone is dropped by the shut-down itself.
            tokio::spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
        });
        assert_eq!(counted.counters().running, 50);
        drop(runtime);
        assert_eq!(counted.counters().running, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_spread_that_was_away_is_back_when_it_accepts_a_call_but_not_when_it_holds_one()
{
    for (stack, line, next) in [
        (Stack::new(), Line::Up, "a"),
        (Stack::new().with_held(HeldPolicy::default()), Line::Hung, "b"),
    ] {
        let part = Arc::new(Outages::new(InMemory::default()));
        let parts = [Part::new(part.clone()).named("a"), Part::new(slow(secs(1))).named("b")];
        let spread = Spread::with_stack(Share::Overflow, parts, &stack).unwrap();
        let deployment = deployed(&spread).await;
        let place_of = async |id: &str| {
            let pending = spread.submit(&deployment, &invocation(id)).await.unwrap();
            pending.id.as_str()[..1].to_owned()
        };
        part.set(Line::Cut);
        assert_eq!(place_of("0").await, "b");
        part.set(line);
        tokio::time::sleep(millis(600)).await;
        assert_eq!(place_of("1").await, "a", "it tries whether the part is back");
        assert_eq!(place_of("2").await, next, "{line:?}");
    }
}
