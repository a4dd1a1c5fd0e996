//! A function with the types of its argument and its result.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{Deployable, Image, Payload, Scaling, Stage, StagePolicy, stage_setters};

/// A function from `A` to `R`, both as JSON objects.
///
/// The types say what the code takes and returns; they are checked where stages are chained, and where inputs and
/// results are converted.
///
/// # Examples
///
/// ```
/// use falco_executors::typed::Function;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize)]
/// struct Text { text: String }
///
/// #[derive(Deserialize)]
/// struct Length { length: usize }
///
/// let source = "def main(args): return {'length': len(args['text'])}";
/// let length: Function<Text, Length> = Function::python("length", source).idempotent();
/// ```
pub struct Function<A, R> {
    deployable: Deployable,
    idempotent: bool,
    deadline: Option<Duration>,
    policy: StagePolicy,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Function<A, R> {
    /// Says that `function` takes an `A` and returns an `R`.
    pub fn new(function: Deployable) -> Self {
        Self {
            deployable: function,
            idempotent: false,
            deadline: None,
            policy: StagePolicy::default(),
            types: PhantomData,
        }
    }

    /// A Python 3 function out of source text of one module, which defines `main(args)`.
    pub fn python(name: impl Into<String>, source: impl Into<Arc<str>>) -> Self {
        Self::new(Deployable::python(name, source))
    }

    /// A Node.js function out of source text of one CommonJS module, which defines `main(args)`.
    pub fn nodejs(name: impl Into<String>, source: impl Into<Arc<str>>) -> Self {
        Self::new(Deployable::nodejs(name, source))
    }

    /// Sets memory, timeout and instances.
    #[must_use]
    pub fn with_scaling(mut self, scaling: Scaling) -> Self {
        self.deployable = self.deployable.with_scaling(scaling);
        self
    }

    /// Adds an environment variable of the function. Its value is treated as a secret.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.deployable = self.deployable.with_env(name, value);
        self
    }

    /// Stores arguments with the function, a JSON object: they lie beneath each input at the top level, where the input wins,
    /// and are sent once. The type `A` is of an input, without them.
    #[must_use]
    pub fn with_arguments(mut self, arguments: Payload) -> Self {
        self.deployable = self.deployable.with_arguments(arguments);
        self
    }

    /// Runs the code in this image; see [`Deployable::with_image`].
    #[must_use]
    pub fn with_image(self, image: impl Into<Image>) -> Self {
        self.map_deployable(|function| function.with_image(image))
    }

    /// Changes the function beneath the types, such as by settings that have no setter here.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_executors::typed::Function;
    ///
    /// let one: Function<(), ()> = Function::python("f", "def one(args): return {}");
    /// let one = one.map_deployable(|function| function.with_entry_point("one"));
    /// assert_eq!(one.deployable().entry_point_or_main(), "one");
    /// ```
    #[must_use]
    pub fn map_deployable(mut self, change: impl FnOnce(Deployable) -> Deployable) -> Self {
        self.deployable = change(self.deployable);
        self
    }

    stage_setters!();

    /// The function without its types.
    pub fn deployable(&self) -> &Deployable {
        &self.deployable
    }

    /// Gives a stage of this function its settings.
    pub(super) fn set_up(&self, stage: Stage) -> Stage {
        let stage = if self.idempotent { stage.idempotent() } else { stage };
        stage.with_policy(self.policy).with_deadline(self.deadline)
    }
}

impl<A, R> Clone for Function<A, R> {
    fn clone(&self) -> Self {
        let Self { deployable, idempotent, deadline, policy, types } = self;
        let (idempotent, deadline, policy, types) = (*idempotent, *deadline, *policy, *types);
        Self { deployable: deployable.clone(), idempotent, deadline, policy, types }
    }
}

impl<A, R> fmt::Debug for Function<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.deployable.name)
            .field("argument", &std::any::type_name::<A>())
            .field("result", &std::any::type_name::<R>())
            .finish()
    }
}
