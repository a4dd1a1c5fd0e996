//! A gateway on loopback. Make it remember functions and answer as the real one does, surprises included:
//! `falco_testkit::fixture` runs the suite's function without an interpreter.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use falco_{{name}}::{{Name}}Config;
use falco_testkit::conformance::Fault;
use tokio::net::TcpListener;

const TOKEN: &str = "marked-token-7a3e";

pub(crate) struct Fake {
    url: String,
    world: Arc<World>,
}

/// What the gateway remembers. Functions by name come next.
#[derive(Default)]
struct World {
    fault: Mutex<Option<Fault>>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(World::default());
        let router = Router::new().fallback(answer).with_state(world.clone());
        // It ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, world }
    }

    pub(crate) fn config(&self) -> {{Name}}Config {
        {{Name}}Config::new(&self.url).unwrap().with_token(TOKEN)
    }

    pub(crate) fn token(&self) -> &str {
        TOKEN
    }

    /// Misbehaves so from now on.
    pub(crate) fn misbehave(&self, fault: Fault) {
        *self.world.fault.lock().unwrap() = Some(fault);
    }
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    let fault = *world.fault.lock().unwrap();
    if fault == Some(Fault::Silent) {
        return std::future::pending().await;
    }
    let knows_the_token = request.headers().get("authorization").is_some_and(|sent| *sent == *format!("Bearer {TOKEN}"));
    if fault == Some(Fault::Unauthorized) || !knows_the_token {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match (request.method().as_str(), request.uri().path()) {
        // Accepts every request, and remembers nothing yet.
        ("GET" | "PUT", _) => StatusCode::OK.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
