//! The Runtime API of one environment, which its process takes events from and answers to.

use std::sync::{Arc, Mutex as StdMutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lock;

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

/// What the process says.
#[derive(Debug)]
pub(super) enum Answer {
    Result(Bytes),
    Error(Bytes),
    /// The start failed. It ends the environment, and is the answer to no invocation.
    InitError(Bytes),
}

/// What the process may do next.
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
    let router = axum::Router::new().fallback(handle).with_state(api);
    tokio::spawn(async move {
        // It ends with the environment, which aborts it.
        let _ = axum::serve(listener, router).await;
    })
}

async fn handle(State(api): State<Arc<RuntimeApi>>, request: Request) -> Response<Body> {
    let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/").to_owned();
    let is_get = request.method() == "GET";
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match (is_get, parts.as_slice()) {
        (true, ["invocation", "next"]) => api.next().await,
        (false, ["invocation", id, "response"]) => {
            let too_long = body.len() > LONGEST_RESULT;
            let answer = if too_long { Answer::Error(too_large()) } else { Answer::Result(body) };
            match api.answer(id, answer).await {
                StatusCode::ACCEPTED if too_long => {
                    refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge")
                }
                StatusCode::ACCEPTED => accepted(),
                status => refused(status, "InvalidRequestID"),
            }
        }
        (false, ["invocation", id, "error"]) => match api.answer(id, Answer::Error(body)).await {
            StatusCode::ACCEPTED => accepted(),
            status => refused(status, "InvalidRequestID"),
        },
        (false, ["init", "error"]) => {
            if !matches!(*lock(&api.phase), Phase::Starting) {
                return refused(StatusCode::FORBIDDEN, "InvalidStateTransition");
            }
            let _ = api.answers.send(Answer::InitError(body)).await;
            accepted()
        }
        _ => refused(StatusCode::NOT_FOUND, "NotFound"),
    }
}

impl RuntimeApi {
    async fn next(&self) -> Response<Body> {
        {
            let mut phase = lock(&self.phase);
            if matches!(*phase, Phase::Running(_)) {
                return refused(StatusCode::FORBIDDEN, "InvalidStateTransition");
            }
            *phase = Phase::Idle;
        }
        let Some(event) = self.events.lock().await.recv().await else {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "Environment.Ended");
        };
        *lock(&self.phase) = Phase::Running(event.id.clone());
        let _ = event.taken.send(Instant::now());
        let reply = Response::builder()
            .header("Lambda-Runtime-Aws-Request-Id", event.id)
            .header("Lambda-Runtime-Deadline-Ms", event.deadline_ms.to_string())
            .header(
                "Lambda-Runtime-Invoked-Function-Arn",
                "arn:aws:lambda:eu-central-1:123456789012:function:f",
            )
            .header("Content-Type", "application/json");
        let reply = match event.client {
            Some(client) => reply.header("Lambda-Runtime-Client-Context", client),
            None => reply,
        };
        let reply = reply.body(Body::from(event.body));
        reply.unwrap_or_else(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "InvalidHeader"))
    }

    /// Takes the one answer to the invocation that is running.
    async fn answer(&self, id: &str, answer: Answer) -> StatusCode {
        {
            let mut phase = lock(&self.phase);
            match &*phase {
                Phase::Running(running) if running == id => *phase = Phase::Idle,
                _ => return StatusCode::BAD_REQUEST,
            }
        }
        let _ = self.answers.send(answer).await;
        StatusCode::ACCEPTED
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

fn accepted() -> Response<Body> {
    reply(StatusCode::ACCEPTED, r#"{"status":"OK"}"#.to_owned())
}

fn refused(status: StatusCode, error_type: &str) -> Response<Body> {
    reply(status, json!({"errorType": error_type, "errorMessage": error_type}).to_string())
}

fn reply(status: StatusCode, body: String) -> Response<Body> {
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = status;
    reply
}
