//! A stage without its function and its inputs.

use std::time::Duration;

use falco_core::{Stage, StageName, StagePolicy, stage_setters};

/// The part of a stage that [`Session::execute`](super::Session::execute) needs besides function and inputs.
///
/// # Examples
///
/// ```
/// use falco_executors::session::StageSpec;
/// use std::time::Duration;
///
/// let round = StageSpec::new("round-3").idempotent().with_deadline(Duration::from_secs(600));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StageSpec {
    /// Its name, for reports and events.
    pub name: StageName,
    /// Whether running one of its invocations twice does no harm.
    pub idempotent: bool,
    /// How long the stage may take, from its first invocation.
    pub deadline: Option<Duration>,
    /// How its invocations are driven, where that differs from the strategy.
    pub policy: StagePolicy,
}

impl StageSpec {
    /// A stage of this name that is not idempotent and has no deadline.
    pub fn new(name: impl Into<StageName>) -> Self {
        Self {
            name: name.into(),
            idempotent: false,
            deadline: None,
            policy: StagePolicy::default(),
        }
    }

    stage_setters!();
}

impl From<&Stage> for StageSpec {
    fn from(stage: &Stage) -> Self {
        let Stage { name, idempotent, deadline, policy, .. } = stage;
        Self { name: name.clone(), idempotent: *idempotent, deadline: *deadline, policy: *policy }
    }
}
