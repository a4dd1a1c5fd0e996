//! Batches: several inputs in one call of the platform.
//!
//! To the attempts above it is the platform, and each of their invocations gets its own answer. To the layers and the
//! platform beneath, a batch is one invocation. docs/batches.md says why it is here.

mod earlier;
mod envelope;
mod logs;
mod marks;
mod platform;
mod queue;
mod running;
mod sizing;
mod submitted;
mod unpack;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use falco_core::{
    Activation, AsyncPlatform, Batch, Deployment, Error, ErrorKind, Invocation, InvocationId,
    Pending, Release, Result,
};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};

use super::caught::caught;
use earlier::Earlier;
use envelope::Limits;
pub(crate) use logs::activation_log;
pub(super) use queue::Supply;
use queue::{Queue, Reply, Waiting};
use sizing::Sizing;
use submitted::Submitted;
use unpack::{Unpacked, unpack};

/// How long a batch that is not full waits for more inputs, where a worker is idle.
const LINGER: Duration = Duration::from_millis(10);
/// The part of a function's timeout after which its shim begins with no further input, so that each has most of the timeout
/// for itself.
const PART_OF_TIMEOUT: u32 = 4;
/// The timeout that functions get where the platform does not report their timeout.
const USUAL_TIMEOUT: Duration = Duration::from_secs(60);
/// The most inputs in flight, however large batches are.
const MOST_IN_FLIGHT: usize = 1 << 17;
/// Room for what platforms put around a result, in bytes.
const AROUND_RESULT: u64 = 4 << 10;
/// The longest result that a shim collects where the platform has no limit, in bytes.
const LONGEST_RESULT: u64 = 1 << 30;

/// A platform that sends several invocations in one call.
#[derive(Debug)]
pub(super) struct Batches {
    platform: Arc<dyn AsyncPlatform>,
    deployment: Arc<Deployment>,
    permits: Arc<Semaphore>,
    /// Calls in flight at once.
    slots: usize,
    limits: Limits,
    /// The longest argument of a call, in bytes.
    room: u64,
    // Locked by the driving task only; a mutex because its attempts have to be `Send`.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sizing: Sizing,
    queue: Queue,
    calls: FuturesUnordered<BoxFuture<'static, Sent>>,
    submitted: HashMap<falco_core::ActivationId, Submitted>,
    /// Those that earlier processes submitted.
    earlier: HashMap<falco_core::ActivationId, Earlier>,
    /// The most inputs of the next batch of what is sent again because of its neighbours.
    at_most: HashMap<InvocationId, usize>,
    /// Inputs that may be in flight.
    granted: usize,
    linger: Option<Pin<Box<Sleep>>>,
}

/// A call that has ended.
struct Sent {
    inputs: Vec<Waiting>,
    mark: String,
    end: End,
}

enum End {
    Invoked(Result<(Box<Activation>, Option<usize>)>),
    Submitted(Result<Pending>),
    /// Nobody waits for it any more.
    Dropped,
}

impl Batches {
    /// Batches for `slots` calls at once, whose inputs hold `permits`: as many as there are slots, to which it adds.
    pub(super) fn new(
        batch: Batch,
        platform: Arc<dyn AsyncPlatform>,
        deployment: Arc<Deployment>,
        permits: Arc<Semaphore>,
        slots: usize,
        submits: bool,
    ) -> Self {
        let capabilities = platform.capabilities().for_runtime(&deployment.runtime);
        let submitted = capabilities.max_submit_payload.filter(|_| submits);
        let timeout = deployment.scaling.timeout.unwrap_or(USUAL_TIMEOUT);
        let bytes = capabilities.max_result.map(|most| most.saturating_sub(AROUND_RESULT));
        let state = State {
            sizing: Sizing::new(batch),
            queue: Queue::default(),
            calls: FuturesUnordered::new(),
            submitted: HashMap::new(),
            earlier: HashMap::new(),
            at_most: HashMap::new(),
            granted: slots,
            linger: None,
        };
        let batches = Self {
            room: submitted.or(capabilities.max_payload).unwrap_or(u64::MAX),
            limits: Limits {
                time: timeout / PART_OF_TIMEOUT,
                bytes: bytes.unwrap_or(LONGEST_RESULT).min(LONGEST_RESULT),
            },
            platform,
            deployment,
            permits,
            slots,
            state: Mutex::new(state),
        };
        batches.grant(&mut batches.lock());
        batches
    }

