//! Counts words in two stages: a map, and a reduce whose inputs are the words grouped by a shuffle.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::collections::BTreeMap;

use falco::prelude::*;
use serde::{Deserialize, Serialize};

const MAP: &str = r"
def main(args):
    return {'pairs': [[word, 1] for word in args['text'].lower().split()]}
";

const REDUCE: &str = r"
def main(args):
    return {'counts': {word: sum(ones) for word, ones in args['groups'].items()}}
";

#[derive(Serialize)]
struct Text {
    text: &'static str,
}

#[derive(Deserialize)]
struct Counts {
    counts: BTreeMap<String, u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    // The types say which function can follow which: a wrong chain does not compile.
    let map: Function<Text, Pairs<u64>> = Function::python("map", MAP).idempotent();
    let reduce: Function<Partition<u64>, Counts> = Function::python("reduce", REDUCE).idempotent();

    let texts = ["to be or not to be", "that is the question", "be that as it may"];
    let mut wordcount = Pipeline::new("wordcount");
    let words = wordcount.inputs("map", &map, texts.map(|text| Text { text }))?;
    let counts = wordcount.shuffle("reduce", &words, 4, &reduce)?;

    let outcome = wordcount.run(LocalPlatform::from_env().await?).await?;
    let mut all = BTreeMap::new();
    for Counts { counts } in outcome.results_of(&counts)? {
        all.extend(counts);
    }
    for (word, count) in all {
        println!("{count} {word}");
    }
    eprintln!("{}", outcome.report);
    Ok(())
}
