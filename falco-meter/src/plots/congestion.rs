//! Plots of the calls that congestion control allowed, and of those that the platform refused.

use std::fmt::Write;

use falco_trace::{GateRecord, GateView, RunView};

use super::chart::Chart;
use super::{BLUE, ORANGE, Plot, RED, quoted, top};

const COLORS: [&str; 4] = ["#56606d", ORANGE, "#7c5cbf", "#1c7a45"];

/// The plots of the gates; none where nothing was limited.
pub(super) fn plots(view: &RunView) -> Vec<Plot> {
    let gates: Vec<&GateView> = view.controls().collect();
    if gates.is_empty() {
        return Vec::new();
    }
    let end = view.now.as_secs().max(1e-6);
    vec![window(&gates, end), rate(&gates, end)]
}

fn window(gates: &[&GateView], end: f64) -> Plot {
    let mut csv = String::from("gate,seconds,in_flight,waiting,window,paused\n");
    let mut lines = Vec::new();
    for (index, gate) in gates.iter().enumerate() {
        for sample in &gate.samples {
            let window = text(sample.window);
            let (at, name) = (sample.t.as_secs(), quoted(&gate.name));
            let GateRecord { fly, wait, shut, .. } = sample;
            let _ = writeln!(csv, "{name},{at:.6},{fly},{wait},{window},{shut}");
        }
        let color = COLORS[index % COLORS.len()];
        lines.push((named(gates, gate, "window"), color, points(gate, |it| it.window)));
        let in_flight = points(gate, |it| u32::try_from(it.fly).ok());
        lines.push((named(gates, gate, "in flight"), BLUE, in_flight));
    }
    ("window", drawn(lines, end, "calls"), csv)
}

fn rate(gates: &[&GateView], end: f64) -> Plot {
    let mut csv = String::from("gate,seconds,rate_allowed,refused,refused_per_second\n");
    let mut lines = Vec::new();
    for (index, gate) in gates.iter().enumerate() {
        let refused = gate.refused_per_second();
        for sample in &gate.samples {
            let since = refused.iter().find(|(at, _)| *at == sample.t).map(|(_, rate)| *rate);
            let (at, name) = (sample.t.as_secs(), quoted(&gate.name));
            let (rate, count, since) = (text(sample.rate), text(sample.refused), text(since));
            let _ = writeln!(csv, "{name},{at:.6},{rate},{count},{since}");
        }
        let color = COLORS[index % COLORS.len()];
        lines.push((named(gates, gate, "rate allowed"), color, points(gate, |it| it.rate)));
        let refused = refused.iter().map(|(at, rate)| (at.as_secs(), *rate)).collect();
        lines.push((named(gates, gate, "refused"), RED, refused));
    }
    ("rate", drawn(lines, end, "calls per second"), csv)
}

/// A line's name, its colour and its points.
type Line = (String, &'static str, Vec<(f64, f64)>);

fn drawn(lines: Vec<Line>, end: f64, unit: &str) -> String {
    let highest = lines.iter().map(|(_, _, points)| top(points)).fold(1.0, f64::max);
    let mut chart = Chart::linear(end, highest, "time (s)", unit);
    for (name, color, points) in lines.iter().filter(|(_, _, points)| !points.is_empty()) {
        chart.steps(points, color, name);
    }
    chart.finish()
}

fn points(gate: &GateView, take: impl Fn(&GateRecord) -> Option<u32>) -> Vec<(f64, f64)> {
    let known = gate.samples.iter().filter_map(|it| Some((it.t.as_secs(), take(it)?.into())));
    known.collect()
}

fn named(gates: &[&GateView], gate: &GateView, what: &str) -> String {
    match gates.len() {
        1 => what.to_owned(),
        _ => format!("{what}, {}", gate.name),
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}
