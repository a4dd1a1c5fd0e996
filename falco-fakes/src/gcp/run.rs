//! Cloud Run: policies of services.

use serde_json::json;

use super::reply;
use super::world::World;
use crate::http::{Reply, Request};

pub(super) fn serve(world: &World, seen: &Request, rest: &[&str]) -> Reply {
    let [call] = rest else { return reply::html(404, "Not Found") };
    let Some((service, verb)) = call.split_once(':') else { return reply::html(404, "Not Found") };
    let mut state = world.state();
    if !state.functions.contains_key(service) {
        return reply::not_found(service);
    }
    let delay = state.grant_delay;
    let policy = state.policies.entry(service.to_owned()).or_default();
    match (&*seen.method, verb) {
        ("GET", "getIamPolicy") => {
            let mut json = policy.json.clone();
            if !json.is_object() {
                json = json!({});
            }
            json["etag"] = json!(format!("etag-{}", policy.version));
            reply::ok(&json)
        }
        ("POST", "setIamPolicy") => {
            let json = seen.json()["policy"].clone();
            if json["etag"] != format!("etag-{}", policy.version) {
                return reply::error(409, "ABORTED", "There were concurrent policy changes.");
            }
            policy.json = json.clone();
            policy.version += 1;
            policy.delay = delay;
            reply::ok(&json)
        }
        _ => reply::html(404, "Not Found"),
    }
}

/// Whether `member` may call a service; a grant takes a while to act.
pub(super) fn may_call(world: &World, service: &str, member: Option<&str>) -> bool {
    let mut state = world.state();
    let Some(policy) = state.policies.get_mut(service) else { return false };
    let member = member.map(|email| format!("serviceAccount:{email}"));
    let bindings = policy.json["bindings"].as_array().cloned().unwrap_or_default();
    let granted = bindings
        .iter()
        .filter(|binding| binding["role"] == "roles/run.invoker")
        .flat_map(|binding| binding["members"].as_array().cloned().unwrap_or_default())
        .any(|granted| granted == "allUsers" || granted.as_str() == member.as_deref());
    if granted && policy.delay > 0 {
        policy.delay -= 1;
        return false;
    }
    granted
}
