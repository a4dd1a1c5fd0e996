//! Where the numbers come from: a run in this process, or a trace file that may still grow.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use falco_core::Result;
use falco_trace::{Follower, Recorder, RunView};

use crate::state::Flying;

/// How often a growing file is read.
const POLL: Duration = Duration::from_millis(500);

/// The source of what is shown.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Live { recorder: Arc<Recorder>, file: Option<PathBuf> },
    File { view: Arc<Mutex<RunView>>, path: PathBuf },
}

impl Source {
    /// Reads the trace at `path`, and goes on reading while it grows, on the runtime that calls this.
    pub(crate) fn follow(path: &Path) -> Result<Self> {
        let (mut follower, mut first) = (Follower::new(path), RunView::default());
        let end = follower.read_more(|record| first.apply(&record))?;
        if end.records == 0 {
            let message = format!("{} holds no trace of Falco", path.display());
            return Err(falco_core::Error::invalid_input(message));
        }
        let is_over = first.is_over();
        let view = Arc::new(Mutex::new(first));
        let shared = view.clone();
        if !is_over {
            std::thread::spawn(move || {
                // Ends with the run, or when nobody is left to look.
                while Arc::strong_count(&shared) > 1 {
                    std::thread::sleep(POLL);
                    let mut records = Vec::new();
                    if follower.read_more(|record| records.push(record)).is_err() {
                        return;
                    }
                    let mut view = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    records.iter().for_each(|record| view.apply(record));
                    if view.is_over() {
                        return;
                    }
                }
            });
        }
        Ok(Self::File { view, path: path.to_owned() })
    }

    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&RunView, &Flying) -> T) -> T {
        match self {
            Self::Live { recorder, .. } => {
                let (all, waiting) = recorder.in_flight();
                recorder.with_view(|view| {
                    let stages = view.stages.iter().map(|it| recorder.in_flight_of(&it.name));
                    let stages = stages.collect();
                    let (now, has_file) = (Some(recorder.now()), self.file().is_some());
                    look(view, &Flying { now, all, waiting, stages, has_file })
                })
            }
            Self::File { view, .. } => {
                let view = view.lock().unwrap_or_else(PoisonError::into_inner);
                // A file does not say what is in flight, but the latest sample.
                let gate = view.flight().filter(|_| !view.is_over()).map(|gate| &gate.latest);
                let (all, waiting) = gate.map_or((0, 0), |gate| (gate.fly, gate.wait));
                let flying = Flying { all, waiting, has_file: true, ..Flying::default() };
                look(&view, &flying)
            }
        }
    }

    /// The trace file, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Live { file, .. } => file.as_deref(),
            Self::File { path, .. } => Some(path),
        }
    }
}
