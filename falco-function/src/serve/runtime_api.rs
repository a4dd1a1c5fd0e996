//! AWS Lambda's Runtime API: the executable is the `bootstrap` and asks for events by HTTP.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::{End, flush_logs};
use crate::context::Context;
use crate::failure::Failure;
use crate::worker::{Start, Worker};

/// The error type by which falco-aws knows a function that could not be loaded.
const INITIALIZATION: &str = "FalcoInitialization";

/// Events have 6 MB at most, with room for an account with a higher quota.
const MAX_EVENT: u64 = 64 << 20;

const ACCEPTED: u16 = 202;
const TOO_LARGE: u16 = 413;

/// Serves events until the environment is ended.
pub(super) fn serve(address: &str, start: Result<Start, Failure>) -> End {
    let (booted, began) = (SystemTime::now(), Instant::now());
    let container = std::env::var("AWS_LAMBDA_LOG_STREAM_NAME").unwrap_or_default();
    let api = Api::new(address);
    let mut worker = match start.and_then(Worker::start) {
        Ok(worker) => worker,
        Err(failure) => {
            let error = Error::new(INITIALIZATION, &failure.message);
            // The process ends in any case, and its log says why.
            let _ = api.post("init/error", &error, Some(INITIALIZATION));
            return End::NotStarted(failure);
        }
    };
    let mut init = Some(began.elapsed());
    loop {
        let event = match api.next() {
            Ok(event) => event,
            Err(error) => return End::Broken(error),
        };
        let (argument, context) = event.open();
        let (started, began) = (SystemTime::now(), Instant::now());
        let result = worker.call(argument, context).unwrap_or_else(|failure| failure.to_json());
        flush_logs();
        let measured = Measured {
            ms: milliseconds(began.elapsed()),
            started: since_epoch(started),
            booted: since_epoch(booted),
            container: &container,
            init_ms: init.take().map(milliseconds),
        };
        if let Err(reason) = api.respond(&event.id, measured, &result) {
            return End::Broken(reason);
        }
    }
}

/// The Runtime API of this environment.
struct Api {
    agent: Agent,
    base: String,
}

/// An event to answer.
struct Event {
    id: String,
    body: Vec<u8>,
    /// When Lambda will end it, in milliseconds since the epoch.
    deadline: Option<u64>,
    /// The context of the client that waits for it: JSON.
    client: Option<String>,
}

impl Event {
    /// The argument, and what is known of the call. Falco puts the trace context around an event that it submits, and
    /// into the client's context of one that it waits for.
    fn open(&self) -> (&[u8], Context) {
        #[derive(Deserialize)]
        struct Submitted<'a> {
            #[serde(rename = "falco:tp")]
            trace: String,
            #[serde(rename = "falco:args", borrow)]
            argument: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Client {
            custom: Custom,
        }
        #[derive(Deserialize)]
        struct Custom {
            traceparent: Option<String>,
        }

        let submitted = self.body.starts_with(b"{\"falco:tp\":").then_some(&self.body);
        let submitted =
            submitted.and_then(|body| serde_json::from_slice::<Submitted<'_>>(body).ok());
        let (argument, trace) = match submitted {
            Some(Submitted { trace, argument }) => (argument.get().as_bytes(), Some(trace)),
            None => {
                let client =
                    self.client.as_deref().and_then(|text| serde_json::from_str(text).ok());
                let trace = client.and_then(|Client { custom }| custom.traceparent);
                (self.body.as_slice(), trace)
            }
        };
        (argument, Context::new(Some(self.id.clone()), trace, self.deadline))
    }
}

/// The times and the place of a run, which Lambda does not report to the submitter of an event.
#[derive(Serialize)]
struct Measured<'a> {
    ms: f64,
    #[serde(rename = "t")]
    started: u64,
    #[serde(rename = "boot")]
    booted: u64,
    #[serde(rename = "c")]
    container: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_ms: Option<f64>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "falco:ran")]
    measured: Measured<'a>,
    result: &'a RawValue,
}

#[derive(Serialize)]
struct Error<'a> {
    #[serde(rename = "errorType")]
    error_type: &'a str,
    #[serde(rename = "errorMessage")]
    message: &'a str,
}

impl<'a> Error<'a> {
    fn new(error_type: &'a str, message: &'a str) -> Self {
        Self { error_type, message }
    }
}

impl Api {
    fn new(address: &str) -> Self {
        // Without a timeout: the environment is frozen until there is an event. Without a proxy: it is local.
        let config = Agent::config_builder().http_status_as_error(false).proxy(None).build();
        Self { agent: config.new_agent(), base: format!("http://{address}/2018-06-01/runtime") }
    }

    fn next(&self) -> Result<Event, String> {
        let failed = |error: ureq::Error| format!("cannot take the next event: {error}");
        let mut response =
            self.agent.get(format!("{}/invocation/next", self.base)).call().map_err(failed)?;
        if response.status() != 200 {
            return Err(format!("cannot take the next event: status {}", response.status()));
        }
        let header = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let id = header("Lambda-Runtime-Aws-Request-Id");
        let id = id.ok_or("the next event has no request id")?;
        let deadline = header("Lambda-Runtime-Deadline-Ms").and_then(|text| text.parse().ok());
        let client = header("Lambda-Runtime-Client-Context");
        let body =
            response.body_mut().with_config().limit(MAX_EVENT).read_to_vec().map_err(failed)?;
        let body = if body.is_empty() { b"{}".to_vec() } else { body };
        Ok(Event { id, body, deadline, client })
    }

    fn respond(&self, id: &str, measured: Measured<'_>, result: &[u8]) -> Result<(), String> {
        // Results are made by serde_json, in this program.
        let result: &RawValue = serde_json::from_slice(result)
            .map_err(|error| format!("the result is not valid JSON: {error}"))?;
        match self.post(&format!("invocation/{id}/response"), &Answer { measured, result }, None)? {
            ACCEPTED => Ok(()),
            TOO_LARGE => {
                let kind = "Function.ResponseSizeTooLarge";
                let error = Error::new(kind, "the result is too large");
                match self.post(&format!("invocation/{id}/error"), &error, Some(kind))? {
                    ACCEPTED => Ok(()),
                    status => Err(format!("an error was answered with status {status}")),
                }
            }
            status => Err(format!("a result was answered with status {status}")),
        }
    }

    /// Posts JSON and returns the status.
    fn post(
        &self,
        path: &str,
        body: &impl Serialize,
        error_type: Option<&str>,
    ) -> Result<u16, String> {
        let body =
            serde_json::to_vec(body).map_err(|error| format!("cannot write JSON: {error}"))?;
        let mut request =
            self.agent.post(format!("{}/{path}", self.base)).content_type("application/json");
        if let Some(error_type) = error_type {
            request = request.header("Lambda-Runtime-Function-Error-Type", error_type);
        }
        let response = request.send(body).map_err(|error| format!("cannot answer: {error}"))?;
        let status = response.status().as_u16();
        drained(response);
        Ok(status)
    }
}

/// Reads the rest of a response, so that its connection can be used again.
fn drained(mut response: Response<Body>) {
    // A connection that breaks here is found out by the next request.
    let _ = response.body_mut().read_to_vec();
}

fn since_epoch(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
