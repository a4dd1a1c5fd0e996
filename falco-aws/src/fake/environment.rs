//! An execution environment: the artefact that was deployed, unpacked and started as Lambda starts it, with a Runtime
//! API of its own to take events from.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use falco_package::Archive;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lock;

const PYTHON_RUNTIME: &str = include_str!("python_runtime.py");
const NODE_RUNTIME: &str = include_str!("node_runtime.cjs");

/// Longest result that the Runtime API takes.
const LONGEST_RESULT: usize = 6_291_556;

/// What starting may take.
const LONGEST_START: Duration = Duration::from_secs(30);

/// Held while an executable is written, and while a process is forked: a child holds all that is open until it has
/// started its program, and what somebody may still write into cannot be started ("text file busy").
static FORKING: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn is_busy(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ExecutableFileBusy
}

/// What an environment is started with.
#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    pub(super) function: String,
    pub(super) runtime: String,
    pub(super) handler: String,
    pub(super) zip: bytes::Bytes,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) memory_mib: u64,
    pub(super) timeout: Duration,
    /// Changes with code and configuration: older environments are not used again.
    pub(super) revision: u64,
}

/// How an invocation ended, and what Lambda tells of it.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) body: bytes::Bytes,
    pub(super) failed: bool,
    pub(super) log: String,
    pub(super) duration: Duration,
    pub(super) init: Option<Duration>,
    pub(super) stream: String,
}

/// One instance. Dropped, its processes are ended.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) revision: u64,
    stream: String,
    timeout: Duration,
    child: Child,
    events: mpsc::Sender<Event>,
    answers: mpsc::Receiver<Answer>,
    log: PathBuf,
    log_read: u64,
    /// When it was started, until it has taken its first event.
    started: Option<Instant>,
    server: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

#[derive(Debug)]
struct Event {
    id: String,
    body: bytes::Bytes,
    deadline_ms: u128,
    /// Told when it is taken, before the function can know.
    taken: oneshot::Sender<Instant>,
}

#[derive(Debug)]
enum Answer {
    Result(bytes::Bytes),
    Error(bytes::Bytes),
}

