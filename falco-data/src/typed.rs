//! The typed front: pipelines over objects whose chain is checked by the compiler.

use std::fmt;
use std::marker::PhantomData;

use falco_core::{Result, StageName};
use falco_executors::typed::{Function, Output, Pipeline};
use serde::Deserialize;

use crate::exchange::Exchange;
use crate::object::Object;
use crate::splits::SplitsOf;

/// The argument of a function over a split: `{"input": .., "number": 3, "out": ..}`. Falco makes it out of [`SplitsOf`]; the
/// type only says so.
#[derive(Clone, Copy, Debug)]
pub struct SplitInput(());

/// The argument of a function over partitions: `{"in": .., "partition": 3, "out": ..}`, whose values are `V`. Falco makes it
/// out of what mappers [emitted](Emitted); the type only says so.
pub struct Partitions<V>(PhantomData<fn(V)>);

/// The result of a mapper, `{"out": out.close()}`, whose partitions hold keys with values that are `V`.
#[derive(Deserialize)]
#[serde(bound = "")]
pub struct Emitted<V> {
    /// The object that it wrote.
    pub out: Object,
    #[serde(skip)]
    values: PhantomData<fn() -> V>,
}

/// The result of a function that wrote an object, `{"out": out.close()}`. [`commit`](crate::commit) takes such results.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct WroteObject {
    /// The object that it wrote.
    pub out: Object,
}

/// Stages over objects for a [`Pipeline`].
///
/// # Examples
///
/// ```
/// use falco_data::{DataPipeline, Emitted, Exchange, Partitions, Sink, SplitInput, Splits, Store, WroteObject};
/// use falco_executors::typed::{Function, Pipeline};
///
/// # const COUNT: &str = "def main(args): return {}";
/// # const TOTAL: &str = "def main(args): return {}";
/// let count: Function<SplitInput, Emitted<u64>> = Function::python("count", COUNT);
/// let total: Function<Partitions<u64>, WroteObject> = Function::python("total", TOTAL);
///
/// let (input, output) = (Store::open("file:///data/in")?, Store::open("file:///data/out")?);
/// let splits = Splits::lines(&input, "").with_sink(Sink::scratch().partitions(16));
/// let exchange = Exchange::of_field("out").with_sink(output.sink("part.tsv"));
///
/// let mut pipeline = Pipeline::new("wordcount");
/// let counts = pipeline.splits("map", splits, &count);
/// let totals = pipeline.exchange("reduce", &counts, exchange, &total);
/// # Ok::<(), falco_core::Error>(())
/// ```
///
/// A chain whose types do not fit does not compile:
///
/// ```compile_fail,E0308
/// # use falco_data::{DataPipeline, Emitted, Exchange, Partitions, SplitInput, SplitsOf};
/// # use falco_executors::typed::{Function, Pipeline};
/// # fn f(splits: SplitsOf, exchange: Exchange) {
/// let count: Function<SplitInput, Emitted<u64>> = Function::python("count", "..");
/// let total: Function<Partitions<String>, u64> = Function::python("total", "..");
///
/// let mut pipeline = Pipeline::new("wordcount");
/// let counts = pipeline.splits("map", splits, &count);
/// let totals = pipeline.exchange("reduce", &counts, exchange, &total);
/// # }
/// ```
pub trait DataPipeline {
    /// A stage with an invocation for each split.
    fn splits<R>(
        &mut self,
        name: impl Into<StageName>,
        splits: SplitsOf,
        function: &Function<SplitInput, R>,
    ) -> Output<R>;

    /// A stage with an invocation for each partition that mappers wrote to; see [`Exchange`].
    fn exchange<V, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<Emitted<V>>,
        exchange: Exchange,
        function: &Function<Partitions<V>, R>,
    ) -> Output<R>;

    /// As [`exchange`](Self::exchange), in two levels: `fan_in` mappers are merged at a time; see [`Exchange::two_level`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `fan_in` is below 2.
    fn exchange_by_blocks<V, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<Emitted<V>>,
        fan_in: u32,
        exchange: Exchange,
        function: &Function<Partitions<V>, R>,
    ) -> Result<Output<R>>;
}

impl DataPipeline for Pipeline {
    fn splits<R>(
        &mut self,
        name: impl Into<StageName>,
        splits: SplitsOf,
        function: &Function<SplitInput, R>,
    ) -> Output<R> {
        self.inputs_of_stream(name, function, move || splits.inputs())
    }

    fn exchange<V, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<Emitted<V>>,
        exchange: Exchange,
        function: &Function<Partitions<V>, R>,
    ) -> Output<R> {
        self.derive(name, after, exchange, function)
    }

    fn exchange_by_blocks<V, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<Emitted<V>>,
        fan_in: u32,
        exchange: Exchange,
        function: &Function<Partitions<V>, R>,
    ) -> Result<Output<R>> {
        let (merge, exchange) = exchange.by_blocks(after.stage().clone(), fan_in)?;
        let merged: Output<Emitted<V>> = self.add(merge);
        Ok(self.derive(name, &merged, exchange, function))
    }
}

impl<V> fmt::Debug for Emitted<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitted").field("out", &self.out).finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Partitions<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Partitions")
    }
}
