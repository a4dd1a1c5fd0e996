//! Counts the words of text files: map, shuffle, reduce.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use falco_cli::flags::{DataFlags, Stores, count};
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_core::{Deployable, Driver, Error, ExecutionPlan, Input, Payload, Result, Stage};
use falco_data::{Exchange, Sink, Splits, SplitsOf};
use falco_examples::objects::OverObjects;
use falco_examples::text::{MostFrequent, default_texts, find_texts, read_chunks};
use falco_executors::Shuffle;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

/// Counts the words of text files, on however many machines the platform has.
///
/// A word is a run of ASCII letters, lower-cased.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
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
    data: DataFlags,

    /// Bytes of a split, when the data is in a folder or a store.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, help_heading = "Data")]
    split: u64,

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
        ExecutionPlan::new(vec![map.pure(), reduce.pure()])
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(count_words(Arguments::parse()).await)
}

async fn count_words(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { flags, mut paths, reducers, top, data, split } = arguments;
    if let Some(stores) = data.stores(&default_texts())? {
        ensure!(paths.is_empty(), "name the texts either by --input or as files, not by both");
        return count_objects(&flags, stores, split, reducers, top).await;
    }
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
    let chunk = launch.chunk_size(&map.runtime);
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

/// The word count over objects: the texts and the counts never pass through this process, but for what is printed.
#[derive(Debug)]
struct OfObjects {
    splits: SplitsOf,
    map: Deployable,
    exchange: Exchange,
    reduce: Deployable,
}

impl Driver for OfObjects {
    fn name(&self) -> &str {
        "wordcount"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let splits = self.splits.clone();
        let map = Stage::new("map", self.map.clone(), move || splits.inputs());
        let reduce = Stage::derived("reduce", self.reduce.clone(), ["map"], self.exchange.clone());
        ExecutionPlan::new(vec![map.idempotent(), reduce.idempotent()])
    }
}

async fn count_objects(
    flags: &RunFlags,
    stores: Stores,
    split: u64,
    reducers: NonZeroU32,
    top: usize,
) -> anyhow::Result<bool> {
    let sink = Sink::scratch().partitions(reducers.get());
    let driver = OfObjects {
        splits: Splits::lines(&stores.input, "").target(split).with_sink(sink),
        exchange: Exchange::of_field("out").with_sink(stores.output.sink("part.tsv")),
        map: flags.function.deployable(
            "wordcount-map",
            "python:3",
            include_str!("../../functions/wordcount_map_objects.py"),
        )?,
        reduce: flags.function.deployable(
            "wordcount-reduce",
            "python:3",
            include_str!("../../functions/wordcount_reduce_objects.py"),
        )?,
    };
    let objects = OverObjects::connect(flags, stores).await?;
    let (outcome, manifest) = objects.run(&driver, "reduce").await?;
    let text = match &manifest {
        Some(manifest) => objects.read(manifest).await?,
        None => String::new(),
    };
    finish(&flags.output, &outcome.report, &outcome.leftovers, || {
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        let counts = pairs.map(|(word, count)| {
            let count = count.parse().map_err(|error: std::num::ParseIntError| {
                Error::invalid_input(format!("the count of {word:?}")).with_source(&error)
            });
            Ok((word.to_owned(), count?))
        });
        Ok(MostFrequent::of(counts.collect::<Result<Vec<_>>>()?, top))
    })
}
