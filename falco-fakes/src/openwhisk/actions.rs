//! Actions: put, get, list, delete.

use std::collections::BTreeMap;

use falco_http::reqwest::StatusCode;
use serde_json::Value;

use super::Shared;
use super::answers::{
    Query, concurrent_modification, json_answer, malformed, malformed_text, not_found, page,
    refuse, value_answer,
};
use super::world::{Action, now_millis};
use crate::http::{Reply, lock};
use crate::unpacked::Unpacked;

const MAX_CODE: usize = 48 << 20;

pub(super) async fn put(shared: &Shared, name: &[&str], query: &Query, body: &[u8]) -> Reply {
    let full_name = name.join("/");
    let existing = lock(&shared.world).action(&full_name).cloned();
    let read = existing.as_ref().map(|action| action.revision);
    let action = match changed(shared, name, query, body, existing) {
        Ok(action) => action,
        Err((status, text)) => return refuse(status, &text),
    };
    tokio::time::sleep(shared.settings().write_lag).await;
    let mut world = lock(&shared.world);
    if world.revision(&full_name) != read {
        return concurrent_modification();
    }
    let echo = action.to_json(true);
    world.put(action);
    value_answer(StatusCode::OK, &echo)
}

/// The action after a PUT, if it is not refused.
fn changed(
    shared: &Shared,
    name: &[&str],
    query: &Query,
    body: &[u8],
    existing: Option<Action>,
) -> Result<Action, (StatusCode, String)> {
    let malformed = |detail: &str| (StatusCode::BAD_REQUEST, malformed_text(detail));
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else {
        return Err(malformed("Expected an action"));
    };
    let body = Value::Object(body);
    if existing.is_some() && query.get("overwrite").map(String::as_str) != Some("true") {
        return Err((StatusCode::CONFLICT, "resource already exists".into()));
    }
    let exec = body.get("exec");
    let mut action = match existing {
        Some(action) => Action { patch: action.patch + 1, ..action },
        None if exec.is_none() => {
            return Err((StatusCode::BAD_REQUEST, "exec undefined".into()));
        }
        None => new_action(name),
    };
    if let Some(exec) = exec {
        let is_blackbox = exec["kind"] == "blackbox";
        let code = match exec["code"].as_str() {
            Some(code) => code,
            None if is_blackbox => "",
            None => {
                return Err(malformed(
                    "'code' must be a string or attachment object defined in 'exec'",
                ));
            }
        };
        if code.len() > MAX_CODE {
            let text = format!("exec larger than allowed: {} > {MAX_CODE} bytes.", code.len());
            return Err((StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let kind = exec["kind"].as_str().unwrap_or_default();
        let kinds = &shared.settings().kinds;
        action.image = exec["image"].as_str().map(str::to_owned);
        if is_blackbox && action.image.is_none() {
            return Err(malformed(
                "'image' must be a string defined in 'exec' for 'blackbox' actions",
            ));
        }
        let resolved = if is_blackbox { Some(kind.into()) } else { resolve_kind(kinds, kind) };
        let Some(kind) = resolved else {
            let valid: Vec<_> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
            return Err(malformed(&format!(
                "The specified runtime '{kind}' is not supported by this platform. Valid values are: {}",
                valid.join(", ")
            )));
        };
        action.kind = kind;
        action.set_code(code);
        action.main = exec["main"].as_str().unwrap_or("main").to_owned();
    }
    if let Err(text) = put_limits(&mut action, &body["limits"]) {
        return Err(malformed(&format!("requirement failed: {text}")));
    }
    if let Some(parameters) = body["parameters"].as_array() {
        if parameters.iter().any(|parameter| parameter.get("value").is_none()) {
            return Err(malformed("parameters malformed!"));
        }
        action.parameters = parameters.clone();
    }
    for annotation in body["annotations"].as_array().into_iter().flatten() {
        let key = annotation["key"].as_str().unwrap_or_default().to_owned();
        action.annotations.insert(key, annotation["value"].clone());
    }
    action.annotations.insert("exec".into(), action.kind.clone().into());
    action.updated = now_millis();
    Ok(action)
}

pub(super) fn new_action(name: &[&str]) -> Action {
    let (package, name) = match name {
        [package, name] => (Some((*package).to_owned()), *name),
        [name] => (None, *name),
        _ => (None, ""),
    };
    Action {
        package,
        name: name.to_owned(),
        patch: 1,
        kind: String::new(),
        image: None,
        code: "".into(),
        is_binary: true,
        unpacked: Unpacked::default(),
        main: "main".into(),
        timeout_ms: 60_000,
        memory_mib: 256,
        logs_mib: 10,
        concurrency: 1,
        parameters: Vec::new(),
        annotations: BTreeMap::from([("provide-api-key".into(), false.into())]),
        updated: 0,
        revision: 0,
    }
}

fn resolve_kind(kinds: &[&'static str], kind: &str) -> Option<String> {
    let found = match kind.strip_suffix(":default") {
        Some(family) => kinds.iter().find(|kind| kind.split(':').next() == Some(family)),
        None => kinds.iter().find(|known| **known == kind),
    };
    found.map(|kind| (*kind).to_owned())
}

fn put_limits(action: &mut Action, limits: &Value) -> Result<(), String> {
    let check =
        |name: &str, unit: &str, min: u64, max: u64, slot: &mut u64| -> Result<(), String> {
            let key = match name {
                "duration" => "timeout",
                "memory size" => "memory",
                "log size" => "logs",
                other => other,
            };
            let Some(value) = limits.get(key) else { return Ok(()) };
            let value =
                value.as_u64().ok_or_else(|| format!("{key} limit must be whole number"))?;
            match value {
                _ if value > max => {
                    Err(format!("{name} {value}{unit} exceeds allowed threshold of {max}{unit}"))
                }
                _ if value < min => {
                    Err(format!("{name} {value}{unit} below allowed threshold of {min}{unit}"))
                }
                _ => {
                    *slot = value;
                    Ok(())
                }
            }
        };
    check("duration", " milliseconds", 100, 300_000, &mut action.timeout_ms)?;
    check("memory size", " MB", 128, 512, &mut action.memory_mib)?;
    check("log size", " MB", 0, 10, &mut action.logs_mib)?;
    check("concurrency", "", 1, 1, &mut action.concurrency)
}

pub(super) fn get(shared: &Shared, name: &str, query: &Query) -> Reply {
    let with_code = query.get("code").map(String::as_str) != Some("false");
    match lock(&shared.world).action(name) {
        Some(action) => value_answer(StatusCode::OK, &action.to_json(with_code)),
        None => not_found(),
    }
}

pub(super) async fn delete(shared: &Shared, name: &str) -> Reply {
    let read = lock(&shared.world).revision(name);
    tokio::time::sleep(shared.settings().write_lag).await;
    let mut world = lock(&shared.world);
    if world.revision(name) != read {
        return concurrent_modification();
    }
    match world.delete(name) {
        Some(action) => value_answer(StatusCode::OK, &action.to_json(true)),
        None => not_found(),
    }
}

pub(super) fn list_actions(shared: &Shared, query: &Query) -> Reply {
    let (limit, skip) = match page(query, "actions") {
        Ok(page) => page,
        Err(text) => return malformed(&text),
    };
    let world = lock(&shared.world);
    let actions: Vec<Value> =
        world.actions().into_iter().skip(skip).take(limit).map(Action::to_brief_json).collect();
    json_answer(StatusCode::OK, &Value::Array(actions))
}
