//! Sends traces to a collector of FACT while the run goes on.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::trace::FactTraces;
use crate::outbox::{Outbox, Queued};
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
    outbox: Outbox,
}

impl FactCollector {
    /// Sends to the collector at `address`. Nothing is sent before the first trace.
    pub fn new(address: SocketAddr) -> Self {
        let outbox = Outbox::start("falco-fact", QUEUE, move |traces| send_all(address, traces));
        Self { traces: Mutex::default(), outbox }
    }
}

impl Sink for FactCollector {
    fn take(&self, record: &Record<'_>) {
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner).of(record);
        for trace in traces {
            self.outbox.put(trace.to_bytes());
        }
    }

    fn finish(&self) {
        self.outbox.finish();
    }

    fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    fn dropped(&self) -> u64 {
        self.outbox.dropped()
    }
}

fn send_all(address: SocketAddr, traces: &Queued) {
    let mut is_gone = false;
    while let Some(trace) = traces.next() {
        // A collector that was not there is not waited for again: a run would take seconds for each trace.
        let sent = !is_gone && send(address, &trace).is_ok();
        if !sent {
            if !is_gone {
                tracing::warn!(
                    "the FACT collector at {address} does not answer; its traces are lost"
                );
            }
            is_gone = true;
            traces.lost(1);
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
