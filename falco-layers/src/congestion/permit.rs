//! The right to send a call, and what the gate learns when it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use falco_core::congestion::{Signal, SignalKind};

use super::inner::Inner;
use crate::silence::Heard;

/// The right to have one call in flight. Dropped without a word, the call counts as abandoned.
pub struct Permit {
    gate: Arc<Inner>,
    sent_at: Duration,
    expiry: Option<(Duration, u64)>,
    open: bool,
    /// Whether it tries whether the platform is back.
    is_probe: bool,
}

impl Permit {
    pub(super) fn new(gate: Arc<Inner>, sent_at: Duration, is_probe: bool) -> Self {
        Self { gate, sent_at, expiry: None, open: true, is_probe }
    }

    /// Gives the slot back after `time` even if nobody says what came of the call: lost calls must not hold a small
    /// window.
    pub fn expire_after(&mut self, time: Duration) {
        let now = self.gate.now();
        let mut state = self.gate.state();
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

    /// Says that the platform has accepted the call, what that shows of it, and that the call's own answer comes later.
    pub(super) fn accepted(&mut self, heard: Heard<'_>) {
        let is_probe = std::mem::replace(&mut self.is_probe, false);
        self.gate.heard(self.sent_at, is_probe, heard);
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
        let inner = &self.gate;
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
        // Before the controller hears of it, which may panic; a call that is woken waits for the lock.
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
    gate: Arc<Inner>,
    sent_at: Duration,
    is_probe: bool,
}

impl Passage {
    pub(super) fn new(gate: Arc<Inner>, sent_at: Duration, is_probe: bool) -> Self {
        Self { gate, sent_at, is_probe }
    }

    /// Says what the call has shown of the platform.
    pub(super) fn heard(self, heard: Heard<'_>) {
        self.gate.heard(self.sent_at, self.is_probe, heard);
    }
}

impl Drop for Passage {
    /// Lets another call try whether the platform is back. After [`heard`](Self::heard) it changes nothing: the gate has
    /// forgotten this probe.
    fn drop(&mut self) {
        if self.is_probe {
            self.gate.heard(self.sent_at, true, Heard::Nothing);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("sent_at", &self.sent_at).finish_non_exhaustive()
    }
}
