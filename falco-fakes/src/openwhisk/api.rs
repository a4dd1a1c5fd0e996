//! The API of the fake: which request goes where.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::actions::{delete, get, list_actions, put};
use super::activations::{activation, list_activations};
use super::answers::{
    Answer, Query, below_the_api, decode, decode_pairs, json_answer, no_route, refuse,
};
use super::invocation::invoke;
use super::{FakeRequest, FakeSettings, Shared, lock};

const MAX_BODY: usize = 50 << 20;
const MAX_TARGET: usize = 8192;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(move |request: Request<Body>| serve(shared.clone(), request))
}

async fn serve(shared: Arc<Shared>, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return below_the_api(StatusCode::URI_TOO_LONG, "URI length exceeds the limit");
    }
    let declared =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if declared
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| length > MAX_BODY)
    {
        return below_the_api(StatusCode::BAD_REQUEST, "Request too large");
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return below_the_api(StatusCode::PAYLOAD_TOO_LARGE, "Request too large");
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
                    Method::PUT => put(&shared, name, &query, &body).await,
                    Method::GET => get(&shared, &name.join("/"), &query),
                    Method::DELETE => delete(&shared, &name.join("/")).await,
                    Method::POST => {
                        let transaction = parts.headers.get("x-request-id");
                        let transaction = transaction.and_then(|id| id.to_str().ok());
                        invoke(shared, &name.join("/"), &query, body, transaction).await
                    }
                    _ => no_route(),
                },
                ["activations", which @ ..] => {
                    lock(&shared.world).collecting_requests += 1;
                    match which {
                        [] => list_activations(&shared, &query),
                        [id, part @ ..] => activation(&shared, id, part.first().copied()),
                    }
                }
                _ => no_route(),
            }
        }
        _ => {
            let text = "HTTP method not allowed, supported methods: OPTIONS";
            refuse(StatusCode::METHOD_NOT_ALLOWED, text)
        }
    }
}

/// Why a request is refused, if it is.
fn authenticate(headers: &HeaderMap, settings: &FakeSettings) -> Option<&'static str> {
    let expected = format!("Basic {}", BASE64.encode(&settings.key));
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
    let mut limits = json!({"invocationsPerMinute": settings.invocations_per_minute,
           "concurrentInvocations": settings.concurrent_invocations, "firesPerMinute": 60,
           "minActionMemory": 128, "maxActionMemory": 512, "minActionTimeout": 100,
           "maxActionTimeout": 300_000, "minActionLogs": 0, "maxActionLogs": 10,
           "minActionConcurrency": 1, "maxActionConcurrency": 1, "maxParameterSize": "1048576 B"});
    if let Some(bytes) = settings.max_payload {
        limits["maxPayloadSize"] = format!("{bytes} B").into();
    }
    limits
}
