//! The pieces of work, their sizes, and their right answers.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::data::{self, Numbers};

/// The functions, in Python: what the peers import and Falco sends.
pub(super) const FUNCTIONS: &str = include_str!("work.py");

/// The first of the numbered inputs: a number that no traceback has by chance.
const FIRST: u64 = 7_000_000;

const WORKERS: u32 = 2;

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sizes {
    /// Times that each contender does each piece of work, unless it is far behind; the quickest counts.
    pub(super) rounds: usize,
    /// No-op calls, calls of 10 ms, and calls of which one in a thousand fails.
    pub(super) calls: u64,
    /// Calls of 10 ms at once.
    pub(super) concurrency: u32,
    /// Calls of the Monte Carlo method.
    pub(super) seeds: u64,
    /// Points in each of them.
    pub(super) points: u64,
    /// Bytes of the text.
    pub(super) text: u64,
    /// Bytes of the rows.
    pub(super) rows: u64,
    /// Seconds for one contender and one piece of work.
    pub(super) limit: u64,
    /// A contender of a few calls a second does one of so many, and its time is multiplied.
    pub(super) share: u64,
}

impl Sizes {
    /// The sizes of the table in the documentation.
    pub(super) const FULL: Self = Self {
        rounds: 7,
        calls: 10_000,
        concurrency: 64,
        seeds: 64,
        points: 100_000,
        text: 64_000_000,
        rows: 300_000_000,
        limit: 180,
        share: 100,
    };

    /// To see whether it works.
    pub(super) const QUICK: Self = Self {
        rounds: 1,
        calls: 1_000,
        concurrency: 4,
        seeds: 8,
        points: 2_000,
        text: 2_000_000,
        rows: 5_000_000,
        limit: 120,
        share: 100,
    };
}

/// The quantity that is measured, and the way in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Calls in a second: more is better.
    Rate,
    /// Seconds: less is better.
    Time,
    /// Seconds from the start of the process to the first result.
    Cold,
    /// The results and names that a contender reports of failures.
    Failures,
}

/// One piece of work.
#[derive(Debug)]
pub(super) struct Work {
    /// The function.
    pub(super) name: &'static str,
    /// How the table names it.
    pub(super) title: String,
    /// The quantity that is measured.
    pub(super) kind: Kind,
    /// One input for each call.
    pub(super) inputs: Vec<Value>,
    /// Calls at once.
    pub(super) slots: u32,
    /// Slow contenders do one call of so many.
    pub(super) share: u64,
    /// Whether there is nothing to gain by repeating it.
    pub(super) is_once: bool,
    function: &'static str,
    /// The right answer; none where it follows from the inputs.
    answer: Option<Value>,
}

impl Work {
    fn new(name: &'static str, title: String, kind: Kind, inputs: Vec<Value>) -> Self {
        let (slots, share, is_once, answer) = (WORKERS, 1, kind == Kind::Failures, None);
        Self { name, title, kind, inputs, slots, share, is_once, function: name, answer }
    }

    /// The inputs of a contender that does one call of so many: those around the first that fails.
    pub(super) fn inputs(&self, share: u64) -> &[Value] {
        if share <= 1 {
            return &self.inputs;
        }
        let count = (self.inputs.len() / usize::try_from(share).unwrap_or(usize::MAX)).max(2);
        let first = 500_usize.saturating_sub(count / 2).min(self.inputs.len() - count);
        &self.inputs[first..first + count]
    }

    /// The task of a contender, as it reads it.
    pub(super) fn task(&self, contender: &str, share: u64, scratch: &Path) -> Value {
        let warm = if share > 1 { 2 } else { self.slots * 4 };
        json!({
            "peer": contender,
            "work": self.function,
            "inputs": self.inputs(share),
            "slots": self.slots,
            "scratch": scratch,
            "cold": self.kind == Kind::Cold,
            "warm": warm,
        })
    }

    /// Checks an answer.
    pub(super) fn check(&self, answer: &Value, share: u64) -> anyhow::Result<()> {
        let numbers: Vec<u64> =
            self.inputs(share).iter().filter_map(|input| input["i"].as_u64()).collect();
        if self.kind == Kind::Failures {
            let good = numbers.iter().filter(|number| *number % 1_000 != 500).count();
            let each = answer.get("each").context("it says nothing of failures")?;
            ensure!(each.is_null() || *each == json!(good), "{each} results, and {good} are right");
            return Ok(());
        }
        let numbered = || json!([numbers.len(), numbers.iter().sum::<u64>()]);
        let right = self.answer.clone().unwrap_or_else(numbered);
        ensure!(
            *answer == right,
            "{:.200} instead of {:.200}",
            answer.to_string(),
            right.to_string()
        );
        Ok(())
    }
}

