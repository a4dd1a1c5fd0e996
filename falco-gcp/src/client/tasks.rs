//! Cloud Tasks: a queue, and one task per submitted call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use falco_core::{ErrorKind, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, json};

use super::functions::paged;
use super::{Api, Call, segment};
use crate::refusal;

/// One call that a queue shall make.
pub(crate) struct Task<'a> {
    pub(crate) id: &'a str,
    pub(crate) function: &'a str,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: &'a [u8],
    /// The service account that calls; none for a public function.
    pub(crate) caller: Option<&'a str>,
    pub(crate) audience: &'a str,
    /// How long the queue waits for the answer, in seconds.
    pub(crate) deadline: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    tasks: Vec<Named>,
    next_page_token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
}

impl Api {
    pub(crate) fn queue_name(&self, queue: &str) -> String {
        format!("{}/queues/{queue}", self.parent())
    }

    fn tasks_call<'a>(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Call<'a>> {
        Call::new(operation, method, &self.endpoints.tasks, &format!("v2/{path}"))
    }

    /// Makes the queue unless it is there. Says whether it is new.
    pub(crate) async fn ensure_queue(&self, queue: &str, attempts: u32) -> Result<bool> {
        let name = self.queue_name(queue);
        match self.call(self.tasks_call("deploy", Method::GET, &name)?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other.map(|_| false),
        }
        let body = json!({
            "name": name,
            "rateLimits": {"maxDispatchesPerSecond": 500, "maxConcurrentDispatches": 1000},
            "retryConfig": {"maxAttempts": attempts, "minBackoff": "1s", "maxBackoff": "60s", "maxDoublings": 5},
        });
        let path = format!("{}/queues", self.parent());
        let created = self.call(self.tasks_call("deploy", Method::POST, &path)?.json(&body)?).await;
        match created {
            Err(error) if refusal::is_already_there(&error) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Other => Err(error.with_hint(format!(
                "a queue's name is blocked for days after it was deleted: name another one instead of {queue:?}"
            ))),
            other => other.map(|_| true),
        }
    }

    pub(crate) async fn create_task(&self, queue: &str, task: &Task<'_>) -> Result<()> {
        let queue = self.queue_name(queue);
        let headers: Map<_, _> =
            task.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut request = json!({
            "url": task.url,
            "httpMethod": "POST",
            "headers": headers,
            "body": STANDARD.encode(task.body),
        });
        if let Some(caller) = task.caller {
            request["oidcToken"] =
                json!({"serviceAccountEmail": caller, "audience": task.audience});
        }
        let body = json!({
            "task": {
                "name": format!("{queue}/tasks/{}", task.id),
                "dispatchDeadline": format!("{}s", task.deadline),
                "httpRequest": request,
            },
            "responseView": "BASIC",
        });
        let call = self.tasks_call("submit", Method::POST, &format!("{queue}/tasks"))?;
        self.call(call.about(task.function).starting_a_function().json(&body)?).await.map(|_| ())
    }

    /// Takes a task out of the queue, if it is still there.
    pub(crate) async fn delete_task(
        &self,
        operation: &'static str,
        queue: &str,
        id: &str,
    ) -> Result<()> {
        let path = format!("{}/tasks/{}", self.queue_name(queue), segment(id));
        match self.call(self.tasks_call(operation, Method::DELETE, &path)?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// The ids of the tasks in the queue that have not been done.
    pub(crate) async fn list_tasks(
        &self,
        operation: &'static str,
        queue: &str,
    ) -> Result<Vec<String>> {
        let path = format!("{}/tasks", self.queue_name(queue));
        let mut ids = Vec::new();
        let mut token = String::new();
        loop {
            let call =
                self.tasks_call(operation, Method::GET, &path)?.query(&[("pageSize", "1000")]);
            let page: Page = self.fetch(paged(call, &token)).await?;
            let id = |task: Named| task.name.rsplit('/').next().map(str::to_owned);
            ids.extend(page.tasks.into_iter().filter_map(id));
            if page.next_page_token.is_empty() || page.next_page_token == token {
                return Ok(ids);
            }
            token = page.next_page_token;
        }
    }
}
