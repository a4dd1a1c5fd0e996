//! A page of calls out of a trace file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use falco_core::{Error, ErrorKind, Result};
use falco_trace::{Call, Micros, Record};
use serde::Serialize;

use crate::state::CallState;

/// Calls in one answer.
const LISTED: usize = 100;
/// Lines that are read for one answer.
const LINES: usize = 200_000;

/// Which calls are asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    stage: Option<String>,
    outcome: Option<String>,
    from: Option<Micros>,
    to: Option<Micros>,
    min: Option<Micros>,
    max: Option<Micros>,
    /// The offset in the file at which to begin.
    after: u64,
}

impl Wanted {
    pub(super) fn parse(query: &HashMap<String, String>) -> Result<Self, String> {
        let text = |name: &str| query.get(name).filter(|value| !value.is_empty()).cloned();
        let number = |name: &str| match text(name) {
            None => Ok(None),
            Some(value) => match value.parse::<f64>() {
                Ok(millis) if millis.is_finite() => Ok(Some(Micros((millis * 1e3).round() as i64))),
                _ => Err(format!("invalid {name} {value:?}: use a number of milliseconds")),
            },
        };
        let after = match text("after") {
            None => 0,
            Some(value) => value.parse().map_err(|_| {
                format!("invalid after {value:?}: use what the answer before says as next")
            })?,
        };
        Ok(Self {
            stage: text("stage"),
            outcome: text("o"),
            from: number("from")?,
            to: number("to")?,
            min: number("min_ms")?,
            max: number("max_ms")?,
            after,
        })
    }

    fn takes(&self, call: &Call<'_>) -> bool {
        let took = call.done.since(call.sent_at());
        self.stage.as_ref().is_none_or(|stage| *stage == call.stage)
            && self.outcome.as_ref().is_none_or(|outcome| match outcome.as_str() {
                "failed" => call.outcome.is_failure(),
                outcome => outcome == call.outcome.as_str(),
            })
            && self.from.is_none_or(|from| call.sent_at() >= from)
            && self.to.is_none_or(|to| call.sent_at() < to)
            && self.min.is_none_or(|min| took >= min)
            && self.max.is_none_or(|max| took < max)
    }
}

/// A page of calls, and where the next one begins.
#[derive(Debug, Serialize)]
pub(super) struct CallPage {
    calls: Vec<CallState>,
    next: Option<u64>,
}

pub(super) fn list(path: &Path, wanted: &Wanted) -> Result<CallPage> {
    if path.extension().is_some_and(|extension| extension == "gz") {
        let message = "calls are not listed out of a compressed trace";
        return Err(Error::unsupported(message).with_hint("make a report of it"));
    }
    let failed = |error: std::io::Error| {
        let message = format!("cannot read the trace file {}", path.display());
        Error::new(ErrorKind::Other, message).with_source(&error)
    };
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(wanted.after)).map_err(failed)?;
    let (mut lines, mut line, mut at) = (BufReader::new(file), Vec::new(), wanted.after);
    let mut calls = Vec::new();
    for _ in 0..LINES {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            return Ok(CallPage { calls, next: None });
        }
        if calls.len() == LISTED {
            break;
        }
        at += read as u64;
        if let Ok(Some(Record::Call(call))) = Record::parse(&line)
            && wanted.takes(&call)
        {
            calls.push(CallState::of(&call));
        }
    }
    Ok(CallPage { calls, next: Some(at) })
}
