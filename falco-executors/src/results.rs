//! Outcomes written down as they become known, so that they survive the driver.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use falco_core::{Activation, Completion, Error, ErrorKind, Payload, Result};
use serde::Serialize;

use crate::report::Failure;
use crate::run::number_of;

/// A file, or whatever else can be written to, that gets a JSON line for each invocation as soon as its outcome is known.
///
/// Each line is written by one call, without a buffer in between: what has finished survives a driver that is killed.
///
/// | field | holds |
/// |---|---|
/// | `stage`, `id` | the invocation |
/// | `input` | the number of the input, from 1, where the stage numbers its inputs |
/// | `outcome` | `succeeded`, `function failed`, `platform failed`, `unknown`, `cancelled` or `deadline exceeded` |
/// | `result` | what the function returned |
/// | `error` | `kind`, `message` and, where there is one, `trace` |
/// | `attempts` | how many were made |
/// | `requested_at` | when the executor took it in, in microseconds since 1970 |
/// | `latency_ms`, `wait_ms`, `init_ms`, `execution_ms` | times, as far as the provider reports them |
/// | `cost_usd`, `cold_start`, `activation` | as far as the provider reports them |
///
/// # Examples
///
/// ```
/// # use falco_core::{AsyncPlatform, Driver, Result};
/// use falco_executors::{DriverExt, ResultsSink, RunOptions};
///
/// # async fn f(driver: &dyn Driver, platform: std::sync::Arc<dyn AsyncPlatform>) -> Result<()> {
/// let results = ResultsSink::create("results.jsonl")?;
/// let outcome = driver.run(RunOptions::from(platform).with_results(results)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ResultsSink {
    name: Arc<str>,
    to: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl ResultsSink {
    /// Makes a file. One that holds something already is refused: those may be the results of an earlier run.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `path` cannot be written to or holds something.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let invalid = |error: io::Error| {
            let message = format!("cannot write results to {}", path.display());
            Error::invalid_input(message).with_source(&error)
        };
        let file = File::options().append(true).create(true).open(path).map_err(invalid)?;
        let metadata = file.metadata().map_err(invalid)?;
        if metadata.is_file() && metadata.len() > 0 {
            let message = format!("the results file {} is not empty", path.display());
            return Err(Error::invalid_input(message)
                .with_hint("name another file, or remove this one if nobody needs its results"));
        }
        Ok(Self::named(&path.display().to_string(), file))
    }

    /// Writes to `to`, which should not buffer: what it holds back is lost when the driver is killed.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self::named("the sink", to)
    }

    fn named(name: &str, to: impl Write + Send + 'static) -> Self {
        Self { name: name.into(), to: Arc::new(Mutex::new(Box::new(to))) }
    }

    /// Writes the line of an invocation.
    pub(crate) fn write(&self, completion: &Completion) -> Result<()> {
        let mut line = serde_json::to_vec(&Line::of(completion)).map_err(|e| self.failed(&e))?;
        line.push(b'\n');
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        to.write_all(&line).and_then(|()| to.flush()).map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let message = format!("cannot write results to {}", self.name);
        Error::new(ErrorKind::Other, message).with_source(error)
    }
}

impl fmt::Debug for ResultsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResultsSink").field(&self.name).finish()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    stage: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<u64>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Reason>,
    attempts: u32,
    requested_at: u64,
    latency_ms: f64,
    #[serde(flatten)]
    provider: Provider<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
}

#[derive(Serialize)]
struct Reason {
    kind: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

/// The provider's report of the activation.
#[derive(Default, Serialize)]
struct Provider<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cold_start: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(completion: &'a Completion) -> Self {
        let since = completion.requested_at.duration_since(std::time::UNIX_EPOCH);
        let id = completion.invocation.as_str();
        Self {
            stage: completion.stage.as_str(),
            id,
            input: number_of(id).map(|number| number.saturating_add(1)),
            outcome: completion.outcome.as_str(),
            result: completion.result(),
            error: Reason::of(completion),
            attempts: completion.attempts,
            requested_at: since.map_or(0, |since| since.as_micros() as u64),
            latency_ms: millis(completion.latency),
            provider: completion.outcome.activation().map(Provider::of).unwrap_or_default(),
            cost_usd: completion.cost.map(|cost| cost.0),
        }
    }
}

impl Reason {
    fn of(completion: &Completion) -> Option<Self> {
        let Failure { kind, reason: message, trace, .. } = Failure::of(completion)?;
        Some(Self { kind, message, trace })
    }
}

impl<'a> Provider<'a> {
    fn of(activation: &'a Activation) -> Self {
        Self {
            wait_ms: activation.wait.map(millis),
            init_ms: activation.init.map(millis),
            execution_ms: activation.execution.map(millis),
            cold_start: activation.cold_start,
            activation: Some(activation.id.as_str()),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use falco_core::{Attempts, Invocation, Outcome};

    use super::*;

    #[test]
    fn only_inputs_that_the_stage_numbers_have_a_number() {
        for (id, input) in
            [("00000000", Some(1)), ("00000041", Some(42)), ("41", None), ("a", None)]
        {
            let invocation = Invocation::new("run", "stage", id, Payload::empty());
            let (attempts, now) = (Attempts::new(1), SystemTime::now());
            let outcome = Outcome::Cancelled;
            let completion = invocation.complete(outcome, attempts, now, Duration::ZERO);
            assert_eq!(Line::of(&completion).input, input, "{id}");
        }
    }
}
