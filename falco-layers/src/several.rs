//! Several deployments, or platforms, that answer as one.

use std::collections::HashMap;
use std::time::Duration;

use falco_core::{ActivationId, ActivationLog};

/// How soon one of them is asked for results again that could not be asked.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Sorts logs into the order in which their activations were asked for.
pub(crate) fn sort_as_asked(logs: &mut [ActivationLog], activations: &[ActivationId]) {
    let places: HashMap<_, _> = activations.iter().enumerate().map(|(at, id)| (id, at)).collect();
    logs.sort_by_key(|log| places.get(&log.id).copied());
}

/// The newest logs, `most` of them, with the newest last.
pub(crate) fn newest(mut logs: Vec<ActivationLog>, most: usize) -> Vec<ActivationLog> {
    logs.sort_by_key(|log| log.lines.first().and_then(|line| line.at));
    logs.split_off(logs.len().saturating_sub(most))
}
