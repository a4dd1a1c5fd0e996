//! Where records go: the numbers, the file, the sinks.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use super::clock::Clock;
use crate::call::Call;
use crate::file::Writer;
use crate::line::write_call;
use crate::record::{NoteRecord, Record};
use crate::sink::Sink;
use crate::units::Micros;
use crate::view::RunView;

/// Tracebacks of a run that are kept at most.
const TRACES: i64 = 1_000;

thread_local! {
    /// The line that a thread writes, before it takes the lock.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where records go.
pub(super) struct Shared {
    clock: Clock,
    state: Mutex<State>,
    sinks: RwLock<Vec<Arc<dyn Sink>>>,
    /// Whether there is a file, or a sink: what nobody takes is not made.
    has_file: AtomicBool,
    has_sinks: AtomicBool,
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
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::new(),
            state: Mutex::new(State { view: RunView::default(), file: None }),
            sinks: RwLock::default(),
            has_file: AtomicBool::new(false),
            has_sinks: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            outage: AtomicBool::new(false),
            traces_left: AtomicI64::new(TRACES),
            has_errors: AtomicBool::new(true),
            remarks: Mutex::default(),
        }
    }

    pub(super) fn set_file(&self, file: Writer) {
        self.has_errors.store(file.has_errors(), Relaxed);
        self.has_file.store(true, Relaxed);
        self.state().file = Some(file);
    }

    pub(super) fn add_sink(&self, sink: Arc<dyn Sink>) {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).push(sink);
        self.has_sinks.store(true, Relaxed);
    }

    /// Begins the run's time.
    pub(super) fn restart(&self) -> SystemTime {
        self.clock.restart();
        self.outage.store(false, Relaxed);
        self.traces_left.store(TRACES, Relaxed);
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.started_at()
    }

    pub(super) fn started_at(&self) -> SystemTime {
        self.clock.started_at()
    }

    pub(super) fn now(&self) -> Micros {
        self.clock.now()
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
        let is_head = matches!(record, Record::Run(_));
        self.keep(is_head, |line| record.write_to(line), |view| view.apply(record));
        self.hand_on(record);
    }

    /// Emits an attempt, which is what nearly all records are.
    pub(super) fn emit_call(&self, call: Call<'_>) {
        self.keep(false, |line| write_call(line, &call), |view| view.call(&call));
        if self.has_sinks.load(Relaxed) {
            self.hand_on(&Record::Call(Box::new(call)));
        }
    }

    /// Adds a record to the numbers and the file. The line is written before the lock is taken.
    fn keep(
        &self,
        is_head: bool,
        write: impl FnOnce(&mut Vec<u8>),
        apply: impl FnOnce(&mut RunView),
    ) {
        let failure = if self.has_file.load(Relaxed) {
            // While a thread ends it has no buffer of its own any more; then this is a new one.
            let mut line = LINE.try_with(RefCell::take).unwrap_or_default();
            line.clear();
            write(&mut line);
            let failure = {
                let state = &mut *self.state();
                apply(&mut state.view);
                state.file.as_mut().and_then(|file| file.line(&line, is_head).err())
            };
            let _ = LINE.try_with(|place| place.replace(line));
            failure
        } else {
            apply(&mut self.state().view);
            None
        };
        self.failed(failure);
    }

    fn hand_on(&self, record: &Record<'_>) {
        if self.has_sinks.load(Relaxed) {
            for sink in self.sinks().iter() {
                sink.take(record);
            }
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
