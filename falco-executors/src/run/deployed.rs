//! A plan at work: its functions deployed, and nothing executed yet.

use std::fmt;
use std::sync::Arc;

use falco_core::{ExecutionPlan, ExecutionStrategy};

use super::session::Session;

/// A driver's plan, deployed.
///
/// Dropped, it removes nothing: see [`DriverExt::remove`](crate::DriverExt::remove).
pub struct Deployed {
    pub(super) session: Session,
    pub(super) plan: ExecutionPlan,
}

impl Deployed {
    /// The plan.
    pub fn plan(&self) -> &ExecutionPlan {
        &self.plan
    }

    /// The run's dealings with the platform.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The strategy that the options named.
    pub fn strategy(&self) -> &Arc<dyn ExecutionStrategy> {
        &self.session.strategy
    }
}

impl fmt::Debug for Deployed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployed").field("session", &self.session).finish_non_exhaustive()
    }
}
