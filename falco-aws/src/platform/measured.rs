//! The measurements of a run by the entry shims.
//!
//! For a submitted event, Lambda reports how it ended and not how long it ran: that is in the log, seconds later.
//! So the shims measure it, and send it along: around a result, or at the end of an error's message.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{Activation, Deployment, FunctionErrorKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::AwsLambda;

/// A handler's report of a run: times in milliseconds, and how a run failed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Measured {
    ms: f64,
    /// From the start of the process until it could take events; reported by its first run only.
    init_ms: Option<f64>,
    /// When the run began, by the clock of its instance, in milliseconds since the epoch.
    #[serde(rename = "t")]
    started: Option<f64>,
    /// When the instance was started, likewise.
    boot: Option<f64>,
    /// The instance: the stream that it logs to.
    #[serde(rename = "c")]
    container: Option<String>,
    /// The runtime and its version; reported by its first run only.
    #[serde(rename = "rt")]
    runtime: Option<String>,
    /// How the run failed, by the shim's judgement.
    pub(super) kind: Option<FunctionErrorKind>,
}

/// The envelope that a shim puts around a result.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "falco:ran")]
    measured: Measured,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// The separator between an error's own message and the measurement.
const MARK: &str = " [falco:ran ";

/// The attribute of an activation whose bill was not reported, but follows from what its shim has measured.
const ATTRIBUTE: &str = "billed";

impl Measured {
    /// A function's own result, and what was measured; a body that no shim has made stays as it is.
    pub(super) fn split_result(body: &Bytes) -> (Bytes, Option<Self>) {
        match serde_json::from_slice::<Envelope<'_>>(body) {
            Ok(envelope) => {
                (body.slice_ref(envelope.result.get().as_bytes()), Some(envelope.measured))
            }
            Err(_) => (body.clone(), None),
        }
    }

    /// A function's own message, and what was measured.
    pub(super) fn split_message(message: &str) -> (&str, Option<Self>) {
        let split = message.strip_suffix(']').and_then(|rest| rest.rsplit_once(MARK));
        let Some((own, measured)) = split else { return (message, None) };
        match serde_json::from_str(measured) {
            Ok(measured) => (own, Some(measured)),
            Err(_) => (message, None),
        }
    }

    fn execution(&self) -> Option<Duration> {
        milliseconds(self.ms)
    }

    fn init(&self) -> Option<Duration> {
        self.init_ms.and_then(milliseconds)
    }

    /// Adds when and where it ran, which Lambda itself never reports.
    pub(super) fn add_instance(&self, activation: &mut Activation) {
        let time = |ms: Option<f64>| UNIX_EPOCH.checked_add(ms.and_then(milliseconds)?);
        activation.booted_at = time(self.boot);
        activation.init = self.init();
        activation.started_at = time(self.started);
        let ran = activation.started_at.zip(self.execution());
        activation.ended_at =
            ran.and_then(|(started, ran)| started.checked_add(ran)).or(activation.ended_at);
        // Initialisation is part of it, and an instance is there when its first activation begins: the shim reads the clock of
        // both a little after the runtime has measured them.
        activation.started_at = activation
            .started_at
            .and_then(|started| started.checked_sub(self.init().unwrap_or_default()));
        activation.booted_at = match (activation.booted_at, activation.started_at) {
            (Some(booted), Some(started)) if self.init().is_some() => Some(booted.min(started)),
            (booted, _) => booted,
        };
        activation.container = self.container.clone().filter(|name| !name.is_empty());
        if let Some(runtime) = &self.runtime {
            activation.attributes.insert("runtime".into(), runtime.clone());
        }
    }
}

impl AwsLambda {
    /// Adds what follows from a shim's measurement: times, and the bill as Lambda makes it of them. It is marked as
    /// an estimate, since what Lambda does around the shim is charged too: a millisecond or two.
    pub(super) fn add_measured(
        &self,
        activation: &mut Activation,
        measured: Option<&Measured>,
        deployment: &Deployment,
    ) {
        activation.memory_mib = deployment.scaling.memory_mib;
        let timed_out =
            activation.outcome.as_ref().is_err_and(|e| e.kind == FunctionErrorKind::Timeout);
        let charged = match measured {
            Some(measured) => {
                activation.execution = measured.execution();
                activation.init = measured.init();
                activation.cold_start = Some(activation.init.is_some());
                activation
                    .execution
                    .map(|ran| ran.saturating_add(activation.init.unwrap_or_default()))
            }
            // Its shim was ended with it, and the whole of its time is charged.
            None if timed_out => deployment.scaling.timeout,
            None => None,
        };
        let Some(billed) = charged.map(whole_milliseconds) else { return };
        activation.billed = Some(billed);
        activation.cost = self.cost(billed, activation.memory_mib, deployment);
        activation.attributes.insert(ATTRIBUTE.into(), "estimated".into());
    }
}

/// Notes that the bill of an activation is Lambda's own.
pub(super) fn is_reported(activation: &mut Activation) {
    activation.attributes.remove(ATTRIBUTE);
}

/// Lambda charges each millisecond that has begun.
fn whole_milliseconds(time: Duration) -> Duration {
    let millis = u64::from(time.subsec_nanos().div_ceil(1_000_000));
    // `add` would panic for a time that no clock can show.
    Duration::from_secs(time.as_secs()).saturating_add(Duration::from_millis(millis))
}

fn milliseconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number / 1000.0).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_result_comes_out_of_its_envelope_as_it_stands() {
        let body = r#" {"falco:ran": {"ms": 12.5, "init_ms": 130}, "result": {"n": 1.50}}"#;
        let (result, measured) = Measured::split_result(&body.into());
        assert_eq!(result, r#"{"n": 1.50}"#);
        let measured = measured.unwrap();
        assert_eq!(measured.execution(), Some(Duration::from_micros(12_500)));
        assert_eq!(measured.init(), Some(Duration::from_millis(130)));
    }

    #[test]
    fn a_result_that_no_shim_has_wrapped_stays_as_it_is() {
        for body in [
            r#"{"result": {"a": 1}}"#,
            r#"{"falco:ran": {"ms": 1}}"#,
            r#"{"falco:ran": 7, "result": {}}"#,
            r#"{"falco:ran": {"ms": 1}, "result": no json}"#,
            "null",
            "",
        ] {
            assert_eq!(Measured::split_result(&body.into()), (body.into(), None));
        }
        for message in ["boom", "[falco:ran 1]", "boom [falco:ran x]", "boom [falco:ran {\"ms\":1}"]
        {
            assert_eq!(Measured::split_message(message), (message, None));
        }
    }

    #[test]
    fn a_message_ends_before_what_was_measured() {
        let (own, measured) = Measured::split_message(r#"a [falco:ran b] [falco:ran {"ms":2}]"#);
        assert_eq!(own, "a [falco:ran b]");
        assert_eq!(measured, Some(Measured { ms: 2.0, ..Measured::default() }));
    }

    #[test]
    fn each_millisecond_that_has_begun_is_charged() {
        for (micros, millis) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (2_999_500, 3000)] {
            let charged = whole_milliseconds(Duration::from_micros(micros));
            assert_eq!(charged, Duration::from_millis(millis), "{micros}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn absurd_measurements_cause_no_panic(ms in any::<f64>(), init in proptest::option::of(any::<f64>())) {
            let measured = Measured { ms, init_ms: init, ..Measured::default() };
            let _ = measured.execution().map(whole_milliseconds);
            let _ = measured.init();
        }
    }
}
