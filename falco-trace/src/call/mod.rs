//! The line of an attempt.

mod error;
mod outcome;

use std::borrow::Cow;
use std::collections::BTreeMap;

use falco_core::{Activation, InvocationId, RunId, TraceContext};
use serde::{Deserialize, Serialize};

pub use self::error::CallError;
pub(crate) use self::error::end;
pub use self::outcome::{CallOutcome, Why};
use crate::units::{Micros, Picodollars};

/// Attributes of activations that have keys of their own.
const OWN_KEYS: [&str; 2] = ["runtime", "billed"];
/// An attempt that has ended. Times count from the start of the run, by the driver's clock unless named. What is not
/// known is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Call<'a> {
    /// The stage.
    #[serde(rename = "s")]
    pub stage: Cow<'a, str>,
    /// The invocation.
    #[serde(rename = "i")]
    pub invocation: Cow<'a, str>,
    /// The number of the attempt, from 1.
    #[serde(rename = "n", default = "one", skip_serializing_if = "is_one")]
    pub attempt: u32,
    /// The number of the call within the attempt, from 1: a layer that repeats a refused call keeps the attempt.
    #[serde(rename = "k", default = "one", skip_serializing_if = "is_one")]
    pub call: u32,
    /// Why it was made; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// When the invocation was taken in.
    #[serde(default)]
    pub at: Micros,
    /// When this attempt was begun, if that was later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Micros>,
    /// When it was sent, after it has waited for rate and window, if that was later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Micros>,
    /// When the provider accepted it, if it was submitted.
    #[serde(rename = "acc", default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Micros>,
    /// When the answer or the failure came.
    pub done: Micros,
    /// The outcome.
    #[serde(rename = "o")]
    pub outcome: CallOutcome,
    /// Why it failed.
    #[serde(rename = "err", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
    /// The activation.
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Cow<'a, str>>,
    /// The provider's id of the request.
    #[serde(rename = "rid", default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Cow<'a, str>>,
    /// When the function began, initialisation included, by the provider's clock.
    #[serde(rename = "start", default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Micros>,
    /// When it ended, by the provider's clock.
    #[serde(rename = "stop", default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Micros>,
    /// When its instance was started, by the provider's clock.
    #[serde(rename = "boot", default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<Micros>,
    /// How long the provider kept it waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Micros>,
    /// How long its instance took to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Micros>,
    /// How long the function ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Micros>,
    /// The time that is charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed: Option<Micros>,
    /// Whether an instance was started for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<bool>,
    /// The instance.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Cow<'a, str>>,
    /// The host of the instance.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Cow<'a, str>>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Cow<'a, str>>,
    /// The version of the function's code.
    #[serde(rename = "cv", default, skip_serializing_if = "Option::is_none")]
    pub code_version: Option<Cow<'a, str>>,
    /// The runtime as the function's side reports it.
    #[serde(rename = "rt", default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Cow<'a, str>>,
    /// Memory granted, in MiB.
    #[serde(rename = "mem", default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Peak memory used, in bytes.
    #[serde(rename = "used", default, skip_serializing_if = "Option::is_none")]
    pub memory_used: Option<u64>,
    /// The cost of this attempt.
    #[serde(rename = "usd", default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Picodollars>,
    /// Whether the charged time, and so the cost, is an estimate.
    #[serde(rename = "est", default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Everything else that the platform reports of the activation, by its own names.
    #[serde(rename = "attr", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Whether it settled the invocation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// The cost of all attempts of the invocation; on the attempt that settled it, if it had several.
    #[serde(rename = "usd_all", default, skip_serializing_if = "Option::is_none")]
    pub cost_of_all: Option<Picodollars>,
}

