//! One function over many inputs, without a pipeline.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use falco_core::{
    Completion, Driver, Error, ErrorKind, ExecutionPlan, InvocationId, OnFailure, Outcome, Payload,
    Result, Stage, Verdict,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::function::Function;
use crate::run::{DriverExt, KeepResults, RunOptions, RunOutcome};

/// A run of one [`Function`] over many inputs: deploys it, invokes it once for each input, and removes it.
///
/// # Examples
///
/// ```
/// use falco_executors::typed::Function;
/// use falco_executors::Run;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize)]
/// struct Person { name: &'static str }
///
/// #[derive(Deserialize)]
/// struct Greeting { greeting: String }
///
/// # async fn f(platform: impl falco_core::AsyncPlatform) -> falco_core::Result<()> {
/// let source = "def main(args): return {'greeting': f'Hello {args[\"name\"]}!'}";
/// let hello: Function<Person, Greeting> = Function::python("hello", source);
///
/// let people = ["world", "Ada"].map(|name| Person { name });
/// for greeting in Run::on(platform).map(&hello, people).await? {
///     println!("{}", greeting.greeting);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "it runs nothing before `map` or `map_each` is awaited"]
pub struct Run {
    options: RunOptions,
}

impl Run {
    /// A run on a platform, or with [`RunOptions`], in which everything can be set.
    pub fn on(options: impl Into<RunOptions>) -> Self {
        Self { options: options.into() }
    }

    /// The results of `function` for `inputs`, in the order of the inputs.
    ///
    /// Dropped, the future cannot remove what it deployed: see [`DriverExt::run`].
    ///
    /// # Errors
    ///
    /// As [`DriverExt::run`]; `InvalidInput` for an input that is not a JSON object. When invocations fail, the first
    /// of them, with its input and the function's traceback. [`map_each`](Self::map_each) returns the other results,
    /// too.
    pub fn map<A: Serialize, R: DeserializeOwned>(
        self,
        function: &Function<A, R>,
        inputs: impl IntoIterator<Item = A>,
    ) -> impl Future<Output = Result<Vec<R>>> + Send {
        let mapping = Mapping::new(function, inputs.into_iter().map(|input| Payload::json(&input)));
        let options = self.options.with_kept_results(KeepResults::Last);
        async move {
            let mapping = mapping?;
            let outcome = mapping.run(options).await?;
            let results = outcome.results_as(mapping.stage.name.as_str());
            results.map_err(|error| mapping.first_failure().unwrap_or(error))
        }
    }

    /// Each input with its result or with the reason why it has none, in the order of the inputs.
    ///
    /// A failure does not end the run, unless the function's [policy](Function::with_policy) says so. Inputs that were
    /// not sent before the end of a run have the reason of that end.
    ///
    /// # Errors
    ///
    /// As [`DriverExt::run`]; `InvalidInput` for an input that is not a JSON object.
    pub fn map_each<A: Serialize + Send, R: DeserializeOwned>(
        self,
        function: &Function<A, R>,
        inputs: impl IntoIterator<Item = A>,
    ) -> impl Future<Output = Result<Vec<(A, Result<R>)>>> + Send {
        let inputs: Vec<A> = inputs.into_iter().collect();
        let mapping = Mapping::new(function, inputs.iter().map(Payload::json));
        let options = self.options.with_kept_results(KeepResults::Last);
        async move {
            let mut mapping = mapping?;
            // What the function's own policy says comes first.
            let policy = mapping.stage.policy;
            let on_failure = policy.on_failure.unwrap_or(OnFailure::Continue);
            mapping.stage = mapping.stage.with_policy(policy.with_on_failure(on_failure));
            let outcome = mapping.run(options).await?;
            let each = mapping.each(&outcome)?;
            Ok(inputs.into_iter().zip(each).collect())
        }
    }
}

