//! One call of the platform, for its errors.

use falco_core::{Error, Operation};

use crate::NAME;

/// A call of the platform: what it is, and what its errors may say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation<'a>,
    /// Whether the server may start the function for it.
    pub(crate) runs_code: bool,
    /// Texts that the server may echo and that no error may show.
    pub(crate) secrets: &'a [&'a str],
}

impl<'a> Call<'a> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { operation: Operation::new(NAME, name), runs_code: false, secrets: &[] }
    }

    pub(crate) fn on(name: &'static str, function: &'a str) -> Self {
        Self { operation: Operation::new(NAME, name).on(function), ..Self::new(name) }
    }

    pub(crate) fn running(name: &'static str, function: &'a str) -> Self {
        Self { runs_code: true, ..Self::on(name, function) }
    }

    /// Adds the call to `error`. Only one that starts the function leaves doubt.
    pub(crate) fn apply(&self, error: Error) -> Error {
        let may_have_run = error.may_have_run() && self.runs_code;
        error.with_may_have_run(may_have_run).at(self.operation)
    }
}
