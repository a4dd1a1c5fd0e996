//! The report: one file that asks nothing of anybody.

mod collected;
mod columns;
mod critical;
mod lanes;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use falco_core::{Error, ErrorKind, Result};
use falco_trace::{Micros, RunView};
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::collected::Collected;
use self::critical::CriticalState;
pub use self::critical::{CriticalPath, PathStep};
use self::lanes::InstanceState;
use crate::page;
use crate::state::{Details, Flying, State};

#[derive(Serialize)]
struct Embedded {
    state: State,
    /// By the name of the stage; of all under the empty name.
    details: BTreeMap<String, Details>,
    calls: usize,
    /// Base64 of what `columns` writes.
    columns: String,
    lanes: usize,
    by_instance: bool,
    span: Micros,
    critical: CriticalState,
    containers: Vec<InstanceState>,
    containers_total: usize,
    cost: Vec<CostState>,
}

#[derive(Serialize)]
struct CostState {
    stage: String,
    calls: u64,
    usd: Option<f64>,
    repeats: f64,
    estimated: u64,
}

/// Reads the trace at `trace` and returns a report on it: one HTML file that loads nothing and sends nothing.
///
/// It shows every call: a million take some 4 MB.
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
        state: State::of(view, &Flying::default(), 0).without_recent(),
        details,
        calls: collected.calls.len(),
        columns: STANDARD.encode(columns::write(&collected, &lanes)),
        lanes: lanes.count,
        by_instance: lanes.by_instance,
        span: Micros(view.now.0.max(1)),
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
    let stages = view.stages.iter().filter(|stage| stage.cost.is_some());
    stages
        .map(|stage| CostState {
            stage: stage.name.clone(),
            calls: stage.calls,
            usd: stage.cost.map(|cost| cost.as_dollars()),
            repeats: stage.cost_of_repeats.as_dollars(),
            estimated: stage.estimated,
        })
        .collect()
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
