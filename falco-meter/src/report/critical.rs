//! The critical path: from the call that ended last back to what let it begin.

use std::collections::HashMap;

use falco_trace::{Micros, RunView};
use serde::Serialize;

use super::collected::{Collected, OneCall};

/// Steps that a report lists.
const LISTED: usize = 200;

/// The parts of a step, in the order in which they pass, with the colour that charts give them.
const PARTS: [(&str, &str); 8] = [
    ("deploy and start", "good"),
    ("driver", "limit"),
    ("pause", "limit"),
    ("rate and window", "limit"),
    ("queue", "queue"),
    ("cold start", "cold"),
    ("execution", "warm"),
    ("transport", "way"),
];

/// The steps of a run that followed one another without a gap, from its start to the end of its last call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CriticalPath {
    /// The steps, first to last.
    pub steps: Vec<PathStep>,
}

/// One step: from the end of the step before to the end of its call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PathStep {
    /// The place of the call among the calls of the trace, from 0.
    pub call: usize,
    /// The index of its stage.
    pub stage: usize,
    /// When it began.
    pub from: Micros,
    /// When it ended.
    pub to: Micros,
    /// Deployment and start, driver, pause before a repeat, wait for rate and window, the provider's queue, cold start,
    /// execution, transport. They add up to the step.
    pub parts: [Micros; 8],
    why: &'static str,
}

impl CriticalPath {
    /// The time from the start of the run to the end of the last step.
    pub fn length(&self) -> Micros {
        self.steps.last().map_or(Micros(0), |step| step.to)
    }
}

pub(super) fn find(all: &Collected) -> CriticalPath {
    let index = Index::new(all);
    let mut steps = Vec::new();
    let mut current = (0..all.calls.len()).max_by_key(|call| all.calls[*call].done);
    while let Some(call) = current {
        let (before, why) = index.before(call);
        let from = before.map_or(Micros(0), |before| all.calls[before].done);
        let one = &all.calls[call];
        let repeats = why == REPEAT;
        steps.push(PathStep {
            call,
            stage: usize::from(one.stage),
            from,
            to: one.done,
            parts: split(one, from, before.is_none(), repeats),
            why,
        });
        current = before;
    }
    steps.reverse();
    CriticalPath { steps }
}

const REPEAT: &str = "the attempt before had failed or was slow";

/// Splits the time from `from` to the end of a call. What providers report is cut to the time that there was.
fn split(call: &OneCall, from: Micros, is_first: bool, repeats: bool) -> [Micros; 8] {
    let mut parts = [Micros(0); 8];
    let begun = Micros(call.begun.0.clamp(from.0, call.done.0));
    let sent = Micros(call.sent.0.clamp(begun.0, call.done.0));
    let before = if is_first {
        0
    } else if repeats {
        2
    } else {
        1
    };
    parts[before] = begun.since(from);
    parts[3] = sent.since(begun);
    let mut left = call.done.since(sent).0;
    for (part, known) in parts[4..7].iter_mut().zip(call.parts) {
        part.0 = i64::from(known).min(left);
        left -= part.0;
    }
    parts[7] = Micros(left);
    parts
}

/// Finds calls by stage and time, and by id.
struct Index<'a> {
    all: &'a Collected,
    /// The calls of each stage, by when they ended.
    ended: Vec<Vec<usize>>,
    by_id: HashMap<(u16, u64), Vec<usize>>,
    upstream: Vec<Vec<usize>>,
    /// Whether a stage takes results in while the stages before go on: then ids say which result it follows.
    is_pipelined: Vec<bool>,
}

impl<'a> Index<'a> {
    fn new(all: &'a Collected) -> Self {
        let stages = &all.view.stages;
        let mut ended = vec![Vec::new(); stages.len()];
        let mut by_id: HashMap<(u16, u64), Vec<usize>> = HashMap::new();
        for (index, call) in all.calls.iter().enumerate() {
            if let Some(ended) = ended.get_mut(usize::from(call.stage)) {
                ended.push(index);
            }
            by_id.entry((call.stage, call.id)).or_default().push(index);
        }
        for ended in &mut ended {
            ended.sort_by_key(|call| (all.calls[*call].done, *call));
        }
        let position = |name: &String| stages.iter().position(|stage| stage.name == *name);
        let upstream: Vec<Vec<usize>> =
            stages.iter().map(|it| it.after.iter().filter_map(position).collect()).collect();
        let first_in = |stage: usize| ended[stage].iter().map(|call| all.calls[*call].at).min();
        let last_out = |stage: &usize| ended[*stage].last().map(|call| all.calls[*call].done);
        let is_pipelined = upstream
            .iter()
            .enumerate()
            .map(|(stage, upstream)| first_in(stage) < upstream.iter().filter_map(last_out).max())
            .collect();
        Self { all, ended, by_id, upstream, is_pipelined }
    }

