//! The thread that writes out lines, and samples what is in flight and what is allowed.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use falco_core::congestion::GateState;

use super::in_flight::InFlight;
use super::shared::Shared;
use crate::record::GateRecord;
use crate::record::Record;
use crate::units::Micros;

/// How often lines are handed to the system, and samples are taken.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often samples are taken at the beginning, so that a short run has some, too.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// How many are taken so often.
const FIRST_SAMPLES: u64 = 100;

/// A gate of congestion control, which reports its state.
#[derive(Clone)]
pub(super) struct GateOf {
    pub(super) name: String,
    pub(super) state: Arc<dyn Fn() -> GateState + Send + Sync>,
}

impl fmt::Debug for GateOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GateOf").field(&self.name).finish()
    }
}

/// Takes samples of the run and of its gates.
#[derive(Debug)]
pub(super) struct Sampler {
    shared: Arc<Shared>,
    in_flight: Arc<InFlight>,
    gates: Vec<GateOf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last sample of the run and of each gate: what has not changed is not written again.
    last: Vec<GateRecord>,
    taken: u64,
    /// Nothing follows the end of a run in its file.
    is_over: bool,
}

impl Sampler {
    fn new(shared: Arc<Shared>, in_flight: Arc<InFlight>, gates: Vec<GateOf>) -> Self {
        Self { shared, in_flight, gates, state: Mutex::default() }
    }

    fn restart(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// Takes a sample, the last one of the run if `is_last`; returns how long to wait for the next.
    fn sample(&self, is_last: bool) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_over {
            return INTERVAL;
        }
        state.is_over = is_last;
        state.taken += 1;
        let t = self.shared.now();
        let (fly, wait) = self.in_flight.counts();
        let of_run =
            GateRecord { t, fly, wait, shut: self.shared.is_outage(), ..GateRecord::default() };
        let of_gates = self.gates.iter().map(|gate| record(t, &gate.name, &(gate.state)()));
        let now: Vec<GateRecord> = std::iter::once(of_run).chain(of_gates).collect();
        for (at, sample) in now.iter().enumerate() {
            let before = state.last.get(at);
            if before.is_none_or(|before| *sample != GateRecord { t, ..before.clone() }) {
                self.shared.emit(&Record::Gate(sample.clone()));
            }
        }
        state.last = now;
        if state.taken < FIRST_SAMPLES { FIRST_INTERVAL } else { INTERVAL }
    }
}

fn record(t: Micros, name: &str, state: &GateState) -> GateRecord {
    GateRecord {
        t,
        name: name.to_owned(),
        fly: state.in_flight.into(),
        wait: state.waiting.into(),
        rate: state.allowance.per_second.map(|rate| rate.round().min(1e9) as u32),
        window: state.allowance.concurrency,
        refused: Some(state.throttled),
        shut: state.paused.is_some(),
    }
}

/// The thread that flushes and samples; it ends when this is dropped.
pub(super) struct Sampling {
    sampler: Arc<Sampler>,
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
        gates: Vec<GateOf>,
    ) -> Self {
        let (end, ended) = channel::<()>();
        let sampler = Arc::new(Sampler::new(shared.clone(), in_flight.clone(), gates));
        let (shared, of_thread) = (shared.clone(), sampler.clone());
        let sampling = move || {
            let (mut pause, mut since_flush) = (FIRST_INTERVAL, Duration::ZERO);
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                since_flush += pause;
                pause = of_thread.sample(false);
                if since_flush >= INTERVAL {
                    since_flush = Duration::ZERO;
                    shared.flush();
                }
            }
        };
        // Without the thread lines are flushed at the ends of stages only.
        let thread = thread::Builder::new().name("falco-trace".to_owned()).spawn(sampling).ok();
        Self { sampler, end: Some(end), thread }
    }

    /// A new run begins.
    pub(super) fn restart(&self) {
        self.sampler.restart();
    }

    /// Takes the last sample of the run.
    pub(super) fn conclude(&self) {
        self.sampler.sample(true);
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
