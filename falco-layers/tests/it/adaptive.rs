//! Tests of the promises in the default controller's docs, one by one.

use std::time::Duration;

use falco_core::congestion::{CongestionController, Signal, SignalKind};
use falco_core::{Capabilities, RateLimit};
use falco_layers::Adaptive;

use crate::controllers::throttled;
use crate::support::*;

fn with_rate(invocations: u32, window: Duration) -> Adaptive {
    Adaptive::from_capabilities(
        &Capabilities::default().with_rate(RateLimit::new(invocations, window)),
    )
}

/// How many calls could be started at `now`, if they were.
fn room(controller: &Adaptive, now: Duration) -> u32 {
    let mut controller = controller.clone();
    let mut started = 0;
    while controller.allowance(now).not_before <= now {
        started += 1;
        controller.on_sent(now, started);
    }
    started
}

#[test]
fn latency_that_swells_stops_growth() {
    let run = |swelling: bool| {
        let mut controller = Adaptive::default();
        let mut limit = 32;
        for second in 0..5_u64 {
            let latency = if swelling { millis(100 * (second + 1)) } else { millis(100) };
            for _ in 0..limit {
                controller.on_sent(secs(second), limit);
                let signal = Signal::new(SignalKind::Ok, secs(second), latency, limit);
                controller.on_signal(secs(second) + millis(900), &signal);
            }
            limit = controller.allowance(secs(second + 1)).concurrency.unwrap();
        }
        limit
    };
    assert!(run(false) >= 512);
    assert!(run(true) <= 64);
}

#[test]
fn a_platform_that_fails_more_than_it_answers_gets_half() {
    let known = Capabilities::default().with_concurrency(100);
    let after = |answers: u32, failures: u32| {
        let mut controller = Adaptive::from_capabilities(&known);
        controller.on_sent(millis(10), 100);
        for call in 0..answers + failures {
            let kind = if call < answers { SignalKind::Ok } else { SignalKind::Failed };
            controller.on_signal(millis(500), &Signal::new(kind, millis(10), millis(490), 100));
        }
        controller.allowance(secs(1)).concurrency
    };
    assert_eq!(after(4, 5), Some(50));
    assert_eq!(after(5, 5), Some(100));
    // A handful says nothing.
    assert_eq!(after(0, 4), Some(100));
}

#[test]
fn where_the_platform_queues_what_is_in_flight_goes_back_to_before_the_last_step() {
    let known = Capabilities::default().with_concurrency(100);
    let mut controller = Adaptive::from_capabilities(&known);
    let mut limits = vec![100];
    let mut interval = |latency: Duration| {
        let (limit, began) = (limits[limits.len() - 1], secs(limits.len() as u64));
        for _ in 0..2 * limit {
            controller.on_sent(began, limit);
            let ok = Signal::new(SignalKind::Ok, began, latency, limit);
            controller.on_signal(began + millis(500), &ok);
        }
        limits.extend(controller.allowance(began + secs(1)).concurrency);
        limits.clone()
    };
    while interval(millis(100)).last() < Some(&121) {}
    let limits = interval(millis(300));
    assert!(limits.ends_with(&[105, 121, 105]), "{limits:?}");
}

#[test]
fn refusals_without_an_accepted_call_between_them_double_the_pause() {
    let minute = RateLimit::new(60, secs(60));
    let openwhisk = Capabilities::default().with_rate(minute);
    let mut controller = Adaptive::from_capabilities(&openwhisk);
    let mut now = secs(1);
    let mut pause_after = |kind| {
        controller.on_sent(now, 1);
        let answered = now + millis(20);
        controller.on_signal(answered, &Signal::new(kind, now, millis(20), 1));
        now = controller.allowance(answered).not_before.max(answered);
        now - answered
    };
    let shortest = secs(60) / 64;
    // What was before the first one is not known.
    assert_eq!(pause_after(SignalKind::Throttled), shortest);
    let mut pause = shortest;
    for _ in 0..5 {
        assert_eq!(pause_after(SignalKind::Throttled), pause);
        pause *= 2;
    }
    assert_eq!(pause_after(SignalKind::Ok), Duration::ZERO);
    assert_eq!(pause_after(SignalKind::Throttled), shortest);
}

#[test]
fn the_quota_of_a_minute_may_be_spent_in_its_first_second() {
    assert_eq!(room(&with_rate(60, secs(60)), secs(1)), 60);
}

