//! Plots for papers: SVG with text as text, and the numbers behind each as CSV.

mod chart;
mod congestion;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use falco_core::{Error, ErrorKind, Result};
use falco_trace::{
    Class, Distribution, HEAT_COLUMNS, HEAT_ROWS, HeatMap, Micros, Record, RunView, read_file,
};

use self::chart::Chart;

/// Bins of the time axis.
const BINS: usize = 200;

const BLUE: &str = "#2f6db5";
const RED: &str = "#c0233f";
const ORANGE: &str = "#b05f00";

/// Writes plots of the trace at `trace` into the folder `into`, each as `NAME.svg` and `NAME.csv`: `timeline` (calls sent and
/// failed over time), `in-flight`, `latency` (distribution functions), `heat` (start and duration) and `stages`; of a run with
/// congestion control also `window` (calls in flight and allowed) and `rate` (calls allowed and refused per second). Returns
/// the files.
///
/// # Errors
///
/// Those of [`falco_trace::read_file`], and `Other` when a file cannot be written.
pub fn write_plots(trace: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let into = into.as_ref();
    let failed = |error: std::io::Error| {
        let message = format!("cannot write the plots into {}", into.display());
        Error::new(ErrorKind::Other, message).with_source(&error)
    };
    fs::create_dir_all(into).map_err(failed)?;
    let mut files = Vec::new();
    for (name, svg, csv) in plots(trace.as_ref())? {
        for (extension, text) in [("svg", svg), ("csv", csv)] {
            let file = into.join(format!("{name}.{extension}"));
            fs::write(&file, text).map_err(failed)?;
            files.push(file);
        }
    }
    Ok(files)
}

