//! Cloud Tasks: queues that call functions.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::reply;
use super::world::{Queue, World};
use super::{front, tokens};
use crate::http::{Reply, Request};

/// A task is at most so long.
const MAX_TASK: usize = 100 * 1024;

pub(super) fn serve(world: &Arc<World>, seen: &Request, rest: &[&str]) -> Reply {
    match (&*seen.method, rest) {
        ("POST", []) => {
            let body = seen.json();
            let Some(id) = body["name"].as_str().and_then(|name| name.rsplit('/').next()) else {
                return reply::error(400, "INVALID_ARGUMENT", "Queue name must be set");
            };
            let mut state = world.state();
            if state.queues.contains_key(id) {
                return reply::error(409, "ALREADY_EXISTS", "Queue already exists");
            }
            let max_attempts = body["retryConfig"]["maxAttempts"].as_u64().unwrap_or(100) as u32;
            state.queues.insert(id.to_owned(), Queue { max_attempts, ..Queue::default() });
            reply::ok(&body)
        }
        ("GET", [queue]) => match world.state().queues.contains_key(*queue) {
            true => reply::ok(&json!({"name": queue, "state": "RUNNING"})),
            false => reply::not_found(queue),
        },
        ("POST", [queue, "tasks"]) => create(world, seen, queue),
        ("GET", [queue, "tasks"]) => match world.state().queues.get(*queue) {
            Some(known) if known.tasks.is_empty() => reply::ok(&json!({})),
            Some(known) => reply::ok(&json!({"tasks": known.tasks.values().collect::<Vec<_>>()})),
            None => reply::not_found(queue),
        },
        ("DELETE", [queue, "tasks", task]) => {
            let removed =
                world.state().queues.get_mut(*queue).and_then(|known| known.tasks.remove(*task));
            match removed {
                Some(_) => reply::ok(&json!({})),
                None => reply::not_found(task),
            }
        }
        _ => reply::html(404, "Not Found"),
    }
}

fn create(world: &Arc<World>, seen: &Request, queue: &str) -> Reply {
    if seen.body.len() > MAX_TASK {
        return reply::error(400, "INVALID_ARGUMENT", "Task size too large");
    }
    let task = seen.json()["task"].clone();
    let Some(name) =
        task["name"].as_str().and_then(|name| name.rsplit('/').next()).map(str::to_owned)
    else {
        return reply::error(400, "INVALID_ARGUMENT", "the request has no task with a name");
    };
    {
        let mut state = world.state();
        if state.queue_refusals > 0 {
            state.queue_refusals -= 1;
            return reply::error(400, "FAILED_PRECONDITION", "The queue is not ready yet");
        }
        if !state.queues.contains_key(queue) {
            return reply::not_found(queue);
        }
        if !state.task_tombstones.insert(name.clone()) {
            return reply::error(
                409,
                "ALREADY_EXISTS",
                "The task cannot be created because a task with this name existed",
            );
        }
        state.queues.get_mut(queue).unwrap().tasks.insert(name.clone(), task.clone());
    }
    tokio::spawn(dispatch(Arc::clone(world), queue.to_owned(), name, task.clone()));
    reply::ok(&task)
}

/// Calls until a 2xx, or often enough. The body of the answer is thrown away.
async fn dispatch(world: Arc<World>, queue: String, name: String, task: Value) {
    for attempt in 0.. {
        let attempts = match world.state().queues.get(&queue) {
            Some(known) if known.tasks.contains_key(&name) => known.max_attempts,
            _ => return,
        };
        if attempt >= attempts {
            break;
        }
        if call(&world, &task, attempt).await.is_some_and(|status| (200..300).contains(&status)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Some(known) = world.state().queues.get_mut(&queue) {
        known.tasks.remove(&name);
    }
}

async fn call(world: &Arc<World>, task: &Value, attempt: u32) -> Option<u16> {
    let request = &task["httpRequest"];
    let path = request["url"].as_str()?.strip_prefix(world.front())?.to_owned();
    let mut headers = HeaderMap::new();
    for (name, value) in request["headers"].as_object()? {
        let name = axum::http::HeaderName::try_from(name.as_str()).ok()?;
        headers.insert(name, value.as_str()?.parse().ok()?);
    }
    headers.insert("x-cloudtasks-taskretrycount", attempt.into());
    if let Some(email) = request["oidcToken"]["serviceAccountEmail"].as_str() {
        let token = tokens::id_token(world, email, request["oidcToken"]["audience"].as_str()?);
        headers.insert("authorization", format!("Bearer {token}").parse().ok()?);
    }
    let body = STANDARD.decode(request["body"].as_str()?).ok()?;
    headers.insert("content-length", body.len().into());
    let seen = Request::new("POST", &path, headers, body);
    let seconds = task["dispatchDeadline"].as_str()?.strip_suffix('s')?.parse().ok()?;
    let deadline = Duration::from_secs(seconds);
    let answer = async {
        let strike = world.faults.strike(&seen.line());
        if strike.as_ref().is_some_and(|strike| !strike.after) {
            return strike.map_or(503, |strike| strike.status());
        }
        let status = front::serve(world, &seen).await.status;
        strike.map_or(status, |strike| strike.status())
    };
    tokio::time::timeout(deadline, answer).await.ok()
}
