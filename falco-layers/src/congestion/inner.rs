//! The state that the clones of a gate and their permits share.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use falco_core::Monitor;
use falco_core::congestion::CongestionController;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bucket::TokenBucket;
use super::caps::Caps;
use super::outage::{Change, Reach};
use super::pause::Pause;
use super::watchers::Watchers;
use crate::silence::Heard;

pub(super) struct Inner {
    /// The line. Tokio's mutex is fair, and leaving its queue costs the same wherever one stands.
    pub(super) turnstile: tokio::sync::Mutex<()>,
    /// Wakes the first in line after a change.
    pub(super) changed: Notify,
    /// Calls that wait in line.
    pub(super) waiting: AtomicU32,
    pub(super) began: Instant,
    pub(super) caps: Caps,
    state: Mutex<State>,
    watchers: Watchers,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) controller: Box<dyn CongestionController>,
    pub(super) bucket: TokenBucket,
    pub(super) in_flight: u32,
    pub(super) throttled: u64,
    pub(super) pause: Pause,
    pub(super) reach: Reach,
    /// Permits that are taken back when their time has come, by that time and their number.
    pub(super) expiring: BTreeSet<(Duration, u64)>,
    pub(super) next_number: u64,
}

impl Inner {
    pub(super) fn new(controller: Box<dyn CongestionController>, caps: Caps) -> Self {
        Self {
            turnstile: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            waiting: AtomicU32::new(0),
            began: Instant::now(),
            caps,
            state: Mutex::new(State {
                controller,
                bucket: TokenBucket::new(),
                in_flight: 0,
                throttled: 0,
                pause: Pause::default(),
                reach: Reach::default(),
                expiring: BTreeSet::new(),
                next_number: 0,
            }),
            watchers: Watchers::default(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A controller that panics poisons the lock; the gate goes on with the state as it was.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn heard(&self, sent_at: Duration, is_probe: bool, heard: Heard<'_>) {
        let now = self.now();
        let change = self.state().reach.heard(now, sent_at, is_probe, heard);
        if is_probe {
            self.changed.notify_one();
        }
        self.announce(change);
    }

    pub(super) fn review(&self) {
        let now = self.now();
        let change = self.state().reach.review(now);
        self.announce(change);
    }

    /// Reports a change to the log and the watchers.
    pub(super) fn announce(&self, change: Option<Change>) {
        match change {
            None => return,
            Some(Change::Started(error)) => {
                tracing::warn!(%error, "nobody answers for the platform: calls wait");
            }
            Some(Change::Ended(lasted)) => {
                tracing::warn!(?lasted, "the platform answers again");
                self.changed.notify_one();
            }
        }
        self.report();
    }

    /// Reports outages to `monitor`, beginning with the one of this moment.
    pub(super) fn watch(&self, monitor: Weak<dyn Monitor>) {
        self.watchers.add(monitor);
        self.report();
    }

    fn report(&self) {
        self.watchers.report(|| self.state().reach.report());
    }
}

impl State {
    pub(super) fn expire(&mut self, now: Duration) {
        while self.next_expiry().is_some_and(|expiry| expiry <= now) {
            self.expiring.pop_first();
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.expiring.first().map(|(expiry, _)| *expiry)
    }
}

#[cfg(test)]
mod tests;
