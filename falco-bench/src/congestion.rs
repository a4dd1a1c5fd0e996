//! How much of a quota each controller uses, how much it has refused, and how fast it follows a change.
//!
//! Everything happens on simulated time, so the figures are exact and the same on every machine.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use falco_core::congestion::{Allowance, CongestionController};
use falco_core::{Capabilities, Deployable, Invocation, Payload, Platform};
use falco_layers::{
    Adaptive, Aimd, Caps, CongestionControl, Fixed, Gate, Pid, Retry, RetryPolicy, Timeout,
    TimeoutPolicy, Trace,
};
use falco_testkit::Latency;
use falco_testkit::simulation::{Counters, Provider, Quotas, Rate, Simulation};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::figure::{Figure, Goal};

/// Simulated time in which goodput and refusals are measured.
const STEADY: Duration = Duration::from_secs(600);
/// Control intervals in which a changed quota has to be in use.
const RECOVERY: u32 = 10;
/// Control intervals that are watched after a change.
const WATCHED: u32 = 20;
/// Intervals in a row over which the use of a changed quota is measured.
const AVERAGED: u32 = 3;

/// The benchmark `congestion`.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for provider in providers() {
        for controller in CONTROLLERS {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()?;
            figures.extend(runtime.block_on(measure(&provider, controller))?);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()?;
            figures.push(runtime.block_on(measure_cap(&provider, controller))?);
        }
    }
    Ok(figures)
}

fn providers() -> Vec<Provider> {
    let minute = |invocations| {
        let (window, phase) = (Duration::from_secs(60), Duration::from_secs(23));
        Some(Rate::FixedWindow { invocations, window, phase })
    };
    let openwhisk = Provider::openwhisk();
    let busier = Provider {
        name: "openwhisk, 120 a minute",
        quotas: Quotas { rate: minute(120), ..openwhisk.quotas.clone() },
        ..openwhisk.clone()
    };
    let concurrency_only = Provider {
        name: "concurrency only",
        quotas: Quotas { concurrency: Some(100), ..Quotas::default() },
        latency: Latency::log_normal(Duration::from_secs(1), 0.4).with_stragglers(0.01, 8.0),
        cold_start: Latency::ZERO,
        ..Provider::lambda()
    };
    let mut all = Provider::all();
    all.insert(1, busier);
    all.push(concurrency_only);
    all
}

struct Contestant {
    name: &'static str,
    /// From what the platform reports, and from what is allowed in truth for the one that needs a number.
    make: fn(&Capabilities, f64) -> Box<dyn CongestionController>,
    is_default: bool,
}

const CONTROLLERS: [&Contestant; 4] = [
    &Contestant {
        name: "adaptive",
        make: |stated, _| Box::new(Adaptive::from_capabilities(stated)),
        is_default: true,
    },
    &Contestant {
        name: "aimd",
        make: |stated, _| Box::new(Aimd::from_capabilities(stated)),
        is_default: false,
    },
    &Contestant {
        name: "pid",
        make: |stated, _| Box::new(Pid::from_capabilities(stated)),
        is_default: false,
    },
    &Contestant {
        name: "fixed",
        make: |stated, allowed| {
            let allowance = Allowance::UNLIMITED.with_rate(allowed, 1);
            Box::new(Fixed::new(match stated.concurrency {
                Some(concurrency) => allowance.with_concurrency(concurrency),
                None => allowance,
            }))
        },
        is_default: false,
    },
];

impl Contestant {
    /// Goals are for the default controller; the others are shown beside it.
    fn goal(&self, goal: Goal) -> Goal {
        if self.is_default { goal } else { Goal::Shown }
    }

    fn controller(&self, simulation: &Simulation) -> anyhow::Result<Box<dyn CongestionController>> {
        let allowed = simulation.sustainable_rate().context("the provider has no limit")?;
        Ok((self.make)(&simulation.platform().capabilities(), allowed))
    }
}

/// The larger of one second and the quota's window.
fn interval(provider: &Provider) -> Duration {
    match provider.quotas.rate {
        Some(Rate::FixedWindow { window, .. }) => window,
        _ => Duration::from_secs(1),
    }
}

fn scaled(quotas: &Quotas, factor: f64) -> Quotas {
    let scale = |n: u32| (f64::from(n) * factor).round() as u32;
    let rate = quotas.rate.map(|rate| match rate {
        Rate::FixedWindow { invocations, window, phase } => {
            Rate::FixedWindow { invocations: scale(invocations), window, phase }
        }
        Rate::TokenBucket { per_second, burst } => {
            Rate::TokenBucket { per_second: per_second * factor, burst: scale(burst) }
        }
        other => other,
    });
    Quotas { concurrency: quotas.concurrency.map(scale), rate, ramp: quotas.ramp }
}

