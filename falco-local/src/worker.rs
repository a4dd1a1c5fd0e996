//! One worker: a thread that drives one process after another.

mod start;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};
use falco_package::native;
use falco_package::shim::Answer;
use falco_workers::{Capture, Job, PoolLimits, answer, removed};

use self::start::Failed;
use self::turn::Turn;
use crate::ahead::{self, Ahead};
use crate::exchange::{Ending, Exchange};
use crate::forking::Start;
use crate::interpreter::Interpreter;
use crate::pool::{Done, Pool};
use crate::process::Process;
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
    ahead: Ahead,
    /// When the process ended its last call, which is when it began the one that was sent behind.
    free_at: Instant,
    /// One moment by both clocks, before the last call that was not sent ahead: the times of those behind it are counted from there.
    clock: (SystemTime, Instant),
}

/// The outcome of a call, and how long it ran by the worker's own clock.
struct Outcome {
    outcome: Result<Payload, FunctionError>,
    ran: Option<Duration>,
}

impl From<Result<Payload, FunctionError>> for Outcome {
    fn from(outcome: Result<Payload, FunctionError>) -> Self {
        Self { outcome, ran: None }
    }
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

impl Worker {
    pub(crate) fn new(pool: Arc<Pool>, id: u64) -> Self {
        let free_at = Instant::now();
        Self {
            pool,
            id,
            process: None,
            start: None,
            scratch: None,
            runtime: None,
            ahead: Ahead::default(),
            free_at,
            clock: (SystemTime::now(), free_at),
        }
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
        let mut limits = self.pool.limits();
        loop {
            let (number, mut job) = if let Some((number, mut job)) = self.ahead.turn() {
                job.begin();
                (Some(number), job)
            } else {
                let next = self.pool.next(&mut done, self.process.is_some());
                let Some((job, now)) = next else { break };
                limits = now;
                (None, job)
            };
            // A job that was sent ahead may have begun, so it cannot be refused.
            if number.is_none() && job.is_unwanted() {
                job.refuse(answer::unwanted());
                continue;
            }
            let result = match self.run(&job, number, &limits, &mut done) {
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
                done.push(job, result);
            }
        }
    }

    /// Runs a job. The results of those before, if they are still to be delivered, are delivered while the process works.
    fn run(
        &mut self,
        job: &Job,
        mut number: Option<u64>,
        limits: &PoolLimits,
        done: &mut Done,
    ) -> Result<Activation, Refused> {
        let begun = if number.is_some() {
            self.free_at.max(job.queued_at).min(Instant::now())
        } else {
            self.clock = (SystemTime::now(), Instant::now());
            self.clock.1
        };
        let started_at = self.clock.0 + begun.saturating_duration_since(self.clock.1);
        let mut log = Capture::new(self.pool.shared.config.workers.max_log);
        let mut watch = Watch::new(Some(job), limits.memory_mib);
        let mut init = None;
        let mut execution = None;
        let mut ran = None;
        if number.is_none() {
            self.stop_if_unasked();
        }
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
            let sent = if number.is_some() { begun } else { Instant::now() };
            let deadline = Instant::now() + limits.timeout;
            let ending = self.exchange(job, &mut number, deadline, &mut log, &mut watch, done);
            if matches!(ending, Ending::NotDelivered) && init.is_none() {
                // It ended before it took the request, which goes to a new process.
                self.stop();
                number = None;
                continue;
            }
            let outcome =
                self.outcome(ending, number.is_some(), init.is_some(), limits, &log, &watch)?;
            // Several answers may have come at once: by its own time, each call has ended before the next began.
            ran = outcome.ran.filter(|_| number.is_some());
            self.free_at = ran.map_or_else(Instant::now, |ran| (sent + ran).min(Instant::now()));
            execution = Some(self.free_at.saturating_duration_since(sent));
            break outcome.outcome;
        };
        let took = if ran.is_some() {
            self.free_at.saturating_duration_since(begun)
        } else {
            begun.elapsed()
        };
        let ended_at = started_at + took;

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

