//! The numbers of a run as the page and the report show them.

mod call;
mod details;
mod times;

use std::collections::BTreeMap;

use falco_trace::{
    CallOutcome, Distribution, GateRecord, GateView, Micros, Percentiles, RunView, StageView,
};
use serde::Serialize;

pub(crate) use self::call::CallState;
pub(crate) use self::details::Details;
use self::times::Times;

/// Calls that an answer lists at most, after the first one.
const RECENT: usize = 300;
/// Samples of the run, and of each gate, in the first answer.
const SAMPLES: usize = 240;

/// The part of the state that changes all the time, in a few kilobytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct State {
    run: String,
    /// Milliseconds since the Unix epoch.
    at: Micros,
    falco: String,
    host: String,
    now: Micros,
    ended: Option<Micros>,
    error: Option<String>,
    in_flight: u64,
    waiting: u64,
    stages: Vec<StageState>,
    /// Samples of the run.
    gates: Vec<GateRecord>,
    controls: Vec<ControlState>,
    /// Whether there is a trace file: out of it calls are listed, and all of them are shown after the end.
    file: bool,
    /// Calls so far: what the next question says as `since`.
    seq: u64,
    /// `[stage, sent, took, class]` of calls that ended since the last question.
    recent: Vec<(usize, Micros, Micros, &'static str)>,
    notes: Vec<String>,
    leftovers: Vec<String>,
}

/// Samples of a gate of congestion control.
#[derive(Clone, Debug, Serialize)]
struct ControlState {
    name: String,
    samples: Vec<GateRecord>,
}

#[derive(Clone, Debug, Serialize)]
struct StageState {
    name: String,
    after: Vec<String>,
    function: Option<String>,
    state: &'static str,
    started: Option<Micros>,
    ended: Option<Micros>,
    error: Option<String>,
    size: Option<u64>,
    skipped: u64,
    done: u64,
    succeeded: u64,
    failed: u64,
    recalled: u64,
    counts: BTreeMap<&'static str, u64>,
    in_flight: u64,
    calls: u64,
    repeats: BTreeMap<&'static str, u64>,
    throttled: u64,
    cold_starts: u64,
    usd: Option<f64>,
    usd_repeats: f64,
    estimated: u64,
    times: Times<Percentiles>,
    sums: Times<Micros>,
}

/// The calls in flight, which no file holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flying {
    pub(crate) now: Option<Micros>,
    pub(crate) all: u64,
    pub(crate) waiting: u64,
    pub(crate) stages: Vec<u64>,
    pub(crate) has_file: bool,
}

/// The part that the page has already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The calls before this one.
    pub(crate) calls: u64,
    /// The samples up to this time.
    pub(crate) samples: Option<Micros>,
}

impl State {
    /// The part that is new to the page.
    pub(crate) fn of(view: &RunView, flying: &Flying, seen: Seen) -> Self {
        let samples = |gate: &GateView| match seen.samples {
            Some(time) => newer(&gate.samples, time),
            None => thinned(&gate.samples, SAMPLES),
        };
        Self::with(view, flying, seen.calls, samples)
    }

    /// All of a run that has ended, without the latest calls, where all are shown anyway.
    pub(crate) fn whole(view: &RunView) -> Self {
        let samples = |gate: &GateView| gate.samples.clone();
        Self { recent: Vec::new(), ..Self::with(view, &Flying::default(), 0, samples) }
    }

    fn with(
        view: &RunView,
        flying: &Flying,
        since: u64,
        samples: impl Fn(&GateView) -> Vec<GateRecord>,
    ) -> Self {
        let stage = |(index, stage): (usize, &StageView)| {
            StageState::of(stage, flying.stages.get(index).copied().unwrap_or_default())
        };
        let recent = view.recent.iter().filter(|call| call.number >= since);
        let most = if since == 0 { usize::MAX } else { RECENT };
        let skip = recent.clone().count().saturating_sub(most);
        Self {
            run: view.run.run.clone(),
            at: view.run.at,
            falco: view.run.falco.clone(),
            host: view.run.host.clone(),
            now: if view.is_over() { view.now } else { flying.now.unwrap_or(view.now) },
            ended: view.ended,
            error: view.error.clone(),
            in_flight: flying.all,
            waiting: flying.waiting,
            stages: view.stages.iter().enumerate().map(stage).collect(),
            gates: view.flight().map(&samples).unwrap_or_default(),
            controls: view
                .controls()
                .map(|gate| ControlState { name: gate.name.clone(), samples: samples(gate) })
                .collect(),
            file: flying.has_file,
            seq: view.calls,
            recent: recent
                .skip(skip)
                .map(|call| {
                    let class = class(call.outcome, call.cold);
                    (call.stage, call.sent, call.done.since(call.sent), class)
                })
                .collect(),
            notes: notes(view),
            leftovers: view.leftovers.iter().map(|left| left.name.clone()).collect(),
        }
    }
}

/// The remarks, and how much of them and of the samples was left out.
fn notes(view: &RunView) -> Vec<String> {
    let more = |count: u64, what: &str| (count > 0).then(|| format!("{count} more {what}"));
    let left_out = [
        more(view.notes_left_out, "notes are in the trace only"),
        more(view.samples_left_out, "samples of congestion control are in the trace only"),
    ];
    let notes = view.notes.iter().map(|note| note.text.clone());
    notes.chain(left_out.into_iter().flatten()).collect()
}

/// The samples after `time`, which are few.
fn newer(samples: &[GateRecord], time: Micros) -> Vec<GateRecord> {
    let first = samples.partition_point(|sample| sample.t <= time);
    thinned(&samples[first..], SAMPLES / 4)
}

/// At most so many samples, spread evenly, and the last one.
fn thinned(samples: &[GateRecord], most: usize) -> Vec<GateRecord> {
    let step = samples.len().div_ceil(most).max(1);
    let last = samples.len().saturating_sub(1);
    let kept = samples.iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last);
    kept.map(|(_, sample)| sample.clone()).collect()
}

pub(crate) fn class(outcome: CallOutcome, cold: bool) -> &'static str {
    match (outcome, cold) {
        (CallOutcome::Ok, true) => "c",
        (CallOutcome::Ok | CallOutcome::Cancelled | CallOutcome::Abandoned, _) => "w",
        _ => "f",
    }
}

impl StageState {
    fn of(stage: &StageView, in_flight: u64) -> Self {
        let counts = CallOutcome::ALL.map(|outcome| (outcome.as_str(), stage.counts.of(outcome)));
        Self {
            name: stage.name.clone(),
            after: stage.after.clone(),
            function: stage.function.clone(),
            state: stage.state().as_str(),
            started: stage.started,
            ended: stage.ended,
            error: stage.error.clone(),
            size: stage.sized,
            skipped: stage.skipped,
            done: stage.counts.ended(),
            succeeded: stage.counts.succeeded(),
            failed: stage.counts.failed(),
            recalled: stage.recalled,
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            in_flight,
            calls: stage.calls,
            repeats: stage.repeats.iter().map(|(why, count)| (why.as_str(), *count)).collect(),
            throttled: stage.throttled,
            cold_starts: stage.cold_starts,
            usd: stage.cost.map(|cost| cost.as_dollars()),
            usd_repeats: stage.cost_of_repeats.as_dollars(),
            estimated: stage.estimated,
            times: Times::of(stage, Distribution::percentiles),
            sums: Times::of(stage, Distribution::sum),
        }
    }
}
