//! The report as a table for people.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use falco_core::UsDollars;

use super::format::{duration, number};
use super::latency::Latencies;
use super::stage::{Counts, StageReport};
use super::totals::RunReport;

/// How many failures of a stage the table lists; the JSON has more.
const SHOWN_FAILURES: usize = 5;

pub(super) fn write(report: &RunReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let outcome = if report.is_success() { "succeeded" } else { "did not succeed" };
    writeln!(f, "run {} {outcome} in {}", report.run, duration(report.wall))?;
    writeln!(f, "{}", invocations(report))?;
    write!(f, "{}", latencies(report))?;
    if let Some(error) = &report.error {
        write!(f, "\n{error}")?;
    }
    report.stages.iter().try_for_each(|stage| failures(stage, f))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One row a stage, and a sum when there are several.
fn invocations(report: &RunReport) -> String {
    let mut table = table(&[
        "stage",
        "state",
        "ok",
        "failed",
        "unknown",
        "cancelled",
        "skipped",
        "attempts",
        "retries",
        "copies",
        "throttled",
        "cold",
        "wall",
        "cost",
    ]);
    for stage in &report.stages {
        let mut row = vec![stage.stage.to_string(), stage.state.as_str().to_owned()];
        row.extend(counts(&stage.invocations));
        row.extend(
            [stage.attempts, stage.retries, stage.copies, stage.throttled, stage.cold_starts]
                .map(number),
        );
        row.extend([duration(stage.wall), cost(stage.cost)]);
        table.add_row(row);
    }
    if report.stages.len() > 1 {
        let sum = |of: fn(&StageReport) -> u64| number(report.stages.iter().map(of).sum());
        let mut row = vec!["total".to_owned(), String::new()];
        row.extend(counts(&report.invocations));
        row.extend([
            number(report.attempts),
            sum(|stage| stage.retries),
            sum(|stage| stage.copies),
            sum(|stage| stage.throttled),
            sum(|stage| stage.cold_starts),
            duration(report.wall),
            cost(report.cost),
        ]);
        table.add_row(row);
    }
    table.trim_fmt()
}

fn latencies(report: &RunReport) -> String {
    let mut table =
        table(&["stage", "latency", "known for", "min", "mean", "p50", "p90", "p99", "max"]);
    for stage in &report.stages {
        for (name, latencies) in [
            ("queue", &stage.queue),
            ("cold start", &stage.cold_start),
            ("execution", &stage.execution),
            ("total", &stage.total),
        ] {
            if latencies.count > 0 {
                table.add_row(latency_row(stage.stage.as_str(), name, latencies));
            }
        }
    }
    table.trim_fmt()
}

fn latency_row(stage: &str, name: &str, latencies: &Latencies) -> Vec<String> {
    let mut row = vec![stage.to_owned(), name.to_owned(), number(latencies.count)];
    row.extend(
        [latencies.min, latencies.mean, latencies.p50, latencies.p90, latencies.p99, latencies.max]
            .map(duration),
    );
    row
}

fn failures(stage: &StageReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for failure in stage.failures.iter().take(SHOWN_FAILURES) {
        write!(f, "\n{} {}: {}: {}", stage.stage, failure.id, failure.outcome, failure.reason)?;
    }
    let listed = stage.failures.len() as u64 + stage.failures_not_listed;
    match listed.saturating_sub(SHOWN_FAILURES as u64) {
        0 => Ok(()),
        more => write!(f, "\n{}: {} more failed", stage.stage, number(more)),
    }
}

fn counts(counts: &Counts) -> [String; 5] {
    let skipped = number(counts.skipped);
    [
        number(counts.succeeded),
        number(counts.failed()),
        number(counts.unknown),
        number(counts.cancelled),
        if counts.skipped_is_lower_bound { format!("{skipped}+") } else { skipped },
    ]
}

fn cost(cost: Option<UsDollars>) -> String {
    cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string())
}
