//! The Runtime API of one environment, which its process takes events from and answers to.

use std::sync::{Arc, Mutex as StdMutex};

use bytes::Bytes;
use falco_core::async_trait;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::http::{self, Provider, Reply, Request, lock};

/// Longest result that the Runtime API takes, in bytes.
const LONGEST_RESULT: usize = 6_291_556;

/// An event on its way to the process.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) body: Bytes,
    /// The client's context, as JSON; only of a caller that waits.
    pub(super) client: Option<String>,
    pub(super) deadline_ms: u128,
    /// Sent when the process takes it, before the function can know.
    pub(super) taken: oneshot::Sender<Instant>,
}

/// A message of the process.
#[derive(Debug)]
pub(super) enum Answer {
    Result(Bytes),
    Error(Bytes),
    /// The start failed. It ends the environment, and is the answer to no invocation.
    InitError(Bytes),
}

/// The next step that the process may take.
#[derive(Debug)]
enum Phase {
    Starting,
    Idle,
    /// It has the event with this id, and may answer once.
    Running(String),
}

#[derive(Debug)]
struct RuntimeApi {
    events: Mutex<mpsc::Receiver<Event>>,
    answers: mpsc::Sender<Answer>,
    phase: StdMutex<Phase>,
}

/// Serves until the task is aborted.
pub(super) fn serve(
    listener: TcpListener,
    events: mpsc::Receiver<Event>,
    answers: mpsc::Sender<Answer>,
) -> JoinHandle<()> {
    let phase = StdMutex::new(Phase::Starting);
    let api = Arc::new(RuntimeApi { events: Mutex::new(events), answers, phase });
    // It ends with the environment, which aborts it.
    tokio::spawn(http::serve(listener, api))
}

#[async_trait]
impl Provider for RuntimeApi {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        let path = request.path.trim_start_matches("/2018-06-01/runtime/");
        let parts: Vec<&str> = path.split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["invocation", "next"]) => self.next().await,
            (_, ["invocation", id, "response"]) if request.body.len() > LONGEST_RESULT => {
                match self.take(id, Answer::Error(too_large())).await {
                    Ok(()) => refused(413, "RequestEntityTooLarge"),
                    Err(refusal) => refusal,
                }
            }
            (_, ["invocation", id, "response"]) => {
                self.take(id, Answer::Result(request.body)).await.map_or_else(|e| e, accepted)
            }
            (_, ["invocation", id, "error"]) => {
                self.take(id, Answer::Error(request.body)).await.map_or_else(|e| e, accepted)
            }
            (_, ["init", "error"]) => {
                if !matches!(*lock(&self.phase), Phase::Starting) {
                    return refused(403, "InvalidStateTransition");
                }
                let _ = self.answers.send(Answer::InitError(request.body)).await;
                accepted(())
            }
            _ => refused(404, "NotFound"),
        }
    }
}

impl RuntimeApi {
    async fn next(&self) -> Reply {
        {
            let mut phase = lock(&self.phase);
            if matches!(*phase, Phase::Running(_)) {
                return refused(403, "InvalidStateTransition");
            }
            *phase = Phase::Idle;
        }
        let Some(event) = self.events.lock().await.recv().await else {
            return refused(500, "Environment.Ended");
        };
        *lock(&self.phase) = Phase::Running(event.id.clone());
        let _ = event.taken.send(Instant::now());
        let arn = "arn:aws:lambda:eu-central-1:123456789012:function:f";
        let reply = Reply::new(200, event.body)
            .with_header("Lambda-Runtime-Aws-Request-Id", &event.id)
            .with_header("Lambda-Runtime-Deadline-Ms", &event.deadline_ms.to_string())
            .with_header("Lambda-Runtime-Invoked-Function-Arn", arn)
            .with_header("Content-Type", "application/json");
        match event.client {
            Some(client) => reply.with_header("Lambda-Runtime-Client-Context", &client),
            None => reply,
        }
    }

    /// Takes the one answer to the invocation that is running, or refuses it.
    async fn take(&self, id: &str, answer: Answer) -> Result<(), Reply> {
        {
            let mut phase = lock(&self.phase);
            match &*phase {
                Phase::Running(running) if running == id => *phase = Phase::Idle,
                _ => return Err(refused(400, "InvalidRequestID")),
            }
        }
        let _ = self.answers.send(answer).await;
        Ok(())
    }
}

/// Lambda itself answers for a function whose result is too long.
fn too_large() -> Bytes {
    let message = format!(
        "Response payload size exceeded maximum allowed payload size ({LONGEST_RESULT} bytes)."
    );
    json!({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message})
        .to_string()
        .into()
}

fn accepted((): ()) -> Reply {
    Reply::new(202, r#"{"status":"OK"}"#)
}

fn refused(status: u16, error_type: &str) -> Reply {
    Reply::new(status, json!({"errorType": error_type, "errorMessage": error_type}).to_string())
}
