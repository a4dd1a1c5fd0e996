//! How much of a quota the default controller uses, how much it has refused, and how fast it follows a change.
//!
//! `cargo xtask bench congestion` measures the same, for longer and for all controllers.

use std::time::Duration;

use falco_core::Platform;
use falco_core::congestion::{Allowance, CongestionController};
use falco_layers::{Adaptive, Aimd, Caps, Fixed, Gate, Pid};

use crate::model::{Provider, Quota, saturate};
use crate::support::*;

/// Calls that want to be sent at any time.
const DEMAND: usize = 400;
/// Intervals within which a changed quota has to be used.
const RECOVERY: u32 = 10;

struct Scenario {
    quota: Quota,
    latency: Duration,
    /// The larger of a second and the quota's window.
    interval: Duration,
    /// Calls per second that the quota allows, as far as it is a rate.
    per_second: Option<f64>,
}

impl Scenario {
    fn allowed(&self) -> f64 {
        // The mean of the model's latency, stragglers included.
        let mean = self.latency.as_secs_f64() * 1.07;
        let by_concurrency = self.quota.concurrency.map(|limit| f64::from(limit) / mean);
        self.per_second.or(by_concurrency).unwrap()
    }

    /// The quota times `factor`.
    fn scaled(&self, factor: f64) -> Quota {
        let scale = |n: u32| (f64::from(n) * factor) as u32;
        let mut quota = self.quota;
        match quota.fixed_window {
            Some((n, width)) => quota.fixed_window = Some((scale(n), width)),
            None => quota.concurrency = quota.concurrency.map(scale),
        }
        quota.per_second = quota.per_second.map(|rate| rate * factor);
        quota
    }

    /// Runs the default controller: warm-up, a steady time, half the quota, and all of it again.
    async fn check(self) {
        let provider = Provider::new(self.quota, self.latency);
        let gate = Gate::new(Adaptive::from_capabilities(&provider.capabilities()));
        let steady_from = 10 * self.interval;
        let halved_at = steady_from + (30 * self.interval).min(secs(600));
        let doubled_at = halved_at + 2 * RECOVERY * self.interval;
        let end = doubled_at + 2 * RECOVERY * self.interval;
        let caller = tokio::spawn({
            let provider = provider.clone();
            async move { saturate(&provider, gate, DEMAND, end).await }
        });
        tokio::time::sleep(halved_at).await;
        provider.set(self.scaled(0.5));
        tokio::time::sleep(doubled_at - halved_at).await;
        provider.set(self.quota);
        caller.await.unwrap();

        let (accepted, refused) = provider.counts(steady_from, halved_at);
        let allowed = self.allowed() * (halved_at - steady_from).as_secs_f64();
        let goodput = accepted as f64 / allowed;
        let share = refused as f64 / (accepted + refused) as f64;
        assert!(goodput >= 0.9, "{goodput:.3} of the allowed goodput");
        assert!(share < 0.02, "{:.2} % refused", share * 100.0);
        for (at, factor) in [(halved_at, 0.5), (doubled_at, 1.0)] {
            let intervals = self.recovery(&provider, at, self.allowed() * factor);
            assert!(intervals <= RECOVERY, "{intervals} intervals to get to {factor} of the quota");
        }
    }

    /// Intervals after `at` until three in a row have nine tenths of what is allowed, and few refusals.
    fn recovery(&self, provider: &Provider, at: Duration, allowed: f64) -> u32 {
        let is_good = |interval: &u32| {
            let from = at + self.interval * *interval;
            let (accepted, refused) = provider.counts(from, from + 3 * self.interval);
            let wanted = 0.9 * allowed * 3.0 * self.interval.as_secs_f64();
            accepted as f64 >= wanted && refused * 50 <= accepted + 50
        };
        (0..2 * RECOVERY).find(is_good).unwrap_or(u32::MAX)
    }
}

#[tokio::test(start_paused = true)]
async fn instances_that_ramp_up_to_a_concurrency() {
    let quota = Quota { concurrency: Some(200), ramp: Some(20.0), ..Quota::default() };
    let interval = secs(1);
    Scenario { quota, latency: millis(500), interval, per_second: None }.check().await;
}

#[tokio::test(start_paused = true)]
async fn sixty_a_fixed_minute_and_thirty_at_once() {
    minute(60).check().await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_and_twenty_a_fixed_minute_and_thirty_at_once() {
    minute(120).check().await;
}

fn minute(limit: u32) -> Scenario {
    let fixed_window = Some((limit, secs(60)));
    Scenario {
        quota: Quota { fixed_window, concurrency: Some(30), ..Quota::default() },
        latency: secs(1),
        interval: secs(60),
        per_second: Some(f64::from(limit) / 60.0),
    }
}

#[tokio::test(start_paused = true)]
async fn places_with_a_queue_that_refuses_after_ten_seconds() {
    let quota = Quota { concurrency: Some(100), queue: secs(10), ..Quota::default() };
    let interval = secs(1);
    Scenario { quota, latency: secs(1), interval, per_second: None }.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_a_second() {
    let quota = Quota { per_second: Some(100.0), ..Quota::default() };
    let interval = secs(1);
    Scenario { quota, latency: millis(200), interval, per_second: Some(100.0) }.check().await;
}

#[tokio::test(start_paused = true)]
async fn concurrency_and_nothing_else() {
    let quota = Quota { concurrency: Some(100), ..Quota::default() };
    let interval = secs(1);
    Scenario { quota, latency: secs(1), interval, per_second: None }.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_unreported_quota_is_found() {
    let quota = Quota { concurrency: Some(300), ..Quota::default() };
    let provider = Provider::new(quota, millis(500));
    saturate(&provider, Gate::new(Adaptive::default()), 1000, secs(60)).await;
    let (accepted, refused) = provider.counts(secs(15), secs(60));
    assert!(accepted as f64 >= 0.9 * 45.0 * 300.0 / 0.535, "{accepted}");
    assert!(refused * 50 < accepted, "{refused} of {accepted}");
}

#[tokio::test(start_paused = true)]
async fn no_controller_gets_over_the_cap() {
    let controllers: [Box<dyn CongestionController>; 4] = [
        Box::<Adaptive>::default(),
        Box::new(Aimd::new(40.0)),
        Box::new(Pid::new(40.0)),
        Box::new(Fixed::new(Allowance::UNLIMITED)),
    ];
    for controller in controllers {
        let name = format!("{controller:?}");
        let provider = Provider::new(Quota::default(), millis(100));
        let caps = Caps::default().with_per_second(20.0).with_concurrency(100);
        saturate(&provider, Gate::capped(controller, caps), 50, secs(60)).await;
        let starts = provider.accepted();
        assert!(starts.len() >= 1100, "{} with {name}", starts.len());
        for (first, at) in starts.iter().enumerate() {
            let within = starts[first..].iter().take_while(|t| **t < *at + secs(1)).count();
            assert!(within <= 21, "{within} in a second with {name}");
        }
    }
}
