//! Exchanges that go on when their caller has gone.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use falco_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long an exchange goes on that nobody waits for any more.
const GRACE: Duration = Duration::from_secs(30);

/// Runs an exchange, and goes on for a while when the caller drops it.
///
/// HTTP/1.1 cannot take a request back: closing the connection is the only way, which servers report as an error of
/// the client, and which does not stop what they have begun. So an answer that comes soon is read and thrown away, and
/// the connection can be used again.
pub(crate) async fn finish<T: Send + 'static>(
    exchange: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (mut caller, answer) = oneshot::channel();
    tokio::spawn(async move {
        let mut exchange = pin!(exchange);
        tokio::select! {
            biased;
            result = &mut exchange => {
                // Nobody to send it to: the caller has gone at this very moment.
                let _ = caller.send(result);
                return;
            }
            () = caller.closed() => {}
        }
        let _ = timeout(GRACE, exchange).await;
    });
    answer.await.unwrap_or_else(|_| {
        // The runtime shuts down, or the exchange has panicked.
        Err(Error::new(ErrorKind::Cancelled, "the request was given up").with_may_have_run(true))
    })
}