impl Environment {
    pub(super) async fn start(blueprint: &Blueprint, stream: String) -> std::io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let task_root = directory.path().join("task");
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (events, to_take) = mpsc::channel(1);
        let (to_answer, answers) = mpsc::channel(1);
        let api = RuntimeApi { events: Mutex::new(to_take), answers: to_answer };
        let router = axum::Router::new().fallback(serve).with_state(Arc::new(api));
        let server = tokio::spawn(async move {
            // It ends with the environment, which aborts it.
            let _ = axum::serve(listener, router).await;
        });
        let log = directory.path().join("log");
        let began = Instant::now();
        {
            let _alone = lock(&FORKING);
            unpack(&blueprint.zip, &task_root)?;
        }
        let child = loop {
            let spawned = {
                let _alone = lock(&FORKING);
                spawn(blueprint, directory.path(), &task_root, &log, address, &stream)
            };
            match spawned {
                // Whoever else has forked meanwhile will have started its program soon.
                Err(error) if is_busy(&error) && began.elapsed() < LONGEST_START => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                spawned => break spawned?,
            }
        };
        Ok(Self {
            revision: blueprint.revision,
            stream,
            timeout: blueprint.timeout,
            child,
            events,
            answers,
            log,
            log_read: 0,
            started: Some(began),
            server,
            _directory: directory,
        })
    }

    /// Runs one event; false behind it when the environment is of no use any more.
    pub(super) async fn run(&mut self, id: &str, body: bytes::Bytes) -> (Ran, bool) {
        let (taken, is_taken) = oneshot::channel();
        let event = Event { id: id.to_owned(), body, deadline_ms: deadline(self.timeout), taken };
        // The time that starting takes is not the function's.
        let _ = self.events.send(event).await;
        let taken = tokio::time::timeout(LONGEST_START, async {
            tokio::select! {
                at = is_taken => at.ok(),
                _ = self.child.wait() => None,
            }
        })
        .await;
        let began = taken.ok().flatten().unwrap_or_else(Instant::now);
        let init = self.started.take().map(|started| began.saturating_duration_since(started));
        let ended = tokio::time::timeout(self.timeout, async {
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => Ok(answer),
                status = self.child.wait() => Err(status.ok()),
            }
        })
        .await;
        let (body, failed, usable) = match ended {
            Ok(Ok(Answer::Result(body))) => (body, false, true),
            Ok(Ok(Answer::Error(body))) => (body, true, true),
            Ok(Err(status)) => (exited(id, status), true, false),
            Err(_) => (timed_out(id, self.timeout), true, false),
        };
        let ran = Ran {
            body,
            failed,
            log: self.new_log(),
            duration: began.elapsed(),
            init,
            stream: self.stream.clone(),
        };
        (ran, usable)
    }

    /// A file, unlike a pipe, holds all that was written before the answer was.
    fn new_log(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(&self.log)
            && file.seek(SeekFrom::Start(self.log_read)).is_ok()
            && let Ok(read) = file.read_to_end(&mut bytes)
        {
            self.log_read += read as u64;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(id) = self.child.id() {
            let _alone = lock(&FORKING);
            // The group: the bootstrap of a native function has a child.
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{id}")])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn deadline(timeout: Duration) -> u128 {
    let end = std::time::SystemTime::now() + timeout;
    end.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis()
}

fn exited(id: &str, status: Option<ExitStatus>) -> bytes::Bytes {
    use std::os::unix::process::ExitStatusExt as _;
    let how = match (status.and_then(|s| s.code()), status.and_then(|s| s.signal())) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal: killed".to_owned(),
        (None, signal) => format!("signal: {}", signal.unwrap_or_default()),
    };
    let message = format!("RequestId: {id} Error: Runtime exited with error: {how}");
    serde_json::json!({"errorType": "Runtime.ExitError", "errorMessage": message})
        .to_string()
        .into()
}

fn timed_out(id: &str, timeout: Duration) -> bytes::Bytes {
    let seconds = timeout.as_secs_f64();
    let message = format!("RequestId: {id} Error: Task timed out after {seconds:.2} seconds");
    serde_json::json!({"errorType": "Sandbox.Timedout", "errorMessage": message}).to_string().into()
}

fn unpack(zip: &[u8], root: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let archive = Archive::from_zip(zip).map_err(std::io::Error::other)?;
    for (path, file) in archive.files() {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &file.content)?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn spawn(
    blueprint: &Blueprint,
    directory: &Path,
    task_root: &Path,
    log: &Path,
    api: SocketAddr,
    stream: &str,
) -> std::io::Result<Child> {
    let (program, script) = match blueprint.runtime.as_str() {
        name if name.starts_with("python") => {
            let script = directory.join("runtime.py");
            std::fs::write(&script, PYTHON_RUNTIME)?;
            ("python3".to_owned(), Some(script))
        }
        name if name.starts_with("nodejs") => {
            let script = directory.join("runtime.cjs");
            std::fs::write(&script, NODE_RUNTIME)?;
            ("node".to_owned(), Some(script))
        }
        _ => (task_root.join("bootstrap").display().to_string(), None),
    };
    let output = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command
        .args(script)
        .env_clear()
        .envs(
            ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))),
        )
        // What a killed function leaves behind goes with its environment.
        .env("TMPDIR", directory)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONIOENCODING", "utf-8")
        .env("AWS_LAMBDA_RUNTIME_API", api.to_string())
        .env("_HANDLER", &blueprint.handler)
        .env("LAMBDA_TASK_ROOT", task_root)
        .env("AWS_LAMBDA_FUNCTION_NAME", &blueprint.function)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", blueprint.memory_mib.to_string())
        .env("AWS_LAMBDA_LOG_STREAM_NAME", stream)
        .envs(&blueprint.variables)
        .current_dir(task_root)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .kill_on_drop(true);
    command.spawn()
}

/// What the process in the environment speaks to.
#[derive(Debug)]
struct RuntimeApi {
    events: Mutex<mpsc::Receiver<Event>>,
    answers: mpsc::Sender<Answer>,
}

async fn serve(State(api): State<Arc<RuntimeApi>>, request: Request) -> Response<Body> {
    let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/").to_owned();
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap_or_default();
    match path.rsplit('/').next().unwrap_or_default() {
        "next" => {
            let Some(event) = api.events.lock().await.recv().await else {
                return plain(StatusCode::INTERNAL_SERVER_ERROR);
            };
            let _ = event.taken.send(Instant::now());
            let reply = Response::builder()
                .header("Lambda-Runtime-Aws-Request-Id", event.id)
                .header("Lambda-Runtime-Deadline-Ms", event.deadline_ms.to_string())
                .header("Content-Type", "application/json")
                .body(Body::from(event.body));
            reply.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
        }
        "response" if body.len() > LONGEST_RESULT => plain(StatusCode::PAYLOAD_TOO_LARGE),
        "response" => accept(&api, Answer::Result(body)).await,
        "error" => accept(&api, Answer::Error(body)).await,
        _ => plain(StatusCode::NOT_FOUND),
    }
}

async fn accept(api: &RuntimeApi, answer: Answer) -> Response<Body> {
    let _ = api.answers.send(answer).await;
    plain(StatusCode::ACCEPTED)
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut reply = Response::new(Body::from(Bytes::from_static(b"{\"status\":\"OK\"}")));
    *reply.status_mut() = status;
    reply
}
