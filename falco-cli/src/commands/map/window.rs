//! The bound of what a run holds: inputs are taken in as fast as results are written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How many inputs may be between being taken in and having their results written. A result that is written in the order
/// of the inputs waits for all those before.
const MOST_INPUTS: u64 = 10_000;
/// How many bytes of results may wait to be written.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Counts what was taken in and what was written.
#[derive(Debug, Default)]
pub(super) struct Window {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    admitted: u64,
    written: u64,
    bytes: usize,
}

impl Window {
    /// Waits until another input may be taken in, and counts it.
    pub(super) async fn admit(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                let waiting = state.admitted - state.written;
                // All inputs up to here are on their way, so that what waits to be written will be.
                if waiting == 0 || (waiting < MOST_INPUTS && state.bytes < MOST_BYTES) {
                    state.admitted += 1;
                    return;
                }
            }
            changed.await;
        }
    }

    /// Takes note of a result that waits to be written.
    pub(super) fn hold(&self, bytes: usize) {
        self.lock().bytes += bytes;
    }

    /// Takes note of a result of so many bytes that was written, or that will never come.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.written += 1;
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_admitted(window: &Window) -> bool {
        tokio::time::timeout(Duration::from_millis(1), window.admit()).await.is_ok()
    }

    #[tokio::test]
    async fn inputs_wait_for_results_that_are_not_written() {
        let window = Window::default();
        for _ in 0..MOST_INPUTS {
            window.admit().await;
        }
        assert!(!is_admitted(&window).await);
        window.release(0);
        assert!(is_admitted(&window).await);
        assert!(!is_admitted(&window).await);
    }

    #[tokio::test]
    async fn large_results_hold_inputs_back_sooner_and_never_for_ever() {
        let window = Window::default();
        window.admit().await;
        window.hold(2 * MOST_BYTES);
        assert!(!is_admitted(&window).await);
        window.release(2 * MOST_BYTES);
        window.hold(2 * MOST_BYTES);
        assert!(is_admitted(&window).await, "nothing is on its way that could make room");
    }
}