impl<'a> Call<'a> {
    /// An attempt of which nothing else is known.
    #[inline]
    pub fn new(
        stage: impl Into<Cow<'a, str>>,
        invocation: impl Into<Cow<'a, str>>,
        at: Micros,
        done: Micros,
        outcome: CallOutcome,
    ) -> Self {
        Self {
            stage: stage.into(),
            invocation: invocation.into(),
            attempt: 1,
            call: 1,
            why: None,
            at,
            begun: None,
            sent: None,
            accepted: None,
            done,
            outcome,
            error: None,
            activation: None,
            request: None,
            started: None,
            stopped: None,
            booted: None,
            queue: None,
            init: None,
            ran: None,
            billed: None,
            cold: None,
            container: None,
            host: None,
            region: None,
            code_version: None,
            runtime: None,
            memory_mib: None,
            memory_used: None,
            cost: None,
            estimated: false,
            attributes: BTreeMap::new(),
            last: false,
            cost_of_all: None,
        }
    }

    /// Adds what the provider reports; `start` is the start of the run.
    pub(crate) fn describe(&mut self, activation: &'a Activation, start: std::time::SystemTime) {
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        let time = |time: Option<_>| time.map(|time| Micros::between(start, time));
        self.activation = Some(Cow::Borrowed(activation.id.as_str()));
        self.request = text(&activation.request_id);
        self.started = time(activation.started_at);
        self.stopped = time(activation.ended_at);
        self.booted = time(activation.booted_at);
        self.queue = activation.wait.map(Micros::from);
        self.init = activation.init.map(Micros::from);
        self.ran = activation.execution.map(Micros::from);
        self.billed = activation.billed.map(Micros::from);
        self.cold = activation.cold_start;
        self.container = text(&activation.container);
        self.host = text(&activation.host);
        self.region = text(&activation.region);
        self.code_version = text(&activation.code_version);
        self.memory_mib = activation.memory_mib;
        self.memory_used = activation.memory_used_bytes;
        self.cost = activation.cost.map(Picodollars::from);
        // Most activations have none.
        if !activation.attributes.is_empty() {
            self.describe_by(&activation.attributes);
        }
    }

    fn describe_by(&mut self, attributes: &'a BTreeMap<String, String>) {
        self.runtime = attributes.get("runtime").map(|runtime| Cow::Borrowed(runtime.as_str()));
        self.estimated = attributes.get("billed").is_some_and(|billed| billed == "estimated");
        let others = attributes.iter().filter(|(name, _)| !OWN_KEYS.contains(&&***name));
        self.attributes = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    }

    /// When this attempt was begun.
    pub fn begun_at(&self) -> Micros {
        self.begun.unwrap_or(self.at)
    }

    /// When it was sent.
    pub fn sent_at(&self) -> Micros {
        self.sent.unwrap_or_else(|| self.begun_at())
    }

    /// The ids under which it appears in other tools. What the provider accepted has those that the function was
    /// given; a call that failed before has its own.
    pub fn trace_context(&self, run: &str) -> TraceContext {
        let (run, stage) = (RunId::from(run), falco_core::StageName::from(&*self.stage));
        let id = InvocationId::from(&*self.invocation);
        if self.activation.is_some() || self.accepted.is_some() {
            return TraceContext::of_attempt(&run, &stage, &id, self.attempt);
        }
        TraceContext::of_call(&run, &stage, &id, self.attempt, self.call)
    }

    /// The attempt with texts of its own.
    pub fn into_owned(self) -> Call<'static> {
        fn own(text: Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
            text.map(|text| Cow::Owned(text.into_owned()))
        }
        Call {
            stage: Cow::Owned(self.stage.into_owned()),
            invocation: Cow::Owned(self.invocation.into_owned()),
            attempt: self.attempt,
            call: self.call,
            why: self.why,
            at: self.at,
            begun: self.begun,
            sent: self.sent,
            accepted: self.accepted,
            done: self.done,
            outcome: self.outcome,
            error: self.error,
            started: self.started,
            stopped: self.stopped,
            booted: self.booted,
            queue: self.queue,
            init: self.init,
            ran: self.ran,
            billed: self.billed,
            cold: self.cold,
            memory_mib: self.memory_mib,
            memory_used: self.memory_used,
            cost: self.cost,
            estimated: self.estimated,
            attributes: self.attributes,
            last: self.last,
            cost_of_all: self.cost_of_all,
            activation: own(self.activation),
            request: own(self.request),
            container: own(self.container),
            host: own(self.host),
            region: own(self.region),
            code_version: own(self.code_version),
            runtime: own(self.runtime),
        }
    }
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}
