//! The API of the fake: what it answers to which request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::container::Ran;
use super::outcome::Outcome;
use super::world::{Action, Listing, Stored, now_millis};
use super::{FAKE_AUTH, FakeAnswer, FakeRequest, FakeSettings, Shared, lock};
use crate::wire::is_activation_id;

const MAX_BODY: usize = 50 << 20;
const MAX_ARGUMENTS: usize = 1 << 20;
const MAX_CODE: usize = 48 << 20;

type Answer = Response<Body>;
type Query = HashMap<String, String>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(move |request: Request<Body>| serve(shared.clone(), request))
}

async fn serve(shared: Arc<Shared>, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.");
    };
    let raw_query = parts.uri.query().unwrap_or_default().to_owned();
    let path = parts.uri.path().to_owned();
    let settings = shared.settings();
    if settings.keeps_requests {
        lock(&shared.requests).push(FakeRequest {
            method: parts.method.clone(),
            path: path.clone(),
            query: raw_query.clone(),
            headers: parts.headers.clone(),
            body: body.clone(),
            at: Instant::now(),
        });
    }
    if !settings.answers {
        std::future::pending::<()>().await;
    }
    let query: Query = decode_pairs(&raw_query);
    let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = parts.method;
    match segments.as_slice() {
        [""] => json_answer(StatusCode::OK, &description(&settings)),
        ["api", "v1", "namespaces", namespace, resource @ ..] => {
            if let Some(text) = authenticate(&parts.headers, &settings) {
                return refuse(StatusCode::UNAUTHORIZED, text);
            }
            if !matches!(*namespace, "_" | "guest") {
                let text = "The supplied authentication is not authorized to access this resource.";
                return refuse(StatusCode::FORBIDDEN, text);
            }
            match resource {
                ["limits"] => json_answer(StatusCode::OK, &limits(&settings)),
                ["actions"] => list_actions(&shared, &query),
                ["actions", name @ ..] if name.len() <= 2 => match method {
                    Method::PUT => put(&shared, name, &query, &body),
                    Method::GET => get(&shared, &name.join("/"), &query),
                    Method::DELETE => delete(&shared, &name.join("/")),
                    Method::POST => invoke(shared, &name.join("/"), &query, body).await,
                    _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "HTTP method not allowed"),
                },
                ["activations"] => list_activations(&shared, &query),
                ["activations", id, part @ ..] => activation(&shared, id, part.first().copied()),
                _ => refuse(StatusCode::NOT_FOUND, "The requested resource could not be found."),
            }
        }
        _ => refuse(StatusCode::NOT_FOUND, "The requested resource could not be found."),
    }
}

/// Why a request is refused, if it is.
fn authenticate(headers: &HeaderMap, settings: &FakeSettings) -> Option<&'static str> {
    let expected = format!("Basic {}", BASE64.encode(FAKE_AUTH));
    match headers.get(header::AUTHORIZATION) {
        Some(given) if settings.knows_the_key && given.as_bytes() == expected.as_bytes() => None,
        Some(_) => Some("The supplied authentication is invalid"),
        None => {
            Some("The resource requires authentication, which was not supplied with the request")
        }
    }
}

fn description(settings: &FakeSettings) -> Value {
    let mut runtimes: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for kind in &settings.kinds {
        let family = kind.split(':').next().unwrap_or(kind);
        let image = match family {
            "go" => "openwhisk/action-golang-v1.20:nightly".to_owned(),
            _ => format!("openwhisk/action-{}:nightly", kind.replace(':', "-v")),
        };
        let kinds = runtimes.entry(family).or_default();
        let is_default = kinds.is_empty();
        kinds
            .push(json!({"kind": kind, "image": image, "deprecated": false, "default": is_default,
                          "attached": true, "requireMain": false}));
    }
    json!({"description": "OpenWhisk", "api_paths": ["/api/v1"], "runtimes": runtimes, "limits": {}})
}

fn limits(settings: &FakeSettings) -> Value {
    json!({"invocationsPerMinute": settings.invocations_per_minute,
           "concurrentInvocations": settings.concurrent_invocations, "firesPerMinute": 60,
           "minActionMemory": 128, "maxActionMemory": 512, "minActionTimeout": 100,
           "maxActionTimeout": 300_000, "minActionLogs": 0, "maxActionLogs": 10,
           "minActionConcurrency": 1, "maxActionConcurrency": 1, "maxParameterSize": "1 MB"})
}

