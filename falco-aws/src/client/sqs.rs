//! SQS: the queue that results of submitted invocations arrive in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::json::SQS;
use super::{Client, RequestError, next_page};

/// Messages that one request receives or deletes, at most.
pub(crate) const BATCH: usize = 10;

/// A message that was received.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Message {
    /// Stays the same when it is delivered again.
    #[serde(default)]
    pub(crate) message_id: String,
    /// The handle to delete it by; each delivery has another.
    pub(crate) receipt_handle: String,
    #[serde(default)]
    pub(crate) body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Url {
    queue_url: String,
}

impl Client {
    /// Makes a queue, or finds the one that was made with the same attributes, and gives its URL.
    pub(crate) async fn create_queue(
        &self,
        name: &str,
        visibility: Duration,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, RequestError> {
        // Numbers are strings here, and only here.
        let attributes = json!({
            "VisibilityTimeout": visibility.as_secs().to_string(),
            "MessageRetentionPeriod": RETENTION.as_secs().to_string(),
        });
        let input = json!({"QueueName": name, "Attributes": attributes, "tags": tags});
        let reply = self.json(SQS, "CreateQueue", &input).await?;
        Ok(reply.json::<Url>()?.queue_url)
    }

    pub(crate) async fn queue_url(&self, name: &str) -> Result<String, RequestError> {
        let reply = self.json(SQS, "GetQueueUrl", &json!({"QueueName": name})).await?;
        Ok(reply.json::<Url>()?.queue_url)
    }

    /// The URLs of all queues whose name starts with `prefix`.
    pub(crate) async fn list_queues(&self, prefix: &str) -> Result<Vec<String>, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Page {
            #[serde(default)]
            queue_urls: Vec<String>,
            next_token: Option<String>,
        }
        let mut urls = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut input = json!({"QueueNamePrefix": prefix, "MaxResults": 1000});
            if let Some(token) = &next {
                input["NextToken"] = token.as_str().into();
            }
            let page: Page = self.json(SQS, "ListQueues", &input).await?.json()?;
            urls.extend(page.queue_urls);
            next = next_page(next.as_deref(), page.next_token)?;
            if next.is_none() {
                return Ok(urls);
            }
        }
    }

    pub(crate) async fn queue_tags(
        &self,
        url: &str,
    ) -> Result<BTreeMap<String, String>, RequestError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Tags", default)]
            tags: BTreeMap<String, String>,
        }
        let reply = self.json(SQS, "ListQueueTags", &json!({"QueueUrl": url})).await?;
        Ok(reply.json::<Answer>()?.tags)
    }

    /// Waits up to `wait` for messages, and takes at most [`BATCH`] of them.
    pub(crate) async fn receive(
        &self,
        url: &str,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Message>, RequestError> {
        /// An empty answer has no such key.
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Messages", default)]
            messages: Vec<Message>,
        }
        let input = json!({
            "QueueUrl": url,
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": wait.as_secs(),
            "VisibilityTimeout": visibility.as_secs(),
        });
        let mut call = SQS.call("ReceiveMessage", &input)?;
        call.timeout = Some(self.request_timeout + wait);
        Ok(self.send(&call).await?.json::<Answer>()?.messages)
    }

    /// Deletes at most [`BATCH`] messages, and gives back those that are still there.
    pub(crate) async fn delete_messages(
        &self,
        url: &str,
        receipts: &[String],
    ) -> Result<Vec<String>, RequestError> {
        /// A batch with failures is a success.
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Failed", default)]
            failed: Vec<Entry>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Entry {
            id: String,
            #[serde(default)]
            sender_fault: bool,
        }
        let entries: Vec<_> = receipts
            .iter()
            .enumerate()
            .map(|(id, receipt)| json!({"Id": id.to_string(), "ReceiptHandle": receipt}))
            .collect();
        let input = json!({"QueueUrl": url, "Entries": entries});
        let answer: Answer = self.json(SQS, "DeleteMessageBatch", &input).await?.json()?;
        // What is our own fault, such as a receipt that has expired, does not pass when it is repeated.
        let again = answer.failed.iter().filter(|entry| !entry.sender_fault);
        Ok(again
            .filter_map(|entry| receipts.get(entry.id.parse::<usize>().ok()?).cloned())
            .collect())
    }

    pub(crate) async fn delete_queue(&self, url: &str) -> Result<(), RequestError> {
        self.json(SQS, "DeleteQueue", &json!({"QueueUrl": url})).await.map(drop)
    }
}

/// How long a record waits for a process that resumes the run.
const RETENTION: Duration = Duration::from_secs(4 * 86_400);
