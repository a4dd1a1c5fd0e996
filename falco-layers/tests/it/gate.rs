//! The line in front of the controller.

mod changing;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::congestion::{Allowance, CongestionController, Signal, SignalKind};
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
async fn a_caller_that_leaves_the_line_delays_nobody() {
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
async fn its_state_shows_calls_in_flight_waiting_and_refused_and_how_long_a_pause_lasts() {
    let gate = one_at_a_time();
    let first = gate.admit().await;
    let second = tokio::spawn({
        let gate = gate.clone();
        async move { gate.admit().await }
    });
    tokio::task::yield_now().await;
    let state = gate.state();
    assert_eq!(state.allowance.concurrency, Some(1));
    assert_eq!((state.in_flight, state.waiting, state.throttled), (1, 1, 0));
    assert_eq!(state.paused, None);

    first.finish(SignalKind::Throttled, Some(secs(30)));
    tokio::time::sleep(secs(10)).await;
    let state = gate.state();
    assert_eq!((state.in_flight, state.waiting, state.throttled), (0, 1, 1));
    assert_eq!(state.paused, Some(secs(20)));

    drop(second.await.unwrap());
    let state = gate.state();
    assert_eq!((state.in_flight, state.waiting, state.paused), (0, 0, None));
    // A call that is dropped while it waits is not counted any more.
    let _held = gate.admit().await;
    assert!(tokio::time::timeout(secs(1), gate.admit()).await.is_err());
    assert_eq!(gate.state().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_expires_gives_its_slot_back_once() {
    let gate = one_at_a_time();
    let mut lost = gate.admit().await;
    // Between two looks at the line, which come once a second.
    lost.expire_after(millis(90_500));
    let began = Instant::now();
    let next = gate.admit().await;
    assert_eq!(began.elapsed(), millis(90_500));
    lost.finish(SignalKind::Ok, None);
    assert_eq!(gate.in_flight(), 1);
    drop(next);
    assert_eq!(gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_time_after_which_a_permit_expires_can_be_set_again_until_it_has_expired() {
    let gate = one_at_a_time();
    let mut lost = gate.admit().await;
    lost.expire_after(secs(30));
    lost.expire_after(secs(60));
    tokio::time::sleep(secs(59)).await;
    assert_eq!(gate.in_flight(), 1);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(gate.in_flight(), 0);

    let other = gate.admit().await;
    lost.expire_after(secs(1));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(gate.in_flight(), 1, "the slot of another is not given back");
    drop((lost, other));
}

/// Writes down what it receives, and allows everything, or nonsense.
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
        let caps = Caps::default().with_per_second(per_second).with_concurrency(5);
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

#[tokio::test(start_paused = true)]
async fn a_cap_of_less_than_one_call_an_hour_holds_too() {
    let caps = Caps::default().with_per_second(1.0 / (4.0 * 3600.0));
    let gate = Gate::capped(Fixed::unlimited(), caps);
    let began = Instant::now();
    for _ in 0..3 {
        drop(gate.admit().await);
    }
    assert!(began.elapsed() >= secs(8 * 3600 - 1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_nan_is_the_slowest_and_not_the_fastest() {
    let nan = Caps::default().with_per_second(f64::NAN);
    for gate in [
        Gate::new(Fixed::rate(f64::NAN)),
        Gate::capped(Fixed::unlimited(), nan),
        Gate::capped(Fixed::rate(1000.0), nan),
    ] {
        let began = Instant::now();
        drop(gate.admit().await);
        drop(gate.admit().await);
        assert!((secs(3599)..=secs(3600)).contains(&began.elapsed()), "{gate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_has_expired_is_not_counted_although_nobody_came_since() {
    let looks: [fn(&Gate) -> u32; 2] = [Gate::in_flight, |gate| gate.state().in_flight];
    for look in looks {
        let gate = Gate::new(Fixed::unlimited());
        let mut lost = gate.admit().await;
        lost.expire_after(secs(90));
        let kept = gate.admit().await;
        tokio::time::sleep(secs(91)).await;
        assert_eq!(look(&gate), 1);
        drop((lost, kept));
    }
}

/// Panics whenever it hears of a call that is sent, or of an outcome, as long as the test wants it to.
#[derive(Debug)]
struct Panicking {
    on_sent: Arc<AtomicBool>,
    on_signal: Arc<AtomicBool>,
}

impl CongestionController for Panicking {
    fn on_sent(&mut self, _: Duration, _: u32) {
        assert!(!self.on_sent.load(Ordering::Relaxed), "on purpose");
    }

    fn on_signal(&mut self, _: Duration, _: &Signal) {
        assert!(!self.on_signal.load(Ordering::Relaxed), "on purpose");
    }

    fn allowance(&mut self, _: Duration) -> Allowance {
        Allowance::UNLIMITED.with_concurrency(1)
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_panics_takes_no_slot_with_it_and_wakes_those_that_wait() {
    let (on_sent, on_signal) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let gate =
        Gate::new(Panicking { on_sent: Arc::clone(&on_sent), on_signal: Arc::clone(&on_signal) });
    let admit = || {
        let gate = gate.clone();
        tokio::spawn(async move { gate.admit().await })
    };
    assert!(admit().await.unwrap_err().is_panic());
    assert_eq!(gate.in_flight(), 0);

    on_sent.store(false, Ordering::Relaxed);
    on_signal.store(true, Ordering::Relaxed);
    let permit = admit().await.unwrap();
    let next = admit();
    tokio::task::yield_now().await;
    let began = Instant::now();
    let finished = tokio::spawn(async move { permit.finish(SignalKind::Ok, None) });
    assert!(finished.await.unwrap_err().is_panic());
    on_signal.store(false, Ordering::Relaxed);
    drop(next.await.unwrap());
    assert_eq!((began.elapsed(), gate.in_flight()), (Duration::ZERO, 0));
}

/// One life of a permit among many on several threads: given up in line, dropped, finished, lost or lost in a panic.
async fn live(gate: Gate, running: Arc<AtomicU32>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let patience = Duration::from_micros(random.u64(0..3000));
    let Ok(mut permit) = tokio::time::timeout(patience, gate.admit()).await else { return };
    assert!(running.fetch_add(1, Ordering::SeqCst) < 3);
    for _ in 0..random.u32(0..5) {
        tokio::task::yield_now().await;
    }
    running.fetch_sub(1, Ordering::SeqCst);
    match random.u32(0..4) {
        0 => drop(permit),
        1 => permit.finish(SignalKind::Throttled, None),
        2 => {
            permit.expire_after(Duration::ZERO);
            std::mem::forget(permit);
        }
        _ => std::panic::resume_unwind(Box::new("on purpose")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_slot_is_lost_or_given_twice_whatever_becomes_of_those_in_line() {
    let gate = Gate::new(Fixed::new(Allowance::UNLIMITED.with_concurrency(3)));
    let running = Arc::new(AtomicU32::new(0));
    let crowd = (0..24).map(|member| {
        let (gate, running) = (gate.clone(), Arc::clone(&running));
        tokio::spawn(async move {
            for life in 0..200 {
                let life = live(gate.clone(), Arc::clone(&running), 200 * member + life);
                if let Err(error) = tokio::spawn(life).await {
                    assert_eq!(error.into_panic().downcast_ref(), Some(&"on purpose"));
                }
            }
        })
    });
    for member in crowd.collect::<Vec<_>>() {
        member.await.unwrap();
    }
    assert_eq!(gate.in_flight(), 0);
    for _ in 0..3 {
        std::mem::forget(gate.admit().await);
    }
    assert!(tokio::time::timeout(millis(10), gate.admit()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_suggested_wait_without_end_is_over_after_a_quarter_of_an_hour() {
    let gate = Gate::new(Fixed::unlimited());
    gate.admit().await.finish(SignalKind::Throttled, Some(Duration::MAX));
    let began = Instant::now();
    drop(gate.admit().await);
    assert_eq!(began.elapsed(), secs(15 * 60));
}

#[tokio::test(start_paused = true)]
async fn its_allowance_is_within_the_caps() {
    let gate = Gate::capped(Fixed::rate(100.0), Caps::default().with_per_second(3.0));
    assert_eq!(gate.allowance().per_second, Some(3.0));
    assert_eq!(gate.state().allowance.per_second, Some(3.0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_controller_says_so() {
    let allowance = Allowance::UNLIMITED.with_not_before(millis(12_345));
    let gate = Gate::new(Spy { signals: Arc::default(), allowance });
    let began = Instant::now();
    drop(gate.admit().await);
    assert_eq!(began.elapsed(), millis(12_345));
}
