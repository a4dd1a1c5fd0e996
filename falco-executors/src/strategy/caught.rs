//! Panics of a platform, as errors.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use falco_core::{AsyncPlatform, Error, ErrorKind, Result};
use futures_util::FutureExt as _;

/// Waits for a call to `platform`, and makes an error of a panic in it.
///
/// The future is dropped with the panic, and platforms promise nothing about their own state after one, so
/// the assertion of unwind safety is theirs to keep.
pub(super) fn caught<T>(
    platform: &dyn AsyncPlatform,
    operation: &'static str,
    call: impl Future<Output = Result<T>> + Send,
) -> impl Future<Output = Result<T>> + Send {
    AssertUnwindSafe(call).catch_unwind().map(move |answer| match answer {
        Ok(answer) => answer,
        Err(panic) => Err(Error::new(ErrorKind::Panicked, message(&*panic))
            .with_platform(platform.name())
            .with_operation(operation)
            .with_hint("this is a defect of the platform's crate, or of a layer around it")),
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
