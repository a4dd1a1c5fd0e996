//! The state of the fake: actions, records, and the throttles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::unpacked::Unpacked;

/// The state of a fake.
#[derive(Default)]
pub(super) struct World {
    actions: BTreeMap<String, Action>,
    /// By start, newest last; the number keeps those of one millisecond apart.
    records: BTreeMap<(u64, u64), Stored>,
    by_id: BTreeMap<String, (u64, u64)>,
    activations: u64,
    revisions: u64,
    in_flight: u32,
    most_in_flight: u32,
    minute: u64,
    in_minute: u32,
    pub(super) collecting_requests: u64,
}

/// An action.
#[derive(Clone)]
pub(super) struct Action {
    pub(super) package: Option<String>,
    pub(super) name: String,
    pub(super) patch: u64,
    pub(super) kind: String,
    /// The image of a `blackbox`.
    pub(super) image: Option<String>,
    pub(super) code: Arc<str>,
    /// Whether the code is base64. It is looked at once: code of 50 MB takes a while.
    pub(super) is_binary: bool,
    /// The files of the code, for the containers.
    pub(super) unpacked: Unpacked,
    pub(super) main: String,
    pub(super) timeout_ms: u64,
    pub(super) memory_mib: u64,
    pub(super) logs_mib: u64,
    pub(super) concurrency: u64,
    pub(super) parameters: Vec<Value>,
    pub(super) annotations: BTreeMap<String, Value>,
    pub(super) updated: u64,
    /// The number of the write of an action; a change that was made from another one is refused.
    pub(super) revision: u64,
}

/// The record of an activation, as it is stored and shown.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) activation_id: String,
    pub(super) namespace: &'static str,
    pub(super) name: String,
    pub(super) subject: &'static str,
    pub(super) version: String,
    pub(super) publish: bool,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) duration: u64,
    pub(super) response: Response,
    pub(super) logs: Vec<String>,
    pub(super) annotations: Vec<Value>,
}

/// How an activation ended.
#[derive(Clone, Serialize)]
pub(super) struct Response {
    pub(super) result: Box<RawValue>,
    pub(super) status: &'static str,
    pub(super) success: bool,
}

/// A record, and when it can be seen.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) record: Record,
    pub(super) by_id_from: Instant,
    pub(super) in_list_from: Instant,
}

/// The query of a list.
pub(super) struct Listing {
    pub(super) name: Option<String>,
    pub(super) since: u64,
    pub(super) upto: u64,
    pub(super) limit: usize,
    pub(super) skip: usize,
}

impl Action {
    pub(super) fn version(&self) -> String {
        format!("0.0.{}", self.patch)
    }

    /// The family of runtimes that it runs in. The image of a `blackbox` says it by its name, as `me/action-python:1` does.
    pub(super) fn family(&self) -> &str {
        let image = self.image.as_deref().filter(|_| self.kind == "blackbox");
        match image {
            Some(image) if image.contains("python") => "python",
            Some(image) if image.contains("nodejs") => "nodejs",
            Some(image) if image.contains("golang") => "go",
            _ => self.kind.split(':').next().unwrap_or_default(),
        }
    }

