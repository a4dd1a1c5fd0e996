//! The aggregates of a run, in memory that does not grow with its invocations.

mod distribution;
mod failures;
mod gates;
mod heat;
mod series;
mod slowest;
mod stage;

use std::collections::VecDeque;

pub use self::distribution::{Distribution, Percentiles};
pub use self::failures::FailedCall;
pub use self::gates::GateView;
pub use self::heat::{Class, HEAT_COLUMNS, HEAT_ROWS, HeatMap};
pub use self::series::{SERIES_POINTS, Series};
use self::slowest::{SLOWEST, took};
pub use self::stage::{Costs, Counts, StageState, StageView};
use crate::call::{Call, CallOutcome};
use crate::record::{FunctionRecord, GateRecord, NoteRecord, Record, RunRecord};
use crate::units::Micros;

/// How many of the latest calls are kept.
const RECENT: usize = 2_000;
/// How many gates are kept.
const GATES: usize = 100;
/// How many remarks are kept.
const NOTES: usize = 100;

/// The numbers of a run, over all its invocations: filled by the lines of a [trace file](crate::read_file), or by a
/// [`Recorder`](crate::Recorder) while the run goes on. Both ways lead to the same numbers.
///
/// # Examples
///
/// ```
/// use falco_trace::{Call, CallOutcome, Micros, Record, RunView};
///
/// let mut view = RunView::default();
/// let mut call = Call::new("map", "1", Micros(0), Micros(12_000), CallOutcome::Ok);
/// call.last = true;
/// view.apply(&Record::Call(Box::new(call)));
/// assert_eq!(view.stages[0].counts.succeeded(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RunView {
    /// The run.
    pub run: RunRecord,
    /// Its stages, in the order of the plan.
    pub stages: Vec<StageView>,
    /// The functions that were deployed.
    pub functions: Vec<FunctionRecord>,
    /// The functions that could not be removed.
    pub leftovers: Vec<FunctionRecord>,
    /// The latest time that a record has named.
    pub now: Micros,
    /// When the run ended.
    pub ended: Option<Micros>,
    /// Why it did not succeed.
    pub error: Option<String>,
    /// The calls in flight, allowed and refused, as sampled: of the whole run, and of each gate of congestion control.
    pub gates: Vec<GateView>,
    /// The latest calls, oldest first.
    pub recent: VecDeque<RecentCall>,
    /// Remarks of the recorder, the first 100.
    pub notes: Vec<NoteRecord>,
    /// Remarks after those.
    pub notes_left_out: u64,
    /// Samples of further gates of congestion control than the 100 that are kept.
    pub samples_left_out: u64,
    /// Calls so far: the number of the next one.
    pub calls: u64,
}

/// A call that has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecentCall {
    /// Its number, from 0.
    pub number: u64,
    /// The index of its stage.
    pub stage: usize,
    /// When it was sent.
    pub sent: Micros,
    /// When it ended.
    pub done: Micros,
    /// The outcome.
    pub outcome: CallOutcome,
    /// Whether an instance was started for it.
    pub cold: bool,
}

impl RunView {
    /// Adds a record.
    pub fn apply(&mut self, record: &Record<'_>) {
        match record {
            Record::Run(run) => self.begin(run),
            Record::Deployed(function) => {
                self.see(function.t);
                self.functions.push(function.clone());
            }
            Record::Removed(function) => self.see(function.t),
            Record::Leftover(function) => {
                self.see(function.t);
                self.leftovers.push(function.clone());
            }
            Record::Stage(stage) => {
                self.see(stage.t);
                let begun = self.stage_mut(&stage.s);
                begun.started = Some(stage.t);
                begun.function.clone_from(&stage.name);
            }
            Record::Sized(stage) => {
                self.see(stage.t);
                self.stage_mut(&stage.s).sized = stage.n;
            }
            Record::Skipped(stage) => {
                self.see(stage.t);
                self.stage_mut(&stage.s).skipped += stage.n.unwrap_or_default();
            }
            Record::End(end) => {
                self.see(end.t);
                match &end.s {
                    Some(stage) => self.stage_mut(stage).end(end),
                    None => (self.ended, self.error) = (Some(end.t), end.error.clone()),
                }
            }
            Record::Call(call) => self.call(call),
            Record::Settled(settled) => {
                self.see(settled.t);
                self.stage_mut(&settled.s).settled(settled);
            }
            Record::Gate(gate) => self.gate(gate),
            Record::Log(log) => {
                if let Some(stage) = self.stages.iter_mut().find(|stage| stage.name == log.s) {
                    stage.log(log);
                }
            }
            Record::Note(note) => {
                self.see(note.t);
                if self.notes.len() < NOTES {
                    self.notes.push(note.clone());
                } else {
                    self.notes_left_out += 1;
                }
            }
        }
    }

    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&StageView> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The 50 slowest invocations of a stage, or of all of them, slowest first.
    pub fn slowest(&self, stage: Option<&str>) -> Vec<&Call<'static>> {
        let wanted = self.stages.iter().filter(|it| stage.is_none_or(|stage| it.name == stage));
        let mut all: Vec<&Call<'static>> = wanted.flat_map(|stage| &stage.slowest).collect();
        all.sort_by_key(|call| std::cmp::Reverse(took(call)));
        all.truncate(SLOWEST);
        all
    }

    /// The samples of the whole run; none if it was too short for one.
    pub fn flight(&self) -> Option<&GateView> {
        self.gates.iter().find(|gate| gate.name.is_empty())
    }

    /// The samples of the gates of congestion control.
    pub fn controls(&self) -> impl Iterator<Item = &GateView> {
        self.gates.iter().filter(|gate| !gate.name.is_empty())
    }

    /// Whether the run has ended.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    fn begin(&mut self, run: &RunRecord) {
        // Each segment of a file begins with the same run.
        if self.run == *run {
            return;
        }
        *self = Self { run: run.clone(), ..Self::default() };
        self.stages = run
            .plan
            .iter()
            .map(|stage| StageView::new(stage.stage.clone(), stage.after.clone()))
            .collect();
    }

    /// Adds an attempt, which is what nearly all records are.
    pub(crate) fn call(&mut self, call: &Call<'_>) {
        self.see(call.done);
        let stage = self.stage_index(&call.stage);
        self.stages[stage].call(call);
        let recent = RecentCall {
            number: self.calls,
            stage,
            sent: call.sent_at(),
            done: call.done,
            outcome: call.outcome,
            cold: call.cold == Some(true),
        };
        self.calls += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(recent);
    }

    fn gate(&mut self, gate: &GateRecord) {
        self.see(gate.t);
        if let Some(known) = self.gates.iter_mut().find(|known| known.name == gate.name) {
            known.add(gate);
        } else if self.gates.len() < GATES {
            let mut view = GateView::new(&gate.name);
            view.add(gate);
            self.gates.push(view);
        } else {
            self.samples_left_out += 1;
        }
    }

    fn see(&mut self, time: Micros) {
        self.now = self.now.max(time);
    }

    fn stage_index(&mut self, name: &str) -> usize {
        match self.stages.iter().position(|stage| stage.name == name) {
            Some(index) => index,
            None => {
                self.stages.push(StageView::new(name.to_owned(), Vec::new()));
                self.stages.len() - 1
            }
        }
    }

    fn stage_mut(&mut self, name: &str) -> &mut StageView {
        let index = self.stage_index(name);
        &mut self.stages[index]
    }
}
