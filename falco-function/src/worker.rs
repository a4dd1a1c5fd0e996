//! One worker's copy of a function: its state, and calls one after the other.

mod panics;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arguments::Arguments;
use crate::batch::Batch;
use crate::context::Context;
use crate::failure::{BAD_ARGUMENT, Failure};
use crate::output;

pub(crate) use panics::record_panics;

/// A call with the types taken off: an argument's JSON text in, a result's JSON text out.
pub(crate) type Call = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>, Failure>>;

/// Starts a function: makes its state, and what calls it with that state.
pub(crate) type Start = Arc<dyn Fn() -> Result<Call, Failure> + Send + Sync>;

/// Takes the types off a function.
pub(crate) fn untyped<A, R>(mut function: impl FnMut(A) -> Result<R, Failure> + 'static) -> Call
where
    A: DeserializeOwned,
    R: Serialize,
{
    Box::new(move |argument| {
        let argument = serde_json::from_slice(argument).map_err(|error| {
            let message = format!("the argument does not fit {}: {error}", short_type::<A>());
            Failure::new(BAD_ARGUMENT, message)
        })?;
        output::to_json(&function(argument)?)
    })
}

fn short_type<A>() -> &'static str {
    let name = std::any::type_name::<A>();
    if name.contains('<') { name } else { name.rsplit("::").next().unwrap_or(name) }
}

/// A started function.
pub(crate) struct Worker {
    start: Start,
    /// `None` after a panic, which may have left the state half-changed.
    call: Option<Call>,
    arguments: Arguments,
}

impl Worker {
    /// Starts a function with the arguments that are stored with this executable.
    ///
    /// # Errors
    ///
    /// The failure of its `init`, a panic included.
    pub(crate) fn start(start: Start) -> Result<Self, Failure> {
        Self::start_with(start, Arguments::stored()?)
    }

    /// Starts a function with these stored arguments.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(crate) fn start_with(start: Start, arguments: Arguments) -> Result<Self, Failure> {
        let call = started(&start)?;
        Ok(Self { start, call: Some(call), arguments })
    }

    /// Calls the function with an argument's JSON text.
    pub(crate) fn call(&mut self, argument: &[u8], context: Context) -> Result<Vec<u8>, Failure> {
        let _now = context.enter();
        #[cfg(feature = "data")]
        let prepared = crate::data::Prepared::new(argument)?;
        #[cfg(feature = "data")]
        let argument = &*prepared.argument;
        let result = match Batch::of(argument) {
            Some(batch) => Ok(batch.answer(|input| self.call_one(input))),
            None => self.call_one(argument),
        };
        #[cfg(feature = "data")]
        let result = result.and_then(|result| prepared.result(result));
        result
    }

    /// Calls the function for one input.
    fn call_one(&mut self, argument: &[u8]) -> Result<Vec<u8>, Failure> {
        let argument = &*self.arguments.beneath(argument);
        let mut call = match self.call.take() {
            Some(call) => call,
            None => started(&self.start)?,
        };
        let result = panics::caught(AssertUnwindSafe(|| call(argument)))?;
        self.call = Some(call);
        result
    }
}

fn started(start: &Start) -> Result<Call, Failure> {
    panics::caught(AssertUnwindSafe(|| start()))?.map_err(|failure| {
        let Failure { name, message, stack } = failure;
        Failure { stack, ..Failure::initialization(format!("{name}: {message}")) }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    #[derive(serde::Deserialize)]
    struct Number {
        n: u32,
    }

    #[derive(Serialize)]
    struct Calls {
        calls: u32,
    }

    /// A function that counts its calls and panics at 13.
    fn counting(starts: Arc<AtomicU32>) -> Start {
        Arc::new(move || {
            starts.fetch_add(1, SeqCst);
            let mut calls = 0;
            Ok(untyped(move |Number { n }| {
                assert_ne!(n, 13, "bad luck");
                calls += 1;
                Ok(Calls { calls })
            }))
        })
    }

    #[test]
    fn state_lives_from_call_to_call_and_is_made_anew_after_a_panic() {
        record_panics();
        let starts = Arc::new(AtomicU32::new(0));
        let mut worker = Worker::start(counting(starts.clone())).ok().unwrap();
        let mut call =
            |n: u32| worker.call(format!("{{\"n\":{n}}}").as_bytes(), Context::default());
        assert_eq!(call(1).unwrap(), br#"{"calls":1}"#);
        assert_eq!(call(2).unwrap(), br#"{"calls":2}"#);
        let panic = call(13).unwrap_err();
        assert_eq!(panic.name, "panic");
        assert!(panic.message.contains("bad luck"), "{}", panic.message);
        assert!(panic.message.contains("worker.rs:"), "{}", panic.message);
        assert_eq!(call(4).unwrap(), br#"{"calls":1}"#);
        assert_eq!(starts.load(SeqCst), 2);
    }

    #[test]
    fn stored_arguments_lie_beneath_each_payload_and_each_input_of_a_batch() {
        let echo: Start = Arc::new(|| Ok(untyped(|value: serde_json::Value| Ok(value))));
        let stored = Arguments::parse(br#"{"a":1,"n":0}"#).ok().unwrap();
        let mut worker = Worker::start_with(echo, stored).ok().unwrap();
        let mut call = |argument: &str| {
            let result = worker.call(argument.as_bytes(), Context::default()).unwrap();
            serde_json::from_slice::<serde_json::Value>(&result).unwrap()
        };
        assert_eq!(call(r#"{"n":2}"#), serde_json::json!({"a": 1, "n": 2}));
        let batch = r#"{"falco:batch":[{"n":3},{}],"falco:limits":{"ms":9000,"bytes":9000,"mark":"0"},"p":7}"#;
        let answers = &call(batch)["falco:batch"];
        assert_eq!(answers[0]["ok"], serde_json::json!({"a": 1, "n": 3, "p": 7}));
        assert_eq!(answers[1]["ok"], serde_json::json!({"a": 1, "n": 0, "p": 7}));
    }

    #[test]
    fn an_argument_that_does_not_fit_names_the_type_and_the_reason() {
        let mut worker = Worker::start(counting(Arc::default())).ok().unwrap();
        let failure = worker.call(br#"{"n":"x"}"#, Context::default()).unwrap_err();
        assert_eq!(failure.name, BAD_ARGUMENT);
        assert!(failure.message.starts_with("the argument does not fit Number: invalid type"));
    }

    #[test]
    fn a_start_that_panics_is_a_failed_start() {
        record_panics();
        let failure = Worker::start(Arc::new(|| panic!("no model"))).err().unwrap();
        assert!(failure.message.contains("no model"), "{}", failure.message);
    }
}
