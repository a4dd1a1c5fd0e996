//! Compresses a trace in a thread of its own: neither the tasks of a run nor the timer wait for it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Buffers that wait to be compressed. A run that is faster waits, as it does for a disk.
const WAITING: usize = 64;

/// The thread that compresses, and the way to it. Dropped, it writes the rest.
#[derive(Debug)]
pub(super) struct Packer {
    tasks: Option<SyncSender<Task>>,
    failure: Arc<Failure>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The reason why nothing more can be written, and the lines that are lost by it.
#[derive(Debug, Default)]
struct Failure {
    error: Mutex<Option<io::Error>>,
    lost: AtomicU64,
}

#[derive(Debug)]
enum Task {
    Write(Vec<u8>),
    /// Makes everything so far readable.
    Flush,
    /// Ends this member of the file, and says so. What follows makes another one.
    Finish(Sender<()>),
}

impl Packer {
    /// Starts the thread.
    pub(super) fn start(file: File) -> io::Result<Self> {
        let (tasks, received) = sync_channel(WAITING);
        let failure = Arc::<Failure>::default();
        let of_thread = failure.clone();
        let work = move || pack(&received, &file, &of_thread);
        let thread = thread::Builder::new().name("falco-trace-gz".to_owned()).spawn(work)?;
        Ok(Self { tasks: Some(tasks), failure, thread: Some(thread) })
    }

    /// Takes the lines out of a buffer. A failure to write them shows with one of the next calls.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.check()?;
        let next = Vec::with_capacity(buffer.capacity());
        self.put(Task::Write(std::mem::replace(buffer, next)))
    }

    /// Makes everything so far readable, without waiting for it.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.check()?;
        self.put(Task::Flush)
    }

    /// Waits until everything is in the file.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.check()?;
        let (done, finished) = channel();
        self.put(Task::Finish(done))?;
        finished.recv().or_else(|_| self.check())
    }

    /// Ends the thread, and returns how many lines it could not write.
    pub(super) fn close(mut self) -> u64 {
        self.end();
        self.failure.lost.load(Relaxed)
    }

    fn put(&self, task: Task) -> io::Result<()> {
        let sent = self.tasks.as_ref().is_some_and(|tasks| tasks.send(task).is_ok());
        if sent { Ok(()) } else { Err(io::Error::other("the thread that compresses it has ended")) }
    }

    fn check(&self) -> io::Result<()> {
        let mut error = self.failure.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take().map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed already.
            let _ = thread.join();
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes what comes until nobody is left to send anything. After a failure it only counts.
fn pack(tasks: &Receiver<Task>, file: &File, failure: &Failure) {
    let (mut gzip, mut has_failed) = (Members { file, open: None, has_more: false }, false);
    while let Ok(task) = tasks.recv() {
        let lines = match &task {
            Task::Write(lines) => lines.iter().filter(|byte| **byte == b'\n').count() as u64,
            _ => 0,
        };
        if has_failed {
            failure.lost.fetch_add(lines, Relaxed);
            // A task to finish is dropped here, so that nobody waits for its answer.
        } else if let Err(error) = gzip.work(task) {
            has_failed = true;
            failure.lost.fetch_add(lines, Relaxed);
            *failure.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
    if !has_failed {
        // Nobody is left to hear of a failure.
        let _ = gzip.finish();
    }
}

/// The members of a gzipped file, one after the other.
struct Members<'a> {
    file: &'a File,
    /// Begun with the first line, so that a file has no empty members.
    open: Option<GzEncoder<&'a File>>,
    has_more: bool,
}

impl Members<'_> {
    fn work(&mut self, task: Task) -> io::Result<()> {
        match task {
            Task::Write(lines) => {
                let begin = || GzEncoder::new(self.file, Compression::fast());
                self.open.get_or_insert_with(begin).write_all(&lines)?;
                self.has_more = true;
            }
            Task::Flush => {
                // A sync flush: everything so far can be read.
                if let Some(open) = self.open.as_mut().filter(|_| self.has_more) {
                    open.flush()?;
                }
                self.has_more = false;
            }
            Task::Finish(done) => {
                self.finish()?;
                // The caller may have gone away.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.open.take().map_or(Ok(()), |open| open.finish().map(drop))
    }
}
