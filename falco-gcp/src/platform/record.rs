//! The record of one run, as the handler on an instance writes it.
//!
//! A record is a JSON object on the first line; the rest is the function's answer, as it came.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{Activation, Deployment, FunctionError, FunctionErrorKind, Payload};
use falco_package::{native, shim};
use serde::Deserialize;

use super::{Inner, MAX_BODY, sizes};
use crate::price::default_cpus;

/// The first bytes of every record.
pub(super) const BEGINNING: &[u8] = b"{\"falco\":";

/// The record of a run, as the handlers in `package/` write it.
#[derive(Deserialize)]
pub(super) struct Record {
    falco: u32,
    /// Why there is no answer.
    error: Option<Failure>,
    /// The side that has answered.
    answered: Option<Answered>,
    /// The length of the answer: a shorter one was damaged on its way.
    #[serde(default)]
    bytes: usize,
    #[serde(skip)]
    answer: Bytes,
    cold: Option<bool>,
    init_ms: Option<f64>,
    /// When the start of the process began, or, without one, the run.
    started_ms: Option<f64>,
    execution_ms: Option<f64>,
    instance: Option<String>,
    /// When the instance was started.
    boot_ms: Option<f64>,
    /// The runtime and its version; reported by the first call of a process.
    runtime: Option<String>,
    revision: Option<String>,
    memory_kib: Option<u64>,
    /// Whether the argument was read from the bucket, where it is not needed any more.
    #[serde(default)]
    pub(super) stored_argument: bool,
}

impl Record {
    /// Reads a record; `None` for what is not one, or not all of one.
    pub(super) fn parse(body: &Bytes) -> Option<Self> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let mut record: Self = serde_json::from_slice(&body[..end]).ok()?;
        record.answer = body.slice(end + 1..);
        let is_whole = record.falco == 1 && record.answer.len() == record.bytes;
        (is_whole && (record.error.is_some() || record.answered.is_some())).then_some(record)
    }

    /// The function's result, or why there is none.
    fn outcome(self) -> Result<Payload, FunctionError> {
        if let Some(failure) = self.error {
            return Err(failure.into());
        }
        let bad = |message: String| FunctionError::new(FunctionErrorKind::BadResult, message);
        let result = match self.answered {
            Some(Answered::Native) => native::outcome(self.answer)?,
            Some(Answered::NativeStart) => {
                native::acknowledged(&self.answer)?;
                return Err(bad("the executable has acknowledged its start twice".to_owned()));
            }
            Some(Answered::Shim) | None => match shim::Answer::from_line(&self.answer) {
                Some(answer) => answer.outcome?,
                // It arrived as it was written: the function has meddled with the descriptor.
                None => return Err(bad("the answer is not one of Falco's shim".to_owned())),
            },
        };
        match result.len() as u64 {
            length if length > MAX_BODY => {
                Err(bad(format!("the result has {length} bytes, and {MAX_BODY} are allowed")))
            }
            _ => Ok(result),
        }
    }
}

/// The side that has answered, and the form of its answer.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answered {
    /// The shim of the function's language.
    Shim,
    /// A native function.
    Native,
    /// A native function that could not start.
    NativeStart,
}

/// Why a process has not answered.
#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    kind: Option<FunctionErrorKind>,
    #[serde(default)]
    message: String,
    trace: Option<String>,
    exit_status: Option<i32>,
}

impl Inner {
    /// The activation that a record describes.
    pub(super) fn activation(
        &self,
        deployment: &Deployment,
        id: &str,
        mut record: Record,
    ) -> Activation {
        let (instance, revision) = (record.instance.take(), record.revision.take());
        let since_epoch = |ms| milliseconds(ms).and_then(|since| UNIX_EPOCH.checked_add(since));
        let mut activation = Activation::new(id, Ok(Payload::empty()));
        activation.execution = milliseconds(record.execution_ms);
        activation.init = milliseconds(record.init_ms);
        activation.started_at = since_epoch(record.started_ms);
        activation.booted_at = since_epoch(record.boot_ms);
        if let Some(runtime) = record.runtime.take() {
            activation.attributes.insert("runtime".into(), runtime);
        }
        let whole =
            activation.execution.map(|run| run.saturating_add(activation.init.unwrap_or_default()));
        activation.ended_at =
            activation.started_at.zip(whole).and_then(|(start, whole)| start.checked_add(whole));
        activation.memory_used_bytes = record.memory_kib.and_then(|kib| kib.checked_mul(1024));
        activation.container = instance;
        activation.code_version = revision;
        activation.cold_start = record.cold;
        self.charge(deployment, &mut activation);
        activation.region = Some(self.api.location.clone());
        activation.request_id = Some(id.to_owned());
        activation.outcome = record.outcome();
        activation
    }

    /// The charge for an instance that served this activation only.
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

/// A length of time, or a time since the epoch; nonsense is `None`.
fn milliseconds(ms: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(ms? / 1000.0).ok()
}

impl From<Failure> for FunctionError {
    fn from(failure: Failure) -> Self {
        let kind = failure.kind.unwrap_or(FunctionErrorKind::Unspecified);
        let mut error = Self::new(kind, failure.message);
        error.trace = failure.trace;
        error.exit_status = failure.exit_status;
        error
    }
}
