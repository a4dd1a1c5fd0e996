//! The output of activations.

use std::collections::{HashMap, VecDeque};
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
            let entries =
                self.api.list_entries("activation_log", self.id_of(deployment), &filter).await;
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

    /// The logs of the newest activations that began since `since`.
    pub(super) async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        // Every line that the pool of processes writes for an activation has the label.
        let filter = self.filter(self.service_of(deployment), since, "labels.falco_activation:*");
        let entries = self.api.list_entries("recent_logs", self.id_of(deployment), &filter).await;
        let mut begun: VecDeque<ActivationLog> = VecDeque::new();
        for entry in entries.map_err(|e| e.with_function(&deployment.name))? {
            let Some(id) = entry.labels.get("falco_activation") else { continue };
            match begun.iter_mut().rev().find(|log| log.id.as_str() == id) {
                Some(log) => log.lines.push(line(&entry)),
                None => begun.push_back(ActivationLog::new(id.as_str(), vec![line(&entry)])),
            }
            if begun.len() > most {
                begun.pop_front();
            }
        }
        Ok(begun.into())
    }

    /// The service's name is the function's, unless Google says otherwise.
    fn service_of<'a>(&'a self, deployment: &'a Deployment) -> &'a str {
        let service =
            deployment.attribute(attribute::SERVICE).and_then(|name| name.rsplit('/').next());
        service.unwrap_or_else(|| self.id_of(deployment))
    }

    fn filter(&self, service: &str, first: SystemTime, which: &str) -> String {
        let since = first.checked_sub(SKEW).unwrap_or(SystemTime::UNIX_EPOCH);
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
