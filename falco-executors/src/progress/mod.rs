//! Progress for people who wait in front of a terminal, or read a log later.

mod bars;
mod lines;
mod outage;
mod stage;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use falco_core::{Event, Monitor, StageName, Verdict};

use bars::Bars;
use indicatif::ProgressDrawTarget;
use lines::Lines;
use outage::Outage;
use stage::{Phase, StageProgress};
use tokio_util::task::AbortOnDropHandle;

use crate::report::duration;

/// How often plain lines are printed at least while a stage runs.
const REMINDER: Duration = Duration::from_secs(20);

/// How often bars are brought up to date although nothing has ended.
const REFRESH: Duration = Duration::from_secs(1);

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
    outage: Option<Outage>,
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

    /// Prints a line above the bars, or among the plain lines; nothing where progress is hidden.
    pub fn print_line(&self, line: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).note(line);
    }

    fn new(display: Display) -> Self {
        let state = State { stages: Vec::new(), outage: None, display };
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
                for looks in 1_u64.. {
                    tokio::time::sleep(REFRESH).await;
                    let Some(state) = state.upgrade() else { return };
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    state.refresh();
                    if looks.is_multiple_of(REMINDER.as_secs() / REFRESH.as_secs()) {
                        state.show_quiet();
                    }
                }
            }))
        });
    }
}

impl State {
    /// Draws the bars of running stages: one whose first invocation takes minutes has one, too.
    fn refresh(&mut self) {
        let Display::Bars(bars) = &mut self.display else { return };
        let running = |(_, stage): &(usize, &mut StageProgress)| stage.phase == Phase::Running;
        for (at, stage) in self.stages.iter_mut().enumerate().filter(running) {
            bars.show(at, stage);
        }
    }

    /// Shows the outage, and the running stages of which nothing was shown for a while.
    fn show_quiet(&mut self) {
        if let Some(outage) = &self.outage {
            let line = outage.to_string();
            self.note(&line);
        }
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
            Event::Recalled { completion } => {
                self.update(&completion.stage, |progress| {
                    progress.admitted();
                    progress.completed(completion);
                });
            }
            Event::Completed { completion } => {
                self.update(&completion.stage, |progress| progress.completed(completion));
            }
            Event::StageFinished { stage, error } => {
                let error = error.map(ToString::to_string);
                self.update(stage, |progress| progress.finish(error));
            }
            Event::OutageStarted { error } => {
                let outage = Outage::new(error);
                self.note(&outage.to_string());
                self.outage = Some(outage);
            }
            Event::OutageEnded { lasted } => {
                self.outage = None;
                self.note(&format!("the platform answers again, after {}", duration(*lasted)));
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

    /// A line besides those about stages.
    fn note(&mut self, line: &str) {
        match &mut self.display {
            Display::Hidden => {}
            Display::Bars(bars) => bars.note(line),
            Display::Lines(lines) => lines.note(line),
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
        let is_shown = !matches!(state.display, Display::Hidden);
        drop(state);
        if is_shown && matches!(event, Event::StageStarted { .. } | Event::OutageStarted { .. }) {
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

#[cfg(test)]
mod tests {
    use falco_core::{Error, ErrorKind};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_shows_how_long_it_has_lasted() {
        let log = Log::default();
        let progress = Progress::lines(log.clone());
        let error = Error::new(ErrorKind::Unavailable, "connection refused");
        let _ = progress.event(&Event::OutageStarted { error: &error });
        assert_eq!(log.take(), "platform unreachable: unavailable: connection refused\n");
        tokio::time::sleep(REMINDER + Duration::from_millis(1)).await;
        let line = log.take();
        assert!(line.starts_with("platform unreachable for 20.0 s: unavailable"), "{line}");
        let _ = progress.event(&Event::OutageEnded { lasted: Duration::from_secs(25) });
        assert_eq!(log.take(), "the platform answers again, after 25.0 s\n");
        tokio::time::sleep(3 * REMINDER).await;
        assert_eq!(log.take(), "");
    }
}
