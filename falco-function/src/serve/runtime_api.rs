//! AWS Lambda's Runtime API: the executable is the `bootstrap` and asks for events by HTTP.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::value::RawValue;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::{End, flush_logs};
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
    let began = Instant::now();
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
        let began = Instant::now();
        let result = worker.call(&event.argument).unwrap_or_else(|failure| failure.to_json());
        flush_logs();
        let measured =
            Measured { ms: milliseconds(began.elapsed()), init_ms: init.take().map(milliseconds) };
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
    argument: Vec<u8>,
}

/// The times that Lambda does not report to the one who submitted an event.
#[derive(Serialize)]
struct Measured {
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_ms: Option<f64>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "falco:ran")]
    measured: Measured,
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
        let id =
            response.headers().get("Lambda-Runtime-Aws-Request-Id").and_then(|id| id.to_str().ok());
        let id = id.ok_or("the next event has no request id")?.to_owned();
        let argument =
            response.body_mut().with_config().limit(MAX_EVENT).read_to_vec().map_err(failed)?;
        let argument = if argument.is_empty() { b"{}".to_vec() } else { argument };
        Ok(Event { id, argument })
    }

    fn respond(&self, id: &str, measured: Measured, result: &[u8]) -> Result<(), String> {
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

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
