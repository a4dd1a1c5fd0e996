//! The price of a plan before it runs.

use std::fmt;

use falco_core::{ExecutionPlan, Prices, StageName, StageSource, UsDollars};
use serde::{Deserialize, Serialize};

use super::format::number;

/// The cost of a plan at most, known before anything is sent: for each input that can be counted, the whole timeout of
/// its function with all its memory, as often as the stage's policy allows it to be sent.
///
/// Attempts that follow a loss, and those that the executor's own options add, come on top: a
/// [`Budget`](falco_layers::Budget) limits them, too.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, ExecutionPlan, Payload, Prices, Stage};
/// use falco_executors::report::PlanPrice;
///
/// let f = Deployable::python("f", "def main(args): return args");
/// let plan = ExecutionPlan::new(vec![Stage::from_payloads("map", f, vec![Payload::empty(); 10])])?;
/// let price = PlanPrice::of(&plan, &Prices::default().with_second(0.001));
/// // Ten times the default timeout of 60 seconds.
/// assert_eq!(price.upper_bound.unwrap().to_string(), "$0.60");
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanPrice {
    /// The cost of all stages at most; none where the inputs of a stage cannot be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper_bound: Option<UsDollars>,
    /// The stages, in the order of the plan.
    pub stages: Vec<StagePrice>,
}

/// The cost of a stage at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StagePrice {
    /// The stage.
    pub stage: StageName,
    /// Its inputs, where they can be counted before the run: those of derived stages cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<u64>,
    /// How often an input is sent at most, by the policy of the stage.
    pub attempts: u64,
    /// The cost of one attempt at most.
    pub each: UsDollars,
    /// The cost of the stage at most, where its inputs can be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper_bound: Option<UsDollars>,
}

impl PlanPrice {
    /// The price of a plan, without opening its inputs.
    pub fn of(plan: &ExecutionPlan, prices: &Prices) -> Self {
        let stages: Vec<StagePrice> = plan
            .stages()
            .iter()
            .map(|stage| {
                let inputs = match &stage.source {
                    StageSource::Inputs(inputs) => inputs.count().map(|count| count as u64),
                    _ => None,
                };
                let sent = 1 + u64::from(stage.policy.repeats.map_or(0, |repeats| repeats.times));
                let copied = stage.idempotent && stage.policy.speculation.is_some();
                let attempts = if copied { sent * 2 } else { sent };
                let each = prices.upper_bound(&stage.function.scaling);
                let upper_bound =
                    inputs.map(|inputs| UsDollars(each.0 * inputs as f64 * attempts as f64));
                StagePrice { stage: stage.name.clone(), inputs, attempts, each, upper_bound }
            })
            .collect();
        let upper_bound = stages.iter().map(|stage| stage.upper_bound).sum();
        Self { upper_bound, stages }
    }
}

impl fmt::Display for PlanPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.upper_bound {
            Some(all) => write!(f, "at most {all}")?,
            None => {
                f.write_str("no upper bound, since not all inputs can be counted before the run")?
            }
        }
        self.stages.iter().try_for_each(|stage| {
            write!(f, "; stage {}: ", stage.stage)?;
            match (stage.inputs, stage.upper_bound) {
                (Some(inputs), Some(all)) => {
                    write!(f, "{all} for {} inputs", number(inputs))?;
                }
                _ => write!(f, "{} for each input", stage.each)?,
            }
            if stage.attempts > 1 { write!(f, " in {} attempts", stage.attempts) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use falco_core::{Deployable, Payload, Repeats, Scaling, Stage, StagePolicy};

    use super::*;
    use crate::OneToOne;

    fn price(stages: Vec<Stage>) -> PlanPrice {
        let plan = ExecutionPlan::new(stages).unwrap();
        PlanPrice::of(&plan, &Prices::default().with_second(1.0))
    }

    #[test]
    fn inputs_that_can_be_read_only_once_are_left_to_the_run() {
        let opened = Arc::new(AtomicBool::new(false));
        let seen = opened.clone();
        let stage = Stage::new("map", function(), move || {
            seen.store(true, Ordering::SeqCst);
            futures_util::stream::empty()
        });
        assert_eq!(price(vec![stage]).upper_bound, None);
        assert!(!opened.load(Ordering::SeqCst));
    }

    fn function() -> Deployable {
        let scaling = Scaling::default().with_timeout(Duration::from_secs(2));
        Deployable::python("f", "def main(args): return args").with_scaling(scaling)
    }

    #[test]
    fn repeats_and_copies_of_the_policy_are_in_it() {
        let policy = StagePolicy::default().with_repeats(Repeats::times(2));
        let stage = |policy| {
            Stage::from_payloads("map", function(), vec![Payload::empty(); 10]).with_policy(policy)
        };
        let repeated = price(vec![stage(policy)]);
        assert_eq!(repeated.upper_bound, Some(UsDollars(60.0)));
        assert_eq!(
            repeated.to_string(),
            "at most $60.00; stage map: $60.00 for 10 inputs in 3 attempts"
        );
        let copied = policy.with_speculation(2.0);
        // Only what may run twice is copied.
        assert_eq!(price(vec![stage(copied)]).upper_bound, Some(UsDollars(60.0)));
        assert_eq!(price(vec![stage(copied).idempotent()]).upper_bound, Some(UsDollars(120.0)));
    }

    #[test]
    fn inputs_that_cannot_be_counted_have_a_price_for_each() {
        let map = Stage::from_payloads("map", function(), vec![Payload::empty(); 3]);
        let next = Stage::derived("next", function(), ["map"], OneToOne::new());
        let price = price(vec![map, next]);
        assert_eq!((price.upper_bound, price.stages[1].inputs), (None, None));
        assert!(price.to_string().ends_with("stage next: $2.00 for each input"), "{price}");
    }
}
