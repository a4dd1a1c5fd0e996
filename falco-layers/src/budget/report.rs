//! A budget in numbers.

use std::fmt;

use falco_core::{StageName, UsDollars};
use serde::{Deserialize, Serialize};

use super::amount::dollars;
use super::ledger::Ledger;

/// A budget in numbers: what was spent for what, and what the rest of the run would take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetReport {
    /// The limit; none where only an estimate was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<UsDollars>,
    /// The cost of all attempts that were answered, those of earlier processes of the run included.
    pub spent: UsDollars,
    /// The upper bound of what is in flight.
    pub reserved: UsDollars,
    /// The upper bound of calls whose end is not known: they may have cost nothing, or as much. It counts as spent.
    pub in_doubt: UsDollars,
    /// How far the bill may be above `spent` and `in_doubt`, because some of these costs are estimates.
    pub uncertainty: UsDollars,
    /// Whether the run was stopped because nothing more could be paid for.
    pub is_exhausted: bool,
    /// The stages that have begun.
    pub stages: Vec<StageCost>,
}

/// The cost of a stage, so far and as estimated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageCost {
    /// The stage.
    pub stage: StageName,
    /// How many invocations it has, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocations: Option<u64>,
    /// How many of them are completed.
    pub completed: u64,
    /// The cost of those, repeated attempts and copies included.
    pub spent: UsDollars,
    /// The cost of all of them, from those that are completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<UsDollars>,
    /// How far that may be off, up or down, with a confidence of 95 %: it follows from how much the calls so far differ.
    /// None before three calls are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_error: Option<UsDollars>,
}

impl BudgetReport {
    pub(super) fn of(ledger: &Ledger) -> Self {
        let stages = ledger.stages.iter().map(|stage| {
            let total = if stage.is_finished { Some(stage.completed) } else { stage.total };
            let left = total.map(|total| total.saturating_sub(stage.completed));
            StageCost {
                stage: stage.name.clone(),
                invocations: total.map(|total| total.max(stage.completed)),
                completed: stage.completed,
                spent: dollars(stage.spent),
                estimate: total.and_then(|total| stage.estimate(total)).map(UsDollars),
                estimate_error: left.and_then(|left| stage.error_of(left)).map(UsDollars),
            }
        });
        Self {
            limit: ledger.limit.map(dollars),
            spent: dollars(ledger.spent),
            reserved: dollars(ledger.reserved),
            in_doubt: dollars(ledger.in_doubt),
            uncertainty: dollars(ledger.uncertainty),
            is_exhausted: ledger.refused.is_some(),
            stages: stages.collect(),
        }
    }

    /// The estimated cost of the invocations that the stages which have begun still lack; none where their number or
    /// their cost is not known. Stages that have not begun are not in it.
    pub fn to_finish(&self) -> Option<UsDollars> {
        self.stages.iter().map(StageCost::to_finish).sum()
    }
}

impl StageCost {
    /// The estimated cost of the invocations that are not completed.
    pub fn to_finish(&self) -> Option<UsDollars> {
        Some(UsDollars((self.estimate?.0 - self.spent.0).max(0.0)))
    }
}

impl fmt::Display for StageCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, completed, spent, .. } = self;
        write!(f, "stage {stage}: {spent} for {completed}")?;
        if let Some(all) = self.invocations {
            write!(f, " of {all}")?;
        }
        f.write_str(" invocations")?;
        match self.estimate {
            Some(estimate) if self.invocations > Some(*completed) => {
                write!(f, ", about {estimate}")?;
                if let Some(error) = self.estimate_error.filter(|error| error.0 > 0.0) {
                    write!(f, " ± {error}")?;
                }
                f.write_str(" for all of them")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for BudgetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spent", self.spent)?;
        if let Some(limit) = self.limit {
            write!(f, " of a budget of {limit}")?;
        }
        for (amount, what) in [
            (self.reserved, "reserved for what is in flight"),
            (self.in_doubt, "at most for calls whose end is not known"),
            (self.uncertainty, "more at most, since costs are estimates"),
        ] {
            if amount.0 > 0.0 {
                write!(f, ", {amount} {what}")?;
            }
        }
        self.stages.iter().try_for_each(|stage| write!(f, "; {stage}"))
    }
}
