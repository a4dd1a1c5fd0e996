//! Instances: processes that run what was deployed, by Google's Functions Framework where it is installed, else by a
//! small runner with the same calling convention.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use falco_package::Archive;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use super::framework::{self, Ready};
use super::instances::{Instance, Instances};
use super::logging;
use super::reply;
use super::world::World;
use crate::http::{Reply, Request};

/// How long a call waits for a free instance.
const QUEUE: Duration = Duration::from_secs(10);
/// How long a new instance may take to listen. Machines that run tests are slow.
const START: Duration = Duration::from_secs(60);

pub(super) async fn call(
    world: &Arc<World>,
    id: &str,
    function: &Value,
    zip: &[u8],
    instances: &Instances,
    seen: &Request,
) -> Reply {
    let Ok(Ok(_slot)) = tokio::time::timeout(QUEUE, instances.slots.acquire()).await else {
        return reply::with(429, "text/plain", "Rate exceeded.");
    };
    let Some(instance) = free_or_new(world, id, function, zip, instances).await else {
        return reply::with(503, "text/plain", "The service failed to start.");
    };
    let url = format!("http://{}/", instance.address);
    let request = instances.client.post(url).headers(seen.headers.clone()).body(seen.body.clone());
    let Ok(answer) = request.send().await else {
        instances.end(&instance);
        return reply::with(
            503,
            "text/plain",
            "upstream connect error or disconnect/reset before headers",
        );
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else {
        instances.end(&instance);
        return reply::with(503, "text/plain", "upstream connect error");
    };
    instances.give_back(instance);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let reply = reply::with(status.as_u16(), text("content-type").unwrap_or("text/plain"), body);
    match text("x-google-status") {
        Some(google) => reply.with_header("x-google-status", google),
        None => reply,
    }
}

async fn free_or_new(
    world: &Arc<World>,
    id: &str,
    function: &Value,
    zip: &[u8],
    instances: &Instances,
) -> Option<Arc<Instance>> {
    if let Some(instance) = instances.take() {
        return Some(instance);
    }
    let _starting = match instances.concurrency {
        1 => None,
        _ => Some(instances.starting.lock().await),
    };
    if let Some(instance) = instances.take() {
        return Some(instance);
    }
    let code = unpacked(instances, zip);
    let instance = tokio::time::timeout(START, start(world, id, function, &code)).await.ok()??;
    let instance = Arc::new(instance);
    for _ in 1..instances.concurrency {
        instances.give_back(Arc::clone(&instance));
    }
    Some(instance)
}

/// The files of the artefact, as Google lays them out; once for all instances.
fn unpacked(instances: &Instances, zip: &[u8]) -> Arc<TempDir> {
    let mut code = instances.code.lock().unwrap();
    Arc::clone(code.get_or_insert_with(|| {
        let directory = tempfile::tempdir().unwrap();
        Archive::from_zip(zip).unwrap().unpack_to(&directory).unwrap();
        Arc::new(directory)
    }))
}

/// Starts an instance and waits until it listens.
async fn start(world: &Arc<World>, id: &str, function: &Value, code: &TempDir) -> Option<Instance> {
    let service = &function["serviceConfig"];
    let runtime = function["buildConfig"]["runtime"].as_str().unwrap_or_default();
    let (mut command, ready) = framework::command(runtime);
    prepare(&mut command, code.path());
    for (name, value) in service["environmentVariables"].as_object().into_iter().flatten() {
        command.env(name, value.as_str().unwrap_or_default());
    }
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
    let address = match ready {
        Ready::Accepts(address) => {
            tokio::select! {
                () = framework::accepts(&address) => address,
                _ = process.wait() => return None,
            }
        }
        Ready::Says(address, words) => {
            let reported = until(&mut lines, words, |line| logging::store(world, id, line)).await?;
            format!("{address}{reported}")
        }
    };
    let (world, id) = (Arc::clone(world), id.to_owned());
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            logging::store(&world, &id, &line);
        }
    });
    Some(Instance { process, address })
}

/// Reads lines until one begins with `words`, and returns the rest of that; `None` when there are no more.
async fn until(
    lines: &mut Lines<BufReader<ChildStdout>>,
    words: &str,
    log: impl Fn(&str),
) -> Option<String> {
    while let Ok(Some(line)) = lines.next_line().await {
        match line.strip_prefix(words) {
            Some(rest) => return Some(rest.trim_end_matches('/').to_owned()),
            None => log(&line),
        }
    }
    None
}

fn prepare(command: &mut Command, code: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .current_dir(code)
        .env("PATH", path)
        .env("HOME", code)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
}
