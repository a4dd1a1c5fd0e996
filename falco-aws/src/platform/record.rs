//! The record that Lambda puts into the queue when an asynchronous invocation has ended.

use std::time::SystemTime;

use bytes::Bytes;
use falco_core::{
    Activation, ActivationId, Deployment, FunctionError, FunctionErrorKind, Invocation,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::activation::{Outcome, outcome};
use super::measured::Measured;
use crate::client::Message;

/// A record, and by what it is deleted.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) receipt: String,
    pub(super) message_id: String,
    ended_at: Option<SystemTime>,
    condition: String,
    failed: bool,
    version: Option<String>,
    response: Option<Box<RawValue>>,
    /// The trace context of the attempt that it is of.
    trace: Option<String>,
}

/// Its JSON. Response context and payload are missing when the function never ran.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    timestamp: Option<String>,
    request_context: RequestContext,
    response_context: Option<ResponseContext>,
    /// Embedded JSON, not a string.
    response_payload: Option<Box<RawValue>>,
    request_payload: Option<Box<RawValue>>,
}

/// The event, as far as it is Falco's own.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "falco:tp")]
    trace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    request_id: String,
    #[serde(default)]
    condition: String,
    approximate_invoke_count: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    executed_version: Option<String>,
    function_error: Option<String>,
}

const SUCCESS: &str = "Success";

impl Record {
    /// The record in a message, and the activation that it is of; `None` for anything else.
    pub(super) fn parse(message: &Message) -> Option<(ActivationId, Self)> {
        let wire: Wire = serde_json::from_str(&message.body).ok()?;
        let context = wire.response_context.as_ref();
        let record = Self {
            receipt: message.receipt_handle.clone(),
            message_id: message.message_id.clone(),
            ended_at: wire.timestamp.as_deref().and_then(time),
            failed: wire.request_context.condition != SUCCESS
                || context.is_some_and(|context| context.function_error.is_some()),
            version: context.and_then(|context| context.executed_version.clone()),
            response: wire.response_payload,
            trace: wire
                .request_payload
                .and_then(|event| serde_json::from_str::<Event>(event.get()).ok()?.trace),
            condition: wire.request_context.condition,
        };
        let id = ActivationId::from(wire.request_context.request_id);
        tracing::trace!(%id, tries = wire.request_context.approximate_invoke_count, "record");
        Some((id, record))
    }

    /// Whether it is of this attempt: the event that Lambda hands back says so.
    pub(super) fn is_of(&self, invocation: &Invocation) -> bool {
        let wanted = invocation.trace_context().to_string();
        self.trace.as_deref() == Some(wanted.as_str())
    }

    /// The activation that it reports, and what its shim has measured.
    pub(super) fn into_activation(
        self,
        id: ActivationId,
        deployment: &Deployment,
        region: &str,
    ) -> (Activation, Option<Measured>) {
        let (outcome, measured) = self.outcome(deployment);
        let mut activation = Activation::new(id.clone(), outcome);
        activation.ended_at = self.ended_at;
        activation.region = Some(region.to_owned());
        activation.code_version = self.version;
        activation.request_id = Some(id.as_str().to_owned());
        (activation, measured)
    }

    fn outcome(&self, deployment: &Deployment) -> (Outcome, Option<Measured>) {
        // A function that returns nothing is said to have returned `null`, which is not the same as no payload.
        let error = match &self.response {
            Some(response) => {
                let body = Bytes::copy_from_slice(response.get().as_bytes());
                return outcome(deployment, &body, self.failed);
            }
            None if self.condition == SUCCESS => FunctionError::new(
                FunctionErrorKind::BadResult,
                "the result was dropped: argument and result together are too long for the result queue (1 MiB)",
            ),
            None => FunctionError::new(
                FunctionErrorKind::Unspecified,
                format!("Lambda does not say what the function answered ({})", self.condition),
            ),
        };
        (Err(error), None)
    }

    /// Why the event was dropped before the function could run, if it was: no activation will ever answer for it.
    pub(super) fn dropped(&self) -> Option<&str> {
        let known = matches!(self.condition.as_str(), "EventAgeExceeded" | "ConcurrencyLimitZero");
        (known && self.response.is_none()).then_some(&self.condition)
    }
}

