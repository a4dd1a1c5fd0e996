//! One worker: a task that drives one container after another.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};
use falco_package::native;
use falco_package::shim::Answer;
use falco_workers::{Capture, Job, PoolLimits, TIMEOUT, answer, removed};
use futures_util::future::BoxFuture;

use crate::bundle::Dialogue;
use crate::calls::Attempts;
use crate::container::{Container, Ending, Start, init_body};
use crate::events::End;
use crate::failed::{
    Failed, acknowledged, crash, may_go_on, no_interpreter, not_started, out_of_memory,
};
use crate::network::{self, NETWORK};
use crate::pool::Pool;
use crate::protocol::Protocol;
use crate::refusal::no_answer;
use crate::{action, lambda};

/// How much longer than the result an answer by HTTP may be, in bytes: Falco's transports say where and how long it ran.
const AROUND_ANSWER: usize = 1024;

/// How much later than Falco the emulator ends a call, in seconds.
const EMULATOR_MARGIN_S: u64 = 10;

/// A worker of a pool. Dropped, its container is removed.
struct Worker {
    pool: Arc<Pool>,
    container: Option<Container>,
    /// The system and the interpreter, until the first activation has reported them.
    runtime: Option<String>,
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
        if self.container.as_mut().is_some_and(|container| container.has_unasked_answer(&mut log)) {
            let function = &pool.function.name;
            tracing::warn!(
                function,
                "a container has sent an answer without a request, and is replaced"
            );
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
        let dialogue = function.dialogue;
        let isolation = &shared.config.isolation;
        let mut host_config =
            isolation.host_config(dialogue.protocol(), limits.memory_mib, limits.cpus);
        if !function.binds.is_empty() {
            host_config.binds.get_or_insert_default().extend_from_slice(&function.binds);
        }
        let start = Start {
            image: &function.image,
            driver: &shared.driver,
            host_config,
            dialogue,
            environment: environment(dialogue, &function.name, limits),
            user: (!function.binds.is_empty()).then(owner).flatten(),
        };
        let images = &shared.images;
        if isolation.network_of(dialogue.protocol()) == NETWORK {
            network::ensure(&images.docker, &images.host).await.map_err(Failed::Platform)?;
        }
        // The daemon may stop in the middle of an answer, which no timeout of a request ends.
        let longest = shared.config.answer_timeout.saturating_mul(Container::START_REQUESTS);
        let starting = Container::start(&images.docker, &images.host, &shared.ends, start);
        let container = tokio::time::timeout(longest.min(TIMEOUT.max), starting).await;
        let container = container.unwrap_or_else(|_| Err(no_answer(&images.host)));
        let container = container.map_err(|error| not_started(dialogue, error))?;
        let container = self.container.insert(container);
        // A timeout may be more time than a clock can count: then there is no limit.
        let deadline = Instant::now() + shared.config.workers.start_timeout.min(TIMEOUT.max);
        let asked = Attempts::UntilAnswered;
        let ending = match dialogue {
            Dialogue::Native => return Ok(()),
            Dialogue::Shim => {
                container
                    .exchange(&[b"start"], answer::MAX_START_LINE, deadline, log, is_unwanted)
                    .await
            }
            Dialogue::NativeAcknowledged => {
                container.listen(answer::MAX_START_LINE, deadline, log, is_unwanted).await
            }
            Dialogue::Action { .. } => {
                let read = || init_body(images.docker.clone(), container.id.clone());
                let init = self.pool.init.get_or_try_init(read).await;
                let init = init.map_err(Failed::Platform)?.clone();
                let request = (action::INIT, init);
                container
                    .post(request, asked, answer::MAX_START_LINE, deadline, log, is_unwanted)
                    .await
            }
            Dialogue::Lambda { .. } => {
                let request = (lambda::READY, Bytes::new());
                container
                    .post(request, asked, answer::MAX_START_LINE, deadline, log, is_unwanted)
                    .await
            }
        };
        let started = match ending {
            Ending::Answered(line) => acknowledged(dialogue, &line),
            Ending::Replied(status, _, body) => match action::refused(status, &body) {
                Some(error) if dialogue.protocol() == Protocol::Action => Err(error),
                _ => Ok(native::Started::default()),
            },
            Ending::Stopped => {
                self.container = None;
                return Err(Failed::Platform(answer::unwanted()));
            }
            ending => return Err(self.start_failure(&ending, log).await),
        };
        match started {
            Ok(started) => {
                if dialogue == Dialogue::NativeAcknowledged {
                    container.finish_start(started.marks_logs, log).await;
                }
                self.runtime = started.runtime;
                Ok(())
            }
            Err(error) => {
                self.container = None;
                Err(Failed::Function(error))
            }
        }
    }

