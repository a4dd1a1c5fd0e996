//! CloudWatch Logs and S3.

use serde_json::{Value, json};

use super::reply::{json_error, xml_error};
use super::world::{LogEntry, World};
use crate::http::{Reply, Request};

/// Events on a page; few, so that there are several.
const PAGE: usize = 50;

pub(super) fn logs(world: &mut World, request: &Request) -> Reply {
    if request.header("content-type") != Some("application/x-amz-json-1.1") {
        return Reply::new(404, "");
    }
    let body = request.json();
    let group = body["logGroupName"].as_str().unwrap_or_default();
    if request.operation == "CreateLogGroup" {
        if world.logs.contains_key(group) {
            let message = "The specified log group already exists";
            return json_error("ResourceAlreadyExistsException", message);
        }
        world.logs.insert(group.to_owned(), Vec::new());
        return Reply::json(200, &json!({}));
    }
    let Some(entries) = world.logs.get(group) else {
        return json_error("ResourceNotFoundException", "The specified log group does not exist.");
    };
    match request.operation.as_str() {
        "DeleteLogGroup" => {
            world.logs.remove(group);
            Reply::json(200, &json!({}))
        }
        "PutRetentionPolicy" => Reply::json(200, &json!({})),
        "FilterLogEvents" => filter(entries, &body),
        other => json_error("UnknownOperationException", other),
    }
}

fn filter(entries: &[LogEntry], body: &Value) -> Reply {
    let (from, to) =
        (body["startTime"].as_u64().unwrap_or(0), body["endTime"].as_u64().unwrap_or(u64::MAX));
    let pattern = body["filterPattern"].as_str();
    // A page is cut by what is searched, not by what is found: it may be empty, with more behind it.
    let start: usize =
        body["nextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or_default();
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.timestamp);
    let found: Vec<_> = entries
        .iter()
        .skip(start)
        .take(PAGE)
        .filter(|entry| (from..=to).contains(&entry.timestamp))
        .filter(|entry| pattern.is_none_or(|pattern| matches(pattern, &entry.message)))
        .map(|entry| {
            json!({"logStreamName": entry.stream, "timestamp": entry.timestamp, "message": entry.message, "eventId": "1"})
        })
        .collect();
    let mut answer = json!({"events": found, "searchedLogStreams": []});
    if start + PAGE < entries.len() {
        answer["nextToken"] = (start + PAGE).to_string().into();
    }
    Reply::json(200, &answer)
}

/// Quoted terms, any of them with `?` in front. What is not quoted and has a `-` matches nothing here.
fn matches(pattern: &str, message: &str) -> bool {
    let terms: Vec<&str> = pattern.split('"').collect();
    let is_quoted =
        terms.len() > 2 && terms.iter().step_by(2).all(|gap| matches!(gap.trim(), "" | "?"));
    is_quoted && terms.iter().skip(1).step_by(2).any(|term| message.contains(term))
}

pub(super) fn s3(world: &mut World, request: &Request) -> Reply {
    if request.header("x-amz-content-sha256").is_none() {
        return xml_error(400, "InvalidRequest", "Missing required header");
    }
    let segments = request.segments();
    let bucket = segments.first().cloned().unwrap_or_default();
    let key = segments[1..].join("/");
    match request.operation.as_str() {
        "PutObject" => {
            world.objects.insert((bucket, key), request.body.clone());
            Reply::new(200, "")
        }
        "DeleteObject" => {
            world.objects.remove(&(bucket, key));
            Reply::new(204, "")
        }
        "ListObjectsV2" => {
            let prefix = request.query("prefix").unwrap_or_default();
            let keys =
                world.objects.keys().filter(|(b, key)| *b == bucket && key.starts_with(prefix));
            let contents: String = keys
                .map(|(_, key)| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>"))
                .collect();
            let body =
                format!("<ListBucketResult><Name>{bucket}</Name>{contents}</ListBucketResult>");
            Reply::new(200, body)
        }
        other => xml_error(400, "InvalidRequest", other),
    }
}
