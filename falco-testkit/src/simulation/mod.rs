//! Simulated providers: quotas, ramps, cold starts, stragglers and losses on tokio's clock.
//!
//! Under `start_paused` ten simulated minutes take as long as computing them. The same seed gives the same run, on a
//! current-thread runtime.
//!
//! ```
//! use falco_core::{Deployable, ErrorKind, Invocation, Payload, Platform};
//! use falco_testkit::simulation::{Provider, Simulation};
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> falco_core::Result<()> {
//!     let simulation = Simulation::new(Provider::openwhisk(), 42);
//!     let platform = simulation.platform();
//!     let f = Deployable::from_source("f", "python:3".parse()?, "def main(args): return args");
//!     let f = platform.deploy(&f).await?;
//!     for n in 0..100 {
//!         let invocation = Invocation::new("run", "stage", n.to_string(), Payload::empty());
//!         if let Err(error) = platform.invoke(&f, &invocation).await {
//!             assert_eq!(error.kind(), ErrorKind::Throttled);
//!         }
//!     }
//!     // 60 a minute: the first minute's are soon spent.
//!     assert_eq!(simulation.counters().allowed, 60);
//!     assert_eq!(simulation.counters().throttled_by_rate, 40);
//!     Ok(())
//! }
//! ```

mod meter;
mod provider;
mod quotas;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::Outages;
use crate::in_memory::{Admission, Arrival, Fate, Fates, InMemory, Settings};
use meter::{Bucket, Limit, Meter};

pub use provider::Provider;
pub use quotas::{Quotas, Ramp, Rate};

/// A [`Provider`] at work: the platform, the meter that refuses, and what it has counted.
#[derive(Debug)]
pub struct Simulation {
    platform: Arc<Outages<InMemory>>,
    gate: Arc<Gate>,
    provider: Provider,
}

/// The counts of a simulated provider so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Invocations that were sent to it, by invoke or submit.
    pub arrived: u64,
    /// Invocations that its quotas allowed.
    pub allowed: u64,
    /// Invocations refused for the rate.
    pub throttled_by_rate: u64,
    /// Invocations refused for the concurrency.
    pub throttled_by_concurrency: u64,
    /// Invocations refused because instances cannot be started that fast.
    pub throttled_by_ramp: u64,
    /// Invocations that were sent although the [cap](Simulation::watch_cap) forbids it.
    pub over_cap: u64,
    /// Invocations that were dropped silently.
    pub dropped: u64,
}

impl Counters {
    /// Invocations refused, for whatever reason.
    pub fn throttled(&self) -> u64 {
        self.throttled_by_rate + self.throttled_by_concurrency + self.throttled_by_ramp
    }

    /// The difference to `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            arrived: self.arrived - earlier.arrived,
            allowed: self.allowed - earlier.allowed,
            throttled_by_rate: self.throttled_by_rate - earlier.throttled_by_rate,
            throttled_by_concurrency: self.throttled_by_concurrency
                - earlier.throttled_by_concurrency,
            throttled_by_ramp: self.throttled_by_ramp - earlier.throttled_by_ramp,
            over_cap: self.over_cap - earlier.over_cap,
            dropped: self.dropped - earlier.dropped,
        }
    }
}

impl Simulation {
    /// Starts a provider; its clock begins now.
    pub fn new(provider: Provider, seed: u64) -> Self {
        let gate = Arc::new(Gate {
            states_wait: provider.states_wait,
            state: Mutex::new(State {
                meter: Meter::new(&provider.quotas),
                quotas: provider.quotas.clone(),
                cap: None,
                counters: Counters::default(),
            }),
        });
        let faults = Fates::random(seed, provider.odds.clone());
        let watch = Arc::clone(&gate);
        let begin = Instant::now();
        let fates = Fates::by(move |call| {
            let fate = faults.decide(call);
            if call.invocation.is_some() {
                watch.sent(begin.elapsed(), matches!(fate, Fate::Lose));
            }
            fate
        });
        let settings = Settings {
            capabilities: provider.capabilities(),
            latency: provider.latency.clone(),
            cold_start: provider.cold_start.clone(),
            request_latency: provider.request_latency.clone(),
            record_delay: provider.record_delay.clone(),
            admission: Some(gate.clone()),
            fates,
            seed,
            ..Settings::default()
        };
        let platform = Outages::scheduled(InMemory::new(settings), provider.outages.clone());
        Self { platform: Arc::new(platform), gate, provider }
    }

    /// The platform to send to. It is away when the provider's [outages](Provider::outages) say so, and when a test
    /// [sets](Outages::set) its line so.
    pub fn platform(&self) -> Arc<Outages<InMemory>> {
        Arc::clone(&self.platform)
    }

    /// The provider as it was made.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Changes the quotas from now on; what runs is not stopped, and capabilities that were read before stay as they were.
    pub fn change_quotas(&self, change: impl FnOnce(&mut Quotas)) {
        change(&mut self.gate.state().quotas);
    }

    /// Counts, from now on, what is sent faster than `per_second` after a burst of `burst`: a law for a platform that was given
    /// to keep to a cap.
    pub fn watch_cap(&self, per_second: f64, burst: u32) {
        self.gate.state().cap = Some((per_second, Bucket::full(f64::from(burst))));
    }

    /// Invocations per second that the quotas in force allow in the long run; `None` where nothing limits them.
    ///
    /// Concurrency limits the rate through the mean latency, cold starts not counted.
    pub fn sustainable_rate(&self) -> Option<f64> {
        let latency = self.provider.latency.mean();
        self.gate.state().quotas.sustainable_rate(latency)
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.gate.state().counters
    }
}

/// The entrance between the callers and the instances.
#[derive(Debug)]
struct Gate {
    states_wait: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    quotas: Quotas,
    meter: Meter,
    cap: Option<(f64, Bucket)>,
    counters: Counters,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an invocation at the moment when it is sent.
    fn sent(&self, at: Duration, dropped: bool) {
        let mut state = self.state();
        state.counters.arrived += 1;
        state.counters.dropped += u64::from(dropped);
        if let Some((per_second, bucket)) = &mut state.cap
            && !bucket.take(at, *per_second)
        {
            state.counters.over_cap += 1;
        }
    }
}

impl Admission for Gate {
    fn admit(&self, arrival: &Arrival) -> Result<()> {
        let mut state = self.state();
        let State { quotas, meter, counters, .. } = &mut *state;
        let (limit, wait) = match meter.admit(quotas, arrival) {
            Ok(()) => {
                counters.allowed += 1;
                return Ok(());
            }
            Err(refused) => refused,
        };
        let words = match limit {
            Limit::Rate => {
                counters.throttled_by_rate += 1;
                "too many invocations"
            }
            Limit::Concurrency => {
                counters.throttled_by_concurrency += 1;
                "too many invocations at the same time"
            }
            Limit::Ramp => {
                counters.throttled_by_ramp += 1;
                "instances cannot be started that fast"
            }
        };
        let error = Error::new(ErrorKind::Throttled, words);
        Err(match wait {
            Some(wait) if self.states_wait => error.with_retry_after(wait),
            _ => error,
        })
    }
}
