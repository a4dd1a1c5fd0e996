//! How much of the log is on disk, and who waits for more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use falco_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

/// How much of the log is on disk, and who waits for more.
///
/// A sync wakes only those whose records it has reached: where a disk is fast, a sync reaches few of a thousand that wait, and
/// waking all of them each time costs more than the syncs.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    synced: u64,
    failure: Option<Error>,
    /// By the end of the log that each waits for, and a number of its own.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<Result<()>>>,
    next: u64,
}

impl Progress {
    /// How many bytes are on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.state().synced
    }

    /// Whether the first `total` bytes are on disk.
    ///
    /// # Errors
    ///
    /// The failure of the disk.
    pub(super) fn has_reached(&self, total: u64) -> Result<bool> {
        let state = self.state();
        match &state.failure {
            Some(error) => Err(error.clone()),
            None => Ok(state.synced >= total),
        }
    }

    /// Waits until the first `total` bytes are on disk; `ask` is called when they are not.
    ///
    /// # Errors
    ///
    /// The failure of the disk.
    pub(super) async fn reach(&self, total: u64, ask: impl FnOnce()) -> Result<()> {
        let reached = {
            let mut state = self.state();
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            if state.synced >= total {
                return Ok(());
            }
            let (sender, reached) = oneshot::channel();
            let number = state.next;
            state.next += 1;
            state.waiting.insert((total, number), sender);
            reached
        };
        ask();
        match reached.await {
            Ok(reached) => reached,
            // The sender lives as long as this does.
            Err(_) => Err(Error::new(ErrorKind::Other, "the journal was closed")),
        }
    }

    /// Takes note that the first `total` bytes are on disk.
    pub(super) fn advance(&self, total: u64) {
        let reached = {
            let mut state = self.state();
            state.synced = state.synced.max(total);
            let later = state.waiting.split_off(&(total, u64::MAX));
            std::mem::replace(&mut state.waiting, later)
        };
        for waiting in reached.into_values() {
            // One that waits no more has been dropped.
            let _ = waiting.send(Ok(()));
        }
    }

    /// Takes note that nothing more reaches the disk; the first reason stays.
    pub(super) fn fail(&self, error: &Error) {
        let (error, waiting) = {
            let mut state = self.state();
            let error = state.failure.get_or_insert_with(|| error.clone()).clone();
            (error, std::mem::take(&mut state.waiting))
        };
        for waiting in waiting.into_values() {
            let _ = waiting.send(Err(error.clone()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The sections are plain arithmetic, so that a poisoned lock still guards sound numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(future: std::pin::Pin<&mut impl Future<Output = Result<()>>>) -> Poll<Result<()>> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn those_whose_records_a_sync_has_reached_go_on_and_a_failure_reaches_the_others() {
        let progress = Progress::default();
        let asked = std::cell::Cell::new(0);
        let reach = |total| Box::pin(progress.reach(total, || asked.set(asked.get() + 1)));
        let (mut first, mut same, mut later) = (reach(10), reach(10), reach(11));
        for waiting in [&mut first, &mut same, &mut later] {
            assert!(poll(waiting.as_mut()).is_pending());
        }
        assert_eq!(asked.get(), 3);
        // A future that was dropped does not disturb the others.
        drop(same);
        progress.advance(10);
        assert!(matches!(poll(first.as_mut()), Poll::Ready(Ok(()))));
        assert!(poll(later.as_mut()).is_pending());
        // It does not go back.
        progress.advance(5);
        assert_eq!((progress.bytes(), progress.has_reached(10).unwrap()), (10, true));

        progress.fail(&Error::new(ErrorKind::Other, "the disk is full"));
        progress.fail(&Error::new(ErrorKind::Other, "a second reason"));
        let Poll::Ready(Err(error)) = poll(later.as_mut()) else { panic!("it still waits") };
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert!(progress.has_reached(1).is_err());
        let Poll::Ready(Err(_)) = poll(reach(1).as_mut()) else { panic!("it does not fail") };
        assert_eq!(asked.get(), 3);
    }
}
