//! The flags on the cost of a run: its budget, and its estimate.

use std::sync::Arc;

use clap::Args;
use falco_core::{AsyncPlatform, Event, Monitor, Prices, Result, UsDollars, Verdict};
use falco_executors::RunOptions;
use falco_executors::report::PlanPrice;
use falco_layers::Budget;

use super::values::{count, positive};

/// The budget of a run, and the estimate of its cost.
#[derive(Debug, Args)]
pub struct CostFlags {
    /// US dollars that the run may cost, such as 5.00: it stops before it costs more. With --journal it can be resumed with a
    /// higher budget.
    #[arg(long, value_name = "DOLLARS", value_parser = positive, allow_negative_numbers = true, help_heading = "Cost")]
    pub budget: Option<f64>,

    /// Run N inputs of each stage first, and say what all of them will cost.
    #[arg(long, value_name = "N", value_parser = count::<std::num::NonZeroU64>, allow_negative_numbers = true, help_heading = "Cost")]
    pub estimate: Option<std::num::NonZeroU64>,
}

/// A line for people.
type Show = Box<dyn Fn(&str) + Send + Sync>;

impl CostFlags {
    /// The budget of the run, if anybody asks for one; estimates are shown by `show`.
    pub(crate) fn budget(&self, show: Show) -> Result<Option<Budget>> {
        let budget = match (self.budget, self.estimate) {
            (None, None) => return Ok(None),
            (Some(dollars), _) => Budget::new(UsDollars(dollars))?,
            (None, Some(_)) => Budget::unlimited(),
        };
        match self.estimate {
            Some(inputs) => budget.with_sample(inputs.get(), show).map(Some),
            None => Ok(Some(budget)),
        }
    }
}

/// Has a run paid from its budget, and shows its price when it begins.
pub(crate) fn paid(
    options: RunOptions,
    budget: Option<&Budget>,
    platform: &dyn AsyncPlatform,
    show: Show,
) -> RunOptions {
    let Some(budget) = budget else { return options };
    let options = options.with_budget(budget.clone());
    match budget.prices(platform) {
        Ok(prices) => options.with_monitor(Arc::new(PriceLine { prices, show })),
        // The run says so itself.
        Err(_) => options,
    }
}

/// Shows the price of a plan before it runs.
struct PriceLine {
    prices: Prices,
    show: Show,
}

impl std::fmt::Debug for PriceLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PriceLine")
    }
}

impl Monitor for PriceLine {
    fn event(&self, event: &Event<'_>) -> Verdict {
        if let Event::RunStarted { plan: Some(plan), .. } = event {
            (self.show)(&format!("price: {}", PlanPrice::of(plan, &self.prices)));
        }
        Verdict::Continue
    }
}
