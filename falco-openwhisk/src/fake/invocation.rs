//! Invocations: throttled, run, and recorded.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answers::{Answer, Query, json_answer, malformed, not_found, refuse, scripted, with_id};
use super::container::Ran;
use super::outcome::Outcome;
use super::world::{Action, Stored, now_millis};
use super::{Shared, lock};

const MAX_ARGUMENTS: usize = 1 << 20;

pub(super) async fn invoke(shared: Arc<Shared>, name: &str, query: &Query, body: Bytes) -> Answer {
    if let Some(answer) = lock(&shared.invocation_answers).pop_front() {
        return scripted(answer);
    }
    // As on the server, a refused call has used up its place in the minute already.
    let settings = shared.settings();
    let throttled = lock(&shared.world).throttle(
        settings.invocations_per_minute,
        settings.concurrent_invocations,
        settings.minute,
    );
    if let Err((text, by_rate)) = throttled {
        let mut answer = refuse(StatusCode::TOO_MANY_REQUESTS, &text);
        if by_rate && settings.minute != Duration::from_secs(60) {
            let wait = settings.minute.as_secs().max(1);
            answer.headers_mut().insert(header::RETRY_AFTER, wait.into());
        }
        return answer;
    }
    let place = Place(shared.clone());
    if body.len() > MAX_ARGUMENTS {
        let text = format!("Request larger than allowed: {} > {MAX_ARGUMENTS} bytes.", body.len());
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, &text);
    }
    let action = lock(&shared.world).action(name).cloned();
    let Some(action) = action else { return not_found() };
    let arguments: Value = if body.is_empty() {
        json!({})
    } else {
        match serde_json::from_slice(&body) {
            Ok(arguments @ Value::Object(_)) => arguments,
            _ => return malformed("JSON object expected"),
        }
    };
    let number = lock(&shared.world).next_activation();
    let id = format!("{number:032x}");
    let is = |key: &str| query.get(key).map(String::as_str) == Some("true");
    let (blocking, only_result) = (is("blocking"), is("result"));
    let running = tokio::spawn(run(shared.clone(), place, action, number, id.clone(), arguments));
    if blocking && let Ok(Ok(record)) = tokio::time::timeout(settings.blocking_wait, running).await
    {
        let status = match record["response"]["status"].as_str() {
            Some("success") => StatusCode::OK,
            Some("whisk internal error") => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_GATEWAY,
        };
        let result = &record["response"]["result"];
        let body = if only_result || result.is_array() { result } else { &record };
        return with_id(json_answer(status, body), &id);
    }
    with_id(json_answer(StatusCode::ACCEPTED, &json!({"activationId": id})), &id)
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
    id: String,
    arguments: Value,
) -> Value {
    let received = now_millis();
    let settings = shared.settings();
    let ran = match &settings.function {
        Some(function) => {
            let run = Duration::from_millis(arguments["sleep_ms"].as_u64().unwrap_or(0));
            if !run.is_zero() {
                tokio::time::sleep(run).await;
            }
            let outcome = Outcome::of_line(&function(&arguments).to_string());
            Ran { outcome, init: None, run, waited: Duration::ZERO, logs: Vec::new() }
        }
        None => shared.containers.run(&action, &id, &arguments).await,
    };
    let mut record = record(&action, &id, received, &ran);
    let start = record["start"].as_u64().unwrap_or(received);
    let is_lost = settings.loses_every.is_some_and(|every| number.is_multiple_of(every));
    if !is_lost {
        let by_id_from = Instant::now() + settings.record_lag;
        let in_list_from = by_id_from + settings.list_lag;
        let stored =
            Stored { name: action.full_name(), record: record.clone(), by_id_from, in_list_from };
        lock(&shared.world).store(number, id, start, stored);
    }
    // Blocking callers get no logs.
    record["logs"] = json!([]);
    record
}

fn record(action: &Action, id: &str, received: u64, ran: &Ran) -> Value {
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
    let outcome = &ran.outcome;
    json!({"activationId": id, "namespace": "guest", "name": action.name, "subject": "guest",
           "version": action.version(), "publish": false, "start": start, "end": start + duration,
           "duration": duration, "logs": ran.logs, "annotations": annotations,
           "response": {"result": outcome.result, "status": outcome.status,
                        "success": outcome.status == "success"}})
}
