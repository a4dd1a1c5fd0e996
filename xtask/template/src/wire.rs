//! The gateway's JSON. This is an invented one: write here what yours reads and writes, with the place that says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A function, as it is sent and as it is listed. Lists hold no code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The archive, in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) timeout_ms: u64,
}
