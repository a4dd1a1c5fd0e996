//! Where calls wait until the controller lets them through.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use falco_core::congestion::{Allowance, CongestionController, GateState};
use falco_core::{Monitor, Result};

use super::caps::Caps;
use super::inner::Inner;
use super::outage::Way;
use super::permit::{Passage, Permit};

/// The first in line asks the controller again at least this often: an allowance may grow by time alone.
const REVIEW: Duration = Duration::from_secs(1);

/// Lets calls through as its [`CongestionController`] allows, in the order in which they came.
///
/// Quotas are per account: clone the gate, and hand the clones to every
/// [`CongestionControl`](crate::CongestionControl) that uses the same account. A platform's suggested wait
/// stops everything behind the gate until it is over, whichever controller is used.
///
/// When nobody answers for the platform three times in a row, the gate closes: one call at a time tries whether it is
/// back, with pauses of half a second up to ten seconds. Then calls follow in growing batches.
///
/// Put the same gate only once around a platform: a call that has to pass it twice holds a slot while it waits for
/// another one, and where there is only one it waits for ever.
///
/// The waiting ones form one fair line; only the first watches the clock, so that 100,000 cost no more than
/// their futures. A waiting future that is dropped leaves the line. As in every fair line, a future that has become
/// the first one and is never polled holds up those behind it; Falco's executors poll what they start.
///
/// # Examples
///
/// ```
/// # async fn demo() {
/// use falco_core::congestion::SignalKind;
/// use falco_layers::{Fixed, Gate};
///
/// let gate = Gate::new(Fixed::rate(100.0));
/// let permit = gate.admit().await;
/// // .. the call ..
/// permit.finish(SignalKind::Ok, None);
/// assert_eq!(gate.in_flight(), 0);
/// # }
/// ```
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

impl Gate {
    /// A gate without caps.
    pub fn new(controller: impl CongestionController + 'static) -> Self {
        Self::capped(controller, Caps::default())
    }

    /// A gate that stays within `caps`, whatever the controller says.
    pub fn capped(controller: impl CongestionController + 'static, caps: Caps) -> Self {
        Self(Arc::new(Inner::new(Box::new(controller), caps)))
    }

    /// Sets the first and the longest pause between two calls that try whether a platform is back.
    #[must_use]
    pub fn with_outage_pauses(self, first: Duration, longest: Duration) -> Self {
        self.0.state().reach.set_pauses(first, longest);
        self
    }

    /// Waits for its turn, in an outage for as long as that lasts. Dropped, it leaves the line.
    pub async fn admit(&self) -> Permit {
        loop {
            if let Ok(permit) = self.admit_within(Duration::MAX, true).await {
                return permit;
            }
        }
    }

