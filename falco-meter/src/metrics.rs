//! The numbers in the text form that Prometheus reads (0.0.4).

use std::fmt::Write;

use falco_trace::{CallOutcome, Distribution, Micros, RunView, StageView};

use crate::state::Flying;

/// The buckets of OpenTelemetry's durations, and some up to the longest function, in seconds.
const BUCKETS: [f64; 19] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
    120.0, 300.0, 900.0,
];

/// A histogram: its name, its help, and where a stage has it.
type HistogramOf = (&'static str, &'static str, fn(&StageView) -> &Distribution);

const HISTOGRAMS: [HistogramOf; 4] = [
    (
        "invocation_duration_seconds",
        "From being taken in until the answer of the last attempt.",
        |stage| &stage.total,
    ),
    ("execution_duration_seconds", "How long functions ran.", |stage| &stage.execution),
    ("init_duration_seconds", "How long instances took to start.", |stage| &stage.cold_start),
    ("queue_duration_seconds", "How long the provider kept calls waiting.", |stage| &stage.queue),
];

/// All metrics of a run. Ids are in no label: their number has no bound.
pub(crate) fn text(view: &RunView, flying: &Flying) -> String {
    let mut text = Text { view, out: String::new() };
    text.head("invocations_total", "counter", "Invocations that have ended.");
    for stage in &view.stages {
        for outcome in CallOutcome::ALL {
            let count = stage.counts.of(outcome);
            if count > 0 || outcome == CallOutcome::Ok {
                let label = ("outcome", outcome.as_str());
                text.sample("invocations_total", stage, Some(label), count as f64);
            }
        }
    }
    text.head("attempts_total", "counter", "Calls, by why they were made.");
    for stage in &view.stages {
        let repeats: u64 = stage.repeats.values().sum();
        let first = (stage.calls - repeats) as f64;
        text.sample("attempts_total", stage, Some(("reason", "first")), first);
        for (why, count) in &stage.repeats {
            let label = ("reason", why.as_str());
            text.sample("attempts_total", stage, Some(label), *count as f64);
        }
    }
    text.of_stages("throttled_total", "counter", "Calls refused for rate or concurrency.", |it| {
        Some(it.throttled as f64)
    });
    text.of_stages("cold_starts_total", "counter", "Calls that started an instance.", |it| {
        Some(it.cold_starts as f64)
    });
    text.of_stages("cost_dollars_total", "counter", "What calls cost, in US dollars.", |it| {
        it.cost.map(|cost| cost.as_dollars())
    });
    text.of_stages("stage_size", "gauge", "Invocations of a stage, or a lower bound.", |it| {
        it.sized.map(|size| size as f64)
    });
    text.one("in_flight", "gauge", "Invocations in flight.", Some(flying.all as f64));
    text.one("waiting", "gauge", "Those that wait.", Some(flying.waiting as f64));
    text.of_gates("window", "Calls that may be in flight.", |gate| gate.window.map(f64::from));
    text.of_gates("rate_limit", "Calls that may start per second.", |gate| {
        gate.rate.map(f64::from)
    });
    text.dropped();
    for (name, help, of) in HISTOGRAMS {
        text.head(name, "histogram", help);
        for stage in &view.stages {
            text.histogram(name, stage, of(stage));
        }
    }
    text.out
}

struct Text<'a> {
    view: &'a RunView,
    out: String,
}

// Writing to a string cannot fail.
impl Text<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.out, "# HELP falco_{name} {help}\n# TYPE falco_{name} {kind}\n");
    }

    fn of_stages(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&StageView) -> Option<f64>,
    ) {
        self.head(name, kind, help);
        for stage in &self.view.stages {
            if let Some(value) = value(stage) {
                self.sample(name, stage, None, value);
            }
        }
    }

    fn of_gates(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&falco_trace::GateRecord) -> Option<f64>,
    ) {
        let samples =
            self.view.controls().filter_map(|gate| Some((&gate.name, value(&gate.latest)?)));
        let samples: Vec<(&String, f64)> = samples.collect();
        if !samples.is_empty() {
            self.head(name, "gauge", help);
        }
        for (gate, value) in samples {
            let _ = writeln!(self.out, "falco_{name}{{gate=\"{}\"}} {value}", escaped(gate));
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.head(name, kind, help);
            let _ = writeln!(self.out, "falco_{name} {value}");
        }
    }

    fn sample(&mut self, name: &str, stage: &StageView, label: Option<(&str, &str)>, value: f64) {
        let stage = escaped(&stage.name);
        let _ = match label {
            Some((key, label)) => {
                writeln!(self.out, "falco_{name}{{stage=\"{stage}\",{key}=\"{label}\"}} {value}")
            }
            None => writeln!(self.out, "falco_{name}{{stage=\"{stage}\"}} {value}"),
        };
    }

    fn histogram(&mut self, name: &str, stage: &StageView, distribution: &Distribution) {
        let label = escaped(&stage.name);
        for bucket in BUCKETS {
            let count = distribution.count_up_to(Micros((bucket * 1e6) as i64));
            let _ = writeln!(
                self.out,
                "falco_{name}_bucket{{stage=\"{label}\",le=\"{bucket}\"}} {count}"
            );
        }
        let (count, sum) = (distribution.count(), distribution.sum().as_secs());
        let _ = write!(
            self.out,
            "falco_{name}_bucket{{stage=\"{label}\",le=\"+Inf\"}} {count}\n\
             falco_{name}_sum{{stage=\"{label}\"}} {sum}\n\
             falco_{name}_count{{stage=\"{label}\"}} {count}\n"
        );
    }

    fn dropped(&mut self) {
        let mut sums = std::collections::BTreeMap::<&str, u64>::new();
        for (what, count) in self.view.notes.iter().flat_map(|note| &note.dropped) {
            *sums.entry(what).or_default() += count;
        }
        if sums.is_empty() {
            return;
        }
        self.head("dropped_total", "counter", "Records that could not be written or exported.");
        for (what, count) in sums {
            let _ = writeln!(self.out, "falco_dropped_total{{what=\"{}\"}} {count}", escaped(what));
        }
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
