//! One worker: a thread that drives one process after another.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};
use falco_package::native::{self, Started};
use falco_package::shim::Answer;
use falco_workers::{Capture, Job, PoolLimits, TIMEOUT, answer, removed};
use rustix::io::Errno;

use crate::descriptors;
use crate::forking::Start;
use crate::interpreter::Interpreter;
use crate::pool::{Done, Pool};
use crate::process::{Ending, Process};
use crate::scratch::Directory;
use crate::watch::{Container, Watch};

/// A worker of a pool. Dropped, its process is gone.
#[derive(Debug)]
pub(crate) struct Worker {
    pool: Arc<Pool>,
    id: u64,
    process: Option<Process>,
    /// Where its processes come from: a server lives as long as one of the workers that it has forked.
    start: Option<Start>,
    /// The process's own, unless the deployment names another.
    scratch: Option<Directory>,
    /// The process's runtime and version, until an activation has reported it.
    runtime: Option<String>,
}

/// How a start failed: by the platform's fault, or by the function's.
enum Failed {
    Platform(Refused),
    Function(FunctionError),
}

/// Why a job was not run.
enum Refused {
    /// The system has no room for another process; those that run leave some when they end.
    NoRoom(Error),
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Platform(error.into())
    }
}

impl Worker {
    pub(crate) fn new(pool: Arc<Pool>, id: u64) -> Self {
        Self { pool, id, process: None, start: None, scratch: None, runtime: None }
    }

    /// Runs jobs until the pool has none for it.
    pub(crate) fn work(mut self, early: bool) {
        if early {
            let mut log = Capture::new(0);
            let limits = self.pool.limits();
            // Whatever is wrong, the first job meets it again and reports it.
            let _ = self.start(&limits, &mut log, &mut Watch::new(None, limits.memory_mib));
        }
        let mut done = Done::default();
        while let Some((mut job, limits)) = self.pool.next(&mut done, self.process.is_some()) {
            if job.is_unwanted() {
                job.refuse(answer::unwanted());
                continue;
            }
            let result = match self.run(&job, &limits, &mut done) {
                Ok(activation) => Ok(activation),
                Err(Refused::Other(error)) => Err(error),
                Err(Refused::NoRoom(error)) => match self.pool.give_back(self.id, job) {
                    Some(returned) => {
                        job = returned;
                        Err(error)
                    }
                    None => return,
                },
            };
            let failed = result.as_ref().map_or(true, |activation| !activation.is_success());
            if failed && self.pool.is_closed() {
                // It was ended with its pool.
                job.refuse(removed());
            } else {
                done = Done::new(job, result);
            }
        }
    }

    /// Runs a job. The result of the one before, if it is still to be delivered, is delivered while the process works.
    fn run(
        &mut self,
        job: &Job,
        limits: &PoolLimits,
        done: &mut Done,
    ) -> Result<Activation, Refused> {
        let begun = Instant::now();
        let started_at = SystemTime::now();
        let mut log = Capture::new(self.pool.shared.config.workers.max_log);
        let mut watch = Watch::new(Some(job), limits.memory_mib);
        let mut init = None;
        let mut execution = None;
        self.stop_if_unasked();
        let outcome = loop {
            if self.process.is_none() {
                done.deliver();
                match self.start(limits, &mut log, &mut watch) {
                    Ok(()) => init = Some(begun.elapsed()),
                    Err(Failed::Platform(error)) => return Err(error),
                    Err(Failed::Function(error)) => {
                        init = Some(begun.elapsed());
                        break Err(error);
                    }
                }
            }
            let sent = Instant::now();
            let ending = self.exchange(job, sent + limits.timeout, &mut log, &mut watch, done);
            if matches!(ending, Ending::NotDelivered) && init.is_none() {
                // It died while it was idle, and no request was lost.
                self.stop();
                continue;
            }
            execution = Some(sent.elapsed());
            break self.outcome(ending, init.is_some(), limits, &log, &watch)?;
        };
        let ended_at = started_at + begun.elapsed();

        let mut activation = Activation::new(job.id.clone(), outcome);
        activation.started_at = Some(started_at);
        activation.ended_at = Some(ended_at);
        activation.wait = Some(begun.duration_since(job.queued_at));
        activation.init = init;
        activation.execution = execution;
        activation.cold_start = Some(init.is_some());
        activation.memory_mib = limits.memory_mib;
        activation.memory_used_bytes = (watch.peak > 0).then_some(watch.peak);
        activation.container = watch.container.map(|container| container.to_string());
        activation.booted_at = watch.container.map(|container| container.booted_at);
        if let Some(runtime) = self.runtime.take() {
            activation.attributes.insert("runtime".into(), runtime);
        }
        activation.host.clone_from(&self.pool.shared.host);
        activation.code_version = Some(self.pool.function.version.clone());
        if let Some(log) = log.finish() {
            self.pool.shared.logs.keep(job.id.clone(), log);
        }
        Ok(activation)
    }

