//! Providers as data: what they allow, how fast they are, what they lose.

use std::time::Duration;

use falco_core::{Capabilities, RateLimit};

use super::quotas::{Quotas, Ramp, Rate};
use crate::in_memory::{Odds, Settings};
use crate::latency::Latency;
use crate::outages::Away;

/// A provider to simulate.
///
/// # Examples
///
/// ```
/// use falco_testkit::simulation::Provider;
/// use falco_testkit::{Latency, Odds};
/// use std::time::Duration;
///
/// let lossy = Provider {
///     latency: Latency::log_normal(Duration::from_millis(200), 0.5).with_stragglers(0.01, 30.0),
///     odds: Odds { lost: 0.001, unavailable: 0.01, ..Odds::default() },
///     ..Provider::lambda()
/// };
/// # let _ = lossy;
/// ```
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name, for tables.
    pub name: &'static str,
    /// The quotas.
    pub quotas: Quotas,
    /// Whether `capabilities()` state concurrency and rate. Not every provider says what an account may.
    pub states_quotas: bool,
    /// Whether a refusal suggests a wait, where one is known.
    pub states_wait: bool,
    /// How long a request is on its way, before it is allowed or refused.
    pub request_latency: Latency,
    /// How long an activation runs.
    pub latency: Latency,
    /// How long an instance takes to start.
    pub cold_start: Latency,
    /// How long after its end the record of a submitted activation shows.
    pub record_delay: Latency,
    /// Faults by chance; `lost` is the silent drop. Throttling is the quotas' work.
    pub odds: Odds,
    /// When nobody reaches it, from the beginning of the simulation.
    pub outages: Vec<Away>,
}

impl Provider {
    /// Apache OpenWhisk as it is installed: 60 invocations in each minute of the controller's clock, 30 at once.
    pub fn openwhisk() -> Self {
        let (invocations, window) = (60, Duration::from_secs(60));
        let phase = Duration::from_secs(23);
        Self {
            name: "openwhisk",
            quotas: Quotas {
                concurrency: Some(30),
                rate: Some(Rate::FixedWindow { invocations, window, phase }),
                ramp: None,
            },
            states_quotas: true,
            // It sends no Retry-After.
            states_wait: false,
            request_latency: Latency::fixed(Duration::from_millis(10)),
            latency: Latency::log_normal(Duration::from_millis(150), 0.4),
            cold_start: Latency::log_normal(Duration::from_millis(600), 0.3),
            record_delay: Latency::uniform(Duration::from_millis(20), Duration::from_millis(500)),
            odds: Odds::default(),
            outages: Vec::new(),
        }
    }

    /// AWS Lambda with an account's default: 1,000 at once, 10,000 a second, 1,000 more environments in 10 seconds.
    pub fn lambda() -> Self {
        Self {
            name: "lambda",
            quotas: Quotas {
                concurrency: Some(1_000),
                rate: Some(Rate::TokenBucket { per_second: 10_000.0, burst: 10_000 }),
                ramp: Some(Ramp { per_second: 100.0, burst: 1_000 }),
            },
            states_quotas: true,
            states_wait: false,
            request_latency: Latency::fixed(Duration::from_millis(15)),
            latency: Latency::log_normal(Duration::from_secs(1), 0.4),
            cold_start: Latency::log_normal(Duration::from_millis(400), 0.4),
            record_delay: Latency::uniform(Duration::from_millis(20), Duration::from_millis(200)),
            odds: Odds::default(),
            outages: Vec::new(),
        }
    }

    /// AWS Lambda as a new account often finds it: 10 at once, 100 a second.
    pub fn lambda_new_account() -> Self {
        Self {
            name: "lambda, new account",
            quotas: Quotas {
                concurrency: Some(10),
                rate: Some(Rate::TokenBucket { per_second: 100.0, burst: 100 }),
                ramp: Some(Ramp { per_second: 100.0, burst: 1_000 }),
            },
            ..Self::lambda()
        }
    }

    /// Google Cloud Functions, 2nd generation: 100 instances of one activation each, slowly started; nothing is stated
    /// beforehand.
    pub fn google() -> Self {
        Self {
            name: "google",
            quotas: Quotas {
                concurrency: Some(100),
                rate: None,
                ramp: Some(Ramp { per_second: 10.0, burst: 20 }),
            },
            states_quotas: false,
            states_wait: false,
            request_latency: Latency::fixed(Duration::from_millis(20)),
            latency: Latency::log_normal(Duration::from_millis(500), 0.5),
            cold_start: Latency::log_normal(Duration::from_millis(1_500), 0.5),
            record_delay: Latency::ZERO,
            odds: Odds::default(),
            outages: Vec::new(),
        }
    }

    /// All of them, for tables.
    pub fn all() -> Vec<Self> {
        vec![Self::openwhisk(), Self::lambda(), Self::lambda_new_account(), Self::google()]
    }

    /// The capabilities that the provider reports at the beginning.
    pub(super) fn capabilities(&self) -> Capabilities {
        let mut capabilities = Settings::default().capabilities;
        if self.states_quotas {
            capabilities.concurrency = self.quotas.concurrency;
            capabilities.rate = self.quotas.rate.map(|rate| match rate {
                Rate::FixedWindow { invocations, window, .. } => {
                    RateLimit::new(invocations, window)
                }
                Rate::TokenBucket { per_second, .. } => {
                    RateLimit::new(per_second as u32, Duration::from_secs(1))
                }
            });
        }
        capabilities
    }
}
