//! A gateway on loopback: it remembers functions, and answers as the sources of OpenFaaS say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use falco_openfaas::OpenFaasConfig;
use falco_testkit::conformance::Fault;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::watchdog::{self, Functions};

pub(crate) const PASSWORD: &str = "marked-password-7a3e";
const IMAGE: &str = "registry.example/python:3";

/// How many requests the old code still answers after an update.
const ROLLOUT: u32 = 2;

#[derive(Clone)]
pub(crate) struct Fake {
    url: String,
    world: Arc<World>,
}

struct World {
    functions: Functions,
    deployed: Mutex<BTreeMap<String, Deployed>>,
    fault: Mutex<Option<Fault>>,
    calls: AtomicU64,
}

/// A function: its specification, and the code that is on its way out.
#[derive(Clone)]
struct Deployed {
    specification: Value,
    before: Option<Value>,
    /// Requests until the new code answers.
    rollout: u32,
}

impl Fake {
    pub(crate) async fn start(functions: Functions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(World {
            functions,
            deployed: Mutex::default(),
            fault: Mutex::default(),
            calls: AtomicU64::new(0),
        });
        let router = axum::Router::new().fallback(answer).with_state(world.clone());
        // It ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, world }
    }

    pub(crate) fn config(&self) -> OpenFaasConfig {
        OpenFaasConfig::new(&self.url, IMAGE)
            .unwrap()
            .with_password(PASSWORD)
            .with_rollout(Duration::from_millis(5), Duration::from_secs(30))
    }

    /// Misbehaves so from now on; with `None` not any more.
    pub(crate) fn misbehave(&self, fault: Option<Fault>) {
        *self.world.fault.lock().unwrap() = fault;
    }

    /// The specification of a function.
    pub(crate) fn specification(&self, name: &str) -> Option<Value> {
        self.world.deployed.lock().unwrap().get(name).map(|d| d.specification.clone())
    }
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let fault = *world.fault.lock().unwrap();
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    if fault == Some(Fault::Silent) {
        return std::future::pending().await;
    }
    // The gateway itself asks for the password under /system only; an ingress in front may ask for it everywhere.
    let is_guarded = path[0] == "system" || fault == Some(Fault::Unauthorized);
    if is_guarded && (fault == Some(Fault::Unauthorized) || !knows(&parts.headers)) {
        return (StatusCode::UNAUTHORIZED, "invalid credentials").into_response();
    }
    match (parts.method.as_str(), path.as_slice()) {
        ("GET", ["system", "info"]) => json!({"arch": "x86_64"}).to_string().into_response(),
        ("GET", ["system", "functions"]) => world.list(),
        ("GET", ["system", "function", name]) => world.status(name),
        ("POST" | "PUT" | "DELETE", ["system", "functions"]) => world.change(&parts.method, &body),
        ("POST", ["function", name]) => world.invoke(name, &body, fault).await,
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn knows(headers: &HeaderMap) -> bool {
    use base64::Engine as _;
    let wanted = base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
    headers.get("authorization").is_some_and(|sent| *sent == *format!("Basic {wanted}"))
}

impl World {
    fn list(&self) -> Response {
        let deployed = self.deployed.lock().unwrap();
        let list: Value = deployed.values().map(status).collect();
        list.to_string().into_response()
    }

    fn status(&self, name: &str) -> Response {
        match self.deployed.lock().unwrap().get(name) {
            Some(deployed) => status(deployed).to_string().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn change(&self, method: &Method, body: &Bytes) -> Response {
        let told: Value = serde_json::from_slice(body).unwrap();
        let key = if *method == Method::DELETE { "functionName" } else { "service" };
        let name = told[key].as_str().unwrap().to_owned();
        let mut deployed = self.deployed.lock().unwrap();
        let before = deployed.get(&name).map(|deployed| deployed.specification.clone());
        match (method.as_str(), before) {
            ("POST", Some(_)) => {
                let text = format!("unable create Deployment: {name:?} already exists\n");
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
            ("PUT" | "DELETE", None) => (StatusCode::NOT_FOUND, "not found").into_response(),
            ("DELETE", _) => {
                deployed.remove(&name);
                StatusCode::ACCEPTED.into_response()
            }
            (_, before) => {
                deployed.insert(name, Deployed { specification: told, before, rollout: ROLLOUT });
                StatusCode::ACCEPTED.into_response()
            }
        }
    }

    async fn invoke(&self, name: &str, body: &Bytes, fault: Option<Fault>) -> Response {
        let call = format!("call-{}", self.calls.fetch_add(1, Ordering::Relaxed));
        let answered = self.route(name, body, fault).await;
        ([("x-call-id", call)], answered).into_response()
    }

    async fn route(&self, name: &str, body: &Bytes, fault: Option<Fault>) -> Response {
        let Some(specification) = self.serving(name) else {
            let text = format!("error finding function {name}: 404");
            return (StatusCode::NOT_FOUND, text).into_response();
        };
        let Some(specification) = specification else {
            let text = format!("No endpoints available for: {name}.");
            let internal = [("x-openfaas-internal", "proxy")];
            return (StatusCode::SERVICE_UNAVAILABLE, internal, text).into_response();
        };
        match fault {
            Some(Fault::Throttled) => {
                let text = "Concurrent request limit exceeded. Max concurrent requests: 1\n";
                (StatusCode::TOO_MANY_REQUESTS, text).into_response()
            }
            Some(Fault::Gone) => {
                // Long after `Held` takes it for accepted.
                tokio::time::sleep(Duration::from_secs(3)).await;
                StatusCode::BAD_GATEWAY.into_response()
            }
            _ => watchdog::run(self.functions, &specification, body).await,
        }
    }

    /// What answers a request to `name`: `Some(None)` while its first instance starts.
    fn serving(&self, name: &str) -> Option<Option<Value>> {
        let mut deployed = self.deployed.lock().unwrap();
        let function = deployed.get_mut(name)?;
        if function.rollout == 0 {
            return Some(Some(function.specification.clone()));
        }
        function.rollout -= 1;
        Some(function.before.clone())
    }
}

/// A function as faas-netes shows it.
fn status(deployed: &Deployed) -> Value {
    let told = &deployed.specification;
    json!({"name": told["service"], "image": told["image"], "annotations": told["annotations"],
           "limits": told["limits"], "availableReplicas": u32::from(deployed.rollout == 0)})
}
