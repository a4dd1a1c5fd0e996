//! The owner of a deployment.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::id::RunId;

/// The owner of a deployment: by this `cleanup` finds what a run left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ownership {
    /// The run that made it.
    pub run: RunId,
    /// The user who started the run, such as `ada@workstation`.
    pub owner: String,
    /// When it may be removed without asking.
    #[serde(with = "crate::unix_time")]
    pub expires_at: SystemTime,
}

impl Ownership {
    /// The mark of a deployment that `owner` made for `run`, and that may be removed after `expires_at`.
    pub fn new(run: impl Into<RunId>, owner: impl Into<String>, expires_at: SystemTime) -> Self {
        Self { run: run.into(), owner: owner.into(), expires_at }
    }
}
