//! The logs of inputs that travelled in batches.

use falco_core::{ActivationId, ActivationLog, AsyncPlatform, Deployment, Result};

use super::marks;

/// The logs of activations and of inputs of batches, each with its own lines, in the order asked; those without a log yet are
/// left out.
///
/// # Errors
///
/// As [`AsyncPlatform::activation_log`].
pub(crate) async fn activation_log(
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
    activations: &[ActivationId],
) -> Result<Vec<ActivationLog>> {
    let logs = platform.activation_log(deployment, &marks::holders(activations)).await?;
    let of = |id: &ActivationId| match id.member() {
        Some((batch, index)) => {
            logs.iter().find(|log| log.id == batch).map(|log| marks::of_input(log, index))
        }
        None => logs.iter().find(|log| log.id == *id).cloned(),
    };
    Ok(activations.iter().filter_map(of).collect())
}
