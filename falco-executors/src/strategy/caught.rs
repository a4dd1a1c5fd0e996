//! Panics of a platform, as errors.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use falco_core::{AsyncPlatform, Error, ErrorKind, Result};

use crate::panics::panic_message;

/// Waits for a call to `platform`, and makes an error of a panic in it.
///
/// Dropped, it drops the call. A panic in that is logged: it must not keep other calls from their answers, nor end the
/// process when it comes on top of another.
///
/// A future that panicked is not polled again, and platforms promise nothing about their own state after a panic, so the
/// assertions of unwind safety are theirs to keep.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice while in flight")]
pub(super) fn caught<T>(
    platform: &dyn AsyncPlatform,
    operation: &'static str,
    call: impl Future<Output = Result<T>> + Send,
) -> impl Future<Output = Result<T>> + Send {
    async move {
        let mut call = Call(pin!(Some(call)));
        let answer = poll_fn(|cx| {
            let Some(call) = call.0.as_mut().as_pin_mut() else { return Poll::Pending };
            match catch_unwind(AssertUnwindSafe(|| call.poll(cx))) {
                Ok(answer) => answer.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        answer.await.unwrap_or_else(|panic| {
            Err(Error::new(ErrorKind::Panicked, panic_message(&*panic))
                .with_platform(platform.name())
                .with_operation(operation)
                .with_hint("this is a defect of the platform's crate, or of a layer around it"))
        })
    }
}

/// A call in flight.
struct Call<'a, F>(Pin<&'a mut Option<F>>);

impl<F> Drop for Call<'_, F> {
    fn drop(&mut self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.0.set(None))) {
            let panic = panic_message(&*panic);
            tracing::error!(panic, "a call to the platform panicked when it was dropped");
        }
    }
}
