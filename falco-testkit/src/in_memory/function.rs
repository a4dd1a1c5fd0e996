//! A function in memory: a closure that returns its answer and how long that takes.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    Code, Environment, FunctionError, Invocation, LogLine, LogStream, Payload, Scaling,
};

/// The call that a function in memory sees.
#[derive(Debug)]
#[non_exhaustive]
pub struct FunctionCall<'a> {
    /// The argument, with its identity around it.
    pub invocation: &'a Invocation,
    /// The environment that the function was deployed with.
    pub env: &'a Environment,
    /// The code that the function was deployed with.
    pub code: &'a Code,
    /// The entry point that it was deployed with.
    pub entry_point: &'a str,
    /// Memory, timeout and instances that it was deployed with.
    pub scaling: &'a Scaling,
}

impl FunctionCall<'_> {
    /// The argument.
    pub fn payload(&self) -> &Payload {
        self.invocation.payload()
    }
}

/// The answer of a function in memory.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its result, or how it fails.
    pub outcome: Result<Payload, FunctionError>,
    /// How long it runs, on tokio's clock.
    pub execution: Duration,
    /// The lines that it prints.
    pub log: Vec<LogLine>,
}

impl Reply {
    /// It returns `result` at once.
    pub fn succeeded(result: Payload) -> Self {
        Self::from(Ok(result))
    }

    /// It fails at once.
    pub fn failed(error: FunctionError) -> Self {
        Self::from(Err(error))
    }

    /// It takes this long.
    #[must_use]
    pub fn after(mut self, execution: Duration) -> Self {
        self.execution = execution;
        self
    }

    /// It prints a line to stdout.
    #[must_use]
    pub fn printing(mut self, text: impl Into<String>) -> Self {
        let stream = Some(LogStream::Stdout);
        self.log.push(LogLine::new(text).with_stream(stream));
        self
    }
}

impl From<Result<Payload, FunctionError>> for Reply {
    fn from(outcome: Result<Payload, FunctionError>) -> Self {
        Self { outcome, execution: Duration::ZERO, log: Vec::new() }
    }
}

impl From<Payload> for Reply {
    fn from(result: Payload) -> Self {
        Self::succeeded(result)
    }
}

pub(super) type Function = Arc<dyn Fn(&FunctionCall<'_>) -> Reply + Send + Sync>;

/// The function of code for which nothing else is registered: it returns its argument.
pub(super) fn echo() -> Function {
    Arc::new(|call| Reply::succeeded(call.payload().clone()))
}
