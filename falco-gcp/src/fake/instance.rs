//! Instances: processes that run what was deployed, with the calling convention of Google's Functions Framework.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use falco_package::Archive;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::logging;
use super::reply::{self, Reply};
use super::server::Seen;
use super::world::World;

const PYTHON_RUNNER: &str = include_str!("runner.py");
const NODE_RUNNER: &str = include_str!("runner.js");
/// How long a call waits for a free instance.
const QUEUE: Duration = Duration::from_secs(10);

/// The instances of one revision, each of which serves one call at a time.
#[derive(Debug)]
pub(super) struct Instances {
    code: Mutex<Option<Arc<TempDir>>>,
    idle: Mutex<Vec<Instance>>,
    slots: Arc<Semaphore>,
    client: reqwest::Client,
}

/// More than this machine could run at the same time; the rest waits as it does for instances.
const MAX_INSTANCES: usize = 8;

impl Default for Instances {
    fn default() -> Self {
        Self {
            code: Mutex::default(),
            idle: Mutex::default(),
            slots: Arc::new(Semaphore::new(MAX_INSTANCES)),
            client: falco_http_client(),
        }
    }
}

fn falco_http_client() -> reqwest::Client {
    let builder = reqwest::Client::builder();
    #[cfg(feature = "rustls")]
    let builder = builder.tls_certs_only([]);
    builder.build().unwrap()
}

#[derive(Debug)]
struct Instance {
    process: Child,
    port: u16,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The whole group: handlers have processes of their own.
        if let Some(pid) = self.process.id() {
            let _ =
                std::process::Command::new("kill").args(["-9", "--", &format!("-{pid}")]).status();
        }
    }
}

pub(super) async fn call(
    world: &Arc<World>,
    id: &str,
    function: &Value,
    zip: &[u8],
    instances: &Instances,
    seen: &Seen,
) -> Reply {
    let Ok(Ok(_slot)) = tokio::time::timeout(QUEUE, instances.slots.acquire()).await else {
        return reply::with(429, "text/plain", "Rate exceeded.");
    };
    let idle = instances.idle.lock().unwrap().pop();
    let instance = match idle {
        Some(instance) => instance,
        None => match start(world, id, function, &unpacked(instances, zip)).await {
            Some(instance) => instance,
            None => return reply::with(503, "text/plain", "The service failed to start."),
        },
    };
    let url = format!("http://127.0.0.1:{}/", instance.port);
    let request = instances.client.post(url).headers(seen.headers.clone()).body(seen.body.clone());
    let Ok(answer) = request.send().await else {
        return reply::with(
            503,
            "text/plain",
            "upstream connect error or disconnect/reset before headers",
        );
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else {
        return reply::with(503, "text/plain", "upstream connect error");
    };
    instances.idle.lock().unwrap().push(instance);
    let mut reply = reply::with(status.as_u16(), "text/plain", Body::from(body));
    for name in ["content-type", "x-google-status"] {
        if let Some(value) = headers.get(name) {
            reply.headers_mut().insert(name, value.clone());
        }
    }
    reply
}

/// The files of the artefact, as Google lays them out; once for all instances.
fn unpacked(instances: &Instances, zip: &[u8]) -> Arc<TempDir> {
    let mut code = instances.code.lock().unwrap();
    Arc::clone(code.get_or_insert_with(|| {
        let directory = tempfile::tempdir().unwrap();
        for (path, file) in Archive::from_zip(zip).unwrap().files() {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &file.content).unwrap();
            #[cfg(unix)]
            if file.executable {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        Arc::new(directory)
    }))
}

/// Starts an instance; it is ready when it has told its port.
async fn start(world: &Arc<World>, id: &str, function: &Value, code: &TempDir) -> Option<Instance> {
    let runtime = function["buildConfig"]["runtime"].as_str().unwrap_or_default();
    let mut command = if runtime.starts_with("python") {
        runner("python3", "-c", PYTHON_RUNNER, code.path())
    } else {
        runner("node", "-e", NODE_RUNNER, code.path())
    };
    let variables =
        function["serviceConfig"]["environmentVariables"].as_object().into_iter().flatten();
    for (name, value) in variables {
        command.env(name, value.as_str().unwrap_or_default());
    }
    let service = &function["serviceConfig"];
    let target = function["buildConfig"]["entryPoint"].as_str().unwrap_or("function");
    let mut process = command
        .env("FUNCTION_TARGET", target)
        .env("FUNCTION_SIGNATURE_TYPE", "http")
        .env("K_SERVICE", id)
        .env("K_REVISION", service["revision"].as_str().unwrap_or_default())
        .env("GCE_METADATA_HOST", world.url().trim_start_matches("http://"))
        .spawn()
        .ok()?;
    let mut lines = BufReader::new(process.stdout.take()?).lines();
    // The first line is the runner's own; the function's follow.
    let first = loop {
        let line = lines.next_line().await.ok().flatten();
        match line {
            Some(line) => match line.strip_prefix("runner listens on ") {
                Some(port) => break port.parse().ok(),
                None => logging::store(world, id, &line),
            },
            None => break None,
        }
    };
    let (world, id) = (Arc::clone(world), id.to_owned());
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            logging::store(&world, &id, &line);
        }
    });
    Some(Instance { process, port: first? })
}

fn runner(interpreter: &str, option: &str, source: &str, code: &Path) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new(interpreter);
    command
        .args([option, source])
        .current_dir(code)
        .env_clear()
        .env("PATH", path)
        .env("HOME", code)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    command
}
