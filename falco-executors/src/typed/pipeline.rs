//! Stages chained by the types of their functions.

use std::fmt;
use std::marker::PhantomData;

use falco_core::{Derivation, Driver, ExecutionPlan, Input, Payload, Result, Stage, StageName};
use futures_core::Stream;
use futures_util::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::function::Function;
use super::shapes::{Both, List, Pairs, Partition};
use crate::derivation::{Chunks, FanIn, FanOut, Merge, OneToOne, Shuffle};

/// A driver made of [`Function`]s, in which a stage takes only what the stage before returns.
///
/// It is thin: each method adds one ordinary [`Stage`] with one of the derivations of this crate, and
/// [`plan`](Driver::plan) is an ordinary [`ExecutionPlan`].
///
/// # Examples
///
/// ```
/// use falco_executors::typed::{Function, Pairs, Partition, Pipeline};
/// use falco_executors::DriverExt;
/// use serde::{Deserialize, Serialize};
/// use std::collections::BTreeMap;
///
/// #[derive(Serialize)]
/// struct Text { text: String }
///
/// #[derive(Deserialize)]
/// struct Totals { totals: BTreeMap<String, u64> }
///
/// # const COUNT: &str = "def main(args): return args";
/// # const TOTAL: &str = "def main(args): return args";
/// # async fn f(platform: impl falco_core::AsyncPlatform) -> falco_core::Result<()> {
/// let count: Function<Text, Pairs<u64>> = Function::python("count", COUNT);
/// let total: Function<Partition<u64>, Totals> = Function::python("total", TOTAL);
///
/// let mut pipeline = Pipeline::new("wordcount");
/// let texts = vec![Text { text: "to be or not to be".into() }];
/// let counts = pipeline.inputs("map", &count, texts)?;
/// let totals = pipeline.shuffle("reduce", &counts, 16, &total)?;
///
/// let outcome = pipeline.run(platform).await?;
/// for Totals { totals } in outcome.results_of(&totals)? {
///     println!("{totals:?}");
/// }
/// # Ok(()) }
/// ```
///
/// A chain whose types do not fit does not compile:
///
/// ```compile_fail,E0308
/// # use falco_core::Deployable;
/// # use falco_executors::typed::{Function, Pairs, Partition, Pipeline};
/// # fn f(code: Deployable, texts: Vec<String>) -> falco_core::Result<()> {
/// let count: Function<String, Pairs<u64>> = Function::new(code.clone());
/// let total: Function<Partition<String>, u64> = Function::new(code);
///
/// let mut pipeline = Pipeline::new("wordcount");
/// let counts = pipeline.inputs("map", &count, texts)?;
/// let totals = pipeline.shuffle("reduce", &counts, 16, &total)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    name: String,
    stages: Vec<Stage>,
}

/// The results of a stage of a [`Pipeline`]: what other stages follow, and what
/// [`results_of`](crate::RunOutcome::results_of) takes.
pub struct Output<R> {
    stage: StageName,
    results: PhantomData<fn() -> R>,
}

impl<R> Output<R> {
    /// The stage.
    pub fn stage(&self) -> &StageName {
        &self.stage
    }
}

