//! Runs over objects: the layer that signs, and the end of a run.

use std::sync::Arc;

use falco_core::{AsyncPlatform, Result};
use falco_data::{Data, DataPolicy, Store, check_output, clean};
use falco_executors::RunOutcome;

use crate::flags::JournalFlags;
use crate::output::say;

/// A platform whose functions read objects of `inputs`, and read and write those of `scratch` and `outputs`; for
/// [`Launch::connect_with`](crate::Launch::connect_with).
///
/// # Errors
///
/// As [`Data::new`].
pub fn with_objects(
    platform: Arc<dyn AsyncPlatform>,
    scratch: &Store,
    inputs: impl IntoIterator<Item = Store>,
    outputs: impl IntoIterator<Item = Store>,
) -> Result<Arc<dyn AsyncPlatform>> {
    let data = Data::new(platform, scratch.clone(), DataPolicy::default())?;
    let data = inputs.into_iter().fold(data, Data::with_input);
    Ok(Arc::new(outputs.into_iter().fold(data, Data::with_store)))
}

/// Checks that no other run than the one that `--resume` names has completed these outputs.
///
/// # Errors
///
/// `Conflict` when an output holds the result of another run; what the store refuses; and when there is no run to resume.
pub async fn check_outputs<'a>(
    flags: &JournalFlags,
    outputs: impl IntoIterator<Item = &'a Store>,
) -> Result<()> {
    let run = flags.resumed()?;
    for output in outputs {
        check_output(output, run.as_ref()).await?;
    }
    Ok(())
}

/// Deletes what a run kept in the scratch store, and says what is left. A run that another process can go on with keeps it: one
/// that was suspended, and one with a journal that did not succeed. Results in the journal refer to it.
///
/// # Errors
///
/// The store's error when it does not list its objects.
pub async fn clean_scratch(scratch: &Store, outcome: &RunOutcome) -> Result<()> {
    if stays(outcome) {
        return Ok(());
    }
    for left in clean(scratch, &outcome.report.run).await? {
        say(format_args!("could not delete {}: {}", left.url, left.error));
    }
    Ok(())
}

/// Whether another process may go on with a run, and needs what it keeps in the scratch store.
fn stays(outcome: &RunOutcome) -> bool {
    outcome.is_suspended() || outcome.is_recorded() && !outcome.is_success()
}
