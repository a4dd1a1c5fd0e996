//! One function over many inputs, through the default layers.

use std::future::Future;

use falco_core::Result;
use falco_executors::{Function, RunOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::with_default_layers;

/// A run of one [`Function`] over many inputs: deploys it, invokes it once for each input, and removes it.
///
/// It is [`falco_executors::Run`] [with default layers](with_default_layers).
///
/// # Examples
///
/// ```
/// use falco::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize)]
/// struct Person { name: &'static str }
///
/// #[derive(Deserialize)]
/// struct Greeting { greeting: String }
///
/// # async fn f(platform: impl AsyncPlatform, other: impl AsyncPlatform) -> Result<()> {
/// let source = "def main(args): return {'greeting': f'Hello {args[\"name\"]}!'}";
/// let hello: Function<Person, Greeting> = Function::python("hello", source);
///
/// let greetings = Run::on(platform).map(&hello, [Person { name: "Ada" }]).await?;
/// assert_eq!(greetings[0].greeting, "Hello Ada!");
///
/// // Everything can be set.
/// let options = RunOptions::from(other)
///     .with_strategy(AsyncExecutor::new())
///     .with_monitor(std::sync::Arc::new(Progress::stderr()))
///     .with_stop(stop_signals());
/// for (person, greeting) in Run::on(options).map_each(&hello, [Person { name: "Bob" }]).await? {
///     match greeting {
///         Ok(greeting) => println!("{}", greeting.greeting),
///         Err(error) => eprintln!("{}: {error}", person.name),
///     }
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

    /// The results of `function` for `inputs`, in the order of the inputs; see [`falco_executors::Run::map`].
    ///
    /// # Errors
    ///
    /// As [`falco_executors::Run::map`] and [`with_default_layers`].
    pub fn map<A: Serialize, R: DeserializeOwned>(
        self,
        function: &Function<A, R>,
        inputs: impl IntoIterator<Item = A>,
    ) -> impl Future<Output = Result<Vec<R>>> + Send {
        let running = self.in_layers().map(|run| run.map(function, inputs));
        async move { running?.await }
    }

    /// Each input with its result or with the reason why it has none; see [`falco_executors::Run::map_each`].
    ///
    /// # Errors
    ///
    /// As [`falco_executors::Run::map_each`] and [`with_default_layers`].
    pub fn map_each<A: Serialize + Send, R: DeserializeOwned>(
        self,
        function: &Function<A, R>,
        inputs: impl IntoIterator<Item = A>,
    ) -> impl Future<Output = Result<Vec<(A, Result<R>)>>> + Send {
        let running = self.in_layers().map(|run| run.map_each(function, inputs));
        async move { running?.await }
    }

    fn in_layers(self) -> Result<falco_executors::Run> {
        Ok(falco_executors::Run::on(with_default_layers(self.options)?))
    }
}
