//! The handle of a submitted activation, and how it is let go.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::id::ActivationId;

/// An activation that was accepted and not collected yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pending {
    /// The platform's name for it.
    pub id: ActivationId,
    /// When it was accepted, by the driver's clock.
    #[serde(with = "crate::unix_time")]
    pub submitted_at: SystemTime,
}

impl Pending {
    /// An activation that was accepted at `submitted_at`.
    pub fn new(id: impl Into<ActivationId>, submitted_at: SystemTime) -> Self {
        Self { id: id.into(), submitted_at }
    }
}

/// Why activations are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// The caller has their results; the provider's copies may go.
    Taken,
    /// The caller does not want them any more; whatever can be stopped should be.
    Abandoned,
}
