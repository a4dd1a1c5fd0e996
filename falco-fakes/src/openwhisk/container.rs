//! Functions in processes, started as OpenWhisk's runtimes start them (contract, 6.6b).

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::Code;
use falco_package::Archive;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OnceCell, Semaphore};

use super::outcome::Outcome;
use super::world::Action;
use crate::http::lock;

const PYTHON_LAUNCHER: &str = include_str!("launcher.py");
const NODE_LAUNCHER: &str = include_str!("launcher.js");

/// The proxy's words for what it could not make an executable of.
const NO_BINARY: &str = "The action failed to generate or locate a binary. See logs for details.";

/// The system of the kind's image; an executable that was made for another is refused.
const NATIVE_ENVIRONMENT: &str = "openwhisk/action-golang-v1.20";

/// The line that a runtime prints at the end of each activation.
const END_OF_LOG: &[u8] = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";

/// The log driver splits longer lines.
const MAX_LINE: usize = 16 << 10;

/// The bytes that the log driver adds to each line, as far as the limit counts them.
const LINE_OVERHEAD: usize = 67;

/// Descriptor 3 is the pipe; what is printed goes into files. Only a shell can arrange that without unsafe code.
const REDIRECTED: &str = r#"exec 3>&1 1>"$1" 2>"$2"; shift 2; exec "$@""#;

/// As [`REDIRECTED`], where requests come on descriptor 4: Node's runtime gets them over HTTP, and its stdin is empty.
const REDIRECTED_NODE: &str = r#"exec 4<&0 3>&1 0</dev/null 1>"$1" 2>"$2"; shift 2; exec "$@""#;

/// The warm processes, and the room for more.
pub(super) struct Containers {
    room: Semaphore,
    warm: Mutex<HashMap<String, Vec<Container>>>,
    interpreters: [OnceCell<OsString>; 2],
}

/// The ids under which an action is called.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) transaction: String,
}

/// The outcome of one activation.
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    pub(super) init: Option<Duration>,
    pub(super) run: Duration,
    pub(super) waited: Duration,
    pub(super) logs: Vec<String>,
}

/// A process that runs one function, one activation after the other.
struct Container {
    child: Child,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
    directory: TempDir,
    read: [usize; 2],
}

impl Containers {
    pub(super) fn new(containers: usize) -> Self {
        Self {
            room: Semaphore::new(containers),
            warm: Mutex::default(),
            interpreters: [OnceCell::new(), OnceCell::new()],
        }
    }

