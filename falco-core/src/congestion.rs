//! The contract of congestion control: outcomes in, an allowance out.

use std::fmt::Debug;
use std::time::Duration;

/// Decides how fast and how many invocations may be sent, from what came of earlier ones.
///
/// Synchronous and pure: no clock, no I/O, no randomness that the caller has not handed in. Time is passed in as
/// the time since the controller's layer began, and never goes back.
///
/// # For implementers
///
/// - [`SignalKind::Abandoned`] says nothing about the platform: the rate must not follow it.
/// - The outcomes of calls that were in flight together report one event: do not halve for each of them.
/// - The allowance has to let something through in finite time, or the run stands still.
pub trait CongestionController: Debug + Send {
    /// Learns that a call is sent, with the number of calls in flight, this one included.
    ///
    /// For controllers that count what they let through; the others need not care.
    fn on_sent(&mut self, _now: Duration, _in_flight: u32) {}

    /// Learns what came of a call.
    fn on_signal(&mut self, now: Duration, signal: &Signal);

    /// The allowance from `now` on, until the next signal or the next call.
    fn allowance(&mut self, now: Duration) -> Allowance;

    /// Whether it allows less when calls are refused, as most controllers do.
    ///
    /// Behind such a controller, refused invocations are sent again at the pace of the gate. A controller that returns
    /// false, such as one of a fixed limit, would be refused at the same rate for as long as the platform is busy: there,
    /// a retry budget limits how many refused invocations are sent again.
    fn is_reactive(&self) -> bool {
        true
    }
}

impl<C: CongestionController + ?Sized> CongestionController for Box<C> {
    fn on_sent(&mut self, now: Duration, in_flight: u32) {
        (**self).on_sent(now, in_flight);
    }

    fn on_signal(&mut self, now: Duration, signal: &Signal) {
        (**self).on_signal(now, signal);
    }

    fn allowance(&mut self, now: Duration) -> Allowance {
        (**self).allowance(now)
    }

    fn is_reactive(&self) -> bool {
        (**self).is_reactive()
    }
}

/// The outcome of one call, as a controller sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Signal {
    /// The outcome.
    pub kind: SignalKind,
    /// From sending to the answer.
    pub latency: Duration,
    /// When it was sent, on the controller's time line: signals of one round trip can be distinguished from later ones.
    pub sent_at: Duration,
    /// Calls in flight when the answer came, this one included.
    pub in_flight: u32,
    /// The wait that the platform suggests.
    pub retry_after: Option<Duration>,
}

impl Signal {
    /// A signal of `kind` for a call that was sent at `sent_at`.
    pub fn new(kind: SignalKind, sent_at: Duration, latency: Duration, in_flight: u32) -> Self {
        Self { kind, latency, sent_at, in_flight, retry_after: None }
    }

    /// Adds the wait that the platform suggests.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }
}

/// The outcomes that matter for the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalKind {
    /// The platform ran it, whatever the function answered.
    Ok,
    /// The platform refused it for its rate or concurrency.
    Throttled,
    /// The platform failed in another way.
    Failed,
    /// The caller gave up waiting: the slot returns, and nothing was learned.
    Abandoned,
}

/// An allowance: how much may be sent, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Allowance {
    /// Invocations started per second; `None` is without limit.
    pub per_second: Option<f64>,
    /// Invocations that may start at once after a pause.
    pub burst: u32,
    /// Invocations in flight at the same time; `None` is without limit.
    pub concurrency: Option<u32>,
    /// Nothing is sent before this point of the controller's time line.
    pub not_before: Duration,
}

impl Allowance {
    /// Everything is allowed.
    pub const UNLIMITED: Self =
        Self { per_second: None, burst: 1, concurrency: None, not_before: Duration::ZERO };

    /// Limits the rate.
    #[must_use]
    pub fn with_rate(mut self, per_second: f64, burst: u32) -> Self {
        self.per_second = Some(per_second);
        self.burst = burst;
        self
    }

    /// Limits what is in flight.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: u32) -> Self {
        self.concurrency = Some(concurrency);
        self
    }

    /// Sends nothing before `when`.
    #[must_use]
    pub fn with_not_before(mut self, when: Duration) -> Self {
        self.not_before = when;
        self
    }
}

/// The state of a gate of congestion control at one moment, for traces, meters and programs that watch a run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GateState {
    /// The allowance, within the user's caps.
    pub allowance: Allowance,
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls that wait for their turn.
    pub waiting: u32,
    /// How much longer nothing is sent, since the platform has asked for a pause or does not answer; `None` while calls
    /// pass.
    pub paused: Option<Duration>,
    /// Calls that the platform has refused for its rate or concurrency so far.
    pub throttled: u64,
}

impl GateState {
    /// A gate that has sent nothing.
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance, in_flight: 0, waiting: 0, paused: None, throttled: 0 }
    }

    crate::setters! {
        /// Sets the calls in flight.
        with_in_flight(in_flight: u32);
        /// Sets the calls that wait.
        with_waiting(waiting: u32);
        /// Sets how much longer nothing is sent.
        with_paused(paused: Option<Duration>);
        /// Sets the calls that were refused.
        with_throttled(throttled: u64);
    }
}

const _: fn(&mut dyn CongestionController) = |_| {};
