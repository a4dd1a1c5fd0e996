//! A worker process: how it is started, spoken to and ended.
//!
//! A worker has four pipes: one line in for each activation, one line out on descriptor 3, and 1 and 2, which are the
//! function's. One thread waits for all of them at once, so that an activation that prints nothing costs one write,
//! one wait and one read, and one that prints never blocks on a full pipe.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use falco_core::LogStream;
use falco_workers::Capture;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::spawn::{Ends, Requests, wait_for};
use crate::unsent::Unsent;

/// How often a running activation is looked at: is it wanted still, how much memory does it hold.
const TICK: Duration = Duration::from_millis(25);

/// How long a process that has closed its results may take to end.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// A larger pipe means fewer switches between driver and worker for large payloads.
const PIPE_BYTES: usize = 256 * 1024;

/// Reads at most this much at once.
const CHUNK: usize = 64 * 1024;

/// Linux writes this much to a pipe at once or not at all (PIPE_BUF).
const ATOMIC: usize = 4096;

/// The outcome of waiting for a worker's next line.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The line, without its line break.
    Answered(Bytes),
    /// The line is longer than allowed.
    TooLong,
    /// The process ended before it took the request.
    NotDelivered,
    /// The process ended.
    Exited,
    /// It closed its results and went on.
    Closed,
    /// It took too long.
    TimedOut,
    /// The watch has ended it.
    Stopped,
}

/// A running worker, in a process group of its own.
#[derive(Debug)]
pub(crate) struct Process {
    group: Pid,
    parent: Arc<dyn Parent>,
    alive: OwnedFd,
    requests: io::PipeWriter,
    results: io::PipeReader,
    stdout: Option<io::PipeReader>,
    stderr: Option<io::PipeReader>,
    line: Vec<u8>,
    chunk: Box<[u8]>,
    spent: bool,
    booted_at: SystemTime,
}

/// The process that waits for the end of a worker.
pub(crate) trait Parent: fmt::Debug + Send + Sync {
    /// Waits for a process that has ended or is about to, and returns its exit status as shells report it.
    fn wait_for(&self, process: Pid) -> io::Result<i32>;
}

/// This process.
#[derive(Debug)]
struct Driver;

impl Parent for Driver {
    fn wait_for(&self, process: Pid) -> io::Result<i32> {
        wait_for(process)
    }
}

impl Process {
    /// Starts a process. `control` is the socket of a fork server.
    pub(crate) fn start(
        command: Command,
        read_at: Requests,
        control: Option<OwnedFd>,
    ) -> io::Result<Self> {
        Self::with(|mut ends| {
            ends.control = control;
            Ok((ends.start(command, read_at)?, Arc::new(Driver)))
        })
    }

