//! One worker: a task that drives one container after another.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};
use falco_package::native;
use falco_package::shim::Answer;
use falco_workers::{Capture, Job, PoolLimits, TIMEOUT, answer, removed};
use futures_util::future::BoxFuture;

use crate::bundle::Protocol;
use crate::container::{Container, Ending, Start};
use crate::events::End;
use crate::pool::Pool;

/// A worker of a pool. Dropped, its container is removed.
struct Worker {
    pool: Arc<Pool>,
    container: Option<Container>,
    /// The system and the interpreter, until the first activation has reported them.
    runtime: Option<String>,
}

/// How a start failed: by the platform's fault, or by the function's.
enum Failed {
    Platform(Error),
    Function(FunctionError),
}

/// Runs a pool's jobs until it has none for this worker.
pub(crate) fn work(pool: Arc<Pool>, early: bool) -> BoxFuture<'static, ()> {
    Box::pin(Worker::new(pool).work(early))
}

impl Worker {
    fn new(pool: Arc<Pool>) -> Self {
        Self { pool, container: None, runtime: None }
    }

    /// Runs jobs until the pool has none for it.
    async fn work(mut self, early: bool) {
        if early {
            let mut log = Capture::new(0);
            let limits = self.pool.limits();
            // Whatever is wrong, the first job meets it again and reports it.
            let _ = self.start(&limits, &mut log, &|| false).await;
        }
        let mut done = None;
        while let Some((job, limits)) = self.pool.next(done.take(), self.container.is_some()).await
        {
            if job.is_unwanted() {
                job.refuse(answer::unwanted());
                continue;
            }
            let result = self.run(&job, &limits).await;
            let failed = result.as_ref().map_or(true, |activation| !activation.is_success());
            if failed && self.pool.is_closed() {
                // It was ended with its pool.
                job.refuse(removed());
            } else {
                done = Some((job, result));
            }
        }
    }

    async fn run(&mut self, job: &Job, limits: &PoolLimits) -> Result<Activation> {
        let (begun, started_at) = (Instant::now(), SystemTime::now());
        let mut log = Capture::new(self.pool.shared.config.workers.max_log);
        let pool = self.pool.clone();
        let is_unwanted = || job.is_unwanted() || pool.is_closed();
        let (mut init, mut execution) = (None, None);
        if self.container.as_ref().is_some_and(Container::has_unasked_answer) {
            let function = &pool.function.name;
            tracing::warn!(function, "a container answered unasked, and is replaced");
            self.container = None;
        }
        let outcome = loop {
            if self.container.is_none() {
                let started = self.start(limits, &mut log, &is_unwanted).await;
                init = Some(begun.elapsed());
                match started {
                    Ok(()) => {}
                    Err(Failed::Platform(error)) => return Err(error),
                    Err(Failed::Function(error)) => break Err(error),
                }
            }
            let sent = Instant::now();
            let ending = self.exchange(job, sent + limits.timeout, &mut log, &is_unwanted).await;
            if matches!(ending, Ending::NotDelivered) && init.is_none() {
                // It died while it was idle, and no request was lost.
                self.container = None;
                continue;
            }
            execution = Some(sent.elapsed());
            break self.outcome(ending, init.is_some(), limits, &log).await?;
        };
        let mut activation = Activation::new(job.id.clone(), outcome);
        activation.started_at = Some(started_at);
        activation.ended_at = Some(started_at + begun.elapsed());
        activation.wait = Some(begun.duration_since(job.queued_at));
        activation.init = init;
        activation.execution = execution;
        activation.cold_start = Some(init.is_some());
        activation.memory_mib = limits.memory_mib;
        activation.container =
            self.container.as_ref().map(|container| container.id.chars().take(12).collect());
        if let Some(container) = &self.container {
            activation.booted_at = Some(container.booted_at);
        }
        if let Some(runtime) = self.runtime.take() {
            activation.attributes.insert("runtime".into(), runtime);
        }
        activation.code_version = Some(self.pool.function.version.clone());
        if let Some(log) = log.finish() {
            self.pool.shared.logs.keep(job.id.clone(), log);
        }
        Ok(activation)
    }

