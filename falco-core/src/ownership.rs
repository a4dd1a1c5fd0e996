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
    /// The process of the run that deployed it last: a run with a [journal](crate::Journal) counts its processes, and one that
    /// meets a higher number stops. 0 without a journal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u32,
}

impl Ownership {
    /// The run that deployments belong to which several runs share.
    pub const SHARED: &str = "reuse";

    /// Whether it marks a deployment that several runs share: then the end of one process says nothing about it.
    pub fn is_shared(&self) -> bool {
        self.run.as_str() == Self::SHARED
    }

    /// The mark of a deployment that `owner` made for `run`, and that may be removed after `expires_at`.
    pub fn new(run: impl Into<RunId>, owner: impl Into<String>, expires_at: SystemTime) -> Self {
        Self { run: run.into(), owner: owner.into(), expires_at, epoch: 0 }
    }

    /// Whether it says the same as one that was written down, which has lost the fractions of a microsecond.
    pub fn is_written_as(&self, written: &Self) -> bool {
        let micros = |at: SystemTime| {
            at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros()
        };
        let Self { run, owner, expires_at, epoch } = self;
        (run, owner, epoch) == (&written.run, &written.owner, &written.epoch)
            && micros(*expires_at) == micros(written.expires_at)
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