fn put(shared: &Shared, name: &[&str], query: &Query, body: &[u8]) -> Answer {
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else {
        return malformed("Expected an action");
    };
    let body = Value::Object(body);
    let mut world = lock(&shared.world);
    let existing = world.action(&name.join("/")).cloned();
    if existing.is_some() && query.get("overwrite").map(String::as_str) != Some("true") {
        return refuse(StatusCode::CONFLICT, "resource already exists");
    }
    let exec = body.get("exec");
    let mut action = match existing {
        Some(action) => Action { patch: action.patch + 1, ..action },
        None if exec.is_none() => return refuse(StatusCode::BAD_REQUEST, "exec undefined"),
        None => new_action(name),
    };
    if let Some(exec) = exec {
        let Some(code) = exec["code"].as_str() else {
            return malformed("'code' must be a string or attachment object defined in 'exec'");
        };
        if code.len() > MAX_CODE {
            let text = format!("exec larger than allowed: {} > {MAX_CODE} bytes.", code.len());
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, &text);
        }
        let kind = exec["kind"].as_str().unwrap_or_default();
        let kinds = &shared.settings().kinds;
        let Some(kind) = resolve_kind(kinds, kind) else {
            let valid: Vec<_> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
            return malformed(&format!(
                "The specified runtime '{kind}' is not supported by this platform. Valid values are: {}",
                valid.join(", ")
            ));
        };
        action.kind = kind;
        action.code = code.to_owned();
        action.main = exec["main"].as_str().unwrap_or("main").to_owned();
    }
    if let Err(text) = put_limits(&mut action, &body["limits"]) {
        return malformed(&format!("requirement failed: {text}"));
    }
    if let Some(parameters) = body["parameters"].as_array() {
        if parameters.iter().any(|parameter| parameter.get("value").is_none()) {
            return malformed("parameters malformed!");
        }
        action.parameters = parameters.clone();
    }
    for annotation in body["annotations"].as_array().into_iter().flatten() {
        let key = annotation["key"].as_str().unwrap_or_default().to_owned();
        action.annotations.insert(key, annotation["value"].clone());
    }
    action.annotations.insert("exec".into(), action.kind.clone().into());
    action.updated = now_millis();
    let echo = action.to_json(true);
    world.put(action);
    json_answer(StatusCode::OK, &echo)
}

fn new_action(name: &[&str]) -> Action {
    let (package, name) = match name {
        [package, name] => (Some((*package).to_owned()), *name),
        [name] => (None, *name),
        _ => (None, ""),
    };
    Action {
        package,
        name: name.to_owned(),
        patch: 1,
        kind: String::new(),
        code: String::new(),
        main: "main".into(),
        timeout_ms: 60_000,
        memory_mib: 256,
        logs_mib: 10,
        concurrency: 1,
        parameters: Vec::new(),
        annotations: BTreeMap::from([("provide-api-key".into(), false.into())]),
        updated: 0,
    }
}

