//! OpenFaaS's classic watchdog, which starts a process for each request, and a stand-in without processes.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use falco_core::{Bytes, Code, Environment};
use falco_testkit::fixture::{Ending, Fixture};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::Instant;

use crate::http::{Reply, Request};

/// The time after which the watchdog closes a connection of which nobody has said more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The means that run the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FakeFunctions {
    /// A process for each request, as in the real watchdog.
    Processes,
    /// The suite's function in Rust: a thousand calls in no time, and no Python needed.
    Emulated,
}

pub(super) async fn run(
    functions: FakeFunctions,
    specification: &Value,
    request: &Request,
) -> Reply {
    let body = &request.body;
    let env = &specification["envVars"];
    let limit = timeout(env, "exec_timeout").unwrap_or(Duration::MAX);
    let begun = Instant::now();
    let answer = match functions {
        FakeFunctions::Processes => process(specification, request, limit).await,
        FakeFunctions::Emulated => {
            let killed = |_| Err(String::new());
            tokio::time::timeout(limit, emulated(env, body)).await.unwrap_or_else(killed)
        }
    };
    match answer {
        _ if is_cut_off(env, begun.elapsed()) => {
            let name = specification["service"].as_str().unwrap_or_default();
            Reply::new(500, format!("Can't reach service for: {name}."))
                .with_header("x-openfaas-internal", "proxy")
        }
        // Children that outlived the process may have held up the answer of one that ended well.
        _ if begun.elapsed() >= limit => Reply::new(408, "Killed process.\n"),
        Err(text) => Reply::new(500, text),
        Ok(out) => {
            let duration = format!("{:.6}", begun.elapsed().as_secs_f64());
            Reply::new(200, out).with_header("x-duration-seconds", &duration)
        }
    }
}

/// A timeout among a function's variables, in milliseconds. Zero switches it off.
fn timeout(env: &Value, name: &str) -> Option<Duration> {
    let ms = env[name].as_str()?.strip_suffix("ms").unwrap().parse().unwrap();
    Some(Duration::from_millis(ms)).filter(|timeout| !timeout.is_zero())
}

/// Whether the watchdog has closed the connection before the answer came, since its `write_timeout` is shorter than the function
/// may run. The gateway then cannot reach it. Where it is not shorter, the fake does not count: a busy machine may take longer.
fn is_cut_off(env: &Value, took: Duration) -> bool {
    let limit = timeout(env, "exec_timeout").unwrap_or(Duration::MAX);
    let write = match env["write_timeout"].is_null() {
        true => WRITE_TIMEOUT,
        false => timeout(env, "write_timeout").unwrap_or(Duration::MAX),
    };
    write < limit && took > write
}

/// Runs a process, which is killed after `limit`. Its children are not, and the answer waits until the last of them has closed
/// both streams: `exec.Cmd` reads them to their ends (`handler.go`).
async fn process(
    specification: &Value,
    request: &Request,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let command = specification["envProcess"].as_str().unwrap();
    let mut parts = command.split(' ');
    let program = if parts.next() == Some("python3") { python() } else { panic!("{command}") };
    let mut child = Command::new(program);
    // What a killed function leaves behind goes with the request.
    let scratch = TempDir::new().map_err(|error| error.to_string())?;
    child.args(parts).env_clear().env("TMPDIR", scratch.path()).kill_on_drop(true);
    for (name, value) in specification["envVars"].as_object().unwrap() {
        child.env(name, value.as_str().unwrap());
    }
    if specification["envVars"]["cgi_headers"] != "false" {
        // As `getAdditionalEnvs` in `handler.go` does.
        for (name, value) in &request.headers {
            let name = format!("Http_{}", name.as_str().replace('-', "_"));
            child.env(name, value.to_str().unwrap_or_default());
        }
    }
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    let body = request.body.clone();
    tokio::spawn(async move { stdin.write_all(&body).await });
    let (mut out, mut log) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut printed, mut sink) = (Vec::new(), tokio::io::sink());
    let ended = async {
        match tokio::time::timeout(limit, child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                child.start_kill()?;
                child.wait().await
            }
        }
    };
    let read =
        async { tokio::join!(out.read_to_end(&mut printed), tokio::io::copy(&mut log, &mut sink)) };
    let (status, _) = tokio::join!(ended, read);
    let status = status.map_err(|error| error.to_string())?;
    match status.code() {
        Some(0) => Ok(printed),
        Some(status) => Err(format!("exit status {status}\n{}", String::from_utf8_lossy(&printed))),
        None => Err(format!("signal: {}\n", signal(status.signal()))),
    }
}

/// A signal as Go names it (`zerrors_linux_amd64.go`).
fn signal(number: Option<i32>) -> String {
    match number.unwrap_or_default() {
        6 => "aborted".to_owned(),
        9 => "killed".to_owned(),
        11 => "segmentation fault".to_owned(),
        15 => "terminated".to_owned(),
        number => format!("signal {number}"),
    }
}

/// The interpreter's own path: what is on PATH may be a script that needs the environment which functions lack.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let ask = ["-c", "import sys; print(sys.executable)"];
        let output = std::process::Command::new("python3").args(ask).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

async fn emulated(env: &Value, body: &Bytes) -> Result<Vec<u8>, String> {
    let text = |name: &str| env[name].as_str().unwrap_or_default();
    let zip = base64::engine::general_purpose::STANDARD.decode(text("FALCO_CODE")).unwrap();
    let archive = falco_package::Archive::from_zip(&zip).unwrap();
    let mut sources = archive.files().map(|(_, file)| String::from_utf8_lossy(&file.content));
    let fixture = sources.find_map(|source| Fixture::of_code(&Code::Source(source.into())));
    let envelope: Value = serde_json::from_slice(body).unwrap();
    let args = &envelope["args"];
    let instance = json!({"version": text("FALCO_VERSION")});
    if envelope.is_null() {
        return Ok(format!("{instance}\n").into_bytes());
    }
    let variables = env.as_object().unwrap().iter();
    let variables: Environment =
        variables.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
    let response =
        fixture.expect("it is the fixture").respond(text("FALCO_ENTRY_POINT"), args, &variables);
    tokio::time::sleep(response.sleep).await;
    let failed = |kind: &str, error_type: &str, message: &str| json!({"error": {"kind": kind, "type": error_type, "message": message}});
    let line = match response.ending {
        Ending::Returned(result) if result.is_object() => json!({"ok": result}),
        Ending::Returned(_) => failed("bad_result", "TypeError", "not an object"),
        Ending::Raised { error_type, message } => failed("raised", &error_type, &message),
        Ending::NotLoaded => failed("initialization", "SyntaxError", "invalid syntax"),
        Ending::Exited(status) => return Err(format!("exit status {status}\n")),
    };
    Ok(format!("{instance}\n{line}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_cut_off_where_the_watchdog_waits_for_less_time_than_it_may_run() {
        let cut_off = |env: Value, seconds| is_cut_off(&env, Duration::from_secs(seconds));
        let longer = json!({"exec_timeout": "60000ms"});
        assert!(cut_off(json!({}), 31) && !cut_off(json!({}), 29));
        assert!(cut_off(longer.clone(), 31) && !cut_off(longer, 29));
        let enough = json!({"exec_timeout": "60000ms", "write_timeout": "65000ms"});
        assert!(!cut_off(enough, 66), "exec_timeout comes first, and ends the process");
        let off = json!({"write_timeout": "0ms"});
        assert!(!cut_off(off, 100_000));
    }
}