    /// Runs an activation, in a warm container or in a new one.
    pub(super) async fn run(&self, action: &Action, call: &Call, arguments: &RawValue) -> Ran {
        let id = &call.id;
        let received = Instant::now();
        let _place = self.room.acquire().await;
        let key = format!("{}@{}@{}", action.full_name(), action.version(), action.updated);
        let warm = self.warm(action, &key);
        let waited = received.elapsed();
        let limit = Duration::from_millis(action.timeout_ms);
        let (mut container, init) = match warm {
            Some(container) => (container, None),
            None => {
                let begun = Instant::now();
                // An interpreter may take long to start on a busy machine, which no test is about.
                let limit = limit.max(Duration::from_secs(20));
                let started = tokio::time::timeout(limit, self.start(action, id)).await;
                let init = Some(begun.elapsed());
                let failed =
                    |outcome, logs| Ran { outcome, init, run: Duration::ZERO, waited, logs };
                match started {
                    Ok(Ok(container)) => (container, init),
                    Ok(Err((text, logs))) => return failed(Outcome::developer_error(text), logs),
                    Err(_) => {
                        let during = " during initialization";
                        return failed(Outcome::timeout(action.timeout_ms, during), Vec::new());
                    }
                }
            }
        };
        let begun = Instant::now();
        let outcome =
            match tokio::time::timeout(limit, container.answer(action, call, arguments)).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome::timeout(action.timeout_ms, ""),
            };
        let run = begun.elapsed();
        let logs = container.logs(action.logs_mib());
        if outcome.container_lives {
            lock(&self.warm).entry(key).or_default().push(container);
        }
        Ran { outcome, init, run, waited, logs }
    }

    /// A container that is there already. A Node runtime that has died does not answer, and the invoker takes another
    /// container; the proxy of the others lives, and answers for the process that has died.
    fn warm(&self, action: &Action, key: &str) -> Option<Container> {
        let mut warm = lock(&self.warm);
        let containers = warm.get_mut(key)?;
        loop {
            let mut container = containers.pop()?;
            let is_alive = matches!(container.child.try_wait(), Ok(None));
            if is_alive || action.family() != "nodejs" {
                return Some(container);
            }
        }
    }

    async fn start(&self, action: &Action, id: &str) -> Result<Container, (String, Vec<String>)> {
        let internal = |text: String| (text, Vec::new());
        let directory = TempDir::new().map_err(|e| internal(e.to_string()))?;
        let at = directory.path().join("bin");
        let command = self.unpack(action, &at).await.map_err(internal)?;
        let [out, err] = log_files(directory.path());
        let mut shell = Command::new("/bin/sh");
        let is_node = action.family() == "nodejs";
        let redirected = if is_node { REDIRECTED_NODE } else { REDIRECTED };
        shell.arg("-c").arg(redirected).arg("sh").arg(&out).arg(&err).args(command);
        shell.current_dir(&at).env_clear().env("PYTHONIOENCODING", "UTF-8");
        shell.env("__OW_API_HOST", "http://127.0.0.1").env("__OW_WAIT_FOR_ACK", "1");
        shell.env("__OW_NAMESPACE", "guest").env("__OW_ACTIVATION_ID", id);
        shell.env("__OW_ACTION_NAME", format!("/guest/{}", action.full_name()));
        for parameter in action.parameters.iter().filter(|p| p["init"] == true) {
            let text = match &parameter["value"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            shell.env(parameter["key"].as_str().unwrap_or_default(), text);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = shell.spawn().map_err(|e| internal(e.to_string()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(internal("no pipes".into()));
        };
        let answers = BufReader::new(stdout);
        let mut container = Container { child, stdin, answers, directory, read: [0; 2] };
        let ready = container.line().await;
        let is_ok = serde_json::from_str::<Value>(&ready).is_ok_and(|ready| ready["ok"] == true);
        if is_ok {
            return Ok(container);
        }
        Err((
            "Cannot start action. Check logs for details.".into(),
            container.logs(action.logs_mib()),
        ))
    }

    /// Puts the code where its runtime looks for it; what is to be started.
    async fn unpack(&self, action: &Action, at: &Path) -> Result<Vec<OsString>, String> {
        let (single, launcher) = match action.family() {
            "python" => ("main__.py", PYTHON_LAUNCHER),
            "nodejs" => ("source.js", NODE_LAUNCHER),
            "go" => ("exec", ""),
            other => return Err(format!("the fake does not run {other}")),
        };
        let archive = || files(action, single).map_err(std::io::Error::other);
        action.unpacked.link_to(at, archive).map_err(|e| e.to_string())?;
        let family = action.family();
        if family == "go" {
            return Ok(vec![at.join("exec").into()]);
        }
        let file =
            at.with_file_name(if family == "python" { "launcher.py" } else { "launcher.js" });
        std::fs::write(&file, launcher).map_err(|e| e.to_string())?;
        Ok(vec![self.interpreter(family).await?, file.into(), action.main.clone().into()])
    }

    /// The interpreter's own path: what PATH has may be a script that needs the environment which functions lack.
    async fn interpreter(&self, family: &str) -> Result<OsString, String> {
        let (slot, program, arguments) = match family {
            "python" => {
                (&self.interpreters[0], "python3", ["-c", "import sys; print(sys.executable)"])
            }
            _ => (&self.interpreters[1], "node", ["-p", "process.execPath"]),
        };
        let path = slot
            .get_or_try_init(|| async {
                let output = Command::new(program).args(arguments).output().await;
                let output = output.map_err(|e| format!("{program}: {e}"))?;
                Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned().into())
            })
            .await?;
        Ok(path.clone())
    }
}

impl Container {
    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let _ = self.answers.read_until(b'\n', &mut line).await;
        String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()
    }

    async fn answer(&mut self, action: &Action, call: &Call, arguments: &RawValue) -> Outcome {
        let deadline = super::world::now_millis() + action.timeout_ms;
        let request = json!({"namespace": "guest", "activation_id": call.id,
            "action_name": format!("/guest/{}", action.full_name()), "action_version": action.version(),
            "transaction_id": call.transaction, "deadline": deadline.to_string()});
        let rest = request.to_string().split_off(1);
        let request = format!("{{\"value\":{},{rest}\n", arguments.get());
        let sent = self.stdin.write_all(request.as_bytes()).await;
        let line = if sent.is_ok() { self.line().await } else { String::new() };
        if action.family() != "nodejs" {
            // The proxy lives, and answers for the process that does not.
            return match line.as_str() {
                "" => Outcome::developer_error("command exited"),
                line => Outcome::of_action_loop(line),
            };
        }
        /// The outcome that the launcher has in place of an answer over HTTP.
        #[derive(Deserialize)]
        struct Answer {
            failure: Option<String>,
            result: Option<Box<RawValue>>,
        }
        match serde_json::from_str(&line) {
            Ok(Answer { failure: Some(text), .. }) => Outcome::developer_error(text),
            Ok(Answer { result: Some(result), .. }) => Outcome::of_line(result.get()),
            _ => self.died().await,
        }
    }

    /// The outcome of a runtime that has ended. One that was killed ran out of memory: nothing else kills it.
    async fn died(&mut self) -> Outcome {
        use std::os::unix::process::ExitStatusExt as _;
        // It may have closed its answers, and live on.
        match tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await {
            Ok(Ok(status)) if status.signal() == Some(9) => Outcome::out_of_memory(),
            _ => Outcome::died(),
        }
    }

    /// The lines printed since the last time, as the server writes them, up to the log limit. The rest is read with
    /// the next activation's.
    fn logs(&mut self, limit_mib: usize) -> Vec<String> {
        let files = log_files(self.directory.path());
        let now = humantime::format_rfc3339_nanos(std::time::SystemTime::now());
        let mut lines = Vec::new();
        let mut left = limit_mib << 20;
        for ((file, read), stream) in files.iter().zip(&mut self.read).zip(["stdout", "stderr"]) {
            let bytes = std::fs::read(file).unwrap_or_default();
            let new = bytes.get(*read..).unwrap_or_default();
            for line in new.split_inclusive(|byte| *byte == b'\n') {
                if left < line.len() + LINE_OVERHEAD {
                    lines.push(format!(
                        "Logs were truncated because the total bytes size exceeds the limit of {} bytes.",
                        limit_mib << 20
                    ));
                    return lines;
                }
                left -= line.len() + LINE_OVERHEAD;
                *read += line.len();
                // The mark of the end is appended to a line that has none, and lines with the mark are dropped.
                let Some(line) = line.strip_suffix(b"\n") else { continue };
                if line.windows(END_OF_LOG.len()).any(|part| part == END_OF_LOG) {
                    continue;
                }
                let parts =
                    if line.is_empty() { vec![line] } else { line.chunks(MAX_LINE).collect() };
                lines.extend(parts.into_iter().map(|part| {
                    format!("{:<30} {stream}: {}", now.to_string(), String::from_utf8_lossy(part))
                }));
            }
        }
        lines
    }
}

