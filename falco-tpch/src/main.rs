//! Queries of TPC-H over Parquet or CSV: this program makes the data, drives the queries, and holds their functions in Rust.
#![forbid(unsafe_code)]

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use falco_cli::flags::{DataFlags, count, open_store};
use falco_cli::{Launch, RunFlags, clean_scratch, exit_code, finish, with_objects};
use falco_core::{Error, RuntimeName};
use falco_function::Executable;
use falco_tpch::{Answer, Format, Native, Plan, Planner, Query, ensure_data, python};

/// Runs queries of TPC-H over Parquet or CSV in a folder or an object store. The data is made when it is not there; each answer is
/// printed, and with --output also written to an object such as q1.csv, its columns divided by '|'.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
struct Arguments {
    /// The queries, by their numbers: 1, 3, 5, 6, 12 [default: all that the language has]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    queries: Vec<Query>,

    /// The scale factor: 1 is about 1 GB of text.
    #[arg(long, value_name = "SF", default_value_t = 0.01)]
    scale: f64,

    /// The format of the data: parquet or csv.
    #[arg(long, value_name = "FORMAT", default_value_t = Format::Parquet)]
    format: Format,

    /// The language of the functions. Python needs DuckDB: --requirements falco-tpch/functions/requirements.txt.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,

    #[command(flatten)]
    data: DataFlags,

    /// The runtime of functions in Python: the version that packages of --requirements are for, such as python:3.12 [default: the
    /// newest of the platform]
    #[arg(long, value_name = "NAME")]
    runtime: Option<RuntimeName>,

    /// The executable that holds the functions in Rust [default: this program]. `tpch-functions`, which is built with it, is
    /// smaller.
    #[arg(long, value_name = "PATH")]
    functions: Option<PathBuf>,

    /// Bytes of a split; functions in Python take whole files.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20, help_heading = "Data")]
    split: u64,

    /// Partitions of each exchange.
    #[arg(long, value_name = "N", default_value = "4", value_parser = count::<NonZeroU32>, allow_negative_numbers = true)]
    partitions: NonZeroU32,

    /// Make the data, and run no query.
    #[arg(long)]
    only_data: bool,

    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Functions of this program, over parts of files.
    Rust,
    /// Functions that run DuckDB, over whole files: queries 1, 6 and 12.
    Python,
}

impl Language {
    fn queries(self) -> &'static [Query] {
        match self {
            Self::Rust => &Query::ALL,
            Self::Python => &Query::IN_PYTHON,
        }
    }
}

fn main() -> ExitCode {
    let native = Native::new();
    native.functions().serve_if_worker();
    drive(&native)
}

#[tokio::main]
async fn drive(native: &Native) -> ExitCode {
    exit_code(run(Arguments::parse(), native).await)
}

async fn run(arguments: Arguments, native: &Native) -> anyhow::Result<bool> {
    let Arguments {
        queries,
        scale,
        format,
        language,
        runtime,
        data,
        functions,
        split,
        partitions,
        only_data,
        flags,
    } = arguments;
    let queries = if queries.is_empty() { language.queries().to_vec() } else { queries };
    if let Some(query) = queries.iter().find(|query| !language.queries().contains(query)) {
        let number = query.number();
        bail!("query {number} has none: only queries 1, 6 and 12 have functions in Python");
    }
    if let (Some(_), Language::Rust) = (&runtime, language) {
        bail!("--runtime is for functions in Python: add --language python");
    }

    if queries.len() > 1 && flags.journal.is_wanted() {
        bail!(
            "a journal records one run, and each query is a run of its own: name one query, such as --queries 1"
        );
    }

    let default_input = match format {
        Format::Csv => format!("falco-tpch-csv-{scale}"),
        _ => format!("falco-tpch-{scale}"),
    };
    let input = data.input.clone().unwrap_or(default_input);
    let input = open_store(&input)?;
    let output = data.output.as_deref().map(open_store).transpose()?;
    let default_scratch = || format!("{}/_scratch", output.as_ref().unwrap_or(&input).url());
    let scratch = open_store(&data.scratch.clone().unwrap_or_else(default_scratch))?;
    ensure_data(&input, scale, format).await?;
    if only_data {
        return Ok(true);
    }

    let program = functions.map_or_else(Executable::current, Executable::at)?;
    let function = |name: &str| {
        let function = match language {
            Language::Rust => native.function(&program, name)?,
            Language::Python => {
                let mut function = python(name);
                if let Some(runtime) = &runtime {
                    function.runtime = runtime.clone();
                }
                function
            }
        };
        Ok(flags.function.set_up(function))
    };
    let planner = Planner {
        input: input.clone(),
        format,
        split: (language == Language::Rust).then_some(split),
        partitions: partitions.get(),
        function: &function,
    };
    let layer = |platform| with_objects(platform, &scratch, [input.clone()], []);
    let launch = Launch::connect_with(&flags, layer).await?;
    for query in queries {
        let outcome = launch.run(&planner.plan(query).await?).await?;
        clean_scratch(&scratch, &outcome).await?;
        let answer = || {
            let mut answers: Vec<Answer> = outcome.results_as(Plan::ANSWER)?;
            answers.pop().ok_or_else(|| Error::invalid_input("the run has no answer"))
        };
        if let (Some(output), true) = (&output, outcome.is_success()) {
            output.write(&format!("{query}.csv"), answer()?.to_string()).await?;
        }
        let succeeded = finish(&flags.output, &outcome.report, &outcome.leftovers, answer)
            .with_context(|| format!("query {}", query.number()))?;
        // A query that failed, or was stopped, ends the program: the next one would begin as if nothing had happened.
        if !succeeded {
            return Ok(false);
        }
    }
    Ok(true)
}
