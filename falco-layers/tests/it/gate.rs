//! The line in front of the controller.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{Allowance, CongestionController, Signal, SignalKind};
use falco_layers::{Caps, Fixed, Gate};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::*;

fn one_at_a_time() -> Gate {
    Gate::new(Fixed::new(Allowance::UNLIMITED.with_concurrency(1)))
}

#[tokio::test(start_paused = true)]
async fn calls_start_at_the_rate() {
    let gate = Gate::new(Fixed::rate(10.0));
    let began = Instant::now();
    for _ in 0..101 {
        gate.admit().await.finish(SignalKind::Ok, None);
    }
    assert_eq!(began.elapsed(), secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_high_rate_is_reached_although_timers_are_coarse() {
    let gate = Gate::new(Fixed::rate(5000.0));
    let began = Instant::now();
    for _ in 0..50_000 {
        gate.admit().await.finish(SignalKind::Ok, None);
    }
    let elapsed = began.elapsed();
    assert!((millis(9990)..millis(10_100)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn the_line_is_fair() {
    let gate = one_at_a_time();
    let order = Arc::new(Mutex::new(Vec::new()));
    let calls: Vec<_> = (0..100)
        .map(|i| {
            let (gate, order) = (gate.clone(), order.clone());
            tokio::spawn(async move {
                let permit = gate.admit().await;
                order.lock().unwrap().push(i);
                tokio::time::sleep(millis(1)).await;
                permit.finish(SignalKind::Ok, None);
            })
        })
        .collect();
    join_all(calls).await;
    assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_holds_up_nobody() {
    let gate = one_at_a_time();
    let holder = gate.admit().await;
    let impatient: Vec<_> = (0..10)
        .map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { tokio::time::timeout(millis(5), gate.admit()).await.is_ok() })
        })
        .collect();
    let patient = tokio::spawn({
        let gate = gate.clone();
        async move { drop(gate.admit().await) }
    });
    for call in impatient {
        assert!(!call.await.unwrap());
    }
    holder.finish(SignalKind::Ok, None);
    patient.await.unwrap();
    assert_eq!(gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_can_wait() {
    let gate = Gate::new(Fixed::new(Allowance::UNLIMITED.with_concurrency(7)));
    let calls = (0..100_000).map(|_| async { gate.admit().await.finish(SignalKind::Ok, None) });
    futures_util::future::join_all(calls).await;
    assert_eq!(gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_suggested_wait_stops_everybody_whatever_the_controller() {
    let gate = Gate::new(Fixed::unlimited());
    gate.admit().await.finish(SignalKind::Throttled, Some(secs(30)));
    let began = Instant::now();
    drop(gate.clone().admit().await);
    assert_eq!(began.elapsed(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_expires_gives_its_slot_back_once() {
    let gate = one_at_a_time();
    let mut lost = gate.admit().await;
    lost.expire_after(secs(90));
    let began = Instant::now();
    let next = gate.admit().await;
    assert_eq!(began.elapsed(), secs(90));
    lost.finish(SignalKind::Ok, None);
    assert_eq!(gate.in_flight(), 1);
    drop(next);
    assert_eq!(gate.in_flight(), 0);
}

/// Writes down what it is told, and allows everything, or nonsense.
#[derive(Debug)]
struct Spy {
    signals: Arc<Mutex<Vec<Signal>>>,
    allowance: Allowance,
}

impl CongestionController for Spy {
    fn on_signal(&mut self, _: Duration, signal: &Signal) {
        self.signals.lock().unwrap().push(*signal);
    }

    fn allowance(&mut self, _: Duration) -> Allowance {
        self.allowance
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_hears_of_every_outcome_with_its_times() {
    let signals = Arc::default();
    let gate = Gate::new(Spy { signals: Arc::clone(&signals), allowance: Allowance::UNLIMITED });
    tokio::time::sleep(secs(1)).await;
    let (kept, dropped) = (gate.admit().await, gate.admit().await);
    tokio::time::sleep(millis(250)).await;
    drop(dropped);
    kept.finish(SignalKind::Throttled, Some(secs(2)));
    let signals = signals.lock().unwrap();
    let expected = [
        Signal::new(SignalKind::Abandoned, secs(1), millis(250), 2),
        Signal::new(SignalKind::Throttled, secs(1), millis(250), 1).with_retry_after(Some(secs(2))),
    ];
    assert_eq!(*signals, expected);
}

#[tokio::test(start_paused = true)]
async fn no_controller_gets_over_the_caps() {
    for per_second in [0.5, 3.0, 100.0, 2000.0] {
        let caps = Caps { per_second: Some(per_second), concurrency: Some(5) };
        let greedy = Allowance::UNLIMITED.with_rate(1e9, 1_000_000).with_concurrency(1_000_000);
        let gate = Gate::capped(Spy { signals: Arc::default(), allowance: greedy }, caps);
        let began = Instant::now();
        let starts = Arc::new(Mutex::new(Vec::new()));
        let calls = (0..600).map(|i| {
            let (gate, starts) = (&gate, &starts);
            async move {
                let permit = gate.admit().await;
                assert!(gate.in_flight() <= 5);
                starts.lock().unwrap().push(began.elapsed());
                tokio::time::sleep(millis(i % 7)).await;
                permit.finish(SignalKind::Ok, None);
            }
        });
        join_all(calls).await;
        let starts = starts.lock().unwrap();
        for (first, at) in starts.iter().enumerate() {
            for span in [millis(10), secs(1), secs(60)] {
                let within = starts[first..].iter().take_while(|t| **t < *at + span).count() as f64;
                let allowed = per_second * (span + millis(5)).as_secs_f64() + 1.0;
                assert!(within <= allowed + 1e-6, "{within} in {span:?} at {per_second} a second");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_allows_nothing_does_not_stop_the_world() {
    let nothing = Allowance::UNLIMITED.with_rate(0.0, 0).with_concurrency(0);
    let gate = Gate::new(Spy { signals: Arc::default(), allowance: nothing });
    for _ in 0..3 {
        drop(gate.admit().await);
    }
}
