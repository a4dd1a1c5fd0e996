//! The report as a table for people.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use falco_core::UsDollars;

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

/// Digits in groups of three.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn cost(cost: Option<UsDollars>) -> String {
    cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string())
}

/// Three significant digits, in the unit that reads best.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (value, unit) = match seconds {
        s if s >= 3_600.0 => (s / 3_600.0, "h"),
        s if s >= 60.0 => (s / 60.0, "min"),
        s if s >= 1.0 => (s, "s"),
        s if s >= 0.001 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let decimals = if value >= 99.95 || value == 0.0 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_read_well() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(number),
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned),
        );
        let cases = [
            (0, "0 µs"),
            (7, "7.00 µs"),
            (1_234, "1.23 ms"),
            (12_340, "12.3 ms"),
            (123_400, "123 ms"),
            (59_960_000, "60.0 s"),
            (90_000_000, "1.50 min"),
        ];
        for (micros, wanted) in cases {
            assert_eq!(duration(Duration::from_micros(micros)), wanted);
        }
    }
}
