//! All benchmarks, one file each.

use crate::figure::Figure;

/// A benchmark: it runs in a process of its own.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// What `cargo xtask bench NAME` calls it.
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    /// Measures.
    pub(crate) run: fn() -> anyhow::Result<Vec<Figure>>,
}

/// All benchmarks, in the order in which they run.
pub(crate) const BENCHMARKS: &[Benchmark] = &[Benchmark {
    name: "aws",
    about: "signed invocations over a loopback fake of AWS Lambda",
    run: crate::aws::run,
}];
