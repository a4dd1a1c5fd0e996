//! The callers that functions admit.

/// The callers that a function of Falco's admits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// The service account that deploys it (and the one that dispatches its tasks): it is granted
    /// `roles/run.invoker` on the function's Run service, and `deploy` waits until the grant acts.
    #[default]
    Caller,
    /// Everybody: `allUsers` is granted `roles/run.invoker`, and calls carry no token.
    Public,
    /// Everybody whom the project's policies let in: nothing is granted, and `deploy` does not wait.
    Unchanged,
}
