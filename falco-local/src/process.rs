//! A worker process: how it is started, spoken to and ended.
//!
//! A worker has four pipes: one line in for each activation, one line out on descriptor 3, and 1 and 2, which are the
//! function's. One thread waits for all of them at once, so that an activation that prints nothing costs one write,
//! one wait and one read, and one that prints never blocks on a full pipe.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::queue::Queue;
use crate::results::Results;
use crate::spawn::{Ends, Requests, wait_for};
use crate::streams::Streams;
use crate::unsent::Unsent;

/// A larger pipe means fewer switches between driver and worker for large payloads.
const PIPE_BYTES: usize = 256 * 1024;

/// Reads at most this much at once.
const CHUNK: usize = 64 * 1024;

/// A running worker, in a process group of its own.
#[derive(Debug)]
pub(crate) struct Process {
    group: Pid,
    parent: Arc<dyn Parent>,
    pub(crate) alive: OwnedFd,
    pub(crate) requests: io::PipeWriter,
    pub(crate) results: Results,
    pub(crate) streams: Streams,
    pub(crate) queue: Queue,
    /// The requests that were sent behind the one that is to be answered next: their numbers, and their lengths in bytes.
    pub(crate) behind: VecDeque<(u64, usize)>,
    pub(crate) chunk: Box<[u8]>,
    /// Whether it can take no other request.
    pub(crate) spent: bool,
    /// Whether an exchange has ended it.
    pub(crate) is_ended: bool,
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
            results: Results::new(results),
            streams: Streams::new(stdout, stderr),
            queue: Queue::default(),
            behind: VecDeque::new(),
            chunk: vec![0; CHUNK].into(),
            spent: false,
            is_ended: false,
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

    /// Whether an exchange has ended it, so that nothing else comes.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether it has written to its results since its last answer.
    pub(crate) fn has_unasked_line(&mut self) -> bool {
        self.results.has_more(&mut self.chunk)
    }

    /// Whether it can be sent requests ahead.
    pub(crate) fn takes_ahead(&mut self) -> bool {
        !self.spent && self.streams.are_open() && self.queue.prepare(&self.requests)
    }

    /// Sends a request of that number, which its first bytes say, behind those that were sent: one of at most `ATOMIC` bytes. False where it
    /// has no room.
    pub(crate) fn send_ahead(&mut self, number: u64, request: &[&[u8]]) -> bool {
        let mut unsent = Unsent::new(request);
        let length = unsent.len();
        let is_sent = unsent.send(&self.requests) && unsent.is_empty();
        if is_sent {
            self.behind.push_back((number, length));
        }
        is_sent
    }

    /// Turns to the next of the requests that were sent ahead.
    pub(crate) fn turn(&mut self) {
        self.behind.pop_front();
    }

    /// Sends a line of a few bytes.
    pub(crate) fn send(&self, line: &[u8]) -> bool {
        let mut unsent = Unsent::new(&[line]);
        unsent.send(&self.requests) && unsent.is_empty()
    }

    /// Ends the process group.
    pub(crate) fn kill(&self) {
        kill_group(self.group);
    }

    /// Waits for the end of the process, which has to be on its way. Its exit status as shells report it: negative for a
    /// signal.
    pub(crate) fn wait_for_end(self) -> io::Result<i32> {
        // A fork server must not wait for one worker while others are to be started.
        self.wait_until_ended()?;
        self.parent.wait_for(self.group)
    }

    /// Waits until the process does nothing any more, which has to be on its way.
    pub(crate) fn wait_until_ended(&self) -> io::Result<()> {
        let mut ended = [PollFd::new(&self.alive, PollFlags::IN)];
        while let Err(error) = poll(&mut ended, None) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(())
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
