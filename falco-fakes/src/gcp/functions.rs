//! Cloud Functions: uploads, functions, operations, runtimes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::instances::Instances;
use super::reply;
use super::world::{Function, Operation, State, Then, World};
use super::{LOCATION, PROJECT};
use crate::http::{Reply, Request};

/// The fields that a function may have, so that a misspelt one is refused as Google refuses it.
const FIELDS: [&str; 17] = [
    "environment",
    "description",
    "labels",
    "name",
    "buildConfig.runtime",
    "buildConfig.entryPoint",
    "buildConfig.source",
    "buildConfig.environmentVariables",
    "serviceConfig.availableMemory",
    "serviceConfig.availableCpu",
    "serviceConfig.timeoutSeconds",
    "serviceConfig.maxInstanceCount",
    "serviceConfig.minInstanceCount",
    "serviceConfig.maxInstanceRequestConcurrency",
    "serviceConfig.environmentVariables",
    "serviceConfig.serviceAccountEmail",
    "serviceConfig.ingressSettings",
];

fn parent() -> String {
    format!("projects/{PROJECT}/locations/{LOCATION}")
}

pub(super) fn serve(world: &Arc<World>, seen: &Request, kind: &str, rest: &[&str]) -> Reply {
    match (&*seen.method, kind, rest) {
        ("POST", "functions:generateUploadUrl", []) => {
            let object = format!("{}.zip", world.state().next());
            reply::ok(&json!({
                "uploadUrl": format!("{}/upload-signed/{object}?X-Goog-Signature=marked-signature", world.front()),
                "storageSource": {"bucket": "gcf-v2-uploads-1", "object": object},
            }))
        }
        ("POST", "functions", []) => create(world, seen),
        ("GET", "functions", []) => list(world, seen),
        ("GET", "functions", [id]) => match world.state().functions.get(*id) {
            Some(function) => reply::ok(&function.json),
            None => reply::not_found(&format!("{}/functions/{id}", parent())),
        },
        ("PATCH", "functions", [id]) => patch(world, seen, id),
        ("DELETE", "functions", [id]) => delete(world, id),
        ("GET", "operations", [id]) => look(world, id),
        ("GET", "runtimes", []) => reply::ok(&runtimes()),
        _ => reply::html(404, "Not Found"),
    }
}

/// The signed upload: a token or another type breaks the signature.
pub(super) fn upload(world: &World, seen: &Request) -> Reply {
    let is_signed = seen.query("X-Goog-Signature") == Some("marked-signature")
        && seen.header("content-type") == Some("application/zip")
        && !seen.headers.contains_key("authorization")
        && !seen.headers.contains_key("x-goog-user-project");
    if seen.method != "PUT" || !is_signed {
        let xml = "<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>Access denied.</Message></Error>";
        return reply::with(403, "application/xml", xml);
    }
    let object = seen.segments().pop().unwrap_or_default();
    world.state().uploads.insert(object, seen.body.clone());
    reply::with(200, "text/plain", "")
}

fn invalid(message: &str) -> Reply {
    reply::error(400, "INVALID_ARGUMENT", message)
}

/// The names of the fields that a body sets.
fn fields(body: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        match value.as_object().filter(|_| matches!(&**name, "buildConfig" | "serviceConfig")) {
            Some(inner) => names.extend(inner.keys().map(|inner| format!("{name}.{inner}"))),
            None => names.push(name.clone()),
        }
    }
    names
}

/// The refusal of a body with a field that does not exist.
fn refusal(body: &Value) -> Option<Reply> {
    let unknown = fields(body).into_iter().find(|name| !FIELDS.contains(&&**name))?;
    Some(invalid(&format!("Invalid JSON payload received. Unknown name \"{unknown}\"")))
}

