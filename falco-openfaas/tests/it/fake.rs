//! A gateway on loopback: it remembers functions, and answers as the sources of OpenFaaS say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use falco_core::async_trait;
use falco_fakes::http::{Fault, HttpFake, Provider, Reply, Request};
use falco_openfaas::{OpenFaasConfig, OpenFaasWaits};
use falco_testkit::conformance;
use serde_json::{Value, json};

use crate::watchdog::{self, Functions};

pub(crate) const PASSWORD: &str = "marked-password-7a3e";
const IMAGE: &str = "registry.example/python:3";

/// How many requests the old code still answers after an update.
const ROLLOUT: u32 = 2;

pub(crate) struct Fake {
    pub(crate) http: HttpFake<World>,
}

pub(crate) struct World {
    functions: Functions,
    deployed: Mutex<BTreeMap<String, Deployed>>,
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
    pub(crate) fn start(functions: Functions) -> Self {
        let (deployed, calls) = (Mutex::default(), AtomicU64::new(0));
        Self { http: HttpFake::start(World { functions, deployed, calls }) }
    }

    pub(crate) fn config(&self) -> OpenFaasConfig {
        self.config_with(Duration::from_millis(5), Duration::from_secs(30))
    }

    /// With these waits for the new code.
    pub(crate) fn config_with(&self, interval: Duration, timeout: Duration) -> OpenFaasConfig {
        let waits =
            OpenFaasWaits::default().with_rollout_interval(interval).with_rollout_timeout(timeout);
        OpenFaasConfig::builder()
            .gateway(self.http.url())
            .python_image(IMAGE)
            .password(PASSWORD)
            .waits(waits)
            .build()
            .unwrap()
    }

    /// Misbehaves so from now on, if it can.
    pub(crate) fn misbehave(&self, fault: conformance::Fault) -> bool {
        self.http.heal();
        let calls = "POST /function/";
        self.http.inject(match fault {
            conformance::Fault::Silent => Fault::silence(""),
            // The gateway itself asks for the password under /system only; an ingress in front may ask for it everywhere.
            conformance::Fault::Unauthorized => Fault::answer("", 401, "invalid credentials"),
            conformance::Fault::Throttled => {
                let text = "Concurrent request limit exceeded. Max concurrent requests: 1\n";
                Fault::answer(calls, 429, text)
            }
            conformance::Fault::LostAnswer => Fault::reset(calls).after_doing_it(),
            // Long after `Held` takes it for accepted.
            conformance::Fault::Gone => {
                Fault::answer(calls, 502, "").delayed(Duration::from_secs(3))
            }
            _ => return false,
        });
        true
    }

    /// The specification of a function.
    pub(crate) fn specification(&self, name: &str) -> Option<Value> {
        let deployed = self.http.provider().deployed.lock().unwrap();
        deployed.get(name).map(|deployed| deployed.specification.clone())
    }

    /// The names of the functions.
    pub(crate) fn names(&self) -> Vec<String> {
        self.http.provider().deployed.lock().unwrap().keys().cloned().collect()
    }

    /// Makes a function that somebody else has deployed.
    pub(crate) fn place(&self, name: &str) {
        let specification = json!({"service": name, "image": "theirs"});
        let deployed = Deployed { specification, before: None, rollout: 0 };
        self.http.provider().deployed.lock().unwrap().insert(name.to_owned(), deployed);
    }
}

impl conformance::Fake for Fake {
    fn calls(&self) -> u64 {
        self.http.requests_to("POST /function/").len() as u64
    }

    fn place_stranger(&self, name: &str) {
        self.place(name);
    }

    fn leftovers(&self) -> Vec<String> {
        self.names()
    }

    fn server(&self) -> &dyn conformance::Pause {
        &self.http
    }
}

#[async_trait]
impl Provider for World {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        let path = request.segments();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if path[0] == "system" && !knows_the_password(&request) {
            return Reply::new(401, "invalid credentials");
        }
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["system", "info"]) => Reply::json(200, &json!({"arch": "x86_64"})),
            ("GET", ["system", "functions"]) => self.list(),
            ("GET", ["system", "function", name]) => self.status(name),
            (method @ ("POST" | "PUT" | "DELETE"), ["system", "functions"]) => {
                self.change(method, &request.json())
            }
            ("POST", ["function", name]) => self.invoke(name, &request).await,
            _ => Reply::new(404, ""),
        }
    }
}

fn knows_the_password(request: &Request) -> bool {
    let wanted = base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
    request.header("authorization") == Some(&format!("Basic {wanted}"))
}

impl World {
    fn list(&self) -> Reply {
        let deployed = self.deployed.lock().unwrap();
        Reply::json(200, &deployed.values().map(status).collect())
    }

    fn status(&self, name: &str) -> Reply {
        match self.deployed.lock().unwrap().get(name) {
            Some(deployed) => Reply::json(200, &status(deployed)),
            None => Reply::new(404, ""),
        }
    }

    fn change(&self, method: &str, body: &Value) -> Reply {
        let key = if method == "DELETE" { "functionName" } else { "service" };
        let name = body[key].as_str().unwrap().to_owned();
        let mut deployed = self.deployed.lock().unwrap();
        let before = deployed.get(&name).map(|deployed| deployed.specification.clone());
        match (method, before) {
            ("POST", Some(_)) => {
                Reply::new(500, format!("unable create Deployment: {name:?} already exists\n"))
            }
            ("PUT" | "DELETE", None) => Reply::new(404, "not found"),
            ("DELETE", _) => {
                deployed.remove(&name);
                Reply::new(202, "")
            }
            (_, before) => {
                let specification = body.clone();
                deployed.insert(name, Deployed { specification, before, rollout: ROLLOUT });
                Reply::new(202, "")
            }
        }
    }

    async fn invoke(&self, name: &str, request: &Request) -> Reply {
        let call = format!("call-{}", self.calls.fetch_add(1, Ordering::Relaxed));
        self.route(name, request).await.with_header("x-call-id", &call)
    }

    async fn route(&self, name: &str, request: &Request) -> Reply {
        match self.serving(name) {
            None => Reply::new(404, format!("error finding function {name}: 404")),
            Some(None) => Reply::new(503, format!("No endpoints available for: {name}."))
                .with_header("x-openfaas-internal", "proxy"),
            Some(Some(specification)) => {
                watchdog::run(self.functions, &specification, request).await
            }
        }
    }

    /// The version that answers a request to `name`: `Some(None)` while its first instance starts.
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
    let stored = &deployed.specification;
    json!({"name": stored["service"], "image": stored["image"], "annotations": stored["annotations"],
           "limits": stored["limits"], "availableReplicas": u32::from(deployed.rollout == 0)})
}
