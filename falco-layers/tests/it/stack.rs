//! The stack, and what goes wrong in another order.

use std::sync::Arc;
use std::time::Duration;

use falco_core::congestion::Allowance;
use falco_core::*;
use falco_layers::*;
use falco_testkit::{Fate, Fates, InMemory, Latency, Odds, Operation, Settings};
use futures_util::future::join_all;

use crate::support::*;

fn crowded(capacity: u32, latency: Duration) -> Arc<InMemory> {
    Arc::new(InMemory::new(Settings {
        capabilities: Settings::default().capabilities.with_concurrency(2 * capacity),
        capacity: Some(capacity),
        latency: Latency::fixed(latency),
        ..Settings::default()
    }))
}

async fn invoke_all(platform: &impl AsyncPlatform, calls: usize) -> Vec<Result<Activation>> {
    let deployment = deployed(platform).await;
    let invocations: Vec<_> =
        (0..calls).map(|i| invocation(&i.to_string()).with_idempotent(true)).collect();
    join_all(invocations.iter().map(|i| platform.invoke(&deployment, i))).await
}

#[tokio::test(start_paused = true)]
async fn the_stack_brings_every_call_through_a_platform_that_throttles_and_fails() {
    let odds = Odds { throttled: 0.05, unavailable: 0.05, reset: 0.02, ..Odds::default() };
    let platform = Arc::new(InMemory::new(Settings {
        capacity: Some(20),
        latency: Latency::fixed(millis(100)),
        fates: Fates::random(3, odds),
        ..Settings::default()
    }));
    // Five attempts leave one call in some hundred thousand behind, which a test in a hundred would meet.
    let stack =
        Stack::new().with_retry(RetryPolicy::with_retries(20)).wrap(Arc::clone(&platform)).unwrap();
    let answers = invoke_all(&stack, 2000).await;
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(platform.counters().peak_running <= 20);
}

#[tokio::test(start_paused = true)]
async fn retry_inside_of_congestion_control_hides_throttling_from_it() {
    let policy = RetryPolicy::default().with_budget(RetryBudget::UNLIMITED);
    let gate = || Gate::new(Adaptive::from_capabilities(&crowded(20, secs(1)).capabilities()));

    let platform = crowded(20, secs(1));
    let right = Retry::new(CongestionControl::new(Arc::clone(&platform), gate()), policy);
    assert!(invoke_all(&right, 2000).await.iter().all(Result::is_ok));
    let throttled_right = platform.counters().throttled;

    let platform = crowded(20, secs(1));
    let wrong = CongestionControl::new(Retry::new(Arc::clone(&platform), policy), gate());
    invoke_all(&wrong, 2000).await;
    let throttled_wrong = platform.counters().throttled;

    assert!(throttled_right < 2000 / 50, "{throttled_right}");
    assert!(throttled_wrong > 10 * throttled_right, "{throttled_wrong} and {throttled_right}");
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_permit_do_not_spend_the_retry_budget_of_those_that_fail_later() {
    let failing = Fates::by(|call| match call.operation {
        Operation::Invoke if call.number <= 2000 && call.number.is_multiple_of(10) => {
            Fate::unavailable()
        }
        _ => Fate::Serve,
    });
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(millis(100)),
        fates: failing,
        ..Settings::default()
    }));
    let budget = RetryBudget::default().with_share(0.2).with_per_second(0.0).with_reserve(10);
    let stack = Stack::new()
        .with_max_concurrency(10)
        .with_retry(RetryPolicy::default().with_budget(budget))
        .wrap(platform)
        .unwrap();
    let answers = invoke_all(&stack, 2000).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn timeout_outside_of_congestion_control_ends_calls_that_were_never_sent() {
    let policy = TimeoutPolicy::default().with_invoke(secs(10));
    let one = || Gate::new(Fixed::new(Allowance::UNLIMITED.with_concurrency(1)));

    let right = CongestionControl::new(Timeout::new(slow(secs(1)), policy), one());
    assert!(invoke_all(&right, 100).await.iter().all(Result::is_ok));

    let wrong = Timeout::new(CongestionControl::new(slow(secs(1)), one()), policy);
    let failed = invoke_all(&wrong, 100).await.iter().filter(|answer| answer.is_err()).count();
    assert!(failed >= 89, "{failed}");
}

#[tokio::test(start_paused = true)]
async fn the_stack_forwards_the_platforms_name_and_capabilities() {
    let platform = slow(secs(1));
    let stack = Stack::new().wrap(Arc::clone(&platform)).unwrap();
    assert_eq!(stack.name(), platform.name());
    assert_eq!(stack.capabilities(), platform.capabilities());
}

