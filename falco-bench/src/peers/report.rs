//! The measurements as a table for people, as JSON, and as figures with goals.

mod machine;
mod markdown;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use self::machine::Machine;
use super::contender::Measured;
use super::environment::Environment;
use super::work::{Kind, Sizes, Work};
use super::{FALCO, FALCO_IN_BATCHES, STANDARD};
use crate::figure::{Figure, Goal};

/// One contender and one piece of work: all rounds, or why there is none.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Cell {
    seconds: Vec<f64>,
    ready: Vec<f64>,
    /// Bytes, in each round.
    memory: Vec<f64>,
    /// One call of so many was made, and the time multiplied.
    share: u64,
    failures: Option<Failures>,
    error: Option<String>,
}

/// The report of a contender where one call in a thousand fails.
#[derive(Clone, Debug, Serialize)]
struct Failures {
    /// Results that its map hands over before it fails.
    map: u64,
    /// Results that it hands over where each is asked for by itself; none where it has no such call.
    each: Option<u64>,
    /// Whether the error names the input.
    named: bool,
    /// Whether what it prints names the input.
    logged: bool,
}

impl Cell {
    /// One round.
    pub(super) fn measured(measured: Measured, share: u64) -> Self {
        let failures = measured.answer.get("each").map(|each| Failures {
            map: measured.answer["map"].as_u64().unwrap_or_default(),
            each: each.as_u64(),
            named: measured.answer["named"] == Value::Bool(true),
            logged: measured.log.contains("7000500"),
        });
        Self {
            seconds: vec![measured.seconds],
            ready: measured.ready.into_iter().collect(),
            memory: vec![measured.memory],
            share,
            failures,
            error: None,
        }
    }

    /// None, with the reason.
    pub(super) fn failed(error: String) -> Self {
        Self { error: Some(error), share: 1, ..Self::default() }
    }

    fn merge(&mut self, round: Self) {
        self.seconds.extend(round.seconds);
        self.ready.extend(round.ready);
        self.memory.extend(round.memory);
        self.share = round.share;
        self.failures = round.failures.or(self.failures.take());
        self.error = round.error.or(self.error.take());
    }

    /// The quickest round: what disturbs a measurement only makes it slower. None where one round failed.
    fn best(&self) -> Option<f64> {
        if self.error.is_some() { None } else { self.seconds.iter().copied().reduce(f64::min) }
    }

    fn ready(&self) -> Option<f64> {
        if self.error.is_some() { None } else { self.ready.iter().copied().reduce(f64::min) }
    }

    /// The peak of all rounds, in MB.
    fn peak(&self) -> Option<f64> {
        let peak = self.memory.iter().copied().reduce(f64::max);
        if self.error.is_some() { None } else { peak.map(|bytes| bytes / 1e6) }
    }
}

/// A piece of work as the report shows it.
#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    title: String,
    kind: Kind,
    calls: usize,
    cells: BTreeMap<&'static str, Cell>,
}

impl Row {
    /// The figure that the goals are about: calls in a second, seconds, or results.
    fn value(&self, contender: &str) -> Option<f64> {
        let cell = self.cells.get(contender)?;
        let seconds = cell.best()?;
        match self.kind {
            Kind::Rate => Some(self.calls as f64 / seconds),
            Kind::Time | Kind::Cold => Some(seconds),
            // In a thousand, since some make fewer calls.
            Kind::Failures => cell.failures.as_ref()?.each.map(|each| {
                1_000.0 * each as f64
                    / (self.calls as f64 / cell.share.max(1) as f64).max(2.0).floor()
            }),
        }
    }

    fn is_more_better(&self) -> bool {
        matches!(self.kind, Kind::Rate | Kind::Failures)
    }

    /// The best of all but Falco, with its name.
    fn best_peer(&self) -> Option<(&'static str, f64)> {
        let peers = self.cells.keys().filter(|name| ![FALCO, FALCO_IN_BATCHES].contains(name));
        let values = peers.filter_map(|name| Some((*name, self.value(name)?)));
        values.reduce(|best, next| {
            let is_better = if self.is_more_better() { next.1 > best.1 } else { next.1 < best.1 };
            if is_better { next } else { best }
        })
    }

    /// The least memory of all but Falco and the standard library, with its name.
    fn least_memory(&self) -> Option<(&'static str, f64)> {
        let others = [FALCO, FALCO_IN_BATCHES, STANDARD];
        let peers = self.cells.iter().filter(|(name, _)| !others.contains(name));
        let peaks = peers.filter_map(|(name, cell)| Some((*name, cell.peak()?)));
        peaks.reduce(|best, next| if next.1 < best.1 { next } else { best })
    }

