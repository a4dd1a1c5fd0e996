//! Advice on the size of a stage's functions and on its concurrency, from what a run has seen.

use std::time::Duration;

use falco_core::{Activation, StageName, UsDollars};

use super::format::number;
use super::size::SizeReport;
use super::stage::StageReport;

const MIB: u64 = 1 << 20;
/// Sizes, in MiB, for which the cost is named.
const SIZES: [u32; 8] = [128, 256, 512, 1024, 2048, 4096, 8192, 16_384];
/// A function should have this much more memory than the largest of its activations has used: a fifth.
const MARGIN: u64 = 5;
/// A share of calls, or of their time, that is worth a word.
const NOTABLE: f64 = 0.01;
const LONG: f64 = 0.2;

/// The facts that a run has seen of one stage, for advice on it: memory used against configured, the cost at other sizes, the
/// concurrency that was reached, and why it was not more.
///
/// # Examples
///
/// ```
/// # use falco_executors::report::{RunReport, StageAdvice};
/// # fn show(report: &RunReport) {
/// for stage in &report.stages {
///     for line in StageAdvice::of(stage).lines() {
///         println!("{}: {line}", stage.stage);
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StageAdvice {
    /// The stage.
    pub stage: StageName,
    /// Its activations by size.
    pub sizes: Vec<SizeReport>,
    /// Its invocations.
    pub invocations: u64,
    /// Calls that the platform refused for its rate or concurrency.
    pub throttled: u64,
    /// Calls in flight at once, on average.
    pub concurrency: f64,
    /// The most calls that were in flight at once, where a trace says it.
    pub peak: Option<u64>,
    /// The share of the invocations' time that was spent waiting before a call was sent, where a trace says it.
    pub waited: Option<f64>,
}

impl StageAdvice {
    /// A stage of which nothing is known yet.
    pub fn new(stage: impl Into<StageName>) -> Self {
        Self {
            stage: stage.into(),
            sizes: Vec::new(),
            invocations: 0,
            throttled: 0,
            concurrency: 0.0,
            peak: None,
            waited: None,
        }
    }

    /// A stage, as its report shows it.
    pub fn of(stage: &StageReport) -> Self {
        let wall = stage.wall.as_secs_f64();
        let busy = stage.total.mean.as_secs_f64() * stage.total.count as f64;
        Self {
            sizes: stage.sizes.clone(),
            invocations: stage.invocations.entered(),
            throttled: stage.throttled,
            concurrency: if wall > 0.0 { busy / wall } else { 0.0 },
            ..Self::new(stage.stage.clone())
        }
    }

    /// Adds an activation.
    pub fn add(&mut self, activation: &Activation) {
        SizeReport::note(&mut self.sizes, activation);
    }

    /// The advice, one line for each thing to know.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.sizes.iter().flat_map(of_size).collect();
        if lines.is_empty() {
            lines.push("the provider has reported neither memory nor cost".to_owned());
        }
        lines.push(self.of_concurrency());
        lines
    }

    fn of_concurrency(&self) -> String {
        let reached = match self.peak {
            Some(peak) => format!(
                "{} calls at once at most, {:.1} on average",
                number(peak),
                self.concurrency
            ),
            None => format!("{:.1} calls at once on average", self.concurrency),
        };
        let calls = (self.invocations + self.throttled).max(1) as f64;
        let most = self.peak.map_or(self.concurrency, |peak| peak as f64);
        let why = if self.throttled as f64 / calls > NOTABLE {
            format!(
                "the platform refused {} calls: its limit of rate or concurrency was reached, so ask the provider for more",
                number(self.throttled)
            )
        } else if self.waited.is_some_and(|share| share > LONG) {
            format!(
                "{:.0} % of the time calls waited to be sent: congestion control, a cap of the rate, or the executor held them back",
                100.0 * self.waited.unwrap_or_default()
            )
        } else if self.invocations as f64 <= 2.0 * most {
            format!("there were only {} invocations", number(self.invocations))
        } else {
            "nothing was refused: raise the executor's concurrency for more".to_owned()
        };
        format!("{reached}; {why}")
    }
}

