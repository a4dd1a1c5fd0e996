//! A bounded queue with a thread that empties it: what exporters over a network have in common.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
#[cfg(feature = "otlp")]
use std::time::Duration;

/// A bounded queue of messages, and the thread that sends them. What does not fit is dropped and counted: a run waits for no
/// exporter.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Option<SyncSender<Vec<u8>>>>,
    sender: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
    room: u64,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicU64,
    dropped: AtomicU64,
}

/// The other end of the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    messages: Receiver<Vec<u8>>,
    counts: Arc<Counts>,
}

impl Outbox {
    /// Starts the thread, which ends when the queue is closed and `send` returns.
    pub(crate) fn start(
        name: &str,
        room: usize,
        send: impl FnOnce(&Queued) + Send + 'static,
    ) -> Self {
        let (queue, messages) = sync_channel(room);
        let counts = Arc::<Counts>::default();
        let queued = Queued { messages, counts: counts.clone() };
        // Without the thread the queue has no reader, and everything counts as dropped.
        let sender = thread::Builder::new().name(name.to_owned()).spawn(move || send(&queued)).ok();
        Self {
            queue: Mutex::new(Some(queue)),
            sender: Mutex::new(sender),
            counts,
            room: room as u64,
        }
    }

    /// Takes a message, if there is room.
    pub(crate) fn put(&self, message: Vec<u8>) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.counts.waiting.fetch_add(1, Relaxed);
        if queue.as_ref().is_none_or(|queue| queue.try_send(message).is_err()) {
            self.counts.waiting.fetch_sub(1, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Closes the queue, and waits until it is empty.
    pub(crate) fn finish(&self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // A panic of the thread was printed already.
            let _ = sender.join();
        }
    }

    /// Whether more than three quarters of the room are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.counts.waiting.load(Relaxed) > self.room * 3 / 4
    }

    /// Messages that did not fit or could not be sent.
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }
}

impl Queued {
    /// Waits for a message; `None` once there will be no more.
    pub(crate) fn next(&self) -> Option<Vec<u8>> {
        let message = self.messages.recv().ok()?;
        self.counts.waiting.fetch_sub(1, Relaxed);
        Some(message)
    }

    /// Waits for a message, but not for long.
    #[cfg(feature = "otlp")]
    pub(crate) fn next_within(&self, patience: Duration) -> Option<Vec<u8>> {
        let message = self.messages.recv_timeout(patience).ok()?;
        self.counts.waiting.fetch_sub(1, Relaxed);
        Some(message)
    }

    /// Counts messages that could not be sent.
    pub(crate) fn lost(&self, count: usize) {
        self.counts.dropped.fetch_add(count as u64, Relaxed);
    }
}
