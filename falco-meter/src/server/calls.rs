//! The calls of a trace file that are asked for.

use std::collections::HashMap;

use falco_trace::{CallOutcome, CallQuery, Micros};
use serde::Serialize;

use crate::state::CallState;

/// Calls in one answer.
pub(super) const LISTED: usize = 100;

/// A page of calls, and the line of the trace at which the next one begins.
#[derive(Debug, Serialize)]
pub(super) struct CallPage {
    pub(super) calls: Vec<CallState>,
    pub(super) next: Option<u64>,
}

/// Reads which calls are asked for, and from which line on.
pub(super) fn parse(query: &HashMap<String, String>) -> Result<(CallQuery, u64), String> {
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
    let outcomes = text("o").map(|outcome| outcomes(&outcome)).transpose()?;
    let wanted = CallQuery::default()
        .with_stage(text("stage"))
        .with_outcomes(outcomes.unwrap_or_default())
        .with_from(number("from")?)
        .with_to(number("to")?)
        .with_min(number("min_ms")?)
        .with_max(number("max_ms")?);
    Ok((wanted, after))
}

fn outcomes(text: &str) -> Result<Vec<CallOutcome>, String> {
    let all = CallOutcome::ALL.into_iter();
    let wanted: Vec<CallOutcome> = match text {
        "failed" => all.filter(|outcome| outcome.is_failure()).collect(),
        text => all.filter(|outcome| outcome.as_str() == text).collect(),
    };
    if wanted.is_empty() {
        let known = CallOutcome::ALL.map(CallOutcome::as_str).join(", ");
        return Err(format!("invalid o {text:?}: use failed, or one of {known}"));
    }
    Ok(wanted)
}
