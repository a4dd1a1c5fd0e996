//! Progress as plain lines, for logs.

use std::io::Write;
use std::time::Duration;

use super::stage::{Phase, StageProgress};
use crate::report::{duration, number};

/// How much time lies between two lines about running stages.
const INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Lines {
    to: Box<dyn Write + Send>,
}

impl Lines {
    pub(super) fn new(to: Box<dyn Write + Send>) -> Self {
        Self { to }
    }

    pub(super) fn show(&mut self, stage: &mut StageProgress) {
        match &stage.phase {
            Phase::Waiting => {}
            Phase::Running => {
                if stage.is_due(INTERVAL) {
                    self.note(&running(stage));
                }
            }
            Phase::Succeeded => {
                let took = duration(stage.elapsed());
                self.note(&format!("{}: {} done in {took}", stage.name, number(stage.done)));
            }
            Phase::Failed(reason) => {
                let (done, losses) = (number(stage.done), stage.losses());
                self.note(&format!("{}: {done} done, {losses}: {reason}", stage.name));
            }
        }
    }

    pub(super) fn note(&mut self, line: &str) {
        // A closed stderr must not end the run.
        let _ = writeln!(self.to, "{line}").and_then(|()| self.to.flush());
    }
}

fn running(stage: &StageProgress) -> String {
    let total = stage.total().map(|total| format!(" of {}", number(total))).unwrap_or_default();
    format!("{}: {}{total} done, {}", stage.name, number(stage.done), stage.details())
}
