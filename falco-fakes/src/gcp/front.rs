//! The front end of functions: the callers that are let in, and the answers of an instance that fails.

use std::sync::Arc;
use std::time::Duration;

use falco_core::Payload;
use serde_json::{Value, json};

use super::reply;
use super::world::World;
use super::{instance, run, tokens};
use crate::http::{Reply, Request};

const MAX_BODY: usize = 32 << 20;

/// A call of `/run/FUNCTION`.
pub(super) async fn serve(world: &Arc<World>, seen: &Request) -> Reply {
    if seen.body.len() > MAX_BODY {
        return reply::html(413, "Request Entity Too Large");
    }
    let id = seen.path.trim_start_matches("/run/").trim_matches('/').to_owned();
    let found = {
        let state = world.state();
        state
            .functions
            .get(&id)
            .filter(|function| function.json["serviceConfig"]["uri"].is_string())
            .map(|function| {
                (function.json.clone(), function.zip.clone(), Arc::clone(&function.instances))
            })
    };
    let Some((json, zip, instances)) = found else { return reply::html(404, "Page not found") };
    let uri = json["serviceConfig"]["uri"].as_str().unwrap_or_default();
    let identity = tokens::identity(world, seen.bearer(), uri);
    if seen.bearer().is_some() && identity.is_none() {
        let challenge = "Bearer error=\"invalid_token\"";
        return reply::html(401, "Unauthorized").with_header("www-authenticate", challenge);
    }
    if !run::may_call(world, &id, identity.as_deref()) {
        return reply::html(403, "Forbidden");
    }
    let stub = world.stub.lock().unwrap().clone();
    if let Some(stub) = stub {
        return stubbed(world, seen, &json, &*stub);
    }
    let seconds = json["serviceConfig"]["timeoutSeconds"].as_u64().unwrap_or(60);
    let call = instance::call(world, &id, &json, &zip, &instances, seen);
    match tokio::time::timeout(Duration::from_secs(seconds), call).await {
        Ok(answer) => answer,
        Err(_) => reply::with(504, "text/plain", "upstream request timeout"),
    }
}

/// The answer of a handler, without a process.
fn stubbed(
    world: &World,
    seen: &Request,
    json: &Value,
    stub: &(dyn Fn(&Payload) -> Payload + Send + Sync),
) -> Reply {
    if seen.header("x-falco-probe").is_some() {
        return reply::ok(&json!({"falco": 1, "probe": true}));
    }
    let id = seen.header("x-falco-activation").unwrap_or_default();
    let variables = &json["serviceConfig"]["environmentVariables"];
    let (bucket, prefix) = (variables["FALCO_BUCKET"].as_str(), variables["FALCO_PREFIX"].as_str());
    let is_stored = seen.header("x-falco-argument").is_some();
    let body = if is_stored {
        let name = format!("{}arguments/{id}.json", prefix.unwrap());
        match world.state().buckets.get(bucket.unwrap()).and_then(|known| known.objects.get(&name))
        {
            Some(argument) => argument.clone(),
            None => return reply::with(200, "text/plain", "given up"),
        }
    } else {
        seen.body.clone()
    };
    let args = Payload::from_bytes(body).unwrap();
    let answer = format!("{{\"ok\":{},\"ms\":1.5}}", stub(&args).as_str());
    let record = format!(
        "{{\"falco\":1,\"id\":\"{id}\",\"cold\":false,\"execution_ms\":1.5,\"stored_argument\":{is_stored},\
         \"answered\":\"shim\",\"bytes\":{}}}\n{answer}",
        answer.len()
    );
    if seen.header("x-falco-store").is_none() {
        return reply::with(200, "application/octet-stream", record);
    }
    let mut state = world.state();
    let objects = &mut state.buckets.get_mut(bucket.unwrap()).unwrap().objects;
    let name = format!("{}results/{id}.json", prefix.unwrap());
    objects.entry(name).or_insert_with(|| record.into());
    reply::with(200, "text/plain", "stored")
}
