//! Everything about one run.

use std::collections::BTreeMap;

use falco_core::{InvocationId, Result, RunId, StageName};
use serde::Serialize;

use crate::config::{JournalConfig, RunCommand};
use crate::head::head;
use crate::index::Entry;
use crate::journal::{RunJournal, existing};
use crate::reader::Reader;
use crate::record::Verdict;
use crate::replay::Replay;
use crate::runs::{Counted, RunSummary};

/// Everything about one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunDetails {
    /// The run in one line.
    pub summary: RunSummary,
    /// How its last process was started, if that is recorded.
    pub command: Option<RunCommand>,
    /// Its stages.
    pub stages: Vec<StageSummary>,
    /// Deployments that no process has removed, as far as the journal knows.
    pub deployments: Vec<String>,
    /// Invocations without a success, and what a resume does with them.
    pub unsettled: Vec<Unsettled>,
    /// Invocations that a resume has sent again, and why.
    pub sent_again: Vec<SentAgainBecause>,
}

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageSummary {
    /// Its name.
    pub stage: StageName,
    /// Its function, once there is a plan.
    pub function: Option<String>,
    /// Whether running one of its invocations twice does no harm.
    pub idempotent: bool,
    /// Its invocations.
    pub invocations: Counted,
}

/// An invocation without a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unsettled {
    /// The stage.
    pub stage: StageName,
    /// The invocation.
    pub invocation: InvocationId,
    /// Its record, and the decision of a resume.
    pub why: &'static str,
}

/// An invocation that a resume has sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SentAgainBecause {
    /// The stage.
    pub stage: StageName,
    /// The invocation.
    pub invocation: InvocationId,
    /// Why.
    pub why: String,
}

impl RunJournal {
    /// Everything about one run. It takes no lock: the run may go on meanwhile.
    ///
    /// # Errors
    ///
    /// `NotFound` when it has no journal; `Unsupported` and `Other` when that cannot be read.
    pub fn show(config: &JournalConfig, run: &RunId) -> Result<RunDetails> {
        let directory = existing(config, run)?;
        let (summary, replay) = RunSummary::of(run.clone(), &directory);
        details(summary, &replay?)
    }
}

fn details(summary: RunSummary, replay: &Replay) -> Result<RunDetails> {
    let names: BTreeMap<u32, &StageName> =
        replay.stages.iter().map(|(name, number)| (*number, name)).collect();
    let planned = |number: u32| {
        let stages = replay.plan.iter().flat_map(|plan| &plan.stages);
        stages.into_iter().find(|stage| stage.s == number)
    };
    let is_idempotent = |number| planned(number).is_some_and(|stage| stage.idempotent);
    let reader = Reader::new(replay);
    let mut counts: BTreeMap<u32, Counted> = BTreeMap::new();
    let mut unsettled = Vec::new();
    for group in replay.index.groups() {
        let Some((at, last)) = group.last() else { continue };
        let (number, id) = reader.with(at, |_, _, json| {
            let head = head(json);
            Ok(head.map_or((u32::MAX, String::new()), |head| (head.stage, head.id.into_owned())))
        })?;
        counts.entry(number).or_default().add(last);
        if let (Some(why), Some(stage)) = (why(last, is_idempotent(number)), names.get(&number)) {
            unsettled.push(Unsettled { stage: (*stage).clone(), invocation: id.into(), why });
        }
    }
    unsettled.sort_by(|left, right| {
        (&left.stage, &left.invocation).cmp(&(&right.stage, &right.invocation))
    });
    let stages = names.iter().map(|(number, name)| StageSummary {
        stage: (*name).clone(),
        function: planned(*number).map(|stage| stage.function.name.clone()),
        idempotent: is_idempotent(*number),
        invocations: counts.get(number).copied().unwrap_or_default(),
    });
    let sent_again = replay.sent_again.iter().filter_map(|record| {
        Some(SentAgainBecause {
            stage: (*names.get(&record.s)?).clone(),
            invocation: record.i.clone(),
            why: record.why.to_string(),
        })
    });
    Ok(RunDetails {
        command: replay.command.clone(),
        stages: stages.collect(),
        deployments: replay.deployed.keys().cloned().collect(),
        sent_again: sent_again.collect(),
        unsettled,
        summary,
    })
}

/// The decision of a resume about an invocation, by its last record.
fn why(last: Entry, is_idempotent: bool) -> Option<&'static str> {
    Some(match (last, is_idempotent) {
        (Entry::Completed(Verdict::Succeeded), _) => return None,
        (Entry::Completed(Verdict::FunctionFailed), true) => "it failed: a resume sends it again",
        (Entry::Completed(Verdict::FunctionFailed), false) => {
            "it failed and is not idempotent: a resume keeps the failure, unless failed ones are to run again"
        }
        (Entry::Completed(Verdict::PlatformFailed), _) | (Entry::NotRun, _) => {
            "it never ran: a resume sends it"
        }
        (Entry::Completed(Verdict::Unknown) | Entry::Intent, true) => {
            "nobody knows whether it ran: a resume sends it again, since it is idempotent"
        }
        (Entry::Completed(Verdict::Unknown), false) => {
            "nobody knows whether it ran: a resume keeps it as unknown, unless unknown ones are to run again"
        }
        (Entry::Intent, false) => {
            "it was being sent when its process ended: a resume asks the platform, else it is unknown"
        }
        (Entry::Submitted, _) => "it was submitted: a resume collects it",
    })
}
