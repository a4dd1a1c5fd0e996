//! What a shim tells of one run.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{Activation, Deployment, FunctionError, FunctionErrorKind, Payload};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Inner, sizes};
use crate::price::default_cpus;

/// The record of a run, as the shims in `package/` write it.
#[derive(Deserialize)]
pub(super) struct Record<'a> {
    falco: u32,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Failure>,
    cold: Option<bool>,
    init_ms: Option<f64>,
    /// When the start of the process began, or, without one, the run.
    started_ms: Option<f64>,
    execution_ms: Option<f64>,
    instance: Option<String>,
    revision: Option<String>,
    memory_kib: Option<u64>,
    /// Whether the argument was read from the bucket, where it is not needed any more.
    #[serde(default)]
    pub(super) stored_argument: bool,
}

impl<'a> Record<'a> {
    /// `None` for what is no record of a shim's.
    pub(super) fn parse(body: &'a Bytes) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|record| record.falco == 1)
    }
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    message: String,
    error_type: Option<String>,
    trace: Option<String>,
    exit_status: Option<i32>,
}

impl Inner {
    /// The activation that a record describes; `None` for what is neither result nor error.
    pub(super) fn activation(
        &self,
        deployment: &Deployment,
        id: &str,
        body: &Bytes,
        record: Record<'_>,
    ) -> Option<Activation> {
        let outcome = match (record.error, record.result) {
            (Some(failure), _) => Err(failure.into()),
            (None, Some(result)) => result_of(body, result),
            (None, None) => return None,
        };
        let mut activation = Activation::new(id, outcome);
        activation.execution = milliseconds(record.execution_ms);
        activation.init = milliseconds(record.init_ms);
        activation.started_at =
            milliseconds(record.started_ms).and_then(|since| UNIX_EPOCH.checked_add(since));
        let whole =
            activation.execution.map(|run| run.saturating_add(activation.init.unwrap_or_default()));
        activation.ended_at =
            activation.started_at.zip(whole).and_then(|(start, whole)| start.checked_add(whole));
        activation.memory_used = record.memory_kib.and_then(|kib| kib.checked_mul(1024));
        activation.container = record.instance;
        activation.code_version = record.revision;
        activation.cold_start = record.cold;
        self.charge(deployment, &mut activation);
        activation.region = Some(self.api.location.clone());
        activation.request_id = Some(id.to_owned());
        Some(activation)
    }

    /// What is charged for an instance that served this activation only.
    fn charge(&self, deployment: &Deployment, activation: &mut Activation) {
        let memory = deployment.scaling.memory_mib.unwrap_or(sizes::DEFAULT_MEMORY_MIB);
        activation.memory_mib = Some(memory);
        let Some(execution) = activation.execution else { return };
        let cpus = deployment.scaling.cpus.map_or_else(|| default_cpus(memory), f64::from);
        let busy = execution.saturating_add(activation.init.unwrap_or_default());
        activation.billed = Some(self.prices.billed(busy));
        activation.cost = Some(self.prices.activation(busy, cpus, memory));
    }
}

/// The result, sharing the reply's memory.
fn result_of(body: &Bytes, result: &RawValue) -> Result<Payload, FunctionError> {
    let payload = Payload::from_bytes(body.slice_ref(result.get().as_bytes()));
    match payload {
        Ok(payload) if payload.is_object() => Ok(payload),
        _ => Err(FunctionError::new(FunctionErrorKind::BadResult, "the result is no JSON object")),
    }
}

/// A length of time, or a time since the epoch; nonsense is `None`.
fn milliseconds(ms: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(ms? / 1000.0).ok()
}

impl From<Failure> for FunctionError {
    fn from(failure: Failure) -> Self {
        let kind = match &*failure.kind {
            "raised" => FunctionErrorKind::Raised,
            "initialization" => FunctionErrorKind::Initialization,
            "bad_result" => FunctionErrorKind::BadResult,
            "timeout" => FunctionErrorKind::Timeout,
            "out_of_memory" => FunctionErrorKind::OutOfMemory,
            "crashed" => FunctionErrorKind::Crashed,
            _ => FunctionErrorKind::Unspecified,
        };
        let mut error = Self::new(kind, failure.message);
        error.error_type = failure.error_type;
        error.trace = failure.trace;
        error.exit_status = failure.exit_status;
        error
    }
}