    /// `pkg/name`, or the name alone.
    pub(super) fn full_name(&self) -> String {
        match &self.package {
            Some(package) => format!("{package}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Sets the code. The server decides by its look whether it is base64 (contract, 2.2).
    pub(super) fn set_code(&mut self, code: &str) {
        self.code = code.into();
        self.unpacked = Unpacked::default();
        let code = code.trim();
        // The decoder is optimized also in tests, and takes nothing but what looks so.
        self.is_binary = BASE64.decode(code).is_ok()
            || code.len().is_multiple_of(4)
                && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    }

    pub(super) fn logs_mib(&self) -> usize {
        usize::try_from(self.logs_mib).unwrap_or(usize::MAX)
    }

    pub(super) fn limits(&self) -> Value {
        json!({"timeout": self.timeout_ms, "memory": self.memory_mib, "logs": self.logs_mib,
               "concurrency": self.concurrency})
    }

    pub(super) fn to_json(&self, with_code: bool) -> Value {
        let namespace = match &self.package {
            Some(package) => format!("guest/{package}"),
            None => "guest".into(),
        };
        let mut exec = json!({"kind": self.kind, "binary": self.is_binary, "main": self.main});
        if let Some(image) = &self.image {
            exec["image"] = image.clone().into();
        }
        if with_code {
            exec["code"] = (*self.code).into();
        }
        let annotations: Vec<Value> = self
            .annotations
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        json!({"namespace": namespace, "name": self.name, "version": self.version(), "publish": false,
               "updated": self.updated, "exec": exec, "parameters": self.parameters,
               "limits": self.limits(), "annotations": annotations})
    }

    /// As lists show it: without code and parameters, and with the kind as an annotation only.
    pub(super) fn to_brief_json(&self) -> Value {
        let mut brief = self.to_json(false);
        if let Some(fields) = brief.as_object_mut() {
            fields.remove("parameters");
            fields.insert("exec".into(), json!({"binary": self.is_binary}));
        }
        brief
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn action(&self, name: &str) -> Option<&Action> {
        self.actions.get(name)
    }

    /// The revision of an action, if it is there.
    pub(super) fn revision(&self, name: &str) -> Option<u64> {
        self.actions.get(name).map(|action| action.revision)
    }

    pub(super) fn put(&mut self, mut action: Action) {
        self.revisions += 1;
        action.revision = self.revisions;
        self.actions.insert(action.full_name(), action);
    }

    pub(super) fn delete(&mut self, name: &str) -> Option<Action> {
        self.actions.remove(name)
    }

    pub(super) fn action_names(&self) -> Vec<String> {
        self.actions.keys().cloned().collect()
    }

    /// The actions, newest first.
    pub(super) fn actions(&self) -> Vec<&Action> {
        let mut actions: Vec<_> = self.actions.values().collect();
        actions.sort_by_key(|action| std::cmp::Reverse(action.updated));
        actions
    }

    /// Counts an invocation; the text of the refusal when it is one too many.
    pub(super) fn throttle(
        &mut self,
        per_minute: u32,
        at_once: u32,
        minute: Duration,
    ) -> Result<(), (String, bool)> {
        let now =
            u64::try_from(minute.as_millis()).map_or(0, |length| now_millis() / length.max(1));
        if now != self.minute {
            (self.minute, self.in_minute) = (now, 0);
        }
        self.in_minute += 1;
        if self.in_minute > per_minute {
            let count = self.in_minute;
            let text = format!(
                "Too many requests in the last minute (count: {count}, allowed: {per_minute})."
            );
            return Err((text, true));
        }
        if self.in_flight >= at_once {
            let count = self.in_flight;
            let text = format!(
                "Too many concurrent requests in flight (count: {count}, allowed: {at_once})."
            );
            return Err((text, false));
        }
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        Ok(())
    }

    pub(super) fn acknowledge(&mut self) {
        self.in_flight -= 1;
    }

    /// The number of a new activation, from 1.
    pub(super) fn next_activation(&mut self) -> u64 {
        self.activations += 1;
        self.activations
    }

    pub(super) fn started(&self) -> u64 {
        self.activations
    }

    pub(super) fn most_in_flight(&self) -> u32 {
        self.most_in_flight
    }

    pub(super) fn store(&mut self, number: u64, id: String, start: u64, stored: Stored) {
        self.by_id.insert(id, (start, number));
        self.records.insert((start, number), stored);
    }

    pub(super) fn record(&self, id: &str) -> Option<&Record> {
        let stored = self.records.get(self.by_id.get(id)?)?;
        (stored.by_id_from <= Instant::now()).then_some(&stored.record)
    }

    /// The records that the list shows, the latest start first.
    pub(super) fn list(&self, listing: &Listing) -> impl Iterator<Item = &Record> {
        let now = Instant::now();
        self.records
            .range((listing.since, 0)..=(listing.upto, u64::MAX))
            .rev()
            .map(|(_, stored)| stored)
            .filter(move |stored| stored.in_list_from <= now)
            .filter(|stored| listing.name.as_ref().is_none_or(|name| *name == stored.name))
            .skip(listing.skip)
            .take(listing.limit)
            .map(|stored| &stored.record)
    }
}

pub(super) fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}
