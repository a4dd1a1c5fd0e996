//! An execution environment: one process with a Runtime API of its own, which runs one event after the other.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::process::{self, Blueprint, LONGEST_START};
use super::runtime_api::{self, Answer, Event};

/// The call of a function.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    pub(super) body: bytes::Bytes,
    /// The client's context, as JSON; only of a caller that waits.
    pub(super) client: Option<String>,
}

/// How an invocation ended, and what Lambda reports of it.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) body: bytes::Bytes,
    pub(super) failed: bool,
    pub(super) log: String,
    pub(super) duration: Duration,
    pub(super) init: Option<Duration>,
    pub(super) stream: String,
}

/// The outcome of an event.
#[derive(Debug)]
pub(super) enum Fate {
    /// The function has answered, and the environment can run another event.
    Answered(Ran),
    /// The environment has ended with the event: a crash, a timeout.
    Ended(Ran),
    /// The environment has ended before it took the event: its start failed, or it ended while it was idle.
    NotTaken(Ran),
}

/// The longest log of one invocation that the fake keeps, in bytes; Lambda itself keeps everything.
const LONGEST_LOG: u64 = 4 << 20;

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

impl Environment {
    pub(super) async fn start(blueprint: &Blueprint, stream: String) -> std::io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (events, to_take) = mpsc::channel(1);
        let (to_answer, answers) = mpsc::channel(1);
        let server = runtime_api::serve(listener, to_take, to_answer);
        let log = directory.path().join("log");
        let began = Instant::now();
        let child = process::start(blueprint, directory.path(), &log, address, &stream)?;
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

    /// Runs one event.
    pub(super) async fn run(&mut self, id: &str, argument: Argument) -> Fate {
        // The connection of a process that has ended while it was idle may still look open.
        if self.started.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            return Fate::NotTaken(self.ran(Instant::now(), exited(id, Some(status)), true));
        }
        let (taken, is_taken) = oneshot::channel();
        let (id_of_event, deadline_ms) = (id.to_owned(), deadline(self.timeout));
        let Argument { body, client } = argument;
        let event = Event { id: id_of_event, body, client, deadline_ms, taken };
        let _ = self.events.send(event).await;
        // The time that starting takes is not the function's.
        let began = match self.wait_until_taken(id, is_taken).await {
            Ok(began) => began,
            Err(body) => {
                let began = self.started.unwrap_or_else(Instant::now);
                return Fate::NotTaken(self.ran(began, body, true));
            }
        };
        let init = self.started.take().map(|started| began.saturating_duration_since(started));
        let ended = timeout(self.timeout, async {
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => Ok(answer),
                status = self.child.wait() => Err(status.ok()),
            }
        })
        .await;
        match ended {
            Ok(Ok(Answer::Result(body))) => {
                Fate::Answered(Ran { init, ..self.ran(began, body, false) })
            }
            Ok(Ok(Answer::Error(body) | Answer::InitError(body))) => {
                Fate::Answered(Ran { init, ..self.ran(began, body, true) })
            }
            Ok(Err(status)) => {
                Fate::Ended(Ran { init, ..self.ran(began, exited(id, status), true) })
            }
            Err(_) => {
                let body = timed_out(id, self.timeout);
                Fate::Ended(Ran { init, ..self.ran(began, body, true) })
            }
        }
    }

    /// When the process took the event; or what the invocation is answered with if there is no other environment.
    async fn wait_until_taken(
        &mut self,
        id: &str,
        is_taken: oneshot::Receiver<Instant>,
    ) -> Result<Instant, bytes::Bytes> {
        let waited = timeout(LONGEST_START, async {
            tokio::select! {
                biased;
                Ok(at) = is_taken => Ok(at),
                Some(Answer::InitError(body)) = self.answers.recv() => Err(body),
                status = self.child.wait() => Err(exited(id, status.ok())),
            }
        })
        .await;
        match waited {
            // A process that reports its failure and ends has done both by now.
            Ok(Err(body)) => match self.answers.try_recv() {
                Ok(Answer::InitError(reported)) => Err(reported),
                _ => Err(body),
            },
            Ok(taken) => taken,
            Err(_) => Err(timed_out(id, LONGEST_START)),
        }
    }

    fn ran(&mut self, began: Instant, body: bytes::Bytes, failed: bool) -> Ran {
        let log = self.new_log();
        let stream = self.stream.clone();
        Ran { body, failed, log, duration: began.elapsed(), init: None, stream }
    }

    /// A file, unlike a pipe, holds all that was written before the answer was.
    fn new_log(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(&self.log)
            && file.seek(SeekFrom::Start(self.log_read)).is_ok()
            && file.by_ref().take(LONGEST_LOG).read_to_end(&mut bytes).is_ok()
            && let Ok(end) = file.seek(SeekFrom::End(0))
        {
            self.log_read = end;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.server.abort();
        process::kill(&self.child);
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
    json!({"errorType": "Runtime.ExitError", "errorMessage": message}).to_string().into()
}

fn timed_out(id: &str, timeout: Duration) -> bytes::Bytes {
    let seconds = timeout.as_secs_f64();
    let message = format!("RequestId: {id} Error: Task timed out after {seconds:.2} seconds");
    json!({"errorType": "Sandbox.Timedout", "errorMessage": message}).to_string().into()
}
