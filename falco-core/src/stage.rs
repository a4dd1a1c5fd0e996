//! A stage: a function, and where its invocations come from.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_core::stream::BoxStream;
use serde::Serialize;

use crate::deployable::Deployable;
use crate::derivation::Derivation;
use crate::error::{Error, Result};
use crate::id::StageName;
use crate::input::Input;
use crate::payload::Payload;
use crate::policy::StagePolicy;
use crate::runtime::{Options, Runtime};
use crate::stage_setters;

/// A stage of a plan: a function, and where its invocations come from.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Payload, Stage};
///
/// let hello = Deployable::from_source("hello", "python:3".parse()?, "def main(args): return args");
/// let stage = Stage::from_payloads("greet", hello, vec![Payload::empty(), Payload::empty()])
///     .idempotent();
/// assert_eq!(stage.name, "greet");
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stage {
    /// Its name, unique in the plan.
    pub name: StageName,
    /// The function that it runs.
    pub function: Deployable,
    /// Where its invocations come from.
    pub source: StageSource,
    /// Whether running one of its invocations twice does no harm.
    pub idempotent: bool,
    /// Whether its results follow from its function and its arguments alone.
    pub pure: bool,
    /// How long the stage may take, from its first invocation; later ones are not sent.
    pub deadline: Option<Duration>,
    /// How its invocations are driven, where it differs from the rest of the run.
    pub policy: StagePolicy,
}

impl Stage {
    /// A stage whose inputs are made by `inputs`, which is called once for each run.
    ///
    /// The stream is read as fast as the strategy admits, so that inputs need not fit into memory. An error in it
    /// fails the stage.
    pub fn new<F, S>(name: impl Into<StageName>, function: Deployable, inputs: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Stream<Item = Result<Input>> + Send + 'static,
    {
        Self::with_source(
            name,
            function,
            StageSource::Inputs(Inputs { make: Arc::new(move || Box::pin(inputs())), count: None }),
        )
    }

    /// A stage over payloads that are there already. They are numbered from 0.
    pub fn from_payloads(
        name: impl Into<StageName>,
        function: Deployable,
        payloads: Vec<Payload>,
    ) -> Self {
        let payloads: Arc<[Payload]> = payloads.into();
        let total = Some(payloads.len());
        Self::numbered(name, function, total, move |index| payloads.get(index).cloned().map(Ok))
    }

    /// A stage over values, each of which becomes the argument of one invocation as JSON. They are numbered from 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployable, Stage};
    /// use serde::Serialize;
    ///
    /// #[derive(Serialize)]
    /// struct Person { name: &'static str }
    ///
    /// let hello = Deployable::python("hello", "def main(args): return {'hello': args['name']}");
    /// let people = ["world", "Ada"].map(|name| Person { name });
    /// let stage = Stage::from_values("greet", hello, people)?;
    /// # Ok::<(), falco_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for the first value that has no JSON form or is not a JSON object, with its number.
    pub fn from_values<V: Serialize>(
        name: impl Into<StageName>,
        function: Deployable,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Self> {
        let name = name.into();
        let payload = |(number, value): (usize, V)| {
            let payload = Payload::json(&value);
            let checked = payload.and_then(|json| json.check_argument(None).map(|()| json));
            checked.map_err(|error| {
                let message = format!("invalid input {number} of stage {name:?}");
                Error::invalid_input(message).with_source(&error)
            })
        };
        let payloads = values.into_iter().enumerate().map(payload).collect::<Result<_>>()?;
        Ok(Self::from_payloads(name, function, payloads))
    }

    /// A stage whose inputs `make` makes one by one, from index 0 until it answers `None`. They are numbered
    /// likewise. Where their number is known, [`from_fn_sized`](Self::from_fn_sized) gives progress a total.
    pub fn from_fn<F>(name: impl Into<StageName>, function: Deployable, make: F) -> Self
    where
        F: Fn(usize) -> Option<Result<Payload>> + Send + Sync + 'static,
    {
        Self::numbered(name, function, None, make)
    }

    /// A stage with `count` inputs that `make` makes one by one, from index 0. They are numbered likewise, and need not
    /// fit into memory. Progress knows the total.
    pub fn from_fn_sized<F>(
        name: impl Into<StageName>,
        function: Deployable,
        count: usize,
        make: F,
    ) -> Self
    where
        F: Fn(usize) -> Result<Payload> + Send + Sync + 'static,
    {
        Self::numbered(name, function, Some(count), move |index| {
            (index < count).then(|| make(index))
        })
    }

    fn numbered<F>(
        name: impl Into<StageName>,
        function: Deployable,
        total: Option<usize>,
        make: F,
    ) -> Self
    where
        F: Fn(usize) -> Option<Result<Payload>> + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let inputs = move || Numbered { make: make.clone(), next: 0, total };
        let mut stage = Self::new(name, function, inputs);
        if let StageSource::Inputs(inputs) = &mut stage.source {
            inputs.count = total;
        }
        stage
    }

    /// A stage as a [`Runtime`] describes it, with one invocation for each of `inputs`.
    ///
    /// # Errors
    ///
    /// Whatever the runtime's `make_deployment` answers. An error of `invocation_payload` fails the stage in the
    /// run.
    pub fn from_runtime(
        name: impl Into<StageName>,
        runtime: Arc<dyn Runtime>,
        options: Options,
        inputs: Vec<String>,
    ) -> Result<Self> {
        let function = runtime.make_deployment(&options, &inputs)?;
        Ok(Self::numbered(name, function, Some(inputs.len()), move |index| {
            inputs.get(index).map(|input| runtime.invocation_payload(&options, input))
        }))
    }

    /// A stage whose inputs follow from what `upstream` completes.
    pub fn derived<U: Into<StageName>>(
        name: impl Into<StageName>,
        function: Deployable,
        upstream: impl IntoIterator<Item = U>,
        derivation: impl Derivation,
    ) -> Self {
        let source = StageSource::Derived {
            upstream: upstream.into_iter().map(Into::into).collect(),
            derivation: Arc::new(derivation),
        };
        Self::with_source(name, function, source)
    }

    fn with_source(name: impl Into<StageName>, function: Deployable, source: StageSource) -> Self {
        Self {
            name: name.into(),
            function,
            source,
            idempotent: false,
            pure: false,
            deadline: None,
            policy: StagePolicy::default(),
        }
    }

    stage_setters!();

    /// Stores arguments with the stage's function, a JSON object: they lie beneath each payload at the top level, where the
    /// payload wins, and are sent once instead of with each call. See [`Deployable::with_arguments`].
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployable, Payload, Stage};
    ///
    /// let nearest = Deployable::python("nearest", "def main(args): return args");
    /// let stage = Stage::from_payloads("assign", nearest, vec![Payload::empty()])
    ///     .with_arguments(Payload::from_bytes(r#"{"centroids": [[0, 0], [1, 1]]}"#)?);
    /// assert!(stage.function.arguments.is_some());
    /// # Ok::<(), falco_core::Error>(())
    /// ```
    #[must_use]
    pub fn with_arguments(mut self, arguments: Payload) -> Self {
        self.function.arguments = Some(arguments);
        self
    }

