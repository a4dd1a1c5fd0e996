//! The thread that writes out lines and samples what is in flight, once a second.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::in_flight::InFlight;
use super::shared::Shared;
use crate::record::{GateRecord, Record};
use crate::view::RunView;

/// How often lines are handed to the system, and what is allowed is sampled.
const INTERVAL: Duration = Duration::from_secs(1);

/// The allowance of congestion control.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowed {
    /// Invocations that may start per second.
    pub per_second: Option<f64>,
    /// Invocations that may be in flight.
    pub concurrency: Option<u32>,
}

/// Asks what congestion control allows.
#[derive(Clone)]
pub(super) struct GateOf(pub(super) Arc<dyn Fn() -> Allowed + Send + Sync>);

impl std::fmt::Debug for GateOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GateOf")
    }
}

/// The thread that flushes and samples; it ends when this is dropped.
pub(super) struct Sampling {
    end: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl fmt::Debug for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sampling")
    }
}

impl Sampling {
    pub(super) fn start(
        shared: &Arc<Shared>,
        in_flight: &Arc<InFlight>,
        gate: Option<GateOf>,
    ) -> Self {
        let (end, ended) = channel::<()>();
        let (shared, in_flight) = (shared.clone(), in_flight.clone());
        let mut last = GateRecord::default();
        let sampling = move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if shared.view(RunView::is_over) {
                    continue;
                }
                let (fly, wait) = in_flight.counts();
                let allowed = gate.as_ref().map(|gate| (gate.0)()).unwrap_or_default();
                let sample = GateRecord {
                    t: shared.now(),
                    fly,
                    wait,
                    rate: allowed.per_second.map(|rate| rate.round().min(1e9) as u32),
                    window: allowed.concurrency,
                    shut: shared.is_outage(),
                };
                if sample != (GateRecord { t: sample.t, ..last }) {
                    last = sample;
                    shared.emit(&Record::Gate(sample));
                }
                shared.flush();
            }
        };
        // Without the thread lines are flushed at the ends of stages only.
        let thread = thread::Builder::new().name("falco-trace".to_owned()).spawn(sampling).ok();
        Self { end: Some(end), thread }
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed already.
            let _ = thread.join();
        }
    }
}
