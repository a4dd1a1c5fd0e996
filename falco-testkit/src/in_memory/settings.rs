//! How a platform in memory behaves; may be changed while it runs.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{Bounds, Capabilities, Error, ErrorKind, UsDollars};

use super::admission::Admission;
use super::fate::{Fate, Fates};
use crate::conformance::Fault;
use crate::latency::Latency;

/// How an [`InMemory`](super::InMemory) behaves.
///
/// # Examples
///
/// ```
/// use falco_testkit::{Fate, Fates, InMemory, Latency, Settings};
/// use std::time::Duration;
///
/// let platform = InMemory::new(Settings {
///     latency: Latency::fixed(Duration::from_millis(20)),
///     fates: Fates::sequence([Fate::throttle(Some(Duration::from_secs(1)))]),
///     ..Settings::default()
/// });
/// platform.configure(|settings| settings.capacity = Some(10));
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// The platform's capabilities. Its limits are enforced; `concurrency` and `rate` are words only, see
    /// [`capacity`](Self::capacity).
    pub capabilities: Capabilities,
    /// How long an activation runs, beyond what its function says.
    pub latency: Latency,
    /// How long an instance takes to start, when no idle one is there.
    pub cold_start: Latency,
    /// How long an invoke or submit is on its way, before the platform admits or throttles it.
    pub request_latency: Latency,
    /// How long it takes until a submission is accepted, after it has arrived.
    pub submit_latency: Latency,
    /// How long after its end a submitted activation shows in `collect`.
    pub record_delay: Latency,
    /// How long `deploy`, `fetch_deployment`, `list_deployments`, `scale`, `remove` and `collect` take.
    pub control_latency: Duration,
    /// How many activations may run at once; more are throttled.
    pub capacity: Option<u32>,
    /// The wait that the platform suggests when it is full.
    pub capacity_retry_after: Option<Duration>,
    /// A gate of the test's own, asked before [`capacity`](Self::capacity).
    pub admission: Option<Arc<dyn Admission>>,
    /// How likely it is (0 to 1) that `collect` reports an activation twice in one answer.
    pub duplicates: f64,
    /// The wait that `collect` suggests. `None` is the time until the next of the activations asked for ends.
    pub poll_after: Option<Duration>,
    /// The cost of each activation, whether it succeeds or not.
    pub cost: Option<UsDollars>,
    /// The fate of each call.
    pub fates: Fates,
    /// Whether every call is refused as unauthorised.
    pub unauthorized: bool,
    /// The account that it says it works in.
    pub account: Option<String>,
    /// Where chance begins.
    pub seed: u64,
}

impl Settings {
    /// Makes the platform misbehave as a case of the conformance suite asks for.
    pub fn provoke(&mut self, fault: Fault) {
        let of_invocations = |fate: Fate| {
            Fates::by(move |call| call.invocation.map_or(Fate::Serve, |_| fate.clone()))
        };
        match fault {
            Fault::Unauthorized => self.unauthorized = true,
            Fault::Throttled => self.fates = of_invocations(Fate::throttle(None)),
            Fault::Silent => self.fates = Fates::by(|_| Fate::Hang),
            Fault::LostAnswer => self.fates = of_invocations(Fate::reset()),
            Fault::Unreachable => {
                let error = Error::new(ErrorKind::Unavailable, "connection refused");
                let fate = Fate::Refuse(error.with_unreachable(true));
                self.fates = Fates::by(move |_| fate.clone());
            }
            Fault::Gone => self.fates = of_invocations(Fate::Vanish),
            Fault::Duplicates => self.duplicates = 1.0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capabilities: Capabilities::default()
                .with_submit(true)
                .with_adopt(true)
                .with_logs(true)
                .with_scaling(true)
                .with_shim(true)
                .with_memory_mib(Bounds { min: 64, max: 65_536 })
                .with_timeout(Bounds {
                    min: Duration::from_millis(1),
                    max: Duration::from_secs(86_400),
                })
                .with_runtimes(["python:3", "nodejs:22", "native"]),
            latency: Latency::ZERO,
            cold_start: Latency::ZERO,
            request_latency: Latency::ZERO,
            submit_latency: Latency::ZERO,
            record_delay: Latency::ZERO,
            control_latency: Duration::ZERO,
            capacity: None,
            capacity_retry_after: None,
            admission: None,
            duplicates: 0.0,
            poll_after: None,
            cost: None,
            fates: Fates::SERVE,
            unauthorized: false,
            account: None,
            seed: 0,
        }
    }
}
