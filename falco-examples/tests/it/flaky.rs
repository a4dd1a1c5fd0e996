//! A proxy on loopback that spoils some of what passes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::net::TcpListener;

/// How often it spoils something: each so manieth request that is to be spoilt.
const EVERY: usize = 15;

pub(crate) struct FlakyProxy {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    /// Which requests may be spoilt: those whose method and path contain this.
    spoils: &'static str,
    seen: AtomicUsize,
    spoilt: AtomicUsize,
    client: reqwest::Client,
}

impl FlakyProxy {
    pub(crate) async fn start(upstream: &str, spoils: &'static str) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            spoils,
            seen: AtomicUsize::new(0),
            spoilt: AtomicUsize::new(0),
            client: reqwest::Client::builder().tls_certs_only([]).build().unwrap(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn spoilt(&self) -> usize {
        self.shared.spoilt.load(Ordering::Relaxed)
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri.path());
    let seen =
        if line.contains(shared.spoils) { shared.seen.fetch_add(1, Ordering::Relaxed) } else { 0 };
    if seen % EVERY != EVERY - 1 {
        return forward(&shared, parts.method, parts.uri, parts.headers, body).await;
    }
    match shared.spoilt.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "<html>no upstream</html>").into_response(),
        1 => broken(StatusCode::OK),
        // It runs, and nobody learns what came of it.
        _ => broken(forward(&shared, parts.method, parts.uri, parts.headers, body).await.status()),
    }
}

/// A reply whose body breaks off.
fn broken(status: StatusCode) -> Response {
    let pieces = [Ok(Bytes::from_static(b"{\"")), Err(std::io::Error::other("broken off"))];
    let headers = [("content-type", "application/json"), ("content-length", "1000")];
    (status, headers, Body::from_stream(stream::iter(pieces))).into_response()
}

/// The host that the client has named is passed on, since it is signed.
async fn forward(
    shared: &Shared,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url = format!("{}{uri}", shared.upstream);
    let reply =
        shared.client.request(method, url).headers(headers).body(body).send().await.unwrap();
    let (status, headers) = (reply.status(), reply.headers().clone());
    (status, headers, reply.bytes().await.unwrap()).into_response()
}