    /// Says that the results follow from the function and the arguments alone, so that those of an earlier run may be
    /// used again. Such a stage is idempotent, too.
    #[must_use]
    pub fn pure(mut self) -> Self {
        self.pure = true;
        self.idempotent = true;
        self
    }

    /// The stages that it follows.
    pub fn upstream(&self) -> &[StageName] {
        match &self.source {
            StageSource::Inputs(_) => &[],
            StageSource::Derived { upstream, .. } => upstream,
        }
    }
}

/// Where the invocations of a stage come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StageSource {
    /// From outside.
    Inputs(Inputs),
    /// From other stages.
    Derived {
        /// The stages that it follows.
        upstream: Vec<StageName>,
        /// How its inputs follow from their completions.
        derivation: Arc<dyn Derivation>,
    },
}

/// Makes the inputs of a stage, anew for each run.
#[derive(Clone)]
pub struct Inputs {
    make: Arc<dyn Fn() -> BoxStream<'static, Result<Input>> + Send + Sync>,
    count: Option<usize>,
}

impl Inputs {
    /// The inputs, from the first. Called once for each run, since some can be read only once.
    pub fn open(&self) -> BoxStream<'static, Result<Input>> {
        (self.make)()
    }

    /// The number of inputs, where it is known without opening them.
    pub fn count(&self) -> Option<usize> {
        self.count
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inputs")
    }
}

struct Numbered<F> {
    make: Arc<F>,
    next: usize,
    /// How many there are in all, where that is known: used for progress and for counting skipped inputs.
    total: Option<usize>,
}

impl<F: Fn(usize) -> Option<Result<Payload>>> Stream for Numbered<F> {
    type Item = Result<Input>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let index = self.next;
        let payload = (self.make)(index);
        self.next += 1;
        Poll::Ready(payload.map(|payload| payload.map(|payload| Input::numbered(index, payload))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.total.map(|total| total.saturating_sub(self.next));
        (left.unwrap_or_default(), left)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn inputs(stage: &Stage) -> BoxStream<'static, Result<Input>> {
        match &stage.source {
            StageSource::Inputs(factory) => factory.open(),
            StageSource::Derived { .. } => panic!("a stage with inputs of its own"),
        }
    }

    #[test]
    fn an_error_of_a_value_names_its_number() {
        let function = Deployable::python("f", "x");
        let object = || std::collections::BTreeMap::from([("a", 1)]);
        assert!(Stage::from_values("s", function.clone(), [object(), object()]).is_ok());
        let values = [serde_json::json!({}), serde_json::json!(7)];
        let error = Stage::from_values("s", function, values).unwrap_err().to_string();
        assert!(error.contains("invalid input 1 of stage \"s\"") && error.contains('7'), "{error}");
    }

    #[tokio::test]
    async fn payloads_report_how_many_are_left() {
        let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x");
        let stage = Stage::from_payloads("s", function.clone(), vec![Payload::empty(); 2]);
        let mut two = inputs(&stage);
        assert_eq!(two.size_hint(), (2, Some(2)));
        two.next().await;
        assert_eq!(two.size_hint(), (1, Some(1)));
        assert_eq!(two.collect::<Vec<_>>().await.len(), 1);
        let endless = Stage::from_fn("s", function, |_| Some(Ok(Payload::empty())));
        assert_eq!(inputs(&endless).size_hint(), (0, None));
    }
}