    /// The event that let this call begin, and in what way.
    fn before(&self, call: usize) -> (Option<usize>, &'static str) {
        let one = &self.all.calls[call];
        let done = |other: &usize| self.all.calls[*other].done;
        // Strictly earlier, so that the way back ends.
        let is_before = |other: &usize, time: Micros| {
            *other != call && (done(other), *other) < (one.done, call) && done(other) <= time
        };
        let attempts = self.by_id.get(&(one.stage, one.id)).into_iter().flatten().copied();
        let earlier = attempts
            .filter(|other| self.all.calls[*other].attempt <= one.attempt)
            .filter(|other| is_before(other, one.begun));
        if let Some(earlier) = earlier.max_by_key(done) {
            return (Some(earlier), REPEAT);
        }
        let stage = usize::from(one.stage);
        let upstream = self.upstream.get(stage).map(Vec::as_slice).unwrap_or_default();
        let is_pipelined = self.is_pipelined.get(stage).copied().unwrap_or_default();
        let parents =
            upstream.iter().filter(|_| is_pipelined).filter_map(|stage| u16::try_from(*stage).ok());
        let parent = parents
            .flat_map(|stage| self.by_id.get(&(stage, one.id)).into_iter().flatten().copied())
            .filter(|other| is_before(other, one.at))
            .max_by_key(done)
            .map(|parent| (parent, "it follows the result of this invocation"));
        let last_upstream = upstream
            .iter()
            .filter_map(|stage| self.last_before(*stage, call, one.at))
            .max_by_key(done)
            .map(|last| (last, "it follows the results of the stage before"));
        let slot = self.last_before(stage, call, one.at).map(|last| (last, "a slot became free"));
        let candidates = [parent.or(last_upstream), slot];
        match candidates.into_iter().flatten().max_by_key(|(other, _)| done(other)) {
            Some((before, why)) => (Some(before), why),
            None => (None, "the run began"),
        }
    }

    /// The call of a stage that ended last before `time`.
    fn last_before(&self, stage: usize, call: usize, time: Micros) -> Option<usize> {
        let (calls, ended) = (&self.all.calls, self.ended.get(stage)?);
        let place = ended.partition_point(|other| calls[*other].done <= time);
        let limit = (calls[call].done, call);
        let earlier = ended[..place].iter().rev();
        earlier.copied().find(|other| (calls[*other].done, *other) < limit)
    }
}

/// The path as a report shows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CriticalState {
    length: Micros,
    steps_total: usize,
    /// Over all steps.
    parts: Vec<(&'static str, Micros, &'static str)>,
    steps: Vec<StepState>,
}

#[derive(Clone, Debug, Serialize)]
struct StepState {
    stage: String,
    id: String,
    from: Micros,
    took: Micros,
    parts: Vec<(&'static str, Micros)>,
    why: &'static str,
}

impl CriticalState {
    pub(super) fn of(path: &CriticalPath, view: &RunView, ids: &HashMap<usize, String>) -> Self {
        let total = |part: usize| Micros(path.steps.iter().map(|step| step.parts[part].0).sum());
        let parts = PARTS.iter().enumerate().map(|(at, (name, kind))| (*name, total(at), *kind));
        let mut listed: Vec<usize> = (0..path.steps.len()).collect();
        if listed.len() > LISTED {
            // The longest, in the order of time.
            let took = |step: &usize| path.steps[*step].to.since(path.steps[*step].from);
            listed.sort_by_key(|step| std::cmp::Reverse(took(step)));
            listed.truncate(LISTED);
            listed.sort_unstable();
        }
        let step = |index: usize| {
            let step = &path.steps[index];
            let named = PARTS.iter().zip(step.parts).map(|((name, _), time)| (*name, time));
            let stage = view.stages.get(step.stage);
            StepState {
                stage: stage.map(|stage| stage.name.clone()).unwrap_or_default(),
                id: ids.get(&step.call).cloned().unwrap_or_default(),
                from: step.from,
                took: step.to.since(step.from),
                parts: named.filter(|(_, time)| time.0 > 0).collect(),
                why: step.why,
            }
        };
        Self {
            length: path.length(),
            steps_total: path.steps.len(),
            parts: parts.filter(|(_, time, _)| time.0 > 0).collect(),
            steps: listed.into_iter().map(step).collect(),
        }
    }
}
