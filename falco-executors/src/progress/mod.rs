//! Progress for people who wait in front of a terminal, or read a log later.

mod bars;
mod lines;
mod stage;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use falco_core::{Event, Monitor, StageName, Verdict};

use bars::Bars;
use indicatif::ProgressDrawTarget;
use lines::Lines;
use stage::StageProgress;

/// Shows how far each stage is: done, failed, in flight, rate, and the time left.
///
/// # Examples
///
/// ```
/// use falco_executors::Progress;
/// use std::sync::Arc;
///
/// let quiet = false;
/// let progress = Arc::new(if quiet { Progress::hidden() } else { Progress::stderr() });
/// # let _: Arc<dyn falco_core::Monitor> = progress;
/// ```
pub struct Progress {
    state: Mutex<State>,
}

struct State {
    stages: Vec<StageProgress>,
    display: Display,
}

enum Display {
    Hidden,
    Bars(Bars),
    Lines(Lines),
}

impl Progress {
    /// Bars when stderr is a terminal, else plain lines every few seconds. It writes to stderr only.
    pub fn stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::new(Display::Bars(Bars::new(ProgressDrawTarget::stderr())))
        } else {
            Self::lines(io::stderr())
        }
    }

    /// Plain lines: one when a stage starts, one every few seconds, one when it ends.
    pub fn lines(to: impl Write + Send + 'static) -> Self {
        Self::new(Display::Lines(Lines::new(Box::new(to))))
    }

    /// Nothing at all.
    pub fn hidden() -> Self {
        Self::new(Display::Hidden)
    }

    fn new(display: Display) -> Self {
        Self { state: Mutex::new(State { stages: Vec::new(), display }) }
    }
}

impl State {
    fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::StageStarted { stage, .. } => {
                self.update(stage, StageProgress::start);
                if let Display::Lines(lines) = &mut self.display {
                    lines.note(&format!("{stage}: started"));
                }
            }
            Event::StageSized { stage, invocations } => {
                self.update(stage, |progress| progress.sized(*invocations));
            }
            Event::Admitted { invocation } => {
                self.update(invocation.stage(), StageProgress::admitted);
            }
            Event::Completed { completion } => {
                self.update(&completion.stage, |progress| progress.completed(completion));
            }
            Event::StageFinished { stage, error } => {
                let error = error.map(ToString::to_string);
                self.update(stage, |progress| progress.finish(error));
            }
            _ => {}
        }
    }

    fn update(&mut self, stage: &StageName, change: impl FnOnce(&mut StageProgress)) {
        let at = self.stages.iter().position(|known| known.name == *stage).unwrap_or_else(|| {
            self.stages.push(StageProgress::new(stage.clone()));
            self.stages.len() - 1
        });
        let progress = &mut self.stages[at];
        change(progress);
        match &mut self.display {
            Display::Hidden => {}
            Display::Bars(bars) => bars.show(at, progress),
            Display::Lines(lines) => lines.show(progress),
        }
    }
}

impl Monitor for Progress {
    fn event(&self, event: &Event<'_>) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(state.display, Display::Hidden) {
            state.on_event(event);
        }
        Verdict::Continue
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