/// All pieces of work. Their files are written into the folder.
pub(super) fn all(sizes: &Sizes, folder: &Path) -> anyhow::Result<Vec<Work>> {
    let numbered = |count: u64| (0..count).map(|number| json!({ "i": FIRST + number })).collect();
    let calls = sizes.calls;
    let noop = Work::new("noop", format!("{calls} no-op calls"), Kind::Rate, numbered(calls));
    let title = format!("{calls} calls of 10 ms, {} at once", sizes.concurrency);
    let sleep = Work::new("sleep", title, Kind::Time, numbered(calls));
    let title = format!("{calls} calls, one in a thousand fails");
    let brittle = Work::new("brittle", title, Kind::Failures, numbered(calls));
    let cold = Work::new("cold", "first result, cold".into(), Kind::Cold, numbered(1));
    Ok(vec![
        Work { share: sizes.share, ..noop },
        Work { share: sizes.share, slots: sizes.concurrency, ..sleep },
        pi(sizes.seeds, sizes.points),
        words(&folder.join("text.txt"), sizes.text)?,
        sales(&folder.join("sales.csv"), sizes.rows)?,
        Work { function: "noop", ..cold },
        Work { share: sizes.share, ..brittle },
    ])
}

fn pi(seeds: u64, points: u64) -> Work {
    let hits: u64 = (0..seeds).map(|seed| hits(seed, points)).sum();
    let inputs = (0..seeds).map(|seed| json!({ "seed": seed, "samples": points })).collect();
    let title = format!("Monte Carlo, {} points in {seeds} calls", seeds * points);
    Work { answer: Some(json!(hits)), ..Work::new("pi", title, Kind::Time, inputs) }
}

/// The points within the circle, as `work.py` counts them.
fn hits(seed: u64, points: u64) -> u64 {
    let mut numbers = Numbers(seed);
    let is_hit = |state: u64| {
        let (x, y) = (state >> 48, (state >> 32) & 0xffff);
        x * x + y * y < 1 << 32
    };
    (0..points).map(|_| u64::from(is_hit(numbers.draw()))).sum()
}

fn words(path: &Path, bytes: u64) -> anyhow::Result<Work> {
    let counts = data::text(path, bytes)?;
    let inputs = split_inputs(path, 4_000_000.min(bytes / 8))?;
    let title = format!("word count of {} MB in {} calls", bytes / 1_000_000, inputs.len());
    Ok(Work { answer: Some(json!(counts)), ..Work::new("words", title, Kind::Time, inputs) })
}

fn sales(path: &Path, bytes: u64) -> anyhow::Result<Work> {
    let groups = data::sales(path, bytes)?;
    let inputs = split_inputs(path, 8_000_000.min(bytes / 8))?;
    let title = format!("sums over {} MB of CSV in {} calls", bytes / 1_000_000, inputs.len());
    Ok(Work { answer: Some(json!(groups)), ..Work::new("sales", title, Kind::Time, inputs) })
}

fn split_inputs(path: &Path, size: u64) -> anyhow::Result<Vec<Value>> {
    let input = |(first, last)| json!({ "path": path, "first": first, "last": last });
    Ok(data::splits(path, size)?.into_iter().map(input).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(kind: Kind) -> Work {
        let inputs = (0..1_000).map(|number| json!({ "i": FIRST + number })).collect();
        Work::new("test", String::new(), kind, inputs)
    }

    #[test]
    fn a_contender_that_does_a_share_gets_the_input_that_fails() {
        let inputs = numbered(Kind::Failures).inputs(100).to_vec();
        assert_eq!(inputs.len(), 10);
        assert!(inputs.contains(&json!({ "i": FIRST + 500 })), "{inputs:?}");
    }

    #[test]
    fn a_wrong_answer_is_found() {
        let work = numbered(Kind::Rate);
        let sum: u64 = (0..1_000).map(|number| FIRST + number).sum();
        work.check(&json!([1_000, sum]), 1).unwrap();
        assert!(work.check(&json!([999, sum]), 1).is_err());
        let failures = numbered(Kind::Failures);
        failures.check(&json!({ "each": 999 }), 1).unwrap();
        failures.check(&json!({ "each": null }), 1).unwrap();
        assert!(failures.check(&json!({ "each": 1_000 }), 1).is_err());
        assert!(failures.check(&json!(null), 1).is_err());
    }

    #[test]
    fn the_points_of_the_circle_come_near_pi() {
        let pi = 4.0 * hits(1, 100_000) as f64 / 100_000.0;
        assert!((pi - std::f64::consts::PI).abs() < 0.02, "{pi}");
    }
}
