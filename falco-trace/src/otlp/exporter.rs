//! Sends spans in batches, from a thread of its own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use falco_core::{Error, ErrorKind, Result};

use super::span::{Spans, request};
use crate::outbox::{Outbox, Queued};
use crate::record::Record;
use crate::sink::Sink;

/// Spans of one request.
const BATCH: usize = 512;
/// Spans that wait to be sent.
const QUEUE: usize = 8_192;
/// How long a span waits for others at most.
const LINGER: Duration = Duration::from_secs(2);
/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends spans to a collector of OpenTelemetry by OTLP/HTTP with protobuf.
///
/// Each invocation is a trace of its own, with a span for each attempt and a link to the span of its stage; the run and its
/// stages are one more trace. Of more than 10,000 calls it sends one in a hundred, by their trace ids, and all that failed.
#[derive(Debug)]
pub struct OtlpExporter {
    spans: Mutex<Spans>,
    outbox: Outbox,
}

impl OtlpExporter {
    /// Sends to the endpoint that the environment names: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` as it is, or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces` appended. `None` if neither is set.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_env() -> Result<Option<Self>> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let base = || read("OTEL_EXPORTER_OTLP_ENDPOINT");
        let appended = || Some(format!("{}/v1/traces", base()?.trim_end_matches('/')));
        let endpoint = read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(appended);
        endpoint.map(Self::new).transpose()
    }

    /// Sends to `endpoint`, such as `http://localhost:4318/v1/traces`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it is not an address of HTTP.
    pub fn new(endpoint: impl Into<String>) -> Result<Self> {
        let endpoint = endpoint.into();
        let url = reqwest::Url::parse(&endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                let message = "the endpoint of OpenTelemetry is not an address of HTTP";
                Error::invalid_input(message).with_hint("such as http://localhost:4318/v1/traces")
            })?;
        let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| {
            Error::new(ErrorKind::Other, "cannot make an HTTP client").with_source(&error)
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Error::new(ErrorKind::Other, "cannot start a runtime").with_source(&error)
        })?;
        let outbox = Outbox::start("falco-otlp", QUEUE, move |spans| {
            let mut warned = false;
            while let Some(batch) = next_batch(spans) {
                let body = request(&batch);
                // Within the runtime: the request needs its timers from the beginning.
                let answer = runtime.block_on(async {
                    let request = client.post(url.clone()).body(body);
                    request.header("content-type", "application/x-protobuf").send().await
                });
                if !answer.is_ok_and(|answer| answer.status().is_success()) {
                    spans.lost(batch.len());
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!("the collector of OpenTelemetry does not take spans");
                    }
                }
            }
        });
        Ok(Self { spans: Mutex::default(), outbox })
    }

    /// Calls that were left out of the sample so far.
    pub fn left_out(&self) -> u64 {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).left_out()
    }
}

/// Waits for spans; `None` once there will be no more.
fn next_batch(spans: &Queued) -> Option<Vec<Vec<u8>>> {
    let mut batch = vec![spans.next()?];
    while batch.len() < BATCH
        && let Some(span) = spans.next_within(LINGER)
    {
        batch.push(span);
    }
    Some(batch)
}

impl Sink for OtlpExporter {
    fn take(&self, record: &Record<'_>) {
        let span = self.spans.lock().unwrap_or_else(PoisonError::into_inner).of(record);
        if let Some(span) = span {
            self.outbox.put(span);
        }
    }

    fn finish(&self) {
        self.outbox.finish();
    }

    fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    fn dropped(&self) -> u64 {
        self.outbox.dropped()
    }

    fn remark(&self) -> Option<String> {
        let left_out = self.left_out();
        let text = "of the calls that succeeded were not sent to the collector of OpenTelemetry, which gets one in a hundred after the first 10,000";
        (left_out > 0).then(|| format!("{left_out} {text}"))
    }
}
