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
    /// Which process of the run deployed it last: a run with a [journal](crate::Journal) counts its processes, and one that
    /// meets a higher number stops. 0 without a journal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u32,
}

impl Ownership {
    /// The mark of a deployment that `owner` made for `run`, and that may be removed after `expires_at`.
    pub fn new(run: impl Into<RunId>, owner: impl Into<String>, expires_at: SystemTime) -> Self {
        Self { run: run.into(), owner: owner.into(), expires_at, epoch: 0 }
    }

    /// Says which process of the run deploys it.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::Ownership;
    /// use std::time::SystemTime;
    ///
    /// let second = Ownership::new("run-1", "ada@workstation", SystemTime::now()).with_epoch(2);
    /// assert_eq!(second.epoch, 2);
    /// ```
    #[must_use]
    pub fn with_epoch(mut self, epoch: u32) -> Self {
        self.epoch = epoch;
        self
    }
}

fn is_zero(epoch: &u32) -> bool {
    *epoch == 0
}
