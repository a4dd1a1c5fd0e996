//! One worker: a thread that drives one process after another.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::interpreter::Interpreter;
use crate::job::Job;
use crate::log::Capture;
use crate::memory;
use crate::pool::{Limits, Pool, removed};
use crate::process::{Ending, Process, status_number};

const MIB: u64 = 1024 * 1024;

/// Longest line that a shim may send while it starts, in bytes: it may hold a traceback.
const MAX_START_LINE: usize = 1024 * 1024;

/// Without a memory limit, the memory is only recorded, and looked at less often.
const LOOKS_PER_SAMPLE: u32 = 8;

/// A worker of a pool. Dropped, its process is gone.
#[derive(Debug)]
pub(crate) struct Worker {
    pool: Arc<Pool>,
    id: u64,
    process: Option<Process>,
}

/// How a start failed: by the platform's fault, or by the function's.
enum Failed {
    Platform(Error),
    Function(FunctionError),
}

impl Worker {
    pub(crate) fn new(pool: Arc<Pool>, id: u64) -> Self {
        Self { pool, id, process: None }
    }

    /// Runs jobs until the pool has none for it.
    pub(crate) fn work(mut self, early: bool) {
        if early {
            let mut log = Capture::new(0);
            let limits = self.pool.limits();
            // Whatever is wrong, the first job meets it again and reports it.
            let _ = self.start(&limits, &mut log, &mut Watch::new(None, &limits));
        }
        let mut done = None;
        while let Some((job, limits)) = self.pool.next(done.take(), self.process.is_some()) {
            if job.is_unwanted() {
                job.refuse(unwanted());
                continue;
            }
            let result = self.run(&job, &limits);
            let failed = result.as_ref().map_or(true, |activation| !activation.is_success());
            if failed && self.pool.is_closed() {
                // It was ended with its pool.
                job.refuse(removed());
            } else {
                done = Some((job, result));
            }
        }
    }

