//! SQS.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Shared;
use super::reply::json_error;
use super::world::{ACCOUNT, Queue, World};
use crate::http::{Reply, Request, lock};

pub(super) async fn handle(shared: &Arc<Shared>, request: &Request) -> Reply {
    if request.header("content-type") != Some("application/x-amz-json-1.0") {
        return Reply::new(404, "");
    }
    if request.operation == "ReceiveMessage" {
        return receive(shared, &request.json()).await;
    }
    let mut world = lock(&shared.world);
    let body = request.json();
    match request.operation.as_str() {
        "CreateQueue" => create(&mut world, &body),
        "GetQueueUrl" => match body["QueueName"].as_str() {
            Some(name) if world.queues.contains_key(name) => {
                Reply::json(200, &json!({"QueueUrl": url(name)}))
            }
            _ => missing(),
        },
        "ListQueues" => {
            let prefix = body["QueueNamePrefix"].as_str().unwrap_or_default();
            let urls: Vec<_> = world
                .queues
                .keys()
                .filter(|name| name.starts_with(prefix))
                .map(|name| url(name))
                .collect();
            // The key is left out when there are none.
            let answer = if urls.is_empty() { json!({}) } else { json!({"QueueUrls": urls}) };
            Reply::json(200, &answer)
        }
        "ListQueueTags" => match world.queues.get(&name_of(&body)) {
            Some(queue) => Reply::json(200, &json!({"Tags": queue.tags})),
            None => missing(),
        },
        "DeleteMessageBatch" => delete(&mut world, &body),
        "DeleteQueue" => match world.queues.remove(&name_of(&body)) {
            Some(_) => Reply::json(200, &json!({})),
            None => missing(),
        },
        _ => json_error("UnsupportedOperation", "no such operation"),
    }
}

fn url(name: &str) -> String {
    // The host is not that of the endpoint: it is opaque, and requests go to the endpoint.
    format!("https://sqs.elsewhere.example/{ACCOUNT}/{name}")
}

fn name_of(body: &Value) -> String {
    let url = body["QueueUrl"].as_str().unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

fn missing() -> Reply {
    json_error("QueueDoesNotExist", "The specified queue does not exist.")
        .with_header("x-amzn-query-error", "AWS.SimpleQueueService.NonExistentQueue;Sender")
}

fn create(world: &mut World, body: &Value) -> Reply {
    let name = body["QueueName"].as_str().unwrap_or_default().to_owned();
    let attributes = body["Attributes"].clone();
    if attributes.as_object().into_iter().flatten().any(|(_, value)| !value.is_string()) {
        return json_error("InvalidAttributeValue", "attributes are strings");
    }
    if let Some(queue) = world.queues.get(&name)
        && queue.attributes != attributes
    {
        return json_error("QueueNameExists", "exists with other attributes");
    }
    world.queues.entry(name.clone()).or_insert_with(|| Queue {
        attributes,
        tags: body["tags"].clone(),
        messages: Vec::new(),
    });
    Reply::json(200, &json!({"QueueUrl": url(&name)}))
}

async fn receive(shared: &Arc<Shared>, body: &Value) -> Reply {
    let name = name_of(body);
    let wait = Duration::from_secs(body["WaitTimeSeconds"].as_u64().unwrap_or(0));
    let wait = wait.min(lock(&shared.world).settings.longest_poll);
    let deadline = Instant::now() + wait;
    loop {
        let arrival = shared.arrival.notified();
        match take(&mut lock(&shared.world), &name, body) {
            None => return missing(),
            Some(messages) if !messages.is_empty() => {
                return Reply::json(200, &json!({"Messages": messages}));
            }
            Some(_) => {}
        }
        if tokio::time::timeout_at(deadline, arrival).await.is_err() {
            return Reply::json(200, &json!({}));
        }
    }
}

fn take(world: &mut World, name: &str, body: &Value) -> Option<Vec<Value>> {
    let most = body["MaxNumberOfMessages"].as_u64().unwrap_or(1).min(10);
    let visibility = Duration::from_secs(body["VisibilityTimeout"].as_u64().unwrap_or(30));
    let now = Instant::now();
    let mut receipt = world.next_id();
    let queue = world.queues.get_mut(name)?;
    let mut taken = Vec::new();
    for message in &mut queue.messages {
        if taken.len() as u64 == most {
            break;
        }
        if message.visible_at > now {
            continue;
        }
        receipt += 1_000_000_007;
        message.receipt = receipt;
        message.visible_at = now + visibility;
        taken.push(json!({
            "MessageId": message.id.to_string(),
            "ReceiptHandle": receipt.to_string(),
            "Body": message.body,
            "MD5OfBody": "",
        }));
    }
    Some(taken)
}

fn delete(world: &mut World, body: &Value) -> Reply {
    let Some(queue) = world.queues.get_mut(&name_of(body)) else { return missing() };
    let entries = body["Entries"].as_array().cloned().unwrap_or_default();
    if entries.len() > 10 {
        return json_error("TooManyEntriesInBatchRequest", "ten at most");
    }
    let mut deleted = Vec::new();
    for entry in entries {
        let receipt = entry["ReceiptHandle"].as_str().unwrap_or_default().to_owned();
        queue.messages.retain(|message| message.receipt.to_string() != receipt);
        deleted.push(json!({"Id": entry["Id"]}));
    }
    Reply::json(200, &json!({"Successful": deleted, "Failed": []}))
}