fn time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use falco_core::Payload;
    use proptest::prelude::*;

    use super::*;

    fn deployment() -> Deployment {
        Deployment::new("f", "python:3".parse().unwrap())
    }

    fn parse(body: &str) -> Option<(ActivationId, Record)> {
        Record::parse(&Message {
            message_id: "m".into(),
            receipt_handle: "r".into(),
            body: body.into(),
        })
    }

    fn activation(body: &str) -> Activation {
        let (id, record) = parse(body).unwrap();
        record.into_activation(id, &deployment(), "eu-west-1").0
    }

    /// As seen in a public issue.
    const FAILED: &str = r#"{"version":"1.0","timestamp":"2020-03-09T22:01:53.075Z",
        "requestContext":{"requestId":"cabbfbd0","functionArn":"arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",
            "condition":"RetriesExhausted","approximateInvokeCount":3},
        "requestPayload":{"Success":true},
        "responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},
        "responsePayload":{"errorMessage":"boom","errorType":"NameError","stackTrace":["x"]}}"#;

    #[test]
    fn a_failed_functions_record_has_status_200() {
        let activation = activation(FAILED);
        assert_eq!(activation.id, "cabbfbd0");
        assert_eq!(activation.code_version.as_deref(), Some("$LATEST"));
        assert_eq!(
            activation.ended_at.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap(),
            Duration::from_millis(1_583_791_313_075)
        );
        let error = activation.outcome.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (FunctionErrorKind::Raised, "boom"));
    }

    #[test]
    fn an_event_that_was_dropped_before_the_function_ran_has_no_response_at_all() {
        let body = r#"{"requestContext":{"requestId":"a","condition":"EventAgeExceeded"},
            "requestPayload":{},"responseContext":null,"responsePayload":null}"#;
        let (_, record) = parse(body).unwrap();
        assert_eq!(record.dropped(), Some("EventAgeExceeded"));
        let (_, record) = parse(FAILED).unwrap();
        assert_eq!(record.dropped(), None);
    }

    #[test]
    fn a_result_that_was_dropped_for_its_size_is_reported_as_such() {
        let body = r#"{"requestContext":{"requestId":"a","condition":"Success"},
            "responseContext":{"statusCode":200}}"#;
        let error = activation(body).outcome.unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::BadResult);
        assert!(error.message.contains("too long"), "{error}");
    }

    #[test]
    fn a_result_is_passed_on_as_it_stands() {
        let body = r#"{"requestContext":{"requestId":"a","condition":"Success"},
            "responseContext":{"statusCode":200},"responsePayload":{"n":1.50}}"#;
        assert_eq!(activation(body).outcome.unwrap().as_str(), r#"{"n":1.50}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn mutated_records_cause_no_panic(at in 0..FAILED.len(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = FAILED.as_bytes().to_vec();
            bytes[at] = byte;
            if cut { bytes.truncate(at); }
            let text = String::from_utf8_lossy(&bytes);
            if let Some((id, record)) = parse(&text) {
                let _ = record.into_activation(id, &deployment(), "r");
            }
        }
    }

    #[test]
    fn a_record_says_of_which_attempt_it_is() {
        let attempt = Invocation::new("6553f100-0000beef", "map", "7", Payload::empty());
        let trace = attempt.trace_context();
        let body = format!(
            r#"{{"requestContext":{{"requestId":"a-1","condition":"Success"}},
            "requestPayload":{{"falco:tp":"{trace}","falco:args":{{}}}},"responsePayload":{{}}}}"#
        );
        let message = Message {
            message_id: "m".to_owned(),
            receipt_handle: "r".to_owned(),
            body: body.clone(),
        };
        let (_, record) = Record::parse(&message).unwrap();
        assert!(record.is_of(&attempt) && !record.is_of(&attempt.next_attempt()));
        let without = Message { body: body.replace("falco:tp", "other"), ..message };
        assert!(!Record::parse(&without).unwrap().1.is_of(&attempt));
    }
}