fn create(world: &Arc<World>, seen: &Request) -> Reply {
    let Some(id) = seen.query("functionId").map(str::to_owned) else {
        return invalid("functionId is missing");
    };
    let body = seen.json();
    if let Some(refusal) = refusal(&body) {
        return refusal;
    }
    if body["environment"] != "GEN_2" {
        return invalid("environment is not GEN_2");
    }
    let mut state = world.state();
    if state.functions.contains_key(&id) {
        return reply::error(
            409,
            "ALREADY_EXISTS",
            &format!("Could not create Cloud Run service {id}."),
        );
    }
    let mut json = json!({"name": format!("{}/functions/{id}", parent()), "state": "DEPLOYING"});
    for name in fields(&body) {
        copy(&mut json, &body, &name);
    }
    let Some(zip) = uploaded(&state, &json) else {
        return invalid("the source object does not exist");
    };
    let instances = Arc::new(Instances::new(&json["serviceConfig"]));
    state.functions.insert(id.clone(), Function { json, zip, instances });
    operation(&mut state, world, id, "create")
}

/// A function of somebody else's.
pub(super) fn place(state: &mut State, id: &str) {
    let json = json!({"name": format!("{}/functions/{id}", parent()), "state": "ACTIVE", "environment": "GEN_2",
                      "buildConfig": {"runtime": "python312"}, "serviceConfig": {}});
    let instances = Arc::new(Instances::new(&json["serviceConfig"]));
    state.functions.insert(id.to_owned(), Function { json, zip: bytes::Bytes::new(), instances });
}

fn patch(world: &Arc<World>, seen: &Request, id: &str) -> Reply {
    let body = seen.json();
    if let Some(refusal) = refusal(&body) {
        return refusal;
    }
    let mut state = world.state();
    if is_busy(&mut state, id) {
        return busy();
    }
    let Some(function) = state.functions.get(id) else { return reply::not_found(id) };
    let mut json = function.json.clone();
    // Without a mask every field is replaced.
    let mask = seen.query("updateMask").map(str::to_owned);
    let mask: Vec<String> = match &mask {
        Some(mask) => mask.split(',').map(str::to_owned).collect(),
        None => FIELDS.map(str::to_owned).to_vec(),
    };
    for name in &mask {
        if !FIELDS.contains(&&**name) {
            return invalid(&format!("Invalid field mask: {name}"));
        }
        copy(&mut json, &body, name);
    }
    json["state"] = json!("DEPLOYING");
    let Some(zip) = uploaded(&state, &json) else {
        return invalid("the source object does not exist");
    };
    let function = state.functions.get_mut(id).unwrap();
    function.json = json;
    function.zip = zip;
    operation(&mut state, world, id.to_owned(), "update")
}

fn uploaded(state: &State, json: &Value) -> Option<bytes::Bytes> {
    let object = json["buildConfig"]["source"]["storageSource"]["object"].as_str()?;
    state.uploads.get(object).cloned()
}

/// Sets a field of `to` to what `from` has; a field that `from` lacks is reset.
fn copy(to: &mut Value, from: &Value, path: &str) {
    let (outer, inner) =
        path.split_once('.').map_or((path, None), |(outer, inner)| (outer, Some(inner)));
    match inner {
        Some(inner) => {
            if !to[outer].is_object() {
                to[outer] = json!({});
            }
            match from[outer].get(inner) {
                Some(value) => to[outer][inner] = value.clone(),
                None => drop(to[outer].as_object_mut().and_then(|fields| fields.remove(inner))),
            }
        }
        None => match from.get(outer) {
            Some(value) => to[outer] = value.clone(),
            None => drop(to.as_object_mut().and_then(|fields| fields.remove(outer))),
        },
    }
}

fn delete(world: &Arc<World>, id: &str) -> Reply {
    let mut state = world.state();
    if is_busy(&mut state, id) {
        return busy();
    }
    match state.functions.get_mut(id) {
        Some(function) => function.json["state"] = json!("DELETING"),
        None => return reply::not_found(&format!("{}/functions/{id}", parent())),
    }
    operation(&mut state, world, id.to_owned(), "delete")
}

