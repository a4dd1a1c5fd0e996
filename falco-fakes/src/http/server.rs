//! The server: one thread, one port.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::fault::Kind;
use super::hold::{Fate, Hold};
use super::records::Records;
use super::{Fault, Faults, Provider, Reply, Request};

/// A fake of a provider on a port of loopback, with a thread of its own. Dropped, it ends with all that the provider has
/// started.
pub struct HttpFake<P> {
    url: String,
    shared: Arc<Shared<P>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<P> {
    provider: Arc<P>,
    faults: Faults,
    records: Records,
    hold: Hold,
}

impl<P: Provider> HttpFake<P> {
    /// Starts a fake.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    pub fn start(provider: P) -> Self {
        Self::with_faults(provider, Faults::default())
    }

    /// Starts a fake whose provider holds its faults, for requests that the provider makes itself.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    #[expect(clippy::expect_used, reason = "a test without its fake has nothing to test")]
    pub fn with_faults(provider: P, faults: Faults) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("the address of a listener");
        let url = format!("http://{address}");
        let (provider, records) = (Arc::new(provider), Records::default());
        let shared = Arc::new(Shared { provider, faults, records, hold: Hold::default() });
        shared.provider.started(&url);
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, Arc::clone(&serving)) => {}
                    _ = stopped => {}
                }
                serving.provider.ended();
            });
        });
        Self { url, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The address, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The provider.
    pub fn provider(&self) -> &Arc<P> {
        &self.shared.provider
    }

    /// The requests so far, in the order of their arrival. Of bodies over 1 MiB there is the beginning.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.records.all()
    }

    /// The requests whose [`line`](Request::line) contains `part`, such as `"POST /v2/"`.
    pub fn requests_to(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.line().contains(part)).collect()
    }

    /// How many requests so far `wanted` is true for.
    pub fn count_requests(&self, wanted: impl Fn(&Request) -> bool) -> usize {
        self.shared.records.count(wanted)
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.records.forget();
    }

    /// Forgets the requests so far, and remembers none from now on, for measurements.
    pub fn stop_remembering(&self) {
        self.shared.records.stop();
    }

    /// Misbehaves from now on.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults.inject(fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.faults.heal();
    }

    /// How many requests have met a fault so far.
    pub fn strikes(&self) -> u64 {
        self.shared.faults.strikes()
    }

    /// Answers `requests` more, and no other until [`go_on`](Self::go_on). The first one that is not answered has its
    /// effect if `takes_effect`.
    pub fn hold_after(&self, requests: u64, takes_effect: bool) {
        self.shared.hold.after(requests, takes_effect);
    }

    /// Resolves when a request is not answered, because of [`hold_after`](Self::hold_after).
    pub async fn held(&self) {
        self.shared.hold.held().await;
    }

    /// Answers again.
    pub fn go_on(&self) {
        self.shared.hold.end();
    }
}

impl<P> Drop for HttpFake<P> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has panicked only if a provider's `ended` has.
            let _ = thread.join();
        }
    }
}

impl<P> fmt::Debug for HttpFake<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFake").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Serves a provider on the runtime of the caller, without faults and records, until it is dropped.
#[cfg(feature = "aws")]
pub(crate) async fn serve<P: Provider>(listener: TcpListener, provider: Arc<P>) {
    let records = Records::default();
    records.stop();
    let (faults, hold) = (Faults::default(), Hold::default());
    accept(listener, Arc::new(Shared { provider, faults, records, hold })).await;
}

async fn accept<P: Provider>(listener: TcpListener, shared: Arc<Shared<P>>) {
    let router = Router::new().fallback(handle::<P>).with_state(shared);
    // `serve` returns when the future is dropped, and not before.
    let _ = axum::serve(listener, router).await;
}

async fn handle<P: Provider>(
    State(shared): State<Arc<Shared<P>>>,
    request: axum::extract::Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut request = Request::of(parts);
    if let Some(refusal) = shared.provider.refuse(&request) {
        return shared.provider.finish(&request, refusal).into_response(Body::from);
    }
    request.body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    request.operation = shared.provider.operation(&request);
    shared.records.add(&request);
    if let Fate::Held { takes_effect } = shared.hold.admit() {
        if takes_effect {
            Arc::clone(&shared.provider).answer(request).await;
        }
        shared.hold.report();
        return std::future::pending().await;
    }
    shared.misbehave(request).await
}

impl<P: Provider> Shared<P> {
    async fn misbehave(&self, request: Request) -> Response<Body> {
        let strike = self.faults.strike(&request.line());
        let bearer = request.bearer().unwrap_or_default().to_owned();
        let finish = |reply| self.provider.finish(&request, reply);
        let is_served = strike.as_ref().is_none_or(|strike| strike.after);
        let answered = match is_served {
            true => Some(Arc::clone(&self.provider).answer(request.clone()).await),
            false => None,
        };
        if let Some(strike) = &strike {
            tokio::time::sleep(strike.delay).await;
        }
        let reply = match strike.map(|strike| strike.kind) {
            Some(Kind::Silence) => return std::future::pending().await,
            // A body that fails before its first byte closes the connection in the middle of the answer's head, or
            // right after it.
            Some(Kind::Reset) => return broken(finish, b""),
            Some(Kind::Truncated) => return broken(finish, b"{\"falco\":1,\"resu"),
            Some(Kind::Reply(mut reply)) => {
                if let Ok(text) = std::str::from_utf8(&reply.body)
                    && text.contains("{bearer}")
                {
                    reply.body = text.replace("{bearer}", &bearer).into();
                }
                reply
            }
            Some(Kind::Change(_)) | None => answered.unwrap_or_default(),
        };
        finish(self.faults.changed(&request, reply)).into_response(Body::from)
    }
}

/// An answer that breaks off after `beginning`.
fn broken(finish: impl FnOnce(Reply) -> Reply, beginning: &'static [u8]) -> Response<Body> {
    let first = (!beginning.is_empty()).then(|| Ok(Bytes::from_static(beginning)));
    let pieces = first.into_iter().chain([Err(std::io::Error::other("broken off"))]);
    let pieces: Vec<Result<Bytes, std::io::Error>> = pieces.collect();
    let reply = Reply::new(200, "").with_header("content-type", "application/json");
    let reply = reply.with_header("content-length", "1000");
    finish(reply).into_response(|_| Body::from_stream(stream::iter(pieces)))
}
