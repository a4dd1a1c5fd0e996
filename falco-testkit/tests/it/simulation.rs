//! Simulated providers allow what their quotas say, and the same again for the same seed.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, Deployable, Deployment, ErrorKind, Invocation, Payload, Platform};
use falco_testkit::simulation::{Provider, Quotas, Ramp, Rate, Simulation};
use falco_testkit::{Away, Latency, Line, Odds};
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn invocation(n: u64) -> Invocation {
    Invocation::new("run", "stage", n.to_string(), Payload::empty())
}

async fn deployed(platform: &impl Platform) -> Deployment {
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), "def main(args): ..");
    platform.deploy(&function).await.unwrap()
}

/// Sends one invocation every `gap` for `span`, whatever comes of earlier ones; what came of each, and how long it took.
async fn send(simulation: &Simulation, gap: Duration, span: Duration) -> Vec<(bool, Duration)> {
    let platform = simulation.platform();
    let f = Arc::new(deployed(&*platform).await);
    let begin = Instant::now();
    let calls = (0..(span.as_nanos() / gap.as_nanos()) as u64).map(|n| {
        let (platform, f) = (Arc::clone(&platform), Arc::clone(&f));
        async move {
            sleep_until(begin + gap * n as u32).await;
            let sent = Instant::now();
            let outcome = timeout(SECOND * 60, platform.invoke(&f, &invocation(n))).await;
            (outcome.is_ok_and(|outcome| outcome.is_ok()), sent.elapsed())
        }
    });
    join_all(calls).await
}

