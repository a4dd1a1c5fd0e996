//! Invocations: throttled, run, and recorded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use falco_http::reqwest::StatusCode;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Shared;
use super::answers::{Query, json_answer, malformed, not_found, refuse, with_id};
use super::container::{Call, Ran};
use super::outcome::{Outcome, to_raw};
use super::reprint::{fields, reprint};
use super::world::{Action, Record, Response, Stored, now_millis};
use crate::http::{Reply, lock};

const MAX_PAYLOAD: usize = 1 << 20;

pub(super) async fn invoke(
    shared: Arc<Shared>,
    name: &str,
    query: &Query,
    body: Bytes,
    transaction: Option<&str>,
) -> Reply {
    // As on the server, a refused call has used up its place in the minute already.
    let settings = shared.settings();
    let throttled = lock(&shared.world).throttle(
        settings.invocations_per_minute,
        settings.concurrent_invocations,
        settings.minute,
    );
    if let Err((text, by_rate)) = throttled {
        let answer = refuse(StatusCode::TOO_MANY_REQUESTS, &text);
        if by_rate && settings.minute != Duration::from_secs(60) {
            let wait = settings.minute.as_secs().max(1);
            return answer.with_header("retry-after", &wait.to_string());
        }
        return answer;
    }
    let place = Place(shared.clone());
    let allowed = settings.max_payload.unwrap_or(MAX_PAYLOAD);
    if body.len() > allowed {
        let text = format!("Request larger than allowed: {} > {allowed} bytes.", body.len());
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, &text);
    }
    let action = lock(&shared.world).action(name).cloned();
    let Some(action) = action else { return not_found() };
    let body = if body.is_empty() { "{}".into() } else { String::from_utf8_lossy(&body) };
    let Some(arguments) = reprint(&body).and_then(|body| merged(&action, &body)) else {
        return malformed("JSON object expected");
    };
    let number = lock(&shared.world).next_activation();
    let id = format!("{number:032x}");
    let is = |key: &str| query.get(key).map(String::as_str) == Some("true");
    let (blocking, only_result) = (is("blocking"), is("result"));
    let transaction = transaction.unwrap_or(&id).to_owned();
    let call = Call { id: id.clone(), transaction };
    let running = tokio::spawn(run(shared.clone(), place, action, number, call, arguments));
    if blocking && let Ok(Ok(record)) = tokio::time::timeout(settings.blocking_wait, running).await
    {
        let status = match record.response.status {
            "success" => StatusCode::OK,
            "whisk internal error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_GATEWAY,
        };
        let result = &record.response.result;
        let answer = if only_result || result.get().starts_with('[') {
            json_answer(status, result)
        } else {
            json_answer(status, &record)
        };
        return with_id(answer, &id);
    }
    with_id(json_answer(StatusCode::ACCEPTED, &json!({"activationId": id})), &id)
}

/// The arguments, over the action's parameters. Those that are set when the container starts are not among them, even
/// where the caller sends one.
fn merged(action: &Action, arguments: &RawValue) -> Option<Box<RawValue>> {
    let mut merged = fields(arguments)?;
    if action.parameters.is_empty() {
        return Some(arguments.to_owned());
    }
    let parameters: Vec<_> = action
        .parameters
        .iter()
        .map(|parameter| {
            (parameter["key"].as_str(), &parameter["init"], to_raw(&parameter["value"]))
        })
        .collect();
    for (key, init, value) in &parameters {
        let key = key.unwrap_or_default();
        if *init == true {
            merged.remove(key);
        } else {
            merged.entry(key.to_owned()).or_insert(value);
        }
    }
    to_raw_value(&merged).ok()
}

/// A place under the concurrency limit.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.0.world).acknowledge();
    }
}

async fn run(
    shared: Arc<Shared>,
    _place: Place,
    action: Action,
    number: u64,
    call: Call,
    arguments: Box<RawValue>,
) -> Record {
    let received = now_millis();
    let settings = shared.settings();
    let is_every = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
    let starts = !is_every(settings.refuses_late_every);
    let ran = match &settings.function {
        _ if !starts => {
            let (outcome, none) = (Outcome::not_started(), Duration::ZERO);
            Ran { outcome, init: None, run: none, waited: none, logs: Vec::new() }
        }
        Some(function) => {
            let arguments: Value = serde_json::from_str(arguments.get()).unwrap_or_default();
            let run = Duration::from_millis(arguments["sleep_ms"].as_u64().unwrap_or(0));
            if !run.is_zero() {
                tokio::time::sleep(run).await;
            }
            let outcome = Outcome::of_line(&function(&arguments).to_string());
            Ran { outcome, init: None, run, waited: Duration::ZERO, logs: Vec::new() }
        }
        None => shared.containers.run(&action, &call, &arguments).await,
    };
    if ran.outcome.connection_broke {
        tokio::time::sleep(settings.broken_lag).await;
    }
    let mut record = record(&action, &call.id, received, ran);
    if !starts {
        // Of what was never started there is no wait and no timeout.
        record.annotations.truncate(2);
    }
    let start = record.start;
    if !is_every(settings.loses_every) {
        let by_id_from = Instant::now() + settings.record_lag;
        let in_list_from = by_id_from + settings.list_lag;
        let stored =
            Stored { name: action.full_name(), record: record.clone(), by_id_from, in_list_from };
        lock(&shared.world).store(number, call.id, start, stored);
    }
    // Blocking callers get no logs.
    record.logs.clear();
    record
}

fn record(action: &Action, id: &str, received: u64, ran: Ran) -> Record {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (wait, init) = (millis(ran.waited), ran.init.map(millis));
    let duration = init.unwrap_or(0) + millis(ran.run);
    let start = received + wait;
    let mut annotations = vec![
        json!({"key": "path", "value": format!("guest/{}", action.full_name())}),
        json!({"key": "kind", "value": action.kind}),
        json!({"key": "timeout", "value": ran.outcome.timed_out}),
        json!({"key": "limits", "value": action.limits()}),
        json!({"key": "waitTime", "value": wait}),
    ];
    annotations.extend(init.map(|init| json!({"key": "initTime", "value": init})));
    let outcome = ran.outcome;
    Record {
        activation_id: id.to_owned(),
        namespace: "guest",
        name: action.name.clone(),
        subject: "guest",
        version: action.version(),
        publish: false,
        start,
        end: start + duration,
        duration,
        response: Response {
            success: outcome.status == "success",
            status: outcome.status,
            result: outcome.result,
        },
        logs: ran.logs,
        annotations,
    }
}
