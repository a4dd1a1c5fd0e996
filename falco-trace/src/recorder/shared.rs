//! Where records go: the numbers, the file, the sinks.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::file::Writer;
use crate::record::{NoteRecord, Record};
use crate::sink::Sink;
use crate::units::Micros;
use crate::view::RunView;

/// Tracebacks of a run that are kept at most.
const TRACES: i64 = 1_000;

/// Where records go.
pub(super) struct Shared {
    clock: RwLock<(Instant, SystemTime)>,
    state: Mutex<State>,
    sinks: RwLock<Vec<Arc<dyn Sink>>>,
    stop: AtomicBool,
    outage: AtomicBool,
    traces_left: AtomicI64,
    has_errors: AtomicBool,
    /// Remarks that sinks have made already: a run may be finished twice.
    remarks: Mutex<Vec<String>>,
}

/// Under one lock, so that the file holds the records in the order in which the numbers have taken them.
struct State {
    view: RunView,
    file: Option<Writer>,
    line: Vec<u8>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        let state = State { view: RunView::default(), file: None, line: Vec::new() };
        Self {
            clock: RwLock::new((Instant::now(), SystemTime::now())),
            state: Mutex::new(state),
            sinks: RwLock::default(),
            stop: AtomicBool::new(false),
            outage: AtomicBool::new(false),
            traces_left: AtomicI64::new(TRACES),
            has_errors: AtomicBool::new(true),
            remarks: Mutex::default(),
        }
    }

    pub(super) fn set_file(&self, file: Writer) {
        self.has_errors.store(file.has_errors(), Relaxed);
        self.state().file = Some(file);
    }

    pub(super) fn add_sink(&self, sink: Arc<dyn Sink>) {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).push(sink);
    }

    /// Begins the run's time.
    pub(super) fn restart(&self) -> SystemTime {
        // In whole microseconds, so that times by the provider's clock are the same when the file is read.
        let now = SystemTime::now();
        let at = SystemTime::UNIX_EPOCH
            + Duration::from_micros(u64::try_from(Micros::since_epoch(now).0).unwrap_or_default());
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), at);
        self.outage.store(false, Relaxed);
        self.traces_left.store(TRACES, Relaxed);
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        at
    }

    pub(super) fn started_at(&self) -> SystemTime {
        self.clock.read().unwrap_or_else(PoisonError::into_inner).1
    }

    pub(super) fn now(&self) -> Micros {
        let start = self.clock.read().unwrap_or_else(PoisonError::into_inner).0;
        Micros::from(Instant::now() - start)
    }

    /// Whether messages of errors, tracebacks and logs are kept.
    pub(super) fn has_errors(&self) -> bool {
        self.has_errors.load(Relaxed)
    }

    /// Whether another traceback is kept.
    pub(super) fn may_keep_trace(&self) -> bool {
        self.traces_left.fetch_sub(1, Relaxed) > 0
    }

    pub(super) fn set_outage(&self, is_on: bool) {
        self.outage.store(is_on, Relaxed);
    }

    pub(super) fn is_outage(&self) -> bool {
        self.outage.load(Relaxed)
    }

    pub(super) fn view<T>(&self, look: impl FnOnce(&RunView) -> T) -> T {
        look(&self.state().view)
    }

    pub(super) fn emit(&self, record: &Record<'_>) {
        if matches!(record, Record::Log(_)) && !self.has_errors() {
            return;
        }
        let failure = {
            let state = &mut *self.state();
            state.view.apply(record);
            state.file.as_mut().and_then(|file| {
                state.line.clear();
                record.write_to(&mut state.line);
                file.line(&state.line, matches!(record, Record::Run(_))).err()
            })
        };
        self.failed(failure);
        for sink in self.sinks().iter() {
            sink.take(record);
        }
    }

    pub(super) fn flush(&self) {
        let failure = self.state().file.as_mut().and_then(|file| file.flush().err());
        self.failed(failure);
    }

    /// Ends the file and the sinks, with a note on what they have dropped.
    pub(super) fn finish(&self) {
        for sink in self.sinks().iter() {
            sink.finish();
        }
        let dropped: u64 = self.sinks().iter().map(|sink| sink.dropped()).sum();
        let lost = (dropped > 0).then(|| format!("{dropped} records could not be exported"));
        let remarks: Vec<String> = self.sinks().iter().filter_map(|sink| sink.remark()).collect();
        for (remark, dropped) in lost
            .into_iter()
            .map(|lost| (lost, dropped))
            .chain(remarks.into_iter().map(|it| (it, 0)))
        {
            let mut known = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.contains(&remark) {
                known.push(remark.clone());
                drop(known);
                self.note(remark, "exported", dropped);
            }
        }
        let failure = self.state().file.as_mut().and_then(|file| file.finish().err());
        self.failed(failure);
    }

    pub(super) fn has_to_stop(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn failed(&self, failure: Option<String>) {
        let Some(failure) = failure else { return };
        tracing::warn!("{failure}; the rest of the trace is lost");
        let (is_required, dropped) = match &self.state().file {
            Some(file) => (file.is_required(), file.dropped()),
            None => (false, 0),
        };
        if is_required {
            self.stop.store(true, Relaxed);
        }
        self.note(format!("{failure}; the rest of the trace is lost"), "written", dropped);
    }

    fn note(&self, text: String, what: &str, dropped: u64) {
        let dropped = [(what.to_owned(), dropped)].into_iter().filter(|(_, n)| *n > 0).collect();
        self.emit(&Record::Note(NoteRecord { t: self.now(), text, dropped }));
    }

    fn sinks(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<dyn Sink>>> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The numbers are added up one by one: a poisoned lock still guards what was added.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut state.file {
            // Nobody is left to hear of a failure.
            let _ = file.finish();
        }
    }
}