async fn measure(provider: &Provider, contestant: &Contestant) -> anyhow::Result<Vec<Figure>> {
    let simulation = Simulation::new(provider.clone(), 42);
    let mut caller =
        Caller::new(&simulation, contestant.controller(&simulation)?, Caps::default()).await?;
    let interval = interval(provider);
    let allowed = simulation.sustainable_rate().context("the provider has no limit")?;

    caller.run_for(WATCHED * interval).await;
    let before = simulation.counters();
    caller.run_for(STEADY).await;
    let steady = simulation.counters().since(&before);

    let mut recoveries = Vec::new();
    for factor in [0.5, 1.0] {
        let changed = scaled(&provider.quotas, factor);
        simulation.change_quotas(|quotas| *quotas = changed);
        let allowed = simulation.sustainable_rate().context("the provider has no limit")?;
        let mut intervals = Vec::new();
        for _ in 0..WATCHED {
            let before = simulation.counters();
            caller.run_for(interval).await;
            intervals.push(simulation.counters().since(&before));
        }
        recoveries.push(recovery(&intervals, allowed * interval.as_secs_f64()));
    }

    let name = |what: &str| format!("{}, {}: {what}", provider.name, contestant.name);
    let goodput = steady.allowed as f64 / STEADY.as_secs_f64();
    let refused = 100.0 * steady.throttled() as f64 / (steady.arrived.max(1)) as f64;
    let within = contestant.goal(Goal::AtMost(f64::from(RECOVERY)));
    Ok(vec![
        Figure::beside(
            name("goodput"),
            "1/s",
            goodput,
            allowed,
            contestant.goal(Goal::AtLeast(0.9)),
        ),
        Figure::alone(name("refused"), "%", refused, contestant.goal(Goal::AtMost(2.0))),
        Figure::alone(name("after halving"), "intervals", recoveries[0], within),
        Figure::alone(name("after doubling"), "intervals", recoveries[1], within),
    ])
}

/// Control intervals until the quota is in use: until nine tenths of what is allowed are reached with less than
/// two per cent refused, over a few intervals. All that were watched if that does not happen.
fn recovery(intervals: &[Counters], allowed: f64) -> f64 {
    let is_recovered = |some: &[Counters]| {
        let count = |of: fn(&Counters) -> u64| some.iter().map(of).sum::<u64>() as f64;
        let (accepted, refused) = (count(|c| c.allowed), count(|c| c.throttled()));
        accepted >= 0.9 * allowed * f64::from(AVERAGED)
            && refused <= 0.02 * (accepted + refused) + 1.0
    };
    intervals
        .windows(AVERAGED as usize)
        .position(is_recovered)
        .map_or(f64::from(WATCHED), |index| index as f64)
}

/// Calls sent over a cap of half of what is allowed: none, whatever the controller wants.
async fn measure_cap(provider: &Provider, contestant: &Contestant) -> anyhow::Result<Figure> {
    let simulation = Simulation::new(provider.clone(), 42);
    let cap = simulation.sustainable_rate().context("the provider has no limit")? / 2.0;
    let caps = Caps::default().with_per_second(cap);
    let mut caller = Caller::new(&simulation, contestant.controller(&simulation)?, caps).await?;
    // The cap allows what would have been sent in 5 ms on top, since timers are late.
    simulation.watch_cap(cap, 1 + (cap * 0.005).ceil() as u32);
    caller.run_for(60 * interval(provider)).await;
    let over = simulation.counters().over_cap as f64;
    let name = format!("{}, {}: over the cap", provider.name, contestant.name);
    Ok(Figure::alone(name, "calls", over, Goal::AtMost(0.0)))
}

/// Somebody who always wants more: twice as many calls as the provider can run are in line or in flight.
struct Caller {
    calls: FuturesUnordered<BoxFuture<'static, ()>>,
    demand: usize,
    next: Box<dyn Fn() -> BoxFuture<'static, ()> + Send>,
}

impl Caller {
    async fn new(
        simulation: &Simulation,
        controller: Box<dyn CongestionController>,
        caps: Caps,
    ) -> anyhow::Result<Self> {
        let traced = Timeout::new(Trace::new(simulation.platform()), TimeoutPolicy::default());
        let controlled = CongestionControl::new(traced, Gate::capped(controller, caps));
        let platform =
            Retry::new(controlled, RetryPolicy::default()).with_seed(42).with_paced_attempts(true);
        let function =
            Deployable::from_source("f", "python:3".parse()?, "def main(args): return args");
        let deployment = platform.deploy(&function).await?;
        let invocation = Invocation::new("run", "stage", "1", Payload::empty());
        let shared = Arc::new((platform, deployment, invocation));
        let demand = 2 * simulation.provider().quotas.concurrency.unwrap_or(500) as usize + 20;
        Ok(Self {
            calls: FuturesUnordered::new(),
            demand,
            next: Box::new(move || {
                let shared = Arc::clone(&shared);
                Box::pin(async move {
                    let (platform, deployment, invocation) = &*shared;
                    // What came of it is what the provider counts.
                    let _ = platform.invoke(deployment, invocation).await;
                })
            }),
        })
    }

    async fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            while self.calls.len() < self.demand {
                self.calls.push((self.next)());
            }
            let _ = tokio::time::timeout_at(end, self.calls.next()).await;
        }
    }
}