    /// Lets as many inputs in as fill two batches for each slot: those in flight, and those that follow.
    fn grant(&self, state: &mut State) {
        let wanted = self.slots.saturating_mul(state.sizing.inputs()).saturating_mul(2);
        let wanted = wanted.min(MOST_IN_FLIGHT);
        if let Some(more) = wanted.checked_sub(state.granted) {
            self.permits.add_permits(more);
            state.granted = wanted;
        }
    }

    fn enqueue(&self, invocation: &Invocation, reply: Reply) {
        let mut state = self.lock();
        let at_most = match invocation.is_alone() {
            true => 1,
            false => state.at_most.remove(invocation.id()).unwrap_or(usize::MAX),
        };
        let invocation = invocation.clone();
        state.queue.push(Waiting { invocation, at_most, reply });
    }

    /// Sends what makes a batch, and hands out answers. Whether anything has changed.
    pub(super) fn poll(&self, supply: Supply, cx: &mut Context<'_>) -> bool {
        let mut has_changed = false;
        loop {
            let mut moved = false;
            loop {
                let ended = self.lock().calls.poll_next_unpin(cx);
                let Poll::Ready(Some(sent)) = ended else { break };
                self.settle(sent);
                moved = true;
            }
            let state = &mut *self.lock();
            while state.calls.len() + state.submitted.len() < self.slots
                && let Some(inputs) = self.next(state, supply, cx)
            {
                state.calls.push(self.call(inputs));
                moved = true;
            }
            if !moved {
                return has_changed;
            }
            has_changed = true;
        }
    }

    /// The inputs of the next batch, unless it is better to wait for more.
    fn next(
        &self,
        state: &mut State,
        supply: Supply,
        cx: &mut Context<'_>,
    ) -> Option<Vec<Waiting>> {
        let Some(choice) = state.queue.choose(&state.sizing, self.slots, self.room, supply) else {
            state.linger = None;
            return None;
        };
        if !choice.is_full {
            match supply {
                Supply::Flows => return None,
                Supply::Waits if state.sizing.waits() => {
                    let linger = state.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
                    if linger.as_mut().poll(cx).is_pending() {
                        return None;
                    }
                }
                Supply::Full if state.sizing.grow() => {
                    self.grant(state);
                    // The task has looked for permits already.
                    cx.waker().wake_by_ref();
                    return None;
                }
                _ => {}
            }
        }
        state.linger = None;
        Some(state.queue.take(choice.inputs))
    }