    fn figures(&self) -> anyhow::Result<Vec<Figure>> {
        let (name, cell) = (self.name, self.cells.get(FALCO));
        let cell = cell.with_context(|| format!("{name}: Falco was not measured"))?;
        let failed = || format!("{name}: Falco: {}", cell.error.as_deref().unwrap_or("no figure"));
        let alone = || format!("{name}: no other contender could do it: see the table");
        let value = self.value(FALCO).with_context(failed)?;
        let (best, floor) = self.best_peer().with_context(alone)?;
        let (unit, goal) = match self.kind {
            Kind::Rate => ("calls/s", Goal::AtLeast(2.0)),
            Kind::Time | Kind::Cold => ("s", Goal::AtMost(1.0)),
            Kind::Failures => ("of 1000", Goal::AtLeast(1.0)),
        };
        let title = format!("peers: {}, beside {best}", self.title);
        let mut figures = vec![Figure::beside(title, unit, value, floor, goal)];
        if let (Kind::Rate, Some(value)) = (self.kind, self.value(FALCO_IN_BATCHES)) {
            let title = format!("peers: {}, in batches, beside {best}", self.title);
            figures.push(Figure::beside(title, unit, value, floor, goal));
        }
        if matches!(self.kind, Kind::Rate | Kind::Time) {
            let peak = cell.peak().with_context(failed)?;
            let (least, floor) = self.least_memory().with_context(alone)?;
            let title = format!("peers: memory, {name}, beside {least}");
            figures.push(Figure::beside(title, "MB", peak, floor, Goal::AtMost(1.0)));
        }
        Ok(figures)
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    machine: Machine,
    sizes: Sizes,
    /// Contenders in the order of the columns, with their versions.
    contenders: Vec<(&'static str, String)>,
    rows: Vec<Row>,
}

impl Report {
    /// A report without figures.
    pub(super) fn new(
        sizes: &Sizes,
        environment: &Environment,
        contenders: &[&'static str],
        works: &[Work],
    ) -> Self {
        let row = |work: &Work| Row {
            name: work.name,
            title: work.title.clone(),
            kind: work.kind,
            calls: work.inputs.len(),
            cells: BTreeMap::new(),
        };
        Self {
            machine: Machine::here(),
            sizes: *sizes,
            contenders: contenders.iter().map(|name| (*name, environment.version(name))).collect(),
            rows: works.iter().map(row).collect(),
        }
    }

    /// Adds a round.
    pub(super) fn add(&mut self, work: &str, contender: &'static str, cell: Cell) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == work) {
            row.cells.entry(contender).or_default().merge(cell);
        }
    }

    /// Whether a contender has failed at something already: once is enough.
    pub(super) fn has_failed(&self, work: &str, contender: &str) -> bool {
        let row = self.rows.iter().find(|row| row.name == work);
        row.and_then(|row| row.cells.get(contender)).is_some_and(|cell| cell.error.is_some())
    }

    /// Whether a contender takes more than twice as long as the quickest one.
    pub(super) fn is_far_behind(&self, work: &str, contender: &str) -> bool {
        let Some(row) = self.rows.iter().find(|row| row.name == work) else { return false };
        let best = row.cells.values().filter_map(Cell::best).reduce(f64::min);
        let own = row.cells.get(contender).and_then(Cell::best);
        best.zip(own).is_some_and(|(best, own)| own > 2.0 * best)
    }

    /// All figures, as the other benchmarks have them.
    pub(super) fn figures(&self) -> anyhow::Result<Vec<Figure>> {
        let figures: Vec<_> = self.rows.iter().map(Row::figures).collect::<anyhow::Result<_>>()?;
        Ok(figures.into_iter().flatten().collect())
    }

    /// Leaves `report.md` and `report.json` in the folder.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("report.md"), self.markdown())?;
        let rows = self.rows.iter().map(|row| {
            json!({ "name": row.name, "title": row.title, "calls": row.calls, "contenders": row.cells })
        });
        let json = json!({
            "machine": self.machine,
            "sizes": self.sizes,
            "versions": self.contenders,
            "rows": rows.collect::<Vec<_>>(),
        });
        fs::write(folder.join("report.json"), serde_json::to_vec_pretty(&json)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