#[test]
fn a_refusal_long_before_the_quota_is_full_lowers_it_only_if_it_happens_again() {
    let mut controller = with_rate(60, secs(60));
    let mut refuse_the_fifth = |now: Duration| {
        for call in 1..=5 {
            controller.on_sent(now, call);
        }
        controller.on_signal(now + millis(20), &throttled(now, 5));
        let pause = controller.allowance(now + millis(20)).not_before;
        assert!(pause > now + millis(500), "{pause:?}");
        // When none of these calls counts any more.
        room(&controller, now + secs(62))
    };
    assert_eq!(refuse_the_fifth(secs(1)), 60);
    assert_eq!(refuse_the_fifth(secs(63)), 4);
}

#[test]
fn a_few_refusals_among_very_many_calls_do_not_slow_it_down() {
    let mut controller = with_rate(1000, secs(1));
    for call in 0..1000 {
        controller.on_sent(secs(1) + millis(call), 1);
    }
    let now = millis(1999);
    let mut rate_after = |refusals| {
        for _ in 0..refusals {
            controller.on_signal(now, &throttled(now, 1));
        }
        controller.allowance(now).per_second.unwrap()
    };
    let rate = rate_after(0);
    assert_eq!(rate_after(4), rate);
    assert!(rate_after(1) < rate, "one in two hundred");
}

#[test]
fn refusals_of_calls_that_were_in_flight_together_are_one_event_for_a_moment() {
    let known = Capabilities::default().with_concurrency(100);
    let mut controller = Adaptive::from_capabilities(&known);
    let (sent, first) = (secs(1), secs(2));
    controller.on_sent(sent, 100);
    let mut after_refusal_at = |now: Duration| {
        let refusal = Signal::new(SignalKind::Throttled, sent, now - sent, 100);
        controller.on_signal(now, &refusal);
        let allowance = controller.allowance(now);
        (allowance.concurrency.unwrap(), allowance.not_before)
    };
    // Nothing is sent for as long as a refusal takes, and for 200 ms at most.
    let settled = first + millis(200);
    assert_eq!(after_refusal_at(first), (97, settled));
    assert_eq!(after_refusal_at(settled), (96, settled), "one call less was accepted");
    assert_eq!(after_refusal_at(settled + millis(1)), (96, settled), "too late");
}

#[test]
fn a_cut_of_concurrency_is_undone_when_the_rate_was_the_cause() {
    let mut controller = Adaptive::from_capabilities(
        &Capabilities::default().with_concurrency(30).with_rate(RateLimit::new(60, secs(60))),
    );
    let mut now = secs(1);
    let mut limit_after_refusal_with = |in_flight| {
        controller.on_sent(now, in_flight);
        controller.on_signal(now + millis(20), &throttled(now, in_flight));
        let allowance = controller.allowance(now + millis(20));
        now = allowance.not_before;
        allowance.concurrency.unwrap()
    };
    let first = limit_after_refusal_with(30);
    let second = limit_after_refusal_with(first);
    assert!(second < first, "{second} and {first}");
    assert_eq!(limit_after_refusal_with(1), first);
}

#[test]
fn a_cut_of_concurrency_stands_where_a_call_was_accepted_before_the_next_refusal() {
    let mut controller = Adaptive::from_capabilities(
        &Capabilities::default().with_concurrency(30).with_rate(RateLimit::new(60, secs(60))),
    );
    let mut now = secs(1);
    let mut limit_after = |kind, in_flight| {
        controller.on_sent(now, in_flight);
        let answered = now + millis(20);
        controller.on_signal(answered, &Signal::new(kind, now, millis(20), in_flight));
        let allowance = controller.allowance(answered);
        now = allowance.not_before.max(answered);
        allowance.concurrency.unwrap()
    };
    let lowered = limit_after(SignalKind::Throttled, 30);
    assert!(lowered < 30, "{lowered}");
    assert_eq!(limit_after(SignalKind::Ok, lowered), lowered);
    assert_eq!(limit_after(SignalKind::Throttled, 1), lowered);
}

#[test]
fn a_refusal_below_a_quota_does_not_lower_a_concurrency_that_is_only_a_place_to_begin() {
    let mut controller = with_rate(60, secs(60));
    controller.on_sent(secs(1), 30);
    controller.on_signal(millis(1020), &throttled(secs(1), 30));
    assert_eq!(controller.allowance(millis(1020)).concurrency, Some(32));
}
