//! The report as a table for people.

use std::fmt;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use falco_core::UsDollars;

use super::failure::shortened;
use super::format::{duration, number};
use super::latency::Latencies;
use super::stage::{Counts, StageReport};
use super::totals::RunReport;

/// How many failures of a stage the table lists; the JSON has more.
const SHOWN_FAILURES: usize = 5;
/// How much of a failure's input it shows, in bytes.
const SHOWN_INPUT: usize = 100;
/// How many lines of the first traceback it shows, and of the first log.
const SHOWN_LINES: usize = 12;

const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self, f)
    }
}

fn write(report: &RunReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let outcome = if report.is_success() { "succeeded" } else { "did not succeed" };
    writeln!(f, "run {} {outcome} in {}", report.run, duration(report.wall))?;
    if !report.outage.is_zero() {
        writeln!(f, "the platform could not be reached for {} of it", duration(report.outage))?;
    }
    write!(f, "\n{}", invocations(report))?;
    let latencies = latencies(report);
    if !latencies.is_empty() {
        write!(f, "\n\n{latencies}")?;
    }
    for stage in report.stages.iter().filter(|stage| stage.sizes.len() > 1) {
        for size in &stage.sizes {
            write!(f, "\n{} on {size}", stage.stage)?;
        }
    }
    if let Some(price) = &report.price {
        write!(f, "\n\nprice before the run: {price}")?;
    }
    if let Some(budget) = &report.budget {
        write!(f, "\nmoney: {budget}")?;
    }
    if let Some(error) = &report.error {
        write!(f, "\n\n{error}")?;
    }
    report.stages.iter().try_for_each(|stage| failures(stage, f))
}

/// One row of the first table.
struct Row<'a> {
    name: &'a str,
    state: &'a str,
    counts: &'a Counts,
    attempts: u64,
    retries: u64,
    copies: u64,
    throttled: u64,
    cold_starts: u64,
    wall: std::time::Duration,
    cost: Option<UsDollars>,
}

impl<'a> Row<'a> {
    fn of_stage(stage: &'a StageReport) -> Self {
        Self {
            name: stage.stage.as_str(),
            state: stage.state.as_str(),
            counts: &stage.invocations,
            attempts: stage.attempts,
            retries: stage.retries,
            copies: stage.copies,
            throttled: stage.throttled,
            cold_starts: stage.cold_starts,
            wall: stage.wall,
            cost: stage.cost,
        }
    }

    fn of_run(report: &'a RunReport) -> Self {
        let sum = |of: fn(&StageReport) -> u64| report.stages.iter().map(of).sum();
        Self {
            name: "all",
            state: "",
            counts: &report.invocations,
            attempts: report.attempts,
            retries: sum(|stage| stage.retries),
            copies: sum(|stage| stage.copies),
            throttled: sum(|stage| stage.throttled),
            cold_starts: sum(|stage| stage.cold_starts),
            wall: report.wall,
            cost: report.cost,
        }
    }
}

/// A header, whether the column is worth its width when it has only zeros, and its content.
type Column = (&'static str, bool, fn(&Row<'_>) -> String);

const COLUMNS: [Column; 15] = [
    ("stage", true, |row| row.name.to_owned()),
    ("state", true, |row| row.state.to_owned()),
    ("ok", true, |row| number(row.counts.succeeded)),
    ("failed", true, |row| number(row.counts.failed())),
    ("unknown", false, |row| number(row.counts.unknown)),
    ("cancelled", false, |row| number(row.counts.cancelled)),
    ("skipped", false, |row| skipped(row.counts)),
    ("recalled", false, |row| number(row.counts.recalled)),
    ("attempts", true, |row| number(row.attempts)),
    ("retries", false, |row| number(row.retries)),
    ("copies", false, |row| number(row.copies)),
    ("throttled", false, |row| number(row.throttled)),
    ("cold", false, |row| number(row.cold_starts)),
    ("wall", true, |row| duration(row.wall)),
    ("cost", false, |row| cost(row.cost)),
];

fn invocations(report: &RunReport) -> String {
    let mut rows: Vec<Row<'_>> = report.stages.iter().map(Row::of_stage).collect();
    if rows.len() > 1 {
        rows.push(Row::of_run(report));
    }
    let is_shown = |(_, always, cell): &&Column| {
        *always || rows.iter().any(|row| !matches!(cell(row).as_str(), "0" | "-"))
    };
    let columns: Vec<&Column> = COLUMNS.iter().filter(is_shown).collect();
    let mut table = table(columns.iter().map(|(header, _, _)| *header).collect());
    for row in &rows {
        table.add_row(columns.iter().map(|(_, _, cell)| cell(row)).collect::<Vec<_>>());
    }
    table.trim_fmt()
}

/// Empty when no latency is known.
fn latencies(report: &RunReport) -> String {
    let mut table =
        table(vec!["stage", "latency", "known for", "min", "mean", "p50", "p90", "p99", "max"]);
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
    if table.is_empty() { String::new() } else { table.trim_fmt() }
}

fn latency_row(stage: &str, name: &str, latencies: &Latencies) -> Vec<String> {
    let Latencies { min, mean, p50, p90, p99, max, .. } = *latencies;
    let mut row = vec![stage.to_owned(), name.to_owned(), number(latencies.count)];
    row.extend([min, mean, p50, p90, p99, max].map(duration));
    row
}

fn table(header: Vec<&str>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn failures(stage: &StageReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for failure in stage.failures.iter().take(SHOWN_FAILURES) {
        write!(f, "\n{} {failure}", stage.stage)?;
        if !matches!(failure.input.as_str(), "" | "{}") {
            write!(f, "\n    input: {}", shortened(&failure.input, SHOWN_INPUT))?;
        }
    }
    if let Some(failure) = stage.failures.iter().find(|failure| failure.details().is_some()) {
        if let Some(trace) = &failure.trace {
            write!(f, "\n{} {}:", stage.stage, failure.id)?;
            last_lines(trace, f)?;
        }
        if let Some(log) = &failure.log {
            write!(f, "\n{} {} printed:", stage.stage, failure.id)?;
            last_lines(log, f)?;
        }
    }
    let listed = stage.failures.len() as u64 + stage.failures_not_listed;
    match listed.saturating_sub(SHOWN_FAILURES as u64) {
        0 => Ok(()),
        more => write!(f, "\n{}: {} more failed", stage.stage, number(more)),
    }
}

fn last_lines(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    shown.iter().try_for_each(|line| write!(f, "\n    {line}"))
}

fn skipped(counts: &Counts) -> String {
    let skipped = number(counts.skipped);
    if counts.skipped_is_lower_bound { format!("{skipped}+") } else { skipped }
}

fn cost(cost: Option<UsDollars>) -> String {
    cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string())
}
