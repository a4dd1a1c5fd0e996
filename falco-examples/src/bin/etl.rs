//! Groups the rows of CSV files and adds a column up: objects in, objects out, with a manifest.
#![forbid(unsafe_code)]

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use falco_cli::flags::{DataFlags, Stores, count};
use falco_cli::{RunFlags, exit_code, finish};
use falco_core::{Deployable, Driver, ExecutionPlan, Result, Stage};
use falco_data::{Csv, Exchange, Manifest, Sink, Splits, SplitsOf};
use falco_examples::objects::OverObjects;
use serde::Serialize;

/// Groups the rows of CSV files by a column and adds another one up. The result is CSV files with the columns group, count and
/// sum, and `_manifest.json`, which lists them.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    data: DataFlags,

    /// The column to group by.
    #[arg(long, value_name = "COLUMN", default_value = "city")]
    group_by: String,

    /// The column to add up.
    #[arg(long, value_name = "COLUMN", default_value = "amount")]
    sum: String,

    /// Say that no field holds a line feed: each boundary of a split is then found by a small read.
    #[arg(long)]
    plain_lines: bool,

    /// Bytes of a split.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    split: u64,

    /// Partitions of the groups, each summed up by an invocation.
    #[arg(long, value_name = "N", default_value = "4", value_parser = count::<NonZeroU32>, allow_negative_numbers = true)]
    reducers: NonZeroU32,

    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Debug)]
struct Etl {
    splits: SplitsOf,
    map: Deployable,
    exchange: Exchange,
    reduce: Deployable,
}

impl Driver for Etl {
    fn name(&self) -> &str {
        "etl"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let splits = self.splits.clone();
        let map = Stage::new("map", self.map.clone(), move || splits.inputs());
        let reduce = Stage::derived("reduce", self.reduce.clone(), ["map"], self.exchange.clone());
        ExecutionPlan::new(vec![map.idempotent(), reduce.idempotent()])
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(extract(Arguments::parse()).await)
}

async fn extract(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { mut data, group_by, sum, plain_lines, split, reducers, flags } = arguments;
    let orders = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/orders");
    // The rows never go through payloads.
    data.output.get_or_insert_with(|| "falco-output".to_owned());
    let Some(stores) = data.stores(&orders)? else { return Ok(false) };
    let driver = driver(&flags, &stores, group_by, sum, plain_lines, split, reducers)?;
    let objects = OverObjects::connect(&flags, stores).await?;
    let (outcome, manifest) = objects.run(&driver, "reduce").await?;
    finish(&flags.output, &outcome.report, &outcome.leftovers, || Ok(Written(manifest)))
}

fn driver(
    flags: &RunFlags,
    stores: &Stores,
    group_by: String,
    sum: String,
    plain_lines: bool,
    split: u64,
    reducers: NonZeroU32,
) -> Result<Etl> {
    let csv = if plain_lines { Csv::default() } else { Csv::default().with_quoted_newlines() };
    let sink = Sink::scratch().partitions(reducers.get());
    let splits = Splits::csv(&stores.input, "", csv).target(split).with_sink(sink);
    let exchange = Exchange::of_field("out").with_sink(stores.output.sink("part.csv"));
    let function = |name: &str, source: &str| -> Result<Deployable> {
        let function = flags.function.deployable(name, "python:3", source)?;
        Ok(function.with_env("ETL_GROUP_BY", &*group_by).with_env("ETL_SUM", &*sum))
    };
    let map = function("etl-map", include_str!("../../functions/etl_map.py"))?;
    let reduce = function("etl-reduce", include_str!("../../functions/etl_reduce.py"))?;
    Ok(Etl { splits, map, exchange, reduce })
}

/// The objects that were written, one a line with its size.
#[derive(Serialize)]
struct Written(Option<Manifest>);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = self.0.iter().flat_map(|manifest| &manifest.objects);
        objects.into_iter().try_for_each(|object| writeln!(f, "{} {}", object.size, object.url))
    }
}
