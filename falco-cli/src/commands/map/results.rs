//! The results on stdout, written by a thread of their own: a slow reader slows the inputs down, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use falco_core::Payload;

use super::window::Window;

/// The result of an input by its place; none for one that failed.
type Numbered = (u64, Option<Payload>);

/// Takes results in any order and writes them.
#[derive(Debug)]
pub(super) struct Results {
    window: Arc<Window>,
    error: Arc<OnceLock<io::Error>>,
    thread: Option<(Sender<Numbered>, JoinHandle<()>)>,
}

/// The outcome of writing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything was written.
    All,
    /// The reader has gone away.
    ReaderLeft,
    /// Something could not be written, for this reason.
    Failed(String),
}

impl Results {
    /// Writes lines to `to`, in the order of the inputs if they are `ordered`.
    pub(super) fn new(
        to: impl Write + Send + 'static,
        ordered: bool,
        window: Arc<Window>,
    ) -> io::Result<Self> {
        let error = Arc::new(OnceLock::new());
        let (results, received) = mpsc::channel();
        let mut writer = Writer {
            to: io::BufWriter::new(to),
            next: 0,
            early: BTreeMap::new(),
            window: window.clone(),
            error: error.clone(),
        };
        let write = move || writer.write_all(&received, ordered);
        let thread = std::thread::Builder::new().name("results".to_owned()).spawn(write)?;
        Ok(Self { window, error, thread: Some((results, thread)) })
    }

    /// Takes the result of the input at a place, or that it has none. It never blocks.
    pub(super) fn take(&self, place: u64, result: Option<Payload>) {
        self.window.hold(result.as_ref().map_or(0, Payload::len));
        if let Some((results, _)) = &self.thread {
            // The thread goes when it cannot write; then `failed` says so.
            let _ = results.send((place, result));
        }
    }

    /// Whether nothing can be written any more.
    pub(super) fn failed(&self) -> bool {
        self.error.get().is_some()
    }

    /// Waits until everything is written.
    pub(super) fn finish(&mut self) -> Written {
        if let Some((results, thread)) = self.thread.take() {
            drop(results);
            // A panic in it is a defect, and has been printed.
            let _ = thread.join();
        }
        match self.error.get() {
            None => Written::All,
            Some(error) if error.kind() == ErrorKind::BrokenPipe => Written::ReaderLeft,
            Some(error) => Written::Failed(error.to_string()),
        }
    }
}

struct Writer<W: Write> {
    to: io::BufWriter<W>,
    /// The place of the result that is written next.
    next: u64,
    /// Results that came before their turn.
    early: BTreeMap<u64, Option<Payload>>,
    window: Arc<Window>,
    error: Arc<OnceLock<io::Error>>,
}

impl<W: Write> Writer<W> {
    fn write_all(&mut self, results: &Receiver<Numbered>, ordered: bool) {
        let written = self.write_until_the_end(results, ordered);
        if let Err(error) = written.and_then(|()| self.to.flush()) {
            let _ = self.error.set(error);
        }
    }

    fn write_until_the_end(
        &mut self,
        results: &Receiver<Numbered>,
        ordered: bool,
    ) -> io::Result<()> {
        loop {
            let (place, result) = match results.try_recv() {
                Ok(result) => result,
                Err(TryRecvError::Empty) => {
                    // Nothing waits: a reader gets what there is.
                    self.to.flush()?;
                    match results.recv() {
                        Ok(result) => result,
                        Err(_) => break,
                    }
                }
                Err(TryRecvError::Disconnected) => break,
            };
            if !ordered {
                self.write(result)?;
                continue;
            }
            self.early.insert(place, result);
            while let Some(result) = self.early.remove(&self.next) {
                self.next += 1;
                self.write(result)?;
            }
        }
        // After a stop there are gaps; what came is in order nevertheless.
        for result in std::mem::take(&mut self.early).into_values() {
            self.write(result)?;
        }
        Ok(())
    }

    fn write(&mut self, result: Option<Payload>) -> io::Result<()> {
        if let Some(result) = &result {
            self.to.write_all(result.as_str().as_bytes())?;
            self.to.write_all(b"\n")?;
        }
        self.window.release(result.as_ref().map_or(0, Payload::len));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(ordered: bool, arrivals: &[(u64, bool)]) -> Vec<u64> {
        let paper = Paper::default();
        let mut results = Results::new(paper.clone(), ordered, Arc::default()).unwrap();
        for (place, succeeded) in arrivals {
            results.take(*place, succeeded.then(|| Payload::json(place).unwrap()));
        }
        assert_eq!(results.finish(), Written::All);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn results_are_in_the_order_of_the_inputs_whatever_the_order_of_arrival(
            arrivals in proptest::sample::subsequence((0..40_u64).collect::<Vec<_>>(), 0..40)
                .prop_shuffle()
                .prop_flat_map(|places| {
                    let count = places.len();
                    (Just(places), proptest::collection::vec(any::<bool>(), count))
                })
                .prop_map(|(places, fates)| places.into_iter().zip(fates).collect::<Vec<_>>())
        ) {
            let succeeded = arrivals.iter().filter(|(_, ok)| *ok).map(|(place, _)| *place);
            let arrived: Vec<u64> = succeeded.collect();
            prop_assert_eq!(&written(false, &arrivals), &arrived);
            let mut sorted = arrived;
            sorted.sort_unstable();
            prop_assert_eq!(written(true, &arrivals), sorted);
        }
    }

    #[test]
    fn a_reader_that_has_gone_away_is_noticed() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let mut results = Results::new(pipe, true, Arc::default()).unwrap();
        results.take(0, Some(Payload::empty()));
        assert_eq!(results.finish(), Written::ReaderLeft);
        assert!(results.failed());
    }
}