impl Pipeline {
    /// A pipeline without stages.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), stages: Vec::new() }
    }

    /// A stage over inputs that are there already.
    ///
    /// # Errors
    ///
    /// When an input has no JSON form.
    pub fn inputs<A: Serialize, R>(
        &mut self,
        name: impl Into<StageName>,
        function: &Function<A, R>,
        inputs: impl IntoIterator<Item = A>,
    ) -> Result<Output<R>> {
        let payloads = inputs.into_iter().map(|input| Payload::json(&input));
        let payloads = payloads.collect::<Result<Vec<_>>>()?;
        let stage = Stage::from_payloads(name, function.deployable().clone(), payloads);
        Ok(self.push(stage, function))
    }

    /// A stage with `count` inputs that `make` makes one by one, from index 0; they need not fit into memory. It is
    /// called anew in each run.
    pub fn inputs_by<A: Serialize, R>(
        &mut self,
        name: impl Into<StageName>,
        function: &Function<A, R>,
        count: usize,
        make: impl Fn(usize) -> Result<A> + Send + Sync + 'static,
    ) -> Output<R> {
        let make = move |index| Payload::json(&make(index)?);
        let stage = Stage::from_fn_sized(name, function.deployable().clone(), count, make);
        self.push(stage, function)
    }

    /// As [`inputs_by`](Self::inputs_by), where nobody knows how many there are: until `make` answers `None`. Progress
    /// has no total then.
    pub fn inputs_until<A: Serialize, R>(
        &mut self,
        name: impl Into<StageName>,
        function: &Function<A, R>,
        make: impl Fn(usize) -> Option<Result<A>> + Send + Sync + 'static,
    ) -> Output<R> {
        let make = move |index| make(index).map(|input| Payload::json(&input?));
        let stage = Stage::from_fn(name, function.deployable().clone(), make);
        self.push(stage, function)
    }

    /// A stage over the inputs of an iterator, read as fast as the strategy admits them; they need not fit into memory.
    /// `open` is called anew in each run.
    pub fn inputs_from<A: Serialize, R, I>(
        &mut self,
        name: impl Into<StageName>,
        function: &Function<A, R>,
        open: impl Fn() -> I + Send + Sync + 'static,
    ) -> Output<R>
    where
        I: Iterator<Item = Result<A>> + Send + 'static,
    {
        let stage = Stage::new(name, function.deployable().clone(), move || {
            let payloads = open().map(|input| Payload::json(&input?));
            let inputs =
                payloads.enumerate().map(|(index, json)| Ok(Input::numbered(index, json?)));
            stream::iter(inputs)
        });
        self.push(stage, function)
    }

    /// A stage that takes each result as it is, as soon as it is there; see [`OneToOne`].
    pub fn then<A, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<A>,
        function: &Function<A, R>,
    ) -> Output<R> {
        self.derived(name, [&after.stage], OneToOne::new(), function)
    }

    /// A stage that takes what `map` makes of each result, as soon as it is there; see [`OneToOne`].
    pub fn then_map<U: DeserializeOwned, A: Serialize, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<U>,
        map: impl Fn(U) -> A + Send + Sync + 'static,
        function: &Function<A, R>,
    ) -> Output<R> {
        let map = OneToOne::by(move |result| Payload::json(&map(result.parse()?)));
        self.derived(name, [&after.stage], map, function)
    }

    /// A stage with an invocation for each value that `map` makes of a result; see [`FanOut`].
    pub fn fan_out<U: DeserializeOwned, A: Serialize, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<U>,
        map: impl Fn(U) -> Vec<A> + Send + Sync + 'static,
        function: &Function<A, R>,
    ) -> Output<R> {
        let map =
            FanOut::by(move |result| map(result.parse()?).iter().map(Payload::json).collect());
        self.derived(name, [&after.stage], map, function)
    }

    /// A stage with one invocation that takes all results; see [`FanIn`].
    pub fn fan_in<U, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<U>,
        function: &Function<List<U>, R>,
    ) -> Output<R> {
        self.derived(name, [&after.stage], FanIn::new(), function)
    }

    /// A stage with one invocation that takes all results of two stages; see [`FanIn::named`].
    pub fn join<L, R, O>(
        &mut self,
        name: impl Into<StageName>,
        left: &Output<L>,
        right: &Output<R>,
        function: &Function<Both<L, R>, O>,
    ) -> Output<O> {
        let both = FanIn::named(["left", "right"]);
        self.derived(name, [&left.stage, &right.stage], both, function)
    }

    /// A stage that takes results in chunks of `size`; see [`Chunks`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `size` is zero.
    pub fn chunks<U, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<U>,
        size: usize,
        function: &Function<List<U>, R>,
    ) -> Result<Output<R>> {
        Ok(self.derived(name, [&after.stage], Chunks::of(size)?, function))
    }

    /// A stage that takes values grouped by key, the keys spread over `partitions`; see [`Shuffle`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `partitions` is zero.
    pub fn shuffle<V, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<Pairs<V>>,
        partitions: u32,
        function: &Function<Partition<V>, R>,
    ) -> Result<Output<R>> {
        let shuffle = Shuffle::of_field("pairs", partitions)?;
        Ok(self.derived(name, [&after.stage], shuffle, function))
    }

    /// A stage that takes each result of several stages, as soon as it is there; see [`Merge`].
    pub fn merge<'a, A: 'a, R>(
        &mut self,
        name: impl Into<StageName>,
        after: impl IntoIterator<Item = &'a Output<A>>,
        function: &Function<A, R>,
    ) -> Output<R> {
        self.derived(name, after.into_iter().map(|output| &output.stage), Merge::new(), function)
    }

    /// A stage over the inputs of a stream, which is opened anew in each run; for stages that other crates add.
    pub fn inputs_of_stream<A, R, S>(
        &mut self,
        name: impl Into<StageName>,
        function: &Function<A, R>,
        open: impl Fn() -> S + Send + Sync + 'static,
    ) -> Output<R>
    where
        S: Stream<Item = Result<Input>> + Send + 'static,
    {
        self.push(Stage::new(name, function.deployable().clone(), open), function)
    }

    /// A stage whose inputs are derived in a way of the caller's own, who answers for the types; for stages that other
    /// crates add.
    pub fn derive<U, A, R>(
        &mut self,
        name: impl Into<StageName>,
        after: &Output<U>,
        derivation: impl Derivation,
        function: &Function<A, R>,
    ) -> Output<R> {
        self.derived(name, [&after.stage], derivation, function)
    }

    /// A stage that was made without types; the caller answers for what it returns.
    pub fn add<R>(&mut self, stage: Stage) -> Output<R> {
        let output = Output { stage: stage.name.clone(), results: PhantomData };
        self.stages.push(stage);
        output
    }

    fn derived<'a, A, R>(
        &mut self,
        name: impl Into<StageName>,
        after: impl IntoIterator<Item = &'a StageName>,
        derivation: impl Derivation,
        function: &Function<A, R>,
    ) -> Output<R> {
        let after = after.into_iter().cloned();
        let stage = Stage::derived(name, function.deployable().clone(), after, derivation);
        self.push(stage, function)
    }

    fn push<A, R>(&mut self, stage: Stage, function: &Function<A, R>) -> Output<R> {
        let output = Output { stage: stage.name.clone(), results: PhantomData };
        self.stages.push(function.set_up(stage));
        output
    }
}

impl Driver for Pipeline {
    fn name(&self) -> &str {
        &self.name
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.stages.clone())
    }
}

impl<R> Clone for Output<R> {
    fn clone(&self) -> Self {
        Self { stage: self.stage.clone(), results: PhantomData }
    }
}

impl<R> fmt::Debug for Output<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("stage", &self.stage).finish()
    }
}
