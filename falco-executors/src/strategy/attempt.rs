//! The way of one invocation: the only place where it is sent, repeated, copied, given up.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use falco_core::{
    Activation, AttemptReason, Attempts, Error, ErrorKind, Event, Invocation, Outcome, Result,
    WaitReason,
};
use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep};

use super::caught::caught;
use super::collector::Lease;
use super::context::{End, Execution};
use super::options::{Delays, ExecutionOptions};
use super::stragglers::Stragglers;

/// Whether the completion that was sent is a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Succeeded,
    Failed,
}

/// Turns an invocation into its completion, whatever happens on the way: one future in, one completion sent.
///
/// Completions are large: returned, each would be moved through the layers of futures before it gets there.
///
/// Dropped, the invocation leaves no completion, and its activations are released as abandoned.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice while in flight")]
pub(super) fn attempt(
    execution: &Execution,
    invocation: Invocation,
) -> impl Future<Output = Ended> + Send {
    async move {
        let taken_in = Instant::now();
        invocation.report(&Event::Admitted { invocation: &invocation });
        let mut attempts = Attempts::default();
        let (answer, lease) = match settle(execution, &invocation, &mut attempts).await {
            Ok(Ok((activation, lease))) => (Ok(Ok(activation)), lease),
            Ok(Err(failure)) => (Ok(Err(failure.error)), None),
            Err(end) => (Err(end), None),
        };
        let outcome = match answer {
            Ok(Ok(activation)) => Outcome::from_activation(*activation),
            Ok(Err(error)) => Outcome::from_error(error),
            Err(end) => end.outcome(),
        };
        let requested_at = execution.clock.wall_at(taken_in);
        let answered_at = lease.as_ref().and_then(Lease::answered_at).unwrap_or_else(Instant::now);
        let latency = answered_at.duration_since(taken_in);
        let completion = invocation.complete(outcome, attempts, requested_at, latency);
        // Not before the monitors have seen it: a journal must not lose what the provider then deletes.
        take(lease);
        let ended = if completion.is_success() { Ended::Succeeded } else { Ended::Failed };
        execution.sender.push(completion);
        ended
    }
}

/// The outcome of one attempt, with the lease on its activation where it was submitted.
///
/// In a box, because activations are large, and each future that hands one on moves it.
type AttemptResult<'a> = Result<(Box<Activation>, Option<Lease<'a>>), CallFailure>;

/// A failure of the platform.
struct CallFailure {
    error: Error,
    /// Whether the platform had accepted the invocation. Then no layer has had its turn to send it again.
    accepted: bool,
}

impl From<Error> for CallFailure {
    fn from(error: Error) -> Self {
        Self { error, accepted: false }
    }
}

/// Pursues an invocation until it is settled or the execution ends.
async fn settle<'a>(
    execution: &'a Execution,
    invocation: &Invocation,
    attempts: &mut Attempts,
) -> Result<AttemptResult<'a>, End> {
    let mut pursuit = pin!(pursue(execution, invocation, attempts));
    std::future::poll_fn(|cx| {
        if let Some(end) = execution.ended() {
            return Poll::Ready(Err(end));
        }
        pursuit.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// Sends an invocation as often as the policies say.
async fn pursue<'a>(
    execution: &'a Execution,
    first: &Invocation,
    attempts: &mut Attempts,
) -> AttemptResult<'a> {
    let mut repeats = Repeats::new(&execution.options);
    let mut reason = AttemptReason::First;
    let mut latest: Option<Box<Invocation>> = None;
    loop {
        let current = latest.as_deref().unwrap_or(first);
        attempts.made += 1;
        let (answer, copy) = match &execution.stragglers {
            Some(stragglers) if current.is_idempotent() => {
                // In a box, so that those who don't speculate don't carry it.
                Box::pin(race(execution, stragglers, current, reason, attempts)).await
            }
            _ => (call(execution, current, reason).await, None),
        };
        let delay = match &answer {
            Ok(_) if is_success(&answer) => None,
            Ok((activation, _)) if activation.attribute(Activation::OUTGROWN).is_some() => {
                reason = AttemptReason::Outgrown;
                Some(Duration::ZERO)
            }
            Ok(_) => {
                reason = AttemptReason::FunctionFailed;
                repeats.after_function_error()
            }
            Err(failure) => {
                reason = match failure.error.kind() {
                    ErrorKind::Lost => AttemptReason::Lost,
                    ErrorKind::Deferred => AttemptReason::Deferred,
                    _ => AttemptReason::CallFailed,
                };
                repeats.after(failure, current)
            }
        };
        let Some(delay) = delay else { return answer };
        // Released before the wait: layers count it as in flight until then, and the next attempt needs the room.
        discard(answer, attempts);
        let next = Box::new(copy.as_deref().unwrap_or(current).next_attempt());
        wait(&next, delay).await;
        latest = Some(next);
    }
}

async fn wait(invocation: &Invocation, wait: Duration) {
    if !wait.is_zero() {
        let reason = WaitReason::BackOff;
        invocation.report(&Event::Waiting { invocation, reason, wait });
        sleep(wait).await;
    }
}

/// The failures that are worth another attempt, and the pause before it.
struct Repeats<'a> {
    options: &'a ExecutionOptions,
    function_errors: Option<Delays>,
    lost: Option<Delays>,
}

impl<'a> Repeats<'a> {
    fn new(options: &'a ExecutionOptions) -> Self {
        Self { options, function_errors: None, lost: None }
    }

