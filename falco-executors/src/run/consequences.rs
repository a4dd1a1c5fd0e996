//! The consequences of a stage's early end for the others.

use std::sync::Arc;

use falco_core::{ExecutionPlan, StageName, StageSource};

use super::control::StageControl;
use super::cut::{Cut, Unsuccessful};
use super::options::KeepResults;

/// The stages of a plan, each after those that it follows.
pub(super) struct Consequences(Vec<Connected>);

/// A stage, and its neighbours by their places in the plan.
struct Connected {
    control: Arc<StageControl>,
    upstream: Vec<usize>,
    downstream: Vec<usize>,
    is_barrier: bool,
    /// Whether the user has asked for its results by name.
    is_wanted: bool,
}

impl Consequences {
    pub(super) fn new(
        plan: &ExecutionPlan,
        controls: &[Arc<StageControl>],
        keep: &KeepResults,
    ) -> Self {
        let place = |name: &StageName| plan.stages().iter().position(|stage| stage.name == *name);
        let connected = plan.stages().iter().zip(controls).map(|(stage, control)| Connected {
            control: control.clone(),
            upstream: stage.upstream().iter().filter_map(place).collect(),
            downstream: plan.downstream(&stage.name).filter_map(|next| place(&next.name)).collect(),
            is_barrier: match &stage.source {
                StageSource::Derived { derivation, .. } => derivation.is_barrier(),
                _ => false,
            },
            is_wanted: matches!(keep, KeepResults::Stages(names) if names.contains(&stage.name)),
        });
        Self(connected.collect())
    }

    /// Stops the stages that can do nothing more, now that `at` has ended and not succeeded: those that wait for all
    /// results and follow it, directly or not, and all stages that follow those. When it was cut short, all that
    /// follow it.
    pub(super) fn stop_followers(&self, at: usize, end: &Unsuccessful, was_cut_short: bool) {
        let name = &self.0[at].control.stage;
        let (mut follows, mut stops) = (vec![false; self.0.len()], vec![false; self.0.len()]);
        (follows[at], stops[at]) = (true, was_cut_short);
        for (place, stage) in self.0.iter().enumerate().skip(at + 1) {
            follows[place] = stage.upstream.iter().any(|&upstream| follows[upstream]);
            stops[place] = (follows[place] && stage.is_barrier)
                || stage.upstream.iter().any(|&upstream| stops[upstream]);
            if stops[place] {
                stage.control.cut(Cut::by_upstream(name, end));
                stage.control.stop.cancel();
            }
        }
    }

    /// Stops every stage whose results nobody can use any more: all that follow it have stopped, and the user has not
    /// asked for its results by name.
    pub(super) fn stop_useless(&self, end: &Unsuccessful) {
        for stage in self.0.iter().rev() {
            let has_stopped = |at: &usize| self.0[*at].control.stop.is_cancelled();
            let is_useless = !stage.is_wanted
                && !stage.downstream.is_empty()
                && stage.downstream.iter().all(has_stopped);
            if is_useless && !stage.control.stop.is_cancelled() {
                stage.control.cut(Cut::by_downstream(&end.first_reason));
                stage.control.stop.cancel();
            }
        }
    }
}
