//! Advice on sizes and concurrency, from a report or a trace.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use falco_cli::flags::ShowFlags;
use falco_cli::print;
use falco_executors::report::{RunReport, StageAdvice};
use serde_json::{Value, json};

/// Advises on memory, cost and concurrency, from the report or the trace of a run
///
/// For example:
///
///   falco map --text -f f.py --json < lines.txt 2> report.json
///   falco advise report.json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct AdviseFlags {
    /// A report as --json prints it, or a trace as --trace writes it.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    output: ShowFlags,
}

/// Prints the advice for each stage.
pub(crate) fn advise(flags: &AdviseFlags) -> anyhow::Result<bool> {
    let stages = match of_report(flags)? {
        Some(stages) => stages,
        None => of_trace(flags)?,
    };
    let mut text = String::new();
    for stage in &stages {
        if flags.output.json {
            text.push_str(&format!("{}\n", json!({"stage": stage.stage, "advice": stage.lines()})));
            continue;
        }
        for line in stage.lines() {
            text.push_str(&format!("{}: {line}\n", stage.stage));
        }
    }
    print(text)?;
    Ok(true)
}

/// The stages of the first report in a file; none where there is no report in it.
fn of_report(flags: &AdviseFlags) -> anyhow::Result<Option<Vec<StageAdvice>>> {
    let bytes = std::fs::read(&flags.file)
        .with_context(|| format!("cannot read {}", flags.file.display()))?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
    // The whole file, or a line among others that a program has printed.
    let values = std::iter::once(text).chain(text.lines());
    let report =
        values.filter_map(|text| serde_json::from_str::<Value>(text).ok()).find_map(|value| {
            let report = value.get("report").cloned().unwrap_or(value);
            serde_json::from_value::<RunReport>(report).ok()
        });
    Ok(report.map(|report| report.stages.iter().map(StageAdvice::of).collect()))
}

#[cfg(not(feature = "meter"))]
fn of_trace(flags: &AdviseFlags) -> anyhow::Result<Vec<StageAdvice>> {
    anyhow::bail!("{} holds no report, and this program reads no traces", flags.file.display())
}

/// The stages of a trace.
#[cfg(feature = "meter")]
fn of_trace(flags: &AdviseFlags) -> anyhow::Result<Vec<StageAdvice>> {
    use falco_core::ErrorKind;
    use falco_trace::{Micros, Record, read_file};

    /// When calls were in flight, in microseconds.
    #[derive(Default)]
    struct Times {
        edges: Vec<(Micros, i64)>,
        waited: i64,
        busy: i64,
    }

    let mut stages: Vec<(StageAdvice, Times)> = Vec::new();
    read_file(&flags.file, |record| {
        let Record::Call(call) = record else { return };
        let at = stages.iter().position(|(stage, _)| stage.stage.as_str() == call.stage);
        let at = at.unwrap_or_else(|| {
            stages.push((StageAdvice::new(call.stage.to_string()), Times::default()));
            stages.len() - 1
        });
        let (stage, times) = &mut stages[at];
        stage.invocations += u64::from(call.last);
        let kind = call.error.as_ref().map(|error| error.kind.as_str());
        stage.throttled += u64::from(kind == Some(ErrorKind::Throttled.as_str()));
        if call.activation.is_some() {
            stage.add(&activation(&call));
        }
        let begun = call.begun.unwrap_or(call.at);
        let sent = call.sent.unwrap_or(begun);
        times.waited += sent.since(begun).0;
        times.busy += call.done.since(sent).0;
        times.edges.extend([(sent, 1), (call.done, -1)]);
    })?;
    anyhow::ensure!(
        !stages.is_empty(),
        "{} holds neither a report nor a call: give a file that --json or --trace has written",
        flags.file.display()
    );
    Ok(stages
        .into_iter()
        .map(|(mut stage, mut times)| {
            // At one point of time, calls end before others begin.
            times.edges.sort_unstable();
            let (first, last) = (times.edges.first(), times.edges.last());
            let wall = last.zip(first).map_or(0, |(last, first)| last.0.since(first.0).0);
            let mut in_flight = 0;
            let most = times.edges.iter().map(|(_, change)| {
                in_flight += change;
                in_flight
            });
            stage.peak = most.max().and_then(|most| u64::try_from(most).ok());
            stage.concurrency = times.busy as f64 / wall.max(1) as f64;
            stage.waited = Some(times.waited as f64 / (times.waited + times.busy).max(1) as f64);
            stage
        })
        .collect())
}

/// The facts of a call that advice needs.
#[cfg(feature = "meter")]
fn activation(call: &falco_trace::Call<'_>) -> falco_core::Activation {
    use falco_core::{Activation, FunctionError, FunctionErrorKind, Payload, UsDollars};
    use std::time::Duration;

    let micros = |time: falco_trace::Micros| Duration::from_micros(time.0.unsigned_abs());
    let kind = call.error.as_ref().map(|error| match &error.kind {
        kind if *kind == FunctionErrorKind::OutOfMemory.to_string() => {
            FunctionErrorKind::OutOfMemory
        }
        kind if *kind == FunctionErrorKind::Timeout.to_string() => FunctionErrorKind::Timeout,
        _ => FunctionErrorKind::Unspecified,
    });
    let outcome = match kind {
        None => Ok(Payload::empty()),
        Some(kind) => Err(FunctionError::new(kind, "")),
    };
    let mut activation = Activation::new("", outcome);
    activation.memory_mib = call.memory_mib;
    activation.memory_used_bytes = call.memory_used;
    activation.billed = call.billed.map(micros);
    activation.execution = call.ran.map(micros);
    activation.cost = call.cost.map(|cost| UsDollars(cost.as_dollars()));
    activation
}
