//! A fake of OpenFaaS's gateway for tests: it remembers functions, runs them as the classic watchdog does, and answers as the
//! sources of OpenFaaS say.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fake that cannot go on is a test that fails"
)]

mod in_flight;
mod watchdog;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use falco_core::async_trait;
use falco_openfaas::{OpenFaasConfig, OpenFaasConfigBuilder, OpenFaasWaits};
use falco_testkit::conformance;
use serde_json::{Value, json};

use crate::http::{Fault, HttpFake, Provider, Reply, Request, lock};
use in_flight::InFlight;
pub use watchdog::FakeFunctions;

/// The password that a fake takes.
pub const FAKE_PASSWORD: &str = "marked-password-7a3e";
/// The image for Python that its configuration names. Nothing is fetched from there.
pub const FAKE_IMAGE: &str = "registry.example/python:3";

/// How many requests the old code still answers after an update.
const ROLLOUT: u32 = 2;

/// A running fake. It ends when it is dropped, and so do the processes of its functions.
#[derive(Debug)]
pub struct FakeOpenFaas(HttpFake<World>);

/// The state that the requests of a fake share.
pub struct World {
    functions: FakeFunctions,
    deployed: Mutex<BTreeMap<String, Deployed>>,
    /// The variables that the image of functions sets.
    image: Mutex<BTreeMap<String, String>>,
    in_flight: InFlight,
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

impl FakeOpenFaas {
    /// Starts a fake that runs a process for each request.
    pub fn start() -> Self {
        Self::with(FakeFunctions::Processes)
    }

    /// Starts a fake that runs its functions so.
    pub fn with(functions: FakeFunctions) -> Self {
        let (deployed, image, calls) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        let in_flight = InFlight::default();
        Self(HttpFake::start(World { functions, deployed, image, in_flight, calls }))
    }

    /// A configuration for it, which does not wait long for new code.
    pub fn config(&self) -> OpenFaasConfigBuilder {
        let waits = OpenFaasWaits::default()
            .with_rollout_interval(Duration::from_millis(5))
            .with_rollout_timeout(Duration::from_secs(30));
        OpenFaasConfig::builder()
            .gateway(self.url())
            .python_image(FAKE_IMAGE)
            .password(FAKE_PASSWORD)
            .waits(waits)
    }

    /// Misbehaves as the conformance suite wants it from now on, if it can.
    pub fn misbehave(&self, fault: conformance::Fault) -> bool {
        self.heal();
        let calls = "POST /function/";
        self.inject(match fault {
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

    /// Sets a variable in the image of functions, as `ENV` in its Dockerfile does, for what the watchdog reads of it:
    /// `max_inflight`, `exec_timeout`. A variable that is deployed with a function wins over it.
    pub fn set_image_variable(&self, name: &str, value: &str) {
        lock(&self.provider().image).insert(name.to_owned(), value.to_owned());
    }

    /// The specification of a function.
    pub fn specification(&self, name: &str) -> Option<Value> {
        let deployed = lock(&self.provider().deployed);
        deployed.get(name).map(|deployed| deployed.specification.clone())
    }

    /// The names of the functions.
    pub fn names(&self) -> Vec<String> {
        lock(&self.provider().deployed).keys().cloned().collect()
    }

    /// Makes a function that somebody else has deployed.
    pub fn place(&self, name: &str) {
        let specification = json!({"service": name, "image": "theirs"});
        let deployed = Deployed { specification, before: None, rollout: 0 };
        lock(&self.provider().deployed).insert(name.to_owned(), deployed);
    }
}

impl Deref for FakeOpenFaas {
    type Target = HttpFake<World>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
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
    let wanted = base64::engine::general_purpose::STANDARD.encode(format!("admin:{FAKE_PASSWORD}"));
    request.header("authorization") == Some(&format!("Basic {wanted}"))
}

impl World {
    fn list(&self) -> Reply {
        let deployed = lock(&self.deployed);
        Reply::json(200, &deployed.values().map(status).collect())
    }

    fn status(&self, name: &str) -> Reply {
        match lock(&self.deployed).get(name) {
            Some(deployed) => Reply::json(200, &status(deployed)),
            None => Reply::new(404, ""),
        }
    }

    fn change(&self, method: &str, body: &Value) -> Reply {
        let key = if method == "DELETE" { "functionName" } else { "service" };
        let name = body[key].as_str().unwrap().to_owned();
        let mut deployed = lock(&self.deployed);
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
            Some(Some(specification)) => self.run(name, specification, request).await,
        }
    }

    /// Runs a function in the one replica that it has. A caller that goes away ends nothing.
    async fn run(&self, name: &str, mut specification: Value, request: &Request) -> Reply {
        let variables = specification["envVars"].as_object_mut().unwrap();
        for (name, value) in lock(&self.image).iter() {
            variables.entry(name).or_insert_with(|| json!(value));
        }
        let most = variables.get("max_inflight").and_then(Value::as_str);
        let most = most.map(|most| most.parse().unwrap()).filter(|most| *most > 0);
        let Some(slot) = self.in_flight.enter(name, most) else {
            // `concurrency_limiter.go` in faas-middleware.
            let most = most.unwrap_or_default();
            let text =
                format!("Concurrent request limit exceeded. Max concurrent requests: {most}\n");
            return Reply::new(429, text);
        };
        let (functions, request) = (self.functions, request.clone());
        let running = tokio::spawn(async move {
            let _slot = slot;
            watchdog::run(functions, &specification, &request).await
        });
        running.await.unwrap()
    }

    /// The version that answers a request to `name`: `Some(None)` while its first instance starts.
    fn serving(&self, name: &str) -> Option<Option<Value>> {
        let mut deployed = lock(&self.deployed);
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
