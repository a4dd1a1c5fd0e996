//! The server: one thread, one port, one place that knows which service a path belongs to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::Request;
use tokio::sync::oneshot;

use super::fault::Kind;
use super::reply::{self, Reply};
use super::request::RecordedRequest;
use super::world::World;
use super::{front, functions, logging, run, storage, tasks, tokens};

/// No request that tests send is longer.
const MAX_REQUEST: usize = 64 << 20;
/// Longer bodies are remembered by their beginning.
const MAX_REMEMBERED: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Server {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(world: Arc<World>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        world.url.set(url.clone()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().fallback(serve).with_state(Arc::clone(&world));
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
                // Processes of functions end with their handles, which need the runtime.
                world.state().functions.clear();
            });
        });
        Self { url, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(State(world): State<Arc<World>>, request: Request<Body>) -> Reply {
    let is_call = request.uri().path().starts_with("/run/");
    let mut reply = answer(&world, request).await;
    if is_call {
        // Whatever a function answers passes Google's front end. A fault with another name comes from what stands before it.
        let name = reply.headers_mut().entry("server");
        name.or_insert_with(|| "Google Frontend".parse().unwrap());
    }
    reply
}

async fn answer(world: &Arc<World>, request: Request<Body>) -> Reply {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_REQUEST).await else {
        return reply::html(413, "Request Entity Too Large");
    };
    let seen = RecordedRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: pairs(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body: body.clone(),
    };
    if !world.remembers_nothing.load(Ordering::Relaxed) {
        let mut remembered = seen.clone();
        // A slice would keep all of it alive.
        if remembered.body.len() > MAX_REMEMBERED {
            remembered.body = Bytes::copy_from_slice(&body[..MAX_REMEMBERED]);
        }
        world.seen.lock().unwrap().push(remembered);
    }
    let line = seen.line();
    let Some(mut fault) = world.strike(&line) else { return dispatch(world, seen).await };
    fault.body = fault.body.replace("{bearer}", seen.bearer().unwrap_or_default());
    if fault.after {
        dispatch(world, seen).await;
    }
    match fault.kind {
        Kind::Reply => {
            let mut reply = reply::with(fault.status, "application/json", fault.body);
            for (name, value) in fault.headers {
                let name = axum::http::HeaderName::try_from(name).unwrap();
                reply.headers_mut().insert(name, value.parse().unwrap());
            }
            reply
        }
        Kind::Truncated => {
            let pieces = [Ok(Bytes::from(fault.body)), Err(std::io::Error::other("broken off"))];
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            let mut reply = reply::with(fault.status, "application/json", body);
            reply.headers_mut().insert("content-length", "1000".parse().unwrap());
            reply
        }
        // A body that fails before its first byte closes the connection in the middle of the answer's head, or
        // right after it.
        Kind::Reset => {
            let broken =
                futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
            let mut reply = reply::with(200, "application/json", Body::from_stream(broken));
            reply.headers_mut().insert("content-length", "1000".parse().unwrap());
            reply
        }
        Kind::Silence => std::future::pending().await,
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let url = falco_http::reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

async fn dispatch(world: &Arc<World>, seen: RecordedRequest) -> Reply {
    // A front end's rule, which clients forget.
    if matches!(&*seen.method, "POST" | "PUT" | "PATCH")
        && !seen.headers.contains_key("content-length")
        && !seen.headers.contains_key("transfer-encoding")
    {
        return reply::html(411, "Length Required");
    }
    let path = seen.path.clone();
    if path == "/token" {
        return tokens::grant(world, &seen);
    }
    if path.starts_with("/computeMetadata/") {
        return tokens::metadata(world, &seen);
    }
    if path.starts_with("/run/") {
        return front::serve(world, &seen).await;
    }
    if path.starts_with("/upload-signed/") {
        return functions::upload(world, &seen);
    }
    let Some(caller) = tokens::caller(world, &seen) else {
        return reply::error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        );
    };
    let segments = seen.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["v1", "projects", "-", "serviceAccounts", call] => tokens::impersonate(world, &seen, call),
        ["v2", "entries:list"] => logging::list(world, &seen),
        ["v2", "projects", _, "locations", _, kind, rest @ ..] => match *kind {
            "functions" | "functions:generateUploadUrl" | "operations" | "runtimes" => {
                functions::serve(world, &seen, kind, rest)
            }
            "services" => run::serve(world, &seen, rest),
            "queues" => tasks::serve(world, &seen, rest),
            _ => reply::html(404, "Not Found"),
        },
        ["storage", "v1", rest @ ..] => storage::serve(world, &seen, rest),
        ["upload", "storage", "v1", "b", bucket, "o"] => {
            storage::insert(world, &seen, bucket, &caller)
        }
        _ => reply::html(404, "Not Found"),
    }
}
