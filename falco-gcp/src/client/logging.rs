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
    /// The entries that pass `filter`, the oldest first.
    pub(crate) async fn list_entries(
        &self,
        operation: &'static str,
        function: &str,
        filter: &str,
    ) -> Result<Vec<Entry>> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let (entries, next) =
                self.page_of_entries(operation, function, filter, "timestamp asc", &token).await?;
            all.extend(entries);
            match next {
                Some(next) => token = next,
                None => return Ok(all),
            }
        }
    }

    /// A page of the entries that pass `filter`, and the token of the next page. A page without entries may have one.
    pub(crate) async fn page_of_entries(
        &self,
        operation: &'static str,
        function: &str,
        filter: &str,
        order: &str,
        token: &str,
    ) -> Result<(Vec<Entry>, Option<String>)> {
        let mut body = json!({
            "resourceNames": [format!("projects/{}", self.project)],
            "orderBy": order,
            "pageSize": 1000,
            "filter": filter,
        });
        if !token.is_empty() {
            body["pageToken"] = json!(token);
        }
        let call = Call::new(operation, Method::POST, &self.endpoints.logging, "v2/entries:list")?;
        let page: Page = self.fetch(call.about(function).json(&body)?).await?;
        let next = page.next_page_token;
        Ok((page.entries, Some(next).filter(|next| !next.is_empty() && next != token)))
    }
}
