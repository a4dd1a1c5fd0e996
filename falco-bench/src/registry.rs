//! All benchmarks, one file each.

use crate::figure::Figure;
use crate::{aws, engine, first_build, gcp, local, rust, wordcount};

/// A benchmark: it runs in a process of its own.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// The name for `cargo xtask bench NAME`.
    pub(crate) name: &'static str,
    /// The subject of the measurement.
    pub(crate) about: &'static str,
    /// Measures.
    pub(crate) run: fn() -> anyhow::Result<Vec<Figure>>,
}

/// All benchmarks, in the order in which they run.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "engine",
        about: "the executors on a platform in memory, beside bare loops",
        run: engine::run,
    },
    Benchmark {
        name: "local",
        about: "no-op Python functions on this machine, beside threads in lock-step with workers",
        run: local::run,
    },
    Benchmark {
        name: "wordcount",
        about: "the example on 64 MB, beside Python's process pool",
        run: wordcount::run,
    },
    Benchmark {
        name: "data",
        about: "pipelines over objects, beside Python's process pool, GNU sort and DuckDB",
        run: crate::data::run,
    },
    Benchmark {
        name: "openwhisk",
        about: "blocking and submitted activations over a loopback fake of OpenWhisk",
        run: crate::openwhisk::run,
    },
    Benchmark {
        name: "aws",
        about: "signed invocations over a loopback fake of AWS Lambda",
        run: aws::run,
    },
    Benchmark {
        name: "congestion",
        about: "congestion control on simulated providers: goodput, refusals, recovery",
        run: crate::congestion::run,
    },
    Benchmark {
        name: "full-stack",
        about: "200,000 invocations through plan runner, asynchronous executor and all layers",
        run: crate::full_stack::run,
    },
    Benchmark {
        name: "trace",
        about: "recording a million calls, and looking at them: page and report",
        run: crate::tracing_runs::run,
    },
    Benchmark {
        name: "gcp",
        about: "invocations over a loopback fake of Google Cloud Functions",
        run: gcp::run,
    },
    Benchmark {
        name: "journal",
        about: "what recording a run costs, and how fast a recorded one is gone on with",
        run: crate::journal::run,
    },
    Benchmark {
        name: "first-build",
        about: "what a newcomer compiles first, beside building falco-aws; takes minutes",
        run: first_build::run,
    },
    Benchmark {
        name: "docker",
        about: "no-op Python functions in containers, beside bare containers; needs a Docker daemon",
        run: crate::docker::run,
    },
    Benchmark {
        name: "native",
        about: "warm calls of a native function on the fakes of AWS, Google and OpenWhisk",
        run: crate::native::run,
    },
    Benchmark {
        name: "rust",
        about: "functions in Rust on this machine and on a fake of AWS, beside bare pipes and Python",
        run: rust::run,
    },
    Benchmark {
        name: "scale",
        about: "millions through the runner, a slow source, Lambda's ramp, and 1,000 calls over TLS",
        run: crate::scale::run,
    },
    Benchmark {
        name: "batches",
        about: "several inputs in one call, beside joblib and beside calls of one; needs pip",
        run: crate::batches::run,
    },
    Benchmark {
        name: "tpch",
        about: "queries of TPC-H at scale 1, beside DuckDB on two threads; needs pip",
        run: crate::tpch::run,
    },
    Benchmark {
        name: "peers",
        about: "beside Lithops, Dask, Ray, joblib and concurrent.futures; installs them, takes 20 minutes",
        run: crate::peers::run,
    },
];
