//! The input of a batch that ran when its function was cut off.

use std::time::Duration;

use falco_core::{Activation, AsyncPlatform, Deployment};
use tokio::time::sleep;

use super::{marks, unpack};
use crate::strategy::caught::caught;

/// The pauses before a log is asked for again that does not name it: providers store logs late.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_secs(3),
];

/// The input that ran when the function was cut off: the last one that the end of its log announces. `None` when the function
/// was not cut off, or no log is to be had.
pub(super) async fn running_input(
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
    batch: &Activation,
    mark: &str,
) -> Option<usize> {
    let error = batch.outcome.as_ref().err().filter(|error| unpack::is_cut_off(error))?;
    let trace = error.trace.as_deref().unwrap_or_default();
    let in_trace = marks::last_input(trace.lines(), mark);
    if in_trace.is_some() || !platform.capabilities().logs {
        return in_trace;
    }
    for pause in [Duration::ZERO].into_iter().chain(PAUSES) {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let asked = std::slice::from_ref(&batch.id);
        let asking = async { platform.activation_log(deployment, asked).await };
        let Ok(logs) = caught(platform, "activation_log", asking).await else { continue };
        let lines = logs.iter().flat_map(|log| log.lines.iter()).map(|line| line.text.as_str());
        if let Some(running) = marks::last_input(lines, mark) {
            return Some(running);
        }
    }
    None
}