    /// Makes the pipes of a process that `start` starts with their other ends.
    pub(crate) fn with(
        start: impl FnOnce(Ends) -> io::Result<(Pid, Arc<dyn Parent>)>,
    ) -> io::Result<Self> {
        let (their_requests, requests) = io::pipe()?;
        let (results, their_results) = io::pipe()?;
        let (stdout, their_stdout) = io::pipe()?;
        let (stderr, their_stderr) = io::pipe()?;
        for pipe in [requests.as_fd(), results.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        for pipe in [requests.as_fd(), results.as_fd()] {
            // Users have a quota for larger pipes; without one it only goes slower.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
        }
        // Our copies of the worker's ends are closed by it: only then do our ends see the worker close them.
        let theirs = Ends {
            requests: their_requests.into(),
            results: their_results.into(),
            stdout: their_stdout.into(),
            stderr: their_stderr.into(),
            control: None,
        };
        let (group, parent) = start(theirs)?;
        // The process id is still its own, because nobody has waited for its end.
        let alive = pidfd_open(group, PidfdFlags::empty()).inspect_err(|_| {
            kill_group(group);
            let _ = parent.wait_for(group);
        })?;
        Ok(Self {
            group,
            parent,
            alive,
            requests,
            results,
            stdout: Some(stdout),
            stderr: Some(stderr),
            line: Vec::new(),
            chunk: vec![0; CHUNK].into(),
            spent: false,
            booted_at: SystemTime::now(),
        })
    }

    /// The process group, which is also the process id of its first process.
    pub(crate) fn group(&self) -> Pid {
        self.group
    }

    /// When it was started.
    pub(crate) fn booted_at(&self) -> SystemTime {
        self.booted_at
    }

    /// Whether it can take another request.
    pub(crate) fn is_usable(&self) -> bool {
        !self.spent
    }

    /// Whether it has written to its results since its last answer.
    pub(crate) fn has_unasked_line(&mut self) -> bool {
        (&self.results).read(&mut self.chunk).is_ok_and(|read| read > 0)
    }

    /// Sends a line made of `request`, unless that is empty, and waits for the worker's next line of at most `limit`
    /// bytes. What the worker prints meanwhile goes to `log`. `sent` is called once the worker can work, and `watch` is asked
    /// now and then whether to go on.
    ///
    /// After anything but an answer the process has to be ended.
    pub(crate) fn exchange(
        &mut self,
        request: &[&[u8]],
        limit: usize,
        deadline: Instant,
        log: &mut Capture,
        sent: impl FnOnce(),
        mut watch: impl FnMut(Pid) -> bool,
    ) -> Ending {
        let mut unsent = Unsent::new(request);
        if !unsent.send(&self.requests) {
            return self.end(Ending::NotDelivered, log);
        }
        sent();
        let mut now = Instant::now();
        let mut deadline = deadline;
        let mut next_look = now + TICK;
        let mut results_are_open = true;
        loop {
            let Ready { results, requests, stdout, stderr, exited } = match self.wait(
                next_look.min(deadline) - now,
                results_are_open,
                !unsent.is_empty(),
            ) {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::warn!(%error, "a worker cannot be waited for");
                    return self.end(Ending::Closed, log);
                }
            };
            if results {
                match self.read_line(limit) {
                    Line::Complete { line, at_once } => {
                        // The results were looked at before the logs, so whatever was printed before a line that
                        // was written at once is among what the same look found. Others need a second look.
                        if !at_once || stdout || stderr || exited {
                            self.drain(log);
                        }
                        // A request that it did not read to its end would run into the next one.
                        self.spent |= exited || !unsent.is_empty();
                        self.spent |= self.stdout.is_none() || self.stderr.is_none();
                        return Ending::Answered(line);
                    }
                    Line::Incomplete => {}
                    Line::TooLong => return self.end(Ending::TooLong, log),
                    Line::Closed => {
                        results_are_open = false;
                        deadline = deadline.min(now + LAST_BREATH);
                    }
                }
            } else if exited {
                return self.end(Ending::Exited, log);
            }
            if stdout || stderr {
                self.read_logs(log);
            }
            if requests && !unsent.send(&self.requests) {
                // It does not read any more; whether it answers anyway is for the results to show.
                unsent = Unsent::new(&[]);
                self.spent = true;
            }
            now = Instant::now();
            if now >= deadline {
                let ending = if results_are_open { Ending::TimedOut } else { Ending::Closed };
                return self.end(ending, log);
            }
            if now >= next_look {
                next_look = now + TICK;
                if !watch(self.group) {
                    return self.end(Ending::Stopped, log);
                }
            }
        }
    }

    fn end(&mut self, ending: Ending, log: &mut Capture) -> Ending {
        self.spent = true;
        // What it has printed belongs to the log, and to the error.
        self.kill();
        self.drain(log);
        ending
    }

    /// Sends a line of a few bytes.
    pub(crate) fn send(&self, line: &[u8]) -> bool {
        let mut unsent = Unsent::new(&[line]);
        unsent.send(&self.requests) && unsent.is_empty()
    }