    /// Sends a batch. An input that is by itself goes as it is.
    fn call(&self, mut inputs: Vec<Waiting>) -> BoxFuture<'static, Sent> {
        let (platform, deployment) = (self.platform.clone(), self.deployment.clone());
        let mark = format!("{:08x}", fastrand::u32(..));
        let envelope = self.envelope(&inputs, &mark);
        let submits = matches!(&inputs[0].reply, Reply::Submitted(_));
        let is_batch = inputs.len() > 1;
        Box::pin(async move {
            let sending = async {
                match (envelope, submits) {
                    (Err(error), _) => End::Invoked(Err(error)),
                    (Ok(sent), true) => {
                        let call = async { platform.submit(&deployment, &sent).await };
                        End::Submitted(caught(&*platform, "submit", call).await)
                    }
                    (Ok(sent), false) => {
                        let call = async { platform.invoke(&deployment, &sent).await };
                        End::Invoked(match caught(&*platform, "invoke", call).await {
                            Ok(batch) if is_batch => {
                                let (platform, deployment) = (&*platform, &*deployment);
                                let running =
                                    running::running_input(platform, deployment, &batch, &mark);
                                let running = running.await;
                                Ok((Box::new(batch), running))
                            }
                            Ok(single) => Ok((Box::new(single), None)),
                            Err(error) => Err(error),
                        })
                    }
                }
            };
            let abandoned = async {
                for input in &mut inputs {
                    input.reply.closed().await;
                }
            };
            let end = tokio::select! {
                biased;
                end = sending => end,
                () = abandoned => End::Dropped,
            };
            Sent { inputs, mark, end }
        })
    }

    fn envelope(&self, inputs: &[Waiting], mark: &str) -> Result<Invocation> {
        let first = &inputs[0].invocation;
        if inputs.len() == 1 {
            return Ok(first.clone());
        }
        let members: Vec<Invocation> =
            inputs.iter().map(|input| input.invocation.clone()).collect();
        let argument = envelope::argument(&members, self.limits, mark)?;
        let envelope = first.clone().with_payload(argument).with_unique(false);
        // A result that a layer keeps elsewhere could not be divided.
        Ok(envelope.with_result_read(true).with_members(members))
    }

    fn settle(&self, Sent { inputs, mark, end }: Sent) {
        match end {
            End::Dropped => {}
            End::Invoked(Err(error)) | End::Submitted(Err(error)) => self.fail(inputs, &error),
            End::Invoked(Ok((activation, _))) if inputs.len() == 1 => {
                self.measure(&activation, 1);
                self.reply(inputs, vec![Ok(*activation).into()]);
            }
            End::Invoked(Ok((batch, running))) => {
                self.measure(&batch, inputs.len());
                let is_idempotent = inputs[0].invocation.is_idempotent();
                let unpacked = unpack(*batch, inputs.len(), is_idempotent, running);
                self.reply(inputs, unpacked);
            }
            End::Submitted(Ok(pending)) => self.accept(inputs, mark, &pending),
        }
    }

    /// Answers for a call that failed. What was too long together goes again in smaller batches.
    fn fail(&self, inputs: Vec<Waiting>, error: &Error) {
        let count = inputs.len();
        let is_divided =
            count > 1 && error.kind() == ErrorKind::PayloadTooLarge && !error.may_have_run();
        let unpacked = inputs.iter().map(|_| match is_divided {
            true => Unpacked {
                answer: Err(Error::new(ErrorKind::Deferred, "its batch was too long")),
                at_most: Some(count / 2),
            },
            false => Err(error.clone()).into(),
        });
        let unpacked = unpacked.collect();
        self.reply(inputs, unpacked);
    }

    fn reply(&self, inputs: Vec<Waiting>, unpacked: Vec<Unpacked>) {
        let mut state = self.lock();
        for (input, Unpacked { answer, at_most }) in inputs.into_iter().zip(unpacked) {
            if let Some(at_most) = at_most {
                state.at_most.insert(input.invocation.id().clone(), at_most);
            }
            // Sending fails where the caller was dropped or has another answer already; nobody misses this one.
            match input.reply {
                Reply::Invoked(reply) => drop(reply.send(answer.map(Box::new))),
                Reply::Submitted(reply) => {
                    let _ = answer.map_err(|error| reply.send(Err(error)));
                }
            }
        }
    }

    /// Hands out the ids of the inputs of a batch that was accepted.
    fn accept(&self, inputs: Vec<Waiting>, mark: String, pending: &Pending) {
        let is_batch = inputs.len() > 1;
        let members = inputs.iter().map(|input| input.invocation.id().clone()).collect();
        let is_idempotent = inputs[0].invocation.is_idempotent();
        let submitted = Submitted::new(members, is_idempotent, mark);
        self.lock().submitted.insert(pending.id.clone(), submitted);
        let mut unwanted = Vec::new();
        for (index, input) in inputs.into_iter().enumerate() {
            let Reply::Submitted(reply) = input.reply else { continue };
            let id = if is_batch { pending.id.of_member(index) } else { pending.id.clone() };
            let accepted = Pending::new(id, pending.submitted_at);
            if let Err(Ok(accepted)) = reply.send(Ok(accepted)) {
                unwanted.push(accepted.id);
            }
        }
        self.let_go(&unwanted, Release::Abandoned);
    }

    /// Learns from how long a batch took at the function.
    fn measure(&self, batch: &Activation, inputs: usize) {
        if let Some(took) = batch.execution {
            let mut state = self.lock();
            state.sizing.record(inputs, took);
            self.grant(&mut state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
