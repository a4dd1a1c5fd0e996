//! The sensible stack of layers, in one call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, Capabilities, Error, Journal, Result};

use crate::budget::Budget;
use crate::congestion::{Adaptive, Caps, CongestionControl, Gate};
use crate::door::{Door, Place};
use crate::held::{Held, HeldPolicy};
use crate::layer::{Intercepted, Layer};
use crate::replicas::Replicas;
use crate::retry::{Retry, RetryPolicy};
use crate::timeout::{Timeout, TimeoutPolicy};
use crate::trace::Trace;

/// Wraps a platform in all layers, in the order in which they work together:
/// `Retry<CongestionControl<Timeout<Trace<P>>>>`.
///
/// # Why in this order
///
/// - **Retry outside of congestion control.** Each attempt waits for its turn, and the controller hears of every
///   single refusal. The other way round,
///
///   ```text
///   CongestionControl<Retry<P>>      wrong
///   ```
///
///   a retry hides refusals from the controller, which then never slows down (in a prototype 20 % of the calls
///   were throttled instead of 0.9 %), and a call that sleeps between attempts holds a slot that others could use.
/// - **Timeout inside of congestion control.** A call's time begins when it is sent.
///
///   ```text
///   Timeout<CongestionControl<P>>    wrong
///   ```
///
///   With the timeout outside, calls that wait in line time out without ever being sent; the more there are, the
///   more so.
/// - **[Held](Self::with_held) and [journal](Self::with_journal) between congestion control and timeout**, where there are
///   any: `Retry<CongestionControl<Held<Journal<Timeout<Trace<P>>>>>>`. What waits for its turn has no intent on disk yet.
/// - **[Budget](Self::with_budget) next to congestion control, inside.** Each attempt is paid for by itself, and what waits for
///   its turn holds no money back.
/// - **Trace innermost.** A span is one request to the platform; retries and time in line are not in it.
///
/// # Examples
///
/// ```
/// # fn demo(platform: std::sync::Arc<dyn falco_core::AsyncPlatform>) -> falco_core::Result<()> {
/// use falco_layers::{RetryPolicy, Stack};
///
/// let platform = Stack::new().with_max_rate(50.0).with_retry(RetryPolicy::with_retries(3)).wrap(platform)?;
/// # Ok(())
/// # }
/// ```
///
/// Quotas are per account. All stages of a run share its gate, and so do all drivers that are run on the same wrapped
/// platform. Drivers with platforms of their own, which use the same account, are given one:
///
/// ```
/// # use std::sync::Arc;
/// # use falco_core::{AsyncPlatform, Result};
/// use falco_core::Platform;
/// use falco_layers::Stack;
///
/// # fn demo(one: Arc<dyn AsyncPlatform>, other: Arc<dyn AsyncPlatform>) -> Result<()> {
/// let gate = Stack::new().gate(&one.capabilities())?;
/// let one = Stack::new().with_gate(gate.clone()).wrap(one)?;
/// let other = Stack::new().with_gate(gate).wrap(other)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Stack {
    caps: Caps,
    gate: Option<Gate>,
    query_gate: Option<Gate>,
    retry: RetryPolicy,
    outage_patience: Option<Duration>,
    outage_pauses: Option<(Duration, Duration)>,
    timeout: TimeoutPolicy,
    held: Option<HeldPolicy>,
    journal: Option<Arc<dyn Journal>>,
    /// The part of a spread that it is around.
    part: Option<Place>,
    budget: Option<Budget>,
    own: Vec<Arc<dyn Layer>>,
    replicas: Option<u32>,
}

impl Stack {
    /// The defaults: an [`Adaptive`] controller that starts from the platform's capabilities, up to four retries, and
    /// timeouts that follow the function's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts no more than `per_second` invocations a second, whatever the controller finds out.
    #[must_use]
    pub fn with_max_rate(mut self, per_second: f64) -> Self {
        self.caps.per_second = Some(per_second);
        self
    }

    /// Has no more than `calls` invocations in flight.
    #[must_use]
    pub fn with_max_concurrency(mut self, calls: u32) -> Self {
        self.caps.concurrency = Some(calls);
        self
    }