/// The files of an action, as its runtime lays them out; source has the name `single`.
fn files(action: &Action, single: &str) -> Result<Archive, String> {
    let text = |e: falco_core::Error| e.to_string();
    let code = if action.is_binary {
        let zip = BASE64.decode(action.code.trim()).map_err(|e| e.to_string())?;
        Code::Archive(zip.into())
    } else {
        Code::Source((*action.code).into())
    };
    // The check of the source, which comes before anything is started, takes no byte order mark.
    if !action.is_binary && action.family() == "python" && action.code.starts_with('\u{feff}') {
        return Err(NO_BINARY.into());
    }
    let mut archive = Archive::from_code(&code, single).map_err(text)?;
    if action.family() == "python" && action.is_binary {
        archive.rename("__main__.py", single).map_err(|_| NO_BINARY.to_owned())?;
    }
    if action.family() == "go" {
        archive.check_native().map_err(|_| NO_BINARY.to_owned())?;
        let made_for = archive.get("exec.env").map(|file| file.content.clone());
        if made_for.as_deref() != Some(NATIVE_ENVIRONMENT.as_bytes()) {
            return Err(NO_BINARY.into());
        }
    }
    Ok(archive)
}

fn log_files(directory: &Path) -> [std::path::PathBuf; 2] {
    ["stdout", "stderr"].map(|name| directory.join(name))
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<Containers>>();
};
