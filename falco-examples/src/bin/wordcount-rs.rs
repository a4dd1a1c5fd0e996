//! Counts the words of text files with functions in Rust: this program is driver and worker.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use falco_cli::flags::count;
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_examples::text::{MostFrequent, default_texts, find_texts, read_chunks};
use falco_executors::typed::{Pairs, Partition, Pipeline};
use falco_function::{Executable, Functions, Registered};
use serde::{Deserialize, Serialize};

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
    flags: RunFlags,
}

#[derive(Serialize, Deserialize)]
struct Text {
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Totals {
    counts: BTreeMap<String, u64>,
}

/// Runs on the platform: counts the words of one text.
fn count_text(Text { text }: Text) -> Result<Pairs<u64>, String> {
    let mut pairs = BTreeMap::new();
    let words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    for word in words {
        *pairs.entry(word.to_ascii_lowercase()).or_default() += 1;
    }
    Ok(Pairs { pairs })
}

/// Runs on the platform: adds up the counts of one partition of the words.
fn add_up(partition: Partition<u64>) -> Result<Totals, String> {
    let sum = |(word, counts): (String, Vec<u64>)| (word, counts.iter().sum());
    Ok(Totals { counts: partition.groups.into_iter().map(sum).collect() })
}

fn main() -> ExitCode {
    let mut functions = Functions::new();
    let map = functions.add("wordcount-map", count_text);
    let reduce = functions.add("wordcount-reduce", add_up);
    functions.serve_if_worker();
    drive(&map, &reduce)
}

#[tokio::main]
async fn drive(
    map: &Registered<Text, Pairs<u64>>,
    reduce: &Registered<Partition<u64>, Totals>,
) -> ExitCode {
    exit_code(count_words(Arguments::parse(), map, reduce).await)
}

async fn count_words(
    arguments: Arguments,
    map: &Registered<Text, Pairs<u64>>,
    reduce: &Registered<Partition<u64>, Totals>,
) -> anyhow::Result<bool> {
    let Arguments { flags, mut paths, reducers, top } = arguments;
    if paths.is_empty() {
        paths.push(default_texts());
    }
    let files = find_texts(&paths)?;
    let program = Executable::current()?;
    let set_up = |function| flags.function.set_up(function);
    let map = program.function(map)?.map_deployable(set_up).idempotent();
    let reduce = program.function(reduce)?.map_deployable(set_up).idempotent();

    let launch = Launch::connect(&flags).await?;
    let mut pipeline = Pipeline::new("wordcount-rs");
    let chunk = launch.chunk_size(&map.deployable().runtime);
    let counts = pipeline.inputs_from("map", &map, move || {
        read_chunks(files.clone(), chunk).map(|text| text.map(|text| Text { text }))
    });
    let totals = pipeline.shuffle("reduce", &counts, reducers.get(), &reduce)?;
    let outcome = launch.run(&pipeline).await?;
    finish(&flags.output, &outcome.report, &outcome.leftovers, || {
        let totals = outcome.results_of(&totals)?;
        Ok(MostFrequent::of(totals.into_iter().flat_map(|totals| totals.counts), top))
    })
}