    fn after_function_error(&mut self) -> Option<Duration> {
        let policy = &self.options.repeat_failed;
        self.function_errors.get_or_insert_with(|| policy.delays()).next()
    }

    /// After a failure of the platform: when there is hope, and running it twice does no harm or it certainly did not
    /// run. A refused call is the retry layer's to repeat, and it has had its turn; not so where the platform fails
    /// after it has accepted the invocation.
    fn after(&mut self, failure: &CallFailure, invocation: &Invocation) -> Option<Duration> {
        let CallFailure { error, accepted } = failure;
        if error.kind() == ErrorKind::Deferred {
            return Some(Duration::ZERO);
        }
        let hope = error.kind() == ErrorKind::Lost || error.is_retryable();
        let safe = match error.may_have_run() {
            true => invocation.is_idempotent(),
            false => *accepted,
        };
        if !(hope && safe) {
            return None;
        }
        let policy = &self.options.repeat_lost;
        let delay = self.lost.get_or_insert_with(|| policy.delays()).next()?;
        Some(delay.max(error.retry_after().unwrap_or_default()))
    }
}

fn is_success(answer: &AttemptResult<'_>) -> bool {
    answer.as_ref().is_ok_and(|(activation, _)| activation.is_success())
}

/// Lets go of an answer that another attempt follows, or has preceded.
fn discard(answer: AttemptResult<'_>, attempts: &mut Attempts) {
    if let Ok((activation, lease)) = answer {
        attempts.discard(&activation);
        take(lease);
    }
}

fn take(lease: Option<Lease<'_>>) {
    if let Some(lease) = lease {
        lease.take();
    }
}

/// Makes one attempt, and a copy of it when it turns out to be a straggler; the copy comes back for its number.
async fn race<'a>(
    execution: &'a Execution,
    stragglers: &'a Stragglers,
    invocation: &Invocation,
    reason: AttemptReason,
    attempts: &mut Attempts,
) -> (AttemptResult<'a>, Option<Box<Invocation>>) {
    let sent_at = Instant::now();
    let mut watch = stragglers.watch(sent_at);
    let original = pin!(call(execution, invocation, reason));
    let original = match select(original, pin!(watch.due())).await {
        Either::Left((answer, _)) => {
            record(stragglers, sent_at, &answer);
            return (answer, None);
        }
        Either::Right(((), original)) => original,
    };
    attempts.made += 1;
    let copy = Box::new(invocation.next_attempt());
    let answer = compete(execution, stragglers, original, sent_at, &copy, attempts).await;
    (answer, Some(copy))
}

/// Sends a copy of what is slow, and takes the first answer that is not a failure.
async fn compete<'a>(
    execution: &'a Execution,
    stragglers: &Stragglers,
    original: impl Future<Output = AttemptResult<'a>> + Send + Unpin,
    original_sent_at: Instant,
    copy: &Invocation,
    attempts: &mut Attempts,
) -> AttemptResult<'a> {
    let copy_sent_at = Instant::now();
    let copied = pin!(call(execution, copy, AttemptReason::Straggler));
    let (answer, sent_at, other) = match select(original, copied).await {
        Either::Left((answer, copied)) => (answer, original_sent_at, Either::Left(copied)),
        Either::Right((answer, original)) => (answer, copy_sent_at, Either::Right(original)),
    };
    record(stragglers, sent_at, &answer);
    if !is_success(&answer) {
        discard(answer, attempts);
        return other.await;
    }
    // Both may have answered at the same time; then this answer is counted, and that one is a duplicate.
    if let Some(Ok((duplicate, lease))) = other.now_or_never() {
        let (stage, activation) = (copy.stage(), &duplicate.id);
        copy.report(&Event::DuplicateIgnored { stage, activation });
        discard(Ok((duplicate, lease)), attempts);
    }
    answer
}

fn record(stragglers: &Stragglers, sent_at: Instant, answer: &AttemptResult<'_>) {
    if is_success(answer) {
        stragglers.record(sent_at.elapsed());
    }
}

/// Sends an invocation, unless an earlier process has done so, and waits for its answer.
async fn call<'a>(
    execution: &'a Execution,
    invocation: &Invocation,
    reason: AttemptReason,
) -> AttemptResult<'a> {
    let mut lease = if let Some(pending) = invocation.submitted() {
        execution.collector.watch(invocation, pending)?
    } else {
        invocation.report(&Event::Attempt { invocation, reason });
        let (platform, deployment) = (&*execution.platform, &*execution.deployment);
        if !execution.submit {
            let held_open = async { platform.invoke(deployment, invocation).await };
            let activation = caught(platform, "invoke", held_open).await;
            let activation = Box::new(reported(invocation, activation)?);
            answered(invocation, &activation);
            return Ok((activation, None));
        }
        let submission = async { platform.submit(deployment, invocation).await };
        let pending = reported(invocation, caught(platform, "submit", submission).await)?;
        let lease = execution.collector.watch(invocation, &pending)?;
        invocation.report(&Event::Submitted { invocation, pending: &pending });
        lease
    };
    match reported(invocation, lease.answer().await) {
        Ok(activation) => {
            answered(invocation, &activation);
            Ok((activation, Some(lease)))
        }
        Err(error) => Err(CallFailure { error, accepted: true }),
    }
}

fn answered(invocation: &Invocation, activation: &Activation) {
    invocation.report(&Event::Answered { invocation, activation });
}

fn reported<T>(invocation: &Invocation, answer: Result<T>) -> Result<T> {
    if let Err(error) = &answer {
        invocation.report(&Event::CallFailed { invocation, error });
    }
    answer
}