/// Starts an operation, which ends as was foreseen for the next one.
fn operation(state: &mut State, world: &Arc<World>, id: String, verb: &str) -> Reply {
    let name = format!("operation-{}", state.next());
    let target = id.clone();
    let full = format!("{}/operations/{name}", parent());
    let mut end = json!({"name": full, "done": true});
    let then: Then = if let Some(failure) = state.next_failure.take() {
        let message = failure["message"].clone();
        end["error"] = failure;
        Box::new(move |state| {
            if let Some(function) = state.functions.get_mut(&id) {
                function.json["state"] = json!("FAILED");
                function.json["stateMessages"] = json!([{"severity": "ERROR", "message": message}]);
            }
        })
    } else if verb == "delete" {
        end["response"] = json!({"@type": "type.googleapis.com/google.protobuf.Empty"});
        Box::new(move |state| {
            state.functions.remove(&id);
            state.policies.remove(&id);
        })
    } else {
        let url = world.front().to_owned();
        end["response"] =
            json!({"@type": "type.googleapis.com/google.cloud.functions.v2.Function"});
        Box::new(move |state| activate(state, &id, &url))
    };
    let looks_left = state.looks;
    state.operations.insert(name, Operation { target, looks_left, end, then: Some(then) });
    reply::ok(&json!({"name": full, "metadata": {"verb": verb, "stages": [{"name": "BUILD"}]}}))
}

/// A new revision serves; the instances of the old one end.
fn activate(state: &mut State, id: &str, url: &str) {
    let revision = state.next();
    let Some(function) = state.functions.get_mut(id) else { return };
    function.json["state"] = json!("ACTIVE");
    let service = &mut function.json["serviceConfig"];
    let defaults: Map<String, Value> = [
        ("availableMemory", json!("256M")),
        ("timeoutSeconds", json!(60)),
        ("maxInstanceCount", json!(100)),
        ("maxInstanceRequestConcurrency", json!(1)),
        ("uri", json!(format!("{url}/run/{id}"))),
        ("service", json!(format!("{}/services/{id}", parent()))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    for (name, value) in defaults {
        if service.get(&name).is_none() {
            service[&name] = value;
        }
    }
    service["revision"] = json!(format!("{id}-{revision:05}"));
    function.instances = Arc::new(Instances::new(service));
}

fn look(world: &World, id: &str) -> Reply {
    let mut state = world.state();
    let Some(operation) = state.operations.get(id) else { return reply::not_found(id) };
    let end = operation.end.clone();
    if advance(&mut state, id) {
        return reply::ok(&end);
    }
    reply::ok(&json!({"name": format!("{}/operations/{id}", parent()), "metadata": {}}))
}

/// Brings an operation one look nearer to its end. Says whether it has ended.
fn advance(state: &mut State, operation: &str) -> bool {
    let Some(operation) = state.operations.get_mut(operation) else { return true };
    if operation.looks_left > 1 {
        operation.looks_left -= 1;
        return false;
    }
    if let Some(then) = operation.then.take() {
        then(state);
    }
    true
}

/// Whether another operation on the function is running. That somebody looks is what brings it to its end.
fn is_busy(state: &mut State, id: &str) -> bool {
    let running = |(name, operation): (&String, &Operation)| {
        (operation.target == id && operation.then.is_some()).then(|| name.clone())
    };
    match state.operations.iter().find_map(running) {
        Some(name) => {
            advance(state, &name);
            true
        }
        None => false,
    }
}

fn busy() -> Reply {
    reply::error(409, "ABORTED", "unable to queue the operation")
}

fn list(world: &World, seen: &Request) -> Reply {
    let state = world.state();
    let size: usize = seen.query("pageSize").and_then(|n| n.parse().ok()).unwrap_or(1000).min(2);
    let from: usize = seen.query("pageToken").and_then(|n| n.parse().ok()).unwrap_or(0);
    let page: Vec<_> =
        state.functions.values().skip(from).take(size).map(|f| f.json.clone()).collect();
    let mut body = json!({});
    if !page.is_empty() {
        body["functions"] = json!(page);
    }
    if from + size < state.functions.len() {
        body["nextPageToken"] = json!((from + size).to_string());
    }
    reply::ok(&body)
}

fn runtimes() -> Value {
    let runtime =
        |(name, stage): (&str, &str)| json!({"name": name, "stage": stage, "environment": "GEN_2"});
    let offered = [
        ("python39", "DECOMMISSIONED"),
        ("python311", "GA"),
        ("python312", "GA"),
        ("python313", "GA"),
        ("python315", "BETA"),
        ("nodejs20", "GA"),
        ("nodejs22", "GA"),
        ("nodejs24", "GA"),
        ("go125", "GA"),
    ];
    json!({"runtimes": offered.map(runtime)})
}