/// A driver of one stage, which remembers why invocations failed.
#[derive(Debug)]
struct Mapping {
    stage: Stage,
    inputs: Vec<Payload>,
    failures: Mutex<BTreeMap<InvocationId, Error>>,
}

impl Mapping {
    fn new<A, R>(
        function: &Function<A, R>,
        inputs: impl Iterator<Item = Result<Payload>>,
    ) -> Result<Self> {
        let name = function.deployable().name.as_str();
        let check = |(number, payload): (usize, Result<Payload>)| {
            let checked = payload.and_then(|json| json.check_argument(None).map(|()| json));
            checked.map_err(|error| {
                let message = format!("invalid input {number} of {name:?}");
                Error::invalid_input(message).with_source(&error)
            })
        };
        let inputs: Vec<_> = inputs.enumerate().map(check).collect::<Result<_>>()?;
        let stage = Stage::from_payloads(name, function.deployable().clone(), inputs.clone());
        Ok(Self { stage: function.set_up(stage), inputs, failures: Mutex::default() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<InvocationId, Error>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure of the first input that failed by itself, rather than with the run.
    fn first_failure(&self) -> Option<Error> {
        self.lock().values().find(|error| error.kind() != ErrorKind::Cancelled).cloned()
    }

    /// The results and failures by the numbers of the inputs.
    fn each<R: DeserializeOwned>(&self, outcome: &RunOutcome) -> Result<Vec<Result<R>>> {
        let mut failures = std::mem::take(&mut *self.lock());
        let results: BTreeMap<_, _> =
            outcome.partial_results(self.stage.name.as_str())?.iter().cloned().collect();
        let result = |number: usize| {
            let id = numbered(number);
            match results.get(&id) {
                Some(payload) => payload.parse(),
                None => Err(failures.remove(&id).unwrap_or_else(|| not_sent(outcome))),
            }
        };
        Ok((0..self.inputs.len()).map(result).collect())
    }
}

impl Driver for Mapping {
    fn name(&self) -> &str {
        self.stage.name.as_str()
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(vec![self.stage.clone()])
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        if let Some(why) = failure(completion) {
            let id = &completion.invocation;
            let number: Option<usize> = id.as_str().parse().ok();
            let input = number.and_then(|number| self.inputs.get(number));
            let failed = match input {
                Some(input) => with_input(why, id, input),
                None => why,
            };
            self.lock().insert(id.clone(), failed);
        }
        Verdict::Continue
    }
}

/// The id that a stage over payloads gives to an input.
fn numbered(number: usize) -> InvocationId {
    falco_core::Input::numbered(number, Payload::empty()).id
}

fn not_sent(outcome: &RunOutcome) -> Error {
    let error = Error::new(ErrorKind::Cancelled, "the input was not sent before the run ended");
    match outcome.error() {
        Some(reason) => error.with_source(reason),
        None => error,
    }
}

/// Why an invocation did not succeed, as an error.
fn failure(completion: &Completion) -> Option<Error> {
    Some(match &completion.outcome {
        Outcome::Succeeded(_) => return None,
        Outcome::FunctionFailed(activation) => {
            let function_error = activation.outcome.as_ref().err()?;
            let error = Error::new(ErrorKind::Other, function_error.to_string());
            match &function_error.trace {
                Some(trace) => error.with_trace(trace),
                None => error,
            }
        }
        Outcome::PlatformFailed(error) | Outcome::Unknown(error) => error.clone(),
        Outcome::Cancelled => Error::new(ErrorKind::Cancelled, "the run was stopped"),
        Outcome::DeadlineExceeded => Error::new(ErrorKind::Timeout, "the stage's deadline passed"),
        other => Error::new(ErrorKind::Other, other.as_str()),
    })
}

/// Names the input that an error is about.
fn with_input(error: Error, id: &InvocationId, input: &Payload) -> Error {
    error.context(format_args!("input {} {input:?}", id.as_str()))
}
