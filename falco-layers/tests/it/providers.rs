//! The default controller on each simulated provider of the testkit: it uses its quotas, and little is refused.
//!
//! `cargo xtask bench congestion` measures the same for ten minutes, with changes of the quotas, and for all controllers.

use std::time::Duration;

use falco_core::{Invocation, Payload, Platform};
use falco_layers::{Adaptive, CongestionControl, Gate};
use falco_testkit::simulation::{Provider, Rate, Simulation};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::*;

/// Control intervals until it is measured, and in which it is measured.
const WARM_UP: u32 = 15;
const MEASURED: u32 = 15;

async fn check(provider: Provider) {
    let interval = match provider.quotas.rate {
        Some(Rate::FixedWindow { window, .. }) => window,
        _ => Duration::from_secs(1),
    };
    let simulation = Simulation::new(provider, 42);
    let platform = simulation.platform();
    let gate = Gate::new(Adaptive::from_capabilities(&platform.capabilities()));
    let layer = CongestionControl::new(platform, gate);
    let deployment = deployed(&layer).await;
    let began = Instant::now();
    let end = began + (WARM_UP + MEASURED) * interval;
    // Twice as many as could run.
    let demand = 2 * simulation.provider().quotas.concurrency.unwrap();
    let callers = join_all((0..demand).map(|n| {
        let (layer, deployment) = (&layer, &deployment);
        let invocation = Invocation::new("run", "stage", n.to_string(), Payload::empty());
        async move {
            let calling = async {
                loop {
                    // What came of it is what the provider counts.
                    let _ = layer.invoke(deployment, &invocation).await;
                }
            };
            let _ = tokio::time::timeout_at(end, calling).await;
        }
    }));
    let warmed_up = async {
        tokio::time::sleep_until(began + WARM_UP * interval).await;
        simulation.counters()
    };
    let (_, before) = tokio::join!(callers, warmed_up);
    let steady = simulation.counters().since(&before);
    let allowed = simulation.sustainable_rate().unwrap() * (MEASURED * interval).as_secs_f64();
    let goodput = steady.allowed as f64 / allowed;
    assert!(goodput >= 0.9, "{goodput:.3} of the allowed goodput: {steady:?}");
    let refused = steady.throttled() as f64 / steady.arrived as f64;
    assert!(refused < 0.02, "{:.2} % refused: {steady:?}", 100.0 * refused);
}

#[tokio::test(start_paused = true)]
async fn openwhisk_is_used_in_full_and_refuses_little() {
    check(Provider::openwhisk()).await;
}

#[tokio::test(start_paused = true)]
async fn lambda_is_used_in_full_and_refuses_little() {
    check(Provider::lambda()).await;
}

#[tokio::test(start_paused = true)]
async fn lambda_of_a_new_account_is_used_in_full_and_refuses_little() {
    check(Provider::lambda_new_account()).await;
}

#[tokio::test(start_paused = true)]
async fn google_which_reports_no_quota_is_used_in_full_and_refuses_little() {
    check(Provider::google()).await;
}
