//! The call that an error is about.

/// A call to a platform: what [`Error::at`](crate::Error::at) adds to an error, in one place for each method of a platform.
///
/// # Examples
///
/// ```
/// use falco_core::{ErrorKind, Operation};
///
/// let fetch = Operation::new("local", "fetch_deployment").on("hello");
/// let error = fetch.error(ErrorKind::NotFound, "there is no such function");
/// assert_eq!((error.operation(), error.function()), (Some("fetch_deployment"), Some("hello")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    pub(crate) platform: &'a str,
    pub(crate) name: &'static str,
    pub(crate) function: Option<&'a str>,
}

impl<'a> Operation<'a> {
    /// A call of the method `name` of `platform`, such as `list_deployments`.
    pub fn new(platform: &'a str, name: &'static str) -> Self {
        Self { platform, name, function: None }
    }

    /// Names the function or deployment that it is about; an empty name names none.
    #[must_use]
    pub fn on(mut self, function: &'a str) -> Self {
        self.function = Some(function).filter(|name| !name.is_empty());
        self
    }

    /// The method's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The function or deployment that it is about.
    pub fn function(&self) -> Option<&'a str> {
        self.function
    }
}
