//! Lines of the timeline: instances where they are known, else slots.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use falco_trace::Micros;
use serde::Serialize;

use super::collected::Collected;

/// Instances that a report lists.
const LISTED: usize = 100;

/// The line of each call.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) of_calls: Vec<u32>,
    pub(super) count: usize,
    /// Whether a line is an instance.
    pub(super) by_instance: bool,
    pub(super) instances: Vec<InstanceState>,
    pub(super) instances_total: usize,
}

/// An instance of a function.
#[derive(Clone, Debug, Serialize)]
pub(super) struct InstanceState {
    id: String,
    stage: String,
    calls: u64,
    failed: u64,
    /// The sum of the calls' times.
    busy: Micros,
    from: Micros,
    to: Micros,
}

pub(super) fn assign(all: &Collected) -> Lanes {
    let unknown = all.calls.iter().filter(|call| call.container == u32::MAX).count();
    // Some calls never reach an instance.
    let by_instance = !all.containers.is_empty() && unknown * 2 < all.calls.len();
    let mut order: Vec<usize> = (0..all.calls.len()).collect();
    order.sort_by_key(|index| (all.calls[*index].sent, all.calls[*index].done));
    let (of_calls, count) =
        if by_instance { instances(all, &order) } else { slots(all, &order, |_| true, 0) };
    let (instances, instances_total) = table(all);
    Lanes { of_calls, count, by_instance, instances, instances_total }
}

fn instances(all: &Collected, order: &[usize]) -> (Vec<u32>, usize) {
    let mut lane_of = vec![u32::MAX; all.containers.len()];
    let mut count = 0_usize;
    for index in order {
        let container = all.calls[*index].container as usize;
        if let Some(lane) = lane_of.get_mut(container)
            && *lane == u32::MAX
        {
            *lane = u32::try_from(count).unwrap_or(u32::MAX - 1);
            count += 1;
        }
    }
    // Calls without an instance get slots below.
    let (mut of_calls, total) =
        slots(all, order, |index| all.calls[index].container == u32::MAX, count);
    for (index, lane) in of_calls.iter_mut().enumerate() {
        if let Some(own) = lane_of.get(all.calls[index].container as usize) {
            *lane = *own;
        }
    }
    (of_calls, total)
}

/// The first slot that is free, for those that `is_wanted` takes.
fn slots(
    all: &Collected,
    order: &[usize],
    is_wanted: impl Fn(usize) -> bool,
    first: usize,
) -> (Vec<u32>, usize) {
    let mut of_calls = vec![0; all.calls.len()];
    let (mut busy, mut free) = (BinaryHeap::new(), BinaryHeap::new());
    let mut count = first;
    for index in order.iter().copied().filter(|index| is_wanted(*index)) {
        let call = &all.calls[index];
        while let Some(Reverse((done, lane))) = busy.peek().copied()
            && done <= call.sent
        {
            busy.pop();
            free.push(Reverse(lane));
        }
        let lane = free.pop().map_or_else(
            || {
                count += 1;
                count - 1
            },
            |Reverse(lane)| lane,
        );
        busy.push(Reverse((call.done, lane)));
        of_calls[index] = u32::try_from(lane).unwrap_or(u32::MAX);
    }
    (of_calls, count.max(1))
}

fn table(all: &Collected) -> (Vec<InstanceState>, usize) {
    let mut instances: Vec<InstanceState> = all
        .containers
        .iter()
        .map(|id| InstanceState {
            id: id.clone(),
            stage: String::new(),
            calls: 0,
            failed: 0,
            busy: Micros(0),
            from: Micros(i64::MAX),
            to: Micros(0),
        })
        .collect();
    for call in &all.calls {
        let Some(instance) = instances.get_mut(call.container as usize) else { continue };
        if instance.calls == 0 {
            let stage = all.view.stages.get(usize::from(call.stage));
            instance.stage = stage.map(|stage| stage.name.clone()).unwrap_or_default();
        }
        instance.calls += 1;
        instance.failed += u64::from(call.kind == 2);
        instance.busy.0 += call.done.since(call.sent).0;
        instance.from = instance.from.min(call.sent);
        instance.to = instance.to.max(call.done);
    }
    let total = instances.len();
    instances.sort_by_key(|instance| Reverse(instance.busy));
    instances.truncate(LISTED);
    (instances, total)
}