    /// Starts a container and waits until it has loaded the function.
    async fn start(
        &mut self,
        limits: &PoolLimits,
        log: &mut Capture,
        is_unwanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Failed> {
        let shared = &self.pool.shared;
        let function = &self.pool.function;
        let start = Start {
            image: &function.image,
            driver: &shared.driver,
            host_config: shared.config.isolation.host_config(limits.memory_mib, limits.cpus),
            marks_logs: function.protocol == Protocol::Shim,
        };
        let images = &shared.images;
        let container = Container::start(&images.docker, &images.host, &shared.ends, start).await;
        let container = container.map_err(|error| not_started(function.protocol, error))?;
        let container = self.container.insert(container);
        // Who wants no limit may say so with more time than a clock can count.
        let deadline = Instant::now() + shared.config.workers.start_timeout.min(TIMEOUT.max);
        let ending = match function.protocol {
            Protocol::Native => return Ok(()),
            Protocol::Shim => {
                container
                    .exchange(&[b"start"], answer::MAX_START_LINE, deadline, log, is_unwanted)
                    .await
            }
            Protocol::NativeAcknowledged => {
                container.listen(answer::MAX_START_LINE, deadline, log, is_unwanted).await
            }
        };
        match ending {
            Ending::Answered(line) => match acknowledged(function.protocol, &line) {
                Ok(started) => {
                    self.runtime = started.runtime;
                    Ok(())
                }
                Err(error) => {
                    self.container = None;
                    Err(Failed::Function(error))
                }
            },
            Ending::Stopped => {
                self.container = None;
                Err(Failed::Platform(answer::unwanted()))
            }
            ending => Err(Failed::Function(self.start_failure(&ending, log).await)),
        }
    }

    async fn start_failure(&mut self, ending: &Ending, log: &Capture) -> FunctionError {
        if matches!(ending, Ending::TimedOut) {
            self.container = None;
            return answer::not_loaded(self.pool.shared.config.workers.start_timeout);
        }
        let end = self.end().await;
        if answer::is_not_started(end.status) {
            return no_interpreter(end, log);
        }
        answer::while_loading(crash(end, log))
    }

    async fn exchange(
        &mut self,
        job: &Job,
        deadline: Instant,
        log: &mut Capture,
        is_unwanted: &(dyn Fn() -> bool + Sync),
    ) -> Ending {
        let function = &self.pool.function;
        let Some(container) = &mut self.container else { return Ending::NotDelivered };
        let limit =
            usize::try_from(self.pool.shared.config.workers.max_result).unwrap_or(usize::MAX);
        let payload = job.payload.as_str().as_bytes();
        if function.protocol == Protocol::Shim {
            let envelope = answer::shim_envelope(job);
            let request = [envelope.as_bytes(), payload, b"}"];
            let limit = limit.saturating_add(answer::AROUND_RESULT);
            return container.exchange(&request, limit, deadline, log, is_unwanted).await;
        }
        let envelope = answer::envelope(job, &function.name, deadline);
        let request = [envelope.as_bytes(), payload, b"}"];
        container.exchange(&request, limit, deadline, log, is_unwanted).await
    }

    /// The meaning of an ending. Only a container that has answered stays.
    async fn outcome(
        &mut self,
        ending: Ending,
        is_new: bool,
        limits: &PoolLimits,
        log: &Capture,
    ) -> Result<Result<Payload, FunctionError>> {
        let max_result = self.pool.shared.config.workers.max_result;
        match ending {
            Ending::Answered(line) if self.pool.function.protocol != Protocol::Shim => {
                Ok(native::outcome(line))
            }
            Ending::Answered(line) => {
                let Some(answer) = Answer::from_line(&line) else {
                    // The shim's own answer is still to come, and would be taken for the next one.
                    self.container = None;
                    return Ok(Err(answer::stray_line()));
                };
                Ok(answer::within(answer.outcome, max_result))
            }
            Ending::Exited => {
                let end = self.end().await;
                let is_native = self.pool.function.protocol != Protocol::Shim;
                let not_started = is_new && is_native && answer::is_not_started(end.status);
                let crash = crash(end, log);
                Ok(Err(if not_started { answer::not_started(crash) } else { crash }))
            }
            Ending::TimedOut => {
                self.container = None;
                Ok(Err(answer::timed_out(limits.timeout)))
            }
            Ending::TooLong => {
                self.container = None;
                Ok(Err(answer::too_long(max_result)))
            }
            Ending::Stopped => {
                self.container = None;
                Err(answer::unwanted())
            }
            Ending::NotDelivered => {
                self.container = None;
                Err(Error::new(
                    ErrorKind::Unavailable,
                    "a new container ended before it took its first request",
                ))
            }
        }
    }

    /// How the container ended, which is gone then.
    async fn end(&mut self) -> End {
        match self.container.take() {
            Some(container) => container.end().await,
            None => End::default(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.container = None;
        self.pool.leave();
    }
}

/// Reads the first line of a container, which reports its start.
fn acknowledged(protocol: Protocol, line: &Bytes) -> Result<native::Started, FunctionError> {
    if protocol == Protocol::Shim
        && let Some(Answer { outcome: Err(error), .. }) = Answer::from_line(line)
    {
        return Err(error);
    }
    native::acknowledged(line)
}

/// The error of a container that has ended unasked.
fn crash(end: End, log: &Capture) -> FunctionError {
    // As the shell counts: 128 and the number of the signal.
    let status = end.status.map(|status| if status > 128 { 128 - status } else { status });
    let mut error = answer::crash(status, log);
    if end.out_of_memory {
        error.kind = FunctionErrorKind::OutOfMemory;
        error.message = "it used more memory than it was granted, and the kernel ended it".into();
    }
    error
}

fn no_interpreter(end: End, log: &Capture) -> FunctionError {
    let mut error = crash(end, log);
    error.kind = FunctionErrorKind::Initialization;
    error.message =
        "the image has no interpreter for the function's runtime: choose another image".into();
    error
}

/// A container that the daemon does not start: by a missing shell in the image, or by the daemon's fault.
fn not_started(protocol: Protocol, error: Error) -> Failed {
    let message = error.message();
    if message.contains("executable file not found") || message.contains("no such file") {
        let needed = match protocol {
            Protocol::Shim => "a shell (sh) and the interpreter of the runtime",
            Protocol::Native | Protocol::NativeAcknowledged => "a shell (sh)",
        };
        return Failed::Function(FunctionError::new(
            FunctionErrorKind::Initialization,
            format!("the image lacks {needed}: {message}"),
        ));
    }
    let error = if error.kind() == ErrorKind::NotFound { removed() } else { error };
    Failed::Platform(error.context("a container cannot be started"))
}