#[tokio::test(start_paused = true)]
async fn held_calls_count_against_the_same_gate() {
    let platform = crowded(20, secs(1));
    let stack = Stack::new()
        .with_max_concurrency(5)
        .with_held(HeldPolicy::default())
        .wrap(Arc::clone(&platform))
        .unwrap();
    let deployment = deployed(&stack).await;
    let mut waiting = Vec::new();
    let mut submitted = 0;
    let mut done = 0;
    while done < 30 {
        let next = invocation(&submitted.to_string());
        if submitted < 30 {
            let submission = stack.submit(&deployment, &next);
            if let Ok(pending) = tokio::time::timeout(millis(200), submission).await {
                waiting.push(pending.unwrap());
                submitted += 1;
            }
        } else {
            tokio::time::sleep(millis(10)).await;
        }
        let collected = stack.collect(&deployment, &waiting).await.unwrap();
        assert!(collected.gone.is_empty());
        for activation in collected.finished {
            waiting.retain(|pending| pending.id != activation.id);
            stack.release(&deployment, &[activation.id], Release::Taken);
            done += 1;
        }
    }
    assert_eq!(platform.counters().peak_running, 5);
    assert_eq!(platform.counters().throttled, 0);
}

#[test]
fn impossible_settings_are_named() {
    for (stack, words) in [
        (Stack::new().with_max_rate(0.0), "got 0"),
        (Stack::new().with_max_rate(f64::NAN), "got NaN"),
        (Stack::new().with_max_concurrency(0), "concurrency"),
        (Stack::new().with_held(HeldPolicy::default().with_max_calls(0)), "held calls"),
    ] {
        let error = stack.wrap(InMemory::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_seen_once_by_the_monitor_for_each_time_it_was_refused() {
    let platform = fated(Fates::sequence([Fate::throttle(None), Fate::throttle(None)]));
    let stack = Stack::new().wrap(Arc::clone(&platform)).unwrap();
    let deployment = deployed(&stack).await;
    let recorder = Recorder::new();
    stack.invoke(&deployment, &invocation("a").with_monitor(recorder.clone())).await.unwrap();
    assert_eq!(recorder.count("failed: throttled"), 2);
    assert_eq!(recorder.count("attempt: CallFailed"), 2);
}

#[tokio::test(start_paused = true)]
async fn stacks_that_are_given_the_same_gates_share_their_limits() {
    let gate = Gate::new(Fixed::rate(2.0));
    let queries = Gate::new(Fixed::rate(10.0));
    let stack = Stack::new().with_gate(gate).with_query_gate(queries);
    let (one, other) = (stack.wrap(slow(millis(1))).unwrap(), stack.wrap(slow(millis(1))).unwrap());
    let deployment = deployed(&one).await;
    deployed(&other).await;
    let began = tokio::time::Instant::now();
    for platform in [&one, &other, &one] {
        platform.submit(&deployment, &invocation("a")).await.unwrap();
    }
    assert_eq!(began.elapsed(), secs(1));
    for platform in [&one, &other, &one] {
        platform.collect(&deployment, &[]).await.unwrap();
    }
    // A gate may catch up on the lateness of a timer, five milliseconds of it.
    assert!((millis(1195)..=millis(1200)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[test]
fn a_cap_that_a_gate_of_its_own_does_not_have_is_refused_and_not_forgotten() {
    let capped = Stack::new().with_max_rate(5.0).with_max_concurrency(3);
    let loose = Gate::new(Fixed::unlimited());
    let error = capped.clone().with_gate(loose).wrap(InMemory::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("5 invocations a second"), "{error}");
    // Its own gate has them.
    let own = capped.gate(&Capabilities::default()).unwrap();
    assert!(capped.with_gate(own).wrap(InMemory::default()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stack_around_a_stack_works_and_tries_no_more_often_than_the_inner_one() {
    let platform = slow(millis(10));
    platform.configure(|settings| {
        settings.fates = Fates::by(|call| match call.operation {
            Operation::Submit => Fate::unavailable(),
            _ => Fate::Serve,
        });
    });
    let inner = Stack::new().wrap(Arc::clone(&platform)).unwrap();
    let outer = Stack::new().with_max_concurrency(3).wrap(inner).unwrap();
    assert!(invoke_all(&outer, 20).await.iter().all(Result::is_ok));
    assert_eq!(platform.counters().peak_running, 3);
    let deployment = deployed(&outer).await;
    assert!(outer.submit(&deployment, &invocation("a")).await.unwrap_err().is_exhausted());
    assert_eq!(platform.counters().submits, 5);
}

#[tokio::test(start_paused = true)]
async fn its_policies_are_those_that_it_was_given() {
    let platform = fated(Fates::by(|call| match call.operation {
        Operation::Invoke => Fate::Hang,
        _ => Fate::Serve,
    }));
    let timeout = TimeoutPolicy::default().with_invoke(secs(3));
    let stack = Stack::new()
        .with_timeout(timeout)
        .with_retry(RetryPolicy::none())
        .wrap(Arc::clone(&platform))
        .unwrap();
    let began = tokio::time::Instant::now();
    for answer in invoke_all(&stack, 10).await {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(began.elapsed(), secs(3));
    assert_eq!(platform.counters().invokes, 10);
}

/// Polls a call so many times, five milliseconds apart, and drops it; says whether it had ended.
async fn drop_after<T>(polls: u32, call: impl Future<Output = T>) -> Option<T> {
    let mut call = std::pin::pin!(call);
    for _ in 0..polls {
        if let std::task::Poll::Ready(done) = futures_util::poll!(&mut call) {
            return Some(done);
        }
        tokio::time::advance(millis(5)).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_await_leaves_no_slot_taken() {
    for held in [None, Some(HeldPolicy::default().with_max_calls(1).with_acceptance(millis(35)))] {
        let mut ended = [0; 3];
        for polls in 0..60 {
            // The first attempt of everything is refused, and each step takes its time.
            let fates = Fates::by(|call| match call.number {
                1 if call.operation != Operation::Deploy => Fate::throttle(Some(millis(30))),
                _ => Fate::Serve,
            });
            let platform = Arc::new(InMemory::new(Settings {
                latency: Latency::fixed(millis(20)),
                request_latency: Latency::fixed(millis(20)),
                control_latency: millis(20),
                fates,
                ..Settings::default()
            }));
            let one = || Gate::new(Fixed::new(Allowance::UNLIMITED.with_concurrency(1)));
            let (gate, queries) = (one(), one());
            let mut stack = Stack::new().with_gate(gate.clone()).with_query_gate(queries.clone());
            if let Some(policy) = held {
                stack = stack.with_held(policy);
            }
            let stack = stack.wrap(Arc::clone(&platform)).unwrap();
            let deployment = deployed(&stack).await;
            let invocation = invocation("a");
            let done = drop_after(polls, stack.invoke(&deployment, &invocation)).await;
            ended[0] += usize::from(done.is_some());
            let done = drop_after(polls, stack.submit(&deployment, &invocation)).await;
            ended[1] += usize::from(done.is_some());
            if let Some(pending) = done {
                stack.release(&deployment, &[pending.unwrap().id], Release::Abandoned);
            }
            if held.is_some() {
                // What is held ends one tick later.
                tokio::task::yield_now().await;
                assert_eq!(platform.counters().running, 0, "after {polls} polls");
            }
            let done = drop_after(polls, stack.collect(&deployment, &[])).await;
            ended[2] += usize::from(done.is_some());
            assert_eq!((gate.in_flight(), queries.in_flight()), (0, 0), "after {polls} polls");
            let next = stack.submit(&deployment, &invocation);
            assert!(tokio::time::timeout(secs(60), next).await.unwrap().is_ok());
        }
        assert!(ended.iter().all(|times| (1..60).contains(times)), "{ended:?}");
    }
}

#[test]
fn a_wrapped_platform_wants_no_further_layers() {
    let capabilities = Settings::default().capabilities.with_wants_layers(true);
    let platform = Arc::new(InMemory::new(Settings { capabilities, ..Settings::default() }));
    assert!(Timeout::new(platform.clone(), TimeoutPolicy::default()).capabilities().wants_layers);
    assert!(!Stack::new().wrap(platform).unwrap().capabilities().wants_layers);
}

#[tokio::test(start_paused = true)]
async fn refused_invocations_need_the_retry_budget_where_the_gate_does_not_react_to_refusals() {
    let none = RetryBudget::default().with_share(0.0).with_per_second(0.0).with_reserve(0);
    let policy = RetryPolicy::default().with_budget(none).with_throttled_attempts(5);
    let refusing = || {
        fated(Fates::by(|call| match call.operation == Operation::Invoke && call.number <= 3 {
            true => Fate::throttle(None),
            false => Fate::Serve,
        }))
    };
    let fixed = Gate::new(Fixed::unlimited());
    let adaptive = Gate::new(Adaptive::from_capabilities(&refusing().capabilities()));
    for (gate, calls) in [(fixed, 1), (adaptive, 4)] {
        let platform = refusing();
        let stack = Stack::new().with_gate(gate.clone()).with_retry(policy);
        let answers = invoke_all(&stack.wrap(platform.clone()).unwrap(), 1).await;
        assert_eq!(answers[0].is_ok(), calls > 1, "{gate:?}");
        assert_eq!(platform.counters().invokes, calls, "{gate:?}");
    }
}
