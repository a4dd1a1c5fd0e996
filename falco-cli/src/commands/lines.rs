//! Results as lines of JSON, written by a thread of their own as soon as they are known.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use falco_core::Payload;

/// Results that wait to be written. A run that is faster waits for the reader.
const WAITING: usize = 1_000;

/// Writes results as lines, each whole, in the order in which they come.
#[derive(Debug)]
pub(crate) struct Lines {
    results: Option<SyncSender<Payload>>,
    error: Arc<OnceLock<io::Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    /// Writes to `to`.
    ///
    /// # Errors
    ///
    /// When the system starts no thread.
    pub(crate) fn new(to: impl Write + Send + 'static) -> io::Result<Self> {
        let error = Arc::<OnceLock<io::Error>>::default();
        let (results, received) = sync_channel(WAITING);
        let of_thread = error.clone();
        let write = move || {
            if let Err(error) = write_all(&received, to) {
                let _ = of_thread.set(error);
            }
        };
        let thread = std::thread::Builder::new().name("results".to_owned()).spawn(write)?;
        Ok(Self { results: Some(results), error, thread: Some(thread) })
    }

    /// Takes a result, and returns whether it can be written.
    pub(crate) fn write(&self, result: Payload) -> bool {
        let Some(results) = &self.results else { return false };
        match results.try_send(result) {
            Ok(()) => true,
            // The thread that runs tasks hands its other tasks on before it waits.
            Err(TrySendError::Full(result)) => {
                tokio::task::block_in_place(|| results.send(result)).is_ok()
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Waits until everything is written, and returns whether the reader was there to the end.
    ///
    /// # Errors
    ///
    /// When something could not be written for another reason.
    pub(crate) fn finish(&mut self) -> io::Result<bool> {
        self.results = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it is a defect, and has been printed.
            let _ = thread.join();
        }
        match self.error.get() {
            None => Ok(true),
            Some(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

fn write_all(results: &Receiver<Payload>, to: impl Write) -> io::Result<()> {
    let mut to = io::BufWriter::new(to);
    loop {
        let result = match results.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => {
                // Nothing waits: a reader gets what there is.
                to.flush()?;
                let Ok(result) = results.recv() else { break };
                result
            }
            Err(TryRecvError::Disconnected) => break,
        };
        to.write_all(result.as_str().as_bytes())?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_result_is_written_before_the_next_one_is_known() {
        let (reader, pipe) = io::pipe().unwrap();
        let mut lines = Lines::new(pipe).unwrap();
        let mut reader = BufReader::new(reader);
        for n in 0..3 {
            assert!(lines.write(Payload::json(&n).unwrap()));
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, format!("{n}\n"));
        }
        assert!(lines.finish().unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_has_gone_away_is_noticed() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let mut lines = Lines::new(pipe).unwrap();
        while lines.write(Payload::empty()) {}
        assert!(!lines.finish().unwrap());
    }
}
