//! The calls that are sent again, when, and how often.

use std::sync::Arc;
use std::time::Duration;

use falco_core::*;
use falco_layers::{Retry, RetryBudget, RetryPolicy};
use falco_testkit::{Fate, Fates, InMemory, Operation};
use tokio::time::Instant;

use crate::support::*;

fn policy() -> RetryPolicy {
    RetryPolicy::default().with_attempts(3).with_min_delay(millis(100))
}

fn retrying(fates: Fates, policy: RetryPolicy) -> (Arc<InMemory>, Retry<Arc<InMemory>>) {
    let platform = fated(fates);
    (Arc::clone(&platform), Retry::new(platform, policy).with_seed(1))
}

/// Every invocation meets this fate.
fn always(fate: Fate) -> Fates {
    Fates::by(move |call| match call.invocation {
        Some(_) => fate.clone(),
        None => Fate::Serve,
    })
}

fn error(kind: ErrorKind) -> Fate {
    Fate::Refuse(Error::new(kind, "on purpose"))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_did_not_run_is_sent_again() {
    let (platform, retry) = retrying(Fates::sequence([Fate::unavailable()]), policy());
    let deployment = deployed(&retry).await;
    assert!(retry.invoke(&deployment, &invocation("a")).await.unwrap().is_success());
    assert_eq!(platform.counters().invokes, 2);
    assert!(retry.submit(&deployment, &invocation("b")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_run_is_sent_again_only_if_that_does_no_harm() {
    let (platform, retry) = retrying(Fates::sequence([Fate::reset(), Fate::reset()]), policy());
    let deployment = deployed(&retry).await;
    let error = retry.invoke(&deployment, &invocation("a")).await.unwrap_err();
    assert!(error.may_have_run() && !error.is_exhausted());
    assert_eq!(platform.counters().invokes, 1);
    assert!(retry.invoke(&deployment, &invocation("b").with_idempotent(true)).await.is_ok());
    assert_eq!(platform.counters().invokes, 3);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_retried() {
    for kind in [ErrorKind::InvalidInput, ErrorKind::Unauthorized, ErrorKind::NotFound] {
        let (platform, retry) = retrying(Fates::sequence([error(kind)]), policy());
        let deployment = deployed(&retry).await;
        let failure = retry.invoke(&deployment, &invocation("a").with_idempotent(true)).await;
        assert_eq!(failure.unwrap_err().kind(), kind);
        assert_eq!(platform.counters().invokes, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_fails_is_an_answer() {
    let (platform, retry) = retrying(Fates::sequence([Fate::raise()]), policy());
    let deployment = deployed(&retry).await;
    let activation =
        retry.invoke(&deployment, &invocation("a").with_idempotent(true)).await.unwrap();
    assert!(!activation.is_success());
    assert_eq!(platform.counters().invokes, 1);
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_no_outer_layer_tries_again() {
    let (platform, inner) = retrying(always(Fate::unavailable()), policy());
    let outer = Retry::new(inner, policy());
    let deployment = deployed(&outer).await;
    let error = outer.invoke(&deployment, &invocation("a")).await.unwrap_err();
    assert!(error.is_exhausted() && !error.is_retryable());
    assert_eq!(platform.counters().invokes, 3);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_have_a_random_part_and_repeat_with_the_seed() {
    let mut sequences = Vec::new();
    for seed in [7, 7, 8] {
        let attempts = policy().with_attempts(5).with_max_delay(millis(400));
        let platform = fated(always(Fate::unavailable()));
        let retry = Retry::new(platform, attempts).with_seed(seed);
        let deployment = deployed(&retry).await;
        let recorder = Recorder::new();
        let watched = invocation("a").with_monitor(recorder.clone());
        let began = Instant::now();
        assert!(retry.invoke(&deployment, &watched).await.is_err());
        // Delays of 100, 200, 400, 400 ms, each with up to as much again.
        assert!((millis(1100)..=millis(2204)).contains(&began.elapsed()), "{:?}", began.elapsed());
        sequences.push(recorder.lines());
    }
    assert_eq!(sequences[0], sequences[1]);
    assert_ne!(sequences[0], sequences[2]);
}

#[tokio::test(start_paused = true)]
async fn the_platforms_suggested_wait_is_kept() {
    let throttled = Fate::throttle(Some(secs(42)));
    let (_, retry) = retrying(Fates::sequence([throttled]), policy());
    let deployment = deployed(&retry).await;
    let began = Instant::now();
    retry.invoke(&deployment, &invocation("a")).await.unwrap();
    assert!((secs(42)..secs(43)).contains(&began.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_may_start_when_the_time_allowed_ends_and_none_later() {
    let limited = policy().with_max_elapsed(secs(10));
    for (wait, elapsed) in [(4, 8), (5, 10), (6, 6)] {
        let (platform, retry) = retrying(always(Fate::throttle(Some(secs(wait)))), limited);
        let deployment = deployed(&retry).await;
        let began = Instant::now();
        let error = retry.invoke(&deployment, &invocation("a")).await.unwrap_err();
        assert!(error.is_exhausted());
        assert_eq!(platform.counters().invokes, elapsed / wait + 1);
        assert_eq!(began.elapsed(), secs(elapsed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_that_waits_for_the_budget_gives_up_in_time_too() {
    let budget = RetryBudget::default().with_share(0.0).with_per_second(0.0).with_reserve(0);
    for (limit, least, most) in [(Some(secs(10)), secs(1), secs(10)), (None, secs(500), secs(2000))]
    {
        let limited = RetryPolicy::default().with_max_elapsed(limit).with_budget(budget);
        let (platform, retry) = retrying(always(Fate::throttle(None)), limited);
        let deployment = deployed(&retry).await;
        let began = Instant::now();
        let error = retry.invoke(&deployment, &invocation("a")).await.unwrap_err();
        assert!(error.is_exhausted());
        assert!((least..=most).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(platform.counters().invokes, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_tried_more_often_than_a_failed_one() {
    let fates = (0..20).map(|_| Fate::throttle(None));
    let (platform, retry) = retrying(Fates::sequence(fates), policy());
    let deployment = deployed(&retry).await;
    assert!(retry.invoke(&deployment, &invocation("a")).await.is_ok());
    assert_eq!(platform.counters().invokes, 21);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_retries_are_a_share_of_the_traffic() {
    let budget = RetryBudget::default().with_share(0.2).with_per_second(0.0).with_reserve(10);
    let (platform, retry) = retrying(always(Fate::unavailable()), policy().with_budget(budget));
    let deployment = deployed(&retry).await;
    for i in 0..1000 {
        assert!(retry.invoke(&deployment, &invocation(&i.to_string())).await.is_err());
    }
    let retries = platform.counters().invokes - 1000;
    assert!((190..=211).contains(&retries), "{retries} retries");
}

#[tokio::test(start_paused = true)]
async fn first_attempts_pay_for_retries_of_throttled_calls_too() {
    let budget = RetryBudget::default().with_share(1.0).with_per_second(0.0).with_reserve(1);
    let fates = Fates::by(|call| match call.operation {
        Operation::Invoke if call.number % 2 == 1 => Fate::throttle(None),
        _ => Fate::Serve,
    });
    let (platform, retry) = retrying(fates, policy().with_budget(budget));
    let deployment = deployed(&retry).await;
    for _ in 0..20 {
        retry.invoke(&deployment, &invocation("a")).await.unwrap();
    }
    assert_eq!(platform.counters().invokes, 40);
}

#[tokio::test(start_paused = true)]
async fn status_queries_that_succeed_pay_for_no_retries_of_invocations() {
    let budget = RetryBudget::default().with_share(0.2).with_per_second(0.0).with_reserve(10);
    let fates = Fates::by(|call| match call.operation {
        Operation::Submit => Fate::unavailable(),
        _ => Fate::Serve,
    });
    let (platform, retry) = retrying(fates, policy().with_budget(budget));
    let deployment = deployed(&retry).await;
    for i in 0..200 {
        assert!(retry.submit(&deployment, &invocation(&i.to_string())).await.is_err());
        for _ in 0..20 {
            retry.collect(&deployment, &[]).await.unwrap();
        }
    }
    let retries = platform.counters().submits - 200;
    assert!((40..=51).contains(&retries), "{retries} retries");
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_slows_throttled_calls_down_and_does_not_fail_them() {
    let budget = RetryBudget::default().with_share(0.0).with_per_second(1.0).with_reserve(1);
    let until = Instant::now() + secs(30);
    let fates = Fates::by(move |call| match call.operation {
        Operation::Invoke if Instant::now() < until => Fate::throttle(None),
        _ => Fate::Serve,
    });
    let (platform, retry) = retrying(fates, policy().with_budget(budget));
    let deployment = deployed(&retry).await;
    let calls = (0..20).map(|i| {
        let (retry, deployment) = (retry.clone(), deployment.clone());
        tokio::spawn(async move { retry.invoke(&deployment, &invocation(&i.to_string())).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap().is_ok());
    }
    // 20 calls of their own, about one retry a second while it lasts, and the 20 that are served.
    let sent = platform.counters().invokes;
    assert!((40..=85).contains(&sent), "{sent} calls");
}

#[tokio::test(start_paused = true)]
async fn throttled_invocations_that_a_gate_paces_need_no_budget_and_all_others_do() {
    let budget = RetryBudget::default().with_share(0.0).with_per_second(0.0).with_reserve(0);
    let refusing = |operation: Operation, fate: &Fate| {
        let fate = fate.clone();
        Fates::by(move |call| match call.operation == operation && call.number <= 3 {
            true => fate.clone(),
            false => Fate::Serve,
        })
    };
    let policy = policy().with_budget(budget).with_throttled_attempts(5);
    for (fate, is_paced, is_sent_again) in [
        (Fate::throttle(None), true, true),
        (Fate::throttle(None), false, false),
        (Fate::unavailable(), true, false),
    ] {
        let (platform, retry) = retrying(refusing(Operation::Invoke, &fate), policy);
        let retry = retry.with_paced_attempts(is_paced);
        let deployment = deployed(&retry).await;
        let answer = retry.invoke(&deployment, &invocation("a")).await;
        assert_eq!(answer.is_ok(), is_sent_again, "{fate:?}, paced: {is_paced}");
        assert_eq!(platform.counters().invokes, if is_sent_again { 4 } else { 1 });
        // No gate paces deployments.
        let (_, retry) = retrying(refusing(Operation::Deploy, &fate), policy);
        let deployed = retry.with_paced_attempts(is_paced).deploy(&function()).await;
        assert!(deployed.unwrap_err().is_exhausted());
    }
}

#[tokio::test(start_paused = true)]
async fn each_failure_pause_and_attempt_is_seen_and_the_last_failure_is_left_to_the_caller() {
    let (_, retry) = retrying(
        always(Fate::throttle(Some(secs(1)))),
        policy().with_throttled_attempts(3).with_max_delay(millis(100)),
    );
    let recorder = Recorder::new();
    let watched = invocation("a").with_monitor(recorder.clone());
    let deployment = deployed(&retry).await;
    assert!(retry.invoke(&deployment, &watched).await.is_err());
    let attempt = ["failed: throttled", "waiting: Platform 1s", "attempt: CallFailed"];
    assert_eq!(recorder.lines(), [attempt, attempt].concat());
}

#[tokio::test(start_paused = true)]
async fn operations_that_are_idempotent_by_contract_are_repeated_too() {
    let operations = [
        Operation::Deploy,
        Operation::FetchDeployment,
        Operation::ListDeployments,
        Operation::Scale,
        Operation::Collect,
        Operation::ActivationLog,
    ];
    for operation in operations {
        let fates = Fates::by(move |call| match call.number {
            1 if call.operation == operation => Fate::reset(),
            _ => Fate::Serve,
        });
        let (_, retry) = retrying(fates, policy());
        let deployment = deployed(&retry).await;
        let done = match operation {
            Operation::Deploy => Ok(()),
            Operation::FetchDeployment => retry.fetch_deployment("f").await.map(drop),
            Operation::ListDeployments => retry.list_deployments().await.map(drop),
            Operation::Scale => retry.scale(&deployment, &Scaling::default()).await.map(drop),
            Operation::Collect => retry.collect(&deployment, &[]).await.map(drop),
            _ => retry.activation_log(&deployment, &[]).await.map(drop),
        };
        assert!(done.is_ok(), "{operation:?}: {done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn removing_what_a_lost_answer_has_removed_already_is_a_success() {
    let fates = Fates::by(|call| match (call.operation, call.number) {
        (Operation::Remove, 1) => Fate::reset(),
        _ => Fate::Serve,
    });
    let (platform, retry) = retrying(fates, policy());
    let deployment = deployed(&retry).await;
    retry.remove(&deployment).await.unwrap();
    assert_eq!(platform.counters().removes, 2);
    let error = retry.remove(&deployment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_not_tried_again() {
    let (platform, retry) = retrying(always(Fate::unavailable()), policy());
    let deployment = deployed(&retry).await;
    let invocation = invocation("a");
    let call = retry.invoke(&deployment, &invocation);
    assert!(tokio::time::timeout(millis(50), call).await.is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(platform.counters().invokes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_end_is_cut_short_and_breaks_no_sum() {
    let throttled = || Fates::sequence([Fate::throttle(Some(Duration::MAX))]);
    let (_, retry) = retrying(throttled(), policy());
    let deployment = deployed(&retry).await;
    let recorder = Recorder::new();
    let watched = invocation("a").with_monitor(recorder.clone());
    let began = Instant::now();
    retry.invoke(&deployment, &watched).await.unwrap();
    assert_eq!(began.elapsed(), secs(15 * 60));
    assert_eq!(recorder.count("waiting: Platform 900s"), 1, "{:?}", recorder.lines());

    for limit in [
        policy().with_max_elapsed(Duration::MAX),
        policy().with_min_delay(Duration::MAX).with_max_elapsed(Duration::MAX),
    ] {
        let (_, retry) = retrying(throttled(), limit);
        let deployment = deployed(&retry).await;
        let invocation = invocation("a");
        let call = retry.invoke(&deployment, &invocation);
        let _ = tokio::time::timeout(secs(3600), call).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_that_is_negative_or_no_number_adds_nothing_and_takes_nothing() {
    for share in [-1.0, f64::NAN] {
        let budget = RetryBudget::default().with_share(share).with_per_second(1.0).with_reserve(1);
        let fates = Fates::by(|call| match (call.operation, call.number) {
            (Operation::Invoke, 101 | 103 | 104) => Fate::unavailable(),
            _ => Fate::Serve,
        });
        let (_, retry) = retrying(fates, policy().with_budget(budget));
        let deployment = deployed(&retry).await;
        for _ in 0..100 {
            retry.invoke(&deployment, &invocation("a")).await.unwrap();
        }
        // The retry that was there at first is still there, and there is only one.
        retry.invoke(&deployment, &invocation("a")).await.unwrap();
        assert!(retry.invoke(&deployment, &invocation("a")).await.is_err(), "{share}");
    }
}

#[tokio::test(start_paused = true)]
async fn clones_share_a_budget() {
    let budget = RetryBudget::default().with_share(0.0).with_per_second(0.0).with_reserve(3);
    let (platform, retry) = retrying(always(Fate::unavailable()), policy().with_budget(budget));
    let deployment = deployed(&retry).await;
    for clone in [retry.clone(), retry.clone(), retry] {
        assert!(clone.invoke(&deployment, &invocation("a")).await.is_err());
    }
    assert_eq!(platform.counters().invokes, 3 + 3);
}

#[test]
fn retries_are_attempts_besides_the_first_and_none_are_none() {
    assert_eq!(RetryPolicy::with_retries(0), RetryPolicy::none());
    let attempts = |retries| {
        let policy = RetryPolicy::with_retries(retries);
        (policy.attempts, policy.throttled_attempts)
    };
    assert_eq!(attempts(2), (3, 50));
    assert_eq!(attempts(99), (100, 100));
    assert_eq!(attempts(u32::MAX), (u32::MAX, u32::MAX));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_tries_once_leaves_the_retries_to_an_outer_one() {
    for fate in [Fate::unavailable(), Fate::throttle(None)] {
        let (platform, once) = retrying(always(fate), RetryPolicy::none());
        let outer = Retry::new(once, policy().with_throttled_attempts(3));
        let deployment = deployed(&outer).await;
        let error = outer.invoke(&deployment, &invocation("a")).await.unwrap_err();
        assert!(error.is_exhausted());
        assert_eq!(platform.counters().invokes, 3);
    }
}
