//! Cloud Storage: buckets and objects.

use serde_json::json;

use super::RUNTIME_ACCOUNT;
use super::reply;
use super::world::{Bucket, World};
use crate::http::{Reply, Request};

fn absent(what: &str) -> Reply {
    reply::storage_error(404, "notFound", &format!("No such object or bucket: {what}"))
}

pub(super) fn serve(world: &World, seen: &Request, rest: &[&str]) -> Reply {
    let mut state = world.state();
    match (&*seen.method, rest) {
        ("POST", ["b"]) => {
            let name = seen.json()["name"].as_str().unwrap_or_default().to_owned();
            if seen.query("project").is_none() || name.is_empty() {
                return reply::storage_error(400, "required", "Required parameter: project");
            }
            if state.buckets.contains_key(&name) {
                return reply::storage_error(
                    409,
                    "conflict",
                    "The requested bucket name is not available.",
                );
            }
            state.buckets.insert(name, Bucket::default());
            reply::ok(&seen.json())
        }
        ("GET", ["b", bucket]) => match state.buckets.contains_key(*bucket) {
            true => reply::ok(&json!({"name": bucket})),
            false => absent(bucket),
        },
        ("DELETE", ["b", bucket]) => match state.buckets.get(*bucket) {
            None => absent(bucket),
            Some(known) if !known.objects.is_empty() => reply::storage_error(
                409,
                "conflict",
                "The bucket you tried to delete is not empty.",
            ),
            Some(_) => {
                state.buckets.remove(*bucket);
                reply::with(204, "text/plain", "")
            }
        },
        ("GET", ["b", bucket, "o"]) => match state.buckets.get(*bucket) {
            None => absent(bucket),
            Some(known) => list(known, seen, state.list_twice),
        },
        ("GET", ["b", bucket, "o", name]) => {
            let object = state.buckets.get(*bucket).and_then(|known| known.objects.get(*name));
            match object {
                Some(content) if seen.query("alt") == Some("media") => {
                    reply::with(200, "application/json", content.clone())
                }
                Some(content) => {
                    reply::ok(&json!({"name": name, "size": content.len().to_string()}))
                }
                None => absent(name),
            }
        }
        ("DELETE", ["b", bucket, "o", name]) => {
            let removed =
                state.buckets.get_mut(*bucket).and_then(|known| known.objects.remove(*name));
            match removed {
                Some(_) => reply::with(204, "text/plain", ""),
                None => absent(name),
            }
        }
        _ => reply::html(404, "Not Found"),
    }
}

fn list(bucket: &Bucket, seen: &Request, twice: bool) -> Reply {
    let prefix = seen.query("prefix").unwrap_or_default();
    let size: usize =
        seen.query("maxResults").and_then(|n| n.parse().ok()).unwrap_or(1000).min(1000);
    let after = seen.query("pageToken").unwrap_or_default();
    let names =
        bucket.objects.keys().filter(|name| name.starts_with(prefix) && name.as_str() > after);
    let mut page: Vec<&String> = names.take(size + 1).collect();
    let has_more = page.len() > size;
    page.truncate(size);
    let mut body = json!({"kind": "storage#objects"});
    if has_more {
        body["nextPageToken"] = json!(page.last());
    }
    if !page.is_empty() {
        let again = if twice { page.clone() } else { Vec::new() };
        body["items"] = page.iter().chain(&again).map(|name| json!({"name": name})).collect();
    }
    reply::ok(&body)
}

/// `POST /upload/storage/v1/b/B/o`
pub(super) fn insert(world: &World, seen: &Request, bucket: &str, caller: &str) -> Reply {
    let mut state = world.state();
    if state.storing_is_forbidden && caller == RUNTIME_ACCOUNT {
        let message = format!("{caller} does not have storage.objects.create access");
        return reply::storage_error(403, "forbidden", &message);
    }
    let Some(known) = state.buckets.get_mut(bucket) else { return absent(bucket) };
    let name = seen.query("name").unwrap_or_default().to_owned();
    if seen.query("ifGenerationMatch") == Some("0") && known.objects.contains_key(&name) {
        let message = "At least one of the pre-conditions you specified did not hold.";
        return reply::storage_error(412, "conditionNotMet", message);
    }
    known.objects.insert(name.clone(), seen.body.clone());
    reply::ok(&json!({"name": name, "generation": "1"}))
}
