//! The larger part of the state: series, heat map, failures, slowest invocations and distributions.

use std::collections::BTreeMap;

use falco_trace::{
    Class, Distribution, HEAT_COLUMNS, HeatMap, LogText, Micros, RunView, Series, StageView,
};
use serde::Serialize;

use super::call::CallState;
use super::times::Times;

/// Failures that are listed over all stages.
const FAILURES: usize = 100;

/// The larger part of the state, of one stage or of all, which is asked for less often.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Details {
    series: SeriesState,
    heat: HeatState,
    kinds: BTreeMap<String, u64>,
    failures: Vec<FailureState>,
    /// Failed calls that are not in the list.
    failures_not_listed: u64,
    slowest: Vec<CallState>,
    /// The number of invocations of which those are the slowest.
    settled: u64,
    cdf: Times<Vec<(Micros, u64)>>,
}

#[derive(Clone, Debug, Serialize)]
struct SeriesState {
    width: Micros,
    settled: Vec<u64>,
    failed: Vec<u64>,
    refused: Vec<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct HeatState {
    width: Micros,
    columns: usize,
    /// The lower end of each row.
    rows: Vec<Micros>,
    /// `[cell, count, ..]` of what is not zero.
    warm: Vec<u32>,
    cold: Vec<u32>,
    failed: Vec<u32>,
}

#[derive(Clone, Debug, Serialize)]
struct FailureState {
    #[serde(flatten)]
    call: CallState,
    log: Vec<LogText>,
    log_cut: bool,
}

impl Details {
    /// Those of the stage that `wanted` names, or of all.
    pub(crate) fn of(view: &RunView, wanted: Option<&str>) -> Self {
        let stages: Vec<&StageView> = view
            .stages
            .iter()
            .filter(|stage| wanted.is_none_or(|wanted| wanted == stage.name))
            .collect();
        let mut kinds = BTreeMap::new();
        for (kind, count) in stages.iter().flat_map(|stage| &stage.kinds) {
            *kinds.entry(kind.clone()).or_default() += count;
        }
        let listed = stages.iter().flat_map(|stage| &stage.failures);
        let failures: Vec<FailureState> = listed
            .take(FAILURES)
            .map(|failure| FailureState {
                call: CallState::of(&failure.call),
                log: failure.log.as_ref().map(|log| log.lines.clone()).unwrap_or_default(),
                log_cut: failure.log.as_ref().is_some_and(|log| log.cut),
            })
            .collect();
        Self {
            series: SeriesState::of(&stages),
            heat: HeatState::of(&stages),
            failures_not_listed: kinds.values().sum::<u64>() - failures.len() as u64,
            kinds,
            failures,
            slowest: view.slowest(wanted).into_iter().map(CallState::of).collect(),
            settled: stages.iter().map(|stage| stage.counts.ended()).sum(),
            cdf: cdf(&stages),
        }
    }
}

fn cdf(stages: &[&StageView]) -> Times<Vec<(Micros, u64)>> {
    let merged = |take: fn(&StageView) -> &Distribution| {
        let mut all = Distribution::default();
        stages.iter().for_each(|stage| all.add(take(stage)));
        all.steps()
    };
    Times {
        limit: merged(|stage| &stage.limit),
        queue: merged(|stage| &stage.queue),
        cold_start: merged(|stage| &stage.cold_start),
        execution: merged(|stage| &stage.execution),
        transport: merged(|stage| &stage.transport),
        total: merged(|stage| &stage.total),
    }
}

impl SeriesState {
    fn of(stages: &[&StageView]) -> Self {
        let all = |stage: &&StageView| {
            [&stage.settled, &stage.failed, &stage.refused].map(Series::point_width)
        };
        let width = stages.iter().flat_map(all).max().unwrap_or(Micros(100_000));
        let sum = |take: fn(&StageView) -> &Series| {
            let mut sum: Vec<u64> = Vec::new();
            for stage in stages {
                let series = take(stage).clone().widened(width);
                sum.resize(sum.len().max(series.points().len()), 0);
                sum.iter_mut().zip(series.points()).for_each(|(sum, count)| *sum += count);
            }
            sum
        };
        Self {
            width,
            settled: sum(|stage| &stage.settled),
            failed: sum(|stage| &stage.failed),
            refused: sum(|stage| &stage.refused),
        }
    }
}

impl HeatState {
    fn of(stages: &[&StageView]) -> Self {
        let widths = stages.iter().map(|stage| stage.heat.column_width());
        let width = widths.max().unwrap_or(Micros(10_000));
        let rows = (0..falco_trace::HEAT_ROWS).map(HeatMap::row_start).collect();
        let sparse = |class: Class| {
            let mut sum = vec![0_u32; HEAT_COLUMNS * falco_trace::HEAT_ROWS];
            for stage in stages {
                // Widths are the first one, doubled any number of times.
                let factor = (width.0 / stage.heat.column_width().0.max(1)) as usize;
                for (cell, count) in stage.heat.cells(class).iter().enumerate() {
                    let (row, column) = (cell / HEAT_COLUMNS, cell % HEAT_COLUMNS);
                    let target = &mut sum[row * HEAT_COLUMNS + column / factor.max(1)];
                    *target = target.saturating_add(*count);
                }
            }
            let counted = sum.iter().enumerate().filter(|(_, count)| **count > 0);
            counted.flat_map(|(cell, count)| [cell as u32, *count]).collect()
        };
        Self {
            width,
            columns: HEAT_COLUMNS,
            rows,
            warm: sparse(Class::Warm),
            cold: sparse(Class::Cold),
            failed: sparse(Class::Failed),
        }
    }
}
