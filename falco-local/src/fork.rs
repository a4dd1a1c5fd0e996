//! An interpreter that forks the workers of a function: `shims/falco_fork.py` is the other side.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use falco_package::native;
use falco_package::shim::Answer;
use falco_workers::{Capture, answer};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};
use rustix::process::Pid;

use crate::descriptors;
use crate::exchange::{Ending, Exchange};
use crate::package::Function;
use crate::process::{Parent, Process};
use crate::scratch::Directory;
use crate::shared::Shared;
use crate::spawn::Ends;

/// How long a server may take to import what the function imports first: workers can be started without it.
const START: Duration = Duration::from_secs(30);

/// How long it may take to fork a worker.
const ANSWER: Duration = Duration::from_secs(30);

/// An answer is a number.
const LONGEST_ANSWER: usize = 32;

/// The function that a server forks workers of.
pub(crate) struct Origin<'a> {
    pub(crate) function: &'a Function,
    pub(crate) shared: &'a Arc<Shared>,
    /// Whether the function was removed.
    pub(crate) is_closed: &'a dyn Fn() -> bool,
}

/// A process that forks workers, and ends when this is dropped. Each of its workers holds it.
#[derive(Debug)]
pub(crate) struct ForkServer {
    process: Option<Process>,
    control: Mutex<OwnedFd>,
    is_broken: AtomicBool,
    shared: Arc<Shared>,
    _scratch: Directory,
}

impl ForkServer {
    /// Starts the server of a function, and waits until it can fork.
    ///
    /// The error says why its workers have to be started one by one.
    pub(crate) fn start(origin: &Origin<'_>) -> Result<Arc<Self>, String> {
        let mut server = Self::spawn(origin).map_err(|error| error.to_string())?;
        let mut log = Capture::new(answer::MAX_START_LINE as u64);
        let started = match &mut server.process {
            Some(process) => {
                let start = Exchange {
                    request: &[b"start"],
                    number: None,
                    limit: answer::MAX_START_LINE,
                    deadline: Instant::now()
                        + START.min(origin.shared.config.workers.start_timeout),
                };
                process.exchange(start, &mut log, &mut |_: Pid| !(origin.is_closed)())
            }
            None => Ending::NotDelivered,
        };
        match started {
            Ending::Answered { line, .. } => match Answer::from_line(&line) {
                Some(Answer { outcome: Err(error), .. }) => return Err(error.message),
                _ => native::acknowledged(&line).map(drop).map_err(|error| error.message)?,
            },
            ending => return Err(format!("it did not start: {ending:?}")),
        }
        // The log of the first call of each worker begins with what is printed while the code is loaded.
        if log.finish().is_some() {
            return Err("an import prints".into());
        }
        Ok(Arc::new(server))
    }

    fn spawn(origin: &Origin<'_>) -> io::Result<Self> {
        let shared = origin.shared.clone();
        let scratch = shared.scratch.directory()?;
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        for timeout in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&control, timeout, Some(ANSWER))?;
        }
        let command = origin.function.fork_server(&shared.config.environment, scratch.path());
        let (command, requests) = command.ok_or(Errno::NOTSUP)?;
        let process = Process::start(command, requests, Some(theirs))?;
        let group = process.group();
        let server = Self {
            process: Some(process),
            control: Mutex::new(control),
            is_broken: AtomicBool::new(false),
            shared,
            _scratch: scratch,
        };
        descriptors::restore(group);
        let root = server.shared.scratch.root()?;
        server.shared.guardian.guard(group, &root)?;
        Ok(server)
    }

    /// Whether it has stopped answering.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Forks a worker, whose TMPDIR is `scratch`.
    pub(crate) fn start_worker(self: &Arc<Self>, scratch: Option<&Path>) -> io::Result<Process> {
        Process::with(|ends| Ok((self.fork(&ends, scratch)?, self.clone() as Arc<dyn Parent>)))
    }

    /// Forks a worker, in a process group of its own, with these ends and no other descriptors.
    fn fork(&self, ends: &Ends, scratch: Option<&Path>) -> io::Result<Pid> {
        let scratch = scratch.map_or(&b""[..], |scratch| scratch.as_os_str().as_bytes());
        let descriptors =
            [ends.requests.as_fd(), ends.results.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for the descriptors of a worker"));
        }
        let process = self.ask(&[b"f", scratch], &mut ancillary)?;
        Pid::from_raw(process).ok_or_else(|| io::Error::other("a process without a number"))
    }

    fn ask(
        &self,
        message: &[&[u8]],
        ancillary: &mut SendAncillaryBuffer<'_, '_, '_>,
    ) -> io::Result<i32> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_broken() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let message: Vec<_> = message.iter().map(|part| IoSlice::new(part)).collect();
        let mut buffer = [0; LONGEST_ANSWER];
        let answer = retry_on_intr(|| sendmsg(&*control, &message, ancillary, SendFlags::NOSIGNAL))
            .and_then(|_| retry_on_intr(|| recv(&*control, &mut buffer, RecvFlags::empty())));
        let text = answer.map(|(read, _)| str::from_utf8(&buffer[..read]).unwrap_or_default());
        match text.map(|text| (text.strip_prefix('e'), text.parse())) {
            Ok((_, Ok(number))) => Ok(number),
            Ok((Some(errno), _)) => {
                Err(io::Error::from_raw_os_error(errno.parse().unwrap_or_default()))
            }
            failed => {
                // An answer that comes later would be taken for the next one.
                self.is_broken.store(true, Ordering::Relaxed);
                Err(failed.map_or_else(io::Error::from, |_| io::ErrorKind::BrokenPipe.into()))
            }
        }
    }
}

impl Parent for ForkServer {
    fn wait_for(&self, worker: Pid) -> io::Result<i32> {
        let worker = worker.as_raw_pid().to_string();
        self.ask(&[b"w", worker.as_bytes()], &mut SendAncillaryBuffer::default())
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.kill();
        self.shared.guardian.forget(process.group());
        if let Err(error) = process.wait_for_end() {
            tracing::warn!(%error, "an interpreter that forks workers cannot be waited for");
        }
    }
}
