//! The resources of the fake.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::environment::Environment;
use super::process::Blueprint;
use super::{FakeBill, FakeSettings};
use crate::http::lock;
use crate::unpacked::Unpacked;

pub(super) const ACCOUNT: &str = "123456789012";

/// In the ARNs of roles that are there without having been created, and may do anything.
pub(super) const GIVEN_ROLE: &str = "role/given";

/// The roles of an account, by name: IAM has them once for all regions, and each name once for all paths.
pub(super) type Roles = Arc<Mutex<BTreeMap<String, Role>>>;

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) settings: FakeSettings,
    /// The region of everything but the roles.
    pub(super) region: String,
    pub(super) functions: BTreeMap<String, Function>,
    pub(super) roles: Roles,
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) logs: BTreeMap<String, Vec<LogEntry>>,
    pub(super) objects: BTreeMap<(String, String), Bytes>,
    pub(super) running: u32,
    pub(super) bills: Vec<FakeBill>,
    pub(super) events: u64,
    /// Logs that came later than the answer.
    pub(super) late_logs: u64,
    pub(super) next_id: u64,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) configuration: Value,
    pub(super) zip: Bytes,
    /// The files of it, for the environments.
    pub(super) unpacked: Unpacked,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) reserved: Option<u64>,
    pub(super) event_config: Option<Value>,
    /// Looks at it that still say `Pending`, or `InProgress`.
    pub(super) pending: u32,
    pub(super) updating: u32,
    /// The reason that the last change failed with.
    pub(super) failure: Option<String>,
    pub(super) revision: u64,
    pub(super) idle: Vec<Environment>,
}

#[derive(Debug, Default)]
pub(super) struct Role {
    pub(super) path: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) inline: BTreeMap<String, String>,
    /// Uses of it that are still refused, as if IAM did not know it everywhere.
    pub(super) unknown_for: u32,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) attributes: Value,
    pub(super) tags: Value,
    pub(super) messages: Vec<QueuedMessage>,
}

#[derive(Debug)]
pub(super) struct QueuedMessage {
    pub(super) id: u64,
    pub(super) body: String,
    /// Its receipt handle, which each delivery changes.
    pub(super) receipt: u64,
    pub(super) visible_at: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct LogEntry {
    pub(super) stream: String,
    pub(super) timestamp: u64,
    pub(super) message: String,
}

impl World {
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn request_id(&mut self) -> String {
        format!("{:08x}-0000-4000-8000-{:012x}", self.next_id(), self.next_id)
    }

    pub(super) fn push_message(&mut self, queue: &str, body: String) {
        let id = self.next_id();
        if let Some(queue) = self.queues.get_mut(queue) {
            let visible_at = Instant::now();
            queue.messages.push(QueuedMessage { id, body, receipt: 0, visible_at });
        }
    }

    /// Writes lines into a function's log, as far as the role that it ran in allows.
    ///
    /// Lambda creates a group that is missing, also one that was deleted a moment ago.
    pub(super) fn log(&mut self, function: &str, role: &str, stream: &str, messages: Vec<String>) {
        let group = format!("/aws/lambda/{function}");
        let region = &self.region;
        let resource = format!("arn:aws:logs:{region}:{ACCOUNT}:log-group:{group}:log-stream:s");
        let allows = |action: &str| self.allows(role, action, &resource);
        if !allows("logs:CreateLogStream") || !allows("logs:PutLogEvents") {
            return;
        }
        if !self.logs.contains_key(&group) && !allows("logs:CreateLogGroup") {
            return;
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let timestamp = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0);
        let entries = messages.into_iter().map(|message| LogEntry {
            stream: stream.to_owned(),
            timestamp,
            message,
        });
        self.logs.entry(group).or_default().extend(entries);
    }

    /// Whether the policies of a role allow `action` on `resource`. A role that a test was given may do anything.
    pub(super) fn allows(&self, role: &str, action: &str, resource: &str) -> bool {
        if role.contains(GIVEN_ROLE) {
            return true;
        }
        let name = role.rsplit('/').next().unwrap_or_default();
        let roles = lock(&self.roles);
        let Some(role) = roles.get(name) else { return false };
        let statements = role.inline.values().flat_map(|document| {
            let document: Value = serde_json::from_str(document).unwrap_or_default();
            document["Statement"].as_array().cloned().unwrap_or_default()
        });
        let has = |value: &Value, wanted: &str| match value {
            Value::Array(values) => values.iter().any(|value| value == wanted),
            value => value == wanted,
        };
        statements.into_iter().any(|statement| {
            let pattern = statement["Resource"].as_str().unwrap_or_default();
            let is_on_it = match pattern.strip_suffix('*') {
                Some(start) => resource.starts_with(start),
                None => resource == pattern,
            };
            is_on_it && statement["Effect"] == "Allow" && has(&statement["Action"], action)
        })
    }

    /// The leftovers, in words.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        left.extend(self.functions.keys().map(|name| format!("function {name}")));
        left.extend(lock(&self.roles).keys().map(|name| format!("role {name}")));
        left.extend(self.queues.keys().map(|name| format!("queue {name}")));
        left.extend(self.logs.keys().map(|name| format!("log group {name}")));
        left.extend(self.objects.keys().map(|(bucket, key)| format!("s3://{bucket}/{key}")));
        left
    }
}

impl Function {
    pub(super) fn text(&self, member: &str) -> String {
        self.configuration[member].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn number(&self, member: &str) -> u64 {
        self.configuration[member].as_u64().unwrap_or_default()
    }

    pub(super) fn blueprint(&self, runtimes: Option<PathBuf>) -> Blueprint {
        let variables = self.configuration["Environment"]["Variables"].as_object();
        let variables = variables
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        Blueprint {
            function: self.text("FunctionName"),
            region: self.text("FunctionArn").split(':').nth(3).unwrap_or_default().to_owned(),
            runtime: self.text("Runtime"),
            handler: self.text("Handler"),
            zip: self.zip.clone(),
            unpacked: self.unpacked.clone(),
            variables: variables.collect(),
            memory_mib: self.number("MemorySize"),
            timeout: std::time::Duration::from_secs(self.number("Timeout")),
            revision: self.revision,
            runtimes,
        }
    }
}