    fn run(&mut self, job: &Job, limits: &Limits) -> Result<Activation> {
        let begun = Instant::now();
        let started_at = SystemTime::now();
        let mut log = Capture::new(self.pool.shared.config.max_log);
        let mut watch = Watch::new(Some(job), limits);
        let mut init = None;
        let mut execution = None;
        let outcome = loop {
            if self.process.is_none() {
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
            let ending = self.exchange(job, sent + limits.timeout, &mut log, &mut watch);
            if matches!(ending, Ending::NotDelivered) && init.is_none() {
                // It died while it was idle, and no request was lost.
                self.stop();
                continue;
            }
            execution = Some(sent.elapsed());
            break self.outcome(ending, limits, &log, &watch)?;
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
        activation.memory_used = (watch.peak > 0).then_some(watch.peak);
        activation.container = watch.container.map(|group| group.to_string());
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
        limits: &Limits,
        log: &mut Capture,
        watch: &mut Watch<'_>,
    ) -> Result<(), Failed> {
        let pool = self.pool.clone();
        let config = &pool.shared.config;
        let (command, requests) = pool.function.command(&config.environment, limits.memory_mib);
        let process = Process::start(command, requests)
            .map_err(|error| Failed::Platform(not_started(&pool, &error)))?;
        let group = process.group();
        watch.container = Some(group.as_raw_pid());
        let is_wanted = pool.attach(self.id, group);
        let guarded = pool.shared.guardian.guard(group);
        let process = self.process.insert(process);
        if !is_wanted {
            process.kill();
            self.stop();
            return Err(Failed::Platform(removed()));
        }
        if let Err(error) = guarded {
            process.kill();
            self.stop();
            return Err(Failed::Platform(not_started(&pool, &error)));
        }
        // Only now may anything of the user's run: the guardian ends the group whatever comes.
        if pool.function.interpreter == Interpreter::Native {
            process.send(b"start");
            return Ok(());
        }
        let deadline = Instant::now() + config.start_timeout;
        let ending =
            process.exchange(&[b"start"], MAX_START_LINE, deadline, log, |group| watch.look(group));
        match ending {
            Ending::Answered(line) if *line == *b"+" => Ok(()),
            ending => Err(self.start_failure(ending, log, watch)),
        }
    }

    fn start_failure(&mut self, ending: Ending, log: &Capture, watch: &Watch<'_>) -> Failed {
        let initialization =
            |message: String| FunctionError::new(FunctionErrorKind::Initialization, message);
        let status = self.stop();
        Failed::Function(match ending {
            Ending::Answered(line) => match failure(&line) {
                Some(error) => error,
                None => initialization("the worker's first line could not be understood".into()),
            },
            Ending::TimedOut => initialization(format!(
                "the code was not loaded within {:?}",
                self.pool.shared.config.start_timeout
            )),
            Ending::Stopped => match watch.out_of_memory() {
                Some(error) => error,
                None => return Failed::Platform(unwanted()),
            },
            Ending::Exited | Ending::NotDelivered | Ending::Closed | Ending::TooLong => {
                let mut error = crash(status, log);
                error.message = format!("while the code was loaded, {}", error.message);
                if error.kind == FunctionErrorKind::Crashed {
                    error.kind = FunctionErrorKind::Initialization;
                }
                error
            }
        })
    }

    fn exchange(
        &mut self,
        job: &Job,
        deadline: Instant,
        log: &mut Capture,
        watch: &mut Watch<'_>,
    ) -> Ending {
        let Some(process) = &mut self.process else { return Ending::NotDelivered };
        watch.container = Some(process.group().as_raw_pid());
        let limit = usize::try_from(self.pool.shared.config.max_result).unwrap_or(usize::MAX);
        let payload = job.payload.as_str().as_bytes();
        let look = |group| watch.look(group);
        if self.pool.function.interpreter == Interpreter::Native {
            let envelope = envelope(job, &self.pool.function.name, deadline);
            let request = [envelope.as_bytes(), payload, b"}"];
            return process.exchange(&request, limit, deadline, log, look);
        }
        // One more for the shim's mark.
        process.exchange(&[payload], limit.saturating_add(1), deadline, log, look)
    }

    /// What an ending means. Only a worker that has answered stays.
    fn outcome(
        &mut self,
        ending: Ending,
        limits: &Limits,
        log: &Capture,
        watch: &Watch<'_>,
    ) -> Result<Result<Payload, FunctionError>> {
        if let Ending::Answered(line) = ending {
            if !self.process.as_ref().is_some_and(Process::is_usable) {
                self.stop();
            }
            return Ok(match self.pool.function.interpreter {
                Interpreter::Native => native_answer(line),
                Interpreter::Python(_) | Interpreter::Node(_) => answer(&line),
            });
        }
        let status = self.stop();
        Ok(Err(match ending {
            Ending::Exited => crash(status, log),
            Ending::TimedOut => FunctionError::new(
                FunctionErrorKind::Timeout,
                format!("it ran longer than {:?}", limits.timeout),
            ),
            Ending::TooLong => bad_result(format!(
                "the result is longer than {} bytes",
                self.pool.shared.config.max_result
            )),
            Ending::Stopped => watch.out_of_memory().ok_or_else(unwanted)?,
            Ending::Answered(_) | Ending::Closed => FunctionError::new(
                FunctionErrorKind::Crashed,
                "it closed descriptor 3, on which its results go",
            )
            .with_trace(log.stderr_tail()),
            Ending::NotDelivered => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "a new worker ended before it took its first request",
                ));
            }
        }))
    }

    /// Ends the process, if there is one, and tells its exit status.
    fn stop(&mut self) -> Option<i32> {
        let process = self.process.take()?;
        let group = process.group();
        process.kill();
        self.pool.detach(self.id);
        self.pool.shared.guardian.forget(group);
        match process.wait_for_end() {
            Ok(status) => Some(status_number(status)),
            Err(error) => {
                tracing::warn!(%error, "a worker cannot be waited for");
                None
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
        self.pool.leave(self.id);
    }
}

/// Looks after a running activation.
struct Watch<'a> {
    job: Option<&'a Job>,
    memory_mib: Option<u32>,
    looks: u32,
    peak: u64,
    over: Option<u64>,
    container: Option<i32>,
}

impl<'a> Watch<'a> {
    fn new(job: Option<&'a Job>, limits: &Limits) -> Self {
        Self { job, memory_mib: limits.memory_mib, looks: 0, peak: 0, over: None, container: None }
    }

