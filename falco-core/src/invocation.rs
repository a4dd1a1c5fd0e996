//! One unit of work on its way to a platform.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::completion::{Attempts, Completion, Outcome};
use crate::id::{InvocationId, RunId, StageName};
use crate::monitor::{Event, Monitor};
use crate::payload::Payload;
use crate::pending::Pending;
use crate::trace_context::TraceContext;

/// One unit of work. Immutable: a further attempt is a new value, see [`next_attempt`](Self::next_attempt).
///
/// Its identity is run, stage, id and attempt.
///
/// # Examples
///
/// ```
/// use falco_core::{Invocation, Payload};
///
/// let first = Invocation::new("run-1", "map", "chunk-7", Payload::empty()).with_idempotent(true);
/// let second = first.next_attempt();
/// assert_eq!((first.attempt(), second.attempt()), (1, 2));
/// assert_eq!(first.id(), second.id());
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Invocation {
    run: RunId,
    stage: StageName,
    id: InvocationId,
    attempt: u32,
    payload: Payload,
    idempotent: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    result_is_read: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    submitted: Option<Pending>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unique: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    alone: bool,
    #[serde(skip)]
    members: Option<Arc<[Self]>>,
    #[serde(skip)]
    monitor: Option<Arc<dyn Monitor>>,
}

impl Invocation {
    /// The first attempt of an invocation that is not idempotent.
    pub fn new(
        run: impl Into<RunId>,
        stage: impl Into<StageName>,
        id: impl Into<InvocationId>,
        payload: Payload,
    ) -> Self {
        Self {
            run: run.into(),
            stage: stage.into(),
            id: id.into(),
            attempt: 1,
            payload,
            idempotent: false,
            result_is_read: false,
            submitted: None,
            unique: false,
            alone: false,
            members: None,
            monitor: None,
        }
    }

    /// Says whether running it twice does no harm: such invocations may be repeated when nobody knows whether
    /// they ran, and copied when they are slow.
    #[must_use]
    pub fn with_idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Says whether the driver looks into its result: a layer that keeps long results elsewhere then fetches this one, and
    /// else hands on a reference to it.
    #[must_use]
    pub fn with_result_read(mut self, result_is_read: bool) -> Self {
        self.result_is_read = result_is_read;
        self
    }

    /// Says that an earlier process has sent it already: executors collect it and do not send it again.
    #[must_use]
    pub fn with_submitted(mut self, pending: Pending) -> Self {
        self.submitted = Some(pending);
        self
    }

    /// Says that no other invocation ever has its run, stage, id and attempt. A platform whose
    /// [capabilities](crate::Capabilities::resubmit) say so then names it by these at the provider: submitted twice, also
    /// by another process, it runs once. A journal says it of what must not run twice.
    #[must_use]
    pub fn with_unique(mut self, unique: bool) -> Self {
        self.unique = unique;
        self
    }

    /// Says that it is sent by itself, in no [batch](crate::Batch).
    #[must_use]
    pub fn with_alone(mut self, alone: bool) -> Self {
        self.alone = alone;
        self
    }

    /// Makes it the envelope of a batch: its argument holds those of `members`. To layers and platforms it is one
    /// invocation with the identity of the first member; a journal records each member.
    #[must_use]
    pub fn with_members(mut self, members: impl Into<Arc<[Self]>>) -> Self {
        self.members = Some(members.into());
        self
    }

    /// Lets layers, executors and platforms report what happens to it.
    #[must_use]
    pub fn with_monitor(mut self, monitor: Arc<dyn Monitor>) -> Self {
        self.monitor = Some(monitor);
        self
    }

    /// Replaces the argument, as a platform or a layer does that wraps it on its way to the function.
    #[must_use]
    pub fn with_payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Sets which attempt it is, from 1: an invocation that an earlier process has sent goes on with the next number.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt.max(1);
        self
    }

    /// The next attempt of the same invocation, not sent yet.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        Self { attempt: self.attempt + 1, submitted: None, ..self.clone() }
    }

    /// The run that it belongs to.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The stage that it belongs to.
    pub fn stage(&self) -> &StageName {
        &self.stage
    }

    /// Its id, unique in its stage.
    pub fn id(&self) -> &InvocationId {
        &self.id
    }

    /// The number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The ids under which traces show this attempt. They follow from its identity, so that every process that knows
    /// the invocation computes the same.
    pub fn trace_context(&self) -> TraceContext {
        TraceContext::of_attempt(&self.run, &self.stage, &self.id, self.attempt)
    }

    /// The function's argument.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Whether running it twice does no harm.
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Whether the driver looks into its result.
    pub fn is_result_read(&self) -> bool {
        self.result_is_read
    }

    /// Whether no other invocation ever has its run, stage, id and attempt.
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// Whether it is sent by itself, in no batch.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// The invocations that travel in this one; none unless it is the envelope of a batch.
    pub fn members(&self) -> &[Self] {
        self.members.as_deref().unwrap_or_default()
    }

    /// The handle that an earlier process got when it sent this attempt.
    pub fn submitted(&self) -> Option<&Pending> {
        self.submitted.as_ref()
    }

    /// Ends it after `attempts`: makes its completion, with the times as there, and reports it to the run's monitor.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Attempts, Invocation, Outcome, Payload};
    /// use std::time::{Duration, SystemTime};
    ///
    /// let invocation = Invocation::new("run-1", "map", "chunk-7", Payload::empty());
    /// let (attempts, now) = (Attempts::default(), SystemTime::now());
    /// let completion = invocation.complete(Outcome::Cancelled, attempts, now, Duration::ZERO);
    /// assert_eq!(completion.invocation, "chunk-7");
    /// ```
    pub fn complete(
        self,
        outcome: Outcome,
        attempts: Attempts,
        requested_at: SystemTime,
        latency: Duration,
    ) -> Completion {
        let Self { run, stage, id, payload, monitor, .. } = self;
        let completion = Completion::new(run, stage, id, outcome, requested_at, latency);
        let completion = completion.with_attempts(attempts).with_input(payload);
        if let Some(monitor) = monitor {
            // As with `report`, the runner remembers a `Stop`.
            let _ = monitor.event(&Event::Completed { completion: &completion });
        }
        completion
    }

    /// Reports an event to the run's monitor; without a monitor it does nothing.
    ///
    /// The runner remembers a [`Verdict::Stop`](crate::Verdict::Stop), and then ends the stage.
    pub fn report(&self, event: &Event<'_>) {
        if let Some(monitor) = &self.monitor {
            // The runner's own monitor remembers the verdict.
            let _ = monitor.event(event);
        }
    }

    /// Whether anybody listens, for callers to whom building an event costs something.
    pub fn is_monitored(&self) -> bool {
        self.monitor.is_some()
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("run", &self.run)
            .field("stage", &self.stage)
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("idempotent", &self.idempotent)
            .field("submitted", &self.submitted)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_is_not_sent_yet() {
        let pending = Pending::new("a-1", SystemTime::UNIX_EPOCH);
        let sent = Invocation::new("run", "stage", "1", Payload::empty()).with_submitted(pending);
        assert!(sent.submitted().is_some() && sent.next_attempt().submitted().is_none());
    }

    #[test]
    fn the_argument_never_shows_in_debug() {
        let payload = Payload::from_bytes(r#"{"password":"marked-secret"}"#).unwrap();
        let shown = format!("{:?}", Invocation::new("run", "stage", "1", payload));
        assert!(shown.contains("28 bytes") && !shown.contains("marked-secret"), "{shown}");
    }
}
