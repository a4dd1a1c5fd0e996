//! The gateway on loopback: it remembers functions and runs them. Make it answer as the real one does, surprises included.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use falco_core::async_trait;
use falco_fakes::http::{Fault, HttpFake, Provider, Reply, Request};
use falco_testkit::conformance;
use falco_{{name}}::{{{Name}}Config, {{Name}}Waits};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

pub(crate) const TOKEN: &str = "marked-token-7a3e";

pub(crate) struct Fake {
    pub(crate) http: HttpFake<World>,
}

/// The memory of the gateway.
#[derive(Default)]
pub(crate) struct World {
    functions: Mutex<BTreeMap<String, Deployed>>,
    calls: AtomicU64,
}

/// A function, and the code that is on its way out, which answers so many calls more.
struct Deployed {
    function: Value,
    before: Option<Value>,
    rollout: u32,
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self { http: HttpFake::start(World::default()) }
    }

    /// A configuration with which `deploy` waits so long for new code.
    pub(crate) fn config(&self, rollout: Duration) -> {{Name}}Config {
        let waits = {{Name}}Waits::default()
            .with_rollout_interval(Duration::from_millis(5))
            .with_rollout_timeout(rollout);
        let config = {{Name}}Config::builder().endpoint(self.http.url()).token(TOKEN);
        config.waits(waits).build().unwrap()
    }

    /// Misbehaves so from now on, if it can. Teach it the others as your provider shows them.
    pub(crate) fn misbehave(&self, fault: conformance::Fault) -> bool {
        self.http.inject(match fault {
            conformance::Fault::Silent => Fault::silence(""),
            conformance::Fault::Unauthorized => Fault::answer("", 401, "unknown token"),
            conformance::Fault::Throttled => Fault::answer("POST /functions/", 429, "too many"),
            conformance::Fault::LostAnswer => Fault::reset("POST /functions/").after_doing_it(),
            _ => return false,
        });
        true
    }

    /// The names of everything that is there.
    pub(crate) fn names(&self) -> Vec<String> {
        self.http.provider().functions.lock().unwrap().keys().cloned().collect()
    }

    /// Puts a function of somebody else there.
    pub(crate) fn place(&self, name: &str) {
        let mut functions = self.http.provider().functions.lock().unwrap();
        let function = json!({"name": name});
        functions.insert(name.to_owned(), Deployed { function, before: None, rollout: 0 });
    }
}

#[async_trait]
impl Provider for World {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        if request.bearer() != Some(TOKEN) {
            return Reply::new(401, "unknown token");
        }
        let path = request.segments();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let functions = || self.functions.lock().unwrap();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["functions"]) => {
                Reply::json(200, &functions().values().map(without_code).collect())
            }
            ("PUT", ["functions", name]) => {
                let before = functions().remove(*name).map(|deployed| deployed.function);
                let deployed = Deployed { function: request.json(), before, rollout: 2 };
                functions().insert((*name).to_owned(), deployed);
                Reply::new(202, "")
            }
            ("GET", ["functions", name]) => match functions().get(*name) {
                Some(function) => Reply::json(200, &without_code(function)),
                None => Reply::new(404, ""),
            },
            ("DELETE", ["functions", name]) => match functions().remove(*name) {
                Some(_) => Reply::new(200, ""),
                None => Reply::new(404, ""),
            },
            ("POST", ["functions", name]) => {
                let function = match self.serving(name) {
                    Ok(function) => function,
                    Err(status) => return Reply::new(status, ""),
                };
                let id = format!("call-{}", self.calls.fetch_add(1, Ordering::Relaxed));
                run(&function, &request).await.with_header("x-call-id", &id)
            }
            _ => Reply::new(404, ""),
        }
    }
}

impl World {
    /// The code that answers a call. An update takes a while, as a rollout does: without that, a `deploy` that returns too
    /// early would pass.
    fn serving(&self, name: &str) -> Result<Value, u16> {
        let mut functions = self.functions.lock().unwrap();
        let deployed = functions.get_mut(name).ok_or(404_u16)?;
        if deployed.rollout == 0 {
            return Ok(deployed.function.clone());
        }
        deployed.rollout -= 1;
        deployed.before.clone().ok_or(503)
    }
}

fn without_code(deployed: &Deployed) -> Value {
    let mut shown = deployed.function.clone();
    shown.as_object_mut().unwrap().remove("code");
    shown
}

/// Runs a function as the provider does: here, in a process for each call, with the environment that was deployed.
async fn run(function: &Value, request: &Request) -> Reply {
    let folder = TempDir::new().unwrap();
    let code = function["code"].as_str().unwrap_or_default();
    let zip = base64::engine::general_purpose::STANDARD.decode(code).unwrap();
    falco_package::Archive::from_zip(&zip).unwrap().unpack_to(folder.path()).unwrap();
    let mut process = Command::new(falco_testkit::machine_image::python().unwrap());
    process.arg(folder.path().join("transport.py")).env_clear().kill_on_drop(true);
    for (name, value) in function["env"].as_object().into_iter().flatten() {
        process.env(name, value.as_str().unwrap());
    }
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = process.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let body = request.body.clone();
    tokio::spawn(async move { stdin.write_all(&body).await });
    let limit = Duration::from_millis(function["timeout_ms"].as_u64().unwrap());
    match tokio::time::timeout(limit, process.wait_with_output()).await {
        Err(_) => Reply::new(408, "the function ran too long"),
        Ok(ended) => match ended.unwrap() {
            ended if ended.status.success() => Reply::new(200, ended.stdout),
            ended => Reply::new(500, format!("exit status {}", ended.status.code().unwrap_or(-1))),
        },
    }
}
