//! CloudWatch Logs: what functions print.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::json::{LOGS, without_nulls};
use super::{Client, RequestError, next_page};

/// One line of a log group.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogEvent {
    #[serde(default)]
    pub(crate) log_stream_name: String,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    pub(crate) timestamp: u64,
    #[serde(default)]
    pub(crate) message: String,
}

/// A page of them, in order of time.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogPage {
    #[serde(default)]
    pub(crate) events: Vec<LogEvent>,
    /// Where the next page begins. An empty page may have one.
    pub(crate) next_token: Option<String>,
}

impl Client {
    /// A page of the lines between two times, in milliseconds.
    pub(crate) async fn filter_log_events(
        &self,
        group: &str,
        pattern: Option<&str>,
        from: u64,
        to: u64,
        next: Option<&str>,
    ) -> Result<LogPage, RequestError> {
        let input = without_nulls(json!({
            "logGroupName": group,
            "filterPattern": pattern,
            "startTime": from,
            "endTime": to,
            "limit": 10_000,
            "nextToken": next,
        }));
        let mut page: LogPage = self.json(LOGS, "FilterLogEvents", &input).await?.json()?;
        page.next_token = next_page(next, page.next_token)?;
        Ok(page)
    }

    pub(crate) async fn create_log_group(
        &self,
        group: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), RequestError> {
        let input = json!({"logGroupName": group, "tags": tags});
        self.json(LOGS, "CreateLogGroup", &input).await.map(drop)
    }

    /// Sets how long lines are kept.
    pub(crate) async fn put_retention_policy(
        &self,
        group: &str,
        days: u32,
    ) -> Result<(), RequestError> {
        let input = json!({"logGroupName": group, "retentionInDays": days});
        self.json(LOGS, "PutRetentionPolicy", &input).await.map(drop)
    }

    pub(crate) async fn delete_log_group(&self, group: &str) -> Result<(), RequestError> {
        self.json(LOGS, "DeleteLogGroup", &json!({"logGroupName": group})).await.map(drop)
    }
}
