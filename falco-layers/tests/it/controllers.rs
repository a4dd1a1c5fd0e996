//! Bounds that hold for every controller, whatever it hears.

use std::time::Duration;

use falco_core::congestion::{Allowance, CongestionController, Signal, SignalKind};
use falco_core::{Capabilities, RateLimit};
use falco_layers::{Adaptive, Aimd, Gains, Pace, Pid};
use proptest::prelude::*;

use crate::support::*;

const KINDS: [SignalKind; 4] =
    [SignalKind::Ok, SignalKind::Throttled, SignalKind::Failed, SignalKind::Abandoned];

/// An event of a controller: some time passes, and a call is sent or answered.
#[derive(Clone, Copy, Debug)]
struct Step {
    pause: Duration,
    sent: bool,
    kind: SignalKind,
    latency: Duration,
    in_flight: u32,
}

fn step() -> impl Strategy<Value = Step> {
    (0_u64..3000, any::<bool>(), 0_usize..4, 0_u64..20_000, 1_u32..2000).prop_map(
        |(pause, sent, kind, latency, in_flight)| Step {
            pause: millis(pause),
            sent,
            kind: KINDS[kind],
            latency: millis(latency),
            in_flight,
        },
    )
}

fn play(
    controller: &mut dyn CongestionController,
    steps: &[Step],
    mut check: impl FnMut(Duration, Allowance),
) {
    let mut now = Duration::ZERO;
    for step in steps {
        now += step.pause;
        if step.sent {
            controller.on_sent(now, step.in_flight);
        } else {
            let sent_at = now.saturating_sub(step.latency);
            let signal = Signal::new(step.kind, sent_at, now - sent_at, step.in_flight);
            controller.on_signal(now, &signal);
        }
        check(now, controller.allowance(now));
    }
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    let rate = prop::option::of((1_u32..5000, prop::sample::select(vec![1_u64, 10, 60])));
    (prop::option::of(1_u32..5000), rate).prop_map(|(concurrency, rate)| {
        Capabilities::default()
            .with_concurrency(concurrency)
            .with_rate(rate.map(|(invocations, window)| RateLimit::new(invocations, secs(window))))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rates_stay_within_their_bounds(steps in prop::collection::vec(step(), 1..300)) {
        let mut aimd = Aimd::new(Pace::new(50.0).with_bounds(2.0, 300.0));
        let mut pid = Pid::new(Pace::new(50.0).with_bounds(2.0, 300.0));
        for controller in [&mut aimd as &mut dyn CongestionController, &mut pid] {
            play(controller, &steps, |_, allowance| {
                let rate = allowance.per_second.unwrap();
                assert!((2.0..=300.0).contains(&rate), "{rate}");
                assert!(allowance.burst >= 1);
            });
        }
    }

    #[test]
    fn every_controller_lets_a_call_through_in_finite_time(
        capabilities in capabilities(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut controller = Adaptive::from_capabilities(&capabilities);
        let longest = capabilities.rate.map_or(secs(10), |rate| rate.window.max(secs(10)) * 2);
        play(&mut controller, &steps, |now, allowance| {
            assert!(allowance.concurrency.is_none_or(|limit| limit >= 1));
            assert!(allowance.per_second.is_none_or(|rate| rate.is_finite() && rate > 0.0));
            assert!(allowance.not_before <= now + longest, "{allowance:?} at {now:?}");
        });
    }

    #[test]
    fn an_abandoned_call_changes_nothing(steps in prop::collection::vec(step(), 1..100)) {
        let abandoned = Step { sent: false, kind: SignalKind::Abandoned, ..steps[0] };
        let fresh = || -> Vec<Box<dyn CongestionController>> {
            vec![Box::new(Aimd::new(50.0)), Box::new(Pid::new(50.0)), Box::<Adaptive>::default()]
        };
        for (mut one, mut other) in fresh().into_iter().zip(fresh()) {
            let mut now = Duration::ZERO;
            for step in &steps {
                now += step.pause;
                let signal =
                    Signal::new(abandoned.kind, now, Duration::ZERO, step.in_flight);
                one.on_signal(now, &signal);
                let (seen, expected) = (one.allowance(now), other.allowance(now));
                prop_assert_eq!(seen, expected);
            }
        }
    }

    #[test]
    fn no_window_of_the_quotas_width_holds_more_starts_than_the_quota(
        quota in 1_u32..200, window in prop::sample::select(vec![10_u64, 60]),
        pauses in prop::collection::vec(0_u64..500, 1..500),
    ) {
        let capabilities = Capabilities::default().with_rate(RateLimit::new(quota, secs(window)));
        let mut controller = Adaptive::from_capabilities(&capabilities);
        let mut now = Duration::ZERO;
        let mut starts: Vec<Duration> = Vec::new();
        for pause in pauses {
            now += millis(pause);
            // Growth is for a ceiling that holds: the quota is refused once in each window.
            let allowance = controller.allowance(now);
            if allowance.not_before > now {
                continue;
            }
            controller.on_sent(now, 1);
            starts.push(now);
        }
        // It may probe above the quota, by the first steps only while so little time has passed.
        for (first, at) in starts.iter().enumerate() {
            let end = *at + secs(window);
            if end > secs(2 * window) {
                break;
            }
            let within = starts[first..].iter().take_while(|start| **start < end).count();
            prop_assert!(within <= quota as usize, "{} in {:?}", within, secs(window));
        }
    }
}

pub(crate) fn throttled(sent_at: Duration, in_flight: u32) -> Signal {
    Signal::new(SignalKind::Throttled, sent_at, millis(20), in_flight)
}

#[test]
fn refusals_of_one_round_trip_are_one_event() {
    let known = Capabilities::default().with_concurrency(100);
    let mut adaptive = Adaptive::from_capabilities(&known);
    let mut aimd = Aimd::new(100.0);
    for i in 0..10 {
        adaptive.on_signal(secs(5), &throttled(millis(4980), 100 - i));
        aimd.on_signal(secs(5), &throttled(millis(4980), 100 - i));
    }
    assert_eq!(aimd.allowance(secs(5)).per_second, Some(50.0));
    // Ten of a hundred were refused, so ninety are good: nothing was halved.
    let limit = adaptive.allowance(secs(5)).concurrency.unwrap();
    assert!((86..=90).contains(&limit), "{limit}");
}

#[test]
fn a_pid_that_stood_at_its_floor_for_long_rises_at_once() {
    let mut pid = Pid::new(Pace::new(100.0).with_bounds(1.0, 1000.0));
    let mut now = Duration::ZERO;
    let mut interval = |pid: &mut Pid, kind: SignalKind| {
        for _ in 0..50 {
            pid.on_sent(now, 1);
            pid.on_signal(now, &Signal::new(kind, now, millis(10), 1));
        }
        now += secs(1);
        pid.allowance(now).per_second.unwrap()
    };
    for _ in 0..1000 {
        interval(&mut pid, SignalKind::Throttled);
    }
    assert_eq!(pid.allowance(secs(1000)).per_second, Some(1.0));
    interval(&mut pid, SignalKind::Ok);
    assert!(interval(&mut pid, SignalKind::Ok) > 1.0);
}

#[test]
fn aimd_doubles_then_adds_and_does_not_grow_unused() {
    let mut aimd = Aimd::new(10.0);
    let mut now = Duration::ZERO;
    let mut interval = |aimd: &mut Aimd, calls: u32| {
        for _ in 0..calls {
            aimd.on_sent(now, 1);
        }
        now += secs(1);
        aimd.allowance(now).per_second.unwrap()
    };
    assert_eq!(interval(&mut aimd, 10), 20.0);
    assert_eq!(interval(&mut aimd, 20), 40.0);
    assert_eq!(interval(&mut aimd, 3), 40.0);
    aimd.on_signal(millis(3500), &throttled(millis(3400), 5));
    assert_eq!(interval(&mut aimd, 20), 20.0);
    assert_eq!(interval(&mut aimd, 20), 20.5);
}

#[test]
fn invalid_bounds_do_no_harm() {
    for (min, max) in [(-5.0, -1.0), (f64::NAN, f64::NAN), (300.0, 2.0), (0.0, 0.0)] {
        let mut aimd = Aimd::new(Pace::new(50.0).with_bounds(min, max));
        let rate = aimd.allowance(Duration::ZERO).per_second.unwrap();
        assert!(rate > 0.0 && rate <= 50.0, "{min} and {max} make {rate}");
    }
}

#[test]
fn quotas_that_make_no_sense_are_ignored() {
    let stated = |invocations, window| {
        Capabilities::default().with_rate(RateLimit::new(invocations, window))
    };
    let nonsense = [
        stated(0, secs(1)),
        stated(100, Duration::ZERO),
        stated(100, Duration::MAX),
        stated(u32::MAX, Duration::from_nanos(1)),
        stated(0, Duration::ZERO),
    ];
    for capabilities in nonsense {
        let controllers: [Box<dyn CongestionController>; 3] = [
            Box::new(Adaptive::from_capabilities(&capabilities)),
            Box::new(Aimd::from_capabilities(&capabilities)),
            Box::new(Pid::from_capabilities(&capabilities)),
        ];
        for mut controller in controllers {
            for second in 1..=20 {
                controller.on_sent(secs(second), 1);
                controller.on_signal(secs(second), &throttled(secs(second), 1));
                controller.on_sent(secs(second), 1);
                let endless = Signal::new(SignalKind::Ok, secs(0), Duration::MAX, u32::MAX);
                controller.on_signal(secs(second), &endless);
                let rate = controller.allowance(secs(second)).per_second;
                assert!(
                    rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
                    "{rate:?} of {controller:?}"
                );
            }
        }
    }
    for nothing in [stated(0, secs(1)), stated(100, Duration::ZERO)] {
        let unknown = Capabilities::default();
        let rate = Aimd::from_capabilities(&nothing).allowance(Duration::ZERO);
        assert_eq!(rate, Aimd::from_capabilities(&unknown).allowance(Duration::ZERO));
        let mut adaptive = Adaptive::from_capabilities(&nothing);
        let mut blind = Adaptive::from_capabilities(&unknown);
        for second in 1..=5 {
            for controller in [&mut adaptive, &mut blind] {
                for _ in 0..10 {
                    controller.on_sent(secs(second), 1);
                }
                controller.on_signal(secs(second), &throttled(secs(second), 1));
            }
            assert_eq!(adaptive.allowance(secs(second)), blind.allowance(secs(second)));
        }
    }
}

#[test]
fn a_slow_aimd_does_not_grow_while_nothing_is_sent() {
    let mut aimd = Aimd::new(Pace::new(0.5).with_bounds(0.01, 100.0));
    for second in 1..100 {
        assert_eq!(aimd.allowance(secs(second)).per_second, Some(0.5));
    }
}

#[test]
fn an_interval_without_end_breaks_no_sum() {
    let pace = || Pace::new(f64::INFINITY).with_interval(Duration::MAX);
    let controllers: [Box<dyn CongestionController>; 2] =
        [Box::new(Aimd::new(pace())), Box::new(Pid::new(pace()))];
    for mut controller in controllers {
        for second in 1..=3 {
            controller.on_sent(secs(second), 1);
            controller.on_signal(secs(second), &throttled(secs(second), 1));
        }
        assert!(controller.allowance(secs(4)).per_second.unwrap().is_finite());
    }
}

/// The rate of a PID controller with these gains after each of three intervals in which such a share of a
/// hundred calls was throttled; it begins with 100.
fn steered(gains: Gains, throttled_calls: u32) -> [f64; 3] {
    let mut pid = Pid::new(100.0).with_gains(gains);
    [1, 2, 3].map(|second| {
        let now = secs(second) - millis(500);
        for call in 0..100 {
            let kind = if call < throttled_calls { SignalKind::Throttled } else { SignalKind::Ok };
            pid.on_sent(now, 1);
            pid.on_signal(now, &Signal::new(kind, now, millis(10), 1));
        }
        pid.allowance(secs(second)).per_second.unwrap()
    })
}

#[test]
fn each_term_of_a_pid_weighs_what_its_name_says() {
    let none = Gains::default().with_proportional(0.0).with_integral(0.0).with_derivative(0.0);
    let is = |rates: [f64; 3], logarithms: [f64; 3]| {
        for (rate, logarithm) in rates.into_iter().zip(logarithms) {
            assert!((rate / 100.0 - logarithm.exp()).abs() < 1e-9, "{rates:?}, {logarithms:?}");
        }
    };
    // Half of the calls are refused where one in a hundred is wanted: 0.49 too many, in each interval.
    is(steered(none.with_proportional(1.0), 50), [-0.49, -0.49, -0.49]);
    is(steered(none.with_integral(1.0), 50), [-0.49, -0.98, -1.47]);
    is(steered(none.with_derivative(1.0), 50), [-0.49, 0.0, 0.0]);
    // Half too many is as bad as it gets.
    is(steered(none.with_integral(1.0), 100), [-0.5, -1.0, -1.5]);
    // A change by more than a factor of e in one interval is cut off as well.
    is(steered(none.with_integral(10.0), 50), [-1.0, -2.0, -3.0]);
    // One in a hundred fewer than wanted, which counts ten times.
    is(steered(none.with_proportional(1.0), 0), [0.1, 0.1, 0.1]);
    is(steered(none.with_integral(1.0), 0), [0.1, 0.2, 0.3]);
    // The target is met.
    is(steered(Gains::default(), 1), [0.0, 0.0, 0.0]);
}

#[test]
fn a_pid_learns_nothing_from_an_interval_that_it_did_not_use() {
    let mut pid = Pid::new(100.0);
    for _ in 0..10 {
        pid.on_sent(millis(500), 1);
        pid.on_signal(millis(500), &Signal::new(SignalKind::Ok, millis(500), millis(10), 1));
    }
    assert_eq!(pid.allowance(secs(1)).per_second, Some(100.0));
}

/// Calls of a controller at a time, each answered in this way.
fn calls(pid: &mut Pid, now: Duration, count: u32, kind: SignalKind) {
    for _ in 0..count {
        pid.on_sent(now, 1);
        pid.on_signal(now, &Signal::new(kind, now, millis(10), 1));
    }
}

#[test]
fn a_pid_goes_slower_for_refusals_in_an_interval_that_it_did_not_use() {
    let mut pid = Pid::new(100.0);
    calls(&mut pid, millis(500), 10, SignalKind::Throttled);
    let rate = pid.allowance(secs(1)).per_second.unwrap();
    assert!(rate < 70.0, "{rate}");
}

#[test]
fn a_pid_counts_calls_and_answers_to_the_interval_of_their_time() {
    let gains = Gains::default().with_proportional(0.0).with_integral(1.0).with_derivative(0.0);
    // Nobody asks for the allowance between the two intervals.
    let mut pid = Pid::new(100.0).with_gains(gains);
    calls(&mut pid, millis(500), 50, SignalKind::Ok);
    calls(&mut pid, millis(500), 50, SignalKind::Throttled);
    for _ in 0..100 {
        let signal = Signal::new(SignalKind::Ok, millis(1500), millis(10), 1);
        pid.on_signal(millis(1500), &signal);
    }
    let rate = pid.allowance(millis(1600)).per_second.unwrap();
    assert!((rate / 100.0 - (-0.49_f64).exp()).abs() < 1e-9, "{rate}");

    // A call less than what uses the rate, and one of the next interval.
    let mut pid = Pid::new(100.0).with_gains(gains);
    calls(&mut pid, millis(500), 78, SignalKind::Ok);
    pid.on_sent(millis(1500), 1);
    assert_eq!(pid.allowance(millis(1600)).per_second, Some(100.0));
}

#[test]
fn an_aimd_halves_once_an_interval_and_never_for_what_was_sent_before_it_did() {
    let mut aimd = Aimd::new(100.0);
    let mut rate_after = |now, sent_at| {
        aimd.on_signal(millis(now), &throttled(millis(sent_at), 1));
        aimd.allowance(millis(now)).per_second.unwrap()
    };
    assert_eq!(rate_after(1000, 900), 50.0);
    assert_eq!(rate_after(1500, 1200), 50.0);
    assert_eq!(rate_after(2100, 950), 50.0);
    assert_eq!(rate_after(2200, 2050), 25.0);
}

#[test]
fn an_aimd_begins_with_the_platforms_limits() {
    let stated =
        Capabilities::default().with_concurrency(7).with_rate(RateLimit::new(60, secs(60)));
    let mut aimd = Aimd::from_capabilities(&stated);
    for call in 0..60 {
        aimd.on_sent(secs(call), 1);
        assert_eq!(
            aimd.allowance(secs(call)),
            Allowance::UNLIMITED.with_rate(1.0, 1).with_concurrency(7)
        );
    }
    // The interval is the quota's window, and what is stated need not be searched for.
    assert_eq!(aimd.allowance(secs(60)).per_second, Some(1.05));
}
