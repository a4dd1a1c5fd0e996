//! The slowest invocations.

use crate::call::Call;
use crate::units::Micros;

/// How many of the slowest invocations of a stage are kept.
pub(super) const SLOWEST: usize = 50;

/// How long the invocation took that this call has settled.
pub(super) fn took(call: &Call<'_>) -> Micros {
    call.done.since(call.at)
}

/// Puts a call that has settled its invocation among the slowest, slowest first, if it is one of them.
pub(super) fn rank(slowest: &mut Vec<Call<'static>>, call: &Call<'_>) {
    let is_full = slowest.len() == SLOWEST;
    if is_full && slowest.last().is_some_and(|fastest| took(fastest) >= took(call)) {
        return;
    }
    let place = slowest.partition_point(|slower| took(slower) >= took(call));
    slowest.insert(place, call.clone().into_owned());
    slowest.truncate(SLOWEST);
}
