//! Takes connections in, a bounded number of them, and gives up those that say nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::routes::Routes;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 64;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How large the head of a request may be.
const HEAD_BYTES: usize = 16 * 1024;
/// How long a connection lives at most.
const LIFE: Duration = Duration::from_secs(300);
/// The pause after the system could not accept a connection, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(listener: TcpListener, routes: Arc<Routes>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with this task, which ends all connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let routes = routes.clone();
        connections.spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request| {
                let routes = routes.clone();
                async move { Ok::<_, Infallible>(routes.answer(request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
            let serving = server.serve_connection(TokioIo::new(stream), service);
            // A reader that goes away, or sends what is not HTTP, is not a fault of the meter.
            let _ = tokio::time::timeout(LIFE, serving).await;
        });
    }
}
