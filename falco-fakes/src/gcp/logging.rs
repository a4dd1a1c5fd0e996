//! Cloud Logging: what functions printed.

use serde_json::{Value, json};

use super::LOCATION;
use super::reply;
use super::world::World;
use crate::http::{Reply, Request};

/// A line that a function's process wrote to stdout, as an entry.
pub(super) fn store(world: &World, service: &str, line: &str) {
    let now = humantime::format_rfc3339_nanos(std::time::SystemTime::now());
    let mut entry = json!({
        "timestamp": now.to_string(),
        "logName": "projects/fake-project/logs/run.googleapis.com%2Fstdout",
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": service, "location": LOCATION}},
    });
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(mut fields)) => {
            for (special, name) in [
                ("severity", "severity"),
                ("logging.googleapis.com/trace", "trace"),
                ("logging.googleapis.com/labels", "labels"),
            ] {
                if let Some(value) = fields.remove(special) {
                    entry[name] = value;
                }
            }
            match (fields.len(), fields.get("message")) {
                (1, Some(Value::String(text))) => entry["textPayload"] = json!(text),
                _ => entry["jsonPayload"] = Value::Object(fields),
            }
        }
        _ => entry["textPayload"] = json!(line),
    }
    world.state().log.push(entry);
}

/// `POST /v2/entries:list`, as far as filters are conjunctions of comparisons.
pub(super) fn list(world: &World, seen: &Request) -> Reply {
    let body = seen.json();
    if body["resourceNames"].as_array().is_none_or(Vec::is_empty) {
        return reply::error(400, "INVALID_ARGUMENT", "resourceNames must be set");
    }
    let filter = body["filter"].as_str().unwrap_or_default();
    let state = world.state();
    let mut hits: Vec<&Value> = state
        .log
        .iter()
        .filter(|entry| filter.split(" AND ").all(|term| passes(entry, term)))
        .collect();
    if body["orderBy"] == "timestamp desc" {
        hits.reverse();
    }
    // An empty page in front, as it may be, a short one, and long ones.
    let Some(from) = body["pageToken"].as_str() else {
        return reply::ok(&json!({"nextPageToken": "0"}));
    };
    let from: usize = from.parse().unwrap();
    let next = if from == 0 { 7 } else { from + 1000 };
    let page: Vec<_> = hits.iter().take(next).skip(from).collect();
    let mut reply = json!({"entries": page});
    if next < hits.len() {
        reply["nextPageToken"] = json!(next.to_string());
    }
    reply::ok(&reply)
}

fn passes(entry: &Value, term: &str) -> bool {
    let field = |name: &str| name.split('.').fold(entry, |value, part| &value[part]);
    if let Some(name) = term.strip_suffix(":*") {
        return !field(name).is_null();
    }
    let (name, wanted) = match term.split_once(">=") {
        Some((name, since)) => return entry[name].as_str() >= Some(since.trim_matches('"')),
        None => term.split_once('=').expect("a comparison"),
    };
    let value = field(name);
    let wanted = wanted.trim_start_matches('(').trim_end_matches(')');
    wanted.split(" OR ").any(|wanted| value.as_str() == Some(wanted.trim_matches('"')))
}