    /// Whether the activation may go on.
    fn look(&mut self, group: Pid) -> bool {
        if self.job.is_some_and(Job::is_unwanted) {
            return false;
        }
        let is_due = self.memory_mib.is_some() || self.looks.is_multiple_of(LOOKS_PER_SAMPLE);
        self.looks = self.looks.wrapping_add(1);
        if !is_due {
            return true;
        }
        let pid = group.as_raw_pid();
        let mut held = memory::resident(pid);
        let limit = self.memory_mib.map(|mib| u64::from(mib) * MIB);
        if limit.is_some_and(|limit| held > limit) {
            // Forked children share most of their pages with their parent: a closer look before it is ended.
            held = memory::proportional(pid);
            self.over = limit.filter(|limit| held > *limit).map(|_| held);
        }
        self.peak = self.peak.max(held);
        self.over.is_none()
    }

    fn out_of_memory(&self) -> Option<FunctionError> {
        let held = self.over?.div_ceil(MIB);
        let granted = self.memory_mib?;
        Some(FunctionError::new(
            FunctionErrorKind::OutOfMemory,
            format!("it held {held} MiB, and {granted} MiB are granted"),
        ))
    }
}

fn unwanted() -> Error {
    Error::new(ErrorKind::Cancelled, "nobody waits for the activation any more")
}

fn not_started(pool: &Pool, error: &std::io::Error) -> Error {
    if !pool.function.directory.exists() {
        return crate::state::missing();
    }
    Error::new(ErrorKind::Unavailable, "a worker process cannot be started").with_source(error)
}

/// What a shim says of a function that failed.
#[derive(Deserialize)]
struct Failure {
    kind: FunctionErrorKind,
    message: String,
    #[serde(rename = "type")]
    error_type: Option<String>,
    trace: Option<String>,
}

fn failure(line: &[u8]) -> Option<FunctionError> {
    let failure: Failure = serde_json::from_slice(line.strip_prefix(b"!")?).ok()?;
    let mut error = FunctionError::new(failure.kind, failure.message);
    error.error_type = failure.error_type;
    error.trace = failure.trace;
    Some(error)
}

/// An answer of a shim.
fn answer(line: &Bytes) -> Result<Payload, FunctionError> {
    if line.starts_with(b"=") {
        return Payload::from_bytes(line.slice(1..)).map_err(|error| bad_result(error.to_string()));
    }
    Err(failure(line).unwrap_or_else(|| bad_result("something else wrote to descriptor 3".into())))
}

/// An answer of an executable: a JSON object, by whose key `error` it says that it failed.
fn native_answer(line: Bytes) -> Result<Payload, FunctionError> {
    #[derive(Deserialize)]
    struct Failed<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }

    let result = Payload::from_bytes(line).map_err(|error| {
        bad_result(format!("the result is no JSON: {}", error.causes().join(": ")))
    })?;
    if !result.is_object() {
        return Err(bad_result(format!(
            "the result has to be a JSON object, and it is {result:?}"
        )));
    }
    match result.parse::<Failed<'_>>() {
        Ok(Failed { error: Some(error) }) => {
            let message = serde_json::from_str::<String>(error.get());
            let message = message.unwrap_or_else(|_| error.get().to_owned());
            Err(FunctionError::new(FunctionErrorKind::Raised, message))
        }
        _ => Ok(result),
    }
}

fn bad_result(message: String) -> FunctionError {
    FunctionError::new(FunctionErrorKind::BadResult, message)
}

fn crash(status: Option<i32>, log: &Capture) -> FunctionError {
    let trace = log.stderr_tail();
    // Node.js ends itself when its heap is full.
    let kind = if trace.contains("JavaScript heap out of memory") {
        FunctionErrorKind::OutOfMemory
    } else {
        FunctionErrorKind::Crashed
    };
    let how = match status {
        Some(status) if status < 0 => format!("was ended by signal {}", -status),
        Some(status) => format!("ended with status {status}"),
        None => "ended".to_owned(),
    };
    let mut error = FunctionError::new(kind, format!("its process {how} before it answered"));
    error.exit_status = status;
    error.trace = (!trace.is_empty()).then_some(trace);
    error
}

/// The beginning of an ActionLoop request, up to the arguments (contract 6.4 and 6.6b).
fn envelope(job: &Job, name: &str, deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO) + left;
    // Names and ids hold letters, digits, '-' and '_' only: there is nothing to escape.
    format!(
        "{{\"activation_id\":\"{}\",\"action_name\":\"/_/{name}\",\"namespace\":\"_\",\
         \"deadline\":\"{}\",\"value\":",
        job.id,
        deadline.as_millis()
    )
}
