//! A gateway on loopback. Make it remember functions and answer as the real one does: `falco_testkit::fixture` runs
//! the suite's function without an interpreter.

use falco_{{name}}::{{Name}}Config;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

const TOKEN: &str = "marked-token-7a3e";

pub(crate) struct Fake {
    server: MockServer,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        Self { server }
    }

    pub(crate) fn config(&self) -> {{Name}}Config {
        {{Name}}Config::new(&self.server.uri()).unwrap().with_token(TOKEN)
    }

    pub(crate) fn token(&self) -> &str {
        TOKEN
    }
}