    /// Sends through `gate`, which has a controller and caps of its own, instead of a new one.
    ///
    /// A cap that this stack asks for has to be among them.
    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Asks for results and logs through `gate`, instead of a new one that belongs to this stack alone.
    #[must_use]
    pub fn with_query_gate(mut self, gate: Gate) -> Self {
        self.query_gate = Some(gate);
        self
    }

    /// Tries failed calls again as `policy` says.
    #[must_use]
    pub fn with_retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Waits out an outage of the platform for up to `patience`, whatever the retry policy says; without it, it is what the
    /// policy says, five minutes by default. Zero fails as soon as the attempts are used up.
    #[must_use]
    pub fn with_outage_patience(mut self, patience: Duration) -> Self {
        self.outage_patience = Some(patience);
        self
    }

    /// Sets the first and the longest pause between two calls that try whether the platform is back: half a second and
    /// ten seconds by default. A [given gate](Self::with_gate) has its own.
    #[must_use]
    pub fn with_outage_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.outage_pauses = Some((first, longest));
        self
    }

    /// Ends calls as `policy` says.
    #[must_use]
    pub fn with_timeout(mut self, policy: TimeoutPolicy) -> Self {
        self.timeout = policy;
        self
    }

    /// Makes `submit` out of [held](Held) invokes, whether the platform has a `submit` of its own or not.
    ///
    /// `Held` is put between congestion control and timeout.
    #[must_use]
    pub fn with_held(mut self, policy: HeldPolicy) -> Self {
        self.held = Some(policy);
        self
    }

    /// Records what is about to be sent in `journal`, and holds releases back until the results are on disk.
    ///
    /// Its layer is put between the held calls and the timeout: inside of congestion control, so that what waits for its
    /// turn is not taken for sent.
    #[must_use]
    pub fn with_journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Pays each attempt from `budget`. Give the same budget to the run, as a monitor.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Deploys each function so many times, and lets its invocations take turns among these [`Replicas`]: inside of all
    /// other layers, those of your own included. One by default.
    #[must_use]
    pub fn with_replicas(mut self, replicas: u32) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Puts a layer of your own around the platform, inside of all others: it sees each attempt as it is sent. It may be
    /// called more than once; the first layer is the innermost.
    #[must_use]
    pub fn with_layer(mut self, layer: impl Layer) -> Self {
        self.own.push(Arc::new(layer));
        self
    }

    /// The gate that [`wrap`](Self::wrap) would make for a platform with these capabilities, to be shared.
    ///
    /// # Errors
    ///
    /// As [`wrap`](Self::wrap).
    pub fn gate(&self, capabilities: &Capabilities) -> Result<Gate> {
        self.check()?;
        Ok(match &self.gate {
            Some(gate) => gate.clone(),
            None => {
                let gate = Gate::capped(Adaptive::from_capabilities(capabilities), self.caps);
                match self.outage_pauses {
                    Some((first, longest)) => gate.with_outage_pauses(first, longest),
                    None => gate,
                }
            }
        })
    }

    /// Wraps `platform`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a rate that is not positive, for no concurrency, held calls or replicas at all, for a cap that the
    /// [given gate](Self::with_gate) does not keep, and for a [budget](Self::with_budget) on a platform of unknown prices.
    pub fn wrap(&self, platform: impl AsyncPlatform) -> Result<Arc<dyn AsyncPlatform>> {
        if self.own.is_empty() && self.replicas.is_none() {
            return self.around(platform);
        }
        let mut platform: Arc<dyn AsyncPlatform> = Arc::new(platform);
        if let Some(replicas) = self.replicas {
            platform = Arc::new(Replicas::new(platform, replicas)?);
        }
        self.around(self.own.iter().fold(platform, |inner, layer| layer.layer(inner)))
    }

    /// The layers of one part of a spread: what is around all of them is left out. Of the journal, each part has what
    /// records the attempts: around all of them it would take what waits for a part for sent.
    pub(crate) fn for_part(&self, part: Place) -> Self {
        let (gate, query_gate, part) = (None, None, Some(part));
        let outage_patience = Some(Duration::ZERO);
        let retry = RetryPolicy::none();
        Self { gate, query_gate, part, outage_patience, retry, ..self.clone() }
    }

    /// The journal, for a spread.
    pub(crate) fn journal(&self) -> Option<&Arc<dyn Journal>> {
        self.journal.as_ref()
    }

    /// How calls are tried again, and how long an outage is waited out.
    pub(crate) fn retries(&self) -> RetryPolicy {
        let patience = self.outage_patience.unwrap_or(self.retry.outage_patience);
        self.retry.with_outage_patience(patience)
    }

    fn around(&self, platform: impl AsyncPlatform) -> Result<Arc<dyn AsyncPlatform>> {
        let innermost = Timeout::new(Trace::new(platform), self.timeout);
        match &self.journal {
            Some(journal) if self.part.is_some() => {
                self.held(journal.clone().part_layer(Arc::new(innermost)))
            }
            Some(journal) => self.held(journal.clone().layer(Arc::new(innermost))),
            None => self.held(innermost),
        }
    }

    fn held(&self, innermost: impl AsyncPlatform) -> Result<Arc<dyn AsyncPlatform>> {
        match self.held {
            Some(policy) => self.paid(Held::new(innermost, policy)),
            None => self.paid(innermost),
        }
    }

    fn paid(&self, platform: impl AsyncPlatform) -> Result<Arc<dyn AsyncPlatform>> {
        match &self.part {
            Some(Place { silence, .. }) => {
                let door = Door::new(Arc::new(platform), silence.clone(), self.held.is_some());
                self.budgeted(Intercepted(door))
            }
            None => self.budgeted(platform),
        }
    }

    fn budgeted(&self, platform: impl AsyncPlatform) -> Result<Arc<dyn AsyncPlatform>> {
        let name = self.part.as_ref().map(|part| part.name.as_str());
        match &self.budget {
            Some(budget) => self.outer(budget.wrap_part(Arc::new(platform), name)?),
            None => self.outer(platform),
        }
    }

    fn outer(&self, platform: impl AsyncPlatform) -> Result<Arc<dyn AsyncPlatform>> {
        let gate = self.gate(&falco_core::Platform::capabilities(&platform))?;
        let retry = self.retries();
        // A gate that does not react to refusals leaves it to the retry budget to keep them rare.
        let is_paced = gate.is_reactive();
        let mut control = CongestionControl::new(platform, gate)
            .with_outage_patience(retry.outage_patience)
            .with_held_calls(self.held.is_some());
        if let Some(queries) = &self.query_gate {
            control = control.with_query_gate(queries.clone());
        }
        Ok(Arc::new(Retry::new(control, retry).with_paced_attempts(is_paced)))
    }

    fn check(&self) -> Result<()> {
        let rate = self.caps.per_second.unwrap_or(1.0);
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(Error::invalid_input(format!(
                "the maximum rate must be positive, got {rate}"
            ))
            .with_hint("the highest rate has to be a positive number; leave it out for no cap"));
        }
        let held_calls = self.held.map(|policy| policy.max_calls);
        for (name, calls) in [("concurrency", self.caps.concurrency), ("held calls", held_calls)] {
            if calls == Some(0) {
                return Err(Error::invalid_input(format!("the most {name} must not be zero")));
            }
        }
        match &self.gate {
            Some(gate) => self.check_caps(gate.caps()),
            None => Ok(()),
        }
    }

    /// A cap that is forgotten would be found on the bill.
    fn check_caps(&self, kept: Caps) -> Result<()> {
        let forgotten = |cap: String| {
            let message = format!("the gate that the stack was given may exceed its cap of {cap}");
            Err(Error::invalid_input(message)
                .with_hint("give the cap to Gate::capped, or make the gate by Stack::gate"))
        };
        match (self.caps.per_second, self.caps.concurrency) {
            (Some(cap), _) if kept.per_second.is_none_or(|kept| kept > cap) => {
                forgotten(format!("{cap} invocations a second"))
            }
            (_, Some(cap)) if kept.concurrency.is_none_or(|kept| kept > cap) => {
                forgotten(format!("{cap} invocations in flight"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("caps", &self.caps)
            .field("retry", &self.retry)
            .field("timeout", &self.timeout)
            .field("held", &self.held)
            .field("journal", &self.journal.as_ref().map(|journal| journal.run()))
            .field("replicas", &self.replicas)
            .field("own_layers", &self.own.len())
            .finish_non_exhaustive()
    }
}
