//! The monitors that hear of outages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use falco_core::{Error, Event, Monitor};

/// The state of the platform that monitors hear of.
#[derive(Debug)]
pub(super) enum Report {
    /// Nobody answers, as this failure shows.
    Away(Error),
    /// It answers; the last outage lasted for so long.
    Back(Duration),
}

/// Monitors, each with what it has heard last.
///
/// Changes are reported in their order, by one caller at a time, and outside of all locks that a monitor could need.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    list: Mutex<Vec<Watcher>>,
    /// Whether there is something to report.
    is_due: AtomicBool,
    reporting: Mutex<()>,
}

#[derive(Debug)]
struct Watcher {
    monitor: Weak<dyn Monitor>,
    knows_of_outage: bool,
}

impl Watchers {
    pub(super) fn add(&self, monitor: Weak<dyn Monitor>) {
        self.list().push(Watcher { monitor, knows_of_outage: false });
    }

    /// Reports what `look` sees to the monitors that have heard something else last.
    pub(super) fn report(&self, look: impl Fn() -> Report) {
        self.is_due.store(true, Ordering::SeqCst);
        while self.is_due.load(Ordering::SeqCst) {
            let _reporting = match self.reporting.try_lock() {
                Ok(reporting) => reporting,
                // A monitor has panicked.
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // The one that reports at this time sees that it is due.
                Err(TryLockError::WouldBlock) => return,
            };
            while self.is_due.swap(false, Ordering::SeqCst) {
                let report = look();
                let event = match &report {
                    Report::Away(error) => Event::OutageStarted { error },
                    Report::Back(lasted) => Event::OutageEnded { lasted: *lasted },
                };
                for monitor in self.due(matches!(report, Report::Away(_))) {
                    // A `Stop` is remembered by the runner.
                    let _ = monitor.event(&event);
                }
            }
        }
    }

    /// The monitors that have not heard yet whether there is an outage.
    fn due(&self, is_away: bool) -> Vec<Arc<dyn Monitor>> {
        let mut list = self.list();
        list.retain(|watcher| watcher.monitor.strong_count() > 0);
        let due = list.iter_mut().filter(|watcher| watcher.knows_of_outage != is_away);
        due.filter_map(|watcher| {
            watcher.knows_of_outage = is_away;
            watcher.monitor.upgrade()
        })
        .collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use falco_core::{ErrorKind, Verdict};

    use super::*;

    /// Notes what it hears, and causes a change while it hears it.
    #[derive(Default)]
    struct Notes {
        heard: Mutex<Vec<&'static str>>,
        watchers: Mutex<Weak<Watchers>>,
    }

    impl std::fmt::Debug for Notes {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Notes")
        }
    }

    impl Monitor for Notes {
        fn event(&self, event: &Event<'_>) -> Verdict {
            let is_away = matches!(event, Event::OutageStarted { .. });
            self.heard.lock().unwrap().push(if is_away { "away" } else { "back" });
            if let Some(watchers) = self.watchers.lock().unwrap().upgrade()
                && is_away
            {
                watchers.report(back);
            }
            Verdict::Continue
        }
    }

    fn away() -> Report {
        Report::Away(Error::new(ErrorKind::Unavailable, "connection refused"))
    }

    fn back() -> Report {
        Report::Back(Duration::from_secs(1))
    }

    fn noting(watchers: &Arc<Watchers>) -> Arc<Notes> {
        let notes = Arc::new(Notes::default());
        let monitor: Arc<dyn Monitor> = notes.clone();
        watchers.add(Arc::downgrade(&monitor));
        notes
    }

    #[test]
    fn each_monitor_hears_of_a_change_once_and_one_that_comes_late_of_the_outage_that_lasts() {
        let watchers = Arc::new(Watchers::default());
        let early = noting(&watchers);
        watchers.report(back);
        watchers.report(away);
        watchers.report(away);
        let late = noting(&watchers);
        watchers.report(away);
        watchers.report(back);
        for notes in [early, late] {
            assert_eq!(*notes.heard.lock().unwrap(), ["away", "back"]);
        }
    }

    #[test]
    fn a_monitor_that_is_gone_is_forgotten() {
        let watchers = Arc::new(Watchers::default());
        let stays = noting(&watchers);
        drop(noting(&watchers));
        watchers.report(away);
        assert_eq!((watchers.list().len(), stays.heard.lock().unwrap().len()), (1, 1));
    }

    #[test]
    fn a_monitor_that_causes_a_change_while_it_hears_of_one_blocks_nothing() {
        let watchers = Arc::new(Watchers::default());
        let notes = noting(&watchers);
        *notes.watchers.lock().unwrap() = Arc::downgrade(&watchers);
        // The outage still lasts when the caller looks once more.
        watchers.report(away);
        assert_eq!(*notes.heard.lock().unwrap(), ["away"]);
        watchers.report(back);
        assert_eq!(*notes.heard.lock().unwrap(), ["away", "back"]);
    }
}
