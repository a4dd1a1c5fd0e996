//! The name of what is being done, for errors.

use falco_core::Error;

use crate::PLATFORM;

/// A call of the platform, as its errors name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) name: &'static str,
    pub(crate) function: Option<&'a str>,
    /// Whether the server may start the function for it.
    pub(crate) runs_code: bool,
    /// Texts that the server may echo and that no error may show.
    pub(crate) secrets: &'a [&'a str],
}

impl<'a> Operation<'a> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, function: None, runs_code: false, secrets: &[] }
    }

    pub(crate) fn on(name: &'static str, function: &'a str) -> Self {
        Self { function: Some(function), ..Self::new(name) }
    }

    pub(crate) fn running(name: &'static str, function: &'a str) -> Self {
        Self { runs_code: true, ..Self::on(name, function) }
    }

    /// Adds what was being done to `error`. Only an operation that starts the function leaves doubt.
    pub(crate) fn apply(&self, error: Error) -> Error {
        let may_have_run = error.may_have_run() && self.runs_code;
        let error =
            error.with_platform(PLATFORM).with_operation(self.name).with_may_have_run(may_have_run);
        match self.function {
            Some(function) => error.with_function(function),
            None => error,
        }
    }
}
