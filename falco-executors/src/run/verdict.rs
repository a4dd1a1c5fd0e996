//! How a stage ended, and the first reason where it did not succeed.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use falco_core::{Error, ErrorKind};

use super::control::StageControl;
use super::cut::{Cut, Unsuccessful};
use crate::report::{Counts, StageReport, StageState, duration, number};

impl StageControl {
    /// The report of the stage, and why it did not succeed; to be asked when the stage has ended.
    pub(super) fn report(&self, stopped_by: Option<&Error>) -> (StageReport, Option<Unsuccessful>) {
        if !self.inputs_are_whole.load(SeqCst) {
            // What would have followed from the missing results, nobody can count.
            self.recorder.skipped(0, true);
        }
        let end = self.verdict(stopped_by);
        let state = end.as_ref().map_or(StageState::Succeeded, |end| end.state);
        let error = end.as_ref().map(|end| end.error.clone());
        (self.recorder.report(&self.stage, state, error), end)
    }

    /// `None` for a stage that succeeded. That takes evidence, not the absence of errors: all inputs were made, all
    /// were taken in, and each of them succeeded.
    fn verdict(&self, stopped_by: Option<&Error>) -> Option<Unsuccessful> {
        let counts = self.recorder.counts();
        let is_whole = self.inputs_are_whole.load(SeqCst)
            && self.exhausted.load(SeqCst)
            && counts.skipped == 0
            && !counts.skipped_is_lower_bound
            && counts.succeeded == self.entered.load(SeqCst);
        let cut = self.cut.get().cloned().or_else(|| stopped_by.map(Cut::by_stop));
        let failure = self.error.get().cloned().or_else(|| self.failure(&counts, is_whole));
        if let Some(error) = failure {
            let error = match &cut {
                Some(cut) if self.error.get().is_none() => error.with_source(&cut.cause),
                _ => error,
            };
            let first_reason = error.clone();
            return Some(Unsuccessful { state: StageState::Failed, error, first_reason });
        }
        if is_whole {
            return None;
        }
        if let Some(cut) = cut {
            let error = cut.error(&self.stage);
            return Some(Unsuccessful { state: cut.state, error, first_reason: cut.cause });
        }
        let message = format!("stage {:?} was stopped before its inputs had ended", self.stage);
        let error = Error::new(ErrorKind::Cancelled, message);
        let first_reason = error.clone();
        Some(Unsuccessful { state: StageState::Failed, error, first_reason })
    }

    /// The error for invocations that failed, and for a deadline that passed.
    fn failure(&self, counts: &Counts, is_whole: bool) -> Option<Error> {
        let deadline = self.recorder.deadline_passed().filter(|_| !is_whole);
        let failed = counts.failed() + counts.unknown;
        match deadline {
            Some(limit) if failed == counts.deadline_exceeded => Some(self.late(limit, counts)),
            None if failed == 0 => None,
            _ => {
                let error = self.failures(failed, counts.entered());
                Some(match deadline {
                    Some(limit) => error.with_source(&self.late(limit, counts)),
                    None => error,
                })
            }
        }
    }

    fn failures(&self, failed: u64, entered: u64) -> Error {
        let mut message =
            format!("stage {:?}: {failed} of {entered} invocations did not succeed", self.stage);
        if let Some(first) = self.recorder.first_failure() {
            message = format!("{message}; first {first}");
        }
        Error::new(ErrorKind::Other, message)
    }

    fn late(&self, limit: Duration, counts: &Counts) -> Error {
        let to_come = if counts.skipped_is_lower_bound { " and those still to come" } else { "" };
        let message = format!(
            "stage {:?}: its deadline of {} passed: {} invocations had succeeded, {} in flight were given up, \
             {} inputs{to_come} were not sent",
            self.stage,
            duration(limit),
            number(counts.succeeded),
            number(counts.deadline_exceeded),
            number(counts.skipped),
        );
        Error::new(ErrorKind::Timeout, message).with_retryable(false)
    }
}