    /// Waits until something can be read or written. The results come first: see `exchange`.
    fn wait(&self, time: Duration, results_are_open: bool, unsent: bool) -> io::Result<Ready> {
        let nothing = PollFlags::empty();
        let flag = |wanted, flags| if wanted { flags } else { nothing };
        // A pipe that is closed already reports that for ever; its place is taken by one that is silent.
        let silent = || PollFd::new(&self.requests, nothing);
        let log = |pipe| PollFd::new(pipe, PollFlags::IN);
        let mut fds = [
            if results_are_open { PollFd::new(&self.results, PollFlags::IN) } else { silent() },
            PollFd::new(&self.alive, PollFlags::IN),
            self.stdout.as_ref().map_or_else(silent, log),
            self.stderr.as_ref().map_or_else(silent, log),
            PollFd::new(&self.requests, flag(unsent, PollFlags::OUT)),
        ];
        let fds = if unsent { &mut fds[..] } else { &mut fds[..4] };
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos().max(1)) };
        match poll(fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| !fds[at].revents().is_empty();
        Ok(Ready {
            results: results_are_open && ready(0),
            exited: ready(1),
            stdout: self.stdout.is_some() && ready(2),
            stderr: self.stderr.is_some() && ready(3),
            requests: unsent && ready(4),
        })
    }

    /// Reads once: what is written after the last look has to wait for the next.
    fn read_line(&mut self, limit: usize) -> Line {
        let read = match (&self.results).read(&mut self.chunk) {
            Ok(0) => return Line::Closed,
            Ok(read) => &self.chunk[..read],
            Err(error) if is_temporary(&error) => return Line::Incomplete,
            Err(_) => return Line::Closed,
        };
        let Some(end) = read.iter().position(|byte| *byte == b'\n') else {
            self.line.extend_from_slice(read);
            return if self.line.len() > limit { Line::TooLong } else { Line::Incomplete };
        };
        // One request, one line: whatever follows would be taken for the next answer.
        self.spent |= end + 1 < read.len();
        let at_once = self.line.is_empty() && read.len() <= ATOMIC;
        let line = if self.line.is_empty() {
            Bytes::copy_from_slice(&read[..end])
        } else {
            self.line.extend_from_slice(&read[..end]);
            std::mem::take(&mut self.line).into()
        };
        if line.len() > limit { Line::TooLong } else { Line::Complete { line, at_once } }
    }

    /// Reads a chunk of each log.
    fn read_logs(&mut self, log: &mut Capture) -> bool {
        let mut any = false;
        for (pipe, stream) in
            [(&mut self.stdout, LogStream::Stdout), (&mut self.stderr, LogStream::Stderr)]
        {
            let Some(mut open) = pipe.as_ref() else { continue };
            match open.read(&mut self.chunk) {
                Ok(read) if read > 0 => {
                    log.push(stream, &self.chunk[..read]);
                    any = true;
                }
                Err(error) if is_temporary(&error) => {}
                _ => *pipe = None,
            }
        }
        any
    }

    /// Reads what has been printed so far. A child that never stops printing does not keep it here.
    fn drain(&mut self, log: &mut Capture) {
        const ENOUGH: usize = 64;
        for _ in 0..ENOUGH {
            if !self.read_logs(log) {
                break;
            }
        }
    }

    /// Ends the process group.
    pub(crate) fn kill(&self) {
        kill_group(self.group);
    }

    /// Waits for the end of the process, which has to be on its way. Its exit status as shells report it: negative for a
    /// signal.
    pub(crate) fn wait_for_end(self) -> io::Result<i32> {
        // A fork server must not wait for one worker while others are to be started.
        let mut ended = [PollFd::new(&self.alive, PollFlags::IN)];
        while let Err(error) = poll(&mut ended, None) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        self.parent.wait_for(self.group)
    }
}

/// Ends a process group. That there is none any more is not an error.
pub(crate) fn kill_group(group: Pid) {
    if let Err(error) = kill_process_group(group, Signal::KILL)
        && error != Errno::SRCH
    {
        tracing::warn!(%error, group = group.as_raw_pid(), "a worker cannot be ended");
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

struct Ready {
    results: bool,
    requests: bool,
    stdout: bool,
    stderr: bool,
    exited: bool,
}

enum Line {
    Complete { line: Bytes, at_once: bool },
    Incomplete,
    TooLong,
    Closed,
}