    /// Waits for its turn, in an outage until that has lasted for `patience`.
    ///
    /// # Errors
    ///
    /// Since when nobody has answered.
    pub(super) async fn admit_within(
        &self,
        patience: Duration,
        may_take_long: bool,
    ) -> Result<Permit> {
        let _waiting = Waiting::new(&self.0.waiting);
        let _turn = match self.0.turnstile.try_lock() {
            Ok(turn) => turn,
            Err(_) => self.0.turnstile.lock().await,
        };
        loop {
            self.0.review();
            let until = match self.try_admit(patience, may_take_long) {
                Ok(admitted) => return admitted,
                Err(until) => until,
            };
            // A change between the look and the wait is not missed: `notify_one` leaves a note.
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep_until(self.0.began + until) => {}
            }
        }
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        let now = self.0.now();
        let mut state = self.0.state();
        state.expire(now);
        state.in_flight
    }

    /// Its state at this moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn demo() {
    /// use falco_layers::{Fixed, Gate};
    ///
    /// let gate = Gate::new(Fixed::rate(100.0));
    /// let permit = gate.admit().await;
    /// let state = gate.state();
    /// assert_eq!((state.in_flight, state.waiting, state.paused), (1, 0, None));
    /// # }
    /// ```
    pub fn state(&self) -> GateState {
        let now = self.0.now();
        let mut state = self.0.state();
        state.expire(now);
        let allowance = self.0.caps.apply(state.controller.allowance(now));
        let mut opens_at = allowance.not_before.max(state.pause.until());
        if let Way::Shut(until) = state.reach.way(now) {
            // While a call tries whether the platform is back, nobody knows until when.
            opens_at = opens_at.max(until.min(now + REVIEW));
        }
        GateState::new(allowance)
            .with_in_flight(state.in_flight)
            .with_waiting(self.0.waiting.load(Relaxed))
            .with_paused((opens_at > now).then(|| opens_at - now))
            .with_throttled(state.throttled)
    }

    /// The limits that its controller cannot exceed.
    pub(crate) fn caps(&self) -> Caps {
        self.0.caps
    }

    /// The controller's allowance of this moment, within the caps.
    pub fn allowance(&self) -> Allowance {
        let now = self.0.now();
        self.0.caps.apply(self.0.state().controller.allowance(now))
    }

    /// Whether its controller allows less when calls are refused.
    pub(crate) fn is_reactive(&self) -> bool {
        self.0.state().controller.is_reactive()
    }

    /// How long the platform's suggested waits have kept the gate shut until now.
    pub(super) fn paused(&self) -> Duration {
        let now = self.0.now();
        self.0.state().pause.so_far(now)
    }

    /// How long nobody has answered for the platform, until now.
    pub(super) fn lost(&self) -> Duration {
        let now = self.0.now();
        self.0.state().reach.lost(now)
    }

    /// Waits until a call may be sent that needs no slot: neither an invocation nor limited by the rate.
    ///
    /// # Errors
    ///
    /// As [`admit_within`](Self::admit_within).
    pub(super) async fn pass(&self, patience: Duration, may_take_long: bool) -> Result<Passage> {
        loop {
            self.0.review();
            let now = self.0.now();
            let until = {
                let reach = &mut self.0.state().reach;
                match reach.way(now) {
                    Way::Shut(until) => match reach.given_up(now, patience) {
                        Some(error) => return Err(error),
                        None => until.min(now + REVIEW),
                    },
                    Way::Open | Way::Probe => {
                        let is_probe = reach.sent(now, may_take_long);
                        return Ok(Passage::new(self.0.clone(), now, is_probe));
                    }
                }
            };
            tokio::time::sleep_until(self.0.began + until).await;
        }
    }

    /// Whether nobody answers for the platform at this moment.
    pub(super) fn is_away(&self) -> bool {
        self.0.state().reach.is_away()
    }

    /// Reports outages to `monitor`, beginning with the one of this moment.
    pub(super) fn watch(&self, monitor: Weak<dyn Monitor>) {
        self.0.watch(monitor);
    }

    /// Lets one call through or gives it up, or says when to look again.
    fn try_admit(
        &self,
        patience: Duration,
        may_take_long: bool,
    ) -> Result<Result<Permit>, Duration> {
        let inner = &self.0;
        let now = inner.now();
        let mut state = inner.state();
        state.expire(now);
        let allowance = inner.caps.apply(state.controller.allowance(now));
        let review = now + REVIEW;
        if let Way::Shut(until) = state.reach.way(now) {
            return match state.reach.given_up(now, patience) {
                Some(error) => Ok(Err(error)),
                None => Err(until.min(review)),
            };
        }
        // At least one, or nothing would ever move again.
        if allowance.concurrency.is_some_and(|limit| state.in_flight >= limit.max(1)) {
            return Err(state.next_expiry().map_or(review, |expiry| expiry.min(review)));
        }
        let not_before = allowance.not_before.max(state.pause.until());
        if now < not_before {
            return Err(not_before.min(review));
        }
        match allowance.per_second {
            Some(rate) => {
                let taken = state.bucket.take(now, rate.min(f64::MAX), allowance.burst);
                taken.map_err(|when| when.min(review))?;
            }
            None => state.bucket.skip(now),
        }
        let in_flight = state.in_flight + 1;
        // It may panic: nobody would give back what was counted before.
        state.controller.on_sent(now, in_flight);
        state.in_flight = in_flight;
        let is_probe = state.reach.sent(now, may_take_long);
        Ok(Ok(Permit::new(self.0.clone(), now, is_probe)))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        f.debug_struct("Gate")
            .field("controller", &state.controller)
            .field("caps", &self.0.caps)
            .field("in_flight", &state.in_flight)
            .finish_non_exhaustive()
    }
}

/// Counts a call as waiting until it is admitted, gives up, or is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
