//! A gateway on loopback. Make it remember functions and answer as the real one does, surprises included:
//! `falco_testkit::fixture` runs the suite's function without an interpreter.

use std::sync::Arc;

use falco_core::async_trait;
use falco_fakes::http::{Fault, HttpFake, Provider, Reply, Request};
use falco_testkit::conformance;
use falco_{{name}}::{{Name}}Config;

const TOKEN: &str = "marked-token-7a3e";

pub(crate) struct Fake {
    pub(crate) http: HttpFake<World>,
}

/// The state of the provider. Functions by name come next.
#[derive(Default)]
pub(crate) struct World {}

impl Fake {
    pub(crate) fn start() -> Self {
        Self { http: HttpFake::start(World::default()) }
    }

    pub(crate) fn config(&self) -> {{Name}}Config {
        {{Name}}Config::builder().endpoint(self.http.url()).token(TOKEN).build().unwrap()
    }

    pub(crate) fn token(&self) -> &str {
        TOKEN
    }

    /// Misbehaves so from now on, if it can. Teach it the others as your provider shows them.
    pub(crate) fn misbehave(&self, fault: conformance::Fault) -> bool {
        self.http.inject(match fault {
            conformance::Fault::Silent => Fault::silence(""),
            conformance::Fault::Unauthorized => Fault::answer("", 401, "unknown token"),
            _ => return false,
        });
        true
    }
}

#[async_trait]
impl Provider for World {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        if request.bearer() != Some(TOKEN) {
            return Reply::new(401, "unknown token");
        }
        let path = request.segments();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            // Accepts every function, and remembers nothing yet.
            ("PUT", ["functions", _name]) => Reply::new(200, ""),
            ("GET", [""]) => Reply::new(200, ""),
            _ => Reply::new(404, ""),
        }
    }
}
