//! From a query to the stages of a run.

use std::fmt;

use falco_core::{Deployable, Driver, ExecutionPlan, Input, Payload, Result, Stage};
use falco_data::{Csv, Exchange, Object, Sink, Splits, SplitsOf, Store};
use falco_executors::FanIn;
use futures_util::TryStreamExt;
use serde_json::json;

use super::query::Query;
use crate::broadcast::Broadcast;
use crate::generate::Format;

/// The stages of a query.
#[derive(Clone, Debug)]
pub struct Plan {
    query: Query,
    stages: Vec<Stage>,
}

impl Plan {
    /// The name of the stage whose one result is the answer.
    pub const ANSWER: &'static str = "answer";
}

impl Driver for Plan {
    fn name(&self) -> &str {
        match self.query {
            Query::Q1 => "tpch-q1",
            Query::Q3 => "tpch-q3",
            Query::Q5 => "tpch-q5",
            Query::Q6 => "tpch-q6",
            Query::Q12 => "tpch-q12",
        }
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.stages.clone())
    }
}

/// Plans queries over tables in a store, whatever language their functions are in.
pub struct Planner<'a> {
    /// The tables, each in a folder of its name.
    pub input: Store,
    /// The format of the tables.
    pub format: Format,
    /// Bytes of a split; none hands whole files to functions.
    pub split: Option<u64>,
    /// Partitions of each exchange.
    pub partitions: u32,
    /// The function with a name such as `q1-scan`.
    pub function: &'a (dyn Fn(&str) -> Result<Deployable> + Sync),
}

impl Planner<'_> {
    /// Plans a query. Splits that go with the results of a stage are planned at once, others when the run begins.
    ///
    /// # Errors
    ///
    /// `NotFound` when a table is not there, what the store refuses, and the error of a function.
    pub async fn plan(&self, query: Query) -> Result<Plan> {
        let of = |name: &str| (self.function)(&format!("{query}-{name}"));
        let exchanged = |name: &str, table| self.scan(of(name)?, name, table, true);
        let join = |name: &str, after: [&str; 2], sink: Option<Sink>| {
            let exchange = Exchange::of_field("out");
            let exchange = sink.into_iter().fold(exchange, Exchange::with_sink);
            Ok::<_, falco_core::Error>(Stage::derived(name, of(name)?, after, exchange))
        };
        let answer = |after: &str| -> Result<Stage> {
            Ok(Stage::derived(Plan::ANSWER, of("answer")?, [after], FanIn::new()))
        };
        let stages = match query {
            Query::Q1 | Query::Q6 => {
                vec![self.scan(of("scan")?, "scan", "lineitem", false)?, answer("scan")?]
            }
            Query::Q12 => vec![
                exchanged("lines", "lineitem")?,
                exchanged("orders", "orders")?,
                join("join", ["lines", "orders"], None)?,
                answer("join")?,
            ],
            Query::Q3 => vec![
                exchanged("customers", "customer")?,
                exchanged("orders", "orders")?,
                join("placed", ["customers", "orders"], Some(self.sink()))?,
                exchanged("lines", "lineitem")?,
                join("join", ["placed", "lines"], None)?,
                answer("join")?,
            ],
            Query::Q5 => {
                let all = FanIn::named(["dimensions", "join"]);
                vec![
                    self.dimensions(of("dimensions")?).await?,
                    self.with_side(of("customers")?, "customers", "customer").await?,
                    exchanged("orders", "orders")?,
                    join("placed", ["customers", "orders"], Some(self.sink()))?,
                    self.with_side(of("lines")?, "lines", "lineitem").await?,
                    join("join", ["placed", "lines"], None)?,
                    Stage::derived(Plan::ANSWER, of("answer")?, ["dimensions", "join"], all),
                ]
            }
        };
        // Every write has a key of its own, so that calls may be repeated.
        let stages = stages.into_iter().map(Stage::idempotent).collect();
        Ok(Plan { query, stages })
    }

    fn sink(&self) -> Sink {
        Sink::scratch().partitions(self.partitions)
    }

    fn splits(&self, table: &str) -> SplitsOf {
        match (self.split, self.format) {
            (None, _) => Splits::whole(&self.input, table),
            (Some(bytes), Format::Parquet) => Splits::parquet(&self.input, table).target(bytes),
            (Some(bytes), Format::Csv) => {
                Splits::csv(&self.input, table, Csv::default()).target(bytes)
            }
        }
    }

    fn scan(&self, function: Deployable, name: &str, table: &str, writes: bool) -> Result<Stage> {
        let splits = self.splits(table);
        let splits = if writes { splits.with_sink(self.sink()) } else { splits };
        Ok(Stage::new(name, function, move || splits.inputs()))
    }

    async fn with_side(&self, function: Deployable, name: &str, table: &str) -> Result<Stage> {
        let splits = self.splits(table).with_sink(self.sink());
        let splits = Broadcast::over(splits.inputs().try_collect().await?);
        Ok(Stage::derived(name, function, ["dimensions"], splits))
    }

    /// One invocation over the small tables.
    async fn dimensions(&self, function: Deployable) -> Result<Stage> {
        let (region, nation) = (self.only("region").await?, self.only("nation").await?);
        let argument = json!({
            "region": region,
            "nation": nation,
            "supplier": self.only("supplier").await?,
            "out": Sink::scratch(),
        });
        let input = Input::numbered(0, Payload::json(&argument)?);
        let inputs = move || futures_util::stream::iter([Ok(input.clone())]);
        Ok(Stage::new("dimensions", function, inputs))
    }

    /// The one file of a small table.
    async fn only(&self, table: &str) -> Result<Object> {
        let mut splits: Vec<_> = Splits::whole(&self.input, table).stream().try_collect().await?;
        match (splits.pop().and_then(|mut split| split.objects.pop()), splits.len()) {
            (Some(object), 0) => Ok(object),
            (_, more) => Err(falco_core::Error::invalid_input(format!(
                "the table {table} has {} files, and has to have one",
                more + 1
            ))),
        }
    }
}

impl fmt::Debug for Planner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planner")
            .field("input", &self.input)
            .field("format", &self.format)
            .field("split", &self.split)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}
