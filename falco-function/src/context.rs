//! The call that a function runs in.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// The platform's report of a call. Facts that it does not report are `None`.
///
/// # Examples
///
/// ```
/// use falco_function::Context;
///
/// fn main_of_the_function() -> Result<(), String> {
///     let context = Context::current().unwrap_or_default();
///     if context.time_left().is_some_and(|left| left.as_secs() < 10) {
///         return Err("there is no time for another round".to_owned());
///     }
///     Ok(())
/// }
/// # assert!(Context::current().is_none() && main_of_the_function().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The platform's id of the activation.
    pub activation_id: Option<String>,
    /// The W3C trace context of the attempt, as a `traceparent` header has it, to go on with in calls of other services.
    /// Functions in other languages read it from the environment variable `TRACEPARENT`.
    pub traceparent: Option<String>,
    /// When the platform will end the call, by the clock of the driver or the provider.
    pub deadline: Option<SystemTime>,
}

impl Context {
    /// `deadline` is in milliseconds since the epoch. What is not a trace context is left out: on OpenWhisk, something
    /// on the way may have replaced it.
    pub(crate) fn new(
        activation_id: Option<String>,
        traceparent: Option<String>,
        deadline: Option<u64>,
    ) -> Self {
        let deadline = deadline.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        let traceparent = traceparent.filter(|text| is_traceparent(text));
        Self { activation_id, traceparent, deadline }
    }

    /// The context of the call that runs on this thread; `None` outside of a call, and on threads that the function has
    /// started: hand it to them.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// How long the call may go on; zero when its time is over.
    pub fn time_left(&self) -> Option<Duration> {
        Some(self.deadline?.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Makes it the current one until the guard is dropped.
    pub(crate) fn enter(self) -> Entered {
        Entered(CURRENT.replace(Some(self)))
    }
}

/// Puts back what was current before.
pub(crate) struct Entered(Option<Context>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Whether a text has the form `00-TRACE-SPAN-FLAGS`, in lower-case hexadecimal digits.
fn is_traceparent(text: &str) -> bool {
    const LENGTHS: [usize; 4] = [2, 32, 16, 2];
    let is_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    text.split('-').map(str::len).eq(LENGTHS) && text.split('-').all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_trace_context_is_left_out() {
        let right = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = |text: &str| Context::new(None, Some(text.to_owned()), None).traceparent;
        assert_eq!(read(right).as_deref(), Some(right));
        for wrong in
            ["", "tid_4711", &right[1..], &right.to_uppercase(), &right.replace("01", "0x")]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_context_is_current_during_its_call_only() {
        let context = Context::new(Some("a-1".into()), None, Some(0));
        assert_eq!(context.time_left(), Some(Duration::ZERO));
        let entered = context.clone().enter();
        assert_eq!(Context::current(), Some(context));
        drop(entered);
        assert_eq!(Context::current(), None);
    }
}
