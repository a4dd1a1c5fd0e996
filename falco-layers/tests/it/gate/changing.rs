//! Allowances that change by time alone.

use std::time::Duration;

use falco_core::congestion::{Allowance, CongestionController, Signal};
use falco_layers::Gate;
use tokio::time::Instant;

use crate::support::*;

/// Allows a second call when ten seconds are over, without having heard of anything.
#[derive(Debug)]
struct Patient;

impl CongestionController for Patient {
    fn on_signal(&mut self, _: Duration, _: &Signal) {}

    fn allowance(&mut self, now: Duration) -> Allowance {
        Allowance::UNLIMITED.with_concurrency(if now < secs(10) { 1 } else { 2 })
    }
}

#[tokio::test(start_paused = true)]
async fn an_allowance_that_grows_by_time_alone_is_noticed_within_a_second() {
    let gate = Gate::new(Patient);
    let began = Instant::now();
    let _first = gate.admit().await;
    drop(gate.admit().await);
    assert!((secs(10)..=secs(11)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// Allows next to nothing for ten seconds, and then everything, without having heard of anything.
#[derive(Debug)]
struct Hesitant(Allowance);

impl CongestionController for Hesitant {
    fn on_signal(&mut self, _: Duration, _: &Signal) {}

    fn allowance(&mut self, now: Duration) -> Allowance {
        if now < secs(10) { self.0 } else { Allowance::UNLIMITED }
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_changes_its_mind_is_asked_again_within_a_second() {
    for at_first in [
        Allowance::UNLIMITED.with_not_before(secs(3600)),
        Allowance::UNLIMITED.with_rate(1.0 / 3600.0, 1),
    ] {
        let gate = Gate::new(Hesitant(at_first));
        let began = Instant::now();
        drop(gate.admit().await);
        drop(gate.admit().await);
        assert!((secs(10)..=secs(11)).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

/// Allows everything for ten seconds, and then one call a second, but up to fifty at once.
#[derive(Debug)]
struct Strict;

impl CongestionController for Strict {
    fn on_signal(&mut self, _: Duration, _: &Signal) {}

    fn allowance(&mut self, now: Duration) -> Allowance {
        match now < secs(10) {
            true => Allowance::UNLIMITED,
            false => Allowance::UNLIMITED.with_rate(1.0, 50),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nothing_was_limited_is_not_saved_up() {
    let gate = Gate::new(Strict);
    tokio::time::sleep(millis(9999)).await;
    drop(gate.admit().await);
    tokio::time::sleep(millis(1)).await;
    let began = Instant::now();
    for _ in 0..5 {
        drop(gate.admit().await);
    }
    assert!(began.elapsed() >= secs(3), "{:?}", began.elapsed());
}
