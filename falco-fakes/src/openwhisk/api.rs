//! The API of the fake: which request goes where.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::async_trait;
use falco_http::reqwest::StatusCode;
use serde_json::{Value, json};

use super::actions::{delete, get, list_actions, put};
use super::activations::{activation, list_activations};
use super::answers::{Query, below_the_api, json_answer, no_route, refuse};
use super::invocation::invoke;
use super::{FakeSettings, Shared};
use crate::http::{Provider, Reply, Request, lock};

const MAX_BODY: usize = 50 << 20;
const MAX_TARGET: usize = 8192;

#[async_trait]
impl Provider for Shared {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        route(&self, request).await
    }

    fn refuse(&self, head: &Request) -> Option<Reply> {
        if head.target.len() > MAX_TARGET {
            let text = "URI length exceeds the limit";
            return Some(below_the_api(StatusCode::URI_TOO_LONG, text));
        }
        let declared = head.header("content-length").and_then(|length| length.parse().ok());
        let is_too_long = declared.is_some_and(|length: usize| length > MAX_BODY);
        is_too_long.then(|| below_the_api(StatusCode::BAD_REQUEST, "Request too large"))
    }
}

async fn route(shared: &Arc<Shared>, request: Request) -> Reply {
    let query: Query = request.query.iter().cloned().collect();
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let settings = shared.settings();
    match segments.as_slice() {
        [""] => json_answer(StatusCode::OK, &description(&settings)),
        ["api", "v1", "namespaces", namespace, resource @ ..] => {
            if let Some(text) = authenticate(&request, &settings) {
                return refuse(StatusCode::UNAUTHORIZED, text);
            }
            if !matches!(*namespace, "_" | "guest") {
                let text = "The supplied authentication is not authorized to access this resource.";
                return refuse(StatusCode::FORBIDDEN, text);
            }
            match resource {
                ["limits"] => json_answer(StatusCode::OK, &limits(&settings)),
                ["actions"] => list_actions(shared, &query),
                ["actions", name @ ..] if name.len() <= 2 => match request.method.as_str() {
                    "PUT" => put(shared, name, &query, &request.body).await,
                    "GET" => get(shared, &name.join("/"), &query),
                    "DELETE" => delete(shared, &name.join("/")).await,
                    "POST" => {
                        let transaction = request.header("x-request-id");
                        let body = request.body.clone();
                        invoke(shared.clone(), &name.join("/"), &query, body, transaction).await
                    }
                    _ => no_route(),
                },
                ["activations", which @ ..] => {
                    lock(&shared.world).collecting_requests += 1;
                    match which {
                        [] => list_activations(shared, &query),
                        [id, part @ ..] => activation(shared, id, part.first().copied()),
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
fn authenticate(request: &Request, settings: &FakeSettings) -> Option<&'static str> {
    let expected = format!("Basic {}", BASE64.encode(&settings.key));
    match request.header("authorization") {
        Some(given) if settings.knows_the_key && given == expected => None,
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
