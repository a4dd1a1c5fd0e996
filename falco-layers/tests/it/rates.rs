//! The arithmetic of controllers that steer a rate once in an interval.

use std::time::Duration;

use falco_core::congestion::CongestionController;
use falco_layers::{Aimd, Caps, Fixed, Gate, Pace, TargetRate};

use crate::controllers::throttled;
use crate::support::*;

#[test]
fn a_rate_that_is_not_a_positive_number_is_the_smallest_one() {
    for rate in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        let mut aimd = Aimd::new(rate);
        assert_eq!(aimd.allowance(Duration::ZERO).per_second, Some(f64::MIN_POSITIVE), "{rate}");
        let mut target = TargetRate::new(rate);
        assert_eq!(target.allowance(Duration::ZERO).per_second, Some(f64::MIN_POSITIVE), "{rate}");
    }
}

#[test]
fn an_aimd_halves_once_in_an_interval_of_any_length() {
    let mut aimd = Aimd::new(Pace::new(100.0).with_interval(secs(10)));
    let mut rate_after = |now, sent_at| {
        aimd.on_signal(secs(now), &throttled(secs(sent_at), 1));
        aimd.allowance(secs(now)).per_second.unwrap()
    };
    assert_eq!(rate_after(1, 0), 50.0);
    assert_eq!(rate_after(9, 8), 50.0);
    assert_eq!(rate_after(11, 8), 25.0);
}

#[test]
fn a_rate_is_used_when_four_fifths_of_the_calls_of_an_interval_were_sent() {
    for (sent, rate) in [(798, 100.0), (799, 200.0)] {
        let mut aimd = Aimd::new(Pace::new(100.0).with_interval(secs(10)));
        for _ in 0..sent {
            aimd.on_sent(secs(5), 1);
        }
        assert_eq!(aimd.allowance(secs(10)).per_second, Some(rate), "{sent} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_is_not_a_positive_number_is_one_call_an_hour() {
    for cap in [0.0, -1.0, f64::NAN] {
        let gate = Gate::capped(Fixed::unlimited(), Caps::default().with_per_second(cap));
        assert_eq!(gate.allowance().per_second, Some(1.0 / 3600.0), "{cap}");
    }
}
