//! The report: one file that asks nothing of anybody.

mod collected;
mod columns;
mod critical;
mod lanes;
mod timeline;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use falco_core::{Error, ErrorKind, Result};
use falco_trace::{Costs, RunView};
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::collected::Collected;
use self::critical::CriticalState;
pub use self::critical::{CriticalPath, PathStep};
use self::lanes::InstanceState;
use self::timeline::Timeline;
pub(crate) use self::timeline::read as timeline;
use crate::page;
use crate::state::{Details, State};

#[derive(Serialize)]
struct Embedded {
    state: State,
    /// Those of each stage by its name; those of all under the empty name.
    details: BTreeMap<String, Details>,
    timeline: Timeline,
    critical: CriticalState,
    containers: Vec<InstanceState>,
    containers_total: usize,
    cost: Vec<CostState>,
}

/// The cost of a stage's calls with one outcome, or of all of them.
#[derive(Serialize)]
struct CostState {
    stage: String,
    outcome: &'static str,
    calls: u64,
    first: f64,
    repeats: f64,
    copies: f64,
    usd: f64,
    /// The number of calls whose cost is an estimate; in the row of all outcomes of a stage only.
    estimated: Option<u64>,
}

/// Reads the trace at `trace` and returns a report on it: one HTML file that loads nothing and sends nothing.
///
/// It shows every call: a million take 2 to 4 MB.
///
/// # Errors
///
/// Those of [`falco_trace::read_file`].
pub fn report(trace: impl AsRef<Path>) -> Result<String> {
    let trace = trace.as_ref();
    let collected = Collected::read(trace)?;
    let view = &collected.view;
    let mut details: BTreeMap<String, Details> =
        view.stages.iter().map(|it| (it.name.clone(), Details::of(view, Some(&it.name)))).collect();
    details.insert(String::new(), Details::of(view, None));
    let lanes = lanes::assign(&collected);
    let path = critical::find(&collected);
    let ids = collected::ids_of(trace, path.steps.iter().map(|step| step.call))?;
    let embedded = Embedded {
        state: State::whole(view),
        details,
        timeline: Timeline::of(&collected, &lanes),
        critical: CriticalState::of(&path, view, &ids),
        containers_total: lanes.instances_total,
        containers: lanes.instances,
        cost: cost(view),
    };
    Ok(html(&embedded))
}

/// Writes a [`report`] on the trace at `trace` into the file `into`, readable by its owner only.
///
/// # Errors
///
/// Those of [`report`], and `Other` when the file cannot be written.
pub fn write_report(trace: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<()> {
    let (html, into) = (report(trace)?, into.as_ref());
    let mut options = OpenOptions::new();
    let file = options.create(true).write(true).truncate(true).mode(0o600).open(into);
    file.and_then(|mut file| file.write_all(html.as_bytes())).map_err(|error| {
        let message = format!("cannot write the report {}", into.display());
        Error::new(ErrorKind::Other, message).with_source(&error)
    })
}

/// The steps of a run that followed one another without a gap until its end: what to look at to make it shorter.
///
/// # Errors
///
/// Those of [`falco_trace::read_file`].
pub fn critical_path(trace: impl AsRef<Path>) -> Result<CriticalPath> {
    Ok(critical::find(&Collected::read(trace.as_ref())?))
}

fn cost(view: &RunView) -> Vec<CostState> {
    let mut rows = Vec::new();
    for stage in &view.stages {
        let row = |outcome, of: Costs, estimated| CostState {
            stage: stage.name.clone(),
            outcome,
            calls: of.calls,
            first: of.first.as_dollars(),
            repeats: of.repeats.as_dollars(),
            copies: of.copies.as_dollars(),
            usd: of.sum().as_dollars(),
            estimated,
        };
        rows.extend(stage.costs.iter().map(|(outcome, of)| row(outcome.as_str(), *of, None)));
        if !stage.costs.is_empty() {
            let all = stage.costs.values().fold(Costs::default(), |all, of| all + *of);
            rows.push(row("all", all, Some(stage.estimated)));
        }
    }
    rows
}

fn html(embedded: &Embedded) -> String {
    let hash =
        |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(page::SCRIPT),
        hash(page::STYLE)
    );
    // Numbers and texts only, which always can be written.
    let data = serde_json::to_string(embedded).unwrap_or_default();
    // Within a script, only this could end it.
    let data = data.replace('<', "\\u003c");
    let body = page::HTML.split_once("<!--body-->").map_or("", |(_, rest)| rest);
    let body = body.split_once("<!--/body-->").map_or(body, |(body, _)| body);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Falco report</title>\n<style>{}</style>\n</head>\n<body>{body}\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>{}</script>\n</body>\n</html>\n",
        page::STYLE,
        page::SCRIPT
    )
}
