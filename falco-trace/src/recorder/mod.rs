//! The monitor that records a run.

mod clock;
mod flying;
mod hasher;
mod in_flight;
mod sampling;
mod shared;

use std::sync::Arc;
use std::time::SystemTime;

use falco_core::congestion::GateState;
use falco_core::{
    Completion, Deployment, Error, Event, ExecutionPlan, LogStream, Monitor, Result, RunId, Verdict,
};

use self::in_flight::InFlight;
use self::sampling::{GateOf, Sampling};
use self::shared::Shared;
use crate::call::{CallOutcome, end};
use crate::file::{TraceFile, Writer};
use crate::record::{
    EndRecord, FunctionRecord, LogRecord, LogText, PlannedStage, Record, RunRecord, SettledRecord,
    StageRecord, VERSION,
};
use crate::sink::Sink;
use crate::units::{Micros, Picodollars};
use crate::view::RunView;

/// How much of a log is kept, in bytes.
const LOG_BYTES: usize = 8 * 1024;

/// Records a run: a [`Monitor`] that keeps the run's [numbers](RunView), and hands each record to a
/// [file](Self::with_file) and to [sinks](Self::with_sink).
///
/// Payloads, results and the environment of functions are in none of them.
///
/// # Examples
///
/// ```
/// use falco_trace::{Recorder, TraceFile};
/// use std::sync::Arc;
///
/// # fn main() -> falco_core::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("run.jsonl");
/// let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(path))?);
/// // `RunOptions::with_monitor(recorder.clone())` makes a run report to it.
/// assert_eq!(recorder.view().calls, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    in_flight: Arc<InFlight>,
    gates: Vec<GateOf>,
    sampling: std::sync::OnceLock<Sampling>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// Records the numbers of a run, and nothing else.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared::new()),
            in_flight: Arc::default(),
            gates: Vec::new(),
            sampling: std::sync::OnceLock::new(),
        }
    }

    /// Writes a trace file.
    ///
    /// # Errors
    ///
    /// `Other` when it cannot be created.
    pub fn with_file(self, file: TraceFile) -> Result<Self> {
        self.shared.set_file(Writer::create(file)?);
        Ok(self)
    }

    /// Hands each record to `sink`, too. It may be called more than once.
    #[must_use]
    pub fn with_sink(self, sink: Arc<dyn Sink>) -> Self {
        self.shared.add_sink(sink);
        self
    }

    /// Samples what a gate of congestion control allows and what the platform refuses: ten times a second in the first ten
    /// seconds, then once a second. It may be called for several gates.
    ///
    /// `state` is `Gate::state` of `falco-layers`; `name` says whose gate it is, such as the platform's name.
    #[must_use]
    pub fn with_gate(
        mut self,
        name: impl Into<String>,
        state: impl Fn() -> GateState + Send + Sync + 'static,
    ) -> Self {
        self.gates.push(GateOf { name: name.into(), state: Arc::new(state) });
        self
    }

    /// The numbers until now.
    pub fn view(&self) -> RunView {
        self.shared.view(RunView::clone)
    }

    /// Looks at the numbers until now without copying them. The run waits until `look` returns.
    pub fn with_view<T>(&self, look: impl FnOnce(&RunView) -> T) -> T {
        self.shared.view(look)
    }

    /// Invocations in flight, and those of them that wait: for the limit, a pause, a worker or the platform.
    pub fn in_flight(&self) -> (u64, u64) {
        self.in_flight.counts()
    }

    /// Invocations of a stage that were taken in and have not ended.
    pub fn in_flight_of(&self, stage: &str) -> u64 {
        self.in_flight.count_of(stage)
    }

    /// The time since the run began.
    pub fn now(&self) -> Micros {
        self.shared.now()
    }

    /// Writes everything to the file, and ends it if it is compressed.
    pub fn flush(&self) {
        self.shared.finish();
    }

    fn begin(&self, run: &RunId, plan: Option<&ExecutionPlan>) {
        self.in_flight.clear();
        let at = self.shared.restart();
        let stages = plan.map(ExecutionPlan::stages).unwrap_or_default();
        self.shared.emit(&Record::Run(RunRecord {
            v: VERSION,
            run: run.as_str().to_owned(),
            at: Micros::since_epoch(at),
            falco: env!("CARGO_PKG_VERSION").to_owned(),
            host: host(),
            plan: stages
                .iter()
                .map(|stage| PlannedStage {
                    stage: stage.name.as_str().to_owned(),
                    after: stage.upstream().iter().map(|name| name.as_str().to_owned()).collect(),
                    function: stage.function.name.clone(),
                })
                .collect(),
        }));
        if let Some(sampling) = self.sampling.get() {
            sampling.restart();
        }
        self.sampling
            .get_or_init(|| Sampling::start(&self.shared, &self.in_flight, self.gates.clone()));
    }

    fn function(&self, deployment: &Deployment, error: Option<&Error>) -> FunctionRecord {
        let Deployment { name, id, platform, runtime, scaling, attributes, .. } = deployment;
        FunctionRecord {
            t: self.shared.now(),
            name: name.clone(),
            // An id that is a URL may hold what only the owner of the function should know.
            id: if id.contains("://") { String::new() } else { id.clone() },
            platform: platform.clone(),
            region: attributes.get("region").cloned(),
            runtime: runtime.to_string(),
            mem: scaling.memory_mib,
            timeout: scaling.timeout.map(Micros::from),
            conc: scaling.concurrency,
            error: error.map(ToString::to_string),
        }
    }

    fn recalled(&self, completion: &Completion) {
        let now = self.shared.now();
        self.shared.emit(&Record::Settled(SettledRecord {
            s: completion.stage.as_str().into(),
            i: completion.invocation.as_str().into(),
            at: now,
            t: now,
            o: CallOutcome::of(&completion.outcome),
            recalled: true,
            usd_all: completion.cost.map(Picodollars::from),
        }));
    }
}

