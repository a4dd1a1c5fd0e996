//! Tests of the spans that subscribers see.

use std::io::Write;
use std::sync::{Arc, Mutex};

use falco_core::*;
use falco_layers::{Held, HeldPolicy, Trace};
use falco_testkit::{Fate, Fates};
use tracing::Instrument;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::*;

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log of all spans that `calls` leave.
fn logged(calls: impl AsyncFnOnce()) -> String {
    let text = Text::default();
    let writer = text.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("falco_layers=trace")
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(calls()));
    String::from_utf8(text.0.lock().unwrap().clone()).unwrap()
}

fn secretive(id: &str) -> Invocation {
    let payload = Payload::json(&serde_json::json!({"password": "hunter2"})).unwrap();
    Invocation::new("run-7", "map", id, payload)
}

#[test]
fn a_call_is_a_span_with_opentelemetrys_names() {
    let log = logged(async || {
        let platform = Trace::new(fated(Fates::SERVE));
        let scaling = Scaling::default().with_memory_mib(256);
        let deployment = platform.deploy(&function().with_scaling(scaling)).await.unwrap();
        platform.invoke(&deployment, &secretive("chunk-1")).await.unwrap();
        let pending = platform.submit(&deployment, &secretive("chunk-2")).await.unwrap();
        platform.collect(&deployment, &[pending]).await.unwrap();
    });
    for part in [
        "invoke{otel.kind=\"client\"",
        "faas.invoked_name=\"f\"",
        "faas.invoked_provider=\"in-memory\"",
        "faas.invocation_id=\"m-",
        "faas.coldstart=true",
        "otel.name=\"map\"",
        "falco.run=\"run-7\"",
        "falco.invocation=\"chunk-1\"",
        "faas.max_memory=268435456",
        "submit{",
        "falco.attempt=1 faas.invocation_id=\"m-2\"",
        "collect{",
        "falco.finished=1",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn a_failure_is_an_event_and_quotes_no_payload() {
    let log = logged(async || {
        let platform = Trace::new(fated(Fates::sequence([Fate::unavailable()])));
        let deployment = deployed(&platform).await;
        assert!(platform.invoke(&deployment, &secretive("a")).await.is_err());
        let list = Payload::from_bytes("[\"hunter2\"]").unwrap();
        let bad = Invocation::new("run-7", "map", "b", list);
        assert!(platform.invoke(&deployment, &bad).await.is_err());
    });
    assert!(log.contains("error.type=\"unavailable\"") && log.contains("out of order"), "{log}");
    assert!(log.contains("error.type=\"invalid input\""), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn a_function_that_fails_is_marked_in_its_span() {
    let log = logged(async || {
        let platform = Trace::new(fated(Fates::sequence([Fate::raise()])));
        let deployment = deployed(&platform).await;
        platform.invoke(&deployment, &secretive("a")).await.unwrap();
    });
    assert!(log.contains("otel.status_code=\"ERROR\""), "{log}");
}

#[test]
fn a_reply_that_makes_no_sense_is_an_event_that_quotes_no_result() {
    let quoting =
        Error::new(ErrorKind::Protocol, "unexpected answer 200 OK: {\"pin\":\"hunter2\"}");
    let log = logged(async || {
        let platform = Trace::new(fated(Fates::sequence([Fate::Refuse(quoting)])));
        let deployment = deployed(&platform).await;
        assert!(platform.invoke(&deployment, &secretive("a")).await.is_err());
    });
    assert!(log.contains("error.type=\"protocol error\""), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn the_stack_traces_each_request_and_no_time_in_line() {
    let log = logged(async || {
        let fates = Fates::sequence([Fate::unavailable()]);
        let stack = falco_layers::Stack::new().wrap(fated(fates)).unwrap();
        let deployment = deployed(&stack).await;
        stack.invoke(&deployment, &secretive("a")).await.unwrap();
    });
    assert_eq!(
        log.lines().filter(|line| line.contains("invoke{") && line.contains("close")).count(),
        2,
        "{log}"
    );
}

#[test]
fn a_held_call_is_within_the_span_of_its_submitter() {
    let log = logged(async || {
        let held = Held::new(Trace::new(fated(Fates::SERVE)), HeldPolicy::default());
        let deployment = deployed(&held).await;
        let request = tracing::info_span!(target: "falco_layers", "request", number = 7);
        let submission = async { held.submit(&deployment, &secretive("a")).await.unwrap() };
        submission.instrument(request).await;
    });
    assert!(log.contains("request{number=7}:invoke{"), "{log}");
}
