//! The parts of the time of an invocation.

use falco_trace::{Distribution, StageView};
use serde::Serialize;

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times<T> {
    pub(super) limit: T,
    pub(super) queue: T,
    pub(super) cold_start: T,
    pub(super) execution: T,
    pub(super) transport: T,
    pub(super) total: T,
}

impl<T> Times<T> {
    pub(super) fn of(stage: &StageView, take: impl Fn(&Distribution) -> T) -> Self {
        Self {
            limit: take(&stage.limit),
            queue: take(&stage.queue),
            cold_start: take(&stage.cold_start),
            execution: take(&stage.execution),
            transport: take(&stage.transport),
            total: take(&stage.total),
        }
    }
}