type Plot = (&'static str, String, String);

fn plots(trace: &Path) -> Result<Vec<Plot>> {
    let mut view = RunView::default();
    read_file(trace, |record| view.apply(&record))?;
    let end = view.now.0.max(1);
    let (mut sent, mut failed, mut edges) = ([0_u64; BINS], [0_u64; BINS], [0_i64; BINS + 1]);
    let bin =
        |time: Micros| ((time.0.clamp(0, end - 1)) as u128 * BINS as u128 / end as u128) as usize;
    read_file(trace, |record| {
        if let Record::Call(call) = record {
            let (from, to) = (bin(call.sent_at()), bin(call.done));
            sent[from] += 1;
            failed[to] += u64::from(call.outcome.is_failure());
            edges[from] += 1;
            edges[to + 1] -= 1;
        }
    })?;
    let seconds = |bin: usize| end as f64 / 1e6 * bin as f64 / BINS as f64;
    let width = end as f64 / 1e6 / BINS as f64;
    let mut all = vec![
        timeline(&sent, &failed, seconds, width),
        in_flight(&edges, seconds),
        latency(&view),
        heat(&view),
        stages(&view),
    ];
    all.extend(congestion::plots(&view));
    Ok(all)
}

fn timeline(sent: &[u64], failed: &[u64], seconds: impl Fn(usize) -> f64, width: f64) -> Plot {
    let rate = |counts: &[u64]| -> Vec<(f64, f64)> {
        counts.iter().enumerate().map(|(at, n)| (seconds(at), *n as f64 / width)).collect()
    };
    let (sent, failed) = (rate(sent), rate(failed));
    let mut csv = String::from("seconds,sent_per_second,failed_per_second\n");
    for ((at, sent), (_, failed)) in sent.iter().zip(&failed) {
        let _ = writeln!(csv, "{at:.6},{sent},{failed}");
    }
    let mut chart = Chart::linear(last(&sent), top(&sent), "time (s)", "calls per second");
    chart.steps(&sent, BLUE, "sent");
    chart.steps(&failed, RED, "failed");
    ("timeline", chart.finish(), csv)
}

fn in_flight(edges: &[i64], seconds: impl Fn(usize) -> f64) -> Plot {
    let mut level = 0;
    let points: Vec<(f64, f64)> = edges[..BINS]
        .iter()
        .enumerate()
        .map(|(at, edge)| {
            level += edge;
            (seconds(at), level as f64)
        })
        .collect();
    let mut csv = String::from("seconds,in_flight_at_most\n");
    for (at, level) in &points {
        let _ = writeln!(csv, "{at:.6},{level}");
    }
    let mut chart = Chart::linear(last(&points), top(&points), "time (s)", "calls in flight");
    chart.steps(&points, BLUE, "calls that overlap this part of the run");
    ("in-flight", chart.finish(), csv)
}

fn latency(view: &RunView) -> Plot {
    let sum = |take: fn(&falco_trace::StageView) -> &Distribution| {
        let mut all = Distribution::default();
        view.stages.iter().for_each(|stage| all.add(take(stage)));
        all
    };
    let sets = [
        ("total", BLUE, sum(|stage| &stage.total)),
        ("execution", "#1c7a45", sum(|stage| &stage.execution)),
        ("cold start", ORANGE, sum(|stage| &stage.cold_start)),
        ("queue", "#7c5cbf", sum(|stage| &stage.queue)),
    ];
    let mut csv = String::from("part,milliseconds,share\n");
    let mut lines = Vec::new();
    for (name, color, distribution) in &sets {
        let (count, mut below) = (distribution.count().max(1) as f64, 0);
        let mut points = Vec::new();
        for (value, n) in distribution.steps() {
            below += n;
            let _ = writeln!(csv, "{name},{},{}", value.as_millis(), below as f64 / count);
            points.push((value.as_millis().max(0.1).log10(), below as f64 / count));
        }
        if let Some((first, _)) = points.first().copied() {
            points.insert(0, (first, 0.0));
            lines.push((*name, *color, points));
        }
    }
    let ends = || lines.iter().flat_map(|(_, _, points)| points.iter().map(|point| point.0));
    let (from, to) = (ends().fold(3.0, f64::min), ends().fold(-1.0, f64::max));
    let mut chart = Chart::new((from - 0.1, to.max(from) + 0.1), (0.0, 1.0));
    chart.axes("time (ms)", "share of calls", |power| {
        (power.fract().abs() < 1e-9).then(|| plain(10_f64.powf(power)))
    });
    for (name, color, points) in &lines {
        chart.line(points, color, name);
    }
    ("latency", chart.finish(), csv)
}

fn heat(view: &RunView) -> Plot {
    let mut csv = String::from("stage,seconds,milliseconds_from,class,calls\n");
    let widest = view.stages.iter().map(|stage| stage.heat.column_width().0).max().unwrap_or(1);
    let mut sums = [
        vec![0_u64; HEAT_COLUMNS * HEAT_ROWS],
        vec![0; HEAT_COLUMNS * HEAT_ROWS],
        vec![0; HEAT_COLUMNS * HEAT_ROWS],
    ];
    let classes = [(Class::Warm, "warm"), (Class::Cold, "cold"), (Class::Failed, "failed")];
    for stage in &view.stages {
        let width = stage.heat.column_width();
        for ((class, name), sum) in classes.iter().zip(&mut sums) {
            for (cell, count) in stage.heat.cells(*class).iter().enumerate() {
                if *count == 0 {
                    continue;
                }
                let (row, column) = (cell / HEAT_COLUMNS, cell % HEAT_COLUMNS);
                let at = width.as_secs() * column as f64;
                let from = HeatMap::row_start(row).as_millis();
                let stage = quoted(&stage.name);
                let _ = writeln!(csv, "{stage},{at},{from},{name},{count}");
                sum[row * HEAT_COLUMNS + column / (widest / width.0.max(1)).max(1) as usize] +=
                    u64::from(*count);
            }
        }
    }
    let used = |cell: usize| sums.iter().any(|sum| sum[cell] > 0);
    let cells: Vec<usize> = (0..HEAT_COLUMNS * HEAT_ROWS).filter(|cell| used(*cell)).collect();
    let columns = cells.iter().map(|cell| cell % HEAT_COLUMNS).max().unwrap_or(0) + 1;
    let low = cells.iter().map(|cell| cell / HEAT_COLUMNS).min().unwrap_or(0);
    let high = cells.iter().map(|cell| cell / HEAT_COLUMNS).max().unwrap_or(0) + 1;
    let most = sums.iter().flatten().copied().max().unwrap_or(1) as f64;
    let end = widest as f64 / 1e6 * columns as f64;
    let log = |row: usize| HeatMap::row_start(row).as_millis().max(0.01).log10();
    let mut chart = Chart::new((0.0, end), (log(low), log(high)));
    chart.axes_with(
        "time (s)",
        "duration (ms)",
        |at| Some(plain(at)),
        |power| (power.fract().abs() < 1e-9).then(|| plain(10_f64.powf(power))),
    );
    for (sum, color) in sums.iter().zip([BLUE, ORANGE, RED]) {
        for cell in cells.iter().copied().filter(|cell| sum[*cell] > 0) {
            let (row, column) = (cell / HEAT_COLUMNS, cell % HEAT_COLUMNS);
            let at = widest as f64 / 1e6 * column as f64;
            let strength = 0.3 + 0.7 * (1.0 + sum[cell] as f64).ln() / (1.0 + most).ln();
            chart.cell((at, log(row)), (at + widest as f64 / 1e6, log(row + 1)), color, strength);
        }
    }
    ("heat", chart.finish(), csv)
}

fn stages(view: &RunView) -> Plot {
    let mut csv = String::from("stage,started_s,ended_s,succeeded,failed,calls,usd\n");
    let end = view.now.as_secs().max(1e-6);
    let count = view.stages.len().max(1) as f64;
    let mut chart = Chart::new((0.0, end), (0.0, count));
    chart.axes_with("time (s)", "", |at| Some(plain(at)), |_| None);
    for (place, stage) in view.stages.iter().enumerate() {
        let from = stage.started.unwrap_or_default().as_secs();
        let to = stage.ended.unwrap_or(view.now).as_secs();
        let (ok, failed) = (stage.counts.succeeded(), stage.counts.failed());
        let usd = stage.cost.map_or(String::new(), |cost| cost.as_dollars().to_string());
        let name = quoted(&stage.name);
        let _ = writeln!(csv, "{name},{from},{to},{ok},{failed},{},{usd}", stage.calls);
        let y = count - place as f64;
        let color = if failed > 0 { RED } else { BLUE };
        chart.cell((from, y - 0.8), (to, y - 0.2), color, 0.75);
        let label = format!("{}: {ok} succeeded, {failed} failed", stage.name);
        chart.text((0.0, y - 0.5), &label);
    }
    ("stages", chart.finish(), csv)
}

fn last(points: &[(f64, f64)]) -> f64 {
    points.last().map_or(1.0, |point| point.0).max(1e-6)
}

fn top(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|point| point.1).fold(1.0, f64::max)
}

fn plain(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// A field of a CSV file by RFC 4180.
fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}