impl Monitor for Recorder {
    fn event(&self, event: &Event<'_>) -> Verdict {
        let (shared, now) = (&self.shared, || self.shared.now());
        let stage_record = |stage: &falco_core::StageName, n| StageRecord {
            s: stage.as_str().to_owned(),
            t: now(),
            n,
            name: None,
        };
        match event {
            Event::RunStarted { run, plan } => self.begin(run, *plan),
            Event::RunFinished { error, .. } => {
                let error = error.map(ToString::to_string);
                if let Some(sampling) = self.sampling.get() {
                    sampling.conclude();
                }
                shared.emit(&Record::End(EndRecord { s: None, t: now(), error }));
                shared.finish();
            }
            Event::Deployed { deployment } => {
                shared.emit(&Record::Deployed(self.function(deployment, None)));
            }
            Event::Removed { deployment } => {
                shared.emit(&Record::Removed(self.function(deployment, None)));
            }
            Event::Leftover { deployment, error } => {
                shared.emit(&Record::Leftover(self.function(deployment, Some(error))));
            }
            Event::StageStarted { stage, deployment } => {
                let name = Some(deployment.name.clone());
                let record = StageRecord { name, ..stage_record(stage, None) };
                shared.emit(&Record::Stage(record));
            }
            Event::StageSized { stage, invocations } => {
                shared.emit(&Record::Sized(stage_record(stage, Some(*invocations))));
            }
            Event::Skipped { stage, invocations } => {
                shared.emit(&Record::Skipped(stage_record(stage, Some(*invocations))));
            }
            Event::StageFinished { stage, error } => {
                let error = error.map(ToString::to_string);
                let s = Some(stage.as_str().to_owned());
                shared.emit(&Record::End(EndRecord { s, t: now(), error }));
                shared.flush();
            }
            Event::Recalled { completion } => self.recalled(completion),
            Event::Logged { stage, log } => {
                let record = log_record(stage.as_str(), log, shared.started_at());
                shared.emit(&Record::Log(record));
            }
            Event::OutageStarted { .. } => shared.set_outage(true),
            Event::OutageEnded { .. } => shared.set_outage(false),
            event => self.in_flight.event(event, shared),
        }
        if shared.has_to_stop() { Verdict::Stop } else { Verdict::Continue }
    }
}

fn log_record(stage: &str, log: &falco_core::ActivationLog, start: SystemTime) -> LogRecord {
    let mut room = LOG_BYTES;
    let mut lines: Vec<LogText> = Vec::new();
    for line in log.lines.iter().rev() {
        if room == 0 {
            break;
        }
        let text = end(&line.text, room);
        room = room.saturating_sub(text.len() + 1);
        let stream = match line.stream {
            Some(LogStream::Stdout) => "out",
            Some(LogStream::Stderr) => "err",
            None => "",
        };
        let at = line.at.map(|at| Micros::between(start, at));
        lines.push(LogText(at, stream.to_owned(), text));
    }
    let cut = log.truncated || lines.len() < log.lines.len();
    lines.reverse();
    LogRecord { s: stage.to_owned(), id: log.id.as_str().to_owned(), lines, cut }
}

/// The name of this machine, as the kernel reports it.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
