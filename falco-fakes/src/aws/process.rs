//! The process of an environment: the artefact, unpacked and started as Lambda starts it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use falco_package::Archive;
use tokio::process::{Child, Command};

use crate::unpacked::Unpacked;

/// Stands in for Lambda's runtime of Python where `awslambdaric` is not installed.
const PYTHON_RUNTIME: &str = include_str!("python_runtime.py");
/// Stands in for Lambda's runtime of Node.js where `aws-lambda-ric` is not installed.
const NODE_RUNTIME: &str = include_str!("node_runtime.cjs");

/// The longest time that a start may take.
pub(super) const LONGEST_START: Duration = Duration::from_secs(30);

/// The settings that an environment is started with.
#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    pub(super) function: String,
    pub(super) region: String,
    pub(super) runtime: String,
    pub(super) handler: String,
    pub(super) zip: bytes::Bytes,
    pub(super) unpacked: Unpacked,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) memory_mib: u64,
    pub(super) timeout: Duration,
    /// Changes with code and configuration: older environments are not used again.
    pub(super) revision: u64,
    /// The folder of the provider's own runtimes, as `cargo xtask runtimes` installs them.
    pub(super) runtimes: Option<PathBuf>,
}

/// Unpacks the artefact into `directory`, and starts it.
pub(super) fn start(
    blueprint: &Blueprint,
    directory: &Path,
    log: &Path,
    api: SocketAddr,
    stream: &str,
) -> std::io::Result<Child> {
    let task_root = directory.join("task");
    let archive = || Archive::from_zip(&blueprint.zip).map_err(std::io::Error::other);
    blueprint.unpacked.link_to(&task_root, archive)?;
    spawn(blueprint, directory, &task_root, log, api, stream)
}

/// Ends a process with its group: the bootstrap of a native function has a child.
pub(super) fn kill(child: &Child) {
    if let Some(id) = child.id() {
        let _ = std::process::Command::new("kill")
            .args(["-KILL", "--", &format!("-{id}")])
            .stderr(Stdio::null())
            .status();
    }
}

/// The program of a runtime, with its arguments.
fn program(
    blueprint: &Blueprint,
    directory: &Path,
    task_root: &Path,
) -> std::io::Result<(PathBuf, Vec<PathBuf>)> {
    // The stamp is written last.
    let installed = |name: &str, path: &str| {
        let folder = blueprint.runtimes.as_ref()?.join(name);
        folder.join("installed").exists().then(|| folder.join(path))
    };
    let stand_in = |interpreter: &str, name: &str, text: &str| {
        let script = directory.join(name);
        std::fs::write(&script, text)?;
        Ok((interpreter.into(), vec![script]))
    };
    match blueprint.runtime.as_str() {
        name if name.starts_with("python") => match installed("awslambdaric", "bin/python3") {
            Some(python) => {
                Ok((python, vec!["-m".into(), "awslambdaric".into(), handler(blueprint)]))
            }
            None => stand_in("python3", "runtime.py", PYTHON_RUNTIME),
        },
        name if name.starts_with("nodejs") => {
            let client = installed("aws-lambda-ric", "node_modules/aws-lambda-ric/index.mjs");
            match client.zip(installed("nodejs-24", "node_modules/.bin/node")) {
                Some((client, node)) => Ok((node, vec![client, handler(blueprint)])),
                None => stand_in("node", "runtime.cjs", NODE_RUNTIME),
            }
        }
        _ => Ok((task_root.join("bootstrap"), Vec::new())),
    }
}

fn handler(blueprint: &Blueprint) -> PathBuf {
    blueprint.handler.clone().into()
}

fn spawn(
    blueprint: &Blueprint,
    directory: &Path,
    task_root: &Path,
    log: &Path,
    api: SocketAddr,
    stream: &str,
) -> std::io::Result<Child> {
    let (program, arguments) = program(blueprint, directory, task_root)?;
    let output = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(
            ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))),
        )
        // What a killed function leaves behind goes with its environment.
        .env("TMPDIR", directory)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LANG", "en_US.UTF-8")
        .env("PYTHONIOENCODING", "utf-8")
        .env("AWS_LAMBDA_RUNTIME_API", api.to_string())
        .env("_HANDLER", &blueprint.handler)
        .env("LAMBDA_TASK_ROOT", task_root)
        .env("AWS_REGION", &blueprint.region)
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_FUNCTION_NAME", &blueprint.function)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", blueprint.memory_mib.to_string())
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", blueprint.function))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", stream)
        .envs(&blueprint.variables)
        .current_dir(task_root)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .kill_on_drop(true);
    if !blueprint.runtime.starts_with("provided") {
        command.env("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", blueprint.runtime));
    }
    command.spawn()
}
