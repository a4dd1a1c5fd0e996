//! Panics of the user's code as failures with their place.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, UnwindSafe};
use std::sync::Once;

use crate::failure::{Failure, PANIC};

thread_local! {
    /// The place and the backtrace of this thread's last panic.
    static LAST: RefCell<Option<(String, Option<String>)>> = const { RefCell::new(None) };
}

/// Notes place and backtrace of each panic from now on; what the hook before did, it still does.
pub(crate) fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let backtrace = Backtrace::capture();
            let is_captured = backtrace.status() == BacktraceStatus::Captured;
            let trace = is_captured.then(|| backtrace.to_string());
            LAST.with_borrow_mut(|last| *last = Some((place, trace)));
            before(info);
        }));
    });
}

/// Runs the user's code.
///
/// # Errors
///
/// The panic of `code`, with its text and place.
pub(super) fn caught<T>(code: impl FnOnce() -> T + UnwindSafe) -> Result<T, Failure> {
    panic::catch_unwind(code).map_err(|payload| {
        let text = message(payload.as_ref());
        let Some((place, stack)) = LAST.with_borrow_mut(Option::take) else {
            return Failure::new(PANIC, text);
        };
        Failure { stack, ..Failure::new(PANIC, format!("{text} (at {place})")) }
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text")
}
