//! Where calls wait until the controller lets them through.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use falco_core::congestion::{Allowance, CongestionController, GateState, Signal, SignalKind};
use falco_core::{Event, Monitor, Result, setters};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bucket::TokenBucket;
use super::outage::{Change, Reach, Way};
use super::pause::Pause;
use crate::silence::Heard;

/// The first in line asks the controller again at least this often: an allowance may grow by time alone.
const REVIEW: Duration = Duration::from_secs(1);

/// One call an hour: less is a standstill, and no controller may cause one.
const MIN_RATE: f64 = 1.0 / 3600.0;

/// The limits that no controller may exceed.
///
/// A rate that is not a positive number counts as one call an hour, and a concurrency of zero as one.
///
/// # Examples
///
/// ```
/// use falco_layers::Caps;
///
/// let caps = Caps::default().with_per_second(50.0);
/// assert_eq!(caps.concurrency, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Caps {
    /// Calls started per second, evenly spaced: in any span of time at most `per_second` × (the span + 5 ms) + 1.
    pub per_second: Option<f64>,
    /// Calls in flight.
    pub concurrency: Option<u32>,
}

impl Caps {
    setters! {
        /// Sets how many calls start per second, evenly spaced: in any span of time at most `per_second` × (the span + 5 ms) + 1.
        with_per_second(per_second: Option<f64>);
        /// Sets how many calls are in flight.
        with_concurrency(concurrency: Option<u32>);
    }

    fn apply(self, mut allowance: Allowance) -> Allowance {
        // Of two numbers, `max` takes the one that is a number. A cap may be lower than what a controller may say.
        allowance.per_second = allowance.per_second.map(|rate| rate.max(MIN_RATE));
        if let Some(cap) = self.per_second {
            let cap = if cap > 0.0 { cap } else { MIN_RATE };
            // Evenly spaced also where the controller would be slower in the mean and allow bursts: a burst of its
            // size could be over the cap.
            allowance.per_second = Some(allowance.per_second.map_or(cap, |rate| rate.min(cap)));
            allowance.burst = 1;
        }
        if let Some(cap) = self.concurrency {
            allowance.concurrency = Some(allowance.concurrency.map_or(cap, |limit| limit.min(cap)));
        }
        allowance
    }
}

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
/// The waiting ones stand in one fair line; only the first watches the clock, so that 100,000 cost no more than
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

struct Inner {
    /// The line. Tokio's mutex is fair, and leaving its queue costs the same wherever one stands.
    turnstile: tokio::sync::Mutex<()>,
    /// Wakes the first in line after a change.
    changed: Notify,
    waiting: AtomicU32,
    began: Instant,
    caps: Caps,
    state: Mutex<State>,
    watchers: Mutex<Vec<Weak<dyn Monitor>>>,
}

#[derive(Debug)]
struct State {
    controller: Box<dyn CongestionController>,
    bucket: TokenBucket,
    in_flight: u32,
    throttled: u64,
    pause: Pause,
    reach: Reach,
    /// Permits that are taken back when their time has come, by that time and their number.
    expiring: BTreeSet<(Duration, u64)>,
    next_number: u64,
}

impl Gate {
    /// A gate without caps.
    pub fn new(controller: impl CongestionController + 'static) -> Self {
        Self::capped(controller, Caps::default())
    }

