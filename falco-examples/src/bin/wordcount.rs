//! Counts the words of text files: map, shuffle, reduce.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use falco_cli::flags::count;
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_core::{Deployable, Driver, ExecutionPlan, Input, Payload, Result, Stage};
use falco_examples::text::{MostFrequent, default_texts, find_texts, read_chunks};
use falco_executors::Shuffle;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

/// Counts the words of text files, on however many machines the platform has.
///
/// A word is a run of ASCII letters, lower-cased.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"))]
struct Arguments {
    /// Files, and folders whose files are read [default: the texts that travel with the example]
    paths: Vec<PathBuf>,

    /// Partitions of the words, each summed up by an invocation.
    #[arg(long, value_name = "N", default_value = "16", value_parser = count::<NonZeroU32>, allow_negative_numbers = true)]
    reducers: NonZeroU32,

    /// How many of the most frequent words to print; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true)]
    top: usize,

    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Debug)]
struct WordCount {
    files: Vec<PathBuf>,
    chunk: usize,
    map: Deployable,
    reduce: Deployable,
    reducers: NonZeroU32,
}

impl Driver for WordCount {
    fn name(&self) -> &str {
        "wordcount"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let (files, chunk) = (self.files.clone(), self.chunk);
        let map = Stage::new("map", self.map.clone(), move || {
            stream::iter(read_chunks(files.clone(), chunk).enumerate().map(input))
        });
        let shuffle = Shuffle::of_field("counts", self.reducers.get())?;
        let reduce = Stage::derived("reduce", self.reduce.clone(), ["map"], shuffle);
        ExecutionPlan::new(vec![map.idempotent(), reduce.idempotent()])
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(count_words(Arguments::parse()).await)
}

async fn count_words(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { flags, mut paths, reducers, top } = arguments;
    if paths.is_empty() {
        paths.push(default_texts());
    }
    let files = find_texts(&paths)?;
    let map = flags.function.deployable(
        "wordcount-map",
        "python:3",
        include_str!("../../functions/wordcount_map.py"),
    )?;
    let reduce = flags.function.deployable(
        "wordcount-reduce",
        "python:3",
        include_str!("../../functions/wordcount_reduce.py"),
    )?;
    let launch = Launch::connect(&flags).await?;
    let chunk = launch.chunk_size();
    let outcome = launch.run(&WordCount { files, chunk, map, reduce, reducers }).await?;
    finish(&flags.output, &outcome.report, &outcome.leftovers, || {
        let partitions: Vec<Partition> = outcome.results_as("reduce")?;
        let counts = partitions.into_iter().flat_map(|partition| partition.counts);
        Ok(MostFrequent::of(counts, top))
    })
}

fn input((index, text): (usize, Result<String>)) -> Result<Input> {
    Ok(Input::numbered(index, Payload::json(&json!({"text": text?}))?))
}

/// The answer of a reducer.
#[derive(Deserialize)]
struct Partition {
    counts: BTreeMap<String, u64>,
}
