//! Progress for people who wait in front of a terminal, or read a log later.

mod bars;
mod lines;
mod stage;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use falco_core::{Event, Monitor, StageName, Verdict};

use bars::Bars;
use indicatif::ProgressDrawTarget;
use lines::Lines;
use stage::{Phase, StageProgress};
use tokio_util::task::AbortOnDropHandle;

/// How often plain lines are printed at least while a stage runs.
const REMINDER: Duration = Duration::from_secs(20);

/// Shows how far each stage is: done, failed, cancelled, in flight, waiting and for what, rate, and the time left.
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
    state: Arc<Mutex<State>>,
    /// Shows stages without news; begins with the first of them.
    reminder: OnceLock<AbortOnDropHandle<()>>,
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
        let state = State { stages: Vec::new(), display };
        Self { state: Arc::new(Mutex::new(state)), reminder: OnceLock::new() }
    }
}

impl Progress {
    /// Sees to it that a stage that waits for a single answer is not silent.
    fn remind(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        self.reminder.get_or_init(|| {
            let state = Arc::downgrade(&self.state);
            AbortOnDropHandle::new(runtime.spawn(async move {
                loop {
                    tokio::time::sleep(REMINDER).await;
                    let Some(state) = state.upgrade() else { return };
                    state.lock().unwrap_or_else(PoisonError::into_inner).show_quiet();
                }
            }))
        });
    }
}

impl State {
    /// Shows the running stages of which nothing was shown for a while.
    fn show_quiet(&mut self) {
        let Display::Lines(lines) = &mut self.display else { return };
        for stage in self.stages.iter_mut().filter(|stage| stage.phase == Phase::Running) {
            lines.show(stage);
        }
    }

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
            Event::Held { invocation, .. }
            | Event::Waiting { invocation, .. }
            | Event::Attempt { invocation, .. } => {
                let stages = &mut self.stages;
                let stage = stages.iter_mut().find(|known| known.name == *invocation.stage());
                if let Some(stage) = stage {
                    stage.note_wait(event);
                }
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
        let has_lines = matches!(state.display, Display::Lines(_));
        drop(state);
        if has_lines && matches!(event, Event::StageStarted { .. }) {
            self.remind();
        }
        Verdict::Continue
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