    /// A gate that stays within `caps`, whatever the controller says.
    pub fn capped(controller: impl CongestionController + 'static, caps: Caps) -> Self {
        Self(Arc::new(Inner {
            turnstile: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            waiting: AtomicU32::new(0),
            began: Instant::now(),
            caps,
            state: Mutex::new(State {
                controller: Box::new(controller),
                bucket: TokenBucket::new(),
                in_flight: 0,
                throttled: 0,
                pause: Pause::default(),
                reach: Reach::default(),
                expiring: BTreeSet::new(),
                next_number: 0,
            }),
            watchers: Mutex::default(),
        }))
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
            self.review();
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

    /// How it stands at this moment.
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
            opens_at = opens_at.max(until);
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
            self.review();
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
                        let gate = self.clone();
                        return Ok(Passage { gate, sent_at: now, is_probe, open: true });
                    }
                }
            };
            tokio::time::sleep_until(self.0.began + until).await;
        }
    }

    /// Whether nobody answers for the platform at this moment.
    pub(super) fn is_away(&self) -> bool {
        self.0.state().reach.outage().is_some()
    }

    /// Reports outages to `monitor`, beginning with the one of this moment.
    pub(super) fn watch(&self, monitor: Weak<dyn Monitor>) {
        let error = self.0.state().reach.outage().cloned();
        if let (Some(error), Some(monitor)) = (error, monitor.upgrade()) {
            let _ = monitor.event(&Event::OutageStarted { error: &error });
        }
        let mut watchers = self.0.watchers();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(monitor);
    }

    fn heard(&self, sent_at: Duration, is_probe: bool, heard: Heard<'_>) {
        let now = self.0.now();
        let change = self.0.state().reach.heard(now, sent_at, is_probe, heard);
        if is_probe {
            self.0.changed.notify_one();
        }
        self.announce(change);
    }

    fn review(&self) {
        let now = self.0.now();
        let change = self.0.state().reach.review(now);
        self.announce(change);
    }

    /// Notifies the watchers, outside of the lock.
    fn announce(&self, change: Option<Change>) {
        let Some(change) = change else { return };
        let event = match &change {
            Change::Started(error) => {
                tracing::warn!(%error, "nobody answers for the platform: calls wait");
                Event::OutageStarted { error }
            }
            Change::Ended(lasted) => {
                tracing::warn!(?lasted, "the platform answers again");
                self.0.changed.notify_one();
                Event::OutageEnded { lasted: *lasted }
            }
        };
        let watchers: Vec<_> = self.0.watchers().iter().filter_map(Weak::upgrade).collect();
        for watcher in watchers {
            // A `Stop` is remembered by the runner.
            let _ = watcher.event(&event);
        }
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
        Ok(Ok(Permit { gate: self.clone(), sent_at: now, expiry: None, open: true, is_probe }))
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

impl Inner {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Weak<dyn Monitor>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A controller that panics poisons the lock; the gate goes on with the state as it was.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expire(&mut self, now: Duration) {
        while self.next_expiry().is_some_and(|expiry| expiry <= now) {
            self.expiring.pop_first();
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    fn next_expiry(&self) -> Option<Duration> {
        self.expiring.first().map(|(expiry, _)| *expiry)
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

/// The right to have one call in flight. Dropped without a word, the call counts as abandoned.
pub struct Permit {
    gate: Gate,
    sent_at: Duration,
    expiry: Option<(Duration, u64)>,
    open: bool,
    /// Whether it tries whether the platform is back.
    is_probe: bool,
}

impl Permit {
    /// Gives the slot back after `time` even if nobody says what came of the call: lost calls must not hold a small
    /// window.
    pub fn expire_after(&mut self, time: Duration) {
        let now = self.gate.0.now();
        let mut state = self.gate.0.state();
        if let Some(earlier) = self.expiry.take()
            && !state.expiring.remove(&earlier)
        {
            return; // It has expired already.
        }
        let key = (now.saturating_add(time), state.next_number);
        state.next_number += 1;
        state.expiring.insert(key);
        self.expiry = Some(key);
    }

    /// Says that the platform has accepted the call, and that its answer comes later.
    pub(super) fn accepted(&mut self) {
        let is_probe = std::mem::replace(&mut self.is_probe, false);
        self.gate.heard(self.sent_at, is_probe, Heard::Answer);
    }

    /// Says what came of the call, with the wait that the platform suggests.
    pub fn finish(mut self, kind: SignalKind, retry_after: Option<Duration>) {
        let heard = match kind {
            SignalKind::Ok | SignalKind::Throttled => Heard::Answer,
            _ => Heard::Nothing,
        };
        self.close(kind, retry_after, heard);
    }

    /// As [`finish`](Self::finish), with what the call has shown of the platform.
    pub(super) fn finish_heard(
        mut self,
        kind: SignalKind,
        retry_after: Option<Duration>,
        heard: Heard<'_>,
    ) {
        self.close(kind, retry_after, heard);
    }

    fn close(&mut self, kind: SignalKind, retry_after: Option<Duration>, heard: Heard<'_>) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let inner = &self.gate.0;
        let now = inner.now();
        let mut state = inner.state();
        let in_flight = state.in_flight;
        let holds_slot = self.expiry.is_none_or(|key| state.expiring.remove(&key));
        if holds_slot {
            state.in_flight = in_flight.saturating_sub(1);
        }
        if kind == SignalKind::Throttled {
            state.throttled += 1;
        }
        if let Some(wait) = retry_after {
            state.pause.demand(now, wait);
        }
        let latency = now.saturating_sub(self.sent_at);
        let signal = Signal::new(kind, self.sent_at, latency, in_flight.max(1))
            .with_retry_after(retry_after);
        let change = state.reach.heard(now, self.sent_at, self.is_probe, heard);
        // Before the controller hears of it, which may panic; who is woken waits for the lock.
        inner.changed.notify_one();
        state.controller.on_signal(now, &signal);
        drop(state);
        self.gate.announce(change);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.close(SignalKind::Abandoned, None, Heard::Nothing);
    }
}

/// The right to send a call that takes no slot.
pub(super) struct Passage {
    gate: Gate,
    sent_at: Duration,
    is_probe: bool,
    open: bool,
}

impl Passage {
    /// Says what the call has shown of the platform.
    pub(super) fn heard(mut self, heard: Heard<'_>) {
        self.open = false;
        self.gate.heard(self.sent_at, self.is_probe, heard);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.open && self.is_probe {
            self.gate.heard(self.sent_at, true, Heard::Nothing);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("sent_at", &self.sent_at).finish_non_exhaustive()
    }
}