#[tokio::test(start_paused = true)]
async fn openwhisk_allows_sixty_in_each_minute_of_its_own_clock() {
    let simulation = Simulation::new(Provider::openwhisk(), 1);
    let ok = send(&simulation, SECOND / 4, SECOND * 97).await;
    // 37 seconds are left of the first minute; then come a whole one and the first instant of another.
    let per_minute = |from: usize, to: usize| ok[from..to].iter().filter(|(ok, _)| *ok).count();
    assert_eq!(per_minute(0, 37 * 4), 60);
    assert_eq!(per_minute(37 * 4, 97 * 4), 60);
    let counters = simulation.counters();
    assert_eq!((counters.arrived, counters.allowed), (388, 120));
    assert_eq!(counters.throttled_by_rate, 268);
    assert_eq!(simulation.sustainable_rate(), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn lambda_starts_a_thousand_environments_and_a_hundred_more_each_second() {
    let provider = Provider {
        quotas: Quotas { concurrency: None, ..Provider::lambda().quotas },
        latency: Latency::fixed(SECOND * 3600),
        ..Provider::lambda()
    };
    let simulation = Simulation::new(provider, 1);
    let platform = simulation.platform();
    let f = deployed(&*platform).await;
    let begin = Instant::now();
    for (second, expected) in [(0, 1_000_u64), (1, 1_100), (10, 2_000)] {
        sleep_until(begin + SECOND * second).await;
        let calls = (0..1_500).map(|n| {
            let (platform, f) = (&platform, &f);
            async move { drop(platform.submit(f, &invocation(n)).await) }
        });
        join_all(calls).await;
        let allowed = simulation.counters().allowed;
        assert!(allowed.abs_diff(expected) <= 2, "after {second} s: {allowed}");
    }
    assert_eq!(simulation.counters().throttled(), simulation.counters().throttled_by_ramp);
}

#[tokio::test(start_paused = true)]
async fn concurrency_limits_what_runs_at_once() {
    let simulation = Simulation::new(Provider::lambda_new_account(), 1);
    send(&simulation, SECOND / 50, SECOND * 20).await;
    let counters = simulation.counters();
    assert_eq!(simulation.platform().inner().counters().peak_running, 10);
    assert!(counters.throttled_by_concurrency > 0);
    // Ten at once of about a second each.
    let sustainable = simulation.sustainable_rate().unwrap() * 20.0;
    let share = counters.allowed as f64 / sustainable;
    assert!((0.85..1.1).contains(&share), "{share}");
}

#[tokio::test(start_paused = true)]
async fn a_quota_changes_while_the_run_goes_on() {
    let rate = |per_second: f64| Some(Rate::TokenBucket { per_second, burst: 1 });
    let quotas = Quotas { rate: rate(10.0), ..Quotas::default() };
    let simulation = Simulation::new(Provider { quotas, ..Provider::google() }, 1);
    send(&simulation, SECOND / 40, SECOND * 10).await;
    let before = simulation.counters();
    simulation.change_quotas(|quotas| quotas.rate = rate(5.0));
    send(&simulation, SECOND / 40, SECOND * 10).await;
    let after = simulation.counters().since(&before);
    assert!((99..=102).contains(&before.allowed), "{before:?}");
    assert!((49..=52).contains(&after.allowed), "{after:?}");
    assert_eq!(after.allowed + after.throttled(), after.arrived);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_silently_is_allowed_and_never_answers() {
    let odds = Odds { lost: 0.1, ..Odds::default() };
    let simulation = Simulation::new(Provider { odds, ..Provider::google() }, 1);
    let sent = send(&simulation, SECOND / 20, SECOND * 50).await;
    let unanswered = sent.iter().filter(|(_, took)| *took == SECOND * 60).count() as u64;
    let counters = simulation.counters();
    assert!((70..130).contains(&unanswered), "{unanswered} of 1000");
    assert_eq!(counters.dropped, unanswered);
    assert_eq!(simulation.platform().inner().counters().running, 0, "their places are free again");
}

#[tokio::test(start_paused = true)]
async fn a_cap_is_watched_at_the_moment_of_sending() {
    let simulation = Simulation::new(Provider::lambda(), 1);
    simulation.watch_cap(10.0, 1);
    send(&simulation, SECOND / 10, SECOND * 10).await;
    assert_eq!(simulation.counters().over_cap, 0, "exactly the cap is allowed");
    simulation.watch_cap(10.0, 1);
    send(&simulation, SECOND / 20, SECOND * 10).await;
    let over = simulation.counters().over_cap;
    assert!((98..=101).contains(&over), "half of 200 are over: {over}");
}

#[tokio::test(start_paused = true)]
async fn a_suggested_wait_ends_when_the_quota_allows_again() {
    let simulation = Simulation::new(Provider { states_wait: true, ..Provider::openwhisk() }, 1);
    let platform = simulation.platform();
    let f = deployed(&*platform).await;
    let error = loop {
        match platform.invoke(&f, &invocation(0)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Throttled);
    sleep(error.retry_after().unwrap()).await;
    platform.invoke(&f, &invocation(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_away_at_the_times_that_its_outages_say() {
    let away = |after, line| Away { after: SECOND * after, lasts: SECOND * 10, line };
    let provider = Provider {
        outages: vec![away(20, Line::Cut), away(60, Line::Hung)],
        request_latency: Latency::ZERO,
        latency: Latency::fixed(SECOND * 2),
        cold_start: Latency::ZERO,
        ..Provider::lambda()
    };
    let simulation = Simulation::new(provider, 1);
    let platform = simulation.platform();
    let f = deployed(&*platform).await;
    let begin = Instant::now();
    // When it is sent; whether it is reached, whether it may have run, and when that is known.
    for (sent, reached, may_have_run, known) in [
        (0, true, true, 2),
        (19, false, true, 20),
        (21, false, false, 21),
        (30, true, true, 32),
        (59, true, true, 70),
        (65, true, true, 72),
        (80, true, true, 82),
    ] {
        sleep_until(begin + SECOND * sent).await;
        match platform.invoke(&f, &invocation(0)).await {
            Ok(_) => assert!(reached, "sent at {sent}"),
            Err(error) => {
                assert!(!reached && error.is_unreachable(), "sent at {sent}: {error}");
                assert_eq!(error.may_have_run(), may_have_run, "sent at {sent}");
            }
        }
        assert_eq!(begin.elapsed(), SECOND * known, "sent at {sent}");
    }
    // A test may cut it as well, whatever the schedule says.
    platform.set(Line::Cut);
    assert!(platform.list_deployments().await.unwrap_err().is_unreachable());
}

#[test]
fn capabilities_state_quotas_only_where_the_provider_does() {
    let stated = Simulation::new(Provider::lambda(), 1).platform().capabilities();
    assert_eq!(stated.concurrency, Some(1_000));
    assert_eq!(stated.rate.unwrap().per_second(), 10_000.0);
    let unstated = Simulation::new(Provider::google(), 1).platform().capabilities();
    assert_eq!((unstated.concurrency, unstated.rate), (None, None));
}

fn on_paused_time<F: Future>(body: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(body)
}

fn any_provider() -> impl Strategy<Value = Provider> {
    let rate = prop_oneof![
        Just(None),
        (1..50_u32, 1..20_u64, 0..20_u64).prop_map(|(invocations, window, phase)| {
            let (window, phase) = (SECOND * window as u32, SECOND * phase as u32);
            Some(Rate::FixedWindow { invocations, window, phase })
        }),
        (1.0..100.0, 1..50_u32)
            .prop_map(|(per_second, burst)| Some(Rate::TokenBucket { per_second, burst })),
    ];
    let ramp = proptest::option::of((0.5..20.0, 1..20_u32))
        .prop_map(|ramp| ramp.map(|(per_second, burst)| Ramp { per_second, burst }));
    let odds = (0.0..0.1, 0.0..0.1, 0.0..0.1).prop_map(|(lost, unavailable, raised)| Odds {
        lost,
        unavailable,
        raised,
        ..Odds::default()
    });
    (proptest::option::of(1..30_u32), rate, ramp, odds).prop_map(
        |(concurrency, rate, ramp, odds)| Provider {
            quotas: Quotas { concurrency, rate, ramp },
            latency: Latency::log_normal(SECOND / 5, 0.5).with_stragglers(0.05, 10.0),
            odds,
            ..Provider::google()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_seed_gives_the_same_run(provider in any_provider(), seed: u64) {
        let run = |seed| {
            let provider = provider.clone();
            on_paused_time(async move {
                let simulation = Simulation::new(provider, seed);
                let sent = send(&simulation, SECOND / 30, SECOND * 10).await;
                (sent, simulation.counters())
            })
        };
        let first = run(seed);
        prop_assert_eq!(&first, &run(seed));
        prop_assert_ne!(first.0, run(seed ^ 1).0);
    }

    #[test]
    fn quotas_are_never_exceeded(provider in any_provider(), seed: u64) {
        let quotas = provider.quotas.clone();
        let span = SECOND * 20;
        let (counters, running) = on_paused_time(async move {
            let simulation = Simulation::new(provider, seed);
            send(&simulation, SECOND / 30, span).await;
            (simulation.counters(), simulation.platform().inner().counters())
        });
        if let Some(limit) = quotas.concurrency {
            prop_assert!(running.peak_running <= u64::from(limit));
        }
        let most = match quotas.rate {
            Some(Rate::TokenBucket { per_second, burst }) => {
                // The requests' way is after the last was sent.
                f64::from(burst) + per_second * (span.as_secs_f64() + 0.1) + 1.0
            }
            Some(Rate::FixedWindow { invocations, window, .. }) => {
                f64::from(invocations) * (span.as_secs_f64() / window.as_secs_f64() + 2.0)
            }
            _ => f64::MAX,
        };
        prop_assert!(counters.allowed as f64 <= most, "{} > {}", counters.allowed, most);
    }
}
