//! The output of activations.

use std::collections::HashMap;
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
        // The service's name is the function's, unless Google says otherwise.
        let service =
            deployment.attribute(attribute::SERVICE).and_then(|name| name.rsplit('/').next());
        let service = service.unwrap_or_else(|| self.id_of(deployment));
        // Ids of other shapes are nobody's, and would end up in the filter as they are.
        let ours: Vec<(&str, SystemTime)> = activations
            .iter()
            .filter_map(|id| Some((id.as_str(), names::activation_time(id.as_str())?)))
            .collect();
        let mut lines: HashMap<String, Vec<LogLine>> = HashMap::new();
        for batch in ours.chunks(BATCH) {
            let filter = self.filter(service, batch);
            let entries = self.api.list_entries(self.id_of(deployment), &filter).await;
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

    fn filter(&self, service: &str, batch: &[(&str, SystemTime)]) -> String {
        let first = batch.iter().map(|(_, at)| *at).min().unwrap_or(SystemTime::UNIX_EPOCH);
        let since = first.checked_sub(SKEW).unwrap_or(SystemTime::UNIX_EPOCH);
        let since = humantime::format_rfc3339_seconds(since);
        let ids: Vec<String> = batch.iter().map(|(id, _)| format!("\"{id}\"")).collect();
        format!(
            "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{service}\" \
             AND resource.labels.location=\"{}\" AND timestamp>=\"{since}\" AND labels.falco_activation=({})",
            self.api.location,
            ids.join(" OR "),
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
