//! Cloud Logging: entries by filter.

use std::collections::BTreeMap;

use falco_core::Result;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Call};

/// An entry of the log, as far as Falco reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Entry {
    pub(crate) timestamp: String,
    pub(crate) text_payload: Option<String>,
    pub(crate) json_payload: Option<Value>,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    entries: Vec<Entry>,
    next_page_token: String,
}

impl Api {
    /// The entries that pass `filter`, oldest first.
    pub(crate) async fn list_entries(
        &self,
        operation: &'static str,
        function: &str,
        filter: &str,
    ) -> Result<Vec<Entry>> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let mut body = json!({
                "resourceNames": [format!("projects/{}", self.project)],
                "orderBy": "timestamp asc",
                "pageSize": 1000,
                "filter": filter,
            });
            if !token.is_empty() {
                body["pageToken"] = json!(token);
            }
            let call =
                Call::new(operation, Method::POST, &self.endpoints.logging, "v2/entries:list")?;
            let page: Page = self.fetch(call.about(function).json(&body)?).await?;
            all.extend(page.entries);
            // A page without entries may still have a next one.
            if page.next_page_token.is_empty() || page.next_page_token == token {
                return Ok(all);
            }
            token = page.next_page_token;
        }
    }
}