    /// Sends a job, unless it was sent ahead under its number, with others behind it where they are short, and waits for its answer.
    fn exchange(
        &mut self,
        job: &Job,
        number: &mut Option<u64>,
        deadline: Instant,
        log: &mut Capture,
        watch: &mut Watch<'_>,
        done: &mut Done,
    ) -> Ending {
        let (pool, ahead) = (&self.pool, &mut self.ahead);
        let Some(process) = &mut self.process else { return Ending::NotDelivered };
        watch.container = Some(Container::of(process));
        let limit = usize::try_from(pool.shared.config.workers.max_result).unwrap_or(usize::MAX);
        let payload = job.payload.as_str().as_bytes();
        if pool.function.interpreter == Interpreter::Native {
            let envelope = answer::envelope(job, &pool.function.name, deadline);
            let request = &[envelope.as_bytes(), payload, b"}"];
            let mut turn = Turn { pool, ahead, watch, done, more: VecDeque::new() };
            let exchange = Exchange { request, number: None, limit, deadline };
            return process.exchange(exchange, log, &mut turn);
        }
        let limit = limit.saturating_add(answer::AROUND_RESULT);
        let is_sent = number.is_some();
        if is_sent {
            process.turn();
        }
        // Node.js cannot see whether a call has printed.
        let is_able = matches!(pool.function.interpreter, Interpreter::Python(_))
            && (is_sent || ahead::fits(&job.payload));
        let room = if is_able { ahead.room() } else { 0 };
        let more =
            if room > 0 && process.takes_ahead() { pool.take_ahead(room) } else { VecDeque::new() };
        if !is_sent && !more.is_empty() {
            *number = Some(ahead.number());
        }
        let envelope = match *number {
            Some(number) => answer::numbered_envelope(job, number),
            None => answer::shim_envelope(job),
        };
        let request = [envelope.as_bytes(), payload, b"}"];
        let request = if is_sent { &[][..] } else { &request[..] };
        let exchange = Exchange { request, number: *number, limit, deadline };
        let mut turn = Turn { pool, ahead, watch, done, more };
        let ending = process.exchange(exchange, log, &mut turn);
        let unsent = std::mem::take(&mut turn.more);
        if !unsent.is_empty() {
            pool.give_back_ahead(unsent);
        }
        ending
    }

    /// Maps an ending. Only a worker that has answered stays, and one that has begun another call, until that is answered.
    fn outcome(
        &mut self,
        ending: Ending,
        is_numbered: bool,
        is_new: bool,
        limits: &PoolLimits,
        log: &Capture,
        watch: &Watch<'_>,
    ) -> Result<Outcome> {
        let max_result = self.pool.shared.config.workers.max_result;
        if let Ending::Answered { line, has_printed } = ending {
            if self.ahead.is_empty() && !self.process.as_ref().is_some_and(Process::is_usable) {
                self.stop();
            }
            if self.pool.function.interpreter == Interpreter::Native {
                return Ok(native::outcome(line).into());
            }
            let Some(answer) = Answer::from_line(&line) else {
                if !is_numbered {
                    // The shim's own answer is still to come, and would be taken for the next one.
                    self.stop();
                }
                return Ok(Err(answer::stray_line()).into());
            };
            self.ahead.note(answer.ran);
            if has_printed {
                self.ahead.note_output();
            }
            let outcome = answer::within(answer.outcome, max_result);
            return Ok(Outcome { outcome, ran: answer.ran });
        }
        let goes_on = self.process.as_ref().is_some_and(|process| !process.is_ended());
        let status = if goes_on { None } else { self.stop() };
        let error = match ending {
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
            Ending::Stray => answer::stray_line(),
            Ending::Stopped => watch.out_of_memory().ok_or_else(answer::unwanted)?,
            Ending::Answered { .. } | Ending::Closed => {
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
        };
        Ok(Err(error).into())
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
        // What it had not begun was taken back before.
        while let Some((_, job)) = self.ahead.turn() {
            if self.pool.is_closed() {
                job.refuse(removed());
            } else {
                job.answer(Err(answer::ended_by_another()));
            }
        }
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
