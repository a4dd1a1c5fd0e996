//! How a worker's process starts.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use falco_core::{Error, ErrorKind, FunctionError};
use falco_package::native::{self, Started};
use falco_package::shim::Answer;
use falco_workers::{Capture, PoolLimits, TIMEOUT, answer, removed};
use rustix::process::Pid;

use super::{Refused, Worker};
use crate::descriptors;
use crate::exchange::{Ending, Exchange};
use crate::forking::Start;
use crate::interpreter::Interpreter;
use crate::pool::Pool;
use crate::process::Process;
use crate::scratch::Directory;
use crate::spawn::has_no_room;
use crate::watch::{Container, Watch};

/// How a start failed: by the platform's fault, or by the function's.
pub(super) enum Failed {
    Platform(Refused),
    Function(FunctionError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Platform(error.into())
    }
}

impl Worker {
    /// Starts a process and waits until it has loaded the function.
    pub(super) fn start(
        &mut self,
        limits: &PoolLimits,
        log: &mut Capture,
        watch: &mut Watch<'_>,
    ) -> Result<(), Failed> {
        let pool = self.pool.clone();
        let config = &pool.shared.config;
        let scratch = pool.shared.scratch.directory();
        let scratch = scratch.map_err(|error| Failed::Platform(not_started(&pool, &error)))?;
        // Of code that was removed, the shell before an executable would say so in the log only.
        let process = std::fs::metadata(&pool.function.directory)
            .and_then(|_| self.launch(limits, &scratch))
            .map_err(|error| Failed::Platform(not_started(&pool, &error)))?;
        self.scratch = Some(scratch);
        let group = process.group();
        watch.container = Some(Container::of(&process));
        self.runtime = None;
        descriptors::restore(group);
        let is_wanted = pool.attach(self.id, group);
        let root = pool.shared.scratch.root();
        let guarded = root.and_then(|root| pool.shared.guardian.guard(group, &root));
        let process = self.process.insert(process);
        if !is_wanted {
            process.kill();
            self.stop();
            return Err(removed().into());
        }
        if let Err(error) = guarded {
            process.kill();
            self.stop();
            return Err(Failed::Platform(not_started(&pool, &error)));
        }
        // Only now may anything of the user's run: the guardian ends the group whatever comes.
        if !pool.function.acknowledges_start() {
            process.send(b"start");
            return Ok(());
        }
        // A timeout may be more time than a clock can count: then there is no limit.
        let deadline = Instant::now() + config.workers.start_timeout.min(TIMEOUT.max);
        let limit = answer::MAX_START_LINE;
        let start = Exchange { request: &[b"start"], number: None, limit, deadline };
        match process.exchange(start, log, &mut |group: Pid| watch.look(group)) {
            Ending::Answered { line, .. } => match self.acknowledged(&line) {
                Ok(started) => {
                    self.runtime = started.runtime;
                    Ok(())
                }
                Err(error) => {
                    self.stop();
                    Err(Failed::Function(error))
                }
            },
            ending => Err(self.start_failure(&ending, log, watch)),
        }
    }

    /// Starts a process, or has it forked.
    fn launch(&mut self, limits: &PoolLimits, scratch: &Directory) -> io::Result<Process> {
        let function = &self.pool.function;
        let mut start = match self.start.take() {
            Some(Start::Forked(server)) if !server.is_broken() => Start::Forked(server),
            _ => self.pool.next_start(),
        };
        if let Start::Forked(server) = &start {
            match server.start_worker(function.scratch_of_fork(scratch.path())) {
                Err(error) if server.is_broken() => {
                    let function = &function.name;
                    tracing::warn!(%error, function, "its workers cannot be forked any more, and are started one by one");
                    self.pool.forking.turn_off();
                    start = self.pool.forking.alone();
                }
                result => {
                    self.start = Some(start);
                    return result;
                }
            }
        }
        self.start = Some(start);
        let environment = &self.pool.shared.config.environment;
        let (command, requests) = function.command(environment, scratch.path(), limits.memory_mib);
        Process::start(command, requests, None)
    }

    /// The report of its start in a worker's first line.
    fn acknowledged(&self, line: &Bytes) -> Result<Started, FunctionError> {
        if self.pool.function.interpreter != Interpreter::Native
            && let Some(Answer { outcome: Err(error), .. }) = Answer::from_line(line)
        {
            return Err(error);
        }
        native::acknowledged(line)
    }

    fn start_failure(&mut self, ending: &Ending, log: &Capture, watch: &Watch<'_>) -> Failed {
        let status = self.stop();
        Failed::Function(match ending {
            Ending::TimedOut => answer::not_loaded(self.pool.shared.config.workers.start_timeout),
            Ending::Stopped => match watch.out_of_memory() {
                Some(error) => error,
                None => return answer::unwanted().into(),
            },
            _ => answer::while_loading(answer::crash(status, log)),
        })
    }
}

fn not_started(pool: &Pool, error: &io::Error) -> Refused {
    let described =
        Error::new(ErrorKind::Unavailable, "a worker process cannot be started").with_source(error);
    if has_no_room(error) {
        return Refused::NoRoom(described);
    }
    match pool.function.directory.try_exists() {
        Ok(false) => crate::state::missing().into(),
        _ => described.into(),
    }
}
