//! Records of activations: one by one, and as a list.

use falco_http::reqwest::StatusCode;
use serde_json::{Value, json};

use super::Shared;
use super::answers::{
    Query, json_answer, malformed, no_route, not_found, page, raw_answer, refuse,
};
use super::world::{Listing, Record};
use crate::http::{Reply, lock};

pub(super) fn list_activations(shared: &Shared, query: &Query) -> Reply {
    let (limit, skip) = match page(query, "activations") {
        Ok(page) => page,
        Err(text) => return malformed(&text),
    };
    let number = |key: &str| query.get(key).map(|value| value.parse::<u64>());
    let (since, upto) = match (number("since").transpose(), number("upto").transpose()) {
        (Ok(since), Ok(upto)) => (since.unwrap_or(0), upto.unwrap_or(u64::MAX)),
        _ => return malformed("Parameter is not a valid value for epoch seconds"),
    };
    let listing = Listing { name: query.get("name").cloned(), since, upto, limit, skip };
    let world = lock(&shared.world);
    if query.get("count").map(String::as_str) == Some("true") {
        let all = world.list(&Listing { limit: usize::MAX, skip: 0, ..listing }).count();
        return json_answer(StatusCode::OK, &json!({"activations": all.saturating_sub(skip)}));
    }
    let with_docs = query.get("docs").map(String::as_str) == Some("true");
    let copies = if shared.settings().lists_twice { 2 } else { 1 };
    // Limit and skip count rows, as they do where a record has several.
    let listing = Listing { limit: listing.limit / copies, skip: listing.skip / copies, ..listing };
    let mut body = String::from("[");
    for record in world.list(&listing) {
        let text = if with_docs {
            serde_json::to_string(record).unwrap_or_default()
        } else {
            brief(record).to_string()
        };
        for _ in 0..copies {
            if body.len() > 1 {
                body.push(',');
            }
            body.push_str(&text);
        }
    }
    body.push(']');
    raw_answer(StatusCode::OK, "application/json", body)
}

fn brief(record: &Record) -> Value {
    let code = match record.response.status {
        "success" => 0,
        "application error" => 1,
        "action developer error" => 2,
        _ => 3,
    };
    json!({"activationId": record.activation_id, "namespace": record.namespace, "name": record.name,
           "version": record.version, "publish": record.publish, "start": record.start, "end": record.end,
           "duration": record.duration, "annotations": record.annotations, "statusCode": code})
}

/// Whether it has the form of an activation's id, 32 of `0-9a-f`.
fn is_activation_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn activation(shared: &Shared, id: &str, part: Option<&str>) -> Reply {
    if !is_activation_id(id) {
        return refuse(StatusCode::BAD_REQUEST, "The activation id is not valid.");
    }
    let world = lock(&shared.world);
    let Some(record) = world.record(id) else { return not_found() };
    match part {
        None => json_answer(StatusCode::OK, record),
        Some("result") => json_answer(StatusCode::OK, &record.response),
        Some("logs") => json_answer(StatusCode::OK, &json!({"logs": record.logs})),
        Some(_) => no_route(),
    }
}
