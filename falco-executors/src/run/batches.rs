//! Whether a stage's inputs can travel in batches.

use falco_core::{Batch, Capabilities, Error, Result, RuntimeName, StageName, StagePolicy};

/// The families whose functions run under Falco's shim, where the platform has it, or bring it along.
pub(super) const WITH_SHIM: [&str; 3] = ["python", "nodejs", "native"];

/// The policy of a stage in a run whose stages travel in such batches, where they do not say otherwise.
pub(super) fn policy(mut policy: StagePolicy, batch: Option<Batch>) -> StagePolicy {
    policy.batch = policy.batch.or(batch);
    policy
}

/// Checks how a stage is to be driven, before anything is sent.
///
/// # Errors
///
/// `InvalidInput` for numbers that are not valid; `Unsupported` for batches where the platform or the runtime has no shim that
/// divides them.
pub(super) fn check(
    stage: &StageName,
    policy: &StagePolicy,
    runtime: &RuntimeName,
    capabilities: &Capabilities,
) -> Result<()> {
    policy.validate().map_err(|error| error.context(format_args!("stage {stage:?}")))?;
    if policy.batch.is_none() || (capabilities.shim && WITH_SHIM.contains(&runtime.family())) {
        return Ok(());
    }
    let without =
        if capabilities.shim { format!("runtime {runtime}") } else { "this platform".into() };
    Err(Error::unsupported(format!(
        "stage {stage:?} sends its inputs in batches, and functions on {without} take one input at a time"
    ))
    .with_hint("leave out the batch"))
}