    async fn start_failure(&mut self, ending: &Ending, log: &Capture) -> Failed {
        if matches!(ending, Ending::TimedOut) {
            self.container = None;
            let limit = self.pool.shared.config.workers.start_timeout;
            return Failed::Function(answer::not_loaded(limit));
        }
        let end = match self.end().await {
            Ok(end) => end,
            // Nothing of the function's own has run.
            Err(error) => return Failed::Platform(error.with_may_have_run(false)),
        };
        if answer::is_not_started(end.status) {
            return Failed::Function(no_interpreter(end, log));
        }
        Failed::Function(answer::while_loading(crash(end, log)))
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
        let left = deadline.saturating_duration_since(Instant::now());
        if let Dialogue::Action { .. } | Dialogue::Lambda { .. } = function.dialogue {
            let request = match function.dialogue {
                Dialogue::Lambda { has_handler } => {
                    (lambda::INVOCATIONS, lambda::event(job, has_handler))
                }
                _ => (action::RUN, action::run(job, &function.name, left)),
            };
            let limit = limit.saturating_add(AROUND_ANSWER);
            let once = Attempts::One;
            return container.post(request, once, limit, deadline, log, is_unwanted).await;
        }
        if function.dialogue == Dialogue::Shim {
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
            Ending::Replied(status, has_failed, body) => {
                let outcome = match self.pool.function.dialogue {
                    Dialogue::Lambda { has_handler } => {
                        lambda::outcome(status, has_failed, body, has_handler)
                    }
                    Dialogue::Action { has_shim } => action::outcome(status, body, has_shim),
                    _ => Ok(Payload::empty()),
                };
                let is_full = self.container.as_ref().is_some_and(Container::has_run_out_of_memory);
                let outcome = outcome.map_err(|error| match error.kind {
                    FunctionErrorKind::Crashed if is_full => out_of_memory(error),
                    _ => error,
                });
                if !may_go_on(&outcome) {
                    self.container = None;
                }
                Ok(answer::within(outcome, max_result))
            }
            Ending::Answered(line) if self.pool.function.dialogue != Dialogue::Shim => {
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
                let end = self.end().await?;
                let is_native = matches!(
                    self.pool.function.dialogue,
                    Dialogue::Native | Dialogue::NativeAcknowledged
                );
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
    ///
    /// # Errors
    ///
    /// `Unavailable` where the daemon has ended with it, or stopped it.
    async fn end(&mut self) -> Result<End> {
        let Some(container) = self.container.take() else { return Ok(End::default()) };
        let host = &self.pool.shared.images.host;
        let (message, is_unreachable) = match container.end().await {
            Some(end) if !end.was_stopped => return Ok(end),
            Some(_) => (
                format!(
                    "the daemon at {host} has stopped the container: it ends, or was asked to do so"
                ),
                false,
            ),
            None => (format!("the daemon at {host} has ended, or was started again"), true),
        };
        Err(Error::new(ErrorKind::Unavailable, message)
            .with_may_have_run(true)
            .with_unreachable(is_unreachable))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.container = None;
        self.pool.leave();
    }
}

/// The user of this process, as whom a function works on this machine's folders: without capabilities, the user `root` of a
/// container reads and writes only what belongs to it.
fn owner() -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let own = std::fs::metadata("/proc/self").ok()?;
    (own.uid() != 0).then(|| format!("{}:{}", own.uid(), own.gid()))
}

/// The variables of a container that are not the function's own.
fn environment(dialogue: Dialogue, name: &str, limits: &PoolLimits) -> Vec<String> {
    if dialogue.protocol() != Protocol::Lambda {
        return Vec::new();
    }
    // The emulator ends a call at its own timeout, and has to do it later than Falco.
    let timeout = limits.timeout.as_secs().saturating_add(EMULATOR_MARGIN_S);
    let mut variables = vec![
        format!("AWS_LAMBDA_FUNCTION_NAME={name}"),
        format!("AWS_LAMBDA_FUNCTION_TIMEOUT={timeout}"),
    ];
    variables.extend(limits.memory_mib.map(|mib| format!("AWS_LAMBDA_FUNCTION_MEMORY_SIZE={mib}")));
    variables
}