fn resolve_kind(kinds: &[&'static str], kind: &str) -> Option<String> {
    let found = match kind.strip_suffix(":default") {
        Some(family) => kinds.iter().find(|kind| kind.split(':').next() == Some(family)),
        None => kinds.iter().find(|known| **known == kind),
    };
    found.map(|kind| (*kind).to_owned())
}

fn put_limits(action: &mut Action, limits: &Value) -> Result<(), String> {
    let check =
        |name: &str, unit: &str, min: u64, max: u64, slot: &mut u64| -> Result<(), String> {
            let key = match name {
                "duration" => "timeout",
                "memory size" => "memory",
                "log size" => "logs",
                other => other,
            };
            let Some(value) = limits.get(key) else { return Ok(()) };
            let value =
                value.as_u64().ok_or_else(|| format!("{key} limit must be whole number"))?;
            match value {
                _ if value > max => {
                    Err(format!("{name} {value}{unit} exceeds allowed threshold of {max}{unit}"))
                }
                _ if value < min => {
                    Err(format!("{name} {value}{unit} below allowed threshold of {min}{unit}"))
                }
                _ => {
                    *slot = value;
                    Ok(())
                }
            }
        };
    check("duration", " milliseconds", 100, 300_000, &mut action.timeout_ms)?;
    check("memory size", " MB", 128, 512, &mut action.memory_mib)?;
    check("log size", " MB", 0, 10, &mut action.logs_mib)?;
    check("concurrency", "", 1, 1, &mut action.concurrency)
}

fn get(shared: &Shared, name: &str, query: &Query) -> Answer {
    let with_code = query.get("code").map(String::as_str) != Some("false");
    match lock(&shared.world).action(name) {
        Some(action) => json_answer(StatusCode::OK, &action.to_json(with_code)),
        None => not_found(),
    }
}

fn delete(shared: &Shared, name: &str) -> Answer {
    match lock(&shared.world).delete(name) {
        Some(action) => json_answer(StatusCode::OK, &action.to_json(true)),
        None => not_found(),
    }
}

fn list_actions(shared: &Shared, query: &Query) -> Answer {
    let (limit, skip) = match page(query, "actions") {
        Ok(page) => page,
        Err(text) => return malformed(&text),
    };
    let world = lock(&shared.world);
    let actions: Vec<Value> =
        world.actions().into_iter().skip(skip).take(limit).map(Action::to_brief_json).collect();
    json_answer(StatusCode::OK, &Value::Array(actions))
}

fn list_activations(shared: &Shared, query: &Query) -> Answer {
    let (limit, skip) = match page(query, "activations") {
        Ok(page) => page,
        Err(text) => return malformed(&text),
    };
    let number = |key: &str| query.get(key).map(|value| value.parse::<u64>());
    let (since, upto) = match (number("since").transpose(), number("upto").transpose()) {
        (Ok(since), Ok(upto)) => (since.unwrap_or(0), upto.unwrap_or(u64::MAX)),
        _ => return malformed("Parameter is not a valid value for epoch seconds"),
    };
    let listing = Listing { name: query.get("name").cloned(), since, upto, limit, skip };
    let world = lock(&shared.world);
    if query.get("count").map(String::as_str) == Some("true") {
        let all = world.list(&Listing { limit: usize::MAX, skip: 0, ..listing }).count();
        return json_answer(StatusCode::OK, &json!({"activations": all.saturating_sub(skip)}));
    }
    let with_docs = query.get("docs").map(String::as_str) == Some("true");
    let copies = if shared.settings().lists_twice { 2 } else { 1 };
    let listing = Listing { limit: listing.limit / copies, ..listing };
    let mut body = String::from("[");
    for record in world.list(&listing) {
        let text = if with_docs { record.to_string() } else { brief(record).to_string() };
        for _ in 0..copies {
            if body.len() > 1 {
                body.push(',');
            }
            body.push_str(&text);
        }
    }
    body.push(']');
    raw_answer(StatusCode::OK, "application/json", body)
}

fn brief(record: &Value) -> Value {
    let mut brief = record.clone();
    if let Some(fields) = brief.as_object_mut() {
        let response = fields.remove("response");
        fields.remove("logs");
        fields.remove("subject");
        let code = match response.as_ref().and_then(|response| response["status"].as_str()) {
            Some("success") => 0,
            Some("application error") => 1,
            Some("action developer error") => 2,
            _ => 3,
        };
        fields.insert("statusCode".into(), code.into());
    }
    brief
}

/// The limit, of which 0 means the most there is, and how many to skip.
fn page(query: &Query, what: &str) -> Result<(usize, usize), String> {
    let number = |key: &str, default| query.get(key).map_or(Ok(default), |value| value.parse());
    match (number("limit", 30), number("skip", 0)) {
        (Ok(0), Ok(skip)) => Ok((200, skip)),
        (Ok(limit), Ok(skip)) if limit <= 200 => Ok((limit, skip)),
        (Ok(limit), Ok(_)) => {
            Err(format!("The value '{limit}' is not in the range of 0 to 200 for {what}."))
        }
        _ => Err("The query parameter 'limit' was malformed".into()),
    }
}

fn activation(shared: &Shared, id: &str, part: Option<&str>) -> Answer {
    if !is_activation_id(id) {
        return refuse(StatusCode::BAD_REQUEST, "The activation id is not valid.");
    }
    let world = lock(&shared.world);
    let Some(record) = world.record(id) else { return not_found() };
    match part {
        None => json_answer(StatusCode::OK, record),
        Some("result") => json_answer(StatusCode::OK, &record["response"]),
        Some("logs") => json_answer(StatusCode::OK, &json!({"logs": record["logs"]})),
        Some(_) => refuse(StatusCode::NOT_FOUND, "The requested resource could not be found."),
    }
}

async fn invoke(shared: Arc<Shared>, name: &str, query: &Query, body: Bytes) -> Answer {
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

fn scripted(answer: FakeAnswer) -> Answer {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    raw_answer(status, answer.content_type, answer.body)
}

fn refuse(status: StatusCode, text: &str) -> Answer {
    json_answer(status, &json!({"error": text, "code": "tid-of-the-fake"}))
}

fn malformed(detail: &str) -> Answer {
    refuse(StatusCode::BAD_REQUEST, &format!("The request content was malformed:\n{detail}"))
}

fn not_found() -> Answer {
    refuse(StatusCode::NOT_FOUND, "The requested resource does not exist.")
}

fn plain(status: StatusCode, text: &str) -> Answer {
    raw_answer(status, "text/plain; charset=UTF-8", text.to_owned())
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    raw_answer(status, "application/json", body.to_string())
}

fn raw_answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert("x-request-id", header::HeaderValue::from_static("tid-of-the-fake"));
    answer
}

fn with_id(mut answer: Answer, id: &str) -> Answer {
    if let Ok(id) = id.parse() {
        answer.headers_mut().insert("x-openwhisk-activation-id", id);
    }
    answer
}

fn decode_pairs(query: &str) -> Query {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => (decode(key), decode(&value.replace('+', " "))),
        None => (decode(pair), String::new()),
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn decode(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
