//! A panic in the user's code is an error that names that code, not the end of the run's bookkeeping.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use falco_core::{Error, ErrorKind, Result};

use crate::panics::panic_message;

/// Calls `user_code`; a panic becomes an error that says what panicked.
///
/// Unwind safety is asserted: what panicked is never called again.
pub(super) fn guard<T>(what: impl FnOnce() -> String, user_code: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(user_code)).map_err(|panic| panicked(&what(), &*panic))
}

/// The error for a caught panic.
pub(super) fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    Error::new(ErrorKind::Panicked, format!("{what} panicked: {}", panic_message(panic)))
}
