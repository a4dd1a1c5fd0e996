//! The output of activations.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use falco_core::{ActivationId, ActivationLog, Deployment, LogLine, LogStream, Result};
use serde_json::Value;

use super::describe::attribute;
use super::{Inner, names};
use crate::client::Entry;

/// Ids in one query: a filter may have 20,000 characters. Sixty queries a minute are allowed.
const BATCH: usize = 400;
/// How far this machine's clock may be ahead of Google's.
const SKEW: Duration = Duration::from_secs(120);

impl Inner {
    pub(super) async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        self.logs_of("activation_log", deployment, activations).await
    }

    async fn logs_of(
        &self,
        operation: &'static str,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let service = self.service_of(deployment);
        // Ids of other shapes are nobody's, and would end up in the filter as they are.
        let ours: Vec<(&str, SystemTime)> = activations
            .iter()
            .filter_map(|id| Some((id.as_str(), names::activation_time(id.as_str())?)))
            .collect();
        let mut lines: HashMap<String, Vec<LogLine>> = HashMap::new();
        for batch in ours.chunks(BATCH) {
            let first = batch.iter().map(|(_, at)| *at).min().unwrap_or(SystemTime::UNIX_EPOCH);
            let ids: Vec<String> = batch.iter().map(|(id, _)| format!("\"{id}\"")).collect();
            let which = format!("labels.falco_activation=({})", ids.join(" OR "));
            let filter = self.filter(service, first, &which);
            let entries = self.api.list_entries(operation, self.id_of(deployment), &filter).await;
            for entry in entries.map_err(|e| e.with_function(&deployment.name))? {
                let Some(id) = entry.labels.get("falco_activation") else { continue };
                lines.entry(id.clone()).or_default().push(line(&entry));
            }
        }
        let log = |id: &ActivationId| {
            let lines = lines.remove(id.as_str())?;
            Some(ActivationLog::new(id.clone(), lines))
        };
        Ok(activations.iter().filter_map(log).collect())
    }

    /// The logs of the activations that have printed last since `since`, the oldest first.
    ///
    /// The log is read from its end, and no further than needed to know them: a long one does not fit into memory, and
    /// each minute allows sixty pages.
    pub(super) async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        // Every line that the pool of processes writes for an activation has the label.
        let filter = self.filter(self.service_of(deployment), since, "labels.falco_activation:*");
        let mut newest: HashSet<ActivationId> = HashSet::new();
        let mut token = String::new();
        while newest.len() < most {
            let page = self.api.page_of_entries(
                "recent_logs",
                self.id_of(deployment),
                &filter,
                "timestamp desc",
                &token,
            );
            let (entries, next) = page.await.map_err(|e| e.with_function(&deployment.name))?;
            for id in entries.iter().filter_map(|entry| entry.labels.get("falco_activation")) {
                if newest.len() < most {
                    newest.insert(id.as_str().into());
                }
            }
            match next {
                Some(next) => token = next,
                None => break,
            }
        }
        let newest: Vec<ActivationId> = newest.into_iter().collect();
        let mut logs = self.logs_of("recent_logs", deployment, &newest).await?;
        logs.sort_by_key(|log| log.lines.first().and_then(|line| line.at));
        Ok(logs)
    }

    /// The service's name is the function's, unless Google says otherwise.
    fn service_of<'a>(&'a self, deployment: &'a Deployment) -> &'a str {
        let service =
            deployment.attribute(attribute::SERVICE).and_then(|name| name.rsplit('/').next());
        service.unwrap_or_else(|| self.id_of(deployment))
    }

    fn filter(&self, service: &str, first: SystemTime, which: &str) -> String {
        // An id may say that it was made at the epoch, and no time before it can be written.
        let epoch = SystemTime::UNIX_EPOCH;
        let since = first.checked_sub(SKEW).map_or(epoch, |since| since.max(epoch));
        let since = humantime::format_rfc3339_seconds(since);
        format!(
            "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{service}\" \
             AND resource.labels.location=\"{}\" AND timestamp>=\"{since}\" AND {which}",
            self.api.location,
        )
    }
}

fn line(entry: &Entry) -> LogLine {
    // A line that the function itself printed as a JSON object is one in the log too.
    let text = match (&entry.text_payload, &entry.json_payload) {
        (Some(text), _) => text.clone(),
        (None, Some(Value::Object(fields))) => match (fields.len(), fields.get("message")) {
            (1, Some(Value::String(message))) => message.clone(),
            _ => Value::Object(fields.clone()).to_string(),
        },
        (None, other) => other.as_ref().map(Value::to_string).unwrap_or_default(),
    };
    let stream = match entry.labels.get("falco_stream").map(String::as_str) {
        Some("stdout") => Some(LogStream::Stdout),
        Some("stderr") => Some(LogStream::Stderr),
        _ => None,
    };
    let at = humantime::parse_rfc3339(&entry.timestamp).ok();
    LogLine::new(text.trim_end_matches(['\r', '\n'])).with_time(at).with_stream(stream)
}
