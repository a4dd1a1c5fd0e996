//! Sends traces to a collector of FACT while the run goes on.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::trace::FactTraces;
use crate::record::Record;
use crate::sink::Sink;

/// Traces that wait to be sent.
const QUEUE: usize = 4_096;
/// How long a collector may take to answer and to read.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sends each trace to a FACT collector: a connection a trace, the bare message, as FACT's clients do.
///
/// One connection a trace limits it to some hundreds a second, by the number of free ports. What does not fit into the queue is
/// dropped and counted. For large runs, export the trace file as CSV.
///
/// The collector's default port is 9999. It reads from anybody: let it listen where only you can reach it.
#[derive(Debug)]
pub struct FactCollector {
    traces: Mutex<FactTraces>,
    queue: Mutex<Option<SyncSender<Vec<u8>>>>,
    sender: Mutex<Option<JoinHandle<()>>>,
    dropped: Arc<AtomicU64>,
    /// The records that wait in the queue.
    waiting: Arc<AtomicU64>,
}

impl FactCollector {
    /// Sends to the collector at `address`. Nothing is sent before the first trace.
    pub fn new(address: SocketAddr) -> Self {
        let (queue, traces) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        let waiting = Arc::new(AtomicU64::new(0));
        let queued = waiting.clone();
        // Without the thread the queue has no reader, and everything counts as dropped.
        let sender = thread::Builder::new()
            .name("falco-fact".to_owned())
            .spawn(move || send_all(address, &traces, &lost, &queued))
            .ok();
        Self {
            traces: Mutex::default(),
            queue: Mutex::new(Some(queue)),
            sender: Mutex::new(sender),
            dropped,
            waiting,
        }
    }
}

impl Sink for FactCollector {
    fn take(&self, record: &Record<'_>) {
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner).of(record);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for trace in traces {
            self.waiting.fetch_add(1, Relaxed);
            let sent = match &*queue {
                Some(queue) => queue.try_send(trace.to_bytes()),
                None => Err(TrySendError::Disconnected(Vec::new())),
            };
            if sent.is_err() {
                self.waiting.fetch_sub(1, Relaxed);
                self.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    fn finish(&self) {
        // The sender ends when the queue is closed and empty.
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // A panic of the thread was printed already.
            let _ = sender.join();
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Relaxed) > QUEUE as u64 * 3 / 4
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

fn send_all(
    address: SocketAddr,
    traces: &Receiver<Vec<u8>>,
    dropped: &AtomicU64,
    waiting: &AtomicU64,
) {
    let mut is_gone = false;
    for trace in traces {
        waiting.fetch_sub(1, Relaxed);
        // A collector that was not there is not waited for again: a run would take seconds for each trace.
        let sent = !is_gone && send(address, &trace).is_ok();
        if !sent {
            if !is_gone {
                tracing::warn!(
                    "the FACT collector at {address} does not answer; its traces are lost"
                );
            }
            is_gone = true;
            dropped.fetch_add(1, Relaxed);
        }
    }
}

fn send(address: SocketAddr, trace: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(trace)?;
    // The end of the stream ends the message.
    stream.shutdown(Shutdown::Write)
}