/// Advice on one size.
fn of_size(size: &SizeReport) -> Vec<String> {
    let Some(granted) = size.memory_mib else { return Vec::new() };
    let mut lines = vec![size.to_string()];
    let used = size.memory_used_bytes.map(|used| used.div_ceil(MIB));
    let enough = used.map(|used| used + used / MARGIN);
    if size.out_of_memory > 0 {
        lines.push(format!("{granted} MiB are too little: set more, or a ladder of sizes"));
    } else if let (Some(used), Some(enough)) = (used, enough) {
        let share = 100 * used / u64::from(granted).max(1);
        let fits = SIZES.iter().find(|mib| u64::from(**mib) >= enough);
        match fits.filter(|mib| **mib < granted) {
            Some(smaller) => {
                lines.push(format!("{share} % of the memory is used: {smaller} MiB are enough"))
            }
            None => lines.push(format!("{share} % of the memory is used: the size fits")),
        }
    }
    if let Some(costs) = of_other_sizes(size, granted, enough) {
        lines.push(costs);
    }
    lines
}

/// The cost at the sizes next to this one. Where processors come with memory, a function that computes takes longer in a
/// smaller size, and costs about the same.
fn of_other_sizes(size: &SizeReport, granted: u32, enough: Option<u64>) -> Option<String> {
    let UsDollars(cost) = size.cost.filter(|cost| cost.0 > 0.0)?;
    if size.billed == Duration::ZERO {
        return None;
    }
    let is_next = |mib: &&u32| **mib != granted && **mib >= granted / 4 && **mib / 4 <= granted;
    let fits = |mib: &&u32| enough.is_none_or(|enough| u64::from(**mib) >= enough);
    let others: Vec<String> = SIZES
        .iter()
        .filter(is_next)
        .filter(fits)
        .map(|mib| {
            let scaled = UsDollars(cost * f64::from(*mib) / f64::from(granted));
            format!("{scaled} with {mib} MiB")
        })
        .collect();
    let list = others.join(", ");
    (!others.is_empty()).then(|| {
        format!("{} now; if it takes as long in other sizes, about {list}; if it computes all the time, about the same", UsDollars(cost))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use falco_core::{FunctionError, FunctionErrorKind, Payload};

    fn activation(granted: u32, used: u64) -> Activation {
        let mut activation = Activation::succeeded("a", Payload::empty());
        activation.memory_mib = Some(granted);
        activation.memory_used_bytes = Some(used * MIB);
        activation.billed = Some(Duration::from_secs(1));
        activation.cost = Some(UsDollars(1.0));
        activation
    }

    fn advice(granted: u32, used: u64) -> String {
        let mut advice = StageAdvice::new("s");
        advice.add(&activation(granted, used));
        advice.lines().join("\n")
    }

    #[test]
    fn advice_for_a_function_with_too_much_memory_names_the_size_that_is_enough() {
        // A fifth of margin: 107 fit into 128, and 108 do not.
        assert!(advice(1024, 107).contains("10 % of the memory is used: 128 MiB are enough"));
        assert!(advice(1024, 108).contains("256 MiB are enough"));
        assert!(advice(128, 107).contains("the size fits"), "{}", advice(128, 107));
        let text = advice(1024, 300);
        assert!(
            text.contains("about $0.50 with 512 MiB, $2.00 with 2048 MiB, $4.00 with 4096"),
            "{text}"
        );
    }

    #[test]
    fn a_function_that_ran_out_of_memory_needs_more() {
        let mut advice = StageAdvice::new("s");
        let mut failed = activation(512, 512);
        failed.outcome = Err(FunctionError::new(FunctionErrorKind::OutOfMemory, "killed"));
        advice.add(&failed);
        let text = advice.lines().join("\n");
        assert!(
            text.contains("1 out of memory") && text.contains("512 MiB are too little"),
            "{text}"
        );
    }

    #[test]
    fn the_reason_why_there_was_no_more_concurrency_is_named() {
        let mut advice = StageAdvice::new("s");
        (advice.invocations, advice.concurrency) = (1000, 64.0);
        assert!(advice.of_concurrency().contains("raise the executor's concurrency"));
        advice.waited = Some(0.21);
        assert!(advice.of_concurrency().contains("21 % of the time calls waited"));
        advice.throttled = 11;
        assert!(advice.of_concurrency().contains("refused 11 calls"));
        (advice.throttled, advice.waited, advice.peak) = (0, None, Some(500));
        let text = advice.of_concurrency();
        assert!(
            text.contains("500 calls at once at most") && text.contains("only 1,000"),
            "{text}"
        );
    }
}