    /// Starts a process and waits until it has loaded the function.
    fn start(
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
        let ending = process.exchange(
            &[b"start"],
            answer::MAX_START_LINE,
            deadline,
            log,
            || {},
            |group| watch.look(group),
        );
        match ending {
            Ending::Answered(line) => match self.acknowledged(&line) {
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

    fn exchange(
        &mut self,
        job: &Job,
        deadline: Instant,
        log: &mut Capture,
        watch: &mut Watch<'_>,
        done: &mut Done,
    ) -> Ending {
        let Some(process) = &mut self.process else { return Ending::NotDelivered };
        watch.container = Some(Container::of(process));
        let limit =
            usize::try_from(self.pool.shared.config.workers.max_result).unwrap_or(usize::MAX);
        let payload = job.payload.as_str().as_bytes();
        let look = |group| watch.look(group);
        let sent = || done.deliver();
        if self.pool.function.interpreter == Interpreter::Native {
            let envelope = answer::envelope(job, &self.pool.function.name, deadline);
            let request = [envelope.as_bytes(), payload, b"}"];
            return process.exchange(&request, limit, deadline, log, sent, look);
        }
        let envelope = answer::shim_envelope(job);
        let request = [envelope.as_bytes(), payload, b"}"];
        let limit = limit.saturating_add(answer::AROUND_RESULT);
        process.exchange(&request, limit, deadline, log, sent, look)
    }

    /// Maps an ending. Only a worker that has answered stays.
    fn outcome(
        &mut self,
        ending: Ending,
        is_new: bool,
        limits: &PoolLimits,
        log: &Capture,
        watch: &Watch<'_>,
    ) -> Result<Result<Payload, FunctionError>> {
        let max_result = self.pool.shared.config.workers.max_result;
        if let Ending::Answered(line) = ending {
            if !self.process.as_ref().is_some_and(Process::is_usable) {
                self.stop();
            }
            if self.pool.function.interpreter == Interpreter::Native {
                return Ok(native::outcome(line));
            }
            let Some(answer) = Answer::from_line(&line) else {
                // The shim's own answer is still to come, and would be taken for the next one.
                self.stop();
                return Ok(Err(answer::stray_line()));
            };
            return Ok(answer::within(answer.outcome, max_result));
        }
        let status = self.stop();
        Ok(Err(match ending {
            Ending::Exited => {
                let crash = answer::crash(status, log);
                let is_native = self.pool.function.interpreter == Interpreter::Native;
                if is_new && is_native && answer::is_not_started(status) {
                    answer::not_started(crash)
                } else {
                    crash
                }
            }
            Ending::TimedOut => answer::timed_out(limits.timeout),
            Ending::TooLong => answer::too_long(max_result),
            Ending::Stopped => watch.out_of_memory().ok_or_else(answer::unwanted)?,
            Ending::Answered(_) | Ending::Closed => {
                let message = "it closed descriptor 3, on which its results go";
                let mut error = FunctionError::new(FunctionErrorKind::Crashed, message);
                error.trace = Some(log.stderr_tail()).filter(|trace| !trace.is_empty());
                error
            }
            Ending::NotDelivered => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "a new worker ended before it took its first request",
                ));
            }
        }))
    }

    /// Ends a process that has answered more than it was asked: every later answer would be one request late.
    fn stop_if_unasked(&mut self) {
        if self.process.as_mut().is_some_and(Process::has_unasked_line) {
            let function = &self.pool.function.name;
            tracing::warn!(function, "a worker wrote to descriptor 3 unasked, and is replaced");
            self.stop();
        }
    }

    /// Ends the process, if there is one, and returns its exit status.
    fn stop(&mut self) -> Option<i32> {
        let process = self.process.take()?;
        let group = process.group();
        process.kill();
        self.pool.detach(self.id);
        self.pool.shared.guardian.forget(group);
        let status = match process.wait_for_end() {
            Ok(status) => Some(status),
            Err(error) => {
                tracing::warn!(%error, "a worker cannot be waited for");
                None
            }
        };
        self.scratch = None;
        status
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
        // A server that nobody needs any more ends before the pool may be taken for empty.
        self.start = None;
        self.pool.leave(self.id);
    }
}

fn not_started(pool: &Pool, error: &io::Error) -> Refused {
    const NO_ROOM: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    let described =
        Error::new(ErrorKind::Unavailable, "a worker process cannot be started").with_source(error);
    if Errno::from_io_error(error).is_some_and(|errno| NO_ROOM.contains(&errno)) {
        return Refused::NoRoom(described);
    }
    match pool.function.directory.try_exists() {
        Ok(false) => crate::state::missing().into(),
        _ => described.into(),
    }
}
