//! The function's side of a user's program.

use std::fmt::Debug;

use crate::deployable::Deployable;
use crate::error::Result;
use crate::payload::Payload;

use super::options::Options;

/// A function as its author describes it: how it is deployed, and what an invocation for an input looks like.
///
/// A stage is made of it by [`Stage::from_runtime`](crate::Stage::from_runtime).
///
/// # Examples
///
/// ```
/// use falco_core::runtime::{Options, Runtime};
/// use falco_core::{Deployable, Payload, Result, Stage};
/// use std::sync::Arc;
///
/// #[derive(Debug)]
/// struct Greeter;
///
/// impl Runtime for Greeter {
///     fn identifier(&self) -> &str { "python:3" }
///
///     fn make_deployment(&self, _: &Options, _: &[String]) -> Result<Deployable> {
///         let source = "def main(args):\n    return {'greeting': 'Hello ' + args['name']}\n";
///         Ok(Deployable::from_source("greeter", self.identifier().parse()?, source))
///     }
///
///     fn invocation_payload(&self, _: &Options, input: &str) -> Result<Payload> {
///         Payload::json(&[("name", input)].into_iter().collect::<std::collections::BTreeMap<_, _>>())
///     }
/// }
///
/// let stage = Stage::from_runtime("greet", Arc::new(Greeter), Options::new(), vec!["Ada".into()])?;
/// assert_eq!(stage.function.name, "greeter");
/// # Ok::<(), falco_core::Error>(())
/// ```
pub trait Runtime: Debug + Send + Sync + 'static {
    /// The runtime's name, such as `python:3`.
    fn identifier(&self) -> &str;

    /// The function to deploy.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the option or input that is wrong.
    fn make_deployment(&self, options: &Options, inputs: &[String]) -> Result<Deployable>;

    /// The argument of the invocation for one input.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the input, such as a file that cannot be read.
    fn invocation_payload(&self, options: &Options, input: &str) -> Result<Payload>;
}
